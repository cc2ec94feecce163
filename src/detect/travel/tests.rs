//! The detector on lines of its own.

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
        conflicts.extend(observe(&travel, &mut memory, &mut organisation, 42, it));
    }
    let shown = |it: &Conflict| format!("{} {}>{}", it.severity.name(), it.suspect.evidence, it.other.evidence);
    (conflicts.iter().map(shown).collect(), conflicts)
}

/// With no alert open.
fn observe(
    travel: &Travel,
    memory: &mut Memory,
    organisation: &mut Organisation,
    user: u64,
    it: Sighting<'_>,
) -> Option<Conflict> {
    match travel.observe(memory, organisation, user, it, it.time, None) {
        Some(Found::Conflict(it)) => Some(*it),
        Some(Found::Again) => panic!("no alert is open"),
        None => None,
    }
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
            "United States → Brazil, at least 3,000 km apart, in 10m; the fastest way takes 3h 54m; innocent if one of the two is a VPN",
        ),
        (
            [
                "10:00:00 BR 8.8.8.8 @-23.55,-46.63 ±20 city:Sampa AS1",
                "10:41:00 NO 9.9.9.9 @59.91,10.75 ±20 city:Oslo AS2 name:Fjordnet",
            ],
            "Sampa → Oslo, 10,600 km apart (at least 10,500), in 41m; the fastest way takes 11h 54m; innocent if \
             Fjordnet is a VPN, and nobody else here uses it",
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
        [(Severity::Info, None), (Severity::Low, Some(Severity::Low)), (Severity::High, Some(Severity::High))]
    {
        let travel = Travel { cold, ..Travel::default() };
        let (mut memory, mut organisation) = (Memory::default(), known_organisation());
        let mut found = None;
        for line in ["20/10:00:00 US 8.8.8.8", "20/10:10:00 BR 9.9.9.9"] {
            let it = sighting(line, 0);
            found = found.or(observe(&travel, &mut memory, &mut organisation, 42, it));
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
        assert_eq!(observe(&travel, &mut memory, &mut organisation, 7, it), None);
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
            let conflict = observe(&travel, &mut memory, &mut organisation, person, it);
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
        let lines = [format!("{}/10:00:00 SE 8.8.8.8", 20 + day), format!("{}/10:10:00 {exit} 9.9.9.{day}", 20 + day)];
        for (at, line) in lines[..if day < 6 { 1 } else { 2 }].iter().enumerate() {
            let it = sighting(line, at as u64);
            found.extend(observe(&travel, &mut memory, &mut organisation, 1, it).map(|it| it.severity.name()));
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
                reports += usize::from(observe(&travel, &mut memory, &mut organisation, 1, it).is_some());
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
        let expected = observe(&travel, &mut plain.0, &mut plain.1, 1, it);
        let found = observe(&travel, &mut stored.0, &mut stored.1, 1, it);
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
                let conflict = observe(&travel, &mut memory, &mut organisation, 1, it);
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
            if let Some(it) = observe(&travel, memory, &mut organisation, at as u64 % 3, it) {
                proptest::prop_assert!((0.005..=1.0).contains(&it.probability), "{it:?}");
                proptest::prop_assert!(it.certain_km >= 0.0 && it.distance_km >= 0.0 && it.severity >= Severity::Low);
                proptest::prop_assert!(it.suspect.evidence != it.other.evidence);
            }
            proptest::prop_assert!(memory.bytes() <= 2048, "{}", memory.bytes());
        }
    }
}
