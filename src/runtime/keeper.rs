//! The keeper: commits what was judged, then lets it be known.
//!
//! Groups come from the service in order. A group is durable before anything of it is visible outside: only then are its
//! lines acknowledged and its notifications tried. While one group is being synced the next one fills, so a sync costs
//! time but not throughput. Receipts of the courier travel back the same way: a notification leaves the outbox in the
//! commit after its delivery.
//!
//! When the disk fails, nothing more is acknowledged. The keeper says so, tries again, and the channel behind it fills
//! until the sources wait. What was durable before is delivered meanwhile and leaves the outbox, which on a full disk makes
//! room. What is decided stands in [`Books`]; here are the task, its timers and the blocking thread.

use std::io::Write;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

use super::books::{Books, Pending, date};
use super::clock;
use crate::deliver::courier::{self, Report};
use crate::source::receipt::Receipt;
use crate::store::Group;
use crate::store::disk::owner_only;

/// What the service sends.
pub enum Message {
    Group(Group, Vec<Receipt>),
    /// The engine's memory, in pieces, as it is after all groups before.
    Snapshot(Vec<Vec<u8>>),
    /// The receivers in force, and their desks at the courier's.
    Desks(Vec<(String, usize)>),
    /// No more comes: answer when everything before is durable.
    End(tokio::sync::oneshot::Sender<()>),
}

pub const STATUS_FILE: &str = "status.json";
/// How long a failed disk is left alone before the next try.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// How often a full one is looked at: that takes no more than asking how much room there is.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Between two times that the database is asked what it has to spare; less where that is quick.
const MEASURE_REST_MAX: Duration = Duration::from_secs(5);
/// How often the status file may be written.
const STATUS_EVERY: Duration = Duration::from_millis(250);

pub struct Keeper {
    books: Books,
    courier: courier::Handle,
    status_written: Option<Instant>,
    /// Asking what the database has to spare has had its time until then.
    measures_after: Option<Instant>,
}

impl Keeper {
    pub fn new(books: Books, courier: courier::Handle) -> Keeper {
        Keeper { books, courier, status_written: None, measures_after: None }
    }

    /// Runs until the service says [`Message::End`] or is gone.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Message>, mut reports: mpsc::Receiver<Report>) {
        let mut ticks = interval(Duration::from_millis(20));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.pump();
        loop {
            tokio::select! {
                biased;
                Some(report) = reports.recv() => self.books.report(report),
                message = inbox.recv() => match message {
                    Some(Message::Group(group, receipts)) => self.commit(group, receipts, &mut reports).await,
                    Some(Message::Snapshot(pieces)) => self.snapshot(pieces).await,
                    Some(Message::Desks(desks)) => self.books.seat(&desks),
                    Some(Message::End(done)) => {
                        while let Ok(report) = reports.try_recv() {
                            self.books.report(report);
                        }
                        self.commit(Group::default(), Vec::new(), &mut reports).await;
                        self.write_status();
                        drop(self.books);
                        // The service may have given up waiting.
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                _ = ticks.tick() => {
                    self.books.has_a_hand_free();
                    if self.books.has_ended() {
                        self.commit(Group::default(), Vec::new(), &mut reports).await;
                    }
                    self.pump();
                    self.write_status_sometimes();
                }
            }
        }
    }

    /// Makes a group durable, however long it takes, then acknowledges its lines and lets its notifications go.
    async fn commit(&mut self, group: Group, receipts: Vec<Receipt>, reports: &mut mpsc::Receiver<Report>) {
        let Some(mut pending) = self.books.begin(group, receipts) else { return };
        while let Err(again) = self.attempt(pending).await {
            pending = again;
            self.write_status_sometimes();
            let until = clock::steady() + if self.books.is_open() { LOOK_AGAIN } else { TRY_AGAIN };
            while let Ok(Some(report)) = timeout_at(until, reports.recv()).await {
                self.books.report(report);
            }
            // Where the courier is gone there is nothing to listen to.
            sleep_until(until).await;
            self.forget(&mut pending).await;
            self.pump();
        }
        self.pump();
    }

    /// What ended goes before a group that cannot be written.
    async fn forget(&mut self, pending: &mut Pending) {
        if let Some(ahead) = self.books.ahead_of(pending, &date(clock::now()))
            && let Err(ahead) = self.attempt(ahead).await
        {
            self.books.keep_ended(ahead);
        }
    }

    /// Finds out what the database has to spare, where that decides about a group; not all the time.
    async fn measure(&mut self, pending: &Pending) {
        let begun = clock::steady();
        if self.measures_after.is_some_and(|it| begun < it) {
            return;
        }
        let Some(mut store) = self.books.lend_to_measure(pending) else { return };
        let done = tokio::task::spawn_blocking(move || {
            let spare = store.spare();
            (store, spare)
        });
        if let Ok((store, spare)) = done.await {
            self.books.measured(store, spare);
        }
        self.measures_after = Some(clock::steady() + (begun.elapsed() * 9).min(MEASURE_REST_MAX));
    }

    /// One try. A group that is not durable comes back.
    async fn attempt(&mut self, pending: Pending) -> Result<(), Pending> {
        self.measure(&pending).await;
        let begun = clock::steady();
        let (pending, mut store) = self.books.lend_for(pending, &date(clock::now()))?;
        let work = pending.group.clone();
        let done = tokio::task::spawn_blocking(move || {
            let result = store.commit(&work);
            (store, result)
        });
        match done.await {
            Ok((store, result)) => self.books.tried(pending, store, result, begun.elapsed()),
            // A try that panicked took the store with it, and is as good as one that failed.
            Err(_) => Err(pending),
        }
    }

    async fn snapshot(&mut self, pieces: Vec<Vec<u8>>) {
        let Some(mut store) = self.books.lend_for_snapshot(&pieces, &date(clock::now())) else { return };
        let done = tokio::task::spawn_blocking(move || {
            let result = store.keep_snapshot(&pieces);
            (store, result)
        });
        match done.await {
            Ok((store, result)) => self.books.snapshot_tried(store, result),
            // It panicked, and took the store with it.
            Err(_) => self.books.snapshot_lost(),
        }
    }

    fn pump(&mut self) {
        let courier = &self.courier;
        self.books.pump(clock::now(), &mut |desk, note| courier.offer(desk, note));
    }

    fn write_status_sometimes(&mut self) {
        if self.status_written.is_none_or(|it| it.elapsed() >= STATUS_EVERY) {
            self.books.keep_ballast();
            self.write_status();
        }
    }

    fn write_status(&mut self) {
        self.status_written = Some(clock::steady());
        let Some(status) = self.books.status() else { return };
        let text = serde_json::to_string(&status).unwrap_or_default();
        // A file for people: what counts is in the database.
        let beside = self.books.folder().join("status.json.new");
        let write = || owner_only(&beside).and_then(|mut it| it.write_all(text.as_bytes()));
        let mut written = write();
        if written.is_err() && self.books.draw() {
            written = write();
        }
        if written.is_ok() {
            let _ = std::fs::rename(beside, self.books.folder().join(STATUS_FILE));
        }
    }
}
