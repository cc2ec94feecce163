//! The books: what is durable, what is on its way to people, and what follows when the disk does not do it.
//!
//! No task, no timer and no thread: the keeper drives it in the service, and a simulation drives the very same lines
//! through years of bad disks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
use crate::store::{Fault, Group, OutboxRow, Store, StoreError, Tally, ballast};

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
    /// It is for want of room.
    #[serde(default)]
    pub is_full: bool,
    pub commit_seconds: f64,
    /// How many databases were begun anew because one was damaged: each wants a snapshot of what is remembered.
    #[serde(default)]
    pub begun_anew: u64,
    /// How many snapshots were written since the start, and how many could not be.
    #[serde(skip)]
    pub snapshots_kept: u64,
    #[serde(skip)]
    pub snapshots_failed: u64,
    /// How often something was written, or nothing was to be. It stands still while something cannot be.
    #[serde(skip)]
    pub moved: u64,
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

/// Something for the operator, and the alert about ourselves that it is worth.
#[derive(Debug)]
pub struct Word {
    pub text: String,
    pub alert: Option<&'static str>,
}

impl Word {
    /// What is to be said of a receiver; None: nothing.
    pub fn of(report: &Report, name: &str) -> Option<Word> {
        let (text, alert) = match report {
            Report::Ended(_) | Report::Retired { .. } => return None,
            Report::Failing { why, .. } => (format!("receiver `{name}` is failing: {why}"), None),
            Report::Well { .. } => (format!("receiver `{name}` is well again"), None),
            Report::Missed { why, .. } => {
                let text = format!("an alert did not reach everybody whom receiver `{name}` stands for: {why}");
                (text, Some("alert-missed"))
            }
            Report::Lasting { why, .. } => {
                (format!("receiver `{name}` has taken nothing for ten minutes: {why}"), Some("receiver-failing"))
            }
            Report::Gone { why, .. } => (
                format!(
                    "receiver `{name}` says that it is no more ({why}) and is not tried until its configuration changes or \
                     Tripline starts again; what waits for it is kept for 72 hours"
                ),
                Some("receiver-gone"),
            ),
        };
        Some(Word { text, alert })
    }
}

/// Of the database's file, this part is kept for forgetting.
const SPARE_SHARE: u64 = 16;
/// And at least so much.
const SPARE_BYTES_MIN: u64 = 512 << 10;
/// Why a group waits.
const NO_ROOM: &str = "there is too little room on its disk";
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
    with_courier: HashMap<(usize, String), Vec<Turn>>,
    /// Desks that others took the place of, and whose they were.
    replaced: HashMap<usize, String>,
    ended: Vec<(u64, bool)>,
    last_group: u64,
    /// How far files were read, as committed.
    positions: HashMap<Arc<str>, Vec<u8>>,
    /// A new database does not know clients and positions yet.
    forgot: bool,
    /// Bytes of its file that hold nothing and may be used, at least.
    spare: u64,
    /// Something was written since that was found out, and took less than was reckoned.
    has_taken: bool,
    /// Of the last snapshot.
    snapshot_bytes: u64,
    status: watch::Sender<Status>,
    say: mpsc::UnboundedSender<Word>,
}

/// Of an outbox row, its turn: the worse first, or a storm of lesser alerts would hide the one that matters; then the older.
/// Both states of an alert have one severity, so none overtakes the other.
type Turn = (Reverse<Severity>, u64);

/// Everything for the receivers of one name.
struct Queue {
    name: String,
    /// The courier's desk for it. None: nobody is called so at the moment, and what waits does so until it is too old.
    desk: Option<usize>,
    /// What the courier does not have yet, in the order in which it gets it.
    waiting: BTreeSet<Turn>,
    /// At the desk now; what desks before it had and did not give back is not counted.
    loaded: usize,
    delivered: u64,
    expired: u64,
}

impl Queue {
    fn of(name: &str, desk: Option<usize>) -> Queue {
        Queue { name: name.into(), desk, waiting: BTreeSet::new(), loaded: 0, delivered: 0, expired: 0 }
    }

    /// Gives up what nobody takes and has waited for as long as a notification may.
    fn expire(&mut self, store: &Store, now: Timestamp, ended: &mut Vec<(u64, bool)>) {
        for severity in Severity::ALL.map(Reverse) {
            while let Some(turn) = self.waiting.range((severity, 0)..=(severity, u64::MAX)).next().copied() {
                let number = turn.1;
                let Ok(rows) = store.outbox_from(number, 1) else { return };
                let waits =
                    rows.first().filter(|it| it.0 == number).map(|it| now.since(Timestamp::from_micros(it.1.since)));
                if waits.is_some_and(|it| it < Span::from_secs(limits::DELIVERY_SECONDS_MAX as i64)) {
                    break;
                }
                self.waiting.remove(&turn);
                self.expired += 1;
                ended.push((number, false));
            }
        }
    }
}

/// A group that must become durable, however long it takes, and what may be said then.
pub struct Pending {
    pub group: Arc<Group>,
    receipts: Vec<Receipt>,
    /// Whether the operator heard that it does not go.
    told: bool,
    /// It goes before one that cannot be written: that it can says nothing of the other.
    is_ahead: bool,
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
        say: mpsc::UnboundedSender<Word>,
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
            spare: 0,
            has_taken: true,
            snapshot_bytes: 0,
            status,
            say,
            store: None,
        };
        if !ballast::top_up(&*books.disk, &books.folder) && books.disk.room(&books.folder).is_some() {
            books.tell(
                "the disk of the state directory is too small, or too full, to keep some room back for bad days".into(),
            );
        }
        let mut next = 0;
        loop {
            let rows = store.outbox_from(next, 1000)?;
            let Some((last, _)) = rows.last() else { break };
            next = last + 1;
            for (number, row) in rows {
                books.queue(&row.receiver).waiting.insert(turn(&row, number));
            }
        }
        let snapshots = store.snapshots().unwrap_or_default();
        books.snapshot_bytes = snapshots.iter().map(|it| books.disk.length(&it.1)).max().unwrap_or(0);
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
        let left: Vec<Turn> = self.with_courier.extract_if(|key, _| key.0 == desk).flat_map(|it| it.1).collect();
        // Whoever takes its place may not have been named yet.
        let here = self.receivers.iter().find(|it| it.desk == Some(desk)).map(|it| it.name.clone());
        let Some(name) = self.replaced.remove(&desk).or(here) else { return };
        self.queue(&name).waiting.extend(left);
    }

    /// Whether notifications ended that must leave the outbox.
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// What became of a notification, or of a receiver.
    pub fn report(&mut self, report: Report) {
        if let Some(word) = report.about().and_then(|it| Word::of(&report, self.name_at(it))) {
            // At shutdown nobody listens any more.
            let _ = self.say.send(word);
        }
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
                self.ended.extend(numbers.into_iter().map(|it| (it.1, receipt.fate == Fate::Delivered)));
            }
            Report::Failing { .. }
            | Report::Lasting { .. }
            | Report::Gone { .. }
            | Report::Missed { .. }
            | Report::Well { .. } => {}
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
        Some(Pending { group: Arc::new(group), receipts, told: false, is_ahead: false })
    }

    /// While a group cannot be written: what ended meanwhile, as a group that goes before it. To forget needs less room than to
    /// remember, and makes some. None: there is nothing, or the group may have been written.
    pub fn ahead_of(&mut self, pending: &mut Pending, date: &str) -> Option<Pending> {
        let store = self.lend(date)?;
        let is_written = store.last_group() >= pending.group.number;
        self.give_back(store);
        if is_written || self.ended.is_empty() {
            return None;
        }
        // Numbers rise from group to group, also when one of them does not come through.
        let number = pending.group.number;
        Arc::make_mut(&mut pending.group).number += 1;
        let ended = std::mem::take(&mut self.ended);
        let group = Arc::new(Group { number, ended, ..Group::default() });
        Some(Pending { group, receipts: Vec::new(), told: true, is_ahead: true })
    }

    /// What ended stays to be written: it did not come through before the group, so it comes with one after it.
    pub fn keep_ended(&mut self, ahead: Pending) {
        self.ended.extend(ahead.group.ended.iter().copied());
    }

    /// A little of the room for bad days, for a file that is replaced: what it took up comes back. False: there is none.
    pub fn draw(&self) -> bool {
        self.status.borrow().is_full && ballast::draw(&*self.disk, &self.folder)
    }

    /// Takes room up for bad days, where some is missing.
    pub fn keep_ballast(&self) {
        ballast::top_up(&*self.disk, &self.folder);
    }

    /// The store, for a group that there is room for; the group comes back where it must wait. What only forgets may draw on
    /// the room that is kept back, and is told to wait by nobody.
    pub fn lend_for(&mut self, mut pending: Pending, date: &str) -> Result<(Pending, Store), Pending> {
        let Some(store) = self.lend(date) else { return Err(pending) };
        self.store = Some(store);
        if !self.has_room_for(&pending) {
            self.refuse(NO_ROOM, true, &mut pending.told);
            return Err(pending);
        }
        match self.store.take() {
            Some(store) => Ok((pending, store)),
            None => Err(pending),
        }
    }

    /// The store, for a snapshot. None: there is no room for it, or no store.
    pub fn lend_for_snapshot(&mut self, pieces: &[Vec<u8>], date: &str) -> Option<Store> {
        self.snapshot_bytes = pieces.iter().map(|it| it.len() as u64).sum();
        if self.shortage(self.snapshot_bytes) > 0 {
            self.snapshot_failed(NO_ROOM, true);
            return None;
        }
        let store = self.lend(date);
        if store.is_none() {
            self.snapshot_lost();
        }
        store
    }

    /// Nothing became of it, and the reason is told elsewhere.
    pub fn snapshot_lost(&self) {
        self.status.send_modify(|it| it.snapshots_failed += 1);
    }

    /// What became of it. Without a snapshot the journal goes on growing, so another one is wanted soon.
    pub fn snapshot_tried(&mut self, store: Store, result: Result<(), Fault>) {
        if !store.is_spoiled() {
            self.give_back(store);
        }
        match result {
            Ok(()) => self.status.send_modify(|it| {
                it.snapshots_kept += 1;
                // Where something waits for room, it says so again.
                (it.trouble, it.is_full) = (None, false);
            }),
            Err(why) => self.snapshot_failed(&why.to_string(), matches!(why, Fault::Full(_))),
        }
    }

    fn snapshot_failed(&mut self, why: &str, is_full: bool) {
        if self.status.borrow().trouble.is_none() {
            self.tell(format!("a snapshot could not be written: {why}"));
        }
        self.status.send_modify(|it| {
            it.snapshots_failed += 1;
            (it.trouble, it.is_full) = (Some(why.to_string()), is_full);
        });
    }

    /// The store, where what it has to spare decides whether a group may be tried, and is not known.
    pub fn lend_to_measure(&mut self, pending: &Pending) -> Option<Store> {
        let may_have_more = self.store.as_ref().is_some_and(|it| self.has_taken || it.has_forgotten());
        let decides = may_have_more && !self.has_room_for(pending);
        if decides { self.store.take() } else { None }
    }

    /// What was found. A part of it is kept for forgetting.
    pub fn measured(&mut self, store: Store, spare: Result<u64, Fault>) {
        self.has_taken = false;
        match spare {
            Ok(spare) => {
                self.spare = spare.saturating_sub((store.bytes() / SPARE_SHARE).max(SPARE_BYTES_MIN));
                self.store = Some(store);
            }
            Err(why) => {
                self.status.send_modify(|it| it.trouble = Some(why.to_string()));
            }
        }
    }

    /// Whether the database may grow for a group, or has what it takes to spare.
    fn has_room_for(&self, pending: &Pending) -> bool {
        let group = &pending.group;
        let only_forgets = group.entries.is_empty() && group.notes.is_empty();
        only_forgets || self.spare >= takes(group) || self.may_grow(group)
    }

    /// It doubles when it grows, and snapshots must still find room then: without them the journal would fill it. Where nothing
    /// is on its way to anybody, nothing else will make room.
    fn may_grow(&self, group: &Group) -> bool {
        let bytes = self.store.as_ref().map_or(0, Store::bytes).max(takes(group));
        let is_waited_for = !self.with_courier.is_empty()
            || !self.ended.is_empty()
            || self.receivers.iter().any(|it| !it.waiting.is_empty());
        let snapshots = if is_waited_for { 3 * self.snapshot_bytes } else { 0 };
        self.shortage(bytes + snapshots) == 0
    }

    fn shortage(&self, bytes: u64) -> u64 {
        ballast::shortage(&*self.disk, &self.folder, bytes)
    }

    /// Nothing is durable for that reason; the operator hears of it once.
    fn refuse(&self, why: &str, is_full: bool, told: &mut bool) {
        if !std::mem::replace(told, true) {
            self.tell(format!("the state cannot be written ({why}); nothing is acknowledged until it can"));
        }
        self.status.send_modify(|it| (it.trouble, it.is_full) = (Some(why.to_string()), is_full));
    }

    /// The store, to be given back; opened anew where it failed before. None: it cannot be opened now.
    pub fn lend(&mut self, date: &str) -> Option<Store> {
        if let Some(store) = self.store.take() {
            return Some(store);
        }
        let opened = Store::open_on(&self.folder, date, self.disk.clone());
        let is_full = matches!(opened, Err(StoreError::Full { .. }));
        let opened = opened.map_err(|it| it.to_string()).and_then(|mut it| {
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
                self.status.send_modify(|it| (it.trouble, it.is_full) = (Some(why), is_full));
                None
            }
        }
    }

    /// Whether there is a store that has not failed.
    pub fn is_open(&self) -> bool {
        self.store.is_some()
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
        let Pending { group, receipts, mut told, is_ahead } = pending;
        let numbers = match result {
            Ok(numbers) => numbers,
            Err(why) => {
                drop(store);
                // What seemed to be there to spare was not where it was needed.
                self.spare = 0;
                self.refuse(&why.to_string(), matches!(why, Fault::Full(_)), &mut told);
                return Err(Pending { group, receipts, told, is_ahead });
            }
        };
        self.store = Some(store);
        self.last_group = group.number;
        self.spare = self.spare.saturating_sub(takes(&group));
        self.has_taken = true;
        self.status.send_modify(|it| {
            it.commit_seconds = took.as_secs_f64();
            if !is_ahead {
                (it.trouble, it.is_full) = (None, false);
                it.moved += 1;
            }
        });
        if told && !is_ahead {
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
        // Before the next group: whoever sends fast may fill the disk again before anything else has a turn.
        self.keep_ballast();
        for (number, note) in numbers.into_iter().zip(&group.notes) {
            self.queue(&note.receiver).waiting.insert(turn(note, number));
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
                && let Some(turn) = queue.waiting.first().copied()
            {
                let number = turn.1;
                let Ok(rows) = store.outbox_from(number, 1) else { return };
                let Some((_, row)) = rows.into_iter().find(|it| it.0 == number) else {
                    queue.waiting.pop_first();
                    continue;
                };
                let key = (desk, row.key.clone());
                let Some(note) = note(row, now) else {
                    queue.waiting.pop_first();
                    self.ended.push((number, false));
                    continue;
                };
                if let Some(numbers) = self.with_courier.get_mut(&key) {
                    // It is on its way already: one delivery ends both.
                    numbers.push(turn);
                } else if offer(desk, note).is_err() {
                    break;
                } else {
                    queue.loaded += 1;
                    self.with_courier.insert(key, vec![turn]);
                }
                queue.waiting.remove(&turn);
            }
        }
    }

    /// Nothing is to be written.
    pub fn has_a_hand_free(&self) {
        self.status.send_if_modified(|it| {
            it.moved += 1;
            // Nobody waits for that.
            false
        });
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
                is_full: it.is_full,
                commit_seconds: it.commit_seconds,
                begun_anew: it.begun_anew,
                snapshots_kept: it.snapshots_kept,
                snapshots_failed: it.snapshots_failed,
                moved: it.moved,
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
        let _ = self.say.send(Word { text: sentence, alert: None });
    }
}

/// About what a group takes of the database: its pages are not all full, and some are written anew. Where it takes more, and
/// that is not there, it is undone, and tried again when there is more.
fn takes(group: &Group) -> u64 {
    group.bytes() as u64 * 5 / 4 + (256 << 10)
}

/// The day, for names of what is set aside.
pub fn date(now: Timestamp) -> String {
    let (year, month, day) = now.civil();
    format!("{year:04}-{month:02}-{day:02}")
}

/// The turn of an outbox row. One that says nothing of its severity has the last.
fn turn(row: &OutboxRow, number: u64) -> Turn {
    #[derive(Deserialize)]
    struct Rule {
        severity: Severity,
    }
    #[derive(Deserialize)]
    struct Head {
        rule: Rule,
    }
    let severity =
        row.severity.or_else(|| Some(serde_json::from_str::<Head>(&row.content.open()?.1).ok()?.rule.severity));
    (Reverse(severity.unwrap_or(Severity::Info)), number)
}

/// A stored notification as the courier takes it; None when its alert cannot be read.
fn note(row: OutboxRow, now: Timestamp) -> Option<Note> {
    let (body, alert) = row.content.open()?;
    let alert: Alert = serde_json::from_str(&alert).ok()?;
    Some(Note {
        key: row.key,
        lane: alert.id.clone(),
        severity: alert.rule.severity.max(Severity::Info),
        body: body.into(),
        alert: Arc::new(alert),
        waited: now.since(Timestamp::from_micros(row.since)).min(Span::from_secs(limits::DELIVERY_SECONDS_MAX as i64)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::disk::{Lie, Mood, SimDisk};
    use crate::store::Content;

    const DAY: &str = "2026-01-01";

    fn note(key: &str) -> OutboxRow {
        let alert = crate::engine::own::alert(key, Severity::High, "x", Timestamp::from_micros(0));
        let alert = serde_json::to_string(&alert).unwrap();
        // Nothing in it comes twice.
        let body: Vec<u8> = (0..2000u16).flat_map(|it| it.wrapping_mul(40503).to_le_bytes()).collect();
        let (receiver, key) = ("hook".into(), key.to_string());
        OutboxRow { receiver, key, content: Content::pack(&body, &alert), since: 0, severity: None }
    }

    fn group(number: u64) -> Group {
        let notes = (0..100).map(|it| note(&format!("{number}-{it}"))).collect();
        Group { notes, entries: vec![vec![0; 100_000]], ..Group::default() }
    }

    /// One try, with a disk that may be full.
    fn attempt(books: &mut Books, pending: Pending) -> Result<(), Pending> {
        if let Some(mut store) = books.lend_to_measure(&pending) {
            let spare = store.spare();
            books.measured(store, spare);
        }
        let (pending, mut store) = books.lend_for(pending, DAY)?;
        let result = store.commit(&pending.group);
        books.tried(pending, store, result, Duration::ZERO)
    }

    /// Books on a disk that is about to be full.
    fn books(disk: &SimDisk) -> (Books, watch::Receiver<Status>, mpsc::UnboundedReceiver<Word>) {
        let opened = Store::open_on(std::path::Path::new("state"), DAY, Arc::new(disk.clone())).unwrap();
        let (status_to, status) = watch::channel(Status::default());
        let (say, said) = mpsc::unbounded_channel();
        let (disk, receivers) = (Arc::new(disk.clone()), ["hook".to_string()]);
        (Books::open(opened.store, disk, (1, 2), Arc::default(), &receivers, status_to, say).unwrap(), status, said)
    }

    /// Groups until one finds no room: it, and whether its line was acknowledged.
    fn fill(books: &mut Books, written: &mut u64) -> (Pending, watch::Receiver<u64>) {
        for _ in 0..50 {
            let (committed, heard) = watch::channel(0);
            let pending = books.begin(group(*written), vec![Receipt::new(None, 1, committed)]).unwrap();
            match attempt(books, pending) {
                Ok(()) => assert_eq!(*heard.borrow(), 1),
                Err(waits) => {
                    assert_eq!(*heard.borrow(), 0);
                    return (waits, heard);
                }
            }
            *written += 1;
        }
        panic!("it never gets full");
    }

    /// What ended goes before the group that waits, as the keeper does it; then everybody gets something.
    fn forget_and_deliver(books: &mut Books, pending: &mut Pending) {
        if let Some(ahead) = books.ahead_of(pending, DAY) {
            assert!(ahead.group.number < pending.group.number);
            if let Err(ahead) = attempt(books, ahead) {
                books.keep_ended(ahead);
            }
        }
        let mut courier = Vec::new();
        books.pump(Timestamp::from_micros(1), &mut |_, note| {
            courier.push(note.key);
            Ok(())
        });
        courier.into_iter().for_each(|key| books.report(Report::Ended(courier_receipt(key))));
    }

    /// Whoever is delivered on a full disk leaves the outbox first; then there is room for what waited, and nothing is lost.
    #[test]
    fn a_full_disk_forgets_before_it_remembers() {
        let disk = SimDisk::new(7, Lie::None);
        let (mut books, status, mut said) = books(&disk);
        disk.set_mood(Mood { room: 12 << 20, ..Mood::default() });
        let mut written = 0;
        let (mut waits, heard) = fill(&mut books, &mut written);
        assert!(written > 1 && status.borrow().is_full && status.borrow().trouble.is_some());
        assert!(said.try_recv().unwrap().text.contains("nothing is acknowledged"));
        let mut again = 0;
        while let Err(mut pending) = attempt(&mut books, waits) {
            again += 1;
            assert!(again < 20, "what was delivered makes no room");
            forget_and_deliver(&mut books, &mut pending);
            // That is no reason to take more.
            assert!(status.borrow().is_full);
            waits = pending;
        }
        assert!(!status.borrow().is_full && status.borrow().trouble.is_none());
        assert_eq!(*heard.borrow(), 1);
        let status = books.status().unwrap();
        assert_eq!(status.fired, (written + 1) * 100);
        assert_eq!(status.fired, status.delivered + status.pending);
        assert!(status.delivered > 0, "{status:?}");
    }

    /// Somebody else fills the disk and frees it again, who sends fast takes all the room there is, and every third time the
    /// process dies while it is full. Intake is refused before the database is: it is opened once a life.
    #[test]
    fn a_disk_that_is_filled_again_and_again_comes_free_again_and_again() {
        let disk = SimDisk::new(7, Lie::None);
        // Nobody else can have what we have.
        let room = |room: usize| disk.set_mood(Mood { room: (room << 20).max(disk.bytes()), ..Mood::default() });
        room(34);
        let (mut books, mut status, _) = self::books(&disk);
        let mut written = 0;
        for round in 0..24 {
            let (mut waits, heard) = fill(&mut books, &mut written);
            assert!(status.borrow().is_full && books.is_open(), "round {round}: {:?}", status.borrow());
            if round % 3 == 2 {
                drop(waits);
                drop(books);
                (books, status, _) = self::books(&disk);
                (waits, _) = fill(&mut books, &mut written);
            }
            written += 1;
            // Room comes back in every other round only: in the rest, what is delivered must make it.
            room(34 + 30 * (round % 2));
            let mut again = 0;
            while let Err(mut pending) = attempt(&mut books, waits) {
                again += 1;
                assert!(again < 60, "round {round}: what was delivered makes no room");
                assert!(*heard.borrow() == 0 && books.is_open());
                forget_and_deliver(&mut books, &mut pending);
                let now = books.status().unwrap();
                assert_eq!(now.fired, now.delivered + now.pending);
                waits = pending;
            }
            room(34);
        }
        let status = books.status().unwrap();
        assert_eq!((status.fired, status.delivered + status.pending), (written * 100, written * 100));
    }

    /// Behind any number of lesser alerts the one that matters has the next place that is free, also after a restart.
    #[test]
    fn a_storm_does_not_hold_up_what_is_worse() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(8, Lie::None));
        let open = || {
            let opened = Store::open_on(std::path::Path::new("state"), DAY, disk.clone()).unwrap();
            let (status, _) = watch::channel(Status::default());
            let (say, _) = mpsc::unbounded_channel();
            Books::open(opened.store, disk.clone(), (1, 2), Arc::default(), &["hook".to_string()], status, say).unwrap()
        };
        let mut books = open();
        let mut worst = note("worst");
        let (body, alert) = worst.content.open().unwrap();
        worst.content = Content::pack(&body, &alert.replace(r#""severity":"high""#, r#""severity":"critical""#));
        let mut notes: Vec<OutboxRow> = (0..2 * LOADED_MAX).map(|it| note(&it.to_string())).collect();
        let first = Group { notes: notes.clone(), ..Group::default() };
        let pending = books.begin(first, Vec::new()).unwrap();
        assert!(attempt(&mut books, pending).is_ok());
        let pump = |books: &mut Books| {
            let mut keys = Vec::new();
            books.pump(Timestamp::from_micros(1), &mut |_, note| {
                keys.push(note.key);
                Ok(())
            });
            keys
        };
        assert_eq!(pump(&mut books).len(), LOADED_MAX);
        notes = vec![worst];
        let pending = books.begin(Group { notes, ..Group::default() }, Vec::new()).unwrap();
        assert!(attempt(&mut books, pending).is_ok());
        books.report(Report::Ended(courier_receipt("0".into())));
        assert_eq!(pump(&mut books), ["worst"]);
        drop(books);
        let keys = pump(&mut open());
        assert_eq!((keys[0].as_str(), keys[1].as_str(), keys.len()), ("worst", "0", LOADED_MAX));
    }

    fn courier_receipt(key: String) -> crate::deliver::courier::Receipt {
        crate::deliver::courier::Receipt { receiver: 0, key, fate: Fate::Delivered, tries: 1, remark: None }
    }
}
