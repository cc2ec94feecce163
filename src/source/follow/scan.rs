//! Where the content went.
//!
//! Between two looks a log may have been renamed, copied and emptied, compressed and deleted, several times. So a scan does
//! not ask what happened; it takes what is there now — the files that fit the pattern, and, where something is amiss, the
//! rotated names beside them — and finds for each whether its content is known:
//!
//! 1. by inode, if the bytes before the position are what they were;
//! 2. by content: an archive or copy that continues what was lost is read from where we were;
//! 3. a copy of what is still being read is left alone until the original is gone;
//! 4. what is left is new, and read from its beginning. Of files that only stand beside the pattern's, those that are
//!    younger than everything we know of that log: they came and were rotated away while we did not look.

use super::bytes::{self, Bytes, Seen, Unfit};
use super::pattern::{by_age, chain, folder, is_rotated};
use super::position::{FileId, Print, TAIL_BYTES, print, tail_len};
use super::{
    FILES_PER_POLL, Follower, From, POLL_EVERY, Place, Position, SCAN_EVERY, SCAN_MANY_EVERY, Settings, Tracked, Until,
};
use crate::limits;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The least that a moved file must have in common with what is known to be taken for it.
const MOVED_BYTES_MIN: u64 = 256;

/// A file that is there.
struct Spot {
    path: PathBuf,
    chain: PathBuf,
    seen: Seen,
    /// It fits the pattern; otherwise it stands beside one that does.
    is_listed: bool,
}

/// What is known of a file's content.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    New,
    /// Of a file that is tracked, by its place in the list.
    Continues(usize),
    /// Of what is being read, or was.
    Copy,
    /// It cannot be told yet: an archive that is still being written.
    Unclear,
}

impl Follower {
    pub(super) fn scan(&mut self, now: Duration) {
        self.scan_now = false;
        let every = if self.files.len() > 2 * FILES_PER_POLL { SCAN_MANY_EVERY } else { SCAN_EVERY };
        self.scan_at = Some(now + every);
        let listed = self.listed();
        let newest = self.newest_by_chain();
        let mut troubled = std::mem::take(&mut self.deferred);
        troubled.extend(self.forget_the_empty(&listed));
        troubled.extend(self.unplace_what_moved(&listed, now));
        troubled.extend(self.newcomers(&listed, &newest));
        troubled.extend(self.in_changed_folders());
        troubled.extend(self.not_there_yet(&listed));
        let mut spots = self.to_be_placed(listed, &troubled);
        spots.sort_by(|a, b| {
            a.chain.cmp(&b.chain).then_with(|| by_age((&a.path, a.seen.modified), (&b.path, b.seen.modified)))
        });
        self.forget_the_moved_empty(&spots);
        let mut youngest_known: HashMap<PathBuf, usize> = HashMap::new();
        let mut unknown = Vec::new();
        for (index, spot) in spots.iter().enumerate() {
            match self.place_by_inode(spot, now) {
                None => unknown.push(index),
                // Of an empty one nothing is known.
                Some(0) => {}
                Some(_) => drop(youngest_known.insert(spot.chain.clone(), index)),
            }
        }
        // What we have open must be read before anything can be told from it; younger files wait for older ones anyway.
        let behind: HashSet<PathBuf> =
            self.files.iter().filter(|it| it.is_behind()).map(|it| it.chain.clone()).collect();
        self.deferred.extend(unknown.iter().map(|it| spots[*it].chain.clone()).filter(|it| behind.contains(it)));
        if !self.deferred.is_empty() {
            self.scan_at = Some(now + POLL_EVERY);
        }
        unknown.retain(|it| !behind.contains(&spots[*it].chain));
        unknown.retain(|index| {
            let spot = &spots[*index];
            match self.recognise(spot) {
                Content::New => true,
                Content::Unclear => false,
                Content::Copy => {
                    self.awaited.remove(&spot.seen.file);
                    self.copies.insert(spot.seen.file, spot.seen);
                    youngest_known.insert(spot.chain.clone(), *index);
                    false
                }
                Content::Continues(file) => {
                    self.awaited.remove(&spot.seen.file);
                    self.move_to(file, spot, now);
                    youngest_known.insert(spot.chain.clone(), *index);
                    false
                }
            }
        });
        for &index in &unknown {
            let spot = &spots[index];
            let is_younger = youngest_known.get(&spot.chain).is_none_or(|it| *it < index);
            let came = newest.is_empty() && self.before_us.as_ref().is_some_and(|it| !it.contains(&spot.seen.file));
            let is_news = came || is_news(spot, newest.get(&spot.chain));
            let is_new = is_younger && is_news || self.awaited.contains(&spot.seen.file);
            if !spot.is_listed && !is_new {
                continue;
            }
            // Copied before we ever saw the original: it will be known when the original was read.
            if unknown.iter().any(|it| *it > index && self.is_copy_of(spot, &spots[*it])) {
                self.awaited.insert(spot.seen.file);
                continue;
            }
            self.awaited.remove(&spot.seen.file);
            self.begin(spot, now);
        }
        self.await_originals(&spots, now);
        self.give_up_lost();
        self.is_first = false;
        self.put_in_order();
    }

    /// Copies of what nobody has read yet are looked at again when the original was read.
    fn await_originals(&mut self, spots: &[Spot], now: Duration) {
        self.awaited.retain(|it| spots.iter().any(|spot| spot.seen.file == *it));
        let awaited = spots.iter().filter(|it| self.awaited.contains(&it.seen.file));
        self.deferred.extend(awaited.map(|it| it.chain.clone()));
        if !self.awaited.is_empty() {
            self.scan_at = Some(now + POLL_EVERY);
        }
    }

    /// The files that fit the pattern.
    fn listed(&mut self) -> Vec<Spot> {
        let mut failed = Vec::new();
        let mut paths = self.settings.pattern.expand(limits::FILES_FOLLOWED_MAX, &mut failed);
        let pattern = PathBuf::from(self.settings.pattern.text());
        for (folder, error) in failed {
            self.complain(&folder, bytes::about(&error));
        }
        if paths.len() > limits::FILES_FOLLOWED_MAX {
            paths.truncate(limits::FILES_FOLLOWED_MAX);
            let many = format!("means more than {} files; the rest is not read", limits::FILES_FOLLOWED_MAX);
            self.complain(&pattern, Unfit::new(many));
        }
        let mut spots = Vec::with_capacity(paths.len());
        for path in paths {
            match bytes::look(&path, self.settings.links) {
                Ok(Some(seen)) => {
                    spots.push(Spot { chain: self.settings.chain_of(&path), path, seen, is_listed: true })
                }
                Ok(None) => (),
                // A pattern may well mean folders, too.
                Err(it) if it.is_other && path.is_dir() && !self.settings.pattern.is_literal() => (),
                Err(unfit) => self.complain(&path, unfit),
            }
        }
        if spots.is_empty() && !self.complaints.contains_key(&pattern) {
            self.complain(&pattern, Unfit::new("is not there yet; it is read when it comes"));
        }
        spots
    }

    /// Files that were empty until now are new: nothing was read of them, and what stands beside them may be older.
    fn forget_the_empty(&mut self, listed: &[Spot]) -> HashSet<PathBuf> {
        if self.settings.until == Until::End {
            return HashSet::new();
        }
        let there: HashMap<FileId, Seen> = listed.iter().map(|it| (it.seen.file, it.seen)).collect();
        let is_it = |it: &Tracked| there.get(&it.position.file).is_some_and(|seen| it.needs_search(*seen));
        let gone: Vec<u64> = self.files.iter().filter(|it| is_it(it)).map(|it| it.position.id).collect();
        let troubled = self.files.iter().filter(|it| is_it(it)).map(|it| it.chain.clone()).collect();
        self.files.retain(|it| !is_it(it));
        self.forgotten.extend(gone);
        troubled
    }

    /// The same for those that were renamed since. One that is still empty stays: it is all we know of its log.
    fn forget_the_moved_empty(&mut self, spots: &[Spot]) {
        let is_empty = |it: &Tracked| it.position.is_untouched() && !it.is_searched && it.place != Place::Present;
        let is_at = |it: &Tracked, spot: &Spot| spot.seen.file == it.position.file && spot.seen.len > 0;
        let is_it = |it: &Tracked| is_empty(it) && spots.iter().any(|spot| is_at(it, spot));
        self.forgotten.extend(self.files.iter().filter(|it| is_it(it)).map(|it| it.position.id));
        self.files.retain(|it| !is_it(it));
    }

    /// Logs we know of which there is a file that we do not know.
    fn newcomers(&self, listed: &[Spot], known: &HashMap<PathBuf, i64>) -> HashSet<PathBuf> {
        let files: HashSet<FileId> = self.files.iter().map(|it| it.position.file).collect();
        let is_new = |it: &&Spot| known.contains_key(&it.chain) && !files.contains(&it.seen.file);
        listed.iter().filter(is_new).map(|it| it.chain.clone()).collect()
    }

    /// Logs in whose folders a name came, went or changed since the last scan.
    fn in_changed_folders(&mut self) -> HashSet<PathBuf> {
        if self.settings.until == Until::End {
            return HashSet::new();
        }
        let mut changed: HashMap<PathBuf, bool> = HashMap::new();
        let mut troubled = HashSet::new();
        for file in &self.files {
            let folder = folder(&file.chain);
            let is_changed = *changed.entry(folder).or_insert_with_key(|folder| {
                let now =
                    fs::metadata(folder).map_or(0, |it| i128::from(it.mtime()) << 32 | i128::from(it.mtime_nsec()));
                self.folders.insert(folder.clone(), now) != Some(now)
            });
            if is_changed {
                troubled.insert(file.chain.clone());
            }
        }
        troubled
    }

    /// A log of one name that was not there when we came, and of which nothing is known yet: it may come and be rotated away
    /// between two looks.
    fn not_there_yet(&mut self, listed: &[Spot]) -> Option<PathBuf> {
        let Settings { pattern, until, links, .. } = &self.settings;
        if !self.files.is_empty() || *until == Until::End || !pattern.is_literal() {
            return None;
        }
        let log = PathBuf::from(pattern.text());
        if self.before_us.is_none() && listed.is_empty() {
            let beside = fs::read_dir(folder(&log)).into_iter().flatten().flatten().map(|it| it.path());
            let beside = beside.filter(|it| chain(it).file_name() == log.file_name());
            self.before_us = Some(beside.filter_map(|it| Some(bytes::look(&it, *links).ok()??.file)).collect());
            return None;
        }
        self.before_us.is_some().then_some(log)
    }

    /// Files that are no longer at their paths are read through what we have open, or looked for. The result is the logs
    /// of which content is missing or was moved.
    fn unplace_what_moved(&mut self, listed: &[Spot], now: Duration) -> HashSet<PathBuf> {
        let at: HashMap<&Path, FileId> = listed.iter().map(|it| (it.path.as_path(), it.seen.file)).collect();
        let mut troubled = HashSet::new();
        for file in &mut self.files {
            if file.place == Place::Present {
                let there = match at.get(file.path.as_path()) {
                    Some(it) => Some(*it),
                    None => match bytes::look(&file.path, self.settings.links) {
                        Ok(it) => it.map(|it| it.file),
                        Err(unfit) if unfit.is_other => None,
                        // Who may not look cannot tell.
                        Err(_) => continue,
                    },
                };
                if there == Some(file.position.file) {
                    continue;
                }
                file.changed = now;
                file.at_end &= file.bytes.is_none();
                file.seen = None;
                file.place = if file.bytes.is_some() { Place::Away } else { Place::Unplaced };
                self.copies.clear();
                troubled.insert(file.chain.clone());
            } else if file.place == Place::Unplaced {
                troubled.insert(file.chain.clone());
            }
        }
        troubled
    }

    /// What is listed and not where it was; and everything of the troubled logs.
    fn to_be_placed(&self, listed: Vec<Spot>, troubled: &HashSet<PathBuf>) -> Vec<Spot> {
        let present: HashMap<&Path, FileId> = self
            .files
            .iter()
            .filter(|it| it.place == Place::Present)
            .map(|it| (it.path.as_path(), it.position.file))
            .collect();
        let mut spots: Vec<Spot> = listed;
        if self.settings.until == Until::Stopped {
            let names: HashSet<PathBuf> = spots.iter().map(|it| it.path.clone()).collect();
            let folders: HashSet<PathBuf> = troubled.iter().map(|it| folder(it)).collect();
            for entry in folders.iter().filter_map(|it| fs::read_dir(it).ok()).flatten().flatten() {
                // As the pattern would write it: without `./` where it has none.
                let bare = troubled.iter().any(|it| it.parent().is_some_and(|it| it.as_os_str().is_empty()));
                let path = if bare { PathBuf::from(entry.file_name()) } else { entry.path() };
                let of = chain(&path);
                if !troubled.contains(&of) || names.contains(&path) {
                    continue;
                }
                if let Ok(Some(seen)) = bytes::look(&path, self.settings.links) {
                    spots.push(Spot { path, chain: of, seen, is_listed: false });
                }
            }
        }
        spots.retain(|it| troubled.contains(&it.chain) || present.get(it.path.as_path()) != Some(&it.seen.file));
        spots
    }

    /// When the newest that is known of each log was changed.
    fn newest_by_chain(&self) -> HashMap<PathBuf, i64> {
        let mut newest = HashMap::new();
        for file in &self.files {
            let known = newest.entry(file.chain.clone()).or_insert(i64::MIN);
            *known = file.position.modified.max(*known);
        }
        newest
    }

    /// If a tracked file is at this spot: takes note of it, and says how far it was read. One whose content is no longer there is lost. Several may
    /// have been there, one after the other: what was written last is asked first.
    fn place_by_inode(&mut self, spot: &Spot, now: Duration) -> Option<u64> {
        let exact = |it: &&Tracked| it.position.file == spot.seen.file;
        let mut ids: Vec<u64> = self.files.iter().rev().filter(exact).map(|it| it.position.id).collect();
        if ids.is_empty() {
            ids.extend(self.renumbered(spot));
        }
        for id in ids {
            let index = self.index_of(id);
            let (place, offset) = (self.files[index].place, self.files[index].position.offset);
            match place {
                // A second name of it.
                Place::Present => return Some(offset),
                Place::Away => {}
                // When it cannot be read, it is known by its inode as well as can be.
                Place::Unplaced | Place::Done | Place::Lost if self.verify(index, spot) == Ok(false) => {
                    self.files[index].lose();
                    continue;
                }
                Place::Unplaced | Place::Done | Place::Lost => {}
            }
            let file = &mut self.files[index];
            if file.place != Place::Done || spot.is_listed || spot.seen.len > file.position.offset {
                self.move_to(index, spot, now);
            }
            return Some(offset);
        }
        None
    }

    /// A file of the last run whose device has another number now.
    fn renumbered(&self, spot: &Spot) -> Option<u64> {
        let is_it = |it: &&Tracked| {
            it.place == Place::Unplaced && it.path == spot.path && it.position.file.is_same_inode(&spot.seen.file)
        };
        self.files.iter().find(is_it).map(|it| it.position.id)
    }

    fn index_of(&self, id: u64) -> usize {
        self.files.partition_point(|it| it.position.id < id)
    }

    /// Whether what was read of a file is what stands there now.
    fn verify(&mut self, index: usize, spot: &Spot) -> Result<bool, Unfit> {
        let position = &self.files[index].position;
        let offset = position.offset;
        if offset == 0 {
            return Ok(true);
        }
        if position.packed {
            // Unpacking an archive only to see that it did not change would take long; it is seen when it is read.
            return Ok(!position.done || (position.size, position.modified) == (spot.seen.len, spot.seen.modified));
        }
        let tail = position.tail;
        let mut bytes = Bytes::open(&spot.path, self.settings.links)?;
        if bytes.is_packed() || spot.seen.len < offset {
            return Ok(false);
        }
        Ok(bytes.print_at(offset, &mut self.buffer).map_err(|it| bytes::about(&it))? == Some(tail))
    }

    /// A tracked file's content is at this spot from now on.
    fn move_to(&mut self, index: usize, spot: &Spot, now: Duration) {
        let was = self.files[index].place;
        let file = &mut self.files[index];
        file.path.clone_from(&spot.path);
        file.chain.clone_from(&spot.chain);
        file.position.set_path(&spot.path);
        if was == Place::Away && file.position.file == spot.seen.file {
            // Renamed under our hands.
            file.place = if spot.is_listed { Place::Present } else { Place::Away };
            return;
        }
        if file.position.file != spot.seen.file {
            file.bytes = None;
            file.rewind(None);
            file.position.file = spot.seen.file;
        }
        let is_as_it_was = (spot.seen.len, spot.seen.modified) == (file.position.size, file.position.modified);
        if matches!(was, Place::Done | Place::Unplaced) && file.position.done && is_as_it_was {
            file.place = Place::Done;
            return;
        }
        file.position.done = false;
        (file.at_end, file.seen, file.finished, file.changed) = (false, None, false, now);
        file.place = if spot.is_listed { Place::Present } else { Place::Away };
        if self.open(index).is_err() && !spot.is_listed {
            self.files[index].place = Place::Unplaced;
        }
        let file = &mut self.files[index];
        file.position.packed = file.bytes.as_ref().map_or(file.position.packed, Bytes::is_packed);
    }

    fn recognise(&mut self, spot: &Spot) -> Content {
        if self.copies.get(&spot.seen.file) == Some(&spot.seen) {
            return Content::Copy;
        }
        let may_be_copy = is_rotated(&spot.path) && self.settings.until == Until::Stopped;
        if spot.seen.len == 0 {
            return if may_be_copy { Content::Unclear } else { Content::New };
        }
        let of_chain = |it: &Tracked| {
            it.chain == spot.chain
                && it.position.offset >= if may_be_copy { 1 } else { MOVED_BYTES_MIN }
                && (may_be_copy || !it.is_readable())
        };
        let mut known: Vec<usize> = (0..self.files.len()).filter(|it| of_chain(&self.files[*it])).collect();
        if known.is_empty() {
            return Content::New;
        }
        // The furthest first: what it continues is what was read the most of.
        known.sort_by_key(|it| std::cmp::Reverse(self.files[*it].position.offset));
        let found = match Bytes::open(&spot.path, self.settings.links) {
            Ok(mut it) if it.is_packed() => self.compare_packed(&mut it, &known),
            Ok(mut it) => self.compare(&mut it, spot.seen.len, &known),
            // Reading will say what is wrong with it.
            Err(_) => Ok(Content::New),
        };
        match found {
            Ok(Content::Copy) if !may_be_copy => Content::New,
            Ok(it) => it,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Content::Unclear,
            Err(_) => Content::New,
        }
    }

    fn compare(&mut self, bytes: &mut Bytes, len: u64, known: &[usize]) -> io::Result<Content> {
        for &index in known {
            let position = &self.files[index].position;
            let (offset, tail, rung) = (position.offset, position.tail, position.rung_below(len));
            if self.is_still_there(index) {
                if self.begins_like(bytes, len, index)? {
                    return Ok(Content::Copy);
                }
            } else if len >= offset {
                if bytes.print_at(offset, &mut self.buffer)? == Some(tail) {
                    return Ok(Content::Continues(index));
                }
            } else if let Some((rung, tail)) = rung
                && bytes.print_at(rung, &mut self.buffer)? == Some(tail)
            {
                return Ok(Content::Copy);
            }
        }
        Ok(Content::New)
    }

    /// Whether a file that is being read is what it was. If it is not, its content is elsewhere.
    fn is_still_there(&mut self, index: usize) -> bool {
        let file = &mut self.files[index];
        if !file.is_readable() {
            return false;
        }
        let (offset, tail) = (file.position.offset, file.position.tail);
        if file.position.packed {
            return true;
        }
        if self.open(index).is_err() {
            return false;
        }
        let file = &mut self.files[index];
        let now = file.bytes.as_mut().map(|it| it.print_at(offset, &mut self.buffer));
        let is_same = matches!(now, Some(Ok(Some(it))) if it == tail);
        if !is_same {
            file.lose();
            self.scan_now = true;
        }
        is_same
    }

    /// Whether a file is the beginning of one that is being read, or all of it.
    fn begins_like(&mut self, bytes: &mut Bytes, len: u64, index: usize) -> io::Result<bool> {
        match &mut self.files[index].bytes {
            Some(original) => is_beginning(bytes, len, original, &mut self.buffer),
            None => Ok(false),
        }
    }

    /// Whether a rotated name holds what the log itself holds, or its beginning.
    fn is_copy_of(&mut self, copy: &Spot, original: &Spot) -> bool {
        let may_be = copy.chain == original.chain && is_rotated(&copy.path) && copy.seen.len > 0;
        if !may_be || is_rotated(&original.path) || copy.seen.len > original.seen.len {
            return false;
        }
        let open = |it: &Spot| Bytes::open(&it.path, self.settings.links);
        match (open(copy), open(original)) {
            (Ok(mut a), Ok(mut b)) if !a.is_packed() => {
                is_beginning(&mut a, copy.seen.len, &mut b, &mut self.buffer).unwrap_or(false)
            }
            _ => false,
        }
    }

    /// The same for an archive, which is unpacked once, no further than we ever read.
    fn compare_packed(&mut self, bytes: &mut Bytes, known: &[usize]) -> io::Result<Content> {
        let furthest = self.files[known[0]].position.offset;
        let mut marks: Vec<u64> = known.iter().map(|it| self.files[*it].position.offset).collect();
        marks.extend((4..u64::BITS).map(|it| 1 << it).take_while(|it| *it < furthest));
        marks.sort_unstable();
        let (mut prints, mut len) = (HashMap::new(), 0);
        for mark in marks {
            bytes.window(mark, 1, &mut self.buffer)?;
            if self.buffer.len() < tail_len(mark) {
                break;
            }
            len = mark + (self.buffer.len() - tail_len(mark)) as u64;
            prints.insert(mark, print(&self.buffer[..tail_len(mark)]));
        }
        for &index in known {
            let Position { offset, tail, .. } = &self.files[index].position;
            if prints.get(offset) == Some(tail) {
                if !self.is_still_there(index) {
                    return Ok(Content::Continues(index));
                }
                // A copy is not longer than what it is a copy of.
                let original = self.files[index].bytes.as_ref().map_or(Ok(0), |it| it.seen().map(|it| it.len))?;
                bytes.window(original, 1, &mut self.buffer)?;
                if self.buffer.len() <= tail_len(original) {
                    return Ok(Content::Copy);
                }
            } else if len < *offset
                && let Some((rung, tail)) = self.files[index].position.rung_below(len)
                && prints.get(&rung) == Some(&tail)
            {
                return Ok(Content::Copy);
            }
        }
        Ok(Content::New)
    }

    /// A file of which nothing is known.
    fn begin(&mut self, spot: &Spot, now: Duration) {
        if self.files.len() >= limits::FILES_FOLLOWED_MAX + limits::FILES_GONE_MAX {
            return;
        }
        let mut position = Position::new(self.next_id, &spot.path, spot.seen.file);
        self.next_id += 1;
        if !spot.is_listed {
            let log = self.files.iter().rev().find(|it| it.chain == spot.chain);
            position.name = log.map_or_else(|| spot.chain.display().to_string(), |it| it.name.to_string());
        }
        (position.modified, position.size) = (spot.seen.modified, spot.seen.len);
        if self.is_first && self.settings.from == From::End {
            position.skip = if is_archive(&spot.path, self) { u64::MAX } else { spot.seen.len };
        }
        self.files.push(Tracked::new(position, spot.chain.clone(), Place::Present, now));
        let index = self.files.len() - 1;
        self.files[index].is_searched = spot.seen.len > 0 || self.settings.until == Until::End;
        self.files[index].head = self.head(spot);
        if !spot.is_listed {
            self.files[index].place = Place::Away;
            if self.open(index).is_err() {
                self.files.pop();
            }
        }
    }

    /// What a file begins with, without the zeros that may yet become lines. Of an archive, and of what says that it is
    /// empty, it is not told.
    fn head(&mut self, spot: &Spot) -> Option<(usize, Print)> {
        let mut bytes = Bytes::open(&spot.path, self.settings.links).ok()?;
        if bytes.is_packed() || spot.seen.len == 0 {
            return None;
        }
        bytes.window(0, TAIL_BYTES, &mut self.buffer).ok()?;
        let len = self.buffer.iter().rposition(|it| *it != 0)? + 1;
        Some((len, print(&self.buffer[..len])))
    }

    /// What was looked for and not found. Its position is kept for a while, for its content may turn up.
    fn give_up_lost(&mut self) {
        for index in 0..self.files.len() {
            let file = &mut self.files[index];
            if file.place == Place::Unplaced {
                file.place = Place::Lost;
            }
        }
        let gone = |it: &Tracked| matches!(it.place, Place::Lost | Place::Done);
        let mut of_log: HashMap<PathBuf, usize> = HashMap::new();
        let mut all = 0;
        let mut dropped = HashSet::new();
        for file in self.files.iter().rev().filter(|it| gone(it)) {
            let number = of_log.entry(file.chain.clone()).or_default();
            *number += 1;
            all += 1;
            if *number > limits::FILES_GONE_OF_ONE_LOG_MAX || all > limits::FILES_GONE_MAX {
                dropped.insert(file.position.id);
            }
        }
        self.files.retain(|it| !dropped.contains(&it.position.id));
        self.forgotten.extend(dropped);
        if self.copies.len() > limits::FILES_FOLLOWED_MAX {
            self.copies.clear();
        }
    }

    fn put_in_order(&mut self) {
        let mut last: HashMap<PathBuf, usize> = HashMap::new();
        for index in 0..self.files.len() {
            let file = &mut self.files[index];
            file.before = if file.is_readable() { last.insert(file.chain.clone(), index) } else { None };
        }
    }
}

/// Whether a file is the beginning of another, or all of it, as far as its first and last bytes tell.
fn is_beginning(bytes: &mut Bytes, len: u64, original: &mut Bytes, buffer: &mut Vec<u8>) -> io::Result<bool> {
    if original.is_packed() || original.seen()?.len < len {
        return Ok(false);
    }
    for end in [len.min(tail_len(u64::MAX) as u64), len] {
        let ours = original.print_at(end, buffer)?;
        if ours.is_none() || bytes.print_at(end, buffer)? != ours {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A file beside the pattern's is news if it was changed after everything we know. Archives often keep seconds only.
fn is_news(spot: &Spot, newest: Option<&i64>) -> bool {
    let Some(newest) = newest else { return false };
    let is_archive = spot.path.extension().is_some_and(|it| it == "gz" || it == "zst");
    match is_archive {
        true => spot.seen.modified >= newest.div_euclid(1_000_000) * 1_000_000,
        false => spot.seen.modified > *newest,
    }
}

fn is_archive(path: &Path, follower: &Follower) -> bool {
    Bytes::open(path, follower.settings.links).is_ok_and(|it| it.is_packed())
}
