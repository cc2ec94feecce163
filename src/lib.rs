//! Tripline watches access and audit logs as they happen and tells the right person, within seconds, when an account is
//! being attacked or abused.
//!
//! The modules stand in the order in which data meets them; read them in that order.

pub mod limits;
pub mod tls;
pub mod model;
pub mod expr;
pub mod source;
pub mod format;
pub mod schema;
pub mod enrich;
pub mod matcher;
pub mod detect;
pub mod alert;
pub mod deliver;
pub mod store;
pub mod rule;
pub mod config;
pub mod engine;
pub mod web;
pub mod runtime;
pub mod bench;
pub mod sim;
pub mod cli;
