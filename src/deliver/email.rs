//! A mail, as text and as simple HTML.
//!
//! Headers are the dangerous part: lettre would put CR LF into an encoded word rather than refuse it, so what goes there is
//! made of the rule's words and the entity with every control already visible. An alert is one thread: its first mail has
//! an id made from the alert's, and the mail that says it is over refers to it. Both bear the same subject but for `Re:`,
//! because some readers thread by subject. The ids are the same on every try, so a server that took the mail and dropped
//! the line shows it once.

use std::time::{Duration, SystemTime};

use lettre::message::header::{self, HeaderName, HeaderValue};
use lettre::message::{MultiPart, SinglePart};

use super::config::Email;
use super::escape;
use super::facts;
use crate::model::{Alert, Severity, State, Timestamp};

const SUBJECT_CHARS_MAX: usize = 160;

/// The mail as RFC 5322 text. `now` becomes its date.
pub fn compose(alert: &Alert, email: &Email, now: Timestamp) -> Vec<u8> {
    let first = message_id(alert, State::Firing, email);
    let date = SystemTime::UNIX_EPOCH + Duration::from_micros(now.micros().clamp(0, 250_000_000_000_000_000) as u64);
    let mut mail = lettre::Message::builder()
        .from(email.from.clone())
        .date(date)
        .message_id(Some(message_id(alert, alert.state, email)))
        .subject(subject(alert))
        .raw_header(plain_header("Auto-Submitted", "auto-generated"))
        .raw_header(plain_header("X-Tripline-Alert", &super::key(alert)));
    for to in &email.to {
        mail = mail.to(to.clone());
    }
    match alert.state {
        State::Firing if alert.rule.severity >= Severity::High => {
            mail = mail.raw_header(plain_header("Importance", "high"));
        }
        State::Firing => {}
        State::Resolved => mail = mail.in_reply_to(first.clone()).references(first),
    }
    let (text, html) = (text(alert), html(alert));
    let parts = MultiPart::alternative()
        .boundary(boundary(alert, &text, &html))
        .singlepart(SinglePart::builder().header(header::ContentType::TEXT_PLAIN).body(text))
        .singlepart(SinglePart::builder().header(header::ContentType::TEXT_HTML).body(html));
    mail.multipart(parts).expect("sender and recipients are given, and the configuration has one at least").formatted()
}

fn message_id(alert: &Alert, state: State, email: &Email) -> String {
    format!("<{}.{}@{}>", escape::token(&alert.id), state.name(), email.from.email.domain())
}

fn plain_header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.into())
}

/// Not the summary, whose numbers differ between the two mails of a thread.
fn subject(alert: &Alert) -> String {
    let re = match alert.state {
        State::Firing => "",
        State::Resolved => "Re: ",
    };
    let severity = alert.rule.severity.name();
    let subject = format!("{re}[{severity}] {}", facts::rule_words(&alert.rule));
    let entity = alert.entity_text();
    let subject = if entity.is_empty() { subject } else { format!("{subject}: {entity}") };
    escape::header(&subject, SUBJECT_CHARS_MAX)
}

/// What separates the parts. A stranger who could guess it would write parts of his own, so we count on until no text
/// holds it; encoding for transport never makes it appear where it was not.
fn boundary(alert: &Alert, text: &str, html: &str) -> String {
    let id: String = escape::token(&alert.id).chars().take(40).collect();
    (0u64..)
        .map(|number| format!("tripline-{id}-{number}"))
        .find(|it| !text.contains(it.as_str()) && !html.contains(it.as_str()))
        .expect("a text of finite length cannot hold every number")
}

fn facts_of(alert: &Alert) -> Vec<(String, String)> {
    let mut facts = vec![("rule".to_string(), alert.rule.id.clone())];
    facts.extend(facts::entity(alert));
    facts.extend(facts::numbers(alert));
    facts.extend(facts::times(alert));
    if !alert.rule.tags.is_empty() {
        facts.push(("tags".into(), alert.rule.tags.join(", ")));
    }
    facts
}

fn text(alert: &Alert) -> String {
    let mut out = format!("{}: {}\r\n\r\n", facts::headline(alert), escape::terminal(&alert.summary));
    if !alert.rule.about.is_empty() {
        out.push_str(&format!("{}\r\n\r\n", escape::terminal(&alert.rule.about)));
    }
    for (name, value) in facts_of(alert) {
        out.push_str(&format!("{:<12} {}\r\n", escape::terminal(&name), escape::terminal(&value)));
    }
    for (id, page) in facts::techniques(alert) {
        out.push_str(&format!("{:<12} {id} {page}\r\n", "ATT&CK"));
    }
    if !alert.evidence.is_empty() {
        out.push_str("\r\nEvidence, as logged:\r\n");
        for it in &alert.evidence {
            let place = escape::terminal(&it.source);
            out.push_str(&format!("  {place}:{}\r\n    {}\r\n", it.line, escape::terminal(&it.text)));
        }
    }
    out.push_str(&format!("\r\nalert {} from Tripline\r\n", escape::token(&alert.id)));
    out
}

fn html(alert: &Alert) -> String {
    const FONT: &str = "font-family:-apple-system,'Segoe UI',Helvetica,Arial,sans-serif";
    let color = facts::color(alert);
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        rows.push_str(&format!(
            "<tr><td style=\"padding:3px 16px 3px 0;color:#64748b;white-space:nowrap;vertical-align:top\">{name}</td>\r\n\
             <td style=\"padding:3px 0;word-break:break-word\">{value}</td></tr>\r\n"
        ));
    };
    for (name, value) in facts_of(alert) {
        row(&escape::html(&name), &escape::html(&value));
    }
    for (id, page) in facts::techniques(alert) {
        row("ATT&amp;CK", &format!("<a href=\"{page}\" style=\"color:#2563eb\">{id}</a>"));
    }
    let about = match alert.rule.about.as_str() {
        "" => String::new(),
        about => format!("<p style=\"margin:0 0 14px;line-height:1.5\">{}</p>\r\n", escape::html(about)),
    };
    let mut evidence = String::new();
    if !alert.evidence.is_empty() {
        evidence.push_str("<p style=\"margin:16px 0 6px;color:#64748b\">Evidence, as logged</p>\r\n");
        for it in &alert.evidence {
            evidence.push_str(&format!(
                "<pre style=\"margin:0 0 4px;padding:8px 10px;background:#f1f5f9;border-radius:4px;font-size:12px;\
                 white-space:pre-wrap;word-break:break-all\">{}:{}\r\n{}</pre>\r\n",
                escape::html(&it.source),
                it.line,
                escape::html(&it.text)
            ));
        }
    }
    format!(
        "<!doctype html>\r\n<html><body style=\"margin:0;padding:16px;background:#ffffff;color:#0f172a;{FONT};font-size:14px\">\r\n\
         <div style=\"max-width:640px;border:1px solid #e2e8f0;border-top:4px solid {color};border-radius:6px;padding:16px 20px\">\r\n\
         <p style=\"margin:0 0 6px;color:{color};font-weight:700;letter-spacing:.04em\">{headline}</p>\r\n\
         <p style=\"margin:0 0 14px;font-size:17px;font-weight:600\">{summary}</p>\r\n{about}\
         <table style=\"border-collapse:collapse;font-size:14px\">\r\n{rows}</table>\r\n{evidence}\
         <p style=\"margin:14px 0 0;color:#94a3b8;font-size:12px\">alert {id} from Tripline</p>\r\n\
         </div></body></html>\r\n",
        headline = facts::headline(alert),
        summary = escape::html(&alert.summary),
        id = escape::token(&alert.id),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::config::{Door, Tls};
    use crate::deliver::sample;
    use crate::model::Zone;

    fn email() -> Email {
        Email {
            host: "localhost".into(),
            port: 25,
            from: "Tripline <tripline@example.com>".parse().unwrap(),
            to: vec!["soc@example.com".parse().unwrap(), "ann@example.com".parse().unwrap()],
            tls: Tls::None,
            login: None,
            door: Door::default(),
        }
    }

    fn mail(alert: &Alert) -> (String, String) {
        let now = Timestamp::parse_iso("2025-04-12T08:04:00Z", Zone::UTC).unwrap();
        let mail = String::from_utf8(compose(alert, &email(), now)).unwrap();
        let (head, body) = mail.split_once("\r\n\r\n").unwrap();
        (head.to_string(), body.to_string())
    }

    #[test]
    fn the_headers_of_a_thread() {
        let (head, body) = mail(&sample::alert());
        let expected = "\
From: Tripline <tripline@example.com>\r
Date: Sat, 12 Apr 2025 08:04:00 +0000\r
Message-ID: <0123456789abcdef0123456789abcdef.firing@example.com>\r
Subject: [high] Repeated login failures: ann@example.com\r
Auto-Submitted: auto-generated\r
X-Tripline-Alert: 0123456789abcdef0123456789abcdef-firing\r
To: soc@example.com, ann@example.com\r
Importance: high\r
MIME-Version: 1.0\r
Content-Type: multipart/alternative;\r
 boundary=\"tripline-0123456789abcdef0123456789abcdef-0\"";
        assert_eq!(head, expected);
        assert!(body.contains("HIGH: 5 failed logins for ann@example.com in 21s"), "{body}");
        assert!(body.contains("within       10m"), "{body}");
        for part in [text(&sample::alert()), html(&sample::alert())] {
            assert!(part.contains("See whether a login succeeded afterwards."), "{part}");
        }

        let (head, body) = mail(&sample::resolved());
        assert!(!body.contains("See whether"), "who hears that it is over has been told: {body}");
        for line in [
            "Message-ID: <0123456789abcdef0123456789abcdef.resolved@example.com>",
            "In-Reply-To: <0123456789abcdef0123456789abcdef.firing@example.com>",
            "References: <0123456789abcdef0123456789abcdef.firing@example.com>",
            "Subject: Re: [high] Repeated login failures: ann@example.com",
        ] {
            assert!(head.contains(line), "{line} in {head}");
        }
    }

    #[test]
    fn a_mail_is_the_same_each_time() {
        assert_eq!(mail(&sample::hostile()), mail(&sample::hostile()));
    }

    #[test]
    fn hostile_names_reach_no_header_and_no_markup() {
        let alert = sample::hostile();
        let (head, body) = mail(&alert);
        for line in format!("{head}\r\n\r\n{body}").split("\r\n") {
            assert!(!line.to_ascii_lowercase().starts_with("bcc:"), "{line}");
            assert!(!line.contains(['\r', '\n']) && line.len() <= 998, "{line}");
        }
        assert!((head + &body).is_ascii());
        // An encoded word must not hide what the raw text shows.
        assert!(!subject(&alert).chars().any(crate::model::text::is_hostile));
        let html = html(&alert);
        for tag in ["<script", "<img", "javascript:", "<https"] {
            assert!(!html.contains(tag), "{tag} in {html}");
        }
        assert!(html.contains("&lt;script&gt;"));
        assert!(text(&alert).contains("\\u{d}\\u{a}Bcc: eve"));
    }

    #[test]
    fn nobody_writes_parts_of_his_own() {
        let mut alert = sample::alert();
        let guess = format!("--tripline-{}-0", alert.id);
        alert.evidence[0].text = format!("{} {guess}", "x".repeat(60));
        let (head, body) = mail(&alert);
        assert!(head.contains(&format!("tripline-{}-1\"", alert.id)), "{head}");
        assert_eq!(body.matches(&format!("--tripline-{}-1\r\n", alert.id)).count(), 2);
    }
}
