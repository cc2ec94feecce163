//! "At most so many false alerts a week": a promise instead of a threshold.
//!
//! Nobody can say which score is extraordinary before the log has been seen, and a score that is in one organisation floods
//! another. So the operator says how many false alerts are bearable, and two things keep that promise. [`Tail`] makes
//! scores comparable: it learns how large the raw scores of a rule are, over all entities together, and turns each into
//! −log10 of the chance of one so large. [`Budget`] holds the rate whatever the data do: a threshold that rises by one
//! decade with each alert and sinks at the promised rate.
//!
//! The budget's bound needs no assumption about the scores but their cap: with a threshold θ that starts at θ₁, rises by 1 at
//! each alert, sinks by no more than the promised rate, and is exceeded by a score of at most S, alerts in a time T are at most
//! rate · T + (S + 1 − θ₁). Here S = 12 and θ₁ = 3: ten alerts in a lifetime above the promise.
//!
//! What is not spent is saved, but not for ever: a rule that said nothing for a month, since it was still learning, must not say
//! everything in the week after. So the threshold sinks to what accident brings at the promised rate, and two alerts below that.
//!
//! Where one log holds several organisations, each has a share of the promise and a threshold of its own, so that noise in
//! one does not silence the others; a threshold for all, whose steps are smaller by the root of their number, still bounds
//! the whole. The share is one to that root: most organisations have nothing to say most of the time, and to the one that is
//! attacked an equal share of one alert a week would be one in months.

use std::cell::Cell;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::SCORE_MAX;
use crate::model::{Span, Timestamp};

/// So many in a time: `"1/week"`, `"5/day"`, `"2/month"`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    pub count: f64,
    pub per: Span,
}

const UNITS: [(&str, i64); 5] =
    [("hour", 3600), ("day", 86_400), ("week", 604_800), ("month", 30 * 86_400), ("year", 365 * 86_400)];

impl Rate {
    pub fn parse(text: &str) -> Option<Rate> {
        let (count, per) = text.split_once('/')?;
        let count: f64 = count.trim().parse().ok().filter(|it: &f64| it.is_finite() && *it > 0.0 && *it <= 1e6)?;
        let per = UNITS.iter().find(|it| it.0 == per.trim())?.1;
        Some(Rate { count, per: Span::from_secs(per) })
    }

    /// What one of so many may spend of it.
    pub fn share(self, among: f64) -> Rate {
        Rate { count: self.count / among.max(1.0).sqrt(), per: self.per }
    }

    /// The score that accident exceeds at this rate: one of three comes once a day, and each point more is ten times rarer.
    fn fair(self) -> f64 {
        3.0 - self.over(Span::from_secs(86_400)).log10()
    }

    /// How many are due in a time.
    pub fn over(self, span: Span) -> f64 {
        self.count * span.micros() as f64 / self.per.micros() as f64
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = UNITS.iter().find(|it| Span::from_secs(it.1) == self.per).map_or("week", |it| it.0);
        write!(f, "{}/{unit}", self.count)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Rate::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is no rate; write 1/week, 5/day or 2/month (per hour, day, week, month, year)"
            ))
        })
    }
}

/// Holds the rate of alerts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Budget {
    theta: f64,
    /// Up to when the threshold has sunk.
    at: Option<Timestamp>,
    /// Alerts given, and candidates kept back.
    pub used: u64,
    pub kept_back: u64,
}

const THETA_FIRST: f64 = 3.0;
/// A score that every hundredth event reaches is never worth an alert, however much of the budget is left.
const THETA_LEAST: f64 = 2.0;
/// So many alerts may be saved up.
const SAVED: f64 = 2.0;
pub const STEP: f64 = 1.0;
/// How much of the rate is spent in the long run: the rest pays for what the threshold lets through before it has found its
/// height, some alerts once, so that weeks keep the promise and not only years.
const SPENT: f64 = 0.8;

impl Default for Budget {
    fn default() -> Budget {
        Budget { theta: THETA_FIRST, at: None, used: 0, kept_back: 0 }
    }
}

impl Budget {
    /// How many alerts there may be in a lifetime above the promised rate.
    pub const EXCESS_MAX: f64 = (SCORE_MAX + STEP - THETA_FIRST) / STEP;
    /// No lower score is ever told.
    pub const LEAST: f64 = THETA_LEAST;

    /// One whose threshold begins elsewhere than at what accident brings once a day.
    pub fn beginning_at(theta: f64) -> Budget {
        Budget { theta, ..Budget::default() }
    }

    /// Whether the score is worth an alert now; if so it is paid for. `now` never goes back (release times do not).
    pub fn admits(&mut self, score: f64, rate: Rate, now: Timestamp) -> bool {
        let admitted = score.min(SCORE_MAX) > self.threshold(rate, now, STEP);
        if admitted {
            self.pay(STEP);
        } else if score > THETA_LEAST {
            self.kept_back += 1;
        }
        admitted
    }

    /// Pays for an alert that was admitted.
    pub fn pay(&mut self, step: f64) {
        self.theta += step;
        self.used += 1;
    }

    /// What a score must exceed now, where an alert costs `step`.
    pub fn threshold(&mut self, rate: Rate, now: Timestamp, step: f64) -> f64 {
        let since = self.at.map_or(Span::ZERO, |it| now.since(it));
        let least = (rate.fair() - SAVED * step).max(THETA_LEAST);
        self.theta = (self.theta - step * SPENT * rate.over(since)).max(least);
        self.at = self.at.max(Some(now));
        self.theta
    }
}

/// How often raw scores of a rule come, so that those of one rule can be laid beside those of another.
///
/// One in a thousand is nothing where a thousand events a day are judged, and is news where ten are. So scores are made those
/// of a day with a thousand chances: accident brings about a score of three once a day, whichever rule it is, and one of
/// four once in ten days.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Chances {
    tail: Tail,
    /// The day since 1970, and how many raw scores it has taught; and how many a day usually does.
    today: (i64, u32),
    a_day: f64,
}

const A_DAY: f64 = 1000.0;
/// How many decades a rule's own number of chances moves its scores, at most.
const OFTEN_MAX: f64 = 2.0;
const SELDOM_MAX: f64 = 1.0;
/// Days after which the number of chances is another.
const WEEK: f64 = 7.0;

impl Chances {
    pub fn learn(&mut self, raw: f64, day: i64) {
        if day > self.today.0 {
            let count = f64::from(self.today.1);
            self.a_day = if self.a_day > 0.0 { self.a_day + (count - self.a_day) / WEEK } else { count };
            self.today = (day, 0);
        }
        self.today.1 = self.today.1.saturating_add(1);
        self.tail.learn(raw);
    }

    /// −log10 of the chance of a raw score at least so large, capped.
    pub fn score(&self, raw: f64) -> f64 {
        let score = self.tail.score(raw);
        if score == 0.0 || self.a_day < 1.0 {
            return score;
        }
        let rarer = (A_DAY / self.a_day).log10().clamp(-OFTEN_MAX, SELDOM_MAX);
        (score + rarer * self.tail.weight()).clamp(0.0, SCORE_MAX)
    }

    /// The raw score that a fiftieth exceeds.
    pub fn threshold(&self) -> f64 {
        self.tail.threshold()
    }
}

/// How large the raw scores of a rule are, so that one can be called rare.
///
/// A histogram with bins a twelfth of a binary order apart tells of the bulk; above its 98 % quantile a generalised Pareto
/// distribution, fitted to the latest excesses by probability-weighted moments, tells of what has been seen rarely or never.
/// A raw score that is one in ten thousand already teaches no more than that: otherwise a few attacks in the history would
/// make all later ones look ordinary.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tail {
    bins: Vec<f32>,
    total: f64,
    /// The largest latest raw scores above the quantile, oldest first.
    excesses: Vec<f32>,
    next: usize,
    /// How many excesses there ever were.
    seen: f64,
    /// The quantile, and what share of the scores lies above it, as they were at the last count.
    threshold: f64,
    above: f64,
    /// Scores learned since that count.
    since: u32,
    /// Shape and scale, as the excesses have it; worked out when somebody asks.
    #[serde(skip)]
    fitted: Cell<Option<(f64, f64)>>,
}

const BINS: usize = 176;
/// The lower edge of the first bin, in binary orders, and as it is.
const LOWEST: f64 = -5.0;
const LEAST: f64 = 1.0 / 32.0;
const PER_OCTAVE: f64 = 12.0;
const EXCESSES: usize = 64;
/// Before so many scores, and mixed in with their weight, the tail is taken to be that of the prior.
const WARM: f64 = 500.0;
/// Scores remembered: older ones fade.
const MEMORY: f64 = 200_000.0;
const QUANTILE: f64 = 0.98;
/// What a deviation is worth in decades before anything is known.
pub const PER_DEVIATION: f64 = 0.6;
/// The chance below which a raw score is cut before it teaches.
const CUT: f64 = 1e-4;
/// Excesses without which no shape is fitted.
const EXCESSES_MIN: usize = 10;
/// How many excesses weigh as much as the prior.
const EXCESSES_WEIGHT: f64 = 40.0;
/// Counting the quantile again is a look at all bins.
const RECOUNT: u32 = 32;

impl Tail {
    /// −log10 of the chance of a raw score so large, then learns it.
    pub fn judge(&mut self, raw: f64) -> f64 {
        let score = self.score(raw);
        self.learn(raw);
        score
    }

    /// −log10 of the chance of a raw score at least so large, capped.
    pub fn score(&self, raw: f64) -> f64 {
        if raw <= 0.0 || !raw.is_finite() {
            return if raw > 0.0 { SCORE_MAX } else { 0.0 };
        }
        let own = self.own(raw).clamp(0.0, SCORE_MAX);
        let prior = prior(raw);
        let weight = self.weight();
        (own * weight + prior * (1.0 - weight)).clamp(0.0, SCORE_MAX)
    }

    /// How far what was learned is to be believed, from 0 to 1.
    pub fn weight(&self) -> f64 {
        self.total / (self.total + WARM)
    }

    pub fn learn(&mut self, raw: f64) {
        if self.bins.is_empty() {
            self.bins = vec![0.0; BINS];
        }
        let raw = if raw.is_finite() { raw } else { f64::from(f32::MAX) };
        // Nearly all are below the quantile, and no cut lies there.
        let is_ordinary = raw <= 0.0 || raw <= self.threshold && self.total >= WARM;
        let raw = if is_ordinary { raw } else { raw.min(self.largest_taught()) };
        self.bins[bin(raw)] += 1.0;
        self.total += 1.0;
        if self.total > MEMORY {
            self.bins.iter_mut().for_each(|it| *it *= 0.5);
            self.total *= 0.5;
        }
        self.since += 1;
        if self.since >= RECOUNT || self.total < WARM {
            self.recount();
        }
        if raw > self.threshold {
            self.seen += 1.0;
            self.fitted.set(None);
            let excess = (raw - self.threshold) as f32;
            if self.excesses.len() < EXCESSES {
                self.excesses.push(excess);
            } else {
                self.excesses[self.next] = excess;
                self.next = (self.next + 1) % EXCESSES;
            }
        }
    }

    fn own(&self, raw: f64) -> f64 {
        let counted = || {
            let at = bin(raw);
            let above: f64 = self.bins.iter().skip(at + 1).map(|it| f64::from(*it)).sum();
            let here = self.bins.get(at).map_or(0.0, |it| f64::from(*it)) / 2.0;
            -((above + here + 0.5) / (self.total + 1.0)).log10()
        };
        if raw <= self.threshold {
            return counted();
        }
        let known = -self.above.log10();
        let guessed = known + prior(raw) - prior(self.threshold);
        if self.excesses.len() < EXCESSES_MIN {
            return counted().max(guessed);
        }
        let (shape, scale) = self.pareto();
        let x = (raw - self.threshold) / scale;
        let survival = if shape.abs() < 1e-6 {
            -x / std::f64::consts::LN_10
        } else {
            -(1.0 + shape * x).max(1e-300).log10() / shape
        };
        // A fit to a few dozen excesses knows little of what lies far beyond them.
        let weight = self.seen / (self.seen + EXCESSES_WEIGHT);
        (known - survival).min(SCORE_MAX) * weight + guessed.min(SCORE_MAX) * (1.0 - weight)
    }

    /// The raw score whose chance is the cut.
    fn largest_taught(&self) -> f64 {
        let beyond = |above: f64| (-CUT.log10() + above.log10()).max(0.0) / PER_DEVIATION;
        if self.total < WARM {
            return beyond(1.0);
        }
        if self.excesses.len() < EXCESSES_MIN {
            return self.threshold + beyond(self.above);
        }
        let (shape, scale) = self.pareto();
        let ratio = (self.above / CUT).max(1.0);
        let excess = if shape.abs() < 1e-6 { ratio.ln() } else { (ratio.powf(shape) - 1.0) / shape };
        self.threshold + scale * excess
    }

    /// The raw score that a fiftieth exceeds.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// The upper edge of the bin in which the quantile lies, and the share above it.
    fn recount(&mut self) {
        self.since = 0;
        let mut above = 0.0;
        for (at, count) in self.bins.iter().enumerate().rev() {
            if above + f64::from(*count) > self.total * (1.0 - QUANTILE) {
                self.threshold = ((at + 1) as f64 / PER_OCTAVE + LOWEST).exp2();
                self.above = (above + 0.5) / (self.total + 1.0);
                return;
            }
            above += f64::from(*count);
        }
    }

    /// Shape and scale by probability-weighted moments; the shape is drawn to 0.2 with the weight of ten excesses.
    fn pareto(&self) -> (f64, f64) {
        if let Some(fitted) = self.fitted.get() {
            return fitted;
        }
        let mut sorted: Vec<f64> = self.excesses.iter().map(|it| f64::from(*it)).collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len() as f64;
        let mean = (sorted.iter().sum::<f64>() / n).max(1e-9);
        let weighted: f64 =
            sorted.iter().enumerate().map(|(at, it)| it * (n - 1.0 - at as f64) / (n - 1.0).max(1.0)).sum::<f64>() / n;
        let fitted = 2.0 - mean / (mean - 2.0 * weighted).max(1e-9 * mean);
        // Never below nought, which would say that nothing larger can be: what is large was cut before it taught, so that a
        // bounded tail is what the fit sees of any.
        let shape = ((fitted.clamp(-1.0, 2.0) * n + 0.2 * 10.0) / (n + 10.0)).clamp(0.0, 0.8);
        let fitted = (shape, mean * (1.0 - shape));
        self.fitted.set(Some(fitted));
        fitted
    }
}

fn bin(raw: f64) -> usize {
    // Most teach that nothing happened, and a logarithm costs more than all the rest.
    if raw <= LEAST {
        return 0;
    }
    ((raw.max(1e-9).log2() - LOWEST) * PER_OCTAVE).clamp(0.0, BINS as f64 - 1.0) as usize
}

/// What standard deviations mean before anything is known: tails heavier than a normal one's.
fn prior(raw: f64) -> f64 {
    PER_DEVIATION * raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_and_print() {
        for text in ["1/week", "5/day", "0.5/month", "2/hour", "1/year"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "1", "week", "0/week", "-1/day", "1/decade", "inf/day", "1/week/day", "1e9/day"] {
            assert_eq!(Rate::parse(bad), None, "{bad}");
        }
    }

    /// Alerts of scores that arrive at such gaps (in minutes), and the time they took.
    fn alerts(rate: Rate, scores: impl Iterator<Item = (f64, i64)>) -> (u64, Span) {
        let (mut budget, mut minute) = (Budget::default(), 0);
        for (score, gap) in scores {
            minute += gap;
            budget.admits(score, rate, Timestamp::from_micros(minute * 60_000_000));
        }
        (budget.used, Span::from_secs(minute * 60))
    }

    proptest::proptest! {
        #[test]
        fn no_scores_exceed_the_bound(
            scores in proptest::collection::vec((-5.0f64..40.0, 0i64..3000), 0..400), count in 0.1f64..20.0,
        ) {
            let rate = Rate { count, per: Span::from_secs(604_800) };
            let (used, time) = alerts(rate, scores.into_iter());
            proptest::prop_assert!(used as f64 <= rate.over(time) + Budget::EXCESS_MAX, "{} in {}", used, time);
        }

        #[test]
        fn nor_does_an_adversary_who_knows_the_threshold(gaps in proptest::collection::vec(0i64..3000, 0..600), above in 0.0f64..12.0) {
            let rate = Rate::parse("1/week").unwrap();
            let (mut budget, mut minute) = (Budget::default(), 0);
            for gap in gaps {
                minute += gap;
                let now = Timestamp::from_micros(minute * 60_000_000);
                let score = budget.threshold(rate, now, STEP) + above;
                budget.admits(score, rate, now);
            }
            let most = rate.over(Span::from_secs(minute * 60)) + Budget::EXCESS_MAX;
            proptest::prop_assert!(budget.used as f64 <= most, "{} > {}", budget.used, most);
        }
    }

    #[test]
    fn a_year_of_silence_saves_two_alerts() {
        // Accident exceeds 5.56 once a year, so the threshold stops at 3.56.
        let after_silence = |score: f64| {
            let scores = std::iter::once((0.0, 1)).chain(std::iter::once((score, 500 * 1440)));
            alerts(Rate::parse("1/year").unwrap(), scores.chain((0..9).map(|_| (score, 1)))).0
        };
        assert_eq!([3.5, 4.5, 5.5, 6.5].map(after_silence), [0, 1, 2, 3]);
    }

    /// Numbers in (0, 1) from a seed.
    fn uniform(seed: &mut u64) -> f64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*seed >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Learning as it reads, without a look at what can be left out.
    fn learn_plainly(tail: &mut Tail, raw: f64) {
        tail.fitted.set(None);
        let raw = if raw.is_finite() { raw } else { f64::from(f32::MAX) };
        let cut = raw.min(tail.largest_taught());
        assert_eq!(bin(cut), ((cut.max(1e-9).log2() - LOWEST) * PER_OCTAVE).clamp(0.0, BINS as f64 - 1.0) as usize);
        tail.learn(cut);
    }

    proptest::proptest! {
        #[test]
        fn what_is_left_out_changes_nothing(raws in proptest::collection::vec((0u8..10, -1.0f64..30.0), 0..900), seed: u64) {
            let (mut tail, mut plain, mut seed) = (Tail::default(), Tail::default(), seed);
            for (kind, raw) in raws {
                let raw = match kind {
                    0..6 => 0.0,
                    6..9 => -uniform(&mut seed).ln(),
                    _ => raw,
                };
                proptest::prop_assert_eq!(tail.score(raw), plain.score(raw));
                tail.learn(raw);
                learn_plainly(&mut plain, raw);
            }
            plain.fitted.set(tail.fitted.get());
            proptest::prop_assert_eq!(format!("{tail:?}"), format!("{plain:?}"));
        }
    }

    #[test]
    fn a_score_says_how_rare() {
        // Exponential raw scores, whose tail is known: the share of scores above s must be about 10^-s.
        let (mut tail, mut seed) = (Tail::default(), 7);
        let mut above = [0u32; 5];
        let n = 200_000;
        for number in 0..n + 20_000 {
            let score = tail.judge(-3.0 * uniform(&mut seed).ln());
            if number >= 20_000 {
                (1..=4).filter(|it| score > f64::from(*it as u32)).for_each(|it| above[it] += 1);
            }
        }
        for (at, count) in above.iter().enumerate().skip(1) {
            let expected = f64::from(n) * 10f64.powi(-(at as i32));
            let ratio = f64::from(*count) / expected;
            assert!((0.4..2.5).contains(&ratio), "above {at}: {count}, expected {expected}");
        }
        assert!(tail.score(f64::INFINITY) <= SCORE_MAX && tail.score(1e300) <= SCORE_MAX && tail.score(-1.0) == 0.0);
    }
}
