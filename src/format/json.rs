//! JSON: one pass that checks everything and locates what is wanted.
//!
//! A tree of the record costs more to build and drop than all the rules that look at it (measured: 560 ns a line of 240
//! bytes, half of it in the allocator). So nothing is built: the reader walks the record once, follows the wanted paths
//! through a trie, notes where their values stand, and checks the rest no less, for what one parser accepts and the next
//! one refuses is where attackers live. It accepts exactly what serde_json accepts for an object or an array.
//!
//! A key that comes twice keeps its first value, in the whole subtree. `{"user":"ann","user":"root"}` is believed
//! differently by different programs, so the event is marked too.

use crate::limits;
use crate::model::json::unescape_into;
use crate::model::{EventBuf, Leaf, LeafKind, Place, Slot};

use super::bits::{BLOCK, bits, bits_of};
use super::paths::{NOWHERE, Node, ROOT, body};
use super::{Format, Paths, Reject, trail};
use wide::u8x16;

pub(super) const FORMAT: Format = Format {
    name: "json",
    about: "one JSON object a line; arrays and wrappers are opened",
    example: r#"{"time":"2025-04-12T08:02:55Z","user":"ann@example.com","action":"login","ok":true}"#,
    looks_like,
    decode,
};

/// `{"`, `{}` or an array of such. `[Wed Oct 11 …]` and `{'a': 1}` are text.
fn looks_like(record: &str) -> bool {
    if record.starts_with("{\"") {
        return true;
    }
    if record.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) {
        return false;
    }
    let mut rest = body(record, 0).of(record).trim_ascii_start().as_bytes();
    while let Some((b'[', inner)) = rest.split_first() {
        rest = inner.trim_ascii_start();
        if rest.first() == Some(&b']') {
            return true;
        }
    }
    let Some((b'{', inner)) = rest.split_first() else { return false };
    matches!(inner.trim_ascii_start().first(), Some(b'"' | b'}'))
}

fn decode(record: &str, at: usize, paths: &Paths, buf: &mut EventBuf) -> Result<(), Reject> {
    if at > 0 {
        return read(record, body(record, at).start, ROOT, paths, buf);
    }
    if trail::follow(record, paths, buf) {
        return Ok(());
    }
    buf.clear();
    buf.notes.leaves.clear();
    buf.notes.objects.clear();
    read(record, body(record, 0).start, ROOT, paths, buf)?;
    trail::widen(record, buf);
    Ok(())
}

/// Whether an object stands there and nothing after it.
pub(super) fn is_object(record: &str, at: usize, paths: &Paths, buf: &mut EventBuf) -> bool {
    record.as_bytes().get(at) == Some(&b'{') && read(record, at, NOWHERE, paths, buf).is_ok()
}

fn read(record: &str, at: usize, root: Node, paths: &Paths, buf: &mut EventBuf) -> Result<(), Reject> {
    if root != NOWHERE {
        paths.trie.start(buf);
    }
    let mut reader = Reader::new(record, at, paths, buf);
    reader.specials.load(at);
    let bytes = reader.bytes;
    let (at, byte) = reader.skip_space(at);
    let end = match byte {
        b'{' => reader.object(at, root, 1)?,
        b'[' => reader.array(at, 1)?,
        END if at >= bytes.len() => return Err(Reject { reason: "empty" }),
        _ => return Err(Reject { reason: "not-an-object" }),
    };
    if reader.skip_space(end).0 < bytes.len() { Err(Reject { reason: "text-after-json" }) } else { Ok(()) }
}

const BROKEN: Reject = Reject { reason: "not-json" };
const TOO_DEEP: Reject = Reject { reason: "too-deep" };
/// What [`Reader::skip_space`] finds at the end; no value begins with it.
const END: u8 = 0;

/// Functions take the place where they begin and return the place behind what they read: kept in the reader, it would go
/// through memory at every step, and every step waits for it.
pub(super) struct Reader<'a> {
    record: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) specials: Specials<'a>,
    /// Keys met so far where something is wanted.
    count: usize,
    paths: &'a Paths,
    pub(super) buf: &'a mut EventBuf,
}

impl<'a> Reader<'a> {
    /// Its specials are loaded where it stands: moved, the bits would have to be waited for.
    #[inline(always)]
    pub(super) fn new(record: &'a str, at: usize, paths: &'a Paths, buf: &'a mut EventBuf) -> Reader<'a> {
        let bytes = record.as_bytes();
        let specials = Specials { bytes, base: at, bits: [0; BLOCKS] };
        Reader { record, bytes, specials, count: 0, paths, buf }
    }

    /// The next byte that is no white space, and its place.
    #[inline(always)]
    fn skip_space(&self, mut at: usize) -> (usize, u8) {
        loop {
            match self.bytes.get(at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => at += 1,
                Some(it) => return (at, *it),
                None => return (at, END),
            }
        }
    }

    fn object(&mut self, open: usize, node: Node, depth: usize) -> Result<usize, Reject> {
        if depth >= limits::JSON_DEPTH_MAX {
            return Err(TOO_DEEP);
        }
        let (mut at, mut byte) = self.skip_space(open + 1);
        if byte == b'}' {
            return Ok(at + 1);
        }
        loop {
            if byte != b'"' {
                return Err(BROKEN);
            }
            let (end, child) = self.key(at, node)?;
            (at, byte) = self.skip_space(end + 1);
            if byte != b':' {
                return Err(BROKEN);
            }
            let (start, first) = self.skip_space(at + 1);
            at = self.value(start, child, depth)?;
            if node != NOWHERE {
                self.note(start, first, at, child, depth);
            }
            (at, byte) = self.skip_space(at);
            match byte {
                b',' => (at, byte) = self.skip_space(at + 1),
                b'}' => return Ok(at + 1),
                _ => return Err(BROKEN),
            }
        }
    }

    fn array(&mut self, open: usize, depth: usize) -> Result<usize, Reject> {
        if depth >= limits::JSON_DEPTH_MAX {
            return Err(TOO_DEEP);
        }
        let (mut at, mut byte) = self.skip_space(open + 1);
        if byte == b']' {
            return Ok(at + 1);
        }
        loop {
            at = self.value(at, NOWHERE, depth)?;
            (at, byte) = self.skip_space(at);
            match byte {
                b',' => at += 1,
                b']' => return Ok(at + 1),
                _ => return Err(BROKEN),
            }
        }
    }

    /// Where the key that opens at `open` ends, and where it leads: nowhere when its value is not wanted or not the first.
    #[inline(always)]
    fn key(&mut self, open: usize, node: Node) -> Result<(usize, Node), Reject> {
        if node == NOWHERE {
            return Ok((self.string(open)?.end, NOWHERE));
        }
        let trie = &self.paths.trie;
        let count = self.count;
        self.count += 1;
        let (end, found) = match trie.foreseen(node, self.bytes, open + 1, self.buf.notes.keys.get(count)) {
            Some(it) => it,
            None => {
                let key = self.string(open)?;
                let found = if key.escaped {
                    self.escaped_child(node, key)
                } else {
                    trie.find_and_note(node, self.bytes, key.start, key.end, count, &mut self.buf.notes.keys)
                };
                (key.end, found)
            }
        };
        let wanted = found != NOWHERE && self.paths.trie.admit(found, self.buf);
        Ok((end, if wanted { found } else { NOWHERE }))
    }

    #[cold]
    fn escaped_child(&mut self, node: Node, key: Text) -> Node {
        let start = self.buf.scratch.len();
        unescape_into(&self.record[key.start..key.end], &mut self.buf.scratch);
        let found = self.paths.trie.find(node, self.buf.scratch.as_bytes(), start, self.buf.scratch.len());
        self.buf.scratch.truncate(start);
        found
    }

    #[inline(always)]
    fn value(&mut self, at: usize, node: Node, depth: usize) -> Result<usize, Reject> {
        let (start, byte) = self.skip_space(at);
        let (slot, end) = match byte {
            b'"' => {
                let text = self.string(start)?;
                if node == NOWHERE {
                    return Ok(text.end + 1);
                }
                (self.text_slot(text), text.end + 1)
            }
            b'{' if self.paths.trie.has_children(node) => {
                let end = self.object(start, node, depth + 1)?;
                (Slot::json(Place::Record, start, end - start), end)
            }
            _ => self.other(start, depth)?,
        };
        if let Some(field) = self.paths.trie.field_at(node) {
            self.buf.set(field, slot);
        }
        Ok(end)
    }

    /// A value that is no text and in which nothing is wanted.
    #[inline(always)]
    pub(super) fn other(&mut self, start: usize, depth: usize) -> Result<(Slot, usize), Reject> {
        Ok(match self.bytes.get(start) {
            Some(b'{') => {
                let end = self.object(start, NOWHERE, depth + 1)?;
                (Slot::json(Place::Record, start, end - start), end)
            }
            Some(b'[') => {
                let end = self.array(start, depth + 1)?;
                (Slot::json(Place::Record, start, end - start), end)
            }
            Some(b't') => (Slot::bool(true), self.word(start, b"true")?),
            Some(b'f') => (Slot::bool(false), self.word(start, b"false")?),
            Some(b'n') => (Slot::null(), self.word(start, b"null")?),
            Some(b'-' | b'0'..=b'9') => {
                let end = self.number(start)?;
                (Slot::number(Place::Record, start, end - start), end)
            }
            _ => return Err(BROKEN),
        })
    }

    /// Notes a value for [`trail`].
    fn note(&mut self, start: usize, first: u8, end: usize, child: Node, depth: usize) {
        let field = self.paths.trie.field_at(child);
        let walks = self.paths.trie.has_children(child);
        let (mut start, mut end) = (start as u32, end as u32);
        let kind = match first {
            b'{' if walks => {
                self.buf.notes.objects.extend(field.map(|it| (start, end, it)));
                return;
            }
            b'"' => {
                (start, end) = (start + 1, end - 1);
                LeafKind::Text
            }
            _ if walks => LeafKind::NoObject,
            _ => LeafKind::Other,
        };
        let leaf = Leaf { start, end, kind, field, depth: depth as u16, repeated: self.buf.key_repeated, bare: false };
        self.buf.notes.leaves.push(leaf);
    }

    #[inline(always)]
    pub(super) fn text_slot(&mut self, text: Text) -> Slot {
        if !text.escaped {
            return Slot::text(Place::Record, text.start, text.end - text.start);
        }
        let start = self.buf.scratch.len();
        // `string` has checked the escapes.
        unescape_into(&self.record[text.start..text.end], &mut self.buf.scratch);
        Slot::text(Place::Scratch, start, self.buf.scratch.len() - start)
    }

    #[inline(always)]
    fn word(&self, at: usize, word: &[u8]) -> Result<usize, Reject> {
        if self.bytes[at..].starts_with(word) { Ok(at + word.len()) } else { Err(BROKEN) }
    }

    /// The string whose opening quote is at `open`.
    #[inline(always)]
    pub(super) fn string(&mut self, open: usize) -> Result<Text, Reject> {
        let start = open + 1;
        let end = self.specials.next(start);
        if self.bytes.get(end) == Some(&b'"') {
            return Ok(Text { start, end, escaped: false });
        }
        self.string_from(start, end)
    }

    /// The rest of a string in which something special was met that is not its closing quote.
    #[cold]
    pub(super) fn string_from(&mut self, start: usize, mut at: usize) -> Result<Text, Reject> {
        loop {
            match self.bytes.get(at) {
                Some(b'"') => return Ok(Text { start, end: at, escaped: true }),
                Some(b'\\') => at = escape_end(self.bytes, at).ok_or(BROKEN)?,
                Some(_) | None => return Err(BROKEN),
            }
            at = self.specials.next(at);
        }
    }

    /// One past the number at `start`.
    fn number(&self, start: usize) -> Result<usize, Reject> {
        let mut at = start + usize::from(self.bytes[start] == b'-');
        match self.bytes.get(at) {
            Some(b'0') => at += 1,
            Some(b'1'..=b'9') => at = digits_end(self.bytes, at),
            Some(_) | None => return Err(BROKEN),
        }
        let mut suspect = at - start > 300;
        if self.bytes.get(at) == Some(&b'.') {
            let from = at + 1;
            at = digits_end(self.bytes, from);
            if at == from {
                return Err(BROKEN);
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(at) {
            at += 1 + usize::from(matches!(self.bytes.get(at + 1), Some(b'+' | b'-')));
            let from = at;
            at = digits_end(self.bytes, at);
            if at == from {
                return Err(BROKEN);
            }
            suspect |= at - from > 2 || from - start > 200;
        }
        // 1e999 is good grammar and no number: we let serde_json itself decide, in the rare case that it could be one.
        if suspect && serde_json::from_str::<f64>(&self.record[start..at]).is_err() {
            return Err(BROKEN);
        }
        Ok(at)
    }
}

/// A string without its quotes.
#[derive(Clone, Copy)]
pub(super) struct Text {
    start: usize,
    pub(super) end: usize,
    escaped: bool,
}

#[inline]
fn digits_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// One past the escape that begins at `at`; None for a bad one and for half a surrogate pair.
fn escape_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' => match unit(bytes, at)? {
            0xd800..0xdc00 => (0xdc00..0xe000).contains(&unit(bytes, at + 6)?).then_some(at + 12),
            0xdc00..0xe000 => None,
            _ => Some(at + 6),
        },
        _ => None,
    }
}

/// The number of `\uXXXX`.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |sum, it| Some(sum * 16 + char::from(*it).to_digit(16)?))
}

/// Where quotes, backslashes and control characters stand, one bit a byte.
///
/// Looking for the end of each string by itself is a chain: no load can begin before the last one has said where the
/// string ends, and a line of fifteen short strings is mostly waiting. The bits of a block depend on nothing, so those of
/// a whole window are found at once, and going from one to the next is a shift. Measured on flat lines: 140 ns with a word
/// at a time, see `benches/decode.rs`.
pub(super) struct Specials<'a> {
    bytes: &'a [u8],
    /// Where the window begins.
    base: usize,
    bits: [u64; BLOCKS],
}

/// Most lines have no more.
const BLOCKS: usize = 8;

impl<'a> Specials<'a> {
    /// The window at `base`.
    pub(super) fn load(&mut self, base: usize) {
        self.base = base;
        self.bits = [0; BLOCKS];
        let rest = self.bytes.get(base..).unwrap_or_default();
        let (blocks, tail) = rest.as_chunks::<BLOCK>();
        for (found, block) in self.bits.iter_mut().zip(blocks) {
            *found = bits(block, is_special);
        }
        if let Some(found) = self.bits.get_mut(blocks.len())
            && !tail.is_empty()
        {
            *found = match self.bytes.last_chunk() {
                Some(block) => bits(block, is_special) >> (BLOCK - tail.len()),
                None => bits_of(tail, is_special),
            };
        }
    }

    /// Where the first special byte at or after `at` stands; the length if there is none. `at` never goes back.
    #[inline(always)]
    pub(super) fn next(&mut self, at: usize) -> usize {
        let from = at - self.base;
        if let Some(bits) = self.bits.get(from / BLOCK) {
            let bits = bits >> (from % BLOCK);
            if bits != 0 {
                return at + bits.trailing_zeros() as usize;
            }
        }
        self.next_block(at)
    }

    /// The same, where the block of `at` has none.
    #[inline]
    fn next_block(&mut self, at: usize) -> usize {
        let mut block = (at - self.base) / BLOCK + 1;
        if block > BLOCKS {
            self.load(at);
            block = 0;
        }
        loop {
            while let Some(bits) = self.bits.get(block) {
                if *bits != 0 {
                    return self.base + block * BLOCK + bits.trailing_zeros() as usize;
                }
                block += 1;
            }
            let next = self.base + BLOCKS * BLOCK;
            if next >= self.bytes.len() {
                return self.bytes.len();
            }
            self.load(next);
            block = 0;
        }
    }
}

/// Bytes that end or bend a string.
#[inline(always)]
fn is_special(bytes: u8x16) -> u8x16 {
    let (quote, backslash, control) = (u8x16::splat(b'"'), u8x16::splat(b'\\'), u8x16::splat(0x1f));
    bytes.simd_eq(quote) | bytes.simd_eq(backslash) | bytes.simd_eq(bytes.min(control))
}
