//! The aggregations of Sigma 1: `selection | count() by user > 50`.
//!
//! Correlation rules have replaced them, but collections still have some, and each says the same as a correlation would:
//! so many events, so many different values, or such a sum, for each value of a field, in the rule's `timeframe`. `near` says
//! that all of several happen in that time, in whatever order.

use saphyr::Yaml;

use super::correlation::{self, one_path};
use super::{Document, Draft, Turner, get, text_of, write};
use crate::expr::Expr;
use crate::model::Span;

/// Where a rule says no timeframe: its search would have been run over some stretch, which it does not name.
const TIMEFRAME: Span = Span::from_secs(3600);

/// What stands behind the `|` of a rule's only condition.
pub fn of(document: &Document<'_>) -> Option<String> {
    let detection = get(&document.map, "detection")?.as_mapping()?;
    let text = get(detection, "condition").and_then(text_of)?;
    text.split_once('|').map(|it| it.1.trim().to_string())
}

/// A rule's timeframe, which some have beside the detection instead of in it.
pub fn timeframe(document: &Document<'_>) -> Option<String> {
    let detection = get(&document.map, "detection").and_then(Yaml::as_mapping);
    detection.and_then(|it| get(it, "timeframe")).or_else(|| get(&document.map, "timeframe")).and_then(text_of)
}

pub fn turn(turner: &Turner<'_>, document: &Document<'_>, text: &str) -> Result<Draft, String> {
    let mut notes = Vec::new();
    let within = match timeframe(document) {
        Some(text) => correlation::span(&text).ok_or_else(|| format!("`{text}` is no timeframe"))?,
        None => {
            notes.push(format!("the rule names no timeframe; {TIMEFRAME} was taken"));
            TIMEFRAME
        }
    };
    let within = format!("within: \"{within}\"");
    if let Some(others) = text.strip_prefix("near ") {
        let steps = near(turner, document, others)?;
        let detect = format!(
            "Sequence(\n        steps: [\n{steps}        ],\n        {within},\n        ordered: false,\n    )"
        );
        return Ok(Draft { when: None, by: turner.by.clone(), detect, tail: "", notes });
    }
    let it = read(text)?;
    let source = document.source();
    let path = |field: &str| one_path(turner, &source, field);
    let (detect, tail) = match (it.function, it.field) {
        ("count", None) => (format!("Count(at_least: {}, {within})", it.least), ": {count} in {span}"),
        ("count", Some(field)) => {
            let field = write::text(&path(field));
            (
                format!("Distinct(field: {field}, at_least: {}, {within})", it.least),
                ": {distinct} different values in {span}",
            )
        }
        ("sum", Some(field)) => {
            let field = write::text(&path(field));
            (format!("Sum(field: {field}, at_least: {:?}, {within})", it.least as f64), " in {span}")
        }
        (other, _) => return Err(format!("the aggregation `{other}`: there is no kind of detection for it")),
    };
    let when = turner.condition_before_aggregation(document)?;
    Ok(Draft { when: Some(when), by: it.by.into_iter().map(path).collect(), detect, tail, notes })
}

/// The steps of `selection | near other and third`, as RON.
fn near(turner: &Turner<'_>, document: &Document<'_>, others: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut step = |when: Expr| out.push_str(&format!("            (when: {}),\n", write::expr(&when, 12)));
    step(turner.condition_before_aggregation(document)?);
    for other in others.split(" and ") {
        let other = other.trim();
        if other.starts_with("not ") || other.contains(" or ") {
            return Err(format!("`near {others}`: only events that must come, all of them, can be said"));
        }
        step(turner.condition_of(document, &|_| other.to_string())?);
    }
    Ok(out)
}

/// `count(field) by other > 5`, read.
struct Aggregation<'a> {
    function: &'a str,
    field: Option<&'a str>,
    by: Vec<&'a str>,
    least: u64,
}

fn read(text: &str) -> Result<Aggregation<'_>, String> {
    let problem = || format!("the aggregation `{text}` cannot be read");
    let at = text.find(['<', '>', '=']).ok_or_else(|| format!("the aggregation `{text}` compares nothing"))?;
    let (what, bound) = text.split_at(at);
    let digits = bound.trim_start_matches(['<', '>', '=']);
    let operator = &bound[..bound.len() - digits.len()];
    let number: u64 = digits.trim().parse().map_err(|_| problem())?;
    let least = match operator {
        ">" => number.saturating_add(1),
        ">=" | "=" | "==" => number,
        _ => return Err("fewer than so many: what does not happen cannot be told when it happens".into()),
    };
    if least == 0 {
        return Err("a count of none holds always".into());
    }
    let (call, by) = what.split_once(" by ").unwrap_or((what, ""));
    let (function, inside) = call.trim().strip_suffix(')').and_then(|it| it.split_once('(')).ok_or_else(problem)?;
    let by = by.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    let field = Some(inside.trim()).filter(|it| !it.is_empty());
    Ok(Aggregation { function: function.trim(), field, by, least })
}
