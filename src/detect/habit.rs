//! What a series of numbers, one a bucket of time, usually is.
//!
//! A few simple predictions run side by side — the level, the last value, the same hour of the day, the same hour of the
//! week, and these with what has been different lately — and the one that has been nearest is used. What keeps an attack
//! from becoming the habit: every error is cut at four scales before anything learns from it, so one bucket moves little; what lies
//! far off hardly widens the scale, so that an attack that lasts stays as far off as it was; the scale is floored by a slow
//! one that is cut at forty, so that a series that hardly ever moves does not cry at its first step; and only after a day's
//! worth of buckets on a new level is that level the habit.

use std::num::NonZeroU8;

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
    /// The mean error of the prediction used: of ordinary errors, and slowly of whole ones.
    scale: f32,
    slow: f32,
    /// Consecutive buckets far off to the same side.
    off: i16,
    profile: Option<Box<Profile>>,
}

/// The usual distance from a base by time of day and by time of week.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Profile {
    day: Vec<Slot>,
    week: Vec<Slot>,
    base: f32,
    /// How far from what the season says it has been lately.
    lately: f32,
    day_error: Mean,
    week_error: Mean,
    smooth_error: Mean,
    lately_error: Mean,
    /// The mean error by time of day: mornings are less sure than nights.
    spread: Vec<Mean>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Slot {
    offset: f32,
    /// The offset that was so far off that it taught nothing, and in which week that was. If it comes again in another week,
    /// the season has changed.
    odd: f32,
    odd_in: Option<NonZeroU8>,
    seen: u8,
    /// The day or week that taught it last, and whether an earlier one did.
    taught_in: Option<NonZeroU8>,
    earlier: bool,
}

/// A mean of what came lately.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Mean {
    mean: f32,
    seen: u8,
}

/// What a bucket should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    pub value: f64,
    /// What one standard deviation is taken to be.
    pub deviation: f64,
}

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// Before so many buckets nothing is judged.
pub const WARM_UP: u32 = 20;
const CUT: f32 = 4.0;
/// So many scales off is ordinary.
const ORDINARY: f32 = 3.0;
/// What is not ordinary widens the scale by no more than this many of it, in the end.
const FAR_TEACHES: f32 = 1.2;
/// So many buckets in a row far off, and half a day of them: the level has changed for good.
pub const SHIFT: i16 = 24;
/// A mean absolute error as a standard deviation.
const DEVIATION: f32 = 1.25;
/// How much a prediction that follows an attack must be better to be used: the last value follows at once.
const LAST_DEARER: f32 = 1.3;
const LATELY_DEARER: f32 = 1.1;
/// A prediction is believed when its error is known from so many buckets.
const TRIED: u8 = 12;
/// How fast what has been different lately is learned.
const LATELY: f32 = 0.06;
/// How long errors of predictions are remembered: a level that fits all night must not be trusted at eight o'clock.
const LONG: f32 = 0.004;
const SPREADS: usize = 24;
/// Errors at a time of day that weigh as much as those of all day.
const SPREAD_WEIGHT: f32 = 30.0;
/// Where a week has more parts than this, each is smoothed by so many on either side.
const FINE: usize = 1000;
const NEIGHBOURS: usize = 3;
/// However much nearer than the season another prediction is, nothing is so many times stranger than the season says.
const STRANGER_MAX: f32 = 2.0;

impl Habit {
    pub fn with_profile(mut self, day_slots: usize, week_slots: usize) -> Habit {
        self.add_profile(day_slots, week_slots);
        self
    }

    pub fn add_profile(&mut self, day_slots: usize, week_slots: usize) {
        self.profile = Some(Box::new(Profile::new(day_slots.max(1), week_slots.max(1), self.level)));
    }

    pub fn has_profile(&self) -> bool {
        self.profile.is_some()
    }

    /// What the bucket that begins at `second` since 1970 should be. `floor`: the mean error below which nobody is sure.
    pub fn expect(&self, second: i64, floor: f32) -> Expected {
        let scale = self.scale_at(second, floor);
        Expected { value: f64::from(self.best(second).0), deviation: f64::from(DEVIATION * scale) }
    }

    /// The same, but nothing that follows what came just before: after a flood, an ordinary bucket is no drop.
    pub fn usual(&self, second: i64, floor: f32) -> Expected {
        let season = self.profile.as_ref().and_then(|it| it.season(second)).filter(|it| it.1 < self.level_error);
        let value = season.map_or(self.level, |it| it.0);
        Expected { value: f64::from(value), deviation: f64::from(DEVIATION * self.scale_at(second, floor)) }
    }

    /// How many deviations the value is above what it should be.
    ///
    /// The nearest prediction says so, and the season has a word: what it lets expect is nothing strange, whatever came
    /// just before, and what has been strange for hours still is.
    pub fn deviations(&self, second: i64, value: f32, floor: f32) -> f32 {
        let scale = self.scale_at(second, floor);
        let near = (value - self.best(second).0) / (DEVIATION * scale);
        let Some((profile, season)) = self.profile.as_ref().and_then(|it| Some((it, it.season(second)?))) else {
            return near;
        };
        // The season's own error, as it is at this time of day.
        let error = (season.1 * scale / self.plain_scale(floor)).max(scale);
        let far = profile.off(second, value, season.0) / (DEVIATION * error);
        match near * far < 0.0 {
            true => far,
            false => near.abs().clamp(far.abs(), STRANGER_MAX * far.abs()).copysign(far),
        }
    }

    fn plain_scale(&self, floor: f32) -> f32 {
        self.scale.max(0.5 * self.slow).max(floor)
    }

    fn scale_at(&self, second: i64, floor: f32) -> f32 {
        let plain = self.plain_scale(floor);
        let Some(profile) = &self.profile else { return plain };
        let spread = profile.spread[place(second, DAY, SPREADS)];
        let weight = f32::from(spread.seen) / (f32::from(spread.seen) + SPREAD_WEIGHT);
        let scale = (weight * spread.mean.powi(2) + (1.0 - weight) * self.scale.powi(2)).sqrt();
        scale.max(0.5 * self.slow).max(floor)
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
        let predicted = self.best(second).0;
        let error = value - predicted;
        let scale = self.scale_at(second, floor);
        let cut = CUT * scale;
        let taught = taught(error.abs(), scale);
        self.buckets = self.buckets.saturating_add(1);
        let age = 1.0 / self.buckets as f32;
        self.off = match error {
            it if it > cut => self.off.max(0) + 1,
            it if it < -cut => self.off.min(0) - 1,
            _ => 0,
        };
        let long = age.max(LONG);
        let track = |kept: &mut f32, off: f32| *kept += long * (off.abs().min(cut) - *kept);
        track(&mut self.level_error, value - self.level);
        track(&mut self.last_error, value - self.last);
        self.scale += age.max(0.02) * (taught - self.scale);
        self.slow += age.max(0.002) * (error.abs().min(10.0 * cut) - self.slow);
        // Cut as well: who takes a hundred things in two hours must not have made the second hour usual by the first.
        self.last = predicted + error.clamp(-cut, cut);
        let shift = self.profile.as_ref().map_or(SHIFT, |it| it.shift());
        if self.off.abs() >= shift {
            // It has been so for long: that is what is usual now.
            self.off = 0;
            if let Some(profile) = &mut self.profile {
                profile.base += value - predicted;
                profile.lately = 0.0;
            }
            self.level = value;
        }
        self.level += age.max(0.05) * (value - self.level).clamp(-cut, cut);
        if let Some(profile) = &mut self.profile {
            profile.learn(second, value, taught, (scale, age));
        }
    }

    /// The prediction that has been nearest, and how far off it was.
    fn best(&self, second: i64) -> (f32, f32) {
        let last = (self.last, self.last_error * LAST_DEARER);
        let best = if last.1 < self.level_error { last } else { (self.level, self.level_error) };
        self.profile.as_ref().map_or(best, |it| it.best(second, best))
    }
}

/// What an error teaches of the scale.
fn taught(error: f32, scale: f32) -> f32 {
    let ordinary = ORDINARY * scale;
    if error <= ordinary { error } else { (ordinary / error * ordinary).max(FAR_TEACHES * scale) }
}

impl Mean {
    fn add(&mut self, value: f32, slowest: f32) {
        self.seen = self.seen.saturating_add(1);
        self.mean += (1.0 / f32::from(self.seen)).max(slowest) * (value - self.mean);
    }
}

impl Slot {
    /// What was seen for the first time in this cycle says nothing yet: it may be an attack that began here.
    fn says(&self, cycle: Option<NonZeroU8>) -> Option<f32> {
        (self.earlier || self.seen > 0 && self.taught_in != cycle).then_some(self.offset)
    }

    fn learn(&mut self, offset: f32, cut: f32, slowest: f32, cycle: Option<NonZeroU8>) {
        self.earlier |= self.seen > 0 && self.taught_in != cycle;
        self.taught_in = cycle;
        let error = offset - self.offset;
        let error = if self.seen >= 2 { error.clamp(-cut, cut) } else { error };
        self.seen = self.seen.saturating_add(1);
        self.offset += (1.0 / f32::from(self.seen)).max(slowest) * error;
    }

    /// Weeks are few, and one that was attacked must not be a third of what is known: what is far off waits for another.
    fn learn_if_confirmed(&mut self, offset: f32, cut: f32, week: Option<NonZeroU8>) {
        let odd_in = std::mem::take(&mut self.odd_in);
        if self.seen == 0 || (offset - self.offset).abs() <= cut {
            self.learn(offset, cut, 0.2, week);
        } else if odd_in.is_some() && odd_in != week && (offset - self.odd).abs() <= cut {
            (self.offset, self.seen, self.earlier) = ((offset + self.odd) / 2.0, 2, true);
        } else {
            let first = odd_in.is_none() || odd_in != week;
            (self.odd, self.odd_in) = (if first { offset } else { self.odd }, week);
        }
    }

    /// The other offset, where two weeks were seen and they disagree.
    fn doubt(&self) -> Option<f32> {
        self.odd_in.filter(|_| !self.earlier).map(|_| self.odd)
    }
}

impl Profile {
    fn new(day_slots: usize, week_slots: usize, base: f32) -> Profile {
        let unknown = Mean::default();
        Profile {
            day: vec![Slot::default(); day_slots],
            week: vec![Slot::default(); week_slots],
            base,
            lately: 0.0,
            day_error: unknown,
            week_error: unknown,
            smooth_error: unknown,
            lately_error: unknown,
            spread: vec![unknown; SPREADS],
        }
    }

    fn shift(&self) -> i16 {
        SHIFT.max(i16::try_from(self.day.len() / 2).unwrap_or(i16::MAX))
    }

    /// What the hour of the day, that of the week and those around it say.
    fn seasons(&self, second: i64) -> [(Option<f32>, Mean); 3] {
        let (today, this_week) = (cycle(second, DAY), cycle(second, WEEK));
        let at = place(second, WEEK, self.week.len());
        let day = self.day[place(second, DAY, self.day.len())].says(today);
        let week = self.week[at].says(this_week);
        let smooth = week.filter(|_| self.week.len() > FINE).map(|it| self.smooth(at, it, this_week));
        let said = |it: Option<f32>| it.map(|it| self.base + it);
        [(said(day), self.day_error), (said(week), self.week_error), (said(smooth), self.smooth_error)]
    }

    /// Between neighbours, the nearer the heavier; what is in doubt says nothing of others.
    fn smooth(&self, at: usize, own: f32, this_week: Option<NonZeroU8>) -> f32 {
        let own_weight = (NEIGHBOURS + 1) as f32;
        let (mut sum, mut weight) = (own_weight * own, own_weight);
        for far in 1..=NEIGHBOURS {
            for slot in [at + far, at + self.week.len() - far].map(|it| &self.week[it % self.week.len()]) {
                if let Some(said) = slot.says(this_week).filter(|_| slot.doubt().is_none()) {
                    sum += (own_weight - far as f32) * said;
                    weight += own_weight - far as f32;
                }
            }
        }
        sum / weight
    }

    /// What has been nearest of what the season says, and how far off it was.
    fn season(&self, second: i64) -> Option<(f32, f32)> {
        let mut best: Option<(f32, f32)> = None;
        for (said, error) in self.seasons(second) {
            if let Some(said) = said.filter(|_| error.seen >= TRIED && best.is_none_or(|it| error.mean < it.1)) {
                best = Some((said, error.mean));
            }
        }
        best
    }

    /// The better of `other` and the season, alone or with what has been different lately.
    fn best(&self, second: i64, other: (f32, f32)) -> (f32, f32) {
        let Some(season) = self.season(second) else { return other };
        let best = if season.1 < other.1 { season } else { other };
        let lately = (season.0 + self.lately, self.lately_error.mean * LATELY_DEARER);
        if self.lately_error.seen >= TRIED && lately.1 < best.1 { lately } else { best }
    }

    /// How far the value is from what the season says. Where the week is fine, a step may come a little early or late; and where its
    /// only two visits disagree, either may have been the odd one.
    fn off(&self, second: i64, value: f32, season: f32) -> f32 {
        let [_, (week, _), (smooth, _)] = self.seasons(second);
        let odd = self.week[place(second, WEEK, self.week.len())].doubt().map(|it| self.base + it);
        let either = if week == Some(season) || smooth == Some(season) { [week, smooth] } else { [None, None] };
        let nearer = |best: f32, said: f32| if (value - said).abs() < best.abs() { value - said } else { best };
        either.into_iter().chain([odd]).flatten().fold(value - season, nearer)
    }

    fn learn(&mut self, second: i64, value: f32, taught: f32, (scale, age): (f32, f32)) {
        let cut = CUT * scale;
        let seasons = self.seasons(second);
        let season = self.season(second);
        for (error, (said, _)) in
            [&mut self.day_error, &mut self.week_error, &mut self.smooth_error].into_iter().zip(seasons)
        {
            if let Some(said) = said {
                error.add((value - said).abs().min(cut), LONG);
            }
        }
        match season {
            Some((said, _)) => {
                let off = value - said - self.lately;
                self.lately_error.add(off.abs().min(cut), LONG);
                self.lately += LATELY * off * (ORDINARY * scale / off.abs()).min(1.0).powi(2);
                self.base += 0.002 * (value - said).clamp(-cut, cut);
            }
            // The base is the mean of a cycle, so it moves slowly.
            None => self.base += age.max(0.002) * (value - self.base).clamp(-cut, cut),
        }
        let off = value - self.base;
        let (at_day, at_week) = (place(second, DAY, self.day.len()), place(second, WEEK, self.week.len()));
        self.day[at_day].learn(off, cut, 0.1, cycle(second, DAY));
        self.week[at_week].learn_if_confirmed(off, cut, cycle(second, WEEK));
        self.spread[place(second, DAY, SPREADS)].add(taught, 0.03);
    }
}

/// The number of the day or week, for telling it from others.
fn cycle(second: i64, length: i64) -> Option<NonZeroU8> {
    u8::try_from(second.div_euclid(length).rem_euclid(255) + 1).ok().and_then(NonZeroU8::new)
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
