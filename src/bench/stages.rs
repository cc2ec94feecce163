//! What each stage costs: the same file read again and again, each time one stage further.
//!
//! A clock inside the pipeline would cost more than most of what it measures, so each stage is the difference of two whole
//! runs, and of several rounds the least counts: whatever else the machine does can only add. Time is that of this thread
//! on a processor, where the system says it.

use std::time::Duration;

use crate::engine::{Engine, Front, Judged, Reader};
use crate::model::{Alert, Span, Timestamp};
use crate::runtime::clock::ThreadTime;
use crate::runtime::setup::Setup;
use crate::source::batch::LineBatch;
use crate::source::{self, SourceError};

/// Stages in the order in which a line meets them; each includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Frame,
    Decode,
    Map,
    Match,
    Hits,
    Detect,
}

impl Stage {
    pub const ALL: [Stage; 6] = [Stage::Frame, Stage::Decode, Stage::Map, Stage::Match, Stage::Hits, Stage::Detect];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Frame => "frame",
            Stage::Decode => "decode",
            Stage::Map => "recognise and map",
            Stage::Match => "match",
            Stage::Hits => "hits",
            Stage::Detect => "detect and desk",
        }
    }
}

/// How long the file took up to and with each stage; the least of `rounds`.
pub fn measure(setup: &Setup, path: &str, rounds: usize) -> Result<[Duration; Stage::ALL.len()], SourceError> {
    let mut least = [Duration::MAX; Stage::ALL.len()];
    for _ in 0..rounds.max(1) {
        for (stage, least) in Stage::ALL.into_iter().zip(&mut least) {
            *least = run(setup, path, stage)?.min(*least);
        }
    }
    Ok(least)
}

fn run(setup: &Setup, path: &str, stage: Stage) -> Result<Duration, SourceError> {
    let mut work = Work::new(setup, stage);
    let mut reader = source::file::reader(0, path, setup.config.limits.line.0 as usize)?;
    let mut lines = LineBatch::default();
    let watch = ThreadTime::start();
    while reader.next(&mut lines)? {
        work.take(&lines);
    }
    work.finish();
    Ok(watch.elapsed())
}

struct Work<'a> {
    setup: &'a Setup,
    stage: Stage,
    reader: Reader,
    front: Front,
    engine: Engine,
    judged: Judged,
    scratch: crate::matcher::Scratch,
    matched: Vec<u32>,
    told: Vec<Alert>,
}

impl<'a> Work<'a> {
    fn new(setup: &'a Setup, stage: Stage) -> Work<'a> {
        let mut engine = Engine::new(setup.set.clone(), setup.keys, 1);
        engine.add_source("bench", Span::from_secs(2));
        Work {
            setup,
            stage,
            reader: Reader::for_rules(setup.set.clone(), setup.enricher()),
            front: setup.front(),
            engine,
            judged: Judged::default(),
            scratch: setup.set.matcher.new_scratch(),
            matched: Vec::new(),
            told: Vec::new(),
        }
    }

    fn take(&mut self, lines: &LineBatch) {
        let Work { setup, reader, scratch, matched, .. } = self;
        let (set, reading) = (&setup.set, &setup.reading);
        let reference = Timestamp::from_micros(0);
        match self.stage {
            Stage::Frame => {}
            Stage::Decode => lines.lines().for_each(|it| _ = reader.decode_only(it.text, reading)),
            Stage::Map => lines.lines().for_each(|it| _ = reader.read(it.text, reading, reference, &mut |_, _| {})),
            Stage::Match => {
                for line in lines.lines() {
                    let _ = reader.read(line.text, reading, reference, &mut |read, _| {
                        matched.clear();
                        if read.idle {
                            return;
                        }
                        set.matcher.matches(read.event(), scratch, matched);
                    });
                }
            }
            Stage::Hits => self.front.judge(lines, reading, None, reference, &mut self.judged),
            Stage::Detect => {
                self.front.judge(lines, reading, None, reference, &mut self.judged);
                self.engine.observe(&mut self.judged, &mut self.told);
                self.told.clear();
            }
        }
    }

    fn finish(&mut self) {
        if self.stage == Stage::Detect {
            self.engine.end_source(0, &mut self.told);
            self.engine.finish(&mut self.told);
        }
    }
}
