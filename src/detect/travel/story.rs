//! A conflict in words: the sentence shows the sum, so that a reader can check it.

use serde_json::{Map, Value, json};

use super::geometry::fastest;
use super::memory::{Familiarity, Stay};
use super::organisation::Person;
use super::pair::Pair;
use super::spot::Kind;
use super::{Conflict, Memory, Organisation, Seen, Verdict};
use crate::model::Span;
use crate::model::country::Country;

const PLACES_SHOWN: usize = 2;

pub(super) fn conflict(
    pair: &Pair,
    verdict: Verdict,
    organisation: &Organisation,
    memory: &Memory,
    person: Person,
    learning: bool,
) -> Conflict {
    let (suspect, other) =
        (seen(&pair.suspect, &pair.other, organisation), seen(&pair.other, &pair.suspect, organisation));
    let certain_km = pair.certain_km().max(0.0);
    let fastest = fastest(certain_km);
    let colleagues = organisation.colleagues(pair.suspect.spot.asn, person);
    let innocent = innocent(pair, &suspect, colleagues);
    let places = last_places(pair, memory, organisation);
    let story = format!("{}{places}; {innocent}", sum(pair, &suspect, &other, certain_km, fastest));
    let familiarity = match pair.suspect.familiarity {
        Familiarity::New => "new",
        Familiarity::Country => "known country",
        Familiarity::Network => "known network",
        Familiarity::Habit => "habitual",
    };
    let because = without_nulls(json!({
        "kind": "travel",
        "suspect": value(&suspect),
        "other": value(&other),
        "distance_km": pair.weight.distance_km.round(),
        "certain_km": certain_km.floor(),
        "elapsed_s": pair.elapsed.as_secs_f64(),
        "fastest_s": fastest.as_secs_f64().floor(),
        "impossible": thousandths(pair.weight.impossible),
        "probability": thousandths(verdict.probability),
        "familiarity": familiarity,
        "colleagues": colleagues,
        "innocent": innocent,
        "unplaced": pair.suspect.kind == Kind::Unplaced || pair.other.kind == Kind::Unplaced,
        "grouped": verdict.grouped,
        "learning": learning,
    }));
    Conflict {
        suspect,
        other,
        distance_km: pair.weight.distance_km,
        certain_km,
        elapsed: pair.elapsed,
        fastest,
        probability: verdict.probability,
        severity: verdict.severity,
        grouped: verdict.grouped,
        story,
        because,
    }
}

/// The end of a stay that is nearer to the other side.
fn seen(stay: &Stay, to: &Stay, organisation: &Organisation) -> Seen {
    let (time, evidence) = if to.from >= stay.to { (stay.to, stay.evidence.1) } else { (stay.from, stay.evidence.0) };
    let spot = &stay.spot;
    Seen {
        time,
        city: organisation.name(stay.city).filter(|_| stay.city != 0).map(str::to_string),
        country: spot.country,
        point: (!spot.vague).then_some(spot.point),
        radius_km: spot.radius_km,
        asn: (spot.asn != 0).then_some(spot.asn),
        as_name: organisation.network_name(spot.asn).map(str::to_string),
        evidence,
    }
}

fn value(seen: &Seen) -> Map<String, Value> {
    without_nulls(json!({
        "time": seen.time,
        "city": seen.city,
        "country": seen.country,
        "lat": seen.point.map(|it| decimal(it.0)),
        "lon": seen.point.map(|it| decimal(it.1)),
        "radius_km": seen.radius_km.round(),
        "asn": seen.asn,
        "as_name": seen.as_name,
    }))
}

/// Unknown keys are absent, never null.
fn without_nulls(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(map) => map.into_iter().filter(|it| !it.1.is_null()).collect(),
        _ => Map::new(),
    }
}

/// The two places and what the time between them allows: what somebody who was woken reads.
fn sum(pair: &Pair, suspect: &Seen, other: &Seen, certain_km: f64, fastest: Span) -> String {
    let (first, second) = if suspect.time < other.time { (suspect, other) } else { (other, suspect) };
    let when = if pair.elapsed == Span::ZERO { "at the same time".into() } else { format!("in {}", pair.elapsed) };
    let (from, to) = (place(first, second), place(second, first));
    if !pair.weight.by_position {
        return format!("{from} → {to} {when}");
    }
    let apart = if suspect.point.is_some() && other.point.is_some() {
        format!("{} km apart (at least {})", about(pair.weight.distance_km), at_least(certain_km))
    } else {
        format!("at least {} km apart", at_least(certain_km))
    };
    format!("{from} → {to}, {apart}, {when}; the fastest way takes {fastest}")
}

/// Where else the person was lately.
fn last_places(pair: &Pair, memory: &Memory, organisation: &Organisation) -> String {
    let mut names: Vec<String> = Vec::new();
    let elsewhere =
        |it: &&Stay| it.spot != pair.suspect.spot && it.spot != pair.other.spot && it.kind != Kind::Unplaced;
    let mut stays: Vec<&Stay> = memory.stays.iter().filter(elsewhere).collect();
    stays.sort_by_key(|it| std::cmp::Reverse(it.to));
    for stay in stays {
        let name = organisation.name(stay.city).filter(|_| stay.city != 0);
        let name = name.or_else(|| Some(stay.spot.country?.name()));
        if let Some(name) = name.filter(|it| names.len() < PLACES_SHOWN && !names.iter().any(|known| known == it)) {
            names.push(name.to_string());
        }
    }
    if names.is_empty() { String::new() } else { format!("; seen before in {}", names.join(", ")) }
}

/// What would make it nothing: the first question to ask.
fn innocent(pair: &Pair, suspect: &Seen, colleagues: Option<usize>) -> String {
    let network = suspect.as_name.as_deref().unwrap_or("that network");
    let (a, b) = (&pair.suspect, &pair.other);
    if a.kind == Kind::Unplaced || b.kind == Kind::Unplaced {
        let name = if a.kind == Kind::Unplaced { network } else { "the other network" };
        return match colleagues {
            Some(1..) if a.kind == Kind::Unplaced => format!("innocent if {name} is a VPN or gateway of theirs"),
            _ => format!("innocent if {name} is their VPN, for it hosts, hides or is shared"),
        };
    }
    if a.kind == Kind::Sim || b.kind == Kind::Sim {
        return "innocent if a phone roams, for its network is placed where the SIM is from".into();
    }
    match (a.spot.country == b.spot.country, a.familiarity, colleagues) {
        (true, ..) => format!("innocent if the database puts {network} into the wrong place"),
        (_, Familiarity::New, Some(0)) => format!("innocent if {network} is a VPN, and nobody else here uses it"),
        (_, _, Some(it @ 1..)) => format!("innocent if {network} is a VPN or office, and {it} others here use it"),
        _ => "innocent if one of the two is a VPN".into(),
    }
}

/// What a reader calls it; told apart from the other side by more words where one is not enough.
fn place(seen: &Seen, other: &Seen) -> String {
    let country = seen.country.map(Country::name);
    match (&seen.city, country, seen.asn) {
        (Some(city), Some(country), _) if other.city.as_ref() == Some(city) => format!("{city}, {country}"),
        (Some(city), _, _) => city.clone(),
        (None, Some(country), Some(asn)) if other.country == seen.country => format!("{country} (AS{asn})"),
        (None, Some(country), _) => country.to_string(),
        (None, None, Some(asn)) => format!("AS{asn}"),
        (None, None, None) => "an unnamed place".into(),
    }
}

/// Digits that the data deserve: tens from a hundred on, hundreds from a thousand on.
fn step(km: f64) -> f64 {
    match km {
        1000.0.. => 100.0,
        100.0.. => 10.0,
        _ => 1.0,
    }
}

fn about(km: f64) -> String {
    grouped((km / step(km)).round() * step(km))
}

fn at_least(km: f64) -> String {
    grouped((km / step(km)).floor() * step(km))
}

/// With a comma between thousands; no distance on Earth needs two.
fn grouped(km: f64) -> String {
    let km = km as u64;
    if km >= 1000 { format!("{},{:03}", km / 1000, km % 1000) } else { km.to_string() }
}

fn thousandths(it: f64) -> f64 {
    (it * 1000.0).round() / 1000.0
}

/// A coordinate without the digits that f32 adds.
fn decimal(it: f32) -> f64 {
    (f64::from(it) * 1e4).round() / 1e4
}
