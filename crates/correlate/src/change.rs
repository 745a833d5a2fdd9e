//! What people changed, which explains more faults than anything else does.

use selvedge_model::{Endpoint, EventTime};

/// A workload runs a version that it was never heard to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionChange {
    /// Which workload. Its principal does not matter.
    pub workload: Endpoint,
    /// Which version, as its telemetry says it.
    pub version: String,
    /// When it was heard first.
    pub at: EventTime,
}
