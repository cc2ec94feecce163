//! Mistakes that every file alone may have made right: limits, titles, names that nothing fills, ids that are taken.
//!
//! These checks see values, not text, so each looks its place up in the rule's shape when it has something to say.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::file::{By, PREFIX_BITS, Rule};
use super::load::Sourced;
use super::problem::Problem;
use super::story::Story;
use super::tree::{Node, content_start, decoded};
use crate::detect::{Detect, Step};
use crate::expr::{Expr, Literal};
use crate::limits;
use crate::model::Span;
use crate::model::path::Path;
use crate::model::text::{distance, nearest};
use crate::model::title::Template;
use crate::schema::file::{ACTIVITIES, Schema};

/// Names that rules may use.
#[derive(Clone, Debug, Default)]
pub struct Names<'a> {
    /// What the loaded schemas and enrichments fill.
    pub fields: BTreeSet<String>,
    schemas: Vec<&'a Schema>,
    /// Whatever else schemas speak of: most of it paths of records, which rules may name too. Asked for only where a name
    /// looks like a mistake, and it takes as long as reading the schemas.
    words: OnceCell<BTreeSet<String>>,
    /// The lists of the configuration. None: not known, so not checked.
    pub lists: Option<BTreeSet<String>>,
}

/// Filled whatever the schema.
const ALWAYS_FILLED: [&str; 19] = [
    "@timestamp",
    "activity",
    "entity.name",
    "entity.target.name",
    "message",
    "tags",
    "event.action",
    "event.original",
    "event.outcome",
    "event.provider",
    "record.values",
    "source.as.number",
    "source.as.organization.name",
    "source.geo.city_name",
    "source.geo.country_iso_code",
    "source.geo.country_name",
    "source.geo.location",
    "source.ip",
    "user.name",
];

impl<'a> Names<'a> {
    pub fn of(schemas: impl IntoIterator<Item = &'a Schema>) -> Names<'a> {
        let mut fields: BTreeSet<String> = ALWAYS_FILLED.iter().map(|it| it.to_string()).collect();
        let schemas: Vec<&Schema> = schemas.into_iter().collect();
        for schema in &schemas {
            let maps = schema.cases.iter().map(|it| &it.set).chain([&schema.fields]);
            fields.extend(maps.flat_map(|it| it.0.iter().map(|(name, _)| name.clone())));
        }
        Names { fields, schemas, words: OnceCell::new(), lists: None }
    }

    fn words(&self) -> &BTreeSet<String> {
        self.words.get_or_init(|| self.schemas.iter().flat_map(|it| words_of(it)).collect())
    }
}

/// Every text of a schema but its examples. Written and read again, for then a new way to take a value needs nothing here.
fn words_of(schema: &Schema) -> Vec<String> {
    let schema = Schema { examples: Vec::new(), ..schema.clone() };
    let Ok(text) = ron::to_string(&schema) else { return Vec::new() };
    let Ok(Some(node)) = super::tree::parse(&text) else { return Vec::new() };
    let mut words = Vec::new();
    node.walk(&mut |it| {
        if it.body == super::tree::Body::Text {
            words.push(decoded(&text[it.span.clone()]));
        }
    });
    words
}

/// Everything wrong with a set of rules that reading them could not see.
pub fn check_rules<'a>(rules: &'a [Sourced<Rule>], names: &'a Names<'a>) -> Vec<Problem> {
    let mut told = Told::default();
    let mut ids: HashMap<&str, &Sourced<Rule>> = HashMap::new();
    for rule in rules {
        let mut checker = Checker { rule, tree: None, names, told: &mut told };
        checker.all();
        if let Some(first) = ids.get(rule.value.id.as_str()) {
            let place = first.place();
            checker.report(Place::Value("id"), format!("the rule id `{}` is taken", rule.value.id), |it| {
                it.note(format!("the other rule of that id stands in {place}"))
                    .hint("alert ids are made of rule ids, so each rule needs its own")
            });
        } else {
            ids.insert(&rule.value.id, rule);
        }
    }
    let known: Vec<&str> = ids.keys().copied().collect();
    for rule in rules {
        Checker { rule, tree: None, names, told: &mut told }.margins(&known);
    }
    told.problems
}

/// What was found so far.
#[derive(Default)]
struct Told<'a> {
    problems: Vec<Problem>,
    /// How many of each file: placing one costs a look at the whole file, and thousands of rules may share one.
    by_file: HashMap<&'a str, usize>,
    /// Names that nothing fills, and the near ones: many rules name the same.
    meant: HashMap<&'a str, Option<&'a str>>,
}

struct Checker<'a, 't> {
    rule: &'a Sourced<Rule>,
    /// Parsed when the first mistake is found.
    tree: Option<Node>,
    names: &'a Names<'a>,
    told: &'t mut Told<'a>,
}

/// Where a mistake stands.
enum Place<'p> {
    /// The value of a field of the rule.
    Value(&'p str),
    /// A text literal under a field of the rule.
    Text(&'p str, &'p str),
    /// The value of a key under a field of the rule.
    Key(&'p str, &'p str),
    /// A step's key, or the step itself.
    Step(usize, Option<&'p str>),
    /// Some bytes of a text literal: the field, which element of its list, the bytes.
    Within(&'p str, Option<usize>, Range<usize>),
}

impl<'a> Checker<'a, '_> {
    fn report(&mut self, place: Place<'_>, what: impl Into<String>, more: impl FnOnce(Problem) -> Problem) {
        let count = self.told.by_file.entry(self.rule.file()).or_default();
        *count += 1;
        if *count > limits::PROBLEMS_PER_FILE_MAX {
            return;
        }
        let is_last = *count == limits::PROBLEMS_PER_FILE_MAX;
        let span = self.find(&place);
        let problem = more(Problem::at(&self.rule.source, span, what));
        self.told.problems.push(if is_last { problem.note(super::load::MORE) } else { problem });
    }

    fn find(&mut self, place: &Place<'_>) -> Range<usize> {
        let rule = self.rule;
        let text: &str = &rule.source.text;
        let tree = self.tree.get_or_insert_with(|| rule.tree());
        let whole = tree.head();
        let under = |key: &str| tree.field(text, key);
        let found = match place {
            Place::Value(key) => under(key).map(Node::head),
            Place::Text(key, value) => under(key).and_then(|it| it.find_text(text, value).or(Some(it.head()))),
            Place::Key(outer, key) => under(outer).map(|it| it.field(text, key).map_or_else(|| it.head(), Node::head)),
            Place::Step(index, key) => under("detect").and_then(|it| it.field(text, "steps")).map(|steps| {
                let step = steps.items().get(*index).map(|it| &it.value);
                let value = step.and_then(|it| key.and_then(|key| it.field(text, key)));
                value.or(step).unwrap_or(steps).head()
            }),
            Place::Within(key, index, bytes) => under(key).map(|node| {
                let node = index.and_then(|it| node.items().get(it)).map_or(node, |it| &it.value);
                let (start, verbatim) = content_start(&text[node.span.clone()]);
                let from = node.span.start + start;
                if verbatim { from + bytes.start..from + bytes.end } else { node.head() }
            }),
        };
        found.unwrap_or(whole)
    }

    fn all(&mut self) {
        let rule = &self.rule.value;
        self.id();
        self.title();
        self.detect();
        self.expr("when", &rule.when);
        self.by();
        if rule.title.trim().is_empty() {
            self.report(Place::Value("title"), "the title is empty", |it| it);
        }
        for (index, tag) in rule.tags.iter().enumerate() {
            if tag.trim().is_empty() || tag.chars().any(|it| it.is_whitespace() || it.is_control()) {
                self.report(Place::Text("tags", tag), format!("`{tag}` is no tag"), |it| {
                    it.expected("a word without spaces")
                });
            } else if rule.tags[..index].contains(tag) {
                self.report(Place::Text("tags", tag), format!("the tag `{tag}` is given twice"), Problem::warning);
            }
        }
        for (index, text) in self.stories() {
            if let Err(error) = Story::parse(text) {
                let place = Place::Within("stories", Some(index), error.span);
                self.report(place, error.what, |it| it.expected(error.expected));
            }
        }
    }

    fn id(&mut self) {
        let id = &self.rule.value.id;
        let fits = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(fits) {
            let meant: String = id
                .to_lowercase()
                .chars()
                .map(|it| if it.is_ascii_alphanumeric() { it } else { '-' })
                .take(64)
                .collect();
            self.report(Place::Value("id"), format!("`{id}` is no rule id"), |it| {
                let it = it.expected("1 to 64 of a to z, 0 to 9 and `-`");
                if meant.is_empty() { it } else { it.hint(format!("for example \"{meant}\"")) }
            });
        }
        if id.starts_with("tripline-") {
            self.report(Place::Value("id"), format!("`{id}`: ids that begin so are Tripline's own"), |it| it);
        }
    }

    fn title(&mut self) {
        let rule = &self.rule.value;
        let template = match Template::parse(&rule.title) {
            Ok(it) => it,
            Err(error) => {
                let place = Place::Within("title", None, error.span);
                return self.report(place, error.what, |it| match error.hint {
                    Some(hint) => it.hint(hint),
                    None => it,
                });
            }
        };
        let is_distinct = matches!(rule.detect, Detect::Distinct { .. });
        for name in template.placeholders() {
            let at = rule.title.find(&format!("{{{name}}}")).unwrap_or(0);
            let span = at..at + name.len() + 2;
            if name == "distinct" && !is_distinct {
                self.report(Place::Within("title", None, span), "`{distinct}` cannot be filled", |it| {
                    it.expected("a rule that detects `Distinct`").hint("did you mean `{count}`?")
                });
            } else if let Some(meant) = meant(self.names, name) {
                self.report(Place::Within("title", None, span), format!("nothing fills `{{{name}}}`"), |it| {
                    it.warning().hint(format!("did you mean `{{{meant}}}`?"))
                });
            }
        }
    }

    fn by(&mut self) {
        let rule = &self.rule.value;
        for (index, by) in rule.by.iter().enumerate() {
            let field = by.field();
            if field.trim().is_empty() {
                self.report(Place::Text("by", field), "an empty name of a field", |it| {
                    it.expected("a field such as `user.name`")
                });
            } else if rule.by[..index].iter().any(|it| it.field() == field) {
                self.report(Place::Text("by", field), format!("`{field}` is given twice"), |it| it);
            }
            self.field("by", field);
            if let By::Prefix(_, bits) = by
                && !PREFIX_BITS.contains(bits)
            {
                let (least, most) = (PREFIX_BITS.start(), PREFIX_BITS.end());
                self.report(Place::Text("by", field), format!("a prefix of {bits} bits"), |it| {
                    it.expected(format!("the leading bits of an IPv6 address, {least} to {most}"))
                });
            }
            if let Detect::Distinct { field: counted, .. } | Detect::Changed { field: counted } = &rule.detect
                && counted == by.field()
            {
                let what = format!("`{field}` is in `by`, so each entity has one value of it and no more");
                self.report(Place::Key("detect", "field"), what, |it| it.expected("a field that is not in `by`"));
            }
        }
        if matches!(rule.detect, Detect::Travel {}) && rule.by.is_empty() {
            let by = By::Default("user.name".into());
            let what = format!("`Travel` needs to know whose journey it is: `by: [\"{}\"]`", by.field());
            self.report(Place::Value("detect"), what, |it| it);
        }
    }

    fn detect(&mut self) {
        let rule = &self.rule.value;
        match &rule.detect {
            Detect::Each | Detect::Travel {} => {}
            Detect::Count { at_least, within } => self.counting(*at_least, *within),
            Detect::Distinct { field, at_least, within } => {
                self.counting(*at_least, *within);
                self.field("detect", field);
            }
            Detect::Sum { field, at_least, within } => {
                if !at_least.is_finite() || *at_least <= 0.0 {
                    let what = format!("`at_least: {at_least}` is always reached");
                    self.report(Place::Key("detect", "at_least"), what, |it| it.expected("a number above 0"));
                }
                if *within == Span::ZERO {
                    self.window();
                }
                self.field("detect", field);
            }
            Detect::Changed { field } | Detect::FirstSeen { field, .. } | Detect::Rare { field, .. } => {
                self.field("detect", field);
            }
            Detect::Spike { bucket, field, .. } => {
                self.bucket(*bucket);
                if !field.is_empty() {
                    self.field("detect", field);
                }
            }
            Detect::Drop { bucket, .. } => self.bucket(*bucket),
            Detect::OffHours { told, taught, .. } => {
                told.iter().chain(taught).for_each(|it| self.expr("detect", it));
                if told.is_some() != taught.is_some() {
                    self.report(Place::Value("detect"), "`told` and `taught` need each other", |it| {
                        it.expected("both, or neither: then `when` says what is told and what teaches")
                    });
                }
            }
            Detect::Beacon { .. } | Detect::Overdue { .. } => {}
            Detect::Risk { half_life, .. } => {
                if *half_life == Span::ZERO {
                    self.report(Place::Key("detect", "half_life"), "what fades at once cannot add up", |it| {
                        it.expected("a duration such as \"1d\"")
                    });
                }
                if rule.by.len() != 1 {
                    self.report(Place::Value("by"), "`Risk` adds up what is found about one field", |it| {
                        it.expected("exactly one field such as `[\"user.name\"]`")
                    });
                }
            }
            Detect::Growth { field, .. } if field.is_empty() => {}
            Detect::Growth { field, .. } => self.field("detect", field),
            Detect::FanOut { field, failed, succeeded, .. } => {
                self.field("detect", field);
                self.expr("detect", failed);
                self.expr("detect", succeeded);
            }
            Detect::Unfamiliar { fields, .. } => {
                if fields.is_empty() {
                    self.report(Place::Key("detect", "fields"), "no fields, so nothing can be unfamiliar", |it| {
                        it.expected("at least one field such as \"source.as.number\"")
                    });
                }
                fields.iter().for_each(|it| self.field("detect", it));
            }
            Detect::Absence { first, then, within } => {
                if *within == Span::ZERO {
                    self.window();
                }
                self.expr("detect", first);
                self.expr("detect", then);
            }
            Detect::Silence { after } => {
                if *after == Span::ZERO {
                    self.report(Place::Key("detect", "after"), "a silence of no length is always there", |it| {
                        it.expected("a duration such as \"15m\"")
                    });
                }
            }
            Detect::Sequence { steps, within, ordered: _ } => {
                if *within == Span::ZERO {
                    self.window();
                }
                self.steps(steps);
            }
        }
    }

    fn counting(&mut self, at_least: u32, within: Span) {
        if at_least == 0 || at_least > limits::AT_LEAST_MAX {
            self.report(Place::Key("detect", "at_least"), format!("`at_least: {at_least}` cannot be counted"), |it| {
                it.expected(format!("1 to {}", limits::AT_LEAST_MAX))
            });
        }
        if within == Span::ZERO {
            self.window();
        }
    }

    fn bucket(&mut self, bucket: Span) {
        if bucket < Span::from_secs(1) || bucket > Span::from_secs(86_400) {
            self.report(Place::Key("detect", "bucket"), format!("a bucket of {bucket} shows no habit"), |it| {
                it.expected("a duration from \"1s\" to \"1d\"")
            });
        }
    }

    fn window(&mut self) {
        self.report(Place::Key("detect", "within"), "a window of no length holds nothing", |it| {
            it.expected("a duration such as \"10m\"")
        });
    }

    fn steps(&mut self, steps: &'a [Step]) {
        if steps.is_empty() {
            self.report(Place::Key("detect", "steps"), "a sequence without steps", |it| {
                it.expected("at least one step")
            });
        }
        if steps.len() > limits::STEPS_MAX {
            let what = format!("{} steps", steps.len());
            self.report(Place::Step(limits::STEPS_MAX, None), what, |it| {
                it.expected(format!("at most {}", limits::STEPS_MAX))
            });
        }
        for (index, step) in steps.iter().enumerate() {
            if step.absent && (index == 0 || index + 1 == steps.len()) {
                let which = if index == 0 { "first" } else { "last" };
                self.report(Place::Step(index, Some("absent")), format!("the {which} step cannot be absent"), |it| {
                    it.hint("`absent: true` says what must not come between the step before it and the step after it")
                });
            }
            if step.at_least == 0 || step.at_least > limits::AT_LEAST_MAX {
                let what = format!("`at_least: {}` cannot be counted", step.at_least);
                self.report(Place::Step(index, Some("at_least")), what, |it| {
                    it.expected(format!("1 to {}", limits::AT_LEAST_MAX))
                });
            }
            self.expr("detect", &step.when);
        }
    }

    fn expr(&mut self, key: &str, expr: &'a Expr) {
        match expr {
            Expr::All(parts) => parts.iter().for_each(|it| self.expr(key, it)),
            Expr::Any(parts) => {
                if parts.is_empty() {
                    self.never(key, "`Any([])` never holds");
                }
                parts.iter().for_each(|it| self.expr(key, it));
            }
            Expr::Not(part) | Expr::NoCase(part) => self.expr(key, part),
            Expr::Eq(field, value) => self.words(key, field, std::slice::from_ref(value)),
            Expr::OneOf(field, values) => {
                if values.is_empty() {
                    self.never(key, &format!("`OneOf(\"{field}\", [])` never holds"));
                }
                self.words(key, field, values);
            }
            Expr::Lt(field, number) | Expr::Le(field, number) | Expr::Gt(field, number) | Expr::Ge(field, number) => {
                if !number.is_finite() {
                    self.report(Place::Text(key, field), format!("`{field}` is compared with no number"), |it| it);
                }
            }
            Expr::Cidr(field, networks) => {
                if networks.0.is_empty() {
                    self.never(key, &format!("`Cidr(\"{field}\", [])` never holds"));
                }
            }
            Expr::InList(_, list) => self.list(key, list),
            Expr::Contains(..)
            | Expr::StartsWith(..)
            | Expr::EndsWith(..)
            | Expr::Glob(..)
            | Expr::Matches(..)
            | Expr::Exists(_)
            | Expr::SameAs(..) => {}
        }
        if !matches!(expr, Expr::All(_) | Expr::Any(_) | Expr::Not(_) | Expr::NoCase(_)) {
            expr.fields(&mut |field| self.field(key, field));
        }
    }

    fn never(&mut self, key: &str, what: &str) {
        self.report(Place::Value(key), what, Problem::warning);
    }

    /// Closed lists: a word outside them would wait for ever.
    fn words(&mut self, key: &str, field: &str, values: &[Literal]) {
        let known: &[&str] = match field {
            "activity" => &ACTIVITIES,
            "event.outcome" => &["success", "failure", "unknown"],
            _ => return,
        };
        for value in values {
            let Literal::Text(word) = value else { continue };
            if known.contains(&word.as_str()) {
                continue;
            }
            let near = nearest(word, known.iter().copied());
            self.report(Place::Text(key, word), format!("no event has {field} `{word}`"), |it| {
                let it = it.warning().expected(format!("one of {}", known.join(", ")));
                match near {
                    Some(near) => it.hint(format!("did you mean `{near}`?")),
                    None => it,
                }
            });
        }
    }

    fn list(&mut self, key: &str, list: &str) {
        let Some(lists) = &self.names.lists else { return };
        if lists.contains(list) {
            return;
        }
        let near = nearest(list, lists.iter().map(String::as_str));
        let expected = match lists.len() {
            0 => "a list of the configuration, which has none".to_string(),
            _ => format!("one of {}", lists.iter().cloned().collect::<Vec<_>>().join(", ")),
        };
        self.report(Place::Text(key, list), format!("there is no list `{list}`"), |it| {
            let it = it.expected(expected);
            match near {
                Some(near) => it.hint(format!("did you mean `{near}`?")),
                None => it.hint(format!("name it in the configuration: lists: {{\"{list}\": \"{list}.txt\"}}")),
            }
        });
    }

    /// A rule may name any path of a record, so a name that nothing fills is only worth a word when one that is filled is near.
    fn field(&mut self, key: &str, field: &'a str) {
        if Path::several(field) {
            return Path::places(field).for_each(|it| self.field(key, it));
        }
        if let Err(what) = Path::parse(field) {
            return self.report(Place::Text(key, field), what, |it| {
                it.expected("a path such as `actor.id` or `target[0].id`")
            });
        }
        let names = self.names;
        let meant = *self.told.meant.entry(field).or_insert_with(|| meant(names, field));
        if let Some(meant) = meant {
            self.report(Place::Text(key, field), format!("nothing fills the field `{field}`"), |it| {
                it.warning().hint(format!("did you mean `{meant}`?"))
            });
        }
    }

    /// The stories that may be wrong. Ours, weeks of log, are played before anybody gets them, and must not be read at every start.
    fn stories(&self) -> impl Iterator<Item = (usize, &'a String)> + use<'a> {
        let (rule, builtin) = (self.rule, self.rule.builtin);
        rule.value.stories.iter().enumerate().filter(move |_| !builtin)
    }

    /// Margins name rules.
    fn margins(&mut self, known: &[&str]) {
        let rule = self.rule;
        for (index, text) in self.stories() {
            let Ok(story) = Story::parse(text) else { continue };
            let mut told: Vec<&str> = story.margins().map(|it| it.rule.as_str()).collect();
            told.dedup();
            for id in told.into_iter().filter(|it| !known.contains(it)) {
                let at = text.find(&format!("! {id} ")).map_or(0, |it| it + 2);
                let near = nearest(id, known.iter().copied());
                let place = Place::Within("stories", Some(index), at..at + id.len());
                self.report(place, format!("the story tells of a rule `{id}`, which there is not"), |it| match near {
                    Some(near) => it.hint(format!("did you mean `{near}`?")),
                    None => it.hint(format!("this rule is `{}`", rule.value.id)),
                });
            }
        }
    }
}

/// Whether rules that name a path of the record so would mean, or seem to mean, a field that schemas fill.
pub fn is_taken(names: &Names<'_>, path: &str) -> bool {
    let root = path.split('[').next().unwrap_or(path);
    names.fields.contains(root) || meant(names, path).is_some()
}

/// The filled field that an unknown name was probably meant to be.
fn meant<'a>(names: &'a Names<'_>, field: &str) -> Option<&'a str> {
    let known = |of: &BTreeSet<String>| of.contains(field);
    if field.starts_with('.') || known(&names.fields) || crate::model::title::WORDS.contains(&field) {
        return None;
    }
    let parts = |it: &str| it.split(['.', '_']).count();
    let alike = |it: &&str| it.contains('.') && parts(it) == parts(field);
    let near = nearest(field, names.fields.iter().map(String::as_str).filter(alike))?;
    // Two letters at most: `source.mac` is not `source.ip`.
    (distance(field, near) <= 2 && !known(names.words())).then_some(near)
}

/// The range of a story's literal in its file.
pub fn story_span(rule: &Sourced<Rule>, index: usize) -> Option<Range<usize>> {
    let tree = rule.tree();
    let stories = tree.field(&rule.source.text, "stories")?;
    let node = &stories.items().get(index)?.value;
    let literal = &rule.source.text[node.span.clone()];
    (decoded(literal) == rule.value.stories[index]).then(|| node.span.clone())
}
