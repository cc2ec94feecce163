//! What rules know before the first line: history that is read to its end, and nothing is told; or what an engine learned
//! elsewhere, from a file that `tripline state export-learned` wrote.
//!
//! Such a file says nothing about people but hashes and counts, yet whoever has its keys can make names whose hashes collide,
//! so it is as secret as the state. Entities are known by keyed hashes only: who begins with it takes its keys too.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use twox_hash::XxHash3_64;

use super::replay::{Replay, ReplayError, Sink, replay};
use super::setup::Setup;
use crate::engine::save::Lessons;
use crate::engine::{Engine, Rejected};
use crate::limits;
use crate::model::{Alert, HashKeys, Span, Timestamp};
use crate::source::reader::Reader;
use crate::source::{self, SourceError};
use crate::store::disk::owner_only;

/// What was learned, from how many events, and whether some of it elsewhere.
pub struct Learned {
    pub lessons: Lessons,
    pub events: u64,
    taken: bool,
}

impl Learned {
    /// For the operator.
    pub fn sentence(&self) -> String {
        let rules = self.lessons.len();
        match (self.taken, self.events) {
            (true, 0) => format!("took what was learned elsewhere for {rules} rules"),
            (true, events) => format!(
                "took what was learned elsewhere and {events} events more for {rules} rules; nothing of it was told"
            ),
            (false, events) => format!("learned from {events} events for {rules} rules; nothing of it was told"),
        }
    }
}

/// Takes over the keys of what was learned elsewhere, if that is among the files. Before anything is hashed.
pub fn take_keys(setup: &mut Setup, files: &[String]) -> Result<(), SourceError> {
    for file in files {
        if let Some(keys) = keys_of(file)? {
            setup.keys = keys;
        }
    }
    Ok(())
}

/// Reads the files in the order of their times, as a replay does, and keeps what the rules learned; what was learned elsewhere
/// comes first. The same set of rules and the same keys must go on with it.
pub fn learn(setup: &Setup, files: &[String], lateness: Span, reference: Timestamp) -> Result<Learned, SourceError> {
    let line_bytes_max = setup.config.limits.line.0 as usize;
    let (mut taken, mut readers) = (None, Vec::new());
    for file in files {
        match keys_of(file)? {
            None => readers.push(source::file::reader(readers.len() as u16, file, line_bytes_max)?),
            Some(_) if taken.is_some() => {
                return Err(refused(file, "only one file of what was learned elsewhere can be taken"));
            }
            Some(keys) if keys != setup.keys => {
                return Err(refused(
                    file,
                    "it was learned under other keys than those of the state; begin with an empty state folder",
                ));
            }
            Some(_) => taken = Some(import(file)?),
        }
    }
    let was_taken = taken.is_some();
    if readers.is_empty() {
        let lessons = taken.unwrap_or_default();
        return Ok(Learned { lessons, events: 0, taken: was_taken });
    }
    let job = Replay { readers, lateness, threads: 1, reference, lessons: taken };
    match replay(setup, job, &mut Silent) {
        Ok((engine, stats)) => Ok(Learned { lessons: engine.lessons(), events: stats.counts.events, taken: was_taken }),
        Err(ReplayError::Input(error)) => Err(error),
        // Nothing is written, so this does not happen.
        Err(ReplayError::Output(error)) => Err(refused("history", &error.to_string())),
    }
}

/// The first bytes of a file of lessons; the number rises when older ones cannot be read any more.
const MAGIC: &[u8; 16] = b"tripline-learned";
const VERSION: u8 = 2;
/// Magic, version, two keys.
const HEAD_BYTES: usize = 16 + 1 + 16;
const SUM_BYTES: usize = 8;

/// Writes what was learned; all of it or nothing.
pub fn export(path: &Path, keys: HashKeys, lessons: &Lessons) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    bytes.extend(keys.0.to_le_bytes());
    bytes.extend(keys.1.to_le_bytes());
    let mut bytes = postcard::to_extend(lessons, bytes).map_err(io::Error::other)?;
    bytes.extend(XxHash3_64::oneshot(&bytes).to_le_bytes());
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = Path::new(&name);
    let mut file = owner_only(part)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(part, path)
}

/// The keys that stand in a file of lessons. None: it is a log.
fn keys_of(path: &str) -> Result<Option<HashKeys>, SourceError> {
    // What cannot be read is said by whoever reads it as a log.
    let Ok(file) = File::open(path) else { return Ok(None) };
    let mut head = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(|it| refused(path, &it.to_string()))?;
    if !head.starts_with(MAGIC) {
        return Ok(None);
    }
    let word = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
    match (head.get(16), word(17), word(25)) {
        (Some(&VERSION), Some(first), Some(second)) => Ok(Some(HashKeys(first, second))),
        (Some(&VERSION), _, _) | (None, _, _) => Err(refused(path, "it ends too early")),
        (Some(version), _, _) => Err(refused(
            path,
            &format!("another version of Tripline wrote it (form {version}, this one reads {VERSION})"),
        )),
    }
}

fn import(path: &str) -> Result<Lessons, SourceError> {
    let too_large = |bytes: u64| bytes > limits::LESSONS_BYTES_MAX;
    if fs::metadata(path).is_ok_and(|it| too_large(it.len())) {
        return Err(refused(path, "it is larger than what can be learned"));
    }
    let bytes = fs::read(path).map_err(|it| refused(path, &it.to_string()))?;
    let (all, sum) = bytes.split_at(bytes.len().saturating_sub(SUM_BYTES).max(HEAD_BYTES.min(bytes.len())));
    if sum != XxHash3_64::oneshot(all).to_le_bytes() {
        return Err(refused(path, "it is damaged"));
    }
    postcard::from_bytes(&all[HEAD_BYTES..]).map_err(|it| refused(path, &it.to_string()))
}

fn refused(place: &str, problem: &str) -> SourceError {
    SourceError { place: place.into(), problem: problem.into(), advice: String::new() }
}

struct Silent;

impl Sink for Silent {
    fn told(&mut self, alerts: &mut Vec<Alert>) -> std::io::Result<()> {
        alerts.clear();
        Ok(())
    }

    fn rejected(&mut self, _source: &str, _reject: &Rejected) {}

    fn progress(&mut self, _engine: &Engine, _readers: &[Reader]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_found() {
        let path = std::env::temp_dir().join(format!("tripline-learned-{}", std::process::id()));
        let name = path.to_str().unwrap();
        export(&path, HashKeys(3, 4), &Lessons::default()).unwrap();
        assert!(keys_of(name).unwrap() == Some(HashKeys(3, 4)));
        assert!(import(name).unwrap().is_empty());
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            fs::write(&path, &whole[..at]).unwrap();
            assert!(keys_of(name).map_or(true, |it| it.is_none()) || import(name).is_err(), "cut at {at}");
            let mut other = whole.clone();
            other[at] ^= 1;
            fs::write(&path, &other).unwrap();
            assert!(keys_of(name).map_or(true, |it| it.is_none()) || import(name).is_err(), "byte {at}");
        }
        fs::remove_file(&path).unwrap();
    }
}
