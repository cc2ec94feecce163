//! Alerts of Tripline about itself, as the engine makes them too.

pub use crate::engine::own::alert;
