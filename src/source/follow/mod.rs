//! Files that are followed: what is appended to them is read, whatever becomes of their names.
//!
//! Polled, not notified. Notifications tell that something happened to a name; what we need to know is where the content
//! went, and that only looking tells. They also overflow, and do not exist on network file systems, so a look every now and
//! then is needed anyway. A look is one `stat` a file.
//!
//! A file is a [`Position`] and little else: an open line or document is held only while it is being read, and can be
//! dropped and read again. What is handed over carries its position, and both are committed together: after a crash reading
//! goes on exactly behind what was judged.
//!
//! Content is followed, not names. `scan` finds out where it went: renamed, copied and emptied, compressed, deleted.

mod bytes;
mod pattern;
mod position;
mod scan;
#[cfg(test)]
mod tests;

pub use pattern::{Pattern, PatternError};
pub use position::Position;

use crate::limits;
use crate::source::batch::LineBatch;
use crate::source::frame::Framer;
use crate::source::{SourceError, SourceSpec};
use bytes::{Bytes, Seen, Unfit, Zeros};
use memchr::memmem;
use position::{FileId, Print, Width, print, tail_len};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub const SPEC: SourceSpec = SourceSpec {
    name: "File",
    about: "Log files. With `follow: true` what is appended to them, through rotation, and files that come later; otherwise one file, \
            once, from beginning to end. gzip and zstd are unpacked.",
    example: r#"File(path: "/var/log/auth*.log", follow: true)"#,
};

/// Where reading begins in files that are there when a source is started for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum From {
    #[default]
    Start,
    End,
}

/// Whether a symbolic link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    Refused,
    Followed,
}

/// When a source is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Stopped,
    /// At the end of the file: it is not followed.
    End,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// By its place in the configuration.
    pub source: u16,
    pub pattern: Pattern,
    pub from: From,
    pub links: Links,
    pub until: Until,
    pub line_bytes_max: usize,
}

impl Settings {
    /// The log that a file belongs to. One that is read once has no other names.
    fn chain_of(&self, path: &Path) -> PathBuf {
        match self.until {
            Until::Stopped => pattern::chain(path),
            Until::End => path.to_path_buf(),
        }
    }
}

/// What a poll did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// There may be more: poll again at once.
    Busy,
    /// Poll again after [`POLL_EVERY`].
    Quiet,
}

/// How often followed files are looked at.
pub const POLL_EVERY: Duration = Duration::from_millis(250);
/// How often new files are looked for, in one folder or many.
const SCAN_EVERY: Duration = Duration::from_secs(1);
const SCAN_MANY_EVERY: Duration = Duration::from_secs(5);
/// Files that are looked at in every poll; of more, those that were quiet for [`HOT`] take turns.
const FILES_PER_POLL: usize = 500;
const HOT: Duration = Duration::from_secs(10);
/// How long a rotated file must be quiet for its last line to count although it has no end.
const SETTLED: Duration = Duration::from_secs(5);
/// How long a rotated file is kept open after its last line: its writer may not know yet.
const KEPT_OPEN: Duration = Duration::from_secs(60);
/// Bytes of one file before it is another's turn.
const SHARE_BYTES: usize = limits::BATCH_BYTES;
/// Bytes handed over by one poll.
const POLL_BYTES: usize = 4 * limits::BATCH_BYTES;
/// Zeros skipped by one poll: holes in files cost time, not attention.
const ZEROS_BYTES: u64 = 16 << 20;

/// Follows the files of one source.
pub struct Follower {
    settings: Settings,
    /// In order of their ids, so that older files of a log come before younger ones.
    files: Vec<Tracked>,
    next_id: u64,
    /// Nothing was known when it began.
    is_first: bool,
    scan_at: Option<Duration>,
    /// Something is not where it was.
    scan_now: bool,
    /// Where the last poll stopped.
    cursor: usize,
    read_some: bool,
    /// When folders were last changed.
    folders: HashMap<PathBuf, i128>,
    /// Logs of which something older must be read before the rest can be told.
    deferred: HashSet<PathBuf>,
    /// Copies of what is being read, by what they looked like when we saw it.
    copies: HashMap<FileId, Seen>,
    /// Files beside the pattern's that were copies of what nobody had read yet: should the original be emptied before it is
    /// read, theirs is the only content.
    awaited: HashSet<FileId>,
    /// Where the log was not there when we came: the rotated names of it that were. What comes beside them is its content.
    before_us: Option<HashSet<FileId>>,
    complaints: HashMap<PathBuf, Unfit>,
    said: Vec<SourceError>,
    forgotten: Vec<u64>,
    buffer: Vec<u8>,
}

/// A file, wherever it is now.
struct Tracked {
    position: Position,
    name: Arc<str>,
    path: PathBuf,
    /// The log it belongs to.
    chain: PathBuf,
    place: Place,
    bytes: Option<Bytes>,
    /// While a line or document is open. None: reading goes on at the position.
    framer: Option<Framer>,
    /// Bytes the framer has taken.
    read_to: u64,
    tail: Print,
    /// What it began with when it was found, by length and fingerprint: until something is read, the position has none.
    head: Option<(usize, Print)>,
    /// As it was when all of it was read.
    seen: Option<Seen>,
    at_end: bool,
    /// Its last line was taken for whole.
    finished: bool,
    zeros_to: u64,
    /// Its position was handed over at least once.
    is_said: bool,
    /// What stands beside it was looked at since it had content.
    is_searched: bool,
    changed: Duration,
    looked: Duration,
    /// The next older file of the same log, by its place in the list: it is read first.
    before: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At its path.
    Present,
    /// Rotated away; read through the open file.
    Away,
    /// Looked for in the next scan.
    Unplaced,
    /// Read to its end and closed.
    Done,
    /// Its content is nowhere to be found.
    Lost,
}

/// What reading a file came to.
enum Turn {
    Read,
    /// There is more, and it is not urgent.
    Later,
    End,
    /// Something else has taken its place, or its content.
    Changed,
    Unfit(Unfit),
}

impl Tracked {
    fn new(position: Position, chain: PathBuf, place: Place, now: Duration) -> Tracked {
        Tracked {
            chain,
            name: position.name.as_str().into(),
            path: position.path(),
            read_to: position.offset,
            tail: position.tail,
            place,
            bytes: None,
            framer: None,
            head: None,
            seen: None,
            at_end: false,
            finished: false,
            zeros_to: 0,
            is_said: false,
            is_searched: false,
            changed: now,
            looked: Duration::ZERO,
            before: None,
            position,
        }
    }

    /// Forgets what has begun and not ended: it is read again when the file no longer looks so.
    fn rewind(&mut self, seen: Option<Seen>) {
        self.framer = None;
        (self.read_to, self.tail) = (self.position.offset, self.position.tail);
        (self.at_end, self.seen) = (true, seen);
    }

    /// Its content is no longer in that file.
    fn lose(&mut self) {
        self.bytes = None;
        self.rewind(None);
        self.position.file = FileId::default();
        self.place = Place::Unplaced;
    }

    /// It was empty when we saw it first. What is in it now may be the second filling, and the first in a copy.
    fn needs_search(&self, seen: Seen) -> bool {
        let is_unread = self.place == Place::Present && self.position.is_untouched();
        let is_touched = !self.is_searched && (seen.len > 0 || seen.modified != self.position.modified);
        is_unread && (is_touched || seen.len < self.position.size)
    }

    /// There is more in it than was read.
    fn is_behind(&self) -> bool {
        let grew = || {
            let now = self.bytes.as_ref().and_then(|it| it.seen().ok());
            now.is_some() && self.seen.is_some() && now != self.seen
        };
        self.is_readable() && (!self.at_end || grew())
    }

    fn is_readable(&self) -> bool {
        matches!(self.place, Place::Present | Place::Away)
    }

    /// Takes bytes from the window, of which the first `context` were read before.
    fn push(&mut self, settings: &Settings, window: &[u8], context: usize, batch: &mut LineBatch) {
        let framer = self.framer.get_or_insert_with(|| self.position.framer(settings));
        framer.push(&window[context..], batch);
        let from = self.read_to;
        self.read_to += (window.len() - context) as u64;
        self.tail = print(&window[window.len() - tail_len(self.read_to)..]);
        self.position.climb(window, from - context as u64, from);
        let settled = framer.settled_number();
        let is_clean = framer.is_between_records();
        self.settle(settled, is_clean, batch);
    }

    /// Nothing more will come: what has begun is a line.
    fn finish(&mut self, settings: &Settings, window: &[u8], context: usize, batch: &mut LineBatch) {
        if window.len() > context {
            self.push(settings, window, context, batch);
        }
        if let Some(mut framer) = self.framer.take() {
            framer.finish(batch);
            self.settle(framer.settled_number(), true, batch);
        }
        self.finished = true;
    }

    fn settle(&mut self, settled: u64, is_clean: bool, batch: &mut LineBatch) {
        let position = &mut self.position;
        // Lines of a document that was read again.
        batch.forget_before(position.taken + 1);
        position.taken = position.taken.max(settled);
        if is_clean {
            (position.offset, position.lines, position.tail) = (self.read_to, settled, self.tail);
        }
        if self.read_to <= position.skip {
            batch.forget_before(u64::MAX);
        }
    }
}

impl Position {
    fn framer(&self, settings: &Settings) -> Framer {
        let framer = Framer::new(settings.source, settings.line_bytes_max).with_next_number(self.lines + 1);
        if self.offset == 0 {
            return framer;
        }
        match self.width {
            Width::Bytes => framer.within_text(),
            Width::PairsLittle | Width::PairsBig => {
                let mut framer = framer;
                framer.push(self.width.mark(), &mut LineBatch::default());
                framer
            }
        }
    }
}

impl Follower {
    /// `known`: what [`Follower::key`] says was committed, as key and value.
    pub fn new(settings: Settings, known: &[(String, Vec<u8>)]) -> Follower {
        let prefix = format!("{}\n", settings.pattern.text());
        let known: Vec<_> = known.iter().filter(|it| it.0.starts_with(&prefix)).collect();
        let mut positions: Vec<Position> = known.iter().filter_map(|it| Position::decode(&it.1)).collect();
        positions.sort_by_key(|it| it.id);
        let remembered = |it: Position| {
            let chain = settings.chain_of(&it.path());
            Tracked::new(it, chain, Place::Unplaced, Duration::ZERO)
        };
        Follower {
            next_id: positions.last().map_or(1, |it| it.id + 1),
            is_first: known.is_empty(),
            files: positions.into_iter().map(remembered).collect(),
            settings,
            scan_at: None,
            scan_now: false,
            cursor: 0,
            read_some: false,
            folders: HashMap::new(),
            deferred: HashSet::new(),
            copies: HashMap::new(),
            awaited: HashSet::new(),
            before_us: None,
            complaints: HashMap::new(),
            said: Vec::new(),
            forgotten: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Under what a file's position is committed.
    fn key(&self, id: u64) -> Arc<str> {
        format!("{}\n{id}", self.settings.pattern.text()).into()
    }

    /// Reads what there is to read, a fair share of each file. `now` only ever rises, from wherever it begins.
    pub fn poll(&mut self, now: Duration, out: &mut Vec<LineBatch>) -> Polled {
        if self.cursor == 0 && (self.scan_now || self.scan_at.is_none_or(|it| it <= now)) {
            self.scan(now);
        }
        let mut bytes = 0;
        while let Some(index) = (self.cursor < self.files.len()).then_some(self.cursor) {
            self.cursor += 1;
            if !self.is_due(index, now) {
                continue;
            }
            let mut batch = LineBatch::of(self.settings.source);
            let progress = |it: &Position| (it.offset, it.taken, it.done);
            let before = progress(&self.files[index].position);
            self.turn(index, now, &mut batch);
            let file = &mut self.files[index];
            // A file of which nothing was read is not said while something is looked for: it may not be what it was.
            let is_to_be_said = !file.is_said && !self.scan_now;
            if before != progress(&file.position) || !batch.is_empty() || is_to_be_said {
                file.is_said = true;
                batch.name = Arc::clone(&file.name);
                let (id, position) = (file.position.id, file.position.encode());
                batch.positions.push((self.key(id), Some(position)));
                bytes += batch.bytes();
                out.push(batch);
            }
            if bytes >= POLL_BYTES {
                return Polled::Busy;
            }
        }
        self.cursor = 0;
        // After what took their places: if only one of the two is committed, it is not this.
        self.say_forgotten(out);
        // What was waited for has been read: go on at once.
        let is_behind = |it: &Tracked| self.deferred.contains(&it.chain) && it.is_behind();
        self.scan_now |= !self.deferred.is_empty() && !self.files.iter().any(is_behind);
        match std::mem::take(&mut self.read_some) || self.scan_now {
            true => Polled::Busy,
            false => Polled::Quiet,
        }
    }

    /// Whether everything was read: never, if it is followed.
    pub fn is_over(&self) -> bool {
        let is_open = |it: &Tracked| it.is_readable() && !it.finished;
        self.settings.until == Until::End && self.scan_at.is_some() && !self.scan_now && !self.files.iter().any(is_open)
    }

    /// What somebody should know; each once.
    pub fn complaints(&mut self) -> Vec<SourceError> {
        std::mem::take(&mut self.said)
    }

    fn complain(&mut self, path: &Path, problem: Unfit) {
        if self.complaints.get(path) == Some(&problem) || self.complaints.len() >= limits::FILES_FOLLOWED_MAX {
            return;
        }
        let place = path.display().to_string();
        self.said.push(SourceError { place, problem: problem.why.clone(), advice: String::new() });
        self.complaints.insert(path.to_path_buf(), problem);
    }

    fn say_forgotten(&mut self, out: &mut Vec<LineBatch>) {
        if !self.forgotten.is_empty() {
            let mut batch = LineBatch::of(self.settings.source);
            batch.positions = self.forgotten.iter().map(|it| (self.key(*it), None)).collect();
            self.forgotten.clear();
            out.push(batch);
        }
    }

    fn is_due(&self, index: usize, now: Duration) -> bool {
        let file = &self.files[index];
        let turns = (self.files.len() / FILES_PER_POLL) as u32;
        let is_hot = !file.at_end || now.saturating_sub(file.changed) < HOT;
        let is_free = file.before.is_none_or(|it| self.files[it].at_end || !self.files[it].is_readable());
        file.is_readable() && is_free && (is_hot || now.saturating_sub(file.looked) >= POLL_EVERY * turns)
    }

    /// One look at one file, and its share of reading.
    fn turn(&mut self, index: usize, now: Duration, batch: &mut LineBatch) {
        let file = &mut self.files[index];
        file.looked = now;
        if file.place == Place::Away && file.bytes.is_none() {
            // Closed, because too many were open.
            file.place = Place::Unplaced;
            self.scan_now = true;
            return;
        }
        let seen = match file.place {
            Place::Present => bytes::look(&file.path, self.settings.links),
            _ => file.bytes.as_ref().map(Bytes::seen).transpose().map_err(|it| bytes::about(&it)),
        };
        let seen = match seen {
            Ok(Some(it)) if it.file == file.position.file => it,
            Ok(_) => {
                self.scan_now = true;
                return;
            }
            Err(unfit) => {
                file.at_end = true;
                // Something else may have taken its place; then its content is elsewhere.
                self.scan_now |= !self.complaints.contains_key(&file.path);
                let path = file.path.clone();
                return self.complain(&path, unfit);
            }
        };
        if file.seen == Some(seen) {
            return self.rest(index, now, batch);
        }
        if file.needs_search(seen) {
            self.scan_now = true;
            return;
        }
        let turn = self.read(index, seen, batch);
        if matches!(turn, Turn::Read | Turn::Later | Turn::End) {
            let position = &mut self.files[index].position;
            // Of an empty file nothing is known but when it was first seen: what is older than that was never ours.
            if position.offset > 0 {
                (position.modified, position.size) = (seen.modified, seen.len);
            }
        }
        match turn {
            Turn::Read => {
                self.read_some = true;
                let file = &mut self.files[index];
                (file.changed, file.at_end, file.finished) = (now, false, false);
            }
            Turn::Later => self.files[index].at_end = true,
            Turn::End => {
                self.let_go(index);
                let file = &mut self.files[index];
                if !file.at_end {
                    file.changed = now;
                }
                (file.at_end, file.seen) = (true, Some(seen));
                let path = file.path.clone();
                self.complaints.remove(&path);
                self.rest(index, now, batch);
            }
            Turn::Changed => {
                self.files[index].lose();
                self.copies.clear();
                self.scan_now = true;
            }
            Turn::Unfit(problem) => {
                let file = &mut self.files[index];
                // A damaged archive is tried again when it changes; what may not be opened, in every poll.
                file.seen = file.bytes.take().map(|_| seen);
                file.rewind(file.seen);
                let path = file.path.clone();
                self.complain(&path, problem);
            }
        }
    }

    /// Everything of a file was read. A last line without an end waits for it, unless nothing can come any more.
    fn rest(&mut self, index: usize, now: Duration, batch: &mut LineBatch) {
        let file = &mut self.files[index];
        let quiet = now.saturating_sub(file.changed);
        let is_last = match (self.settings.until, file.place) {
            (Until::End, _) => true,
            (Until::Stopped, Place::Away) => quiet >= SETTLED,
            (Until::Stopped, _) => file.position.packed,
        };
        if is_last && !file.finished {
            let at = file.read_to;
            let window = file.bytes.as_mut().map(|it| it.window(at, SHARE_BYTES, &mut self.buffer));
            match window {
                Some(Ok(())) if self.buffer.len() >= tail_len(at) => {
                    file.finish(&self.settings, &self.buffer, tail_len(at), batch);
                }
                _ => file.finished = true,
            }
            file.position.done = file.position.packed || self.settings.until == Until::End;
        }
        if file.finished && (file.position.done || quiet >= KEPT_OPEN) {
            file.bytes = None;
            file.place = if file.place == Place::Present && !file.position.done { Place::Present } else { Place::Done };
        }
    }

    fn read(&mut self, index: usize, seen: Seen, batch: &mut LineBatch) -> Turn {
        if let Err(unfit) = self.open(index) {
            return Turn::Unfit(unfit);
        }
        let file = &mut self.files[index];
        let Some(bytes) = &mut file.bytes else { return Turn::End };
        match bytes.seen() {
            Ok(it) if it.file == seen.file => (),
            // Renamed between looking and opening.
            Ok(_) => {
                file.bytes = None;
                self.scan_now = true;
                return Turn::Later;
            }
            Err(error) => return Turn::Unfit(bytes::about(&error)),
        }
        if file.position.packed != bytes.is_packed() && file.read_to > 0 {
            return Turn::Changed;
        }
        file.position.packed = bytes.is_packed();
        let (at, context) = (file.read_to, tail_len(file.read_to));
        let unwanted = file.position.skip.saturating_sub(at).min(SHARE_BYTES as u64) as usize;
        let most = if unwanted > 0 { unwanted } else { SHARE_BYTES };
        if let Err(error) = bytes.window(at, most, &mut self.buffer) {
            let rest = if bytes.is_packed() {
                "; what came before was read, and it is tried again when it changes"
            } else {
                ""
            };
            return Turn::Unfit(Unfit::new(format!("could not be read to its end: {error}{rest}")));
        }
        // What it holds instead is younger than what it held, which may be in a copy that is not known yet.
        let (known, expected) = if at == 0 { file.head.unwrap_or_default() } else { (context, file.tail) };
        if self.buffer.len() < known || (known > 0 && print(&self.buffer[..known]) != expected) {
            return Turn::Changed;
        }
        let fresh = &self.buffer[context..];
        if at == 0 {
            file.position.width = Width::of(fresh);
        }
        if file.framer.is_none() && file.position.width == Width::Bytes && fresh.first() == Some(&0) {
            return self.skip_zeros(index);
        }
        let mut len = file.position.width.whole_lines(fresh);
        if file.position.width == Width::Bytes
            && let Some(zeros) = memmem::find(&fresh[..len.max(1) - 1], b"\n\0")
        {
            len = zeros + 1;
        }
        match (len, fresh.len()) {
            (0, there) if there < most => return Turn::End,
            // The line that was being written when we came is wanted whole.
            (0, _) if unwanted > 0 && unwanted < SHARE_BYTES => file.position.skip = 0,
            // A line longer than a share.
            (0, there) => file.push(&self.settings, &self.buffer[..context + there], context, batch),
            (len, _) => file.push(&self.settings, &self.buffer[..context + len], context, batch),
        }
        Turn::Read
    }

    /// A log that is emptied under a writer who does not append begins with a hole, which reads as zeros; so does a file
    /// that was made larger in advance, whose zeros become lines. So zeros are passed only when something follows them.
    fn skip_zeros(&mut self, index: usize) -> Turn {
        let file = &mut self.files[index];
        let Some(bytes) = &mut file.bytes else { return Turn::End };
        let from = file.zeros_to.max(file.read_to);
        match bytes.after_zeros(from, ZEROS_BYTES, &mut self.buffer) {
            Err(error) => Turn::Unfit(bytes::about(&error)),
            Ok(Zeros::EndAt(at)) => {
                file.zeros_to = at;
                Turn::End
            }
            Ok(Zeros::More(at)) => {
                file.zeros_to = at;
                Turn::Later
            }
            Ok(Zeros::Until(at)) => match bytes.print_at(at, &mut self.buffer) {
                Ok(Some(tail)) => {
                    file.position.climb(&self.buffer, at - tail_len(at) as u64, file.read_to);
                    (file.read_to, file.tail) = (at, tail);
                    (file.position.offset, file.position.tail) = (at, tail);
                    Turn::Read
                }
                Ok(None) => Turn::Changed,
                Err(error) => Turn::Unfit(bytes::about(&error)),
            },
        }
    }

    /// Opens a file, closing the one that was quiet for longest if there are too many.
    fn open(&mut self, index: usize) -> Result<(), Unfit> {
        if self.files[index].bytes.is_some() {
            return Ok(());
        }
        let open: Vec<usize> = (0..self.files.len()).filter(|it| self.files[*it].bytes.is_some()).collect();
        if open.len() >= limits::FILES_OPEN_MAX {
            // What is away can only be read while it is open.
            let quiet = |it: &usize| (self.files[*it].place == Place::Away, self.files[*it].changed);
            if let Some(oldest) = open.into_iter().min_by_key(quiet) {
                self.files[oldest].bytes = None;
            }
        }
        let bytes = Bytes::open(&self.files[index].path, self.settings.links)?;
        self.files[index].bytes = Some(bytes);
        Ok(())
    }

    /// At the end of what there is: a framer with nothing open is not needed, and lines that have begun, over all files,
    /// have a maximum, above which this one is read again when there is more of it.
    fn let_go(&mut self, index: usize) {
        let held = |it: &Tracked| it.framer.as_ref().map_or(0, Framer::held_bytes);
        let is_too_much = self.files.iter().map(held).sum::<usize>() > limits::HELD_BYTES_MAX;
        let file = &mut self.files[index];
        match &file.framer {
            Some(it) if it.is_between_records() => file.framer = None,
            Some(_) if is_too_much => file.rewind(None),
            Some(_) | None => (),
        }
    }
}
