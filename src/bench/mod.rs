//! What the benchmarks run on: a workload that is the same everywhere, and clocks on the stages.
//!
//! Numbers are worth something only when others can repeat them on the same work and when the work's answer is known. So
//! the workload is made here from a seed, and its generator counts, with the most naive program there is, what must be
//! found: a run that is fast and finds something else has failed.

mod layout;
pub mod org;
pub mod quality;
pub mod rules;
pub mod stages;
pub mod workload;

pub use layout::Layout;
pub use workload::{Truth, Workload};

/// Splitmix64: small, good enough, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Below `end`, evenly.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(end)) >> 64) as u64
    }

    /// From 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}
