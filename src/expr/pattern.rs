//! Whether a regular expression is one we take, without building it.
//!
//! Building one costs a hundred times what reading it costs, and a rule set has hundreds that no line ever asks for. What can be
//! wrong is its syntax, which reading shows, and its size. An expression whose size is bounded far below the limit from its
//! shape alone is taken as it is; only one that may be large is built to find out.

use regex_syntax::hir::{Hir, HirKind};

use crate::limits;

/// The expression as read; or what is wrong with it.
pub fn read(text: &str) -> Result<Hir, String> {
    read_as(text, false)
}

/// The same, comparing without case.
pub fn read_without_case(text: &str) -> Result<Hir, String> {
    read_as(text, true)
}

fn read_as(text: &str, without_case: bool) -> Result<Hir, String> {
    let hir = regex_syntax::ParserBuilder::new()
        .case_insensitive(without_case)
        .build()
        .parse(text)
        .map_err(|error| format!("bad regular expression: {error}"))?;
    if weight(&hir) > WEIGHT_UNTRIED_MAX {
        build(text, without_case)?;
    }
    Ok(hir)
}

/// The expression, built.
pub fn build(text: &str, without_case: bool) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(text)
        .case_insensitive(without_case)
        .size_limit(limits::REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("bad regular expression: {error}"))
}

/// Heavier expressions are built when read. A unit of weight stands for at most some 100 bytes of the built one.
const WEIGHT_UNTRIED_MAX: u64 = limits::REGEX_BYTES_MAX as u64 / 256;

/// More than the states the expression can need: a byte counts one, a range of characters eight, and a repetition all its
/// copies.
fn weight(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(it) => it.0.len() as u64 + 1,
        HirKind::Class(regex_syntax::hir::Class::Unicode(it)) => it.ranges().len() as u64 * 8 + 1,
        HirKind::Class(regex_syntax::hir::Class::Bytes(it)) => it.ranges().len() as u64 + 1,
        HirKind::Repetition(it) => {
            let copies = u64::from(it.max.unwrap_or(it.min.saturating_add(1)).max(1));
            weight(&it.sub).saturating_add(1).saturating_mul(copies)
        }
        HirKind::Capture(it) => weight(&it.sub).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(weight).fold(1, |sum, it| sum.saturating_add(it).saturating_add(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_unbuilt_can_be_built() {
        let pieces =
            ["a", "é", r"\d", r"\w", r"\pL", ".", r"\s", r"\b", "^", "(?i)straße", "[^x]", r"[\w.-]", "(a|b|cd)"];
        let counts = ["", "?", "*", "+", "{2,6}", "{40}", "{400}", "{1,1000}", "{1000}{1000}", "{30}{30}"];
        for piece in pieces {
            for count in counts {
                for text in [format!("(?:{piece}){count}"), format!("x(({piece}){count}|({piece})y{count})*")] {
                    let built = build(&text, false);
                    assert_eq!(read(&text).is_ok(), built.is_ok(), "{text}: {built:?}");
                }
            }
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(read("a(b").unwrap_err().contains("unclosed group"));
        assert!(read(r"\w{1000}{1000}").unwrap_err().contains("size limit"));
        assert!(read_without_case(r"(a)\1").unwrap_err().contains("backreferences"));
    }
}
