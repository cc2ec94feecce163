//! One alert for each thing that goes on, however many lines say so.
//!
//! The first finding about (rule, entity) opens an alert; further ones fold into it; after the rule's quiet time without one
//! it resolves. Folding is always within one entity: noise about one user never hides another. Findings come in a fixed
//! order, and resolving happens between them by their own time, so the desk says the same in every run.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::limits;
use crate::model::title::Template;
use crate::model::{Alert, Entity, Evidence, Finding, RuleHead, RuleIndex, Severity, Span, State, Timestamp};

/// What the desk must know of a rule.
#[derive(Clone, Debug)]
pub struct RuleCard {
    pub id: String,
    pub title: String,
    pub template: Template,
    pub severity: Severity,
    pub tags: Vec<String>,
    /// Names of the fields that make its entity.
    pub by: Vec<String>,
    pub quiet: Span,
    /// The detector's name.
    pub kind: &'static str,
}

/// Open alerts, and when each resolves if nothing more comes.
pub struct Desk {
    rules: Arc<[RuleCard]>,
    open: HashMap<(RuleIndex, String), Open>,
    deadlines: BTreeSet<(Timestamp, u64, RuleIndex, String)>,
    opened: u64,
    folded: u64,
    cut_short: u64,
}

struct Open {
    alert: Alert,
    since: Timestamp,
    values: Vec<(String, String)>,
    story: Option<String>,
    /// Of the latest finding that was folded in.
    because: Map<String, Value>,
    deadline: Timestamp,
    number: u64,
}

/// Open alerts in a snapshot.
#[derive(Serialize, Deserialize)]
pub struct SavedDesk {
    open: Vec<SavedOpen>,
    opened: u64,
    folded: u64,
    cut_short: u64,
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
        Desk { rules, open: HashMap::new(), deadlines: BTreeSet::new(), opened: 0, folded: 0, cut_short: 0 }
    }

    /// Takes a finding in, after resolving what was over before it; appends the alerts that change state.
    pub fn observe(&mut self, finding: Finding, told: &mut Vec<Alert>) {
        self.advance(finding.release, told);
        let rules = self.rules.clone();
        let rule = &rules[finding.rule.index()];
        let key = (finding.rule, finding.entity.key.clone());
        if finding.over {
            if let Some(open) = self.open.remove(&key) {
                self.deadlines.remove(&(open.deadline, open.number, key.0, key.1));
                told.push(resolve(open, rule, finding.time));
            }
            return;
        }
        match self.open.get_mut(&key) {
            Some(open) => {
                self.folded += 1;
                fold(open, finding);
            }
            None => {
                if self.open.len() >= limits::OPEN_ALERTS_MAX {
                    self.resolve_next(told);
                    self.cut_short += 1;
                }
                let open = open(rule, finding, self.opened);
                self.opened += 1;
                told.push(open.alert.clone());
                self.deadlines.insert((open.deadline, open.number, key.0, key.1.clone()));
                self.open.insert(key, open);
            }
        }
    }

    /// Lets time pass: resolves alerts whose quiet time is over.
    pub fn advance(&mut self, now: Timestamp, told: &mut Vec<Alert>) {
        while self.deadlines.first().is_some_and(|it| it.0 <= now) {
            let Some((deadline, number, rule, entity)) = self.deadlines.pop_first() else { return };
            let quiet = self.rules[rule.index()].quiet;
            let key = (rule, entity);
            let Some(open) = self.open.get_mut(&key) else { continue };
            // Folding does not touch the deadlines; an alert that was seen since is put back here.
            let due = open.alert.last_seen_at.plus(quiet);
            if due > deadline {
                open.deadline = due;
                self.deadlines.insert((due, number, key.0, key.1));
                continue;
            }
            if let Some(open) = self.open.remove(&key) {
                told.push(resolve(open, &self.rules[rule.index()], due));
            }
        }
    }

    /// New rules. `kept`: for each, its number among the old ones if it did not change; alerts of all others resolve now.
    pub fn adopt(&mut self, rules: Arc<[RuleCard]>, kept: &[Option<usize>], told: &mut Vec<Alert>) {
        let mut open = std::mem::take(&mut self.open);
        self.deadlines.clear();
        for (new, old) in kept.iter().enumerate().filter_map(|(new, old)| Some((new, (*old)?))) {
            let old = RuleIndex(old as u16);
            let keys: Vec<_> = open.keys().filter(|it| it.0 == old).cloned().collect();
            for key in keys {
                let Some(alert) = open.remove(&key) else { continue };
                let key = (RuleIndex(new as u16), key.1);
                self.deadlines.insert((alert.deadline, alert.number, key.0, key.1.clone()));
                self.open.insert(key, alert);
            }
        }
        let mut gone: Vec<_> = open.into_iter().collect();
        gone.sort_by_key(|it| it.1.number);
        for ((rule, _), open) in gone {
            let at = open.alert.last_seen_at;
            told.push(resolve(open, &self.rules[rule.index()], at));
        }
        self.rules = rules;
    }

    /// The open alerts, for a snapshot.
    pub fn save(&self) -> SavedDesk {
        let open = self.open.iter().map(|((rule, key), open)| SavedOpen {
            rule: *rule,
            key: key.clone(),
            alert: serde_json::to_string(&open.alert).unwrap_or_default(),
            because: serde_json::to_string(&open.because).unwrap_or_default(),
            since: open.since,
            values: open.values.clone(),
            story: open.story.clone(),
            deadline: open.deadline,
            number: open.number,
        });
        let mut open: Vec<SavedOpen> = open.collect();
        open.sort_by_key(|it| it.number);
        SavedDesk { open, opened: self.opened, folded: self.folded, cut_short: self.cut_short }
    }

    /// Takes back what [`Desk::save`] wrote. `numbers`: of the rules in force; alerts of rules that are gone resolve.
    pub fn restore(
        &mut self,
        saved: SavedDesk,
        numbers: &[Option<RuleIndex>],
        told: &mut Vec<Alert>,
    ) -> Result<(), String> {
        (self.opened, self.folded, self.cut_short) = (saved.opened, saved.folded, saved.cut_short);
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
            self.deadlines.insert((it.deadline, it.number, rule, it.key.clone()));
            let open = Open {
                alert,
                since: it.since,
                values: it.values,
                story: it.story,
                because,
                deadline: it.deadline,
                number: it.number,
            };
            self.open.insert((rule, it.key), open);
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
        if let Some((_, _, rule, entity)) = self.deadlines.pop_first()
            && let Some(open) = self.open.remove(&(rule, entity))
        {
            let at = open.alert.last_seen_at;
            told.push(resolve(open, &self.rules[rule.index()], at));
        }
    }
}

fn open(rule: &RuleCard, finding: Finding, number: u64) -> Open {
    let mut because = Map::new();
    because.insert("kind".into(), rule.kind.into());
    because.extend(finding.because);
    let mut alert = Alert {
        schema: Alert::SCHEMA,
        id: alert_id(&rule.id, &finding.entity, finding.time, finding.line_hash),
        state: State::Firing,
        rule: RuleHead {
            id: rule.id.clone(),
            title: rule.title.clone(),
            severity: finding.severity.unwrap_or(rule.severity),
            tags: rule.tags.clone(),
        },
        entity: rule.by.iter().cloned().zip(finding.entity.values.into_iter().map(Value::from)).collect(),
        opened_at: finding.time,
        last_seen_at: finding.time,
        resolved_at: None,
        count: finding.count,
        score: finding.score,
        summary: String::new(),
        because,
        evidence: few(finding.evidence),
        late: finding.late,
        suspect: finding.suspect,
    };
    alert.summary = summary(rule, &alert, finding.since, &finding.values, finding.story.as_deref());
    Open {
        deadline: finding.time.plus(rule.quiet),
        since: finding.since,
        values: finding.values,
        story: finding.story,
        because: Map::new(),
        number,
        alert,
    }
}

fn fold(open: &mut Open, finding: Finding) {
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
    for evidence in finding.evidence {
        let known =
            |it: &Evidence| it.hash == evidence.hash && it.line == evidence.line && it.source == evidence.source;
        if alert.evidence.iter().any(known) {
            continue;
        }
        if alert.evidence.len() >= limits::EVIDENCE_LINES_MAX {
            alert.evidence.remove(limits::EVIDENCE_LINES_MAX / 2);
        }
        alert.evidence.push(evidence);
    }
}

fn resolve(open: Open, rule: &RuleCard, at: Timestamp) -> Alert {
    let mut alert = open.alert;
    alert.because.extend(open.because);
    alert.state = State::Resolved;
    alert.resolved_at = Some(at);
    alert.summary = summary(rule, &alert, open.since, &open.values, open.story.as_deref());
    alert
}

/// The first and the latest of many.
fn few(mut evidence: Vec<Evidence>) -> Vec<Evidence> {
    let more = evidence.len().saturating_sub(limits::EVIDENCE_LINES_MAX);
    let first = limits::EVIDENCE_LINES_MAX / 2;
    if more > 0 {
        evidence.drain(first..first + more);
    }
    evidence
}

fn summary(
    rule: &RuleCard,
    alert: &Alert,
    since: Timestamp,
    values: &[(String, String)],
    story: Option<&str>,
) -> String {
    rule.template.fill(&mut |name| match name {
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
    })
}

/// 32 hex digits of SHA-256 over what makes an alert this alert. Lengths are hashed too, so that no two different inputs
/// are the same bytes.
fn alert_id(rule: &str, entity: &Entity, opened_at: Timestamp, line_hash: u64) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for text in [rule, &entity.key] {
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
            entity: Entity { key: entity.to_lowercase(), values: vec![entity.to_string()] },
            time: at(second),
            release: at(second),
            line_hash: second as u64,
            count: 5,
            since: at(second - 10),
            score: 12.0,
            severity: None,
            because: Map::new(),
            story: None,
            values: vec![],
            evidence: vec![],
            late: false,
            suspect: false,
            over: false,
            kept_back: false,
        }
    }

    fn check(findings: &[(&str, i64)], until: i64, expected: &[&str]) {
        let card = RuleCard {
            id: "guess".into(),
            title: "{count} for {user.name} in {span}".into(),
            template: Template::parse("{count} for {user.name} in {span}").unwrap(),
            severity: Severity::High,
            tags: vec![],
            by: vec!["user.name".into()],
            quiet: Span::from_secs(60),
            kind: "count",
        };
        let mut desk = Desk::new(Arc::from([card]));
        let mut told = Vec::new();
        for (entity, second) in findings {
            desk.observe(finding(entity, *second), &mut told);
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
        let entity = |key: &str| Entity { key: key.into(), values: vec![] };
        let id = alert_id("rule", &entity("ann"), at(1), 2);
        assert_eq!(id.len(), 32);
        assert_eq!(id, alert_id("rule", &entity("ann"), at(1), 2));
        assert_ne!(id, alert_id("rulea", &entity("nn"), at(1), 2));
        assert_ne!(id, alert_id("rule", &entity("ann"), at(2), 2));
    }
}
