//! Bytes to lines.

pub mod batch;
pub mod document;
pub mod frame;
pub mod octets;
pub mod receipt;
