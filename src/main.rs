//! Reads arguments, runs one command, chooses the exit code.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    tripline::cli::run(tripline::cli::Cli::parse()).into()
}
