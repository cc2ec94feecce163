//! The nouns that cross a seam. No I/O, no clock, no lock.
//!
//! In the order in which data meets them: a [`Timestamp`], the [`FieldId`] a name becomes when rules load, the [`Event`]
//! a line becomes, the [`Hit`] it may be, the [`Finding`] that some hits make, and the [`Alert`] people are told about.

pub mod address;
mod alert;
pub mod canonical;
pub mod country;
mod event;
mod field;
mod finding;
mod hit;
pub mod packed;
pub mod json;
mod notes;
mod recent;
pub mod path;
pub mod text;
pub mod text_or_name;
mod time;
pub mod title;

pub use address::parse as parse_address;
pub use alert::{Alert, Evidence, RuleHead, Severity, State};
pub use canonical::HashKeys;
pub use event::{Event, EventBuf, List, Mark, Outline, Place, Slot, Value};
pub use field::{FieldId, Fields, STAND_INS, stands_for};
pub use finding::{Basis, Because, Entity, Finding, Proof, Words};
pub use hit::{Carried, Hit, HitBatch, HitEvent, HitRule, Owner, RuleIndex, TextRange};
pub use notes::{Edge, Leaf, LeafKind, Notes, Trails, Turn};
pub use recent::Recent;
pub use time::{Minute, Span, Timestamp, Zone};
