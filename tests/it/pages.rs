//! The documentation, held against the program.
//!
//! A page that is written by hand is wrong a month later. So what a page repeats of the program — tables, helps, sessions
//! at a terminal, whole pages about schemas — stands between `<!-- generated: WHAT -->` and `<!-- /generated -->`, and is
//! compared with what the program says; `UPDATE=1 cargo test --test it pages` writes it anew. What a person wrote is tried:
//! every block of RON must load, every example must do what its page says, every link must lead somewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde::Serialize;
use tripline::config::Config;
use tripline::deliver::config::{Outside, Routes, resolve};
use tripline::engine::{Engine, Judged, Wanted};
use tripline::model::{Alert, Span, Timestamp};
use tripline::rule::load::load_text;
use tripline::rule::problem::Level;
use tripline::runtime::setup::{Choice, Setup, load_rules};
use tripline::schema::file::{ACTIVITIES, Case, Schema};
use tripline::source::batch::LineBatch;
use tripline::source::reader::Reader;

use crate::program::Folder;

const SLACK_URL: &str = "https://hooks.slack.com/services/T000/B000/XXXX";
const HOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn update() -> bool {
    std::env::var_os("UPDATE").is_some_and(|it| it == "1")
}

/// Every page, by its path below the root.
fn pages() -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut waiting = vec![root().join("docs"), root().join("README.md"), root().join("CHANGELOG.md")];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
        } else if path.extension().is_some_and(|it| it == "md") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            all.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    all.sort();
    all
}

/// Says that a page is out of date, or writes it.
fn agree(name: &str, found: &str, wanted: &str, stale: &mut Vec<String>) {
    if found == wanted {
        return;
    }
    if update() {
        fs::write(root().join(name), wanted).unwrap();
    } else {
        let differs = found.lines().zip(wanted.lines()).find(|(a, b)| a != b);
        let (is, should) = differs.unwrap_or(("(too short or too long)", ""));
        stale.push(format!("{name}\n     is: {is}\n should: {should}"));
    }
}

fn fresh(stale: &[String]) {
    assert!(
        stale.is_empty(),
        "run `UPDATE=1 cargo test --test it pages` and read the difference:\n{}",
        stale.join("\n")
    );
}

/// The program, run in the root of the checkout: what it wrote to both streams, and its exit code.
fn tripline(arguments: &[&str]) -> (String, String, i32) {
    let out = Command::new(env!("CARGO_BIN_EXE_tripline"))
        .args(arguments)
        .current_dir(root())
        .env("SLACK_URL", SLACK_URL)
        .env("SMTP_PASSWORD", "secret")
        .env("HOOK_SECRET", HOOK_SECRET)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = |it: Vec<u8>| String::from_utf8(it).unwrap();
    (text(out.stdout), text(out.stderr), out.status.code().unwrap_or(-1))
}

#[test]
fn generated_parts_say_what_the_program_says() {
    let part = Regex::new(r"(?s)<!-- generated: ([^\n]*?) -->\n(.*?)<!-- /generated -->").unwrap();
    let mut stale = Vec::new();
    for (name, text) in pages() {
        let wanted = part.replace_all(&text, |it: &regex::Captures| {
            format!("<!-- generated: {} -->\n{}<!-- /generated -->", &it[1], generate(&it[1], &it[2]))
        });
        agree(&name, &text, &wanted, &mut stale);
    }
    fresh(&stale);
}

/// What stands in a generated part. `old` is what stood there: sentences in a table's last column are a person's.
fn generate(what: &str, old: &str) -> String {
    let (word, rest) = what.split_once(' ').unwrap_or((what, ""));
    let written = |from: &str, to: &str| {
        let at = |name: &str| tripline::rule::WRITTEN.iter().position(|it| it.0 == name).unwrap();
        &tripline::rule::WRITTEN[at(from)..at(to)]
    };
    match word {
        "activities" => {
            let words: Vec<String> = ACTIVITIES.iter().map(|it| format!("`{it}`")).collect();
            filled(&words.join(" "), 140)
        }
        "matchers" => described("matcher", "holds when", written("All", "Each"), old),
        "kinds" => described("kind", "fires on", written("Each", "Fold"), old),
        "sources" => {
            let rows =
                tripline::source::SOURCES.iter().map(|it| vec![code(it.name), it.about.into(), code(it.example)]);
            table(&["source", "what it reads", "for example"], rows)
        }
        "receivers" => {
            let rows =
                tripline::deliver::NOTIFIERS.iter().map(|it| vec![code(it.name), it.about.into(), code(it.example)]);
            table(&["receiver", "what it sends", "for example"], rows)
        }
        "formats" => {
            let rows =
                tripline::format::FORMATS.iter().map(|it| vec![code(it.name), it.about.into(), code(it.example)]);
            table(&["format", "what it is", "a line"], rows)
        }
        "schemas" => {
            let rows = schemas().into_iter().map(|(file, it)| {
                let log = example_log(&file).map_or(String::new(), |log| format!("[log](../{log})"));
                vec![format!("[`{}`](schemas/{file}.md)", it.id), it.title.clone(), log]
            });
            table(&["schema", "record", "example"], rows)
        }
        "rules" => rules_page(),
        "help" => {
            let mut arguments: Vec<&str> = rest.split_whitespace().collect();
            arguments.push("-h");
            format!(
                "```text\n$ tripline {}\n{}```\n",
                arguments.join(" "),
                without_common(&tripline(&arguments).0, rest)
            )
        }
        "run" => session(rest),
        _ => panic!("nobody knows how to generate `{what}`"),
    }
}

/// A session at a terminal: standard output, then what was said to the operator. What differs from run to run, and what is
/// wider than a page, ends in an ellipsis.
fn session(line: &str) -> String {
    let (line, lines_max) = match line.split_once(" # first ") {
        Some((line, count)) => (line, count.parse().unwrap()),
        None => (line, usize::MAX),
    };
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let (stdout, stderr, _) = tripline(&arguments);
    let moment = r"( in )[\d.]+ s: [\d,]+ events/s|^(Date: ).*$|^(webhook-(?:timestamp|signature): ).*$|(warning: )\d+( days old)";
    let moment = Regex::new(&format!("(?m){moment}")).unwrap();
    let all = format!("{stdout}{stderr}").replace('\r', "");
    let all = moment.replace_all(&all, "$1$2$3$4…$5");
    let mut out = format!("```text\n$ tripline {line}\n");
    for line in all.lines().take(lines_max) {
        let short: String = line.chars().take(159).collect();
        let _ = writeln!(out, "{short}{}", if short.len() < line.len() { "…" } else { "" });
    }
    if all.lines().count() > lines_max {
        out.push_str("…\n");
    }
    out + "```\n"
}

/// A command's help without the options that every command has; those stand in the help of the program itself.
fn without_common(help: &str, command: &str) -> String {
    if command.is_empty() {
        return help.to_string();
    }
    let common = Regex::new(
        r"^\s+(?:-\w, )?--(?:config|rules|no-builtin|rule|all-rules|format|geoip|quiet|verbose|color|help)\b",
    );
    let common = common.unwrap();
    help.split_inclusive('\n').filter(|line| !common.is_match(line)).collect()
}

fn code(text: &str) -> String {
    let text = text.replace('|', "\\|");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out
}

/// Words as written in rules, each with a person's sentence about it.
fn described(head: &str, about: &str, words: &[(&str, &str)], old: &str) -> String {
    let said: BTreeMap<&str, &str> = old
        .lines()
        .filter_map(|it| {
            let name = it.strip_prefix("| `")?.split_once('`')?.0;
            Some((name, it.trim_end_matches(" |").rsplit_once(" | ")?.1))
        })
        .collect();
    let rows = words.iter().map(|(name, example)| {
        let sentence = said.get(name).copied().unwrap_or_default();
        assert!(!sentence.is_empty(), "`{name}` is new: write a row for it, with a sentence in its last column");
        vec![code(name), code(example), sentence.to_string()]
    });
    table(&[head, "for example", about], rows)
}

/// Breaks a line of words.
fn filled(words: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        let last = lines.last_mut().unwrap();
        if !last.is_empty() && last.len() + 1 + word.len() > width {
            lines.push(word.to_string());
        } else {
            last.push_str(if last.is_empty() { "" } else { " " });
            last.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

fn rules_page() -> String {
    let mut out = String::new();
    let mut loaded = load_rules(&Choice::default(), &Config::default());
    loaded.rules.sort_by(|a, b| (a.file(), &a.value.id).cmp(&(b.file(), &b.value.id)));
    let mut folder = String::new();
    for sourced in &loaded.rules {
        let rule = &sourced.value;
        let inside = sourced.file().split('/').nth(1).unwrap_or_default();
        if inside != folder {
            folder = inside.to_string();
            let _ = writeln!(out, "\n## {folder}");
        }
        let by: Vec<&str> = rule.by.iter().map(|it| it.field()).collect();
        let off = if rule.enabled { "" } else { ", off unless asked for" };
        let _ = writeln!(out, "\n### {}\n", rule.id);
        let _ = writeln!(
            out,
            "{}{off} · {} by {} · {} · [file](../{})\n",
            rule.severity.name(),
            rule.detect.name(),
            if by.is_empty() { "everything".to_string() } else { format!("`{}`", by.join("`, `")) },
            rule.tags.iter().map(|it| code(it)).collect::<Vec<_>>().join(" "),
            sourced.file(),
        );
        let _ = writeln!(out, "> {}\n", rule.title.replace('<', "&lt;"));
        for paragraph in rule.about.split("\n\n").filter(|it| !it.trim().is_empty()) {
            let words: Vec<&str> = paragraph.split_whitespace().collect();
            out.push_str(&filled(&words.join(" "), 140));
        }
    }
    out
}

/// The schemas inside the program, by the name of their file, in its order.
fn schemas() -> Vec<(String, Schema)> {
    let loaded = load_rules(&Choice { no_builtin: true, ..Choice::default() }, &Config::default());
    let name = |file: &str| Path::new(file).file_stem().unwrap().to_string_lossy().into_owned();
    let mut all: Vec<_> = loaded.schemas.iter().map(|it| (name(it.file()), it.value.clone())).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn example_log(schema: &str) -> Option<String> {
    let candidates = ["log", "ndjson"].map(|it| format!("examples/logs/{schema}.{it}"));
    candidates.into_iter().find(|it| root().join(it).is_file())
}

#[test]
fn every_schema_has_a_page() {
    let mut stale = Vec::new();
    let mut expected = Vec::new();
    fs::create_dir_all(root().join("docs/schemas")).unwrap();
    for (file, schema) in schemas() {
        let name = format!("docs/schemas/{file}.md");
        let found = fs::read_to_string(root().join(&name)).unwrap_or_default();
        agree(&name, &found, &schema_page(&file, &schema), &mut stale);
        expected.push(name);
    }
    for (name, _) in pages().iter().filter(|it| it.0.starts_with("docs/schemas/") && !expected.contains(&it.0)) {
        if update() {
            fs::remove_file(root().join(name)).unwrap();
        } else {
            stale.push(format!("{name} is about no schema"));
        }
    }
    fresh(&stale);
}

fn schema_page(file: &str, schema: &Schema) -> String {
    let mut out = format!("<!-- Generated from rules/schemas/{file}.ron. -->\n\n# {}\n\n", schema.title);
    let _ = writeln!(out, "Records of this kind get `event.provider: {}`.\n", schema.id);
    for link in &schema.docs {
        let _ = writeln!(out, "- the vendor's page: <{link}>");
    }
    let _ = writeln!(out, "- the schema: [rules/schemas/{file}.ron](../../rules/schemas/{file}.ron)");
    if let Some(log) = example_log(file) {
        let _ = writeln!(out, "- a log to try: `tripline replay {log}`");
    }
    if !schema.formats.is_empty() {
        let _ = writeln!(out, "- formats: {}", schema.formats.iter().map(|it| code(it)).collect::<Vec<_>>().join(", "));
    }
    if schema.priority != 0 {
        let _ =
            writeln!(out, "- priority: {} (where several schemas know a record, the highest wins)", schema.priority);
    }
    let _ = writeln!(out, "\n## Recognised by\n\n```ron fragment\n{}\n```\n", ron(&schema.recognise));
    if let Some(split) = &schema.split {
        let _ = writeln!(out, "One event for each element of `{split}`.\n");
    }
    out.push_str("## Fields\n\n");
    let action = schema.action.iter().map(|it| vec![code("event.action"), code(&ron(it))]);
    let fields = schema.fields.0.iter().map(|(field, take)| vec![code(field), code(&ron(take))]);
    out.push_str(&table(&["field", "from"], action.chain(fields)));
    if !schema.cases.is_empty() {
        out.push_str(
            "\n## Meaning\n\nThe first row that applies decides; where none does, the activity is `other`.\n\n",
        );
        out.push_str(&table(&["activity", "actions", "when", "tags"], schema.cases.iter().map(case_row)));
    }
    if !schema.tags.is_empty() {
        out.push_str("\nTags that do not depend on the row:\n\n");
        let rows = schema.tags.iter().map(|(tag, when)| vec![code(tag), code(&ron(when))]);
        out.push_str(&table(&["tag", "when"], rows));
    }
    if let Some(example) = schema.examples.first() {
        let _ = writeln!(out, "\n## For example\n\n```text\n{}\n```\n\ngives\n", example.line);
        let rows =
            example.gives.iter().filter(|it| !it.1.is_empty()).map(|(field, value)| vec![code(field), code(value)]);
        out.push_str(&table(&["field", "value"], rows));
    }
    out
}

fn case_row(case: &Case) -> Vec<String> {
    let mut when: Vec<String> = Vec::new();
    if !matches!(&case.when, tripline::expr::Expr::All(all) if all.is_empty()) {
        when.push(code(&ron(&case.when)));
    }
    when.extend(case.form.iter().map(|it| format!("text fits {}", code(&it.0))));
    let words = |all: &[String]| all.iter().map(|it| code(it)).collect::<Vec<_>>().join(" ");
    vec![code(&case.activity), words(&case.on), when.join("; "), words(&case.tags)]
}

/// As a schema's author would write it: a path is a plain text, and regular expressions are raw.
fn ron(value: &impl Serialize) -> String {
    let text = ron::to_string(value).unwrap();
    let path = Regex::new(r#"\bPath\(("(?:[^"\\]|\\.)*")\)"#).unwrap();
    let text = path.replace_all(&text, "$1");
    let escaped = Regex::new(r#""((?:[^"\\]|\\.)*\\\\(?:[^"\\]|\\.)*)""#).unwrap();
    let raw = |it: &regex::Captures| {
        let inner = it[1].replace("\\\\", "\u{0}").replace("\\\"", "\"").replace('\u{0}', "\\");
        if inner.contains('"') { format!("r#\"{inner}\"#") } else { format!("r\"{inner}\"") }
    };
    let spaced = Regex::new(r#"("|\)|\]|\d|true|false),("|[A-Za-z\[])"#).unwrap();
    let text = escaped.replace_all(&text, raw);
    spaced.replace_all(&text, "$1, $2").replace("\\'", "'")
}

#[test]
fn every_block_of_ron_loads() {
    let block = Regex::new(r"(?ms)^ *```ron\n(.*?)^ *```$").unwrap();
    let mut wrong = Vec::new();
    let folder = Folder::new();
    for (name, text) in pages() {
        for (number, it) in block.captures_iter(&text).enumerate() {
            let first = it[1].lines().find(|it| !it.trim().is_empty() && !it.trim_start().starts_with("//"));
            if first.is_some_and(|it| it.trim_start().starts_with('(')) {
                let file = folder.write(&format!("{number}.ron"), it[1].as_bytes());
                let problem = problem_of_configuration(Path::new(&file));
                wrong.extend(problem.map(|it| format!("{name}, block {number}: {it}")));
                continue;
            }
            let loaded = load_text(&name, &it[1]);
            let errors = loaded.problems.iter().filter(|it| it.level == Level::Error);
            wrong.extend(errors.map(|it| format!("{name}, block {number}:\n{}", it.show(false))));
            if loaded.rules.is_empty() && loaded.schemas.is_empty() {
                wrong.push(format!("{name}, block {number}: neither rule, schema nor configuration"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with a configuration, secrets aside: those are made up here.
fn problem_of_configuration(path: &Path) -> Option<String> {
    let config = match tripline::config::read(Some(path)) {
        Ok(it) => it,
        Err(refusal) => return Some(refusal.problems.iter().map(|it| it.show(false)).collect()),
    };
    let outside = Outside {
        env: &|name| Some(if name.ends_with("URL") { SLACK_URL.into() } else { HOOK_SECRET.into() }),
        file: &|_| Ok(HOOK_SECRET.into()),
    };
    let names: Vec<&str> = config.receivers.0.iter().map(|it| it.0.as_str()).collect();
    let receivers = resolve(&config.receivers, &outside).err().unwrap_or_default();
    let routes = Routes::resolve(&config.routes, &names).err().unwrap_or_default();
    let problems: Vec<String> = receivers.iter().chain(&routes).map(ToString::to_string).collect();
    (!problems.is_empty()).then(|| problems.join("\n"))
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let fence = Regex::new(r"(?ms)^```.*?^```$").unwrap();
    let inline = Regex::new(r"``[^\n]*?``|`[^`\n]*`").unwrap();
    let mut broken = Vec::new();
    for (name, text) in pages() {
        let text = fence.replace_all(&text, "");
        let text = inline.replace_all(&text, "");
        for it in link.captures_iter(&text) {
            let (target, anchor) = it[1].split_once('#').unwrap_or((&it[1], ""));
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let place = root().join(&name);
            let file = if target.is_empty() { place } else { place.parent().unwrap().join(target) };
            let known = match anchor {
                "" => file.exists(),
                _ => fs::read_to_string(&file).is_ok_and(|it| it.lines().any(|it| is_heading(it, anchor))),
            };
            if !known {
                broken.push(format!("{name}: {}", &it[1]));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn is_heading(line: &str, anchor: &str) -> bool {
    let Some(heading) = line.strip_prefix('#') else { return false };
    let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    heading.chars().filter(|it| it.is_alphanumeric() || matches!(it, '-' | '_')).collect::<String>() == anchor
}

#[test]
fn example_logs_are_understood_and_make_alerts() {
    let setup = |wanted| Setup::prepare(&Choice::default(), wanted).unwrap_or_else(|it| panic!("{:?}", it.problems));
    let (all, by_rules) = (setup(Wanted::All), setup(Wanted::ByRules));
    let mut wrong = Vec::new();
    for (file, schema) in schemas() {
        let Some(log) = example_log(&file) else {
            wrong.push(format!("examples/logs/ has no log for {file}"));
            continue;
        };
        let providers = providers(&all, &log);
        let own = providers.iter().filter(|it| **it == schema.id).count();
        if providers.iter().any(String::is_empty) || own * 2 <= providers.len() {
            wrong.push(format!("{log}: {own} of {} records are {}", providers.len(), schema.id));
        }
        // What an application says of itself alarms nobody, nor do lines of which only the address is understood.
        let is_quiet = ["keyrunner_app", "text_address"].contains(&file.as_str());
        if fired(&by_rules, &log).is_empty() && !is_quiet {
            wrong.push(format!("{log}: no rule fires"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The moment to which stamps without a year belong.
const REFERENCE: Timestamp = Timestamp::from_micros(1_750_000_000_000_000);

fn open(log: &str) -> Reader {
    tripline::source::file::reader(0, &root().join(log).to_string_lossy(), 1 << 20).unwrap()
}

/// The schema of each record; empty where none knows it.
fn providers(setup: &Setup, log: &str) -> Vec<String> {
    let mut reader = tripline::engine::Reader::new(setup.set.clone(), setup.enricher());
    let field = setup.set.fields.all_mapped().find(|it| it.0 == "event.provider").unwrap().1;
    let mut found = Vec::new();
    let (mut lines, mut batch) = (open(log), LineBatch::default());
    while lines.next(&mut batch).unwrap() {
        assert_eq!(batch.rejects().count(), 0, "{log}");
        for line in batch.lines() {
            let read = reader.read(line.text, &setup.reading, REFERENCE, &mut |read, _| {
                found.push(read.event().text(field).unwrap_or_default().to_string());
            });
            read.unwrap();
        }
        batch.clear();
    }
    found
}

/// The alerts of a log.
fn fired(setup: &Setup, log: &str) -> Vec<Alert> {
    let mut engine = Engine::new(setup.set.clone(), setup.keys, 1);
    engine.add_source(log, Span::from_secs(2));
    let (mut front, mut judged, mut told) = (setup.front(), Judged::default(), Vec::new());
    let (mut lines, mut batch) = (open(log), LineBatch::default());
    while lines.next(&mut batch).unwrap() {
        front.judge(&batch, &setup.reading, None, REFERENCE, &mut judged);
        engine.observe(&mut judged, &mut told);
        batch.clear();
    }
    engine.finish(&mut told);
    told
}

fn provider(record: &str) -> String {
    let record: serde_json::Value = serde_json::from_str(record).unwrap();
    record["event"]["provider"].as_str().unwrap_or_default().to_string()
}

#[test]
fn the_first_log_shows_the_three_rules_everybody_asks_for() {
    let setup = Setup::prepare(&Choice::default(), Wanted::ByRules).unwrap_or_else(|it| panic!("{:?}", it.problems));
    let alerts = fired(&setup, "examples/logs/first.log");
    let mut ids: Vec<&str> = alerts.iter().map(|it| it.rule.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids, ["admin-assigned", "impossible-travel", "repeated-login-failures"]);
}

#[test]
fn example_configurations_and_rules_have_no_problem() {
    for entry in fs::read_dir(root().join("examples/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "ron") {
            assert_eq!(problem_of_configuration(&path), None, "{}", path.display());
        }
    }
    let (_, problems, code) = tripline(&["check", "examples/config/tripline.ron"]);
    assert_eq!(code, 0, "{problems}");
    let (report, problems, code) = tripline(&["test", "examples/rules"]);
    assert_eq!(code, 0, "{report}{problems}");
}

#[test]
fn a_schema_of_one_s_own_needs_no_rust() {
    // docs/schemas.md shows one from beginning to end; it must do what the page says.
    let text = fs::read_to_string(root().join("docs/schemas.md")).unwrap();
    let block = Regex::new(r"(?ms)^```ron\n(.*?)^```$").unwrap();
    let schema = &block.captures(&text).unwrap()[1];
    let loaded = load_text("docs/schemas.md", schema);
    assert_eq!(loaded.schemas.len(), 1);
    let folder = Folder::new();
    let rules: PathBuf = folder.write("gate.ron", schema.as_bytes()).into();
    let log = folder.write("gate.log", loaded.schemas[0].value.examples[0].line.as_bytes());
    let (record, _, _) = tripline(&["normalize", "--rules", &rules.to_string_lossy(), &log]);
    assert_eq!(provider(record.trim()), loaded.schemas[0].value.id);
    let with = load_rules(&Choice { rules: vec![rules], ..Choice::default() }, &Config::default());
    assert!(with.problems.is_empty(), "{}", with.problems[0].show(false));
    // The page says that `check` tries the examples.
    let check = |from: &str, to: &str, expected: &[&str]| {
        assert!(schema.contains(from), "{from}");
        let path = folder.write("changed.ron", schema.replace(from, to).as_bytes());
        let (_, said, code) = tripline(&["check", &path]);
        assert_eq!(code, i32::from(!expected.is_empty()), "{said}");
        assert!(expected.iter().all(|it| said.contains(it)), "{expected:?}\n{said}");
    };
    check("north", "south", &[]);
    check(
        "\"user.name\", \"ann@example.com\"",
        "\"user.name\", \"bob@example.com\"",
        &["the record gives another `user.name`", "expected \"ann@example.com\"", "changed.ron:29:"],
    );
    check("(\"user.name\",", "(\"user.id\",", &["the record gives no `user.id`"]);
    check(
        "Exists(\"gate\")",
        "Exists(\"door\")",
        &["`example.gate` does not recognise this record", "changed.ron:27:"],
    );
    check("{\"when\":", "{\"when\":,", &["this record cannot be read: not-json"]);
}
