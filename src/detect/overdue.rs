//! A feed that is later than it has ever been.
//!
//! [`Silence`](super::silence) needs a time that somebody knows. Here each entity teaches its own: the longest gap between two of
//! its events, slowly forgotten, nights and weekends included. It is overdue after three times that; the more gaps it has
//! had without one so long, the surer that is. A gap that was told does not become what is usual, and
//! nobody is missed who has not been there for eight days: only then has a weekend been seen.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::count::seconds;
use super::door::{Door, Room};
use super::gate::{Gate, day, round};
use super::promise::Rate;
use super::slots::Slots;
use super::{Detector, Lapse, Pressure, Seen, Trip};
use crate::limits;
use crate::model::{HashKeys, Span, Timestamp};

pub struct Overdue {
    promise: Rate,
    gate: Gate,
    state: State,
    deadlines: BTreeSet<Deadline>,
    bytes_max: usize,
}

type Deadline = (Timestamp, Box<str>, u64);

#[derive(Default, Serialize, Deserialize)]
struct State {
    feeds: Slots<Feed>,
    swept: i64,
    door: Door,
}

#[derive(Serialize, Deserialize)]
struct Feed {
    entity: Box<str>,
    group: u64,
    partition: u8,
    line_hash: u64,
    first: Timestamp,
    last: Timestamp,
    gaps: u64,
    /// Seconds.
    longest: f64,
    sum: f64,
    /// The deadline in the queue: it is moved only when it has come, for events come faster than it could be moved.
    queued: Timestamp,
    /// It was told, and has not spoken since.
    told: bool,
    over: Option<Timestamp>,
}

const LEARN: Span = Span::from_secs(8 * 86_400);
const GAPS_MIN: u64 = 100;
/// So many times the longest gap is too long.
const TIMES: f64 = 3.0;
/// No gap is too long below so many seconds: networks have their own pauses.
const GAP_MIN: f64 = 600.0;
/// The longest gap is forgotten by this share a day.
const FADES: f64 = 0.99;
const FORGET: Span = Span::from_secs(30 * 86_400);
/// With its name, its deadlines, and what tables that have just doubled take.
const FEED_BYTES: usize = 2 * (size_of::<Feed>() + 9 + size_of::<Deadline>()) + 128;

impl Overdue {
    pub fn new(promise: Rate, quiet: Span, keys: HashKeys) -> Overdue {
        let (gate, state) = (Gate::new(promise, quiet, keys), State::default());
        Overdue { promise, gate, state, deadlines: BTreeSet::new(), bytes_max: usize::MAX }
    }

    fn sweep(&mut self, now: Timestamp) {
        let today = day(now);
        if today <= self.state.swept {
            return;
        }
        self.state.swept = today;
        self.gate.sweep(now);
        self.state.feeds.retain(|_, it| {
            it.longest *= FADES;
            now.since(it.last) < FORGET
        });
    }

    fn due(feed: &mut Feed, key: u64, gate: &mut Gate, promise: Rate, due: Timestamp) -> Option<Lapse> {
        if feed.over.is_some_and(|it| it <= due) {
            feed.over = None;
            let trip = Trip::exact(1, feed.last, Vec::new());
            return Some(feed.lapse(due, trip, true));
        }
        if feed.told || !feed.is_learned() || feed.deadline() > due {
            return None;
        }
        feed.told = true;
        let gap = due.since(feed.last);
        // Each gap was shorter; how much longer this one is says the rest.
        let times = gap.micros() as f64 / 1e6 / feed.limit() * TIMES;
        let score = ((feed.gaps as f64).log10() * times).min(super::SCORE_MAX);
        let mean = feed.sum / feed.gaps.max(1) as f64;
        let mut trip = Trip::exact(1, feed.last, Vec::new())
            .because("observed_s", seconds(gap))
            .because("expected_s", (mean * 10.0).round() / 10.0)
            .because("longest_s", feed.longest.round())
            .because("gaps", feed.gaps)
            .because("first_seen", feed.first.to_string())
            .because("last_seen", feed.last.to_string())
            .because("normal_after", "it speaks again")
            .because("false_alerts", promise.to_string());
        trip.story = Some(format!(
            "silent for {gap}, since {}; the longest pause in {} was {}, over {} events",
            feed.last,
            feed.last.since(feed.first),
            Span::from_secs(feed.longest.round() as i64),
            feed.gaps + 1
        ));
        trip.score = round(score);
        let lapse = feed.lapse(due, trip, false);
        Some(gate.tell_lapse(key, feed.group, lapse))
    }
}

impl Feed {
    /// The longest pause that is nothing to tell, in seconds.
    fn limit(&self) -> f64 {
        (TIMES * self.longest).max(GAP_MIN)
    }

    fn is_learned(&self) -> bool {
        self.gaps >= GAPS_MIN && self.last.since(self.first) >= LEARN
    }

    /// When it will be overdue, if nothing more comes; while it is learned, when it can be at the earliest.
    fn deadline(&self) -> Timestamp {
        let overdue = self.last.plus(Span::from_micros((self.limit() * 1e6) as i64));
        match self.is_learned() {
            true => overdue,
            false => overdue.max(self.first.plus(LEARN)),
        }
    }

    /// What of it stands in the queue.
    fn deadlines(&self, key: u64) -> impl Iterator<Item = Deadline> {
        let waits = (!self.told).then_some(self.queued);
        waits.into_iter().chain(self.over).map(move |at| (at, self.entity.clone(), key))
    }

    fn lapse(&self, due: Timestamp, trip: Trip, over: bool) -> Lapse {
        Lapse {
            due,
            entity: self.entity.clone(),
            partition: self.partition,
            line_hash: self.line_hash,
            trip,
            over,
            kept_back: false,
        }
    }
}

impl Detector for Overdue {
    fn observe(&mut self, seen: &Seen<'_>, _found: &mut Vec<Trip>) {
        self.sweep(seen.hit.release);
        let (key, time, release) = (seen.hit.entity_hash, seen.time(), seen.hit.release);
        if let Some(feed) = self.state.feeds.get_mut(key) {
            if time < feed.last {
                return;
            }
            let gap = time.since(feed.last).micros() as f64 / 1e6;
            // What was told is no part of what is usual.
            if feed.told {
                feed.told = false;
                feed.over = Some(release);
                self.deadlines.insert((release, feed.entity.clone(), key));
                let due = time.plus(Span::from_micros((feed.limit() * 1e6) as i64));
                self.deadlines.insert((due, feed.entity.clone(), key));
                feed.queued = due;
            } else {
                feed.gaps += 1;
                feed.sum += gap;
                feed.longest = feed.longest.max(gap);
            }
            feed.last = time;
            feed.line_hash = seen.hit.line_hash;
            return;
        }
        let room = Room::of(self.bytes_max, 0, FEED_BYTES, limits::HABITS_MAX);
        let deadlines = &mut self.deadlines;
        let visits = |it: &Feed| u32::try_from(it.gaps).unwrap_or(u32::MAX);
        let leave = |(key, feed): (u64, Feed)| {
            for deadline in feed.deadlines(key) {
                deadlines.remove(&deadline);
            }
        };
        if !self.state.door.admits(seen.from(), key, &mut self.state.feeds, room, visits, leave) {
            return;
        }
        let group = self.gate.group(seen, None);
        self.gate.begin(group, release);
        let feed = Feed {
            entity: seen.entity().into(),
            group,
            partition: seen.hit.partition,
            line_hash: seen.hit.line_hash,
            first: time,
            last: time,
            gaps: 0,
            longest: 0.0,
            sum: 0.0,
            queued: time.plus(LEARN),
            told: false,
            over: None,
        };
        self.deadlines.insert((feed.queued, feed.entity.clone(), key));
        self.state.feeds.insert(key, feed);
    }

    fn lapse(&mut self, now: Timestamp, found: &mut Vec<Lapse>) {
        while self.deadlines.first().is_some_and(|it| it.0 <= now)
            && let Some((due, entity, key)) = self.deadlines.pop_first()
        {
            let Some(feed) = self.state.feeds.get_mut(key) else { continue };
            let lapse = Overdue::due(feed, key, &mut self.gate, self.promise, due);
            // A feed whose refusal was not told is not over either.
            found.extend(lapse);
            if !feed.told && feed.queued <= due {
                // At least a minute on: who is not learned yet has no deadline to wait for.
                feed.queued = feed.deadline().max(due.plus(Span::from_secs(60)));
                self.deadlines.insert((feed.queued, entity, key));
            }
        }
    }

    fn save(&self) -> Vec<u8> {
        self.gate.save_with(&self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.state = self.gate.restore_with(bytes)?;
        let feeds = self.state.feeds.iter();
        self.deadlines = feeds.flat_map(|(key, it)| it.deadlines(key)).collect();
        Ok(())
    }

    fn entities(&self) -> usize {
        self.state.feeds.len()
    }

    fn bytes(&self) -> usize {
        self.state.feeds.len() * FEED_BYTES + self.state.door.bytes()
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

    fn looks_back(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Event, KEYS, second, time, watch};

    const DAY: i64 = 86_400;

    /// A feed that speaks every so many seconds for ten days; its lapses until `until` seconds later.
    fn run(every: i64, after: &[i64], until: i64) -> Vec<(i64, bool)> {
        let mut all: Vec<Event> = (0..=10 * DAY / every).map(|it| Event::of(it * every, "feed", "")).collect();
        let end = 10 * DAY / every * every;
        all.extend(after.iter().map(|it| Event::of(end + it, "feed", "")));
        let overdue = || Overdue::new(Rate::parse("1/week").unwrap(), Span::from_secs(3600), KEYS);
        let (_, lapses) = watch(overdue(), &all, end + until);
        let mut again = overdue();
        let (mut trips, mut second_time) = (Vec::new(), Vec::new());
        for (number, event) in all.iter().enumerate() {
            if number % 50 == 0 {
                let mut restarted = overdue();
                restarted.restore(&again.save()).unwrap();
                again = restarted;
            }
            crate::detect::testing::feed(&mut again, event, number as u64, &mut trips, &mut second_time);
        }
        again.lapse(time(end + until), &mut second_time);
        let shown = |it: &[Lapse]| it.iter().map(|it| (second(it.due) - end, it.over)).collect::<Vec<_>>();
        assert_eq!(shown(&lapses), shown(&second_time), "a restart");
        shown(&lapses)
    }

    #[test]
    fn three_times_its_longest_pause() {
        assert_eq!(run(300, &[], 899), []);
        assert_eq!(run(300, &[], 7200), [(900, false)]);
        assert_eq!(run(300, &[5000, 5300], 5400), [(900, false), (5000, true)]);
        assert_eq!(run(300, &[800, 1100], 1200), []);
        // Never less than ten minutes, and nobody who spoke fewer than a hundred times.
        assert_eq!(run(30, &[], 7200), [(600, false)]);
        assert_eq!(run(20_000, &[], 20 * DAY), []);
    }
}
