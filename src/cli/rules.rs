//! `tripline rules`: what is loaded.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{Common, Exit};
use crate::config;
use crate::rule::coverage::{Vendor, Verdict, page};
use crate::rule::file::By;
use crate::rule::load::Loaded;
use crate::runtime::setup::load_rules;

#[derive(Args, Debug)]
pub struct RulesArgs {
    #[command(subcommand)]
    pub command: Option<RulesCommand>,
    /// Which rules can fire for which vendor, what is missing where, and the holes
    #[arg(long)]
    pub coverage: bool,
    #[arg(long, value_enum)]
    pub output: Option<Listing>,
}

#[derive(Subcommand, Debug)]
pub enum RulesCommand {
    /// Print one rule as RON
    Show { id: String },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Listing {
    Text,
    Ndjson,
}

pub fn run(common: &Common, args: RulesArgs) -> Exit {
    let choice = common.choice();
    let config = match config::read(choice.config.as_deref()) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    let mut loaded = load_rules(&choice, &config);
    loaded.rules.sort_by(|a, b| a.value.id.cmp(&b.value.id));
    if let Some(RulesCommand::Show { id }) = args.command {
        return match loaded.rules.iter().find(|it| it.value.id == id) {
            Some(rule) => {
                println!("// {}\n{}", rule.place(), rule.text());
                Exit::Done
            }
            None => {
                eprintln!("tripline: there is no rule `{id}` (`tripline rules` lists them)");
                Exit::Usage
            }
        };
    }
    if args.coverage {
        coverage(&loaded, &choice.only, args.output);
        return Exit::Done;
    }
    let chosen = loaded.rules.iter().filter(|it| choice.only.is_empty() || choice.only.contains(&it.value.id));
    let rows: Vec<_> = chosen
        .map(|it| {
            let rule = &it.value;
            let on = choice.turns_on(it, &config);
            (it, rule, on, rule.by.iter().map(By::field).collect::<Vec<_>>())
        })
        .collect();
    if args.output == Some(Listing::Ndjson) {
        for (sourced, rule, on, by) in rows {
            let object = json!({
                "id": rule.id, "severity": rule.severity, "detect": rule.detect.name(), "by": by, "tags": rule.tags,
                "file": sourced.file(), "enabled": on, "shadow": rule.shadow, "title": rule.title,
            });
            println!("{object}");
        }
        return Exit::Done;
    }
    let width = rows.iter().map(|it| it.1.id.len()).max().unwrap_or(0);
    println!("{:width$}  {:8}  {:6}  {:8}  {:24}  {:40}  FILE", "ID", "SEVERITY", "ON", "DETECT", "BY", "TAGS");
    for (sourced, rule, on, by) in rows {
        println!(
            "{:width$}  {:8}  {:6}  {:8}  {:24}  {:40}  {}",
            rule.id,
            rule.severity.name(),
            match (on, rule.shadow) {
                (true, true) => "shadow",
                (true, false) => "on",
                (false, _) => "off",
            },
            rule.detect.name(),
            by.join(", "),
            rule.tags.join(" "),
            sourced.file(),
        );
    }
    Exit::Done
}

/// For each vendor, what it says and which rules that is enough for.
fn coverage(loaded: &Loaded, only: &[String], output: Option<Listing>) {
    let schemas: Vec<_> = loaded.schemas.iter().map(|it| &it.value).collect();
    let rules = loaded.rules.iter().map(|it| &it.value);
    let rules: Vec<_> = rules.filter(|it| only.is_empty() || only.contains(&it.id)).collect();
    if output != Some(Listing::Ndjson) {
        print!("{}", page(&schemas, &rules));
        return;
    }
    for schema in schemas {
        let vendor = Vendor::of(schema);
        let (mut can, mut cannot) = (Vec::new(), serde_json::Map::new());
        for rule in &rules {
            match vendor.judge(rule) {
                Verdict::Can => can.push(rule.id.as_str()),
                Verdict::Cannot(missing) => _ = cannot.insert(rule.id.clone(), missing.into()),
            }
        }
        let object = json!({
            "schema": schema.id, "title": schema.title, "activities": vendor.activities, "tags": vendor.tags,
            "fires": can, "missing": cannot,
        });
        println!("{object}");
    }
}
