//! What is told does not depend on how many threads read it.

use std::io;

use tripline::bench::{Layout, Workload};
use tripline::deliver::terminal::{Look, compose};
use tripline::engine::{Engine, Rejected, Wanted};
use tripline::model::{Alert, Span, Timestamp};
use tripline::runtime::replay::{Replay, Sink, replay};
use tripline::runtime::setup::{Choice, Setup};
use tripline::source;
use tripline::source::reader::Reader;

/// Alerts and rejects go to different places: each has an order of its own, and none between them is promised.
#[derive(Default)]
struct Written {
    alerts: String,
    rejects: String,
}

impl Sink for Written {
    fn told(&mut self, alerts: &mut Vec<Alert>) -> io::Result<()> {
        alerts.drain(..).for_each(|it| self.alerts.push_str(&compose(&it, Look::Lines)));
        Ok(())
    }

    fn rejected(&mut self, source: &str, reject: &Rejected) {
        self.rejects.push_str(&format!("{source}:{} {}\n", reject.line, reject.reason));
    }

    fn progress(&mut self, _engine: &Engine, _readers: &[Reader]) {}
}

#[test]
fn any_number_of_threads_tells_the_same_to_the_byte() {
    let log = std::env::temp_dir().join(format!("tripline-threads-{}.log", std::process::id()));
    let mut lines = Vec::new();
    for (number, event) in Workload::new(12_000, 42).enumerate() {
        // Several layouts, and some lines that are nothing.
        let layout = [Layout::Ndjson, Layout::Pipe, Layout::Wide][number / 500 % 3];
        layout.write(&event, &mut lines).unwrap();
        if number % 997 == 0 {
            lines.extend_from_slice(b"{\"time\": broken\n");
        }
    }
    std::fs::write(&log, &lines).unwrap();
    let setup = Setup::prepare(&Choice::default(), Wanted::ByRules).expect("the built-in pack loads");
    let run = |threads| {
        let reader = source::file::reader(0, log.to_str().unwrap(), 1 << 20).unwrap();
        let reference = Timestamp::from_micros(1_744_444_800_000_000);
        let job = Replay { readers: vec![reader], lateness: Span::from_secs(2), threads, reference, lessons: None };
        let mut written = Written::default();
        let (_, stats) = replay(&setup, job, &mut written).expect("the log can be read");
        assert_eq!(stats.counts.received, 12_013);
        (written.alerts, written.rejects)
    };
    let (alerts, rejects) = run(1);
    let told = alerts.lines().count();
    assert!(told > 30, "{told} alerts are too few to tell anything");
    assert_eq!(rejects.lines().count(), 13);
    for threads in [2, 3, 8] {
        let found = run(threads);
        let other = alerts.lines().zip(found.0.lines()).find(|(one, other)| one != other);
        assert!(alerts == found.0, "{threads} threads tell something else: {other:?}");
        assert_eq!(rejects, found.1, "{threads} threads");
    }
    std::fs::remove_file(&log).unwrap();
}
