//! One address that fails with many names, or one name that fails from many addresses, as slowly as you like.
//!
//! A threshold cannot be right for both the office, from which three hundred people log in and ten mistype every day, and the
//! rented server that tries one name an hour. What tells them apart is how it goes on: who mistypes succeeds a moment
//! later. So of each entity the values (names) are remembered that failed in the last day and did not succeed from there since;
//! those that did succeed are taken off again. How many are too many, the whole population of entities says, not the
//! entity's own history: an attacker's address has none.
//!
//! What fails within the same ten minutes counts once. Fast guessing has rules of its own, with thresholds; a thousand addresses
//! that guess fast would use up the promise, and the slow one among them would not be told.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::door::{Door, Room};
use super::due::Soon;
use super::gate::{Gate, day, round};
use super::promise::{Budget, Rate};
use super::slots::{self, Slots};
use super::{Detector, Lapse, Mark, Pressure, Seen, Trip, keep_mark};
use crate::limits;
use crate::model::canonical::Compare;
use crate::model::{HashKeys, Span, Timestamp};

pub struct Settings {
    pub field: String,
    /// Who shares a value of this field shares a budget.
    pub peers: String,
    pub promise: Rate,
    pub keys: HashKeys,
    pub quiet: Span,
}

pub struct FanOut {
    settings: Settings,
    gate: Gate,
    state: State,
    bytes_max: usize,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    people: Slots<Person>,
    /// What they take beyond their places.
    heap: usize,
    swept: i64,
    door: Door,
}

/// 56 bytes, and more for whoever fails.
#[derive(Default, Serialize, Deserialize)]
struct Person {
    /// When each value was first seen in the last day.
    values: SmallVec<[Value; VALUES_INLINE]>,
    #[expect(clippy::box_collection, reason = "most have none, and that costs one word instead of three")]
    marks: Option<Box<Vec<Mark>>>,
    /// The most that the last day had.
    most: f32,
    /// How often it came, to some number.
    visits: u8,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Value {
    hash: u32,
    /// Minutes since 1970, doubled; one more if it succeeded.
    at: u32,
}

/// As many as can be told of: who has no room for more can still be told.
const VALUES_INLINE: usize = 4;
/// With what tables that have just doubled take.
const PERSON_BYTES: usize = 2 * (size_of::<Person>() + 9);
const WINDOW_MINUTES: u32 = 24 * 60;
/// Fewer are what a family shares.
const VALUES_MIN: f64 = 4.0;
const SLOT_MINUTES: u32 = 10;
/// A slow attack is told with what it came to in so long.
const HOLD: Span = Span::from_secs(2 * 3600);

impl FanOut {
    pub fn new(settings: Settings) -> FanOut {
        let gate = Gate::new(settings.promise, settings.quiet, settings.keys);
        FanOut { settings, gate, state: State::default(), bytes_max: usize::MAX }
    }

    /// Teaches what each entity came to, once a day at a fixed time.
    fn sweep(&mut self, now: Timestamp) {
        let today = day(now);
        if today <= self.state.swept {
            return;
        }
        self.state.swept = today;
        self.gate.sweep(now);
        let edge = minutes(now).saturating_sub(WINDOW_MINUTES);
        let State { people, heap, .. } = &mut self.state;
        let mut most: Vec<f32> = Vec::with_capacity(people.len());
        people.retain(|_, person| {
            *heap -= person.heap();
            most.push(std::mem::take(&mut person.most));
            person.keep_since(edge);
            person.values.shrink_to_fit();
            person.marks = None;
            *heap += person.heap();
            !person.values.is_empty()
        });
        // Which entity it was must not matter, for they come in the order of their hashes.
        most.sort_by(f32::total_cmp);
        most.into_iter().for_each(|it| self.gate.learn(f64::from(it), now));
    }
}

impl Value {
    fn new(hash: u32, at: u32, succeeded: bool) -> Value {
        Value { hash, at: at << 1 | u32::from(succeeded) }
    }

    fn at(self) -> u32 {
        self.at >> 1
    }

    fn succeeded(self) -> bool {
        self.at & 1 == 1
    }
}

/// How the values of the last day fared.
#[derive(Debug, PartialEq)]
struct Fared {
    /// Failed, and did not succeed since.
    bad: usize,
    /// In how many slots of time those began to.
    slots: usize,
    fine: usize,
}

impl Person {
    /// Bytes beyond its place; a function of what it holds.
    fn heap(&self) -> usize {
        let values = if self.values.len() > VALUES_INLINE { self.values.len() * 2 * size_of::<Value>() } else { 0 };
        let marks = self.marks.as_ref().map_or(0, |it| size_of::<Vec<Mark>>() + it.len() * 2 * size_of::<Mark>());
        values + marks
    }

    fn keep_since(&mut self, edge: u32) {
        // Nearly always nothing is that old.
        if self.values.iter().any(|it| it.at() <= edge) {
            self.values.retain(|it| it.at() > edge);
        }
    }

    /// Notes how the value fared, among at most so many.
    fn note(&mut self, value: Value, values_max: usize) {
        self.visits = self.visits.saturating_add(1);
        self.keep_since(value.at().saturating_sub(WINDOW_MINUTES));
        if let Some(known) = self.values.iter_mut().find(|it| it.hash == value.hash) {
            known.at |= value.at & 1;
            return;
        }
        while self.values.len() >= values_max {
            let oldest = (0..self.values.len()).min_by_key(|it| (self.values[*it].at(), self.values[*it].hash));
            oldest.map(|it| self.values.swap_remove(it));
        }
        self.values.push(value);
    }

    fn fared(&self) -> Fared {
        let mut slots: SmallVec<[u32; limits::FAN_OUT_VALUES_MAX]> =
            self.values.iter().filter(|it| !it.succeeded()).map(|it| it.at() / SLOT_MINUTES).collect();
        let bad = slots.len();
        slots.sort_unstable();
        slots.dedup();
        Fared { bad, slots: slots.len(), fine: self.values.len() - bad }
    }
}

impl Detector for FanOut {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        let Some(value) = seen.text(0) else { return };
        self.sweep(seen.hit.release);
        let key = seen.hit.entity_hash;
        let FanOut { settings, gate, state, bytes_max } = self;
        let State { people, heap, door, .. } = state;
        let person = match people.get_mut(key) {
            Some(person) => person,
            None => {
                // Half of what people take may be beyond their places.
                let room = Room::of(*bytes_max, *bytes_max / 8 * 3, PERSON_BYTES, limits::HABITS_MAX);
                let visits = |it: &Person| u32::from(it.visits);
                if !door.admits(seen.from(), key, people, room, visits, |it| *heap -= it.1.heap()) {
                    return;
                }
                people.get_or_insert_with(key, Person::default)
            }
        };
        let group = gate.group(seen, (!settings.peers.is_empty()).then_some(1));
        gate.begin(group, seen.hit.release);
        let failed = seen.hit.steps & 1 == 1;
        let value = Value::new(settings.keys.hash(&value, Compare::Exact) as u32, minutes(seen.time()), !failed);
        let (heap_before, before) = (person.heap(), person.values.len());
        let is_full = *heap >= *bytes_max / 8 * 3;
        let values_max = if is_full { VALUES_INLINE } else { limits::FAN_OUT_VALUES_MAX };
        person.note(value, values_max);
        if failed && person.values.len() > before && !is_full {
            keep_mark(person.marks.get_or_insert_default(), seen.mark);
        }
        *heap = *heap - heap_before + person.heap();
        if !failed {
            return;
        }
        let Fared { bad, slots, fine } = person.fared();
        let net = slots as f64 - fine as f64;
        person.most = person.most.max(net as f32);
        if net < VALUES_MIN {
            return;
        }
        let marks = person.marks.as_ref().map_or_else(|| vec![seen.mark], |it| it.to_vec());
        let score = self.gate.score(net);
        if score <= Budget::LEAST {
            return;
        }
        let mut trip = Trip::exact(bad as u64, seen.time(), marks)
            .because("field", self.settings.field.as_str())
            .because("observed", bad)
            .because("times", slots)
            .because("succeeded", fine)
            .because("expected", "fewer failing than succeeding")
            .because("within_s", WINDOW_MINUTES * 60)
            .because("normal_if", "they succeed from here")
            .because("false_alerts", self.settings.promise.to_string());
        trip.story = Some(format!(
            "{bad} different {} failed within a day and never succeeded, {fine} did",
            super::called(&self.settings.field, super::Number::Many)
        ));
        trip.score = round(score);
        self.gate.hold(seen, group, seen.time().plus(HOLD), trip, found);
    }

    fn lapse(&mut self, now: Timestamp, found: &mut Vec<Lapse>) {
        self.gate.lapse(now, found);
    }

    fn finish(&mut self, found: &mut Vec<Lapse>) {
        self.gate.finish(found);
    }

    fn save(&self) -> Vec<u8> {
        self.gate.save_with(&self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.state = self.gate.restore_with(bytes)?;
        Ok(())
    }

    fn warm(&self, soon: &Soon<'_>) {
        let beyond = |it: &Person| {
            let values = it.values.first().map_or(0, |it| u64::from(it.at));
            values ^ it.marks.as_ref().map_or(0, |it| it.len() as u64)
        };
        slots::warm(soon.whose, |_| &self.state.people, |it| u64::from(it.visits), beyond);
    }

    fn entities(&self) -> usize {
        self.state.people.len()
    }

    fn bytes(&self) -> usize {
        self.state.people.len() * PERSON_BYTES + self.state.heap + self.state.door.bytes()
    }

    fn limit(&mut self, bytes: u64) {
        self.bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    fn is_strained(&self) -> bool {
        self.state.door.is_strained()
    }

    fn pressures(&mut self, now: Timestamp, each: &mut dyn FnMut(Pressure)) {
        self.state.door.pressure(now).into_iter().for_each(each);
    }

    fn looks_back(&self) -> bool {
        true
    }
}

fn minutes(time: Timestamp) -> u32 {
    time.micros().div_euclid(60_000_000).clamp(0, i64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Event, KEYS, told};

    fn fan_out() -> FanOut {
        let promise = Rate::parse("1/week").unwrap();
        FanOut::new(Settings {
            field: "user.name".into(),
            peers: String::new(),
            promise,
            keys: KEYS,
            quiet: Span::from_secs(3600),
        })
    }

    fn login(minute: i64, name: i64, failed: bool) -> Event {
        let steps = if failed { 1 } else { 2 };
        Event { steps, ..Event::of(minute * 60, "203.0.113.9", &format!("user{name}")) }
    }

    fn check(events: &[Event], expected: usize) {
        assert_eq!(told(fan_out, events, 86_400 * 3).len(), expected);
    }

    #[test]
    fn slow_is_told_and_an_office_is_not() {
        check(&(0..12).map(|it| login(it * 30, it, true)).collect::<Vec<_>>(), 1);
        let office = |it: i64| [login(it * 30, it, true), login(it * 30 + 1, it, false)];
        check(&(0..40).flat_map(office).collect::<Vec<_>>(), 0);
        // The same name again and again, and many names at once, are for other rules.
        check(&(0..40).map(|it| login(it * 30, 1, true)).collect::<Vec<_>>(), 0);
        check(&(0..40).map(|it| login(it / 20, it, true)).collect::<Vec<_>>(), 0);
        // Three a day never are many.
        check(&(0..40).map(|it| login(it * 480, it, true)).collect::<Vec<_>>(), 0);
    }

    proptest::proptest! {
        /// Against the plain form: all events of the last day, looked through.
        #[test]
        fn equals_looking_back(events in proptest::collection::vec((0u32..200, 0u32..12, proptest::bool::ANY), 1..80)) {
            let (mut person, mut all, mut at) = (Person::default(), Vec::<(u32, u32, bool)>::new(), 100_000);
            for (gap, hash, succeeded) in events {
                at += gap;
                person.note(Value::new(hash, at, succeeded), limits::FAN_OUT_VALUES_MAX);
                // A value is known for a day from when it was first seen.
                all.retain(|it| it.1 > at - WINDOW_MINUTES);
                match all.iter_mut().find(|it| it.0 == hash) {
                    Some(known) => known.2 |= succeeded,
                    None => all.push((hash, at, succeeded)),
                }
                let bad: Vec<u32> = all.iter().filter(|it| !it.2).map(|it| it.1 / SLOT_MINUTES).collect();
                let slots = bad.iter().collect::<std::collections::BTreeSet<_>>().len();
                let fared = Fared { bad: bad.len(), slots, fine: all.len() - bad.len() };
                proptest::prop_assert_eq!(person.fared(), fared);
            }
        }
    }
}
