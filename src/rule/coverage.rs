//! Which rules can fire for which vendor.
//!
//! A rule that waits for a field no schema of yours fills is worse than none: it looks like protection. So we ask of every rule and
//! every schema what some record of that vendor would have to have. The answer is "cannot" only where it is certain: conditions on
//! values are taken to be satisfiable, and a `Not` always is.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::file::Rule;
use crate::detect::Detect;
use crate::expr::{Expr, Literal};
use crate::schema::file::{Case, Schema};

/// What one schema can say.
#[derive(Debug)]
pub struct Vendor<'a> {
    pub schema: &'a Schema,
    pub activities: BTreeSet<&'a str>,
    pub tags: BTreeSet<&'a str>,
    kinds: Vec<Kind<'a>>,
}

/// One kind of record of a vendor: what a case gives.
#[derive(Debug)]
struct Kind<'a> {
    provider: &'a str,
    activity: &'a str,
    tags: BTreeSet<&'a str>,
    fields: BTreeSet<&'a str>,
    /// The schema, written: a path it speaks of is one that its records may have.
    words: String,
}

/// Whether a rule can fire for a vendor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Can,
    /// What its records lack: `activity login.failure`, `source.ip`.
    Cannot(Vec<String>),
}

impl<'a> Vendor<'a> {
    pub fn of(schema: &'a Schema) -> Vendor<'a> {
        let words = ron::to_string(&Schema { examples: Vec::new(), ..schema.clone() }).unwrap_or_default();
        let always: BTreeSet<&str> = schema.tags.iter().map(|it| it.0.as_str()).collect();
        let fields = |case: Option<&'a Case>| {
            let maps = [Some(&schema.fields), case.map(|it| &it.set)].into_iter().flatten();
            let mut fields: BTreeSet<&str> = maps.flat_map(|it| it.0.iter().map(|it| it.0.as_str())).collect();
            fields.extend([
                "activity",
                "event.provider",
                "event.outcome",
                "record.values",
                "entity.name",
                "entity.target.name",
            ]);
            fields.extend(schema.action.is_some().then_some("event.action"));
            fields.extend(fields.contains("user.name").then_some("user.email"));
            fields
        };
        let kind = |case: Option<&'a Case>| Kind {
            provider: &schema.id,
            activity: case.map_or("other", |it| it.activity.as_str()),
            tags: always.iter().copied().chain(case.iter().flat_map(|it| it.tags.iter().map(String::as_str))).collect(),
            fields: fields(case),
            words: words.clone(),
        };
        let kinds: Vec<Kind> = schema.cases.iter().map(Some).chain([None]).map(kind).collect();
        Vendor {
            schema,
            activities: kinds.iter().map(|it| it.activity).filter(|it| *it != "other").collect(),
            tags: kinds.iter().flat_map(|it| it.tags.iter().copied()).collect(),
            kinds,
        }
    }

    /// Whether a rule can fire on this vendor's records, and what is missing if not.
    pub fn judge(&self, rule: &Rule) -> Verdict {
        let mut missing = Vec::new();
        match &rule.detect {
            Detect::Sequence { steps, .. } => {
                for step in steps.iter().filter(|it| !it.absent) {
                    missing.extend(self.least(rule, &[&rule.when, &step.when]));
                }
            }
            Detect::Absence { first, .. } => missing = self.least(rule, &[&rule.when, first]),
            Detect::OffHours { told: Some(told), .. } => missing = self.least(rule, &[&rule.when, told]),
            Detect::FanOut { failed, .. } => missing = self.least(rule, &[&rule.when, failed]),
            _ => missing = self.least(rule, &[&rule.when]),
        }
        missing.sort();
        missing.dedup();
        if missing.is_empty() { Verdict::Can } else { Verdict::Cannot(missing) }
    }

    /// What the kind of record that comes nearest lacks.
    fn least(&self, rule: &Rule, conditions: &[&Expr]) -> Vec<String> {
        let lacks = |kind: &Kind| {
            let mut missing: Vec<String> = conditions.iter().flat_map(|it| kind.lacks(it)).collect();
            let unmet = missing.len();
            let mut wanted: Vec<String> = rule.by.iter().map(|it| it.field().to_string()).collect();
            // Travel takes whatever places there are: an address is enough.
            match &rule.detect {
                Detect::Travel {} => wanted.push("source.ip".into()),
                // Peers are a help, and one of the fields is enough.
                Detect::Unfamiliar { fields, .. } => {
                    wanted.extend(fields.iter().find(|it| kind.has(it)).or(fields.first()).cloned());
                }
                Detect::Spike { field, .. } | Detect::Growth { field, .. } => {
                    wanted.extend((!field.is_empty()).then(|| field.clone()));
                }
                Detect::FanOut { field, .. } => wanted.push(field.clone()),
                Detect::OffHours { .. } => {}
                kind => wanted.extend(kind.fields()),
            }
            missing.extend(wanted.into_iter().filter(|it| !kind.has(it)));
            missing.sort();
            missing.dedup();
            (unmet, missing)
        };
        // A record that means the right thing and lacks a field comes nearer than one that means something else.
        let nearest = self.kinds.iter().map(lacks).min_by_key(|it| (it.0, it.1.len()));
        nearest.map(|it| it.1).unwrap_or_default()
    }
}

impl Kind<'_> {
    /// What is missing for the condition to be satisfiable.
    fn lacks(&self, expr: &Expr) -> Vec<String> {
        match expr {
            Expr::All(parts) => parts.iter().flat_map(|it| self.lacks(it)).collect(),
            Expr::Any(parts) => parts.iter().map(|it| self.lacks(it)).min_by_key(Vec::len).unwrap_or_default(),
            Expr::Not(_) => Vec::new(),
            Expr::NoCase(part) => self.lacks(part),
            Expr::Eq(field, value) => self.lacks_word(field, std::slice::from_ref(value)),
            Expr::OneOf(field, values) => self.lacks_word(field, values),
            Expr::StartsWith(field, text) if field == "event.provider" => {
                let fits = self.provider.starts_with(text.as_str());
                if fits { Vec::new() } else { vec![format!("a record of {text}…")] }
            }
            leaf => {
                let mut missing = Vec::new();
                leaf.fields(&mut |it| missing.extend((!self.has(it)).then(|| it.to_string())));
                missing
            }
        }
    }

    fn lacks_word(&self, field: &str, values: &[Literal]) -> Vec<String> {
        let texts: Vec<&str> =
            values.iter().filter_map(|it| if let Literal::Text(it) = it { Some(it.as_str()) } else { None }).collect();
        let (fits, what) = match field {
            "activity" => (texts.contains(&self.activity), "activity"),
            "tags" => (texts.iter().any(|it| self.tags.contains(it)), "tag"),
            "event.provider" => (texts.contains(&self.provider), "a record of"),
            _ => (self.has(field), ""),
        };
        match (fits, what) {
            (true, _) => Vec::new(),
            (false, "") => vec![field.to_string()],
            (false, what) => vec![format!("{what} {}", texts.join(" or "))],
        }
    }

    fn has(&self, field: &str) -> bool {
        let root = field.split('[').next().unwrap_or(field).trim_start_matches('.');
        self.fields.contains(field)
            || self.fields.contains(root)
            || is_geo(field) && self.fields.contains("source.ip")
            || field == "tags" && !self.tags.is_empty()
            || !is_ecs(field) && self.words.contains(&format!("\"{root}"))
    }
}

/// What the geo database adds to an address.
fn is_geo(field: &str) -> bool {
    field.starts_with("source.geo.") || field.starts_with("source.as.")
}

/// Names that only a schema fills: that it reads a path of that name somewhere says nothing.
fn is_ecs(field: &str) -> bool {
    let families = ["user.", "source.", "event.", "host.", "user_agent."];
    matches!(field, "activity" | "tags" | "message") || families.iter().any(|it| field.starts_with(it))
}

/// The page `docs/coverage.md`.
pub fn page(schemas: &[&Schema], rules: &[&Rule]) -> String {
    let mut vendors: Vec<Vendor> = schemas.iter().map(|it| Vendor::of(it)).collect();
    vendors.sort_by(|a, b| a.schema.id.cmp(&b.schema.id));
    let mut rules: Vec<&Rule> = rules.to_vec();
    rules.sort_by(|a, b| a.id.cmp(&b.id));
    let mut out = String::from(
        "# Coverage\n\nWhich rules can fire for which vendor. Made by `tripline rules --coverage`, which tells the same of your own rules and\nschemas.\n\n## Vendors\n\n| schema | log | rules | activities | tags |\n|---|---|---|---|---|\n",
    );
    let words = |it: &BTreeSet<&str>| it.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(" ");
    let cell = |it: &str| it.replace('|', "\\|");
    for vendor in &vendors {
        let can = rules.iter().filter(|it| vendor.judge(it) == Verdict::Can).count();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| `{}` | {} | {can} of {} | {} | {} |",
            vendor.schema.id,
            cell(&vendor.schema.title),
            rules.len(),
            words(&vendor.activities),
            words(&vendor.tags)
        );
    }
    out.push_str("\n## Rules\n\n| rule | vendors | fires for | elsewhere missing |\n|---|---|---|---|\n");
    for rule in &rules {
        let verdicts: Vec<(&str, Verdict)> = vendors.iter().map(|it| (it.schema.id.as_str(), it.judge(rule))).collect();
        let can: Vec<String> =
            verdicts.iter().filter(|it| it.1 == Verdict::Can).map(|it| format!("`{}`", it.0)).collect();
        let mut missing: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
        for (_, verdict) in &verdicts {
            if let Verdict::Cannot(what) = verdict {
                *missing.entry(what.join(", ")).or_default() += 1;
            }
        }
        let mut missing: Vec<(String, usize)> = missing.into_iter().collect();
        missing.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let more = missing.len().saturating_sub(2);
        let mut told: Vec<String> = missing.iter().take(2).map(|(what, count)| format!("{what} ({count})")).collect();
        if more > 0 {
            told.push(format!("{more} other reasons"));
        }
        let _ = writeln!(
            out,
            "| `{}` | {} of {} | {} | {} |",
            rule.id,
            can.len(),
            vendors.len(),
            can.join(" "),
            cell(&told.join("; "))
        );
    }
    out + &holes(&vendors, &rules)
}

/// What nobody says, and what nobody asks for.
fn holes(vendors: &[Vendor<'_>], rules: &[&Rule]) -> String {
    let mut asked: BTreeSet<String> = BTreeSet::new();
    for rule in rules {
        rule.detect.steps().into_iter().chain([&rule.when]).for_each(|it| words_asked(it, &mut asked));
    }
    let said: BTreeSet<&str> = vendors.iter().flat_map(|it| it.activities.iter().chain(&it.tags).copied()).collect();
    let list = |it: Vec<&str>| match it.is_empty() {
        true => "none".to_string(),
        false => it.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(" "),
    };
    let unasked = said.iter().copied().filter(|it| !asked.contains(*it)).collect();
    let unsaid = asked.iter().map(String::as_str).filter(|it| !said.contains(it)).collect();
    let silent: Vec<&str> = rules
        .iter()
        .filter(|rule| vendors.iter().all(|it| it.judge(rule) != Verdict::Can))
        .map(|it| it.id.as_str())
        .collect();
    format!(
        "\n## Holes\n\n- Said by schemas, asked by no rule: {}\n- Asked by rules, said by no schema: {}\n- Rules that can fire for nobody: {}\n",
        list(unasked),
        list(unsaid),
        list(silent)
    )
}

/// The activities and tags that a condition asks for.
fn words_asked(expr: &Expr, asked: &mut BTreeSet<String>) {
    match expr {
        Expr::All(parts) | Expr::Any(parts) => parts.iter().for_each(|it| words_asked(it, asked)),
        Expr::NoCase(part) => words_asked(part, asked),
        Expr::Eq(field, Literal::Text(text)) if field == "activity" || field == "tags" => {
            asked.insert(text.clone());
        }
        Expr::OneOf(field, values) if field == "activity" || field == "tags" => {
            let texts = values.iter().filter_map(|it| if let Literal::Text(it) = it { Some(it.clone()) } else { None });
            asked.extend(texts);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::load::{Builtin, load, load_text};

    const SCHEMA: &str = r#"Schema(id: "own", title: "Own", recognise: Exists("own_id"), action: "what", fields: {"user.name": "who"},
        cases: [
            (activity: "login.failure", on: ["bad"], set: {"source.ip": Address("from")}),
            (activity: "logout", on: ["bye"], tags: ["goodbye"]),
        ], examples: [])"#;

    fn check(rule: &str, expected: &str) {
        let loaded = load_text("a.ron", &format!("[{SCHEMA}, Rule(id: \"r\", title: \"t\", severity: Low, {rule})]"));
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let found = match Vendor::of(&loaded.schemas[0].value).judge(&loaded.rules[0].value) {
            Verdict::Can => "can".to_string(),
            Verdict::Cannot(what) => what.join(", "),
        };
        assert_eq!(found, expected, "{rule}");
    }

    #[test]
    fn a_rule_can_fire_or_lacks_something() {
        check(r#"when: Eq("activity", "login.failure"), by: ["user.name", "source.ip"], detect: Each"#, "can");
        check(r#"when: Eq("activity", "login.failure"), by: ["source.geo.country_iso_code"], detect: Each"#, "can");
        check(r#"when: Eq("activity", "logout"), by: ["source.ip"], detect: Each"#, "source.ip");
        check(r#"when: Eq("activity", "user.created"), detect: Each"#, "activity user.created");
        check(r#"when: OneOf("activity", ["user.created", "logout"]), detect: Each"#, "can");
        check(r#"when: All([Eq("activity", "login.failure"), Eq("tags", "goodbye")]), detect: Each"#, "tag goodbye");
        check(r#"when: All([Eq("activity", "logout"), Not(Eq("user.roles", "x"))]), detect: Each"#, "can");
        check(r#"when: Eq("event.provider", "okta"), detect: Each"#, "a record of okta");
        check(r#"when: Contains("from", "x"), detect: Each"#, "can");
        check(r#"when: Contains("elsewhere", "x"), detect: Each"#, "elsewhere");
        check(
            r#"when: Eq("activity", "logout"), detect: Distinct(field: "host.name", at_least: 2, within: "1m")"#,
            "host.name",
        );
        check(
            r#"detect: Sequence(steps: [(when: Eq("activity", "login.failure")), (when: Eq("activity", "login.success"))], within: "1m")"#,
            "activity login.success",
        );
    }

    /// `UPDATE=1` writes the page anew; the difference is the review.
    #[test]
    fn the_page_is_up_to_date() {
        let loaded = load(&[], Builtin::All);
        let schemas: Vec<&Schema> = loaded.schemas.iter().map(|it| &it.value).collect();
        let rules: Vec<&Rule> = loaded.rules.iter().map(|it| &it.value).collect();
        let page = page(&schemas, &rules);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/coverage.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page, "docs/coverage.md is old: run the test with UPDATE=1");
    }
}
