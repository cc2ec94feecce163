//! Room that is kept for the day on which the disk is full.
//!
//! To forget something, a database that never writes over its pages needs new ones. On a disk that others, or we, have filled
//! to the last block it could not even be opened, and what was delivered could not leave the outbox. So a file takes up some
//! room, and gives it back on that day: what makes room goes on, and what needs more waits.

use std::path::Path;

use super::disk::{Disk, Room};
use crate::limits;

/// In the state directory.
const FILE: &str = "ballast";
/// Less is not worth it.
const BYTES_MIN: u64 = 1 << 20;

/// Takes room up, where there is enough. True: it is there.
pub fn take(disk: &dyn Disk, folder: &Path) -> bool {
    let Some(bytes) = disk.room(folder).and_then(worth) else { return false };
    disk.reserve(&folder.join(FILE), bytes).is_ok()
}

/// Gives it back. False: there was none.
pub fn let_go(disk: &dyn Disk, folder: &Path) -> bool {
    disk.give_back(&folder.join(FILE))
}

/// What is left of it when somebody has taken what he needed: others, who want more, must not find the rest.
pub fn keep_rest(disk: &dyn Disk, folder: &Path) {
    if let Some(bytes) = disk.room(folder).map(|it| it.free.min(size(it.total))).filter(|it| *it >= BYTES_MIN) {
        // Where others were faster there is nothing to keep.
        let _ = disk.reserve(&folder.join(FILE), bytes);
    }
}

/// A small disk must not be ours alone, and one that is nearly full must not be filled by what is to help then.
fn worth(room: Room) -> Option<u64> {
    let bytes = size(room.total);
    (bytes >= BYTES_MIN && room.free >= 2 * bytes).then_some(bytes)
}

fn size(disk: u64) -> u64 {
    limits::BALLAST_BYTES_MAX.min(disk / limits::BALLAST_SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::Real;

    #[test]
    fn as_much_as_a_disk_can_spare() {
        let mib = |it: u64| it << 20;
        let check = |total, free, expected: Option<u64>| {
            assert_eq!(worth(Room { total: mib(total), free: mib(free) }), expected.map(mib), "{total} {free}");
        };
        check(100_000, 50_000, Some(64));
        check(64, 60, Some(4));
        check(64, 7, None);
        check(15, 15, None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_takes_up_room_and_gives_it_back() {
        use std::os::unix::fs::MetadataExt;
        let folder = std::env::temp_dir().join(format!("tripline-ballast-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert!(take(&Real, &folder));
        let metadata = std::fs::metadata(folder.join(FILE)).unwrap();
        assert!(metadata.blocks() * 512 >= metadata.len() && metadata.len() >= BYTES_MIN);
        assert!(let_go(&Real, &folder) && !let_go(&Real, &folder));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
