//! Every task, thread and channel, and the only clock.

pub mod clock;
pub mod live;
pub mod pool;
pub mod replay;
pub mod setup;
