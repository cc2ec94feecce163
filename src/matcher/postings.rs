//! Keys with the numbers filed under each, in two arrays instead of a thousand small ones.

use std::fmt;

/// Sequences of `K`, each with its numbers.
pub struct Postings<K> {
    keys: Box<[K]>,
    numbers: Box<[u32]>,
    /// Where key and numbers of an entry begin; one entry more than there are, for the ends.
    starts: Box<[(u32, u32)]>,
}

impl<K: Copy> Postings<K> {
    pub fn new(entries: impl IntoIterator<Item = (Vec<K>, Vec<u32>)>) -> Postings<K> {
        let (mut keys, mut numbers, mut starts) = (Vec::new(), Vec::new(), vec![(0, 0)]);
        for (key, filed) in entries {
            keys.extend_from_slice(&key);
            numbers.extend_from_slice(&filed);
            starts.push((keys.len() as u32, numbers.len() as u32));
        }
        Postings { keys: keys.into(), numbers: numbers.into(), starts: starts.into() }
    }

    #[inline]
    pub fn get(&self, index: usize) -> (&[K], &[u32]) {
        let (from, to) = (self.starts[index], self.starts[index + 1]);
        (&self.keys[from.0 as usize..to.0 as usize], &self.numbers[from.1 as usize..to.1 as usize])
    }

    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }
}

impl<K> fmt::Debug for Postings<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postings of {}", self.starts.len() - 1)
    }
}
