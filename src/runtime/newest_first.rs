//! Logs that run newest first, as consoles and audit APIs export them.
//!
//! To the engine every line of such a log is later than the lateness allows, and a rule that counts within ten minutes has
//! forgotten what its window held. Waiting for the whole log would make every replay hold everything. So the first lines are
//! asked for their times, and only a log that runs backwards is taken in whole and read from its end: the alerts are those of
//! the same log the other way round, with the lines' own numbers.

use crate::engine::{Reader as EventReader, Reading};
use crate::limits;
use crate::model::{Span, Timestamp};
use crate::source::SourceError;
use crate::source::batch::LineBatch;
use crate::source::reader::Reader;

/// Of ten steps between lines, so many must lead back in time: exports are sorted, with a few ties and strays.
const BACK_OF_TEN: usize = 9;

/// In which direction a source is read.
#[derive(Default)]
pub enum Course {
    /// No line of it was seen yet.
    #[default]
    Unknown,
    Forwards,
    /// Taken in whole, last batch last; the error came after everything that could be read.
    Backwards {
        held: Vec<LineBatch>,
        error: Option<SourceError>,
    },
    /// Newest first, and too large to be taken in: what was taken, first batch last, then the rest as it comes.
    TooLarge {
        held: Vec<LineBatch>,
    },
}

/// Finds out a source's course and follows it.
pub struct Compass<'a> {
    pub reader: EventReader,
    pub reading: &'a Reading,
    pub reference: Timestamp,
    pub lateness: Span,
}

impl Course {
    /// Fills the batch with the next lines of the source; see [`Reader::next`].
    pub fn next(
        &mut self,
        source: &mut Reader,
        batch: &mut LineBatch,
        compass: &mut Compass<'_>,
    ) -> Result<bool, SourceError> {
        match self {
            Course::Forwards => source.next(batch),
            Course::Backwards { held, error } => match (held.pop(), error.take()) {
                (Some(last), rest) => {
                    *error = rest;
                    *batch = last;
                    batch.turn();
                    Ok(true)
                }
                (None, Some(error)) => Err(error),
                (None, None) => Ok(false),
            },
            Course::TooLarge { held } => match held.pop() {
                Some(first) => {
                    *batch = first;
                    Ok(true)
                }
                None => source.next(batch),
            },
            Course::Unknown => {
                if !source.next(batch)? {
                    return Ok(false);
                }
                let backwards = compass.lateness > Span::ZERO && compass.points_back(batch.lines().map(|it| it.text));
                if !backwards {
                    *self = Course::Forwards;
                    return Ok(true);
                }
                let number = batch.source;
                *self = take_in(source, std::mem::replace(batch, LineBatch::of(number)));
                self.next(source, batch, compass)
            }
        }
    }

    /// What a person should know of it.
    pub fn note(&self) -> Option<&'static str> {
        match self {
            Course::Unknown | Course::Forwards => None,
            Course::Backwards { .. } => Some("runs newest first, so it was read from its end"),
            Course::TooLarge { .. } => Some(
                "runs newest first and is too large to be turned, so its lines were late: tac FILE | tripline replay",
            ),
        }
    }
}

/// Reads the rest of a source.
fn take_in(source: &mut Reader, first: LineBatch) -> Course {
    let number = first.source;
    let mut bytes = first.bytes();
    let mut held = vec![first];
    loop {
        let mut batch = LineBatch::of(number);
        match source.next(&mut batch) {
            Ok(true) => {
                bytes += batch.bytes();
                held.push(batch);
            }
            Ok(false) => return Course::Backwards { held, error: None },
            Err(error) => return Course::Backwards { held, error: Some(error) },
        }
        if bytes > limits::TURNED_BYTES_MAX {
            held.reverse();
            return Course::TooLarge { held };
        }
    }
}

impl Compass<'_> {
    /// Whether a log that begins with these lines runs newest first.
    pub fn points_back<'b>(&mut self, lines: impl Iterator<Item = &'b str>) -> bool {
        let times: Vec<Timestamp> = lines.take(limits::TURNED_SAMPLE_LINES).filter_map(|it| self.time(it)).collect();
        runs_back(&times, self.lateness)
    }

    /// The time of a line's first event.
    fn time(&mut self, line: &str) -> Option<Timestamp> {
        let mut time = None;
        // A line that is no event has no time, and is counted where it is judged.
        let _ = self.reader.read(line, self.reading, self.reference, &mut |it, _| time = time.or(it.event().buf.time));
        time
    }
}

/// Whether a log with these times runs newest first, by more than its lines would wait for each other.
fn runs_back(times: &[Timestamp], lateness: Span) -> bool {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return false };
    let back = times.windows(2).filter(|it| it[1] < it[0]).count();
    let forth = times.windows(2).filter(|it| it[1] > it[0]).count();
    first.since(*last) > lateness && back * 10 >= (back + forth) * BACK_OF_TEN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: &[i64], expected: bool) {
        let times: Vec<Timestamp> = seconds.iter().map(|it| Timestamp::from_micros(it * 1_000_000)).collect();
        assert_eq!(runs_back(&times, Span::from_secs(2)), expected, "{seconds:?}");
    }

    #[test]
    fn a_log_runs_back_when_nearly_every_step_does() {
        check(&[], false);
        check(&[9], false);
        check(&[9, 8], false);
        check(&[9, 5], true);
        check(&[5, 9], false);
        check(&[90, 80, 80, 70, 60], true);
        check(&[90, 80, 85, 70, 60], false);
        check(&[90, 80, 85, 70, 60, 50, 40, 30, 20, 10, 9, 8, 7], true);
        check(&[90, 10, 20, 30, 40, 50], false);
        check(&[7, 7, 7, 7], false);
    }
}
