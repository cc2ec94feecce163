//! Receivers, as bad as receivers are, and the courier's decisions between them and the outbox.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::dice::Dice;
use crate::deliver::Note;
use crate::deliver::courier::post::{Ended, Load};
use crate::deliver::courier::{self, Dice as Roll, Pace, Post, Receipt, Report};
use crate::deliver::outcome::{Outcome, Reply, judge};
use crate::model::Timestamp;

/// What a receiver has got of one notification.
#[derive(Clone)]
struct Got {
    body: Vec<u8>,
    times: u32,
    life: u64,
    /// We answered, and the answer arrived: nobody has a reason to send it again.
    answered: bool,
}

/// Somebody who is told. Remembers everything; knows when something comes twice without a reason.
#[derive(Default)]
pub struct Person {
    got: BTreeMap<String, Got>,
    pub repeats: u64,
}

impl Person {
    /// Takes a notification. The error says what about it must not be.
    fn take(&mut self, key: &str, body: &[u8], life: u64) -> Result<(), String> {
        let Some(got) = self.got.get_mut(key) else {
            self.got.insert(key.into(), Got { body: body.to_vec(), times: 1, life, answered: false });
            return Ok(());
        };
        if got.body != body {
            return Err(format!("{key} came again with another body"));
        }
        if got.answered && got.life == life {
            return Err(format!("{key} came again although it was answered, and nothing crashed"));
        }
        self.repeats += 1;
        *got = Got { times: got.times + 1, life, answered: false, ..got.clone() };
        Ok(())
    }

    fn answered(&mut self, key: &str) {
        if let Some(got) = self.got.get_mut(key) {
            got.answered = true;
        }
    }

    pub fn bodies(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.got.iter().map(|(key, got)| (key.as_str(), got.body.as_slice()))
    }
}

/// One receiver's side of the courier: the real decisions, and simulated flights.
pub struct Desk {
    index: usize,
    post: Post,
    flights: Vec<Flight>,
}

struct Flight {
    load: Load,
    lands: Instant,
    outcome: Outcome,
    was_taken: bool,
}

/// How receivers are at the moment: the share of tries that go wrong.
#[derive(Clone, Copy, Default)]
pub struct Weather {
    pub fails: f64,
}

impl Desk {
    pub fn new(index: usize, pace: Pace, seed: u64) -> Desk {
        Desk { index, post: Post::new(pace, 4, Roll(seed)), flights: Vec::new() }
    }

    pub fn offer(&mut self, note: Note, now: Instant) -> Result<(), Note> {
        if self.post.is_full() {
            return Err(note);
        }
        self.post.admit(note, now);
        Ok(())
    }

    pub fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.post.wakes(far()).is_none()
    }

    /// Whatever is due: what has waited too long, what lands, what starts.
    #[expect(clippy::too_many_arguments, reason = "the world around a receiver")]
    pub fn step(
        &mut self,
        person: &mut Person,
        weather: Weather,
        dice: &mut Dice,
        now: Instant,
        wall: Timestamp,
        life: u64,
        reports: &mut VecDeque<Report>,
        trace: &mut dyn FnMut(String),
    ) -> Result<(), String> {
        while let Some(ended) = self.post.expire(now) {
            self.report(ended, reports);
        }
        while let Some(at) = self.flights.iter().position(|it| it.lands <= now) {
            let Flight { load, outcome, was_taken, .. } = self.flights.swap_remove(at);
            trace(format!("answer {} {} {outcome:?}", self.index, load.key));
            if was_taken && outcome == Outcome::Delivered {
                person.answered(&load.key);
            }
            if let Some(ended) = self.post.judge(load.id, outcome, load.progress, now, |_| b"reduced".to_vec()) {
                self.report(ended, reports);
            }
        }
        while let Some(load) = self.post.take(now) {
            let (takes, reply, millis) = behave(weather, dice);
            trace(format!("try {} {} {reply:?}", self.index, load.key));
            if takes {
                person.take(&load.key, &load.body, life)?;
            }
            let lands = now + Duration::from_millis(millis);
            self.flights.push(Flight { load, lands, outcome: judge(&reply, wall), was_taken: takes });
        }
        Ok(())
    }

    fn report(&mut self, ended: Ended, reports: &mut VecDeque<Report>) {
        let Ended { note, fate, tries, remark } = ended;
        reports.push_back(Report::Ended(Receipt { receiver: self.index, key: note.key, fate, tries, remark }));
    }
}

/// Far away, and not so far that adding to it overflows.
fn far() -> Instant {
    crate::runtime::clock::steady() + Duration::from_secs(1 << 30)
}

/// Whether the receiver takes it, what it says, and after how many milliseconds.
fn behave(weather: Weather, dice: &mut Dice) -> (bool, Reply, u64) {
    let status = |code, retry_after: Option<String>| Reply::Status { code, retry_after };
    let none = |why: &str| Reply::None { why: why.into() };
    let quick = dice.within(1, 400);
    if !dice.chance(weather.fails) {
        return (true, status(200, None), quick);
    }
    match dice.within(0, 7) {
        0 => (false, status(500, None), quick),
        1 => (false, status(429, Some(dice.within(1, 6).to_string())), quick),
        2 => (true, none("cut after it was taken"), quick),
        3 => (true, status(503, None), quick),
        4 => (false, none("timed out"), 15_000),
        5 => (true, none("timed out"), 15_000),
        _ => (false, none("refused"), 1),
    }
}

/// Patience for the simulation: as in the service, or short, so that notifications expire.
pub fn pace(expiry: Option<Duration>, seed: u64) -> Pace {
    let pace = Pace { behind: courier::Behind::Outbox, seed, ..Pace::default() };
    Pace { expiry: expiry.unwrap_or(pace.expiry), ..pace }
}
