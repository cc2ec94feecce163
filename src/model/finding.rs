//! What a detector found, before anybody decided whether to tell.

use serde_json::{Map, Value};

use super::{Evidence, RuleIndex, Severity, Timestamp};

/// Who or what a finding is about: the values of the rule's `by` fields, in that order, as the deciding line has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entity {
    /// The canonical form (folded where the rule says so), joined by the unit separator; what is compared.
    pub key: String,
    /// The values as written.
    pub values: Vec<String>,
}

/// One thing found by one rule about one entity.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    pub rule: RuleIndex,
    pub entity: Entity,
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
    /// The kind's numbers: goes to the alert's `because`, and to the title's placeholders.
    pub because: Map<String, Value>,
    /// A sentence of the kind's own, where the rule's title does not say enough (`{story}` in a title).
    pub story: Option<String>,
    /// Carried values for the title's placeholders, by field name.
    pub values: Vec<(String, String)>,
    pub evidence: Vec<Evidence>,
    pub late: bool,
    pub suspect: bool,
    /// The condition is over by itself (a silent feed spoke again): resolve the open alert instead of opening one.
    pub over: bool,
    /// The rule's promise had no room for it: nobody is told, but it counts where small things are added up.
    pub kept_back: bool,
}
