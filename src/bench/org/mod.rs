//! An organisation's access log whose truth is known: who works where and when, and what was done to them.
//!
//! A detector is only as good as the log it is measured on. Logs of real organisations have no labels and cannot be given
//! away; one made of noise and attacks measures nothing, for everything odd in it is an attack. So people here have offices,
//! phones, journeys, weekends, holidays and bad days: whatever honest people do that looks like an attack happens as well.

mod attacks;
mod people;
mod world;

use std::io::{self, Write};

use serde_json::{Value, json};

use super::Random;
use crate::model::Timestamp;
use people::Person;
use world::{Place, World};

/// What organisation, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub seed: u64,
    pub days: u32,
    pub users: u32,
    pub tenants: u32,
    /// Nobody attacks.
    pub clean: bool,
}

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Event {
    /// Seconds since 1970.
    pub time: i64,
    pub tenant: u32,
    pub user: String,
    pub what: What,
    pub place: Place,
    pub device: Option<String>,
}

/// What somebody did.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum What {
    Login,
    Failure,
    Read,
    Download(u64),
    Admin,
}

/// Something that a detector should tell.
#[derive(Clone, Debug)]
pub struct Label {
    pub attack: &'static str,
    pub start: i64,
    pub end: i64,
    /// Names and addresses by which an alert may call it.
    pub keys: Vec<String>,
}

/// The whole log in the order of time, and its truth.
pub struct Organisation {
    pub events: Vec<Event>,
    pub labels: Vec<Label>,
}

/// 2026-01-05, a Monday.
pub const START: i64 = 1_767_571_200;
pub const DAY: i64 = 86_400;
/// Nothing is attacked before: whoever learns needs something to learn from.
pub const QUIET_DAYS: u32 = 14;

impl Organisation {
    pub fn new(settings: Settings) -> Organisation {
        let mut random = Random(settings.seed ^ 0x6f72_6761_6e69_7365);
        let world = World::new(&mut random, settings.tenants);
        let people: Vec<Person> = (0..settings.users)
            .map(|number| Person::new(&mut random, &world, number, number % settings.tenants, settings.days))
            .collect();
        let mut events = Vec::new();
        for person in &people {
            person.live(&mut random, &world, settings.days, &mut events);
        }
        let labels = match settings.clean {
            true => Vec::new(),
            false => attacks::commit(&mut random, &people, settings.days, &mut events),
        };
        let end = START + i64::from(settings.days) * DAY;
        events.retain(|it| (START..end).contains(&it.time));
        events.sort_by(|a, b| (a.time, &a.user).cmp(&(b.time, &b.user)));
        Organisation { events, labels }
    }
}

impl Event {
    /// As a record in the Elastic Common Schema.
    pub fn record(&self) -> Value {
        let (category, action, outcome) = match self.what {
            What::Login => ("authentication", "login", "success"),
            What::Failure => ("authentication", "login", "failure"),
            What::Read => ("file", "read", "success"),
            What::Download(_) => ("file", "download", "success"),
            What::Admin => ("iam", "added-user-account", "success"),
        };
        let dataset = if category == "authentication" { "idp" } else { "app" };
        let place = &self.place;
        let mut record = json!({
            "@timestamp": Timestamp::from_micros(self.time * 1_000_000),
            "event": {"category": [category], "action": action, "outcome": outcome, "dataset": dataset},
            "organization": {"name": format!("tenant-{}", self.tenant)},
            "user": {"name": self.user},
            "source": {
                "ip": place.address,
                "geo": {"country_iso_code": place.country, "location": {"lat": degrees(place.point.0), "lon": degrees(place.point.1)}},
                "as": {"number": place.asn, "organization": {"name": place.network}},
            },
        });
        if let Some(device) = &self.device {
            record["device"] = json!({"id": device});
        }
        match self.what {
            What::Download(bytes) => {
                record["http"] = json!({"response": {"bytes": bytes}});
                record["source"]["bytes"] = bytes.into();
            }
            What::Admin => {
                record["event"]["type"] = json!(["user", "creation"]);
                record["user"]["target"] = json!({"name": format!("new-{}", self.time)});
            }
            What::Login | What::Failure | What::Read => {}
        }
        record
    }

    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", self.record())
    }
}

/// Without the digits that f32 adds.
fn degrees(it: f32) -> f64 {
    (f64::from(it) * 1e4).round() / 1e4
}

impl Label {
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let time = |it: i64| Timestamp::from_micros(it * 1_000_000);
        let label = json!({"attack": self.attack, "start": time(self.start), "end": time(self.end), "keys": self.keys});
        writeln!(out, "{label}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(seed: u64) -> Settings {
        Settings { seed, days: 21, users: 80, tenants: 2, clean: false }
    }

    fn text(organisation: &Organisation) -> Vec<u8> {
        let mut out = Vec::new();
        organisation.events.iter().for_each(|it| it.write(&mut out).unwrap());
        organisation.labels.iter().for_each(|it| it.write(&mut out).unwrap());
        out
    }

    #[test]
    fn a_seed_always_makes_the_same_log() {
        let first = text(&Organisation::new(settings(1)));
        assert_eq!(first, text(&Organisation::new(settings(1))));
        assert_ne!(first, text(&Organisation::new(settings(2))));
    }

    #[test]
    fn people_sleep_at_night_and_on_sunday() {
        let organisation = Organisation::new(Settings { clean: true, ..settings(3) });
        assert!(organisation.labels.is_empty());
        let on = |weekday: i64| organisation.events.iter().filter(|it| (it.time - START) / DAY % 7 == weekday).count();
        assert!(on(1) > 3 * on(6), "{} {}", on(1), on(6));
        assert!(organisation.events.is_sorted_by_key(|it| it.time));
    }

    #[test]
    fn every_attack_stands_in_the_log() {
        let organisation = Organisation::new(settings(4));
        for label in &organisation.labels {
            let names = |it: &&Event| label.keys.contains(&it.user) || label.keys.contains(&it.place.address);
            let during =
                organisation.events.iter().filter(names).any(|it| (label.start..=label.end).contains(&it.time));
            assert!(during, "{label:?}");
        }
        let kinds: std::collections::BTreeSet<_> = organisation.labels.iter().map(|it| it.attack).collect();
        assert_eq!(kinds.len(), attacks::KINDS.len());
    }
}
