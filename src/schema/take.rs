//! How a field's value is made from a record: the compiled form of [`Take`](super::file::Take).
//!
//! Every operation gives a [`Slot`]: mostly the same place in the line as the path it names, sometimes a part of it, and
//! only where text has to change (an escape, lower case, an address without its port) new text in scratch.

use std::fmt::Write;
use std::sync::Arc;

use hashbrown::HashMap;

use super::stamp::Format;
use super::{Arrival, Form, Schemas};
use crate::expr::backtrack::Groups;
use crate::expr::pattern::Late;
use crate::expr::plain::{Given, Known, Lengths, Operand, Plain, fold};
use crate::model::path::Steps;
use crate::model::{Event, EventBuf, FieldId, List, Minute, Place, Slot, Timestamp, Value, address, json};

#[derive(Clone)]
pub(super) enum Op {
    Look(Operand),
    /// The same without steps.
    Field(FieldId),
    Constant(Slot),
    First(Vec<Op>),
    When(Plain, Box<Op>),
    /// The group of that number among the schema's group names.
    Group(usize),
    All(Vec<Op>),
    Join(Vec<Op>, Arc<str>),
    Then(Box<Op>, Arc<Step>),
}

/// What is done with a value to get another.
pub(super) enum Step {
    Capture(usize),
    Lookup(HashMap<Box<str>, Slot>),
    Except(Words),
    Address,
    TimeAs(Vec<Format>),
    Json(Steps),
    Pairs(Box<str>),
    Split(Box<str>, i32),
    List(Box<str>),
    Lower,
    Trim(Vec<char>),
}

impl Op {
    /// Calls `each` with the fields whose values the operation's depends on.
    pub(super) fn fields(&self, each: &mut dyn FnMut(FieldId)) {
        match self {
            Op::Look(operand) => each(operand.field),
            Op::Field(field) => each(*field),
            Op::Constant(_) | Op::Group(_) => {}
            Op::First(ops) | Op::All(ops) | Op::Join(ops, _) => ops.iter().for_each(|it| it.fields(each)),
            Op::When(condition, op) => {
                condition.fields(each);
                op.fields(each);
            }
            Op::Then(op, _) => op.fields(each),
        }
    }

    /// What is left of the operation for records with these fields; None when it can give nothing.
    pub(super) fn given(&self, known: &Known) -> Option<Op> {
        let all = |ops: &[Op]| -> Option<Vec<Op>> {
            let left: Vec<Op> = ops.iter().filter_map(|it| it.given(known)).collect();
            (!left.is_empty()).then_some(left)
        };
        match self {
            Op::Look(operand) if !(known.has)(operand.field) => None,
            Op::Look(operand) if operand.steps.is_empty() => Some(Op::Field(operand.field)),
            Op::Look(_) => Some(self.clone()),
            Op::Field(field) => (known.has)(*field).then_some(Op::Field(*field)),
            Op::Constant(_) | Op::Group(_) => Some(self.clone()),
            Op::First(ops) => {
                let mut left = all(ops)?;
                Some(if left.len() == 1 { left.swap_remove(0) } else { Op::First(left) })
            }
            Op::When(condition, op) => {
                let left = op.given(known)?;
                match condition.given(known) {
                    Given::Never => None,
                    Given::Always => Some(left),
                    Given::Ask(condition) => Some(Op::When(condition, Box::new(left))),
                }
            }
            Op::All(ops) => all(ops).map(Op::All),
            Op::Join(ops, separator) => Some(Op::Join(all(ops)?, separator.clone())),
            Op::Then(op, step) => Some(Op::Then(Box::new(op.given(known)?), step.clone())),
        }
    }
}

/// Folded words that a value must not be.
pub(super) struct Words {
    all: Vec<Box<str>>,
    lens: Lengths,
    /// The bytes they begin with.
    firsts: u128,
}

impl Words {
    pub(super) fn new(words: &[String]) -> Words {
        let all: Vec<Box<str>> = words.iter().map(|it| fold(it).as_ref().into()).collect();
        let firsts = all.iter().fold(0, |bits, it| bits | it.as_bytes().first().map_or(u128::MAX, |it| bit(*it)));
        Words { lens: Lengths::of(all.iter().map(|it| it.len())), firsts, all }
    }

    /// Whether a text folds to one of them; without making the folded text where it is ASCII.
    fn has(&self, text: &str) -> bool {
        // What begins in ASCII folds to what begins with the same in lower case.
        if text.as_bytes().first().is_some_and(|it| bit(it.to_ascii_lowercase()) & self.firsts == 0) {
            return false;
        }
        if text.is_ascii() {
            return self.lens.has(text.len()) && self.all.iter().any(|it| text.eq_ignore_ascii_case(it));
        }
        let text = fold(text);
        self.all.iter().any(|it| **it == *text)
    }
}

/// The bit of an ASCII byte; all bits for what is not one.
#[inline]
fn bit(byte: u8) -> u128 {
    if byte < 128 { 1 << byte } else { u128::MAX }
}

/// `str::trim`, with one look at each end of a text that needs none.
#[inline]
pub(super) fn trim(text: &str) -> &str {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

/// Memory that operations use again.
#[derive(Default)]
pub(super) struct TakeMemo {
    pub(super) text: String,
    slots: Vec<Slot>,
    groups: Vec<Groups>,
    /// The last minute that a stamp named.
    pub(super) minute: Minute,
    pub(super) forms: super::map::FormMemo,
}

impl TakeMemo {
    /// The groups kept for a pattern.
    pub(super) fn groups(&mut self, regexes: &[Late], index: usize) -> &mut Groups {
        if self.groups.len() <= index {
            self.groups.resize_with(regexes.len(), Groups::default);
        }
        &mut self.groups[index]
    }
}

/// One record being mapped.
pub(super) struct Work<'a> {
    pub(super) schemas: &'a Schemas,
    pub(super) record: &'a str,
    pub(super) buf: &'a mut EventBuf,
    pub(super) memo: &'a mut TakeMemo,
    /// The form that fits, and the text it fits.
    pub(super) form: Option<(&'a Form, Slot)>,
}

/// The value is not a text of the record, or takes more to make.
pub(super) struct NotQuick;

impl<'a> Work<'a> {
    pub(super) fn event(&self) -> Event<'_> {
        Event { record: self.record, buf: self.buf }
    }

    fn value(&self, slot: Slot) -> Value<'_> {
        self.buf.value(self.record, slot)
    }

    /// What a slot made by [`Work::single`] says.
    pub(super) fn text(&self, slot: Slot) -> &str {
        match self.value(slot) {
            Value::Text(it) | Value::Number(it) => it,
            Value::Bool(_) | Value::Null | Value::Json(_) | Value::List(_) => "",
        }
    }

    /// The operation's value; never null, empty text or an empty list.
    #[inline]
    pub(super) fn take(&mut self, op: &Op) -> Option<Slot> {
        match self.quick(op) {
            Ok(found) => found.map(|it| it.0),
            Err(NotQuick) => self.take_any(op),
        }
    }

    /// The value where it is a text of the record, as nearly all are, and its text: most of what operations cost otherwise
    /// is to find out again what a slot says.
    #[inline]
    pub(super) fn quick(&self, op: &Op) -> Result<Option<(Slot, &'a str)>, NotQuick> {
        match op {
            Op::Field(field) => {
                let Some(slot) = self.buf.slot(*field) else { return Ok(None) };
                let text = slot.text_in(self.record).ok_or(NotQuick)?;
                Ok((!trim(text).is_empty()).then_some((slot, text)))
            }
            Op::Then(op, step) => self.quick_step(op, step),
            _ => Err(NotQuick),
        }
    }

    fn quick_step(&self, op: &Op, step: &Step) -> Result<Option<(Slot, &'a str)>, NotQuick> {
        let Some((slot, text)) = self.quick(op)? else { return Ok(None) };
        match step {
            Step::Trim(chars) if chars.is_empty() => {
                let part = trim(text);
                Ok(Some((slot.part(text, part), part)))
            }
            Step::Except(words) => Ok((!words.has(trim(text))).then_some((slot, text))),
            Step::Address if address::ipv4(text).is_some() => Ok(Some((slot, text))),
            _ => Err(NotQuick),
        }
    }

    /// The same for all operations.
    pub(super) fn take_any(&mut self, op: &Op) -> Option<Slot> {
        match op {
            Op::Look(operand) => look(operand, self.record, self.buf, self.memo),
            Op::Field(field) => look_at(*field, self.record, self.buf),
            Op::Constant(slot) => Some(*slot),
            Op::First(ops) => ops.iter().find_map(|it| self.take(it)),
            Op::When(condition, op) => {
                if condition.holds(self.event()) {
                    self.take(op)
                } else {
                    None
                }
            }
            Op::Group(index) => self.group(*index),
            Op::All(ops) => self.all(ops),
            Op::Join(ops, separator) => self.join(ops, separator),
            Op::Then(op, step) => {
                let slot = self.take(op)?;
                self.step(slot, step)
            }
        }
    }

    fn step(&mut self, slot: Slot, step: &Step) -> Option<Slot> {
        match step {
            Step::Capture(regex) => self.capture(slot, *regex),
            Step::Lookup(table) => self.each(slot, |work, it| table.get(work.text(it)).copied()),
            Step::Except(words) => self.each(slot, |work, it| (!words.has(trim(work.text(it)))).then_some(it)),
            Step::Address => self.first_of_each(slot, |work, it| work.address(it)),
            Step::TimeAs(_) => Some(slot),
            Step::Json(steps) => self.json(slot, steps),
            Step::Pairs(key) => self.part(slot, |text| pair(text, key)),
            Step::Split(separator, place) => self.part(slot, |text| split(text, separator, *place)),
            Step::List(separator) => self.list(slot, separator),
            Step::Lower => self.each(slot, |work, it| Some(work.lower(it))),
            Step::Trim(chars) => self.part(slot, |text| match chars.is_empty() {
                true => Some(trim(text)),
                false => Some(text.trim_matches(|it: char| it.is_whitespace() || chars.contains(&it))),
            }),
        }
    }

    /// The operation's value as a time.
    pub(super) fn time(&mut self, op: &Op, arrival: Arrival) -> Option<Timestamp> {
        match op {
            Op::First(ops) => ops.iter().find_map(|it| self.time(it, arrival)),
            Op::Field(field) if let Some(text) = self.buf.slot(*field).and_then(|it| it.text_in(self.record)) => {
                super::stamp::read(text, arrival, &mut self.memo.minute)
            }
            Op::When(condition, op) => {
                if condition.holds(self.event()) {
                    self.time(op, arrival)
                } else {
                    None
                }
            }
            _ => {
                let slot = self.take(op).and_then(|it| self.single(it))?;
                let mut minute = self.memo.minute;
                let text = self.text(slot);
                let found = match op {
                    Op::Then(_, step) if let Step::TimeAs(formats) = &**step => {
                        formats.iter().find_map(|it| it.read(text, arrival))
                    }
                    _ => super::stamp::read(text, arrival, &mut minute),
                };
                self.memo.minute = minute;
                found
            }
        }
    }

    /// The slot as one text: a list's first element, a truth value's word.
    pub(super) fn single(&mut self, slot: Slot) -> Option<Slot> {
        self.first_of_each(slot, |_, it| Some(it))
    }

    /// The part of a text that `find` finds, trimmed; None when empty.
    fn part(&mut self, slot: Slot, find: impl Fn(&str) -> Option<&str>) -> Option<Slot> {
        self.first_of_each(slot, |work, it| {
            let text = work.text(it);
            let part = trim(find(text)?);
            (!part.is_empty()).then(|| it.part(text, part))
        })
    }

    fn group(&mut self, index: usize) -> Option<Slot> {
        let (form, slot) = self.form?;
        let group = (*form.groups.get(index)?)?;
        let (start, end) = self.memo.groups(&self.schemas.regexes, form.regex).get(usize::from(group))?;
        let text = self.text(slot);
        let part = text.get(start..end)?.trim();
        (!part.is_empty()).then(|| slot.part(text, part))
    }

    fn capture(&mut self, slot: Slot, index: usize) -> Option<Slot> {
        self.first_of_each(slot, |work, it| {
            let regexes = &work.schemas.regexes;
            let text = match work.buf.value(work.record, it) {
                Value::Text(it) | Value::Number(it) => it,
                Value::Bool(_) | Value::Null | Value::Json(_) | Value::List(_) => return None,
            };
            let groups = work.memo.groups(regexes, index);
            if !regexes[index].find(text, groups) {
                return None;
            }
            let (start, end) = groups.get(usize::from(groups.len() > 1))?;
            let part = text.get(start..end)?.trim();
            (!part.is_empty()).then(|| it.part(text, part))
        })
    }

    fn address(&mut self, slot: Slot) -> Option<Slot> {
        let text = self.text(slot);
        if address::ipv4(text).is_some() {
            return Some(slot.part(text, text)); // as std writes it already
        }
        let found = address::parse(text)?;
        let plain = text.trim();
        // An IPv4 address as std writes it, perhaps before a port, is there already.
        let plain = match plain.split_once(':') {
            Some((before, after)) if !after.contains(':') => before,
            _ => plain,
        };
        if plain.parse::<std::net::Ipv4Addr>().is_ok() {
            return Some(slot.part(text, plain));
        }
        let start = self.buf.scratch.len();
        write!(self.buf.scratch, "{found}").ok()?;
        Some(Slot::text(Place::Scratch, start, self.buf.scratch.len() - start))
    }

    fn json(&mut self, slot: Slot, steps: &Steps) -> Option<Slot> {
        let text = match self.value(slot) {
            Value::Text(it) | Value::Json(it) => it,
            Value::List(it) => it.0,
            Value::Number(_) | Value::Bool(_) | Value::Null => return if steps.is_empty() { Some(slot) } else { None },
        };
        let trimmed = text.trim();
        if steps.is_empty() && !trimmed.starts_with(['"', '[', '{']) {
            return (!trimmed.is_empty() && trimmed != "null").then(|| slot.part(text, trimmed));
        }
        let whole = slot.part(text, trimmed);
        step_into(whole, steps, self.record, self.buf, self.memo)
    }

    fn list(&mut self, slot: Slot, separator: &str) -> Option<Slot> {
        let slot = match self.value(slot) {
            Value::Text(_) => slot,
            Value::Number(_) | Value::Bool(_) | Value::Null | Value::Json(_) | Value::List(_) => return Some(slot),
        };
        let mut slots = std::mem::take(&mut self.memo.slots);
        slots.clear();
        let text = self.text(slot);
        slots.extend(text.split(separator).map(str::trim).filter(|it| !it.is_empty()).map(|it| slot.part(text, it)));
        let found = self.list_of(&slots);
        self.memo.slots = slots;
        found
    }

    /// What a field is given where a path leads to an array: its values, of which a rule may name any, and not the text that
    /// they are written in. One alone is that value; of an array of objects nothing is known, and it stays as it is.
    pub(super) fn values(&mut self, slot: Slot) -> Slot {
        // Nearly all are texts, which need no look at what they say.
        if slot.is_text() || !matches!(self.buf.value(self.record, slot), Value::Json(raw) if raw.starts_with('[')) {
            return slot;
        }
        let mut slots = Vec::new();
        self.items(slot, &mut slots);
        match slots[..] {
            [one] => one,
            _ => self.list_of(&slots).unwrap_or(slot),
        }
    }

    fn all(&mut self, ops: &[Op]) -> Option<Slot> {
        let mut slots = Vec::new();
        for op in ops {
            if let Some(slot) = self.take(op) {
                self.items(slot, &mut slots);
            }
        }
        self.list_of(&slots)
    }

    fn join(&mut self, ops: &[Op], separator: &str) -> Option<Slot> {
        let mut slots = Vec::new();
        for op in ops {
            if let Some(slot) = self.take(op) {
                self.items(slot, &mut slots);
            }
        }
        let start = self.buf.scratch.len();
        self.append(&slots, separator);
        (!slots.is_empty()).then(|| Slot::text(Place::Scratch, start, self.buf.scratch.len() - start))
    }

    fn lower(&mut self, slot: Slot) -> Slot {
        let text = self.text(slot);
        if !text.chars().any(|it| !it.is_ascii() || it.is_ascii_uppercase()) {
            return slot;
        }
        let start = self.buf.scratch.len();
        if text.is_ascii() {
            self.buf.append(self.record, slot);
            self.buf.scratch[start..].make_ascii_lowercase();
        } else {
            let lower = text.to_lowercase();
            self.buf.scratch.push_str(&lower);
        }
        Slot::text(Place::Scratch, start, self.buf.scratch.len() - start)
    }

    /// What `find` gives for the first item that gives something.
    #[inline]
    fn first_of_each(&mut self, slot: Slot, find: impl Fn(&mut Self, Slot) -> Option<Slot>) -> Option<Slot> {
        if slot.is_text() { find(self, slot) } else { self.first_of_several(slot, &find) }
    }

    fn first_of_several(&mut self, slot: Slot, find: &dyn Fn(&mut Self, Slot) -> Option<Slot>) -> Option<Slot> {
        match self.value(slot) {
            Value::Text(_) | Value::Number(_) => find(self, slot),
            Value::Bool(truth) => find(self, if truth { self.schemas.words.yes } else { self.schemas.words.no }),
            Value::Null => None,
            Value::Json(_) | Value::List(_) => {
                let mut items = std::mem::take(&mut self.memo.slots);
                items.clear();
                self.items(slot, &mut items);
                let found = items.iter().find_map(|it| find(self, *it));
                self.memo.slots = items;
                found
            }
        }
    }

    /// The value with `make` done to each of its items; those that give nothing are left out.
    #[inline]
    fn each(&mut self, slot: Slot, make: impl Fn(&mut Self, Slot) -> Option<Slot>) -> Option<Slot> {
        if slot.is_text() {
            return make(self, slot);
        }
        match self.value(slot) {
            Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Null => self.first_of_several(slot, &make),
            Value::Json(_) | Value::List(_) => {
                let mut items = Vec::new();
                self.items(slot, &mut items);
                let made: Vec<Slot> = items.into_iter().filter_map(|it| make(self, it)).collect();
                self.list_of(&made)
            }
        }
    }

    /// Appends the slot's items, each a text of its own.
    fn items(&mut self, slot: Slot, out: &mut Vec<Slot>) {
        match self.buf.value(self.record, slot) {
            Value::Text(_) | Value::Number(_) => out.push(slot),
            Value::Bool(truth) => out.push(if truth { self.schemas.words.yes } else { self.schemas.words.no }),
            Value::Null => {}
            Value::List(list) => {
                out.extend(list.iter().filter(|it| !it.is_empty()).map(|it| slot.part(list.0, it)));
            }
            Value::Json(raw) => {
                // Unescaped elements go to scratch, which the array itself may stand in: note first, then make.
                let first = out.len();
                if raw.starts_with('[') {
                    out.extend(json::elements(raw).map(|it| slot.part(raw, it)));
                }
                let mut kept = first;
                for index in first..out.len() {
                    let made = from_json(out[index], self.record, self.buf, self.memo);
                    let single = match made.map(|it| (it, self.value(it))) {
                        Some((it, Value::Text(_) | Value::Number(_))) => Some(it),
                        Some((_, Value::Bool(true))) => Some(self.schemas.words.yes),
                        Some((_, Value::Bool(false))) => Some(self.schemas.words.no),
                        Some((_, Value::Null | Value::Json(_) | Value::List(_))) | None => None,
                    };
                    if let Some(single) = single {
                        out[kept] = single;
                        kept += 1;
                    }
                }
                out.truncate(kept);
            }
        }
    }

    fn list_of(&mut self, slots: &[Slot]) -> Option<Slot> {
        if slots.is_empty() {
            return None;
        }
        let start = self.buf.scratch.len();
        self.append(slots, "\u{1f}");
        Some(Slot::list(Place::Scratch, start, self.buf.scratch.len() - start))
    }

    fn append(&mut self, slots: &[Slot], separator: &str) {
        for (index, slot) in slots.iter().enumerate() {
            if index > 0 {
                self.buf.scratch.push_str(separator);
            }
            self.buf.append(self.record, *slot);
        }
    }
}

/// The value at a path; None for null, empty text and empty arrays.
pub(super) fn look(operand: &Operand, record: &str, buf: &mut EventBuf, memo: &mut TakeMemo) -> Option<Slot> {
    if operand.steps.is_empty() {
        return look_at(operand.field, record, buf);
    }
    let slot = buf.slot(operand.field)?;
    match buf.value(record, slot) {
        Value::Json(_) => step_into(slot, &operand.steps, record, buf, memo),
        _ => None,
    }
}

/// The value of a field; None for null, empty text and empty arrays.
fn look_at(field: FieldId, record: &str, buf: &EventBuf) -> Option<Slot> {
    let slot = buf.slot(field)?;
    match buf.value(record, slot) {
        Value::Null => None,
        Value::Text(it) | Value::Number(it) => (!trim(it).is_empty()).then_some(slot),
        Value::Json(raw) => (!is_empty_json(raw)).then_some(slot),
        Value::List(List(it)) => (!it.is_empty()).then_some(slot),
        Value::Bool(_) => Some(slot),
    }
}

fn is_empty_json(raw: &str) -> bool {
    raw.get(1..raw.len().saturating_sub(1)).is_none_or(|it| it.trim().is_empty())
}

/// What the steps find in the JSON text of a slot; several values become a list.
fn step_into(whole: Slot, steps: &Steps, record: &str, buf: &mut EventBuf, memo: &mut TakeMemo) -> Option<Slot> {
    let raw = match buf.value(record, whole) {
        Value::Json(it) | Value::Text(it) => it,
        Value::Number(_) | Value::Bool(_) | Value::Null | Value::List(_) => return None,
    };
    if !steps.finds_many() {
        let found = whole.part(raw, steps.first(raw)?);
        return from_json(found, record, buf, memo);
    }
    let mut found = Vec::new();
    steps.any(raw, &mut |it| {
        found.push(whole.part(raw, it));
        false
    });
    let made: Vec<Slot> = found.into_iter().filter_map(|it| from_json(it, record, buf, memo)).collect();
    let start = buf.scratch.len();
    for slot in made {
        let single = matches!(buf.value(record, slot), Value::Text(_) | Value::Number(_) | Value::Bool(_));
        if single {
            if buf.scratch.len() > start {
                buf.scratch.push(List::SEPARATOR);
            }
            buf.append(record, slot);
        }
    }
    (buf.scratch.len() > start).then(|| Slot::list(Place::Scratch, start, buf.scratch.len() - start))
}

/// The value that a slot's text, read as JSON, is; None for null, empty text, empty arrays and bad escapes.
pub(super) fn from_json(slot: Slot, record: &str, buf: &mut EventBuf, memo: &mut TakeMemo) -> Option<Slot> {
    let raw = match buf.value(record, slot) {
        Value::Json(it) | Value::Text(it) | Value::Number(it) => it,
        Value::Bool(_) | Value::Null | Value::List(_) => return None,
    };
    match raw.as_bytes().first()? {
        b'"' => {
            let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
            if inner.trim().is_empty() {
                return None;
            }
            if !inner.contains('\\') {
                return Some(slot.part(raw, inner));
            }
            memo.text.clear();
            if !json::unescape_into(inner, &mut memo.text) || memo.text.trim().is_empty() {
                return None;
            }
            let start = buf.scratch.len();
            buf.scratch.push_str(&memo.text);
            Some(Slot::text(Place::Scratch, start, memo.text.len()))
        }
        b'{' | b'[' => (!is_empty_json(raw)).then(|| slot.as_json()),
        b't' => Some(Slot::bool(true)),
        b'f' => Some(Slot::bool(false)),
        b'n' => None,
        _ => Some(slot.as_number()),
    }
}

/// The value of a key in `a=1, b="2 3"; c=4`; a value without quotes ends at a comma, semicolon or white space.
fn pair<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut from = 0;
    loop {
        let at = from + text.get(from..)?.find(key)?;
        from = at + key.len();
        let starts = text[..at].chars().next_back().is_none_or(|it| !(it.is_alphanumeric() || "_-.".contains(it)));
        let Some(value) = text[from..].trim_start().strip_prefix('=').filter(|_| starts) else { continue };
        let value = value.trim_start();
        return match value.chars().next()? {
            quote @ ('"' | '\'') => value[1..].split_once(quote).map(|(inner, _)| inner),
            _ => value.split([',', ';', ' ', '\t', '}', ')', '"']).next(),
        };
    }
}

/// The part at a place of a text split at a separator; from the end if negative.
fn split<'a>(text: &'a str, separator: &str, place: i32) -> Option<&'a str> {
    if place >= 0 {
        text.split(separator).nth(place as usize)
    } else {
        text.rsplit(separator).nth(place.unsigned_abs() as usize - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_parts() {
        let text = r#"type=LOGIN_ERROR, my-ip=x, ip=192.0.2.1, user="ann b", last='c' end=z"#;
        for (key, expected) in [
            ("type", Some("LOGIN_ERROR")),
            ("ip", Some("192.0.2.1")),
            ("user", Some("ann b")),
            ("last", Some("c")),
            ("end", Some("z")),
            ("none", None),
        ] {
            assert_eq!(pair(text, key), expected, "{key}");
        }
        assert_eq!(pair("é=é", "é"), Some("é"));
        assert_eq!(split("a:b:c", ":", 1), Some("b"));
        assert_eq!(split("a:b:c", ":", -1), Some("c"));
        assert_eq!(split("a:b:c", ":", 3), None);
    }
}
