//! What time it is in a source, and which stamps to believe.
//!
//! A log is written by attackers and by machines with wrong clocks. One line from the year 2099 must not make all later
//! lines late, so a stamp more than a day ahead of its source's newest is not believed at once: in a replay it waits until
//! nearly all of the lines that follow agree (then time really did jump: a quiet weekend) or some return to the old time (then
//! it was a lie, and the event is taken at the time at which it stands in the log). That single lines do not decide keeps a
//! log whose first line is from 1970 from staying there. Live, a stamp ahead of the wall clock is never believed, and one
//! within a day of it always is.
//!
//! Everything here is decided by a source's own lines in their own order, never by how they were cut into batches or
//! which thread read them: that is what makes two runs equal.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::model::{HitBatch, RuleIndex, Span, Timestamp};

/// A run of lines of one batch, each within a day of the one before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stretch {
    pub lines: u64,
    pub first: Timestamp,
    pub newest: Timestamp,
}

/// What a front says of the times of a batch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Track {
    pub stretches: Vec<Stretch>,
    /// For each event of the batch: its stretch, and the newest time of that stretch before its line.
    pub events: Vec<(u32, Timestamp)>,
    /// Live: the wall clock when the batch arrived.
    pub received: Option<Timestamp>,
}

/// Stands for the stretch of an event without time before any line with one.
const NO_STRETCH: u32 = u32::MAX;
/// A jump between lines that needs confirmation.
pub const JUMP: Span = Span::from_secs(86_400);
/// Live: a stamp further ahead of the wall clock than this is not believed.
pub const AHEAD_MAX: Span = Span::from_secs(300);

impl Track {
    /// Forgets the last batch, keeps the memory.
    pub fn start(&mut self, received: Option<Timestamp>) {
        self.stretches.clear();
        self.events.clear();
        self.received = received;
    }

    /// Notes a line's time; lines without one stand where the line before them stands.
    #[inline]
    pub fn line(&mut self, time: Option<Timestamp>) {
        let Some(time) = time else {
            if let Some(last) = self.stretches.last_mut() {
                last.lines += 1;
            }
            return;
        };
        match self.stretches.last_mut() {
            Some(last) if belongs(time, last, self.received) => {
                last.lines += 1;
                last.newest = last.newest.max(time);
            }
            _ => self.stretches.push(Stretch { lines: 1, first: time, newest: time }),
        }
    }

    /// Where an event with hits, of the line about to be noted, stands; called before [`Track::line`].
    pub fn event(&mut self, time: Option<Timestamp>) {
        let last = self.stretches.last();
        let stays = match (time, last) {
            (Some(time), Some(last)) => belongs(time, last, self.received),
            (None, Some(_)) => true,
            (_, None) => false,
        };
        match last {
            Some(last) if stays => self.events.push((self.stretches.len() as u32 - 1, last.newest)),
            _ if time.is_none() => self.events.push((NO_STRETCH, Timestamp::MIN)),
            _ => self.events.push((self.stretches.len() as u32, Timestamp::MIN)),
        }
    }
}

#[inline]
fn belongs(time: Timestamp, stretch: &Stretch, received: Option<Timestamp>) -> bool {
    time.distance(stretch.newest) <= JUMP
        && received.is_none_or(|wall| ahead_of(time, wall) == ahead_of(stretch.first, wall))
}

fn ahead_of(time: Timestamp, wall: Timestamp) -> bool {
    time.since(wall) > AHEAD_MAX
}

/// A clock in a snapshot.
#[derive(Serialize, Deserialize)]
pub struct SavedClock {
    lateness: Span,
    newest: Option<Timestamp>,
    origin: Timestamp,
    standing: Timestamp,
    waiting: Vec<Waiting>,
    flushed: bool,
    heard: Option<Timestamp>,
    hurried: Timestamp,
    late: u64,
    suspect: u64,
}

/// One source's idea of time.
pub struct SourceClock {
    lateness: Span,
    /// The newest time that is believed; None until one is.
    newest: Option<Timestamp>,
    /// The first time that was believed: where lines before it stand.
    origin: Timestamp,
    /// The newest time that is believed among the lines handed over.
    standing: Timestamp,
    /// Batches whose hits cannot be stamped yet, oldest first.
    waiting: VecDeque<Waiting>,
    /// It was idle so long that what it said is taken as complete.
    flushed: bool,
    /// Live: the wall clock when its latest batch came.
    heard: Option<Timestamp>,
    /// Until then its lines do not wait for each other, because too much waited.
    hurried: Timestamp,
    pub late: u64,
    /// How late the latest of them was; of this life only.
    pub latest: Span,
    pub suspect: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Waiting {
    batch: HitBatch,
    track: Track,
    /// For each stretch: what was decided, and the newest believed time before it.
    verdicts: Vec<Option<Verdict>>,
}

/// Gives hits the numbers of the rules in force; hits of rules that are gone are dropped.
pub fn renumber(batch: &mut HitBatch, numbers: &[Option<RuleIndex>]) {
    batch.renumber(|it| numbers.get(it.index()).copied().flatten());
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Verdict {
    believed: bool,
    before: Timestamp,
}

impl SourceClock {
    pub fn new(lateness: Span) -> SourceClock {
        SourceClock {
            lateness,
            newest: None,
            origin: Timestamp::from_micros(0),
            standing: Timestamp::MIN,
            waiting: VecDeque::new(),
            flushed: false,
            heard: None,
            hurried: Timestamp::MIN,
            late: 0,
            latest: Span::ZERO,
            suspect: 0,
        }
    }

    pub fn save(&self) -> SavedClock {
        SavedClock {
            lateness: self.lateness,
            newest: self.newest,
            origin: self.origin,
            standing: self.standing,
            waiting: self.waiting.iter().cloned().collect(),
            flushed: self.flushed,
            heard: self.heard,
            hurried: self.hurried,
            late: self.late,
            suspect: self.suspect,
        }
    }

    /// From a snapshot; `numbers` are those of the rules in force.
    pub fn restored(saved: SavedClock, numbers: &[Option<RuleIndex>]) -> SourceClock {
        let mut waiting: VecDeque<Waiting> = saved.waiting.into();
        waiting.iter_mut().for_each(|it| renumber(&mut it.batch, numbers));
        SourceClock {
            lateness: saved.lateness,
            newest: saved.newest,
            origin: saved.origin,
            standing: saved.standing,
            waiting,
            flushed: saved.flushed,
            heard: saved.heard,
            hurried: saved.hurried,
            late: saved.late,
            latest: Span::ZERO,
            suspect: saved.suspect,
        }
    }

    /// Everything up to this has been seen, as far as lateness allows. MIN while nothing is known. A line that is late by
    /// exactly the lateness is still in time, so the moment itself is not over: those of one time must go on together.
    /// With no lateness nobody waits, and lines of one time go on in the order of their arrival.
    pub fn watermark(&self) -> Timestamp {
        // What waits for a verdict about its times has not been seen yet, even where it stands before the line in question.
        let seen = if self.waiting.is_empty() { self.newest() } else { Some(self.standing) };
        match seen.filter(|it| *it != Timestamp::MIN) {
            None => Timestamp::MIN,
            Some(newest) if self.lateness == Span::ZERO => newest,
            Some(newest) => newest.minus(self.lateness).minus(Span::from_micros(1)),
        }
    }

    /// Whether it has been silent for longer than its lateness.
    pub fn is_idle(&self) -> bool {
        self.flushed
    }

    /// Its own lines up to this are there, or are not waited for.
    pub fn complete(&self) -> Timestamp {
        self.watermark().max(self.hurried)
    }

    /// Too much waits: its lines up to then wait no longer.
    pub fn hurry(&mut self, to: Timestamp) {
        self.hurried = self.hurried.max(to);
    }

    /// The newest time that is believed. Live, as long as it has not named any time: when its latest lines came.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest.or_else(|| self.heard.filter(|_| self.names_no_time()))
    }

    /// Nothing that it has said so far has a time. Stamps that are not believed are times, and wait for better ones.
    fn names_no_time(&self) -> bool {
        self.newest.is_none() && self.waiting.iter().all(|it| it.track.stretches.is_empty())
    }

    /// The wall clock when its latest lines came, if they came live.
    pub fn heard(&self) -> Option<Timestamp> {
        self.heard
    }

    pub fn lateness(&self) -> Span {
        self.lateness
    }

    /// Takes a batch in; appends the batches whose hits now have their times.
    pub fn observe(&mut self, batch: HitBatch, track: Track, ready: &mut Vec<HitBatch>) {
        self.flushed = false;
        self.heard = track.received.or(self.heard);
        let verdicts = vec![None; track.stretches.len()];
        self.waiting.push_back(Waiting { batch, track, verdicts });
        self.decide(false);
        self.release(ready);
    }

    /// The source has ended: nothing will contradict what still waits.
    pub fn finish(&mut self, ready: &mut Vec<HitBatch>) {
        self.decide(true);
        if self.newest().is_none() {
            self.newest = Some(self.origin); // not one line of the whole source has a time
        }
        self.release(ready);
    }

    /// The source has been idle for at least its lateness: what it said is complete, until it speaks again.
    pub fn idle(&mut self, ready: &mut Vec<HitBatch>) {
        self.decide(true);
        self.release(ready);
        self.flushed = self.newest().is_some();
    }

    /// Decides as many stretches as can be decided, oldest first.
    fn decide(&mut self, all: bool) {
        loop {
            let Some((batch, index)) = self.first_undecided() else { return };
            let stretch = self.waiting[batch].track.stretches[index].clone();
            let wall = self.waiting[batch].track.received;
            let jumps = self.newest.is_none_or(|newest| stretch.first.since(newest) > JUMP);
            let believed = match wall {
                Some(wall) if ahead_of(stretch.first, wall) => Some(false),
                Some(wall) if wall.since(stretch.first) <= JUMP => Some(true),
                _ if !jumps => Some(true),
                _ => self.confirmed(batch, index, stretch.first, all),
            };
            let Some(believed) = believed else { return };
            let before = self.newest.unwrap_or(Timestamp::MIN);
            self.waiting[batch].verdicts[index] = Some(Verdict { believed, before });
            if believed {
                if self.newest.is_none() {
                    self.origin = stretch.first;
                }
                self.newest = Some(before.max(stretch.newest));
            }
        }
    }

    fn first_undecided(&self) -> Option<(usize, usize)> {
        self.waiting
            .iter()
            .enumerate()
            .find_map(|(batch, it)| it.verdicts.iter().position(Option::is_none).map(|index| (batch, index)))
    }

    /// Whether the lines from that stretch on agree that time has come so far: all of them, but for one in four that may
    /// return to a day before. `all`: no more will come. Live, where nobody can lie into the future, the majority says.
    fn confirmed(&self, batch: usize, index: usize, first: Timestamp, all: bool) -> Option<bool> {
        let is_live = self.waiting[batch].track.received.is_some();
        let (mut lines, mut against) = (0, 0);
        let agree = |lines: u64, against: u64| if is_live { lines > against } else { lines >= 3 * against };
        for (number, waiting) in self.waiting.iter().enumerate().skip(batch) {
            let from = if number == batch { index } else { 0 };
            for stretch in &waiting.track.stretches[from..] {
                let some = stretch.lines.min(limits::JUMP_CONFIRMATIONS - lines - against);
                match first.since(stretch.first) > JUMP {
                    true => against += some,
                    false => lines += some,
                }
                if lines + against >= limits::JUMP_CONFIRMATIONS
                    || !agree(limits::JUMP_CONFIRMATIONS - against, against)
                {
                    return Some(agree(lines, against));
                }
            }
        }
        all.then_some(agree(lines, against))
    }

    /// Stamps and hands over the batches that are decided whole. Lines that cannot be trusted, or have no time, stand at
    /// the newest time before them; where there is none, they wait for the first time that is believed, but live, if nobody has named
    /// any time, they stand when they came.
    fn release(&mut self, ready: &mut Vec<HitBatch>) {
        while self.newest().is_some() && self.waiting.front().is_some_and(|it| it.verdicts.iter().all(Option::is_some))
        {
            let Some(Waiting { mut batch, track, verdicts }) = self.waiting.pop_front() else { return };
            let first = track.received.filter(|_| self.newest.is_none()).unwrap_or(self.origin);
            for (number, (stretch, newest_before)) in track.events.iter().enumerate() {
                let hits = batch.hits_of(number).len() as u64;
                let event = &mut batch.events[number];
                let verdict = verdicts.get(*stretch as usize).copied().flatten();
                let Verdict { believed, before } = verdict.unwrap_or(Verdict { believed: true, before: self.standing });
                let standing = if believed { before.max(*newest_before) } else { before };
                if !believed {
                    event.suspect = true;
                    self.suspect += hits;
                }
                if !believed || event.time == Timestamp::MIN {
                    event.time = if standing == Timestamp::MIN { first } else { standing };
                }
                let watermark = if standing == Timestamp::MIN { standing } else { standing.minus(self.lateness) };
                event.late = event.time < watermark;
                if event.late && hits > 0 {
                    self.late += hits;
                    self.latest = self.latest.max(standing.since(event.time));
                }
                event.release = event.time.max(watermark);
            }
            for (stretch, verdict) in track.stretches.iter().zip(verdicts) {
                if verdict.is_some_and(|it| it.believed) {
                    self.standing = self.standing.max(stretch.newest);
                }
            }
            ready.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HitEvent, HitRule, TextRange};

    const DAY: i64 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    /// Times in seconds (None: no stamp), cut into batches of that size; every line is a hit. What comes out: time,
    /// release, and `l`ate or `s`uspect.
    fn run(times: &[Option<i64>], batch_lines: usize, received: Option<i64>) -> Vec<(i64, i64, String)> {
        let mut clock = SourceClock::new(Span::from_secs(2));
        let mut ready = Vec::new();
        for (number, part) in times.chunks(batch_lines).enumerate() {
            let (mut batch, mut track) = (HitBatch::default(), Track::default());
            track.start(received.map(at));
            for (index, time) in part.iter().enumerate() {
                let time = time.map(at);
                track.event(time);
                track.line(time);
                let (time, line) = (time.unwrap_or(Timestamp::MIN), (number * batch_lines + index) as u64);
                batch.push_hit(HitRule::new(RuleIndex(0), 1, 0));
                batch.push_event(HitEvent::new(time, 0, line, line, TextRange::default()));
            }
            clock.observe(batch, track, &mut ready);
        }
        clock.finish(&mut ready);
        let shown = |it: &HitEvent| {
            let flags = [(it.late, "l"), (it.suspect, "s")];
            let flags: String = flags.iter().filter(|it| it.0).map(|it| it.1).collect();
            (it.time.micros() / 1_000_000, it.release.micros() / 1_000_000, flags)
        };
        ready.iter().flat_map(|it| &it.events).map(shown).collect()
    }

    fn check(times: &[Option<i64>], expected: &[(i64, i64, &str)]) {
        for batch_lines in 1..=times.len() {
            let found = run(times, batch_lines, None);
            let found: Vec<(i64, i64, &str)> = found.iter().map(|it| (it.0, it.1, it.2.as_str())).collect();
            assert_eq!(found, expected, "in batches of {batch_lines}");
        }
    }

    #[test]
    fn lines_inside_the_lateness_wait_for_each_other() {
        check(&[Some(10), Some(9), Some(11)], &[(10, 10, ""), (9, 9, ""), (11, 11, "")]);
        check(&[Some(10), Some(7), Some(11)], &[(10, 10, ""), (7, 8, "l"), (11, 11, "")]);
        check(&[Some(10), None, Some(11)], &[(10, 10, ""), (10, 10, ""), (11, 11, "")]);
    }

    #[test]
    fn one_line_from_the_future_moves_nothing() {
        let future = 4_000_000_000;
        check(&[Some(10), Some(future), Some(11)], &[(10, 10, ""), (10, 10, "s"), (11, 11, "")]);
        check(&[Some(future), Some(10), Some(11)], &[(10, 10, "s"), (10, 10, ""), (11, 11, "")]);
    }

    /// A log in which lies stand among the first lines, and again and again: honest lines keep their times.
    #[test]
    fn a_few_old_lines_do_not_keep_a_log_in_the_past() {
        for (lie, every, from) in
            [(5, 5, 0), (5, 5, 3), (5, 16, 1), (3 * DAY, 7, 2), (40_000 * DAY, 5, 0), (40_000 * DAY, 5, 3)]
        {
            let is_lie = |it: i64| it >= from && (it - from) % every == 0;
            let times: Vec<Option<i64>> =
                (0..80).map(|it| Some(if is_lie(it) { lie } else { 100 * DAY + it })).collect();
            for lines in [1, 3, 16, 80] {
                let found = run(&times, lines, None);
                for (it, honest) in found.iter().enumerate().filter(|it| !is_lie(it.0 as i64)) {
                    let time = 100 * DAY + it as i64;
                    assert_eq!(
                        *honest,
                        (time, time, String::new()),
                        "{lie} every {every} from {from}, {lines} at once"
                    );
                }
            }
        }
    }

    #[test]
    fn a_quiet_weekend_is_believed() {
        let monday = 10 + 3 * DAY;
        check(
            &[Some(10), Some(monday), Some(monday + 1)],
            &[(10, 10, ""), (monday, monday, ""), (monday + 1, monday + 1, "")],
        );
    }

    #[test]
    fn live_the_wall_clock_decides() {
        let now = 1_000_000;
        let found = run(&[Some(now - 5), Some(now + 10 * DAY), Some(now)], 1, Some(now));
        assert_eq!(found[1], (now - 5, now - 5, "s".to_string()));
        assert_eq!(found[2], (now, now, String::new()));
    }

    /// Untimed lines stand when they came, until the source says what time it is.
    #[test]
    fn live_lines_without_a_time_stand_when_they_came() {
        let now = 1_000_000;
        let (came, old) = ((now, now, ""), now - 1600);
        for (times, expected) in [
            (&[None, None][..], &[came, came][..]),
            (&[None, Some(old), None], &[came, (old, old, ""), (old, old, "")]),
        ] {
            let found = run(times, 1, Some(now));
            let found: Vec<(i64, i64, &str)> = found.iter().map(|it| (it.0, it.1, it.2.as_str())).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn who_never_says_what_time_it_is_holds_nobody_up() {
        let now = 1_000_000;
        let mut clock = SourceClock::new(Span::from_secs(2));
        for second in 0..3 {
            let mut track = Track::default();
            track.start(Some(at(now + second)));
            track.line(None);
            clock.observe(HitBatch::default(), track, &mut Vec::new());
            assert_eq!(clock.watermark(), Timestamp::from_micros((now + second - 2) * 1_000_000 - 1));
        }
        clock.idle(&mut Vec::new());
        assert!(clock.is_idle() && clock.newest() == Some(at(now + 2)));
    }

    /// The first lines of a source, while the clock here is ahead by two days: one of them is from 1970, or most are.
    #[test]
    fn live_one_line_from_long_ago_takes_nothing_along() {
        let (then, wall) = (100 * DAY, Some(102 * DAY));
        let most = |of_1970: fn(i64) -> bool| -> Vec<Option<i64>> {
            (0..40).map(|it| Some(if of_1970(it) { it } else { then + it })).collect()
        };
        for lines in [1, 3, 7, 40] {
            let found = run(&most(|it| it == 5), lines, wall);
            let expected =
                |it: i64| if it == 5 { (5, then + 2, "l".into()) } else { (then + it, then + it, String::new()) };
            assert_eq!(found, (0..40).map(expected).collect::<Vec<_>>(), "{lines} lines at once");
            let found = run(&most(|it| it != 0), lines, wall);
            assert!(found[0].2 == "s" && found[1..].iter().all(|it| it.2.is_empty()), "{found:?}");
        }
    }
}
