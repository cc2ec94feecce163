//! Hits over time to findings: one file a kind.

pub mod travel;

use serde::{Deserialize, Serialize};

use crate::expr::Expr;
use crate::model::Span;

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
