//! "This line satisfies rule R's `when`, for this entity, at this time."
//!
//! Hits travel in batches: one text arena a batch, so that a hit costs no allocation of its own.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The place of a rule in the loaded set; rules are sorted by id, so the number is the same in every run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RuleIndex(pub u16);

impl RuleIndex {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Where a text stands in [`HitBatch::text`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TextRange {
    pub start: u32,
    pub len: u32,
}

impl TextRange {
    /// How far behind the beginning of `outer` it begins, if it is a piece of that.
    pub fn within(self, outer: TextRange) -> Option<u32> {
        let at = self.start.checked_sub(outer.start)?;
        (at.checked_add(self.len)? <= outer.len).then_some(at)
    }
}

/// A value a rule's detector or title needs, taken along with the hit.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Carried {
    Absent,
    Text(TextRange),
    Number(f64),
}

/// One line that satisfies one rule: what a batch keeps of it in two places, put together for who looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    pub rule: RuleIndex,
    /// Which of the rule's step conditions the line satisfies, one bit a step; bit 0 for rules without steps.
    pub steps: u32,
    /// Which of the 128 partitions owns this (rule, entity); stable over processes and machines.
    pub partition: u8,
    /// Keyed 64-bit hash of the canonical entity; differs between processes.
    pub entity_hash: u64,
    /// XXH3-64 of the canonical entity, which detectors see mixed with their rule's; the same in every process, so never a key of a
    /// table.
    pub entity_stable: u64,
    /// The entity's values as the line has them, in the order of the rule's `by`, joined by [`super::List::SEPARATOR`].
    pub entity: TextRange,
    /// The line's own time, or what stands in for it when it has none or one that cannot be trusted.
    pub time: Timestamp,
    /// When the hit may reach detectors: `time`, or for a late hit its source's watermark as it arrived.
    pub release: Timestamp,
    /// XXH3-64 of the raw line.
    pub line_hash: u64,
    /// The line's number in its file, stdin or connection, from 1.
    pub line: u64,
    /// Which source it came from: an index into the engine's sources.
    pub source: u16,
    /// The raw line, cut at `limits::EVIDENCE_TEXT_BYTES_MAX`.
    pub text: TextRange,
    /// The first of the rule's carried values in [`HitBatch::values`].
    pub values: u32,
    /// It came after its source's watermark had passed its time.
    pub late: bool,
    /// Its own time could not be trusted.
    pub suspect: bool,
}

/// An event that satisfies some rule: what its hits have in common. Most satisfy ten or none, so it is kept, stamped and put in
/// order once for all of them. For the meaning of each field see [`Hit`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct HitEvent {
    pub time: Timestamp,
    pub release: Timestamp,
    pub line_hash: u64,
    pub line: u64,
    pub text: TextRange,
    pub source: u16,
    pub late: bool,
    pub suspect: bool,
    /// The first of its hits; those up to the next event's are its.
    pub(super) first: u32,
}

/// What a hit has for itself.
#[derive(Clone, Copy, Debug)]
pub struct HitRule {
    /// Its place in [`HitBatch::owners`].
    pub owner: u32,
    pub values: u32,
    /// Its event.
    pub event: u32,
    pub rule: RuleIndex,
    pub steps: u16,
    pub partition: u8,
}

/// Whose hits are: rules that ask in the same way find the same entity in an event. For the meaning of each field see [`Hit`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Owner {
    pub hash: u64,
    pub stable: u64,
    pub entity: TextRange,
}

impl HitEvent {
    /// An event that stands nowhere yet: when and where it happened.
    pub fn new(time: Timestamp, source: u16, line: u64, line_hash: u64, text: TextRange) -> HitEvent {
        let release = Timestamp::MIN;
        HitEvent { time, release, line_hash, line, text, source, late: false, suspect: false, first: 0 }
    }
}

impl HitRule {
    /// A hit of no event yet.
    pub fn new(rule: RuleIndex, steps: u16, partition: u8) -> HitRule {
        HitRule { owner: 0, values: 0, event: 0, rule, steps, partition }
    }
}

/// Hits of one batch of lines, with the texts they point to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Spelt", into = "Spelt")]
pub struct HitBatch {
    pub text: String,
    pub values: Vec<Carried>,
    pub owners: Vec<Owner>,
    pub events: Vec<HitEvent>,
    /// Those of an event stand together.
    pub hits: Vec<HitRule>,
}

/// A batch as snapshots have it, and journals once had it: every hit with an owner of its own.
#[derive(Serialize, Deserialize)]
struct Spelt {
    text: String,
    values: Vec<Carried>,
    events: Vec<HitEvent>,
    hits: Vec<SpeltHit>,
}

#[derive(Serialize, Deserialize)]
struct SpeltHit {
    entity_hash: u64,
    entity_stable: u64,
    entity: TextRange,
    values: u32,
    event: u32,
    rule: RuleIndex,
    steps: u16,
    partition: u8,
}

impl From<HitBatch> for Spelt {
    fn from(it: HitBatch) -> Spelt {
        let spell = |hit: &HitRule| {
            let Owner { hash, stable, entity } = *it.owner_of(hit);
            SpeltHit {
                entity_hash: hash,
                entity_stable: stable,
                entity,
                values: hit.values,
                event: hit.event,
                rule: hit.rule,
                steps: hit.steps,
                partition: hit.partition,
            }
        };
        let hits = it.hits.iter().map(spell).collect();
        Spelt { text: it.text, values: it.values, events: it.events, hits }
    }
}

impl From<Spelt> for HitBatch {
    fn from(it: Spelt) -> HitBatch {
        let mut batch = HitBatch { text: it.text, values: it.values, events: it.events, ..HitBatch::default() };
        for hit in it.hits {
            let owner = Owner { hash: hit.entity_hash, stable: hit.entity_stable, entity: hit.entity };
            let owner = match batch.owners.last() {
                Some(last) if *last == owner => batch.owners.len() as u32 - 1,
                _ => batch.push_owner(owner),
            };
            let SpeltHit { values, event, rule, steps, partition, .. } = hit;
            batch.hits.push(HitRule { owner, values, event, rule, steps, partition });
        }
        batch
    }
}

impl HitBatch {
    pub fn str(&self, range: TextRange) -> &str {
        &self.text[range.start as usize..(range.start + range.len) as usize]
    }

    /// Appends a text and says where it stands.
    pub fn push(&mut self, text: &str) -> TextRange {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        TextRange { start, len: text.len() as u32 }
    }

    /// The value a hit carries at `index` of its rule's carried fields, as text.
    pub fn carried_text(&self, hit: &Hit, index: usize) -> Option<&str> {
        self.text_of(hit.values, index)
    }

    /// The same for whoever knows where the hit's values begin.
    pub fn text_of(&self, values: u32, index: usize) -> Option<&str> {
        match self.values[values as usize + index] {
            Carried::Text(range) => Some(self.str(range)),
            Carried::Absent | Carried::Number(_) => None,
        }
    }

    /// The same as a number.
    pub fn carried_f64(&self, hit: &Hit, index: usize) -> Option<f64> {
        match self.values[hit.values as usize + index] {
            Carried::Number(it) => Some(it),
            Carried::Text(range) => self.str(range).trim().parse().ok().filter(|it: &f64| it.is_finite()),
            Carried::Absent => None,
        }
    }

    /// A hit as a whole.
    pub fn hit(&self, index: u32) -> Hit {
        let it = &self.hits[index as usize];
        let event = &self.events[it.event as usize];
        let owner = &self.owners[it.owner as usize];
        Hit {
            rule: it.rule,
            steps: u32::from(it.steps),
            partition: it.partition,
            entity_hash: owner.hash,
            entity_stable: owner.stable,
            entity: owner.entity,
            time: event.time,
            release: event.release,
            line_hash: event.line_hash,
            line: event.line,
            source: event.source,
            text: event.text,
            values: it.values,
            late: event.late,
            suspect: event.suspect,
        }
    }

    /// Whose a hit is.
    pub fn owner_of(&self, hit: &HitRule) -> &Owner {
        &self.owners[hit.owner as usize]
    }

    /// Reads something of the values that a hit takes along, and of the first one's text, so that they are in the caches; what it
    /// says means nothing.
    pub fn warm(&self, hit: &HitRule) -> bool {
        // So many as some kinds take: more than one piece of a cache.
        let far = self.values.get(hit.values as usize + 8).is_some_and(|it| *it == Carried::Absent);
        far ^ match self.values.get(hit.values as usize) {
            Some(Carried::Text(range)) => self.text.as_bytes().get(range.start as usize).is_some_and(|it| *it == 0),
            Some(Carried::Absent | Carried::Number(_)) | None => false,
        }
    }

    /// Appends an owner of hits and says where it stands.
    pub fn push_owner(&mut self, owner: Owner) -> u32 {
        self.owners.push(owner);
        self.owners.len() as u32 - 1
    }

    /// The event of a hit.
    pub fn event_of(&self, hit: u32) -> &HitEvent {
        &self.events[self.hits[hit as usize].event as usize]
    }

    /// Where the hits of an event stand.
    pub fn hits_of(&self, event: usize) -> Range<usize> {
        let end = self.events.get(event + 1).map_or(self.hits.len(), |it| it.first as usize);
        self.events[event].first as usize..end
    }

    /// Appends a hit of the event that is appended next.
    pub fn push_hit(&mut self, hit: HitRule) {
        self.hits.push(HitRule { event: self.events.len() as u32, ..hit });
    }

    /// Appends an event: that of the hits since the last one.
    pub fn push_event(&mut self, event: HitEvent) {
        let mut first = self.hits.len();
        while first > 0 && self.hits[first - 1].event as usize == self.events.len() {
            first -= 1;
        }
        self.events.push(HitEvent { first: first as u32, ..event });
    }

    /// The last event happened once more.
    pub fn repeat_event(&mut self) {
        let Some(last) = self.events.len().checked_sub(1) else { return };
        for at in self.hits_of(last) {
            self.push_hit(self.hits[at]);
        }
        self.push_event(self.events[last]);
    }

    /// Gives hits the numbers that their rules have now; those of rules that are gone are dropped. Their events stay.
    pub fn renumber(&mut self, number: impl Fn(RuleIndex) -> Option<RuleIndex>) {
        let mut kept = 0;
        for event in 0..self.events.len() {
            let hits = self.hits_of(event);
            self.events[event].first = kept as u32;
            for at in hits {
                if let Some(rule) = number(self.hits[at].rule) {
                    self.hits[kept] = HitRule { rule, ..self.hits[at] };
                    kept += 1;
                }
            }
        }
        self.hits.truncate(kept);
    }

    /// Copies an event of another batch with its hits and all their texts. `carried`: how many values a rule's hits carry.
    pub fn copy_event(&mut self, from: &HitBatch, event: usize, carried: impl Fn(RuleIndex) -> usize) {
        let (hits, event) = (from.hits_of(event), from.events[event]);
        let text = self.push(from.str(event.text));
        // Most of what hits point to are pieces of the line.
        let copy = |to: &mut HitBatch, range: TextRange| match range.within(event.text) {
            Some(at) => TextRange { start: text.start + at, len: range.len },
            None => to.push(from.str(range)),
        };
        // Hits of one owner mostly stand together.
        let mut known: Option<(u32, u32)> = None;
        for hit in &from.hits[hits] {
            let owner = match known {
                Some((of, copied)) if of == hit.owner => copied,
                _ => {
                    let of = from.owner_of(hit);
                    let entity = copy(self, of.entity);
                    self.push_owner(Owner { entity, ..*of })
                }
            };
            known = Some((hit.owner, owner));
            let values = self.values.len() as u32;
            for value in &from.values[hit.values as usize..hit.values as usize + carried(hit.rule)] {
                let value = match value {
                    Carried::Text(range) => Carried::Text(copy(self, *range)),
                    other => *other,
                };
                self.values.push(value);
            }
            self.push_hit(HitRule { owner, values, ..*hit });
        }
        self.push_event(HitEvent { text, ..event });
    }

    /// Memory in use, near enough for a budget: with what lists that grow leave free, and what a shard notes of each hit.
    pub fn bytes(&self) -> usize {
        let values = self.values.len() * size_of::<Carried>();
        let events = self.events.len() * (size_of::<HitEvent>() + 64);
        let owners = self.owners.len() * size_of::<Owner>();
        (self.text.len() + values + owners + events + self.hits.len() * (size_of::<HitRule>() + 32)) / 2 * 3
    }

    pub fn clear(&mut self) {
        self.text.clear();
        self.values.clear();
        self.owners.clear();
        self.events.clear();
        self.hits.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events with so many hits each, of rules 0, 1, 2 …; every hit carries its rule's number of values.
    fn batch(hits: &[u16]) -> HitBatch {
        let mut batch = HitBatch::default();
        for (number, hits) in hits.iter().enumerate() {
            for rule in 0..*hits {
                let entity = batch.push(&format!("e{number}-{rule}"));
                let owner = batch.push_owner(Owner { hash: number as u64, stable: u64::from(rule), entity });
                let values = batch.values.len() as u32;
                for value in 0..rule {
                    let text = Carried::Text(batch.push(&format!("v{number}-{rule}-{value}")));
                    batch.values.push(text);
                }
                batch.push_hit(HitRule { owner, values, ..HitRule::new(RuleIndex(rule), 1, 0) });
            }
            let text = batch.push(&format!("line {number}"));
            batch.push_event(HitEvent::new(Timestamp::from_micros(number as i64), 0, number as u64, 0, text));
        }
        batch
    }

    /// All that can be told of the hits of an event.
    fn shown(batch: &HitBatch, event: usize) -> Vec<String> {
        let hit = |at: usize| {
            let hit = batch.hit(at as u32);
            let carried = usize::from(hit.rule.0);
            let values: Vec<_> = (0..carried).map(|it| batch.carried_text(&hit, it).unwrap_or("?")).collect();
            format!("{} {} {} {values:?} {:?}", hit.rule.0, batch.str(hit.entity), batch.str(hit.text), hit.time)
        };
        batch.hits_of(event).map(hit).collect()
    }

    #[test]
    fn a_copy_says_the_same() {
        let from = batch(&[2, 0, 3, 1]);
        let mut copy = batch(&[1]);
        for event in [2, 1, 3] {
            copy.copy_event(&from, event, |it| usize::from(it.0));
        }
        for (number, event) in [2, 1, 3].into_iter().enumerate() {
            assert_eq!(shown(&copy, number + 1), shown(&from, event));
        }
    }

    #[test]
    fn what_happened_twice_has_its_hits_twice() {
        let mut batch = batch(&[1, 3]);
        batch.repeat_event();
        assert_eq!((batch.events.len(), batch.hits.len()), (3, 7));
        assert_eq!(shown(&batch, 2), shown(&batch, 1));
    }

    #[test]
    fn hits_of_rules_that_are_gone_are_dropped() {
        let before = batch(&[3, 1, 0, 2]);
        let mut after = before.clone();
        after.renumber(|it| (it.0 != 0).then(|| RuleIndex(it.0 + 1)));
        let left: Vec<Vec<u16>> =
            (0..4).map(|it| after.hits_of(it).map(|it| after.hits[it].rule.0).collect()).collect();
        assert_eq!(left, [vec![2, 3], vec![], vec![], vec![2]]);
        for event in 0..4 {
            let entities = |batch: &HitBatch| -> Vec<String> {
                batch.hits_of(event).map(|it| batch.str(batch.hit(it as u32).entity).to_string()).collect()
            };
            let expected: Vec<String> = entities(&before).into_iter().filter(|it| !it.ends_with("-0")).collect();
            assert_eq!(entities(&after), expected);
        }
    }
}
