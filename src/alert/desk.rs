//! One alert for each thing that goes on, however many lines say so.
//!
//! The first finding about (rule, entity) opens an alert; further ones fold into it; after the rule's quiet time without one
//! it resolves. Folding is always within one entity: noise about one user never hides another. Findings come in a fixed
//! order, and resolving happens between them by their own time, so the desk says the same in every run.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::limits;
use crate::model::canonical::{Compare, entity_key};
use crate::model::title::Template;
use crate::model::{
    Alert, Basis, Because, Carried, Entity, Evidence, Finding, HitBatch, List, Proof, RuleHead, RuleIndex, Severity,
    Span, State, Timestamp, Words, stands_for,
};

/// What the desk must know of a rule.
#[derive(Clone, Debug)]
pub struct RuleCard {
    pub id: String,
    pub title: String,
    pub template: Template,
    pub severity: Severity,
    pub tags: Vec<String>,
    /// What the person paged should know.
    pub about: String,
    /// Names of the fields that make its entity.
    pub by: Vec<String>,
    /// How each of them is compared.
    pub compare: Vec<Compare>,
    /// Fields that the title names besides, and how many carried values stand before theirs.
    pub carried: Vec<String>,
    pub carried_before: usize,
    pub quiet: Span,
    /// The detector's name.
    pub kind: &'static str,
}

/// Open alerts, and when each resolves if nothing more comes.
pub struct Desk {
    rules: Arc<[RuleCard]>,
    open: HashMap<Key, Box<Open>>,
    deadlines: BTreeSet<(Timestamp, u64, Key)>,
    recent: Recent,
    opened: u64,
    folded: u64,
    cut_short: u64,
    /// Keys entities, so that nobody can make two of them one.
    hasher: RandomState,
    /// A buffer: the entity at hand in the form that is compared.
    key: Vec<u8>,
    /// What the open alerts take, and what they may.
    bytes: usize,
    bytes_max: usize,
    /// Of each rule that opened alerts by estimates: the minute, and how many in it.
    guesses: BTreeMap<RuleIndex, (i64, u32)>,
    unlisted: u64,
    /// Rules whose estimates have just become too many to open an alert for each.
    crowded: Vec<RuleIndex>,
}

/// Added to the number of a minute's alerts by estimates when there were too many: as long as estimates come minute after
/// minute, that is said once.
const CROWDED: u32 = 1 << 16;

/// The ids of the alerts that opened last. A line that comes once more, late, must not open its alert a second time: to a
/// receiver that would be a repeat with another text.
#[derive(Default)]
struct Recent {
    ids: HashSet<u128>,
    oldest_first: VecDeque<u128>,
}

impl Recent {
    /// False: it is known already.
    fn insert(&mut self, id: &str) -> bool {
        let id = u128::from_str_radix(id, 16).unwrap_or_default();
        if !self.ids.insert(id) {
            return false;
        }
        self.oldest_first.push_back(id);
        if self.oldest_first.len() > limits::ALERTS_KNOWN_MAX
            && let Some(old) = self.oldest_first.pop_front()
        {
            self.ids.remove(&old);
        }
        true
    }
}

/// A rule, and the hash of an entity.
type Key = (RuleIndex, u64);

struct Open {
    /// Without its evidence.
    alert: Alert,
    /// The entity in the form that is compared.
    key: String,
    /// The first lines, then the latest, of which the one at `oldest` goes next.
    proofs: Vec<Proof>,
    oldest: usize,
    since: Timestamp,
    values: Vec<(String, String)>,
    story: Option<String>,
    /// Of the latest finding that was folded in.
    because: Because,
    deadline: Timestamp,
    number: u64,
    bytes: usize,
}

/// Open alerts in a snapshot.
#[derive(Serialize, Deserialize)]
pub struct SavedDesk {
    open: Vec<SavedOpen>,
    recent: Vec<u128>,
    opened: u64,
    folded: u64,
    cut_short: u64,
    guesses: BTreeMap<RuleIndex, (i64, u32)>,
    unlisted: u64,
}

#[derive(Serialize, Deserialize)]
struct SavedOpen {
    rule: RuleIndex,
    key: String,
    /// As JSON: an alert holds JSON objects, which only JSON can give back.
    alert: String,
    /// Of the latest finding that was folded in; JSON too.
    because: String,
    since: Timestamp,
    values: Vec<(String, String)>,
    story: Option<String>,
    deadline: Timestamp,
    number: u64,
}

impl Desk {
    pub fn new(rules: Arc<[RuleCard]>) -> Desk {
        Desk {
            rules,
            open: HashMap::new(),
            deadlines: BTreeSet::new(),
            recent: Recent::default(),
            opened: 0,
            folded: 0,
            cut_short: 0,
            hasher: RandomState::new(),
            key: Vec::new(),
            bytes: 0,
            bytes_max: usize::MAX,
            guesses: BTreeMap::new(),
            unlisted: 0,
            crowded: Vec::new(),
        }
    }

    /// How many bytes open alerts may take.
    pub fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Alerts of estimates that were not opened because there were too many in that minute.
    pub fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// Takes a finding in, after resolving what was over before it; appends the alerts that change state. `sources`: the
    /// names of the sources by their numbers.
    pub fn observe(&mut self, finding: Finding, sources: &[Arc<str>], told: &mut Vec<Alert>) {
        entity_key(finding.entity(), &self.rules[finding.rule.index()].compare, &mut self.key);
        let key = (finding.rule, self.hasher.hash_one(&self.key[..]));
        let rule = &self.rules[finding.rule.index()];
        if let Some(open) = self.open.get_mut(&key).filter(|it| is_opening_again(it, rule, &finding)) {
            self.folded += 1;
            fold(open, finding, sources);
            return;
        }
        self.advance(finding.release, told);
        let rule = &self.rules[finding.rule.index()];
        if finding.over {
            if let Some(open) = self.open.remove(&key) {
                self.bytes -= open.bytes;
                self.deadlines.remove(&(open.deadline, open.number, key));
                told.push(resolve(*open, rule, finding.time));
            }
            return;
        }
        // What was shown in passing must not hide what pages: a graver finding ends the alert and opens its own.
        let graver = |open: &Open| finding.severity.is_some_and(|it| it > open.alert.rule.severity);
        match self.open.get_mut(&key) {
            Some(open) if !graver(open) => {
                self.folded += 1;
                fold(open, finding, sources);
                return;
            }
            Some(_) | None => {
                if let Some(open) = self.open.remove(&key) {
                    self.bytes -= open.bytes;
                    self.deadlines.remove(&(open.deadline, open.number, key));
                    told.push(resolve(*open, rule, finding.time));
                }
            }
        }
        if !self.may_open(&finding) {
            self.unlisted += 1;
            return;
        }
        let entity_key = String::from_utf8_lossy(&self.key).into_owned();
        let (open, alert) = open(&self.rules[finding.rule.index()], entity_key, finding, sources, self.opened);
        if !self.recent.insert(&alert.id) {
            self.folded += 1;
            return;
        }
        self.opened += 1;
        while self.open.len() >= limits::OPEN_ALERTS_MAX
            || self.bytes + open.bytes > self.bytes_max && !self.open.is_empty()
        {
            self.resolve_next(told);
            self.cut_short += 1;
        }
        self.bytes += open.bytes;
        told.push(alert);
        self.deadlines.insert((open.deadline, open.number, key));
        self.open.insert(key, Box::new(open));
    }

    /// What was seen always may. Half of what estimates may open is kept for those of which most was seen: when a flood has
    /// filled the sketch, each of its names looks guilty, and must not crowd out who nearly is.
    fn may_open(&mut self, finding: &Finding) -> bool {
        let most = match finding.basis {
            Basis::Seen => return true,
            Basis::MostlySeen => limits::GUESSES_PER_MINUTE_MAX,
            Basis::Estimate => limits::GUESSES_PER_MINUTE_MAX / 2,
        };
        let minute = finding.release.micros().div_euclid(60_000_000);
        let (of, opened) = self.guesses.entry(finding.rule).or_insert((minute, 0));
        if *of != minute {
            let still = *opened >= CROWDED && minute == *of + 1;
            (*of, *opened) = (minute, if still { CROWDED } else { 0 });
        }
        let may = *opened % CROWDED < most;
        if may {
            *opened += 1;
        } else if *opened < CROWDED {
            *opened += CROWDED;
            self.crowded.push(finding.rule);
        }
        may
    }

    /// Takes the rules that have begun to keep estimates back.
    pub fn crowded(&mut self) -> impl Iterator<Item = RuleIndex> {
        self.crowded.drain(..)
    }

    /// Lets time pass: resolves alerts whose quiet time is over.
    pub fn advance(&mut self, now: Timestamp, told: &mut Vec<Alert>) {
        while self.deadlines.first().is_some_and(|it| it.0 <= now) {
            let Some((deadline, number, key)) = self.deadlines.pop_first() else { return };
            let rule = &self.rules[key.0.index()];
            let Some(open) = self.open.get_mut(&key) else { continue };
            // Folding does not touch the deadlines; an alert that was seen since is put back here.
            let due = open.alert.last_seen_at.plus(rule.quiet);
            if due > deadline {
                open.deadline = due;
                self.deadlines.insert((due, number, key));
                continue;
            }
            if let Some(open) = self.open.remove(&key) {
                self.bytes -= open.bytes;
                told.push(resolve(*open, rule, due));
            }
        }
    }

    /// New rules. `kept`: for each, its number among the old ones if it did not change; alerts of all others resolve now.
    pub fn adopt(&mut self, rules: Arc<[RuleCard]>, kept: &[Option<usize>], told: &mut Vec<Alert>) {
        let mut numbers = vec![None; self.rules.len()];
        for (new, old) in kept.iter().enumerate() {
            if let Some(old) = old {
                numbers[*old] = Some(RuleIndex(new as u16));
            }
        }
        self.deadlines.clear();
        let mut gone = Vec::new();
        for ((rule, entity), open) in std::mem::take(&mut self.open) {
            match numbers[rule.index()] {
                Some(rule) => self.insert((rule, entity), open),
                None => gone.push((rule, open)),
            }
        }
        gone.sort_by_key(|it| it.1.number);
        self.guesses.clear();
        for (rule, open) in gone {
            self.bytes -= open.bytes;
            let at = open.alert.last_seen_at;
            told.push(resolve(*open, &self.rules[rule.index()], at));
        }
        self.rules = rules;
    }

    fn insert(&mut self, key: Key, open: Box<Open>) {
        self.deadlines.insert((open.deadline, open.number, key));
        self.open.insert(key, open);
    }

    /// The open alerts, for a snapshot.
    pub fn save(&self) -> SavedDesk {
        let open = self.open.iter().map(|((rule, _), open)| {
            let alert = Alert { evidence: evidence(&open.proofs, open.oldest), ..open.alert.clone() };
            SavedOpen {
                rule: *rule,
                key: open.key.clone(),
                alert: serde_json::to_string(&alert).unwrap_or_default(),
                because: serde_json::to_string(&open.because.clone().into_object()).unwrap_or_default(),
                since: open.since,
                values: open.values.clone(),
                story: open.story.clone(),
                deadline: open.deadline,
                number: open.number,
            }
        });
        let mut open: Vec<SavedOpen> = open.collect();
        open.sort_by_key(|it| it.number);
        SavedDesk {
            open,
            recent: self.recent.oldest_first.iter().copied().collect(),
            opened: self.opened,
            folded: self.folded,
            cut_short: self.cut_short,
            guesses: self.guesses.clone(),
            unlisted: self.unlisted,
        }
    }

    /// Takes back what [`Desk::save`] wrote. `numbers`: of the rules in force; alerts of rules that are gone resolve.
    pub fn restore(
        &mut self,
        saved: SavedDesk,
        numbers: &[Option<RuleIndex>],
        told: &mut Vec<Alert>,
    ) -> Result<(), String> {
        (self.opened, self.folded, self.cut_short) = (saved.opened, saved.folded, saved.cut_short);
        self.recent.ids = saved.recent.iter().copied().collect();
        self.recent.oldest_first = saved.recent.into();
        let number = |it: RuleIndex| numbers.get(it.index()).copied().flatten();
        self.guesses = saved.guesses.into_iter().filter_map(|(rule, it)| Some((number(rule)?, it))).collect();
        self.unlisted = saved.unlisted;
        for it in saved.open {
            let mut alert: Alert = serde_json::from_str(&it.alert).map_err(|error| error.to_string())?;
            let because: Map<String, Value> = serde_json::from_str(&it.because).map_err(|error| error.to_string())?;
            let Some(rule) = numbers.get(it.rule.index()).copied().flatten() else {
                alert.because.extend(because);
                alert.state = State::Resolved;
                alert.resolved_at = Some(alert.last_seen_at);
                told.push(alert);
                continue;
            };
            let proofs: Vec<Proof> =
                std::mem::take(&mut alert.evidence).into_iter().map(proof).collect::<Result<_, _>>()?;
            let key = (rule, self.hasher.hash_one(it.key.as_bytes()));
            let bytes = bytes(&alert, &proofs);
            self.bytes += bytes;
            let open = Open {
                bytes,
                alert,
                key: it.key,
                proofs,
                oldest: FIRST_LINES,
                since: it.since,
                values: it.values,
                story: it.story,
                because: Because { object: because, few: Vec::new() },
                deadline: it.deadline,
                number: it.number,
            };
            self.insert(key, Box::new(open));
        }
        Ok(())
    }

    /// How many alerts were opened, and how many findings were folded into open ones.
    pub fn counts(&self) -> (u64, u64) {
        (self.opened, self.folded)
    }

    /// Alerts that were resolved early because `limits::OPEN_ALERTS_MAX` were open.
    pub fn cut_short(&self) -> u64 {
        self.cut_short
    }

    fn resolve_next(&mut self, told: &mut Vec<Alert>) {
        if let Some((_, _, key)) = self.deadlines.pop_first()
            && let Some(open) = self.open.remove(&key)
        {
            self.bytes -= open.bytes;
            let at = open.alert.last_seen_at;
            told.push(resolve(*open, &self.rules[key.0.index()], at));
        }
    }
}

/// Of the lines of an alert so many are the first, and the others the latest.
const FIRST_LINES: usize = limits::EVIDENCE_LINES_MAX / 2;

/// What is remembered, and the alert that is told.
fn open(rule: &RuleCard, key: String, finding: Finding, sources: &[Arc<str>], number: u64) -> (Open, Alert) {
    let entity = Entity { key, values: finding.entity().split(List::SEPARATOR).map(str::to_string).collect() };
    let (mut values, proofs) = match &finding.words {
        Words::Entity(_) => (Vec::new(), finding.evidence),
        Words::Hit(batch, hit) => {
            let carried = batch.hits[*hit as usize].values as usize + rule.carried_before;
            let named = rule.carried.iter().zip(&batch.values[carried..]);
            let value = |it: &Carried| match it {
                Carried::Absent => None,
                Carried::Text(range) => Some(batch.str(*range).to_string()),
                Carried::Number(it) => Some(it.to_string()),
            };
            let proofs = match finding.evidence.is_empty() {
                true => vec![Proof::of(batch, *hit, sources)],
                false => finding.evidence,
            };
            (named.filter_map(|(name, it)| Some((name.clone(), value(it)?))).collect(), proofs)
        }
    };
    let shown = shown(rule, &entity, &mut values);
    let mut because = Map::new();
    because.insert("kind".into(), rule.kind.into());
    because.extend(finding.because.into_object());
    let mut alert = Alert {
        schema: Alert::SCHEMA,
        id: alert_id(&rule.id, &entity.key, finding.time, finding.line_hash),
        state: State::Firing,
        rule: RuleHead {
            id: rule.id.clone(),
            title: rule.title.clone(),
            severity: finding.severity.unwrap_or(rule.severity),
            tags: rule.tags.clone(),
            about: String::new(),
        },
        entity: shown,
        opened_at: finding.time,
        last_seen_at: finding.time,
        resolved_at: None,
        count: finding.count,
        score: finding.score,
        summary: String::new(),
        because,
        evidence: Vec::new(),
        late: finding.late,
        suspect: finding.suspect,
    };
    let open = Open {
        bytes: bytes(&alert, &proofs),
        alert: alert.clone(),
        key: entity.key,
        deadline: finding.time.plus(rule.quiet),
        since: finding.since,
        values,
        story: finding.story,
        because: Because::default(),
        oldest: FIRST_LINES,
        proofs,
        number,
    };
    // Not kept with the open alert: who is told that it is over has read it.
    alert.rule.about = rule.about.clone();
    alert.summary = summary(rule, &alert, open.since, &open.values, open.story.as_deref());
    alert.evidence = evidence(&open.proofs, open.oldest);
    (open, alert)
}

/// The entity as people see it: under the name of the field that its value came from, where the rule's own stands for several.
/// Titles find it under the rule's name among `values`.
fn shown(rule: &RuleCard, entity: &Entity, values: &mut Vec<(String, String)>) -> Map<String, Value> {
    let mut shown = Map::new();
    for (name, value) in rule.by.iter().zip(&entity.values) {
        let stands_for = stands_for(name);
        let came_from =
            stands_for.iter().find(|it| values.iter().any(|(field, value)| field == *it && !value.is_empty()));
        let field = match (stands_for.is_empty(), came_from) {
            (true, _) => name.as_str(),
            (false, Some(field)) => field,
            (false, None) => "event.provider",
        };
        if field != name {
            values.push((name.clone(), value.clone()));
        }
        shown.insert(field.into(), value.as_str().into());
    }
    shown
}

/// Adds a finding to an open alert. Most findings end here, so nothing is made that is not shown when it is over.
fn fold(open: &mut Open, finding: Finding, sources: &[Arc<str>]) {
    let alert = &mut open.alert;
    alert.count += 1;
    alert.last_seen_at = alert.last_seen_at.max(finding.time);
    open.since = open.since.min(finding.since);
    // Only the latest is shown, when it is over: merging maps for each of a hundred findings was half of folding.
    if !finding.because.is_empty() {
        open.because = finding.because;
    }
    alert.late |= finding.late;
    alert.suspect |= finding.suspect;
    if let (Words::Hit(batch, hit), true) = (&finding.words, finding.evidence.is_empty()) {
        open.add_line(batch, *hit, sources);
    }
    for proof in finding.evidence {
        if !open.proofs.iter().any(|it| it.is_same_line(&proof)) {
            match open.next_place() {
                Some(at) => open.proofs[at] = proof,
                None => open.proofs.push(proof),
            }
        }
    }
}

impl Open {
    /// Which line gives way to a further one; None while there is room.
    fn next_place(&mut self) -> Option<usize> {
        if self.proofs.len() < limits::EVIDENCE_LINES_MAX {
            return None;
        }
        let at = self.oldest;
        self.oldest = if at + 1 == limits::EVIDENCE_LINES_MAX { FIRST_LINES } else { at + 1 };
        Some(at)
    }

    /// Adds the line of a hit, into the text of the line that gives way.
    fn add_line(&mut self, batch: &HitBatch, hit: u32, sources: &[Arc<str>]) {
        let it = batch.event_of(hit);
        // The source is compared last: mostly the number of the line differs already.
        let is_known = |known: &Proof| {
            known.line == it.line && known.hash == it.line_hash && known.source == sources[usize::from(it.source)]
        };
        if self.proofs.iter().any(is_known) {
            return;
        }
        match self.next_place() {
            Some(at) => self.proofs[at].set(batch, hit, sources),
            None => self.proofs.push(Proof::of(batch, hit, sources)),
        }
    }
}

fn resolve(open: Open, rule: &RuleCard, at: Timestamp) -> Alert {
    let mut alert = open.alert;
    alert.because.extend(open.because.into_object());
    alert.state = State::Resolved;
    alert.resolved_at = Some(at);
    alert.summary = summary(rule, &alert, open.since, &open.values, open.story.as_deref());
    alert.evidence = evidence(&open.proofs, open.oldest);
    alert
}

/// The very line that opened it, once more: some loggers stutter. Where alerts resolve at once, it would open another one
/// with the same id.
fn is_opening_again(open: &Open, rule: &RuleCard, finding: &Finding) -> bool {
    let id = || alert_id(&rule.id, &open.key, finding.time, finding.line_hash);
    !finding.over && open.alert.opened_at == finding.time && open.alert.id == id()
}

/// The lines as an alert shows them, in their order.
fn evidence(proofs: &[Proof], oldest: usize) -> Vec<Evidence> {
    let first = &proofs[..proofs.len().min(FIRST_LINES)];
    let latest = &proofs[first.len()..];
    let turn = (oldest - FIRST_LINES).min(latest.len());
    let shown = |it: &Proof| Evidence {
        time: it.time,
        source: it.source.to_string(),
        line: it.line,
        hash: format!("{:016x}", it.hash),
        text: it.text.clone(),
    };
    first.iter().chain(&latest[turn..]).chain(&latest[..turn]).map(shown).collect()
}

fn proof(it: Evidence) -> Result<Proof, String> {
    let hash = u64::from_str_radix(&it.hash, 16).map_err(|error| error.to_string())?;
    Ok(Proof { time: it.time, source: it.source.into(), line: it.line, hash, text: it.text })
}

/// What an open alert may come to take, with its names, maps, places in tables and further lines as long as the first.
fn bytes(alert: &Alert, proofs: &[Proof]) -> usize {
    let line = size_of::<Proof>() + proofs.first().map_or(0, |it| it.text.len() + 32);
    2048 + 2 * alert.rule.title.len() + limits::EVIDENCE_LINES_MAX * line
}

fn summary(
    rule: &RuleCard,
    alert: &Alert,
    since: Timestamp,
    values: &[(String, String)],
    story: Option<&str>,
) -> String {
    let said = rule.template.fill(&mut |name| match name {
        "count" => Some(alert.count.to_string()),
        "span" => Some(alert.last_seen_at.since(since).to_string()),
        "rule" => Some(rule.id.clone()),
        "severity" => Some(alert.rule.severity.name().to_string()),
        "story" => story.map(str::to_string),
        _ => alert
            .entity
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_string)
            .or_else(|| values.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()))
            .or_else(|| alert.because.get(name).map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_string))),
    });
    match alert.because.get("approximate") {
        Some(Value::Bool(true)) => said + " (approximate: at most so many)",
        Some(_) | None => said,
    }
}

/// 32 hex digits of SHA-256 over what makes an alert this alert. Lengths are hashed too, so that no two different inputs
/// are the same bytes.
fn alert_id(rule: &str, entity_key: &str, opened_at: Timestamp, line_hash: u64) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for text in [rule, entity_key] {
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(text.as_bytes());
    }
    context.update(&opened_at.micros().to_le_bytes());
    context.update(&line_hash.to_le_bytes());
    context.finish().as_ref()[..16].iter().map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn finding(entity: &str, second: i64) -> Finding {
        Finding {
            rule: RuleIndex(0),
            words: Words::Entity(entity.into()),
            time: at(second),
            release: at(second),
            line_hash: second as u64,
            count: 5,
            since: at(second - 10),
            score: 12.0,
            severity: None,
            because: Because::default(),
            story: None,
            evidence: vec![],
            late: false,
            suspect: false,
            basis: Basis::Seen,
            over: false,
            kept_back: false,
        }
    }

    /// A desk that knows one rule.
    fn desk(id: &str, title: &str, kind: &'static str) -> Desk {
        let card = RuleCard {
            id: id.into(),
            title: title.into(),
            template: Template::parse(title).unwrap(),
            severity: Severity::High,
            tags: vec![],
            about: "Look at the log.".into(),
            by: vec!["user.name".into()],
            compare: vec![Compare::Folded],
            carried: vec![],
            carried_before: 0,
            quiet: Span::from_secs(60),
            kind,
        };
        Desk::new(Arc::from([card]))
    }

    fn check(findings: &[(&str, i64)], until: i64, expected: &[&str]) {
        let mut desk = desk("guess", "{count} for {user.name} in {span}", "count");
        let mut told = Vec::new();
        for (entity, second) in findings {
            desk.observe(finding(entity, *second), &[], &mut told);
        }
        desk.advance(at(until), &mut told);
        let shown: Vec<String> = told
            .iter()
            .map(|it| {
                let second = it.resolved_at.unwrap_or(it.last_seen_at).micros() / 1_000_000;
                format!("{second} {} {}", it.state.name(), it.summary)
            })
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_graver_finding_opens_its_own_alert() {
        let card = |severity| Finding { severity: Some(severity), ..finding("ann", 100) };
        for (second, expected) in [
            (Severity::Low, &["firing low"][..]),
            (Severity::Info, &["firing low"][..]),
            (Severity::High, &["firing low", "resolved low", "firing high"][..]),
        ] {
            let mut desk = desk("travel", "{user.name}", "travel");
            let mut told = Vec::new();
            desk.observe(card(Severity::Low), &[], &mut told);
            desk.observe(Finding { time: at(110), release: at(110), line_hash: 110, ..card(second) }, &[], &mut told);
            let shown: Vec<String> =
                told.iter().map(|it| format!("{} {}", it.state.name(), it.rule.severity.name())).collect();
            assert_eq!(shown, expected);
            let ids: std::collections::HashSet<_> = told.iter().map(|it| &it.id).collect();
            assert_eq!(ids.len(), expected.len().div_ceil(2));
            desk.advance(at(1000), &mut told);
            assert_eq!(told.len() % 2, 0, "what opened resolves");
        }
    }

    /// For each minute, how many findings of each basis; how many of them open alerts, and whether it is said that not all do.
    fn check_estimates(minutes: &[[u32; 3]], expected: &[([usize; 3], bool)]) {
        let mut desk = desk("flood", "{user.name}", "count");
        let mut found = Vec::new();
        for (minute, of) in minutes.iter().enumerate() {
            let mut opened = [0; 3];
            for (index, basis) in [Basis::Estimate, Basis::MostlySeen, Basis::Seen].into_iter().enumerate() {
                let mut told = Vec::new();
                for one in 0..of[index] {
                    let it = finding(&format!("{minute} {index} {one}"), minute as i64 * 60);
                    desk.observe(Finding { basis, ..it }, &[], &mut told);
                }
                opened[index] = told.iter().filter(|it| it.state == State::Firing).count();
            }
            found.push((opened, desk.crowded().count() > 0));
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn estimates_open_no_more_than_so_many_alerts_a_minute() {
        check_estimates(&[[400, 600, 2000]], &[([400, 600, 2000], false)]);
        check_estimates(&[[5000, 700, 2000]], &[([500, 500, 2000], true)]);
        check_estimates(&[[0, 1001, 0], [0, 1000, 1]], &[([0, 1000, 0], true), ([0, 1000, 1], false)]);
    }

    #[test]
    fn too_many_estimates_are_told_of_once() {
        let (many, few) = ([501, 0, 0], [1, 0, 0]);
        let (told, not) = (([500, 0, 0], true), ([500, 0, 0], false));
        check_estimates(&[many, many, many], &[told, not, not]);
        check_estimates(&[many, few, few, many], &[told, ([1, 0, 0], false), ([1, 0, 0], false), not]);
        check_estimates(&[many, [0; 3], many], &[told, ([0; 3], false), told]);
    }

    #[test]
    fn opens_folds_and_resolves() {
        check(
            &[("ann", 100), ("ANN", 130), ("bob", 140), ("ann", 300)],
            1000,
            &[
                "100 firing 5 for ann in 10s",
                "140 firing 5 for bob in 10s",
                "190 resolved 6 for ann in 40s",
                "200 resolved 5 for bob in 10s",
                "300 firing 5 for ann in 10s",
                "360 resolved 5 for ann in 10s",
            ],
        );
    }

    #[test]
    fn an_id_is_made_of_what_opened_it() {
        let id = alert_id("rule", "ann", at(1), 2);
        assert_eq!(id.len(), 32);
        assert_eq!(id, alert_id("rule", "ann", at(1), 2));
        assert_ne!(id, alert_id("rulea", "nn", at(1), 2));
        assert_ne!(id, alert_id("rule", "ann", at(2), 2));
    }
}
