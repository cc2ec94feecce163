//! Many more events, or many fewer, than the entity's habit lets expect.
//!
//! Events are counted in buckets of time and their square root is compared with what [`Habit`] expects; sums of a field
//! (bytes) are compared by their logarithm. How many deviations are too many is not for the author of a rule to guess:
//! deviations of all entities together make the tail that turns them into chances, and a budget decides ([`Gate`]).
//!
//! Peers are the second opinion. When the whole finance department exports at a month's end, each of its people sets a record
//! and none is a thief; when nobody logs in on a holiday, no feed is broken. So a spike counts for less the more peers had one
//! in the last day, and a drop is measured against what is left of the other feeds of its group.
//!
//! A spike beyond doubt is told in the midst of its bucket, since a count only grows; others when they pause or
//! the bucket is over, with all that came to be in it. A drop can only be told then, so buckets are closed by time alone. One owner sees all hits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::count::seconds;
use super::door::{Door, Room};
use super::gate::{self, Gate, alone, day};
use super::habit::{Expected, Habit, WARM_UP};
use super::promise::{Budget, PER_DEVIATION, Rate, Tail};
use super::slots::Slots;
use super::sum::number;
use super::{Detector, Lapse, Pressure, Seen, Trip, shown};
use crate::limits;
use crate::model::{HashKeys, Span, Timestamp};

/// What the rule says.
pub struct Settings {
    pub bucket: Span,
    /// Empty: events are counted.
    pub field: String,
    /// Who shares a value of this field is a peer. Empty: who shares all of the entity but its last part.
    pub peers: String,
    pub down: bool,
    /// `Drop`: with fewer events a bucket is silence, and no drop.
    pub at_least: f64,
    pub promise: Rate,
    pub keys: HashKeys,
    pub quiet: Span,
}

pub struct Rates {
    settings: Settings,
    gate: Gate,
    state: State,
    bytes_max: usize,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    people: Slots<Person>,
    groups: Slots<Group>,
    profiles: usize,
    swept: i64,
    /// `Drop`: whose bucket of that number is to be closed when it is over.
    due: BTreeMap<i64, Vec<u64>>,
    door: Door,
}

#[derive(Default, Serialize, Deserialize)]
struct Group {
    people: u32,
    /// Volumes of the peers' buckets, by their logarithms.
    volumes: Tail,
    /// Who stood out within a day.
    high: Vec<High>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct High {
    key: u64,
    since: Timestamp,
    /// At most.
    raw: f32,
}

/// 80 bytes, and a profile where it is worth that.
#[derive(Serialize, Deserialize)]
struct Person {
    group: u64,
    habit: Habit,
    /// The bucket being filled, and what is in it.
    bucket: i64,
    amount: f64,
    /// The largest bucket, slowly forgotten.
    most: f64,
    /// `Drop`: what is needed to speak of it when nothing comes.
    feed: Option<Box<Feed>>,
}

#[derive(Serialize, Deserialize)]
struct Feed {
    entity: Box<str>,
    partition: u8,
    line_hash: u64,
    /// How low the last buckets were.
    run: Run,
    /// The bucket before was low, and was told.
    low: bool,
    /// Somebody will close its bucket.
    scheduled: bool,
}

/// Buckets one after the other that were low: each alone may be chance.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Run {
    sum: f64,
    buckets: u8,
}

impl Run {
    fn with(self, deviations: f64) -> Run {
        match deviations >= RUN_MIN {
            true if self.buckets < RUN_MAX => Run { sum: self.sum + deviations, buckets: self.buckets + 1 },
            true => self,
            false => Run::default(),
        }
    }

    /// Sums of independent deviations deviate by the root of their number.
    fn raw(self) -> f64 {
        if self.buckets == 0 { 0.0 } else { self.sum / f64::from(self.buckets).sqrt() }
    }
}

/// Fewer deviations are nothing to look at, and fewer events no spike whatever the habit.
const DEVIATIONS_MIN: f64 = 3.0;
const SPIKE_EVENTS_MIN: f64 = 8.0;
/// A volume must be so many decades above the largest known one.
const RECORD: f64 = 0.3;
/// Decades of rarity that a decade above it is worth.
const RECORD_WEIGHT: f64 = 2.0;
/// A bucket so far off adds to those before it.
const RUN_MIN: f64 = 1.0;
const RUN_MAX: u8 = 8;
/// Who has fewer events a bucket than this is not missed.
const DROP_EVENTS_MIN: f64 = 4.0;
/// Before it has seen two days, nobody knows what an evening is.
const DROP_WARM_UP: Span = Span::from_secs(2 * 86_400);
/// A spike that pauses for this part of a bucket is over.
const PAUSE: i64 = 4;
/// After so many buckets without anything a habit has forgotten what was before.
const EMPTY_MAX: i64 = 300;
/// With what tables that have just doubled take.
const PERSON_BYTES: usize = 2 * (size_of::<Person>() + 9);
/// With its name, and its place among those due.
const FEED_BYTES: usize = size_of::<Feed>() + 80;
const PROFILE_BYTES: usize = 2600;
const DAY: Span = Span::from_secs(86_400);
const FORGET: Span = Span::from_secs(60 * 86_400);

impl Settings {
    fn transformed(&self, amount: f64) -> f64 {
        if self.field.is_empty() { (amount + 0.375).sqrt() } else { (amount + 1.0).log10() }
    }

    fn amount(&self, value: f64) -> f64 {
        let value = value.max(0.0);
        let amount = if self.field.is_empty() { value * value - 0.375 } else { 10f64.powf(value.min(300.0)) - 1.0 };
        amount.max(0.0)
    }

    /// The mean error that chance alone makes: that of a Poisson count's root; a third of a decade's half for volumes.
    fn floor(&self) -> f32 {
        if self.field.is_empty() { 0.4 } else { 0.15 }
    }

    fn number(&self, time: Timestamp) -> i64 {
        time.micros().div_euclid(self.bucket.micros())
    }

    fn start(&self, bucket: i64) -> Timestamp {
        Timestamp::from_micros(bucket.saturating_mul(self.bucket.micros()))
    }

    fn second(&self, bucket: i64) -> i64 {
        self.start(bucket).micros().div_euclid(1_000_000)
    }

    fn person_bytes(&self) -> usize {
        PERSON_BYTES + if self.down { FEED_BYTES } else { 0 }
    }

    fn warm_up(&self) -> u32 {
        match self.down {
            true => WARM_UP.max((DROP_WARM_UP.micros() / self.bucket.micros()) as u32),
            false => WARM_UP,
        }
    }
}

/// A bucket beside what was expected of it.
struct Judged {
    expected: Expected,
    deviations: f64,
    /// What the tail judges: deviations, and for volumes how far above all that was before. A person's hours differ by
    /// orders of magnitude, so deviations alone say little; records are rare for everybody.
    raw: f64,
}

impl Rates {
    pub fn new(settings: Settings) -> Rates {
        let gate = Gate::new(settings.promise, settings.quiet, settings.keys);
        Rates { gate, settings, state: State::default(), bytes_max: usize::MAX }
    }

    /// `left`: how much of what is usual the rest of the group does.
    fn judge(settings: &Settings, groups: &Slots<Group>, person: &Person, left: f64) -> Option<Judged> {
        if person.habit.buckets < settings.warm_up() || person.amount < settings.at_least {
            return None;
        }
        let mut expected = match settings.down {
            true => person.habit.usual(settings.second(person.bucket), settings.floor()),
            false => person.habit.expect(settings.second(person.bucket), settings.floor()),
        };
        if left < 1.0 {
            expected.value = settings.transformed(settings.amount(expected.value) * left);
        }
        let value = settings.transformed(person.amount);
        let off = value - expected.value;
        let deviations = if settings.down { -off } else { off } / expected.deviation;
        let raw = match (settings.field.is_empty(), settings.down) {
            (true, true) => person.run().with(deviations).raw(),
            (true, false) => deviations,
            (false, _) => {
                // Of n buckets one is the largest, and few peers ever have so much.
                let record = value - person.most;
                let own = f64::from(person.habit.buckets).log10() + RECORD_WEIGHT * record;
                let peers = groups.get(person.group).map_or(0.0, |it| it.volumes.score(value));
                if record > 0.0 { (own + peers) / PER_DEVIATION } else { 0.0 }
            }
        };
        Some(Judged { expected, deviations, raw })
    }

    /// Closes the person's bucket, which was judged like that, and the empty ones up to `next`.
    fn close(
        settings: &Settings,
        gate: &mut Gate,
        groups: &mut Slots<Group>,
        (profiles, profiles_max): (&mut usize, usize),
        (key, person, judged): (u64, &mut Person, Option<Judged>),
        next: i64,
    ) {
        let floor = settings.floor();
        // What was told is no part of what is usual.
        let told = person.feed.as_ref().is_some_and(|it| it.low) || gate.is_told(key, settings.start(person.bucket));
        if let Some(judged) = judged.filter(|it| it.deviations > 0.0 && !told) {
            gate.learn(judged.raw, settings.start(next));
        }
        let value = settings.transformed(person.amount);
        if person.amount > 0.0 || settings.field.is_empty() {
            person.habit.learn(settings.second(person.bucket), value as f32, floor);
        }
        if !settings.field.is_empty()
            && person.amount > 0.0
            && !told
            && let Some(group) = groups.get_mut(person.group)
        {
            group.volumes.learn(value);
        }
        let taught = if told { value.min(person.most + RECORD) } else { value };
        person.most = (person.most * 0.999).max(taught);
        if settings.field.is_empty() {
            let empty = (next - person.bucket - 1).min(EMPTY_MAX);
            for bucket in next - empty..next {
                person.habit.learn(settings.second(bucket), settings.transformed(0.0) as f32, floor);
            }
        }
        person.bucket = next;
        person.amount = 0.0;
        let busy = person.habit.buckets >= WARM_UP
            && person.habit.expect(settings.second(next), floor).value >= settings.transformed(DROP_EVENTS_MIN);
        let short = settings.bucket.micros() <= 3_600_000_000;
        if busy && short && settings.field.is_empty() && !person.habit.has_profile() && *profiles < profiles_max {
            person.habit.add_profile(24, 168);
            *profiles += 1;
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        let today = day(now);
        if today <= self.state.swept {
            return;
        }
        self.state.swept = today;
        self.gate.sweep(now);
        let settings = &self.settings;
        let State { people, groups, profiles, .. } = &mut self.state;
        people.retain(|_, person| {
            let stays = now.since(settings.start(person.bucket)) < FORGET;
            *profiles -= usize::from(!stays && person.habit.has_profile());
            if !stays && let Some(group) = groups.get_mut(person.group) {
                group.people = group.people.saturating_sub(1);
            }
            stays
        });
        groups.retain(|_, it| it.people > 0);
    }

    /// Takes the hit in. Whose bucket it is in, if it is known.
    fn add(&mut self, seen: &Seen<'_>, amount: f64) -> Option<u64> {
        let number = self.settings.number(seen.time());
        let Rates { settings, state, gate, bytes_max } = self;
        let key = seen.hit.entity_hash;
        if state.people.get(key).is_none() {
            let State { people, groups, door, profiles, .. } = &mut *state;
            let people_max = limits::HABITS_MAX.min(*bytes_max / 2 / settings.person_bytes()).max(1);
            let room = Room { people_max, sketch_bytes: *bytes_max / 4 };
            let leave = |(_, left): (u64, Person)| {
                *profiles -= usize::from(left.habit.has_profile());
                if let Some(group) = groups.get_mut(left.group) {
                    group.people = group.people.saturating_sub(1);
                }
            };
            if !door.admits(seen.from(), key, people, room, |it| it.habit.buckets, leave) {
                return None;
            }
            let peers = (!settings.peers.is_empty()).then_some(usize::from(!settings.field.is_empty()));
            let group = gate.group(seen, peers);
            gate.begin(group, seen.hit.release);
            state.groups.get_or_insert_with(group, Group::default).people += 1;
            let feed = settings.down.then(|| Box::new(Feed::new(seen)));
            let habit = Habit::default();
            let person = Person { group, habit, bucket: number, amount: 0.0, most: 0.0, feed };
            state.people.insert(key, person);
        }
        let person = state.people.get_mut(key)?;
        if number > person.bucket {
            let profiles = (&mut state.profiles, profiles_max(*bytes_max));
            let mut judged = Rates::judge(settings, &state.groups, person, 1.0);
            if let (Some(judged), Some(group), false) = (&mut judged, state.groups.get(person.group), settings.down) {
                judged.raw *= group.weight(key, judged.raw, settings.start(number));
            }
            Rates::close(settings, gate, &mut state.groups, profiles, (key, person, judged), number);
        }
        // A late event counts where it can still be seen: who delays his lines must not be hidden by that.
        person.amount += amount;
        if let Some(feed) = &mut person.feed {
            feed.line_hash = seen.hit.line_hash;
            if !feed.scheduled {
                feed.scheduled = true;
                state.due.entry(person.bucket).or_default().push(key);
            }
        }
        Some(key)
    }

    fn close_all(&mut self, bucket: i64, keys: Vec<u64>, found: &mut Vec<Lapse>) {
        // The order decides who may spend the budget, so it must not depend on how keys are hashed.
        let mut keys: Vec<(Box<str>, u64)> = keys
            .into_iter()
            .filter_map(|it| Some((self.state.people.get(it)?.feed.as_ref()?.entity.clone(), it)))
            .collect();
        keys.sort();
        let left = self.left(bucket, &keys);
        for (_, key) in keys {
            let Rates { settings, state, gate, bytes_max } = self;
            let Some(person) = state.people.get_mut(key) else { continue };
            if person.bucket == bucket {
                let judged = Rates::judge(settings, &state.groups, person, left.get(&key).copied().unwrap_or(1.0));
                let run = judged.as_ref().map_or(Run::default(), |it| person.run().with(it.deviations));
                person.feed.iter_mut().for_each(|it| it.run = run);
                found.extend(judged.as_ref().and_then(|it| low(settings, gate, key, person, it)));
                let profiles = (&mut state.profiles, profiles_max(*bytes_max));
                Rates::close(settings, gate, &mut state.groups, profiles, (key, person, judged), bucket + 1);
            }
            let second = settings.second(person.bucket);
            let missed = person.habit.expect(second, settings.floor()).value >= settings.transformed(DROP_EVENTS_MIN);
            let has_profile = person.habit.has_profile();
            let Some(feed) = &mut person.feed else { continue };
            feed.scheduled = missed || feed.low || has_profile;
            if feed.scheduled {
                state.due.entry(person.bucket).or_default().push(key);
            }
        }
    }

    /// For each of the entities, what is left of the one among the rest of its group that lost most: what they all lost is
    /// nobody's fault.
    fn left(&self, bucket: i64, keys: &[(Box<str>, u64)]) -> BTreeMap<u64, f64> {
        let mut lost: BTreeMap<u64, Vec<(f64, u64)>> = BTreeMap::new();
        for (_, key) in keys {
            let Some(person) = self.state.people.get(*key).filter(|it| it.bucket == bucket) else { continue };
            let second = self.settings.second(bucket);
            let expected = self.settings.amount(person.habit.usual(second, self.settings.floor()).value);
            if expected >= DROP_EVENTS_MIN {
                let left = ((person.amount + 1.0) / (expected + 1.0)).min(1.0);
                lost.entry(person.group).or_default().push((left, *key));
            }
        }
        let mut left = BTreeMap::new();
        for of_group in lost.values() {
            for (_, key) in of_group {
                let others = of_group.iter().filter(|it| it.1 != *key).map(|it| it.0);
                left.insert(*key, others.fold(1.0, f64::min));
            }
        }
        left
    }
}

impl Group {
    /// Somebody stands out.
    fn note(&mut self, key: u64, raw: f64, now: Timestamp) {
        self.high.retain(|it| now.since(it.since) < DAY);
        if let Some(own) = self.high.iter_mut().find(|it| it.key == key) {
            own.raw = own.raw.max(raw as f32);
        } else if self.high.len() < limits::HIGH_MAX {
            self.high.push(High { key, since: now, raw: raw as f32 });
        }
    }

    /// What standing out so far counts for: less the more peers came to half of it, since many stand out a little on any day.
    fn weight(&self, key: u64, raw: f64, now: Timestamp) -> f64 {
        if raw < DEVIATIONS_MIN {
            return 1.0;
        }
        let half = (raw / 2.0).max(DEVIATIONS_MIN);
        let is_like = |it: &&High| it.key != key && f64::from(it.raw) >= half && now.since(it.since) < DAY;
        let like = self.high.iter().filter(is_like).count();
        let rarer = 10f64.powf(PER_DEVIATION * (half - DEVIATIONS_MIN));
        0.5 + 0.5 * alone(like, self.people.saturating_sub(1) as usize, rarer)
    }
}

impl Person {
    fn run(&self) -> Run {
        self.feed.as_ref().map_or(Run::default(), |it| it.run)
    }
}

impl Feed {
    fn new(seen: &Seen<'_>) -> Feed {
        let (entity, partition) = (seen.entity().into(), seen.hit.partition);
        Feed { entity, partition, line_hash: 0, run: Run::default(), low: false, scheduled: false }
    }
}

/// How many may have a profile.
fn profiles_max(bytes_max: usize) -> usize {
    limits::HABIT_PROFILES_MAX.min(bytes_max / 4 / PROFILE_BYTES)
}

/// What a closed bucket of `Drop` has to say.
fn low(settings: &Settings, gate: &mut Gate, key: u64, person: &mut Person, judged: &Judged) -> Option<Lapse> {
    let end = settings.start(person.bucket + 1);
    let run = person.run();
    let lapse = |feed: &Feed, trip, over| Lapse {
        due: end,
        entity: feed.entity.clone(),
        partition: feed.partition,
        line_hash: feed.line_hash,
        trip,
        over,
        kept_back: false,
    };
    let usual = settings.amount(judged.expected.value);
    if run.raw() < DEVIATIONS_MIN || judged.deviations < RUN_MIN || usual < DROP_EVENTS_MIN {
        let feed = person.feed.as_mut()?;
        let over = std::mem::take(&mut feed.low);
        return over.then(|| lapse(feed, Trip::exact(1, end, Vec::new()), true));
    }
    let score = gate.score(run.raw());
    let trip = gate::with_rarity(tell(settings, person, judged, score, Vec::new()));
    let feed = person.feed.as_mut()?;
    let told = lapse(feed, trip, false);
    // While it lasts, it is the same alert and costs nothing more.
    if feed.low {
        return Some(told);
    }
    let told = (score > Budget::LEAST).then(|| gate.tell_lapse(key, person.group, told))?;
    feed.low = !told.kept_back;
    Some(told)
}

fn tell(settings: &Settings, person: &Person, judged: &Judged, score: f64, marks: Vec<super::Mark>) -> Trip {
    let Expected { value, deviation } = judged.expected;
    let (expected, lower, upper) =
        (settings.amount(value), settings.amount(value - 3.0 * deviation), settings.amount(value + 3.0 * deviation));
    let round = |it: f64| number((it * 10.0).round() / 10.0);
    let mut trip = Trip::exact(person.amount.max(1.0) as u64, settings.start(person.bucket), marks)
        .because("bucket_s", seconds(settings.bucket))
        .because("observed", round(person.amount))
        .because("expected", round(expected))
        .because("lower", round(lower))
        .because("upper", round(upper))
        .because("deviations", round(judged.deviations))
        .because("learned_from_buckets", person.habit.buckets)
        .because("normal_after", format!("{} such times in a row", super::habit::SHIFT))
        .because("false_alerts", settings.promise.to_string());
    if !settings.field.is_empty() {
        let most = settings.amount(person.most);
        trip = trip.because("field", settings.field.as_str()).because("most", round(most));
        trip.story = Some(format!(
            "{} in {}; {} are usual and {} was the most, over {} such times",
            shown(&settings.field, person.amount),
            settings.bucket,
            shown(&settings.field, expected),
            shown(&settings.field, most),
            person.habit.buckets
        ));
        trip.score = gate::round(score);
        return trip;
    }
    trip.story = Some(format!(
        "{:.0} events in {}; {lower:.0} to {upper:.0} expected, from {} such times",
        person.amount, settings.bucket, person.habit.buckets
    ));
    trip.score = gate::round(score);
    trip
}

impl Detector for Rates {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        let amount = match self.settings.field.is_empty() {
            true => 1.0,
            false => match seen.batch.carried_f64(seen.hit, 0) {
                Some(it) if it > 0.0 => it.min(1e15),
                Some(_) | None => return,
            },
        };
        self.sweep(seen.hit.release);
        let Some(key) = self.add(seen, amount) else { return };
        let Rates { settings, state, gate, .. } = self;
        let Some(person) = state.people.get_mut(key).filter(|_| !settings.down) else { return };
        let Some(mut judged) = Rates::judge(settings, &state.groups, person, 1.0).filter(|it| it.raw >= DEVIATIONS_MIN)
        else {
            return;
        };
        let large = match settings.field.is_empty() {
            true => person.amount >= SPIKE_EVENTS_MIN,
            false => settings.transformed(person.amount) > person.most + RECORD,
        };
        if !large {
            return;
        }
        if let Some(group) = state.groups.get_mut(person.group) {
            group.note(key, judged.raw, seen.time());
            judged.raw *= group.weight(key, judged.raw, seen.time());
        }
        let score = gate.score(judged.raw);
        if score > Budget::LEAST {
            let trip = tell(settings, person, &judged, score, vec![seen.mark]);
            // When nothing more of it comes, it is over before its bucket is.
            let over = seen.time().plus(Span::from_micros(settings.bucket.micros() / PAUSE));
            gate.hold(seen, person.group, over.min(settings.start(person.bucket + 1)), trip, found);
        }
    }

    fn lapse(&mut self, now: Timestamp, found: &mut Vec<Lapse>) {
        while let Some((bucket, _)) = self.state.due.first_key_value() {
            let bucket = *bucket;
            // The last microsecond of the bucket has passed.
            if self.settings.start(bucket + 1).micros() - 1 > now.micros() {
                break;
            }
            let keys = self.state.due.remove(&bucket).unwrap_or_default();
            self.close_all(bucket, keys, found);
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
        let State { people, profiles, door, .. } = &self.state;
        people.len() * self.settings.person_bytes() + profiles * PROFILE_BYTES + door.bytes()
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
        !self.settings.down
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Event, KEYS, second, watch};

    fn settings(down: bool, field: &str) -> Settings {
        let promise = Rate::parse("1/week").unwrap();
        Settings {
            bucket: Span::from_secs(300),
            field: field.into(),
            peers: String::new(),
            down,
            at_least: 0.0,
            promise,
            keys: KEYS,
            quiet: Span::from_secs(900),
        }
    }

    /// So many events in each five minutes.
    fn events(counts: &[i64]) -> Vec<Event> {
        let spread = |(bucket, count): (usize, &i64)| {
            let (bucket, count) = (bucket as i64, *count);
            (0..count).map(move |it| Event::of(bucket * 300 + it * 300 / count, "ann", "1000"))
        };
        counts.iter().enumerate().flat_map(spread).collect()
    }

    #[test]
    fn a_spike_is_told_once_in_the_midst_of_it() {
        let mut counts = vec![4; 100];
        counts.extend([60, 70, 4, 4]);
        let (trips, _) = watch(Rates::new(settings(false, "")), &events(&counts), 0);
        let buckets: Vec<i64> = trips.iter().map(|it| it.0 / 300).collect();
        assert!(buckets.iter().all(|it| *it == 100 || *it == 101) && !buckets.is_empty(), "{buckets:?}");
        assert!(trips[0].1.count < 60 && trips[0].1.score > 4.0, "{:?}", trips[0].1);
        let quiet = watch(Rates::new(settings(false, "")), &events(&[4; 300]), 0);
        assert_eq!(quiet.0.len(), 0);
        // Nothing is known yet.
        let (trips, _) = watch(Rates::new(settings(false, "")), &events(&[4, 4, 4, 90]), 0);
        assert_eq!(trips.len(), 0);
    }

    #[test]
    fn a_volume_is_judged_by_its_order_of_magnitude() {
        let mut all: Vec<Event> =
            (0..400).map(|it| Event::of(it * 300, "ann", &(1000 + it % 7 * 900).to_string())).collect();
        all.push(Event::of(400 * 300, "ann", "9000"));
        let (trips, _) = watch(Rates::new(settings(false, "source.bytes")), &all, 0);
        assert_eq!(trips.len(), 0);
        all.push(Event::of(401 * 300, "ann", "900000000"));
        let (trips, _) = watch(Rates::new(settings(false, "source.bytes")), &all, 0);
        assert_eq!(trips.len(), 1);
        assert!(trips[0].1.story.as_ref().unwrap().starts_with("900 MB in 5m"), "{:?}", trips[0].1.story);
    }

    #[test]
    fn a_drop_is_told_by_time_and_ends() {
        let mut counts = vec![100; 600];
        counts.extend([0, 0, 100, 100]);
        let all = events(&counts);
        let (_, lapses) = watch(Rates::new(settings(true, "")), &all, 604 * 300);
        let told: Vec<(i64, bool)> = lapses.iter().map(|it| (second(it.due) / 300, it.over)).collect();
        assert_eq!(told, [(601, false), (602, false), (603, true)]);
        let (_, lapses) = watch(Rates::new(Settings { at_least: 1.0, ..settings(true, "") }), &all, 604 * 300);
        assert!(lapses.is_empty(), "silence is told by others");
    }

    #[test]
    fn it_does_not_matter_when_somebody_looks_or_how_keys_are_hashed() {
        let mut all = Vec::new();
        for bucket in 0..700 {
            for name in ["ann", "bob", "carol", "dave"] {
                // What all lose is nobody's fault, so only one does.
                let count = if bucket > 650 && name == "dave" { 1 } else { 30 };
                all.extend((0..count).map(|it| Event::of(bucket * 300 + it * 9, name, "")));
            }
        }
        all.sort_by_key(|it| it.time);
        let shown =
            |it: &[Lapse]| it.iter().map(|it| format!("{} {} {}", it.due, it.entity, it.over)).collect::<Vec<_>>();
        let (_, once) = watch(Rates::new(settings(true, "")), &all, 700 * 300);
        let mut detector = Rates::new(settings(true, ""));
        let (mut trips, mut lapses) = (Vec::new(), Vec::new());
        for (number, event) in all.iter().enumerate() {
            crate::detect::testing::feed(&mut detector, event, number as u64, &mut trips, &mut lapses);
            if number % 1000 == 0 {
                let mut again = Rates::new(settings(true, ""));
                again.restore(&detector.save()).unwrap();
                detector = again;
            }
        }
        for bucket in 600..=700 {
            detector.lapse(settings(true, "").start(bucket), &mut lapses);
        }
        assert_eq!(shown(&once), shown(&lapses));
        assert!(!once.is_empty());
    }
}
