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
use twox_hash::XxHash3_64;

use super::gate::{Gate, Map, day, group, round};
use super::promise::{Budget, Rate};
use super::{Detector, Lapse, Mark, Seen, Trip, few};
use crate::limits;
use crate::model::{Span, Timestamp};

pub struct Settings {
    pub field: String,
    /// Who shares a value of this field shares a budget.
    pub peers: String,
    pub promise: Rate,
    pub quiet: Span,
}

pub struct FanOut {
    settings: Settings,
    gate: Gate,
    state: State,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    people: Map<Person>,
    swept: i64,
}

#[derive(Default, Serialize, Deserialize)]
struct Person {
    /// When each value was first seen in the last day.
    values: Vec<Value>,
    /// The most that the last day had.
    most: f32,
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Value {
    hash: u32,
    /// Minutes since 1970.
    at: u32,
    succeeded: bool,
}

const WINDOW_MINUTES: u32 = 24 * 60;
/// Fewer are what a family shares.
const VALUES_MIN: f64 = 4.0;
const SLOT_MINUTES: u32 = 10;
/// A slow attack is told with what it came to in so long.
const HOLD: Span = Span::from_secs(2 * 3600);

impl FanOut {
    pub fn new(settings: Settings) -> FanOut {
        let gate = Gate::new(settings.promise, settings.quiet);
        FanOut { settings, gate, state: State::default() }
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
        let mut most: Vec<f32> = Vec::with_capacity(self.state.people.len());
        self.state.people.retain(|_, person| {
            most.push(std::mem::take(&mut person.most));
            person.values.retain(|it| it.at > edge);
            person.marks.clear();
            !person.values.is_empty()
        });
        // Which entity it was must not matter, for they come in the order of their hashes.
        most.sort_by(f32::total_cmp);
        most.into_iter().for_each(|it| self.gate.learn(f64::from(it), now));
    }
}

impl Person {
    /// Notes how the value fared. Values that failed and did not succeed in the last day, in how many slots of time they
    /// began to, and values that did succeed.
    fn note(&mut self, hash: u32, at: u32, succeeded: bool) -> (usize, usize, usize) {
        let edge = at.saturating_sub(WINDOW_MINUTES);
        self.values.retain(|it| it.at > edge);
        match self.values.iter_mut().find(|it| it.hash == hash) {
            Some(value) => {
                value.succeeded |= succeeded;
            }
            None => {
                if self.values.len() >= limits::FAN_OUT_VALUES_MAX {
                    let oldest = (0..self.values.len()).min_by_key(|it| (self.values[*it].at, self.values[*it].hash));
                    oldest.map(|it| self.values.swap_remove(it));
                }
                self.values.push(Value { hash, at, succeeded });
            }
        }
        let fine = self.values.iter().filter(|it| it.succeeded).count();
        let mut slots: Vec<u32> =
            self.values.iter().filter(|it| !it.succeeded).map(|it| it.at / SLOT_MINUTES).collect();
        slots.sort_unstable();
        slots.dedup();
        (self.values.len() - fine, slots.len(), fine)
    }
}

impl Detector for FanOut {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        let Some(value) = seen.text(0) else { return };
        self.sweep(seen.hit.release);
        let key = seen.hit.entity_hash;
        if !self.state.people.contains_key(&key) && self.state.people.len() >= limits::HABITS_MAX {
            return;
        }
        let group = group(seen, (!self.settings.peers.is_empty()).then_some(1));
        self.gate.begin(group, seen.hit.release);
        let failed = seen.hit.steps & 1 == 1;
        let hash = XxHash3_64::oneshot(value.as_bytes()) as u32;
        let person = self.state.people.entry(key).or_default();
        let before = person.values.len();
        let (bad, slots, fine) = person.note(hash, minutes(seen.time()), !failed);
        if !failed {
            return;
        }
        if person.values.len() > before {
            person.marks.push(seen.mark);
            person.marks = few(std::mem::take(&mut person.marks).into_iter());
        }
        let net = slots as f64 - fine as f64;
        person.most = person.most.max(net as f32);
        if net < VALUES_MIN {
            return;
        }
        let marks = person.marks.clone();
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

    fn entities(&self) -> usize {
        self.state.people.len()
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
    use crate::detect::testing::{Event, told};

    fn fan_out() -> FanOut {
        let promise = Rate::parse("1/week").unwrap();
        FanOut::new(Settings { field: "user.name".into(), peers: String::new(), promise, quiet: Span::from_secs(3600) })
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
}
