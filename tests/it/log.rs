//! Logs as companies have them, from a seed: the same seed, the same log.
//!
//! Most lines are people at work. Between them somebody guesses one password many times, tries one password on many people,
//! gets in after all, refuses pushes until one is accepted, becomes an administrator, or logs in from two ends of the world.
//! Several systems write at once, and many stamps are equal: that is where orders go wrong.

/// Small, fast and good enough; the standard library has none that takes a seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// A line and the time it says, in milliseconds of the log's first day.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub at_ms: u64,
    pub text: String,
}

/// 2025-04-14, a Monday.
const DATE: &str = "2025-04";
const FIRST_DAY: u64 = 14;
const DAY_MS: u64 = 86_400_000;
/// Documentation addresses of `tests/fixtures/city.mmdb`: New York, London, Tokyo, Lagos, São Paulo.
const HOMES: [(&str, &str); 5] = [
    ("192.0.2.33", "USA"),
    ("192.0.2.1", "United Kingdom"),
    ("192.0.2.81", "Japan"),
    ("192.0.2.17", "Nigeria"),
    ("192.0.2.49", "Brazil"),
];
const ATTACKERS: [&str; 4] = ["203.0.113.9", "203.0.113.77", "198.51.100.50", "198.51.100.66"];

/// What happened, before a system wrote it in its own way.
#[derive(Clone, Copy)]
enum Deed {
    Success,
    Failure,
    Refused,
    Logout,
}

/// About `size` lines in the order of their times.
pub fn generate(seed: u64, size: usize) -> Vec<Line> {
    let mut log = Log { random: Random::new(seed), lines: Vec::new() };
    while log.lines.len() < size {
        let from = 8 * 3_600_000 + log.random.below(9 * 3_600_000);
        match log.random.below(12) {
            0 => log.guessing(from),
            1 => log.spray(from),
            2 => log.pushes(from),
            3 => log.travel(from),
            4 => log.promotion(from),
            5 => log.secrets(from),
            _ => log.work(from),
        }
    }
    log.lines.sort_by_key(|it| it.at_ms);
    log.lines
}

/// Lines of people whom no other log knows, who do nothing remarkable, over the same time.
pub fn strangers(seed: u64, size: usize, like: &[Line]) -> Vec<Line> {
    let mut log = Log { random: Random::new(seed ^ 0x5eed), lines: Vec::new() };
    for number in 0..size {
        let at_ms = like[log.random.below(like.len() as u64) as usize].at_ms;
        let user = format!("stranger{}@elsewhere.example", number % 17);
        log.write(at_ms, &user, "10.77.0.1", "USA", Deed::Logout);
    }
    log.lines.sort_by_key(|it| it.at_ms);
    log.lines
}

/// Failed logins of made-up users from made-up addresses in between, most of them once.
pub fn flood(seed: u64, size: usize, like: &[Line]) -> Vec<Line> {
    let mut log = Log { random: Random::new(seed ^ 0xf100d), lines: Vec::new() };
    for number in 0..size {
        let at_ms = like[log.random.below(like.len() as u64) as usize].at_ms;
        let number = if log.random.below(4) == 0 { number / 3 } else { number };
        let address = format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255);
        log.write(at_ms, &format!("made-up{number}@elsewhere.example"), &address, "USA", Deed::Failure);
    }
    log.lines.sort_by_key(|it| it.at_ms);
    log.lines
}

/// The same lines, each as late as `lateness_ms` allows and no later.
pub fn shuffle(lines: &[Line], seed: u64, lateness_ms: u64) -> Vec<Line> {
    let mut random = Random::new(seed);
    let mut keyed: Vec<(u64, u64, &Line)> =
        lines.iter().map(|it| (it.at_ms + random.below(lateness_ms + 1), random.next(), it)).collect();
    keyed.sort_by_key(|it| (it.0, it.1));
    keyed.into_iter().map(|it| it.2.clone()).collect()
}

/// As a file holds them.
pub fn text(lines: &[Line]) -> String {
    lines.iter().flat_map(|it| [it.text.as_str(), "\n"]).collect()
}

struct Log {
    random: Random,
    lines: Vec<Line>,
}

impl Log {
    fn person(&mut self) -> (String, &'static str, &'static str) {
        let number = self.random.below(40);
        let (address, country) = HOMES[(number % 5) as usize];
        (format!("user{number}@example.com"), address, country)
    }

    fn work(&mut self, from: u64) {
        let (user, address, country) = self.person();
        self.write(from, &user, address, country, Deed::Success);
        let later = from + self.random.below(3_600_000);
        self.write(later, &user, address, country, Deed::Logout);
    }

    fn guessing(&mut self, from: u64) {
        let (user, _, _) = self.person();
        let attacker = *self.random.pick(&ATTACKERS);
        let tries = 4 + self.random.below(6);
        let mut at = from;
        for _ in 0..tries {
            self.write(at, &user, attacker, "China", Deed::Failure);
            // Often within the same second.
            at += self.random.below(3) * self.random.below(20_000);
        }
        if self.random.below(2) == 0 {
            self.write(at + 1_000, &user, attacker, "China", Deed::Success);
        }
    }

    fn spray(&mut self, from: u64) {
        let attacker = *self.random.pick(&ATTACKERS);
        for number in 0..8 + self.random.below(20) {
            let at = from + self.random.below(30_000);
            self.write(at, &format!("user{number}@example.com"), attacker, "China", Deed::Failure);
        }
    }

    fn pushes(&mut self, from: u64) {
        let (user, _, _) = self.person();
        let attacker = *self.random.pick(&ATTACKERS);
        for number in 0..2 + self.random.below(4) {
            self.okta(from + number * 20_000, &user, attacker, Deed::Refused);
        }
        self.okta(from + 150_000, &user, attacker, Deed::Success);
    }

    fn travel(&mut self, from: u64) {
        let (user, address, _) = self.person();
        self.okta(from, &user, address, Deed::Success);
        let far = HOMES[self.random.below(5) as usize].0;
        let later = from + 600_000 + self.random.below(3_600_000);
        self.okta(later, &user, far, Deed::Success);
    }

    fn promotion(&mut self, at_ms: u64) {
        let (user, _, _) = self.person();
        self.push(at_ms / 1000 * 1000, format!("{} | Role changed: {user} → Tenant Admin, Editor", stamp(at_ms, ' ')));
    }

    fn secrets(&mut self, from: u64) {
        for number in 0..1 + self.random.below(25) {
            let at_ms = (from + self.random.below(20_000)) / 1000 * 1000;
            let statement = format!("kcsv variables retrieved for request: job-{number}.test, apiToken");
            self.push(at_ms, format!("{} | {statement}", stamp(at_ms, ' ')));
        }
    }

    /// In the words of one of three systems.
    fn write(&mut self, at_ms: u64, user: &str, address: &str, country: &str, deed: Deed) {
        match self.random.below(3) {
            0 => {
                let at_ms = at_ms / 1000 * 1000;
                let action = match deed {
                    Deed::Success => "Login success",
                    Deed::Failure | Deed::Refused => "Login failure",
                    Deed::Logout => "User session expired",
                };
                self.push(at_ms, format!("{} | {address} | {user} | {country} | {action}", stamp(at_ms, ' ')));
            }
            1 => {
                let words = match deed {
                    Deed::Success => format!("Accepted publickey for {user} from {address} port 50022 ssh2"),
                    Deed::Failure | Deed::Refused => {
                        format!("Failed password for {user} from {address} port 50022 ssh2")
                    }
                    Deed::Logout => format!("Disconnected from user {user} {address} port 50022"),
                };
                self.push(at_ms, format!("{}.{:03}Z web-1 sshd[811]: {words}", stamp(at_ms, 'T'), at_ms % 1000));
            }
            _ => self.okta(at_ms, user, address, deed),
        }
    }

    fn okta(&mut self, at_ms: u64, user: &str, address: &str, deed: Deed) {
        let (event, result) = match deed {
            Deed::Success => ("user.session.start", "SUCCESS"),
            Deed::Failure => ("user.session.start", "FAILURE"),
            Deed::Refused => ("user.mfa.okta_verify.deny_push", "FAILURE"),
            Deed::Logout => ("user.session.end", "SUCCESS"),
        };
        let uuid = self.random.next();
        let record = serde_json::json!({
            "actor": {"id": "00u1example", "type": "User", "alternateId": user, "displayName": user},
            "client": {"ipAddress": address, "userAgent": {"rawUserAgent": "Mozilla/5.0"}},
            "eventType": event,
            "outcome": {"result": result},
            "published": format!("{}.{:03}Z", stamp(at_ms, 'T'), at_ms % 1000),
            "severity": "INFO",
            "uuid": format!("{uuid:016x}"),
            "version": "0",
        });
        self.push(at_ms, record.to_string());
    }

    fn push(&mut self, at_ms: u64, text: String) {
        self.lines.push(Line { at_ms, text });
    }
}

fn stamp(at_ms: u64, between: char) -> String {
    let (day, second) = (FIRST_DAY + at_ms / DAY_MS, at_ms % DAY_MS / 1000);
    format!("{DATE}-{day:02}{between}{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}
