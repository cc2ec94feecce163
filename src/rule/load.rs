//! Reading rule and schema files, with every mistake shown.
//!
//! A reader that stops at the first mistake makes people run it ten times. RON stops there, so when it does we note the
//! mistake, blank out the smallest part that holds it (a field, an element of a list), and read again. A file with a
//! mistake gives its other rules all the same: whether they are used is the caller's decision.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::explain::explain;
use super::file::Rule;
use super::problem::{Problem, Source};
use super::tree::{self, Body, Item, Node};
use super::written;
use crate::limits;
use crate::schema::file::Schema;

/// What of the files inside the binary is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Builtin {
    /// Detections and schemas.
    All,
    /// `--no-builtin`: without the detections lines still need a meaning.
    Schemas,
    None,
}

/// The files below `rules/`: name and text, in order of name.
pub const BUILTIN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Sourced<T> {
    pub value: T,
    pub source: Arc<Source>,
    /// The bytes of the source that say it.
    pub span: Range<usize>,
    /// It came with the binary.
    pub builtin: bool,
}

impl<T> Sourced<T> {
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// As written, comments inside it included.
    pub fn text(&self) -> &str {
        &self.source.text[self.span.clone()]
    }

    /// `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.source.name, self.source.text[..self.span.start].matches('\n').count() + 1)
    }

    /// The shape of what was written, with ranges of the whole source.
    pub fn tree(&self) -> Node {
        tree::parse_at(&self.source.text, self.span.start).expect("it was parsed from here when the file was read")
    }
}

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub rules: Vec<Sourced<Rule>>,
    pub schemas: Vec<Sourced<Schema>>,
    pub problems: Vec<Problem>,
    /// Files that were read, for watching them.
    pub files: Vec<PathBuf>,
    /// The same with links resolved: a folder named twice, in the configuration and on the command line, is read once.
    seen: BTreeSet<PathBuf>,
}

/// Reads built-in files, then those of `paths`: files, or folders with everything below them.
pub fn load(paths: &[PathBuf], builtin: Builtin) -> Loaded {
    let mut loaded = Loaded::default();
    for (name, text) in BUILTIN {
        let wanted = match builtin {
            Builtin::All => true,
            Builtin::Schemas => name.starts_with("rules/schemas/"),
            Builtin::None => false,
        };
        if wanted {
            read_text(Source { name: name.to_string(), text: (*text).into() }, Origin::Builtin, &mut loaded);
        }
    }
    for path in paths {
        match fs::metadata(path) {
            Ok(it) if it.is_dir() => read_folder(path, &mut loaded),
            Ok(_) => read_file(path, &mut loaded),
            Err(error) => loaded.problems.push(Problem::of_file(&path.display().to_string(), cannot(&error))),
        }
    }
    if loaded.rules.len() > limits::RULES_MAX {
        let what = format!("{} rules; the most one set may have is {}", loaded.rules.len(), limits::RULES_MAX);
        loaded.problems.push(Problem::of_file(loaded.rules[limits::RULES_MAX].file(), what));
        loaded.rules.truncate(limits::RULES_MAX);
    }
    loaded
}

/// Said with the last problem of a file that has too many.
pub(super) const MORE: &str = "there may be more: only the first mistakes of a file are told";

/// Reads one text as a file of rules and schemas.
pub fn load_text(name: &str, text: &str) -> Loaded {
    let mut loaded = Loaded::default();
    read_text(Source { name: name.to_string(), text: text.into() }, Origin::Given, &mut loaded);
    loaded
}

#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Builtin,
    Given,
}

fn cannot(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or folder".into(),
        _ => format!("cannot be read: {error}"),
    }
}

/// Every `.ron` file below a folder, in order of path. Names that begin with a dot are left out: editors and Kubernetes keep
/// things there that are not meant.
fn read_folder(folder: &Path, loaded: &mut Loaded) {
    let mut files = Vec::new();
    match folder.canonicalize() {
        Ok(root) => collect(folder, &root, 0, &mut files, &mut loaded.problems),
        Err(error) => loaded.problems.push(Problem::of_file(&folder.display().to_string(), cannot(&error))),
    }
    files.sort();
    for file in files {
        read_file(&file, loaded);
    }
}

fn collect(folder: &Path, root: &Path, depth: usize, files: &mut Vec<PathBuf>, problems: &mut Vec<Problem>) {
    const DEPTH_MAX: usize = 32;
    let entries = match fs::read_dir(folder) {
        Ok(it) => it,
        Err(error) => return problems.push(Problem::of_file(&folder.display().to_string(), cannot(&error))),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        let is_ron = path.extension().is_some_and(|it| it == "ron");
        if kind.is_dir() {
            if depth < DEPTH_MAX {
                collect(&path, root, depth + 1, files, problems);
            } else {
                problems.push(Problem::of_file(&path.display().to_string(), "too many folders inside one another"));
            }
        } else if kind.is_symlink() && is_ron {
            // A folder of rules must not become a way to read the rest of the disk.
            match path.canonicalize() {
                Ok(target) if target.starts_with(root) => files.push(path),
                Ok(_) => problems.push(
                    Problem::of_file(
                        &path.display().to_string(),
                        "a link that leads out of its folder is not followed",
                    )
                    .warning(),
                ),
                Err(error) => problems.push(Problem::of_file(&path.display().to_string(), cannot(&error))),
            }
        } else if kind.is_file() && is_ron {
            files.push(path);
        }
    }
}

fn read_file(path: &Path, loaded: &mut Loaded) {
    let name = path.display().to_string();
    if !path.canonicalize().is_ok_and(|it| loaded.seen.insert(it)) && path.is_file() {
        return;
    }
    match read_bytes(path).and_then(|bytes| to_text(&name, bytes)) {
        Ok(text) => {
            loaded.files.push(path.to_path_buf());
            read_text(Source { name, text: text.into() }, Origin::Given, loaded);
        }
        Err(problem) => loaded.problems.push(*problem),
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Box<Problem>> {
    let problem = |what: String| Box::new(Problem::of_file(&path.display().to_string(), what));
    // Asked before it is opened: opening a named pipe waits for ever.
    if !fs::metadata(path).map_err(|it| problem(cannot(&it)))?.is_file() {
        return Err(problem("neither a file nor a folder".into()));
    }
    let file = fs::File::open(path).map_err(|it| problem(cannot(&it)))?;
    let mut bytes = Vec::new();
    file.take(limits::FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|it| problem(cannot(&it)))?;
    if bytes.len() as u64 > limits::FILE_BYTES_MAX {
        return Err(problem(format!("larger than {} MiB", limits::FILE_BYTES_MAX >> 20)));
    }
    Ok(bytes)
}

fn to_text(name: &str, bytes: Vec<u8>) -> Result<String, Box<Problem>> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Box::new(Problem::of_file(name, "the file is UTF-16").hint("save it as UTF-8")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        // What stands before the first bad byte is the same in both.
        let source = Source { name: name.to_string(), text: text.into_owned().into() };
        Box::new(Problem::at(&source, valid..valid, "a byte that is no UTF-8").expected("a text file in UTF-8"))
    })
}

fn read_text(mut source: Source, origin: Origin, loaded: &mut Loaded) {
    if let Some(rest) = source.text.strip_prefix('\u{feff}') {
        source.text = rest.into();
    }
    let source = Arc::new(source);
    let root = match tree::parse(&source.text) {
        Ok(Some(root)) => root,
        Ok(None) => {
            let problem = Problem::at(&source, 0..0, "the file says nothing").expected("`Rule(…)` or `Schema(…)`");
            return loaded.problems.push(problem);
        }
        Err(mistake) => {
            let mut problem = Problem::at(&source, mistake.span, mistake.what);
            problem.expected = mistake.expected;
            problem.hint = mistake.hint;
            return loaded.problems.push(problem);
        }
    };
    let before = loaded.problems.len();
    match &root.body {
        // Stops early: a list of a hundred thousand mistakes must not be told to the end.
        Body::List(items) => items.iter().for_each(|it| {
            let enough = loaded.problems.len() - before >= limits::PROBLEMS_PER_FILE_MAX;
            if !enough && loaded.rules.len() <= limits::RULES_MAX {
                read_value(&source, &it.value, origin, loaded);
            }
        }),
        _ => read_value(&source, &root, origin, loaded),
    }
    loaded.problems.truncate(before + limits::PROBLEMS_PER_FILE_MAX);
    if loaded.problems.len() - before == limits::PROBLEMS_PER_FILE_MAX
        && let Some(last) = loaded.problems.last_mut()
    {
        last.note = Some(MORE.to_string());
    }
    loaded.problems[before..].sort_by_key(|it| (it.line, it.column));
}

fn read_value(source: &Arc<Source>, node: &Node, origin: Origin, loaded: &mut Loaded) {
    let sourced = |span: &Range<usize>| (source.clone(), span.clone(), origin == Origin::Builtin);
    match (node.name(&source.text), &node.body) {
        (Some("Rule"), Body::Struct(_) | Body::Tuple(_)) => match read::<Rule>(source, node, origin) {
            Ok(mut value) => {
                value.about = joined(&value.about);
                let (source, span, builtin) = sourced(&node.span);
                loaded.rules.push(Sourced { value, source, span, builtin });
            }
            Err(problems) => loaded.problems.extend(problems),
        },
        (Some("Schema"), Body::Struct(_) | Body::Tuple(_)) => match read::<Schema>(source, node, origin) {
            Ok(value) => {
                let (source, span, builtin) = sourced(&node.span);
                loaded.schemas.push(Sourced { value, source, span, builtin });
            }
            Err(problems) => loaded.problems.extend(problems),
        },
        (name, _) => {
            let what = match name {
                Some(name) => format!("`{name}` is neither a rule nor a schema"),
                None => "this is neither a rule nor a schema".to_string(),
            };
            let mut problem = Problem::at(source, node.head(), what).expected("`Rule(…)` or `Schema(…)`");
            if let Some(near) = name.and_then(|it| crate::model::text::nearest(it, ["Rule", "Schema"])) {
                problem = problem.hint(format!("did you mean `{near}`?"));
            }
            loaded.problems.push(problem);
        }
    }
}

/// A text that its author broke into lines to fit the file, on one line; an empty line still parts paragraphs.
fn joined(text: &str) -> String {
    let mut out = String::new();
    let mut paragraph = false;
    for line in text.trim().lines().map(str::trim) {
        if line.is_empty() {
            paragraph = true;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if paragraph { "\n\n" } else { " " });
        }
        paragraph = false;
        out.push_str(line);
    }
    out
}

/// Reads one value of a file, or tells everything that is wrong with it.
fn read<T: DeserializeOwned>(source: &Source, node: &Node, origin: Origin) -> Result<T, Vec<Problem>> {
    const TRIES_MAX: usize = 20;
    if let Some(value) = written::read(&source.text, node) {
        return Ok(value);
    }
    let options = options();
    let start = node.span.start;
    let mut text = source.text[node.span.clone()].to_string();
    let mut blanked: Vec<Range<usize>> = Vec::new();
    let mut problems = Vec::new();
    let repeated = match origin {
        // A test has looked.
        Origin::Builtin => Vec::new(),
        Origin::Given => repeated_keys(source, node),
    };
    for repeated in repeated {
        blank(&mut text, start, &repeated.span, repeated.end);
        blanked.push(repeated.span.clone());
        problems.push(repeated.problem);
    }
    for _ in 0..TRIES_MAX {
        let error = match options.from_str::<T>(&text) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => return Err(problems),
            Err(error) => error,
        };
        let offset = start + byte_of(&text, error.span.end);
        let explained = explain(source, node, &error.code, offset);
        let ours = |field: &str| {
            let inside = bracket_at(node, explained.at);
            let item = inside.and_then(|it| it.item(&source.text, field));
            item.is_some_and(|it| blanked.iter().any(|span| span.start <= it.span.start && it.span.end <= span.end))
        };
        if !explained.missing.is_some_and(ours) {
            problems.push(explained.problem);
        }
        let Some(item) = smallest_part(node, explained.at, &blanked) else { break };
        blank(&mut text, start, &item.span, item.end);
        blanked.push(item.span.clone());
    }
    Err(problems)
}

/// `split: "events"` should not have to be written `split: Some("events")`.
pub(super) fn options() -> ron::Options {
    ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
}

struct Repeated {
    span: Range<usize>,
    end: usize,
    problem: Problem,
}

/// Keys that stand twice in one struct or map: which of them counts nobody could tell.
fn repeated_keys(source: &Source, node: &Node) -> Vec<Repeated> {
    const TOLD_MAX: usize = 10;
    let mut found: Vec<Repeated> = Vec::new();
    node.walk(&mut |outer| {
        let mut seen: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
        for item in outer.items() {
            let Some(key) = item.key.clone() else { continue };
            let written = &source.text[key.clone()];
            let name = if written.contains('"') { tree::decoded(written) } else { written.to_string() };
            if let Some(first) = seen.get(&name) {
                if found.len() >= TOLD_MAX {
                    continue;
                }
                let line = source.text[..*first].matches('\n').count() + 1;
                let problem = Problem::at(source, key, format!("`{name}` is given twice"))
                    .note(format!("the first stands in {}:{line}", source.name))
                    .hint("leave one of them out");
                found.push(Repeated { span: item.span.clone(), end: item.end, problem });
            } else {
                seen.insert(name, key.start);
            }
        }
    });
    found
}

/// Spaces instead of a part and the comma behind it; everything else stays where it is.
fn blank(text: &mut String, start: usize, span: &Range<usize>, end: usize) {
    let spaces = |it: &str| it.bytes().map(|it| if it == b'\n' { '\n' } else { ' ' }).collect::<String>();
    let (from, to) = (span.start - start, span.end.max(end) - start);
    // A comment between the part and its comma goes with them.
    let replacement = spaces(&text[from..to]);
    text.replace_range(from..to, &replacement);
}

/// The smallest part around a place that can be left out: a field, an entry of a map, an element of a list.
fn smallest_part<'a>(node: &'a Node, at: usize, blanked: &[Range<usize>]) -> Option<&'a Item> {
    let mut best = None;
    let mut inside = Some(node);
    while let Some(outer) = inside {
        let next = outer.items().iter().find(|it| it.span.start <= at && at < it.span.end);
        if let Some(item) = next
            && !matches!(outer.body, Body::Tuple(_))
            && !blanked.contains(&item.span)
        {
            best = Some(item);
        }
        inside = next.map(|it| &it.value);
    }
    best
}

/// The bracket that begins at a place.
fn bracket_at(node: &Node, at: usize) -> Option<&Node> {
    let mut found = None;
    node.walk(&mut |it| {
        if it.span.start == at && !it.items().is_empty() {
            found = Some(it);
        }
    });
    found
}

/// RON counts lines and characters; we count bytes.
fn byte_of(text: &str, place: ron::error::Position) -> usize {
    let mut at = 0;
    for _ in 1..place.line {
        at += text[at..].find('\n').map_or(text.len() - at, |it| it + 1);
    }
    text[at..].char_indices().nth(place.col.saturating_sub(1)).map_or(text.len(), |(it, _)| at + it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::check::{Names, check_rules};
    use crate::rule::story::Story;

    const GOOD: &str = r##"Rule(
    id: "a-rule",
    title: "{count} failed logins for {user.name} in {span}",
    severity: High,
    tags: ["brute-force"],
    when: All([Eq("activity", "login.failure"), Matches("user.name", r"^[a-z]+$")]),
    by: ["user.name", Exact("source.ip")],
    detect: Count(at_least: 5, within: "10m"),
    stories: [r#"
2025-04-12 08:00:00 | 192.0.2.1 | ann@example.com | Brazil | Login failure
  ! a-rule ann@example.com, 192.0.2.1 high
"#],
)
"##;

    /// Every problem of a text, reading and checking, as `line:column level what | expected | hint`.
    fn problems(text: &str) -> Vec<String> {
        let mut loaded = load_text("a.ron", text);
        let mut names = Names::of(loaded.schemas.iter().map(|it| &it.value));
        names.lists = Some(["offices".to_string()].into());
        names.fields.extend(["user.target.name", "source.port"].map(String::from));
        loaded.problems.extend(check_rules(&loaded.rules, &names));
        let tell = |it: &Problem| {
            let shown = it.show(false);
            assert!(shown.contains(&it.place()), "{shown}");
            let part = |it: &Option<String>| it.as_deref().map_or(String::new(), |it| format!(" | {it}"));
            format!("{}:{} {}{}{}{}", it.line, it.column, it.what, part(&it.expected), part(&it.hint), part(&it.note))
        };
        loaded.problems.iter().map(tell).collect()
    }

    /// Changes the good rule, and expects just these problems: each begins with the first part and holds the others.
    fn check(from: &str, to: &str, expected: &[&[&str]]) {
        assert!(GOOD.contains(from), "{from}");
        check_text(&GOOD.replacen(from, to, 1), expected);
    }

    fn check_text(text: &str, expected: &[&[&str]]) {
        let found = problems(text);
        let all = found.join("\n");
        assert_eq!(found.len(), expected.len(), "{text}\n--- gave\n{all}");
        for (problem, parts) in found.iter().zip(expected) {
            assert!(problem.starts_with(parts[0]), "{text}\n--- expected {parts:?}\n--- gave\n{all}");
            for part in *parts {
                assert!(problem.contains(part), "{text}\n--- expected {part}\n--- gave\n{all}");
            }
        }
    }

    #[test]
    fn a_good_rule_has_no_problem() {
        check_text(GOOD, &[]);
        check_text(
            &format!("\u{feff}// a comment\n/* and /* another */ */\n[{}, {}]", GOOD, GOOD.replace("a-rule", "b-rule")),
            &[],
        );
    }

    #[test]
    fn unknown_names() {
        check(
            "Count(",
            "Cuont(",
            &[&["8:13 no kind of detection is called `Cuont`", "one of Each, Count", "did you mean `Count`"]],
        );
        check("Matches(", "Regex(", &[&["6:49 no matcher is called `Regex`", "did you mean `Matches`?"]]);
        check("Eq(", "equals(", &[&["6:16 no matcher is called `equals`", "did you mean `Eq`?"]]);
        check(
            "severity: High",
            "severity: Hihg",
            &[&["4:15 no severity is called `Hihg`", "Info, Low, Medium, High, Critical", "`High`"]],
        );
        check(
            "severity:",
            "sevrity:",
            &[&["1:1 `Rule` lacks `severity`"], &["4:5 `sevrity` is no field of `Rule`", "did you mean `severity`?"]],
        );
        check(
            "at_least: 5",
            "at_last: 5",
            &[&["8:13 `Count` lacks `at_least`"], &["8:19 `at_last` is no field of `Count`", "`at_least`"]],
        );
        check("Exact(", "Exactly(", &[&["7:23 `Exactly` is unknown here", "did you mean `Exact`?"]]);
        check_text("Rlue(id: \"a\")", &[&["1:1 `Rlue` is neither a rule nor a schema", "did you mean `Rule`?"]]);
        check_text("(id: \"a\")", &[&["1:1 this is neither a rule nor a schema"]]);
    }

    #[test]
    fn wrong_types() {
        check(
            "at_least: 5",
            "at_least: \"5\"",
            &[&["8:29 `at_least`: the text \"5\" does not fit", "whole number", "without quotes: 5"]],
        );
        check("at_least: 5", "at_least: -1", &[&["8:29 `at_least`: the number -1", "not negative"]]);
        check(
            "at_least: 5",
            "at_least: 99999999999999999999",
            &[&["8:29 `at_least`: the number 99999999999999999999"]],
        );
        check("within: \"10m\"", "within: 10", &[&["8:40 `within`: the number 10", "in quotes", "duration"]]);
        check(
            "within: \"10m\"",
            "within: \"5 mins\"",
            &[&["8:40 `5 mins` is no duration", "90s, 10m", "did you mean \"5m\"?"]],
        );
        check(
            "severity: High",
            "severity: \"high\"",
            &[&["4:15 `severity`: the text \"high\"", "write it without quotes: High"]],
        );
        check("id: \"a-rule\"", "id: a_rule", &[&["2:9 `id`: `a_rule` does not fit", "in quotes"]]);
        check(
            "[\"brute-force\"]",
            "\"brute-force\"",
            &[&["5:11 `tags`: the text", "a list", "write [\"brute-force\"]"]],
        );
        check(
            "Eq(\"activity\", \"login.failure\")",
            "Eq(\"activity\")",
            &[&["6:16 `Eq` does not take one value", "Eq(\"activity\", \"login.failure\")"]],
        );
        check(
            "Eq(\"activity\", \"login.failure\")",
            "Eq(\"activity\", login)",
            &[&["6:31 `login` does not fit", "text in quotes"]],
        );
        check("Count(at_least: 5, within: \"10m\")", "Count", &[&["8:13 `Count` needs its values"]]);
        check("Count(at_least: 5, within: \"10m\")", "Count(5, \"10m\")", &[&["8:13 "]]);
    }

    #[test]
    fn what_is_missing() {
        check("    id: \"a-rule\",\n", "", &[&["1:1 `Rule` lacks `id`"]]);
        check("within: \"10m\"", "", &[&["8:13 `Count` lacks `within`", "within: \"10m\""]]);
        check("    detect: Count(at_least: 5, within: \"10m\"),\n", "", &[&["1:1 `Rule` lacks `detect`"]]);
        check(
            "Count(at_least: 5, within: \"10m\")",
            "Sequence(steps: [(at_least: 2), (when: Exists(\"user.name\"))], within: \"1m\")",
            &[&["8:30 `step` lacks `when`"]],
        );
    }

    #[test]
    fn what_other_languages_would_let_one_write() {
        check("Count(at_least: 5, within: \"10m\")", "Each()", &[&["8:13 `Each` stands without brackets", "`Each`"]]);
        check("at_least: 5", "at_least: 2.5", &[&["8:29 `at_least`: the number 2.5", "a whole number"]]);
        check("Count(at_least: 5, within: \"10m\")", "Silence(\"15m\")", &[&["8:21 ", "`Silence(after: \"15m\")`"]]);
        check(
            "\"user.name\", Exact",
            "user.name, Exact",
            &[&["7:10 `user.name` does not", "in quotes: \"user.name\""]],
        );
        check(
            "Exact(\"source.ip\")",
            "Prefix(\"source.ip\")",
            &[&["7:23 `Prefix` lacks", "Prefix(\"source.ip\", 48)"]],
        );
        let eq = "Eq(\"activity\", \"login.failure\")";
        check(eq, "Eq(\"activity\", null)", &[&["6:31 `null` does not fit", "Not(Exists(\"user.name\"))"]]);
        check(eq, "Eq(\"activity\", [\"logout\"])", &[&["6:31 a list does not fit", "OneOf(\"activity\", ["]]);
        check(
            eq,
            "Not([Exists(\"user.name\")])",
            &[&["6:20 a list does not fit", "a matcher such", "All([…]) or Any([…])"]],
        );
        check(
            "Count(at_least: 5, within: \"10m\")",
            &format!("Sequence(steps: [{eq}], within: \"1m\")"),
            &[&["8:30 `Eq(…)` does not fit", "`(when: …)`", &format!("write (when: {eq})")]],
        );
    }

    #[test]
    fn several_mistakes_are_told_at_once() {
        check(
            "severity: High,\n    tags: [\"brute-force\"],",
            "severity: Hgih,\n    tgas: [\"brute-force\"],\n    quiet: \"1 minute\",",
            &[&["4:15 "], &["5:5 "], &["6:12 "]],
        );
        check(
            "Eq(\"activity\", \"login.failure\"), Matches(",
            "Equal(\"a\", \"b\"), Mathces(",
            &[&["6:16 "], &["6:33 "]],
        );
        let two = format!(
            "[{}, {}]",
            GOOD.replace("High", "Hgih"),
            GOOD.replace("a-rule", "b-rule").replace("Count", "Cuont")
        );
        check_text(&two, &[&["4:15 "], &["21:13 "]]);
    }

    #[test]
    fn patterns_and_networks() {
        check("^[a-z]+$", "^([a-z]+$", &[&["6:73 bad regular expression: unclosed group"]]);
        check("^[a-z]+$", "(?=x)", &[&["6:72 bad regular expression: look-around", "linear time"]]);
        check("^[a-z]+$", "(a{1000}){1000}", &[&["6:70 bad regular expression", "too large"]]);
        check(
            "Matches(\"user.name\", r\"^[a-z]+$\")",
            "Cidr(\"source.ip\", [\"10.0.0.0/8\", \"10.0.0.0/33\"])",
            &[&["6:82 `10.0.0.0/33` is no network", "10.0.0.0/8"]],
        );
        check("r\"^[a-z]+$\"", "\"\\d+\"", &[&["6:70 a backslash", "stand for themselves"]]);
    }

    #[test]
    fn brackets_and_commas() {
        check("within: \"10m\")", "within: \"10m\"", &[&["1:5 this `(` is never closed"]]);
        check("severity: High,", "severity: High", &[&["4:19 a comma is missing", "before `tags`"]]);
        check("\"brute-force\"]", "\"brute-force\")", &[&["5:25 `)` does not fit", "`]`", "opened in line 5"]]);
        check("\n)\n", "\n", &[&["1:5 this `(` is never closed"]]);
        check("\"a-rule\"", "\"a-rule", &[&[""]]);
        check("severity: High", "severity = High", &[&["4:14 `=` does not fit", "`:`"]]);
        check("\"#],", "\"],", &[&["9:15 this text is never closed"]]);
        check_text(&format!("{GOOD}{GOOD}"), &[&["14:1 more text after the end", "[Rule(…), Rule(…)]"]]);
        check_text("/* x", &[&["1:1 this comment is never closed"]]);
        check_text("Rule(id: 'abc')", &[&["1:10 texts stand in double quotes"]]);
        check_text("Rule(\"id\": \"x\")", &[&["1:6 names of fields stand without quotes"]]);
    }

    #[test]
    fn given_twice() {
        check("severity: High,", "severity: High, id: \"b\",", &[&["4:21 `id` is given twice", "a.ron:2"]]);
        check("at_least: 5", "at_least: 5, at_least: 6", &[&["8:32 `at_least` is given twice"]]);
        check_text(&format!("[{GOOD}, {GOOD}]"), &[&["15:9 the rule id `a-rule` is taken", "a.ron:1"]]);
        check("\"user.name\", Exact", "\"source.ip\", Exact", &[&["7:10 `source.ip` is given twice"]]);
    }

    #[test]
    fn limits_and_meanings() {
        check(
            "\"a-rule\"",
            "\"A Rule\"",
            &[&["2:9 `A Rule` is no rule id", "\"a-rule\""], &["11:5 the story tells of a rule `a-rule`"]],
        );
        check("at_least: 5", "at_least: 0", &[&["8:29 `at_least: 0`", "1 to 10000"]]);
        check("at_least: 5", "at_least: 10001", &[&["8:29 `at_least: 10001`"]]);
        check("within: \"10m\"", "within: \"0s\"", &[&["8:40 a window of no length"]]);
        check("{span}", "{span", &[&["3:54 this placeholder is never closed"]]);
        check("{span}", "{spna}", &[&["3:54 `{spna}` cannot be filled", "`{span}`"]]);
        check("{span}", "{distinct}", &[&["3:54 `{distinct}` cannot be filled", "Distinct"]]);
        check("{user.name}", "{user.nmae}", &[&["3:39 nothing fills `{user.nmae}`", "{user.name}"]]);
        check(
            "\"user.name\", Exact",
            "\"user.nmae\", Exact",
            &[&["7:10 nothing fills the field `user.nmae`", "`user.name`"]],
        );
        check(
            "\"login.failure\"",
            "\"login.failed\"",
            &[&["6:31 no event has activity `login.failed`", "`login.failure`"]],
        );
        check(
            "Matches(\"user.name\", r\"^[a-z]+$\")",
            "InList(\"source.ip\", \"ofices\")",
            &[&["6:69 there is no list `ofices`", "`offices`"]],
        );
        let sequence = |steps: &str| format!("Sequence(steps: [{steps}], within: \"1m\")");
        let count = "Count(at_least: 5, within: \"10m\")";
        check(count, &sequence(""), &[&["8:29 a sequence without steps"]]);
        let step = "(when: Exists(\"user.name\"))";
        let absent = "(when: Exists(\"user.name\"), absent: true)";
        check(count, &sequence(&format!("{absent}, {step}")), &[&["8:66 the first step cannot be absent"]]);
        check(count, &sequence(&format!("{step}, {absent}")), &[&["8:95 the last step cannot be absent"]]);
        check(count, &sequence(&format!("{step}, {absent}, {step}")), &[]);
        check(count, &sequence(&vec![step; 17].join(", ")), &[&["8:", "17 steps", "at most 16"]]);
        check(
            count,
            "Distinct(field: \"user.name\", at_least: 3, within: \"1m\")",
            &[&["8:29 `user.name` is in `by`"]],
        );
        check("high\n", "hihg\n", &[&["11:3 this margin cannot be read"]]);
        check("! a-rule", "! a-rul", &[&["11:5 the story tells of a rule `a-rul`", "`a-rule`"]]);
    }

    #[test]
    fn hostile_files_are_told_quickly() {
        let started = std::time::Instant::now();
        let deep = "[".repeat(100_000);
        check_text(&deep, &[&["1:65 more than 64 brackets"]]);
        check_text(&format!("Rule(when: {}", "Not(".repeat(100_000)), &[&["1:"]]);
        check_text("", &[&["1:1 the file says nothing"]]);
        check_text("// only this", &[&["1:1 the file says nothing"]]);
        check_text("\0\0\0", &[&["1:1 a control character (U+0000)"]]);
        check_text("Rule(", &[&["1:5 this `(` is never closed"]]);
        check_text("Rule(id:", &[&["1:5 this `(` is never closed"]]);
        check_text(&"a".repeat(1 << 20), &[&["1:1 `aaaa"]]);
        let many = format!("[{}]", "Rule(x: 1, y: 2), ".repeat(100_000));
        assert_eq!(problems(&many).len(), limits::PROBLEMS_PER_FILE_MAX);
        let wide = format!("Rule(when: All([{}]))", "Equl(\"a\", \"b\"),".repeat(100_000));
        assert!(problems(&wide).len() <= limits::PROBLEMS_PER_FILE_MAX);
        for cut in 0..GOOD.len() {
            assert!(!problems(&GOOD[..cut]).is_empty() || cut > GOOD.len() - 2, "{cut}");
        }
        assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    }

    #[test]
    fn folders_are_read_in_order_once_and_no_further() {
        let root = std::env::temp_dir().join(format!("tripline-load-{}", std::process::id()));
        let inside = root.join("rules/b");
        fs::create_dir_all(&inside).unwrap();
        let write = |path: &Path, id: &str| fs::write(path, GOOD.replace("a-rule", id)).unwrap();
        write(&inside.join("z.ron"), "z");
        write(&root.join("rules/c.ron"), "c");
        write(&root.join("rules/.hidden.ron"), "hidden");
        write(&root.join("rules/notes.txt"), "notes");
        write(&root.join("outside.ron"), "outside");
        fs::write(inside.join("a.ron"), b"Rule(\xff)").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(root.join("outside.ron"), root.join("rules/link.ron")).unwrap();
            std::os::unix::fs::symlink(&root, root.join("rules/loop")).unwrap();
        }
        let loaded = load(&[root.join("rules"), root.join("rules/c.ron"), root.join("none.ron")], Builtin::None);
        fs::remove_dir_all(&root).unwrap();
        let ids: Vec<&str> = loaded.rules.iter().map(|it| it.value.id.as_str()).collect();
        assert_eq!(ids, ["z", "c"]);
        let told: Vec<String> = loaded.problems.iter().map(|it| format!("{} {}", it.place(), it.what)).collect();
        let expected = ["link.ron a link that leads out", "a.ron:1:6 a byte that is no UTF-8", "none.ron no such file"];
        let skip = usize::from(!cfg!(unix));
        assert_eq!(told.len(), expected.len() - skip, "{told:?}");
        for (told, expected) in told.iter().zip(&expected[skip..]) {
            assert!(told.contains(expected), "{told}");
        }
    }

    /// The tags of the command-line reference that this version has rules for.
    const TAGS: [&str; 36] = [
        "admin-assigned",
        "role-changed",
        "login-success",
        "login-failed",
        "session-theft",
        "brute-force",
        "password-spray",
        "brute-force-success",
        "credential-stuffing",
        "impossible-travel",
        "login-without-mfa",
        "suspicious-login",
        "account-locked",
        "mfa-disabled",
        "mfa-reset",
        "mfa-bypass",
        "mfa-fatigue",
        "mfa-changed",
        "api-key-created",
        "api-key-deleted",
        "secret-read",
        "user-created",
        "user-deleted",
        "user-disabled",
        "password-reset",
        "impersonation",
        "root-activity",
        "logging-disabled",
        "sso-changed",
        "allowlist-changed",
        "policy-weakened",
        "oauth-grant",
        "data-exported",
        "new-location",
        "rate-spike",
        "source-silent",
    ];

    #[test]
    fn the_built_in_pack_is_whole() {
        let loaded = load(&[], Builtin::All);
        let names = Names::of(loaded.schemas.iter().map(|it| &it.value));
        let mut problems = loaded.problems.clone();
        problems.extend(check_rules(&loaded.rules, &names));
        let shown: Vec<String> = problems.iter().map(|it| it.show(false)).collect();
        assert!(shown.is_empty(), "{}", shown.join("\n"));
        for rule in &loaded.rules {
            let (place, rule) = (rule.place(), &rule.value);
            let ours = rule.tags.iter().filter(|it| TAGS.contains(&it.as_str())).count();
            let is_technique = |it: &&String| {
                let rest = it.strip_prefix("attack.t").unwrap_or("");
                rest.len() >= 4 && rest.bytes().all(|it| it.is_ascii_digit() || it == b'.')
            };
            assert_eq!(ours, 1, "{place}: one tag of the reference");
            assert!(rule.tags.iter().filter(is_technique).count() > 0, "{place}: a technique");
            assert_eq!(
                rule.tags.len(),
                ours + rule.tags.iter().filter(is_technique).count(),
                "{place}: {:?}",
                rule.tags
            );
            assert!(rule.about.len() > 25 && !rule.about.contains("  "), "{place}: about");
            assert!(!rule.by.is_empty(), "{place}: an alert about nobody");
            assert!(!rule.stories.is_empty(), "{place}: stories");
            let told = |story: &String| Story::parse(story).unwrap().margins().any(|it| it.rule == rule.id);
            assert!(rule.stories.iter().any(told), "{place}: a story in which it fires");
        }
        for tag in TAGS {
            assert!(
                loaded.rules.iter().any(|it| it.value.tags.iter().any(|it| it == tag)),
                "no rule has the tag {tag}"
            );
        }
    }

    #[test]
    fn the_documentation_is_true() {
        let page = include_str!("../../docs/rules.md");
        let blocks: Vec<&str> = page.split("```ron\n").skip(1).filter_map(|it| it.split("```").next()).collect();
        assert!(blocks.len() >= 5);
        for block in blocks {
            let loaded = load_text("docs/rules.md", block);
            let problems = check_rules(&loaded.rules, &Names::of(&[]));
            let all: Vec<String> = loaded.problems.iter().chain(&problems).map(|it| it.show(false)).collect();
            assert!(all.is_empty(), "{}", all.join("\n"));
        }
        for (name, written) in super::super::explain::WRITTEN {
            let as_cell = written.replace('|', "\\|");
            let shown = page.contains(written) || page.contains(&as_cell) || page.contains(&format!("### `{name}`"));
            assert!(shown || name == "Rule", "docs/rules.md does not show {name}: {written}");
        }
        for activity in crate::schema::file::ACTIVITIES {
            assert!(page.contains(&format!("`{activity}`")), "docs/rules.md does not name {activity}");
        }
    }

    #[test]
    fn examples_of_everything_can_be_read() {
        for (name, written) in super::super::explain::WRITTEN.iter().filter(|it| it.0 != "Rule") {
            let (when, by, detect) = match *name {
                "Each" | "Count" | "Distinct" | "Sequence" | "Travel" | "Sum" | "Changed" | "Absence" | "Silence"
                | "FirstSeen" | "Rare" | "Spike" | "Drop" | "OffHours" | "Unfamiliar" | "FanOut" | "Beacon"
                | "Growth" | "Overdue" | "Risk" => ("All([])", "\"source.ip\"", *written),
                "Fold" | "Exact" | "Prefix" => ("All([])", *written, "Each"),
                _ => (*written, "\"source.ip\"", "Each"),
            };
            let text =
                format!("Rule(id: \"a\", title: \"t\", severity: Low, when: {when}, by: [{by}], detect: {detect})");
            let loaded = load_text("a.ron", &text);
            assert!(loaded.problems.is_empty(), "{text}\n{}", loaded.problems[0].show(false));
        }
    }

    #[test]
    fn a_rule_read_back_is_the_same() {
        for rule in load(&[], Builtin::All).rules {
            let config = ron::ser::PrettyConfig::default().struct_names(true);
            let text = ron::ser::to_string_pretty(&rule.value, config).unwrap();
            let again = load_text("again.ron", &text);
            assert!(again.problems.is_empty(), "{text}\n{}", again.problems[0].show(false));
            assert_eq!(format!("{:?}", again.rules[0].value), format!("{:?}", rule.value));
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(at in 0usize..600, remove in 0usize..40, insert in "[\\PC\n]{0,12}") {
            let mut text = GOOD.to_string();
            let from = (0..=at.min(text.len())).rev().find(|it| text.is_char_boundary(*it)).unwrap_or(0);
            let to = (from + remove).min(text.len());
            text.replace_range(from..to, &insert);
            problems(&text);
        }
    }

    #[test]
    fn no_key_stands_twice_in_what_is_built_in() {
        for (name, text) in BUILTIN {
            let source = Source { name: name.to_string(), text: (*text).into() };
            let root = tree::parse(text).ok().flatten().expect("it says something");
            let found = repeated_keys(&source, &root);
            assert!(found.is_empty(), "{}", found[0].problem.show(false));
        }
    }
}
