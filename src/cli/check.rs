//! `tripline check`: every problem in configuration, rules, schemas and lists.

use std::path::PathBuf;

use clap::Args;

use super::output::grouped;
use super::{Common, Exit};
use crate::config;
use crate::engine::{RuleSet, Wanted};
use crate::rule::problem::{Level, Problem, Refusal};
use crate::runtime::setup::{load_rules, open_geo, problems_of, read_lists};

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
    if let Err(refusal) = open_geo(&choice, &config) {
        problems.extend(refusal.problems);
    }
    let loaded = load_rules(&choice, &config);
    problems.extend(problems_of(&loaded, &lists));
    if !problems.iter().any(|it| it.level == Level::Error) {
        let rules = loaded.rules.iter().map(|it| it.value.clone()).collect();
        let schemas: Vec<_> = loaded.schemas.iter().map(|it| it.value.clone()).collect();
        if let Err(error) = RuleSet::compile(rules, &schemas, &lists, Wanted::ByRules) {
            problems.push(Problem::of_file(&error.rule, error.problem));
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
