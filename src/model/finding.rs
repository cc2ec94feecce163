//! What a detector found, before anybody decided whether to tell.
//!
//! Of a hundred findings about one entity one opens an alert, and the others only add to it. So a finding carries no text
//! of its own: it says which hit it is about, and the desk puts that to words when it must.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{HitBatch, RuleIndex, Severity, Timestamp};

/// Who or what an alert is about: the values of the rule's `by` fields, in that order, as the deciding line has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entity {
    /// The canonical form (folded where the rule says so), joined by the unit separator; what is compared.
    pub key: String,
    /// The values as written.
    pub values: Vec<String>,
}

/// One thing found by one rule about one entity.
#[derive(Clone, Debug)]
pub struct Finding {
    pub rule: RuleIndex,
    pub words: Words,
    /// The event time of the deciding line, or of the deadline that passed.
    pub time: Timestamp,
    /// When the engine may speak of it: the release time of the deciding hit, or the deadline.
    pub release: Timestamp,
    /// Hash of the deciding line (of the last line known, when time alone decided).
    pub line_hash: u64,
    /// How many events make the finding. Folding a later finding into an open alert adds one.
    pub count: u64,
    /// The first event that belongs to it.
    pub since: Timestamp,
    /// −log10 of the chance of seeing this by accident, at most 12. Exact rules have 12.
    pub score: f64,
    /// A kind that grades its own findings says so here; otherwise the rule's severity holds.
    pub severity: Option<Severity>,
    pub because: Because,
    /// A sentence of the kind's own, where the rule's title does not say enough (`{story}` in a title).
    pub story: Option<String>,
    /// The lines that make it, oldest first. Empty where it was made by a hit: then that line alone.
    pub evidence: Vec<Proof>,
    pub late: bool,
    pub suspect: bool,
    /// When there are many that rest on estimates, not each opens an alert.
    pub basis: Basis,
    /// The condition is over by itself (a silent feed spoke again): resolve the open alert instead of opening one.
    pub over: bool,
    /// The rule's promise had no room for it: nobody is told, but it counts where small things are added up.
    pub kept_back: bool,
}

/// How much of what a finding needs was seen. The rest is what a sketch says of an entity for which there was no room, and may be
/// too much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Basis {
    /// All of it.
    Seen,
    /// At least half of it.
    MostlySeen,
    /// Less.
    Estimate,
}

impl Basis {
    pub fn of(seen: u64, needed: u64) -> Basis {
        match seen {
            _ if seen >= needed => Basis::Seen,
            _ if seen >= needed - seen => Basis::MostlySeen,
            _ => Basis::Estimate,
        }
    }
}

/// Where the texts of a finding stand.
#[derive(Clone, Debug)]
pub enum Words {
    /// The deciding hit: whose it is, what it carries and its line.
    Hit(Arc<HitBatch>, u32),
    /// Time alone decided: the entity's values as its last hit had them, joined as there.
    Entity(Box<str>),
}

/// A kind's numbers: they go to the alert's `because`, and to the title's placeholders.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Because {
    /// Of kinds that make whole objects; these come first.
    pub object: Map<String, Value>,
    pub few: Vec<(&'static str, Value)>,
}

/// A line that made a detector say so, not yet put to words.
#[derive(Clone, PartialEq, Debug)]
pub struct Proof {
    pub time: Timestamp,
    pub source: Arc<str>,
    pub line: u64,
    pub hash: u64,
    pub text: String,
}

impl Finding {
    /// The entity's values as written, joined by [`super::List::SEPARATOR`].
    pub fn entity(&self) -> &str {
        match &self.words {
            Words::Hit(batch, hit) => batch.str(batch.owner_of(&batch.hits[*hit as usize]).entity),
            Words::Entity(it) => it,
        }
    }
}

impl Because {
    pub fn is_empty(&self) -> bool {
        self.object.is_empty() && self.few.is_empty()
    }

    /// Puts it to words.
    pub fn into_object(self) -> Map<String, Value> {
        let Because { mut object, few } = self;
        object.extend(few.into_iter().map(|(name, it)| (name.to_string(), it)));
        object
    }
}

impl Proof {
    /// The line of a hit, in place of what this was.
    pub fn set(&mut self, batch: &HitBatch, hit: u32, sources: &[Arc<str>]) {
        let event = batch.event_of(hit);
        let source = &sources[usize::from(event.source)];
        (self.time, self.line, self.hash) = (event.time, event.line, event.line_hash);
        if self.source != *source {
            self.source = source.clone();
        }
        self.text.clear();
        self.text.push_str(batch.str(event.text));
    }

    pub fn of(batch: &HitBatch, hit: u32, sources: &[Arc<str>]) -> Proof {
        let source = sources[usize::from(batch.event_of(hit).source)].clone();
        let mut proof = Proof { time: Timestamp::MIN, source, line: 0, hash: 0, text: String::new() };
        proof.set(batch, hit, sources);
        proof
    }

    pub fn is_same_line(&self, other: &Proof) -> bool {
        self.line == other.line && self.hash == other.hash && self.source == other.source
    }
}
