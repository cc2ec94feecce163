//! What people and programs are told: the JSON object of the command-line reference.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Timestamp;

/// How bad it is. In rules `High`, on the wire `high`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    #[serde(alias = "Info")]
    Info,
    #[serde(alias = "Low")]
    Low,
    #[serde(alias = "Medium")]
    Medium,
    #[serde(alias = "High")]
    High,
    #[serde(alias = "Critical")]
    Critical,
}

impl Severity {
    pub const ALL: [Severity; 5] =
        [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Firing,
    Resolved,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Firing => "firing",
            State::Resolved => "resolved",
        }
    }
}

/// The rule as an alert shows it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RuleHead {
    pub id: String,
    /// The title as written in the rule, with its placeholders.
    pub title: String,
    pub severity: Severity,
    #[serde(default)]
    pub tags: Vec<String>,
    /// For the person paged: what it means, what to check, when it is harmless. Said when the alert opens.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
}

/// A line that made a detector say so.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    pub time: Timestamp,
    pub source: String,
    /// From 1 in its file, stdin or connection.
    pub line: u64,
    /// XXH3-64 of the raw line, 16 hex digits.
    pub hash: String,
    /// The raw line, cut at 2 KiB.
    pub text: String,
}

/// One alert in one state. `firing` and `resolved` of one alert have the same `id`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Alert {
    /// Rises when a key changes meaning.
    pub schema: u32,
    /// 32 hex digits; the same in every run over the same log.
    pub id: String,
    pub state: State,
    pub rule: RuleHead,
    /// Field name to value, in the order of the rule's `by`.
    pub entity: Map<String, Value>,
    pub opened_at: Timestamp,
    pub last_seen_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved_at: Option<Timestamp>,
    pub count: u64,
    pub score: f64,
    pub summary: String,
    pub because: Map<String, Value>,
    pub evidence: Vec<Evidence>,
    #[serde(default)]
    pub late: bool,
    #[serde(default)]
    pub suspect: bool,
}

impl Alert {
    pub const SCHEMA: u32 = 1;

    /// The entity's values, for people: `ann@example.com`, or `ann@example.com, 10.0.0.7`.
    pub fn entity_text(&self) -> String {
        let values: Vec<&str> = self.entity.values().filter_map(Value::as_str).collect();
        values.join(", ")
    }
}
