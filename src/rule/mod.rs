//! Rule files: what they say, reading them with every mistake shown, and their stories.
//!
//! [`load::load`] reads files and folders into rules, schemas and [`problem::Problem`]s; [`check::check_rules`] finds what only
//! several rules together, or a rule and the schemas, can have wrong. [`story::Story`] is a log with the alerts in
//! its margin.

pub mod file;
pub mod tree;
pub mod problem;
mod explain;
mod written;
pub mod load;
pub mod check;
pub mod story;
pub mod coverage;
pub mod sigma;

pub use explain::WRITTEN;
