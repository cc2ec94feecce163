//! Whether a regular expression is one we take, without building it.
//!
//! Building one costs a hundred times what reading it costs, and a rule set has hundreds that no line ever asks for. What can be
//! wrong is its syntax, which reading shows, and its size. An expression whose size is bounded far below the limit from its
//! shape alone is taken as it is; only one that may be large is built to find out.

use std::sync::OnceLock;

use regex_syntax::ast;
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

/// An expression that [`read`] has taken, built when first asked: most are of vendors that no line comes from.
#[derive(Clone, Debug)]
pub struct Late {
    text: Box<str>,
    without_case: bool,
    built: OnceLock<regex::Regex>,
}

impl Late {
    pub fn new(text: &str) -> Result<Late, String> {
        read(text)?;
        Ok(Late { text: text.into(), without_case: false, built: OnceLock::new() })
    }

    pub fn without_case(text: &str) -> Result<Late, String> {
        read_without_case(text)?;
        Ok(Late { text: text.into(), without_case: true, built: OnceLock::new() })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    #[inline]
    pub fn get(&self) -> &regex::Regex {
        self.built.get_or_init(|| build(&self.text, self.without_case).expect("`read` takes only what can be built"))
    }
}

/// The numbers and names of the groups that have a name.
pub fn groups(text: &str) -> Vec<(u16, String)> {
    struct Names(Vec<(u16, String)>);
    impl ast::Visitor for Names {
        type Output = Vec<(u16, String)>;
        type Err = ();

        fn finish(self) -> Result<Self::Output, ()> {
            Ok(self.0)
        }

        fn visit_pre(&mut self, ast: &ast::Ast) -> Result<(), ()> {
            if let ast::Ast::Group(group) = ast
                && let ast::GroupKind::CaptureName { name, .. } = &group.kind
            {
                self.0.push((name.index as u16, name.name.clone()));
            }
            Ok(())
        }
    }
    let Ok(parsed) = ast::parse::Parser::new().parse(text) else { return Vec::new() };
    ast::visit(&parsed, Names(Vec::new())).unwrap_or_default()
}

/// Heavier expressions are built when read. A unit of weight stands for at most some 100 bytes of the built one.
const WEIGHT_UNTRIED_MAX: u64 = limits::REGEX_BYTES_MAX as u64 / 256;

/// More than the states the expression can need: a byte counts one, a range of characters eight, and a repetition all its
/// copies.
fn weight(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(it) => it.0.len() as u64 + 1,
        // Hundreds of ranges (`\w`) share most of their states: 20 KB built, whatever the shape.
        HirKind::Class(regex_syntax::hir::Class::Unicode(it)) => {
            let ranges = it.ranges().len() as u64;
            (ranges * 8).min(ranges / 4 + 32) + 1
        }
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
    fn groups_are_those_of_the_built_expression() {
        for text in ["a", "(?<a>x)|(y)(?P<bé>z)", r"^(?:(?<u>\w+) (?i:(?<v>(\d)))?)$", "(?<a>(?<b>(?<c>x)))"] {
            let built = build(text, false).unwrap();
            let names = built.capture_names().enumerate().filter_map(|it| Some((it.0 as u16, it.1?.to_string())));
            assert_eq!(groups(text), names.collect::<Vec<_>>(), "{text}");
        }
    }

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
