//! Which of many needles a text holds, reading every fourth position of it.
//!
//! An automaton looks at every byte, and each look waits for the one before it; with thousands of needles its table
//! leaves the cache, and the wait becomes a trip to memory. But a needle of at least seven bytes, wherever it stands,
//! covers one whole aligned group of four. So the groups that a needle can cover (four of them, one for each alignment)
//! go to a small table, and a text costs one independent look for each four bytes, whatever the number of needles.
//! Needles of four to six bytes use the same table read at every position; shorter ones are searched one by one.
//!
//! A look that hits is compared in full, so nothing is found that is not there. A stranger who repeats one group of ours
//! makes every look a comparison: linear still, with the needles of that group as the factor, and each needle is filed
//! under the groups that fewest others have.

use hashbrown::{HashMap, HashSet};
use memchr::memmem;

use super::postings::Postings;

/// Text that logs are full of. Groups of it make bad keys, even when only one needle has them.
const COMMON: &[u8] = b"https://www.google.com/ http:// Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 \
(KHTML, like Gecko) Chrome/ Safari/ Version/ Firefox/ Mobile/ (Macintosh; Intel Mac OS X (X11; Linux x86_64) \
C:\\Windows\\System32\\ C:\\Program Files\\ /usr/bin/ /usr/lib/ /usr/local/ /etc/ /var/log/ /bin/bash -c /opt/ .exe .dll \
/api/v1/ /api/v2/ .json .html .js --config --output .com .net .org user name login admin session token account service error \
mozilla/5.0 (windows nt applewebkit (khtml, like gecko) chrome/ safari/ c:\\windows\\system32\\ c:\\program files\\";

/// Many needles to look for.
#[derive(Default, Debug)]
pub struct Needles {
    wide: Option<Table>,
    narrow: Option<Table>,
    short: Vec<(memmem::Finder<'static>, Box<[u32]>)>,
}

#[derive(Debug)]
struct Table {
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
}

impl Needles {
    /// Each needle with the number that `scan` reports for it. Needles must not be empty.
    pub fn new(wanted: Vec<(Vec<u8>, u32)>) -> Needles {
        let mut by_text: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
        for (text, number) in wanted {
            by_text.entry(text).or_default().push(number);
        }
        let mut all: Vec<(Vec<u8>, Vec<u32>)> = by_text.into_iter().collect();
        all.sort_unstable();
        let (long, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.0.len() >= 7);
        let (middle, short): (Vec<_>, Vec<_>) = rest.into_iter().partition(|it| it.0.len() >= 4);
        let short = short.into_iter().map(|(text, numbers)| {
            let finder = memmem::Finder::new(&text).into_owned();
            (finder, numbers.into_boxed_slice())
        });
        Needles {
            wide: (!long.is_empty()).then(|| Table::new(long, 4)),
            narrow: (!middle.is_empty()).then(|| Table::new(middle, 1)),
            short: short.collect(),
        }
    }

    /// Calls `found` with the number of every needle in the text; perhaps more than once.
    #[inline]
    pub fn scan(&self, text: &[u8], found: &mut impl FnMut(u32)) {
        if let Some(table) = &self.wide {
            table.scan_fours(text, found);
        }
        if let Some(table) = &self.narrow {
            table.scan_all(text, found);
        }
        for (finder, numbers) in &self.short {
            if finder.find(text).is_some() {
                numbers.iter().for_each(|it| found(*it));
            }
        }
    }
}

impl Table {
    fn new(needles: Vec<(Vec<u8>, Vec<u32>)>, step: usize) -> Table {
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
            needles: Postings::new(needles),
        }
    }

    fn scan_fours(&self, text: &[u8], found: &mut impl FnMut(u32)) {
        debug_assert_eq!(self.step, 4);
        let (fours, _) = text.as_chunks::<4>();
        for (index, four) in fours.iter().enumerate() {
            self.look(text, index * 4, u32::from_le_bytes(*four), found);
        }
    }

    fn scan_all(&self, text: &[u8], found: &mut impl FnMut(u32)) {
        debug_assert_eq!(self.step, 1);
        for (index, four) in text.array_windows::<4>().enumerate() {
            self.look(text, index, u32::from_le_bytes(*four), found);
        }
    }

    #[inline(always)]
    fn look(&self, text: &[u8], at: usize, bytes: u32, found: &mut impl FnMut(u32)) {
        let place = hash(bytes, self.shift);
        if self.seen[(place >> 6) as usize] >> (place & 63) & 1 != 0 {
            self.compare(text, at, bytes, place, found);
        }
    }

    #[inline(never)]
    fn compare(&self, text: &[u8], at: usize, bytes: u32, place: u32, found: &mut impl FnMut(u32)) {
        let bucket = (place >> 4) as usize;
        let groups = &self.groups[self.starts[bucket] as usize..self.starts[bucket + 1] as usize];
        for group in groups.iter().filter(|it| it.bytes == bytes) {
            let Some(start) = at.checked_sub(group.offset as usize) else { continue };
            let (needle, numbers) = self.needles.get(group.needle as usize);
            if text[start..].starts_with(needle) {
                numbers.iter().for_each(|it| found(*it));
            }
        }
    }
}

#[inline(always)]
fn hash(bytes: u32, shift: u32) -> u32 {
    bytes.wrapping_mul(0x9e37_79b1) >> shift
}

/// For each needle `step` groups in a row, of which one stands at a multiple of `step` wherever the needle stands; those
/// that fewest other needles have.
fn file(needles: &[(Vec<u8>, Vec<u32>)], step: usize) -> Vec<Group> {
    let common: HashSet<u32> = groups_of(COMMON).collect();
    let mut counts: HashMap<u32, u32> = HashMap::new();
    for (text, _) in needles {
        groups_of(head(text)).for_each(|it| *counts.entry(it).or_default() += 1);
    }
    let mut out = Vec::with_capacity(needles.len() * step);
    for (needle, (text, _)) in needles.iter().enumerate() {
        let groups: Vec<u32> = groups_of(head(text)).collect();
        let price = |it: &u32| counts.get(it).copied().unwrap_or(0) + if common.contains(it) { 16 } else { 0 };
        let prices: Vec<u32> = groups.iter().map(price).collect();
        let best = (0..=groups.len() - step).min_by_key(|at| prices[*at..*at + step].iter().sum::<u32>()).unwrap_or(0);
        for offset in best..best + step {
            out.push(Group { bytes: groups[offset], needle: needle as u32, offset: offset as u32 });
        }
    }
    out
}

/// As much of a needle as is worth choosing from.
fn head(text: &[u8]) -> &[u8] {
    &text[..text.len().min(128)]
}

fn groups_of(text: &[u8]) -> impl Iterator<Item = u32> {
    text.array_windows::<4>().map(|it| u32::from_le_bytes(*it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(needles: &[String], text: &str) {
        let wanted = needles.iter().enumerate().map(|(index, it)| (it.as_bytes().to_vec(), index as u32));
        let index = Needles::new(wanted.collect());
        let mut found = Vec::new();
        index.scan(text.as_bytes(), &mut |it| found.push(it));
        found.sort_unstable();
        found.dedup();
        let expected: Vec<u32> =
            (0..needles.len()).filter(|it| text.contains(&needles[*it])).map(|it| it as u32).collect();
        assert_eq!(found, expected, "{needles:?} in {text:?}");
    }

    proptest! {
        #[test]
        fn finds_what_a_plain_search_finds(needles in proptest::collection::vec("[abé]{1,12}", 1..20), text in "[abé]{0,80}") {
            check(&needles, &text);
        }
    }

    #[test]
    fn every_alignment_and_length_is_found() {
        for len in 1..20 {
            let needle: String = ('a'..).take(len).collect();
            for before in 0..9 {
                for after in 0..5 {
                    check(
                        &[needle.clone(), "Mozilla/5.0".into()],
                        &format!("{}{needle}{}", "-".repeat(before), "-".repeat(after)),
                    );
                }
            }
        }
    }
}
