//! What is wrong with a source's clock, in words.
//!
//! A line arrives after it was written. So stamps ahead of our clock are wrong, whatever the network does; stamps behind it
//! may be wrong or late, and only how the lag changes tells which: a wrong clock is off by the same amount all the time, by
//! whole half hours if it is a zone that nobody named, and a delay grows or jumps about. The best sample of some seconds, the
//! one that came soonest, is what counts: queues only ever add.
//!
//! The doctor knows pairs of (arrival, event time) and nothing else, so the same pairs always give the same diagnoses. Old
//! lines that are read as fast as they come catch up with the clock and are no fault.

use std::collections::{HashMap, VecDeque};

use super::order::Track;
use crate::limits;
use crate::model::{Span, Timestamp, Zone};

/// Learns how far each source's stamps are from the clock here.
#[derive(Default)]
pub struct Doctor {
    patients: HashMap<String, Patient>,
}

struct Patient {
    /// Steps of seconds, for what is always off by as much; of minutes, for what grows.
    seconds: Series,
    minutes: Series,
    /// What it suffers from, and since when.
    cause: Option<(Cause, Timestamp)>,
    /// What was told last for each cause, and when.
    told: Vec<(Cause, Timestamp)>,
}

/// The latest times of arrival in steps, each with its best sample, oldest first.
struct Series {
    step: i64,
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy)]
struct Sample {
    step: i64,
    arrival: Timestamp,
    /// Event time less arrival, in microseconds: positive is ahead of us.
    off: i64,
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cause {
    /// So many minutes off, a whole number of quarter hours.
    Zone(i64),
    /// So many seconds off.
    Clock(i64),
    Delay,
}

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
/// So many samples must agree on a constant fault, and so many must each be worse than the one before.
const CONSTANT: usize = 4;
const GROWING: usize = 6;
/// Less is a network's business.
const CLOCK_MIN: i64 = 5 * SECOND;
/// A clock is off by the same amount, near enough.
const CLOCK_SPREAD: i64 = 2 * SECOND;
/// How far a zone may seem off, for lines that took their time.
const ZONE_LATE: i64 = 2 * MINUTE;
const ZONE_EARLY: i64 = 30 * SECOND;
/// Zones lie between −12 h and +14 h.
const ZONE_MAX: i64 = 14 * 60 * MINUTE;
/// A delay must have grown by so much.
const DELAY_GROWN: i64 = 30 * SECOND;
const TELL_AGAIN: Span = Span::from_secs(600);
/// What goes on unchanged is told once a day.
const REMIND: Span = Span::from_secs(86_400);
/// Zones to suggest, by how many people may live there.
const ZONES: [&str; 32] = [
    "Europe/Athens",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "America/Halifax",
    "America/Anchorage",
    "America/St_Johns",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Asia/Dubai",
    "Asia/Karachi",
    "Asia/Dhaka",
    "Asia/Bangkok",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Kabul",
    "Asia/Yangon",
    "Africa/Johannesburg",
    "Africa/Nairobi",
    "Africa/Lagos",
    "Australia/Sydney",
    "Australia/Brisbane",
    "Australia/Adelaide",
    "Australia/Darwin",
    "Pacific/Auckland",
    "Pacific/Honolulu",
    "Atlantic/Azores",
];

impl Doctor {
    /// Takes in when a batch of the source arrived and what its lines say. `zone`: how stamps without one are read. Says what
    /// is to be told.
    pub fn examine(&mut self, source: &str, zone: Zone, track: &Track) -> Option<String> {
        let arrival = track.received?;
        // Where most lines stand: one from the year 2099 says nothing of a clock.
        let most = track.stretches.iter().max_by_key(|it| it.lines)?;
        self.observe(source, zone, arrival, most.newest)
    }

    fn observe(&mut self, source: &str, zone: Zone, arrival: Timestamp, event: Timestamp) -> Option<String> {
        if !self.patients.contains_key(source) {
            if self.patients.len() >= limits::CLOCKS_MAX {
                self.patients.clear();
            }
            let series = |step| Series { step, samples: VecDeque::new() };
            let (seconds, minutes) = (series(5 * SECOND), series(MINUTE));
            self.patients.insert(source.to_string(), Patient { seconds, minutes, cause: None, told: Vec::new() });
        }
        let patient = self.patients.get_mut(source)?;
        let off = event.micros().saturating_sub(arrival.micros());
        patient.seconds.take(arrival, off, CONSTANT);
        patient.minutes.take(arrival, off, GROWING);
        let (cause, since) = patient.diagnose()?;
        let last = patient.told.iter().position(|it| same(it.0, cause));
        if let Some(last) = last {
            let unchanged = patient.told[last].0 == cause;
            let wait = if unchanged { REMIND } else { TELL_AGAIN };
            if arrival.since(patient.told[last].1) < wait {
                return None;
            }
            patient.told.remove(last);
        }
        patient.told.push((cause, arrival));
        Some(words(source, zone, cause, arrival, off, since))
    }
}

impl Patient {
    /// The fault, once it is sure, and since when it has been there.
    fn diagnose(&mut self) -> Option<(Cause, Timestamp)> {
        let cause = self.seconds.last(CONSTANT).and_then(|it| Some((constant(&it.1)?, it.0)));
        let cause = cause.or_else(|| self.minutes.last(GROWING).and_then(|it| Some((growing(&it.1)?, it.0))));
        self.cause = match (cause, self.cause) {
            (Some(now), Some((before, since))) if same(now.0, before) => Some((now.0, since)),
            (now, _) => now,
        };
        self.cause
    }
}

impl Series {
    fn take(&mut self, arrival: Timestamp, off: i64, most: usize) {
        let step = arrival.micros().div_euclid(self.step);
        match self.samples.back_mut() {
            Some(last) if step <= last.step => last.off = last.off.max(off),
            _ => self.samples.push_back(Sample { step, arrival, off }),
        }
        if self.samples.len() > most + 1 {
            self.samples.pop_front();
        }
    }

    /// When the latest whole steps began, and how far off each was: the step that is still filling may get better.
    fn last(&self, wanted: usize) -> Option<(Timestamp, Vec<i64>)> {
        let from = self.samples.len().checked_sub(wanted + 1)?;
        let offs = self.samples.range(from..from + wanted).map(|it| it.off).collect();
        Some((self.samples[from].arrival, offs))
    }
}

/// Whether it is the same fault, if not the same amount.
fn same(a: Cause, b: Cause) -> bool {
    match (a, b) {
        (Cause::Zone(a), Cause::Zone(b)) => a == b,
        (Cause::Clock(_), Cause::Clock(_)) | (Cause::Delay, Cause::Delay) => true,
        (Cause::Zone(_) | Cause::Clock(_) | Cause::Delay, _) => false,
    }
}

fn constant(offs: &[i64]) -> Option<Cause> {
    let (least, most) = (*offs.iter().min()?, *offs.iter().max()?);
    let quarter = 15 * MINUTE;
    let zone = (most + (ZONE_LATE - ZONE_EARLY) / 2).div_euclid(quarter) * quarter;
    let zone = [zone, zone + quarter].into_iter().min_by_key(|it| (most - it).abs())?;
    let near = |off: i64| off - zone <= ZONE_EARLY && zone - off <= ZONE_LATE;
    // Only two places on Earth are off by a quarter of an hour: a delay of that length is likelier.
    let half = zone % (30 * MINUTE) == 0 || zone == 345 * MINUTE || zone == 765 * MINUTE;
    if zone != 0 && zone.abs() <= ZONE_MAX && half && near(least) && near(most) {
        return Some(Cause::Zone(zone / MINUTE));
    }
    let seconds = (most + most.signum() * SECOND / 2) / SECOND;
    (most.abs() >= CLOCK_MIN && least.signum() == most.signum() && most - least <= CLOCK_SPREAD)
        .then_some(Cause::Clock(seconds))
}

fn growing(offs: &[i64]) -> Option<Cause> {
    let falls = offs.windows(2).all(|it| it[1] < it[0]);
    let (first, last) = (*offs.first()?, *offs.last()?);
    (falls && first - last >= DELAY_GROWN && last < 0).then_some(Cause::Delay)
}

fn words(source: &str, zone: Zone, cause: Cause, arrival: Timestamp, off: i64, since: Timestamp) -> String {
    let minute = since.micros().div_euclid(MINUTE);
    let since = format!("{:02}:{:02} UTC", minute.div_euclid(60).rem_euclid(24), minute.rem_euclid(60));
    let span = |micros: i64| Span::from_micros(micros.abs()).to_string();
    let side = |off: i64| if off > 0 { "ahead of" } else { "behind" };
    match cause {
        Cause::Zone(minutes) => {
            let off = minutes * MINUTE;
            let set = suggest(zone, arrival, off);
            format!("source `{source}` is {} {} us since {since}: time zone? {set}", span(off), side(off))
        }
        Cause::Clock(seconds) => {
            let off = seconds * SECOND;
            format!(
                "source `{source}` is {} {} us since {since}, always by as much: is its clock set?",
                span(off),
                side(off)
            )
        }
        Cause::Delay => format!(
            "source `{source}` falls behind since {since}, by {} now and growing: its lines come later and later",
            span(off)
        ),
    }
}

/// A zone in which stamps without one would be right.
fn suggest(zone: Zone, arrival: Timestamp, off: i64) -> String {
    // What the line says, where it is now read as `zone`.
    let east = |zone: Zone| arrival.micros() - zone.to_utc(arrival).micros();
    let wanted = east(zone) + off;
    let fixed = format!(
        "{}{:02}:{:02}",
        if wanted < 0 { '-' } else { '+' },
        wanted.abs() / MINUTE / 60,
        wanted.abs() / MINUTE % 60
    );
    let named = ZONES.iter().find(|it| Zone::parse(it).is_some_and(|it| east(it) == wanted));
    match named {
        _ if wanted == 0 => "set `zone: \"UTC\"`".to_string(),
        Some(name) => format!("set `zone: \"{name}\"` (or `\"{fixed}\"`)"),
        None => format!("set `zone: \"{fixed}\"`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-15 08:02:00 UTC.
    const START: i64 = 1_768_464_120;

    /// Pairs of (second of arrival, seconds that the event is ahead); what is told, and at which second.
    fn check(zone: &str, pairs: &[(i64, f64)], expected: &[(i64, &str)]) {
        let run = || {
            let mut doctor = Doctor::default();
            let mut told = Vec::new();
            for (second, off) in pairs {
                let arrival = Timestamp::from_micros((START + second) * SECOND);
                let event = Timestamp::from_micros(arrival.micros() + (off * SECOND as f64) as i64);
                let zone = Zone::parse(zone).unwrap();
                told.extend(doctor.observe("fw-2", zone, arrival, event).map(|it| (*second, it)));
            }
            told
        };
        let told = run();
        assert_eq!(told, run(), "the same pairs, the same words");
        let told: Vec<(i64, &str)> = told.iter().map(|it| (it.0, it.1.as_str())).collect();
        assert_eq!(told, expected);
    }

    fn every(seconds: i64, until: i64, off: impl Fn(i64) -> f64) -> Vec<(i64, f64)> {
        (0..until).step_by(seconds as usize).map(|it| (it, off(it))).collect()
    }

    #[test]
    fn whole_and_half_hours_are_zones() {
        let say = |text: &'static str| [(20, text)];
        check(
            "UTC",
            &every(1, 600, |_| 7199.7),
            &say(
                "source `fw-2` is 2h ahead of us since 08:02 UTC: time zone? set `zone: \"Europe/Athens\"` (or `\"+02:00\"`)",
            ),
        );
        check(
            "UTC",
            &every(1, 60, |it| 19_800.0 - (it % 40) as f64),
            &say(
                "source `fw-2` is 5h 30m ahead of us since 08:02 UTC: time zone? set `zone: \"Asia/Kolkata\"` (or `\"+05:30\"`)",
            ),
        );
        check(
            "Europe/Athens",
            &every(1, 60, |_| -7201.0),
            &say("source `fw-2` is 2h behind us since 08:02 UTC: time zone? set `zone: \"UTC\"`"),
        );
        check(
            "UTC",
            &every(1, 60, |_| -18_000.4),
            &say(
                "source `fw-2` is 5h behind us since 08:02 UTC: time zone? set `zone: \"America/New_York\"` (or `\"-05:00\"`)",
            ),
        );
    }

    #[test]
    fn what_is_always_off_by_as_much_is_a_clock() {
        check(
            "UTC",
            &every(1, 600, |it| 37.2 - (it % 7) as f64 * 0.1),
            &[(20, "source `fw-2` is 37s ahead of us since 08:02 UTC, always by as much: is its clock set?")],
        );
        check(
            "UTC",
            &every(2, 600, |_| -750.3),
            &[(20, "source `fw-2` is 12m 30s behind us since 08:02 UTC, always by as much: is its clock set?")],
        );
    }

    #[test]
    fn what_grows_is_a_delay() {
        check(
            "UTC",
            &every(1, 460, |it| -40.0 - 0.2 * it as f64),
            &[(
                360,
                "source `fw-2` falls behind since 08:02 UTC, by 1m 52s now and growing: its lines come later and later",
            )],
        );
    }

    #[test]
    fn nothing_is_wrong_with() {
        check("UTC", &every(1, 600, |it| -0.1 - (it % 9) as f64), &[]);
        // Somebody who asks once a minute gets a minute's lines.
        check("UTC", &every(60, 6000, |it| -3.0 - (it % 240) as f64 / 8.0), &[]);
        // An old file, read faster than time passes.
        check("UTC", &every(1, 600, |it| -400_000.0 + 700.0 * it as f64), &[]);
        // A delay that comes and goes.
        check("UTC", &every(1, 600, |it| -200.0 - 90.0 * (it as f64 / 9.0).sin()), &[]);
    }

    #[test]
    fn a_cause_is_told_once_in_a_while() {
        let drift = |it: i64| 20.0 + (it / 900) as f64 * 30.0;
        let mut doctor = Doctor::default();
        let mut told = Vec::new();
        for second in 0..3600 {
            let arrival = Timestamp::from_micros((START + second) * SECOND);
            let event = Timestamp::from_micros(arrival.micros() + (drift(second) * SECOND as f64) as i64);
            told.extend(doctor.observe("a", Zone::UTC, arrival, event).map(|_| second));
        }
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told.windows(2).all(|it| it[1] - it[0] >= 600), "{told:?}");
    }
}
