//! How far a file was read, and how it is known again.
//!
//! An inode says which file it is until the file is deleted; then the number is given to another. A name says what the file
//! is called today. Neither says what is in it: a log can be emptied and filled again under the same inode. So a position
//! carries fingerprints of what was read, and a file is believed to be the same only while the bytes before the position
//! are. Fingerprints are of the last 4 KiB before an offset: bounded, whatever the file's size, and different wherever
//! lines carry times.

use crate::limits;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The bytes before an offset that identify what was read up to it.
pub const TAIL_BYTES: usize = limits::FINGERPRINT_BYTES;
/// The first offset of the ladder.
const RUNG_MIN: u64 = 16;

/// A file as the system knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
    /// When it was made, in nanoseconds; 0 where the file system does not say. It tells a reused inode from the old one.
    pub born: i64,
}

impl FileId {
    pub fn of(metadata: &Metadata) -> FileId {
        let born = metadata.created().ok().and_then(|it| it.duration_since(UNIX_EPOCH).ok());
        let born = born.map_or(0, |it| i64::try_from(it.as_nanos()).unwrap_or(0));
        FileId { device: metadata.dev(), inode: metadata.ino(), born }
    }

    /// The same file after a restart of the machine, when devices may have other numbers.
    pub fn is_same_inode(&self, other: &FileId) -> bool {
        self.inode == other.inode && self.born == other.born && (self.device == other.device || self.born != 0)
    }
}

/// The fingerprint of at most [`TAIL_BYTES`].
pub type Print = [u8; 16];

/// A cryptographic sum, because whoever writes the log would otherwise choose bytes with the sum of others.
pub fn print(bytes: &[u8]) -> Print {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut out = Print::default();
    out.copy_from_slice(&digest.as_ref()[..size_of::<Print>()]);
    out
}

/// How many bytes before an offset its fingerprint is of.
pub fn tail_len(offset: u64) -> usize {
    offset.min(TAIL_BYTES as u64) as usize
}

/// How far one file was read: what is committed with its lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Rises with every file of its source; orders the files of one log.
    pub id: u64,
    /// What evidence calls it: its path when it was found.
    pub name: String,
    path: Vec<u8>,
    pub file: FileId,
    /// gzip or zstd; offsets are of what is in it.
    pub packed: bool,
    /// Where reading begins again: always the beginning of a line, and never inside a document of several lines.
    pub offset: u64,
    /// Lines before the offset.
    pub lines: u64,
    /// The last line that was handed over. More than `lines` while a document is open.
    pub taken: u64,
    /// Of the bytes before the offset.
    pub tail: Print,
    /// Of the bytes before 16, 32, 64, …: what a shorter copy is known by.
    ladder: Vec<Print>,
    /// Lines that end before this are not wanted: the file was there before we were.
    pub skip: u64,
    /// When it was last changed, as far as we know; microseconds.
    pub modified: i64,
    /// Its length on disk then.
    pub size: u64,
    /// Nothing more is expected: an archive that was read to its end, or a file that is not followed.
    pub done: bool,
    /// How it writes characters, as its first bytes say.
    pub width: Width,
}

/// Whether a line feed is one byte or a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Width {
    #[default]
    Bytes,
    PairsLittle,
    PairsBig,
}

impl Width {
    pub fn of(first: &[u8]) -> Width {
        match first {
            [0xff, 0xfe, ..] => Width::PairsLittle,
            [0xfe, 0xff, ..] => Width::PairsBig,
            _ => Width::Bytes,
        }
    }

    /// What a file of this kind begins with, so that a reader in its middle reads on in kind.
    pub fn mark(self) -> &'static [u8] {
        match self {
            Width::Bytes => b"",
            Width::PairsLittle => b"\xff\xfe",
            Width::PairsBig => b"\xfe\xff",
        }
    }

    /// How many of these bytes are whole lines. They begin at the beginning of a character.
    pub fn whole_lines(self, bytes: &[u8]) -> usize {
        let feed: [u8; 2] = match self {
            Width::Bytes => return memchr::memrchr(b'\n', bytes).map_or(0, |it| it + 1),
            Width::PairsLittle => [b'\n', 0],
            Width::PairsBig => [0, b'\n'],
        };
        let (pairs, _) = bytes.as_chunks::<2>();
        pairs.iter().rposition(|it| *it == feed).map_or(0, |it| (it + 1) * 2)
    }
}

impl Position {
    /// A file of which nothing was read.
    pub fn new(id: u64, path: &Path, file: FileId) -> Position {
        let name = path.display().to_string();
        Position { id, name, path: path.as_os_str().as_bytes().to_vec(), file, ..Position::default() }
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.path))
    }

    pub fn set_path(&mut self, path: &Path) {
        self.path = path.to_path_buf().into_os_string().into_vec();
    }

    /// Nothing was ever read of it.
    pub fn is_untouched(&self) -> bool {
        self.offset == 0 && self.taken == 0
    }

    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("positions are plain data, and memory for them is there")
    }

    pub fn decode(bytes: &[u8]) -> Option<Position> {
        postcard::from_bytes(bytes).ok()
    }

    /// Notes the rungs that lie in a window of the file. `window` begins at `start`, and what is before `from` was noted.
    pub fn climb(&mut self, window: &[u8], start: u64, from: u64) {
        let end = start + window.len() as u64;
        let mut rung = RUNG_MIN << self.ladder.len().min(48);
        while rung <= end && (rung > from || rung - tail_len(rung) as u64 >= start) && rung > start {
            let (to, len) = ((rung - start) as usize, tail_len(rung));
            if to < len {
                return;
            }
            self.ladder.push(print(&window[to - len..to]));
            rung <<= 1;
        }
    }

    /// The largest offset up to `len` at which the content is known besides the position itself.
    pub fn rung_below(&self, len: u64) -> Option<(u64, Print)> {
        let fits = |it: &(u64, Print)| it.0 <= len;
        self.ladder.iter().enumerate().map(|(index, it)| (RUNG_MIN << index, *it)).take_while(fits).last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_encoding() {
        let mut position = Position::new(7, Path::new("/var/log/a.log"), FileId { device: 1, inode: 2, born: 3 });
        position.climb(&[b'x'; 100], 0, 0);
        assert_eq!(Position::decode(&position.encode()), Some(position.clone()));
        assert_eq!(Position::decode(b"nonsense"), None);
        assert_eq!(position.path(), Path::new("/var/log/a.log"));
    }

    #[test]
    fn the_ladder_is_the_same_however_it_was_climbed() {
        let text: Vec<u8> = (0..40_000u32).flat_map(|it| it.to_le_bytes()).collect();
        let mut whole = Position::default();
        whole.climb(&text, 0, 0);
        for step in [1_000, 5_000, 70_000] {
            let mut pieces = Position::default();
            let mut from = 0;
            while from < text.len() {
                let to = (from + step).min(text.len());
                let start = from.saturating_sub(TAIL_BYTES);
                pieces.climb(&text[start..to], start as u64, from as u64);
                from = to;
            }
            assert_eq!(pieces, whole, "{step}");
        }
        assert_eq!(whole.rung_below(15), None);
        assert_eq!(whole.rung_below(100_000), Some((65_536, print(&text[65_536 - TAIL_BYTES..65_536]))));
    }
}
