//! Anything else: the whole line is the message.
//!
//! Many programs write a header and then JSON (`2025-04-12 08:02:55 INFO {"user":…}`). An object that ends the line is
//! opened, if it begins with the line's first brace and only a short header without quotes stands before it: further
//! back stands what users typed. The message is the whole line in any case, and no key can replace it.

use crate::model::EventBuf;

use super::paths::body;
use super::{Format, Paths, Reject, json, logfmt};

/// Longest header before an object. Longer: the line is text and nothing else.
const HEADER_BYTES_MAX: usize = 256;

pub(super) const FORMAT: Format = Format {
    name: "text",
    about: "any other line: its text is the message",
    example: "gateway: 3 attempts from 203.0.113.9 refused",
    looks_like: |_| true,
    decode,
};

fn decode(record: &str, at: usize, paths: &Paths, buf: &mut EventBuf) -> Result<(), Reject> {
    let part = body(record, at);
    if part.trim(record).is_empty() {
        return Err(Reject { reason: "empty" });
    }
    part.put(paths.message, buf);
    if logfmt::is_audit(part.of(record)) {
        paths.trie.start(buf);
        logfmt::pairs(record, part, paths, buf);
        return Ok(());
    }
    let bytes = part.of(record).as_bytes();
    if bytes.trim_ascii_end().ends_with(b"}")
        && let Some(brace) = bytes.iter().take(HEADER_BYTES_MAX).position(|it| matches!(it, b'{' | b'"'))
        && json::is_object(record, part.start + brace, paths, buf)
    {
        let _known_good = (json::FORMAT.decode)(record, part.start + brace, paths, buf);
    }
    Ok(())
}
