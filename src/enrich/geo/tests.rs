//! Every schema, every trap, and files that are no databases.

use std::fmt::Write;

use mmdb_writer::Value;

use super::sample::{flat, list, text};
use super::*;
use crate::model::{Timestamp, Zone, parse_address};

/// A place on one line, in the order of its fields.
fn line(place: &Place) -> String {
    let mut out = String::new();
    let mut add = |part: &dyn fmt::Display| write!(out, "{}{part}", if out.is_empty() { "" } else { " | " }).unwrap();
    place.city.iter().for_each(|it| add(it));
    place.country_code.iter().for_each(|it| add(it));
    place.country_name.iter().for_each(|it| add(it));
    place.point().iter().for_each(|it| add(&format!("{} {}", it.0, it.1)));
    place.radius_km.iter().for_each(|it| add(&format!("{it} km")));
    place.asn.iter().for_each(|it| add(&format!("AS{it}")));
    place.as_org.iter().for_each(|it| add(it));
    place.network.names().for_each(|it| add(&it));
    if out.is_empty() { "nothing".into() } else { out }
}

fn geo_of(databases: Vec<Vec<u8>>) -> Geo {
    let read = |bytes| Arc::new(Database::read(bytes, None, None).unwrap());
    Geo::of(databases.into_iter().map(read).collect())
}

fn ask(geo: &Geo, address: &str) -> String {
    let mut cache = Cache::default();
    let address = parse_address(address).unwrap();
    let first = line(geo.lookup(address, &mut cache));
    assert_eq!(line(geo.lookup(address, &mut cache)), first, "from the cache");
    first
}

/// A database whose only record is for 192.0.2.0/24.
fn only(record: Value) -> Vec<u8> {
    sample::database(&[("192.0.2.0/24", record)])
}

fn check(record: Value, expected: &str) {
    let geo = geo_of(vec![only(record)]);
    assert_eq!(ask(&geo, "192.0.2.7"), expected);
    assert_eq!(ask(&geo, "192.0.3.7"), "nothing");
}

fn in_english(name: &str) -> Value {
    flat([("names", flat([("de", text("auf deutsch")), ("en", text(name)), ("zh-CN", text("其他"))]))])
}

#[test]
fn a_nested_of_maxmind() {
    check(
        flat([
            ("city", in_english("Linköping")),
            ("continent", flat([("code", text("EU")), ("names", flat([("en", text("Europe"))]))])),
            ("country", flat([("iso_code", text("SE")), ("names", flat([("en", text("Sweden"))]))])),
            (
                "location",
                flat([
                    ("accuracy_radius", 76_u16.into()),
                    ("latitude", 58.4167.into()),
                    ("longitude", 15.6167.into()),
                    ("time_zone", text("Europe/Stockholm")),
                ]),
            ),
            ("postal", flat([("code", text("582"))])),
            ("registered_country", flat([("iso_code", text("DE")), ("names", flat([("en", text("Germany"))]))])),
            ("represented_country", flat([("iso_code", text("US"))])),
            ("subdivisions", list([flat([("iso_code", text("E"))])])),
            (
                "traits",
                flat([
                    ("autonomous_system_number", 29518_u32.into()),
                    ("autonomous_system_organization", text("Bredband2 AB")),
                    ("connection_type", text("Cellular")),
                    ("is_anonymous_proxy", false.into()),
                ]),
            ),
        ]),
        "Linköping | SE | Sweden | 58.4167 15.6167 | 76 km | AS29518 | Bredband2 AB | mobile",
    );
    let by_name = |it: &str| flat([("name", text(it)), ("iso_code", text("-"))]);
    check(flat([("country", by_name("France")), ("city", by_name("Lyon"))]), "Lyon | France");
    let registered = flat([("iso_code", text("US")), ("names", flat([("en", text("United States"))]))]);
    check(flat([("registered_country", registered)]), "US");
}

#[test]
fn b_nested_of_db_ip() {
    check(
        flat([
            ("city", flat([("names", flat([("fr", text("Genève")), ("it", text("Ginevra"))]))])),
            ("country", flat([("iso_code", text("CH")), ("is_in_european_union", false.into())])),
            ("location", flat([("latitude", 46.2044.into()), ("longitude", 6.1432.into())])),
            ("traits", flat([("isp", text("An ISP")), ("user_type", text("hosting"))])),
        ]),
        "Genève | CH | 46.2044 6.1432 | hosting",
    );
}

#[test]
fn c_flat_of_ip_location_db() {
    check(
        flat([
            ("city", text("Falkenstein")),
            ("country_code", text("DE")),
            ("latitude", 49.097_f32.into()),
            ("longitude", 12.486_f32.into()),
            ("postcode", text("")),
            ("state1", text("Bavaria")),
            ("timezone", text("")),
        ]),
        "Falkenstein | DE | 49.097 12.486",
    );
    check(flat([("country_code", text("XK"))]), "XK");
    check(flat([("country_code", text("AP"))]), "AP");
    check(flat([("country_code", text("ZZ"))]), "nothing");
    check(flat([("country_code", text("")), ("city", text(""))]), "nothing");
    check(flat([("country_code", text("-")), ("city", text("-")), ("latitude", 0.0.into())]), "nothing");
}

#[test]
fn d_flat_texts_of_ipinfo() {
    check(
        flat([
            ("city", text("Mountain View")),
            ("country", text("US")),
            ("country_name", text("United States")),
            ("lat", text("37.40599")),
            ("lng", text(" -122.078514 ")),
            ("asn", text("AS15169")),
            ("as_name", text("Google LLC")),
            ("vpn", text("true")),
            ("hosting", text("")),
            ("proxy", text("false")),
        ]),
        "Mountain View | US | United States | 37.40599 -122.078514 | AS15169 | Google LLC | vpn | anonymous",
    );
    check(flat([("asn", text("AS64500")), ("name", text("An org")), ("domain", text("x"))]), "AS64500 | An org");
    check(flat([("name", text("no AS, no org"))]), "nothing");
    check(flat([("org", text("x")), ("loc", text("51.5,-0.25"))]), "51.5 -0.25");
}

#[test]
fn e_lite_of_ipinfo() {
    check(
        flat([
            ("as_domain", text("google.com")),
            ("as_name", text("Google LLC")),
            ("asn", text("AS15169")),
            ("continent", text("North America")),
            ("continent_code", text("NA")),
            ("country", text("United States")),
            ("country_code", text("US")),
        ]),
        "US | United States | AS15169 | Google LLC",
    );
}

#[test]
fn f_core_and_plus_of_ipinfo() {
    check(
        flat([
            ("anonymous", flat([("is_relay", true.into()), ("is_vpn", false.into()), ("name", text("A relay"))])),
            ("as", flat([("asn", text("AS64501")), ("name", text("Example Mobile")), ("type", text("isp"))])),
            (
                "geo",
                flat([
                    ("city", text("Oslo")),
                    ("country", text("Norway")),
                    ("country_code", text("NO")),
                    ("latitude", 59.91273.into()),
                    ("longitude", 10.74609.into()),
                    ("radius", 5_u32.into()),
                ]),
            ),
            ("is_mobile", true.into()),
            ("is_satellite", false.into()),
            ("is_anycast", true.into()),
            ("mobile", flat([("name", text("Telenor")), ("mcc", text("242"))])),
        ]),
        "Oslo | NO | Norway | 59.91273 10.74609 | 5 km | AS64501 | Example Mobile | relay | mobile | anycast | anonymous",
    );
}

#[test]
fn g_geo_open() {
    check(
        flat([(
            "country",
            flat([
                ("AutonomousSystemNumber", text("15169")),
                ("AutonomousSystemOrganization", text("Google LLC")),
                ("iso_code", text("US")),
            ]),
        )]),
        "US | AS15169 | Google LLC",
    );
}

#[test]
fn h_kinds_of_networks() {
    check(flat([("is_anonymous", true.into()), ("is_tor_exit_node", true.into())]), "tor | anonymous");
    check(flat([("is_anonymous", true.into()), ("is_hosting_provider", true.into())]), "hosting | anonymous");
    check(flat([("connection_type", text("Satellite"))]), "satellite");
    check(flat([("connection_type", text("Cable/DSL"))]), "nothing");
    check(
        flat([
            ("autonomous_system_number", 1221_u32.into()),
            ("autonomous_system_organization", text("Telstra Pty Ltd")),
            ("isp", text("Telstra Internet")),
        ]),
        "AS1221 | Telstra Pty Ltd",
    );
}

#[test]
fn what_makes_no_sense_is_not_known() {
    let at = |latitude: f64, longitude: f64, radius: u16| {
        let location =
            flat([("accuracy_radius", radius.into()), ("latitude", latitude.into()), ("longitude", longitude.into())]);
        flat([("city", text("Somewhere")), ("country_code", text("us")), ("location", location)])
    };
    check(at(40.7, -74.0, 899), "Somewhere | US | 40.7 -74 | 899 km");
    check(at(40.7, -74.0, 900), "US");
    check(at(40.7, -74.0, 0), "Somewhere | US | 40.7 -74");
    check(at(37.751, -97.822, 20), "US");
    check(at(0.0, 0.0, 20), "Somewhere | US");
    check(at(90.1, 0.0, 20), "Somewhere | US");
    check(at(1.0, -180.5, 20), "Somewhere | US");
    check(at(f64::NAN, 1.0, 20), "Somewhere | US");
    check(flat([("latitude", 1.0.into()), ("country", text("FR"))]), "FR");
    check(flat([("asn", text("AS4294967296"))]), "nothing");
    check(flat([("asn", 0_u32.into())]), "nothing");
    check(flat([("asn", Value::I32(-5))]), "nothing");
    check(flat([("asn", Value::U128(64_500))]), "AS64500");
    check(flat([("country", list([text("FR")])), ("city", Value::Bytes(vec![1, 2])), ("vpn", text("no"))]), "nothing");
    check(text("a record that is no map"), "nothing");
    check(list([flat([("country_code", text("FR"))])]), "nothing");
    check(flat([("country_code", text("FRA"))]), "nothing");
    check(flat([("country_code", text("é"))]), "nothing");
}

#[test]
fn ipv4_inside_ipv6_is_located_as_ipv4() {
    let records = [
        ("192.0.2.0/24", flat([("country_code", text("GB"))])),
        ("2001:db8::/32", flat([("country_code", text("NO"))])),
    ];
    let geo = geo_of(vec![sample::database(&records)]);
    for address in [
        "192.0.2.7",
        "::ffff:192.0.2.7",
        "64:ff9b::192.0.2.7",
        "2002:c000:0207::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdf8",
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(line(geo.lookup(address, &mut Cache::default())), "GB", "{address}");
    }
    assert_eq!(ask(&geo, "2001:db8:1::1"), "NO");
}

#[test]
fn two_files_for_two_versions_are_one_source() {
    let four = sample::database_of_ipv4(&[("192.0.2.0/24", flat([("country_code", text("GB"))]))]);
    let six = sample::database(&[("2001:db8::/32", flat([("country_code", text("NO"))]))]);
    let geo = geo_of(vec![four, six]);
    assert_eq!(ask(&geo, "192.0.2.7"), "GB");
    assert_eq!(ask(&geo, "2001:db8::7"), "NO");
    assert_eq!(ask(&geo, "2001:db9::7"), "nothing");
    let mut cache = Cache::default();
    geo.lookup("2001:db8::7".parse().unwrap(), &mut cache);
    assert_eq!(cache.unreadable, 0);
}

/// What two databases say together.
fn check_merge(first: Value, second: Value, expected: &str) {
    assert_eq!(ask(&geo_of(vec![only(first), only(second)]), "192.0.2.7"), expected);
}

#[test]
fn files_are_merged_by_field_but_never_against_each_other() {
    let city = |name: &str, latitude: f64, longitude: f64| {
        flat([
            ("city", text(name)),
            ("country_code", text("GB")),
            ("country_name", text("United Kingdom")),
            ("latitude", latitude.into()),
            ("longitude", longitude.into()),
        ])
    };
    let london = || city("London", 51.5, -0.125);
    let code = |it: &str| flat([("country_code", text(it))]);
    let known = "London | GB | United Kingdom | 51.5 -0.125";
    check_merge(london(), code("GB"), known);
    check_merge(code("GB"), london(), known);
    check_merge(london(), code("FR"), known);
    check_merge(code("FR"), london(), "FR");
    check_merge(london(), city("Hull", 53.7, -0.3), known);
    check_merge(
        flat([("country_code", text("GB")), ("city", text("London"))]),
        city("Hull", 53.7, -0.3),
        "London | GB | United Kingdom",
    );

    let bare =
        || flat([("country_code", text("GB")), ("lat", 54.0.into()), ("lng", (-2.0).into()), ("radius", 400.0.into())]);
    check_merge(bare(), london(), known);
    check_merge(bare(), flat([("country_code", text("GB")), ("city", text("Leeds"))]), "GB | 54 -2 | 400 km");

    let asn = |number: u32| flat([("asn", number.into())]);
    let named = |number: u32| flat([("asn", number.into()), ("as_name", text("A"))]);
    check_merge(london(), named(1), &format!("{known} | AS1 | A"));
    check_merge(asn(1), named(2), "AS1");
    check_merge(asn(1), named(1), "AS1 | A");
    check_merge(flat([("is_vpn", true.into())]), flat([("hosting", true.into())]), "hosting | vpn | anonymous");
}

#[test]
fn a_code_finds_its_name() {
    let geo = geo_of(vec![only(flat([("country_code", text("NO"))]))])
        .with_country_names(|code| (code == "NO").then_some("Norway"));
    assert_eq!(ask(&geo, "192.0.2.7"), "NO | Norway");
}

#[test]
fn shipped_countries_are_right() {
    let geo = Geo::shipped();
    for (address, expected) in [
        ("8.8.8.8", "US"),
        ("193.0.6.139", "NL"),
        ("2001:67c:2e8:22::c100:68b", "NL"),
        ("133.11.0.1", "JP"),
        ("200.160.2.3", "BR"),
        ("::ffff:133.11.0.1", "JP"),
        ("2002:850b:0001::1", "JP"),
        ("10.0.0.1", "nothing"),
        ("127.0.0.1", "nothing"),
        ("192.0.2.1", "nothing"),
        ("::1", "nothing"),
        ("fe80::1", "nothing"),
    ] {
        assert_eq!(ask(&geo, address), expected, "{address}");
    }
    let about = &geo.describe()[0];
    assert_eq!(about.gives, ["country"]);
    let at = |text| Timestamp::parse_iso(text, Zone::UTC).unwrap();
    let built = about.built.unwrap();
    assert!(built.to_string().starts_with("2026-06-17T"), "{built}");
    assert_eq!(about.warning(at("2026-09-15")), None);
    assert!(about.warning(at("2026-09-17")).unwrap().starts_with("91 days old"));
    assert_eq!(about.warning(at("2020-01-01")), None, "a clock that is behind is no reason to warn");
}

#[test]
fn no_database_knows_nothing() {
    assert_eq!(ask(&Geo::none(), "8.8.8.8"), "nothing");
    assert_eq!(Geo::open(&[]).unwrap().describe(), []);
}

#[test]
fn codes_are_kept_as_they_are() {
    for (text, code) in [("gb", "GB"), (" XK ", "XK"), ("EU", "EU"), ("A1", "A1"), ("T1", "T1")] {
        assert_eq!(CountryCode::parse(text).unwrap().as_str(), code);
    }
    for text in ["", "G", "GBR", "ZZ", "xx", "--", "12", "ß", "G\u{0}"] {
        assert_eq!(CountryCode::parse(text), None, "{text:?}");
    }
}

#[test]
fn addresses_without_a_place_say_why() {
    for (address, why) in [
        ("10.1.2.3", Some("private network")),
        ("172.32.0.1", None),
        ("100.64.0.1", Some("carrier-grade NAT")),
        ("::ffff:192.168.1.1", Some("private network")),
        ("fd00::1", Some("private network")),
        ("fe80::1", Some("link-local")),
        ("2001:db8::1", Some("documentation")),
        ("8.8.8.8", None),
        ("2a00::1", None),
        ("::1", Some("loopback")),
    ] {
        assert_eq!(reserved(address.parse().unwrap()), why, "{address}");
    }
}

fn check_refused(bytes: &[u8], problem: &str) {
    let found = Database::read(bytes.to_vec(), None, None).map(|_| ()).unwrap_err();
    assert!(found.contains(problem), "{found:?} should say {problem:?}");
}

#[test]
fn a_file_that_is_no_database_is_refused_with_the_reason() {
    let whole = sample::cities();
    check_refused(b"", "is empty");
    check_refused(b"network,country\n", "is no whole MaxMind database");
    check_refused(b"\n<!DOCTYPE html>", "is a web page");
    check_refused(&[0x1f, 0x8b, 8, 0, 0], "gzip");
    check_refused(&whole[..whole.len() / 2], "is no whole MaxMind database");
    check_refused(&whole[..whole.len() - 20], "is no whole MaxMind database");
    check_refused(&whole[whole.len() / 2..], "is damaged");
    let mut torn = whole.clone();
    let middle = whole.len() / 2;
    torn[middle - 1000..middle + 1000].fill(0xff);
    check_refused(&torn, "is damaged");
}

#[test]
fn an_error_names_the_file() {
    let missing = PathBuf::from("no/such/city.mmdb");
    let found = Geo::open(&[missing]).unwrap_err().to_string();
    assert!(found.starts_with("no/such/city.mmdb: cannot be read: "), "{found}");
    let folder = Geo::open(&[std::env::temp_dir()]).unwrap_err().to_string();
    assert!(folder.contains("is no file"), "{folder}");
    let many = vec![PathBuf::from("x.mmdb"); limits::GEO_FILES_MAX + 1];
    assert!(Geo::open(&many).unwrap_err().to_string().contains("at most 8"));
}

#[test]
fn a_broken_replacement_keeps_the_old_database() {
    let folder = std::env::temp_dir().join(format!("tripline-geo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("city.mmdb");
    // Lengths differ, for two writes may share a time stamp.
    let country = |code: &str, pad: usize| only(flat([("country_code", text(code)), ("pad", text(&"x".repeat(pad)))]));
    std::fs::write(&file, country("GB", 1)).unwrap();
    let old = Geo::open(std::slice::from_ref(&file)).unwrap();
    let mut watch = old.watch();
    assert!(old.reload(&mut watch).is_none(), "nothing has changed");

    std::fs::write(&file, &country("NO", 2)[..100]).unwrap();
    let refused = old.reload(&mut watch).unwrap().unwrap_err();
    assert_eq!(refused.file, file);
    assert_eq!(ask(&old, "192.0.2.7"), "GB");
    assert!(old.reload(&mut watch).is_none(), "a refused file is told once");

    std::fs::write(&file, country("NO", 2)).unwrap();
    let new = old.reload(&mut watch).unwrap().unwrap();
    let mut cache = Cache::default();
    let address = "192.0.2.7".parse().unwrap();
    assert_eq!(line(old.lookup(address, &mut cache)), "GB");
    assert_eq!(line(new.lookup(address, &mut cache)), "NO");
    assert_eq!(line(old.lookup(address, &mut cache)), "GB");

    std::fs::remove_file(&file).unwrap();
    let gone = new.reload(&mut watch).unwrap().unwrap_err().to_string();
    assert!(gone.contains("cannot be read"), "{gone}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_fixture_has_its_cities() {
    let whole = sample::cities();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/city.mmdb");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &whole).unwrap();
    }
    assert!(std::fs::read(file).unwrap() == whole, "UPDATE=1 writes it anew");
    let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/README.md")).unwrap();
    for row in sample::table().lines() {
        assert!(table.contains(row), "tests/fixtures/README.md lacks\n{row}");
    }
    let geo = geo_of(vec![whole]);
    for (address, expected) in [
        ("192.0.2.1", "London | GB | United Kingdom | 51.5074 -0.1278 | 10 km | AS64496 | Example Broadband"),
        ("192.0.2.63", "São Paulo | BR | Brazil | -23.5505 -46.6333 | 50 km | AS64499 | Exemplo Internet"),
        ("2001:db8:3:4::5", "Tokyo | JP | Japan | 35.6895 139.6917 | 20 km | AS64501 | Example Japan"),
        ("198.51.100.130", "US | United States | AS65536 | Example Cloud | hosting"),
        ("203.0.113.255", "nothing"),
    ] {
        assert_eq!(ask(&geo, address), expected);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn damage_never_panics(
        flips in proptest::collection::vec((0usize..1 << 20, 0u8..=255), 0..40),
        cut in proptest::option::of(0usize..1 << 20),
        tail: bool,
    ) {
        let mut bytes = sample::cities();
        let len = bytes.len();
        for (at, value) in flips {
            // Half of the damage goes where it hurts most: into what describes the file.
            let at = if tail { len - 1 - at % 250 } else { at % len };
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.drain(..cut % len);
        }
        if let Ok(database) = Database::read(bytes, None, None) {
            let geo = Geo::of(vec![Arc::new(database)]);
            let mut cache = Cache::default();
            for last in 0..=255 {
                geo.lookup(IpAddr::from([192, 0, 2, last]), &mut cache);
                geo.lookup(IpAddr::from([last, 51, 100, last]), &mut cache);
                geo.lookup(IpAddr::from([0x20, 1, 0xd, 0xb8, 0, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), &mut cache);
            }
            geo.describe();
        }
    }

    #[test]
    fn no_address_panics(bits: u128) {
        let geo = Geo::shipped();
        let mut cache = Cache::default();
        geo.lookup(IpAddr::from(bits.to_be_bytes()), &mut cache);
        geo.lookup(IpAddr::from((bits as u32).to_be_bytes()), &mut cache);
        proptest::prop_assert_eq!(cache.unreadable, 0);
    }
}

fn maxmind(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/maxmind").join(name)
}

#[test]
fn databases_of_maxmind_are_read() {
    for (name, address, expected) in [
        ("GeoIP2-City-Test.mmdb", "81.2.69.160", "London | GB | United Kingdom | 51.5142 -0.0931 | 100 km"),
        ("GeoIP2-City-Test.mmdb", "89.160.20.128", "Linköping | SE | Sweden | 58.4167 15.6167 | 76 km"),
        ("GeoIP2-City-Test.mmdb", "::ffff:89.160.20.128", "Linköping | SE | Sweden | 58.4167 15.6167 | 76 km"),
        ("GeoLite2-Country-Test.mmdb", "89.160.20.128", "SE | Sweden"),
        (
            "GeoIP2-Enterprise-Test.mmdb",
            "74.209.24.0",
            "Chatham | US | United States | 42.3478 -73.5549 | 27 km | AS14671 | FairPoint Communications",
        ),
        ("GeoLite2-ASN-Test.mmdb", "1.128.0.0", "AS1221 | Telstra Pty Ltd"),
        ("GeoIP2-Anonymous-IP-Test.mmdb", "65.0.0.1", "tor | anonymous"),
        ("GeoIP2-Anonymous-IP-Test.mmdb", "81.2.69.1", "hosting | vpn | tor | proxy | residential_proxy | anonymous"),
        ("GeoIP2-Connection-Type-Test.mmdb", "1.0.1.1", "mobile"),
    ] {
        let geo = Geo::open(&[maxmind(name)]).unwrap();
        assert_eq!(ask(&geo, address), expected, "{name} {address}");
    }
    let both = Geo::open(&[maxmind("GeoIP2-City-Test.mmdb"), maxmind("GeoIP2-Anonymous-IP-Test.mmdb")]).unwrap();
    let found = ask(&both, "81.2.69.160");
    assert!(found.starts_with("London | GB") && found.ends_with("anonymous"), "{found}");
}

#[test]
fn databases_that_broke_other_readers_break_nothing_here() {
    let mut seen = 0;
    for entry in std::fs::read_dir(maxmind("bad")).unwrap() {
        let file = entry.unwrap().path();
        seen += 1;
        if let Ok(geo) = Geo::open(std::slice::from_ref(&file)) {
            let mut cache = Cache::default();
            for first in 0..=255 {
                geo.lookup(IpAddr::from([first, 1, 1, 1]), &mut cache);
                geo.lookup(IpAddr::from([[first; 2]; 8].concat().first_chunk::<16>().copied().unwrap()), &mut cache);
            }
            geo.describe();
        }
    }
    assert!(seen > 15, "{seen}");
    for (name, problem) in [
        ("GeoIP2-City-Test-Broken-Double-Format.mmdb", "is damaged"),
        ("libmaxminddb-metadata-marker-only.mmdb", "is no whole MaxMind database"),
    ] {
        let found = Geo::open(&[maxmind("bad").join(name)]).unwrap_err().to_string();
        assert!(found.contains(name) && found.contains(problem), "{found}");
    }
}
