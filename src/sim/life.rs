//! One life of the process, from the start to the crash: the real service, books and decisions, driven step by step.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Bug;
use super::dice::Dice;
use super::disk::SimDisk;
use super::input::LATENESS;
use super::people::{Desk, Person, Weather, pace};
use crate::config::Config;
use crate::deliver::courier::Report;
use crate::engine::{Reading, Rejected, RuleSet, Stats};
use crate::enrich::geo::Geo;
use crate::model::{Alert, HashKeys, Zone};
use crate::rule::load::Loaded;
use crate::runtime::books::{Pending, Status, StoredLedger, date};
use crate::runtime::clock::Now;
use crate::runtime::journal::Entry;
use crate::runtime::keeper::Message;
use crate::runtime::live::{Book, Service, Surroundings, Wanted, revive};
use crate::runtime::setup::Setup;
use crate::source::batch::LineBatch;
use crate::source::tcp::Ledger;
use crate::store::{Fault, Group, Store};
use crate::web::Published;

pub const FOLDER: &str = "state";
/// So many batches wait for the service; then their senders do.
const INBOX: usize = 8;

pub struct Life {
    pub number: u64,
    /// Journal entries that it was told again.
    pub entries: u64,
    service: Service,
    books: crate::runtime::books::Books,
    messages: mpsc::Receiver<Message>,
    pub ledger: Arc<StoredLedger>,
    /// Of each client, the last line taken in this life.
    pub taken: BTreeMap<String, u64>,
    inbox: VecDeque<LineBatch>,
    reports: VecDeque<Report>,
    desks: Vec<Desk>,
    busy: Option<Busy>,
    /// The keeper leaves a failed disk alone until then.
    rests_until: Option<Instant>,
    retry: Option<Pending>,
    has_news: bool,
    /// What was found damaged.
    pub set_aside: Option<String>,
    _published: watch::Receiver<Arc<Published>>,
}

/// A commit under way.
struct Busy {
    until: Instant,
    done: Done,
}

enum Done {
    Commit(Pending, Store, Result<Vec<u64>, Fault>),
    Snapshot(Store, Result<(), Fault>),
}

/// What stays the same from life to life.
pub struct Fixed {
    pub set: Arc<RuleSet>,
    pub book: Book,
    pub expiry: Option<Duration>,
    pub snapshot_after: usize,
    pub bug: Bug,
}

struct Nobody;

impl Surroundings for Nobody {
    fn told(&mut self, _alerts: &[Alert]) -> std::io::Result<()> {
        Ok(())
    }

    fn rejected(&mut self, _source: &str, _reject: &Rejected) {}

    fn say(&mut self, _sentence: &str) {}
}

impl Life {
    /// A start by the way that every start goes. The error: the state cannot be opened now.
    pub fn start(fixed: &Fixed, disk: &SimDisk, number: u64, now: Now, seed: u64) -> Result<Life, String> {
        let mut setup = Setup {
            config: Config::default(),
            loaded: Loaded::default(),
            set: fixed.set.clone(),
            geo: Arc::new(Geo::none()),
            reading: Reading { format: None, zone: Zone::UTC },
            keys: HashKeys(seed, !seed),
        };
        let disk = Arc::new(disk.clone());
        let day = date(now.wall);
        let opened = Store::open_on(Path::new(FOLDER), &day, disk.clone()).map_err(|it| it.to_string())?;
        let ledger = Arc::new(StoredLedger::of(opened.store.clients()?));
        let names: Vec<String> = fixed.book.receivers.iter().map(|it| it.name.clone()).collect();
        let wanted = Wanted { receivers: &names, snapshot_after: fixed.snapshot_after, disk };
        let (say, sentences) = mpsc::unbounded_channel();
        let revived = revive(opened.store, &mut setup, ledger.clone(), wanted, &day, say)?;
        let entries = revived.entries;
        let (publish, published) = watch::channel(Arc::new(Published::default()));
        let reading = (setup.reading.clone(), LATENESS, None);
        let (engine, recorder) = (revived.engine, Some(revived.recorder));
        let mut service = Service::new(setup, vec![reading], engine, recorder, sentences, publish, now);
        service.tell_first(revived.told);
        let desks = (0..names.len()).map(|it| Desk::new(it, pace(fixed.expiry, seed), seed ^ it as u64)).collect();
        Ok(Life {
            number,
            entries,
            service,
            books: revived.books,
            messages: revived.inbox,
            ledger,
            taken: BTreeMap::new(),
            inbox: VecDeque::new(),
            reports: VecDeque::new(),
            desks,
            busy: None,
            rests_until: None,
            retry: None,
            has_news: true,
            set_aside: opened.set_aside.into_iter().chain(revived.complaints).next(),
            _published: published,
        })
    }

    /// The last line that counts as taken from a client: here, or in a life before.
    pub fn known(&self, client: &str) -> u64 {
        self.taken.get(client).copied().unwrap_or_else(|| self.ledger.committed(client))
    }

    /// The database was begun anew: it knows no client.
    pub fn has_lost_clients(&self) -> bool {
        self.set_aside.is_some()
    }

    pub fn has_room(&self) -> bool {
        self.inbox.len() < INBOX
    }

    pub fn send(&mut self, batch: LineBatch) {
        self.inbox.push_back(batch);
    }

    pub fn stats(&self) -> Stats {
        self.service.stats()
    }

    /// The service takes a batch, if there is one and the keeper is not too far behind.
    pub fn take(&mut self, fixed: &Fixed, now: Now) {
        if self.service.hand_over(&fixed.book)
            && let Some(batch) = self.inbox.pop_front()
        {
            self.service.take(batch, now, &mut Nobody);
            self.service.hand_over(&fixed.book);
        }
    }

    pub fn tick(&mut self, fixed: &Fixed, now: Now) {
        if self.service.hand_over(&fixed.book) && self.inbox.is_empty() {
            self.service.tick(now);
            self.service.hand_over(&fixed.book);
        }
    }

    /// What the keeper's task does, as far as it gets by now.
    pub fn keep(&mut self, fixed: &Fixed, disk: &SimDisk, dice: &mut Dice, now: Now, trace: &mut dyn FnMut(String)) {
        while let Some(report) = self.reports.pop_front() {
            self.books.report(report);
        }
        if let Some(Busy { until, done }) = self.busy.take() {
            if now.steady < until {
                self.busy = Some(Busy { until, done });
                return;
            }
            self.done(done, now, trace);
        }
        if self.rests_until.is_some_and(|it| now.steady < it) {
            return;
        }
        self.rests_until = None;
        if let Some(mut pending) = self.retry.take() {
            self.forget(&mut pending, now);
            self.commit(pending, disk, now);
            return;
        }
        match self.messages.try_recv() {
            Ok(Message::Group(mut group, receipts)) => {
                if fixed.bug == Bug::DropTick {
                    drop_tick(&mut group, dice);
                }
                let receipts = match fixed.bug == Bug::AckFirst {
                    true => {
                        receipts.into_iter().for_each(crate::source::receipt::Receipt::committed);
                        Vec::new()
                    }
                    false => receipts,
                };
                if let Some(pending) = self.books.begin(group, receipts) {
                    self.commit(pending, disk, now);
                }
            }
            Ok(Message::Snapshot(pieces)) => {
                if let Some(mut store) = self.books.lend_for_snapshot(&pieces, &date(now.wall)) {
                    let result = store.keep_snapshot(&pieces);
                    trace(format!("snapshot {}", result.is_ok()));
                    self.wait(disk, now, Done::Snapshot(store, result));
                }
            }
            Ok(Message::Desks(_) | Message::End(_)) | Err(_) => {
                if self.books.has_ended()
                    && let Some(pending) = self.books.begin(Group::default(), Vec::new())
                {
                    self.commit(pending, disk, now);
                }
                self.pump(now);
            }
        }
    }

    /// What ended goes before a group that cannot be written, and what it took up is given back.
    fn forget(&mut self, pending: &mut Pending, now: Now) {
        let day = date(now.wall);
        if let Some(ahead) = self.books.ahead_of(pending, &day) {
            match self.books.lend_for(ahead, &day) {
                Err(ahead) => self.books.keep_ended(ahead),
                Ok((ahead, mut store)) => {
                    let result = store.commit(&ahead.group);
                    if let Err(ahead) = self.books.tried(ahead, store, result, Duration::ZERO) {
                        self.books.keep_ended(ahead);
                    }
                }
            }
        }
        self.measure(pending);
    }

    fn measure(&mut self, pending: &Pending) {
        if let Some(mut store) = self.books.lend_to_measure(pending) {
            let spare = store.spare();
            self.books.measured(store, spare);
        }
    }

    fn commit(&mut self, pending: Pending, disk: &SimDisk, now: Now) {
        self.measure(&pending);
        match self.books.lend_for(pending, &date(now.wall)) {
            Err(pending) => {
                self.retry = Some(pending);
                self.rests_until = Some(now.steady + Duration::from_millis(500));
            }
            Ok((pending, mut store)) => {
                let result = store.commit(&pending.group);
                self.wait(disk, now, Done::Commit(pending, store, result));
            }
        }
    }

    fn wait(&mut self, disk: &SimDisk, now: Now, done: Done) {
        self.busy = Some(Busy { until: now.steady + Duration::from_millis(disk.take_stall()), done });
    }

    fn done(&mut self, done: Done, now: Now, trace: &mut dyn FnMut(String)) {
        self.has_news = true;
        match done {
            Done::Commit(pending, store, result) => {
                trace(format!("commit {} {:?}", pending.group.number, result.as_ref().map(Vec::len)));
                if let Err(again) = self.books.tried(pending, store, result, Duration::ZERO) {
                    self.retry = Some(again);
                    self.rests_until = Some(now.steady + Duration::from_millis(500));
                }
            }
            Done::Snapshot(store, result) => self.books.snapshot_tried(store, result),
        }
        self.pump(now);
    }

    fn pump(&mut self, now: Now) {
        let desks = &mut self.desks;
        self.books.pump(now.wall, &mut |receiver, note| desks[receiver].offer(note, now.steady));
    }

    /// Everything that receivers and the courier do by now.
    pub fn deliver(
        &mut self,
        people: &mut [Person],
        weather: Weather,
        dice: &mut Dice,
        now: Now,
        trace: &mut dyn FnMut(String),
    ) -> Result<(), String> {
        let Life { desks, reports, number, .. } = self;
        for (desk, person) in desks.iter_mut().zip(people) {
            desk.step(person, weather, dice, now.steady, now.wall, *number, reports, trace)?;
        }
        Ok(())
    }

    /// What is committed; None while the store is in work.
    pub fn status(&mut self) -> Option<Status> {
        self.books.status()
    }

    /// The same, if something was committed since it was last asked.
    pub fn news(&mut self) -> Option<Status> {
        if std::mem::take(&mut self.has_news) { self.books.status() } else { None }
    }

    /// Nothing is on its way anywhere.
    pub fn is_calm(&self) -> bool {
        self.inbox.is_empty()
            && self.busy.is_none()
            && self.retry.is_none()
            && self.messages.is_empty()
            && self.reports.is_empty()
            && !self.books.has_ended()
            && self.desks.iter().all(Desk::is_idle)
    }

    /// The keeper is lost, and the service hears of it.
    #[cfg(test)]
    pub async fn lose_keeper(mut self) {
        tokio::select! {
            biased;
            () = self.service.keeper_ended() => panic!("it is there"),
            () = std::future::ready(()) => {}
        }
        self.messages.close();
        self.service.keeper_ended().await;
    }

    /// SIGTERM: what has come is judged, what was judged is written. False: the disk did not let us.
    pub fn end(
        mut self,
        fixed: &Fixed,
        disk: &SimDisk,
        dice: &mut Dice,
        now: Now,
        trace: &mut dyn FnMut(String),
    ) -> bool {
        while let Some(batch) = self.inbox.pop_front() {
            self.service.take(batch, now, &mut Nobody);
        }
        for _ in 0..100 {
            self.service.hand_over(&fixed.book);
            self.busy.iter_mut().for_each(|it| it.until = now.steady);
            self.rests_until = None;
            self.keep(fixed, disk, dice, now, trace);
            if disk.is_dead() {
                return false;
            }
            if self.busy.is_none() && self.retry.is_none() && self.messages.is_empty() && !self.books.has_ended() {
                return true;
            }
        }
        false
    }
}

/// The planted mistake: time passed, and nobody wrote it down.
fn drop_tick(group: &mut Group, dice: &mut Dice) {
    let is_tick =
        |it: &Vec<u8>| matches!(postcard::from_bytes::<Entry>(it), Ok(Entry::Idle { .. } | Entry::Time { .. }));
    if let Some(at) = group.entries.iter().position(is_tick)
        && dice.chance(0.2)
    {
        group.entries.remove(at);
    }
}
