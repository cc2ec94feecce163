//! `tripline bench quality`: what is found in simulated organisations, and at what price.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use clap::Args;

use super::{Common, Exit};
use crate::bench::org::{Organisation, Settings};
use crate::bench::quality::{Column, Told, speed_rule, table};
use crate::engine::{Engine, Rejected, Wanted};
use crate::model::{Alert, Span, State};
use crate::runtime::clock;
use crate::runtime::replay::{Replay, ReplayError, Sink, replay};
use crate::runtime::setup::{Choice, Setup};
use crate::source;
use crate::source::reader::Reader;

/// How large an organisation is simulated.
#[derive(Args, Clone, Copy, Debug)]
pub struct Size {
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = clap::value_parser!(u32).range(16..=3650))]
    pub days: u32,
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub users: u32,
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub tenants: u32,
}

impl Size {
    pub fn settings(self, seed: u64, clean: bool) -> Settings {
        Settings { seed, days: self.days, users: self.users, tenants: self.tenants, clean }
    }
}

#[derive(Args, Debug)]
pub struct QualityArgs {
    /// First and last: `101..104`
    #[arg(long, value_name = "A..B", default_value = "101..104", value_parser = seeds)]
    pub seeds: (u64, u64),
    #[command(flatten)]
    pub size: Size,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let parsed = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed.filter(|(a, b)| a <= b && b - a < 1000).ok_or_else(|| format!("`{text}` are no seeds; write 101..104"))
}

/// A threshold for each kind: what needs no memory of what is usual.
const SIMPLE: [&str; 4] = ["count", "distinct", "sum", "sequence"];

pub fn run(common: &Common, args: &QualityArgs) -> Exit {
    let choice = common.choice();
    let setup = match Setup::prepare(&choice, Wanted::ByRules) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    let rules = setup.set.rules.iter().map(|it| &it.rule);
    let only = rules.filter(|it| SIMPLE.contains(&it.detect.name())).map(|it| it.id.clone()).collect();
    let simple = match Setup::prepare(&Choice { only, ..choice }, Wanted::ByRules) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    match measure(&setup, &simple, args) {
        Ok(text) => {
            print!("{text}");
            Exit::Done
        }
        Err(error) => {
            eprintln!("tripline: {error}");
            Exit::InputOutput
        }
    }
}

fn measure(setup: &Setup, simple: &Setup, args: &QualityArgs) -> Result<String, String> {
    let mut columns = ["pack, 1 a day", "pack, 5 a day", "thresholds, 1 a day", "thresholds, 5 a day", "over 900 km/h"]
        .map(Column::new);
    let mut clean = 0.0;
    for seed in args.seeds.0..=args.seeds.1 {
        let organisation = Organisation::new(args.size.settings(seed, false));
        let (pack, plain) = (told(setup, &organisation)?, told(simple, &organisation)?);
        let (days, labels) = (args.size.days, &organisation.labels);
        let fast = speed_rule(&organisation.events);
        for (column, (told, budget)) in
            columns.iter_mut().zip([(&pack, 1.0), (&pack, 5.0), (&plain, 1.0), (&plain, 5.0), (&fast, f64::INFINITY)])
        {
            column.add(told, labels, days, budget);
        }
        let quiet = told(setup, &Organisation::new(args.size.settings(seed, true)))?;
        clean += quiet.len() as f64 / f64::from(days);
    }
    let logs = (args.seeds.1 - args.seeds.0 + 1) as f64;
    let Size { days, users, tenants } = args.size;
    Ok(format!(
        "Seeds {}..{}, {days} days, {users} people, {tenants} tenants.\n\n{}\nNobody attacks: {:.2} alerts a day.\n",
        args.seeds.0,
        args.seeds.1,
        table(&columns),
        clean / logs
    ))
}

/// What the rules say of it.
fn told(setup: &Setup, organisation: &Organisation) -> Result<Vec<Told>, String> {
    let path = std::env::temp_dir().join(format!("tripline-quality-{}.ndjson", std::process::id()));
    let told = written(&path, organisation).map_err(|it| it.to_string()).and_then(|()| judged(setup, &path));
    // It may not have been made.
    let _ = std::fs::remove_file(&path);
    told
}

fn written(path: &Path, organisation: &Organisation) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    organisation.events.iter().try_for_each(|it| it.write(&mut file))?;
    file.flush()
}

fn judged(setup: &Setup, path: &Path) -> Result<Vec<Told>, String> {
    let reader = source::file::reader(0, &path.display().to_string(), setup.config.limits.line.0 as usize);
    let readers = vec![reader.map_err(|it| it.to_string())?];
    let job = Replay { readers, lateness: Span::from_secs(2), threads: 1, reference: clock::now(), lessons: None };
    let mut kept = Kept(Vec::new());
    match replay(setup, job, &mut kept) {
        Ok(_) => Ok(kept.0),
        Err(ReplayError::Input(it)) => Err(it.to_string()),
        Err(ReplayError::Output(it)) => Err(it.to_string()),
    }
}

struct Kept(Vec<Told>);

impl Sink for Kept {
    fn told(&mut self, alerts: &mut Vec<Alert>) -> io::Result<()> {
        self.0.extend(alerts.drain(..).filter(|it| it.state == State::Firing).map(|it| Told::of(&it)));
        Ok(())
    }

    fn rejected(&mut self, _source: &str, _reject: &Rejected) {}

    fn progress(&mut self, _engine: &Engine, _readers: &[Reader]) {}
}
