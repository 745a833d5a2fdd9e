//! SQL over recent traffic: turns calls and signals into segments, and SQL into rows over them.
//!
//! Owns what is kept for questions ([`Store`]), what a question sees ([`Snapshot`]), and the door ([`SqlService`]) with
//! its guard rails: nothing but reading, bounded in memory, time, rows and number.
//! Never changes what ingestion knows, never reads a file, URL or variable that a query names.
//! Depends on `model`, `decode` (route templates) and `learn` (identities, baselines). Start reading at
//! `segment/store.rs`, then `scan/provider.rs`, `service.rs`.

mod by_shape;
mod catalog;
pub mod documentation;
mod error;
mod functions;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guard;
mod history;
mod measure;
pub mod output;
pub mod pg;
mod result;
mod scan;
mod schema;
mod segment;
mod service;
mod session;
mod snapshot;
mod stop;
mod views;
mod watched;

pub use datafusion::arrow::array::RecordBatch;
pub use datafusion::arrow::datatypes::SchemaRef;
pub use error::{Position, SqlError};
pub use history::{History, HistoryConfig, HistoryEnds, HistoryError};
pub use measure::STACK_BYTES;
pub use result::QueryResult;
pub use segment::{SealedSegment, Store, StoreConfig, TableSize};
pub use service::{QueryOptions, SnapshotSource, SqlConfig, SqlService};
pub use snapshot::Snapshot;
pub use watched::{Learned, Watched};
