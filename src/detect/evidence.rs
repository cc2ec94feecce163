//! The latest lines with hits, for the evidence of alerts to come.
//!
//! A line is kept once, however many rules it satisfies, in the order (release time, line hash). Whether a line is still there
//! when a finding asks is decided by what came between the two of them, never by what was thrown away so far: that depends on
//! how the log was cut into batches.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::model::{HitBatch, HitEvent, Proof, Timestamp};

use super::Mark;

/// Kept lines. Every shard keeps all of them, so that what is found does not depend on how many there are.
#[derive(Serialize, Deserialize)]
pub struct EvidenceRing {
    #[serde(skip, default = "all")]
    bytes_max: u64,
    kept: VecDeque<Kept>,
    first: u64,
    /// The texts of all, one after the other: an allocation for each cost more than the copy.
    #[serde(with = "in_one_piece")]
    texts: VecDeque<u8>,
    /// How many bytes of texts were forgotten.
    texts_forgotten: u64,
}

/// Not byte by byte.
mod in_one_piece {
    use std::collections::VecDeque;

    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::ByteBuf;

    pub fn serialize<S: Serializer>(texts: &VecDeque<u8>, serializer: S) -> Result<S::Ok, S::Error> {
        match texts.as_slices() {
            (all, []) => serializer.serialize_bytes(all),
            (first, second) => serializer.serialize_bytes(&[first, second].concat()),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VecDeque<u8>, D::Error> {
        ByteBuf::deserialize(deserializer).map(|it| it.into_vec().into())
    }
}

fn all() -> u64 {
    u64::MAX
}

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    time: Timestamp,
    /// Or that of a line before it, if that is later.
    release: Timestamp,
    source: u16,
    len: u32,
    line: u64,
    hash: u64,
    /// Where its text begins, counted over all there ever were.
    start: u64,
}

impl Kept {
    /// Where it begins among the bytes of all lines there ever were.
    fn begins(&self, number: u64) -> u64 {
        self.start + number * size_of::<Kept>() as u64
    }

    fn ends(&self, number: u64) -> u64 {
        self.begins(number) + u64::from(self.len) + size_of::<Kept>() as u64
    }
}

impl EvidenceRing {
    /// Stands for the line at hand where nothing is kept.
    pub const THIS: u64 = u64::MAX;

    pub fn new(bytes_max: usize) -> EvidenceRing {
        let bytes_max = bytes_max as u64;
        EvidenceRing { bytes_max, kept: VecDeque::new(), first: 0, texts: VecDeque::new(), texts_forgotten: 0 }
    }

    /// The number of the next line.
    pub fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// Numbers before that are taken: nothing is found there.
    pub fn skip_to(&mut self, next: u64) {
        self.first = self.first.max(next);
    }

    pub fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max as u64;
        self.cut();
    }

    /// Takes back what was saved; what it may take stays.
    pub fn restore(&mut self, saved: EvidenceRing) {
        *self = EvidenceRing { bytes_max: self.bytes_max, ..saved };
    }

    /// What it takes, about.
    pub fn bytes(&self) -> usize {
        self.texts.len() + self.kept.len() * size_of::<Kept>()
    }

    /// Keeps the line of an event; its number.
    pub fn keep(&mut self, batch: &HitBatch, event: &HitEvent) -> u64 {
        let text = batch.str(event.text);
        let start = self.texts_forgotten + self.texts.len() as u64;
        let release = self.kept.back().map_or(event.release, |it| it.release.max(event.release));
        self.kept.push_back(Kept {
            time: event.time,
            release,
            source: event.source,
            len: text.len() as u32,
            line: event.line,
            hash: event.line_hash,
            start,
        });
        self.texts.extend(text.as_bytes());
        self.next() - 1
    }

    /// Forgets what no later finding can ask for.
    pub fn cut(&mut self) {
        let newest = self.next().wrapping_sub(1);
        let Some(end) = self.kept.back().map(|it| it.ends(newest)) else { return };
        let before = self.texts_forgotten;
        while let Some(old) = self.kept.front().filter(|it| end - it.begins(self.first) > self.bytes_max) {
            self.texts_forgotten += u64::from(old.len);
            self.kept.pop_front();
            self.first += 1;
        }
        self.texts.drain(..(self.texts_forgotten - before) as usize);
    }

    /// The last line that was released by then; None when there is none.
    pub fn last_at(&self, time: Timestamp) -> Option<u64> {
        let count = self.kept.partition_point(|it| it.release <= time) as u64;
        (count > 0).then(|| self.first + count - 1)
    }

    /// The first and the latest lines of those that are still there when `last` is the newest. `this`: what to say for the
    /// line at hand.
    pub fn few(
        &self,
        marks: &[Mark],
        last: Option<u64>,
        sources: &[Arc<str>],
        this: &dyn Fn(&Mark) -> Option<Proof>,
    ) -> Vec<Proof> {
        let find = |it: &Mark| this(it).or_else(|| self.find(it.evidence, last?, sources));
        let first_max = limits::EVIDENCE_LINES_MAX / 2;
        let mut rest = marks.iter();
        let mut first: Vec<Proof> = rest.by_ref().filter_map(find).take(first_max).collect();
        let mut latest: Vec<Proof> = rest.rev().filter_map(find).take(limits::EVIDENCE_LINES_MAX - first_max).collect();
        latest.reverse();
        first.append(&mut latest);
        first
    }

    fn get(&self, number: u64) -> Option<&Kept> {
        self.kept.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// A line that is still there when `last` is the newest.
    fn find(&self, number: u64, last: u64, sources: &[Arc<str>]) -> Option<Proof> {
        let kept = self.get(number)?;
        let newest = self.get(last).filter(|_| last >= number)?;
        if newest.ends(last) - kept.begins(number) > self.bytes_max {
            return None;
        }
        let start = (kept.start - self.texts_forgotten) as usize;
        let (front, back) = self.texts.as_slices();
        let end = start + kept.len as usize;
        let mut text = Vec::with_capacity(kept.len as usize);
        text.extend_from_slice(&front[start.min(front.len())..end.min(front.len())]);
        text.extend_from_slice(&back[start.max(front.len()) - front.len()..end.max(front.len()) - front.len()]);
        Some(Proof {
            time: kept.time,
            source: sources[usize::from(kept.source)].clone(),
            line: kept.line,
            hash: kept.hash,
            text: String::from_utf8(text).expect("whole texts are kept and forgotten"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the plain form: a list of the last texts that fit. What was kept since does not matter, nor when the old was
    /// thrown away.
    #[test]
    fn a_ring_keeps_the_latest_texts_that_fit() {
        let sources = [Arc::from("stdin")];
        for (bytes_max, cut_every) in [(0, 1), (100, 1), (1000, 1), (1000, 50), (5000, 1), (5000, 7)] {
            let mut ring = EvidenceRing::new(bytes_max);
            let mut plain: VecDeque<(u64, String)> = VecDeque::new();
            let mut asked = Vec::new();
            for line in 0..500u64 {
                if line % cut_every == 0 {
                    ring.cut();
                    asked.clear();
                }
                let text = "aé".repeat((line * 7 % 23) as usize);
                let mut batch = HitBatch::default();
                let range = batch.push(&text);
                let time = Timestamp::from_micros(line as i64);
                let mut event = HitEvent::new(time, 0, line, line, range);
                event.release = time;
                let number = ring.keep(&batch, &event);
                assert_eq!(ring.last_at(time), Some(number));
                plain.push_back((number, text));
                let bytes =
                    |it: &VecDeque<(u64, String)>| it.iter().map(|it| it.1.len() + size_of::<Kept>()).sum::<usize>();
                while bytes(&plain) > bytes_max {
                    plain.pop_front();
                }
                asked.push((number, plain.clone()));
                for (number, plain) in &asked {
                    let oldest = plain.front().map_or(number + 1, |it| it.0);
                    assert!(oldest == 0 || ring.find(oldest - 1, *number, &sources).is_none());
                    for (of, text) in plain {
                        assert_eq!(ring.find(*of, *number, &sources).map(|it| it.text).as_ref(), Some(text));
                    }
                }
            }
        }
    }
}
