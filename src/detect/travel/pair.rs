//! Two stays of one person: whether one traveller can have made both.

use super::geometry::{distance_km, error_tail, reach_km};
use super::memory::{Familiarity, Memory, Stay, Told};
use super::spot::{COUNTRY_ERROR_HOSTING, COUNTRY_ERROR_SIM, Family, Kind};
use crate::model::Span;
use crate::model::country::Country;

/// The time in which a person can get anywhere. Older sightings contradict nothing.
const WINDOW: Span = Span::from_secs(22 * 3600);
/// An unplaced network says "active", for so long.
const ACTIVE: Span = Span::from_secs(2 * 3600);
/// Clocks of one source, and of two, may be that far apart.
const SKEW_ONE_SOURCE: Span = Span::from_secs(2);
const SKEW_TWO_SOURCES: Span = Span::from_secs(120);

const IMPOSSIBLE: f64 = 0.99;

/// Two stays that do not fit together.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub suspect: Stay,
    pub other: Stay,
    pub suspect_is_new: bool,
    pub weight: Weight,
    pub elapsed: Span,
    pub score: f64,
}

#[derive(Clone, Copy)]
pub(super) struct Weight {
    /// That one traveller cannot have made both.
    pub impossible: f64,
    /// The positions were weighed. Otherwise one of them says nothing.
    pub by_position: bool,
    /// The gap between countries alone makes it impossible.
    pub by_country: bool,
    pub distance_km: f64,
    pub gap_km: f64,
}

/// How far datacentres and SIMs are believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    Usual,
    /// Nothing is known of the organisation, and no two colleagues use the network: it is as good as any.
    Benefit,
}

/// How a new stay and one of the ring fit together; None when they do.
pub(super) fn compare(new: &Stay, old: &Stay, memory: &Memory, doubt: Doubt) -> Option<Pair> {
    // The return trip of an attack is the victim; what was reported accuses nobody any more.
    if new.spot.key == old.spot.key || old.told == Told::Reported {
        return None;
    }
    let elapsed = new.from.since(old.to).max(old.from.since(new.from));
    if elapsed > WINDOW {
        return None;
    }
    // Dual stack: an operator's two families are located apart from each other, often badly.
    let (a, b) = (new.spot.family, old.spot.family);
    let dual_stack =
        new.spot.asn == old.spot.asn && new.spot.asn != 0 && a != b && a != Family::None && b != Family::None;
    if dual_stack && !new.strange && !old.strange {
        return None;
    }
    let suspect_is_new = match new.novelty.total_cmp(&old.novelty) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => new.from >= old.from,
    };
    let (suspect, other) = if suspect_is_new { (new, old) } else { (old, new) };
    let placed = |it: &Stay| it.kind != Kind::Unplaced || doubt == Doubt::Benefit && it.hosting;
    let weight = if placed(suspect) && placed(other) {
        geometry(suspect, other, elapsed, memory, doubt)?
    } else {
        // Where one of them is says nothing. That the suspect is new says something, when the person is otherwise at home.
        if suspect.familiarity >= Familiarity::Network {
            return None;
        }
        let strange = suspect.familiarity == Familiarity::New && other.familiarity >= Familiarity::Network;
        let impossible = match (suspect.kind, other.kind) {
            // Lists know who sells hiding, and many honest people buy it.
            (Kind::Unplaced, _) if strange && suspect.masked => 0.2,
            (Kind::Unplaced, _) if strange => 0.5,
            // A relay keeps its people's country.
            (Kind::Unplaced, _) if suspect.masked && suspect.spot.country == other.spot.country => return None,
            _ if strange && elapsed <= ACTIVE => 0.08,
            (Kind::Unplaced, _) if elapsed <= ACTIVE => 0.3,
            _ if elapsed <= ACTIVE => 0.08,
            _ => 0.04,
        };
        let distance_km = distance_km(suspect.spot.point, other.spot.point);
        Weight { impossible, by_country: false, distance_km, gap_km: 0.0, by_position: false }
    };
    Some(Pair { suspect: *suspect, other: *other, suspect_is_new, weight, elapsed, score: 0.0 })
}

/// What the positions alone say; None when a traveller can have made both.
pub(super) fn geometry(suspect: &Stay, other: &Stay, elapsed: Span, memory: &Memory, doubt: Doubt) -> Option<Weight> {
    let (a, b) = (&suspect.spot, &other.spot);
    let mut errors = (suspect.country_error, other.country_error);
    let sim = suspect.kind == Kind::Sim || other.kind == Kind::Sim;
    if a.country == b.country {
        // A carrier's gateway may be anywhere in its country.
        if a.point == b.point {
            return None;
        }
        if sim {
            errors.1 = errors.1.max(0.9);
        }
    } else if sim {
        let error = match doubt {
            Doubt::Usual => COUNTRY_ERROR_SIM,
            Doubt::Benefit => COUNTRY_ERROR_HOSTING,
        };
        if other.kind == Kind::Sim {
            errors.1 = errors.1.max(error);
        }
        let other_at_home = other.familiarity >= Familiarity::Network && b.country == memory.home();
        if suspect.kind == Kind::Sim && !other_at_home {
            errors.0 = errors.0.max(error);
        }
    }
    let skew = if suspect.source == other.source { SKEW_ONE_SOURCE } else { SKEW_TWO_SOURCES };
    let coarse = Span::from_secs(i64::from(suspect.slack_s.max(other.slack_s)));
    let reach = reach_km(Span::from_micros(elapsed.micros() + skew.micros() + coarse.micros()));
    let right = f64::from((1.0 - errors.0) * (1.0 - errors.1));
    let distance_km = distance_km(a.point, b.point);
    let mut weight = Weight { impossible: 0.0, by_country: false, distance_km, gap_km: 0.0, by_position: true };
    let beyond = distance_km - reach;
    if !a.vague && !b.vague && beyond > 0.0 {
        weight.impossible = right
            * (1.0 - error_tail(beyond, a.radius_km))
            * (1.0 - error_tail(beyond, b.radius_km))
            * clearly(distance_km, reach);
    }
    if let (Some(x), Some(y)) = (a.country, b.country)
        && x != y
    {
        weight.gap_km = Country::gap_km(x, y);
        let by_country = right * clearly(weight.gap_km, reach);
        weight.by_country = by_country >= IMPOSSIBLE;
        weight.impossible = weight.impossible.max(by_country);
    }
    // A device never seen before, and the person at work elsewhere: worth a look however little the distance says.
    if suspect.strange && elapsed <= ACTIVE {
        weight.impossible = weight.impossible.max(0.04);
    }
    (weight.impossible >= 0.02).then_some(weight)
}

/// How sure it is that nobody covers the distance: a tail wind, a short cut or the clock makes a near miss.
pub(super) fn clearly(km: f64, reach: f64) -> f64 {
    ((km - reach) / (0.15 * km + 50.0)).clamp(0.0, 1.0)
}

impl Pair {
    /// At least so far apart.
    pub(super) fn certain_km(&self) -> f64 {
        let (a, b) = (&self.suspect.spot, &self.other.spot);
        let clear = self.weight.distance_km - f64::from(a.radius_km) - f64::from(b.radius_km);
        if a.vague || b.vague { self.weight.gap_km } else { clear.max(self.weight.gap_km) }
    }
}

/// Log odds that the two were not one honest person.
pub(super) fn score(pair: &Pair, memory: &Memory) -> f64 {
    let (suspect, other) = (&pair.suspect, &pair.other);
    let odds = pair.weight.impossible / (1.0 - pair.weight.impossible).max(1e-3);
    let mut score = -3.0 + odds.ln().min(4.0) + f64::from(suspect.novelty);
    if other.familiarity < Familiarity::Network {
        score -= 1.0;
    }
    if suspect.spot.asn == other.spot.asn && suspect.spot.asn != 0 {
        score -= 2.0;
    }
    if memory.is_shared_account() {
        score -= 2.0;
    }
    // The person is there before and after: nobody went and came back.
    let there = |it: &&Stay| it.spot.key == other.spot.key;
    let before = memory.stays.iter().filter(there).any(|it| it.from < suspect.from);
    let after =
        memory.stays.iter().filter(there).any(|it| it.to > suspect.to) || !pair.suspect_is_new && other.to > suspect.to;
    if before && after && suspect.kind != Kind::Unplaced {
        score += 1.0;
    }
    score
}
