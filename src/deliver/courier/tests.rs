use super::post::wait_after;
use super::*;
use crate::deliver::config::{Outside, Settings, resolve};
use crate::deliver::outcome::SLOW;
use crate::deliver::tempo::Tempo;
use crate::deliver::test_server::{Act, HttpServer, TempDir};
use crate::deliver::{sample, transport};
use crate::model::{Severity, Span, State, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

fn ok() -> Outcome {
    Outcome::Delivered
}

fn failed() -> Outcome {
    Outcome::Retry { after: None, why: "answered 500".into() }
}

fn asked(seconds: i64) -> Outcome {
    Outcome::Retry { after: Some(Span::from_secs(seconds)), why: "answered 429".into() }
}

fn refused() -> Outcome {
    Outcome::Refused { why: "answered 413".into() }
}

/// What was tried: seconds since the start, key, and the body if it is not the usual one.
#[derive(Default)]
struct Seen {
    tries: Mutex<Vec<(f64, String, String)>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Answers as it is told: key, time since the start and number of the try so far.
struct Told {
    seen: Arc<Seen>,
    start: Instant,
    takes: Duration,
    answer: Answer,
    tempo: Option<Tempo>,
}

impl Carry for Told {
    async fn carry(&self, key: &str, body: &[u8], progress: Progress) -> (Outcome, Progress) {
        let now = self.seen.now.fetch_add(1, Relaxed) + 1;
        self.seen.most.fetch_max(now, Relaxed);
        let at = self.start.elapsed().as_secs_f64();
        let number = {
            let mut tries = self.seen.tries.lock().unwrap();
            tries.push((at, key.to_string(), String::from_utf8_lossy(body).into_owned()));
            tries.iter().filter(|it| it.1 == key).count()
        };
        tokio::time::sleep(self.takes).await;
        self.seen.now.fetch_sub(1, Relaxed);
        ((self.answer)(key, at, number), progress)
    }

    fn whole(&self, alert: &Alert) -> Vec<u8> {
        format!("whole {}", alert.rule.id).into_bytes()
    }

    fn reduced(&self, alert: &Alert) -> Vec<u8> {
        format!("reduced {}", alert.rule.id).into_bytes()
    }

    fn in_flight_max(&self) -> usize {
        limits::DELIVERIES_IN_FLIGHT_MAX
    }

    fn bundling(&self) -> Option<Bundling> {
        let compose = |it: &Alert| format!("digest of {}", it.count).into_bytes();
        self.tempo.map(|it| Bundling::new(it, Arc::new(compose)))
    }
}

struct Bench {
    handle: Handle,
    seen: Vec<Arc<Seen>>,
    reports: mpsc::Receiver<Report>,
    start: Instant,
    dir: TempDir,
}

type Answer = Box<dyn Fn(&str, f64, usize) -> Outcome + Send + Sync>;

fn bench(pace: Pace, receivers: Vec<(Duration, Answer)>) -> Bench {
    bench_with(pace, receivers, None)
}

fn bench_with(pace: Pace, receivers: Vec<(Duration, Answer)>, tempo: Option<Tempo>) -> Bench {
    let start = Instant::now();
    let mut seen = Vec::new();
    let mut carriers = Vec::new();
    for (takes, answer) in receivers {
        let one = Arc::new(Seen::default());
        seen.push(one.clone());
        carriers.push((format!("r{}", carriers.len()), Told { seen: one, start, takes, answer, tempo }));
    }
    let dir = TempDir::new();
    let (sender, reports) = mpsc::channel(100_000);
    let (handle, works) = super::start(carriers, clock(), pace, Some(dir.path("dead.ndjson")), Some(sender));
    works.into_iter().for_each(|it| drop(tokio::spawn(it)));
    Bench { handle, seen, reports, start, dir }
}

fn one(answer: impl Fn(&str, f64, usize) -> Outcome + Send + Sync + 'static) -> Bench {
    bench(Pace::default(), vec![(Duration::from_millis(10), Box::new(answer))])
}

fn clock() -> Clock {
    let start = Instant::now();
    let wall = move || Timestamp::from_micros(1_700_000_000_000_000 + start.elapsed().as_micros() as i64);
    Clock { wall: Arc::new(wall), steady: Arc::new(Instant::now) }
}

fn note(id: &str, state: State, severity: Severity) -> Note {
    let mut alert = sample::alert();
    alert.id = id.into();
    alert.state = state;
    alert.rule.severity = severity;
    Note {
        key: crate::deliver::key(&alert),
        lane: id.into(),
        severity,
        body: Arc::from(&b"whole"[..]),
        waited: Span::ZERO,
        alert: Arc::new(alert),
    }
}

fn firing(id: &str) -> Note {
    note(id, State::Firing, Severity::High)
}

impl Bench {
    async fn send(&self, ids: impl IntoIterator<Item = String>) {
        for id in ids {
            self.handle.send(0, firing(&id)).await.unwrap();
        }
    }

    async fn receipts(&mut self, count: usize) -> Vec<Receipt> {
        let mut found = Vec::new();
        while found.len() < count {
            if let Report::Ended(receipt) = self.reports.recv().await.unwrap() {
                found.push(receipt);
            }
        }
        found
    }

    fn tries(&self) -> Vec<(f64, String, String)> {
        self.seen[0].tries.lock().unwrap().clone()
    }

    fn dead(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.dir.path("dead.ndjson")).unwrap_or_default();
        text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
    }

    fn counts(&self) -> [u64; 4] {
        let it = self.handle.counters()[0].clone();
        [it.accepted.load(Relaxed), it.delivered.load(Relaxed), it.pending(), it.expired.load(Relaxed)]
    }
}

#[test]
fn waits_double_up_to_a_minute_and_a_half() {
    let wait = |failures, asked: Option<i64>, dice| {
        let pace = Pace::default();
        wait_after(failures, asked.map(Span::from_secs), pace.first, pace.most, dice).as_secs_f64()
    };
    let most: Vec<f64> = (1..=12).map(|it| wait(it, None, 1.0)).collect();
    assert_eq!(most, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 90.0, 90.0, 90.0, 90.0, 90.0]);
    assert_eq!(wait(7, None, 0.0), 0.0);
    assert_eq!(wait(u32::MAX, None, 0.5), 45.0);
    assert_eq!(wait(1, Some(120), 0.5), 120.5);
    let mut dice = Dice(7);
    let rolls: Vec<f64> = (0..1000).map(|_| dice.roll()).collect();
    assert!(rolls.iter().all(|it| (0.0..1.0).contains(it)));
    assert!((rolls.iter().sum::<f64>() / 1000.0 - 0.5).abs() < 0.05);
}

#[tokio::test(start_paused = true)]
async fn failures_then_success() {
    let mut bench = one(|_, _, number| if number <= 3 { failed() } else { ok() });
    bench.send(["a".into()]).await;
    let receipt = bench.receipts(1).await.remove(0);
    let expected = Receipt { receiver: 0, key: "a-firing".into(), fate: Fate::Delivered, tries: 4, remark: None };
    assert_eq!(receipt, expected);
    assert_eq!(bench.counts(), [1, 1, 0, 0]);
    assert_eq!(bench.handle.counters()[0].retried.load(Relaxed), 3);
    assert!(bench.start.elapsed() < Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn what_the_receiver_asks_for_holds_for_every_note() {
    let mut bench = one(|_, at, _| if at < 60.0 { asked(60) } else { ok() });
    bench.send((0..20).map(|it| it.to_string())).await;
    bench.receipts(20).await;
    let tries = bench.tries();
    let early = tries.iter().filter(|it| it.0 < 60.0).count();
    assert!((1..=limits::DELIVERIES_IN_FLIGHT_MAX).contains(&early), "{tries:?}");
    assert!(tries.iter().all(|it| it.0 < 1.0 || it.0 >= 60.0), "{tries:?}");
    assert!(bench.start.elapsed() < Duration::from_secs(63));
}

#[tokio::test(start_paused = true)]
async fn a_success_under_way_does_not_end_the_peace_that_was_asked_for() {
    let mut bench = one(|key, at, _| if key == "0-firing" && at < 60.0 { asked(60) } else { ok() });
    bench.send((0..8).map(|it| it.to_string())).await;
    bench.receipts(8).await;
    let tries = bench.tries();
    assert!(tries.iter().filter(|it| it.0 < 60.0).count() <= 4, "{tries:?}");
}

#[tokio::test(start_paused = true)]
async fn one_slow_receiver_holds_up_no_other() {
    let hour = Duration::from_secs(3600);
    let slow: (Duration, Answer) = (hour, Box::new(|_, _, _| failed()));
    let quick: (Duration, Answer) = (Duration::from_millis(10), Box::new(|_, _, _| ok()));
    let mut bench = bench(Pace::default(), vec![slow, quick]);
    for index in 0..400 {
        bench.handle.send(0, firing(&index.to_string())).await.unwrap();
        bench.handle.send(1, firing(&index.to_string())).await.unwrap();
    }
    let receipts = bench.receipts(400).await;
    assert!(receipts.iter().all(|it| it.receiver == 1 && it.fate == Fate::Delivered));
    assert!(bench.start.elapsed() < Duration::from_secs(2));
    assert_eq!(bench.seen[0].most.load(Relaxed), limits::DELIVERIES_IN_FLIGHT_MAX);
    assert_eq!(bench.counts(), [400, 0, 400, 0]);
}

#[tokio::test(start_paused = true)]
async fn over_never_overtakes_fire() {
    let mut bench = one(|key, at, _| if key == "a-firing" && at < 30.0 { failed() } else { ok() });
    bench.send(["a".into()]).await;
    bench.handle.send(0, note("a", State::Resolved, Severity::High)).await.unwrap();
    bench.send(["b".into()]).await;
    let keys: Vec<String> = bench.receipts(3).await.into_iter().map(|it| it.key).collect();
    assert_eq!(keys, ["b-firing", "a-firing", "a-resolved"]);
    let tries = bench.tries();
    let first = tries.iter().position(|it| it.1 == "a-resolved").unwrap();
    assert!(tries[first..].iter().all(|it| it.1 != "a-firing"), "{tries:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_receiver_is_probed_and_loses_nothing() {
    let mut bench = one(|_, at, _| if at < 1800.0 { failed() } else { ok() });
    bench.send((0..500).map(|it| it.to_string())).await;
    let receipts = bench.receipts(500).await;
    assert!(receipts.iter().all(|it| it.fate == Fate::Delivered));
    let tries = bench.tries();
    // Ten minutes of failures cost few tries, and half an hour hardly more.
    assert!(tries.iter().filter(|it| it.0 < 600.0).count() <= 40, "{}", tries.len());
    assert!(tries.iter().filter(|it| it.0 < 1800.0).count() <= 60, "{}", tries.len());
    assert!(bench.start.elapsed() < Duration::from_secs(1800 + 300), "{:?}", bench.start.elapsed());
    assert!(bench.seen[0].most.load(Relaxed) <= limits::DELIVERIES_IN_FLIGHT_MAX);
    assert_eq!(bench.counts(), [500, 500, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn trouble_is_told_once_and_its_end_too() {
    let mut bench = one(|_, at, _| if at < 60.0 { failed() } else { ok() });
    bench.send((0..20).map(|it| it.to_string())).await;
    let mut told = Vec::new();
    let mut ended = 0;
    while ended < 20 {
        match bench.reports.recv().await.unwrap() {
            Report::Ended(_) => ended += 1,
            other => told.push(other),
        }
    }
    assert_eq!(told, [Report::Failing { receiver: 0, why: "answered 500".into() }, Report::Well { receiver: 0 }]);
    assert_eq!(bench.handle.counters()[0].failures_in_a_row.load(Relaxed), 0);
}

impl Bench {
    /// What was told besides the ends of notes, until one ends.
    async fn told(&mut self) -> (Vec<Report>, Receipt) {
        let mut told = Vec::new();
        loop {
            match self.reports.recv().await.unwrap() {
                Report::Ended(receipt) => return (told, receipt),
                other => told.push(other),
            }
        }
    }
}

fn gone() -> Outcome {
    Outcome::Gone { why: "answered 410".into() }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_no_more_is_believed_the_third_time() {
    let mut bench = one(|_, _, _| gone());
    bench.send(["a".into(), "b".into(), "c".into()]).await;
    let (told, receipt) = bench.told().await;
    let gone: Vec<&Report> = told.iter().filter(|it| !matches!(it, Report::Failing { .. })).collect();
    assert_eq!(gone, [&Report::Gone { receiver: 0, why: "answered 410".into() }]);
    // Nothing is given up before its time.
    assert!(matches!(receipt.fate, Fate::Dead { why } if why == "expired; at last it answered 410"));
    assert!(bench.start.elapsed() >= Duration::from_secs(limits::DELIVERY_SECONDS_MAX));
    let tries: Vec<f64> = bench.tries().iter().map(|it| it.0).collect();
    assert!(tries.len() <= 9 && tries.iter().any(|it| *it >= 600.0) && tries.iter().all(|it| *it < 620.0), "{tries:?}");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_only_said_so_is_tried_on() {
    let mut bench = one(|_, at, _| if at < 500.0 { gone() } else { ok() });
    bench.send(["a".into()]).await;
    let (told, receipt) = bench.told().await;
    assert_eq!((told, receipt.fate), (vec![], Fate::Delivered));
    // What the others say counts anew.
    let mut bench = one(|_, at, _| if (100.0..700.0).contains(&at) { failed() } else { gone() });
    bench.send(["a".into()]).await;
    assert!(bench.told().await.0.iter().any(|it| matches!(it, Report::Gone { .. })));
    assert!(bench.tries().iter().any(|it| it.0 > 1200.0));
}

#[tokio::test(start_paused = true)]
async fn what_comes_without_a_body_has_the_same_one_on_every_try() {
    let mut bench = one(|_, _, number| if number < 3 { failed() } else { ok() });
    let note = Note { body: Arc::from(&b""[..]), ..firing("a") };
    let expected = format!("whole {}", note.alert.rule.id);
    bench.handle.send(0, note).await.unwrap();
    assert_eq!(bench.receipts(1).await[0].fate, Fate::Delivered);
    let bodies: Vec<String> = bench.tries().into_iter().map(|it| it.2).collect();
    assert_eq!(bodies, vec![expected; 3]);
}

/// Who missed something, while the notes that are called so end.
async fn check_missed(bench: &mut Bench, notes: Vec<Note>, expected: usize) {
    let (mut left, mut missed) = (notes.len(), Vec::new());
    for note in notes {
        bench.handle.send(0, note).await.unwrap();
    }
    while left > 0 {
        match bench.reports.recv().await.unwrap() {
            Report::Ended(_) => left -= 1,
            other => missed.push(other),
        }
    }
    assert_eq!(missed, vec![Report::Missed { receiver: 0, why: "answered 550 to the mail".into() }; expected]);
}

#[tokio::test(start_paused = true)]
async fn that_somebody_missed_an_alert_is_told_once_an_hour() {
    let refuses = || Outcome::Final { why: "answered 550 to the mail".into() };
    let mut bench = one(move |key, _, _| if key.starts_with("good") { ok() } else { refuses() });
    let mut own = firing("own");
    Arc::make_mut(&mut own.alert).rule.id = "tripline.reload-refused".into();
    check_missed(&mut bench, vec![own, firing("good1")], 0).await;
    check_missed(&mut bench, vec![firing("a"), firing("b"), firing("good2")], 1).await;
    tokio::time::sleep(MISSED_TOLD_EVERY).await;
    check_missed(&mut bench, vec![firing("c"), firing("good3")], 1).await;
}

#[tokio::test(start_paused = true)]
async fn trouble_that_lasts_is_told_once() {
    let mut bench = one(|_, at, _| if at < 4000.0 { asked(300) } else { ok() });
    bench.send(["a".into()]).await;
    let (told, receipt) = bench.told().await;
    assert_eq!(receipt.fate, Fate::Delivered);
    let lasting: Vec<&Report> = told.iter().filter(|it| matches!(it, Report::Lasting { .. })).collect();
    assert_eq!(lasting, [&Report::Lasting { receiver: 0, why: "answered 429".into() }]);
}

#[tokio::test(start_paused = true)]
async fn a_poisonous_note_is_reduced_then_buried() {
    let mut bench = one(|key, _, _| if key.starts_with("poison") { refused() } else { ok() });
    bench.send(["poison".into(), "b".into(), "c".into()]).await;
    let receipts = bench.receipts(3).await;
    assert_eq!(receipts[2].key, "poison-firing");
    assert_eq!((receipts[2].tries, &receipts[2].fate), (6, &Fate::Dead { why: "answered 413".into() }));
    let bodies: Vec<String> = bench.tries().into_iter().filter(|it| it.1 == "poison-firing").map(|it| it.2).collect();
    assert_eq!(bodies[..5], ["whole"; 5]);
    assert_eq!(bodies[5], "reduced repeated-login-failures");
    let dead = bench.dead();
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0]["receiver"], &dead[0]["key"]), (&"r0".into(), &"poison-firing".into()));
    assert_eq!(dead[0]["alert"]["id"], "poison");
    assert_eq!(bench.counts(), [3, 2, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn details_that_are_refused_are_left_out() {
    let mut bench = one(|_, _, number| if number <= 5 { refused() } else { ok() });
    bench.send(["a".into()]).await;
    let receipt = bench.receipts(1).await.remove(0);
    assert_eq!(receipt.fate, Fate::Delivered);
    assert_eq!(receipt.remark.as_deref(), Some("answered 413, so it was sent without details"));
}

#[tokio::test(start_paused = true)]
async fn final_is_final() {
    let mut bench = one(|_, _, _| Outcome::Final { why: "answered 550".into() });
    bench.send(["a".into()]).await;
    let receipt = bench.receipts(1).await.remove(0);
    assert_eq!((receipt.tries, receipt.fate), (1, Fate::Dead { why: "answered 550".into() }));
    assert_eq!(bench.dead().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_for_ever() {
    let mut bench = one(|_, _, _| Outcome::Retry { after: Some(SLOW), why: "answered 404".into() });
    bench.send((0..50).map(|it| it.to_string())).await;
    let receipts = bench.receipts(50).await;
    assert!(receipts.iter().all(|it| matches!(it.fate, Fate::Dead { .. })));
    let spent = bench.start.elapsed().as_secs();
    assert!((limits::DELIVERY_SECONDS_MAX..limits::DELIVERY_SECONDS_MAX + 60).contains(&spent), "{spent}");
    // One probe in five minutes, not one a note.
    assert!(bench.tries().len() < 900, "{}", bench.tries().len());
    assert_eq!(bench.dead().len(), 50);
    assert_eq!(bench.counts(), [50, 0, 0, 50]);

    // What has waited in an earlier life counts.
    let mut old = firing("old");
    old.waited = Span::from_secs(limits::DELIVERY_SECONDS_MAX as i64 - 10);
    let start = Instant::now();
    bench.handle.send(0, old).await.unwrap();
    bench.receipts(1).await;
    assert!(start.elapsed() <= Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn the_worst_goes_first() {
    let mut bench = one(|_, at, _| if at < 20.0 { asked(20) } else { ok() });
    for index in 0..300 {
        bench.handle.send(0, note(&index.to_string(), State::Firing, Severity::Low)).await.unwrap();
    }
    bench.handle.send(0, note("worst", State::Firing, Severity::Critical)).await.unwrap();
    let receipts = bench.receipts(301).await;
    let place = receipts.iter().position(|it| it.key == "worst-firing").unwrap();
    assert!(place < 5, "{place}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_buries_the_oldest_or_makes_the_sender_wait() {
    let pace = Pace { waiting_max: 100, ..Pace::default() };
    let mut displaced = bench(pace.clone(), vec![(Duration::ZERO, Box::new(|_, _, _| asked(3600)))]);
    displaced.send((0..150).map(|it| it.to_string())).await;
    let receipts = displaced.receipts(50).await;
    let why = Fate::Dead { why: "displaced: too many notes are waiting".into() };
    assert!(receipts.iter().all(|it| it.fate == why));
    assert_eq!(displaced.counts(), [150, 0, 100, 50]);
    assert_eq!(displaced.dead().len(), 50);

    let pace = Pace { behind: Behind::Outbox, ..pace };
    let waiting = bench(pace, vec![(Duration::ZERO, Box::new(|_, at, _| if at < 60.0 { asked(60) } else { ok() }))]);
    let all = waiting.send((0..500).map(|it| it.to_string()));
    all.await;
    assert!(waiting.start.elapsed() >= Duration::from_secs(60));
    let mut waiting = waiting;
    assert!(waiting.receipts(500).await.iter().all(|it| it.fate == Fate::Delivered));
    assert_eq!(waiting.dead().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_offer_to_a_full_inbox_comes_back() {
    let (handle, _works) = super::start(
        vec![(
            "r".into(),
            Told {
                seen: Arc::default(),
                start: Instant::now(),
                takes: Duration::ZERO,
                answer: Box::new(|_, _, _| ok()),
                tempo: None,
            },
        )],
        clock(),
        Pace::default(),
        None,
        None,
    );
    let taken = (0..1000).take_while(|it| handle.offer(0, firing(&it.to_string())).is_ok()).count();
    assert_eq!(taken, INBOX_NOTES);
    assert_eq!(handle.counters()[0].pending(), INBOX_NOTES as u64);
}

#[tokio::test(start_paused = true)]
async fn a_retired_receiver_lands_what_is_in_flight_and_leaves_the_rest_to_the_outbox() {
    let pace = Pace { behind: Behind::Outbox, ..Pace::default() };
    let mut bench = bench(pace, vec![(Duration::from_secs(5), Box::new(|_, _, _| ok()))]);
    bench.send((0..30).map(|it| it.to_string())).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.handle.retire(0);
    let in_flight = bench.receipts(limits::DELIVERIES_IN_FLIGHT_MAX).await;
    assert!(in_flight.iter().all(|it| it.fate == Fate::Delivered));
    assert_eq!(bench.reports.recv().await, Some(Report::Retired { receiver: 0 }));
    assert!(bench.handle.offer(0, firing("late")).is_err());
    assert_eq!(bench.dead().len(), 0);
    let (desk, work) = bench.handle.add(
        "r0",
        Told {
            seen: Arc::default(),
            start: bench.start,
            takes: Duration::ZERO,
            answer: Box::new(|_, _, _| ok()),
            tempo: None,
        },
    );
    tokio::spawn(work);
    bench.handle.offer(desk, firing("new")).unwrap();
    let receipts = bench.receipts(1).await;
    assert_eq!((receipts[0].receiver, receipts[0].key.as_str()), (1, "new-firing"));
}

#[tokio::test(start_paused = true)]
async fn without_an_outbox_a_retired_receiver_ends_when_it_has_told_everything() {
    let mut bench = one(|_, at, _| if at < 60.0 { failed() } else { ok() });
    bench.send((0..30).map(|it| it.to_string())).await;
    bench.handle.retire(0);
    assert!(bench.receipts(30).await.iter().all(|it| it.fate == Fate::Delivered));
}

#[tokio::test(start_paused = true)]
async fn the_end_delivers_what_can_be_and_keeps_the_rest() {
    let patience = Duration::from_secs(8);
    let good = one(|_, at, _| if at < 100.0 { failed() } else { ok() });
    good.send((0..30).map(|it| it.to_string())).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(good.handle.drain(patience).await, Drained { left: 0 });
    assert_eq!(good.counts(), [30, 30, 0, 0]);
    assert!(good.handle.send(0, firing("late")).await.is_err());

    let bad = one(|_, _, _| failed());
    bad.send((0..30).map(|it| it.to_string())).await;
    assert_eq!(bad.handle.drain(patience).await, Drained { left: 30 });
    assert_eq!(bad.dead().len(), 30);
    assert_eq!(bad.counts(), [30, 0, 0, 30]);
    assert!(bad.start.elapsed() < Duration::from_secs(10));

    let pace = Pace { behind: Behind::Outbox, ..Pace::default() };
    let outbox = bench(pace, vec![(Duration::from_secs(3600), Box::new(|_, _, _| ok()))]);
    outbox.send((0..30).map(|it| it.to_string())).await;
    assert_eq!(outbox.handle.drain(patience).await, Drained { left: 30 });
    assert_eq!(outbox.dead().len(), 0);
    assert_eq!(outbox.counts(), [30, 0, 30, 0]);
}

/// The real thing: a server that fails in every way, then is well.
#[tokio::test]
async fn nothing_is_lost_at_a_hostile_server() {
    let trap = HttpServer::start([]).await;
    let mut acts = vec![
        Act::Status(500),
        Act::Status(503),
        Act::Header(429, "retry-after: 0".into()),
        Act::Reset,
        Act::Taken,
        Act::Hang,
        Act::Huge,
        Act::Header(308, format!("location: http://127.0.0.1:{}/", trap.port)),
        Act::Raw("HTTP/1.1 900 ?\r\n\r\n"),
        Act::Status(400),
        Act::Raw("garbage\r\n\r\n"),
    ];
    acts.extend(vec![Act::Status(500); 20]);
    let server = HttpServer::start(acts).await;
    let text = format!(
        r#"{{"hook": Webhook(url: "http://127.0.0.1:{}/", secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", allow_destinations: ["127.0.0.1"])}}"#,
        server.port
    );
    let settings: Settings = ron::from_str(&text).unwrap();
    let receiver = resolve(&settings, &Outside::system()).unwrap().pop().unwrap();
    let moment = Moment { now: Timestamp::from_micros(0), look: Look::Lines };
    let notes: Vec<Note> = (0..40)
        .map(|index| {
            let alert = Alert { id: format!("{index:032x}"), ..sample::hostile() };
            Note::new(&receiver, Arc::new(alert), moment)
        })
        .collect();
    let timing = transport::Timing { request: Duration::from_millis(300), ..transport::Timing::default() };
    let carrier = Transport::with(receiver, clock().wall, timing, transport::system_lookup()).unwrap();
    let pace = Pace { first: Duration::from_millis(2), most: Duration::from_millis(20), ..Pace::default() };
    let (sender, mut reports) = mpsc::channel(100);
    let (handle, works) = super::start(vec![("hook".into(), carrier)], clock(), pace, None, Some(sender));
    works.into_iter().for_each(|it| drop(tokio::spawn(it)));
    let expected: BTreeSet<String> = notes.iter().map(|it| it.key.clone()).collect();
    for note in notes {
        handle.send(0, note).await.unwrap();
    }
    let mut delivered = 0;
    while delivered < expected.len() {
        if let Report::Ended(receipt) = reports.recv().await.unwrap() {
            assert_eq!(receipt.fate, Fate::Delivered);
            delivered += 1;
        }
    }
    let requests = server.log.requests.lock().unwrap();
    let seen: BTreeSet<String> = requests.iter().map(|it| it.header("webhook-id").to_string()).collect();
    assert_eq!(seen, expected);
    // Every try of a note has the same bytes.
    for one in requests.iter() {
        let same = requests.iter().filter(|it| it.header("webhook-id") == one.header("webhook-id"));
        assert!(same.into_iter().all(|it| it.body == one.body));
    }
    assert_eq!(trap.log.connections.load(Relaxed), 0);
}

proptest! {
    /// Whatever the receiver answers: every note ends once, lanes keep their order, nothing flies beyond the limits,
    /// and the books balance at every step.
    #[test]
    fn the_post_loses_nothing(
        answers in proptest::collection::vec(0u8..7, 1..400),
        lanes in proptest::collection::vec(0u8..6, 1..60),
        seed in any::<u64>(),
    ) {
        let start = Instant::now();
        let mut now = start;
        let pace = Pace { expiry: Duration::from_secs(7200), waiting_max: 40, ..Pace::default() };
        let mut post = Post::new(pace, 4, Dice(seed));
        let mut answers = answers.into_iter();
        let mut waiting = lanes.iter().enumerate();
        let mut flying: Vec<Load> = Vec::new();
        let mut ended: Vec<(String, Fate)> = Vec::new();
        let mut admitted = 0;
        let mut dice = Dice(seed ^ 1);
        for _ in 0..20_000 {
            if let Some((index, lane)) = waiting.next() {
                if post.is_full() {
                    ended.extend(post.displace("full").map(|it| (it.note.key, it.fate)));
                }
                let mut one = firing(&format!("lane{lane}"));
                one.key = format!("{lane}/{index:04}");
                post.admit(one, now);
                admitted += 1;
            }
            ended.extend(std::iter::from_fn(|| post.expire(now)).map(|it| (it.note.key, it.fate)));
            while let Some(load) = post.take(now) {
                let lane = |key: &str| key.split('/').next().unwrap_or_default().to_string();
                prop_assert!(flying.iter().all(|it| lane(&it.key) != lane(&load.key)), "two of a lane");
                flying.push(load);
            }
            prop_assert!(flying.len() <= 4);
            prop_assert_eq!(post.in_flight, flying.len());
            prop_assert_eq!(admitted, post.parcels.len() + ended.len());
            prop_assert_eq!(post.parcels.len(), post.expiries.len());
            prop_assert_eq!(post.bytes, post.parcels.values().map(|it| it.bytes).sum::<usize>());
            if !flying.is_empty() && dice.roll() < 0.7 {
                let load = flying.swap_remove((dice.roll() * flying.len() as f64) as usize);
                let outcome = match answers.next() {
                    Some(0 | 1) => failed(),
                    Some(2) => asked(90),
                    Some(3) => refused(),
                    Some(4) => Outcome::Final { why: "no".into() },
                    Some(_) | None => ok(),
                };
                let end = post.judge(load.id, outcome, load.progress, now, |_| Vec::new());
                ended.extend(end.map(|it| (it.note.key, it.fate)));
            } else if flying.is_empty() {
                match post.wakes(now) {
                    Some(at) => now = now.max(at),
                    None if waiting.len() == 0 => break,
                    None => {}
                }
            }
        }
        prop_assert!(post.parcels.is_empty() && post.lanes.is_empty() && post.ready.is_empty());
        prop_assert!(post.later.is_empty() && post.expiries.is_empty() && post.bytes == 0);
        let keys: BTreeSet<&String> = ended.iter().map(|it| &it.0).collect();
        prop_assert_eq!(keys.len(), lanes.len());
        for lane in 0..6 {
            let prefix = format!("{lane}/");
            let order: Vec<&String> =
                ended.iter().filter(|it| it.1 == Fate::Delivered).map(|it| &it.0).filter(|it| it.starts_with(&prefix)).collect();
            prop_assert!(order.is_sorted(), "{:?}", order);
        }
    }
}

/// A receiver that people read, told once a second at most.
fn people(answer: impl Fn(&str, f64, usize) -> Outcome + Send + Sync + 'static) -> Bench {
    bench_with(Pace::default(), vec![(Duration::from_millis(10), Box::new(answer))], Some(Tempo::seconds(1)))
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_told_in_few_messages_and_hides_nothing() {
    let mut bench = people(|_, _, _| ok());
    let storm = 3000;
    for number in 0..storm {
        bench.handle.send(0, note(&format!("{number}"), State::Firing, Severity::Low)).await.unwrap();
        if number == storm / 2 {
            bench.handle.send(0, note("worst", State::Firing, Severity::Critical)).await.unwrap();
        }
    }
    let receipts = bench.receipts(storm + 1).await;
    assert!(receipts.iter().all(|it| it.fate == Fate::Delivered));
    let keys: BTreeSet<&str> = receipts.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys.len(), storm + 1, "each is accounted for");
    let tries = bench.seen[0].tries.lock().unwrap().clone();
    let last = tries.last().unwrap().0;
    assert!(tries.len() as f64 <= 10.0 + last, "{} messages in {last} s", tries.len());
    let told: usize = tries.iter().map(|it| it.2.strip_prefix("digest of ").map_or(1, |it| it.parse().unwrap())).sum();
    assert_eq!(told, storm + 1, "and told once");
    let worst = tries.iter().find(|it| it.1 == "worst-firing").expect("a critical one is told alone");
    assert!(worst.0 <= 3.0, "after {} s", worst.0);
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_fails_is_sent_again_as_it_was() {
    let mut bench = people(|_, at, _| if at < 20.0 { failed() } else { ok() });
    bench.send((0..40).map(|it| it.to_string())).await;
    assert!(bench.receipts(40).await.iter().all(|it| it.fate == Fate::Delivered));
    let tries = bench.seen[0].tries.lock().unwrap().clone();
    let mut bodies: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, key, body) in &tries {
        bodies.entry(key).or_default().insert(body);
    }
    assert!(bodies.values().all(|it| it.len() == 1), "one key, one body: {bodies:?}");
    assert!(tries.iter().any(|it| it.2.starts_with("digest")), "{tries:?}");
}

#[tokio::test(start_paused = true)]
async fn where_digests_are_refused_all_are_told_one_by_one() {
    let mut bench = people(|key, _, _| if key.len() > 20 { refused() } else { ok() });
    bench.send((0..25).map(|it| it.to_string())).await;
    let receipts = bench.receipts(25).await;
    assert!(receipts.iter().all(|it| it.fate == Fate::Delivered), "{receipts:?}");
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_waits_is_told_together() {
    let mut bench = people(|_, _, _| ok());
    bench.send((0..500).map(|it| it.to_string())).await;
    assert_eq!(bench.handle.drain(Duration::from_secs(5)).await, Drained { left: 0 });
    assert_eq!(bench.receipts(500).await.len(), 500);
}
