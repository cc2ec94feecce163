//! The memories of one rule, by entity.
//!
//! Keys are already keyed 64-bit hashes, so the table does not hash again. What cannot matter any more is swept out at
//! most once a window, so a sweep costs each hit a constant share.

use std::collections::BTreeSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;

use hashbrown::HashMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Detector, Lapse, Seen, Trip};
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
    fn warm(&self, _memory: &Self::Memory) -> bool {
        true
    }
}

pub struct Table<K: Kind> {
    kind: K,
    memories: HashMap<u64, K::Memory, BuildHasherDefault<AlreadyHashed>>,
    /// Deadlines of memories that have one. Those of equal time come out in no order of meaning: findings are sorted.
    deadlines: BTreeSet<(Timestamp, u64)>,
    next_sweep: Timestamp,
}

impl<K: Kind> Table<K> {
    pub fn new(kind: K) -> Table<K> {
        Table { kind, memories: HashMap::default(), deadlines: BTreeSet::new(), next_sweep: Timestamp::MIN }
    }
}

impl<K: Kind> Detector for Table<K> {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        if !self.kind.begins(seen) {
            let known = self.memories.get(&seen.hit.entity_hash);
            if known.is_none_or(|it| self.kind.matters_until(it) <= seen.hit.release) {
                return;
            }
        }
        let memory = self.memories.entry(seen.hit.entity_hash).or_default();
        // A late hit must not depend on whether a sweep has come by already.
        let before = self.kind.deadline(memory);
        if self.kind.matters_until(memory) <= seen.hit.release {
            *memory = K::Memory::default();
        }
        self.kind.observe(memory, seen, found);
        let after = self.kind.deadline(memory);
        if before != after {
            before.map(|it| self.deadlines.remove(&(it, seen.hit.entity_hash)));
            after.map(|it| self.deadlines.insert((it, seen.hit.entity_hash)));
        }
    }

    fn warm(&self, entity: u64) {
        black_box(self.memories.get(&entity).is_some_and(|it| self.kind.warm(it)));
    }

    fn lapse(&mut self, now: Timestamp, found: &mut Vec<Lapse>) {
        while let Some((due, entity)) = self.deadlines.first().copied().filter(|it| it.0 <= now) {
            self.deadlines.pop_first();
            let Some(memory) = self.memories.get_mut(&entity) else { continue };
            found.extend(self.kind.lapse(memory, due));
            if let Some(next) = self.kind.deadline(memory) {
                self.deadlines.insert((next, entity));
            }
        }
    }

    fn forget(&mut self, now: Timestamp) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now.plus(self.kind.window());
        let before = self.memories.len();
        let kind = &self.kind;
        self.memories.retain(|_, memory| kind.matters_until(memory) > now || kind.deadline(memory).is_some());
        if self.memories.len() < before / 4 {
            self.memories.shrink_to_fit();
        }
    }

    fn save(&self) -> Vec<u8> {
        let entries: Vec<(&u64, &K::Memory)> = self.memories.iter().collect();
        postcard::to_allocvec(&entries).expect("memories are plain data, and memory for them is there")
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let entries: Vec<(u64, K::Memory)> = postcard::from_bytes(bytes).map_err(|it| it.to_string())?;
        self.memories = entries.into_iter().collect();
        let kind = &self.kind;
        self.deadlines = self.memories.iter().filter_map(|(entity, it)| Some((kind.deadline(it)?, *entity))).collect();
        Ok(())
    }

    fn entities(&self) -> usize {
        self.memories.len()
    }

    fn looks_back(&self) -> bool {
        self.kind.looks_back()
    }
}

/// Passes a 64-bit key through.
#[derive(Default)]
pub struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
        }
    }

    fn write_u64(&mut self, it: u64) {
        self.0 = it;
    }
}
