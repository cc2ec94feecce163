//! Pretty-printed JSON: one record over many lines.
//!
//! An export from a vendor's console, or anything that went through `jq .`, has one member a line. Counting brackets until
//! they balance would join it again, but then one stray `{` swallows the log after it: it waits for a `}` that belongs to
//! others. So a line continues a document only if it is the next thing JSON's grammar allows there; the first line that
//! is not ends the document as broken, is itself read as usual, and nothing of anybody else's is lost.
//!
//! Exports also wrap records: `[ {…}, {…} ]` or `{"Records": [ {…} ]}`. Joined as a whole, a day of CloudTrail would be one
//! line, far over every limit. The records of such a wrapper are handed over one at a time, as they close, each under the
//! number of its own first line; the wrapper itself is not a record.

use crate::limits;
use crate::source::batch::{BROKEN_DOCUMENT, LineBatch, TOO_LONG};

/// Members of a document that hold a list of records: CloudTrail, Azure, CloudTrail lookups, CloudWatch, Graph, Google, Box.
/// Not `events`: a Google Workspace activity has one, and is itself the record.
const WRAPPERS: &[&str] = &["Records", "records", "Events", "logEvents", "value", "items", "entries"];

/// A document whose end has not come yet.
#[derive(Debug)]
pub struct Document {
    json: Json,
    bytes_max: usize,
    /// The record under construction: its lines, trimmed, with one space between them.
    text: String,
    /// Where each line of it is in `text`, so that a broken document can be shown line by line.
    pieces: Vec<Piece>,
    repaired: bool,
    records: Records,
    /// The record is over a limit: its lines are rejected as they come, until it closes.
    overflows: bool,
}

#[derive(Debug)]
struct Piece {
    number: u64,
    start: usize,
    end: usize,
}

/// What the records of a document are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Records {
    /// The document is one record.
    Whole,
    /// The elements of the array that opened at this depth, if they turn out to be objects.
    Perhaps { depth: u32 },
    /// The elements of the array at this depth.
    Between { depth: u32 },
    Within { depth: u32 },
    /// The list is closed; what the wrapper says besides is no record.
    After,
}

/// What became of a document with one more line.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Continues,
    Ended,
    /// The line cannot continue it. Nothing was changed: `abandon` the document and read the line as usual.
    Broken,
}

impl Document {
    /// A document, if this line opens one: JSON so far, not closed, and ending where a printer breaks lines.
    pub fn open(line: &str, number: u64, repaired: bool, bytes_max: usize, out: &mut LineBatch) -> Option<Document> {
        let trimmed = line.trim_ascii();
        if !trimmed.starts_with(['{', '[']) || !trimmed.ends_with(['{', '[', ',']) {
            return None;
        }
        let mut ahead = Json::default();
        if !ahead.read(trimmed, |_| ()) || ahead.depth == 0 {
            return None;
        }
        let mut it = Document {
            json: Json::default(),
            bytes_max,
            text: String::new(),
            pieces: Vec::new(),
            repaired: false,
            records: Records::Whole,
            overflows: false,
        };
        match it.read(trimmed, number, repaired, out) {
            Step::Continues => Some(it),
            Step::Ended | Step::Broken => None,
        }
    }

    /// Takes the next line.
    pub fn read(&mut self, line: &str, number: u64, repaired: bool, out: &mut LineBatch) -> Step {
        let line = line.trim_ascii();
        let mut ahead = self.json;
        let mut marks = Vec::new();
        if !ahead.read(line, |mark| marks.push(mark)) {
            return Step::Broken;
        }
        self.json = ahead;
        let mut from = 0;
        for mark in marks {
            match (mark.kind, self.records) {
                (Kind::List, Records::Whole) => self.records = Records::Perhaps { depth: mark.depth },
                (Kind::Object, Records::Perhaps { depth } | Records::Between { depth }) if mark.depth == depth + 1 => {
                    self.forget();
                    self.overflows = false;
                    self.records = Records::Within { depth };
                    from = mark.at;
                }
                (Kind::Close, Records::Within { depth }) if mark.depth == depth + 1 => {
                    self.collect(&line[from..=mark.at], number, repaired, out);
                    self.hand_over(out);
                    self.records = Records::Between { depth };
                    from = mark.at + 1;
                }
                (Kind::Close, Records::Whole | Records::Perhaps { .. }) if mark.depth == 1 => {
                    self.collect(&line[from..=mark.at], number, repaired, out);
                    self.hand_over(out);
                }
                (Kind::Close, Records::Perhaps { depth }) if mark.depth == depth => self.records = Records::Whole,
                (Kind::Close, Records::Between { depth }) if mark.depth == depth => self.records = Records::After,
                (Kind::List | Kind::Object | Kind::Close, _) => (),
            }
        }
        if self.json.depth == 0 {
            return Step::Ended;
        }
        match self.records {
            Records::Whole | Records::Perhaps { .. } | Records::Within { .. } => {
                self.collect(&line[from..], number, repaired, out);
            }
            Records::Between { .. } | Records::After => (),
        }
        Step::Continues
    }

    /// The document goes no further: its lines are rejected, each counted once.
    pub fn abandon(&mut self, out: &mut LineBatch) {
        self.reject_pieces(BROKEN_DOCUMENT, out);
    }

    /// The first line whose fate is open.
    pub fn first_open_line(&self) -> Option<u64> {
        self.pieces.first().map(|it| it.number)
    }

    pub fn bytes(&self) -> usize {
        self.text.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    fn collect(&mut self, piece: &str, number: u64, repaired: bool, out: &mut LineBatch) {
        if piece.is_empty() {
            return;
        }
        let is_too_much =
            self.text.len() + piece.len() >= self.bytes_max || self.pieces.len() == limits::DOCUMENT_LINES_MAX;
        if is_too_much && !self.overflows {
            self.reject_pieces(TOO_LONG, out);
            self.overflows = true;
        }
        if self.overflows {
            out.reject(number, TOO_LONG, piece.as_bytes());
            return;
        }
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        let start = self.text.len();
        self.text.push_str(piece);
        self.pieces.push(Piece { number, start, end: self.text.len() });
        self.repaired |= repaired;
    }

    /// The record is complete.
    fn hand_over(&mut self, out: &mut LineBatch) {
        if let (false, Some(first)) = (self.overflows, self.pieces.first()) {
            let number = first.number;
            let start = out.append(&self.text);
            out.declare(start, self.text.len(), number, self.repaired);
        }
        self.overflows = false;
        self.forget();
    }

    fn reject_pieces(&mut self, reason: &'static str, out: &mut LineBatch) {
        for it in &self.pieces {
            out.reject(it.number, reason, &self.text.as_bytes()[it.start..it.end]);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.text.clear();
        self.pieces.clear();
        self.repaired = false;
    }
}

/// Where in JSON's grammar the text is. Copied to look ahead, so it is small: which of the open brackets are objects is
/// one bit each.
#[derive(Debug, Clone, Copy)]
struct Json {
    objects: u128,
    depth: u32,
    expect: Expect,
}

const _: () = assert!(limits::JSON_DEPTH_MAX <= u128::BITS as usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// The document is closed; a comma may follow (`{…},` of a list that lost its brackets).
    Nothing,
}

/// A bracket that matters for finding records.
#[derive(Debug, Clone, Copy)]
struct Mark {
    kind: Kind,
    at: usize,
    /// Of the thing that opens or closes; the outermost is 1.
    depth: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    /// An array that may hold records: the outermost, or one that a wrapper's name announces.
    List,
    Close,
}

impl Default for Json {
    fn default() -> Json {
        Json { objects: 0, depth: 0, expect: Expect::Value }
    }
}

impl Json {
    /// Walks over one line. False: it is not what may come here, and the state is worthless.
    fn read(&mut self, line: &str, mut mark: impl FnMut(Mark)) -> bool {
        let bytes = line.as_bytes();
        let mut key = "";
        let mut at = 0;
        while at < bytes.len() {
            let len = match bytes[at] {
                b' ' | b'\t' => 1,
                byte @ (b'{' | b'[') => {
                    if !self.open(byte == b'{') {
                        return false;
                    }
                    let is_list = byte == b'[' && (self.depth == 1 || self.depth == 2 && WRAPPERS.contains(&key));
                    if byte == b'{' {
                        mark(Mark { kind: Kind::Object, at, depth: self.depth });
                    } else if is_list {
                        mark(Mark { kind: Kind::List, at, depth: self.depth });
                    }
                    key = "";
                    1
                }
                byte @ (b'}' | b']') => {
                    mark(Mark { kind: Kind::Close, at, depth: self.depth });
                    if !self.close(byte == b'}') {
                        return false;
                    }
                    1
                }
                b',' if self.expect == Expect::CommaOrEnd => {
                    self.expect = if self.is_in_object() { Expect::Key } else { Expect::Value };
                    1
                }
                b',' if self.expect == Expect::Nothing => 1,
                b':' if self.expect == Expect::Colon => {
                    self.expect = Expect::Value;
                    1
                }
                b'"' => {
                    let Some(len) = quoted_len(&bytes[at..]) else { return false };
                    match self.expect {
                        Expect::Key | Expect::KeyOrEnd => {
                            key = &line[at + 1..at + len - 1];
                            self.expect = Expect::Colon;
                        }
                        Expect::Value | Expect::ValueOrEnd if self.depth > 0 => self.expect = Expect::CommaOrEnd,
                        Expect::Value | Expect::ValueOrEnd => return false,
                        Expect::Colon | Expect::CommaOrEnd | Expect::Nothing => return false,
                    }
                    len
                }
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                    let is_expected = matches!(self.expect, Expect::Value | Expect::ValueOrEnd) && self.depth > 0;
                    let len = word_len(&bytes[at..]);
                    if !is_expected || !is_scalar(&line[at..at + len]) {
                        return false;
                    }
                    self.expect = Expect::CommaOrEnd;
                    len
                }
                _ => return false,
            };
            at += len;
        }
        true
    }

    fn open(&mut self, is_object: bool) -> bool {
        let is_expected = matches!(self.expect, Expect::Value | Expect::ValueOrEnd);
        if !is_expected || self.depth as usize == limits::JSON_DEPTH_MAX {
            return false;
        }
        self.objects = self.objects << 1 | u128::from(is_object);
        self.depth += 1;
        self.expect = if is_object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
        true
    }

    fn close(&mut self, is_object: bool) -> bool {
        let end = if is_object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
        let is_expected = self.expect == end || self.expect == Expect::CommaOrEnd;
        if self.depth == 0 || self.is_in_object() != is_object || !is_expected {
            return false;
        }
        self.objects >>= 1;
        self.depth -= 1;
        self.expect = if self.depth == 0 { Expect::Nothing } else { Expect::CommaOrEnd };
        true
    }

    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

/// The length of a text with its quotes; None if it does not end in this line, which JSON forbids.
fn quoted_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn word_len(bytes: &[u8]) -> usize {
    let is_in_word = |it: &u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'+' | b'.');
    bytes.iter().take_while(|it| is_in_word(it)).count()
}

fn is_scalar(word: &str) -> bool {
    matches!(word, "true" | "false" | "null") || (word.starts_with(|it: char| it != 'n') && word.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of lines: a record as `number:text`, a rejected line as `number!reason`, and lines that stay lines.
    fn check(lines: &[&str], expected: &[&str]) {
        let mut out = LineBatch::default();
        let mut document: Option<Document> = None;
        let mut plain = Vec::new();
        for (number, line) in (1..).zip(lines) {
            if let Some(open) = &mut document {
                match open.read(line, number, false, &mut out) {
                    Step::Continues => continue,
                    Step::Ended => {
                        document = None;
                        continue;
                    }
                    Step::Broken => open.abandon(&mut out),
                }
            }
            document = Document::open(line, number, false, 100, &mut out);
            if document.is_none() {
                plain.push(format!("{number}={line}"));
            }
        }
        if let Some(mut open) = document {
            open.abandon(&mut out);
        }
        let mut seen: Vec<String> = out.lines().map(|it| format!("{}:{}", it.number, it.text)).collect();
        seen.extend(out.rejects().map(|it| format!("{}!{}", it.number, it.reason)));
        seen.extend(plain);
        assert_eq!(seen, expected, "{lines:?}");
    }

    #[test]
    fn records_are_joined() {
        check(&["{", "  \"a\": 1,", "  \"b\": [", "    true", "  ]", "}"], &["1:{ \"a\": 1, \"b\": [ true ] }"]);
        check(&["{", "\"a\": \"} ] \\\" {\",", "\"b\": null }"], &["1:{ \"a\": \"} ] \\\" {\", \"b\": null }"]);
        check(&["{\"a\": {", "\"b\": -1.5e3", "}", "},"], &["1:{\"a\": { \"b\": -1.5e3 } }"]);
        check(&["{", "}", "{", "\"a\":", "{", "}", "}"], &["1:{ }", "3:{ \"a\": { } }"]);
    }

    #[test]
    fn records_come_out_of_their_wrapper_one_by_one() {
        check(&["[", "  {", "    \"a\": 1", "  },", "  {", "    \"a\": 2", "  }", "]"], &["2:{ \"a\": 1 }", "5:{ \"a\": 2 }"]);
        check(&["[", "{\"a\":1},", "{\"a\":2}, {", "\"a\":3}", "]"], &["2:{\"a\":1}", "3:{\"a\":2}", "3:{ \"a\":3}"]);
        check(&["{", "\"Records\": [", "{", "\"items\": [ {", "} ] } ],", "\"next\": \"x\" }"], &["3:{ \"items\": [ { } ] }"]);
        check(&["{ \"Records\": [ {", "\"a\": 1 }", "] }"], &["1:{ \"a\": 1 }"]);
        check(&["{", "\"value\": [", "1, 2", "], \"b\": {} }"], &["1:{ \"value\": [ 1, 2 ], \"b\": {} }"]);
        check(&["{\"Records\": [", "{}", "], \"b\": [", "{", "} ] }"], &["2:{}"]);
        check(&["[", "1,", "2", "]"], &["1:[ 1, 2 ]"]);
        let long = format!("\"long\": \"{}\"", "x".repeat(90));
        check(
            &["[", "{\"a\":1},", "{", &long, "},", "{\"a\":2}", "]"],
            &["2:{\"a\":1}", "6:{\"a\":2}", "3!too-long", "4!too-long", "5!too-long"],
        );
    }

    #[test]
    fn a_bad_bracket_swallows_nothing() {
        let canary = "2025-04-12 08:03:00 | ann | Login";
        let plain = format!("2={canary}");
        for bad in ["{", "[", "{\"a\": [", "{\"a\": 1,", "[1,"] {
            check(&[bad, canary], &["1!broken-document", &plain]);
        }
        for not_a_document in ["{ foo {", "[2025-04-12] {", "{\"a\": \"{", "[]{", "{}", "{\"a\": 1}", "{]["] {
            check(&[not_a_document, canary], &[&format!("1={not_a_document}"), &plain]);
        }
        check(&["{", "{\"a\":1}"], &["1!broken-document", "2={\"a\":1}"]);
        check(&["{", "\"2025\",\"ann\""], &["1!broken-document", "2=\"2025\",\"ann\""]);
        check(&["{", "\"a\": \"b", "\"c\": 1"], &["1!broken-document", "2=\"a\": \"b", "3=\"c\": 1"]);
        check(&["[", "{\"a\":1},", canary], &["2:{\"a\":1}", &format!("3={canary}")]);
        check(&["[", "{\"a\":1},", "{", canary], &["2:{\"a\":1}", "3!broken-document", &format!("4={canary}")]);
        check(&["{", "\"a\": 2025-04-12"], &["1!broken-document", "2=\"a\": 2025-04-12"]);
    }

    #[test]
    fn a_document_has_limits() {
        let long = format!("\"a\": \"{}\",", "x".repeat(90));
        check(&["{", &long, "\"b\": 1", "}", "x"], &["1!too-long", "2!too-long", "3!too-long", "4!too-long", "5=x"]);
        let deep = vec!["["; limits::JSON_DEPTH_MAX + 1];
        let mut out = LineBatch::default();
        let mut document = Document::open("[", 1, false, 1 << 20, &mut out).expect("a document");
        let steps: Vec<Step> = deep.iter().map(|it| document.read(it, 2, false, &mut out)).collect();
        assert_eq!(steps.iter().filter(|it| **it == Step::Continues).count(), limits::JSON_DEPTH_MAX - 1);
    }
}
