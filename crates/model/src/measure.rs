//! What is counted of an edge in a window, out of which exposure: one kind of number for volume, latency and errors, so
//! that one kind of detector can judge them all.

use serde::{Deserialize, Serialize};

/// One counted quantity of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Measure {
    /// Requests. Its exposure is the length of the window.
    Requests,
    /// Body bytes that the caller sent, in units of 1 KiB, rounded up per window. Its exposure is the length of the window.
    SentKib,
    /// Requests slower than the median that is usual on the edge.
    OverMedian,
    /// Requests slower than the usual 0.9 quantile.
    OverQ90,
    /// Requests slower than the usual 0.99 quantile.
    OverQ99,
    /// Requests slower than twice the usual 0.99 quantile: the far tail.
    OverTwiceQ99,
    /// Requests refused as the caller's fault (4xx).
    ClientErrors,
    /// Requests that the callee failed (5xx).
    ServerErrors,
    /// Requests that ended with a gRPC status that is the callee's failure.
    GrpcErrors,
}

/// Measures that share a threshold, because the tails of their scores are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MeasureClass {
    /// Requests.
    Volume,
    /// Bytes.
    Bytes,
    /// Latency cells.
    Latency,
    /// Errors.
    Errors,
    /// Requests that do not come any more.
    Absence,
}

impl Measure {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Requests,
        Self::SentKib,
        Self::OverMedian,
        Self::OverQ90,
        Self::OverQ99,
        Self::OverTwiceQ99,
        Self::ClientErrors,
        Self::ServerErrors,
        Self::GrpcErrors,
    ];

    /// True when its exposure is time; else it is requests.
    #[must_use]
    pub fn over_time(self) -> bool {
        matches!(self, Self::Requests | Self::SentKib)
    }

    /// Whose threshold it shares.
    #[must_use]
    pub fn class(self) -> MeasureClass {
        match self {
            Self::Requests => MeasureClass::Volume,
            Self::SentKib => MeasureClass::Bytes,
            Self::OverMedian | Self::OverQ90 | Self::OverQ99 | Self::OverTwiceQ99 => MeasureClass::Latency,
            Self::ClientErrors | Self::ServerErrors | Self::GrpcErrors => MeasureClass::Errors,
        }
    }
}

impl MeasureClass {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Volume, Self::Bytes, Self::Latency, Self::Errors, Self::Absence];
}

/// What one edge did in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeCounts {
    /// Requests whose latency and status are known: the exposure of all measures but those over time.
    pub requests: u64,
    /// Counts in the order of [`Measure::ALL`].
    pub counts: [u64; Measure::ALL.len()],
}

impl EdgeCounts {
    /// The count of a measure.
    #[must_use]
    pub fn count(&self, measure: Measure) -> u64 {
        self.counts[measure as usize]
    }

    /// Adds those of another window, or of a part of this one.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }
}
