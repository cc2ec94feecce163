//! What one thread has already looked up.
//!
//! Two steps. A direct-mapped table from address to place answers what logs mostly ask: the same address again. Behind it,
//! a table from record to place, because a million addresses share some ten thousand records, and decoding one costs more
//! than finding it. Both are bounded: a collision overwrites, and a full table of records starts afresh. So an attacker
//! with many addresses makes look-ups slower, to the price of a tree walk each, and nothing larger.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::Place;
use crate::limits;

/// One thread's answers. Made empty; the table is allocated by the first look-up.
#[derive(Debug, Default)]
pub struct Cache {
    geo: u64,
    slots: Box<[Slot]>,
    places: Vec<Arc<Place>>,
    by_records: HashMap<Records, u32>,
    /// Look-ups that a damaged database could not answer.
    pub unreadable: u64,
}

/// Where each database holds the record of an address, plus one; 0 for none.
pub(super) type Records = [u32; limits::GEO_FILES_MAX];

/// The address in two halves: a `u128` would be padded to 32 bytes.
#[derive(Clone, Copy, Debug)]
struct Slot {
    high: u64,
    low: u64,
    place: u32,
}

const EMPTY: u32 = u32::MAX;

impl Cache {
    /// The place of `host` in the databases called `geo`; `find` is asked when it is not known.
    #[inline]
    pub(super) fn place(&mut self, geo: u64, host: IpAddr, find: impl FnOnce(&mut Cache) -> u32) -> &Arc<Place> {
        if self.geo != geo {
            self.reset(geo);
        }
        let (high, low) = halves(host);
        let index = index_of(high, low);
        let slot = self.slots[index];
        let place = if slot.high == high && slot.low == low && slot.place != EMPTY {
            slot.place
        } else {
            let place = find(self);
            self.slots[index] = Slot { high, low, place };
            place
        };
        &self.places[place as usize]
    }

    /// The place these records make together; `decode` is asked when it is not known, and counts what it cannot read.
    pub(super) fn place_of_records(&mut self, records: Records, decode: impl FnOnce(&mut u64) -> Place) -> u32 {
        if let Some(place) = self.by_records.get(&records) {
            return *place;
        }
        if self.places.len() >= limits::GEO_RECORDS_MAX {
            self.reset(self.geo);
        }
        let place = self.places.len() as u32;
        self.places.push(Arc::new(decode(&mut self.unreadable)));
        self.by_records.insert(records, place);
        place
    }

    #[cold]
    fn reset(&mut self, geo: u64) {
        let empty = Slot { high: 0, low: 0, place: EMPTY };
        if self.slots.is_empty() {
            self.slots = vec![empty; limits::GEO_CACHE_ENTRIES].into();
        } else {
            self.slots.fill(empty);
        }
        self.places.clear();
        self.by_records.clear();
        self.geo = geo;
    }
}

#[inline]
fn halves(host: IpAddr) -> (u64, u64) {
    match host {
        IpAddr::V4(four) => (0, 0xffff_0000_0000 | u64::from(u32::from(four))),
        IpAddr::V6(six) => {
            let bits = u128::from(six);
            ((bits >> 64) as u64, bits as u64)
        }
    }
}

/// Multiplication spreads neighbours; the top bits know of all the others.
#[inline]
fn index_of(high: u64, low: u64) -> usize {
    const BITS: u32 = limits::GEO_CACHE_ENTRIES.trailing_zeros();
    const { assert!(limits::GEO_CACHE_ENTRIES.is_power_of_two()) };
    let mixed = (high.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ low).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> (64 - BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn a_full_cache_starts_afresh_and_still_answers_rightly() {
        let mut cache = Cache::default();
        let count = limits::GEO_RECORDS_MAX as u32 * 2 + 7;
        for round in 0..2 {
            for number in 0..count {
                let place = cache.place(1, host(number), |cache| {
                    let records = [number + 1, 0, 0, 0, 0, 0, 0, 0];
                    cache.place_of_records(records, |_| Place { asn: Some(number), ..Place::default() })
                });
                assert_eq!(place.asn, Some(number), "round {round}");
            }
        }
        assert!(cache.places.len() <= limits::GEO_RECORDS_MAX);
        assert!(cache.by_records.len() <= limits::GEO_RECORDS_MAX);
    }

    #[test]
    fn another_database_forgets_the_answers_of_the_first() {
        let mut cache = Cache::default();
        for (geo, asn) in [(1, 10), (2, 20), (1, 30)] {
            let place = cache.place(geo, host(7), |cache| {
                cache.place_of_records([1; limits::GEO_FILES_MAX], |_| Place { asn: Some(asn), ..Place::default() })
            });
            assert_eq!(place.asn, Some(asn));
        }
    }

    #[test]
    fn neighbours_do_not_share_a_slot() {
        let mut taken: Vec<usize> =
            (0..1024).map(|it| halves(host(0xc000_0200 + it))).map(|(h, l)| index_of(h, l)).collect();
        taken.sort_unstable();
        taken.dedup();
        assert!(taken.len() > 950, "{}", taken.len());
    }
}
