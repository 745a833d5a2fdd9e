//! Reading segments: which rows a filter leaves, columns made for those rows only, and DataFusion's view of both.

mod exec;
mod filter;
mod gather;
mod hex;
mod provider;
mod row_column;
mod units;

pub(crate) use exec::{Batches, SegmentsExec};
pub(crate) use gather::Gather;
pub(crate) use provider::RecordedTable;
pub(crate) use row_column::RowColumn;
