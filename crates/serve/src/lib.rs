//! The engine's view over HTTP: health, metrics, incidents, findings, edges, deliveries, quarantines, SQL.
//!
//! Owns the API on port 4319. Read-only, but for one thing: who has the token may approve and lift quarantines.
//! Never waits for the engine: it reads the latest view. SQL, which has its own threads and limits, asks it for a
//! snapshot. Depends on `engine`, `query` and `act`. Start reading at `api.rs`.

mod api;
mod auth;
mod checkpoint_metrics;
mod door;
mod hosts;
mod journal_metrics;
mod kafka_metrics;
mod metrics;
mod problem;
mod quarantines;
mod reporters;
mod server;
mod sql;
mod xds_metrics;

pub use auth::ServeAuthSection;
pub use quarantines::QuarantineDoor;
pub use server::{Health, Lifecycle, ServeConfig, ServeError, ServeSection, Server};

use std::sync::Arc;

use arc_swap::ArcSwap;
use selvedge_act::DeliveryLedger;
use selvedge_checkpoint::CheckpointStats;
use selvedge_enforce::xds::XdsView;
use selvedge_engine::Snapshot;
use selvedge_query::SqlService;
use selvedge_receive::journal::JournalStats;
use selvedge_receive::{KafkaStats, ReceiveStats};
use tokio::runtime::RuntimeMetrics;

/// What the API looks at.
#[derive(Clone)]
pub struct Sources {
    /// The engine's latest view.
    pub view: Arc<ArcSwap<Snapshot>>,
    /// What became of alerts.
    pub deliveries: Arc<DeliveryLedger>,
    /// What the receivers counted.
    pub received: Arc<ReceiveStats>,
    /// What the journal counted; `None` when it is off.
    pub journal: Option<Arc<JournalStats>>,
    /// What reading Kafka counts; `None` when no topic is read.
    pub kafka: Option<Arc<KafkaStats>>,
    /// What became of checkpoints; `None` without a journal.
    pub checkpoints: Option<Arc<CheckpointStats>>,
    /// What people may do about quarantines.
    pub quarantines: QuarantineDoor,
    /// How the proxies that enforce stand; `None` where nothing can be enforced.
    pub xds: Option<XdsView>,
    /// Answers SQL; `None` when it is off.
    pub sql: Option<SqlService>,
    /// The process's runtimes by name: a task that is never finished shows as a number that grows.
    pub runtimes: Vec<(&'static str, RuntimeMetrics)>,
    /// Whether the process starts, serves or drains.
    pub health: Arc<Health>,
    /// Version of the program.
    pub version: &'static str,
}
