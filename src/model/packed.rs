//! Hits as bytes, for the journal.
//!
//! With state, every line that satisfies a rule goes to the disk with its hits, ten of them where the whole pack looks on. So
//! numbers are written as what they differ from those before them, 7 bits a byte, and hashes, which nothing makes shorter, once
//! for each owner: half of what a general format takes, in a fraction of its time.
//!
//! Bytes that are no batch are refused and never read past: what is unpacked points only to what is there.

use super::Timestamp;
use super::hit::{Carried, HitBatch, HitEvent, HitRule, Owner, RuleIndex, TextRange};

/// Bits of an event's first byte.
const LATE: u8 = 1;
const SUSPECT: u8 = 2;
/// It has no release time yet.
const UNSTAMPED: u8 = 4;
/// It comes from another source than the event before.
const OTHER_SOURCE: u8 = 8;

/// What a value begins with; a text with its length and this.
const ABSENT: u64 = 0;
const NUMBER: u64 = 1;
const TEXT: u64 = 2;

/// Appends a batch.
pub fn pack(batch: &HitBatch, out: &mut Vec<u8>) {
    out.reserve(batch.text.len() + batch.events.len() * 32 + batch.hits.len() * 6 + batch.values.len() * 3 + 64);
    out.reserve(batch.owners.len() * 20);
    number(out, batch.text.len() as u64);
    out.extend_from_slice(batch.text.as_bytes());
    number(out, batch.owners.len() as u64);
    let mut at = 0;
    for it in &batch.owners {
        out.extend_from_slice(&it.hash.to_le_bytes());
        out.extend_from_slice(&it.stable.to_le_bytes());
        number(out, it.entity.len.into());
        start(out, &mut at, it.entity);
    }
    number(out, batch.values.len() as u64);
    let mut at = 0;
    for it in &batch.values {
        match it {
            Carried::Absent => number(out, ABSENT),
            Carried::Number(it) => {
                number(out, NUMBER);
                out.extend_from_slice(&it.to_le_bytes());
            }
            Carried::Text(range) => {
                number(out, TEXT + u64::from(range.len));
                start(out, &mut at, *range);
            }
        }
    }
    number(out, batch.events.len() as u64);
    let mut before = first();
    let mut at = 0;
    for (place, it) in batch.events.iter().enumerate() {
        let is_unstamped = it.release == Timestamp::MIN;
        let mut flags = if it.late { LATE } else { 0 };
        flags |= if it.suspect { SUSPECT } else { 0 };
        flags |= if is_unstamped { UNSTAMPED } else { 0 };
        flags |= if it.source != before.source { OTHER_SOURCE } else { 0 };
        out.push(flags);
        if it.source != before.source {
            number(out, it.source.into());
        }
        signed(out, it.time.micros().wrapping_sub(before.time.micros()));
        if !is_unstamped {
            signed(out, it.release.micros().wrapping_sub(it.time.micros()));
        }
        signed(out, it.line.wrapping_sub(before.line) as i64);
        out.extend_from_slice(&it.line_hash.to_le_bytes());
        number(out, it.text.len.into());
        start(out, &mut at, it.text);
        before = *it;
        pack_hits(&batch.hits[batch.hits_of(place)], out);
    }
}

fn pack_hits(hits: &[HitRule], out: &mut Vec<u8>) {
    number(out, hits.len() as u64);
    let mut before = HitRule::new(RuleIndex(0), 0, 0);
    for it in hits {
        signed(out, i64::from(it.rule.0) - i64::from(before.rule.0));
        number(out, it.steps.into());
        out.push(it.partition);
        signed(out, i64::from(it.owner) - i64::from(before.owner));
        signed(out, i64::from(it.values) - i64::from(before.values));
        before = *it;
    }
}

/// The batch that [`pack`] wrote; None: these bytes are none.
pub fn unpack(bytes: &[u8]) -> Option<HitBatch> {
    let mut from = Reader(bytes);
    let len = from.len()?;
    let text = String::from_utf8(from.bytes(len)?.to_vec()).ok()?;
    let mut batch = HitBatch { text, ..HitBatch::default() };
    let owners = from.len()?;
    let mut at = 0;
    for _ in 0..owners {
        let (hash, stable) = (from.whole()?, from.whole()?);
        let len = from.number()?;
        let entity = from.range(&mut at, len, &batch.text)?;
        batch.owners.push(Owner { hash, stable, entity });
    }
    let values = from.len()?;
    let mut at = 0;
    for _ in 0..values {
        batch.values.push(match from.number()? {
            ABSENT => Carried::Absent,
            NUMBER => Carried::Number(f64::from_bits(from.whole()?)),
            text => Carried::Text(from.range(&mut at, text - TEXT, &batch.text)?),
        });
    }
    let events = from.len()?;
    let mut before = first();
    let mut at = 0;
    for _ in 0..events {
        let flags = *from.bytes(1)?.first()?;
        let source = match flags & OTHER_SOURCE {
            0 => before.source,
            _ => u16::try_from(from.number()?).ok()?,
        };
        let time = Timestamp::from_micros(before.time.micros().wrapping_add(from.signed()?));
        let release = match flags & UNSTAMPED {
            0 => Timestamp::from_micros(time.micros().wrapping_add(from.signed()?)),
            _ => Timestamp::MIN,
        };
        let line = before.line.wrapping_add(from.signed()? as u64);
        let line_hash = from.whole()?;
        let len = from.number()?;
        let text = from.range(&mut at, len, &batch.text)?;
        from.hits(&mut batch)?;
        let event = HitEvent::new(time, source, line, line_hash, text);
        before = HitEvent { release, late: flags & LATE != 0, suspect: flags & SUSPECT != 0, ..event };
        batch.push_event(before);
    }
    from.0.is_empty().then_some(batch)
}

/// What the first event is written as different from.
fn first() -> HitEvent {
    HitEvent::new(Timestamp::from_micros(0), 0, 0, 0, TextRange::default())
}

fn number(out: &mut Vec<u8>, mut it: u64) {
    while it >= 0x80 {
        out.push(it as u8 | 0x80);
        it >>= 7;
    }
    out.push(it as u8);
}

/// Small ones are short, whatever their sign.
fn signed(out: &mut Vec<u8>, it: i64) {
    number(out, (it << 1 ^ it >> 63) as u64);
}

/// Where a text begins, from where the last one did.
fn start(out: &mut Vec<u8>, at: &mut u32, range: TextRange) {
    signed(out, i64::from(range.start) - i64::from(*at));
    *at = range.start;
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn whole(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    fn number(&mut self) -> Option<u64> {
        let mut it = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes(1)?.first()?;
            it |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(it);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let it = self.number()?;
        Some((it >> 1) as i64 ^ -((it & 1) as i64))
    }

    /// How many follow: none of them takes less than a byte.
    fn len(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|it| *it <= self.0.len())
    }

    fn range(&mut self, at: &mut u32, len: u64, text: &str) -> Option<TextRange> {
        *at = u32::try_from(i64::from(*at).checked_add(self.signed()?)?).ok()?;
        let range = TextRange { start: *at, len: u32::try_from(len).ok()? };
        let (start, len) = (range.start as usize, range.len as usize);
        text.get(start..start + len).map(|_| range)
    }

    fn hits(&mut self, batch: &mut HitBatch) -> Option<()> {
        let mut before = HitRule::new(RuleIndex(0), 0, 0);
        for _ in 0..self.len()? {
            let rule = u16::try_from(i64::from(before.rule.0).checked_add(self.signed()?)?).ok()?;
            let steps = u16::try_from(self.number()?).ok()?;
            let partition = *self.bytes(1)?.first()?;
            let owner = u32::try_from(i64::from(before.owner).checked_add(self.signed()?)?).ok()?;
            let values = u32::try_from(i64::from(before.values).checked_add(self.signed()?)?).ok()?;
            if owner as usize >= batch.owners.len() || values as usize > batch.values.len() {
                return None;
            }
            before = HitRule { owner, values, ..HitRule::new(RuleIndex(rule), steps, partition) };
            batch.push_hit(before);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batches() -> impl Strategy<Value = HitBatch> {
        let hit = (any::<u16>(), any::<u16>(), any::<u8>(), any::<u32>(), 0usize..4);
        let event =
            (any::<i64>(), any::<u64>(), any::<[bool; 3]>(), any::<u16>(), ".{0,9}", prop::collection::vec(hit, 0..5));
        prop::collection::vec((event, any::<u64>(), any::<f64>()), 0..6).prop_map(|events| {
            let mut batch = HitBatch::default();
            for ((time, line, [late, suspect, stamped], source, text, hits), hash, value) in events {
                let range = batch.push(&text);
                let entity = batch.push("ann");
                let owner = batch.push_owner(Owner { hash, stable: hash.rotate_left(9), entity });
                let values = batch.values.len() as u32;
                batch.values.extend([Carried::Number(value), Carried::Absent, Carried::Text(range)]);
                for (rule, steps, partition, other, back) in hits {
                    let owner = if back == 0 { other % (owner + 1) } else { owner };
                    let hit = HitRule::new(RuleIndex(rule), steps, partition);
                    batch.push_hit(HitRule { owner, values: values + back as u32, ..hit });
                }
                let time = Timestamp::from_micros(time);
                let event = HitEvent::new(time, source, line, hash, range);
                let release = if stamped { time } else { event.release };
                batch.push_event(HitEvent { late, suspect, release, ..event });
            }
            batch
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(batch in batches()) {
            let mut bytes = Vec::new();
            pack(&batch, &mut bytes);
            let again = unpack(&bytes).unwrap();
            prop_assert_eq!(format!("{again:?}"), format!("{batch:?}"));
            prop_assert!(unpack(&bytes[..bytes.len() - 1]).is_none());
        }

        #[test]
        fn no_bytes_are_read_past(batch in batches(), damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
            let mut bytes = Vec::new();
            pack(&batch, &mut bytes);
            for (at, byte) in damage {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let Some(batch) = unpack(&bytes) else { return Ok(()) };
            for hit in 0..batch.hits.len() {
                let hit = batch.hit(hit as u32);
                prop_assert!(batch.str(hit.entity).len() + batch.str(hit.text).len() <= 2 * batch.text.len());
            }
        }
    }
}
