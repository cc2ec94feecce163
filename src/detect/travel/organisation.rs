//! What everybody's sightings together say about addresses and networks.
//!
//! An address that many people use is a gateway and says nothing about where they are. A carrier, a VPN or a datacentre
//! betrays itself even where no list knows it: new people meet its addresses in many countries, or its habitual places
//! contradict their other places. Nobody's list is needed for that, only colleagues.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::OnceLock;

use hashbrown::DefaultHashBuilder;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::geometry::distance_km;
use super::spot::{Spot, address_key};
use super::{NetworkClass, Sighting};
use crate::limits;
use crate::model::country::Country;
use crate::model::{Span, Timestamp};

/// What is learned from everybody; one for each rule.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Organisation {
    since: Option<Timestamp>,
    sightings: u64,
    people: u32,
    addresses: Recent<Address, { limits::TRAVEL_ADDRESSES_MAX }>,
    networks: Recent<Network, { limits::TRAVEL_NETWORKS_MAX }>,
    names: Recent<Box<str>, { limits::TRAVEL_NAMES_MAX }>,
    groups: Recent<Vec<(Timestamp, u32)>, { limits::TRAVEL_GROUPS_MAX }>,
}

/// Different people of one address; more are not told apart.
const ADDRESS_PEOPLE_MAX: usize = 16;
const NETWORK_PEOPLE_MAX: usize = 64;
const NETWORK_COUNTRIES_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 64;
/// Below that many sightings nothing is learned yet, however long ago the first one was: a log of twenty lines.
const SIGHTINGS_LEAST: u64 = 200;
/// An address is shared only when it has been known for that long: five victims of one attacker within an hour are no office.
const SHARED_AGE: Span = Span::from_secs(86_400);
/// So many people of an address whose network is not known.
const SHARED_UNKNOWN: usize = 3;
const OFFICE_KM: f64 = 150.0;
const GROUP_SPAN: Span = Span::from_secs(72 * 3600);
const GROUP_PEOPLE: usize = 3;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Address {
    first: Option<Timestamp>,
    people: [u32; ADDRESS_PEOPLE_MAX],
    people_len: u8,
    /// How often it was compared with the same person's other places, and how often it was near.
    compared: u16,
    near: u16,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Network {
    people: Vec<u32>,
    countries: Vec<InCountry>,
    /// People with a habitual place in it, and those of them whose other places contradict it.
    habitual: u32,
    contradicted: u32,
    name: Box<str>,
    named: Named,
}

/// A network in one country.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct InCountry {
    country: Option<Country>,
    /// Sightings of people who had no place there.
    newcomers: u32,
    addresses: u32,
    /// Of them with two people or more.
    shared: u32,
}

/// What a network's name gives away.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Named {
    carrier: bool,
    hosting: bool,
    satellite: bool,
}

/// What is known about a sighting's address and network, before the sighting itself counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Many people use the address.
    pub shared: bool,
    /// Many people use it, and they are there.
    pub office: bool,
    pub carrier: bool,
    /// A carrier that is met in many countries: SIMs for travellers.
    pub roaming: bool,
    /// Few addresses for many people, as carriers have them.
    pub pooled: bool,
    pub satellite: bool,
    /// VPN, relay, Tor or satellite: its position is meant to be wrong.
    pub masked: bool,
    pub hosting: bool,
    /// Others who use the network; None when the network is not known.
    pub colleagues: Option<usize>,
    pub popular: bool,
}

impl Organisation {
    /// Counts a person at first sight, and says what is known of that address and network.
    pub(super) fn view(&mut self, spot: &Spot, sighting: &Sighting<'_>, person: Person) -> View {
        self.since.get_or_insert(person.now);
        self.people = self.people.saturating_add(u32::from(person.is_new));
        let people = self.people as usize;

        let address = spot.address().and_then(|it| self.addresses.get(it));
        // A network's number tells gateways from homes. Without it few people must do, or each exit of a VPN is a home.
        let many = if spot.asn == 0 { SHARED_UNKNOWN } else { (people / 100).clamp(4, ADDRESS_PEOPLE_MAX) };
        let shared = address.is_some_and(|it| {
            usize::from(it.people_len) >= many && it.first.is_some_and(|first| person.now.since(first) >= SHARED_AGE)
        });
        let near = address.is_some_and(|it| it.compared >= 10 && f32::from(it.near) >= 0.6 * f32::from(it.compared));

        let network = (spot.asn != 0).then(|| self.networks.touch(u64::from(spot.asn)));
        let mut named = Named::default();
        let (mut colleagues, mut pooled, mut worldwide, mut contradicted) = (None, false, false, false);
        let mut shared_addresses = 0;
        match network {
            Some(network) => {
                if let Some(name) = sighting.as_name
                    && cut(name, NAME_BYTES_MAX) != &*network.name
                {
                    network.name = cut(name, NAME_BYTES_MAX).into();
                    network.named = Named::of(name);
                }
                named = network.named;
                let others = network.people.iter().filter(|it| **it != person.id).count();
                colleagues = Some(others);
                if let Some(here) = network.countries.iter().find(|it| it.country == spot.country) {
                    shared_addresses = here.shared;
                    pooled = here.shared >= 3 && here.shared * 4 >= here.addresses && others >= 5;
                }
                worldwide = network.is_worldwide();
                contradicted = network.contradicted >= 2 && 10 * network.contradicted >= 3 * network.habitual;
            }
            None => {
                if let Some(name) = sighting.as_name {
                    named = Named::of(name);
                }
            }
        }
        let carrier = named.carrier || sighting.network == NetworkClass::Mobile;
        let office = shared && near && !carrier && shared_addresses <= 6;
        let satellite = named.satellite || sighting.network == NetworkClass::Satellite;
        View {
            shared,
            office,
            carrier,
            roaming: carrier && worldwide,
            pooled,
            satellite,
            masked: satellite
                || matches!(sighting.network, NetworkClass::Vpn | NetworkClass::Relay | NetworkClass::Tor),
            // A carrier that is met everywhere sells SIMs to travellers: weak evidence, but of a person.
            hosting: named.hosting
                || sighting.network == NetworkClass::Hosting
                || (worldwide && !office || contradicted) && !carrier,
            colleagues,
            // Sixty of at most sixty-four are told apart, so that in a large organisation "popular" stays possible.
            popular: colleagues.is_some_and(|it| it >= (people / 20).clamp(20, NETWORK_PEOPLE_MAX - 4)),
        }
    }

    /// Asks the caches for what is known of an address.
    pub fn warm(&self, address: IpAddr) {
        black_box(self.addresses.get(address_key(address).0).map_or(0, |it| it.near));
    }

    /// Whether too little has been seen to know what is usual here.
    pub(super) fn is_learning(&self, learn: Span, now: Timestamp) -> bool {
        self.sightings < SIGHTINGS_LEAST || self.since.is_none_or(|it| now.since(it) < learn)
    }

    /// Remembers an unsuspicious sighting. `newcomer`: the person had no place there. `elsewhere`: where the
    /// same person was seen by another address within half a day.
    pub(super) fn learn(&mut self, spot: &Spot, person: Person, newcomer: bool, elsewhere: Option<(f32, f32)>) {
        let (mut new_address, mut new_share) = (false, false);
        if let Some(key) = spot.address() {
            let address = self.addresses.touch(key);
            new_address = address.first.is_none();
            address.first.get_or_insert(person.now);
            if let Some(elsewhere) = elsewhere
                && address.compared < 1000
            {
                address.compared += 1;
                address.near += u16::from(distance_km(elsewhere, spot.point) <= OFFICE_KM);
            }
            let len = usize::from(address.people_len);
            if len < ADDRESS_PEOPLE_MAX && !address.people[..len].contains(&person.id) {
                address.people[len] = person.id;
                address.people_len += 1;
                new_share = address.people_len == 2;
            }
        }
        if spot.asn == 0 {
            return;
        }
        let network = self.networks.touch(u64::from(spot.asn));
        if network.people.len() < NETWORK_PEOPLE_MAX && !network.people.contains(&person.id) {
            network.people.push(person.id);
        }
        if let Some(here) = network.in_country(spot.country) {
            here.newcomers += u32::from(newcomer && spot.country.is_some());
            here.addresses += u32::from(new_address);
            here.shared += u32::from(new_share);
        }
    }

    /// Counts a sighting, suspicious or not.
    pub(super) fn count(&mut self) {
        self.sightings += 1;
    }

    /// A person has taken to a place of that network; `contradicted`: while being elsewhere.
    pub(super) fn settle(&mut self, asn: u32, contradicted: bool) {
        if asn != 0 {
            let network = self.networks.touch(u64::from(asn));
            network.habitual += 1;
            network.contradicted += u32::from(contradicted);
        }
    }

    /// Notes that a person's sighting on that network is about to be reported. True when three others were, shortly
    /// before: then it is one story about the network (a campaign, a new gateway, a database update), not about each of them.
    pub(super) fn belongs_to_group(&mut self, spot_network: u64, person: Person) -> bool {
        let group = self.groups.touch(spot_network);
        group.retain(|it| person.now.since(it.0) < GROUP_SPAN);
        let is_new = |at: usize, id: u32| id != person.id && group[..at].iter().all(|it| it.1 != id);
        let others = group.iter().enumerate().filter(|(at, it)| is_new(*at, it.1)).count();
        if group.len() == ADDRESS_PEOPLE_MAX {
            group.remove(0);
        }
        group.push((person.now, person.id));
        others >= GROUP_PEOPLE
    }

    /// How many others use that network; None when it is not known.
    pub(super) fn colleagues(&self, asn: u32, person: Person) -> Option<usize> {
        let network = self.networks.get(u64::from(asn)).filter(|_| asn != 0)?;
        Some(network.people.iter().filter(|it| **it != person.id).count())
    }

    /// The number a name is known by.
    pub(super) fn remember_name(&mut self, name: &str) -> u32 {
        let name = cut(name, NAME_BYTES_MAX);
        // FNV-1a: small, and the same in every process. A collision would put a wrong city into a sentence, no more.
        let hash = name.bytes().fold(0x811c_9dc5_u32, |it, byte| (it ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let known = self.names.touch(u64::from(hash));
        if &**known != name {
            *known = name.into();
        }
        hash
    }

    pub(super) fn name(&self, hash: u32) -> Option<&str> {
        self.names.get(u64::from(hash)).map(|it| &**it)
    }

    pub(super) fn network_name(&self, asn: u32) -> Option<&str> {
        self.networks.get(u64::from(asn)).map(|it| &*it.name).filter(|it| !it.is_empty())
    }
}

/// Who is seen, and when the engine speaks of it.
#[derive(Clone, Copy)]
pub(super) struct Person {
    pub id: u32,
    pub is_new: bool,
    pub now: Timestamp,
}

impl Network {
    fn in_country(&mut self, country: Option<Country>) -> Option<&mut InCountry> {
        let at = match self.countries.iter().position(|it| it.country == country) {
            Some(at) => at,
            None if self.countries.len() < NETWORK_COUNTRIES_MAX => {
                self.countries.push(InCountry { country, newcomers: 0, addresses: 0, shared: 0 });
                self.countries.len() - 1
            }
            None => return None,
        };
        self.countries.get_mut(at)
    }

    /// New people meet it in three countries or more, and mostly in none: a VPN or a cloud.
    fn is_worldwide(&self) -> bool {
        let (mut countries, mut all, mut most) = (0, 0, 0);
        for it in self.countries.iter().filter(|it| it.newcomers > 0) {
            countries += 1;
            all += it.newcomers;
            most = most.max(it.newcomers);
        }
        countries >= 3 && all >= 6 && 4 * most < 3 * all
    }
}

impl Named {
    fn of(name: &str) -> Named {
        static PATTERNS: OnceLock<[Regex; 3]> = OnceLock::new();
        let [carrier, hosting, satellite] = PATTERNS.get_or_init(|| {
            [
                r"mobile|mobil\b|wireless|cellular|\bsim\b|vodafone|verizon w|airtel|\bjio\b|telefonica movil|orange|\bmtn\b",
                r"host|server|\bvps\b|cloud|data ?cent|\bcolo|vpn|proxy|compute|relay|web services|amazon|digitalocean|\bovh\b|hetzner|linode|akamai|\bm247\b|leaseweb|vultr|scaleway|datacamp",
                r"aero|in-?flight|satellite|viasat|inmarsat|gogo|panasonic avionics|starlink|intelsat",
            ]
            .map(|it| Regex::new(&format!("(?i){it}")).expect("the patterns are constants, and a test compiles them"))
        });
        Named { carrier: carrier.is_match(name), hosting: hosting.is_match(name), satellite: satellite.is_match(name) }
    }
}

/// At most so many bytes, cut between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// A map that forgets what was not asked for longest: two halves, and when the young one is full it becomes the old one.
/// Keeps at least half of `MAX` and at most `MAX`, in constant time, and the same on every machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Recent<V, const MAX: usize> {
    young: HashMap<u64, V, DefaultHashBuilder>,
    old: HashMap<u64, V, DefaultHashBuilder>,
}

impl<V, const MAX: usize> Default for Recent<V, MAX> {
    fn default() -> Self {
        Recent { young: HashMap::default(), old: HashMap::default() }
    }
}

impl<V: Default, const MAX: usize> Recent<V, MAX> {
    fn get(&self, key: u64) -> Option<&V> {
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    fn touch(&mut self, key: u64) -> &mut V {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key).unwrap_or_default();
            if self.young.len() >= MAX / 2 {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key, value);
        }
        self.young.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_networks_away() {
        for (name, expected) in [
            ("AMAZON-02", "hosting"),
            ("Cheap VPS 9", "hosting"),
            ("T-Mobile USA, Inc.", "carrier"),
            ("Cellco Partnership DBA Verizon Wireless", "carrier"),
            ("SPACEX-STARLINK", "satellite"),
            ("GB Broadband One", ""),
            ("Simpson Cable", ""),
            ("", ""),
        ] {
            let it = Named::of(name);
            let mut found = Vec::new();
            for (is, word) in [(it.carrier, "carrier"), (it.hosting, "hosting"), (it.satellite, "satellite")] {
                if is {
                    found.push(word);
                }
            }
            assert_eq!(found.join(" "), expected, "{name}");
        }
    }

    #[test]
    fn what_is_not_asked_for_is_forgotten() {
        let mut recent = Recent::<u64, 8>::default();
        for key in 0..100 {
            *recent.touch(key) = key;
            *recent.touch(1000) += 1;
            assert!(recent.young.len() + recent.old.len() <= 8);
            assert_eq!(recent.get(key), Some(&key));
        }
        assert_eq!(recent.get(1000), Some(&100), "asked for all the time");
        assert_eq!(recent.get(50), None);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let mut organisation = Organisation::default();
        let hash = organisation.remember_name(&"é".repeat(50));
        assert_eq!(organisation.name(hash), Some("é".repeat(32).as_str()));
        assert_eq!(organisation.network_name(7), None);
    }
}
