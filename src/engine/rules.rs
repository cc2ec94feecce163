//! A set of rules, ready to judge lines.
//!
//! Everything that depends only on rules and schemas is done here, once: names become numbers, expressions an index,
//! titles templates. The set is immutable and shared by all threads; a reload makes a new one.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use twox_hash::XxHash3_64;

use crate::alert::RuleCard;
use crate::enrich::{self, GeoFields};
use crate::expr::{Expr, Literal};
use crate::format::Paths;
use crate::limits;
use crate::matcher::{Lists, Matcher};
use crate::model::canonical::Compare;
use crate::model::path::Path;
use crate::model::title::Template;
use crate::model::{Event, FieldId, Fields, Outline, RuleIndex, Value, stands_for};
use crate::rule::file::{By, Rule};
use crate::schema::Schemas;
use crate::schema::file::Schema;

/// Immutable; shared by fronts, shards and the desk.
pub struct RuleSet {
    /// Sorted by id.
    pub rules: Vec<Compiled>,
    /// For each rule, what every hit asks of it.
    pub plans: Vec<Plan>,
    pub cards: Arc<[RuleCard]>,
    pub fields: Fields,
    pub paths: Paths,
    pub schemas: Schemas,
    pub matcher: Matcher,
    /// For each expression of the matcher: its rule, and the step's bit.
    pub owners: Vec<(RuleIndex, u32)>,
    /// Geo fields that something wants; None when nothing does.
    pub geo: Option<GeoFields>,
    /// Of which events conditions read them, so that they must be there before matching.
    pub geo_first: GeoFirst,
    /// Where every value of a record goes as one list (`record.values`); None when no rule asks.
    pub every_value: Option<FieldId>,
    /// How many different fields of `by` there are, how many different `by`, and how many different lists of what hits take along.
    pub distinct_parts: usize,
    pub distinct_by: usize,
    pub distinct_carry: usize,
}

/// Every value of the record, whatever its key: for words that may stand anywhere.
pub const EVERY_VALUE: &str = "record.values";

/// One rule with its names looked up.
pub struct Compiled {
    pub rule: Rule,
    pub by: Vec<(FieldId, Compare)>,
    /// Of each of these, which of all that rules ask for it is.
    pub by_parts: Vec<usize>,
    /// What each hit takes along: the detector's fields first, then the title's.
    pub carry: Vec<FieldId>,
    pub carries_geo: bool,
    /// XXH3-64 of the id.
    pub hash: u64,
    fingerprint: OnceLock<u64>,
}

/// What every hit asks of its rule, apart from the rest: of a hundred rules that is little enough to stay in the caches.
#[derive(Clone, Copy)]
pub struct Plan {
    /// XXH3-64 of the id.
    pub hash: u64,
    /// Which of the distinct `by` of the set it has.
    pub by: u32,
    /// Which of the distinct lists of what hits take along.
    pub carry: u32,
    pub sees_everybody: bool,
}

/// Which events have their geo fields filled in before they are matched. Looking them up for every line was a tenth of what
/// reading and matching cost, for the sake of one condition about sign-ins.
pub enum GeoFirst {
    None,
    /// Those with one of these texts in the field: every condition that reads geo fields asks for one of them as well.
    With(FieldId, Vec<String>),
    All,
}

impl GeoFirst {
    /// Whether this event is one of them.
    pub fn asks(&self, event: Event<'_>) -> bool {
        match self {
            GeoFirst::None => false,
            GeoFirst::All => true,
            GeoFirst::With(field, texts) => match event.get(*field) {
                None => false,
                Some(Value::Text(text)) => texts.iter().any(|it| it == text),
                Some(_) => true,
            },
        }
    }

    fn of(exprs: &[Expr], fields: &mut Fields) -> GeoFirst {
        let mut all = Some(Vec::new());
        for expr in exprs {
            let mut reads = false;
            expr.fields(&mut |it| reads |= enrich::is_geo_field(it));
            if reads {
                all = all.zip(needed(expr, ACTIVITY)).map(|(mut all, mut more)| {
                    all.append(&mut more);
                    all
                });
            }
        }
        match all {
            None => GeoFirst::All,
            Some(texts) if texts.is_empty() => GeoFirst::None,
            Some(texts) => GeoFirst::With(fields.named_by_rule(ACTIVITY), texts),
        }
    }
}

const ACTIVITY: &str = "activity";

/// Texts of which the field must have one, or the expression does not hold. None: nothing of the kind is certain.
fn needed(expr: &Expr, field: &str) -> Option<Vec<String>> {
    let text = |it: &Literal| match it {
        Literal::Text(it) => Some(it.clone()),
        Literal::Int(_) | Literal::Float(_) | Literal::Bool(_) => None,
    };
    match expr {
        Expr::Eq(name, value) if name == field => Some(vec![text(value)?]),
        Expr::OneOf(name, values) if name == field => values.iter().map(text).collect(),
        Expr::All(all) => all.iter().find_map(|it| needed(it, field)),
        Expr::Any(any) => {
            let each: Option<Vec<Vec<String>>> = any.iter().map(|it| needed(it, field)).collect();
            each.map(|it| it.concat())
        }
        _ => None,
    }
}

/// Which mapped fields are computed for every event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Those that some rule names.
    ByRules,
    /// All of them, for output.
    All,
}

/// A rule that cannot be compiled: which, and why.
#[derive(Debug)]
pub struct CompileError {
    pub rule: String,
    pub problem: String,
}

impl RuleSet {
    /// Whether some rule could hold for an event of which only an outline is known.
    pub fn could_match(&self, outline: Outline) -> bool {
        let mut open = outline.open.to_vec();
        let computed = self.geo.iter().flat_map(GeoFields::ids).chain(self.every_value);
        computed.for_each(|it| open[it.index() / 64] |= 1 << (it.index() % 64));
        self.matcher.could_match(Outline { open: &open, ..outline })
    }

    /// Rules are sorted by id, whatever order they came in. Ids are known to be unique and titles to parse.
    pub fn compile(
        mut rules: Vec<Rule>,
        schemas: &[Schema],
        lists: &Lists,
        wanted: Wanted,
    ) -> Result<RuleSet, CompileError> {
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        if rules.len() > limits::RULES_MAX {
            let problem = format!("{} rules; at most {} can be loaded", rules.len(), limits::RULES_MAX);
            return Err(CompileError { rule: rules[limits::RULES_MAX].id.clone(), problem });
        }
        let titles = rules.iter().map(title).collect::<Result<Vec<_>, _>>()?;
        let (names, computed) = names_of(&rules, &titles);
        let geo_wanted = wanted == Wanted::All || names.iter().any(|it| enrich::is_geo_field(it));
        let is_wanted = |name: &str| {
            wanted == Wanted::All
                || names.contains(name)
                || name == "activity"
                || geo_wanted && (enrich::is_geo_source(name) || enrich::is_geo_field(name))
        };
        let mut fields = Fields::default();
        let schemas = Schemas::compile(schemas, &mut fields, &is_wanted, &computed)
            .map_err(|it| CompileError { rule: it.schema, problem: it.problem })?;
        let geo = geo_wanted.then(|| GeoFields::intern(&mut fields));
        let every_value = names.contains(EVERY_VALUE).then(|| fields.mapped(EVERY_VALUE));
        let (exprs, owners) = expressions(&rules);
        let matcher = Matcher::compile(&exprs, &mut fields, lists)
            .map_err(|it| CompileError { rule: rules[owners[it.expr].0.index()].id.clone(), problem: it.problem })?;
        let mut by_names = rules.iter().flat_map(|it| &it.by);
        let geo_first = match wanted == Wanted::All || by_names.any(|it| enrich::is_geo_field(it.field())) {
            true => GeoFirst::All,
            false => GeoFirst::of(&exprs, &mut fields),
        };
        let cards = rules.iter().zip(&titles).map(|(rule, title)| card(rule, title)).collect();
        let mut rules: Vec<Compiled> =
            rules.into_iter().zip(&titles).map(|(rule, title)| Compiled::new(rule, title, &mut fields)).collect();
        let (plans, [distinct_parts, distinct_by, distinct_carry]) = plan(&mut rules);
        if fields.len() > limits::FIELDS_MAX {
            let problem = format!("{} field names; at most {} can be used", fields.len(), limits::FIELDS_MAX);
            return Err(CompileError { rule: String::new(), problem });
        }
        let paths = Paths::new(&fields);
        Ok(RuleSet {
            rules,
            plans,
            cards,
            fields,
            paths,
            schemas,
            matcher,
            owners,
            geo,
            geo_first,
            every_value,
            distinct_parts,
            distinct_by,
            distinct_carry,
        })
    }
}

impl Compiled {
    fn new(rule: Rule, title: &Template, fields: &mut Fields) -> Compiled {
        let by = rule.by.iter().map(|it| (fields.named_by_rule(it.field()), compare(it))).collect();
        let mut carry_names = rule.detect.fields();
        carry_names.extend(title_fields(&rule, title));
        let carry = carry_names.iter().map(|it| fields.named_by_rule(it)).collect();
        Compiled {
            carries_geo: carry_names.iter().any(|it| enrich::is_geo_field(it)),
            hash: XxHash3_64::oneshot(rule.id.as_bytes()),
            fingerprint: OnceLock::new(),
            rule,
            by,
            by_parts: Vec::new(),
            carry,
        }
    }

    /// Of everything by which the rule judges: two rules with one fingerprint judge alike. Whether anybody is told is no part of
    /// it, nor is advice and are examples, or a rule would forget what it learned on the day it is trusted or explained better.
    pub fn fingerprint(&self) -> u64 {
        *self.fingerprint.get_or_init(|| {
            let rule = Rule { shadow: false, about: String::new(), stories: Vec::new(), ..self.rule.clone() };
            XxHash3_64::oneshot(ron::to_string(&rule).unwrap_or_default().as_bytes())
        })
    }
}

/// The fields of the title that are not in the entity, and those of which the entity shows the first that is there.
fn title_fields(rule: &Rule, title: &Template) -> Vec<String> {
    let in_entity = |name: &str| rule.by.iter().any(|it| it.field() == name);
    let mut names: Vec<&str> = title.fields().into_iter().filter(|it| !in_entity(it)).collect();
    for name in rule.by.iter().flat_map(|it| stands_for(it.field())) {
        if !names.contains(name) && !in_entity(name) {
            names.push(name);
        }
    }
    names.into_iter().map(str::to_string).collect()
}

/// Numbers the different `by`, so that whose a hit is, is asked once for all rules with the same, and what hits take along.
/// Says how many there are of each, and of fields of `by`.
fn plan(rules: &mut [Compiled]) -> (Vec<Plan>, [usize; 3]) {
    let (mut parts, mut by, mut carry) = (HashMap::new(), HashMap::new(), HashMap::new());
    let plans = rules.iter_mut().map(|rule| {
        for part in &rule.by {
            let next = parts.len();
            rule.by_parts.push(*parts.entry(*part).or_insert(next));
        }
        let (next_by, next_carry) = (by.len() as u32, carry.len() as u32);
        Plan {
            hash: rule.hash,
            by: *by.entry(rule.by.clone()).or_insert(next_by),
            carry: *carry.entry(rule.carry.clone()).or_insert(next_carry),
            sees_everybody: rule.rule.detect.sees_everybody(),
        }
    });
    let plans = plans.collect();
    (plans, [parts.len(), by.len(), carry.len()])
}

fn compare(by: &By) -> Compare {
    match by {
        By::Prefix(_, bits) => Compare::Prefix(*bits),
        By::Default(field) if field.ends_with(".ip") => Compare::Address,
        _ if by.folds() => Compare::Folded,
        _ => Compare::Exact,
    }
}

/// The name under which people see a field: of several places, the first.
fn shown(field: &str) -> &str {
    Path::places(field).next().unwrap_or(field).trim_start_matches('.')
}

fn title(rule: &Rule) -> Result<Template, CompileError> {
    Template::parse(&rule.title).map_err(|it| CompileError { rule: rule.id.clone(), problem: it.what })
}

fn card(rule: &Rule, title: &Template) -> RuleCard {
    RuleCard {
        id: rule.id.clone(),
        title: rule.title.clone(),
        template: title.clone(),
        severity: rule.severity,
        tags: rule.tags.clone(),
        about: rule.about.clone(),
        by: rule.by.iter().map(|it| shown(it.field()).to_string()).collect(),
        compare: rule.by.iter().map(compare).collect(),
        carried_before: rule.detect.fields().len(),
        carried: title_fields(rule, title),
        quiet: rule.detect.quiet(rule.quiet),
        kind: rule.detect.name(),
    }
}

/// All names that rules use, and those among them that select inside arrays.
fn names_of(rules: &[Rule], titles: &[Template]) -> (BTreeSet<String>, Vec<String>) {
    let mut names = BTreeSet::new();
    for (rule, title) in rules.iter().zip(titles) {
        rule.when.fields(&mut |it| {
            names.insert(it.to_string());
        });
        for step in rule.detect.steps() {
            step.fields(&mut |it| {
                names.insert(it.to_string());
            });
        }
        names.extend(rule.by.iter().map(|it| it.field().to_string()));
        names.extend(rule.by.iter().flat_map(|it| stands_for(it.field())).map(|it| it.to_string()));
        names.extend(rule.detect.fields());
        names.extend(title.fields().into_iter().map(str::to_string));
    }
    let computed = names.iter().filter(|it| Path::is_computed(it)).cloned().collect();
    (names, computed)
}

/// One expression a rule, or one a step for rules with steps, in the order of the rules.
fn expressions(rules: &[Rule]) -> (Vec<Expr>, Vec<(RuleIndex, u32)>) {
    let mut exprs = Vec::new();
    let mut owners = Vec::new();
    for (number, rule) in rules.iter().enumerate().filter(|it| !it.1.detect.judges_findings()) {
        let index = RuleIndex(number as u16);
        let steps = rule.detect.steps();
        for (step, it) in steps.iter().enumerate() {
            exprs.push(Expr::All(vec![rule.when.clone(), (*it).clone()]));
            owners.push((index, 1 << step));
        }
        if steps.is_empty() {
            exprs.push(rule.when.clone());
            owners.push((index, 1));
        }
    }
    (exprs, owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_field_must_be() {
        let check = |expr: &str, expected: Option<&[&str]>| {
            let expr: Expr = ron::from_str(expr).unwrap();
            let found = needed(&expr, ACTIVITY);
            let found: Option<Vec<&str>> = found.as_ref().map(|it| it.iter().map(String::as_str).collect());
            assert_eq!(found.as_deref(), expected, "{expr:?}");
        };
        check(r#"Eq("activity", "login.success")"#, Some(&["login.success"]));
        check(r#"All([Exists("source.as.number"), OneOf("activity", ["a", "b"])])"#, Some(&["a", "b"]));
        check(r#"Any([Eq("activity", "a"), All([Eq("activity", "b"), Exists("f")])])"#, Some(&["a", "b"]));
        check(r#"Any([Eq("activity", "a"), Exists("source.as.number")])"#, None);
        check(r#"Any([])"#, Some(&[]));
        check(r#"Not(Eq("activity", "a"))"#, None);
        check(r#"NoCase(Eq("activity", "a"))"#, None);
        check(r#"Eq("activity", 5)"#, None);
        check(r#"Eq("other", "a")"#, None);
    }
}
