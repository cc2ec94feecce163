//! `tripline check`: every problem in configuration, rules, schemas and lists.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::output::grouped;
use super::{Common, Exit};
use crate::config;
use crate::engine::{Read, Reader, Reading, RuleSet, Wanted};
use crate::enrich::Enricher;
use crate::enrich::geo::Geo;
use crate::model::{Value, Zone};
use crate::rule::load::Sourced;
use crate::rule::problem::{Level, Problem, Refusal};
use crate::rule::tree::Node;
use crate::runtime::clock;
use crate::runtime::setup::{load_rules, open_geo, problems_of, read_lists};
use crate::schema::file::{Example, Schema};

#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Files and folders of rules and schemas, or a configuration (tripline.ron)
    pub paths: Vec<PathBuf>,
    /// Print the configuration in force, secrets hidden
    #[arg(long)]
    pub print_config: bool,
}

pub fn run(common: &Common, args: CheckArgs) -> Exit {
    let mut choice = common.choice();
    for path in args.paths {
        match config::looks_like_one(&path) {
            true => choice.config = Some(path),
            false => choice.rules.push(path),
        }
    }
    let mut problems = Vec::new();
    let config = config::read(choice.config.as_deref()).unwrap_or_else(|it| keep(it, &mut problems));
    problems.extend(config::problems(&config, choice.config.as_deref()));
    let lists = read_lists(&config).unwrap_or_else(|it| keep(it, &mut problems));
    let geo = open_geo(&choice, &config).map_err(|it| problems.extend(it.problems)).ok();
    let loaded = load_rules(&choice, &config);
    problems.extend(problems_of(&loaded, &lists));
    if !problems.iter().any(|it| it.level == Level::Error) {
        let rules = loaded.rules.iter().map(|it| it.value.clone()).collect();
        let schemas: Vec<_> = loaded.schemas.iter().map(|it| it.value.clone()).collect();
        let own: Vec<_> = loaded.schemas.iter().filter(|it| !it.builtin && !it.value.examples.is_empty()).collect();
        let wanted = if own.is_empty() { Wanted::ByRules } else { Wanted::All };
        match RuleSet::compile(rules, &schemas, &lists, wanted) {
            Ok(set) => problems.extend(broken_examples(&own, Arc::new(set), geo)),
            Err(error) => problems.push(Problem::of_file(&error.rule, error.problem)),
        }
    }
    if args.print_config {
        print!("{}", config::print(&config));
    }
    for problem in &problems {
        eprint!("{}", problem.show(common.color.on_stderr()));
    }
    let errors = problems.iter().filter(|it| it.level == Level::Error).count();
    let warnings = problems.len() - errors;
    if !common.quiet {
        eprintln!(
            "{} rules and {} schemas checked: {}",
            grouped(loaded.rules.len() as u64),
            loaded.schemas.len(),
            match (errors, warnings) {
                (0, 0) => "no problems".to_string(),
                _ => format!("{errors} errors, {warnings} warnings"),
            }
        );
    }
    if problems.is_empty() { Exit::Done } else { Exit::Problems }
}

fn keep<T: Default>(refusal: Refusal, problems: &mut Vec<Problem>) -> T {
    problems.extend(refusal.problems);
    T::default()
}

/// What the examples of these schemas promise and do not keep. Those of the built-in ones are kept by our tests.
fn broken_examples(own: &[&Sourced<Schema>], set: Arc<RuleSet>, geo: Option<Geo>) -> Vec<Problem> {
    let Some(geo) = geo.filter(|_| !own.is_empty()) else { return Vec::new() };
    let mut reader = Reader::new(set.clone(), Enricher::new(Arc::new(geo)));
    let mut problems = Vec::new();
    for schema in own {
        for (number, example) in schema.value.examples.iter().enumerate() {
            let place = Place { schema, number };
            match first_event(&mut reader, &set, example) {
                Err(reason) => problems.push(place.of_line(format!("this record cannot be read: {reason}"))),
                Ok(found) => problems.extend(place.differences(example, &found)),
            }
        }
    }
    problems
}

/// Fields and their values of the first event in an example.
fn first_event(reader: &mut Reader, set: &RuleSet, example: &Example) -> Result<Vec<(String, String)>, &'static str> {
    let mut found: Option<Vec<_>> = None;
    let mut note = |read: &mut Read<'_>, _: &mut Enricher| {
        found.get_or_insert_with(|| {
            let time = read.event().buf.time.map(|it| ("@timestamp".to_string(), it.to_string()));
            let value = |(name, id)| Some((String::from(name), shown(read.event().get(id)?)));
            set.fields.all_mapped().filter_map(value).chain(time).collect()
        });
    };
    let reading = Reading { format: None, zone: Zone::UTC };
    reader.read(&example.line, &reading, clock::now(), &mut note)?;
    Ok(found.unwrap_or_default())
}

fn shown(value: Value<'_>) -> String {
    match value {
        Value::Text(it) | Value::Number(it) | Value::Json(it) => it.to_string(),
        Value::Bool(it) => it.to_string(),
        Value::Null => String::new(),
        Value::List(it) => it.iter().collect::<Vec<_>>().join(", "),
    }
}

/// An example in its file.
struct Place<'a> {
    schema: &'a Sourced<Schema>,
    number: usize,
}

impl Place<'_> {
    fn differences(&self, example: &Example, found: &[(String, String)]) -> Vec<Problem> {
        let get = |name: &str| found.iter().find(|it| it.0 == name).map_or("", |it| it.1.as_str());
        let id = self.schema.value.id.as_str();
        match get("event.provider") {
            "" => vec![self.of_line(format!("`{id}` does not recognise this record")).hint("see its `recognise`")],
            other if other != id => {
                let what = format!("this record is recognised by `{other}`, and not by `{id}`");
                vec![self.of_line(what).hint("a schema with a higher `priority` is asked first")]
            }
            _ => {
                let gives = example.gives.iter().enumerate();
                let wrong = gives.filter(|(_, (name, expected))| get(name) != expected);
                wrong.map(|(index, (name, _))| self.of_value(index, name, get(name))).collect()
            }
        }
    }

    fn of_line(&self, what: String) -> Problem {
        self.at(|text, example| example.field(text, "line").map(Node::head), what)
    }

    fn of_value(&self, index: usize, name: &str, found: &str) -> Problem {
        let pair = |text: &str, example: &Node| {
            let pair = &example.field(text, "gives")?.items().get(index)?.value;
            Some(pair.items().get(1)?.value.head())
        };
        match found {
            "" => self.at(pair, format!("the record gives no `{name}`")),
            it => self.at(pair, format!("the record gives another `{name}`")).expected(format!("{it:?}")),
        }
    }

    fn at(&self, part: impl Fn(&str, &Node) -> Option<Range<usize>>, what: String) -> Problem {
        let (tree, text) = (self.schema.tree(), &self.schema.source.text);
        let examples = tree.field(text, "examples");
        let example = examples.and_then(|it| it.items().get(self.number)).map(|it| &it.value);
        let span = example.and_then(|it| part(text, it)).unwrap_or_else(|| tree.head());
        Problem::at(&self.schema.source, span, what)
    }
}
