//! Events nobody wants, known by the few values that decide so.
//!
//! What a record means mostly hangs on one or two values, such as its action and its status, and a log has few of them. With
//! one rule loaded nine lines of ten are of a meaning that no rule can want, and finding that out again for each was a fifth
//! of what they cost. So the deciding values of idle events are remembered: the next with the same is idle too. Values are
//! compared whole, for whoever could make two look alike could hide one behind the other.
//!
//! The table is a cache of a pure function: an entry is overwritten by another with the same place, and no answer depends
//! on it.

use crate::limits::{DECIDERS_MAX, IDLE_KEY_BYTES_MAX, IDLE_KNOWN_MAX};
use crate::model::{EventBuf, FieldId};

/// The fields on whose values the meaning of a schema's records of one shape depends.
#[derive(Default)]
pub(super) enum Deciders {
    /// No such event was idle yet.
    #[default]
    Unasked,
    Few(Box<[FieldId]>, Use),
    /// Too many, or they have too many different values: the schema is asked each time.
    Many,
}

/// Whether remembering pays.
#[derive(Default)]
pub(super) struct Use {
    asked: u16,
    known: u16,
}

/// So many events are counted before it is judged whether remembering pays.
const TRIAL: u16 = 1024;

impl Deciders {
    pub(super) fn new(fields: Vec<FieldId>) -> Deciders {
        match fields.len() > DECIDERS_MAX {
            true => Deciders::Many,
            false => Deciders::Few(fields.into(), Use::default()),
        }
    }

    /// Counts an answer; where fewer than half are known, the last one was asked.
    #[inline]
    pub(super) fn count(&mut self, known: bool) {
        let Deciders::Few(_, counts) = self else { return };
        counts.asked += 1;
        counts.known += u16::from(known);
        if counts.asked == TRIAL {
            match counts.known < TRIAL / 2 {
                true => *self = Deciders::Many,
                false => *counts = Use::default(),
            }
        }
    }
}

/// The deciding values of events that were idle.
#[derive(Default)]
pub(super) struct Idle {
    entries: Vec<Entry>,
}

#[derive(Clone, Default)]
struct Entry {
    /// What the values belong to, and the values: see [`EventBuf::append_key`].
    key: Vec<u8>,
    repeat: u32,
}

impl Idle {
    /// How often the event happened, where one with the same values was idle. `head` says what the values belong to.
    #[inline]
    pub(super) fn find(&self, head: u64, fields: &[FieldId], record: &str, buf: &EventBuf) -> Option<u32> {
        let entry = self.entries.get(place(head, fields, record, buf)?)?;
        let mut rest = entry.key.strip_prefix(&head.to_le_bytes())?;
        for field in fields {
            rest = buf.strip_key(record, *field, rest)?;
        }
        rest.is_empty().then_some(entry.repeat)
    }

    /// Remembers that the event was idle.
    pub(super) fn keep(&mut self, head: u64, fields: &[FieldId], record: &str, buf: &EventBuf, repeat: u32) {
        let Some(place) = place(head, fields, record, buf) else { return };
        if self.entries.is_empty() {
            self.entries.resize(IDLE_KNOWN_MAX, Entry::default());
        }
        let entry = &mut self.entries[place];
        entry.key.clear();
        entry.key.extend_from_slice(&head.to_le_bytes());
        for field in fields {
            buf.append_key(record, *field, &mut entry.key);
        }
        entry.repeat = repeat;
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Where values belong; None: they are too long to be kept. The place need not be hard to foresee: where two meet one is
/// forgotten, and whoever makes them meet gets his own events read.
#[inline]
fn place(head: u64, fields: &[FieldId], record: &str, buf: &EventBuf) -> Option<usize> {
    let mix = |sum: u64, it: u64| (sum ^ it).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(29);
    let mut sum = mix(0, head);
    let mut bytes = 0;
    for field in fields {
        let text = buf.written(record, *field);
        bytes += text.len();
        // Both ends of a long text tell most apart.
        sum = match (text.first_chunk(), text.last_chunk()) {
            (Some(first), Some(last)) => mix(mix(sum, u64::from_le_bytes(*first)), u64::from_le_bytes(*last)),
            _ => text.iter().fold(sum, |sum, it| sum << 8 ^ u64::from(*it)),
        };
        sum = mix(sum, text.len() as u64);
    }
    (bytes <= IDLE_KEY_BYTES_MAX).then_some(sum as usize % IDLE_KNOWN_MAX)
}
