//! Rules as a person would write them: comments that keep where they came from, a condition broken into lines.

use std::fmt::Write as _;

use crate::expr::{Expr, Literal};

const WIDTH: usize = 130;

/// A text in quotes; raw where it has backslashes, so that it can be read.
pub fn text(it: &str) -> String {
    let plain = !it.chars().any(|it| it.is_control());
    if plain && it.contains(['\\', '"']) {
        return match it.contains('"') {
            false => format!("r\"{it}\""),
            true if !it.contains("\"#") => format!("r#\"{it}\"#"),
            true => quoted(it),
        };
    }
    quoted(it)
}

fn quoted(it: &str) -> String {
    let mut out = String::from('"');
    for it in it.chars() {
        match it {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            it if it.is_control() => _ = write!(out, "\\u{{{:x}}}", u32::from(it)),
            it => out.push(it),
        }
    }
    out.push('"');
    out
}

/// What a comment may hold: one line, nothing that moves the cursor or the reading direction.
pub fn comment(it: &str) -> String {
    let kind = |it: char| {
        if it.is_control() || matches!(it, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') { ' ' } else { it }
    };
    it.chars().map(kind).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An expression, indented so many columns from its second line on.
pub fn expr(it: &Expr, indent: usize) -> String {
    let line = one_line(it);
    if line.chars().count() + indent <= WIDTH {
        return line;
    }
    let list = |name: &str, parts: &[Expr]| {
        let inner = indent + 4;
        let mut out = format!("{name}([\n");
        for part in parts {
            let _ = writeln!(out, "{:inner$}{},", "", expr(part, inner));
        }
        out + &format!("{:indent$}])", "")
    };
    match it {
        Expr::All(parts) => list("All", parts),
        Expr::Any(parts) => list("Any", parts),
        Expr::Not(part) => format!("Not({})", expr(part, indent)),
        Expr::NoCase(part) => format!("NoCase({})", expr(part, indent)),
        Expr::OneOf(field, values) => {
            let inner = indent + 4;
            let mut out = format!("OneOf({}, [\n", text(field));
            for value in values {
                let _ = writeln!(out, "{:inner$}{},", "", literal(value));
            }
            out + &format!("{:indent$}])", "")
        }
        _ => line,
    }
}

fn one_line(it: &Expr) -> String {
    let list = |parts: &[Expr]| parts.iter().map(one_line).collect::<Vec<_>>().join(", ");
    let leaf = |name: &str, field: &str, value: &str| format!("{name}({}, {value})", text(field));
    match it {
        Expr::All(parts) => format!("All([{}])", list(parts)),
        Expr::Any(parts) => format!("Any([{}])", list(parts)),
        Expr::Not(part) => format!("Not({})", one_line(part)),
        Expr::NoCase(part) => format!("NoCase({})", one_line(part)),
        Expr::Eq(field, value) => leaf("Eq", field, &literal(value)),
        Expr::OneOf(field, values) => {
            leaf("OneOf", field, &format!("[{}]", values.iter().map(literal).collect::<Vec<_>>().join(", ")))
        }
        Expr::Contains(field, value) => leaf("Contains", field, &text(value)),
        Expr::StartsWith(field, value) => leaf("StartsWith", field, &text(value)),
        Expr::EndsWith(field, value) => leaf("EndsWith", field, &text(value)),
        Expr::Glob(field, value) => leaf("Glob", field, &text(value)),
        Expr::Matches(field, value) => leaf("Matches", field, &text(&value.0)),
        Expr::Cidr(field, networks) => {
            leaf("Cidr", field, &format!("[{}]", networks.0.iter().map(|it| text(it)).collect::<Vec<_>>().join(", ")))
        }
        Expr::Lt(field, it) => leaf("Lt", field, &number(*it)),
        Expr::Le(field, it) => leaf("Le", field, &number(*it)),
        Expr::Gt(field, it) => leaf("Gt", field, &number(*it)),
        Expr::Ge(field, it) => leaf("Ge", field, &number(*it)),
        Expr::Exists(field) => format!("Exists({})", text(field)),
        Expr::SameAs(field, other) => leaf("SameAs", field, &text(other)),
        Expr::InList(field, list) => leaf("InList", field, &text(list)),
    }
}

fn literal(it: &Literal) -> String {
    match it {
        Literal::Text(it) => text(it),
        Literal::Int(it) => it.to_string(),
        Literal::Float(it) => number(*it),
        Literal::Bool(it) => it.to_string(),
    }
}

fn number(it: f64) -> String {
    if it.fract() == 0.0 && it.abs() < 1e15 { format!("{it:.0}") } else { format!("{it:?}") }
}
