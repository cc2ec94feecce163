//! From a command line and a configuration to a set of rules that can judge lines.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, Config};
use crate::engine::{Front, Reading, RuleSet, Wanted};
use crate::enrich::Enricher;
use crate::enrich::geo::Geo;
use crate::format;
use crate::matcher::Lists;
use crate::model::country::Country;
use crate::model::{HashKeys, Zone};
use crate::rule::check::{Names, check_rules};
use crate::rule::file::Rule;
use crate::rule::load::{Builtin, Loaded, Sourced, load};
use crate::rule::problem::{Level, Problem, Refusal};

/// What the common flags say.
#[derive(Clone, Default, Debug)]
pub struct Choice {
    pub config: Option<PathBuf>,
    pub rules: Vec<PathBuf>,
    pub no_builtin: bool,
    /// Only these; they are on whatever their files say.
    pub only: Vec<String>,
    /// Only these; all where none is named.
    pub schemas: Vec<String>,
    pub all_rules: bool,
    /// None: recognised line by line.
    pub format: Option<String>,
    pub geoip: Vec<PathBuf>,
}

impl Choice {
    /// Whether a loaded rule is on: rules of one's own are, built-in ones where they or somebody says so.
    pub fn turns_on(&self, rule: &Sourced<Rule>, config: &Config) -> bool {
        let Sourced { value, builtin, .. } = rule;
        match self.only.is_empty() {
            true => {
                value.enabled || !builtin || self.all_rules || config.all_rules || config.enable.contains(&value.id)
            }
            false => self.only.contains(&value.id),
        }
    }
}

impl Choice {
    /// The files and folders that a run is made of: the configuration, rules, schemas and lists. Geo databases look after
    /// themselves.
    pub fn files(&self, config: &Config) -> Vec<PathBuf> {
        let file = self.config.clone().unwrap_or_else(|| PathBuf::from(config::DEFAULT_FILE));
        let lists = config.lists.0.iter().map(|it| it.1.clone());
        [file].into_iter().chain(config.rules.iter().cloned()).chain(self.rules.iter().cloned()).chain(lists).collect()
    }
}

/// Everything a run needs that does not change while it runs.
pub struct Setup {
    pub config: Config,
    pub loaded: Loaded,
    pub set: Arc<RuleSet>,
    pub geo: Arc<Geo>,
    pub reading: Reading,
    pub keys: HashKeys,
}

impl Setup {
    /// Reads the configuration, the rules, schemas and lists it and the flags name, and compiles them.
    pub fn prepare(choice: &Choice, wanted: Wanted) -> Result<Setup, Refusal> {
        let config = config::read(choice.config.as_deref())?;
        let loaded = load_rules(choice, &config);
        let lists = read_lists(&config)?;
        let problems = problems_of(&loaded, &lists);
        if problems.iter().any(|it| it.level == Level::Error) {
            return Err(Refusal { problems });
        }
        let rules = chosen(&loaded.rules, choice, &config)?;
        let schemas: Vec<_> = loaded.schemas.iter().map(|it| it.value.clone()).collect();
        let set = RuleSet::compile(rules, &schemas, &lists, wanted)
            .map_err(|it| Refusal { problems: vec![Problem::of_file(&it.rule, it.problem)] })?;
        let geo = open_geo(choice, &config)?;
        let format = match choice.format.as_deref() {
            None | Some("auto") => None,
            Some(name) => Some(format::find(name).ok_or_else(|| Refusal::of(unknown_format(name)))?),
        };
        Ok(Setup {
            config,
            loaded,
            set: Arc::new(set),
            geo: Arc::new(geo),
            reading: Reading { format, zone: Zone::UTC },
            keys: HashKeys::random(),
        })
    }

    /// The history to learn from: what is named, or else what the configuration names.
    pub fn history(&self, named: &[String]) -> Vec<String> {
        match named.is_empty() {
            true => self.config.learn.from.iter().map(|it| it.display().to_string()).collect(),
            false => named.to_vec(),
        }
    }

    pub fn enricher(&self) -> Enricher {
        Enricher::new(self.geo.clone())
    }

    pub fn front(&self) -> Front {
        Front::new(self.set.clone(), self.keys, self.enricher())
    }
}

/// All rules and schemas that the flags and the configuration name, on or off.
pub fn load_rules(choice: &Choice, config: &Config) -> Loaded {
    let builtin = if choice.no_builtin { Builtin::Schemas } else { Builtin::All };
    let paths: Vec<PathBuf> = config.rules.iter().chain(&choice.rules).cloned().collect();
    let mut loaded = load(&paths, builtin);
    // A schema of one's own takes the place of the built-in one of that id.
    let own: BTreeSet<String> = loaded.schemas.iter().filter(|it| !it.builtin).map(|it| it.value.id.clone()).collect();
    loaded.schemas.retain(|it| !it.builtin || !own.contains(&it.value.id));
    for id in &choice.schemas {
        let known = loaded.schemas.iter().map(|it| it.value.id.as_str());
        if !known.clone().any(|it| it == id) {
            let hint =
                crate::model::text::nearest(id, known).map_or(String::new(), |it| format!("; did you mean `{it}`?"));
            loaded.problems.push(Problem::of_file("--schema", format!("there is no schema `{id}`{hint}")));
        }
    }
    loaded.schemas.retain(|it| choice.schemas.is_empty() || choice.schemas.contains(&it.value.id));
    loaded
}

/// Everything wrong with what was loaded.
pub fn problems_of(loaded: &Loaded, lists: &Lists) -> Vec<Problem> {
    let mut names = Names::of(loaded.schemas.iter().map(|it| &it.value));
    names.lists = Some(lists.names().into_iter().map(str::to_string).collect());
    let mut problems = loaded.problems.clone();
    problems.extend(check_rules(&loaded.rules, &names));
    problems
}

pub fn read_lists(config: &Config) -> Result<Lists, Refusal> {
    let mut lists = Lists::default();
    for (name, path) in &config.lists.0 {
        let text = std::fs::read_to_string(path)
            .map_err(|it| Refusal::of_file(path, format!("the list `{name}` cannot be read: {it}")))?;
        lists.insert(name, &text).map_err(|it| Refusal::of_file(path, it))?;
    }
    Ok(lists)
}

pub fn open_geo(choice: &Choice, config: &Config) -> Result<Geo, Refusal> {
    let files = if choice.geoip.is_empty() { &config.geoip } else { &choice.geoip };
    let geo = match files.is_empty() {
        true => Geo::shipped(),
        false => Geo::open(files).map_err(|it| Refusal::of(it.to_string()))?,
    };
    Ok(geo.with_country_names(|code| Country::find(code).map(Country::name)))
}

/// The rules that are on.
fn chosen(rules: &[Sourced<Rule>], choice: &Choice, config: &Config) -> Result<Vec<Rule>, Refusal> {
    let wanted = if choice.only.is_empty() { &config.enable } else { &choice.only };
    let names: Vec<&str> = rules.iter().map(|it| it.value.id.as_str()).collect();
    if let Some(unknown) = wanted.iter().find(|it| !names.contains(&it.as_str())) {
        let hint = crate::model::text::nearest(unknown, names.iter().copied());
        let hint = hint.map_or(String::new(), |it| format!("; did you mean `{it}`?"));
        return Err(Refusal::of(format!("there is no rule `{unknown}`{hint} (`tripline rules` lists them)")));
    }
    Ok(rules.iter().filter(|it| choice.turns_on(it, config)).map(|it| it.value.clone()).collect())
}

fn unknown_format(name: &str) -> String {
    let names: Vec<&str> = format::FORMATS.iter().map(|it| it.name).collect();
    format!("there is no format `{name}`; there are auto, {}", names.join(", "))
}
