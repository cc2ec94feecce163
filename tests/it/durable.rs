//! The service with a state directory: killed at any moment, it has lost nothing that it acknowledged and tells nothing that an
//! uninterrupted run would not.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::program::{Folder, PATIENCE, PROGRAM, Running, tripline, tripline_with, wait_for};

const RULE: &str = "repeated-login-failures";

/// Forty users, seven failures each, mingled; no two lines of one time.
fn log() -> Vec<String> {
    let mut lines = Vec::new();
    for turn in 0..7 {
        for user in 0..40 {
            let second = turn * 60 + user;
            lines.push(format!(
                "2025-04-14 08:{:02}:{:02} | 203.0.113.{user} | user{user}@example.com | Brazil | Login failure\n",
                second / 60,
                second % 60,
            ));
        }
    }
    lines
}

/// Sends what the service wants next, at most `most` lines; the last line it acknowledged.
fn send(address: &str, lines: &[String], most: usize) -> usize {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = BufReader::new(client.try_clone().unwrap());
    client.write_all(b"HELLO edge 1\n").unwrap();
    let mut hear = || {
        let mut line = String::new();
        heard.read_line(&mut line).unwrap();
        line.split_whitespace().last().and_then(|it| it.parse::<usize>().ok()).unwrap_or_else(|| panic!("{line:?}"))
    };
    let next = hear();
    let until = (next - 1 + most).min(lines.len());
    client.write_all(lines[next - 1..until].concat().as_bytes()).unwrap();
    let mut acknowledged = next - 1;
    while acknowledged < until {
        acknowledged = hear();
    }
    acknowledged
}

fn ids(text: &str) -> BTreeSet<String> {
    let alerts = text.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
    alerts.filter(|it| it["state"] == "firing").map(|it| it["id"].as_str().unwrap().to_string()).collect()
}

#[test]
fn killed_again_and_again_it_tells_what_a_replay_tells() {
    let folder = Folder::new();
    let alerts = folder.path("alerts.ndjson");
    let config = format!(
        r#"(sources: [Tcp(listen: "127.0.0.1:0", ack: true)], receivers: {{"file": JsonFile(path: "{alerts}")}}, state: Dir("state"))"#
    );
    let config = folder.write("tripline.ron", config.as_bytes());
    let lines = log();
    let whole = folder.write("all.log", lines.concat().as_bytes());
    let run = ["run", "--config", &config, "--rule", RULE];
    let mut acknowledged = 0;
    for most in [1, 30, 77, 5] {
        let running = Running::start(&run);
        let now = send(&running.address(), &lines, most);
        assert!(now > acknowledged, "{now} after {acknowledged}");
        acknowledged = now;
        running.signal("KILL");
        running.wait();
    }
    let running = Running::start(&run);
    assert_eq!(send(&running.address(), &lines, lines.len()), lines.len());
    let expected = ids(&tripline(&["replay", "-q", "--rule", RULE, &whole]).succeeds().stdout);
    assert_eq!(expected.len(), 40);
    wait_for("every alert", || (ids(&std::fs::read_to_string(&alerts).unwrap_or_default()) == expected).then_some(()));
    running.signal("TERM");
    running.wait().succeeds();
    let state = folder.path("state");
    assert!(tripline(&["state", "verify", &state]).succeeds().stdout.starts_with("sound"));
    for file in std::fs::read_dir(&state).unwrap() {
        let file = file.unwrap();
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?} is not its owner's alone",
            file.path()
        );
    }
    let status = tripline(&["state", "status", &state]).succeeds().stdout;
    assert!(status.contains("client      edge committed up to line 280"), "{status}");
    assert!(status.contains("identity    fired 40 = delivered 40 + pending 0"), "{status}");
}

#[test]
fn a_damaged_state_is_set_aside_and_the_service_goes_on() {
    let folder = Folder::new();
    let config =
        folder.write("tripline.ron", br#"(sources: [Tcp(listen: "127.0.0.1:0", ack: true)], state: Dir("state"))"#);
    let run = ["run", "--config", &config, "--rule", RULE];
    let running = Running::start(&run);
    send(&running.address(), &log(), 20);
    running.signal("TERM");
    running.wait().succeeds();
    let database = folder.path("state/state.redb");
    let mut bytes = std::fs::read(&database).unwrap();
    let half = bytes.len() / 2;
    bytes.truncate(half);
    std::fs::write(&database, bytes).unwrap();
    tripline(&["state", "verify", &folder.path("state")]).exits(4);
    let running = Running::start(&run);
    running.complains("what was set aside", |it| it.contains("state.damaged-"));
    let second = Running::start(&run);
    second.wait().exits(4);
    assert_eq!(send(&running.address(), &log(), 20), 20);
    running.signal("TERM");
    let done = running.wait().succeeds();
    assert!(done.stdout.contains("tripline.state-damaged"), "{}", done.stdout);
}

/// Appends lines to a file as its writer would.
fn append(path: &str, lines: &[String]) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(lines.concat().as_bytes()).unwrap();
}

#[test]
fn a_followed_log_is_rotated_and_the_service_killed_and_every_line_counts_once() {
    let folder = Folder::new();
    let (alerts, path) = (folder.path("alerts.ndjson"), folder.path("app.log"));
    let config = format!(
        r#"(sources: [File(path: "{path}*", follow: true)], receivers: {{"file": JsonFile(path: "{alerts}")}}, state: Dir("state"))"#
    );
    let config = folder.write("tripline.ron", config.as_bytes());
    let lines = log();
    let whole = folder.write("all.log", lines.concat().as_bytes());
    let run = ["run", "--config", &config, "--rule", RULE];
    let mut pieces = lines.chunks(40);
    // Not by `state status`: it opens the state, and could be there before the service is.
    let read = |line: usize| {
        wait_for("lines to be committed", || {
            let status = std::fs::read_to_string(folder.path("state/status.json")).unwrap_or_default();
            status.contains(&format!("\"line\":{line},")).then_some(())
        });
    };
    append(&path, pieces.next().unwrap());
    let running = Running::start(&run);
    read(40);
    append(&path, &pieces.next().unwrap()[..13]);
    running.signal("KILL");
    running.wait();
    // Renamed while it is down, with lines that nobody has read; and again while it runs.
    append(&path, &lines[53..80]);
    std::fs::rename(&path, format!("{path}.1")).unwrap();
    append(&path, pieces.next().unwrap());
    let running = Running::start(&run);
    read(80);
    std::fs::rename(format!("{path}.1"), format!("{path}.2")).unwrap();
    std::fs::rename(&path, format!("{path}.1")).unwrap();
    append(&path, pieces.next().unwrap());
    running.signal("KILL");
    running.wait();
    // Copied and emptied.
    append(&path, pieces.next().unwrap());
    std::fs::copy(&path, format!("{path}.0")).unwrap();
    std::fs::write(&path, "").unwrap();
    append(&path, pieces.next().unwrap());
    let running = Running::start(&run);
    append(&path, pieces.next().unwrap());
    let expected = ids(&tripline(&["replay", "-q", "--rule", RULE, &whole]).succeeds().stdout);
    wait_for("every alert", || (ids(&std::fs::read_to_string(&alerts).unwrap_or_default()) == expected).then_some(()));
    running.signal("TERM");
    running.wait().succeeds();
    // A count of seven failures each: neither lost nor twice.
    let running = Running::start(&run);
    running.complains("what it remembers", |it| it.contains("remembered"));
    running.signal("TERM");
    running.wait().succeeds();
    let told = std::fs::read_to_string(&alerts).unwrap();
    assert_eq!(ids(&told), expected);
    let firing = told.lines().filter(|it| it.contains("\"firing\"")).count();
    assert_eq!(firing, expected.len(), "each alert is told once");
}

#[test]
fn a_file_that_is_read_once_is_not_read_again_after_a_restart() {
    let folder = Folder::new();
    let (alerts, path) = (folder.path("alerts.ndjson"), folder.write("app.log", log()[..120].concat().as_bytes()));
    let config = format!(
        r#"(sources: [File(path: "{path}")], receivers: {{"file": JsonFile(path: "{alerts}")}}, state: Dir("state"))"#
    );
    let config = folder.write("tripline.ron", config.as_bytes());
    let run = ["run", "--config", &config, "--rule", RULE];
    for _ in 0..3 {
        tripline(&run).succeeds();
    }
    let status = tripline(&["state", "status", &folder.path("state")]).succeeds().stdout;
    assert!(status.contains("read up to line 120"), "{status}");
    // Three failures of each user: were they counted three times, there would be alerts.
    assert_eq!(ids(&std::fs::read_to_string(&alerts).unwrap_or_default()).len(), 0);
}

/// Asks the listener for machines.
/// Five rounds over a log whose failures begin in one life and end in the next: whatever each end leaves behind, snapshot or
/// journal, the next start knows as much.
#[test]
fn a_stop_leaves_a_snapshot_only_where_a_start_had_to_pay_for_none() {
    let folder = Folder::new();
    let config = folder.write("tripline.ron", format!("(state: Dir({:?}))", folder.path("state")).as_bytes());
    let snapshots = || {
        let names = std::fs::read_dir(folder.path("state")).unwrap().map(|it| it.unwrap().file_name());
        names.filter(|it| it.to_string_lossy().starts_with("snapshot-")).count()
    };
    let all = log();
    let (mut told, mut kept) = (BTreeSet::new(), Vec::new());
    for (life, lines) in all.chunks(all.len() / 5).enumerate() {
        // What fills the journal: three failures each, of which nobody is told.
        let busy = |it: u32| {
            format!("2025-04-14 08:00:0{} | 203.0.113.7 | p{}@example.com | Brazil | Login failure\n", it % 3, it / 3)
        };
        let busy: String = (0..if life == 0 { 24_000 } else { 0 }).map(busy).collect();
        let done = tripline_with(&["run", "--config", &config, "--rule", RULE], (busy + &lines.concat()).as_bytes())
            .succeeds();
        told.extend(done.stdout.lines().filter(|it| it.contains("firing")).map(String::from));
        kept.push(snapshots());
    }
    let replayed =
        tripline_with(&["replay", "--rule", RULE, "--output", "ndjson"], all.concat().as_bytes()).succeeds().stdout;
    assert_eq!(told.len(), 40);
    assert_eq!(ids(&told.into_iter().collect::<Vec<_>>().join("\n")), ids(&replayed));
    assert_eq!(kept, [0, 1, 1, 1, 1]);
}

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A file that may not grow is what an unprivileged test has of a full disk.
#[test]
fn on_a_full_disk_nothing_is_acknowledged_and_everybody_is_told() {
    let folder = Folder::new();
    let config = folder.write(
        "tripline.ron",
        br#"(sources: [Tcp(listen: "127.0.0.1:0", ack: true)], web: (listen: "127.0.0.1:0"), state: Dir("state"))"#,
    );
    let line = |it: usize| {
        let time = format!("08:{:02}:{:02}", it / 60 % 60, it % 60);
        let long = "x".repeat(1500);
        format!("2025-04-14 {time} | 203.0.113.9 | user{it}@example.com | Brazil | Login failure {long}\n")
    };
    let lines: Vec<String> = (0..20_000).map(line).collect();
    // In blocks of 512 bytes: 8 MiB.
    let program = format!("trap '' XFSZ; ulimit -f 16384; exec {} run --config {config} --rule login-failed", PROGRAM);
    let running = Running::start_as("sh", &["-c", &program]);
    let said =
        running.complains("both addresses", |it| it.contains("metrics on http://") && it.contains("listening on "));
    let web = said.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_string();
    let address = running.address();
    let mut client = TcpStream::connect(&address).unwrap();
    let all = lines.concat();
    let sender = std::thread::spawn({
        let mut client = client.try_clone().unwrap();
        // It waits until it is not heard any more.
        move || drop(client.write_all(b"HELLO edge 1\n").and_then(|()| client.write_all(all.as_bytes())))
    });
    let told = running.says("the alert about itself", |it| it.contains("tripline.storage-full"));
    assert!(told.contains("no line is taken until it can be kept"), "{told}");
    let health = ask(&web, "GET /health HTTP/1.1\r\n\r\n");
    assert!(health.contains(r#"{"status":"degraded","reasons":["storage_full""#), "{health}");
    let refused = ask(&web, "POST /ingest HTTP/1.1\r\nContent-Length: 2\r\n\r\nx\n");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("Retry-After: "), "{refused}");
    running.signal("TERM");
    running.wait().succeeds();
    sender.join().unwrap();
    let mut heard = String::new();
    let _ = client.read_to_string(&mut heard);
    let acknowledged: usize = heard.lines().last().and_then(|it| it.split(' ').nth(1)?.parse().ok()).unwrap();
    assert!(acknowledged < lines.len(), "the disk was never full");
    // Where there is room it wants exactly what it did not acknowledge.
    let running = Running::start(&["run", "--config", &config, "--rule", "login-failed"]);
    assert_eq!(send(&running.address(), &lines, 100), acknowledged + 100);
    running.signal("TERM");
    running.wait().succeeds();
}
