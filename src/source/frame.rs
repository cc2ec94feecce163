//! Bytes to lines, whatever the bytes are.
//!
//! Splitting at line feeds is one call. What makes this a file is that the log is written by strangers: a line without an end,
//! bytes that are no text, a bracket that never closes, an octet count that lies. Each must cost itself and nobody else:
//! the line before and the line after come out, with their right numbers, in bounded memory.
//!
//! It must also be cheap, because every byte passes here. The common case — a chunk of clean, whole lines — is one UTF-8
//! check, one copy into the batch, and one search for line feeds; only a piece of a line at the end of a chunk, and lines
//! that are hostile, take the slow path. The test `cost` prints the rate.
//!
//! The law: how the bytes are cut into chunks changes nothing.

use crate::source::batch::{BROKEN_FRAME, LineBatch, TOO_LONG};
use crate::source::document::{Document, Step};
use crate::source::octets::{Header, header};
use memchr::{memchr, memchr_iter, memrchr};
use std::mem;

/// What a sender may do besides ending lines with LF or CR LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Lines,
    /// Octet-counted syslog messages are recognised between lines (TCP).
    LinesOrOctets,
}

/// Turns the bytes of one file, stdin or connection into lines.
#[derive(Debug)]
pub struct Framer {
    source: u16,
    line_bytes_max: usize,
    framing: Framing,
    /// Lines so far, blank and rejected ones included.
    number: u64,
    encoding: Encoding,
    place: Place,
    /// The line in `carry` is what an octet count that was too small left over.
    is_remainder: bool,
    /// The line, frame or byte order mark that has begun: never more than the line limit and a few bytes.
    carry: Vec<u8>,
    document: Option<Document>,
}

/// How characters are written, told by the first bytes.
#[derive(Debug)]
enum Encoding {
    /// Not yet known; the bytes are in `carry`.
    Unknown,
    Utf8,
    Utf16(Utf16),
}

/// Where in its framing the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the beginning of a line.
    Between,
    /// Right after a counted message: another, or the line feed that some senders add.
    AfterFrame,
    /// Digits that may become an octet count are in `carry`.
    Header { after_frame: bool },
    /// In a line; or in a message too long to keep, which ends after `left` bytes if no line feed comes first.
    Inside { left: usize },
    /// In the tail of a rejected line.
    Skipping { left: usize },
    /// In a counted message.
    Frame { len: usize },
    /// After a counted message with line feeds in it. It is one message if another count follows, and many lines with a
    /// wrong count before them otherwise.
    Doubtful { len: usize },
}

const LINE: Place = Place::Inside { left: usize::MAX };
/// Bytes looked at in one go: small enough that the check, the copy and the search find them in the cache.
const PIECE_BYTES: usize = 64 << 10;
/// A carry that grew larger gives its memory back.
const CARRY_BYTES_KEPT: usize = 16 << 10;

impl Framer {
    pub fn new(source: u16, line_bytes_max: usize) -> Framer {
        Framer {
            source,
            // A line's length is kept in 32 bits, and repairing may make it three times as long.
            line_bytes_max: line_bytes_max.clamp(1, 1 << 30),
            framing: Framing::Lines,
            number: 0,
            encoding: Encoding::Unknown,
            place: Place::Between,
            is_remainder: false,
            carry: Vec::new(),
            document: None,
        }
    }

    pub fn with_framing(self, framing: Framing) -> Framer {
        Framer { framing, ..self }
    }

    /// The next line has this number: the sender, or the reader of a file, did not begin at 1.
    pub fn with_next_number(self, next: u64) -> Framer {
        Framer { number: next.saturating_sub(1), ..self }
    }

    /// The bytes do not begin at the beginning, so what looks like a byte order mark is none.
    pub fn within_text(self) -> Framer {
        Framer { encoding: Encoding::Utf8, ..self }
    }

    /// Takes bytes as they come; the lines that end in them go to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut LineBatch) {
        out.source = self.source;
        for piece in bytes.chunks(PIECE_BYTES) {
            self.decode(piece, out);
        }
    }

    /// No more bytes will come. A missing line feed at the end is no error.
    pub fn finish(&mut self, out: &mut LineBatch) {
        out.source = self.source;
        match mem::replace(&mut self.encoding, Encoding::Utf8) {
            Encoding::Unknown => self.refeed(Place::Between, out),
            Encoding::Utf8 => (),
            Encoding::Utf16(mut it) => {
                let mut rest = Vec::new();
                it.finish(&mut rest);
                self.frame(&rest, out);
            }
        }
        self.settle(out);
        match self.place {
            Place::Frame { .. } | Place::Doubtful { .. } => {
                self.framing = Framing::Lines;
                self.refeed(LINE, out);
                self.end_line(out);
            }
            Place::Header { after_frame } => {
                self.is_remainder = after_frame;
                self.end_line(out);
            }
            Place::Inside { .. } => self.end_line(out),
            Place::Between | Place::AfterFrame | Place::Skipping { .. } => (),
        }
        self.place = Place::Between;
        if let Some(mut document) = self.document.take() {
            document.abandon(out);
        }
    }

    /// Nothing came for a moment: a counted message that only waited to be confirmed by the next one is taken as it is.
    pub fn settle(&mut self, out: &mut LineBatch) {
        if let Place::Doubtful { len } = self.place
            && self.carry.len() == len
        {
            self.end_line(out);
            self.place = Place::AfterFrame;
        }
    }

    /// Whether `settle` would do something.
    pub fn is_waiting_for_proof(&self) -> bool {
        matches!(self.place, Place::Doubtful { .. })
    }

    /// Whether a line has begun and not ended.
    pub fn is_inside_line(&self) -> bool {
        !matches!(self.place, Place::Between | Place::AfterFrame) || !self.carry.is_empty()
    }

    /// Whether nothing has begun: what follows means the same to a new framer.
    pub fn is_between_records(&self) -> bool {
        let is_known = !matches!(self.encoding, Encoding::Unknown);
        is_known && self.place == Place::Between && self.carry.is_empty() && self.document.is_none()
    }

    /// Every line up to this one was handed over, rejected or blank.
    pub fn settled_number(&self) -> u64 {
        self.document.as_ref().and_then(Document::first_open_line).map_or(self.number, |it| it - 1)
    }

    /// Memory held for what has not ended.
    pub fn held_bytes(&self) -> usize {
        self.carry.capacity() + self.document.as_ref().map_or(0, Document::bytes)
    }

    fn decode(&mut self, bytes: &[u8], out: &mut LineBatch) {
        match &mut self.encoding {
            Encoding::Utf8 => self.frame(bytes, out),
            Encoding::Utf16(it) => {
                let mut text = Vec::with_capacity(bytes.len() * 2);
                it.push(bytes, &mut text);
                self.frame(&text, out);
            }
            Encoding::Unknown => {
                self.carry.extend_from_slice(bytes);
                let Some((encoding, skip)) = encoding(&self.carry) else { return };
                self.encoding = encoding;
                let held = mem::take(&mut self.carry);
                self.decode(&held[skip..], out);
            }
        }
    }

    fn frame(&mut self, mut bytes: &[u8], out: &mut LineBatch) {
        while !bytes.is_empty() {
            let taken = match self.place {
                Place::Between => self.whole_lines(bytes, out),
                Place::AfterFrame => self.after_frame(bytes[0]),
                Place::Header { after_frame } => self.header(bytes[0], after_frame, out),
                Place::Inside { left } => self.inside(bytes, left, out),
                Place::Skipping { left } => self.skip(bytes, left),
                Place::Frame { len } => self.in_frame(bytes, len, out),
                Place::Doubtful { len } => self.doubtful(bytes[0], len, out),
            };
            bytes = &bytes[taken..];
        }
    }

    /// The common case: all lines that are whole, at once.
    fn whole_lines(&mut self, bytes: &[u8], out: &mut LineBatch) -> usize {
        let plain = match self.framing {
            Framing::Lines => bytes,
            Framing::LinesOrOctets => &bytes[..plain_len(bytes)],
        };
        if plain.is_empty() {
            self.place = Place::Header { after_frame: false };
            return 0;
        }
        let Some(last) = memrchr(b'\n', plain) else {
            self.place = LINE;
            return 0;
        };
        let whole = &plain[..=last];
        let valid = match simdutf8::compat::from_utf8(whole) {
            Ok(text) => {
                self.clean_lines(text, out);
                return whole.len();
            }
            Err(error) => &whole[..error.valid_up_to()],
        };
        let start = memrchr(b'\n', valid).map_or(0, |it| it + 1);
        let clean = std::str::from_utf8(&valid[..start]).expect("the bytes before the first invalid one are valid");
        self.clean_lines(clean, out);
        let end = start + memchr(b'\n', &whole[start..]).expect("whole lines end in a line feed");
        self.line(without_cr(&whole[start..end]), out);
        end + 1
    }

    /// Whole lines of valid text: one copy, then only positions.
    fn clean_lines(&mut self, text: &str, out: &mut LineBatch) {
        let base = out.append(text);
        let mut start = 0;
        for end in memchr_iter(b'\n', text.as_bytes()) {
            self.number += 1;
            let line = &text[start..end];
            let line = line.strip_suffix('\r').unwrap_or(line);
            self.place_line(line, base + start, false, out);
            start = end + 1;
        }
    }

    /// One line of the slow path, without its end.
    fn line(&mut self, bytes: &[u8], out: &mut LineBatch) {
        self.number += 1;
        if bytes.len() > self.line_bytes_max {
            return self.reject_too_long(bytes, out);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                let start = out.append(text);
                self.place_line(text, start, false, out);
            }
            Err(_) => {
                let text = String::from_utf8_lossy(bytes);
                let start = out.append(&text);
                self.place_line(&text, start, true, out);
            }
        }
    }

    /// Decides what a line is: nothing, a record, part of a document, or too long. It is at `start` in the batch already.
    #[inline]
    fn place_line(&mut self, line: &str, start: usize, repaired: bool, out: &mut LineBatch) {
        let (Some(&first), Some(&last)) = (line.as_bytes().first(), line.as_bytes().last()) else { return };
        let is_ordinary = first > b' ' && !matches!(last, b'{' | b'[' | b',' | b' ' | b'\t' | b'\r');
        if is_ordinary && self.document.is_none() && line.len() <= self.line_bytes_max {
            return out.declare(start, line.len(), self.number, repaired);
        }
        self.place_odd_line(line, start, repaired, out);
    }

    fn place_odd_line(&mut self, line: &str, start: usize, repaired: bool, out: &mut LineBatch) {
        if !repaired && line.len() > self.line_bytes_max {
            return self.reject_too_long(line.as_bytes(), out);
        }
        if line.trim_ascii().is_empty() {
            return;
        }
        if let Some(document) = &mut self.document {
            match document.read(line, self.number, repaired, out) {
                Step::Continues => return,
                Step::Ended => return self.document = None,
                Step::Broken => {
                    document.abandon(out);
                    self.document = None;
                }
            }
        }
        self.document = Document::open(line, self.number, repaired, self.line_bytes_max, out);
        if self.document.is_none() {
            out.declare(start, line.len(), self.number, repaired);
        }
    }

    fn reject_too_long(&mut self, bytes: &[u8], out: &mut LineBatch) {
        if let Some(mut document) = self.document.take() {
            document.abandon(out);
        }
        out.reject(self.number, TOO_LONG, &bytes[..bytes.len().min(self.line_bytes_max)]);
    }

    /// A line that did not end in the chunk it began in.
    fn inside(&mut self, bytes: &[u8], left: usize, out: &mut LineBatch) -> usize {
        let window = &bytes[..bytes.len().min(left)];
        let (piece, ends) = match memchr(b'\n', window) {
            Some(at) => (&window[..at], true),
            None => (window, false),
        };
        // The maximum, a CR that may belong to the end, and one byte to prove that it is too long.
        let room = (self.line_bytes_max + 2).saturating_sub(self.carry.len());
        self.carry.extend_from_slice(&piece[..piece.len().min(room)]);
        let left = without(left, piece.len());
        if ends {
            self.end_line(out);
            self.place = Place::Between;
            return piece.len() + 1;
        }
        if without_cr(&self.carry).len() > self.line_bytes_max {
            self.end_line(out);
            self.place = Place::Skipping { left };
        } else {
            self.place = Place::Inside { left };
        }
        if left == 0 {
            self.end_line(out);
            self.place = Place::AfterFrame;
        }
        piece.len()
    }

    fn skip(&mut self, bytes: &[u8], left: usize) -> usize {
        let window = &bytes[..bytes.len().min(left)];
        match memchr(b'\n', window) {
            Some(at) => {
                self.place = Place::Between;
                at + 1
            }
            None => {
                let left = without(left, window.len());
                self.place = if left == 0 { Place::AfterFrame } else { Place::Skipping { left } };
                window.len()
            }
        }
    }

    /// The carried line is complete.
    fn end_line(&mut self, out: &mut LineBatch) {
        let carry = mem::take(&mut self.carry);
        if !carry.is_empty() || matches!(self.place, Place::Inside { .. }) {
            let text = carry.strip_suffix(b"\n").unwrap_or(&carry);
            if mem::take(&mut self.is_remainder) {
                // No line of its own, or a sender could forge one with a count that is too small.
                self.number += 1;
                out.reject(self.number, BROKEN_FRAME, &text[..text.len().min(self.line_bytes_max)]);
            } else {
                self.line(without_cr(text), out);
            }
        }
        self.keep_carry(carry);
    }

    fn keep_carry(&mut self, mut carry: Vec<u8>) {
        if carry.capacity() <= CARRY_BYTES_KEPT {
            carry.clear();
            self.carry = carry;
        }
    }

    fn after_frame(&mut self, byte: u8) -> usize {
        match byte {
            b'\n' => self.place = Place::Between,
            b'\r' => (),
            _ => {
                self.place = Place::Header { after_frame: true };
                return 0;
            }
        }
        1
    }

    /// Byte by byte, because a header has at most 26 of them and may be cut anywhere.
    fn header(&mut self, byte: u8, after_frame: bool, out: &mut LineBatch) -> usize {
        self.carry.push(byte);
        match header(&self.carry) {
            Header::Unknown => 1,
            Header::Counted { skip, len } => {
                self.carry.drain(..skip);
                self.place = match len {
                    // The count is transport, not data: even a wrong one must not cost us the line.
                    _ if len < self.carry.len() => LINE,
                    _ if len > self.line_bytes_max => Place::Inside { left: len - self.carry.len() },
                    _ => Place::Frame { len },
                };
                if self.place == (Place::Frame { len: self.carry.len() }) {
                    self.end_frame(out);
                }
                1
            }
            Header::None => {
                self.carry.pop();
                self.is_remainder = after_frame;
                self.place = LINE;
                0
            }
        }
    }

    fn in_frame(&mut self, bytes: &[u8], len: usize, out: &mut LineBatch) -> usize {
        let taken = bytes.len().min(len - self.carry.len());
        self.carry.extend_from_slice(&bytes[..taken]);
        if self.carry.len() == len {
            self.end_frame(out);
        }
        taken
    }

    fn end_frame(&mut self, out: &mut LineBatch) {
        let text = self.carry.strip_suffix(b"\n").unwrap_or(&self.carry);
        if memchr(b'\n', text).is_some() {
            self.place = Place::Doubtful { len: self.carry.len() };
        } else {
            self.end_line(out);
            self.place = Place::AfterFrame;
        }
    }

    fn doubtful(&mut self, byte: u8, len: usize, out: &mut LineBatch) -> usize {
        self.carry.push(byte);
        match header(&self.carry[len..]) {
            Header::Unknown => 1,
            Header::Counted { .. } => {
                let next = self.carry.split_off(len);
                self.end_line(out);
                self.place = Place::Header { after_frame: true };
                self.frame(&next, out);
                1
            }
            Header::None => {
                // The sender cannot count. Believing it once more could swallow lines; re-reading for every lie could
                // cost the square of the bytes.
                self.framing = Framing::Lines;
                self.refeed(LINE, out);
                1
            }
        }
    }

    /// Reads the carried bytes again, differently.
    fn refeed(&mut self, place: Place, out: &mut LineBatch) {
        let held = mem::take(&mut self.carry);
        self.place = place;
        self.frame(&held, out);
    }
}

/// What is left of a counted message; a line has no count.
fn without(left: usize, taken: usize) -> usize {
    if left == usize::MAX { left } else { left - taken }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The bytes before the first line that has, or may have, an octet count.
fn plain_len(bytes: &[u8]) -> usize {
    let starts = std::iter::once(0).chain(memchr_iter(b'\n', bytes).map(|it| it + 1));
    let mut counted = starts.filter(|it| *it < bytes.len() && header(&bytes[*it..]) != Header::None);
    counted.next().unwrap_or(bytes.len())
}

/// The encoding and the length of its mark; None while it could still be either.
fn encoding(first: &[u8]) -> Option<(Encoding, usize)> {
    const UTF8: &[u8] = b"\xef\xbb\xbf";
    match first {
        [0xff, 0xfe, ..] => Some((Encoding::Utf16(Utf16::new(u16::from_le_bytes)), 2)),
        [0xfe, 0xff, ..] => Some((Encoding::Utf16(Utf16::new(u16::from_be_bytes)), 2)),
        [0xff] | [0xfe] => None,
        _ if first.starts_with(UTF8) => Some((Encoding::Utf8, UTF8.len())),
        _ if UTF8.starts_with(first) => None,
        _ => Some((Encoding::Utf8, 0)),
    }
}

/// UTF-16 to UTF-8, in pieces. What is not a character becomes a byte that is not UTF-8, so that the line it is in, and
/// only that, is repaired and flagged in one place.
#[derive(Debug)]
struct Utf16 {
    unit: fn([u8; 2]) -> u16,
    half: Option<u8>,
    high: Option<u16>,
}

const NO_CHARACTER: u8 = 0xff;

impl Utf16 {
    fn new(unit: fn([u8; 2]) -> u16) -> Utf16 {
        Utf16 { unit, half: None, high: None }
    }

    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            match self.half.take() {
                None => self.half = Some(byte),
                Some(first) => self.take((self.unit)([first, byte]), out),
            }
        }
    }

    fn take(&mut self, unit: u16, out: &mut Vec<u8>) {
        let units = [self.high.take(), Some(unit)];
        for it in char::decode_utf16(units.into_iter().flatten()) {
            match it {
                Ok(it) => out.extend_from_slice(it.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(error) if (0xd800..0xdc00).contains(&error.unpaired_surrogate()) && self.high.is_none() => {
                    // The last unit may be half of a pair; an earlier one that comes out unpaired never will be.
                    if error.unpaired_surrogate() == unit { self.high = Some(unit) } else { out.push(NO_CHARACTER) }
                }
                Err(_) => out.push(NO_CHARACTER),
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.half.take().is_some() || self.high.take().is_some() {
            out.push(NO_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::source::batch::BROKEN_DOCUMENT;
    use proptest::prelude::*;

    const MAX: usize = 40;

    /// Lines as `number:text` (`number~text` if repaired), then rejects as `number!reason`.
    fn read<'a>(framing: Framing, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut framer = Framer::new(3, MAX).with_framing(framing);
        let mut out = LineBatch::default();
        for chunk in chunks {
            framer.push(chunk, &mut out);
            assert!(framer.held_bytes() < PIECE_BYTES * 2, "bounded memory");
        }
        framer.finish(&mut out);
        assert_eq!(out.source, 3);
        assert_eq!(out.received() as usize, out.lines().len() + out.rejects().len());
        let lines = out.lines().map(|it| format!("{}{}{}", it.number, if it.repaired { '~' } else { ':' }, it.text));
        let rejects = out.rejects().map(|it| {
            assert!(it.bytes.len() <= limits::REJECTED_TEXT_BYTES_MAX);
            format!("{}!{}", it.number, it.reason)
        });
        lines.chain(rejects).collect()
    }

    fn check_as(framing: Framing, input: &[u8], expected: &[&str]) {
        let shown = String::from_utf8_lossy(&input[..input.len().min(200)]);
        assert_eq!(read(framing, [input]), expected, "{shown:?} at once");
        assert_eq!(read(framing, input.chunks(1)), expected, "{shown:?} byte by byte");
        assert_eq!(read(framing, input.chunks(7)), expected, "{shown:?} in sevens");
    }

    fn check(input: &[u8], expected: &[&str]) {
        check_as(Framing::Lines, input, expected);
    }

    fn check_octets(input: &[u8], expected: &[&str]) {
        check_as(Framing::LinesOrOctets, input, expected);
    }

    /// A hostile line in the middle of honest ones: they come out, with their numbers.
    fn check_between(hostile: &[u8], lines: u64, expected: &[&str]) {
        let input = [b"canary one\n", hostile, b"\ncanary two\r\ncanary three"].concat();
        for framing in [Framing::Lines, Framing::LinesOrOctets] {
            for chunk in [1, 3, 64, input.len()] {
                let mut seen = read(framing, input.chunks(chunk));
                let canaries =
                    ["1:canary one", &format!("{}:canary two", lines + 2), &format!("{}:canary three", lines + 3)];
                for canary in canaries {
                    let at = seen.iter().position(|it| it == canary);
                    seen.remove(at.unwrap_or_else(|| panic!("{canary} is missing: {seen:?}")));
                }
                assert_eq!(
                    seen,
                    expected,
                    "{:?} {framing:?}",
                    String::from_utf8_lossy(&hostile[..hostile.len().min(80)])
                );
            }
        }
    }

    #[test]
    fn lines_have_ends_and_numbers() {
        check(b"", &[]);
        check(b"\n\r\n  \t\n", &[]);
        check(b"a\nb\r\n\n  \nc", &["1:a", "2:b", "5:c"]);
        check(b"a\rb\n \r\nc\r", &["1:a\rb", "3:c"]);
        check(" ü → 名\n".as_bytes(), &["1: ü → 名"]);
        check("\u{feff}a\n\u{feff}b".as_bytes(), &["1:a", "2:\u{feff}b"]);
        check(b"\xef\xbb", &["1~\u{fffd}"]);
        check(b"1 <34>a\nb", &["1:1 <34>a", "2:b"]);
    }

    #[test]
    fn what_is_no_text_costs_one_line() {
        check_between(b"a\xff\xfeb", 1, &["2~a\u{fffd}\u{fffd}b"]);
        check_between(b"\xe2\x82", 1, &["2~\u{fffd}"]);
        check_between(b"\xff\n\xff\nx\n\xff", 4, &["2~\u{fffd}", "3~\u{fffd}", "4:x", "5~\u{fffd}"]);
        check_between(b"a\0b\0", 1, &["2:a\0b\0"]);
        check_between(b"\0", 1, &["2:\0"]);
        check_between(b"", 1, &[]);
        check_between(b"\xef\xbb\xbfx", 1, &["2:\u{feff}x"]);
        check_between(b"\xff\xfex\0", 1, &["2~\u{fffd}\u{fffd}x\0"]);
        check_between(&[0xff; MAX], 1, &[&format!("2~{}", "\u{fffd}".repeat(MAX))]);
    }

    #[test]
    fn long_lines_cost_one_line() {
        let fits = "x".repeat(MAX);
        check_between(fits.as_bytes(), 1, &[&format!("2:{fits}")]);
        check_between(format!("{fits}\r").as_bytes(), 1, &[&format!("2:{fits}")]);
        check_between(format!("{fits}y").as_bytes(), 1, &["2!too-long"]);
        check_between(format!("{fits}\ry").as_bytes(), 1, &["2!too-long"]);
        check_between(&[0xff; MAX + 1], 1, &["2!too-long"]);
        check_between(format!("{fits}{fits}{{\"a\":1}}").as_bytes(), 1, &["2!too-long"]);
        check_between(format!("{{\n{fits}{fits}").as_bytes(), 2, &["2!broken-document", "3!too-long"]);
    }

    #[test]
    fn an_endless_line_costs_no_more_than_the_limit() {
        let mut framer = Framer::new(0, limits::LINE_BYTES_MAX);
        let mut out = LineBatch::default();
        framer.push(b"canary one\n", &mut out);
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            framer.push(&chunk, &mut out);
            assert!(framer.held_bytes() + out.bytes() <= 3 * limits::LINE_BYTES_MAX);
        }
        framer.push(b"{\"forged\":true}\ncanary two\n", &mut out);
        assert_eq!(
            out.lines().map(|it| (it.number, it.text)).collect::<Vec<_>>(),
            [(1, "canary one"), (3, "canary two")]
        );
        let rejects: Vec<_> = out.rejects().collect();
        assert_eq!((rejects.len(), rejects[0].number, rejects[0].reason), (1, 2, TOO_LONG));
        assert_eq!(rejects[0].bytes, &chunk[..limits::REJECTED_TEXT_BYTES_MAX]);
    }

    #[test]
    fn documents_over_several_lines_are_one() {
        check(b"{\r\n  \"a\": 1,\n\n  \"b\": 2\n}\nx", &["1:{ \"a\": 1, \"b\": 2 }", "6:x"]);
        check(b"[\n{\"a\":1},\n{\"a\":\xff\n]", &["2:{\"a\":1}", "3~{\"a\":\u{fffd}", "4:]"]);
        check(b"{\n\"a\": \"\xff\"\n}\n{\n}", &["1~{ \"a\": \"\u{fffd}\" }", "4:{ }"]);
        check_between(b"{", 1, &["2!broken-document"]);
        check_between(b"[", 1, &["2!broken-document"]);
        check_between(b"{\n\n\"a\": [", 3, &["2!broken-document", "4!broken-document"]);
        check_between(b"{\n{\n[", 3, &["2!broken-document", "3!broken-document", "4!broken-document"]);
        check(b"x\n{", &["1:x", "2!broken-document"]);
        assert_eq!(BROKEN_DOCUMENT, "broken-document");
    }

    #[test]
    fn octet_counts_are_taken_at_their_word_while_they_keep_it() {
        check_octets(b"5 <1>ab6 <1>abc", &["1:<1>ab", "2:<1>abc"]);
        check_octets(b"6 <1>ab\n5 <1>ab\nline\n5 <1>ab\r\n", &["1:<1>ab", "2:<1>ab", "3:line", "4:<1>ab"]);
        check_octets(b"6 <1>a\nb6 <1>c\nd", &["1:<1>a\nb", "2:<1>c\nd"]);
        check_octets(b"6 <1>a\nb\ncanary", &["1:<1>a", "2:b", "3:canary"]);
        check_octets(b"30 <1>a\ncanary one\ncanary two", &["1:<1>a", "2:canary one", "3:canary two"]);
        check_octets(
            b"20 <1>a\ncanary one\ncanary two\n5 <1>a",
            &["1:<1>a", "2:canary one", "3:canary two", "4:5 <1>a"],
        );
        check_octets(b"5 <1>ab and more\ncanary", &["1:<1>ab", "3:canary", "2!broken-frame"]);
        check_octets(b"5 <1>ab12 and more\ncanary", &["1:<1>ab", "3:canary", "2!broken-frame"]);
        check_octets(b"5 <1>ab1", &["1:<1>ab", "2!broken-frame"]);
        check_octets(b"1 <1>ab\ncanary", &["1:<1>ab", "2:canary"]);
        check_octets(b"99999999999 <1>ab\n5 <1>ok\ncanary", &["1:<1>ab", "2:<1>ok", "3:canary"]);
        check_octets(b"99999999999999999999 <1>ab\ncanary", &["1:<1>ab", "2:canary"]);
        let long = format!("50 <1>{}5 <1>ok", "x".repeat(47));
        check_octets(long.as_bytes(), &["2:<1>ok", "1!too-long"]);
        check_octets(b"12 apples\n200 <html>\n12", &["1:12 apples", "2:200 <html>", "3:12"]);
    }

    #[test]
    fn a_message_that_waits_for_proof_can_be_had_sooner() {
        let mut framer = Framer::new(0, MAX).with_framing(Framing::LinesOrOctets);
        let mut out = LineBatch::default();
        framer.push(b"6 <1>a\nb", &mut out);
        assert!(out.is_empty() && framer.is_waiting_for_proof());
        framer.settle(&mut out);
        framer.push(b"6 <1>a\nb", &mut out);
        assert_eq!(out.lines().next().map(|it| it.text), Some("<1>a\nb"));
        assert_eq!((out.lines().len(), framer.settled_number()), (1, 1));
    }

    #[test]
    fn utf_16_is_read() {
        let text = "\u{feff}a\r\nü → 𝄞\n{\n}\nlast";
        let expected = ["1:a", "2:ü → 𝄞", "3:{ }", "5:last"];
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        check(&little, &expected);
        check(&big, &expected);
        check(b"\xff\xfea\0\x00\xd8\n\0b\0\n\0\x00\xdc", &["1~a\u{fffd}", "2:b", "3~\u{fffd}"]);
        check(b"\xfe\xff\0a\0", &["1~a\u{fffd}"]);
    }

    #[test]
    fn positions_of_a_sender_that_continues() {
        let mut framer = Framer::new(0, MAX).with_next_number(8);
        let mut out = LineBatch::default();
        framer.push(b"a\n{\n\"b\": 1,\n", &mut out);
        assert_eq!((out.lines().next().map(|it| it.number), framer.settled_number()), (Some(8), 8));
        framer.push(b"\"c\": 1}\nd\ne", &mut out);
        assert_eq!((framer.settled_number(), framer.is_inside_line()), (12, true));
        out.forget_before(9);
        assert_eq!(out.lines().map(|it| it.number).collect::<Vec<_>>(), [9, 12]);
    }

    /// Bytes that are mostly the ones with a meaning.
    fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
        let pieces: Vec<&'static [u8]> = vec![
            b"\n",
            b"\n",
            b"\r\n",
            b" ",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b"\"a\": ",
            b"1",
            b"\"b\"",
            b"<34>",
            b"5 <1>ab",
            b"8 <1>a\nbcd",
            b"60 <1>",
            b"99999 <1>",
            b"\xff",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
            b"\0",
            b"xxxxxxxxxxxxxxxxxxx",
            "ü名".as_bytes(),
            b"{\n",
            b"[\n",
            b"{\"Records\": [\n",
            b"},\n",
            b"\\",
        ];
        let piece = prop_oneof![9 => prop::sample::select(pieces).prop_map(<[u8]>::to_vec), 1 => any::<u8>().prop_map(|it| vec![it])];
        prop::collection::vec(piece, 0..60).prop_map(|it| it.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn how_bytes_are_cut_changes_nothing(
            bytes in hostile_bytes(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            octets in any::<bool>(),
        ) {
            let framing = if octets { Framing::LinesOrOctets } else { Framing::Lines };
            let mut cuts: Vec<usize> = cuts.iter().map(|it| it.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|it| &bytes[it[0]..it[1]]);
            let whole = read(framing, [&bytes[..]]);
            prop_assert_eq!(&whole, &read(framing, parts));
            prop_assert_eq!(&whole, &read(framing, bytes.chunks(1)));
        }

        #[test]
        fn canaries_after_anything_come_out(bytes in hostile_bytes()) {
            let input = [&bytes[..], b"\ncanary\n"].concat();
            let is_utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
            let seen = read(Framing::Lines, [&input[..]]);
            prop_assert!(is_utf16 || seen.iter().any(|it| it.ends_with(":canary")), "{:?}", seen);
        }
    }

    /// `cargo test --release frame::tests::cost -- --nocapture` prints the rate. The assertion
    /// only says that no line was lost.
    #[test]
    fn cost() {
        let line = "2025-04-12 08:03:00 | 103.44.55.21 | ann@example.com | Brazil | Login failure | Mozilla/5.0 (X11; Linux)\n";
        let chunk = line.repeat(limits::BATCH_BYTES / line.len());
        let mut out = LineBatch::default();
        let mut framer = Framer::new(0, limits::LINE_BYTES_MAX);
        let rounds = 200;
        let start = std::time::Instant::now();
        let mut lines = 0;
        for _ in 0..rounds {
            out.clear();
            framer.push(chunk.as_bytes(), &mut out);
            lines += out.lines().len();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{:.2} GB/s, {:.1} ns a line",
            (chunk.len() * rounds) as f64 / seconds / 1e9,
            seconds * 1e9 / lines as f64
        );
        assert_eq!(lines, rounds * (chunk.len() / line.len()));
    }
}
