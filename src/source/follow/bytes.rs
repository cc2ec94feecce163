//! The bytes of a followed file: opened without being led astray, and read in windows.
//!
//! A window is what follows an offset, with the bytes before it: so every read also shows whether what was read before is
//! still there. Archives have no offsets to read at; they are unpacked forwards, and the last window is held.

use super::Links;
use super::position::{FileId, Print, TAIL_BYTES, print, tail_len};
use crate::source::archive;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The end of a sentence that begins with its name.
    pub why: String,
    /// There is something, and it is no file that can be followed.
    pub is_other: bool,
}

impl Unfit {
    pub fn new(why: impl Into<String>) -> Unfit {
        Unfit { why: why.into(), is_other: false }
    }
}

/// What is known of a file without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub file: FileId,
    pub len: u64,
    /// Microseconds.
    pub modified: i64,
}

impl Seen {
    pub fn of(metadata: &Metadata) -> Seen {
        let since = metadata.modified().ok().and_then(|it| it.duration_since(UNIX_EPOCH).ok());
        let modified = since.map_or(0, |it| i64::try_from(it.as_micros()).unwrap_or(i64::MAX));
        Seen { file: FileId::of(metadata), len: metadata.len(), modified }
    }
}

/// Looks at a path. `Ok(None)`: there is nothing; `Err`: there is something that is not followed.
pub fn look(path: &Path, links: Links) -> Result<Option<Seen>, Unfit> {
    let metadata = match links {
        Links::Refused => fs::symlink_metadata(path),
        Links::Followed => fs::metadata(path),
    };
    match metadata {
        Ok(it) => fit(&it).map(|()| Some(Seen::of(&it))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(about(&error)),
    }
}

/// Only regular files: a FIFO would keep us waiting, a device would never end, and a link leads where its owner likes.
fn fit(metadata: &Metadata) -> Result<(), Unfit> {
    let kind = metadata.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_symlink() => {
            "is a symbolic link, and whoever may write to its folder decides where it leads; \
             say `symlinks: true` if you trust them"
        }
        () if kind.is_dir() => "is a folder",
        () if kind.is_fifo() => "is a pipe; only regular files are followed",
        () if kind.is_socket() => "is a socket; only regular files are followed",
        () => "is a device; only regular files are followed",
    };
    Err(Unfit { why: what.into(), is_other: true })
}

pub fn about(error: &io::Error) -> Unfit {
    Unfit::new(match error.kind() {
        io::ErrorKind::PermissionDenied => "may not be read by this user; check its owner and mode".into(),
        _ => format!("cannot be read: {error}"),
    })
}

/// An open file.
pub enum Bytes {
    Plain(File),
    Packed(Packed),
}

/// An archive on its way through the unpacker.
pub struct Packed {
    file: File,
    reader: Box<dyn Read + Send>,
    /// The last bytes that were unpacked, and where they begin.
    held: Vec<u8>,
    start: u64,
    ended: bool,
}

impl Bytes {
    /// Opens what [`look`] saw, and nothing that took its place since. The result also says whether it is an archive.
    pub fn open(path: &Path, links: Links) -> Result<Bytes, Unfit> {
        let flags = match links {
            Links::Refused => libc::O_NOFOLLOW,
            Links::Followed => 0,
        };
        // Never wait: a pipe may have taken the file's place a moment ago.
        let file = OpenOptions::new().read(true).custom_flags(flags | libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
        let file = file.map_err(|it| about(&it))?;
        fit(&file.metadata().map_err(|it| about(&it))?)?;
        let mut first = [0; 16];
        let len = read_full_at(&file, &mut first, 0).map_err(|it| about(&it))?;
        if !archive::is_packed(&first[..len]) {
            return Ok(Bytes::Plain(file));
        }
        let again = file.try_clone().map_err(|it| about(&it))?;
        let reader =
            archive::unpacked(again).map_err(|it| about(&it))?.map_err(|what| Unfit::new(format!("is {what}")))?;
        Ok(Bytes::Packed(Packed { file, reader, held: Vec::new(), start: 0, ended: false }))
    }

    pub fn seen(&self) -> io::Result<Seen> {
        let (Bytes::Plain(file) | Bytes::Packed(Packed { file, .. })) = self;
        Ok(Seen::of(&file.metadata()?))
    }

    pub fn is_packed(&self) -> bool {
        matches!(self, Bytes::Packed(_))
    }

    /// Fills the buffer with the bytes before `at` that its fingerprint is of, and at most `most` that follow. Fewer bytes
    /// than the fingerprint needs: the file is shorter than `at`. Archives only go forwards.
    pub fn window(&mut self, at: u64, most: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Bytes::Plain(file) => {
                buffer.resize(tail_len(at) + most, 0);
                let len = read_full_at(file, buffer, at - tail_len(at) as u64)?;
                buffer.truncate(len);
                Ok(())
            }
            Bytes::Packed(it) => it.window(at, most, buffer),
        }
    }

    /// The fingerprint of what is before an offset; None if the file is shorter.
    pub fn print_at(&mut self, offset: u64, buffer: &mut Vec<u8>) -> io::Result<Option<Print>> {
        self.window(offset, 0, buffer)?;
        Ok((buffer.len() == tail_len(offset)).then(|| print(buffer)))
    }

    /// The first byte from `at` on that is not NUL, looking at `most` bytes: that byte's place, or where looking ended.
    pub fn after_zeros(&self, at: u64, most: u64, buffer: &mut Vec<u8>) -> io::Result<Zeros> {
        let Bytes::Plain(file) = self else { return Ok(Zeros::EndAt(at)) };
        let end = at.saturating_add(most);
        let mut at = at;
        buffer.resize(64 * TAIL_BYTES, 0);
        while at < end {
            let len = file.read_at(buffer, at)?;
            match buffer[..len].iter().position(|it| *it != 0) {
                Some(zeros) => return Ok(Zeros::Until(at + zeros as u64)),
                None if len == 0 => return Ok(Zeros::EndAt(at)),
                None => at += len as u64,
            }
        }
        Ok(Zeros::More(at))
    }
}

/// What comes after zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeros {
    Until(u64),
    /// Zeros up to here, and perhaps further.
    More(u64),
    EndAt(u64),
}

impl Packed {
    fn window(&mut self, at: u64, most: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let from = at - tail_len(at) as u64;
        if from < self.start {
            return Err(io::Error::other("an archive cannot be read backwards"));
        }
        let wanted = at + most as u64;
        let mut piece = vec![0; 16 << 10];
        loop {
            // What is no longer needed goes first, so that skipping holds nothing.
            let spent = (from - self.start).min(self.held.len() as u64) as usize;
            if spent >= piece.len() || self.held.len() > 4 * TAIL_BYTES {
                self.held.drain(..spent);
                self.start += spent as u64;
            }
            if self.ended || self.start + self.held.len() as u64 >= wanted {
                break;
            }
            match self.reader.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(len) => self.held.extend_from_slice(&piece[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        let skip = ((from - self.start) as usize).min(self.held.len());
        let len = (self.held.len() - skip).min(tail_len(at) + most);
        buffer.clear();
        buffer.extend_from_slice(&self.held[skip..skip + len]);
        Ok(())
    }
}

fn read_full_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read_at(&mut buffer[len..], at + len as u64) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
