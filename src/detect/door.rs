//! Who gets a place among the people that a rule knows, when all places are taken.
//!
//! Kinds that learn what is usual for everybody have no threshold that an estimate could reach: of somebody who is not
//! remembered nothing can be said. What must not happen is that a flood of strangers takes the place of those who are
//! known, or keeps it for months. So a newcomer is counted in a [`Sketch`], and gets a place only when he came more often than
//! somebody who has one. Strangers seen once or twice wait outside; whoever comes back gets in.

use serde::{Deserialize, Serialize};

use super::Pressure;
use super::sketch::Sketch;
use super::slots::Slots;
use crate::model::{Span, Timestamp};

/// At the door of a rule whose places are taken; nothing before that.
#[derive(Default, Serialize, Deserialize)]
pub struct Door(Option<Box<Crowd>>);

#[derive(Serialize, Deserialize)]
struct Crowd {
    sketch: Sketch,
    floor: u32,
    looked: Timestamp,
    since: Timestamp,
    told: bool,
    source: u16,
}

/// Where a newcomer goes.
enum Place {
    Free,
    None,
    /// These leave first: the weakest, all weaker than he is.
    Of(Vec<u64>),
}

/// More visits are not told apart.
const VISITS_MAX: u32 = 199;
const VISITS_MIN: u32 = 2;
/// More bytes tell nobody apart who matters.
const SKETCH_BYTES_MAX: usize = 16 << 20;
const WINDOW: Span = Span::from_secs(86_400);
/// How long who was weak is taken to be strong.
const LOOK_AGAIN: Span = Span::from_secs(3600);

/// How many have places, and what may be spent on counting those outside.
#[derive(Clone, Copy)]
pub struct Room {
    pub people_max: usize,
    pub sketch_bytes: usize,
}

impl Room {
    /// What fits into a budget: three quarters are for people, of whom each takes so many bytes beyond what is taken already.
    pub fn of(bytes_max: usize, taken: usize, of_each: usize, people_max: usize) -> Room {
        let people_max = people_max.min((bytes_max / 4 * 3).saturating_sub(taken) / of_each).max(1);
        Room { people_max, sketch_bytes: bytes_max / 4 }
    }
}

impl Door {
    /// Whether a newcomer gets a place among `people`. `visits`: how often somebody who has one came. `leaves` takes leave of
    /// those, all weaker than he is, who make room for him.
    /// `from`: when he came, and of which source.
    pub fn admits<P>(
        &mut self,
        from: (Timestamp, u16),
        key: u64,
        people: &mut Slots<P>,
        room: Room,
        visits: impl Fn(&P) -> u32,
        leaves: impl FnMut((u64, P)),
    ) -> bool {
        let all = || people.iter().map(|(key, it)| (visits(it).min(VISITS_MAX), key)).collect();
        match self.knock(from, key, people.len(), room, all) {
            Place::Free => true,
            Place::None => false,
            Place::Of(leaving) => {
                leaving.iter().filter_map(|it| Some((*it, people.remove(*it)?))).for_each(leaves);
                true
            }
        }
    }

    fn knock(
        &mut self,
        (now, source): (Timestamp, u16),
        key: u64,
        people: usize,
        room: Room,
        all: impl FnOnce() -> Vec<(u32, u64)>,
    ) -> Place {
        if people < room.people_max {
            if self.0.as_ref().is_some_and(|it| it.sketch.is_over(now)) {
                self.0 = None;
            }
            return Place::Free;
        }
        let crowd = self.0.get_or_insert_with(|| {
            let sketch = Sketch::new(room.sketch_bytes.min(SKETCH_BYTES_MAX), VISITS_MAX, WINDOW, now);
            Box::new(Crowd { sketch, floor: 0, looked: Timestamp::MIN, since: now, told: false, source })
        });
        crowd.sketch.turn(now);
        crowd.sketch.add(key, 1, now);
        let visits = crowd.sketch.estimate(key).min(VISITS_MAX);
        let looked = crowd.looked != Timestamp::MIN && now.since(crowd.looked) < LOOK_AGAIN;
        if visits < VISITS_MIN || looked && visits <= crowd.floor {
            return Place::None;
        }
        let mut weakest = all();
        weakest.sort_unstable();
        crowd.looked = now;
        let leave = weakest.iter().take((room.people_max / 8).max(1)).take_while(|it| it.0 < visits).count();
        crowd.floor = weakest.get(leave).map_or(visits, |it| it.0);
        if leave == 0 {
            return Place::None;
        }
        weakest[..leave].iter().for_each(|it| crowd.sketch.owe(it.1, it.0, now));
        Place::Of(weakest[..leave].iter().map(|it| it.1).collect())
    }

    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |it| it.sketch.bytes())
    }

    pub fn is_strained(&self) -> bool {
        self.0.is_some()
    }

    /// That there are too many, once.
    pub fn pressure(&mut self, now: Timestamp) -> Option<Pressure> {
        let crowd = self.0.as_mut().filter(|it| !it.told && now.since(it.since) >= Pressure::FIRST)?;
        crowd.told = true;
        Some(Pressure { since: crowd.since, sources: vec![(crowd.source, 1)] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Event, feed, time};
    use crate::detect::{Detect, Detector};
    use crate::expr::Expr;
    use crate::model::List;

    const ROOM: Room = Room { people_max: 64, sketch_bytes: 1 << 14 };

    /// Strangers who come so often each; how many of 64 who came twenty times keep their places.
    fn check(strangers: u64, times: u32, expected: usize) {
        let (mut door, mut people) = (Door::default(), Slots::<u32>::default());
        (0..64).for_each(|it| _ = people.insert(it, 20));
        for number in 0..u64::from(times) * strangers {
            let key = 1000 + number % strangers;
            let known = people.get(key).is_some();
            if known || door.admits((time(number as i64), 3), key, &mut people, ROOM, |it| *it, drop) {
                *people.get_or_insert_with(key, u32::default) += 1;
            }
            assert!(people.len() <= 64);
        }
        assert_eq!(people.keys().filter(|it| *it < 64).count(), expected, "{strangers} strangers, {times} times");
        assert!(door.is_strained() && door.pressure(time(0)).is_none());
        assert_eq!(door.pressure(time(5)).unwrap().sources, [(3, 1)]);
        assert!(door.pressure(time(6)).is_none());
    }

    #[test]
    fn strangers_take_no_place_and_regulars_get_one() {
        check(3000, 3, 64);
        // Three who come more often than those inside: an eighth makes room.
        check(3, 40, 56);
    }

    const KINDS: [&str; 11] = [
        "first-seen",
        "rare",
        "spike",
        "drop",
        "off-hours",
        "unfamiliar",
        "fan-out",
        "beacon",
        "growth",
        "overdue",
        "travel",
    ];

    fn kind(name: &str) -> Box<dyn Detector> {
        let (field, peers) = ("source.bytes".to_string(), String::new());
        let (day, false_alerts) = (Span::from_secs(86_400), crate::detect::promise::Rate::parse("1/week").unwrap());
        let any = || Expr::All(vec![]);
        let detect = match name {
            "first-seen" => Detect::FirstSeen {
                field,
                learn: day,
                forget: Span::from_secs(90 * 86_400),
                only: vec![],
                false_alerts: None,
            },
            "rare" => Detect::Rare { field, learn: day, false_alerts },
            "spike" => Detect::Spike { bucket: Span::from_secs(300), field: String::new(), peers, false_alerts },
            "drop" => Detect::Drop { bucket: Span::from_secs(300), at_least: 0, false_alerts },
            "off-hours" => Detect::OffHours { told: None, taught: None, peers, false_alerts },
            "unfamiliar" => {
                let fields = vec!["a.x".into(), "b.x".into()];
                Detect::Unfamiliar { fields, peers, whose: String::new(), learn: day, false_alerts }
            }
            "fan-out" => Detect::FanOut { field, failed: any(), succeeded: any(), peers, false_alerts },
            "beacon" => Detect::Beacon { learn: day, false_alerts },
            "growth" => Detect::Growth { field: String::new(), peers, false_alerts },
            "overdue" => Detect::Overdue { false_alerts },
            "travel" => Detect::Travel {},
            _ => panic!("no such kind"),
        };
        detect.start(day, crate::model::HashKeys(1, 2))
    }

    /// Ten who come every hour for two days; then two thousand strangers, three times each, with a value each time.
    fn flood() -> Vec<Event> {
        let event = |second: i64, who: String, value: i64| {
            Event::of(second, &format!("{who}{}x", List::SEPARATOR), &format!("v{value}|w{value}||||||||"))
        };
        let known = (0..480).map(|it| event(it * 360, format!("known{}", it % 10), it % 10));
        let strangers = (0..6000).map(|it| event(2 * 86_400 + it * 2, format!("stranger{}", it % 2000), it));
        known.chain(strangers).collect()
    }

    #[test]
    fn no_flood_takes_more_than_a_rule_may_remember() {
        let events = flood();
        let bytes_max = 192 << 10;
        for name in KINDS {
            let run = |restart: usize| {
                let mut detector = kind(name);
                detector.limit(bytes_max);
                let (mut trips, mut lapses, mut pressures) = (Vec::new(), Vec::new(), 0);
                for (number, event) in events.iter().enumerate() {
                    feed(&mut *detector, event, number as u64, &mut trips, &mut lapses);
                    assert!(detector.bytes() as u64 <= bytes_max, "{name}: {} bytes", detector.bytes());
                    if number % restart == restart - 1 {
                        let bytes = detector.save();
                        detector = kind(name);
                        detector.limit(bytes_max);
                        detector.restore(&bytes).unwrap();
                    }
                    if number % 100 == 0 {
                        detector.pressures(event.release, &mut |_| pressures += 1);
                    }
                }
                assert!(detector.is_strained(), "{name}");
                (detector.entities(), detector.bytes(), pressures, format!("{trips:?} {lapses:?}"))
            };
            let found = run(usize::MAX);
            assert!((1..=2).contains(&found.2), "{name}: {} pressures", found.2);
            assert_eq!(found, run(1000), "{name}: a restart");
        }
    }
}
