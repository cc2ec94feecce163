//! `tripline test`: the stories in rule files, played by the real engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{Common, Exit};
use crate::engine::{Engine, Front, Judged, Reading, RuleSet, Wanted};
use crate::enrich::geo::Geo;
use crate::format;
use crate::matcher::Lists;
use crate::model::country::Country;
use crate::model::{Alert, HashKeys, Span, Timestamp, Zone};
use crate::rule::check::story_span;
use crate::rule::file::Rule;
use crate::rule::load::Sourced;
use crate::rule::problem::{Problem, Refusal};
use crate::rule::story::{Story, StoryEngine, replace_literals};
use crate::runtime::clock;
use crate::runtime::setup::{Choice, load_rules, problems_of, read_lists};
use crate::schema::file::Schema;
use crate::source::batch::LineBatch;
use crate::source::frame::Framer;

#[derive(Args, Debug)]
pub struct TestArgs {
    /// Files and folders of rules (default: the built-in ones)
    pub paths: Vec<PathBuf>,
    /// Rewrite the margins to what happened
    #[arg(long)]
    pub update: bool,
}

pub fn run(common: &Common, args: TestArgs) -> Exit {
    let mut choice = common.choice();
    // With paths, only what stands there is tested; the built-in schemas give the lines their meaning.
    choice.no_builtin |= !args.paths.is_empty();
    choice.rules.extend(args.paths.iter().cloned());
    match test(&choice, args.update) {
        Err(refusal) => common.refuse(&refusal),
        Ok(report) => {
            print!("{}", report.text);
            println!(
                "{} stories of {} rules: {} passed, {} failed",
                report.passed + report.failed,
                report.rules,
                report.passed,
                report.failed
            );
            if report.failed == 0 { Exit::Done } else { Exit::Problems }
        }
    }
}

/// What came of running stories.
pub struct Report {
    pub passed: usize,
    pub failed: usize,
    pub rules: usize,
    /// The differences, for people.
    pub text: String,
}

/// Runs every story of the rules that `choice` names; with `update`, rewrites the margins that differ.
pub fn test(choice: &Choice, update: bool) -> Result<Report, Refusal> {
    let config = crate::config::read(choice.config.as_deref())?;
    let lists = read_lists(&config)?;
    let loaded = load_rules(choice, &config);
    let problems = problems_of(&loaded, &lists);
    if problems.iter().any(|it| it.level == crate::rule::problem::Level::Error) {
        return Err(Refusal { problems });
    }
    let schemas: Vec<Schema> = loaded.schemas.iter().map(|it| it.value.clone()).collect();
    let mut report = Report { passed: 0, failed: 0, rules: 0, text: String::new() };
    let mut edits: BTreeMap<String, Vec<(std::ops::Range<usize>, String)>> = BTreeMap::new();
    let chosen: Vec<&Sourced<Rule>> =
        loaded.rules.iter().filter(|it| choice.only.is_empty() || choice.only.contains(&it.value.id)).collect();
    let mut player = Player::new(chosen.iter().map(|it| it.value.clone()).collect(), &schemas, &lists)?;
    for rule in chosen {
        report.rules += 1;
        player.rule = rule.value.id.clone();
        for (index, text) in rule.value.stories.iter().enumerate() {
            let story = Story::parse(text).map_err(|it| Refusal {
                problems: vec![Problem::of_file(&rule.place(), format!("story {}: {}", index + 1, it.what))],
            })?;
            player.start(&story)?;
            let outcome = story.run(&mut player);
            if outcome.is_as_told() {
                report.passed += 1;
                continue;
            }
            if update && let Some(span) = story_span(rule, index) {
                let literal =
                    crate::rule::story::literal(&story.rewrite(&outcome.found), &rule.source.text[span.clone()]);
                edits.entry(rule.file().to_string()).or_default().push((span, literal));
                report.passed += 1;
                continue;
            }
            report.failed += 1;
            report.text +=
                &format!("{} ({}), story {}:\n{}\n", rule.value.id, rule.place(), index + 1, outcome.difference);
        }
    }
    for (file, edits) in edits {
        rewrite(&loaded.rules, &file, &edits)?;
        report.text += &format!("{file}: {} stories rewritten\n", edits.len());
    }
    Ok(report)
}

fn rewrite(rules: &[Sourced<Rule>], file: &str, edits: &[(std::ops::Range<usize>, String)]) -> Result<(), Refusal> {
    let Some(rule) = rules.iter().find(|it| it.file() == file) else { return Ok(()) };
    if rule.builtin && !std::path::Path::new(file).is_file() {
        return Err(Refusal::of(format!("{file} is inside the binary; name the rule files to rewrite them")));
    }
    std::fs::write(file, replace_literals(&rule.source.text, edits))
        .map_err(|it| Refusal::of(format!("{file} cannot be written: {it}")))
}

/// All rules in the real engine, with lateness 0. A story hears only of its own rule.
struct Player {
    set: Arc<RuleSet>,
    rule: String,
    reading: Reading,
    shipped: Arc<Geo>,
    front: Front,
    engine: Engine,
    framer: Framer,
    reference: Timestamp,
}

impl Player {
    fn new(rules: Vec<Rule>, schemas: &[Schema], lists: &Lists) -> Result<Player, Refusal> {
        let set = RuleSet::compile(rules, schemas, lists, Wanted::ByRules)
            .map_err(|it| Refusal { problems: vec![Problem::of_file(&it.rule, it.problem)] })?;
        let set = Arc::new(set);
        let shipped = Arc::new(named(Geo::shipped()));
        Ok(Player {
            rule: String::new(),
            reading: Reading { format: None, zone: Zone::UTC },
            front: front(&set, &shipped),
            engine: Engine::new(set.clone(), HashKeys::random(), 1),
            framer: Framer::new(0, crate::limits::LINE_BYTES_MAX),
            reference: clock::now(),
            set,
            shipped,
        })
    }

    /// Forgets the story before.
    fn start(&mut self, story: &Story) -> Result<(), Refusal> {
        let geo = match story.geoip.is_empty() {
            true => self.shipped.clone(),
            false => {
                let files: Vec<PathBuf> = story.geoip.iter().map(PathBuf::from).collect();
                Arc::new(named(Geo::open(&files).map_err(|it| Refusal::of(it.to_string()))?))
            }
        };
        self.reading.format = story.format.as_deref().and_then(format::find);
        self.front = front(&self.set, &geo);
        self.engine = Engine::new(self.set.clone(), HashKeys::random(), 1);
        self.engine.add_source("story", Span::ZERO);
        self.framer = Framer::new(0, crate::limits::LINE_BYTES_MAX);
        Ok(())
    }

    fn feed(&mut self, batch: &LineBatch) -> Vec<Alert> {
        let (mut judged, mut told) = (Judged::default(), Vec::new());
        self.front.judge(batch, &self.reading, None, self.reference, &mut judged);
        self.engine.observe(&mut judged, &mut told);
        self.engine.source_is_idle(0, &mut told);
        self.own(told)
    }

    fn own(&self, mut told: Vec<Alert>) -> Vec<Alert> {
        told.retain(|it| it.rule.id == self.rule);
        told
    }
}

fn named(geo: Geo) -> Geo {
    geo.with_country_names(|code| Country::find(code).map(Country::name))
}

fn front(set: &Arc<RuleSet>, geo: &Arc<Geo>) -> Front {
    Front::new(set.clone(), HashKeys::random(), crate::enrich::Enricher::new(geo.clone()))
}

impl StoryEngine for Player {
    fn line(&mut self, text: &str) -> Vec<Alert> {
        let mut batch = LineBatch::default();
        self.framer.push(text.as_bytes(), &mut batch);
        self.framer.push(b"\n", &mut batch);
        self.feed(&batch)
    }

    fn wait(&mut self, until: Timestamp) -> Vec<Alert> {
        let mut told = Vec::new();
        self.engine.pass_time(until, &mut told);
        self.own(told)
    }

    fn end(&mut self) -> Vec<Alert> {
        let mut batch = LineBatch::default();
        self.framer.finish(&mut batch);
        let mut told = self.feed(&batch);
        self.engine.finish(&mut told);
        self.own(told)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::Reader;
    use crate::rule::coverage::{Vendor, Verdict};
    use crate::rule::load::{Builtin, load};
    use crate::rule::story::Said;

    /// A rule is believed when it was seen to fire, and to keep quiet, on what people have: so each of ours is told by three
    /// vendors (or all that can give what it waits for), and by three logs that are nearly what it looks for.
    #[test]
    fn every_rule_is_told_by_three_vendors_and_three_near_misses() {
        const ENOUGH: usize = 3;
        let loaded = load(&[], Builtin::All);
        let schemas: Vec<Schema> = loaded.schemas.iter().map(|it| it.value.clone()).collect();
        let vendors: Vec<Vendor<'_>> = schemas.iter().map(Vendor::of).collect();
        let set = Arc::new(RuleSet::compile(Vec::new(), &schemas, &Lists::default(), Wanted::All).unwrap());
        let mut reader = Reader::new(set.clone(), crate::enrich::Enricher::new(Arc::new(Geo::none())));
        let provider = set.fields.mapped_id("event.provider").unwrap();
        let reading = Reading { format: None, zone: Zone::UTC };
        let mut lacking = Vec::new();
        for rule in loaded.rules.iter().map(|it| &it.value) {
            let stories: Vec<Story> = rule.stories.iter().map(|it| Story::parse(it).unwrap()).collect();
            let mut telling = BTreeSet::new();
            let mut quiet = 0;
            for story in &stories {
                let mut told = story.told().filter(|it| it.1.rule == rule.id && it.1.said != Said::Resolved).peekable();
                quiet += usize::from(told.peek().is_none());
                for (line, _) in told {
                    let _read = reader.read(line, &reading, Timestamp::from_micros(0), &mut |read, _| {
                        telling.extend(read.event().get(provider).and_then(|it| it.as_text().map(str::to_string)));
                    });
                }
            }
            let able = vendors.iter().filter(|it| it.judge(rule) == Verdict::Can).count();
            let wanted = able.min(ENOUGH);
            if telling.len() < wanted || quiet < ENOUGH {
                lacking.push(format!("{}: told by {telling:?} of {able}, {quiet} near misses", rule.id));
            }
            let is_explained = rule.about.len() > 80 && rule.tags.iter().any(|it| it.starts_with("attack.t"));
            if !is_explained {
                lacking.push(format!("{}: why it matters, what to check, and a technique of ATT&CK", rule.id));
            }
        }
        assert!(lacking.is_empty(), "{}", lacking.join("\n"));
    }
}
