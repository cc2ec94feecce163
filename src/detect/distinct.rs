//! At least so many different values of a field within a sliding window.
//!
//! Each value is remembered with the last time it was seen, in the order of those times: a doubly linked list in a vector
//! and an index by hash, so an event costs the same with ten values in the window as with ten thousand. Whether there are
//! n values is a question about the n most recent ones, so the memory is cut at `limits::DISTINCT_EXACT_MAX` (or 2n): the
//! decision stays exact, and only the number shown for a much larger crowd becomes "at least".

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use super::budget::{Counts, Spill};
use super::count::seconds;
use super::sketch::mixed;
use super::table::Kind;
use super::{Mark, Seen, Trip};
use crate::limits;
use crate::model::{Basis, Span, Timestamp};

pub struct Distinct {
    pub at_least: u32,
    pub within: Span,
    pub quiet: Span,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Memory {
    nodes: Vec<Node>,
    /// Node numbers by value hash; empty while there are few nodes and a scan is quicker.
    index: HashTable<u32>,
    oldest: u32,
    newest: u32,
    free: u32,
    len: u32,
    tripped: Timestamp,
}

/// A memory in a snapshot: values with their last sightings, oldest first.
#[derive(Serialize, Deserialize)]
struct Saved {
    values: Vec<(u64, Mark)>,
    tripped: Timestamp,
}

impl From<Memory> for Saved {
    fn from(memory: Memory) -> Saved {
        let mut values = Vec::with_capacity(memory.len as usize);
        let mut at = memory.oldest;
        while at != NONE {
            let node = &memory.nodes[at as usize];
            values.push((node.hash, node.mark));
            at = node.newer;
        }
        Saved { values, tripped: memory.tripped }
    }
}

impl From<Saved> for Memory {
    fn from(saved: Saved) -> Memory {
        let mut memory = Memory { tripped: saved.tripped, ..Memory::default() };
        saved.values.into_iter().for_each(|(hash, mark)| memory.touch(hash, mark));
        memory
    }
}

#[derive(Clone)]
struct Node {
    hash: u64,
    mark: Mark,
    older: u32,
    newer: u32,
}

const NONE: u32 = u32::MAX;
const SCAN_MAX: usize = 16;

impl Default for Memory {
    fn default() -> Self {
        Memory {
            nodes: Vec::new(),
            index: HashTable::new(),
            oldest: NONE,
            newest: NONE,
            free: NONE,
            len: 0,
            tripped: Timestamp::MIN,
        }
    }
}

impl Kind for Distinct {
    type Memory = Memory;

    fn observe(&self, memory: &mut Memory, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        let Some(value) = seen.batch.carried_text(seen.hit, 0) else { return };
        let hash = twox_hash::XxHash3_64::oneshot_with_seed(seen.hit.entity_hash, value.as_bytes());
        self.observe_value(memory, hash, seen.mark, found);
    }

    fn matters_until(&self, memory: &Memory) -> Timestamp {
        memory.newest_mark().map_or(Timestamp::MIN, |it| it.time.plus(self.within))
    }

    fn window(&self) -> Span {
        self.within
    }
}

impl Spill for Distinct {
    fn heap(&self, memory: &Memory) -> usize {
        (memory.len as usize).next_power_of_two() * NODE_BYTES
    }

    fn largest(&self) -> usize {
        (2 * self.at_least as usize).next_power_of_two() * NODE_BYTES
    }

    fn needed(&self) -> u32 {
        self.at_least
    }

    fn strength(&self, memory: &Memory, now: Timestamp) -> u32 {
        if memory.tripped != Timestamp::MIN && now.since(memory.tripped) < self.quiet {
            return 1;
        }
        self.in_window(memory, now).min(self.at_least)
    }

    fn owes(&self, memory: &Memory, now: Timestamp, owe: &mut dyn FnMut(usize, u32)) {
        owe(0, self.in_window(memory, now));
    }

    /// Events were counted, and every one may have had another value.
    fn revive(&self, counts: &Counts, now: Timestamp) -> Memory {
        let mut memory = Memory::default();
        (0..counts[0]).for_each(|it| memory.touch(mixed(u64::from(it)), Mark::unseen(now)));
        memory
    }

    /// The most recent values answer the question; only the number shown for a large crowd is lower.
    fn trim(&self, memory: &mut Memory) {
        let most = 2 * self.at_least;
        if memory.len <= most {
            return;
        }
        while memory.len > most {
            memory.remove(memory.oldest);
        }
        *memory = Saved::from(memory.clone()).into();
    }

    fn guess(&self, counts: &Counts, seen: &Seen<'_>) -> Option<Trip> {
        let reached = counts[0] >= self.at_least;
        let basis = Basis::of(1, u64::from(self.at_least));
        reached.then(|| self.trip(counts[0], seen.time(), vec![seen.mark]).approximate(basis))
    }
}

/// A node and its place in the index.
const NODE_BYTES: usize = size_of::<Node>() + 10;

impl Distinct {
    fn trip(&self, distinct: u32, since: Timestamp, marks: Vec<Mark>) -> Trip {
        Trip::exact(u64::from(distinct), since, marks)
            .because("at_least", self.at_least)
            .because("within_s", seconds(self.within))
            .because("distinct", distinct)
    }

    fn in_window(&self, memory: &Memory, now: Timestamp) -> u32 {
        let mut at = memory.newest;
        let mut count = 0;
        while at != NONE && now.since(memory.nodes[at as usize].mark.time) < self.within {
            count += 1;
            at = memory.nodes[at as usize].older;
        }
        count
    }

    fn observe_value(&self, memory: &mut Memory, hash: u64, mark: Mark, found: &mut Vec<Trip>) {
        let now = memory.newest_mark().map_or(mark.time, |it| it.time.max(mark.time));
        while memory.oldest != NONE && now.since(memory.nodes[memory.oldest as usize].mark.time) >= self.within {
            memory.remove(memory.oldest);
        }
        if now.since(mark.time) >= self.within {
            return; // so late that no window of the present holds it
        }
        memory.touch(hash, mark);
        let most = limits::DISTINCT_EXACT_MAX.max(2 * self.at_least as usize);
        if memory.len as usize > most {
            memory.remove(memory.oldest);
        }
        if memory.len < self.at_least {
            return;
        }
        let already_open = memory.tripped != Timestamp::MIN && now.since(memory.tripped) < self.quiet;
        let all = memory.marks();
        let seen = all.iter().filter(|it| !it.is_unseen()).count();
        let (values, marks) = (all.len(), if already_open { vec![mark] } else { all });
        let since = memory.nodes[memory.oldest as usize].mark.time;
        let mut trip = self.trip(memory.len, since, marks);
        if seen < values {
            trip = trip.approximate(Basis::of(seen as u64, u64::from(self.at_least)));
        }
        if memory.len as usize == most {
            trip = trip.because("more", true);
        }
        found.push(trip);
        memory.tripped = memory.tripped.max(now);
    }
}

impl Memory {
    fn newest_mark(&self) -> Option<Mark> {
        (self.newest != NONE).then(|| self.nodes[self.newest as usize].mark)
    }

    fn marks(&self) -> Vec<Mark> {
        let mut all = Vec::with_capacity(self.len as usize);
        let mut at = self.oldest;
        while at != NONE {
            all.push(self.nodes[at as usize].mark);
            at = self.nodes[at as usize].newer;
        }
        all
    }

    fn find(&self, hash: u64) -> Option<u32> {
        if !self.index.is_empty() {
            return self.index.find(hash, |it| self.nodes[*it as usize].hash == hash).copied();
        }
        let mut at = self.newest;
        while at != NONE {
            if self.nodes[at as usize].hash == hash {
                return Some(at);
            }
            at = self.nodes[at as usize].older;
        }
        None
    }

    /// Remembers that the value was seen then; an older sighting of it is forgotten.
    fn touch(&mut self, hash: u64, mark: Mark) {
        let at = match self.find(hash) {
            Some(at) if self.nodes[at as usize].mark.time > mark.time => return,
            Some(at) => {
                self.unlink(at);
                self.nodes[at as usize].mark = mark;
                at
            }
            None => self.add(hash, mark),
        };
        let mut older = self.newest;
        while older != NONE && self.nodes[older as usize].mark.time > mark.time {
            older = self.nodes[older as usize].older;
        }
        let newer = if older == NONE { self.oldest } else { self.nodes[older as usize].newer };
        self.nodes[at as usize].older = older;
        self.nodes[at as usize].newer = newer;
        match older {
            NONE => self.oldest = at,
            _ => self.nodes[older as usize].newer = at,
        }
        match newer {
            NONE => self.newest = at,
            _ => self.nodes[newer as usize].older = at,
        }
    }

    fn add(&mut self, hash: u64, mark: Mark) -> u32 {
        let node = Node { hash, mark, older: NONE, newer: NONE };
        let at = if self.free == NONE {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        } else {
            let at = self.free;
            self.free = self.nodes[at as usize].newer;
            self.nodes[at as usize] = node;
            at
        };
        self.len += 1;
        let nodes = &self.nodes;
        if !self.index.is_empty() {
            self.index.insert_unique(hash, at, |it| nodes[*it as usize].hash);
        } else if self.len as usize > SCAN_MAX {
            let mut known = self.newest;
            while known != NONE {
                self.index.insert_unique(nodes[known as usize].hash, known, |it| nodes[*it as usize].hash);
                known = nodes[known as usize].older;
            }
            self.index.insert_unique(hash, at, |it| nodes[*it as usize].hash);
        }
        at
    }

    fn unlink(&mut self, at: u32) {
        let Node { older, newer, .. } = self.nodes[at as usize];
        match older {
            NONE => self.oldest = newer,
            _ => self.nodes[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            _ => self.nodes[newer as usize].older = older,
        }
    }

    fn remove(&mut self, at: u32) {
        self.unlink(at);
        let hash = self.nodes[at as usize].hash;
        if let Ok(entry) = self.index.find_entry(hash, |it| *it == at) {
            entry.remove();
        }
        self.nodes[at as usize].newer = self.free;
        self.free = at;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::time;

    fn findings(at_least: u32, within: i64, events: &[(i64, u64)]) -> Vec<(i64, u64)> {
        let kind = Distinct { at_least, within: Span::from_secs(within), quiet: Span::from_secs(600) };
        let mut memory = Memory::default();
        let mut all = Vec::new();
        for (at, value) in events {
            let mut found = Vec::new();
            // A weak hash on purpose: the index must compare, not trust.
            kind.observe_value(&mut memory, *value, Mark { time: time(*at), evidence: 0 }, &mut found);
            all.extend(found.iter().map(|it| (*at, it.count)));
        }
        all
    }

    #[test]
    fn a_value_counts_once_from_its_last_sighting() {
        assert_eq!(findings(2, 60, &[(0, 1), (10, 1), (20, 1)]), []);
        assert_eq!(findings(2, 60, &[(0, 1), (50, 1), (70, 2)]), [(70, 2)]);
        assert_eq!(findings(2, 60, &[(0, 1), (60, 2)]), []);
    }

    proptest::proptest! {
        #[test]
        fn a_window_equals_a_naive_recount(
            mut events in proptest::collection::vec((0i64..300, 0u64..40), 1..200), at_least in 1u32..30, within in 1i64..100,
        ) {
            events.sort_by_key(|it| it.0);
            let mut naive = Vec::new();
            for end in 0..events.len() {
                let inside: std::collections::HashSet<u64> =
                    events[..=end].iter().filter(|it| it.0 > events[end].0 - within).map(|it| it.1).collect();
                if inside.len() >= at_least as usize {
                    naive.push((events[end].0, inside.len() as u64));
                }
            }
            proptest::prop_assert_eq!(findings(at_least, within, &events), naive);
        }
    }
}
