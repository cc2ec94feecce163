//! Databases for tests, made of known places in the ranges that are reserved for documentation.

use std::time::{Duration, UNIX_EPOCH};

use mmdb_writer::ipnet::IpNet;
use mmdb_writer::{IpVersion, Value, Writer};

/// 2026-11-01: fixed, so that the fixture is the same bytes in every run.
const BUILT: u64 = 1_793_491_200;

pub fn text(it: &str) -> Value {
    Value::from(it)
}

pub fn flat<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::map(entries)
}

pub fn list<const N: usize>(items: [Value; N]) -> Value {
    Value::Array(items.into())
}

/// A database for both versions of IP.
pub fn database(records: &[(&str, Value)]) -> Vec<u8> {
    build(IpVersion::V6, records)
}

pub fn database_of_ipv4(records: &[(&str, Value)]) -> Vec<u8> {
    build(IpVersion::V4, records)
}

fn build(version: IpVersion, records: &[(&str, Value)]) -> Vec<u8> {
    let mut writer = Writer::builder("Tripline-Test-City")
        .ip_version(version)
        .build_epoch(UNIX_EPOCH + Duration::from_secs(BUILT))
        .description(&[("en", "Places for tests in documentation ranges")])
        .build();
    for (network, record) in records {
        writer.insert_value(network.parse::<IpNet>().unwrap(), record.clone()).unwrap();
    }
    writer.to_bytes().unwrap()
}

struct City {
    network: &'static str,
    city: &'static str,
    country: (&'static str, &'static str),
    point: (f64, f64),
    radius_km: u16,
    asn: (u32, &'static str),
    /// A key of `traits` that is true, or the connection type.
    kind: &'static str,
}

/// `network | city | code | country | latitude | longitude | radius | ASN | organisation | kind`; no city: country only.
const CITIES: &str = "
192.0.2.0/28 | London | GB | United Kingdom | 51.5074 | -0.1278 | 10 | 64496 | Example Broadband |
192.0.2.16/28 | Lagos | NG | Nigeria | 6.4541 | 3.3947 | 50 | 64497 | Example Nigeria |
192.0.2.32/28 | New York | US | United States | 40.7128 | -74.006 | 20 | 64498 | Example Telecom |
192.0.2.48/28 | São Paulo | BR | Brazil | -23.5505 | -46.6333 | 50 | 64499 | Exemplo Internet |
192.0.2.64/28 | Oslo | NO | Norway | 59.9139 | 10.7522 | 10 | 64500 | Eksempel Nett |
192.0.2.80/28 | Tokyo | JP | Japan | 35.6895 | 139.6917 | 20 | 64501 | Example Japan |
192.0.2.96/28 | Sydney | AU | Australia | -33.8688 | 151.2093 | 20 | 64502 | Example Australia |
192.0.2.112/28 | Singapore | SG | Singapore | 1.3521 | 103.8198 | 10 | 64503 | Example Singapore |
192.0.2.128/28 | Paris | FR | France | 48.8566 | 2.3522 | 20 | 64504 | Exemple France |
192.0.2.144/28 | Berlin | DE | Germany | 52.52 | 13.405 | 20 | 64505 | Beispiel Netz |
192.0.2.160/28 | Madrid | ES | Spain | 40.4168 | -3.7038 | 20 | 64506 | Ejemplo Red |
192.0.2.176/28 | Moscow | RU | Russia | 55.7558 | 37.6173 | 50 | 64507 | Example Russia |
192.0.2.192/28 | Mumbai | IN | India | 19.076 | 72.8777 | 50 | 64508 | Example India |
192.0.2.208/28 | Johannesburg | ZA | South Africa | -26.2041 | 28.0473 | 50 | 64509 | Example South Africa |
192.0.2.224/28 | Mexico City | MX | Mexico | 19.4326 | -99.1332 | 50 | 64510 | Ejemplo México |
192.0.2.240/28 | San Francisco | US | United States | 37.7749 | -122.4194 | 20 | 64498 | Example Telecom |
198.51.100.0/28 | Los Angeles | US | United States | 34.0522 | -118.2437 | 20 | 64498 | Example Telecom |
198.51.100.16/28 | Toronto | CA | Canada | 43.6532 | -79.3832 | 20 | 64511 | Example Canada |
198.51.100.32/28 | Dublin | IE | Ireland | 53.3498 | -6.2603 | 10 | 65536 | Example Cloud | is_hosting_provider
198.51.100.48/28 | Amsterdam | NL | Netherlands | 52.3676 | 4.9041 | 20 | 65537 | Example VPN | is_anonymous_vpn
198.51.100.64/28 | Zürich | CH | Switzerland | 47.3769 | 8.5417 | 20 | 65538 | Example Tor Exits | is_tor_exit_node
198.51.100.80/28 | Manchester | GB | United Kingdom | 53.4808 | -2.2426 | 200 | 65539 | Example Mobile | Cellular
198.51.100.96/28 | Reykjavík | IS | Iceland | 64.1466 | -21.9426 | 500 | 65540 | Example Satellite | Satellite
198.51.100.112/28 | Pristina | XK | Kosovo | 42.6629 | 21.1655 | 20 | 65541 | Example Kosovo |
198.51.100.128/28 | | US | United States | 37.751 | -97.822 | 1000 | 65536 | Example Cloud | is_hosting_provider
198.51.100.144/28 | | CN | China | 34.7725 | 113.7266 | 1000 | 65542 | Example China |
203.0.113.0/26 | Beijing | CN | China | 39.9042 | 116.4074 | 50 | 65542 | Example China |
203.0.113.64/26 | Kyiv | UA | Ukraine | 50.4501 | 30.5234 | 20 | 65543 | Example Ukraine |
203.0.113.128/26 | London | GB | United Kingdom | 51.5074 | -0.1278 | 100 | 65539 | Example Mobile | Cellular
2001:db8:1::/48 | London | GB | United Kingdom | 51.5074 | -0.1278 | 10 | 64496 | Example Broadband |
2001:db8:2::/48 | New York | US | United States | 40.7128 | -74.006 | 20 | 64498 | Example Telecom |
2001:db8:3::/48 | Tokyo | JP | Japan | 35.6895 | 139.6917 | 20 | 64501 | Example Japan |
2001:db8:4::/48 | Lagos | NG | Nigeria | 6.4541 | 3.3947 | 50 | 64497 | Example Nigeria |
";

/// The rows of the table in tests/fixtures/README.md.
pub fn table() -> String {
    CITIES.trim().lines().map(|row| format!("| {} |\n", row.trim_end())).collect()
}

/// The database of tests/fixtures/city.mmdb, in the schema of GeoIP2 Enterprise.
pub fn cities() -> Vec<u8> {
    let records: Vec<_> = CITIES.trim().lines().map(city).map(|it| (it.network, record(&it))).collect();
    database(&records)
}

fn city(row: &'static str) -> City {
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    City {
        network: cells[0],
        city: cells[1],
        country: (cells[2], cells[3]),
        point: (cells[4].parse().unwrap(), cells[5].parse().unwrap()),
        radius_km: cells[6].parse().unwrap(),
        asn: (cells[7].parse().unwrap(), cells[8]),
        kind: cells[9],
    }
}

fn record(it: &City) -> Value {
    let names = |name: &str| flat([("names", flat([("de", text("(deutsch)")), ("en", text(name))]))]);
    let mut traits =
        vec![("autonomous_system_number", Value::from(it.asn.0)), ("autonomous_system_organization", text(it.asn.1))];
    match it.kind {
        "" => {}
        kind if kind.starts_with("is_") => traits.push((kind, true.into())),
        kind => traits.push(("connection_type", text(kind))),
    }
    let mut country = vec![("iso_code", text(it.country.0))];
    country.push(("names", flat([("de", text("(deutsch)")), ("en", text(it.country.1))])));
    let location = flat([
        ("accuracy_radius", it.radius_km.into()),
        ("latitude", it.point.0.into()),
        ("longitude", it.point.1.into()),
    ]);
    let mut parts = vec![("country", Value::map(country)), ("location", location), ("traits", Value::map(traits))];
    if !it.city.is_empty() {
        parts.push(("city", names(it.city)));
    }
    Value::map(parts)
}
