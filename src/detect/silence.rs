//! Somebody who spoke has stopped.
//!
//! An entity is watched from its first event on, and each event moves the deadline; when time passes it, the silence is told,
//! and the next event ends it. With `by: []` the whole log is one entity. Only what has been seen once can be missed: a feed
//! that never began is the business of whoever set it up.

use serde::{Deserialize, Serialize};

use super::budget::{Counts, Spill};
use super::count::seconds;
use super::table::Kind;
use super::{Lapse, Seen, Trip};
use crate::limits;
use crate::model::{Span, Timestamp};

pub struct Silence {
    pub after: Span,
}

#[derive(Default, Serialize, Deserialize)]
pub struct Memory {
    entity: Box<str>,
    partition: u8,
    line_hash: u64,
    first: Timestamp,
    last: Timestamp,
    events: u64,
    /// Events before, of which only the number is known.
    before: u32,
    due: Timestamp,
    told: bool,
    /// It spoke again then, and nobody has been told yet.
    over: Option<Timestamp>,
}

/// An entity that has been silent for so long is given up.
pub const FORGET: Span = Span::from_secs(30 * 86_400);

impl Kind for Silence {
    type Memory = Memory;

    fn observe(&self, memory: &mut Memory, seen: &Seen<'_>, _found: &mut Vec<Trip>) {
        let time = seen.time();
        if memory.events == 0 {
            memory.entity = seen.entity().into();
            memory.partition = seen.hit.partition;
            memory.first = time;
            memory.last = time;
        }
        if memory.told && time >= memory.last {
            memory.told = false;
            memory.over = Some(seen.hit.release);
        }
        memory.events += 1;
        memory.first = memory.first.min(time);
        if time >= memory.last {
            memory.last = time;
            memory.line_hash = seen.hit.line_hash;
            memory.due = time.plus(self.after).max(seen.hit.release);
        }
    }

    fn matters_until(&self, memory: &Memory) -> Timestamp {
        match memory.events {
            0 => Timestamp::MIN,
            _ => memory.last.plus(self.after).plus(FORGET),
        }
    }

    fn window(&self) -> Span {
        self.after
    }

    fn deadline(&self, memory: &Memory) -> Option<Timestamp> {
        memory.over.or((memory.events > 0 && !memory.told).then_some(memory.due))
    }

    fn lapse(&self, memory: &mut Memory, due: Timestamp) -> Option<Lapse> {
        let over = memory.over.take().is_some();
        let mut trip = Trip::exact(1, memory.last, Vec::new());
        if !over {
            memory.told = true;
            trip = trip
                .because("after_s", seconds(self.after))
                .because("last_seen", memory.last.to_string())
                .because("first_seen", memory.first.to_string())
                .because("events", memory.events);
            trip.story = Some(format!(
                "silent for {}, since {}; before that {} events in {}",
                due.since(memory.last),
                memory.last,
                memory.events,
                memory.last.since(memory.first)
            ));
        }
        let (entity, line_hash) = (memory.entity.clone(), memory.line_hash);
        Some(Lapse { due, entity, partition: memory.partition, line_hash, trip, over })
    }

    fn looks_back(&self) -> bool {
        false
    }
}

impl Spill for Silence {
    fn heap(&self, memory: &Memory) -> usize {
        memory.entity.len() + SCHEDULED
    }

    fn largest(&self) -> usize {
        limits::VALUE_BYTES_MAX + SCHEDULED
    }

    fn needed(&self) -> u32 {
        EVENTS_TOLD_APART
    }

    /// Who speaks often is missed more than who spoke once; who was told of needs no watching.
    fn strength(&self, memory: &Memory, _now: Timestamp) -> u32 {
        if memory.told { 1 } else { known(memory).min(EVENTS_TOLD_APART - 1) }
    }

    fn owes(&self, memory: &Memory, _now: Timestamp, owe: &mut dyn FnMut(usize, u32)) {
        owe(0, known(memory));
    }

    fn revive(&self, counts: &Counts, _now: Timestamp) -> Memory {
        Memory { before: counts[0], ..Memory::default() }
    }

    /// Who speaks is not silent.
    fn guess(&self, _counts: &Counts, _seen: &Seen<'_>) -> Option<Trip> {
        None
    }
}

const EVENTS_TOLD_APART: u32 = 200;
/// An entry among the deadlines.
const SCHEDULED: usize = 64;

fn known(memory: &Memory) -> u32 {
    u32::try_from(memory.events).unwrap_or(u32::MAX).saturating_add(memory.before)
}

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::*;
    use crate::detect::testing::{Event, second, time, watch};

    fn run(after: i64, events: &[Event], until: i64) -> Vec<(i64, bool)> {
        let (_, lapses) = watch(Table::new(Silence { after: Span::from_secs(after) }), events, until);
        lapses.iter().map(|it| (second(it.due), it.over)).collect()
    }

    fn at(seconds: &[i64]) -> Vec<Event> {
        seconds.iter().map(|it| Event::at(*it)).collect()
    }

    #[test]
    fn silence_is_told_once_and_ends() {
        assert_eq!(run(60, &at(&[0, 30]), 89), []);
        assert_eq!(run(60, &at(&[0, 30]), 900), [(90, false)]);
        assert_eq!(run(60, &at(&[0, 30, 90]), 149), []);
        assert_eq!(run(60, &at(&[0, 200, 210]), 250), [(60, false), (200, true)]);
    }

    #[test]
    fn a_late_line_proves_that_it_spoke() {
        let late = Event { release: time(100), ..Event::at(50) };
        assert_eq!(run(60, &[Event::at(0), late], 300), [(60, false), (100, true), (110, false)]);
        let old = Event { release: time(100), ..Event::at(10) };
        assert_eq!(run(60, &[Event::at(20), old], 300), [(80, false)]);
    }

    proptest::proptest! {
        #[test]
        fn equals_looking_at_the_gaps(mut times in proptest::collection::vec(0i64..2000, 1..60), after in 1i64..100) {
            times.sort_unstable();
            let mut naive = Vec::new();
            for pair in times.windows(2).filter(|it| it[1] - it[0] > after) {
                naive.extend([(pair[0] + after, false), (pair[1], true)]);
            }
            naive.push((times[times.len() - 1] + after, false));
            proptest::prop_assert_eq!(run(after, &at(&times), 10_000), naive);
        }
    }
}
