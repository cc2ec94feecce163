//! Alerts on standard output, rejects in a file, and what is said at the end of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::json;

use super::report;

use crate::deliver::escape;
use crate::deliver::terminal::{self, Look};
use crate::engine::{Engine, Rejected, Stats};
use crate::model::{Alert, Finding, List, Span, State};
use std::time::Duration;

/// Writes alerts and counts them.
pub struct AlertWriter {
    out: Box<dyn Write>,
    /// None: a page.
    look: Option<Look>,
    firing_only: bool,
    /// Alerts that opened, by rule.
    pub fired: BTreeMap<String, u64>,
}

impl AlertWriter {
    pub fn new(out: Box<dyn Write>, look: Look, firing_only: bool) -> AlertWriter {
        AlertWriter { out, look: Some(look), firing_only, fired: BTreeMap::new() }
    }

    /// The same as one HTML page; [`AlertWriter::finish`] ends it.
    pub fn page(mut out: Box<dyn Write>) -> io::Result<AlertWriter> {
        out.write_all(report::head().as_bytes())?;
        Ok(AlertWriter { out, look: None, firing_only: true, fired: BTreeMap::new() })
    }

    /// Nothing more comes.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.look.is_none() {
            self.out.write_all(report::foot(self.fired.values().sum()).as_bytes())?;
        }
        self.flush()
    }

    pub fn write(&mut self, alerts: &mut Vec<Alert>) -> io::Result<()> {
        for alert in alerts.drain(..) {
            match alert.state {
                State::Firing => match self.fired.get_mut(&alert.rule.id) {
                    Some(count) => *count += 1,
                    None => {
                        self.fired.insert(alert.rule.id.clone(), 1);
                    }
                },
                State::Resolved if self.firing_only => continue,
                State::Resolved => {}
            }
            let text = self.look.map_or_else(|| report::article(&alert), |look| terminal::compose(&alert, look));
            self.out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// `--rejects FILE`: one JSON object a line that did not become an event.
pub struct RejectWriter(Sideline);

impl RejectWriter {
    pub fn open(path: Option<&Path>) -> io::Result<RejectWriter> {
        Sideline::open(path, "rejects").map(RejectWriter)
    }

    pub fn write(&mut self, source: &str, reject: &Rejected) {
        self.0.write(|| {
            json!({
                "source": source,
                "line": reject.line,
                "reason": reject.reason,
                "text": String::from_utf8_lossy(&reject.text),
            })
        });
    }

    pub fn flush(&mut self) {
        self.0.flush();
    }
}

/// `--suppressed FILE`: one JSON object for each finding that a promise had no room for.
pub struct SuppressedWriter(Sideline);

impl SuppressedWriter {
    pub fn open(path: Option<&Path>) -> io::Result<SuppressedWriter> {
        Sideline::open(path, "what is suppressed").map(SuppressedWriter)
    }

    pub fn wants(&self) -> bool {
        self.0.file.is_some()
    }

    pub fn write(&mut self, rule: &str, finding: &Finding) {
        self.0.write(|| {
            json!({
                "time": finding.time.to_string(),
                "rule": rule,
                "entity": finding.entity().split(List::SEPARATOR).collect::<Vec<_>>(),
                "score": finding.score,
                "story": finding.story,
                "because": finding.because.clone().into_object(),
            })
        });
    }

    pub fn flush(&mut self) {
        self.0.flush();
    }
}

/// A file beside the output, for those who asked for one. When it can no longer be written, that is said once, and the run goes
/// on.
struct Sideline {
    /// As complaints name it.
    what: &'static str,
    file: Option<BufWriter<File>>,
}

impl Sideline {
    fn open(path: Option<&Path>, what: &'static str) -> io::Result<Sideline> {
        Ok(Sideline { what, file: path.map(File::create).transpose()?.map(BufWriter::new) })
    }

    fn write(&mut self, object: impl FnOnce() -> serde_json::Value) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = writeln!(file, "{}", escape::json(&object())) {
            eprintln!("tripline: {} can no longer be written: {error}", self.what);
            self.file = None;
        }
    }

    fn flush(&mut self) {
        if let Some(Err(error)) = self.file.as_mut().map(Write::flush) {
            eprintln!("tripline: {} could not be written: {error}", self.what);
        }
    }
}

/// What a run did, for people.
pub fn summary(engine: &Engine, stats: &Stats, fired: &BTreeMap<String, u64>, took: Duration) -> String {
    let counts = stats.counts;
    let mut out = String::new();
    let seconds = took.as_secs_f64().max(1e-9);
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{} lines ({} rejected), {} events ({} unrecognised), {} hits, {} alerts in {:.2} s: {} events/s",
        grouped(counts.received),
        grouped(counts.rejected),
        grouped(counts.events),
        grouped(counts.unrecognised),
        grouped(stats.hits),
        grouped(stats.opened),
        seconds,
        grouped((counts.events as f64 / seconds) as u64),
    );
    if stats.late + stats.suspect + counts.without_entity > 0 {
        let _ = writeln!(
            out,
            "{} hits late, {} with a time that cannot be trusted, {} skipped for want of a `by` field",
            grouped(stats.late),
            grouped(stats.suspect),
            grouped(counts.without_entity),
        );
    }
    // A few stragglers are nothing to act on; a log that is out of order is.
    if stats.late * 100 > stats.hits && stats.latest > Span::ZERO {
        let seconds = stats.latest.micros() / 1_000_000 + 1;
        let enough = match seconds {
            0..60 => format!("{seconds}s"),
            60..7200 => format!("{}m", seconds / 60 + 1),
            _ => format!("{}h", seconds / 3600 + 1),
        };
        let _ = writeln!(out, "the log is not in the order of its times: --lateness {enough} would put it in order");
    }
    for (rule, count) in engine.shadowed() {
        let _ = writeln!(out, "  {rule}  {} alerts in the shadow, not told", grouped(count));
    }
    if stats.kept_back > 0 {
        let _ = writeln!(
            out,
            "{} findings of anomaly rules kept back by their promises (--suppressed FILE lists them)",
            grouped(stats.kept_back)
        );
    }
    let width = fired.keys().map(|it| it.len()).max().unwrap_or(0);
    for (rule, count) in fired {
        let findings = engine.by_rule().find(|it| it.0 == rule).map_or(0, |it| it.2);
        let _ = writeln!(out, "  {rule:width$}  {:>7} alerts  {:>9} findings", grouped(*count), grouped(findings));
    }
    out
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
