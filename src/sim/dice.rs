//! All chance of a run, from its seed.

use crate::deliver::courier::Dice as Roll;

pub struct Dice(Roll);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        let mut roll = Roll(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7472_6970_6c69_6e65);
        roll.roll();
        Dice(roll)
    }

    /// From `from` to less than `to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + (self.0.roll() * (to - from) as f64) as u64
    }

    pub fn chance(&mut self, share: f64) -> bool {
        self.0.roll() < share
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.within(0, all.len() as u64) as usize]
    }
}
