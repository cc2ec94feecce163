//! Tripline watches access and audit logs as they happen and tells the right person, within seconds, when an account is
//! being attacked or abused.
//!
//! The modules stand in the order in which data meets them; read them in that order.

pub mod alert;
pub mod deliver;
pub mod detect;
pub mod enrich;
pub mod expr;
pub mod format;
pub mod limits;
pub mod matcher;
pub mod model;
pub mod rule;
pub mod schema;
pub mod source;
