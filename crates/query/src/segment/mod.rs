//! The rows that SQL reads: appended on the ingestion thread, read anywhere through immutable snapshots.
//!
//! A row is a shape's number (2 bytes), its ids, and what varies; everything else is in the shape, once for many rows.
//! Start reading at `store.rs`, then `table.rs`, `block.rs`, `shape.rs`.

pub(crate) mod block;
mod calls;
pub(crate) mod column;
mod names;
pub(crate) mod points;
mod records;
pub(crate) mod shape;
mod shape_column;
mod store;
pub(crate) mod table;
mod words;

pub(crate) use shape_column::edge_id;
pub use store::{SealedSegment, Store, StoreConfig, TableSize};
