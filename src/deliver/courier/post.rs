//! What one receiver waits for, and what to do next: the courier's decisions, without its clock, tasks and sockets.
//!
//! A plain object that is told the time, so that the service's task and a simulation of years drive the very same lines.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::bundle::{Bundle, Bundling, told_with};
use super::{Behind, Fate};
use crate::deliver::Note;
use crate::deliver::outcome::{Outcome, SLOW};
use crate::deliver::transport::Progress;
use crate::limits;
use crate::model::{Alert, Severity, Span};

/// Refusals of a note before it is sent once more with less in it.
const REFUSALS_MAX: u32 = 5;
/// Failures in a row after which one note at a time probes the receiver.
const FAILURES_BEFORE_PROBING: u32 = 5;

/// A receiver that takes nothing for so long is worth an alert elsewhere.
const LASTING: Duration = Duration::from_secs(600);
/// How often a receiver must say that it is no more, over that time.
const GONE_TRIES: u32 = 3;

/// What is to be known of a receiver, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It has taken nothing for a while.
    Lasting,
    /// It is no more, and is tried no more.
    Gone,
}

/// How patient the courier is.
#[derive(Clone, Debug)]
pub struct Pace {
    /// The first wait; it doubles from try to try.
    pub first: Duration,
    /// The longest wait of our own choosing.
    pub most: Duration,
    /// After that a note expires.
    pub expiry: Duration,
    /// Notes waiting for one receiver, and the bytes they may hold.
    pub waiting_max: usize,
    pub waiting_bytes_max: usize,
    pub behind: Behind,
    /// For the jitter.
    pub seed: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            first: Duration::from_secs(1),
            most: Duration::from_secs(90),
            expiry: Duration::from_secs(limits::DELIVERY_SECONDS_MAX),
            waiting_max: limits::OUTBOX_WAITING_MAX,
            waiting_bytes_max: limits::OUTBOX_BYTES_MAX,
            behind: Behind::Nothing,
            seed: 0,
        }
    }
}

/// How long to wait after so many failures. `dice` is in 0..1.
///
/// What the receiver asks for is kept, with up to a second more so that not everybody returns at once. Our own wait has
/// full jitter: anything up to the doubled time. Measured against half jitter it needs fewer tries for the same load, and
/// a crowd that failed together never returns together.
pub fn wait_after(failures: u32, asked: Option<Span>, first: Duration, most: Duration, dice: f64) -> Duration {
    match asked {
        Some(asked) => asked.to_std() + first.min(Duration::from_secs(1)).mul_f64(dice),
        None => first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(most).mul_f64(dice),
    }
}

/// splitmix64: jitter needs no better.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((it ^ (it >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A note on its way.
pub struct Parcel {
    pub(super) note: Note,
    pub(super) progress: Progress,
    pub(super) tries: u32,
    pub(super) failures: u32,
    pub(super) refusals: u32,
    pub(super) is_reduced: bool,
    pub(super) expires: Instant,
    /// When the next try is due, if it waits for one.
    pub(super) due: Option<Instant>,
    pub(super) is_in_flight: bool,
    /// Why the last try failed.
    pub(super) trouble: String,
    pub(super) bytes: usize,
    /// The digest that it carries instead of its own body.
    pub(super) bundle: Option<Box<Bundle>>,
    /// A digest with it was refused.
    pub(super) is_alone: bool,
}

/// A parcel that has ended, and how.
pub struct Ended {
    pub note: Note,
    pub fate: Fate,
    pub tries: u32,
    pub remark: Option<String>,
}

impl Ended {
    /// Tripline itself is what the note was about.
    pub fn is_about_us(&self) -> bool {
        self.note.alert.rule.id.starts_with("tripline.")
    }
}

/// Everything one receiver waits for.
pub struct Post {
    pub(super) pace: Pace,
    pub(super) in_flight_max: usize,
    pub(super) dice: Dice,
    pub(super) parcels: BTreeMap<u64, Parcel>,
    /// The notes of one alert, the first of which may be tried.
    pub(super) lanes: HashMap<String, VecDeque<u64>>,
    /// First of their lanes, and due: the worse first, then the older.
    pub(super) ready: BTreeSet<(Reverse<Severity>, u64)>,
    /// First of their lanes, and not yet due.
    pub(super) later: BTreeSet<(Instant, u64)>,
    pub(super) expiries: BTreeSet<(Instant, u64)>,
    pub(super) in_flight: usize,
    pub(super) bytes: usize,
    pub(super) next: u64,
    /// In a row, of whatever note.
    pub(super) failures: u32,
    /// The receiver asked for peace until then. A success meanwhile, of a try that was under way, does not end it.
    pub(super) asked_until: Option<Instant>,
    /// The next probe of a receiver that fails.
    pub(super) probe_at: Option<Instant>,
    /// Since when it takes nothing, and whether that was said.
    failing_since: Option<Instant>,
    is_lasting_said: bool,
    /// How often in a row it said that it is no more, and when last; tries that were under way together say it once.
    gone: (u32, Option<Instant>),
    is_gone_said: bool,
    /// None: everything is told one by one, and at once.
    pub(super) bundling: Option<Bundling>,
    pub(super) settled: VecDeque<Ended>,
}

/// What to send now.
pub struct Load {
    pub id: u64,
    pub key: String,
    pub body: Arc<[u8]>,
    pub progress: Progress,
}

impl Post {
    pub fn new(pace: Pace, in_flight_max: usize, dice: Dice) -> Post {
        Post {
            pace,
            in_flight_max,
            dice,
            parcels: BTreeMap::new(),
            lanes: HashMap::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            expiries: BTreeSet::new(),
            in_flight: 0,
            bytes: 0,
            next: 0,
            failures: 0,
            asked_until: None,
            probe_at: None,
            failing_since: None,
            is_lasting_said: false,
            gone: (0, None),
            is_gone_said: false,
            bundling: None,
            settled: VecDeque::new(),
        }
    }

    /// The same for a receiver that is to be told only so often.
    pub fn with(self, bundling: Option<Bundling>) -> Post {
        Post { bundling, ..self }
    }

    pub fn is_full(&self) -> bool {
        self.parcels.len() >= self.pace.waiting_max || self.bytes >= self.pace.waiting_bytes_max
    }

    pub fn admit(&mut self, note: Note, now: Instant) {
        let id = self.next;
        self.next += 1;
        let evidence: usize = note.alert.evidence.iter().map(|it| it.text.len() + 128).sum();
        let bytes = note.body.len() + evidence + 1024;
        let expires = now + self.pace.expiry.saturating_sub(note.waited.to_std());
        let lane = self.lanes.entry(note.lane.clone()).or_default();
        lane.push_back(id);
        if lane.len() == 1 {
            self.ready.insert((Reverse(note.severity), id));
        }
        self.expiries.insert((expires, id));
        self.bytes += bytes;
        let parcel = Parcel {
            note,
            progress: Progress::default(),
            tries: 0,
            failures: 0,
            refusals: 0,
            is_reduced: false,
            expires,
            due: None,
            is_in_flight: false,
            trouble: String::new(),
            bytes,
            bundle: None,
            is_alone: false,
        };
        self.parcels.insert(id, parcel);
    }

    /// The next to be sent, if one may be sent now.
    pub fn take(&mut self, now: Instant) -> Option<Load> {
        let room = if self.is_probing() { 1 } else { self.in_flight_max };
        if self.is_gone(now) || self.in_flight >= room || self.gate().is_some_and(|it| now < it) {
            return None;
        }
        while let Some((due, id)) = self.later.first().copied().filter(|(due, _)| *due <= now) {
            self.later.remove(&(due, id));
            if let Some(parcel) = self.parcels.get_mut(&id) {
                parcel.due = None;
                self.ready.insert((Reverse(parcel.note.severity), id));
            }
        }
        let (_, id) = self.ready.pop_first()?;
        self.bundle(id, now);
        let parcel = self.parcels.get_mut(&id).expect("what is ready is there: it leaves both at once");
        parcel.is_in_flight = true;
        parcel.tries += 1;
        self.in_flight += 1;
        let progress = std::mem::take(&mut parcel.progress);
        let (key, body) = match &parcel.bundle {
            Some(bundle) => (&bundle.key, &bundle.body),
            None => (&parcel.note.key, &parcel.note.body),
        };
        Some(Load { id, key: key.clone(), body: body.clone(), progress })
    }

    /// Writes the body of what came without one; from then on it stays the same.
    pub fn complete(&mut self, load: &mut Load, whole: impl FnOnce(&Alert) -> Vec<u8>) {
        if load.body.is_empty()
            && let Some(parcel) = self.parcels.get_mut(&load.id)
        {
            parcel.note.body = whole(&parcel.note.alert).into();
            load.body = parcel.note.body.clone();
        }
    }

    /// The answer to one try. `reduce` makes the smaller body.
    pub fn judge(
        &mut self,
        id: u64,
        outcome: Outcome,
        progress: Progress,
        now: Instant,
        reduce: impl FnOnce(&Alert) -> Vec<u8>,
    ) -> Option<Ended> {
        self.in_flight -= 1;
        let parcel = self.parcels.get_mut(&id)?;
        parcel.is_in_flight = false;
        parcel.progress = progress;
        match outcome {
            Outcome::Delivered => {
                self.receiver_is_well();
                self.end(id, Fate::Delivered)
            }
            Outcome::Final { why } => {
                self.receiver_is_well();
                self.end(id, Fate::Dead { why })
            }
            Outcome::Refused { why } => {
                parcel.refusals += 1;
                let refusals = parcel.refusals;
                if parcel.is_reduced {
                    let is_bundle = parcel.bundle.is_some();
                    self.receiver_is_well();
                    if is_bundle {
                        self.break_up(id);
                        return None;
                    }
                    return self.end(id, Fate::Dead { why });
                }
                if refusals >= REFUSALS_MAX {
                    parcel.is_reduced = true;
                    match &mut parcel.bundle {
                        Some(bundle) => bundle.body = reduce(&bundle.alert).into(),
                        None => parcel.note.body = reduce(&parcel.note.alert).into(),
                    }
                    parcel.progress.remark = Some(format!("{why}, so it was sent without details"));
                }
                self.receiver_is_well();
                let wait = wait_after(refusals, None, self.pace.first, self.pace.most, self.dice.roll());
                self.put_off(id, now + wait, why)
            }
            Outcome::Retry { after, why } => {
                self.gone = (0, None);
                self.retry(id, after, why, now)
            }
            Outcome::Gone { why } => {
                if self.gone.1.is_none_or(|it| now.saturating_duration_since(it) >= SLOW.to_std() / 2) {
                    self.gone = (self.gone.0 + 1, Some(now));
                }
                self.retry(id, Some(SLOW), why, now)
            }
        }
    }

    /// The receiver cannot now.
    fn retry(&mut self, id: u64, after: Option<Span>, why: String, now: Instant) -> Option<Ended> {
        self.failing_since.get_or_insert(now);
        let parcel = self.parcels.get_mut(&id)?;
        parcel.failures += 1;
        let failures = parcel.failures;
        // Tries that were under way together are one failure once we probe: what counts is time, not traffic.
        if !self.is_probing() || self.in_flight == 0 {
            self.failures = self.failures.saturating_add(1);
        }
        let (first, most) = (self.pace.first, self.pace.most);
        let mut due = now + wait_after(failures, after, first, most, self.dice.roll());
        if after.is_some() {
            // It said so to all of them.
            self.asked_until = self.asked_until.max(Some(due));
        } else if self.is_probing() {
            let probes = self.failures - FAILURES_BEFORE_PROBING + 1;
            let probe = now + wait_after(probes, None, first, most, self.dice.roll());
            self.probe_at = self.probe_at.max(Some(probe));
            due = due.max(probe);
        }
        self.put_off(id, due, why)
    }

    /// A note that has ended without an answer of its own: it was told with another, or has waited as long as it may,
    /// whether it was ever tried or not.
    pub fn expire(&mut self, now: Instant) -> Option<Ended> {
        if let Some(ended) = self.settled() {
            return Some(ended);
        }
        let id = self.expiries.iter().take_while(|it| it.0 <= now).map(|it| it.1).find(|it| self.is_idle(*it))?;
        let trouble = &self.parcels.get(&id)?.trouble;
        let why = if trouble.is_empty() { "expired untried".into() } else { format!("expired; at last it {trouble}") };
        self.end(id, Fate::Dead { why })
    }

    /// The oldest note that is not being sent, for want of room.
    pub fn displace(&mut self, why: &str) -> Option<Ended> {
        let id = self.parcels.keys().copied().find(|it| self.is_idle(*it))?;
        self.end(id, Fate::Dead { why: why.into() })
    }

    /// Everything that waits only because of our own back-off is due now.
    fn pull_forward(&mut self) {
        for (due, id) in std::mem::take(&mut self.later) {
            match self.parcels.get_mut(&id) {
                // A refused note is not helped by a receiver that is well.
                Some(parcel) if parcel.refusals == 0 => {
                    parcel.due = None;
                    self.ready.insert((Reverse(parcel.note.severity), id));
                }
                Some(_) => {
                    self.later.insert((due, id));
                }
                None => {}
            }
        }
    }

    /// Before the end: whatever kept a note waiting, unless the receiver asked for it, is forgotten once.
    pub fn give_last_chance(&mut self) {
        self.failures = 0;
        self.probe_at = None;
        if let Some(bundling) = &mut self.bundling {
            bundling.close();
        }
        self.pull_forward();
    }

    /// When something is to be done that no message announces.
    pub fn wakes(&self, now: Instant) -> Option<Instant> {
        let room = if self.is_probing() { 1 } else { self.in_flight_max };
        let expiry = self.expiries.iter().find(|it| self.is_idle(it.1)).map(|it| it.0);
        if self.is_gone(now) {
            return expiry;
        }
        let due = if self.ready.is_empty() { self.later.first().map(|it| it.0) } else { Some(now) };
        let due = due.filter(|_| self.in_flight < room).map(|it| self.gate().map_or(it, |gate| it.max(gate)));
        match (due, expiry) {
            (Some(due), Some(expiry)) => Some(due.min(expiry)),
            (due, expiry) => due.or(expiry),
        }
    }

    fn gate(&self) -> Option<Instant> {
        let budget = self.bundling.as_ref().and_then(Bundling::next);
        self.asked_until.max(self.probe_at).max(budget)
    }

    /// It is no more. What waits for it does so until it is too old, or until a new life or another configuration tries again.
    fn is_gone(&self, now: Instant) -> bool {
        self.gone.0 >= GONE_TRIES && self.has_failed_for(LASTING, now)
    }

    fn has_failed_for(&self, long: Duration, now: Instant) -> bool {
        self.failing_since.is_some_and(|it| now.saturating_duration_since(it) >= long)
    }

    /// What is to be said of the receiver, and was not said yet.
    pub fn trouble(&mut self, now: Instant) -> Option<Trouble> {
        if self.is_gone(now) {
            self.is_lasting_said = true;
            return (!std::mem::replace(&mut self.is_gone_said, true)).then_some(Trouble::Gone);
        }
        if self.gone.0 > 0 || !self.has_failed_for(LASTING, now) {
            return None;
        }
        (!std::mem::replace(&mut self.is_lasting_said, true)).then_some(Trouble::Lasting)
    }

    pub fn is_probing(&self) -> bool {
        self.failures >= FAILURES_BEFORE_PROBING
    }

    fn is_idle(&self, id: u64) -> bool {
        self.parcels.get(&id).is_some_and(|it| !it.is_in_flight)
    }

    fn receiver_is_well(&mut self) {
        let was_probing = self.is_probing();
        (self.failing_since, self.is_lasting_said) = (None, false);
        (self.gone, self.is_gone_said) = ((0, None), false);
        self.failures = 0;
        self.probe_at = None;
        if was_probing {
            self.pull_forward();
        }
    }

    /// Waits for another try. Where that is too late, it expires meanwhile.
    fn put_off(&mut self, id: u64, due: Instant, why: String) -> Option<Ended> {
        let parcel = self.parcels.get_mut(&id)?;
        parcel.due = Some(due);
        parcel.trouble = why;
        self.later.insert((due, id));
        None
    }

    /// Takes a parcel out, and lets the next of its lane go on.
    pub fn end(&mut self, id: u64, fate: Fate) -> Option<Ended> {
        let mut parcel = self.parcels.remove(&id)?;
        self.bytes -= parcel.bytes;
        if let Some(bundle) = parcel.bundle.take() {
            parcel.progress.remark.get_or_insert_with(|| told_with(bundle.len()));
            self.unbundle(*bundle, &fate, parcel.tries);
        }
        self.expiries.remove(&(parcel.expires, id));
        self.ready.remove(&(Reverse(parcel.note.severity), id));
        if let Some(due) = parcel.due {
            self.later.remove(&(due, id));
        }
        if let Some(lane) = self.lanes.get_mut(&parcel.note.lane) {
            let was_first = lane.front() == Some(&id);
            lane.retain(|it| *it != id);
            match lane.front() {
                None => {
                    self.lanes.remove(&parcel.note.lane);
                }
                Some(next) if was_first => {
                    let severity = self.parcels.get(next).map(|it| it.note.severity).unwrap_or(Severity::Info);
                    self.ready.insert((Reverse(severity), *next));
                }
                Some(_) => {}
            }
        }
        Some(Ended { note: parcel.note, fate, tries: parcel.tries, remark: parcel.progress.remark })
    }
}
