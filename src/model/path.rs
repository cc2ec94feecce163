//! Paths of a record: keys joined by dots, and selectors for what stands in arrays.
//!
//! Decoders find keys (`actor.alternateId`) while they read a line and keep arrays as text. What a selector asks of an array
//! is looked up in that text, and only when a schema or a rule names it: `events[0].name`, `target[type=User].alternateId`,
//! `events[].name`, `ips[-1]`, `details[..]`. So a path has two parts, the [root](Path::root) for the decoder and the [`Steps`] behind it.

use super::json;
use crate::limits;

/// A path as parsed: what decoders look for, and what is left to do in the value found there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// Keys joined by dots.
    pub root: String,
    pub steps: Steps,
}

/// What stands behind the first bracket of a path; empty for plain paths.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Steps(Vec<Step>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// Keys joined by dots; a key of the record may itself hold dots.
    Keys(String),
    /// The element at that place; from the end if negative.
    At(i32),
    /// The elements whose value at these keys is that text.
    Where(String, String),
    /// Every element.
    Each,
    /// Every key and value, however deep.
    Below,
}

/// Between places of which the first that a record has is meant.
const OR: &str = " | ";

impl Path {
    /// Whether a name means the first of several places: `user.id | actor.id`.
    pub fn several(name: &str) -> bool {
        name.contains(OR)
    }

    /// Whether the value behind a name is computed from others, because no record has it under that name.
    pub fn is_computed(name: &str) -> bool {
        name.contains('[') || Path::several(name)
    }

    /// The places that a name means, the first of which a record has is taken.
    pub fn places(name: &str) -> impl Iterator<Item = &str> {
        name.split(OR).map(str::trim)
    }

    /// Reads `a.b`, `a[0].b`, `a[-1]`, `a[x=y].z`, `a[].z`, `a[..]`. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Path, String> {
        let root_len = text.find('[').unwrap_or(text.len());
        let (root, rest) = text.split_at(root_len);
        if root.is_empty() || root.ends_with('.') {
            return Err(format!("`{text}` does not begin with a key"));
        }
        Ok(Path { root: root.to_string(), steps: Steps::parse(rest).map_err(|it| format!("`{text}`: {it}"))? })
    }
}

impl Steps {
    /// Reads what may stand behind a root, and keys alone: `[0].a.b`, `.a`, `a.b[0]`, nothing.
    pub fn parse(text: &str) -> Result<Steps, String> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (selector, after) = inner.split_once(']').ok_or("`[` is not closed by `]`")?;
                steps.push(selector_of(selector)?);
                rest = after;
                if !rest.is_empty() && !rest.starts_with(['.', '[']) {
                    return Err("after `]` comes `.` or `[`".to_string());
                }
            } else {
                let inner = if steps.is_empty() { rest.strip_prefix('.').unwrap_or(rest) } else { &rest[1..] };
                let len = inner.find('[').unwrap_or(inner.len());
                if len == 0 {
                    return Err("a key is empty".to_string());
                }
                steps.push(Step::Keys(inner[..len].to_string()));
                rest = &inner[len..];
            }
        }
        Ok(Steps(steps))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether several values may be found.
    pub fn finds_many(&self) -> bool {
        self.0.iter().any(|it| matches!(it, Step::Each | Step::Below))
    }

    /// The first value found in a JSON text, as written there.
    pub fn first<'a>(&self, json: &'a str) -> Option<&'a str> {
        let mut found = None;
        self.any(json, &mut |it| {
            found = Some(it);
            true
        });
        found
    }

    /// Calls `holds` with every value found in a JSON text, as written there, until one holds.
    pub fn any<'a>(&self, json: &'a str, holds: &mut dyn FnMut(&'a str) -> bool) -> bool {
        any(&self.0, json, holds)
    }
}

fn selector_of(text: &str) -> Result<Step, String> {
    if text.is_empty() {
        return Ok(Step::Each);
    }
    if text == ".." {
        return Ok(Step::Below);
    }
    if let Some((keys, value)) = text.split_once('=') {
        return Ok(Step::Where(keys.trim().to_string(), value.trim().to_string()));
    }
    text.trim().parse().map(Step::At).map_err(|_| format!("`[{text}]` is none of [0], [-1], [key=value], [], [..]"))
}

fn any<'a>(steps: &[Step], json: &'a str, holds: &mut dyn FnMut(&'a str) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else { return holds(json) };
    match step {
        Step::Keys(keys) => at_keys(json, keys).is_some_and(|it| any(rest, it, holds)),
        Step::At(place) => at_place(json, *place).is_some_and(|it| any(rest, it, holds)),
        Step::Where(keys, value) => each(json)
            .filter(|it| at_keys(it, keys).and_then(json::scalar).is_some_and(|it| it == value.as_str()))
            .any(|it| any(rest, it, holds)),
        Step::Each => each(json).any(|it| any(rest, it, holds)),
        Step::Below => below(json, limits::JSON_DEPTH_MAX, &mut |it| any(rest, it, holds)),
    }
}

/// Every key and every value that has none inside, as texts.
fn below<'a>(json: &'a str, depth: usize, holds: &mut dyn FnMut(&'a str) -> bool) -> bool {
    match json.as_bytes().first() {
        Some(b'{') if depth > 0 => {
            json::entries_as_written(json).any(|(key, value)| holds(key) || below(value, depth - 1, holds))
        }
        Some(b'[') if depth > 0 => json::elements(json).any(|it| below(it, depth - 1, holds)),
        _ => holds(json),
    }
}

/// The elements of an array; an object stands for itself, for some vendors leave the brackets out around a single one.
fn each(json: &str) -> impl Iterator<Item = &str> {
    let alone = (json.as_bytes().first() != Some(&b'[')).then_some(json);
    alone.into_iter().chain(json::elements(json))
}

fn at_place(json: &str, place: i32) -> Option<&str> {
    if place >= 0 {
        return each(json).nth(place as usize);
    }
    let count = each(json).count();
    each(json).nth(count.checked_sub(place.unsigned_abs() as usize)?)
}

/// The value at keys joined by dots, whether the record nests them or writes them as one key.
fn at_keys<'a>(object: &'a str, keys: &str) -> Option<&'a str> {
    let mut deeper = None;
    for (key, value) in json::entries(object) {
        if json::key_is(key, keys) {
            return Some(value);
        }
        if deeper.is_none()
            && let Some(rest) = keys.strip_prefix(key).and_then(|it| it.strip_prefix('.'))
        {
            deeper = at_keys(value, rest);
        }
    }
    deeper
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, json: &str, expected: &[&str]) {
        let path = Path::parse(path).unwrap();
        assert_eq!(path.root, "a");
        let mut found = Vec::new();
        path.steps.any(json, &mut |it| {
            found.push(it);
            false
        });
        assert_eq!(found, expected, "{path:?} in {json}");
        assert_eq!(path.steps.first(json), expected.first().copied());
    }

    #[test]
    fn selectors_find_what_they_name() {
        let json = r#"[{"x":"u","z":1},{"x":"v","z":{"k.l":[5,6]},"n":7},{"x":"v","z":3}]"#;
        check("a[0].z", json, &["1"]);
        check("a[-1].z", json, &["3"]);
        check("a[-4].z", json, &[]);
        check("a[9]", json, &[]);
        check("a[x=v].z.k.l[1]", json, &["6"]);
        check("a[n=7].x", json, &["\"v\""]);
        check("a[x=v].n", json, &["7"]);
        check("a[x=v].x", json, &["\"v\"", "\"v\""]);
        check("a[].z", json, &["1", r#"{"k.l":[5,6]}"#, "3"]);
        check("a[].z[].k.l[]", json, &["5", "6"]);
        check("a[x=none].z", json, &[]);
        check("a[1][..]", json, &[r#""x""#, r#""v""#, r#""z""#, r#""k.l""#, "5", "6", r#""n""#, "7"]);
        check("a[..]", "[1,[2,{}]]", &["1", "2"]);
        check("a", json, &[json]);
    }

    #[test]
    fn a_single_object_is_taken_for_an_array_of_one() {
        check("a[0].z", r#"{"z":1}"#, &["1"]);
        check("a[x=1].z", r#"{"x":"1","z":2}"#, &["2"]);
        check("a[1].z", r#"{"z":1}"#, &[]);
    }

    #[test]
    fn broken_json_is_no_panic() {
        for json in ["", "[", "[{", r#"[{"z""#, "{\"z\":", "null", "\u{e9}"] {
            check("a[].z", json, &[]);
            check("a[-1].z", json, &[]);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (path, expected) in [
            ("[0]", "does not begin with a key"),
            ("a[0", "is not closed"),
            ("a[x]", "is none of"),
            ("a[0]b", "after `]` comes"),
            ("a[0].", "a key is empty"),
        ] {
            let error = Path::parse(path).unwrap_err();
            assert!(error.contains(expected), "{path}: {error}");
        }
    }
}
