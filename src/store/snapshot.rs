//! The engine's memory as a file: `snapshot-N`, where N is the first journal entry that is not in it.
//!
//! A snapshot is written beside, synced, and then renamed, so a name means a whole file. Two are kept, with the journal since
//! the older: a damaged one costs time, not memory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::record;

const PREFIX: &str = "snapshot-";
/// How many are kept.
pub const KEPT: usize = 2;

/// Writes a snapshot and makes it durable; removes the oldest beyond [`KEPT`]. The result is the first journal entry that
/// is still needed.
pub fn write(folder: &Path, next_journal: u64, bytes: &[u8]) -> io::Result<u64> {
    let name = format!("{PREFIX}{next_journal:020}");
    let beside = folder.join(format!("{name}.new"));
    let mut file = owner_only(&beside)?;
    file.write_all(&record::seal(name.as_bytes(), bytes))?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(&name))?;
    File::open(folder)?.sync_all()?;
    let all = list(folder)?;
    let keep_from = all.len().saturating_sub(KEPT);
    for (_, old) in &all[..keep_from] {
        fs::remove_file(old)?;
    }
    Ok(all[keep_from].0)
}

/// The snapshots of a folder: first journal entry not in it, and file; oldest first.
pub fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or("");
        if let Some(number) = name.strip_prefix(PREFIX).and_then(|it| it.parse().ok()) {
            all.push((number, path));
        }
    }
    all.sort();
    Ok(all)
}

/// What a snapshot holds; the error says what is wrong with it.
pub fn read(file: &Path) -> Result<Vec<u8>, String> {
    let sealed = fs::read(file).map_err(|it| it.to_string())?;
    let name = file.file_name().map(|it| it.as_encoded_bytes()).unwrap_or_default();
    record::open(name, &sealed).map(<[u8]>::to_vec).map_err(|it| it.to_string())
}

/// Puts a damaged snapshot out of the way; says where it is now.
pub fn set_aside(file: &Path, date: &str) -> io::Result<PathBuf> {
    let name = file.file_name().and_then(|it| it.to_str()).unwrap_or("snapshot");
    let aside = file.with_file_name(format!("damaged-{date}-{name}"));
    fs::rename(file, &aside)?;
    Ok(aside)
}

fn owner_only(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_are_kept() {
        let folder = std::env::temp_dir().join(format!("tripline-snapshot-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(write(&folder, 5, b"five").unwrap(), 5);
        assert_eq!(write(&folder, 9, b"nine").unwrap(), 5);
        assert_eq!(write(&folder, 12, b"twelve").unwrap(), 9);
        let all = list(&folder).unwrap();
        assert_eq!(all.iter().map(|it| it.0).collect::<Vec<_>>(), [9, 12]);
        assert_eq!(read(&all[1].1).unwrap(), b"twelve");
        fs::write(&all[1].1, b"\x01garbage").unwrap();
        assert!(read(&all[1].1).is_err());
        assert!(set_aside(&all[1].1, "2026-01-01").unwrap().exists());
        assert_eq!(list(&folder).unwrap().len(), 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
