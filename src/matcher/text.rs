//! Which of many text tests one value satisfies, at once.

use hashbrown::HashMap;

use super::anchored::{Anchored, Side};
use super::gram::Needles;

/// The tests of one field, of one case.
#[derive(Debug)]
pub struct Texts {
    equal: HashMap<Box<str>, Box<[u32]>>,
    /// One bit for each length that some text in `equal` has; the last bit stands for all longer ones.
    lengths: u64,
    starts: Option<Anchored>,
    ends: Option<Anchored>,
    inside: Option<Needles>,
}

/// What to look for; each text with the number of its test.
#[derive(Default, Debug)]
pub struct Wanted {
    pub equal: Vec<(Box<str>, u32)>,
    pub starts: Vec<(Vec<u8>, u32)>,
    pub ends: Vec<(Vec<u8>, u32)>,
    pub inside: Vec<(Vec<u8>, u32)>,
}

impl Texts {
    /// None when nothing is wanted.
    pub fn new(wanted: Wanted) -> Option<Texts> {
        let Wanted { equal: texts, starts, ends, inside } = wanted;
        if texts.is_empty() && starts.is_empty() && ends.is_empty() && inside.is_empty() {
            return None;
        }
        let mut lengths = 0;
        let mut equal: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        for (text, number) in texts {
            lengths |= length_bit(&text);
            equal.entry(text).or_default().push(number);
        }
        Some(Texts {
            equal: equal.into_iter().map(|(text, numbers)| (text, numbers.into())).collect(),
            lengths,
            starts: Anchored::new(starts, Side::Start),
            ends: Anchored::new(ends, Side::End),
            inside: (!inside.is_empty()).then(|| Needles::new(inside)),
        })
    }

    /// Calls `found` with the number of every test the text satisfies; perhaps more than once.
    #[inline]
    pub fn scan(&self, text: &str, found: &mut impl FnMut(u32)) {
        if self.lengths & length_bit(text) != 0
            && let Some(numbers) = self.equal.get(text)
        {
            numbers.iter().for_each(|it| found(*it));
        }
        if let Some(starts) = &self.starts {
            starts.scan(text.as_bytes(), found);
        }
        if let Some(ends) = &self.ends {
            ends.scan(text.as_bytes(), found);
        }
        if let Some(inside) = &self.inside {
            inside.scan(text.as_bytes(), found);
        }
    }
}

fn length_bit(text: &str) -> u64 {
    1 << text.len().min(63)
}
