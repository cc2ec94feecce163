//! Something that was not followed by what should follow it.
//!
//! Every first event waits for its own deadline, and whatever follows in time takes all that wait off. Nothing but the
//! passing of time finds anything, so an account that was opened and never confirmed is told when its time is up, not when the
//! next line happens to come. What follows too late ends the alert. A first event that arrives late, after what followed
//! it, finds that remembered.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::budget::{Counts, Spill};
use super::count::seconds;
use super::table::Kind;
use super::{Lapse, Mark, Seen, Trip};
use crate::limits;
use crate::model::{Basis, Span, Timestamp};

/// The steps of a hit.
const FIRST: u32 = 1;
const THEN: u32 = 2;

pub struct Absence {
    pub within: Span,
}

#[derive(Default, Serialize, Deserialize)]
pub struct Memory {
    entity: Box<str>,
    partition: u8,
    /// First events that nothing followed yet, the next due first.
    waiting: VecDeque<Waiting>,
    /// When the latest of what follows came, oldest first.
    answers: VecDeque<Timestamp>,
    /// The latest first event that was told.
    told: Option<Timestamp>,
    /// What followed too late came then, and nobody has been told yet.
    over: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Waiting {
    due: Timestamp,
    mark: Mark,
    line_hash: u64,
}

/// More first events of one entity at once are not told one by one: the latest takes the place of the one before it.
const WAITING_MAX: usize = 32;
const ANSWERS_MAX: usize = 32;
/// After so long, what follows is no answer any more.
const FORGET: Span = Span::from_secs(7 * 86_400);

impl Kind for Absence {
    type Memory = Memory;

    fn observe(&self, memory: &mut Memory, seen: &Seen<'_>, _found: &mut Vec<Trip>) {
        if seen.hit.steps & FIRST != 0 && memory.entity.is_empty() {
            memory.entity = seen.entity().into();
            memory.partition = seen.hit.partition;
        }
        self.step(memory, seen.hit.steps, seen.mark, seen.hit.line_hash, seen.hit.release);
    }

    fn matters_until(&self, memory: &Memory) -> Timestamp {
        let answers = memory.answers.back().map_or(Timestamp::MIN, |it| it.plus(self.within));
        let told = memory.told.map_or(Timestamp::MIN, |it| it.plus(FORGET));
        let waiting = memory.waiting.back().map_or(Timestamp::MIN, |it| it.due.plus(FORGET));
        answers.max(told).max(waiting)
    }

    fn window(&self) -> Span {
        self.within
    }

    fn deadline(&self, memory: &Memory) -> Option<Timestamp> {
        let waiting = memory.waiting.front().map(|it| it.due);
        waiting.into_iter().chain(memory.over).min()
    }

    fn lapse(&self, memory: &mut Memory, due: Timestamp) -> Option<Lapse> {
        let lapse = |memory: &Memory, trip, line_hash, over| Lapse {
            due,
            entity: memory.entity.clone(),
            partition: memory.partition,
            line_hash,
            trip,
            over,
            kept_back: false,
        };
        if memory.over == Some(due) {
            memory.over = None;
            memory.told = None;
            return Some(lapse(memory, Trip::exact(1, due, Vec::new()), 0, true));
        }
        let first = memory.waiting.pop_front()?;
        memory.told = memory.told.max(Some(first.mark.time));
        let mut trip = Trip::exact(1, first.mark.time, vec![first.mark])
            .because("within_s", seconds(self.within))
            .because("first_at", first.mark.time.to_string());
        trip.story = Some(format!("nothing followed within {} of {}", self.within, first.mark.time));
        Some(lapse(memory, trip, first.line_hash, false))
    }
}

impl Spill for Absence {
    fn heap(&self, memory: &Memory) -> usize {
        let waiting = memory.waiting.len().next_power_of_two() * size_of::<Waiting>();
        memory.entity.len() + waiting + memory.answers.len().next_power_of_two() * size_of::<Timestamp>() + SCHEDULED
    }

    fn largest(&self) -> usize {
        limits::VALUE_BYTES_MAX + (WAITING_MAX + 1) * 2 * size_of::<Waiting>() + SCHEDULED
    }

    fn needed(&self) -> u32 {
        AWAITED
    }

    fn adds(&self, seen: &Seen<'_>) -> (u32, u32) {
        (seen.hit.steps & FIRST, 1)
    }

    /// Who waits stays. Who only answered, or was told of, makes room for one who begins to wait.
    fn strength(&self, memory: &Memory, _now: Timestamp) -> u32 {
        match (memory.waiting.is_empty(), memory.told.is_some() || memory.over.is_some()) {
            (false, _) => AWAITED,
            (true, true) => 1,
            (true, false) => 0,
        }
    }

    fn owes(&self, _memory: &Memory, _now: Timestamp, _owe: &mut dyn FnMut(usize, u32)) {}

    fn claim(&self, _counts: &Counts, seen: &Seen<'_>) -> u32 {
        if seen.hit.steps & FIRST != 0 { BEGINS } else { 0 }
    }

    fn revive(&self, _counts: &Counts, _now: Timestamp) -> Memory {
        Memory::default()
    }

    fn trim(&self, memory: &mut Memory) {
        let last = memory.waiting.split_off(memory.waiting.len().min(WAITING_FEW));
        memory.waiting.extend(last.into_iter().next_back());
        memory.answers.drain(..memory.answers.len().saturating_sub(WAITING_FEW));
        memory.waiting.shrink_to_fit();
        memory.answers.shrink_to_fit();
    }

    /// Nobody will see whether something follows: better said now than never.
    fn guess(&self, _counts: &Counts, seen: &Seen<'_>) -> Option<Trip> {
        let begins = seen.hit.steps & FIRST != 0;
        begins.then(|| {
            let trip = Trip::exact(1, seen.time(), vec![seen.mark]).because("within_s", seconds(self.within));
            let mut trip = trip.approximate(Basis::Estimate);
            trip.story = Some("too many are waited for: whether something followed was not watched".into());
            trip
        })
    }
}

/// Strength of one who waits, and of one who begins to.
const AWAITED: u32 = 3;
const BEGINS: u32 = 2;
/// When memory is short, so many first events of one entity are told one by one.
const WAITING_FEW: usize = 4;
/// An entry among the deadlines.
const SCHEDULED: usize = 64;

impl Absence {
    fn step(&self, memory: &mut Memory, steps: u32, mark: Mark, line_hash: u64, release: Timestamp) {
        let answers = |first: Timestamp, then: Timestamp| first <= then && then.since(first) < self.within;
        // An event that is both ends what was before it, and begins anew.
        if steps & THEN != 0 {
            memory.waiting.retain(|it| !answers(it.mark.time, mark.time));
            if memory.told.is_some_and(|it| it <= mark.time) && memory.over.is_none() {
                let falls_together = memory.waiting.iter().any(|it| it.due == release);
                memory.over = Some(if falls_together { Timestamp::from_micros(release.micros() + 1) } else { release });
            }
        }
        if steps & FIRST != 0 && !memory.answers.iter().any(|it| answers(mark.time, *it)) {
            let due = mark.time.plus(self.within).max(release);
            if memory.waiting.len() >= WAITING_MAX {
                memory.waiting.pop_back();
            }
            let at = memory.waiting.iter().rposition(|it| it.due <= due).map_or(0, |it| it + 1);
            memory.waiting.insert(at, Waiting { due, mark, line_hash });
        }
        if steps & THEN != 0 {
            let at = memory.answers.iter().rposition(|it| *it <= mark.time).map_or(0, |it| it + 1);
            memory.answers.insert(at, mark.time);
            if memory.answers.len() > ANSWERS_MAX {
                memory.answers.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Event, second, time, watch};

    /// Events as (second, letters: `a` first, `b` then, `ab` both). What comes out: `second!` told, `second.` over.
    fn run(within: i64, events: &[(i64, &str)], until: i64) -> Vec<String> {
        let kind = Absence { within: Span::from_secs(within) };
        let events: Vec<Event> = events
            .iter()
            .map(|(at, letters)| Event {
                steps: letters.bytes().map(|it| if it == b'a' { FIRST } else { THEN }).sum(),
                ..Event::at(*at)
            })
            .collect();
        let (_, lapses) = watch(super::super::table::Table::new(kind), &events, until);
        lapses.iter().map(|it| format!("{}{}", second(it.due), if it.over { "." } else { "!" })).collect()
    }

    #[test]
    fn time_alone_finds_it() {
        assert_eq!(run(60, &[(0, "a")], 59), Vec::<String>::new());
        assert_eq!(run(60, &[(0, "a")], 60), ["60!"]);
        assert_eq!(run(60, &[(0, "a"), (59, "b")], 200), Vec::<String>::new());
        assert_eq!(run(60, &[(0, "a"), (30, "a"), (59, "b")], 200), Vec::<String>::new());
        assert_eq!(run(60, &[(0, "a"), (10, "b"), (30, "a")], 200), ["90!"]);
    }

    #[test]
    fn what_comes_too_late_ends_the_alert() {
        assert_eq!(run(60, &[(0, "a"), (60, "b")], 200), ["60!"]);
        assert_eq!(run(60, &[(0, "a"), (90, "b"), (95, "b")], 200), ["60!", "90."]);
    }

    #[test]
    fn an_event_that_is_both_does_not_answer_itself() {
        assert_eq!(run(60, &[(0, "ab"), (30, "ab")], 200), ["90!"]);
    }

    #[test]
    fn late_events_find_their_place() {
        let late = |at, release, steps| Event { release: time(release), steps, ..Event::at(at) };
        let kind = || super::super::table::Table::new(Absence { within: Span::from_secs(60) });
        // The answer came first.
        let (_, lapses) = watch(kind(), &[Event { steps: THEN, ..Event::at(30) }, late(0, 40, FIRST)], 500);
        assert_eq!(lapses.len(), 0);
        // The answer came after the alert, but its time says that all is well.
        let (_, lapses) = watch(kind(), &[Event { steps: FIRST, ..Event::at(0) }, late(30, 100, THEN)], 500);
        let told: Vec<(i64, bool)> = lapses.iter().map(|it| (second(it.due), it.over)).collect();
        assert_eq!(told, [(60, false), (100, true)]);
    }

    proptest::proptest! {
        #[test]
        fn equals_looking_for_each(mut events in proptest::collection::vec((0i64..200, 1u32..4), 1..30), within in 1i64..60) {
            events.sort_by_key(|it| (it.0, it.1.trailing_zeros()));
            let mut naive: Vec<i64> = Vec::new();
            for (index, (at, steps)) in events.iter().enumerate() {
                let answered = events.iter().enumerate().any(|(other, it)| {
                    other != index && it.1 & THEN != 0 && it.0 >= *at && it.0 - at < within
                });
                if steps & FIRST != 0 && !answered {
                    naive.push(at + within);
                }
            }
            let events: Vec<Event> = events.iter().map(|it| Event { steps: it.1, ..Event::at(it.0) }).collect();
            let kind = Absence { within: Span::from_secs(within) };
            let (_, lapses) = watch(super::super::table::Table::new(kind), &events, 1000);
            let told: Vec<i64> = lapses.iter().filter(|it| !it.over).map(|it| second(it.due)).collect();
            proptest::prop_assert_eq!(told, naive);
        }
    }
}
