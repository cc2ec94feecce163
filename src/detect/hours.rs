//! Somebody does what he does, but at an hour at which he never does it.
//!
//! Counted are the hours in which an entity was active, by hour of the day: a busy hour counts once, so a script that runs
//! for a minute does not make midnight usual. The chance of an hour is the share of such hours within two hours of it,
//! smoothed by the share among peers with the weight of twenty hours; who was only ever seen by day is judged by how
//! unusual night is for everybody.
//!
//! When somebody is at work shows in more than what the rule tells of: an administrator changes something once a week and
//! logs in every day. `taught` says what else shows it. A night must not excuse itself, so hours become habit only half a
//! day after the first of them: who logs in at three, and begins at four, is judged by what was before three.
//!
//! One action at night is a look at the telephone; ten are work. So what is done in one sitting (no pause of a quarter of an
//! hour) is judged together: each further action multiplies the chance by the share of active hours of this entity, and of its
//! peers, that have one action more. The sitting is told when it is over.

use serde::{Deserialize, Serialize};

use super::door::{Door, Room};
use super::due::Soon;
use super::gate::{Gate, day, round};
use super::promise::{Budget, PER_DEVIATION, Rate};
use super::slots::{self, Slots};
use super::{Detector, Lapse, Pressure, Seen, Trip};
use crate::limits;
use crate::model::{HashKeys, Span, Timestamp};

/// What the rule says.
pub struct Settings {
    /// Only hits of the first step are judged; the others teach.
    pub told_apart: bool,
    pub peers: String,
    pub promise: Rate,
    pub keys: HashKeys,
    pub quiet: Span,
}

pub struct Hours {
    settings: Settings,
    gate: Gate,
    state: State,
    bytes_max: usize,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    people: Slots<Person>,
    groups: Slots<Group>,
    swept: i64,
    door: Door,
}

#[derive(Serialize, Deserialize)]
struct Person {
    first: Timestamp,
    group: u64,
    /// The latest hour in which it was active, since 1970.
    hour: i64,
    counts: [u8; 24],
    /// Hours of the day that are no habit yet, as bits, and the first of them since 1970.
    fresh: u32,
    fresh_since: i64,
    /// Actions of those that are judged, in how many hours, and the latest of these.
    actions: f32,
    busy: f32,
    busy_hour: i64,
    /// The sitting: when it began and went on, its actions, and what it came to.
    began: Timestamp,
    last: Timestamp,
    sitting: u32,
    chance: f64,
    raw: f64,
}

#[derive(Default, Serialize, Deserialize)]
struct Group {
    counts: [u32; 24],
    actions: f64,
    busy: f64,
}

/// Nobody is judged before so many active hours and so long a time.
const HOURS_MIN: u32 = 8;
const LEARN: Span = Span::from_secs(7 * 86_400);
const PEERS_WEIGHT: f64 = 20.0;
/// Peers say with this weight how many actions an hour has.
const ACTIONS_WEIGHT: f64 = 5.0;
/// So long after the first of them, hours are habit.
const FRESH_HOURS: i64 = 12;
const FORGET_HOURS: i64 = 60 * 24;
const PERSON_BYTES: usize = 2 * (size_of::<Person>() + 9);
const CHANCE_MAX: f64 = 0.05;
const PAUSE: Span = Span::from_secs(900);

impl Hours {
    pub fn new(settings: Settings) -> Hours {
        let gate = Gate::new(settings.promise, settings.quiet, settings.keys);
        Hours { settings, gate, state: State::default(), bytes_max: usize::MAX }
    }

    fn sweep(&mut self, now: Timestamp) {
        let today = day(now);
        if today > self.state.swept {
            self.state.swept = today;
            self.gate.sweep(now);
            self.state.people.retain(|_, it| it.hour + FORGET_HOURS > today * 24);
        }
    }
}

impl Person {
    fn visits(&self) -> u32 {
        self.counts.iter().map(|it| u32::from(*it)).sum()
    }
}

/// The share of active hours within two hours of that one.
fn near(counts: impl Fn(usize) -> u32, hour: usize) -> (u32, u32) {
    let near = (22..=26).map(|it| counts((hour + it) % 24)).sum();
    (near, (0..24).map(counts).sum())
}

/// What is known of the hour at which a sitting began.
struct Usual {
    own: u32,
    all: u32,
    peers: f64,
    /// Of active hours, how many actions they have.
    actions: f64,
}

impl Group {
    fn usual(&self, person: &Person, of_day: usize) -> Usual {
        let (own, all) = near(|it| u32::from(person.counts[it]), of_day);
        let (of_peers, of_all_peers) = near(|it| self.counts[it], of_day);
        let usual = (self.actions + 1.0) / (self.busy + 1.0);
        Usual {
            own,
            all,
            peers: (f64::from(of_peers) + 0.5) / (f64::from(of_all_peers) + 1.0),
            actions: (f64::from(person.actions) + ACTIONS_WEIGHT * usual) / (f64::from(person.busy) + ACTIONS_WEIGHT),
        }
    }
}

impl Usual {
    fn chance(&self) -> f64 {
        ((f64::from(self.own) + PEERS_WEIGHT * self.peers) / (f64::from(self.all) + PEERS_WEIGHT)).min(1.0)
    }

    /// Decades for the hour, and for so many actions in it.
    fn surprise(&self, sitting: u32) -> f64 {
        let more = (self.actions / (self.actions + 1.0)).max(0.3);
        -self.chance().log10() - f64::from(sitting.saturating_sub(1)) * more.log10()
    }
}

impl Detector for Hours {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        self.sweep(seen.hit.release);
        let time = seen.time();
        let hour = time.micros().div_euclid(3_600_000_000);
        let of_day = hour.rem_euclid(24) as usize;
        let key = seen.hit.entity_hash;
        let State { people, groups, door, .. } = &mut self.state;
        if people.get(key).is_none() {
            let room = Room::of(self.bytes_max, 0, PERSON_BYTES, limits::HABITS_MAX);
            if !door.admits(seen.from(), key, people, room, Person::visits, drop) {
                return;
            }
            let group = self.gate.group(seen, (!self.settings.peers.is_empty()).then_some(0));
            self.gate.begin(group, seen.hit.release);
            people.insert(key, Person::new(group, time));
        }
        let Some(person) = people.get_mut(key) else { return };
        if time < person.last && hour < person.hour {
            return; // so late that it was judged with its day
        }
        let group = groups.get_or_insert_with(person.group, Group::default);
        person.settle(hour, group);
        if self.settings.told_apart && seen.hit.steps & 1 == 0 {
            return person.show(hour, of_day);
        }
        let begins = person.sitting == 0 || time.since(person.last) >= PAUSE;
        if begins && person.sitting > 0 && person.raw > 0.0 {
            self.gate.learn(person.raw, seen.hit.release);
        }
        let usual = group.usual(person, of_day);
        person.sit(time, begins);
        group.actions += 1.0;
        if hour > person.busy_hour {
            person.busy_hour = hour;
            person.busy += 1.0;
            group.busy += 1.0;
        }
        person.show(hour, of_day);
        person.raw = 0.0;
        if usual.all < HOURS_MIN || time.since(person.first) < LEARN {
            return;
        }
        // The hour in which it began decides: what follows in it has made it usual already.
        if begins {
            person.chance = usual.chance();
        }
        let usual = Usual { peers: usual.peers.min(person.chance), ..usual };
        let decades = if person.chance > CHANCE_MAX { -person.chance.log10() } else { usual.surprise(person.sitting) };
        person.raw = decades / PER_DEVIATION;
        let score = self.gate.score(person.raw);
        if person.chance > CHANCE_MAX || score <= Budget::LEAST {
            return;
        }
        let mut trip = Trip::exact(u64::from(person.sitting), person.began, vec![seen.mark])
            .because("hour_utc", of_day)
            .because("observed", person.sitting)
            .because("expected", (usual.actions * 10.0).round() / 10.0)
            .because("active_hours_near", usual.own)
            .because("active_hours", usual.all)
            .because("share_of_peers", (usual.peers * 10_000.0).round() / 10_000.0)
            .because("known_since", person.first.to_string())
            .because("normal_after", "some days at such hours")
            .because("false_alerts", self.settings.promise.to_string());
        trip.story = Some(format!(
            "at {of_day:02}h UTC, {}; {} of {} active hours were within two hours of that, {:.1} % among peers",
            if person.sitting == 1 { "once".to_string() } else { format!("{} times", person.sitting) },
            usual.own,
            usual.all,
            100.0 * usual.peers
        ));
        trip.score = round(score);
        let group = person.group;
        self.gate.hold(seen, group, time.plus(PAUSE), trip, found);
    }

    fn warm(&self, soon: &Soon<'_>) {
        slots::warm(soon.whose, |_| &self.state.people, |it| it.hour as u64, |it| it.last.micros() as u64);
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
        true
    }
}

impl Person {
    fn new(group: u64, time: Timestamp) -> Person {
        Person {
            first: time,
            group,
            hour: i64::MIN / 2,
            counts: [0; 24],
            fresh: 0,
            fresh_since: 0,
            actions: 0.0,
            busy: 0.0,
            busy_hour: i64::MIN / 2,
            began: time,
            last: time,
            sitting: 0,
            chance: 1.0,
            raw: 0.0,
        }
    }

    fn sit(&mut self, time: Timestamp, begins: bool) {
        if begins {
            (self.began, self.sitting) = (time, 0);
        }
        self.last = self.last.max(time);
        self.sitting = self.sitting.saturating_add(1);
        self.actions += 1.0;
    }

    /// It is active in that hour.
    fn show(&mut self, hour: i64, of_day: usize) {
        self.hour = self.hour.max(hour);
        if self.fresh == 0 {
            self.fresh_since = hour;
        }
        self.fresh |= 1 << of_day;
    }

    /// What is long enough ago becomes habit.
    fn settle(&mut self, hour: i64, group: &mut Group) {
        if self.fresh == 0 || hour < self.fresh_since + FRESH_HOURS {
            return;
        }
        for of_day in (0..24).filter(|it| self.fresh >> it & 1 == 1) {
            if self.counts[of_day] == u8::MAX {
                self.counts.iter_mut().for_each(|it| *it /= 2);
                (self.actions, self.busy) = (self.actions / 2.0, self.busy / 2.0);
            }
            self.counts[of_day] += 1;
            group.counts[of_day] = group.counts[of_day].saturating_add(1);
        }
        self.fresh = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Event, KEYS, watch};

    #[test]
    fn night_is_told_of_who_works_by_day() {
        let mut all = Vec::new();
        for day in 0..90i64 {
            for user in 0..20 {
                for hour in 8 + user % 3..16 {
                    all.push(Event::of(day * 86_400 + hour * 3600 + user, &format!("user{user}"), ""));
                }
            }
        }
        let hours = || {
            let promise = Rate::parse("1/week").unwrap();
            Hours::new(Settings {
                told_apart: false,
                peers: String::new(),
                promise,
                keys: KEYS,
                quiet: Span::from_secs(3600),
            })
        };
        let night = 90 * 86_400 + 3 * 3600;
        assert_eq!(watch(hours(), &all, night).1.len(), 0);
        for number in 0..5 {
            all.push(Event::of(night + number * 60, "user7", ""));
        }
        let (trips, lapses) = watch(hours(), &all, night + 7200);
        let told: Vec<&Trip> = trips
            .iter()
            .map(|it| &it.1)
            .chain(lapses.iter().map(|it| &it.trip))
            .filter(|it| it.story.is_some())
            .collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].story.as_ref().unwrap().starts_with("at 03h UTC, "), "{:?}", told[0].story);
    }
}
