//! Correlation rules: several events, or several rules, in a time.

use saphyr::{Mapping, Yaml};

use super::source::LogSource;
use super::{Document, Draft, Turner, get, list_of, text_of, write};
use crate::expr::Expr;
use crate::model::Span;

/// What a correlation counts, read.
struct Correlation<'a> {
    kind: String,
    rules: Vec<usize>,
    within: Span,
    by: Vec<String>,
    condition: Option<&'a Mapping<'a>>,
}

/// The least count that satisfies a correlation's condition.
struct Least {
    count: u64,
    note: Option<String>,
}

pub fn turn(turner: &Turner<'_>, document: &Document<'_>) -> Result<Draft, String> {
    let it = read(turner, document)?;
    let within = format!("\"{}\"", it.within);
    let mut notes = Vec::new();
    let (when, detect, tail) = match it.kind.as_str() {
        "event_count" => {
            let least = least(it.condition)?;
            notes.extend(least.note);
            let detect = format!("Count(at_least: {}, within: {within})", least.count);
            (Some(one_of(turner, &it)?), detect, ": {count} in {span}")
        }
        "value_count" => {
            let least = least(it.condition)?;
            notes.extend(least.note);
            let field = write::text(&counted(turner, &it)?);
            let detect = format!("Distinct(field: {field}, at_least: {}, within: {within})", least.count);
            (Some(one_of(turner, &it)?), detect, ": {distinct} different values in {span}")
        }
        "value_sum" => {
            let least = least_sum(it.condition)?;
            let field = write::text(&counted(turner, &it)?);
            let detect = format!("Sum(field: {field}, at_least: {least:?}, within: {within})");
            (Some(one_of(turner, &it)?), detect, " in {span}")
        }
        "temporal" | "temporal_ordered" => {
            if let Some(condition) = it.condition {
                let least = least(Some(condition))?;
                if least.count != it.rules.len() as u64 {
                    return Err("some of the rules, but not all of them, in a time: there is no such kind".into());
                }
            }
            let steps = match get(&document.map, "correlation")
                .and_then(Yaml::as_mapping)
                .and_then(|it| get(it, "condition"))
            {
                Some(Yaml::Value(_)) if it.kind == "temporal_ordered" => {
                    return Err("rules in an order that a condition names: there is no such kind".into());
                }
                Some(text @ Yaml::Value(_)) => extended(turner, &it, &text_of(text).unwrap_or_default())?,
                _ => steps(turner, &it, &mut notes)?,
            };
            let ordered = if it.kind == "temporal" { "\n        ordered: false," } else { "" };
            let detect =
                format!("Sequence(\n        steps: [\n{steps}        ],\n        within: {within},{ordered}\n    )");
            (None, detect, "")
        }
        "value_avg" | "value_percentile" | "value_median" => {
            return Err(format!("`{}`: there is no kind of detection for it", it.kind));
        }
        other => return Err(format!("`{other}` is not a correlation of the specification")),
    };
    notes.dedup();
    Ok(Draft { when, by: it.by, detect, tail, notes })
}

fn read<'a>(turner: &Turner<'_>, document: &'a Document<'_>) -> Result<Correlation<'a>, String> {
    let map = get(&document.map, "correlation").and_then(Yaml::as_mapping).ok_or("`correlation` is no map")?;
    let text = |key: &str| get(map, key).and_then(text_of);
    let kind = text("type").ok_or("a correlation without a type")?;
    let mut rules = Vec::new();
    for name in get(map, "rules").map(list_of).unwrap_or_default().into_iter().filter_map(text_of) {
        let found = turner.find(&name).ok_or_else(|| format!("the rule `{name}` is not among the files"))?;
        rules.push(found);
    }
    if rules.is_empty() {
        return Err("a correlation of no rules".into());
    }
    let within = text("timespan").or_else(|| text("timeframe")).ok_or("a correlation without a timespan")?;
    let within =
        span(&within).ok_or_else(|| format!("`{within}` is no timespan; the specification knows s, m, h and d"))?;
    let mut by = Vec::new();
    for name in get(map, "group-by").map(list_of).unwrap_or_default().into_iter().filter_map(text_of) {
        by.push(grouped(turner, map, &rules, &name)?);
    }
    let condition = match get(map, "condition") {
        None | Some(Yaml::Value(_)) => None,
        Some(Yaml::Mapping(it)) => Some(it),
        Some(_) => return Err("a correlation's condition that is neither a map nor a text".into()),
    };
    Ok(Correlation { kind, rules, within, by, condition })
}

pub(super) fn span(text: &str) -> Option<Span> {
    let (number, unit) = text.trim().split_at_checked(text.trim().len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    let number: i64 = number.trim().parse().ok().filter(|it| (1..=1_000_000).contains(it))?;
    Some(Span::from_secs(number * seconds))
}

/// The one field that a name of `group-by` means in the events of all rules.
fn grouped(turner: &Turner<'_>, map: &Mapping<'_>, rules: &[usize], name: &str) -> Result<String, String> {
    let alias = get(map, "aliases").and_then(Yaml::as_mapping).and_then(|it| get(it, name)).and_then(Yaml::as_mapping);
    let mut found: Option<String> = None;
    for rule in rules {
        let document = &turner.documents[*rule];
        let field = match alias {
            None => name.to_string(),
            Some(alias) => get(alias, &document.name)
                .or_else(|| get(alias, &document.id))
                .and_then(text_of)
                .ok_or_else(|| format!("the alias `{name}` says nothing for `{}`", document.name))?,
        };
        let path = one_path(turner, &source_of(turner, document), &field);
        if found.as_ref().is_some_and(|it| *it != path) {
            return Err(format!(
                "`{name}` is another field in each of the rules; an entity is made of the same fields"
            ));
        }
        found = Some(path);
    }
    found.ok_or_else(|| "a correlation of no rules".into())
}

/// The log source of a rule, or of the first rule behind a correlation.
fn source_of(turner: &Turner<'_>, document: &Document<'_>) -> LogSource {
    let rules =
        get(&document.map, "correlation").and_then(Yaml::as_mapping).and_then(|it| get(it, "rules")).map(list_of);
    let first = rules.and_then(|it| it.first().and_then(|it| text_of(it))).and_then(|it| turner.find(&it));
    match first.map(|it| &turner.documents[it]) {
        Some(inner) if get(&inner.map, "correlation").is_none() => inner.source(),
        _ => document.source(),
    }
}

/// An entity is made of one field: the place where records of that source have it, or the first that is there of several.
pub(super) fn one_path(turner: &Turner<'_>, source: &LogSource, field: &str) -> String {
    turner.explicit(source.main_paths(field)).join(" | ")
}

fn counted(turner: &Turner<'_>, it: &Correlation<'_>) -> Result<String, String> {
    let field = it.condition.and_then(|it| get(it, "field")).ok_or("a count of values without a field")?;
    let field = text_of(field).ok_or("a count of values of several fields: there is no such kind")?;
    let mut paths = it.rules.iter().map(|rule| one_path(turner, &turner.documents[*rule].source(), &field));
    let first = paths.next().ok_or("a correlation of no rules")?;
    if paths.any(|it| it != first) {
        return Err(format!("`{field}` is another field in each of the rules"));
    }
    Ok(first)
}

fn least(condition: Option<&Mapping<'_>>) -> Result<Least, String> {
    let condition = condition.ok_or("a correlation without a condition")?;
    let mut count: Option<u64> = None;
    let mut note = None;
    for (key, value) in condition {
        let key = text_of(key).unwrap_or_default();
        if key == "field" {
            continue;
        }
        let number = value.as_integer().and_then(|it| u64::try_from(it).ok());
        let number = number.ok_or_else(|| format!("`{key}` takes a whole number that is not negative"))?;
        match key.as_str() {
            "gte" => count = count.max(Some(number)),
            "gt" => count = count.max(Some(number.saturating_add(1))),
            "eq" => {
                count = count.max(Some(number));
                note = Some(format!(
                    "`eq: {number}` is told when the count reaches it; more of the same adds to the alert"
                ));
            }
            "lte" | "lt" => {
                note = Some(format!(
                    "`{key}: {number}` bounds a search; here the alert opens at the lower bound, before it is known"
                ));
            }
            other => return Err(format!("`{other}` is not a condition of the specification")),
        }
    }
    match count {
        Some(0) => Err("a count of none holds always".into()),
        Some(count) => Ok(Least { count, note }),
        None => Err("fewer than so many: what does not happen cannot be told when it happens".into()),
    }
}

/// The least sum; more than a number is the next one a float can be, for sums need not be whole.
fn least_sum(condition: Option<&Mapping<'_>>) -> Result<f64, String> {
    let condition = condition.ok_or("a correlation without a condition")?;
    let mut bounds = condition.iter().filter(|it| it.0.as_str() != Some("field"));
    let (Some((key, value)), None) = (bounds.next(), bounds.next()) else {
        return Err("a sum with more or less than one bound".into());
    };
    let number = text_of(value).and_then(|it| it.parse::<f64>().ok()).filter(|it| it.is_finite() && *it > 0.0);
    let number = number.ok_or("a sum is compared with a number above zero")?;
    match key.as_str() {
        Some("gte") => Ok(number),
        Some("gt") => Ok(number.next_up()),
        _ => Err("a sum that is not `gt` or `gte`: it passes every number on its way up".into()),
    }
}

/// What the events of one of the rules satisfy.
fn one_of(turner: &Turner<'_>, it: &Correlation<'_>) -> Result<Expr, String> {
    use super::value::Tidy as _;
    let mut parts = Vec::new();
    for rule in &it.rules {
        let document = &turner.documents[*rule];
        if get(&document.map, "correlation").is_some() {
            return Err("a count of what another correlation found: there is no such kind".into());
        }
        parts.push(turner.condition(document).map_err(|it| within(document, it))?);
    }
    Ok(Expr::Any(parts).flat())
}

fn within(document: &Document<'_>, reason: String) -> String {
    let name = [&document.name, &document.title, &document.id].into_iter().find(|it| !it.is_empty());
    format!("its rule `{}`: {reason}", name.map_or("?", |it| it.as_str()))
}

/// The steps of `a and (b or c)`: each of the terms between `and` is one step, satisfied by any of its rules.
fn extended(turner: &Turner<'_>, it: &Correlation<'_>, text: &str) -> Result<String, String> {
    use super::value::Tidy as _;
    let mut seen = Vec::new();
    let mut out = String::new();
    for term in text.split(" and ") {
        let term = term.trim();
        let term = term.strip_prefix('(').and_then(|it| it.strip_suffix(')')).unwrap_or(term);
        let mut parts = Vec::new();
        for name in term.split(" or ").map(str::trim) {
            let rule = turner.find(name).filter(|rule| it.rules.contains(rule));
            let rule =
                rule.ok_or_else(|| format!("the condition `{text}` is more than rules joined by `and` and `or`"))?;
            if seen.contains(&rule) {
                return Err(format!("the condition `{text}` names a rule twice"));
            }
            seen.push(rule);
            let document = &turner.documents[rule];
            if get(&document.map, "correlation").is_some() {
                return Err("a condition about other correlations: there is no such kind".into());
            }
            parts.push(turner.condition(document).map_err(|it| within(document, it))?);
        }
        out.push_str(&format!("            (when: {}),\n", write::expr(&Expr::Any(parts).flat(), 12)));
    }
    Ok(out)
}

/// The steps of a sequence, as RON.
fn steps(turner: &Turner<'_>, it: &Correlation<'_>, notes: &mut Vec<String>) -> Result<String, String> {
    let mut out = String::new();
    for rule in &it.rules {
        let document = &turner.documents[*rule];
        let (when, count) = if get(&document.map, "correlation").is_some() {
            let inner = read(turner, document)?;
            let mut same = (inner.by.clone(), it.by.clone());
            same.0.sort();
            same.1.sort();
            if inner.kind != "event_count" || same.0 != same.1 {
                return Err("a correlation of correlations that is more than `so many of these, then those`".into());
            }
            if inner.within != it.within {
                return Err("a correlation of correlations with different timespans".into());
            }
            let least = least(inner.condition)?;
            notes.extend(least.note);
            notes.push(format!("all events stand within {}, those counted and those after them", it.within));
            (one_of(turner, &inner)?, least.count)
        } else {
            (turner.condition(document).map_err(|it| within(document, it))?, 1)
        };
        let at_least = if count > 1 { format!(", at_least: {count}") } else { String::new() };
        out.push_str(&format!("            (when: {}{at_least}),\n", write::expr(&when, 12)));
    }
    Ok(out)
}
