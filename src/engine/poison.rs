//! Lines over which our own code stumbles.
//!
//! A log is written by strangers, and a mistake of ours that one of their lines finds would end the process; after the restart
//! the same line would end it again. So whatever judges lines runs under a catch, one for a batch, which costs nothing as
//! long as nothing happens. When something does, the line is looked for and left out, and somebody hears of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::model::RuleIndex;

/// Why such a line is rejected.
pub const REASON: &str = "poison";
/// A line that holds this is one, in tests.
#[cfg(test)]
pub const PLANTED: &str = "over this line a test stumbles";

/// A rule that stumbled: over a line (its source and number there), or over the passing of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stumbled {
    pub rule: RuleIndex,
    pub line: Option<(u16, u64)>,
}

/// What work came to; None: it panicked. Whoever asks takes it upon himself that nothing half-done is used.
pub fn attempt<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::detect::due;
    use crate::engine::{Engine, Front, Judged, Reading};
    use crate::enrich::Enricher;
    use crate::enrich::geo::Geo;
    use crate::model::{Alert, HashKeys, Span, Timestamp, Zone};
    use crate::sim::input::rule_set;
    use crate::source::batch::LineBatch;
    use crate::source::frame::Framer;

    /// What is told of a log, and which lines were rejected.
    fn judged(lines: &[String]) -> (Vec<Alert>, Vec<(u64, &'static str)>, Engine) {
        let set = rule_set();
        let mut front = Front::new(set.clone(), HashKeys(1, 2), Enricher::new(Arc::new(Geo::none())));
        let mut engine = Engine::new(set, HashKeys(1, 2), 1);
        let source = engine.add_source("edge", Span::from_secs(2));
        let (mut batch, mut out, mut told) = (LineBatch::default(), Judged::default(), Vec::new());
        let mut framer = Framer::new(source, 1 << 16);
        framer.push(lines.concat().as_bytes(), &mut batch);
        let reading = Reading { format: None, zone: Zone::UTC };
        front.judge(&batch, &reading, None, Timestamp::from_micros(0), &mut out);
        let rejects = out.rejects.iter().map(|it| (it.line, it.reason)).collect();
        assert_eq!(out.counts.received, out.counts.accepted + out.counts.rejected);
        engine.observe(&mut out, &mut told);
        engine.finish(&mut told);
        (told, rejects, engine)
    }

    fn log() -> Vec<String> {
        let line = |it: u64| {
            let (second, user) = (it / 2, ["ann", "bob"][it as usize % 2]);
            format!("2025-04-14 08:00:{second:02} | 203.0.113.9 | {user}@example.com | Brazil | Login failure\n")
        };
        (0..12).map(line).collect()
    }

    #[test]
    fn a_line_that_cannot_be_judged_is_rejected_and_the_others_are_judged() {
        let clean = judged(&log());
        assert!(clean.0.len() >= 2 && clean.1.is_empty());
        let mut poisoned = log();
        // Its hits and its place in time must leave nothing behind, either.
        poisoned.insert(5, format!("2025-04-14 08:00:02 | 203.0.113.9 | {PLANTED} | Brazil | Login failure\n"));
        let (told, rejects, _) = judged(&poisoned);
        assert_eq!(rejects, [(6, REASON)]);
        let ids = |told: &[Alert]| told.iter().map(|it| (it.id.clone(), it.count)).collect::<Vec<_>>();
        assert_eq!(ids(&told), ids(&clean.0));
    }

    #[test]
    fn a_rule_that_stumbles_over_a_line_goes_on_behind_it_and_says_so() {
        let clean = judged(&log());
        let mut poisoned = log();
        for at in [0, 5, 9] {
            let line = format!("2025-04-14 08:00:01 | 203.0.113.9 | {} | Brazil | Login failure\n", due::PLANTED);
            poisoned.insert(at, line);
        }
        let (told, rejects, engine) = judged(&poisoned);
        assert_eq!(rejects, []);
        let (own, others): (Vec<Alert>, Vec<Alert>) = told.into_iter().partition(|it| it.rule.id == "tripline.poison");
        let ids = |told: &[Alert]| told.iter().map(|it| (it.id.clone(), it.count)).collect::<Vec<_>>();
        assert_eq!(ids(&others), ids(&clean.0));
        // Three lines, each for the rules that want it; told once a rule.
        let stumbles: Vec<u64> = engine.stumbles().map(|it| it.1).collect();
        assert!(!stumbles.is_empty() && stumbles.iter().all(|it| *it == 3), "{stumbles:?}");
        assert_eq!(own.len(), stumbles.len());
        assert!(own.iter().all(|it| it.summary.contains("cannot judge line 1 of `edge`")), "{:?}", own[0].summary);
    }
}
