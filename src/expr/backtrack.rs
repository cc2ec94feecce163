//! Regular expressions that only cut a text up, run by walking them.
//!
//! `Failed (\S+) for (.*) from (\S+) port (\d+)` is what log lines are taken apart with: literals, and runs of characters
//! between them. For such an expression automata do too much: they step over every byte, and to find the groups they do
//! it twice or track all threads (1.5 µs for a line of sshd). Walking it, a literal is a comparison, a run is a scan, and
//! where a literal follows a run it is searched for from the run's end (0.1 µs).
//!
//! Walking is exponential for expressions and texts made for it, so steps are counted, and when there were too many for the
//! text's length the question goes to the automata: the answer is theirs in any case, which a property test compares.
//! Only ASCII text is walked, so a character is a byte.

use memchr::{memchr, memmem, memrchr};
use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

/// An expression that can be walked.
#[derive(Debug)]
pub struct Walk {
    steps: Box<[Step]>,
    groups: usize,
    starts: Starts,
}

#[derive(Debug)]
enum Step {
    Literal(Box<[u8]>),
    /// A literal in lower case, for letters of either.
    Folded(Box<[u8]>),
    Run(Box<Run>),
    /// Notes a place in a slot; two slots a group.
    Note(u16),
    /// Goes on at the first; if that fails, at the second.
    Try(u32, u32),
    Jump(u32),
    Look(Look),
    End,
}

/// Characters of a set, so many.
#[derive(Debug)]
struct Run {
    set: [bool; 256],
    /// The only byte that ends it, where there is one.
    stop: Option<u8>,
    min: usize,
    max: usize,
    greedy: bool,
    /// What stands right behind it.
    then: Box<[u8]>,
}

/// Where a match may begin.
#[derive(Debug)]
enum Starts {
    First,
    At(Box<memmem::Finder<'static>>),
    In(Box<[bool; 256]>),
    Anywhere,
}

/// What was found, and memory for finding it.
#[derive(Default, Debug)]
pub struct Groups {
    slots: Vec<usize>,
    untried: Vec<Untried>,
    /// Where automata write.
    locations: Option<regex::CaptureLocations>,
}

/// What is left to do when the way taken fails.
#[derive(Debug)]
enum Untried {
    Step {
        step: u32,
        at: usize,
    },
    /// Ends of a greedy run, from `high` down.
    Shorter {
        step: u32,
        low: usize,
        high: usize,
    },
    /// Ends of a lazy run, from `low` up.
    Longer {
        step: u32,
        low: usize,
        high: usize,
    },
    Slot {
        slot: u16,
        was: usize,
    },
}

const NOWHERE: usize = usize::MAX;

impl Groups {
    /// The bytes of a group; 0 is the whole match.
    pub fn get(&self, group: usize) -> Option<(usize, usize)> {
        let (start, end) = (*self.slots.get(group * 2)?, *self.slots.get(group * 2 + 1)?);
        (start != NOWHERE && end != NOWHERE).then_some((start, end))
    }

    /// How many groups the expression has, the whole match included.
    pub fn len(&self) -> usize {
        self.slots.len() / 2
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Asks automata. The groups must have been used with no other expression.
    pub fn read(&mut self, regex: &regex::Regex, text: &str) -> bool {
        let locations = self.locations.get_or_insert_with(|| regex.capture_locations());
        if regex.captures_read(locations, text).is_none() {
            return false;
        }
        self.slots.clear();
        for group in 0..locations.len() {
            let (start, end) = locations.get(group).unwrap_or((NOWHERE, NOWHERE));
            self.slots.extend([start, end]);
        }
        true
    }
}

impl Walk {
    /// None for an expression with other parts.
    pub fn new(hir: &Hir) -> Option<Walk> {
        let mut steps = vec![Step::Note(0)];
        write(hir, &mut steps)?;
        steps.extend([Step::Note(1), Step::End]);
        for at in 0..steps.len() {
            let then = literal_at(&steps, at + 1).into();
            if let Step::Run(run) = &mut steps[at] {
                run.then = then;
            }
        }
        let groups = hir.properties().explicit_captures_len() + 1;
        Some(Walk { starts: starts(hir, &steps), steps: steps.into(), groups })
    }

    /// Whether the expression fits somewhere in an ASCII text; None when that takes too many steps to find out.
    pub fn find(&self, text: &[u8], found: &mut Groups) -> Option<bool> {
        let mut left = 256 + 4 * text.len();
        let mut from = 0;
        loop {
            let start = match &self.starts {
                Starts::First if from > 0 => return Some(false),
                Starts::First | Starts::Anywhere if from <= text.len() => from,
                Starts::At(finder) => match text.get(from..).and_then(|it| finder.find(it)) {
                    Some(at) => from + at,
                    None => return Some(false),
                },
                Starts::In(set) => match text.iter().skip(from).position(|it| set[usize::from(*it)]) {
                    Some(at) => from + at,
                    None => return Some(false),
                },
                Starts::First | Starts::Anywhere => return Some(false),
            };
            if self.fits(text, start, found, &mut left)? {
                return Some(true);
            }
            from = start + 1;
        }
    }

    /// Whether it fits from `at`.
    fn fits(&self, text: &[u8], mut at: usize, found: &mut Groups, left: &mut usize) -> Option<bool> {
        let Groups { slots, untried, .. } = found;
        slots.clear();
        slots.resize(self.groups * 2, NOWHERE);
        untried.clear();
        let mut step = 0;
        loop {
            *left = left.checked_sub(1)?;
            let on = match &self.steps[step as usize] {
                Step::End => return Some(true),
                Step::Literal(it) if begins(text, at, it) => Some((step + 1, at + it.len())),
                Step::Literal(_) => None,
                Step::Folded(it) => {
                    let there = text.get(at..at + it.len());
                    there.is_some_and(|there| there.eq_ignore_ascii_case(it)).then_some((step + 1, at + it.len()))
                }
                Step::Note(slot) => {
                    let was = std::mem::replace(&mut slots[usize::from(*slot)], at);
                    if !untried.is_empty() {
                        untried.push(Untried::Slot { slot: *slot, was });
                    }
                    Some((step + 1, at))
                }
                Step::Try(first, second) => {
                    untried.push(Untried::Step { step: *second, at });
                    Some((*first, at))
                }
                Step::Jump(to) => Some((*to, at)),
                Step::Look(look) => holds(*look, text, at).then_some((step + 1, at)),
                Step::Run(run) => {
                    let high = run.end(text, at);
                    *left = left.checked_sub((high - at) / 8)?;
                    let low = at + run.min;
                    if low > high {
                        None
                    } else if run.greedy {
                        run.shorter(text, low, high, step, untried)
                    } else {
                        run.longer(text, low, high, step, untried)
                    }
                }
            };
            match on {
                Some(on) => (step, at) = on,
                None => match self.back(text, slots, untried) {
                    Some(on) => (step, at) = on,
                    None => return Some(false),
                },
            }
        }
    }

    /// The next way to try.
    fn back(&self, text: &[u8], slots: &mut [usize], untried: &mut Vec<Untried>) -> Option<(u32, usize)> {
        loop {
            let (step, low, high, shorter) = match untried.pop()? {
                Untried::Slot { slot, was } => {
                    slots[usize::from(slot)] = was;
                    continue;
                }
                Untried::Step { step, at } => return Some((step, at)),
                Untried::Shorter { step, low, high } => (step, low, high, true),
                Untried::Longer { step, low, high } => (step, low, high, false),
            };
            let Step::Run(run) = &self.steps[step as usize] else { continue };
            let on = match shorter {
                true => run.shorter(text, low, high, step, untried),
                false => run.longer(text, low, high, step, untried),
            };
            if on.is_some() {
                return on;
            }
        }
    }
}

impl Run {
    /// The furthest it can go.
    fn end(&self, text: &[u8], at: usize) -> usize {
        let window = &text[at..at.saturating_add(self.max).min(text.len())];
        let len = match self.stop {
            Some(stop) => memchr(stop, window),
            None => window.iter().position(|it| !self.set[usize::from(*it)]),
        };
        at + len.unwrap_or(window.len())
    }

    /// The last end in `low..=high` behind which stands what must; earlier ones are left untried.
    fn shorter(
        &self,
        text: &[u8],
        low: usize,
        mut high: usize,
        step: u32,
        untried: &mut Vec<Untried>,
    ) -> Option<(u32, usize)> {
        if let Some((offset, byte)) = self.rare() {
            let window = &text[..(high + offset + 1).min(text.len())];
            let mut end = window.len();
            loop {
                high = memrchr(byte, &window[(low + offset).min(end)..end])? + low;
                if text[high..].starts_with(&self.then) {
                    break;
                }
                end = high + offset;
            }
        }
        if high > low {
            untried.push(Untried::Shorter { step, low, high: high - 1 });
        }
        Some((step + 1, high))
    }

    /// The first such end; later ones are left untried.
    fn longer(
        &self,
        text: &[u8],
        mut low: usize,
        high: usize,
        step: u32,
        untried: &mut Vec<Untried>,
    ) -> Option<(u32, usize)> {
        if let Some((offset, byte)) = self.rare() {
            let window = &text[..(high + offset + 1).min(text.len())];
            loop {
                low += memchr(byte, window.get(low + offset..)?)?;
                if text[low..].starts_with(&self.then) {
                    break;
                }
                low += 1;
            }
        }
        if high > low {
            untried.push(Untried::Longer { step, low: low + 1, high });
        }
        Some((step + 1, low))
    }

    /// A byte of what follows, not the first if that is a space, for spaces are everywhere.
    #[inline]
    fn rare(&self) -> Option<(usize, u8)> {
        match &*self.then {
            [] => None,
            [b' ', second, ..] => Some((1, *second)),
            [first, ..] => Some((0, *first)),
        }
    }
}

/// Whether a literal, which is not empty, stands there. Mostly the first byte tells.
#[inline]
fn begins(text: &[u8], at: usize, literal: &[u8]) -> bool {
    text.get(at) == literal.first() && text[at..].starts_with(literal)
}

fn holds(look: Look, text: &[u8], at: usize) -> bool {
    let is_word = |it: Option<&u8>| it.is_some_and(|it| it.is_ascii_alphanumeric() || *it == b'_');
    let is_edge = || is_word(at.checked_sub(1).and_then(|it| text.get(it))) != is_word(text.get(at));
    match look {
        Look::Start => at == 0,
        Look::End => at == text.len(),
        Look::WordAscii | Look::WordUnicode => is_edge(),
        _ => !is_edge(), // the negations: `write` takes no others
    }
}

/// Appends the steps of an expression; None if it has parts that are not walked.
fn write(hir: &Hir, steps: &mut Vec<Step>) -> Option<()> {
    const STEPS_MAX: usize = 256;
    if steps.len() > STEPS_MAX {
        return None;
    }
    match hir.kind() {
        HirKind::Empty => {}
        HirKind::Literal(it) if it.0.is_ascii() => steps.push(Step::Literal(it.0.clone())),
        // What is not ASCII is in none of the texts that are walked.
        HirKind::Literal(_) => steps.push(run_of([false; 256], 1, 1, true)),
        HirKind::Class(class) => steps.push(run(class, 1, 1, true)),
        HirKind::Look(
            look @ (Look::Start
            | Look::End
            | Look::WordAscii
            | Look::WordAsciiNegate
            | Look::WordUnicode
            | Look::WordUnicodeNegate),
        ) => steps.push(Step::Look(*look)),
        HirKind::Look(_) => return None,
        HirKind::Repetition(it) => write_repetition(it, steps)?,
        HirKind::Capture(it) => {
            let slot = u16::try_from(it.index * 2).ok()?;
            steps.push(Step::Note(slot));
            write(&it.sub, steps)?;
            steps.push(Step::Note(slot + 1));
        }
        HirKind::Concat(parts) => {
            let mut rest = parts.as_slice();
            while let [first, others @ ..] = rest {
                let (folded, after) = folded(rest);
                if after.len() < others.len() {
                    steps.push(Step::Folded(folded.into()));
                    rest = after;
                } else {
                    write(first, steps)?;
                    rest = others;
                }
            }
        }
        HirKind::Alternation(parts) => {
            let mut jumps = Vec::new();
            for (number, part) in parts.iter().enumerate() {
                let fork = steps.len();
                let is_last = number + 1 == parts.len();
                if !is_last {
                    steps.push(Step::Try(fork as u32 + 1, 0));
                }
                write(part, steps)?;
                if !is_last {
                    jumps.push(steps.len());
                    steps.push(Step::Jump(0));
                    steps[fork] = Step::Try(fork as u32 + 1, steps.len() as u32);
                }
            }
            let end = steps.len() as u32;
            jumps.into_iter().for_each(|it| steps[it] = Step::Jump(end));
        }
    }
    Some(())
}

/// The literal without case that some parts begin with, and the parts after it.
fn folded(parts: &[Hir]) -> (Vec<u8>, &[Hir]) {
    let mut folded = Vec::new();
    let mut rest = parts;
    while let [first, others @ ..] = rest {
        match first.kind() {
            HirKind::Class(class) => match either_case(class) {
                Some(letter) => folded.push(letter),
                None => break,
            },
            HirKind::Literal(it) if it.0.iter().all(|it| it.is_ascii() && !it.is_ascii_alphabetic()) => {
                folded.extend_from_slice(&it.0);
            }
            _ => break,
        }
        rest = others;
    }
    (folded, rest)
}

/// The letter of which the ASCII part of a class is both cases.
fn either_case(class: &Class) -> Option<u8> {
    let set = ascii_of(class);
    let mut found = (0..128u8).filter(|it| set[usize::from(*it)]);
    let (upper, lower) = (found.next()?, found.next()?);
    (found.next().is_none() && upper.is_ascii_uppercase() && upper.to_ascii_lowercase() == lower).then_some(lower)
}

fn write_repetition(it: &Repetition, steps: &mut Vec<Step>) -> Option<()> {
    let (min, max) = (it.min as usize, it.max.map_or(usize::MAX, |it| it as usize));
    match it.sub.kind() {
        HirKind::Class(class) => {
            steps.push(run(class, min, max, it.greedy));
            return Some(());
        }
        HirKind::Literal(literal) if literal.0.len() == 1 && literal.0[0].is_ascii() => {
            let mut set = [false; 256];
            set[usize::from(literal.0[0])] = true;
            steps.push(run_of(set, min, max, it.greedy));
            return Some(());
        }
        _ => {}
    }
    // A part that may be empty could be repeated for ever, and rules for that differ.
    if it.sub.properties().minimum_len().is_none_or(|it| it == 0) || min > 4 {
        return None;
    }
    (0..min).try_for_each(|_| write(&it.sub, steps))?;
    let fork = |then: usize, or: usize| match it.greedy {
        true => Step::Try(then as u32, or as u32),
        false => Step::Try(or as u32, then as u32),
    };
    if it.max.is_none() {
        let start = steps.len();
        steps.push(Step::Jump(0));
        write(&it.sub, steps)?;
        steps.push(Step::Jump(start as u32));
        steps[start] = fork(start + 1, steps.len());
        return Some(());
    }
    if max - min > 4 {
        return None;
    }
    let mut forks = Vec::new();
    for _ in min..max {
        forks.push(steps.len());
        steps.push(Step::Jump(0));
        write(&it.sub, steps)?;
    }
    let end = steps.len();
    forks.into_iter().for_each(|it| steps[it] = fork(it + 1, end));
    Some(())
}

fn run(class: &Class, min: usize, max: usize, greedy: bool) -> Step {
    run_of(ascii_of(class), min, max, greedy)
}

fn ascii_of(class: &Class) -> [bool; 256] {
    let mut set = [false; 256];
    let mut add = |start: u32, end: u32| (start..=end.min(127)).for_each(|it| set[it as usize] = true);
    match class {
        Class::Unicode(it) => it.ranges().iter().for_each(|it| add(it.start().into(), it.end().into())),
        Class::Bytes(it) => it.ranges().iter().for_each(|it| add(it.start().into(), it.end().into())),
    }
    set
}

fn run_of(set: [bool; 256], min: usize, max: usize, greedy: bool) -> Step {
    let mut outside = (0..128).filter(|it| !set[usize::from(*it)]);
    let stop = outside.next().filter(|_| outside.next().is_none());
    Step::Run(Box::new(Run { set, stop, min, max, greedy, then: Box::default() }))
}

/// The literal that must stand where the walk is at that step.
fn literal_at(steps: &[Step], from: usize) -> &[u8] {
    let next = steps[from..].iter().find(|it| !matches!(it, Step::Note(_) | Step::Look(_)));
    match next {
        Some(Step::Literal(it)) => it,
        _ => &[],
    }
}

fn starts(hir: &Hir, steps: &[Step]) -> Starts {
    if matches!(steps[1..].iter().find(|it| !matches!(it, Step::Note(_))), Some(Step::Look(Look::Start))) {
        return Starts::First;
    }
    let literal = literal_at(steps, 0);
    if literal.len() > 1 {
        return Starts::At(Box::new(memmem::Finder::new(literal).into_owned()));
    }
    if hir.properties().minimum_len().is_none_or(|it| it == 0) {
        return Starts::Anywhere;
    }
    let mut set = [false; 256];
    match firsts(steps, 0, &mut set, 0) {
        Some(()) => Starts::In(Box::new(set)),
        None => Starts::Anywhere,
    }
}

/// Adds the bytes with which a walk from a step can begin.
fn firsts(steps: &[Step], mut at: usize, set: &mut [bool; 256], depth: usize) -> Option<()> {
    loop {
        match &steps[at] {
            Step::Literal(it) => {
                set[usize::from(*it.first()?)] = true;
                return Some(());
            }
            Step::Folded(it) => {
                let first = *it.first()?;
                set[usize::from(first)] = true;
                set[usize::from(first.to_ascii_uppercase())] = true;
                return Some(());
            }
            Step::Run(run) => {
                (0..256).for_each(|it| set[it] |= run.set[it]);
                if run.min > 0 {
                    return Some(());
                }
            }
            Step::Try(first, second) => {
                if depth > 64 {
                    return None;
                }
                firsts(steps, *first as usize, set, depth + 1)?;
                at = *second as usize;
                continue;
            }
            Step::Jump(to) => {
                at = *to as usize;
                continue;
            }
            Step::Note(_) | Step::Look(_) => {}
            Step::End => return None,
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares a walk with the automata; false if the expression or the text is not walked.
    fn agrees(pattern: &str, text: &str) -> bool {
        let hir = regex_syntax::parse(pattern).unwrap_or_else(|it| panic!("{pattern}: {it}"));
        let Some(walk) = Walk::new(&hir) else { return false };
        let mut found = Groups::default();
        let Some(fits) = walk.find(text.as_bytes(), &mut found) else { return false };
        let regex = regex::Regex::new(pattern).unwrap();
        let expected = regex.captures(text);
        assert_eq!(fits, expected.is_some(), "{pattern} on {text:?}");
        if let Some(expected) = expected {
            let expected: Vec<_> = expected.iter().map(|it| it.map(|it| (it.start(), it.end()))).collect();
            let found: Vec<_> = (0..found.len()).map(|it| found.get(it)).collect();
            assert_eq!(found, expected, "{pattern} on {text:?}");
        }
        true
    }

    #[test]
    fn lines_are_cut_as_automata_cut_them() {
        let failed =
            r"Failed (?<method>\S+) for (?:invalid user |illegal user )?(?<user>.*) from (?<ip>\S+) port (?<port>\d+)";
        for (pattern, text) in [
            (failed, "Failed password for root from 10.0.0.1 port 22 ssh2"),
            (failed, "x Failed none for invalid user  from 1 port 2 from 10.0.0.1 port 22 ssh2"),
            (failed, "Failed none for invalid user from port 2 from 10.0.0.1 port x"),
            (r"rhost=(\S*)(?:\s+user=(\S+))?", "rhost=  user=root"),
            (r"^(?:.{0,9}\bsshd\S*: )?((?:error: |fatal: )?\S+ \S+)", "gw1 sshd[1]: error: a b c"),
            (r"(?:a|ab)(?:c|bcd)(d*)", "abcd"),
            (r"(a+?)(b*?)c", "xaabbc"),
            (r"(?i)log[ -]?in", "a LOG-IN"),
            (r"(?i)\b(?:kiosk|sso 2)\b(?: \w+)* (fail\w*)s(?-i:OK)", "Kiosk was FAILedsOK"),
            (r"(?i)(?:ab|cd)ef(?:→|->|⇒)x", "cDeF->x"),
            (r"(?:(a)|b)*c", "abbc"),
            (r"(\w{2,3})+$", "abcde fghij"),
            (r"\bfrom ([0-9a-f.:]+)(?: port (\d+))?$", "xfrom 1 from 2 port 3"),
            (r"$", ""),
            (r"", "a"),
        ] {
            assert!(agrees(pattern, text), "{pattern}");
        }
    }

    #[test]
    fn what_takes_too_long_is_given_up() {
        let hir = regex_syntax::parse(r"(?:a+x?)(?:a+x?)(?:a+x?)(?:a+x?)(?:a+x?)b").unwrap();
        let text = "a".repeat(400);
        assert_eq!(Walk::new(&hir).unwrap().find(text.as_bytes(), &mut Groups::default()), None);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(2000))]
        #[test]
        fn a_walk_finds_what_automata_find(
            parts in proptest::collection::vec((0..16usize, 0..7usize), 1..6),
            text in "[abc :]{0,14}",
            anchored in 0..4u8,
        ) {
            const PIECES: [&str; 16] = [
                "a", "ab", r"(\S)", "(.)", r"(\w)", "(a|b)", "(ab|a)", "(?:a|bc|)", "[a-b]", " ", ": ", r"\b", "(b)",
                "(?i:A)", "(?:a(b)?)", r"[^ ]",
            ];
            const COUNTS: [&str; 7] = ["", "", "?", "*", "+", "*?", "{1,3}"];
            let mut pattern = String::from(if anchored == 0 { "^" } else { "" });
            for (piece, count) in parts {
                // The count goes inside a group, so that the group holds the run.
                let whole = match PIECES[piece].strip_prefix('(').filter(|it| !it.starts_with('?')) {
                    Some(inner) if !inner.contains('|') => format!("({}{})", inner.trim_end_matches(')'), COUNTS[count]),
                    _ => format!("(?:{}){}", PIECES[piece], COUNTS[count]),
                };
                pattern.push_str(&whole);
            }
            if anchored == 1 {
                pattern.push('$');
            }
            agrees(&pattern, &text);
        }
    }
}
