//! Reads arguments, runs one command, chooses the exit code.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        if !tripline::cli::panics::say(panic) {
            std::process::exit(0);
        }
    }));
    tripline::cli::run(tripline::cli::Cli::parse()).into()
}
