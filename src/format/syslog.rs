//! syslog: RFC 5424, RFC 3164, and what is really sent under these names.
//!
//! Most senders follow neither text: the priority is missing in files, the year is missing in stamps or is not, relays
//! write ISO stamps, local sockets leave out the host, and routers put a sequence number first. Refusing them would blind
//! us, so each part is optional where what remains still cannot be mistaken for another format: a line without priority
//! must have a stamp, and one with an ISO stamp also a tag, for every other log begins with an ISO stamp too.
//!
//! The message may itself be a record of another format; then that is decoded into the same event. The parts of the header are
//! set first, and the first value wins, so a message cannot speak for the header. Text in the middle of a message is never
//! opened: there stands what an attacker typed.

use crate::model::{EventBuf, FieldId, Place, Slot};

use super::keyrunner::starts_with_stamp;
use super::paths::{BOM, NOWHERE, Part, ROOT, Trie, body};
use super::{Format, Paths, Reject, cef, combined, json, keyrunner, logfmt};

pub(super) const FORMAT: Format = Format {
    name: "syslog",
    about: "RFC 3164 and RFC 5424 syslog, with or without priority; the message may be of another format",
    example: "<38>Apr 12 08:02:55 web-1 sshd[4711]: Failed password for root from 203.0.113.9 port 50022 ssh2",
    looks_like,
    decode,
};

pub(super) struct Ids {
    time: Option<FieldId>,
    host: Option<FieldId>,
    app: Option<FieldId>,
    pid: Option<FieldId>,
    msgid: Option<FieldId>,
    priority: Option<FieldId>,
    /// Whether anybody wants structured data.
    sd: bool,
}

impl Ids {
    pub(super) fn new(trie: &Trie) -> Ids {
        Ids {
            time: trie.field("syslog.time"),
            host: trie.field("syslog.host"),
            app: trie.field("syslog.app"),
            pid: trie.field("syslog.pid"),
            msgid: trie.field("syslog.msgid"),
            priority: trie.field("syslog.priority"),
            sd: trie.has_children(trie.node("syslog.sd")),
        }
    }
}

fn looks_like(record: &str) -> bool {
    matches!(
        body(record, 0).of(record).as_bytes(),
        [b'<', b'0'..=b'9', ..] | [b'0'..=b'9', ..] | [b'A'..=b'S', b'a'..=b'u', ..]
    )
}

fn decode(record: &str, at: usize, paths: &Paths, buf: &mut EventBuf) -> Result<(), Reject> {
    let part = body(record, at);
    let Some(header) = Header::read(record, part) else { return Err(Reject { reason: "no-syslog-header" }) };
    let ids = &paths.syslog;
    if let (Some(field), Some(priority)) = (ids.priority, header.priority) {
        buf.set(field, Slot::number(Place::Record, priority.start, priority.end - priority.start));
    }
    header.time.put_unless_dash(ids.time, record, buf);
    header.host.put_unless_dash(ids.host, record, buf);
    header.app.put_unless_dash(ids.app, record, buf);
    header.pid.put_unless_dash(ids.pid, record, buf);
    header.msgid.put_unless_dash(ids.msgid, record, buf);
    if ids.sd && !header.data.is_empty() {
        structured_data(record, header.data, paths, buf);
    }
    open_message(record, header.message, paths, buf);
    if paths.message.is_some_and(|it| !buf.has(it)) {
        header.message.put(paths.message, buf);
    }
    Ok(())
}

/// Decodes a message that is a record of another syntax. Only its beginning is looked at, which the software writes.
fn open_message(record: &str, message: Part, paths: &Paths, buf: &mut EventBuf) {
    let text = message.of(record);
    if logfmt::is_audit(text) {
        return logfmt::pairs(record, message, paths, buf);
    }
    let format = match text.as_bytes() {
        [b'{', ..] if json::is_object(record, message.start, paths, buf) => json::FORMAT,
        [b'C' | b'L', b'E', ..] if cef::starts(text) => cef::FORMAT,
        [b'0'..=b'9', ..] if starts_with_stamp(text.as_bytes()) => keyrunner::FORMAT,
        [b'0'..=b'9' | b'a'..=b'f' | b':', ..] if combined::starts(text) => combined::FORMAT,
        [it, ..] if it.is_ascii_alphabetic() && logfmt::starts(text) => logfmt::FORMAT,
        _ => return,
    };
    // What it refuses after all stays a message; then nothing was set.
    let _as_far_as_it_goes = (format.decode)(record, message.start, paths, buf);
}

const NONE: Part = Part { start: 0, end: 0 };

struct Header {
    priority: Option<Part>,
    time: Part,
    host: Part,
    app: Part,
    pid: Part,
    msgid: Part,
    data: Part,
    message: Part,
}

#[derive(Clone, Copy, PartialEq)]
enum Stamp {
    None,
    /// `Apr 12 08:02:55`
    Bsd,
    /// `2025-04-12T08:02:55+02:00`
    Iso,
    /// The same with a blank in the middle: too common elsewhere to say much.
    IsoBlank,
}

impl Header {
    fn read(record: &str, part: Part) -> Option<Header> {
        let bytes = &record.as_bytes()[..part.end];
        let mut at = part.start;
        let priority = priority(bytes, at);
        if let Some(it) = priority {
            at = it.end + 1;
        }
        if let Some(found) = Header::read_5424(record, bytes, at, priority) {
            return Some(found);
        }
        if priority.is_some() {
            at = skip_blanks(bytes, skip_sequence(bytes, at));
        }
        let (stamp, time) = stamp(bytes, at);
        if stamp != Stamp::None {
            at = time.end;
            // Cisco ends the stamp with a colon.
            at = skip_blanks(bytes, at + usize::from(bytes.get(at) == Some(&b':')));
        } else if priority.is_none() {
            return None;
        }
        let mut header = Header {
            priority,
            time,
            host: NONE,
            app: NONE,
            pid: NONE,
            msgid: NONE,
            data: NONE,
            message: Part::new(at, bytes.len()),
        };
        let trusted = priority.is_some() || stamp == Stamp::Bsd;
        header.read_host_and_tag(record, bytes, stamp);
        let tagged = match stamp {
            Stamp::Iso => !header.app.is_empty() || cef::starts(header.message.of(record)),
            Stamp::IsoBlank => !header.pid.is_empty(),
            Stamp::Bsd | Stamp::None => true,
        };
        (trusted || tagged && !header.host.is_empty() && !is_level(header.host.of(record))).then_some(header)
    }

    /// `1 TIME HOST APP PID MSGID DATA MESSAGE`, after the priority.
    fn read_5424(record: &str, bytes: &[u8], at: usize, priority: Option<Part>) -> Option<Header> {
        let version = Part::new(at, word_end(bytes, at));
        if version.is_empty() || version.end - at > 2 || !bytes[at..version.end].iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut next = version.end;
        let mut opened = None;
        let mut word = || {
            let start = (next + 1).min(bytes.len());
            if opened.is_some() || is_record(record, start) {
                opened.get_or_insert(start);
                return NONE;
            }
            next = word_end(bytes, start);
            Part::new(start, next)
        };
        let (time, host, app, pid, msgid) = (word(), word(), word(), word(), word());
        let nil = bytes.get(time.start) == Some(&b'-') && time.end - time.start == 1;
        if !(starts_with_stamp(&bytes[time.start..]) || nil && priority.is_some()) {
            return None;
        }
        // Some go on with the message where they have no more to say of themselves.
        if let Some(start) = opened {
            let message = Part::new(start, bytes.len());
            return Some(Header { priority, time, host, app, pid, msgid, data: NONE, message });
        }
        if msgid.is_empty() {
            return None;
        }
        let from = (msgid.end + 1).min(bytes.len());
        let data = Part::new(from, data_end(bytes, from));
        let mut start = data.end + usize::from(bytes.get(data.end) == Some(&b' '));
        if bytes[start..].starts_with(BOM) {
            start += BOM.len();
        }
        let message = Part::new(cee(bytes, start), bytes.len());
        let data = if bytes.get(data.start) == Some(&b'[') { data } else { NONE };
        Some(Header { priority, time, host, app, pid, msgid, data, message })
    }

    /// `HOST TAG[PID]: MESSAGE`, any part of which may be missing.
    fn read_host_and_tag(&mut self, record: &str, bytes: &[u8], stamp: Stamp) {
        let at = self.message.start;
        if let Some((app, pid, message)) = tag(bytes, at) {
            // Local sockets and some BSDs write no host.
            (self.app, self.pid, self.message.start) = (app, pid, message);
        } else if stamp != Stamp::None {
            let host = Part::new(at, word_end(bytes, at));
            if host.end < bytes.len() && is_host(host.of(record)) {
                self.host = host;
                let mut next = skip_blanks(bytes, host.end);
                // Some relays write `host : tag`.
                if bytes[next..].starts_with(b": ") {
                    next += 2;
                }
                self.message.start = next;
                if let Some((app, pid, message)) = tag(bytes, next) {
                    (self.app, self.pid, self.message.start) = (app, pid, message);
                }
            }
        }
        self.message.start = cee(bytes, self.message.start);
    }
}

/// `<38>`: the digits.
fn priority(bytes: &[u8], at: usize) -> Option<Part> {
    if bytes.get(at) != Some(&b'<') {
        return None;
    }
    let digits = bytes[at + 1..].iter().take(4).take_while(|it| it.is_ascii_digit()).count();
    let number = bytes[at + 1..at + 1 + digits].iter().fold(0u32, |sum, it| sum * 10 + u32::from(it - b'0'));
    let good = (1..=3).contains(&digits) && number <= 191 && bytes.get(at + 1 + digits) == Some(&b'>');
    good.then(|| Part::new(at + 1, at + 1 + digits))
}

/// Past the `000123: ` that routers count their messages with, and past the mark of a clock that is not set.
fn skip_sequence(bytes: &[u8], at: usize) -> usize {
    let digits = bytes[at..].iter().take(12).take_while(|it| it.is_ascii_digit()).count();
    let mut next = at;
    if digits > 0 && bytes[at + digits..].starts_with(b": ") {
        next = at + digits + 2;
    }
    next + usize::from(matches!(bytes.get(next), Some(b'*' | b'.')))
}

/// Whether a text begins with a time.
pub(super) fn begins_with_stamp(text: &str) -> bool {
    stamp(text.as_bytes(), 0).0 != Stamp::None
}

fn stamp(bytes: &[u8], at: usize) -> (Stamp, Part) {
    let rest = &bytes[at..];
    if starts_with_stamp(rest) {
        let mut len = 16;
        while matches!(rest.get(len), Some(b'0'..=b'9' | b':' | b'.' | b',' | b'+' | b'-' | b'Z' | b'z')) {
            len += 1;
        }
        while matches!(rest[len - 1], b':' | b'-' | b'.' | b',') {
            len -= 1;
        }
        let kind = if rest[10] == b' ' { Stamp::IsoBlank } else { Stamp::Iso };
        return (kind, Part::new(at, at + len));
    }
    match bsd_stamp_len(rest) {
        Some(len) => (Stamp::Bsd, Part::new(at, at + len)),
        None => (Stamp::None, Part::new(at, at)),
    }
}

/// The length of `Apr 12 08:02:55`, `Apr  2 2025 08:02:55.123`, `Apr 2 08:02:55 CEST`.
fn bsd_stamp_len(bytes: &[u8]) -> Option<usize> {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = bytes.first_chunk::<3>()?;
    if !MONTHS.chunks_exact(3).any(|it| it == month) || bytes.get(3) != Some(&b' ') {
        return None;
    }
    let number = |at: usize| bytes.get(at..).map_or(0, |it| it.iter().take_while(|it| it.is_ascii_digit()).count());
    let mut at = skip_blanks(bytes, 4);
    let day = number(at);
    if !(1..=2).contains(&day) || bytes.get(at + day) != Some(&b' ') {
        return None;
    }
    at = skip_blanks(bytes, at + day);
    if number(at) == 4 && bytes.get(at + 4) == Some(&b' ') {
        at += 5;
    }
    let clock = bytes.get(at..at + 8)?;
    let good =
        clock[2] == b':' && clock[5] == b':' && [0, 1, 3, 4, 6, 7].iter().all(|it: &usize| clock[*it].is_ascii_digit());
    if !good {
        return None;
    }
    at += 8;
    if bytes.get(at) == Some(&b'.') && number(at + 1) > 0 {
        at += 1 + number(at + 1);
    }
    // `08:02:55 2025`: some write the year behind.
    if bytes.get(at) == Some(&b' ') && number(at + 1) == 4 && matches!(&bytes[at + 1..at + 3], b"19" | b"20") {
        let after = bytes.get(at + 5);
        if matches!(after, Some(b' ' | b':')) {
            at += 5;
        }
    }
    // A zone's name is followed by a colon in Cisco's form; without one it could be a host.
    let zone = bytes.get(at + 1..).map_or(0, |it| it.iter().take(5).take_while(|it| it.is_ascii_uppercase()).count());
    if bytes.get(at) == Some(&b' ')
        && (2..=5).contains(&zone)
        && bytes.get(at + 1 + zone) == Some(&b':')
        && bytes.get(at + 2 + zone) == Some(&b' ')
        && matches!(
            &bytes[at + 1..at + 1 + zone],
            b"UTC"
                | b"GMT"
                | b"EST"
                | b"EDT"
                | b"CST"
                | b"CDT"
                | b"MST"
                | b"MDT"
                | b"PST"
                | b"PDT"
                | b"CET"
                | b"CEST"
                | b"BST"
                | b"IST"
                | b"JST"
        )
    {
        at += 1 + zone;
    }
    matches!(bytes.get(at), None | Some(b' ' | b':')).then_some(at)
}

/// `app[pid]: ` or `app: `: both parts and where the message begins. CEF's `CEF:0|` is no tag.
fn tag(bytes: &[u8], at: usize) -> Option<(Part, Part, usize)> {
    const TAG_BYTES_MAX: usize = 128;
    let rest = &bytes[at..bytes.len().min(at + TAG_BYTES_MAX)];
    let mut len = 0;
    loop {
        match rest.get(len)? {
            b':' if len > 0 => match rest.get(len + 1) {
                None | Some(b' ' | b'\t') => {
                    let app = Part::new(at, at + len);
                    return Some((app, NONE, skip_blank(bytes, at + len + 1)));
                }
                Some(_) => len += 1,
            },
            b'[' if len > 0 => {
                let close = memchr::memchr(b']', &rest[len..])? + len;
                let inside = &rest[len + 1..close];
                if inside.is_empty() || inside.iter().any(|it| matches!(it, b' ' | b'"' | b'=' | b'[')) {
                    return None;
                }
                let after = match rest.get(close + 1) {
                    Some(b':') => close + 2,
                    None | Some(b' ') => close + 1,
                    Some(_) => return None,
                };
                let pid = Part::new(at + len + 1, at + close);
                return Some((Part::new(at, at + len), pid, skip_blank(bytes, (at + after).min(bytes.len()))));
            }
            b' ' | b'\t' | b'"' | b'{' | b'=' | b'|' | b'[' | b']' | b':' => return None,
            _ => len += 1,
        }
    }
}

/// Whether a record begins there that no word of a header can be taken for.
fn is_record(record: &str, at: usize) -> bool {
    record.get(at..).is_some_and(|it| it.starts_with("{\"") || cef::starts(it))
}

/// Past `@cee:`, where it stands before JSON.
fn cee(bytes: &[u8], at: usize) -> usize {
    let start = if bytes[at..].starts_with(BOM) { at + BOM.len() } else { at };
    let blank = skip_blanks(bytes, start);
    if bytes[blank..].starts_with(b"@cee:") {
        return skip_blanks(bytes, blank + 5);
    }
    if bytes.get(blank) == Some(&b'{') { blank } else { start }
}

fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at) == Some(&b' ') {
        at += 1;
    }
    at.min(bytes.len())
}

fn skip_blank(bytes: &[u8], at: usize) -> usize {
    at + usize::from(matches!(bytes.get(at), Some(b' ' | b'\t')))
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    memchr::memchr(b' ', &bytes[at..]).map_or(bytes.len(), |it| at + it)
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b'_' | b':' | b'/' | b'@' | b'%'))
}

/// What other logs write where syslog has its host.
fn is_level(text: &str) -> bool {
    const LEVELS: [&str; 16] = [
        "trace", "debug", "info", "notice", "warn", "warning", "error", "err", "crit", "critical", "fatal", "severe",
        "alert", "emerg", "stdout", "stderr",
    ];
    LEVELS.iter().any(|it| it.eq_ignore_ascii_case(text))
}

/// One past the structured data that begins at `at`: `-` or `[id name="value"]…`. Nothing, if it is neither.
fn data_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at) == Some(&b'-') && matches!(bytes.get(at + 1), None | Some(b' ')) {
        return at + 1;
    }
    let mut end = at;
    while bytes.get(end) == Some(&b'[') && is_element(&bytes[end + 1..]) {
        let Some(close) = element_end(bytes, end) else { return end };
        end = close;
    }
    end
}

/// Whether an element's id stands there. Check Point writes a message of its own making in brackets: `[action:"Accept"; …]`.
fn is_element(bytes: &[u8]) -> bool {
    let id = bytes.iter().take_while(|it| !matches!(it, b' ' | b']')).count();
    id > 0 && !bytes[..id].iter().any(|it| matches!(it, b'"' | b'=' | b';'))
}

/// One past the `]` of an element, which no quoted value hides.
fn element_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += memchr::memchr2(b'"', b']', bytes.get(at..)?)?;
        if bytes[at] == b']' {
            return Some(at + 1);
        }
        at = quote_end(bytes, at)?;
    }
}

/// One past the closing quote of the text that opens at `at`.
pub(super) fn quote_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Fills `syslog.sd.<id>.<name>`.
fn structured_data(record: &str, data: Part, paths: &Paths, buf: &mut EventBuf) {
    let bytes = &record.as_bytes()[..data.end];
    let trie = &paths.trie;
    trie.start(buf);
    let root = trie.find(ROOT, b"syslog.sd", 0, 9);
    let mut at = data.start;
    while bytes.get(at) == Some(&b'[') {
        let Some(end) = element_end(bytes, at) else { return };
        let id_end = at + 1 + bytes[at + 1..end].iter().take_while(|it| !matches!(it, b' ' | b']')).count();
        let node = trie.find(root, bytes, at + 1, id_end);
        if node != NOWHERE {
            parameters(record, Part::new(id_end, end - 1), node, paths, buf);
        }
        at = end;
    }
}

fn parameters(record: &str, part: Part, node: u32, paths: &Paths, buf: &mut EventBuf) {
    let bytes = &record.as_bytes()[..part.end];
    let mut at = skip_blanks(bytes, part.start);
    while let Some(equals) = memchr::memchr(b'=', &bytes[at..]).map(|it| at + it) {
        let Some(end) = (bytes.get(equals + 1) == Some(&b'"')).then(|| quote_end(bytes, equals + 1)).flatten() else {
            return;
        };
        let child = paths.trie.find(node, bytes, at, equals);
        if child != NOWHERE
            && paths.trie.admit(child, buf)
            && let Some(field) = paths.trie.field_at(child)
        {
            let slot = unescaped(record, Part::new(equals + 2, end - 1), buf);
            buf.set(field, slot);
        }
        at = skip_blanks(bytes, end);
    }
}

/// A value in which `\"`, `\\` and `\]` stand for the second character, and any other backslash for itself.
fn unescaped(record: &str, part: Part, buf: &mut EventBuf) -> Slot {
    let mut text = part.of(record);
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Slot::text(Place::Record, part.start, part.end - part.start);
    }
    let start = buf.scratch.len();
    while let Some(at) = memchr::memchr(b'\\', text.as_bytes()) {
        buf.scratch.push_str(&text[..at]);
        let rest = &text[at + 1..];
        match rest.bytes().next() {
            Some(it @ (b'"' | b'\\' | b']')) => {
                buf.scratch.push(char::from(it));
                text = &rest[1..];
            }
            Some(_) | None => {
                buf.scratch.push('\\');
                text = rest;
            }
        }
    }
    buf.scratch.push_str(text);
    Slot::text(Place::Scratch, start, buf.scratch.len() - start)
}
