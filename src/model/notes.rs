//! What decoders write down for themselves, kept beside the event to keep the memory. It never changes what a record says.

use hashbrown::HashMap;

use super::FieldId;

#[derive(Clone, Default, Debug)]
pub struct Notes {
    /// One bit an object of the record that was entered.
    pub entered: Vec<u64>,
    /// Which keys the last record had, in order: the next one most likely has the same.
    pub keys: Vec<u32>,
    pub trails: Option<Box<Trails>>,
    /// The values of the record being read, in order, where a trail is to be made of them.
    pub leaves: Vec<Leaf>,
    /// Wanted objects of it that were entered.
    pub objects: Vec<(u32, u32, FieldId)>,
    /// The record is known to hold no other: no names are in it that pipelines put records under, and no large object.
    pub bare: bool,
    /// The same for all records that went the same way through the trails, and so have the same fields; 0: not known.
    pub way: u64,
    /// By the way: the members in which another record may be, in their order. None: whatever names its members have matters.
    pub openings: HashMap<u64, Option<Box<[Box<str>]>>>,
}

/// What stood between the values of records seen: a tree, in which a record is a path from the root.
#[derive(Clone, Default, Debug)]
pub struct Trails {
    pub turns: Vec<Turn>,
    /// The texts of all turns.
    pub text: Vec<u8>,
    pub edges: Vec<Edge>,
    /// Which fields the records have that end in a turn, one bit a field: those of all ends, one after another.
    pub present: Vec<u64>,
    /// Where objects that are open begin.
    pub open: Vec<u32>,
    /// How often the tree was emptied.
    pub age: u32,
}

/// A text, the value behind it, and where that leads.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The text's first sixteen bytes.
    pub head: u128,
    /// Which of them it has: all bits of each.
    pub mask: u128,
    pub text: u32,
    pub len: u32,
    pub leaf: Leaf,
    /// Another text that was seen in this place.
    pub other: u32,
    /// What was seen first behind the value.
    pub next: u32,
    /// Which of the edges are in the text.
    pub edges: (u32, u32),
    /// Of an end: where its bits begin in [`Trails::present`].
    pub present: u32,
    /// The text may belong to an object inside the record.
    pub inside: bool,
    /// A short text with a text behind it, and nothing of this has to do with an object inside the record.
    pub is_plain: bool,
}

/// A value of a record, or its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    pub start: u32,
    pub end: u32,
    pub kind: LeafKind,
    pub field: Option<FieldId>,
    pub depth: u16,
    /// A key had come twice before the value.
    pub repeated: bool,
    /// Of an end: on the way there is no name that pipelines put records under.
    pub bare: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeafKind {
    /// A text; the place is behind its quote.
    Text,
    /// Another value, or an array, or an object of which nothing inside is wanted.
    Other,
    /// The same, but no object: something inside would be wanted.
    NoObject,
    /// The record's end.
    End,
}

/// Where in a turn's text a wanted object begins, or ends and is a field's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    pub offset: u32,
    pub ends: Option<FieldId>,
}
