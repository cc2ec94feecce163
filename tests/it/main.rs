//! Tripline as others see it: its library, its program, and its own source.
//!
//! One binary, because every further one is linked again. What a single file can test of itself is tested there.

mod delivery;
mod durable;
mod fetch;
mod fuzz;
mod hostile;
mod laws;
mod learn;
mod log;
mod pages;
mod play;
mod program;
mod service;
mod tidy;
