//! Hits over time to findings: one file a kind.
//!
//! A detector sees the hits of its rule in the order (release time, step, line hash), whatever order the lines arrived in,
//! and is the only owner of what it remembers. Time is whatever the hits say; nothing here reads a clock.

pub mod count;
pub mod distinct;
mod places;
pub mod sequence;
mod table;
pub mod travel;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::expr::Expr;
use crate::model::{Hit, HitBatch, Severity, Span, Timestamp};

/// How a rule decides, as written in its file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Detect {
    /// Every event that satisfies `when`.
    Each,
    /// At least so many within a sliding window.
    Count { at_least: u32, within: Span },
    /// At least so many different values of a field within a sliding window.
    Distinct { field: String, at_least: u32, within: Span },
    /// Steps one after the other (or in any order) within a sliding window.
    Sequence {
        steps: Vec<Step>,
        within: Span,
        #[serde(default = "yes")]
        ordered: bool,
    },
    /// One person in two places.
    Travel {},
}

/// One step of a sequence.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub when: Expr,
    /// How many such events the step needs.
    #[serde(default = "one")]
    pub at_least: u32,
    /// It must not come between its neighbours.
    #[serde(default)]
    pub absent: bool,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

impl Detect {
    /// The kind's name in `because` and in listings.
    pub fn name(&self) -> &'static str {
        match self {
            Detect::Each => "each",
            Detect::Count { .. } => "count",
            Detect::Distinct { .. } => "distinct",
            Detect::Sequence { .. } => "sequence",
            Detect::Travel {} => "travel",
        }
    }

    /// The fields a hit must bring along for the detector, in the order in which it asks for them.
    pub fn fields(&self) -> Vec<String> {
        match self {
            Detect::Each | Detect::Count { .. } | Detect::Sequence { .. } => Vec::new(),
            Detect::Distinct { field, .. } => vec![field.clone()],
            Detect::Travel {} => places::FIELDS.map(String::from).into(),
        }
    }

    /// Whether the kind learns from all entities together, so that one owner must see all hits of the rule.
    pub fn sees_everybody(&self) -> bool {
        match self {
            Detect::Each | Detect::Count { .. } | Detect::Distinct { .. } | Detect::Sequence { .. } => false,
            Detect::Travel {} => true,
        }
    }

    /// A detector with nothing remembered yet. `quiet` is the rule's: within it, a further finding only adds to an alert.
    pub fn start(&self, quiet: Span) -> Box<dyn Detector> {
        match self {
            Detect::Each => Box::new(Each),
            Detect::Count { at_least, within } => {
                Box::new(table::Table::new(count::Count { at_least: *at_least, within: *within, quiet }))
            }
            Detect::Distinct { at_least, within, .. } => {
                Box::new(table::Table::new(distinct::Distinct { at_least: *at_least, within: *within, quiet }))
            }
            Detect::Sequence { steps, within, ordered } => {
                Box::new(table::Table::new(sequence::Sequence::new(steps, *within, *ordered)))
            }
            Detect::Travel {} => Box::new(places::Places::new(quiet)),
        }
    }
}

/// An event as a detector remembers it: when, and where its line stands among the kept evidence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Mark {
    pub time: Timestamp,
    pub evidence: u64,
}

/// A hit as a detector sees it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    pub mark: Mark,
    pub hit: &'a Hit,
    pub batch: &'a HitBatch,
}

impl Seen<'_> {
    pub fn time(&self) -> Timestamp {
        self.mark.time
    }
}

/// What a kind found, before names and lines are put to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Trip {
    /// How many events make it.
    pub count: u64,
    /// The first event that belongs to it.
    pub since: Timestamp,
    pub because: Vec<(&'static str, Value)>,
    /// More of the same, from kinds that make whole objects.
    pub numbers: Map<String, Value>,
    /// The events that make it, oldest first; the deciding one alone when an alert must already be open.
    pub marks: Vec<Mark>,
    /// −log10 of the chance of seeing this by accident, at most [`SCORE_MAX`].
    pub score: f64,
    pub severity: Option<Severity>,
    pub story: Option<String>,
}

/// The score of exact rules and the cap of all others.
pub const SCORE_MAX: f64 = 12.0;

impl Trip {
    /// A finding of an exact kind.
    pub fn exact(count: u64, since: Timestamp, marks: Vec<Mark>) -> Trip {
        Trip {
            count,
            since,
            because: Vec::new(),
            numbers: Map::new(),
            marks,
            score: SCORE_MAX,
            severity: None,
            story: None,
        }
    }

    pub fn because(mut self, name: &'static str, value: impl Into<Value>) -> Trip {
        self.because.push((name, value.into()));
        self
    }
}

/// What time alone found: something did not come, or is over.
#[derive(Clone, PartialEq, Debug)]
pub struct Lapse {
    /// When it became true.
    pub due: Timestamp,
    /// The entity's values as the last hit had them, joined as in [`Hit::entity`].
    pub entity: Box<str>,
    /// Of the last line known, and what it carried for the title.
    pub line_hash: u64,
    pub trip: Trip,
    /// It resolves what is open instead of opening it.
    pub over: bool,
}

/// One rule's memory in one shard.
pub trait Detector: Send {
    /// Takes a hit in; appends what it completes.
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>);
    /// Lets time pass to `now`, inclusive: appends what the passing of time alone completes, in the order of its due times.
    /// Called before a hit of a later time is observed.
    fn lapse(&mut self, _now: Timestamp, _found: &mut Vec<Lapse>) {}
    /// The memory as bytes, for a snapshot.
    fn save(&self) -> Vec<u8>;
    /// Takes back what [`Detector::save`] wrote. The error says what about the bytes is wrong.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), String>;
    /// Forgets what can no longer matter at `now`.
    fn forget(&mut self, now: Timestamp);
    /// How many entities are remembered.
    fn entities(&self) -> usize;
    /// Whether lines of past hits are asked for again; then they are kept for a while.
    fn looks_back(&self) -> bool;
}

/// Every hit is a finding.
struct Each;

impl Detector for Each {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        found.push(Trip::exact(1, seen.time(), vec![seen.mark]));
    }

    fn forget(&mut self, _now: Timestamp) {}

    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _bytes: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn entities(&self) -> usize {
        0
    }

    fn looks_back(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod testing {
    use super::table::Kind;
    use super::*;
    use crate::model::{RuleIndex, TextRange};

    pub fn time(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    /// The findings (second of the event, count) of events at those seconds.
    pub fn observe_all<K: Kind>(kind: &K, times: &[i64]) -> Vec<(i64, u64)> {
        let events: Vec<(i64, u32)> = times.iter().map(|it| (*it, 1)).collect();
        observe_steps(kind, &events)
    }

    pub fn observe_steps<K: Kind>(kind: &K, events: &[(i64, u32)]) -> Vec<(i64, u64)> {
        let batch = HitBatch::default();
        let mut memory = K::Memory::default();
        let mut all = Vec::new();
        for (number, (at, steps)) in events.iter().enumerate() {
            let hit = Hit {
                rule: RuleIndex(0),
                steps: *steps,
                partition: 0,
                entity_hash: 1,
                entity_stable: 1,
                entity: TextRange::default(),
                time: time(*at),
                release: time(*at),
                line_hash: number as u64,
                line: number as u64 + 1,
                source: 0,
                text: TextRange::default(),
                values: 0,
                late: false,
                suspect: false,
            };
            let mark = Mark { time: time(*at), evidence: number as u64 };
            let mut found = Vec::new();
            kind.observe(&mut memory, &Seen { mark, hit: &hit, batch: &batch }, &mut found);
            all.extend(found.iter().map(|it| (*at, it.count)));
        }
        all
    }
}
