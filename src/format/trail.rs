//! JSON records that are built like earlier ones.
//!
//! A program writes its records from one template, so what stands between the values (`","ip":"`) is the same in every
//! line. Having read a record the long way, we keep these texts as a path in a tree; the next record follows it: a
//! comparison a key, and of the values no more than where they end. What follows what, which keys are wanted and whether
//! one came twice depend on nothing but the texts from the root, so the tree knows them already. A record that leaves the
//! tree is read the long way from its start, and widens it.
//!
//! The tree is a cache of what the long way says: full, it is emptied, and no answer depends on it.

use std::mem;

use crate::limits::{TRAIL_BYTES_MAX, TRAIL_TURNS_MAX, TRAIL_WIDTH_MAX};
use crate::model::{Edge, EventBuf, Leaf, LeafKind, Place, Slot, Trails, Turn};

use super::Paths;
use super::json::Reader;
use super::wrap::{is_most, names_no_record};

/// No turn.
const NONE: u32 = u32::MAX;

/// Reads a record that an earlier one has paved the way for. False: the buffer holds rubbish, and the record must be read
/// the long way.
pub(super) fn follow(record: &str, paths: &Paths, buf: &mut EventBuf) -> bool {
    // Moved out so that the reader can have the buffer.
    let Some(mut trails) = buf.notes.trails.take() else { return false };
    let mut reader = Reader::new(record, 0, paths, buf);
    reader.specials.load(0);
    let followed = follow_to_end(&mut trails, &mut reader).is_some();
    buf.notes.trails = Some(trails);
    followed
}

fn follow_to_end(trails: &mut Trails, reader: &mut Reader) -> Option<()> {
    let Trails { turns, text, edges, present, open, age } = trails;
    open.clear();
    let bytes = reader.bytes;
    let mut at = 0;
    let mut next = 0;
    // So many bytes at most are in objects inside the record.
    let mut inside = 0;
    loop {
        (at, next) = follow_plain(turns, reader, at, next, &mut inside)?;
        let mut turn = turns.get(next as usize)?;
        while !leads(turn, text, bytes, at) {
            next = turn.other;
            turn = turns.get(next as usize)?;
        }
        let end = mem::replace(&mut next, turn.next);
        for edge in &edges[turn.edges.0 as usize..turn.edges.1 as usize] {
            let place = at + edge.offset as usize;
            match edge.ends {
                None => open.push(place as u32),
                Some(field) => {
                    let start = open.pop()? as usize;
                    reader.buf.set(field, Slot::json(Place::Record, start, place - start));
                }
            }
        }
        at += turn.len as usize;
        inside += if turn.inside { turn.len as usize } else { 0 };
        let start = at;
        let leaf = &turn.leaf;
        match leaf.kind {
            LeafKind::Text => {
                let text = reader.string(at - 1).ok()?;
                if let Some(field) = leaf.field {
                    let slot = reader.text_slot(text);
                    reader.buf.set(field, slot);
                }
                at = text.end;
            }
            LeafKind::Other | LeafKind::NoObject => {
                let (slot, end) = reader.other(at, usize::from(leaf.depth)).ok()?;
                if let Some(field) = leaf.field {
                    reader.buf.set(field, slot);
                }
                at = end;
            }
            LeafKind::End => {
                let from = turn.present as usize;
                reader.buf.set_present(&present[from..from + reader.buf.present().len()]);
                reader.buf.key_repeated = leaf.repeated;
                // No end is the first turn.
                reader.buf.notes.way = u64::from(*age) << 32 | u64::from(end);
                reader.buf.notes.bare = leaf.bare && (inside == 0 || !is_most(inside, bytes));
                return Some(());
            }
        }
        if leaf.depth > 1 || bytes.get(start) == Some(&b'{') {
            inside += at - start;
        }
    }
}

/// Follows [plain](Turn::is_plain) turns, which nearly all are, as far as they are the first that were seen in their place:
/// that leaves half of what following costs otherwise. Which fields there are is told by the end of the trail. None: broken.
#[inline(always)]
fn follow_plain(
    turns: &[Turn],
    reader: &mut Reader,
    mut at: usize,
    mut next: u32,
    inside: &mut usize,
) -> Option<(usize, u32)> {
    let bytes = reader.bytes;
    loop {
        let slots = reader.buf.slots_mut();
        let (field, start, end) = loop {
            let Some(turn) = turns.get(next as usize) else { return Some((at, next)) };
            let Some(head) = bytes.get(at..).and_then(|it| it.first_chunk()) else { return Some((at, next)) };
            if !turn.is_plain || (u128::from_le_bytes(*head) ^ turn.head) & turn.mask != 0 {
                return Some((at, next));
            }
            let start = at + turn.len as usize;
            next = turn.next;
            at = reader.specials.next(start);
            if bytes.get(start) == Some(&b'{') {
                *inside += at - start;
            }
            if bytes.get(at) != Some(&b'"') {
                break (turn.leaf.field, start, at);
            }
            if let Some(field) = turn.leaf.field {
                slots[field.index()] = Slot::text(Place::Record, start, at - start);
            }
        };
        let text = reader.string_from(start, end).ok()?;
        if bytes.get(start) == Some(&b'{') {
            *inside += text.end - end;
        }
        at = text.end;
        if let Some(field) = field {
            let slot = reader.text_slot(text);
            reader.buf.slots_mut()[field.index()] = slot;
        }
    }
}

/// Whether the turn's text stands there, and behind it a value of its kind.
#[inline(always)]
fn leads(turn: &Turn, text: &[u8], bytes: &[u8], at: usize) -> bool {
    let len = turn.len as usize;
    let whole = || &text[turn.text as usize..turn.text as usize + len];
    let Some(head) = bytes.get(at..).and_then(|it| it.first_chunk()) else {
        // The last bytes of a record.
        let rest = &bytes[at..];
        return rest.starts_with(whole()) && turn.leaf.kind.may_begin(rest.get(len));
    };
    if (u128::from_le_bytes(*head) ^ turn.head) & turn.mask != 0 {
        return false;
    }
    let end = at + len;
    (len <= 16 || bytes.get(at..end) == Some(whole()))
        && (turn.leaf.kind == LeafKind::Text || turn.leaf.kind.may_begin(bytes.get(end)))
}

impl LeafKind {
    /// Whether a value of that kind may begin with this byte. The text before one ends with its quote.
    #[inline(always)]
    fn may_begin(self, byte: Option<&u8>) -> bool {
        match self {
            LeafKind::Text => true,
            LeafKind::End => byte.is_none(),
            LeafKind::Other => byte != Some(&b'"'),
            LeafKind::NoObject => !matches!(byte, Some(b'"' | b'{')),
        }
    }
}

/// Makes a path of the record that was just read the long way, of which the buffer has noted the values.
pub(super) fn widen(record: &str, buf: &mut EventBuf) {
    if buf.notes.leaves.is_empty() {
        return; // an array, or nothing
    }
    let len = record.len() as u32;
    let (repeated, bare) = (buf.key_repeated, names_no_record(record));
    let end = Leaf { start: len, end: len, kind: LeafKind::End, field: None, depth: 0, repeated, bare };
    buf.notes.leaves.push(end);
    let mut trails = buf.notes.trails.take().unwrap_or_default();
    add(record, &mut trails, buf);
    buf.notes.trails = Some(trails);
}

/// Adds the path of which the buffer has the values and, last, the end.
fn add(record: &str, trails: &mut Trails, buf: &EventBuf) {
    let notes = &buf.notes;
    let text_bytes = record.len() - notes.leaves.iter().map(|it| (it.end - it.start) as usize).sum::<usize>();
    if text_bytes > TRAIL_BYTES_MAX || notes.leaves.len() > TRAIL_TURNS_MAX {
        return;
    }
    if trails.text.len() + text_bytes > TRAIL_BYTES_MAX || trails.turns.len() + notes.leaves.len() > TRAIL_TURNS_MAX {
        trails.turns.clear();
        trails.text.clear();
        trails.edges.clear();
        trails.present.clear();
        trails.age = trails.age.wrapping_add(1);
    }
    // Where the number of the next turn is to be written.
    let mut from = None;
    let mut start = 0;
    for leaf in &notes.leaves {
        let text = &record.as_bytes()[start as usize..leaf.start as usize];
        let edges = notes.objects.iter().flat_map(|(first, last, field)| {
            let inside = |place: u32| (start..leaf.start).contains(&place).then(|| place - start);
            let begins = inside(*first).map(|offset| Edge { offset, ends: None });
            let ends = inside(*last - 1).map(|it| Edge { offset: it + 1, ends: Some(*field) });
            begins.into_iter().chain(ends)
        });
        let Some(turn) = turn(trails, from, text, leaf, edges, buf.present()) else { return };
        from = Some(turn);
        start = leaf.end;
    }
}

/// A text's first sixteen bytes, and which of them it has.
fn head(text: &[u8]) -> (u128, u128) {
    let mut head = [0; 16];
    let len = text.len().min(16);
    head[..len].copy_from_slice(&text[..len]);
    (u128::from_le_bytes(head), u128::MAX.checked_shr(128 - 8 * len as u32).unwrap_or(0))
}

/// Whether a text has braces besides those of the record itself.
fn has_braces(text: &[u8], first: bool, last: bool) -> bool {
    let count = |brace| text.iter().filter(|it| **it == brace).count();
    count(b'{') > usize::from(first) || count(b'}') > usize::from(last)
}

/// The turn that leads on behind `from`: one that is there, or a new one. None where there are too many already.
fn turn(
    trails: &mut Trails,
    from: Option<usize>,
    text: &[u8],
    leaf: &Leaf,
    edges: impl Iterator<Item = Edge>,
    present: &[u64],
) -> Option<usize> {
    let first = match from {
        Some(from) => trails.turns[from].next,
        None if trails.turns.is_empty() => NONE,
        None => 0,
    };
    let (mut at, mut last) = (first, None);
    for _ in 0..TRAIL_WIDTH_MAX {
        let Some(turn) = trails.turns.get(at as usize) else { break };
        let place = turn.text as usize;
        if turn.leaf.kind == leaf.kind && trails.text[place..place + turn.len as usize] == *text {
            return Some(at as usize);
        }
        last = Some(at as usize);
        at = turn.other;
    }
    if at != NONE {
        return None;
    }
    let new = trails.turns.len();
    let first_edge = trails.edges.len();
    trails.edges.extend(edges);
    trails.edges[first_edge..].sort_unstable_by_key(|it| (it.offset, it.ends.is_none()));
    let (head, mask) = head(text);
    let inside = leaf.depth > 1 || has_braces(text, from.is_none(), leaf.kind == LeafKind::End);
    let has_no_edge = first_edge == trails.edges.len();
    let is_plain = leaf.kind == LeafKind::Text && text.len() <= size_of_val(&head) && !inside && has_no_edge;
    let first_present = trails.present.len();
    if leaf.kind == LeafKind::End {
        trails.present.extend_from_slice(present);
    }
    trails.turns.push(Turn {
        head,
        mask,
        text: trails.text.len() as u32,
        len: text.len() as u32,
        leaf: *leaf,
        other: NONE,
        next: NONE,
        edges: (first_edge as u32, trails.edges.len() as u32),
        present: first_present as u32,
        inside,
        is_plain,
    });
    trails.text.extend_from_slice(text);
    match (last, from) {
        (Some(last), _) => trails.turns[last].other = new as u32,
        (None, Some(from)) => trails.turns[from].next = new as u32,
        (None, None) => {}
    }
    Some(new)
}
