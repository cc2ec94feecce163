//! Which files a pattern means, and which of them are one log.
//!
//! A pattern is a path in which `*`, `?` and `[…]` stand for parts of one name. `**` and `{a,b}` are refused: the first would
//! make us walk a whole disk every second, and the second is better written as two sources.
//!
//! A log that is rotated has many names: `app.log`, `app.log.1`, `app.log.2.gz`, `app-20260122.log`. What they have in
//! common is the **chain**: the name without what rotation adds to it. Only files of one chain are ever taken for each
//! other's content, and they are read oldest first.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// A path in which some names may be patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// The part without wildcards, and then the names below it.
    root: PathBuf,
    names: Vec<Vec<Token>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// Exactly one character.
    One,
    /// Any number of characters.
    Any,
    /// One of these bytes, or none of them.
    Class {
        ranges: Vec<(u8, u8)>,
        negated: bool,
    },
}

/// What is wrong with a pattern, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    pub problem: &'static str,
    pub advice: &'static str,
    pub at: Range<usize>,
}

impl Pattern {
    /// Every character stands for itself.
    pub fn literal(path: &str) -> Pattern {
        Pattern { text: path.to_owned(), root: PathBuf::from(path), names: Vec::new() }
    }

    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        let error = |problem, advice, at| Err(PatternError { problem, advice, at });
        if text.is_empty() {
            return error("the path is empty", "name a file: \"/var/log/auth.log\"", 0..0);
        }
        if let Some(at) = text.find('\0') {
            return error("a path cannot hold a NUL", "remove it", at..at + 1);
        }
        if let Some(at) = text.find("**") {
            return error(
                "`**` is not understood",
                "write one `*` for each folder: \"/var/log/*/app.log\"",
                at..at + 2,
            );
        }
        if let (Some(open), Some(close)) = (text.find('{'), text.rfind('}'))
            && open < close
            && text[open..close].contains(',')
        {
            return error("`{a,b}` is not understood", "write a source for each", open..close + 1);
        }
        if text.ends_with('/') {
            return error("this names a folder", "name files: end it with `/*`", text.len() - 1..text.len());
        }
        let (mut root, mut names) = (PathBuf::new(), Vec::new());
        let mut start = 0;
        for (index, part) in text.split('/').enumerate() {
            let name = match tokens(part) {
                Ok(it) => it,
                Err(at) => {
                    let at = start + at;
                    return error("`[` is never closed", "write `[[]` for the character itself", at..at + 1);
                }
            };
            start += part.len() + 1;
            let is_plain = name.iter().all(|it| matches!(it, Token::Byte(_)));
            match (index, part) {
                (0, "") => root.push("/"),
                (_, "" | ".") => (),
                _ if names.is_empty() && is_plain => root.push(OsStr::from_bytes(&plain(&name))),
                _ => names.push(name),
            }
        }
        Ok(Pattern { text: text.to_owned(), root, names })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// One file, by its name.
    pub fn is_literal(&self) -> bool {
        self.names.is_empty()
    }

    /// The paths that are there now, at most so many; in no order. A folder that cannot be read is an error of its own.
    pub fn expand(&self, most: usize, failed: &mut Vec<(PathBuf, std::io::Error)>) -> Vec<PathBuf> {
        let mut paths = vec![self.root.clone()];
        for (depth, name) in self.names.iter().enumerate() {
            let is_last = depth + 1 == self.names.len();
            let mut next = Vec::new();
            for folder in &paths {
                let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                let entries = match fs::read_dir(place) {
                    Ok(it) => it,
                    Err(error) => {
                        failed.push((place.to_path_buf(), error));
                        continue;
                    }
                };
                for entry in entries.flatten() {
                    let file = entry.file_name();
                    let is_folder = || entry.file_type().is_ok_and(|it| it.is_dir() || it.is_symlink());
                    if matches(name, file.as_bytes()) && (is_last || is_folder()) {
                        next.push(folder.join(&file));
                    }
                    if next.len() > most {
                        return next;
                    }
                }
            }
            paths = next;
        }
        paths
    }
}

fn plain(name: &[Token]) -> Vec<u8> {
    name.iter().map(|it| if let Token::Byte(it) = it { *it } else { b'?' }).collect()
}

/// The error is where a class opens that never closes.
fn tokens(part: &str) -> Result<Vec<Token>, usize> {
    let bytes = part.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'*' => out.push(Token::Any),
            b'?' => out.push(Token::One),
            b'[' => {
                let (class, len) = class(&bytes[at + 1..]).ok_or(at)?;
                out.push(class);
                at += len;
            }
            byte => out.push(Token::Byte(byte)),
        }
        at += 1;
    }
    Ok(out)
}

/// What stands between brackets, and how many bytes that is, the closing one included.
fn class(bytes: &[u8]) -> Option<(Token, usize)> {
    let negated = matches!(bytes.first(), Some(b'!' | b'^'));
    let first = usize::from(negated);
    // A bracket that closes at once stands for itself.
    let close = first + 1 + bytes.get(first + 1..)?.iter().position(|it| *it == b']')?;
    let mut ranges = Vec::new();
    let mut at = first;
    while at < close {
        match bytes[at..close] {
            [from, b'-', to, ..] => {
                ranges.push((from.min(to), from.max(to)));
                at += 3;
            }
            [one, ..] => {
                ranges.push((one, one));
                at += 1;
            }
            [] => break,
        }
    }
    Some((Token::Class { ranges, negated }, close + 1))
}

/// Whether a name fits; the time is the product of the lengths at most. A name that begins with a dot is hidden from `*`.
fn matches(pattern: &[Token], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && !matches!(pattern.first(), Some(Token::Byte(b'.'))) {
        return false;
    }
    let (mut token, mut at) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while at < name.len() {
        let len = match pattern.get(token) {
            Some(Token::Any) => {
                back = Some((token, at));
                token += 1;
                continue;
            }
            Some(Token::Byte(it)) => usize::from(*it == name[at]),
            Some(Token::One) => char_len(&name[at..]),
            Some(Token::Class { ranges, negated }) => {
                let is_in = ranges.iter().any(|it| (it.0..=it.1).contains(&name[at]));
                if is_in == *negated { 0 } else { char_len(&name[at..]) }
            }
            None => 0,
        };
        match (len, &mut back) {
            (0, Some((any, from))) => {
                *from += 1;
                (token, at) = (*any + 1, *from);
            }
            (0, None) => return false,
            _ => {
                token += 1;
                at += len;
            }
        }
    }
    pattern[token..].iter().all(|it| *it == Token::Any)
}

/// Bytes of the first character, or 1 where it is none.
fn char_len(bytes: &[u8]) -> usize {
    let follow = bytes[1..].iter().take(3).take_while(|it| **it & 0xc0 == 0x80).count();
    if bytes[0] >= 0xc0 { 1 + follow } else { 1 }
}

/// What rotation made of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Age {
    /// `app.log` itself.
    Current,
    /// `app.log.3`: the larger, the older.
    Number(u64),
    /// `app.log-20260122`: the smaller, the older.
    Date(Vec<u8>),
}

/// The log that a file belongs to: its path without what rotation adds. Of `app.log` that is the path itself.
pub fn chain(path: &Path) -> PathBuf {
    let base = path.file_name().map_or(Vec::new(), |it| rotation(it.as_bytes()).0);
    path.with_file_name(OsStr::from_bytes(&base))
}

/// Whether a path is what rotation made of another.
pub fn is_rotated(path: &Path) -> bool {
    path.file_name().is_some_and(|it| rotation(it.as_bytes()).1 != Age::Current)
}

/// Oldest first, as far as names tell; what they do not tell, the times of the last changes do.
pub fn by_age(a: (&Path, i64), b: (&Path, i64)) -> Ordering {
    let age = |path: &Path| path.file_name().map_or(Age::Current, |it| rotation(it.as_bytes()).1);
    match (age(a.0), age(b.0)) {
        (Age::Current, Age::Current) => a.0.cmp(b.0),
        (Age::Current, _) => Ordering::Greater,
        (_, Age::Current) => Ordering::Less,
        (Age::Number(a), Age::Number(b)) => b.cmp(&a),
        (Age::Date(a), Age::Date(b)) => a.cmp(&b),
        (Age::Date(_), Age::Number(_)) | (Age::Number(_), Age::Date(_)) => a.1.cmp(&b.1),
    }
}

fn rotation(name: &[u8]) -> (Vec<u8>, Age) {
    let unpacked = [".gz", ".zst"].iter().find_map(|it| name.strip_suffix(it.as_bytes())).unwrap_or(name);
    for (word, age) in [(".old", 1), (".prev", 1)] {
        if let Some(base) = unpacked.strip_suffix(word.as_bytes()).filter(|it| !it.is_empty()) {
            return (base.to_vec(), Age::Number(age));
        }
    }
    // `app.log.1`, but neither `10.0.0.1` nor `app1.2`: those are names of their own.
    let digits = unpacked.iter().rev().take_while(|it| it.is_ascii_digit()).count();
    if let Some((base, b'.')) = unpacked.split_at_checked(unpacked.len() - digits).and_then(|it| {
        let (last, base) = it.0.split_last()?;
        Some((base, *last))
    }) && (1..=4).contains(&digits)
        && base.last().is_some_and(|it| !it.is_ascii_digit())
    {
        let number = unpacked[unpacked.len() - digits..].iter().fold(0, |sum, it| sum * 10 + u64::from(it - b'0'));
        return (base.to_vec(), Age::Number(number));
    }
    match date(unpacked) {
        Some(at) => {
            let base = [&unpacked[..at.start], &unpacked[at.end..]].concat();
            (base, Age::Date(unpacked[at].iter().copied().filter(u8::is_ascii_digit).collect()))
        }
        None if unpacked.len() < name.len() => (unpacked.to_vec(), Age::Number(0)),
        None => (name.to_vec(), Age::Current),
    }
}

/// Where a name says a day, and perhaps a time or a number after it; with the separator before it.
fn date(name: &[u8]) -> Option<Range<usize>> {
    let is_separator = |it: u8| matches!(it, b'-' | b'_' | b'.');
    (1..name.len()).find_map(|start| {
        if !is_separator(name[start - 1]) {
            return None;
        }
        let mut at = start;
        let mut part = |len: usize, range: std::ops::RangeInclusive<u32>| -> Option<()> {
            let digits = name.get(at..at + len)?;
            let value =
                digits.iter().try_fold(0, |sum, it| it.is_ascii_digit().then(|| sum * 10 + u32::from(it - b'0')));
            at += len;
            if name.get(at).is_some_and(|it| is_separator(*it)) && name.get(at + 1).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            value.filter(|it| range.contains(it)).map(|_| ())
        };
        part(4, 1970..=2199)?;
        part(2, 1..=12)?;
        part(2, 1..=31)?;
        let is_time = |it: &&u8| it.is_ascii_digit() || matches!(it, b'-' | b'_' | b':' | b'T');
        let mut end = at + name[at..].iter().take_while(is_time).count();
        // `app-2026-01-22.3.log`: the third of that day.
        if let [b'.', rest @ ..] = &name[end..] {
            let digits = rest.iter().take_while(|it| it.is_ascii_digit()).count();
            let ends = rest.get(digits).is_none_or(|it| *it == b'.');
            end += if digits > 0 && ends { 1 + digits } else { 0 };
        }
        Some(start - 1..end)
    })
}

/// Whether two paths stand in one folder.
pub fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(it) if it.components().next().is_some() => it.to_path_buf(),
        _ if matches!(path.components().next(), Some(Component::RootDir)) => PathBuf::from("/"),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        for (pattern, fits, not) in [
            ("*.log", "a.log x.y.log", ".a.log a.log.1 alog"),
            ("app?.log", "app1.log appé.log", "app.log app12.log"),
            ("app[0-9].log", "app7.log", "appx.log app.log"),
            ("app[!0-9].log", "appx.log", "app7.log"),
            ("[]]x", "]x", "x"),
            ("a*b*c", "abc aXbYc abcbc", "ab acb"),
            ("*", "a b", ".hidden"),
            (".*", ".hidden", "a"),
        ] {
            let Ok(tokens) = tokens(pattern) else { panic!("{pattern}") };
            for name in fits.split(' ') {
                assert!(matches(&tokens, name.as_bytes()), "{pattern} {name}");
            }
            for name in not.split(' ') {
                assert!(!matches(&tokens, name.as_bytes()), "{pattern} {name}");
            }
        }
        let long = vec![b'a'; 5_000];
        assert!(!matches(&tokens("*a*a*a*a*a*a*a*a*b").expect("a pattern"), &long), "and it ends");
    }

    #[test]
    fn bad_patterns_are_pointed_at() {
        for (text, problem, at) in [
            ("", "the path is empty", 0..0),
            ("/var/**/x.log", "`**` is not understood", 5..7),
            ("/var/{a,b}.log", "`{a,b}` is not understood", 5..10),
            ("/var/log/", "this names a folder", 8..9),
            ("/var/log/app[0-9.log", "`[` is never closed", 12..13),
        ] {
            let error = Pattern::parse(text).expect_err(text);
            assert_eq!((error.problem, error.at), (problem, at), "{text}");
        }
        assert!(Pattern::parse("/var/log/a{b}.log").is_ok_and(|it| it.is_literal()));
        assert!(!Pattern::parse("/var/*/a.log").expect("a pattern").is_literal());
    }

    #[test]
    fn rotation_changes_the_name_and_not_the_log() {
        for (name, base) in [
            ("app.log", "app.log"),
            ("app.log.1", "app.log"),
            ("app.log.12.gz", "app.log"),
            ("app.log.old", "app.log"),
            ("app.log.gz", "app.log"),
            ("messages-20260122", "messages"),
            ("app.log-20260122.gz", "app.log"),
            ("app.log-20260122-1737500000", "app.log"),
            ("app.log.2026-01-22", "app.log"),
            ("app.log.2026-01-22_03", "app.log"),
            ("app-20260122.log.zst", "app.log"),
            ("app-2026-01-22.3.log.gz", "app.log"),
            ("syslog.1", "syslog"),
            ("10.0.0.1", "10.0.0.1"),
            ("fw-10.0.0.1", "fw-10.0.0.1"),
            ("192.168.100.200.log", "192.168.100.200.log"),
            ("worker-1.log", "worker-1.log"),
            ("worker.1.log", "worker.1.log"),
            ("app-20261322.log", "app-20261322.log"),
        ] {
            assert_eq!(chain(Path::new(name)), Path::new(base), "{name}");
            assert_eq!(is_rotated(Path::new(name)), name != base, "{name}");
        }
        for (names, times) in [
            ("a.log.10.gz a.log.2 a.log.1 a.log", [0, 0, 0, 0]),
            ("a.log-20251231.gz a.log-20260101 a.log-20260102 a.log", [9, 8, 7, 6]),
            ("a.log.2 a.log-20260101 a.log.1 a.log", [1, 2, 3, 0]),
        ] {
            let in_order: Vec<(&Path, i64)> = names.split(' ').map(Path::new).zip(times).collect();
            for pair in in_order.windows(2) {
                assert_eq!(by_age(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            }
        }
    }
}
