//! An alert in the words that every message for people shares.
//!
//! Nothing here is escaped: values leave as they came, and each notifier passes them through the function of its
//! destination in [`escape`](super::escape).

use serde_json::{Map, Value};

use crate::model::{Alert, RuleHead, Severity, Span, State};

/// Lines of numbers in a message. More: left out; the whole is in the JSON.
const FACTS_MAX: usize = 20;

/// The rule's id as words: `repeated-login-failures` is `Repeated login failures`. The title is no use here: it is a
/// template, and the summary is what became of it.
pub fn rule_words(rule: &RuleHead) -> String {
    let words = rule.id.replace(['-', '_', '.'], " ");
    let mut chars = words.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => "Alert".into(),
    }
}

/// `HIGH`, or `RESOLVED` when it is over.
pub fn headline(alert: &Alert) -> String {
    match alert.state {
        State::Firing => alert.rule.severity.name().to_uppercase(),
        State::Resolved => "RESOLVED".into(),
    }
}

/// `#rrggbb` by severity; green when it is over.
pub fn color(alert: &Alert) -> &'static str {
    match (alert.state, alert.rule.severity) {
        (State::Resolved, _) => "#15803d",
        (State::Firing, Severity::Info) => "#64748b",
        (State::Firing, Severity::Low) => "#2563eb",
        (State::Firing, Severity::Medium) => "#d97706",
        (State::Firing, Severity::High) => "#dc2626",
        (State::Firing, Severity::Critical) => "#7f1d1d",
    }
}

/// The entity, field by field.
pub fn entity(alert: &Alert) -> Vec<(String, String)> {
    flat(&alert.entity)
}

/// The kind's numbers (and places, where it has any), then what qualifies the alert.
pub fn numbers(alert: &Alert) -> Vec<(String, String)> {
    let mut facts = flat(&alert.because);
    facts.retain(|(name, _)| name != "kind");
    if !facts.iter().any(|(name, _)| name == "seen" || name == "count") {
        facts.insert(0, ("count".into(), alert.count.to_string()));
    }
    if alert.score.is_finite() && alert.score < 12.0 {
        facts.push(("score".into(), format!("{:.1}", alert.score)));
    }
    if alert.late {
        facts.push(("late".into(), "some lines came after their time had passed".into()));
    }
    if alert.suspect {
        facts.push(("suspect".into(), "some lines bear times that cannot be right".into()));
    }
    facts
}

/// Opened, last seen and, when it is over, resolved.
pub fn times(alert: &Alert) -> Vec<(String, String)> {
    let mut times =
        vec![("opened".into(), alert.opened_at.to_string()), ("last seen".into(), alert.last_seen_at.to_string())];
    if let Some(resolved) = alert.resolved_at {
        times.push(("resolved".into(), resolved.to_string()));
    }
    times
}

/// ATT&CK techniques among the tags, as (`T1110.003`, address of its page).
pub fn techniques(alert: &Alert) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for tag in &alert.rule.tags {
        let Some(id) = tag.strip_prefix("attack.t") else { continue };
        let (main, sub) = id.split_once('.').map_or((id, None), |(main, sub)| (main, Some(sub)));
        let number = |it: &str, len: usize| it.len() == len && it.bytes().all(|it| it.is_ascii_digit());
        if number(main, 4) && sub.is_none_or(|it| number(it, 3)) {
            let path = sub.map_or(main.to_string(), |sub| format!("{main}/{sub}"));
            all.push((format!("T{id}"), format!("https://attack.mitre.org/techniques/T{path}/")));
        }
    }
    all
}

/// What is left when a receiver refuses the whole: the rule, the id, the state and the times, no word of a stranger.
pub fn reduced(alert: &Alert) -> Alert {
    Alert {
        entity: Map::new(),
        because: Map::new(),
        evidence: Vec::new(),
        summary: format!("{} (details were refused by this receiver)", rule_words(&alert.rule)),
        ..alert.clone()
    }
}

fn flat(map: &Map<String, Value>) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    for (name, value) in map {
        collect(name.clone(), value, 0, &mut facts);
    }
    facts.truncate(FACTS_MAX);
    facts
}

fn collect(name: String, value: &Value, depth: usize, facts: &mut Vec<(String, String)>) {
    if facts.len() >= FACTS_MAX {
        return;
    }
    match value {
        Value::Null => {}
        Value::Object(map) if depth < 4 => {
            for (inner, value) in map {
                collect(format!("{name}.{inner}"), value, depth + 1, facts);
            }
        }
        Value::Array(all) if all.iter().all(|it| !it.is_object() && !it.is_array()) => {
            facts.push((name, all.iter().map(scalar).collect::<Vec<_>>().join(", ")));
        }
        Value::Array(_) | Value::Object(_) => facts.push((name, value.to_string())),
        // `within_s: 600` is `within: 10m` for people.
        Value::Number(number) => match (name.strip_suffix("_s"), number.as_i64()) {
            (Some(short), Some(seconds)) if (0..1 << 40).contains(&seconds) => {
                facts.push((short.replace('_', " "), Span::from_secs(seconds).to_string()));
            }
            (Some(_) | None, _) => facts.push((name.replace('_', " "), scalar(value))),
        },
        Value::Bool(_) | Value::String(_) => facts.push((name.replace('_', " "), scalar(value))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_values_become_lines() {
        let Value::Object(map) =
            json!({"within_s": 600, "from": {"city": "Oslo", "lat": 59.9}, "ips": ["a", 1], "x": null})
        else {
            unreachable!()
        };
        let found: Vec<String> = flat(&map).iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(found, ["within=10m", "from.city=Oslo", "from.lat=59.9", "ips=a, 1"]);
    }

    #[test]
    fn only_real_techniques_become_links() {
        let mut alert = super::super::sample::alert();
        alert.rule.tags = ["attack.t1110", "attack.t1110.003", "attack.t11", "attack.txxxx", "attack.t1110/../x"]
            .map(String::from)
            .into();
        let found: Vec<String> = techniques(&alert).into_iter().map(|(_, it)| it).collect();
        assert_eq!(
            found,
            ["https://attack.mitre.org/techniques/T1110/", "https://attack.mitre.org/techniques/T1110/003/"]
        );
    }
}
