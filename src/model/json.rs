//! Walking through JSON text that is known to be valid, without building anything.
//!
//! The decoder checks a record once and keeps arrays and objects as text; schemas and matchers look into that text only
//! when somebody asks. On text that is not valid these functions end early and never panic.

use std::borrow::Cow;

/// The members of an object, as (key without quotes but still escaped, value as written). Nothing for other values.
pub fn entries(object: &str) -> impl Iterator<Item = (&str, &str)> {
    entries_as_written(object).map_while(|(key, value)| Some((key.strip_prefix('"')?.strip_suffix('"')?, value)))
}

/// The same, the key with its quotes.
pub fn entries_as_written(object: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut walk = Walk::into(object, b'{');
    std::iter::from_fn(move || {
        let key = walk.value()?;
        walk.skip(b':');
        let value = walk.value()?;
        walk.skip(b',');
        Some((key, value))
    })
}

/// The elements of an array, as written. Nothing for other values.
pub fn elements(array: &str) -> impl Iterator<Item = &str> {
    let mut walk = Walk::into(array, b'[');
    std::iter::from_fn(move || {
        let value = walk.value()?;
        walk.skip(b',');
        Some(value)
    })
}

/// The member of that name; the first, if there are several.
pub fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    entries(object).find(|(key, _)| key_is(key, name)).map(|(_, value)| value)
}

/// Whether an escaped key means that name.
pub fn key_is(key: &str, name: &str) -> bool {
    if key.contains('\\') { unescape(key).is_some_and(|it| it == name) } else { key == name }
}

/// A text without quotes and escapes, a number or truth value as written; None for null, objects and arrays.
pub fn scalar(value: &str) -> Option<Cow<'_, str>> {
    match value.as_bytes().first()? {
        b'"' => {
            let inner = value.strip_prefix('"')?.strip_suffix('"')?;
            if inner.contains('\\') { unescape(inner).map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
        }
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(value)),
    }
}

/// Appends every text, number and truth value of a JSON record, unescaped, with [`super::List::SEPARATOR`] between them; a text
/// that is no JSON is one value. A key that holds a `/` is no word of the software but a label that somebody gave, and a value
/// as well.
pub fn scalars(record: &str, out: &mut String) {
    let start = out.len();
    let record = record.trim();
    // Logs of servers begin with times and levels in brackets.
    let is_json = record.starts_with('{') || record.starts_with('[') && record.ends_with(']');
    let depth = if is_json { crate::limits::JSON_DEPTH_MAX } else { 0 };
    if depth > 0 {
        scalars_below(record, depth, out);
        // The last separator parts nothing.
        if out.len() > start {
            out.pop();
        }
    }
    if out.len() == start {
        out.push_str(record);
    }
}

fn scalars_below(value: &str, depth: usize, out: &mut String) {
    match value.as_bytes().first() {
        Some(b'{') if depth > 0 => entries(value).for_each(|(key, value)| {
            if key.contains('/') {
                unescape_into(key, out);
                out.push(super::List::SEPARATOR);
            }
            scalars_below(value, depth - 1, out);
        }),
        Some(b'[') if depth > 0 => elements(value).for_each(|it| scalars_below(it, depth - 1, out)),
        _ => {
            if let Some(text) = scalar(value).filter(|it| !it.is_empty()) {
                out.push_str(&text);
                out.push(super::List::SEPARATOR);
            }
        }
    }
}

/// What an escaped text means; None for a bad escape or half a surrogate pair.
pub fn unescape(escaped: &str) -> Option<String> {
    let mut out = String::with_capacity(escaped.len());
    unescape_into(escaped, &mut out).then_some(out)
}

/// Appends what an escaped text means; false (with `out` as far as it got) for a bad escape or half a surrogate pair.
pub fn unescape_into(escaped: &str, out: &mut String) -> bool {
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let bytes = rest.as_bytes();
        let Some(kind) = bytes.get(at + 1) else { return false };
        let (it, len) = match kind {
            b'"' => ('"', 2),
            b'\\' => ('\\', 2),
            b'/' => ('/', 2),
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            b'u' => match unicode_escape(&bytes[at..]) {
                Some(found) => found,
                None => return false,
            },
            _ => return false,
        };
        out.push(it);
        rest = &rest[at + len..];
    }
    out.push_str(rest);
    true
}

/// The character of a leading `\uXXXX` or surrogate pair, and its length in bytes.
fn unicode_escape(bytes: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let digits = bytes.get(at..at + 6)?;
        if digits[0] != b'\\' || digits[1] != b'u' {
            return None;
        }
        digits[2..].iter().try_fold(0, |sum, it| Some(sum * 16 + char::from(*it).to_digit(16)?))
    };
    let first = unit(0)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).map(|it| (it, 6));
    }
    let second = unit(6).filter(|it| (0xdc00..0xe000).contains(it))?;
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).map(|it| (it, 12))
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    fn into(text: &'a str, open: u8) -> Walk<'a> {
        let mut walk = Walk { text, at: 0 };
        walk.space();
        if text.as_bytes().get(walk.at) == Some(&open) {
            walk.at += 1;
        } else {
            walk.at = text.len();
        }
        walk
    }

    fn space(&mut self) {
        while matches!(self.text.as_bytes().get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn skip(&mut self, byte: u8) {
        self.space();
        if self.text.as_bytes().get(self.at) == Some(&byte) {
            self.at += 1;
        }
    }

    /// The next value as written; None at a closing bracket or the end.
    fn value(&mut self) -> Option<&'a str> {
        self.space();
        let bytes = self.text.as_bytes();
        let start = self.at;
        match bytes.get(start)? {
            b'"' => self.at = string_end(bytes, start)?,
            b'{' | b'[' => {
                let mut depth = 0usize;
                loop {
                    match bytes.get(self.at)? {
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        b'"' => {
                            self.at = string_end(bytes, self.at)?;
                            continue;
                        }
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            b'}' | b']' => return None,
            _ => {
                while !matches!(
                    bytes.get(self.at),
                    None | Some(b',' | b'}' | b']' | b':' | b' ' | b'\t' | b'\n' | b'\r')
                ) {
                    self.at += 1;
                }
                if self.at == start {
                    return None;
                }
            }
        }
        self.text.get(start..self.at)
    }
}

/// One past the closing quote of the string that opens at `start`.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_objects_and_arrays() {
        let text = r#" { "a" : [1, "x\"]", {"b":null}] , "c\u0064" : {"e": true}, "f":-1.5e3} "#;
        let found: Vec<_> = entries(text).collect();
        assert_eq!(found, [("a", r#"[1, "x\"]", {"b":null}]"#), (r"c\u0064", r#"{"e": true}"#), ("f", "-1.5e3")]);
        assert_eq!(elements(found[0].1).collect::<Vec<_>>(), ["1", r#""x\"]""#, r#"{"b":null}"#]);
        assert_eq!(member(text, "cd"), Some(r#"{"e": true}"#));
        assert_eq!(scalar(r#""x\"]\ud83d\ude00""#).as_deref(), Some("x\"]😀"));
        assert_eq!(scalar("null"), None);
    }

    #[test]
    fn broken_text_ends_early() {
        for text in
            ["", "{", "[", "{\"a\"", "{\"a\":", "[\"\\", "[[[", "{\"a\":}", "[,,]", "[1 2", "{]}", "\u{e9}", "[}"]
        {
            assert!(entries(text).count() < 3, "{text}");
            assert!(elements(text).count() < 3, "{text}");
        }
        assert_eq!(unescape(r"\ud800"), None);
        assert_eq!(unescape("a\\"), None);
    }
}
