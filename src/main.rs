//! Reads arguments, runs one command, chooses the exit code.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // `println!` panics when its reader has left (`tripline rules | head`). Whoever left wants no more, and no complaint.
        let said = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if said.starts_with("failed printing to stdout") && said.contains("Broken pipe") {
            std::process::exit(0);
        }
        hook(panic);
    }));
    tripline::cli::run(tripline::cli::Cli::parse()).into()
}
