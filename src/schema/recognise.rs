//! Which schema is this record?

use super::{Memo, SchemaIndex, Schemas};
use crate::model::Event;

impl Schemas {
    /// The schema of highest priority that recognises the record, whose line had that format. To be asked
    /// right before [`Schemas::elements`] and [`Schemas::understand`], which go by the shape found here.
    #[inline]
    pub fn recognise(&self, event: Event, format: &'static str, memo: &mut Memo) -> Option<SchemaIndex> {
        let shape = memo.shapes.find(self, event, format);
        shape.candidates.iter().find(|it| it.1.holds(event)).map(|it| it.0)
    }
}
