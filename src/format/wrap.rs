//! Records inside records: what shippers, queues and cloud exports put around a log line.
//!
//! There are as many wrappers as there are pipelines, so they are not described one by one: a record that no schema
//! recognises is searched for the places where pipelines put records. Only one place is opened, the likeliest first, for
//! many shippers write the same line twice (`message` and `event.original`) and one login must not count as two.

use std::borrow::Cow;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::limits;
use crate::model::text::cells;
use crate::model::{EventBuf, Timestamp, json};

use super::keyrunner::starts_with_stamp;
use super::paths::{BOM, body};
use super::respell;
use super::syslog;

/// Arrays of records.
const LISTS: [&str; 22] = [
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
    "resourceLogs",
    "scopeLogs",
    "logRecords",
    "response",
    "authlogs",
    "operation_logs",
    "activity_logs",
];
/// Texts that hold the line as it was written.
const TEXTS: [&str; 32] = [
    "event.original",
    // What Microsoft's search for audit records prints.
    "AuditData",
    // What Defender's table of cloud activities has of a record.
    "RawEventData",
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
    "stringValue",
    "CloudTrailEvent",
    // Of a queue's record.
    "value",
    "@rawstring",
    "raw_event",
    "raw_log",
    "rawMessage",
    "SyslogMessage",
];
/// One record among other things said about it.
const OBJECTS: [&str; 19] = [
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
    "response",
    "value",
    "auditData",
];

/// What a member's name means, by the kind of its value: its place among the names of that kind.
#[derive(Clone, Copy, Default)]
struct Role {
    list: Option<u8>,
    text: Option<u8>,
    object: Option<u8>,
    /// Records that pipelines spelled anew have it: one bit a way.
    spelt: u16,
    /// Something is looked for inside.
    is_outer: bool,
}

impl Role {
    fn is_none(self) -> bool {
        let Role { list, text, object, spelt, is_outer } = self;
        list.is_none() && text.is_none() && object.is_none() && spelt == 0 && !is_outer
    }

    fn of(key: &str) -> Role {
        static ROLES: LazyLock<HashMap<&str, Role>> = LazyLock::new(|| {
            let mut roles = HashMap::<&str, Role>::new();
            let numbered =
                |names: &'static [&'static str]| names.iter().zip(0u8..).map(|(name, number)| (*name, Some(number)));
            numbered(&LISTS).for_each(|(name, number)| roles.entry(name).or_default().list = number);
            numbered(&TEXTS).for_each(|(name, number)| roles.entry(name).or_default().text = number);
            numbered(&OBJECTS).for_each(|(name, number)| roles.entry(name).or_default().object = number);
            respell::firsts().for_each(|(name, way)| roles.entry(name).or_default().spelt |= way);
            let outer = TEXTS.iter().filter_map(|it| Some(it.split_once('.')?.0));
            outer.chain([HITS]).for_each(|name| roles.entry(name).or_default().is_outer = true);
            roles
        });
        // An escaped key is none of these names but by somebody's intent, and rare.
        match key.contains('\\') {
            true => json::unescape(key).and_then(|it| ROLES.get(&*it).copied()),
            false => ROLES.get(key).copied(),
        }
        .unwrap_or_default()
    }
}

/// What a search found: the documents stand one deeper.
const HITS: &str = "hits";
/// The members of an object. More than so many are rare.
type Entries<'a> = SmallVec<[(&'a str, &'a str); 24]>;

/// Calls `each` with every record found inside one that nothing recognised, and returns how many there were. At most
/// [`limits::RECORDS_PER_LINE_MAX`].
pub fn inner_records(record: &str, each: &mut dyn FnMut(&str)) -> usize {
    let text = body(record, 0).of(record).trim_ascii();
    match text.as_bytes().first() {
        Some(b'[') => from_list(text, "", each),
        Some(b'{') => from_object(text, &members_of(text), each),
        Some(_) if let Some(object) = behind_header(text) => from_object(object, &members_of(object), each),
        Some(_) => match from_text(text) {
            Some(inner) => {
                each(&inner);
                1
            }
            None => 0,
        },
        None => 0,
    }
}

/// The same for a record that was decoded into this buffer. Records that are built like an earlier one have their members under the
/// same names; so only those are looked at in which that one could have held something.
pub fn inner_records_noted(record: &str, buf: &mut EventBuf, each: &mut dyn FnMut(&str)) -> usize {
    let text = body(record, 0).of(record).trim_ascii();
    let way = buf.notes.way;
    if way == 0 || !text.starts_with('{') {
        return inner_records(record, each);
    }
    let openings = &mut buf.notes.openings;
    let names = match openings.get(&way) {
        Some(names) => names.as_ref(),
        None => {
            if openings.len() >= limits::OPENINGS_MAX {
                openings.clear();
            }
            openings.entry(way).or_insert(openings_of(&members_of(text))).as_ref()
        }
    };
    let Some(names) = names else { return inner_records(record, each) };
    let is_named = |it: &(&str, &str)| names.iter().any(|name| **name == *it.0);
    let few: Entries = json::entries(text).filter(is_named).take(names.len()).collect();
    match found_by_name(text, &few, each) {
        0 => in_the_largest(text, &members_of(text), each),
        found => found,
    }
}

/// Who has more members that could hold something is looked at whole each time.
const OPENINGS_EACH_MAX: usize = 16;

/// The names of the members that decide where another record is; None where others have a say, too.
fn openings_of(members: &[(&str, &str)]) -> Option<Box<[Box<str>]>> {
    let roles: SmallVec<[(&str, Role); 8]> =
        members.iter().map(|it| (it.0, Role::of(it.0))).filter(|it| !it.1.is_none()).collect();
    let is_twice = |at: usize| roles[..at].iter().any(|it| it.0 == roles[at].0);
    let spelt = roles.iter().fold(0, |all, it| all | it.1.spelt);
    let is_few = (1..=OPENINGS_EACH_MAX).contains(&roles.len());
    let is_plain = is_few && !(0..roles.len()).any(is_twice) && !respell::is_spelled(members, spelt);
    is_plain.then(|| roles.iter().map(|it| it.0.into()).collect())
}

fn members_of(object: &str) -> Entries<'_> {
    json::entries(object).collect()
}

/// Whether no member of an object has a name under which [`inner_records`] could find anything. What it says holds for all
/// objects that have the same keys, and texts where this one has texts.
pub(super) fn names_no_record(record: &str) -> bool {
    let object = body(record, 0).of(record).trim_ascii();
    object.starts_with('{')
        && json::entries(object).all(|(key, value)| {
            let role = Role::of(key);
            role.spelt == 0
                && match value.starts_with('"') {
                    true => role.text.is_none(),
                    // A number today may be a list tomorrow.
                    false => !role.is_outer && role.list.is_none() && role.object.is_none(),
                }
        })
}

/// Whether so many bytes of a record are most of it.
pub(super) fn is_most(len: usize, record: &[u8]) -> bool {
    len * 2 > record.strip_prefix(BOM).unwrap_or(record).trim_ascii().len()
}

/// The object that a line of syslog carries.
fn behind_header(text: &str) -> Option<&str> {
    let object = &text[text.find('{')?..];
    (object.ends_with('}') && (text.starts_with('<') || syslog::begins_with_stamp(text))).then_some(object)
}

fn from_text(text: &str) -> Option<Cow<'_, str>> {
    let part = without_container(text).or_else(|| columns_behind(text)).map(Cow::Borrowed);
    part.or_else(|| quoted_column(text).map(Cow::Owned)).or_else(|| exported_columns(text).map(Cow::Owned))
}

/// KeyRunner's columns behind a header of syslog, or as a row of a table in text: `| 2025-… | … |`.
fn columns_behind(line: &str) -> Option<&str> {
    if let Some(row) = line.strip_prefix('|') {
        let row = row.trim_ascii();
        return starts_with_stamp(row.as_bytes()).then(|| row.strip_suffix('|').unwrap_or(row).trim_ascii());
    }
    let (_, inner) = line.split_once(": ")?;
    let (time, _) = inner.trim_ascii_start().split_once('|')?;
    (time.len() < 48 && starts_with_stamp(time.as_bytes())).then_some(inner.trim_ascii_start())
}

/// KeyRunner's columns as a spreadsheet saves them: five cells with an address in the second, or a time and a quoted statement.
fn exported_columns(line: &str) -> Option<String> {
    let line_of_cells = line.strip_prefix('"').unwrap_or(line);
    if !starts_with_stamp(line_of_cells.as_bytes()) {
        return None;
    }
    let separator = line.bytes().find(|it| matches!(it, b',' | b'\t' | b';'))?;
    // One more than the columns: then it is another table.
    let (cells, is_quoted): (Vec<String>, Vec<bool>) = cells(line, char::from(separator)).take(6).unzip();
    let is_access = cells.len() == 5 && cells[1].trim_ascii().parse::<std::net::IpAddr>().is_ok();
    // `2025-04-12 08:02:55,123 INFO …` and `…,INFO,…` are other programs'.
    let is_word =
        |it: &str| it.bytes().any(|it| it.is_ascii_lowercase()) || matches!(it, "MFA" | "API" | "SSO" | "SAML" | "IP");
    let is_statement =
        cells.len() == 2 && (is_quoted[1] || cells[1].contains(' ') && cells[1].split(' ').next().is_some_and(is_word));
    (is_access || is_statement).then(|| cells.join(" | "))
}

/// What a container wrote, without the header that its runtime put before it: `TIME stdout F ` (Kubernetes), or
/// `name  | ` (compose).
fn without_container(line: &str) -> Option<&str> {
    let mut words = line.splitn(4, ' ');
    let (first, second, third) = (words.next()?, words.next()?, words.next().unwrap_or(""));
    if matches!(second, "stdout" | "stderr") && matches!(third, "F" | "P") && starts_with_stamp(first.as_bytes()) {
        return words.next().filter(|it| !it.is_empty());
    }
    let (name, inner) = line.split_once(" | ")?;
    let name = name.trim_ascii_end().as_bytes();
    let is_name = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.'));
    (is_name && !inner.is_empty()).then_some(inner)
}

/// The record in a column of a CSV export, `2025-…,"{""id"":…}"`: quotes inside are written twice.
fn quoted_column(line: &str) -> Option<String> {
    let start = line.find("\"{\"\"")? + 1;
    let end = line.rfind("}\"")? + 1;
    Some(line.get(start..end)?.replace("\"\"", "\""))
}

/// The members of an object that stand under names of interest, found in one walk.
struct Members<'a> {
    lists: [Option<&'a str>; LISTS.len()],
    texts: [Option<&'a str>; TEXTS.len()],
    objects: [Option<&'a str>; OBJECTS.len()],
    hits: Option<&'a str>,
    /// Its names may be those that a pipeline gave: one bit a way.
    spelt: u16,
}

impl<'a> Members<'a> {
    fn of(entries: &[(&'a str, &'a str)]) -> Members<'a> {
        let mut members = Members {
            lists: [None; LISTS.len()],
            texts: [None; TEXTS.len()],
            objects: [None; OBJECTS.len()],
            hits: None,
            spelt: 0,
        };
        // The first of a name, as in decoding.
        fn keep<'a>(values: &mut [Option<&'a str>], place: Option<u8>, value: &'a str) {
            place.into_iter().for_each(|it| _ = values[usize::from(it)].get_or_insert(value));
        }
        for (key, value) in entries {
            let role = Role::of(key);
            members.spelt |= role.spelt;
            match value.as_bytes().first() {
                Some(b'[') => keep(&mut members.lists, role.list, value),
                Some(b'"') => keep(&mut members.texts, role.text, value),
                Some(b'{') => {
                    keep(&mut members.objects, role.object, value);
                    if role.is_outer {
                        members.look_inside(key, value);
                    }
                }
                Some(_) | None => {}
            }
        }
        members
    }

    /// `event.original`, `log.original` and what was found may stand one deeper.
    fn look_inside(&mut self, key: &str, value: &'a str) {
        for (place, inner) in TEXTS.iter().enumerate().filter_map(|(place, it)| Some((place, it.strip_prefix(key)?))) {
            let text = inner.strip_prefix('.').and_then(|it| json::member(value, it)).filter(|it| it.starts_with('"'));
            text.into_iter().for_each(|it| _ = self.texts[place].get_or_insert(it));
        }
        if key == HITS && self.hits.is_none() {
            self.hits = json::member(value, HITS);
        }
    }
}

/// The object that queues carry as base64 (`{"` is `eyJ` in it), if it is one.
fn from_base64(text: &str) -> Option<String> {
    let bytes = text.starts_with("ey").then(|| STANDARD.decode(text).ok())??;
    String::from_utf8(bytes).ok().filter(|it| it.starts_with('{') && it.trim_ascii_end().ends_with('}'))
}

fn from_object(object: &str, entries: &[(&str, &str)], each: &mut dyn FnMut(&str)) -> usize {
    match found_by_name(object, entries, each) {
        0 => in_the_largest(object, entries, each),
        found => found,
    }
}

/// `{"acme":{"audit":{…}}}`: whoever put a record under a name of their own made it most of what there is.
fn in_the_largest(object: &str, entries: &[(&str, &str)], each: &mut dyn FnMut(&str)) -> usize {
    let objects = entries.iter().map(|it| it.1).filter(|it| it.starts_with('{'));
    match objects.rev().max_by_key(|it| it.len()).filter(|it| is_most(it.len(), object.as_bytes())) {
        Some(it) => {
            each(it);
            1
        }
        None => 0,
    }
}

/// What is found under the names that pipelines use.
fn found_by_name(object: &str, entries: &[(&str, &str)], each: &mut dyn FnMut(&str)) -> usize {
    let members = Members::of(entries);
    let texts = || members.texts.iter().flatten().filter_map(|it| text_of(it));
    // JSON inside a text is there because somebody wrapped it; lists and objects are often parts of one record.
    if let Some(it) = texts().find_map(|it| from_base64(&it)) {
        each(&it);
        return 1;
    }
    if let Some(it) = texts().find(|it| it.starts_with(['{', '['])) {
        each(&it);
        return 1;
    }
    if members.spelt != 0
        && let Some(it) = respell::respelled(object, entries, members.spelt)
    {
        each(&it);
        return 1;
    }
    let lists = members.lists.iter().flatten().map(|it| (*it, ""));
    // A search result: the documents stand one deeper.
    for (list, inside) in lists.chain(members.hits.map(|it| (it, "_source"))) {
        let found = from_list(list, inside, each);
        if found > 0 {
            return found;
        }
    }
    // Beside `event.original`, or a longer `message`, an object `event` only says things about the line.
    let said = texts().next().map_or(0, |it| it.len());
    if members.texts[0].is_none()
        && let Some(it) =
            members.objects.iter().flatten().find(|it| it.len() >= said && json::entries(it).next().is_some())
    {
        each(it);
        return 1;
    }
    if let Some(it) = texts().next() {
        match with_header(object, &it) {
            Some(line) => each(&line),
            None => each(&it),
        }
        return 1;
    }
    0
}

/// Where journals and shippers put what stood in a line's header.
const PROGRAMS: [&str; 12] = [
    "SYSLOG_IDENTIFIER",
    "_COMM",
    "appname",
    "app_name",
    "application_name",
    "ident",
    "program",
    "programname",
    "process.name",
    "syslog.appname",
    "log.syslog.appname",
    "ProcessName",
];
const HOSTS: [&str; 6] = ["_HOSTNAME", "hostname", "host.name", "host", "logsource", "HostName"];
const PIDS: [&str; 8] =
    ["_PID", "SYSLOG_PID", "procid", "pid", "process_id", "process.pid", "syslog.procid", "ProcessID"];
const TIMES: [&str; 6] =
    ["_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP", "@timestamp", "timestamp", "time", "EventTime"];

/// A program's message as the line of syslog it was, or would have been: `TIME HOST PROGRAM[PID]: TEXT`. Without its
/// program, most messages mean nothing. None where no program is named or the text has a header of its own.
fn with_header(object: &str, text: &str) -> Option<String> {
    const WORD_BYTES_MAX: usize = 64;
    if text.starts_with(['<', '{', '[']) || syslog::begins_with_stamp(text) {
        return None;
    }
    let find = |names: &[&str]| names.iter().find_map(|name| json::scalar(nested(object, name)?));
    // What stands there must not be able to speak for the rest of the header.
    let word = |names: &[&str]| {
        let is_word = |it: &u8| it.is_ascii_alphanumeric() || b"-_./@()".contains(it);
        find(names).filter(|it| !it.is_empty() && it.len() <= WORD_BYTES_MAX && it.as_bytes().iter().all(is_word))
    };
    let program = word(&PROGRAMS)?;
    let time = find(&TIMES).and_then(|it| match it.replacen(' ', "T", 1) {
        // As it stands: what it means without a zone, the source knows.
        it if starts_with_stamp(it.as_bytes()) => it.bytes().all(|it| b"0123456789:.,+-TZ".contains(&it)).then_some(it),
        it => Timestamp::from_epoch(&it).map(|it| it.to_string()),
    });
    let header = match (time, word(&HOSTS)) {
        (Some(time), Some(host)) => format!("{time} {host} "),
        (Some(time), None) => format!("<13>{time} "),
        (None, _) => "<13>".to_string(),
    };
    Some(match word(&PIDS) {
        Some(pid) => format!("{header}{program}[{pid}]: {text}"),
        None => format!("{header}{program}: {text}"),
    })
}

/// The value under `name`, which may stand for itself or for members inside members.
fn nested<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    json::member(object, name).or_else(|| {
        let (outer, inner) = name.split_once('.')?;
        nested(json::member(object, outer)?, inner)
    })
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

/// A text without white space around it; None when nothing is left.
fn text_of(value: &str) -> Option<Cow<'_, str>> {
    let text = match json::scalar(value)? {
        Cow::Borrowed(it) => Cow::Borrowed(it.trim_ascii()),
        Cow::Owned(it) => Cow::Owned(it.trim_ascii().to_string()),
    };
    (!text.is_empty()).then_some(text)
}
