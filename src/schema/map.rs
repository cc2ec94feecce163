//! Fills an event's mapped fields.

use twox_hash::XxHash3_64;

use super::shape::{Fields, Ready, ReadyPlan};
use super::take::{Work, from_json, look};
use super::{Arrival, Case, Gate, Memo, Schema, SchemaIndex, Schemas};
use crate::expr::plain::{Given, fold};
use crate::limits::{ACTIONS_KNOWN_MAX, RECORDS_PER_LINE_MAX, REPEAT_MAX, VALUE_BYTES_MAX};
use crate::model::{EventBuf, FieldId, List, Place, Slot, Value, json};

impl Schemas {
    /// How many events the record is: the elements of the schema's `split`, otherwise one. To be asked once a record, before
    /// [`Schemas::apply`].
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

    /// Fills the mapped fields of the record's event number `element`, and `buf.time`. The result is how often the event
    /// happened, at least once.
    pub fn apply(
        &self,
        index: SchemaIndex,
        record: &str,
        buf: &mut EventBuf,
        element: usize,
        arrival: Arrival,
        memo: &mut Memo,
    ) -> u32 {
        let schema = self.schema(index);
        if let Some(split) = &schema.split {
            buf.rewind(&memo.mark);
            let slot = memo.elements.get(element).and_then(|it| from_json(*it, record, buf, &mut memo.take));
            if let Some(slot) = slot {
                buf.set(split.element, slot);
            }
        }
        let mut work = Work { schemas: self, record, buf, memo: &mut memo.take, form: None };
        let (ready, fields, parts) = memo.shapes.ready(index, schema);
        let action = ready.action.as_ref().and_then(|it| work.take(it)).and_then(|it| work.single(it));
        let case = schema.choose(index, action, ready, &fields, &mut work);
        if let Some(time) = ready.time.as_ref().and_then(|it| work.time(it, arrival)) {
            work.buf.time = Some(time);
        }
        self.fill(ready.plan(schema, case, &fields, parts), &mut work);
        let case = case.map(|it| &schema.cases[usize::from(it)]);
        self.fill_common(schema, case, action, &ready.tags, &mut work);
        let repeat = ready.repeat.as_ref().and_then(|it| work.take(it)).and_then(|it| work.single(it));
        repeat.and_then(|it| work.text(it).parse().ok()).map_or(1, |it: u32| it.clamp(1, REPEAT_MAX))
    }

    fn fill(&self, plan: &ReadyPlan, work: &mut Work) {
        for (field, op) in &plan.fields {
            if let Some(slot) = work.take(op) {
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
    /// out; an alert about nobody would not be told at all, so the address, and at last the vendor, stand in.
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
        let actor = known(fields.user_name).or_else(|| known(fields.address)).unwrap_or(schema.provider);
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

impl Schema {
    /// The first case that applies; its form's groups are then in `work`.
    fn choose<'a>(
        &'a self,
        index: SchemaIndex,
        action: Option<Slot>,
        ready: &mut Ready,
        fields: &Fields,
        work: &mut Work<'a>,
    ) -> Option<u16> {
        let text = match &self.text {
            Some(operand) => look(operand, work.record, work.buf, work.memo).and_then(|it| work.single(it)),
            None => action,
        };
        match text.filter(|it| Some(*it) == action) {
            Some(slot) if self.has_forms && slot.is_text() => self.choose_known(index, slot, ready, fields, work),
            Some(_) | None => self.candidates(action, work).iter().copied().find(|it| {
                ready.when(self, *it, fields).holds(work.event()) && self.cases[usize::from(*it)].fits(text, work)
            }),
        }
    }

    /// The same where the forms are tried on the action itself. A log has few actions and a schema dozens of forms, so
    /// which of them fit is remembered by the action's text; the conditions are asked of every record.
    fn choose_known<'a>(
        &'a self,
        index: SchemaIndex,
        action: Slot,
        ready: &mut Ready,
        fields: &Fields,
        work: &mut Work<'a>,
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
    /// Whether its form, if it has one, fits the text; its groups are then in `work`.
    fn fits<'a>(&'a self, text: Option<Slot>, work: &mut Work<'a>) -> bool {
        let Some(form) = &self.form else { return true };
        let Some(slot) = text else { return false };
        let schemas = work.schemas;
        let Value::Text(text) = work.buf.value(work.record, slot) else { return false };
        let regex = &schemas.regexes[form.regex];
        if !form.gate.open(text) || matches!(form.gate, Gate::Open) && !regex.may_match(text) {
            return false;
        }
        let fits = regex.find(text, work.memo.groups(&schemas.regexes, form.regex));
        if fits {
            work.form = Some((form, slot));
        }
        fits
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
