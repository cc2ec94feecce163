//! The whole service in one thread, from a seed: virtual clocks, a simulated disk, simulated senders and receivers.
//!
//! Tests that kill a real process find what happens often. What happens once in a million nights — a torn write, then a second
//! crash while the first is mended, then a clock that was set — is found only where years cost seconds and every run can be
//! repeated. So front, engine, store, recovery, books and the courier's decisions are the real ones, driven by their plain
//! step functions; everything around them comes from the seed. The same seed gives the same trace.
//!
//! What is checked is what `docs/guarantees.md` promises: nothing acknowledged is lost, nothing is invented, every alert is
//! told at least once, twice only after a crash or an answer that did not arrive, with the same key and body; the books
//! balance at every commit; and when the trouble is over, everything gets through.

mod dice;
pub(crate) mod disk;
pub(crate) mod input;
mod life;
mod people;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use twox_hash::XxHash3_64;

use crate::deliver::config::{Outside, Receiver, Route, Routes, resolve};
use crate::deliver::terminal::Look;
use crate::engine::RuleSet;
use crate::model::{Alert, Span, Timestamp};
use crate::runtime::clock::{Now, steady};
use crate::runtime::live::Book;
use crate::source::batch::LineBatch;
use crate::source::frame::Framer;
use crate::source::receipt::Receipt;
use dice::Dice;
use disk::{Lie, Mood, SimDisk};
use input::{BEGIN, Expected, Script};
use life::{Fixed, Life};
use people::{Person, Weather};

/// Mistakes that are planted to see whether they are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    None,
    /// A sync that says it worked, and did nothing.
    SkipSync,
    /// Lines are acknowledged before they are committed.
    AckFirst,
    /// Time passes, and the journal does not say so.
    DropTick,
}

impl Bug {
    pub const ALL: [(&'static str, Bug); 4] =
        [("none", Bug::None), ("skip-sync", Bug::SkipSync), ("ack-first", Bug::AckFirst), ("drop-tick", Bug::DropTick)];
}

/// What is the same in all runs.
pub struct Stage {
    set: Arc<RuleSet>,
    receivers: Vec<Arc<Receiver>>,
    start: Instant,
    /// Lines of a trace that are kept: the last ones.
    trace_kept: usize,
}

/// What one run was.
#[derive(Debug)]
pub struct Run {
    /// Of everything that happened, in order.
    pub trace_hash: u64,
    /// The last of it.
    pub trace: Vec<String>,
    pub violation: Option<String>,
    pub lives: u64,
    pub alerts: u64,
    pub repeats: u64,
}

const NAMES: [&str; 2] = ["hook", "desk"];

impl Stage {
    pub fn new(trace_kept: usize) -> Stage {
        let text =
            r#"{"hook": Webhook(url: "https://hook.example.com/"), "desk": Webhook(url: "https://desk.example.com/")}"#;
        let settings = ron::from_str(text).expect("our own receivers are well-formed");
        let receivers = resolve(&settings, &Outside::system()).unwrap_or_default();
        Stage {
            set: input::rule_set(),
            receivers: receivers.into_iter().map(Arc::new).collect(),
            start: steady(),
            trace_kept,
        }
    }

    /// One run, from a seed.
    pub fn run(&self, seed: u64, bug: Bug) -> Run {
        let mut world = World::new(self, seed, bug);
        let violation = world.play().err();
        Run {
            trace_hash: world.trace.hash,
            trace: world.trace.last.into(),
            violation,
            lives: world.lives,
            alerts: world.expected.exact.len() as u64,
            repeats: world.people.iter().map(|it| it.repeats).sum(),
        }
    }

    fn book(&self) -> Book {
        let route = |rules: &[&str], to: &[&str]| {
            let list = |all: &[&str]| all.iter().map(|it| format!("{it:?}")).collect::<Vec<_>>().join(", ");
            ron::from_str::<Route>(&format!("(rules: [{}], to: [{}])", list(rules), list(to)))
        };
        let all = ["sim-each", "sim-count", "sim-distinct", "sim-then", "sim-never", "tripline.state-damaged"];
        let routes = [route(&all, &["hook"]), route(&["sim-count"], &["desk"])];
        let routes = routes.into_iter().collect::<Result<Vec<_>, _>>().expect("our own routes are well-formed");
        let routes = Routes::resolve(&routes, &NAMES).expect("our own routes name our own receivers");
        Book { receivers: self.receivers.clone(), routes, look: Look::Lines }
    }
}

#[derive(Default)]
struct Trace {
    hash: u64,
    kept: usize,
    last: VecDeque<String>,
}

impl Trace {
    fn note(&mut self, line: String) {
        self.hash = XxHash3_64::oneshot_with_seed(self.hash, line.as_bytes());
        if self.last.len() == self.kept {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// One sender and its connection.
struct Sender {
    script: Script,
    /// The next line to be sent, from 0; what was acknowledged, as a number of lines.
    next: usize,
    acknowledged: u64,
    /// Of that, what the database at hand knows: nothing, when it was begun anew, until it hears from the client.
    stored: u64,
    connection: Option<Connection>,
    returns_at: i64,
}

struct Connection {
    framer: Framer,
    committed: watch::Sender<u64>,
    taken: u64,
}

struct World<'a> {
    stage: &'a Stage,
    fixed: Fixed,
    dice: Dice,
    disk: SimDisk,
    life: Option<Life>,
    lives: u64,
    starts_at: i64,
    /// The next orderly end, and the next crash out of nowhere.
    crash_at: i64,
    senders: Vec<Sender>,
    people: Vec<Person>,
    expected: Expected,
    /// Microseconds since the beginning, as they truly pass; the wall clock is off by that much.
    at: i64,
    wall_off: i64,
    wall_changes_at: i64,
    ticked_at: i64,
    /// Until then things go wrong.
    trouble_until: i64,
    mood_changes_at: i64,
    weather: Weather,
    /// A bit flips now and then: what that damages is found, and set aside.
    flips: bool,
    was_damaged: bool,
    trace: Trace,
}

const SECOND: i64 = 1_000_000;

impl<'a> World<'a> {
    fn new(stage: &'a Stage, seed: u64, bug: Bug) -> World<'a> {
        let mut dice = Dice::new(seed);
        let senders = dice.within(1, 4) as usize;
        let scripts: Vec<Script> = (0..senders).map(|it| Script::invent(&mut dice, it)).collect();
        let last = scripts.iter().filter_map(|it| it.sayings.last()).map(|it| it.at).max().unwrap_or(0);
        let expected = input::expect(&stage.set, &scripts);
        let lie = if bug == Bug::SkipSync { Lie::SkipSync(10) } else { Lie::None };
        let fixed = Fixed {
            set: stage.set.clone(),
            book: stage.book(),
            expiry: dice.chance(0.1).then_some(Duration::from_secs(20)),
            snapshot_after: *dice.one_of(&[2_000, 20_000, 1 << 30]),
            bug,
        };
        let sender = |script| Sender { script, next: 0, acknowledged: 0, stored: 0, connection: None, returns_at: 0 };
        World {
            disk: SimDisk::new(seed ^ 0xd15c, lie),
            stage,
            fixed,
            life: None,
            lives: 0,
            starts_at: 0,
            crash_at: dice.within(0, 20 * SECOND as u64) as i64,
            senders: scripts.into_iter().map(sender).collect(),
            people: NAMES.iter().map(|_| Person::default()).collect(),
            expected,
            at: 0,
            wall_off: 0,
            wall_changes_at: if dice.chance(0.3) { dice.within(0, last as u64) as i64 } else { i64::MAX },
            ticked_at: 0,
            trouble_until: last + SECOND,
            mood_changes_at: 0,
            weather: Weather::default(),
            flips: dice.chance(0.04),
            was_damaged: false,
            trace: Trace { kept: stage.trace_kept, ..Trace::default() },
            dice,
        }
    }

    fn now(&self) -> Now {
        let wall = BEGIN.plus(Span::from_micros(self.at)).micros() + self.wall_off;
        Now { wall: Timestamp::from_micros(wall), steady: self.stage.start + Duration::from_micros(self.at as u64) }
    }

    /// Runs until everything that was said has led to all that it leads to, or something is not as promised.
    fn play(&mut self) -> Result<(), String> {
        while self.at < self.trouble_until {
            self.at += self.dice.within(1_000, 120_000) as i64;
            self.change_the_world();
            self.step()?;
            self.crash_at_times()?;
        }
        self.note("the trouble is over".into());
        self.disk.set_mood(Mood::default());
        self.disk.crash_after(u64::MAX >> 1);
        self.weather = Weather::default();
        (self.wall_off, self.crash_at, self.wall_changes_at) = (0, i64::MAX, i64::MAX);
        let patience = self.at + 3600 * SECOND;
        let quiet = self.at + 1500 * SECOND;
        while self.at < patience {
            let all_said = self.senders.iter().all(|it| it.next >= it.script.sayings.len());
            self.at += if all_said { self.dice.within(50_000, 2_000_000) as i64 } else { 50_000 };
            self.step()?;
            let calm = self.life.as_ref().is_some_and(Life::is_calm);
            if all_said && calm && self.at > quiet {
                return self.judge();
            }
        }
        Err("the trouble is over for an hour, and still something waits".into())
    }

    fn note(&mut self, line: String) {
        let line = format!("{:>10} {line}", self.at);
        self.trace.note(line);
    }

    /// Disks, clocks and receivers get better and worse.
    fn change_the_world(&mut self) {
        if self.at >= self.mood_changes_at {
            self.mood_changes_at = self.at + self.dice.within(1, 15) as i64 * SECOND;
            let mut mood = Mood::default();
            match self.dice.within(0, 8) {
                0 => mood.fails = *self.dice.one_of(&[0.001, 0.01, 0.2]),
                1 => mood.sync_fails = *self.dice.one_of(&[0.05, 0.5]),
                2 => {
                    mood.room = self.disk.bytes() + self.dice.within(1, 50_000) as usize;
                    mood.hides_room = mood.room.is_multiple_of(2);
                }
                3 => mood.stalls = *self.dice.one_of(&[50, 500, 5_000]),
                _ => {}
            }
            self.disk.set_mood(mood);
            self.weather = Weather { fails: *self.dice.one_of(&[0.0, 0.0, 0.2, 0.9, 1.0]) };
            self.note(format!("{mood:?} receivers fail {}", self.weather.fails));
        }
        if self.at >= self.wall_changes_at && self.life.is_some() {
            let far = *self.dice.one_of(&[0, 0, 10, -10, 3600, -3600, 86_400, -86_400]);
            self.wall_off = far * SECOND;
            self.wall_changes_at = self.at + self.dice.within(1, 60) as i64 * SECOND;
            self.note(format!("the wall clock is off by {far} s"));
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let now = self.now();
        if self.life.is_none() && self.at >= self.starts_at {
            self.start(now);
        }
        let Some(life) = &mut self.life else { return Ok(()) };
        let World { fixed, dice, disk, senders, people, at, ticked_at, trace, weather, .. } = self;
        for sender in senders {
            sender.step(life, *at, dice, trace)?;
        }
        let note = &mut |line: String| trace.note(format!("{at:>10} {line}"));
        for _ in 0..dice.within(0, 4) {
            life.take(fixed, now);
        }
        if *at - *ticked_at >= 50_000 {
            *ticked_at = *at;
            life.tick(fixed, now);
        }
        for _ in 0..dice.within(1, 4) {
            life.keep(fixed, disk, dice, now, note);
        }
        if !disk.is_dead() {
            life.deliver(people, *weather, dice, now, note)?;
        }
        self.check_the_books()?;
        if self.disk.is_dead() {
            self.die("at a sync");
        }
        Ok(())
    }

    fn start(&mut self, now: Now) {
        self.lives += 1;
        let seed = self.dice.within(0, 1 << 40);
        match Life::start(&self.fixed, &self.disk, self.lives, now, seed) {
            Ok(life) => {
                self.was_damaged |= life.set_aside.is_some();
                if let Some(what) = &life.set_aside {
                    self.note(what.clone());
                }
                if life.has_lost_clients() {
                    self.senders.iter_mut().for_each(|it| it.stored = 0);
                }
                let entries = life.entries;
                self.life = Some(life);
                self.note(format!("life {} begins, {} entries after the snapshot", self.lives, entries));
                if self.dice.chance(0.5) && self.at < self.trouble_until {
                    self.disk.crash_after(self.dice.within(1, 200));
                }
            }
            Err(why) => {
                self.note(format!("no start: {why}"));
                self.starts_at = self.at + SECOND;
            }
        }
        if self.disk.is_dead() {
            self.die("while starting");
        }
    }

    fn crash_at_times(&mut self) -> Result<(), String> {
        if self.at < self.crash_at {
            return Ok(());
        }
        self.crash_at = self.at + self.dice.within(1, 40) as i64 * SECOND;
        if self.dice.chance(0.15)
            && let Some(life) = self.life.take()
        {
            let now = self.now();
            let World { fixed, disk, dice, trace, at, .. } = self;
            let ended = life.end(fixed, disk, dice, now, &mut |line| trace.note(format!("{at:>10} {line}")));
            self.note(format!("ended in order: {ended}"));
        }
        self.die("out of nowhere");
        Ok(())
    }

    /// The process is gone, or the machine with it.
    fn die(&mut self, how: &str) {
        let power = self.dice.chance(0.5);
        self.note(format!("crash {how}, power cut: {power}"));
        // Whether an hour passed while nobody looked, or a clock is wrong by an hour, nobody can know.
        if self.wall_off.abs() > 10 * SECOND {
            self.wall_off = 0;
        }
        // Its files are closed by then; what closing would write is not written any more.
        self.disk.crash_after(0);
        self.life = None;
        match power {
            true => self.disk.power_cut(),
            false => self.disk.process_ended(),
        }
        if self.flips && self.dice.chance(0.3) {
            self.note("a bit flips".into());
            self.disk.flip_a_bit();
        }
        for sender in &mut self.senders {
            sender.connection = None;
            sender.returns_at = self.at + self.dice.within(0, 3 * SECOND as u64) as i64;
        }
        self.starts_at = self.at + self.dice.within(0, 3 * SECOND as u64) as i64;
    }

    /// fired = delivered + pending + suppressed + expired, and received = accepted + rejected, at every commit.
    fn check_the_books(&mut self) -> Result<(), String> {
        let Some(life) = &mut self.life else { return Ok(()) };
        let counts = life.stats().counts;
        if counts.received != counts.accepted + counts.rejected {
            return Err(format!("received {} is not accepted + rejected", counts.received));
        }
        match life.news() {
            Some(it) if it.fired != it.delivered + it.pending + it.suppressed + it.expired => {
                Err(format!("the books do not balance: {it:?}"))
            }
            _ => Ok(()),
        }
    }

    /// At the end: what was told against what had to be told.
    fn judge(&mut self) -> Result<(), String> {
        if self.was_damaged && !self.flips {
            return Err("damaged: a state, and nobody had touched it".into());
        }
        let status = self.life.as_mut().and_then(Life::status).ok_or("the store is gone at the end")?;
        if status.pending > 0 {
            return Err(format!("{} notifications still wait", status.pending));
        }
        for sender in &self.senders {
            let lines = sender.script.sayings.len() as u64;
            if sender.script.greets && sender.acknowledged < lines {
                return Err(format!("{} waits for ACK {lines}, heard {}", sender.script.client, sender.acknowledged));
            }
        }
        let mut told = Vec::new();
        for (key, body) in self.people[0].bodies() {
            let alert: Alert = serde_json::from_slice(body).map_err(|it| format!("{key}: no alert: {it}"))?;
            told.push((alert, String::from_utf8_lossy(body).into_owned()));
        }
        if self.was_damaged {
            // What was lost with the damage is lost; what counts is that it was found, and that work goes on.
            return Ok(());
        }
        if self.fixed.expiry.is_none() {
            if status.expired > 0 {
                return Err(format!("{} expired, and nothing waited so long", status.expired));
            }
            let keys: u64 = self.people.iter().map(|it| it.bodies().count() as u64).sum();
            if status.delivered != keys {
                return Err(format!("{} were delivered by the books, and {keys} arrived", status.delivered));
            }
        }
        self.compare(&told)
    }

    fn compare(&self, told: &[(Alert, String)]) -> Result<(), String> {
        let greeting: Vec<&Script> = self.senders.iter().map(|it| &it.script).filter(|it| it.greets).collect();
        let is_exact = |user: &str| greeting.iter().any(|it| it.exact.contains(user));
        let said: String = self.senders.iter().flat_map(|it| &it.script.sayings).map(|it| it.text.as_str()).collect();
        let mut counted = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for (alert, body) in told.iter().filter(|it| !it.0.rule.id.starts_with("tripline.")) {
            let user = input::user_of(alert).unwrap_or_default();
            if !said.contains(user) || user.is_empty() {
                return Err(format!("an alert about {user:?}, of whom nobody spoke"));
            }
            if alert.rule.id == "sim-count" {
                counted.insert(user.to_string());
            }
            if !is_exact(user) {
                continue;
            }
            let key = (alert.id.clone(), alert.state.name().to_string());
            match self.expected.exact.get(&key) {
                None => return Err(format!("invented: {body}")),
                Some(expected) => {
                    let expected: Alert = serde_json::from_str(expected).map_err(|it| it.to_string())?;
                    if expected != *alert {
                        return Err(format!("told {body}\nexpected {}", self.expected.exact[&key]));
                    }
                }
            }
            seen.insert(key);
        }
        if self.fixed.expiry.is_some() {
            return Ok(());
        }
        let is_told = |it: &&String| !it.contains("\"sim-quiet\"");
        let lost = self.expected.exact.iter().find(|(key, text)| is_told(text) && !seen.contains(*key));
        if let Some((_, text)) = lost {
            return Err(format!("lost: {text}"));
        }
        let of_greeting = |user: &&String| greeting.iter().any(|it| user.contains(&it.script_name()));
        match self.expected.counted.iter().filter(of_greeting).find(|it| !counted.contains(*it)) {
            Some(user) => Err(format!("a plain count finds {user}, and nobody was told")),
            None => Ok(()),
        }
    }
}

impl Script {
    fn script_name(&self) -> String {
        format!(".{}@", self.client)
    }
}

impl Sender {
    fn step(&mut self, life: &mut Life, at: i64, dice: &mut Dice, trace: &mut Trace) -> Result<(), String> {
        let Some(connection) = &mut self.connection else {
            if at >= self.returns_at {
                return self.connect(life, trace);
            }
            return Ok(());
        };
        let heard = *connection.committed.borrow();
        if heard > self.acknowledged {
            self.acknowledged = heard;
            self.stored = heard;
            trace.note(format!("{at:>10} {} hears ACK {heard}", self.script.client));
        }
        if dice.chance(0.002) && self.next < self.script.sayings.len() {
            // The network, not the process: what had begun is sent again.
            self.connection = None;
            self.returns_at = at + dice.within(0, 800_000) as i64;
            return Ok(());
        }
        if self.next >= self.script.sayings.len() && self.acknowledged as usize >= self.script.sayings.len() {
            return Ok(());
        }
        while life.has_room() && self.script.sayings.get(self.next).is_some_and(|it| it.at <= at) {
            let Some(connection) = &mut self.connection else { break };
            let some = dice.within(1, 12) as usize;
            let mut batch = LineBatch::default();
            let due = self.script.sayings[self.next..].iter().take_while(|it| it.at <= at).take(some);
            let mut sent = 0;
            for saying in due {
                connection.framer.push(saying.text.as_bytes(), &mut batch);
                sent += 1;
            }
            self.next += sent;
            let upto = connection.framer.settled_number();
            connection.taken = upto;
            let client = self.script.greets.then(|| Arc::from(self.script.client.as_str()));
            if self.script.greets {
                life.taken.insert(self.script.client.clone(), upto);
            }
            batch.name = format!("tcp:{}", self.script.client).into();
            batch.receipt = Some(Receipt::new(client, upto, connection.committed.clone()));
            life.send(batch);
            if dice.chance(0.7) {
                break;
            }
        }
        Ok(())
    }

    /// What the listener says to a greeting, as `source/tcp.rs` has it.
    fn connect(&mut self, life: &mut Life, trace: &mut Trace) -> Result<(), String> {
        let mut framer = Framer::new(0, 1 << 16);
        if self.script.greets {
            let known = life.known(&self.script.client);
            if known < self.stored {
                let client = &self.script.client;
                return Err(format!("{client} heard ACK {}, and is asked for {}", self.stored, known + 1));
            }
            // Where nothing is known of it, a client begins where it would go on.
            let known = if known == 0 { self.acknowledged } else { known };
            trace.note(format!("{} is asked for line {}", self.script.client, known + 1));
            framer = framer.with_next_number(known + 1);
            self.next = known as usize;
        }
        // What this connection hears; over connections, the client's own count goes on.
        let committed = watch::Sender::new(if self.script.greets { life.ledger_of(&self.script.client) } else { 0 });
        self.connection = Some(Connection { framer, committed, taken: 0 });
        Ok(())
    }
}

impl Life {
    fn ledger_of(&self, client: &str) -> u64 {
        use crate::source::tcp::Ledger;
        self.ledger.committed(client)
    }
}
