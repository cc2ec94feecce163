//! The hits of one rule whose time has come, in their order.
//!
//! A detector gets them together: what it remembers of the next of them is on its way through the caches while it looks at
//! the first, and whatever it does is done by code that knows its kind, without a call through a table of functions for each hit.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

use super::{Detector, Lapse, Mark, Seen, Trip};
use crate::model::{Hit, HitBatch, Timestamp};

/// A hit that is due.
#[derive(Clone, Copy)]
pub struct DueHit {
    pub release: Timestamp,
    /// The number of its line among the kept lines.
    pub evidence: u64,
    /// Its batch among [`Due::batches`], and its place there.
    pub batch: u32,
    pub index: u32,
    /// The first of its rule's steps that it satisfies.
    pub step: u8,
}

/// Hits in the order (release time, step, line hash), and the batches that they stand in.
pub struct Due<'a> {
    /// XXH3-64 of the rule's id.
    pub rule: u64,
    pub hits: &'a [DueHit],
    pub batches: &'a [Arc<HitBatch>],
    /// The hit that is being looked at: where to go on when it cannot be judged.
    pub at: Cell<usize>,
}

/// What a detector says when hits come.
pub enum Said<'a> {
    /// The hit completed something.
    Trip(&'a DueHit, Trip),
    /// Time alone did, before the hit.
    Lapse(Lapse),
}

/// So many memories are asked for at once: more than a processor has misses under way, few enough to stay in its cache.
pub const WARM_AT_ONCE: usize = 64;

/// Hits that come soon, at most [`WARM_AT_ONCE`].
pub struct Soon<'a> {
    hits: &'a [DueHit],
    batches: &'a [Arc<HitBatch>],
    /// Partition and entity of each.
    pub whose: &'a [(u8, u64)],
}

impl Soon<'_> {
    /// Of each hit, a value that it takes along, where that is a text.
    pub fn texts(&self, index: usize) -> impl Iterator<Item = Option<&str>> {
        self.hits.iter().map(move |it| {
            let batch = &self.batches[it.batch as usize];
            batch.text_of(batch.hits[it.index as usize].values, index)
        })
    }
}

/// What is the same for a rule and an entity in every process. Each half is a hash by itself, so mixing them is enough.
pub fn stable(rule: u64, entity: u64) -> u64 {
    let mixed = (rule ^ entity.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

/// An entity that holds this cannot be judged, in tests.
#[cfg(test)]
pub const PLANTED: &str = "no detector can judge this";

/// Gives a detector its hits, and lets time pass before each.
pub(super) fn take<D: Detector + ?Sized>(detector: &mut D, due: &Due<'_>, say: &mut dyn FnMut(Said<'_>)) {
    let (mut trips, mut lapses) = (Vec::new(), Vec::new());
    let mut soon = [(0, 0); WARM_AT_ONCE];
    for (chunk, few) in due.hits.chunks(WARM_AT_ONCE).enumerate() {
        // Each memory is a miss of the caches. Asked for one after the other, without a look at the answer, they come
        // at the same time.
        for (it, whose) in few.iter().zip(&mut soon) {
            let batch = &due.batches[it.batch as usize];
            let hit = &batch.hits[it.index as usize];
            *whose = (hit.partition, batch.owner_of(hit).hash);
            black_box(batch.warm(hit));
        }
        detector.warm(&Soon { hits: few, batches: due.batches, whose: &soon[..few.len()] });
        for (number, it) in few.iter().enumerate() {
            due.at.set(chunk * WARM_AT_ONCE + number);
            let batch = &due.batches[it.batch as usize];
            let hit = batch.hit(it.index);
            let hit = Hit { entity_stable: stable(due.rule, hit.entity_stable), ..hit };
            #[cfg(test)]
            assert!(!batch.str(hit.entity).contains(PLANTED), "planted");
            detector.lapse(Timestamp::from_micros(hit.release.micros() - 1), &mut lapses);
            if !lapses.is_empty() {
                lapses.drain(..).for_each(|it| say(Said::Lapse(it)));
            }
            let mark = Mark { time: hit.time, evidence: it.evidence };
            detector.observe(&Seen { mark, hit: &hit, batch }, &mut trips);
            if !trips.is_empty() {
                trips.drain(..).for_each(|trip| say(Said::Trip(it, trip)));
            }
        }
    }
}
