//! Hits over time to findings: one file a kind.
//!
//! A detector sees the hits of its rule in the order (release time, step, line hash), whatever order the lines arrived in,
//! and is the only owner of what it remembers. Time is whatever the hits say; nothing here reads a clock.

pub mod absence;
mod beacon;
pub mod budget;
pub mod changed;
pub mod count;
pub mod distinct;
mod fan_out;
pub mod firsts;
mod gate;
mod growth;
pub mod habit;
mod hours;
mod door;
pub mod due;
pub mod evidence;
mod overdue;
mod places;
pub mod promise;
pub mod risk;
pub mod sequence;
pub mod silence;
mod sketch;
mod slots;
pub mod spike;
pub mod sum;
mod table;
#[cfg(test)]
pub mod testing;
pub mod travel;
mod unfamiliar;

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::due::{Due, Said, Soon};
use self::promise::Rate;
use crate::expr::Expr;
use crate::limits;
use crate::model::{Basis, Carried, HashKeys, Hit, HitBatch, Severity, Span, Timestamp, text};

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
    /// At least so much of a field, added up within a sliding window.
    Sum { field: String, at_least: f64, within: Span },
    /// A field's value differs from the entity's last.
    Changed { field: String },
    /// One event that is not followed by another in time.
    Absence { first: Expr, then: Expr, within: Span },
    /// The entity has stopped.
    Silence { after: Span },
    /// A value that the entity has never shown since it was learned.
    FirstSeen {
        field: String,
        /// How long each entity is learned before anything is told of it.
        #[serde(default = "two_weeks")]
        learn: Span,
        /// A value not seen for so long is new again.
        #[serde(default = "ninety_days", skip_serializing_if = "is_ninety_days")]
        forget: Span,
        /// Values worth telling; the others only teach. Empty: all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        only: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        false_alerts: Option<Rate>,
    },
    /// A value new to the entity that hardly any of its peers has.
    Rare {
        field: String,
        #[serde(default = "one_week")]
        learn: Span,
        #[serde(default = "once_a_week")]
        false_alerts: Rate,
    },
    /// Many more events (or much more of a field) in a bucket of time than the entity's habit lets expect.
    Spike {
        #[serde(default = "five_minutes")]
        bucket: Span,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        field: String,
        /// Who shares a value of this field is a peer. None: who shares all of the entity but its last part.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        peers: String,
        #[serde(default = "once_a_week")]
        false_alerts: Rate,
    },
    /// Many fewer.
    Drop {
        #[serde(default = "five_minutes")]
        bucket: Span,
        /// With fewer events a bucket is silence, which another rule tells. 0: that is a drop too.
        #[serde(default, skip_serializing_if = "is_nought")]
        at_least: u32,
        #[serde(default = "once_a_week")]
        false_alerts: Rate,
    },
    /// At an hour at which the entity hardly ever does this.
    OffHours {
        /// What is told, where `taught` shows more of when the entity is at work. None of both: what the rule says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<Expr>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taught: Option<Expr>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        peers: String,
        #[serde(default = "once_a_week")]
        false_alerts: Rate,
    },
    /// Several things about one event that are new to the entity and rare among its peers.
    Unfamiliar {
        fields: Vec<String>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        peers: String,
        /// Whose habits are learned, where `by` says more than that.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        whose: String,
        #[serde(default = "one_week")]
        learn: Span,
        #[serde(default = "once_a_week")]
        false_alerts: Rate,
    },
    /// Many different values that fail and do not succeed, within a day, however slowly.
    FanOut {
        field: String,
        failed: Expr,
        succeeded: Expr,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        peers: String,
        #[serde(default = "once_a_week")]
        false_alerts: Rate,
    },
    /// A rhythm that only a machine keeps, and that was not there before.
    Beacon {
        #[serde(default = "one_week")]
        learn: Span,
        #[serde(default = "once_a_week")]
        false_alerts: Rate,
    },
    /// More of a field every day than is usual, for days.
    Growth {
        /// None: events are counted.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        field: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        peers: String,
        #[serde(default = "once_a_week")]
        false_alerts: Rate,
    },
    /// Findings of several kinds about one entity, told or kept back, that are extraordinary together.
    Risk {
        #[serde(default = "one_day")]
        half_life: Span,
        #[serde(default = "once_a_week")]
        false_alerts: Rate,
    },
    /// Later than it has ever been.
    Overdue {
        #[serde(default = "once_a_week")]
        false_alerts: Rate,
    },
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

/// Those that say something.
fn named<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    names.into_iter().filter(|it| !it.is_empty()).cloned().collect()
}

const DAY: Span = Span::from_secs(86_400);

fn one_day() -> Span {
    DAY
}

fn one_week() -> Span {
    Span::from_micros(7 * DAY.micros())
}

fn two_weeks() -> Span {
    Span::from_micros(14 * DAY.micros())
}

fn ninety_days() -> Span {
    Span::from_micros(90 * DAY.micros())
}

fn is_nought(it: &u32) -> bool {
    *it == 0
}

fn is_ninety_days(span: &Span) -> bool {
    *span == ninety_days()
}

fn five_minutes() -> Span {
    Span::from_secs(300)
}

fn once_a_week() -> Rate {
    Rate { count: 1.0, per: one_week() }
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
            Detect::Sum { .. } => "sum",
            Detect::Changed { .. } => "changed",
            Detect::Absence { .. } => "absence",
            Detect::Silence { .. } => "silence",
            Detect::FirstSeen { .. } => "first-seen",
            Detect::Rare { .. } => "rare",
            Detect::Spike { .. } => "spike",
            Detect::Drop { .. } => "drop",
            Detect::OffHours { .. } => "off-hours",
            Detect::Unfamiliar { .. } => "unfamiliar",
            Detect::FanOut { .. } => "fan-out",
            Detect::Beacon { .. } => "beacon",
            Detect::Growth { .. } => "growth",
            Detect::Overdue { .. } => "overdue",
            Detect::Risk { .. } => "risk",
            Detect::Travel {} => "travel",
        }
    }

    /// The fields a hit must bring along for the detector, in the order in which it asks for them.
    pub fn fields(&self) -> Vec<String> {
        match self {
            Detect::Each
            | Detect::Count { .. }
            | Detect::Sequence { .. }
            | Detect::Absence { .. }
            | Detect::Drop { .. }
            | Detect::Beacon { .. }
            | Detect::Overdue { .. }
            | Detect::Risk { .. }
            | Detect::Silence { .. } => Vec::new(),
            Detect::Distinct { field, .. }
            | Detect::Sum { field, .. }
            | Detect::FirstSeen { field, .. }
            | Detect::Rare { field, .. }
            | Detect::Changed { field } => vec![field.clone()],
            Detect::Spike { field, peers, .. }
            | Detect::Growth { field, peers, .. }
            | Detect::FanOut { field, peers, .. } => named([field, peers]),
            Detect::OffHours { peers, .. } => named([peers]),
            Detect::Unfamiliar { fields, peers, whose, .. } => named(fields.iter().chain([peers, whose])),
            Detect::Travel {} => places::FIELDS.map(String::from).into(),
        }
    }

    /// The conditions that its steps add to the rule's own; a hit has one bit a step. Empty: the rule's is all there is.
    pub fn steps(&self) -> Vec<&Expr> {
        match self {
            Detect::Sequence { steps, .. } => steps.iter().map(|it| &it.when).collect(),
            Detect::Absence { first, then, .. } => vec![first, then],
            Detect::FanOut { failed, succeeded, .. } => vec![failed, succeeded],
            Detect::OffHours { told, taught, .. } => told.iter().chain(taught).collect(),
            Detect::Each
            | Detect::Count { .. }
            | Detect::Distinct { .. }
            | Detect::Sum { .. }
            | Detect::Changed { .. }
            | Detect::Silence { .. }
            | Detect::FirstSeen { .. }
            | Detect::Rare { .. }
            | Detect::Spike { .. }
            | Detect::Drop { .. }
            | Detect::Unfamiliar { .. }
            | Detect::Beacon { .. }
            | Detect::Growth { .. }
            | Detect::Overdue { .. }
            | Detect::Risk { .. }
            | Detect::Travel {} => Vec::new(),
        }
    }

    /// How long an alert stays open without more of the same. What is silent ends its alert by speaking again, however
    /// long that takes.
    pub fn quiet(&self, of_rule: Span) -> Span {
        match self {
            Detect::Silence { .. } | Detect::Overdue { .. } => of_rule.max(silence::FORGET),
            // It is looked at once a day.
            Detect::Growth { .. } => of_rule.max(Span::from_micros(2 * DAY.micros())),
            // While it goes on, every bucket says so.
            Detect::Spike { bucket, .. } | Detect::Drop { bucket, .. } => {
                of_rule.max(Span::from_micros(bucket.micros().saturating_mul(3)))
            }
            Detect::Each
            | Detect::Count { .. }
            | Detect::Distinct { .. }
            | Detect::Sum { .. }
            | Detect::Changed { .. }
            | Detect::Absence { .. }
            | Detect::Sequence { .. }
            | Detect::FirstSeen { .. }
            | Detect::Rare { .. }
            | Detect::OffHours { .. }
            | Detect::Unfamiliar { .. }
            | Detect::FanOut { .. }
            | Detect::Beacon { .. }
            | Detect::Risk { .. }
            | Detect::Travel {} => of_rule,
        }
    }

    /// Whether the kind learns from all entities together, so that one owner must see all hits of the rule.
    pub fn sees_everybody(&self) -> bool {
        match self {
            Detect::Each
            | Detect::Count { .. }
            | Detect::Distinct { .. }
            | Detect::Sum { .. }
            | Detect::Changed { .. }
            | Detect::Absence { .. }
            | Detect::Silence { .. }
            | Detect::Sequence { .. } => false,
            // Peers, pooled scores and a promise for all entities together need one owner.
            Detect::FirstSeen { .. }
            | Detect::Rare { .. }
            | Detect::Spike { .. }
            | Detect::Drop { .. }
            | Detect::OffHours { .. }
            | Detect::Unfamiliar { .. }
            | Detect::FanOut { .. }
            | Detect::Beacon { .. }
            | Detect::Growth { .. }
            | Detect::Overdue { .. }
            | Detect::Risk { .. }
            | Detect::Travel {} => true,
        }
    }

    /// Whether the kind compares with what was before, so that history has something to teach it. What counts within minutes
    /// has nothing to learn, and what waits for something to come would tell of all that ended long ago.
    pub fn learns(&self) -> bool {
        self.sees_everybody() || matches!(self, Detect::Changed { .. })
    }

    /// The form in which it writes what it remembers. Whoever changes that, or how values are hashed, raises the number: memories are
    /// read as they were written, and one of another form would be read as nonsense.
    pub fn form(&self) -> u8 {
        match self {
            Detect::Each
            | Detect::Count { .. }
            | Detect::Distinct { .. }
            | Detect::Sum { .. }
            | Detect::Changed { .. }
            | Detect::Absence { .. }
            | Detect::Silence { .. }
            | Detect::Sequence { .. } => 0,
            Detect::FirstSeen { .. }
            | Detect::Rare { .. }
            | Detect::Spike { .. }
            | Detect::Drop { .. }
            | Detect::OffHours { .. }
            | Detect::Unfamiliar { .. }
            | Detect::FanOut { .. }
            | Detect::Beacon { .. }
            | Detect::Growth { .. }
            | Detect::Overdue { .. }
            | Detect::Risk { .. }
            | Detect::Travel {} => 1,
        }
    }

    /// Whether the kind judges what other rules find, and no events.
    pub fn judges_findings(&self) -> bool {
        matches!(self, Detect::Risk { .. })
    }

    /// A detector with nothing remembered yet. `quiet` is the rule's: within it, a further finding only adds to an alert.
    pub fn start(&self, quiet: Span, keys: HashKeys) -> Box<dyn Detector> {
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
            Detect::Sum { field, at_least, within } => Box::new(table::Table::new(sum::Sum {
                field: field.clone(),
                at_least: *at_least,
                within: *within,
                quiet,
            })),
            Detect::Changed { field } => Box::new(table::Table::new(changed::Changed { field: field.clone() })),
            Detect::Absence { within, .. } => Box::new(table::Table::new(absence::Absence { within: *within })),
            Detect::Silence { after } => Box::new(table::Table::new(silence::Silence { after: *after })),
            Detect::FirstSeen { field, learn, forget, only, false_alerts } => {
                Box::new(firsts::Firsts::new(firsts::Settings {
                    field: field.clone(),
                    learn: *learn,
                    forget: *forget,
                    only: only.clone(),
                    rare: false,
                    promise: *false_alerts,
                    keys,
                }))
            }
            Detect::Rare { field, learn, false_alerts } => Box::new(firsts::Firsts::new(firsts::Settings {
                field: field.clone(),
                learn: *learn,
                forget: ninety_days(),
                only: Vec::new(),
                rare: true,
                promise: Some(*false_alerts),
                keys,
            })),
            Detect::Spike { bucket, field, peers, false_alerts } => Box::new(spike::Rates::new(spike::Settings {
                bucket: *bucket,
                field: field.clone(),
                peers: peers.clone(),
                down: false,
                at_least: 0.0,
                promise: *false_alerts,
                keys,
                quiet: self.quiet(quiet),
            })),
            Detect::Drop { bucket, at_least, false_alerts } => Box::new(spike::Rates::new(spike::Settings {
                bucket: *bucket,
                field: String::new(),
                peers: String::new(),
                down: true,
                at_least: f64::from(*at_least),
                promise: *false_alerts,
                keys,
                quiet: self.quiet(quiet),
            })),
            Detect::OffHours { told, peers, false_alerts, .. } => Box::new(hours::Hours::new(hours::Settings {
                told_apart: told.is_some(),
                peers: peers.clone(),
                promise: *false_alerts,
                keys,
                quiet,
            })),
            Detect::Unfamiliar { fields, peers, whose, learn, false_alerts } => {
                Box::new(unfamiliar::Unfamiliar::new(unfamiliar::Settings {
                    fields: fields.clone(),
                    peers: peers.clone(),
                    whose: whose.clone(),
                    keys,
                    learn: *learn,
                    promise: *false_alerts,
                    quiet,
                }))
            }
            Detect::FanOut { field, peers, false_alerts, .. } => Box::new(fan_out::FanOut::new(fan_out::Settings {
                field: field.clone(),
                peers: peers.clone(),
                promise: *false_alerts,
                keys,
                quiet,
            })),
            Detect::Beacon { learn, false_alerts } => Box::new(beacon::Beacon::new(*learn, *false_alerts, quiet, keys)),
            Detect::Growth { field, peers, false_alerts } => Box::new(growth::Growth::new(growth::Settings {
                field: field.clone(),
                peers: peers.clone(),
                promise: *false_alerts,
                keys,
                quiet: self.quiet(quiet),
            })),
            Detect::Risk { .. } => Box::new(risk::Nothing),
            Detect::Overdue { false_alerts } => Box::new(overdue::Overdue::new(*false_alerts, self.quiet(quiet), keys)),
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

impl Mark {
    /// Stands for the line of an event that was only counted: its time is the latest it can have had.
    pub const UNSEEN: u64 = u64::MAX - 1;

    /// Events of which only the number is known.
    fn unseen(time: Timestamp) -> Mark {
        Mark { time, evidence: Mark::UNSEEN }
    }

    fn is_unseen(&self) -> bool {
        self.evidence == Mark::UNSEEN
    }
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

    /// When it came, and of which source.
    fn from(&self) -> (Timestamp, u16) {
        (self.hit.release, self.hit.source)
    }

    /// The entity's values as the line has them, joined.
    pub fn entity(&self) -> &str {
        self.batch.str(self.hit.entity)
    }

    /// The detector's field at `index` as text, whatever it is. None when the line lacks it.
    pub fn text(&self, index: usize) -> Option<Cow<'_, str>> {
        match self.batch.values[self.hit.values as usize + index] {
            Carried::Absent => None,
            Carried::Text(range) => Some(self.batch.str(range).into()).filter(|it: &Cow<str>| !it.is_empty()),
            Carried::Number(it) => Some(it.to_string().into()),
        }
    }
}

/// A stranger's text inside a sentence.
fn brief(value: &str) -> &str {
    text::cut(value, 80)
}

/// How many something stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    One,
    Many,
}

/// A field in a sentence for people; those without a name of their own are called what they are.
fn called(field: &str, number: Number) -> &str {
    let names = [
        ("source.geo.country_iso_code", "country", "countries"),
        ("source.geo.country_name", "country", "countries"),
        ("source.as.number", "network AS", "networks"),
        ("source.ip", "address", "addresses"),
        ("user.name", "user name", "user names"),
        ("device.id", "device", "devices"),
        ("user_agent.original", "program", "programs"),
        ("event.action", "action", "actions"),
    ];
    match (names.iter().find(|it| it.0 == field), number) {
        (Some(it), Number::One) => it.1,
        (Some(it), Number::Many) => it.2,
        (None, Number::One | Number::Many) => field,
    }
}

/// Keeps a mark, among the first and the latest: more are not shown.
fn keep_mark(marks: &mut Vec<Mark>, mark: Mark) {
    marks.push(mark);
    if marks.len() > limits::EVIDENCE_LINES_MAX {
        marks.remove(limits::EVIDENCE_LINES_MAX / 2);
    }
}

/// The first and the latest marks of many: more are not shown.
fn few(marks: impl ExactSizeIterator<Item = Mark>) -> Vec<Mark> {
    let (len, first) = (marks.len(), limits::EVIDENCE_LINES_MAX / 2);
    let last = len.saturating_sub(limits::EVIDENCE_LINES_MAX - first);
    marks.enumerate().filter(|(index, _)| *index < first || *index >= last).map(|(_, it)| it).collect()
}

/// A quantity of a field for people: bytes in their units, other numbers with few digits.
fn shown(field: &str, value: f64) -> String {
    let digits = |value: f64| match value.abs() {
        it if it >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        it if it >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    if !field.contains("bytes") {
        return digits(value);
    }
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let unit = (0..units.len() - 1).find(|it| value < 1000f64.powi(*it as i32 + 1)).unwrap_or(units.len() - 1);
    format!("{} {}", digits(value / 1000f64.powi(unit as i32)), units[unit])
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
    pub basis: Basis,
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
            basis: Basis::Seen,
        }
    }

    /// It may have been fewer: some were counted by a sketch.
    pub fn approximate(self, basis: Basis) -> Trip {
        Trip { basis, ..self.because("approximate", true) }
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
    /// Which of the partitions keeps the entity's evidence.
    pub partition: u8,
    /// Of the last line known, and what it carried for the title.
    pub line_hash: u64,
    pub trip: Trip,
    /// It resolves what is open instead of opening it.
    pub over: bool,
    /// The promise had no room for it: nobody is told, but it counts where small things are added up.
    pub kept_back: bool,
}

/// What it is for a rule's memory not to fit, in one partition.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pressure {
    /// Since when.
    pub since: Timestamp,
    /// Where those of the first second came from: source and how many.
    pub sources: Vec<(u16, u32)>,
}

impl Pressure {
    /// It is told of when it has lasted so long.
    pub const FIRST: Span = Span::from_secs(1);
}

/// One rule's memory in one shard.
pub trait Detector: Send {
    /// Takes a hit in; appends what it completes.
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>);
    /// Takes in hits that are due, and lets time pass before each. There is no reason to do it in another way than this one; it
    /// stands here so that each kind has it as code of its own.
    fn take(&mut self, due: &Due<'_>, say: &mut dyn FnMut(Said<'_>)) {
        due::take(self, due, say);
    }
    /// Lets time pass to `now`, inclusive: appends what the passing of time alone completes, in the order of its due times.
    /// Called before a hit of a later time is observed.
    fn lapse(&mut self, _now: Timestamp, _found: &mut Vec<Lapse>) {}
    /// Nothing more will ever come: appends what waited for more.
    fn finish(&mut self, _found: &mut Vec<Lapse>) {}
    /// The memory as bytes, for a snapshot.
    fn save(&self) -> Vec<u8>;
    /// Takes back what [`Detector::save`] wrote. The error says what about the bytes is wrong.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), String>;
    /// Forgets what can no longer matter at `now`. Kinds that learn sweep when a hit comes, once a day.
    fn forget(&mut self, _now: Timestamp) {}
    /// How many entities are remembered.
    fn entities(&self) -> usize;
    /// Asks the caches for what is remembered of those whose hits come soon. Changes nothing.
    fn warm(&self, _soon: &Soon<'_>) {}
    /// Whether lines of past hits are asked for again; then they are kept for a while.
    fn looks_back(&self) -> bool;
    /// How many bytes it may remember, over all partitions.
    fn limit(&mut self, _bytes: u64) {}
    /// How many it does, at most.
    fn bytes(&self) -> usize {
        0
    }
    /// Whether more should be remembered than fits.
    fn is_strained(&self) -> bool {
        false
    }
    /// Calls `each` once for every partition in which that began at least a second before `now`.
    fn pressures(&mut self, _now: Timestamp, _each: &mut dyn FnMut(Pressure)) {}
}

/// A memory as bytes, for a snapshot.
fn saved(memory: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(memory).expect("memories are plain data, and memory for them is there")
}

/// Takes back what [`saved`] wrote. The error says what about the bytes is wrong.
fn restored<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    postcard::from_bytes(bytes).map_err(|it| it.to_string())
}

/// Every hit is a finding.
struct Each;

impl Detector for Each {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        found.push(Trip::exact(1, seen.time(), vec![seen.mark]));
    }

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
