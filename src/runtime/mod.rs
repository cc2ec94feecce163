//! Every task, thread and channel, and the only clock.

pub mod aside;
pub mod books;
pub mod clock;
mod crew;
mod heartbeat;
pub mod journal;
pub mod keeper;
pub mod learn;
pub mod live;
pub mod metrics;
pub mod newest_first;
pub mod own;
pub mod pool;
pub mod replay;
pub mod setup;
mod steady;
pub mod watch;
