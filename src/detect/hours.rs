//! Somebody does what he does, but at an hour at which he never does it.
//!
//! Counted are the hours in which an entity was active, by hour of the day: a busy hour counts once, so a script that runs
//! for a minute does not make midnight usual. The chance of an hour is the share of such hours within two hours of it,
//! smoothed by the share among peers with the weight of twenty hours; who was only ever seen by day is judged by how
//! unusual night is for everybody.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use serde::{Deserialize, Serialize};

use super::door::{Door, Place, VISITS_MAX};
use super::firsts::group;
use super::promise::{Budget, PER_DEVIATION, Rate, Tail};
use super::table::AlreadyHashed;
use super::{Detector, Pressure, Seen, Trip};
use crate::limits;
use crate::model::{Span, Timestamp};

type Map<T> = HashMap<u64, T, BuildHasherDefault<AlreadyHashed>>;

pub struct Hours {
    promise: Rate,
    state: State,
    bytes_max: usize,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    people: Map<Person>,
    groups: Map<Group>,
    tail: Tail,
    swept: i64,
    door: Door,
}

#[derive(Serialize, Deserialize)]
struct Person {
    first: Timestamp,
    /// The latest hour that was counted, since 1970.
    hour: i64,
    counts: [u8; 24],
}

#[derive(Default, Serialize, Deserialize)]
struct Group {
    counts: [u32; 24],
    budget: Budget,
}

/// Nobody is judged before so many active hours and so long a time.
const HOURS_MIN: u32 = 20;
const LEARN: Span = Span::from_secs(7 * 86_400);
const PEERS_WEIGHT: f64 = 20.0;
const FORGET_HOURS: i64 = 60 * 24;
const PERSON_BYTES: usize = 2 * (size_of::<Person>() + 9);
const CHANCE_MAX: f64 = 0.05;

impl Hours {
    pub fn new(promise: Rate) -> Hours {
        Hours { promise, state: State::default(), bytes_max: usize::MAX }
    }

    fn sweep(&mut self, now: Timestamp) {
        let day = now.micros().div_euclid(86_400_000_000);
        if day > self.state.swept {
            self.state.swept = day;
            self.state.people.retain(|_, it| it.hour + FORGET_HOURS > day * 24);
        }
    }
}

impl Person {
    fn visits(&self) -> u32 {
        self.counts.iter().map(|it| u32::from(*it)).sum::<u32>().min(VISITS_MAX)
    }
}

/// The share of active hours within two hours of that one.
fn near(counts: impl Fn(usize) -> u32, hour: usize) -> (u32, u32) {
    let near = (22..=26).map(|it| counts((hour + it) % 24)).sum();
    (near, (0..24).map(counts).sum())
}

impl Detector for Hours {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        self.sweep(seen.hit.release);
        let hour = seen.time().micros().div_euclid(3_600_000_000);
        let of_day = hour.rem_euclid(24) as usize;
        let key = seen.hit.entity_hash;
        let State { people, groups, tail, door, .. } = &mut self.state;
        if !people.contains_key(&key) {
            let most = limits::HABITS_MAX.min(self.bytes_max / 4 * 3 / PERSON_BYTES).max(1);
            let all = || people.iter().map(|(key, it)| (it.visits(), *key)).collect();
            match door.knock(seen, people.len(), most, self.bytes_max / 4, all) {
                Place::Free => {}
                Place::None => return,
                Place::Of(leaving) => leaving.iter().for_each(|it| _ = people.remove(it)),
            }
        }
        let first = seen.time();
        let person = people.entry(key).or_insert(Person { first, hour: i64::MIN / 2, counts: [0; 24] });
        if hour <= person.hour {
            return; // counted, or so late that it was judged with its day
        }
        person.hour = hour;
        let group = groups.entry(group(seen.entity())).or_default();
        group.budget.threshold(self.promise, seen.hit.release);
        let (own, all) = near(|it| u32::from(person.counts[it]), of_day);
        let (of_peers, of_all_peers) = near(|it| group.counts[it], of_day);
        if person.counts[of_day] == u8::MAX {
            person.counts.iter_mut().for_each(|it| *it /= 2);
        }
        person.counts[of_day] += 1;
        group.counts[of_day] = group.counts[of_day].saturating_add(1);
        if all < HOURS_MIN || seen.time().since(person.first) < LEARN {
            return;
        }
        let peers = (f64::from(of_peers) + 0.5) / (f64::from(of_all_peers) + 1.0);
        let chance = (f64::from(own) + PEERS_WEIGHT * peers) / (f64::from(all) + PEERS_WEIGHT);
        // A chance already, but a rough one: what it is worth in this log, the tail learns.
        let score = tail.judge(-chance.min(1.0).log10() / PER_DEVIATION);
        if chance > CHANCE_MAX || !group.budget.admits(score, self.promise, seen.hit.release) {
            return;
        }
        let mut trip = Trip::exact(1, seen.time(), vec![seen.mark])
            .because("hour_utc", of_day)
            .because("active_hours_near", own)
            .because("active_hours", all)
            .because("share_of_peers", (peers * 10_000.0).round() / 10_000.0)
            .because("false_alerts", self.promise.to_string());
        trip.story = Some(format!(
            "at {of_day:02}h UTC; {own} of {all} active hours were within two hours of that, {:.1} % among peers",
            100.0 * peers
        ));
        trip.score = (score * 1000.0).round() / 1000.0;
        found.push(trip);
    }

    fn forget(&mut self, _now: Timestamp) {}

    fn save(&self) -> Vec<u8> {
        postcard::to_allocvec(&self.state).expect("memories are plain data, and memory for them is there")
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.state = postcard::from_bytes(bytes).map_err(|it| it.to_string())?;
        Ok(())
    }

    fn entities(&self) -> usize {
        self.state.people.len()
    }

    fn looks_back(&self) -> bool {
        false
    }

    fn bytes(&self) -> usize {
        self.state.people.len() * PERSON_BYTES + self.state.door.bytes()
    }

    fn limit(&mut self, bytes: u64) {
        self.bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    fn is_strained(&self) -> bool {
        self.state.door.is_strained()
    }

    fn pressures(&mut self, now: Timestamp, each: &mut dyn FnMut(Pressure)) {
        self.state.door.pressure(now).into_iter().for_each(each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Event, watch};

    #[test]
    fn night_is_told_of_who_works_by_day() {
        let mut all = Vec::new();
        for day in 0..90i64 {
            for user in 0..20 {
                for hour in 8 + user % 3..16 {
                    all.push(Event::of(day * 86_400 + hour * 3600 + user, &format!("user{user}"), ""));
                }
            }
        }
        let rate = Rate::parse("1/week").unwrap();
        assert_eq!(watch(Hours::new(rate), &all, 0).0.len(), 0);
        all.push(Event::of(90 * 86_400 + 3 * 3600, "user7", ""));
        let (trips, _) = watch(Hours::new(rate), &all, 0);
        assert_eq!(trips.len(), 1);
        assert!(trips[0].1.story.as_ref().unwrap().starts_with("at 03h UTC; 0 of"), "{:?}", trips[0].1.story);
    }
}
