//! Steps one after the other (or in any order) within a sliding window.
//!
//! Of all the ways in which past events may have completed the first steps, only the one that began last can still matter:
//! it is the last to leave the window. So a slot is kept for each number of events of each step, and holds that latest
//! beginning. An event moves slots forward, later steps first, so that it is used once. This finds a sequence whenever
//! there is one, which trying partial matches greedily does not.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::budget::{Counts, Spill};
use super::count::{insert, seconds};
use super::table::Kind;
use super::{Mark, Seen, Step, Trip};
use crate::model::{Basis, Span, Timestamp};

pub struct Sequence {
    steps: Vec<Place>,
    within: Span,
    ordered: bool,
    slots: usize,
}

struct Place {
    at_least: usize,
    absent: bool,
    /// The step's first slot.
    slot: usize,
}

#[derive(Default, Serialize, Deserialize)]
pub struct Memory {
    /// The latest beginning of a way to have so many events of the step (and all steps before); MIN for none.
    begun: Box<[Timestamp]>,
    /// For each step, its latest events: what evidence is made of, and all that an unordered sequence needs.
    recent: Box<[VecDeque<Mark>]>,
    newest: Timestamp,
}

impl Sequence {
    pub fn new(steps: &[Step], within: Span, ordered: bool) -> Sequence {
        let mut slots = 0;
        let places = steps
            .iter()
            .map(|step| {
                let slot = slots;
                slots += if step.absent { 0 } else { step.at_least as usize };
                Place { at_least: step.at_least.max(1) as usize, absent: step.absent, slot }
            })
            .collect();
        Sequence { steps: places, within, ordered, slots }
    }

    fn in_window(&self, time: Timestamp, now: Timestamp) -> bool {
        time != Timestamp::MIN && now.since(time) < self.within
    }

    /// Moves the slots that the event moves; the beginning of the sequence it completes, if it does.
    fn step_ordered(&self, memory: &mut Memory, steps: u32, now: Timestamp) -> Option<Timestamp> {
        for (index, place) in self.steps.iter().enumerate().rev().filter(|(index, _)| steps & (1 << index) != 0) {
            if place.absent {
                self.forbid(memory, index);
                continue;
            }
            for count in (1..=place.at_least).rev() {
                let slot = place.slot + count - 1;
                let from = match slot {
                    0 => now,
                    _ => memory.begun[slot - 1],
                };
                if self.in_window(from, now) {
                    memory.begun[slot] = memory.begun[slot].max(from);
                }
            }
        }
        let begun = memory.begun[self.slots - 1];
        self.in_window(begun, now).then_some(begun)
    }

    /// An event that must not come after the step before came: whoever waits for the next step starts again.
    fn forbid(&self, memory: &mut Memory, index: usize) {
        let before = self.steps[..index].iter().rev().find(|it| !it.absent);
        let after = self.steps[index..].iter().find(|it| !it.absent);
        if let (Some(before), Some(after)) = (before, after) {
            let waiting = before.slot + before.at_least - 1..after.slot + after.at_least - 1;
            memory.begun[waiting].fill(Timestamp::MIN);
        }
    }

    fn all_in_window(&self, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
        let mut since = now;
        for (place, recent) in self.steps.iter().zip(&memory.recent) {
            let inside = recent.iter().filter(|it| self.in_window(it.time, now)).count();
            if place.absent && inside > 0 || !place.absent && inside < place.at_least {
                return None;
            }
            if !place.absent {
                since = since.min(recent[recent.len() - place.at_least].time);
            }
        }
        Some(since)
    }
}

impl Kind for Sequence {
    type Memory = Memory;

    fn observe(&self, memory: &mut Memory, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        if memory.recent.is_empty() {
            memory.begun = vec![Timestamp::MIN; self.slots].into();
            memory.recent = self.steps.iter().map(|_| VecDeque::new()).collect();
            memory.newest = Timestamp::MIN;
        }
        let now = memory.newest.max(seen.time());
        memory.newest = now;
        for (index, place) in self.steps.iter().enumerate().filter(|(index, _)| seen.hit.steps & (1 << index) != 0) {
            insert(&mut memory.recent[index], seen.mark);
            if memory.recent[index].len() > place.at_least {
                memory.recent[index].pop_front();
            }
        }
        let since = match self.ordered {
            true => self.step_ordered(memory, seen.hit.steps, now),
            false => self.all_in_window(memory, now),
        };
        let Some(since) = since else { return };
        let mut marks: Vec<Mark> = self
            .steps
            .iter()
            .zip(&memory.recent)
            .filter(|(place, _)| !place.absent)
            .flat_map(|(_, recent)| recent.iter().copied().filter(|it| it.time >= since))
            .collect();
        marks.sort_unstable();
        let events = marks.len() as u64;
        let seen_ones = marks.iter().filter(|it| !it.is_unseen()).count() as u64;
        marks.dedup();
        found.push(match seen_ones < events {
            true => self.trip(events, since, marks).approximate(Basis::of(seen_ones, self.slots as u64)),
            false => self.trip(marks.len() as u64, since, marks),
        });
        memory.begun.fill(Timestamp::MIN);
        memory.recent.iter_mut().for_each(VecDeque::clear);
    }

    /// In order, only the first step begins anything: most people who sign in have not failed before.
    fn begins(&self, seen: &Seen<'_>) -> bool {
        let first = self.steps.iter().position(|it| !it.absent).unwrap_or(0);
        !self.ordered || seen.hit.steps & (1 << first) != 0
    }

    fn matters_until(&self, memory: &Memory) -> Timestamp {
        memory.newest.plus(self.within)
    }

    fn window(&self) -> Span {
        self.within
    }

    fn warm(&self, memory: &Memory) -> u64 {
        let recent = memory.recent.iter().filter_map(|it| it.back()).fold(0, |all, it| all ^ it.evidence);
        recent ^ memory.begun.first().map_or(0, |it| it.micros() as u64)
    }
}

impl Spill for Sequence {
    fn heap(&self, memory: &Memory) -> usize {
        let recent = |it: &VecDeque<Mark>| it.len().next_power_of_two() * size_of::<Mark>() + 48;
        memory.begun.len() * size_of::<Timestamp>() + memory.recent.iter().map(recent).sum::<usize>()
    }

    fn largest(&self) -> usize {
        let recent = |it: &Place| (it.at_least + 1).next_power_of_two() * size_of::<Mark>() + 48;
        self.slots * size_of::<Timestamp>() + self.steps.iter().map(recent).sum::<usize>()
    }

    /// For every counter: events of a step.
    fn needed(&self) -> u32 {
        self.steps.iter().map(|it| it.at_least).sum::<usize>() as u32
    }

    fn parts(&self) -> usize {
        self.steps.len()
    }

    /// What must not come is not counted: too high would be too low.
    fn adds(&self, seen: &Seen<'_>) -> (u32, u32) {
        let absent = self.steps.iter().enumerate().filter(|it| it.1.absent).map(|it| 1u32 << it.0);
        (seen.hit.steps & !absent.sum::<u32>(), 1)
    }

    fn claim(&self, counts: &Counts, _seen: &Seen<'_>) -> u32 {
        self.progress(|step| counts[step] as usize)
    }

    fn strength(&self, memory: &Memory, now: Timestamp) -> u32 {
        self.progress(|step| self.recently(memory, step, now))
    }

    fn owes(&self, memory: &Memory, now: Timestamp, owe: &mut dyn FnMut(usize, u32)) {
        for step in 0..memory.recent.len() {
            owe(step, self.recently(memory, step, now) as u32);
        }
    }

    /// As far as so many events can have come, in the best order there is.
    fn revive(&self, counts: &Counts, now: Timestamp) -> Memory {
        let mut begun = vec![Timestamp::MIN; self.slots];
        for (step, place) in self.steps.iter().enumerate().filter(|it| !it.1.absent) {
            let had = (counts[step] as usize).min(place.at_least);
            begun[place.slot..place.slot + had].fill(now);
            if had < place.at_least {
                break;
            }
        }
        // Complete it is only with the event at hand.
        if let Some(last) = begun.last_mut() {
            *last = Timestamp::MIN;
        }
        let recent = self.steps.iter().zip(counts);
        let recent = recent.map(|(place, had)| match place.absent {
            true => VecDeque::new(),
            false => std::iter::repeat_n(Mark::unseen(now), (*had as usize).min(place.at_least)).collect(),
        });
        Memory { begun: begun.into(), recent: recent.collect(), newest: now }
    }

    fn guess(&self, counts: &Counts, seen: &Seen<'_>) -> Option<Trip> {
        let last = self.steps.iter().rposition(|it| !it.absent)?;
        let ends = !self.ordered || seen.hit.steps & (1 << last) != 0;
        let mut wanted = self.steps.iter().zip(counts).filter(|it| !it.0.absent);
        let reached = ends && wanted.all(|(place, had)| *had as usize >= place.at_least);
        let all = self.slots as u64;
        reached.then(|| self.trip(all, seen.time(), vec![seen.mark]).approximate(Basis::of(1, all)))
    }
}

impl Sequence {
    fn trip(&self, count: u64, since: Timestamp, marks: Vec<Mark>) -> Trip {
        Trip::exact(count, since, marks)
            .because("steps", self.steps.iter().filter(|it| !it.absent).count())
            .because("within_s", seconds(self.within))
    }

    fn recently(&self, memory: &Memory, step: usize, now: Timestamp) -> usize {
        memory.recent.get(step).map_or(0, |it| it.iter().filter(|it| self.in_window(it.time, now)).count())
    }

    fn progress(&self, had: impl Fn(usize) -> usize) -> u32 {
        let wanted = self.steps.iter().enumerate().filter(|it| !it.1.absent);
        wanted.map(|(step, place)| had(step).min(place.at_least)).sum::<usize>() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::observe_steps;
    use crate::expr::Expr;

    /// Steps as `a2 !b c`: two a, no b, one c; events as (second, letters).
    fn findings(steps: &str, within: i64, ordered: bool, events: &[(i64, &str)]) -> Vec<(i64, u64)> {
        let mut letters = Vec::new();
        let steps: Vec<Step> = steps
            .split(' ')
            .map(|text| {
                let absent = text.starts_with('!');
                let text = text.trim_start_matches('!');
                letters.push(text.chars().next().unwrap());
                Step { when: Expr::All(vec![]), at_least: text[1..].parse().unwrap_or(1), absent }
            })
            .collect();
        let events: Vec<(i64, u32)> = events
            .iter()
            .map(|(at, text)| {
                let bits = letters.iter().enumerate().filter(|(_, it)| text.contains(**it)).map(|(i, _)| 1 << i).sum();
                (*at, bits)
            })
            .collect();
        observe_steps(&Sequence::new(&steps, Span::from_secs(within), ordered), &events)
    }

    #[test]
    fn steps_in_order() {
        assert_eq!(findings("a2 c", 60, true, &[(0, "a"), (1, "a"), (2, "c")]), [(2, 3)]);
        assert_eq!(findings("a2 c", 60, true, &[(0, "a"), (1, "c"), (2, "a")]), []);
        assert_eq!(findings("a2 c", 60, true, &[(0, "a"), (1, "a"), (61, "c")]), []);
        assert_eq!(findings("a b c", 60, true, &[(0, "a"), (1, "b"), (2, "c"), (3, "c")]), [(2, 3)]);
    }

    #[test]
    fn the_way_that_began_last_is_the_one_that_counts() {
        // Greedy matching would hold on to the a at 0 and lose it at 60.
        assert_eq!(findings("a b c", 60, true, &[(0, "a"), (30, "a"), (40, "b"), (70, "c")]), [(70, 3)]);
    }

    #[test]
    fn what_must_not_come_between() {
        assert_eq!(findings("a !x c", 60, true, &[(0, "a"), (1, "x"), (2, "c")]), []);
        assert_eq!(findings("a !x c", 60, true, &[(0, "x"), (1, "a"), (2, "c")]), [(2, 2)]);
        assert_eq!(findings("a !x c", 60, true, &[(0, "a"), (1, "x"), (2, "a"), (3, "c")]), [(3, 2)]);
        assert_eq!(findings("a b !x c", 60, true, &[(0, "a"), (1, "x"), (2, "b"), (3, "c")]), [(3, 3)]);
    }

    #[test]
    fn steps_in_any_order() {
        assert_eq!(findings("a b", 60, false, &[(0, "b"), (1, "a")]), [(1, 2)]);
        assert_eq!(findings("a b2", 60, false, &[(0, "b"), (1, "a"), (70, "b")]), []);
        assert_eq!(findings("a !x b", 60, false, &[(0, "x"), (1, "b"), (2, "a"), (70, "b"), (71, "a")]), [(71, 2)]);
    }

    proptest::proptest! {
        #[test]
        fn equals_trying_everything(
            mut events in proptest::collection::vec((0i64..60, 1u32..8), 1..14), within in 1i64..60, first in 1usize..3,
        ) {
            events.sort_by_key(|it| it.0);
            let step = |at_least| Step { when: Expr::All(vec![]), at_least, absent: false };
            let kind = Sequence::new(&[step(first as u32), step(1), step(1)], Span::from_secs(within), true);
            let needs: Vec<u32> = std::iter::repeat_n(0, first).chain([1, 2]).collect();
            let mut start = 0;
            let mut naive = Vec::new();
            for end in 0..events.len() {
                if choose(&events[start..=end], &needs, within) {
                    naive.push(events[end].0);
                    start = end + 1;
                }
            }
            let found: Vec<i64> = observe_steps(&kind, &events).into_iter().map(|it| it.0).collect();
            proptest::prop_assert_eq!(found, naive);
        }
    }

    /// Whether some choice of different events, in order, the last of them the last event, meets the needs.
    fn choose(events: &[(i64, u32)], needs: &[u32], within: i64) -> bool {
        let now = events[events.len() - 1].0;
        fn rest(events: &[(i64, u32)], needs: &[u32], oldest: i64) -> bool {
            needs.is_empty()
                || (0..events.len()).any(|at| {
                    events[at].0 > oldest
                        && events[at].1 & (1 << needs[0]) != 0
                        && rest(&events[at + 1..], &needs[1..], oldest)
                })
        }
        rest(events, needs, now - within)
    }
}
