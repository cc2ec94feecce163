//! Findings to alerts: opens, folds and resolves them.

pub mod desk;

pub use desk::{Desk, RuleCard};
