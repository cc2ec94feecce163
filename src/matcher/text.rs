//! Which texts a value is, begins with or ends with, of many.

use hashbrown::HashMap;

use super::anchored::{Anchored, Side};
use super::edges::{Edges, Gate};

/// The tests of one field, of one case, that look at a value's edges.
#[derive(Debug)]
pub struct Texts {
    equal: HashMap<Box<str>, Box<[u32]>>,
    /// Whether some text in `equal` has these edges and this length; hashing the whole value comes after.
    equal_gate: Gate,
    starts: Option<Anchored>,
    ends: Option<Anchored>,
}

/// What to look for; each text with the number of its test.
#[derive(Default, Debug)]
pub struct Wanted {
    pub equal: Vec<(Box<str>, u32)>,
    pub starts: Vec<(Vec<u8>, u32)>,
    pub ends: Vec<(Vec<u8>, u32)>,
}

impl Texts {
    /// None when nothing is wanted.
    pub fn new(wanted: Wanted) -> Option<Texts> {
        let Wanted { equal: texts, starts, ends } = wanted;
        if texts.is_empty() && starts.is_empty() && ends.is_empty() {
            return None;
        }
        let gate: Vec<u32> = texts.iter().map(|it| shape(Edges::of(it.0.as_bytes()))).collect();
        let mut equal: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        for (text, number) in texts {
            equal.entry(text).or_default().push(number);
        }
        Some(Texts {
            equal: equal.into_iter().map(|(text, numbers)| (text, numbers.into())).collect(),
            equal_gate: Gate::new(&gate),
            starts: Anchored::new(starts, Side::Start),
            ends: Anchored::new(ends, Side::End),
        })
    }

    /// Calls `found` with the number of every test the text satisfies.
    #[inline]
    pub fn scan(&self, text: &str, found: &mut impl FnMut(u32)) {
        let edges = Edges::of(text.as_bytes());
        if self.equal_gate.may_hold(shape(edges))
            && let Some(numbers) = self.equal.get(text)
        {
            numbers.iter().for_each(|it| found(*it));
        }
        if let Some(starts) = &self.starts {
            starts.scan(text.as_bytes(), edges, found);
        }
        if let Some(ends) = &self.ends {
            ends.scan(text.as_bytes(), edges, found);
        }
    }
}

#[inline]
fn shape(edges: Edges) -> u32 {
    edges.head ^ edges.tail.rotate_left(13).wrapping_mul(0x85eb_ca6b) ^ (edges.len as u32).wrapping_mul(0xc2b2_ae35)
}
