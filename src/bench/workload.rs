//! An access log with a known answer.
//!
//! A thousand events a second from 100,000 users and 200,000 addresses, few of them busy and most of them rare. People are
//! at home, but for one event in two thousand; 8 in 100 are failed logins, from anywhere. The background never lets one user or address fail more than three times in 75 s. Into it, on users
//! and addresses used for nothing else, come bursts that cross "five in a minute" and near misses that do not:
//!
//! | per million | what | crosses by user | by address |
//! |---|---|---|---|
//! | 400 | one user, one address, 8 to 16 failures within 20 s | yes | yes |
//! | 100 | one address, as many users | | yes |
//! | 100 | one user, as many addresses | yes | |
//! | 250 | four failures within 20 s | | |
//! | 250 | five failures, 20 s apart | | |
//!
//! So the answer is the same whichever way a window's edge is read.

use std::collections::{HashMap, HashSet, VecDeque};

use super::Random;
use super::layout::{ACTIONS, FAILURE};

const USERS: usize = 100_000;
const ADDRESSES: usize = 200_000;
const EVENTS_PER_SECOND: u64 = 1000;
/// One event in so many that is no failure comes from somewhere else than its user's home: a stolen password, or a journey.
const AWAY_EVERY: u64 = 2000;
/// 2025-04-12 08:00:00 UTC.
const START: u32 = 1_744_444_800;
/// Fewer would not hold one burst of each kind.
pub const EVENTS_MIN: u64 = 1000;

/// One event, before anybody wrote it down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Happening {
    pub number: u64,
    /// Since 1970.
    pub second: u32,
    pub user: u32,
    pub address: u32,
    /// Index into [`ACTIONS`].
    pub action: usize,
}

/// The events, in their order.
pub struct Workload {
    random: Random,
    users: Zipf,
    addresses: Zipf,
    users_quota: Quota,
    addresses_quota: Quota,
    injected: VecDeque<Happening>,
    failing: f64,
    events: u64,
    background: u64,
    background_done: u64,
    done: u64,
}

impl Workload {
    pub fn new(events: u64, seed: u64) -> Workload {
        let events = events.max(EVENTS_MIN);
        let mut random = Random(seed);
        let injected = inject(events, &mut random);
        let background = events - injected.len() as u64;
        Workload {
            random,
            users: Zipf::new(USERS),
            addresses: Zipf::new(ADDRESSES),
            users_quota: Quota::default(),
            addresses_quota: Quota::default(),
            failing: (0.08 * events as f64 - injected.len() as f64).max(0.0) / background as f64,
            injected,
            events,
            background,
            background_done: 0,
            done: 0,
        }
    }

    fn background(&mut self, second: u32) -> Happening {
        self.background_done += 1;
        let Workload { random, users, addresses, users_quota, addresses_quota, .. } = self;
        let (user, address, action) = if random.unit() < self.failing {
            let user = users_quota.draw(second, || users.draw(random));
            let address = addresses_quota.draw(second, || addresses.draw(random));
            (user, address, FAILURE)
        } else {
            let action = action(random.below(1000));
            let (user, elsewhere) = (users.draw(random), addresses.draw(random));
            let address = if self.done.is_multiple_of(AWAY_EVERY) { elsewhere } else { home(user) };
            (user, address, action)
        };
        Happening { number: self.done, second, user, address, action }
    }
}

impl Iterator for Workload {
    type Item = Happening;

    fn next(&mut self) -> Option<Happening> {
        if self.done == self.events {
            return None;
        }
        let second = START + (self.background_done * span(self.events) / self.background.max(1)) as u32;
        let is_due = |it: &Happening| it.second <= second || self.background_done >= self.background;
        let event = match self.injected.front().is_some_and(is_due) {
            true => self.injected.pop_front().map(|it| Happening { number: self.done, ..it }),
            false => Some(self.background(second)),
        };
        self.done += 1;
        event
    }
}

/// The address that a user has at home, as most have one.
fn home(user: u32) -> u32 {
    user * (ADDRESSES / USERS) as u32
}

fn span(events: u64) -> u64 {
    events / EVENTS_PER_SECOND
}

fn action(mut weight: u64) -> usize {
    for (index, action) in ACTIONS.iter().enumerate() {
        if weight < action.weight {
            return index;
        }
        weight -= action.weight;
    }
    0
}

/// The bursts and near misses, by time.
fn inject(events: u64, random: &mut Random) -> VecDeque<Happening> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Kind {
        Burst,
        Spray,
        Distributed,
        Four,
        Slow,
    }
    let kinds =
        [(Kind::Burst, 400), (Kind::Spray, 100), (Kind::Distributed, 100), (Kind::Four, 250), (Kind::Slow, 250)];
    let (mut user, mut address) = (USERS as u32, ADDRESSES as u32);
    let room = span(events).saturating_sub(140).max(1);
    let mut all = Vec::new();
    for (kind, per_million) in kinds {
        for _ in 0..(events * per_million).div_ceil(1_000_000) {
            let start = START + 10 + random.below(room) as u32;
            let failures = match kind {
                Kind::Four => 4,
                Kind::Slow => 5,
                Kind::Burst | Kind::Spray | Kind::Distributed => 8 + random.below(9) as u32,
            };
            let mut second = |number: u32| match kind {
                Kind::Slow => start + 20 * number,
                _ => start + random.below(21) as u32,
            };
            let mut seconds: Vec<u32> = (0..failures).map(&mut second).collect();
            seconds.sort_unstable();
            for second in seconds {
                all.push(Happening { number: 0, second, user, address, action: FAILURE });
                user += u32::from(kind == Kind::Spray);
                address += u32::from(kind == Kind::Distributed);
            }
            user += 1;
            address += 1;
        }
    }
    all.sort_by_key(|it| it.second);
    all.into()
}

/// The n-th most frequent is drawn n times more rarely than the first.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Zipf {
        let mut sum = 0.0;
        let mut shares: Vec<f64> = (1..=count)
            .map(|it| {
                sum += 1.0 / it as f64;
                sum
            })
            .collect();
        shares.iter_mut().for_each(|it| *it /= sum);
        Zipf(shares)
    }

    fn draw(&self, random: &mut Random) -> u32 {
        let unit = random.unit();
        self.0.partition_point(|it| *it < unit).min(self.0.len() - 1) as u32
    }
}

/// At most three failures in 75 s for each key.
#[derive(Default)]
struct Quota(HashMap<u32, [u32; 3]>);

impl Quota {
    fn draw(&mut self, second: u32, mut draw: impl FnMut() -> u32) -> u32 {
        loop {
            let key = draw();
            let last = self.0.entry(key).or_default();
            if last[0] == 0 || second - last[0] > 75 {
                *last = [last[1], last[2], second];
                return key;
            }
        }
    }
}

/// What "at least five failures in 60 s" must find, by a recount of every event.
#[derive(Default)]
pub struct Truth {
    pub by_user: Recount,
    pub by_address: Recount,
}

#[derive(Default)]
pub struct Recount {
    failures: HashMap<u32, VecDeque<u32>>,
    crossed: HashSet<u32>,
    /// Failures that were at least the fifth in their window.
    pub findings: u64,
}

impl Truth {
    pub fn of(workload: Workload) -> Truth {
        let mut truth = Truth::default();
        workload.for_each(|it| truth.observe(&it));
        truth
    }

    pub fn observe(&mut self, event: &Happening) {
        if event.action == FAILURE {
            self.by_user.observe(event.user, event.second);
            self.by_address.observe(event.address, event.second);
        }
    }
}

impl Recount {
    fn observe(&mut self, key: u32, second: u32) {
        let failures = self.failures.entry(key).or_default();
        failures.push_back(second);
        failures.retain(|it| second - it < 60);
        if failures.len() >= 5 {
            self.findings += 1;
            self.crossed.insert(key);
        }
    }

    /// Users or addresses that crossed the threshold.
    pub fn entities(&self) -> usize {
        self.crossed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_answer_for_ever() {
        let truth = Truth::of(Workload::new(1_000_000, 42));
        assert_eq!((truth.by_user.entities(), truth.by_user.findings), (500, 3961));
        assert_eq!((truth.by_address.entities(), truth.by_address.findings), (500, 3971));
    }

    #[test]
    fn events_are_as_many_as_asked_and_in_order() {
        for (events, seed) in [(1000, 1), (12_345, 7)] {
            let all: Vec<Happening> = Workload::new(events, seed).collect();
            assert_eq!(all.len() as u64, events);
            let failures = all.iter().filter(|it| it.action == FAILURE).count() as f64;
            assert!((0.05..0.12).contains(&(failures / events as f64)), "{failures} of {events}");
            assert_eq!(all, Workload::new(events, seed).collect::<Vec<_>>());
        }
    }
}
