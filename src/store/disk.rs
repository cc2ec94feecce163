//! The database's file, behind a seam that a test can break.

use std::path::Path;

use redb::{Builder, Database, DatabaseError};

/// Opens the database at a path, on whatever disk.
pub type OpenDisk = dyn Fn(&Path) -> Result<Database, DatabaseError>;

/// Memory for pages of the database. Reads are few; the journal is written and forgotten.
const CACHE_BYTES: usize = 16 << 20;

/// The real disk. The file is for its owner only.
pub fn real(path: &Path) -> Result<Database, DatabaseError> {
    use std::os::unix::fs::OpenOptionsExt;
    let io = |it: std::io::Error| DatabaseError::Storage(redb::StorageError::Io(it));
    let is_new = !path.exists();
    if is_new {
        let file =
            std::fs::OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(path).map_err(io)?;
        drop(file);
    }
    Builder::new().set_cache_size(CACHE_BYTES).create(path)
}
