//! Room that is kept for the day on which the disk is full.
//!
//! To forget something, a database that never writes over its pages needs new ones, and one that finds no room closes and must be
//! read whole to be opened. So it is kept from that. Its file has real room for every page from the moment it grows ([`Backed`]):
//! a page that was freed can always be had again. What is to be remembered is begun only where the file may grow ([`shortage`])
//! or has pages to spare. And a file beside it takes up some room, on which everything else may draw.

use std::fmt::Debug;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::{BackendError, StorageBackend};

use super::disk::{Disk, Room};
use crate::limits;

/// In the state directory.
const FILE: &str = "ballast";
/// Less is not worth it.
const BYTES_MIN: u64 = 1 << 20;
/// What a commit writes besides what is in it, at most.
const AROUND_BYTES: u64 = 512 << 10;

/// Takes up what is missing of it, as far as a disk can spare that. True: there is some.
pub fn top_up(disk: &dyn Disk, folder: &Path) -> bool {
    let file = folder.join(FILE);
    let held = disk.length(&file);
    if let Some(bytes) = disk.room(folder).map(|it| worth(it, held)).filter(|it| *it > held) {
        // Where others were faster, or the disk cannot do it, there is nothing to keep.
        let _ = disk.reserve(&file, bytes);
    }
    disk.length(&file) > 0
}

/// Gives a little of it back. False: there is none.
pub fn draw(disk: &dyn Disk, folder: &Path) -> bool {
    disk.give_back(&folder.join(FILE), 1)
}

/// How much room is missing before so many bytes may be written; 0: they fit. Where nobody can say, they are tried.
pub fn shortage(disk: &dyn Disk, folder: &Path, bytes: u64) -> u64 {
    let Some(room) = disk.room(folder) else { return 0 };
    let wanted = bytes + AROUND_BYTES.min(room.total / 64) + size(room.total) / 2;
    wanted.saturating_sub(room.free + disk.length(&folder.join(FILE)))
}

/// A small disk must not be ours alone, and one that is nearly full must not be filled by what is to help then.
fn worth(room: Room, held: u64) -> u64 {
    let bytes = size(room.total).min((room.free + held) / 2);
    if bytes < BYTES_MIN { 0 } else { bytes }
}

fn size(disk: u64) -> u64 {
    let bytes = limits::BALLAST_BYTES_MAX.min(disk / limits::BALLAST_SHARE);
    if bytes < BYTES_MIN { 0 } else { bytes }
}

/// A file that can be given room before anything is written there.
pub trait Held: StorageBackend {
    /// Gives room to everything from there to there that has none; all of it, or nothing.
    fn hold(&self, from: u64, to: u64) -> io::Result<()>;
}

/// The file of a database. It grows only where the disk has room for all of it, and what is written finds room to the last.
#[derive(Debug)]
pub struct Backed<F, D> {
    file: F,
    disk: D,
    ballast: PathBuf,
}

impl<F: Held, D: Disk> Backed<F, D> {
    /// `path`: of the database; the ballast lies beside it.
    pub fn new(file: F, disk: D, path: &Path) -> Backed<F, D> {
        if let Ok(len @ 1..) = file.len() {
            // Once it may not have been so. Where there is no room for that now, it has none where it had none.
            let _ = file.hold(0, len);
        }
        Backed { file, disk, ballast: path.with_file_name(FILE) }
    }

    /// Room for a part of the file, even the last there is.
    fn find_room(&self, from: u64, to: u64) -> io::Result<()> {
        loop {
            match self.file.hold(from, to) {
                Err(full) if is_full(&full) => {
                    if !self.disk.give_back(&self.ballast, u64::MAX) {
                        return Err(full);
                    }
                }
                // A disk that cannot do it is tried as it is.
                Ok(()) | Err(_) => return Ok(()),
            }
        }
    }
}

impl<F: Held, D: Disk + Debug + 'static> StorageBackend for Backed<F, D> {
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        loop {
            match self.file.write(offset, data) {
                Err(full) if is_full(&full) && self.disk.give_back(&self.ballast, data.len() as u64) => {}
                done => return done,
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let before = self.file.len()?;
        if len > before {
            self.find_room(before, len)?;
        }
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::Real;

    #[test]
    fn as_much_as_a_disk_can_spare() {
        let mib = |it: u64| it << 20;
        let check = |total, free, held, expected: u64| {
            let room = Room { total: mib(total), free: mib(free) };
            assert_eq!(worth(room, mib(held)), mib(expected), "{total} {free} {held}");
        };
        check(100_000, 50_000, 0, 64);
        check(64, 60, 0, 4);
        check(64, 6, 0, 3);
        check(64, 4, 2, 3);
        check(64, 1, 0, 0);
        check(15, 15, 0, 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_takes_up_room_and_gives_it_back() {
        use std::os::unix::fs::MetadataExt;
        let folder = std::env::temp_dir().join(format!("tripline-ballast-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert!(top_up(&Real, &folder));
        let file = folder.join(FILE);
        let metadata = std::fs::metadata(&file).unwrap();
        assert!(metadata.blocks() * 512 >= metadata.len() && metadata.len() >= BYTES_MIN);
        assert!(Real.give_back(&file, 4096) && Real.length(&file) < metadata.len());
        assert!(top_up(&Real, &folder) && Real.length(&file) == metadata.len());
        assert!(Real.give_back(&file, u64::MAX) && !Real.give_back(&file, 1));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
