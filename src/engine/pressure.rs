//! How the memory is shared, and who is told when a share does not suffice.
//!
//! A flood that fills a rule's memory is an attack or a rule that asks too much; either way a person must know, within
//! seconds. So the engine says which rule, how much it may remember and where the newcomers came from. What it says depends on
//! nothing but the hits: partitions are looked at together, and each counts for one second from its own beginning.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{RuleSet, own};
use crate::detect::{Pressure, budget};
use crate::limits;
use crate::model::{Alert, Severity, Span, Timestamp};

/// What each may take of the memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shares {
    /// Each rule's detector.
    pub rules: Vec<u64>,
    /// Kept lines.
    pub ring: usize,
    /// Open alerts.
    pub open: usize,
    /// Hits that wait for their time.
    pub waiting: usize,
}

impl Shares {
    pub fn of(memory: u64, set: &RuleSet) -> Shares {
        let memory = memory - limits::PROGRAM_BYTES.min(memory / 3);
        let weights = || set.rules.iter().map(|it| budget::weight(&it.rule.detect));
        let all = weights().sum();
        let percent = |it: u64| usize::try_from(memory / 100 * it).unwrap_or(usize::MAX);
        Shares {
            rules: weights().map(|it| budget::of_rule(memory, it, all)).collect(),
            ring: limits::EVIDENCE_RING_BYTES_MAX.min(percent(limits::EVIDENCE_PERCENT)),
            open: percent(limits::OPEN_ALERTS_PERCENT),
            waiting: percent(limits::WAITING_PERCENT),
        }
    }
}

/// Which rules were told of, and which will be.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Watch {
    /// By rule: since when it was short when that was told last.
    told: BTreeMap<usize, Timestamp>,
    /// Partitions that may have to be told of, by rule.
    noted: BTreeMap<usize, Vec<Pressure>>,
}

/// One alert a rule in this time.
const AGAIN: Span = Span::from_secs(600);
/// Partitions that begin within a second of the first are told of together, when each has counted for one.
const TOGETHER: Span = Span::from_secs(1);
const TELL: Span = Span::from_secs(2);

impl Watch {
    pub fn note(&mut self, pressures: &mut Vec<(usize, Pressure)>) {
        for (rule, pressure) in pressures.drain(..) {
            if self.told.get(&rule).is_none_or(|it| pressure.since.since(*it) >= AGAIN) {
                self.noted.entry(rule).or_default().push(pressure);
            }
        }
    }

    /// Alerts that are due at `now`, in their order.
    pub fn look(&mut self, set: &RuleSet, sources: &[Arc<str>], shares: &Shares, now: Timestamp) -> Vec<Alert> {
        let mut alerts = Vec::new();
        let Watch { told, noted } = self;
        noted.retain(|rule, lanes| {
            let Some(since) = lanes.iter().map(|it| it.since).min() else { return false };
            if since.plus(TELL) > now {
                return true;
            }
            told.insert(*rule, since);
            let first = lanes.iter().filter(|it| it.since.since(since) < TOGETHER);
            alerts.push(tell(&set.rules[*rule].rule.id, shares.rules[*rule], since.plus(TELL), &top(first, sources)));
            false
        });
        alerts.sort_by_key(|it| it.opened_at);
        alerts
    }

    /// New rules. `numbers`: for each old one its number among them, if it is one of them.
    pub fn renumbered(self, numbers: &[Option<usize>]) -> Watch {
        let number = |it: usize| numbers.get(it).copied().flatten();
        Watch {
            told: self.told.into_iter().filter_map(|(rule, it)| Some((number(rule)?, it))).collect(),
            noted: self.noted.into_iter().filter_map(|(rule, it)| Some((number(rule)?, it))).collect(),
        }
    }
}

/// Sources with their shares, the largest first.
fn top<'a>(lanes: impl Iterator<Item = &'a Pressure>, sources: &[Arc<str>]) -> Vec<(String, u64)> {
    let mut counts: Vec<u64> = vec![0; sources.len()];
    for (source, count) in lanes.flat_map(|it| &it.sources) {
        if let Some(it) = counts.get_mut(usize::from(*source)) {
            *it += u64::from(*count);
        }
    }
    let all: u64 = counts.iter().sum();
    let mut named: Vec<(String, u64)> =
        sources.iter().map(|it| it.to_string()).zip(counts).filter(|it| it.1 > 0).collect();
    named.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    named.truncate(3);
    named.into_iter().map(|(name, count)| (name, count * 100 / all.max(1))).collect()
}

fn tell(rule: &str, bytes: u64, at: Timestamp, sources: &[(String, u64)]) -> Alert {
    let from: Vec<String> = sources.iter().map(|(name, percent)| format!("`{name}` ({percent} %)")).collect();
    let from = if from.is_empty() { String::new() } else { format!("; newcomers came from {}", from.join(", ")) };
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    let summary = format!(
        "rule `{rule}` has more to remember than its {mebibytes:.1} MiB: it goes by estimates, which may be too high and are never too low{from}"
    );
    let mut alert = own::alert("state-pressure", Severity::High, &summary, at);
    alert.because.insert("rule".into(), rule.into());
    alert.because.insert("bytes".into(), bytes.into());
    alert.because.insert("sources".into(), sources.iter().map(|it| it.0.as_str()).collect::<Vec<_>>().into());
    alert
}

/// A rule's estimates have become so coarse that more alerts rest on them than anybody could look at.
pub fn tell_crowded(rule: &str, bytes: u64, at: Timestamp) -> Alert {
    let (mebibytes, most) = (bytes as f64 / f64::from(1 << 20), limits::GUESSES_PER_MINUTE_MAX);
    let summary = format!(
        "rule `{rule}` opens no more alerts by estimates this minute: there are {most}, and others are only counted \
         (`tripline_alerts_unlisted_total`). What it has to remember needs more than its {mebibytes:.1} MiB: raise `limits.memory`"
    );
    let mut alert = own::alert("estimates-unlisted", Severity::High, &summary, at);
    alert.because.insert("rule".into(), rule.into());
    alert.because.insert("bytes".into(), bytes.into());
    alert
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loudest_sources_are_named() {
        let lane = |sources: &[(u16, u32)]| Pressure { since: Timestamp::MIN, sources: sources.to_vec() };
        let lanes = [lane(&[(0, 1), (2, 30)]), lane(&[(2, 60), (1, 9)])];
        let names = ["a", "b", "c"].map(Arc::from);
        let expected = [("c", 90), ("b", 9), ("a", 1)].map(|it| (it.0.to_string(), it.1));
        assert_eq!(top(lanes.iter(), &names), expected);
        let alert = tell("ssh-guessing", 4 << 20, Timestamp::from_micros(0), &expected[..1]);
        assert_eq!(alert.rule.id, "tripline.state-pressure");
        assert!(
            alert.summary.starts_with("rule `ssh-guessing` has more to remember than its 4.0 MiB"),
            "{}",
            alert.summary
        );
        assert!(alert.summary.ends_with("newcomers came from `c` (90 %)"), "{}", alert.summary);
    }
}
