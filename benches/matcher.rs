//! What a line costs against the number of rules.
//!
//! Rules of mixed shapes over wide access-log lines of about 500 bytes; one rule in fifty can match. Everything is made from a
//! fixed seed, so two builds are measured on the same work: `cargo bench --bench matcher`.

use std::time::Instant;

use tripline::expr::{Expr, Literal, Pattern};
use tripline::matcher::{Lists, Matcher};
use tripline::model::{Event, EventBuf, Fields, Place, Slot};

/// Few enough to stay in the cache, as a line just decoded does.
const EVENTS: usize = 512;
const ROUNDS: usize = 2000;
const SYLLABLES: [&str; 20] = [
    "ka", "ri", "mo", "te", "lu", "za", "ne", "vi", "do", "shu", "pra", "qui", "xen", "tor", "bal", "fry", "gim",
    "hex", "jot", "kul",
];
const SHORT_FIELDS: [&str; 8] = ["cmd", "url", "user_agent", "host", "user", "session", "geo", "action"];
const LONG_FIELDS: [&str; 6] = ["cmd", "cmd", "cmd", "url", "user_agent", "host"];
const LIVE: [(&str, &str); 6] = [
    ("action", "Role granted: admin"),
    ("geo", "ZAF"),
    ("host", "srv-077.prod.example.com"),
    ("user", "johndoe0@example.com"),
    ("action", "Access denied"),
    ("action", "Password change"),
];
const MEASURES: [(&str, u64); 3] = [("bytes", 90_000), ("latency_ms", 900), ("status", 600)];

fn main() {
    let records = records();
    let bytes: usize = records.iter().map(|it| it.0.len()).sum();
    println!("{EVENTS} events of {} bytes", bytes / EVENTS);
    println!("{:>6} {:>12} {:>10} {:>10} {:>9} {:>8}", "rules", "compile ms", "ns/event", "x of 10", "hits", "always");
    let mut base = None;
    for count in [1, 10, 60, 100, 1000, 3000] {
        let rules: Vec<Expr> = Rng(7).rules(count);
        let started = Instant::now();
        let mut fields = Fields::default();
        let matcher = Matcher::compile(&rules, &mut fields, &Lists::default()).expect("generated rules compile");
        let compile_ms = started.elapsed().as_secs_f64() * 1e3;
        let events: Vec<EventBuf> = records.iter().map(|it| event(it, &fields)).collect();
        let (ns, hits) = measure(&matcher, &records, &events);
        if count == 10 {
            base = Some(ns);
        }
        let times = base.map_or(String::new(), |it: f64| format!("{:.2}", ns / it));
        println!("{count:>6} {compile_ms:>12.2} {ns:>10.1} {times:>10} {hits:>9} {:>8}", matcher.always_len());
    }
}

/// Nanoseconds an event and the hits of one round over all events. Of many short rounds the least is taken: what else the
/// machine does only adds.
fn measure(matcher: &Matcher, records: &[(String, Vec<Found>)], events: &[EventBuf]) -> (f64, usize) {
    let mut scratch = matcher.new_scratch();
    let mut out = Vec::new();
    let (mut best, mut hits) = (f64::INFINITY, 0);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        hits = 0;
        for ((record, _), buf) in records.iter().zip(events) {
            out.clear();
            matcher.matches(Event { record, buf }, &mut scratch, &mut out);
            hits += out.len();
        }
        best = best.min(started.elapsed().as_nanos() as f64 / events.len() as f64);
    }
    (best, hits)
}

/// A field of a record: its name, where it stands, and whether it is a number.
type Found = (&'static str, usize, usize, bool);

fn event((_, found): &(String, Vec<Found>), fields: &Fields) -> EventBuf {
    let mut buf = EventBuf::new(fields.len(), "".into());
    for (name, start, len, is_number) in found {
        // As decoders do: what no rule names is not kept.
        let Some((_, id)) = fields.paths().find(|it| it.0 == *name) else { continue };
        let slot = if *is_number { Slot::number } else { Slot::text };
        buf.set(id, slot(Place::Record, *start, *len));
    }
    buf
}

fn records() -> Vec<(String, Vec<Found>)> {
    const ACTIONS: [(&str, u64); 5] = [
        ("Login success", 420),
        ("API call", 380),
        ("Login failure", 190),
        ("Access denied", 9),
        ("Role granted: admin", 1),
    ];
    const COUNTRIES: [&str; 12] = ["USA", "DEU", "FRA", "GBR", "IND", "CHN", "BRA", "JPN", "NLD", "SWE", "ZAF", "CHE"];
    const AGENTS: [&str; 4] = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/135.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_4) AppleWebKit/605.1.15 Version/17.4 Safari/605.1.15",
        "Desktop/2.4.1 (darwin; arm64) Electron/29.1 Node/20.9 build/8842-release channel/stable/eu",
        "python-requests/2.31.0 (automation; service-account) CPython/3.11 Linux/6.1.0-18-amd64",
    ];
    const COMMANDS: [&str; 5] = [
        "/usr/lib/agent/agent --config /etc/agent/agent.toml --mode sync --region eu-west-1",
        "/usr/bin/python3 /opt/jobs/rotate.py --dry-run --limit 50 --region eu-west-1",
        r"C:\Windows\System32\svchost.exe -k netsvcs -p -s Schedule",
        "/usr/bin/curl -sS https://updates.example.com/v2/manifest.json",
        "/bin/bash -c 'agent export --format json --out /tmp/export.json'",
    ];
    const PATHS: [&str; 5] =
        ["/api/v2/collections", "/api/v2/secrets", "/admin/users", "/api/v2/audit/export", "/oauth/authorize"];
    let mut rng = Rng(42);
    let mut records = Vec::with_capacity(EVENTS);
    for index in 0..EVENTS as u64 {
        let mut draw = rng.below(1000);
        let action = ACTIONS.iter().find(|it| {
            let here = draw < it.1;
            draw = draw.saturating_sub(it.1);
            here
        });
        let user = rng.below(1000);
        let values: [(&'static str, String, bool); 12] = [
            ("time", "2025-04-12T08:02:55Z".to_string(), false),
            ("ip", format!("{}.{}.{}.{}", rng.below(200) + 1, rng.below(256), rng.below(256), rng.below(256)), false),
            ("user", format!("johndoe{user}@example.com"), false),
            ("geo", rng.pick(&COUNTRIES).to_string(), false),
            ("action", action.map_or("Logout", |it| it.0).to_string(), false),
            ("status", if rng.below(10) == 0 { "401" } else { "200" }.to_string(), true),
            ("user_agent", rng.pick(&AGENTS).to_string(), false),
            ("host", format!("srv-{:03}.prod.example.com", rng.below(400)), false),
            ("url", format!("{}/{}", rng.pick(&PATHS), index % 9973), false),
            ("cmd", rng.pick(&COMMANDS).to_string(), false),
            ("bytes", rng.below(90_000).to_string(), true),
            ("latency_ms", rng.below(900).to_string(), true),
        ];
        let mut record = String::from("{");
        let mut found = Vec::new();
        for (name, value, is_number) in values {
            let quote = if is_number { "" } else { "\"" };
            record.push_str(&format!("\"{name}\":{quote}"));
            found.push((name, record.len(), value.len(), is_number));
            record.push_str(&format!("{value}{quote},"));
        }
        record.push_str("\"session\":\"");
        found.push(("session", record.len(), 16, false));
        record.push_str(&format!("{:016x}\",\"actor\":{{\"role\":\"member\",\"mfa\":true}}}}", rng.next()));
        records.push((record, found));
    }
    records
}

struct Rng(u64);

impl Rng {
    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn token(&mut self, syllables: usize) -> String {
        let text: String = (0..syllables).map(|_| self.pick(&SYLLABLES)).collect();
        format!("{text}{}", self.below(100))
    }

    fn rules(&mut self, count: usize) -> Vec<Expr> {
        (0..count).map(|it| self.rule(it)).collect()
    }

    fn rule(&mut self, index: usize) -> Expr {
        let text = |it: &str| Literal::Text(it.to_string());
        let long = self.pick(&LONG_FIELDS).to_string();
        if index % 50 == 7 {
            let (field, value) = LIVE[index / 50 % LIVE.len()];
            let (measure, most) = MEASURES[index / 50 % 2];
            return Expr::All(vec![Expr::Eq(field.into(), text(value)), Expr::Ge(measure.into(), most as f64 * 0.95)]);
        }
        match self.below(100) {
            0..22 => {
                let field = self.pick(&SHORT_FIELDS).to_string();
                let mut parts = vec![Expr::Eq(field, text(&self.token(4)))];
                if self.below(2) == 0 {
                    parts.push(Expr::Eq("geo".into(), text("USA")));
                }
                Expr::All(parts)
            }
            22..46 => {
                let mut parts = vec![Expr::Contains(long, self.token(3))];
                if self.below(10) < 3 {
                    parts.push(Expr::Eq("action".into(), text("API call")));
                }
                Expr::All(parts)
            }
            46..60 => Expr::StartsWith(long, format!("/{}/{}", self.token(2), self.token(2))),
            60..68 => Expr::EndsWith(long, format!("{}.{}", self.token(2), self.pick(&["exe", "dll", "sh", "app"]))),
            68..78 => Expr::Matches(long, Pattern(format!(r"(?i){}[-_]?\d{{2,6}}\.(exe|dll|sh)", self.token(2)))),
            78..88 => {
                let (measure, most) = MEASURES[self.below(3) as usize];
                let field = self.pick(&SHORT_FIELDS).to_string();
                let floor = self.below(most) as f64;
                Expr::All(vec![Expr::Ge(measure.into(), floor), Expr::Eq(field, text(&self.token(4)))])
            }
            88..96 => Expr::Any((0..5).map(|_| Expr::Contains(long.clone(), self.token(3))).collect()),
            _ => Expr::All(vec![
                Expr::Contains(long, self.token(3)),
                Expr::Not(Box::new(Expr::StartsWith("user".into(), "johndoe".into()))),
            ]),
        }
    }
}
