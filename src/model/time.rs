//! Points and lengths of time, in microseconds.
//!
//! Event time comes out of every line that matters, so parsing it must not cost more than reading it: one pass over the
//! bytes, no allocation. chrono would give the same answer in ten times the time; it stays at the edges (zones).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Microseconds since 1970-01-01 00:00:00 UTC. Range: years 0 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A length of time in microseconds; never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

/// A minute as stamps write it, and when it began if it is one of UTC: a memory for [`Timestamp::parse_plain`].
#[derive(Clone, Copy, Default, Debug)]
pub struct Minute {
    text: [u8; 16],
    start: i64,
}

impl Minute {
    fn read(text: &[u8; 16]) -> Option<Minute> {
        if !matches!(text[10], b'T' | b' ') || text[13] != b':' {
            return None;
        }
        let start = Timestamp::parse_iso(std::str::from_utf8(text).ok()?, Zone::UTC)?;
        Some(Minute { text: *text, start: start.0 })
    }
}

/// What a stamp without zone means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// A fixed offset east of UTC.
    Fixed(i32),
    /// An IANA zone. A local time that happens twice is taken as the earlier; one that never happens, an hour later.
    Named(chrono_tz::Tz),
}

impl Zone {
    pub const UTC: Zone = Zone::Fixed(0);

    /// Reads `UTC`, `+02:00` or an IANA name such as `Europe/Athens`.
    pub fn parse(text: &str) -> Option<Zone> {
        if text.eq_ignore_ascii_case("utc") || text == "Z" {
            return Some(Zone::UTC);
        }
        let bytes = text.as_bytes();
        if let Some((seconds, len)) = offset(bytes)
            && len == bytes.len()
        {
            return Some(Zone::Fixed(seconds));
        }
        text.parse().ok().map(Zone::Named)
    }

    /// The moment at which clocks there show that time.
    pub fn to_utc(self, local: Timestamp) -> Timestamp {
        Timestamp(self.micros_to_utc(local.0))
    }

    fn micros_to_utc(self, local_micros: i64) -> i64 {
        match self {
            Zone::Fixed(seconds) => local_micros - i64::from(seconds) * 1_000_000,
            Zone::Named(zone) => {
                use chrono::{Offset, TimeZone};
                let Some(local) = chrono::DateTime::from_timestamp_micros(local_micros).map(|it| it.naive_utc()) else {
                    return local_micros;
                };
                let offset = match zone.offset_from_local_datetime(&local) {
                    chrono::LocalResult::Single(it) | chrono::LocalResult::Ambiguous(it, _) => {
                        it.fix().local_minus_utc()
                    }
                    chrono::LocalResult::None => {
                        let before = local - chrono::Duration::hours(1);
                        match zone.offset_from_local_datetime(&before) {
                            chrono::LocalResult::Single(it) | chrono::LocalResult::Ambiguous(it, _) => {
                                it.fix().local_minus_utc()
                            }
                            chrono::LocalResult::None => 0,
                        }
                    }
                };
                local_micros - i64::from(offset) * 1_000_000
            }
        }
    }
}

impl Timestamp {
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }

    /// The time between the two, whichever is later.
    pub fn distance(self, other: Timestamp) -> Span {
        Span(self.0.saturating_sub(other.0).saturating_abs())
    }

    pub fn plus(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }

    pub fn minus(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.0))
    }

    /// Reads ISO 8601 in the forms that logs use: a `T` or a space between date and time, `.` or `,` before one to nine
    /// fraction digits, `Z`, `±hh:mm`, `±hhmm`, `±hh` or nothing (then `zone` says what it means). Second 60 is the next
    /// minute's first. None for anything else, and for dates that do not exist.
    pub fn parse_iso(text: &str, zone: Zone) -> Option<Timestamp> {
        let b = text.trim_ascii().as_bytes();
        if b.len() < 10 || b[4] != b'-' || b[7] != b'-' {
            return None;
        }
        let (year, month, day) = (digits(&b[0..4])?, digits(&b[5..7])?, digits(&b[8..10])?);
        let days = days_from_civil(year, month, day)?;
        if b.len() == 10 {
            return Some(Timestamp(zone.micros_to_utc(days * DAY)));
        }
        if !matches!(b[10], b'T' | b't' | b' ' | b'_') || b.len() < 16 || b[13] != b':' {
            return None;
        }
        let (hour, minute) = (digits(&b[11..13])?, digits(&b[14..16])?);
        let mut at = 16;
        let mut second = 0;
        if b.get(at) == Some(&b':') {
            second = digits(b.get(17..19)?)?;
            at = 19;
        }
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let mut micros = days * DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000;
        if matches!(b.get(at), Some(b'.' | b',')) {
            let (fraction, len) = fraction(&b[at + 1..])?;
            micros += fraction;
            at += 1 + len;
        }
        let rest = b[at..].trim_ascii_start();
        if rest.is_empty() {
            return Some(Timestamp(zone.micros_to_utc(micros)));
        }
        if matches!(rest, b"Z" | b"z" | b"UTC" | b"GMT") {
            return Some(Timestamp(micros));
        }
        let (seconds, len) = offset(rest)?;
        (len == rest.len()).then(|| Timestamp(micros - i64::from(seconds) * 1_000_000))
    }

    /// The same for the form that most lines have, `2025-04-12T08:02:55` with a blank for the T, a fraction or none, and a Z
    /// or nothing, where the minute is the last one's again as a rule. None: it is another form, or no time.
    #[inline]
    pub fn parse_plain(text: &[u8], zone: Zone, minute: &mut Minute) -> Option<Timestamp> {
        let (head, rest) = text.split_first_chunk::<16>()?;
        let ([colon, tens, ones], mut rest) = rest.split_first_chunk::<3>()?;
        let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
        if *colon != b':' || tens > 6 || ones > 9 || tens == 6 && ones > 0 {
            return None;
        }
        let mut micros = i64::from(tens * 10 + ones) * 1_000_000;
        if let Some((b'.', digits)) = rest.split_first() {
            let (fraction, len) = fraction(digits)?;
            micros += fraction;
            rest = &digits[len..];
        }
        let east = match (rest, zone) {
            (b"Z", _) => 0,
            (b"", Zone::Fixed(seconds)) => i64::from(seconds),
            _ => return None,
        };
        if minute.text != *head {
            *minute = Minute::read(head)?;
        }
        Some(Timestamp(minute.start + micros - east * 1_000_000))
    }

    /// A number of seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by magnitude: each unit
    /// covers the years 1973 to 5138. Fractions of a second are kept.
    pub fn from_epoch(text: &str) -> Option<Timestamp> {
        let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() || whole.len() > 19 {
            return None;
        }
        let mut number: i64 = 0;
        for byte in whole.bytes() {
            if !byte.is_ascii_digit() {
                return text.parse::<f64>().ok().filter(|it| *it >= 0.0 && *it < 1e19).and_then(from_epoch_float);
            }
            number = number.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
        }
        let per_second: i64 = match number {
            0..100_000_000_000 => 1_000_000,
            100_000_000_000..100_000_000_000_000 => 1_000,
            100_000_000_000_000..100_000_000_000_000_000 => 1,
            _ => return Some(Timestamp(number / 1_000)),
        };
        let mut micros = number.checked_mul(per_second)?;
        if !rest.is_empty() {
            let (sixths, len) = fraction(rest.as_bytes())?;
            if len != rest.len() {
                return text.parse::<f64>().ok().and_then(from_epoch_float);
            }
            micros += sixths * per_second / 1_000_000;
        }
        Some(Timestamp(micros))
    }

    /// From a calendar date and a time of day, in `zone`; None when the date does not exist.
    pub fn from_civil(date: (i64, i64, i64), time: (i64, i64, i64), zone: Zone) -> Option<Timestamp> {
        let (hour, minute, second) = time;
        if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..61).contains(&second) {
            return None;
        }
        let days = days_from_civil(date.0, date.1, date.2)?;
        Some(Timestamp(zone.micros_to_utc(days * DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000)))
    }

    /// Year, month and day in UTC.
    pub fn civil(self) -> (i64, i64, i64) {
        civil_from_days(self.0.div_euclid(DAY))
    }
}

fn from_epoch_float(number: f64) -> Option<Timestamp> {
    let micros = match number {
        it if it < 0.0 => return None,
        it if it < 1e11 => it * 1e6,
        it if it < 1e14 => it * 1e3,
        it if it < 1e17 => it,
        it => it / 1e3,
    };
    Some(Timestamp(micros as i64))
}

const DAY: i64 = 86_400_000_000;

fn digits(bytes: &[u8]) -> Option<i64> {
    let mut number = 0;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + i64::from(digit);
    }
    Some(number)
}

/// Leading fraction digits as microseconds, and how many there were (at least one).
fn fraction(bytes: &[u8]) -> Option<(i64, usize)> {
    let len = bytes.iter().take_while(|it| it.is_ascii_digit()).count();
    if len == 0 {
        return None;
    }
    let mut micros = 0;
    for index in 0..6 {
        micros = micros * 10 + bytes.get(index).filter(|_| index < len).map_or(0, |it| i64::from(it - b'0'));
    }
    Some((micros, len))
}

/// A leading `±hh:mm`, `±hhmm` or `±hh` in seconds, and its length.
fn offset(bytes: &[u8]) -> Option<(i32, usize)> {
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = digits(bytes.get(1..3)?)?;
    let (minutes, len) = match bytes.get(3) {
        Some(b':') => (digits(bytes.get(4..6)?)?, 6),
        Some(_) => (digits(bytes.get(3..5)?)?, 5),
        None => (0, 3),
    };
    (hours < 24 && minutes < 60).then(|| (sign * (hours * 3600 + minutes * 60) as i32, len))
}

/// Days since 1970-01-01 (Howard Hinnant's `days_from_civil`), or None for a date that does not exist.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    const LENGTHS: [i64; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if !(1..=12).contains(&month) || day < 1 || day > LENGTHS[month as usize - 1] {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if month == 2 && day == 29 && !leap {
        return None;
    }
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// RFC 3339 in UTC with as many fraction digits as are needed: none for whole seconds, else 3 or 6.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.written(&mut [0; WRITTEN_BYTES]) {
            Some(it) => f.write_str(it),
            None => {
                let (year, month, day) = self.civil();
                let rest = Timestamp(self.0.rem_euclid(DAY)).to_string();
                write!(f, "{year:04}-{month:02}-{day:02}{}", &rest[DATE_BYTES..])
            }
        }
    }
}

/// `1970-01-01T00:00:00.000000Z`.
const WRITTEN_BYTES: usize = 27;
const DATE_BYTES: usize = 10;

impl Timestamp {
    /// RFC 3339 in UTC, with as many decimals as there are: none, three or six. An alert has a dozen stamps, and the formatter
    /// took more for them than for all the rest. None: the year does not have four digits.
    fn written(self, out: &mut [u8; WRITTEN_BYTES]) -> Option<&str> {
        let (year, month, day) = self.civil();
        if !(0..10_000).contains(&year) {
            return None;
        }
        let micros = self.0.rem_euclid(DAY);
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        *out = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: usize, digits: usize, mut number: i64| {
            for place in (at..at + digits).rev() {
                out[place] = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0, 4, year);
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, seconds / 3600);
        put(14, 2, seconds / 60 % 60);
        put(17, 2, seconds % 60);
        put(20, 6, fraction);
        let end = match fraction {
            0 => 19,
            it if it % 1000 == 0 => 23,
            _ => 26,
        };
        out[end] = b'Z';
        std::str::from_utf8(&out[..=end]).ok()
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 3339 where people read it; microseconds in snapshots.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_i64(self.0);
        }
        match self.written(&mut [0; WRITTEN_BYTES]) {
            Some(it) => serializer.serialize_str(it),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Timestamp);
        }
        let text = String::deserialize(deserializer)?;
        Timestamp::parse_iso(&text, Zone::UTC).ok_or_else(|| de::Error::custom(format!("`{text}` is no RFC 3339 time")))
    }
}

impl Span {
    pub const ZERO: Span = Span(0);

    pub const fn from_micros(micros: i64) -> Self {
        Span(if micros < 0 { 0 } else { micros })
    }

    pub const fn from_secs(secs: i64) -> Self {
        Span(secs * 1_000_000)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0 as u64)
    }

    /// Reads `90s`, `10m`, `2h`, `14d`, `500ms`, `1w`, or several parts in a row (`1h30m`).
    pub fn parse(text: &str) -> Option<Span> {
        let mut rest = text.trim();
        let mut micros: i64 = 0;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let number_len = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
            let number: f64 = rest[..number_len].parse().ok()?;
            rest = rest[number_len..].trim_start();
            let unit_len = rest.find(|it: char| !it.is_ascii_alphabetic()).unwrap_or(rest.len());
            let unit: f64 = match &rest[..unit_len] {
                "us" => 1.0,
                "ms" => 1e3,
                "s" => 1e6,
                "m" | "min" => 60e6,
                "h" => 3600e6,
                "d" => 86_400e6,
                "w" => 604_800e6,
                _ => return None,
            };
            rest = rest[unit_len..].trim_start();
            let part = number * unit;
            if part > 3.2e15 {
                return None;
            }
            micros = micros.checked_add(part as i64)?;
        }
        Some(Span(micros))
    }
}

/// For people: `21s`, `4m 5s`, `2h`, `3d 4h`; two units at most, `850ms` below a second.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 && self.0 < 1_000_000 {
            return write!(f, "{}ms", self.0 / 1000);
        }
        let seconds = self.0 / 1_000_000;
        let (big, small) = match seconds {
            0..60 => return write!(f, "{seconds}s"),
            60..3600 => ((seconds / 60, "m"), (seconds % 60, "s")),
            3600..86_400 => ((seconds / 3600, "h"), (seconds % 3600 / 60, "m")),
            _ => ((seconds / 86_400, "d"), (seconds % 86_400 / 3600, "h")),
        };
        write!(f, "{}{}", big.0, big.1)?;
        if small.0 > 0 { write!(f, " {}{}", small.0, small.1) } else { Ok(()) }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_i64(self.0);
        }
        serializer.collect_str(&format_args!("{}", self.to_string().replace(' ', "")))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Span);
        }
        let text = String::deserialize(deserializer)?;
        Span::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is no duration; write 90s, 10m, 2h, 14d or 1h30m")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = Timestamp::parse_iso(text, Zone::UTC).map_or("none".to_string(), |it| it.to_string());
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn iso_forms_of_real_logs() {
        check("2025-04-12 08:02:55", "2025-04-12T08:02:55Z");
        check("2025-04-12T08:02:55.1234567Z", "2025-04-12T08:02:55.123456Z");
        check("2023-05-25 22:24:19,357", "2023-05-25T22:24:19.357Z");
        check("2025-04-12T08:02:55.123456789+02:00", "2025-04-12T06:02:55.123456Z");
        check("2025-04-12T08:02:55-0330", "2025-04-12T11:32:55Z");
        check("2025-04-12", "2025-04-12T00:00:00Z");
        check("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z");
        check("2025-02-30 10:00:00", "none");
        check("2025-04-12 08:02:5x", "none");
        check("2025-04-12 24:00:00", "none");
        check("\u{e9}\u{e9}\u{e9}\u{e9}-\u{e9}\u{e9}", "none");
    }

    #[test]
    fn epochs_are_told_apart_by_magnitude() {
        let expected = Timestamp::parse_iso("2022-11-18T16:28:11.888Z", Zone::UTC);
        for text in ["1668788891.888", "1668788891888", "1668788891888000", "1668788891888000000"] {
            assert_eq!(Timestamp::from_epoch(text), expected, "{text}");
        }
        assert_eq!(Timestamp::from_epoch("12x"), None);
        assert_eq!(Timestamp::from_epoch(""), None);
    }

    #[test]
    fn a_zone_decides_what_a_bare_stamp_means() {
        let athens = Zone::parse("Europe/Athens").unwrap();
        let summer = Timestamp::parse_iso("2025-07-01 12:00:00", athens).unwrap();
        assert_eq!(summer.to_string(), "2025-07-01T09:00:00Z");
        let never = Timestamp::parse_iso("2025-03-30 03:30:00", athens).unwrap();
        assert_eq!(never.to_string(), "2025-03-30T01:30:00Z");
        let twice = Timestamp::parse_iso("2025-10-26 03:30:00", athens).unwrap();
        assert_eq!(twice.to_string(), "2025-10-26T00:30:00Z");
        assert_eq!(Zone::parse("+05:30"), Some(Zone::Fixed(19_800)));
        assert_eq!(Zone::parse("Mars/Olympus"), None);
    }

    #[test]
    fn spans_read_and_print() {
        for (text, shown) in
            [("90s", "1m 30s"), ("10m", "10m"), ("1h30m", "1h 30m"), ("14d", "14d"), ("500ms", "500ms")]
        {
            assert_eq!(Span::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["", "5 mins", "5", "m", "-5m", "9999999w"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_plain_form_is_read_as_the_long_way_reads_it(
            text in "20[0-9]{2}-[01][0-9]-[0-3][0-9][T t][0-2][0-9][:.][0-6][0-9]:[0-6][0-9a:/]([.,][0-9]{0,8}|)(Z|z|)",
            hours in -12..12i32,
        ) {
            let zone = Zone::Fixed(hours * 3600);
            let mut minute = Minute::default();
            let expected = Timestamp::parse_iso(&text, zone);
            for _ in 0..2 {
                let found = Timestamp::parse_plain(text.as_bytes(), zone, &mut minute);
                proptest::prop_assert!(found.is_none() || found == expected, "{found:?} {expected:?}");
                let plain = !text.contains(',') && !text.ends_with('z');
                proptest::prop_assert!(!plain || text.as_bytes()[10] == b't' || found == expected);
            }
        }

        #[test]
        fn what_is_printed_reads_back(micros in 0i64..4_000_000_000_000_000) {
            let time = Timestamp::from_micros(micros);
            proptest::prop_assert_eq!(Timestamp::parse_iso(&time.to_string(), Zone::UTC), Some(time));
        }
    }
}
