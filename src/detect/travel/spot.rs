//! One sighting, as it is compared with others: where it is, how far that is to be believed, and how odd it is for the person.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Sighting;
use super::memory::{Familiarity, Fit, Stay, Told};
use super::organisation::View;
use crate::model::country::Country;

/// What databases without radius deserve: their measured tail (23 km, 0.65) is nearest to that of this radius.
const RADIUS_UNKNOWN_KM: f32 = 50.0;
/// From here on a point is only the middle of a country.
const RADIUS_COUNTRY_KM: f32 = 900.0;
/// A carrier's gateway serves a region.
const RADIUS_SIM_KM: f32 = 120.0;

/// How often the country is wrong: 99.2 % of addresses outside of datacentres have the same one in two databases.
const COUNTRY_ERROR: f32 = 0.0042;
const COUNTRY_ERROR_OFFICE: f32 = 0.05;
pub(super) const COUNTRY_ERROR_HOSTING: f32 = 0.12;
/// A SIM abroad goes out at home, and a travel SIM anywhere.
pub(super) const COUNTRY_ERROR_SIM: f32 = 0.93;

/// Where a sighting is, or pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spot {
    pub point: (f32, f32),
    pub radius_km: f32,
    /// Only the country is known; `point` is its centre.
    pub vague: bool,
    pub country: Option<Country>,
    /// 0: not known. The number is reserved.
    pub asn: u32,
    /// The address, IPv6 by /64, as a number; a stand-in where there is none.
    pub key: u64,
    pub family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Family {
    None,
    V4,
    V6,
}

/// What a network says about the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Place,
    Sim,
    /// Nothing.
    Unplaced,
}

/// An address as a number.
pub(super) fn address_key(address: IpAddr) -> (u64, Family) {
    match address.to_canonical() {
        // Under ffff::/16, which is multicast and nobody's own.
        IpAddr::V4(it) => (0xffff_ffff_0000_0000 | u64::from(it.to_bits()), Family::V4),
        IpAddr::V6(it) => ((it.to_bits() >> 64) as u64, Family::V6),
    }
}

impl Spot {
    /// None for a sighting that is nowhere.
    pub(super) fn of(sighting: &Sighting<'_>) -> Option<Spot> {
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
        let (key, family) = match sighting.address {
            Some(address) => address_key(address),
            None => {
                let whole = |it: f32| u64::from(it.round() as i16 as u16 & 0x1ff);
                (0x3ffe << 50 | whole(point.0) << 41 | whole(point.1) << 32 | u64::from(asn), Family::None)
            }
        };
        Some(Spot { point, radius_km, vague, country: sighting.country, asn, key, family })
    }

    pub(super) fn address(&self) -> Option<u64> {
        (self.family != Family::None).then_some(self.key)
    }

    /// What reports are grouped by: the network in that country; without its number, the address.
    pub(super) fn network(&self) -> u64 {
        let country = self.country.map_or(0, |it| {
            let code = it.code().as_bytes();
            u64::from(code[0]) << 8 | u64::from(code[1])
        });
        if self.asn == 0 { self.key } else { country << 32 | u64::from(self.asn) }
    }
}

/// How odd a sighting is for the person, and then for everybody.
pub(super) fn novelty(view: &View, fit: &Fit, device_known: Option<bool>, cold: bool) -> f32 {
    let mut points: f32 = match fit.familiarity {
        _ if fit.address_known => -4.0,
        Familiarity::Habit => -4.0,
        Familiarity::Network => -2.0,
        // One's own VPN by another exit, or a database that moved it.
        _ if fit.moved || fit.network_seen && (view.masked || view.hosting) => -1.0,
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
    if fit.odd_hour {
        points += 1.0;
    }
    points
        + match device_known {
            Some(true) => -2.0,
            Some(false) => 3.0,
            None => 0.0,
        }
}

pub(super) fn stay(
    mut spot: Spot,
    sighting: &Sighting<'_>,
    view: &View,
    fit: &Fit,
    novelty: f32,
    city: u32,
    device_known: Option<bool>,
) -> Stay {
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
            () if view.roaming => COUNTRY_ERROR_SIM,
            () if hosting => COUNTRY_ERROR_HOSTING,
            () if view.office => COUNTRY_ERROR_OFFICE,
            () => COUNTRY_ERROR,
        },
        familiarity: fit.familiarity,
        kind,
        masked: view.masked,
        strange: device_known == Some(false),
        hosting,
        told: Told::Nothing,
    }
}
