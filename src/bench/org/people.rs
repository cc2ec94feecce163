//! What honest people do, odd days included.

use super::super::Random;
use super::world::{City, Place, World};
use super::{DAY, Event, START, What};

pub struct Person {
    pub name: String,
    pub tenant: u32,
    pub city: City,
    pub admin: bool,
    home: Place,
    devices: [String; 2],
    carrier: usize,
    /// Of the day, by their own clock.
    begins: f64,
    /// Bytes of a usual download.
    usual_bytes: f64,
    joined: u32,
    away: Option<(u32, u32, City)>,
    /// Comes by the company's gateway from home too.
    gateway: bool,
}

/// Days of the year on which hardly anybody works, counted from the start.
const HOLIDAYS: [u32; 3] = [11, 25, 46];

impl Person {
    pub fn new(random: &mut Random, world: &World, number: u32, tenant: u32, days: u32) -> Person {
        let city = if random.unit() < 0.7 { world.office(tenant).0 } else { World::city(random) };
        let joined = if random.unit() < 0.15 { random.below(u64::from(days)) as u32 } else { 0 };
        let away = (random.unit() < 0.2).then(|| {
            let first = random.below(u64::from(days)) as u32;
            (first, first + 2 + random.below(5) as u32, World::elsewhere(random, city))
        });
        Person {
            name: format!("user{number}@tenant-{tenant}.example"),
            tenant,
            city,
            admin: number % 25 < 1,
            home: World::home(random, city),
            devices: [format!("laptop-{number}"), format!("phone-{number}")],
            carrier: random.below(2) as usize,
            begins: 7.5 + 2.0 * random.unit(),
            usual_bytes: 200_000.0 * (1.0 + 9.0 * random.unit()),
            joined,
            away,
            gateway: random.unit() < 0.3,
        }
    }

    pub fn device(&self) -> Option<String> {
        Some(self.devices[0].clone())
    }

    pub fn live(&self, random: &mut Random, world: &World, days: u32, events: &mut Vec<Event>) {
        for day in self.joined..days {
            let works = match (day % 7, HOLIDAYS.contains(&day)) {
                (_, true) => 0.1,
                (5 | 6, false) => 0.12,
                (_, false) => 0.92,
            };
            if random.unit() < works {
                self.work(random, world, day, events);
            }
        }
    }

    fn work(&self, random: &mut Random, world: &World, day: u32, events: &mut Vec<Event>) {
        let abroad = self.away.filter(|it| (it.0..=it.1).contains(&day)).map(|it| it.2);
        // The day of the flight is lost.
        if self.away.is_some_and(|it| day == it.0 || day == it.1) {
            return;
        }
        let city = abroad.unwrap_or(self.city);
        let desk = match abroad {
            Some(city) => World::home(random, city),
            None if self.gateway || random.unit() < 0.5 => world.office(self.tenant).1.clone(),
            None => self.home.clone(),
        };
        let midnight = START + i64::from(day) * DAY - city.3 * 3600;
        // On call, now and then: a night that is nobody's attack.
        let begins = if random.unit() < 0.01 { 2.0 } else { self.begins };
        let hour = |random: &mut Random| midnight + ((begins + 9.0 * random.unit()) * 3600.0) as i64;
        let event = |time: i64, what, place: &Place, device: usize| Event {
            time,
            tenant: self.tenant,
            user: self.name.clone(),
            what,
            place: place.clone(),
            device: Some(self.devices[device].clone()),
        };
        for _ in 0..2 + random.below(3) {
            let time = hour(random);
            self.fumble(random, time, &desk, events);
            events.push(event(time, What::Login, &desk, 0));
            for step in 0..3 + random.below(6) as i64 {
                events.push(event(time + 60 + step * 240, What::Read, &desk, 0));
            }
        }
        if random.unit() < 0.6 {
            // The phone of somebody abroad goes out at home.
            let phone = World::mobile(random, self.city, self.carrier);
            events.push(event(hour(random), What::Login, &phone, 1));
        }
        for _ in 0..random.below(4) {
            // The end of a quarter: five times as much, by whoever counts.
            let busy = if day % 30 == 29 { 5.0 } else { 1.0 };
            let bytes = self.usual_bytes * busy * (0.3 + 1.4 * random.unit());
            events.push(event(hour(random), What::Download(bytes as u64), &desk, 0));
        }
        if self.admin && random.unit() < 0.5 {
            events.push(event(hour(random), What::Admin, &desk, 0));
        }
    }

    /// A password that was forgotten: mostly one wrong attempt, after a holiday six.
    fn fumble(&self, random: &mut Random, time: i64, place: &Place, events: &mut Vec<Event>) {
        let wrong = match random.unit() {
            it if it < 0.002 => 6,
            it if it < 0.08 => 1 + random.below(2),
            _ => 0,
        };
        for attempt in 0..wrong as i64 {
            events.push(Event {
                time: time - 15 * (attempt + 1),
                tenant: self.tenant,
                user: self.name.clone(),
                what: What::Failure,
                place: place.clone(),
                device: self.device(),
            });
        }
    }
}
