//! `tripline geoip`: ask the loaded databases.

use clap::{Args, Subcommand};

use super::{Common, Exit};

#[derive(Args, Debug)]
pub struct GeoipArgs {
    #[command(subcommand)]
    pub command: GeoipCommand,
}

#[derive(Subcommand, Debug)]
pub enum GeoipCommand {
    /// Where addresses are
    Lookup { addresses: Vec<String> },
    /// What is loaded
    Info,
}

pub fn run(_common: &Common, _args: GeoipArgs) -> Exit {
    Exit::Usage
}
