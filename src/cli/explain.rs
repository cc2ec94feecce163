//! `tripline explain`: why a line did, or did not, raise an alert.
//!
//! Nothing is simulated: the line goes through the same reader, the same conditions and the same engine, with the lines before it as
//! history; here every stage is asked what it made of it.

use std::io::Cursor;

use clap::Args;

use super::normalize::Writer;
use super::replay::open;
use super::{Common, Exit};
use crate::deliver::escape;
use crate::detect::Detect;
use crate::engine::rules::Compiled;
use crate::engine::{Engine, Reader, Rejected, RuleSet, Wanted};
use crate::expr::Expr;
use crate::expr::plain::Plain;
use crate::matcher::{Lists, operand};
use crate::model::canonical::canonical;
use crate::model::text::is_hostile;
use crate::model::{Alert, Event, Span, State, Timestamp, Value};
use crate::runtime::clock;
use crate::runtime::newest_first::Compass;
use crate::runtime::replay::{Replay, Sink, replay};
use crate::runtime::setup::{Setup, read_lists};
use crate::source::batch::LineBatch;
use crate::source::frame::Framer;
use crate::source::reader::{HandOver, Progress, Reader as LineReader};

/// How long lines wait for each other here: what `replay` takes where nothing is said.
const LATENESS: Span = Span::from_secs(2);

#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The log; `-` or none: stdin
    pub file: Option<String>,
    /// Which line of it [default: the last]; those before it (behind it, in a log that runs newest first) are its history
    #[arg(long, value_name = "N")]
    pub line: Option<usize>,
}

pub fn run(common: &Common, args: ExplainArgs) -> Exit {
    let setup = match Setup::prepare(&common.choice(), Wanted::All) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    let lists = match read_lists(&setup.config) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    let mut lines = match read(args.file.as_deref(), &setup) {
        Ok(it) => it,
        Err(exit) => return exit,
    };
    let number = args.line.unwrap_or(lines.len());
    if number == 0 || number > lines.len() {
        eprintln!("tripline: there is no line {number}; the log has {} lines", lines.len());
        return Exit::Problems;
    }
    if newest_first(&setup, &lines) {
        lines.drain(..number - 1);
        lines.reverse();
    } else {
        lines.truncate(number);
    }
    let asked = !common.rule.is_empty();
    let explain = Explain { setup: &setup, lists: &lists, history: &lines, number, asked };
    if explain.all() { Exit::Done } else { Exit::Problems }
}

/// The log's lines; those that could not be taken are empty, so that numbers stay right.
fn read(file: Option<&str>, setup: &Setup) -> Result<Vec<String>, Exit> {
    let mut readers = open(&[file.unwrap_or("-").to_string()], setup.config.limits.line.0 as usize)?;
    let mut lines = Vec::new();
    for reader in &mut readers {
        let mut batch = LineBatch::default();
        loop {
            match reader.next(&mut batch) {
                Ok(true) => {
                    for line in batch.lines() {
                        let index = line.number.saturating_sub(1) as usize;
                        lines.resize(lines.len().max(index), String::new());
                        lines.push(line.text.to_string());
                    }
                }
                Ok(false) => break,
                Err(error) => {
                    eprintln!("tripline: {error}");
                    return Err(Exit::InputOutput);
                }
            }
        }
    }
    Ok(lines)
}

/// Whether a replay would read the log from its end.
fn newest_first(setup: &Setup, lines: &[String]) -> bool {
    let reader = Reader::new(setup.set.clone(), setup.enricher());
    let mut compass = Compass { reader, reading: &setup.reading, reference: clock::now(), lateness: LATENESS };
    compass.points_back(lines.iter().map(String::as_str))
}

struct Explain<'a> {
    setup: &'a Setup,
    lists: &'a Lists,
    /// Up to and with the line in question.
    history: &'a [String],
    /// Which line of the log that is.
    number: usize,
    /// Rules were named.
    asked: bool,
}

/// What a hit was about: for the memory of the detector, told as a count.
struct Past {
    time: Option<Timestamp>,
    entity: Vec<String>,
    steps: u32,
    values: Vec<String>,
}

impl Explain<'_> {
    /// Tells everything; whether the line raised, or added to, an alert.
    fn all(&self) -> bool {
        let set = &self.setup.set;
        let Some(line) = self.history.last() else { return false };
        println!("line {}  {}", self.number, shown(line, 200));
        let mut reader = Reader::new(set.clone(), self.setup.enricher());
        let writer = Writer::new(set, false);
        let mut held = Vec::new();
        let mut events = 0;
        let result = reader.read(line, &self.setup.reading, clock::now(), &mut |read, _| {
            events += 1;
            match read.schema {
                Some(index) => println!("\nschema  {}", set.schemas.id(index)),
                None => println!("\nschema  none of the {} loaded ones knows it", set.schemas.len()),
            }
            println!("event   {}", escape::json(&writer.object(read, line)));
            for compiled in &set.rules {
                if self.judge(compiled, read.event()) {
                    held.push(compiled.rule.id.clone());
                }
            }
        });
        if let Err(reason) = result {
            println!("\nno event: the line was rejected ({reason})");
            return false;
        }
        if events == 0 {
            println!("\nno event came of it");
            return false;
        }
        if !self.asked {
            println!(
                "\nrules whose condition holds: {}",
                if held.is_empty() { "none".into() } else { held.join(", ") }
            );
        }
        self.verdict(&held)
    }

    /// Tells how one rule sees an event, where rules were named; whether the condition (or that of a step) holds.
    fn judge(&self, compiled: &Compiled, event: Event<'_>) -> bool {
        let rule = &compiled.rule;
        let parts: Vec<(String, Expr)> = match &rule.detect {
            Detect::Sequence { steps, .. } => steps
                .iter()
                .enumerate()
                .map(|(index, it)| (format!("step {}", index + 1), both(&rule.when, &it.when)))
                .collect(),
            Detect::Absence { first, then, .. } => {
                vec![("first".into(), both(&rule.when, first)), ("then".into(), both(&rule.when, then))]
            }
            Detect::OffHours { told: Some(told), taught: Some(taught), .. } => {
                vec![("told".into(), both(&rule.when, told)), ("taught".into(), both(&rule.when, taught))]
            }
            Detect::FanOut { failed, succeeded, .. } => {
                vec![("failed".into(), both(&rule.when, failed)), ("succeeded".into(), both(&rule.when, succeeded))]
            }
            _ => vec![("when".into(), rule.when.clone())],
        };
        let holds: Vec<bool> = parts.iter().map(|it| self.holds(&it.1, false, event)).collect();
        if self.asked {
            println!("\nrule    {} ({}, {})", rule.id, rule.severity.name(), rule.detect.name());
            for (name, expr) in &parts {
                println!("  {name}");
                self.tree(expr, false, event, 2);
            }
            for (field, by) in compiled.by.iter().zip(&rule.by) {
                match event.text(field.0).filter(|it| !it.is_empty()) {
                    Some(value) => println!("  by    {} = {}", by.field(), shown(value, 80)),
                    None => {
                        println!("  by    {} is absent: the event is about nobody, so it is not counted", by.field())
                    }
                }
            }
            if holds.contains(&true) {
                self.memory(compiled, event);
            }
        }
        holds.contains(&true)
    }

    fn holds(&self, expr: &Expr, folded: bool, event: Event<'_>) -> bool {
        let mut fields = self.setup.set.fields.clone();
        let expr = if folded { Expr::NoCase(Box::new(expr.clone())) } else { expr.clone() };
        let plain = Plain::compile(&expr, &mut |name| operand(name, &mut fields), &|name| self.lists.get(name));
        plain.is_ok_and(|it| it.holds(event))
    }

    /// The condition as a tree, each part with its verdict and the value that decided it.
    fn tree(&self, expr: &Expr, folded: bool, event: Event<'_>, depth: usize) {
        let mark = if self.holds(expr, folded, event) { "✓" } else { "✗" };
        let indent = "  ".repeat(depth);
        match expr {
            Expr::NoCase(part) => self.tree(part, true, event, depth),
            Expr::All(parts) | Expr::Any(parts) => {
                let name = if matches!(expr, Expr::All(_)) { "all of" } else { "any of" };
                println!("{indent}{mark} {name}");
                parts.iter().for_each(|it| self.tree(it, folded, event, depth + 1));
            }
            Expr::Not(part) => {
                println!("{indent}{mark} not");
                self.tree(part, folded, event, depth + 1);
            }
            leaf => {
                let case = if folded { " (without case)" } else { "" };
                let text = ron::to_string(leaf).unwrap_or_default();
                println!("{indent}{mark} {}{case}   {}", shown(&text, 120), self.values(leaf, event));
            }
        }
    }

    /// What the fields of a leaf are in this event.
    fn values(&self, leaf: &Expr, event: Event<'_>) -> String {
        let mut told = Vec::new();
        leaf.fields(&mut |name| {
            let mut fields = self.setup.set.fields.clone();
            let value = operand(name, &mut fields).ok().and_then(|it| event.get(it.field));
            told.push(match value {
                None => format!("{name} is absent"),
                Some(Value::Null) => format!("{name} is null"),
                Some(Value::Bool(it)) => format!("{name} = {it}"),
                Some(Value::Text(it) | Value::Number(it) | Value::Json(it)) => format!("{name} = {}", shown(it, 100)),
                Some(Value::List(it)) => {
                    format!("{name} = [{}]", shown(&it.iter().collect::<Vec<_>>().join(", "), 100))
                }
            });
        });
        told.join(", ")
    }

    /// What the detector can remember of this entity: the hits before this line that are still inside the window.
    fn memory(&self, compiled: &Compiled, event: Event<'_>) {
        let (within, wanted) = match &compiled.rule.detect {
            Detect::Count { at_least, within } => (*within, format!("{at_least} events")),
            Detect::Distinct { field, at_least, within } => (*within, format!("{at_least} different {field}")),
            Detect::Sum { field, at_least, within } => (*within, format!("{at_least} of {field}")),
            Detect::Sequence { steps, within, .. } => (*within, format!("{} steps", steps.len())),
            _ => return,
        };
        let Some(now) = self.past(compiled, event) else { return };
        let mut before = self.pasts(compiled, &now.entity);
        let end = now.time.unwrap_or(Timestamp::MAX);
        before.retain(|it| it.time.is_none_or(|it| it <= end && end.since(it) <= within));
        before.push(now);
        println!(
            "  memory  {} of this entity within {within}, this one included; {wanted} are needed",
            plural(before.len())
        );
        match &compiled.rule.detect {
            Detect::Sum { field, .. } => {
                let numbers = before.iter().flat_map(|it| &it.values).filter_map(|it| it.trim().parse::<f64>().ok());
                println!("          {field} adds up to {}", numbers.sum::<f64>());
            }
            Detect::Distinct { field, .. } => {
                let mut values: Vec<&String> = before.iter().flat_map(|it| &it.values).collect();
                values.sort();
                values.dedup();
                let told: Vec<String> = values.iter().take(10).map(|it| shown(it, 40)).collect();
                println!("          {} different {field}: {}", values.len(), told.join(", "));
            }
            Detect::Sequence { steps, .. } => {
                for (index, step) in steps.iter().enumerate() {
                    let seen = before.iter().filter(|it| it.steps >> index & 1 == 1).count();
                    let kind =
                        if step.absent { "must not come".to_string() } else { format!("{} needed", step.at_least) };
                    println!("          step {}: {}, {kind}", index + 1, plural(seen));
                }
            }
            _ => {}
        }
    }

    /// The hits of an entity among the lines before.
    fn pasts(&self, compiled: &Compiled, entity: &[String]) -> Vec<Past> {
        let mut reader = Reader::new(self.setup.set.clone(), self.setup.enricher());
        let mut all = Vec::new();
        for line in &self.history[..self.history.len() - 1] {
            let _ = reader.read(line, &self.setup.reading, clock::now(), &mut |read, _| {
                let hit = self.past(compiled, read.event());
                all.extend(hit.filter(|it| it.steps != 0 && it.entity == *entity));
            });
        }
        all
    }

    /// The event as a hit of the rule; None where it lacks a field of the entity.
    fn past(&self, compiled: &Compiled, event: Event<'_>) -> Option<Past> {
        let set: &RuleSet = &self.setup.set;
        let mut entity = Vec::new();
        for (field, compare) in &compiled.by {
            let value = event.text(*field).filter(|it| !it.is_empty())?;
            entity.push(canonical(value, *compare).into_owned());
        }
        let mut numbers = Vec::new();
        set.matcher.matches(event, &mut set.matcher.new_scratch(), &mut numbers);
        let owned = numbers.iter().map(|it| set.owners[*it as usize]);
        let steps =
            owned.filter(|it| set.rules[it.0.index()].rule.id == compiled.rule.id).fold(0, |sum, it| sum | it.1);
        let counted = compiled.rule.detect.fields();
        let values = counted.iter().filter_map(|name| {
            let mut fields = set.fields.clone();
            event.text(operand(name, &mut fields).ok()?.field).map(str::to_string)
        });
        Some(Past { time: event.buf.time, entity, steps, values: values.collect() })
    }

    /// Plays the log with and without the line: what differs, it did.
    fn verdict(&self, held: &[String]) -> bool {
        let with = self.alerts(self.history.len());
        let without = self.alerts(self.history.len() - 1);
        println!();
        let mut any = false;
        for alert in &with {
            match without.iter().find(|it| it.id == alert.id) {
                None => println!("alert   {} opened by this line: {}", alert.id, alert.summary),
                Some(before) if before.count < alert.count => {
                    println!("alert   {} was open already; this line added to it: {}", alert.id, alert.summary);
                }
                Some(_) => continue,
            }
            any = true;
        }
        if !any {
            let reason = match held.is_empty() {
                true => "no condition holds",
                false => "the condition holds, and what the rule waits for is not complete",
            };
            println!("no alert: {reason}");
        }
        any
    }

    /// The alerts after so many lines, each in its last state.
    fn alerts(&self, lines: usize) -> Vec<Alert> {
        let text = self.history[..lines].iter().map(|it| it.replace('\n', " ") + "\n").collect::<String>();
        let framer = Framer::new(0, self.setup.config.limits.line.0 as usize);
        let bytes = Box::new(Cursor::new(text.into_bytes()));
        let reader = LineReader::new("log", framer, bytes, HandOver::Full, Progress::default());
        let job =
            Replay { readers: vec![reader], lateness: LATENESS, threads: 1, reference: clock::now(), lessons: None };
        let mut sink = Collect(Vec::new());
        // Lines in memory cannot fail to be read, nor alerts to be kept.
        let _ = replay(self.setup, job, &mut sink);
        sink.0
    }
}

/// Keeps each alert once, as it was last told.
struct Collect(Vec<Alert>);

impl Sink for Collect {
    fn told(&mut self, alerts: &mut Vec<Alert>) -> std::io::Result<()> {
        for alert in alerts.drain(..) {
            match self.0.iter_mut().find(|it| it.id == alert.id) {
                Some(old) if alert.state == State::Resolved => *old = alert,
                Some(_) => {}
                None => self.0.push(alert),
            }
        }
        Ok(())
    }

    fn rejected(&mut self, _source: &str, _reject: &Rejected) {}

    fn progress(&mut self, _engine: &Engine, _readers: &[LineReader]) {}
}

fn both(one: &Expr, other: &Expr) -> Expr {
    match *one == Expr::All(Vec::new()) {
        true => other.clone(),
        false => Expr::All(vec![one.clone(), other.clone()]),
    }
}

fn plural(count: usize) -> String {
    if count == 1 { "1 event".into() } else { format!("{count} events") }
}

/// A text for a terminal: nothing in it moves the cursor.
fn shown(text: &str, chars_max: usize) -> String {
    let safe: String = text.chars().take(chars_max).map(|it| if is_hostile(it) { '·' } else { it }).collect();
    if text.chars().count() > chars_max { safe + "…" } else { safe }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, run as run_cli};
    use super::*;
    use clap::Parser;

    fn check(log: &str, args: &[&str], expected: Exit) {
        let file = std::env::temp_dir().join(format!("tripline-explain-{}-{}.log", std::process::id(), args.join("")));
        std::fs::write(&file, log).unwrap();
        let name = file.display().to_string();
        let cli = Cli::parse_from(["tripline", "explain", &name].into_iter().chain(args.iter().copied()));
        assert_eq!(run_cli(cli), expected, "{args:?}");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_line_raised_an_alert_or_did_not() {
        let failure = |second: usize, who: &str| {
            format!("2025-04-12 08:03:{second:02} | 203.0.113.9 | {who} | Brazil | Login failure\n")
        };
        let log: String = (0..6).map(|it| failure(it, if it == 2 { "bob" } else { "ann" })).collect();
        let rule = "repeated-login-failures";
        check(&log, &["--rule", rule, "--line", "6"], Exit::Done);
        check(&log, &["--rule", rule, "--line", "5"], Exit::Problems);
        check(&log, &["--rule", rule, "--line", "3"], Exit::Problems);
        check(&log, &["--rule", rule, "--line", "9"], Exit::Problems);
        check(&log, &["--rule", "brute-force-success"], Exit::Problems);
        check(&log, &[], Exit::Done);
        check(&(log.clone() + &failure(7, "ann")), &["--rule", rule], Exit::Done);
        check("{broken", &["--line", "1"], Exit::Problems);
        check(&log, &["--rule", "no-such-rule"], Exit::Usage);
    }
}
