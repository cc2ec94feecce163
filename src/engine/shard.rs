//! Some of the partitions: puts their hits in time order, feeds detectors, and lets time pass.
//!
//! Hits wait until the watermark has passed their release time, then go to the detectors in the order (release time,
//! step, line hash): whatever order the lines arrived in, inside the lateness, the detectors see the same. `&mut self` is
//! the only lock.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pressure::Shares;
use super::rules::RuleSet;
use crate::detect::{Detector, Lapse, Mark, Pressure, Seen, Trip};
use crate::limits;
use crate::model::{Because, Finding, Hit, HitBatch, Proof, RuleIndex, Timestamp, Words};

/// What shards are told at once: hits, and how far time has come.
pub struct Step {
    pub batches: Vec<Arc<HitBatch>>,
    /// Hits whose release time is not later reach their detectors.
    pub now: Timestamp,
    /// Nothing that happened until then is still to come, so what was due then is missed.
    pub until: Timestamp,
    /// What mattered only until then is forgotten.
    pub forget: Timestamp,
    /// For each source, how far its own lines are complete, where that is less than `now`: a source that catches up has its
    /// lines put in order, too. Empty: none is behind.
    pub held: Vec<Timestamp>,
    /// Names of the sources by their numbers.
    pub sources: Arc<Vec<Arc<str>>>,
}

/// What shards have to say of a step.
#[derive(Default)]
pub struct Found {
    pub findings: Vec<Finding>,
    /// Rules whose memory does not suffice, by their numbers, each partition once.
    pub pressures: Vec<(usize, Pressure)>,
}

pub struct Shard {
    set: Arc<RuleSet>,
    detectors: Vec<Box<dyn Detector>>,
    rings: Vec<EvidenceRing>,
    /// For rules that compare everybody with everybody, a ring of their own.
    shared_rings: Vec<Option<EvidenceRing>>,
    waiting: Vec<Waiting>,
    /// The least release time among them.
    earliest: Timestamp,
    /// A buffer: those whose time has come.
    due: Vec<Waiting>,
    /// Batches that some waiting hit stands in; the front one has number `first_batch`.
    batches: VecDeque<(Arc<HitBatch>, usize)>,
    first_batch: u64,
    trips: Vec<Trip>,
    lapses: Vec<Lapse>,
    pub hits: u64,
}

#[derive(Clone, Copy)]
struct Waiting {
    release: Timestamp,
    step: u8,
    source: u16,
    line_hash: u64,
    batch: u64,
    index: u32,
}

/// Of each rule the detector's bytes and its own ring, then the rings of the partitions, then the hits that wait.
pub type SavedShard = (Vec<(Vec<u8>, Option<SavedRing>)>, Vec<SavedRing>, Vec<HitBatch>);

impl Shard {
    pub fn new(set: Arc<RuleSet>) -> Shard {
        Shard {
            detectors: set.rules.iter().map(|it| it.rule.detect.start(it.rule.quiet)).collect(),
            rings: (0..limits::PARTITIONS).map(|_| EvidenceRing::new(limits::EVIDENCE_RING_BYTES_MAX)).collect(),
            shared_rings: set
                .rules
                .iter()
                .map(|it| {
                    it.rule.detect.sees_everybody().then(|| EvidenceRing::new(limits::EVIDENCE_SHARED_RING_BYTES_MAX))
                })
                .collect(),
            set,
            waiting: Vec::new(),
            earliest: Timestamp::MAX,
            due: Vec::new(),
            batches: VecDeque::new(),
            first_batch: 0,
            trips: Vec::new(),
            lapses: Vec::new(),
            hits: 0,
        }
    }

    /// Takes a step in, of which the hits in every `shards`th partition from `number` on belong to this shard.
    pub fn take(&mut self, step: &Step, number: usize, shards: usize, found: &mut Found) {
        step.batches.iter().for_each(|it| self.observe(it, number, shards));
        self.advance(step, &mut found.findings);
        for (rule, detector) in self.detectors.iter_mut().enumerate() {
            detector.pressures(step.now, &mut |it| found.pressures.push((rule, it)));
        }
    }

    /// Takes the hits of a batch that belong to this shard; they wait for their time.
    pub fn observe(&mut self, batch: &Arc<HitBatch>, shard: usize, shards: usize) {
        let number = self.first_batch + self.batches.len() as u64;
        let before = self.waiting.len();
        let is_mine = |partition: u8| shards == 1 || usize::from(partition) % shards == shard;
        for (index, hit) in batch.hits.iter().enumerate().filter(|(_, hit)| is_mine(hit.partition)) {
            self.earliest = self.earliest.min(hit.release);
            self.waiting.push(Waiting {
                release: hit.release,
                step: hit.steps.trailing_zeros() as u8,
                source: hit.source,
                line_hash: hit.line_hash,
                batch: number,
                index: index as u32,
            });
        }
        let mine = self.waiting.len() - before;
        if mine > 0 {
            self.batches.push_back((batch.clone(), mine));
        }
    }

    /// Lets time pass: hits whose time has come reach their detectors.
    fn advance(&mut self, step: &Step, found: &mut Vec<Finding>) {
        if self.earliest <= step.now {
            self.feed_due(step, found);
        }
        let Shard { detectors, rings, shared_rings, lapses, .. } = self;
        for (rule, detector) in detectors.iter_mut().enumerate() {
            let rings = Rings { own: shared_rings[rule].as_ref(), partitions: rings };
            if step.now == Timestamp::MAX {
                detector.lapse(step.until, lapses);
                detector.finish(lapses);
            }
            lapse(&mut **detector, rule, step.until, &rings, &step.sources, lapses, found);
            if step.now != Timestamp::MAX {
                detector.forget(step.forget);
            }
        }
    }

    /// New rules. `kept`: for each, its number among the old ones if it did not change. Nothing waits any more.
    pub fn adopt(&mut self, set: Arc<RuleSet>, kept: &[Option<usize>]) {
        let mut old: Vec<_> = std::mem::take(&mut self.detectors).into_iter().map(Some).collect();
        let mut old_rings: Vec<_> = std::mem::take(&mut self.shared_rings);
        let fresh = Shard::new(set);
        for ((detector, ring), kept) in fresh.detectors.into_iter().zip(fresh.shared_rings).zip(kept) {
            self.detectors.push(kept.and_then(|it| old[it].take()).unwrap_or(detector));
            self.shared_rings.push(kept.and_then(|it| old_rings[it].take()).or(ring));
        }
        self.set = fresh.set;
        self.waiting.clear();
        self.earliest = Timestamp::MAX;
        self.batches.clear();
    }

    /// What it remembers; the hits that wait in their order.
    pub fn save(&self) -> SavedShard {
        let own = self.detectors.iter().zip(&self.shared_rings);
        let rules = own.map(|(detector, ring)| (detector.save(), ring.as_ref().map(EvidenceRing::save))).collect();
        let mut batches: Vec<HitBatch> = self.batches.iter().map(|_| HitBatch::default()).collect();
        let mut waiting = self.waiting.clone();
        waiting.sort_by_key(|it| (it.batch, it.index));
        for it in waiting {
            let slot = (it.batch - self.first_batch) as usize;
            let from = &self.batches[slot].0;
            let hit = &from.hits[it.index as usize];
            batches[slot].copy_hit(from, hit, self.set.rules[hit.rule.index()].carry.len());
        }
        (rules, self.rings.iter().map(EvidenceRing::save).collect(), batches)
    }

    /// What a rule's detector remembers, and the number its next line of evidence has.
    pub fn lesson(&self, rule: usize) -> (Vec<u8>, u64) {
        (self.detectors[rule].save(), self.shared_rings[rule].as_ref().map_or(0, EvidenceRing::next))
    }

    /// Gives a rule what it learned elsewhere. The lines it learned from are not kept: their numbers are taken, and nothing is
    /// found there.
    pub fn take_lesson(&mut self, rule: RuleIndex, bytes: &[u8], next: u64) -> Result<(), String> {
        if let Some(ring) = &mut self.shared_rings[rule.index()] {
            ring.first = next;
        }
        self.detectors[rule.index()].restore(bytes)
    }

    /// Gives a rule back what it remembered.
    pub fn restore_rule(&mut self, rule: RuleIndex, bytes: &[u8], ring: Option<SavedRing>) -> Result<(), String> {
        if let (Some(own), Some(ring)) = (&mut self.shared_rings[rule.index()], ring) {
            own.restore(ring);
        }
        self.detectors[rule.index()].restore(bytes)
    }

    pub fn restore_rings(&mut self, rings: Vec<SavedRing>) {
        self.rings.iter_mut().zip(rings).for_each(|(ring, saved)| ring.restore(saved));
    }

    /// What each may take of the memory.
    pub fn limit(&mut self, shares: &Shares) {
        self.detectors.iter_mut().zip(&shares.rules).for_each(|(it, bytes)| it.limit(*bytes));
        self.rings.iter_mut().for_each(|it| it.limit(shares.ring));
        self.shared_rings.iter_mut().flatten().for_each(|it| it.limit(shares.shared_ring));
    }

    /// How many bytes a rule remembers.
    pub fn bytes(&self, rule: usize) -> usize {
        self.detectors[rule].bytes()
    }

    /// Whether the rule's memory does not suffice.
    pub fn is_strained(&self, rule: usize) -> bool {
        self.detectors[rule].is_strained()
    }

    /// How many entities are remembered, over all rules.
    pub fn entities(&self) -> usize {
        self.detectors.iter().map(|it| it.entities()).sum()
    }

    /// How many hits wait for their time.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Only what is due is sorted, and once: sorting all that waits for every batch cost more than the detectors.
    fn feed_due(&mut self, step: &Step, found: &mut Vec<Finding>) {
        let sources = &step.sources;
        let Shard { detectors, rings, shared_rings, waiting, due, batches, first_batch, trips, lapses, .. } = self;
        due.clear();
        let mut earliest = Timestamp::MAX;
        waiting.retain(|it| {
            let held = step.held.get(usize::from(it.source));
            let waits = it.release > step.now || held.is_some_and(|held| it.release > *held);
            if waits {
                earliest = earliest.min(it.release);
            } else {
                due.push(*it);
            }
            waits
        });
        self.earliest = earliest;
        // No two are equal, for none have the same batch and index.
        due.sort_unstable_by_key(|it| (it.release, it.step, it.line_hash, it.batch, it.index));
        for few in due.chunks(WARM_AT_ONCE) {
            // Each memory is a miss of the caches. Asked for one after the other, without a look at the answer, they come
            // at the same time.
            for it in few {
                let hit = &batches[(it.batch - *first_batch) as usize].0.hits[it.index as usize];
                detectors[hit.rule.index()].warm(hit.partition, hit.entity_hash);
            }
            for it in few {
                let (batch, waiting) = &mut batches[(it.batch - *first_batch) as usize];
                *waiting -= 1;
                let hit = &batch.hits[it.index as usize];
                let rule = hit.rule.index();
                let before = Timestamp::from_micros(hit.release.micros() - 1);
                let kept = Rings { own: shared_rings[rule].as_ref(), partitions: rings };
                lapse(&mut *detectors[rule], rule, before, &kept, sources, lapses, found);
                let ring = match &mut shared_rings[rule] {
                    Some(ring) => ring,
                    None => &mut rings[usize::from(hit.partition)],
                };
                feed(&mut *detectors[rule], ring, trips, batch, it.index, sources, found);
            }
        }
        self.hits += due.len() as u64;
        while self.batches.front().is_some_and(|it| it.1 == 0) {
            self.batches.pop_front();
            self.first_batch += 1;
        }
    }
}

/// So many memories are asked for at once: more than a processor has misses under way, few enough to stay in its cache.
const WARM_AT_ONCE: usize = 64;

/// Where the evidence of a rule is kept.
struct Rings<'a> {
    own: Option<&'a EvidenceRing>,
    partitions: &'a [EvidenceRing],
}

/// Lets time pass for one rule.
fn lapse(
    detector: &mut dyn Detector,
    rule: usize,
    now: Timestamp,
    rings: &Rings<'_>,
    sources: &[Arc<str>],
    lapses: &mut Vec<Lapse>,
    found: &mut Vec<Finding>,
) {
    detector.lapse(now, lapses);
    for lapse in lapses.drain(..) {
        let ring = rings.own.unwrap_or(&rings.partitions[usize::from(lapse.partition)]);
        found.push(Finding {
            rule: RuleIndex(rule as u16),
            time: lapse.due,
            release: lapse.due,
            line_hash: lapse.line_hash,
            count: lapse.trip.count,
            since: lapse.trip.since,
            score: lapse.trip.score,
            severity: lapse.trip.severity,
            evidence: few(&lapse.trip.marks, &|it| ring.find(it.evidence, sources)),
            words: Words::Entity(lapse.entity),
            because: Because { object: lapse.trip.numbers, few: lapse.trip.because },
            story: lapse.trip.story,
            late: false,
            suspect: false,
            guess: false,
            over: lapse.over,
            kept_back: lapse.kept_back,
        });
    }
}

fn feed(
    detector: &mut dyn Detector,
    ring: &mut EvidenceRing,
    trips: &mut Vec<Trip>,
    batch: &Arc<HitBatch>,
    index: u32,
    sources: &[Arc<str>],
    found: &mut Vec<Finding>,
) {
    let hit = &batch.hits[index as usize];
    let this = if detector.looks_back() { ring.keep(batch, hit) } else { EvidenceRing::THIS };
    let seen = Seen { mark: Mark { time: hit.time, evidence: this }, hit, batch };
    detector.observe(&seen, trips);
    for trip in trips.drain(..) {
        let evidence = match &trip.marks[..] {
            [only] if only.evidence == this => Vec::new(),
            marks => few(marks, &|it| match it.evidence == this {
                true => Some(Proof::of(batch, index, sources)),
                false => ring.find(it.evidence, sources),
            }),
        };
        found.push(Finding {
            rule: hit.rule,
            words: Words::Hit(batch.clone(), index),
            time: hit.time,
            release: hit.release,
            line_hash: hit.line_hash,
            count: trip.count,
            since: trip.since,
            score: trip.score,
            severity: trip.severity,
            evidence,
            because: Because { object: trip.numbers, few: trip.because },
            story: trip.story,
            late: hit.late,
            suspect: hit.suspect,
            guess: trip.guess,
            over: false,
            kept_back: false,
        });
    }
}

/// The first and the latest lines of those that are still there.
fn few(marks: &[Mark], find: &dyn Fn(&Mark) -> Option<Proof>) -> Vec<Proof> {
    let first_max = limits::EVIDENCE_LINES_MAX / 2;
    let mut rest = marks.iter();
    let mut first: Vec<Proof> = rest.by_ref().filter_map(find).take(first_max).collect();
    let mut latest: Vec<Proof> = rest.rev().filter_map(find).take(limits::EVIDENCE_LINES_MAX - first_max).collect();
    latest.reverse();
    first.append(&mut latest);
    first
}

/// Kept evidence in a snapshot.
#[derive(Serialize, Deserialize)]
pub struct SavedRing {
    first: u64,
    kept: Vec<Kept>,
    texts: Vec<u8>,
    texts_forgotten: u64,
}

impl SavedRing {
    /// In a snapshot, about.
    pub fn bytes(&self) -> usize {
        self.texts.len() + self.kept.len() * size_of::<Kept>()
    }
}

/// The latest hit lines of one partition, for the evidence of alerts to come. A partition sees the same hits in the same
/// order in every run, so what is still there does not depend on threads.
struct EvidenceRing {
    bytes_max: usize,
    kept: VecDeque<Kept>,
    first: u64,
    /// The texts of all, one after the other: an allocation for each cost more than the copy.
    texts: VecDeque<u8>,
    /// How many bytes of texts were forgotten.
    texts_forgotten: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    time: Timestamp,
    source: u16,
    len: u32,
    line: u64,
    hash: u64,
    /// Where its text begins, counted over all there ever were.
    start: u64,
}

impl EvidenceRing {
    /// Stands for the line at hand where nothing is kept.
    const THIS: u64 = u64::MAX;

    fn new(bytes_max: usize) -> EvidenceRing {
        EvidenceRing { bytes_max, kept: VecDeque::new(), first: 0, texts: VecDeque::new(), texts_forgotten: 0 }
    }

    fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.cut();
    }

    fn save(&self) -> SavedRing {
        SavedRing {
            first: self.first,
            kept: self.kept.iter().cloned().collect(),
            texts: self.texts.iter().copied().collect(),
            texts_forgotten: self.texts_forgotten,
        }
    }

    fn restore(&mut self, saved: SavedRing) {
        self.first = saved.first;
        self.kept = saved.kept.into();
        self.texts = saved.texts.into();
        self.texts_forgotten = saved.texts_forgotten;
    }

    fn keep(&mut self, batch: &HitBatch, hit: &Hit) -> u64 {
        let text = batch.str(hit.text);
        let start = self.texts_forgotten + self.texts.len() as u64;
        let len = text.len() as u32;
        self.kept.push_back(Kept {
            time: hit.time,
            source: hit.source,
            len,
            line: hit.line,
            hash: hit.line_hash,
            start,
        });
        self.texts.extend(text.as_bytes());
        self.cut();
        self.first + self.kept.len() as u64 - 1
    }

    fn cut(&mut self) {
        while self.texts.len() + self.kept.len() * size_of::<Kept>() > self.bytes_max {
            let Some(old) = self.kept.pop_front() else { break };
            self.texts.drain(..old.len as usize);
            self.texts_forgotten += u64::from(old.len);
            self.first += 1;
        }
    }

    fn find(&self, number: u64, sources: &[Arc<str>]) -> Option<Proof> {
        let kept = self.kept.get(usize::try_from(number.checked_sub(self.first)?).ok()?)?;
        let start = (kept.start - self.texts_forgotten) as usize;
        let (front, back) = self.texts.as_slices();
        let end = start + kept.len as usize;
        let mut text = Vec::with_capacity(kept.len as usize);
        text.extend_from_slice(&front[start.min(front.len())..end.min(front.len())]);
        text.extend_from_slice(&back[start.max(front.len()) - front.len()..end.max(front.len()) - front.len()]);
        Some(Proof {
            time: kept.time,
            source: sources[usize::from(kept.source)].clone(),
            line: kept.line,
            hash: kept.hash,
            text: String::from_utf8(text).expect("whole texts are kept and forgotten"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RuleIndex, TextRange};

    fn hit(line: u64, text: TextRange) -> Hit {
        let time = Timestamp::from_micros(line as i64);
        Hit {
            rule: RuleIndex(0),
            steps: 1,
            partition: 0,
            entity_hash: 0,
            entity_stable: 0,
            entity: TextRange::default(),
            time,
            release: time,
            line_hash: line,
            line,
            source: 0,
            text,
            values: 0,
            late: false,
            suspect: false,
        }
    }

    /// Against the plain form: a list of the last texts that fit.
    #[test]
    fn a_ring_keeps_the_latest_texts_that_fit() {
        let sources = [Arc::from("stdin")];
        for bytes_max in [0, 100, 1000, 5000] {
            let mut ring = EvidenceRing::new(bytes_max);
            let mut plain: VecDeque<(u64, String)> = VecDeque::new();
            for line in 0..500u64 {
                let text = "aé".repeat((line * 7 % 23) as usize);
                let mut batch = HitBatch::default();
                let range = batch.push(&text);
                let number = ring.keep(&batch, &hit(line, range));
                plain.push_back((number, text));
                let bytes =
                    |it: &VecDeque<(u64, String)>| it.iter().map(|it| it.1.len() + size_of::<Kept>()).sum::<usize>();
                while bytes(&plain) > bytes_max {
                    plain.pop_front();
                }
                let oldest = plain.front().map_or(number + 1, |it| it.0);
                assert!(oldest == 0 || ring.find(oldest - 1, &sources).is_none());
                for (number, text) in &plain {
                    assert_eq!(ring.find(*number, &sources).map(|it| it.text).as_ref(), Some(text));
                }
            }
        }
    }
}
