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
use crate::model::{EventBuf, Place, Slot};

use super::paths::{NOWHERE, Node, ROOT, body};
use super::{Format, Paths, Reject};

pub(super) const FORMAT: Format = Format {
    name: "json",
    about: "one JSON object a line; arrays and wrappers are opened",
    example: r#"{"time":"2025-04-12T08:02:55Z","user":"ann@example.com","action":"login","ok":true}"#,
    looks_like,
    decode,
};

/// `{"`, `{}` or an array of such. `[Wed Oct 11 …]` and `{'a': 1}` are text.
fn looks_like(record: &str) -> bool {
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
    let part = body(record, at);
    read(record, part.start, ROOT, paths, buf)
}

/// Whether an object stands there and nothing after it.
pub(super) fn is_object(record: &str, at: usize, paths: &Paths, buf: &mut EventBuf) -> bool {
    record.as_bytes().get(at) == Some(&b'{') && read(record, at, NOWHERE, paths, buf).is_ok()
}

fn read(record: &str, at: usize, root: Node, paths: &Paths, buf: &mut EventBuf) -> Result<(), Reject> {
    let mut reader = Reader { record, bytes: record.as_bytes(), at, depth: 0, paths, buf };
    if root != NOWHERE {
        paths.trie.start(reader.buf);
    }
    match reader.next_byte() {
        Some(b'{') => reader.object(root)?,
        Some(b'[') => reader.array()?,
        Some(_) => return Err(Reject { reason: "not-an-object" }),
        None => return Err(Reject { reason: "empty" }),
    }
    match reader.next_byte() {
        None => Ok(()),
        Some(_) => Err(Reject { reason: "text-after-json" }),
    }
}

const BROKEN: Reject = Reject { reason: "not-json" };
const TOO_DEEP: Reject = Reject { reason: "too-deep" };

struct Reader<'a> {
    record: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    paths: &'a Paths,
    buf: &'a mut EventBuf,
}

impl Reader<'_> {
    /// The next byte that is no white space, not taken.
    #[inline]
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    #[inline]
    fn enter(&mut self) -> Result<(), Reject> {
        self.depth += 1;
        self.at += 1;
        if self.depth < limits::JSON_DEPTH_MAX { Ok(()) } else { Err(TOO_DEEP) }
    }

    #[inline]
    fn leave(&mut self) -> Result<(), Reject> {
        self.depth -= 1;
        self.at += 1;
        Ok(())
    }

    fn object(&mut self, node: Node) -> Result<(), Reject> {
        self.enter()?;
        if self.next_byte() == Some(b'}') {
            return self.leave();
        }
        loop {
            if self.next_byte() != Some(b'"') {
                return Err(BROKEN);
            }
            let text = self.string()?;
            let child = if node == NOWHERE { NOWHERE } else { self.child(node, text) };
            if self.next_byte() != Some(b':') {
                return Err(BROKEN);
            }
            self.at += 1;
            self.value(child)?;
            match self.next_byte() {
                Some(b',') => self.at += 1,
                Some(b'}') => return self.leave(),
                Some(_) | None => return Err(BROKEN),
            }
        }
    }

    fn array(&mut self) -> Result<(), Reject> {
        self.enter()?;
        if self.next_byte() == Some(b']') {
            return self.leave();
        }
        loop {
            self.value(NOWHERE)?;
            match self.next_byte() {
                Some(b',') => self.at += 1,
                Some(b']') => return self.leave(),
                Some(_) | None => return Err(BROKEN),
            }
        }
    }

    /// Where a key leads; nowhere when its value is not wanted or not the first.
    #[inline]
    fn child(&mut self, node: Node, key: Text) -> Node {
        let found = if key.escaped {
            self.escaped_child(node, key)
        } else {
            self.paths.trie.find(node, self.bytes, key.start, key.end)
        };
        if found != NOWHERE && self.paths.trie.admit(found, self.buf) { found } else { NOWHERE }
    }

    #[cold]
    fn escaped_child(&mut self, node: Node, key: Text) -> Node {
        let start = self.buf.scratch.len();
        unescape_into(&self.record[key.start..key.end], &mut self.buf.scratch);
        let found = self.paths.trie.find(node, self.buf.scratch.as_bytes(), start, self.buf.scratch.len());
        self.buf.scratch.truncate(start);
        found
    }

    #[inline]
    fn value(&mut self, node: Node) -> Result<(), Reject> {
        let Some(byte) = self.next_byte() else { return Err(BROKEN) };
        let start = self.at;
        let slot = match byte {
            b'"' => {
                let text = self.string()?;
                if node == NOWHERE {
                    return Ok(());
                }
                self.text_slot(text)
            }
            b'{' => {
                self.object(if self.paths.trie.has_children(node) { node } else { NOWHERE })?;
                Slot::json(Place::Record, start, self.at - start)
            }
            b'[' => {
                self.array()?;
                Slot::json(Place::Record, start, self.at - start)
            }
            b't' => self.word(b"true", Slot::bool(true))?,
            b'f' => self.word(b"false", Slot::bool(false))?,
            b'n' => self.word(b"null", Slot::null())?,
            b'-' | b'0'..=b'9' => {
                self.number()?;
                Slot::number(Place::Record, start, self.at - start)
            }
            _ => return Err(BROKEN),
        };
        if let Some(field) = self.paths.trie.field_at(node) {
            self.buf.set(field, slot);
        }
        Ok(())
    }

    #[inline]
    fn text_slot(&mut self, text: Text) -> Slot {
        if !text.escaped {
            return Slot::text(Place::Record, text.start, text.end - text.start);
        }
        let start = self.buf.scratch.len();
        // `string` has checked the escapes.
        unescape_into(&self.record[text.start..text.end], &mut self.buf.scratch);
        Slot::text(Place::Scratch, start, self.buf.scratch.len() - start)
    }

    #[inline]
    fn word(&mut self, word: &[u8], slot: Slot) -> Result<Slot, Reject> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(BROKEN);
        }
        self.at += word.len();
        Ok(slot)
    }

    /// Reads a string; `at` stands on its opening quote, then after its closing one.
    #[inline]
    fn string(&mut self) -> Result<Text, Reject> {
        let start = self.at + 1;
        let end = special(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Text { start, end, escaped: false });
        }
        self.string_from(start, end)
    }

    /// The rest of a string in which something special was met that is not its closing quote.
    #[cold]
    fn string_from(&mut self, start: usize, mut at: usize) -> Result<Text, Reject> {
        loop {
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at = escape_end(self.bytes, at).ok_or(BROKEN)?,
                Some(_) | None => return Err(BROKEN),
            }
            at = special(self.bytes, at);
        }
        self.at = at + 1;
        Ok(Text { start, end: at, escaped: true })
    }

    #[inline]
    fn number(&mut self) -> Result<(), Reject> {
        let start = self.at;
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
        self.at = at;
        // 1e999 is good grammar and no number: we let serde_json itself decide, in the rare case that it could be one.
        if suspect && serde_json::from_str::<f64>(&self.record[start..at]).is_err() {
            return Err(BROKEN);
        }
        Ok(())
    }
}

/// A string without its quotes.
#[derive(Clone, Copy)]
struct Text {
    start: usize,
    end: usize,
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

/// Where the first quote, backslash or control character at or after `at` stands; the length if there is none.
///
/// Eight bytes in a word: a byte below a bound is found by the borrow of its subtraction, and the lowest find is always a
/// true one. memchr would need a second look for control characters and costs a call, and most strings are shorter than
/// two words.
#[inline]
fn special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    while let Some(chunk) = bytes.get(at..).and_then(|it| it.first_chunk::<8>()) {
        let data = u64::from_le_bytes(*chunk);
        let quote = (data ^ ONES * 0x22).wrapping_sub(ONES);
        let slash = (data ^ ONES * 0x5c).wrapping_sub(ONES);
        let control = data.wrapping_sub(ONES * 0x20);
        let found = (quote | slash | control) & !data & ONES << 7;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    special_bytes(bytes, at)
}

/// The plain form of [`special`]; also for the record's last bytes.
fn special_bytes(bytes: &[u8], at: usize) -> usize {
    let is_special = |it: &u8| *it < 0x20 || matches!(it, b'"' | b'\\');
    bytes[at.min(bytes.len())..].iter().position(is_special).map_or(bytes.len(), |it| at + it)
}
