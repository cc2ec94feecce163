//! Alerts to try things on: the marked test alert of `tripline notify test`, and those of our own tests.

use serde_json::Map;

use crate::model::{Alert, RuleHead, Severity, State, Timestamp};

/// One alert that says of itself that it is a test.
pub fn test_alert(now: Timestamp) -> Alert {
    let text = |it: &str| serde_json::Value::String(it.into());
    Alert {
        schema: Alert::SCHEMA,
        id: format!("{:032x}", now.micros().max(0)),
        state: State::Firing,
        rule: RuleHead {
            id: "tripline.test".into(),
            title: "Test alert".into(),
            severity: Severity::Info,
            tags: vec!["test".into()],
            about: String::new(),
        },
        entity: Map::from_iter([("user.name".into(), text("test@example.com"))]),
        opened_at: now,
        last_seen_at: now,
        resolved_at: None,
        count: 1,
        score: 12.0,
        summary: "TEST from Tripline: this receiver works. Nothing has happened.".into(),
        because: Map::from_iter([("kind".into(), text("test"))]),
        evidence: Vec::new(),
        late: false,
        suspect: false,
    }
}

#[cfg(test)]
pub fn alert() -> Alert {
    serde_json::from_str(
        r#"{"schema":1,"id":"0123456789abcdef0123456789abcdef","state":"firing",
        "rule":{"id":"repeated-login-failures","title":"{count} failed logins","severity":"high","tags":["brute-force","attack.t1110"],
        "about":"Somebody guesses passwords. See whether a login succeeded afterwards."},
        "entity":{"user.name":"ann@example.com"},"opened_at":"2025-04-12T08:03:21Z","last_seen_at":"2025-04-12T08:03:40.5Z",
        "count":5,"score":12.0,"summary":"5 failed logins for ann@example.com in 21s",
        "because":{"kind":"count","at_least":5,"within_s":600,"seen":5},
        "evidence":[{"time":"2025-04-12T08:03:00Z","source":"stdin","line":17,"hash":"00112233445566aa","text":"2025-04-12 08:03:00 | 103.44.55.21 | ann@example.com | Brazil | Login failure"},
        {"time":"2025-04-12T08:03:21Z","source":"stdin","line":29,"hash":"00112233445566ab","text":"2025-04-12 08:03:21 | 103.44.55.21 | ann@example.com | Brazil | Login failure"}]}"#,
    )
    .unwrap()
}

#[cfg(test)]
pub fn resolved() -> Alert {
    let resolved_at = Some(alert().last_seen_at.plus(crate::model::Span::from_secs(600)));
    let mut alert = Alert { state: State::Resolved, resolved_at, ..alert() };
    alert.rule.about.clear();
    alert
}

/// Everything an attacker would put into a name, in every place an attacker can reach.
#[cfg(test)]
pub const HOSTILE: &str = "<!channel> <https://evil.example|click> `tick` ```block``` *bold* \r\nBcc: eve@evil.example\r\n\r\n.\r\n \
     \u{1b}[31mred\u{1b}]0;title\u{7} \u{202e}gpj.exe \u{200b} \u{9b}2J <script>alert('x')</script> \"><img src=x onerror=alert(1)> {{7*7}} ${jndi:x} \u{2028}&amp;";

#[cfg(test)]
pub fn hostile() -> Alert {
    let mut alert = alert();
    alert.summary = format!("5 failed logins for {HOSTILE}");
    alert.entity.insert("user.name".into(), HOSTILE.into());
    alert.entity.insert(HOSTILE.into(), "x".into());
    alert.because.insert("place".into(), HOSTILE.into());
    alert.because.insert(HOSTILE.into(), serde_json::json!({ HOSTILE: [HOSTILE] }));
    alert.evidence[0].text = HOSTILE.into();
    alert.evidence[0].source = HOSTILE.into();
    alert.evidence[0].hash = HOSTILE.into();
    alert.id = HOSTILE.into();
    alert.rule.id = HOSTILE.into();
    alert.rule.about = HOSTILE.into();
    alert.rule.tags.push(HOSTILE.into());
    alert
}
