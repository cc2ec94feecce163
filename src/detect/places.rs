//! Impossible travel, on hits: what [`travel`](super::travel) knows of people is kept here, by user.

use twox_hash::XxHash3_64;

use super::door::{Door, Room};
use super::due::Soon;
use super::slots::{self, Slots};
use super::travel::{Found, Memory, NetworkClass, Organisation, Sighting, Travel};
use super::{Detector, Pressure, Seen, Trip, restored, saved};
use crate::limits;
use crate::model::country::Country;
use crate::model::{Basis, Span, Timestamp, address};

/// What a hit must bring along, in this order.
pub const FIELDS: [&str; 10] = [
    "source.ip",
    "source.geo.country_iso_code",
    "source.geo.city_name",
    "source.geo.location.lat",
    "source.geo.location.lon",
    "source.geo.radius_km",
    "source.as.number",
    "source.as.organization.name",
    "source.network",
    "device.id",
];

pub struct Places {
    /// The rule's: how long after a finding the alert is open for sure.
    quiet: Span,
    travel: Travel,
    people: Slots<(Timestamp, Memory)>,
    organisation: Organisation,
    next_sweep: Timestamp,
    door: Door,
    bytes_max: usize,
}

/// Nobody is the same person to a detector after so long.
/// A person's stays, places, addresses and devices, and the slot.
const PERSON_BYTES: usize = 1280;
const FORGET: Span = Span::from_secs(90 * 86_400);

impl Places {
    pub fn new(quiet: Span) -> Places {
        Places {
            quiet,
            travel: Travel::default(),
            people: Slots::default(),
            organisation: Organisation::default(),
            next_sweep: Timestamp::MIN,
            door: Door::default(),
            bytes_max: usize::MAX,
        }
    }
}

impl Detector for Places {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        let text = |index: usize| seen.batch.carried_text(seen.hit, index);
        let number = |index: usize| seen.batch.carried_f64(seen.hit, index);
        let sighting = Sighting {
            time: seen.time(),
            resolution: match seen.time().micros() % 60_000_000 {
                0 => Span::from_secs(60),
                _ => Span::from_secs(1),
            },
            source: seen.hit.source,
            address: text(0).and_then(address::parse),
            country: text(1).and_then(Country::find),
            city: text(2),
            point: number(3).zip(number(4)).map(|(lat, lon)| (lat as f32, lon as f32)),
            radius_km: number(5).map(|it| it as f32),
            asn: number(6).map(|it| it as u32),
            as_name: text(7),
            network: class(text(8)),
            device: text(9).map(|it| XxHash3_64::oneshot_with_seed(seen.hit.entity_hash, it.as_bytes())),
            evidence: seen.mark.evidence,
        };
        if self.people.get(seen.hit.entity_hash).is_none() {
            let people_max = limits::TRAVEL_PEOPLE_MAX.min(self.bytes_max / 8 * 5 / PERSON_BYTES).max(1);
            let room = Room { people_max, sketch_bytes: self.bytes_max / 8 };
            let key = seen.hit.entity_hash;
            if !self.door.admits(seen.from(), key, &mut self.people, room, |it| it.1.sightings(), drop) {
                return;
            }
        }
        let (last, memory) = self.people.get_or_insert_with(seen.hit.entity_hash, Default::default);
        *last = seen.time().max(*last);
        let user = seen.hit.entity_stable;
        let release = seen.hit.release;
        let open = memory.told.filter(|it| release.since(it.0) < self.quiet);
        let severity = open.map(|it| it.1);
        let found_now = self.travel.observe(memory, &mut self.organisation, user, sighting, release, severity);
        let conflict = match found_now {
            None => return,
            Some(Found::Again) => {
                memory.told = open.map(|(told, severity)| (told.max(seen.time()), severity));
                found.push(Trip::exact(1, seen.time(), vec![seen.mark]));
                return;
            }
            Some(Found::Conflict(it)) => it,
        };
        memory.told = Some((memory.told.map_or(seen.time(), |it| it.0.max(seen.time())), conflict.severity));
        let mut marks: Vec<super::Mark> =
            [&conflict.suspect, &conflict.other].map(|it| super::Mark { time: it.time, evidence: it.evidence }).into();
        marks.sort_unstable();
        found.push(Trip {
            count: 2,
            since: conflict.suspect.time.min(conflict.other.time),
            because: Vec::new(),
            numbers: conflict.because,
            marks,
            score: super::gate::round(-(1.0 - conflict.probability).max(1e-12).log10()),
            severity: Some(conflict.severity),
            story: Some(conflict.story),
            basis: Basis::Seen,
        });
    }

    fn warm(&self, soon: &Soon<'_>) {
        soon.texts(0).flatten().filter_map(address::parse).for_each(|it| self.organisation.warm(it));
        slots::warm(soon.whose, |_| &self.people, |it| u64::from(it.1.sightings()), |it| it.1.warm());
    }

    fn forget(&mut self, now: Timestamp) {
        if now >= self.next_sweep {
            self.next_sweep = now.plus(Span::from_secs(86_400));
            self.people.retain(|_, (last, _)| now.since(*last) < FORGET);
        }
    }

    fn save(&self) -> Vec<u8> {
        let people: Vec<_> = self.people.iter().collect();
        saved(&(people, &self.organisation, &self.door))
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        type Saved = (Vec<(u64, (Timestamp, Memory))>, Organisation, Door);
        let (people, organisation, door): Saved = restored(bytes)?;
        self.people = people.into_iter().collect();
        self.organisation = organisation;
        self.door = door;
        Ok(())
    }

    fn entities(&self) -> usize {
        self.people.len()
    }

    fn looks_back(&self) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        self.people.len() * PERSON_BYTES + self.door.bytes()
    }

    fn limit(&mut self, bytes: u64) {
        self.bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    fn is_strained(&self) -> bool {
        self.door.is_strained()
    }

    fn pressures(&mut self, now: Timestamp, each: &mut dyn FnMut(Pressure)) {
        self.door.pressure(now).into_iter().for_each(each);
    }
}

/// The class of a network by its name; of several, as records write them, the one that says most.
fn class(name: Option<&str>) -> NetworkClass {
    let one = |name: &str| match name {
        "tor" => NetworkClass::Tor,
        "vpn" | "proxy" | "residential_proxy" | "anonymous" => NetworkClass::Vpn,
        "relay" => NetworkClass::Relay,
        "satellite" => NetworkClass::Satellite,
        "mobile" | "cellular" => NetworkClass::Mobile,
        "hosting" | "datacenter" => NetworkClass::Hosting,
        _ => NetworkClass::Unknown,
    };
    let rank = |it: &NetworkClass| match it {
        NetworkClass::Unknown => 0,
        NetworkClass::Hosting => 1,
        NetworkClass::Mobile => 2,
        NetworkClass::Satellite | NetworkClass::Relay => 3,
        NetworkClass::Vpn => 4,
        NetworkClass::Tor => 5,
    };
    let words = name.unwrap_or("").split([',', ' ']);
    words.map(|it| one(&it.to_ascii_lowercase())).max_by_key(rank).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_networks() {
        for (name, expected) in [
            (None, NetworkClass::Unknown),
            (Some("hosting"), NetworkClass::Hosting),
            (Some("hosting,vpn"), NetworkClass::Vpn),
            (Some("Mobile"), NetworkClass::Mobile),
            (Some("business, tor"), NetworkClass::Tor),
            (Some("business"), NetworkClass::Unknown),
        ] {
            assert_eq!(class(name), expected, "{name:?}");
        }
    }
}
