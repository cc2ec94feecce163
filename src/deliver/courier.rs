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
//! [`Receipt`] comes. Nothing is kept here that it would need after a crash.

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
    fn carry(
        &self,
        key: &str,
        body: &[u8],
        progress: Progress,
    ) -> impl Future<Output = (Outcome, Progress)> + Send;
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

/// The courier for these receivers (name and carrier; indexes in their order). `receipts`: where to report; whoever wants
/// them must read them, for the courier waits.
pub fn start<C: Carry>(
    receivers: Vec<(String, C)>,
    clock: Clock,
    pace: Pace,
    dead_letters: Option<PathBuf>,
    receipts: Option<mpsc::Sender<Receipt>>,
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
            receipts: receipts.clone(),
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
                self.failures = self.failures.saturating_add(1);
                let (first, most) = (self.pace.first, self.pace.most);
                let mut due = now + wait_after(failures, after, first, most, self.dice.roll());
                if after.is_some() {
                    // It said so to all of them.
                    self.asked_until = self.asked_until.max(Some(due));
                } else if self.is_probing() {
                    let probe = now + wait_after(self.failures, None, first, most, self.dice.roll());
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
    receipts: Option<mpsc::Sender<Receipt>>,
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
                    self.post.pull_forward();
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
        let ended = self.post.judge(id, outcome, progress, now, |alert| carrier.reduced(alert));
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
        if let Some(receipts) = &self.receipts {
            let Ended { note, fate, tries, remark } = ended;
            let receipt = Receipt { receiver: self.index, key: note.key, fate, tries, remark };
            // Nobody reads them any more: then nobody misses this one.
            let _ = receipts.send(receipt).await;
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
        let _ = tokio::task::spawn_blocking(move || {
            file::append_rotated(&path, line.as_bytes(), DEAD_LETTER_BYTES_MAX)
        })
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
