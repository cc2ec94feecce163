//! Fills an event's mapped fields.

use twox_hash::XxHash3_64;

use super::shape::{Concern, Decided, Fields, Found, Ready, ReadyPlan};
use super::take::{NotQuick, Work, from_json, look};
use super::verdict::Deciders;
use super::{Arrival, Case, Form, Gate, Meaning, Memo, Produced, Schema, SchemaIndex, Schemas};
use crate::expr::plain::{Given, fold};
use crate::limits::{ACTIONS_KNOWN_MAX, EVENTS_BEFORE_IDLE, RECORDS_PER_LINE_MAX, REPEAT_MAX, VALUE_BYTES_MAX};
use crate::model::{Event, EventBuf, FieldId, List, Outline, Place, Slot, Value, json};

/// A list of that element alone: rules that name the split list mean what the event was made of, not the record's other events.
fn list_of(element: Slot, record: &str, buf: &mut EventBuf) -> Option<Slot> {
    let raw = match buf.value(record, element) {
        Value::Json(it) | Value::Text(it) | Value::Number(it) => it.to_string(),
        Value::Bool(_) | Value::Null | Value::List(_) => return None,
    };
    let start = buf.scratch.len();
    buf.scratch.push('[');
    buf.scratch.push_str(&raw);
    buf.scratch.push(']');
    Some(Slot::json(Place::Scratch, start, raw.len() + 2))
}

impl Schemas {
    /// How many events the record is: the elements of the schema's `split`, otherwise one. To be asked once a record, before
    /// [`Schemas::understand`].
    pub fn elements(&self, index: SchemaIndex, record: &str, buf: &mut EventBuf, memo: &mut Memo) -> usize {
        let Some(split) = &self.schema(index).split else { return 1 };
        memo.elements.clear();
        if let Some(slot) = look(&split.array, record, buf, &mut memo.take)
            && let Value::Json(raw) = buf.value(record, slot)
        {
            memo.elements.extend(json::elements(raw).take(RECORDS_PER_LINE_MAX).map(|it| slot.part(raw, it)));
        }
        buf.mark(&mut memo.mark);
        memo.elements.len().max(1)
    }

    /// Where a record with the same values that decide was [idle](Meaning::idle): its schema, and how often the event happened.
    /// `buf.time` is then known too. Otherwise the record must be recognised and understood.
    #[inline]
    pub fn idle(
        &self,
        record: &str,
        format: &'static str,
        buf: &mut EventBuf,
        arrival: Arrival,
        memo: &mut Memo,
    ) -> Option<(SchemaIndex, u32)> {
        let Decided { index, ready, idle, number } = memo.shapes.decided(self, Event { record, buf }, format)?;
        // A wrapper is asked what is in it.
        if !buf.notes.bare && self.is_catch_all(index) {
            return None;
        }
        let Deciders::Few(deciders, _) = &ready.deciders else { return None };
        let repeat = idle.find(number, deciders, record, buf);
        ready.deciders.count(repeat.is_some());
        let repeat = repeat?;
        Work { schemas: self, record, buf, memo: &mut memo.take, form: None }.note_time(ready, arrival);
        Some((index, repeat))
    }

    /// Sets `buf.time` of a record that no schema knows, where it stands where most programs write it: rules that name the
    /// record's own paths count within a time, and without one the whole log would be one moment.
    pub fn note_usual_time(&self, record: &str, buf: &mut EventBuf, arrival: Arrival, memo: &mut Memo) {
        let read = |id: &FieldId| super::stamp::read(buf.get(record, *id)?.as_text()?, arrival, &mut memo.take.minute);
        let found = self.usual_times.iter().find_map(read);
        buf.time = found;
    }

    /// What the record's event number `element` means, and `buf.time`. Nothing else of it is known until
    /// [`Schemas::fill`]. `cares` says whether anybody could want an event of an outline, and is asked rarely; without it no
    /// event is idle.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a record means depends on all of them, and they are together nowhere else"
    )]
    pub fn understand(
        &self,
        index: SchemaIndex,
        record: &str,
        buf: &mut EventBuf,
        element: usize,
        arrival: Arrival,
        cares: Option<&dyn Fn(Outline) -> bool>,
        memo: &mut Memo,
    ) -> Meaning {
        let schema = self.schema(index);
        if let Some(split) = &schema.split {
            buf.rewind(&memo.mark);
            if memo.elements.len() > 1
                && split.array.steps.is_empty()
                && let Some(of_one) = memo.elements.get(element).and_then(|it| list_of(*it, record, buf))
            {
                buf.set(split.array.field, of_one);
            }
            let slot = memo.elements.get(element).and_then(|it| from_json(*it, record, buf, &mut memo.take));
            if let Some(slot) = slot {
                buf.set(split.element, slot);
            }
        }
        let mut work = Work { schemas: self, record, buf, memo: &mut memo.take, form: None };
        let Found { ready, fields, parts, idle, number } = memo.shapes.ready(index, schema);
        let action = ready.action.as_ref().and_then(|it| match work.quick(it) {
            Ok(found) => found.map(|it| it.0),
            Err(NotQuick) => work.take_any(it).and_then(|it| work.single(it)),
        });
        let text = match &schema.text {
            Some(operand) => look(operand, record, work.buf, work.memo).and_then(|it| work.single(it)),
            None => action,
        };
        let case = schema.choose(index, action, text, ready, &fields, &mut work);
        work.form = schema.form(case).zip(text);
        work.note_time(ready, arrival);
        let repeat = ready.repeat.as_ref().and_then(|it| work.take(it)).and_then(|it| work.single(it));
        let repeat = repeat.and_then(|it| work.text(it).parse().ok()).map_or(1, |it: u32| it.clamp(1, REPEAT_MAX));
        let mut meaning = Meaning { repeat, idle: false, index, case, action, text };
        if let Some(cares) = cares {
            meaning.idle = self.is_idle(schema, &meaning, ready, &fields, parts, cares);
        }
        if meaning.idle {
            match &ready.deciders {
                Deciders::Few(deciders, _) => idle.keep(number, deciders, record, work.buf, repeat),
                // What decides about an element of a list is the element, whole.
                Deciders::Unasked if schema.split.is_none() => memo.shapes.find_deciders(index, schema),
                Deciders::Unasked | Deciders::Many => {}
            }
        }
        meaning
    }

    /// Whether nobody cares for events of this shape and meaning, whatever their values are.
    #[inline]
    fn is_idle(
        &self,
        schema: &Schema,
        meaning: &Meaning,
        ready: &mut Ready,
        fields: &Fields,
        parts: &mut usize,
        cares: &dyn Fn(Outline) -> bool,
    ) -> bool {
        let tagged = !ready.tags.is_empty();
        let plan = ready.plan(schema, meaning.case, fields, parts);
        if let Concern::Unknown { seen } = plan.concern {
            plan.concern = match seen < EVENTS_BEFORE_IDLE {
                true => Concern::Unknown { seen: seen + 1 },
                false if self.outlined(schema, meaning, plan, fields, tagged, cares) => Concern::Somebody,
                false => Concern::Nobody,
            };
        }
        matches!(plan.concern, Concern::Nobody)
    }

    /// Asks `cares` about what all events of a shape and a meaning have in common.
    fn outlined(
        &self,
        schema: &Schema,
        meaning: &Meaning,
        plan: &ReadyPlan,
        fields: &Fields,
        tagged: bool,
        cares: &dyn Fn(Outline) -> bool,
    ) -> bool {
        let Produced { activity, action, outcome, provider, tags, entity, entity_target, user_email, .. } = self.fields;
        let case = meaning.case.map(|it| &schema.cases[usize::from(it)]);
        let mut open = fields.open();
        let mut certain = EventBuf::new(open.len() * 64, self.constants.clone());
        certain.set(activity, case.map_or(self.words.other, |it| it.activity));
        if let Some(id) = provider {
            certain.set(id, schema.provider);
        }
        if let (Some(id), Some(slot), None) = (outcome, case.and_then(|it| it.outcome), &plan.outcome) {
            certain.set(id, slot);
        }
        let outcome = outcome.filter(|_| plan.outcome.is_some());
        let tags = tags.filter(|_| tagged || case.is_some_and(|it| it.tags.is_some()));
        let action = action.filter(|_| schema.action.is_some());
        let filled = [outcome, tags, action, entity, entity_target, user_email].into_iter().flatten();
        let filled = filled.chain(plan.fields.iter().map(|it| it.0)).chain(self.selected.iter().map(|it| it.0));
        filled.for_each(|it| open[it.index() / 64] |= 1 << (it.index() % 64));
        cares(Outline { certain: Event { record: "", buf: &certain }, open: &open })
    }

    /// Fills the mapped fields of an event that was just understood.
    pub fn fill(&self, meaning: &Meaning, record: &str, buf: &mut EventBuf, memo: &mut Memo) {
        let schema = self.schema(meaning.index);
        let form = schema.form(meaning.case).zip(meaning.text);
        let mut work = Work { schemas: self, record, buf, memo: &mut memo.take, form };
        let Found { ready, fields, parts, .. } = memo.shapes.ready(meaning.index, schema);
        self.fill_plan(ready.plan(schema, meaning.case, &fields, parts), &mut work);
        let case = meaning.case.map(|it| &schema.cases[usize::from(it)]);
        self.fill_common(schema, case, meaning.action, &ready.tags, &mut work);
    }

    fn fill_plan(&self, plan: &ReadyPlan, work: &mut Work) {
        for (field, op) in &plan.fields {
            if let Some(slot) = work.take(op) {
                let slot = work.values(slot);
                work.buf.set(*field, slot);
            }
        }
        let Some(id) = self.fields.outcome else { return };
        let outcome = plan.outcome.as_ref().and_then(|it| work.take(it)).and_then(|it| work.single(it));
        if let Some(outcome) = outcome.and_then(|it| self.outcome_word(work.text(it))) {
            work.buf.set(id, outcome);
        }
    }

    /// The fields that need no entry in a schema's `fields`.
    fn fill_common(
        &self,
        schema: &Schema,
        case: Option<&Case>,
        action: Option<Slot>,
        tags: &[(Slot, Given)],
        work: &mut Work,
    ) {
        let fields = &self.fields;
        work.buf.set(fields.activity, case.map_or(self.words.other, |it| it.activity));
        if let (Some(id), Some(slot)) = (fields.action, action) {
            work.buf.set(id, slot);
        }
        if let Some(id) = fields.provider {
            work.buf.set(id, schema.provider);
        }
        if let Some(id) = fields.tags
            && let Some(slot) = all_tags(case, tags, work)
        {
            work.buf.set(id, slot);
        }
        if let (Some(id), Some(slot)) = (fields.outcome, case.and_then(|it| it.outcome))
            && !work.buf.has(id)
        {
            work.buf.set(id, slot);
        }
        if let (Some(email), Some(name)) = (fields.user_email, fields.user_name)
            && !work.buf.has(email)
            && let Some(slot) = work.buf.slot(name)
            && work.event().text(name).is_some_and(is_mail_address)
        {
            work.buf.set(email, slot);
        }
        self.fill_entity(schema, work);
    }

    /// Whom a lone event is about. Rules for lone events are about whoever it was done to or did it, and records leave either
    /// out; an alert about nobody would not be told at all, so the address, the target, and at last the vendor, stand in. The
    /// vendor is the last resort: whatever has no name shares its alerts.
    fn fill_entity(&self, schema: &Schema, work: &mut Work) {
        let fields = &self.fields;
        if fields.entity.is_none() && fields.entity_target.is_none() {
            return;
        }
        let known = |id: Option<FieldId>| {
            let id = id.filter(|it| work.event().text(*it).is_some_and(|it| !it.is_empty()))?;
            work.buf.slot(id)
        };
        let target = known(fields.user_target);
        let actor = known(fields.user_name).or_else(|| known(fields.address)).or(target).unwrap_or(schema.provider);
        if let Some(id) = fields.entity {
            work.buf.set(id, actor);
        }
        if let Some(id) = fields.entity_target {
            work.buf.set(id, target.unwrap_or(actor));
        }
    }

    /// ECS's word for what vendors call success and failure; None for words that say neither.
    fn outcome_word(&self, text: &str) -> Option<Slot> {
        const SUCCESS: [&str; 16] = [
            "success",
            "succeeded",
            "successful",
            "true",
            "ok",
            "allow",
            "allowed",
            "yes",
            "granted",
            "accepted",
            "completed",
            "pass",
            "passed",
            "permit",
            "permitted",
            "200",
        ];
        const FAILURE: [&str; 21] = [
            "failure",
            "failed",
            "fail",
            "false",
            "deny",
            "denied",
            "error",
            "no",
            "rejected",
            "blocked",
            "block",
            "unauthorized",
            "forbidden",
            "refused",
            "invalid",
            "unsuccessful",
            "fraud",
            "401",
            "403",
            "timeout",
            "locked",
        ];
        let text = text.trim();
        let is = |it: &&str| it.eq_ignore_ascii_case(text);
        if SUCCESS.iter().any(is) {
            Some(self.words.success)
        } else if FAILURE.iter().any(is) {
            Some(self.words.failure)
        } else {
            text.eq_ignore_ascii_case("unknown").then_some(self.words.unknown)
        }
    }
}

impl Work<'_> {
    #[inline]
    fn note_time(&mut self, ready: &Ready, arrival: Arrival) {
        if let Some(time) = ready.time.as_ref().and_then(|it| self.time(it, arrival)) {
            self.buf.time = Some(time);
        }
    }
}

impl Schema {
    /// The form of a case.
    fn form(&self, case: Option<u16>) -> Option<&Form> {
        self.cases[usize::from(case?)].form.as_ref()
    }

    /// The first case that applies; if its form has named groups, they are then in the memo.
    fn choose(
        &self,
        index: SchemaIndex,
        action: Option<Slot>,
        text: Option<Slot>,
        ready: &mut Ready,
        fields: &Fields,
        work: &mut Work,
    ) -> Option<u16> {
        match text.filter(|it| Some(*it) == action) {
            Some(slot) if self.has_forms && slot.is_text() => self.choose_known(index, slot, ready, fields, work),
            Some(_) | None => self.candidates(action, work).iter().copied().find(|it| {
                ready.when(self, *it, fields).holds(work.event()) && self.cases[usize::from(*it)].fits(text, work)
            }),
        }
    }

    /// The same where the forms are tried on the action itself. A log has few actions and a schema dozens of forms, so
    /// which of them fit is remembered by the action's text; the conditions are asked of every record.
    fn choose_known(
        &self,
        index: SchemaIndex,
        action: Slot,
        ready: &mut Ready,
        fields: &Fields,
        work: &mut Work,
    ) -> Option<u16> {
        let mut known = std::mem::take(&mut work.memo.forms);
        let fitting = match known.find(index, work.text(action)) {
            Ok(fitting) => fitting,
            Err(room) => {
                let fitting = self.candidates(Some(action), work).iter();
                room.extend(fitting.filter(|it| self.cases[usize::from(**it)].fits(Some(action), work)));
                room
            }
        };
        let found = fitting.iter().copied().find(|it| ready.when(self, *it, fields).holds(work.event()));
        work.memo.forms = known;
        if let Some(case) = found.map(|it| &self.cases[usize::from(it)])
            && case.form.as_ref().is_some_and(|it| it.groups.iter().any(Option::is_some))
        {
            case.fits(Some(action), work);
        }
        found
    }

    /// The cases that might apply to an action, in the order written.
    fn candidates(&self, action: Option<Slot>, work: &Work) -> &[u16] {
        let Some(slot) = action else { return &self.cases_for_others };
        let text = work.text(slot);
        let found = match self.fold_actions {
            true => self.cases_by_action.get(fold(text).as_ref()),
            false => self.cases_by_action.get(text),
        };
        found.unwrap_or(&self.cases_for_others)
    }
}

/// The case's tags and those whose condition holds.
fn all_tags(case: Option<&Case>, tags: &[(Slot, Given)], work: &mut Work) -> Option<Slot> {
    let of_case = case.and_then(|it| it.tags);
    let start = work.buf.scratch.len();
    for (tag, when) in tags {
        if !when.holds(work.event()) {
            continue;
        }
        if let Some(slot) = of_case.filter(|_| work.buf.scratch.len() == start) {
            work.buf.append(work.record, slot);
        }
        if work.buf.scratch.len() > start {
            work.buf.scratch.push(List::SEPARATOR);
        }
        work.buf.append(work.record, *tag);
    }
    let len = work.buf.scratch.len() - start;
    if len > 0 { Some(Slot::list(Place::Scratch, start, len)) } else { of_case }
}

impl Case {
    /// Whether its form, if it has one, fits the text; its groups are then in the memo.
    fn fits(&self, text: Option<Slot>, work: &mut Work) -> bool {
        let Some(form) = &self.form else { return true };
        let Some(slot) = text else { return false };
        let schemas = work.schemas;
        let Value::Text(text) = work.buf.value(work.record, slot) else { return false };
        let regex = &schemas.regexes[form.regex];
        if !form.gate.open(text) || matches!(form.gate, Gate::Open) && !regex.may_match(text) {
            return false;
        }
        regex.find(text, work.memo.groups(&schemas.regexes, form.regex))
    }
}

/// Which cases' forms fit which actions: a bounded cache of a pure function. A collision overwrites.
#[derive(Default)]
pub(super) struct FormMemo(Vec<Known>);

#[derive(Default)]
struct Known {
    /// One more than the schema's number; 0: nothing is known.
    schema: u32,
    action: String,
    fitting: Vec<u16>,
}

impl FormMemo {
    /// The cases that fit, or where to put them.
    fn find(&mut self, schema: SchemaIndex, action: &str) -> Result<&mut Vec<u16>, &mut Vec<u16>> {
        if self.0.is_empty() {
            self.0.resize_with(ACTIONS_KNOWN_MAX, Known::default);
        }
        let number = u32::from(schema.0) + 1;
        let hash = XxHash3_64::oneshot_with_seed(u64::from(number), action.as_bytes());
        let known = &mut self.0[hash as usize % ACTIONS_KNOWN_MAX];
        if known.schema == number && known.action == action {
            return Ok(&mut known.fitting);
        }
        if action.len() > VALUE_BYTES_MAX {
            known.action = String::new(); // a giant one is not kept
            known.schema = 0;
        } else {
            known.schema = number;
            known.action.clear();
            known.action.push_str(action);
        }
        known.fitting.clear();
        Err(&mut known.fitting)
    }
}

impl Gate {
    fn open(&self, text: &str) -> bool {
        match self {
            Gate::Begins(prefix) => text.starts_with(prefix.as_ref()),
            Gate::Holds(finder) => finder.find(text.as_bytes()).is_some(),
            Gate::Open => true,
        }
    }
}

/// Whether a user's name is his mail address, as far as a look can tell.
fn is_mail_address(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && domain.contains('.')
            && !domain.starts_with('.')
            && !domain.contains('@')
            && !text.contains(char::is_whitespace)
    })
}
