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

mod bundle;
pub mod post;

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use bundle::Bundling;
pub use post::{Dice, Pace, Post};
use post::{Ended, Load, Trouble};

use super::outcome::Outcome;
use super::transport::{Progress, Transport, Wall};
use super::{Moment, Note, compose, escape, facts, file, terminal::Look};
use crate::limits;
use crate::model::Alert;

/// Notes between the sender and the task; the queue proper is the task's own.
const INBOX_NOTES: usize = 64;
/// A dead-letter file. Larger: it becomes `NAME.1`, and the `NAME.1` before it goes.
const DEAD_LETTER_BYTES_MAX: u64 = 64 << 20;

/// Carries one note once. [`Transport`] does; tests have others.
pub trait Carry: Send + Sync + 'static {
    /// One try. `progress` is what earlier tries of the same note left there.
    fn carry(&self, key: &str, body: &[u8], progress: Progress) -> impl Future<Output = (Outcome, Progress)> + Send;
    /// The body of a note that came without one. The same for the same alert, whenever it is made.
    fn whole(&self, alert: &Alert) -> Vec<u8>;
    /// A body with no word of a stranger in it.
    fn reduced(&self, alert: &Alert) -> Vec<u8>;
    /// Tries at once.
    fn in_flight_max(&self) -> usize;
    /// How often it may be told, and how what comes faster is told together. None: everything one by one.
    fn bundling(&self) -> Option<Bundling> {
        None
    }
}

impl Carry for Transport {
    async fn carry(&self, key: &str, body: &[u8], mut progress: Progress) -> (Outcome, Progress) {
        (Transport::carry(self, key, body, &mut progress).await, progress)
    }

    fn whole(&self, alert: &Alert) -> Vec<u8> {
        compose(&self.receiver().channel, alert, Moment { now: alert.last_seen_at, look: Look::Lines })
    }

    fn reduced(&self, alert: &Alert) -> Vec<u8> {
        let moment = Moment { now: alert.last_seen_at, look: Look::Lines };
        compose(&self.receiver().channel, &facts::reduced(alert), moment)
    }

    fn bundling(&self) -> Option<Bundling> {
        let tempo = self.receiver().at_most?;
        let receiver = self.receiver_shared();
        let moment = |alert: &Alert| Moment { now: alert.last_seen_at, look: Look::Lines };
        Some(Bundling::new(tempo, Arc::new(move |it| compose(&receiver.channel, it, moment(it)))))
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
    /// It has taken nothing for ten minutes.
    Lasting {
        receiver: usize,
        why: String,
    },
    /// It has said for ten minutes that it is no more, and is tried no more.
    Gone {
        receiver: usize,
        why: String,
    },
    /// It takes notes again.
    Well {
        receiver: usize,
    },
    /// A note was given up, or one of its recipients refused it for good. Once an hour, and never of a note about Tripline: that
    /// would be one about itself.
    Missed {
        receiver: usize,
        why: String,
    },
    /// [`Handle::retire`] is done: of the notes that it was given and did not report, none is under way any more.
    Retired {
        receiver: usize,
    },
}

impl Report {
    /// The receiver whose health it tells of.
    pub fn about(&self) -> Option<usize> {
        match self {
            Report::Failing { receiver, .. }
            | Report::Lasting { receiver, .. }
            | Report::Gone { receiver, .. }
            | Report::Missed { receiver, .. }
            | Report::Well { receiver } => Some(*receiver),
            Report::Ended(_) | Report::Retired { .. } => None,
        }
    }
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

/// Where a receiver stands: whether its notes move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Its index.
    pub receiver: usize,
    pub name: Arc<str>,
    /// How many notes have had an end.
    pub ended: u64,
    /// Some have none yet.
    pub waits: bool,
    /// The last try failed.
    pub fails: bool,
    /// Its task lives.
    pub is_there: bool,
}

/// How to give the courier notes, and how to end it. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    /// By index, which never changes: receivers come and go while notes are on their way.
    desks: RwLock<Vec<Desk>>,
    stop: watch::Sender<Option<Instant>>,
    clock: Clock,
    pace: Pace,
    dead_letters: Option<PathBuf>,
    reports: Option<mpsc::Sender<Report>>,
}

/// What the sender knows of a receiver's task.
#[derive(Clone)]
struct Desk {
    name: Arc<str>,
    inbox: mpsc::Sender<Note>,
    counters: Arc<Counters>,
    retire: watch::Sender<bool>,
}

/// What is left when the courier has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drained {
    /// Notes that were not delivered in time: still in the outbox, or in the dead-letter file where there is none.
    pub left: u64,
}

impl Handle {
    /// A courier without receivers. `reports`: where to tell; whoever wants to be told must read, for the courier waits.
    pub fn new(
        clock: Clock,
        pace: Pace,
        dead_letters: Option<PathBuf>,
        reports: Option<mpsc::Sender<Report>>,
    ) -> Handle {
        let (stop, _) = watch::channel(None);
        Handle { inner: Arc::new(Inner { desks: RwLock::default(), stop, clock, pace, dead_letters, reports }) }
    }

    /// One receiver more; its index, and its task.
    pub fn add<C: Carry>(&self, name: &str, carrier: C) -> (usize, Work) {
        let Inner { clock, pace, dead_letters, reports, stop, .. } = &*self.inner;
        let (sender, inbox) = mpsc::channel(INBOX_NOTES);
        let (retire, retired) = watch::channel(false);
        let counters = Arc::new(Counters::default());
        let mut desks = self.inner.desks.write().unwrap_or_else(PoisonError::into_inner);
        let index = desks.len();
        desks.push(Desk { name: name.into(), inbox: sender, counters: counters.clone(), retire });
        let seed = pace.seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let task = Task {
            index,
            name: name.into(),
            post: Post::new(pace.clone(), carrier.in_flight_max(), Dice(seed)).with(carrier.bundling()),
            carrier: Arc::new(carrier),
            clock: clock.clone(),
            behind: pace.behind,
            dead_letters: dead_letters.clone(),
            reports: reports.clone(),
            counters,
            missed_told: None,
        };
        (index, Box::pin(task.run(inbox, stop.subscribe(), retired)))
    }

    /// Gives a receiver nothing more. With an outbox behind it what is in flight lands, what else it has is the outbox's
    /// again, and [`Report::Retired`] tells when. Without one it goes on until it is done with what it has.
    pub fn retire(&self, receiver: usize) {
        if let Some(desk) = self.desk(receiver) {
            desk.retire.send_replace(true);
        }
    }

    fn desk(&self, receiver: usize) -> Option<Desk> {
        let desks = self.inner.desks.read().unwrap_or_else(PoisonError::into_inner);
        let is_over = self.inner.stop.borrow().is_some();
        desks.get(receiver).filter(|it| !is_over && !*it.retire.borrow()).cloned()
    }

    /// Hands a note over; waits while the receiver's queue has no room. The note comes back when the courier has ended.
    pub async fn send(&self, receiver: usize, note: Note) -> Result<(), Note> {
        let Some(Desk { inbox, counters, .. }) = self.desk(receiver) else { return Err(note) };
        counters.accepted.fetch_add(1, Relaxed);
        inbox.send(note).await.map_err(|error| {
            counters.accepted.fetch_sub(1, Relaxed);
            error.0
        })
    }

    /// The same without waiting: the note comes back when there is no room now.
    pub fn offer(&self, receiver: usize, note: Note) -> Result<(), Note> {
        let Some(Desk { inbox, counters, .. }) = self.desk(receiver) else { return Err(note) };
        counters.accepted.fetch_add(1, Relaxed);
        inbox.try_send(note).map_err(|error| {
            counters.accepted.fetch_sub(1, Relaxed);
            error.into_inner()
        })
    }

    /// Of every receiver that there ever was, in the order of their indexes.
    pub fn counters(&self) -> Vec<Arc<Counters>> {
        let desks = self.inner.desks.read().unwrap_or_else(PoisonError::into_inner);
        desks.iter().map(|it| it.counters.clone()).collect()
    }

    /// Where every receiver stands that was not retired.
    pub fn standing(&self) -> Vec<Standing> {
        let desks = self.inner.desks.read().unwrap_or_else(PoisonError::into_inner);
        let stands = |(receiver, it): (usize, &Desk)| Standing {
            receiver,
            name: it.name.clone(),
            ended: it.counters.delivered.load(Relaxed) + it.counters.expired.load(Relaxed),
            waits: it.counters.pending() > 0,
            fails: it.counters.failures_in_a_row.load(Relaxed) > 0,
            is_there: !it.inbox.is_closed(),
        };
        desks.iter().enumerate().filter(|it| !*it.1.retire.borrow()).map(stands).collect()
    }

    /// Takes nothing more, tries what is waiting once more, and ends when all is done or after `patience`.
    pub async fn drain(&self, patience: Duration) -> Drained {
        let expired = |all: &[Arc<Counters>]| all.iter().map(|it| it.expired.load(Relaxed)).sum::<u64>();
        let counters = self.counters();
        let before = expired(&counters);
        let deadline = (self.inner.clock.steady)() + patience;
        self.inner.stop.send_replace(Some(deadline));
        // The works end by themselves; the grace is for one that was never started.
        let _ = tokio::time::timeout(patience + Duration::from_secs(1), self.inner.stop.closed()).await;
        let pending: u64 = counters.iter().map(|it| it.pending()).sum();
        Drained { left: pending + (expired(&counters) - before) }
    }
}

/// What the caller spawns: one for each receiver. It ends after [`Handle::drain`], or when every handle is gone.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A courier with these receivers (name and carrier; indexes in their order), and their tasks.
pub fn start<C: Carry>(
    receivers: Vec<(String, C)>,
    clock: Clock,
    pace: Pace,
    dead_letters: Option<PathBuf>,
    reports: Option<mpsc::Sender<Report>>,
) -> (Handle, Vec<Work>) {
    let handle = Handle::new(clock, pace, dead_letters, reports);
    let works = receivers.into_iter().map(|(name, carrier)| handle.add(&name, carrier).1).collect();
    (handle, works)
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
    /// When it was last told that somebody missed a note.
    missed_told: Option<Instant>,
}

/// How often that is told.
const MISSED_TOLD_EVERY: Duration = Duration::from_secs(3600);

type Flight = Pin<Box<dyn Future<Output = (u64, Outcome, Progress)> + Send>>;

enum Wake {
    Landed(u64, Outcome, Progress),
    Came(Note),
    NoMore,
    Stop,
    Retire,
    Due,
}

impl<C: Carry> Task<C> {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Note>,
        mut stopped: watch::Receiver<Option<Instant>>,
        mut retired: watch::Receiver<bool>,
    ) {
        let mut flights: Vec<Flight> = Vec::new();
        let (mut is_open, mut is_retired) = (true, false);
        let mut deadline: Option<Instant> = None;
        loop {
            let mut now = (self.clock.steady)();
            while let Some(ended) = self.post.expire(now) {
                self.report(ended).await;
            }
            let only_lands = is_retired && self.behind == Behind::Outbox;
            while !only_lands && let Some(mut load) = self.post.take(now) {
                self.post.complete(&mut load, |alert| self.carrier.whole(alert));
                flights.push(self.fly(load));
            }
            if only_lands && flights.is_empty() {
                break;
            }
            if !is_open && flights.is_empty() && self.post.parcels.is_empty() {
                break;
            }
            now = (self.clock.steady)();
            let wakes = self.post.wakes(now).filter(|_| !only_lands);
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
                Ok(()) = retired.changed(), if !is_retired => Wake::Retire,
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
                Wake::Retire => {
                    is_retired = true;
                    inbox.close();
                }
                Wake::Due => {}
            }
        }
        drop(flights);
        let (index, reports) = (self.index, self.reports.clone());
        self.finish(inbox).await;
        if is_retired && let Some(reports) = reports {
            // Nobody reads them any more: then nobody waits for this, either.
            let _ = reports.send(Report::Retired { receiver: index }).await;
        }
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
            Outcome::Retry { why, .. } | Outcome::Gone { why } => why.clone(),
            Outcome::Delivered | Outcome::Refused { .. } | Outcome::Final { .. } => String::new(),
        };
        let remark = if matches!(outcome, Outcome::Delivered) { progress.remark.clone() } else { None };
        let ended = self.post.judge(id, outcome, progress, now, |alert| carrier.reduced(alert));
        match self.post.trouble(now) {
            Some(Trouble::Lasting) => self.tell(Report::Lasting { receiver: self.index, why: why.clone() }).await,
            Some(Trouble::Gone) => self.tell(Report::Gone { receiver: self.index, why: why.clone() }).await,
            None => {}
        }
        match (was_failing, self.post.is_probing()) {
            (false, true) => self.tell(Report::Failing { receiver: self.index, why }).await,
            (true, false) => self.tell(Report::Well { receiver: self.index }).await,
            (true, true) | (false, false) => {}
        }
        self.counters.failures_in_a_row.store(self.post.failures.into(), Relaxed);
        match ended {
            Some(ended) => {
                let is_own = ended.is_about_us();
                self.report(ended).await;
                if let Some(why) = remark.filter(|_| !is_own) {
                    self.tell_missed(why).await;
                }
            }
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
        let missed = match &ended.fate {
            Fate::Dead { why } if !ended.is_about_us() => Some(why.clone()),
            Fate::Dead { .. } | Fate::Delivered => None,
        };
        let Ended { note, fate, tries, remark } = ended;
        self.tell(Report::Ended(Receipt { receiver: self.index, key: note.key, fate, tries, remark })).await;
        if let Some(why) = missed {
            self.tell_missed(why).await;
        }
    }

    async fn tell_missed(&mut self, why: String) {
        let now = (self.clock.steady)();
        if self.missed_told.is_none_or(|it| now.saturating_duration_since(it) >= MISSED_TOLD_EVERY) {
            self.missed_told = Some(now);
            self.tell(Report::Missed { receiver: self.index, why }).await;
        }
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
mod tests;
