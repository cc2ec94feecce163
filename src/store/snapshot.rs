//! The engine's memory as a file: `snapshot-N`, where N is the first journal entry that is not in it.
//!
//! A snapshot is written beside, synced, and then renamed, so a name means a whole file. Two are kept, with the journal since
//! the older: a damaged one costs time, not memory.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::{Fault, record};

const PREFIX: &str = "snapshot-";
/// What is being written: no snapshot yet.
pub const UNFINISHED: &str = ".new";
/// How many are kept.
pub const KEPT: usize = 2;

/// Writes a snapshot and makes it durable; removes the oldest beyond [`KEPT`]. The result is the first journal entry that
/// is still needed.
pub fn write(disk: &dyn Disk, folder: &Path, next_journal: u64, pieces: &[Vec<u8>]) -> io::Result<u64> {
    let name = format!("{PREFIX}{next_journal:020}");
    let beside = folder.join(format!("{name}{UNFINISHED}"));
    let head = record::head(name.as_bytes(), pieces);
    let whole: Vec<&[u8]> = std::iter::once(head.as_slice()).chain(pieces.iter().map(Vec::as_slice)).collect();
    disk.write(&beside, &whole)?;
    disk.rename(&beside, &folder.join(&name))?;
    disk.sync_folder(folder)?;
    let all = list(disk, folder)?;
    let keep_from = all.len().saturating_sub(KEPT);
    for (_, old) in &all[..keep_from] {
        disk.remove(old)?;
    }
    Ok(all[keep_from].0)
}

/// The snapshots of a folder: first journal entry not in it, and file; oldest first.
pub fn list(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut all = Vec::new();
    for path in disk.list(folder)? {
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or("");
        if let Some(number) = name.strip_prefix(PREFIX).and_then(|it| it.parse().ok()) {
            all.push((number, path));
        }
    }
    all.sort();
    Ok(all)
}

/// What a snapshot holds.
pub fn read(disk: &dyn Disk, file: &Path) -> Result<Vec<u8>, Fault> {
    let sealed = disk.read(file)?;
    let name = file.file_name().map(|it| it.as_encoded_bytes()).unwrap_or_default();
    Ok(record::open(name, &sealed)?.to_vec())
}

/// Puts a damaged snapshot out of the way; says where it is now.
pub fn set_aside(disk: &dyn Disk, file: &Path, date: &str) -> io::Result<PathBuf> {
    let name = file.file_name().and_then(|it| it.to_str()).unwrap_or("snapshot");
    let aside = file.with_file_name(format!("damaged-{date}-{name}"));
    disk.rename(file, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::disk::Real;

    #[test]
    fn the_last_two_are_kept() {
        let folder = std::env::temp_dir().join(format!("tripline-snapshot-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(write(&Real, &folder, 5, &[b"five".to_vec()]).unwrap(), 5);
        assert_eq!(write(&Real, &folder, 9, &[b"ni".to_vec(), b"ne".to_vec()]).unwrap(), 5);
        assert_eq!(write(&Real, &folder, 12, &[b"".to_vec(), b"twelve".to_vec()]).unwrap(), 9);
        let all = list(&Real, &folder).unwrap();
        assert_eq!(all.iter().map(|it| it.0).collect::<Vec<_>>(), [9, 12]);
        assert_eq!(read(&Real, &all[1].1).unwrap(), b"twelve");
        fs::write(&all[1].1, b"\x01garbage").unwrap();
        assert!(read(&Real, &all[1].1).is_err());
        assert!(set_aside(&Real, &all[1].1, "2026-01-01").unwrap().exists());
        assert_eq!(list(&Real, &folder).unwrap().len(), 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
