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

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::BTreeSet;

use super::door::{Door, Room};
use super::due::{Soon, WARM_AT_ONCE};
use super::gate::{Gate, day, round};
use super::promise::{Budget, PER_DEVIATION, Rate};
use super::slots::{self, Slots};
use super::{Detector, Lapse, Number, Pressure, Seen, Trip, brief, called};
use crate::limits;
use crate::model::canonical::Compare;
use crate::model::{HashKeys, Recent, Span, Timestamp};

/// What the rule says.
pub struct Settings {
    pub fields: Vec<String>,
    pub peers: String,
    /// Whose habits are learned, where the entity is more than that. Empty: the entity's.
    pub whose: String,
    pub keys: HashKeys,
    pub learn: Span,
    pub promise: Rate,
    pub quiet: Span,
}

pub struct Unfamiliar {
    settings: Settings,
    /// For each field, its aspect.
    aspects: Vec<usize>,
    /// So many aspects must be new.
    aspects_min: usize,
    gate: Gate,
    hashes: Recent,
    state: State,
    bytes_max: usize,
    /// Everything is looked at as if something might be new.
    #[cfg(test)]
    plain: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    people: Slots<Person>,
    groups: Slots<Group>,
    /// What they take beyond their places.
    heap: usize,
    swept: i64,
    door: Door,
}

/// 72 bytes, and 8 for each value beyond the fourth.
#[derive(Serialize, Deserialize)]
struct Person {
    group: u64,
    first: Timestamp,
    last: u16,
    faded: u16,
    /// Decayed: events, and how many of them showed something new.
    events: f32,
    firsts: f32,
    /// Sorted by hash.
    values: SmallVec<[Value; VALUES_INLINE]>,
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
    values: Slots<u32>,
}

/// Nobody is judged before so many events, however long ago the first was.
const EVENTS_MIN: f32 = 5.0;
/// A value not seen for so many days is new again, and a person gone for so long is forgotten.
const FORGET_DAYS: u16 = 120;
const HALF_LIFE_DAYS: f32 = 30.0;

/// Of the aspects that a rule looks at, so many must be new.
const ASPECTS_MIN: usize = 2;

const VALUES_INLINE: usize = 4;
/// In the group's count, with what tables that have just doubled take.
const COUNT_BYTES: usize = 2 * (size_of::<(u64, u32)>() + 1);
const PERSON_BYTES: usize = 2 * (size_of::<Person>() + 9) + VALUES_INLINE * COUNT_BYTES;
/// Each beyond the fourth.
const VALUE_BYTES: usize = 2 * size_of::<Value>() + COUNT_BYTES;

/// What an event shows.
struct Shown {
    new: SmallVec<[New; VALUES_INLINE]>,
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
        let aspects: Vec<usize> =
            names.iter().map(|it| names.iter().position(|name| name == it).unwrap_or_default()).collect();
        let gate = Gate::new(settings.promise, settings.quiet, settings.keys);
        Unfamiliar {
            aspects_min: ASPECTS_MIN.min(aspects.iter().collect::<BTreeSet<_>>().len()),
            aspects,
            gate,
            settings,
            hashes: Recent::default(),
            state: State::default(),
            bytes_max: usize::MAX,
            #[cfg(test)]
            plain: false,
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        let today = day(now);
        if today <= self.state.swept {
            return;
        }
        self.state.swept = today;
        self.gate.sweep(now);
        let State { people, groups, heap, .. } = &mut self.state;
        people.retain(|_, person| {
            let stays = i64::from(person.last) + i64::from(FORGET_DAYS) > today;
            if !stays {
                person.leave(groups, heap);
            }
            stays
        });
        groups.retain(|_, it| it.people > 0);
    }

    fn key(&self, seen: &Seen<'_>) -> u64 {
        if self.settings.whose.is_empty() {
            return seen.hit.entity_hash;
        }
        self.key_of(&seen.text(self.whose_at()).unwrap_or_default())
    }

    /// Which of the values says whose habits they are.
    fn whose_at(&self) -> usize {
        self.settings.fields.len() + usize::from(!self.settings.peers.is_empty())
    }

    fn key_of(&self, whose: &str) -> u64 {
        self.settings.keys.hash(whose, Compare::Folded)
    }

    /// Takes the event in. What was new about it, if the person is known for long enough.
    fn show(&mut self, seen: &Seen<'_>, group: u64) -> Option<Shown> {
        let key = self.key(seen);
        let time = seen.time();
        let today = u16::try_from(day(time).clamp(0, i64::from(u16::MAX))).unwrap_or(u16::MAX);
        let State { people, groups, heap, door, .. } = &mut self.state;
        let person = match people.get_mut(key) {
            Some(person) => person,
            None => {
                let room = Room::of(self.bytes_max, self.bytes_max / 4, PERSON_BYTES, limits::FIRSTS_PEOPLE_MAX);
                let visits = |it: &Person| it.events as u32;
                if !door.admits(seen.from(), key, people, room, visits, |it| it.1.leave(groups, heap)) {
                    return None;
                }
                groups.get_or_insert_with(group, Group::default).people += 1;
                self.gate.begin(group, seen.hit.release);
                people.get_or_insert_with(key, || Person::new(group, time, today))
            }
        };
        person.first = person.first.min(time);
        person.last = person.last.max(today);
        person.fade(today);
        let learned_at = person.first.plus(self.settings.learn);
        let learned = time >= learned_at && person.events >= EVENTS_MIN;
        let learned_at = day(learned_at);
        let chance = f64::from((person.firsts + 0.5) / (person.events + 1.0)).min(1.0);
        let (settings, hashes) = (&self.settings, &mut self.hashes);
        let mut hash = |field: usize, value: &str| hashes.of(field, value, || settings.keys.hash_one(field, value));
        let values: SmallVec<[(usize, u32); VALUES_INLINE]> =
            (0..settings.fields.len()).filter_map(|it| Some((it, hash(it, &seen.text(it)?) as u32))).collect();
        let mut shown = Shown { new: SmallVec::new(), chance, peers: 0, alike: 0 };
        #[cfg(test)]
        let is_short = !self.plain;
        #[cfg(not(test))]
        let is_short = true;
        // Nearly always nothing is new, and then nobody's peers matter.
        if is_short && person.knows(&values, today, learned_at) {
            person.events += 1.0;
            return learned.then_some(shown);
        }
        let known_by = groups.get_or_insert_with(person.group, Group::default);
        shown.peers = known_by.people - 1;
        let alike = match self.settings.fields.len() {
            1 => known_by.fewest(&person.values).min(known_by.people),
            _ => known_by.people,
        };
        shown.alike = alike - 1;
        *heap -= person.heap();
        // Who has no room for more forgets the oldest, but not what one event shows.
        let is_full = *heap + (VALUES_INLINE + values.len()) * VALUE_BYTES > self.bytes_max / 4;
        let values_max = if is_full { VALUES_INLINE.max(values.len()) } else { usize::MAX };
        for (field, hash) in values {
            let place = person.values.binary_search_by_key(&hash, |it| it.hash);
            let is_known = place.is_ok_and(|it| person.values[it].is_known(today, learned_at));
            if !is_known {
                let with = known_by.values.get(u64::from(hash)).copied().unwrap_or_default();
                shown.new.push(New { field, peers_with: with - u32::from(place.is_ok()) });
            }
            match place {
                Ok(place) => person.values[place].show(today),
                Err(_) => {
                    person.keep_less(values_max, known_by);
                    person.add(Value { hash, first: today, last: today }, known_by);
                }
            }
        }
        *heap += person.heap();
        person.firsts += if shown.new.is_empty() || person.events == 0.0 { 0.0 } else { 1.0 };
        person.events += 1.0;
        learned.then_some(shown)
    }

    /// Decades of surprise.
    fn surprise(&self, shown: &Shown) -> f64 {
        let is_strange = |aspect: &usize| shown.new.iter().any(|it| self.aspects[it.field] == *aspect);
        if (0..self.aspects.len()).filter(is_strange).count() < self.aspects_min {
            return 0.0;
        }
        let rarity = |it: &New| -((f64::from(it.peers_with) + 0.5) / (f64::from(shown.alike) + 1.0)).min(1.0).log10();
        let mut sum = -shown.chance.log10();
        for aspect in 0..self.aspects.len() {
            let mut rarities: SmallVec<[f64; VALUES_INLINE]> =
                shown.new.iter().filter(|it| self.aspects[it.field] == aspect).map(&rarity).collect();
            rarities.sort_by(|a, b| b.total_cmp(a));
            sum += rarities.iter().zip([1.0, 0.5, 0.25]).map(|(it, weight)| it * weight).sum::<f64>();
        }
        sum
    }

    fn tell(&self, seen: &Seen<'_>, shown: &Shown, score: f64) -> Trip {
        let Shown { new, chance, peers, alike } = shown;
        let person = &self.state.people[self.key(seen)];
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
    fn new(group: u64, time: Timestamp, today: u16) -> Person {
        Person { group, first: time, last: today, faded: today, events: 0.0, firsts: 0.0, values: SmallVec::new() }
    }

    /// Bytes beyond its place; a function of what it holds.
    fn heap(&self) -> usize {
        let len = self.values.len();
        if len > VALUES_INLINE { len * VALUE_BYTES } else { 0 }
    }

    fn leave(&self, groups: &mut Slots<Group>, heap: &mut usize) {
        *heap -= self.heap();
        if let Some(group) = groups.get_mut(self.group) {
            self.values.iter().for_each(|it| group.lose(it.hash));
            group.people = group.people.saturating_sub(1);
        }
    }

    fn fade(&mut self, today: u16) {
        if today > self.faded {
            let factor = 0.5f32.powf(f32::from(today - self.faded) / HALF_LIFE_DAYS);
            self.events *= factor;
            self.firsts *= factor;
            self.faded = today;
        }
    }

    /// Whether it knows all of them; then it has seen them again.
    fn knows(&mut self, values: &[(usize, u32)], today: u16, learned_at: i64) -> bool {
        let mut places: SmallVec<[u8; 2 * VALUES_INLINE]> = SmallVec::new();
        for (_, hash) in values {
            match self.values.iter().position(|it| it.hash == *hash) {
                Some(place) if self.values[place].is_known(today, learned_at) => places.push(place as u8),
                Some(_) | None => return false,
            }
        }
        places.iter().for_each(|it| self.values[usize::from(*it)].show(today));
        true
    }

    /// Learns a value. Too many: forgets those not seen for longest, all of one day together, so that their order does not
    /// matter.
    fn add(&mut self, value: Value, group: &mut Group) {
        let place = self.values.partition_point(|it| it.hash < value.hash);
        self.values.insert(place, value);
        *group.values.get_or_insert_with(u64::from(value.hash), u32::default) += 1;
        if self.values.len() > limits::UNFAMILIAR_VALUES_EACH_MAX {
            let oldest = self.values.iter().map(|it| it.last).min().unwrap_or(0);
            self.values.iter().filter(|it| it.last == oldest).for_each(|it| group.lose(it.hash));
            self.values.retain(|it| it.last != oldest);
        }
    }

    /// Makes room for one value, so that it has at most so many.
    fn keep_less(&mut self, most: usize, group: &mut Group) {
        while self.values.len() >= most {
            let oldest = (0..self.values.len()).min_by_key(|it| (self.values[*it].last, self.values[*it].hash));
            let Some(oldest) = oldest else { return };
            group.lose(self.values.remove(oldest).hash);
        }
    }
}

impl Group {
    /// How many people share the rarest of these values.
    fn fewest(&self, values: &[Value]) -> u32 {
        let with = |it: &Value| self.values.get(u64::from(it.hash)).copied().unwrap_or_default();
        values.iter().map(with).min().unwrap_or(self.people).max(1)
    }

    fn lose(&mut self, hash: u32) {
        if let Some(count) = self.values.get_mut(u64::from(hash)) {
            *count -= 1;
            if *count == 0 {
                self.values.remove(u64::from(hash));
            }
        }
    }
}

impl Detector for Unfamiliar {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        self.sweep(seen.hit.release);
        let peers = (!self.settings.peers.is_empty()).then_some(self.settings.fields.len());
        let group = self.gate.group(seen, peers);
        let Some(shown) = self.show(seen, group) else { return };
        let raw = self.surprise(&shown) / PER_DEVIATION;
        let score = self.gate.score(raw);
        self.gate.learn(raw, seen.hit.release);
        if score > Budget::LEAST && !shown.new.is_empty() {
            let trip = self.tell(seen, &shown, score);
            self.gate.tell(seen, group, trip, found);
        }
    }

    fn warm(&self, soon: &Soon<'_>) {
        let last = |it: &Person| it.values.last().map_or(0, |it| u64::from(it.last));
        let warm = |whose: &[(u8, u64)]| slots::warm(whose, |_| &self.state.people, |it| u64::from(it.faded), last);
        if self.settings.whose.is_empty() {
            return warm(soon.whose);
        }
        let keys = soon.texts(self.whose_at()).map(|it| (0, self.key_of(it.unwrap_or_default())));
        warm(&keys.collect::<SmallVec<[(u8, u64); WARM_AT_ONCE]>>());
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
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::saved;
    use crate::detect::testing::{Event, told};

    const DAY: i64 = 86_400;

    fn unfamiliar() -> Unfamiliar {
        Unfamiliar::new(Settings {
            fields: vec!["source.country".into(), "source.network".into(), "device.id".into()],
            peers: String::new(),
            whose: String::new(),
            keys: HashKeys(1, 2),
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

    /// Nobody who cannot know the keys can make two names one, and writing a name in another way makes no stranger.
    #[test]
    fn whose_habits_they_are_is_known_by_a_keyed_hash() {
        let of = |keys: HashKeys, whose: &str| {
            let settings = Settings { whose: "user.name".into(), keys, ..unfamiliar().settings };
            let mut detector = Unfamiliar::new(settings);
            let event = Event::of(0, "ann 192.0.2.1", &format!("DE|3320|laptop|{whose}"));
            crate::detect::testing::feed(&mut detector, &event, 0, &mut vec![], &mut vec![]);
            detector.state.people.keys().next().unwrap()
        };
        let ann = of(HashKeys(1, 2), "ann");
        assert_eq!(ann, of(HashKeys(1, 2), " ANN"));
        assert_ne!(ann, of(HashKeys(1, 2), "bob"));
        assert_ne!(ann, of(HashKeys(1, 3), "ann"));
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
        assert_eq!(detector.state.heap, person.heap());
        assert!(size_of::<Person>() + limits::UNFAMILIAR_VALUES_EACH_MAX * size_of::<Value>() <= 272);
    }

    proptest::proptest! {
        /// The short way for what is known gives what the long way gives.
        #[test]
        fn the_short_way_changes_nothing(
            events in proptest::collection::vec((0i64..60, 0u8..4, 0u8..3, 0u8..3, 0u8..4), 1..300), late in 0usize..20,
        ) {
            let mut at = 0;
            let mut events: Vec<Event> = events
                .iter()
                .map(|(hours, who, country, network, device)| {
                    at += hours * 3600;
                    Event::of(at, &format!("user{who}"), &format!("{country}|{network}|{device}"))
                })
                .collect();
            if let Some(event) = events.get_mut(late) {
                event.time = event.time.minus(Span::from_secs(9 * DAY));
            }
            let run = |plain: bool| {
                let mut detector = Unfamiliar { plain, ..unfamiliar() };
                let (mut trips, mut lapses) = (Vec::new(), Vec::new());
                for (number, event) in events.iter().enumerate() {
                    crate::detect::testing::feed(&mut detector, event, number as u64, &mut trips, &mut lapses);
                }
                let mut people: Vec<_> = detector.state.people.iter().map(|it| format!("{:?}", saved(&it))).collect();
                people.sort();
                (format!("{trips:?}{lapses:?}"), people, detector.state.heap)
            };
            proptest::prop_assert_eq!(run(false), run(true));
        }
    }
}
