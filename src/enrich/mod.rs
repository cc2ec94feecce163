//! Facts added to an event.
