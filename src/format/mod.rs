//! A line to an event: one file a syntax.
