//! Laws of the decoders over any input, as plain functions: fuzz targets and ordinary tests call the same ones.
//!
//! A law panics when it is broken. Fuzzers bring any bytes; ordinary tests bring the seeds in `fuzz/corpus` and what
//! proptest makes up.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::model::{Event, EventBuf, FieldId, Fields, Value};

use super::{Auto, FORMATS, Paths, find, inner_records};

/// Paths that short inputs can hit, nested, dotted, long and beside each other.
const WANTED: [&str; 42] = [
    "q\"",
    "q\\",
    "a",
    "b",
    "a.b",
    "a.b.c",
    "c.d",
    "c.d.e",
    "aa.b",
    "a-key-of-more-than-sixteen-bytes",
    "user.name",
    "",
    "message",
    "é",
    "time",
    "user",
    "syslog.time",
    "syslog.host",
    "syslog.app",
    "syslog.pid",
    "syslog.msgid",
    "syslog.priority",
    "syslog.sd.a.b",
    "keyrunner.time",
    "keyrunner.ip",
    "keyrunner.user",
    "keyrunner.geo",
    "keyrunner.action",
    "keyrunner.statement",
    "cef.vendor",
    "cef.name",
    "cef.severity",
    "cef.ext.src",
    "cef.ext.a",
    "access.ip",
    "access.user",
    "access.time",
    "access.path",
    "access.status",
    "access.bytes",
    "access.referer",
    "access.user_agent",
];

struct Wanted {
    ids: Vec<FieldId>,
    paths: Paths,
    buf: EventBuf,
}

fn wanted() -> Wanted {
    let mut fields = Fields::default();
    let ids = WANTED.iter().map(|it| fields.path(it)).collect();
    let paths = Paths::new(&fields);
    let buf = EventBuf::new(fields.len(), Arc::from(""));
    Wanted { ids, paths, buf }
}

/// Every format takes any text at any place without panicking, and every slot it sets can be read.
pub fn any_text_is_decoded_or_refused(text: &str) {
    let Wanted { ids, paths, mut buf } = wanted();
    let second = text.char_indices().nth(1).map_or(text.len(), |(at, _)| at);
    for format in FORMATS {
        for at in [0, second] {
            buf.clear();
            let result = (format.decode)(text, at, &paths, &mut buf);
            for id in &ids {
                let _readable = buf.get(text, *id);
            }
            let untouched = ids.iter().all(|it| !buf.has(*it)) && buf.scratch.is_empty();
            assert!(result.is_ok() || format.name == "json" || untouched, "{} leaves a trace", format.name);
        }
    }
}

/// [`Auto`] reads a line the same way whatever it read before.
pub fn auto_remembers_nothing(text: &str) {
    let Wanted { ids, paths, mut buf } = wanted();
    let shown = |buf: &EventBuf| ids.iter().map(|it| format!("{:?}", buf.get(text, *it))).collect::<Vec<_>>();
    let mut auto = Auto;
    let first = auto.decode(text, &paths, &mut buf).map(|it| it.name);
    let found = shown(&buf);
    for format in FORMATS {
        buf.clear();
        let _other = auto.decode(format.example, &paths, &mut buf);
        buf.clear();
        assert_eq!(auto.decode(text, &paths, &mut buf).map(|it| it.name), first);
        assert_eq!(shown(&buf), found);
    }
}

/// What is found inside any text is text, and no more than the limit; nothing is found in what the decoder calls bare.
pub fn inner_records_are_bounded(text: &str) {
    let mut bytes = 0;
    let count = inner_records(text, &mut |it| bytes += it.len());
    let Wanted { paths, mut buf, .. } = wanted();
    // The second time it follows the first; before that, a record with the same names and a number for a container.
    for before in [text, text, r#"{"a":1,"b":2}"#, text, &text.replace("{}", "1").replace("[]", "1"), text] {
        buf.clear();
        let _read = Auto.decode(before, &paths, &mut buf);
        assert!(before != text || !buf.notes.bare || count == 0, "{text}");
    }
    assert!(count <= crate::limits::RECORDS_PER_LINE_MAX);
    assert!(bytes <= text.len() * 3);
}

/// The JSON decoder accepts what serde_json accepts as object or array, and finds the values that a naive reading finds.
pub fn json_equals_serde_json(text: &str) {
    let Wanted { ids, paths, mut buf } = wanted();
    let json = find("json").expect("JSON is a format");
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let plain: Result<serde_json::Value, _> = serde_json::from_str(body);
    let good = matches!(plain, Ok(serde_json::Value::Object(_) | serde_json::Value::Array(_)));
    // The keys of these records are foreseen then; that must not change what is found.
    for before in [r#"{"a":1,"a.b":2,"b":{"c":3}}"#, r#"{"b":1,"a":{"b":{"c":1},"b":2}}"#, text] {
        buf.clear();
        let _noted = (json.decode)(before, 0, &paths, &mut buf);
    }
    buf.clear();
    let result = (json.decode)(text, 0, &paths, &mut buf);
    assert_eq!(result.is_ok(), good, "{text:?}: {result:?}, serde_json: {plain:?}");
    let (true, Ok(tree)) = (good, serde_json::from_str::<Tree>(body)) else { return };
    let event = Event { record: text, buf: &buf };
    let mut naive = Naive::default();
    naive.read("", &tree);
    for (path, id) in WANTED.iter().zip(ids) {
        let expected = naive.found.iter().find(|(name, _)| name == path).map(|(_, it)| *it);
        assert!(agree(event.get(id), expected), "{path} of {text:?}: {:?}, naive: {expected:?}", event.get(id));
    }
    assert_eq!(buf.key_repeated, naive.repeated, "{text:?}");
}

/// The plain reading: all paths of a tree with their first values.
#[derive(Default)]
struct Naive<'a> {
    found: Vec<(String, &'a Tree)>,
    repeated: bool,
}

impl<'a> Naive<'a> {
    fn read(&mut self, prefix: &str, tree: &'a Tree) {
        let Tree::Object(members) = tree else { return };
        for (key, value) in members {
            let path = if prefix.is_empty() { key.clone() } else { format!("{}.{key}", &prefix[1..]) };
            let inner = WANTED.iter().any(|it| it.starts_with(&format!("{path}.")));
            if !inner && !WANTED.contains(&path.as_str()) {
                continue;
            }
            if self.found.iter().any(|(name, _)| *name == path) {
                self.repeated = true;
                continue;
            }
            self.found.push((path.clone(), value));
            self.read(&format!(".{path}"), value);
        }
    }
}

fn agree(found: Option<Value<'_>>, expected: Option<&Tree>) -> bool {
    match (found, expected) {
        (None, None) | (Some(Value::Null), Some(Tree::Null)) => true,
        (Some(Value::Bool(found)), Some(Tree::Bool(expected))) => found == *expected,
        (Some(Value::Text(found)), Some(Tree::Text(expected))) => found == expected,
        (Some(Value::Number(found)), Some(Tree::Number(expected))) => {
            found.parse::<f64>().is_ok_and(|it| (it - expected).abs() <= expected.abs() * 1e-14)
        }
        (Some(Value::Json(found)), Some(Tree::Object(_) | Tree::Array)) => {
            serde_json::from_str::<Tree>(found).is_ok_and(|it| it.is_object() == found.starts_with('{'))
        }
        _ => false,
    }
}

/// JSON with repeated keys, in the order written. Arrays are opened by nobody here.
#[derive(Debug)]
enum Tree {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Array,
    Object(Vec<(String, Tree)>),
}

impl Tree {
    fn is_object(&self) -> bool {
        matches!(self, Tree::Object(_))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }
            fn visit_bool<E>(self, it: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(it))
            }
            fn visit_u64<E>(self, it: u64) -> Result<Tree, E> {
                Ok(Tree::Number(it as f64))
            }
            fn visit_i64<E>(self, it: i64) -> Result<Tree, E> {
                Ok(Tree::Number(it as f64))
            }
            fn visit_f64<E>(self, it: f64) -> Result<Tree, E> {
                Ok(Tree::Number(it))
            }
            fn visit_str<E>(self, it: &str) -> Result<Tree, E> {
                Ok(Tree::Text(it.to_string()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Tree, A::Error> {
                while all.next_element::<Tree>()?.is_some() {}
                Ok(Tree::Array)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Tree, A::Error> {
                let mut members = Vec::new();
                while let Some(it) = all.next_entry()? {
                    members.push(it);
                }
                Ok(Tree::Object(members))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
