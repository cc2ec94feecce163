//! A disk that keeps its word as badly as a disk may.
//!
//! What was written is seen at once and safe only after a sync; what was renamed, only after a sync of the folder. At a power
//! cut every write since the last sync is there, not there, or there in some of its sectors, whatever their order. After a
//! sync that failed the writes are still seen, and no later sync brings them to the disk: that is what Linux does, until it is
//! told to forget what it has in memory. Room is taken up by what was written, in blocks, not by how long a file says it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::dice::Dice;
use crate::store::ballast::{Backed, Held};
use crate::store::disk::{Disk, Room};

const SECTOR: usize = 512;
/// In which room is given.
const BLOCK: usize = 4096;

/// What is wrong with the disk at the moment.
#[derive(Clone, Copy, Default, Debug)]
pub struct Mood {
    /// The share of operations that fail with EIO.
    pub fails: f64,
    /// The share of syncs that fail.
    pub sync_fails: f64,
    /// Bytes that there is room for; 0: as many as one likes.
    pub room: usize,
    /// Whether the disk can be asked how much that is.
    pub hides_room: bool,
    /// The most milliseconds a sync takes.
    pub stalls: u64,
}

/// Mistakes that are planted, to see whether they are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    None,
    /// One sync in so many says that it worked, and did nothing.
    SkipSync(u64),
}

#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<Inner>>);

struct Inner {
    dice: Dice,
    mood: Mood,
    lie: Lie,
    /// What a process sees, and what survives a power cut.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Names since the last sync of the folder, each state whole.
    pending_names: Vec<BTreeMap<PathBuf, usize>>,
    files: Vec<File>,
    /// The process dies at the sync with that number.
    crash_at: Option<u64>,
    syncs: u64,
    dead: bool,
    stalled: u64,
    /// Bytes that are reserved.
    reserved: usize,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} files", self.files.len())
    }
}

#[derive(Default)]
struct File {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Op>,
    /// The blocks that take up room.
    blocks: BTreeSet<usize>,
}

enum Op {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl SimDisk {
    pub fn new(seed: u64, lie: Lie) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(Inner {
            dice: Dice::new(seed),
            mood: Mood::default(),
            lie,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            files: Vec::new(),
            crash_at: None,
            syncs: 0,
            dead: false,
            stalled: 0,
            reserved: 0,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_mood(&self, mood: Mood) {
        self.inner().mood = mood;
    }

    /// The process dies at its n-th sync from now.
    pub fn crash_after(&self, syncs: u64) {
        let mut inner = self.inner();
        inner.crash_at = Some(inner.syncs + syncs);
    }

    /// Whether the process died of it.
    pub fn is_dead(&self) -> bool {
        self.inner().dead
    }

    /// The milliseconds it took since it was last asked.
    pub fn take_stall(&self) -> u64 {
        std::mem::take(&mut self.inner().stalled)
    }

    /// Bytes that all files take up.
    pub fn bytes(&self) -> usize {
        self.inner().bytes()
    }

    /// The process has ended; the machine goes on, and so does what it had written.
    pub fn process_ended(&self) {
        let mut inner = self.inner();
        inner.dead = false;
        inner.crash_at = None;
    }

    /// The machine lost its power.
    pub fn power_cut(&self) {
        let mut inner = self.inner();
        let Inner { dice, files, names, durable_names, pending_names, .. } = &mut *inner;
        // A file system keeps the order of names, and may be any way behind.
        let kept = dice.within(0, pending_names.len() as u64 + 1) as usize;
        if kept > 0 {
            durable_names.clone_from(&pending_names[kept - 1]);
        }
        pending_names.clear();
        names.clone_from(durable_names);
        for file in files.iter_mut() {
            let mut ops = std::mem::take(&mut file.pending);
            ops.sort_by_key(|it| match it {
                Op::Length(len) => (0, *len),
                Op::Write(at, _) => (1, *at),
            });
            for op in ops {
                match (dice.within(0, 3), op) {
                    (0, _) => {}
                    (1, op) => file.apply(&op),
                    (_, Op::Length(len)) => file.apply(&Op::Length(len)),
                    (_, Op::Write(at, bytes)) => {
                        for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                            if dice.chance(0.5) {
                                file.apply(&Op::Write(at + number * SECTOR, sector.to_vec()));
                            }
                        }
                    }
                }
            }
            file.seen.clone_from(&file.durable);
        }
        inner.dead = false;
        inner.crash_at = None;
    }

    /// Somebody's cosmic ray: one bit of one file.
    pub fn flip_a_bit(&self) {
        let mut inner = self.inner();
        let Inner { dice, files, names, .. } = &mut *inner;
        let all: Vec<usize> = names.values().copied().filter(|it| !files[*it].seen.is_empty()).collect();
        if all.is_empty() {
            return;
        }
        let file = &mut files[*dice.one_of(&all)];
        let at = dice.within(0, file.seen.len() as u64) as usize;
        let bit = 1 << dice.within(0, 8);
        file.seen[at] ^= bit;
        if let Some(byte) = file.durable.get_mut(at) {
            *byte ^= bit;
        }
    }
}

impl File {
    fn apply(&mut self, op: &Op) {
        op.apply(&mut self.durable);
    }

    /// What is seen is what is on the disk, and what still has to be written.
    fn forget_cached(&mut self) {
        self.seen.clone_from(&self.durable);
        self.pending.iter().for_each(|it| it.apply(&mut self.seen));
    }
}

impl Op {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Op::Length(len) => to.resize(*len, 0),
            Op::Write(at, bytes) => {
                if to.len() < at + bytes.len() {
                    to.resize(at + bytes.len(), 0);
                }
                to[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn enospc() -> io::Error {
    io::Error::from_raw_os_error(28)
}

impl Inner {
    fn bytes(&self) -> usize {
        self.names.values().map(|it| self.files[*it].blocks.len() * BLOCK).sum::<usize>() + self.reserved
    }

    fn operate(&mut self) -> io::Result<()> {
        if self.dead || self.dice.chance(self.mood.fails) { Err(eio()) } else { Ok(()) }
    }

    /// Whether so many more bytes fit.
    fn grow(&mut self, bytes: usize) -> io::Result<()> {
        let bytes = bytes.next_multiple_of(BLOCK);
        if self.mood.room > 0 && bytes > 0 && self.bytes() + bytes > self.mood.room { Err(enospc()) } else { Ok(()) }
    }

    /// Gives room to a part of a file.
    fn hold(&mut self, number: usize, from: usize, to: usize) -> io::Result<()> {
        let blocks = from / BLOCK..to.div_ceil(BLOCK);
        let new: Vec<usize> = blocks.filter(|it| !self.files[number].blocks.contains(it)).collect();
        self.grow(new.len() * BLOCK)?;
        self.files[number].blocks.extend(new);
        Ok(())
    }

    /// Ok(true): do it. The process may die before or after.
    fn sync(&mut self, work: impl FnOnce(&mut Inner)) -> io::Result<()> {
        if self.dead {
            return Err(eio());
        }
        self.syncs += 1;
        if self.mood.stalls > 0 {
            self.stalled += self.dice.within(0, self.mood.stalls + 1);
        }
        if self.crash_at.is_some_and(|it| self.syncs >= it) {
            self.dead = true;
            if self.dice.chance(0.5) {
                work(self);
            }
            return Err(eio());
        }
        if let Lie::SkipSync(one_in) = self.lie
            && self.dice.within(0, one_in) == 0
        {
            return Ok(());
        }
        if self.dice.chance(self.mood.sync_fails) {
            // Some of it arrived, the rest never will, and nobody can see which.
            for file in &mut self.files {
                for op in std::mem::take(&mut file.pending) {
                    if self.dice.chance(0.5) {
                        file.apply(&op);
                    }
                }
            }
            return Err(eio());
        }
        work(self);
        Ok(())
    }

    fn open(&mut self, path: &Path) -> usize {
        if let Some(it) = self.names.get(path) {
            return *it;
        }
        self.files.push(File::default());
        let number = self.files.len() - 1;
        self.names.insert(path.to_path_buf(), number);
        self.pending_names.push(self.names.clone());
        number
    }

    fn sync_file(&mut self, number: usize) -> io::Result<()> {
        self.sync(|it| {
            let file = &mut it.files[number];
            for op in std::mem::take(&mut file.pending) {
                file.apply(&op);
            }
        })
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.sync(|it| {
            it.durable_names.clone_from(&it.names);
            it.pending_names.clear();
        })
    }
}

impl Disk for SimDisk {
    fn database(&self, path: &Path) -> Result<Database, DatabaseError> {
        let io = |it: io::Error| DatabaseError::Storage(redb::StorageError::Io(it));
        let number = {
            let mut inner = self.inner();
            inner.operate().map_err(io)?;
            let number = inner.open(path);
            inner.sync_names().map_err(io)?;
            inner.files[number].forget_cached();
            number
        };
        let file = Backend { disk: self.clone(), number };
        Builder::new().set_cache_size(1 << 20).create_with_backend(Backed::new(file, self.clone(), path))
    }

    fn make_folder(&self, _folder: &Path) -> io::Result<()> {
        self.inner().operate()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut inner = self.inner();
        inner.operate()?;
        Ok(inner.names.keys().filter(|it| it.parent() == Some(folder)).cloned().collect())
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        let mut inner = self.inner();
        let number = *inner.names.get(file).ok_or(io::ErrorKind::NotFound)?;
        inner.operate()?;
        Ok(inner.files[number].seen.clone())
    }

    fn write(&self, file: &Path, pieces: &[&[u8]]) -> io::Result<()> {
        let bytes = pieces.concat();
        let mut inner = self.inner();
        inner.operate()?;
        inner.grow(bytes.len())?;
        let number = inner.open(file);
        let it = &mut inner.files[number];
        it.seen = bytes.clone();
        it.blocks = (0..bytes.len().div_ceil(BLOCK)).collect();
        it.pending.push(Op::Length(0));
        it.pending.push(Op::Write(0, bytes));
        inner.sync_file(number)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.operate()?;
        let number = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(to.to_path_buf(), number);
        let names = inner.names.clone();
        inner.pending_names.push(names);
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.operate()?;
        inner.names.remove(file).ok_or(io::ErrorKind::NotFound)?;
        let names = inner.names.clone();
        inner.pending_names.push(names);
        Ok(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        self.inner().sync_names()
    }

    fn room(&self, _folder: &Path) -> Option<Room> {
        let inner = self.inner();
        let total = inner.mood.room;
        (total > 0 && !inner.mood.hides_room)
            .then(|| Room { total: total as u64, free: total.saturating_sub(inner.bytes()) as u64 })
    }

    fn reserve(&self, _file: &Path, bytes: u64) -> io::Result<()> {
        let mut inner = self.inner();
        let more = (bytes as usize).saturating_sub(inner.reserved);
        inner.grow(more)?;
        inner.reserved += more;
        Ok(())
    }

    fn length(&self, file: &Path) -> u64 {
        let inner = self.inner();
        let known = inner.names.get(file).map(|it| inner.files[*it].seen.len());
        // Only the room that is kept back has no file.
        known.unwrap_or(inner.reserved) as u64
    }

    fn give_back(&self, _file: &Path, bytes: u64) -> bool {
        let mut inner = self.inner();
        let held = inner.reserved;
        inner.reserved = held.saturating_sub((bytes as usize).min(held).next_multiple_of(BLOCK));
        held > 0
    }
}

/// One file, as the database sees it.
#[derive(Debug)]
struct Backend {
    disk: SimDisk,
    number: usize,
}

impl Held for Backend {
    fn hold(&self, from: u64, to: u64) -> io::Result<()> {
        self.disk.inner().hold(self.number, from as usize, to as usize)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let mut inner = self.disk.inner();
        inner.operate()?;
        Ok(inner.files[self.number].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.operate()?;
        let at = offset as usize;
        let bytes = inner.files[self.number].seen.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.operate()?;
        let file = &mut inner.files[self.number];
        file.seen.resize(len as usize, 0);
        file.blocks.split_off(&(len as usize).div_ceil(BLOCK));
        file.pending.push(Op::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.inner().sync_file(self.number)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.operate()?;
        let at = offset as usize;
        inner.hold(self.number, at, at + data.len())?;
        let file = &mut inner.files[self.number];
        if file.seen.len() < at + data.len() {
            file.seen.resize(at + data.len(), 0);
        }
        file.seen[at..at + data.len()].copy_from_slice(data);
        file.pending.push(Op::Write(at, data.to_vec()));
        Ok(())
    }
}
