//! A line to an event: one file a syntax.
//!
//! A decoder reads a line once and notes where the wanted values stand; it copies nothing but what was escaped. What the
//! values mean is for schemas.
//!
//! Which syntax a line has is decided by the line alone. Remembering what a source sent before would save a few
//! nanoseconds and cost the first promise: the same line would be read differently after other lines, and who can write
//! one line into a log could choose how the next ones are read.

mod paths;
mod bits;
mod json;
mod keyrunner;
mod syslog;
mod cef;
mod combined;
mod logfmt;
mod text;
mod trail;
mod wrap;
mod respell;
#[doc(hidden)]
pub mod laws;

#[cfg(test)]
mod tests;

use crate::model::EventBuf;

pub use paths::Paths;
pub use wrap::{inner_records, inner_records_noted};

/// Why a line became no event: a short word that does not change, for counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reject {
    pub reason: &'static str,
}

/// One syntax.
#[derive(Clone, Copy)]
pub struct Format {
    pub name: &'static str,
    /// For help and reference pages.
    pub about: &'static str,
    /// A line of it.
    pub example: &'static str,
    /// Whether a line is worth a try, by its first bytes.
    pub looks_like: fn(&str) -> bool,
    /// Reads `record[at..]` into `buf`, which the caller has cleared; slots count from the start of `record`. A reject
    /// leaves the buffer as it was; only that of JSON may leave what was found before the fault.
    pub decode: fn(record: &str, at: usize, paths: &Paths, buf: &mut EventBuf) -> Result<(), Reject>,
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All formats, in the order in which [`Auto`] tries them; the last takes anything.
pub const FORMATS: &[Format] =
    &[json::FORMAT, keyrunner::FORMAT, syslog::FORMAT, cef::FORMAT, combined::FORMAT, logfmt::FORMAT, text::FORMAT];

/// The format of that name.
pub fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|it| it.name == name)
}

/// Reads lines of any format.
#[derive(Clone, Copy, Default, Debug)]
pub struct Auto;

impl Auto {
    /// Decodes with the first format that takes the line. What looks like JSON must be JSON: taken for text, a damaged
    /// record would hide among the messages instead of being counted.
    pub fn decode(&mut self, line: &str, paths: &Paths, buf: &mut EventBuf) -> Result<&'static Format, Reject> {
        let mut result = Err(Reject { reason: "empty" });
        for format in FORMATS.iter().filter(|it| (it.looks_like)(line)) {
            result = (format.decode)(line, 0, paths, buf).map(|()| format);
            if result.is_ok() || format.name == json::FORMAT.name {
                break;
            }
        }
        result
    }
}
