//! The engine's memory as bytes, and back.
//!
//! What is saved is what the journal before it led to: detectors, kept evidence, hits that wait for their time, the clocks of
//! the sources and the open alerts. Rules are named by id and by a fingerprint of what they say, so a snapshot outlives a
//! change of the rules: whatever did not change finds its memory again.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::order::{self, SavedClock};
use super::pressure::Watch;
use super::{Engine, RuleSet, Waits};
use crate::alert::desk::SavedDesk;
use crate::detect::evidence::EvidenceRing;
use crate::detect::risk::Ledger;
use crate::model::{Alert, HitBatch, RuleIndex, Timestamp};

/// A rule as journals and snapshots name it: its id and the fingerprint of what it says.
pub type RuleName = (String, u64);

/// How snapshots begin. Another layout, another number; none is a number of rules, with which they began once. Then the
/// [`Detect::form`] of each rule's memory follows.
const LAYOUT: u32 = 0x7269_0003;
/// The one before, in which all memories had the form 0.
const LAYOUT_WITHOUT_FORMS: u32 = 0x7269_0002;

/// As it is read. [`Engine::save`] writes the same in pieces.
#[derive(Deserialize)]
struct Saved {
    rules: Vec<RuleName>,
    /// For each rule, what its detector wrote.
    detectors: Vec<ByteBuf>,
    ring: EvidenceRing,
    waiting: Vec<HitBatch>,
    sources: Vec<(String, SavedClock, bool)>,
    desk: SavedDesk,
    now: Timestamp,
    told_time: Timestamp,
    watch: Watch,
}

/// As bytes, of which there are about so many: a list that doubles as it grows would take twice as much.
fn written(it: &impl Serialize, bytes: usize) -> Vec<u8> {
    postcard::to_extend(it, Vec::with_capacity(bytes)).expect("memories are plain data, and memory is there")
}

impl RuleSet {
    /// The rules in order of their numbers, as journals and snapshots name them.
    pub fn names(&self) -> Vec<RuleName> {
        self.rules.iter().map(|it| (it.rule.id.clone(), it.fingerprint())).collect()
    }

    /// For each of `old`, its number among the rules in force; None for one that is gone or says something else now.
    pub fn numbers_of(&self, old: &[RuleName]) -> Vec<Option<RuleIndex>> {
        let now: HashMap<(&str, u64), usize> =
            self.rules.iter().enumerate().map(|(index, it)| ((it.rule.id.as_str(), it.fingerprint()), index)).collect();
        old.iter().map(|(id, print)| now.get(&(id.as_str(), *print)).map(|it| RuleIndex(*it as u16))).collect()
    }
}

/// What rules learned from history: of each that compares with what was before, what its detector remembers. Windows
/// over minutes have nothing to learn, and what was not told then must not be told late.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Lessons(Vec<(RuleName, Vec<u8>, u64)>);

impl Lessons {
    /// How many rules learned something.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Engine {
    /// What its rules have learned. For engines of one shard.
    pub fn lessons(&self) -> Lessons {
        let names = self.set.names();
        let learn = |rule: &usize| self.set.rules[*rule].rule.detect.learns();
        let lesson = |rule: usize| {
            let (bytes, next) = self.shards[0].lesson(rule);
            let ledger = self.ledgers.iter().find(|it| it.rule().index() == rule);
            (names[rule].clone(), ledger.map_or(bytes, Ledger::save), next)
        };
        Lessons((0..names.len()).filter(learn).map(lesson).collect())
    }

    /// Begins with what was learned. For engines of one shard that remember nothing, with the keys of the one that learned.
    pub fn take_lessons(&mut self, lessons: &Lessons) -> Result<(), String> {
        let names: Vec<RuleName> = lessons.0.iter().map(|it| it.0.clone()).collect();
        for (number, (_, bytes, next)) in self.set.numbers_of(&names).into_iter().zip(&lessons.0) {
            let Some(number) = number else { continue };
            match self.ledgers.iter_mut().find(|it| it.rule() == number) {
                Some(ledger) => ledger.restore(bytes)?,
                None => self.shards[0].take_lesson(number, bytes, *next)?,
            }
        }
        Ok(())
    }

    /// Everything it remembers, in pieces that are to be written one after the other: what detectors wrote is large, and need
    /// not be copied. For engines of one shard, which services have.
    pub fn save(&self) -> Vec<Vec<u8>> {
        let shard = &self.shards[0];
        let (mut detectors, ring, waiting) = shard.save();
        for ledger in &self.ledgers {
            detectors[ledger.rule().index()] = ledger.save();
        }
        let mut pieces = vec![written(&(LAYOUT, self.forms(), self.set.names(), detectors.len()), 1 << 12)];
        for detector in detectors {
            pieces.push(written(&detector.len(), 10));
            pieces.push(detector);
        }
        let sources: Vec<_> =
            (0..self.sources.len()).map(|it| (&*self.sources[it], self.clocks[it].save(), self.closed[it])).collect();
        let rest = (ring, waiting, sources, self.desk.save(), self.now, self.told_time, &self.watch);
        pieces.push(written(&rest, ring.bytes() + (1 << 16)));
        pieces
    }

    /// The form of each rule's memory.
    fn forms(&self) -> Vec<u8> {
        self.set.rules.iter().map(|it| it.rule.detect.form()).collect()
    }

    /// Takes back what [`Engine::save`] wrote, in one piece, into an engine that remembers nothing. Alerts of rules that are gone
    /// or say something else now are resolved and appended to `told`. Gives a sentence for each rule whose memory has a form that
    /// this version cannot read: that rule begins anew, and no other does. The error says what about the bytes is wrong.
    pub fn restore(&mut self, bytes: &[u8], told: &mut Vec<Alert>) -> Result<Vec<String>, String> {
        let (layout, bytes) = postcard::take_from_bytes::<u32>(bytes).map_err(|it| it.to_string())?;
        let (forms, bytes) = match layout {
            LAYOUT => postcard::take_from_bytes::<Vec<u8>>(bytes).map_err(|it| it.to_string())?,
            LAYOUT_WITHOUT_FORMS => (Vec::new(), bytes),
            _ => return Err("it was written by another version of tripline".into()),
        };
        let mut complaints = Vec::new();
        let saved: Saved = postcard::from_bytes(bytes).map_err(|it| it.to_string())?;
        let numbers = self.set.numbers_of(&saved.rules);
        let shard = &mut self.shards[0];
        for (at, (bytes, number)) in saved.detectors.into_iter().zip(&numbers).enumerate() {
            let rule = number.map(|it| &self.set.rules[it.index()].rule);
            if let Some(rule) = rule.filter(|it| it.detect.form() != forms.get(at).copied().unwrap_or(0)) {
                complaints.push(format!(
                    "what the rule {} remembered was written by another version of tripline and cannot be used: it begins anew",
                    rule.id
                ));
            } else if let Some(number) = number
                && let Some(ledger) = self.ledgers.iter_mut().find(|it| it.rule() == *number)
            {
                ledger.restore(&bytes)?;
            } else if let Some(number) = number {
                shard.restore_rule(*number, &bytes)?;
            }
        }
        shard.restore_ring(saved.ring);
        for mut batch in saved.waiting {
            order::renumber(&mut batch, &numbers);
            self.waiting.extend(Waits::of(&batch));
            shard.observe(&Arc::new(batch));
        }
        for (name, clock, closed) in saved.sources {
            Arc::make_mut(&mut self.sources).push(name.into());
            self.clocks.push(super::SourceClock::restored(clock, &numbers));
            self.closed.push(closed);
        }
        self.desk.restore(saved.desk, &numbers, told)?;
        let numbers: Vec<Option<usize>> = numbers.iter().map(|it| it.map(RuleIndex::index)).collect();
        self.watch = saved.watch.renumbered(&numbers);
        self.now = saved.now;
        self.told_time = saved.told_time;
        Ok(complaints)
    }

    /// The sources that have not ended: number and name.
    pub fn open_sources(&self) -> Vec<(u16, String)> {
        let open = (0..self.sources.len()).filter(|it| !self.closed[*it]);
        open.map(|it| (it as u16, self.sources[it].to_string())).collect()
    }

    /// The time that was let pass.
    pub fn now(&self) -> Timestamp {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Front, Judged, Reading};
    use crate::enrich::Enricher;
    use crate::enrich::geo::Geo;
    use crate::model::{HashKeys, Span, Zone};
    use crate::sim::input::compiled;
    use crate::source::batch::LineBatch;
    use crate::source::frame::Framer;

    const KEYS: HashKeys = HashKeys(1, 2);

    #[test]
    fn of_another_version_is_used_what_can_be_read_and_the_rest_is_told() {
        let set = compiled(
            r#"[Rule(id: "counts", title: "", severity: Low, when: Eq("activity", "login.failure"), by: ["user.name"],
                detect: Count(at_least: 300, within: "1h")),
            Rule(id: "learns", title: "", severity: Low, when: Eq("activity", "login.success"), by: ["user.name"],
                detect: FirstSeen(field: "source.ip", learn: "14d")),
            Rule(id: "learns-rates", title: "", severity: Low, when: Exists("user.name"), by: ["user.name"],
                detect: Spike(false_alerts: "1/week"))]"#,
        );
        let mut front = Front::new(set.clone(), KEYS, Enricher::new(Arc::new(Geo::none())));
        let mut engine = Engine::new(set.clone(), KEYS, 1);
        let source = engine.add_source("edge", Span::from_secs(2));
        let (mut batch, mut judged) = (LineBatch::default(), Judged::default());
        let mut framer = Framer::new(source, 1 << 16);
        for second in 0..40 {
            let line =
                format!("2025-04-14 08:00:{second:02} | 203.0.113.9 | ann@example.com | Brazil | Login success\n");
            framer.push(line.as_bytes(), &mut batch);
            framer.push(line.replace("success", "failure").as_bytes(), &mut batch);
        }
        let reading = Reading { format: None, zone: Zone::UTC };
        front.judge(&batch, &reading, None, Timestamp::from_micros(0), &mut judged);
        engine.observe(&mut judged, &mut Vec::new());

        let bytes = engine.save().concat();
        let mut same = Engine::new(set.clone(), KEYS, 1);
        assert_eq!(same.restore(&bytes, &mut Vec::new()), Ok(vec![]));
        let ((_, forms), rest) = postcard::take_from_bytes::<(u32, Vec<u8>)>(&bytes).unwrap();
        assert_eq!(forms, engine.forms());
        let old = postcard::to_extend(&LAYOUT_WITHOUT_FORMS, Vec::new()).map(|it| [&it, rest].concat()).unwrap();
        let mut other = Engine::new(set.clone(), KEYS, 1);
        let told = other.restore(&old, &mut Vec::new()).unwrap();

        let remembers = |it: &Engine, rule: usize| it.shards[0].bytes(rule) > 0;
        let (mut kept, mut begun) = (0, 0);
        for (number, rule) in set.rules.iter().enumerate() {
            assert_eq!(remembers(&same, number), remembers(&engine, number), "{}", rule.rule.id);
            let is_kept = rule.rule.detect.form() == 0;
            assert_eq!(remembers(&other, number), is_kept && remembers(&engine, number), "{}", rule.rule.id);
            assert_eq!(told.iter().any(|it| it.contains(&format!(" {} ", rule.rule.id))), !is_kept, "{told:?}");
            kept += usize::from(remembers(&other, number));
            begun += usize::from(!is_kept && remembers(&engine, number));
        }
        assert_eq!((kept, begun), (1, 2));
        assert!(other.restore(&[1, 2, 3], &mut Vec::new()).is_err());
    }
}
