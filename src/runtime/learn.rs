//! History before going live: read to its end, and nothing is told.

use super::replay::{Replay, ReplayError, Sink, replay};
use super::setup::Setup;
use crate::engine::save::Lessons;
use crate::engine::{Engine, Rejected};
use crate::model::{Alert, Span, Timestamp};
use crate::source::reader::Reader;
use crate::source::{self, SourceError};

/// What was learned, and from how many events.
pub struct Learned {
    pub lessons: Lessons,
    pub events: u64,
}

impl Learned {
    /// For the operator.
    pub fn sentence(&self) -> String {
        format!("learned from {} events for {} rules; nothing of it was told", self.events, self.lessons.len())
    }
}

/// Reads the files in the order of their times, as a replay does, and keeps what the rules learned. The same set of
/// rules and the same keys must go on with it.
pub fn learn(setup: &Setup, files: &[String], lateness: Span, reference: Timestamp) -> Result<Learned, SourceError> {
    let line_bytes_max = setup.config.limits.line.0 as usize;
    let reader = |(number, file): (usize, &String)| source::file::reader(number as u16, file, line_bytes_max);
    let readers = files.iter().enumerate().map(reader).collect::<Result<Vec<_>, _>>()?;
    let job = Replay { readers, lateness, threads: 1, reference, lessons: None };
    match replay(setup, job, &mut Silent) {
        Ok((engine, stats)) => Ok(Learned { lessons: engine.lessons(), events: stats.counts.events }),
        Err(ReplayError::Input(error)) => Err(error),
        // Nothing is written, so this does not happen.
        Err(ReplayError::Output(error)) => {
            Err(SourceError { place: "history".into(), problem: error.to_string(), advice: String::new() })
        }
    }
}

struct Silent;

impl Sink for Silent {
    fn told(&mut self, alerts: &mut Vec<Alert>) -> std::io::Result<()> {
        alerts.clear();
        Ok(())
    }

    fn rejected(&mut self, _source: &str, _reject: &Rejected) {}

    fn progress(&mut self, _engine: &Engine, _readers: &[Reader]) {}
}
