//! Stages 2 to 5: lines to hits. Stateless, so there can be one on every core.
//!
//! A front keeps buffers and caches, never anything that could change what it says: what a line means depends on the line
//! alone. Nothing is allocated for a line; a hit's texts are copied once, into its batch.

use std::ops::Range;
use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::order::Track;
use super::poison::{self, attempt};
use super::rules::{Compiled, Plan, RuleSet};
use crate::detect::due::stable;
use crate::enrich::Enricher;
use crate::format::{self, Auto, Format};
use crate::limits;
use crate::matcher::Scratch;
use crate::model::canonical::{Compare, END, canonical_into};
use crate::model::{
    Carried, Event, EventBuf, FieldId, HashKeys, HitBatch, HitEvent, HitRule, List, Outline, Owner, Place, RuleIndex,
    Slot, TextRange, Timestamp, Value, Zone, json, text,
};
use crate::schema::{Arrival, Memo, SchemaIndex};
use crate::source::batch::{Line, LineBatch};

/// How a source's lines are to be read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// None: recognised line by line.
    pub format: Option<&'static Format>,
    /// What stamps without zone mean.
    pub zone: Zone,
}

/// What a front makes of a batch of lines.
#[derive(Default)]
pub struct Judged {
    pub source: u16,
    pub batch: HitBatch,
    pub track: Track,
    pub counts: Counts,
    pub rejects: Vec<Rejected>,
}

/// A line that did not become an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub line: u64,
    /// A short stable word, such as `too-long` or `not-json`.
    pub reason: &'static str,
    /// The beginning of the line, at most `limits::REJECTED_TEXT_BYTES_MAX`.
    pub text: Box<[u8]>,
}

impl Rejected {
    pub fn new(line: u64, reason: &'static str, bytes: &[u8]) -> Rejected {
        Rejected { line, reason, text: bytes[..bytes.len().min(limits::REJECTED_TEXT_BYTES_MAX)].into() }
    }
}

/// received = accepted + rejected, at any moment.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Lines that came in (documents count as one, blank lines not at all).
    pub received: u64,
    pub accepted: u64,
    pub rejected: u64,
    /// Events made of accepted lines: a line may hold several records, or one that stands for several.
    pub events: u64,
    /// Events that no schema recognised.
    pub unrecognised: u64,
    /// Hits without one of the rule's `by` fields: skipped.
    pub without_entity: u64,
    pub bytes: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.received += other.received;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.events += other.events;
        self.unrecognised += other.unrecognised;
        self.without_entity += other.without_entity;
        self.bytes += other.bytes;
    }
}

/// Lines to hits.
pub struct Front {
    set: Arc<RuleSet>,
    keys: HashKeys,
    reader: Reader,
    scratch: Scratch,
    known: Known,
    queue: Queue,
}

/// Events that were read and wait to be judged. Reading, matching and writing hits have too much code for a processor's first cache
/// when each line goes through all of it; some lines at once through one after the other find it there.
#[derive(Default)]
struct Queue {
    events: Vec<Queued>,
    /// So many of them count.
    len: usize,
    matched: Vec<u32>,
}

struct Queued {
    /// The place of its line in the batch.
    line: usize,
    /// Which part of the line is its record.
    record: Range<usize>,
    buf: EventBuf,
    time: Option<Timestamp>,
    repeat: u32,
    has_geo: bool,
    idle: bool,
    /// Which of `matched` it satisfies.
    matched: Range<usize>,
}

/// An event with all that is asked of it for its hits.
#[derive(Clone, Copy)]
struct Judging<'a> {
    event: Event<'a>,
    time: Option<Timestamp>,
    repeat: u32,
    has_geo: bool,
}

/// Lines to events: the part of a front that `normalize` needs too.
pub struct Reader {
    set: Arc<RuleSet>,
    audience: Audience,
    buf: EventBuf,
    /// For records inside others, one for each depth.
    spare: Vec<EventBuf>,
    auto: Auto,
    memo: Memo,
    enricher: Enricher,
}

/// For whom events are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Everybody,
    Rules,
}

/// An event and how it came to be.
pub struct Read<'a> {
    /// No rule can hold for it, and its fields were not filled.
    pub idle: bool,
    pub schema: Option<SchemaIndex>,
    /// How often it happened.
    pub repeat: u32,
    /// Whether its geo fields are filled in.
    pub has_geo: bool,
    record: &'a str,
    buf: &'a mut EventBuf,
    /// Nobody looks at it once more: what is in the buffer can be taken.
    is_last: bool,
}

impl Read<'_> {
    pub fn event(&self) -> Event<'_> {
        Event { record: self.record, buf: self.buf }
    }
}

impl<'a> Read<'a> {
    fn idle(record: &'a str, buf: &'a mut EventBuf, schema: SchemaIndex, repeat: u32) -> Read<'a> {
        Read { idle: true, record, buf, schema: Some(schema), repeat, has_geo: false, is_last: true }
    }
}

impl Reader {
    /// For somebody who wants to see every field.
    pub fn new(set: Arc<RuleSet>, enricher: Enricher) -> Reader {
        let buf = EventBuf::new(set.fields.len(), set.schemas.constants());
        Reader {
            set,
            audience: Audience::Everybody,
            buf,
            spare: Vec::new(),
            auto: Auto,
            memo: Memo::default(),
            enricher,
        }
    }

    /// For the rules: events that none of them can want are [idle](Read::idle).
    pub fn for_rules(set: Arc<RuleSet>, enricher: Enricher) -> Reader {
        Reader { audience: Audience::Rules, ..Reader::new(set, enricher) }
    }

    /// Reads one line; calls `each` with every event in it. `received` helps stamps that name no year.
    pub fn read(
        &mut self,
        line: &str,
        reading: &Reading,
        received: Timestamp,
        each: &mut dyn FnMut(&mut Read<'_>, &mut Enricher),
    ) -> Result<(), &'static str> {
        self.read_record(line, reading, received, 0, each).map(|_| ())
    }

    /// The same for one record; says whether a schema recognised it.
    fn read_record(
        &mut self,
        record: &str,
        reading: &Reading,
        received: Timestamp,
        depth: usize,
        each: &mut dyn FnMut(&mut Read<'_>, &mut Enricher),
    ) -> Result<bool, &'static str> {
        let format = self.decode(record, reading)?;
        let arrival = Arrival { zone: reading.zone, received };
        if self.audience == Audience::Rules {
            let Reader { set, buf, memo, enricher, .. } = &mut *self;
            if let Some((schema, repeat)) = set.schemas.idle(record, format.name, buf, arrival, memo) {
                each(&mut Read::idle(record, buf, schema, repeat), enricher);
                return Ok(true);
            }
        }
        let event = Event { record, buf: &self.buf };
        let Some(schema) = self.set.schemas.recognise(event, format.name, &mut self.memo) else {
            if self.read_inside(record, format, reading, received, depth, None, each) {
                return Ok(true);
            }
            self.set.schemas.select(record, &mut self.buf, &mut self.memo);
            self.set.schemas.note_usual_time(record, &mut self.buf, arrival, &mut self.memo);
            self.hand_over(record, None, 1, true, each);
            return Ok(false);
        };
        // A catch-all knows every wrapper; a vendor's own schema perhaps knows what is in it.
        if self.set.schemas.is_catch_all(schema)
            && self.read_inside(record, format, reading, received, depth, Some(schema), each)
        {
            return Ok(true);
        }
        self.set.schemas.select(record, &mut self.buf, &mut self.memo);
        let elements = self.set.schemas.elements(schema, record, &mut self.buf, &mut self.memo);
        for element in 0..elements {
            let Reader { set, buf, memo, audience, enricher, .. } = &mut *self;
            let could_match = |outline: Outline| set.could_match(outline);
            let cares = (*audience == Audience::Rules).then_some(&could_match as &dyn Fn(Outline) -> bool);
            let meaning = set.schemas.understand(schema, record, buf, element, arrival, cares, memo);
            let repeat = meaning.repeat;
            if meaning.idle {
                each(&mut Read::idle(record, buf, schema, repeat), enricher);
                continue;
            }
            set.schemas.fill(&meaning, record, buf, memo);
            self.hand_over(record, Some(schema), repeat, element + 1 == elements, each);
        }
        Ok(true)
    }

    /// Perhaps the record is a wrapper of records that a schema knows, and knows better than `outer`. If not, the record
    /// is as decoded as it was.
    #[expect(clippy::too_many_arguments, reason = "a record, how it is read, and who wants it")]
    fn read_inside(
        &mut self,
        record: &str,
        format: &Format,
        reading: &Reading,
        received: Timestamp,
        depth: usize,
        outer: Option<SchemaIndex>,
        each: &mut dyn FnMut(&mut Read<'_>, &mut Enricher),
    ) -> bool {
        if depth >= limits::UNWRAP_DEPTH_MAX || self.buf.notes.bare {
            return false;
        }
        let inside = Reading { format: None, zone: reading.zone };
        let mut recognised = false;
        // What the record was decoded to is kept: nearly always nothing is found in it.
        let buf =
            self.spare.pop().unwrap_or_else(|| EventBuf::new(self.set.fields.len(), self.set.schemas.constants()));
        let mut outer_buf = std::mem::replace(&mut self.buf, buf);
        self.memo.change_buffer();
        let found = format::inner_records_noted(record, &mut outer_buf, &mut |inner| {
            // JSON that was put into a text is what the text is there for, whatever knows it. It had to be unescaped, so it
            // lies elsewhere.
            let is_quoted = inner.starts_with('{') && !record.as_bytes().as_ptr_range().contains(&inner.as_ptr());
            // Only what is recognised is taken from inside: the rest of a wrapper means nothing by itself.
            let mut taken = |read: &mut Read<'_>, enricher: &mut Enricher| {
                // Schemas are in order of priority.
                if read.schema.is_some_and(|it| outer.is_none_or(|outer| it < outer || is_quoted && it != outer)) {
                    recognised = true;
                    each(read, enricher);
                }
            };
            let _ = self.read_record(inner, &inside, received, depth + 1, &mut taken);
        });
        self.spare.push(std::mem::replace(&mut self.buf, outer_buf));
        self.memo.change_buffer();
        if found > 0 && !recognised {
            // Mapping goes by the shape that was recognised last.
            self.set.schemas.recognise(Event { record, buf: &self.buf }, format.name, &mut self.memo);
        }
        recognised
    }

    /// Reads a line's syntax and no more: what the benchmark calls decoding.
    pub fn decode_only(&mut self, line: &str, reading: &Reading) -> Result<(), &'static str> {
        self.decode(line, reading).map(|_| ())
    }

    fn decode(&mut self, record: &str, reading: &Reading) -> Result<&'static Format, &'static str> {
        self.buf.clear();
        match reading.format {
            None => self.auto.decode(record, &self.set.paths, &mut self.buf).map_err(|it| it.reason),
            Some(format) => {
                (format.decode)(record, 0, &self.set.paths, &mut self.buf).map_err(|it| it.reason)?;
                Ok(format)
            }
        }
    }

    fn hand_over(
        &mut self,
        record: &str,
        schema: Option<SchemaIndex>,
        repeat: u32,
        is_last: bool,
        each: &mut dyn FnMut(&mut Read<'_>, &mut Enricher),
    ) {
        let asks = self.set.geo_first.asks(Event { record, buf: &self.buf });
        let geo = self.set.geo.as_ref().filter(|_| asks);
        if let Some(geo) = geo {
            self.enricher.fill(geo, record, &mut self.buf);
        }
        if let Some(field) = self.set.every_value {
            let start = self.buf.scratch.len();
            json::scalars(record, &mut self.buf.scratch);
            self.buf.set(field, Slot::list(Place::Scratch, start, self.buf.scratch.len() - start));
        }
        let has_geo = geo.is_some();
        let read = &mut Read { record, buf: &mut self.buf, schema, repeat, idle: false, has_geo, is_last };
        each(read, &mut self.enricher);
    }
}

impl Front {
    pub fn new(set: Arc<RuleSet>, keys: HashKeys, enricher: Enricher) -> Front {
        Front {
            scratch: set.matcher.new_scratch(),
            reader: Reader::for_rules(set.clone(), enricher),
            known: Known::new(&set),
            set,
            keys,
            queue: Queue::default(),
        }
    }

    /// Judges a batch. `received` is the wall clock in live mode; `reference` helps stamps that name no year.
    pub fn judge(
        &mut self,
        lines: &LineBatch,
        reading: &Reading,
        received: Option<Timestamp>,
        reference: Timestamp,
        out: &mut Judged,
    ) {
        let arrival = (received, reference);
        if attempt(|| self.judge_but(&[], lines, reading, arrival, out)).is_some() {
            return;
        }
        self.renew();
        // Whatever cannot be judged is left out, and the rest is judged as if it were not there.
        let mut poison: Vec<usize> = Vec::new();
        for index in 0..lines.lines().len() {
            let judged = attempt(|| {
                let _ = self.read_line(index, lines, reading, reference, out);
                self.judge_queue(lines, out);
            });
            if judged.is_none() {
                poison.push(index);
                self.renew();
            }
        }
        if attempt(|| self.judge_but(&poison, lines, reading, arrival, out)).is_none() {
            // Not a line by itself, but something that they do together.
            self.renew();
            let all: Vec<usize> = (0..lines.lines().len()).collect();
            self.judge_but(&all, lines, reading, arrival, out);
        }
    }

    /// Judges the lines of a batch but those with these places in it, which are rejected.
    fn judge_but(
        &mut self,
        mut poison: &[usize],
        lines: &LineBatch,
        reading: &Reading,
        (received, reference): (Option<Timestamp>, Timestamp),
        out: &mut Judged,
    ) {
        out.source = lines.source;
        out.batch.clear();
        out.track.start(received);
        out.rejects.clear();
        out.rejects.extend(lines.rejects().map(|it| Rejected::new(it.number, it.reason, it.bytes)));
        out.counts = Counts { received: lines.received(), rejected: out.rejects.len() as u64, ..Counts::default() };
        for (index, line) in lines.lines().enumerate() {
            out.counts.bytes += line.text.len() as u64 + 1;
            let judged = if poison.first() == Some(&index) {
                poison = &poison[1..];
                Err(poison::REASON)
            } else {
                self.read_line(index, lines, reading, reference, out)
            };
            match judged {
                Ok(()) => out.counts.accepted += 1,
                Err(reason) => {
                    out.counts.rejected += 1;
                    out.rejects.push(Rejected::new(line.number, reason, line.text.as_bytes()));
                }
            }
        }
        self.judge_queue(lines, out);
    }

    /// Reads a line; what is in it waits in the queue.
    #[inline]
    fn read_line(
        &mut self,
        index: usize,
        lines: &LineBatch,
        reading: &Reading,
        reference: Timestamp,
        out: &mut Judged,
    ) -> Result<(), &'static str> {
        let line = lines.line(index);
        #[cfg(test)]
        assert!(!line.text.contains(poison::PLANTED), "planted");
        let Front { set, keys, reader, scratch, known, queue } = self;
        let mut judge = Judge { set, keys: *keys, scratch, known, queue, lines, out };
        let mut each = |read: &mut Read<'_>, enricher: &mut Enricher| judge.take(index, read, enricher);
        reader.read(line.text, reading, reference, &mut each)
    }

    /// Judges what waits.
    fn judge_queue(&mut self, lines: &LineBatch, out: &mut Judged) {
        let Front { set, keys, reader, scratch, known, queue } = self;
        Judge { set, keys: *keys, scratch, known, queue, lines, out }.judge_all(&mut reader.enricher);
    }

    /// Forgets everything half-done.
    fn renew(&mut self) {
        *self = Front::new(self.set.clone(), self.keys, self.reader.enricher.renewed());
    }
}

impl Queue {
    /// A place at its end, with a buffer like that one.
    fn place(&mut self, like: &EventBuf) -> &mut Queued {
        if self.len == self.events.len() {
            let (record, matched) = (0..0, 0..0);
            let buf = like.alike();
            self.events.push(Queued {
                line: 0,
                record,
                buf,
                time: None,
                repeat: 1,
                has_geo: false,
                idle: true,
                matched,
            });
        }
        self.len += 1;
        &mut self.events[self.len - 1]
    }
}

impl Queued {
    fn event<'a>(&'a self, lines: &'a LineBatch) -> Event<'a> {
        Event { record: &lines.line(self.line).text[self.record.clone()], buf: &self.buf }
    }
}

/// Judges events that were read, in their order.
struct Judge<'a> {
    set: &'a RuleSet,
    keys: HashKeys,
    scratch: &'a mut Scratch,
    known: &'a mut Known,
    queue: &'a mut Queue,
    lines: &'a LineBatch,
    out: &'a mut Judged,
}

impl Judge<'_> {
    /// Takes in an event of the line at `index`.
    fn take(&mut self, index: usize, read: &mut Read<'_>, enricher: &mut Enricher) {
        self.out.counts.events += u64::from(read.repeat);
        self.out.counts.unrecognised += u64::from(read.schema.is_none());
        let line = self.lines.line(index);
        let start = (read.record.as_ptr() as usize).wrapping_sub(line.text.as_ptr() as usize);
        let end = start.checked_add(read.record.len()).filter(|it| *it <= line.text.len());
        match end {
            Some(end) if read.is_last => {
                let queued = self.queue.place(read.buf);
                (queued.line, queued.record) = (index, start..end);
                (queued.time, queued.idle) = (read.buf.time, read.idle);
                (queued.repeat, queued.has_geo) = (read.repeat, read.has_geo);
                if !read.idle {
                    queued.buf.swap_record(read.buf);
                }
                if self.queue.len == limits::EVENTS_QUEUED_MAX {
                    self.judge_all(enricher);
                }
            }
            // It cannot be kept: it stands elsewhere, or is to be read once more.
            _ => {
                self.judge_all(enricher);
                let Queue { matched, .. } = &mut *self.queue;
                matched.clear();
                if !read.idle {
                    self.set.matcher.matches(read.event(), self.scratch, matched);
                }
                let mut writer = Writer::new(self.set, self.keys, line, self.known);
                let (event, time) = (read.event(), read.buf.time);
                if !matched.is_empty() {
                    let judging = Judging { event, time, repeat: read.repeat, has_geo: read.has_geo };
                    writer.hits(judging, matched, enricher, self.out);
                }
                self.out.track.line(time);
            }
        }
    }

    /// Judges what waits.
    fn judge_all(&mut self, enricher: &mut Enricher) {
        let Queue { events, len, matched } = &mut *self.queue;
        let events = &mut events[..*len];
        matched.clear();
        for it in events.iter_mut() {
            let from = matched.len();
            if !it.idle {
                self.set.matcher.matches(it.event(self.lines), self.scratch, matched);
            }
            it.matched = from..matched.len();
        }
        let Some(first) = events.first() else { return };
        let mut line = first.line;
        let mut writer = Writer::new(self.set, self.keys, self.lines.line(line), self.known);
        for it in events.iter_mut() {
            if it.line != line {
                line = it.line;
                writer.turn_to(self.lines.line(line));
            }
            if !it.matched.is_empty() {
                let event = it.event(self.lines);
                let judging = Judging { event, time: it.time, repeat: it.repeat, has_geo: it.has_geo };
                writer.hits(judging, &matched[it.matched.clone()], enricher, self.out);
            }
            self.out.track.line(it.time);
            it.buf.shrink();
        }
        *len = 0;
    }
}

/// What the rules that an event satisfies have in common: many ask whose it is in the same way, and take the same values
/// along. Found once an event, for the first of them.
struct Known {
    /// Numbers events, so that nothing has to be cleared between them.
    event: u64,
    /// By the number of a field of `by`: of which event, and where its canonical form stands in `forms`; None: it is missing.
    parts: Vec<(u64, Option<Part>)>,
    /// Canonical forms of the event's values, each between marks.
    forms: Vec<u8>,
    /// By the number of the `by`: of which event, and where its owner stands in the batch; None when a field is missing.
    entities: Vec<(u64, Option<u32>)>,
    /// By field: of which event, and the value.
    values: Vec<(u64, Carried)>,
    /// By the number of the list of what hits take along: of which event, and where the values of such a hit begin.
    carries: Vec<(u64, u32)>,
    /// A buffer: the canonical forms of an entity of several fields, between marks.
    joined: Vec<u8>,
}

/// A value of `by`.
#[derive(Clone, Copy)]
struct Part {
    /// Its form in `forms`, with the marks around it.
    from: u32,
    to: u32,
    /// There is a [`List::SEPARATOR`] in it.
    is_broken: bool,
}

impl Known {
    fn new(set: &RuleSet) -> Known {
        Known {
            event: 0,
            parts: vec![(0, None); set.distinct_parts],
            forms: Vec::new(),
            entities: vec![(0, None); set.distinct_by],
            values: vec![(0, Carried::Absent); set.fields.len()],
            carries: vec![(0, 0); set.distinct_carry],
            joined: Vec::new(),
        }
    }

    fn start(&mut self) {
        self.event += 1;
        self.forms.clear();
    }

    /// Looks at a value of `by`, once for all rules that ask for it.
    fn part(&mut self, number: usize, value: Option<&str>, compare: Compare) -> Option<Part> {
        if self.parts[number].0 != self.event {
            let part = value.filter(|it| !it.is_empty()).map(|value| {
                let from = self.forms.len();
                self.forms.push(END);
                canonical_into(value, compare, &mut self.forms);
                self.forms.push(END);
                let is_broken = value.contains(List::SEPARATOR);
                Part { from: from as u32, to: self.forms.len() as u32, is_broken }
            });
            self.parts[number] = (self.event, part);
        }
        self.parts[number].1
    }
}

/// Writes the hits of one line.
struct Writer<'a> {
    set: &'a RuleSet,
    keys: HashKeys,
    line: &'a str,
    number: u64,
    /// Where the line is kept, once it had a hit.
    text: Option<TextRange>,
    hash: Option<u64>,
    known: &'a mut Known,
}

impl<'a> Writer<'a> {
    fn new(set: &'a RuleSet, keys: HashKeys, line: Line<'a>, known: &'a mut Known) -> Writer<'a> {
        Writer { set, keys, line: line.text, number: line.number, text: None, hash: None, known }
    }

    /// The next hits are those of another line.
    fn turn_to(&mut self, line: Line<'a>) {
        (self.line, self.number) = (line.text, line.number);
        (self.text, self.hash) = (None, None);
    }

    fn hits(&mut self, read: Judging<'_>, matched: &[u32], enricher: &mut Enricher, out: &mut Judged) {
        let Judged { source, batch, track, counts, .. } = out;
        self.known.start();
        let (before, kept) = (batch.hits.len(), batch.text.len());
        // First, because most of what hits take along is a piece of it.
        let text = *self.text.get_or_insert_with(|| batch.push(text::cut(self.line, limits::EVIDENCE_TEXT_BYTES_MAX)));
        let line = Kept { line: self.line, at: text };
        let mut at = 0;
        while at < matched.len() {
            let (rule, mut steps) = self.set.owners[matched[at] as usize];
            at += 1;
            while at < matched.len() && self.set.owners[matched[at] as usize].0 == rule {
                steps |= self.set.owners[matched[at] as usize].1;
                at += 1;
            }
            let plan = self.set.plans[rule.index()];
            let Some(owner) = self.owner(rule, plan, read.event, line, batch) else {
                counts.without_entity += 1;
                continue;
            };
            let of_entity = batch.owners[owner as usize].stable;
            let whose = if plan.sees_everybody { plan.hash } else { stable(plan.hash, of_entity) };
            let values = self.carry(rule, plan, read, enricher, line, batch);
            let partition = (whose % limits::PARTITIONS as u64) as u8;
            batch.push_hit(HitRule { owner, values, ..HitRule::new(rule, steps as u16, partition) });
        }
        if batch.hits.len() == before {
            if text.start as usize == kept {
                batch.text.truncate(kept);
                self.text = None;
            }
            return;
        }
        let line_hash = *self.hash.get_or_insert_with(|| XxHash3_64::oneshot(self.line.as_bytes()));
        let time = read.time.unwrap_or(Timestamp::MIN);
        batch.push_event(HitEvent::new(time, *source, self.number, line_hash, text));
        track.event(read.time);
        for _ in 1..read.repeat {
            batch.repeat_event();
            track.event(read.time);
        }
    }

    /// Whose hit of the rule it is. None when a field of the entity is missing.
    fn owner(
        &mut self,
        rule: RuleIndex,
        plan: Plan,
        event: Event<'_>,
        line: Kept<'_>,
        batch: &mut HitBatch,
    ) -> Option<u32> {
        let (of, known) = self.known.entities[plan.by as usize];
        if of == self.known.event {
            return known;
        }
        let entity = self.entity(&self.set.rules[rule.index()], event, line, batch);
        self.known.entities[plan.by as usize] = (self.known.event, entity);
        entity
    }

    /// The entity of an event, for all rules with that `by`.
    fn entity(&mut self, rule: &Compiled, event: Event<'_>, line: Kept<'_>, batch: &mut HitBatch) -> Option<u32> {
        let text = |field: FieldId| event.text(field).map(|it| text::cut(it, limits::VALUE_BYTES_MAX));
        let known = &mut *self.known;
        if let ([(field, compare)], [number]) = (&rule.by[..], &rule.by_parts[..]) {
            let value = text(*field);
            let part = known.part(*number, value, *compare)?;
            let entity = match (value?, part.is_broken) {
                (value, false) => line.keep(value, batch),
                // A separator inside a value would shift the values after it.
                (value, true) => batch.push(&value.replace(List::SEPARATOR, " ")),
            };
            let form = &known.forms[part.from as usize..part.to as usize];
            return Some(own(form, entity, self.keys, batch));
        }
        let start = batch.text.len();
        known.joined.clear();
        known.joined.push(END);
        for (number, ((field, compare), part)) in rule.by.iter().zip(&rule.by_parts).enumerate() {
            let value = text(*field);
            let (Some(part), Some(value)) = (known.part(*part, value, *compare), value) else {
                batch.text.truncate(start);
                return None;
            };
            if number > 0 {
                batch.text.push(List::SEPARATOR);
            }
            match part.is_broken {
                true => batch.text.push_str(&value.replace(List::SEPARATOR, " ")),
                false => batch.text.push_str(value),
            }
            known.joined.extend_from_slice(&known.forms[part.from as usize + 1..part.to as usize]);
        }
        let entity = TextRange { start: start as u32, len: (batch.text.len() - start) as u32 };
        Some(own(&known.joined, entity, self.keys, batch))
    }

    /// Where the values begin that a hit of the rule takes along.
    fn carry(
        &mut self,
        rule: RuleIndex,
        plan: Plan,
        read: Judging<'_>,
        enricher: &mut Enricher,
        line: Kept<'_>,
        batch: &mut HitBatch,
    ) -> u32 {
        let event = read.event;
        let Known { event: number, values, carries, .. } = &mut *self.known;
        let (of, known) = &mut carries[plan.carry as usize];
        if of == number {
            return *known;
        }
        let rule = &self.set.rules[rule.index()];
        let start = batch.values.len() as u32;
        (*of, *known) = (*number, start);
        let is_known = |field: &FieldId| values[field.index()].0 == *number;
        let geo = self.set.geo.as_ref().filter(|_| !read.has_geo && rule.carries_geo);
        // Looked up once for all of them: nine times over, it was half of what the whole pack cost.
        let geo = geo.filter(|_| !rule.carry.iter().all(is_known));
        let found = geo.map(|it| enricher.whereabouts(it, event));
        for field in &rule.carry {
            let (of, known) = &mut values[field.index()];
            if of != number {
                let looked_up = geo.zip(found.as_ref()).and_then(|(geo, found)| found.value(geo, *field, batch));
                (*of, *known) = (*number, looked_up.unwrap_or_else(|| carried(*field, event, line, batch)));
            }
        }
        // Afterwards: a value that has just been written in parts cannot be read whole without a wait.
        batch.values.extend(rule.carry.iter().map(|it| values[it.index()].1));
        start
    }
}

/// Makes an owner of canonical forms with marks before, between and after them.
fn own(forms: &[u8], entity: TextRange, keys: HashKeys, batch: &mut HitBatch) -> u32 {
    // At once from one buffer: the hasher that takes it in pieces allocates (120 ns against 15).
    let stable = XxHash3_64::oneshot(&forms[..forms.len() - 1]);
    batch.push_owner(Owner { hash: keys.hash_form(&forms[1..]), stable, entity })
}

/// A line that a batch keeps.
#[derive(Clone, Copy)]
struct Kept<'a> {
    line: &'a str,
    /// What of it, from its beginning.
    at: TextRange,
}

impl Kept<'_> {
    /// Where a value stands: in the line, if it is a piece of what is kept of that, or else behind it.
    fn keep(self, value: &str, batch: &mut HitBatch) -> TextRange {
        let at = (value.as_ptr() as usize).wrapping_sub(self.line.as_ptr() as usize);
        match at.checked_add(value.len()) {
            Some(end) if end <= self.at.len as usize => {
                TextRange { start: self.at.start + at as u32, len: value.len() as u32 }
            }
            _ => batch.push(value),
        }
    }
}

fn carried(field: FieldId, event: Event<'_>, line: Kept<'_>, batch: &mut HitBatch) -> Carried {
    match event.get(field) {
        Some(Value::List(list)) => {
            let start = batch.text.len();
            for (number, it) in list.iter().enumerate() {
                batch.text.push_str(if number > 0 { ", " } else { "" });
                batch.text.push_str(it);
            }
            let len = text::cut(&batch.text[start..], limits::VALUE_BYTES_MAX).len();
            batch.text.truncate(start + len);
            Carried::Text(TextRange { start: start as u32, len: len as u32 })
        }
        Some(value) => match value.as_text() {
            Some(it) => Carried::Text(line.keep(text::cut(it, limits::VALUE_BYTES_MAX), batch)),
            None => Carried::Absent,
        },
        None => Carried::Absent,
    }
}

/// Rules in hits are numbers; this is the widest.
const _: () = assert!(limits::RULES_MAX <= RuleIndex(u16::MAX).0 as usize);
