//! Work on what comes out that the thread which feeds all others need not wait for.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::limits;
use crate::model::Alert;

/// A thread that takes alerts in their order, with something of its own.
pub struct Aside<S> {
    to: SyncSender<Vec<Alert>>,
    thread: JoinHandle<(S, io::Result<()>)>,
}

impl<S: Send + 'static> Aside<S> {
    /// `work` is done until it fails.
    pub fn start(mut state: S, work: impl Fn(&mut S, &mut Vec<Alert>) -> io::Result<()> + Send + 'static) -> Aside<S> {
        let (to, inbox) = sync_channel::<Vec<Alert>>(limits::WRITES_WAITING_MAX);
        let thread = std::thread::spawn(move || {
            let done = inbox.iter().try_for_each(|mut alerts| work(&mut state, &mut alerts));
            (state, done)
        });
        Aside { to, thread }
    }

    /// Waits where too much waits already. An error says no more than that the work failed; [`Aside::end`] says why.
    pub fn send(&self, alerts: Vec<Alert>) -> io::Result<()> {
        self.to.send(alerts).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Nothing more comes: what it had of its own, when all is done, and what went wrong.
    pub fn end(self) -> (S, io::Result<()>) {
        drop(self.to);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
