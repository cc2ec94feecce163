//! Bytes that survive a crash.
//!
//! One embedded database (redb) holds the journal of everything the deterministic part was told, the outbox, the positions
//! of clients and the counters, and one transaction moves them all: after any crash they agree. redb checks its own
//! structure; what it does not see — a flipped bit inside a value — our checksum on every record does. Snapshots of the
//! engine are files beside it, because they are large, written once and read whole.
//!
//! After a failed write or sync the database refuses to go on by itself; so do we, until it has been opened and checked anew.

pub mod ballast;
pub mod disk;
pub mod record;
pub mod snapshot;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

use disk::{Disk, Real};
use record::{Damaged, open as open_record, seal};

use crate::model::Severity;

/// How files begin that were databases.
const DAMAGED: &str = "state.damaged-";
/// Sequence number to what the engine was told.
const JOURNAL: TableDefinition<u64, &[u8]> = TableDefinition::new("journal");
/// Sequence number to a notification on its way.
const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox");
/// Client name to the last line committed for it.
const CLIENTS: TableDefinition<&str, &[u8]> = TableDefinition::new("clients");
/// How far files were read, by name.
const POSITIONS: TableDefinition<&str, &[u8]> = TableDefinition::new("positions");
/// Small things by name.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// How far a file was read: its name, and what the follower wrote of it.
pub type Position = (String, Vec<u8>);

const META_FORMAT: &str = "format";
const META_KEYS: &str = "keys";
const META_TALLY: &str = "tally";
const META_NEXT_JOURNAL: &str = "next-journal";
/// The number of the last group.
const META_GROUP: &str = "group";
/// How often it was opened.
const META_OPENED: &str = "opened";
/// The database, in its folder.
const FILE: &str = "state.redb";
/// Rises when the layout of records changes.
const FORMAT: u32 = 1;

/// What somebody does with a journal entry: its number and its bytes. An error ends the reading.
pub type EachEntry<'a> = dyn FnMut(u64, &[u8]) -> Result<(), String> + 'a;

/// The state directory.
pub struct Store {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    database: Database,
    next_journal: u64,
    next_outbox: u64,
    last_group: u64,
    /// Something was taken out since it was last asked what there is to spare.
    has_forgotten: bool,
    /// The database failed, and does nothing any more until it is opened anew.
    is_spoiled: bool,
    /// Its newest snapshot knows of more: somebody put an older one in its place, or took it away.
    is_behind: bool,
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

/// What a notification says, packed: the body holds most of what the alert does, and storms are all alike.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Content(#[serde(with = "serde_bytes")] Vec<u8>);

impl Content {
    /// `body`: rendered once; empty: when it is sent. `alert`: as JSON, for a smaller body where the receiver refuses this one.
    pub fn pack(body: &[u8], alert: &str) -> Content {
        let mut whole = Vec::with_capacity(4 + body.len() + alert.len());
        whole.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        whole.extend_from_slice(body);
        whole.extend_from_slice(alert.as_bytes());
        Content(lz4_flex::block::compress_prepend_size(&whole))
    }

    /// The body and the alert. None: it was never packed.
    pub fn open(&self) -> Option<(Vec<u8>, String)> {
        // What came through the disk has a checksum; still nobody is to be talked into giving it all memory.
        let bytes = u32::from_le_bytes(*self.0.first_chunk()?) as usize;
        let mut whole =
            (bytes / 255 <= self.0.len()).then(|| lz4_flex::block::decompress_size_prepended(&self.0).ok())??;
        let body_bytes = u32::from_le_bytes(*whole.first_chunk()?) as usize;
        let alert = String::from_utf8(whole.get(4 + body_bytes..)?.to_vec()).ok()?;
        whole.truncate(4 + body_bytes);
        whole.drain(..4);
        Some((whole, alert))
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// How rows begin whose content is packed. Those of earlier versions begin with the length of a name, which is not 0.
const PACKED: u8 = 0;

/// A notification as earlier versions wrote it.
#[derive(Deserialize)]
struct PlainRow {
    receiver: String,
    key: String,
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
    alert: String,
    since: i64,
}

/// A notification on its way to one receiver.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OutboxRow {
    pub receiver: String,
    /// The idempotency key, the same for all tries.
    pub key: String,
    pub content: Content,
    /// When it was told, in microseconds.
    pub since: i64,
    /// Of its alert, which says it, too: so that nobody has to read that to know whose turn it is. Not stored.
    #[serde(skip)]
    pub severity: Option<Severity>,
}

impl OutboxRow {
    fn encode(&self) -> Result<Vec<u8>, Fault> {
        let capacity = self.content.bytes() + self.receiver.len() + self.key.len() + 32;
        Ok(postcard::to_extend(&(PACKED, self), Vec::with_capacity(capacity))?)
    }

    fn decode(bytes: &[u8]) -> Result<OutboxRow, Fault> {
        if let Some((&PACKED, row)) = bytes.split_first() {
            return Ok(postcard::from_bytes(row)?);
        }
        let PlainRow { receiver, key, body, alert, since } = postcard::from_bytes(bytes)?;
        Ok(OutboxRow { receiver, key, content: Content::pack(&body, &alert), since, severity: None })
    }
}

/// Everything that becomes durable together.
#[derive(Clone, Default, Debug)]
pub struct Group {
    /// Rises from group to group; 0 where nobody counts. A group that was written although its commit seemed to fail is
    /// known by it when it comes again.
    pub number: u64,
    /// Journal entries, encoded.
    pub entries: Vec<Vec<u8>>,
    pub notes: Vec<OutboxRow>,
    /// Clients and the last line taken from each.
    pub clients: Vec<(String, u64)>,
    /// How far files were read, by name; later ones of a name count. None: to be forgotten.
    pub positions: Vec<(Arc<str>, Option<Vec<u8>>)>,
    /// Outbox rows that ended: delivered or not.
    pub ended: Vec<(u64, bool)>,
    pub suppressed: u64,
}

impl Group {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.notes.is_empty()
            && self.clients.is_empty()
            && self.positions.is_empty()
            && self.ended.is_empty()
            && self.suppressed == 0
    }

    /// About how much will be written.
    pub fn bytes(&self) -> usize {
        let notes: usize = self.notes.iter().map(|it| it.content.bytes() + 100).sum();
        let positions: usize = self.positions.iter().map(|it| it.0.len() + it.1.as_ref().map_or(0, Vec::len)).sum();
        let rest = self.clients.len() * 64 + self.ended.len() * 16;
        self.entries.iter().map(Vec::len).sum::<usize>() + notes + positions + rest
    }
}

/// What is wrong with a state directory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("another tripline uses the state directory {0}")]
    InUse(String),
    #[error("the state directory {folder} cannot be used: {problem}")]
    Unusable { folder: String, problem: String },
    /// There is no room for what opening it writes.
    #[error("the disk of the state directory {folder} is full: {problem}")]
    Full { folder: String, problem: String },
    /// Some of it can no longer be read as it was written.
    #[error("the state in {folder} is damaged: {problem}")]
    Damaged { folder: String, problem: String },
}

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The disk did not do it. What is on it may be whole, and the next try may go well.
    #[error("{0}")]
    Disk(String),
    /// The same for want of room.
    #[error("{0}")]
    Full(String),
    /// What is there is not what was written.
    #[error("{0}")]
    Damage(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Fault::Damage(error.to_string()),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Fault::Full(error.to_string())
            }
            _ => Fault::Disk(error.to_string()),
        }
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Fault {
        match error {
            redb::Error::Io(it) => Fault::from(it),
            // It failed before, and stays closed until it is opened anew.
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Fault::Disk(error.to_string()),
            other => Fault::Damage(other.to_string()),
        }
    }
}

/// Each of redb's own error types is a part of its whole one.
macro_rules! faults {
    ($($part:ty),*) => {$(
        impl From<$part> for Fault {
            fn from(error: $part) -> Fault {
                Fault::from(redb::Error::from(error))
            }
        }
    )*};
}

faults!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError, redb::DatabaseError);

impl From<Damaged> for Fault {
    fn from(damaged: Damaged) -> Fault {
        Fault::Damage(damaged.to_string())
    }
}

impl From<postcard::Error> for Fault {
    fn from(error: postcard::Error) -> Fault {
        Fault::Damage(error.to_string())
    }
}

impl From<String> for Fault {
    fn from(what: String) -> Fault {
        Fault::Damage(what)
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> String {
        fault.to_string()
    }
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
        Store::open_on(folder, date, Arc::new(Real))
    }

    /// The same on a disk of the caller's.
    pub fn open_on(folder: &Path, date: &str, disk: Arc<dyn Disk>) -> Result<Opened, StoreError> {
        let unusable = |it: io::Error| StoreError::Unusable { folder: show(folder), problem: it.to_string() };
        disk.make_folder(folder).map_err(unusable)?;
        Store::open_or_set_aside(folder, date, &disk)
    }

    fn open_or_set_aside(folder: &Path, date: &str, disk: &Arc<dyn Disk>) -> Result<Opened, StoreError> {
        let unusable = |it: io::Error| StoreError::Unusable { folder: show(folder), problem: it.to_string() };
        let problem = match Store::make(folder, disk).and_then(|()| Store::try_open(folder, FILE, disk)) {
            Ok(store) => {
                store.sweep();
                let set_aside = store.begun_beside().map_err(unusable)?.into_iter().collect();
                return Ok(Opened { store, set_aside });
            }
            Err(StoreError::Damaged { problem, .. }) => problem,
            Err(other) => return Err(other),
        };
        let aside = free_name(&**disk, folder, &format!("{DAMAGED}{date}")).map_err(unusable)?;
        disk.rename(&folder.join(FILE), &aside).map_err(unusable)?;
        disk.sync_folder(folder).map_err(unusable)?;
        Store::make(folder, disk)?;
        let store = Store::try_open(folder, FILE, disk)?;
        let sentence =
            format!("the state was damaged ({problem}); it is now {}, and a new one was begun", show(&aside));
        Ok(Opened { store, set_aside: vec![sentence] })
    }

    /// That this database is new because another was damaged, for as long as nothing was written to it: a start that set the
    /// damaged one aside may have failed before anybody heard of it.
    fn begun_beside(&self) -> io::Result<Option<String>> {
        let damaged = |it: &PathBuf| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with(DAMAGED));
        if self.last_group == 0
            && let Some(last) = self.disk.list(&self.folder)?.into_iter().filter(damaged).max()
        {
            return Ok(Some(format!(
                "the state was damaged before; it is now {}, and a new one was begun",
                show(&last)
            )));
        }
        Ok(self.is_behind.then(|| self.what_is_behind()))
    }

    fn what_is_behind(&self) -> String {
        format!(
            "{} is older than the newest snapshot beside it, or was made anew: somebody put it there or took it away, and \
             positions, acknowledged lines and notifications that it held are lost",
            show(&self.folder.join(FILE))
        )
    }

    /// Makes a database where there is none. It has its name only when it is whole: a crash while one is made leaves nothing
    /// that looks damaged. Opening it makes the name durable.
    fn make(folder: &Path, disk: &Arc<dyn Disk>) -> Result<(), StoreError> {
        let unusable = |it: io::Error| StoreError::Unusable { folder: show(folder), problem: it.to_string() };
        let files = disk.list(folder).map_err(unusable)?;
        if files.contains(&folder.join(FILE)) {
            return Ok(());
        }
        let beside = format!("{FILE}{}", snapshot::UNFINISHED);
        if files.contains(&folder.join(&beside)) {
            disk.remove(&folder.join(&beside)).map_err(unusable)?;
        }
        drop(Store::try_open(folder, &beside, disk)?);
        disk.rename(&folder.join(&beside), &folder.join(FILE)).map_err(unusable)
    }

    fn try_open(folder: &Path, name: &str, disk: &Arc<dyn Disk>) -> Result<Store, StoreError> {
        let path = folder.join(name);
        let opened = guarded(|| match disk.database(&path) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => Ok(None),
            Err(error) => Err(Fault::from(error)),
            Ok(mut database) => {
                if !database.check_integrity()? {
                    return Err(Fault::Damage("its pages do not have their checksums".into()));
                }
                let (folder, disk) = (folder.to_path_buf(), disk.clone());
                let mut store = Store {
                    folder,
                    disk,
                    database,
                    next_journal: 1,
                    next_outbox: 1,
                    last_group: 0,
                    has_forgotten: true,
                    is_spoiled: false,
                    is_behind: false,
                };
                store.prepare()?;
                Ok(Some(store))
            }
        });
        match opened {
            Ok(Some(store)) => Ok(store),
            Ok(None) => Err(StoreError::InUse(show(folder))),
            // A disk that fails is no damage: setting aside what is whole would be our own doing.
            Err(Fault::Disk(problem)) => Err(StoreError::Unusable { folder: show(folder), problem }),
            Err(Fault::Full(problem)) => Err(StoreError::Full { folder: show(folder), problem }),
            Err(Fault::Damage(problem)) => Err(StoreError::Damaged { folder: show(folder), problem }),
        }
    }

    /// Removes what a crash left half-written. That it is there harms nobody, so that it stays does not, either.
    fn sweep(&self) {
        for file in self.disk.list(&self.folder).unwrap_or_default() {
            if file.to_str().is_some_and(|it| it.ends_with(snapshot::UNFINISHED)) {
                let _ = self.disk.remove(&file);
            }
        }
    }

    /// Makes the tables, checks every record, and finds where to go on.
    fn prepare(&mut self) -> Result<(), Fault> {
        let transaction = self.begin()?;
        {
            let mut meta = transaction.open_table(META)?;
            let known =
                meta.get(META_FORMAT)?.map(|it| open_record(META_FORMAT.as_bytes(), it.value()).map(<[u8]>::to_vec));
            match known.transpose()? {
                None => {
                    let sealed = seal(META_FORMAT.as_bytes(), &FORMAT.to_le_bytes());
                    meta.insert(META_FORMAT, sealed.as_slice())?;
                }
                Some(bytes) if bytes == FORMAT.to_le_bytes() => {}
                Some(_) => return Err(Fault::Damage("it was written by another version of tripline".into())),
            }
            // Every opening is a commit with something in it: what the system's cache shows after a failed sync is not
            // yet on the disk, and may be believed only after a sync that worked.
            let opened = number_in(&meta, META_OPENED)?;
            put_number(&mut meta, META_OPENED, opened + 1)?;
            transaction.open_table(CLIENTS)?;
            transaction.open_table(POSITIONS)?;
            let journal = transaction.open_table(JOURNAL)?;
            self.next_journal = journal.last()?.map_or(1, |it| it.0.value() + 1);
            let outbox = transaction.open_table(OUTBOX)?;
            self.next_outbox = outbox.last()?.map_or(1, |it| it.0.value() + 1);
        }
        transaction.commit()?;
        self.verify_records().map(|_| ())?;
        // Numbers are never used twice, also when the rows that had them are gone.
        let tally = self.tally()?;
        self.next_outbox = self.next_outbox.max(tally.fired + 1);
        self.next_journal = self.next_journal.max(self.meta_u64(META_NEXT_JOURNAL)?);
        self.last_group = self.meta_u64(META_GROUP)?;
        // A new journal goes on where the newest snapshot ends, or that snapshot would hide it.
        let newest = self.snapshots()?.last().map_or(1, |it| it.0);
        self.is_behind = self.next_journal < newest;
        self.next_journal = self.next_journal.max(newest);
        Ok(())
    }

    /// Reads every record; how many there are. The error names the first that is not as it was written.
    pub fn verify_records(&self) -> Result<u64, Fault> {
        let transaction = self.database.begin_read()?;
        let mut count = 0;
        for table in [JOURNAL, OUTBOX] {
            for row in transaction.open_table(table)?.iter()? {
                let (key, value) = row?;
                open_record(&key.value().to_le_bytes(), value.value())
                    .map_err(|it| format!("{table} {}: {it}", key.value()))?;
                count += 1;
            }
        }
        for table in [CLIENTS, POSITIONS, META] {
            for row in transaction.open_table(table)?.iter()? {
                let (key, value) = row?;
                open_record(key.value().as_bytes(), value.value())
                    .map_err(|it| format!("{table} {}: {it}", key.value()))?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Makes a group durable. When this returns, it survives the death of the machine as far as the disk keeps its word.
    /// The results are the outbox numbers of its notes. After an error the store must be opened anew.
    pub fn commit(&mut self, group: &Group) -> Result<Vec<u64>, Fault> {
        // A commit whose last sync failed may have come through all the same.
        let is_written = group.number != 0 && group.number <= self.last_group;
        let done = guarded(|| if is_written { self.last_outbox(group.notes.len()) } else { self.write(group) });
        self.is_spoiled |= done.is_err();
        done
    }

    /// Whether it failed, and must be opened anew.
    pub fn is_spoiled(&self) -> bool {
        self.is_spoiled
    }

    /// Whether something was taken out since it was last asked what there is to spare.
    pub fn has_forgotten(&self) -> bool {
        self.has_forgotten
    }

    /// How long its file is.
    pub fn bytes(&self) -> u64 {
        self.disk.length(&self.folder.join(FILE))
    }

    /// Bytes of its file that hold nothing. Reads all branches and leaves: not often.
    pub fn spare(&mut self) -> Result<u64, Fault> {
        let done = guarded(|| {
            // What was freed can be had two commits later.
            for _ in 0..2 {
                self.begin()?.commit()?;
            }
            let transaction = self.begin()?;
            let stats = transaction.stats()?;
            transaction.abort()?;
            Ok(self.bytes().saturating_sub(stats.allocated_pages() * stats.page_size() as u64))
        });
        self.has_forgotten = false;
        self.is_spoiled |= done.is_err();
        done
    }

    /// The number of the last group that was written.
    pub fn last_group(&self) -> u64 {
        self.last_group
    }

    /// The outbox numbers that were given out last, oldest first.
    fn last_outbox(&self, count: usize) -> Result<Vec<u64>, Fault> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(OUTBOX)?;
        let numbers = table.iter()?.rev().take(count).map(|it| Ok(it?.0.value()));
        let mut numbers = numbers.collect::<Result<Vec<u64>, Fault>>()?;
        numbers.reverse();
        Ok(numbers)
    }

    fn write(&mut self, group: &Group) -> Result<Vec<u64>, Fault> {
        let transaction = self.begin()?;
        let mut numbers = Vec::with_capacity(group.notes.len());
        let (mut next_journal, mut next_outbox) = (self.next_journal, self.next_outbox);
        {
            let mut journal = transaction.open_table(JOURNAL)?;
            for entry in &group.entries {
                journal.insert(next_journal, seal(&next_journal.to_le_bytes(), entry).as_slice())?;
                next_journal += 1;
            }
            let mut tally = self.tally_in(&transaction.open_table(META)?)?;
            let mut outbox = transaction.open_table(OUTBOX)?;
            for note in &group.notes {
                let bytes = note.encode()?;
                outbox.insert(next_outbox, seal(&next_outbox.to_le_bytes(), &bytes).as_slice())?;
                numbers.push(next_outbox);
                next_outbox += 1;
            }
            for (number, delivered) in &group.ended {
                // A receipt that comes twice ends nothing twice.
                if outbox.remove(number)?.is_some() {
                    if *delivered {
                        tally.delivered += 1;
                    } else {
                        tally.expired += 1;
                    }
                }
            }
            tally.fired += group.notes.len() as u64 + group.suppressed;
            tally.suppressed += group.suppressed;
            let mut clients = transaction.open_table(CLIENTS)?;
            for (client, line) in &group.clients {
                clients.insert(client.as_str(), seal(client.as_bytes(), &line.to_le_bytes()).as_slice())?;
            }
            let mut positions = transaction.open_table(POSITIONS)?;
            let last: HashMap<&str, &Option<Vec<u8>>> = group.positions.iter().map(|it| (&*it.0, &it.1)).collect();
            for (name, position) in last {
                match position {
                    Some(it) => positions.insert(name, seal(name.as_bytes(), it).as_slice())?,
                    None => positions.remove(name)?,
                };
            }
            let mut meta = transaction.open_table(META)?;
            let bytes = postcard::to_allocvec(&tally)?;
            meta.insert(META_TALLY, seal(META_TALLY.as_bytes(), &bytes).as_slice())?;
            put_number(&mut meta, META_NEXT_JOURNAL, next_journal)?;
            put_number(&mut meta, META_GROUP, group.number.max(self.last_group))?;
        }
        transaction.commit()?;
        (self.next_journal, self.next_outbox) = (next_journal, next_outbox);
        self.last_group = self.last_group.max(group.number);
        self.has_forgotten |= !group.ended.is_empty();
        Ok(numbers)
    }

    /// The number that the next journal entry will have.
    pub fn next_journal(&self) -> u64 {
        self.next_journal
    }

    /// Calls `each` with the entries from that number on, in order.
    pub fn journal_from(&self, first: u64, each: &mut EachEntry<'_>) -> Result<(), Fault> {
        let transaction = self.database.begin_read()?;
        for row in transaction.open_table(JOURNAL)?.range(first..)? {
            let (key, value) = row?;
            each(key.value(), open_record(&key.value().to_le_bytes(), value.value())?)?;
        }
        Ok(())
    }

    /// The first journal entry that is kept.
    pub fn journal_first(&self) -> Result<Option<u64>, Fault> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(JOURNAL)?;
        Ok(table.first()?.map(|it| it.0.value()))
    }

    /// The snapshots: first journal entry not in it, and file; oldest first.
    pub fn snapshots(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        snapshot::list(&*self.disk, &self.folder)
    }

    /// What a snapshot holds; the error says what is wrong with it.
    pub fn read_snapshot(&self, file: &Path) -> Result<Vec<u8>, Fault> {
        snapshot::read(&*self.disk, file)
    }

    /// Puts a damaged snapshot out of the way; says where it is now.
    pub fn set_snapshot_aside(&self, file: &Path, date: &str) -> io::Result<PathBuf> {
        snapshot::set_aside(&*self.disk, file, date)
    }

    /// Keeps the engine's memory as it is after all entries, and forgets the journal that nobody needs then.
    pub fn keep_snapshot(&mut self, pieces: &[Vec<u8>]) -> Result<(), Fault> {
        let needed = snapshot::write(&*self.disk, &self.folder, self.next_journal, pieces)?;
        let done = guarded(|| self.forget_journal_before(needed));
        self.is_spoiled |= done.is_err();
        done
    }

    /// Forgets journal entries before that number: a snapshot holds what they led to.
    fn forget_journal_before(&mut self, first: u64) -> Result<(), Fault> {
        let transaction = self.begin()?;
        {
            let mut journal = transaction.open_table(JOURNAL)?;
            journal.retain_in(..first, |_, _| false)?;
        }
        transaction.commit()?;
        self.has_forgotten = true;
        Ok(())
    }

    /// Notifications on their way, from that number on, oldest first; at most so many.
    pub fn outbox_from(&self, first: u64, most: usize) -> Result<Vec<(u64, OutboxRow)>, Fault> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(OUTBOX)?;
        let mut rows = Vec::new();
        for row in table.range(first..)?.take(most) {
            let (key, value) = row?;
            let bytes = open_record(&key.value().to_le_bytes(), value.value())?;
            rows.push((key.value(), OutboxRow::decode(bytes)?));
        }
        Ok(rows)
    }

    /// How many notifications are on their way.
    pub fn pending(&self) -> Result<u64, Fault> {
        use redb::ReadableTableMetadata;
        let transaction = self.database.begin_read()?;
        transaction.open_table(OUTBOX)?.len().map_err(Fault::from)
    }

    /// All clients and the last line committed for each.
    pub fn clients(&self) -> Result<Vec<(String, u64)>, Fault> {
        let transaction = self.database.begin_read()?;
        let mut all = Vec::new();
        for row in transaction.open_table(CLIENTS)?.iter()? {
            let (key, value) = row?;
            let bytes = open_record(key.value().as_bytes(), value.value())?;
            all.push((key.value().to_string(), number(bytes)?));
        }
        Ok(all)
    }

    /// How far files were read, by name; at most so many, and how many there are.
    pub fn positions(&self, most: usize) -> Result<(Vec<Position>, u64), Fault> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(POSITIONS)?;
        let mut all = Vec::new();
        for row in table.iter()?.take(most) {
            let (key, value) = row?;
            all.push((key.value().to_string(), open_record(key.value().as_bytes(), value.value())?.to_vec()));
        }
        Ok((all, table.len()?))
    }

    pub fn tally(&self) -> Result<Tally, Fault> {
        let transaction = self.database.begin_read()?;
        self.tally_in(&transaction.open_table(META)?)
    }

    fn tally_in(&self, meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Tally, Fault> {
        match meta.get(META_TALLY)? {
            None => Ok(Tally::default()),
            Some(it) => {
                let bytes = open_record(META_TALLY.as_bytes(), it.value())?;
                postcard::from_bytes(bytes).map_err(Fault::from)
            }
        }
    }

    fn meta_u64(&self, name: &str) -> Result<u64, Fault> {
        let transaction = self.database.begin_read()?;
        number_in(&transaction.open_table(META)?, name)
    }

    /// The numbers that key entity hashes: `fresh` the first time, ever after those. Snapshots mean nothing without them, so
    /// they stand in a file of their own, too, which outlives a damaged database.
    pub fn hash_keys(&mut self, fresh: (u64, u64)) -> Result<(u64, u64), Fault> {
        let name = META_KEYS.as_bytes();
        let file = self.folder.join(META_KEYS);
        let beside = self.disk.read(&file).ok();
        let beside = beside.and_then(|it| read_keys(open_record(name, &it).ok()?).ok());
        let within = {
            let transaction = self.database.begin_read()?;
            let table = transaction.open_table(META)?;
            let sealed = table.get(META_KEYS)?;
            sealed.map(|it| read_keys(open_record(name, it.value())?)).transpose()?
        };
        let keys = within.or(beside).unwrap_or(fresh);
        let sealed = seal(name, &postcard::to_allocvec(&keys)?);
        if within.is_none() {
            let transaction = self.begin()?;
            transaction.open_table(META)?.insert(META_KEYS, sealed.as_slice())?;
            transaction.commit()?;
        }
        if beside != Some(keys) {
            let new = self.folder.join(format!("{META_KEYS}{}", snapshot::UNFINISHED));
            self.disk.write(&new, &[&sealed])?;
            self.disk.rename(&new, &file)?;
            self.disk.sync_folder(&self.folder)?;
        }
        Ok(keys)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Two-phase commits: with one phase, a writer who chooses the values and can crash us might get a forged checksum taken.
    fn begin(&self) -> Result<redb::WriteTransaction, Fault> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate).expect("no savepoint was made");
        transaction.set_two_phase_commit(true);
        Ok(transaction)
    }
}

/// redb panics on some damaged pages; a panic there is damage, not our end.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Fault::Damage(format!("a page makes no sense ({})", why.unwrap_or("no reason given"))))
    })
}

/// A number by name; 0 where it was never written.
fn number_in(meta: &impl ReadableTable<&'static str, &'static [u8]>, name: &str) -> Result<u64, Fault> {
    match meta.get(name)? {
        None => Ok(0),
        Some(it) => number(open_record(name.as_bytes(), it.value())?),
    }
}

fn put_number(meta: &mut redb::Table<'_, &'static str, &'static [u8]>, name: &str, value: u64) -> Result<(), Fault> {
    meta.insert(name, seal(name.as_bytes(), &value.to_le_bytes()).as_slice())?;
    Ok(())
}

fn read_keys(bytes: &[u8]) -> Result<(u64, u64), Fault> {
    Ok(postcard::from_bytes(bytes)?)
}

fn number(bytes: &[u8]) -> Result<u64, Fault> {
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| Fault::Damage("a number has the wrong length".into()))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

/// A name that nothing has yet.
fn free_name(disk: &dyn Disk, folder: &Path, name: &str) -> io::Result<PathBuf> {
    let taken = disk.list(folder)?;
    let names = std::iter::once(name.to_string()).chain((2..).map(|it| format!("{name}-{it}")));
    Ok(names.map(|it| folder.join(it)).find(|it| !taken.contains(it)).unwrap_or(folder.join(name)))
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
    let unusable = |it: io::Error| StoreError::Unusable { folder: show(folder), problem: it.to_string() };
    if !folder.join(FILE).is_file() {
        return Err(StoreError::Unusable { folder: show(folder), problem: format!("there is no {FILE} in it") });
    }
    let mut verdict = Verdict { records: 0, snapshots: 0, problems: Vec::new() };
    let disk: Arc<dyn Disk> = Arc::new(Real);
    // Before the database is copied: in a service that runs both may become newer.
    let newest = snapshot::list(&*disk, folder).map_err(unusable)?.last().map_or(1, |it| it.0);
    // redb repairs as it opens, so it is given a copy.
    let copy =
        std::env::temp_dir().join(format!("tripline-verify-{}-{:?}", std::process::id(), std::thread::current().id()));
    disk.make_folder(&copy).map_err(unusable)?;
    let found = std::fs::copy(folder.join(FILE), copy.join(FILE)).map_err(unusable).and_then(|_| {
        let store = Store::try_open(&copy, FILE, &disk)?;
        let damaged = |it: String| StoreError::Damaged { folder: show(folder), problem: it };
        let records = store.verify_records().map_err(|it| damaged(it.to_string()))?;
        let oldest = store.journal_first().map_err(|it| damaged(it.to_string()))?.unwrap_or(store.next_journal);
        if store.next_journal < newest {
            return Err(damaged("its database is older than its newest snapshot".into()));
        }
        if oldest > newest {
            return Err(damaged(format!("its journal begins at {oldest}, and no snapshot holds what was before")));
        }
        Ok(records)
    });
    std::fs::remove_dir_all(&copy).map_err(unusable)?;
    match found {
        Ok(records) => verdict.records = records,
        Err(error) => verdict.problems.push(error.to_string()),
    }
    for (_, file) in snapshot::list(&*disk, folder).map_err(unusable)? {
        match snapshot::read(&*disk, &file) {
            Ok(_) => verdict.snapshots += 1,
            Err(problem) => verdict.problems.push(format!("{}: {problem}", show(&file))),
        }
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        OutboxRow {
            receiver: "hook".into(),
            key: key.into(),
            content: Content::pack(b"{}", "{}"),
            since: 1,
            severity: None,
        }
    }

    proptest::proptest! {
        #[test]
        fn content_comes_back_and_what_is_none_is_refused(
            body in proptest::collection::vec(0u8.., 0..300),
            alert in ".{0,200}",
            noise in proptest::collection::vec(0u8.., 0..60),
        ) {
            proptest::prop_assert_eq!(Content::pack(&body, &alert).open(), Some((body, alert)));
            // Whatever it makes of it, it is no panic and no more than the bytes can mean.
            if let Some((body, alert)) = Content(noise.clone()).open() {
                proptest::prop_assert!(body.len() + alert.len() <= 256 * noise.len());
            }
        }
    }

    #[test]
    fn rows_of_earlier_versions_are_read() {
        // Receiver, key, body, alert and when, as they were written side by side.
        let written = postcard::to_allocvec(&("hook", "a", serde_bytes::Bytes::new(b"{}"), "{}", 1i64)).unwrap();
        assert_eq!(OutboxRow::decode(&written).unwrap(), note("a"));
        assert_eq!(OutboxRow::decode(&note("a").encode().unwrap()).unwrap(), note("a"));
        assert!(OutboxRow::decode(&[PACKED, 1]).is_err());
    }

    #[test]
    fn a_group_is_all_there_after_opening_again() {
        let folder = folder("group");
        let mut store = open(&folder).store;
        let group = Group {
            entries: vec![b"one".to_vec(), b"two".to_vec()],
            notes: vec![note("a"), note("b")],
            number: 0,
            clients: vec![("edge".into(), 7)],
            positions: vec![("a.log\n1".into(), Some(vec![1])), ("a.log\n1".into(), Some(vec![2])), ("b".into(), None)],
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
    fn a_group_that_comes_again_is_known() {
        let folder = folder("again");
        let mut store = open(&folder).store;
        let group = |number, key: &str| Group {
            number,
            entries: vec![key.as_bytes().to_vec()],
            notes: vec![note(key), note(key)],
            suppressed: 5,
            ..Group::default()
        };
        let first = store.commit(&group(1, "a")).unwrap();
        drop(store);
        let mut store = open(&folder).store;
        assert_eq!(store.commit(&group(1, "a")).unwrap(), first);
        assert_eq!(store.tally().unwrap().fired, 7);
        assert_eq!(store.next_journal(), 2);
        assert_ne!(store.commit(&group(2, "b")).unwrap(), first);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_new_journal_is_not_hidden_by_an_old_snapshot() {
        let folder = folder("reborn");
        let mut store = open(&folder).store;
        store.commit(&Group { entries: vec![vec![1]; 9], ..Group::default() }).unwrap();
        store.keep_snapshot(&[b"memory".to_vec()]).unwrap();
        drop(store);
        fs::write(folder.join(FILE), b"not a database").unwrap();
        let mut store = open(&folder).store;
        store.commit(&Group { entries: vec![vec![2]], ..Group::default() }).unwrap();
        assert_eq!(store.journal_first().unwrap(), Some(10));
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

    /// Somebody takes the database away, empties it, or puts an old copy in its place; or takes the snapshot away.
    #[test]
    fn what_is_gone_is_missed() {
        let folder = folder("gone");
        let mut store = open(&folder).store;
        let group = |number| Group { number, entries: vec![vec![1]; 5], notes: vec![note("a")], ..Group::default() };
        store.commit(&group(1)).unwrap();
        let path = folder.join(FILE);
        drop(store);
        let old = fs::read(&path).unwrap();
        let mut store = open(&folder).store;
        store.commit(&group(2)).unwrap();
        store.keep_snapshot(&[b"what is known".to_vec()]).unwrap();
        drop(store);
        let whole = fs::read(&path).unwrap();
        assert!(verify(&folder).unwrap().problems.is_empty());
        for bytes in [Some(Vec::new()), Some(old), None] {
            match bytes {
                Some(bytes) => {
                    fs::write(&path, bytes).unwrap();
                    assert!(verify(&folder).unwrap().problems[0].contains("older than its newest snapshot"));
                }
                None => fs::remove_file(&path).unwrap(),
            }
            let mut opened = open(&folder);
            assert!(opened.set_aside.len() == 1 && opened.set_aside[0].contains("older"), "{:?}", opened.set_aside);
            // What it remembers from now on stands behind what the snapshot knows, and that is said once.
            opened.store.commit(&group(3)).unwrap();
            assert_eq!(opened.store.next_journal(), 16);
            drop(opened);
            assert_eq!(open(&folder).set_aside, Vec::<String>::new());
        }
        fs::write(&path, whole).unwrap();
        assert_eq!(open(&folder).set_aside, Vec::<String>::new());
        for (_, file) in snapshot::list(&Real, &folder).unwrap() {
            fs::remove_file(file).unwrap();
        }
        let verdict = verify(&folder).unwrap();
        assert!(verdict.problems[0].contains("no snapshot holds what was before"), "{:?}", verdict.problems);
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
        // Whoever starts next hears of it too, until something is written: the one who found it may have failed to start.
        let mut opened = open(&folder);
        assert_eq!(opened.set_aside.len(), 1, "{:?}", opened.set_aside);
        opened.store.commit(&Group { number: 1, entries: vec![vec![1]], ..Group::default() }).unwrap();
        drop(opened);
        assert_eq!(open(&folder).set_aside, Vec::<String>::new());
        fs::write(&path, &whole).unwrap();
        assert!(verify(&folder).unwrap().problems.is_empty());
        fs::remove_dir_all(folder).unwrap();
    }
}
