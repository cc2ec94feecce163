//! Event times as records write them.

use chrono::format::{Item, Parsed, StrftimeItems};

use super::Arrival;
use crate::model::{Minute, Timestamp, Zone};

/// Reads ISO forms, epochs in s, ms, µs and ns, and syslog stamps (`Apr 12 08:02:55`, with a year or without).
#[inline]
pub(super) fn read(text: &str, arrival: Arrival, minute: &mut Minute) -> Option<Timestamp> {
    Timestamp::parse_plain(text.as_bytes(), arrival.zone, minute).or_else(|| read_any(text, arrival))
}

fn read_any(text: &str, arrival: Arrival) -> Option<Timestamp> {
    let text = super::take::trim(text);
    let bytes = text.as_bytes();
    match bytes.first()? {
        b'0'..=b'9' if bytes.get(4) == Some(&b'-') => Timestamp::parse_iso(text, arrival.zone),
        // Nine digits and more: a smaller number is a year, a day or a duration, not a time since 1970.
        b'0'..=b'9' if bytes.iter().take_while(|it| it.is_ascii_digit()).count() >= 9 => Timestamp::from_epoch(text),
        b'A'..=b'Z' => syslog(text, arrival),
        _ => None,
    }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Apr 12 08:02:55` and nothing else, which is what most lines of syslog have.
fn plain_syslog(text: &[u8], arrival: Arrival) -> Option<Timestamp> {
    let text: &[u8; 15] = text.try_into().ok()?;
    let month = MONTHS.iter().position(|it| it.as_bytes() == &text[..3])? as i64 + 1;
    let digit = |at: usize| (text[at].is_ascii_digit()).then(|| i64::from(text[at] - b'0'));
    let two = |at: usize| Some(digit(at)? * 10 + digit(at + 1)?);
    if [text[3], text[6], text[9], text[12]] != *b"  ::" {
        return None;
    }
    let day = if text[4] == b' ' { digit(5)? } else { two(4)? };
    let time = (two(7)?, two(10)?, two(13)?);
    latest(arrival.received, &|year| Timestamp::from_civil((year, month, day), time, arrival.zone))
}

/// `Apr 12 08:02:55`, `Apr  2 2025 08:02:55.123 CEST`, `Apr 12 08:02:55 2025`, `Sat Apr 12 08:02:55 UTC 2025`.
fn syslog(text: &str, arrival: Arrival) -> Option<Timestamp> {
    if let Some(stamp) = plain_syslog(text.as_bytes(), arrival) {
        return Some(stamp);
    }
    let mut words = text.split_ascii_whitespace();
    let first = words.next()?;
    // `Sat Apr 12 …` begins with the day of the week.
    let find = |it: &str| MONTHS.iter().position(|name| *name == it);
    let month = match find(first) {
        Some(month) => month,
        None => find(words.next()?)?,
    } as i64
        + 1;
    let day: i64 = words.next()?.parse().ok()?;
    let mut word = words.next()?;
    let (mut year, mut zone) = (None, arrival.zone);
    if !word.contains(':') {
        year = Some(word.parse().ok()?);
        word = words.next()?;
        // A name that we do not know may mean several zones: what the source says of its stamps is the better guess.
        zone = words.next().and_then(named_zone).unwrap_or(zone);
    } else if let Some(next) = words.next() {
        match named_zone(next) {
            Some(it) => {
                zone = it;
                if let Some(last) = words.next() {
                    year = Some(last.parse().ok()?);
                }
            }
            None => year = Some(next.parse().ok()?),
        }
    }
    let (clock, fraction) = word.split_once('.').unwrap_or((word, ""));
    let mut parts = clock.split(':').map(|it| it.parse::<i64>().ok());
    let time = (parts.next()??, parts.next()??, parts.next()??);
    let micros = micros(fraction)?;
    let at = |year: i64| Timestamp::from_civil((year, month, day), time, zone);
    let whole = match year {
        Some(year) => at(year),
        None => latest(arrival.received, &at),
    }?;
    Some(Timestamp::from_micros(whole.micros() + micros))
}

/// `+0200`, `UTC`, `GMT+02:00`, and the names of the standards of mail and of Europe. Not `IST` or `BST`, which are several.
fn named_zone(text: &str) -> Option<Zone> {
    const NAMES: [(&str, i32); 18] = [
        ("Z", 0),
        ("UTC", 0),
        ("GMT", 0),
        ("EST", -5),
        ("EDT", -4),
        ("CST", -6),
        ("CDT", -5),
        ("MST", -7),
        ("MDT", -6),
        ("PST", -8),
        ("PDT", -7),
        ("WET", 0),
        ("WEST", 1),
        ("CET", 1),
        ("CEST", 2),
        ("EET", 2),
        ("EEST", 3),
        ("MSK", 3),
    ];
    if let Some((_, hours)) = NAMES.iter().find(|(name, _)| *name == text) {
        return Some(Zone::Fixed(hours * 3600));
    }
    let offset = text.strip_prefix("GMT").or_else(|| text.strip_prefix("UTC")).unwrap_or(text);
    offset.starts_with(['+', '-']).then(|| Zone::parse(offset))?
}

/// The digits behind a decimal point, to the microsecond.
fn micros(fraction: &str) -> Option<i64> {
    let digit = |it: &u8| it.is_ascii_digit().then(|| i64::from(it - b'0'));
    let first = fraction.as_bytes().get(..6).unwrap_or(fraction.as_bytes());
    let number = first.iter().try_fold(0, |sum, it| Some(sum * 10 + digit(it)?))?;
    Some((first.len()..6).fold(number, |it, _| it * 10))
}

/// The time in the last year that does not put it more than a week after `received`: logs tell what has happened, so April
/// read in November is this year's, and both sides of New Year are right. 29 February is taken in a year that has one.
fn latest(received: Timestamp, at: &dyn Fn(i64) -> Option<Timestamp>) -> Option<Timestamp> {
    let (year, last) = (received.civil().0, received.micros() + WEEK_MICROS);
    let is_past = |it: &Timestamp| it.micros() <= last;
    match at(year).filter(is_past) {
        // The year after would be too late: what nearly every line of a live log is.
        Some(this) if last - this.micros() < 51 * WEEK_MICROS => Some(this),
        Some(_) | None => (year - 8..=year + 1).rev().filter_map(at).find(is_past),
    }
}

/// A clock that is wrong by days is still read in its own year.
const WEEK_MICROS: i64 = 7 * 86_400 * 1_000_000;

/// A chrono format, parsed.
pub(super) struct Format(Vec<Item<'static>>);

impl Format {
    pub(super) fn compile(text: &str) -> Result<Format, String> {
        StrftimeItems::new(text).parse_to_owned().map(Format).map_err(|_| format!("`{text}` is no time format"))
    }

    /// Reads a time; a format without a year takes the latest, one without offset the arrival's zone.
    pub(super) fn read(&self, text: &str, arrival: Arrival) -> Option<Timestamp> {
        let mut parsed = Parsed::new();
        chrono::format::parse(&mut parsed, text.trim(), self.0.iter()).ok()?;
        if let Some(seconds) = parsed.timestamp() {
            return Some(Timestamp::from_micros(seconds.checked_mul(1_000_000)?));
        }
        let has_year = parsed.year().is_some() || parsed.year_mod_100().is_some() || parsed.isoyear().is_some();
        if has_year {
            return in_year(parsed, arrival);
        }
        latest(arrival.received, &|year| {
            let mut parsed = parsed.clone();
            parsed.set_year(year).ok()?;
            in_year(parsed, arrival)
        })
    }
}

fn in_year(parsed: Parsed, arrival: Arrival) -> Option<Timestamp> {
    use chrono::{Datelike, Timelike};
    let date = parsed.to_naive_date().ok()?;
    let time = parsed.to_naive_time().ok()?;
    let (zone, offset_seconds) = match parsed.offset() {
        Some(seconds) => (crate::model::Zone::UTC, seconds),
        None => (arrival.zone, 0),
    };
    let date = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
    let clock = (i64::from(time.hour()), i64::from(time.minute()), i64::from(time.second()));
    let whole = Timestamp::from_civil(date, clock, zone)?;
    let micros = i64::from(time.nanosecond() / 1000) - i64::from(offset_seconds) * 1_000_000;
    Some(Timestamp::from_micros(whole.micros() + micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(received: &str, text: &str, format: Option<&str>, expected: &str) {
        let arrival = Arrival { zone: Zone::UTC, received: Timestamp::parse_iso(received, Zone::UTC).unwrap() };
        let found = match format {
            Some(format) => Format::compile(format).unwrap().read(text, arrival),
            None => read(text, arrival, &mut Minute::default()),
        };
        assert_eq!(found.map_or("none".into(), |it| it.to_string()), expected, "{text}");
    }

    #[test]
    fn stamps_without_a_year_take_the_latest_that_has_been() {
        check("2025-04-12 08:03:00", "Apr 12 08:02:55", None, "2025-04-12T08:02:55Z");
        check("2025-01-01 00:00:05", "Dec 31 23:59:59", None, "2024-12-31T23:59:59Z");
        check("2024-12-31 23:59:58", "Jan  1 00:00:01", None, "2025-01-01T00:00:01Z");
        check("2025-03-01 00:00:05", "Feb 29 23:59:59", None, "2024-02-29T23:59:59Z");
        check("2025-11-30 00:00:00", "Apr 12 08:02:55", None, "2025-04-12T08:02:55Z");
        check("2025-04-12 08:03:00", "Apr 14 08:02:55", None, "2025-04-14T08:02:55Z");
        check("2025-04-12 08:03:00", "Jun 14 08:02:55", None, "2024-06-14T08:02:55Z");
        check("2025-04-12 08:03:00", "Apr 12 2021 08:02:55.25", None, "2021-04-12T08:02:55.250Z");
        check("2025-04-12 08:03:00", "Sat Apr 12 08:02:55 2025", None, "2025-04-12T08:02:55Z");
        check("2025-04-12 08:03:00", "Sat Apr 12 08:02:55 UTC 2025", None, "2025-04-12T08:02:55Z");
        check("2025-04-12 08:03:00", "Sat Apr 12 10:02:55 CEST 2025", None, "2025-04-12T08:02:55Z");
        check("2025-04-12 08:03:00", "Apr 12 03:02:55 -0500", None, "2025-04-12T08:02:55Z");
        check("2025-04-12 08:03:00", "Apr 12 2025 10:02:55.5 GMT+02:00", None, "2025-04-12T08:02:55.500Z");
        check("2025-04-12 08:03:00", "Apr 12 2025 04:02:55 EDT", None, "2025-04-12T08:02:55Z");
        check("2025-04-12 08:03:00", "Apr 12 2025 08:02:55 +0000", None, "2025-04-12T08:02:55Z");
        // One of several, so none.
        check("2025-04-12 08:03:00", "Apr 12 2025 08:02:55 IST", None, "2025-04-12T08:02:55Z");
        check("2025-04-12 08:03:00", "Apr 12 08:02:55 UTC soon", None, "none");
        check("2025-01-01 00:00:05", "31/Dec 23:59:59", Some("%d/%b %H:%M:%S"), "2024-12-31T23:59:59Z");
    }

    #[test]
    fn other_forms() {
        let now = "2025-04-12 08:03:00";
        check(now, "1744444975", None, "2025-04-12T08:02:55Z");
        check(now, "1744444975123", None, "2025-04-12T08:02:55.123Z");
        check(now, "1744444975.5", None, "2025-04-12T08:02:55.500Z");
        check(now, "2025", None, "none");
        check(now, "", None, "none");
        check(now, "Abc 99 é", None, "none");
        check(now, "Apr 12 08:02", None, "none");
        check(now, "Apr 31 08:02:55", None, "none");
        check(now, "12/Apr/2025:08:02:55 +0200", Some("%d/%b/%Y:%H:%M:%S %z"), "2025-04-12T06:02:55Z");
        check(now, "nonsense", Some("%d/%b/%Y:%H:%M:%S %z"), "none");
        assert!(Format::compile("%Q").is_err());
    }
}
