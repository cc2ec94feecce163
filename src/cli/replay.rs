//! `tripline replay`: history through the same engine with a virtual clock.

use std::io::{self, BufWriter, IsTerminal};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::output::{AlertWriter, RejectWriter, SuppressedWriter, Writing, summary};
use super::{Common, Exit};
use crate::deliver::terminal::Look;
use crate::engine::save::Lessons;
use crate::engine::{Engine, Rejected, Wanted};
use crate::model::{Alert, Finding, Span};
use crate::runtime::clock::{self, Stopwatch};
use crate::runtime::learn::{learn, take_keys};
use crate::runtime::replay::{Replay, ReplayError, Sink, replay};
use crate::runtime::setup::Setup;
use crate::source::reader::Reader;
use crate::source::{self, SourceError};

#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// Log files (.gz and .zst as they are); `-` or none: stdin
    pub files: Vec<String>,
    /// How alerts are written (default: text on a terminal, ndjson otherwise)
    #[arg(long, value_enum)]
    pub output: Option<Output>,
    /// How long lines that are out of order wait for each other
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = parse_span)]
    pub lateness: Span,
    /// Threads that read and match lines
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Firing and resolved states (the default)
    #[arg(long)]
    pub events: bool,
    /// Only when an alert opens
    #[arg(long, conflicts_with = "events")]
    pub firing_only: bool,
    /// History that the rules learn from first; nothing of it is told (repeatable)
    #[arg(long, value_name = "FILE")]
    pub learn_from: Vec<String>,
    /// Lines that did not become events, one JSON object each
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// What anomaly rules found but their promise had no room for, one JSON object each
    #[arg(long, value_name = "FILE")]
    pub suppressed: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Output {
    Text,
    Ndjson,
    /// One page for a browser, with the alerts that opened
    Html,
}

pub fn parse_span(text: &str) -> Result<Span, String> {
    Span::parse(text)
        .or_else(|| (text == "0").then_some(Span::ZERO))
        .ok_or_else(|| format!("`{text}` is no duration; write 2s, 500ms or 10m"))
}

pub fn run(common: &Common, args: ReplayArgs) -> Exit {
    let mut setup = match Setup::prepare(&common.choice(), Wanted::ByRules) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    let readers = match open(&args.files, setup.config.limits.line.0 as usize) {
        Ok(it) => it,
        Err(exit) => return exit,
    };
    let mut rejects = match RejectWriter::open(args.rejects.as_deref()) {
        Ok(it) => it,
        Err(error) => {
            eprintln!("tripline: the file for rejects cannot be made: {error}");
            return Exit::InputOutput;
        }
    };
    let mut suppressed = match SuppressedWriter::open(args.suppressed.as_deref()) {
        Ok(it) => it,
        Err(error) => {
            eprintln!("tripline: the file for what is suppressed cannot be made: {error}");
            return Exit::InputOutput;
        }
    };
    let look = match args.output {
        Some(Output::Ndjson | Output::Html) => Look::Lines,
        None if !io::stdout().is_terminal() => Look::Lines,
        Some(Output::Text) | None if common.color.on_stdout() => Look::Color { columns: super::columns() },
        Some(Output::Text) | None => Look::Plain,
    };
    let stdout = Box::new(BufWriter::with_capacity(1 << 16, io::stdout()));
    let alerts = match args.output {
        Some(Output::Html) => AlertWriter::page(stdout),
        Some(Output::Text | Output::Ndjson) | None => Ok(AlertWriter::new(stdout, look, args.firing_only)),
    };
    let alerts = match alerts {
        Ok(it) => it,
        Err(error) => {
            eprintln!("tripline: alerts could not be written: {error}");
            return Exit::InputOutput;
        }
    };
    let bar = bar(common, &readers);
    let alerts = match &bar {
        None if args.threads > 1 => Writing::elsewhere(alerts),
        // Beside a bar they are written when it is out of the way.
        Some(_) | None => Writing::Here(alerts),
    };
    let (notes, broken) = (Vec::new(), Vec::new());
    let mut sink = ReplaySink { alerts, rejects: &mut rejects, suppressed: &mut suppressed, bar, notes, broken };
    let reference = clock::now();
    let lessons = match history(common, &mut setup, &args.learn_from, args.lateness) {
        Ok(it) => it,
        Err(exit) => return exit,
    };
    let job = Replay { readers, lateness: args.lateness, threads: usize::from(args.threads), reference, lessons };
    let watch = Stopwatch::start();
    let result = replay(&setup, job, &mut sink);
    let took = watch.elapsed();
    let ReplaySink { alerts, bar, notes, broken, .. } = sink;
    let (fired, written) = alerts.end();
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    // What went wrong with writing is why somebody else could not go on.
    let result = match (result, written) {
        (Ok(_) | Err(ReplayError::Output(_)), Err(error)) => Err(ReplayError::Output(error)),
        (result, _) => result,
    };
    let kept = [rejects.end(), suppressed.end()];
    broken.iter().for_each(|it| eprintln!("tripline: {it}"));
    match result {
        Ok((engine, stats)) => {
            if !common.quiet {
                notes.iter().for_each(|it| eprintln!("{it}"));
                eprint!("{}", summary(&engine, &stats, &fired, took));
            }
            // The process ends now, and gives its memory back at once: piece by piece was 3 % of a run.
            std::mem::forget((engine, setup));
            if kept.iter().all(Result::is_ok) && broken.is_empty() { Exit::Done } else { Exit::InputOutput }
        }
        Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(ReplayError::Output(error)) => {
            eprintln!("tripline: alerts could not be written: {error}");
            Exit::InputOutput
        }
        Err(ReplayError::Input(error)) => {
            eprintln!("tripline: {error}");
            Exit::InputOutput
        }
    }
}

/// What the files teach, those of the command line or else of the configuration. None: no history is named.
fn history(common: &Common, setup: &mut Setup, named: &[String], lateness: Span) -> Result<Option<Lessons>, Exit> {
    let files = setup.history(named);
    if files.is_empty() {
        return Ok(None);
    }
    match take_keys(setup, &files).and_then(|()| learn(setup, &files, lateness, clock::now())) {
        Ok(learned) => {
            if !common.quiet {
                eprintln!("{}", learned.sentence());
            }
            Ok(Some(learned.lessons))
        }
        Err(error) => {
            eprintln!("tripline: {error}");
            Err(Exit::InputOutput)
        }
    }
}

/// Readers for files named on a command line; none means stdin.
pub fn open(files: &[String], line_bytes_max: usize) -> Result<Vec<Reader>, Exit> {
    let stdin = ["-".to_string()];
    let files = if files.is_empty() { &stdin[..] } else { files };
    if files.iter().filter(|it| *it == "-").count() > 1 {
        eprintln!("tripline: `-` is named twice, and standard input can be read only once");
        return Err(Exit::Usage);
    }
    let mut readers = Vec::new();
    for (number, file) in files.iter().enumerate() {
        match source::file::reader(number as u16, file, line_bytes_max) {
            Ok(it) => readers.push(it),
            Err(error) => {
                eprintln!("tripline: {error}");
                return Err(Exit::InputOutput);
            }
        }
    }
    Ok(readers)
}

struct ReplaySink<'a> {
    alerts: Writing,
    rejects: &'a mut RejectWriter,
    suppressed: &'a mut SuppressedWriter,
    bar: Option<ProgressBar>,
    /// What is said about sources at the end.
    notes: Vec<String>,
    /// Files that could not be read to their ends.
    broken: Vec<SourceError>,
}

impl Sink for ReplaySink<'_> {
    fn told(&mut self, alerts: &mut Vec<Alert>) -> io::Result<()> {
        match self.bar.clone() {
            Some(bar) if !alerts.is_empty() => bar.suspend(|| {
                self.alerts.write(alerts)?;
                self.alerts.flush()
            }),
            Some(_) | None => self.alerts.write(alerts),
        }
    }

    fn rejected(&mut self, source: &str, reject: &Rejected) {
        self.rejects.write(source, reject);
    }

    fn wants_suppressed(&self) -> bool {
        self.suppressed.wants()
    }

    fn suppressed(&mut self, rule: &str, finding: &Finding) {
        self.suppressed.write(rule, finding);
    }

    fn broke(&mut self, error: SourceError) -> Result<(), SourceError> {
        self.broken.push(error);
        Ok(())
    }

    fn noted(&mut self, source: &str, note: &'static str) {
        self.notes.push(format!("{source} {note}"));
    }

    fn progress(&mut self, _engine: &Engine, readers: &[Reader]) {
        if let Some(bar) = &self.bar {
            bar.set_position(readers.iter().map(|it| it.progress().bytes_read()).sum());
        }
    }
}

/// A bar, where somebody looks and the length is known.
fn bar(common: &Common, readers: &[Reader]) -> Option<ProgressBar> {
    if common.quiet || !io::stderr().is_terminal() {
        return None;
    }
    let total: Option<u64> = readers.iter().map(|it| it.progress().bytes_total()).sum();
    let bar = ProgressBar::new(total?);
    let style = ProgressStyle::with_template("{bar:30.cyan/blue} {bytes}/{total_bytes} {bytes_per_sec} {eta} left");
    Some(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
}
