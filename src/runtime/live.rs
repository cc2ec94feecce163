//! The service: sources in, alerts out, until the input ends or somebody says stop.
//!
//! Sources run as tasks and threads of their own and meet in one short channel: when the engine is busy they wait, and so
//! do their senders. One loop owns front, engine and desk, so nothing in them is locked. What the desk tells goes to the
//! courier, whose queues are each receiver's own: a dead receiver never makes a source wait.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use super::clock;
use super::setup::Setup;
use crate::deliver::config::{Outside, Receiver, Routes};
use crate::deliver::courier::{self, Pace};
use crate::deliver::terminal::Look;
use crate::deliver::transport::{Transport, Wall};
use crate::deliver::{Moment, Note};
use crate::engine::{Engine, Front, Judged, Reading, Rejected, Stats};
use crate::limits;
use crate::model::{Alert, Span, Timestamp, Zone};
use crate::rule::problem::Refusal;
use crate::source::batch::LineBatch;
use crate::source::frame::Framer;
use crate::source::tcp::{Acknowledge, Listener, NoLedger, TcpSettings};
use crate::source::{self, SourceConfig, SourceError};

/// What the service is made of, besides the rules.
pub struct Live {
    pub sources: Vec<SourceConfig>,
    pub lateness: Span,
    pub look: Look,
    /// Reads everything anew, for SIGHUP.
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
/// At the end, how long what is on its way may take.
const SOURCES_PATIENCE: Duration = Duration::from_secs(2);
const COURIER_PATIENCE: Duration = Duration::from_secs(6);
/// A connection that was silent for so long gives its number back.
const FORGET_SOURCE: Span = Span::from_secs(3600);

/// Runs until the input ends or SIGTERM or SIGINT comes.
pub fn run(setup: Setup, live: Live, surroundings: &mut dyn Surroundings) -> Result<(Engine, Stats), LiveError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(serve(setup, live, surroundings));
    // The thread that reads stdin cannot be woken; it ends with the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

async fn serve(setup: Setup, live: Live, surroundings: &mut dyn Surroundings) -> Result<(Engine, Stats), LiveError> {
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hung_up = signal(SignalKind::hangup())?;
    let (stop, stopped) = watch::channel(false);
    let (to, mut inbox) = mpsc::channel(limits::BATCHES_WAITING_MAX);
    let (failures_to, mut failures) = mpsc::unbounded_channel();
    let stdin_only = live.sources.iter().all(|it| matches!(it, SourceConfig::Stdin { .. }));
    for (number, source) in live.sources.iter().enumerate() {
        let line_bytes_max = setup.config.limits.line.0 as usize;
        start(number as u16, source, line_bytes_max, &to, &stopped, &failures_to, surroundings).await?;
    }
    drop((to, failures_to));
    let mut post = Post::start(&setup, live.look)?;
    let mut service = Service::new(setup, &live)?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = None;
    let ended = loop {
        tokio::select! {
            biased;
            _ = interrupted.recv() => break false,
            _ = terminated.recv() => break false,
            _ = hung_up.recv() => {
                surroundings.say(&service.reload(&live));
                post.tell(&mut service.told, surroundings).await?;
            }
            Some(error) = failures.recv() => {
                surroundings.say(&format!("{error}"));
                if stdin_only {
                    failed = Some(error);
                }
            }
            batch = inbox.recv() => match batch {
                Some(batch) => service.take(batch, &mut post, surroundings).await?,
                None => break true,
            },
            _ = ticks.tick() => {
                service.tick(clock::now());
                post.tell(&mut service.told, surroundings).await?;
            }
        }
    };
    if ended {
        // All sources are at their end, as in a replay: what is open resolves at its own time.
        service.engine.finish(&mut service.told);
    } else {
        stop.send_replace(true);
        let patience = clock::steady() + SOURCES_PATIENCE;
        while let Ok(Some(batch)) = timeout_at(patience, inbox.recv()).await {
            service.take(batch, &mut post, surroundings).await?;
        }
        service.engine.flush(&mut service.told);
    }
    post.tell(&mut service.told, surroundings).await?;
    post.end(surroundings).await;
    match failed {
        Some(error) => Err(LiveError::Source(error)),
        None => {
            let stats = service.engine.stats();
            Ok((service.engine, stats))
        }
    }
}

/// Sets a source going.
async fn start(
    number: u16,
    source: &SourceConfig,
    line_bytes_max: usize,
    to: &mpsc::Sender<LineBatch>,
    stopped: &watch::Receiver<bool>,
    failures: &mpsc::UnboundedSender<SourceError>,
    surroundings: &mut dyn Surroundings,
) -> Result<(), LiveError> {
    let (to, failures) = (to.clone(), failures.clone());
    match source {
        SourceConfig::Stdin { .. } => blocking("stdin", failures, move || {
            let reader = source::stdin::reader(Framer::new(number, line_bytes_max))?;
            source::stdin::forward(reader, &to)
        })?,
        SourceConfig::File { path, .. } => {
            let reader = source::file::reader(number, path, line_bytes_max).map_err(LiveError::Source)?;
            blocking("file", failures, move || source::stdin::forward(reader, &to))?;
        }
        SourceConfig::Tcp { listen, ack, name, .. } => {
            let acknowledge = if *ack { Acknowledge::WhenCommitted } else { Acknowledge::Never };
            let settings =
                TcpSettings { name: name.clone(), line_bytes_max, ..TcpSettings::new(number, listen, acknowledge) };
            let listener = Listener::bind(settings, Arc::new(NoLedger)).await.map_err(LiveError::Source)?;
            surroundings.say(&format!("listening on {}", listener.address()?));
            let stopped = stopped.clone();
            tokio::spawn(listener.run(to, stopped));
        }
    }
    Ok(())
}

fn blocking(
    name: &str,
    failures: mpsc::UnboundedSender<SourceError>,
    work: impl FnOnce() -> Result<(), SourceError> + Send + 'static,
) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).spawn(move || {
        if let Err(error) = work() {
            // Nobody listens any more at shutdown.
            let _ = failures.send(error);
        }
    })?;
    Ok(())
}

/// Front and engine, and which source is which.
struct Service {
    setup: Setup,
    front: Front,
    engine: Engine,
    readings: Vec<(Reading, Span, Option<String>)>,
    feeds: HashMap<(u16, Arc<str>), Feed>,
    judged: Judged,
    told: Vec<Alert>,
    last_tick: Timestamp,
}

/// One connection, file or stdin.
struct Feed {
    number: u16,
    lateness: Span,
    heard: Timestamp,
    idle: bool,
}

impl Service {
    fn new(setup: Setup, live: &Live) -> Result<Service, LiveError> {
        let readings = readings(&setup, live)?;
        Ok(Service {
            front: setup.front(),
            engine: Engine::new(setup.set.clone(), 1),
            readings,
            feeds: HashMap::new(),
            judged: Judged::default(),
            told: Vec::new(),
            last_tick: Timestamp::MIN,
            setup,
        })
    }

    async fn take(
        &mut self,
        mut batch: LineBatch,
        post: &mut Post,
        surroundings: &mut dyn Surroundings,
    ) -> Result<(), LiveError> {
        let now = clock::now();
        let receipt = batch.receipt.take();
        self.judge(batch, now);
        if now.since(self.last_tick).to_std() >= TICK {
            self.tick(now);
        }
        let name = self.engine.source_name(self.judged.source);
        self.judged.rejects.drain(..).for_each(|it| surroundings.rejected(name, &it));
        post.tell(&mut self.told, surroundings).await?;
        if let Some(receipt) = receipt {
            receipt.committed();
        }
        Ok(())
    }

    fn judge(&mut self, mut batch: LineBatch, now: Timestamp) {
        let (reading, lateness, name) = &self.readings[usize::from(batch.source)];
        let name: Arc<str> = name.as_deref().map_or_else(|| batch.name.clone(), Arc::from);
        let engine = &mut self.engine;
        let feed = self.feeds.entry((batch.source, name.clone())).or_insert_with(|| Feed {
            number: engine.add_source(&name, *lateness),
            lateness: *lateness,
            heard: now,
            idle: false,
        });
        feed.heard = now;
        feed.idle = false;
        batch.source = feed.number;
        self.front.judge(&batch, reading, Some(now), now, &mut self.judged);
        self.engine.observe(&mut self.judged, &mut self.told);
    }

    /// Lets time pass where nothing was said.
    fn tick(&mut self, now: Timestamp) {
        self.last_tick = now;
        let mut lives = false;
        let mut lateness = Span::ZERO;
        for feed in self.feeds.values_mut() {
            lateness = lateness.max(feed.lateness);
            lives |=
                self.engine.newest(feed.number).is_some_and(|it| feed.heard.since(it) <= LIVE && it.since(now) <= LIVE);
            if !feed.idle && now.since(feed.heard) >= feed.lateness.max(Span::from_micros(TICK.as_micros() as i64)) {
                feed.idle = true;
                self.engine.source_is_idle(feed.number, &mut self.told);
            }
        }
        if lives {
            self.engine.pass_time(now.minus(lateness), &mut self.told);
        }
        let (engine, told) = (&mut self.engine, &mut self.told);
        self.feeds.retain(|_, feed| {
            let keep = now.since(feed.heard) < FORGET_SOURCE;
            if !keep {
                engine.end_source(feed.number, told);
            }
            keep
        });
    }

    /// New rules between two batches; the old ones stay when the new ones cannot be used.
    fn reload(&mut self, live: &Live) -> String {
        match (live.reload)() {
            Ok(mut setup) => {
                setup.keys = self.setup.keys;
                let kept = self.engine.adopt(setup.set.clone(), &mut self.told);
                self.front = setup.front();
                let text = format!(
                    "reloaded: {} rules, {kept} of them unchanged and with their memory",
                    setup.set.rules.len()
                );
                self.setup = setup;
                text
            }
            Err(refusal) => {
                let shown: String = refusal.problems.iter().map(|it| it.show(false)).collect();
                format!("{shown}not reloaded: the rules in force stay")
            }
        }
    }
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
    live.sources.iter().map(reading).collect()
}

/// Routes and the courier, or the terminal where there are no receivers.
struct Post {
    receivers: Vec<Receiver>,
    routes: Routes,
    courier: Option<courier::Handle>,
    look: Look,
}

impl Post {
    fn start(setup: &Setup, look: Look) -> Result<Post, LiveError> {
        let refused = |problems: Vec<crate::deliver::config::Problem>| {
            let text: Vec<String> = problems.iter().map(|it| it.to_string()).collect();
            LiveError::Refused(Refusal::of(text.join("\n")))
        };
        let receivers =
            crate::deliver::config::resolve(&setup.config.receivers, &Outside::system()).map_err(refused)?;
        let names: Vec<&str> = receivers.iter().map(|it| it.name.as_str()).collect();
        let routes = Routes::resolve(&setup.config.routes, &names).map_err(refused)?;
        if receivers.is_empty() {
            return Ok(Post { receivers, routes, courier: None, look });
        }
        let wall: Wall = Arc::new(clock::now);
        // Transports own theirs; composing needs them too.
        let again = crate::deliver::config::resolve(&setup.config.receivers, &Outside::system()).map_err(refused)?;
        let transports = again
            .into_iter()
            .map(|it| Ok((it.name.clone(), Transport::new(it, wall.clone())?)))
            .collect::<Result<Vec<_>, String>>()
            .map_err(|it| LiveError::Refused(Refusal::of(it)))?;
        let clock = courier::Clock { wall, steady: Arc::new(clock::steady) };
        let pace = Pace { seed: setup.keys.0, ..Pace::default() };
        let dead_letters = setup.config.dead_letters.clone().unwrap_or_else(|| PathBuf::from("dead-letters.ndjson"));
        let (handle, works) = courier::start(transports, clock, pace, Some(dead_letters), None);
        for work in works {
            tokio::spawn(work);
        }
        Ok(Post { receivers, routes, courier: Some(handle), look })
    }

    /// Hands alerts to everybody who should hear of them.
    async fn tell(&mut self, alerts: &mut Vec<Alert>, surroundings: &mut dyn Surroundings) -> Result<(), LiveError> {
        if alerts.is_empty() {
            return Ok(());
        }
        let Some(courier) = &self.courier else {
            let result = surroundings.told(alerts);
            alerts.clear();
            return Ok(result?);
        };
        let moment = Moment { now: clock::now(), look: self.look };
        for alert in alerts.drain(..) {
            let alert = Arc::new(alert);
            for receiver in self.routes.receivers_for(&alert) {
                let note = Note::new(&self.receivers[receiver], alert.clone(), moment);
                if courier.send(receiver, note).await.is_err() {
                    surroundings.say(&format!(
                        "receiver `{}` has ended; alert {} was not sent",
                        self.receivers[receiver].name, alert.id
                    ));
                }
            }
        }
        Ok(())
    }

    async fn end(self, surroundings: &mut dyn Surroundings) {
        let Some(courier) = self.courier else { return };
        let left = courier.drain(COURIER_PATIENCE).await.left;
        if left > 0 {
            surroundings.say(&format!("{left} notifications could not be delivered; they are in the dead-letter file"));
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
