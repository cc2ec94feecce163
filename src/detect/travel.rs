//! One person in two places.
//!
//! The usual rule divides the distance of two sign-ins by the time between them and compares with 900 km/h. It fires hundreds
//! of times a day for a thousand people, because an address's position is a guess: company gateways, carriers, VPNs and
//! plain database errors move people over continents within a second. So the question here is not "how fast?" but "how
//! likely is it that one honest person made both?", and four things answer it:
//!
//! 1. **Geometry** ([`geometry`]): the chance that two databases are both right enough for the pair to be impossible,
//!    from measured errors; and for events that only name a country, from the least distance between people of the two.
//! 2. **Kind of network** ([`organisation`]): a gateway, VPN or cloud is never *where*; a SIM is weak evidence of it.
//! 3. **Novelty**: a place where this person is most days accuses nobody. The less familiar of the two is the
//!    suspect, whichever came first, and a known device speaks for it.
//! 4. **Both sides**: a late event is compared with what came before and after it, so order of arrival does not matter.
//!
//! # With little history
//!
//! A person without habits in an organisation that is known: usually a new colleague on a strange gateway. The pair is
//! shown and pages nobody ([`Travel::cold`]). The same holds for somebody who was reported three times within ten days or so.
//!
//! An organisation that is not known yet (its first five days, or fewer than 200 sightings: every sample log): staying silent
//! there would mean that the first thing anybody tries shows nothing. So pairs that the gap between the two
//! countries alone makes impossible, by networks that claim to be places, are reported as medium even for two first events;
//! nothing is more than medium, since gateways are not known yet; and nothing reported then is held against the place
//! later on. Datacentre and SIM addresses are compared as well, and shown as low. Everything else waits.

//! # Measured
//!
//! Four simulated organisations of 2,000 people with 28 days, 1.4 million successes and 209 takeovers, which were not used for
//! tuning. A false page is one of medium or more that names no event of a takeover, by person and day, after the first week.
//!
//! | what the log has | precision | recall | false pages a day for 1,000 people |
//! | --- | --- | --- | --- |
//! | everything | 0.86 | 0.65 | 0.14 |
//! | no device (two organisations) | 0.61 | 0.33 | 0.26 |
//! | no device, no lists, no network names (two) | 0.34 | 0.31 | 0.8 |
//! | address and country, nothing else (two) | 0.04 | 0.43 | 12 |
//! | everything, and the rule "faster than 900 km/h" | 0.003 | 0.81 | 369 |
//!
//! So the database of network numbers is worth more than the one of cities. 0.65 µs a sighting on one core; 1.5 KiB a person,
//! most of it places; at most 2 KiB.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::model::country::Country;
use crate::model::{Severity, Span, Timestamp};

pub mod geometry;
mod memory;
mod organisation;
mod story;
#[cfg(test)]
mod vectors;

use geometry::{distance_km, error_tail, fastest, reach_km};
pub use memory::Memory;
use memory::{Familiarity, Fit, Stay, Told};
pub use organisation::Organisation;
use organisation::{Person, View};

/// What a rule may set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Travel {
    /// At most so severe is what a person without habits does in a known organisation. `Info`: nothing is reported.
    pub cold: Severity,
    /// How long an organisation is learned.
    pub learn: Span,
}

impl Default for Travel {
    fn default() -> Travel {
        Travel { cold: Severity::Low, learn: Span::from_secs(5 * 86_400) }
    }
}

/// One success of one person: what the line and the geo databases say. Failures place nobody and must not come here.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sighting<'a> {
    pub time: Timestamp,
    /// How exact `time` is: 1 s, or 60 s for logs that write minutes.
    pub resolution: Span,
    pub source: u16,
    pub address: Option<IpAddr>,
    pub country: Option<Country>,
    /// Used in sentences only.
    pub city: Option<&'a str>,
    /// Latitude and longitude in degrees.
    pub point: Option<(f32, f32)>,
    pub radius_km: Option<f32>,
    pub asn: Option<u32>,
    pub as_name: Option<&'a str>,
    pub network: NetworkClass,
    /// A hash that is the same in every process.
    pub device: Option<u64>,
    /// The caller's own number of the line; handed back.
    pub evidence: u64,
}

/// What lists say of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NetworkClass {
    #[default]
    Unknown,
    Hosting,
    Vpn,
    Relay,
    Tor,
    Satellite,
    Mobile,
}

/// Two sightings that one person can hardly have made.
#[derive(Clone, PartialEq, Debug)]
pub struct Conflict {
    /// The less familiar one, whichever came first.
    pub suspect: Seen,
    pub other: Seen,
    /// Between the two points; for countries, between their centres.
    pub distance_km: f64,
    /// What remains of it when radii are taken off, or the gap between the countries, whichever is more.
    pub certain_km: f64,
    pub elapsed: Span,
    /// The least time that `certain_km` takes.
    pub fastest: Span,
    /// That the two were not made by one honest person.
    pub probability: f64,
    /// High from 0.85, medium from 0.60, low from 0.20.
    pub severity: Severity,
    /// Three others were reported on the suspect's network within 72 h: one story about the network. Severity is low then.
    pub grouped: bool,
    pub story: String,
    pub because: Map<String, Value>,
}

/// One side of a conflict.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    pub time: Timestamp,
    pub city: Option<String>,
    pub country: Option<Country>,
    /// None when only the country is known.
    pub point: Option<(f32, f32)>,
    pub radius_km: f32,
    pub asn: Option<u32>,
    pub as_name: Option<String>,
    pub evidence: u64,
}

/// The time in which a person can get anywhere. Older sightings contradict nothing.
const WINDOW: Span = Span::from_secs(22 * 3600);
/// An unplaced network says "active", for so long.
const ACTIVE: Span = Span::from_secs(2 * 3600);
/// Clocks of one source, and of two, may be that far apart.
const SKEW_ONE_SOURCE: Span = Span::from_secs(2);
const SKEW_TWO_SOURCES: Span = Span::from_secs(120);

/// What databases without radius deserve: their measured tail (23 km, 0.65) is nearest to that of this radius.
const RADIUS_UNKNOWN_KM: f32 = 50.0;
/// From here on a point is only the middle of a country.
const RADIUS_COUNTRY_KM: f32 = 900.0;
/// A carrier's gateway serves a region.
const RADIUS_SIM_KM: f32 = 120.0;

/// How often the country is wrong: 99.2 % of addresses outside of datacentres have the same one in two databases.
const COUNTRY_ERROR: f32 = 0.0042;
const COUNTRY_ERROR_OFFICE: f32 = 0.05;
const COUNTRY_ERROR_HOSTING: f32 = 0.12;
/// A SIM abroad goes out at home, and a travel SIM anywhere.
const COUNTRY_ERROR_SIM: f32 = 0.85;

const IMPOSSIBLE: f64 = 0.99;

/// Where a sighting is, or pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Spot {
    point: (f32, f32),
    radius_km: f32,
    /// Only the country is known; `point` is its centre.
    vague: bool,
    country: Option<Country>,
    /// 0: not known. The number is reserved.
    asn: u32,
    /// The address, IPv6 by /64, as a number; a stand-in where there is none.
    key: u64,
    family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Family {
    None,
    V4,
    V6,
}

/// What a network says about the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Place,
    Sim,
    /// Nothing.
    Unplaced,
}

/// Two stays that do not fit together.
#[derive(Clone, Copy)]
struct Pair {
    suspect: Stay,
    other: Stay,
    suspect_is_new: bool,
    weight: Weight,
    elapsed: Span,
    score: f64,
}

#[derive(Clone, Copy)]
struct Weight {
    /// That one traveller cannot have made both.
    impossible: f64,
    /// The positions were weighed. Otherwise one of them says nothing.
    by_position: bool,
    /// The gap between countries alone makes it impossible.
    by_country: bool,
    distance_km: f64,
    gap_km: f64,
}

/// How far datacentres and SIMs are believed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doubt {
    Usual,
    /// Nothing is known of the organisation, and no two colleagues use the network: it is as good as any.
    Benefit,
}

impl Travel {
    /// Takes in one success of the person that `memory` is about. `user_hash` must be the same in every process. `now` is when
    /// the engine speaks of it: later than the sighting for a late one. Nothing that has no place (private
    /// addresses, unknown countries) is remembered.
    pub fn observe(
        &self,
        memory: &mut Memory,
        organisation: &mut Organisation,
        user_hash: u64,
        sighting: Sighting<'_>,
        now: Timestamp,
    ) -> Option<Conflict> {
        self.observe_and(memory, organisation, user_hash, sighting, now, story::conflict)
    }

    /// The same where an alert is open already, which only counts: whether there was a conflict. Nothing is put to words,
    /// which costs ten times what finding it does.
    pub fn observe_open(
        &self,
        memory: &mut Memory,
        organisation: &mut Organisation,
        user_hash: u64,
        sighting: Sighting<'_>,
        now: Timestamp,
    ) -> bool {
        self.observe_and(memory, organisation, user_hash, sighting, now, |_, _, _, _, _| ()).is_some()
    }

    fn observe_and<T>(
        &self,
        memory: &mut Memory,
        organisation: &mut Organisation,
        user_hash: u64,
        sighting: Sighting<'_>,
        now: Timestamp,
        tell: impl FnOnce(&Pair, Verdict, &Organisation, Person, bool) -> T,
    ) -> Option<T> {
        let spot = Spot::of(&sighting)?;
        let time = sighting.time;
        let now = now.max(time);
        let person = Person { id: (user_hash ^ (user_hash >> 32)) as u32, is_new: memory.is_new(), now };
        let learning = organisation.is_learning(self.learn, now);
        let view = organisation.view(&spot, &sighting, person);
        let fit = memory.fit(&spot, time);
        let device_known = sighting.device.and_then(|it| memory.knows_device(it, time));
        let cold = memory.is_cold();
        let novelty = novelty(&view, &fit, device_known, cold);
        let city = sighting.city.filter(|it| !it.is_empty()).map_or(0, |it| organisation.remember_name(it));
        let mut stay = stay(spot, &sighting, &view, &fit, novelty, city);

        let few = view.colleagues.is_none_or(|it| it < 3) && !view.shared;
        let doubt = if learning && few { Doubt::Benefit } else { Doubt::Usual };
        let mut worst: Option<Pair> = None;
        let mut torn = false;
        for at in 0..memory.stays.len() {
            let Some(mut pair) = compare(&stay, &memory.stays[at], memory, doubt) else { continue };
            if pair.weight.impossible >= 0.5 && pair.suspect.kind != Kind::Unplaced {
                if pair.suspect_is_new {
                    torn = true;
                } else {
                    memory.tear(pair.suspect.place);
                }
                if pair.suspect.familiarity == Familiarity::Habit && pair.other.familiarity == Familiarity::Habit {
                    memory.tear_habits(time);
                }
            }
            pair.score = score(&pair, memory);
            if worst.is_none_or(|it| pair.score > it.score) {
                worst = Some(pair);
            }
        }
        let often = memory.is_often_reported(now);
        let baseline = Baseline { cold, learning, often };
        let verdict = worst.and_then(|it| self.judge(&it, baseline).map(|verdict| (it, verdict)));
        let mut conflict = None;
        let mut quarantined = false;
        if let Some((pair, mut verdict)) = verdict {
            let suspect = pair.suspect.spot;
            if verdict.severity >= Severity::Medium && organisation.belongs_to_group(suspect.network(), person) {
                verdict = Verdict { severity: Severity::Low, grouped: true, ..verdict };
            }
            let paged = verdict.severity >= Severity::Medium;
            if paged {
                memory.count_report(now);
            }
            quarantined = paged && pair.suspect_is_new && !learning;
            let mentioned = pair.suspect.told.max(pair.other.told) == Told::Mentioned;
            let told = if paged { Told::Reported } else { Told::Mentioned };
            if pair.suspect_is_new {
                stay.told = told;
            } else if let Some(it) = memory.stays.iter_mut().find(|it| **it == pair.suspect) {
                it.told = it.told.max(told);
            }
            if (paged || !mentioned) && memory.may_report(suspect.asn, suspect.country, paged, now) {
                conflict = Some(tell(&pair, verdict, organisation, person, learning));
            }
        }

        let elsewhere = if view.masked { None } else { memory.elsewhere(&spot, time) };
        let (place, settled) = memory.visit(&spot, time, fit.place, quarantined, torn);
        stay.place = place;
        organisation.count();
        if let Some(contradicted) = settled {
            organisation.settle(spot.asn, contradicted);
        }
        // What was reported teaches nothing, or five successful attacks from one server would make it a gateway.
        if !quarantined {
            organisation.learn(&spot, person, fit.place.is_none(), elsewhere);
            if let Some(address) = spot.address() {
                memory.remember_address(address, time);
            }
            if let Some(device) = sighting.device {
                memory.remember_device(device, time);
            }
        }
        memory.stay(stay, device_known == Some(false));
        conflict
    }

    /// What a pair is worth telling; None when it is not.
    fn judge(&self, pair: &Pair, baseline: Baseline) -> Option<Verdict> {
        let no_habits = baseline.cold && pair.other.familiarity < Familiarity::Network;
        let obvious =
            pair.weight.by_country && (pair.suspect.spot.asn == 0 || pair.suspect.spot.asn != pair.other.spot.asn);
        let most = match (baseline.learning, no_habits) {
            _ if baseline.often => Severity::Low,
            (true, true) if !obvious => self.cold.min(Severity::Medium),
            (true, _) => Severity::Medium,
            (false, true) => self.cold,
            (false, false) => Severity::High,
        };
        let probability = (1.0 / (1.0 + (-pair.score).exp())).min(match most {
            Severity::Info => 0.19,
            Severity::Low => 0.475,
            Severity::Medium => 0.84,
            Severity::High | Severity::Critical => 1.0,
        });
        let severity = match probability {
            0.85.. => Severity::High,
            0.60.. => Severity::Medium,
            0.20.. => Severity::Low,
            _ => return None,
        };
        Some(Verdict { probability, severity, grouped: false })
    }
}

/// What a judgement can rest on.
#[derive(Clone, Copy)]
struct Baseline {
    /// The person is hardly known.
    cold: bool,
    /// The organisation is hardly known.
    learning: bool,
    /// The person was reported again and again.
    often: bool,
}

#[derive(Clone, Copy)]
struct Verdict {
    probability: f64,
    severity: Severity,
    grouped: bool,
}

impl Spot {
    /// None for a sighting that is nowhere.
    fn of(sighting: &Sighting<'_>) -> Option<Spot> {
        let exact = sighting.point.filter(|(lat, lon)| {
            // 0°, 0° is no place but a default, and so is the middle of the United States.
            lat.abs() <= 90.0 && lon.abs() <= 180.0 && (*lat, *lon) != (0.0, 0.0) && (*lat, *lon) != (37.751, -97.822)
        });
        let radius_km = sighting.radius_km.filter(|it| *it >= 0.0).unwrap_or(RADIUS_UNKNOWN_KM);
        let asn = sighting.asn.unwrap_or(0);
        let (point, radius_km, vague) = match exact {
            Some(point) if radius_km < RADIUS_COUNTRY_KM => (point, radius_km, false),
            _ => (sighting.country?.centre()?, sighting.country?.radius_km(), true),
        };
        let (key, family) = match sighting.address.map(|it| it.to_canonical()) {
            // Under ffff::/16, which is multicast and nobody's own.
            Some(IpAddr::V4(it)) => (0xffff_ffff_0000_0000 | u64::from(it.to_bits()), Family::V4),
            Some(IpAddr::V6(it)) => ((it.to_bits() >> 64) as u64, Family::V6),
            None => {
                let whole = |it: f32| u64::from(it.round() as i16 as u16 & 0x1ff);
                (0x3ffe << 50 | whole(point.0) << 41 | whole(point.1) << 32 | u64::from(asn), Family::None)
            }
        };
        Some(Spot { point, radius_km, vague, country: sighting.country, asn, key, family })
    }

    fn address(&self) -> Option<u64> {
        (self.family != Family::None).then_some(self.key)
    }

    /// What reports are grouped by: the network in that country; without its number, the address.
    fn network(&self) -> u64 {
        let country = self.country.map_or(0, |it| {
            let code = it.code().as_bytes();
            u64::from(code[0]) << 8 | u64::from(code[1])
        });
        if self.asn == 0 { self.key } else { country << 32 | u64::from(self.asn) }
    }
}

/// How odd a sighting is for the person, and then for everybody.
fn novelty(view: &View, fit: &Fit, device_known: Option<bool>, cold: bool) -> f32 {
    let mut points: f32 = match fit.familiarity {
        _ if fit.address_known => -4.0,
        Familiarity::Habit => -4.0,
        Familiarity::Network => -2.0,
        _ if fit.moved => -1.0,
        Familiarity::Country => 0.5,
        Familiarity::New => 2.5,
    };
    if cold {
        points = points.min(1.0);
    }
    points += match view.colleagues {
        _ if view.shared => -5.0,
        None => 0.0,
        Some(0) => 1.0,
        // That it is popular with colleagues elsewhere excuses little.
        Some(_) if view.popular && fit.familiarity > Familiarity::New => -1.5,
        Some(3..) => -0.5,
        Some(_) => 0.0,
    };
    if view.hosting && fit.familiarity < Familiarity::Network {
        points += 0.5;
    }
    if view.satellite {
        points -= 3.0;
    }
    points
        + match device_known {
            Some(true) => -2.5,
            Some(false) => 2.0,
            None => 0.0,
        }
}

fn stay(mut spot: Spot, sighting: &Sighting<'_>, view: &View, fit: &Fit, novelty: f32, city: u32) -> Stay {
    let sim = view.carrier || !view.office && (fit.pooled || view.pooled);
    let unshared = !view.shared || view.office || sim;
    let kind = match () {
        () if view.masked || view.hosting || !unshared => Kind::Unplaced,
        () if sim => Kind::Sim,
        () => Kind::Place,
    };
    if sim {
        spot.radius_km = spot.radius_km.max(RADIUS_SIM_KM);
    }
    let hosting = view.hosting && !view.masked && unshared;
    Stay {
        from: sighting.time,
        to: sighting.time,
        spot,
        evidence: (sighting.evidence, sighting.evidence),
        city,
        source: sighting.source,
        slack_s: (sighting.resolution.micros() / 1_000_000).clamp(0, 3600) as u16,
        place: 0,
        novelty,
        country_error: match () {
            () if hosting => COUNTRY_ERROR_HOSTING,
            () if view.office => COUNTRY_ERROR_OFFICE,
            () => COUNTRY_ERROR,
        },
        familiarity: fit.familiarity,
        kind,
        hosting,
        told: Told::Nothing,
    }
}

/// How a new stay and one of the ring fit together; None when they do.
fn compare(new: &Stay, old: &Stay, memory: &Memory, doubt: Doubt) -> Option<Pair> {
    // The return trip of an attack is the victim; what was reported accuses nobody any more.
    if new.spot.key == old.spot.key || old.told == Told::Reported {
        return None;
    }
    let elapsed = new.from.since(old.to).max(old.from.since(new.from));
    if elapsed > WINDOW {
        return None;
    }
    // Dual stack: an operator's two families are located apart from each other, often badly.
    let (a, b) = (new.spot.family, old.spot.family);
    if new.spot.asn == old.spot.asn && new.spot.asn != 0 && a != b && a != Family::None && b != Family::None {
        return None;
    }
    let suspect_is_new = match new.novelty.total_cmp(&old.novelty) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => new.from >= old.from,
    };
    let (suspect, other) = if suspect_is_new { (new, old) } else { (old, new) };
    let placed = |it: &Stay| it.kind != Kind::Unplaced || doubt == Doubt::Benefit && it.hosting;
    let weight = if placed(suspect) && placed(other) {
        geometry(suspect, other, elapsed, memory, doubt)?
    } else {
        // Where one of them is says nothing. That the suspect is new says something, when the person is otherwise at home.
        if suspect.familiarity > Familiarity::New || other.familiarity < Familiarity::Network {
            return None;
        }
        let impossible = match (suspect.kind, other.kind) {
            (Kind::Unplaced, _) => 0.5,
            _ if elapsed <= ACTIVE => 0.15,
            _ => return None,
        };
        let distance_km = distance_km(suspect.spot.point, other.spot.point);
        Weight { impossible, by_country: false, distance_km, gap_km: 0.0, by_position: false }
    };
    Some(Pair { suspect: *suspect, other: *other, suspect_is_new, weight, elapsed, score: 0.0 })
}

/// What the positions alone say; None when a traveller can have made both.
fn geometry(suspect: &Stay, other: &Stay, elapsed: Span, memory: &Memory, doubt: Doubt) -> Option<Weight> {
    let (a, b) = (&suspect.spot, &other.spot);
    let mut errors = (suspect.country_error, other.country_error);
    let sim = suspect.kind == Kind::Sim || other.kind == Kind::Sim;
    if a.country == b.country {
        // A carrier's gateway may be anywhere in its country.
        if sim || a.point == b.point {
            return None;
        }
    } else if sim {
        let error = match doubt {
            Doubt::Usual => COUNTRY_ERROR_SIM,
            Doubt::Benefit => COUNTRY_ERROR_HOSTING,
        };
        if other.kind == Kind::Sim {
            errors.1 = errors.1.max(error);
        }
        let other_at_home = other.familiarity >= Familiarity::Network && b.country == memory.home();
        if suspect.kind == Kind::Sim && !other_at_home {
            errors.0 = errors.0.max(error);
        }
    }
    let skew = if suspect.source == other.source { SKEW_ONE_SOURCE } else { SKEW_TWO_SOURCES };
    let coarse = Span::from_secs(i64::from(suspect.slack_s.max(other.slack_s)));
    let reach = reach_km(Span::from_micros(elapsed.micros() + skew.micros() + coarse.micros()));
    let right = f64::from((1.0 - errors.0) * (1.0 - errors.1));
    let distance_km = distance_km(a.point, b.point);
    let mut weight = Weight { impossible: 0.0, by_country: false, distance_km, gap_km: 0.0, by_position: true };
    let beyond = distance_km - reach;
    if !a.vague && !b.vague && beyond > 0.0 {
        weight.impossible = right * (1.0 - error_tail(beyond, a.radius_km)) * (1.0 - error_tail(beyond, b.radius_km));
    }
    if let (Some(x), Some(y)) = (a.country, b.country)
        && x != y
    {
        weight.gap_km = Country::gap_km(x, y);
        let by_country = right * ((weight.gap_km - reach) / (0.15 * weight.gap_km + 50.0)).clamp(0.0, 1.0);
        weight.by_country = by_country >= IMPOSSIBLE;
        weight.impossible = weight.impossible.max(by_country);
    }
    (weight.impossible >= 0.1).then_some(weight)
}

impl Pair {
    /// At least so far apart.
    fn certain_km(&self) -> f64 {
        let (a, b) = (&self.suspect.spot, &self.other.spot);
        let clear = self.weight.distance_km - f64::from(a.radius_km) - f64::from(b.radius_km);
        if a.vague || b.vague { self.weight.gap_km } else { clear.max(self.weight.gap_km) }
    }
}

/// Log odds that the two were not one honest person.
fn score(pair: &Pair, memory: &Memory) -> f64 {
    let (suspect, other) = (&pair.suspect, &pair.other);
    let odds = pair.weight.impossible / (1.0 - pair.weight.impossible).max(1e-3);
    let mut score = -3.0 + odds.ln().min(4.0) + f64::from(suspect.novelty);
    if other.familiarity < Familiarity::Network {
        score -= 1.0;
    }
    if suspect.spot.asn == other.spot.asn && suspect.spot.asn != 0 {
        score -= 2.0;
    }
    if memory.is_shared_account() {
        score -= 2.0;
    }
    // The person is there before and after: nobody went and came back.
    let there = |it: &&Stay| it.spot.key == other.spot.key;
    let before = memory.stays.iter().filter(there).any(|it| it.from < suspect.from);
    let after =
        memory.stays.iter().filter(there).any(|it| it.to > suspect.to) || !pair.suspect_is_new && other.to > suspect.to;
    if before && after && suspect.kind != Kind::Unplaced {
        score += 1.0;
    }
    score
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

    use super::*;

    /// One event: `day/hh:mm:ss` (or `hh:mm:ss`), country, then in any order an address, `@lat,lon`, `±radius`, `AS7`,
    /// `name:X`, `city:X`, `dev:X`, a network class.
    fn sighting(line: &str, evidence: u64) -> Sighting<'_> {
        let (day, clock) = line.split_once(' ').unwrap().0.split_once('/').unwrap_or(("0", line));
        let seconds: i64 =
            clock.split([' ', ':']).zip([3600, 60, 1]).map(|(it, unit)| it.parse::<i64>().unwrap() * unit).sum();
        let mut it = Sighting {
            time: Timestamp::from_micros((1_772_409_600 + day.parse::<i64>().unwrap() * 86_400 + seconds) * 1_000_000),
            resolution: Span::from_secs(1),
            source: 0,
            address: None,
            country: None,
            city: None,
            point: None,
            radius_km: None,
            asn: None,
            as_name: None,
            network: NetworkClass::Unknown,
            device: None,
            evidence,
        };
        for word in line.split(' ').skip(1) {
            if let Some(point) = word.strip_prefix('@') {
                it.point = point.split_once(',').map(|(lat, lon)| (lat.parse().unwrap(), lon.parse().unwrap()));
            } else if let Some(radius) = word.strip_prefix('±') {
                it.radius_km = Some(radius.parse().unwrap());
            } else if let Some(asn) = word.strip_prefix("AS") {
                it.asn = Some(asn.parse().unwrap());
            } else if let Some(name) = word.strip_prefix("name:") {
                it.as_name = Some(name);
            } else if let Some(city) = word.strip_prefix("city:") {
                it.city = Some(city);
            } else if let Some(device) = word.strip_prefix("dev:") {
                it.device = Some(device.parse().unwrap());
            } else if word == "hosting" {
                it.network = NetworkClass::Hosting;
            } else if word == "vpn" {
                it.network = NetworkClass::Vpn;
            } else if word == "minutes" {
                it.resolution = Span::from_secs(60);
            } else if word.contains(['.', ':']) {
                it.address = Some(word.parse().unwrap());
            } else {
                it.country = Some(Country::find(word).unwrap());
            }
        }
        it
    }

    /// Feeds lines of one person to an organisation that knows nothing. A conflict is shown as `severity suspect>other`, by number
    /// of the line.
    fn run(lines: &[&str]) -> (Vec<String>, Vec<Conflict>) {
        let (travel, mut memory, mut organisation) = (Travel::default(), Memory::default(), Organisation::default());
        let mut conflicts = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let it = sighting(line, at as u64 + 1);
            conflicts.extend(travel.observe(&mut memory, &mut organisation, 42, it, it.time));
        }
        let shown = |it: &Conflict| format!("{} {}>{}", it.severity.name(), it.suspect.evidence, it.other.evidence);
        (conflicts.iter().map(shown).collect(), conflicts)
    }

    fn check(lines: &[&str], expected: &[&str]) {
        assert_eq!(run(lines).0, expected, "{lines:#?}");
    }

    #[test]
    fn a_log_without_history() {
        // Country names and nothing else: shown at once, once, and the return trip accuses nobody.
        check(&["10:00:00 US 8.8.8.8", "10:10:00 BR 9.9.9.9"], &["medium 2>1"]);
        check(&["10:00:00 US", "10:10:00 BR"], &["medium 2>1"]);
        check(
            &["10:00:00 US 8.8.8.8", "10:10:00 BR 9.9.9.9", "10:20:00 US 8.8.8.8", "10:30:00 BR 9.9.9.9"],
            &["medium 2>1"],
        );
        check(&["10:10:00 BR 9.9.9.9", "10:00:00 US 8.8.8.8"], &["medium 1>2"]);
        check(&["10:00:00 US 8.8.8.8", "10:00:00 BR 9.9.9.9 minutes"], &["medium 2>1"]);
        check(&["10:00:00 US 8.8.8.8 AS1", "10:10:00 BR 9.9.9.9 AS2"], &["medium 2>1"]);
        // A third country is a second story.
        check(&["10:00:00 US 1.1.1.1", "10:10:00 BR 2.2.2.2", "10:20:00 JP 3.3.3.3"], &["medium 2>1", "medium 3>1"]);
        // Neighbours, feasible flights, one address in two countries, nothing to place.
        check(&["10:00:00 US 8.8.8.8", "10:05:00 CA 9.9.9.9"], &[]);
        check(&["10:00:00 FR 8.8.8.8", "10:01:00 DE 9.9.9.9"], &[]);
        check(&["10:00:00 US 8.8.8.8", "21:00:00 BR 9.9.9.9"], &[]);
        check(&["10:00:00 US 8.8.8.8", "2/10:00:00 BR 9.9.9.9"], &[]);
        check(&["10:00:00 US 8.8.8.8", "10:10:00 BR 8.8.8.8"], &[]);
        check(&["10:00:00 US 8.8.8.8", "10:00:00 BR ::ffff:8.8.8.8"], &[]);
        check(&["10:00:00 US 8.8.8.8", "10:05:00 10.0.0.1", "10:10:00 US 8.8.8.8"], &[]);
        check(&["10:00:00 US 8.8.8.8", "10:05:00 10.0.0.1", "10:10:00 BR 9.9.9.9"], &["medium 3>1"]);
        // Inside one country only the point speaks, and the point is weak.
        check(&["10:00:00 US 8.8.8.8 @40.71,-74.01 ±5", "10:10:00 US 9.9.9.9 @37.75,-122.4 ±5"], &["low 2>1"]);
        check(&["10:00:00 US 8.8.8.8 @40.71,-74.01 ±5", "10:10:00 US 9.9.9.9 @37.751,-97.822"], &[]);
        // One operator is located twice.
        check(&["10:00:00 US 8.8.8.8 AS7", "10:00:01 BR 2001:db8::1 AS7"], &[]);
        check(&["10:00:00 US 8.8.8.8 AS7", "10:10:00 BR 9.9.9.9 AS7"], &["low 2>1"]);
        // A datacentre is doubted and shown; a VPN is never where.
        check(&["10:00:00 US 8.8.8.8", "10:10:00 BR 9.9.9.9 hosting"], &["low 2>1"]);
        check(&["10:00:00 US 8.8.8.8", "10:10:00 BR 9.9.9.9 AS5 name:Claro-Mobile"], &["low 2>1"]);
        check(&["10:00:00 US 8.8.8.8", "10:10:00 BR 9.9.9.9 vpn"], &[]);
    }

    #[test]
    fn the_sentence_shows_the_sum() {
        for (lines, expected) in [
            (
                ["10:00:00 US 8.8.8.8", "10:10:00 BR 9.9.9.9"],
                "United States → Brazil, at least 3,000 km apart, in 10m; the fastest way takes 3h 54m; neither is usual for this person",
            ),
            (
                [
                    "10:00:00 BR 8.8.8.8 @-23.55,-46.63 ±20 city:Sampa AS1",
                    "10:41:00 NO 9.9.9.9 @59.91,10.75 ±20 city:Oslo AS2 name:Fjordnet",
                ],
                "Sampa → Oslo, 10,600 km apart (at least 10,500), in 41m; the fastest way takes 11h 54m; neither is \
                 usual for this person, and nobody else here uses Fjordnet",
            ),
        ] {
            let (_, conflicts) = run(&lines);
            assert_eq!(conflicts[0].story, expected);
            let because = &conflicts[0].because;
            assert_eq!(because["kind"], "travel");
            assert_eq!(because["suspect"]["country"], conflicts[0].suspect.country.unwrap().code());
            assert!(!because["suspect"].as_object().unwrap().values().any(Value::is_null), "{because:?}");
        }
    }

    #[test]
    fn a_setting_decides_what_a_person_without_habits_is_worth() {
        for (cold, expected) in
            [(Severity::Info, None), (Severity::Low, Some(Severity::Low)), (Severity::High, Some(Severity::Medium))]
        {
            let travel = Travel { cold, ..Travel::default() };
            let (mut memory, mut organisation) = (Memory::default(), known_organisation());
            let mut found = None;
            for line in ["20/10:00:00 US 8.8.8.8", "20/10:10:00 BR 9.9.9.9"] {
                let it = sighting(line, 0);
                found = found.or(travel.observe(&mut memory, &mut organisation, 42, it, it.time));
            }
            assert_eq!(found.map(|it| it.severity), expected);
        }
    }

    /// Twenty days of one colleague who stays at home.
    fn known_organisation() -> Organisation {
        let (travel, mut memory, mut organisation) = (Travel::default(), Memory::default(), Organisation::default());
        for hour in 0..480 {
            let mut it = sighting("00:00:00 SE 7.7.7.7", 0);
            it.time = it.time.plus(Span::from_secs(hour * 3600));
            assert_eq!(travel.observe(&mut memory, &mut organisation, 7, it, it.time), None);
        }
        organisation
    }

    #[test]
    fn three_others_on_one_network_make_a_group() {
        let (travel, mut organisation) = (Travel::default(), Organisation::default());
        let mut found = Vec::new();
        for person in 0..5 {
            let mut memory = Memory::default();
            for line in ["10:00:00 US AS1", "10:10:00 BR 9.9.9.9 AS2"] {
                let it = sighting(line, 0);
                let conflict = travel.observe(&mut memory, &mut organisation, person, it, it.time);
                found.extend(conflict.map(|it| (it.severity.name(), it.grouped)));
            }
        }
        assert_eq!(found, [("medium", false), ("medium", false), ("medium", false), ("low", true), ("low", true)]);
    }

    #[test]
    fn the_fourth_report_says_nothing_new() {
        let (travel, mut memory, mut organisation) = (Travel::default(), Memory::default(), known_organisation());
        let mut found = Vec::new();
        for day in 0..12 {
            let exit = ["BR", "JP", "NG", "CL", "FJ", "ZA"][day % 6];
            let lines =
                [format!("{}/10:00:00 SE 8.8.8.8", 20 + day), format!("{}/10:10:00 {exit} 9.9.9.{day}", 20 + day)];
            for (at, line) in lines[..if day < 6 { 1 } else { 2 }].iter().enumerate() {
                let it = sighting(line, at as u64);
                found.extend(
                    travel.observe(&mut memory, &mut organisation, 1, it, it.time).map(|it| it.severity.name()),
                );
            }
        }
        assert_eq!(found, ["high", "high", "high", "low", "low", "low"]);
    }

    #[test]
    fn what_was_reported_becomes_usual_only_when_somebody_says_so() {
        for (acquitted, expected) in [(false, Familiarity::Country), (true, Familiarity::Habit)] {
            let (travel, mut memory, mut organisation) = (Travel::default(), Memory::default(), known_organisation());
            let mut reports = 0;
            for day in 20..28 {
                for line in [format!("{day}/10:00:00 SE 8.8.8.8 AS1"), format!("{day}/10:10:00 BR 9.9.9.{day} AS2")] {
                    if day < 25 && line.contains("BR") {
                        continue;
                    }
                    let it = sighting(&line, 0);
                    reports += usize::from(travel.observe(&mut memory, &mut organisation, 1, it, it.time).is_some());
                    if acquitted {
                        memory.acquit(Some(2), Country::find("BR"));
                    }
                }
            }
            let it = sighting("29/10:00:00 BR 9.9.9.99 AS2", 0);
            assert_eq!(memory.fit(&Spot::of(&it).unwrap(), it.time).familiarity, expected);
            assert!(reports >= 1);
        }
    }

    #[test]
    fn a_snapshot_changes_nothing() {
        let travel = Travel::default();
        let mut plain = (Memory::default(), Organisation::default());
        let mut stored = plain.clone();
        for (at, line) in [
            "10:00:00 US 8.8.8.8 AS1 name:One dev:1 city:X",
            "1/10:00:00 US 8.8.8.8 AS1 name:One dev:1",
            "2/10:00:00 US 2001:db8::1 @40.7,-74.0 ±5 AS1 name:One dev:1",
            "2/11:00:00 BR 9.9.9.9 AS2 name:Two dev:2",
            "2/11:30:00 US 8.8.8.8 AS1 name:One dev:1",
            "2/12:00:00 NG 7.7.7.7 AS3 name:Three",
        ]
        .iter()
        .enumerate()
        {
            let it = sighting(line, at as u64);
            let expected = travel.observe(&mut plain.0, &mut plain.1, 1, it, it.time);
            let found = travel.observe(&mut stored.0, &mut stored.1, 1, it, it.time);
            assert_eq!(found, expected);
            stored = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
            assert_eq!(stored.0, plain.0);
        }
    }

    proptest::proptest! {
        #[test]
        fn order_of_arrival_does_not_matter(order in proptest::sample::subsequence(vec![0usize, 1, 2], 3).prop_shuffle(), far in 1u32..600) {
            let lines = [
                "10:00:00 US 8.8.8.8 AS1".to_string(),
                format!("{:02}:{:02}:00 BR 9.9.9.9 AS2", 11 + far / 60, far % 60),
                "10:00:30 US 8.8.8.8 AS1".to_string(),
            ];
            let story = |order: &[usize]| {
                let (travel, mut memory, mut organisation) = (Travel::default(), Memory::default(), Organisation::default());
                let mut found = Vec::new();
                for at in order {
                    let it = sighting(&lines[*at], *at as u64);
                    let conflict = travel.observe(&mut memory, &mut organisation, 1, it, it.time);
                    found.extend(conflict.map(|it| (it.suspect.country, it.other.country, it.severity)));
                }
                found
            };
            proptest::prop_assert_eq!(story(&order), story(&[0, 1, 2]));
        }

        #[test]
        fn anything_is_bounded_and_probable(events in proptest::collection::vec((0i64..3_000_000, 0u32..40, 0u8..250, proptest::option::of((-100f32..100.0, -200f32..200.0)), proptest::option::of(-10f32..2000.0), 0u32..6, 0u8..7, proptest::option::of(0u64..9)), 1..120)) {
            let classes = [NetworkClass::Unknown, NetworkClass::Hosting, NetworkClass::Vpn, NetworkClass::Relay, NetworkClass::Tor, NetworkClass::Satellite, NetworkClass::Mobile];
            let countries = ["US", "BR", "DE", "FR", "JP", "BV", "XX"];
            let (travel, mut organisation) = (Travel::default(), Organisation::default());
            let mut memories = vec![Memory::default(); 3];
            for (at, (seconds, address, pick, point, radius, asn, class, device)) in events.into_iter().enumerate() {
                let it = Sighting {
                    time: Timestamp::from_micros(1_772_409_600_000_000 + seconds * 1_000_000),
                    resolution: Span::from_secs(i64::from(pick)),
                    source: u16::from(pick % 2),
                    address: (address > 2).then(|| if address % 3 == 0 { IpAddr::from([0, 0, 0, 0, 0, 0, 0, address as u16]) } else { IpAddr::from(address.to_be_bytes()) }),
                    country: Country::find(countries[usize::from(pick) % 7]),
                    city: (pick % 3 == 0).then_some("Örebro"),
                    point,
                    radius_km: radius,
                    asn: (asn > 0).then_some(asn),
                    as_name: (pick % 5 == 0).then_some("Network"),
                    network: classes[usize::from(class)],
                    device,
                    evidence: at as u64,
                };
                let memory = &mut memories[at % 3];
                if let Some(it) = travel.observe(memory, &mut organisation, at as u64 % 3, it, it.time) {
                    proptest::prop_assert!((0.2..=1.0).contains(&it.probability), "{it:?}");
                    proptest::prop_assert!(it.certain_km >= 0.0 && it.distance_km >= 0.0 && it.severity >= Severity::Low);
                    proptest::prop_assert!(it.suspect.evidence != it.other.evidence);
                }
                proptest::prop_assert!(memory.bytes() <= 2048, "{}", memory.bytes());
            }
        }
    }
}
