//! What is known of all records that have the same fields.
//!
//! Asking sixty schemas for each line would cost more than reading it, and so would asking each of the twenty names that a
//! field may have. But which fields a record has rules out all schemas but one or two and all names but one, and a log has
//! few different shapes. So for each shape it is worked out once which schemas could match and what is left of each
//! operation and condition of them. The table is a cache of a pure function: full, it is emptied, and no answer depends
//! on it.

use hashbrown::HashMap;

use super::take::Op;
use super::verdict::{Deciders, Idle};
use super::{Plan, Schema, SchemaIndex, Schemas};
use crate::expr::plain::{Given, Known};
use crate::limits::{SHAPE_PARTS_MAX, SHAPES_MAX};
use crate::model::{Event, EventBuf, FieldId, Slot};

/// Shapes seen.
#[derive(Default)]
pub(super) struct Shapes {
    by_key: HashMap<Box<[u64]>, usize>,
    all: Vec<Shape>,
    /// The last record's: the next is likely to have the same.
    last: usize,
    /// Which way that record went through the trails of its decoder.
    way: u64,
    /// The last record's format and its number.
    format: Option<(&'static str, u64)>,
    key: Vec<u64>,
    /// Operations and conditions remembered.
    parts: usize,
    idle: Idle,
}

/// What is left of a schema for the records of a shape, and what is known of them.
pub(super) struct Found<'a> {
    pub(super) ready: &'a mut Ready,
    pub(super) fields: Fields<'a>,
    pub(super) parts: &'a mut usize,
    pub(super) idle: &'a mut Idle,
    /// Of the schema and the shape.
    pub(super) number: u64,
}

/// What all records of one shape have in common.
pub(super) struct Shape {
    /// The format's number, whether a null is there, and the presence bits.
    key: Box<[u64]>,
    /// The schemas that could match, in order of priority, and what is left to ask.
    pub(super) candidates: Box<[(SchemaIndex, Given)]>,
    ready: Vec<(SchemaIndex, Ready)>,
    /// Which of `ready` has events that nobody wants, and knows what decides so.
    decided: Option<usize>,
}

/// A schema that perhaps knows an event at sight.
pub(super) struct Decided<'a> {
    pub(super) index: SchemaIndex,
    pub(super) ready: &'a mut Ready,
    pub(super) idle: &'a Idle,
    /// Of the schema and the shape.
    pub(super) number: u64,
}

/// What is left of a schema for records of one shape. Parts are made when first needed.
pub(super) struct Ready {
    pub(super) action: Option<Op>,
    pub(super) time: Option<Op>,
    pub(super) repeat: Option<Op>,
    pub(super) tags: Box<[(Slot, Given)]>,
    pub(super) deciders: Deciders,
    /// For each case, its condition.
    whens: Box<[Option<Given>]>,
    /// For each case, what it fills; last, what is filled when none applies.
    plans: Box<[Option<ReadyPlan>]>,
}

pub(super) struct ReadyPlan {
    pub(super) concern: Concern,
    pub(super) fields: Box<[(FieldId, Op)]>,
    pub(super) outcome: Option<Op>,
}

/// Whether anybody cares for events of a shape and a case. Finding out asks every rule, so events are counted first.
#[derive(Clone, Copy)]
pub(super) enum Concern {
    Unknown { seen: u16 },
    Nobody,
    Somebody,
}

/// The fields that records of a shape have, asked of its key.
pub(super) struct Fields<'a> {
    key: &'a [u64],
    /// The element that a splitting schema puts in.
    element: Option<FieldId>,
}

impl Fields<'_> {
    /// One bit a field: those that the record has.
    pub(super) fn open(&self) -> Vec<u64> {
        let mut open = self.key[1..].to_vec();
        if let Some(element) = self.element {
            open[element.index() / 64] |= 1 << (element.index() % 64);
        }
        open
    }

    fn have(&self, id: FieldId) -> bool {
        self.known(|it| (it.has)(id))
    }

    fn known<T>(&self, use_it: impl FnOnce(&Known) -> T) -> T {
        let has = |id: FieldId| {
            let word = self.key.get(id.index() / 64 + 1).copied().unwrap_or(0);
            word >> (id.index() & 63) & 1 != 0 || self.element == Some(id)
        };
        // An element is not always there, which is as if it could be null.
        use_it(&Known { has: &has, nulls: self.key[0] & 1 != 0 || self.element.is_some() })
    }
}

impl Shapes {
    pub(super) fn forget_way(&mut self) {
        self.way = 0;
    }

    /// The record's shape.
    #[inline]
    pub(super) fn find(&mut self, schemas: &Schemas, event: Event, format: &'static str) -> &Shape {
        let number = match self.format {
            Some((last, number)) if std::ptr::eq(last, format) => number,
            _ => self.number_of(schemas, format),
        };
        let head = number << 1 | u64::from(event.buf.has_null);
        let way = event.buf.notes.way;
        let is_last = self.all.get(self.last).is_some_and(|it| {
            it.key[0] == head && (way != 0 && way == self.way || it.key[1..] == *event.buf.present())
        });
        if !is_last {
            self.last = self.look_up(schemas, head, event.buf, format);
        }
        self.way = way;
        &self.all[self.last]
    }

    /// The schema of the record's shape that has events which nobody wants.
    #[inline]
    pub(super) fn decided(&mut self, schemas: &Schemas, event: Event, format: &'static str) -> Option<Decided<'_>> {
        let at = self.find(schemas, event, format).decided?;
        let (index, ready) = self.all[self.last].ready.get_mut(at)?;
        Some(Decided { number: number(self.last, *index), index: *index, ready, idle: &self.idle })
    }

    #[cold]
    fn number_of(&mut self, schemas: &Schemas, format: &'static str) -> u64 {
        let number = schemas.formats.iter().position(|it| **it == *format).map_or(u64::MAX >> 1, |it| it as u64);
        self.format = Some((format, number));
        number
    }

    fn look_up(&mut self, schemas: &Schemas, head: u64, buf: &EventBuf, format: &str) -> usize {
        self.key.clear();
        self.key.push(head);
        self.key.extend_from_slice(buf.present());
        if let Some(index) = self.by_key.get(self.key.as_slice()) {
            return *index;
        }
        if self.all.len() >= SHAPES_MAX || self.parts >= SHAPE_PARTS_MAX {
            self.by_key.clear();
            self.all.clear();
            self.idle.clear();
            self.parts = 0;
        }
        let fields = Fields { key: &self.key, element: None };
        let candidates = fields.known(|known| schemas.candidates(known, format));
        self.parts += candidates.len();
        let shape = Shape { key: self.key.as_slice().into(), candidates, ready: Vec::new(), decided: None };
        self.by_key.insert(shape.key.clone(), self.all.len());
        self.all.push(shape);
        self.all.len() - 1
    }

    /// What is left of the schema for records of the shape that was found last.
    #[inline]
    pub(super) fn ready(&mut self, index: SchemaIndex, schema: &Schema) -> Found<'_> {
        let shape = &mut self.all[self.last];
        debug_assert!(shape.candidates.iter().any(|it| it.0 == index), "another record was recognised since");
        let fields = Fields { key: &shape.key, element: schema.split.as_ref().map(|it| it.element) };
        let at = match shape.ready.iter().position(|it| it.0 == index) {
            Some(at) => at,
            None => {
                self.parts += schema.cases.len() + 1;
                shape.ready.push((index, fields.known(|known| Ready::new(schema, known))));
                shape.ready.len() - 1
            }
        };
        let number = number(self.last, index);
        Found { ready: &mut shape.ready[at].1, fields, parts: &mut self.parts, idle: &mut self.idle, number }
    }

    /// Works out on which values it depends that records of the shape that was found last are the schema's, and what they mean.
    #[cold]
    pub(super) fn find_deciders(&mut self, index: SchemaIndex, schema: &Schema) {
        let Shape { key, candidates, ready, decided } = &mut self.all[self.last];
        let Some(at) = ready.iter().position(|it| it.0 == index) else { return };
        let ready = &mut ready[at].1;
        let fields = Fields { key, element: None };
        let mut found: Vec<FieldId> = Vec::new();
        let mut note = |it: FieldId| {
            if !found.contains(&it) {
                found.push(it);
            }
        };
        for (_, given) in candidates.iter().take_while(|it| it.0 <= index) {
            if let Given::Ask(recognise) = given {
                recognise.fields(&mut note);
            }
        }
        [&ready.action, &ready.repeat].into_iter().flatten().for_each(|it| it.fields(&mut note));
        schema.text.iter().filter(|it| fields.have(it.field)).for_each(|it| note(it.field));
        for case in 0..schema.cases.len() {
            if let Given::Ask(when) = ready.when(schema, case as u16, &fields) {
                when.fields(&mut note);
            }
        }
        ready.deciders = Deciders::new(found);
        *decided = decided.or(Some(at));
    }
}

fn number(shape: usize, index: SchemaIndex) -> u64 {
    (shape as u64) << 16 | u64::from(index.0)
}

impl Schemas {
    /// The schemas that could recognise a record.
    fn candidates(&self, known: &Known, format: &str) -> Box<[(SchemaIndex, Given)]> {
        let mut found = Vec::new();
        for (index, schema) in self.all.iter().enumerate() {
            if !schema.formats.is_empty() && !schema.formats.iter().any(|it| **it == *format) {
                continue;
            }
            match schema.recognise.given(known) {
                Given::Never => {}
                Given::Always => {
                    found.push((SchemaIndex(index as u16), Given::Always));
                    break;
                }
                given @ Given::Ask(_) => found.push((SchemaIndex(index as u16), given)),
            }
        }
        found.into()
    }
}

impl Ready {
    fn new(schema: &Schema, known: &Known) -> Ready {
        let left = |op: &Option<Op>| op.as_ref().and_then(|it| it.given(known));
        let tags = schema.tags.iter().map(|(tag, when)| (*tag, when.given(known)));
        Ready {
            action: left(&schema.action),
            time: left(&schema.time),
            repeat: left(&schema.repeat),
            tags: tags.filter(|it| !matches!(it.1, Given::Never)).collect(),
            deciders: Deciders::Unasked,
            whens: std::iter::repeat_n(None, schema.cases.len()).collect(),
            plans: std::iter::repeat_with(|| None).take(schema.cases.len() + 1).collect(),
        }
    }

    /// The condition of a case.
    #[inline]
    pub(super) fn when(&mut self, schema: &Schema, case: u16, fields: &Fields) -> &Given {
        let case = usize::from(case);
        self.whens[case].get_or_insert_with(|| match &schema.cases[case].when {
            None => Given::Always,
            Some(when) => fields.known(|known| when.given(known)),
        })
    }

    /// What is filled for a case, or for none.
    #[inline]
    pub(super) fn plan(
        &mut self,
        schema: &Schema,
        case: Option<u16>,
        fields: &Fields,
        parts: &mut usize,
    ) -> &mut ReadyPlan {
        let at = case.map_or(schema.cases.len(), usize::from);
        self.plans[at].get_or_insert_with(|| {
            let plan = case.map_or(&schema.plan, |it| &schema.cases[usize::from(it)].plan);
            let made = fields.known(|known| ReadyPlan::new(plan, known));
            *parts += made.fields.len();
            made
        })
    }
}

impl ReadyPlan {
    fn new(plan: &Plan, known: &Known) -> ReadyPlan {
        ReadyPlan {
            concern: Concern::Unknown { seen: 0 },
            fields: plan.fields.iter().filter_map(|(field, op)| Some((*field, op.given(known)?))).collect(),
            outcome: plan.outcome.as_ref().and_then(|it| it.given(known)),
        }
    }
}
