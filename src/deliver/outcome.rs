//! What a receiver's answer means for the note.
//!
//! The answer comes from a stranger too. It may ask us to come back in a year, or say "gone" to switch us off; so it is
//! obeyed within limits, and nothing but a 2xx ends the work.

use chrono::{DateTime, NaiveDateTime};

use crate::model::{Span, Timestamp};

/// The longest `Retry-After` we obey.
pub const RETRY_AFTER_MAX: Span = Span::from_secs(3600);
/// How long to wait where the receiver says it does not know or want us: a person has to act first.
pub const SLOW: Span = Span::from_secs(300);

/// What happened to one try.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    Delivered,
    /// The receiver cannot now. `after`: not before that.
    Retry {
        after: Option<Span>,
        why: String,
    },
    /// The receiver says that it is no more. Whoever answers in its place may say so, too: it is believed when it stays so.
    Gone {
        why: String,
    },
    /// The receiver is well and does not like this message. Perhaps it likes it with less in it.
    Refused {
        why: String,
    },
    /// It will never take it; trying again would only annoy.
    Final {
        why: String,
    },
}

/// What came back over HTTP.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    Status {
        code: u16,
        retry_after: Option<String>,
    },
    /// No answer: timed out, refused, reset, not HTTP.
    None {
        why: String,
    },
}

/// The meaning of an HTTP answer. `now` is for a `Retry-After` that is a date.
pub fn judge(reply: &Reply, now: Timestamp) -> Outcome {
    let (code, retry_after) = match reply {
        Reply::None { why } => return Outcome::Retry { after: None, why: why.clone() },
        Reply::Status { code, retry_after } => (*code, retry_after.as_deref()),
    };
    let why = format!("answered {code}");
    match code {
        200..=299 => Outcome::Delivered,
        410 => Outcome::Gone { why },
        401 | 403 | 404 | 407 => Outcome::Retry { after: Some(SLOW), why },
        408 | 425 | 429 | 500..=599 => Outcome::Retry { after: retry_after.and_then(|it| asked_wait(it, now)), why },
        300..=399 => Outcome::Retry { after: None, why: format!("{why}, a redirect, which is never followed") },
        400..=499 => Outcome::Refused { why },
        _ => Outcome::Retry { after: None, why },
    }
}

/// Seconds or a date, at most [`RETRY_AFTER_MAX`]; None for garbage and for times past, where our own back-off decides.
fn asked_wait(text: &str, now: Timestamp) -> Option<Span> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit()) {
        let seconds = text.parse::<i64>().unwrap_or(i64::MAX).min(RETRY_AFTER_MAX.micros() / 1_000_000);
        return (seconds > 0).then(|| Span::from_secs(seconds));
    }
    let wait = http_date(text)?.since(now);
    (wait > Span::ZERO).then(|| wait.min(RETRY_AFTER_MAX))
}

/// The three forms of RFC 9110: IMF-fixdate, RFC 850 and asctime.
fn http_date(text: &str) -> Option<Timestamp> {
    if let Ok(date) = DateTime::parse_from_rfc2822(text) {
        return Some(Timestamp::from_micros(date.timestamp_micros()));
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|it| NaiveDateTime::parse_from_str(text, it).ok())
        .map(|it| Timestamp::from_micros(it.and_utc().timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Zone;

    fn check(code: u16, retry_after: &str, expected: &str) {
        let now = Timestamp::parse_iso("1994-11-06T08:49:00Z", Zone::UTC).unwrap();
        let retry_after = (!retry_after.is_empty()).then(|| retry_after.to_string());
        let found = match judge(&Reply::Status { code, retry_after: retry_after.clone() }, now) {
            Outcome::Delivered => "delivered".to_string(),
            Outcome::Retry { after: None, .. } => "retry".into(),
            Outcome::Retry { after: Some(after), .. } => format!("retry {after}"),
            Outcome::Gone { .. } => "gone".into(),
            Outcome::Refused { .. } => "refused".into(),
            Outcome::Final { .. } => "final".into(),
        };
        assert_eq!(found, expected, "{code} {retry_after:?}");
    }

    #[test]
    fn answers_and_what_they_mean() {
        for (code, expected) in [
            (200, "delivered"),
            (204, "delivered"),
            (299, "delivered"),
            (302, "retry"),
            (304, "retry"),
            (307, "retry"),
            (400, "refused"),
            (413, "refused"),
            (422, "refused"),
            (401, "retry 5m"),
            (403, "retry 5m"),
            (404, "retry 5m"),
            (410, "gone"),
            (408, "retry"),
            (429, "retry"),
            (500, "retry"),
            (503, "retry"),
            (999, "retry"),
            (101, "retry"),
        ] {
            check(code, "", expected);
        }
    }

    #[test]
    fn retry_after_is_obeyed_within_an_hour() {
        check(429, "2", "retry 2s");
        check(503, " 120 ", "retry 2m");
        check(429, "0", "retry");
        check(429, "-5", "retry");
        check(429, "86400", "retry 1h");
        check(429, "99999999999999999999999999", "retry 1h");
        check(429, "soon", "retry");
        check(429, "1.5", "retry");
        check(503, "Sun, 06 Nov 1994 08:49:37 GMT", "retry 37s");
        check(503, "Sunday, 06-Nov-94 08:49:37 GMT", "retry 37s");
        check(503, "Sun Nov  6 08:49:37 1994", "retry 37s");
        check(503, "Sun, 06 Nov 1994 08:48:37 GMT", "retry");
        check(503, "Fri, 06 Nov 2099 08:49:37 GMT", "retry 1h");
        check(200, "60", "delivered");
    }
}
