//! Sources that stumble get up again.
//!
//! A panic in what reads a log is a mistake of ours. To go on without that source would be to see nothing of it and to say
//! nothing; to end the service, to see nothing at all. So it is told and begun anew, after a pause that grows while it keeps
//! falling: what makes it fall may lie in what it reads next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::clock;
use crate::source::SourceError;
use crate::source::batch::LineBatch;
use crate::source::follow::{Follower, POLL_EVERY, Polled};
use crate::source::tcp::{Ledger, Listener, TcpSettings};
use crate::store::Position;

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Who has stood for so long stands.
const STANDS: Duration = Duration::from_secs(10);

/// What is to be known of sources.
#[derive(Debug)]
pub enum News {
    /// Something is wrong with what is read.
    Complaint(SourceError),
    /// It has fallen, by a mistake of ours.
    Fell { source: String, gets_up: bool },
    /// It has read for a while without falling.
    Stands { source: String },
}

/// One source, as often as it fell.
pub struct Falls {
    source: String,
    news: mpsc::UnboundedSender<News>,
    pause: Duration,
    /// When it was begun anew.
    up_since: Option<Instant>,
}

impl Falls {
    pub fn new(source: &str, news: mpsc::UnboundedSender<News>) -> Falls {
        Falls { source: source.into(), news, pause: PAUSE_MIN, up_since: None }
    }

    /// It fell: told, and waited for its next beginning. False: we end.
    pub async fn fell(&mut self, stopped: &mut watch::Receiver<bool>) -> bool {
        self.tell(News::Fell { source: self.source.clone(), gets_up: true });
        let goes_on = timeout(self.pause, stopped.wait_for(|it| *it)).await.is_err();
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.up_since = Some(clock::steady());
        goes_on
    }

    /// It works at the moment.
    pub fn works(&mut self) {
        if self.up_since.is_some_and(|it| it.elapsed() >= STANDS) {
            self.up_since = None;
            self.pause = PAUSE_MIN;
            self.tell(News::Stands { source: self.source.clone() });
        }
    }

    /// When it is worth asking whether it still works; None: nobody waits for that.
    pub fn asks_at(&self) -> Option<Instant> {
        self.up_since.map(|it| it + STANDS)
    }

    fn tell(&self, news: News) {
        // Nobody listens any more at shutdown.
        let _ = self.news.send(news);
    }
}

/// Takes connections until we are over. A listener that fell is opened anew: who was connected comes again.
pub async fn listen(
    listener: Listener,
    settings: TcpSettings,
    ledger: Arc<dyn Ledger>,
    to: mpsc::Sender<LineBatch>,
    mut falls: Falls,
    mut stopped: watch::Receiver<bool>,
) {
    let mut opened = Ok(listener);
    loop {
        if let Ok(listener) = opened {
            let mut running = tokio::spawn(listener.run(to.clone(), stopped.clone()));
            let ended = loop {
                let asks_at = falls.asks_at();
                tokio::select! {
                    ended = &mut running => break ended,
                    () = tokio::time::sleep_until(asks_at.unwrap_or_else(clock::steady)), if asks_at.is_some() => falls.works(),
                }
            };
            if ended.is_ok() {
                return;
            }
        }
        if !falls.fell(&mut stopped).await {
            return;
        }
        opened = Listener::bind(settings.clone(), ledger.clone()).await;
    }
}

/// What polls files: a [`Follower`]; in a test, one that falls.
pub trait Polls: Send + 'static {
    fn poll(&mut self, now: Duration, out: &mut Vec<LineBatch>) -> Polled;
    fn complaints(&mut self) -> Vec<SourceError>;
    fn is_over(&self) -> bool;
}

impl Polls for Follower {
    fn poll(&mut self, now: Duration, out: &mut Vec<LineBatch>) -> Polled {
        Follower::poll(self, now, out)
    }

    fn complaints(&mut self) -> Vec<SourceError> {
        Follower::complaints(self)
    }

    fn is_over(&self) -> bool {
        Follower::is_over(self)
    }
}

/// Polls files until they are over, or we are. What was read and not sent when we stop is read again; so is what was read and
/// not sent when it fell.
pub async fn follow<P: Polls>(
    begin: impl Fn(&[Position]) -> P,
    mut known: BTreeMap<Arc<str>, Vec<u8>>,
    to: mpsc::Sender<LineBatch>,
    failures: mpsc::UnboundedSender<News>,
    mut falls: Falls,
    mut stopped: watch::Receiver<bool>,
) {
    let begun = clock::steady();
    let begin = |known: &BTreeMap<Arc<str>, Vec<u8>>| {
        let known: Vec<Position> = known.iter().map(|it| (it.0.to_string(), it.1.clone())).collect();
        begin(&known)
    };
    let mut follower = begin(&known);
    loop {
        let now = begun.elapsed();
        let looking = tokio::task::spawn_blocking(move || {
            let mut batches = Vec::new();
            let polled = follower.poll(now, &mut batches);
            (follower, batches, polled)
        });
        let Ok((back, batches, polled)) = looking.await else {
            if !falls.fell(&mut stopped).await {
                return;
            }
            follower = begin(&known);
            continue;
        };
        follower = back;
        falls.works();
        for complaint in follower.complaints() {
            // Nobody listens any more at shutdown.
            let _ = failures.send(News::Complaint(complaint));
        }
        for batch in batches {
            let positions = batch.positions.clone();
            tokio::select! {
                sent = to.send(batch) => if sent.is_err() { return },
                _ = stopped.wait_for(|it| *it) => return,
            }
            for (name, position) in positions {
                match position {
                    Some(it) => drop(known.insert(name, it)),
                    None => drop(known.remove(&name)),
                }
            }
        }
        let pause = if polled == Polled::Quiet { POLL_EVERY } else { Duration::ZERO };
        if follower.is_over() || timeout(pause, stopped.wait_for(|it| *it)).await.is_ok() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    /// Reads a line a poll, and falls in the third of each life, before anybody has it.
    struct Stumbler {
        lives: Arc<AtomicU64>,
        read: u64,
        polls: u64,
    }

    impl Polls for Stumbler {
        fn poll(&mut self, _now: Duration, out: &mut Vec<LineBatch>) -> Polled {
            self.polls += 1;
            assert!(self.polls < 3 || self.lives.load(Relaxed) > 3, "stumbles");
            self.read += 1;
            let mut batch = LineBatch::of(0);
            batch.positions.push(("log".into(), Some(self.read.to_le_bytes().to_vec())));
            out.push(batch);
            Polled::Quiet
        }

        fn complaints(&mut self) -> Vec<SourceError> {
            Vec::new()
        }

        fn is_over(&self) -> bool {
            self.read >= 100
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_falls_goes_on_where_it_was_after_a_pause_that_grows() {
        let (to, mut lines) = mpsc::channel(1000);
        let (tell, mut news) = mpsc::unbounded_channel();
        let (_stop, stopped) = watch::channel(false);
        let lives = Arc::new(AtomicU64::new(0));
        let begin = {
            let lives = lives.clone();
            move |known: &[Position]| {
                lives.fetch_add(1, Relaxed);
                let read = known.first().map_or(0, |it| u64::from_le_bytes(it.1.as_slice().try_into().unwrap()));
                Stumbler { lives: lives.clone(), read, polls: 0 }
            }
        };
        let begun = clock::steady();
        let falls = Falls::new("log", tell.clone());
        follow(begin, BTreeMap::new(), to, tell, falls, stopped).await;
        let mut positions = Vec::new();
        while let Ok(batch) = lines.try_recv() {
            let bytes = batch.positions[0].1.clone().unwrap();
            positions.push(u64::from_le_bytes(bytes.try_into().unwrap()));
        }
        assert_eq!(positions, (1..=100).collect::<Vec<u64>>(), "each once");
        let mut told = Vec::new();
        while let Ok(it) = news.try_recv() {
            told.push(match it {
                News::Fell { source, gets_up: true } => format!("{source} fell"),
                News::Stands { source } => format!("{source} stands"),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(told, ["log fell", "log fell", "log fell", "log stands"]);
        assert!(begun.elapsed() >= Duration::from_secs(1 + 2 + 4));
    }
}
