//! Alerts of Tripline about itself.
//!
//! What watches others must say when it cannot watch. Such alerts go the way all alerts go; their rule ids begin with
//! `tripline.`, and routes can name them.

use serde_json::Map;

use crate::model::{Alert, RuleHead, Severity, State, Timestamp};

/// An alert about Tripline itself. `what` is a word such as `state-damaged`; its id is made of it and the second.
pub fn alert(what: &str, severity: Severity, summary: &str, now: Timestamp) -> Alert {
    let text = format!("{what}\n{summary}\n{}", now.micros() / 1_000_000);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut because = Map::new();
    because.insert("kind".into(), "self".into());
    Alert {
        schema: Alert::SCHEMA,
        id: digest.as_ref()[..16].iter().map(|it| format!("{it:02x}")).collect(),
        state: State::Firing,
        rule: RuleHead {
            id: format!("tripline.{what}"),
            title: "{story}".into(),
            severity,
            tags: vec!["tripline".into()],
            about: String::new(),
        },
        entity: Map::new(),
        opened_at: now,
        last_seen_at: now,
        resolved_at: None,
        count: 1,
        score: crate::detect::SCORE_MAX,
        summary: summary.to_string(),
        because,
        evidence: Vec::new(),
        late: false,
        suspect: false,
    }
}
