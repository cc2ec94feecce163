//! Telling several alerts at once, where a receiver is to be told only so often.
//!
//! One note leads: it carries the digest instead of its own body, is tried and put off as any note, and when the receiver has
//! it, all that were told in it are delivered. Where the receiver refuses it, they are told one by one. Nothing of this is kept over a crash: what was told in a digest whose answer was lost is told again.

use std::cmp::Reverse;
use std::sync::Arc;

use tokio::time::Instant;

use super::Fate;
use super::post::{Ended, Parcel, Post};
use crate::deliver::digest::digest;
use crate::deliver::key;
use crate::deliver::tempo::{Budget, Tempo};
use crate::limits;
use crate::model::{Alert, Severity};

/// Writes a message for the receiver.
pub type Write = Arc<dyn Fn(&Alert) -> Vec<u8> + Send + Sync>;

/// A receiver's budget, and how a message is written for it.
pub struct Bundling {
    budget: Budget,
    compose: Write,
    /// The last message was kept for the critical ones: the next is for everybody.
    was_for_critical: bool,
    /// It is the end: nothing waits for its turn any more, and everything goes together.
    is_closing: bool,
}

impl Bundling {
    pub fn new(tempo: Tempo, compose: Write) -> Bundling {
        Bundling { budget: Budget::new(tempo), compose, was_for_critical: false, is_closing: false }
    }

    /// When the next message may leave.
    pub(super) fn next(&self) -> Option<Instant> {
        self.budget.next().filter(|_| !self.is_closing)
    }

    pub(super) fn close(&mut self) {
        self.is_closing = true;
    }
}

/// What a leader carries.
pub struct Bundle {
    pub(super) key: String,
    pub(super) body: Arc<[u8]>,
    pub(super) alert: Arc<Alert>,
    others: Vec<u64>,
}

impl Post {
    /// Makes the note that is to be sent lead all that would else have to wait. One alone, or the last critical one, leaves as it
    /// is. To be called for a note that has left `ready`.
    pub(super) fn bundle(&mut self, leader: u64, now: Instant) {
        let Some(bundling) = &mut self.bundling else { return };
        let is_last = bundling.budget.spend(now) || bundling.is_closing;
        let Some(first) = self.parcels.get(&leader).filter(|it| is_last && may_be_bundled(it)) else { return };
        let only_critical =
            first.note.severity == Severity::Critical && !bundling.was_for_critical && !bundling.is_closing;
        bundling.was_for_critical = only_critical;
        let fits = |it: &&(Reverse<Severity>, u64)| !only_critical || it.0.0 == Severity::Critical;
        let with = self.ready.iter().take_while(fits).map(|it| it.1);
        let is_free = |it: &u64| self.parcels.get(it).is_some_and(may_be_bundled);
        let others: Vec<u64> = with.filter(is_free).take(limits::DIGEST_ALERTS_MAX - 1).collect();
        if others.is_empty() {
            return;
        }
        let alerts = others.iter().filter_map(|it| self.parcels.get(it)).map(|it| it.note.alert.as_ref());
        let Some(alert) = digest(std::iter::once(first.note.alert.as_ref()).chain(alerts)) else { return };
        let body = (bundling.compose)(&alert).into();
        for other in &others {
            if let Some(parcel) = self.parcels.get_mut(other) {
                parcel.is_in_flight = true;
                self.ready.remove(&(Reverse(parcel.note.severity), *other));
            }
        }
        if let Some(parcel) = self.parcels.get_mut(&leader) {
            parcel.bundle = Some(Box::new(Bundle { key: key(&alert), body, alert: Arc::new(alert), others }));
        }
    }

    /// The receiver refuses the digest, with and without its details: each is told alone from now on.
    pub(super) fn break_up(&mut self, leader: u64) {
        let Some(parcel) = self.parcels.get_mut(&leader) else { return };
        (parcel.is_alone, parcel.is_reduced, parcel.refusals) = (true, false, 0);
        parcel.progress.remark = None;
        let bundle = parcel.bundle.take();
        self.ready.insert((Reverse(parcel.note.severity), leader));
        for other in bundle.into_iter().flat_map(|it| it.others) {
            if let Some(parcel) = self.parcels.get_mut(&other) {
                (parcel.is_alone, parcel.is_in_flight) = (true, false);
                self.ready.insert((Reverse(parcel.note.severity), other));
            }
        }
    }

    /// What becomes of the others when their leader has ended.
    pub(super) fn unbundle(&mut self, bundle: Bundle, fate: &Fate, tries: u32) {
        let told = bundle.others.len() + 1;
        for other in bundle.others {
            let Some(parcel) = self.parcels.get_mut(&other) else { continue };
            parcel.is_in_flight = false;
            match fate {
                Fate::Delivered => {
                    parcel.tries += tries;
                    parcel.progress.remark = Some(told_with(told));
                    if let Some(ended) = self.end(other, Fate::Delivered) {
                        self.settled.push_back(ended);
                    }
                }
                Fate::Dead { .. } => {
                    self.ready.insert((Reverse(parcel.note.severity), other));
                }
            }
        }
    }

    /// A note that ended with another.
    pub(super) fn settled(&mut self) -> Option<Ended> {
        self.settled.pop_front()
    }
}

fn may_be_bundled(parcel: &Parcel) -> bool {
    parcel.bundle.is_none() && !parcel.is_alone && parcel.refusals == 0
}

pub(super) fn told_with(alerts: usize) -> String {
    format!("told in one message with {} others", alerts - 1)
}

impl Bundle {
    pub(super) fn len(&self) -> usize {
        self.others.len() + 1
    }
}
