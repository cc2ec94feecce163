//! What a series of numbers, one a bucket of time, usually is.
//!
//! Three or four simple predictions run side by side — the level, the last value, the same hour of the day, the same hour of the
//! week — and the one that has been nearest lately is used. What keeps an attack from becoming the habit: every error is cut at
//! four scales before anything learns from it, so one bucket moves little; the scale is floored by a slow one that is cut at forty,
//! so that a series that hardly ever moves does not cry at its first step; and only after a day's worth of buckets on a new
//! level is that level the habit.

use serde::{Deserialize, Serialize};

/// Kept for each entity: 40 bytes, and a profile where it is worth that.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Habit {
    pub buckets: u32,
    level: f32,
    last: f32,
    /// How far off the level and the last value were lately.
    level_error: f32,
    last_error: f32,
    /// The mean error of the prediction used: of cut errors, and slowly of whole ones.
    scale: f32,
    slow: f32,
    /// Consecutive buckets far off to the same side.
    off: i16,
    profile: Option<Box<Profile>>,
}

/// The usual distance from the level by time of day and by time of week.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Profile {
    day: Vec<Slot>,
    week: Vec<Slot>,
    base: f32,
    day_error: f32,
    week_error: f32,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Slot {
    offset: f32,
    seen: u8,
}

/// What a bucket should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    pub value: f64,
    /// What one standard deviation is taken to be.
    pub deviation: f64,
}

/// Before so many buckets nothing is judged.
pub const WARM_UP: u32 = 20;
const CUT: f32 = 4.0;
/// So many buckets in a row far off: the level has changed for good.
pub const SHIFT: i16 = 24;
/// A mean absolute error as a standard deviation.
const DEVIATION: f32 = 1.25;

impl Habit {
    pub fn with_profile(mut self, day_slots: usize, week_slots: usize) -> Habit {
        self.add_profile(day_slots, week_slots);
        self
    }

    pub fn add_profile(&mut self, day_slots: usize, week_slots: usize) {
        self.profile = Some(Box::new(Profile {
            day: vec![Slot::default(); day_slots.max(1)],
            week: vec![Slot::default(); week_slots.max(1)],
            base: self.level,
            day_error: 0.0,
            week_error: 0.0,
        }));
    }

    pub fn has_profile(&self) -> bool {
        self.profile.is_some()
    }

    /// What the bucket that begins at `second` since 1970 should be. `floor`: the mean error below which nobody is sure.
    pub fn expect(&self, second: i64, floor: f32) -> Expected {
        let (value, _) = self.best(second);
        let scale = self.scale.max(0.5 * self.slow).max(floor);
        Expected { value: f64::from(value), deviation: f64::from(DEVIATION * scale) }
    }

    /// The same, but never the last value: after a flood, an ordinary bucket is no drop.
    pub fn usual(&self, second: i64, floor: f32) -> Expected {
        let last = Habit { last_error: f32::INFINITY, profile: None, ..*self };
        let level = last.expect(second, floor);
        let Some(profile) = &self.profile else { return level };
        let (value, _) = profile.best(second, (self.level, self.level_error));
        Expected { value: f64::from(value), ..level }
    }

    /// Learns what the bucket was.
    pub fn learn(&mut self, second: i64, value: f32, floor: f32) {
        if self.buckets == 0 {
            (self.level, self.last) = (value, value);
            (self.scale, self.slow) = (floor, floor);
            if let Some(profile) = &mut self.profile {
                profile.base = value;
            }
        }
        let (predicted, _) = self.best(second);
        let error = value - predicted;
        let scale = self.scale.max(0.5 * self.slow).max(floor);
        let cut = CUT * scale;
        self.buckets = self.buckets.saturating_add(1);
        let age = 1.0 / self.buckets as f32;
        self.off = match error {
            it if it > cut => self.off.max(0) + 1,
            it if it < -cut => self.off.min(0) - 1,
            _ => 0,
        };
        let lately = age.max(0.05);
        // Long enough to hold a morning: a level that fits all night must not be trusted at eight o'clock.
        let long = age.max(0.004);
        let track = |kept: &mut f32, off: f32| *kept += long * (off.abs().min(cut) - *kept);
        track(&mut self.level_error, value - self.level);
        track(&mut self.last_error, value - self.last);
        self.scale += age.max(0.02) * (error.abs().min(cut) - self.scale);
        self.slow += age.max(0.002) * (error.abs().min(10.0 * cut) - self.slow);
        // Cut as well: who takes a hundred things in two hours must not have made the second hour usual by the first.
        self.last = predicted + error.clamp(-cut, cut);
        if self.off.abs() >= SHIFT {
            // It has been so for long: that is what is usual now.
            self.off = 0;
            if let Some(profile) = &mut self.profile {
                profile.base += value - self.level;
            }
            self.level = value;
        }
        self.level += lately * (value - self.level).clamp(-cut, cut);
        if let Some(profile) = &mut self.profile {
            profile.learn(second, value, cut, long, self.buckets);
        }
    }

    /// The prediction that has been nearest lately, and how far off it was.
    fn best(&self, second: i64) -> (f32, f32) {
        // The last value follows an attack at once, so it must be much better to be used.
        let last = (self.last, self.last_error * 1.3);
        let best = if last.1 < self.level_error { last } else { (self.level, self.level_error) };
        self.profile.as_ref().map_or(best, |it| it.best(second, best))
    }
}

impl Profile {
    fn slots(&self, second: i64) -> (&Slot, &Slot) {
        (&self.day[place(second, 86_400, self.day.len())], &self.week[place(second, 604_800, self.week.len())])
    }

    /// The better of `other` and what the hour of the day and that of the week say.
    fn best(&self, second: i64, other: (f32, f32)) -> (f32, f32) {
        let (day, week) = self.slots(second);
        let mut best = other;
        for (slot, error) in [(day, self.day_error), (week, self.week_error)] {
            if slot.seen >= 2 && error < best.1 {
                best = (self.base + slot.offset, error);
            }
        }
        best
    }

    fn learn(&mut self, second: i64, value: f32, cut: f32, long: f32, buckets: u32) {
        let (at_day, at_week) = (place(second, 86_400, self.day.len()), place(second, 604_800, self.week.len()));
        let off = value - self.base;
        let track = |kept: &mut f32, slot: &Slot| {
            if slot.seen >= 2 {
                *kept += long * ((off - slot.offset).abs().min(cut) - *kept);
            }
        };
        track(&mut self.day_error, &self.day[at_day]);
        track(&mut self.week_error, &self.week[at_week]);
        for (slot, slowest) in [(&mut self.day[at_day], 0.1), (&mut self.week[at_week], 0.2)] {
            let error = off - slot.offset;
            let error = if slot.seen >= 2 { error.clamp(-cut, cut) } else { error };
            slot.seen = slot.seen.saturating_add(1);
            slot.offset += (1.0 / f32::from(slot.seen)).max(slowest) * error;
        }
        // The base is the mean of a cycle, so it moves slowly.
        self.base += (1.0 / buckets as f32).max(0.002) * off.clamp(-cut, cut);
    }
}

fn place(second: i64, cycle: i64, slots: usize) -> usize {
    (second.rem_euclid(cycle) * slots as i64 / cycle) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::noise;

    #[test]
    fn a_week_is_learned() {
        let (mut habit, mut seed) = (Habit::default().with_profile(24, 168), 3);
        let truth = |second: i64| {
            let (hour, day) = (second / 3600 % 24, second / 86_400 % 7);
            if day < 5 && (8..18).contains(&hour) { 10.0 } else { 2.0 }
        };
        let mut worst: f64 = 0.0;
        for hour in 0..24 * 7 * 6 {
            let second = hour * 3600;
            if hour > 24 * 7 * 4 {
                worst = worst.max((habit.expect(second, 0.1).value - truth(second)).abs());
            }
            habit.learn(second, (truth(second) + 0.3 * noise(&mut seed)) as f32, 0.1);
        }
        assert!(worst < 2.0, "{worst}");
    }

    #[test]
    fn one_bucket_teaches_little_and_a_day_of_them_much() {
        let mut habit = Habit::default();
        (0..200).for_each(|it| habit.learn(it * 300, 5.0, 0.4));
        let before = habit.expect(0, 0.4);
        habit.learn(0, 500.0, 0.4);
        let after = habit.expect(0, 0.4);
        assert!((after.value - before.value).abs() < 0.5 && after.deviation < 2.0 * before.deviation, "{after:?}");
        (0..30).for_each(|it| habit.learn(it * 300, 50.0, 0.4));
        assert!((habit.expect(0, 0.4).value - 50.0).abs() < 5.0);
    }
}
