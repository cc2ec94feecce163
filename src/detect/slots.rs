//! What is remembered of entities, found by hashes.
//!
//! The memories stand one behind the other, in the order in which they came, and an index of eight bytes a place says where.
//! A table that keeps whole memories in its places costs a miss of the caches for each newcomer, who falls anywhere, and moves
//! all of them when it grows; here newcomers stand side by side, and only the index grows. What will be asked for soon can be
//! asked for in steps that do not wait for each other: [`warm`].
//!
//! Keys are hashes under a secret already, so nobody can choose what collides.

use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::due::WARM_AT_ONCE;

/// Values by 64-bit keys, at most 2^32 − 2 of them.
pub struct Slots<V> {
    /// Linear probing; a power of two of places, or none. 0: free; else half of the mixed key, and the slot's number from 1.
    index: Vec<u64>,
    all: Vec<(u64, V)>,
}

const PLACES_MIN: usize = 8;
/// More are not reserved for what a file says it holds.
const RESERVED_MAX: usize = 1 << 16;

/// Spreads keys that are small numbers or have only 32 bits.
fn half(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// What the index has of a key in a slot.
fn entry(half: u64, slot: usize) -> u64 {
    half << 32 | (slot as u64 + 1)
}

impl<V> Slots<V> {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn get(&self, key: u64) -> Option<&V> {
        self.find(key).map(|it| &self.all[it.1].1)
    }

    pub fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        self.find(key).map(|it| &mut self.all[it.1].1)
    }

    /// The value of a key, which is made if there is none.
    pub fn get_or_insert_with(&mut self, key: u64, make: impl FnOnce() -> V) -> &mut V {
        let slot = match self.find(key) {
            Some((_, slot)) => slot,
            None => self.push(key, make()),
        };
        &mut self.all[slot].1
    }

    /// Sets the value of a key; gives back the one it had.
    pub fn insert(&mut self, key: u64, value: V) -> Option<V> {
        match self.find(key) {
            Some((_, slot)) => Some(std::mem::replace(&mut self.all[slot].1, value)),
            None => {
                self.push(key, value);
                None
            }
        }
    }

    pub fn remove(&mut self, key: u64) -> Option<V> {
        let (place, slot) = self.find(key)?;
        self.free(place);
        // The last takes its slot.
        let last = self.all.len() - 1;
        if slot != last {
            let moved = half(self.all[last].0);
            let place = self.first(moved, |it| it as u32 as usize == last + 1);
            self.index[place] = entry(moved, slot);
        }
        Some(self.all.swap_remove(slot).1)
    }

    pub fn retain(&mut self, mut stays: impl FnMut(u64, &mut V) -> bool) {
        let before = self.all.len();
        self.all.retain_mut(|(key, value)| stays(*key, value));
        if self.all.len() < before {
            self.file_all(self.index.len());
        }
    }

    /// In no order of meaning.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.all.iter().map(|(key, value)| (*key, value))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut V)> {
        self.all.iter_mut().map(|(key, value)| (*key, value))
    }

    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.all.iter().map(|it| it.0)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.all.iter().map(|it| &it.1)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.all.iter_mut().map(|it| &mut it.1)
    }

    pub fn shrink_to_fit(&mut self) {
        self.all.shrink_to_fit();
        let places = places(self.all.len());
        if places < self.index.len() {
            self.file_all(places);
            self.index.shrink_to_fit();
        }
    }

    /// Where the key stands: its place in the index, and its slot.
    fn find(&self, key: u64) -> Option<(usize, usize)> {
        if self.index.is_empty() {
            return None;
        }
        let half = half(key);
        let slot = |it: u64| it as u32 as usize - 1;
        let place = self.first(half, |it| it >> 32 == half && self.all[slot(it)].0 == key);
        (self.index[place] != 0).then(|| (place, slot(self.index[place])))
    }

    /// The first place, from where a key with that half is looked for, that is free or has this. The index must have places.
    #[inline]
    fn first(&self, half: u64, is_it: impl Fn(u64) -> bool) -> usize {
        let mask = self.index.len() - 1;
        let mut place = half as usize & mask;
        while self.index[place] != 0 && !is_it(self.index[place]) {
            place = (place + 1) & mask;
        }
        place
    }

    /// Appends a key that is not there, and says in which slot.
    fn push(&mut self, key: u64, value: V) -> usize {
        let slot = self.all.len();
        if slot == self.all.capacity() {
            // By a quarter: many tables are large, and a large one is moved without being copied.
            self.all.reserve_exact((slot / 4).max(PLACES_MIN));
        }
        self.all.push((key, value));
        let places = places(slot + 1);
        if places > self.index.len() {
            self.file_all(places);
        } else {
            self.file(half(key), slot);
        }
        slot
    }

    /// Makes the index anew, with so many places.
    fn file_all(&mut self, places: usize) {
        self.index.clear();
        self.index.resize(places, 0);
        for slot in 0..self.all.len() {
            self.file(half(self.all[slot].0), slot);
        }
    }

    fn file(&mut self, half: u64, slot: usize) {
        let place = self.first(half, |_| false);
        self.index[place] = entry(half, slot);
    }

    /// Frees a place of the index; whoever was driven past it moves up.
    fn free(&mut self, place: usize) {
        let mask = self.index.len() - 1;
        let (mut free, mut next) = (place, place);
        loop {
            next = (next + 1) & mask;
            let entry = self.index[next];
            if entry == 0 {
                self.index[free] = 0;
                return;
            }
            let home = (entry >> 32) as usize & mask;
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(free) & mask) {
                self.index[free] = entry;
                free = next;
            }
        }
    }

    /// Something of the index where the key would stand.
    fn near(&self, key: u64) -> u64 {
        let mask = self.index.len().wrapping_sub(1);
        self.index.get(half(key) as usize & mask).map_or(0, |it| *it)
    }

    /// The slot that is the key's, as far as the index can tell. 0: none; else from 1.
    fn guess(&self, key: u64) -> u32 {
        if self.index.is_empty() {
            return 0;
        }
        let half = half(key);
        self.index[self.first(half, |it| it >> 32 == half)] as u32
    }

    fn guessed(&self, guess: u32) -> Option<&(u64, V)> {
        self.all.get((guess as usize).wrapping_sub(1))
    }
}

/// So many places has an index of so many slots: at most four of five are taken.
fn places(slots: usize) -> usize {
    match slots {
        0 => 0,
        _ => (slots + slots / 4 + 1).next_power_of_two().max(PLACES_MIN),
    }
}

/// Asks the caches for what is remembered of those whose hits come soon: first for all places of the index, then for all
/// memories, then for what those point to. Nothing of a step waits for an answer of the same step, so they come together.
/// `soon` has the partition and the key of each, at most [`WARM_AT_ONCE`]; `far` reads something of a memory's far end,
/// `beyond` of what it points to; what they say means nothing.
pub fn warm<'a, V: 'a>(
    soon: &[(u8, u64)],
    of: impl Fn(u8) -> &'a Slots<V>,
    far: impl Fn(&V) -> u64,
    beyond: impl Fn(&V) -> u64,
) {
    for (partition, key) in soon {
        black_box(of(*partition).near(*key));
    }
    let mut guesses = [0; WARM_AT_ONCE];
    for ((partition, key), guess) in soon.iter().zip(&mut guesses) {
        let slots = of(*partition);
        *guess = slots.guess(*key);
        if let Some((key, memory)) = slots.guessed(*guess) {
            black_box(*key ^ far(memory));
        }
    }
    for ((partition, _), guess) in soon.iter().zip(&guesses) {
        if let Some((_, memory)) = of(*partition).guessed(*guess) {
            black_box(beyond(memory));
        }
    }
}

/// Of a key that is there.
impl<V> Index<u64> for Slots<V> {
    type Output = V;

    fn index(&self, key: u64) -> &V {
        self.get(key).expect("whoever asks so has just found it")
    }
}

impl<V> Default for Slots<V> {
    fn default() -> Slots<V> {
        Slots { index: Vec::new(), all: Vec::new() }
    }
}

impl<V> FromIterator<(u64, V)> for Slots<V> {
    fn from_iter<I: IntoIterator<Item = (u64, V)>>(pairs: I) -> Slots<V> {
        let mut slots = Slots::default();
        pairs.into_iter().for_each(|(key, value)| _ = slots.insert(key, value));
        slots
    }
}

/// As maps are.
impl<V: Serialize> Serialize for Slots<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in &self.all {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Slots<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Slots<V>, D::Error> {
        struct Pairs<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Pairs<V> {
            type Value = Slots<V>;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("memories by their keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Slots<V>, A::Error> {
                let mut slots = Slots::default();
                slots.all.reserve(map.size_hint().unwrap_or(0).min(RESERVED_MAX));
                while let Some((key, value)) = map.next_entry()? {
                    slots.insert(key, value);
                }
                Ok(slots)
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Few keys, so that they meet again; of a kind that collides in the index.
    fn key(number: u8) -> u64 {
        match number % 3 {
            0 => u64::from(number),
            1 => u64::from(number) << 40,
            _ => u64::from(number).wrapping_mul(0x2545_f491_4f6c_dd1d),
        }
    }

    fn pairs(slots: &Slots<u32>) -> Vec<(u64, u32)> {
        let mut pairs: Vec<_> = slots.iter().map(|it| (it.0, *it.1)).collect();
        pairs.sort_unstable();
        pairs
    }

    proptest::proptest! {
        #[test]
        fn they_are_a_map(steps in proptest::collection::vec((0u8..8, 0u8..60, 0u32..9), 0..400)) {
            let (mut slots, mut plain) = (Slots::<u32>::default(), HashMap::<u64, u32>::new());
            for (what, number, value) in steps {
                let key = key(number);
                match what {
                    0..=2 => proptest::prop_assert_eq!(slots.insert(key, value), plain.insert(key, value)),
                    3 => {
                        *slots.get_or_insert_with(key, || 100) += 1;
                        *plain.entry(key).or_insert(100) += 1;
                    }
                    4..=5 => proptest::prop_assert_eq!(slots.remove(key), plain.remove(&key)),
                    6 => {
                        slots.retain(|_, it| *it % 9 != value);
                        plain.retain(|_, it| *it % 9 != value);
                    }
                    _ => {
                        slots.shrink_to_fit();
                        slots.values_mut().for_each(|it| *it += 1);
                        plain.values_mut().for_each(|it| *it += 1);
                    }
                }
                proptest::prop_assert_eq!(slots.get(key), plain.get(&key));
                proptest::prop_assert_eq!(slots.len(), plain.len());
                let taken = slots.index.iter().filter(|it| **it != 0).count();
                proptest::prop_assert!(taken == slots.len() && taken * 5 <= slots.index.len() * 4);
            }
            let mut expected: Vec<_> = plain.iter().map(|it| (*it.0, *it.1)).collect();
            expected.sort_unstable();
            proptest::prop_assert_eq!(pairs(&slots), expected);
            // What other versions wrote as a map is read, and the other way round.
            let bytes = postcard::to_allocvec(&plain).unwrap();
            proptest::prop_assert_eq!(pairs(&postcard::from_bytes(&bytes).unwrap()), pairs(&slots));
            let bytes = postcard::to_allocvec(&slots).unwrap();
            proptest::prop_assert_eq!(postcard::from_bytes::<HashMap<u64, u32>>(&bytes).unwrap(), plain);
        }
    }

    #[test]
    fn asking_early_changes_nothing_and_meets_whoever_is_there() {
        let slots: Slots<u32> = (0..1000).map(|it| (it, it as u32)).collect();
        let met = (0..1000).filter(|it| slots.guessed(slots.guess(*it)).is_some_and(|found| found.0 == *it)).count();
        assert_eq!(met, 1000);
        assert!(slots.guessed(0).is_none() && Slots::<u32>::default().guess(7) == 0);
        warm(&[(0, 7), (3, 5000)], |_| &slots, |it| u64::from(*it), |_| 0);
    }
}
