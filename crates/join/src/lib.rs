//! Observations into joined calls: what several reporters say of one request becomes one call of one edge.
//!
//! Turns observations into per-window, per-edge deltas of completed calls, and metric points into changes of series.
//! Owns the open calls with their byte budget, event-time progress (watermark), lateness, and every record's fate.
//! Never does I/O, reads a clock, or starts a thread; never joins by a client-chosen id when identities disagree.
//! Depends on `model` only. Start reading at `store.rs` (one shard), then `assembly.rs` (the join itself), then
//! `watermark.rs`, `aliases.rs` and `directory.rs` (the sequential part before the shards).

mod agreement;
mod aliases;
mod assembly;
mod build;
mod config;
mod contest;
mod delta;
mod directory;
mod generations;
mod group;
mod hop;
mod log_join;
mod look_ahead;
mod measured;
mod reporters;
mod schedule;
mod series;
mod shapes;
mod slab;
mod store;
mod stub;
mod watermark;

#[cfg(test)]
mod testing;

pub use aliases::Aliases;
pub use config::{
    ALIASES_MAX_DEFAULT, ALLOWED_LATENESS_DEFAULT, DIRECTORY_MAX_DEFAULT, FUTURE_MAX_DEFAULT,
    GROUP_RECORDS_MAX_DEFAULT, IDLE_TIMEOUT_DEFAULT, JoinConfig, OPEN_BYTES_MAX_DEFAULT, ORIGINS_MAX_DEFAULT,
    PAIR_GRACE_DEFAULT, SERIES_BYTES_MAX_DEFAULT, TICK_EDGES_MAX_DEFAULT, WATERMARK_DELAY_DEFAULT,
    WINDOW_LENGTH_DEFAULT,
};
pub use delta::{Completeness, TickDelta};
pub use directory::Directory;
pub use log_join::{LogCounts, LogJoin};
pub use measured::{MeasuredEdges, MeasuredOverflows, MeasuredWindow};
pub use reporters::Reporters;
pub use schedule::DUE_GRAIN;
pub use series::{SeriesStore, SeriesUpdate};
pub use store::{Admission, CallStore, Oldest, Pressure, SavedCalls};
pub use watermark::Progress;
