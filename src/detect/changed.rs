//! A field's value differs from the entity's last.
//!
//! What is remembered are the latest runs of equal values: when each began and ended. So an event that comes late is compared
//! with its neighbours in time, not with whatever arrived last, and a log that is two hours behind says the same changes
//! as one that is not. Runs beyond `RUNS_MAX` are forgotten, and events older than all runs kept are not judged.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::budget::{Counts, Spill};
use super::table::Kind;
use super::{Mark, Seen, Trip, brief};
use crate::model::{Span, Timestamp};

pub struct Changed {
    pub field: String,
}

#[derive(Default, Serialize, Deserialize)]
pub struct Memory {
    /// Oldest first; neighbours differ.
    runs: VecDeque<Run>,
    /// Older runs were forgotten.
    cut: bool,
    /// How often it was seen: who is seen often is not forgotten for one who is not.
    events: u32,
}

#[derive(Clone, Serialize, Deserialize)]
struct Run {
    value: Box<str>,
    first: Mark,
    last: Mark,
}

const RUNS_MAX: usize = 8;
/// An entity not seen for so long begins anew.
const FORGET: Span = Span::from_secs(90 * 86_400);

impl Kind for Changed {
    type Memory = Memory;

    fn observe(&self, memory: &mut Memory, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        let Some(value) = seen.text(0) else { return };
        memory.events = memory.events.saturating_add(1);
        self.observe_value(memory, &value, seen.mark, found);
    }

    fn matters_until(&self, memory: &Memory) -> Timestamp {
        memory.runs.back().map_or(Timestamp::MIN, |it| it.last.time.plus(FORGET))
    }

    fn window(&self) -> Span {
        Span::from_secs(86_400)
    }
}

impl Spill for Changed {
    fn heap(&self, memory: &Memory) -> usize {
        memory.runs.iter().map(|it| 2 * size_of::<Run>() + it.value.len() + 16).sum()
    }

    fn largest(&self) -> usize {
        RUNS_MAX * (2 * size_of::<Run>() + 256)
    }

    fn needed(&self) -> u32 {
        EVENTS_TOLD_APART
    }

    fn strength(&self, memory: &Memory, _now: Timestamp) -> u32 {
        memory.events.min(EVENTS_TOLD_APART - 1)
    }

    fn owes(&self, memory: &Memory, _now: Timestamp, owe: &mut dyn FnMut(usize, u32)) {
        owe(0, memory.events);
    }

    fn revive(&self, counts: &Counts, _now: Timestamp) -> Memory {
        Memory { events: counts[0], ..Memory::default() }
    }

    /// A count says nothing of a change.
    fn guess(&self, _counts: &Counts, _seen: &Seen<'_>) -> Option<Trip> {
        None
    }
}

const EVENTS_TOLD_APART: u32 = 200;

impl Changed {
    fn observe_value(&self, memory: &mut Memory, value: &str, mark: Mark, found: &mut Vec<Trip>) {
        let runs = &mut memory.runs;
        // The run it stands in or behind.
        let Some(before) = runs.iter().rposition(|it| it.first.time <= mark.time) else {
            match runs.front_mut() {
                Some(_) if memory.cut => {}
                Some(first) if *first.value == *value => first.first = mark,
                Some(first) => {
                    found.push(self.trip(value, mark, mark, &first.value.clone(), first.first));
                    runs.push_front(Run { value: value.into(), first: mark, last: mark });
                    self.cut(memory);
                }
                None => runs.push_back(Run { value: value.into(), first: mark, last: mark }),
            }
            return;
        };
        let run = runs[before].clone();
        if *run.value == *value {
            runs[before].last = run.last.max(mark);
            return;
        }
        if mark.time >= run.last.time {
            match runs.get_mut(before + 1) {
                // That change has been told.
                Some(next) if *next.value == *value => next.first = mark,
                _ => {
                    found.push(self.trip(&run.value, run.first, run.last, value, mark));
                    runs.insert(before + 1, Run { value: value.into(), first: mark, last: mark });
                }
            }
        } else {
            // In the midst of a run: another value in between. Where exactly the run was last seen before is not known.
            found.push(self.trip(&run.value, run.first, run.first, value, mark));
            runs[before].last = run.first;
            runs.insert(before + 1, Run { value: value.into(), first: mark, last: mark });
            runs.insert(before + 2, Run { value: run.value, first: run.last, last: run.last });
        }
        self.cut(memory);
    }

    fn cut(&self, memory: &mut Memory) {
        while memory.runs.len() > RUNS_MAX {
            memory.runs.pop_front();
            memory.cut = true;
        }
    }

    fn trip(&self, before: &str, since: Mark, last: Mark, after: &str, mark: Mark) -> Trip {
        let mut trip = Trip::exact(2, last.time, vec![last, mark])
            .because("field", self.field.as_str())
            .because("before", before)
            .because("after", after)
            .because("before_since", since.time.to_string())
            .because("before_last_seen", last.time.to_string());
        trip.story = Some(format!("{} changed from {} to {}", self.field, brief(before), brief(after)));
        trip
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::time;

    fn run(events: &[(i64, &str)]) -> (Vec<String>, Memory) {
        let kind = Changed { field: "f".into() };
        let mut memory = Memory::default();
        let mut found = Vec::new();
        for (at, value) in events {
            kind.observe_value(&mut memory, value, Mark { time: time(*at), evidence: 0 }, &mut found);
        }
        let shown =
            |it: &Trip, name: &str| it.because.iter().find(|it| it.0 == name).unwrap().1.as_str().unwrap().to_string();
        (found.iter().map(|it| format!("{}>{}", shown(it, "before"), shown(it, "after"))).collect(), memory)
    }

    fn check(events: &[(i64, &str)], expected: &[&str]) {
        assert_eq!(run(events).0, expected);
    }

    #[test]
    fn says_both_values() {
        check(&[(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "a")], &["a>b", "b>a"]);
        check(&[(1, "a")], &[]);
    }

    #[test]
    fn a_late_event_is_compared_with_its_neighbours() {
        check(&[(1, "a"), (9, "b"), (5, "b")], &["a>b"]);
        check(&[(1, "a"), (9, "b"), (5, "a")], &["a>b"]);
        check(&[(1, "a"), (9, "a"), (5, "b")], &["a>b"]);
        check(&[(5, "a"), (1, "b")], &["b>a"]);
        check(&[(5, "a"), (1, "a"), (6, "b")], &["a>b"]);
    }

    proptest::proptest! {
        #[test]
        fn equals_comparing_with_the_last(values in proptest::collection::vec("[abc]", 1..60)) {
            let events: Vec<(i64, &str)> = values.iter().enumerate().map(|(at, it)| (at as i64, it.as_str())).collect();
            let naive: Vec<String> =
                values.windows(2).filter(|it| it[0] != it[1]).map(|it| format!("{}>{}", it[0], it[1])).collect();
            proptest::prop_assert_eq!(run(&events).0, naive);
        }

        #[test]
        fn a_change_is_seen_in_whatever_order(mut events in proptest::collection::vec((0i64..1000, "[ab]"), 2..8)) {
            events.dedup_by_key(|it| it.0);
            let mut sorted = events.clone();
            sorted.sort();
            sorted.dedup_by_key(|it| it.0);
            proptest::prop_assume!(sorted.len() == events.len());
            let changes = sorted.windows(2).any(|it| it[0].1 != it[1].1);
            let events: Vec<(i64, &str)> = events.iter().map(|it| (it.0, it.1.as_str())).collect();
            let (found, memory) = run(&events);
            proptest::prop_assert_eq!(!found.is_empty(), changes);
            proptest::prop_assert!(memory.runs.iter().zip(memory.runs.iter().skip(1)).all(|it| it.0.value != it.1.value && it.0.last.time < it.1.first.time));
        }
    }
}
