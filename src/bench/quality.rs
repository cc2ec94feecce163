//! How many attacks are found at how many false alerts, and what simple rules would have found.
//!
//! Recall alone is worth nothing: whoever tells everything finds everything. So alerts are ranked, graver ones first and by
//! their score among equals, and read from the top until the day's budget of false ones is used up.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::org::{Event, Label, QUIET_DAYS, START, What};
use crate::detect::travel::geometry::distance_km;
use crate::model::Alert;

/// An alert as it is scored.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// Seconds since 1970.
    pub time: i64,
    /// Grade and score: what is read first.
    pub rank: (u8, f64),
    pub about: Vec<String>,
}

impl Told {
    pub fn of(alert: &Alert) -> Told {
        let about = alert.entity.values().filter_map(|it| it.as_str()).map(str::to_string).collect();
        Told {
            time: alert.opened_at.micros().div_euclid(1_000_000),
            rank: (alert.rule.severity as u8, alert.score),
            about,
        }
    }
}

/// An alert may come so long after the last line of an attack.
const GRACE: i64 = 7200;

/// Of each kind of attack, how many there were and how many were found.
pub type Recall = BTreeMap<&'static str, (u32, u32)>;

/// What is found until `false_a_day` is used up; and how many false alerts a day there are altogether.
pub fn recall(told: &[Told], labels: &[Label], days: u32, false_a_day: f64) -> (Recall, f64) {
    let measured = f64::from(days.saturating_sub(QUIET_DAYS).max(1));
    let first = START + i64::from(QUIET_DAYS) * super::org::DAY;
    let mut told: Vec<&Told> = told.iter().filter(|it| it.time >= first).collect();
    told.sort_by(|a, b| b.rank.0.cmp(&a.rank.0).then(b.rank.1.total_cmp(&a.rank.1)).then(a.time.cmp(&b.time)));
    let mut found = vec![false; labels.len()];
    let (mut wrong, mut open) = (0u32, true);
    // Alerts of one rank cannot be told apart: all of them are read, or none.
    for equals in told.chunk_by(|a, b| a.rank == b.rank) {
        let hits: Vec<Vec<usize>> = equals.iter().map(|it| matches(it, labels)).collect();
        wrong += hits.iter().filter(|it| it.is_empty()).count() as u32;
        open &= f64::from(wrong) <= false_a_day * measured;
        if open {
            hits.iter().flatten().for_each(|it| found[*it] = true);
        }
    }
    let mut recall = Recall::new();
    for (label, found) in labels.iter().zip(found) {
        let kind = recall.entry(label.attack).or_default();
        kind.0 += 1;
        kind.1 += u32::from(found);
    }
    (recall, f64::from(wrong) / measured)
}

/// The attacks that an alert names.
fn matches(told: &Told, labels: &[Label]) -> Vec<usize> {
    let fits = |it: &Label| {
        (it.start..=it.end + GRACE).contains(&told.time) && told.about.iter().any(|about| it.keys.contains(about))
    };
    (0..labels.len()).filter(|it| fits(&labels[*it])).collect()
}

/// The rule that everybody has: two logins of a person, faster than 900 km/h.
pub fn speed_rule(events: &[Event]) -> Vec<Told> {
    let mut last: HashMap<&str, &Event> = HashMap::new();
    let mut told = Vec::new();
    for event in events.iter().filter(|it| it.what == What::Login) {
        if let Some(before) = last.insert(&event.user, event) {
            let km = distance_km(before.place.point, event.place.point);
            let hours = (event.time - before.time) as f64 / 3600.0;
            if km > 900.0 * hours && before.place.address != event.place.address {
                told.push(Told { time: event.time, rank: (0, 0.0), about: vec![event.user.clone()] });
            }
        }
    }
    told
}

/// One way to detect, over all seeds.
#[derive(Default)]
pub struct Column {
    pub name: String,
    recall: Recall,
    false_a_day: f64,
    logs: u32,
}

impl Column {
    pub fn new(name: &str) -> Column {
        Column { name: name.into(), ..Column::default() }
    }

    pub fn add(&mut self, told: &[Told], labels: &[Label], days: u32, budget: f64) {
        let (recall, false_a_day) = recall(told, labels, days, budget);
        for (kind, (all, found)) in recall {
            let sum = self.recall.entry(kind).or_default();
            *sum = (sum.0 + all, sum.1 + found);
        }
        self.false_a_day += false_a_day;
        self.logs += 1;
    }

    fn of(&self, kind: &str) -> f64 {
        self.recall.get(kind).map_or(0.0, |it| f64::from(it.1) / f64::from(it.0.max(1)))
    }

    /// The mean over kinds: a frequent kind must not hide a rare one.
    pub fn macro_recall(&self) -> f64 {
        self.recall.keys().map(|it| self.of(it)).sum::<f64>() / self.recall.len().max(1) as f64
    }
}

/// The columns side by side, as Markdown.
pub fn table(columns: &[Column]) -> String {
    let mut out = String::new();
    let names: Vec<&str> = columns.iter().map(|it| it.name.as_str()).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "| attack | how many | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|---|{}", "---|".repeat(columns.len()));
    for (kind, (all, _)) in columns.first().map(|it| &it.recall).into_iter().flatten() {
        let cells: Vec<String> = columns.iter().map(|it| format!("{:.2}", it.of(kind))).collect();
        let _ = writeln!(out, "| {kind} | {all} | {} |", cells.join(" | "));
    }
    let mean: Vec<String> = columns.iter().map(|it| format!("{:.2}", it.macro_recall())).collect();
    let _ = writeln!(out, "| mean over kinds | | {} |", mean.join(" | "));
    let noise: Vec<String> =
        columns.iter().map(|it| format!("{:.1}", it.false_a_day / f64::from(it.logs.max(1)))).collect();
    let _ = writeln!(out, "| false alerts a day, unranked | | {} |", noise.join(" | "));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_from_the_top() {
        let day = super::super::org::DAY;
        let first = START + i64::from(QUIET_DAYS) * day;
        let label =
            |at: i64, key: &str| Label { attack: "x", start: first + at, end: first + at + 60, keys: vec![key.into()] };
        let labels = [label(1000, "ann"), label(50_000, "bob")];
        let told = |at: i64, severity: u8, score: f64, about: &str| Told {
            time: first + at,
            rank: (severity, score),
            about: vec![about.into()],
        };
        let alerts = [
            told(1010, 3, 1.0, "ann"),
            told(60_000, 2, 9.0, "eve"),
            told(70_000, 2, 8.0, "eve"),
            told(50_010, 2, 5.0, "bob"),
            told(50_010, 1, 5.0, "ann"),
            // While everybody is still learned.
            told(-1, 4, 12.0, "eve"),
        ];
        for (budget, expected) in [(0.0, 1), (1.0, 1), (2.0, 2), (9.0, 2)] {
            let (recall, noise) = recall(&alerts, &labels, QUIET_DAYS + 1, budget);
            assert_eq!(recall["x"], (2, expected), "{budget}");
            assert_eq!(noise, 3.0);
        }
    }
}
