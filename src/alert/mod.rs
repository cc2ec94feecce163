//! Findings to alerts.
