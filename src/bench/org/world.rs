//! Cities, and the networks people come by.

use super::super::Random;

/// Where a line came from, as the address and the databases tell it.
#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    pub address: String,
    pub country: &'static str,
    pub point: (f32, f32),
    pub asn: u32,
    pub network: &'static str,
}

/// Country, latitude, longitude, hours from UTC.
pub type City = (&'static str, f32, f32, i64);

const CITIES: [City; 16] = [
    ("US", 40.71, -74.01, -5),
    ("US", 37.77, -122.42, -8),
    ("GB", 51.51, -0.13, 0),
    ("DE", 52.52, 13.40, 1),
    ("FR", 48.86, 2.35, 1),
    ("ES", 40.42, -3.70, 1),
    ("GR", 37.98, 23.73, 2),
    ("IN", 12.97, 77.59, 5),
    ("SG", 1.35, 103.82, 8),
    ("JP", 35.68, 139.69, 9),
    ("AU", -33.87, 151.21, 10),
    ("BR", -23.55, -46.63, -3),
    ("NG", 6.52, 3.38, 1),
    ("RU", 55.76, 37.62, 3),
    ("VN", 21.03, 105.85, 7),
    ("RO", 44.43, 26.10, 2),
];
/// The first of them have offices; from the last come attacks.
const OFFICES: usize = 8;
const FAR: usize = 4;

/// Names as registries have them, without the word that would give them away where real ones have none.
const HOMES: [&str; 4] = ["Northlink Broadband", "Cablevia", "Fibre Union", "Telecom Horizon"];
const CARRIERS: [&str; 2] = ["Horizon Mobile", "Blue Wireless"];
const CLOUDS: [&str; 3] = ["Stratus Hosting", "Packet Harbor", "Ostrava Net"];

pub struct World {
    /// For each tenant, its office and the address it goes out by.
    offices: Vec<(City, Place)>,
}

impl World {
    pub fn new(random: &mut Random, tenants: u32) -> World {
        let office = |tenant: u32| {
            let city = CITIES[random.below(OFFICES as u64) as usize];
            (city, at(city, format!("198.18.{}.1", tenant % 256), 64_500 + tenant % 500, "Corporate Edge"))
        };
        World { offices: (0..tenants).map(office).collect() }
    }

    pub fn office(&self, tenant: u32) -> &(City, Place) {
        &self.offices[tenant as usize]
    }

    /// Somebody's own line.
    pub fn home(random: &mut Random, city: City) -> Place {
        let isp = random.below(4) as usize;
        at(city, address(random, 20), asn(city, isp), HOMES[isp])
    }

    /// A phone's, another address nearly every time, somewhere in its country.
    pub fn mobile(random: &mut Random, city: City, carrier: usize) -> Place {
        let mut place = at(city, address(random, 60), asn(city, 4 + carrier), CARRIERS[carrier]);
        place.point.0 += random.unit() as f32 * 2.0 - 1.0;
        place
    }

    pub fn hosting(random: &mut Random) -> Place {
        let cloud = random.below(3) as usize;
        let city = *random.one_of(&CITIES);
        at(city, address(random, 140), 65_000 + cloud as u32, CLOUDS[cloud])
    }

    /// Where attackers live.
    pub fn far(random: &mut Random) -> Place {
        let city = CITIES[CITIES.len() - 1 - random.below(FAR as u64) as usize];
        World::home(random, city)
    }

    pub fn elsewhere(random: &mut Random, city: City) -> City {
        loop {
            let other = CITIES[random.below((CITIES.len() - FAR) as u64) as usize];
            if other != city {
                return other;
            }
        }
    }

    pub fn city(random: &mut Random) -> City {
        CITIES[random.below(OFFICES as u64) as usize]
    }
}

fn at(city: City, address: String, asn: u32, network: &'static str) -> Place {
    Place { address, country: city.0, point: (city.1, city.2), asn, network }
}

/// Of a range that is nobody's.
fn address(random: &mut Random, first: u64) -> String {
    let word = random.word();
    format!("198.19.{}.{}", (first + word % 70) % 256, 1 + (word >> 16) % 254)
}

fn asn(city: City, network: usize) -> u32 {
    let country = city.0.as_bytes();
    4_200_000_000 + u32::from(country[0]) * 4096 + u32::from(country[1]) * 16 + network as u32
}
