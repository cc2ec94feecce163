//! Hits for detectors' tests: fed as a shard feeds them.

use super::table::Kind;
use super::*;
use crate::model::{RuleIndex, TextRange};

pub fn time(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

/// Nearly normal, of mean 0 and deviation 1.
pub fn noise(seed: &mut u64) -> f64 {
    let mut sum = 0.0;
    for _ in 0..12 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        sum += (*seed >> 11) as f64 / (1u64 << 53) as f64;
    }
    sum - 6.0
}

pub fn second(time: Timestamp) -> i64 {
    time.micros().div_euclid(1_000_000)
}

/// A hit to be. Values of several fields are parted by `|`.
#[derive(Clone)]
pub struct Event {
    pub time: Timestamp,
    pub release: Timestamp,
    pub steps: u32,
    pub entity: String,
    pub value: Option<String>,
}

impl Event {
    pub fn at(second: i64) -> Event {
        Event { time: time(second), release: time(second), steps: 1, entity: "ann".into(), value: None }
    }

    pub fn of(second: i64, entity: &str, value: &str) -> Event {
        Event { entity: entity.into(), value: Some(value.into()), ..Event::at(second) }
    }
}

/// Feeds the events as a shard does, then lets time pass until that second: what was found, with its event's second, and what lapsed.
pub fn watch(mut detector: impl Detector, events: &[Event], until: i64) -> (Vec<(i64, Trip)>, Vec<Lapse>) {
    let (mut trips, mut lapses) = (Vec::new(), Vec::new());
    for (number, event) in events.iter().enumerate() {
        feed(&mut detector, event, number as u64, &mut trips, &mut lapses);
    }
    detector.lapse(time(until), &mut lapses);
    (trips, lapses)
}

pub fn feed(
    detector: &mut (impl Detector + ?Sized),
    event: &Event,
    number: u64,
    trips: &mut Vec<(i64, Trip)>,
    lapses: &mut Vec<Lapse>,
) {
    let mut batch = HitBatch::default();
    let entity = batch.push(&event.entity);
    match &event.value {
        Some(values) => values.split('|').for_each(|it| {
            let text = Carried::Text(batch.push(it));
            batch.values.push(text);
        }),
        None => batch.values.push(Carried::Absent),
    }
    let hash = twox_hash::XxHash3_64::oneshot(event.entity.as_bytes());
    let hit = Hit {
        rule: RuleIndex(0),
        steps: event.steps,
        partition: 0,
        entity_hash: hash,
        entity_stable: hash,
        entity,
        time: event.time,
        release: event.release,
        line_hash: number,
        line: number + 1,
        source: 0,
        text: TextRange::default(),
        values: 0,
        late: event.release > event.time,
        suspect: false,
    };
    detector.lapse(Timestamp::from_micros(event.release.micros() - 1), lapses);
    let mut found = Vec::new();
    let mark = Mark { time: event.time, evidence: number };
    detector.observe(&Seen { mark, hit: &hit, batch: &batch }, &mut found);
    trips.extend(found.into_iter().map(|it| (second(event.time), it)));
}

/// Those of every test.
pub const KEYS: HashKeys = HashKeys(1, 2);

/// What is told, by either way: second and story; kept back or over is left out. A restart after every so many events
/// must not matter, nor when somebody looks.
pub fn told<D: Detector>(start: impl Fn() -> D, events: &[Event], until: i64) -> Vec<(i64, String)> {
    let run = |restart: usize| {
        let (mut detector, mut trips, mut lapses) = (start(), Vec::new(), Vec::new());
        for (number, event) in events.iter().enumerate() {
            if number % restart == restart - 1 {
                let mut again = start();
                again.restore(&detector.save()).unwrap();
                detector = again;
                assert!(start().restore(&[255; 7]).is_err());
            }
            feed(&mut detector, event, number as u64, &mut trips, &mut lapses);
        }
        detector.lapse(time(until), &mut lapses);
        let lapsed = lapses.iter().filter(|it| !it.kept_back && !it.over).map(|it| (second(it.due), &it.trip));
        let mut all: Vec<(i64, String)> = trips
            .iter()
            .map(|it| (it.0, &it.1))
            .chain(lapsed)
            .filter_map(|(at, it)| Some((at, it.story.clone()?)))
            .collect();
        all.sort();
        all
    };
    let all = run(usize::MAX);
    assert_eq!(all, run(7), "a restart");
    all
}

/// The findings (second of the event, count) of events at those seconds.
pub fn observe_all<K: Kind>(kind: &K, times: &[i64]) -> Vec<(i64, u64)> {
    let events: Vec<(i64, u32)> = times.iter().map(|it| (*it, 1)).collect();
    observe_steps(kind, &events)
}

pub fn observe_steps<K: Kind>(kind: &K, events: &[(i64, u32)]) -> Vec<(i64, u64)> {
    let batch = HitBatch::default();
    let mut memory = K::Memory::default();
    let mut all = Vec::new();
    for (number, (at, steps)) in events.iter().enumerate() {
        let hit = Hit {
            rule: RuleIndex(0),
            steps: *steps,
            partition: 0,
            entity_hash: 1,
            entity_stable: 1,
            entity: TextRange::default(),
            time: time(*at),
            release: time(*at),
            line_hash: number as u64,
            line: number as u64 + 1,
            source: 0,
            text: TextRange::default(),
            values: 0,
            late: false,
            suspect: false,
        };
        let mark = Mark { time: time(*at), evidence: number as u64 };
        let mut found = Vec::new();
        kind.observe(&mut memory, &Seen { mark, hit: &hit, batch: &batch }, &mut found);
        all.extend(found.iter().map(|it| (*at, it.count)));
    }
    all
}
