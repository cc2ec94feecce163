//! Many alerts in one message.
//!
//! People read one message a second at most, and whoever can make a thousand alerts can bury the one that matters. So the
//! channels that people read have a pace, and what comes faster than it is told together: nothing is left out of the count,
//! the worst comes first, and every alert that finds no room in the list stands in the numbers of its rule.
//!
//! A digest is an alert like others, so each channel writes it as it writes any.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::key;
use crate::limits;
use crate::model::{Alert, Evidence, RuleHead, Severity, State};

pub const RULE: &str = "tripline.digest";

/// One alert that tells all of these, of which there is at least one.
pub fn digest<'a>(alerts: impl Iterator<Item = &'a Alert>) -> Option<Alert> {
    let mut alerts: Vec<&Alert> = alerts.collect();
    alerts.sort_by_key(|it| (it.state == State::Resolved, Reverse(it.rule.severity), it.opened_at));
    let worst = *alerts.first()?;
    let opened_at = alerts.iter().map(|it| it.opened_at).min()?;
    let last_seen_at = alerts.iter().map(|it| it.last_seen_at).max()?;
    let keys: Vec<String> = alerts.iter().map(|it| key(it)).collect();
    let fired = alerts.iter().filter(|it| it.state == State::Firing).count();
    let over = alerts.len() - fired;
    let severity = if fired > 0 { worst.rule.severity } else { Severity::Info };
    Some(Alert {
        schema: Alert::SCHEMA,
        id: id(&keys),
        state: State::Firing,
        rule: RuleHead {
            id: RULE.into(),
            title: "Many alerts".into(),
            severity,
            tags: Vec::new(),
            about: String::new(),
        },
        entity: Map::new(),
        opened_at,
        last_seen_at,
        resolved_at: None,
        count: alerts.len() as u64,
        score: worst.score,
        summary: summary(fired, over, worst),
        because: because(&alerts),
        evidence: alerts.iter().take(limits::DIGEST_LINES_MAX).map(|it| line(it)).collect(),
        late: false,
        suspect: false,
    })
}

/// The same for the same alerts, so that a digest keeps its key from try to try.
fn id(keys: &[String]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, keys.join("\n").as_bytes());
    hash.as_ref().iter().take(16).map(|it| format!("{it:02x}")).collect()
}

fn summary(fired: usize, over: usize, worst: &Alert) -> String {
    let some = |number: usize, one: &str, many: &str| match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    };
    match (fired, over) {
        (0, _) => format!("{} over", some(over, "alert is", "alerts are")),
        (_, 0) => format!("{} at once; the worst: {}", some(fired, "alert", "alerts"), worst.summary),
        _ => format!("{} at once, and {over} over; the worst: {}", some(fired, "alert", "alerts"), worst.summary),
    }
}

/// How many of which rule, the worst rules first.
fn because(alerts: &[&Alert]) -> Map<String, Value> {
    let mut by_rule: BTreeMap<(bool, Reverse<Severity>, &str), u64> = BTreeMap::new();
    for it in alerts {
        *by_rule.entry((it.state == State::Resolved, Reverse(it.rule.severity), it.rule.id.as_str())).or_default() += 1;
    }
    let mut because = Map::from_iter([("kind".into(), json!("digest")), ("count".into(), json!(alerts.len()))]);
    let mut others = 0;
    for (place, ((resolved, severity, rule), count)) in by_rule.into_iter().enumerate() {
        let what = if resolved { "resolved" } else { severity.0.name() };
        match place < limits::DIGEST_RULES_MAX {
            true => because.insert(format!("{rule} ({what})"), json!(count)).map_or((), drop),
            false => others += count,
        }
    }
    if others > 0 {
        because.insert("other rules".into(), json!(others));
    }
    because
}

/// A member of the list. It stands where evidence stands: the text is a stranger's, so it is escaped like a stranger's.
fn line(alert: &Alert) -> Evidence {
    let text = match alert.state {
        State::Firing => format!("[{}] {}", alert.rule.severity.name(), alert.summary),
        State::Resolved => format!("[resolved] {}", alert.summary),
    };
    Evidence {
        time: alert.last_seen_at,
        source: alert.rule.id.clone(),
        line: alert.count,
        hash: alert.id.clone(),
        text: crate::model::text::cut(&text, limits::EVIDENCE_TEXT_BYTES_MAX).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::sample;

    fn alert(rule: &str, severity: Severity, number: usize, state: State) -> Alert {
        let sample = sample::alert();
        let head = RuleHead { id: rule.into(), severity, ..sample.rule.clone() };
        Alert { id: format!("{number:032x}"), rule: head, state, summary: format!("{rule} {number}"), ..sample }
    }

    fn of(alerts: &[Alert]) -> Alert {
        digest(alerts.iter()).unwrap()
    }

    #[test]
    fn the_worst_comes_first_and_nothing_is_left_out_of_the_count() {
        let mut alerts: Vec<Alert> = (0..500).map(|it| alert("noise", Severity::Low, it, State::Firing)).collect();
        alerts.push(alert("takeover", Severity::Critical, 1000, State::Firing));
        alerts.push(alert("noise", Severity::Low, 7, State::Resolved));
        let found = of(&alerts);
        assert_eq!(found.summary, "501 alerts at once, and 1 over; the worst: takeover 1000");
        assert_eq!(found.rule.severity, Severity::Critical);
        assert_eq!(found.evidence.len(), limits::DIGEST_LINES_MAX);
        assert_eq!(found.evidence[0].text, "[critical] takeover 1000");
        let numbers = Value::Object(found.because.clone());
        let expected = json!({"kind": "digest", "count": 502, "takeover (critical)": 1, "noise (low)": 500, "noise (resolved)": 1});
        assert_eq!(numbers, expected);
    }

    #[test]
    fn the_same_alerts_make_the_same_digest() {
        let mut alerts: Vec<Alert> = (0..9).map(|it| alert("noise", Severity::Low, it, State::Firing)).collect();
        let found = of(&alerts);
        assert_eq!(found, of(&alerts));
        alerts.pop();
        assert_ne!(found.id, of(&alerts).id);
        assert_eq!(digest([].iter()), None);
    }

    #[test]
    fn many_rules_are_added_up() {
        let many = limits::DIGEST_RULES_MAX + 5;
        let alerts: Vec<Alert> =
            (0..many).map(|it| alert(&format!("rule-{it}"), Severity::Low, it, State::Firing)).collect();
        let found = of(&alerts);
        let sum: u64 = found.because.iter().skip(2).filter_map(|it| it.1.as_u64()).sum();
        assert_eq!((sum, &found.because["other rules"]), (many as u64, &json!(5)));
    }

    #[test]
    fn only_ends_are_no_alarm() {
        let alerts: Vec<Alert> = (0..3).map(|it| alert("noise", Severity::High, it, State::Resolved)).collect();
        let found = of(&alerts);
        assert_eq!((found.summary.as_str(), found.rule.severity), ("3 alerts are over", Severity::Info));
    }
}
