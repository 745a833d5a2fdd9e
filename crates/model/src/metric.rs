//! Metric data points, after the wire and before the series.

use crate::histogram::LogHistogram;
use crate::observation::{Party, Side};
use crate::symbol::Symbol;
use crate::time::EventTime;
use serde::{Deserialize, Serialize};

/// How successive points of a series relate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Temporality {
    /// A gauge: each point stands alone.
    #[default]
    Gauge,
    /// Each point is the change since the last.
    Delta,
    /// Each point is the total since `start`.
    Cumulative,
}

/// The value of one point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MetricValue {
    /// A sum or gauge. NaN is kept: a sender that has no value says so.
    Number(f64),
    /// A histogram on our log grid (explicit bounds are mapped to it, exponential ones downscaled).
    Histogram {
        /// Number of recorded values.
        count: u64,
        /// Their sum, as the sender gives it.
        sum: f64,
        /// Their distribution.
        grid: LogHistogram,
    },
}

/// What a point says of the requests of an edge, or of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Meaning {
    /// Something else: only a gauge of it is of use, as a sign of what goes on in its workload.
    #[default]
    Other,
    /// Counts requests.
    Requests,
    /// How long requests take: a histogram, or a gauge of one quantile.
    Durations {
        /// Nanoseconds in one unit of the value (a histogram's grid is in nanoseconds already).
        nanos_per_unit: f64,
        /// The quantile that a gauge shows, 0 to 1.
        quantile: Option<f64>,
    },
}

/// One point of one series, with what we understand of its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// Metric name.
    pub name: Symbol,
    /// The sender: one resource and signal.
    pub origin: Symbol,
    /// Name, origin and all attributes as one hash: the identity of the series.
    pub series: u64,
    /// Start of accumulation, in nanoseconds (Envoy's microseconds are scaled up).
    pub start: EventTime,
    /// When the value held.
    pub time: EventTime,
    /// How points relate.
    pub temporality: Temporality,
    /// Only ever grows, so a smaller value is a reset.
    pub monotonic: bool,
    /// The value.
    pub value: MetricValue,
    /// Who reports.
    pub reporter: Party,
    /// The other end, for per-edge metrics; all absent otherwise.
    pub peer: Party,
    /// Which end reports, for per-edge metrics.
    pub side: Side,
    /// Response class or code label, when there is one.
    pub status: u16,
    /// gRPC status label; -1 when none.
    pub grpc_status: i16,
    /// What it says of requests.
    pub meaning: Meaning,
    /// Which version of itself the reporter says it runs, as in [`Observation`](crate::Observation).
    pub version: Symbol,
}
