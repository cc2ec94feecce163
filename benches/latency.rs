//! From a line arriving by TCP to the webhook request leaving.
//!
//! The real program with the real receiver, all on loopback: a sender writes 50,000 access-log lines a second, with the times at
//! which they are written; one in 250 satisfies a rule of its own, and its alert comes back by HTTP. What lies between the
//! two, as a histogram. `cargo bench --bench latency`; RATE, SECONDS and
//! TRIPLINE (another build of the program) can be set.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tripline::model::Timestamp;

/// One line in so many is told of.
const PROBE_EVERY: u64 = 250;
/// Lines are written in so many pieces a second, as a collector under load would.
const WRITES_PER_SECOND: u64 = 1000;
/// Not counted: the first connection to the receiver, and caches.
const WARM_UP: Duration = Duration::from_secs(1);
const RULE: &str = r#"Rule(
    id: "probe", title: "{user.name}", severity: High, when: Eq("action", "Probe"), by: ["user.name"], detect: Each,
)"#;

type Arrivals = Arc<Mutex<HashMap<u64, Instant>>>;

fn main() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |it| it.parse().expect(name));
    let (rate, seconds) = (number("RATE", 50_000), number("SECONDS", 10));
    let arrivals = Arrivals::default();
    let receiver = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let port = receiver.local_addr().expect("it is bound").port();
    let kept = arrivals.clone();
    std::thread::spawn(move || receiver.incoming().flatten().for_each(|it| answer(it, kept.clone())));
    let folder = std::env::temp_dir().join(format!("tripline-latency-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
    std::fs::write(folder.join("probe.ron"), RULE).expect("as above");
    let config = format!(
        r#"(
            sources: [Tcp(listen: "127.0.0.1:0")], lateness: "0s", rules: ["probe.ron"],
            receivers: {{"hook": Webhook(url: "http://127.0.0.1:{port}/", allow_destinations: ["127.0.0.0/8"])}},
        )"#
    );
    std::fs::write(folder.join("tripline.ron"), config).expect("as above");
    let (mut program, address) = start(&folder);
    let sent = send(&address, rate, Duration::from_secs(seconds));
    // What is still on its way; a retry comes after a second at the earliest, and would show as the maximum.
    std::thread::sleep(Duration::from_secs(3));
    let _ = program.kill().and_then(|()| program.wait());
    let _ = std::fs::remove_dir_all(&folder);
    let arrivals = arrivals.lock().expect("nobody panics with it");
    let counted: Vec<u64> = sent.keys().copied().filter(|it| *it > rate / PROBE_EVERY * WARM_UP.as_secs()).collect();
    let missing = counted.iter().filter(|it| !arrivals.contains_key(it)).count();
    let mut all: Vec<Duration> =
        counted.iter().filter_map(|it| Some(arrivals.get(it)?.duration_since(sent[it]))).collect();
    all.sort();
    println!("{rate} lines a second for {seconds} s, {} alerts by webhook, {missing} missing", all.len());
    show(&all);
}

/// The program, listening, and where.
fn start(folder: &std::path::Path) -> (Child, String) {
    let built = std::env::var("TRIPLINE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tripline").to_string());
    let mut program = Command::new(built)
        .args(["run", "--config", "tripline.ron", "--rule", "probe"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut said = BufReader::new(program.stderr.take().expect("it is piped"));
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(said.read_line(&mut line).is_ok_and(|it| it > 0), "it ended early");
        if let Some((_, address)) = line.split_once("listening on ") {
            break address.trim().to_string();
        }
    };
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::stderr()));
    (program, address)
}

/// Writes lines at that rate; when each probe was handed over.
fn send(address: &str, rate: u64, time: Duration) -> HashMap<u64, Instant> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket can do that");
    let mut sent = HashMap::new();
    let started = Instant::now();
    let (mut lines, mut text) = (0, String::new());
    for piece in 1.. {
        let due = Duration::from_nanos(1_000_000_000 / WRITES_PER_SECOND * piece);
        if due > time {
            break;
        }
        std::thread::sleep(due.saturating_sub(started.elapsed()));
        text.clear();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_micros();
        let now = Timestamp::from_micros(now as i64);
        let mut probes = Vec::new();
        while lines < rate * piece / WRITES_PER_SECOND {
            lines += 1;
            let (user, action) = match lines % PROBE_EVERY {
                0 => (lines / PROBE_EVERY, "Probe"),
                _ => (lines % 10_007, "API call"),
            };
            if action == "Probe" {
                probes.push(user);
            }
            text += &format!(
                "{{\"time\":\"{now}\",\"ip\":\"203.0.113.{}\",\"user\":\"u{user}@example.com\",\"geo\":\"USA\",\"action\":\"{action}\",\
                 \"status\":200,\"user_agent\":\"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0\"}}\n",
                lines % 250
            );
        }
        let at = Instant::now();
        sent.extend(probes.into_iter().map(|it| (it, at)));
        stream.write_all(text.as_bytes()).expect("it reads");
    }
    println!("sent {lines} lines in {:.2} s", started.elapsed().as_secs_f64());
    sent
}

/// Takes requests of one connection, and notes when each came and whom it is about.
fn answer(stream: TcpStream, arrivals: Arrivals) {
    std::thread::spawn(move || {
        let mut out = stream.try_clone().expect("a socket can be shared");
        let mut requests = BufReader::new(stream);
        let mut line = String::new();
        loop {
            let mut length = 0;
            let mut at = None;
            loop {
                line.clear();
                if !requests.read_line(&mut line).is_ok_and(|it| it > 0) {
                    return;
                }
                at.get_or_insert_with(Instant::now);
                if let Some(it) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = it.trim().parse().expect("a number of bytes");
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            if requests.read_exact(&mut body).is_err() {
                return;
            }
            let alert: serde_json::Value = serde_json::from_slice(&body).expect("an alert is JSON");
            let user = alert["entity"]["user.name"].as_str().and_then(|it| it[1..].split('@').next()?.parse().ok());
            if let (Some(user), Some(at), Some("firing")) = (user, at, alert["state"].as_str()) {
                arrivals.lock().expect("nobody panics with it").entry(user).or_insert(at);
            }
            if out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
                return;
            }
        }
    });
}

/// A line for each doubling, and the figures people ask for.
fn show(all: &[Duration]) {
    let Some(last) = all.last() else { return };
    let mut end = Duration::from_micros(125);
    let mut from = 0;
    while from < all.len() {
        let until = all.partition_point(|it| *it < end);
        let share = 100.0 * (until - from) as f64 / all.len() as f64;
        println!(
            "below {:>8.3} ms {:>7} {:>5.1} % {}",
            end.as_secs_f64() * 1e3,
            until - from,
            share,
            "#".repeat(share as usize / 2)
        );
        (from, end) = (until, end * 2);
    }
    let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let (middle, many, most) = (at(0.5), at(0.9), at(0.99));
    println!("p50 {middle:.2} ms, p90 {many:.2} ms, p99 {most:.2} ms, largest {:.2} ms", last.as_secs_f64() * 1e3);
}
