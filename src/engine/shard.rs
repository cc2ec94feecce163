//! Some of the partitions: puts their hits in time order, feeds detectors, and lets time pass.
//!
//! Hits wait until the watermark has passed their release time, then go to the detectors in the order (release time,
//! step, line hash): whatever order the lines arrived in, inside the lateness, the detectors see the same. `&mut self` is
//! the only lock.

use std::cell::Cell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use super::poison::{Stumbled, attempt};
use super::pressure::Shares;
use super::rules::RuleSet;
use crate::detect::due::{Due, DueHit, Said, WARM_AT_ONCE};
use crate::detect::evidence::EvidenceRing;
use crate::detect::{Detector, Lapse, Pressure, Trip};
use crate::limits;
use crate::model::{Because, Finding, HashKeys, HitBatch, Proof, RuleIndex, Timestamp, Words};

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
    /// Rules that could not judge something.
    pub stumbled: Vec<Stumbled>,
}

pub struct Shard {
    set: Arc<RuleSet>,
    detectors: Vec<Box<dyn Detector>>,
    keys: HashKeys,
    /// Of each rule, what is asked for every hit.
    traits: Vec<Traits>,
    ring: EvidenceRing,
    waiting: Vec<Waiting>,
    /// The least release time among them.
    earliest: Timestamp,
    /// A buffer: those whose time has come.
    due: Vec<Waiting>,
    /// Buffers: their hits by rule, and the rules that have some.
    due_of: Vec<Vec<DueHit>>,
    rules_due: Vec<usize>,
    /// Batches that some waiting event stands in, and how many wait; the front one has number `first_batch`.
    batches: VecDeque<Arc<HitBatch>>,
    waiting_in: VecDeque<usize>,
    first_batch: u64,
    lapses: Vec<Lapse>,
}

#[derive(Clone, Copy)]
struct Traits {
    looks_back: bool,
    has_steps: bool,
}

/// An event whose hits wait for their time.
#[derive(Clone, Copy)]
struct Waiting {
    release: Timestamp,
    line_hash: u64,
    batch: u64,
    event: u32,
    source: u16,
}

/// Of each rule the detector's bytes, then the kept lines, then the events that wait.
pub type SavedShard<'a> = (Vec<Vec<u8>>, &'a EvidenceRing, Vec<HitBatch>);

impl Shard {
    pub fn new(set: Arc<RuleSet>, keys: HashKeys) -> Shard {
        let detectors: Vec<_> = set.rules.iter().map(|it| it.rule.detect.start(it.rule.quiet, keys)).collect();
        let traits = set.rules.iter().zip(&detectors).map(|(rule, detector)| Traits {
            looks_back: detector.looks_back(),
            has_steps: rule.rule.detect.steps().len() > 1,
        });
        Shard {
            traits: traits.collect(),
            ring: EvidenceRing::new(limits::EVIDENCE_RING_BYTES_MAX),
            waiting: Vec::new(),
            earliest: Timestamp::MAX,
            due: Vec::new(),
            due_of: vec![Vec::new(); detectors.len()],
            rules_due: Vec::new(),
            batches: VecDeque::new(),
            waiting_in: VecDeque::new(),
            first_batch: 0,
            lapses: Vec::new(),
            detectors,
            keys,
            set,
        }
    }

    /// Takes a step in, of which the hits in every `shards`th partition from `number` on belong to this shard.
    pub fn take(&mut self, step: &Step, number: usize, shards: usize, found: &mut Found) {
        step.batches.iter().for_each(|it| self.observe(it));
        self.advance(step, |partition| usize::from(partition) % shards == number, found);
        for (rule, detector) in self.detectors.iter_mut().enumerate() {
            detector.pressures(step.now, &mut |it| found.pressures.push((rule, it)));
        }
    }

    /// Takes the events of a batch; they wait for their time.
    pub fn observe(&mut self, batch: &Arc<HitBatch>) {
        if batch.events.is_empty() {
            return;
        }
        let number = self.first_batch + self.batches.len() as u64;
        for (event, it) in batch.events.iter().enumerate() {
            self.earliest = self.earliest.min(it.release);
            self.waiting.push(Waiting {
                release: it.release,
                line_hash: it.line_hash,
                batch: number,
                event: event as u32,
                source: it.source,
            });
        }
        self.batches.push_back(batch.clone());
        self.waiting_in.push_back(batch.events.len());
    }

    /// Lets time pass: hits whose time has come reach their detectors.
    fn advance(&mut self, step: &Step, is_mine: impl Fn(u8) -> bool, found: &mut Found) {
        if self.earliest <= step.now {
            self.sort_out_due(step);
            self.feed_due(&step.sources, is_mine, found);
        }
        let Shard { set, keys, detectors, ring, lapses, .. } = self;
        let mut rule = 0;
        while rule < detectors.len() {
            let passed = attempt(|| {
                while let Some(detector) = detectors.get_mut(rule) {
                    if step.now == Timestamp::MAX {
                        detector.lapse(step.until, lapses);
                        detector.finish(lapses);
                    }
                    detector.lapse(step.until, lapses);
                    let lapses = lapses.drain(..).map(|it| lapsed(RuleIndex(rule as u16), it, ring, &step.sources));
                    found.findings.extend(lapses);
                    if step.now != Timestamp::MAX {
                        detector.forget(step.forget);
                    }
                    rule += 1;
                }
            });
            if passed.is_none() {
                // What it stumbled over is still in its memory, and would stop it at every step.
                let of = &set.rules[rule].rule;
                detectors[rule] = of.detect.start(of.quiet, *keys);
                lapses.clear();
                found.stumbled.push(Stumbled { rule: RuleIndex(rule as u16), line: None });
                rule += 1;
            }
        }
    }

    /// New rules. `kept`: for each, its number among the old ones if it did not change. Nothing waits any more.
    pub fn adopt(&mut self, set: Arc<RuleSet>, kept: &[Option<usize>]) {
        let mut old: Vec<_> = std::mem::take(&mut self.detectors).into_iter().map(Some).collect();
        let fresh = Shard::new(set, self.keys);
        for (detector, kept) in fresh.detectors.into_iter().zip(kept) {
            self.detectors.push(kept.and_then(|it| old[it].take()).unwrap_or(detector));
        }
        (self.set, self.traits, self.due_of) = (fresh.set, fresh.traits, fresh.due_of);
        self.waiting.clear();
        self.earliest = Timestamp::MAX;
        self.batches.clear();
        self.waiting_in.clear();
    }

    /// What it remembers; the events that wait in their order.
    pub fn save(&self) -> SavedShard<'_> {
        let rules = self.detectors.iter().map(|it| it.save()).collect();
        let mut batches: Vec<HitBatch> = self.batches.iter().map(|_| HitBatch::default()).collect();
        let mut waiting = self.waiting.clone();
        waiting.sort_by_key(|it| (it.batch, it.event));
        for it in waiting {
            let slot = (it.batch - self.first_batch) as usize;
            let carried = |rule: RuleIndex| self.set.rules[rule.index()].carry.len();
            batches[slot].copy_event(&self.batches[slot], it.event as usize, carried);
        }
        (rules, &self.ring, batches)
    }

    /// What a rule's detector remembers, and the number the next line of evidence has.
    pub fn lesson(&self, rule: usize) -> (Vec<u8>, u64) {
        (self.detectors[rule].save(), self.ring.next())
    }

    /// Gives a rule what it learned elsewhere. The lines it learned from are not kept: their numbers are taken, and nothing is
    /// found there.
    pub fn take_lesson(&mut self, rule: RuleIndex, bytes: &[u8], next: u64) -> Result<(), String> {
        self.ring.skip_to(next);
        self.restore_rule(rule, bytes)
    }

    /// Gives a rule back what it remembered.
    pub fn restore_rule(&mut self, rule: RuleIndex, bytes: &[u8]) -> Result<(), String> {
        self.detectors[rule.index()].restore(bytes)
    }

    /// Gives it back the lines that were kept.
    pub fn restore_ring(&mut self, saved: EvidenceRing) {
        self.ring.restore(saved);
    }

    /// What each may take of the memory.
    pub fn limit(&mut self, shares: &Shares) {
        self.detectors.iter_mut().zip(&shares.rules).for_each(|(it, bytes)| it.limit(*bytes));
        self.ring.limit(shares.ring);
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

    /// Puts the events whose time has come in order. Only what is due is sorted, and once; events, of which there are few,
    /// and not hits.
    fn sort_out_due(&mut self, step: &Step) {
        let Shard { waiting, due, .. } = self;
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
        // No two are equal, for none have the same batch and place.
        due.sort_unstable_by_key(|it| (it.release, it.line_hash, it.batch, it.event));
        self.ring.cut();
    }

    /// Gives the events that are due to the rules, so many at once as stay in the caches while one rule after the other looks at
    /// them. Rules know nothing of each other, so one after the other is as good as one line after the other; and a rule's memory
    /// and code are then in the caches, too.
    fn feed_due(&mut self, sources: &[Arc<str>], is_mine: impl Fn(u8) -> bool, found: &mut Found) {
        self.batches.make_contiguous();
        let mut from = 0;
        while from < self.due.len() {
            let to = (from + limits::EVENTS_FED_MAX).min(self.due.len());
            self.deal(from..to, &is_mine);
            let more = self.due.get(to).is_some_and(|it| it.release == self.due[to - 1].release);
            self.feed(more, sources, found);
            from = to;
        }
        let Shard { batches, waiting_in, first_batch, .. } = self;
        while waiting_in.front().is_some_and(|it| *it == 0) {
            batches.pop_front();
            waiting_in.pop_front();
            *first_batch += 1;
        }
    }

    /// Puts the hits of some events that are due to their rules.
    fn deal(&mut self, events: Range<usize>, is_mine: impl Fn(u8) -> bool) {
        let Shard { traits, ring, due, due_of, rules_due, batches, waiting_in, first_batch, .. } = self;
        let due = &due[events];
        for (number, it) in due.iter().enumerate() {
            // They lie about in the memory: asked for together, they come at the same time.
            if number % WARM_AT_ONCE == 0 {
                for it in due[number..].iter().take(WARM_AT_ONCE) {
                    let batch = &batches[(it.batch - *first_batch) as usize];
                    let first = batch.hits_of(it.event as usize).start;
                    black_box(batch.hits.get(first).map(|it| it.partition));
                }
            }
            let slot = (it.batch - *first_batch) as usize;
            waiting_in[slot] -= 1;
            let batch = &batches[slot];
            let hits = batch.hits_of(it.event as usize);
            let is_kept = batch.hits[hits.clone()].iter().any(|it| traits[it.rule.index()].looks_back);
            let evidence =
                if is_kept { ring.keep(batch, &batch.events[it.event as usize]) } else { EvidenceRing::THIS };
            for index in hits {
                let hit = &batch.hits[index];
                if !is_mine(hit.partition) {
                    continue;
                }
                let rule = hit.rule.index();
                if due_of[rule].is_empty() {
                    rules_due.push(rule);
                }
                due_of[rule].push(DueHit {
                    release: it.release,
                    evidence: if traits[rule].looks_back { evidence } else { EvidenceRing::THIS },
                    batch: slot as u32,
                    index: index as u32,
                    step: hit.steps.trailing_zeros() as u8,
                });
            }
        }
    }

    /// Gives each rule its hits. `more`: what happened at the time of the last of them is not there as a whole.
    fn feed(&mut self, more: bool, sources: &[Arc<str>], found: &mut Found) {
        let Shard { set, traits, detectors, ring, due_of, rules_due, batches, .. } = self;
        let batches_due = batches.as_slices().0;
        rules_due.retain(|rule| {
            let rule = *rule;
            if traits[rule].has_steps {
                if more {
                    return true;
                }
                // Of what happened at once, the first steps come first.
                due_of[rule].sort_by_key(|it| (it.release, it.step));
            }
            let Found { findings, stumbled, .. } = &mut *found;
            let mut say = |it: Said<'_>| {
                findings.push(match it {
                    Said::Trip(hit, trip) => tripped(&batches_due[hit.batch as usize], hit, trip, ring, sources),
                    Said::Lapse(lapse) => lapsed(RuleIndex(rule as u16), lapse, ring, sources),
                });
            };
            let mut rest = &due_of[rule][..];
            while !rest.is_empty() {
                let due = Due { rule: set.rules[rule].hash, hits: rest, batches: batches_due, at: Cell::new(0) };
                if attempt(|| detectors[rule].take(&due, &mut say)).is_some() {
                    break;
                }
                // The hit at which it stumbled is left out, what was remembered before stays.
                let hit = batches_due[rest[due.at.get()].batch as usize].hit(rest[due.at.get()].index);
                stumbled.push(Stumbled { rule: hit.rule, line: Some((hit.source, hit.line)) });
                rest = &rest[due.at.get() + 1..];
            }
            due_of[rule].clear();
            false
        });
    }
}

/// What time alone made of a memory.
fn lapsed(rule: RuleIndex, lapse: Lapse, ring: &EvidenceRing, sources: &[Arc<str>]) -> Finding {
    Finding {
        rule,
        time: lapse.due,
        release: lapse.due,
        line_hash: lapse.line_hash,
        count: lapse.trip.count,
        since: lapse.trip.since,
        score: lapse.trip.score,
        severity: lapse.trip.severity,
        evidence: ring.few(&lapse.trip.marks, ring.last_at(lapse.due), sources, &|_| None),
        words: Words::Entity(lapse.entity),
        because: Because { object: lapse.trip.numbers, few: lapse.trip.because },
        story: lapse.trip.story,
        late: false,
        suspect: false,
        basis: lapse.trip.basis,
        over: lapse.over,
        kept_back: lapse.kept_back,
    }
}

/// What a hit made of it.
fn tripped(batch: &Arc<HitBatch>, due: &DueHit, trip: Trip, ring: &EvidenceRing, sources: &[Arc<str>]) -> Finding {
    let hit = batch.hit(due.index);
    let this = due.evidence;
    let evidence = match &trip.marks[..] {
        [only] if only.evidence == this => Vec::new(),
        marks => {
            let last = Some(this).filter(|it| *it != EvidenceRing::THIS);
            ring.few(marks, last, sources, &|it| (it.evidence == this).then(|| Proof::of(batch, due.index, sources)))
        }
    };
    Finding {
        rule: hit.rule,
        words: Words::Hit(batch.clone(), due.index),
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
        basis: trip.basis,
        over: false,
        kept_back: false,
    }
}
