//! Sigma rules to ours.
//!
//! [Sigma](https://sigmahq.io) is how people share detections. Reading it at run time would mean a second rule language with its own
//! mistakes, so rules are turned once, into files that can be read, checked and changed like any other. The easy way, turning what
//! fits and approximating the rest, gives rules that look alive and never fire; so whatever cannot be said exactly is refused with
//! its reason, and what was turned is read back before it counts.

mod aggregate;
mod condition;
mod correlation;
mod portal;
mod regex;
mod source;
#[cfg(test)]
mod tests;
mod value;
mod vendor;
mod windows;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use saphyr::{LoadableYamlNode, Mapping, Scalar, Yaml};

use self::source::LogSource;
use self::value::{Field, Tidy};
use super::check::{Names, check_rules, is_taken};
use super::load::{Builtin, Loaded, load, load_text};
use super::problem::Level;
use crate::expr::Expr;
use crate::expr::plain::Plain;
use crate::matcher::{Lists, operand};
use crate::model::Fields;

/// The first line of every file that an import writes.
pub const MARK: &str = "// Imported from Sigma:";

/// A file of Sigma rules.
pub struct SigmaFile {
    pub name: String,
    pub text: String,
}

/// What came of an import.
#[derive(Default, Debug)]
pub struct Import {
    pub turned: Vec<Turned>,
    pub refused: Vec<Refused>,
    /// Rules that only serve a correlation and give no file of their own.
    pub parts: usize,
    /// Rules that say what an earlier one with their id says.
    pub repeated: usize,
    /// Documents that are no Sigma rules.
    pub others: Vec<String>,
}

/// A rule as we write it.
#[derive(Debug)]
pub struct Turned {
    /// What its file should be called, without folder.
    pub file: String,
    pub text: String,
    pub id: String,
    /// Where it came from.
    pub origin: String,
    /// What is not quite as a Sigma engine would do it.
    pub notes: Vec<String>,
}

/// A rule that could not be turned.
#[derive(Debug)]
pub struct Refused {
    pub origin: String,
    pub title: String,
    pub reason: String,
}

/// Turns all rules of all files. `by` makes the entities of rules that see single events; empty, the whole log is one, and no
/// match is lost for want of a field. `lists` are those of the configuration: what placeholders stand for.
pub fn import(files: &[SigmaFile], by: &[String], lists: &Lists) -> Import {
    let mut import = Import::default();
    let parsed: Vec<_> = files.iter().map(|it| (it, Yaml::load_from_str(&it.text))).collect();
    let mut documents = Vec::new();
    for (file, parsed) in &parsed {
        let refuse = |origin: &str, reason: String, import: &mut Import| {
            import.refused.push(Refused { origin: origin.into(), title: String::new(), reason });
        };
        let yamls = match parsed {
            Ok(it) => it,
            Err(error) => {
                refuse(&file.name, format!("not YAML: {}", write::comment(&error.to_string())), &mut import);
                continue;
            }
        };
        let several = yamls.iter().filter(|it| matches!(it, Yaml::Mapping(_))).count() > 1;
        let mut collection = Collection::default();
        for (index, yaml) in yamls.iter().enumerate() {
            let origin = if several { format!("{}#{}", file.name, index + 1) } else { file.name.clone() };
            match yaml {
                Yaml::Value(Scalar::Null) => {}
                Yaml::Mapping(map) => match collection.take(map) {
                    Ok(Some(map)) if is_sigma(&map) => {
                        let document = Document::new(origin, map);
                        let shares = |it: &&Document<'_>| it.file() == file.name && it.is_called_like(&document);
                        let earlier = documents.iter().filter(shares).count();
                        let number = if collection.global.is_empty() { 0 } else { earlier };
                        documents.push(Document { number, ..document });
                    }
                    Ok(Some(_)) => import.others.push(origin),
                    Ok(None) => {}
                    Err(reason) => refuse(&origin, reason, &mut import),
                },
                _ => import.others.push(origin),
            }
        }
    }
    let turner = Turner { documents, names: names(), by: by.to_vec(), lists };
    turner.all(&mut import);
    import
}

/// Whether a document is meant to be a rule at all.
fn is_sigma(map: &Mapping<'_>) -> bool {
    ["detection", "correlation", "filter", "logsource"].iter().any(|it| get(map, it).is_some())
}

/// What documents of one file share: the first generation of Sigma said with `action` what goes into all that follow.
#[derive(Default)]
struct Collection<'a> {
    global: Mapping<'a>,
    last: Mapping<'a>,
}

impl<'a> Collection<'a> {
    /// The document with what it shares; None where it only says what is shared.
    fn take(&mut self, map: &'a Mapping<'a>) -> Result<Option<Mapping<'a>>, String> {
        let mut whole = match get(map, "action").map(text_of) {
            None => self.global.clone(),
            Some(Some(it)) if it == "repeat" => self.last.clone(),
            Some(Some(it)) if it == "global" => {
                merge(&mut self.global, map);
                return Ok(None);
            }
            Some(Some(it)) if it == "reset" => {
                self.global.clear();
                return Ok(None);
            }
            Some(it) => {
                return Err(format!("`action: {}`: there are global, repeat and reset", it.unwrap_or_default()));
            }
        };
        merge(&mut whole, map);
        self.last = whole.clone();
        Ok(Some(whole))
    }
}

/// Adds what a map says: maps key by key, everything else instead of what was there.
fn merge<'a>(into: &mut Mapping<'a>, map: &Mapping<'a>) {
    for (key, value) in map.iter().filter(|it| it.0.as_str() != Some("action")) {
        match (into.get_mut(key), value) {
            (Some(Yaml::Mapping(old)), Yaml::Mapping(new)) => merge(old, new),
            (Some(old), new) => *old = new.clone(),
            (None, new) => _ = into.insert(key.clone(), new.clone()),
        }
    }
}

/// What the built-in schemas fill: paths of records that must not be taken for it.
fn names() -> Names<'static> {
    static LOADED: OnceLock<Loaded> = OnceLock::new();
    Names::of(LOADED.get_or_init(|| load(&[], Builtin::Schemas)).schemas.iter().map(|it| &it.value))
}

/// One YAML document.
struct Document<'a> {
    origin: String,
    map: Mapping<'a>,
    title: String,
    id: String,
    name: String,
    /// How many before it in its collection are called the same: what they share is mostly all of that.
    number: usize,
}

impl<'a> Document<'a> {
    fn new(origin: String, map: Mapping<'a>) -> Document<'a> {
        let text = |key: &str| get(&map, key).and_then(text_of).unwrap_or_default();
        let (title, id, name) = (text("title"), text("id").to_lowercase(), text("name"));
        Document { origin, map, title, id, name, number: 0 }
    }

    fn file(&self) -> &str {
        self.origin.rsplit_once('#').map_or(self.origin.as_str(), |it| it.0)
    }

    fn is_called_like(&self, other: &Document<'_>) -> bool {
        (&self.id, &self.name, &self.title) == (&other.id, &other.name, &other.title)
    }

    /// Whether `name` is its id or its name.
    fn is_called(&self, name: &str) -> bool {
        !name.is_empty() && (self.id == name.to_lowercase() || self.name == name)
    }

    /// What a filter says, if it is one.
    fn filter(&self) -> Option<&Mapping<'_>> {
        get(&self.map, "filter").and_then(Yaml::as_mapping)
    }

    /// Whether it is a filter of that rule: which names the rule, or all, and is for its log source.
    fn filters(&self, rule: &Document<'_>) -> bool {
        let Some(filter) = self.filter() else { return false };
        let names = get(filter, "rules").map(list_of).unwrap_or_default().into_iter().filter_map(text_of);
        let is_meant = names.into_iter().any(|it| it.eq_ignore_ascii_case("any") || rule.is_called(&it));
        is_meant && get(&rule.map, "detection").is_some() && self.source().covers(&rule.source())
    }

    fn text(&self, key: &str) -> String {
        get(&self.map, key).and_then(text_of).unwrap_or_default()
    }

    fn texts(&self, key: &str) -> Vec<String> {
        get(&self.map, key).map(list_of).unwrap_or_default().into_iter().filter_map(text_of).collect()
    }

    /// What the condition names with `of` and the detection does not have.
    fn idle(&self) -> Vec<String> {
        let Some(detection) = get(&self.map, "detection").and_then(Yaml::as_mapping) else { return Vec::new() };
        let names: Vec<String> = detection.keys().filter_map(text_of).collect();
        let conditions = get(detection, "condition").map(list_of).unwrap_or_default().into_iter().filter_map(text_of);
        conditions.flat_map(|it| condition::without_parts(&it, &names)).collect()
    }

    fn source(&self) -> LogSource {
        let source = get(&self.map, "logsource").and_then(Yaml::as_mapping);
        let text = |key: &str| {
            let it = source.and_then(|it| get(it, key)).and_then(text_of).unwrap_or_default();
            it.to_lowercase()
        };
        LogSource { product: text("product"), service: text("service"), category: text("category") }
    }
}

fn get<'a>(map: &'a Mapping<'a>, key: &str) -> Option<&'a Yaml<'a>> {
    map.iter().find(|(it, _)| it.as_str() == Some(key)).map(|it| it.1)
}

/// A scalar as text.
fn text_of(yaml: &Yaml<'_>) -> Option<String> {
    match yaml {
        Yaml::Value(Scalar::String(it)) => Some(it.to_string()),
        Yaml::Value(Scalar::Integer(it)) => Some(it.to_string()),
        Yaml::Value(Scalar::FloatingPoint(it)) => Some(it.to_string()),
        Yaml::Value(Scalar::Boolean(it)) => Some(it.to_string()),
        _ => None,
    }
}

/// A list's elements, or the one value there is.
fn list_of<'a>(yaml: &'a Yaml<'a>) -> Vec<&'a Yaml<'a>> {
    match yaml {
        Yaml::Sequence(it) => it.iter().collect(),
        it => vec![it],
    }
}

struct Turner<'a> {
    documents: Vec<Document<'a>>,
    names: Names<'static>,
    by: Vec<String>,
    lists: &'a Lists,
}

/// A rule of ours on its way to text.
struct Draft {
    when: Option<Expr>,
    by: Vec<String>,
    /// As RON.
    detect: String,
    /// Appended to the title.
    tail: &'static str,
    notes: Vec<String>,
}

impl Turner<'_> {
    fn all(&self, import: &mut Import) {
        let used = self.used();
        let mut files = BTreeSet::new();
        let mut ids: BTreeMap<String, usize> = BTreeMap::new();
        for (index, document) in self.documents.iter().enumerate() {
            let is_part = used.contains(&index);
            if document.filter().is_some() && self.documents.iter().any(|it| document.filters(it)) {
                import.parts += 1;
                continue;
            }
            let result = self.turn(document);
            let turned = match (result, is_part) {
                (Ok(_), true) => {
                    import.parts += 1;
                    continue;
                }
                (Ok(it), false) => self.finish(document, it, &mut files),
                (Err(reason), _) => Err(reason),
            };
            let turned = turned.and_then(|it| match ids.get(&it.id) {
                Some(first) if self.documents[*first].map == document.map => Ok(None),
                Some(first) => Err(format!("its id is that of {}", self.documents[*first].origin)),
                None => Ok(Some(it)),
            });
            match turned {
                Ok(None) => import.repeated += 1,
                Ok(Some(it)) => {
                    ids.insert(it.id.clone(), index);
                    import.turned.push(it);
                }
                Err(reason) => import.refused.push(Refused {
                    origin: document.origin.clone(),
                    title: write::comment(&document.title),
                    reason: write::comment(&reason),
                }),
            }
        }
    }

    /// The documents that correlations refer to and that are not asked for by themselves.
    fn used(&self) -> BTreeSet<usize> {
        let mut used = BTreeSet::new();
        for document in &self.documents {
            let Some(correlation) = get(&document.map, "correlation").and_then(Yaml::as_mapping) else { continue };
            let generate = [Some(correlation), Some(&document.map)]
                .into_iter()
                .flatten()
                .any(|it| get(it, "generate").and_then(Yaml::as_bool) == Some(true));
            if generate || self.turn(document).is_err() {
                continue;
            }
            let rules = get(correlation, "rules").map(list_of).unwrap_or_default();
            used.extend(rules.into_iter().filter_map(text_of).filter_map(|it| self.find(&it)));
        }
        used
    }

    fn find(&self, name: &str) -> Option<usize> {
        let lower = name.to_lowercase();
        let by_id = self.documents.iter().position(|it| !it.id.is_empty() && it.id == lower);
        by_id.or_else(|| self.documents.iter().position(|it| !it.name.is_empty() && it.name == name))
    }

    fn turn(&self, document: &Document<'_>) -> Result<Draft, String> {
        if get(&document.map, "correlation").is_some() {
            return correlation::turn(self, document);
        }
        if get(&document.map, "filter").is_some() {
            return Err("a filter of rules that are not among the files, or not of its log source".into());
        }
        if let Some(aggregation) = aggregate::of(document) {
            return aggregate::turn(self, document, &aggregation);
        }
        let when = self.condition(document)?;
        let by = self.by.clone();
        let mut notes: Vec<String> = Vec::new();
        if aggregate::timeframe(document).is_some() {
            notes.push("its timeframe says nothing: all of the condition must hold of one event".into());
        }
        notes.extend(document.idle().into_iter().map(|it| {
            format!(
                "the condition keeps away `{it}`, and no part of the detection is called so: is it a slip of the pen?"
            )
        }));
        Ok(Draft { when: Some(when), by, detect: "Each".into(), tail: "", notes })
    }

    /// What an event must satisfy for a rule of single events.
    fn condition(&self, document: &Document<'_>) -> Result<Expr, String> {
        self.condition_of(document, &str::to_string)
    }

    /// The same for a rule that aggregates what satisfies it.
    fn condition_before_aggregation(&self, document: &Document<'_>) -> Result<Expr, String> {
        self.condition_of(document, &|text| text.split('|').next().unwrap_or(text).to_string())
    }

    fn condition_of(&self, document: &Document<'_>, part: &dyn Fn(&str) -> String) -> Result<Expr, String> {
        let detection = get(&document.map, "detection").ok_or("neither a `detection` nor a `correlation`")?;
        let detection = detection.as_mapping().ok_or("`detection` is no map")?;
        let source = document.source();
        source.check()?;
        let mut expr = self.selections(detection, &source, part)?;
        for it in self.documents.iter().filter(|it| it.filters(document)) {
            let filter = it.filter().ok_or("`filter` is no map")?;
            let kept = self.selections(filter, &source, &str::to_string);
            expr = Expr::All(vec![expr, kept.map_err(|why| format!("the filter {}: {why}", it.origin))?]);
        }
        Ok(match source.guard() {
            Some(guard) => Expr::All(vec![guard, expr.flat().hoisted()]).flat(),
            None => expr.flat().hoisted(),
        })
    }

    /// The condition of a detection or of a filter over its parts.
    fn selections(&self, map: &Mapping<'_>, source: &LogSource, part: &dyn Fn(&str) -> String) -> Result<Expr, String> {
        let mut parts = Vec::new();
        for (name, yaml) in map {
            let name = text_of(name).ok_or("a detection without a name")?;
            if matches!(name.as_str(), "condition" | "timeframe" | "rules") {
                continue;
            }
            parts.push((name.clone(), self.detection(yaml, source, 0).map_err(|it| format!("{name}: {it}"))?));
        }
        let conditions = get(map, "condition").map(list_of).unwrap_or_default();
        let mut exprs = Vec::new();
        for it in conditions {
            let text = text_of(it).ok_or("a condition that is no text")?;
            exprs.push(condition::parse(&part(&text), &parts)?);
        }
        match exprs.len() {
            0 => Err("a detection without a condition".into()),
            1 => Ok(exprs.remove(0)),
            _ => Ok(Expr::Any(exprs)),
        }
    }

    /// A map (all of it), a list (one of it), or keywords.
    fn detection(&self, yaml: &Yaml<'_>, source: &LogSource, depth: usize) -> Result<Expr, String> {
        match yaml {
            Yaml::Mapping(map) => {
                let mut parts = Vec::new();
                for (key, value) in map {
                    let key = text_of(key).ok_or("a field without a name")?;
                    parts.push(self.item(&key, value, source)?);
                }
                if parts.is_empty() { Err("an empty map".into()) } else { Ok(Expr::All(parts)) }
            }
            Yaml::Sequence(list) if depth == 0 => {
                let mut parts = Vec::new();
                for it in list {
                    parts.push(self.detection(it, source, 1)?);
                }
                if parts.is_empty() { Err("an empty list".into()) } else { Ok(value::any(parts)) }
            }
            Yaml::Value(_) => self.item("", yaml, source),
            _ => Err("neither a map nor a list of keywords".into()),
        }
    }

    fn item(&self, key: &str, value: &Yaml<'_>, source: &LogSource) -> Result<Expr, String> {
        let mut parts = key.split('|');
        let name = parts.next().unwrap_or_default();
        let modifiers: Vec<&str> = parts.collect();
        let resolve = |name: &str| self.explicit(source.paths(name));
        let inside = modifiers.iter().any(|it| matches!(*it, "contains" | "re"));
        let paths = match (name, inside) {
            ("", _) => None,
            (name, true) => Some(self.explicit(source.places(name))),
            (name, false) => Some(resolve(name)),
        };
        if list_of(value).iter().any(|it| matches!(it, Yaml::Mapping(_))) {
            return Err(format!(
                "`{key}` has conditions of its own inside, which version 2 of the specification does not know"
            ));
        }
        let condition = |paths: Option<Vec<String>>, values: &[&Yaml<'_>]| {
            let field = Field { paths, resolve: &resolve, lists: self.lists, may_be_list: source.has_lists() };
            let expr = value::condition(&field, &modifiers, values);
            expr.map_err(|it| if name.is_empty() { it } else { format!("`{key}`: {it}") })
        };
        let names: Vec<String> = list_of(value).into_iter().filter_map(text_of).collect();
        let empty = paths.iter().flatten().filter(|it| !it.contains('[')).map(|it| value::no_element(it));
        let empty: Vec<Expr> = empty.filter(|_| modifiers.is_empty() && names.iter().any(|it| it == "[]")).collect();
        let mut exprs = vec![condition(paths, &list_of(value))?];
        exprs.extend(empty);
        let attributes = source.attributes(name);
        if !attributes.is_empty() && !names.is_empty() {
            // What an attribute was changed to is JSON in a text: `"False"`, with its quotes.
            let quoted: Vec<Yaml<'_>> =
                names.iter().map(|it| Yaml::Value(Scalar::String(format!("\"{it}\"").into()))).collect();
            let more: &[Yaml<'_>] = if modifiers.is_empty() { &quoted } else { &[] };
            exprs.push(condition(Some(attributes), &list_of(value).into_iter().chain(more).collect::<Vec<_>>())?);
        }
        exprs.extend(source.said_otherwise(name, &names).filter(|_| modifiers.is_empty()));
        Ok(value::any(exprs))
    }

    /// Paths of the record that cannot be taken for fields that schemas fill.
    fn explicit(&self, paths: Vec<String>) -> Vec<String> {
        paths.into_iter().map(|it| if is_taken(&self.names, &it) { format!(".{it}") } else { it }).collect()
    }

    fn finish(&self, document: &Document<'_>, draft: Draft, files: &mut BTreeSet<String>) -> Result<Turned, String> {
        let id = id_of(document).ok_or("no id, name or title to call it by")?;
        let text = text_of_rule(document, &id, &draft);
        let loaded = load_text(&document.origin, &text);
        let problems: Vec<_> = loaded.problems.into_iter().chain(check_rules(&loaded.rules, &self.names)).collect();
        if let Some(problem) = problems.iter().find(|it| it.level == Level::Error) {
            return Err(problem.what.clone());
        }
        let [rule] = loaded.rules.as_slice() else { return Err("what was written is not one rule".into()) };
        let exprs = rule.value.detect.steps().into_iter().chain([&rule.value.when]);
        let mut fields = Fields::default();
        for expr in exprs {
            Plain::compile(expr, &mut |name| operand(name, &mut fields), &|name| self.lists.get(name))?;
        }
        if draft.when.as_ref().is_some_and(|it| *it != rule.value.when) {
            return Err("what was written does not read back as it was meant".into());
        }
        let file = file_name(&document.origin, files);
        Ok(Turned { file, text, id, origin: document.origin.clone(), notes: draft.notes })
    }
}

/// Sigma's id where it has one, else made of its name: stable, for alert ids are made of it.
fn id_of(document: &Document<'_>) -> Option<String> {
    let fits = |it: &String| {
        let kind = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
        !it.is_empty() && it.len() <= 64 && it.bytes().all(kind)
    };
    let slugs = [&document.id, &document.name, &document.title].map(|it| slug(it, '-'));
    let id = std::iter::once(document.id.clone()).chain(slugs).find(fits)?;
    Some(match document.number {
        0 => id,
        number => format!("{}-{}", &id[..id.len().min(56)], number + 1),
    })
}

fn slug(text: &str, between: char) -> String {
    let mut out = String::new();
    for it in text.to_lowercase().chars() {
        match it {
            'a'..='z' | '0'..='9' => out.push(it),
            _ if !out.is_empty() && !out.ends_with(between) => out.push(between),
            _ => {}
        }
    }
    out.truncate(64);
    out.trim_matches(between).to_string()
}

fn file_name(origin: &str, taken: &mut BTreeSet<String>) -> String {
    let path = origin.split('#').next().unwrap_or(origin);
    let stem = Path::new(path).file_stem().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = match slug(&stem, '_') {
        it if it.is_empty() => "rule".to_string(),
        it => it,
    };
    let mut name = format!("{stem}.ron");
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{stem}_{number}.ron");
        number += 1;
    }
    name
}

fn severity(level: &str) -> &'static str {
    match level.to_lowercase().as_str() {
        "informational" | "info" => "Info",
        "low" => "Low",
        "high" => "High",
        "critical" => "Critical",
        _ => "Medium",
    }
}

fn text_of_rule(document: &Document<'_>, id: &str, draft: &Draft) -> String {
    let mut out = format!("{MARK} {}\n", write::comment(&document.origin));
    let mut say = |name: &str, what: String| {
        let what = write::comment(&what);
        if !what.is_empty() {
            out.push_str(&format!("// {name}: {what}\n"));
        }
    };
    say("id", document.text("id"));
    say("name", document.text("name"));
    say("author", document.texts("author").join(", "));
    let license = match document.text("license") {
        it if it.is_empty() => "none named in the rule; that of its collection holds".to_string(),
        it => it,
    };
    say("licence", license);
    say("status", document.text("status"));
    say("date", document.text("date"));
    say("modified", document.text("modified"));
    say("log source", document.source().describe());
    document.texts("references").into_iter().for_each(|it| say("reference", it));
    draft.notes.iter().for_each(|it| say("note", it.clone()));
    let line = |key: &str, value: &str| format!("    {key}: {value},\n");
    let title = if document.title.trim().is_empty() { id.to_string() } else { write::comment(&document.title) };
    let title = title.replace('{', "{{").replace('}', "}}") + draft.tail;
    out.push_str("Rule(\n");
    out.push_str(&line("id", &write::text(id)));
    out.push_str(&line("title", &write::text(&title)));
    out.push_str(&line("severity", severity(&document.text("level"))));
    let mut tags: Vec<String> = Vec::new();
    for tag in document.texts("tags").iter().map(|it| it.split_whitespace().collect::<String>()) {
        if !tag.is_empty() && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if !tags.is_empty() {
        out.push_str(&line("tags", &list(tags)));
    }
    let mut about = vec![paragraph(&document.text("description"))];
    let harmless: Vec<String> = document.texts("falsepositives").iter().map(|it| paragraph(it)).collect();
    if !harmless.is_empty() {
        about.push(format!("False positives: {}", harmless.join("; ")));
    }
    about.retain(|it| !it.is_empty());
    if !about.is_empty() {
        out.push_str(&line("about", &write::text(&about.join("\n\n"))));
    }
    if let Some(when) = &draft.when {
        out.push_str(&line("when", &write::expr(when, 4)));
    }
    if !draft.by.is_empty() {
        out.push_str(&line("by", &list(draft.by.clone())));
    }
    out.push_str(&line("detect", &draft.detect));
    out + ")\n"
}

/// A description on one line a paragraph.
fn paragraph(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(write::comment).filter(|it| !it.is_empty());
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

fn list(texts: Vec<String>) -> String {
    format!("[{}]", texts.iter().map(|it| write::text(it)).collect::<Vec<_>>().join(", "))
}
