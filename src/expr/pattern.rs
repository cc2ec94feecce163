//! Whether a regular expression is one we take, without building it.
//!
//! Building one costs a hundred times what reading it costs, and a rule set has hundreds that no line ever asks for. What can be
//! wrong is its syntax, which reading shows, and its size. An expression whose size is bounded far below the limit from its
//! shape alone is taken as it is; only one that may be large is built to find out.

use std::sync::{Arc, OnceLock};

use memchr::memmem;
use regex_syntax::ast;
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{Hir, HirKind};

use super::backtrack::{Groups, Walk};
use super::literal;
use super::plain::fold;
use crate::limits;

/// The expression as read; or what is wrong with it.
pub fn read(text: &str) -> Result<Hir, String> {
    read_as(text, false)
}

/// The same, comparing without case.
pub fn read_without_case(text: &str) -> Result<Hir, String> {
    read_as(text, true)
}

/// Whether [`read`] takes it.
pub fn check(text: &str) -> Result<(), String> {
    if is_plain(text) { Ok(()) } else { read(text).map(|_| ()) }
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

/// The expression as far as ASCII texts go, in which it fits what the whole one does. Most of what reading one costs is
/// what `(?i)`, `\w` and `[^→]` mean beyond.
fn read_for_ascii(text: &str, without_case: bool) -> Option<Hir> {
    let mut tree = ast::parse::Parser::new().parse(text).ok()?;
    keep_ascii(&mut tree);
    let mut translator = TranslatorBuilder::new();
    translator.unicode(false).utf8(false).case_insensitive(without_case);
    // `\p{Greek}` has no such meaning.
    translator.build().translate(text, &tree).ok().or_else(|| read_as(text, without_case).ok())
}

/// Takes out of classes what is not ASCII.
fn keep_ascii(tree: &mut ast::Ast) {
    match tree {
        ast::Ast::ClassBracketed(it) => keep_ascii_of(&mut it.kind),
        ast::Ast::Repetition(it) => keep_ascii(&mut it.ast),
        ast::Ast::Group(it) => keep_ascii(&mut it.ast),
        ast::Ast::Alternation(it) => it.asts.iter_mut().for_each(keep_ascii),
        ast::Ast::Concat(it) => it.asts.iter_mut().for_each(keep_ascii),
        _ => {}
    }
}

fn keep_ascii_of(set: &mut ast::ClassSet) {
    match set {
        ast::ClassSet::Item(it) => keep_ascii_item(it),
        ast::ClassSet::BinaryOp(it) => {
            keep_ascii_of(&mut it.lhs);
            keep_ascii_of(&mut it.rhs);
        }
    }
}

fn keep_ascii_item(item: &mut ast::ClassSetItem) {
    match item {
        ast::ClassSetItem::Literal(it) if !it.c.is_ascii() => *item = ast::ClassSetItem::Empty(it.span),
        ast::ClassSetItem::Range(it) if !it.start.c.is_ascii() => *item = ast::ClassSetItem::Empty(it.span),
        ast::ClassSetItem::Range(it) if !it.end.c.is_ascii() => it.end.c = '\x7f',
        ast::ClassSetItem::Bracketed(it) => keep_ascii_of(&mut it.kind),
        ast::ClassSetItem::Union(it) => it.items.iter_mut().for_each(keep_ascii_item),
        _ => {}
    }
}

/// The expression, built.
pub fn build(text: &str, without_case: bool) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(text)
        .case_insensitive(without_case)
        .size_limit(limits::REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("bad regular expression: {error}"))
}

/// An expression that [`read`] has taken, built when first asked: most are of vendors that no line comes from. A clone is
/// the same expression.
#[derive(Clone, Debug)]
pub struct Late(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    text: Box<str>,
    without_case: bool,
    built: OnceLock<regex::Regex>,
    /// Texts of which every match that is ASCII holds one, found when first asked.
    required: OnceLock<Option<Vec<String>>>,
    /// The same of all matches, folded.
    required_of_all: OnceLock<Option<Vec<String>>>,
    walk: OnceLock<Option<Walk>>,
    needed: OnceLock<Option<memmem::Finder<'static>>>,
}

impl Late {
    pub fn new(text: &str) -> Result<Late, String> {
        Late::of(text, false)
    }

    pub fn without_case(text: &str) -> Result<Late, String> {
        Late::of(text, true)
    }

    fn of(text: &str, without_case: bool) -> Result<Late, String> {
        if !is_plain(text) {
            read_as(text, without_case)?;
        }
        Ok(Late(Arc::new(Inner {
            text: text.into(),
            without_case,
            built: OnceLock::new(),
            required: OnceLock::new(),
            required_of_all: OnceLock::new(),
            needed: OnceLock::new(),
            walk: OnceLock::new(),
        })))
    }

    /// False for most texts that it does not match, without building it.
    pub fn may_match(&self, text: &str) -> bool {
        let Inner { text: pattern, without_case, required, required_of_all, .. } = &*self.0;
        if !text.is_ascii() {
            // Other letters may fold to what is required (`ſ`, the sign of kelvins), so the whole expression must say what that is.
            let find = || read_as(pattern, *without_case).ok().and_then(|it| literal::required(&it));
            let Some(required) = required_of_all.get_or_init(find) else { return true };
            let folded = fold(text);
            return required.iter().any(|it| folded.contains(it.as_str()));
        }
        let find = || read_for_ascii(pattern, *without_case).and_then(|it| literal::required(&it));
        let Some(required) = required.get_or_init(find) else { return true };
        required.iter().any(|it| holds_without_case(text.as_bytes(), it.as_bytes()))
    }

    pub fn text(&self) -> &str {
        &self.0.text
    }

    #[inline]
    pub fn get(&self) -> &regex::Regex {
        let Inner { text, without_case, built, .. } = &*self.0;
        built.get_or_init(|| build(text, *without_case).expect("`read` takes only what can be built"))
    }

    /// Whether the expression fits somewhere in the text. Most are asked in vain, which a text that they cannot do without
    /// tells in a tenth of the time.
    pub fn is_match(&self, text: &str) -> bool {
        let needed = self.0.needed.get_or_init(|| {
            let hir = read_as(&self.0.text, self.0.without_case).ok()?;
            needed(&hir).filter(|it| it.len() > 2).map(|it| memmem::Finder::new(it).into_owned())
        });
        needed.as_ref().is_none_or(|it| it.find(text.as_bytes()).is_some()) && self.get().is_match(text)
    }

    /// Whether the expression fits somewhere in the text; its groups are then in `found`.
    pub fn find(&self, text: &str, found: &mut Groups) -> bool {
        let Inner { text: pattern, without_case, walk, .. } = &*self.0;
        if text.is_ascii() {
            let walk = walk.get_or_init(|| read_for_ascii(pattern, *without_case).and_then(|it| Walk::new(&it)));
            if let Some(fits) = walk.as_ref().and_then(|it| it.find(text.as_bytes(), found)) {
                return fits;
            }
        }
        let regex = self.get();
        found.read(regex, text)
    }
}

/// The longest text that is in all that the expression fits, as far as a look can tell.
fn needed(hir: &Hir) -> Option<&[u8]> {
    match hir.kind() {
        HirKind::Literal(it) => Some(&it.0),
        HirKind::Capture(it) => needed(&it.sub),
        HirKind::Repetition(it) if it.min > 0 => needed(&it.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(needed).max_by_key(|it| it.len()),
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) | HirKind::Alternation(_) => {
            None
        }
    }
}

/// Whether an ASCII text holds a folded one.
fn holds_without_case(text: &[u8], folded: &[u8]) -> bool {
    let Some(first) = folded.first() else { return true };
    memchr::memchr2_iter(*first, first.to_ascii_uppercase(), text)
        .any(|at| text[at..].get(..folded.len()).is_some_and(|it| it.eq_ignore_ascii_case(folded)))
}

/// The numbers and names of the groups that have a name.
pub fn groups(text: &str) -> Vec<(u16, String)> {
    if !text.contains("(?<") && !text.contains("(?P<") {
        return Vec::new();
    }
    if let Some(names) = Shape::new(text).plain() {
        return names.into_iter().map(|(number, name)| (number, name.to_string())).collect();
    }
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

/// Groups inside one another; the parser's own limit is higher.
const DEPTH_UNTRIED_MAX: usize = 64;

/// More than the states the expression can need: a byte counts one, a range of characters eight, and a repetition all its
/// copies.
fn weight(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(it) => it.0.len() as u64 + 1,
        // Hundreds of ranges (`\w`) share most of their states: 20 KB built, whatever the shape.
        HirKind::Class(regex_syntax::hir::Class::Unicode(it)) => {
            let each: u64 = it.ranges().iter().map(|it| if it.end().is_ascii() { 1 } else { 8 }).sum();
            each.min(it.ranges().len() as u64 / 4 + 32) + 1
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

/// Whether it is an expression that can be built, as far as a walk over its characters tells: of a language smaller than
/// that of expressions, and small. It takes a hundredth of the time that [`read`] takes, and nearly all are of that kind.
/// False says nothing.
fn is_plain(text: &str) -> bool {
    Shape::new(text).plain().is_some()
}

struct Shape<'a> {
    rest: &'a str,
    /// Of what was read.
    weight: u64,
    /// What the expression weighed where each open group began.
    open: Vec<u64>,
    /// Groups that keep what they fit.
    groups: u16,
    /// The groups that have a name.
    names: Vec<(u16, &'a str)>,
}

/// What an escape stands for.
#[derive(PartialEq)]
enum Escape {
    Character(char),
    /// Of that weight.
    Class(u64),
    Edge,
}

/// What a plain expression may weigh: a unit is 256 bytes of the built one, so it is half as large as it may be.
const PLAIN_WEIGHT_MAX: u64 = limits::REGEX_BYTES_MAX as u64 / 512;
/// Of a class of some ranges anywhere in Unicode. Built, `\s` takes 2 KB, `\d` 5 KB and `\w`, which has hundreds, 40 KB.
const CLASS_WEIGHT: u64 = 10;

impl<'a> Shape<'a> {
    fn new(text: &'a str) -> Shape<'a> {
        Shape { rest: text, weight: 4, open: Vec::new(), groups: 0, names: Vec::new() }
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn take(&mut self, start: &str) -> bool {
        match self.rest.strip_prefix(start) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The named groups. None: it is not, or not plainly.
    fn plain(mut self) -> Option<Vec<(u16, &'a str)>> {
        // The weight of what a repetition would repeat.
        let mut atom = None;
        while let Some(it) = self.next() {
            let before = self.weight;
            let weight = match it {
                '\\' => match self.escape()? {
                    Escape::Character(it) => literal_weight(it),
                    Escape::Class(it) => it,
                    Escape::Edge => 0,
                },
                '[' => self.class()?,
                '(' => {
                    self.weight += 3;
                    self.group(before)?;
                    atom = None;
                    continue;
                }
                ')' => {
                    atom = Some(self.weight - self.open.pop()?);
                    continue;
                }
                '*' | '+' | '?' => {
                    atom.take()?;
                    self.take("?");
                    1
                }
                '{' => {
                    let copies = self.copies()?;
                    self.take("?");
                    atom.take()? * (copies - 1) + copies
                }
                '|' => 1,
                '^' | '$' => 0,
                '.' => 5,
                '}' | ']' => return None,
                it => literal_weight(it),
            };
            let repeatable = !matches!(it, '*' | '+' | '?' | '{' | '|' | '^' | '$') && weight > 0;
            atom = repeatable.then_some(weight);
            self.weight += weight.max(1);
            if self.weight > PLAIN_WEIGHT_MAX {
                return None;
            }
        }
        (self.open.is_empty() && self.weight <= PLAIN_WEIGHT_MAX).then_some(self.names)
    }

    /// How many copies a repetition such as `{2}`, `{2,}` and `{2,6}` may need, of which the brace was read.
    fn copies(&mut self) -> Option<u64> {
        let (counts, rest) = self.rest.split_once('}')?;
        self.rest = rest;
        let (least, most) = counts.split_once(',').unwrap_or((counts, counts));
        let number = |it: &str| it.bytes().all(|it| it.is_ascii_digit()).then(|| it.parse::<u16>().ok())?;
        let least = number(least)?;
        let most = if most.is_empty() { least.checked_add(1)? } else { number(most)? };
        (least <= most && most > 0 && most <= 1000).then_some(u64::from(most))
    }

    fn escape(&mut self) -> Option<Escape> {
        match self.next()? {
            's' | 'S' => Some(Escape::Class(CLASS_WEIGHT)),
            'd' | 'D' => Some(Escape::Class(2 * CLASS_WEIGHT)),
            'w' | 'W' => Some(Escape::Class(16 * CLASS_WEIGHT)),
            'b' | 'B' => (!self.rest.starts_with('{')).then_some(Escape::Edge),
            'n' => Some(Escape::Character('\n')),
            'r' => Some(Escape::Character('\r')),
            't' => Some(Escape::Character('\t')),
            'x' => {
                let digits = self.rest.get(..2).filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()))?;
                self.rest = &self.rest[2..];
                u8::from_str_radix(digits, 16).ok().map(|it| Escape::Character(char::from(it)))
            }
            '<' | '>' => None,
            it => it.is_ascii_punctuation().then_some(Escape::Character(it)),
        }
    }

    /// What follows an opening parenthesis, before which the expression weighed `before`.
    fn group(&mut self, before: u64) -> Option<()> {
        if self.take("?P<") || self.take("?<") {
            let (name, rest) = self.rest.split_once('>')?;
            let plain = name.starts_with(|it: char| it.is_ascii_alphabetic())
                && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
            if !plain || self.names.iter().any(|it| it.1 == name) {
                return None;
            }
            self.groups += 1;
            self.names.push((self.groups, name));
            self.rest = rest;
        } else if self.take("?") {
            // Flags that change nothing about which expressions there are.
            let has_flag = ["i", "s", "m"].into_iter().any(|it| self.take(it));
            if has_flag && self.take(")") {
                return Some(());
            }
            if !self.take(":") {
                return None;
            }
        } else {
            self.groups += 1;
        }
        self.open.push(before);
        (self.open.len() <= DEPTH_UNTRIED_MAX).then_some(())
    }

    /// The weight of the class that was opened.
    fn class(&mut self) -> Option<u64> {
        let mut weight = if self.take("^") { CLASS_WEIGHT } else { 1 };
        let mut first = true;
        loop {
            let from = match self.next()? {
                ']' if !first => return Some(weight),
                ']' => Escape::Character(']'),
                it => self.class_item(it)?,
            };
            first = false;
            weight += match from {
                Escape::Character(it) => literal_weight(it),
                Escape::Class(it) => it,
                Escape::Edge => 0,
            };
            if self.rest.starts_with("--") {
                return None;
            }
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.next();
                let to = self.next()?;
                match (from, self.class_item(to)?) {
                    (Escape::Character(from), Escape::Character(to)) if from <= to => {
                        // Without case two letters of it have relatives that are not ASCII.
                        weight += if to.is_ascii() { 1 } else { CLASS_WEIGHT };
                    }
                    _ => return None,
                }
            }
        }
    }

    fn class_item(&mut self, it: char) -> Option<Escape> {
        match it {
            '\\' => self.escape().filter(|it| *it != Escape::Edge),
            '[' | ']' => None,
            // Twice they are operators.
            '&' | '~' if self.rest.starts_with(it) => None,
            it => Some(Escape::Character(it)),
        }
    }
}

/// Without case `k` and `s` have relatives that are not ASCII.
fn literal_weight(it: char) -> u64 {
    if it.is_ascii() { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_the_built_expression() {
        for text in [
            "a",
            "(?<a>x)|(y)(?P<bé>z)",
            r"^(?:(?<u>\w+) (?i:(?<v>(\d)))?)$",
            "(?<a>(?<b>(?<c>x)))",
            "(x)(?:y)(?<a>z{2})",
        ] {
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
                    assert_eq!(Late::new(&text).is_ok(), built.is_ok(), "{text}: {built:?}");
                    assert_eq!(Late::without_case(&text).is_ok(), build(&text, true).is_ok(), "{text}");
                }
            }
        }
    }

    #[test]
    fn most_are_plain_and_those_can_be_built() {
        let pieces: Vec<&str> =
            r"a é k \d \w \s \b \. \< \> \n \p \1 \x41 \xg1 {3} {2,} {1,40} {4,2} {0} . ^ $ | ( ) (?: (?i) (?i: (?s) (?<a> (?P<b> (?<a-> (?= [ ] [^ ]]
            - a-z z-a \w- -- && ~~ [: & * + ? *? { } {2} # / \\ \- \] \[ , space"
                .split_whitespace()
                .collect();
        let mut seed = 42u64;
        let mut plain = 0;
        for _ in 0..40_000 {
            let mut text = String::new();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            for turn in 0..1 + (seed >> 60) as usize % 8 {
                let piece = seed.rotate_left(turn as u32 * 7 + 11) >> 16;
                text.push_str(pieces[piece as usize % pieces.len()]);
            }
            if is_plain(&text) {
                plain += 1;
                assert!(build(&text, false).is_ok() && build(&text, true).is_ok(), "{text}");
            }
        }
        assert!(plain > 1000, "{plain}");
        for text in ["k".repeat(2000), "é".repeat(1000), "(a)".repeat(400), "[xyz]|".repeat(400), "k*".repeat(1000)] {
            assert!(is_plain(&text) && build(&text, true).is_ok(), "{}", &text[..9]);
        }
        let heavy = ["{20}{20}", "{9}", "{12}", "{99}", "{195}", "{290}", "{1000}", "{40}", "{2,}", "*", "{30}+"];
        for piece in [r"\w", r"\D", r"\S", r"[^\W]", r"[^x]", "(?i:[a-z])", "(?:k|s|[é-ü])", ".", "(?:a{3}(b{5}c)){2}"]
        {
            for text in heavy.map(|it| format!("(?i)(?:{piece}){it}")) {
                assert!(!is_plain(&text) || build(&text, true).is_ok(), "{text}");
            }
        }
        for text in [
            r"(?i)^(?:user )?(?:roles?) (?<roles>.+?)(?: by (?<actor>\S+@\S+))?$",
            r"[\w.-]+@[^\s,;:]+",
            r"[]a]|[^-x]|\[a\]",
            r"\b((?:\d{1,3}\.){3}\d{1,3})\b[^\x22]{2,}",
        ] {
            assert!(is_plain(text) && build(text, true).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_may_not_match_does_not() {
        for (text, value, expected) in [
            ("(?i)log.?in|sso", "Login success", true),
            ("(?i)(?:role|admin).*grant|promot", "Role granted", true),
            ("(?i)(?:role|admin).*grant|promot", "API call", false),
            ("(?i)kiosk", "\u{212a}IOSK", true),
            ("(?i)kiosk", "a → b", false),
            ("(?i)role.*→|promot", "Role changed: ann → Editor", true),
            ("(?i)grant.*→|promot", "Role changed: ann → Editor", false),
            ("abc", "ABC", true),
            ("a.c", "x", true),
        ] {
            let late = Late::new(text).unwrap();
            assert_eq!(late.may_match(value), expected, "{text} {value}");
            assert!(late.may_match(value) || !late.get().is_match(value), "{text} {value}");
        }
    }

    #[test]
    fn for_ascii_texts_it_fits_what_the_whole_one_fits() {
        let pieces = [
            "a",
            "(?i:k)",
            "(?i:S)",
            "(?i:kiosk)",
            "→",
            "(?:→|->|⇒)",
            "[^→:]",
            "[→]",
            "[^→]",
            "[a→]",
            "[ -é]",
            "[[:alpha:]é]",
            "[^é-ü]",
            r"\w",
            r"\W",
            r"\d",
            r"\b",
            r"\B",
            r"\s",
            ".",
            "(?s:.)",
            r"\pL",
            r"\x{e9}",
            r"[\w--k]",
            "[a-z&&[^k→]]",
            "(?i:É)",
            "^",
            "$",
        ];
        let texts = [
            "",
            "a",
            "k",
            "K",
            "s S",
            "a->k",
            ":",
            "a:\n",
            "aK ->s",
            "-",
            "é",
            "ab_k9",
            "→ kio\u{17f}\u{212a}",
            "Kiosk: é→",
        ];
        for first in pieces {
            for second in pieces {
                for pattern in [format!("{first}{second}"), format!("(?i)(?:{first})+({second})?x?$")] {
                    let Ok(whole) = build(&pattern, false) else { continue };
                    let late = Late::new(&pattern).unwrap();
                    for text in texts {
                        let mut found = Groups::default();
                        assert_eq!(late.find(text, &mut found), whole.is_match(text), "{pattern} {text}");
                        assert!(late.may_match(text) || !whole.is_match(text), "{pattern} {text}");
                        if let Some(expected) = whole.captures(text) {
                            let expected: Vec<_> =
                                expected.iter().map(|it| it.map(|it| (it.start(), it.end()))).collect();
                            assert_eq!(
                                (0..found.len()).map(|it| found.get(it)).collect::<Vec<_>>(),
                                expected,
                                "{pattern} {text}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_needed_never_shuts_out_what_fits() {
        for (pattern, text, expected) in [
            ("a(?:bcd)+x?(y|zzzz)", "abcdbcdy", Some("bcd")),
            ("(?:abc)?d(ef)", "def", Some("ef")),
            ("(?:abc)*", "", None),
            ("abc|def", "def", None),
            (r#"type="?[A-Z]+"?, realmId="#, "type=A, realmId=", Some(", realmId=")),
        ] {
            let hir = read(pattern).unwrap();
            assert_eq!(needed(&hir), expected.map(str::as_bytes), "{pattern}");
            assert!(Late::new(pattern).unwrap().is_match(text), "{pattern}");
        }
        assert!(!Late::new("a(?:bcd)+").unwrap().is_match("abc"));
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(read("a(b").unwrap_err().contains("unclosed group"));
        assert!(read(r"\w{1000}{1000}").unwrap_err().contains("size limit"));
        assert!(read_without_case(r"(a)\1").unwrap_err().contains("backreferences"));
    }
}
