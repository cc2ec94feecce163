//! Which of many texts a value begins or ends with.
//!
//! The wanted texts stand sorted, each pointing to the longest other one it begins with. Every text that the value begins
//! with lies between its own first letters and the value, so it is the greatest wanted text not above the value, or
//! that one's chain of beginnings: one binary search, whatever the number, and nothing a stranger can make slower. A small
//! table of outermost bytes keeps most values from being searched at all. Ends are beginnings read backwards.

use std::cmp::Ordering;

use hashbrown::HashMap;

use super::edges::{Edges, Gate};
use super::postings::Postings;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Start,
    End,
}

#[derive(Debug)]
pub struct Anchored {
    side: Side,
    /// Sorted; for `Side::End` each is reversed.
    texts: Postings<u8>,
    parents: Box<[Option<u32>]>,
    shortest: usize,
    /// The outermost bytes of all texts, as many as the shortest has, at most four.
    gate: Gate,
}

impl Anchored {
    /// Each text with the number that `scan` reports for it. Texts must not be empty. None when there are none.
    pub fn new(wanted: Vec<(Vec<u8>, u32)>, side: Side) -> Option<Anchored> {
        let shortest = wanted.iter().map(|it| it.0.len()).min()?;
        let gate: Vec<u32> = wanted.iter().map(|it| outermost(Edges::of(&it.0), shortest, side)).collect();
        let mut by_text: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
        for (mut text, number) in wanted {
            if side == Side::End {
                text.reverse();
            }
            by_text.entry(text).or_default().push(number);
        }
        let mut all: Vec<(Vec<u8>, Vec<u32>)> = by_text.into_iter().collect();
        all.sort_unstable();
        let mut parents = Vec::with_capacity(all.len());
        for (index, (text, _)) in all.iter().enumerate() {
            let mut parent = index.checked_sub(1).map(|it| it as u32);
            while let Some(it) = parent.filter(|it| !text.starts_with(&all[*it as usize].0)) {
                parent = parents[it as usize];
            }
            parents.push(parent);
        }
        Some(Anchored { side, texts: Postings::new(all), parents: parents.into(), shortest, gate: Gate::new(&gate) })
    }

    /// Calls `found` with the number of every text at this end of the value.
    #[inline]
    pub fn scan(&self, value: &[u8], edges: Edges, found: &mut impl FnMut(u32)) {
        if value.len() >= self.shortest && self.gate.may_hold(outermost(edges, self.shortest, self.side)) {
            self.search(value, found);
        }
    }

    #[inline(never)]
    fn search(&self, value: &[u8], found: &mut impl FnMut(u32)) {
        let (mut low, mut high) = (0, self.texts.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.compare(self.texts.get(middle).0, value) {
                Ordering::Greater => high = middle,
                Ordering::Less | Ordering::Equal => low = middle + 1,
            }
        }
        let mut at = low.checked_sub(1).map(|it| it as u32);
        while let Some(index) = at {
            let (text, numbers) = self.texts.get(index as usize);
            if self.begins(value, text) {
                numbers.iter().for_each(|it| found(*it));
            }
            at = self.parents[index as usize];
        }
    }

    fn compare(&self, text: &[u8], value: &[u8]) -> Ordering {
        match self.side {
            Side::Start => text.cmp(value),
            Side::End => text.iter().cmp(value.iter().rev()),
        }
    }

    fn begins(&self, value: &[u8], text: &[u8]) -> bool {
        match self.side {
            Side::Start => value.starts_with(text),
            Side::End => value.len() >= text.len() && text.iter().eq(value.iter().rev().take(text.len())),
        }
    }
}

#[inline]
fn outermost(edges: Edges, len: usize, side: Side) -> u32 {
    let unused = 32 - 8 * len.min(4) as u32;
    match side {
        Side::Start => edges.head << unused,
        Side::End => edges.tail >> unused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_a_plain_look_finds(texts in proptest::collection::vec("[abé]{1,6}", 1..30), value in "[abé]{0,12}") {
            for side in [Side::Start, Side::End] {
                let wanted = texts.iter().enumerate().map(|(index, it)| (it.as_bytes().to_vec(), index as u32));
                let index = Anchored::new(wanted.collect(), side).unwrap();
                let mut found = Vec::new();
                index.scan(value.as_bytes(), Edges::of(value.as_bytes()), &mut |it| found.push(it as usize));
                found.sort_unstable();
                let holds = |it: &String| match side {
                    Side::Start => value.starts_with(it),
                    Side::End => value.ends_with(it),
                };
                let expected: Vec<usize> = (0..texts.len()).filter(|it| holds(&texts[*it])).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
