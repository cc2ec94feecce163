//! The memories of one rule, by entity.
//!
//! Keys are already keyed 64-bit hashes, so the table does not hash again. What cannot matter any more is swept out
//! once a window, so a sweep costs each hit a constant share. What does not fit is the business of [`budget`](super::budget).

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::budget::{Deadlines, Lane, Spill, Strain};
use super::due::Soon;
use super::slots;
use super::{Detector, Lapse, Pressure, Seen, Trip, restored};
use crate::limits;
use crate::model::{Span, Timestamp};

/// A kind whose memory is one value an entity.
pub trait Kind: Send {
    type Memory: Default + Send + Serialize + DeserializeOwned;
    /// Takes a hit of the memory's entity in; appends what it completes.
    fn observe(&self, memory: &mut Self::Memory, seen: &Seen<'_>, found: &mut Vec<Trip>);
    /// Whether a hit of an entity of which nothing is remembered is worth remembering.
    fn begins(&self, _seen: &Seen<'_>) -> bool {
        true
    }
    /// After this time the memory is as good as none.
    fn matters_until(&self, memory: &Self::Memory) -> Timestamp;
    /// How long a hit matters at most.
    fn window(&self) -> Span;
    /// When time alone will have something to say about the memory, if nothing more comes.
    fn deadline(&self, _memory: &Self::Memory) -> Option<Timestamp> {
        None
    }
    /// What time has to say at the deadline. Must move the deadline, or take it away.
    fn lapse(&self, _memory: &mut Self::Memory, _due: Timestamp) -> Option<Lapse> {
        None
    }
    /// Whether lines of past hits are asked for again.
    fn looks_back(&self) -> bool {
        true
    }
    /// Reads something of each piece of memory, so that it is in the caches; what it says means nothing.
    fn warm(&self, memory: &Self::Memory) -> u64 {
        self.matters_until(memory).micros() as u64
    }
}

pub struct Table<K: Kind> {
    kind: K,
    /// One a partition: what one of them remembers does not depend on what else this shard has.
    lanes: Box<[Lane<K::Memory>]>,
    /// Deadlines of memories that have one. Those of equal time come out in no order of meaning: findings are sorted.
    deadlines: Deadlines,
    /// Sweeps are at multiples of the window, so that what is there never depends on when somebody looked.
    next_sweep: Timestamp,
    /// Bytes of a lane.
    quota: usize,
    /// Some lane may be.
    strained: bool,
}

impl<K: Spill> Table<K> {
    pub fn new(kind: K) -> Table<K> {
        let lanes = (0..limits::PARTITIONS).map(|it| Lane::new(it as u8)).collect();
        Table {
            kind,
            lanes,
            deadlines: BTreeSet::new(),
            next_sweep: Timestamp::MIN,
            quota: usize::MAX / 4,
            strained: false,
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        let window = self.kind.window().micros().max(1);
        let multiple = Timestamp::from_micros(now.micros().div_euclid(window).saturating_mul(window));
        self.next_sweep = multiple.plus(self.kind.window());
        for lane in self.lanes.iter_mut().filter(|it| !it.memories.is_empty()) {
            lane.sweep(&self.kind, multiple);
        }
    }
}

impl<K: Spill> Detector for Table<K> {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        let (key, now) = (seen.hit.entity_hash, seen.hit.release);
        if now >= self.next_sweep {
            self.sweep(now);
        }
        let Table { kind, lanes, deadlines, quota, strained, .. } = self;
        let lane = &mut lanes[usize::from(seen.hit.partition) % limits::PARTITIONS];
        // What the sketch knows may have begun there.
        if lane.strain.is_none() && !kind.begins(seen) {
            let known = lane.memories.get(key);
            if known.is_none_or(|it| kind.matters_until(it) <= now) {
                return;
            }
        }
        let (memory, before, heap_before) = match lane.memories.get_mut(key) {
            Some(memory) => {
                let before = (kind.deadline(memory), kind.heap(memory));
                // A late hit must not depend on whether a sweep has come by already.
                if kind.matters_until(memory) <= now {
                    *memory = K::Memory::default();
                }
                (memory, before.0, before.1)
            }
            None => match lane.admit(kind, *quota, seen, deadlines, found) {
                Some(memory) => {
                    let heap = kind.heap(memory);
                    (memory, None, heap)
                }
                None => {
                    *strained = true;
                    return;
                }
            },
        };
        kind.observe(memory, seen, found);
        let (after, heap) = (kind.deadline(memory), kind.heap(memory));
        if before != after {
            before.map(|it| deadlines.remove(&(it, seen.hit.partition, key)));
            after.map(|it| deadlines.insert((it, seen.hit.partition, key)));
        }
        if heap != heap_before {
            lane.heap = lane.heap - heap_before + heap;
            lane.grown(kind, *quota, now, deadlines);
            *strained |= lane.strain.is_some();
        }
    }

    fn warm(&self, soon: &Soon<'_>) {
        let of = |partition: u8| &self.lanes[usize::from(partition) % limits::PARTITIONS].memories;
        slots::warm(soon.whose, of, |_| 0, |it| self.kind.warm(it));
    }

    fn lapse(&mut self, now: Timestamp, found: &mut Vec<Lapse>) {
        while let Some((due, partition, entity)) = self.deadlines.first().copied().filter(|it| it.0 <= now) {
            self.deadlines.pop_first();
            let lane = &mut self.lanes[usize::from(partition)];
            let Some(memory) = lane.memories.get_mut(entity) else { continue };
            let before = self.kind.heap(memory);
            found.extend(self.kind.lapse(memory, due));
            lane.heap = lane.heap - before + self.kind.heap(memory);
            if let Some(next) = self.kind.deadline(memory) {
                self.deadlines.insert((next, partition, entity));
            }
        }
    }

    fn forget(&mut self, now: Timestamp) {
        if now >= self.next_sweep {
            self.sweep(now);
        }
        if self.strained {
            self.lanes.iter_mut().for_each(|it| it.calm(now));
            self.strained = self.lanes.iter().any(|it| it.strain.is_some());
        }
    }

    fn save(&self) -> Vec<u8> {
        let lanes = self.lanes.iter().filter(|it| !it.memories.is_empty() || it.strain.is_some());
        let lanes: Vec<_> =
            lanes.map(|it| (it.partition, it.memories.iter().collect::<Vec<_>>(), &it.strain)).collect();
        // Numbers are short there, so half of what it takes is plenty; doubling as it grows would take twice as much.
        postcard::to_extend(&(self.next_sweep, lanes), Vec::with_capacity(self.bytes() / 2))
            .expect("memories are plain data, and memory for them is there")
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        type Saved<M> = (Timestamp, Vec<(u8, Vec<(u64, M)>, Option<Box<Strain>>)>);
        let (next_sweep, lanes): Saved<K::Memory> = restored(bytes)?;
        self.next_sweep = next_sweep;
        for (partition, memories, strain) in lanes {
            let lane = self.lanes.get_mut(usize::from(partition)).ok_or("there is no such partition")?;
            lane.memories = memories.into_iter().collect();
            lane.strain = strain;
            lane.appraise(&self.kind);
            self.strained |= lane.strain.is_some();
            let timed = lane.memories.iter().filter_map(|(key, it)| Some((self.kind.deadline(it)?, partition, key)));
            self.deadlines.extend(timed);
        }
        Ok(())
    }

    fn entities(&self) -> usize {
        self.lanes.iter().map(|it| it.memories.len()).sum()
    }

    fn looks_back(&self) -> bool {
        self.kind.looks_back()
    }

    fn limit(&mut self, bytes: u64) {
        self.quota = usize::try_from(bytes).unwrap_or(usize::MAX / 4) / limits::PARTITIONS;
    }

    fn bytes(&self) -> usize {
        self.lanes.iter().map(Lane::bytes).sum()
    }

    fn is_strained(&self) -> bool {
        self.strained
    }

    fn pressures(&mut self, now: Timestamp, each: &mut dyn FnMut(Pressure)) {
        if self.strained {
            self.lanes.iter_mut().filter_map(|it| it.pressure(now)).for_each(each);
        }
    }
}
