//! What commands do, one file a command.

pub mod geoip;
