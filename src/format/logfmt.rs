//! logfmt: `key=value key="two words" flag`.
//!
//! Keys are paths of the record, as in JSON; a key without value is true. Values are text: who wants a number parses it.
//! Some write commas between the pairs. They are taken off if the first pair ends with one, and that pair the software
//! wrote; decided for each value alone, the users `bob,` and `bob` would be one.

use crate::model::{EventBuf, Place, Slot};

use super::paths::{NOWHERE, Part, ROOT, body, is_blank};
use super::syslog::quote_end;
use super::{Format, Paths, Reject};

pub(super) const FORMAT: Format = Format {
    name: "logfmt",
    about: "key=value pairs, values in double quotes where they hold blanks",
    example: r#"time=2025-04-12T08:02:55Z level=warn msg="login failed" user=ann remote_ip=203.0.113.9"#,
    looks_like: |record| starts(body(record, 0).of(record)),
    decode,
};

/// Whether the text begins with one pair and holds a second: `a=b` alone is as likely a sentence.
pub(super) fn starts(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some(value) = pair_value(bytes, 0) else { return false };
    let Some(mut at) = value_end(bytes, value) else { return false };
    while bytes.get(at).is_some_and(|it| is_blank(*it) || *it == b',') {
        at += 1;
    }
    // The kernel's audit trail looks alike, and quotes whole lists of pairs.
    pair_value(bytes, at).is_some() && !bytes[at..].starts_with(b"msg=audit(")
}

/// Where the value of the pair that begins at `at` begins.
fn pair_value(bytes: &[u8], at: usize) -> Option<usize> {
    const KEY_BYTES_MAX: usize = 64;
    let len = bytes[at..].iter().take(KEY_BYTES_MAX).take_while(|it| is_key(**it)).count();
    (len > 0 && bytes.get(at + len) == Some(&b'=')).then_some(at + len + 1)
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'@' | b'/')
}

/// One past a value; None for a quote that is not closed.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at) {
        Some(b'"') => quote_end(bytes, at),
        Some(_) | None => Some(word_end(bytes, at)),
    }
}

fn word_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|it| !is_blank(*it)) {
        at += 1;
    }
    at
}

fn decode(record: &str, at: usize, paths: &Paths, buf: &mut EventBuf) -> Result<(), Reject> {
    let part = body(record, at);
    let bytes = &record.as_bytes()[..part.end];
    if memchr::memchr(b'=', &bytes[part.start..]).is_none() {
        return Err(Reject { reason: "no-pairs" });
    }
    paths.trie.start(buf);
    pairs(record, part, paths, buf);
    Ok(())
}

/// Whether the text is of the kernel's audit trail, perhaps behind the name of the node that sent it.
pub(super) fn is_audit(text: &str) -> bool {
    (text.starts_with("type=") || text.starts_with("node="))
        && text.split_ascii_whitespace().take(3).any(|it| it.starts_with("msg=audit("))
}

/// Sets the pairs of a part of the record.
pub(super) fn pairs(record: &str, part: Part, paths: &Paths, buf: &mut EventBuf) {
    let bytes = &record.as_bytes()[..part.end];
    // Before what an audit record says in words for its numbers stands the separator of groups.
    let is_blank = |byte: u8| is_blank(byte) || byte == 0x1d;
    let mut next = part.start;
    let mut pairs = 0;
    let mut commas = false;
    loop {
        while bytes.get(next).is_some_and(|it| is_blank(*it) || commas && *it == b',') {
            next += 1;
        }
        if next == bytes.len() {
            break;
        }
        let start = next;
        while bytes.get(next).is_some_and(|it| !is_blank(*it) && *it != b'=' && *it != b'"') {
            next += 1;
        }
        let key = Part::new(start, next);
        if bytes.get(next) != Some(&b'=') {
            // A quote in a key's place belongs to no pair.
            next = if next == start { value_end(bytes, next).unwrap_or(bytes.len()) } else { next };
            set(key, bytes, paths, buf, |_| Slot::bool(true));
            continue;
        }
        let value = next + 1;
        if bytes.get(value) == Some(&b'"') {
            let (inner_end, end) = quote_end(bytes, value).map_or((bytes.len(), bytes.len()), |it| (it - 1, it));
            next = end;
            commas |= pairs == 0 && bytes.get(end) == Some(&b',');
            set(key, bytes, paths, buf, |buf| unescaped(record, Part::new(value + 1, inner_end), buf));
        } else {
            next = word_end(bytes, value);
            commas |= pairs == 0 && next > value && bytes[next - 1] == b',' && next < bytes.len();
            let end = next - usize::from(commas && next > value && bytes[next - 1] == b',');
            set(key, bytes, paths, buf, |_| Slot::text(Place::Record, value, end - value));
        }
        pairs += 1;
    }
}

fn set(key: Part, bytes: &[u8], paths: &Paths, buf: &mut EventBuf, value: impl FnOnce(&mut EventBuf) -> Slot) {
    let node = paths.trie.find(ROOT, bytes, key.start, key.end);
    if node != NOWHERE
        && !key.is_empty()
        && paths.trie.admit(node, buf)
        && let Some(field) = paths.trie.field_at(node)
    {
        let slot = value(buf);
        buf.set(field, slot);
    }
}

/// A quoted value: `\n`, `\t`, `\r` and `\uXXXX` as in JSON; any other character after a backslash is meant itself.
fn unescaped(record: &str, part: Part, buf: &mut EventBuf) -> Slot {
    let mut text = part.of(record);
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Slot::text(Place::Record, part.start, part.end - part.start);
    }
    let start = buf.scratch.len();
    while let Some(at) = memchr::memchr(b'\\', text.as_bytes()) {
        buf.scratch.push_str(&text[..at]);
        let rest = &text[at + 1..];
        let (it, len) = match rest.chars().next() {
            Some('n') => ('\n', 1),
            Some('t') => ('\t', 1),
            Some('r') => ('\r', 1),
            Some('u') => {
                match rest.get(1..5).and_then(|it| u32::from_str_radix(it, 16).ok()).and_then(char::from_u32) {
                    Some(it) => (it, 5),
                    None => ('u', 1),
                }
            }
            Some(it) => (it, it.len_utf8()),
            None => ('\\', 0),
        };
        buf.scratch.push(it);
        text = &rest[len..];
    }
    buf.scratch.push_str(text);
    Slot::text(Place::Scratch, start, buf.scratch.len() - start)
}
