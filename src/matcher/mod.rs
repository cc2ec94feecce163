//! Events to hits: which rules does this event satisfy?
