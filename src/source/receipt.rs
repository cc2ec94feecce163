//! The way back: who sent these lines wants to hear that they are safe.
//!
//! A batch leaves its connection and is committed elsewhere, later, together with others. Asking a table "whose was it?"
//! at that point needs a lock and an id that is never reused. So a batch carries its own way back: a receipt, which
//! whoever commits the batch redeems. A receipt that is dropped says nothing, and the sender sends again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// What was made of the lines, for a sender who wants to know: written before they are committed.
#[derive(Debug, Default)]
pub struct Judgement {
    accepted: AtomicU64,
    rejected: AtomicU64,
}

impl Judgement {
    /// How many became events, and how many did not.
    pub fn read(&self) -> (u64, u64) {
        (self.accepted.load(Ordering::Acquire), self.rejected.load(Ordering::Acquire))
    }
}

/// Everything of one connection up to a line.
#[derive(Debug)]
pub struct Receipt {
    /// Who says so of itself (`HELLO`); what was committed for it is remembered under this name.
    pub client: Option<Arc<str>>,
    /// Lines up to this one, in the client's numbers.
    pub upto: u64,
    pub judgement: Option<Arc<Judgement>>,
    pub(super) to: watch::Sender<u64>,
}

impl Receipt {
    pub fn new(client: Option<Arc<str>>, upto: u64, to: watch::Sender<u64>) -> Receipt {
        Receipt { client, upto, judgement: None, to }
    }

    /// Says what was made of the lines.
    pub fn judged(&self, accepted: u64, rejected: u64) {
        if let Some(judgement) = &self.judgement {
            judgement.accepted.store(accepted, Ordering::Release);
            judgement.rejected.store(rejected, Ordering::Release);
        }
    }

    /// Call it when the lines would survive a crash. Receipts of a connection may be redeemed in any order as long as
    /// an earlier line is never less safe than a later one.
    pub fn committed(self) {
        self.to.send_if_modified(|known| {
            let is_news = self.upto > *known;
            *known = self.upto.max(*known);
            is_news
        });
    }
}
