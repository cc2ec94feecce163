//! The program as a service: what goes in by any door comes out the same, nothing is lost while somebody is away, and it
//! ends when it is asked to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;

use crate::log::{Line, generate, text};
use crate::play::bare;
use crate::program::{Folder, PATIENCE, Running, tripline, tripline_with, wait_for};

/// A log in which no two lines have the same time, so that a pause of the sender can change no order.
fn log() -> String {
    let mut lines: Vec<Line> = generate(11, 300);
    lines.dedup_by_key(|it| it.at_ms);
    text(&lines)
}

/// The alerts that opened, without what says where their lines came from.
fn fired(stdout: &str) -> Vec<String> {
    let alerts = stdout.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
    alerts.filter(|it| it["state"] == "firing").map(bare).collect()
}

fn all(stdout: &str) -> Vec<String> {
    stdout.lines().map(|it| bare(serde_json::from_str(it).unwrap())).collect()
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

// ---- the same by every door

#[test]
fn files_stdin_and_tcp_tell_the_same() {
    let folder = Folder::new();
    let log = log();
    let file = folder.write("access.log", log.as_bytes());
    let expected = tripline(&["replay", &file]).succeeds().stdout;
    assert!(fired(&expected).len() > 10, "a quiet log proves nothing");
    assert_eq!(all(&tripline_with(&["replay"], log.as_bytes()).succeeds().stdout), all(&expected), "replay of stdin");
    assert_eq!(all(&tripline_with(&["replay", "-"], log.as_bytes()).succeeds().stdout), all(&expected), "replay of -");
    assert_eq!(all(&tripline_with(&["run"], log.as_bytes()).succeeds().stdout), all(&expected), "run");
    let lf = log.as_bytes().to_vec();
    let crlf = log.replace('\n', "\r\n").into_bytes();
    for (name, bytes) in [("lines", lf), ("lines with CR", crlf)] {
        over_tcp(name, &bytes, &fired(&expected));
    }
    // Counted messages are syslog, so they have a priority.
    let syslog: Vec<String> = log.lines().filter(|it| it.contains("sshd[")).map(|it| format!("<38>{it}")).collect();
    let file = folder.write("syslog.log", (syslog.join("\n") + "\n").as_bytes());
    let expected = tripline(&["replay", &file]).succeeds().stdout;
    let counted: String = syslog.iter().map(|it| format!("{} {it}", it.len())).collect();
    assert!(!fired(&expected).is_empty(), "a quiet log proves nothing");
    over_tcp("counted", counted.as_bytes(), &fired(&expected));
}

fn over_tcp(name: &str, bytes: &[u8], expected: &[String]) {
    let running = Running::start(&["run", "--listen", "127.0.0.1:0"]);
    let mut client = connect(&running.address());
    client.write_all(bytes).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    running.says("all alerts over TCP", |it| it.matches(r#""state":"firing""#).count() >= expected.len());
    running.signal("TERM");
    let done = running.wait().succeeds();
    assert_eq!(fired(&done.stdout), expected, "TCP, {name}: {}", done.stderr);
}

#[test]
fn many_clients_at_once_lose_nothing() {
    let running = Running::start(&["run", "--listen", "127.0.0.1:0", "--rule", "repeated-login-failures"]);
    let address = running.address();
    let clients: Vec<JoinHandle<()>> = (0..20)
        .map(|client| {
            let address = address.clone();
            thread::spawn(move || {
                let mut stream = connect(&address);
                for second in 0..6 {
                    let stamp = format!("2025-04-14 08:{client:02}:{:02}", second * 5);
                    let line = format!("{stamp} | 203.0.113.9 | user{client}@example.com | China | Login failure\n");
                    // Two writes a line: a line is what ends in LF, not what arrives at once.
                    stream.write_all(&line.as_bytes()[..30]).unwrap();
                    stream.write_all(&line.as_bytes()[30..]).unwrap();
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|it| it.join().unwrap());
    running.says("an alert for each client", |it| fired_lines(it) == 20);
    running.signal("TERM");
    let done = running.wait().succeeds();
    let mut users: Vec<String> = done
        .stdout
        .lines()
        .map(|it| serde_json::from_str::<Value>(it).unwrap()["entity"]["user.name"].to_string())
        .collect();
    users.sort();
    users.dedup();
    assert_eq!(users.len(), 20);
    assert!(done.stderr.contains("120 lines (0 rejected)"), "{}", done.stderr);
}

fn fired_lines(stdout: &str) -> usize {
    stdout.lines().filter(|it| it.contains(r#""state":"firing""#)).count()
}

/// The same five failures, as many people as wanted.
fn failures(user: &str) -> String {
    let line = |second| format!("2025-04-14 08:00:{second:02} | 203.0.113.9 | {user} | China | Login failure\n");
    (0..6).map(line).collect()
}

#[test]
fn a_client_hears_what_is_committed() {
    let folder = Folder::new();
    let config = folder.write("tripline.ron", br#"(sources: [Tcp(listen: "127.0.0.1:0", ack: true)])"#);
    let running = Running::start(&["run", "--config", &config]);
    let mut client = connect(&running.address());
    let mut heard = BufReader::new(client.try_clone().unwrap());
    let mut hear = || {
        let mut line = String::new();
        heard.read_line(&mut line).unwrap();
        line
    };
    client.write_all(b"HELLO edge-1 1\n").unwrap();
    assert_eq!(hear(), "OK 1\n");
    client.write_all(failures("ann@example.com").as_bytes()).unwrap();
    let mut last = 0;
    while last < 6 {
        let said = hear();
        let number: u64 =
            said.strip_prefix("ACK ").and_then(|it| it.trim().parse().ok()).unwrap_or_else(|| panic!("{said:?}"));
        assert!(number > last && number <= 6, "{said:?} after {last}");
        last = number;
    }
    // What was acknowledged is told, whatever comes now.
    running.signal("TERM");
    let done = running.wait().succeeds();
    assert!(done.stdout.contains(r#""id":"repeated-login-failures""#), "{} {}", done.stdout, done.stderr);
}

#[test]
fn without_a_greeting_lines_are_counted() {
    let folder = Folder::new();
    let config = folder.write("tripline.ron", br#"(sources: [Tcp(listen: "127.0.0.1:0", ack: true)])"#);
    let running = Running::start(&["run", "--config", &config]);
    let mut client = connect(&running.address());
    client.write_all(failures("ann@example.com").as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.lines().last(), Some("ACK 6"), "{answer:?}");
}

/// Lines that do not say when, and a banner beside a backlog that is years behind the clock.
#[test]
fn whoever_does_not_say_what_time_it_is_is_judged_and_holds_nobody_up() {
    let running = Running::start(&["run", "--listen", "127.0.0.1:0"]);
    let mut banner = connect(&running.address());
    banner.write_all(b"hello world\n").unwrap();
    let (mut timeless, mut behind) = (connect(&running.address()), connect(&running.address()));
    let line = "sshd[1]: Failed password for root from 203.0.113.9 port 22 ssh2\n";
    timeless.write_all(line.repeat(8).as_bytes()).unwrap();
    behind.write_all(failures("bob").as_bytes()).unwrap();
    running.says("alerts about both", |it| it.contains(r#""user.name":"root""#) && it.contains("bob"));
    running.signal("TERM");
    let opened: Vec<Value> =
        running.wait().succeeds().stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert!(opened.iter().all(|it| !it["opened_at"].as_str().unwrap().starts_with("1970")), "{opened:?}");
}

#[test]
fn the_end_of_stdin_is_not_the_end_while_others_speak() {
    let mut running = Running::start(&["run", "--listen", "127.0.0.1:0"]);
    let address = running.address();
    running.end_input();
    connect(&address).write_all(failures("ann@example.com").as_bytes()).unwrap();
    running.says("an alert", |it| it.contains("repeated-login-failures"));
    running.signal("INT");
    running.wait().succeeds();
}

#[test]
fn whoever_reads_our_output_may_leave() {
    let folder = Folder::new();
    let file = folder.write("a.log", text(&generate(3, 3_000)).as_bytes());
    for command in [vec!["replay", "--all-rules", &file], vec!["normalize", &file], vec!["rules", "--output", "ndjson"]]
    {
        let shown = command.iter().map(|it| format!("'{it}'")).collect::<Vec<_>>().join(" ");
        let script = format!("{{ '{}' {shown}; echo \"exit $?\" >&2; }} | head -n 1", env!("CARGO_BIN_EXE_tripline"));
        let done = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert!(stderr.contains("exit 0") && !stderr.contains("panicked"), "{command:?}: {stderr}");
        assert_eq!(String::from_utf8_lossy(&done.stdout).lines().count(), 1);
    }
}

// ---- receivers

/// A web server that keeps what it is sent. It can be away for a while, and come back at the same place.
struct Hook {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<Request>>>,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

#[derive(Clone, Debug)]
struct Request {
    headers: BTreeMap<String, String>,
    body: String,
}

impl Hook {
    fn start() -> Hook {
        let mut hook = Hook { address: ([127, 0, 0, 1], 0).into(), taken: Arc::default(), running: None };
        hook.come_back();
        hook
    }

    fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        let (stop, taken) = (Arc::new(AtomicBool::new(false)), self.taken.clone());
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                if let Some(request) = stream.ok().and_then(|it| answer(&it)) {
                    taken.lock().unwrap().push(request);
                }
            }
        });
        self.running = Some((stop, thread));
    }

    fn go_away(&mut self) {
        let (stop, thread) = self.running.take().unwrap();
        stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        thread.join().unwrap();
    }

    fn taken(&self) -> Vec<Request> {
        self.taken.lock().unwrap().clone()
    }
}

/// Reads one request, says 200 and closes. None: somebody only knocked.
fn answer(stream: &TcpStream) -> Option<Request> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(stream);
    let mut headers = BTreeMap::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
        }
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    Some(Request { headers, body: String::from_utf8(body).ok()? })
}

const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn hook_config(folder: &Folder, hook: &Hook) -> String {
    let receiver = format!(
        r#""hook": Webhook(url: "http://{}/alerts", secret: "whsec_{SECRET}", allow_destinations: ["127.0.0.0/8"])"#,
        hook.address
    );
    let config =
        format!(r#"(sources: [Tcp(listen: "127.0.0.1:0")], receivers: {{{receiver}}}, routes: [(to: ["hook"])])"#);
    folder.write("tripline.ron", config.as_bytes())
}

#[test]
fn a_webhook_that_was_away_hears_everything_once_it_is_back() {
    let folder = Folder::new();
    let mut hook = Hook::start();
    let config = hook_config(&folder, &hook);
    let running = Running::start(&["run", "--config", &config, "--rule", "repeated-login-failures"]);
    let address = running.address();
    let say = |user: &str| connect(&address).write_all(failures(user).as_bytes()).unwrap();
    let users_heard = |hook: &Hook| {
        let alerts = hook.taken().into_iter().map(|it| serde_json::from_str::<Value>(&it.body).unwrap());
        let users = alerts
            .filter(|it| it["state"] == "firing")
            .map(|it| it["entity"]["user.name"].as_str().unwrap().to_string());
        users.collect::<Vec<_>>()
    };
    say("ann@example.com");
    wait_for("the first alert", || users_heard(&hook).contains(&"ann@example.com".into()).then_some(()));
    hook.go_away();
    ["bob@example.com", "cid@example.com", "dan@example.com"].into_iter().for_each(say);
    // Whether it was tried meanwhile or not, all of it must come.
    hook.come_back();
    wait_for("all four", || (users_heard(&hook).len() >= 4).then_some(()));
    running.signal("TERM");
    running.wait().succeeds();
    let mut users = users_heard(&hook);
    users.sort();
    assert_eq!(users, ["ann@example.com", "bob@example.com", "cid@example.com", "dan@example.com"], "each once");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(SECRET).unwrap());
    for Request { headers, body } in hook.taken() {
        let signed = format!("{}.{}.{body}", headers["webhook-id"], headers["webhook-timestamp"]);
        let signature = STANDARD.decode(headers["webhook-signature"].strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, signed.as_bytes(), &signature).expect("the signature is right");
        let alert: Value = serde_json::from_str(&body).unwrap();
        assert!(headers["webhook-id"].contains(alert["id"].as_str().unwrap()), "{headers:?}");
    }
    // The same alerts as from the same lines in a file.
    let file = folder.write(
        "a.log",
        ["ann", "bob", "cid", "dan"].map(|it| failures(&format!("{it}@example.com"))).concat().as_bytes(),
    );
    let expected = tripline(&["replay", &file, "--rule", "repeated-login-failures"]).succeeds().stdout;
    let ids = |alerts: Vec<Value>| {
        let firing = alerts.into_iter().filter(|it| it["state"] == "firing");
        let mut ids: Vec<String> = firing.map(|it| it["id"].as_str().unwrap().to_string()).collect();
        ids.sort();
        ids
    };
    let sent = hook.taken().iter().map(|it| serde_json::from_str(&it.body).unwrap()).collect();
    assert_eq!(ids(sent), ids(expected.lines().map(|it| serde_json::from_str(it).unwrap()).collect()));
}

#[test]
fn an_email_arrives() {
    let folder = Folder::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        r#"(receivers: {{"mail": Email(smtp: "smtp://{}", from: "tripline@example.com", to: ["soc@example.com"], tls: None, allow_destinations: ["127.0.0.0/8"])}}, routes: [(to: ["mail"])])"#,
        listener.local_addr().unwrap()
    );
    let config = folder.write("tripline.ron", config.as_bytes());
    let letters = Arc::new(Mutex::new(Vec::new()));
    let ours = letters.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A mail client hangs up as it likes.
            let _ = mail(&stream, &ours);
        }
    });
    let done = tripline_with(
        &["run", "--config", &config, "--rule", "repeated-login-failures"],
        failures("ann@example.com").as_bytes(),
    );
    done.succeeds();
    let letters = letters.lock().unwrap().clone();
    assert_eq!(letters.len(), 2, "one that it began, one that it is over: {letters:?}");
    let header = |letter: &str, name: &str| {
        let found = letter.lines().find(|it| it.to_ascii_lowercase().starts_with(name));
        found.map(|it| it[name.len()..].trim().to_string()).unwrap_or_default()
    };
    assert!(letters[0].contains("ann@example.com"), "{}", letters[0]);
    assert_eq!(header(&letters[0], "to:"), "soc@example.com");
    assert_eq!(header(&letters[1], "in-reply-to:"), header(&letters[0], "message-id:"), "they are one thread");
    let done = tripline(&["notify", "test", "mail", "--config", &config]).succeeds();
    assert!(done.stderr.contains("took a test alert"), "{}", done.stderr);
}

/// Takes letters until the client leaves.
fn mail(stream: &TcpStream, letters: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    writer.write_all(b"220 mail.example.com ESMTP\r\n")?;
    let mut line = String::new();
    while {
        line.clear();
        reader.read_line(&mut line)?
    } > 0
    {
        let word = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match word.as_str() {
            "DATA" => {
                writer.write_all(b"354 go on\r\n")?;
                let mut letter = String::new();
                while {
                    line.clear();
                    reader.read_line(&mut line)?
                } > 0
                    && line != ".\r\n"
                {
                    letter.push_str(&line);
                }
                letters.lock().unwrap().push(letter);
                writer.write_all(b"250 kept\r\n")?;
            }
            "QUIT" => return writer.write_all(b"221 bye\r\n"),
            _ => writer.write_all(b"250 fine\r\n")?,
        }
    }
    Ok(())
}

// ---- changes while it runs

fn rule(id: &str, at_least: u32) -> String {
    format!(
        r#"Rule(id: "{id}", title: "{{count}} of {{user.name}}", severity: High, tags: [], about: "For a test.",
            when: Eq("activity", "login.failure"), by: ["user.name"], detect: Count(at_least: {at_least}, within: "10m"), stories: [])"#
    )
}

#[test]
fn rules_change_while_it_runs_and_broken_ones_do_not() {
    let folder = Folder::new();
    let rules = folder.write("own.ron", rule("mine", 100).as_bytes());
    let running = Running::start(&["run", "--no-builtin", "--rules", &rules, "--listen", "127.0.0.1:0"]);
    let address = running.address();
    let say = |user: &str| connect(&address).write_all(failures(user).as_bytes()).unwrap();
    say("early@example.com");
    folder.write("own.ron", b"Rule(id: \"mine\", sevrity: High)");
    running.signal("HUP");
    let said = running.complains("a refusal", |it| it.contains("the rules in force stay"));
    assert!(said.contains("own.ron:1:") && said.contains("severity"), "{said}");
    folder.write("own.ron", rule("mine", 3).as_bytes());
    running.signal("HUP");
    running.complains("a reload", |it| it.contains("reloaded: 1 rules"));
    say("late@example.com");
    running.says("an alert by the new rule", |it| it.contains("late@example.com"));
    running.signal("TERM");
    let done = running.wait().succeeds();
    assert!(
        !done.stdout.contains("early@example.com"),
        "the rule that counted to 100 was not replaced by less: {}",
        done.stdout
    );
}

#[test]
fn a_changed_file_is_taken_up_without_a_signal() {
    let folder = Folder::new();
    let rules = folder.write("own.ron", rule("mine", 100).as_bytes());
    let running = Running::start(&["run", "--no-builtin", "--rules", &rules, "--listen", "127.0.0.1:0"]);
    let address = running.address();
    folder.write("own.ron", b"Rule(id: \"mine\", sevrity: High)");
    running.complains("a refusal", |it| it.contains("the rules in force stay"));
    folder.write("own.ron", rule("mine", 3).as_bytes());
    running.complains("a reload", |it| it.contains("reloaded: 1 rules"));
    connect(&address).write_all(failures("late@example.com").as_bytes()).unwrap();
    running.says("an alert by the new rule", |it| it.contains("late@example.com"));
    running.signal("TERM");
    running.wait().succeeds();
}

#[test]
fn receivers_and_routes_change_while_messages_are_on_their_way() {
    let folder = Folder::new();
    let (mut first, second) = (Hook::start(), Hook::start());
    let (kept, taken_out) = (folder.path("kept.ndjson"), folder.path("out.ndjson"));
    let config = |hook: &Hook, more: &str| {
        let hook = format!(r#"Webhook(url: "http://{}/", allow_destinations: ["127.0.0.0/8"])"#, hook.address);
        let receivers = format!(r#"{{"hook": {hook}, "kept": JsonFile(path: "{kept}"){more}}}"#);
        let text = format!(
            r#"(sources: [Tcp(listen: "127.0.0.1:0", ack: true)], receivers: {receivers}, routes: [(to: ["hook", "kept"])], state: Dir("state"))"#
        );
        folder.write("tripline.ron", text.as_bytes())
    };
    let path = config(&first, &format!(r#", "out": JsonFile(path: "{taken_out}")"#));
    let running = Running::start(&["run", "--config", &path, "--rule", "repeated-login-failures"]);
    let mut client = connect(&running.address());
    let mut say = |user: &str| {
        client.write_all(failures(user).as_bytes()).unwrap();
        // Kept is told in the commit that makes it the hook's, too.
        wait_for(user, || std::fs::read_to_string(&kept).is_ok_and(|it| it.contains(user)).then_some(()));
    };
    say("ann@example.com");
    wait_for("the first alert", || (!first.taken().is_empty()).then_some(()));
    first.go_away();
    say("bob@example.com");
    // A receiver that cannot be is refused, and everything stays.
    let broken = std::fs::read_to_string(&path).unwrap().replace("http://", "htp://");
    folder.write("tripline.ron", broken.as_bytes());
    running.complains("a refusal", |it| it.contains("begins with neither https:// nor http://"));
    config(&second, "");
    running.complains("a reload", |it| it.contains("reloaded: 1 rules"));
    say("cid@example.com");
    let users = |hook: &Hook| {
        let bodies = hook.taken().into_iter().map(|it| serde_json::from_str::<Value>(&it.body).unwrap());
        let firing = bodies.filter(|it| it["state"] == "firing");
        // The refusal is told, too, and has no user.
        firing.filter_map(|it| it["entity"]["user.name"].as_str().map(str::to_string)).collect::<Vec<_>>()
    };
    wait_for("what waited and what is new", || (users(&second).len() >= 2).then_some(()));
    running.signal("TERM");
    running.wait().succeeds();
    let mut told = users(&second);
    told.sort();
    assert_eq!(told, ["bob@example.com", "cid@example.com"], "each once, at the new place");
    assert_eq!(users(&first), ["ann@example.com"]);
    let status = tripline(&["state", "status", &folder.path("state")]).succeeds().stdout;
    assert!(status.contains("pending 0 + suppressed 0 + expired 0"), "{status}");
}

#[test]
fn what_waits_for_a_receiver_that_was_taken_out_is_kept_until_it_is_back() {
    let folder = Folder::new();
    let mut hook = Hook::start();
    let config = |receivers: &str| {
        let text = format!(
            r#"(sources: [Tcp(listen: "127.0.0.1:0", ack: true)], receivers: {{{receivers}}}, state: Dir("state"))"#
        );
        folder.write("tripline.ron", text.as_bytes())
    };
    let receiver = format!(r#""hook": Webhook(url: "http://{}/", allow_destinations: ["127.0.0.0/8"])"#, hook.address);
    let run = |path: &str| Running::start(&["run", "--config", path, "--rule", "repeated-login-failures"]);
    hook.go_away();
    let running = run(&config(&receiver));
    let mut client = connect(&running.address());
    client.write_all(failures("ann@example.com").as_bytes()).unwrap();
    running.complains("its trouble", |it| it.contains("receiver `hook` is failing"));
    running.signal("TERM");
    running.wait().succeeds();
    let running = run(&config(""));
    running.complains("who waits", |it| it.contains("1 notifications wait for the receiver `hook`"));
    running.signal("TERM");
    running.wait().succeeds();
    hook.come_back();
    let running = run(&config(&receiver));
    wait_for("the alert", || (!hook.taken().is_empty()).then_some(()));
    running.signal("TERM");
    running.wait().succeeds();
}

// ---- lines by HTTP

/// Posts a body; the status code and the answer's body.
fn post(address: &str, more: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = connect(address);
    let head = format!("POST /ingest HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn lines_by_http_are_answered_when_they_would_survive() {
    let folder = Folder::new();
    let config = folder.write(
        "tripline.ron",
        br#"(sources: [Http()], web: (listen: "127.0.0.1:0", token: "k3y"), receivers: {"file": JsonFile(path: Env("ALERTS"))}, state: Dir("state"))"#,
    );
    let alerts = folder.path("alerts.ndjson");
    let text = std::fs::read_to_string(&config).unwrap().replace(r#"Env("ALERTS")"#, &format!("{alerts:?}"));
    folder.write("tripline.ron", text.as_bytes());
    let start = || {
        let running = Running::start(&["run", "--config", &config, "--rule", "repeated-login-failures"]);
        let said = running.complains("an address", |it| it.contains("metrics on http://") && it.ends_with('\n'));
        let address = said.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_string();
        (running, address)
    };
    let (running, address) = start();
    let key = "Authorization: Bearer k3y\r\n";
    let lines = failures("ann@example.com");
    let (all, half) = (lines.lines().count(), lines.lines().count() / 2);
    let part = |from: usize, to: usize| {
        lines.lines().skip(from).take(to - from).map(|it| format!("{it}\n")).collect::<String>()
    };
    wait_for("it to be ready", || (post(&address, key, b"").0 == 200).then_some(()));
    assert_eq!(post(&address, "", lines.as_bytes()).0, 401);
    assert_eq!(post(&address, &format!("{key}Origin: http://evil.test\r\n"), lines.as_bytes()).0, 403);
    let (code, said) = post(&address, key, format!("{}{{\"broken\": \n", part(0, half)).as_bytes());
    assert_eq!(
        (code, said["accepted"].as_u64(), said["rejected"].as_u64()),
        (200, Some(half as u64), Some(1)),
        "{said}"
    );
    running.signal("KILL");
    running.wait();
    let (running, address) = start();
    wait_for("it to be ready", || (post(&address, key, b"").0 == 200).then_some(()));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(part(half, all).as_bytes()).unwrap();
    let (code, said) = post(&address, &format!("{key}Content-Encoding: gzip\r\n"), &packed.finish().unwrap());
    assert_eq!((code, said["accepted"].as_u64()), (200, Some((all - half) as u64)), "{said}");
    wait_for("the alert of both halves", || {
        std::fs::read_to_string(&alerts).is_ok_and(|it| it.contains("ann@example.com")).then_some(())
    });
    running.signal("TERM");
    running.wait().succeeds();
}

// ---- what every command answers

/// The first half of what gzip makes of it.
fn half_of(text: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    packed.write_all(text).unwrap();
    let mut packed = packed.finish().unwrap();
    packed.truncate(packed.len() / 2);
    packed
}

#[test]
fn exit_codes_are_the_documented_ones() {
    let folder = Folder::new();
    let good = folder.write("good.ron", rule("good", 3).as_bytes());
    let bad = folder.write("bad.ron", b"Rule(id: 7)");
    let wrong_story = rule("wrong", 1)
        .replace("stories: []", "stories: [\"2025-04-14 08:00:00 | 192.0.2.1 | ann | USA | Login failure\\n\"]");
    let wrong = folder.write("wrong.ron", wrong_story.as_bytes());
    let config =
        folder.write("tripline.ron", br#"(receivers: {"log": JsonFile(path: "x.ndjson")}, routes: [(to: ["log"])])"#);
    let bad_config = folder.write("bad-config/tripline.ron", b"(sources: [Stdin()], recievers: {})");
    let log = folder.write("a.log", failures("ann").as_bytes());
    let missing = folder.path("missing");
    let check = |code: i32, args: &[&str]| {
        let done = tripline(args);
        assert_eq!(done.status.code(), Some(code), "{args:?}: {}{}", done.stdout, done.stderr);
        assert!(code == 0 || !(done.stderr.is_empty() && done.stdout.is_empty()), "{args:?} fails without a word");
        assert!(!done.stderr.contains("panicked"), "{args:?}: {}", done.stderr);
    };
    for command in ["run", "replay", "normalize", "check", "test", "rules", "geoip", "notify"] {
        check(0, &[command, "--help"]);
        check(2, &[command, "--no-such-flag"]);
    }
    check(2, &[]);
    check(2, &["no-such-command"]);
    check(0, &["--version"]);

    check(0, &["replay", &log]);
    check(0, &["replay", &log, "--rules", &good]);
    check(2, &["replay", &log, "--rules", &bad]);
    check(2, &["replay", &log, "--rules", &missing]);
    check(2, &["replay", &log, "--rule", "no-such-rule"]);
    check(2, &["replay", &log, "--format", "no-such-format"]);
    check(2, &["replay", &log, "--config", &missing]);
    check(2, &["replay", &log, "--config", &bad_config]);
    check(2, &["replay", &log, "--geoip", &missing]);
    check(2, &["replay", &log, "--threads", "0"]);
    check(2, &["replay", &log, "--lateness", "soon"]);
    check(3, &["replay", &missing]);
    check(3, &["replay", &log, "--rejects", &folder.path("no/such/folder")]);
    check(2, &["replay", "-", &log, "-"]);
    check(2, &["normalize", "-", "-"]);
    // What was asked for is not all there.
    let odd = folder.write("odd.log", format!("{{\"a\":\n{}", failures("ann")).as_bytes());
    for command in ["replay", "normalize"] {
        check(3, &[command, &odd, "--rejects", "/dev/full"]);
        check(0, &[command, &log, "--rejects", "/dev/full"]);
    }
    tripline_with(&["run", "--rejects", "/dev/full"], b"{\"a\":\n").exits(3);

    check(0, &["normalize", &log]);
    check(3, &["normalize", &missing]);
    // What a damaged file lacks is no reason to leave out the rest of it, or the others.
    let damaged = folder.write("damaged.log.gz", &half_of(failures("bob").repeat(200).as_bytes()));
    for command in ["replay", "normalize"] {
        let done = tripline(&[command, &damaged, &log]);
        assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
        assert!(done.stderr.contains("damaged.log.gz: could not be read to its end"), "{}", done.stderr);
        assert!(["ann", "bob"].iter().all(|it| done.stdout.contains(it)), "{command}: {}", done.stdout);
    }
    check(2, &["normalize", &log, "--config", &bad_config]);

    check(0, &["run"]);
    check(2, &["run", "--config", &bad_config]);
    check(3, &["run", "--listen", "no address"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let web = format!("(sources: [Stdin()], web: (listen: \"{}\"))", taken.local_addr().unwrap());
    check(3, &["run", "--config", &folder.write("taken/tripline.ron", web.as_bytes())]);
    let public = folder.write("public/tripline.ron", b"(sources: [Stdin()], web: (listen: \"0.0.0.0:0\"))");
    check(2, &["run", "--config", &public]);

    check(0, &["check"]);
    check(0, &["check", &good]);
    check(0, &["check", &config]);
    check(1, &["check", &bad]);
    check(1, &["check", &bad_config]);
    check(1, &["check", &missing]);

    check(0, &["test", &good]);
    check(1, &["test", &wrong]);
    check(2, &["test", &bad]);

    check(0, &["rules"]);
    check(0, &["rules", "show", "repeated-login-failures"]);
    check(2, &["rules", "show", "no-such-rule"]);

    check(0, &["geoip", "info"]);
    check(0, &["geoip", "lookup", "8.8.8.8"]);
    check(2, &["geoip", "lookup", "no address"]);

    check(2, &["notify", "test", "no-such-receiver", "--config", &config]);
    check(0, &["notify", "test", "log", "--config", &config]);
    check(3, &["notify", "render", "log", &missing, "--config", &config]);
}

#[test]
fn colours_do_not_change_what_goes_into_a_pipe() {
    for command in ["replay", "run"] {
        let done = tripline_with(&[command, "--color", "always"], failures("ann").as_bytes()).succeeds();
        assert!(done.stdout.starts_with("{\"schema\":1,"), "{command}: {}", done.stdout);
    }
    let text = ["replay", "--color", "always", "--output", "text"];
    let done = tripline_with(&text, failures("ann").as_bytes()).succeeds();
    assert!(done.stdout.starts_with("\u{1b}["), "{}", done.stdout);
}

// ---- what the two vendors' own pages show

fn normalized(input: &str) -> Vec<Value> {
    let done = tripline_with(&["normalize"], input.as_bytes()).succeeds();
    done.stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

/// Every leaf of `expected` is in `found`.
fn holds(found: &Value, expected: &Value) {
    match expected {
        Value::Object(keys) => keys.iter().for_each(|(key, it)| holds(&found[key], it)),
        _ => assert_eq!(found, expected),
    }
}

#[test]
fn keyrunner_lines_give_all_they_hold() {
    let found = normalized(
        "2025-04-12 08:02:55 | 103.44.55.21 | johndoe@keyrunner.app | USA | Login success\n\
         2025-04-12 08:03:12 | 103.44.55.21 | johndoe2@keyrunner.app | Brazil | Login failure\n\
         2025-04-12 07:28:03 | kcsv variables retrieved for request: 66f94737d8af16215ca6dcdc.test\n\
         2025-04-12 07:30:00 | Role changed: johndoe@keyrunner.app → Tenant Admin, Editor\n\
         2025-04-12 07:21:05 | KeyConnector started\n",
    );
    let access = |time: &str, outcome: &str, user: &str, code: &str, country: &str| {
        serde_json::json!({
            "@timestamp": time, "activity": format!("login.{outcome}"),
            "event": {"outcome": outcome, "action": format!("Login {outcome}"), "provider": "keyrunner.access"},
            "user": {"name": user, "email": user},
            "source": {"ip": "103.44.55.21", "geo": {"country_iso_code": code, "country_name": country}},
        })
    };
    holds(&found[0], &access("2025-04-12T08:02:55Z", "success", "johndoe@keyrunner.app", "US", "United States"));
    holds(&found[1], &access("2025-04-12T08:03:12Z", "failure", "johndoe2@keyrunner.app", "BR", "Brazil"));
    holds(
        &found[2],
        &serde_json::json!({"@timestamp": "2025-04-12T07:28:03Z", "activity": "secret.read", "event": {"provider": "keyrunner.audit"}}),
    );
    holds(
        &found[3],
        &serde_json::json!({
            "@timestamp": "2025-04-12T07:30:00Z", "activity": "role.admin_assigned",
            "user": {"target": {"name": "johndoe@keyrunner.app"}, "roles": ["Tenant Admin", "Editor"]},
        }),
    );
    holds(&found[4], &serde_json::json!({"@timestamp": "2025-04-12T07:21:05Z", "message": "KeyConnector started"}));
    assert_eq!(found.len(), 5);
}

#[test]
fn a_record_of_piiano_over_many_lines_is_one() {
    let record = serde_json::json!({
        "level": "info", "version": "0.9.8", "vault_id": "116073662933712896", "product": "vault", "service": "pvault-server",
        "type": "audit", "server_trace_id": "6b0323e6-b587-4f1b-8cfc-712fc4a4781f", "user_name": "Admin", "role_name": "Admin",
        "personsIDs": ["df801b63-a6e4-438c-8bdb-8306b5e7dc1d", "76c83bdb-4066-4509-85d3-87c84dafa440"],
        "data_requested": ["email", "first_name", "ssn.mask"], "data_accessed": ["ssn.mask", "email", "first_name"],
        "collection": "Test", "status_code": 200, "method": "GET", "url": "/api/pvlt/1.0/data/collections/Test/objects",
        "operation_id": "list-objects", "time": 1668788891888i64, "message": "/api/pvlt/1.0/data/collections/Test/objects",
    });
    let pretty = serde_json::to_string_pretty(&record).unwrap();
    let flat: String = pretty.lines().map(|it| format!("{}\n", it.trim_start())).collect();
    let expected = serde_json::json!({
        "@timestamp": "2022-11-18T16:28:11.888Z", "activity": "data.read",
        "event": {"action": "list-objects", "outcome": "success", "provider": "piiano.vault"},
        "user": {"name": "Admin", "roles": ["Admin"]},
    });
    for written in [record.to_string(), pretty, flat] {
        let found = normalized(&format!("{written}\n{written}\n"));
        assert_eq!(found.len(), 2, "{written}");
        found.iter().for_each(|it| holds(it, &expected));
    }
}
