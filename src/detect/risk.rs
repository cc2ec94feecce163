//! Many small things about one person.
//!
//! A login from a new network is nothing to wake anybody for, and neither is a busy download, nor an hour's work at night. All
//! three on one day, of one person, are. So every finding of every rule, told or kept back by its own promise, leaves a trace with
//! its entity, which fades with a half-life; one alert comes when the traces together are extraordinary.
//!
//! Traces are kept by kind (the ATT&CK technique among a rule's tags, without its variant; else its first tag), and of each kind
//! only the strongest counts: whoever fails to log in a thousand times has shown one thing, not a thousand, and one login
//! that a country, a network and a journey make strange is one way in. Kinds are not independent (a new country is a new network too), so their
//! chances are put together by Cauchy's combination, which needs no independence, and never gives more than the best of them
//! allows; what many kinds at once are worth beyond that is experience, not statistics: a decade for each further kind. An exact
//! rule has no chance, only a severity, and counts with what that is worth. What is extraordinary, the pooled risks of all
//! entities say, and the promise holds the rate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smallvec::SmallVec;
use twox_hash::XxHash3_64;

use super::door::{Door, Room};
use super::gate::{day, round};
use super::promise::{Budget, PER_DEVIATION, Rate, Tail};
use super::slots::Slots;
use super::{Detector, Pressure, SCORE_MAX, Seen, Trip, restored, saved};
use crate::limits;
use crate::model::canonical::Compare;
use crate::model::{Because, Finding, HashKeys, List, Proof, RuleIndex, Severity, Span, Timestamp, Words};

/// What the engine knows of the rule that found something.
pub struct Origin<'a> {
    pub id: &'a str,
    pub severity: Severity,
    /// What kind of thing it tells of.
    pub kind: &'a str,
    /// The fields of its entity.
    pub by: &'a [String],
    /// How each of them is compared.
    pub compare: &'a [Compare],
}

/// All entities' traces, for one rule.
pub struct Ledger {
    rule: RuleIndex,
    field: String,
    half_life: Span,
    promise: Rate,
    keys: HashKeys,
    quiet: Span,
    state: State,
    bytes_max: usize,
}

#[derive(Default, Serialize, Deserialize)]
struct State {
    /// By the hash of the name. Names are chosen by strangers, so the table hashes once more, with a secret.
    people: Slots<Person>,
    /// What they take beyond their places.
    heap: usize,
    /// Who was told of, and when.
    told: BTreeMap<u64, Timestamp>,
    /// Ids of the rules that left traces, by their hashes.
    rules: BTreeMap<u32, Box<str>>,
    tail: Tail,
    budget: Budget,
    swept: i64,
    door: Door,
}

/// 64 bytes, and 24 for each trace beyond the second.
#[derive(Default, Serialize, Deserialize)]
struct Person {
    traces: SmallVec<[Trace; TRACES_INLINE]>,
    /// The most that the day came to, for the tail.
    most: f64,
}

/// The strongest of one kind.
#[derive(Clone, Serialize, Deserialize)]
struct Trace {
    at: Timestamp,
    kind: u32,
    rule: u32,
    decades: f32,
    /// Of an exact rule, which told of it by itself.
    exact: bool,
}

const TRACES_INLINE: usize = 2;
/// With what tables that have just doubled take.
const PERSON_BYTES: usize = 2 * (size_of::<Person>() + 9);

/// Fainter traces count for nothing.
const DECADES_MIN: f64 = 1.0;
/// A rule's own chance may be wrong by some decades; no single one may decide alone.
const DECADES_MAX: f64 = 6.0;
const KINDS_MIN: usize = 2;
/// One of them must be too little to be told by an exact rule: adding up what was told is no news.
const SMALL_MIN: f64 = 1.5;
/// What each further kind is worth.
const FURTHER: f64 = 1.0;
/// Kinds that are put together.
const KINDS_MAX: usize = 8;

impl Ledger {
    pub fn new(rule: RuleIndex, field: &str, half_life: Span, promise: Rate, quiet: Span, keys: HashKeys) -> Ledger {
        Ledger {
            rule,
            field: field.to_string(),
            half_life,
            promise,
            keys,
            quiet,
            state: State::default(),
            bytes_max: usize::MAX,
        }
    }

    /// Takes a finding in; what the entity's traces come to, if that is worth an alert.
    pub fn observe(&mut self, finding: &Finding, origin: &Origin<'_>, sources: &[Arc<str>]) -> Option<Finding> {
        let now = finding.release;
        self.sweep(now);
        self.state.budget.threshold(self.promise, now, super::promise::STEP);
        if finding.over || finding.rule == self.rule {
            return None;
        }
        let place = origin.by.iter().position(|it| *it == self.field)?;
        let value = finding.entity().split(List::SEPARATOR).nth(place)?;
        let key = self.keys.hash(value, *origin.compare.get(place)?);
        let State { people, heap, told, rules, door, tail, budget, .. } = &mut self.state;
        if people.get(key).is_none() {
            let from = (now, source(finding));
            let room = Room::of(self.bytes_max, self.bytes_max / 4, PERSON_BYTES, limits::HABITS_MAX);
            // Whoever showed two things is nearer to an alert than who showed one a hundred times.
            let visits = |it: &Person| if it.traces.len() < KINDS_MIN { 1 } else { 60 * it.traces.len() as u32 };
            if !door.admits(from, key, people, room, visits, |it| *heap -= it.1.heap()) {
                return None;
            }
        }
        let person = people.get_or_insert_with(key, Person::default);
        let rule = XxHash3_64::oneshot(origin.id.as_bytes()) as u32;
        rules.entry(rule).or_insert_with(|| origin.id.into());
        *heap -= person.heap();
        // Who has no room for more keeps the strongest.
        let most = if *heap < self.bytes_max / 4 { KINDS_MAX } else { TRACES_INLINE };
        let trace = Trace {
            at: now,
            kind: XxHash3_64::oneshot(origin.kind.as_bytes()) as u32,
            rule,
            decades: worth(finding, origin) as f32,
            exact: finding.score >= SCORE_MAX,
        };
        person.leave(trace, most, self.half_life);
        *heap += person.heap();
        let (decades, kinds) = person.risk(now, self.half_life);
        person.most = person.most.max(decades);
        let is_open = told.get(&key).is_some_and(|it| now.since(*it) < self.quiet);
        let small = |it: &Trace| !it.exact && it.now(now, self.half_life) >= SMALL_MIN;
        if kinds < KINDS_MIN || is_open || !person.traces.iter().any(small) {
            return None;
        }
        let score = tail.score(decades / PER_DEVIATION);
        if !budget.admits(score, self.promise, now) {
            return None;
        }
        told.insert(key, now);
        let traces = person.traces.to_vec();
        Some(self.tell(traces, value, score, finding, sources))
    }

    /// How many bytes it may remember.
    pub fn limit(&mut self, bytes: u64) {
        self.bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    /// How many it does, at most.
    pub fn bytes(&self) -> usize {
        self.state.people.len() * PERSON_BYTES + self.state.heap + self.state.door.bytes()
    }

    pub fn is_strained(&self) -> bool {
        self.state.door.is_strained()
    }

    /// That there are too many people, once.
    pub fn pressure(&mut self, now: Timestamp) -> Option<Pressure> {
        self.state.door.pressure(now)
    }

    pub fn save(&self) -> Vec<u8> {
        saved(&self.state)
    }

    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.state = restored(bytes)?;
        Ok(())
    }

    /// Whose ledger it is, under the number that the rule has now.
    pub fn renumber(&mut self, rule: RuleIndex) {
        self.rule = rule;
    }

    pub fn rule(&self) -> RuleIndex {
        self.rule
    }

    fn sweep(&mut self, now: Timestamp) {
        let today = day(now);
        if today <= self.state.swept {
            return;
        }
        self.state.swept = today;
        let (half_life, quiet) = (self.half_life, self.quiet);
        let State { people, heap, told, rules, .. } = &mut self.state;
        told.retain(|_, it| now.since(*it) < quiet);
        let mut most = Vec::with_capacity(people.len());
        let mut left = BTreeSet::new();
        people.retain(|key, person| {
            *heap -= person.heap();
            let high = std::mem::take(&mut person.most);
            if !told.contains_key(&key) && high > 0.0 {
                most.push(high);
            }
            person.traces.retain(|it| it.now(now, half_life) >= DECADES_MIN);
            person.traces.shrink_to_fit();
            left.extend(person.traces.iter().map(|it| it.rule));
            *heap += person.heap();
            told.contains_key(&key) || !person.traces.is_empty()
        });
        rules.retain(|it, _| left.contains(it));
        // Whose they were must not matter, for they come in the order of their hashes.
        most.sort_by(f64::total_cmp);
        most.into_iter().for_each(|it| self.state.tail.learn(it / PER_DEVIATION));
    }

    fn tell(
        &self,
        mut traces: Vec<Trace>,
        value: &str,
        score: f64,
        trigger: &Finding,
        sources: &[Arc<str>],
    ) -> Finding {
        let now = trigger.release;
        let rule = |it: &Trace| self.state.rules.get(&it.rule).map_or("", |it| it);
        traces.retain(|it| it.now(now, self.half_life) >= DECADES_MIN);
        traces.sort_by(|a, b| b.decades.total_cmp(&a.decades).then_with(|| rule(a).cmp(rule(b))));
        let list: Vec<Value> = traces
            .iter()
            .map(|it| {
                let now = it.now(now, self.half_life);
                json!({"rule": rule(it), "at": it.at.to_string(), "decades": (f64::from(it.decades) * 10.0).round() / 10.0, "now": (now * 10.0).round() / 10.0})
            })
            .collect();
        let names: Vec<String> = traces.iter().map(|it| format!("{} ({})", rule(it), it.at)).collect();
        let mut because = serde_json::Map::new();
        because.insert("contributions".into(), list.into());
        because.insert("kinds".into(), traces.len().into());
        because.insert("half_life_s".into(), (self.half_life.micros() / 1_000_000).into());
        because.insert("normal_after".into(), format!("{} without more", self.quiet).into());
        because.insert("false_alerts".into(), self.promise.to_string().into());
        let evidence = match &trigger.words {
            Words::Hit(batch, hit) if trigger.evidence.is_empty() => vec![Proof::of(batch, *hit, sources)],
            Words::Hit(..) | Words::Entity(_) => trigger.evidence.clone(),
        };
        Finding {
            rule: self.rule,
            words: Words::Entity(value.into()),
            evidence,
            count: traces.len() as u64,
            since: traces.iter().map(|it| it.at).min().unwrap_or(now),
            score: round(score),
            severity: None,
            because: Because { object: because, few: Vec::new() },
            story: Some(format!("{} kinds of signs: {}", traces.len(), names.join(", "))),
            over: false,
            kept_back: false,
            ..trigger.clone()
        }
    }
}

/// The source of the line that decided, where there is one.
fn source(finding: &Finding) -> u16 {
    match &finding.words {
        Words::Hit(batch, hit) => batch.event_of(*hit).source,
        Words::Entity(_) => 0,
    }
}

/// How many decades a finding is worth: its own score, or what an expert gives its severity.
fn worth(finding: &Finding, origin: &Origin<'_>) -> f64 {
    if finding.score < SCORE_MAX {
        return finding.score.min(DECADES_MAX);
    }
    match finding.severity.unwrap_or(origin.severity) {
        Severity::Info => 0.5,
        Severity::Low => 1.0,
        Severity::Medium => 2.0,
        Severity::High => 3.0,
        Severity::Critical => 4.0,
    }
}

impl Trace {
    fn now(&self, now: Timestamp, half_life: Span) -> f64 {
        let halves = now.since(self.at).micros() as f64 / half_life.micros().max(1) as f64;
        f64::from(self.decades) * 0.5f64.powf(halves)
    }
}

impl Person {
    /// Bytes beyond its place; a function of what it holds.
    fn heap(&self) -> usize {
        if self.traces.len() > TRACES_INLINE { self.traces.len() * 2 * size_of::<Trace>() } else { 0 }
    }

    /// Of each kind the strongest stays, as strong as it is now; and of kinds at most so many.
    fn leave(&mut self, trace: Trace, most: usize, half_life: Span) {
        let now = trace.at;
        match self.traces.iter_mut().find(|it| it.kind == trace.kind) {
            Some(old) if old.now(now, half_life) <= f64::from(trace.decades) => *old = trace,
            Some(_) => {}
            None => self.traces.push(trace),
        }
        while self.traces.len() > most {
            let faintest = |it: &Trace| (it.now(now, half_life) * 1e6) as u64;
            let index = (0..self.traces.len()).min_by_key(|it| (faintest(&self.traces[*it]), self.traces[*it].kind));
            index.map(|it| self.traces.remove(it));
        }
    }

    /// Decades of all kinds together, and how many kinds there are.
    fn risk(&self, now: Timestamp, half_life: Span) -> (f64, usize) {
        let strong: Vec<f64> =
            self.traces.iter().map(|it| it.now(now, half_life)).filter(|it| *it >= DECADES_MIN).collect();
        if strong.is_empty() {
            return (0.0, 0);
        }
        // For small chances tan((½ − p) π) is 1 / (π p), and the mean of them gives one back.
        let mean = strong.iter().map(|it| 10f64.powf(*it)).sum::<f64>() / strong.len() as f64;
        (mean.log10() + FURTHER * (strong.len() - 1) as f64, strong.len())
    }
}

/// The rule's place in a shard: hits never come, for it judges findings.
pub struct Nothing;

impl Detector for Nothing {
    fn observe(&mut self, _seen: &Seen<'_>, _found: &mut Vec<Trip>) {}

    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _bytes: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn entities(&self) -> usize {
        0
    }

    fn looks_back(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::KEYS;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_micros((24_000 + hour) * 3_600_000_000)
    }

    fn finding(entity: &str, hour: i64, score: f64) -> Finding {
        Finding {
            rule: RuleIndex(0),
            words: Words::Entity(entity.to_uppercase().into()),
            time: at(hour),
            release: at(hour),
            line_hash: hour as u64,
            count: 1,
            since: at(hour),
            score,
            severity: None,
            because: Because::default(),
            story: None,
            evidence: vec![],
            late: false,
            suspect: false,
            basis: crate::model::Basis::Seen,
            over: false,
            kept_back: true,
        }
    }

    /// Findings as (hour, whose, kind, score); what comes out: hour and whose.
    fn check(findings: &[(i64, &str, &str, f64)], expected: &[(i64, &str)]) {
        let mut ledger = ledger();
        let by = ["user.name".to_string()];
        let mut told = Vec::new();
        for (hour, whose, kind, score) in findings {
            let origin = Origin { id: kind, severity: Severity::High, kind, by: &by, compare: &[Compare::Folded] };
            if let Some(it) = ledger.observe(&finding(whose, *hour, *score), &origin, &[]) {
                told.push((*hour, it.entity().to_lowercase()));
            }
            let mut again = self::ledger();
            again.restore(&ledger.save()).unwrap();
            ledger = again;
        }
        let told: Vec<(i64, &str)> = told.iter().map(|it| (it.0, it.1.as_str())).collect();
        assert_eq!(told, expected);
    }

    fn ledger() -> Ledger {
        let promise = Rate::parse("1/week").unwrap();
        Ledger::new(RuleIndex(9), "user.name", Span::from_secs(86_400), promise, Span::from_secs(86_400), KEYS)
    }

    #[test]
    fn several_kinds_add_up_and_repeats_do_not() {
        check(&[(0, "ann", "place", 3.5), (1, "ann", "volume", 3.0), (2, "ann", "hours", 2.5)], &[(1, "ann")]);
        let same: Vec<(i64, &str, &str, f64)> = (0..200).map(|it| (it / 10, "ann", "place", 3.5)).collect();
        check(&same, &[]);
        check(&[(0, "ann", "place", 3.5), (1, "bob", "volume", 3.0)], &[]);
        // A week later the first is forgotten.
        check(&[(0, "ann", "place", 3.5), (168, "ann", "volume", 3.0)], &[]);
        // Exact rules count with their severity.
        check(&[(0, "ann", "place", 12.0), (1, "ann", "volume", 3.0)], &[(1, "ann")]);
        check(&[(0, "ann", "place", 12.0), (1, "ann", "volume", 12.0)], &[]);
    }
}
