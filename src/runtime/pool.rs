//! Fronts on several threads, with the order of their batches kept.
//!
//! Batch n goes to worker n modulo N and comes back from there in turn, so nothing has to be sorted and nothing depends on
//! which thread was quicker. Channels are short: a reader that is too fast waits. Buffers go round and are never freed.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use crate::engine::{Front, Judged, Reading};
use crate::limits;
use crate::model::Timestamp;
use crate::source::batch::LineBatch;

/// A batch on its way through a front, with the room for what comes out.
#[derive(Default)]
pub struct Work {
    pub lines: LineBatch,
    pub judged: Judged,
    /// Live: the wall clock when it arrived.
    pub received: Option<Timestamp>,
}

/// The workers, or one front without any thread.
#[expect(clippy::large_enum_variant, reason = "there is one pool, and it stays where it was made")]
pub enum Pool<'scope> {
    Inline { front: Box<Front>, done: Option<Work> },
    Threads { workers: Vec<Worker<'scope>>, sent: usize, taken: usize },
}

pub struct Worker<'scope> {
    to: Option<SyncSender<Work>>,
    from: Receiver<Work>,
    handle: Option<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Pool<'scope> {
    /// As many fronts as `fronts` has. `reference` helps stamps that name no year.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        mut fronts: Vec<Front>,
        readings: &'env (dyn Fn(u16) -> Reading + Sync),
        reference: Timestamp,
    ) -> Pool<'scope> {
        if fronts.len() == 1
            && let Some(front) = fronts.pop()
        {
            return Pool::Inline { front: Box::new(front), done: None };
        }
        let workers = fronts.into_iter().map(|mut front| {
            let (to, inbox) = sync_channel::<Work>(limits::BATCHES_WAITING_MAX);
            let (outbox, from) = sync_channel(limits::BATCHES_WAITING_MAX);
            let handle = scope.spawn(move || {
                while let Ok(mut work) = inbox.recv() {
                    let reading = readings(work.lines.source);
                    front.judge(&work.lines, &reading, work.received, reference, &mut work.judged);
                    if outbox.send(work).is_err() {
                        return;
                    }
                }
            });
            Worker { to: Some(to), from, handle: Some(handle) }
        });
        Pool::Threads { workers: workers.collect(), sent: 0, taken: 0 }
    }

    /// How many batches may be inside before one must be taken.
    pub fn room(&self) -> usize {
        match self {
            Pool::Inline { done, .. } => usize::from(done.is_none()),
            Pool::Threads { workers, sent, taken } => workers.len() * 2 - (sent - taken).min(workers.len() * 2),
        }
    }

    /// Sends a batch in. Only when there is room.
    pub fn send(&mut self, mut work: Work, readings: &dyn Fn(u16) -> Reading, reference: Timestamp) {
        match self {
            Pool::Inline { front, done } => {
                let reading = readings(work.lines.source);
                front.judge(&work.lines, &reading, work.received, reference, &mut work.judged);
                *done = Some(work);
            }
            Pool::Threads { workers, sent, .. } => {
                let worker = *sent % workers.len();
                *sent += 1;
                if let Some(to) = &workers[worker].to {
                    to.send(work).expect("a worker ends only when its channel is closed");
                }
            }
        }
    }

    /// The next batch, in the order in which they were sent; waits for it. None when none is inside.
    pub fn take(&mut self) -> Option<Work> {
        match self {
            Pool::Inline { done, .. } => done.take(),
            Pool::Threads { workers, sent, taken } => {
                if sent == taken {
                    return None;
                }
                let worker = *taken % workers.len();
                *taken += 1;
                workers[worker].from.recv().ok()
            }
        }
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        self.to = None;
        if let Some(handle) = self.handle.take() {
            // A front that panicked has been reported by the panic hook; the scope reports it again.
            let _ = handle.join();
        }
    }
}
