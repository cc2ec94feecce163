//! One record of any vendor's schema.
//!
//! Seven vendors write the same facts in seven shapes, and `country` alone is a map, a code or a name. The name of a
//! database does not tell its shape either: files are rebuilt, renamed and extended. So a record is read key by key. Each
//! key has a meaning where it stands, each value is taken as what it is (text, number, truth value, map), and whatever has
//! no meaning is skipped.
//!
//! | who | country | point | ASN | kind of network |
//! |---|---|---|---|---|
//! | MaxMind, DB-IP | `country.iso_code`, else `registered_country` | `location.latitude`, `accuracy_radius` | `traits.…` or top | `is_hosting_provider`, `connection_type`, … |
//! | ip-location-db | `country_code` | `latitude` as 32 bits | – | – |
//! | IPinfo, older | `country` is a code | `lat` as text | `asn: "AS15169"` | `vpn: "true"` |
//! | IPinfo Lite | `country_code`; `country` is a name | – | `asn`, `as_name` | – |
//! | IPinfo Core, Plus | `geo.country_code` | `geo.latitude`, `radius` | `as.asn`, `as.name` | `is_mobile`, `anonymous.is_vpn`, … |
//! | GeoOpen | `country.iso_code` | – | `country.AutonomousSystemNumber` | – |

use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{CountryCode, Network, Place};
use crate::limits;
use crate::model::text::cut;

/// Everything a record said that means something here.
#[derive(Default)]
pub(super) struct Found {
    code: Option<CountryCode>,
    /// From a `country` that is neither clearly code nor name.
    code_short: Option<CountryCode>,
    code_registered: Option<CountryCode>,
    country_name: Option<Box<str>>,
    city: Option<Box<str>>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    radius: Option<f64>,
    asn: Option<u32>,
    as_org: Option<Box<str>>,
    /// A bare `name`: of the AS, if the record has one.
    name: Option<Box<str>>,
    network: Network,
}

/// From this radius on a point says no more than the country.
const RADIUS_KM_COUNTRY: f64 = 900.0;

/// Where databases put addresses of which they know the country only. Others come with a radius that says so.
const CENTROIDS: [(f64, f64); 2] = [(37.751, -97.822), (38.0, -97.0)];

impl Found {
    pub fn into_place(self) -> Place {
        let point = self.latitude.zip(self.longitude).filter(|it| is_on_earth(*it));
        let radius = self.radius.filter(|it| *it > 0.0);
        let country_only = radius.is_some_and(|it| it >= RADIUS_KM_COUNTRY) || point.is_some_and(is_centroid);
        let point = point.filter(|_| !country_only);
        let name = self.name.filter(|_| self.asn.is_some());
        Place {
            country_code: self.code.or(self.code_short).or(self.code_registered),
            country_name: self.country_name,
            city: self.city.filter(|_| !country_only),
            latitude: point.map(|it| it.0 as f32),
            longitude: point.map(|it| it.1 as f32),
            radius_km: radius.filter(|_| point.is_some()).map(|it| it as f32),
            asn: self.asn,
            as_org: self.as_org.or(name),
            network: self.network,
        }
    }

    fn take_text(&mut self, meaning: Meaning, text: &str) {
        let text = text.trim();
        // Both are ways to write "unknown".
        if matches!(text, "" | "-") {
            return;
        }
        let own = || Some(cut(text, limits::VALUE_BYTES_MAX).into());
        match meaning {
            Meaning::Country if text.len() == 2 => self.code_short = CountryCode::parse(text).or(self.code_short),
            Meaning::Country | Meaning::CountryName | Meaning::CountryNames => self.country_name = own(),
            Meaning::CountryCode => self.code = CountryCode::parse(text).or(self.code),
            Meaning::RegisteredCode => self.code_registered = CountryCode::parse(text),
            Meaning::City | Meaning::CityNames => self.city = own(),
            Meaning::Name => self.name = own(),
            Meaning::AsOrg => self.as_org = own(),
            Meaning::Asn => self.take_asn_text(text),
            Meaning::Latitude | Meaning::Longitude | Meaning::Radius => {
                if let Ok(number) = text.parse() {
                    self.take_number(meaning, number);
                }
            }
            Meaning::Point => {
                if let Some((latitude, longitude)) = text.split_once(',') {
                    self.take_text(Meaning::Latitude, latitude);
                    self.take_text(Meaning::Longitude, longitude);
                }
            }
            Meaning::Is(kind) => {
                if ["true", "yes", "t", "y", "1"].iter().any(|it| text.eq_ignore_ascii_case(it)) {
                    self.network = self.network.with(kind);
                }
            }
            Meaning::Usage => self.network = self.network.with(kind_of_usage(text)),
            Meaning::Inside(_) | Meaning::Nothing => {}
        }
    }

    /// `AS15169`, `15169`, or either with the organisation behind it.
    fn take_asn_text(&mut self, text: &str) {
        let (number, org) = text.split_once(' ').unwrap_or((text, ""));
        let digits = number.strip_prefix("AS").or_else(|| number.strip_prefix("as")).unwrap_or(number);
        if let Ok(number) = digits.parse::<u32>() {
            self.take_number(Meaning::Asn, f64::from(number));
            if self.as_org.is_none() {
                self.take_text(Meaning::AsOrg, org);
            }
        }
    }

    fn take_number(&mut self, meaning: Meaning, number: f64) {
        if !number.is_finite() {
            return;
        }
        match meaning {
            Meaning::Latitude => self.latitude = Some(number),
            Meaning::Longitude => self.longitude = Some(number),
            Meaning::Radius => self.radius = Some(number),
            Meaning::Asn if number >= 1.0 && number <= f64::from(u32::MAX) => self.asn = Some(number as u32),
            Meaning::Is(kind) if number != 0.0 => self.network = self.network.with(kind),
            // Numbers mean nothing as names, and 0 stands for "no AS".
            _ => {}
        }
    }
}

/// 0, 0 is how programs write "unknown", not a place in the sea.
fn is_on_earth((latitude, longitude): (f64, f64)) -> bool {
    (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude) && (latitude, longitude) != (0.0, 0.0)
}

fn is_centroid((latitude, longitude): (f64, f64)) -> bool {
    CENTROIDS.iter().any(|it| (it.0 - latitude).abs() < 1e-3 && (it.1 - longitude).abs() < 1e-3)
}

/// What the words of `connection_type`, `user_type` and `as.type` tell.
fn kind_of_usage(word: &str) -> Network {
    match word.to_ascii_lowercase().as_str() {
        "hosting" | "content_delivery_network" => Network::HOSTING,
        "cellular" | "mobile" => Network::MOBILE,
        "satellite" => Network::SATELLITE,
        "consumer_privacy_network" => Network::RELAY.with(Network::ANONYMOUS),
        _ => Network::default(),
    }
}

/// Which map a key stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Record,
    /// Another map of the same keys: `geo`, `location`, `traits`, `anonymous`.
    Group,
    Country,
    Registered,
    City,
    As,
}

/// What a value means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// A map of IPinfo's, MaxMind's…; or a code, or a name.
    Country,
    CountryCode,
    RegisteredCode,
    CountryName,
    CountryNames,
    /// A map, or the name itself.
    City,
    CityNames,
    Latitude,
    Longitude,
    Radius,
    /// Latitude, comma, longitude.
    Point,
    /// A number, a text, or a map about the AS.
    Asn,
    AsOrg,
    Name,
    Is(Network),
    Usage,
    Inside(Part),
    Nothing,
}

fn meaning(part: Part, key: &str) -> Meaning {
    match (part, key) {
        (Part::Country, "iso_code" | "code" | "country_code") => Meaning::CountryCode,
        (Part::Country, "names" | "name") => Meaning::CountryNames,
        (Part::Country | Part::As, "AutonomousSystemNumber" | "asn" | "number" | "autonomous_system_number") => {
            Meaning::Asn
        }
        (Part::Country, "AutonomousSystemOrganization") => Meaning::AsOrg,
        (Part::Registered, "iso_code") => Meaning::RegisteredCode,
        (Part::City, "names" | "name") => Meaning::CityNames,
        (Part::As, "name" | "organization" | "org" | "autonomous_system_organization") => Meaning::AsOrg,
        (Part::As, "type") => Meaning::Usage,
        (Part::Country | Part::Registered | Part::City | Part::As, _) => Meaning::Nothing,

        (Part::Record, "registered_country") => Meaning::Inside(Part::Registered),
        (Part::Record, "geo" | "location" | "traits" | "anonymous" | "anonymizer" | "privacy") => {
            Meaning::Inside(Part::Group)
        }
        (Part::Record, "as") => Meaning::Asn,
        (Part::Record, "name") => Meaning::Name,
        (Part::Record, "type") => Meaning::Usage,
        (Part::Record | Part::Group, _) => meaning_anywhere(key),
    }
}

fn meaning_anywhere(key: &str) -> Meaning {
    match key {
        "country" => Meaning::Country,
        "country_code" | "country_iso_code" | "countryCode" | "iso_code" => Meaning::CountryCode,
        "country_name" => Meaning::CountryName,
        "city" | "city_name" => Meaning::City,
        "latitude" | "lat" => Meaning::Latitude,
        "longitude" | "lng" | "lon" => Meaning::Longitude,
        "loc" => Meaning::Point,
        "accuracy_radius" | "radius" => Meaning::Radius,
        "asn" | "autonomous_system_number" | "as_number" => Meaning::Asn,
        "as_name" | "as_org" | "asn_name" | "as_organization" | "autonomous_system_organization" => Meaning::AsOrg,
        "hosting" | "is_hosting" | "is_hosting_provider" => Meaning::Is(Network::HOSTING),
        "vpn" | "is_vpn" | "is_anonymous_vpn" => Meaning::Is(Network::VPN.with(Network::ANONYMOUS)),
        "tor" | "is_tor" | "is_tor_exit_node" => Meaning::Is(Network::TOR.with(Network::ANONYMOUS)),
        "proxy" | "is_proxy" | "is_public_proxy" => Meaning::Is(Network::PROXY.with(Network::ANONYMOUS)),
        "is_residential_proxy" | "is_res_proxy" => Meaning::Is(Network::RESIDENTIAL_PROXY.with(Network::ANONYMOUS)),
        "relay" | "is_relay" => Meaning::Is(Network::RELAY.with(Network::ANONYMOUS)),
        "is_anonymous" | "is_anonymous_proxy" => Meaning::Is(Network::ANONYMOUS),
        "is_mobile" => Meaning::Is(Network::MOBILE),
        "is_satellite" | "is_satellite_provider" => Meaning::Is(Network::SATELLITE),
        "is_anycast" => Meaning::Is(Network::ANYCAST),
        "connection_type" | "user_type" | "as_type" | "asn_type" => Meaning::Usage,
        _ => Meaning::Nothing,
    }
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Found, D::Error> {
        let mut found = Found::default();
        Take { meaning: Meaning::Inside(Part::Record), found: &mut found }.deserialize(deserializer)?;
        Ok(found)
    }
}

/// Takes one value into what was found. Whatever its type, it is read to its end.
struct Take<'f> {
    meaning: Meaning,
    found: &'f mut Found,
}

impl<'de> DeserializeSeed<'de> for Take<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Take<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.found.take_text(self.meaning, text);
        Ok(())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        if let (Meaning::Is(kind), true) = (self.meaning, truth) {
            self.found.network = self.found.network.with(kind);
        }
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.found.take_number(self.meaning, number);
        Ok(())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let part = match self.meaning {
            Meaning::Inside(part) => part,
            Meaning::Country => Part::Country,
            Meaning::City => Part::City,
            Meaning::Asn => Part::As,
            Meaning::CountryNames => return take_names(entries, Meaning::CountryName, self.found),
            Meaning::CityNames => return take_names(entries, Meaning::City, self.found),
            _ => {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(());
            }
        };
        while let Some(meaning) = entries.next_key_seed(Key(|key: &str| meaning(part, key)))? {
            match meaning {
                Meaning::Nothing => drop(entries.next_value::<IgnoredAny>()?),
                meaning => entries.next_value_seed(Take { meaning, found: self.found })?,
            }
        }
        Ok(())
    }
}

/// A name in several languages: the English one, or the first.
fn take_names<'de, A: MapAccess<'de>>(mut names: A, meaning: Meaning, found: &mut Found) -> Result<(), A::Error> {
    let mut first = true;
    while let Some(english) = names.next_key_seed(Key(|key: &str| key == "en"))? {
        if english || first {
            names.next_value_seed(Take { meaning, found })?;
        } else {
            names.next_value::<IgnoredAny>()?;
        }
        first = false;
        if english {
            while names.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        }
    }
    Ok(())
}

/// Reads a key to what it means, without copying it.
struct Key<F>(F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Key<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, T, F: FnOnce(&str) -> T> Visitor<'de> for Key<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<T, E> {
        Ok((self.0)(key))
    }
}
