//! Nanoseconds a line for each format, beside serde_json reading the same JSON into a borrowed struct.
//!
//! `cargo bench --bench decode`, or `… -- json` for one format. Lines of one kind differ in their values, so that no branch predictor learns one line by heart;
//! the best of many rounds is printed, for on a shared machine everything else is other people's work.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use tripline::format::{Auto, Paths, find};
use tripline::model::{EventBuf, Fields};

const LINES: usize = 4096;
const ROUNDS: usize = 60;

const KEYS: [&str; 7] = ["time", "ip", "user", "geo", "action", "status", "ua"];
const OTHERS: &str = "message syslog.time syslog.host syslog.app syslog.pid syslog.priority keyrunner.time keyrunner.ip \
    keyrunner.user keyrunner.geo keyrunner.action keyrunner.statement access.ip access.user access.time access.method \
    access.path access.status access.bytes access.user_agent cef.vendor cef.product cef.name cef.ext.src cef.ext.suser \
    cef.ext.msg level msg remote_ip";

#[derive(Deserialize)]
struct Borrowed<'a> {
    time: &'a str,
    ip: &'a str,
    user: &'a str,
    geo: &'a str,
    action: &'a str,
    status: u16,
    ua: &'a str,
}

fn main() {
    let chosen = std::env::args().nth(1).filter(|it| !it.starts_with('-')).unwrap_or_default();
    let mut fields = Fields::default();
    for name in KEYS.into_iter().chain(OTHERS.split_whitespace()) {
        fields.path(name);
    }
    // What 43 vendor schemas want, in number.
    for vendor in 0..40 {
        for key in 0..6 {
            fields.path(&format!("vendor{vendor}Key{key}"));
            fields.path(&format!("properties{vendor}.object{key}.name"));
        }
    }
    let paths = Paths::new(&fields);
    let mut buf = EventBuf::new(fields.len(), Arc::from(""));

    let flat = lines(|it| {
        format!(
            r#"{{"time":"2025-04-12T08:02:{:02}Z","ip":"{}","user":"ann{it}@example.com","geo":"USA","action":"Login success","status":200,"ua":"Mozilla/5.0 (X11; Linux x86_64; rv:137.0) Gecko/20100101 Firefox/137.0 KeyRunner/2.4"}}"#,
            it % 60,
            address(it)
        )
    });
    let wide = lines(|it| {
        format!(
            r#"{{"time":"2025-04-12T08:02:{:02}Z","ip":"{}","user":"ann{it}@example.com","geo":"USA","action":"Login success","status":200,"ua":"Mozilla/5.0 (X11; Linux x86_64; rv:137.0) Gecko/20100101 Firefox/137.0 KeyRunner/2.4","host":"node-{it}","process":{{"pid":{it},"name":"agent","args":["--mode","sync"]}},"cmd":"/usr/bin/git fetch --prune origin +refs/heads/*:refs/remotes/origin/*","url":"/api/v2/secrets?page={it}","ratio":0.{it},"ok":true,"tags":["a","b"],"note":"C:\\Program Files\\KeyRunner"}}"#,
            it % 60,
            address(it)
        )
    });
    let pipe = lines(|it| {
        format!("2025-04-12 08:02:{:02} | {} | ann{it}@example.com | USA | Login success", it % 60, address(it))
    });
    let sshd = lines(|it| {
        format!(
            "Apr 12 08:02:{:02} web-{it} sshd[{it}]: Failed password for ann{it} from {} port 50022 ssh2",
            it % 60,
            address(it)
        )
    });
    let logfmt = lines(|it| {
        format!(
            r#"time=2025-04-12T08:02:{:02}Z level=warn msg="login failed" user=ann{it} remote_ip={}"#,
            it % 60,
            address(it)
        )
    });
    let cef = lines(|it| {
        format!("CEF:0|Vendor|Gate|1.2|100|Login failed|5|src={} suser=ann{it} msg=wrong password", address(it))
    });
    let access = lines(|it| {
        format!(
            r#"{} - ann{it} [12/Apr/2025:08:02:{:02} +0000] "GET /admin?page={it} HTTP/1.1" 401 512 "-" "Mozilla/5.0 (X11; Linux x86_64)""#,
            address(it),
            it % 60
        )
    });
    let text = lines(|it| format!("gateway: 3 attempts of ann{it} from {} refused", address(it)));

    for (name, kind, lines) in [
        ("json", "flat", &flat),
        ("json", "wide", &wide),
        ("keyrunner", "access", &pipe),
        ("syslog", "sshd", &sshd),
        ("logfmt", "login", &logfmt),
        ("cef", "login", &cef),
        ("combined", "nginx", &access),
        ("text", "any", &text),
    ] {
        if !name.starts_with(&chosen) {
            continue;
        }
        let format = find(name).expect("the table above names formats");
        let direct = best(lines, |line| {
            buf.clear();
            (format.decode)(line, 0, &paths, &mut buf).expect("generated lines are good");
            black_box(&buf);
        });
        let auto = best(lines, |line| {
            buf.clear();
            let found = Auto.decode(line, &paths, &mut buf).expect("generated lines are good");
            assert_eq!(found.name, name);
            black_box(&buf);
        });
        let bytes = lines.iter().map(String::len).sum::<usize>() / lines.len();
        println!("{:20} {bytes:4} B {direct:7.1} ns   auto {auto:7.1} ns", format!("{name} ({kind})"));
    }
    let nothing = Paths::new(&Fields::default());
    let json = find("json").expect("the table above names formats");
    let checked = best(&flat, |line| {
        buf.clear();
        (json.decode)(line, 0, &nothing, &mut buf).expect("generated lines are good");
    });
    println!("json checked only (flat)  {checked:7.1} ns");
    let borrowed = best(&flat, |line| {
        let it: Borrowed = serde_json::from_str(line).expect("generated lines are good");
        black_box((it.time, it.ip, it.user, it.geo, it.action, it.status, it.ua));
    });
    println!("serde_json struct (flat)  {borrowed:7.1} ns");
    let value = best(&wide, |line| {
        black_box(serde_json::from_str::<serde_json::Value>(line).expect("generated lines are good"));
    });
    println!("serde_json Value (wide)   {value:7.1} ns");
}

fn lines(make: impl Fn(usize) -> String) -> Vec<String> {
    (0..LINES).map(|it| make(it * 7919 % 100_000)).collect()
}

fn address(number: usize) -> String {
    format!("{}.{}.{}.{}", 1 + number % 200, number / 3 % 256, number / 7 % 256, number % 251)
}

/// Nanoseconds a line, of the fastest round.
fn best(lines: &[String], mut work: impl FnMut(&str)) -> f64 {
    let mut best = f64::MAX;
    for _round in 0..ROUNDS {
        let start = Instant::now();
        for line in lines {
            work(line);
        }
        best = best.min(start.elapsed().as_nanos() as f64 / lines.len() as f64);
    }
    best
}
