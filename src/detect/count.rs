//! At least so many within a sliding window.
//!
//! The window is (t − within, t] at every event, exactly: no panes, no hopping. To know whether an event is the n-th in its
//! window, the n latest times are enough; we keep up to 2n − 1, so that an event that comes late completes the windows
//! of its neighbours too. An entity seen once takes 24 bytes and no allocation.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::budget::{Counts, Spill};
use super::table::Kind;
use super::{Mark, Seen, Trip};
use crate::model::{Basis, Span, Timestamp};

pub struct Count {
    pub at_least: u32,
    pub within: Span,
    /// The rule's quiet time: how long after a finding the alert is open for sure.
    pub quiet: Span,
}

#[derive(Default, Serialize, Deserialize)]
pub enum Memory {
    #[default]
    None,
    One(Mark),
    Many(Box<Many>),
}

#[derive(Serialize, Deserialize)]
pub struct Many {
    /// Oldest first.
    marks: VecDeque<Mark>,
    tripped: Timestamp,
}

impl Kind for Count {
    type Memory = Memory;

    fn observe(&self, memory: &mut Memory, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        let many = match memory {
            Memory::None if self.at_least > 1 => {
                *memory = Memory::One(seen.mark);
                return;
            }
            Memory::None => self.grow(memory, None),
            Memory::One(first) => {
                let first = *first;
                self.grow(memory, Some(first))
            }
            Memory::Many(many) => many,
        };
        let at = insert(&mut many.marks, seen.mark);
        let needed = self.at_least as usize;
        // In order, the new event ends the only window that can be new; a late one may complete its successors' windows.
        let last = (at + needed - 1).min(many.marks.len() - 1);
        if let Some(end) = (at.max(needed - 1)..=last).find(|end| self.fits(&many.marks, *end)) {
            let time = many.marks[end].time;
            let already_open = many.tripped != Timestamp::MIN && time.since(many.tripped) < self.quiet;
            let first =
                many.marks.iter().take(end).rposition(|it| time.since(it.time) >= self.within).map_or(0, |it| it + 1);
            let window = end + 1 - first;
            let inside = many.marks.range(first..=end);
            let seen_ones = inside.clone().filter(|it| !it.is_unseen()).count();
            let marks = if already_open { vec![seen.mark] } else { inside.copied().collect() };
            let trip = self.trip(window as u64, many.marks[first].time, marks);
            let basis = Basis::of(seen_ones as u64, u64::from(self.at_least));
            found.push(if seen_ones < window { trip.approximate(basis) } else { trip });
            many.tripped = many.tripped.max(time);
        }
        if many.marks.len() >= 2 * needed {
            many.marks.pop_front();
        }
    }

    fn matters_until(&self, memory: &Memory) -> Timestamp {
        match memory {
            Memory::None => Timestamp::MIN,
            Memory::One(mark) => mark.time.plus(self.within),
            Memory::Many(many) => {
                many.marks.back().map_or(Timestamp::MIN, |it| it.time.plus(self.within.max(self.quiet)))
            }
        }
    }

    fn window(&self) -> Span {
        self.within
    }
}

impl Spill for Count {
    fn heap(&self, memory: &Memory) -> usize {
        match memory {
            Memory::None | Memory::One(_) => 0,
            Memory::Many(many) => MANY_BYTES + many.marks.len().next_power_of_two() * size_of::<Mark>(),
        }
    }

    fn largest(&self) -> usize {
        MANY_BYTES + (2 * self.at_least as usize).next_power_of_two() * size_of::<Mark>()
    }

    fn needed(&self) -> u32 {
        self.at_least
    }

    /// Who was told of can be thrown out: he is told of again at once, which adds to his alert.
    fn strength(&self, memory: &Memory, now: Timestamp) -> u32 {
        match memory {
            Memory::Many(many) if many.tripped != Timestamp::MIN && now.since(many.tripped) < self.quiet => 1,
            Memory::None | Memory::One(_) | Memory::Many(_) => self.in_window(memory, now).min(self.at_least),
        }
    }

    fn owes(&self, memory: &Memory, now: Timestamp, owe: &mut dyn FnMut(usize, u32)) {
        owe(0, self.in_window(memory, now));
    }

    fn revive(&self, counts: &Counts, now: Timestamp) -> Memory {
        match counts[0] {
            0 => Memory::None,
            1 if self.at_least > 1 => Memory::One(Mark::unseen(now)),
            count => Memory::Many(Box::new(Many {
                marks: std::iter::repeat_n(Mark::unseen(now), count as usize).collect(),
                tripped: Timestamp::MIN,
            })),
        }
    }

    fn guess(&self, counts: &Counts, seen: &Seen<'_>) -> Option<Trip> {
        let reached = counts[0] >= self.at_least;
        reached.then(|| {
            let trip = self.trip(u64::from(counts[0]), seen.time(), vec![seen.mark]);
            if self.at_least > 1 { trip.approximate(Basis::of(1, u64::from(self.at_least))) } else { trip }
        })
    }
}

/// A box, a list's head and what the allocator adds.
const MANY_BYTES: usize = 64;

impl Count {
    fn trip(&self, count: u64, since: Timestamp, marks: Vec<Mark>) -> Trip {
        Trip::exact(count, since, marks)
            .because("at_least", self.at_least)
            .because("within_s", seconds(self.within))
            .because("seen", count)
    }

    fn in_window(&self, memory: &Memory, now: Timestamp) -> u32 {
        let inside = |it: &Mark| now.since(it.time) < self.within;
        match memory {
            Memory::None => 0,
            Memory::One(mark) => u32::from(inside(mark)),
            Memory::Many(many) => many.marks.iter().rev().filter(|it| inside(it)).count() as u32,
        }
    }

    fn fits(&self, marks: &VecDeque<Mark>, end: usize) -> bool {
        let first = end + 1 - self.at_least as usize;
        marks[end].time.since(marks[first].time) < self.within
    }

    fn grow<'a>(&self, memory: &'a mut Memory, first: Option<Mark>) -> &'a mut Many {
        let marks = first.into_iter().collect();
        *memory = Memory::Many(Box::new(Many { marks, tripped: Timestamp::MIN }));
        match memory {
            Memory::Many(many) => many,
            Memory::None | Memory::One(_) => unreachable!("it was set to Many above"),
        }
    }
}

/// Whole seconds as an integer, others as a fraction: how windows stand in `because`.
pub fn seconds(span: Span) -> serde_json::Value {
    if span.micros() % 1_000_000 == 0 { (span.micros() / 1_000_000).into() } else { span.as_secs_f64().into() }
}

/// Puts a mark where its time belongs, behind those of the same time; says where.
pub fn insert(marks: &mut VecDeque<Mark>, mark: Mark) -> usize {
    let at = marks.iter().rposition(|it| it.time <= mark.time).map_or(0, |it| it + 1);
    if at == marks.len() {
        marks.push_back(mark);
    } else {
        marks.insert(at, mark);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{observe_all, time};

    fn findings(at_least: u32, within: i64, times: &[i64]) -> Vec<(i64, u64)> {
        let kind = Count { at_least, within: Span::from_secs(within), quiet: Span::from_secs(600) };
        observe_all(&kind, times)
    }

    #[test]
    fn the_window_is_open_on_the_left() {
        assert_eq!(findings(3, 60, &[0, 30, 60]), []);
        assert_eq!(findings(3, 60, &[1, 30, 60]), [(60, 3)]);
        assert_eq!(findings(1, 60, &[5, 500]), [(5, 1), (500, 1)]);
        assert_eq!(findings(3, 60, &[7, 7, 7]), [(7, 3)]);
    }

    #[test]
    fn a_late_event_completes_its_window() {
        assert_eq!(findings(3, 60, &[1, 60, 30]), [(30, 3)]);
        assert_eq!(findings(3, 60, &[10, 20, 500, 30]), [(30, 3)]);
    }

    proptest::proptest! {
        #[test]
        fn a_window_equals_a_naive_recount(mut times in proptest::collection::vec(0i64..300, 1..60), at_least in 1u32..7, within in 1i64..100) {
            times.sort_unstable();
            let naive: Vec<i64> = (0..times.len())
                .filter(|end| times[..=*end].iter().filter(|it| **it > times[*end] - within).count() >= at_least as usize)
                .map(|end| times[end])
                .collect();
            let found: Vec<i64> = findings(at_least, within, &times).into_iter().map(|it| it.0).collect();
            proptest::prop_assert_eq!(found, naive);
        }
    }

    #[test]
    fn an_entity_seen_once_is_small() {
        assert!(std::mem::size_of::<(u64, Memory)>() <= 32);
        assert_eq!(time(1), Timestamp::from_micros(1_000_000));
    }
}
