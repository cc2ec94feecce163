//! Which schema is this record?
//!
//! Asking sixty schemas for each line would cost more than reading it. But what a record has (which of the probed keys are
//! there) rules out all schemas but one or two, and a log has few different shapes. So for each shape we work out once which
//! schemas could match, and ask only those, in order of priority. The table is a cache of a pure function: full, it is
//! emptied, and no answer depends on it.

use hashbrown::HashMap;

use super::{Memo, SchemaIndex, Schemas};
use crate::limits::SHAPES_MAX;
use crate::model::Event;

/// Shapes seen and the schemas that could match them.
#[derive(Default)]
pub(super) struct Candidates {
    by_shape: HashMap<Box<[u64]>, usize>,
    lists: Vec<Box<[u16]>>,
    /// The last record's shape: the next is likely to have the same.
    last: Vec<u64>,
    last_list: Option<usize>,
    shape: Vec<u64>,
}

impl Schemas {
    /// The schema of highest priority that recognises the record, whose line had that format.
    pub fn recognise(&self, event: Event, format: &str, memo: &mut Memo) -> Option<SchemaIndex> {
        let candidates = &mut memo.candidates;
        candidates.shape.clear();
        let format_at = self.formats.iter().position(|it| **it == *format).map_or(u64::MAX, |it| it as u64);
        candidates.shape.push(format_at);
        let present = event.buf.present();
        candidates.shape.extend(self.probes.iter().map(|(word, bits)| present.get(*word).copied().unwrap_or(0) & bits));
        let list = match candidates.last_list {
            Some(list) if candidates.shape == candidates.last => list,
            _ => self.candidates(event, format, candidates),
        };
        let found = candidates.lists[list].iter().find(|it| self.all[usize::from(**it)].recognise.holds(event))?;
        Some(SchemaIndex(*found))
    }

    fn candidates(&self, event: Event, format: &str, memo: &mut Candidates) -> usize {
        let known = memo.by_shape.get(memo.shape.as_slice()).copied();
        let list = known.unwrap_or_else(|| {
            if memo.lists.len() >= SHAPES_MAX {
                memo.by_shape.clear();
                memo.lists.clear();
            }
            let fitting = self.all.iter().enumerate().filter(|(_, schema)| {
                (schema.formats.is_empty() || schema.formats.iter().any(|it| **it == *format))
                    && schema.recognise.may_hold(&|id| event.buf.has(id))
            });
            memo.lists.push(fitting.map(|(index, _)| index as u16).collect());
            memo.by_shape.insert(memo.shape.as_slice().into(), memo.lists.len() - 1);
            memo.lists.len() - 1
        });
        memo.last.clone_from(&memo.shape);
        memo.last_list = Some(list);
        list
    }
}
