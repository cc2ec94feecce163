//! What the engine was told, so that it can be told again.
//!
//! The engine is a function of these entries and nothing else: the same entries, in the same order, make the same engine.
//! So an entry is written for everything that reaches it, and recovery is a snapshot and the entries since, fed through
//! the very methods that run live.

use serde::{Deserialize, Serialize};

use crate::engine::order::{Track, renumber};
use crate::engine::poison::attempt;
use crate::engine::save::RuleName;
use crate::engine::{Counts, Engine, Judged};
use crate::model::{Alert, HitBatch, Span, Timestamp, packed};
use crate::store::{Fault, Store};

/// One thing the engine was told. `now` is the time it had reached before: time passes without entries of its own.
#[derive(Debug, Serialize, Deserialize)]
pub enum Entry {
    /// The rules that numbers in the entries after this mean.
    Rules(Vec<RuleName>),
    Source {
        name: String,
        lateness: Span,
    },
    /// A batch as the first versions wrote it. What follows cannot be read any more.
    Earlier,
    Idle {
        source: u16,
        now: Timestamp,
    },
    End {
        source: u16,
        now: Timestamp,
    },
    /// Time passed, and something came of it.
    Time {
        now: Timestamp,
    },
    /// A batch as earlier builds wrote it.
    Batch {
        source: u16,
        now: Timestamp,
        batch: HitBatch,
        track: Track,
        events: u64,
    },
    Hits {
        source: u16,
        now: Timestamp,
        /// [`packed`].
        #[serde(with = "serde_bytes")]
        batch: Vec<u8>,
        track: Track,
        events: u64,
    },
}

impl Entry {
    pub fn encode(&self) -> Vec<u8> {
        // More than it will be, mostly: a list that doubles copies itself.
        let bytes = match self {
            Entry::Hits { batch, .. } => batch.len() * 9 / 8 + 256,
            _ => 256,
        };
        postcard::to_extend(self, Vec::with_capacity(bytes))
            .expect("entries are plain data, and memory for them is there")
    }

    /// A batch as a front judged it, before the engine takes it.
    pub fn batch(judged: &mut Judged, now: Timestamp) -> Vec<u8> {
        let mut batch = Vec::new();
        packed::pack(&judged.batch, &mut batch);
        let track = std::mem::take(&mut judged.track);
        let entry = Entry::Hits { source: judged.source, now, batch, track, events: judged.counts.events };
        let bytes = entry.encode();
        if let Entry::Hits { track, .. } = entry {
            judged.track = track;
        }
        bytes
    }
}

/// What recovery did.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The snapshot it began with: the first journal entry that was not in it.
    pub snapshot: Option<u64>,
    /// Journal entries since then.
    pub entries: u64,
    /// Their bytes.
    pub bytes: usize,
    /// Sentences about what could not be read.
    pub complaints: Vec<String>,
}

/// Brings an engine that remembers nothing to where the journal ends. Alerts that come up on the way were told before the
/// crash: they are in the outbox or beyond, for they were committed with the entries. `told` gets only what is news: alerts
/// that resolve because their rule is gone.
pub fn recover(
    store: &Store,
    date: &str,
    fresh: &dyn Fn() -> Engine,
    told: &mut Vec<Alert>,
) -> Result<(Engine, Recovered), String> {
    let mut done = Recovered::default();
    let mut snapshots = store.snapshots().map_err(|it| it.to_string())?;
    loop {
        let mut engine = fresh();
        let mut news = Vec::new();
        let first = match snapshots.pop() {
            None => 1,
            Some((number, file)) => {
                let restored = match store.read_snapshot(&file) {
                    Ok(bytes) => attempt(|| engine.restore(&bytes, &mut news))
                        .unwrap_or_else(|| Err("it makes no sense".to_string())),
                    Err(Fault::Damage(problem)) => Err(problem),
                    // What cannot be read now may be read tomorrow: it stays where it is.
                    Err(Fault::Disk(problem) | Fault::Full(problem)) => return Err(problem),
                };
                let problem = match restored {
                    Ok(complaints) => {
                        done.complaints.extend(complaints);
                        None
                    }
                    Err(problem) => Some(problem),
                };
                if let Some(problem) = problem {
                    let aside = store.set_snapshot_aside(&file, date).map_err(|it| it.to_string())?;
                    done.complaints.push(format!("a snapshot was damaged ({problem}); it is now {}", aside.display()));
                    continue;
                }
                done.snapshot = Some(number);
                number
            }
        };
        let oldest = store.journal_first()?.unwrap_or(store.next_journal());
        if oldest > first {
            done.complaints
                .push(format!("the journal begins at {oldest} and not at {first}; what stood between is lost"));
        }
        replay(store, first, &mut engine, &mut done)?;
        told.append(&mut news);
        return Ok((engine, done));
    }
}

/// Feeds the journal from an entry on.
fn replay(store: &Store, first: u64, engine: &mut Engine, done: &mut Recovered) -> Result<(), String> {
    let mut numbers = engine.rule_numbers(&engine.rule_names());
    let (mut told, mut skipped) = (Vec::new(), 0);
    (done.entries, done.bytes) = (0, 0);
    store.journal_from(first, &mut |_, bytes| {
        done.entries += 1;
        done.bytes += bytes.len();
        let entry: Entry = match postcard::from_bytes(bytes) {
            Ok(it) => it,
            // Refusing to start would be a loop that no restart ends.
            Err(_) => {
                skipped += 1;
                return Ok(());
            }
        };
        // What stumbled when it was told first stumbles again, and must not keep us from starting.
        let fed = attempt(|| match entry {
            Entry::Batch { source, .. }
            | Entry::Hits { source, .. }
            | Entry::Idle { source, .. }
            | Entry::End { source, .. }
                if !engine.knows_source(source) =>
            {
                skipped += 1;
            }
            Entry::Earlier => skipped += 1,
            Entry::Rules(names) => numbers = engine.rule_numbers(&names),
            Entry::Source { name, lateness } => {
                engine.add_source(&name, lateness);
            }
            Entry::Batch { source, now, mut batch, track, events } => {
                renumber(&mut batch, &numbers);
                judge(engine, &mut told, (source, now), batch, (track, events));
            }
            Entry::Hits { source, now, batch, track, events } => match packed::unpack(&batch) {
                Some(mut batch) => {
                    renumber(&mut batch, &numbers);
                    judge(engine, &mut told, (source, now), batch, (track, events));
                }
                None => skipped += 1,
            },
            Entry::Idle { source, now } => {
                engine.pass_time(now, &mut told);
                engine.source_is_idle(source, &mut told);
            }
            Entry::End { source, now } => {
                engine.pass_time(now, &mut told);
                engine.end_source(source, &mut told);
            }
            Entry::Time { now } => engine.pass_time(now, &mut told),
        });
        skipped += u64::from(fed.is_none());
        told.clear();
        Ok(())
    })?;
    if skipped > 0 {
        done.complaints.push(format!("{skipped} journal entries could not be told again: what they build on is lost"));
    }
    Ok(())
}

fn judge(
    engine: &mut Engine,
    told: &mut Vec<Alert>,
    (source, now): (u16, Timestamp),
    batch: HitBatch,
    (track, events): (Track, u64),
) {
    engine.pass_time(now, told);
    let counts = Counts { events, ..Counts::default() };
    let mut judged = Judged { source, batch, track, counts, ..Judged::default() };
    engine.observe(&mut judged, told);
}
