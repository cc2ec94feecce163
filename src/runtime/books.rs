//! The books: what is durable, what is on its way to people, and what follows when the disk does not do it.
//!
//! No task, no timer and no thread: the keeper drives it in the service, and a simulation drives the very same lines
//! through years of bad disks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::deliver::Note;
use crate::deliver::courier::{Fate, Report};
use crate::limits;
use crate::model::{Alert, Severity, Span, Timestamp};
use crate::source::follow::Position;
use crate::source::receipt::Receipt;
use crate::source::tcp::Ledger;
use crate::store::disk::Disk;
use crate::store::{Fault, Group, OutboxRow, Store, Tally};

/// What was committed for clients that say who they are.
#[derive(Default)]
pub struct StoredLedger(Mutex<BTreeMap<String, u64>>);

impl StoredLedger {
    pub fn of(clients: Vec<(String, u64)>) -> StoredLedger {
        StoredLedger(Mutex::new(clients.into_iter().collect()))
    }

    fn all(&self) -> Vec<(String, u64)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(client, line)| (client.clone(), *line)).collect()
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
    /// How far files were read: at most [`FILES_SHOWN_MAX`] of them.
    #[serde(default)]
    pub files: Vec<FileStatus>,
    #[serde(default)]
    pub files_total: u64,
    /// Why nothing is durable at the moment.
    pub trouble: Option<String>,
    pub commit_seconds: f64,
    /// How many databases were begun anew because one was damaged: each wants a snapshot of what is remembered.
    #[serde(default)]
    pub begun_anew: u64,
    /// In order of the configuration.
    #[serde(default)]
    pub receivers: Vec<ReceiverStatus>,
}

/// Notifications of one receiver: on their way now, and since the start delivered or given up.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct ReceiverStatus {
    pub name: String,
    pub pending: u64,
    pub delivered: u64,
    pub expired: u64,
}

/// How far a file was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileStatus {
    /// As evidence calls it.
    pub name: String,
    /// Where it was last.
    pub path: String,
    pub line: u64,
    pub byte: u64,
}

/// Files of which the status tells.
const FILES_SHOWN_MAX: usize = 100;

impl Status {
    pub fn of(store: &Store) -> Result<Status, Fault> {
        let Tally { fired, delivered, suppressed, expired } = store.tally()?;
        let (pending, clients) = (store.pending()?, store.clients()?);
        let journal_next = store.next_journal();
        let (positions, files_total) = store.positions(FILES_SHOWN_MAX)?;
        let shown = |it: Position| FileStatus {
            path: it.path().display().to_string(),
            name: it.name,
            line: it.taken,
            byte: it.offset,
        };
        let files = positions.iter().filter_map(|it| Position::decode(&it.1)).map(shown).collect();
        Ok(Status {
            journal_next,
            fired,
            delivered,
            pending,
            suppressed,
            expired,
            clients,
            files,
            files_total,
            ..Status::default()
        })
    }
}

/// Notifications of one receiver that are in memory at once.
const LOADED_MAX: usize = 256;

pub struct Books {
    store: Option<Store>,
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    /// Of entity hashes: every database holds them.
    keys: (u64, u64),
    ledger: Arc<StoredLedger>,
    receivers: Vec<Queue>,
    /// Outbox numbers of what the courier has, by its desk and key.
    with_courier: HashMap<(usize, String), Vec<u64>>,
    /// Desks that others took the place of, and whose they were.
    replaced: HashMap<usize, String>,
    ended: Vec<(u64, bool)>,
    last_group: u64,
    /// How far files were read, as committed.
    positions: HashMap<Arc<str>, Vec<u8>>,
    /// A new database does not know clients and positions yet.
    forgot: bool,
    status: watch::Sender<Status>,
    say: mpsc::UnboundedSender<String>,
}

/// Everything for the receivers of one name.
struct Queue {
    name: String,
    /// The courier's desk for it. None: nobody is called so at the moment, and what waits does so until it is too old.
    desk: Option<usize>,
    /// Outbox numbers that the courier does not have yet, oldest first.
    waiting: VecDeque<u64>,
    /// At the desk now; what desks before it had and did not give back is not counted.
    loaded: usize,
    delivered: u64,
    expired: u64,
}

impl Queue {
    fn of(name: &str, desk: Option<usize>) -> Queue {
        Queue { name: name.into(), desk, waiting: VecDeque::new(), loaded: 0, delivered: 0, expired: 0 }
    }

    /// Gives up what nobody takes and has waited for as long as a notification may.
    fn expire(&mut self, store: &Store, now: Timestamp, ended: &mut Vec<(u64, bool)>) {
        while let Some(number) = self.waiting.front().copied() {
            let Ok(rows) = store.outbox_from(number, 1) else { return };
            let waits =
                rows.first().filter(|it| it.0 == number).map(|it| now.since(Timestamp::from_micros(it.1.since)));
            if waits.is_some_and(|it| it < Span::from_secs(limits::DELIVERY_SECONDS_MAX as i64)) {
                return;
            }
            self.waiting.pop_front();
            self.expired += 1;
            ended.push((number, false));
        }
    }
}

/// A group that must become durable, however long it takes, and what may be said then.
pub struct Pending {
    pub group: Arc<Group>,
    receipts: Vec<Receipt>,
    /// Whether the operator heard that it does not go.
    told: bool,
}

impl Books {
    /// `receivers`: names in the order of the courier's desks. What is in the outbox is tried again.
    pub fn open(
        store: Store,
        disk: Arc<dyn Disk>,
        keys: (u64, u64),
        ledger: Arc<StoredLedger>,
        receivers: &[String],
        status: watch::Sender<Status>,
        say: mpsc::UnboundedSender<String>,
    ) -> Result<Books, Fault> {
        let mut books = Books {
            folder: store.folder().to_path_buf(),
            disk,
            keys,
            ledger,
            receivers: receivers.iter().enumerate().map(|(desk, name)| Queue::of(name, Some(desk))).collect(),
            with_courier: HashMap::new(),
            replaced: HashMap::new(),
            ended: Vec::new(),
            last_group: store.last_group(),
            positions: store.positions(usize::MAX)?.0.into_iter().map(|it| (it.0.into(), it.1)).collect(),
            forgot: false,
            status,
            say,
            store: None,
        };
        let mut next = 0;
        loop {
            let rows = store.outbox_from(next, 1000)?;
            let Some((last, _)) = rows.last() else { break };
            next = last + 1;
            for (number, row) in rows {
                books.queue(&row.receiver).waiting.push_back(number);
            }
        }
        books.store = Some(store);
        for queue in books.receivers.iter().filter(|it| it.desk.is_none()) {
            books.tell(format!(
                "{} notifications wait for the receiver `{}`, which is no longer configured; they are given up when they are too old",
                queue.waiting.len(),
                queue.name
            ));
        }
        Ok(books)
    }

    /// Where notifications for a name wait.
    fn queue(&mut self, name: &str) -> &mut Queue {
        let at = self.receivers.iter().position(|it| it.name == name);
        let at = at.unwrap_or_else(|| {
            self.receivers.push(Queue::of(name, None));
            self.receivers.len() - 1
        });
        &mut self.receivers[at]
    }

    /// The receivers in force have these desks from now on. Whoever is not among them keeps the desk it had: what is on its
    /// way is still delivered.
    pub fn seat(&mut self, desks: &[(String, usize)]) {
        for (name, desk) in desks {
            let queue = self.queue(name);
            if queue.desk == Some(*desk) {
                continue;
            }
            queue.loaded = 0;
            if let Some(before) = queue.desk.replace(*desk) {
                self.replaced.insert(before, name.clone());
            }
        }
    }

    /// What a desk that was retired did not deliver waits again, for the desk that took its place.
    fn take_back(&mut self, desk: usize) {
        let left: Vec<u64> = self.with_courier.extract_if(|key, _| key.0 == desk).flat_map(|it| it.1).collect();
        // Whoever takes its place may not have been named yet.
        let here = self.receivers.iter().find(|it| it.desk == Some(desk)).map(|it| it.name.clone());
        let Some(name) = self.replaced.remove(&desk).or(here) else { return };
        let waiting = &mut self.queue(&name).waiting;
        waiting.extend(left);
        waiting.make_contiguous().sort_unstable();
    }

    /// Whether notifications ended that must leave the outbox.
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// What became of a notification, or of a receiver.
    pub fn report(&mut self, report: Report) {
        match report {
            Report::Ended(receipt) => {
                // A desk whose place was taken still ends what was in flight.
                if let Some(queue) = self.receivers.iter_mut().find(|it| it.desk == Some(receipt.receiver)) {
                    queue.loaded = queue.loaded.saturating_sub(1);
                    match receipt.fate {
                        Fate::Delivered => queue.delivered += 1,
                        Fate::Dead { .. } => queue.expired += 1,
                    }
                }
                let numbers = self.with_courier.remove(&(receipt.receiver, receipt.key)).unwrap_or_default();
                self.ended.extend(numbers.into_iter().map(|it| (it, receipt.fate == Fate::Delivered)));
            }
            Report::Failing { receiver, why } => {
                self.tell(format!("receiver `{}` is failing: {why}", self.name_at(receiver)));
            }
            Report::Well { receiver } => self.tell(format!("receiver `{}` is well again", self.name_at(receiver))),
            Report::Retired { receiver } => self.take_back(receiver),
        }
    }

    fn name_at(&self, desk: usize) -> &str {
        self.receivers.iter().find(|it| it.desk == Some(desk)).map_or("of before", |it| &it.name)
    }

    /// A group and what ended meanwhile, numbered; None when there is nothing to write.
    pub fn begin(&mut self, mut group: Group, receipts: Vec<Receipt>) -> Option<Pending> {
        group.ended.append(&mut self.ended);
        if group.is_empty() {
            receipts.into_iter().for_each(Receipt::committed);
            return None;
        }
        if std::mem::take(&mut self.forgot) {
            // What was committed before stands first: the group's own lines are newer.
            group.clients.splice(0..0, self.ledger.all());
            group.positions.splice(0..0, self.positions.iter().map(|it| (it.0.clone(), Some(it.1.clone()))));
        }
        group.number = self.last_group + 1;
        Some(Pending { group: Arc::new(group), receipts, told: false })
    }

    /// The store, to be given back; opened anew where it failed before. None: it cannot be opened now.
    pub fn lend(&mut self, date: &str) -> Option<Store> {
        if let Some(store) = self.store.take() {
            return Some(store);
        }
        let opened = Store::open_on(&self.folder, date, self.disk.clone()).map_err(|it| it.to_string());
        let opened = opened.and_then(|mut it| {
            it.store.hash_keys(self.keys)?;
            Ok(it)
        });
        match opened {
            Ok(opened) => {
                if !opened.set_aside.is_empty() {
                    // Numbers of the database that is gone mean others in the new one.
                    self.with_courier.clear();
                    self.ended.clear();
                    self.receivers.iter_mut().for_each(|it| it.waiting.clear());
                    self.forgot = true;
                    self.status.send_modify(|it| it.begun_anew += 1);
                }
                opened.set_aside.iter().for_each(|it| self.tell(it.clone()));
                Some(opened.store)
            }
            Err(why) => {
                self.status.send_modify(|it| it.trouble = Some(why));
                None
            }
        }
    }

    /// A loan comes back.
    pub fn give_back(&mut self, store: Store) {
        self.store = Some(store);
    }

    /// The result of one try. Durable: its lines are acknowledged and its notifications wait for the courier. If not, it
    /// comes back to be tried again, and the store, which failed, is not trusted any more.
    pub fn tried(
        &mut self,
        pending: Pending,
        store: Store,
        result: Result<Vec<u64>, Fault>,
        took: Duration,
    ) -> Result<(), Pending> {
        let Pending { group, receipts, told } = pending;
        let numbers = match result {
            Ok(numbers) => numbers,
            Err(why) => {
                drop(store);
                if !told {
                    self.tell(format!("the state cannot be written ({why}); nothing is acknowledged until it can"));
                }
                self.status.send_modify(|it| it.trouble = Some(why.to_string()));
                return Err(Pending { group, receipts, told: true });
            }
        };
        self.store = Some(store);
        self.last_group = group.number;
        self.status.send_modify(|it| {
            it.commit_seconds = took.as_secs_f64();
            it.trouble = None;
        });
        if told {
            self.tell("the state is written again".into());
        }
        self.ledger.commit(&group.clients);
        for (name, position) in &group.positions {
            match position {
                Some(it) => drop(self.positions.insert(name.clone(), it.clone())),
                None => drop(self.positions.remove(name)),
            }
        }
        receipts.into_iter().for_each(Receipt::committed);
        for (number, note) in numbers.into_iter().zip(&group.notes) {
            self.queue(&note.receiver).waiting.push_back(number);
        }
        Ok(())
    }

    /// Hands over what there is room for. `offer`: gives a desk a note, which comes back where it has no room.
    pub fn pump(&mut self, now: Timestamp, offer: &mut dyn FnMut(usize, Note) -> Result<(), Note>) {
        let Some(store) = &self.store else { return };
        for queue in &mut self.receivers {
            let Some(desk) = queue.desk else {
                queue.expire(store, now, &mut self.ended);
                continue;
            };
            while queue.loaded < LOADED_MAX
                && let Some(number) = queue.waiting.front().copied()
            {
                let Ok(rows) = store.outbox_from(number, 1) else { return };
                let Some((_, row)) = rows.into_iter().find(|it| it.0 == number) else {
                    queue.waiting.pop_front();
                    continue;
                };
                let key = (desk, row.key.clone());
                let Some(note) = note(row, now) else {
                    queue.waiting.pop_front();
                    self.ended.push((number, false));
                    continue;
                };
                if let Some(numbers) = self.with_courier.get_mut(&key) {
                    // It is on its way already: one delivery ends both.
                    numbers.push(number);
                } else if offer(desk, note).is_err() {
                    break;
                } else {
                    queue.loaded += 1;
                    self.with_courier.insert(key, vec![number]);
                }
                queue.waiting.pop_front();
            }
        }
    }

    /// What there is to know, published; None while the store is out of the house.
    pub fn status(&mut self) -> Option<Status> {
        let fresh = Status::of(self.store.as_ref()?).ok()?;
        let waits = |it: &Queue| {
            let loaded = self.with_courier.iter().filter(|(key, _)| Some(key.0) == it.desk);
            let loaded = loaded.map(|it| it.1.len()).sum::<usize>();
            let pending = (it.waiting.len() + loaded) as u64;
            ReceiverStatus { name: it.name.clone(), pending, delivered: it.delivered, expired: it.expired }
        };
        let receivers = self.receivers.iter().map(waits).collect();
        self.status.send_modify(|it| {
            *it = Status {
                trouble: it.trouble.take(),
                commit_seconds: it.commit_seconds,
                begun_anew: it.begun_anew,
                receivers,
                ..fresh
            }
        });
        Some(self.status.borrow().clone())
    }

    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    pub fn tell(&self, sentence: String) {
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
