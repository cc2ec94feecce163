//! A Slack message by incoming webhook.
//!
//! Slack reads three languages in one message: control sequences in angle brackets, markdown, and emoji names. A user
//! called `<!channel>` must not wake a thousand people. So a stranger's words stand only where Slack reads none of them:
//! in `plain_text`, or in code with its backticks replaced, with `& < >` written as entities in both. The line above the
//! attachment, which phones show, is made of our own words and the rule's id.

use serde_json::{Value, json};

use super::escape;
use super::facts;
use crate::model::{Alert, State};

/// Limits of Block Kit, in characters; we stay below where the mark of a cut needs room.
const HEADER_CHARS_MAX: usize = 150;
const SECTION_CHARS_MAX: usize = 3000;
const FIELD_CHARS_MAX: usize = 2000;
const FIELDS_MAX: usize = 10;

/// The body of the request.
pub fn compose(alert: &Alert) -> Value {
    let line = format!("{} · {}", facts::headline(alert), escape::slack(&facts::rule_words(&alert.rule), 100));
    let mut blocks = vec![
        json!({"type": "header", "text": plain(&line_header(alert), HEADER_CHARS_MAX)}),
        json!({"type": "section", "text": plain(&alert.summary, SECTION_CHARS_MAX)}),
    ];
    let mut fields = facts::entity(alert);
    if alert.state == State::Firing {
        fields.extend(facts::numbers(alert));
    }
    fields.extend(facts::times(alert));
    for some in fields.chunks(FIELDS_MAX) {
        let some: Vec<Value> = some.iter().map(|(name, value)| field(name, value)).collect();
        blocks.push(json!({"type": "section", "fields": some}));
    }
    if !alert.rule.about.is_empty() {
        blocks.push(json!({"type": "section", "text": plain(&alert.rule.about, SECTION_CHARS_MAX)}));
    }
    if alert.state == State::Firing && !alert.evidence.is_empty() {
        blocks.push(json!({"type": "section", "text": markdown(&evidence(alert))}));
    }
    blocks.push(json!({"type": "context", "elements": [markdown(&context(alert))]}));
    json!({
        "text": line,
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "link_names": false,
        "attachments": [{"color": facts::color(alert), "fallback": line, "blocks": blocks}],
    })
}

fn line_header(alert: &Alert) -> String {
    format!("{}: {}", facts::headline(alert), facts::rule_words(&alert.rule))
}

fn plain(text: &str, chars_max: usize) -> Value {
    let text = escape::slack(text, chars_max);
    // Slack refuses an empty text, and one refused block is a refused alert.
    json!({"type": "plain_text", "emoji": false, "text": if text.trim().is_empty() { "–" } else { &text }})
}

/// Markdown of our own making; `verbatim` stops Slack from turning bare addresses and names into links.
fn markdown(text: &str) -> Value {
    json!({"type": "mrkdwn", "verbatim": true, "text": text})
}

fn field(name: &str, value: &str) -> Value {
    let value = escape::slack_code(value, FIELD_CHARS_MAX / 2);
    markdown(&format!("*{}*\n`{value}`", escape::slack_code(name, 100).replace(['*', '_', '~'], " ")))
}

/// The lines in one code block, each cut so that all of them fit; what does not fit is said.
fn evidence(alert: &Alert) -> String {
    let room = SECTION_CHARS_MAX - 100;
    let each = (room / alert.evidence.len().max(1)).clamp(60, 700);
    let mut text = String::from("```");
    let mut chars = 0;
    for (index, it) in alert.evidence.iter().enumerate() {
        let place = escape::slack_code(&it.source, 40);
        let line = format!("{place}:{} {}\n", it.line, escape::slack_code(&it.text, each - 20));
        let len = line.chars().count();
        if chars + len > room {
            text.push_str(&format!("… and {} more\n", alert.evidence.len() - index));
            break;
        }
        text.push_str(&line);
        chars += len;
    }
    text.push_str("```");
    text
}

fn context(alert: &Alert) -> String {
    let mut parts = vec![format!("rule `{}`", escape::slack_code(&alert.rule.id, 100))];
    if !alert.rule.tags.is_empty() {
        parts.push(format!("tags `{}`", escape::slack_code(&alert.rule.tags.join(" "), 500)));
    }
    parts.extend(facts::techniques(alert).iter().take(10).map(|(id, page)| format!("<{page}|ATT&amp;CK {id}>")));
    parts.push(format!("alert `{}`", escape::slack_code(&alert.id, 64)));
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::sample;
    use crate::model::Evidence;

    /// Every text object of a message, as (kind, text).
    fn texts(value: &Value, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) => {
                if let (Some(kind), Some(text)) = (map.get("type").and_then(Value::as_str), map.get("text"))
                    && let Some(text) = text.as_str()
                {
                    found.push((kind.into(), text.into()));
                }
                map.values().for_each(|it| texts(it, found));
            }
            Value::Array(all) => all.iter().for_each(|it| texts(it, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn check_limits(alert: &Alert) -> Value {
        let message = compose(alert);
        let blocks = message["attachments"][0]["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        for block in blocks {
            let max = if block["type"] == "header" { 150 } else { 3000 };
            if let Some(text) = block["text"]["text"].as_str() {
                assert!((1..=max).contains(&text.chars().count()), "{block}");
            }
            for field in block["fields"].as_array().into_iter().flatten() {
                assert!((1..=2000).contains(&field["text"].as_str().unwrap().chars().count()));
            }
            assert!(block["fields"].as_array().is_none_or(|it| (1..=10).contains(&it.len())));
        }
        message
    }

    #[test]
    fn a_message_says_what_happened() {
        let plain = |text: &str| json!({"type": "plain_text", "emoji": false, "text": text});
        let marked = |text: &str| json!({"type": "mrkdwn", "verbatim": true, "text": text});
        let expected = json!({
            "text": "HIGH · Repeated login failures",
            "mrkdwn": false,
            "unfurl_links": false,
            "unfurl_media": false,
            "link_names": false,
            "attachments": [{
                "color": "#dc2626",
                "fallback": "HIGH · Repeated login failures",
                "blocks": [
                    {"type": "header", "text": plain("HIGH: Repeated login failures")},
                    {"type": "section", "text": plain("5 failed logins for ann@example.com in 21s")},
                    {"type": "section", "fields": [
                        marked("*user.name*\n`ann@example.com`"),
                        marked("*at least*\n`5`"),
                        marked("*within*\n`10m`"),
                        marked("*seen*\n`5`"),
                        marked("*opened*\n`2025-04-12T08:03:21Z`"),
                        marked("*last seen*\n`2025-04-12T08:03:40.500Z`"),
                    ]},
                    {"type": "section", "text": plain(
                        "Somebody guesses passwords. See whether a login succeeded afterwards."
                    )},
                    {"type": "section", "text": marked(
                        "```stdin:17 2025-04-12 08:03:00 | 103.44.55.21 | ann@example.com | Brazil | Login failure\n\
                         stdin:29 2025-04-12 08:03:21 | 103.44.55.21 | ann@example.com | Brazil | Login failure\n```"
                    )},
                    {"type": "context", "elements": [marked(
                        "rule `repeated-login-failures` · tags `brute-force attack.t1110` · \
                         <https://attack.mitre.org/techniques/T1110/|ATT&amp;CK T1110> · \
                         alert `0123456789abcdef0123456789abcdef`"
                    )]},
                ],
            }],
        });
        assert_eq!(check_limits(&sample::alert()), expected);
    }

    #[test]
    fn resolved_is_short_and_green() {
        let message = check_limits(&sample::resolved());
        assert_eq!(message["text"], "RESOLVED · Repeated login failures");
        assert_eq!(message["attachments"][0]["color"], "#15803d");
        let shown = message.to_string();
        assert!(shown.contains("2025-04-12T08:13:40.500Z") && !shown.contains("```"), "{shown}");
    }

    #[test]
    fn hostile_names_stay_text() {
        let message = check_limits(&sample::hostile());
        let mut all = Vec::new();
        texts(&message, &mut all);
        all.push(("plain_text".into(), message["text"].as_str().unwrap().into()));
        for (kind, text) in all {
            let ours = text.replace("<https://attack.mitre.org/techniques/T1110/|ATT&amp;CK T1110>", "");
            assert!(!ours.contains(['<', '>']), "{text}");
            assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{200b}', '\r', '\u{2028}', '\u{9b}']), "{text:?}");
            if kind == "mrkdwn" {
                // Outside of code, markup is ours: a label between two stars, and nothing else.
                let outside: String = ours.replace("```", "`").split('`').step_by(2).collect();
                let stars = outside.matches('*').count();
                assert!(
                    stars == 0 || (stars == 2 && outside.starts_with('*') && outside.ends_with("*\n")),
                    "{outside}"
                );
                assert!(!outside.contains(['_', '~']), "{outside}");
                assert_eq!(ours.replace("```", "`").matches('`').count() % 2, 0, "{text}");
            }
        }
    }

    #[test]
    fn the_longest_alert_fits() {
        let mut alert = sample::hostile();
        let long = "<&>`".repeat(3000);
        alert.summary = long.clone();
        alert.rule.id = long.clone();
        alert.rule.tags = vec![long.clone(); 50];
        alert.evidence = vec![
            Evidence { source: long.clone(), text: long.clone(), ..alert.evidence[0].clone() };
            crate::limits::EVIDENCE_LINES_MAX * 5
        ];
        for index in 0..300 {
            alert.because.insert(format!("{index}{long}"), long.clone().into());
        }
        check_limits(&alert);
    }
}
