//! What is remembered of one person: where they were lately, and where they usually are.

use serde::{Deserialize, Serialize};
use smallvec::{Array, SmallVec};

use super::geometry::distance_km;
use super::spot::{Kind, Spot};
use crate::model::country::Country;
use crate::model::{Severity, Span, Timestamp};

/// Lately seen stays of each [`Kind`]. Quotas, so that a token refreshed hourly from a cloud cannot push real places out.
const STAYS_MAX: [usize; 3] = [5, 2, 3];
const PLACES_MAX: usize = 12;
const ADDRESSES_MAX: usize = 12;
const DEVICES_MAX: usize = 6;
const REPORTS_MAX: usize = 6;

/// A place counts half after that long without a visit.
const HALF_LIFE_DAYS: f64 = 21.0;
/// A place is habitual from that weight on, on as many days.
const HABIT_WEIGHT: f64 = 2.0;
const HABIT_DAYS: u16 = 2;
/// One network within that distance is one place.
const PLACE_KM: f64 = 120.0;
/// Successes of one address less than that apart are one stay.
const STAY_GAP: Span = Span::from_secs(1800);
/// So many sightings show at what hours a person is active.
const HOURS_KNOWN_FROM: u32 = 30;
const REPORT_SPAN: Span = Span::from_secs(86_400);
const DAY_MICROS: i64 = 86_400_000_000;
const DAY_SECONDS: u32 = 86_400;

/// What is remembered of one person, at most 2 KiB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The latest conflict that was told, and the gravest of its alert: whether that is still open.
    pub told: Option<(Timestamp, Severity)>,
    /// Of these, what nearly everybody has stands in the memory itself: each block elsewhere is a miss of the caches.
    pub(super) stays: SmallVec<[Stay; 1]>,
    places: SmallVec<[Habit; 1]>,
    /// Least recently used first.
    addresses: SmallVec<[Visited; 1]>,
    devices: SmallVec<[Device; 1]>,
    reports: SmallVec<[Report; 0]>,
    sightings: u32,
    days: u16,
    last_day: u16,
    places_made: u16,
    /// Days on which two habits contradicted each other: an account that two people share.
    torn_days: u16,
    last_torn_day: u16,
    /// Days with a report, fading like a habit.
    reported_weight: f32,
    last_reported: u32,
    /// How often the person was active in each hour of the day, UTC.
    hours: [u8; 24],
}

/// One address, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stay {
    pub from: Timestamp,
    pub to: Timestamp,
    pub spot: Spot,
    /// Of the first and of the last event.
    pub evidence: (u64, u64),
    /// Number of the city's name in the organisation; 0 for none.
    pub city: u32,
    pub source: u16,
    pub slack_s: u16,
    /// Number of its [`Habit`].
    pub place: u16,
    pub novelty: f32,
    pub country_error: f32,
    pub familiarity: Familiarity,
    pub kind: Kind,
    /// With a device that was never seen before.
    pub strange: bool,
    /// Lists or names say that it hides where its people are.
    pub masked: bool,
    /// A datacentre's address that nobody else is known to share: its position says little, but is not meant to deceive.
    pub hosting: bool,
    pub told: Told,
}

/// What has been said about a stay already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Told {
    Nothing,
    Mentioned,
    Reported,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Familiarity {
    New,
    /// The country is known, the network is not.
    Country,
    /// A habitual network, but not there.
    Network,
    Habit,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Habit {
    number: u16,
    asn: u32,
    country: Option<Country>,
    point: (f32, f32),
    weight: f32,
    days: u16,
    last_day: u16,
    first: u32,
    last: u32,
    visits: u16,
    /// Visits by another address than the one before.
    moves: u16,
    /// Half of it; a mistake in four thousand million is a habit of the wrong kind for a day.
    last_key: u32,
    /// Made by a reported sighting.
    quarantined: bool,
    /// Its person was somewhere else at the same time.
    torn: bool,
    /// The organisation was told of it.
    settled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Visited {
    address: u64,
    last_day: u16,
    days: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Device {
    hash: u64,
    first_day: u16,
    last: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Report {
    time: Timestamp,
    asn: u32,
    country: Option<Country>,
    severity: Severity,
}

/// How a spot fits a person's habits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    pub familiarity: Familiarity,
    /// The network is habitual, but the database now says another country.
    pub moved: bool,
    /// By that network the person came on an earlier day, wherever it seemed to be.
    pub network_seen: bool,
    /// The person is never active within an hour of that time of day.
    pub odd_hour: bool,
    /// Index of the place it belongs to.
    pub place: Option<usize>,
    pub address_known: bool,
    /// A new address at nearly every visit, as carriers give them.
    pub pooled: bool,
}

/// Days since 1970; enough until 2149.
fn day(time: Timestamp) -> u16 {
    (time.micros() / DAY_MICROS).clamp(0, i64::from(u16::MAX)) as u16
}

/// Seconds since 1970; enough until 2106. Habits need no microseconds, and thousands of memories are kept.
fn seconds(time: Timestamp) -> u32 {
    (time.micros() / 1_000_000).clamp(0, i64::from(u32::MAX)) as u32
}

fn hour(time: Timestamp) -> usize {
    (time.micros().rem_euclid(DAY_MICROS) / 3_600_000_000) as usize
}

impl Memory {
    /// A sighting that was reported turned out to be honest: its place is no longer held back.
    pub fn acquit(&mut self, asn: Option<u32>, country: Option<Country>) {
        for place in &mut self.places {
            if place.asn == asn.unwrap_or(0) && place.country == country {
                place.quarantined = false;
            }
        }
    }

    /// Reads something of each piece of it, so that all is in the caches; what it says means nothing.
    pub fn warm(&self) -> u64 {
        let stays = self.stays.iter().filter(|it| it.told == Told::Nothing).count();
        let places = self.places.iter().filter(|it| it.torn).count();
        (stays + places + self.addresses.first().map_or(0, |it| usize::from(it.days)) + self.reports.len()) as u64
    }

    /// How often the person was seen.
    pub fn sightings(&self) -> u32 {
        self.sightings
    }

    pub(super) fn is_new(&self) -> bool {
        self.sightings == 0
    }

    /// Too little is known to say what is unusual.
    pub(super) fn is_cold(&self) -> bool {
        self.days < 4 || self.sightings < 10
    }

    pub(super) fn is_shared_account(&self) -> bool {
        self.torn_days >= 3
    }

    /// Reported on three days within ten or so: somebody who changes VPN exits, or an account that people share. Either is known by
    /// now, and the fourth report would say nothing new.
    pub(super) fn is_often_reported(&self, now: Timestamp) -> bool {
        faded(self.reported_weight, self.last_reported, now) >= 2.0
    }

    pub(super) fn count_report(&mut self, now: Timestamp) {
        if self.reported_weight == 0.0 || seconds(now) / DAY_SECONDS != self.last_reported / DAY_SECONDS {
            self.reported_weight = faded(self.reported_weight, self.last_reported, now) as f32 + 1.0;
            self.last_reported = seconds(now);
        }
    }

    pub(super) fn fit(&self, spot: &Spot, time: Timestamp) -> Fit {
        let mut fit = Fit {
            familiarity: Familiarity::New,
            moved: false,
            network_seen: false,
            odd_hour: self.is_odd_hour(time),
            place: None,
            address_known: spot
                .address()
                .is_some_and(|key| self.addresses.iter().any(|it| it.address == key && it.days >= 2)),
            pooled: false,
        };
        let mut country_weight = 0.0;
        for (at, place) in self.places.iter().enumerate() {
            let weight = place.weight_at(time);
            let habitual = weight >= HABIT_WEIGHT && place.days >= HABIT_DAYS;
            // A place first seen today must not make its own excursion familiar.
            let fresh = place.days < 2 && seconds(time).saturating_sub(place.first) < DAY_SECONDS;
            fit.network_seen |= place.asn == spot.asn && spot.asn != 0 && !fresh && !place.quarantined;
            if place.country != spot.country {
                fit.moved |= place.asn == spot.asn && spot.asn != 0 && habitual;
                continue;
            }
            if !fresh {
                country_weight += weight;
            }
            if place.asn != spot.asn {
                continue;
            }
            let near = spot.vague || place.point == spot.point || distance_km(place.point, spot.point) <= PLACE_KM;
            let familiarity = match (near, habitual) {
                (true, true) => Familiarity::Habit,
                // Without a network's number, the same country is all there is.
                (false, true) if spot.asn != 0 => Familiarity::Network,
                (true, false) if !fresh => Familiarity::Country,
                _ => Familiarity::New,
            };
            if near && (fit.place.is_none() || fit.familiarity < Familiarity::Habit) {
                fit.place = Some(at);
            }
            fit.familiarity = fit.familiarity.max(familiarity);
        }
        if country_weight >= HABIT_WEIGHT {
            fit.familiarity = fit.familiarity.max(Familiarity::Country);
        }
        fit.pooled = spot.asn != 0
            && fit
                .place
                .is_some_and(|at| self.places[at].visits >= 4 && 2 * self.places[at].moves >= self.places[at].visits);
        fit
    }

    fn is_odd_hour(&self, time: Timestamp) -> bool {
        let hour = hour(time);
        !self.is_cold()
            && self.sightings >= HOURS_KNOWN_FROM
            && [23, 0, 1].iter().all(|it| self.hours[(hour + it) % 24] == 0)
    }

    fn count_hour(&mut self, time: Timestamp) {
        if self.hours[hour(time)] == u8::MAX {
            // What was rare is forgotten, or one night shift would excuse every night for good.
            self.hours.iter_mut().for_each(|it| *it /= 2);
        }
        self.hours[hour(time)] += 1;
    }

    /// The country of most of the person's habits; of equals the first seen.
    pub(super) fn home(&self) -> Option<Country> {
        let weight = |country: Option<Country>| -> f32 {
            self.places.iter().filter(|it| it.country == country).map(|it| it.weight).sum()
        };
        let mut best: Option<(f32, Option<Country>)> = None;
        for place in &self.places {
            if best.is_some_and(|it| it.1 == place.country) {
                continue;
            }
            let weight = weight(place.country);
            if best.is_none_or(|it| weight > it.0) {
                best = Some((weight, place.country));
            }
        }
        best.and_then(|it| it.1)
    }

    /// Whether the device was seen on an earlier day; None when that says nothing yet.
    pub(super) fn knows_device(&self, hash: u64, time: Timestamp) -> Option<bool> {
        let known = self.devices.iter().any(|it| it.hash == hash && it.first_day < day(time));
        if known { Some(true) } else { (!self.is_cold()).then_some(false) }
    }

    /// Notes that the place's person was somewhere else at the time.
    pub(super) fn tear(&mut self, place: u16) {
        if let Some(it) = self.places.iter_mut().find(|it| it.number == place) {
            it.torn = true;
        }
    }

    /// Notes that two habits contradict each other on that day.
    pub(super) fn tear_habits(&mut self, time: Timestamp) {
        if self.torn_days == 0 || self.last_torn_day != day(time) {
            self.last_torn_day = day(time);
            self.torn_days = self.torn_days.saturating_add(1);
        }
    }

    /// Whether a report on that network and country is due, and if so remembers it: once a day, unless it grew graver.
    pub(super) fn may_report(
        &mut self,
        asn: u32,
        country: Option<Country>,
        severity: Severity,
        now: Timestamp,
    ) -> bool {
        self.reports.retain(|it| now.since(it.time) < REPORT_SPAN);
        if self.reports.iter().any(|it| it.asn == asn && it.country == country && it.severity >= severity) {
            return false;
        }
        if self.reports.len() == REPORTS_MAX {
            self.reports.remove(0);
        }
        push(&mut self.reports, Report { time: now, asn, country, severity });
        true
    }

    /// Counts a visit. Returns the place's number, and when the visit makes it a habit, whether its person was elsewhere meanwhile.
    pub(super) fn visit(
        &mut self,
        spot: &Spot,
        time: Timestamp,
        place: Option<usize>,
        quarantined: bool,
        torn: bool,
    ) -> (u16, Option<bool>) {
        let today = day(time);
        if !quarantined {
            self.count_hour(time);
        }
        self.sightings = self.sightings.saturating_add(1);
        if self.days == 0 || today > self.last_day {
            self.days = self.days.saturating_add(1);
            self.last_day = today;
        }
        let at = place.unwrap_or_else(|| self.found(spot, time, quarantined));
        let it = &mut self.places[at];
        it.weight = it.faded(time) as f32;
        if it.days == 0 || today > it.last_day {
            it.weight += 1.0;
            it.days = it.days.saturating_add(1);
            it.last_day = today;
        } else {
            it.weight += 0.1;
        }
        it.last = it.last.max(seconds(time));
        it.torn |= torn;
        if quarantined && it.days <= 1 {
            it.quarantined = true;
        } else if it.days >= 7 {
            // A week of unchallenged use.
            it.quarantined = false;
        }
        it.visits = it.visits.saturating_add(1);
        let key = (spot.key ^ (spot.key >> 32)) as u32;
        if it.last_key != key {
            it.moves = it.moves.saturating_add(1);
            it.last_key = key;
        }
        let settled = !it.settled && !it.quarantined && it.days >= HABIT_DAYS && f64::from(it.weight) >= HABIT_WEIGHT;
        it.settled |= settled;
        (it.number, settled.then_some(it.torn))
    }

    /// Index of a new place, for which the most faded one may have to go.
    fn found(&mut self, spot: &Spot, time: Timestamp, quarantined: bool) -> usize {
        if self.places.len() == PLACES_MAX {
            let faded = |it: &Habit| it.faded(time);
            let least = (0..PLACES_MAX).min_by(|a, b| faded(&self.places[*a]).total_cmp(&faded(&self.places[*b])));
            self.places.remove(least.unwrap_or(0));
        }
        self.places_made = self.places_made.wrapping_add(1);
        let place = Habit {
            number: self.places_made,
            asn: spot.asn,
            country: spot.country,
            point: spot.point,
            weight: 0.0,
            days: 0,
            last_day: 0,
            first: seconds(time),
            last: seconds(time),
            visits: 0,
            moves: 0,
            last_key: 0,
            quarantined,
            torn: false,
            settled: false,
        };
        push(&mut self.places, place);
        self.places.len() - 1
    }

    pub(super) fn remember_address(&mut self, address: u64, time: Timestamp) {
        let today = day(time);
        match self.addresses.iter().position(|it| it.address == address) {
            Some(at) => {
                let it = &mut self.addresses[at];
                if it.last_day != today {
                    it.last_day = today;
                    it.days = it.days.saturating_add(1);
                }
                self.addresses[at..].rotate_left(1);
            }
            None => {
                if self.addresses.len() == ADDRESSES_MAX {
                    self.addresses.remove(0);
                }
                push(&mut self.addresses, Visited { address, last_day: today, days: 1 });
            }
        }
    }

    pub(super) fn remember_device(&mut self, hash: u64, time: Timestamp) {
        if let Some(it) = self.devices.iter_mut().find(|it| it.hash == hash) {
            it.last = it.last.max(seconds(time));
            return;
        }
        if self.devices.len() == DEVICES_MAX {
            let oldest = (0..DEVICES_MAX).min_by_key(|at| self.devices[*at].last);
            self.devices.remove(oldest.unwrap_or(0));
        }
        push(&mut self.devices, Device { hash, first_day: day(time), last: seconds(time) });
    }

    /// Where the person was seen by another address within half a day of that time.
    pub(super) fn elsewhere(&self, spot: &Spot, time: Timestamp) -> Option<(f32, f32)> {
        let half_a_day = Span::from_secs(12 * 3600);
        let other = |it: &&Stay| {
            it.spot.key != spot.key && it.kind == Kind::Place && time.since(it.to).max(it.to.since(time)) < half_a_day
        };
        self.stays.iter().rev().find(other).map(|it| it.spot.point)
    }

    /// Prolongs the stay at that address, or begins one. A new device then raises the stay's novelty too.
    pub(super) fn stay(&mut self, stay: Stay) {
        let time = stay.from;
        let same = |it: &&mut Stay| {
            it.spot.key == stay.spot.key
                && (it.told == Told::Reported) == (stay.told == Told::Reported)
                && time >= it.from.minus(STAY_GAP)
                && time <= it.to.plus(STAY_GAP)
        };
        if let Some(it) = self.stays.iter_mut().find(same) {
            if time < it.from {
                (it.from, it.evidence.0) = (time, stay.evidence.0);
            }
            if time > it.to {
                (it.to, it.evidence.1) = (time, stay.evidence.1);
            }
            it.told = it.told.max(stay.told);
            if stay.strange {
                it.strange = true;
                it.novelty = it.novelty.max(stay.novelty);
            }
            return;
        }
        let of_kind = |it: &&Stay| it.kind == stay.kind;
        if self.stays.iter().filter(of_kind).count() == STAYS_MAX[stay.kind as usize] {
            let oldest = (0..self.stays.len())
                .filter(|at| self.stays[*at].kind == stay.kind)
                .min_by_key(|at| self.stays[*at].to);
            if let Some(at) = oldest {
                if self.stays[at].to > stay.to {
                    return;
                }
                self.stays.remove(at);
            }
        }
        push(&mut self.stays, stay);
    }
}

impl Habit {
    fn faded(&self, time: Timestamp) -> f64 {
        faded(self.weight, self.last, time)
    }

    /// Its weight as evidence of habit.
    fn weight_at(&self, time: Timestamp) -> f64 {
        self.faded(time) * if self.quarantined { 0.25 } else { 1.0 }
    }
}

/// What is left of a weight.
fn faded(weight: f32, since: u32, now: Timestamp) -> f64 {
    let days = f64::from(seconds(now).saturating_sub(since)) / f64::from(DAY_SECONDS);
    f64::from(weight) * (-days / HALF_LIFE_DAYS).exp2()
}

/// Grows one at a time: the lists are short and full soon, and thousands of them are kept.
fn push<A: Array>(list: &mut SmallVec<A>, it: A::Item) {
    if list.len() == list.capacity() {
        list.reserve_exact(1);
    }
    list.push(it);
}

impl Memory {
    /// Bytes it occupies.
    pub fn bytes(&self) -> usize {
        fn of<A: Array>(list: &SmallVec<A>) -> usize {
            if list.spilled() { list.capacity() * size_of::<A::Item>() } else { 0 }
        }
        size_of::<Memory>()
            + of(&self.stays)
            + of(&self.places)
            + of(&self.addresses)
            + of(&self.devices)
            + of(&self.reports)
    }
}
