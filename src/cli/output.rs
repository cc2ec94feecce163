//! Alerts on standard output, rejects in a file, and what is said at the end of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::report;

use crate::deliver::escape;
use crate::deliver::terminal::{self, Look};
use crate::engine::{Engine, Rejected, Stats};
use crate::model::{Alert, Finding, List, Span, State};
use crate::runtime::aside::Aside;
use std::time::Duration;

/// Writes alerts and counts them.
pub struct AlertWriter {
    out: Box<dyn Write + Send>,
    /// None: a page.
    look: Option<Look>,
    firing_only: bool,
    /// Alerts that opened, by rule.
    pub fired: BTreeMap<String, u64>,
}

impl AlertWriter {
    pub fn new(out: Box<dyn Write + Send>, look: Look, firing_only: bool) -> AlertWriter {
        AlertWriter { out, look: Some(look), firing_only, fired: BTreeMap::new() }
    }

    /// The same as one HTML page; [`AlertWriter::finish`] ends it.
    pub fn page(mut out: Box<dyn Write + Send>) -> io::Result<AlertWriter> {
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

/// Where alerts are written.
pub enum Writing {
    Here(AlertWriter),
    /// By a thread of its own, in the same order: putting alerts to words takes as long as finding them.
    There(Aside<AlertWriter>),
}

impl Writing {
    pub fn elsewhere(writer: AlertWriter) -> Writing {
        Writing::There(Aside::start(writer, AlertWriter::write))
    }

    /// Writes the alerts, sooner or later. Who writes elsewhere may learn of an error with a later call, or with [`Writing::end`].
    pub fn write(&mut self, alerts: &mut Vec<Alert>) -> io::Result<()> {
        match self {
            Writing::Here(writer) => writer.write(alerts),
            Writing::There(_) if alerts.is_empty() => Ok(()),
            Writing::There(aside) => aside.send(std::mem::take(alerts)),
        }
    }

    /// What is written already is there for others; only of what is written here.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Writing::Here(writer) => writer.flush(),
            Writing::There(_) => Ok(()),
        }
    }

    /// Nothing more comes: how many alerts opened, by rule, and what went wrong first.
    pub fn end(self) -> (BTreeMap<String, u64>, io::Result<()>) {
        let (mut writer, written) = match self {
            Writing::Here(writer) => (writer, Ok(())),
            Writing::There(aside) => aside.end(),
        };
        let ended = written.and_then(|()| writer.finish());
        (writer.fired, ended)
    }
}

/// `--rejects FILE`: one JSON object a line that did not become an event.
pub struct RejectWriter(Sideline);

impl RejectWriter {
    pub fn open(path: Option<&Path>) -> io::Result<RejectWriter> {
        Sideline::open(path, "rejects", u64::MAX).map(RejectWriter)
    }

    /// For a run without an end, whose senders may be anybody: they must not fill the disk.
    pub fn bounded(path: Option<&Path>, bytes_max: u64) -> io::Result<RejectWriter> {
        Sideline::open(path, "rejects", bytes_max).map(RejectWriter)
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

    /// Nothing more comes; Err: not all of it is there.
    pub fn end(&mut self) -> Result<(), Lost> {
        self.0.end()
    }
}

/// `--suppressed FILE`: one JSON object for each finding that a promise had no room for.
pub struct SuppressedWriter(Sideline);

impl SuppressedWriter {
    pub fn open(path: Option<&Path>) -> io::Result<SuppressedWriter> {
        Sideline::open(path, "what is suppressed", u64::MAX).map(SuppressedWriter)
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

    /// Nothing more comes; Err: not all of it is there.
    pub fn end(&mut self) -> Result<(), Lost> {
        self.0.end()
    }
}

/// A file beside the output is not whole, which was said.
#[derive(Debug)]
pub struct Lost;

/// A file beside the output, for those who asked for one. When it can no longer be written, that is said once, and the run goes
/// on: the alerts are worth more. Its exit code tells.
struct Sideline {
    /// As complaints name it.
    what: &'static str,
    path: PathBuf,
    file: Option<BufWriter<File>>,
    is_lost: bool,
    bytes: u64,
    /// Where it would grow beyond, it begins anew, and one older file stays beside it as `NAME.1`.
    bytes_max: u64,
}

impl Sideline {
    fn open(path: Option<&Path>, what: &'static str, bytes_max: u64) -> io::Result<Sideline> {
        let file = path.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Sideline {
            what,
            path: path.map(PathBuf::from).unwrap_or_default(),
            file,
            is_lost: false,
            bytes: 0,
            bytes_max,
        })
    }

    fn write(&mut self, object: impl FnOnce() -> serde_json::Value) {
        if self.file.is_none() {
            return;
        }
        let line = escape::json(&object()) + "\n";
        if let Err(error) = self.append(&line) {
            eprintln!("tripline: {} can no longer be written: {error}", self.what);
            self.file = None;
            self.is_lost = true;
        }
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.bytes_max {
            file.flush()?;
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            fs::rename(&self.path, older)?;
            *file = BufWriter::new(File::create(&self.path)?);
            self.bytes = 0;
        }
        self.bytes += line.len() as u64;
        file.write_all(line.as_bytes())
    }

    fn end(&mut self) -> Result<(), Lost> {
        if let Some(Err(error)) = self.file.as_mut().map(Write::flush) {
            eprintln!("tripline: {} could not be written: {error}", self.what);
            self.is_lost = true;
        }
        if self.is_lost { Err(Lost) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::sample;

    /// A disk with so many bytes.
    struct Disk(std::sync::mpsc::Sender<Vec<u8>>, usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = self.1.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a hundred alerts come to on such a disk, how many are counted, and what is said at the end.
    fn written(how: impl Fn(AlertWriter) -> Writing, bytes: usize) -> (Vec<u8>, u64, Option<io::ErrorKind>) {
        let (to, disk) = std::sync::mpsc::channel();
        let mut writing = how(AlertWriter::new(Box::new(Disk(to, bytes)), Look::Lines, false));
        for number in 0..100 {
            let (one, two) = (sample::alert(), Alert { id: format!("{number:032}"), ..sample::alert() });
            if writing.write(&mut vec![one, two]).is_err() {
                break;
            }
        }
        let (fired, ended) = writing.end();
        (disk.iter().flatten().collect(), fired.values().sum(), ended.err().map(|it| it.kind()))
    }

    #[test]
    fn a_thread_of_its_own_writes_the_same_and_hides_no_error() {
        let here = written(Writing::Here, usize::MAX);
        assert_eq!((here.1, here.2), (200, None));
        assert!(here == written(Writing::elsewhere, usize::MAX));
        let full = written(Writing::elsewhere, here.0.len() / 2);
        assert_eq!(full.2, Some(io::ErrorKind::StorageFull));
        assert!(full.0.len() > here.0.len() / 3 && here.0.starts_with(&full.0));
    }

    #[test]
    fn rejects_of_a_service_take_so_much_room_and_no_more() {
        let folder = std::env::temp_dir().join(format!("tripline-rejects-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, older) = (folder.join("rejects.ndjson"), folder.join("rejects.ndjson.1"));
        let mut rejects = RejectWriter::bounded(Some(&path), 1000).unwrap();
        for line in 0..100 {
            rejects.write("tcp", &Rejected { line, reason: "json", text: Box::from(*b"{") });
        }
        rejects.end().unwrap();
        let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().map(str::to_string).collect::<Vec<_>>();
        let kept = [lines(&older), lines(&path)].concat();
        assert!([&path, &older].iter().all(|it| fs::metadata(it).unwrap().len() <= 1000) && kept.len() > 10);
        assert!(kept.last().unwrap().contains("\"line\":99"), "{kept:?}");
        fs::remove_dir_all(folder).unwrap();
    }
}
