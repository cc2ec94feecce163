//! `tripline bench`: a stated workload through the real pipeline.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::output::grouped;
use super::{Common, Exit};
use crate::bench::org::Organisation;
use crate::bench::rules::{self, Language};
use crate::bench::stages::{self, Stage};
use crate::bench::workload::EVENTS_MIN;
use crate::bench::{Layout, Truth, Workload};
use crate::engine::{Engine, Rejected, Stats, Wanted};
use crate::limits;
use crate::model::{Alert, Span, State, Timestamp};
use crate::runtime::clock::{self, Stopwatch};
use crate::runtime::replay::{Replay, ReplayError, Sink, replay};
use crate::runtime::setup::{Choice, Setup};
use crate::source;
use crate::source::reader::Reader;

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(EVENTS_MIN..=1_000_000_000))]
    pub events: u64,
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    #[arg(long, value_enum, default_value_t = Layout::Ndjson)]
    pub layout: Layout,
    /// The whole built-in pack with geo, instead of one rule that counts
    #[arg(long)]
    pub pack: bool,
    /// So many users with one failed login each, within one window: what they cost in memory
    #[arg(long, value_name = "N", conflicts_with_all = ["events", "seed", "layout", "pack"])]
    pub entities: Option<u64>,
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Times that everything is measured; the least counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub rounds: u16,
    #[arg(long, value_enum, default_value_t = Shown::Text)]
    pub output: Shown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Shown {
    Text,
    Ndjson,
}

#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// What the built-in pack finds in simulated organisations, at how many false alerts, beside simple rules
    Quality(super::quality::QualityArgs),
    /// Write the workload to a file, for other tools
    Generate {
        #[command(subcommand)]
        what: Generate,
    },
}

#[derive(Subcommand, Debug)]
pub enum Generate {
    /// An access log with a known number of brute-force attempts
    Access {
        #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(EVENTS_MIN..=1_000_000_000))]
        events: u64,
        #[arg(long, value_name = "S", default_value_t = 42)]
        seed: u64,
        #[arg(long, value_enum, default_value_t = Layout::Ndjson)]
        layout: Layout,
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// An organisation's log with labelled attacks, and what honest people do that looks like them
    Org {
        #[arg(long, value_name = "S", default_value_t = 42)]
        seed: u64,
        #[command(flatten)]
        size: super::quality::Size,
        /// Nobody attacks
        #[arg(long)]
        clean: bool,
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The attacks: kind, start, end and by which names alerts may call them, one JSON object each
        #[arg(long, value_name = "FILE")]
        labels: Option<PathBuf>,
    },
    /// Rules of mixed shapes for the wide layout
    Rules {
        #[arg(long, value_name = "N", default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=limits::RULES_MAX as i64))]
        count: u32,
        #[arg(long, value_name = "S", default_value_t = 7)]
        seed: u64,
        #[arg(long, value_enum, default_value_t = Language::Ron)]
        language: Language,
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// The question that every tool can be asked.
const RULE: &str = include_str!("../../benches/rules/brute.ron");

pub fn run(common: &Common, args: BenchArgs) -> Exit {
    let done = match args.command {
        Some(BenchCommand::Generate { what }) => generate(what).map(|()| Exit::Done),
        Some(BenchCommand::Quality(args)) => return super::quality::run(common, &args),
        None => measure(common, &args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("tripline: {error}");
        Exit::InputOutput
    })
}

fn generate(what: Generate) -> Result<(), Failure> {
    match what {
        Generate::Access { events, seed, layout, out } => {
            let truth = write_log(events, seed, layout, &out)?;
            println!("{}", expected(events, seed, &truth));
        }
        Generate::Org { seed, size, clean, out, labels } => {
            let organisation = Organisation::new(size.settings(seed, clean));
            let write = |path: &Path, each: &dyn Fn(&mut BufWriter<File>) -> io::Result<()>| {
                let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
                each(&mut file)?;
                file.flush()
            };
            write(&out, &|file| organisation.events.iter().try_for_each(|it| it.write(file)))
                .map_err(|it| Failure::file(&out, &it))?;
            if let Some(labels) = labels {
                write(&labels, &|file| organisation.labels.iter().try_for_each(|it| it.write(file)))
                    .map_err(|it| Failure::file(&labels, &it))?;
            }
            println!("{} events, {} attacks", organisation.events.len(), organisation.labels.len());
        }
        Generate::Rules { count, seed, language, out } => {
            std::fs::write(&out, rules::write(count as usize, language, seed))
                .map_err(|it| Failure::file(&out, &it))?;
        }
    }
    Ok(())
}

fn write_log(events: u64, seed: u64, layout: Layout, path: &Path) -> Result<Truth, Failure> {
    let mut truth = Truth::default();
    let mut write = || -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        for event in Workload::new(events, seed) {
            truth.observe(&event);
            layout.write(&event, &mut out)?;
        }
        out.flush()
    };
    write().map_err(|it| Failure::file(path, &it))?;
    Ok(truth)
}

fn write_entities(entities: u64, path: &Path) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        for number in 0..entities {
            let time = Timestamp::from_micros(1_744_444_800_000_000 + (number * 50_000_000 / entities.max(1)) as i64);
            writeln!(
                out,
                r#"{{"time":"{time}","ip":"203.0.113.9","user":"user{number}@example.com","action":"Login failure"}}"#
            )?;
        }
        out.flush()
    };
    write().map_err(|it| Failure::file(path, &it))
}

fn expected(events: u64, seed: u64, truth: &Truth) -> Value {
    let of = |it: &crate::bench::workload::Recount| json!({"entities": it.entities(), "findings": it.findings});
    json!({"events": events, "seed": seed, "at_least_5_in_60_s": {"by_user": of(&truth.by_user), "by_address": of(&truth.by_address)}})
}

/// What went wrong, for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

impl Failure {
    fn file(path: &Path, error: &io::Error) -> Failure {
        Failure(format!("{}: {error}", path.display()))
    }
}

/// A file that is gone when the benchmark is over.
struct Temporary(PathBuf);

impl Temporary {
    fn new(extension: &str) -> Temporary {
        Temporary(std::env::temp_dir().join(format!("tripline-bench-{}.{extension}", std::process::id())))
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn measure(common: &Common, args: &BenchArgs) -> Result<Exit, Failure> {
    let rule = Temporary::new("ron");
    let log = Temporary::new("log");
    std::fs::write(&rule.0, RULE).map_err(|it| Failure::file(&rule.0, &it))?;
    let watch = Stopwatch::start();
    let choice = match args.pack {
        true => common.choice(),
        false => Choice { no_builtin: true, rules: vec![rule.0.clone()], ..common.choice() },
    };
    let setup = match Setup::prepare(&choice, Wanted::ByRules) {
        Ok(it) => it,
        Err(refusal) => return Ok(common.refuse(&refusal)),
    };
    let loading = watch.elapsed();
    let truth = match args.entities {
        Some(entities) => write_entities(entities, &log.0).map(|()| None)?,
        None => Some(write_log(args.events, args.seed, args.layout, &log.0)?),
    };
    let mut result = Measured { loading, ..whole(&setup, &log.name(), args)? };
    if args.entities.is_none() {
        let stages = stages::measure(&setup, &log.name(), usize::from(args.rounds));
        result.stages = Some(stages.map_err(|it| Failure(it.to_string()))?);
    }
    let wrong = truth.filter(|_| !args.pack).and_then(|it| result.wrong(&it));
    match args.output {
        Shown::Text => print!("{}", result.text(args)),
        Shown::Ndjson => println!("{}", result.json(args)),
    }
    if let Some(wrong) = wrong {
        eprintln!("tripline: the workload's answer is another: {wrong}");
        return Ok(Exit::Problems);
    }
    Ok(Exit::Done)
}

/// The whole way, as `tripline replay` goes it.
fn whole(setup: &Setup, log: &str, args: &BenchArgs) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    let rounds = if args.entities.is_some() { 1 } else { args.rounds };
    for _ in 0..rounds {
        let before = memory("VmRSS");
        let reader = source::file::reader(0, log, setup.config.limits.line.0 as usize);
        let reader = reader.map_err(|it| Failure(it.to_string()))?;
        let job = Replay {
            readers: vec![reader],
            lateness: Span::from_secs(2),
            threads: usize::from(args.threads),
            reference: clock::now(),
            lessons: None,
        };
        let mut tally = Tally::default();
        let watch = Stopwatch::start();
        let (engine, stats) = replay(setup, job, &mut tally).map_err(|it| match it {
            ReplayError::Input(it) => Failure(it.to_string()),
            ReplayError::Output(it) => Failure(it.to_string()),
        })?;
        measured.whole.push(watch.elapsed());
        measured.memory = memory("VmRSS").zip(before);
        measured.stats = stats;
        measured.entities = tally.entities;
        measured.fired = tally.fired;
        drop(engine);
    }
    measured.peak = memory("VmHWM");
    measured.whole.sort_unstable();
    Ok(measured)
}

/// Counts alerts, as somebody who reads them would.
#[derive(Default)]
struct Tally {
    fired: u64,
    entities: usize,
}

impl Sink for Tally {
    fn told(&mut self, alerts: &mut Vec<Alert>) -> io::Result<()> {
        self.fired += alerts.drain(..).filter(|it| it.state == State::Firing).count() as u64;
        Ok(())
    }

    fn rejected(&mut self, _source: &str, _reject: &Rejected) {}

    fn progress(&mut self, engine: &Engine, _readers: &[Reader]) {
        self.entities = self.entities.max(engine.stats().entities);
    }
}

#[derive(Default)]
struct Measured {
    loading: Duration,
    /// Shortest first.
    whole: Vec<Duration>,
    stages: Option<[Duration; Stage::ALL.len()]>,
    stats: Stats,
    fired: u64,
    entities: usize,
    /// Bytes after the last run and before it.
    memory: Option<(u64, u64)>,
    peak: Option<u64>,
}

impl Measured {
    fn wrong(&self, truth: &Truth) -> Option<String> {
        let expected = (truth.by_user.entities() as u64, truth.by_user.findings);
        let found = (self.fired, self.stats.findings);
        (found != expected).then(|| {
            format!("{} alerts with {} findings; expected {} with {}", found.0, found.1, expected.0, expected.1)
        })
    }

    fn least(&self) -> f64 {
        self.whole.first().map_or(f64::NAN, Duration::as_secs_f64)
    }

    fn median(&self) -> f64 {
        self.whole.get(self.whole.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
    }

    /// Nanoseconds an event of each stage alone.
    fn stages(&self) -> Vec<(&'static str, f64)> {
        let events = self.stats.counts.events.max(1) as f64;
        let mut before = Duration::ZERO;
        let stages = self.stages.iter().flatten().zip(Stage::ALL);
        stages
            .map(|(until, stage)| {
                let alone = until.saturating_sub(before).as_nanos() as f64 / events;
                before = before.max(*until);
                (stage.name(), alone)
            })
            .collect()
    }

    fn text(&self, args: &BenchArgs) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        let counts = self.stats.counts;
        let rules = if args.pack { "the built-in pack" } else { "5 failed logins of a user in 60 s" };
        // Writing to a String cannot fail.
        let _ = match args.entities {
            Some(entities) => writeln!(out, "{} users with one failure each; {rules}", grouped(entities)),
            None => writeln!(
                out,
                "{} events, {}, seed {}, {} bytes a line; {rules}; {} threads",
                grouped(counts.events),
                args.layout.name(),
                args.seed,
                counts.bytes / counts.received.max(1),
                args.threads
            ),
        };
        let _ = writeln!(
            out,
            "{} events/s (best of {}; median {}), {} hits, {} findings, {} alerts",
            grouped((counts.events as f64 / self.least()) as u64),
            self.whole.len(),
            grouped((counts.events as f64 / self.median()) as u64),
            grouped(self.stats.hits),
            grouped(self.stats.findings),
            grouped(self.fired),
        );
        for (name, nanos) in self.stages() {
            let _ = writeln!(out, "  {name:18} {nanos:8.1} ns an event");
        }
        let _ = writeln!(out, "loading {:.1} ms", self.loading.as_secs_f64() * 1e3);
        if let (Some((after, before)), Some(peak)) = (self.memory, self.peak) {
            let mib = |it: u64| it as f64 / (1 << 20) as f64;
            let _ = writeln!(
                out,
                "peak RSS {:.1} MiB; before the last run {:.1} MiB, after it {:.1} MiB",
                mib(peak),
                mib(before),
                mib(after)
            );
        }
        if self.entities > 0 {
            let _ = writeln!(out, "{} entities remembered at most", grouped(self.entities as u64));
        }
        out
    }

    fn json(&self, args: &BenchArgs) -> Value {
        let counts = self.stats.counts;
        json!({
            "workload": {"events": counts.events, "layout": args.layout.name(), "seed": args.seed, "entities": args.entities, "pack": args.pack, "threads": args.threads, "bytes": counts.bytes},
            "events_per_s": counts.events as f64 / self.least(),
            "events_per_s_median": counts.events as f64 / self.median(),
            "ns_per_event": self.stages().into_iter().map(|(name, it)| (name.to_string(), it.into())).collect::<serde_json::Map<_, Value>>(),
            "hits": self.stats.hits, "findings": self.stats.findings, "alerts": self.fired, "entities": self.entities,
            "loading_ms": self.loading.as_secs_f64() * 1e3,
            "peak_rss_bytes": self.peak,
        })
    }
}

/// A line of what Linux says of this process, in bytes.
fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
