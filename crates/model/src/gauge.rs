//! What metrics say: gauges, which are points that stand alone, and what one side of an edge counted.

use crate::edge::EdgeKey;
use crate::observation::Side;
use crate::symbol::Symbol;
use crate::time::EventTime;
use serde::{Deserialize, Serialize};

/// Which gauge: of an edge, or (without a source) of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GaugeKey {
    /// The edge; of a workload's own gauge the destination alone.
    pub edge: EdgeKey,
    /// Who sees it.
    pub side: Side,
    /// Metric name; absent for the medians of histograms, which each side may give another name.
    pub name: Symbol,
    /// Its quantile in thousandths; [`GaugeKey::PLAIN`] for none.
    pub quantile: u16,
}

/// One value of a gauge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GaugePoint {
    /// Which gauge.
    pub key: GaugeKey,
    /// Who sent it.
    pub origin: Symbol,
    /// When it held.
    pub at: EventTime,
    /// Nanoseconds for durations, else as it was sent. Positive.
    pub value: f64,
    /// It is a duration.
    pub duration: bool,
    /// Only of use beside the same of the other side: by itself it is counted otherwise.
    pub beside_only: bool,
}

/// Requests of an edge that one side's counter speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideCount {
    /// The edge.
    pub edge: EdgeKey,
    /// Whose proxy counts.
    pub side: Side,
    /// When they were, as near as the counter tells.
    pub at: EventTime,
    /// How many.
    pub requests: u64,
}

impl GaugeKey {
    /// A gauge without a quantile.
    pub const PLAIN: u16 = u16::MAX;
    /// The median.
    pub const MEDIAN: u16 = 500;

    /// True for a gauge of an edge.
    #[must_use]
    pub fn of_edge(&self) -> bool {
        self.edge.source.known()
    }
}
