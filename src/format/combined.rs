//! The access logs of nginx and Apache: common and combined, with a virtual host before or more fields behind.
//!
//! `IP IDENT USER [TIME] "REQUEST" STATUS BYTES "REFERER" "USER AGENT"`. User, request, referer and agent are what a
//! client sent. Both servers escape quotes in them but not brackets, so the first bracketed time that is followed by a
//! blank and a quote is the server's own, whatever a user is called and whatever is requested.

use std::net::IpAddr;

use crate::model::{EventBuf, FieldId, Place, Slot};

use super::paths::{Part, Trie, body};
use super::syslog::quote_end;
use super::{Format, Paths, Reject};

pub(super) const FORMAT: Format = Format {
    name: "combined",
    about: "access logs of nginx and Apache, common or combined",
    example: r#"203.0.113.9 - ann [12/Apr/2025:08:02:55 +0000] "GET /admin HTTP/1.1" 401 512 "-" "curl/8.5.0""#,
    looks_like: |record| memchr::memchr(b'[', record.as_bytes()).is_some(),
    decode,
};

pub(super) struct Ids {
    ip: Option<FieldId>,
    ident: Option<FieldId>,
    user: Option<FieldId>,
    time: Option<FieldId>,
    method: Option<FieldId>,
    path: Option<FieldId>,
    protocol: Option<FieldId>,
    status: Option<FieldId>,
    bytes: Option<FieldId>,
    referer: Option<FieldId>,
    user_agent: Option<FieldId>,
}

impl Ids {
    pub(super) fn new(trie: &Trie) -> Ids {
        Ids {
            ip: trie.field("access.ip"),
            ident: trie.field("access.ident"),
            user: trie.field("access.user"),
            time: trie.field("access.time"),
            method: trie.field("access.method"),
            path: trie.field("access.path"),
            protocol: trie.field("access.protocol"),
            status: trie.field("access.status"),
            bytes: trie.field("access.bytes"),
            referer: trie.field("access.referer"),
            user_agent: trie.field("access.user_agent"),
        }
    }
}

/// `12/Apr/2025:08:02:55 +0000`
const STAMP_LEN: usize = 26;

/// Whether the text begins with an address.
pub(super) fn starts(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(first, _)| is_address(first))
}

/// The time between brackets, with a quote behind.
fn stamp(record: &str, part: Part) -> Option<Part> {
    let bytes = &record.as_bytes()[..part.end];
    let mut at = part.start;
    loop {
        at += memchr::memchr(b'[', &bytes[at..])? + 1;
        let found = bytes.get(at..at + STAMP_LEN + 3)?;
        if is_stamp(found) && at >= part.start + 2 && bytes[at - 2] == b' ' {
            return Some(Part::new(at, at + STAMP_LEN));
        }
    }
}

fn is_stamp(bytes: &[u8]) -> bool {
    const DIGITS: [usize; 16] = [0, 1, 7, 8, 9, 10, 12, 13, 15, 16, 18, 19, 22, 23, 24, 25];
    bytes[2] == b'/'
        && bytes[6] == b'/'
        && bytes[11] == b':'
        && bytes[14] == b':'
        && bytes[17] == b':'
        && matches!(bytes[21], b'+' | b'-')
        && bytes.ends_with(b"] \"")
        && DIGITS.iter().all(|it| bytes[*it].is_ascii_digit())
}

fn decode(record: &str, at: usize, paths: &Paths, buf: &mut EventBuf) -> Result<(), Reject> {
    let part = body(record, at);
    let Some(time) = stamp(record, part) else { return Err(Reject { reason: "no-access-time" }) };
    let ids = &paths.combined;
    let bytes = &record.as_bytes()[..part.end];
    let quote = time.end + 2;
    let Some(request_end) = quote_end(bytes, quote) else { return Err(Reject { reason: "no-access-request" }) };
    client(record, Part::new(part.start, time.start - 1).trim(record), ids, buf)?;
    time.put(ids.time, buf);
    request(record, Part::new(quote + 1, request_end - 1), ids, buf);
    let mut rest = Part::new(request_end, part.end);
    let (status, size) = (next_field(record, &mut rest), next_field(record, &mut rest));
    for (field, found) in [(ids.status, status), (ids.bytes, size)] {
        if let (Some(field), Some(found)) = (field, found)
            && !found.is_empty()
            && found.of(record).bytes().all(|it| it.is_ascii_digit())
        {
            buf.set(field, Slot::number(Place::Record, found.start, found.end - found.start));
        }
    }
    for field in [ids.referer, ids.user_agent] {
        if let Some(found) = next_field(record, &mut rest) {
            put(record, found, field, buf);
        }
    }
    Ok(())
}

/// What stands before the time: address, identity and user, and before them perhaps a virtual host.
fn client(record: &str, part: Part, ids: &Ids, buf: &mut EventBuf) -> Result<(), Reject> {
    let mut rest = part;
    let (Some(mut ip), Some(mut ident)) = (next_field(record, &mut rest), next_field(record, &mut rest)) else {
        return Err(Reject { reason: "no-access-client" });
    };
    if !is_address(ip.of(record)) && is_address(ident.of(record)) {
        let Some(next) = next_field(record, &mut rest) else { return Err(Reject { reason: "no-access-client" }) };
        (ip, ident) = (ident, next);
    }
    // `client, proxy - -`: the header X-Forwarded-For in the place of the address.
    while ident.start > 0 && record.as_bytes()[..ident.start].trim_ascii_end().ends_with(b",") {
        let Some(next) = next_field(record, &mut rest) else { return Err(Reject { reason: "no-access-client" }) };
        ident = next;
    }
    let bare = ip.of(record).trim_end_matches(',').len();
    Part::new(ip.start, ip.start + bare).put_unless_dash(ids.ip, record, buf);
    put(record, ident, ids.ident, buf);
    put(record, rest.trim(record), ids.user, buf);
    Ok(())
}

fn is_address(text: &str) -> bool {
    let text = text.trim_end_matches(',');
    text.parse::<IpAddr>().is_ok() || text.parse::<std::net::SocketAddr>().is_ok()
}

/// `GET /path HTTP/1.1`. What is no request (a TLS greeting on a plain port) is kept as the path.
fn request(record: &str, part: Part, ids: &Ids, buf: &mut EventBuf) {
    let text = part.of(record);
    let method = text.bytes().take_while(u8::is_ascii_uppercase).count();
    if method == 0 || text.as_bytes().get(method) != Some(&b' ') {
        put(record, part, ids.path, buf);
        return;
    }
    Part::new(part.start, part.start + method).put(ids.method, buf);
    let path = part.start + method + 1;
    match text.rfind(" HTTP/").map(|it| part.start + it) {
        Some(end) if end >= path => {
            put(record, Part::new(path, end), ids.path, buf);
            Part::new(end + 1, part.end).put(ids.protocol, buf);
        }
        Some(_) | None => put(record, Part::new(path, part.end), ids.path, buf),
    }
}

/// The next field, without its quotes, and in `rest` what follows.
fn next_field(record: &str, rest: &mut Part) -> Option<Part> {
    let bytes = &record.as_bytes()[..rest.end];
    let mut start = rest.start;
    while bytes.get(start) == Some(&b' ') {
        start += 1;
    }
    if start >= bytes.len() {
        return None;
    }
    if bytes[start] == b'"' {
        let end = quote_end(bytes, start).unwrap_or(bytes.len() + 1);
        rest.start = end.min(bytes.len());
        return Some(Part::new(start + 1, end - 1));
    }
    let end = memchr::memchr(b' ', &bytes[start..]).map_or(bytes.len(), |it| start + it);
    rest.start = end;
    Some(Part::new(start, end))
}

/// Sets a field to text in which the server may have escaped something.
fn put(record: &str, part: Part, field: Option<FieldId>, buf: &mut EventBuf) {
    let Some(field) = field else { return };
    let text = part.of(record);
    if text.is_empty() || text == "-" {
        return;
    }
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        buf.set(field, Slot::text(Place::Record, part.start, text.len()));
        return;
    }
    let start = buf.scratch.len();
    unescape(text, &mut buf.scratch);
    buf.set(field, Slot::text(Place::Scratch, start, buf.scratch.len() - start));
}

/// `\"`, `\\` and `\xHH`. Bytes that are no UTF-8 stay as the server wrote them.
fn unescape(mut text: &str, out: &mut String) {
    while let Some(at) = memchr::memchr(b'\\', text.as_bytes()) {
        out.push_str(&text[..at]);
        let rest = &text[at..];
        let (it, len) = match rest.as_bytes().get(1) {
            Some(b'x') => hex_character(rest.as_bytes()).unwrap_or(('\\', 1)),
            Some(it @ (b'"' | b'\\')) => (char::from(*it), 2),
            Some(b'n') => ('\n', 2),
            Some(b't') => ('\t', 2),
            Some(_) | None => ('\\', 1),
        };
        out.push(it);
        text = &rest[len..];
    }
    out.push_str(text);
}

/// The character that one to four leading `\xHH` spell in UTF-8, and their length.
fn hex_character(bytes: &[u8]) -> Option<(char, usize)> {
    let mut found = [0u8; 4];
    for count in 0..4 {
        let escape = bytes.get(count * 4..count * 4 + 4)?.strip_prefix(b"\\x")?;
        let digit = |it: u8| char::from(it).to_digit(16).map(|it| it as u8);
        found[count] = digit(escape[0])? << 4 | digit(escape[1])?;
        if let Ok(text) = std::str::from_utf8(&found[..=count]) {
            return text.chars().next().map(|it| (it, count * 4 + 4));
        }
    }
    None
}
