//! Batches in, effects out: assembles the pure stages into the engine that `run` and `replay` share.
//!
//! Owns the stages, the shards, the windows between them, and the live loop with its shutdown.
//! Never opens a socket or a file, never sends an alert: it says what should be done ([`Effect`]).
//! Depends on all stages below. Start reading at `pipeline.rs`: the whole flow on one screen.

mod arrival;
mod config;
mod containment;
mod inventors;
mod live;
mod logs;
mod orders;
mod overload;
mod paths;
mod pipeline;
mod recorder;
mod retention;
mod router;
mod senders;
mod shards;
mod snapshot;
mod stats;
mod ticks;
mod windows;

pub use arrival::ClockSteps;
pub use config::EngineConfig;
pub use live::{CheckpointPlan, CheckpointWriter, Engine, HistoryWriter, LiveSnapshots, run};
pub use orders::{LiveOrders, OrderError};
pub use overload::Overload;
pub use pipeline::{Effect, IngestError, KNOWLEDGE, Mode, Pick, Pipeline, RawBatch, Saved, StateError};
pub use recorder::Recorded;
pub use retention::Handed;
pub use selvedge_correlate::IncidentChange;
pub use selvedge_decode::{CLOCK_AHEAD_MAX, Encoding, RejectionCounts};
pub use selvedge_detect::calibration::Budgets;
pub use selvedge_detect::{RuleError, RuleSet};
pub use selvedge_learn::{KnownBy, Provenance};
pub use selvedge_policy::{
    CommandError, ContainmentEvent, Now, PolicyConfig, PolicyMode, PushReport, TrafficRow,
};
pub use senders::{Brought, BySide, Carried, Sides};
pub use snapshot::{EdgeSummary, ReporterSummary, Snapshot};
pub use stats::Stats;
