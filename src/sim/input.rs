//! What the world says: logs with disorder, ties, repeats and lies, and what an uninterrupted run makes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::dice::Dice;
use crate::engine::{Engine, Front, Judged, Reading, RuleSet, Wanted};
use crate::enrich::Enricher;
use crate::enrich::geo::Geo;
use crate::matcher::Lists;
use crate::model::{Alert, HashKeys, Span, Timestamp, Zone};
use crate::rule::load::{Builtin, load, load_text};
use crate::source::batch::LineBatch;
use crate::source::frame::Framer;

/// Half past eight on a Monday.
pub const BEGIN: Timestamp = Timestamp::from_micros(1_767_601_800_000_000);
pub const LATENESS: Span = Span::from_secs(2);

/// One rule of each way to remember: none, counts, sets, order, and what did not come. One nobody is told of.
const RULES: &str = r#"[
Rule(id: "sim-each", title: "{user.name} left", severity: Low, when: Eq("activity", "logout"), by: ["user.name"], detect: Each),
Rule(id: "sim-count", title: "{count} for {user.name} in {span}", severity: High, when: Eq("activity", "login.failure"),
    by: ["user.name"], detect: Count(at_least: 3, within: "1m")),
Rule(id: "sim-distinct", title: "{count} places of {user.name}", severity: Medium, when: Eq("activity", "login.failure"),
    by: ["user.name"], detect: Distinct(field: "source.ip", at_least: 3, within: "1m")),
Rule(id: "sim-then", title: "{user.name} got in", severity: Critical, by: ["user.name"], detect: Sequence(
    steps: [(when: Eq("activity", "login.failure"), at_least: 2), (when: Eq("activity", "login.success"))], within: "1m", ordered: true)),
Rule(id: "sim-never", title: "{user.name} never left", severity: High, by: ["user.name"],
    detect: Absence(first: Eq("activity", "login.success"), then: Eq("activity", "logout"), within: "4m")),
Rule(id: "sim-quiet", title: "nobody hears of {user.name}", severity: Info, when: Eq("activity", "session.expired"),
    by: ["user.name"], detect: Each)
]
"#;

pub const COUNT_AT_LEAST: usize = 3;
pub const COUNT_WITHIN: Span = Span::from_secs(60);

/// The rules, compiled: the same for every run.
pub fn rule_set() -> Arc<RuleSet> {
    compiled(RULES)
}

/// Such rules and the schema of access logs.
pub fn compiled(rules: &str) -> Arc<RuleSet> {
    let loaded = load_text("sim", rules);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let rules = loaded.rules.into_iter().map(|it| it.value).collect();
    let schemas = load(&[], Builtin::Schemas).schemas.into_iter().map(|it| it.value);
    let schemas: Vec<_> = schemas.filter(|it| it.id == "keyrunner.access").collect();
    Arc::new(RuleSet::compile(rules, &schemas, &Lists::default(), Wanted::ByRules).expect("our own rules compile"))
}

/// One line, and when it is said.
pub struct Saying {
    /// Microseconds since the beginning.
    pub at: i64,
    pub text: String,
    /// Of whom, when, and whether it failed: for the naive count. None where its time is a lie.
    pub fact: Option<(String, Timestamp, bool)>,
}

/// What one sender has to say, in the order in which it says it.
pub struct Script {
    pub client: String,
    /// It says HELLO, and sends again what was not acknowledged. Without, lines may be lost, and may come twice.
    pub greets: bool,
    pub sayings: Vec<Saying>,
    /// Users of whom everything must come out exactly as in an uninterrupted run: their lines are within the lateness.
    pub exact: BTreeSet<String>,
}

impl Script {
    pub fn invent(dice: &mut Dice, number: usize) -> Script {
        let client = format!("edge{number}");
        let users = |kind: &str, count: u64| (0..count).map(|it| format!("{kind}{it}.{client}@example.com")).collect();
        let honest: Vec<String> = users("honest", 4);
        let crooked: Vec<String> = users("crooked", 2);
        let mut sayings = Vec::new();
        let mut at = dice.within(0, 2_000_000) as i64;
        let lines = dice.within(20, 120);
        while (sayings.len() as u64) < lines {
            at += match dice.within(0, 20) {
                0 => dice.within(3_000_000, 15_000_000),
                1..6 => 0,
                _ => dice.within(0, 600_000),
            } as i64;
            let saying = match dice.chance(0.85) {
                true => honest_line(dice, &honest, at),
                false => crooked_line(dice, &crooked, at),
            };
            sayings.push(saying);
            if dice.chance(0.03)
                && let Some(last) = sayings.last()
            {
                // Some loggers stutter.
                let again = Saying { at, text: last.text.clone(), fact: last.fact.clone() };
                sayings.push(again);
            }
        }
        Script { client, greets: number == 0 || dice.chance(0.7), sayings, exact: honest.into_iter().collect() }
    }
}

const WORDS: [&str; 8] = [
    "Login failure",
    "Login failure",
    "Login failure",
    "Login success",
    "Login failure",
    "Logout",
    "Session expired",
    "Password changed",
];

fn honest_line(dice: &mut Dice, users: &[String], at: i64) -> Saying {
    let back = dice.within(0, 900_000) as i64;
    let time = BEGIN.plus(Span::from_micros(at)).minus(Span::from_micros(back));
    // Whole seconds make ties.
    let step = *dice.one_of(&[1_000_000, 1_000_000, 1_000]);
    line(dice, users, at, Timestamp::from_micros(time.micros() / step * step), true)
}

fn crooked_line(dice: &mut Dice, users: &[String], at: i64) -> Saying {
    let now = BEGIN.plus(Span::from_micros(at));
    let (time, is_near) = match dice.within(0, 6) {
        0 => (Timestamp::from_micros(4_070_908_800_000_000), false),
        1 => (Timestamp::from_micros(86_400_000_000), false),
        2 => (now.plus(Span::from_secs(2 * 86_400)), false),
        _ => (now.minus(Span::from_micros(dice.within(0, 20_000_000) as i64)), true),
    };
    line(dice, users, at, time, is_near)
}

fn line(dice: &mut Dice, users: &[String], at: i64, time: Timestamp, is_near: bool) -> Saying {
    let word = *dice.one_of(&WORDS);
    let (user, place) = (dice.one_of(users).clone(), dice.within(1, 6));
    let stamp = time.to_string().replace('T', " ").replace('Z', "");
    let text = format!("{stamp} | 203.0.113.{place} | {user} | Brazil | {word}\n");
    let fact = is_near.then(|| (user, time, word == "Login failure"));
    Saying { at, text, fact }
}

/// What an uninterrupted run tells of each sender, and a naive count beside it.
pub struct Expected {
    /// By (alert id, state): the alert as JSON, for users whose lines are in time.
    pub exact: BTreeMap<(String, String), String>,
    /// Users that failed so often in so short a time, by a plain recount.
    pub counted: BTreeSet<String>,
}

pub fn expect(set: &Arc<RuleSet>, scripts: &[Script]) -> Expected {
    let mut expected = Expected { exact: BTreeMap::new(), counted: BTreeSet::new() };
    for script in scripts {
        expected.counted.extend(recount(script));
        if script.greets {
            for alert in uninterrupted(set, script) {
                if user_of(&alert).is_some_and(|it| script.exact.contains(it)) {
                    let text = serde_json::to_string(&alert).unwrap_or_default();
                    expected.exact.insert((alert.id.clone(), alert.state.name().to_string()), text);
                }
            }
        }
    }
    expected
}

pub fn user_of(alert: &Alert) -> Option<&str> {
    alert.entity.get("user.name").and_then(|it| it.as_str())
}

fn uninterrupted(set: &Arc<RuleSet>, script: &Script) -> Vec<Alert> {
    let mut front = Front::new(set.clone(), HashKeys(1, 2), Enricher::new(Arc::new(Geo::none())));
    let mut engine = Engine::new(set.clone(), HashKeys(1, 2), 1);
    let source = engine.add_source(&format!("client:{}", script.client), LATENESS);
    let (mut judged, mut told) = (Judged::default(), Vec::new());
    let reading = Reading { format: None, zone: Zone::UTC };
    let mut framer = Framer::new(source, 1 << 16);
    for saying in &script.sayings {
        let mut batch = LineBatch::default();
        batch.source = source;
        framer.push(saying.text.as_bytes(), &mut batch);
        let now = BEGIN.plus(Span::from_micros(saying.at));
        front.judge(&batch, &reading, Some(now), now, &mut judged);
        engine.observe(&mut judged, &mut told);
    }
    // And then nothing, until whatever waits for time has had it.
    engine.source_is_idle(source, &mut told);
    engine.pass_time(engine.now().plus(Span::from_secs(3000)), &mut told);
    told
}

/// Every window, one after the other: nothing could be plainer. A failure that is said when its window is over for the source
/// may come too late, for what mattered to the window is forgotten then.
fn recount(script: &Script) -> BTreeSet<String> {
    let mut failures: BTreeMap<&String, Vec<(Timestamp, Timestamp)>> = BTreeMap::new();
    for saying in &script.sayings {
        if let Some((user, time, true)) = &saying.fact {
            failures.entry(user).or_default().push((*time, BEGIN.plus(Span::from_micros(saying.at))));
        }
    }
    let found = |window: &[(Timestamp, Timestamp)]| {
        let first = window[0].0;
        window.iter().all(|(time, said)| time.since(first) < COUNT_WITHIN && said.since(first) < COUNT_WITHIN)
    };
    failures.retain(|_, it| {
        it.sort();
        it.windows(COUNT_AT_LEAST).any(found)
    });
    failures.into_keys().cloned().collect()
}
