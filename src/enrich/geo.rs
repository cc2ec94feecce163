//! Where an address is, and what kind of network it belongs to.
//!
//! The obvious way is `geoip2::City` on one MaxMind file. It reads nothing from the databases most people can get: flat
//! records, numbers as text, 32-bit coordinates, IPv4 and IPv6 in two files, the ASN in a third. So [`Geo`] is a list of
//! files of any schema (`record`), each read into memory once, and merged field by field: the first file that knows wins,
//! but a city is only taken from a file that agrees on the country, for London, France is worse than France.
//!
//! Points are estimates. A database that gives a radius of 900 km or more, or the middle of the country, knows the country
//! only, and is taken at that: no city, no point.
//!
//! A look-up walks a tree through memory that no processor cache holds: 150 ns among the shipped countries, up to 3 µs in
//! city files. Logs repeat their addresses, so each thread keeps a [`Cache`] of what it was asked, and of the records
//! behind it. A repeated address costs 13 ns, 42 ns when ten thousand take turns, and allocates nothing.

mod cache;
mod database;
mod record;
#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use cache::Cache;
pub use database::Info;
use database::{Database, Stamp};

use crate::limits;

/// What the databases know of an address. Default: nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    pub country_code: Option<CountryCode>,
    pub country_name: Option<Box<str>>,
    pub city: Option<Box<str>>,
    /// Degrees north; always together with `longitude`.
    pub latitude: Option<f32>,
    pub longitude: Option<f32>,
    /// The scale of the error, not a bound: in half the cases another database lies outside.
    pub radius_km: Option<f32>,
    pub asn: Option<u32>,
    pub as_org: Option<Box<str>>,
    pub network: Network,
}

impl Place {
    pub fn is_empty(&self) -> bool {
        *self == Place::default()
    }

    /// Latitude and longitude in degrees.
    pub fn point(&self) -> Option<(f32, f32)> {
        self.latitude.zip(self.longitude)
    }

    /// Adds what `other` knows and this does not, where the two do not contradict each other.
    fn merge(&mut self, other: Place) {
        if self.country_code.is_none() {
            self.country_code = other.country_code;
            self.country_name = self.country_name.take().or(other.country_name);
        } else if self.country_code == other.country_code && self.country_name.is_none() {
            self.country_name = other.country_name;
        }
        if other.country_code.is_none() || other.country_code == self.country_code {
            let names_what_was_a_bare_point = self.city.is_none() && other.city.is_some();
            let same_city = other.city.is_none() || other.city == self.city;
            if names_what_was_a_bare_point && (other.latitude.is_some() || self.latitude.is_none()) {
                self.city = other.city;
                (self.latitude, self.longitude, self.radius_km) = (other.latitude, other.longitude, other.radius_km);
            } else if same_city && self.latitude.is_none() {
                (self.latitude, self.longitude, self.radius_km) = (other.latitude, other.longitude, other.radius_km);
            }
        }
        if self.asn.is_none() {
            self.asn = other.asn;
            self.as_org = self.as_org.take().or(other.as_org);
        } else if self.as_org.is_none() && self.asn == other.asn {
            self.as_org = other.as_org;
        }
        self.network = self.network.with(other.network);
    }
}

/// The two characters a database calls a country by: ISO 3166-1 in upper case, or what vendors add (`XK`, `EU`, `AP`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    /// None unless the text is two ASCII letters or digits; `ZZ` and `XX` stand for "unknown".
    pub fn parse(text: &str) -> Option<CountryCode> {
        let code: [u8; 2] = text.trim_ascii().as_bytes().try_into().ok()?;
        let code = code.map(|it| it.to_ascii_uppercase());
        let known = code.iter().all(u8::is_ascii_alphanumeric) && code[0].is_ascii_uppercase();
        (known && !matches!(&code, b"ZZ" | b"XX")).then_some(CountryCode(code))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII gets in")
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of network an address belongs to: a set of properties, empty when nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Network(u16);

impl Network {
    pub const HOSTING: Network = Network(1);
    pub const VPN: Network = Network(1 << 1);
    pub const TOR: Network = Network(1 << 2);
    pub const PROXY: Network = Network(1 << 3);
    pub const RESIDENTIAL_PROXY: Network = Network(1 << 4);
    /// A relay that hides the user but keeps the region (Apple's, for one).
    pub const RELAY: Network = Network(1 << 5);
    pub const MOBILE: Network = Network(1 << 6);
    pub const SATELLITE: Network = Network(1 << 7);
    pub const ANYCAST: Network = Network(1 << 8);
    /// Hides its users in some way, also where the database does not say how.
    pub const ANONYMOUS: Network = Network(1 << 9);

    const NAMES: [&'static str; 10] =
        ["hosting", "vpn", "tor", "proxy", "residential_proxy", "relay", "mobile", "satellite", "anycast", "anonymous"];

    #[must_use]
    pub fn with(self, other: Network) -> Network {
        Network(self.0 | other.0)
    }

    /// Whether it has any of these properties.
    pub fn is_any(self, of: Network) -> bool {
        self.0 & of.0 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names of the properties, always in the same order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().enumerate().filter(move |(bit, _)| self.0 & 1 << bit != 0).map(|(_, name)| *name)
    }
}

/// A database that cannot be used: which file, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct GeoError {
    pub file: PathBuf,
    pub problem: String,
}

impl GeoError {
    fn new(file: &Path, problem: impl Into<String>) -> GeoError {
        GeoError { file: file.into(), problem: problem.into() }
    }
}

/// The loaded databases. Never changes: a replaced file makes a new `Geo` ([`Geo::reload`]). Cheap to clone and to share.
#[derive(Clone, Debug)]
pub struct Geo {
    /// Tells caches apart that were filled from other databases.
    id: u64,
    databases: Arc<[Arc<Database>]>,
    country_name_of: fn(&str) -> Option<&'static str>,
}

impl Geo {
    /// Reads the files; the first that knows a field wins. A file that is no usable database refuses the whole load.
    pub fn open(files: &[PathBuf]) -> Result<Geo, GeoError> {
        if let Some(file) = files.get(limits::GEO_FILES_MAX) {
            return Err(GeoError::new(file, format!("at most {} geo databases are merged", limits::GEO_FILES_MAX)));
        }
        let databases: Result<Vec<_>, _> = files.iter().map(|it| Database::open(it).map(Arc::new)).collect();
        Ok(Geo::of(databases?))
    }

    /// The country database inside this program. Costs microseconds, and memory only for the parts that are looked at.
    pub fn shipped() -> Geo {
        Geo::of(vec![Arc::new(Database::shipped())])
    }

    /// No database: no address has a place.
    pub fn none() -> Geo {
        Geo::of(Vec::new())
    }

    /// Asks `name_of` (code to name) where a database knows the code only.
    #[must_use]
    pub fn with_country_names(self, name_of: fn(&str) -> Option<&'static str>) -> Geo {
        Geo { id: next_id(), country_name_of: name_of, ..self }
    }

    fn of(databases: Vec<Arc<Database>>) -> Geo {
        Geo { id: next_id(), databases: databases.into(), country_name_of: |_| None }
    }

    /// What is known of the address; an empty place when nothing is. Private and documentation addresses are looked up
    /// like all others, for offices and laboratories have databases of their own.
    #[inline]
    pub fn lookup<'c>(&self, address: IpAddr, cache: &'c mut Cache) -> &'c Arc<Place> {
        let host = host(address);
        cache.place(self.id, host, |cache| self.find(host, cache))
    }

    /// Walks the trees. Out of line: the cache answers most questions.
    #[cold]
    fn find(&self, host: IpAddr, cache: &mut Cache) -> u32 {
        let mut records = [0; limits::GEO_FILES_MAX];
        for (record, database) in records.iter_mut().zip(self.databases.iter()) {
            // Registries give reserved blocks to whoever administers them; the database inside this program, which comes
            // from their books, must not put a home network into a country. A file of one's own may know better.
            if database.shipped && reserved(host).is_some() {
                continue;
            }
            match database.record(host) {
                Ok(offset) => *record = offset.map_or(0, |it| it + 1),
                Err(_) => cache.unreadable += 1,
            }
        }
        cache.place_of_records(records, |unreadable| {
            let mut place = Place::default();
            for (_, database) in records.iter().zip(self.databases.iter()).filter(|(record, _)| **record != 0) {
                match database.decode(host) {
                    Ok(found) => place.merge(found),
                    Err(_) => *unreadable += 1,
                }
            }
            if let (Some(code), None) = (place.country_code, &place.country_name) {
                place.country_name = (self.country_name_of)(code.as_str()).map(Into::into);
            }
            place
        })
    }

    /// What is loaded, in the order in which it is asked.
    pub fn describe(&self) -> Vec<Info> {
        self.databases.iter().map(|it| it.info()).collect()
    }

    /// Remembers how the files look now, for [`Geo::reload`].
    pub fn watch(&self) -> Watch {
        Watch { tried: self.databases.iter().map(|it| it.stamp).collect() }
    }

    /// The databases as they are on disk now, if a file has changed (length or time of change) since it was last tried;
    /// unchanged files are shared, not read again. An error means: keep the old ones. It is given once for each change,
    /// so a file that is still being copied is refused once and taken when it is whole.
    pub fn reload(&self, watch: &mut Watch) -> Option<Result<Geo, GeoError>> {
        let now: Vec<Option<Stamp>> = self.databases.iter().map(|it| it.file.as_deref().and_then(Stamp::of)).collect();
        if now == watch.tried {
            return None;
        }
        watch.tried.clone_from(&now);
        let open = |(database, now): (&Arc<Database>, &Option<Stamp>)| match &database.file {
            Some(file) if database.stamp != *now => Database::open(file).map(Arc::new),
            Some(_) | None => Ok(Arc::clone(database)),
        };
        let databases: Result<Vec<_>, _> = self.databases.iter().zip(&now).map(open).collect();
        Some(databases.map(|it| Geo { country_name_of: self.country_name_of, ..Geo::of(it) }))
    }
}

/// How the files looked when they were last tried.
#[derive(Clone, Debug)]
pub struct Watch {
    tried: Vec<Option<Stamp>>,
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The host behind an address: IPv4 that travels inside IPv6 (mapped, NAT64, 6to4, Teredo) is located as IPv4, for
/// databases hold one made-up record for each of those ranges, or none.
#[inline]
fn host(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => embedded(six).map_or(address, IpAddr::V4),
    }
}

fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = u128::from(address);
    let last = Ipv4Addr::from(bits as u32);
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(last),
        [0x2002, ..] => Some(Ipv4Addr::from((bits >> 80) as u32)),
        [0x2001, 0, ..] => Some(Ipv4Addr::from(!(bits as u32))),
        _ => None,
    }
}

/// Why an address has no place anywhere, if it is of that kind.
pub fn reserved(address: IpAddr) -> Option<&'static str> {
    match host(address) {
        IpAddr::V4(four) => match four.octets() {
            [127, ..] => Some("loopback"),
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private network"),
            [100, 64..=127, ..] => Some("carrier-grade NAT"),
            [169, 254, ..] => Some("link-local"),
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("documentation"),
            [198, 18..=19, ..] => Some("benchmarking"),
            [224..=239, ..] => Some("multicast"),
            [0, ..] | [240..=255, ..] | [192, 0, 0, _] => Some("reserved"),
            _ => None,
        },
        IpAddr::V6(six) => match six.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
            [0xfc00..=0xfdff, ..] => Some("private network"),
            [0xfe80..=0xfebf, ..] => Some("link-local"),
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("documentation"),
            [0xff00..=0xffff, ..] => Some("multicast"),
            [0x2000..=0x3fff, ..] => None,
            _ => Some("reserved"),
        },
    }
}
