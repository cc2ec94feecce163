//! Records inside records: what shippers, queues and cloud exports put around a log line.
//!
//! There are as many wrappers as there are pipelines, so they are not described one by one: a record that no schema
//! recognises is searched for the places where pipelines put records. Only one place is opened, the likeliest first, for
//! many shippers write the same line twice (`message` and `event.original`) and one login must not count as two.

use std::borrow::Cow;

use crate::limits;
use crate::model::json;

use super::paths::body;

/// Arrays of records.
const LISTS: [&str; 15] = [
    "Records",
    "records",
    "value",
    "events",
    "Events",
    "items",
    "entries",
    "logs",
    "data",
    "result",
    "results",
    "logEvents",
    "messages",
    "batch",
    "list",
];
/// Texts that hold the line as it was written.
const TEXTS: [&str; 22] = [
    "event.original",
    "message",
    "log",
    "msg",
    "MESSAGE",
    "raw",
    "_raw",
    "@message",
    "textPayload",
    "event",
    "Message",
    "original",
    "raw_message",
    "rawLog",
    "line",
    "data",
    "body",
    "payload",
    "log.original",
    "full_message",
    "short_message",
    "RawData",
];
/// One record among other things said about it.
const OBJECTS: [&str; 16] = [
    "_source",
    "detail",
    "result",
    "data",
    "event",
    "log",
    "message",
    "payload",
    "body",
    "record",
    "jsonPayload",
    "raw",
    "_raw",
    "json",
    "object",
    "attributes",
];

/// Calls `each` with every record found inside one that nothing recognised, and returns how many there were. At most
/// [`limits::RECORDS_PER_LINE_MAX`].
pub fn inner_records(record: &str, each: &mut dyn FnMut(&str)) -> usize {
    let text = body(record, 0).of(record).trim_ascii();
    match text.as_bytes().first() {
        Some(b'[') => from_list(text, "", each),
        Some(b'{') => from_object(text, each),
        Some(_) | None => 0,
    }
}

fn from_object(object: &str, each: &mut dyn FnMut(&str)) -> usize {
    for name in LISTS {
        let found = json::member(object, name).map_or(0, |it| from_list(it, "", each));
        if found > 0 {
            return found;
        }
    }
    // A search result: the documents stand one deeper.
    let hits = json::member(object, "hits").and_then(|it| json::member(it, "hits"));
    let found = hits.map_or(0, |it| from_list(it, "_source", each));
    if found > 0 {
        return found;
    }
    let texts = || TEXTS.into_iter().filter_map(|name| text_at(object, name));
    if let Some(it) = texts().find(|it| it.starts_with(['{', '['])) {
        each(&it);
        return 1;
    }
    // Beside `event.original` an object `event` only says things about the line.
    let original = text_at(object, "event.original");
    let objects = || OBJECTS.into_iter().filter_map(|name| json::member(object, name));
    if original.is_none()
        && let Some(it) = objects().find(|it| it.starts_with('{') && json::entries(it).next().is_some())
    {
        each(it);
        return 1;
    }
    match texts().next() {
        Some(it) => {
            each(&it);
            1
        }
        None => 0,
    }
}

/// The elements that are objects (or the object under `inside` in each), or texts that hold one.
fn from_list(list: &str, inside: &str, each: &mut dyn FnMut(&str)) -> usize {
    let mut count = 0;
    for element in json::elements(list) {
        if count == limits::RECORDS_PER_LINE_MAX {
            break;
        }
        let inner = if inside.is_empty() { None } else { json::member(element, inside) };
        let element = inner.unwrap_or(element);
        match element.as_bytes().first() {
            Some(b'{') => {
                each(element);
                count += 1;
            }
            Some(b'"') => {
                if let Some(text) = json::scalar(element)
                    && text.trim_ascii_start().starts_with('{')
                {
                    each(text.trim_ascii());
                    count += 1;
                }
            }
            Some(_) | None => {}
        }
    }
    count
}

/// The text at a key, which may stand under one key with a dot or under two; without white space around it.
fn text_at<'a>(object: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let nested = || name.split_once('.').and_then(|(outer, inner)| json::member(json::member(object, outer)?, inner));
    let value = json::member(object, name).or_else(nested)?;
    if !value.starts_with('"') {
        return None;
    }
    let text = match json::scalar(value)? {
        Cow::Borrowed(it) => Cow::Borrowed(it.trim_ascii()),
        Cow::Owned(it) => Cow::Owned(it.trim_ascii().to_string()),
    };
    (!text.is_empty()).then_some(text)
}
