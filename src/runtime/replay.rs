//! History through the engine: files read to their ends, with no clock but theirs.

use std::sync::Arc;

use super::crew::Crew;
use super::newest_first::{Compass, Course};
use super::pool::{Pool, Work};
use super::setup::Setup;
use crate::engine::save::Lessons;
use crate::engine::{Engine, Reader as EventReader, Rejected, Stats};
use crate::model::{Alert, Finding, Span, Timestamp};
use crate::source::SourceError;
use crate::source::reader::Reader;

/// What to replay, and how.
pub struct Replay {
    pub readers: Vec<Reader>,
    pub lateness: Span,
    /// How many fronts and shards; 1 needs no thread and no channel.
    pub threads: usize,
    /// Stamps without a year are taken in the last year that does not put them more than a week after this.
    pub reference: Timestamp,
    /// What rules know before the first line.
    pub lessons: Option<Lessons>,
}

/// What somebody does with what comes out.
pub trait Sink {
    /// Alerts that changed state, in their order.
    fn told(&mut self, alerts: &mut Vec<Alert>) -> std::io::Result<()>;
    /// A line that did not become an event.
    fn rejected(&mut self, source: &str, reject: &Rejected);
    /// Whether it wants to see what promises had no room for.
    fn wants_suppressed(&self) -> bool {
        false
    }
    /// What a promise had no room for, and whose it was.
    fn suppressed(&mut self, _rule: &str, _finding: &Finding) {}
    /// A source could not be read to its end. An error ends the replay; otherwise the others are read on.
    fn broke(&mut self, error: SourceError) -> Result<(), SourceError> {
        Err(error)
    }
    /// Something about a source that the person who named it wants to know.
    fn noted(&mut self, _source: &str, _note: &'static str) {}
    /// Something was read: a moment to show progress.
    fn progress(&mut self, engine: &Engine, readers: &[Reader]);
}

/// Why a replay ended early.
#[derive(Debug)]
pub enum ReplayError {
    Input(SourceError),
    Output(std::io::Error),
}

/// Reads everything and tells everything. Sources are read so that none runs far ahead of the others in event time, and
/// those that run newest first from their ends.
pub fn replay(setup: &Setup, mut job: Replay, sink: &mut dyn Sink) -> Result<(Engine, Stats), ReplayError> {
    // In one thread more shards would only look at every hit more often.
    let shards = if job.lessons.is_some() { 1 } else { job.threads.max(1) };
    let mut engine = Engine::new(setup.set.clone(), setup.keys, shards);
    engine.limit(setup.config.limits.memory.0);
    if let Some(lessons) = &job.lessons {
        engine.take_lessons(lessons).map_err(|it| ReplayError::Input(unfit(it)))?;
    }
    if job.threads > 1 {
        engine.send_away(|shards| Box::new(Crew::start(shards)));
    }
    let names: Vec<Arc<str>> = job.readers.iter().map(|it| it.name().clone()).collect();
    for name in &names {
        engine.add_source(name, job.lateness);
    }
    if sink.wants_suppressed() {
        engine.keep_suppressed();
    }
    let mut compass = Compass {
        reader: EventReader::new(setup.set.clone(), setup.enricher()),
        reading: &setup.reading,
        reference: job.reference,
        lateness: job.lateness,
    };
    let mut courses: Vec<Course> = job.readers.iter().map(|_| Course::default()).collect();
    let readings = |_: u16| setup.reading.clone();
    let fronts = (0..job.threads.max(1)).map(|_| setup.front()).collect();
    std::thread::scope(|scope| {
        let mut pool = Pool::start(scope, fronts, &readings, job.reference);
        let mut feed = Feed { open: vec![true; job.readers.len()], spare: Vec::new(), told: Vec::new() };
        loop {
            if pool.room() == 0 {
                feed.take(&mut pool, &mut engine, &mut job, sink)?;
            }
            let Some(source) = feed.next_source(&engine) else { break };
            let mut work = feed.spare.pop().unwrap_or_default();
            work.lines.clear();
            work.lines.source = source as u16;
            let next = courses[source].next(&mut job.readers[source], &mut work.lines, &mut compass);
            let goes_on = next.or_else(|error| sink.broke(error).map(|()| false));
            if goes_on.map_err(ReplayError::Input)? {
                pool.send(work, &readings, job.reference);
            } else {
                // Batches of other sources may be inside; its own must be observed before its end.
                while feed.take(&mut pool, &mut engine, &mut job, sink)? {}
                feed.open[source] = false;
                if let Some(note) = courses[source].note() {
                    sink.noted(&names[source], note);
                }
                engine.end_source(source as u16, &mut feed.told);
                sink.told(&mut feed.told).map_err(ReplayError::Output)?;
            }
        }
        while feed.take(&mut pool, &mut engine, &mut job, sink)? {}
        engine.finish(&mut feed.told);
        engine.suppressed().for_each(|(rule, it)| sink.suppressed(rule, &it));
        sink.told(&mut feed.told).map_err(ReplayError::Output)
    })?;
    let stats = engine.stats();
    Ok((engine, stats))
}

/// Only other rules or other keys could make it so.
fn unfit(problem: String) -> SourceError {
    SourceError { place: "what was learned".into(), problem, advice: String::new() }
}

struct Feed {
    open: Vec<bool>,
    spare: Vec<Work>,
    told: Vec<Alert>,
}

impl Feed {
    /// The open source that is furthest behind.
    fn next_source(&self, engine: &Engine) -> Option<usize> {
        (0..self.open.len()).filter(|it| self.open[*it]).min_by_key(|it| engine.newest(*it as u16))
    }

    fn take(
        &mut self,
        pool: &mut Pool<'_>,
        engine: &mut Engine,
        job: &mut Replay,
        sink: &mut dyn Sink,
    ) -> Result<bool, ReplayError> {
        let Some(mut work) = pool.take() else { return Ok(false) };
        let name = engine.source_name(work.judged.source).to_string();
        for reject in work.judged.rejects.drain(..) {
            sink.rejected(&name, &reject);
        }
        engine.observe(&mut work.judged, &mut self.told);
        engine.suppressed().for_each(|(rule, it)| sink.suppressed(rule, &it));
        if !self.told.is_empty() {
            sink.told(&mut self.told).map_err(ReplayError::Output)?;
        }
        sink.progress(engine, &job.readers);
        self.spare.push(work);
        Ok(true)
    }
}
