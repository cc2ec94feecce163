//! The service: sources in, alerts out, until the input ends or somebody says stop.
//!
//! Sources run as tasks and threads of their own and meet in one short channel: when the engine is busy they wait, and so
//! do their senders. One loop owns front, engine and desk, so nothing in them is locked. What the desk tells goes to the
//! courier, whose queues are each receiver's own: a dead receiver never makes a source wait.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::books::{self, Books, ReceiverStatus, Status, StoredLedger, Word};
use super::clock::{Now, Step, Trusted};
use super::heartbeat::{Beat, Beats, Heartbeat, Stages};
use super::journal::{self, Entry};
use super::keeper::{Keeper, Message};
use super::learn::{learn, take_keys};
use super::setup::Setup;
use super::steady::{Falls, News};
use super::watch::Watch;
use super::{clock, own, steady};
use crate::config;
use crate::deliver::config::{Outside, Receiver, Routes, Secret};
use crate::deliver::courier::{self, Behind, Pace};
use crate::deliver::terminal::Look;
use crate::deliver::transport::{Transport, Wall};
use crate::deliver::{self, Moment, Note, compose};
use crate::engine::doctor::Doctor;
use crate::engine::poison;
use crate::engine::{Engine, Front, Judged, Reading, Rejected, Stats};
use crate::limits;
use crate::model::{Alert, HashKeys, Severity, Span, Timestamp, Zone};
use crate::rule::problem::Refusal;
use crate::source::batch::LineBatch;
use crate::source::follow::{self, Follower, Links, Pattern, Until};
use crate::source::frame::Framer;
use crate::source::http::{Intake, Taken};
use crate::source::receipt::Receipt;
use crate::source::tcp::{Acknowledge, Ledger, Listener, NoLedger, TcpSettings};
use crate::source::{self, SourceConfig, SourceError};
use crate::store::disk::{Disk, Real};
use crate::store::{Content, Group, OutboxRow, Position, Store, StoreError};
use crate::web::{self, NoListener, Published};

/// Which files a setup was read from.
pub type Files = Box<dyn Fn(&Setup) -> Vec<PathBuf>>;

/// What the service is made of, besides the rules.
pub struct Live {
    pub sources: Vec<SourceConfig>,
    pub lateness: Span,
    pub look: Look,
    /// The files that a change of is taken up at once.
    pub watched: Files,
    /// History to learn from, unless there is a memory already.
    pub learn_from: Vec<String>,
    /// Reads everything anew, for SIGHUP and changed files.
    pub reload: Box<dyn Fn() -> Result<Setup, Refusal>>,
}

/// What the loop tells its surroundings; the terminal and the files of a command.
pub trait Surroundings {
    /// Alerts, where the configuration names no receiver.
    fn told(&mut self, alerts: &[Alert]) -> io::Result<()>;
    fn rejected(&mut self, source: &str, reject: &Rejected);
    /// A sentence for the operator.
    fn say(&mut self, sentence: &str);
}

#[derive(Debug)]
pub enum LiveError {
    Refused(Refusal),
    Source(SourceError),
    System(io::Error),
    State(StoreError),
    /// What commits has ended by a mistake of ours: nothing can be kept any more, and nothing that was not kept is acknowledged.
    KeeperEnded,
}

impl From<io::Error> for LiveError {
    fn from(error: io::Error) -> LiveError {
        LiveError::System(error)
    }
}

/// How often time is looked at.
const TICK: Duration = Duration::from_millis(50);
/// A source whose lines come within this of their own times lives now; its time passes with the wall clock.
const LIVE: Span = Span::from_secs(300);
/// Where everything waits for a snapshot, how often that is looked at, and at how many looks one is tried.
const SNAPSHOT_LOOK: Duration = Duration::from_millis(200);
const LOOKS: u32 = 5;
/// How often the page for machines learns something new.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);
/// How long rejects are counted before somebody hears of them.
const REJECTS_WINDOW: Duration = Duration::from_secs(300);
/// How long after an alert about ourselves nobody hears of the same cause again.
const TOLD_AGAIN: Duration = Duration::from_secs(600);
/// How often replaced geo databases are looked for.
const GEO_LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often changed rules, lists and configurations are looked for; they are taken up at the second look.
const FILES_LOOK_EVERY: Duration = Duration::from_millis(750);
/// After a start, how long sources of the life before have to come back before what they said is taken as complete.
const COMES_BACK: Duration = Duration::from_secs(8);
/// A longer time between two looks, and it was we who did not listen.
const ASLEEP: Duration = Duration::from_secs(1);
/// A wall clock that was set is believed when it agrees with some source, or after so long.
const STEP_SETTLES: Duration = Duration::from_secs(600);
/// At the end, how long what is on its way may take.
const SOURCES_PATIENCE: Duration = Duration::from_secs(2);
const COURIER_PATIENCE: Duration = Duration::from_secs(6);
/// The same where what is left waits in the state.
const OUTBOX_PATIENCE: Duration = Duration::from_secs(3);
/// A connection that was silent for so long gives its number back.
const FORGET_SOURCE: Duration = Duration::from_secs(3600);

/// Runs until the input ends or SIGTERM or SIGINT comes.
pub fn run(setup: Setup, live: Live, surroundings: &mut dyn Surroundings) -> Result<(Engine, Stats), LiveError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(serve(setup, live, surroundings));
    // The thread that reads stdin cannot be woken; it ends with the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

async fn serve(setup: Setup, live: Live, surroundings: &mut dyn Surroundings) -> Result<(Engine, Stats), LiveError> {
    // Before anybody hears that we run: who edits a file then must not be overlooked.
    let files = Watch::of(&(live.watched)(&setup));
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hung_up = signal(SignalKind::hangup())?;
    let (stop, stopped) = watch::channel(false);
    let (to, mut inbox) = mpsc::channel(limits::BATCHES_WAITING_MAX);
    let (failures_to, mut failures) = mpsc::unbounded_channel();
    let stdin_only = live.sources.iter().all(|it| matches!(it, SourceConfig::Stdin { .. }));
    let (publish, published) = watch::channel(Arc::new(Published::default()));
    if let Some(web) = &setup.config.web {
        let refused = |it: String| LiveError::Refused(Refusal::of(it));
        let listener = web::bind(&web.listen).await.map_err(|it| match it {
            NoListener::Refused(problem) => refused(problem),
            NoListener::Failed(error) => LiveError::Source(source::cannot_listen("web", &web.listen, &error)),
        })?;
        surroundings.say(&format!("health and metrics on http://{}", listener.local_addr()?));
        let token = web.token.as_ref().map(|it| it.from_system().map_err(|it| refused(format!("web.token: {it}"))));
        let door = door(&live, setup.config.limits.line.0 as usize, to.downgrade(), token.transpose()?);
        tokio::spawn(web::serve(listener, published, Some(door), web.hosts.clone()));
    }
    let opened = Opened::open(&setup)?;
    let mut post = Post::start(&setup, live.look, opened.store.is_some())?;
    let line_bytes_max = setup.config.limits.line.0 as usize;
    let way = Way {
        line_bytes_max,
        ledger: opened.ledger.clone(),
        positions: opened.positions()?,
        to,
        stopped,
        failures: failures_to,
    };
    let mut service = Service::start(setup, &live, opened, &mut post, publish, surroundings)?;
    service.beats = post.heart.as_ref().map(|it| it.beats.clone());
    service.tell(&mut post, surroundings).await?;
    for (number, source) in live.sources.iter().enumerate() {
        way.start(number as u16, source, surroundings).await?;
    }
    drop(way);
    service.files = files;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = None;
    let ended = loop {
        tokio::select! {
            biased;
            _ = interrupted.recv() => break false,
            _ = terminated.recv() => break false,
            _ = hung_up.recv() => {
                let paths = (live.watched)(&service.setup);
                let files = Watch::of(&paths);
                let said = service.reload(&live, &mut post);
                surroundings.say(&said);
                let now = (live.watched)(&service.setup);
                service.files = if now == paths { files } else { Watch::of(&now) };
                service.tell(&mut post, surroundings).await?;
            }
            Some(news) = failures.recv() => {
                if let Some(error) = service.hear_of_source(news, surroundings).filter(|_| stdin_only) {
                    failed = Some(LiveError::Source(error));
                }
                service.tell(&mut post, surroundings).await?;
            }
            () = service.keeper_ended() => {
                let text = "a mistake of ours: the part that keeps the state has ended, and so does the service; \
                            what was acknowledged is kept";
                post.tell_now(own::alert("stopped", Severity::Critical, text, clock::now()), surroundings)?;
                failed = Some(LiveError::KeeperEnded);
                break false;
            }
            // Where much waits for the disk nothing more is read: whoever sends waits.
            () = service.has_place(), if service.is_behind => {
                service.tell(&mut post, surroundings).await?;
            }
            batch = inbox.recv(), if !service.is_behind => match batch {
                Some(batch) => {
                    service.take(batch, clock::both(), surroundings);
                    service.tell(&mut post, surroundings).await?;
                }
                None => break true,
            },
            Some(report) = post.hear() => {
                if let Some(word) = post.name_of(&report).and_then(|it| Word::of(&report, it)) {
                    service.hear(word, surroundings);
                    service.tell(&mut post, surroundings).await?;
                }
            }
            _ = ticks.tick() => {
                let now = clock::both();
                if let Some(alert) = service.storage_alert(now) {
                    post.tell_now(alert, surroundings)?;
                }
                // What waits unread may be of a source that seems silent.
                match service.is_behind {
                    true => service.publish(now),
                    false => service.tick(now),
                }
                post.beat(|| service.stages(), now, surroundings);
                if !service.is_behind && service.files_changed(&live) {
                    let said = service.reload(&live, &mut post);
                    surroundings.say(&said);
                }
                service.tell(&mut post, surroundings).await?;
                while let Ok(word) = service.sentences.try_recv() {
                    service.hear(word, surroundings);
                }
            }
        }
    };
    if ended && service.recorder.is_none() {
        // All sources are at their end, as in a replay: what is open resolves at its own time.
        service.engine.finish(&mut service.told);
    } else {
        // With state the log goes on in the next run: what is open stays open.
        stop.send_replace(true);
        let patience = clock::steady() + SOURCES_PATIENCE;
        // A sender that never pauses always has a batch ready, and a timeout looks at its time last.
        while failed.is_none() && clock::steady() < patience {
            if service.is_behind {
                let _ = timeout_at(patience, service.has_place()).await;
            } else {
                let Ok(Some(batch)) = timeout_at(patience, inbox.recv()).await else { break };
                service.take(batch, clock::both(), surroundings);
            }
            service.tell(&mut post, surroundings).await?;
        }
        if ended || service.recorder.is_none() {
            // Where somebody said stop and there is state, what waits for its time waits in it: a restart must change nothing.
            service.flush();
        }
    }
    service.tell(&mut post, surroundings).await?;
    post.end(surroundings).await;
    service.close().await;
    while let Ok(word) = service.sentences.try_recv() {
        surroundings.say(&word.text);
    }
    match failed {
        Some(error) => Err(error),
        None => {
            let stats = service.engine.stats();
            Ok((service.engine, stats))
        }
    }
}

/// Where lines come in by HTTP. Without a source of that kind they are read as by one that says nothing.
fn door(live: &Live, line_bytes_max: usize, to: mpsc::WeakSender<LineBatch>, token: Option<Secret>) -> web::Door {
    let is_http = |it: &SourceConfig| matches!(it, SourceConfig::Http { .. });
    let number = live.sources.iter().position(is_http).unwrap_or(live.sources.len());
    let name = live.sources.get(number).and_then(|it| it.common().name);
    let intake = Arc::new(Intake::new(number as u16, name, line_bytes_max, to));
    let take: web::Take = Box::new(move |posted| {
        let intake = intake.clone();
        Box::pin(async move {
            match intake.take(&posted.body, posted.is_gzip).await {
                Taken::Committed { accepted, rejected } => {
                    let body = serde_json::json!({"accepted": accepted, "rejected": rejected}).to_string();
                    web::Reply { code: 200, body, retry_after: None }
                }
                Taken::Busy => web::Reply::later("the engine is busy"),
                Taken::TooLarge => web::Reply::refused(413, "there is too much in it"),
                Taken::Broken => web::Reply::refused(400, "it is no gzip, or not all of it"),
                Taken::Unknown => {
                    web::Reply::later("it was taken and is not committed yet; sent again it may count twice")
                }
            }
        })
    });
    web::Door::new(token.map(|it| it.expose().to_string()), take)
}

/// What a source needs, from all over the service.
struct Way {
    line_bytes_max: usize,
    ledger: Arc<dyn Ledger>,
    /// How far files were read in the life before; None: nothing is remembered.
    positions: Option<Vec<Position>>,
    to: mpsc::Sender<LineBatch>,
    stopped: watch::Receiver<bool>,
    failures: mpsc::UnboundedSender<News>,
}

impl Way {
    /// Sets a source going.
    async fn start(
        &self,
        number: u16,
        source: &SourceConfig,
        surroundings: &mut dyn Surroundings,
    ) -> Result<(), LiveError> {
        let (to, failures, line_bytes_max) = (self.to.clone(), self.failures.clone(), self.line_bytes_max);
        match source {
            SourceConfig::Stdin { .. } => blocking("stdin", failures, move || {
                let reader = source::stdin::reader(Framer::new(number, line_bytes_max))?;
                source::stdin::forward(reader, &to)
            })?,
            SourceConfig::File { path, follow: true, from, symlinks, .. } => {
                let pattern = Pattern::parse(path).map_err(|it| LiveError::Refused(Refusal::of(it.problem)))?;
                let links = if *symlinks { Links::Followed } else { Links::Refused };
                self.follow(follow::Settings {
                    source: number,
                    pattern,
                    from: *from,
                    links,
                    until: Until::Stopped,
                    line_bytes_max,
                });
            }
            SourceConfig::File { path, .. } => {
                let is_file = std::fs::metadata(path).is_ok_and(|it| it.is_file());
                let reader = source::file::reader(number, path, line_bytes_max).map_err(LiveError::Source)?;
                if self.positions.is_some() && is_file {
                    drop(reader);
                    self.follow(follow::Settings {
                        source: number,
                        pattern: Pattern::literal(path),
                        from: follow::From::Start,
                        links: Links::Followed,
                        until: Until::End,
                        line_bytes_max,
                    });
                } else {
                    blocking("file", failures, move || source::stdin::forward(reader, &to))?;
                }
            }
            SourceConfig::Tcp { listen, ack, name, .. } => {
                let acknowledge = if *ack { Acknowledge::WhenCommitted } else { Acknowledge::Never };
                let settings =
                    TcpSettings { name: name.clone(), line_bytes_max, ..TcpSettings::new(number, listen, acknowledge) };
                let listener = Listener::bind(settings.clone(), self.ledger.clone()).await;
                let listener = listener.map_err(LiveError::Source)?;
                let address = listener.address()?;
                surroundings.say(&format!("listening on {address}"));
                if !address.ip().is_loopback() {
                    surroundings.say("whoever reaches that address may say anything in anybody's name: let a firewall or a tunnel decide who does");
                }
                let again = TcpSettings { listen: address.to_string(), ..settings };
                let falls = Falls::new(listen, failures);
                tokio::spawn(steady::listen(listener, again, self.ledger.clone(), to, falls, self.stopped.clone()));
            }
            SourceConfig::Http { .. } => {
                // The listener takes lines anyway; this is what keeps the run going.
                let mut stopped = self.stopped.clone();
                tokio::spawn(async move {
                    let _ = stopped.wait_for(|it| *it).await;
                    drop(to);
                });
            }
        }
        Ok(())
    }

    fn follow(&self, settings: follow::Settings) {
        let known = self.positions.clone().unwrap_or_default().into_iter().map(|it| (it.0.into(), it.1)).collect();
        let falls = Falls::new(settings.pattern.text(), self.failures.clone());
        let begin = move |known: &[Position]| Follower::new(settings.clone(), known);
        tokio::spawn(steady::follow(begin, known, self.to.clone(), self.failures.clone(), falls, self.stopped.clone()));
    }
}

/// A source that is read to its end by a thread of its own. One that fell is not begun anew: what it had read is gone.
fn blocking(
    name: &str,
    failures: mpsc::UnboundedSender<News>,
    work: impl FnOnce() -> Result<(), SourceError> + Send + 'static,
) -> io::Result<()> {
    let source = name.to_string();
    std::thread::Builder::new().name(source.clone()).spawn(move || {
        let news = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => News::Complaint(error),
            Err(_) => News::Fell { source, gets_up: false },
        };
        // Nobody listens any more at shutdown.
        let _ = failures.send(news);
    })?;
    Ok(())
}

/// Front and engine, and which source is which.
pub struct Service {
    setup: Setup,
    front: Front,
    engine: Engine,
    readings: Vec<(Reading, Span, Option<String>)>,
    /// By name: what they are told about is in one order, whatever the run.
    feeds: BTreeMap<Arc<str>, Feed>,
    judged: Judged,
    told: Vec<Alert>,
    trusted: Trusted,
    last_tick: Instant,
    /// When the wall clock was last set.
    stepped_at: Option<Instant>,
    clock_steps: u64,
    /// When somebody last heard that it was.
    step_told: Option<Instant>,
    doctor: Doctor,
    recorder: Option<Recorder>,
    /// What the keeper has to say to the operator.
    sentences: mpsc::UnboundedReceiver<Word>,
    publish: watch::Sender<Arc<Published>>,
    published_at: Option<Instant>,
    rejected: BTreeMap<&'static str, u64>,
    fired: BTreeMap<String, u64>,
    generation: u64,
    reload_failures: u64,
    geo_watch: crate::enrich::geo::Watch,
    geo_looked_at: Instant,
    files: Watch,
    files_looked_at: Instant,
    /// Much waits for the keeper: nothing is read.
    is_behind: bool,
    /// When people last heard that the state cannot be written.
    storage_told: Option<Instant>,
    /// The same of a line that could not be judged.
    poison_told: Option<Instant>,
    /// The same of sources that fell.
    falls_told: BTreeMap<String, Instant>,
    /// Sources that have fallen, and do not stand yet.
    fallen: BTreeSet<String>,
    /// How often time passed.
    passed: u64,
    beats: Option<Arc<Beats>>,
}

/// What is on its way to the keeper.
pub struct Recorder {
    group: Group,
    receipts: Vec<Receipt>,
    to: mpsc::Sender<Message>,
    status: watch::Receiver<Status>,
    /// Journal bytes since the last snapshot, and how many make one due.
    journaled: usize,
    snapshot_after: usize,
    /// So many make the next one due: more, where the last one failed.
    due: usize,
    /// The one under way holds so many of them.
    offered: Option<usize>,
    /// Looks to go until another one is tried, where all waits for one.
    looks: u32,
    /// How many new databases have had one.
    begun_anew: u64,
    /// How many snapshots are known to have been kept, and to have failed.
    snapshots_known: (u64, u64),
    /// Receivers that the keeper does not know of yet.
    desks: Option<Vec<(String, usize)>>,
    /// The start had to read journal, or what is known is in none: the next one is to be spared that, and a snapshot written at
    /// the end. Where no start has paid yet, writing one might cost more than it ever saves.
    owes: bool,
}

impl Recorder {
    pub fn new(to: mpsc::Sender<Message>, status: watch::Receiver<Status>, snapshot_after: usize) -> Recorder {
        let begun_anew = status.borrow().begun_anew;
        Recorder {
            group: Group::default(),
            receipts: Vec::new(),
            to,
            status,
            journaled: 0,
            snapshot_after,
            due: snapshot_after,
            offered: None,
            looks: 0,
            begun_anew,
            snapshots_known: (0, 0),
            desks: None,
            owes: false,
        }
    }

    fn entry(&mut self, bytes: Vec<u8>) {
        self.journaled += bytes.len();
        self.group.entries.push(bytes);
    }

    /// Sends what there is, if the keeper has a hand free. False: there is much, and it must be waited for.
    fn offer(&mut self) -> bool {
        if self.desks.is_some()
            && let Ok(place) = self.to.clone().try_reserve_owned()
        {
            place.send(Message::Desks(self.desks.take().unwrap_or_default()));
        }
        if self.group.is_empty() && self.receipts.is_empty() {
            return true;
        }
        match self.to.clone().try_reserve_owned() {
            Ok(place) => {
                place.send(self.message());
                true
            }
            Err(_) => self.group.bytes() < limits::GROUP_BYTES_MAX,
        }
    }

    fn message(&mut self) -> Message {
        Message::Group(std::mem::take(&mut self.group), std::mem::take(&mut self.receipts))
    }

    /// A snapshot, if one is due and the keeper has a hand free: after many entries, and where a damaged database was replaced
    /// by a new one, which knows nothing of what came before.
    fn offer_snapshot(&mut self, engine: &Engine) {
        self.hear_of_snapshots();
        let begun_anew = self.status.borrow().begun_anew;
        let mut is_due = self.journaled >= self.due || begun_anew > self.begun_anew;
        if self.awaits_snapshot() {
            self.looks = self.looks.checked_sub(1).unwrap_or(LOOKS);
            is_due |= self.looks == 0;
        }
        // What is not yet on its way to the journal must not be in a snapshot.
        if !is_due || self.offered.is_some() || !self.group.is_empty() {
            return;
        }
        if let Ok(place) = self.to.clone().try_reserve_owned() {
            place.send(Message::Snapshot(engine.save()));
            (self.offered, self.begun_anew) = (Some(self.journaled), begun_anew);
            self.entry(Entry::Rules(engine.rule_names()).encode());
        }
    }

    /// Whether one is to be written before a life ends in order.
    fn wants_snapshot_at_end(&self) -> bool {
        let has_new_database = self.status.borrow().begun_anew > self.begun_anew;
        self.offered.is_none() && (self.owes || has_new_database || self.journaled >= self.snapshot_after)
    }

    /// What became of the snapshot under way.
    fn hear_of_snapshots(&mut self) {
        let known = {
            let status = self.status.borrow();
            (status.snapshots_kept, status.snapshots_failed)
        };
        let before = std::mem::replace(&mut self.snapshots_known, known);
        if known.0 > before.0 {
            self.owes = false;
            self.journaled -= self.offered.take().unwrap_or(0).min(self.journaled);
            self.due = self.snapshot_after;
        } else if known.1 > before.1 {
            self.offered = None;
            self.due = self.journaled + self.snapshot_after / 8;
        }
    }

    /// Snapshots fail, and the journal must not fill what room there is: nothing more is read before there is one.
    fn awaits_snapshot(&self) -> bool {
        self.due > self.snapshot_after && self.journaled > self.snapshot_after + self.snapshot_after / 2
    }
}

/// The state directory, opened, and what was remembered there.
struct Opened {
    store: Option<Store>,
    ledger: Arc<dyn Ledger>,
    stored: Arc<StoredLedger>,
    set_aside: Vec<String>,
}

impl Opened {
    fn open(setup: &Setup) -> Result<Opened, LiveError> {
        let Some(config::State::Dir(folder)) = &setup.config.state else {
            return Ok(Opened {
                store: None,
                ledger: Arc::new(NoLedger),
                stored: Arc::default(),
                set_aside: Vec::new(),
            });
        };
        let opened = Store::open(folder, &books::date(clock::now())).map_err(LiveError::State)?;
        let clients = opened.store.clients().map_err(|problem| unusable(folder, problem))?;
        let stored = Arc::new(StoredLedger::of(clients));
        Ok(Opened { ledger: stored.clone(), stored, store: Some(opened.store), set_aside: opened.set_aside })
    }
}

impl Opened {
    /// How far files were read; None: nothing is remembered.
    fn positions(&self) -> Result<Option<Vec<Position>>, LiveError> {
        let Some(store) = &self.store else { return Ok(None) };
        let all = store.positions(usize::MAX).map_err(|it| unusable(store.folder(), it))?;
        Ok(Some(all.0))
    }
}

fn unusable(folder: &std::path::Path, problem: impl std::fmt::Display) -> LiveError {
    LiveError::State(StoreError::Unusable { folder: folder.display().to_string(), problem: problem.to_string() })
}

/// What a life needs besides what it remembers.
pub struct Wanted<'a> {
    /// Names in the order of the courier's.
    pub receivers: &'a [String],
    /// Journal bytes that make a snapshot due.
    pub snapshot_after: usize,
    pub disk: Arc<dyn Disk>,
}

/// An engine that knows what the life before it knew, and what keeps the two together from now on.
pub struct Revived {
    pub engine: Engine,
    pub recorder: Recorder,
    pub books: Books,
    pub inbox: mpsc::Receiver<Message>,
    /// Journal entries since the snapshot.
    pub entries: u64,
    /// There was nothing to remember.
    pub begins: bool,
    /// What could not be read.
    pub complaints: Vec<String>,
    pub told: Vec<Alert>,
}

/// The way back to life, the same for a first start, an orderly one and one after a crash.
pub fn revive(
    mut store: Store,
    setup: &mut Setup,
    ledger: Arc<StoredLedger>,
    wanted: Wanted<'_>,
    date: &str,
    say: mpsc::UnboundedSender<Word>,
) -> Result<Revived, String> {
    let keys = store.hash_keys((setup.keys.0, setup.keys.1))?;
    setup.keys = HashKeys(keys.0, keys.1);
    let mut told = Vec::new();
    let (engine, recovered) = journal::recover(&store, date, &|| empty(setup), &mut told)?;
    let (to, inbox) = mpsc::channel(1);
    let (status_to, status) = watch::channel(Status::of(&store)?);
    let books = Books::open(store, wanted.disk, keys, ledger, wanted.receivers, status_to, say)?;
    let mut recorder = Recorder::new(to, status, wanted.snapshot_after);
    // Lives that all end before they have written much must not make the next start longer and longer.
    (recorder.journaled, recorder.owes) = (recovered.bytes, recovered.bytes > limits::JOURNAL_BYTES_UNPAID_MAX);
    recorder.entry(Entry::Rules(engine.rule_names()).encode());
    let (entries, complaints) = (recovered.entries, recovered.complaints);
    let begins = recovered.snapshot.is_none() && entries == 0;
    Ok(Revived { engine, recorder, books, inbox, entries, begins, complaints, told })
}

/// One connection, file or stdin.
struct Feed {
    number: u16,
    lateness: Span,
    heard: Instant,
    /// How much of the time since then was no silence: it may still come back, or it was we who did not listen.
    excused: Duration,
    idle: bool,
    /// Since when, and how many lines came and were rejected.
    rejects: Option<(Instant, u64, u64)>,
    /// Its latest lines came about when they say they happened, as the clock was then.
    lived: bool,
}

impl Service {
    /// An engine that remembers what it was told before, or a new one.
    fn start(
        mut setup: Setup,
        live: &Live,
        opened: Opened,
        post: &mut Post,
        publish: watch::Sender<Arc<Published>>,
        surroundings: &mut dyn Surroundings,
    ) -> Result<Service, LiveError> {
        let readings = readings(&setup, live)?;
        // A state that is there already has keys of its own, and they come back with it.
        take_keys(&mut setup, &live.learn_from).map_err(LiveError::Source)?;
        let now = clock::now();
        let (say, sentences) = mpsc::unbounded_channel();
        let mut told: Vec<Alert> = Vec::new();
        let mut complaints = opened.set_aside;
        let (engine, recorder) = match opened.store {
            None => (educated(&setup, live, surroundings)?, None),
            Some(store) => {
                let folder = store.folder().to_path_buf();
                let names: Vec<String> = post.book.receivers.iter().map(|it| it.name.clone()).collect();
                let room = Real.room(&folder).map_or(u64::MAX, |it| it.total / limits::JOURNAL_SHARE);
                let snapshot_after = limits::JOURNAL_BYTES_MAX.min(usize::try_from(room).unwrap_or(usize::MAX));
                let wanted = Wanted { receivers: &names, snapshot_after, disk: Arc::new(Real) };
                let mut revived = revive(store, &mut setup, opened.stored, wanted, &books::date(now), say)
                    .map_err(|it| unusable(&folder, it))?;
                if revived.begins && !live.learn_from.is_empty() {
                    revived.engine = educated(&setup, live, surroundings)?;
                    // What history taught is in no journal: a snapshot follows at the first chance.
                    (revived.recorder.journaled, revived.recorder.owes) = (revived.recorder.snapshot_after, true);
                }
                if !revived.begins {
                    surroundings.say(&format!("remembered: {} journal entries since the snapshot", revived.entries));
                }
                complaints.extend(revived.complaints);
                told.extend(revived.told);
                let reports = post.reports.take().unwrap_or_else(|| mpsc::channel(1).1);
                tokio::spawn(Keeper::new(revived.books, post.courier.clone()).run(revived.inbox, reports));
                (revived.engine, Some(revived.recorder))
            }
        };
        for complaint in &complaints {
            surroundings.say(complaint);
            told.push(own::alert("state-damaged", Severity::High, complaint, now));
        }
        let mut service = Service::new(setup, readings, engine, recorder, sentences, publish, clock::both());
        service.tell_first(told);
        Ok(service)
    }

    pub fn new(
        setup: Setup,
        readings: Vec<(Reading, Span, Option<String>)>,
        engine: Engine,
        recorder: Option<Recorder>,
        sentences: mpsc::UnboundedReceiver<Word>,
        publish: watch::Sender<Arc<Published>>,
        now: Now,
    ) -> Service {
        // Sources of the life before may come back, and have a while for it; those that do not hold nothing up.
        let feed = |(number, name): (u16, String)| {
            // Whether time passes with the wall clock must not wait for their next line: it may never come.
            let lived = engine.heard(number).zip(engine.newest(number)).is_some_and(|(heard, it)| is_near(heard, it));
            let lateness = engine.lateness(number);
            (
                Arc::from(name),
                Feed { number, lateness, heard: now.steady, excused: COMES_BACK, idle: false, rejects: None, lived },
            )
        };
        Service {
            front: setup.front(),
            feeds: engine.open_sources().into_iter().map(feed).collect(),
            trusted: Trusted::start(now, engine.now()),
            engine,
            readings,
            judged: Judged::default(),
            told: Vec::new(),
            last_tick: now.steady,
            stepped_at: None,
            clock_steps: 0,
            step_told: None,
            doctor: Doctor::default(),
            recorder,
            sentences,
            publish,
            published_at: None,
            rejected: BTreeMap::new(),
            fired: BTreeMap::new(),
            generation: 1,
            reload_failures: 0,
            geo_watch: setup.geo.watch(),
            geo_looked_at: now.steady,
            files: Watch::default(),
            files_looked_at: now.steady,
            is_behind: false,
            storage_told: None,
            poison_told: None,
            falls_told: BTreeMap::new(),
            fallen: BTreeSet::new(),
            passed: 0,
            beats: None,
            setup,
        }
    }

    /// A batch of lines: judged, and what came of it recorded.
    pub fn take(&mut self, mut batch: LineBatch, now: Now, surroundings: &mut dyn Surroundings) {
        let now = self.look(now);
        let receipt = batch.receipt.take();
        if let Some(client) = receipt.as_ref().and_then(|it| it.client.clone()) {
            // Who says its name keeps it over connections.
            batch.name = format!("client:{client}").into();
        }
        let positions = std::mem::take(&mut batch.positions);
        if !batch.is_empty() || positions.is_empty() {
            self.judge(batch, now);
            self.watch_rejects(now);
        } else {
            self.judged.rejects.clear();
        }
        if let Some(receipt) = &receipt {
            receipt.judged(self.judged.counts.accepted, self.judged.counts.rejected);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.group.positions.extend(positions);
        }
        for reject in self.judged.rejects.drain(..) {
            // Asked only now: a batch of nothing but positions may come before any source is known.
            let name = self.engine.source_name(self.judged.source);
            *self.rejected.entry(reject.reason).or_default() += 1;
            if reject.reason == poison::REASON
                && self.poison_told.is_none_or(|it| now.steady.saturating_duration_since(it) >= TOLD_AGAIN)
            {
                self.poison_told = Some(now.steady);
                let text =
                    format!("a mistake of ours: line {} of `{name}` could not be judged and was rejected", reject.line);
                self.told.push(own::alert("poison", Severity::High, &text, now.wall));
            }
            surroundings.rejected(name, &reject);
        }
        match (&mut self.recorder, receipt) {
            (Some(recorder), Some(receipt)) => {
                if let Some(client) = &receipt.client {
                    recorder.group.clients.push((client.to_string(), receipt.upto));
                }
                recorder.receipts.push(receipt);
            }
            (None, Some(receipt)) => receipt.committed(),
            (_, None) => {}
        }
        if now.steady.saturating_duration_since(self.last_tick) >= TICK {
            // What waits behind this batch may be of a source that seems silent.
            self.pass(now, 5);
        }
    }

    /// A source of which much is rejected is a source of which nothing is seen: somebody must hear of it.
    fn watch_rejects(&mut self, now: Now) {
        let counts = self.judged.counts;
        let name = self.engine.source_name(self.judged.source).to_string();
        let Some(feed) = self.feeds.get_mut(name.as_str()) else { return };
        let (since, received, rejected) = feed.rejects.get_or_insert((now.steady, 0, 0));
        *received += counts.received;
        *rejected += counts.rejected;
        if now.steady.saturating_duration_since(*since) < REJECTS_WINDOW {
            return;
        }
        let (received, rejected) = (*received, *rejected);
        feed.rejects = None;
        if rejected * 100 > received {
            let text =
                format!("{rejected} of {received} lines of `{name}` in 5 minutes could not be read; see --rejects");
            self.told.push(own::alert("rejects", Severity::Medium, &text, now.wall));
        }
    }

    /// Lets everybody know: by way of the keeper where there is one.
    async fn tell(&mut self, post: &mut Post, surroundings: &mut dyn Surroundings) -> Result<(), LiveError> {
        if self.recorder.is_none() {
            self.count_fired();
            return post.tell(&mut self.told, surroundings).await;
        }
        if post.book.receivers.is_empty() && !self.told.is_empty() {
            surroundings.told(&self.told)?;
        }
        self.is_behind = !self.hand_over(&post.book);
        Ok(())
    }

    /// Something about ourselves: for the operator, and for whoever gets alerts where it is worth one.
    fn hear(&mut self, word: Word, surroundings: &mut dyn Surroundings) {
        surroundings.say(&word.text);
        if let Some(what) = word.alert {
            self.told.push(own::alert(what, Severity::High, &word.text, clock::now()));
        }
    }

    /// Of sources: for the operator; for whoever gets alerts where one has fallen. The error that ends it, where it is the
    /// only one.
    fn hear_of_source(&mut self, news: News, surroundings: &mut dyn Surroundings) -> Option<SourceError> {
        match news {
            News::Complaint(error) => {
                surroundings.say(&error.to_string());
                Some(error)
            }
            News::Stands { source } => {
                self.fallen.remove(&source);
                surroundings.say(&format!("source `{source}` reads again"));
                None
            }
            News::Fell { source, gets_up } => {
                let then = if gets_up { "it is begun anew where it was" } else { "nothing more of it is read" };
                let text = format!("a mistake of ours: source `{source}` has fallen; {then}");
                surroundings.say(&text);
                let now = clock::both();
                let told = self.falls_told.get(&source);
                if told.is_none_or(|it| now.steady.saturating_duration_since(*it) >= TOLD_AGAIN) {
                    self.falls_told.insert(source.clone(), now.steady);
                    self.told.push(own::alert("source-failed", Severity::High, &text, now.wall));
                }
                self.fallen.insert(source.clone());
                let (problem, advice) = ("a mistake of ours".to_string(), String::new());
                (!gets_up).then_some(SourceError { place: source, problem, advice })
            }
        }
    }

    /// How far everything has come that a heartbeat vouches for, but for the courier.
    fn stages(&self) -> Stages {
        Stages {
            judged: self.passed,
            kept: self.recorder.as_ref().map(|it| it.status.borrow().moved),
            courier: Vec::new(),
            trouble: self.fallen.first().map(|it| format!("source `{it}` has fallen")),
        }
    }

    /// Waits until the keeper has a hand free.
    async fn has_place(&self) {
        if let Some(recorder) = &self.recorder {
            // Were it gone, there would be nothing to wait for.
            let _ = recorder.to.reserve().await;
            if recorder.awaits_snapshot() {
                tokio::time::sleep(SNAPSHOT_LOOK).await;
            }
        }
    }

    /// Waits for what must never happen: that the keeper is gone while the service lives.
    pub async fn keeper_ended(&self) {
        match &self.recorder {
            Some(recorder) => recorder.to.closed().await,
            None => std::future::pending().await,
        }
    }

    /// That the state cannot be written, to be told by a way that needs no disk. Once in ten minutes.
    fn storage_alert(&mut self, now: Now) -> Option<Alert> {
        let status = self.recorder.as_ref()?.status.borrow();
        let trouble = status.trouble.as_ref()?;
        if self.storage_told.is_some_and(|it| now.steady.saturating_duration_since(it) < TOLD_AGAIN) {
            return None;
        }
        self.storage_told = Some(now.steady);
        let (what, text) = match status.is_full {
            true => ("storage-full", format!("the disk of the state is full ({trouble})")),
            false => ("storage-failing", format!("the state cannot be written ({trouble})")),
        };
        let text = format!("{text}: no line is taken until it can be kept; what waits is still delivered");
        let alert = own::alert(what, Severity::High, &text, now.wall);
        *self.fired.entry(alert.rule.id.clone()).or_default() += 1;
        Some(alert)
    }

    /// Gives the keeper what there is, if it has a hand free. False: there is much, and it must be waited for.
    pub fn hand_over(&mut self, book: &Book) -> bool {
        self.count_fired();
        self.record(book);
        let Some(recorder) = &mut self.recorder else { return true };
        let is_light = recorder.offer();
        recorder.offer_snapshot(&self.engine);
        is_light && !recorder.awaits_snapshot()
    }

    fn count_fired(&mut self) {
        for alert in self.told.iter().filter(|it| it.state == crate::model::State::Firing) {
            match self.fired.get_mut(&alert.rule.id) {
                Some(count) => *count += 1,
                None => {
                    self.fired.insert(alert.rule.id.clone(), 1);
                }
            }
        }
    }

    /// What is to be told becomes notifications, in the group with the lines that led to it.
    fn record(&mut self, book: &Book) {
        let Some(recorder) = &mut self.recorder else { return };
        let now = self.trusted.wall();
        // In a storm whoever has a tempo is told nearly everything in digests: messages that nobody will see must not hold up
        // those that somebody should.
        let is_storm = self.told.len() > limits::TOLD_AT_ONCE_MAX;
        for alert in self.told.drain(..) {
            let receivers = book.routes.receivers_for(&alert);
            recorder.group.suppressed += u64::from(receivers.is_empty());
            let json = serde_json::to_string(&alert).unwrap_or_default();
            for index in receivers {
                let receiver = &book.receivers[index];
                let body = match is_storm && receiver.at_most.is_some() {
                    true => Vec::new(),
                    false => compose(&receiver.channel, &alert, Moment { now, look: book.look }),
                };
                recorder.group.notes.push(OutboxRow {
                    receiver: receiver.name.clone(),
                    key: deliver::key(&alert),
                    content: Content::pack(&body, &json),
                    since: now.micros(),
                    severity: Some(alert.rule.severity),
                });
            }
        }
    }

    /// Alerts that came up before the first line.
    pub fn tell_first(&mut self, alerts: Vec<Alert>) {
        self.told.extend(alerts);
    }

    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Judges what still waits for its time.
    pub fn flush(&mut self) {
        for feed in self.feeds.values_mut().filter(|it| !it.idle) {
            feed.idle = true;
            if let Some(recorder) = &mut self.recorder {
                recorder.entry(Entry::Idle { source: feed.number, now: self.engine.now() }.encode());
            }
            self.engine.source_is_idle(feed.number, &mut self.told);
        }
        self.engine.flush(&mut self.told);
    }

    /// The end: everything is made durable, with a snapshot if the next start would be slow too often without.
    async fn close(&mut self) {
        let Some(mut recorder) = self.recorder.take() else { return };
        let group = Message::Group(std::mem::take(&mut recorder.group), std::mem::take(&mut recorder.receipts));
        let (done, ended) = tokio::sync::oneshot::channel();
        recorder.hear_of_snapshots();
        let snapshot = recorder.wants_snapshot_at_end().then(|| Message::Snapshot(self.engine.save()));
        let send = async {
            for message in [Some(group), snapshot, Some(Message::End(done))].into_iter().flatten() {
                if recorder.to.send(message).await.is_err() {
                    return;
                }
            }
            let _ = ended.await;
        };
        // A disk that does not answer must not keep us from ending.
        let _ = timeout(Duration::from_secs(3), send).await;
    }

    fn judge(&mut self, mut batch: LineBatch, now: Now) {
        let (reading, lateness, name) = &self.readings[usize::from(batch.source)];
        let name: Arc<str> = name.as_deref().map_or_else(|| batch.name.clone(), Arc::from);
        let engine = &mut self.engine;
        let recorder = &mut self.recorder;
        let feed = self.feeds.entry(name.clone()).or_insert_with(|| {
            if let Some(recorder) = recorder {
                recorder.entry(Entry::Source { name: name.to_string(), lateness: *lateness }.encode());
            }
            let number = engine.add_source(&name, *lateness);
            Feed {
                number,
                lateness: *lateness,
                heard: now.steady,
                excused: Duration::ZERO,
                idle: false,
                rejects: None,
                lived: false,
            }
        });
        if feed.lateness != *lateness {
            // The configuration says something else than in the life before.
            if let Some(recorder) = recorder {
                recorder.entry(Entry::End { source: feed.number, now: engine.now() }.encode());
                recorder.entry(Entry::Source { name: name.to_string(), lateness: *lateness }.encode());
            }
            engine.end_source(feed.number, &mut self.told);
            *feed = Feed { number: engine.add_source(&name, *lateness), lateness: *lateness, ..*feed };
        }
        feed.heard = now.steady;
        feed.excused = Duration::ZERO;
        feed.idle = false;
        batch.source = feed.number;
        self.front.judge(&batch, reading, Some(now.wall), now.wall, &mut self.judged);
        if let Some(skew) = self.doctor.examine(&name, reading.zone, &self.judged.track) {
            let mut alert = own::alert("clock-skew", Severity::Medium, &skew, now.wall);
            alert.rule.tags.push("clock-skew".into());
            self.told.push(alert);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.entry(Entry::batch(&mut self.judged, self.engine.now()));
        }
        self.engine.observe(&mut self.judged, &mut self.told);
        feed.lived = self.engine.newest(feed.number).is_some_and(|it| is_near(now.wall, it));
    }

    /// The time as far as the clocks can be trusted. Where somebody set the wall clock, sources have to say anew that they
    /// live now: or a clock that is wrong by a day would end everything that is open.
    fn look(&mut self, now: Now) -> Now {
        let (now, step) = self.trusted.look(now);
        if let Some(Step(micros)) = step {
            self.stepped_at = Some(now.steady);
            self.clock_steps += 1;
            if self.step_told.is_none_or(|it| now.steady.saturating_duration_since(it) >= TOLD_AGAIN) {
                self.step_told = Some(now.steady);
                let by = micros as f64 / 1e6;
                let text = format!(
                    "the wall clock was set by {by:+.0} s; time goes on as the steady clock and the sources say"
                );
                self.told.push(own::alert("clock-step", Severity::Medium, &text, now.wall));
            }
        }
        now
    }

    /// Lets time pass where nothing was said: no batch waits.
    pub fn tick(&mut self, now: Now) {
        let now = self.look(now);
        self.pass(now, 1);
    }

    /// `patience`: after how many latenesses a source is silent.
    fn pass(&mut self, now: Now, patience: u32) {
        self.passed += 1;
        let asleep = now.steady.saturating_duration_since(self.last_tick);
        self.last_tick = now.steady;
        if asleep >= ASLEEP {
            // Nobody was silent: we did not listen.
            self.feeds.values_mut().for_each(|it| it.excused += asleep);
        }
        let settled = self.stepped_at.is_none_or(|it| now.steady.saturating_duration_since(it) >= STEP_SETTLES);
        let mut lives = false;
        let mut lateness = Span::ZERO;
        for feed in self.feeds.values_mut() {
            lateness = lateness.max(feed.lateness);
            let since = now.steady.saturating_duration_since(feed.heard);
            // After a start the sources have the first word: the clock may have been set while nobody looked.
            let Some(silent) = since.checked_sub(feed.excused) else { continue };
            // A clock that was set since then, and is right now, says anew when that was.
            let heard = now.wall.minus(Span::from_micros(since.as_micros() as i64));
            let newest = self.engine.newest(feed.number);
            lives |= newest.is_some_and(|it| is_near(heard, it)) || settled && feed.lived;
            if !feed.idle && silent >= feed.lateness.to_std().max(TICK) * patience {
                feed.idle = true;
                if let Some(recorder) = &mut self.recorder {
                    recorder.entry(Entry::Idle { source: feed.number, now: self.engine.now() }.encode());
                }
                self.engine.source_is_idle(feed.number, &mut self.told);
            }
        }
        if lives {
            let before = self.told.len();
            self.engine.pass_time(now.wall.minus(lateness), &mut self.told);
            if let Some(recorder) = &mut self.recorder
                && self.told.len() > before
            {
                recorder.entry(Entry::Time { now: now.wall.minus(lateness) }.encode());
            }
        }
        let (engine, told, recorder) = (&mut self.engine, &mut self.told, &mut self.recorder);
        self.feeds.retain(|_, feed| {
            let keep = now.steady.saturating_duration_since(feed.heard) < FORGET_SOURCE;
            if !keep {
                if let Some(recorder) = recorder {
                    recorder.entry(Entry::End { source: feed.number, now: engine.now() }.encode());
                }
                engine.end_source(feed.number, told);
            }
            keep
        });
        if now.steady.saturating_duration_since(self.geo_looked_at) >= GEO_LOOK_EVERY {
            self.geo_looked_at = now.steady;
            self.look_at_geo(now.wall);
        }
        self.publish(now);
    }

    fn publish(&mut self, now: Now) {
        if self.published_at.is_none_or(|it| now.steady.saturating_duration_since(it) >= PUBLISH_EVERY) {
            self.published_at = Some(now.steady);
            let published = self.published();
            self.publish.send_replace(Arc::new(published));
        }
    }

    /// A database file that was replaced is taken up; a broken one is refused, and the old one stays.
    fn look_at_geo(&mut self, now: Timestamp) {
        match self.setup.geo.reload(&mut self.geo_watch) {
            None => {}
            Some(Ok(geo)) => {
                self.setup.geo = Arc::new(geo);
                self.front = self.setup.front();
            }
            Some(Err(error)) => {
                let text = format!("a geo database was refused, the old one stays: {error}");
                self.told.push(own::alert("geo-refused", Severity::Medium, &text, now));
            }
        }
    }

    /// What the page for machines says.
    fn published(&self) -> Published {
        let stats = self.engine.stats();
        let mut out = super::metrics::Metrics::default();
        let counts = stats.counts;
        out.counter("events_received_total", counts.received);
        out.counter("events_accepted_total", counts.accepted);
        out.labelled("events_rejected_total", "reason", self.rejected.iter().map(|(reason, it)| (*reason, *it)));
        out.counter("events_late_total", stats.late);
        out.labelled("events_clamped_total", "kind", [("future", stats.suspect)].into_iter());
        out.labelled("hits_total", "rule", self.engine.by_rule().map(|(rule, hits, _)| (rule, hits)));
        out.labelled("alerts_fired_total", "rule", self.fired.iter().map(|(rule, it)| (rule.as_str(), *it)));
        out.labelled("alerts_shadowed_total", "rule", self.engine.shadowed());
        out.gauge("config_generation", self.generation as f64);
        out.counter("reload_failures_total", self.reload_failures);
        out.gauge("entities", stats.entities as f64);
        let memory: Vec<_> = self.engine.memory_by_rule().collect();
        out.gauges("state_bytes", "rule", memory.iter().map(|(rule, bytes, _)| (*rule, *bytes as f64)));
        out.gauges("state_mode", "rule", memory.iter().map(|(rule, _, sketch)| (*rule, f64::from(u8::from(*sketch)))));
        out.labelled(
            "alerts_unlisted_total",
            "reason",
            [("memory", stats.unlisted), ("cut-short", stats.cut_short)].into_iter(),
        );
        out.counter("hits_hurried_total", stats.hurried);
        out.labelled("stumbles_total", "rule", self.engine.stumbles());
        out.counter("clock_steps_total", self.clock_steps);
        let mut reasons = Vec::new();
        if let Some(recorder) = &self.recorder {
            let status = recorder.status.borrow();
            out.counter("notifications_fired_total", status.fired);
            out.counter("notifications_delivered_total", status.delivered);
            out.labelled("alerts_suppressed_total", "reason", [("no-route", status.suppressed)].into_iter());
            out.counter("alerts_expired_total", status.expired);
            out.gauge("notifications_pending", status.pending as f64);
            let receivers = || status.receivers.iter();
            out.gauges("outbox_pending", "receiver", receivers().map(|it| (it.name.as_str(), it.pending as f64)));
            let results = |it: &'_ ReceiverStatus| [(it.delivered, "delivered"), (it.expired, "expired")];
            let deliveries =
                receivers().flat_map(|it| results(it).map(|(count, result)| (it.name.as_str(), result, count)));
            out.labelled_twice("deliveries_total", ["receiver", "result"], deliveries);
            out.gauge("commit_seconds", status.commit_seconds);
            reasons.extend(status.is_full.then(|| "storage_full".to_string()));
            reasons.extend(status.trouble.iter().map(|it| format!("storage: {it}")));
            let waits =
                recorder.awaits_snapshot().then(|| "storage: nothing is read before a snapshot finds room".to_string());
            reasons.extend(waits);
        }
        reasons.extend(self.fallen.iter().map(|it| format!("source_failed: {it}")));
        if let Some(beats) = &self.beats {
            let results = [("sent", &beats.sent), ("failed", &beats.failed), ("withheld", &beats.withheld)];
            out.labelled("heartbeats_total", "result", results.map(|it| (it.0, it.1.load(Relaxed))).into_iter());
        }
        Published { ready: true, reasons, metrics: out.text() }
    }

    /// Whether rules, schemas, lists or the configuration say something else than before.
    fn files_changed(&mut self, live: &Live) -> bool {
        let now = self.last_tick;
        if now.saturating_duration_since(self.files_looked_at) < FILES_LOOK_EVERY {
            return false;
        }
        self.files_looked_at = now;
        self.files.has_changed(&(live.watched)(&self.setup))
    }

    /// New rules, receivers and routes between two batches; the old ones stay when the new ones cannot be used.
    fn reload(&mut self, live: &Live, post: &mut Post) -> String {
        let prepared = (live.reload)().and_then(|setup| Ok((post.prepare(&setup)?, setup)));
        match prepared {
            Ok((seats, mut setup)) => {
                setup.keys = self.setup.keys;
                self.flush();
                let kept = self.engine.adopt(setup.set.clone(), &mut self.told);
                if !post.book.receivers.is_empty() {
                    // What was found by the old rules goes to whom the old routes name.
                    self.count_fired();
                    self.record(&post.book);
                }
                let desks = post.adopt(seats);
                self.beats = post.heart.as_ref().map(|it| it.beats.clone());
                if let Some(recorder) = &mut self.recorder {
                    recorder.entry(Entry::Rules(self.engine.rule_names()).encode());
                    recorder.desks = Some(desks);
                }
                self.generation += 1;
                self.front = setup.front();
                self.geo_watch = setup.geo.watch();
                let text = format!(
                    "reloaded: {} rules, {kept} of them unchanged and with their memory{}",
                    setup.set.rules.len(),
                    later(&self.setup.config, &setup.config)
                );
                self.setup = setup;
                text
            }
            Err(refusal) => {
                self.reload_failures += 1;
                self.told.push(own::alert(
                    "reload-refused",
                    Severity::Medium,
                    "new rules were refused; the rules in force stay",
                    clock::now(),
                ));
                let shown: String = refusal.problems.iter().map(|it| it.show(false)).collect();
                format!("{shown}not reloaded: the rules in force stay")
            }
        }
    }
}

/// What of a new configuration is taken up at the next start only, as the end of a sentence.
fn later(old: &config::Config, new: &config::Config) -> String {
    let changed =
        [("sources", old.sources != new.sources), ("state", old.state != new.state), ("web", old.web != new.web)];
    let names: Vec<&str> = changed.iter().filter(|it| it.1).map(|it| it.0).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; changes of {} are taken up at the next start", names.join(" and ")),
    }
}

fn is_near(a: Timestamp, b: Timestamp) -> bool {
    a.since(b) <= LIVE && b.since(a) <= LIVE
}

/// An engine without a past, but with history behind it where some is named.
fn educated(setup: &Setup, live: &Live, surroundings: &mut dyn Surroundings) -> Result<Engine, LiveError> {
    let mut engine = empty(setup);
    if !live.learn_from.is_empty() {
        let learned = learn(setup, &live.learn_from, live.lateness, clock::now()).map_err(LiveError::Source)?;
        engine.take_lessons(&learned.lessons).map_err(|it| LiveError::Refused(Refusal::of(it)))?;
        surroundings.say(&learned.sentence());
    }
    Ok(engine)
}

/// An engine that remembers nothing.
pub fn empty(setup: &Setup) -> Engine {
    let mut engine = Engine::new(setup.set.clone(), setup.keys, 1);
    engine.limit(setup.config.limits.memory.0);
    engine
}

/// How each configured source is read: format and zone, lateness, and the name it goes by.
fn readings(setup: &Setup, live: &Live) -> Result<Vec<(Reading, Span, Option<String>)>, LiveError> {
    let refused = |what: String| LiveError::Refused(Refusal::of(what));
    let reading = |source: &SourceConfig| {
        let common = source.common();
        let format = match common.format {
            None | Some("auto") => setup.reading.format,
            Some(name) => Some(
                crate::format::find(name)
                    .ok_or_else(|| refused(format!("a source names the format `{name}`, which there is not")))?,
            ),
        };
        let zone = match common.zone {
            None => Zone::UTC,
            Some(text) => Zone::parse(text)
                .ok_or_else(|| refused(format!("`{text}` is no time zone; write UTC, +02:00 or Europe/Athens")))?,
        };
        Ok((Reading { format, zone }, common.lateness.unwrap_or(live.lateness), common.name.map(str::to_string)))
    };
    // And one more for lines by HTTP, where no source says how they are read.
    let http = SourceConfig::Http { format: None, zone: None, lateness: None, name: None };
    live.sources.iter().chain([&http]).map(reading).collect()
}

/// Who hears of what.
pub struct Book {
    pub receivers: Vec<Arc<Receiver>>,
    pub routes: Routes,
    pub look: Look,
}

/// Routes and the courier; the terminal where there are no receivers.
struct Post {
    book: Book,
    /// For each receiver of the book, its desk at the courier's.
    desks: Vec<usize>,
    /// Every receiver that has a desk: also those that were taken out, which still get what is on its way to them.
    seated: Vec<(usize, Arc<Receiver>)>,
    courier: courier::Handle,
    /// What became of notifications: the keeper takes it, where there is one.
    reports: Option<mpsc::Receiver<courier::Report>>,
    outbox: bool,
    heart: Option<Heartbeat>,
}

/// Receivers and routes of a configuration, ready to be used.
struct Seats {
    receivers: Vec<Seat>,
    routes: Routes,
    heart: Option<(Transport, Span)>,
}

enum Seat {
    /// As it was: nothing is interrupted.
    Kept(usize, Arc<Receiver>),
    New(Arc<Receiver>, Box<Transport>),
}

impl Seat {
    fn receiver(&self) -> &Arc<Receiver> {
        match self {
            Seat::Kept(_, receiver) | Seat::New(receiver, _) => receiver,
        }
    }
}

impl Post {
    /// With an outbox behind it, the courier reports the end of every notification.
    fn start(setup: &Setup, look: Look, outbox: bool) -> Result<Post, LiveError> {
        let wall: Wall = Arc::new(clock::now);
        let clock = courier::Clock { wall, steady: Arc::new(clock::steady) };
        let behind = if outbox { Behind::Outbox } else { Behind::Nothing };
        let pace = Pace { seed: setup.keys.0, behind, ..Pace::default() };
        let (report, reports) = mpsc::channel(1024);
        let dead_letters = setup.config.dead_letters.clone().unwrap_or_else(|| PathBuf::from("dead-letters.ndjson"));
        let courier = courier::Handle::new(clock, pace, Some(dead_letters), Some(report));
        let mut post = Post {
            book: Book { receivers: Vec::new(), routes: Routes::none(), look },
            desks: Vec::new(),
            seated: Vec::new(),
            courier,
            reports: Some(reports),
            outbox,
            heart: None,
        };
        let seats = post.prepare(setup).map_err(LiveError::Refused)?;
        post.adopt(seats);
        Ok(post)
    }

    /// Receivers and routes as a configuration has them, changing nothing yet.
    fn prepare(&self, setup: &Setup) -> Result<Seats, Refusal> {
        let refused = |problems: Vec<crate::deliver::config::Problem>| {
            let text: Vec<String> = problems.iter().map(|it| it.to_string()).collect();
            Refusal::of(text.join("\n"))
        };
        let receivers =
            crate::deliver::config::resolve(&setup.config.receivers, &Outside::system()).map_err(refused)?;
        let names: Vec<&str> = receivers.iter().map(|it| it.name.as_str()).collect();
        let routes = Routes::resolve(&setup.config.routes, &names).map_err(refused)?;
        let seat = |receiver: Receiver| {
            let is_same = |it: &&(usize, Arc<Receiver>)| it.1.name == receiver.name && it.1.print == receiver.print;
            if let Some((desk, receiver)) = self.seated.iter().find(is_same) {
                return Ok(Seat::Kept(*desk, receiver.clone()));
            }
            let receiver = Arc::new(receiver);
            let transport = Transport::new(receiver.clone(), Arc::new(clock::now)).map_err(Refusal::of)?;
            Ok(Seat::New(receiver, Box::new(transport)))
        };
        let receivers = receivers.into_iter().map(seat).collect::<Result<Vec<_>, Refusal>>()?;
        let heart = setup.config.heartbeat.as_ref().map(|it| {
            let receiver = receivers.iter().map(Seat::receiver).find(|seat| seat.name == it.to);
            let problem = it.problem(&setup.config).map(|it| format!("heartbeat.{}: {}", it.0, it.1));
            match (receiver, problem) {
                (Some(receiver), None) => {
                    let transport = Transport::new(receiver.clone(), Arc::new(clock::now)).map_err(Refusal::of)?;
                    Ok((transport, it.every))
                }
                (_, problem) => Err(Refusal::of(problem.unwrap_or_default())),
            }
        });
        Ok(Seats { receivers, routes, heart: heart.transpose()? })
    }

    /// From now on alerts go there; the name of each receiver and its desk.
    fn adopt(&mut self, seats: Seats) -> Vec<(String, usize)> {
        let (mut receivers, mut desks) = (Vec::new(), Vec::new());
        for seat in seats.receivers {
            let (desk, receiver) = match seat {
                Seat::Kept(desk, receiver) => (desk, receiver),
                Seat::New(receiver, transport) => {
                    let (desk, work) = self.courier.add(&receiver.name, *transport);
                    tokio::spawn(work);
                    (desk, receiver)
                }
            };
            for (replaced, _) in self.seated.extract_if(.., |it| it.1.name == receiver.name && it.0 != desk) {
                self.courier.retire(replaced);
            }
            if !self.seated.iter().any(|it| it.0 == desk) {
                self.seated.push((desk, receiver.clone()));
            }
            receivers.push(receiver);
            desks.push(desk);
        }
        let now = clock::steady();
        self.heart = seats.heart.map(|(transport, every)| Heartbeat::new(transport, every.to_std(), now));
        self.book = Book { receivers, routes: seats.routes, look: self.book.look };
        self.desks = desks;
        self.book.receivers.iter().map(|it| it.name.clone()).zip(self.desks.iter().copied()).collect()
    }

    /// Hands alerts to everybody who should hear of them.
    async fn tell(&mut self, alerts: &mut Vec<Alert>, surroundings: &mut dyn Surroundings) -> Result<(), LiveError> {
        if alerts.is_empty() {
            return Ok(());
        }
        if self.book.receivers.is_empty() {
            let result = surroundings.told(alerts);
            alerts.clear();
            return Ok(result?);
        }
        let moment = Moment { now: clock::now(), look: self.book.look };
        for alert in alerts.drain(..) {
            let alert = Arc::new(alert);
            for receiver in self.book.routes.receivers_for(&alert) {
                let note = Note::new(&self.book.receivers[receiver], alert.clone(), moment);
                if self.courier.send(self.desks[receiver], note).await.is_err() {
                    surroundings.say(&format!(
                        "receiver `{}` has ended; alert {} was not sent",
                        self.book.receivers[receiver].name, alert.id
                    ));
                }
            }
        }
        Ok(())
    }

    /// The heartbeat, where one is due: past the outbox, for one that comes late says nothing.
    fn beat(&mut self, stages: impl FnOnce() -> Stages, now: Now, surroundings: &mut dyn Surroundings) {
        let Some(heart) = self.heart.as_mut().filter(|it| it.is_due(now.steady)) else { return };
        let stages = Stages { courier: self.courier.standing(), ..stages() };
        match heart.beat(stages, now.steady, now.wall) {
            None => {}
            Some(Beat::Send(sending)) => drop(tokio::spawn(sending.send())),
            Some(Beat::Withheld(why)) => surroundings.say(&why),
        }
    }

    /// What the courier has to say, where no keeper hears it; None: there is one.
    async fn hear(&mut self) -> Option<courier::Report> {
        self.reports.as_mut()?.recv().await
    }

    /// Of the receiver that a report is about.
    fn name_of(&self, report: &courier::Report) -> Option<&str> {
        let desk = report.about()?;
        self.seated.iter().find(|it| it.0 == desk).map(|it| it.1.name.as_str())
    }

    /// Tells at once whoever has a hand free, past the outbox: for what must be heard when that cannot be written.
    fn tell_now(&self, alert: Alert, surroundings: &mut dyn Surroundings) -> Result<(), LiveError> {
        let alert = Arc::new(alert);
        if self.book.receivers.is_empty() {
            return Ok(surroundings.told(&[Alert::clone(&alert)])?);
        }
        let moment = Moment { now: clock::now(), look: self.book.look };
        for receiver in self.book.routes.receivers_for(&alert) {
            // Whoever has no room for it is in trouble of its own.
            let note = Note::new(&self.book.receivers[receiver], alert.clone(), moment);
            let _ = self.courier.offer(self.desks[receiver], note);
        }
        Ok(())
    }

    async fn end(self, surroundings: &mut dyn Surroundings) {
        let patience = if self.outbox { OUTBOX_PATIENCE } else { COURIER_PATIENCE };
        // The courier waits for whoever listens; from now on nobody does.
        drop(self.reports);
        let left = self.courier.drain(patience).await.left;
        if left > 0 {
            let place = if self.outbox { "they wait in the state" } else { "they are in the dead-letter file" };
            surroundings.say(&format!("{left} notifications could not be delivered; {place}"));
        }
    }
}

/// Writes to standard output at once.
pub fn write_all(alerts: &[Alert], look: Look) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for alert in alerts {
        out.write_all(crate::deliver::terminal::compose(alert, look).as_bytes())?;
    }
    out.flush()
}
