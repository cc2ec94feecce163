//! A schema for a log nobody has described: a first draft, from what its lines look like.
//!
//! Guessing meaning from names alone takes `user_agent` for a user, from values alone a server's address for the client's. So a field
//! gets a role by both: what it is called, and whether its values are such things. Everything guessed is written down with its
//! numbers, for the draft is there to be read and corrected.

mod columns;
mod times;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use serde_json::Value as Json;

use self::times::Times;
use crate::model::{Timestamp, Zone, address};

/// A draft.
pub struct Proposal {
    /// RON, with comments.
    pub text: String,
    /// Which field got which role: (ECS field, path, why).
    pub roles: Vec<(String, String, String)>,
}

/// Different values of one field that are counted; more say only that there are many.
const VALUES_MAX: usize = 2000;
/// Fields that are looked at; records with more are cut.
const FIELDS_MAX: usize = 1000;

/// What the lines have under one path.
#[derive(Default)]
struct Stats {
    lines: usize,
    values: HashMap<String, usize>,
    /// The first few different values, in order.
    examples: Vec<String>,
    addresses: usize,
    times: usize,
    /// For times that only a form can read.
    forms: Times,
    mails: usize,
    numbers: usize,
    bools: usize,
    length: usize,
}

impl Stats {
    fn add(&mut self, text: &str, is_number: bool, is_bool: bool) {
        self.lines += 1;
        self.length += text.len();
        self.addresses += usize::from(address::parse(text).is_some());
        let time = Timestamp::parse_iso(text, Zone::UTC).is_some()
            || (text.len() >= 10 && (is_number || text.bytes().all(|it| it.is_ascii_digit())))
                && Timestamp::from_epoch(text).is_some();
        self.times += usize::from(time);
        if !time {
            self.forms.add(text);
        }
        self.mails += usize::from(text.contains('@') && !text.contains(' '));
        self.numbers += usize::from(is_number || text.parse::<f64>().is_ok());
        self.bools += usize::from(is_bool);
        if let Some(count) = self.values.get_mut(text) {
            *count += 1;
        } else if self.values.len() < VALUES_MAX {
            self.values.insert(text.to_string(), 1);
            if self.examples.len() < 3 {
                self.examples.push(text.to_string());
            }
        }
    }

    fn share(&self, of: usize) -> f64 {
        of as f64 / self.lines.max(1) as f64
    }

    /// How the times among the values are read: as they are (no form), or by a form. None where they are no times.
    fn time(&self) -> Option<Option<&'static str>> {
        if self.share(self.times) > 0.9 { Some(None) } else { self.forms.form(self.lines).map(Some) }
    }

    /// The values, the most frequent first.
    fn ranked(&self) -> Vec<(&str, usize)> {
        let mut all: Vec<(&str, usize)> = self.values.iter().map(|it| (it.0.as_str(), *it.1)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all
    }

    fn about(&self, lines: usize) -> String {
        let many = if self.values.len() >= VALUES_MAX { "or more " } else { "" };
        let examples: Vec<String> = self.examples.iter().map(|it| plain(it, 40)).collect();
        format!("{} of {lines} lines, {} {many}different: {}", self.lines, self.values.len(), examples.join(" · "))
    }
}

/// A text for a comment.
fn plain(text: &str, chars_max: usize) -> String {
    let shown: String = text.chars().take(chars_max).map(|it| if it.is_control() { ' ' } else { it }).collect();
    if text.chars().count() > chars_max { shown + "…" } else { shown }
}

/// A draft for these lines, which have that syntax; None where nothing can be told apart in them.
pub fn propose(lines: &[&str], format: &str, id: &str) -> Option<Proposal> {
    let mut all: BTreeMap<String, Stats> = BTreeMap::new();
    let (mut structured, mut inside) = (0, 0);
    for line in lines {
        let mut fields = Vec::new();
        let is_inside = fields_of(line, &mut fields);
        structured += usize::from(!fields.is_empty());
        inside += usize::from(!fields.is_empty() && is_inside);
        for (path, text, is_number, is_bool) in fields {
            if all.len() < FIELDS_MAX || all.contains_key(&path) {
                all.entry(path).or_default().add(&text, is_number, is_bool);
            }
        }
    }
    if lines.is_empty() || structured * 2 < lines.len() {
        // `date | text` is one of our own forms, and what others write in columns.
        let columns = matches!(format, "text" | "keyrunner").then(|| columns::propose(lines, format, id)).flatten();
        return columns.or_else(|| text::propose(lines, format, id));
    }
    // What stands behind words has no paths.
    let way = match inside * 2 > structured && !matches!(format, "json" | "logfmt" | "cef" | "leef") {
        true => Way::Pairs,
        false => Way::Paths,
    };
    Some(draft(&all, lines, format, id, way))
}

/// What stands before the key of a pair.
const BEFORE_KEY: &str = r"(?:^|[\s,|])";

/// How a field of a record is said.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Paths,
    /// As pairs in the message, behind other words.
    Pairs,
}

impl Way {
    fn take(self, path: &str) -> String {
        match self {
            Way::Paths => format!("{path:?}"),
            Way::Pairs => format!("Pairs(\"message\", {path:?})"),
        }
    }

    fn is_there(self, path: &str) -> String {
        match self {
            Way::Paths => format!("Exists({path:?})"),
            Way::Pairs => format!("Matches(\"message\", r#\"{BEFORE_KEY}{}=\"#)", escaped(path)),
        }
    }

    /// Whether the value is one of these, whatever their case.
    fn is_one_of(self, path: &str, values: &[&str]) -> String {
        match self {
            Way::Paths => format!("NoCase(OneOf({path:?}, {values:?}))"),
            Way::Pairs => {
                let values: Vec<String> = values.iter().map(|it| escaped(it)).collect();
                self.matches(path, &format!(r#""?(?:{})"?(?:[\s,|]|$)"#, values.join("|")))
            }
        }
    }

    /// Whether the value fits a pattern, whatever its case.
    fn matches(self, path: &str, pattern: &str) -> String {
        match self {
            Way::Paths => format!("NoCase(Matches({path:?}, r#\"{pattern}\"#))"),
            Way::Pairs => format!("NoCase(Matches(\"message\", r#\"{BEFORE_KEY}{}={pattern}\"#))", escaped(path)),
        }
    }

    /// Whether the value is a number of at least 400.
    fn is_http_error(self, path: &str) -> String {
        match self {
            Way::Paths => format!("Ge({path:?}, 400)"),
            Way::Pairs => self.matches(path, r#""?[45]\d\d\b"#),
        }
    }

    fn is_no_http_error(self, path: &str) -> String {
        match self {
            Way::Paths => format!("Lt({path:?}, 400)"),
            Way::Pairs => self.matches(path, r#""?[123]\d\d\b"#),
        }
    }
}

/// A text as a pattern.
fn escaped(text: &str) -> String {
    regex_syntax::escape(text).replace('"', r"\x22")
}

/// Where a time stands at the beginning of (nearly) all lines, as a take.
fn leading_time(lines: &[&str]) -> Option<String> {
    const ISO: &str = r"^\[?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)";
    const WORDS_MAX: usize = 6;
    let bracket = (
        String::from(r"^\[([^\]]+)\]"),
        Box::new(|it: &'_ str| it.strip_prefix('[')?.find(']').map(|at| 1..at + 1))
            as Box<dyn Fn(&str) -> Option<std::ops::Range<usize>>>,
    );
    let words = (1..=WORDS_MAX).map(|count| {
        let pattern = format!(r"^({})", vec![r"\S+"; count].join(" "));
        let find =
            move |it: &str| it.match_indices(' ').map(|it| it.0).chain([it.len()]).nth(count - 1).map(|at| 0..at);
        (pattern, Box::new(find) as Box<dyn Fn(&str) -> Option<std::ops::Range<usize>>>)
    });
    for (pattern, find) in [bracket].into_iter().chain(words) {
        let mut stats = Stats::default();
        lines
            .iter()
            .filter_map(|it| Some(&it[find(it)?]))
            .for_each(|it| stats.add(it.trim_end_matches([',', ':']), false, false));
        if stats.lines * 10 < lines.len() * 9 {
            continue;
        }
        match stats.time() {
            Some(Some(form)) => return Some(format!("TimeAs(Capture(\"message\", r\"{pattern}\"), [{form:?}])")),
            Some(None) if stats.examples.iter().all(|it| it.starts_with("20")) => {
                return Some(format!("Time(Capture(\"message\", r\"{ISO}\"))"));
            }
            Some(None) => return Some(format!("Time(Capture(\"message\", r\"{pattern}\"))")),
            None => {}
        }
    }
    None
}

/// The fields of a line that is, or carries, an object or pairs: path, value, whether it is a number or truth value. True: they
/// are pairs that stand behind other words.
fn fields_of(line: &str, out: &mut Vec<(String, String, bool, bool)>) -> bool {
    let object = line.find('{').and_then(|at| serde_json::from_str::<Json>(line[at..].trim()).ok());
    match object {
        Some(it) => flatten(String::new(), &it, out),
        None => pairs(line, out),
    }
    let first = out.first().and_then(|it| line.find(&format!("{}=", it.0)));
    // Behind a syslog tag they are found.
    first.is_some_and(|at| !line[..at].trim_end().is_empty() && !line[..at].trim_end().ends_with(':'))
        && !line.trim_start().starts_with('{')
}

fn flatten(path: String, value: &Json, out: &mut Vec<(String, String, bool, bool)>) {
    match value {
        Json::Null => {}
        Json::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                // Keys that hold brackets cannot be said as paths.
                if !key.is_empty() && !key.contains(['[', ']']) {
                    flatten(path, value, out);
                }
            }
        }
        Json::Array(all) => {
            for it in all.iter().take(4) {
                match it {
                    Json::Object(_) => flatten(format!("{path}[]"), it, out),
                    Json::Array(_) => {}
                    it => {
                        flatten(path.clone(), it, out);
                        break;
                    }
                }
            }
        }
        Json::String(it) if it.is_empty() => {}
        Json::String(it) => out.push((path, it.clone(), false, false)),
        Json::Number(it) => out.push((path, it.to_string(), true, false)),
        Json::Bool(it) => out.push((path, it.to_string(), false, true)),
    }
}

/// `key=value key="two words"`; nothing where fewer than two stand in the line.
fn pairs(line: &str, out: &mut Vec<(String, String, bool, bool)>) {
    let mut rest = line;
    while let Some(at) = rest.find('=') {
        let key_start = rest[..at].rfind([' ', '\t', ',', '|']).map_or(0, |it| it + 1);
        let key = &rest[key_start..at];
        let after = &rest[at + 1..];
        let (value, left) = match after.strip_prefix('"') {
            Some(inner) => inner.split_once('"').unwrap_or((inner, "")),
            None => after.split_at(after.find([' ', '\t']).unwrap_or(after.len())),
        };
        let is_key = |it: char| it.is_alphanumeric() || matches!(it, '_' | '-' | '.' | '@');
        if !key.is_empty() && key.chars().all(is_key) && !value.is_empty() && value != "-" {
            out.push((key.to_string(), value.trim_end_matches(',').to_string(), false, false));
        }
        rest = left;
    }
    if out.len() < 2 {
        out.clear();
    }
}

/// What a field may be: its ECS name, words its name has, words that speak against it, and how well its values fit (0: not at all).
struct Role {
    field: &'static str,
    names: &'static [&'static str],
    never: &'static [&'static str],
    fits: fn(&Stats) -> f64,
}

impl Role {
    /// Whether few lines have it in any log: most do not change what somebody may do.
    fn is_rare(&self) -> bool {
        matches!(self.field, "user.target.name" | "user.roles")
    }
}

const ROLES: &[Role] = &[
    Role {
        field: "@timestamp",
        names: &[
            "time",
            "timestamp",
            "ts",
            "date",
            "datetime",
            "created",
            "at",
            "when",
            "published",
            "occurred",
            "logged",
        ],
        never: &["expires", "expiry", "expiration", "updated", "modified"],
        fits: |it| if it.time().is_some() { 2.0 } else { 0.0 },
    },
    Role {
        field: "source.ip",
        names: &["ip", "address", "addr", "client", "remote", "src", "source", "from", "peer", "x_forwarded_for"],
        never: &["dst", "dest", "destination", "server", "host", "local"],
        fits: |it| if it.share(it.addresses) > 0.5 { 3.0 } else { 0.0 },
    },
    Role {
        field: "user_agent.original",
        names: &["agent", "useragent", "ua", "browser"],
        never: &["id", "version"],
        fits: |it| if it.length > it.lines * 12 && it.share(it.numbers) < 0.1 { 0.5 } else { 0.0 },
    },
    Role {
        field: "event.outcome",
        names: &["outcome", "result", "status", "success", "succeeded", "ok", "error", "failed", "code", "state"],
        never: &["id", "message", "reason"],
        fits: |it| match it.values.len() <= 40 && it.values.keys().any(|it| outcome(it).is_some()) {
            true => 1.0,
            false => 0.0,
        },
    },
    Role {
        field: "user.roles",
        names: &["role", "roles", "permission", "permissions", "privilege", "privileges"],
        never: &["old", "previous", "prev", "former", "before", "from", "id", "type", "arn", "count", "policy"],
        fits: |it| if it.share(it.numbers) < 0.5 && it.addresses == 0 && it.bools == 0 { 0.1 } else { 0.0 },
    },
    Role {
        field: "user.target.name",
        names: &["target", "object", "affected", "recipient", "victim", "grantee", "assignee", "beneficiary"],
        never: &["type", "kind", "ip", "id", "time", "role", "roles"],
        fits: |it| if it.share(it.numbers) < 0.5 && it.share(it.addresses) < 0.1 { 0.1 } else { 0.0 },
    },
    Role {
        field: "user.name",
        names: &[
            "user",
            "username",
            "email",
            "mail",
            "actor",
            "login",
            "account",
            "principal",
            "who",
            "subject",
            "uid",
            "upn",
            "operator",
            "name",
            "member",
            "usr",
            "uname",
            "identity",
            "caller",
        ],
        never: &[
            "agent",
            "target",
            "type",
            "ip",
            "host",
            "display",
            "service",
            "app",
            "application",
            "session",
            "org",
            "organization",
            "object",
            "event",
            "time",
            "role",
            "roles",
            "file",
            "action",
        ],
        fits: |it| if it.share(it.addresses) > 0.2 || it.bools > 0 { 0.0 } else { 0.5 + it.share(it.mails) },
    },
    Role {
        field: "event.action",
        names: &[
            "action",
            "event",
            "eventid",
            "operation",
            "activity",
            "type",
            "name",
            "method",
            "verb",
            "msg",
            "message",
            "command",
            "what",
            "evt",
        ],
        never: &["time", "id", "ip", "user", "agent", "actor", "version", "target", "source", "level", "severity"],
        fits: |it| {
            let known = it.values.iter().filter(|it| activity(it.0).is_some()).map(|it| it.1).sum::<usize>();
            let few = it.values.len() <= 300 && it.values.len() * 3 <= it.lines.max(30);
            let says = it.share(it.numbers) < 0.2 || known > 0;
            if few && says { 0.5 + 2.0 * it.share(known) } else { 0.0 }
        },
    },
    // Where somebody else is the user.
    Role {
        field: "user.target.name",
        names: &["subject", "member"],
        never: &["type", "kind", "ip", "id", "time", "role", "roles"],
        fits: |it| {
            let is_name =
                it.share(it.numbers) < 0.5 && it.addresses == 0 && !it.values.keys().any(|it| it.contains(' '));
            if is_name { 0.1 } else { 0.0 }
        },
    },
    Role {
        field: "host.name",
        names: &["host", "hostname", "server", "machine", "computer", "node"],
        never: &["ip", "address", "client", "user"],
        fits: |it| if it.share(it.addresses) < 0.2 && it.share(it.numbers) < 0.2 { 0.2 } else { 0.0 },
    },
];

/// The words of a path: `actor.userName` is actor, user, name; and the words of its last key.
fn words_of(path: &str) -> (Vec<String>, Vec<String>) {
    let split = |text: &str| {
        let mut words = vec![String::new()];
        let mut before = ' ';
        for it in text.chars() {
            let begins = it.is_uppercase() && before.is_lowercase();
            if (begins || !it.is_alphanumeric()) && words.last().is_some_and(|it| !it.is_empty()) {
                words.push(String::new());
            }
            if it.is_alphanumeric()
                && let Some(word) = words.last_mut()
            {
                word.extend(it.to_lowercase());
            }
            before = it;
        }
        words.retain(|it| !it.is_empty());
        words
    };
    let last = path.rsplit('.').next().unwrap_or(path);
    (split(path), split(last))
}

fn score(role: &Role, path: &str, stats: &Stats) -> f64 {
    let fit = (role.fits)(stats);
    let (all, last) = words_of(path);
    let whole = last.concat();
    let named_whole = role.names.contains(&whole.as_str());
    let known = |it: &String| role.names.contains(&it.as_str());
    let named = match () {
        _ if named_whole => 3.0,
        _ if last.iter().any(known) => 2.0,
        _ if all.iter().any(known) => 1.0,
        _ => 0.0,
    };
    let spoken_against = !named_whole && last.iter().any(|it| role.never.contains(&it.as_str()));
    // Earlier names in a role's list are the better ones.
    let rank = role.names.iter().position(|it| last.iter().any(|word| word == it)).unwrap_or(role.names.len());
    if fit == 0.0 || named == 0.0 && fit < 2.0 || spoken_against {
        return 0.0;
    }
    fit + named - rank as f64 * 0.05 - path.matches(['.', '[']).count() as f64 * 0.1
}

/// Whether a value says that something failed.
fn outcome(value: &str) -> Option<bool> {
    let it = value.to_lowercase();
    let failed = ["fail", "den", "reject", "error", "invalid", "refus", "block", "unauthor", "forbid", "unsuccess"];
    if failed.iter().any(|word| it.contains(word)) || matches!(it.as_str(), "false" | "no" | "ko" | "nok") {
        return Some(false);
    }
    let good = ["success", "succeed", "allow", "accept", "grant", "ok", "pass", "permit", "complete"];
    if good.iter().any(|word| it == *word || it.starts_with(word)) || matches!(it.as_str(), "true" | "yes") {
        return Some(true);
    }
    match it.parse::<u16>() {
        Ok(code @ 200..=399) if code != 0 => Some(true),
        Ok(400..=599) => Some(false),
        _ => None,
    }
}

/// What an action's words mean; `login` where they do not say how it went.
fn activity(value: &str) -> Option<&'static str> {
    let words: String = value.to_lowercase().chars().map(|it| if it.is_alphanumeric() { it } else { ' ' }).collect();
    let it = format!(" {words} ");
    let has = |words: &[&str]| words.iter().any(|word| it.contains(word));
    let bad = has(&["fail", "invalid", "denied", "reject", "incorrect", "wrong", "bad ", "unsuccess", "refused"]);
    let good = has(&["success", "succeed", "accepted", " ok"]);
    let made = has(&["creat", "add", "new", "generat", "issue", "invit", "insert", "enrol", "regist", "provision"]);
    let gone = has(&["delet", "remov", "revok", "destroy", "drop", "unassign", "deregist"]);
    let off = has(&["disabl", "deactivat", "suspend", "turn off", "turned off", "stop", "lock", "block", "off"]);
    let on = has(&["enabl", "activat", "reactivat", "unsuspend", "unlock", "turned on"]);
    let changed = has(&["chang", "updat", "modif", "edit", "set", "put", "patch", "rotat"]);
    let found = match () {
        _ if has(&[
            "logout",
            "log out",
            "logged out",
            "logoff",
            "signout",
            "sign out",
            "signed out",
            "session end",
        ]) =>
        {
            "logout"
        }
        _ if has(&["mfa", "2fa", "otp", "two factor", "second factor", "webauthn"]) && !has(&["login", "sign in"]) => {
            match () {
                _ if gone || off => "mfa.disabled",
                _ if bad => "mfa.challenge_denied",
                _ if made || on => "mfa.enabled",
                _ => return None,
            }
        }
        _ if has(&["login", "log in", "logged in", "logon", "signin", "sign in", "signed in", "authenticat"]) => {
            match () {
                _ if bad => "login.failure",
                _ if good || has(&["logged in", "signed in"]) => "login.success",
                _ => "login",
            }
        }
        _ if has(&["password", "passwd"]) && has(&["reset", "recover", "forgot"]) => "password.reset",
        _ if has(&["password", "passwd", "credential", "passcode"]) && (bad || has(&["mismatch"])) => "login.failure",
        _ if has(&["password", "passwd"]) && changed => "password.changed",
        _ if has(&["audit"]) && (off || gone) => "audit.disabled",
        _ if has(&["sso", "saml", "oidc", "identity provider"]) && (made || gone || changed || off || on) => {
            "sso.changed"
        }
        _ if has(&["role", "permission", "privilege", "admin", "grant"]) => match () {
            _ if gone || has(&["demot"]) => "role.revoked",
            _ if has(&["admin", "owner", "superuser"]) && (made || changed || has(&["grant", "assign", "promot"])) => {
                "role.admin_assigned"
            }
            _ if made || changed || has(&["grant", "assign"]) => "role.assigned",
            _ => return None,
        },
        _ if has(&["api key", "apikey", "access key", "token", "credential", "service account key", "secret"]) => {
            match () {
                _ if has(&["secret", "credential"])
                    && has(&["read", "get", "view", "access", "retriev", "reveal", "fetch"]) =>
                {
                    "secret.read"
                }
                _ if gone => "credential.deleted",
                _ if made => "credential.created",
                _ => return None,
            }
        }
        _ if has(&["user", "account", "member"]) => match () {
            _ if gone => "user.deleted",
            _ if on => "user.enabled",
            _ if off => "user.disabled",
            _ if made => "user.created",
            _ => return None,
        },
        _ if has(&["export", "download", "dump"]) => "data.exported",
        _ if has(&["policy", "setting", "config"]) && (changed || made || gone) => "policy.changed",
        // `auth.export` is an export of the service `auth`; the word alone, or with how it went, is a login.
        _ if it.split_whitespace().next() == Some("auth") && (bad || good || it.trim() == "auth") => match bad {
            true => "login.failure",
            false if good => "login.success",
            false => "login",
        },
        _ => match value {
            // Numbers of the Windows security log.
            "4624" => "login.success",
            "4625" => "login.failure",
            "4634" | "4647" => "logout",
            "4720" => "user.created",
            "4722" => "user.enabled",
            "4725" => "user.disabled",
            "4726" => "user.deleted",
            _ => return None,
        },
    };
    Some(found)
}

fn draft(all: &BTreeMap<String, Stats>, lines: &[&str], format: &str, id: &str, way: Way) -> Proposal {
    let mut taken: Vec<&str> = Vec::new();
    let mut roles: Vec<(&Role, &str)> = Vec::new();
    for role in ROLES {
        if roles.iter().any(|it| it.0.field == role.field) {
            continue;
        }
        let lines_min = if role.is_rare() { 1 } else { lines.len().min(100) };
        let free = all.iter().filter(|it| !taken.contains(&it.0.as_str()) && it.1.lines * 10 >= lines_min);
        let best = free.map(|it| (score(role, it.0, it.1), it.0)).max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((score, path)) = best
            && score > 1.0
        {
            taken.push(path);
            roles.push((role, path));
        }
    }
    let path_of = |field: &str| roles.iter().find(|it| it.0.field == field).map(|it| it.1);
    // A role that lines of all kinds have is that of whoever acts.
    let given = |path: &str| {
        let ranked = path_of("event.action").map(|it| all[it].ranked()).unwrap_or_default();
        let about_roles = ranked.iter().filter(|it| activity(it.0).is_some_and(|it| it.starts_with("role.")));
        all[path].lines <= about_roles.map(|it| it.1).sum::<usize>()
    };
    let given_role = path_of("user.roles").filter(|it| given(it)).map(str::to_string);
    if given_role.is_none() {
        roles.retain(|it| it.0.field != "user.roles");
    }
    let path_of = |field: &str| roles.iter().find(|it| it.0.field == field).map(|it| it.1);
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "// A draft of `tripline init`, from {} lines. Read it, correct it, and add an example for each case.",
        lines.len()
    );
    let _ = writeln!(out, "Schema(\n    id: {id:?},\n    title: {id:?},");
    if !matches!(format, "auto" | "syslog") {
        let _ = writeln!(out, "    formats: [{format:?}],");
    }
    let marks = marks(all, lines.len(), &roles, way);
    let _ = writeln!(
        out,
        "    // What every line has; better still is a key that only this log has.\n    recognise: All([{}]),",
        marks.join(", ")
    );
    if let Some(path) = path_of("event.action") {
        let _ = writeln!(out, "    // {}\n    action: {},", all[path].about(lines.len()), way.take(path));
    }
    out.push_str("    fields: {\n");
    if path_of("@timestamp").is_none() {
        let time = match format {
            "syslog" => Some("\"syslog.time\"".to_string()),
            _ if way == Way::Pairs => leading_time(lines),
            _ => None,
        };
        time.iter().for_each(|it| out.push_str(&format!("        \"@timestamp\": {it},\n")));
    }
    for (role, path) in roles.iter().filter(|it| it.0.field != "event.action") {
        let take = match role.field {
            "source.ip" => format!("Address({})", way.take(path)),
            "event.outcome" => outcome_take(path, &all[*path], way),
            "@timestamp" => time_take(way.take(path), &all[*path]),
            _ => way.take(path),
        };
        let _ = writeln!(out, "        // {}\n        {:?}: {take},", all[*path].about(lines.len()), role.field);
    }
    out.push_str("    },\n");
    let failed = path_of("event.outcome").and_then(|it| failed_when(it, &all[it], way));
    let admin = given_role.map(|it| way.matches(&it, ADMIN));
    out.push_str(&cases(path_of("event.action").map(|it| &all[it]), failed.as_deref(), admin.as_deref()));
    unused(all, &taken, lines.len(), &mut out);
    out.push_str("    examples: [],\n)\n");
    let roles =
        roles.iter().map(|(role, path)| (role.field.to_string(), path.to_string(), all[*path].about(lines.len())));
    Proposal { text: out, roles: roles.collect() }
}

/// Roles that may do everything.
const ADMIN: &str = r#""?[^\s="]*(?:admin|owner|superuser|super user|root)"#;

/// What tells these records from others: keys that (nearly) every line has, those with a role first; a constant is best.
fn marks(all: &BTreeMap<String, Stats>, lines: usize, roles: &[(&Role, &str)], way: Way) -> Vec<String> {
    let every = |it: &Stats| it.lines * 100 >= lines * 99;
    let constants = all.iter().filter(|it| {
        let kind = it.1.bools == 0 && it.1.share(it.1.numbers) < 0.5 && it.1.share(it.1.times) < 0.5;
        lines >= 20 && every(it.1) && it.1.values.len() == 1 && kind && !it.0.contains('[')
    });
    let mut marks: Vec<String> = constants
        .filter(|it| {
            words_of(it.0).1.iter().any(|it| {
                [
                    "app",
                    "service",
                    "product",
                    "vendor",
                    "source",
                    "system",
                    "logger",
                    "application",
                    "program",
                    "provider",
                ]
                .contains(&it.as_str())
            })
        })
        .take(1)
        .filter_map(|it| {
            let value = it.1.examples.first()?;
            Some(if way == Way::Paths { format!("Eq({:?}, {value:?})", it.0) } else { way.is_one_of(it.0, &[value]) })
        })
        .collect();
    let named = roles.iter().map(|it| it.1).filter(|it| every(&all[*it]));
    let others = all.iter().filter(|it| every(it.1)).map(|it| it.0.as_str());
    let mut seen: Vec<&str> = Vec::new();
    for path in named.chain(others) {
        if !seen.contains(&path) && !path.contains('[') && seen.len() < 5 {
            seen.push(path);
            marks.push(way.is_there(path));
        }
    }
    if marks.is_empty() {
        let most = all.iter().filter(|it| !it.0.contains('[')).max_by_key(|it| it.1.lines);
        marks.extend(most.map(|it| way.is_there(it.0)));
    }
    marks
}

/// How a value of the outcome says that something failed.
fn failed_when(path: &str, stats: &Stats, way: Way) -> Option<String> {
    let failed: Vec<&str> = stats.ranked().into_iter().map(|it| it.0).filter(|it| outcome(it) == Some(false)).collect();
    let is_http = !failed.is_empty() && stats.share(stats.numbers) > 0.9;
    match failed.is_empty() {
        true => None,
        false if is_http => Some(way.is_http_error(path)),
        false => Some(way.is_one_of(path, &failed)),
    }
}

/// A path or other take as a time.
fn time_take(take: String, stats: &Stats) -> String {
    match stats.time() {
        Some(Some(form)) => format!("TimeAs({take}, [{form:?}])"),
        _ => take,
    }
}

fn outcome_take(path: &str, stats: &Stats, way: Way) -> String {
    let good: Vec<&str> = stats.ranked().into_iter().map(|it| it.0).filter(|it| outcome(it) == Some(true)).collect();
    let mut parts = Vec::new();
    parts.extend(failed_when(path, stats, way).map(|it| format!("When({it}, Text(\"failure\"))")));
    if stats.share(stats.numbers) > 0.9 {
        parts.push(format!("When({}, Text(\"success\"))", way.is_no_http_error(path)));
    } else if !good.is_empty() {
        parts.push(format!("When({}, Text(\"success\"))", way.is_one_of(path, &good)));
    }
    format!("First([{}])", parts.join(", "))
}

/// The cases for actions, of which some failed when that condition holds, and give an administrator's role when that one does.
fn cases(action: Option<&Stats>, failed: Option<&str>, admin: Option<&str>) -> String {
    let mut by_activity: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    let mut unknown: Vec<(&str, usize)> = Vec::new();
    for (value, count) in action.map(Stats::ranked).unwrap_or_default() {
        match activity(value) {
            Some(found) => by_activity.entry(found).or_default().push((value, count)),
            None => unknown.push((value, count)),
        }
    }
    let mut out = String::from("    // What the actions mean; the first case that applies decides.\n    cases: [\n");
    let mut case = |activity: &str, values: &[(&str, usize)], when: &str, note: &str| {
        let words: Vec<&str> = values.iter().map(|it| it.0).collect();
        let count: usize = values.iter().map(|it| it.1).sum();
        let _ = writeln!(out, "        // {count} lines{note}\n        (activity: {activity:?}, on: {words:?}{when}),");
    };
    if let Some(values) = by_activity.remove("login") {
        match failed {
            Some(failed) => {
                case("login.failure", &values, &format!(", when: {failed}"), ", or fewer: those that failed");
                case("login.success", &values, "", "");
            }
            None => case("login.success", &values, "", ": are failed ones written the same way?"),
        }
    }
    for known in ["login.success", "login.failure"] {
        if let Some(values) = by_activity.remove(known) {
            case(known, &values, "", "");
        }
    }
    if let Some(failed) = failed {
        let _ = writeln!(
            out,
            "        // What was tried and failed did not happen.\n        (activity: \"other\", when: {failed}),"
        );
    }
    if let (Some(admin), Some(values)) = (admin, by_activity.get("role.assigned")) {
        let words: Vec<&str> = values.iter().map(|it| it.0).collect();
        let _ = writeln!(out, "        (activity: \"role.admin_assigned\", on: {words:?}, when: {admin}),");
    }
    let mut case = |activity: &str, values: &[(&str, usize)]| {
        let words: Vec<&str> = values.iter().map(|it| it.0).collect();
        let count: usize = values.iter().map(|it| it.1).sum();
        let _ = writeln!(out, "        // {count} lines\n        (activity: {activity:?}, on: {words:?}),");
    };
    for (activity, values) in &by_activity {
        case(activity, values);
    }
    for (value, count) in unknown.iter().take(40) {
        let _ = writeln!(out, "        // no activity yet: {:?} ({count} lines)", plain(value, 80));
    }
    out + "    ],\n"
}

fn unused(all: &BTreeMap<String, Stats>, taken: &[&str], lines: usize, out: &mut String) {
    let rest: Vec<_> = all.iter().filter(|it| !taken.contains(&it.0.as_str())).take(30).collect();
    if !rest.is_empty() {
        out.push_str("    // Not used; rules can name these paths all the same:\n");
    }
    for (path, stats) in rest {
        let _ = writeln!(out, "    //   {}: {}", plain(path, 60), stats.about(lines));
    }
}

/// Free text: lines that differ in a few words only are one kind of line.
mod text {
    use std::collections::BTreeSet;

    use super::*;

    #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
    enum Token {
        Word(String),
        Address,
        Mail,
        /// Something that differs from line to line.
        Any,
    }

    /// Words that are no names, however seldom they come.
    const LANGUAGE: &[&str] = &[
        "a",
        "access",
        "accepted",
        "account",
        "added",
        "an",
        "and",
        "api",
        "as",
        "at",
        "attempt",
        "auth",
        "authenticated",
        "authentication",
        "bad",
        "been",
        "by",
        "changed",
        "code",
        "connection",
        "created",
        "deleted",
        "denied",
        "disabled",
        "enabled",
        "error",
        "expired",
        "failed",
        "failure",
        "for",
        "from",
        "granted",
        "has",
        "in",
        "incorrect",
        "invalid",
        "invited",
        "ip",
        "is",
        "key",
        "locked",
        "log",
        "logged",
        "login",
        "logon",
        "logout",
        "made",
        "mfa",
        "new",
        "not",
        "of",
        "on",
        "out",
        "password",
        "permission",
        "permissions",
        "policy",
        "promoted",
        "read",
        "refused",
        "rejected",
        "removed",
        "reset",
        "revoked",
        "role",
        "roles",
        "secret",
        "session",
        "sign",
        "signed",
        "successful",
        "successfully",
        "success",
        "the",
        "to",
        "token",
        "unknown",
        "unlocked",
        "updated",
        "user",
        "username",
        "was",
        "with",
        "wrong",
        "assigned",
        "assigning",
        "authorized",
        "unauthorized",
        "member",
        "via",
    ];
    const NAME: &str = r"[0-9A-Za-z_.@+\-]+";
    const ADMIN_ROLE: &str = r"(?i:[0-9A-Za-z_.\-]*(?:admin|owner|superuser|root)[0-9A-Za-z_.\-]*)";
    const KINDS_MAX: usize = 24;
    const TOKENS_MAX: usize = 30;

    pub fn propose(lines: &[&str], format: &str, id: &str) -> Option<Proposal> {
        let bodies: Vec<Vec<&str>> = lines.iter().map(|it| body(it)).collect();
        let mut seen: HashMap<&str, usize> = HashMap::new();
        bodies.iter().flatten().for_each(|it| *seen.entry(bare(it)).or_default() += 1);
        let common = (lines.len() / 100).max(2);
        let many = names(&bodies);
        let mut kinds: HashMap<Vec<Token>, (usize, &str)> = HashMap::new();
        for (body, line) in bodies.iter().zip(lines) {
            let mut before = "";
            let mut tokens = Vec::new();
            for written in body.iter().take(TOKENS_MAX) {
                let word = bare(written);
                // A word in quotes or right behind `user` that is none of the language is a name, also where only one comes.
                let is_told_so = names_user(before) || written.starts_with(['"', '\'']);
                let is_name = is_told_so && !is_language(word) && !word.is_empty()
                    || many.get(before).is_some_and(|it| it.contains(word));
                tokens.push(match token(word, &seen, common) {
                    Token::Word(_) if is_name => Token::Any,
                    it => it,
                });
                before = word;
            }
            if tokens.iter().any(|it| matches!(it, Token::Word(_))) {
                kinds.entry(tokens).or_insert((0, line)).0 += 1;
            }
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by(|a, b| b.1.0.cmp(&a.1.0).then_with(|| a.0.cmp(&b.0)));
        kinds.truncate(KINDS_MAX);
        if kinds.is_empty() {
            return None;
        }
        Some(write(&kinds, lines, format, id))
    }

    /// What stands behind words like `user`, where it differs so much that it must be names: a busy user's name comes as often
    /// as a word of the language.
    fn names<'a>(bodies: &[Vec<&'a str>]) -> HashMap<&'a str, BTreeSet<&'a str>> {
        const NAMES_MIN: usize = 4;
        const WORDS: [&str; 14] = [
            "from", "is", "was", "has", "logged", "login", "failed", "account", "name", "id", "to", "in", "not", "does",
        ];
        let mut behind: HashMap<&str, BTreeSet<&str>> = HashMap::new();
        for body in bodies {
            for pair in body.windows(2) {
                let (before, word) = (bare(pair[0]), bare(pair[1]));
                let fits = names_user(before) && !names_user(word) && !WORDS.contains(&word.to_lowercase().as_str());
                if fits && !word.is_empty() && behind.len() < VALUES_MAX {
                    behind.entry(before).or_default().insert(word);
                }
            }
        }
        behind.retain(|_, it| it.len() >= NAMES_MIN);
        behind
    }

    /// The words behind what looks like a time.
    fn body(line: &str) -> Vec<&str> {
        let words = line.split_whitespace();
        words
            .skip_while(|it| it.starts_with(|it: char| it.is_ascii_digit() || "[+-".contains(it)) && !it.contains('@'))
            .collect()
    }

    fn bare(word: &str) -> &str {
        word.trim_matches(|it: char| !it.is_alphanumeric())
    }

    fn token(word: &str, seen: &HashMap<&str, usize>, common: usize) -> Token {
        let is_word = word.chars().all(|it| it.is_alphabetic() || matches!(it, '-' | '_' | '\''));
        match () {
            _ if address::parse(word).is_some() => Token::Address,
            _ if word.contains('@') => Token::Mail,
            _ if !word.is_empty()
                && is_word
                && (is_language(word) || seen.get(word).is_some_and(|it| *it >= common)) =>
            {
                Token::Word(word.to_string())
            }
            _ => Token::Any,
        }
    }

    fn is_language(word: &str) -> bool {
        LANGUAGE.contains(&word.to_lowercase().as_str())
    }

    /// The pattern of a kind of line, and which groups it has. `role`: how a role is written, where the line is about one.
    fn pattern(tokens: &[Token], role: Option<&str>) -> (String, Vec<&'static str>) {
        let mut groups = Vec::new();
        let mut parts = Vec::new();
        let mut before = String::new();
        for token in tokens {
            let is_free = |group: &str, groups: &[&str]| !groups.contains(&group);
            let behind = |words: &[&str]| words.contains(&before.as_str());
            let part = match token {
                Token::Word(it) => it.replace('-', r"\-"),
                Token::Address if is_free("ip", &groups) => {
                    groups.push("ip");
                    // Not the colon behind it.
                    r"(?<ip>[0-9a-fA-F.:]*[0-9a-fA-F])".to_string()
                }
                Token::Any if role.is_some() && is_free("role", &groups) && behind(&["role", "roles", "a", "an"]) => {
                    groups.push("role");
                    format!("(?<role>{})", role.unwrap_or(NAME))
                }
                Token::Any | Token::Mail
                    if role.is_some()
                        && is_free("target", &groups)
                        && groups.contains(&"role")
                        && behind(&["to", "for"]) =>
                {
                    groups.push("target");
                    format!("(?<target>{NAME})")
                }
                Token::Mail if is_free("user", &groups) => {
                    groups.push("user");
                    r"(?<user>[0-9A-Za-z_.+\-]+@[0-9A-Za-z.\-]+)".to_string()
                }
                Token::Any if names_user(&before) && is_free("user", &groups) => {
                    groups.push("user");
                    format!("(?<user>{NAME})")
                }
                Token::Address | Token::Mail | Token::Any => r"\S+?".to_string(),
            };
            before = if let Token::Word(it) = token { it.to_lowercase() } else { String::new() };
            parts.push(part);
        }
        // White space and ASCII punctuation: `\W` knows all of Unicode, which makes two dozen patterns too large.
        (parts.join(r"[\s[:punct:]]+"), groups)
    }

    fn names_user(word: &str) -> bool {
        ["user", "for", "by", "account", "username", "login", "member"].contains(&word.to_lowercase().as_str())
    }

    fn write(kinds: &[(Vec<Token>, (usize, &str))], lines: &[&str], format: &str, id: &str) -> Proposal {
        let mut forms = Vec::new();
        let mut groups_seen: Vec<&str> = Vec::new();
        for (tokens, (count, line)) in kinds {
            let words: Vec<&str> = tokens
                .iter()
                .filter_map(|it| if let Token::Word(it) = it { Some(it.as_str()) } else { None })
                .collect();
            let found = match activity(&words.join(" ")) {
                Some("login") => "login.success",
                Some(it) => it,
                None => "other",
            };
            let mut add = |role: Option<&str>, found: &'static str| {
                let (pattern, groups) = pattern(tokens, role);
                groups.iter().for_each(|it| {
                    if !groups_seen.contains(it) {
                        groups_seen.push(it)
                    }
                });
                forms.push((pattern, found, *count, *line));
                groups.contains(&"role")
            };
            match found {
                // What role it is decides.
                "role.assigned" => {
                    if add(Some(ADMIN_ROLE), "role.admin_assigned") {
                        add(Some(NAME), "role.assigned");
                    } else if let Some(last) = forms.last_mut() {
                        last.1 = "role.assigned";
                    }
                }
                found => {
                    add(None, found);
                }
            }
        }
        let mut out = format!(
            "// A draft of `tripline init`, from {} lines of text. Read it and correct it.\nSchema(\n    id: {id:?},\n    title: {id:?},\n",
            lines.len()
        );
        let without = |it: &str| {
            ["ip", "user", "role", "target"]
                .iter()
                .fold(it.to_string(), |it, group| it.replace(&format!("?<{group}>"), "?:"))
        };
        let mut recognise: Vec<String> = Vec::new();
        for form in &forms {
            let line = format!("        Matches(\"message\", {}),\n", raw(&without(&form.0)));
            if form.1 != "role.admin_assigned" && !recognise.contains(&line) {
                recognise.push(line);
            }
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, "    recognise: Any([\n{}    ]),", recognise.concat());
        let time = match format {
            "syslog" => Some("\"syslog.time\"".to_string()),
            _ => leading_time(lines),
        };
        let _ = writeln!(out, "    text: \"message\",\n    fields: {{");
        if let Some(time) = &time {
            let _ = writeln!(out, "        \"@timestamp\": {time},");
        }
        let mut roles = Vec::new();
        for (group, field, take) in [
            ("ip", "source.ip", "Address(Group(\"ip\"))"),
            ("user", "user.name", "Group(\"user\")"),
            ("target", "user.target.name", "Group(\"target\")"),
            ("role", "user.roles", "Group(\"role\")"),
        ] {
            if groups_seen.contains(&group) {
                let _ = writeln!(out, "        {field:?}: {take},");
                roles.push((field.to_string(), format!("group `{group}`"), "part of the text".to_string()));
            }
        }
        out.push_str("    },\n    cases: [\n");
        for (pattern, found, count, line) in forms {
            let _ = writeln!(
                out,
                "        // {count} lines, for example: {}\n        (activity: {found:?}, form: {}),",
                plain(line, 120),
                raw(&pattern)
            );
        }
        out.push_str("    ],\n    examples: [],\n)\n");
        Proposal { text: out, roles }
    }

    /// Patterns made here hold no quotes.
    fn raw(pattern: &str) -> String {
        format!("r\"{pattern}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(lines: &[&str], format: &str) -> Vec<String> {
        let proposal = propose(lines, format, "own").unwrap();
        proposal.roles.iter().map(|it| format!("{} = {}", it.0, it.1)).collect()
    }

    fn lines(make: impl Fn(usize) -> String) -> Vec<String> {
        (0..60).map(make).collect()
    }

    fn check(make: impl Fn(usize) -> String, format: &str, expected: &[&str], parts: &[&str]) {
        let lines = lines(make);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut found = roles(&lines, format);
        found.sort();
        assert_eq!(found, expected);
        let text = propose(&lines, format, "own").unwrap().text;
        for part in parts {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn json_by_names_and_values() {
        check(
            |it| {
                let (action, ok) = [("user.login", true), ("user.login", false), ("api_key.created", true)][it % 3];
                format!(
                    r#"{{"ts":"2025-04-12T08:02:{:02}Z","actor":{{"email":"u{}@example.com","ip":"203.0.113.{it}"}},"server_ip":"10.0.0.1","event_type":"{action}","success":{ok},"user_agent":"Mozilla/5.0 (X11; Linux)","app":"billing"}}"#,
                    it % 60,
                    it % 7
                )
            },
            "json",
            &[
                "@timestamp = ts",
                "event.action = event_type",
                "event.outcome = success",
                "source.ip = actor.ip",
                "user.name = actor.email",
                "user_agent.original = user_agent",
            ],
            &[
                r#"Eq("app", "billing")"#,
                r#"(activity: "login.failure", on: ["user.login"], when: NoCase(OneOf("success", ["false"])))"#,
                r#"(activity: "credential.created", on: ["api_key.created"])"#,
            ],
        );
    }

    #[test]
    fn pairs_and_text() {
        check(
            |it| {
                format!(
                    "time=2025-04-12T08:02:{:02}Z action=login user=u{} src=203.0.113.{it} status={}",
                    it % 60,
                    it % 9,
                    if it % 2 == 0 { "denied" } else { "ok" }
                )
            },
            "logfmt",
            &[
                "@timestamp = time",
                "event.action = action",
                "event.outcome = status",
                "source.ip = src",
                "user.name = user",
            ],
            &["login.failure"],
        );
        check(
            |it| {
                format!(
                    "2025-04-12 08:02:{:02} {} u{it} from 203.0.113.{it}",
                    it % 60,
                    if it % 2 == 0 { "Login failed for user" } else { "User logged in: user" }
                )
            },
            "text",
            &["source.ip = group `ip`", "user.name = group `user`"],
            &["login.failure", "login.success", "(?<user>"],
        );
    }

    #[test]
    fn nothing_to_tell_apart() {
        assert!(propose(&[], "text", "own").is_none());
        assert!(propose(&["1 2 3", "4 5 6"], "text", "own").is_none());
        for line in ["{\"a\":{\"[\":1}}", "{}", "= = =", "a=b", "\u{1}\u{2} x", "{\"a\":[[[]]]}"] {
            let _ = propose(&[line; 5], "json", "own");
        }
    }
}
