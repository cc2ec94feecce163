//! What stands between a suspicion and an alert.
//!
//! Kinds that judge by habit all end the same way: a raw score becomes a rarity ([`Chances`]), and the promise decides whether it
//! is told ([`Budget`]). Two things more belong here, since every kind would get them wrong in its own way. First, an attack
//! that is told at the first event that could be one is told with the score of that event: the hundredth download of a
//! theft then looks no worse than the third of a busy afternoon. So a suspicion is held until it is beyond doubt or over,
//! and told with the most it came to. Second, what is kept back is not lost: it is counted and handed on, for whoever adds
//! up small things about one entity.
//!
//! The promise is for all entities together; groups (organisations in one log) share it, as [`promise`](super::promise) says.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::promise::{Budget, Chances, Rate, STEP};
use super::slots::Slots;
use super::{Lapse, Mark, Seen, Trip, restored, saved};
use crate::limits;
use crate::model::canonical::Compare;
use crate::model::{HashKeys, List, Recent, Span, Timestamp};

/// A score that needs no waiting: one in a hundred million.
const SURE: f64 = 8.0;
/// High raw scores that one day teaches.
const HIGH_A_DAY: u32 = 3;
/// Of any group so large a share stands out on any day.
const USUAL_SHARE: f64 = 20.0;

pub struct Gate {
    promise: Rate,
    quiet: Span,
    keys: HashKeys,
    hashes: Recent,
    state: State,
    /// The group that began last: nearly always the next one's.
    begun: Option<u64>,
    /// When suspicions held are over. Entities decide among equals: hashes differ from process to process.
    due: BTreeSet<(Timestamp, Box<str>, u64)>,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    chances: Chances,
    all: Budget,
    groups: Slots<Budget>,
    held: Slots<Held>,
    told: Slots<Timestamp>,
    /// Refused at once, to be handed on.
    refused: Vec<Held>,
    /// The day, and how many high raw scores it has taught.
    taught: (i64, u32),
    kept_back: u64,
}

/// A suspicion that waits.
#[derive(Serialize, Deserialize)]
struct Held {
    due: Timestamp,
    group: u64,
    entity: Box<str>,
    partition: u8,
    line_hash: u64,
    score: f64,
    count: u64,
    since: Timestamp,
    marks: Vec<Mark>,
    /// As JSON: only that can give its numbers back.
    numbers: String,
    story: Option<String>,
}

impl Gate {
    pub fn new(promise: Rate, quiet: Span, keys: HashKeys) -> Gate {
        Gate {
            promise,
            quiet,
            keys,
            hashes: Recent::default(),
            state: State::default(),
            begun: None,
            due: BTreeSet::new(),
        }
    }

    /// With a threshold for all that begins there; those of groups begin where they always do.
    pub fn beginning_at(mut self, first: f64) -> Gate {
        self.state.all = Budget::beginning_at(first);
        self
    }

    /// Learns how large a raw score was. What happens on one day is not many things: forty addresses of one attack must not
    /// make such addresses usual.
    pub fn learn(&mut self, raw: f64, now: Timestamp) {
        let today = day(now);
        if today != self.state.taught.0 {
            self.state.taught = (today, 0);
        }
        let threshold = self.state.chances.threshold();
        let high = raw > threshold && threshold > 0.0;
        if high && self.state.taught.1 >= HIGH_A_DAY {
            return self.state.chances.learn(threshold, today);
        }
        self.state.taught.1 += u32::from(high);
        self.state.chances.learn(raw, today);
    }

    /// −log10 of the chance of a raw score at least so large.
    pub fn score(&self, raw: f64) -> f64 {
        self.state.chances.score(raw)
    }

    /// What is compared with what: the value of a field, or all parts of the entity but its last.
    pub fn group(&mut self, seen: &Seen<'_>, field: Option<usize>) -> u64 {
        match field.map(|it| seen.text(it)) {
            Some(value) => value.map_or(0, |it| self.hashes.of(0, &it, || self.keys.hash(&it, Compare::Exact))),
            None => owner(seen.entity(), self.keys),
        }
    }

    /// The group is there from now on: its budget begins.
    pub fn begin(&mut self, group: u64, now: Timestamp) {
        if self.begun.replace(group) == Some(group) {
            return;
        }
        if self.state.groups.len() < limits::GROUPS_MAX && self.state.groups.get(group).is_none() {
            let rate = self.promise.share(self.state.groups.len() as f64 + 1.0);
            self.state.groups.get_or_insert_with(group, Budget::default).threshold(rate, now, STEP);
            self.state.all.threshold(self.promise, now, STEP);
        }
    }

    /// Whether the entity's alert is open for sure: whatever it does now belongs to that.
    pub fn is_told(&self, key: u64, now: Timestamp) -> bool {
        self.state.told.get(key).is_some_and(|it| now.since(*it) < self.quiet)
    }

    /// Tells at once or keeps back.
    pub fn tell(&mut self, seen: &Seen<'_>, group: u64, trip: Trip, found: &mut Vec<Trip>) {
        if self.adds_to_open(seen, found) {
            return;
        }
        let now = seen.hit.release;
        if self.admits(group, trip.score, now) {
            self.state.told.insert(seen.hit.entity_hash, now);
            found.push(with_rarity(trip));
        } else if trip.score > Budget::LEAST && self.state.refused.len() < limits::HELD_MAX {
            self.state.refused.push(held(seen, group, now, trip));
        }
    }

    /// Holds the suspicion until `until`, unless it is beyond doubt.
    pub fn hold(&mut self, seen: &Seen<'_>, group: u64, until: Timestamp, mut trip: Trip, found: &mut Vec<Trip>) {
        if self.adds_to_open(seen, found) {
            return;
        }
        let key = seen.hit.entity_hash;
        let now = seen.hit.release;
        let before = self.state.held.remove(key);
        if let Some(before) = &before {
            self.due.remove(&(before.due, before.entity.clone(), key));
            let mut marks: Vec<Mark> = before.marks.iter().chain(&trip.marks).copied().collect();
            marks.dedup();
            trip.marks = super::few(marks.into_iter());
            trip.score = trip.score.max(before.score);
        }
        if trip.score >= SURE && self.admits(group, trip.score, now) {
            self.state.told.insert(key, now);
            found.push(with_rarity(trip));
        } else if self.state.held.len() < limits::HELD_MAX {
            let held = held(seen, group, until.max(now), trip);
            self.due.insert((held.due, held.entity.clone(), key));
            self.state.held.insert(key, held);
        }
    }

    /// What was held until now, or refused.
    pub fn lapse(&mut self, now: Timestamp, found: &mut Vec<Lapse>) {
        let ready = self.state.refused.partition_point(|it| it.due <= now);
        self.state.kept_back += ready as u64;
        found.extend(self.state.refused.drain(..ready).map(|it| it.lapse(true)));
        while self.due.first().is_some_and(|it| it.0 <= now)
            && let Some((due, _, key)) = self.due.pop_first()
        {
            let Some(held) = self.state.held.remove(key) else { continue };
            let admitted = self.admits(held.group, held.score, due);
            if admitted {
                self.state.told.insert(key, due);
            } else {
                self.state.kept_back += 1;
            }
            found.push(held.lapse(!admitted));
        }
    }

    /// Nothing more comes: what is held is over.
    pub fn finish(&mut self, found: &mut Vec<Lapse>) {
        self.lapse(Timestamp::MAX, found);
    }

    /// Tells of what time alone brought, or keeps it back.
    pub fn tell_lapse(&mut self, key: u64, group: u64, mut lapse: Lapse) -> Lapse {
        lapse.kept_back = !self.admits(group, lapse.trip.score, lapse.due);
        if lapse.kept_back {
            self.state.kept_back += 1;
        } else {
            self.state.told.insert(key, lapse.due);
        }
        lapse
    }

    /// Forgets what is over.
    pub fn sweep(&mut self, now: Timestamp) {
        let quiet = self.quiet;
        self.state.told.retain(|_, it| now.since(*it) < quiet);
    }

    /// What a kind remembers, and what is held, as bytes for a snapshot.
    pub fn save_with(&self, memory: &impl Serialize) -> Vec<u8> {
        saved(&(memory, saved(&self.state)))
    }

    /// Takes back what [`Gate::save_with`] wrote: the kind's memory.
    pub fn restore_with<T: DeserializeOwned>(&mut self, bytes: &[u8]) -> Result<T, String> {
        let (memory, state): (T, Vec<u8>) = restored(bytes)?;
        self.state = restored(&state)?;
        self.begun = None;
        self.due = self.state.held.iter().map(|(key, it)| (it.due, it.entity.clone(), key)).collect();
        Ok(memory)
    }

    fn adds_to_open(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) -> bool {
        let open = self.is_told(seen.hit.entity_hash, seen.hit.release);
        if open {
            self.state.told.insert(seen.hit.entity_hash, seen.hit.release);
            found.push(Trip::exact(1, seen.time(), vec![seen.mark]));
        }
        open
    }

    fn admits(&mut self, group: u64, score: f64, now: Timestamp) -> bool {
        let groups = self.state.groups.len().max(1) as f64;
        let (share, step) = (self.promise.share(groups), STEP / groups.sqrt());
        let all = self.state.all.threshold(self.promise, now, step);
        let own = self.state.groups.get_mut(group).map_or(all, |it| it.threshold(share, now, STEP));
        let admitted = score > own.max(all);
        if admitted {
            self.state.all.pay(step);
            if let Some(own) = self.state.groups.get_mut(group) {
                own.pay(STEP);
            }
        }
        admitted
    }
}

fn held(seen: &Seen<'_>, group: u64, due: Timestamp, trip: Trip) -> Held {
    let mut numbers = trip.numbers;
    numbers.extend(trip.because.into_iter().map(|(name, it)| (name.to_string(), it)));
    Held {
        due,
        group,
        entity: seen.entity().into(),
        partition: seen.hit.partition,
        line_hash: seen.hit.line_hash,
        score: trip.score,
        count: trip.count,
        since: trip.since,
        marks: trip.marks,
        numbers: serde_json::to_string(&numbers).unwrap_or_default(),
        story: trip.story,
    }
}

impl Held {
    fn lapse(self, kept_back: bool) -> Lapse {
        let mut trip = Trip::exact(self.count, self.since, self.marks);
        trip.numbers = serde_json::from_str(&self.numbers).unwrap_or_default();
        trip.score = self.score;
        trip.story = self.story;
        Lapse {
            due: self.due,
            entity: self.entity,
            partition: self.partition,
            line_hash: self.line_hash,
            trip: with_rarity(trip),
            over: false,
            kept_back,
        }
    }
}

/// Says how often accident alone brings about such a score.
pub fn with_rarity(mut trip: Trip) -> Trip {
    let often = rarity(trip.score);
    if let Some(story) = &mut trip.story {
        *story += &format!("; by accident {often}");
    }
    trip.numbers.insert("by_accident".into(), often.into());
    trip
}

/// A score of three comes once a day, and each point more is ten times rarer.
fn rarity(score: f64) -> String {
    let days = 10f64.powf(score - 3.0);
    let times = [(365.0, "years"), (30.0, "months"), (7.0, "weeks"), (1.0, "days")];
    match times.iter().find(|it| days >= 2.0 * it.0) {
        _ if days >= 100.0 * 365.0 => "less than once in a hundred years".into(),
        Some((unit, name)) => format!("once in {:.0} {name}", days / unit),
        None if days >= 0.7 => "once a day".into(),
        None => format!("{:.0} times a day", (1.0 / days).min(1000.0)),
    }
}

/// All parts of an entity but the last, as a number. A keyed one, as all that stand for what strangers wrote and that are
/// compared between entities: nobody shall find a name with which he is taken for another.
pub fn owner(entity: &str, keys: HashKeys) -> u64 {
    let parts = entity.rfind(List::SEPARATOR).map_or("", |at| &entity[..at]);
    keys.hash(parts, Compare::Exact)
}

/// Of a day: for what is done once a day at a fixed time, whoever looks when.
pub fn day(time: Timestamp) -> i64 {
    time.micros().div_euclid(86_400_000_000)
}

/// A score as alerts show it.
pub fn round(score: f64) -> f64 {
    (score * 1000.0).round() / 1000.0
}

/// How alone an entity is in what it does: 1 when no more of its peers do it than on any day, falling to 0 when all do.
/// `times`: how many times rarer than standing out at all it is, what they do.
pub fn alone(doing: usize, peers: usize, times: f64) -> f64 {
    let doing = doing.saturating_sub((peers as f64 / (USUAL_SHARE * times.max(1.0))) as usize);
    let share = |it: usize| ((it as f64 + 0.5) / (peers as f64 + 1.0)).min(1.0).ln();
    if peers == 0 { 1.0 } else { (share(doing) / share(0)).clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Detector;
    use crate::detect::testing::{Event, KEYS, time};

    /// Holds what it is told to, ten minutes long: values are `score|group`.
    struct Held10(Gate);

    impl Detector for Held10 {
        fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
            let mut trip = Trip::exact(1, seen.time(), vec![seen.mark]);
            trip.score = seen.text(0).unwrap().parse().unwrap();
            trip.story = Some(trip.score.to_string());
            let group = self.0.group(seen, Some(1));
            self.0.begin(group, seen.hit.release);
            self.0.hold(seen, group, seen.time().plus(Span::from_secs(600)), trip, found);
        }

        fn lapse(&mut self, now: Timestamp, found: &mut Vec<Lapse>) {
            self.0.lapse(now, found);
        }

        fn save(&self) -> Vec<u8> {
            self.0.save_with(&())
        }

        fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
            self.0.restore_with(bytes)
        }

        fn entities(&self) -> usize {
            0
        }

        fn looks_back(&self) -> bool {
            false
        }
    }

    fn gate() -> Held10 {
        Held10(Gate::new(Rate::parse("1/week").unwrap(), Span::from_secs(3600), KEYS))
    }

    /// What is told, without how seldom accident does so.
    fn score_of(told: &str) -> &str {
        told.split_once("; by accident ").map_or(told, |it| it.0)
    }

    /// Suspicions as (second, whose, score and group); what is told: second and score.
    fn check(events: &[(i64, &str, &str)], expected: &[(i64, &str)]) {
        let events: Vec<Event> = events.iter().map(|it| Event::of(it.0, it.1, it.2)).collect();
        let told = crate::detect::testing::told(gate, &events, 1_000_000);
        let told: Vec<(i64, &str)> = told.iter().map(|it| (it.0, score_of(&it.1))).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_held_is_told_with_its_most() {
        check(&[(0, "ann", "4|a"), (60, "ann", "6|a"), (120, "ann", "5|a")], &[(720, "5")]);
        check(&[(0, "ann", "4|a"), (60, "ann", "11|a")], &[(60, "11")]);
        check(&[(0, "ann", "2.5|a")], &[]);
    }

    #[test]
    fn a_noisy_group_silences_itself_first() {
        let noise: Vec<(i64, String, String)> =
            (0..20).map(|it| (it * 1000, format!("user{it}"), "7|noisy".to_string())).collect();
        let mut events: Vec<(i64, &str, &str)> =
            vec![(0, "carl", "1|quiet"), (0, "dora", "1|third"), (0, "emil", "1|fourth")];
        events.extend(noise.iter().map(|it| (it.0, it.1.as_str(), it.2.as_str())));
        events.push((30_000, "ann", "6|quiet"));
        let events: Vec<Event> = events.iter().map(|it| Event::of(it.0, it.1, it.2)).collect();
        let told = crate::detect::testing::told(gate, &events, 1_000_000);
        assert_eq!(told.last().map(|it| (it.0, score_of(&it.1))), Some((30_600, "6")));
        assert!(told.len() <= 6, "{told:?}");
    }

    #[test]
    fn peers_who_do_it_too_make_it_less() {
        assert!(alone(0, 0, 1.0) == 1.0 && alone(0, 50, 1.0) == 1.0 && alone(2, 50, 1.0) == 1.0);
        assert!(alone(20, 50, 1.0) < alone(10, 50, 1.0) && alone(55, 50, 1.0) < 0.1);
        assert!(alone(2, 50, 100.0) < 1.0);
    }

    proptest::proptest! {
        #[test]
        fn no_scores_and_groups_exceed_the_bound(
            events in proptest::collection::vec((1i64..9000, 0u8..40, 0u8..6, 0.0f64..14.0), 1..200),
        ) {
            let mut at = 0;
            let events: Vec<Event> = events
                .iter()
                .map(|(gap, whose, group, score)| {
                    at += gap * 60;
                    Event::of(at, &format!("user{whose}"), &format!("{score}|{group}"))
                })
                .collect();
            let told = crate::detect::testing::told(gate, &events, at + 1000);
            // Six shares of one rate, and what each may spend beyond it.
            let time = time(at + 1000).since(time(0));
            let most = Rate::parse("1/week").unwrap().over(time) + 6.0 * (Budget::EXCESS_MAX + 1.0);
            proptest::prop_assert!(told.len() as f64 <= most, "{} of at most {}", told.len(), most);
        }
    }
}
