//! Something comes as regularly as only a machine does.
//!
//! Malware asks for orders every five minutes; people do nothing every five minutes. Of the gaps g between the events of an
//! entity, T = n ln(mean g) − Σ ln g is 0 when they are all equal and 0.577 n when they come at random; z says how far below
//! that it lies, in standard deviations. Jitter of a third still shows, a missed beat is folded (a gap near k times
//! the mean is k beats), and whoever comes in bursts lies on the other side.
//!
//! Many honest programs are as regular. They are so from the day they are known, so whose rhythm was there while it was
//! learned, or has been told for long enough, is a machine and stays one: what is told is a rhythm that begins. The owner of
//! the rhythm is the entity without its last part: `by: ["user.name", "file.path"]` watches each path of a user.

use serde::{Deserialize, Serialize};

use super::door::{Door, Room};
use super::gate::{Gate, day, owner, round};
use super::promise::{Budget, PER_DEVIATION, Rate};
use super::slots::Slots;
use super::{Detector, Lapse, Mark, Pressure, Seen, Trip, keep_mark};
use crate::limits;
use crate::model::{HashKeys, Span, Timestamp};

pub struct Beacon {
    learn: Span,
    promise: Rate,
    keys: HashKeys,
    gate: Gate,
    state: State,
    bytes_max: usize,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    pairs: Slots<Pair>,
    owners: Slots<Owner>,
    /// Marks of all pairs.
    marks: usize,
    swept: i64,
    door: Door,
    owners_door: Door,
}

/// The rhythm of one entity, 48 bytes, and its marks once it has come twice.
#[derive(Serialize, Deserialize)]
struct Pair {
    last: Timestamp,
    /// When the run began.
    since: Timestamp,
    events: u32,
    /// Of the gaps remembered, in seconds; at most [`GAPS_MAX`], then all weigh half.
    gaps: f32,
    sum: f32,
    logs: f32,
    /// The run was judged, and the tail knows of it.
    judged: bool,
    #[expect(clippy::box_collection, reason = "most have none, and that costs one word instead of three")]
    marks: Option<Box<Vec<Mark>>>,
}

#[derive(Serialize, Deserialize)]
struct Owner {
    first: Timestamp,
    last: Timestamp,
    /// It has kept time while it was learned, or ever since it was told.
    machine_until: Timestamp,
    /// How often it came.
    hits: u32,
}

const GAPS_MIN: f32 = 32.0;
const GAPS_MAX: f32 = 96.0;
/// Beyond what random gaps reach once in a thousand.
const DEVIATIONS_MIN: f64 = 2.8;
/// A rhythm once known is known for so long.
const KNOWN: Span = Span::from_secs(45 * 86_400);
const GAP_MIN: f32 = 1.0;
/// A gap of so many means ends a run.
const BREAK: f32 = 20.0;
const FORGET_DAYS: i64 = 3;
/// With what tables that have just doubled take, and a list and its marks.
const PAIR_BYTES: usize = 2 * (size_of::<Pair>() + 9);
const OWNER_BYTES: usize = 2 * (size_of::<Owner>() + 9);
const MARK_BYTES: usize = 2 * size_of::<Mark>() + size_of::<Vec<Mark>>();

impl Beacon {
    pub fn new(learn: Span, promise: Rate, quiet: Span, keys: HashKeys) -> Beacon {
        let gate = Gate::new(promise, quiet, keys);
        Beacon { learn, promise, keys, gate, state: State::default(), bytes_max: usize::MAX }
    }

    fn sweep(&mut self, now: Timestamp) {
        let today = day(now);
        if today <= self.state.swept {
            return;
        }
        self.state.swept = today;
        self.gate.sweep(now);
        let State { pairs, marks, .. } = &mut self.state;
        pairs.retain(|_, it| {
            let stays = day(it.last) + FORGET_DAYS > today;
            *marks -= if stays { 0 } else { it.marks() };
            stays
        });
        self.state.owners.retain(|_, it| now.since(it.last) < KNOWN);
    }
}

impl Owner {
    fn new(time: Timestamp) -> Owner {
        Owner { first: time, last: time, machine_until: Timestamp::MIN, hits: 0 }
    }
}

impl Pair {
    fn new(time: Timestamp) -> Pair {
        Pair { last: time, since: time, events: 1, gaps: 0.0, sum: 0.0, logs: 0.0, judged: false, marks: None }
    }

    fn marks(&self) -> usize {
        self.marks.as_ref().map_or(0, |it| it.len())
    }

    /// Takes a beat in, and its mark if that is given. The deviations below random, when there are enough gaps to tell.
    fn beat(&mut self, time: Timestamp, mark: Option<Mark>) -> Option<f64> {
        if time <= self.last {
            return None; // late, and its gaps are gone
        }
        let gap = (time.since(self.last).micros() as f64 / 1e6) as f32;
        if gap < GAP_MIN {
            return None;
        }
        let mean = self.sum / self.gaps.max(1.0);
        if self.gaps >= 8.0 && gap > BREAK * mean {
            *self = Pair::new(time);
            return None;
        }
        self.last = time;
        self.events = self.events.saturating_add(1);
        if let Some(mark) = mark {
            keep_mark(self.marks.get_or_insert_default(), mark);
        }
        let beats = (gap / mean.max(GAP_MIN)).round();
        let missed = self.gaps >= 8.0 && (2.0..=6.0).contains(&beats) && (gap - beats * mean).abs() < 0.15 * mean;
        let gap = if missed { gap / beats } else { gap };
        self.gaps += 1.0;
        self.sum += gap;
        self.logs += gap.ln();
        if self.gaps > GAPS_MAX {
            (self.gaps, self.sum, self.logs) = (self.gaps / 2.0, self.sum / 2.0, self.logs / 2.0);
        }
        (self.gaps >= GAPS_MIN).then(|| self.deviations())
    }

    fn deviations(&self) -> f64 {
        let n = f64::from(self.gaps);
        let t = n * (f64::from(self.sum) / n).ln() - f64::from(self.logs);
        (0.577 * n - t) / (0.645 * n).sqrt()
    }

    fn mean(&self) -> f64 {
        f64::from(self.sum / self.gaps.max(1.0))
    }
}

/// Decades that a normal deviation is worth, as raw scores count them.
fn raw(deviations: f64) -> f64 {
    deviations.max(0.0).powi(2) / (2.0 * std::f64::consts::LN_10) / PER_DEVIATION
}

impl Detector for Beacon {
    fn observe(&mut self, seen: &Seen<'_>, found: &mut Vec<Trip>) {
        self.sweep(seen.hit.release);
        let (key, time, release) = (seen.hit.entity_hash, seen.time(), seen.hit.release);
        let whose = owner(seen.entity(), self.keys);
        let Beacon { gate, state, bytes_max, .. } = self;
        let State { pairs, owners, marks, door, owners_door, .. } = state;
        let eighth = *bytes_max / 8;
        if pairs.get(key).is_none() {
            let people_max = limits::BEACONS_MAX.min(3 * eighth / PAIR_BYTES).max(1);
            let room = Room { people_max, sketch_bytes: eighth };
            let leave = |it: (u64, Pair)| *marks -= it.1.marks();
            if !door.admits(seen.from(), key, pairs, room, |it| it.events, leave) {
                return;
            }
        }
        if owners.get(whose).is_none() {
            let people_max = limits::HABITS_MAX.min(2 * eighth / OWNER_BYTES).max(1);
            let room = Room { people_max, sketch_bytes: eighth };
            if !owners_door.admits(seen.from(), whose, owners, room, |it| it.hits, drop) {
                return;
            }
        }
        let owner = owners.get_or_insert_with(whose, || Owner::new(time));
        owner.last = owner.last.max(time);
        owner.hits = owner.hits.saturating_add(1);
        gate.begin(0, release);
        let Some(pair) = pairs.get_mut(key) else {
            pairs.insert(key, Pair::new(time));
            return;
        };
        let before = pair.marks();
        let has_room = before >= limits::EVIDENCE_LINES_MAX || *marks < eighth / MARK_BYTES;
        let deviations = pair.beat(time, has_room.then_some(seen.mark));
        *marks = *marks - before + pair.marks();
        let Some(deviations) = deviations else { return };
        let raw = raw(deviations);
        if !pair.judged {
            pair.judged = true;
            self.gate.learn(raw, release);
        }
        if deviations < DEVIATIONS_MIN {
            return;
        }
        if pair.since < owner.first.plus(self.learn) || release < owner.machine_until {
            owner.machine_until = release.plus(KNOWN);
            return;
        }
        let score = self.gate.score(raw);
        if score <= Budget::LEAST {
            return;
        }
        let mean = pair.mean();
        let marks = pair.marks.as_ref().map_or_else(|| vec![seen.mark], |it| it.to_vec());
        let mut trip = Trip::exact(u64::from(pair.events), pair.since, marks)
            .because("observed_s", (mean * 10.0).round() / 10.0)
            .because("gaps", pair.gaps.round())
            .because("deviations", (deviations * 10.0).round() / 10.0)
            .because("expected", "gaps of no rule")
            .because("rhythm_since", pair.since.to_string())
            .because("known_since", owner.first.to_string())
            .because("normal_after", format!("a rhythm that is there in the first {} of a client", self.learn))
            .because("false_alerts", self.promise.to_string());
        trip.story = Some(format!(
            "every {} for {}, {} times, {deviations:.1} deviations steadier than chance; nothing of its kept time in {} before",
            Span::from_secs(mean.round() as i64),
            time.since(pair.since),
            pair.events,
            pair.since.since(owner.first)
        ));
        trip.score = round(score);
        // Half of the gaps it takes again: enough to be sure, soon enough to matter.
        let until = pair.since.plus(Span::from_secs((mean * f64::from(GAPS_MIN) * 2.0) as i64));
        self.gate.hold(seen, 0, until.max(release), trip, found);
    }

    fn lapse(&mut self, now: Timestamp, found: &mut Vec<Lapse>) {
        self.gate.lapse(now, found);
    }

    fn finish(&mut self, found: &mut Vec<Lapse>) {
        self.gate.finish(found);
    }

    fn save(&self) -> Vec<u8> {
        self.gate.save_with(&self.state)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.state = self.gate.restore_with(bytes)?;
        Ok(())
    }

    fn entities(&self) -> usize {
        self.state.pairs.len()
    }

    fn bytes(&self) -> usize {
        let State { pairs, owners, marks, door, owners_door, .. } = &self.state;
        let people = pairs.len() * PAIR_BYTES + owners.len() * OWNER_BYTES + marks * MARK_BYTES;
        people + door.bytes() + owners_door.bytes()
    }

    fn limit(&mut self, bytes: u64) {
        self.bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    fn is_strained(&self) -> bool {
        self.state.door.is_strained() || self.state.owners_door.is_strained()
    }

    fn pressures(&mut self, now: Timestamp, each: &mut dyn FnMut(Pressure)) {
        let State { door, owners_door, .. } = &mut self.state;
        door.pressure(now).into_iter().chain(owners_door.pressure(now)).for_each(each);
    }

    fn looks_back(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::{Event, KEYS, told};
    use crate::model::List;

    const DAY: i64 = 86_400;

    fn check(gaps: impl Iterator<Item = i64>, begins: i64, expected: usize) {
        let entity = format!("ann{}/status", List::SEPARATOR);
        let mut all = vec![Event::of(0, &entity, "")];
        let mut at = begins;
        for gap in gaps {
            at += gap;
            all.push(Event::of(at, &entity, ""));
        }
        let beacon = || {
            let promise = Rate::parse("1/week").unwrap();
            Beacon::new(Span::from_secs(7 * DAY), promise, Span::from_secs(7 * DAY), KEYS)
        };
        assert_eq!(told(beacon, &all, 60 * DAY).len(), expected);
    }

    #[test]
    fn clockwork_is_told_and_people_are_not() {
        check((0..80).map(|it| 300 + it % 5), 9 * DAY, 1);
        // A beat is missed now and then.
        check((0..80).map(|it| if it % 11 == 10 { 600 } else { 300 + it % 7 * 4 }), 9 * DAY, 1);
        // Bursts, as people work.
        check((0..200).map(|it| if it % 9 == 0 { 4000 } else { 5 + it * it % 97 }), 9 * DAY, 0);
        // It was there from the first day on, and goes on after a pause.
        check((0..400).map(|it| if it == 200 { 12 * DAY } else { 300 + it % 5 }), 60, 0);
        check((0..20).map(|_| 300), 9 * DAY, 0);
    }
}
