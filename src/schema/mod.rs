//! What the vendor means: recognises a record and maps it to ECS fields and activities.
//!
//! A schema is data ([`file::Schema`], one RON file a vendor record), so a thousand lines of vendor knowledge would be
//! interpreted for every line. They are not: [`compile`] looks every name up once, leaves out what no rule asks for, and
//! turns "which schema?" into a table from the record's keys to the few schemas that could have them. Mapping then copies
//! slots, not texts: `user.name` is mostly the same place in the line as `actor.alternateId`.
//!
//! Nothing here remembers anything that changes an answer: the same record gives the same fields, whatever came before it.

pub mod compile;
pub mod file;
mod map;
pub mod propose;
mod recognise;
mod shape;
mod stamp;
mod take;
mod verdict;

use std::fmt;
use std::sync::Arc;

use crate::expr::pattern::Late;
use crate::expr::plain::{Operand, Plain};
use crate::model::{EventBuf, FieldId, Mark, Slot, Timestamp, Zone};
use take::{Op, TakeMemo};

/// The loaded schemas: immutable, shared by all fronts.
pub struct Schemas {
    all: Vec<Schema>,
    constants: Arc<str>,
    formats: Vec<Box<str>>,
    /// Paths with selectors that rules name.
    selected: Vec<(FieldId, Operand)>,
    regexes: Vec<Late>,
    /// Where a time stands in most records that no schema knows.
    usual_times: Vec<FieldId>,
    fields: Produced,
    words: Words,
}

/// The keys under which most programs write when something happened, those that mean nothing else first.
const USUAL_TIMES: [&str; 16] = [
    "@timestamp",
    "timestamp",
    "time",
    "ts",
    "eventTime",
    "event_time",
    "EventTime",
    "TimeCreated",
    "datetime",
    "created_at",
    "createdAt",
    "date",
    "cef.ext.rt",
    "cef.ext.end",
    "syslog.time",
    "keyrunner.time",
];

/// The number of a schema, in the order in which they are tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SchemaIndex(pub u16);

/// Schemas of this priority and below are for records of no known vendor.
const CATCH_ALL: i32 = -100;

/// What the source knows about how a line came: what a stamp without zone means, and about when it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    pub zone: Zone,
    /// Stamps without a year are taken in the last year that does not put them more than a week after this.
    pub received: Timestamp,
}

/// What a front keeps between records so as not to compute or allocate it again. Changes no answer.
#[derive(Default)]
pub struct Memo {
    shapes: shape::Shapes,
    take: TakeMemo,
    mark: Mark,
    /// The elements of the record that is being split.
    elements: Vec<Slot>,
}

impl Memo {
    /// Records are decoded into another buffer from now on, whose ways are others.
    pub fn change_buffer(&mut self) {
        self.shapes.forget_way();
    }
}

/// What an event is, as far as that can be told without filling its fields.
pub struct Meaning {
    /// How often it happened, at least once.
    pub repeat: u32,
    /// Nobody cares for events of this shape and meaning, whatever their values are.
    pub idle: bool,
    index: SchemaIndex,
    case: Option<u16>,
    action: Option<Slot>,
    /// The text that forms were tried on.
    text: Option<Slot>,
}

/// What is wrong with a schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SchemaError {
    pub schema: String,
    pub problem: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema `{}`: {}", self.schema, self.problem)
    }
}

impl std::error::Error for SchemaError {}

/// The fields that every schema fills; None where nobody asks.
struct Produced {
    activity: FieldId,
    action: Option<FieldId>,
    outcome: Option<FieldId>,
    provider: Option<FieldId>,
    tags: Option<FieldId>,
    /// Whom a lone event is about: who did it, and to whom it was done. There for every record a schema knows.
    entity: Option<FieldId>,
    entity_target: Option<FieldId>,
    user_target: Option<FieldId>,
    address: Option<FieldId>,
    user_name: Option<FieldId>,
    user_email: Option<FieldId>,
}

/// Constants that every schema may need.
struct Words {
    other: Slot,
    success: Slot,
    failure: Slot,
    unknown: Slot,
    yes: Slot,
    no: Slot,
}

struct Schema {
    id: Box<str>,
    priority: i32,
    formats: Vec<Box<str>>,
    recognise: Plain,
    provider: Slot,
    split: Option<Split>,
    repeat: Option<Op>,
    /// What forms are tried on; None: the action.
    text: Option<Operand>,
    time: Option<Op>,
    action: Option<Op>,
    fold_actions: bool,
    cases: Vec<Case>,
    has_forms: bool,
    /// For an action, the cases that might apply, in the order written; for actions not there, `cases_for_others`.
    cases_by_action: hashbrown::HashMap<Box<str>, Box<[u16]>>,
    cases_for_others: Box<[u16]>,
    /// What is filled when no case applies.
    plan: Plan,
    /// Tags that do not depend on the case.
    tags: Vec<(Slot, Plain)>,
    produces: Vec<Box<str>>,
    activities: Vec<&'static str>,
}

struct Split {
    array: Operand,
    /// Where the element stands for paths that begin with `array[]`.
    element: FieldId,
}

struct Case {
    activity: Slot,
    /// What the activity says about success.
    outcome: Option<Slot>,
    when: Option<Plain>,
    form: Option<Form>,
    tags: Option<Slot>,
    plan: Plan,
}

/// A pattern over the schema's text.
struct Form {
    regex: usize,
    /// What the text must begin with, or hold, for the pattern to fit: saves most attempts.
    gate: Gate,
    /// Where the groups that [`Op::Group`] numbers stand in this pattern.
    groups: Box<[Option<u16>]>,
}

enum Gate {
    Begins(Box<str>),
    Holds(Box<memchr::memmem::Finder<'static>>),
    Open,
}

/// The fields to fill, and with what.
#[derive(Default)]
struct Plan {
    fields: Box<[(FieldId, Arc<Op>)]>,
    outcome: Option<Arc<Op>>,
}

impl Schemas {
    /// What [`crate::model::Place::Constant`] points into; for [`EventBuf::new`].
    pub fn constants(&self) -> Arc<str> {
        self.constants.clone()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn indexes(&self) -> impl Iterator<Item = SchemaIndex> {
        (0..self.all.len()).map(|it| SchemaIndex(it as u16))
    }

    /// The schema's id: what `event.provider` says.
    pub fn id(&self, index: SchemaIndex) -> &str {
        &self.schema(index).id
    }

    /// The ECS names that records of this schema may have, whether somebody wants them or not.
    pub fn produces(&self, index: SchemaIndex) -> impl Iterator<Item = &str> {
        self.schema(index).produces.iter().map(AsRef::as_ref)
    }

    /// The activities that records of this schema may be, without `other`.
    pub fn activities(&self, index: SchemaIndex) -> &[&'static str] {
        &self.schema(index).activities
    }

    /// Fills the paths with selectors that rules name. Once a record, whether it was recognised or not.
    pub fn select(&self, record: &str, buf: &mut EventBuf, memo: &mut Memo) {
        for (id, operand) in &self.selected {
            if let Some(slot) = take::look(operand, record, buf, &mut memo.take) {
                buf.set(*id, slot);
            }
        }
    }

    /// Whether the schema knows records by what any vendor's may have.
    pub fn is_catch_all(&self, index: SchemaIndex) -> bool {
        self.schema(index).priority <= CATCH_ALL
    }

    fn schema(&self, index: SchemaIndex) -> &Schema {
        &self.all[usize::from(index.0)]
    }
}

#[cfg(test)]
mod tests;
