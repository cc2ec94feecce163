//! `tripline run`: the service.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;

use super::output::{RejectWriter, summary};
use super::replay::parse_span;
use super::{Common, Exit};
use crate::config;
use crate::deliver::terminal::Look;
use crate::engine::{Rejected, Wanted};
use crate::limits;
use crate::model::{Alert, Span, State};
use crate::rule::problem::Refusal;
use crate::runtime::clock::Stopwatch;
use crate::runtime::live::{self, Live, LiveError, Surroundings};
use crate::runtime::setup::Setup;
use crate::source::SourceConfig;

#[derive(Args, Debug)]
pub struct RunArgs {
    /// A TCP source: address and port
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// How long lines that are out of order wait for each other [default: 2s]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub lateness: Option<Span>,
    /// History that the rules learn from before going live; nothing of it is told (repeatable). With state, only the first time
    #[arg(long, value_name = "FILE")]
    pub learn_from: Vec<String>,
    /// Lines that did not become events, one JSON object each
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
}

pub fn run(common: &Common, args: RunArgs) -> Exit {
    let choice = common.choice();
    let setup = match Setup::prepare(&choice, Wanted::ByRules) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    let problems = config::source_problems(&setup.config, choice.config.as_deref());
    if !problems.is_empty() {
        return common.refuse(&Refusal { problems });
    }
    let look = match common.color.on_stdout() {
        _ if !io::stdout().is_terminal() => Look::Lines,
        true => Look::Color { columns: super::columns() },
        false => Look::Plain,
    };
    let mut sources = setup.config.sources.clone();
    let tcp = |listen: &String| SourceConfig::Tcp {
        listen: listen.clone(),
        ack: false,
        format: None,
        zone: None,
        lateness: None,
        name: None,
    };
    sources.extend(args.listen.iter().map(tcp));
    if sources.is_empty() {
        sources.push(SourceConfig::Stdin { format: None, zone: None, lateness: None, name: None });
    }
    let rejects = match RejectWriter::bounded(args.rejects.as_deref(), limits::REJECTS_FILE_BYTES_MAX) {
        Ok(it) => it,
        Err(error) => {
            eprintln!("tripline: the file for rejects cannot be made: {error}");
            return Exit::InputOutput;
        }
    };
    let mut terminal = Terminal { look, rejects, fired: Default::default(), quiet: common.quiet };
    let live = Live {
        sources,
        lateness: args.lateness.or(setup.config.lateness).unwrap_or(Span::from_secs(2)),
        look,
        watched: Box::new({
            let choice = choice.clone();
            move |setup| choice.files(&setup.config)
        }),
        learn_from: setup.history(&args.learn_from),
        reload: Box::new(move || Setup::prepare(&choice, Wanted::ByRules)),
    };
    let watch = Stopwatch::start();
    let result = live::run(setup, live, &mut terminal);
    let kept = terminal.rejects.end();
    match result {
        Ok((engine, stats)) => {
            if !common.quiet {
                eprint!("{}", summary(&engine, &stats, &terminal.fired, watch.elapsed()));
            }
            if kept.is_ok() { Exit::Done } else { Exit::InputOutput }
        }
        Err(LiveError::System(error)) => Exit::of(Err(error)),
        Err(LiveError::Source(error)) => {
            eprintln!("tripline: {error}");
            Exit::InputOutput
        }
        Err(LiveError::State(error)) => {
            eprintln!("tripline: {error}");
            Exit::StateDamaged
        }
        Err(LiveError::KeeperEnded) => {
            eprintln!(
                "tripline: the part that keeps the state has ended by a mistake of ours; what was acknowledged is kept"
            );
            Exit::InputOutput
        }
        Err(LiveError::Refused(refusal)) => common.refuse(&refusal),
    }
}

struct Terminal {
    look: Look,
    rejects: RejectWriter,
    fired: std::collections::BTreeMap<String, u64>,
    quiet: bool,
}

impl Surroundings for Terminal {
    fn told(&mut self, alerts: &[Alert]) -> io::Result<()> {
        for alert in alerts.iter().filter(|it| it.state == State::Firing) {
            *self.fired.entry(alert.rule.id.clone()).or_default() += 1;
        }
        live::write_all(alerts, self.look)
    }

    fn rejected(&mut self, source: &str, reject: &Rejected) {
        self.rejects.write(source, reject);
    }

    fn say(&mut self, sentence: &str) {
        if !self.quiet {
            eprintln!("tripline: {}", sentence.trim_end());
        }
    }
}
