//! Texts without which a regular expression cannot match.
//!
//! A set of texts is *required* when every match holds at least one of them. Then the expression need not be run on a value in
//! which none of them was seen. All are folded: a letter written in both cases folds to one, and what holds a text also
//! holds it folded, so one search without case serves expressions of both kinds.

use regex_syntax::hir::{Class, ClassUnicode, Hir, HirKind};

use super::plain::fold;

/// More alternatives than these make the search dearer than what it saves.
const ALTERNATIVES_MAX: usize = 64;

/// The best required set, folded; None when every set would hold a text shorter than three bytes.
pub fn required(hir: &Hir) -> Option<Vec<String>> {
    let set = set(hir)?;
    (set.len() <= ALTERNATIVES_MAX && shortest(&set) >= 3).then_some(set)
}

fn shortest(set: &[String]) -> usize {
    set.iter().map(String::len).min().unwrap_or(0)
}

fn set(hir: &Hir) -> Option<Vec<String>> {
    if let Some(text) = exact(hir).filter(|it| !it.is_empty()) {
        return Some(vec![text]);
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Literal(_) | HirKind::Class(_) => None,
        HirKind::Repetition(it) if it.min > 0 => set(&it.sub),
        HirKind::Repetition(_) => None,
        HirKind::Capture(it) => set(&it.sub),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(set(branch)?);
                if all.len() > ALTERNATIVES_MAX {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Concat(parts) => best_of(parts),
    }
}

/// The best set among those of the parts and the texts that parts in a row make.
fn best_of(parts: &[Hir]) -> Option<Vec<String>> {
    let mut best: Option<Vec<String>> = None;
    let mut offer = |set: Vec<String>| {
        let better = best.as_ref().is_none_or(|old| score(&set) > score(old));
        if better && shortest(&set) > 0 {
            best = Some(set);
        }
    };
    let mut run = String::new();
    for part in parts {
        match exact(part) {
            Some(text) => run.push_str(&text),
            None => {
                offer(vec![std::mem::take(&mut run)]);
                if let Some(set) = set(part) {
                    offer(set);
                }
            }
        }
    }
    offer(vec![run]);
    best
}

/// Longer is rarer; more texts are less rare.
fn score(set: &[String]) -> f64 {
    shortest(set).min(12) as f64 - (set.len() as f64).log2()
}

/// The one folded text that everything this matches folds to.
fn exact(hir: &Hir) -> Option<String> {
    match hir.kind() {
        // An assertion takes no text: what stands around it still stands in a row.
        HirKind::Empty | HirKind::Look(_) => Some(String::new()),
        HirKind::Literal(it) => std::str::from_utf8(&it.0).ok().map(|it| fold(it).into_owned()),
        HirKind::Class(Class::Unicode(class)) => one_folded(class),
        // None: bytes that are no characters.
        HirKind::Class(Class::Bytes(class)) => one_folded(&class.to_unicode_class()?),
        HirKind::Capture(it) => exact(&it.sub),
        HirKind::Repetition(it) if it.max == Some(it.min) && it.min <= 8 => {
            exact(&it.sub).map(|text| text.repeat(it.min as usize))
        }
        HirKind::Repetition(_) | HirKind::Alternation(_) => None,
        HirKind::Concat(parts) => parts.iter().map(exact).collect(),
    }
}

/// The one text that all characters of a class fold to.
fn one_folded(class: &ClassUnicode) -> Option<String> {
    let mut folded: Option<String> = None;
    for range in class.ranges() {
        if u32::from(range.end()) - u32::from(range.start()) > 3 {
            return None;
        }
        for it in range.start()..=range.end() {
            let text = fold(it.encode_utf8(&mut [0; 4])).into_owned();
            if *folded.get_or_insert_with(|| text.clone()) != text {
                return None;
            }
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::pattern;
    use proptest::prelude::*;

    fn check(text: &str, expected: &[&str]) {
        let found = required(&pattern::read(text).unwrap()).unwrap_or_default();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn sets_that_no_match_can_do_without() {
        check(r"powershell", &["powershell"]);
        check(r"(?i)Kiosk[-_]?\d{2,6}\.(exe|dll|sh)", &["kiosk"]);
        check(r"(?i)straße", &["strasse"]);
        check(r"foo\bbar", &["foobar"]);
        check(r"a.*(secret|private)key", &["secret", "private"]);
        check(r"(abc|x)y", &[]);
        check(r"(a|b)*wxyz", &["wxyz"]);
        check(r"(wxyz)+", &["wxyz"]);
        check(r"(wxyz)*", &[]);
        check(r"(wxyz)?ab", &[]);
        check(r"(ab){3}", &["ababab"]);
        check(r"\d+", &[]);
        check(r"^admin$", &["admin"]);
        check(r"", &[]);
        check(r"(?:abcd|)", &[]);
        check(r"[^a]bcd", &["bcd"]);
        check(r"[aA]bcd", &["abcd"]);
    }

    fn regex() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[abcs]{1,3}",
            1 => prop::sample::select(vec!["[aA]", "[sSſ]", "(?i)s", ".", "[^a]", r"\b", "^", "ß", ""]).prop_map(str::to_string),
        ];
        piece.prop_recursive(4, 24, 4, |inner| {
            let count = prop::sample::select(vec!["?", "*", "+", "{2}", "{0,2}", "{1,3}", "{0}"]);
            prop_oneof![
                4 => prop::collection::vec(inner.clone(), 1..5).prop_map(|it| it.concat()),
                2 => prop::collection::vec(inner.clone(), 1..3).prop_map(|it| format!("({})", it.join("|"))),
                2 => (inner.clone(), count).prop_map(|(it, count)| format!("(?:{it}){count}")),
                1 => inner.prop_map(|it| format!("(?i:{it})")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_matches_holds_one_of_the_set(regex in regex(), text in "[abcsABCSſßẞ]{0,14}") {
            let required = required(&pattern::read(&regex).unwrap());
            if pattern::build(&regex, false).unwrap().is_match(&text)
                && let Some(set) = required
            {
                let folded = fold(&text);
                prop_assert!(set.iter().any(|it| folded.contains(it)), "{:?} of {} not in {}", set, regex, text);
            }
        }
    }
}
