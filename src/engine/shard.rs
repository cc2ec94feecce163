//! Some of the partitions: puts their hits in time order, feeds detectors, and lets time pass.
//!
//! Hits wait until the watermark has passed their release time, then go to the detectors in the order (release time,
//! step, line hash): whatever order the lines arrived in, inside the lateness, the detectors see the same. `&mut self` is
//! the only lock.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::rules::{Compiled, RuleSet};
use crate::detect::{Detector, Lapse, Mark, Seen, Trip};
use crate::limits;
use crate::model::{Entity, Evidence, Finding, Hit, HitBatch, List, RuleIndex, Timestamp};

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
    /// Batches that no hit waits in any more, to be used again.
    spent: Vec<Arc<HitBatch>>,
    trips: Vec<Trip>,
    lapses: Vec<Lapse>,
    pub hits: u64,
}

#[derive(Clone, Copy)]
struct Waiting {
    release: Timestamp,
    step: u8,
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
            spent: Vec::new(),
            trips: Vec::new(),
            lapses: Vec::new(),
            hits: 0,
        }
    }

    /// Takes the hits of a batch that belong to this shard, `owner` saying which; they wait for their time.
    pub fn observe(&mut self, batch: &Arc<HitBatch>, owner: &dyn Fn(&Hit) -> bool) {
        let number = self.first_batch + self.batches.len() as u64;
        let before = self.waiting.len();
        for (index, hit) in batch.hits.iter().enumerate().filter(|(_, hit)| owner(hit)) {
            self.earliest = self.earliest.min(hit.release);
            self.waiting.push(Waiting {
                release: hit.release,
                step: hit.steps.trailing_zeros() as u8,
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

    /// Lets time pass to `now`: hits whose release time is not later reach their detectors. `until`: nothing that happened
    /// until then is still to come, so what was due then is missed.
    pub fn advance(&mut self, now: Timestamp, until: Timestamp, sources: &[String], found: &mut Vec<Finding>) {
        if self.earliest <= now {
            self.feed_due(now, sources, found);
        }
        let Shard { set, detectors, rings, shared_rings, lapses, .. } = self;
        for (rule, detector) in detectors.iter_mut().enumerate() {
            let rings = Rings { own: shared_rings[rule].as_ref(), partitions: rings };
            if now == Timestamp::MAX {
                detector.lapse(until, lapses);
                detector.finish(lapses);
            }
            lapse(&set.rules[rule], &mut **detector, rule, until, &rings, sources, lapses, found);
            if now != Timestamp::MAX {
                detector.forget(now);
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

    /// How many entities are remembered, over all rules.
    pub fn entities(&self) -> usize {
        self.detectors.iter().map(|it| it.entities()).sum()
    }

    /// How many hits wait for their time.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Only what is due is sorted, and once: sorting all that waits for every batch cost more than the detectors.
    fn feed_due(&mut self, now: Timestamp, sources: &[String], found: &mut Vec<Finding>) {
        let Shard { set, detectors, rings, shared_rings, waiting, due, batches, first_batch, trips, lapses, .. } = self;
        due.clear();
        let mut earliest = Timestamp::MAX;
        waiting.retain(|it| {
            let waits = it.release > now;
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
        for it in &*due {
            let (batch, waiting) = &mut batches[(it.batch - *first_batch) as usize];
            *waiting -= 1;
            let hit = &batch.hits[it.index as usize];
            let rule = hit.rule.index();
            let before = Timestamp::from_micros(hit.release.micros() - 1);
            let kept = Rings { own: shared_rings[rule].as_ref(), partitions: rings };
            lapse(&set.rules[rule], &mut *detectors[rule], rule, before, &kept, sources, lapses, found);
            let ring = match &mut shared_rings[rule] {
                Some(ring) => ring,
                None => &mut rings[usize::from(hit.partition)],
            };
            feed(&set.rules[rule], &mut *detectors[rule], ring, trips, batch, hit, sources, found);
        }
        self.hits += due.len() as u64;
        while self.batches.front().is_some_and(|it| it.1 == 0) {
            self.spent.extend(self.batches.pop_front().map(|it| it.0));
            self.first_batch += 1;
        }
    }

    /// A batch that nobody needs any more, to be filled again.
    pub fn spent_batch(&mut self) -> Option<HitBatch> {
        self.spent.pop().and_then(|it| Arc::try_unwrap(it).ok())
    }
}

/// Where the evidence of a rule is kept.
struct Rings<'a> {
    own: Option<&'a EvidenceRing>,
    partitions: &'a [EvidenceRing],
}

/// Lets time pass for one rule.
#[expect(clippy::too_many_arguments, reason = "the parts of a shard, borrowed apart")]
fn lapse(
    rule: &Compiled,
    detector: &mut dyn Detector,
    number: usize,
    now: Timestamp,
    rings: &Rings<'_>,
    sources: &[String],
    lapses: &mut Vec<Lapse>,
    found: &mut Vec<Finding>,
) {
    detector.lapse(now, lapses);
    for lapse in lapses.drain(..) {
        let values: Vec<String> = lapse.entity.split(List::SEPARATOR).map(str::to_string).collect();
        let ring = rings.own.unwrap_or(&rings.partitions[usize::from(lapse.partition)]);
        let evidence = lapse.trip.marks.iter().filter_map(|it| ring.find(it.evidence, sources)).collect();
        found.push(Finding {
            rule: RuleIndex(number as u16),
            entity: Entity { key: rule.entity_key(&values), values },
            time: lapse.due,
            release: lapse.due,
            line_hash: lapse.line_hash,
            count: lapse.trip.count,
            since: lapse.trip.since,
            score: lapse.trip.score,
            severity: lapse.trip.severity,
            evidence,
            because: because(lapse.trip.because, lapse.trip.numbers),
            story: lapse.trip.story,
            values: Vec::new(),
            late: false,
            suspect: false,
            over: lapse.over,
            kept_back: lapse.kept_back,
        });
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of a shard, borrowed apart")]
fn feed(
    rule: &Compiled,
    detector: &mut dyn Detector,
    ring: &mut EvidenceRing,
    trips: &mut Vec<Trip>,
    batch: &HitBatch,
    hit: &Hit,
    sources: &[String],
    found: &mut Vec<Finding>,
) {
    let evidence = if detector.looks_back() { ring.keep(batch, hit) } else { EvidenceRing::THIS };
    let seen = Seen { mark: Mark { time: hit.time, evidence }, hit, batch };
    detector.observe(&seen, trips);
    for trip in trips.drain(..) {
        let values: Vec<String> = batch.str(hit.entity).split(List::SEPARATOR).map(|it| it.to_string()).collect();
        let evidence = trip.marks.iter().filter_map(|it| match it.evidence == evidence {
            true => Some(this_line(batch, hit, sources)),
            false => ring.find(it.evidence, sources),
        });
        found.push(Finding {
            rule: hit.rule,
            entity: Entity { key: rule.entity_key(&values), values },
            time: hit.time,
            release: hit.release,
            line_hash: hit.line_hash,
            count: trip.count,
            since: trip.since,
            score: trip.score,
            severity: trip.severity,
            evidence: evidence.collect(),
            because: because(trip.because, trip.numbers),
            story: trip.story,
            values: rule.carried(batch, hit),
            late: hit.late,
            suspect: hit.suspect,
            over: false,
            kept_back: false,
        });
    }
}

fn because(
    few: Vec<(&'static str, serde_json::Value)>,
    mut all: Map<String, serde_json::Value>,
) -> Map<String, serde_json::Value> {
    all.extend(few.into_iter().map(|(name, it)| (name.to_string(), it)));
    all
}

fn this_line(batch: &HitBatch, hit: &Hit, sources: &[String]) -> Evidence {
    Evidence {
        time: hit.time,
        source: sources[usize::from(hit.source)].clone(),
        line: hit.line,
        hash: format!("{:016x}", hit.line_hash),
        text: batch.str(hit.text).to_string(),
    }
}

/// Kept evidence in a snapshot.
#[derive(Serialize, Deserialize)]
pub struct SavedRing {
    first: u64,
    kept: Vec<Kept>,
    texts: Vec<u8>,
    texts_forgotten: u64,
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
        while self.texts.len() + self.kept.len() * size_of::<Kept>() > self.bytes_max {
            let Some(old) = self.kept.pop_front() else { break };
            self.texts.drain(..old.len as usize);
            self.texts_forgotten += u64::from(old.len);
            self.first += 1;
        }
        self.first + self.kept.len() as u64 - 1
    }

    fn find(&self, number: u64, sources: &[String]) -> Option<Evidence> {
        let kept = self.kept.get(usize::try_from(number.checked_sub(self.first)?).ok()?)?;
        let start = (kept.start - self.texts_forgotten) as usize;
        let text: Vec<u8> = self.texts.range(start..start + kept.len as usize).copied().collect();
        Some(Evidence {
            time: kept.time,
            source: sources[usize::from(kept.source)].clone(),
            line: kept.line,
            hash: format!("{:016x}", kept.hash),
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
        let sources = ["stdin".to_string()];
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
