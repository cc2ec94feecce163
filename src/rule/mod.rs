//! Rule files: what they say, reading them with every mistake shown, and their stories.

pub mod file;
