//! The same events, as different programs write them.

use std::io::{self, Write};

use clap::ValueEnum;

use super::workload::Happening;
use crate::model::Timestamp;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Layout {
    /// JSON of seven fields, about 240 bytes
    Ndjson,
    /// KeyRunner's columns, about 86 bytes
    Pipe,
    /// OpenSSH by syslog, about 104 bytes
    Sshd,
    /// JSON of sixteen fields, one of them an object, about 490 bytes
    Wide,
}

impl Layout {
    pub const ALL: [Layout; 4] = [Layout::Ndjson, Layout::Pipe, Layout::Sshd, Layout::Wide];

    pub fn name(self) -> &'static str {
        match self {
            Layout::Ndjson => "ndjson",
            Layout::Pipe => "pipe",
            Layout::Sshd => "sshd",
            Layout::Wide => "wide",
        }
    }

    /// Writes an event's line.
    pub fn write(self, event: &Happening, out: &mut impl Write) -> io::Result<()> {
        let Happening { number, second, user, address, action } = *event;
        let time = Timestamp::from_micros(i64::from(second) * 1_000_000).to_string();
        let user_name = User(user);
        let ip = ip(address);
        let geo = GEO[(usize::from(ip.octets()[0]) * 7 + usize::from(ip.octets()[1])) % GEO.len()];
        let Action { name, status, .. } = ACTIONS[action];
        let agent = AGENTS[(user as usize * 31 + (address as usize & 3)) % AGENTS.len()];
        match self {
            Layout::Ndjson => writeln!(
                out,
                r#"{{"time":"{time}","ip":"{ip}","user":"{user_name}@keyrunner.app","geo":"{geo}","action":"{name}","status":{status},"user_agent":"{agent}"}}"#
            ),
            Layout::Pipe => {
                let (day, clock) = (&time[..10], &time[11..19]);
                writeln!(out, "{day} {clock} | {ip} | {user_name}@keyrunner.app | {geo} | {name}")
            }
            Layout::Sshd => {
                const MONTHS: [&str; 12] =
                    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
                let (month, day, clock) = (&time[5..7], time[8..10].trim_start_matches('0'), &time[11..19]);
                let month = month.parse().map_or("Jan", |it: usize| MONTHS[(it + 11) % 12]);
                let (port, process) = (1024 + number * 7919 % 64_000, 1000 + number * 31 % 60_000);
                let what = if action == FAILURE { "Failed password for invalid user" } else { "Accepted password for" };
                writeln!(
                    out,
                    "{month} {day:>2} {clock} gw1 sshd[{process}]: {what} {user_name} from {ip} port {port} ssh2"
                )
            }
            Layout::Wide => {
                let host = user as usize * 13 % 400;
                let path = PATHS[(number as usize * 5 + user as usize) % PATHS.len()];
                let command = COMMANDS[(number as usize * 3 + address as usize) % COMMANDS.len()];
                let (bytes, millis, page) = (number * 6151 % 90_000, number * 37 % 900, number % 9973);
                let session = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let role = if user.is_multiple_of(50) { "admin" } else { "member" };
                let (mfa, org) = (!number.is_multiple_of(3), user % 700);
                writeln!(
                    out,
                    r#"{{"time":"{time}","ip":"{ip}","user":"{user_name}@keyrunner.app","geo":"{geo}","action":"{name}","status":{status},"user_agent":"{agent}","host":"srv-{host:03}.prod.keyrunner.app","url":"{path}/{page}","cmd":"{command}","bytes":{bytes},"latency_ms":{millis},"session":"{session:016x}","actor":{{"role":"{role}","mfa":{mfa},"org":"org-{org}"}}}}"#
                )
            }
        }
    }
}

pub struct Action {
    pub name: &'static str,
    pub status: u16,
    /// In a thousand of the events that are no failed login.
    pub weight: u64,
}

/// Index of the failed login.
pub const FAILURE: usize = 9;

const fn action(name: &'static str, status: u16, weight: u64) -> Action {
    Action { name, status, weight }
}

pub const ACTIONS: [Action; 10] = [
    action("Login success", 200, 420),
    action("API call", 200, 230),
    action("Collection read", 200, 150),
    action("Secret read", 200, 90),
    action("Logout", 204, 70),
    action("Token refresh", 200, 30),
    action("Password change", 200, 6),
    action("Access denied", 403, 3),
    action("Role granted: admin", 200, 1),
    action("Login failure", 401, 0),
];

/// A name that no other number has.
struct User(u32);

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = self.0 as usize;
        write!(f, "{}{}{number}", FIRST[number % FIRST.len()], LAST[number / FIRST.len() % LAST.len()])
    }
}

/// Addresses that look public: numbers are spread over the IPv4 space, then kept out of what is reserved.
fn ip(number: u32) -> std::net::Ipv4Addr {
    let spread = (number + 1).wrapping_mul(0x9e37_79b1);
    let mut octets = (spread ^ (spread >> 15)).to_be_bytes();
    octets[0] = match octets[0] {
        it @ 224.. => it - 160,
        it @ (0 | 10 | 127 | 172 | 192) => it + 1,
        it => it,
    };
    octets.into()
}

const FIRST: [&str; 32] = [
    "john", "maria", "wei", "amina", "olga", "pedro", "fatima", "lars", "yuki", "anna", "david", "chloe", "ivan",
    "sofia", "noah", "emma", "liam", "mia", "omar", "zoe", "raj", "priya", "hana", "jose", "kofi", "lena", "marc",
    "nina", "paul", "rosa", "sven", "tara",
];
const LAST: [&str; 32] = [
    "doe", "garcia", "chen", "diallo", "petrova", "silva", "khan", "berg", "tanaka", "kowalski", "smith", "martin",
    "novak", "rossi", "jones", "brown", "wilson", "moore", "hassan", "dubois", "patel", "sharma", "kim", "perez",
    "mensah", "fischer", "leroy", "costa", "weber", "santos", "larsen", "quinn",
];
const GEO: [&str; 24] = [
    "USA", "DEU", "FRA", "GBR", "IND", "CHN", "BRA", "JPN", "NLD", "SWE", "ESP", "ITA", "POL", "CAN", "AUS", "KOR",
    "MEX", "ZAF", "NGA", "TUR", "VNM", "IDN", "ARG", "CHE",
];
const AGENTS: [&str; 10] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/135.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_4) AppleWebKit/605.1.15 Version/17.4 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:137.0) Gecko/20100101 Firefox/137.0 KeyRunner/2.4",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:136.0) Gecko/20100101 Firefox/136.0 (corp)",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/134.0 Mobile Safari",
    "KeyRunner-Desktop/2.4.1 (darwin; arm64) Electron/29.1 Node/20.9 build/8842-release",
    "KeyRunner-Desktop/2.3.9 (win32; x64) Electron/28.2 Node/18.18 build/8711-release",
    "KeyRunner-CLI/1.12.0 (linux; amd64) rustls/0.23 reqwest/0.12 session/interactive",
    "python-requests/2.31.0 (automation; service-account) CPython/3.11 Linux/6.1.0-18-amd64",
];
const PATHS: [&str; 12] = [
    "/api/v2/collections",
    "/api/v2/secrets",
    "/api/v1/login",
    "/api/v1/session/refresh",
    "/admin/users",
    "/admin/roles",
    "/static/app.js",
    "/api/v2/search",
    "/api/v2/audit/export",
    "/healthz",
    "/api/v1/keys",
    "/oauth/authorize",
];
/// As JSON writes them.
const COMMANDS: [&str; 8] = [
    "/usr/lib/keyrunner/agent --config /etc/keyrunner/agent.toml --mode sync",
    r"C:\\Program Files\\KeyRunner\\keyrunner.exe --background --profile default",
    "/bin/bash -c 'keyrunner export --format json --out /tmp/export.json'",
    "/usr/bin/git fetch --prune origin +refs/heads/*:refs/remotes/origin/*",
    r"C:\\Windows\\System32\\svchost.exe -k netsvcs -p -s Schedule",
    "/usr/sbin/sshd -D -o MaxStartups=10:30:100",
    "node /srv/gateway/dist/server.js --port 8443 --workers 4",
    "/usr/bin/kubectl get pods --namespace prod --output json",
];

#[cfg(test)]
mod tests {
    use super::super::workload::Workload;
    use super::*;

    #[test]
    fn lines_are_of_the_stated_size_and_form() {
        for (layout, bytes) in Layout::ALL.into_iter().zip([240, 86, 104, 490]) {
            let mut lines = Vec::new();
            for event in Workload::new(2000, 42) {
                layout.write(&event, &mut lines).unwrap();
            }
            let mean = lines.len() / 2000;
            assert!(mean.abs_diff(bytes) < bytes / 6, "{}: {mean} bytes", layout.name());
            let text = String::from_utf8(lines).unwrap();
            assert_eq!(text.lines().count(), 2000);
            if matches!(layout, Layout::Ndjson | Layout::Wide) {
                assert!(text.lines().all(|it| serde_json::from_str::<serde_json::Value>(it).is_ok()));
            }
        }
    }
}
