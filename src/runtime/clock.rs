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
