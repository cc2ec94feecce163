//! A value that an entity has never shown before, and how surprising that is.
//!
//! "Never seen" alone is a noisy alarm: some people have a new device every week, and some values are new to one person and
//! old to everybody else. So each entity's values are remembered after a learning period of its own, and a new one is scored by
//! two shares: how often *this* entity shows something new, and how many of its peers have shown this value. A value seen on one
//! day only is not known yet — whoever holds an account for an hour must not teach us that he belongs there — so it is
//! told on a second day again; values of the learning period are known.
//!
//! `Rare` is the same with two conditions more: hardly any peer has the value, and the rule's promise has room for it.
//!
//! Peers are the entities that share all values of `by` but the last: `by: ["organization.name", "user.name"]` compares users
//! within their organisation. One owner sees all hits of the rule.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::door::{Door, Room};
use super::due::Soon;
use super::gate::owner;
use super::promise::{Budget, Rate, STEP};
use super::slots::{self, Slots};
use super::{Detector, Pressure, SCORE_MAX, Seen, Trip, brief, restored, saved};
use crate::limits;
use crate::model::canonical::Compare;
use crate::model::{HashKeys, Recent, Span, Timestamp};

/// What the rule says.
pub struct Settings {
    pub field: String,
    pub learn: Span,
    /// A value not seen for so long is new again.
    pub forget: Span,
    /// Values worth telling; the others only teach. Empty: all.
    pub only: Vec<String>,
    /// Told only where hardly any peer has the value.
    pub rare: bool,
    pub promise: Option<Rate>,
    pub keys: HashKeys,
}

pub struct Firsts {
    settings: Settings,
    hashes: Recent,
    state: State,
    bytes_max: usize,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    people: Slots<Person>,
    groups: Slots<Group>,
    /// Values of all people.
    values: usize,
    /// The last day on which the old was swept out: at fixed times, so that nothing depends on when somebody looked.
    swept: i64,
    door: Door,
}

/// 72 bytes, and 16 for each value beyond the second.
#[derive(Serialize, Deserialize)]
struct Person {
    group: u64,
    first: Timestamp,
    /// In minutes since 1970.
    last: u32,
    /// Decayed to the day `faded`: events, and how many of them showed something new.
    events: f32,
    firsts: f32,
    faded: u16,
    /// Sorted by hash.
    values: SmallVec<[Value; VALUES_INLINE]>,
}

/// 16 bytes. Times in minutes since 1970.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Value {
    hash: u64,
    first: u32,
    last: u32,
}

#[derive(Default, Serialize, Deserialize)]
struct Group {
    people: u32,
    /// How many people have shown each value.
    values: Slots<u32>,
    budget: Budget,
}

/// How a value stands with an entity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Standing {
    #[default]
    Known,
    New,
    /// Seen on one day so far, and that was another day.
    Again,
    /// Known once, last seen long ago.
    Returned(u32),
}

/// With what tables that have just doubled take.
const PERSON_BYTES: usize = 2 * (size_of::<Person>() + 9);
/// In the person's list, and in the group's count.
const VALUE_BYTES: usize = 2 * size_of::<Value>() + 26;
/// Most have one country, and a browser and another.
const VALUES_INLINE: usize = 2;
const DAY_MINUTES: u32 = 1440;
/// An entity is remembered for so long beyond the time after which its values are new again.
const KEEP: Span = Span::from_secs(365 * 86_400);
const HALF_LIFE_DAYS: f32 = 30.0;
/// `Rare`: at least so many peers to compare with, and at most this share of them has the value.
const PEERS_MIN: u32 = 10;
const RARE_SHARE: f64 = 0.05;

impl Firsts {
    pub fn new(settings: Settings) -> Firsts {
        Firsts { settings, hashes: Recent::default(), state: State::default(), bytes_max: usize::MAX }
    }

    fn sweep(&mut self, now: Timestamp) {
        let day = now.micros().div_euclid(86_400_000_000);
        if day <= self.state.swept {
            return;
        }
        self.state.swept = day;
        let keep = Span::from_micros(self.settings.forget.micros() + KEEP.micros());
        let State { people, groups, values, .. } = &mut self.state;
        people.retain(|_, person| {
            let stays = now.since(Timestamp::from_micros(i64::from(person.last) * 60_000_000)) < keep;
            if !stays {
                person.leave(groups, values);
            }
            stays
        });
    }

    /// How the value stands with the person, which then has shown it; None when the person has no place.
    fn show(&mut self, seen: &Seen<'_>, value: u64) -> Option<Shown> {
        let time = seen.time();
        let State { people, groups, values, door, .. } = &mut self.state;
        let rate = self.settings.promise;
        let sink = |it: &mut Group| rate.map(|rate| it.budget.threshold(rate, seen.hit.release, STEP));
        let person = match people.get_mut(seen.hit.entity_hash) {
            Some(person) => {
                rate.and_then(|_| groups.get_mut(person.group).and_then(sink));
                person
            }
            None => {
                let (key, half) = (seen.hit.entity_hash, self.bytes_max / 8 * 3);
                let room = Room::of(self.bytes_max, half, PERSON_BYTES, limits::FIRSTS_PEOPLE_MAX);
                let visits = |it: &Person| it.events as u32;
                if !door.admits(seen.from(), key, people, room, visits, |it| it.1.leave(groups, values)) {
                    return None;
                }
                let group = owner(seen.entity(), self.settings.keys);
                groups.get_mut(group).and_then(sink);
                groups.get_or_insert_with(group, Group::default).people += 1;
                people.get_or_insert_with(key, || Person::new(group, time))
            }
        };
        person.first = person.first.min(time);
        let at = minutes(time);
        person.last = person.last.max(at);
        person.fade(time);
        let learned = person.first.plus(self.settings.learn);
        let place = person.values.binary_search_by_key(&value, |it| it.hash);
        let standing = match place {
            Ok(place) => person.values[place].standing(at, minutes(learned), &self.settings),
            Err(_) => Standing::New,
        };
        // Nearly always it is known, and then nobody's peers matter.
        if let (Standing::Known, Ok(place)) = (standing, place) {
            person.values[place].show(at);
            person.events += 1.0;
            return Some(Shown { standing, ..Shown::default() });
        }
        let group = groups.get_or_insert_with(person.group, Group::default);
        let shown = Shown {
            standing,
            group: person.group,
            learned: time >= learned,
            days: time.since(person.first),
            known: person.values.len() as u64,
            events: person.events.round() as u64,
            chance_own: f64::from((person.firsts + 0.5) / (person.events + 1.0)),
            peers: group.people - 1,
            peers_with: group.values.get(value).map_or(0, |it| *it - u32::from(place.is_ok())),
        };
        if person.events > 0.0 {
            person.firsts += 1.0;
        }
        person.events += 1.0;
        match place {
            Ok(place) => {
                if matches!(standing, Standing::Returned(_)) {
                    person.values[place].first = at;
                }
                person.values[place].show(at);
            }
            Err(place) => {
                person.values.insert(place, Value { hash: value, first: at, last: at });
                *group.values.get_or_insert_with(value, u32::default) += 1;
                *values += 1;
                let values_max = limits::FIRSTS_VALUES_MAX.min(self.bytes_max / 8 * 3 / VALUE_BYTES);
                let most = if *values > values_max { 1 } else { limits::FIRSTS_VALUES_EACH_MAX };
                if person.values.len() > most {
                    *values -= person.lose_oldest(group);
                }
            }
        }
        Some(shown)
    }
}

/// What is known at the time a value is shown.
#[derive(Default)]
struct Shown {
    standing: Standing,
    group: u64,
    learned: bool,
    days: Span,
    known: u64,
    events: u64,
    chance_own: f64,
    peers: u32,
    peers_with: u32,
}

impl Shown {
    /// The rarer of the two counts whole and the other half: who shows new things often shows what others have.
    fn score(&self) -> f64 {
        let chance_peers = (f64::from(self.peers_with) + 0.5) / (f64::from(self.peers) + 1.0);
        let (own, peers) = (-self.chance_own.min(1.0).log10(), -chance_peers.min(1.0).log10());
        (own.max(peers) + own.min(peers) / 2.0).clamp(0.0, SCORE_MAX)
    }
}

impl Value {
    fn standing(&self, at: u32, learned: u32, settings: &Settings) -> Standing {
        let forget = (settings.forget.micros() / 60_000_000) as u32;
        let day = |it: u32| it / DAY_MINUTES;
        if at > self.last && at - self.last >= forget {
            Standing::Returned(self.last)
        } else if self.first < learned || day(self.first) != day(self.last) || day(at) == day(self.last) {
            Standing::Known
        } else {
            Standing::Again
        }
    }

    fn show(&mut self, at: u32) {
        self.first = self.first.min(at);
        self.last = self.last.max(at);
    }
}

/// Days since 1970; enough until 2149.
fn day(time: Timestamp) -> u16 {
    time.micros().div_euclid(86_400_000_000).clamp(0, i64::from(u16::MAX)) as u16
}

impl Person {
    fn new(group: u64, time: Timestamp) -> Person {
        let (last, faded) = (minutes(time), day(time));
        Person { group, first: time, last, events: 0.0, firsts: 0.0, faded, values: SmallVec::new() }
    }

    fn leave(&self, groups: &mut Slots<Group>, values: &mut usize) {
        *values -= self.values.len();
        if let Some(group) = groups.get_mut(self.group) {
            self.values.iter().for_each(|it| group.lose(it.hash));
            group.people = group.people.saturating_sub(1);
        }
    }

    fn fade(&mut self, time: Timestamp) {
        let day = day(time);
        if day > self.faded {
            let factor = 0.5f32.powf(f32::from(day - self.faded) / HALF_LIFE_DAYS);
            self.events *= factor;
            self.firsts *= factor;
            self.faded = day;
        }
    }

    /// Forgets the values not seen for longest: all that were last seen in the same minute, so that it does not matter how
    /// they are ordered. Says how many.
    fn lose_oldest(&mut self, group: &mut Group) -> usize {
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
    fn lose(&mut self, value: u64) {
        if let Some(count) = self.values.get_mut(value) {
            *count -= 1;
            if *count == 0 {
                self.values.remove(value);
            }
        }
    }
}

impl Detector for Firsts {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        let Some(value) = seen.text(0) else { return };
        self.sweep(seen.hit.release);
        let hash = self.hashes.of(0, &value, || self.settings.keys.hash(&value, Compare::Exact));
        let Some(shown) = self.show(seen, hash) else { return };
        let settings = &self.settings;
        let told = settings.only.is_empty() || settings.only.iter().any(|it| **it == *value);
        if shown.standing == Standing::Known || !shown.learned || !told {
            return;
        }
        let score = shown.score();
        let few_peers = f64::from(shown.peers_with) <= RARE_SHARE * f64::from(shown.peers);
        if settings.rare && (shown.peers < PEERS_MIN || !few_peers) {
            return;
        }
        if let Some(rate) = settings.promise {
            let Some(group) = self.state.groups.get_mut(shown.group) else { return };
            if !group.budget.admits(score, rate, seen.hit.release) {
                return;
            }
        }
        found.push(tell(settings, &shown, &value, score, seen));
    }

    fn warm(&self, soon: &Soon<'_>) {
        let last = |it: &Person| it.values.first().map_or(0, |it| u64::from(it.last));
        slots::warm(soon.whose, |_| &self.state.people, |it| u64::from(it.faded), last);
    }

    fn save(&self) -> Vec<u8> {
        saved(&self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.state = restored(bytes)?;
        Ok(())
    }

    fn entities(&self) -> usize {
        self.state.people.len()
    }

    fn looks_back(&self) -> bool {
        false
    }

    fn bytes(&self) -> usize {
        let State { people, values, door, .. } = &self.state;
        people.len() * PERSON_BYTES + values * VALUE_BYTES + door.bytes()
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
}

fn tell(settings: &Settings, shown: &Shown, value: &str, score: f64, seen: &Seen<'_>) -> Trip {
    let mut trip = Trip::exact(1, seen.time(), vec![seen.mark])
        .because("field", settings.field.as_str())
        .because("value", value)
        .because("learned_from_events", shown.events)
        .because("known_for_s", shown.days.micros() / 1_000_000)
        .because("values_known", shown.known)
        .because("peers", shown.peers)
        .because("peers_with_value", shown.peers_with);
    let what = match shown.standing {
        Standing::Returned(last) => {
            let last = Timestamp::from_micros(i64::from(last) * 60_000_000);
            trip = trip.because("last_seen", last.to_string());
            format!("for the first time in {}", seen.time().since(last))
        }
        Standing::Again => "on a second day".to_string(),
        Standing::New | Standing::Known => "for the first time".to_string(),
    };
    if let Some(rate) = settings.promise {
        trip = trip.because("false_alerts", rate.to_string());
    }
    let mut story = format!(
        "{} {} {what}; {} other values known, over {}",
        settings.field,
        brief(value),
        shown.known.saturating_sub(u64::from(shown.standing != Standing::New)),
        shown.days
    );
    if shown.peers > 0 {
        story += &format!("; {} of {} peers have it", shown.peers_with, shown.peers);
    }
    trip.story = Some(story);
    trip.score = (score * 1000.0).round() / 1000.0;
    trip
}

fn minutes(time: Timestamp) -> u32 {
    time.micros().div_euclid(60_000_000).clamp(0, i64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Event, KEYS, feed, watch};

    const DAY: i64 = 86_400;

    fn settings() -> Settings {
        Settings {
            field: "country".into(),
            learn: Span::from_secs(14 * DAY),
            forget: Span::from_secs(90 * DAY),
            only: vec![],
            rare: false,
            promise: None,
            keys: KEYS,
        }
    }

    /// Events as (day, hour, person, value); what comes out: day and value.
    fn check(settings: Settings, events: &[(i64, i64, &str, &str)], expected: &[(i64, &str)]) {
        let events: Vec<Event> = events.iter().map(|it| Event::of(it.0 * DAY + it.1 * 3600, it.2, it.3)).collect();
        let (trips, _) = watch(Firsts::new(settings), &events, 0);
        let found: Vec<(i64, String)> = trips
            .iter()
            .map(|(at, trip)| {
                let value = trip.because.iter().find(|it| it.0 == "value").unwrap();
                (at / DAY, value.1.as_str().unwrap().to_string())
            })
            .collect();
        let found: Vec<(i64, &str)> = found.iter().map(|it| (it.0, it.1.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_new_value_after_learning() {
        check(
            settings(),
            &[(0, 8, "ann", "US"), (3, 8, "ann", "DE"), (15, 8, "ann", "US"), (16, 8, "ann", "BR")],
            &[(16, "BR")],
        );
        check(settings(), &[(0, 8, "ann", "US"), (13, 8, "ann", "BR"), (20, 8, "ann", "BR")], &[]);
        check(settings(), &[(0, 8, "ann", "US"), (20, 8, "bob", "BR")], &[]);
    }

    #[test]
    fn known_after_two_days() {
        let days = [
            (0, 8, "ann", "US"),
            (20, 8, "ann", "BR"),
            (20, 9, "ann", "BR"),
            (21, 8, "ann", "BR"),
            (22, 8, "ann", "BR"),
        ];
        check(settings(), &days, &[(20, "BR"), (21, "BR")]);
    }

    #[test]
    fn new_again_after_long() {
        let forget = Settings { forget: Span::from_secs(30 * DAY), learn: Span::from_secs(DAY), ..settings() };
        check(
            forget,
            &[
                (0, 8, "ann", "in"),
                (9, 8, "ann", "in"),
                (38, 8, "ann", "in"),
                (70, 8, "ann", "in"),
                (70, 9, "ann", "in"),
            ],
            &[(70, "in")],
        );
    }

    #[test]
    fn only_some_values_are_told() {
        let only = Settings { only: vec!["admin".into()], learn: Span::from_secs(DAY), ..settings() };
        check(only, &[(0, 8, "ann", "read"), (5, 8, "ann", "write"), (5, 9, "ann", "admin")], &[(5, "admin")]);
    }

    #[test]
    fn a_late_event_teaches_and_is_judged_at_its_own_time() {
        check(
            settings(),
            &[(0, 8, "ann", "US"), (20, 8, "ann", "US"), (10, 8, "ann", "BR"), (21, 8, "ann", "BR")],
            &[],
        );
    }

    #[test]
    fn rare_is_what_hardly_any_peer_has() {
        let mut events = Vec::new();
        let names: Vec<String> = (0..40).map(|it| format!("user{it}")).collect();
        for day in 0..20 {
            for (number, name) in names.iter().enumerate() {
                events.push((day, 8, name.as_str(), "office"));
                if number > 20 {
                    events.push((day, 9, name.as_str(), "vpn"));
                }
            }
        }
        events.push((20, 8, "user0", "vpn"));
        events.push((20, 9, "user1", "tor"));
        let rare =
            Settings { rare: true, learn: Span::from_secs(7 * DAY), promise: Rate::parse("1/week"), ..settings() };
        check(rare, &events, &[(20, "tor")]);
    }

    #[test]
    fn memory_is_bounded_and_saved() {
        let mut firsts = Firsts::new(settings());
        for number in 0..limits::FIRSTS_VALUES_EACH_MAX as i64 + 500 {
            feed(
                &mut firsts,
                &Event::of(number * 60, "ann", &number.to_string()),
                number as u64,
                &mut vec![],
                &mut vec![],
            );
        }
        let person = firsts.state.people.values().next().unwrap();
        assert_eq!(person.values.len(), limits::FIRSTS_VALUES_EACH_MAX);
        assert_eq!(firsts.state.values, limits::FIRSTS_VALUES_EACH_MAX);
        assert_eq!(firsts.state.groups.values().next().unwrap().values.len(), limits::FIRSTS_VALUES_EACH_MAX);
        let mut again = Firsts::new(settings());
        again.restore(&firsts.save()).unwrap();
        assert_eq!(again.save().len(), firsts.save().len());
        assert!(again.restore(&[255; 9]).is_err());
        assert!(std::mem::size_of::<Person>() == 72 && std::mem::size_of::<Value>() == 16);
    }

    proptest::proptest! {
        #[test]
        fn equals_looking_back(mut events in proptest::collection::vec((0i64..40 * 24, "[ab]", "[uvwxyz]"), 1..120)) {
            events.sort();
            let naive: Vec<(i64, String)> = (0..events.len())
                .filter(|end| {
                    let (hour, person, value) = &events[*end];
                    let before: Vec<i64> = events[..*end].iter().filter(|it| it.1 == *person).map(|it| it.0).collect();
                    let same: Vec<i64> =
                        events[..*end].iter().filter(|it| it.1 == *person && it.2 == *value).map(|it| it.0).collect();
                    let Some(first) = before.first() else { return false };
                    let days: std::collections::BTreeSet<i64> = same.iter().map(|it| it / 24).collect();
                    let learned = same.first().is_some_and(|it| *it < first + 14 * 24);
                    *hour >= first + 14 * 24 && !learned && days.len() < 2 && !days.contains(&(hour / 24))
                })
                .map(|end| (events[end].0 / 24, events[end].2.clone()))
                .collect();
            let events: Vec<(i64, i64, &str, &str)> = events.iter().map(|it| (it.0 / 24, it.0 % 24, it.1.as_str(), it.2.as_str())).collect();
            let naive: Vec<(i64, &str)> = naive.iter().map(|it| (it.0, it.1.as_str())).collect();
            check(settings(), &events, &naive);
        }
    }
}
