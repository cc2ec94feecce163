//! `tripline sim`: the whole service in one thread, from a seed. Not for operators.

use std::collections::BTreeMap;

use clap::Args;

use super::Exit;
use crate::sim::{Bug, Stage};

#[derive(Args, Debug)]
pub struct SimArgs {
    /// The first seed
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    pub runs: u64,
    /// A mistake to be planted: skip-sync, ack-first, drop-tick
    #[arg(long, default_value = "none", value_parser = bug)]
    pub bug: Bug,
    /// Go on after a violation
    #[arg(long)]
    pub all: bool,
}

fn bug(text: &str) -> Result<Bug, String> {
    let names: Vec<&str> = Bug::ALL.iter().map(|it| it.0).collect();
    let found = Bug::ALL.iter().find(|it| it.0 == text);
    found.map(|it| it.1).ok_or_else(|| format!("write one of {}", names.join(", ")))
}

pub fn run(args: SimArgs) -> Exit {
    let stage = Stage::new(if args.runs == 1 { usize::MAX } else { 60 });
    let (mut lives, mut alerts, mut repeats, mut hash) = (0, 0, 0, 0u64);
    let mut violations: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for seed in args.seed..args.seed.saturating_add(args.runs) {
        let run = stage.run(seed, args.bug);
        (lives, alerts, repeats) = (lives + run.lives, alerts + run.alerts, repeats + run.repeats);
        hash = hash.rotate_left(1) ^ run.trace_hash;
        let Some(violation) = run.violation else { continue };
        if !args.all || violations.is_empty() {
            run.trace.iter().for_each(|it| println!("{it}"));
            println!("SEED={seed} trace {:016x}: {violation}", run.trace_hash);
        }
        let kind: String = violation.chars().take_while(|it| !it.is_ascii_digit() && *it != '{').collect();
        violations.entry(kind).or_default().push(seed);
        if !args.all {
            return Exit::Problems;
        }
    }
    println!("{} runs, {lives} lives, {alerts} alerts, {repeats} repeats, trace {hash:016x}", args.runs);
    for (kind, seeds) in &violations {
        println!("{} violations, first SEED={}: {kind}", seeds.len(), seeds[0]);
    }
    if violations.is_empty() { Exit::Done } else { Exit::Problems }
}
