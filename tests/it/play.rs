//! The real engine in the test's own thread: bytes in, alerts out, nothing in between but what the program uses.

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tripline::engine::{Engine, Judged, Stats, Wanted};
use tripline::limits;
use tripline::model::{Alert, Span, Timestamp};
use tripline::runtime::setup::{Choice, Setup};
use tripline::source::batch::LineBatch;
use tripline::source::frame::Framer;

use crate::program::fixture;

/// How the work is divided. None of it may show in what comes out.
#[derive(Clone, Debug)]
pub struct How {
    pub shards: usize,
    /// Bytes that arrive at once, in turn.
    pub pieces: Vec<usize>,
    /// Which source has its say next, in turn; one that has ended is passed over.
    pub turns: Vec<usize>,
    pub lateness: Span,
    /// Bytes; None: as much as there is by default.
    pub memory: Option<u64>,
}

impl Default for How {
    fn default() -> How {
        How { shards: 1, pieces: vec![1 << 18], turns: vec![0], lateness: Span::from_secs(2), memory: None }
    }
}

/// What came out.
pub struct Played {
    pub alerts: Vec<Alert>,
    pub stats: Stats,
}

impl Played {
    /// One line an alert, without what only says where in its input a line stood.
    pub fn lines(&self) -> Vec<String> {
        self.alerts.iter().map(|it| bare(serde_json::to_value(it).expect("an alert is JSON"))).collect()
    }

    /// The same without the kinds that judge a whole feed, or one against all others: those hear what anybody does.
    pub fn own_lines(&self) -> Vec<String> {
        const OF_ALL: [&str; 12] = [
            "silence",
            "first-seen",
            "rare",
            "spike",
            "drop",
            "off-hours",
            "unfamiliar",
            "fan-out",
            "beacon",
            "growth",
            "overdue",
            "risk",
        ];
        let alerts = self.alerts.iter().filter(|it| {
            let kind = it.because.get("kind").and_then(Value::as_str).unwrap_or("");
            !OF_ALL.contains(&kind)
        });
        alerts.map(|it| bare(serde_json::to_value(it).expect("an alert is JSON"))).collect()
    }

    /// The rules that fired, each once.
    pub fn rules(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.alerts.iter().map(|it| it.rule.id.clone()).collect();
        ids.sort();
        ids.dedup();
        ids
    }
}

/// An alert without source and line number of its evidence.
pub fn bare(mut alert: Value) -> String {
    for evidence in alert["evidence"].as_array_mut().into_iter().flatten() {
        if let Some(it) = evidence.as_object_mut() {
            it.remove("line");
            it.remove("source");
        }
    }
    alert.to_string()
}

/// The whole pack with cities, made once: it is immutable.
fn setup() -> &'static Setup {
    static SETUP: OnceLock<Setup> = OnceLock::new();
    SETUP.get_or_init(|| {
        let choice = Choice { all_rules: true, geoip: vec![fixture("city.mmdb")], ..Choice::default() };
        Setup::prepare(&choice, Wanted::ByRules).unwrap_or_else(|it| panic!("{:?}", it.problems))
    })
}

/// Plays one source.
pub fn play(log: &[u8], how: &How) -> Played {
    play_all(&[log], how)
}

/// Plays several sources that speak at once.
pub fn play_all(logs: &[&[u8]], how: &How) -> Played {
    let setup = setup();
    let mut stage = Stage {
        setup,
        front: setup.front(),
        engine: Engine::new(setup.set.clone(), setup.keys, how.shards),
        judged: Judged::default(),
        alerts: Vec::new(),
    };
    how.memory.into_iter().for_each(|it| stage.engine.limit(it));
    let mut sources: Vec<Source> =
        logs.iter().enumerate().map(|(number, log)| stage.source(&format!("log{number}"), log, how.lateness)).collect();
    let (mut pieces, mut turns) = (how.pieces.iter().cycle(), how.turns.iter().cycle());
    while sources.iter().any(|it| !it.ended) {
        let turn = *turns.next().expect("somebody has a turn");
        let open: Vec<usize> = (0..sources.len()).filter(|it| !sources[*it].ended).collect();
        let source = &mut sources[open[turn % open.len()]];
        stage.feed(source, *pieces.next().expect("there is a size"));
    }
    stage.engine.finish(&mut stage.alerts);
    Played { stats: stage.engine.stats(), alerts: stage.alerts }
}

struct Stage {
    setup: &'static Setup,
    front: tripline::engine::Front,
    engine: Engine,
    judged: Judged,
    alerts: Vec<Alert>,
}

struct Source<'a> {
    number: u16,
    framer: Framer,
    left: &'a [u8],
    ended: bool,
}

impl Stage {
    fn source<'a>(&mut self, name: &str, log: &'a [u8], lateness: Span) -> Source<'a> {
        let number = self.engine.add_source(name, lateness);
        Source { number, framer: Framer::new(number, limits::LINE_BYTES_MAX), left: log, ended: false }
    }

    fn feed(&mut self, source: &mut Source<'_>, bytes: usize) {
        let (piece, left) = source.left.split_at(bytes.clamp(1, source.left.len().max(1)).min(source.left.len()));
        let mut batch = LineBatch::default();
        (batch.source, batch.name) = (source.number, Arc::from("log"));
        source.framer.push(piece, &mut batch);
        source.left = left;
        if left.is_empty() {
            source.framer.finish(&mut batch);
        }
        if !batch.is_empty() {
            let reference = Timestamp::from_micros(1_750_000_000_000_000);
            self.front.judge(&batch, &self.setup.reading, None, reference, &mut self.judged);
            self.engine.observe(&mut self.judged, &mut self.alerts);
        }
        if left.is_empty() {
            source.ended = true;
            self.engine.end_source(source.number, &mut self.alerts);
        }
    }
}
