//! "This line satisfies rule R's `when`, for this entity, at this time."
//!
//! Hits travel in batches: one text arena a batch, so that a hit costs no allocation of its own.

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

/// A value a rule's detector or title needs, taken along with the hit.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Carried {
    Absent,
    Text(TextRange),
    Number(f64),
}

/// One line that satisfies one rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hit {
    pub rule: RuleIndex,
    /// Which of the rule's step conditions the line satisfies, one bit a step; bit 0 for rules without steps.
    pub steps: u32,
    /// Which of the 128 partitions owns this (rule, entity); stable over processes and machines.
    pub partition: u8,
    /// Keyed 64-bit hash of the canonical entity; differs between processes.
    pub entity_hash: u64,
    /// XXH3-64 of the rule and the canonical entity; the same in every process, so never a key of a table.
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

/// Hits of one batch of lines, with the texts they point to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HitBatch {
    pub text: String,
    pub values: Vec<Carried>,
    pub hits: Vec<Hit>,
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
        match self.values[hit.values as usize + index] {
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

    /// Copies a hit of another batch with its texts and its `carried` values.
    pub fn copy_hit(&mut self, from: &HitBatch, hit: &Hit, carried: usize) {
        let mut copy = hit.clone();
        copy.entity = self.push(from.str(hit.entity));
        copy.text = self.push(from.str(hit.text));
        copy.values = self.values.len() as u32;
        for index in hit.values as usize..hit.values as usize + carried {
            let value = match from.values[index] {
                Carried::Text(range) => Carried::Text(self.push(from.str(range))),
                other => other,
            };
            self.values.push(value);
        }
        self.hits.push(copy);
    }

    /// Memory in use, near enough for a budget: with what lists that grow leave free, and what a shard notes of each hit.
    pub fn bytes(&self) -> usize {
        let values = self.values.len() * size_of::<Carried>();
        (self.text.len() + values + self.hits.len() * (size_of::<Hit>() + 64)) / 2 * 3
    }

    pub fn clear(&mut self) {
        self.text.clear();
        self.values.clear();
        self.hits.clear();
    }
}
