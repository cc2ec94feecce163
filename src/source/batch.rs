//! What a source hands over: many lines in one text.
//!
//! A `String` a line would cost an allocation a line, which is most of the budget. So a batch owns one text (the arena)
//! and says where in it the lines are. The text holds more than the lines — blank ones, lines of documents that were
//! joined — because leaving them where they were copied is cheaper than cutting them out. Batches are reused: `clear`
//! keeps the memory.

use crate::limits;
use crate::source::receipt::Receipt;
use std::sync::Arc;

/// Longer than the configured maximum.
pub const TOO_LONG: &str = "too-long";
/// A JSON document over several lines that stopped making sense, or never ended.
pub const BROKEN_DOCUMENT: &str = "broken-document";
/// What is left of a line after an octet count that was too small.
pub const BROKEN_FRAME: &str = "broken-frame";
/// The rest of an archive that is cut off or damaged; the text says where.
pub const BROKEN_ARCHIVE: &str = "broken-archive";

/// Lines of one source, ready for a front, and what could not become a line.
#[derive(Debug, Default)]
pub struct LineBatch {
    /// The source, by its place in the configuration.
    pub source: u16,
    /// What evidence calls the place: `stdin`, a path, `tcp:203.0.113.9:514`.
    pub name: Arc<str>,
    /// Whom to tell when these lines are committed, if anybody asked.
    pub receipt: Option<Receipt>,
    /// How far files were read, by name: committed with these lines. None: to be forgotten.
    pub positions: Vec<(Arc<str>, Option<Vec<u8>>)>,
    text: String,
    lines: Vec<LineSpan>,
    rejected: Vec<u8>,
    rejects: Vec<RejectSpan>,
}

/// One line: where it is, its number, and whether bytes had to be replaced.
#[derive(Debug, Clone, Copy)]
struct LineSpan {
    start: usize,
    number: u64,
    len: u32,
    repaired: bool,
}

#[derive(Debug, Clone, Copy)]
struct RejectSpan {
    start: usize,
    number: u64,
    len: u32,
    reason: &'static str,
}

/// A line as a front reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// From 1 in its file, stdin or connection; of a joined document, the number of its first line.
    pub number: u64,
    pub text: &'a str,
    /// Invalid UTF-8 was replaced by U+FFFD.
    pub repaired: bool,
}

/// A line that cannot become an event, kept so far that a person can see what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectedLine<'a> {
    pub number: u64,
    /// `too-long`, `broken-document`, …: a label of `events_rejected_total`.
    pub reason: &'static str,
    /// The beginning of it, at most `limits::REJECTED_TEXT_BYTES_MAX`.
    pub bytes: &'a [u8],
}

impl LineBatch {
    /// Nothing yet, of a source.
    pub fn of(source: u16) -> LineBatch {
        LineBatch { source, ..LineBatch::default() }
    }

    pub fn lines(&self) -> impl ExactSizeIterator<Item = Line<'_>> + Clone {
        self.lines.iter().map(|it| self.line_of(it))
    }

    /// The line at a place, from 0.
    pub fn line(&self, index: usize) -> Line<'_> {
        self.line_of(&self.lines[index])
    }

    fn line_of(&self, it: &LineSpan) -> Line<'_> {
        Line { number: it.number, text: &self.text[it.start..it.start + it.len as usize], repaired: it.repaired }
    }

    pub fn rejects(&self) -> impl ExactSizeIterator<Item = RejectedLine<'_>> + Clone {
        self.rejects.iter().map(|it| RejectedLine {
            number: it.number,
            reason: it.reason,
            bytes: &self.rejected[it.start..it.start + it.len as usize],
        })
    }

    /// Lines and rejects together: what `events_received_total` counts. Blank lines are nothing.
    pub fn received(&self) -> u64 {
        (self.lines.len() + self.rejects.len()) as u64
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.rejects.is_empty()
    }

    /// Whether a reader should hand it over before it reads on.
    pub fn is_full(&self) -> bool {
        self.bytes() >= limits::BATCH_BYTES
    }

    /// Memory in use, near enough for a budget.
    pub fn bytes(&self) -> usize {
        self.text.len()
            + self.rejected.len()
            + self.lines.len() * size_of::<LineSpan>()
            + self.rejects.len() * size_of::<RejectSpan>()
    }

    /// Empty again, memory kept — unless one giant line made it giant.
    pub fn clear(&mut self) {
        self.receipt = None;
        self.positions.clear();
        self.text.clear();
        self.text.shrink_to(limits::BATCH_BYTES * 2);
        self.lines.clear();
        self.lines.shrink_to(limits::BATCH_BYTES / 8);
        self.rejected.clear();
        self.rejected.shrink_to(limits::BATCH_BYTES);
        self.rejects.clear();
        self.rejects.shrink_to(limits::BATCH_BYTES / 64);
    }

    /// Forgets lines before that number: a client that reconnects sends some again.
    pub fn forget_before(&mut self, number: u64) {
        self.lines.retain(|it| it.number >= number);
        self.rejects.retain(|it| it.number >= number);
    }

    /// Puts the last line first.
    pub fn turn(&mut self) {
        self.lines.reverse();
        self.rejects.reverse();
    }

    /// Copies text into the arena; says where it begins.
    pub(super) fn append(&mut self, text: &str) -> usize {
        let start = self.text.len();
        self.text.push_str(text);
        start
    }

    /// Declares a piece of the arena to be a line.
    #[inline]
    pub(super) fn declare(&mut self, start: usize, len: usize, number: u64, repaired: bool) {
        let len = u32::try_from(len).expect("lines are shorter than the line limit, and that is below 4 GiB");
        self.lines.push(LineSpan { start, number, len, repaired });
    }

    /// Keeps the beginning of what could not become a line.
    pub fn reject(&mut self, number: u64, reason: &'static str, bytes: &[u8]) {
        let kept = &bytes[..bytes.len().min(limits::REJECTED_TEXT_BYTES_MAX)];
        self.rejects.push(RejectSpan { start: self.rejected.len(), number, len: kept.len() as u32, reason });
        self.rejected.extend_from_slice(kept);
    }
}
