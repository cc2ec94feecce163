//! Schema files to the tables that records are mapped with.

use std::collections::HashMap;
use std::sync::Arc;

use super::file::{self, ACTIVITIES, FieldMap, Take, Wording};
use super::stamp::Format;
use super::take::{self, Op, Step};
use super::{Case, Form, Gate, Plan, Produced, Schema, SchemaError, Schemas, Split, USUAL_TIMES, Words};
use crate::expr::Expr;
use crate::expr::pattern::{self, Late};
use crate::expr::plain::{Operand, Plain, fold};
use crate::limits::{FIELDS_MAX, SCHEMAS_MAX};
use crate::model::path::{Path, Steps};
use crate::model::{FieldId, Fields, List, Place, STAND_INS, Slot};

impl Schemas {
    /// Compiles schemas against the names in use. Interns every record path that a schema reads and every mapped field that
    /// is `wanted`; so schemas are compiled before rules. `extra_paths` are the paths with selectors that rules name.
    pub fn compile(
        files: &[file::Schema],
        fields: &mut Fields,
        wanted: &dyn Fn(&str) -> bool,
        extra_paths: &[String],
    ) -> Result<Schemas, SchemaError> {
        let error = |schema: &str, problem: String| SchemaError { schema: schema.to_string(), problem };
        if files.len() > SCHEMAS_MAX {
            return Err(error("", format!("{} schemas are more than {SCHEMAS_MAX}", files.len())));
        }
        let mut files: Vec<&file::Schema> = files.iter().collect();
        files.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.id.cmp(&b.id)));
        if let Some(pair) = files.windows(2).find(|it| it[0].id == it[1].id) {
            return Err(error(&pair[0].id, "the id is used twice".to_string()));
        }
        let mut constants = Constants::default();
        let mut regexes = Vec::new();
        let mut numbers = HashMap::new();
        let words = Words {
            other: constants.text("other"),
            success: constants.text("success"),
            failure: constants.text("failure"),
            unknown: constants.text("unknown"),
            yes: constants.text("true"),
            no: constants.text("false"),
        };
        let wanted = &|name: &str| wanted(name) || is_made_of(name, wanted);
        let mut mapped = |name: &str| wanted(name).then(|| fields.mapped(name));
        let produced = Produced {
            action: mapped("event.action"),
            outcome: mapped("event.outcome"),
            provider: mapped("event.provider"),
            tags: mapped("tags"),
            user_email: mapped("user.email"),
            user_name: mapped("user.name"),
            user_target: mapped("user.target.name"),
            address: mapped("source.ip"),
            entity: mapped("entity.name"),
            entity_target: mapped("entity.target.name"),
            activity: fields.mapped("activity"),
        };
        let mut all = Vec::new();
        for file in &files {
            let mut compile = Compile {
                file,
                fields,
                wanted,
                constants: &mut constants,
                regexes: &mut regexes,
                numbers: &mut numbers,
                groups: group_names(file),
                split: None,
            };
            all.push(compile.schema().map_err(|it| error(&file.id, it))?);
        }
        let mut selected = Vec::new();
        for text in extra_paths {
            // Filled one after another, so the place that is meant first comes last.
            let places: Vec<&str> = Path::places(text).collect();
            for place in places.into_iter().rev() {
                let path = Path::parse(place).map_err(|it| error("", it))?;
                let root = path.root.strip_prefix('.').unwrap_or(&path.root);
                let operand = Operand { field: fields.path(root), steps: path.steps };
                selected.push((fields.path(text.strip_prefix('.').unwrap_or(text)), operand));
            }
        }
        if fields.len() > FIELDS_MAX {
            return Err(error("", format!("schemas name {} fields; at most {FIELDS_MAX} are possible", fields.len())));
        }
        let mut formats: Vec<Box<str>> = files.iter().flat_map(|it| &it.formats).map(|it| it.as_str().into()).collect();
        formats.sort();
        formats.dedup();
        let usual_times = USUAL_TIMES.iter().map(|it| fields.path(it)).collect();
        Ok(Schemas {
            all,
            constants: constants.text.into(),
            formats,
            selected,
            regexes,
            usual_times,
            fields: produced,
            words,
        })
    }
}

/// Whether a field is made of this one that somebody wants.
fn is_made_of(name: &str, wanted: &dyn Fn(&str) -> bool) -> bool {
    name == "user.name" && wanted("user.email")
        || STAND_INS.iter().any(|(stand_in, of)| of.contains(&name) && wanted(stand_in))
}

/// The names of all groups in the schema's forms.
fn group_names(file: &file::Schema) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    // A wording whose phrases do not fit is told of when its case is compiled.
    let spoken = file.cases.iter().filter_map(|it| it.form.as_ref()).filter_map(|it| file.spoken(it).ok());
    for text in spoken {
        for (_, name) in pattern::groups(&text) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The cases that might apply, by action.
type ByAction = hashbrown::HashMap<Box<str>, Box<[u16]>>;

/// All constant texts in one, each once.
#[derive(Default)]
struct Constants {
    text: String,
    known: HashMap<String, usize>,
}

impl Constants {
    fn start(&mut self, text: &str) -> usize {
        if let Some(start) = self.known.get(text) {
            return *start;
        }
        let start = self.text.len();
        self.text.push_str(text);
        self.known.insert(text.to_string(), start);
        start
    }

    fn text(&mut self, text: &str) -> Slot {
        Slot::text(Place::Constant, self.start(text), text.len())
    }

    fn list(&mut self, texts: &[String]) -> Slot {
        let joined = texts.join(&List::SEPARATOR.to_string());
        Slot::list(Place::Constant, self.start(&joined), joined.len())
    }
}

struct Compile<'a> {
    file: &'a file::Schema,
    fields: &'a mut Fields,
    wanted: &'a dyn Fn(&str) -> bool,
    constants: &'a mut Constants,
    regexes: &'a mut Vec<Late>,
    /// Where in `regexes` an expression stands.
    numbers: &'a mut HashMap<String, usize>,
    groups: Vec<String>,
    /// The split's path with `[]`, and the field its element is put in.
    split: Option<(String, FieldId)>,
}

impl Compile<'_> {
    fn schema(&mut self) -> Result<Schema, String> {
        let file = self.file;
        let recognise = self.plain(&file.recognise)?;
        let split = match &file.split {
            None => None,
            Some(text) => {
                let array = self.operand(text)?;
                let name = format!("{text}[]");
                let element = self.fields.path(&name);
                self.split = Some((name, element));
                Some(Split { array, element })
            }
        };
        let repeat = file.repeat.as_ref().map(|it| self.op(it)).transpose()?;
        let text = match file.text.as_deref() {
            Some("@action") => None,
            path => Some(self.operand(path.unwrap_or("message"))?),
        };
        let action = file.action.as_ref().map(|it| self.op(it)).transpose()?;
        let time = file.fields.get("@timestamp").map(|it| self.time_op(it)).transpose()?;
        let common = self.ops(&file.fields)?;
        let mut cases = Vec::new();
        for (index, case) in file.cases.iter().enumerate() {
            let compiled = self.case(case, &common);
            cases.push(compiled.map_err(|it| format!("case {} (`{}`): {it}", index + 1, case.activity))?);
        }
        let mut tags = Vec::new();
        for (tag, when) in &file.tags {
            tags.push((self.constants.text(tag), self.plain(when).map_err(|it| format!("tag `{tag}`: {it}"))?));
        }
        let (cases_by_action, cases_for_others) = self.dispatch();
        let activity_names = ACTIVITIES.iter().filter(|it| **it != "other");
        Ok(Schema {
            id: file.id.as_str().into(),
            priority: file.priority,
            formats: file.formats.iter().map(|it| it.as_str().into()).collect(),
            recognise,
            provider: self.constants.text(&file.id),
            split,
            repeat,
            text,
            time,
            action,
            fold_actions: file.fold_actions,
            has_forms: cases.iter().any(|it| it.form.is_some()),
            cases,
            cases_by_action,
            cases_for_others,
            plan: self.plan(&[], &common),
            tags,
            produces: produces(file),
            activities: activity_names
                .copied()
                .filter(|it| file.cases.iter().any(|case| case.activity == **it))
                .collect(),
        })
    }

    fn case(&mut self, case: &file::Case, common: &[(String, Arc<Op>)]) -> Result<Case, String> {
        if !ACTIVITIES.contains(&case.activity.as_str()) {
            return Err(format!("is no activity; there are {}", ACTIVITIES.join(", ")));
        }
        let outcome = match case.activity.as_str() {
            "login.success" => Some("success"),
            "login.failure" | "mfa.challenge_denied" => Some("failure"),
            _ => None,
        };
        let always = case.when == Expr::All(Vec::new());
        let own = self.ops(&case.set)?;
        if case.set.get("@timestamp").is_some() {
            return Err("`@timestamp` is set for the schema, not for a case".to_string());
        }
        Ok(Case {
            activity: self.constants.text(&case.activity),
            outcome: outcome.map(|it| self.constants.text(it)),
            when: if always { None } else { Some(self.plain(&case.when)?) },
            form: case.form.as_ref().map(|it| self.form(it)).transpose()?,
            tags: (!case.tags.is_empty()).then(|| self.constants.list(&case.tags)),
            plan: self.plan(&own, common),
        })
    }

    /// For each action named by a case, the cases that might apply: those that name it and those that name none.
    fn dispatch(&self) -> (ByAction, Box<[u16]>) {
        let key = |it: &str| -> Box<str> { if self.file.fold_actions { fold(it).as_ref().into() } else { it.into() } };
        let mut lists: hashbrown::HashMap<Box<str>, Vec<u16>> = hashbrown::HashMap::new();
        for case in &self.file.cases {
            for word in &case.on {
                lists.entry(key(word)).or_default();
            }
        }
        let mut others = Vec::new();
        for (index, case) in self.file.cases.iter().enumerate() {
            let index = index as u16;
            if case.on.is_empty() {
                others.push(index);
                lists.values_mut().for_each(|it| it.push(index));
            }
            for word in &case.on {
                if let Some(list) = lists.get_mut(&key(word))
                    && list.last() != Some(&index)
                {
                    list.push(index);
                }
            }
        }
        (lists.into_iter().map(|(word, list)| (word, list.into())).collect(), others.into())
    }

    /// The wanted fields of a map, with what makes them.
    fn ops(&mut self, map: &FieldMap) -> Result<Vec<(String, Arc<Op>)>, String> {
        let mut all = Vec::new();
        for (name, take) in &map.0 {
            if name == "@timestamp" {
                continue;
            }
            if ["activity", "event.action", "event.provider", "tags", "entity.name", "entity.target.name"]
                .contains(&name.as_str())
            {
                return Err(format!("`{name}` is not set in `fields`: see `action`, `id`, `activity` and `tags`"));
            }
            // Compiled whether wanted or not: a mistake is one even while no rule reads the field. But paths that are read for
            // nothing are not to be found in every record.
            let mut kept = (!(self.wanted)(name)).then(|| std::mem::take(self.fields));
            let op = self.op(take).map_err(|it| format!("`{name}`: {it}"))?;
            if let Some(kept) = kept.take() {
                *self.fields = kept;
            } else {
                all.push((name.clone(), Arc::new(op)));
            }
        }
        Ok(all)
    }

    /// A case's own fields, and the schema's where the case says nothing.
    fn plan(&mut self, own: &[(String, Arc<Op>)], common: &[(String, Arc<Op>)]) -> Plan {
        let mut plan = Plan::default();
        let mut fields = Vec::new();
        let rest = common.iter().filter(|(name, _)| !own.iter().any(|it| it.0 == *name));
        for (name, op) in own.iter().chain(rest) {
            if name == "event.outcome" {
                plan.outcome = Some(op.clone());
            } else {
                fields.push((self.fields.mapped(name), op.clone()));
            }
        }
        plan.fields = fields.into();
        plan
    }

    fn plain(&mut self, expr: &Expr) -> Result<Plain, String> {
        let mut lists_named = false;
        let lists = |_: &str| None;
        let plain = Plain::compile(expr, &mut |name| self.operand(name), &lists);
        if let Err(problem) = &plain {
            lists_named = problem.starts_with("there is no list");
        }
        if lists_named { Err("schemas do not know lists; ask for them in rules".to_string()) } else { plain }
    }

    fn operand(&mut self, text: &str) -> Result<Operand, String> {
        if let Some((name, element)) = &self.split
            && let Some(rest) = text.strip_prefix(name.as_str())
        {
            return Ok(Operand { field: *element, steps: Steps::parse(rest)? });
        }
        let path = Path::parse(text)?;
        Ok(Operand { field: self.fields.path(&path.root), steps: path.steps })
    }

    fn time_op(&mut self, take: &Take) -> Result<Op, String> {
        Ok(match take {
            Take::First(takes) => Op::First(takes.iter().map(|it| self.time_op(it)).collect::<Result<_, _>>()?),
            Take::When(condition, take) => Op::When(self.plain(condition)?, Box::new(self.time_op(take)?)),
            Take::Time(take) => self.op(take)?,
            Take::TimeAs(take, formats) => {
                let formats = formats.iter().map(|it| Format::compile(it)).collect::<Result<_, _>>()?;
                self.then(take, Step::TimeAs(formats))?
            }
            _ => self.op(take)?,
        })
    }

    fn op(&mut self, take: &Take) -> Result<Op, String> {
        Ok(match take {
            Take::Path(path) => Op::Look(self.operand(path)?),
            Take::Text(text) => Op::Constant(self.constants.text(text)),
            Take::First(takes) => Op::First(self.op_list(takes)?),
            Take::When(condition, take) => Op::When(self.plain(condition)?, self.boxed(take)?),
            Take::Group(name) => {
                let index = self.groups.iter().position(|it| it == name);
                Op::Group(index.ok_or_else(|| format!("no case's form has a group `{name}`"))?)
            }
            Take::Capture(take, wording) => {
                let file = self.file;
                let regex = self.regex(&file.spoken(wording)?)?;
                self.then(take, Step::Capture(regex))?
            }
            Take::Lookup(take, name) => {
                let table = self.file.tables.iter().find(|it| it.0 == *name);
                let (_, rows) = table.ok_or_else(|| format!("there is no table `{name}`"))?;
                let rows = rows.iter().map(|(key, value)| (key.as_str().into(), self.constants.text(value)));
                let table = rows.collect();
                self.then(take, Step::Lookup(table))?
            }
            Take::Except(take, words) => self.then(take, Step::Except(take::Words::new(words)))?,
            Take::Address(take) => self.then(take, Step::Address)?,
            Take::Time(_) | Take::TimeAs(..) => return Err("a time is taken only for `@timestamp`".to_string()),
            Take::Json(take, path) => self.then(take, Step::Json(Steps::parse(path)?))?,
            Take::Pairs(take, key) if key.is_empty() => {
                return Err(format!("`Pairs` of `{take:?}` needs a key"));
            }
            Take::Pairs(take, key) => self.then(take, Step::Pairs(key.as_str().into()))?,
            Take::Split(_, separator, _) | Take::List(_, separator) if separator.is_empty() => {
                return Err("the separator is empty".to_string());
            }
            Take::Split(take, separator, place) => self.then(take, Step::Split(separator.as_str().into(), *place))?,
            Take::List(take, separator) => self.then(take, Step::List(separator.as_str().into()))?,
            Take::All(takes) => Op::All(self.op_list(takes)?),
            Take::Join(takes, separator) => Op::Join(self.op_list(takes)?, separator.as_str().into()),
            Take::Lower(take) => self.then(take, Step::Lower)?,
            Take::Trim(take, chars) => self.then(take, Step::Trim(chars.chars().collect()))?,
        })
    }

    fn boxed(&mut self, take: &Take) -> Result<Box<Op>, String> {
        self.op(take).map(Box::new)
    }

    fn then(&mut self, take: &Take, step: Step) -> Result<Op, String> {
        Ok(Op::Then(self.boxed(take)?, Arc::new(step)))
    }

    fn op_list(&mut self, takes: &[Take]) -> Result<Vec<Op>, String> {
        takes.iter().map(|it| self.op(it)).collect()
    }

    fn regex(&mut self, pattern: &str) -> Result<usize, String> {
        if let Some(index) = self.numbers.get(pattern) {
            return Ok(*index);
        }
        self.regexes.push(Late::new(pattern)?);
        self.numbers.insert(pattern.to_string(), self.regexes.len() - 1);
        Ok(self.regexes.len() - 1)
    }

    fn form(&mut self, wording: &Wording) -> Result<Form, String> {
        let file = self.file;
        let pattern = file.spoken(wording)?;
        let regex = self.regex(&pattern)?;
        let mut groups = vec![None; self.groups.len()];
        for (index, name) in pattern::groups(&pattern) {
            if let Some(at) = self.groups.iter().position(|it| *it == name) {
                groups[at] = Some(index);
            }
        }
        Ok(Form { regex, gate: gate(&pattern), groups: groups.into() })
    }
}

/// The literal text that a pattern begins with, as far as a look can tell. Better none than a wrong one.
fn gate(pattern: &str) -> Gate {
    let (anchored, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    if pattern.contains('|') && !alternatives_are_inside(pattern) {
        return Gate::Open;
    }
    let mut literal = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(it) = chars.next() {
        let it = match it {
            '\\' => match chars.next() {
                Some(it) if it.is_ascii_punctuation() => it,
                _ => break,
            },
            '.' | '[' | '(' | ')' | '*' | '+' | '?' | '{' | '}' | '^' | '$' | '|' => break,
            it => it,
        };
        match chars.peek() {
            Some('?' | '*' | '{') => break,
            _ => literal.push(it),
        }
    }
    match (literal.len() >= 3, anchored) {
        (true, true) => Gate::Begins(literal.into()),
        (true, false) => Gate::Holds(Box::new(memchr::memmem::Finder::new(literal.as_bytes()).into_owned())),
        (false, _) => Gate::Open,
    }
}

/// Whether every `|` stands in a group, so that what precedes the first group is always needed.
fn alternatives_are_inside(pattern: &str) -> bool {
    let mut depth = 0i32;
    let mut class = false;
    let mut chars = pattern.chars();
    while let Some(it) = chars.next() {
        match it {
            '\\' => {
                chars.next();
            }
            '[' => class = true,
            ']' => class = false,
            '(' if !class => depth += 1,
            ')' if !class => depth -= 1,
            '|' if !class && depth == 0 => return false,
            _ => {}
        }
    }
    true
}

/// Every ECS name that a record of the schema may have.
fn produces(file: &file::Schema) -> Vec<Box<str>> {
    let set = file.cases.iter().flat_map(|it| &it.set.0);
    let mut names: Vec<&str> = file.fields.0.iter().chain(set).map(|it| it.0.as_str()).collect();
    names.extend(["activity", "event.provider", "event.outcome"]);
    if file.action.is_some() {
        names.push("event.action");
    }
    if !file.tags.is_empty() || file.cases.iter().any(|it| !it.tags.is_empty()) {
        names.push("tags");
    }
    if names.contains(&"user.name") {
        names.push("user.email");
    }
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(Into::into).collect()
}

impl FieldMap {
    /// What the field is made of.
    pub fn get(&self, name: &str) -> Option<&Take> {
        self.0.iter().find(|it| it.0 == name).map(|it| &it.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_never_shuts_out_what_fits() {
        for (pattern, expected) in [
            ("^Accepted (\\w+) for", "^Accepted "),
            ("Failed? x", "Faile"),
            ("^ab", ""),
            ("^abc|def", ""),
            ("^abcd(e|f)", "^abcd"),
            ("(?i)abc", ""),
            ("^pam_unix\\(sshd", "^pam_unix(sshd"),
            ("^user\\d+", "^user"),
            ("^abcd+", "^abcd"),
            ("^abcd{0}", "^abc"),
        ] {
            let found = match gate(pattern) {
                Gate::Begins(it) => format!("^{it}"),
                Gate::Holds(it) => String::from_utf8(it.needle().to_vec()).unwrap(),
                Gate::Open => String::new(),
            };
            assert_eq!(found, expected, "{pattern}");
        }
    }
}
