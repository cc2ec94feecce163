//! Notes to people: one file a notifier; courier, transport.
//!
//! An alert and a receiver make a [`Note`]: a key that never changes and a body that is made once. The
//! [courier] carries it until the receiver has it or it is certain that it never will, and hands back a
//! [`Receipt`](courier::Receipt) either way. Every connection is opened in [`transport`], behind the [`guard`]; a test
//! from the command line goes the same way as the real thing, so it cannot reach what the real thing may not.

pub mod config;
pub mod escape;
mod facts;
pub mod slack;
pub mod email;
pub mod webhook;
pub mod terminal;
pub mod file;
pub(crate) mod sample;
mod digest;
pub mod tempo;
pub mod outcome;
pub mod guard;
mod smtp;
pub mod transport;
pub mod courier;
#[cfg(test)]
pub(crate) mod test_server;

use std::sync::Arc;

use crate::model::{Alert, Severity, Span, Timestamp};
use config::{Channel, Receiver};
use outcome::Outcome;
use terminal::Look;
use transport::{Progress, Transport};

/// What the reference says about one notifier.
pub struct Notifier {
    /// As it is written in `receivers`.
    pub name: &'static str,
    pub about: &'static str,
    pub example: &'static str,
}

/// Every notifier. To add one: a file, an entry here, and what the compiler then asks for.
pub static NOTIFIERS: [Notifier; 5] = [
    Notifier {
        name: "Webhook",
        about: "The alert as JSON by HTTP POST, signed after Standard Webhooks.",
        example: r#"Webhook(url: "https://hooks.example.com/tripline", secret: FileSecret("/etc/tripline/hook.key"), headers: {"X-Team": "soc"}, allow_destinations: ["10.0.0.0/8"])"#,
    },
    Notifier {
        name: "Slack",
        about: "A message by incoming webhook.",
        example: r#"Slack(url: Env("SLACK_URL"), allow_destinations: [])"#,
    },
    Notifier {
        name: "Email",
        about: "A mail by SMTP, as text and HTML, one thread an alert.",
        example: r#"Email(smtp: "smtp://mail.example.com:587", from: "tripline@example.com", to: ["soc@example.com"], tls: StartTls, user: "tripline", password: Env("SMTP_PASSWORD"))"#,
    },
    Notifier { name: "Stdout", about: "Text on a terminal, one JSON object a line in a pipe.", example: "Stdout()" },
    Notifier {
        name: "JsonFile",
        about: "One JSON object a line, appended to a file that only its owner can read.",
        example: r#"JsonFile(path: "alerts.ndjson")"#,
    },
];

/// What a message may depend on besides the alert and the receiver.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub now: Timestamp,
    pub look: Look,
}

/// One alert in one state for one receiver.
#[derive(Clone, Debug)]
pub struct Note {
    /// The same on every try, after a restart too, so that the receiver can drop what it has.
    pub key: String,
    /// Notes of one lane arrive in order: the alert's id.
    pub lane: String,
    pub severity: Severity,
    /// Made once: every try sends the same bytes. Empty: made for the first try, for of many alerts at once few are told one by one.
    pub body: Arc<[u8]>,
    /// For the dead-letter file, and for a smaller body where the receiver refuses this one.
    pub alert: Arc<Alert>,
    /// How long it has already been tried, in an earlier life of the process.
    pub waited: Span,
}

impl Note {
    pub fn new(receiver: &Receiver, alert: Arc<Alert>, moment: Moment) -> Note {
        Note {
            key: key(&alert),
            lane: alert.id.clone(),
            severity: alert.rule.severity,
            body: compose(&receiver.channel, &alert, moment).into(),
            waited: Span::ZERO,
            alert,
        }
    }
}

/// The idempotency key: the alert and its state.
pub fn key(alert: &Alert) -> String {
    format!("{}-{}", escape::token(&alert.id), alert.state.name())
}

/// The message, as it is sent.
pub fn compose(channel: &Channel, alert: &Alert, moment: Moment) -> Vec<u8> {
    match channel {
        Channel::Webhook(_) => webhook::compose(alert).into_bytes(),
        Channel::Slack(_) => escape::json(&slack::compose(alert)).into_bytes(),
        Channel::Email(email) => email::compose(alert, email, moment.now),
        Channel::Stdout => terminal::compose(alert, moment.look).into_bytes(),
        Channel::JsonFile(_) => file::compose(alert).into_bytes(),
    }
}

/// Sends one marked test alert, once, the way every alert goes; the error says why it did not arrive.
pub async fn notify_test(transport: &Transport, moment: Moment) -> Result<(), String> {
    let alert = sample::test_alert(moment.now);
    let body = compose(&transport.receiver().channel, &alert, moment);
    let mut progress = Progress::default();
    let why = match transport.carry(&key(&alert), &body, &mut progress).await {
        Outcome::Delivered => match progress.remark {
            None => return Ok(()),
            Some(why) => why,
        },
        Outcome::Retry { why, .. } | Outcome::Gone { why } | Outcome::Refused { why } | Outcome::Final { why } => why,
    };
    Err(format!("receiver `{}`: {why}", transport.receiver().name))
}

/// The exact message for an alert read as JSON, for a person to look at: headers and body of a request, the whole of a
/// mail, the line of a file. Secrets show as `***`. Several alerts, one after the other as `replay` writes them, give
/// several messages.
pub fn notify_render(receiver: &Receiver, alerts_json: &str, moment: Moment) -> Result<String, String> {
    let alerts = serde_json::Deserializer::from_str(alerts_json).into_iter::<Alert>();
    let alerts = alerts.collect::<Result<Vec<_>, _>>().map_err(|error| format!("this is no alert: {error}"))?;
    if alerts.is_empty() {
        return Err("this is no alert: there is nothing in it".into());
    }
    let messages: Vec<String> = alerts.iter().map(|it| shown(receiver, it, moment)).collect();
    Ok(messages.join("\n"))
}

fn shown(receiver: &Receiver, alert: &Alert, moment: Moment) -> String {
    let body = compose(&receiver.channel, alert, moment);
    let mut out = String::new();
    if let Some(headers) = transport::shown_headers(&receiver.channel, &key(alert), &body, moment.now) {
        out.push_str(&headers);
        out.push_str("\r\n");
    }
    out.push_str(&String::from_utf8_lossy(&body));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Outside, Settings};

    fn receivers() -> Vec<Receiver> {
        let entries: Vec<String> = NOTIFIERS.iter().map(|it| format!("{:?}: {}", it.name, it.example)).collect();
        let settings: Settings = ron::from_str(&format!("{{{}}}", entries.join(", "))).unwrap();
        let outside = Outside {
            env: &|_| Some("https://hooks.slack.com/services/T0/B0/hunter2".into()),
            file: &|_| Ok(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec()),
        };
        config::resolve(&settings, &outside).unwrap()
    }

    #[test]
    fn every_notifier_s_example_loads_and_renders() {
        let moment = Moment { now: Timestamp::from_micros(1_700_000_000_000_000), look: Look::Plain };
        for alert in [sample::alert(), sample::resolved(), sample::hostile(), sample::test_alert(moment.now)] {
            let json = serde_json::to_string(&alert).unwrap();
            for (receiver, notifier) in receivers().iter().zip(&NOTIFIERS) {
                assert!(notifier.example.starts_with(notifier.name));
                let text = notify_render(receiver, &json, moment).unwrap();
                assert!(!text.contains("hunter2") && !text.contains("MfKQ"), "{text}");
                assert!(!text.contains("\r\nBcc:") && !text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
            }
        }
        for bad in ["", "{}", "[]", "hello"] {
            assert!(notify_render(&receivers()[0], bad, moment).unwrap_err().starts_with("this is no alert"), "{bad}");
        }
        let two = terminal::line(&sample::alert()) + &terminal::line(&sample::resolved());
        let text = notify_render(&receivers()[0], &two, moment).unwrap();
        assert_eq!(text.matches("webhook-id: 0123456789abcdef0123456789abcdef-").count(), 2);
    }

    #[test]
    fn a_rendered_request_is_whole() {
        let moment = Moment { now: Timestamp::from_micros(1_700_000_000_000_000), look: Look::Plain };
        let json = serde_json::to_string(&sample::alert()).unwrap();
        let text = notify_render(&receivers()[0], &json, moment).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let head: Vec<&str> = head.lines().collect();
        assert_eq!(head[0], "POST ***");
        for line in [
            "content-type: application/json",
            concat!("user-agent: tripline/", env!("CARGO_PKG_VERSION")),
            "webhook-id: 0123456789abcdef0123456789abcdef-firing",
            "webhook-timestamp: 1700000000",
            "x-team: ***",
        ] {
            assert!(head.contains(&line), "{line} in {head:?}");
        }
        assert_eq!(serde_json::from_str::<Alert>(body).unwrap(), sample::alert());
    }
}
