//! CEF and LEEF: a header between bars, then pairs.
//!
//! CEF's pairs are `key=value with blanks key2=value`, so a value ends where the word before the next `=` begins. Senders
//! are told to escape `=` in values; a word that cannot be a key (`http://x/?a`) is taken as part of the value all the same.
//! LEEF says the same things with tabs or a character of its choice between pairs, and fills the same paths.

use crate::model::{EventBuf, FieldId, Place, Slot};

use super::paths::{NOWHERE, Node, Part, Trie, body};
use super::{Format, Paths, Reject};

pub(super) const FORMAT: Format = Format {
    name: "cef",
    about: "ArcSight CEF and QRadar LEEF, also inside syslog",
    example: "CEF:0|Vendor|Gate|1.2|100|Login failed|5|src=203.0.113.9 suser=ann msg=wrong password",
    looks_like: |record| starts(body(record, 0).of(record)),
    decode,
};

pub(super) struct Ids {
    version: Option<FieldId>,
    vendor: Option<FieldId>,
    product: Option<FieldId>,
    product_version: Option<FieldId>,
    signature: Option<FieldId>,
    name: Option<FieldId>,
    severity: Option<FieldId>,
    pairs: Node,
}

impl Ids {
    pub(super) fn new(trie: &Trie) -> Ids {
        Ids {
            version: trie.field("cef.version"),
            vendor: trie.field("cef.vendor"),
            product: trie.field("cef.product"),
            product_version: trie.field("cef.product_version"),
            signature: trie.field("cef.signature"),
            name: trie.field("cef.name"),
            severity: trie.field("cef.severity"),
            pairs: trie.node("cef.ext"),
        }
    }
}

/// `CEF:0|` or `LEEF:2.0|`.
pub(super) fn starts(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("CEF:").or_else(|| text.strip_prefix("LEEF:")) else { return false };
    let rest = rest.trim_ascii_start().as_bytes();
    let version = rest.iter().take(8).take_while(|it| it.is_ascii_digit() || **it == b'.').count();
    version > 0 && rest.get(version) == Some(&b'|')
}

fn decode(record: &str, at: usize, paths: &Paths, buf: &mut EventBuf) -> Result<(), Reject> {
    let part = body(record, at);
    if !starts(part.of(record)) {
        return Err(Reject { reason: "no-cef-header" });
    }
    let ids = &paths.cef;
    let leef = record.as_bytes()[part.start] == b'L';
    let mut rest = Part::new(part.start + if leef { 5 } else { 4 }, part.end);
    let mut found = [rest; 5];
    for column in &mut found {
        let Some(it) = column_of(record, &mut rest) else { return Err(Reject { reason: "cef-columns-missing" }) };
        *column = it;
    }
    for (column, id) in
        found.into_iter().zip([ids.version, ids.vendor, ids.product, ids.product_version, ids.signature])
    {
        set_header(record, column, id, buf);
    }
    paths.trie.start(buf);
    if leef {
        let separator = leef_separator(record, found[0], &mut rest);
        match separator_in_use(rest.of(record), separator) {
            Some(it) => leef_pairs(record, rest, it.as_bytes(), paths, buf),
            None => cef_pairs(record, rest, paths, buf),
        }
        return Ok(());
    }
    for id in [ids.name, ids.severity] {
        // The last column may end the line.
        let column = column_of(record, &mut rest).unwrap_or(rest);
        if column == rest {
            rest.start = rest.end;
        }
        set_header(record, column, id, buf);
    }
    cef_pairs(record, rest, paths, buf);
    Ok(())
}

/// The next column and, in `rest`, what follows its bar.
fn column_of(record: &str, rest: &mut Part) -> Option<Part> {
    let bytes = &record.as_bytes()[..rest.end];
    let mut at = rest.start;
    loop {
        at += memchr::memchr2(b'|', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'|' {
            let found = Part::new(rest.start, at);
            rest.start = at + 1;
            return Some(found);
        }
        at += 2;
    }
}

fn set_header(record: &str, part: Part, field: Option<FieldId>, buf: &mut EventBuf) {
    let part = part.trim(record);
    if let Some(field) = field
        && !part.is_empty()
        && !buf.has(field)
    {
        let slot = unescaped(record, part, buf);
        buf.set(field, slot);
    }
}

fn cef_pairs(record: &str, rest: Part, paths: &Paths, buf: &mut EventBuf) {
    let bytes = &record.as_bytes()[..rest.end];
    let root = paths.cef.pairs;
    if !paths.trie.has_children(root) {
        return;
    }
    let Some(mut key) = next_key(bytes, rest.start, rest.start) else { return };
    loop {
        let value = key.end + 1;
        let next = next_key(bytes, value, value);
        let end = next.map_or(bytes.len(), |it| it.start);
        set_pair(record, root, key, Part::new(value, end).trim(record), paths, buf);
        match next {
            Some(it) => key = it,
            None => return,
        }
    }
}

/// The key of the next pair: the word before an `=` that is not escaped, if it is one.
fn next_key(bytes: &[u8], floor: usize, mut at: usize) -> Option<Part> {
    loop {
        at += memchr::memchr2(b'=', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'\\' {
            at += 2;
            continue;
        }
        let mut start = at;
        while start > floor && is_key(bytes[start - 1]) {
            start -= 1;
        }
        let begins = start == floor || bytes[start - 1] == b' ' || bytes[start - 1] == b'\t';
        if start < at && begins {
            return Some(Part::new(start, at));
        }
        at += 1;
    }
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'[' | b']')
}

/// LEEF 2 names its separator in a column of its own: one character or its number, `x5E`. It may be left out.
fn leef_separator(record: &str, version: Part, rest: &mut Part) -> char {
    let two = record[version.start..version.end].trim_ascii_start().starts_with('2');
    let before = *rest;
    if two && let Some(column) = column_of(record, rest) {
        let text = column.of(record);
        let hex =
            text.strip_prefix("0x").or_else(|| text.strip_prefix('x')).and_then(|it| u8::from_str_radix(it, 16).ok());
        match (text.as_bytes(), hex) {
            ([], _) => return '\t',
            ([one], _) if one.is_ascii() => return char::from(*one),
            (_, Some(it)) if it.is_ascii() => return char::from(it),
            _ => *rest = before,
        }
    }
    '\t'
}

/// What really stands between the pairs: tabs become `#011` in rsyslog and blanks elsewhere, and CyberArk writes bars. None:
/// blanks, so that keys must be told from values as in CEF.
fn separator_in_use(pairs: &str, said: char) -> Option<&str> {
    let of = |it: usize, len: usize| &pairs[it..it + len];
    if let Some(it) = pairs.find(said) {
        return Some(of(it, said.len_utf8()));
    }
    let bar = pairs
        .match_indices('|')
        .find(|(it, _)| next_key(pairs.as_bytes(), it + 1, it + 1).is_some_and(|key| key.start == it + 1));
    pairs.find("#011").map(|it| of(it, 4)).or_else(|| bar.map(|it| it.1))
}

fn leef_pairs(record: &str, rest: Part, separator: &[u8], paths: &Paths, buf: &mut EventBuf) {
    let bytes = &record.as_bytes()[..rest.end];
    let root = paths.cef.pairs;
    let mut at = rest.start;
    while root != NOWHERE && at < bytes.len() {
        let end = memchr::memmem::find(&bytes[at..], separator).map_or(bytes.len(), |it| at + it);
        if let Some(equals) = memchr::memchr(b'=', &bytes[at..end]).map(|it| at + it) {
            let key = Part::new(at, equals).trim(record);
            set_pair(record, root, key, Part::new(equals + 1, end).trim(record), paths, buf);
        }
        at = end + separator.len();
    }
}

fn set_pair(record: &str, root: Node, key: Part, value: Part, paths: &Paths, buf: &mut EventBuf) {
    let node = paths.trie.find(root, record.as_bytes(), key.start, key.end);
    if node != NOWHERE
        && paths.trie.admit(node, buf)
        && let Some(field) = paths.trie.field_at(node)
    {
        let slot = unescaped(record, unquoted(record, value), buf);
        buf.set(field, slot);
    }
}

/// The value without the quotes around it, which the format does not have and senders write.
fn unquoted(record: &str, value: Part) -> Part {
    match value.of(record).strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
        Some(inside) if !inside.contains('"') => Part::new(value.start + 1, value.end - 1),
        Some(_) | None => value,
    }
}

/// `\n` and `\r` are line ends; any other character after a backslash that CEF escapes is meant itself.
fn unescaped(record: &str, part: Part, buf: &mut EventBuf) -> Slot {
    let mut text = part.of(record);
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Slot::text(Place::Record, part.start, part.end - part.start);
    }
    let start = buf.scratch.len();
    while let Some(at) = memchr::memchr(b'\\', text.as_bytes()) {
        buf.scratch.push_str(&text[..at]);
        let rest = &text[at + 1..];
        let (it, len) = match rest.bytes().next() {
            Some(b'n') => ('\n', 1),
            Some(b'r') => ('\r', 1),
            Some(it @ (b'\\' | b'|' | b'=' | b'"')) => (char::from(it), 1),
            // `DOMAIN\ann` by a sender who does not escape.
            Some(_) | None => ('\\', 0),
        };
        buf.scratch.push(it);
        text = &rest[len..];
    }
    buf.scratch.push_str(text);
    Slot::text(Place::Scratch, start, buf.scratch.len() - start)
}
