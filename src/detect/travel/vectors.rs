//! Thirty-eight cases: two weeks of a person's habits among sixty colleagues, one day, and what must be said of it.
//!
//! A network: name, address, country, position, radius, number, what lists say, name. A case: id, what happens, the
//! habits (`network/device@hours#days`), the day's events (`network/device@time`, `!` a failure, `^` when the line arrives, `~` from
//! another source), and the verdict: `quiet`, or the number of the event that must be named by an alert of medium or more.

use std::collections::HashMap;

use super::*;

const NETWORKS: &str = "
    lon_home     198.18.0.10      GB      51.51,-0.13        20   1 -         GB Broadband One
    lon_home2    198.18.0.11      GB      51.55,-0.02        50   1 -         GB Broadband One
    lon_cell     198.18.0.12      GB      51.5,-0.1       100   2   -         GB Mobile
    man_cell     198.18.0.13      GB      53.48,-2.24       200   2 -         GB Mobile
    lon_cafe     198.18.0.14      GB      51.6,0.2           50   3 -         GB Cable
    lon_misgeo   198.18.0.15      GB      55.95,-3.19        20   3 -         GB Cable
    lon_wrongcc  198.18.0.16      CA      43.65,-79.38       20   1 -         GB Broadband One
    par_hotel    198.18.0.20      FR      48.86,2.35         20  10 -         FR Fibre Net
    bru_wifi     198.18.0.21      BE      50.85,4.35         20  11 -         BE Cable
    par_home     198.18.0.22      FR      48.86,2.35         10  12 -         FR Broadband One
    lyo_cell     198.18.0.23      FR      45.76,4.84        200  13 -         FR Mobile
    nyc_home     198.18.0.30      US      40.71,-74.01        5  20 -         US Cable
    nyc_v6       2001:db8:1:1::10 US      37.751,-97.822   1000  20 -         US Cable
    nyc_hotel    198.18.0.31      US      40.75,-73.98       20  21 -         US Fibre Net
    sfo_resid    198.18.0.33      US      37.75,-122.4        5  22 -         US Broadband One
    tyo_hotel    198.18.0.40      JP      35.68,139.69       20  30 -         JP Fibre Net
    syd_home     198.18.0.41      AU      -33.87,151.21      20  31 -         AU Broadband One
    kyiv_resid   198.18.0.50      UA      50.45,30.52        20  40 -         UA Cable
    los_resid    198.18.0.51      NG      6.52,3.38          50  41 -         NG Broadband One
    mnl_resid    198.18.0.52      PH      14.6,120.98        20  42 -         PH Cable
    sin_resid    198.18.0.53      SG      1.35,103.82         5  43 -         SG Fibre Net
    suva         198.18.0.54      FJ      -18.14,178.44      50  44 -         FJ Telecom
    apia         198.18.0.55      WS      -13.83,-171.77     50  45 -         WS Telecom
    fra_hub      198.18.0.60      DE      50.11,8.68         20  50 hosting   Secure Edge Cloud
    mad_home     198.18.0.61      ES      40.42,-3.7         20  51 -         ES Broadband One
    ams_vpn      198.18.0.62      NL      52.37,4.9          20  52 vpn       Private VPN Hosting
    nl_vps       198.18.0.63      NL      52.37,4.9          20  53 hosting   Cheap VPS 9
    iad_saas     198.18.0.64      US      39.04,-77.49       20  54 hosting   Cloud Hosting One
    sat          198.18.0.65      US      33.13,-117.25    1000  55 satellite Aero Connectivity 1
    relay_gb     2001:db8:2:2::10 GB      52.5,-1.9          50  56 relay     Relay Edge
    ber_home     198.18.0.70      DE      52.52,13.4         20  60 -         DE Broadband One
    ber_cell     198.18.0.71      DE      52.5,13.38        100  61 -         DE Mobile
    del_home     198.18.0.72      IN      28.61,77.21        20  62 -         IN Cable
    priv         10.0.0.5         -       -               -     -   -
    spray_vps    198.18.0.80      RU      55.76,37.62        20  70 hosting   Blue Route 7
    usa_only     198.18.0.90      USA     -               -      80 -
    usa_only2    198.18.0.91      USA     -               -      80 -
    brazil_only  198.18.0.92      Brazil  -               -      81 -
    france_only  198.18.0.93      France  -               -      82 -
    germany_only 198.18.0.94      Germany -               -      83 -
    canada_only  198.18.0.95      Canada  -               -      84 -
    us_centroid  198.18.0.96      US      37.751,-97.822   1000  85 -         US Broadband One";

const CASES: &str = "
    v01 | takeover: London, then Lagos 20 min later, new device | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 los_resid/x1@9:20 | #2
    v02 | the same without any device field | lon_home/-@9:00,13:30 | lon_home/-@9:00 los_resid/-@9:20 | #2
    v03 | feasible flight London to New York, 9 h | lon_home/d1@9:00,13:30 | lon_home/d1@7:00 nyc_hotel/d1@16:00 | quiet
    v04 | fast flight London to New York in 6 h 10 min, record tail wind | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 nyc_hotel/d1@15:10 | quiet
    v05 | train Brussels to Paris in 1 h 22 min | par_home/d1@9:00,13:30 | bru_wifi/d1@9:00 par_home/d1@10:22 | quiet
    v06 | two addresses of one city in the same second | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 lon_home2/d1@9:00 | quiet
    v07 | 30 km in one minute, home Wi-Fi to a cafe | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 lon_cafe/d1@9:01 | quiet
    v08 | home Wi-Fi and carrier gateway in another city, 2 min | par_home/d1@9:00,13:30 lyo_cell/d2@18:00 | par_home/d1@9:00 lyo_cell/d2@9:02 | quiet
    v09 | first use of a far carrier gateway, 2 min | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 man_cell/-@9:02 | quiet
    v10 | IPv4 home, IPv6 geolocated to the country centroid | nyc_home/d1@9:00,13:30 | nyc_home/d1@9:00 nyc_v6/d1@9:00:36 | quiet
    v11 | IPv4-only user, one record at the US centroid, new network | nyc_home/d1@9:00,13:30 | nyc_home/d1@9:00 us_centroid/-@9:12 | quiet
    v12 | corporate egress: Madrid home and the Frankfurt hub | mad_home/d1@9:00,13:30 fra_hub/d1@10:00 | mad_home/d1@9:00 fra_hub/d1@9:03 mad_home/d1@9:06 | quiet
    v13 | first day of a new hire on the corporate egress | mad_home/d1@9:00 | mad_home/d1@9:00 fra_hub/d1@9:03 | quiet
    v14 | listed VPN exit, known device | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 ams_vpn/d1@9:12 | quiet
    v15 | iCloud-style relay, no device field | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 relay_gb/-@9:06 | quiet
    v16 | VPS of an unknown provider, new device, user active at home | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 nl_vps/x1@9:06 lon_home/d1@9:12 | #2
    v17 | sandwich: Sydney, Kyiv, Sydney in 10 min | syd_home/d1@9:00,13:30 | syd_home/d1@1:00 kyiv_resid/x1@1:05 syd_home/d1@1:10 | #2
    v18 | night takeover: London 23:00, Manila 04:00 | lon_home/d1@9:00,22:00 | lon_home/d1@-1:00 mnl_resid/x1@4:00 | #2
    v19 | takeover shows only when the owner comes back | lon_home/d1@9:00 | mnl_resid/x1@5:00 lon_home/d1@9:00 | #1
    v20 | home-routed roaming: Berlin SIM while in a New York hotel | ber_home/d1@9:00,13:30 ber_cell/d2@18:00 | ber_home/d1@-4:00 nyc_hotel/d1@10:00 ber_cell/d2@10:06 nyc_hotel/d1@10:18 | quiet
    v21 | in-flight Wi-Fi geolocated at the operator's head office | sin_resid/d1@9:00,13:30 | sin_resid/d1@6:00 sat/d1@9:00 tyo_hotel/d1@15:00 | quiet
    v22 | late log line: Singapore 12:30 arrives before London 12:00 | lon_home/d1@9:00,13:30 | sin_resid/x1@12:30 lon_home/d1@12:00^13:00 | #1
    v23 | two sources 20 s apart, 25 km, clocks not in step | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 lon_cafe/-@9:00:20~ | quiet
    v24 | country only: USA then Brazil, 2 h | usa_only/-@12:00,15:00 | usa_only/-@12:00 brazil_only/-@14:00 | #2
    v25 | country only: France then Germany, 10 min | france_only/-@9:00,13:00 | france_only/-@9:00 germany_only/-@9:10 | quiet
    v26 | country only: USA then Canada, 5 min | usa_only2/-@12:00,15:00 | usa_only2/-@12:00 canada_only/-@12:05 | quiet
    v27 | database update moves the ISP to another country | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 lon_wrongcc/d1@9:30 | quiet
    v28 | hotel mislocated by 530 km in the same country | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 lon_misgeo/d1@9:30 | quiet
    v29 | coast to coast in 30 min, residential, new device | nyc_home/d1@9:00,13:30 | nyc_home/d1@14:00 sfo_resid/x1@14:30 nyc_home/d1@14:42 | #2
    v30 | antimeridian: Suva to Apia in 2 h | suva/d1@9:00,13:30 | suva/d1@9:00 apia/d1@11:00 | quiet
    v31 | private address: no position | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 priv/d1@9:12 lon_home/d1@9:18 | quiet
    v32 | failed sign-in from abroad | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 los_resid/x1@9:18! | quiet
    v33 | brand-new user: two continents in 10 min | - | del_home/-@9:00 nyc_home/-@9:10 | quiet
    v34 | shared account, both countries habitual for two weeks | lon_home/-@9:00,13:30 del_home/-@9:30,14:00 | lon_home/-@9:00 del_home/-@9:30 lon_home/-@10:00 | quiet
    v35 | cloud integration uses the user's token hourly | lon_home/d1@9:00,13:30 iad_saas/-@0:30,6:30,12:30,18:30 | lon_home/d1@9:00 iad_saas/-@9:30 lon_home/d1@9:36 | quiet
    v36 | traveller in Tokyo, sign-in at home on another ISP, new device | lon_home/d1@9:00,13:30 | lon_home/d1@-20:00 tyo_hotel/d1@2:00 lon_cafe/x1@3:00 | alert
    v37 | password spray succeeds on one of many from one VPS | lon_home/d1@9:00,13:30 | lon_home/d1@9:00 spray_vps/x1@9:18 | #2
    v38 | home from Paris by train after one night | lon_home/d1@9:00 lon_home/d1@13:30#0-12 par_hotel/d1@20:00#13-13 | par_hotel/d1@7:00 lon_home/d1@9:36 | quiet";

const HISTORY_DAYS: i64 = 14;
/// 2026-03-02, a Monday.
const DAY_0: i64 = 1_772_409_600;
const COLLEAGUES: usize = 60;
const COLLEAGUES_HOMES: [&str; 10] = [
    "lon_home",
    "par_home",
    "nyc_home",
    "syd_home",
    "mad_home",
    "ber_home",
    "del_home",
    "tyo_hotel",
    "sin_resid",
    "lon_cell",
];
/// Addresses that several people use; of all others everybody has an own one.
const SHARED: [&str; 10] =
    ["fra_hub", "ams_vpn", "iad_saas", "sat", "spray_vps", "priv", "man_cell", "lon_cell", "lyo_cell", "ber_cell"];

struct Network {
    address: IpAddr,
    country: Option<Country>,
    point: Option<(f32, f32)>,
    radius_km: Option<f32>,
    asn: Option<u32>,
    class: NetworkClass,
    name: &'static str,
}

fn networks() -> HashMap<&'static str, Network> {
    let network = |line: &'static str| {
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap();
        let (name, address, country, point, radius, asn, class) =
            (next(), next(), next(), next(), next(), next(), next());
        let network = Network {
            address: address.parse().unwrap(),
            country: Country::find(country),
            point: point.split_once(',').map(|(lat, lon)| (lat.parse().unwrap(), lon.parse().unwrap())),
            radius_km: radius.parse().ok(),
            asn: asn.parse::<u32>().ok().map(|it| 4_201_000_000 + it),
            class: match class {
                "-" => NetworkClass::Unknown,
                "hosting" => NetworkClass::Hosting,
                "vpn" => NetworkClass::Vpn,
                "relay" => NetworkClass::Relay,
                "satellite" => NetworkClass::Satellite,
                other => panic!("{other}"),
            },
            name: line[line.find(class).unwrap()..].split_once(char::is_whitespace).map_or("", |it| it.1.trim()),
        };
        (name, network)
    };
    NETWORKS.trim().lines().map(network).collect()
}

struct Row {
    arrival: i64,
    time: i64,
    person: usize,
    network: &'static str,
    /// Third byte of the address, and fourth, where the person has an own one.
    own: Option<(u8, u8)>,
    device: Option<String>,
    source: u16,
    /// Number of the case's event, from 1; 0 for history.
    number: u64,
}

const FIRST_CASE: usize = 1000;

/// `h:mm` or `h:mm:ss` of a day, in seconds since 1970.
fn time(day: i64, text: &str) -> i64 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |it| (-1, it));
    let seconds = digits.split(':').zip([3600, 60, 1]).map(|(it, unit)| it.parse::<i64>().unwrap() * unit);
    DAY_0 + day * 86_400 + sign * seconds.sum::<i64>()
}

fn device(text: &str) -> Option<String> {
    (text != "-").then(|| text.to_string())
}

fn background(rows: &mut Vec<Row>) {
    for person in 0..COLLEAGUES {
        let row = |seconds: i64, network, own, device: String| Row {
            arrival: seconds + 1,
            time: seconds,
            person,
            network,
            own,
            device: Some(device),
            source: 0,
            number: 0,
        };
        let home = COLLEAGUES_HOMES[person % COLLEAGUES_HOMES.len()];
        for day in 0..HISTORY_DAYS {
            let at = |hour: i64, step: i64| DAY_0 + day * 86_400 + hour * 3600 + step * 1080;
            rows.push(row(at(8, person as i64 % 7), home, Some((2, 10 + person as u8)), format!("b{person}")));
            if person % 2 == 0 {
                rows.push(row(at(11, person as i64 % 5), "fra_hub", None, format!("b{person}")));
            }
        }
        // The other victims of the spray, on the day itself.
        if person < 4 {
            rows.push(row(time(HISTORY_DAYS, "9:00") + person as i64 * 180, "spray_vps", None, format!("y{person}")));
        }
    }
}

fn case(rows: &mut Vec<Row>, index: usize, history: &'static str, events: &'static str) {
    let person = FIRST_CASE + index;
    let own = |network: &str| (!SHARED.contains(&network)).then_some((100 + index as u8, 0));
    for habit in history.split_whitespace().filter(|it| *it != "-") {
        let (who, when) = habit.split_once('@').unwrap();
        let (network, on) = who.split_once('/').unwrap();
        let (hours, days) = when.split_once('#').unwrap_or((when, "0-13"));
        let (first, last) = days.split_once('-').unwrap();
        for day in first.parse().unwrap()..=last.parse().unwrap() {
            for hour in hours.split(',') {
                let time = time(day, hour);
                let row = Row {
                    arrival: time + 1,
                    time,
                    person,
                    network,
                    own: own(network),
                    device: device(on),
                    source: 0,
                    number: 0,
                };
                rows.push(row);
            }
        }
    }
    for (at, event) in events.split_whitespace().enumerate() {
        let (who, when) = event.split_once('@').unwrap();
        let (network, on) = who.split_once('/').unwrap();
        // A failure places nobody: the rule's `when` keeps it away.
        if when.ends_with('!') {
            continue;
        }
        let source = u16::from(when.ends_with('~'));
        let (hour, late) = when.trim_end_matches('~').split_once('^').map_or((when, None), |it| (it.0, Some(it.1)));
        let hour = hour.trim_end_matches('~');
        let seconds = time(HISTORY_DAYS, hour);
        rows.push(Row {
            arrival: late.map_or(seconds + 1, |it| time(HISTORY_DAYS, it)),
            time: seconds,
            person,
            network,
            own: own(network),
            device: device(on),
            source,
            number: at as u64 + 1,
        });
    }
}

fn own_address(address: IpAddr, own: Option<(u8, u8)>) -> IpAddr {
    let Some((third, fourth)) = own else { return address };
    match address {
        IpAddr::V4(it) => {
            let [a, b, _, d] = it.octets();
            IpAddr::from([a, b, third, if fourth == 0 { d } else { fourth }])
        }
        IpAddr::V6(it) => {
            let mut segments = it.segments();
            segments[2] = u16::from(third);
            IpAddr::from(segments)
        }
    }
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(7, |it, byte| (it ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[test]
fn cases() {
    let networks = networks();
    let cases: Vec<[&str; 5]> = CASES
        .trim()
        .lines()
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>().try_into().unwrap())
        .collect();
    assert_eq!(cases.len(), 38);
    let mut rows = Vec::new();
    background(&mut rows);
    for (index, [_, _, history, events, _]) in cases.iter().enumerate() {
        case(&mut rows, index, history, events);
    }
    rows.sort_by_key(|it| (it.arrival, it.person));

    let travel = Travel::default();
    let mut organisation = Organisation::default();
    let mut memories: HashMap<usize, Memory> = HashMap::new();
    let mut said: HashMap<usize, Vec<Conflict>> = HashMap::new();
    for row in &rows {
        let network = &networks[row.network];
        let seconds = |it: i64| Timestamp::from_micros(it * 1_000_000);
        let sighting = Sighting {
            time: seconds(row.time),
            resolution: Span::from_secs(1),
            source: row.source,
            address: Some(own_address(network.address, row.own)),
            country: network.country,
            city: None,
            point: network.point,
            radius_km: network.radius_km,
            asn: network.asn,
            as_name: Some(network.name).filter(|it| !it.is_empty()),
            network: network.class,
            device: row.device.as_deref().map(hash),
            evidence: row.number,
        };
        let memory = memories.entry(row.person).or_default();
        let user = hash(&row.person.to_string());
        let conflict = match travel.observe(memory, &mut organisation, user, sighting, seconds(row.arrival), None) {
            Some(Found::Conflict(it)) => Some(*it),
            Some(Found::Again) | None => None,
        };
        assert!(memory.bytes() <= 2048, "{} bytes", memory.bytes());
        if let Some(conflict) = conflict {
            assert!((0.0..=1.0).contains(&conflict.probability));
            let concerns_today = conflict.suspect.evidence != 0 || conflict.other.evidence != 0;
            if row.person >= FIRST_CASE && concerns_today && conflict.severity >= Severity::Medium {
                said.entry(row.person).or_default().push(conflict);
            }
        }
    }

    let mut wrong = Vec::new();
    for (index, [id, title, _, _, expected]) in cases.iter().enumerate() {
        let found = said.get(&(FIRST_CASE + index)).map_or(&[][..], |it| it);
        let as_expected = match (*expected, found) {
            ("quiet", []) | ("alert", [_, ..]) => true,
            ("quiet" | "alert", _) => false,
            (number, [first, ..]) => number == format!("#{}", first.suspect.evidence),
            (_, []) => false,
        };
        if !as_expected {
            let found: Vec<_> = found.iter().map(|it| (it.suspect.evidence, it.probability, &it.story)).collect();
            wrong.push(format!("{id} {title}: expected {expected}, found {found:?}"));
        }
        // One incident, one alert.
        assert!(found.len() <= 1, "{id}: {found:#?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
