//! Several things about one event at once that the entity has never shown: another country, another network, another device.
//!
//! Each alone is everyday life: people travel, and buy telephones. Together, at one login, they are what a stolen password looks
//! like. So the fields of one event share one score. It is the chance that *this* entity shows anything new at all, times, for
//! each new value, the share of its peers who have shown it. Fields that say the same thing twice must not count twice: a new
//! country always has a new network. Those with the same first word (`source.…`) are one aspect, in which the rarest
//! counts whole, the next half, the one after a quarter; aspects (`source`, `device`, `user_agent`) multiply. A rule
//! of several aspects wants two that are new: a traveller with his own laptop is no stranger, nor is who sits at home with a new one.
//!
//! Where one field is all there is to look at, the peers are those who share the rarest of this entity's habits: what four
//! administrators of two hundred people do is strange for a clerk and nothing for the fifth.
//!
//! A value seen on one day only is not known yet, as with [`firsts`](super::firsts), and what peers show in numbers is
//! nothing strange for the next one: a new exit of the company's own network is told once or twice, not two hundred times.
//!
//! `whose` lets an alert be about more than whose habits are learned: a user *and* the address that used his name.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use super::gate::{Gate, Map, day, group, round};
use super::promise::{Budget, PER_DEVIATION, Rate};
use super::{Detector, Lapse, Number, Seen, Trip, brief, called};
use crate::limits;
use crate::model::{Span, Timestamp};

/// What the rule says.
pub struct Settings {
    pub fields: Vec<String>,
    pub peers: String,
    /// Whose habits are learned, where the entity is more than that. Empty: the entity's.
    pub whose: String,
    pub learn: Span,
    pub promise: Rate,
    pub quiet: Span,
}

pub struct Unfamiliar {
    settings: Settings,
    /// For each field, its aspect.
    aspects: Vec<usize>,
    gate: Gate,
    state: State,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    people: Map<Person>,
    groups: Map<Group>,
    values: usize,
    swept: i64,
}

/// 80 bytes, and 8 for each value.
#[derive(Serialize, Deserialize)]
struct Person {
    group: u64,
    first: Timestamp,
    last: u16,
    faded: u16,
    /// Decayed: events, and how many of them showed something new.
    events: f32,
    firsts: f32,
    values: Vec<Value>,
}

/// Days since 1970. The hash is of the field and its value.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
struct Value {
    hash: u32,
    first: u16,
    last: u16,
}

#[derive(Default, Serialize, Deserialize)]
struct Group {
    people: u32,
    /// How many people have shown each value.
    values: Map<u32>,
}

/// Nobody is judged before so many events, however long ago the first was.
const EVENTS_MIN: f32 = 5.0;
/// A value not seen for so many days is new again, and a person gone for so long is forgotten.
const FORGET_DAYS: u16 = 120;
const HALF_LIFE_DAYS: f32 = 30.0;

/// Of the aspects that a rule looks at, so many must be new.
const ASPECTS_MIN: usize = 2;

/// What an event shows.
struct Shown {
    new: Vec<New>,
    /// That this person shows something new.
    chance: f64,
    peers: u32,
    /// How many of them share the rarest of this person's habits.
    alike: u32,
}

/// A value that the person does not know.
struct New {
    field: usize,
    peers_with: u32,
}

impl Unfamiliar {
    pub fn new(settings: Settings) -> Unfamiliar {
        let first = |it: &str| it.split('.').next().unwrap_or_default().to_string();
        let names: Vec<String> = settings.fields.iter().map(|it| first(it)).collect();
        let aspects = names.iter().map(|it| names.iter().position(|name| name == it).unwrap_or_default()).collect();
        let gate = Gate::new(settings.promise, settings.quiet);
        Unfamiliar { aspects, gate, settings, state: State::default() }
    }

    fn sweep(&mut self, now: Timestamp) {
        let today = day(now);
        if today <= self.state.swept {
            return;
        }
        self.state.swept = today;
        self.gate.sweep(now);
        let State { people, groups, values, .. } = &mut self.state;
        people.retain(|_, person| {
            let stays = i64::from(person.last) + i64::from(FORGET_DAYS) > today;
            if !stays && let Some(group) = groups.get_mut(&person.group) {
                person.values.iter().for_each(|it| group.lose(it.hash));
                group.people = group.people.saturating_sub(1);
                *values -= person.values.len();
            }
            stays
        });
        groups.retain(|_, it| it.people > 0);
    }

    fn key(&self, seen: &Seen<'_>) -> u64 {
        if self.settings.whose.is_empty() {
            return seen.hit.entity_hash;
        }
        let place = self.settings.fields.len() + usize::from(!self.settings.peers.is_empty());
        XxHash3_64::oneshot(seen.text(place).unwrap_or_default().to_lowercase().as_bytes())
    }

    /// Takes the event in. What was new about it, if the person is known for long enough.
    fn show(&mut self, seen: &Seen<'_>, group: u64) -> Option<Shown> {
        let key = self.key(seen);
        let time = seen.time();
        let today = u16::try_from(day(time).clamp(0, i64::from(u16::MAX))).unwrap_or(u16::MAX);
        let State { people, groups, values, .. } = &mut self.state;
        if !people.contains_key(&key) && people.len() >= limits::FIRSTS_PEOPLE_MAX {
            return None;
        }
        let person = people.entry(key).or_insert_with(|| {
            groups.entry(group).or_default().people += 1;
            self.gate.begin(group, seen.hit.release);
            Person { group, first: time, last: today, faded: today, events: 0.0, firsts: 0.0, values: Vec::new() }
        });
        let known_by = groups.entry(person.group).or_default();
        person.first = person.first.min(time);
        person.last = person.last.max(today);
        person.fade(today);
        let learned_at = day(person.first.plus(self.settings.learn));
        let learned = time >= person.first.plus(self.settings.learn) && person.events >= EVENTS_MIN;
        let chance = f64::from((person.firsts + 0.5) / (person.events + 1.0)).min(1.0);
        let alike = match self.settings.fields.len() {
            1 => known_by.fewest(&person.values).min(known_by.people),
            _ => known_by.people,
        };
        let mut new = Vec::new();
        for field in 0..self.settings.fields.len() {
            let Some(value) = seen.text(field) else { continue };
            let hash = XxHash3_64::oneshot_with_seed(field as u64, value.as_bytes()) as u32;
            let place = person.values.binary_search_by_key(&hash, |it| it.hash);
            let is_known = place.is_ok_and(|it| person.values[it].is_known(today, learned_at));
            if !is_known {
                let with = known_by.values.get(&u64::from(hash)).copied().unwrap_or_default();
                new.push(New { field, peers_with: with - u32::from(place.is_ok()) });
            }
            match place {
                Ok(place) => person.values[place].show(today),
                Err(place) => {
                    person.values.insert(place, Value { hash, first: today, last: today });
                    *known_by.values.entry(u64::from(hash)).or_default() += 1;
                    *values += 1;
                    *values -= person.keep_few(known_by);
                }
            }
        }
        person.firsts += if new.is_empty() || person.events == 0.0 { 0.0 } else { 1.0 };
        person.events += 1.0;
        learned.then_some(Shown { new, chance, peers: known_by.people - 1, alike: alike - 1 })
    }

    /// Decades of surprise.
    fn surprise(&self, shown: &Shown) -> f64 {
        let rarity = |it: &New| -((f64::from(it.peers_with) + 0.5) / (f64::from(shown.alike) + 1.0)).min(1.0).log10();
        let mut sum = -shown.chance.log10();
        let mut strange = 0;
        for aspect in 0..self.aspects.len() {
            let mut rarities: Vec<f64> =
                shown.new.iter().filter(|it| self.aspects[it.field] == aspect).map(&rarity).collect();
            rarities.sort_by(|a, b| b.total_cmp(a));
            strange += usize::from(!rarities.is_empty());
            sum += rarities.iter().zip([1.0, 0.5, 0.25]).map(|(it, weight)| it * weight).sum::<f64>();
        }
        let wanted = ASPECTS_MIN.min(self.aspects.iter().collect::<BTreeSet<_>>().len());
        if strange < wanted { 0.0 } else { sum }
    }

    fn tell(&self, seen: &Seen<'_>, shown: &Shown, score: f64) -> Trip {
        let Shown { new, chance, peers, alike } = shown;
        let person = &self.state.people[&self.key(seen)];
        let days = seen.time().since(person.first).micros() / 86_400_000_000;
        let named = |it: &New| {
            let value = seen.text(it.field).unwrap_or_default().into_owned();
            (self.settings.fields[it.field].as_str(), value, it.peers_with)
        };
        let values: Vec<(&str, String, u32)> = new.iter().map(named).collect();
        let list = |it: &(&str, String, u32)| {
            let name = called(it.0, Number::One);
            let gap = if name.ends_with("AS") { "" } else { " " };
            format!("{name}{gap}{} ({} of {peers} peers)", brief(&it.1), it.2)
        };
        let mut trip = Trip::exact(1, seen.time(), vec![seen.mark])
            .because("new", values.iter().map(|it| format!("{}={}", it.0, brief(&it.1))).collect::<Vec<_>>())
            .because("peers", *peers)
            .because("peers_alike", *alike)
            .because("peers_with", values.iter().map(|it| it.2).collect::<Vec<_>>())
            .because("usual", format!("{} known values, over {days} days", person.values.len() - new.len()))
            .because("learned_from_events", person.events.round() as u64)
            .because("shows_new_in", (chance * 10_000.0).round() / 10_000.0)
            .because("normal_after", "two days on which it is seen")
            .because("false_alerts", self.settings.promise.to_string());
        trip.story = Some(format!(
            "new to it: {}; {} events over {days} days showed nothing of it",
            values.iter().map(list).collect::<Vec<_>>().join(", "),
            person.events.round()
        ));
        trip.score = round(score);
        trip
    }
}

impl Value {
    fn is_known(&self, today: u16, learned_at: i64) -> bool {
        let gone = today.saturating_sub(self.last) >= FORGET_DAYS;
        let taught = i64::from(self.first) < learned_at || self.first != self.last || today == self.last;
        !gone && taught
    }

    fn show(&mut self, today: u16) {
        if today.saturating_sub(self.last) >= FORGET_DAYS {
            self.first = today;
        }
        self.first = self.first.min(today);
        self.last = self.last.max(today);
    }
}

impl Person {
    fn fade(&mut self, today: u16) {
        if today > self.faded {
            let factor = 0.5f32.powf(f32::from(today - self.faded) / HALF_LIFE_DAYS);
            self.events *= factor;
            self.firsts *= factor;
            self.faded = today;
        }
    }

    /// Forgets the values not seen for longest, all of one day together, so that their order does not matter. Says how many.
    fn keep_few(&mut self, group: &mut Group) -> usize {
        if self.values.len() <= limits::UNFAMILIAR_VALUES_EACH_MAX {
            return 0;
        }
        let oldest = self.values.iter().map(|it| it.last).min().unwrap_or(0);
        let before = self.values.len();
        self.values.retain(|it| {
            if it.last == oldest {
                group.lose(it.hash);
            }
            it.last != oldest
        });
        before - self.values.len()
    }
}

impl Group {
    /// How many people share the rarest of these values.
    fn fewest(&self, values: &[Value]) -> u32 {
        let with = |it: &Value| self.values.get(&u64::from(it.hash)).copied().unwrap_or_default();
        values.iter().map(with).min().unwrap_or(self.people).max(1)
    }

    fn lose(&mut self, hash: u32) {
        if let Some(count) = self.values.get_mut(&u64::from(hash)) {
            *count -= 1;
            if *count == 0 {
                self.values.remove(&u64::from(hash));
            }
        }
    }
}

impl Detector for Unfamiliar {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        self.sweep(seen.hit.release);
        let peers = (!self.settings.peers.is_empty()).then_some(self.settings.fields.len());
        let group = group(seen, peers);
        let Some(shown) = self.show(seen, group) else { return };
        let raw = self.surprise(&shown) / PER_DEVIATION;
        let score = self.gate.score(raw);
        self.gate.learn(raw, seen.hit.release);
        if score > Budget::LEAST && !shown.new.is_empty() {
            let trip = self.tell(seen, &shown, score);
            self.gate.tell(seen, group, trip, found);
        }
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
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Event, told};

    const DAY: i64 = 86_400;

    fn unfamiliar() -> Unfamiliar {
        Unfamiliar::new(Settings {
            fields: vec!["source.country".into(), "source.network".into(), "device.id".into()],
            peers: String::new(),
            whose: String::new(),
            learn: Span::from_secs(7 * DAY),
            promise: Rate::parse("1/week").unwrap(),
            quiet: Span::from_secs(DAY),
        })
    }

    /// Twenty people who log in for twelve days, then one event of `user0`; whether it is told.
    fn check(last: &[(i64, &str)], expected: usize) {
        let mut all = Vec::new();
        for day in 0..12 {
            for user in 0..20 {
                all.push(Event::of(day * DAY + user, &format!("user{user}"), &format!("DE|3320|laptop{user}")));
            }
        }
        all.extend(last.iter().map(|it| Event::of(12 * DAY + it.0, "user0", it.1)));
        assert_eq!(told(unfamiliar, &all, 14 * DAY).len(), expected, "{last:?}");
    }

    #[test]
    fn one_new_thing_is_life_and_two_are_a_thief() {
        check(&[(0, "BR|28573|other")], 1);
        check(&[(0, "BR|28573|laptop0")], 0);
        check(&[(0, "DE|3320|other")], 0);
        check(&[(0, "BR|28573|other"), (60, "BR|28573|other"), (3600, "CN|4134|third")], 1);
    }

    #[test]
    fn nobody_is_judged_while_he_is_learned() {
        let all: Vec<Event> = (0..6).map(|it| Event::of(it * DAY, "ann", &format!("{it}|{it}|{it}"))).collect();
        assert_eq!(told(unfamiliar, &all, 9 * DAY), []);
    }

    #[test]
    fn memory_is_bounded() {
        let mut detector = unfamiliar();
        for number in 0..500i64 {
            let event = Event::of(number * DAY / 4, "ann", &format!("{number}|{number}|{number}"));
            crate::detect::testing::feed(&mut detector, &event, number as u64, &mut vec![], &mut vec![]);
        }
        let person = detector.state.people.values().next().unwrap();
        assert!(person.values.len() <= limits::UNFAMILIAR_VALUES_EACH_MAX);
        assert_eq!(detector.state.values, person.values.len());
        assert!(size_of::<Person>() + limits::UNFAMILIAR_VALUES_EACH_MAX * size_of::<Value>() <= 272);
    }
}
