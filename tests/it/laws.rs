//! What must not matter does not: the order of lines inside the lateness, how input is cut, who does the work.
//!
//! Each law plays a generated log twice, differently, and compares every byte of every alert but the places of its
//! evidence. A law that fails names the seed; the same seed fails again.

use tripline::bench::{Layout, Workload};
use tripline::engine::{Judged, Read, Reader, RuleSet, Wanted};
use tripline::limits::LINE_BYTES_MAX;
use tripline::model::{Carried, Timestamp};
use tripline::runtime::setup::{Choice, Setup};
use tripline::source::batch::LineBatch;
use tripline::source::frame::Framer;

use crate::delivery::examples;
use crate::log::{Line, Random, flood, generate, shuffle, strangers, text};
use crate::play::{How, Played, bare, play, play_all};
use crate::program::{Folder, tripline};

const SEEDS: std::ops::Range<u64> = 0..8;
const LINES: usize = 400;
const LATENESS_MS: u64 = 2_000;

/// Plays the log of every seed plainly and in other ways, which must tell the same.
fn check(law: &str, others: impl Fn(u64, &[Line], &Played) -> Vec<(String, Vec<String>)>) {
    for seed in SEEDS {
        let log = generate(seed, LINES);
        let plain = play(text(&log).as_bytes(), &How::default());
        assert!(plain.rules().len() >= 5, "{law}, SEED={seed}: a quiet log proves nothing: {:?}", plain.rules());
        let expected = if law == "strangers" { plain.own_lines() } else { plain.lines() };
        for (what, found) in others(seed, &log, &plain) {
            same(&format!("{law}, SEED={seed}, {what}"), &expected, &found);
        }
    }
}

/// Fails with the first difference and what stands before it, not with two books.
fn same(what: &str, expected: &[String], found: &[String]) {
    let Some(at) = (0..expected.len().max(found.len())).find(|it| expected.get(*it) != found.get(*it)) else { return };
    let (was, now) = (expected.get(at).map_or("nothing", |it| it), found.get(at).map_or("nothing", |it| it));
    let split = was.bytes().zip(now.bytes()).take_while(|(a, b)| a == b).count();
    let shown =
        |it: &str| String::from_utf8_lossy(&it.as_bytes()[split.saturating_sub(200)..]).chars().take(600).collect();
    let (was, now): (String, String) = (shown(was), shown(now));
    panic!("{what}: alert {at} of {} differs\n  was …{was}\n  now …{now}", expected.len());
}

#[test]
fn lines_inside_the_lateness_may_come_in_any_order() {
    check("shuffled", |seed, log, _| {
        let played = |number: u64| {
            let lines = shuffle(log, seed * 31 + number, LATENESS_MS);
            let how = How { pieces: vec![[1 << 18, 700, 1_500, 5_000][number as usize]], ..How::default() };
            play(text(&lines).as_bytes(), &how).lines()
        };
        (0..4).map(|it| (format!("shuffle {it}"), played(it))).collect()
    });
}

#[test]
fn lines_of_equal_stamps_may_come_in_any_order() {
    for seed in SEEDS {
        let mut log = generate(seed, LINES);
        // Ten minutes become one second: nearly every stamp is there many times.
        log.iter_mut().for_each(|it| it.at_ms /= 600_000);
        let whole: Vec<Line> = log.iter().map(on_the_second).collect();
        let expected = play(text(&whole).as_bytes(), &How::default()).lines();
        assert!(expected.len() > 10, "SEED={seed}: a quiet log proves nothing");
        for other in 0..4 {
            let mut keyed: Vec<(u64, u64, Line)> = Vec::new();
            let mut random = Random::new(seed * 97 + other);
            // Up to two seconds late, which is still in time.
            whole.iter().for_each(|it| keyed.push((it.at_ms + random.below(3) * 1_000, random.next(), it.clone())));
            keyed.sort_by_key(|it| (it.0, it.1));
            let lines: Vec<Line> = keyed.into_iter().map(|it| it.2).collect();
            for pieces in [1 << 18, 1_000] {
                let how = How { pieces: vec![pieces], ..How::default() };
                let found = play(text(&lines).as_bytes(), &how).lines();
                same(&format!("equal stamps, SEED={seed}, order {other}, pieces of {pieces}"), &expected, &found);
            }
        }
    }
}

/// The line with another time in it: so many seconds after eight o'clock.
fn on_the_second(line: &Line) -> Line {
    let second = line.at_ms;
    let clock = format!("08:{:02}:{:02}", second / 60 % 60, second % 60);
    let mut text = line.text.clone();
    // A stamp is `2025-04-14`, a `T` or a space, and eight characters of clock; some have a fraction.
    let at = text.find("2025-04-").expect("every line has a stamp") + 11;
    text.replace_range(at..at + 8, &clock);
    if text[at + 8..].starts_with('.') {
        text.replace_range(at + 9..at + 12, "000");
    }
    Line { at_ms: second * 1000, text }
}

#[test]
fn a_file_may_run_newest_first() {
    let folder = Folder::new();
    for seed in 0..2 {
        let log = generate(seed, LINES);
        let played = |name: &str, lines: &[Line]| {
            let path = folder.write(name, text(lines).as_bytes());
            let done = tripline(&["replay", "--all-rules", &path]).succeeds();
            (done.stdout.lines().map(|it| bare(serde_json::from_str(it).unwrap())).collect::<Vec<_>>(), done.stderr)
        };
        let turned: Vec<Line> = log.iter().rev().cloned().collect();
        let ((expected, before), (found, after)) = (played("forwards.log", &log), played("backwards.log", &turned));
        assert!(expected.len() > 10, "SEED={seed}: a quiet log proves nothing");
        same(&format!("newest first, SEED={seed}"), &expected, &found);
        assert!(after.contains("runs newest first") && !before.contains("newest first"), "{before}{after}");
    }
}

#[test]
fn however_many_shards_do_the_work() {
    check("shards", |_, log, _| {
        let log = text(log);
        let played = |shards| play(log.as_bytes(), &How { shards, ..How::default() }).lines();
        [2, 3, 8, 128].into_iter().map(|it| (format!("{it} shards"), played(it))).collect()
    });
}

/// With so little memory that rules go by estimates, and with what they say of that.
#[test]
fn however_many_shards_have_too_little_memory() {
    for seed in 0..2 {
        let log = generate(seed, LINES);
        let mut all = flood(seed, 20 * LINES, &log);
        all.extend(log.iter().cloned());
        all.sort_by_key(|it| it.at_ms);
        let all = text(&all);
        // Cut alike: when too much waits, how much is let go depends on what came at once.
        let played = |shards| play(all.as_bytes(), &How { shards, memory: Some(1 << 20), ..How::default() });
        let one = played(1);
        assert!(one.rules().contains(&"tripline.state-pressure".to_string()), "SEED={seed}: {:?}", one.rules());
        for shards in [8, 3, 128] {
            let what = format!("too little memory, SEED={seed}, {shards} shards");
            same(&what, &one.lines(), &played(shards).lines());
        }
    }
}

#[test]
fn however_the_input_is_cut() {
    check("cut", |seed, log, _| {
        let log = text(log);
        let mut random = Random::new(seed);
        let mut pieces = vec![vec![300], vec![1_000, 1, 70_000], vec![4_096]];
        pieces.push((0..50).map(|_| 1 + random.below(5_000) as usize).collect());
        let played =
            |pieces: &[usize]| play(log.as_bytes(), &How { pieces: pieces.to_vec(), ..How::default() }).lines();
        pieces.iter().map(|it| (format!("pieces of {:?}", &it[..it.len().min(3)]), played(it))).collect()
    });
}

/// But for travel: clocks of two machines may differ by more than that of one, so there two sources prove less.
#[test]
fn several_sources_are_one() {
    let by_clock = |it: &String| !it.contains(r#""because":{"kind":"travel""#);
    for seed in SEEDS {
        let log = generate(seed, LINES);
        let expected: Vec<String> =
            play(text(&log).as_bytes(), &How::default()).lines().into_iter().filter(by_clock).collect();
        let mut random = Random::new(seed);
        let mut parts: Vec<Vec<Line>> = vec![Vec::new(); 3];
        log.iter().for_each(|it| parts[random.below(3) as usize].push(it.clone()));
        let parts: Vec<String> = parts.iter().map(|it| text(it)).collect();
        let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        let turns: [&[usize]; 3] = [&[0, 1, 2], &[0], &[2, 0, 0, 1, 0]];
        for turns in turns {
            let how = How { turns: turns.to_vec(), pieces: vec![2_000, 900], ..How::default() };
            let found: Vec<String> = play_all(&parts, &how).lines().into_iter().filter(by_clock).collect();
            same(&format!("sources, SEED={seed}, turns {turns:?}"), &expected, &found);
        }
    }
}

#[test]
fn what_strangers_do_changes_nothing() {
    check("strangers", |seed, log, _| {
        let mut all = strangers(seed, LINES, log);
        all.extend(log.iter().cloned());
        all.sort_by_key(|it| it.at_ms);
        let lines = play(text(&all).as_bytes(), &How::default()).own_lines();
        vec![("with strangers".into(), lines.into_iter().filter(|it| !it.contains("stranger")).collect())]
    });
}

#[test]
fn a_second_time_is_the_same() {
    check("again", |_, log, _| vec![("again".into(), play(text(log).as_bytes(), &How::default()).lines())]);
}

#[test]
fn every_line_is_accepted_or_rejected() {
    check("counts", |_, log, plain| {
        let counts = plain.stats.counts;
        assert_eq!(counts.received, counts.accepted + counts.rejected);
        assert_eq!(counts.accepted, log.len() as u64);
        assert_eq!(counts.unrecognised, 0, "the generator writes what the schemas know");
        Vec::new()
    });
}

/// Batches are large, so the log must be larger for several threads to have something to do.
#[test]
fn however_many_threads_read() {
    let folder = Folder::new();
    let log = generate(99, 8_000);
    let file = folder.write("big.log", text(&shuffle(&log, 7, LATENESS_MS)).as_bytes());
    let city = crate::program::fixture("city.mmdb").display().to_string();
    let replay = |threads: &str| {
        tripline(&["replay", &file, "--threads", threads, "--all-rules", "--geoip", &city, "-q"]).succeeds().stdout
    };
    let one = replay("1");
    assert!(one.lines().count() > 500, "a quiet log proves nothing");
    for threads in ["1", "2", "3", "8"] {
        let found = replay(threads);
        assert!(found == one, "{threads} threads tell otherwise than one");
    }
}

/// What no rule can want is not read further. Whether one could is asked of what events of a shape and a meaning have in
/// common; here it is compared with what the rules say of each.
#[test]
fn idle_events_are_events_that_no_rule_wants() {
    let choices = [
        Choice { no_builtin: true, rules: vec!["benches/rules/brute.ron".into()], ..Choice::default() },
        Choice { all_rules: true, ..Choice::default() },
        Choice::default(),
    ];
    for (number, choice) in choices.iter().enumerate() {
        let setup = Setup::prepare(choice, Wanted::ByRules).expect("the rules are sound");
        let (mut scratch, mut matched) = (setup.set.matcher.new_scratch(), Vec::new());
        for layout in Layout::ALL {
            let mut bytes = Vec::new();
            Workload::new(2000, 7).take(2000).for_each(|it| layout.write(&it, &mut bytes).unwrap());
            let mut plain = Reader::new(setup.set.clone(), setup.enricher());
            let mut quick = Reader::for_rules(setup.set.clone(), setup.enricher());
            let mut idle = 0;
            // What decides about a line is any value, and may look like another.
            let others = [
                ("\"status\":200", "\"status\":\"200\""),
                ("\"status\":200", "\"status\":401"),
                ("\"status\":200", "\"status\":null"),
                ("\"status\":200", "\"status\":[401]"),
                ("API call", "Login failure"),
                ("API call", "Login"),
                ("API call", "API call\\u0000"),
                ("\"action\":\"API call\"", "\"action\":{\"a\":\"API call\"}"),
            ];
            let lines = std::str::from_utf8(&bytes).unwrap().lines().enumerate();
            for line in lines.map(|(at, it)| match others.get(at % 40) {
                Some((from, to)) => it.replace(from, to),
                None => it.to_string(),
            }) {
                let line = line.as_str();
                let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
                let received = Timestamp::from_micros(1_744_444_800_000_000);
                let mut each = |read: &mut Read<'_>, _: &mut _| {
                    matched.clear();
                    setup.set.matcher.matches(read.event(), &mut scratch, &mut matched);
                    wanted.push((!matched.is_empty(), read.event().buf.time, read.repeat, read.schema));
                };
                plain.read(line, &setup.reading, received, &mut each).expect("it is a line of the workload");
                let mut each = |read: &mut Read<'_>, _: &mut _| {
                    skipped.push((read.idle, read.event().buf.time, read.repeat, read.schema));
                };
                quick.read(line, &setup.reading, received, &mut each).expect("it is a line of the workload");
                assert_eq!(wanted.len(), skipped.len(), "{line}");
                for (wanted, skipped) in wanted.iter().zip(&skipped) {
                    assert!(!(wanted.0 && skipped.0), "a rule wants it: {line}");
                    assert_eq!((wanted.1, wanted.2, wanted.3), (skipped.1, skipped.2, skipped.3), "{line}");
                    idle += usize::from(skipped.0);
                }
            }
            assert!(number > 0 || idle > 1000, "{}: only {idle} of 2000 are idle", layout.name());
        }
    }
}

/// What a front makes of lines: its counts, and of every event what it hands to detectors.
#[derive(Default, PartialEq, Debug)]
struct Handed {
    accepted: u64,
    events: u64,
    unrecognised: u64,
    rejected: Vec<(u64, &'static str)>,
    hits: Vec<String>,
}

impl Handed {
    fn add(&mut self, judged: &Judged, set: &RuleSet) {
        self.accepted += judged.counts.accepted;
        self.events += judged.counts.events;
        self.unrecognised += judged.counts.unrecognised;
        self.rejected.extend(judged.rejects.iter().map(|it| (it.line, it.reason)));
        let batch = &judged.batch;
        for number in 0..batch.hits.len() as u32 {
            let hit = batch.hit(number);
            let values =
                (0..set.rules[hit.rule.index()].carry.len()).map(|it| match batch.values[hit.values as usize + it] {
                    Carried::Text(it) => batch.str(it).to_string(),
                    other => format!("{other:?}"),
                });
            let values: Vec<String> = values.collect();
            let (whose, text) = (batch.str(hit.entity), batch.str(hit.text));
            self.hits.push(format!(
                "{} {} {} {} {} {whose} {values:?} {:?} {text}",
                hit.line,
                set.rules[hit.rule.index()].rule.id,
                hit.steps,
                hit.partition,
                hit.entity_hash,
                hit.time
            ));
        }
    }
}

/// Lines are read some at a time and then judged together: of all that we have examples of, whole documents, records inside others
/// and lines with many of them, in any neighbourhood.
#[test]
fn lines_judged_together_are_judged_as_alone() {
    let choice = Choice { all_rules: true, ..Choice::default() };
    let setup = Setup::prepare(&choice, Wanted::ByRules).expect("the rules are sound");
    let mut lines = examples(|_| true);
    let mut all_rules = std::collections::BTreeSet::new();
    for seed in 0..3 {
        let mut random = Random::new(seed);
        for at in (1..lines.len()).rev() {
            lines.swap(at, random.below(at as u64 + 1) as usize);
        }
        let (mut alone, mut together) = (Handed::default(), Handed::default());
        let (mut front, mut judged) = (setup.front(), Judged::default());
        let reference = Timestamp::from_micros(1_744_444_800_000_000);
        let mut framer = Framer::new(0, LINE_BYTES_MAX);
        for line in &lines {
            let mut batch = LineBatch::default();
            framer.push(format!("{line}\n").as_bytes(), &mut batch);
            front.judge(&batch, &setup.reading, None, reference, &mut judged);
            alone.add(&judged, &setup.set);
        }
        let mut framer = Framer::new(0, LINE_BYTES_MAX);
        for some in lines.chunks(500) {
            let mut batch = LineBatch::default();
            some.iter().for_each(|it| framer.push(format!("{it}\n").as_bytes(), &mut batch));
            front.judge(&batch, &setup.reading, None, reference, &mut judged);
            together.add(&judged, &setup.set);
        }
        let differs = alone.hits.iter().zip(&together.hits).position(|(a, b)| a != b);
        assert_eq!(differs.map(|it| (&alone.hits[it], &together.hits[it])), None, "seed {seed}");
        assert_eq!(alone, together, "seed {seed}");
        all_rules.extend(alone.hits.iter().filter_map(|it| it.split(' ').nth(1).map(str::to_string)));
    }
    assert!(all_rules.len() > 40, "few rules see something: {all_rules:?}");
}
