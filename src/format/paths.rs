//! Finds the wanted paths of a record while its keys go by.
//!
//! With 43 vendor schemas loaded several hundred paths are wanted, and a record has a handful of them. A map from path to
//! field would need the path as text, which nobody has while reading; so the paths become a trie over keys, and each node
//! finds a child by hashing what two loads give: the key's first and last eight bytes. Names in the tables come from rules
//! and schemas, so a stranger's keys cannot make the tables slow: the longest probe is fixed when rules load.

use crate::model::path::Path;
use crate::model::{EventBuf, FieldId, Fields, Place, Slot};

use super::{cef, combined, keyrunner, syslog};

/// A node of the trie; `ROOT` is the record itself.
pub(super) type Node = u32;
pub(super) const ROOT: Node = 0;
/// Below here nothing is wanted.
pub(super) const NOWHERE: Node = u32::MAX;

/// The record paths that somebody asked for.
pub struct Paths {
    pub(super) trie: Trie,
    /// The whole line or the text it carries: formats that have one fill it.
    pub(super) message: Option<FieldId>,
    pub(super) keyrunner: keyrunner::Ids,
    pub(super) syslog: syslog::Ids,
    pub(super) cef: cef::Ids,
    pub(super) combined: combined::Ids,
}

impl Paths {
    /// Built once from the names that rules and schemas interned. Those that are computed from others are not read.
    pub fn new(fields: &Fields) -> Paths {
        let trie = Trie::new(fields.paths().filter(|(name, _)| !Path::is_computed(name)));
        Paths {
            message: trie.field("message"),
            keyrunner: keyrunner::Ids::new(&trie),
            syslog: syslog::Ids::new(&trie),
            cef: cef::Ids::new(&trie),
            combined: combined::Ids::new(&trie),
            trie,
        }
    }
}

pub(super) struct Trie {
    nodes: Vec<NodeData>,
    /// The key of each node.
    keys: Vec<Box<str>>,
    /// The tables of all nodes, one after another.
    entries: Vec<Entry>,
    /// Nodes that have children.
    inner: u32,
}

#[derive(Clone, Copy)]
struct NodeData {
    field: Option<FieldId>,
    /// The number of a node that has children among those that do; its bit in [`crate::model::Notes::entered`].
    mark: u16,
    shift: u8,
    /// The size of the table less one; 0 for a node without children.
    mask: u32,
    table: u32,
}

const LEAF: NodeData = NodeData { field: None, mark: 0, shift: 0, mask: 0, table: 0 };

#[derive(Clone, Copy)]
struct Entry {
    first: u64,
    last: u64,
    len: u32,
    node: Node,
    parent: Node,
}

const EMPTY: Entry = Entry { first: 0, last: 0, len: u32::MAX, node: NOWHERE, parent: NOWHERE };
/// No entry.
const NONE: u32 = u32::MAX;
/// Keys of a record that are foreseen. Later ones are looked up.
const FORESEEN_MAX: usize = 256;

impl Trie {
    fn new<'a>(names: impl Iterator<Item = (&'a str, FieldId)>) -> Trie {
        let mut sorted: Vec<_> = names.collect();
        sorted.sort_unstable();
        let mut trie = Trie { nodes: vec![LEAF], keys: vec!["".into()], entries: Vec::new(), inner: 0 };
        let mut children: Vec<Vec<Node>> = vec![Vec::new()];
        for (name, field) in sorted {
            let mut at = ROOT;
            for key in name.split('.') {
                let known = children[at as usize].iter().copied().find(|it| *trie.keys[*it as usize] == *key);
                at = known.unwrap_or_else(|| {
                    let new = trie.nodes.len() as Node;
                    trie.nodes.push(LEAF);
                    trie.keys.push(key.into());
                    children.push(Vec::new());
                    children[at as usize].push(new);
                    new
                });
            }
            trie.nodes[at as usize].field = Some(field);
        }
        for (node, below) in children.iter().enumerate() {
            trie.lay(node, below);
        }
        trie
    }

    /// Writes the table of one node: open addressing, at most half full.
    fn lay(&mut self, node: usize, children: &[Node]) {
        if children.is_empty() {
            return;
        }
        let size = (children.len() * 2).next_power_of_two();
        let start = self.entries.len();
        self.entries.resize(start + size, EMPTY);
        let shift = 64 - size.trailing_zeros() as u8;
        let mark = u16::try_from(self.inner).expect("limits::FIELDS_MAX bounds the names, and with them the nodes");
        self.nodes[node] = NodeData { mark, shift, mask: size as u32 - 1, table: start as u32, ..self.nodes[node] };
        self.inner += 1;
        for child in children {
            let key = self.keys[*child as usize].as_bytes();
            let (first, last) = ends(key, 0, key.len());
            let mut slot = hash(first, last, key.len(), shift);
            while self.entries[start + slot].node != NOWHERE {
                slot = (slot + 1) & (size - 1);
            }
            // A key that must be escaped in a record cannot be compared with one as it stands, so it is never foreseen.
            let plain = !key.iter().any(|it| *it < 0x20 || matches!(it, b'"' | b'\\'));
            let parent = if plain { node as Node } else { NOWHERE };
            self.entries[start + slot] = Entry { first, last, len: key.len() as u32, node: *child, parent };
        }
    }

    /// The entry of `node` for the key `bytes[start..end]`, dots not being special.
    #[inline]
    fn entry(&self, node: Node, bytes: &[u8], start: usize, end: usize) -> u32 {
        let data = self.nodes[node as usize];
        if data.mask == 0 {
            return NONE;
        }
        let len = end - start;
        let (first, last) = ends(bytes, start, len);
        let mut slot = hash(first, last, len, data.shift) as u32;
        loop {
            let index = data.table + slot;
            let entry = &self.entries[index as usize];
            if entry.node == NOWHERE {
                return NONE;
            }
            if entry.first == first && entry.last == last && entry.len as usize == len {
                // Up to 16 bytes the two words are the key.
                if len <= 16 || bytes[start..end] == *self.keys[entry.node as usize].as_bytes() {
                    return index;
                }
            }
            slot = (slot + 1) & data.mask;
        }
    }

    fn child(&self, node: Node, bytes: &[u8], start: usize, end: usize) -> Node {
        self.entries.get(self.entry(node, bytes, start, end) as usize).map_or(NOWHERE, |it| it.node)
    }

    /// Where the key `bytes[start..end]` leads from `node`: a key that holds dots stands for as many keys.
    #[inline]
    pub(super) fn find(&self, node: Node, bytes: &[u8], start: usize, end: usize) -> Node {
        match self.child(node, bytes, start, end) {
            NOWHERE => self.find_dotted(node, bytes, start, end),
            child => child,
        }
    }

    /// Like [`Trie::find`], and notes what was found as the record's key number `count`.
    #[inline]
    pub(super) fn find_and_note(
        &self,
        node: Node,
        bytes: &[u8],
        start: usize,
        end: usize,
        count: usize,
        keys: &mut Vec<u32>,
    ) -> Node {
        let index = self.entry(node, bytes, start, end);
        match keys.get_mut(count) {
            Some(it) => *it = index,
            None if count < FORESEEN_MAX => keys.resize(count + 1, index),
            None => {}
        }
        match self.entries.get(index as usize) {
            Some(entry) => entry.node,
            None => self.find_dotted(node, bytes, start, end),
        }
    }

    /// If the text at `start` is the key that the last record had in this place, and a quote ends it: its end and where
    /// it leads. A comparison instead of a search for the key's end and one in a table.
    #[inline]
    pub(super) fn foreseen(
        &self,
        node: Node,
        bytes: &[u8],
        start: usize,
        index: Option<&u32>,
    ) -> Option<(usize, Node)> {
        let entry = self.entries.get(*index? as usize)?;
        let len = entry.len as usize;
        let end = start + len;
        if entry.parent != node || bytes.get(end) != Some(&b'"') || ends(bytes, start, len) != (entry.first, entry.last)
        {
            return None;
        }
        let same = len <= 16 || bytes[start..end] == *self.keys[entry.node as usize].as_bytes();
        same.then_some((end, entry.node))
    }

    #[inline]
    fn find_dotted(&self, mut node: Node, bytes: &[u8], start: usize, end: usize) -> Node {
        let len = end - start;
        let (first, last) = ends(bytes, start, len);
        if len <= 16 && !has_dot(first) && !has_dot(last) {
            return NOWHERE;
        }
        let mut from = start;
        while let Some(dot) = memchr::memchr(b'.', &bytes[from..end]) {
            node = self.child(node, bytes, from, from + dot);
            if node == NOWHERE {
                return NOWHERE;
            }
            from += dot + 1;
        }
        if from == start { NOWHERE } else { self.child(node, bytes, from, end) }
    }

    /// The node at the end of a dotted path.
    pub(super) fn node(&self, path: &str) -> Node {
        self.find(ROOT, path.as_bytes(), 0, path.len())
    }

    pub(super) fn field(&self, path: &str) -> Option<FieldId> {
        self.field_at(self.node(path))
    }

    #[inline]
    pub(super) fn field_at(&self, node: Node) -> Option<FieldId> {
        self.nodes.get(node as usize).and_then(|it| it.field)
    }

    #[inline]
    pub(super) fn has_children(&self, node: Node) -> bool {
        self.nodes.get(node as usize).is_some_and(|it| it.mask != 0)
    }

    /// Forgets which nodes were entered.
    #[inline]
    pub(super) fn start(&self, buf: &mut EventBuf) {
        buf.notes.entered.clear();
        buf.notes.entered.resize(self.inner.div_ceil(64) as usize, 0);
    }

    /// Whether this is the node's first value in the record. Later ones are left out: who can repeat a key must not be
    /// able to choose which of the two values is believed, here and elsewhere.
    #[inline]
    pub(super) fn admit(&self, node: Node, buf: &mut EventBuf) -> bool {
        let data = self.nodes[node as usize];
        let mut first = true;
        if let Some(field) = data.field {
            first = !buf.has(field);
        }
        if data.mask != 0 {
            let word = &mut buf.notes.entered[usize::from(data.mark >> 6)];
            let bit = 1u64 << (data.mark & 63);
            first &= *word & bit == 0;
            *word |= bit;
        }
        buf.key_repeated |= !first;
        first
    }
}

/// The first and the last eight bytes of a key, with zeros for what a short key does not have.
#[inline]
pub(super) fn ends(bytes: &[u8], start: usize, len: usize) -> (u64, u64) {
    if len > 8 {
        return (word(bytes, start), word(bytes, start + len - 8));
    }
    if len == 0 {
        return (0, 0);
    }
    // The eight bytes from the key's start are nearly always there: a quote, a colon and a value follow.
    let unwanted = 64 - 8 * len as u32;
    match bytes.get(start..start + 8) {
        Some(_) => (word(bytes, start) << unwanted >> unwanted, 0),
        None => (bytes[start..start + len].iter().rev().fold(0, |word, it| word << 8 | u64::from(*it)), 0),
    }
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..at + 8).and_then(|it| it.try_into().ok()) {
        Some(it) => u64::from_le_bytes(it),
        None => 0,
    }
}

#[inline]
fn hash(first: u64, last: u64, len: usize, shift: u8) -> usize {
    let mixed = first.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (last ^ len as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    ((mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize
}

/// Whether one of the eight bytes is a dot.
#[inline]
fn has_dot(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let dots = word ^ (ONES * 0x2e);
    dots.wrapping_sub(ONES) & !dots & (ONES << 7) != 0
}

/// A part of the record, by byte offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub start: usize,
    pub end: usize,
}

impl Part {
    pub(super) fn new(start: usize, end: usize) -> Part {
        Part { start, end }
    }

    #[inline]
    pub(super) fn of(self, record: &str) -> &str {
        &record[self.start..self.end]
    }

    /// Without blanks at both ends.
    #[inline]
    pub(super) fn trim(mut self, record: &str) -> Part {
        let bytes = record.as_bytes();
        while self.start < self.end && is_blank(bytes[self.start]) {
            self.start += 1;
        }
        while self.start < self.end && is_blank(bytes[self.end - 1]) {
            self.end -= 1;
        }
        self
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Sets a wanted field to this part of the record. Empty text says nothing, so it sets nothing.
    #[inline]
    pub(super) fn put(self, field: Option<FieldId>, buf: &mut EventBuf) {
        if let Some(field) = field
            && !self.is_empty()
        {
            buf.set(field, Slot::text(Place::Record, self.start, self.end - self.start));
        }
    }

    /// Like [`Part::put`], for formats that write `-` for what is absent.
    #[inline]
    pub(super) fn put_unless_dash(self, field: Option<FieldId>, record: &str, buf: &mut EventBuf) {
        if self.of(record) != "-" {
            self.put(field, buf);
        }
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The line from `at` without byte order mark and line end.
#[inline]
pub(super) fn body(record: &str, at: usize) -> Part {
    let bytes = record.as_bytes();
    let start = if bytes[at..].starts_with(BOM) { at + BOM.len() } else { at };
    let mut end = bytes.len();
    while end > start && matches!(bytes[end - 1], b'\r' | b'\n') {
        end -= 1;
    }
    Part { start, end }
}

pub(super) const BOM: &[u8] = "\u{feff}".as_bytes();
