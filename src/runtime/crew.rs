//! Shards on threads of their own.
//!
//! Every shard gets every step and takes what is its own, so nobody has to divide anything; what they find is put together
//! step by step, in the order in which the steps were sent. So alerts, their ids and their order are those of one shard in
//! one thread, and only come a few batches later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::engine::{Away, Found, Shard, Step, Wait};
use crate::limits;
use crate::model::Timestamp;

/// The threads of the shards.
pub struct Crew {
    members: Vec<Member>,
    /// Times of the steps whose findings were not taken yet.
    sent: VecDeque<Timestamp>,
    /// What was found in the first of them, by those who are done with it already.
    found: Found,
    answered: usize,
}

struct Member {
    to: SyncSender<Arc<Step>>,
    from: Receiver<Found>,
    thread: JoinHandle<Shard>,
}

impl Crew {
    /// A thread for each shard.
    pub fn start(shards: Vec<Shard>) -> Crew {
        let count = shards.len();
        let member = |(number, mut shard): (usize, Shard)| {
            // Room for all that can be under way: a thread never waits for the one that takes.
            let (to, inbox) = sync_channel::<Arc<Step>>(limits::BATCHES_WAITING_MAX);
            let (outbox, from) = sync_channel(limits::BATCHES_WAITING_MAX);
            let thread = std::thread::spawn(move || {
                while let Ok(step) = inbox.recv() {
                    let mut found = Found::default();
                    shard.take(&step, number, count, &mut found);
                    if outbox.send(found).is_err() {
                        break;
                    }
                }
                shard
            });
            Member { to, from, thread }
        };
        let members = shards.into_iter().enumerate().map(member).collect();
        Crew { members, sent: VecDeque::new(), found: Found::default(), answered: 0 }
    }
}

impl Away for Crew {
    fn send(&mut self, step: Step) {
        self.sent.push_back(step.now);
        let step = Arc::new(step);
        for member in &self.members {
            member.to.send(step.clone()).expect("a shard ends only when its channel is closed");
        }
    }

    fn take(&mut self, wait: Wait) -> Option<(Timestamp, Found)> {
        let now = *self.sent.front()?;
        // Nobody may have more under way than there is room for.
        let wait = if self.sent.len() >= limits::BATCHES_WAITING_MAX { Wait::Always } else { wait };
        while let Some(member) = self.members.get(self.answered) {
            let found = match wait {
                Wait::Never => member.from.try_recv().ok()?,
                Wait::Always => member.from.recv().expect("a shard ends only when its channel is closed"),
            };
            self.found.findings.extend(found.findings);
            self.found.pressures.extend(found.pressures);
            self.found.stumbled.extend(found.stumbled);
            self.answered += 1;
        }
        self.sent.pop_front();
        self.answered = 0;
        Some((now, std::mem::take(&mut self.found)))
    }

    fn end(self: Box<Self>) -> Vec<Shard> {
        let end = |Member { to, from, thread }: Member| {
            drop((to, from));
            thread.join().expect("a shard that panicked was noticed when its answer was missing")
        };
        self.members.into_iter().map(end).collect()
    }
}
