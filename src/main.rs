//! Reads arguments, runs one command, chooses the exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use clap::Parser as _;

/// Panics that are told of, each with the place: more of them say nothing new.
const PANICS_SAID_MAX: u32 = 20;

fn main() -> ExitCode {
    static SAID: AtomicU32 = AtomicU32::new(0);
    std::panic::set_hook(Box::new(move |panic| {
        // `println!` panics when its reader has left (`tripline rules | head`). Whoever left wants no more, and no complaint.
        let said = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if said.starts_with("failed printing to stdout") && said.contains("Broken pipe") {
            std::process::exit(0);
        }
        // A line that makes our code stumble is a stranger's, and may stand in what the panic says; and there may be many.
        if SAID.fetch_add(1, Relaxed) < PANICS_SAID_MAX {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let said = panic.payload().downcast_ref::<&str>().copied().unwrap_or(said);
            let said = tripline::deliver::escape::terminal(tripline::model::text::cut(said, 256));
            // Where nobody hears it, that must not be a panic, too.
            let _ = writeln!(std::io::stderr(), "tripline: a mistake of ours at {place}: {said}");
        }
    }));
    tripline::cli::run(tripline::cli::Cli::parse()).into()
}
