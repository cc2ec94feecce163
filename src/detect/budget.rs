//! How much a rule may remember, and what happens when that is not enough.
//!
//! Each rule has a quota of its own, so a flood of one leaves the others exact; and the quota is split between the
//! partitions, so what is remembered does not depend on how many shards there are. A partition of a rule is a [`Lane`]. While
//! its memories fit, everything is exact. When they do not, most of the quota becomes a [`Sketch`]: whoever is thrown out of
//! the lane is written down there with what he had, newcomers are counted there, and get a place only by having more than
//! somebody who has one. So nobody's count is ever too low. It may be too high: what was taken over from the sketch counts as
//! if it had happened just now, and the alert says that it is approximate.
//!
//! Prices are functions of what a memory holds, never of what the allocator gave for it: a restart must not change who stays.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::sketch::{Sketch, part};
use super::slots::Slots;
use super::table::Kind;
use super::{Detect, Pressure, Seen, Trip};
use crate::limits;
use crate::model::{Span, Timestamp};

/// A rule's part of the memory for detectors, beside those of the others: what learns of everybody keeps most of each.
pub fn weight(detect: &Detect) -> u64 {
    match detect {
        Detect::Each => 0,
        Detect::Travel {} => 6,
        learns if learns.sees_everybody() => 2,
        _ => 1,
    }
}

/// What a rule of that weight may remember, where all rules together have the weight `all`. A function of the rules alone: what others
/// remember at the moment has no say.
pub fn of_rule(memory: u64, weight: u64, all: u64) -> u64 {
    let share = memory / 100 * limits::DETECTORS_PERCENT / all.clamp(1, limits::WEIGHT_AT_ONCE) * weight;
    share.max(limits::RULE_BYTES_MIN.min(memory / 32))
}

/// What a kind must be able to say when its memories do not fit.
///
/// Units are what its threshold is made of: events, values, steps, millionths of an amount.
pub trait Spill: Kind {
    /// Bytes of a memory beyond its slot.
    fn heap(&self, memory: &Self::Memory) -> usize;
    /// What the largest memory takes: so much a lane has, however small its quota.
    fn largest(&self) -> usize;
    /// So many units are an alert. Estimates are cut there.
    fn needed(&self) -> u32;
    /// How many counters a key has in the sketch, at most `limits::STEPS_MAX`.
    fn parts(&self) -> usize {
        1
    }
    /// What a hit adds to each of its counters, and which those are, one bit each.
    fn adds(&self, _seen: &Seen<'_>) -> (u32, u32) {
        (1, 1)
    }
    /// How much would be lost with the memory, in units: the weakest goes first, and whoever is at `needed` never goes.
    fn strength(&self, memory: &Self::Memory, now: Timestamp) -> u32;
    /// What a memory that goes had within the window, for each counter.
    fn owes(&self, memory: &Self::Memory, now: Timestamp, owe: &mut dyn FnMut(usize, u32));
    /// How strong a newcomer is, by the sketch's counts with this hit.
    fn claim(&self, counts: &Counts, _seen: &Seen<'_>) -> u32 {
        counts[0]
    }
    /// How strong a newcomer must be to get a place.
    fn door(&self) -> u32 {
        2
    }
    /// The memory of somebody of whom only counts are known, those before this hit; none is too low.
    fn revive(&self, counts: &Counts, now: Timestamp) -> Self::Memory;
    /// Gives up what decisions do not need.
    fn trim(&self, _memory: &mut Self::Memory) {}
    /// What the counts alone say of somebody who got no place.
    fn guess(&self, counts: &Counts, seen: &Seen<'_>) -> Option<Trip>;
}

/// Units of each counter of a key.
pub type Counts = [u32; limits::STEPS_MAX];

pub type Deadlines = BTreeSet<(Timestamp, u8, u64)>;

/// What one rule remembers of one partition.
pub struct Lane<M> {
    pub partition: u8,
    pub memories: Slots<M>,
    /// Bytes beyond the slots.
    pub heap: usize,
    pub strain: Option<Box<Strain>>,
}

/// A lane whose memories do not fit.
#[derive(Serialize, Deserialize)]
pub struct Strain {
    sketch: Sketch,
    /// Nobody weaker than that had a place when somebody last looked.
    floor: u32,
    looked: Timestamp,
    since: Timestamp,
    told: bool,
    /// Where newcomers came from in the first second: source and how many.
    sources: Vec<(u16, u32)>,
}

/// So many sources are told apart when a lane is strained; the rest stand together as the last.
const SOURCES: usize = 16;

impl<M: Default> Lane<M> {
    /// A slot in a table that has just doubled.
    const SLOT: usize = 2 * (size_of::<(u64, M)>() + 1);

    pub fn new(partition: u8) -> Lane<M> {
        Lane { partition, memories: Slots::default(), heap: 0, strain: None }
    }

    /// What the memories take.
    fn used(&self) -> usize {
        self.memories.len() * Self::SLOT + self.heap
    }

    /// What the lane takes, with its sketch.
    pub fn bytes(&self) -> usize {
        self.used() + self.strain.as_ref().map_or(0, |it| it.sketch.bytes())
    }

    /// That the lane is strained, once.
    pub fn pressure(&mut self, now: Timestamp) -> Option<Pressure> {
        let strain = self.strain.as_mut().filter(|it| !it.told && now.since(it.since) >= Pressure::FIRST)?;
        strain.told = true;
        Some(Pressure { since: strain.since, sources: std::mem::take(&mut strain.sources) })
    }

    /// Exact again, if nothing that the sketch knows matters any more.
    pub fn calm(&mut self, now: Timestamp) {
        if self.strain.as_ref().is_some_and(|it| it.sketch.is_over(now)) {
            self.strain = None;
        }
    }

    /// Forgets what is as good as nothing.
    pub fn sweep<K: Spill<Memory = M>>(&mut self, kind: &K, now: Timestamp) {
        let before = self.memories.len();
        let heap = &mut self.heap;
        self.memories.retain(|_, memory| {
            let stays = kind.matters_until(memory) > now || kind.deadline(memory).is_some();
            if !stays {
                *heap -= kind.heap(memory);
            }
            stays
        });
        if self.memories.len() < before / 4 {
            self.memories.shrink_to_fit();
        }
    }

    /// A place for somebody new: None when there is none, and then the sketch has counted the hit.
    pub fn admit<K: Spill<Memory = M>>(
        &mut self,
        kind: &K,
        quota: usize,
        seen: &Seen<'_>,
        deadlines: &mut Deadlines,
        found: &mut Vec<Trip>,
    ) -> Option<&mut M> {
        let (key, now) = (seen.hit.entity_hash, seen.hit.release);
        self.calm(now);
        if self.strain.is_none() && self.used() + Self::SLOT > Self::exact_max(kind, quota) {
            self.relieve(kind, quota, now, deadlines);
        }
        let Some(strain) = &mut self.strain else {
            let memory = M::default();
            self.heap += kind.heap(&memory);
            return Some(self.memories.get_or_insert_with(key, || memory));
        };
        let (before, after) = strain.count(kind, seen);
        let claim = kind.claim(&after, seen);
        if claim >= kind.door() && self.has_room(kind, quota, claim, now, deadlines) {
            let memory = kind.revive(&before, now);
            self.heap += kind.heap(&memory);
            return Some(self.memories.get_or_insert_with(key, || memory));
        }
        found.extend(kind.guess(&after, seen));
        None
    }

    /// A memory has grown: makes room if that was too much.
    pub fn grown<K: Spill<Memory = M>>(&mut self, kind: &K, quota: usize, now: Timestamp, deadlines: &mut Deadlines) {
        self.calm(now);
        let most = if self.strain.is_some() { Self::strained_max(kind, quota) } else { Self::exact_max(kind, quota) };
        if self.used() > most {
            self.relieve(kind, quota, now, deadlines);
        }
    }

    fn exact_max<K: Spill<Memory = M>>(kind: &K, quota: usize) -> usize {
        (quota / 2).max(2 * kind.largest())
    }

    fn strained_max<K: Spill<Memory = M>>(kind: &K, quota: usize) -> usize {
        (quota / 4).max(2 * kind.largest())
    }

    fn has_room<K: Spill<Memory = M>>(
        &mut self,
        kind: &K,
        quota: usize,
        claim: u32,
        now: Timestamp,
        deadlines: &mut Deadlines,
    ) -> bool {
        let most = Self::strained_max(kind, quota);
        let fits = |it: &Self| it.used() + Self::SLOT <= most;
        if fits(self) {
            return true;
        }
        let Some(strain) = &self.strain else { return true };
        // Nobody looks at all of them for everybody who knocks.
        let again = Span::from_micros(kind.window().micros() / 8);
        if claim <= strain.floor && now.since(strain.looked) < again {
            return false;
        }
        self.tidy(kind, now);
        self.evict(kind, most, claim, now, deadlines);
        fits(self)
    }

    /// The memories are too many or too large.
    fn relieve<K: Spill<Memory = M>>(&mut self, kind: &K, quota: usize, now: Timestamp, deadlines: &mut Deadlines) {
        self.tidy(kind, now);
        let exact = Self::exact_max(kind, quota);
        if self.strain.is_none() {
            // Close to the edge is over it: otherwise everybody would be looked at for each newcomer.
            if self.used() <= exact - exact / 8 {
                return;
            }
            let sketch = Sketch::new(quota - quota / 4, kind.needed(), kind.window(), now);
            let strain = Strain { sketch, floor: 0, looked: now, since: now, told: false, sources: Vec::new() };
            self.strain = Some(Box::new(strain));
        }
        self.evict(kind, Self::strained_max(kind, quota), kind.needed(), now, deadlines);
        self.memories.shrink_to_fit();
    }

    fn tidy<K: Spill<Memory = M>>(&mut self, kind: &K, now: Timestamp) {
        self.sweep(kind, now);
        for memory in self.memories.values_mut() {
            let before = kind.heap(memory);
            kind.trim(memory);
            self.heap = self.heap - before + kind.heap(memory);
        }
    }

    /// Writes the weakest down in the sketch, until an eighth of `most` is free or all are as strong as `than`.
    fn evict<K: Spill<Memory = M>>(
        &mut self,
        kind: &K,
        most: usize,
        than: u32,
        now: Timestamp,
        deadlines: &mut Deadlines,
    ) {
        let Some(mut strain) = self.strain.take() else { return };
        strain.sketch.turn(now);
        strain.looked = now;
        strain.floor = than;
        // By key among equals: hashes under a secret, so nobody knows how to be the one that stays.
        let mut all: Vec<(u32, u64)> =
            self.memories.iter().map(|(key, memory)| (kind.strength(memory, now), key)).collect();
        all.sort_unstable();
        for (strength, key) in all {
            if self.used() <= most - most / 8 || strength >= than {
                strain.floor = strength;
                break;
            }
            let Some(memory) = self.memories.remove(key) else { continue };
            self.heap -= kind.heap(&memory);
            if let Some(due) = kind.deadline(&memory) {
                deadlines.remove(&(due, self.partition, key));
            }
            let sketch = &mut strain.sketch;
            kind.owes(&memory, now, &mut |counter, units| sketch.owe(part(key, counter), units, now));
        }
        self.strain = Some(strain);
    }

    /// The price of everything in it, after a restart.
    pub fn appraise<K: Spill<Memory = M>>(&mut self, kind: &K) {
        self.heap = self.memories.values().map(|it| kind.heap(it)).sum();
    }
}

impl Strain {
    /// Counts the hit: the counts without it and with it, cut at what is needed.
    fn count<K: Spill>(&mut self, kind: &K, seen: &Seen<'_>) -> (Counts, Counts) {
        let (key, now) = (seen.hit.entity_hash, seen.hit.release);
        if now.since(self.since) < Pressure::FIRST && !self.told {
            self.note(seen.hit.source);
        }
        self.sketch.turn(now);
        let (bits, units) = kind.adds(seen);
        let (mut before, mut after) = ([0; limits::STEPS_MAX], [0; limits::STEPS_MAX]);
        for counter in 0..kind.parts() {
            let key = part(key, counter);
            before[counter] = self.sketch.estimate(key).min(kind.needed());
            after[counter] = before[counter];
            if bits & (1 << counter) != 0 && units > 0 {
                self.sketch.add(key, units, now);
                after[counter] = before[counter].saturating_add(units).min(kind.needed());
            }
        }
        (before, after)
    }

    fn note(&mut self, source: u16) {
        match self.sources.iter().position(|it| it.0 == source) {
            Some(known) => self.sources[known].1 += 1,
            None if self.sources.len() < SOURCES => self.sources.push((source, 1)),
            None => self.sources[SOURCES - 1].1 += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::absence::Absence;
    use super::super::changed::Changed;
    use super::super::count::Count;
    use super::super::distinct::Distinct;
    use super::super::sequence::Sequence;
    use super::super::silence::Silence;
    use super::super::sum::Sum;
    use super::super::table::Table;
    use super::super::testing::{Event, feed, time};
    use super::super::{Detector, Lapse, Step};
    use super::*;
    use crate::expr::Expr;
    use crate::model::Basis;

    const WITHIN: Span = Span::from_secs(60);
    const QUIET: Span = Span::from_secs(300);

    fn kind(name: &str) -> Box<dyn Detector> {
        let step = |at_least, absent| Step { when: Expr::All(vec![]), at_least, absent };
        match name {
            "count" => Box::new(Table::new(Count { at_least: 5, within: WITHIN, quiet: QUIET })),
            "distinct" => Box::new(Table::new(Distinct { at_least: 4, within: WITHIN, quiet: QUIET })),
            "sum" => Box::new(Table::new(Sum { field: "bytes".into(), at_least: 20.0, within: WITHIN, quiet: QUIET })),
            "steps" => {
                let steps = [step(2, false), step(1, true), step(1, false)];
                Box::new(Table::new(Sequence::new(&steps, WITHIN, true)))
            }
            "any order" => Box::new(Table::new(Sequence::new(&[step(2, false), step(1, false)], WITHIN, false))),
            "changed" => Box::new(Table::new(Changed { field: "f".into() })),
            "absence" => Box::new(Table::new(Absence { within: WITHIN })),
            "silence" => Box::new(Table::new(Silence { after: WITHIN })),
            _ => panic!("no such kind"),
        }
    }

    const KINDS: [&str; 8] = ["count", "distinct", "sum", "steps", "any order", "changed", "absence", "silence"];
    /// Those with a threshold, of which nobody who crosses it may be missed.
    const COUNTING: [&str; 5] = ["count", "distinct", "sum", "steps", "any order"];

    /// A flood of keys, most of them seen once, some often.
    fn flood(mut seed: u64, events: usize) -> Vec<Event> {
        let mut second = 0;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut one = |number: usize| {
            second += i64::from(next(8) == 0);
            let entity = match next(4) {
                0 => format!("often{}", next(30)),
                1 => format!("twice{}", number / 2),
                _ => format!("once{number}"),
            };
            let steps = 1 << next(3);
            Event { steps, ..Event::of(second, &entity, &format!("{}", next(7))) }
        };
        (0..events).map(&mut one).collect()
    }

    #[derive(Default)]
    struct Fed {
        /// For each finding, the number of its event and the numbers it gave.
        found: Vec<(usize, String)>,
        entities: Vec<String>,
        /// Those of which a finding says that it was seen.
        seen: Vec<String>,
        approximate: usize,
        lapses: usize,
        strained: bool,
        most: usize,
    }

    fn run(mut detector: Box<dyn Detector>, events: &[Event], again: Option<&dyn Fn() -> Box<dyn Detector>>) -> Fed {
        let mut fed = Fed::default();
        let mut lapses: Vec<Lapse> = Vec::new();
        for (number, event) in events.iter().enumerate() {
            let mut trips = Vec::new();
            feed(&mut *detector, event, number as u64, &mut trips, &mut lapses);
            for (_, trip) in trips {
                fed.found.push((number, format!("{} {:?}", trip.count, trip.because)));
                fed.entities.push(event.entity.clone());
                fed.approximate += usize::from(trip.because.iter().any(|it| it.0 == "approximate"));
                match trip.basis {
                    Basis::Seen => fed.seen.push(event.entity.clone()),
                    Basis::MostlySeen | Basis::Estimate => {
                        assert!(trip.because.contains(&("approximate", true.into())), "{trip:?}");
                    }
                }
            }
            fed.strained |= detector.is_strained();
            fed.most = fed.most.max(detector.bytes());
            if let Some(fresh) = again.filter(|_| number % 97 == 0) {
                let bytes = detector.save();
                detector = fresh();
                detector.restore(&bytes).unwrap();
            }
            if number % 50 == 0 {
                detector.forget(event.release);
            }
        }
        fed.lapses = lapses.len();
        fed.entities.sort();
        fed.entities.dedup();
        fed
    }

    fn limited(name: &str, lane_bytes: u64) -> Box<dyn Detector> {
        let mut detector = kind(name);
        detector.limit(lane_bytes * limits::PARTITIONS as u64);
        detector
    }

    #[test]
    fn a_budget_that_suffices_changes_nothing() {
        let events = flood(1, 3000);
        for name in KINDS {
            let (free, held) = (run(kind(name), &events, None), run(limited(name, 1 << 22), &events, None));
            assert!(!held.strained, "{name}");
            assert_eq!((free.found, free.lapses), (held.found, held.lapses), "{name}");
        }
    }

    #[test]
    fn a_restart_changes_nothing_when_memory_is_short() {
        let events = flood(2, 3000);
        for name in KINDS {
            let held = run(limited(name, 2000), &events, None);
            let again = run(limited(name, 2000), &events, Some(&|| limited(name, 2000)));
            assert!(held.strained, "{name}");
            assert_eq!((held.found, held.lapses), (again.found, again.lapses), "{name}");
        }
    }

    #[test]
    fn memory_stays_within_the_budget_or_twice_the_largest_memory() {
        let events = flood(3, 5000);
        for name in COUNTING {
            let held = run(limited(name, 50_000), &events, None);
            assert!(held.most <= 52_000, "{name}: {}", held.most);
        }
    }

    #[test]
    fn what_was_short_is_exact_again_after_a_window() {
        let events = flood(4, 2000);
        let last = events.last().unwrap().release.micros() / 1_000_000;
        for name in COUNTING {
            let mut detector = limited(name, 2000);
            for (number, event) in events.iter().enumerate() {
                feed(&mut *detector, event, number as u64, &mut vec![], &mut vec![]);
            }
            assert!(detector.is_strained(), "{name}");
            detector.forget(time(last + 59));
            assert!(detector.is_strained(), "{name}");
            detector.forget(time(last + 61));
            assert!(!detector.is_strained(), "{name}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(32))]
        #[test]
        fn nobody_who_crosses_the_threshold_is_missed(seed in 0u64..1_000_000, lane_bytes in 200u64..6000) {
            let events = flood(seed, 1000);
            for name in COUNTING {
                let (exact, held) = (run(kind(name), &events, None), run(limited(name, lane_bytes), &events, None));
                let missed: Vec<&String> = exact.entities.iter().filter(|it| !held.entities.contains(it)).collect();
                proptest::prop_assert!(missed.is_empty(), "{}: {:?} of {}", name, missed, exact.entities.len());
            }
        }

        #[test]
        fn who_is_said_to_have_been_seen_has_done_it(seed in 0u64..1_000_000, lane_bytes in 200u64..6000) {
            let events = flood(seed, 1000);
            for name in COUNTING {
                let (exact, held) = (run(kind(name), &events, None), run(limited(name, lane_bytes), &events, None));
                proptest::prop_assert!(exact.seen.len() == exact.found.len() && exact.approximate == 0);
                let innocent = held.seen.iter().find(|it| !exact.entities.contains(it));
                proptest::prop_assert!(innocent.is_none(), "{}: {:?} of {}", name, innocent, held.seen.len());
            }
        }
    }
}
