//! What a line says, without copying it.
//!
//! An event is a record text and one small slot a field that tells where in that text the value stands. Decoders and
//! schemas write slots; matchers read values. Nothing is allocated for a line: the buffer is reused, and only values that
//! had to be unescaped or computed are written to `scratch`.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{FieldId, Notes, Timestamp};
use crate::limits;

/// Where a slot's text stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In the record itself.
    Record,
    /// In [`EventBuf::scratch`].
    Scratch,
    /// In the constants of the loaded schemas.
    Constant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Text,
    Number,
    True,
    False,
    Null,
    Json,
    List,
}

/// Where one field's value stands, and what it is.
///
/// Two words, so that it goes through registers whole: written in parts and read in one, each slot cost a stall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Start and length.
    span: u64,
    /// Kind and place.
    what: NonZeroU32,
}

impl Slot {
    const NULL: Slot = Slot::new(Kind::Null, Place::Record, 0, 0);

    #[inline(always)]
    const fn new(kind: Kind, place: Place, start: usize, len: usize) -> Slot {
        let what = NonZeroU32::MIN.saturating_add((kind as u32) << 8 | (place as u32) << 4);
        Slot { span: (start as u64) << 32 | len as u32 as u64, what }
    }

    #[inline(always)]
    fn kind(self) -> Kind {
        match self.what.get() >> 8 {
            0 => Kind::Text,
            1 => Kind::Number,
            2 => Kind::True,
            3 => Kind::False,
            4 => Kind::Null,
            5 => Kind::Json,
            _ => Kind::List,
        }
    }

    #[inline(always)]
    fn place(self) -> Place {
        match self.what.get() >> 4 & 3 {
            0 => Place::Record,
            1 => Place::Scratch,
            _ => Place::Constant,
        }
    }

    #[inline(always)]
    fn start(self) -> usize {
        (self.span >> 32) as usize
    }

    #[inline(always)]
    fn end(self) -> usize {
        self.start() + self.span as u32 as usize
    }

    /// Text, already unescaped.
    #[inline]
    pub fn text(place: Place, start: usize, len: usize) -> Slot {
        Slot::new(Kind::Text, place, start, len)
    }

    /// A number as written; parsed when somebody asks.
    #[inline]
    pub fn number(place: Place, start: usize, len: usize) -> Slot {
        Slot::new(Kind::Number, place, start, len)
    }

    /// A JSON object or array as written.
    #[inline]
    pub fn json(place: Place, start: usize, len: usize) -> Slot {
        Slot::new(Kind::Json, place, start, len)
    }

    /// Several texts, each ended by [`List::SEPARATOR`] but the last.
    pub fn list(place: Place, start: usize, len: usize) -> Slot {
        Slot::new(Kind::List, place, start, len)
    }

    pub fn bool(value: bool) -> Slot {
        Slot::new(if value { Kind::True } else { Kind::False }, Place::Record, 0, 0)
    }

    pub fn null() -> Slot {
        Slot::NULL
    }

    /// The slot's text, where it is one that stands in the record.
    #[inline]
    pub fn text_in(self, record: &str) -> Option<&str> {
        if self.kind() != Kind::Text || self.place() != Place::Record {
            return None;
        }
        record.get(self.start()..self.end())
    }

    #[inline]
    pub fn is_text(self) -> bool {
        self.kind() == Kind::Text
    }

    /// A text inside this slot's text: `part` of `whole`, which is what the slot says.
    pub fn part(self, whole: &str, part: &str) -> Slot {
        let offset = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        debug_assert!(offset + part.len() <= whole.len(), "`part` must be a slice of `whole`");
        Slot::new(Kind::Text, self.place(), self.start() + offset, part.len())
    }

    /// The same place in the text, read as a number.
    pub fn as_number(self) -> Slot {
        Slot::new(Kind::Number, self.place(), self.start(), self.end() - self.start())
    }

    /// The same place in the text, read as a JSON object or array.
    pub fn as_json(self) -> Slot {
        Slot::new(Kind::Json, self.place(), self.start(), self.end() - self.start())
    }
}

/// How an [`EventBuf`] was at some time, to go back to.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    present: Vec<u64>,
    scratch_len: usize,
    time: Option<Timestamp>,
}

/// A value as found; numbers stay text until somebody asks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value<'a> {
    Text(&'a str),
    Number(&'a str),
    Bool(bool),
    Null,
    /// An object or array, as it stands in the record.
    Json(&'a str),
    List(List<'a>),
}

impl<'a> Value<'a> {
    /// The value as text where it is a single one: text, number or truth value.
    pub fn as_text(self) -> Option<&'a str> {
        match self {
            Value::Text(it) | Value::Number(it) => Some(it),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::List(it) => it.iter().next(),
            Value::Null | Value::Json(_) => None,
        }
    }

    /// The value as a number; text that holds a number counts, for many vendors write numbers as text.
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Value::Text(it) | Value::Number(it) => it.trim().parse().ok().filter(|it: &f64| it.is_finite()),
            Value::Bool(_) | Value::Null | Value::Json(_) | Value::List(_) => None,
        }
    }
}

/// Several texts of one field (`user.roles`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct List<'a>(pub &'a str);

impl<'a> List<'a> {
    /// ASCII unit separator. Decoders hand over text that may hold it; then one element becomes two, which is harmless.
    pub const SEPARATOR: char = '\u{1f}';

    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        self.0.split(Self::SEPARATOR)
    }
}

/// One decoded record.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    /// The text that slots point into: the line, or one record of it.
    pub record: &'a str,
    pub buf: &'a EventBuf,
}

impl<'a> Event<'a> {
    /// The field's value; None when the record does not have it. A JSON null is [`Value::Null`].
    #[inline]
    pub fn get(&self, id: FieldId) -> Option<Value<'a>> {
        self.buf.get(self.record, id)
    }

    /// The field as text; None when absent, null or not a single value.
    #[inline]
    pub fn text(&self, id: FieldId) -> Option<&'a str> {
        self.get(id).and_then(Value::as_text)
    }
}

/// What is certain of an event before anything was read from its values.
#[derive(Clone, Copy)]
pub struct Outline<'a> {
    /// The fields that have the same value in all such events; those that it has not and that are not open are absent.
    pub certain: Event<'a>,
    /// One bit a field: those that may be there, with any value.
    pub open: &'a [u64],
}

impl Outline<'_> {
    pub fn is_open(&self, id: FieldId) -> bool {
        let index = id.index();
        self.open.get(index >> 6).is_some_and(|it| it >> (index & 63) & 1 != 0)
    }
}

/// The reused buffer behind [`Event`].
#[derive(Clone, Debug)]
pub struct EventBuf {
    slots: Vec<Slot>,
    /// One bit a slot: whether this record has it. Clearing an event clears these words only.
    present: Vec<u64>,
    /// Texts that do not stand in the record as they are.
    pub scratch: String,
    constants: Arc<str>,
    /// The record's own time, if it says one.
    pub time: Option<Timestamp>,
    /// A key came twice; the first value was taken.
    pub key_repeated: bool,
    /// A null was set.
    pub has_null: bool,
    pub notes: Notes,
}

impl EventBuf {
    /// A buffer for `fields` slots; `constants` is what [`Place::Constant`] points into.
    pub fn new(fields: usize, constants: Arc<str>) -> EventBuf {
        EventBuf {
            slots: vec![Slot::NULL; fields],
            present: vec![0; fields.div_ceil(64)],
            scratch: String::new(),
            constants,
            time: None,
            key_repeated: false,
            has_null: false,
            notes: Notes::default(),
        }
    }

    /// Another buffer for the same fields, with room for what most records compute: many that grow one after the other would go on
    /// growing for thousands of lines.
    pub fn alike(&self) -> EventBuf {
        let scratch = String::with_capacity(limits::SCRATCH_FIRST_BYTES);
        EventBuf { scratch, ..EventBuf::new(self.slots.len(), self.constants.clone()) }
    }

    /// Forgets the last record, keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.present.fill(0);
        self.scratch.clear();
        self.time = None;
        self.key_repeated = false;
        self.has_null = false;
        self.notes.bare = false;
        self.notes.way = 0;
    }

    /// Gives back the memory that a giant record took.
    pub fn shrink(&mut self) {
        if self.scratch.capacity() > limits::SCRATCH_KEPT_BYTES_MAX {
            self.scratch = String::new();
        }
    }

    /// Gives what is said of a record to another buffer for the same fields, for what that says; decoders' notes stay.
    pub fn swap_record(&mut self, other: &mut EventBuf) {
        std::mem::swap(&mut self.slots, &mut other.slots);
        std::mem::swap(&mut self.present, &mut other.present);
        std::mem::swap(&mut self.scratch, &mut other.scratch);
        std::mem::swap(&mut self.time, &mut other.time);
        std::mem::swap(&mut self.key_repeated, &mut other.key_repeated);
        std::mem::swap(&mut self.has_null, &mut other.has_null);
    }

    /// Sets a field; the last set wins.
    #[inline(always)]
    pub fn set(&mut self, id: FieldId, slot: Slot) {
        let index = id.index();
        self.slots[index] = slot;
        self.has_null |= slot.kind() == Kind::Null;
        self.present[index >> 6] |= 1 << (index & 63);
    }

    /// All slots, where somebody else sees to [which of them count](EventBuf::set_present).
    #[inline(always)]
    pub fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// Which fields there are, one bit each: what [`EventBuf::set`] would have noted.
    #[inline]
    pub fn set_present(&mut self, present: &[u64]) {
        self.present.copy_from_slice(present);
    }

    pub fn unset(&mut self, id: FieldId) {
        let index = id.index();
        self.present[index >> 6] &= !(1 << (index & 63));
    }

    #[inline]
    pub fn has(&self, id: FieldId) -> bool {
        let index = id.index();
        self.present[index >> 6] & (1 << (index & 63)) != 0
    }

    /// One bit a field, in the order of their ids.
    pub fn present(&self) -> &[u64] {
        &self.present
    }

    /// Sets a field to `text`, copied to scratch.
    pub fn set_text(&mut self, id: FieldId, text: &str) {
        let start = self.scratch.len();
        self.scratch.push_str(text);
        self.set(id, Slot::text(Place::Scratch, start, text.len()));
    }

    /// Appends what a slot says to scratch, where it is one text.
    pub fn append(&mut self, record: &str, slot: Slot) {
        let (start, end) = (slot.start(), slot.end());
        match slot.kind() {
            Kind::True => self.scratch.push_str("true"),
            Kind::False => self.scratch.push_str("false"),
            Kind::Null => {}
            Kind::Text | Kind::Number | Kind::Json | Kind::List => match slot.place() {
                Place::Record => self.scratch.push_str(&record[start..end]),
                Place::Scratch => self.scratch.extend_from_within(start..end),
                Place::Constant => self.scratch.push_str(&self.constants[start..end]),
            },
        }
    }

    /// Notes the present state in `mark`.
    pub fn mark(&self, mark: &mut Mark) {
        mark.present.clone_from(&self.present);
        mark.scratch_len = self.scratch.len();
        mark.time = self.time;
    }

    /// Forgets what was set after the mark was taken. Only for marks of this buffer and this record. A field that was present
    /// then and was set to another value must be set again.
    pub fn rewind(&mut self, mark: &Mark) {
        self.present.clone_from(&mark.present);
        self.scratch.truncate(mark.scratch_len);
        self.time = mark.time;
    }

    /// Appends what a field says, so that two fields differ here if they differ at all: the kind, the text, and a byte that is
    /// in no text.
    pub fn append_key(&self, record: &str, id: FieldId, key: &mut Vec<u8>) {
        if let Some(slot) = self.slot(id) {
            key.push(slot.kind() as u8);
            key.extend_from_slice(self.bytes(record, slot));
        }
        key.push(0xff);
    }

    /// What follows in `key` on what [`EventBuf::append_key`] would append; None: something else stands there.
    #[inline]
    pub fn strip_key<'a>(&self, record: &str, id: FieldId, key: &'a [u8]) -> Option<&'a [u8]> {
        let key = match self.slot(id) {
            Some(slot) => {
                let (kind, key) = key.split_first()?;
                let text = self.bytes(record, slot);
                let (head, rest) = key.split_at_checked(text.len())?;
                (*kind == slot.kind() as u8 && head == text).then_some(rest)?
            }
            None => key,
        };
        key.strip_prefix(&[0xff])
    }

    /// What a field says, as it is written; empty where it is absent or a single word of JSON.
    #[inline]
    pub fn written<'a>(&'a self, record: &'a str, id: FieldId) -> &'a [u8] {
        self.slot(id).map_or(&[], |it| self.bytes(record, it))
    }

    #[inline]
    pub fn slot(&self, id: FieldId) -> Option<Slot> {
        self.has(id).then(|| self.slots[id.index()])
    }

    #[inline]
    pub fn get<'a>(&'a self, record: &'a str, id: FieldId) -> Option<Value<'a>> {
        let slot = self.slot(id)?;
        Some(self.value(record, slot))
    }

    /// The text of a slot, whatever it is.
    #[inline(always)]
    fn text<'a>(&'a self, record: &'a str, slot: Slot) -> &'a str {
        &self.whole(record, slot)[slot.start()..slot.end()]
    }

    /// The same, for those who compare: without a look at whether whole characters are cut out.
    #[inline(always)]
    fn bytes<'a>(&'a self, record: &'a str, slot: Slot) -> &'a [u8] {
        &self.whole(record, slot).as_bytes()[slot.start()..slot.end()]
    }

    /// Where the text of a slot stands.
    #[inline(always)]
    fn whole<'a>(&'a self, record: &'a str, slot: Slot) -> &'a str {
        match slot.place() {
            Place::Record => record,
            Place::Scratch => &self.scratch,
            Place::Constant => &self.constants,
        }
    }

    /// What a slot made for this buffer and record says.
    #[inline]
    pub fn value<'a>(&'a self, record: &'a str, slot: Slot) -> Value<'a> {
        let text = || self.text(record, slot);
        match slot.kind() {
            Kind::Text => Value::Text(text()),
            Kind::Number => Value::Number(text()),
            Kind::True => Value::Bool(true),
            Kind::False => Value::Bool(false),
            Kind::Null => Value::Null,
            Kind::Json => Value::Json(text()),
            Kind::List => Value::List(List(text())),
        }
    }
}
