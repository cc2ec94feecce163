//! The sum of a field over a sliding window.
//!
//! A running sum of floating-point numbers drifts: after a gigabyte has come and gone, what is left is not zero. So values are
//! kept as whole millionths, and added and taken away exactly. The window is (t − within, t] at every event. An event that
//! comes late completes the windows of its neighbours too, so events stay for three windows.
//!
//! A flood cannot be kept line by line: beyond `limits::SUM_EVENTS_MAX`, events of the same thousandth of the window are kept
//! as one, which leaves the window with its newest. The sum is then too high by what a thousandth of the window holds, at
//! most, and the alert says so.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::budget::{Counts, Spill};
use super::count::seconds;
use super::table::Kind;
use super::{Mark, Seen, Trip, few, shown};
use crate::limits;
use crate::model::{Basis, Span, Timestamp};

pub struct Sum {
    pub field: String,
    pub at_least: f64,
    pub within: Span,
    pub quiet: Span,
}

#[derive(Default, Serialize, Deserialize)]
pub struct Memory {
    /// Oldest first: the events of the newest window and of the two before it.
    entries: VecDeque<Entry>,
    /// The first entry of the newest window.
    head: usize,
    /// Of the newest window, in millionths.
    total: i128,
    tripped: Option<Timestamp>,
    /// Events were put together.
    rough: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Entry {
    mark: Mark,
    value: i128,
    /// How many events it stands for.
    events: u32,
}

const MILLION: f64 = 1e6;
/// Larger values count as this: sums must not overflow.
const VALUE_MAX: f64 = 1e24;

impl Kind for Sum {
    type Memory = Memory;

    fn observe(&self, memory: &mut Memory, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        // A line that claims a negative amount must not hide what the others moved.
        let Some(value) = seen.batch.carried_f64(seen.hit, 0).filter(|it| *it >= 0.0) else { return };
        self.observe_value(memory, millionths(value), seen.mark, found);
    }

    fn matters_until(&self, memory: &Memory) -> Timestamp {
        memory.entries.back().map_or(Timestamp::MIN, |it| it.mark.time.plus(self.within.max(self.quiet)))
    }

    fn window(&self) -> Span {
        self.within
    }
}

impl Spill for Sum {
    fn heap(&self, memory: &Memory) -> usize {
        memory.entries.len().next_power_of_two() * size_of::<Entry>()
    }

    fn largest(&self) -> usize {
        4 * ROUGH_PARTS as usize * size_of::<Entry>()
    }

    fn needed(&self) -> u32 {
        self.units(millionths(self.at_least))
    }

    fn adds(&self, seen: &Seen<'_>) -> (u32, u32) {
        let value = seen.batch.carried_f64(seen.hit, 0).filter(|it| *it >= 0.0);
        (1, value.map_or(0, |it| self.units(millionths(it))))
    }

    fn strength(&self, memory: &Memory, now: Timestamp) -> u32 {
        if memory.tripped.is_some_and(|it| now.since(it) < self.quiet) {
            return 1;
        }
        self.in_window(memory, now).min(self.needed())
    }

    fn owes(&self, memory: &Memory, now: Timestamp, owe: &mut dyn FnMut(usize, u32)) {
        owe(0, self.in_window(memory, now));
    }

    fn revive(&self, counts: &Counts, now: Timestamp) -> Memory {
        if counts[0] == 0 {
            return Memory::default();
        }
        let value = i128::from(counts[0]) * self.unit();
        let entry = Entry { mark: Mark::unseen(now), value, events: 1 };
        Memory { entries: [entry].into(), head: 0, total: value, tripped: None, rough: false }
    }

    fn trim(&self, memory: &mut Memory) {
        if memory.entries.len() > 4 * ROUGH_PARTS as usize {
            self.put_together(memory, ROUGH_PARTS);
            memory.entries.shrink_to_fit();
        }
    }

    fn guess(&self, counts: &Counts, seen: &Seen<'_>) -> Option<Trip> {
        let sum = (i128::from(counts[0]) * self.unit()) as f64 / MILLION;
        let reached = counts[0] >= self.needed();
        reached.then(|| {
            let basis = Basis::of(u64::from(self.adds(seen).1), u64::from(self.needed()));
            let mut trip = self.told(sum, 1, seen.time(), vec![seen.mark]).approximate(basis);
            trip.story = Some(format!("about {} within {}", shown(&self.field, sum), self.within));
            trip
        })
    }
}

/// So finely the threshold is divided in the sketch.
const UNITS: i128 = 1 << 20;
/// When memory is short, events of the same of so many parts of the window are kept as one.
const ROUGH_PARTS: i64 = 32;

impl Sum {
    fn unit(&self) -> i128 {
        (millionths(self.at_least) / UNITS).max(1)
    }

    /// Rounded up: never less than the truth.
    fn units(&self, value: i128) -> u32 {
        u32::try_from((value + self.unit() - 1) / self.unit()).unwrap_or(u32::MAX)
    }

    fn in_window(&self, memory: &Memory, now: Timestamp) -> u32 {
        let inside = memory.entries.back().is_some_and(|it| now.since(it.mark.time) < self.within);
        if inside { self.units(memory.total) } else { 0 }
    }

    fn observe_value(&self, memory: &mut Memory, value: i128, mark: Mark, found: &mut Vec<Trip>) {
        let kept = self.kept();
        if memory.entries.back().is_some_and(|it| it.mark.time.since(mark.time) >= kept) {
            return; // so late that its window is forgotten
        }
        let at = memory.entries.iter().rposition(|it| it.mark.time <= mark.time).map_or(0, |it| it + 1);
        memory.entries.insert(at, Entry { mark, value, events: 1 });
        if at < memory.head || at == memory.head && at + 1 < memory.entries.len() && !self.in_newest(memory, mark.time)
        {
            memory.head += 1;
        } else {
            memory.total += value;
        }
        self.slide(memory);
        if let Some((end, first, sum)) = self.complete(memory, at) {
            self.trip(memory, mark, (end, first, sum), found);
        }
        if memory.entries.len() > limits::SUM_EVENTS_MAX {
            self.put_together(memory, 1000);
        }
    }

    fn in_newest(&self, memory: &Memory, time: Timestamp) -> bool {
        memory.entries.back().is_some_and(|it| it.mark.time.since(time) < self.within)
    }

    /// How long an event may still complete the window of a late one.
    fn kept(&self) -> Span {
        Span::from_micros(self.within.micros().saturating_mul(3))
    }

    /// Takes out of the newest window what has left it, and forgets what has left the two before.
    fn slide(&self, memory: &mut Memory) {
        let Some(now) = memory.entries.back().map(|it| it.mark.time) else { return };
        while now.since(memory.entries[memory.head].mark.time) >= self.within {
            memory.total -= memory.entries[memory.head].value;
            memory.head += 1;
        }
        let kept = self.kept();
        while memory.head > 0 && now.since(memory.entries[0].mark.time) >= kept {
            memory.entries.pop_front();
            memory.head -= 1;
        }
    }

    /// The first window that the entry at `at` completes: its last entry, its first one and its sum.
    fn complete(&self, memory: &Memory, at: usize) -> Option<(usize, usize, i128)> {
        let at_least = millionths(self.at_least);
        let newest = memory.entries.len() - 1;
        // Forgetting may have moved the entry; a late one is found again by looking from the first window that can hold it.
        let at = at.min(newest);
        if at == newest {
            return (memory.total >= at_least).then_some((newest, memory.head, memory.total));
        }
        let (mut first, mut sum, mut next) = (0, 0i128, 0);
        for end in 0..=newest {
            let time = memory.entries[end].mark.time;
            while next <= end {
                sum += memory.entries[next].value;
                next += 1;
            }
            while time.since(memory.entries[first].mark.time) >= self.within {
                sum -= memory.entries[first].value;
                first += 1;
            }
            if end >= at && first <= at && sum >= at_least {
                return Some((end, first, sum));
            }
        }
        None
    }

    fn trip(&self, memory: &mut Memory, mark: Mark, window: (usize, usize, i128), found: &mut Vec<Trip>) {
        let (end, first, sum) = window;
        let time = memory.entries[end].mark.time;
        let already_open = memory.tripped.is_some_and(|it| time.since(it) < self.quiet);
        let inside = memory.entries.range(first..=end);
        let events: u64 = inside.clone().map(|it| u64::from(it.events)).sum();
        let marks = if already_open { vec![mark] } else { few(inside.map(|it| it.mark)) };
        let since = memory.entries[first].mark.time;
        let unseen: i128 = memory.entries.range(first..=end).filter(|it| it.mark.is_unseen()).map(|it| it.value).sum();
        let basis = Basis::of(u64::from(self.units(sum - unseen)), u64::from(self.needed()));
        let sum = sum as f64 / MILLION;
        let mut trip = self.told(sum, events, since, marks);
        if memory.rough {
            trip = trip.because("rough", true);
        }
        if unseen > 0 {
            trip = trip.approximate(basis);
        }
        trip.story = Some(format!("{} in {events} events within {}", shown(&self.field, sum), time.since(since)));
        found.push(trip);
        memory.tripped = memory.tripped.max(Some(time));
    }

    fn told(&self, sum: f64, events: u64, since: Timestamp, marks: Vec<Mark>) -> Trip {
        Trip::exact(events, since, marks)
            .because("field", self.field.as_str())
            .because("at_least", number(self.at_least))
            .because("within_s", seconds(self.within))
            .because("sum", number(sum))
            .because("events", events)
    }

    fn put_together(&self, memory: &mut Memory, parts: i64) {
        let grain = (self.within.micros() / parts).max(1);
        let slot = |it: &Entry| it.mark.time.micros().div_euclid(grain);
        let mut kept: VecDeque<Entry> = VecDeque::new();
        let mut head = 0;
        for (index, entry) in memory.entries.iter().enumerate() {
            if index == memory.head {
                head = kept.len();
            }
            match kept.back_mut() {
                // Never across the edge of the window, so that its sum stays what it is.
                Some(last) if slot(last) == slot(entry) && index != memory.head => {
                    // What an estimate is part of is one.
                    let evidence = if last.mark.is_unseen() { Mark::UNSEEN } else { entry.mark.evidence };
                    last.mark = Mark { evidence, ..entry.mark };
                    last.value += entry.value;
                    last.events = last.events.saturating_add(entry.events);
                }
                _ => kept.push_back(*entry),
            }
        }
        memory.entries = kept;
        memory.head = head;
        memory.rough = true;
    }
}

fn millionths(value: f64) -> i128 {
    let value = value.min(VALUE_MAX);
    if value.fract() == 0.0 { value as i128 * 1_000_000 } else { (value * MILLION).round() as i128 }
}

/// Whole numbers as such: `1000000000`, not `1e9`.
pub fn number(value: f64) -> serde_json::Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { (value as i64).into() } else { value.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::time;

    fn findings(at_least: f64, within: i64, events: &[(i64, f64)]) -> Vec<(i64, f64)> {
        let kind =
            Sum { field: "bytes".into(), at_least, within: Span::from_secs(within), quiet: Span::from_secs(600) };
        let mut memory = Memory::default();
        let mut all = Vec::new();
        for (at, value) in events {
            let mut found = Vec::new();
            kind.observe_value(&mut memory, millionths(*value), Mark { time: time(*at), evidence: 0 }, &mut found);
            all.extend(
                found.iter().map(|it| (*at, it.because.iter().find(|it| it.0 == "sum").unwrap().1.as_f64().unwrap())),
            );
        }
        all
    }

    #[test]
    fn the_window_is_open_on_the_left() {
        assert_eq!(findings(10.0, 60, &[(0, 5.0), (60, 5.0)]), []);
        assert_eq!(findings(10.0, 60, &[(1, 5.0), (60, 5.0)]), [(60, 10.0)]);
        assert_eq!(findings(0.3, 60, &[(0, 0.1), (1, 0.1), (2, 0.1)]), [(2, 0.3)]);
    }

    #[test]
    fn nothing_drifts() {
        let mut events: Vec<(i64, f64)> = (0..50_000).map(|it| (it, 1e15 + 0.1)).collect();
        events.push((60_000, 0.1));
        events.push((60_001, 0.1));
        assert_eq!(findings(0.2, 60, &events).last(), Some(&(60_001, 0.2)));
    }

    #[test]
    fn a_late_event_completes_its_window() {
        assert_eq!(findings(10.0, 60, &[(0, 4.0), (40, 4.0), (200, 1.0), (20, 2.0)]), []);
        assert_eq!(findings(10.0, 60, &[(150, 4.0), (170, 4.0), (220, 1.0), (160, 2.0)]), [(160, 10.0)]);
        assert_eq!(findings(10.0, 60, &[(10, 4.0), (20, 4.0), (15, 2.0)]), [(15, 10.0)]);
    }

    proptest::proptest! {
        #[test]
        fn a_window_equals_a_naive_recount(
            mut events in proptest::collection::vec((0i64..300, 0u32..40), 1..200), at_least in 1u32..200, within in 1i64..100,
        ) {
            events.sort_by_key(|it| it.0);
            let mut naive = Vec::new();
            for end in 0..events.len() {
                let sum: u32 = events[..=end].iter().filter(|it| it.0 > events[end].0 - within).map(|it| it.1).sum();
                if sum >= at_least {
                    naive.push((events[end].0, f64::from(sum)));
                }
            }
            let events: Vec<(i64, f64)> = events.iter().map(|it| (it.0, f64::from(it.1))).collect();
            proptest::prop_assert_eq!(findings(f64::from(at_least), within, &events), naive);
        }

        #[test]
        fn order_of_arrival_cannot_hide_a_window(events in proptest::collection::vec((0i64..100, 1u32..40), 1..40), at_least in 1u32..200, within in 50i64..100) {
            let any = |sorted: &[(i64, u32)]| (0..sorted.len()).any(|end| {
                sorted[..=end].iter().filter(|it| it.0 > sorted[end].0 - within).map(|it| it.1).sum::<u32>() >= at_least
            });
            let mut sorted = events.clone();
            sorted.sort_by_key(|it| it.0);
            let as_they_came: Vec<(i64, f64)> = events.iter().map(|it| (it.0, f64::from(it.1))).collect();
            let found = !findings(f64::from(at_least), within, &as_they_came).is_empty();
            proptest::prop_assert_eq!(found, any(&sorted));
        }

        #[test]
        fn a_flood_is_summed_within_a_thousandth(values in proptest::collection::vec(1u32..5, 5000..9000)) {
            let events: Vec<(i64, f64)> = values.iter().enumerate().map(|(at, it)| (at as i64 / 4, f64::from(*it))).collect();
            let within = 2000;
            let found = findings(1.0, within, &events);
            let (end, sum) = *found.last().unwrap();
            let exact: f64 = events.iter().filter(|it| it.0 > end - within).map(|it| it.1).sum();
            proptest::prop_assert!(sum >= exact && sum <= exact * 1.01 + 40.0, "{} {}", sum, exact);
        }
    }
}
