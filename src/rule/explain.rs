//! RON's errors in the words of a rule author.
//!
//! RON says where its cursor was when it gave up: behind a name it does not know, before a literal of the wrong type, at
//! the closing bracket of a struct that lacks a field. Which of these depends on the error, so each is looked up on its
//! own way in the file's shape, and told with what was expected there and what was probably meant.

use std::ops::Range;

use ron::Error;

use super::problem::{Problem, Source};
use super::tree::{Body, Node, content_start, decoded};
use crate::model::Severity;
use crate::model::text::nearest;

/// How matchers and kinds are written: shown as help, and in `docs/rules.md`.
pub const WRITTEN: [(&str, &str); 43] = [
    ("All", "All([Eq(\"activity\", \"login.failure\"), Exists(\"user.name\")])"),
    ("Any", "Any([Eq(\"user.name\", \"root\"), Eq(\"user.name\", \"admin\")])"),
    ("Not", "Not(Eq(\"event.provider\", \"okta\"))"),
    ("NoCase", "NoCase(Eq(\"user.name\", \"administrator\"))"),
    ("Eq", "Eq(\"activity\", \"login.failure\")"),
    ("OneOf", "OneOf(\"activity\", [\"user.deleted\", \"user.disabled\"])"),
    ("Contains", "Contains(\"message\", \"admin\")"),
    ("StartsWith", "StartsWith(\"user.name\", \"svc-\")"),
    ("EndsWith", "EndsWith(\"user.name\", \"@example.com\")"),
    ("Glob", "Glob(\"user.name\", \"svc-*@example.com\")"),
    ("Matches", "Matches(\"message\", r\"(?i)root|admin\")"),
    ("Cidr", "Cidr(\"source.ip\", [\"10.0.0.0/8\", \"2001:db8::/32\"])"),
    ("Lt", "Lt(\"risk.score\", 10)"),
    ("Le", "Le(\"risk.score\", 10)"),
    ("Gt", "Gt(\"risk.score\", 90)"),
    ("Ge", "Ge(\"risk.score\", 90)"),
    ("Exists", "Exists(\"user.name\")"),
    ("SameAs", "SameAs(\"user.name\", \"user.target.name\")"),
    ("InList", "InList(\"source.ip\", \"offices\")"),
    ("Each", "Each"),
    ("Count", "Count(at_least: 5, within: \"10m\")"),
    ("Distinct", "Distinct(field: \"user.name\", at_least: 5, within: \"10m\")"),
    (
        "Sequence",
        "Sequence(steps: [(when: Eq(\"activity\", \"login.failure\"), at_least: 5), (when: Eq(\"activity\", \"login.success\"))], within: \"10m\")",
    ),
    ("Sum", "Sum(field: \"source.bytes\", at_least: 1e9, within: \"1h\")"),
    ("Changed", "Changed(field: \"user_agent.original\")"),
    (
        "Absence",
        "Absence(first: Eq(\"activity\", \"mfa.disabled\"), then: Eq(\"activity\", \"mfa.enabled\"), within: \"1h\")",
    ),
    ("Silence", "Silence(after: \"15m\")"),
    ("FirstSeen", "FirstSeen(field: \"source.geo.country_iso_code\", learn: \"14d\")"),
    ("Rare", "Rare(field: \"source.as.number\", false_alerts: \"1/week\")"),
    ("Spike", "Spike(bucket: \"5m\", false_alerts: \"1/week\")"),
    ("Drop", "Drop(bucket: \"15m\", false_alerts: \"1/week\")"),
    ("OffHours", "OffHours(false_alerts: \"1/week\")"),
    ("Unfamiliar", "Unfamiliar(fields: [\"source.as.number\", \"device.id\"], false_alerts: \"1/week\")"),
    (
        "FanOut",
        "FanOut(field: \"user.name\", failed: Eq(\"activity\", \"login.failure\"), succeeded: Eq(\"activity\", \"login.success\"))",
    ),
    ("Beacon", "Beacon(false_alerts: \"1/week\")"),
    ("Growth", "Growth(field: \"source.bytes\", false_alerts: \"1/week\")"),
    ("Overdue", "Overdue(false_alerts: \"1/week\")"),
    ("Risk", "Risk(half_life: \"1d\", false_alerts: \"1/week\")"),
    ("Travel", "Travel()"),
    ("Fold", "Fold(\"user.name\")"),
    ("Exact", "Exact(\"user.name\")"),
    ("Prefix", "Prefix(\"source.ip\", 48)"),
    ("Rule", "Rule(id: \"…\", title: \"…\", severity: High, when: …, detect: …)"),
];

/// Words of other rule languages, and ours for them.
const OTHER_WORDS: [(&str, &str); 30] = [
    ("Equals", "Eq"),
    ("Equal", "Eq"),
    ("Is", "Eq"),
    ("Ne", "Not"),
    ("NotEq", "Not"),
    ("In", "OneOf"),
    ("AnyOf", "OneOf"),
    ("And", "All"),
    ("AllOf", "All"),
    ("Or", "Any"),
    ("Regex", "Matches"),
    ("Regexp", "Matches"),
    ("Re", "Matches"),
    ("Like", "Glob"),
    ("Wildcard", "Glob"),
    ("Has", "Exists"),
    ("Present", "Exists"),
    ("Ip", "Cidr"),
    ("Network", "Cidr"),
    ("Includes", "Contains"),
    ("Prefix", "StartsWith"),
    ("Suffix", "EndsWith"),
    ("IgnoreCase", "NoCase"),
    ("Threshold", "Count"),
    ("Frequency", "Count"),
    ("Cardinality", "Distinct"),
    ("Unique", "Distinct"),
    ("Every", "Each"),
    ("Single", "Each"),
    ("ImpossibleTravel", "Travel"),
];

/// What a mistake is called and which part of the file to look past to find the next one.
pub struct Explained {
    pub problem: Problem,
    pub at: usize,
    /// The missing field's name, if that is the mistake.
    pub missing: Option<&'static str>,
}

/// Tells `error`, which RON raised with its cursor at `offset`, as a problem of `root` (a value of `source`).
pub fn explain(source: &Source, root: &Node, error: &Error, offset: usize) -> Explained {
    let view = View { source, text: &source.text, root };
    let mut missing = None;
    let (at, problem) = match error {
        Error::NoSuchEnumVariant { expected, found, outer } => {
            view.unknown_name(found, offset, outer.as_deref(), &list(expected))
        }
        Error::NoSuchStructField { expected, found, .. } => view.unknown_field(found, offset, &list(expected)),
        Error::MissingStructField { field, .. } => {
            missing = Some(*field);
            view.missing_field(field, offset)
        }
        Error::ExpectedDifferentLength { found, .. } => view.wrong_length(*found, offset),
        Error::InvalidValueForType { expected, .. } => view.wrong_type(view.before(offset), expected),
        Error::IntegerOutOfBounds => {
            let node = view.before(offset);
            let negative = source.text[node.span.clone()].starts_with('-');
            let expected =
                if negative { "a whole number that is not negative" } else { "a number that is not so large" };
            view.wrong_type(node, expected)
        }
        Error::InvalidIntegerDigit { .. } | Error::UnderscoreAtBeginning | Error::ExpectedInteger => {
            view.wrong_type(view.after(offset), "a whole number that is not negative")
        }
        Error::ExpectedFloat | Error::FloatUnderscore => view.wrong_type(view.after(offset), "a number"),
        Error::ExpectedString => view.wrong_type(view.after(offset), "a text in quotes"),
        Error::ExpectedBoolean => view.wrong_type(view.after(offset), "true or false"),
        Error::ExpectedArray => view.wrong_type(view.after(offset), "a list in [ ]"),
        Error::ExpectedMap => view.wrong_type(view.after(offset), "a map in { }"),
        Error::ExpectedIdentifier => {
            let node = view.after(offset);
            let matcher = "a matcher such as `Eq(\"activity\", \"login.failure\")`".to_string();
            let expected = match (view.key_of(node), view.holder(node)) {
                (Some("severity"), _) => "one of Info, Low, Medium, High, Critical".into(),
                (Some("detect"), _) => "a kind such as `Each` or `Count(at_least: 5, within: \"10m\")`".into(),
                (Some("when" | "recognise"), _) | (_, Some("All" | "Any" | "Not" | "NoCase")) => matcher,
                (_, Some(holder)) => written(holder).map_or("a name".into(), |it| format!("`{it}`")),
                _ => "a name".into(),
            };
            view.wrong_type(node, &expected)
        }
        Error::ExpectedComma => view.cut_short(offset),
        Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_) | Error::ExpectedUnit => {
            view.bracket_missing(offset)
        }
        Error::ExpectedDifferentStructName { expected, .. } => {
            // A step of a sequence has a name for us, and none for whoever writes it.
            let expected = if *expected == "Step" { "(when: …)".into() } else { format!("{expected}(…)") };
            view.wrong_type(view.before(offset), &format!("`{expected}`"))
        }
        Error::InvalidEscape(_) | Error::ExpectedStringEnd => {
            let node = view.after(offset);
            let problem = Problem::at(source, node.span.clone(), "a backslash that means nothing in a text")
                .hint("in r\"…\" and r#\"…\"# backslashes stand for themselves; otherwise write two");
            (node.span.start, problem)
        }
        Error::ExceededRecursionLimit => {
            let node = view.before(offset);
            (node.span.start, Problem::at(source, node.head(), "too deep: too many values inside one another"))
        }
        Error::Message(message) => view.message(message, offset),
        other => {
            let node = view.before(offset);
            (node.span.start, Problem::at(source, node.head(), other.to_string()))
        }
    };
    Explained { problem, at, missing }
}

struct View<'a> {
    source: &'a Source,
    text: &'a str,
    root: &'a Node,
}

impl<'a> View<'a> {
    /// The last literal, name or bracket that begins before the cursor.
    fn before(&self, offset: usize) -> &'a Node {
        let mut found = self.root;
        self.root.walk(&mut |node| {
            if node.span.start < offset && node.span.start >= found.span.start {
                found = node;
            }
        });
        found
    }

    /// The value at the cursor, or the next one.
    fn after(&self, offset: usize) -> &'a Node {
        let mut found: Option<&Node> = None;
        self.root.walk(&mut |node| {
            let fits = node.span.start >= offset || (is_leaf(node) && node.span.end > offset);
            if fits && found.is_none() {
                found = Some(node);
            }
        });
        found.unwrap_or_else(|| self.before(offset))
    }

    /// The innermost bracket around the cursor.
    fn around(&self, offset: usize) -> &'a Node {
        let mut found = self.root;
        self.root.walk(&mut |node| {
            if !is_leaf(node) && node.span.start < offset && offset < node.span.end {
                found = node;
            }
        });
        found
    }

    /// The key under which a node stands.
    fn key_of(&self, node: &Node) -> Option<&'a str> {
        let mut found = None;
        self.root.walk(&mut |outer| {
            for item in outer.items() {
                if item.value.span == node.span {
                    found = item.key.clone();
                }
            }
        });
        found.map(|at| &self.text[at])
    }

    /// The name of the bracket in which a node stands, in a list or not.
    fn holder(&self, node: &Node) -> Option<&'a str> {
        let mut found = None;
        self.root.walk(&mut |outer| {
            if let Some(name) = outer.name(self.text)
                && !is_leaf(outer)
                && outer.span.start < node.span.start
                && node.span.end < outer.span.end
            {
                found = Some(name);
            }
        });
        found
    }

    fn problem(&self, span: Range<usize>, what: impl Into<String>) -> Problem {
        Problem::at(self.source, span, what)
    }

    fn unknown_name(&self, found: &str, offset: usize, outer: Option<&str>, expected: &[&str]) -> (usize, Problem) {
        let mut span = None;
        self.root.walk(&mut |node| {
            if let Some(name) = &node.name
                && name.start < offset
                && &self.text[name.clone()] == found
            {
                span = Some(name.clone());
            }
        });
        let span = span.unwrap_or_else(|| self.before(offset).head());
        let what = match outer {
            Some("Detect") => format!("no kind of detection is called `{found}`"),
            Some("Expr") => format!("no matcher is called `{found}`"),
            Some("Severity") => format!("no severity is called `{found}`"),
            Some("Take") => format!("no way to take a value is called `{found}`"),
            _ => format!("`{found}` is unknown here"),
        };
        let severities = Severity::ALL.map(|it| capital(it.name()));
        let expected: Vec<&str> = match outer {
            Some("Severity") => severities.iter().map(String::as_str).collect(),
            _ => expected.to_vec(),
        };
        let mut problem = self.problem(span.clone(), what).expected(one_of(&expected));
        let other = OTHER_WORDS.iter().find(|(word, ours)| word.eq_ignore_ascii_case(found) && expected.contains(ours));
        if let Some(name) = other.map(|(_, ours)| *ours).or_else(|| nearest(found, expected.iter().copied())) {
            let written = WRITTEN.iter().find(|(it, _)| *it == name).filter(|(name, text)| name != text);
            let written = written.map_or(String::new(), |(_, text)| format!(" For example: {text}"));
            problem = problem.hint(format!("did you mean `{name}`?{written}"));
        }
        (span.start, problem)
    }

    fn unknown_field(&self, found: &str, offset: usize, expected: &[&str]) -> (usize, Problem) {
        let (mut span, mut outer) = (None, None);
        self.root.walk(&mut |node| {
            for item in node.items() {
                if let Some(key) = &item.key
                    && key.start < offset
                    && span.as_ref().is_none_or(|it: &Range<usize>| key.start > it.start)
                    && &self.text[key.clone()] == found
                {
                    span = Some(key.clone());
                    outer = self.title(node);
                }
            }
        });
        let span = span.unwrap_or_else(|| self.before(offset).head());
        let of = outer.map_or("this".to_string(), |it| format!("`{it}`"));
        let mut problem =
            self.problem(span.clone(), format!("`{found}` is no field of {of}")).expected(one_of(expected));
        if let Some(name) = nearest(found, expected.iter().copied()) {
            problem = problem.hint(format!("did you mean `{name}`?"));
        }
        (span.start, problem)
    }

    /// `Count`, or what an unnamed bracket is by the key it stands under.
    fn title(&self, node: &Node) -> Option<&'a str> {
        if let Some(name) = &node.name {
            return Some(&self.text[name.clone()]);
        }
        let mut found = None;
        self.root.walk(&mut |outer| {
            for item in outer.items() {
                let inside = item.value.items().iter().any(|it| it.value.span == node.span);
                if (inside || item.value.span == node.span)
                    && let Some(key) = &item.key
                {
                    found = Some(&self.text[key.clone()]);
                }
            }
        });
        found.map(|it| match it {
            "steps" => "step",
            "cases" => "case",
            "examples" => "example",
            it => it,
        })
    }

    fn missing_field(&self, field: &str, offset: usize) -> (usize, Problem) {
        let node = self.around(offset);
        let of = self.title(node).map_or("this".to_string(), |it| format!("`{it}`"));
        let mut problem =
            self.problem(node.head(), format!("{of} lacks `{field}`")).expected(format!("`{field}: …` in it"));
        if let Some((_, text)) = FIELDS.iter().find(|(it, _)| *it == field) {
            problem = problem.hint(format!("for example {text}"));
        }
        (node.span.start, problem)
    }

    fn wrong_length(&self, found: usize, offset: usize) -> (usize, Problem) {
        let mut node = self.around(offset);
        if node.items().is_empty() || matches!(node.body, Body::List(_) | Body::Map(_)) {
            node = self.before(offset);
        }
        let name = self.title(node).unwrap_or("this");
        let values = match found {
            0 => "no value".to_string(),
            1 => "one value".to_string(),
            it => format!("{it} values"),
        };
        let mut problem = self.problem(node.head(), format!("`{name}` does not take {values}"));
        if let Some((_, text)) = WRITTEN.iter().find(|(it, _)| *it == name) {
            problem = problem.expected(format!("`{text}`"));
        }
        (node.span.start, problem)
    }

    /// RON has read a value and finds more of it. Commas are all there, or we would not have come so far.
    fn cut_short(&self, offset: usize) -> (usize, Problem) {
        let node = self.before(offset);
        match node.name(self.text) {
            Some(name) if !is_leaf(node) => {
                let problem = self.problem(node.head(), format!("`{name}` stands without brackets"));
                (node.span.start, problem.expected(format!("`{name}`")))
            }
            _ => self.wrong_type(node, "a whole number"),
        }
    }

    fn wrong_type(&self, node: &Node, expected: &str) -> (usize, Problem) {
        let found = self.describe(node);
        let key = self.key_of(node);
        let place = key.map_or(String::new(), |it| format!("`{it}`: "));
        let problem = self.problem(node.head(), format!("{place}{found} does not fit here")).expected(expected);
        let literal = &self.text[node.span.clone()];
        let hint = match (key, &node.body) {
            (Some("within" | "quiet" | "after" | "learn"), Body::Number) => {
                Some("write a duration in quotes: \"10m\", \"90s\", \"2h\"".to_string())
            }
            (Some("severity"), Body::Text) => {
                let name = decoded(literal);
                let near = Severity::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(&name));
                Some(format!("write it without quotes: {}", near.map_or("High".into(), |it| capital(it.name()))))
            }
            (Some("by" | "tags" | "stories" | "on" | "formats"), Body::Text) => Some(format!("write [{literal}]")),
            (_, Body::Text) if expected.contains("number") => {
                let bare = decoded(literal);
                bare.parse::<f64>().is_ok().then(|| format!("write it without quotes: {bare}"))
            }
            (_, Body::Word) if matches!(literal, "null" | "None" | "nil") => {
                Some("what is absent or null is said so: Not(Exists(\"user.name\"))".into())
            }
            (_, Body::Word) if expected.contains("text") => Some(format!("write it in quotes: \"{literal}\"")),
            (_, Body::List(_)) => match self.holder(node) {
                Some("Not" | "NoCase") => Some("several conditions stand in All([…]) or Any([…])".into()),
                Some("Eq") => written("OneOf").map(|it| format!("for one of several values write {it}")),
                _ => None,
            },
            (_, Body::Struct(_) | Body::Tuple(_)) if expected == "`(when: …)`" && literal.len() <= 60 => {
                Some(format!("write (when: {literal})"))
            }
            _ => None,
        };
        (
            node.span.start,
            match hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            },
        )
    }

    fn bracket_missing(&self, offset: usize) -> (usize, Problem) {
        let mut node = self.before(offset);
        if node.name.is_none() && !is_leaf(node) && node.span.end > offset {
            node = self.after(offset);
        }
        let name = node.name(self.text).unwrap_or("");
        match WRITTEN.iter().find(|(it, _)| *it == name) {
            Some((_, text)) => {
                let problem = self.problem(node.head(), format!("`{name}` needs its values in brackets"));
                (node.span.start, problem.expected(format!("`{text}`")))
            }
            None => self.wrong_type(node, "`(`"),
        }
    }

    /// What our own readers of durations, networks, patterns and fields said.
    fn message(&self, message: &str, offset: usize) -> (usize, Problem) {
        let node = self.before(offset);
        if let Some(rest) = message.strip_prefix("bad regular expression: ") {
            return self.bad_pattern(node, rest);
        }
        if let Some(rest) = message.strip_prefix("Unexpected variant named `") {
            return self.nested_unknown(rest, offset);
        }
        if let Some(rest) = message.strip_prefix("Expected tuple variant ")
            && let Some(name) = rest.split([':', ' ']).find(|it| written(it).is_some())
        {
            let (mut span, written) = (node.head(), written(name).unwrap_or(name));
            self.root.walk(&mut |it| {
                if it.span.start < offset && it.name(self.text) == Some(name) {
                    span = it.head();
                }
            });
            let problem = self.problem(span.clone(), format!("`{name}` lacks a value"));
            return (span.start, problem.expected(format!("`{written}`")));
        }
        let (what, expected) = message.split_once("; write ").unwrap_or((message, ""));
        let quoted = what.split('`').nth(1).unwrap_or("");
        let span = self.last_text(quoted, offset).unwrap_or_else(|| self.around_or(node, offset));
        let mut problem = self.problem(span.clone(), what);
        if !expected.is_empty() {
            problem = problem.expected(expected);
        }
        if what.contains("no duration")
            && let Some(meant) = duration_meant(quoted)
        {
            problem = problem.hint(format!("did you mean \"{meant}\"?"));
        }
        (span.start, problem)
    }

    /// A message of a value that was read apart speaks of something inside it, so the cursor is behind all of it.
    fn around_or(&self, node: &Node, offset: usize) -> Range<usize> {
        let mut found = node.head();
        self.root.walk(&mut |outer| {
            if outer.span.end == offset && outer.span.len() < self.root.span.len() {
                found = outer.head();
            }
        });
        found
    }

    fn nested_unknown(&self, rest: &str, offset: usize) -> (usize, Problem) {
        let (found, rest) = rest.split_once('`').unwrap_or((rest, ""));
        let outer = rest.strip_prefix(" in enum `").and_then(|it| it.split_once('`')).map(|(it, _)| it);
        let listed = rest.split_once("expected").map_or("", |(_, it)| it);
        let expected: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
        self.unknown_name(found, offset, outer, &expected)
    }

    /// The last text literal that begins before the cursor and says just that.
    fn last_text(&self, value: &str, offset: usize) -> Option<Range<usize>> {
        let mut found = None;
        if value.is_empty() {
            return None;
        }
        self.root.walk(&mut |node| {
            if node.body == Body::Text && node.span.start < offset && decoded(&self.text[node.span.clone()]) == value {
                found = Some(node.span.clone());
            }
        });
        found
    }

    fn bad_pattern(&self, node: &Node, message: &str) -> (usize, Problem) {
        let reason = message.lines().last().unwrap_or(message).trim();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        // regex prints the pattern, indented by four, and carets below it.
        let lines: Vec<&str> = message.lines().collect();
        let pattern = lines.get(1).and_then(|it| it.strip_prefix("    "));
        let carets = lines.get(2).filter(|it| it.trim_start().starts_with('^'));
        let literal = pattern.and_then(|it| self.last_text(it, usize::MAX)).unwrap_or_else(|| node.span.clone());
        let mut span = literal.clone();
        if let (Some(pattern), Some(carets)) = (pattern, carets) {
            let (start, verbatim) = content_start(&self.text[literal.clone()]);
            let column = carets.len() - carets.trim_start().len();
            let byte = |column: usize| pattern.char_indices().nth(column).map_or(pattern.len(), |(at, _)| at);
            if verbatim {
                let from = byte(column.saturating_sub(4));
                let to = byte((column.saturating_sub(4)) + carets.trim().len());
                span = literal.start + start + from..literal.start + start + to;
            }
        }
        let problem = self.problem(span, format!("bad regular expression: {reason}"));
        let problem = if reason.contains("look-around") || reason.contains("backreferences") {
            problem.hint("patterns run in linear time, so they have neither look-around nor back-references; use Not(…) and All([…])")
        } else if reason.contains("size limit") {
            problem.hint("the compiled pattern is too large: make repetitions such as {1000} smaller")
        } else {
            problem.expected("a regular expression")
        };
        (literal.start, problem)
    }

    fn describe(&self, node: &Node) -> String {
        let text = &self.text[node.span.clone()];
        let short: String = text.chars().take(40).take_while(|it| *it != '\n').collect();
        match node.body {
            Body::Word => format!("`{short}`"),
            Body::Number => format!("the number {short}"),
            Body::Char => format!("the character {short}"),
            Body::Text => format!("the text {short}"),
            Body::List(_) => "a list".into(),
            Body::Map(_) => "a map".into(),
            Body::Struct(_) | Body::Tuple(_) => match node.name(self.text) {
                Some(name) => format!("`{name}(…)`"),
                None => "`(…)`".into(),
            },
        }
    }
}

const FIELDS: [(&str, &str); 8] = [
    ("id", "id: \"repeated-login-failures\""),
    ("title", "title: \"{count} failed logins for {user.name} in {span}\""),
    ("severity", "severity: High"),
    ("detect", "detect: Count(at_least: 5, within: \"10m\")"),
    ("at_least", "at_least: 5"),
    ("within", "within: \"10m\""),
    ("field", "field: \"user.name\""),
    (
        "steps",
        "steps: [(when: Eq(\"activity\", \"login.failure\"), at_least: 5), (when: Eq(\"activity\", \"login.success\"))]",
    ),
];

/// How it is written.
fn written(name: &str) -> Option<&'static str> {
    WRITTEN.iter().find(|(it, _)| *it == name).map(|(_, text)| *text)
}

fn is_leaf(node: &Node) -> bool {
    matches!(node.body, Body::Word | Body::Number | Body::Char | Body::Text)
}

fn list(names: &'static [&'static str]) -> Vec<&'static str> {
    names.to_vec()
}

fn capital(word: &str) -> String {
    let mut all = word.chars();
    all.next().map_or(String::new(), |it| it.to_ascii_uppercase().to_string() + all.as_str())
}

fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".into(),
        [one] => format!("`{one}`"),
        _ => format!("one of {}", names.join(", ")),
    }
}

/// `5 mins` is 5m.
fn duration_meant(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let digits = text.find(|it: char| !it.is_ascii_digit() && it != '.')?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "sec" | "secs" | "second" | "seconds" => "s",
        "mins" | "minute" | "minutes" => "m",
        "hr" | "hrs" | "hour" | "hours" => "h",
        "day" | "days" => "d",
        "week" | "weeks" => "w",
        "msec" | "millis" | "millisecond" | "milliseconds" => "ms",
        _ => return None,
    };
    let meant = format!("{number}{unit}");
    crate::model::Span::parse(&meant).map(|_| meant)
}
