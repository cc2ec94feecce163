//! Facts added to an event.

pub mod geo;
