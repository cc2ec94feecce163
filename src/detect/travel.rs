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
//!    A new device speaks against it, one's own VPN by another exit for it.
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
//!
//! # Measured
//!
//! Simulated organisations of 2,000 people with 28 days, the first seven not counted; 378,000 sign-ins each; two that were not
//! used for tuning, with 92 takeovers that true positions prove impossible, and 18 that they do not. The log has points,
//! network numbers and names, and a device on six of ten lines; no list of VPNs and no radius. "Of the speed rule's" compares
//! people and days with a false alert with those of "faster than 900 km/h" on the same log, which finds 0.96.
//!
//! | alerts of | impossible ones found | all found | false a day for 1,000 people | of the speed rule's |
//! | --- | --- | --- | --- | --- |
//! | high | 0.76 | 0.67 | 0.06 | 0.02 % |
//! | medium and high | 0.96 | 0.86 | 1.7 | 0.45 % |
//! | all | 0.99 | 0.93 | 15 | 3.8 % |
//!
//! On the three organisations that were used for tuning: 0.73, 0.89 and 0.97 of the impossible ones.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::country::Country;
use crate::model::{Severity, Span, Timestamp};

pub mod geometry;
mod memory;
mod organisation;
mod pair;
mod spot;
mod story;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use memory::Memory;
use memory::{Familiarity, Told};
pub use organisation::Organisation;
use organisation::Person;
use pair::{Doubt, Pair, compare, score};
use spot::{Kind, Spot, novelty, stay};

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

/// What a sighting showed.
#[derive(Clone, PartialEq, Debug)]
pub enum Found {
    /// More of what the open alert says.
    Again,
    Conflict(Box<Conflict>),
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
    /// From the probability, and at most what so little history allows.
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

/// Severity from probability. Nine of ten high alerts of the measurement below were takeovers, and one of five medium ones.
const HIGH: f64 = 0.60;
const MEDIUM: f64 = 0.09;
/// Kept for whoever looks, and pages nobody: it names nearly all the rest.
const LOW: f64 = 0.005;
/// The same where nobody's habits are known, and nearly everything is new.
const LOW_UNKNOWN: f64 = 0.20;

impl Travel {
    /// Takes in one success of the person that `memory` is about. `user_hash` must be the same in every process. `now` is when
    /// the engine speaks of it: later than the sighting for a late one. `open`: an alert about this person is open, of that severity.
    /// Nothing that has no place (private addresses, unknown countries) is remembered.
    pub fn observe(
        &self,
        memory: &mut Memory,
        organisation: &mut Organisation,
        user_hash: u64,
        sighting: Sighting<'_>,
        now: Timestamp,
        open: Option<Severity>,
    ) -> Option<Found> {
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
        let mut stay = stay(spot, &sighting, &view, &fit, novelty, city, device_known);

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
            if (paged || !mentioned) && memory.may_report(suspect.asn, suspect.country, verdict.severity, now) {
                // Nothing is put to words for an alert that only counts: words cost ten times what finding them does.
                conflict = Some(match open {
                    Some(open) if verdict.severity <= open => Found::Again,
                    Some(_) | None => Found::Conflict(Box::new(story::conflict(
                        &pair,
                        verdict,
                        organisation,
                        memory,
                        person,
                        learning,
                    ))),
                });
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
        memory.stay(stay);
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
        let probability = 1.0 / (1.0 + (-pair.score).exp());
        let unknown = baseline.learning || no_habits;
        let graded = match probability {
            HIGH.. => Severity::High,
            MEDIUM.. => Severity::Medium,
            LOW.. => Severity::Low,
            _ => return None,
        };
        let severity = graded.min(most);
        if severity == Severity::Info || unknown && probability < LOW_UNKNOWN {
            return None;
        }
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
