//! Some of the partitions: puts their hits in time order, feeds detectors, and lets time pass.
//!
//! Hits wait until the watermark has passed their release time, then go to the detectors in the order (release time,
//! step, line hash): whatever order the lines arrived in, inside the lateness, the detectors see the same. `&mut self` is
//! the only lock.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Map;

use super::rules::RuleSet;
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
    line_hash: u64,
    batch: u64,
    index: u32,
}

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
            batches: VecDeque::new(),
            first_batch: 0,
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
        let order = |it: &Waiting| (it.release, it.step, it.line_hash, it.batch, it.index);
        // Mostly sorted already, which this sort knows how to use.
        self.waiting.sort_by_key(order);
        let due = self.waiting.partition_point(|it| it.release <= now);
        for index in 0..due {
            let Waiting { batch, index, .. } = self.waiting[index];
            let slot = (batch - self.first_batch) as usize;
            let shared = self.batches[slot].0.clone();
            let hit = &shared.hits[index as usize];
            self.lapse(hit.rule.index(), Timestamp::from_micros(hit.release.micros() - 1), sources, found);
            self.feed(&shared, &shared.hits[index as usize], sources, found);
            self.batches[slot].1 -= 1;
        }
        self.waiting.drain(..due);
        while self.batches.front().is_some_and(|it| it.1 == 0) {
            self.batches.pop_front();
            self.first_batch += 1;
        }
        for rule in 0..self.detectors.len() {
            self.lapse(rule, until, sources, found);
            if now != Timestamp::MAX {
                self.detectors[rule].forget(now);
            }
        }
    }

    /// Lets time pass for one rule.
    fn lapse(&mut self, rule: usize, now: Timestamp, sources: &[String], found: &mut Vec<Finding>) {
        self.detectors[rule].lapse(now, &mut self.lapses);
        for lapse in self.lapses.drain(..) {
            let values: Vec<String> = lapse.entity.split(List::SEPARATOR).map(str::to_string).collect();
            let ring = self.shared_rings[rule].as_ref().unwrap_or(&self.rings[usize::from(lapse.partition)]);
            let evidence = lapse.trip.marks.iter().filter_map(|it| ring.find(it.evidence, sources)).collect();
            found.push(Finding {
                rule: RuleIndex(rule as u16),
                entity: Entity { key: self.set.rules[rule].entity_key(&values), values },
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
            });
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
        self.batches.clear();
    }

    /// How many entities are remembered, over all rules.
    pub fn entities(&self) -> usize {
        self.detectors.iter().map(|it| it.entities()).sum()
    }

    /// How many hits wait for their time.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn feed(&mut self, batch: &HitBatch, hit: &Hit, sources: &[String], found: &mut Vec<Finding>) {
        self.hits += 1;
        let rule = &self.set.rules[hit.rule.index()];
        let detector = &mut self.detectors[hit.rule.index()];
        let ring = match &mut self.shared_rings[hit.rule.index()] {
            Some(ring) => ring,
            None => &mut self.rings[usize::from(hit.partition)],
        };
        let evidence = if detector.looks_back() { ring.keep(batch, hit) } else { EvidenceRing::THIS };
        let seen = Seen { mark: Mark { time: hit.time, evidence }, hit, batch };
        detector.observe(&seen, &mut self.trips);
        for trip in self.trips.drain(..) {
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
            });
        }
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

/// The latest hit lines of one partition, for the evidence of alerts to come. A partition sees the same hits in the same
/// order in every run, so what is still there does not depend on threads.
struct EvidenceRing {
    bytes_max: usize,
    kept: VecDeque<Kept>,
    first: u64,
    bytes: usize,
}

struct Kept {
    time: Timestamp,
    source: u16,
    line: u64,
    hash: u64,
    text: Box<str>,
}

impl EvidenceRing {
    /// Stands for the line at hand where nothing is kept.
    const THIS: u64 = u64::MAX;

    fn new(bytes_max: usize) -> EvidenceRing {
        EvidenceRing { bytes_max, kept: VecDeque::new(), first: 0, bytes: 0 }
    }

    fn keep(&mut self, batch: &HitBatch, hit: &Hit) -> u64 {
        let text = batch.str(hit.text);
        self.bytes += text.len() + std::mem::size_of::<Kept>();
        self.kept.push_back(Kept {
            time: hit.time,
            source: hit.source,
            line: hit.line,
            hash: hit.line_hash,
            text: text.into(),
        });
        while self.bytes > self.bytes_max {
            let Some(old) = self.kept.pop_front() else { break };
            self.bytes -= old.text.len() + std::mem::size_of::<Kept>();
            self.first += 1;
        }
        self.first + self.kept.len() as u64 - 1
    }

    fn find(&self, number: u64, sources: &[String]) -> Option<Evidence> {
        let kept = self.kept.get(usize::try_from(number.checked_sub(self.first)?).ok()?)?;
        Some(Evidence {
            time: kept.time,
            source: sources[usize::from(kept.source)].clone(),
            line: kept.line,
            hash: format!("{:016x}", kept.hash),
            text: kept.text.to_string(),
        })
    }
}
