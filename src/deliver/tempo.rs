//! How often somebody may be told.

use std::time::Duration;

use tokio::time::Instant;

/// `"1/s"`, `"30/min"`, `"100/hour"`, as an operator writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tempo {
    /// One message in so much time, on the long run.
    pub every: Duration,
}

impl Tempo {
    /// What the operator wrote; None where it is no tempo.
    pub fn parse(text: &str) -> Option<Tempo> {
        let (count, unit) = text.split_once('/')?;
        let count: u32 = count.trim().parse().ok().filter(|it| (1..=1000).contains(it))?;
        let unit = match unit.trim() {
            "s" => 1,
            "min" => 60,
            "hour" => 3600,
            _ => return None,
        };
        Some(Tempo { every: Duration::from_secs(unit) / count })
    }

    pub const fn seconds(seconds: u64) -> Tempo {
        Tempo { every: Duration::from_secs(seconds) }
    }
}

/// Messages that may leave at once after a quiet time: an ordinary incident is told one by one.
const BURST: u32 = 10;

/// What is left of a tempo. As in the generic cell rate algorithm (ITU-T I.371), one time says all: when the messages sent so
/// far would be through if they had kept to the tempo.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    tempo: Tempo,
    through: Option<Instant>,
}

impl Budget {
    pub fn new(tempo: Tempo) -> Budget {
        Budget { tempo, through: None }
    }

    /// When the next message may leave.
    pub fn next(&self) -> Option<Instant> {
        self.through.map(|it| it.checked_sub(self.tempo.every * (BURST - 1)).unwrap_or(it))
    }

    pub fn allows(&self, now: Instant) -> bool {
        self.next().is_none_or(|it| it <= now)
    }

    /// One leaves. Says whether it was the last for now.
    pub fn spend(&mut self, now: Instant) -> bool {
        self.through = Some(self.through.map_or(now, |it| it.max(now)) + self.tempo.every);
        !self.allows(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tempos() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(Tempo::parse(text), millis.map(|it| Tempo { every: Duration::from_millis(it) }), "{text}");
        };
        check("1/s", Some(1000));
        check("4/s", Some(250));
        check("30/min", Some(2000));
        check("1 / hour", Some(3_600_000));
        check("0/s", None);
        check("1/day", None);
        check("often", None);
        check("1000000/s", None);
    }

    #[test]
    fn on_the_long_run_nobody_is_told_more_often() {
        let start = Instant::now();
        let mut budget = Budget::new(Tempo::seconds(1));
        let mut sent = Vec::new();
        for tenth in 0..1200 {
            let now = start + Duration::from_millis(100) * tenth;
            if budget.allows(now) {
                assert_eq!(budget.spend(now), !budget.allows(now));
                sent.push(tenth);
            }
        }
        assert_eq!(sent.len(), 120 + BURST as usize - 1);
        assert_eq!(sent[..BURST as usize], (0..BURST).collect::<Vec<_>>());
        let quiet = start + Duration::from_secs(600);
        assert!(
            (1..BURST).all(|_| !budget.spend(quiet)) && budget.spend(quiet),
            "quiet time is given back, up to a burst"
        );
    }
}
