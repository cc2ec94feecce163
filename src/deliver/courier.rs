//! The courier: every note reaches its receiver, or somebody hears that it did not.
//!
//! The obvious loop — take a note, send it, try again until it works — fails in four ways: one dead receiver holds up all
//! others, one poisonous note holds up its receiver, a crowd of notes falls on a receiver that has just come back, and a
//! message that says "over" overtakes the one that said "fire". So each receiver has a task and a queue of its own; each
//! note waits for itself, in a lane with the other notes of its alert; waiting doubles, with full jitter; and after some
//! failures in a row only one note at a time probes, until one gets through.
//!
//! What is decided stands in [`Post`], a plain object that is told the time; [`Work`] only waits and sends.
//!
//! Seam for a durable outbox: it hands in notes that it has stored, says [`Behind::Outbox`], and forgets a note when its
//! [`Receipt`] comes back. Nothing is kept here that it would need after a crash.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::outcome::Outcome;
use super::transport::{Progress, Transport, Wall};
use super::{Moment, Note, compose, escape, facts, file, terminal::Look};
use crate::limits;
use crate::model::{Alert, Severity, Span};

/// Notes between the sender and the task; the queue proper is the task's own.
const INBOX_NOTES: usize = 64;
/// Refusals of a note before it is sent once more with less in it.
const REFUSALS_MAX: u32 = 5;
/// Failures in a row after which one note at a time probes the receiver.
const FAILURES_BEFORE_PROBING: u32 = 5;
/// A dead-letter file. Larger: it becomes `NAME.1`, and the `NAME.1` before it goes.
const DEAD_LETTER_BYTES_MAX: u64 = 64 << 20;

/// Carries one note once. [`Transport`] does; tests have others.
pub trait Carry: Send + Sync + 'static {
    /// One try. `progress` is what earlier tries of the same note left there.
    fn carry(&self, key: &str, body: &[u8], progress: Progress) -> impl Future<Output = (Outcome, Progress)> + Send;
    /// A body with no word of a stranger in it.
    fn reduced(&self, alert: &Alert) -> Vec<u8>;
    /// Tries at once.
    fn in_flight_max(&self) -> usize;
}

impl Carry for Transport {
    async fn carry(&self, key: &str, body: &[u8], mut progress: Progress) -> (Outcome, Progress) {
        (Transport::carry(self, key, body, &mut progress).await, progress)
    }

    fn reduced(&self, alert: &Alert) -> Vec<u8> {
        let moment = Moment { now: alert.last_seen_at, look: Look::Lines };
        compose(&self.receiver().channel, &facts::reduced(alert), moment)
    }

    fn in_flight_max(&self) -> usize {
        use super::config::Channel;
        match self.receiver().channel {
            Channel::Webhook(_) | Channel::Slack(_) | Channel::Email(_) => limits::DELIVERIES_IN_FLIGHT_MAX,
            // Lines of a file keep the order in which they were handed over.
            Channel::Stdout | Channel::JsonFile(_) => 1,
        }
    }
}

/// What stands behind the courier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behind {
    /// Nothing: what finds no room, and what is left at the end, goes to the dead-letter file.
    Nothing,
    /// A durable outbox: a full queue makes the sender wait, and what is left at the end is still in the outbox.
    Outbox,
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
            most: Duration::from_secs(300),
            expiry: Duration::from_secs(limits::DELIVERY_SECONDS_MAX),
            waiting_max: limits::OUTBOX_WAITING_MAX,
            waiting_bytes_max: limits::OUTBOX_BYTES_MAX,
            behind: Behind::Nothing,
            seed: 0,
        }
    }
}

/// The clocks the courier is handed: the time of day for stamps, the steady one for waiting.
#[derive(Clone)]
pub struct Clock {
    pub wall: Wall,
    pub steady: Arc<dyn Fn() -> Instant + Send + Sync>,
}

/// The end of a note.
#[derive(Clone, PartialEq, Debug)]
pub struct Receipt {
    /// Index among the receivers.
    pub receiver: usize,
    pub key: String,
    pub fate: Fate,
    pub tries: u32,
    /// What went wrong although it was delivered: a recipient of several who is gone, details that were refused.
    pub remark: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Fate {
    Delivered,
    /// Given up, and in the dead-letter file.
    Dead {
        why: String,
    },
}

/// What the courier tells whoever asked for it.
#[derive(Clone, PartialEq, Debug)]
pub enum Report {
    Ended(Receipt),
    /// Several tries in a row have failed, of whatever note. From now on one at a time probes.
    Failing {
        receiver: usize,
        why: String,
    },
    /// It takes notes again.
    Well {
        receiver: usize,
    },
}

/// What one receiver has done; read at any time.
#[derive(Default, Debug)]
pub struct Counters {
    pub accepted: AtomicU64,
    pub delivered: AtomicU64,
    /// Given up: expired, refused, displaced.
    pub expired: AtomicU64,
    /// Tries that failed and were or will be followed by another.
    pub retried: AtomicU64,
    /// Failures since the last success; the receiver is in trouble where it is not 0.
    pub failures_in_a_row: AtomicU64,
}

impl Counters {
    pub fn pending(&self) -> u64 {
        let done = self.delivered.load(Relaxed) + self.expired.load(Relaxed);
        self.accepted.load(Relaxed).saturating_sub(done)
    }
}

/// How to give the courier notes, and how to end it. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    desks: Vec<(mpsc::Sender<Note>, Arc<Counters>)>,
    stop: watch::Sender<Option<Instant>>,
    clock: Clock,
}

/// What is left when the courier has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drained {
    /// Notes that were not delivered in time: still in the outbox, or in the dead-letter file where there is none.
    pub left: u64,
}

impl Handle {
    /// Hands a note over; waits while the receiver's queue has no room. The note comes back when the courier has ended.
    pub async fn send(&self, receiver: usize, note: Note) -> Result<(), Note> {
        let (inbox, counters) = &self.inner.desks[receiver];
        if self.inner.stop.borrow().is_some() {
            return Err(note);
        }
        counters.accepted.fetch_add(1, Relaxed);
        inbox.send(note).await.map_err(|error| {
            counters.accepted.fetch_sub(1, Relaxed);
            error.0
        })
    }

    /// The same without waiting: the note comes back when there is no room now.
    pub fn offer(&self, receiver: usize, note: Note) -> Result<(), Note> {
        let (inbox, counters) = &self.inner.desks[receiver];
        if self.inner.stop.borrow().is_some() {
            return Err(note);
        }
        counters.accepted.fetch_add(1, Relaxed);
        inbox.try_send(note).map_err(|error| {
            counters.accepted.fetch_sub(1, Relaxed);
            error.into_inner()
        })
    }

    pub fn counters(&self, receiver: usize) -> &Counters {
        &self.inner.desks[receiver].1
    }

    /// Takes nothing more, tries what is waiting once more, and ends when all is done or after `patience`.
    pub async fn drain(&self, patience: Duration) -> Drained {
        let expired = |it: &(mpsc::Sender<Note>, Arc<Counters>)| it.1.expired.load(Relaxed);
        let before: u64 = self.inner.desks.iter().map(expired).sum();
        let deadline = (self.inner.clock.steady)() + patience;
        self.inner.stop.send_replace(Some(deadline));
        // The works end by themselves; the grace is for one that was never started.
        let _ = tokio::time::timeout(patience + Duration::from_secs(1), self.inner.stop.closed()).await;
        let after: u64 = self.inner.desks.iter().map(expired).sum();
        let pending: u64 = self.inner.desks.iter().map(|it| it.1.pending()).sum();
        Drained { left: pending + (after - before) }
    }
}

/// What the caller spawns: one for each receiver. It ends after [`Handle::drain`], or when every handle is gone.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The courier for these receivers (name and carrier; indexes in their order). `reports`: where to tell; whoever wants to
/// be told must read, for the courier waits.
pub fn start<C: Carry>(
    receivers: Vec<(String, C)>,
    clock: Clock,
    pace: Pace,
    dead_letters: Option<PathBuf>,
    reports: Option<mpsc::Sender<Report>>,
) -> (Handle, Vec<Work>) {
    let (stop, stopped) = watch::channel(None);
    let mut desks = Vec::new();
    let mut works: Vec<Work> = Vec::new();
    for (index, (name, carrier)) in receivers.into_iter().enumerate() {
        let (sender, inbox) = mpsc::channel(INBOX_NOTES);
        let counters = Arc::new(Counters::default());
        desks.push((sender, counters.clone()));
        let seed = pace.seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let task = Task {
            index,
            name,
            post: Post::new(pace.clone(), carrier.in_flight_max(), Dice(seed)),
            carrier: Arc::new(carrier),
            clock: clock.clone(),
            behind: pace.behind,
            dead_letters: dead_letters.clone(),
            reports: reports.clone(),
            counters,
        };
        works.push(Box::pin(task.run(inbox, stopped.clone())));
    }
    (Handle { inner: Arc::new(Inner { desks, stop, clock }) }, works)
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
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((it ^ (it >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A note on its way.
struct Parcel {
    note: Note,
    progress: Progress,
    tries: u32,
    failures: u32,
    refusals: u32,
    is_reduced: bool,
    expires: Instant,
    /// When the next try is due, if it waits for one.
    due: Option<Instant>,
    is_in_flight: bool,
    /// Why the last try failed.
    trouble: String,
    bytes: usize,
}

/// A parcel that has ended, and how.
struct Ended {
    note: Note,
    fate: Fate,
    tries: u32,
    remark: Option<String>,
}

/// Everything one receiver waits for, and what to do next. No clock, no I/O.
struct Post {
    pace: Pace,
    in_flight_max: usize,
    dice: Dice,
    parcels: BTreeMap<u64, Parcel>,
    /// The notes of one alert, the first of which may be tried.
    lanes: HashMap<String, VecDeque<u64>>,
    /// First of their lanes, and due: the worse first, then the older.
    ready: BTreeSet<(Reverse<Severity>, u64)>,
    /// First of their lanes, and not yet due.
    later: BTreeSet<(Instant, u64)>,
    expiries: BTreeSet<(Instant, u64)>,
    in_flight: usize,
    bytes: usize,
    next: u64,
    /// In a row, of whatever note.
    failures: u32,
    /// The receiver asked for peace until then. A success meanwhile, of a try that was under way, does not end it.
    asked_until: Option<Instant>,
    /// The next probe of a receiver that fails.
    probe_at: Option<Instant>,
}

/// What to send now.
struct Load {
    id: u64,
    key: String,
    body: Arc<[u8]>,
    progress: Progress,
}

impl Post {
    fn new(pace: Pace, in_flight_max: usize, dice: Dice) -> Post {
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
        }
    }

    fn is_full(&self) -> bool {
        self.parcels.len() >= self.pace.waiting_max || self.bytes >= self.pace.waiting_bytes_max
    }

    fn admit(&mut self, note: Note, now: Instant) {
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
        };
        self.parcels.insert(id, parcel);
    }

    /// The next to be sent, if one may be sent now.
    fn take(&mut self, now: Instant) -> Option<Load> {
        let room = if self.is_probing() { 1 } else { self.in_flight_max };
        if self.in_flight >= room || self.gate().is_some_and(|it| now < it) {
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
        let parcel = self.parcels.get_mut(&id).expect("what is ready is there: it leaves both at once");
        parcel.is_in_flight = true;
        parcel.tries += 1;
        self.in_flight += 1;
        let progress = std::mem::take(&mut parcel.progress);
        Some(Load { id, key: parcel.note.key.clone(), body: parcel.note.body.clone(), progress })
    }

    /// The answer to one try. `reduce` makes the smaller body.
    fn judge(
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
                    self.receiver_is_well();
                    return self.end(id, Fate::Dead { why });
                }
                if refusals >= REFUSALS_MAX {
                    parcel.is_reduced = true;
                    parcel.note.body = reduce(&parcel.note.alert).into();
                    parcel.progress.remark = Some(format!("{why}, so it was sent without details"));
                }
                self.receiver_is_well();
                let wait = wait_after(refusals, None, self.pace.first, self.pace.most, self.dice.roll());
                self.put_off(id, now + wait, why)
            }
            Outcome::Retry { after, why } => {
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
        }
    }

    /// A note that has waited as long as it may, whether it was ever tried or not.
    fn expire(&mut self, now: Instant) -> Option<Ended> {
        let id = self.expiries.iter().take_while(|it| it.0 <= now).map(|it| it.1).find(|it| self.is_idle(*it))?;
        let trouble = &self.parcels.get(&id)?.trouble;
        let why = if trouble.is_empty() { "expired untried".into() } else { format!("expired; at last it {trouble}") };
        self.end(id, Fate::Dead { why })
    }

    /// The oldest note that is not being sent, for want of room.
    fn displace(&mut self, why: &str) -> Option<Ended> {
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
    fn give_last_chance(&mut self) {
        self.failures = 0;
        self.probe_at = None;
        self.pull_forward();
    }

    /// When something is to be done that no message announces.
    fn wakes(&self, now: Instant) -> Option<Instant> {
        let room = if self.is_probing() { 1 } else { self.in_flight_max };
        let expiry = self.expiries.iter().find(|it| self.is_idle(it.1)).map(|it| it.0);
        let due = if self.ready.is_empty() { self.later.first().map(|it| it.0) } else { Some(now) };
        let due = due.filter(|_| self.in_flight < room).map(|it| self.gate().map_or(it, |gate| it.max(gate)));
        match (due, expiry) {
            (Some(due), Some(expiry)) => Some(due.min(expiry)),
            (due, expiry) => due.or(expiry),
        }
    }

    fn gate(&self) -> Option<Instant> {
        self.asked_until.max(self.probe_at)
    }

    fn is_probing(&self) -> bool {
        self.failures >= FAILURES_BEFORE_PROBING
    }

    fn is_idle(&self, id: u64) -> bool {
        self.parcels.get(&id).is_some_and(|it| !it.is_in_flight)
    }

    fn receiver_is_well(&mut self) {
        let was_probing = self.is_probing();
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
    fn end(&mut self, id: u64, fate: Fate) -> Option<Ended> {
        let parcel = self.parcels.remove(&id)?;
        self.bytes -= parcel.bytes;
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

/// One receiver's task.
struct Task<C> {
    index: usize,
    name: String,
    post: Post,
    carrier: Arc<C>,
    clock: Clock,
    behind: Behind,
    dead_letters: Option<PathBuf>,
    reports: Option<mpsc::Sender<Report>>,
    counters: Arc<Counters>,
}

type Flight = Pin<Box<dyn Future<Output = (u64, Outcome, Progress)> + Send>>;

enum Wake {
    Landed(u64, Outcome, Progress),
    Came(Note),
    NoMore,
    Stop,
    Due,
}

impl<C: Carry> Task<C> {
    async fn run(mut self, mut inbox: mpsc::Receiver<Note>, mut stopped: watch::Receiver<Option<Instant>>) {
        let mut flights: Vec<Flight> = Vec::new();
        let mut is_open = true;
        let mut deadline: Option<Instant> = None;
        loop {
            let mut now = (self.clock.steady)();
            while let Some(ended) = self.post.expire(now) {
                self.report(ended).await;
            }
            while let Some(load) = self.post.take(now) {
                flights.push(self.fly(load));
            }
            if !is_open && flights.is_empty() && self.post.parcels.is_empty() {
                break;
            }
            now = (self.clock.steady)();
            let wakes = self.post.wakes(now);
            if let Some(deadline) = deadline
                && (now >= deadline || (!is_open && flights.is_empty() && wakes.is_none_or(|it| it > deadline)))
            {
                break;
            }
            let wakes = match (wakes, deadline) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            // Without an outbox the task always takes, and makes room itself: a dead receiver must not stop the sender.
            let takes = is_open && (self.behind == Behind::Nothing || !self.post.is_full());
            let wake = tokio::select! {
                biased;
                (id, outcome, progress) = landed(&mut flights), if !flights.is_empty() => Wake::Landed(id, outcome, progress),
                Ok(()) = stopped.changed(), if deadline.is_none() => Wake::Stop,
                note = inbox.recv(), if takes => note.map_or(Wake::NoMore, Wake::Came),
                () = tokio::time::sleep_until(wakes.unwrap_or(now)), if wakes.is_some() => Wake::Due,
                else => Wake::NoMore,
            };
            match wake {
                Wake::Landed(id, outcome, progress) => self.land(id, outcome, progress).await,
                Wake::Came(note) => {
                    while self.post.is_full() {
                        let Some(ended) = self.post.displace("displaced: too many notes are waiting") else { break };
                        self.report(ended).await;
                    }
                    self.post.admit(note, (self.clock.steady)());
                }
                Wake::NoMore => is_open = false,
                Wake::Stop => {
                    deadline = *stopped.borrow_and_update();
                    inbox.close();
                    self.post.give_last_chance();
                }
                Wake::Due => {}
            }
        }
        drop(flights);
        self.finish(inbox).await;
    }

    fn fly(&self, load: Load) -> Flight {
        let carrier = self.carrier.clone();
        Box::pin(async move {
            let (outcome, progress) = carrier.carry(&load.key, &load.body, load.progress).await;
            (load.id, outcome, progress)
        })
    }

    async fn land(&mut self, id: u64, outcome: Outcome, progress: Progress) {
        let carrier = self.carrier.clone();
        let now = (self.clock.steady)();
        let was_failing = self.post.is_probing();
        let why = match &outcome {
            Outcome::Retry { why, .. } => why.clone(),
            Outcome::Delivered | Outcome::Refused { .. } | Outcome::Final { .. } => String::new(),
        };
        let ended = self.post.judge(id, outcome, progress, now, |alert| carrier.reduced(alert));
        match (was_failing, self.post.is_probing()) {
            (false, true) => self.tell(Report::Failing { receiver: self.index, why }).await,
            (true, false) => self.tell(Report::Well { receiver: self.index }).await,
            (true, true) | (false, false) => {}
        }
        self.counters.failures_in_a_row.store(self.post.failures.into(), Relaxed);
        match ended {
            Some(ended) => self.report(ended).await,
            None => {
                self.counters.retried.fetch_add(1, Relaxed);
            }
        }
    }

    async fn report(&mut self, ended: Ended) {
        match &ended.fate {
            Fate::Delivered => self.counters.delivered.fetch_add(1, Relaxed),
            Fate::Dead { why } => {
                self.bury(&ended, why).await;
                self.counters.expired.fetch_add(1, Relaxed)
            }
        };
        let Ended { note, fate, tries, remark } = ended;
        self.tell(Report::Ended(Receipt { receiver: self.index, key: note.key, fate, tries, remark })).await;
    }

    async fn tell(&self, report: Report) {
        if let Some(reports) = &self.reports {
            // Nobody reads them any more: then nobody misses this one.
            let _ = reports.send(report).await;
        }
    }

    async fn bury(&self, ended: &Ended, why: &str) {
        let Some(path) = self.dead_letters.clone() else { return };
        let letter = DeadLetter {
            time: (self.clock.wall)().to_string(),
            receiver: &self.name,
            key: &ended.note.key,
            why,
            tries: ended.tries,
            alert: &ended.note.alert,
        };
        let line = escape::json(&letter) + "\n";
        // A full disk must not stop the other notes; the counter and the receipt still tell.
        let _ =
            tokio::task::spawn_blocking(move || file::append_rotated(&path, line.as_bytes(), DEAD_LETTER_BYTES_MAX))
                .await;
    }

    /// What is left is the outbox's, or goes to the dead-letter file.
    async fn finish(mut self, mut inbox: mpsc::Receiver<Note>) {
        inbox.close();
        let now = (self.clock.steady)();
        while let Some(note) = inbox.recv().await {
            self.post.admit(note, now);
        }
        match self.behind {
            Behind::Outbox => {}
            Behind::Nothing => {
                let left: Vec<u64> = self.post.parcels.keys().copied().collect();
                for id in left {
                    let fate = Fate::Dead { why: "not delivered before the end".into() };
                    if let Some(ended) = self.post.end(id, fate) {
                        self.report(ended).await;
                    }
                }
            }
        }
    }
}

/// The first flight that lands.
async fn landed(flights: &mut Vec<Flight>) -> (u64, Outcome, Progress) {
    poll_fn(|cx| {
        for index in 0..flights.len() {
            if let Poll::Ready(landed) = flights[index].as_mut().poll(cx) {
                drop(flights.swap_remove(index));
                return Poll::Ready(landed);
            }
        }
        Poll::Pending
    })
    .await
}

/// A line of the dead-letter file.
#[derive(Serialize)]
struct DeadLetter<'a> {
    time: String,
    receiver: &'a str,
    key: &'a str,
    why: &'a str,
    tries: u32,
    alert: &'a Alert,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::config::{Outside, Settings, resolve};
    use crate::deliver::outcome::SLOW;
    use crate::deliver::test_server::{Act, HttpServer, TempDir};
    use crate::deliver::{sample, transport};
    use crate::model::{State, Timestamp};
    use proptest::prelude::*;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    fn ok() -> Outcome {
        Outcome::Delivered
    }

    fn failed() -> Outcome {
        Outcome::Retry { after: None, why: "answered 500".into() }
    }

    fn asked(seconds: i64) -> Outcome {
        Outcome::Retry { after: Some(Span::from_secs(seconds)), why: "answered 429".into() }
    }

    fn refused() -> Outcome {
        Outcome::Refused { why: "answered 413".into() }
    }

    /// What was tried: seconds since the start, key, and the body if it is not the usual one.
    #[derive(Default)]
    struct Seen {
        tries: Mutex<Vec<(f64, String, String)>>,
        now: AtomicUsize,
        most: AtomicUsize,
    }

    /// Answers as it is told: key, time since the start and number of the try so far.
    struct Told {
        seen: Arc<Seen>,
        start: Instant,
        takes: Duration,
        answer: Answer,
    }

    impl Carry for Told {
        async fn carry(&self, key: &str, body: &[u8], progress: Progress) -> (Outcome, Progress) {
            let now = self.seen.now.fetch_add(1, Relaxed) + 1;
            self.seen.most.fetch_max(now, Relaxed);
            let at = self.start.elapsed().as_secs_f64();
            let number = {
                let mut tries = self.seen.tries.lock().unwrap();
                tries.push((at, key.to_string(), String::from_utf8_lossy(body).into_owned()));
                tries.iter().filter(|it| it.1 == key).count()
            };
            tokio::time::sleep(self.takes).await;
            self.seen.now.fetch_sub(1, Relaxed);
            ((self.answer)(key, at, number), progress)
        }

        fn reduced(&self, alert: &Alert) -> Vec<u8> {
            format!("reduced {}", alert.rule.id).into_bytes()
        }

        fn in_flight_max(&self) -> usize {
            limits::DELIVERIES_IN_FLIGHT_MAX
        }
    }

    struct Bench {
        handle: Handle,
        seen: Vec<Arc<Seen>>,
        reports: mpsc::Receiver<Report>,
        start: Instant,
        dir: TempDir,
    }

    type Answer = Box<dyn Fn(&str, f64, usize) -> Outcome + Send + Sync>;

    fn bench(pace: Pace, receivers: Vec<(Duration, Answer)>) -> Bench {
        let start = Instant::now();
        let mut seen = Vec::new();
        let mut carriers = Vec::new();
        for (takes, answer) in receivers {
            let one = Arc::new(Seen::default());
            seen.push(one.clone());
            carriers.push((format!("r{}", carriers.len()), Told { seen: one, start, takes, answer }));
        }
        let dir = TempDir::new();
        let (sender, reports) = mpsc::channel(100_000);
        let (handle, works) = super::start(carriers, clock(), pace, Some(dir.path("dead.ndjson")), Some(sender));
        works.into_iter().for_each(|it| drop(tokio::spawn(it)));
        Bench { handle, seen, reports, start, dir }
    }

    fn one(answer: impl Fn(&str, f64, usize) -> Outcome + Send + Sync + 'static) -> Bench {
        bench(Pace::default(), vec![(Duration::from_millis(10), Box::new(answer))])
    }

    fn clock() -> Clock {
        let start = Instant::now();
        let wall = move || Timestamp::from_micros(1_700_000_000_000_000 + start.elapsed().as_micros() as i64);
        Clock { wall: Arc::new(wall), steady: Arc::new(Instant::now) }
    }

    fn note(id: &str, state: State, severity: Severity) -> Note {
        let mut alert = sample::alert();
        alert.id = id.into();
        alert.state = state;
        alert.rule.severity = severity;
        Note {
            key: crate::deliver::key(&alert),
            lane: id.into(),
            severity,
            body: Arc::from(&b"whole"[..]),
            waited: Span::ZERO,
            alert: Arc::new(alert),
        }
    }

    fn firing(id: &str) -> Note {
        note(id, State::Firing, Severity::High)
    }

    impl Bench {
        async fn send(&self, ids: impl IntoIterator<Item = String>) {
            for id in ids {
                self.handle.send(0, firing(&id)).await.unwrap();
            }
        }

        async fn receipts(&mut self, count: usize) -> Vec<Receipt> {
            let mut found = Vec::new();
            while found.len() < count {
                if let Report::Ended(receipt) = self.reports.recv().await.unwrap() {
                    found.push(receipt);
                }
            }
            found
        }

        fn tries(&self) -> Vec<(f64, String, String)> {
            self.seen[0].tries.lock().unwrap().clone()
        }

        fn dead(&self) -> Vec<serde_json::Value> {
            let text = std::fs::read_to_string(self.dir.path("dead.ndjson")).unwrap_or_default();
            text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
        }

        fn counts(&self) -> [u64; 4] {
            let it = self.handle.counters(0);
            [it.accepted.load(Relaxed), it.delivered.load(Relaxed), it.pending(), it.expired.load(Relaxed)]
        }
    }

    #[test]
    fn waits_double_up_to_five_minutes() {
        let wait = |failures, asked: Option<i64>, dice| {
            let pace = Pace::default();
            wait_after(failures, asked.map(Span::from_secs), pace.first, pace.most, dice).as_secs_f64()
        };
        let most: Vec<f64> = (1..=12).map(|it| wait(it, None, 1.0)).collect();
        assert_eq!(most, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0, 300.0]);
        assert_eq!(wait(7, None, 0.0), 0.0);
        assert_eq!(wait(u32::MAX, None, 0.5), 150.0);
        assert_eq!(wait(1, Some(120), 0.5), 120.5);
        let mut dice = Dice(7);
        let rolls: Vec<f64> = (0..1000).map(|_| dice.roll()).collect();
        assert!(rolls.iter().all(|it| (0.0..1.0).contains(it)));
        assert!((rolls.iter().sum::<f64>() / 1000.0 - 0.5).abs() < 0.05);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_then_success() {
        let mut bench = one(|_, _, number| if number <= 3 { failed() } else { ok() });
        bench.send(["a".into()]).await;
        let receipt = bench.receipts(1).await.remove(0);
        let expected = Receipt { receiver: 0, key: "a-firing".into(), fate: Fate::Delivered, tries: 4, remark: None };
        assert_eq!(receipt, expected);
        assert_eq!(bench.counts(), [1, 1, 0, 0]);
        assert_eq!(bench.handle.counters(0).retried.load(Relaxed), 3);
        assert!(bench.start.elapsed() < Duration::from_secs(8));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_receiver_asks_for_holds_for_every_note() {
        let mut bench = one(|_, at, _| if at < 60.0 { asked(60) } else { ok() });
        bench.send((0..20).map(|it| it.to_string())).await;
        bench.receipts(20).await;
        let tries = bench.tries();
        let early = tries.iter().filter(|it| it.0 < 60.0).count();
        assert!((1..=limits::DELIVERIES_IN_FLIGHT_MAX).contains(&early), "{tries:?}");
        assert!(tries.iter().all(|it| it.0 < 1.0 || it.0 >= 60.0), "{tries:?}");
        assert!(bench.start.elapsed() < Duration::from_secs(63));
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_under_way_does_not_end_the_peace_that_was_asked_for() {
        let mut bench = one(|key, at, _| if key == "0-firing" && at < 60.0 { asked(60) } else { ok() });
        bench.send((0..8).map(|it| it.to_string())).await;
        bench.receipts(8).await;
        let tries = bench.tries();
        assert!(tries.iter().filter(|it| it.0 < 60.0).count() <= 4, "{tries:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_slow_receiver_holds_up_no_other() {
        let hour = Duration::from_secs(3600);
        let slow: (Duration, Answer) = (hour, Box::new(|_, _, _| failed()));
        let quick: (Duration, Answer) = (Duration::from_millis(10), Box::new(|_, _, _| ok()));
        let mut bench = bench(Pace::default(), vec![slow, quick]);
        for index in 0..400 {
            bench.handle.send(0, firing(&index.to_string())).await.unwrap();
            bench.handle.send(1, firing(&index.to_string())).await.unwrap();
        }
        let receipts = bench.receipts(400).await;
        assert!(receipts.iter().all(|it| it.receiver == 1 && it.fate == Fate::Delivered));
        assert!(bench.start.elapsed() < Duration::from_secs(2));
        assert_eq!(bench.seen[0].most.load(Relaxed), limits::DELIVERIES_IN_FLIGHT_MAX);
        assert_eq!(bench.counts(), [400, 0, 400, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn over_never_overtakes_fire() {
        let mut bench = one(|key, at, _| if key == "a-firing" && at < 30.0 { failed() } else { ok() });
        bench.send(["a".into()]).await;
        bench.handle.send(0, note("a", State::Resolved, Severity::High)).await.unwrap();
        bench.send(["b".into()]).await;
        let keys: Vec<String> = bench.receipts(3).await.into_iter().map(|it| it.key).collect();
        assert_eq!(keys, ["b-firing", "a-firing", "a-resolved"]);
        let tries = bench.tries();
        let first = tries.iter().position(|it| it.1 == "a-resolved").unwrap();
        assert!(tries[first..].iter().all(|it| it.1 != "a-firing"), "{tries:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_receiver_is_probed_and_loses_nothing() {
        let mut bench = one(|_, at, _| if at < 1800.0 { failed() } else { ok() });
        bench.send((0..500).map(|it| it.to_string())).await;
        let receipts = bench.receipts(500).await;
        assert!(receipts.iter().all(|it| it.fate == Fate::Delivered));
        let tries = bench.tries();
        // Ten minutes of failures cost few tries, and half an hour hardly more.
        assert!(tries.iter().filter(|it| it.0 < 600.0).count() <= 40, "{}", tries.len());
        assert!(tries.iter().filter(|it| it.0 < 1800.0).count() <= 60, "{}", tries.len());
        assert!(bench.start.elapsed() < Duration::from_secs(1800 + 300), "{:?}", bench.start.elapsed());
        assert!(bench.seen[0].most.load(Relaxed) <= limits::DELIVERIES_IN_FLIGHT_MAX);
        assert_eq!(bench.counts(), [500, 500, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_once_and_its_end_too() {
        let mut bench = one(|_, at, _| if at < 60.0 { failed() } else { ok() });
        bench.send((0..20).map(|it| it.to_string())).await;
        let mut told = Vec::new();
        let mut ended = 0;
        while ended < 20 {
            match bench.reports.recv().await.unwrap() {
                Report::Ended(_) => ended += 1,
                other @ (Report::Failing { .. } | Report::Well { .. }) => told.push(other),
            }
        }
        assert_eq!(told, [Report::Failing { receiver: 0, why: "answered 500".into() }, Report::Well { receiver: 0 }]);
        assert_eq!(bench.handle.counters(0).failures_in_a_row.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_poisonous_note_is_reduced_then_buried() {
        let mut bench = one(|key, _, _| if key.starts_with("poison") { refused() } else { ok() });
        bench.send(["poison".into(), "b".into(), "c".into()]).await;
        let receipts = bench.receipts(3).await;
        assert_eq!(receipts[2].key, "poison-firing");
        assert_eq!((receipts[2].tries, &receipts[2].fate), (6, &Fate::Dead { why: "answered 413".into() }));
        let bodies: Vec<String> =
            bench.tries().into_iter().filter(|it| it.1 == "poison-firing").map(|it| it.2).collect();
        assert_eq!(bodies[..5], ["whole"; 5]);
        assert_eq!(bodies[5], "reduced repeated-login-failures");
        let dead = bench.dead();
        assert_eq!(dead.len(), 1);
        assert_eq!((&dead[0]["receiver"], &dead[0]["key"]), (&"r0".into(), &"poison-firing".into()));
        assert_eq!(dead[0]["alert"]["id"], "poison");
        assert_eq!(bench.counts(), [3, 2, 0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn details_that_are_refused_are_left_out() {
        let mut bench = one(|_, _, number| if number <= 5 { refused() } else { ok() });
        bench.send(["a".into()]).await;
        let receipt = bench.receipts(1).await.remove(0);
        assert_eq!(receipt.fate, Fate::Delivered);
        assert_eq!(receipt.remark.as_deref(), Some("answered 413, so it was sent without details"));
    }

    #[tokio::test(start_paused = true)]
    async fn final_is_final() {
        let mut bench = one(|_, _, _| Outcome::Final { why: "answered 550".into() });
        bench.send(["a".into()]).await;
        let receipt = bench.receipts(1).await.remove(0);
        assert_eq!((receipt.tries, receipt.fate), (1, Fate::Dead { why: "answered 550".into() }));
        assert_eq!(bench.dead().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_tried_for_ever() {
        let mut bench = one(|_, _, _| Outcome::Retry { after: Some(SLOW), why: "answered 404".into() });
        bench.send((0..50).map(|it| it.to_string())).await;
        let receipts = bench.receipts(50).await;
        assert!(receipts.iter().all(|it| matches!(it.fate, Fate::Dead { .. })));
        let spent = bench.start.elapsed().as_secs();
        assert!((limits::DELIVERY_SECONDS_MAX..limits::DELIVERY_SECONDS_MAX + 60).contains(&spent), "{spent}");
        // One probe in five minutes, not one a note.
        assert!(bench.tries().len() < 900, "{}", bench.tries().len());
        assert_eq!(bench.dead().len(), 50);
        assert_eq!(bench.counts(), [50, 0, 0, 50]);

        // What has waited in an earlier life counts.
        let mut old = firing("old");
        old.waited = Span::from_secs(limits::DELIVERY_SECONDS_MAX as i64 - 10);
        let start = Instant::now();
        bench.handle.send(0, old).await.unwrap();
        bench.receipts(1).await;
        assert!(start.elapsed() <= Duration::from_secs(11));
    }

    #[tokio::test(start_paused = true)]
    async fn the_worst_goes_first() {
        let mut bench = one(|_, at, _| if at < 20.0 { asked(20) } else { ok() });
        for index in 0..300 {
            bench.handle.send(0, note(&index.to_string(), State::Firing, Severity::Low)).await.unwrap();
        }
        bench.handle.send(0, note("worst", State::Firing, Severity::Critical)).await.unwrap();
        let receipts = bench.receipts(301).await;
        let place = receipts.iter().position(|it| it.key == "worst-firing").unwrap();
        assert!(place < 5, "{place}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_buries_the_oldest_or_makes_the_sender_wait() {
        let pace = Pace { waiting_max: 100, ..Pace::default() };
        let mut displaced = bench(pace.clone(), vec![(Duration::ZERO, Box::new(|_, _, _| asked(3600)))]);
        displaced.send((0..150).map(|it| it.to_string())).await;
        let receipts = displaced.receipts(50).await;
        let why = Fate::Dead { why: "displaced: too many notes are waiting".into() };
        assert!(receipts.iter().all(|it| it.fate == why));
        assert_eq!(displaced.counts(), [150, 0, 100, 50]);
        assert_eq!(displaced.dead().len(), 50);

        let pace = Pace { behind: Behind::Outbox, ..pace };
        let waiting =
            bench(pace, vec![(Duration::ZERO, Box::new(|_, at, _| if at < 60.0 { asked(60) } else { ok() }))]);
        let all = waiting.send((0..500).map(|it| it.to_string()));
        all.await;
        assert!(waiting.start.elapsed() >= Duration::from_secs(60));
        let mut waiting = waiting;
        assert!(waiting.receipts(500).await.iter().all(|it| it.fate == Fate::Delivered));
        assert_eq!(waiting.dead().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_offer_to_a_full_inbox_comes_back() {
        let (handle, _works) = super::start(
            vec![(
                "r".into(),
                Told {
                    seen: Arc::default(),
                    start: Instant::now(),
                    takes: Duration::ZERO,
                    answer: Box::new(|_, _, _| ok()),
                },
            )],
            clock(),
            Pace::default(),
            None,
            None,
        );
        let taken = (0..1000).take_while(|it| handle.offer(0, firing(&it.to_string())).is_ok()).count();
        assert_eq!(taken, INBOX_NOTES);
        assert_eq!(handle.counters(0).pending(), INBOX_NOTES as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_delivers_what_can_be_and_keeps_the_rest() {
        let patience = Duration::from_secs(8);
        let good = one(|_, at, _| if at < 100.0 { failed() } else { ok() });
        good.send((0..30).map(|it| it.to_string())).await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(good.handle.drain(patience).await, Drained { left: 0 });
        assert_eq!(good.counts(), [30, 30, 0, 0]);
        assert!(good.handle.send(0, firing("late")).await.is_err());

        let bad = one(|_, _, _| failed());
        bad.send((0..30).map(|it| it.to_string())).await;
        assert_eq!(bad.handle.drain(patience).await, Drained { left: 30 });
        assert_eq!(bad.dead().len(), 30);
        assert_eq!(bad.counts(), [30, 0, 0, 30]);
        assert!(bad.start.elapsed() < Duration::from_secs(10));

        let pace = Pace { behind: Behind::Outbox, ..Pace::default() };
        let outbox = bench(pace, vec![(Duration::from_secs(3600), Box::new(|_, _, _| ok()))]);
        outbox.send((0..30).map(|it| it.to_string())).await;
        assert_eq!(outbox.handle.drain(patience).await, Drained { left: 30 });
        assert_eq!(outbox.dead().len(), 0);
        assert_eq!(outbox.counts(), [30, 0, 30, 0]);
    }

    /// The real thing: a server that fails in every way, then is well.
    #[tokio::test]
    async fn nothing_is_lost_at_a_hostile_server() {
        let trap = HttpServer::start([]).await;
        let mut acts = vec![
            Act::Status(500),
            Act::Status(503),
            Act::Header(429, "retry-after: 0".into()),
            Act::Reset,
            Act::Taken,
            Act::Hang,
            Act::Huge,
            Act::Header(308, format!("location: http://127.0.0.1:{}/", trap.port)),
            Act::Raw("HTTP/1.1 900 ?\r\n\r\n"),
            Act::Status(400),
            Act::Raw("garbage\r\n\r\n"),
        ];
        acts.extend(vec![Act::Status(500); 20]);
        let server = HttpServer::start(acts).await;
        let text = format!(
            r#"{{"hook": Webhook(url: "http://127.0.0.1:{}/", secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", allow_destinations: ["127.0.0.1"])}}"#,
            server.port
        );
        let settings: Settings = ron::from_str(&text).unwrap();
        let receiver = resolve(&settings, &Outside::system()).unwrap().pop().unwrap();
        let moment = Moment { now: Timestamp::from_micros(0), look: Look::Lines };
        let notes: Vec<Note> = (0..40)
            .map(|index| {
                let alert = Alert { id: format!("{index:032x}"), ..sample::hostile() };
                Note::new(&receiver, Arc::new(alert), moment)
            })
            .collect();
        let timing = transport::Timing { request: Duration::from_millis(300), ..transport::Timing::default() };
        let carrier = Transport::with(receiver, clock().wall, timing, transport::system_lookup()).unwrap();
        let pace = Pace { first: Duration::from_millis(2), most: Duration::from_millis(20), ..Pace::default() };
        let (sender, mut reports) = mpsc::channel(100);
        let (handle, works) = super::start(vec![("hook".into(), carrier)], clock(), pace, None, Some(sender));
        works.into_iter().for_each(|it| drop(tokio::spawn(it)));
        let expected: BTreeSet<String> = notes.iter().map(|it| it.key.clone()).collect();
        for note in notes {
            handle.send(0, note).await.unwrap();
        }
        let mut delivered = 0;
        while delivered < expected.len() {
            if let Report::Ended(receipt) = reports.recv().await.unwrap() {
                assert_eq!(receipt.fate, Fate::Delivered);
                delivered += 1;
            }
        }
        let requests = server.log.requests.lock().unwrap();
        let seen: BTreeSet<String> = requests.iter().map(|it| it.header("webhook-id").to_string()).collect();
        assert_eq!(seen, expected);
        // Every try of a note has the same bytes.
        for one in requests.iter() {
            let same = requests.iter().filter(|it| it.header("webhook-id") == one.header("webhook-id"));
            assert!(same.into_iter().all(|it| it.body == one.body));
        }
        assert_eq!(trap.log.connections.load(Relaxed), 0);
    }

    proptest! {
        /// Whatever the receiver answers: every note ends once, lanes keep their order, nothing flies beyond the limits,
        /// and the books balance at every step.
        #[test]
        fn the_post_loses_nothing(
            answers in proptest::collection::vec(0u8..7, 1..400),
            lanes in proptest::collection::vec(0u8..6, 1..60),
            seed in any::<u64>(),
        ) {
            let start = Instant::now();
            let mut now = start;
            let pace = Pace { expiry: Duration::from_secs(7200), waiting_max: 40, ..Pace::default() };
            let mut post = Post::new(pace, 4, Dice(seed));
            let mut answers = answers.into_iter();
            let mut waiting = lanes.iter().enumerate();
            let mut flying: Vec<Load> = Vec::new();
            let mut ended: Vec<(String, Fate)> = Vec::new();
            let mut admitted = 0;
            let mut dice = Dice(seed ^ 1);
            for _ in 0..20_000 {
                if let Some((index, lane)) = waiting.next() {
                    if post.is_full() {
                        ended.extend(post.displace("full").map(|it| (it.note.key, it.fate)));
                    }
                    let mut one = firing(&format!("lane{lane}"));
                    one.key = format!("{lane}/{index:04}");
                    post.admit(one, now);
                    admitted += 1;
                }
                ended.extend(std::iter::from_fn(|| post.expire(now)).map(|it| (it.note.key, it.fate)));
                while let Some(load) = post.take(now) {
                    let lane = |key: &str| key.split('/').next().unwrap_or_default().to_string();
                    prop_assert!(flying.iter().all(|it| lane(&it.key) != lane(&load.key)), "two of a lane");
                    flying.push(load);
                }
                prop_assert!(flying.len() <= 4);
                prop_assert_eq!(post.in_flight, flying.len());
                prop_assert_eq!(admitted, post.parcels.len() + ended.len());
                prop_assert_eq!(post.parcels.len(), post.expiries.len());
                prop_assert_eq!(post.bytes, post.parcels.values().map(|it| it.bytes).sum::<usize>());
                if !flying.is_empty() && dice.roll() < 0.7 {
                    let load = flying.swap_remove((dice.roll() * flying.len() as f64) as usize);
                    let outcome = match answers.next() {
                        Some(0 | 1) => failed(),
                        Some(2) => asked(90),
                        Some(3) => refused(),
                        Some(4) => Outcome::Final { why: "no".into() },
                        Some(_) | None => ok(),
                    };
                    let end = post.judge(load.id, outcome, load.progress, now, |_| Vec::new());
                    ended.extend(end.map(|it| (it.note.key, it.fate)));
                } else if flying.is_empty() {
                    match post.wakes(now) {
                        Some(at) => now = now.max(at),
                        None if waiting.len() == 0 => break,
                        None => {}
                    }
                }
            }
            prop_assert!(post.parcels.is_empty() && post.lanes.is_empty() && post.ready.is_empty());
            prop_assert!(post.later.is_empty() && post.expiries.is_empty() && post.bytes == 0);
            let keys: BTreeSet<&String> = ended.iter().map(|it| &it.0).collect();
            prop_assert_eq!(keys.len(), lanes.len());
            for lane in 0..6 {
                let prefix = format!("{lane}/");
                let order: Vec<&String> =
                    ended.iter().filter(|it| it.1 == Fate::Delivered).map(|it| &it.0).filter(|it| it.starts_with(&prefix)).collect();
                prop_assert!(order.is_sorted(), "{:?}", order);
            }
        }
    }
}
