//! The command line: one file a command.

pub mod bench;
pub mod check;
pub mod explain;
pub mod geoip;
pub mod import;
pub mod init;
pub mod normalize;
pub mod notify;
pub mod output;
pub mod panics;
mod quality;
pub mod replay;
mod report;
pub mod rules;
pub mod run;
pub mod state;
pub mod score;
pub mod sim;
pub mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::rule::problem::{Level, Refusal};
use crate::runtime::setup::Choice;

/// 0 done · 1 a check found problems · 2 wrong usage or configuration · 3 input or output failed · 4 state damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Done,
    Problems,
    Usage,
    InputOutput,
    StateDamaged,
}

impl Exit {
    /// How a command ends that only reads and writes. Whoever reads our output may leave; that is no failure.
    pub fn of(result: std::io::Result<()>) -> Exit {
        match result {
            Ok(()) => Exit::Done,
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
            Err(error) => {
                eprintln!("tripline: {error}");
                Exit::InputOutput
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Problems => 1,
            Exit::Usage => 2,
            Exit::InputOutput => 3,
            Exit::StateDamaged => 4,
        })
    }
}

#[derive(Parser, Debug)]
#[command(
    name = "tripline",
    version,
    about = "Real-time alerting for access and audit logs",
    after_help = "Examples:
  tripline replay access.log                  what would have fired, from a file (.gz and .zst too)
  tail -F auth.log | tripline run             watch a log, alerts to the terminal
  tripline run --listen 127.0.0.1:7171        lines over TCP
  tripline normalize okta.json                what Tripline understands of a log
  tripline test                               run the stories of the built-in rules
  tripline rules                              what is loaded

Exit codes: 0 done, 1 a check found problems, 2 wrong usage or configuration, 3 input or output failed, 4 state damaged"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Configuration (default: tripline.ron where it exists)
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A file or folder of .ron rules and schemas, added to the built-in pack
    #[arg(long, global = true, value_name = "PATH")]
    pub rules: Vec<PathBuf>,
    /// Leave the built-in detections out; schemas stay
    #[arg(long, global = true)]
    pub no_builtin: bool,
    /// Only this rule (repeatable)
    #[arg(long, global = true, value_name = "ID")]
    pub rule: Vec<String>,
    /// Know only this schema's records (repeatable)
    #[arg(long, global = true, value_name = "ID")]
    pub schema: Vec<String>,
    /// Also the single-event signals that are off unless asked for
    #[arg(long, global = true)]
    pub all_rules: bool,
    /// How lines are written: auto, json, keyrunner, syslog, logfmt, cef, combined, text
    #[arg(long, global = true, value_name = "NAME", default_value = "auto")]
    pub format: String,
    /// A MaxMind-format database (repeatable; default: the country database inside)
    #[arg(long, global = true, value_name = "FILE.mmdb")]
    pub geoip: Vec<PathBuf>,
    /// Say less: no summary, no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    pub verbose: bool,
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    pub fn on_stdout(self) -> bool {
        self.decide(std::io::IsTerminal::is_terminal(&std::io::stdout()))
    }

    pub fn on_stderr(self) -> bool {
        self.decide(std::io::IsTerminal::is_terminal(&std::io::stderr()))
    }

    fn decide(self, terminal: bool) -> bool {
        match self {
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty()),
            Color::Always => true,
            Color::Never => false,
        }
    }
}

/// How wide the terminal is that standard output goes to; without end where it goes elsewhere, or will not say.
pub fn columns() -> usize {
    console::Term::stdout().size_checked().map_or(usize::MAX, |(_, columns)| usize::from(columns).max(40))
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// The service: sources in, alerts out
    Run(run::RunArgs),
    /// History through the engine: what would have fired
    Replay(replay::ReplayArgs),
    /// Decode and enrich only: one JSON object a record, in input order
    Normalize(normalize::NormalizeArgs),
    /// Every problem in configuration, rules, schemas and lists, with its place
    Check(check::CheckArgs),
    /// Run the stories in rule files
    Test(test::TestArgs),
    /// The loaded rules
    Rules(rules::RulesArgs),
    /// A stated workload through the real pipeline: events/s, ns/event by stage, memory
    Bench(bench::BenchArgs),
    /// Why a line did, or did not, raise an alert (name rules with --rule)
    Explain(explain::ExplainArgs),
    /// A first schema for a log of your own, from a sample of it
    Init(init::InitArgs),
    /// Rules that others wrote, as rules of ours
    Import(import::ImportArgs),
    /// Ask the loaded geo databases
    Geoip(geoip::GeoipArgs),
    /// What is remembered, and whether it is sound
    State(state::StateArgs),
    /// Judge a series of numbers: CSV timestamp,value in, a score a row out
    Score(score::ScoreArgs),
    /// The whole service in one thread, from a seed
    #[command(hide = true)]
    Sim(sim::SimArgs),
    /// Try a receiver: send a test alert, or see the message
    Notify(notify::NotifyArgs),
}

impl Common {
    pub fn choice(&self) -> Choice {
        Choice {
            config: self.config.clone(),
            rules: self.rules.clone(),
            no_builtin: self.no_builtin,
            only: self.rule.clone(),
            schemas: self.schema.clone(),
            all_rules: self.all_rules,
            format: Some(self.format.clone()),
            geoip: self.geoip.clone(),
        }
    }

    /// Shows why nothing can run; the exit code that says so.
    pub fn refuse(&self, refusal: &Refusal) -> Exit {
        for problem in refusal.problems.iter().filter(|it| it.level == Level::Error) {
            eprint!("{}", problem.show(self.color.on_stderr()));
        }
        Exit::Usage
    }
}

pub fn run(cli: Cli) -> Exit {
    let Cli { command, common } = cli;
    match command {
        Command::Run(args) => run::run(&common, args),
        Command::State(args) => state::run(&common, args),
        Command::Sim(args) => sim::run(args),
        Command::Score(args) => score::run(&common, args),
        Command::Notify(args) => notify::run(&common, args),
        Command::Replay(args) => replay::run(&common, args),
        Command::Normalize(args) => normalize::run(&common, args),
        Command::Check(args) => check::run(&common, args),
        Command::Test(args) => test::run(&common, args),
        Command::Rules(args) => rules::run(&common, args),
        Command::Bench(args) => bench::run(&common, args),
        Command::Explain(args) => explain::run(&common, args),
        Command::Init(args) => init::run(&common, args),
        Command::Import(args) => import::run(&common, args),
        Command::Geoip(args) => geoip::run(&common, args),
    }
}
