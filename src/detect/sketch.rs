//! How often keys came lately, in a fixed number of bytes: never less than the truth.
//!
//! Whoever floods us with keys must not make us forget one. A table that throws out the least recent or a random key forgets
//! the slow victim first; a filter that lets in what it has seen before falls to keys sent twice. A count-min sketch with
//! conservative update (only the smallest of a key's four cells is sure to be its own) cannot be made to forget: collisions
//! only add. What an attacker gains by filling it is more alerts, which is our side of the bargain.
//!
//! Two panes, each as long as the window, cover every window between them. Keys are hashes under a secret that the state
//! keeps, so nobody can choose keys that collide, and a restart does not move them.

use serde::{Deserialize, Serialize};

use crate::model::{Span, Timestamp};

#[derive(Serialize, Deserialize)]
pub struct Sketch {
    /// The current pane, then the one before.
    panes: [Cells; 2],
    width: usize,
    window: Span,
    /// Number of the current pane: the window's multiple.
    number: i64,
    /// When something was last added.
    last: Timestamp,
}

/// Small cells suffice where few events make an alert, and the more there are the fewer keys share one.
#[derive(Serialize, Deserialize)]
enum Cells {
    /// Two in a byte.
    Half(Vec<u8>),
    Narrow(Vec<u8>),
    Wide(Vec<u32>),
}

const ROWS: usize = 4;
/// Up to so many units, such cells can tell enough from not enough.
const HALF_UNITS_MAX: u32 = 14;
const NARROW_UNITS_MAX: u32 = 254;
const HALF_FULL: u8 = 15;

impl Sketch {
    /// A sketch in so many bytes that can tell `needed` units from fewer.
    pub fn new(bytes: usize, needed: u32, window: Span, now: Timestamp) -> Sketch {
        let of_row = (bytes / 2 / ROWS).max(8);
        let (width, cells): (usize, fn(usize) -> Cells) = match needed {
            ..=HALF_UNITS_MAX => (2 * of_row, |all| Cells::Half(vec![0; all / 2])),
            _ if needed <= NARROW_UNITS_MAX => (of_row, |all| Cells::Narrow(vec![0; all])),
            _ => ((of_row / 4).max(8), |all| Cells::Wide(vec![0; all])),
        };
        let cells = || cells(width * ROWS);
        Sketch { panes: [cells(), cells()], width, window, number: number(now, window), last: now }
    }

    /// Lets time pass; what is older than a window and a pane is forgotten.
    pub fn turn(&mut self, now: Timestamp) {
        let number = number(now, self.window);
        if number <= self.number {
            return;
        }
        let steps = number - self.number;
        self.number = number;
        self.panes.swap(0, 1);
        self.panes[0].clear();
        if steps > 1 {
            self.panes[1].clear();
        }
    }

    /// Whether nothing in it matters any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.last) >= self.window
    }

    /// At most how many units the key had.
    pub fn estimate(&self, key: u64) -> u32 {
        let places = self.places(key);
        self.panes.iter().map(|it| it.least(&places)).fold(0, u32::saturating_add)
    }

    /// Adds units.
    pub fn add(&mut self, key: u64, units: u32, now: Timestamp) {
        let places = self.places(key);
        let units = self.panes[0].least(&places).saturating_add(units);
        self.panes[0].raise(&places, units);
        self.last = self.last.max(now);
    }

    /// The key has had so many units within the last window, by an exact count.
    pub fn owe(&mut self, key: u64, units: u32, now: Timestamp) {
        let places = self.places(key);
        self.panes[0].raise(&places, units);
        self.last = self.last.max(now);
    }

    pub fn bytes(&self) -> usize {
        self.panes.iter().map(Cells::bytes).sum()
    }

    fn places(&self, key: u64) -> [usize; ROWS] {
        let key = mixed(key);
        let (first, step) = (key as u32, (key >> 32) as u32 | 1);
        std::array::from_fn(|row| {
            let hash = first.wrapping_add(step.wrapping_mul(row as u32));
            row * self.width + ((u64::from(hash) * self.width as u64) >> 32) as usize
        })
    }
}

impl Cells {
    /// A cell that is full stands for any number.
    fn least(&self, places: &[usize; ROWS]) -> u32 {
        match self {
            Cells::Half(cells) => match places.iter().map(|it| half(cells, *it)).min().unwrap_or(0) {
                HALF_FULL => u32::MAX,
                it => u32::from(it),
            },
            Cells::Narrow(cells) => match places.iter().map(|it| cells[*it]).min().unwrap_or(0) {
                u8::MAX => u32::MAX,
                it => u32::from(it),
            },
            Cells::Wide(cells) => places.iter().map(|it| cells[*it]).min().unwrap_or(0),
        }
    }

    fn raise(&mut self, places: &[usize; ROWS], units: u32) {
        match self {
            Cells::Half(cells) => {
                let units = u8::try_from(units).unwrap_or(u8::MAX).min(HALF_FULL);
                for place in places {
                    if half(cells, *place) < units {
                        let shift = place % 2 * 4;
                        cells[place / 2] = cells[place / 2] & !(HALF_FULL << shift) | units << shift;
                    }
                }
            }
            Cells::Narrow(cells) => {
                let units = u8::try_from(units).unwrap_or(u8::MAX);
                places.iter().for_each(|it| cells[*it] = cells[*it].max(units));
            }
            Cells::Wide(cells) => places.iter().for_each(|it| cells[*it] = cells[*it].max(units)),
        }
    }

    fn clear(&mut self) {
        match self {
            Cells::Half(cells) | Cells::Narrow(cells) => cells.fill(0),
            Cells::Wide(cells) => cells.fill(0),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Cells::Half(cells) | Cells::Narrow(cells) => cells.len(),
            Cells::Wide(cells) => cells.len() * 4,
        }
    }
}

fn half(cells: &[u8], place: usize) -> u8 {
    cells[place / 2] >> (place % 2 * 4) & HALF_FULL
}

/// One of several counters of a key.
pub fn part(key: u64, part: usize) -> u64 {
    if part == 0 { key } else { mixed(key.wrapping_add(part as u64)) }
}

/// The finaliser of SplitMix64: keys are secret already, and their bits only have to be spread.
pub fn mixed(key: u64) -> u64 {
    let key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

fn number(now: Timestamp, window: Span) -> i64 {
    now.micros().div_euclid(window.micros().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    proptest::proptest! {
        /// Against the plain form: all events, counted in the last window.
        #[test]
        fn never_less_than_the_truth(
            events in proptest::collection::vec((0i64..40, 0u64..300, 1u32..4), 1..600),
            bytes in 64usize..2000, window in 1i64..60, needed in proptest::sample::select(vec![10u32, 100, 100_000]),
        ) {
            let mut sketch = Sketch::new(bytes, needed, Span::from_secs(window), at(0));
            let (mut now, mut all) = (0, Vec::new());
            for (gap, key, units) in events {
                now += if gap < 30 { 0 } else { gap - 29 };
                sketch.turn(at(now));
                sketch.add(key, units, at(now));
                all.push((now, key, units));
                let truth: u32 = all.iter().filter(|it| it.1 == key && it.0 > now - window).map(|it| it.2).sum();
                proptest::prop_assert!(sketch.estimate(key) >= truth);
            }
        }
    }

    /// Half a byte for each event of the window: few keys of a flood seem to have come once more than they did.
    #[test]
    fn half_a_byte_an_event_is_nearly_exact() {
        let (keys, times) = (50_000u64, 9);
        let mut sketch = Sketch::new((keys * times) as usize, 10, Span::from_secs(600), at(0));
        for _ in 0..times {
            (0..keys).for_each(|key| sketch.add(key, 1, at(1)));
        }
        let mut of: HashMap<bool, u64> = HashMap::new();
        (0..keys).for_each(|key| *of.entry(sketch.estimate(key) >= 10).or_default() += 1);
        let wrong = of.get(&true).copied().unwrap_or(0);
        assert!(wrong * 200 <= keys, "{wrong} of {keys}");
        assert!(!sketch.is_over(at(600)) && sketch.is_over(at(601)));
    }
}
