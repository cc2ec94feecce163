//! Between `source` and `detect` nothing is allocated for a line, whatever its format; and what an entity takes.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::Mutex;

use tripline::bench::{Layout, Workload};
use tripline::detect::promise::Rate;
use tripline::detect::risk::{Ledger, Origin};
use tripline::detect::{Detect, Mark, Seen};
use tripline::engine::{Judged, Wanted};
use tripline::format;
use tripline::model::canonical::Compare;
use tripline::model::{
    Because, Carried, Finding, HashKeys, Hit, HitBatch, RuleIndex, Severity, Span, TextRange, Timestamp, Words,
};
use tripline::runtime::setup::{Choice, Setup};
use tripline::source::batch::LineBatch;
use tripline::source::frame::Framer;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One test at a time, for the counter sees all threads.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn nothing_is_allocated_for_a_line() {
    let _alone = ALONE.lock();
    let setup = Setup::prepare(&Choice::default(), Wanted::ByRules).expect("the built-in pack loads");
    let mut all: Vec<(&str, Vec<u8>)> = Vec::new();
    for layout in Layout::ALL {
        let mut lines = Vec::new();
        Workload::new(1000, 42).take(500).for_each(|it| layout.write(&it, &mut lines).unwrap());
        all.push((layout.name(), lines));
    }
    for it in format::FORMATS {
        all.push((it.name, format!("{}\n", it.example).repeat(500).into_bytes()));
    }
    let mut found = Vec::new();
    for (name, bytes) in all {
        let mut front = setup.front();
        let mut framer = Framer::new(0, 1 << 20);
        let (mut lines, mut judged) = (LineBatch::default(), Judged::default());
        let mut round = || {
            lines.clear();
            framer.push(&bytes, &mut lines);
            front.judge(&lines, &setup.reading, None, Timestamp::from_micros(1_744_444_800_000_000), &mut judged);
            assert_eq!((judged.counts.accepted, judged.counts.rejected), (500, 0), "{name}");
        };
        (0..5).for_each(|_| round()); // buffers, caches and expressions that are built when first needed
        let region = Region::new(ALLOCATOR);
        (0..200).for_each(|_| round());
        let allocations = region.change().allocations + region.change().reallocations;
        // Not one a thousand lines: the tables of lazy regular expressions still grow now and then.
        // No schema knows the vendor of this CEF, so the record is looked into for others, and that takes a few.
        let most = if name == "cef" { 1_000_000 } else { 10 };
        if allocations >= most {
            found.push(format!("{name}: {allocations} allocations for 100,000 lines"));
        }
    }
    assert_eq!(found, [""; 0]);
}

const ENTITIES: u64 = 100_000;
const DAY: Span = Span::from_secs(86_400);

fn time(hour: i64) -> Timestamp {
    Timestamp::from_micros((480_000 + hour) * 3_600_000_000)
}

/// A well-mixed 64-bit key, as hits have.
fn key(number: u64) -> u64 {
    let it = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (it ^ it >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// Bytes that stay allocated after `work`, of whose result nothing is given back before they are counted.
fn kept<T>(work: impl FnOnce() -> T) -> f64 {
    let region = Region::new(ALLOCATOR);
    let result = work();
    let change = region.change();
    drop(result);
    change.bytes_allocated as f64 - change.bytes_deallocated as f64
}

/// What a kind remembers of 100,000 users who come at three hours, with two values.
fn of_detector(detect: &Detect) -> f64 {
    kept(|| {
        let mut detector = detect.start(DAY, tripline::model::HashKeys(1, 2));
        let (mut batch, mut found) = (HitBatch::default(), Vec::new());
        for (hour, value) in [(0, "DE"), (1, "FR"), (2, "DE")] {
            for number in 0..ENTITIES {
                batch.clear();
                let entity = batch.push(&format!("user{number}@keyrunner.app"));
                let value = batch.push(value);
                batch.values.push(Carried::Text(value));
                let hit = Hit {
                    rule: RuleIndex(0),
                    steps: 1,
                    partition: 0,
                    entity_hash: key(number),
                    entity_stable: key(number),
                    entity,
                    time: time(hour),
                    release: time(hour),
                    line_hash: number,
                    line: number,
                    source: 0,
                    text: TextRange::default(),
                    values: 0,
                    late: false,
                    suspect: false,
                };
                let mark = Mark { time: hit.time, evidence: number };
                detector.observe(&Seen { mark, hit: &hit, batch: &batch }, &mut found);
            }
        }
        assert_eq!((detector.entities() as u64, found.len()), (ENTITIES, 0));
        detector
    })
}

/// What the risk of 100,000 users takes, of whom two rules found something.
fn of_risk() -> f64 {
    kept(|| {
        let mut ledger =
            Ledger::new(RuleIndex(9), "user.name", DAY, Rate::parse("1/week").unwrap(), DAY, HashKeys(1, 2));
        for kind in ["new-location", "rate-spike"] {
            let by = ["user.name".to_string()];
            let origin = Origin { id: kind, severity: Severity::Low, kind, by: &by, compare: &[Compare::Folded] };
            for number in 0..ENTITIES {
                let finding = Finding {
                    rule: RuleIndex(0),
                    words: Words::Entity(format!("user{number}@keyrunner.app").into()),
                    time: time(0),
                    release: time(0),
                    line_hash: number,
                    count: 1,
                    since: time(0),
                    score: 1.2,
                    severity: None,
                    because: Because::default(),
                    story: None,
                    evidence: vec![],
                    late: false,
                    suspect: false,
                    basis: tripline::model::Basis::Seen,
                    over: false,
                    kept_back: true,
                };
                assert!(ledger.observe(&finding, &origin, &[]).is_none());
            }
        }
        assert!(ledger.bytes() as u64 >= 48 * ENTITIES);
        ledger
    })
}

#[test]
fn a_user_s_habit_first_times_and_risk_take_320_bytes() {
    let _alone = ALONE.lock();
    let rate = Rate::parse("1/week").unwrap();
    let habit =
        Detect::Spike { bucket: Span::from_secs(3600), field: String::new(), peers: String::new(), false_alerts: rate };
    let firsts = Detect::Rare { field: "source.geo.country_iso_code".into(), learn: DAY, false_alerts: rate };
    let each = [of_detector(&habit), of_detector(&firsts), of_risk()].map(|it| it / ENTITIES as f64);
    println!("habit, first times, risk: {each:.1?} bytes an entity");
    assert!(each.iter().sum::<f64>() <= 320.0, "{each:.1?}");
}
