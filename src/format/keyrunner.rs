//! KeyRunner's logs: columns between bars.
//!
//! Access: `Date | IP | User | Geo | Action`. Audit and application: `Date | statement`.
//!
//! The user column is what somebody typed at a login form, so it may hold bars. The columns before it and the two after
//! it are written by the software: the record is read from both ends, and what is left in the middle is the user. Read
//! from the left, a failed login of the user `x | USA | Login success` would become a good one.

use std::net::IpAddr;

use wide::u8x16;

use crate::model::{EventBuf, FieldId, address};

use super::bits::{BLOCK, bits_of};
use super::paths::{Part, Trie, body};
use super::{Format, Paths, Reject};

pub(super) const FORMAT: Format = Format {
    name: "keyrunner",
    about: "KeyRunner columns: Date | IP | User | Geo | Action, or Date | statement",
    example: "2025-04-12 08:02:55 | 103.44.55.21 | johndoe@keyrunner.app | USA | Login success",
    looks_like,
    decode,
};

pub(super) struct Ids {
    time: Option<FieldId>,
    ip: Option<FieldId>,
    user: Option<FieldId>,
    geo: Option<FieldId>,
    action: Option<FieldId>,
    statement: Option<FieldId>,
}

impl Ids {
    pub(super) fn new(trie: &Trie) -> Ids {
        Ids {
            time: trie.field("keyrunner.time"),
            ip: trie.field("keyrunner.ip"),
            user: trie.field("keyrunner.user"),
            geo: trie.field("keyrunner.geo"),
            action: trie.field("keyrunner.action"),
            statement: trie.field("keyrunner.statement"),
        }
    }
}

fn looks_like(record: &str) -> bool {
    if starts_with_stamp(record.as_bytes()) {
        return true;
    }
    let part = body(record, 0);
    let bytes = part.of(record).trim_ascii_start().as_bytes();
    starts_with_stamp(bytes)
        || matches!(bytes.first(), Some(b'0'..=b'9' | b'A'..=b'W')) && date_column(record, part).is_some()
}

fn decode(record: &str, at: usize, paths: &Paths, buf: &mut EventBuf) -> Result<(), Reject> {
    let whole = body(record, at);
    let Some((time, rest)) = date_column(record, whole) else {
        return Err(Reject { reason: "no-date-column" });
    };
    let ids = &paths.keyrunner;
    match access(record, rest) {
        Some(Columns { ip, user, geo, action, has_address }) => {
            if has_address {
                ip.put(ids.ip, buf);
            }
            user.put(ids.user, buf);
            geo.put(ids.geo, buf);
            action.put(ids.action, buf);
        }
        None => {
            let statement = rest.trim(record);
            if statement.is_empty() {
                return Err(Reject { reason: "no-columns" });
            }
            statement.put(ids.statement, buf);
            // Others write `date | text` too; their schemas look at the message.
            whole.put(paths.message, buf);
        }
    }
    time.put(ids.time, buf);
    Ok(())
}

/// The first column, if it is a date with a time, and what stands after its bar.
fn date_column(record: &str, part: Part) -> Option<(Part, Part)> {
    let bytes = &record.as_bytes()[part.start..part.end];
    // As the software writes it: to the second, without a zone.
    if let Some([.., b':', tens, ones, b' ', b'|', b' ']) = bytes.first_chunk::<22>()
        && tens.is_ascii_digit()
        && ones.is_ascii_digit()
        && starts_with_stamp(bytes)
    {
        return Some((Part::new(part.start, part.start + 19), Part::new(part.start + 21, part.end)));
    }
    let lead = bytes.iter().take_while(|it| **it == b' ').count();
    let is_plain = starts_with_stamp(&bytes[lead..]);
    // A stamp with its fraction and zone is shorter than this; a bar further on belongs to something else.
    let bar = memchr::memchr(b'|', &bytes[..bytes.len().min(lead + 48)])?;
    let time = Part::new(part.start + lead, part.start + bar).trim(record);
    let rest = Part::new(part.start + bar + 1, part.end);
    if !is_plain {
        return is_written_out(time.of(record)).then_some((time, rest));
    }
    let tail = &time.of(record).as_bytes()[16..];
    let is_stamp =
        tail.iter().all(|it| matches!(it, b'0'..=b'9' | b':' | b'.' | b',' | b'+' | b'-' | b' ' | b'A'..=b'Z'));
    // `2025-04-12T08:02:55Z VAULT CEF:0|`: the bar is not ours.
    let is_stamp = is_stamp && !tail.windows(2).any(|it| it[0].is_ascii_uppercase() && it[1] == b':');
    is_stamp.then_some((time, rest))
}

/// Whether it is a time in one of the forms that spreadsheets, mail and people use: `04/12/2025 08:02:55 AM`, `12 Apr 2025 08:02`,
/// `Sat, 12 Apr 2025 08:02:55 GMT`, `2025/04/12 08:02:55`, or seconds since 1970.
fn is_written_out(text: &str) -> bool {
    const NAMES: [&str; 19] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "mon", "tue", "wed", "thu",
        "fri", "sat", "sun",
    ];
    let bytes = text.as_bytes();
    if bytes.iter().all(u8::is_ascii_digit) {
        return matches!(bytes.len(), 10 | 13);
    }
    let is_name = |it: &str| {
        let head = it.get(..3).map(str::to_ascii_lowercase);
        head.is_some_and(|it| NAMES.contains(&it.as_str())) && it.len() <= 9
    };
    let is_mark =
        |it: &str| it.len() <= 4 && (it.bytes().all(|it| it.is_ascii_uppercase()) || matches!(it, "am" | "pm"));
    let mut words = text.split(|it: char| !it.is_ascii_alphanumeric()).filter(|it| !it.is_empty());
    let is_begun = bytes.first().is_some_and(u8::is_ascii_digit) || words.clone().next().is_some_and(is_name);
    let digits = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    let has_year = words.clone().any(|it| it.len() == 4 && digits(it));
    let has_clock = bytes.windows(3).any(|it| it[0].is_ascii_digit() && it[1] == b':' && it[2].is_ascii_digit());
    let fits = |it: &str| digits(it) && it.len() <= 9 || is_name(it) || is_mark(it);
    let is_between =
        |it: &u8| it.is_ascii_alphanumeric() || matches!(it, b' ' | b'/' | b'.' | b',' | b'-' | b':' | b'+');
    is_begun && has_year && has_clock && bytes.iter().all(is_between) && words.all(fits)
}

/// `dddd-dd-ddTdd:dd`, by shape: whether the date exists is for the schema to say, and a line with a wrong date is still a line.
///
/// Asked of every line that begins with a digit, so eight bytes at once.
#[inline]
pub(super) fn starts_with_stamp(bytes: &[u8]) -> bool {
    let Some(head) = bytes.first_chunk::<16>() else { return false };
    let both = u128::from_le_bytes(*head);
    let (date, time) = (both as u64, (both >> 64) as u64);
    are_digits(date, u64::from_le_bytes(*b"dddd-dd-"))
        && are_digits(time, u64::from_le_bytes(*b"dd-dd-dd"))
        && head[4] == b'-'
        && head[7] == b'-'
        && matches!(head[10], b' ' | b'T' | b't' | b'_')
        && head[13] == b':'
}

/// Whether all bytes of a word are digits where the form has a `d`.
#[inline]
fn are_digits(word: u64, form: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // `d` has bit 6 and `-` has not.
    let wanted = (form << 1) & (ONES << 7);
    let value = word ^ (ONES * 0x30);
    let too_large = value | (value & (ONES * 0x7f)).wrapping_add(ONES * 0x76);
    too_large & wanted == 0
}

/// The columns after the date, if they are those of an access record.
fn access(record: &str, rest: Part) -> Option<Columns> {
    let bytes = rest.of(record).as_bytes();
    // The software writes blanks around its bars; bars without blanks inside a name are then no columns at all.
    let is_spaced = |at: &usize| *at > 0 && bytes[at - 1] == b' ' && bytes.get(at + 1) == Some(&b' ');
    let (mut places, mut count) = ([0; BARS_NOTED], 0);
    // Columns are short: calling a search for each costs more than all of them.
    for (index, bytes) in bytes.chunks(BLOCK).enumerate() {
        let mut bars = bits_of(bytes, |it| it.simd_eq(u8x16::splat(b'|')));
        while bars != 0 {
            let Some(place) = places.get_mut(count) else {
                let bars = memchr::memchr_iter(b'|', rest.of(record).as_bytes());
                return columns(record, rest, bars.clone().filter(is_spaced)).or_else(|| columns(record, rest, bars));
            };
            *place = index * BLOCK + bars.trailing_zeros() as usize;
            count += 1;
            bars &= bars - 1;
        }
    }
    // Looked for once, and gone through from both ends.
    let noted = places[..count].iter().copied();
    columns(record, rest, noted.clone().filter(is_spaced)).or_else(|| columns(record, rest, noted))
}

/// A record with more bars than these is searched again for each column.
const BARS_NOTED: usize = 16;
struct Columns {
    ip: Part,
    user: Part,
    geo: Part,
    action: Part,
    has_address: bool,
}

fn columns(record: &str, rest: Part, mut bars: impl DoubleEndedIterator<Item = usize>) -> Option<Columns> {
    let (action, geo) = (bars.next_back()?, bars.next_back()?);
    let ip = bars.next()?;
    let part = |start: usize, end: usize| Part::new(rest.start + start, rest.start + end).trim(record);
    let mut address = part(0, ip);
    let mut has_address = is_address(address.of(record));
    // Proxies add theirs behind the client's.
    if !has_address && let Some(comma) = address.of(record).find(',') {
        address = Part::new(address.start, address.start + comma).trim(record);
        has_address = is_address(address.of(record));
    }
    let said = part(action + 1, rest.end - rest.start);
    // Then there is nothing but these three bars.
    let mut is_absent = || is_absent(address.of(record)) && bars.next().is_none() && !said.is_empty();
    if !has_address && !is_absent() {
        return None;
    }
    Some(Columns { ip: address, user: part(ip + 1, geo), geo: part(geo + 1, action), action: said, has_address })
}

/// An address, with or without port and brackets.
fn is_address(text: &str) -> bool {
    if address::ipv4(text).is_some() || text.parse::<IpAddr>().is_ok() || text.parse::<std::net::SocketAddr>().is_ok() {
        return true;
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.split_once('%').map_or(bare, |(address, _)| address).parse::<IpAddr>().is_ok()
}

fn is_absent(text: &str) -> bool {
    text.is_empty() || ["-", "unknown", "n/a", "null", "none"].iter().any(|it| it.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_others_write_them() {
        for (text, expected) in [
            ("2025/04/12 08:02:55", true),
            ("04/12/2025 08:02:55 AM", true),
            ("4/12/2025, 8:02 pm", true),
            ("12.04.2025 08:02", true),
            ("12 April 2025 08:02:55", true),
            ("Apr 12, 2025 08:02:55", true),
            ("Sat, 12 Apr 2025 08:02:55 GMT", true),
            ("1744444975", true),
            ("1744444975123", true),
            ("174444497", false),
            ("2025", false),
            ("12 Apr 2025", false),
            ("8:02:55", false),
            ("Error 2025 08:02:55", false),
            ("12 Apr 2025 08:02:55 [main]", false),
            ("12 bottles 2025 08:02", false),
            ("", false),
        ] {
            assert_eq!(is_written_out(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn records_with_many_bars_are_read_as_those_with_few(text in "(1\\.1\\.1\\.1|-|b| |\\|){0,9}( ?\\| ?(a|b| |\\|){0,3}){0,5}") {
            let bytes = text.as_bytes();
            let part = Part::new(0, text.len());
            let is_spaced = |at: &usize| *at > 0 && bytes[at - 1] == b' ' && bytes.get(at + 1) == Some(&b' ');
            let bars = memchr::memchr_iter(b'|', bytes);
            let searched = columns(&text, part, bars.clone().filter(is_spaced)).or_else(|| columns(&text, part, bars));
            let said = |it: Option<Columns>| it.map(|it| ([it.ip, it.user, it.geo, it.action], it.has_address));
            proptest::prop_assert_eq!(said(access(&text, part)), said(searched));
        }
    }
}
