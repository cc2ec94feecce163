//! The only file that reads a clock. Everything else is told the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// The wall clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The clock of timers: how long to wait, never what time it is. Tests can stop it.
pub fn steady() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Both clocks at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub wall: Timestamp,
    pub steady: tokio::time::Instant,
}

pub fn both() -> Now {
    Now { wall: now(), steady: steady() }
}

/// A difference between the clocks that is no drift: somebody set the wall clock.
const STEP: i64 = 5_000_000;
/// How long a wall clock that went back must stay there to be followed.
const BACK_FOR: Duration = Duration::from_secs(600);

/// The wall clock as far as it can be trusted: it goes on at least as fast as the steady one.
///
/// Time that goes back would make every honest line one from the future, and a notification younger than it is. So a wall
/// clock that was set back is followed only when it has stayed there, and one that was set forward at once: what that lets in
/// are stamps from the future, which move nothing by themselves.
#[derive(Clone, Copy, Debug)]
pub struct Trusted {
    last: Now,
    back_since: Option<tokio::time::Instant>,
    /// How far it was off when that was last told.
    told: i64,
}

/// The wall clock was set, by so many microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step(pub i64);

impl Trusted {
    /// `floor`: a time that has passed already, as a life before said.
    pub fn start(now: Now, floor: Timestamp) -> Trusted {
        let last = Now { wall: now.wall.max(floor), steady: now.steady };
        Trusted { last, back_since: None, told: 0 }
    }

    /// As it was at the last look.
    pub fn wall(&self) -> Timestamp {
        self.last.wall
    }

    /// The time now, and whether the clock was set since the last look.
    pub fn look(&mut self, now: Now) -> (Now, Option<Step>) {
        let passed = now.steady.saturating_duration_since(self.last.steady).as_micros() as i64;
        let due = Timestamp::from_micros(self.last.wall.micros().saturating_add(passed));
        let off = now.wall.micros().saturating_sub(due.micros());
        if off > -STEP {
            self.back_since = None;
        }
        let since = *self.back_since.get_or_insert(now.steady);
        let wall = match off {
            0.. => now.wall,
            _ if off <= -STEP && now.steady.saturating_duration_since(since) >= BACK_FOR => now.wall,
            _ => due,
        };
        if off > -STEP {
            self.back_since = None;
        }
        // One that stays behind is told once, not at every look.
        let is_step = off.abs() >= STEP && (off - self.told).abs() >= STEP;
        self.told = if off <= -STEP && wall == due { off } else { 0 };
        self.last = Now { wall, steady: now.steady };
        (self.last, is_step.then_some(Step(off)))
    }
}

/// A clock that never goes back, for measuring how long something took.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How long this thread has been on a processor: what a piece of work costs, whatever else the machine does. Where the system
/// does not say it, the time that passed.
#[derive(Clone, Copy, Debug)]
pub struct ThreadTime {
    watch: Stopwatch,
    at_start: Option<Duration>,
}

impl ThreadTime {
    pub fn start() -> ThreadTime {
        ThreadTime { watch: Stopwatch::start(), at_start: thread_time() }
    }

    pub fn elapsed(&self) -> Duration {
        match (thread_time(), self.at_start) {
            (Some(now), Some(start)) => now.saturating_sub(start),
            _ => self.watch.elapsed(),
        }
    }
}

/// Linux: nanoseconds on a processor, from the scheduler's own books.
fn thread_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Second of the steady clock and of the wall, then what is trusted, and the step that is told.
    fn check(looks: &[(u64, i64, i64, Option<i64>)]) {
        let start = steady();
        let now = |(at, wall): (u64, i64)| Now {
            wall: Timestamp::from_micros(wall * 1_000_000),
            steady: start + Duration::from_secs(at),
        };
        let mut trusted = Trusted::start(now((0, 1000)), Timestamp::MIN);
        for (at, wall, expected, step) in looks {
            let (found, told) = trusted.look(now((*at, *wall)));
            assert_eq!(
                (found.wall.micros() / 1_000_000, told.map(|it| it.0 / 1_000_000)),
                (*expected, *step),
                "at {at}"
            );
        }
    }

    #[test]
    fn time_never_goes_back_at_once() {
        check(&[(1, 1001, 1001, None), (2, 1002, 1002, None), (3, 1001, 1003, None), (4, 1004, 1004, None)]);
        check(&[(1, 901, 1001, Some(-100)), (2, 902, 1002, None), (3, 1003, 1003, None), (4, 904, 1004, Some(-100))]);
        check(&[
            (1, 5000, 5000, Some(3999)),
            (2, 1002, 5001, Some(-3999)),
            (602, 1602, 1602, None),
            (603, 1603, 1603, None),
        ]);
    }

    #[test]
    fn a_life_before_has_the_last_word() {
        let now = Now { wall: Timestamp::from_micros(5), steady: steady() };
        assert_eq!(Trusted::start(now, Timestamp::from_micros(9)).look(now).0.wall, Timestamp::from_micros(9));
    }
}
