//! The disk, behind a seam that a test can break.
//!
//! Everything the store asks of a file system is here, so that a simulated one can lose, tear, reorder and refuse what the
//! real one only loses in bad nights. A name is durable only after [`Disk::sync_folder`], as POSIX has it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, Builder, Database, DatabaseError, StorageBackend};

use super::ballast::{Backed, Held};

/// What the store needs of a disk.
pub trait Disk: Send + Sync {
    /// Opens the database at a path, and makes it where it is not there. Its name is durable then, whoever gave
    /// it. What is read is what is on the disk, or will be after a sync that works; never what a failed sync has left in a cache.
    fn database(&self, path: &Path) -> Result<Database, DatabaseError>;
    /// Makes a folder for its owner only, if it is not there. Its name is durable then, also where an earlier start made it.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;
    /// The files of a folder, in any order.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    fn read(&self, file: &Path) -> io::Result<Vec<u8>>;
    /// Writes a whole file, piece after piece, and makes its bytes durable, but not its name.
    fn write(&self, file: &Path, pieces: &[&[u8]]) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, file: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// How large the disk behind a folder is, and how much of it is free; None: nobody can say.
    fn room(&self, _folder: &Path) -> Option<Room> {
        None
    }
    /// Makes a file of that size, or makes it larger, for which the disk has given the room.
    fn reserve(&self, _file: &Path, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// How long a file is; 0 where there is none.
    fn length(&self, file: &Path) -> u64;
    /// Gives at least so much of it back, as far as it goes. False: there was none.
    fn give_back(&self, _file: &Path, _bytes: u64) -> bool {
        false
    }
}

/// Bytes of a disk.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub total: u64,
    pub free: u64,
}

/// Reserved room is given back in pieces of at least this size.
const GIVEN_BACK_MIN: u64 = 256 << 10;

/// Memory for pages of the database. Reads are few; the journal is written and forgotten.
const CACHE_BYTES: usize = 16 << 20;

/// The disk of this machine. Files are for their owner only.
#[derive(Clone, Copy, Debug)]
pub struct Real;

impl Disk for Real {
    fn database(&self, path: &Path) -> Result<Database, DatabaseError> {
        let io = |it: io::Error| DatabaseError::Storage(redb::StorageError::Io(it));
        if !path.exists() {
            owner_only(path).map_err(io)?;
        }
        // Each time: an earlier start may have made the name, and failed to make it durable.
        self.sync_folder(path.parent().unwrap_or(Path::new("."))).map_err(io)?;
        forget_cached(path);
        let file = File::options().read(true).write(true).open(path).map_err(io)?;
        let file = RealFile { file: file.try_clone().map_err(io)?, backend: FileBackend::new(file)? };
        Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(Backed::new(file, Real, path))
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        if !folder.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        match self.sync_folder(folder.canonicalize()?.parent().unwrap_or(folder)) {
            // A folder in one that we may not read was not made by us.
            Err(it) if it.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            it => it,
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|it| Ok(it?.path())).collect()
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        fs::read(file)
    }

    fn write(&self, file: &Path, pieces: &[&[u8]]) -> io::Result<()> {
        let written = owner_only(file)
            .and_then(|mut it| pieces.iter().try_for_each(|piece| it.write_all(piece)).and_then(|()| it.sync_all()));
        if written.is_err() {
            // Half a file helps nobody, and may be what fills the disk.
            let _ = fs::remove_file(file);
        }
        written
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn length(&self, file: &Path) -> u64 {
        fs::metadata(file).map_or(0, |it| it.len())
    }

    fn room(&self, folder: &Path) -> Option<Room> {
        let it = rustix::fs::statvfs(folder).ok()?;
        Some(Room { total: it.f_blocks.saturating_mul(it.f_frsize), free: it.f_bavail.saturating_mul(it.f_frsize) })
    }

    #[cfg(target_os = "linux")]
    fn reserve(&self, file: &Path, bytes: u64) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(file)?;
        Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
    }

    fn give_back(&self, file: &Path, bytes: u64) -> bool {
        let held = self.length(file);
        let rest = held.saturating_sub(bytes.max(GIVEN_BACK_MIN));
        held > 0 && File::options().write(true).open(file).and_then(|it| it.set_len(rest)).is_ok()
    }
}

/// The database's own file.
#[derive(Debug)]
struct RealFile {
    backend: FileBackend,
    /// The same.
    file: File,
}

impl Held for RealFile {
    #[cfg(target_os = "linux")]
    fn hold(&self, from: u64, to: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::KEEP_SIZE, from, to - from)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn hold(&self, _from: u64, _to: u64) -> io::Result<()> {
        let _ = &self.file;
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl StorageBackend for RealFile {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }
}

/// Lets the system forget what it has in memory of a file and does not still have to write. After a sync that failed Linux
/// shows what was written, takes it for written, and never writes it: whoever builds on it, twice, has nothing on the
/// disk that is whole. Where the system cannot do that, we are as well off as before.
#[cfg(target_os = "linux")]
fn forget_cached(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

#[cfg(not(target_os = "linux"))]
fn forget_cached(_path: &Path) {}

/// A new file that only its owner can read.
pub fn owner_only(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(path)
}
