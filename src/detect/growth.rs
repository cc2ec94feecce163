//! Somebody moves more every day, and keeps doing so: each day alone is no record, five of them are a theft.
//!
//! A day's sum is compared, as a logarithm, with what that entity's days usually are, and what is too much is added up from day
//! to day: S = max(0, S + min(z, 3) − 0.75). One wild day adds at most 2¼, so a month's end cannot do it alone; three days of
//! it can. While S is high the days teach nothing, or the theft would soon be the habit. How high is too high, the pooled S of
//! all entities says; and where a good share of the peers grow at once (a migration), it is nobody's theft.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::door::{Door, Room};
use super::gate::{Gate, alone, day, round, with_rarity};
use super::promise::{Budget, Rate};
use super::slots::Slots;
use super::sum::number;
use super::{Detector, Lapse, Pressure, Seen, Trip, shown};
use crate::limits;
use crate::model::{HashKeys, Span, Timestamp};

pub struct Settings {
    pub field: String,
    pub peers: String,
    pub promise: Rate,
    pub keys: HashKeys,
    pub quiet: Span,
}

pub struct Growth {
    settings: Settings,
    gate: Gate,
    state: State,
    bytes_max: usize,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    people: Slots<Person>,
    /// The day that is being filled.
    day: i64,
    swept: i64,
    door: Door,
}

#[derive(Serialize, Deserialize)]
struct Person {
    entity: Box<str>,
    group: u64,
    partition: u8,
    line_hash: u64,
    /// The day that `amount` is of.
    day: i64,
    amount: f64,
    /// Of the logarithms of days with anything at all.
    days: u32,
    level: f32,
    scale: f32,
    /// What has been added up, over how many days, and since when.
    excess: f32,
    high: u8,
    since: i64,
    told: bool,
    /// How often it came.
    hits: u32,
}

const SLACK: f32 = 0.75;
const CUT: f32 = 3.0;
const DAYS_MIN: u32 = 6;
/// What accident brings once a month. An organisation that grows does so for weeks, and while a lower threshold found its height,
/// each step up would cost an alert.
const FIRST: f64 = 4.5;
/// Above this the days teach nothing.
const FROZEN: f32 = 2.0;
const FORGET_DAYS: i64 = 60;
/// With its name, and what tables that have just doubled take.
const PERSON_BYTES: usize = 2 * (size_of::<Person>() + 9) + 64;

impl Settings {
    /// Bytes differ by orders of magnitude; counts by their root.
    fn transformed(&self, amount: f64) -> f64 {
        if self.field.is_empty() { (amount + 0.375).sqrt() } else { (amount + 1.0).log10() }
    }

    fn amount(&self, value: f32) -> f64 {
        let value = f64::from(value).max(0.0);
        let amount = if self.field.is_empty() { value * value - 0.375 } else { 10f64.powf(value.min(300.0)) - 1.0 };
        amount.max(0.0)
    }

    /// Days above the habit before anything is told: volumes wander more than counts.
    fn high_min(&self) -> u8 {
        if self.field.is_empty() { 3 } else { 4 }
    }

    /// The least that a day is taken to vary: chance for a count, a quarter of a decade for volumes.
    fn scale_min(&self) -> f32 {
        if self.field.is_empty() { 0.6 } else { 0.25 }
    }
}

impl Growth {
    pub fn new(settings: Settings) -> Growth {
        let gate = Gate::new(settings.promise, settings.quiet, settings.keys).beginning_at(FIRST);
        Growth { settings, gate, state: State::default(), bytes_max: usize::MAX }
    }

    /// Closes all days before `today`, in the order of entities.
    fn close(&mut self, today: i64, found: &mut Vec<Lapse>) {
        let due = Timestamp::from_micros(today.saturating_mul(86_400_000_000));
        let mut closed: Vec<(Box<str>, u64, f64)> = Vec::new();
        for (key, person) in self.state.people.iter_mut() {
            if person.day < today && person.amount > 0.0 {
                let amount = person.amount;
                person.close(&self.settings);
                closed.push((person.entity.clone(), key, amount));
            }
        }
        closed.sort_by(|a, b| a.0.cmp(&b.0));
        let mut growing: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
        for (_, key, _) in &closed {
            let person = &self.state.people[*key];
            let group = growing.entry(person.group).or_default();
            group.0 += u32::from(person.excess > FROZEN);
            group.1 += 1;
        }
        for (_, key, amount) in closed {
            let Some(person) = self.state.people.get_mut(key) else { continue };
            if person.days <= DAYS_MIN {
                continue;
            }
            let (many, all) = growing.get(&person.group).copied().unwrap_or_default();
            let alone = alone(many.saturating_sub(1) as usize, all.saturating_sub(1) as usize, 1.0);
            let raw = f64::from(person.excess) * (0.5 + 0.5 * alone);
            let score = self.gate.score(raw);
            if person.high >= self.settings.high_min() && !person.told && score > Budget::LEAST {
                let lapse = tell(&self.settings, person, amount, (many, all), score, due);
                let lapse = self.gate.tell_lapse(key, person.group, lapse);
                person.told = !lapse.kept_back;
                found.push(lapse);
            } else if !person.told {
                self.gate.learn(raw, due);
            }
        }
        self.sweep(today);
    }

    fn sweep(&mut self, today: i64) {
        if today > self.state.swept {
            self.state.swept = today;
            self.gate.sweep(Timestamp::from_micros(today.saturating_mul(86_400_000_000)));
            self.state.people.retain(|_, it| it.day + FORGET_DAYS > today);
        }
    }
}

impl Person {
    /// Judges the day and learns it.
    fn close(&mut self, settings: &Settings) {
        let value = settings.transformed(self.amount) as f32;
        let least = settings.scale_min();
        self.amount = 0.0;
        if self.days == 0 {
            (self.level, self.scale) = (value, 2.0 * least);
        }
        let off = value - self.level;
        let z = off / (1.25 * self.scale).max(least);
        if self.days >= DAYS_MIN {
            self.excess = (self.excess + z.min(CUT) - SLACK).max(0.0);
            self.high = if z > SLACK { self.high.saturating_add(1) } else { self.high };
            if self.excess == 0.0 {
                (self.high, self.told) = (0, false);
            } else if self.high == 1 {
                self.since = self.day;
            }
        }
        self.days = self.days.saturating_add(1);
        // A growth that goes on for a month is how things are now.
        if self.excess <= FROZEN || self.high > 28 {
            let share = (1.0 / self.days as f32).max(0.1);
            let cut = 4.0 * self.scale.max(least);
            self.level += share * off.clamp(-cut, cut);
            self.scale += share * (off.abs().min(cut) - self.scale);
        }
    }
}

fn tell(settings: &Settings, person: &Person, amount: f64, peers: (u32, u32), score: f64, due: Timestamp) -> Lapse {
    let usual = settings.amount(person.level);
    let most = settings.amount(person.level + 3.0 * 1.25 * person.scale.max(settings.scale_min()));
    let amount_of = |it: f64| match settings.field.is_empty() {
        true => format!("{it:.0} events"),
        false => shown(&settings.field, it),
    };
    let since = Timestamp::from_micros(person.since.saturating_mul(86_400_000_000));
    let mut trip = Trip::exact(u64::from(person.high), since, Vec::new())
        .because("field", if settings.field.is_empty() { "events" } else { &settings.field })
        .because("observed", number(amount.round()))
        .because("expected", number(usual.round()))
        .because("upper", number(most.round()))
        .because("days", person.high)
        .because("learned_from_days", person.days)
        .because("added_up", (f64::from(person.excess) * 10.0).round() / 10.0)
        .because("peers", peers.1.saturating_sub(1))
        .because("peers_growing", peers.0.saturating_sub(1))
        .because("normal_after", "a month at the new level")
        .because("false_alerts", settings.promise.to_string());
    trip.story = Some(format!(
        "{} on the last of {} days above its habit since {since}; {} a day are usual, over {} days; {} of {} peers grow too",
        amount_of(amount),
        person.high,
        amount_of(usual),
        person.days,
        peers.0.saturating_sub(1),
        peers.1.saturating_sub(1)
    ));
    trip.score = round(score);
    Lapse {
        due,
        entity: person.entity.clone(),
        partition: person.partition,
        line_hash: person.line_hash,
        trip: with_rarity(trip),
        over: false,
        kept_back: false,
    }
}

impl Detector for Growth {
    fn observe(&mut self, seen: &Seen<'_>, _found: &mut Vec<Trip>) {
        let amount = match self.settings.field.is_empty() {
            true => 1.0,
            false => match seen.batch.carried_f64(seen.hit, 0) {
                Some(it) if it > 0.0 => it.min(1e15),
                Some(_) | None => return,
            },
        };
        let key = seen.hit.entity_hash;
        let today = day(seen.hit.release);
        if self.state.day == 0 {
            self.state.day = today;
        }
        if self.state.people.get(key).is_none() {
            let room = Room::of(self.bytes_max, 0, PERSON_BYTES, limits::HABITS_MAX);
            if !self.state.door.admits(seen.from(), key, &mut self.state.people, room, |it| it.hits, drop) {
                return;
            }
            let group = self
                .gate
                .group(seen, (!self.settings.peers.is_empty()).then_some(usize::from(!self.settings.field.is_empty())));
            self.gate.begin(group, seen.hit.release);
            let person = Person {
                entity: seen.entity().into(),
                group,
                partition: seen.hit.partition,
                line_hash: 0,
                day: today,
                amount: 0.0,
                days: 0,
                level: 0.0,
                scale: 0.0,
                excess: 0.0,
                high: 0,
                since: 0,
                told: false,
                hits: 0,
            };
            self.state.people.insert(key, person);
        }
        let Some(person) = self.state.people.get_mut(key) else { return };
        // A late event counts on the day on which it came: what was closed stays closed.
        person.day = today;
        person.amount += amount;
        person.hits = person.hits.saturating_add(1);
        person.line_hash = seen.hit.line_hash;
    }

    fn lapse(&mut self, now: Timestamp, found: &mut Vec<Lapse>) {
        // The last microsecond of the day has passed.
        let today = day(Timestamp::from_micros(now.micros().saturating_add(1)));
        if self.state.day != 0 && today > self.state.day {
            self.state.day = today;
            self.close(today, found);
        }
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

    fn bytes(&self) -> usize {
        self.state.people.len() * PERSON_BYTES + self.state.door.bytes()
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
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Event, KEYS, told};

    const DAY: i64 = 86_400;

    /// Sums of days, as megabytes; on which day it is told.
    fn check(days: &[i64], expected: &[i64]) {
        let all: Vec<Event> = days
            .iter()
            .enumerate()
            .filter(|it| *it.1 > 0)
            .map(|(day, it)| Event::of(day as i64 * DAY + 40_000, "ann", &(it * 1_000_000).to_string()))
            .collect();
        let growth = || {
            Growth::new(Settings {
                field: "source.bytes".into(),
                peers: String::new(),
                promise: Rate::parse("1/week").unwrap(),
                keys: KEYS,
                quiet: Span::from_secs(2 * DAY),
            })
        };
        let found: Vec<i64> = told(growth, &all, days.len() as i64 * DAY).iter().map(|it| it.0 / DAY).collect();
        assert_eq!(found, expected, "{days:?}");
    }

    #[test]
    fn several_days_are_told_and_one_is_not() {
        let usual = [3, 4, 2, 3, 5, 3, 4, 2, 3, 4];
        check(&[&usual[..], &[60, 70, 50, 80, 60]].concat(), &[14]);
        check(&[&usual[..], &[900, 3, 2, 4, 3, 4]].concat(), &[]);
        check(&[&usual[..], &[6, 5, 6, 5, 6]].concat(), &[]);
        check(&[60, 70, 50, 80, 60], &[]);
    }
}
