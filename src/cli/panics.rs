//! What is said of a panic, which is a mistake of ours.

use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::deliver::escape;
use crate::model::text;

/// Panics that are told of, each with its place: more of them say nothing new.
const SAID_MAX: u32 = 20;
/// Of what a panic says.
const TEXT_BYTES_MAX: usize = 256;

/// A line that makes our code stumble is a stranger's, may stand in what the panic says, and may come a million times.
/// False: it was no mistake. `println!` panics when its reader has left (`tripline rules | head`), and whoever left wants no
/// more, and no complaint.
pub fn say(panic: &PanicHookInfo<'_>) -> bool {
    static SAID: AtomicU32 = AtomicU32::new(0);
    let payload = panic.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("no reason given");
    if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
        return false;
    }
    if SAID.fetch_add(1, Relaxed) < SAID_MAX {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = escape::terminal(text::cut(text, TEXT_BYTES_MAX));
        // Where nobody hears it, that must not be a panic, too.
        let _ = writeln!(std::io::stderr(), "tripline: a mistake of ours at {place}: {text}");
    }
    true
}
