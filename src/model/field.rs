//! Names become numbers when rules load, so that no line pays for a name.
//!
//! Two kinds share one number space. A *record path* (`actor.alternateId`) is filled by a format decoder straight from the
//! line. A *mapped field* (`user.name`) is filled by a schema. They are kept apart because an attacker who can put a key
//! `activity` into a record must not be able to speak for the schema.

use std::collections::HashMap;

/// The number of an interned field name: an index into an event's slots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FieldId(pub u16);

impl FieldId {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Fields that stand for the first of others that a record has: whom a lone event is about. Records leave out whom it was done to,
/// or who did it, and an alert about nobody could not be told. Where none is there, the vendor's name stands in.
pub const STAND_INS: [(&str, &[&str]); 2] = [
    ("entity.name", &["user.name", "source.ip", "user.target.name"]),
    ("entity.target.name", &["user.target.name", "user.name", "source.ip"]),
];

/// The fields that this one stands for, in the order in which they are asked. Empty: it speaks for itself.
pub fn stands_for(name: &str) -> &'static [&'static str] {
    STAND_INS.iter().find(|it| it.0 == name).map_or(&[], |it| it.1)
}

/// All names that some loaded rule, schema or output asks for.
#[derive(Clone, Default, Debug)]
pub struct Fields {
    names: Vec<Box<str>>,
    mapped: HashMap<Box<str>, FieldId>,
    paths: HashMap<Box<str>, FieldId>,
}

impl Fields {
    /// The field of that name that schemas fill; interned when new.
    pub fn mapped(&mut self, name: &str) -> FieldId {
        intern(&mut self.mapped, &mut self.names, name)
    }

    /// The path of that name that decoders fill; interned when new. Keys are joined by dots.
    pub fn path(&mut self, path: &str) -> FieldId {
        intern(&mut self.paths, &mut self.names, path)
    }

    /// What a rule means by `name`: a mapped field where one of that name is known, otherwise a path of the record.
    /// Schemas intern what they fill before rules are compiled. A leading dot says that the record's own key is meant:
    /// `.user.name` is what the record calls so, whatever a schema made of it.
    pub fn named_by_rule(&mut self, name: &str) -> FieldId {
        if let Some(path) = name.strip_prefix('.') {
            return self.path(path);
        }
        match self.mapped.get(name) {
            Some(id) => *id,
            None => self.path(name),
        }
    }

    pub fn mapped_id(&self, name: &str) -> Option<FieldId> {
        self.mapped.get(name).copied()
    }

    pub fn name(&self, id: FieldId) -> &str {
        &self.names[id.index()]
    }

    /// How many slots an event needs.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The record paths, in no particular order.
    pub fn paths(&self) -> impl Iterator<Item = (&str, FieldId)> {
        self.paths.iter().map(|(name, id)| (name.as_ref(), *id))
    }

    /// The mapped fields, in no particular order.
    pub fn all_mapped(&self) -> impl Iterator<Item = (&str, FieldId)> {
        self.mapped.iter().map(|(name, id)| (name.as_ref(), *id))
    }
}

fn intern(table: &mut HashMap<Box<str>, FieldId>, names: &mut Vec<Box<str>>, name: &str) -> FieldId {
    if let Some(id) = table.get(name) {
        return *id;
    }
    let id = FieldId(u16::try_from(names.len()).expect("limits::FIELDS_MAX is checked when files load"));
    names.push(name.into());
    table.insert(name.into(), id);
    id
}
