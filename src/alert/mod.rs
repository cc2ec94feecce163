//! Findings to alerts: opens, folds and resolves them.

pub mod desk;
pub mod title;

pub use desk::{Desk, RuleCard};
