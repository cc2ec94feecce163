//! Bytes that survive a crash.
//!
//! One embedded database (redb) holds the journal of everything the deterministic part was told, the outbox, the positions
//! of clients and the counters, and one transaction moves them all: after any crash they agree. redb checks its own
//! structure; what it does not see — a flipped bit inside a value — our checksum on every record does. Snapshots of the
//! engine are files beside it, because they are large, written once and read whole.
//!
//! After a failed write or sync the database refuses to go on by itself; so do we, until it has been opened and checked anew.

pub mod disk;
pub mod record;
pub mod snapshot;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use record::{Damaged, open as open_record, seal};

/// Sequence number to what the engine was told.
const JOURNAL: TableDefinition<u64, &[u8]> = TableDefinition::new("journal");
/// Sequence number to a notification on its way.
const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox");
/// Client name to the last line committed for it.
const CLIENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("clients");
/// Small things by name.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

const META_FORMAT: &str = "format";
const META_KEYS: &str = "keys";
const META_TALLY: &str = "tally";
/// Rises when the layout of records changes.
const FORMAT: u32 = 1;

/// What somebody does with a journal entry: its number and its bytes. An error ends the reading.
pub type EachEntry<'a> = dyn FnMut(u64, &[u8]) -> Result<(), String> + 'a;

/// The state directory.
pub struct Store {
    folder: PathBuf,
    database: Database,
    next_journal: u64,
    next_outbox: u64,
}

/// What of the fates of notifications is known. fired = delivered + pending + suppressed + expired, at any moment: it
/// changes in the transactions that change what it counts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// Alert states that were told: one for each receiver, or one suppressed where no route takes it.
    pub fired: u64,
    pub delivered: u64,
    /// No receiver wanted it.
    pub suppressed: u64,
    /// Given up after its time, or refused for good.
    pub expired: u64,
}

/// A notification on its way to one receiver.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OutboxRow {
    pub receiver: String,
    /// The idempotency key, the same for all tries.
    pub key: String,
    /// Rendered once.
    pub body: Vec<u8>,
    /// The alert as JSON, for a smaller body where the receiver refuses this one.
    pub alert: String,
    /// When it was told, in microseconds.
    pub since: i64,
}

/// Everything that becomes durable together.
#[derive(Default, Debug)]
pub struct Group {
    /// Journal entries, encoded.
    pub entries: Vec<Vec<u8>>,
    pub notes: Vec<OutboxRow>,
    /// Clients and the last line taken from each.
    pub clients: Vec<(String, u64)>,
    /// Outbox rows that ended: delivered or not.
    pub ended: Vec<(u64, bool)>,
    pub suppressed: u64,
}

impl Group {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.notes.is_empty()
            && self.clients.is_empty()
            && self.ended.is_empty()
            && self.suppressed == 0
    }

    /// About how much will be written.
    pub fn bytes(&self) -> usize {
        let notes: usize = self.notes.iter().map(|it| it.body.len() + it.alert.len() + 100).sum();
        self.entries.iter().map(Vec::len).sum::<usize>() + notes + self.clients.len() * 64 + self.ended.len() * 16
    }
}

/// What is wrong with a state directory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("another tripline uses the state directory {0}")]
    InUse(String),
    #[error("the state directory {folder} cannot be used: {problem}")]
    Unusable { folder: String, problem: String },
    /// Some of it can no longer be read as it was written.
    #[error("the state in {folder} is damaged: {problem}")]
    Damaged { folder: String, problem: String },
}

/// A store that was opened, and what had to be set aside to open it.
pub struct Opened {
    pub store: Store,
    /// Sentences for the operator: what was damaged, and where it is now.
    pub set_aside: Vec<String>,
}

impl Store {
    /// Opens the state in a folder, making both where they are not there. A damaged database is set aside under a name with
    /// `date` in it, and a new one begun. Only another process or a folder that cannot be written is an error.
    pub fn open(folder: &Path, date: &str) -> Result<Opened, StoreError> {
        Store::open_on(folder, date, &disk::real)
    }

    /// The same on a disk of the caller's.
    pub fn open_on(folder: &Path, date: &str, disk: &disk::OpenDisk) -> Result<Opened, StoreError> {
        let unusable = |it: io::Error| StoreError::Unusable { folder: show(folder), problem: it.to_string() };
        make_folder(folder).map_err(unusable)?;
        let mut set_aside = Vec::new();
        let path = folder.join("state.redb");
        match Store::try_open(folder, disk) {
            Ok(store) => return Ok(Opened { store, set_aside }),
            Err(StoreError::Damaged { problem, .. }) => {
                let aside = free_name(folder, &format!("state.damaged-{date}"));
                fs::rename(&path, &aside).map_err(unusable)?;
                set_aside.push(format!(
                    "the state was damaged ({problem}); it is now {}, and a new one was begun",
                    show(&aside)
                ));
            }
            Err(other) => return Err(other),
        }
        let store = Store::try_open(folder, disk)?;
        Ok(Opened { store, set_aside })
    }

    fn try_open(folder: &Path, disk: &disk::OpenDisk) -> Result<Store, StoreError> {
        let damaged = |problem: String| StoreError::Damaged { folder: show(folder), problem };
        let path = folder.join("state.redb");
        let mut database = guarded(|| disk(&path)).map_err(damaged)?.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(show(folder)),
            redb::DatabaseError::Storage(redb::StorageError::Io(it)) if !is_damage(&it) => {
                StoreError::Unusable { folder: show(folder), problem: it.to_string() }
            }
            other => damaged(other.to_string()),
        })?;
        let sound = guarded(|| database.check_integrity()).map_err(damaged)?.map_err(|it| damaged(it.to_string()))?;
        if !sound {
            return Err(damaged("its pages do not have their checksums".into()));
        }
        let mut store = Store { folder: folder.to_path_buf(), database, next_journal: 1, next_outbox: 1 };
        guarded(|| store.prepare()).map_err(damaged)?.map_err(damaged)?;
        Ok(store)
    }

    /// Makes the tables, checks every record, and finds where to go on.
    fn prepare(&mut self) -> Result<(), String> {
        let transaction = self.begin()?;
        {
            let mut meta = transaction.open_table(META).map_err(text)?;
            let known = meta
                .get(META_FORMAT)
                .map_err(text)?
                .map(|it| open_record(META_FORMAT.as_bytes(), it.value()).map(<[u8]>::to_vec));
            match known.transpose().map_err(text)? {
                None => {
                    let sealed = seal(META_FORMAT.as_bytes(), &FORMAT.to_le_bytes());
                    meta.insert(META_FORMAT, sealed.as_slice()).map_err(text)?;
                }
                Some(bytes) if bytes == FORMAT.to_le_bytes() => {}
                Some(_) => return Err("it was written by another version of tripline".into()),
            }
            transaction.open_table(CLIENTS).map_err(text)?;
            let journal = transaction.open_table(JOURNAL).map_err(text)?;
            self.next_journal = journal.last().map_err(text)?.map_or(1, |it| it.0.value() + 1);
            let outbox = transaction.open_table(OUTBOX).map_err(text)?;
            self.next_outbox = outbox.last().map_err(text)?.map_or(1, |it| it.0.value() + 1);
        }
        transaction.commit().map_err(text)?;
        self.verify_records().map(|_| ())?;
        // Numbers are never used twice, also when the rows that had them are gone.
        let tally = self.tally()?;
        self.next_outbox = self.next_outbox.max(tally.fired + 1);
        self.next_journal = self.next_journal.max(self.meta_u64("next-journal")?);
        Ok(())
    }

    /// Reads every record; how many there are. The error names the first that is not as it was written.
    pub fn verify_records(&self) -> Result<u64, String> {
        let transaction = self.database.begin_read().map_err(text)?;
        let mut count = 0;
        for table in [JOURNAL, OUTBOX] {
            for row in transaction.open_table(table).map_err(text)?.iter().map_err(text)? {
                let (key, value) = row.map_err(text)?;
                open_record(&key.value().to_le_bytes(), value.value())
                    .map_err(|it| format!("{table} {}: {it}", key.value()))?;
                count += 1;
            }
        }
        for table in [CLIENTS, META] {
            for row in transaction.open_table(table).map_err(text)?.iter().map_err(text)? {
                let (key, value) = row.map_err(text)?;
                open_record(key.value().as_bytes(), value.value())
                    .map_err(|it| format!("{table} {}: {it}", key.value()))?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Makes a group durable. When this returns, it survives the death of the machine as far as the disk keeps its word.
    /// The results are the outbox numbers of its notes. After an error the store must be opened anew.
    pub fn commit(&mut self, group: &Group) -> Result<Vec<u64>, String> {
        guarded(|| self.write(group)).and_then(|it| it)
    }

    fn write(&mut self, group: &Group) -> Result<Vec<u64>, String> {
        let transaction = self.begin()?;
        let mut numbers = Vec::with_capacity(group.notes.len());
        let (mut next_journal, mut next_outbox) = (self.next_journal, self.next_outbox);
        {
            let mut journal = transaction.open_table(JOURNAL).map_err(text)?;
            for entry in &group.entries {
                journal.insert(next_journal, seal(&next_journal.to_le_bytes(), entry).as_slice()).map_err(text)?;
                next_journal += 1;
            }
            let mut tally = self.tally_in(&transaction.open_table(META).map_err(text)?)?;
            let mut outbox = transaction.open_table(OUTBOX).map_err(text)?;
            for note in &group.notes {
                let bytes = postcard::to_allocvec(note).map_err(text)?;
                outbox.insert(next_outbox, seal(&next_outbox.to_le_bytes(), &bytes).as_slice()).map_err(text)?;
                numbers.push(next_outbox);
                next_outbox += 1;
            }
            for (number, delivered) in &group.ended {
                // A receipt that comes twice ends nothing twice.
                if outbox.remove(number).map_err(text)?.is_some() {
                    if *delivered {
                        tally.delivered += 1;
                    } else {
                        tally.expired += 1;
                    }
                }
            }
            tally.fired += group.notes.len() as u64 + group.suppressed;
            tally.suppressed += group.suppressed;
            let mut clients = transaction.open_table(CLIENTS).map_err(text)?;
            for (client, line) in &group.clients {
                clients
                    .insert(client.as_str(), seal(client.as_bytes(), &line.to_le_bytes()).as_slice())
                    .map_err(text)?;
            }
            let mut meta = transaction.open_table(META).map_err(text)?;
            let bytes = postcard::to_allocvec(&tally).map_err(text)?;
            meta.insert(META_TALLY, seal(META_TALLY.as_bytes(), &bytes).as_slice()).map_err(text)?;
            let name = "next-journal";
            meta.insert(name, seal(name.as_bytes(), &next_journal.to_le_bytes()).as_slice()).map_err(text)?;
        }
        transaction.commit().map_err(text)?;
        (self.next_journal, self.next_outbox) = (next_journal, next_outbox);
        Ok(numbers)
    }

    /// The number that the next journal entry will have.
    pub fn next_journal(&self) -> u64 {
        self.next_journal
    }

    /// Calls `each` with the entries from that number on, in order.
    pub fn journal_from(&self, first: u64, each: &mut EachEntry<'_>) -> Result<(), String> {
        let transaction = self.database.begin_read().map_err(text)?;
        for row in transaction.open_table(JOURNAL).map_err(text)?.range(first..).map_err(text)? {
            let (key, value) = row.map_err(text)?;
            each(key.value(), open_record(&key.value().to_le_bytes(), value.value()).map_err(text)?)?;
        }
        Ok(())
    }

    /// The first journal entry that is kept.
    pub fn journal_first(&self) -> Result<Option<u64>, String> {
        let transaction = self.database.begin_read().map_err(text)?;
        let table = transaction.open_table(JOURNAL).map_err(text)?;
        Ok(table.first().map_err(text)?.map(|it| it.0.value()))
    }

    /// Forgets journal entries before that number: a snapshot holds what they led to.
    pub fn forget_journal_before(&mut self, first: u64) -> Result<(), String> {
        let transaction = self.begin()?;
        {
            let mut journal = transaction.open_table(JOURNAL).map_err(text)?;
            journal.retain_in(..first, |_, _| false).map_err(text)?;
        }
        transaction.commit().map_err(text)
    }

    /// Notifications on their way, from that number on, oldest first; at most so many.
    pub fn outbox_from(&self, first: u64, most: usize) -> Result<Vec<(u64, OutboxRow)>, String> {
        let transaction = self.database.begin_read().map_err(text)?;
        let table = transaction.open_table(OUTBOX).map_err(text)?;
        let mut rows = Vec::new();
        for row in table.range(first..).map_err(text)?.take(most) {
            let (key, value) = row.map_err(text)?;
            let bytes = open_record(&key.value().to_le_bytes(), value.value()).map_err(text)?;
            rows.push((key.value(), postcard::from_bytes(bytes).map_err(text)?));
        }
        Ok(rows)
    }

    /// How many notifications are on their way.
    pub fn pending(&self) -> Result<u64, String> {
        use redb::ReadableTableMetadata;
        let transaction = self.database.begin_read().map_err(text)?;
        transaction.open_table(OUTBOX).map_err(text)?.len().map_err(text)
    }

    /// All clients and the last line committed for each.
    pub fn clients(&self) -> Result<Vec<(String, u64)>, String> {
        let transaction = self.database.begin_read().map_err(text)?;
        let mut all = Vec::new();
        for row in transaction.open_table(CLIENTS).map_err(text)?.iter().map_err(text)? {
            let (key, value) = row.map_err(text)?;
            let bytes = open_record(key.value().as_bytes(), value.value()).map_err(text)?;
            all.push((key.value().to_string(), number(bytes)?));
        }
        Ok(all)
    }

    pub fn tally(&self) -> Result<Tally, String> {
        let transaction = self.database.begin_read().map_err(text)?;
        self.tally_in(&transaction.open_table(META).map_err(text)?)
    }

    fn tally_in(&self, meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Tally, String> {
        match meta.get(META_TALLY).map_err(text)? {
            None => Ok(Tally::default()),
            Some(it) => {
                let bytes = open_record(META_TALLY.as_bytes(), it.value()).map_err(text)?;
                postcard::from_bytes(bytes).map_err(text)
            }
        }
    }

    fn meta_u64(&self, name: &str) -> Result<u64, String> {
        let transaction = self.database.begin_read().map_err(text)?;
        let table = transaction.open_table(META).map_err(text)?;
        match table.get(name).map_err(text)? {
            None => Ok(0),
            Some(it) => number(open_record(name.as_bytes(), it.value()).map_err(text)?),
        }
    }

    /// The numbers that key entity hashes: `fresh` the first time, ever after those.
    pub fn hash_keys(&mut self, fresh: (u64, u64)) -> Result<(u64, u64), String> {
        {
            let transaction = self.database.begin_read().map_err(text)?;
            if let Some(it) = transaction.open_table(META).map_err(text)?.get(META_KEYS).map_err(text)? {
                let bytes = open_record(META_KEYS.as_bytes(), it.value()).map_err(text)?;
                return postcard::from_bytes(bytes).map_err(text);
            }
        }
        let transaction = self.begin()?;
        {
            let mut meta = transaction.open_table(META).map_err(text)?;
            let bytes = postcard::to_allocvec(&fresh).map_err(text)?;
            meta.insert(META_KEYS, seal(META_KEYS.as_bytes(), &bytes).as_slice()).map_err(text)?;
        }
        transaction.commit().map_err(text)?;
        Ok(fresh)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Two-phase commits: with one phase, a writer who chooses the values and can crash us might get a forged checksum taken.
    fn begin(&self) -> Result<redb::WriteTransaction, String> {
        let mut transaction = self.database.begin_write().map_err(text)?;
        transaction.set_durability(Durability::Immediate).map_err(text)?;
        transaction.set_two_phase_commit(true);
        Ok(transaction)
    }
}

/// redb panics on some damaged pages; a panic there is damage, not our end.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        format!("a page makes no sense ({})", why.unwrap_or("no reason given"))
    })
}

fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn number(bytes: &[u8]) -> Result<u64, String> {
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| "a number has the wrong length".to_string())
}

fn text(it: impl std::fmt::Display) -> String {
    it.to_string()
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

/// The folder, for its owner only.
fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if folder.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn free_name(folder: &Path, name: &str) -> PathBuf {
    let first = folder.join(name);
    if !first.exists() {
        return first;
    }
    (2..).map(|it| folder.join(format!("{name}-{it}"))).find(|it| !it.exists()).unwrap_or(first)
}

/// What [`verify`] found.
#[derive(Debug)]
pub struct Verdict {
    pub records: u64,
    pub snapshots: usize,
    /// Empty when everything is as it was written.
    pub problems: Vec<String>,
}

/// Checks a whole state directory without changing it.
pub fn verify(folder: &Path) -> Result<Verdict, StoreError> {
    let path = folder.join("state.redb");
    if !path.is_file() {
        return Err(StoreError::Unusable { folder: show(folder), problem: "there is no state.redb in it".into() });
    }
    let mut verdict = Verdict { records: 0, snapshots: 0, problems: Vec::new() };
    // redb repairs as it opens, so it is given a copy.
    let copy = std::env::temp_dir().join(format!("tripline-verify-{}", std::process::id()));
    let unusable = |it: io::Error| StoreError::Unusable { folder: show(folder), problem: it.to_string() };
    make_folder(&copy).map_err(unusable)?;
    fs::copy(&path, copy.join("state.redb")).map_err(unusable)?;
    match Store::try_open(&copy, &disk::real).and_then(|store| {
        store.verify_records().map_err(|problem| StoreError::Damaged { folder: show(folder), problem })
    }) {
        Ok(records) => verdict.records = records,
        Err(error) => verdict.problems.push(error.to_string()),
    }
    fs::remove_dir_all(&copy).map_err(unusable)?;
    for (_, file) in snapshot::list(folder).map_err(unusable)? {
        match snapshot::read(&file) {
            Ok(_) => verdict.snapshots += 1,
            Err(problem) => verdict.problems.push(format!("{}: {problem}", show(&file))),
        }
    }
    Ok(verdict)
}

impl From<Damaged> for String {
    fn from(damaged: Damaged) -> String {
        damaged.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tripline-store-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    fn open(folder: &Path) -> Opened {
        Store::open(folder, "2026-01-01").unwrap()
    }

    fn note(key: &str) -> OutboxRow {
        OutboxRow { receiver: "hook".into(), key: key.into(), body: b"{}".to_vec(), alert: "{}".into(), since: 1 }
    }

    #[test]
    fn a_group_is_all_there_after_opening_again() {
        let folder = folder("group");
        let mut store = open(&folder).store;
        let group = Group {
            entries: vec![b"one".to_vec(), b"two".to_vec()],
            notes: vec![note("a"), note("b")],
            clients: vec![("edge".into(), 7)],
            ended: vec![],
            suppressed: 3,
        };
        assert_eq!(store.commit(&group).unwrap(), [1, 2]);
        store.commit(&Group { ended: vec![(1, true), (1, true)], ..Group::default() }).unwrap();
        drop(store);
        let store = open(&folder).store;
        let mut entries = Vec::new();
        store
            .journal_from(1, &mut |number, bytes| {
                entries.push((number, bytes.to_vec()));
                Ok(())
            })
            .unwrap();
        assert_eq!(entries, [(1, b"one".to_vec()), (2, b"two".to_vec())]);
        assert_eq!(store.outbox_from(0, 10).unwrap(), [(2, note("b"))]);
        assert_eq!(store.clients().unwrap(), [("edge".to_string(), 7)]);
        let tally = store.tally().unwrap();
        assert_eq!(tally, Tally { fired: 5, delivered: 1, suppressed: 3, expired: 0 });
        assert_eq!(tally.fired, tally.delivered + store.pending().unwrap() + tally.suppressed + tally.expired);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn numbers_are_never_used_twice() {
        let folder = folder("numbers");
        let mut store = open(&folder).store;
        store.commit(&Group { entries: vec![vec![1], vec![2]], ..Group::default() }).unwrap();
        store.forget_journal_before(3).unwrap();
        drop(store);
        assert_eq!(open(&folder).store.next_journal(), 3);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_second_process_is_refused() {
        let folder = folder("second");
        let first = open(&folder);
        assert!(matches!(Store::open(&folder, "x"), Err(StoreError::InUse(_))));
        drop(first);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn damage_is_found_set_aside_and_survived() {
        let folder = folder("damage");
        let mut store = open(&folder).store;
        let group = Group { entries: vec![vec![b'x'; 5000]; 20], ..Group::default() };
        store.commit(&group).unwrap();
        drop(store);
        let path = folder.join("state.redb");
        let whole = fs::read(&path).unwrap();
        let live = whole.windows(64).position(|it| it == [b'x'; 64]).unwrap();
        let mut flipped = whole.clone();
        flipped[live + 1] ^= 1;
        for bytes in [flipped, whole[..whole.len() / 3].to_vec(), vec![0; whole.len()], b"not a database".to_vec()] {
            fs::write(&path, &bytes).unwrap();
            assert!(!verify(&folder).unwrap().problems.is_empty());
            let opened = open(&folder);
            assert_eq!(opened.set_aside.len(), 1, "{:?}", opened.set_aside);
            assert_eq!(opened.store.next_journal(), 1);
        }
        fs::write(&path, &whole).unwrap();
        assert!(verify(&folder).unwrap().problems.is_empty());
        fs::remove_dir_all(folder).unwrap();
    }
}
