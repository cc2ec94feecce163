//! Facts added to an event.

pub mod country;
pub mod geo;
