//! A story: a log with the alerts in its margin.
//!
//! ```text
//! 2025-04-12 08:03:21 | 203.0.113.9 | ann@example.com | Brazil | Login failure
//!   ! repeated-login-failures ann@example.com high "5 failed logins for ann@example.com in 21s"
//! 2025-04-12 08:30:00 ~
//!   ! repeated-login-failures ann@example.com resolved
//! ```
//!
//! Lines of the log go to the engine as they are. A margin (`!`, indented) says what the line before it must cause; a line with
//! no margin must cause nothing. `TIME ~` lets time pass without an event, and `#` begins a comment. `format: NAME` and
//! `geoip: FILE` may stand on the first lines. Where the rule's `by` is empty the entity is `-`.
//!
//! Habits are learned from weeks of log, which nobody reads. `repeat 14 every 1d` and `end` stand around what comes again so often:
//! each time its ISO stamps are a day later, and `{n}` is how often it came before (`{n%7}`: of seven in turn); `{s 2025-04-12T08:30:00}` and
//! `{ms …}` are such a stamp since 1970. Blocks may stand in blocks; a margin belongs behind `end` and speaks of the last line.

use std::fmt;
use std::ops::Range;

use crate::limits;
use crate::model::text::visible;
use crate::model::{Alert, Severity, Span, State, Timestamp, Zone};

/// What plays a story: the real engine with lateness 0, or a stand-in.
pub trait StoryEngine {
    fn line(&mut self, text: &str) -> Vec<Alert>;
    fn wait(&mut self, until: Timestamp) -> Vec<Alert>;
    fn end(&mut self) -> Vec<Alert>;
}

#[derive(Clone, PartialEq, Debug)]
pub struct Story {
    /// `format: NAME` at the top.
    pub format: Option<String>,
    /// `geoip: FILE` at the top, one a line.
    pub geoip: Vec<String>,
    rows: Vec<Row>,
}

/// One line of the story's text, as written, and what it is.
#[derive(Clone, PartialEq, Debug)]
struct Row {
    text: String,
    kind: Kind,
}

#[derive(Clone, PartialEq, Debug)]
enum Kind {
    /// One step; all of a block's at its end.
    Steps(Vec<Step>),
    Margin(Margin),
    /// A header, a comment, an empty line, the inside of a block.
    Silent,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    Line(String),
    Wait(Timestamp),
}

/// One alert as a margin tells it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Margin {
    pub rule: String,
    pub entity: String,
    pub said: Said,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Said {
    /// The summary may be left out of a story; then any will do.
    Firing(Severity, Option<String>),
    Resolved,
}

/// What is wrong with a story's text, and which of its bytes.
#[derive(Clone, PartialEq, Debug)]
pub struct StoryError {
    pub span: Range<usize>,
    pub what: String,
    pub expected: String,
}

/// What came out of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// What each step caused, in order; the end of input belongs to the last.
    pub found: Vec<Vec<Margin>>,
    /// Empty when everything is as told; otherwise the places that differ, `-` expected and `+` found.
    pub difference: String,
}

impl Outcome {
    pub fn is_as_told(&self) -> bool {
        self.difference.is_empty()
    }
}

impl Margin {
    fn of(alert: &Alert) -> Margin {
        let entity = visible(&alert.entity_text()).into_owned();
        let said = match alert.state {
            State::Firing => Said::Firing(alert.rule.severity, Some(visible(&alert.summary).into_owned())),
            State::Resolved => Said::Resolved,
        };
        Margin { rule: alert.rule.id.clone(), entity: if entity.is_empty() { "-".into() } else { entity }, said }
    }

    /// Reads what stands after `!`. A summary is taken to the last quote, so it may hold quotes.
    fn parse(text: &str) -> Option<Margin> {
        let (rule, rest) = text.trim().split_once(' ')?;
        let rest = rest.trim();
        let margin = |entity: &str, said| Some(Margin { rule: rule.into(), entity: entity.trim().into(), said });
        if let Some(entity) = rest.strip_suffix(" resolved") {
            return margin(entity, Said::Resolved);
        }
        if let Some(body) = rest.strip_suffix('"') {
            let found = Severity::ALL.into_iter().filter_map(|severity| {
                let word = format!(" {} \"", severity.name());
                body.find(&word).map(|at| (at, severity, at + word.len()))
            });
            let (at, severity, start) = found.min_by_key(|(at, ..)| *at)?;
            return margin(&rest[..at], Said::Firing(severity, Some(body[start..].to_string())));
        }
        let (entity, word) = rest.rsplit_once(' ')?;
        let severity = Severity::ALL.into_iter().find(|it| it.name() == word)?;
        margin(entity, Said::Firing(severity, None))
    }

    fn is_resolved(&self) -> bool {
        self.said == Said::Resolved
    }

    /// Whether `found` is what this margin tells.
    fn tells(&self, found: &Margin) -> bool {
        let said = match (&self.said, &found.said) {
            (Said::Firing(a, None), Said::Firing(b, _)) => a == b,
            (a, b) => a == b,
        };
        said && self.rule == found.rule && self.entity == found.entity
    }
}

impl fmt::Display for Margin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  ! {} {} ", self.rule, self.entity)?;
        match &self.said {
            Said::Resolved => f.write_str("resolved"),
            Said::Firing(severity, None) => f.write_str(severity.name()),
            Said::Firing(severity, Some(summary)) => write!(f, "{} \"{summary}\"", severity.name()),
        }
    }
}

impl Story {
    pub fn parse(text: &str) -> Result<Story, StoryError> {
        let mut story = Story { format: None, geoip: Vec::new(), rows: Vec::new() };
        let mut day = None;
        let mut any_step = false;
        let mut start = 0;
        let mut blocks: Vec<Block> = Vec::new();
        for line in text.split('\n') {
            let span = start..start + line.len();
            start = span.end + 1;
            let line = line.strip_suffix('\r').unwrap_or(line);
            let error = |what: &str, expected: &str| {
                let lead = line.len() - line.trim_start().len();
                let span = span.start + lead..span.end;
                StoryError { span, what: what.into(), expected: expected.into() }
            };
            let trimmed = line.trim();
            let kind = if trimmed.is_empty() || line.starts_with('#') {
                Kind::Silent
            } else if let Some(block) = Block::begin(line) {
                any_step = true;
                blocks.push(block.ok_or_else(|| {
                    error("this block cannot be read", "`repeat 14 every 1d`, and `end` on a line of its own below")
                })?);
                Kind::Silent
            } else if let Some(block) = blocks.pop_if(|_| line == "end") {
                let lines = block.lines().ok_or_else(|| {
                    error(
                        "this block is too long, or has times that cannot be",
                        &format!("at most {} lines", limits::STORY_LINES_MAX),
                    )
                })?;
                match blocks.last_mut() {
                    Some(outer) => {
                        outer.inside.extend(lines);
                        Kind::Silent
                    }
                    None => {
                        let steps: Option<Vec<Step>> = lines.into_iter().map(|it| step(it, day)).collect();
                        Kind::Steps(steps.filter(|it| !it.is_empty()).ok_or_else(|| {
                            error(
                                "this block has no line, or a time that cannot be read",
                                "lines of a log, or times with `~`",
                            )
                        })?)
                    }
                }
            } else if let Some(block) = blocks.last_mut().filter(|_| !line.starts_with([' ', '\t'])) {
                block.inside.push(line.to_string());
                Kind::Silent
            } else if let Some((name, value)) = header(line).filter(|_| !any_step) {
                match name {
                    "format" => story.format = Some(value.to_string()),
                    _ => story.geoip.push(value.to_string()),
                }
                Kind::Silent
            } else if line.starts_with([' ', '\t']) && trimmed.starts_with('!') {
                if !blocks.is_empty() {
                    return Err(error(
                        "an alert inside a block",
                        "the alert that the last of its lines causes, below `end`",
                    ));
                }
                if !any_step {
                    return Err(error("an alert before the first line of the log", "the line that causes it above it"));
                }
                let Some(margin) = Margin::parse(&trimmed[1..]) else {
                    return Err(error(
                        "this margin cannot be read",
                        "`! RULE ENTITY high \"SUMMARY\"` or `! RULE ENTITY resolved`",
                    ));
                };
                Kind::Margin(margin)
            } else {
                any_step = true;
                let Some(step) = step(line.to_string(), day) else {
                    return Err(error(
                        "this time cannot be read",
                        "a time with its date, as in `2025-04-12 08:30:00 ~`",
                    ));
                };
                Kind::Steps(vec![step])
            };
            day = day_in(line).or(day);
            story.rows.push(Row { text: line.to_string(), kind });
        }
        match blocks.is_empty() {
            true => Ok(story),
            false => Err(StoryError {
                span: text.len()..text.len(),
                what: "the story ends inside a block".into(),
                expected: "`end` on a line of its own".into(),
            }),
        }
    }

    /// Lines and waits, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.rows.iter().flat_map(|it| match &it.kind {
            Kind::Steps(steps) => steps.as_slice(),
            Kind::Margin(_) | Kind::Silent => &[],
        })
    }

    /// What is told, and the last line of the log before it.
    pub fn told(&self) -> impl Iterator<Item = (&str, &Margin)> {
        let mut last = None;
        self.rows.iter().filter_map(move |it| match &it.kind {
            Kind::Steps(steps) => {
                let lines = steps.iter().rev().find_map(|it| match it {
                    Step::Line(line) => Some(line.as_str()),
                    Step::Wait(_) => None,
                });
                last = lines.or(last);
                None
            }
            Kind::Margin(margin) => Some((last?, margin)),
            Kind::Silent => None,
        })
    }

    /// Everything the story tells of.
    pub fn margins(&self) -> impl Iterator<Item = &Margin> {
        self.rows.iter().filter_map(|it| match &it.kind {
            Kind::Margin(margin) => Some(margin),
            Kind::Steps(_) | Kind::Silent => None,
        })
    }

    /// What each step should cause.
    fn expected(&self) -> Vec<Vec<Margin>> {
        let mut all: Vec<Vec<Margin>> = Vec::new();
        for row in &self.rows {
            match (&row.kind, all.last_mut()) {
                (Kind::Steps(steps), _) => all.extend(steps.iter().map(|_| Vec::new())),
                (Kind::Margin(margin), Some(last)) => last.push(margin.clone()),
                (Kind::Margin(_) | Kind::Silent, _) => {}
            }
        }
        all
    }

    /// Plays the story and compares.
    pub fn run(&self, engine: &mut dyn StoryEngine) -> Outcome {
        let mut found: Vec<Vec<Margin>> = Vec::new();
        for step in self.steps() {
            let alerts = match step {
                Step::Line(text) => engine.line(text),
                Step::Wait(until) => engine.wait(*until),
            };
            found.push(alerts.iter().map(Margin::of).collect());
        }
        let expected = self.expected();
        let end: Vec<Margin> = engine.end().iter().map(Margin::of).collect();
        if let (Some(last), Some(told)) = (found.last_mut(), expected.last()) {
            // Whatever is open resolves when the input ends: of no interest, unless the story tells it.
            let resolved = |all: &[Margin]| all.iter().filter(|it| it.is_resolved()).count();
            let with_resolved = resolved(told) > resolved(last);
            last.extend(end.into_iter().filter(|it| with_resolved || !it.is_resolved()));
        }
        Outcome { difference: self.difference(&expected, &found), found }
    }

    fn difference(&self, expected: &[Vec<Margin>], found: &[Vec<Margin>]) -> String {
        let mut out = String::new();
        for ((step, told), seen) in self.steps().zip(expected).zip(found) {
            let (missing, extra) = compare(told, seen);
            if missing.is_empty() && extra.is_empty() {
                continue;
            }
            let shown = match step {
                Step::Line(text) => text.clone(),
                Step::Wait(until) => format!("{until} ~"),
            };
            let shown = visible(&shown);
            let cut: String = shown.chars().take(160).collect();
            let dots = if cut.len() < shown.len() { "…" } else { "" };
            out.push_str(&format!("    {cut}{dots}\n"));
            missing.iter().for_each(|it| out.push_str(&format!("  - {it}\n")));
            extra.iter().for_each(|it| out.push_str(&format!("  + {it}\n")));
        }
        out
    }

    /// The story's text with margins that tell what was found. Margins that told it already stay as they were.
    pub fn rewrite(&self, found: &[Vec<Margin>]) -> String {
        let expected = self.expected();
        let mut out: Vec<String> = Vec::new();
        let mut step = 0;
        let mut keeps = false;
        for row in &self.rows {
            match &row.kind {
                Kind::Margin(_) if keeps => out.push(row.text.clone()),
                Kind::Margin(_) => {}
                Kind::Silent => out.push(row.text.clone()),
                Kind::Steps(steps) => {
                    out.push(row.text.clone());
                    step += steps.len();
                    let told = expected.get(step - 1).map_or(&[][..], Vec::as_slice);
                    let seen = found.get(step - 1).map_or(&[][..], Vec::as_slice);
                    let (missing, extra) = compare(told, seen);
                    keeps = missing.is_empty() && extra.is_empty();
                    if !keeps {
                        out.extend(seen.iter().map(Margin::to_string));
                    }
                }
            }
        }
        out.join("\n")
    }
}

/// What comes again and again.
struct Block {
    times: usize,
    every: Span,
    inside: Vec<String>,
}

impl Block {
    /// The block that a line begins; None in it where it cannot be read.
    fn begin(line: &str) -> Option<Option<Block>> {
        let (times, every) = line.strip_prefix("repeat ")?.split_once(" every ")?;
        let times = times.trim().parse().ok().filter(|it| *it > 0);
        let every = Span::parse(every.trim());
        Some(times.zip(every).map(|(times, every)| Block { times, every, inside: Vec::new() }))
    }

    /// What it stands for; None if that is too much.
    fn lines(&self) -> Option<Vec<String>> {
        if self.inside.len().saturating_mul(self.times) > limits::STORY_LINES_MAX {
            return None;
        }
        let mut out = Vec::new();
        for time in 0..self.times {
            let by = i64::try_from(time).ok()?.checked_mul(self.every.micros())?;
            for line in &self.inside {
                out.push(epochs(&later(&numbered(line, time), by)?)?);
            }
        }
        Some(out)
    }
}

/// The line with `{n}` and `{n%7}` filled in.
fn numbered(line: &str, time: usize) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{n") {
        out.push_str(before);
        let in_turn = || {
            let (of, rest) = after.strip_prefix('%')?.split_once('}')?;
            Some((time.checked_rem(of.parse().ok()?)?, rest))
        };
        match after.strip_prefix('}').map(|rest| (time, rest)).or_else(in_turn) {
            Some((number, after)) => {
                out.push_str(&number.to_string());
                rest = after;
            }
            None => {
                out.push_str("{n");
                rest = after;
            }
        }
    }
    out + rest
}

/// The line with every ISO stamp later by so many microseconds; None for one that leaves time.
fn later(line: &str, by: i64) -> Option<String> {
    let mut out = String::new();
    let mut rest = line;
    while let Some(day) = day_in(rest) {
        let at = day.as_ptr() as usize - rest.as_ptr() as usize;
        let stamp = rest.get(at..at + 19).filter(|it| it.as_bytes()[10] == b'T' || it.as_bytes()[10] == b' ');
        let time = stamp.and_then(|it| Timestamp::parse_iso(it, Zone::UTC));
        let end = match (stamp, time) {
            (Some(stamp), Some(time)) => {
                let moved = Timestamp::from_micros(time.micros().checked_add(by)?).to_string();
                out.push_str(&rest[..at]);
                out.push_str(moved.get(..10)?);
                out.push_str(&stamp[10..11]);
                out.push_str(moved.get(11..19)?);
                at + 19
            }
            _ => {
                out.push_str(&rest[..at + 10]);
                at + 10
            }
        };
        rest = &rest[end..];
    }
    Some(out + rest)
}

/// The line with `{s 2025-04-12T08:30:00}` and `{ms …}` as seconds and milliseconds since 1970.
fn epochs(line: &str) -> Option<String> {
    let mut out = line.to_string();
    for (begin, unit) in [("{s ", 1_000_000), ("{ms ", 1000)] {
        while let Some(at) = out.find(begin) {
            let end = at + out[at..].find('}')?;
            let time = Timestamp::parse_iso(&out[at + begin.len()..end], Zone::UTC)?;
            out.replace_range(at..=end, &(time.micros() / unit).to_string());
        }
    }
    Some(out)
}

/// A line of the log, or a time that passes; None for a time that cannot be read.
fn step(line: String, day: Option<&str>) -> Option<Step> {
    match line.trim().strip_suffix('~').filter(|it| it.ends_with(' ')) {
        Some(time) => wait_time(time.trim(), day).map(Step::Wait),
        None => Some(Step::Line(line)),
    }
}

/// What was told and not found, and what was found and not told, whatever the order.
fn compare<'a>(told: &'a [Margin], seen: &'a [Margin]) -> (Vec<&'a Margin>, Vec<&'a Margin>) {
    let mut extra: Vec<&Margin> = seen.iter().collect();
    let mut missing = Vec::new();
    for margin in told {
        match extra.iter().position(|it| margin.tells(it)) {
            Some(at) => drop(extra.remove(at)),
            None => missing.push(margin),
        }
    }
    (missing, extra)
}

fn header(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(": ")?;
    (matches!(name, "format" | "geoip") && !value.trim().is_empty()).then_some((name, value.trim()))
}

/// The time of a wait; one without a date is on the day last named.
fn wait_time(text: &str, day: Option<&str>) -> Option<Timestamp> {
    let whole = Timestamp::parse_iso(text, Zone::UTC);
    whole.or_else(|| Timestamp::parse_iso(&format!("{} {text}", day?), Zone::UTC))
}

/// The first `2025-04-12` in a line.
fn day_in(line: &str) -> Option<&str> {
    let bytes = line.as_bytes();
    (0..bytes.len().saturating_sub(9)).find_map(|at| {
        let part = &bytes[at..at + 10];
        let fits = part.iter().enumerate().all(|(index, it)| match index {
            4 | 7 => *it == b'-',
            _ => it.is_ascii_digit(),
        });
        let text = fits.then(|| &line[at..at + 10])?;
        Timestamp::parse_iso(text, Zone::UTC).map(|_| text)
    })
}

/// `text` as a raw text literal of RON, with at least as many `#` as `old` had.
pub fn literal(text: &str, old: &str) -> String {
    let mut hashes = old.bytes().skip_while(|it| *it == b'r').take_while(|it| *it == b'#').count().max(1);
    while text.contains(&format!("\"{}", "#".repeat(hashes))) {
        hashes += 1;
    }
    let hashes = "#".repeat(hashes);
    format!("r{hashes}\"{text}\"{hashes}")
}

/// The file's text with some literals replaced by others; everything else stays byte for byte.
pub fn replace_literals(file: &str, edits: &[(Range<usize>, String)]) -> String {
    let mut edits: Vec<&(Range<usize>, String)> = edits.iter().collect();
    edits.sort_by_key(|(span, _)| span.start);
    let mut out = String::with_capacity(file.len());
    let mut at = 0;
    for (span, literal) in edits {
        out.push_str(&file[at..span.start]);
        out.push_str(literal);
        at = span.end;
    }
    out.push_str(&file[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RuleHead;

    /// Fires on `fail NAME` lines, resolves all on a wait and at the end.
    #[derive(Default)]
    struct Echo {
        open: Vec<String>,
    }

    fn alert(name: &str, state: State) -> Alert {
        let mut entity = serde_json::Map::new();
        entity.insert("user.name".into(), name.into());
        let rule = RuleHead {
            id: "r".into(),
            title: "t".into(),
            severity: Severity::High,
            tags: vec![],
            about: String::new(),
        };
        Alert {
            schema: 1,
            id: "0".into(),
            state,
            rule,
            entity,
            opened_at: Timestamp::from_micros(0),
            last_seen_at: Timestamp::from_micros(0),
            resolved_at: None,
            count: 1,
            score: 12.0,
            summary: format!("{name} \"failed\""),
            because: Default::default(),
            evidence: vec![],
            late: false,
            suspect: false,
        }
    }

    impl StoryEngine for Echo {
        fn line(&mut self, text: &str) -> Vec<Alert> {
            let names = text.strip_prefix("fail ").into_iter();
            names.map(|it| (self.open.push(it.into()), alert(it, State::Firing)).1).collect()
        }
        fn wait(&mut self, _: Timestamp) -> Vec<Alert> {
            self.open.drain(..).map(|it| alert(&it, State::Resolved)).collect()
        }
        fn end(&mut self) -> Vec<Alert> {
            self.wait(Timestamp::MAX)
        }
    }

    /// Runs a story; `expected` is its difference, and rewriting must give `rewritten` and then differ no more.
    fn check(text: &str, expected: &str, rewritten: &str) {
        let story = Story::parse(text).unwrap();
        let outcome = story.run(&mut Echo::default());
        assert_eq!(outcome.difference, expected, "{text}");
        let updated = story.rewrite(&outcome.found);
        assert_eq!(updated, rewritten);
        let again = Story::parse(&updated).unwrap();
        assert!(again.run(&mut Echo::default()).is_as_told(), "{updated}");
    }

    #[test]
    fn what_is_told_is_found() {
        let text = "\n# comment\nfine\nfail ann, 192.0.2.1\n  ! r ann, 192.0.2.1 high \"ann, 192.0.2.1 \"failed\"\"\n\n2025-01-01 10:00 ~\n  ! r ann, 192.0.2.1 resolved\n";
        check(text, "", text);
        check("fail ann\n  ! r ann high\n", "", "fail ann\n  ! r ann high\n");
        check("fail ann\n  ! r ann high\n  ! r ann resolved", "", "fail ann\n  ! r ann high\n  ! r ann resolved");
        check("", "", "");
    }

    #[test]
    fn what_differs_is_shown_and_rewritten() {
        check(
            "fail ann\nfine\n  ! r ann high\n",
            "    fail ann\n  +   ! r ann high \"ann \"failed\"\"\n    fine\n  -   ! r ann high\n",
            "fail ann\n  ! r ann high \"ann \"failed\"\"\nfine\n",
        );
        check(
            "fail ann\n  ! r ann low \"x\"\n# end",
            "    fail ann\n  -   ! r ann low \"x\"\n  +   ! r ann high \"ann \"failed\"\"\n",
            "fail ann\n  ! r ann high \"ann \"failed\"\"\n# end",
        );
    }

    #[test]
    fn bad_stories_say_where() {
        for (text, expected) in [
            ("  ! r a high", "2..12 an alert before the first line of the log"),
            ("x\n  ! r a hihg", "4..14 this margin cannot be read"),
            ("x\n  ! r", "4..7 this margin cannot be read"),
            ("x\n\tnoon ~", "3..9 this time cannot be read"),
            ("10:00:00 ~", "0..10 this time cannot be read"),
        ] {
            let error = Story::parse(text).unwrap_err();
            assert_eq!(format!("{}..{} {}", error.span.start, error.span.end, error.what), expected);
        }
    }

    #[test]
    fn a_wait_without_date_is_on_the_day_last_named() {
        let story = Story::parse("format: json\ngeoip: a.mmdb\n{\"t\":\"2025-04-12T08:00:00Z\"}\n08:30:00 ~").unwrap();
        assert_eq!(story.format.as_deref(), Some("json"));
        assert_eq!(story.geoip, ["a.mmdb"]);
        let Some(Step::Wait(time)) = story.steps().nth(1) else { panic!("no wait") };
        assert_eq!(time.to_string(), "2025-04-12T08:30:00Z");
    }

    #[test]
    fn literals_are_replaced_in_place() {
        let file = "a: r#\"one\"#, // x\nb: \"two\",\n";
        let edits = [(21..26, literal("t\"#wo", "\"two\"")), (3..11, literal("1", "r#\"one\"#"))];
        let found = replace_literals(file, &edits);
        assert_eq!(found, "a: r#\"1\"#, // x\nb: r##\"t\"#wo\"##,\n");
    }

    #[test]
    fn blocks_stand_for_what_comes_again() {
        let lines = |text: &str| -> Vec<String> {
            let story = Story::parse(text).unwrap();
            let text = |it: &Step| match it {
                Step::Line(it) => it.clone(),
                Step::Wait(it) => format!("~{it}"),
            };
            story.steps().map(text).collect()
        };
        assert_eq!(
            lines(
                "repeat 2 every 1h\n2025-04-30 23:30:00 | u{n} of 2025-01-01\n2025-04-30T23:40:00Z x{n%2}y{no}\nend\nb"
            ),
            [
                "2025-04-30 23:30:00 | u0 of 2025-01-01",
                "2025-04-30T23:40:00Z x0y{no}",
                "2025-05-01 00:30:00 | u1 of 2025-01-01",
                "2025-05-01T00:40:00Z x1y{no}",
                "b",
            ]
        );
        assert_eq!(
            lines("repeat 2 every 1h\nat {s 2025-04-12T08:30:00} or {ms 2025-04-12 08:30:00}\nend")[1],
            "at 1744450200 or 1744450200000"
        );
        let weeks = "repeat 2 every 7d\nrepeat 2 every 1d\n2025-04-07 08:00:00 in\n2025-04-07 20:00:00 ~\nend\nend";
        let found = lines(weeks);
        assert_eq!(found.len(), 8);
        assert_eq!((found[2].as_str(), found[7].as_str()), ("2025-04-08 08:00:00 in", "~2025-04-15T20:00:00Z"));
        for (text, what) in [
            ("repeat x every 1d\na\nend", "this block cannot be read"),
            ("repeat 0 every 1d\na\nend", "this block cannot be read"),
            ("repeat 9 every day\na\nend", "this block cannot be read"),
            ("repeat 2 every 1d\na", "the story ends inside a block"),
            ("repeat 2 every 1d\nend", "this block has no line"),
            ("repeat 99999 every 1d\na\nend", "this block is too long"),
            ("repeat 2 every 1d\na\n  ! r x resolved\nend", "an alert inside a block"),
        ] {
            let error = Story::parse(text).unwrap_err();
            assert!(error.what.starts_with(what), "{text}: {error:?}");
        }
        // A margin behind the block speaks of its last line, and is all that is rewritten.
        let text = "repeat 3 every 1d\nfail u{n}\nend\n  ! r u2 high \"u2 \\\"failed\\\"\"";
        let story = Story::parse(text).unwrap();
        let outcome = story.run(&mut Echo::default());
        assert!(
            outcome.difference.contains("fail u0") && outcome.difference.contains("fail u1"),
            "{}",
            outcome.difference
        );
        let rewritten = story.rewrite(&outcome.found);
        assert!(rewritten.starts_with("repeat 3 every 1d\nfail u{n}\nend\n  ! r u2 high"), "{rewritten}");
        assert_eq!(story.told().next().map(|it| it.0), Some("fail u2"));
    }
}
