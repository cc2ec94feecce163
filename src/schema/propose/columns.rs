//! Columns: `time,user,ip,action,result` between commas, semicolons, tabs, bars or wide gaps, with a line of names above them or without.
//!
//! A column has no path, so everything is said with `Split`; and since conditions compare paths, what was done and how it
//! ended are joined to one word, by which cases are chosen: `login failed`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Proposal, ROLES, Role, Stats, activity, outcome, plain, score};

const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];
const COLUMNS_MIN: usize = 3;
const COLUMNS_MAX: usize = 200;

/// How lines are cut.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    At(char),
    /// At a character that may also stand in quotes.
    Outside(char),
    /// Where two blanks or more stand: columns that are aligned for the eye.
    Gaps,
}

struct Table<'a> {
    cut: Cut,
    names: Vec<String>,
    rows: Vec<Vec<&'a str>>,
    has_names: bool,
    /// The first line.
    head: &'a str,
}

/// A draft, where nearly all lines have the same number of columns and a time stands in one of them.
pub(super) fn propose(lines: &[&str], format: &str, id: &str) -> Option<Proposal> {
    let quoted = lines.iter().any(|it| it.contains('"'));
    let cuts = SEPARATORS.map(|it| if quoted && it != '|' { Cut::Outside(it) } else { Cut::At(it) });
    let best = cuts.iter().filter_map(|it| read(lines, *it)).max_by_key(|it| it.names.len());
    let table = best.or_else(|| read(lines, Cut::Gaps))?;
    let stats: Vec<Stats> = (0..table.names.len()).map(|it| column(&table, it)).collect();
    let names: Vec<&str> = match table.has_names {
        true => table.names.iter().map(String::as_str).collect(),
        false => nicknames(&stats),
    };
    let mut taken: Vec<(&Role, usize)> = Vec::new();
    for role in ROLES {
        if taken.iter().any(|it| it.0.field == role.field) {
            continue;
        }
        let free = (0..stats.len()).filter(|it| !taken.iter().any(|(_, at)| at == it) && stats[*it].lines > 0);
        let best = free.map(|it| (score(role, names[it], &stats[it]), it)).max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((score, at)) = best
            && score > 0.9
        {
            taken.push((role, at));
        }
    }
    let at = |field: &str| taken.iter().find(|it| it.0.field == field).map(|it| it.1);
    if at("@timestamp").is_none() || at("user.name").or(at("source.ip")).is_none() {
        return None;
    }
    let text = write(&table, &stats, &taken, format, id);
    let about = |at: usize| stats[at].about(table.rows.len());
    let roles = taken.iter().map(|(role, at)| (role.field.to_string(), table.called(*at), about(*at))).collect();
    Some(Proposal { text, roles })
}

/// The lines cut, if nine of ten have the same number of columns.
fn read<'a>(lines: &[&'a str], cut: Cut) -> Option<Table<'a>> {
    let cells =
        |line: &'a str| -> Vec<&'a str> { cut.cells(line).iter().map(|it| it.trim().trim_matches('"')).collect() };
    let rows: Vec<Vec<&str>> = lines.iter().map(|it| cells(it)).collect();
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    rows.iter().for_each(|it| *counts.entry(it.len()).or_default() += 1);
    let (width, count) = counts.into_iter().max_by_key(|it| it.1)?;
    if !(COLUMNS_MIN..=COLUMNS_MAX).contains(&width) || count * 10 < lines.len() * 9 {
        return None;
    }
    let mut rows: Vec<Vec<&str>> = rows.into_iter().filter(|it| it.len() == width).collect();
    let is_name = |it: &&str| it.chars().any(char::is_alphabetic) && !it.contains(['@', ':']) && it.len() < 60;
    let has_names = rows.len() > 1 && rows[0].iter().all(is_name) && rows[1..].iter().all(|it| it != &rows[0]);
    let names = match has_names {
        true => rows.remove(0).into_iter().map(str::to_string).collect(),
        false => vec![String::new(); width],
    };
    Some(Table { cut, names, rows, has_names, head: lines.first().copied().unwrap_or_default() })
}

impl Cut {
    fn cells(self, line: &str) -> Vec<&str> {
        match self {
            Cut::At(it) => line.split(it).collect(),
            Cut::Outside(it) => {
                let mut inside = false;
                let is_end = |at: char| {
                    inside ^= at == '"';
                    at == it && !inside
                };
                line.split(is_end).collect()
            }
            Cut::Gaps => line.split("  ").filter(|it| !it.trim().is_empty()).collect(),
        }
    }

    /// A regular expression for one column and for what stands between two.
    fn patterns(self) -> (String, String) {
        let class = |it: char| match it {
            '\t' => r"\t".to_string(),
            it => it.to_string(),
        };
        match self {
            Cut::At(it) => (format!("[^{}]*", class(it)), if it == '|' { r"\|".into() } else { class(it) }),
            Cut::Outside(it) => (format!("(?:[^\"{0}]|\"[^\"]*\")*", class(it)), class(it)),
            Cut::Gaps => (r"\S+(?: \S+)*".into(), r"\s{2,}".into()),
        }
    }
}

fn column(table: &Table<'_>, at: usize) -> Stats {
    let mut stats = Stats::default();
    let values = table.rows.iter().map(|it| it[at]).filter(|it| !it.is_empty() && *it != "-");
    values.for_each(|it| stats.add(it, false, matches!(it, "true" | "false")));
    stats
}

/// What columns without names might be called. Names of people are what is left: words without blanks, and several of them.
fn nicknames(stats: &[Stats]) -> Vec<&'static str> {
    let mut names: Vec<&str> = stats.iter().map(nickname).collect();
    if !names.contains(&"user") {
        let fits = |it: &Stats| {
            let words = it.values.keys().filter(|it| it.len() < 40 && !it.contains([' ', '/', '(', '['])).count();
            it.values.len() > 1 && words == it.values.len() && it.share(it.numbers) < 0.2
        };
        let free = (0..stats.len()).filter(|it| names[*it].is_empty() && fits(&stats[*it]));
        if let Some(at) = free.max_by_key(|it| (stats[*it].values.len(), std::cmp::Reverse(*it))) {
            names[at] = "user";
        }
    }
    names
}

fn nickname(it: &Stats) -> &'static str {
    match () {
        _ if it.time().is_some() => "time",
        _ if it.share(it.addresses) > 0.5 => "ip",
        _ if it.share(it.mails) > 0.5 => "user",
        _ if it.values.len() <= 40 && it.values.keys().any(|it| outcome(it).is_some()) => "result",
        _ if it.values.keys().any(|it| activity(it).is_some()) => "action",
        _ => "",
    }
}

impl Table<'_> {
    /// The condition for lines of so many columns; the line of names is none of them.
    fn recognised(&self, pattern: &str) -> String {
        let line = format!("Matches(\"message\", {pattern})");
        if !self.has_names {
            return line;
        }
        let head: String = self.head.trim_start_matches('\u{feff}').chars().take(60).collect();
        format!("All([{line}, Not(StartsWith(\"message\", {head:?}))])")
    }

    fn called(&self, at: usize) -> String {
        match self.has_names {
            true => format!("column {} ({})", at + 1, plain(&self.names[at], 40)),
            false => format!("column {}", at + 1),
        }
    }

    fn take(&self, at: usize) -> String {
        match self.cut {
            Cut::At(it) => format!("Trim(Split(\"message\", {:?}, {at}), \"\\\"\")", it.to_string()),
            cut => {
                let (cell, between) = cut.patterns();
                let pattern = format!("^(?:{cell}{between}){{{at}}}({cell})");
                format!("Trim(Capture(\"message\", {}), \"\\\"\")", raw(&pattern))
            }
        }
    }
}

fn write(table: &Table<'_>, stats: &[Stats], taken: &[(&Role, usize)], format: &str, id: &str) -> String {
    let lines = table.rows.len();
    let at = |field: &str| taken.iter().find(|it| it.0.field == field).map(|it| it.1);
    let (cell, between) = table.cut.patterns();
    let pattern = format!("^{cell}(?:{between}{cell}){{{}}}$", table.names.len() - 1);
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "// A draft of `tripline init`, from {lines} lines in columns. Read it, correct it, and add an example for each case."
    );
    let _ = writeln!(out, "Schema(\n    id: {id:?},\n    title: {id:?},\n    formats: [{format:?}],");
    let _ = writeln!(
        out,
        "    // So many columns; better still is a word that only this log has.\n    recognise: {},",
        table.recognised(&raw(&pattern))
    );
    let words: Vec<usize> = [at("event.action"), at("event.outcome")].into_iter().flatten().collect();
    if !words.is_empty() {
        let takes: Vec<String> = words.iter().map(|it| table.take(*it)).collect();
        let _ = writeln!(out, "    action: Join([{}], \" \"),", takes.join(", "));
    }
    out.push_str("    fields: {\n");
    for (role, at) in taken.iter().filter(|it| it.0.field != "event.action") {
        let take = table.take(*at);
        let take = match role.field {
            "source.ip" => format!("Address({take})"),
            "@timestamp" => super::time_take(take, &stats[*at]),
            _ => take,
        };
        let about = stats[*at].about(lines);
        let _ = writeln!(out, "        // {}: {about}\n        {:?}: {take},", table.called(*at), role.field);
    }
    out.push_str("    },\n");
    cases(table, at("event.action"), at("event.outcome"), &mut out);
    out.push_str("    examples: [],\n)\n");
    out
}

/// Patterns hold quotes, and no `"#`.
fn raw(pattern: &str) -> String {
    format!("r#\"{pattern}\"#")
}

/// A case for each activity that the words of action and outcome say together.
fn cases(table: &Table<'_>, action: Option<usize>, result: Option<usize>, out: &mut String) {
    let mut words: BTreeMap<(Option<&str>, String), usize> = BTreeMap::new();
    for row in &table.rows {
        let said: Vec<&str> =
            [action, result].into_iter().flatten().map(|it| row[it]).filter(|it| !it.is_empty()).collect();
        let failed = result.and_then(|it| outcome(row[it])) == Some(false);
        let meant = match action.and_then(|it| activity(row[it])) {
            Some("login") if failed => Some("login.failure"),
            Some("login") => Some("login.success"),
            Some(known @ ("login.success" | "login.failure")) => Some(known),
            // What was tried and failed did not happen.
            Some(_) if failed => Some("other"),
            it => it,
        };
        if words.len() < 300 || words.contains_key(&(meant, said.join(" "))) {
            *words.entry((meant, said.join(" "))).or_default() += 1;
        }
    }
    out.push_str("    // What the words mean.\n    cases: [\n");
    let known: std::collections::BTreeSet<&str> = words.keys().filter_map(|it| it.0).collect();
    for meaning in known {
        let these: Vec<(&str, usize)> =
            words.iter().filter(|it| it.0.0 == Some(meaning)).map(|it| (it.0.1.as_str(), *it.1)).collect();
        let count: usize = these.iter().map(|it| it.1).sum();
        let on: Vec<&str> = these.iter().map(|it| it.0).collect();
        let _ = writeln!(out, "        // {count} lines\n        (activity: {meaning:?}, on: {on:?}),");
    }
    for ((_, word), count) in words.iter().filter(|it| it.0.0.is_none()).take(40) {
        let _ = writeln!(out, "        // no activity yet: {:?} ({count} lines)", plain(word, 80));
    }
    out.push_str("    ],\n");
}

#[cfg(test)]
mod tests {
    fn check(separator: &str, has_names: bool, expected: &[&str], part: &str) {
        let names = ["timestamp", "username", "client_ip", "event", "result"].join(separator);
        let row = |it: usize| {
            let result = if it.is_multiple_of(3) { "failed" } else { "ok" };
            let cells = [
                format!("2025-04-12T08:02:{it:02}Z"),
                format!("u{it}@example.com"),
                format!("203.0.113.{it}"),
                "login".into(),
                result.into(),
            ];
            cells.join(separator)
        };
        let rows: Vec<String> = has_names.then_some(names).into_iter().chain((0..30).map(row)).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let proposal = super::super::propose(&rows, "text", "own").unwrap();
        let mut found: Vec<String> = proposal.roles.iter().map(|it| format!("{} = {}", it.0, it.1)).collect();
        found.sort();
        assert_eq!(found, expected);
        assert!(proposal.text.contains(part), "{part}\n{}", proposal.text);
        let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
        let schema: crate::schema::file::Schema = options.from_str(&proposal.text).unwrap();
        assert_eq!(schema.cases.len(), 2, "{}", proposal.text);
    }

    #[test]
    fn columns() {
        for separator in [",", ";", "\t", " | "] {
            check(
                separator,
                true,
                &[
                    "@timestamp = column 1 (timestamp)",
                    "event.action = column 4 (event)",
                    "event.outcome = column 5 (result)",
                    "source.ip = column 3 (client_ip)",
                    "user.name = column 2 (username)",
                ],
                r#"(activity: "login.failure", on: ["login failed"])"#,
            );
        }
        check(
            ";",
            false,
            &[
                "@timestamp = column 1",
                "event.action = column 4",
                "event.outcome = column 5",
                "source.ip = column 3",
                "user.name = column 2",
            ],
            r#"(activity: "login.success", on: ["login ok"])"#,
        );
    }

    /// The roles that columns get, and a part of the draft.
    fn drafted(rows: &[String], expected: &[&str], parts: &[&str]) {
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let proposal = super::super::propose(&rows, "text", "own").unwrap();
        let mut found: Vec<String> = proposal.roles.iter().map(|it| format!("{} = {}", it.0, it.1)).collect();
        found.sort();
        assert_eq!(found, expected, "{}", proposal.text);
        for part in parts {
            assert!(proposal.text.contains(part), "{part}\n{}", proposal.text);
        }
        let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
        let schema: Result<crate::schema::file::Schema, _> = options.from_str(&proposal.text);
        assert!(schema.is_ok(), "{schema:?}\n{}", proposal.text);
    }

    #[test]
    fn separators_in_quotes_and_times_in_another_order() {
        let row = |it: usize| {
            let result = if it.is_multiple_of(3) { "Denied" } else { "Granted" };
            format!("\"{it}, note\",{:02}/03/2026 08:02:{it:02},ann{it},203.0.113.{it},Login,{result}", 13 + it % 3)
        };
        let names = "Note,When,Who,From,What,Result".to_string();
        let rows: Vec<String> = std::iter::once(names).chain((0..30).map(row)).collect();
        drafted(
            &rows,
            &[
                "@timestamp = column 2 (When)",
                "event.action = column 5 (What)",
                "event.outcome = column 6 (Result)",
                "source.ip = column 4 (From)",
                "user.name = column 3 (Who)",
            ],
            &[r#"["%d/%m/%Y %H:%M:%S"]"#, r#"on: ["Login Denied"]"#, r#"Not(StartsWith("message", "Note,When"#],
        );
    }

    #[test]
    fn aligned_columns_and_names_of_people() {
        let row = |it: usize| {
            let result = if it.is_multiple_of(2) { "FAIL" } else { "PASS" };
            format!(
                "2026-03-04 08:02:{it:02}  {:<16}  web01  {:<15}  login     {result}",
                format!("ann{it}"),
                format!("10.0.0.{it}")
            )
        };
        drafted(
            &(0..30).map(row).collect::<Vec<_>>(),
            &[
                "@timestamp = column 1",
                "event.action = column 5",
                "event.outcome = column 6",
                "source.ip = column 4",
                "user.name = column 2",
            ],
            &[r#"(activity: "login.failure", on: ["login FAIL"])"#],
        );
    }

    #[test]
    fn prose_has_no_columns() {
        for lines in [vec!["a, b, c", "d, e, f"], vec!["one", "two"], vec![",,", ",,"], vec![]] {
            assert!(super::propose(&lines, "text", "own").is_none(), "{lines:?}");
        }
    }
}
