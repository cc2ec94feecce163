//! `tripline init`: your own log in five minutes.
//!
//! Reads a sample, says which schema knows it, or drafts one that works at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::normalize::Writer;
use super::output::grouped;
use super::replay::open;
use super::{Common, Exit};
use crate::engine::{Reader, RuleSet, Wanted};
use crate::format::{Auto, Paths};
use crate::model::{EventBuf, Fields, Value};
use crate::rule::coverage::{Vendor, Verdict};
use crate::rule::load::{Sourced, load_text};
use crate::rule::problem::Level;
use crate::runtime::clock;
use crate::runtime::setup::Setup;
use crate::schema::file::Schema;
use crate::schema::propose::propose;
use crate::source::batch::LineBatch;

/// Lines that are looked at.
const SAMPLE_LINES_MAX: usize = 10_000;
/// Schemas below this priority know records of any vendor, so they are no reason not to draft a better one.
const GENERIC_BELOW: i32 = -50;

#[derive(Args, Debug)]
pub struct InitArgs {
    /// A log that nothing knows yet (.gz and .zst as they are)
    pub file: String,
    /// Where the draft goes [default: the log's name, .ron]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

pub fn run(common: &Common, args: InitArgs) -> Exit {
    let setup = match Setup::prepare(&common.choice(), Wanted::All) {
        Ok(it) => it,
        Err(refusal) => return common.refuse(&refusal),
    };
    let lines = match sample(&args.file, &setup) {
        Ok(it) => it,
        Err(exit) => return exit,
    };
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    if lines.is_empty() {
        eprintln!("tripline: {} has no lines to learn from", args.file);
        return Exit::Problems;
    }
    let format = syntax(&lines);
    let known = recognised(&setup, &lines);
    println!("{} lines of {}, syntax: {format}", grouped(lines.len() as u64), args.file);
    if let Some((id, Known { lines: count, told })) = known.iter().max_by_key(|it| it.1.lines)
        && let Some(schema) = setup.loaded.schemas.iter().find(|it| it.value.id == *id)
    {
        let share = format!("{} of {} lines", grouped(*count as u64), grouped(lines.len() as u64));
        if *count * 5 >= lines.len() * 4 && schema.value.priority > GENERIC_BELOW && *told > 0 {
            println!("the schema `{id}` ({}) knows {share}: nothing to do\n", schema.value.title);
            show(&setup.set, &setup, &lines);
            rules_for(&schema.value, &setup);
            return Exit::Done;
        }
        let what = if *told > 0 { "one of its own will be more exact" } else { "what happened it can say of none" };
        println!("the general schema `{id}` reads {share}; {what}");
    }
    let id = id_of(&args.file);
    let Some(proposal) = propose(&lines, format, &id) else {
        eprintln!("tripline: nothing in these lines looks like a field, a time or a word that comes twice");
        return Exit::Problems;
    };
    let out = args.out.unwrap_or_else(|| PathBuf::from(format!("{id}.ron")));
    match finish(&setup, &proposal.text, &out, &lines) {
        Ok(schema) => {
            println!("\nthe draft is in {}:", out.display());
            let width = proposal.roles.iter().map(|it| it.0.len()).max().unwrap_or(0);
            for (field, path, about) in &proposal.roles {
                println!("  {field:width$}  {path}  ({about})");
            }
            rules_for(&schema, &setup);
            println!("\ntry it: tripline replay --rules {} {}", out.display(), args.file);
            Exit::Done
        }
        Err((exit, what)) => {
            eprintln!("tripline: {what}");
            exit
        }
    }
}

/// Reads the draft back, tries it on the lines and writes it.
fn finish(setup: &Setup, text: &str, out: &Path, lines: &[&str]) -> Result<Schema, (Exit, String)> {
    let mut loaded = load_text(&out.display().to_string(), text);
    let broken = loaded.problems.iter().find(|it| it.level == Level::Error).map(|it| it.show(false));
    let schema = match (broken, loaded.schemas.pop()) {
        (None, Some(Sourced { value, .. })) => value,
        (problem, _) => {
            return Err((Exit::Problems, format!("no working draft came out: {}", problem.unwrap_or_default())));
        }
    };
    let mut all = setup.loaded.clone();
    all.schemas.retain(|it| it.value.id != schema.id);
    let lists = crate::matcher::Lists::default();
    let schemas: Vec<Schema> = all.schemas.iter().map(|it| it.value.clone()).chain([schema.clone()]).collect();
    let set = RuleSet::compile(Vec::new(), &schemas, &lists, Wanted::All)
        .map_err(|it| (Exit::Problems, format!("no working draft came out: {}", it.problem)))?;
    if std::fs::metadata(out).is_ok() {
        return Err((Exit::Usage, format!("{} is there already; name another with --out", out.display())));
    }
    std::fs::write(out, text).map_err(|it| (Exit::InputOutput, format!("{}: {it}", out.display())))?;
    println!();
    show(&Arc::new(set), setup, lines);
    Ok(schema)
}

fn sample(file: &str, setup: &Setup) -> Result<Vec<String>, Exit> {
    let mut readers = open(&[file.to_string()], setup.config.limits.line.0 as usize)?;
    let mut lines = Vec::new();
    for reader in &mut readers {
        let mut batch = LineBatch::default();
        while lines.len() < SAMPLE_LINES_MAX {
            match reader.next(&mut batch) {
                Ok(true) => lines.extend(batch.lines().map(|it| it.text.to_string())),
                Ok(false) => break,
                Err(error) => {
                    eprintln!("tripline: {error}");
                    return Err(Exit::InputOutput);
                }
            }
        }
    }
    lines.truncate(SAMPLE_LINES_MAX);
    Ok(lines)
}

/// The syntax that most lines have.
fn syntax(lines: &[&str]) -> &'static str {
    let fields = Fields::default();
    let paths = Paths::new(&fields);
    let mut buf = EventBuf::new(0, "".into());
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for line in lines {
        buf.clear();
        if let Ok(format) = Auto.decode(line, &paths, &mut buf) {
            *counts.entry(format.name).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|it| it.1).map_or("text", |it| it.0)
}

/// What a schema makes of the lines.
#[derive(Default)]
struct Known {
    lines: usize,
    /// Of how many it says what happened.
    told: usize,
}

/// How many lines each schema knows.
fn recognised(setup: &Setup, lines: &[&str]) -> BTreeMap<String, Known> {
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let mut reader = Reader::new(setup.set.clone(), setup.enricher());
    let activity = setup.set.fields.mapped_id("activity");
    for line in lines {
        let mut found = None;
        let _ = reader.read(line, &setup.reading, clock::now(), &mut |read, _| {
            let said = activity.and_then(|it| read.event().get(it));
            let told = matches!(said, Some(Value::Text(it)) if it != "other");
            found = found.or(read.schema.map(|it| (it, told)));
        });
        if let Some((index, told)) = found {
            let it = known.entry(setup.set.schemas.id(index).to_string()).or_default();
            it.lines += 1;
            it.told += usize::from(told);
        }
    }
    known
}

/// Ten lines as they are understood.
fn show(set: &Arc<RuleSet>, setup: &Setup, lines: &[&str]) {
    let mut reader = Reader::new(set.clone(), setup.enricher());
    let writer = Writer::new(set, false);
    println!("the first lines, normalised:");
    for line in lines.iter().take(10) {
        let _ = reader.read(line, &setup.reading, clock::now(), &mut |read, _| {
            println!("{}", writer.object(read, line));
        });
    }
}

/// Which rules can fire on records of a schema, and what the others lack.
fn rules_for(schema: &Schema, setup: &Setup) {
    let vendor = Vendor::of(schema);
    let mut can = Vec::new();
    let mut cannot: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for rule in setup.loaded.rules.iter().map(|it| &it.value) {
        match vendor.judge(rule) {
            Verdict::Can => can.push(rule.id.as_str()),
            Verdict::Cannot(missing) => cannot.entry(lack(&missing)).or_default().push(&rule.id),
        }
    }
    println!("\n{} rules can fire: {}", can.len(), can.join(", "));
    if !cannot.is_empty() {
        println!("{} cannot, for want of:", cannot.values().map(Vec::len).sum::<usize>());
        let mut cannot: Vec<_> = cannot.into_iter().collect();
        cannot.sort_by_key(|it| std::cmp::Reverse(it.1.len()));
        cannot.iter().for_each(|(missing, rules)| println!("  {missing}: {}", rules.join(", ")));
    }
}

/// What is missing, so that rules that want the same thing stand together: a name is the first thing to look for.
fn lack(missing: &[String]) -> String {
    let is_tag = |it: &String| it.starts_with("tag ");
    if missing.iter().all(is_tag) {
        return "a tag that a case of the schema sets (`tags`)".into();
    }
    if missing.iter().all(|it| it.starts_with("activity ") || is_tag(it)) {
        return "a case of the schema with their `activity`".into();
    }
    missing.iter().filter(|it| !it.starts_with("activity ") && !is_tag(it)).cloned().collect::<Vec<_>>().join(", ")
}

/// The file's name without folder and endings, as an id.
fn id_of(file: &str) -> String {
    let name = Path::new(file).file_name().map(|it| it.to_string_lossy().to_lowercase()).unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let id: String = stem.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '-' }).take(64).collect();
    match id.trim_matches('-') {
        "" => "own-log".to_string(),
        it => it.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, run as run_cli};
    use super::*;
    use clap::Parser;

    fn check(log: &str, expected: Exit, parts: &[&str]) {
        let name = format!("tripline-init-{}-{}", std::process::id(), log.len());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let (file, out) = (folder.join("My app.log"), folder.join("draft.ron"));
        std::fs::write(&file, log).unwrap();
        let (file, out) = (file.display().to_string(), out.display().to_string());
        let init = || run_cli(Cli::parse_from(["tripline", "init", &file, "--out", &out]));
        assert_eq!(init(), expected);
        let written = std::fs::read_to_string(&out).unwrap_or_default();
        for part in parts {
            assert!(written.contains(part), "{part}\n{written}");
        }
        if !parts.is_empty() {
            let check = run_cli(Cli::parse_from(["tripline", "-q", "check", &out]));
            assert_eq!(check, Exit::Done, "{written}");
            assert_eq!(init(), Exit::Usage, "a draft that somebody may have corrected is not replaced");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_draft_works_at_once() {
        let line = |it: usize| {
            let action = ["signin", "signin", "apikey.create"][it % 3];
            let state = if it.is_multiple_of(2) { "failed" } else { "ok" };
            format!(
                "{{\"at\":\"2025-04-12T08:02:{:02}Z\",\"login\":\"u{it}@example.com\",\"ip\":\"203.0.113.{it}\",\"op\":{{\"action\":\"{action}\",\"status\":\"{state}\"}}}}\n",
                it % 60
            )
        };
        let log: String = (0..90).map(line).collect();
        check(&log, Exit::Done, &["id: \"my-app\"", "login.failure", "credential.created", "\"user.name\": \"login\""]);
        check("", Exit::Problems, &[]);
        check("1 2 3\n4 5 6\n", Exit::Problems, &[]);
    }

    #[test]
    fn a_known_log_needs_none() {
        let line = "2025-04-12 08:03:21 | 203.0.113.9 | ann@example.com | Brazil | Login failure\n";
        check(&line.repeat(20), Exit::Done, &[]);
    }
}
