//! Which of many needles a text holds, looking at every fourth position of it.
//!
//! An automaton looks at every byte, and each look waits for the one before it; with thousands of needles its table
//! leaves the cache, and the wait becomes a trip to memory. But a needle of at least seven bytes, wherever it stands,
//! covers one whole aligned group of four. So the groups that a needle can cover (four of them, one for each alignment)
//! go to a small table, and a text costs one independent look for each four bytes, whatever the number of needles. Where
//! shorter needles are wanted the looks come closer: at every third, second or single byte. Needles below four bytes, and a
//! few others that would bring the looks closer, are searched one by one, or by an automaton where they are many.
//!
//! Needles with and without case share the table: groups are compared with the bit set that tells small letters from
//! capitals, and a look that hits is compared in full, so nothing is found that is not there. A stranger who repeats one
//! group of ours makes every look a comparison: linear still, with the needles of that group as the factor, and each
//! needle is filed under the groups that fewest others have.

use aho_corasick::AhoCorasick;
use hashbrown::{HashMap, HashSet};
use memchr::memmem;

use super::postings::Postings;

/// Text that logs are full of. Groups of it make bad keys, even when only one needle has them.
const COMMON: &[u8] = b"https://www.google.com/ http:// mozilla/5.0 (windows nt 10.0; win64; x64) applewebkit/537.36 \
(khtml, like gecko) chrome/ safari/ version/ firefox/ mobile/ (macintosh; intel mac os x (x11; linux x86_64) \
c:\\windows\\system32\\ c:\\program files\\ /usr/bin/ /usr/lib/ /usr/local/ /etc/ /var/log/ /bin/bash -c /opt/ .exe .dll \
/api/v1/ /api/v2/ .json .html .js --config --output .com .net .org user name login admin session token account service \
error";

/// A text to look for; folded where case does not count.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Needle {
    pub text: Vec<u8>,
    pub folded: bool,
}

/// Many needles to look for.
#[derive(Debug)]
pub struct Needles {
    table: Option<Table>,
    alone: Vec<Alone>,
    tiny: Vec<Tiny>,
    any_folded: bool,
}

#[derive(Debug)]
struct Alone {
    finder: memmem::Finder<'static>,
    folded: bool,
    numbers: Box<[u32]>,
}

/// Many needles below four bytes, which repeat themselves too much for a table.
#[derive(Debug)]
struct Tiny {
    automaton: AhoCorasick,
    numbers: Vec<Vec<u32>>,
    folded: bool,
}

#[derive(Debug)]
struct Table {
    /// The distance between looks, 1 to 4; every needle has `step` groups in the table.
    step: usize,
    shift: u32,
    /// One bit for each of the upper bits of a hash: whether some group has them. About 16 bits a group.
    seen: Box<[u64]>,
    /// For each sixteen of those bits, where its groups begin in `groups`.
    starts: Box<[u32]>,
    groups: Box<[Group]>,
    needles: Postings<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    bytes: u32,
    needle: u32,
    offset: u32,
    folded: bool,
}

/// Whether folding a text is a matter of one bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alphabet {
    Ascii,
    /// May be ASCII too.
    Unicode,
}

/// Which needles a scan reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reported {
    /// All; the text is ASCII.
    All,
    Kept,
    Folded,
}

/// So few short needles are searched one by one, for the sake of wider steps.
const ALONE_MAX: usize = 2;

/// More needles below four bytes are searched together.
const TINY_ALONE_MAX: usize = 8;

impl Needles {
    /// Each needle with the number that `scan` reports for it. Needles must not be empty. None when there are none.
    pub fn new(wanted: Vec<(Needle, u32)>) -> Option<Needles> {
        let mut by_needle: HashMap<Needle, Vec<u32>> = HashMap::new();
        for (needle, number) in wanted {
            by_needle.entry(needle).or_default().push(number);
        }
        let mut all: Vec<(Needle, Vec<u32>)> = by_needle.into_iter().collect();
        all.sort_unstable_by(|a, b| a.0.text.len().cmp(&b.0.text.len()).then_with(|| a.0.cmp(&b.0)));
        let any_folded = all.iter().any(|it| it.0.folded);
        let tiny = all.iter().take_while(|it| it.0.text.len() < 4).count();
        let short = all.iter().take_while(|it| it.0.text.len() < 7).count();
        let rest = all.split_off(if short - tiny <= ALONE_MAX { short } else { tiny });
        let tiny = if tiny > TINY_ALONE_MAX { Tiny::take(&mut all) } else { Vec::new() };
        let alone: Vec<Alone> = all.into_iter().map(|(needle, numbers)| Alone::new(needle, numbers)).collect();
        let table = (!rest.is_empty()).then(|| Table::new(rest));
        let any = table.is_some() || !alone.is_empty() || !tiny.is_empty();
        any.then_some(Needles { table, alone, tiny, any_folded })
    }

    /// Whether some needle compares without case.
    pub fn any_folded(&self) -> bool {
        self.any_folded
    }

    /// Whether `scan` looks at the folded text even where the value is ASCII.
    pub fn needs_folded(&self) -> bool {
        self.alone.iter().any(|it| it.folded) || self.tiny.iter().any(|it| it.folded)
    }

    /// Calls `found` with the number of every needle in the text; perhaps more than once. `folded` is the text folded; it may
    /// be left empty where the text is ASCII and [`Needles::needs_folded`] says no.
    #[inline]
    pub fn scan(&self, text: &[u8], folded: &[u8], alphabet: Alphabet, found: &mut impl FnMut(u32)) {
        if let Some(table) = &self.table {
            match alphabet {
                Alphabet::Ascii => table.scan(text, Reported::All, found),
                Alphabet::Unicode => {
                    table.scan(text, Reported::Kept, found);
                    if self.any_folded {
                        table.scan(folded, Reported::Folded, found);
                    }
                }
            }
        }
        for it in &self.alone {
            if it.finder.find(if it.folded { folded } else { text }).is_some() {
                it.numbers.iter().for_each(|it| found(*it));
            }
        }
        for it in &self.tiny {
            for hit in it.automaton.find_overlapping_iter(if it.folded { folded } else { text }) {
                it.numbers[hit.pattern().as_usize()].iter().for_each(|it| found(*it));
            }
        }
    }
}

impl Tiny {
    /// Takes the needles below four bytes out of `all`; leaves them there if no automaton can be built.
    fn take(all: &mut Vec<(Needle, Vec<u32>)>) -> Vec<Tiny> {
        let mut built = Vec::new();
        for folded in [false, true] {
            let is_mine = |it: &Needle| it.folded == folded && it.text.len() < 4;
            let mine: Vec<&(Needle, Vec<u32>)> = all.iter().filter(|it| is_mine(&it.0)).collect();
            if mine.is_empty() {
                continue;
            }
            if let Ok(automaton) = AhoCorasick::new(mine.iter().map(|it| &it.0.text)) {
                built.push(Tiny { automaton, numbers: mine.iter().map(|it| it.1.clone()).collect(), folded });
                all.retain(|it| !is_mine(&it.0));
            }
        }
        built
    }
}

impl Alone {
    fn new(needle: Needle, numbers: Vec<u32>) -> Alone {
        let finder = memmem::Finder::new(&needle.text).into_owned();
        Alone { finder, folded: needle.folded, numbers: numbers.into() }
    }
}

impl Table {
    /// Needles of at least four bytes, the shortest first.
    fn new(needles: Vec<(Needle, Vec<u32>)>) -> Table {
        let shortest = needles.first().map_or(4, |it| it.0.text.len());
        let step = shortest.saturating_sub(3).clamp(1, 4);
        let groups = file(&needles, step);
        let bits = (groups.len() * 16).next_power_of_two().ilog2().clamp(10, 22);
        let shift = 32 - bits;
        let mut seen = vec![0u64; 1 << (bits - 6)];
        let mut filed: Vec<(u32, Group)> = groups.into_iter().map(|it| (hash(it.bytes, shift), it)).collect();
        filed.sort_by_key(|it| (it.0 >> 4, it.1.needle, it.1.offset));
        let mut starts = vec![0u32; (1 << (bits - 4)) + 1];
        for (place, _) in &filed {
            seen[(place >> 6) as usize] |= 1 << (place & 63);
            starts[(place >> 4) as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        Table {
            step,
            shift,
            seen: seen.into(),
            starts: starts.into(),
            groups: filed.into_iter().map(|it| it.1).collect(),
            needles: Postings::new(needles.into_iter().map(|(needle, numbers)| (needle.text, numbers))),
        }
    }

    fn scan(&self, text: &[u8], reported: Reported, found: &mut impl FnMut(u32)) {
        match self.step {
            4 => self.scan_by::<4>(text, reported, found),
            3 => self.scan_by::<3>(text, reported, found),
            2 => self.scan_by::<2>(text, reported, found),
            _ => self.scan_by::<1>(text, reported, found),
        }
    }

    fn scan_by<const STEP: usize>(&self, text: &[u8], reported: Reported, found: &mut impl FnMut(u32)) {
        let mut rest = text;
        let mut at = 0;
        while let Some(four) = rest.first_chunk::<4>() {
            let bytes = without_case(*four);
            let place = hash(bytes, self.shift);
            if self.seen[(place >> 6) as usize] >> (place & 63) & 1 != 0 {
                self.compare(text, at, bytes, place, reported, found);
            }
            at += STEP;
            rest = &rest[STEP..];
        }
    }

    #[inline(never)]
    fn compare(&self, text: &[u8], at: usize, bytes: u32, place: u32, reported: Reported, found: &mut impl FnMut(u32)) {
        let bucket = (place >> 4) as usize;
        let groups = &self.groups[self.starts[bucket] as usize..self.starts[bucket + 1] as usize];
        for group in groups.iter().filter(|it| it.bytes == bytes) {
            let Some(start) = at.checked_sub(group.offset as usize) else { continue };
            let (needle, numbers) = self.needles.get(group.needle as usize);
            let Some(here) = text.get(start..start + needle.len()) else { continue };
            let is_here = match (group.folded, reported) {
                (false, Reported::All | Reported::Kept) => here == needle,
                // In a folded text there are no capitals, and this compares the same.
                (true, Reported::All | Reported::Folded) => here.eq_ignore_ascii_case(needle),
                (false, Reported::Folded) | (true, Reported::Kept) => false,
            };
            if is_here {
                numbers.iter().for_each(|it| found(*it));
            }
        }
    }
}

/// Four bytes with the bit set that tells small letters from capitals. Other bytes fall together too; that costs a
/// comparison now and then.
#[inline(always)]
fn without_case(four: [u8; 4]) -> u32 {
    u32::from_le_bytes(four) | 0x2020_2020
}

#[inline(always)]
fn hash(bytes: u32, shift: u32) -> u32 {
    bytes.wrapping_mul(0x9e37_79b1) >> shift
}

/// For each needle `step` groups in a row, of which one stands at a multiple of `step` wherever the needle stands; those
/// that fewest other needles have.
fn file(needles: &[(Needle, Vec<u32>)], step: usize) -> Vec<Group> {
    let common: HashSet<u32> = groups_of(COMMON).collect();
    let mut counts: HashMap<u32, u32> = HashMap::new();
    for (needle, _) in needles {
        groups_of(head(&needle.text)).for_each(|it| *counts.entry(it).or_default() += 1);
    }
    let mut out = Vec::with_capacity(needles.len() * step);
    for (number, (needle, _)) in needles.iter().enumerate() {
        let groups: Vec<u32> = groups_of(head(&needle.text)).collect();
        let price = |it: &u32| counts.get(it).copied().unwrap_or(0) + if common.contains(it) { 16 } else { 0 };
        let prices: Vec<u32> = groups.iter().map(price).collect();
        let best = (0..=groups.len() - step).min_by_key(|at| prices[*at..*at + step].iter().sum::<u32>()).unwrap_or(0);
        for (offset, bytes) in groups.into_iter().enumerate().skip(best).take(step) {
            out.push(Group { bytes, needle: number as u32, offset: offset as u32, folded: needle.folded });
        }
    }
    out
}

/// As much of a needle as is worth choosing from.
fn head(text: &[u8]) -> &[u8] {
    &text[..text.len().min(128)]
}

fn groups_of(text: &[u8]) -> impl Iterator<Item = u32> {
    text.array_windows::<4>().map(|it| without_case(*it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::plain::fold;
    use proptest::prelude::*;

    fn check(needles: &[(String, bool)], text: &str) {
        let wanted = needles.iter().enumerate().map(|(index, (it, folded))| {
            let text = if *folded { fold(it).into_owned() } else { it.clone() };
            (Needle { text: text.into_bytes(), folded: *folded }, index as u32)
        });
        let index = Needles::new(wanted.collect()).unwrap();
        let mut found = Vec::new();
        let alphabet = if text.is_ascii() { Alphabet::Ascii } else { Alphabet::Unicode };
        let folded = if text.is_ascii() && !index.needs_folded() { "".into() } else { fold(text) };
        index.scan(text.as_bytes(), folded.as_bytes(), alphabet, &mut |it| found.push(it));
        found.sort_unstable();
        found.dedup();
        let holds = |(needle, folded): &(String, bool)| match folded {
            true => fold(text).contains(fold(needle).as_ref()),
            false => text.contains(needle),
        };
        let expected: Vec<u32> = (0..needles.len()).filter(|it| holds(&needles[*it])).map(|it| it as u32).collect();
        assert_eq!(found, expected, "{needles:?} in {text:?}");
    }

    fn needles(text: &'static str) -> impl Strategy<Value = Vec<(String, bool)>> {
        proptest::collection::vec((text, any::<bool>()), 1..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn finds_what_a_plain_search_finds(
            needles in prop_oneof![needles("[abBé@`]{1,12}"), needles("[abBé@`]{1,3}"), needles("[abBé@`]{4,9}"), needles("[abBé@`]{5,9}"), needles("[abBé@`]{6,9}"), needles("[abBé@`]{7,14}")],
            text in prop_oneof!["[abB@`]{0,80}", "[abBéÉ]{0,40}"],
        ) {
            check(&needles, &text);
        }
    }

    #[test]
    fn every_alignment_and_length_is_found() {
        for len in 1..20 {
            let needle: String = ('a'..).take(len).collect();
            for others in [vec![], vec!["wxyz", "uvwxy", "tuvwxyz"]] {
                let mut all: Vec<(String, bool)> = others.iter().map(|it| (it.to_string(), false)).collect();
                all.push((needle.clone(), false));
                all.push((needle.to_uppercase(), true));
                for before in 0..9 {
                    for after in 0..5 {
                        check(&all, &format!("{}{needle}{}", "-".repeat(before), "-".repeat(after)));
                        check(&all, &format!("{}{}{}", "-".repeat(before), needle.to_uppercase(), "-".repeat(after)));
                    }
                }
            }
        }
    }
}
