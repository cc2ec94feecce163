//! The keeper: commits what was judged, then lets it be known.
//!
//! Groups come from the service in order. A group is durable before anything of it is visible outside: only then are its
//! lines acknowledged and its notifications tried. While one group is being synced the next one fills, so a sync costs
//! time but not throughput. Receipts of the courier travel back the same way: a notification leaves the outbox in the
//! commit after its delivery.
//!
//! When the disk fails, nothing more is acknowledged. The keeper says so, tries again, and the channel behind it fills
//! until the sources wait.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::clock;
use crate::deliver::Note;
use crate::deliver::courier::{self, Fate, Report};
use crate::limits;
use crate::model::{Alert, Severity, Span, Timestamp};
use crate::source::receipt::Receipt;
use crate::source::tcp::Ledger;
use crate::store::{Group, OutboxRow, Store, Tally, snapshot};

/// What the service sends.
pub enum Message {
    Group(Group, Vec<Receipt>),
    /// The engine's memory, as it is after all groups before.
    Snapshot(Vec<u8>),
    /// No more comes: answer when everything before is durable.
    End(tokio::sync::oneshot::Sender<()>),
}

/// What was committed for clients that say who they are.
#[derive(Default)]
pub struct StoredLedger(Mutex<HashMap<String, u64>>);

impl StoredLedger {
    pub fn of(clients: Vec<(String, u64)>) -> StoredLedger {
        StoredLedger(Mutex::new(clients.into_iter().collect()))
    }

    fn commit(&self, clients: &[(String, u64)]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (client, line) in clients {
            let known = all.entry(client.clone()).or_default();
            *known = (*known).max(*line);
        }
    }
}

impl Ledger for StoredLedger {
    fn committed(&self, client: &str) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(client).copied().unwrap_or(0)
    }
}

/// What anybody may know of the state at any moment: `status.json` beside the database, and the metrics.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Status {
    pub journal_next: u64,
    pub fired: u64,
    pub delivered: u64,
    pub pending: u64,
    pub suppressed: u64,
    pub expired: u64,
    pub clients: Vec<(String, u64)>,
    /// Why nothing is durable at the moment.
    pub trouble: Option<String>,
    pub commit_seconds: f64,
}

impl Status {
    pub fn of(store: &Store) -> Result<Status, String> {
        let Tally { fired, delivered, suppressed, expired } = store.tally()?;
        let (pending, clients) = (store.pending()?, store.clients()?);
        let journal_next = store.next_journal();
        Ok(Status {
            journal_next,
            fired,
            delivered,
            pending,
            suppressed,
            expired,
            clients,
            trouble: None,
            commit_seconds: 0.0,
        })
    }
}

pub const STATUS_FILE: &str = "status.json";
/// How long a failed disk is left alone before the next try.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// How often the status file may be written.
const STATUS_EVERY: Duration = Duration::from_millis(250);
/// Notifications of one receiver that are in memory at once.
const LOADED_MAX: usize = 256;

pub struct Keeper {
    store: Option<Store>,
    folder: PathBuf,
    ledger: Arc<StoredLedger>,
    courier: Option<courier::Handle>,
    receivers: Vec<Queue>,
    /// Outbox numbers of what the courier has, by receiver and key.
    with_courier: HashMap<(usize, String), u64>,
    ended: Vec<(u64, bool)>,
    status: tokio::sync::watch::Sender<Status>,
    status_written: Option<Instant>,
    say: mpsc::UnboundedSender<String>,
}

struct Queue {
    name: String,
    /// Outbox numbers that the courier does not have yet, oldest first.
    waiting: VecDeque<u64>,
    loaded: usize,
}

impl Keeper {
    /// `receivers`: names in the order of the courier's. What is in the outbox is tried again.
    pub fn new(
        store: Store,
        ledger: Arc<StoredLedger>,
        courier: Option<courier::Handle>,
        receivers: &[String],
        status: tokio::sync::watch::Sender<Status>,
        say: mpsc::UnboundedSender<String>,
    ) -> Result<Keeper, String> {
        let queue = |name: &String| Queue { name: name.clone(), waiting: VecDeque::new(), loaded: 0 };
        let mut keeper = Keeper {
            folder: store.folder().to_path_buf(),
            ledger,
            courier,
            receivers: receivers.iter().map(queue).collect(),
            with_courier: HashMap::new(),
            ended: Vec::new(),
            status,
            status_written: None,
            say,
            store: None,
        };
        let mut next = 0;
        loop {
            let rows = store.outbox_from(next, 1000)?;
            let Some((last, _)) = rows.last() else { break };
            next = last + 1;
            for (number, row) in rows {
                match keeper.receivers.iter_mut().find(|it| it.name == row.receiver) {
                    Some(queue) => queue.waiting.push_back(number),
                    // The receiver is no longer configured: nobody will ever take it.
                    None => keeper.ended.push((number, false)),
                }
            }
        }
        keeper.store = Some(store);
        Ok(keeper)
    }

    /// Runs until the service says [`Message::End`] or is gone.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Message>, mut reports: mpsc::Receiver<Report>) {
        let mut ticks = interval(Duration::from_millis(20));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.pump();
        loop {
            tokio::select! {
                biased;
                Some(report) = reports.recv() => self.report(report),
                message = inbox.recv() => match message {
                    Some(Message::Group(group, receipts)) => self.commit(group, receipts).await,
                    Some(Message::Snapshot(bytes)) => self.snapshot(bytes).await,
                    Some(Message::End(done)) => {
                        while let Ok(report) = reports.try_recv() {
                            self.report(report);
                        }
                        self.commit(Group::default(), Vec::new()).await;
                        self.write_status();
                        self.store = None;
                        // The service may have given up waiting.
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                _ = ticks.tick() => {
                    if !self.ended.is_empty() {
                        self.commit(Group::default(), Vec::new()).await;
                    }
                    self.pump();
                    if self.status_written.is_none_or(|it| it.elapsed() >= STATUS_EVERY) {
                        self.write_status();
                    }
                }
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Ended(receipt) => {
                self.receivers[receipt.receiver].loaded = self.receivers[receipt.receiver].loaded.saturating_sub(1);
                if let Some(number) = self.with_courier.remove(&(receipt.receiver, receipt.key)) {
                    self.ended.push((number, receipt.fate == Fate::Delivered));
                }
            }
            Report::Failing { receiver, why } => {
                self.tell(format!("receiver `{}` is failing: {why}", self.receivers[receiver].name));
            }
            Report::Well { receiver } => {
                self.tell(format!("receiver `{}` is well again", self.receivers[receiver].name))
            }
        }
    }

    /// Makes a group durable, however long it takes, then acknowledges its lines and lets its notifications go.
    async fn commit(&mut self, mut group: Group, receipts: Vec<Receipt>) {
        group.ended.append(&mut self.ended);
        if group.is_empty() {
            receipts.into_iter().for_each(Receipt::committed);
            return;
        }
        let group = Arc::new(group);
        let mut told = false;
        let numbers = loop {
            let begun = clock::steady();
            let Some(mut store) = self.store.take().or_else(|| self.open_again()) else {
                sleep(TRY_AGAIN).await;
                continue;
            };
            let work = group.clone();
            let result = tokio::task::spawn_blocking(move || {
                let result = store.commit(&work);
                (store, result)
            })
            .await;
            match result {
                Ok((store, Ok(numbers))) => {
                    self.store = Some(store);
                    self.status.send_modify(|it| {
                        it.commit_seconds = begun.elapsed().as_secs_f64();
                        it.trouble = None;
                    });
                    break numbers;
                }
                Ok((store, Err(why))) => {
                    // A database that failed once is not trusted: it is closed, opened and checked.
                    drop(store);
                    if !told {
                        told = true;
                        self.tell(format!("the state cannot be written ({why}); nothing is acknowledged until it can"));
                    }
                    self.status.send_modify(|it| it.trouble = Some(why));
                    self.write_status();
                    sleep(TRY_AGAIN).await;
                }
                Err(_) => sleep(TRY_AGAIN).await,
            }
        };
        if told {
            self.tell("the state is written again".into());
        }
        self.ledger.commit(&group.clients);
        receipts.into_iter().for_each(Receipt::committed);
        for (number, note) in numbers.into_iter().zip(&group.notes) {
            if let Some(queue) = self.receivers.iter_mut().find(|it| it.name == note.receiver) {
                queue.waiting.push_back(number);
            }
        }
        self.pump();
    }

    fn open_again(&mut self) -> Option<Store> {
        match Store::open(&self.folder, &date(clock::now())) {
            Ok(opened) => {
                opened.set_aside.iter().for_each(|it| self.tell(it.clone()));
                Some(opened.store)
            }
            Err(error) => {
                self.status.send_modify(|it| it.trouble = Some(error.to_string()));
                None
            }
        }
    }

    async fn snapshot(&mut self, bytes: Vec<u8>) {
        let Some(mut store) = self.store.take() else { return };
        let result = tokio::task::spawn_blocking(move || {
            let result = snapshot::write(store.folder(), store.next_journal(), &bytes)
                .map_err(|it| it.to_string())
                .and_then(|needed| store.forget_journal_before(needed));
            (store, result)
        })
        .await;
        match result {
            Ok((store, Ok(()))) => self.store = Some(store),
            Ok((_, Err(why))) => self.tell(format!("a snapshot could not be written: {why}")),
            Err(_) => {}
        }
    }

    /// Hands the courier what it has room for.
    fn pump(&mut self) {
        let (Some(courier), Some(store)) = (&self.courier, &self.store) else { return };
        let now = clock::now();
        for (index, queue) in self.receivers.iter_mut().enumerate() {
            while queue.loaded < LOADED_MAX
                && let Some(number) = queue.waiting.front().copied()
            {
                let Ok(rows) = store.outbox_from(number, 1) else { return };
                let Some((_, row)) = rows.into_iter().find(|it| it.0 == number) else {
                    queue.waiting.pop_front();
                    continue;
                };
                let key = row.key.clone();
                let Some(note) = note(row, now) else {
                    queue.waiting.pop_front();
                    self.ended.push((number, false));
                    continue;
                };
                if courier.offer(index, note).is_err() {
                    break;
                }
                queue.waiting.pop_front();
                queue.loaded += 1;
                self.with_courier.insert((index, key), number);
            }
        }
    }

    fn write_status(&mut self) {
        self.status_written = Some(clock::steady());
        let Some(store) = &self.store else { return };
        let Ok(fresh) = Status::of(store) else { return };
        let folder = store.folder().to_path_buf();
        self.status
            .send_modify(|it| *it = Status { trouble: it.trouble.take(), commit_seconds: it.commit_seconds, ..fresh });
        let text = serde_json::to_string(&*self.status.borrow()).unwrap_or_default();
        // A file for people: what counts is in the database.
        let beside = folder.join("status.json.new");
        if std::fs::write(&beside, text).is_ok() {
            let _ = std::fs::rename(beside, folder.join(STATUS_FILE));
        }
    }

    fn tell(&self, sentence: String) {
        // At shutdown nobody listens any more.
        let _ = self.say.send(sentence);
    }
}

/// The day, for names of what is set aside.
pub fn date(now: Timestamp) -> String {
    let (year, month, day) = now.civil();
    format!("{year:04}-{month:02}-{day:02}")
}

/// A stored notification as the courier takes it; None when its alert cannot be read.
fn note(row: OutboxRow, now: Timestamp) -> Option<Note> {
    let alert: Alert = serde_json::from_str(&row.alert).ok()?;
    Some(Note {
        key: row.key,
        lane: alert.id.clone(),
        severity: alert.rule.severity.max(Severity::Info),
        body: row.body.into(),
        alert: Arc::new(alert),
        waited: now.since(Timestamp::from_micros(row.since)).min(Span::from_secs(limits::DELIVERY_SECONDS_MAX as i64)),
    })
}
