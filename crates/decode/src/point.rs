//! One metric data point, put together from its parts: the same for protobuf and JSON.

use selvedge_model::Temporality;

use crate::fault::{Fault, FaultKind};
use crate::record::{PointRecord, PointValue};
use crate::rejection::Rejection;
use crate::sink::{RecordSink, Visit};

/// OTLP `DataPointFlags`: the sender has no value for this interval.
const NO_RECORDED_VALUE: u32 = 1;

/// Which kind of metric a point belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PointKind {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

/// What all points of one metric share.
pub(crate) struct Head<'r> {
    pub(crate) name: &'r [u8],
    pub(crate) unit: &'r [u8],
    pub(crate) kind: PointKind,
    /// OTLP AggregationTemporality: 1 delta, 2 cumulative.
    pub(crate) temporality: i32,
    pub(crate) monotonic: bool,
}

/// The parts of a point besides its fields, counts and bounds, which are in the scratch.
pub(crate) struct Parts {
    /// Where the point is in the body.
    pub(crate) offset: usize,
    pub(crate) start_unix_nano: u64,
    pub(crate) time_unix_nano: u64,
    pub(crate) flags: u32,
    /// Sum of the attributes' hashes.
    pub(crate) attributes_hash: u64,
    /// Gauge or sum; NaN until a value is seen.
    pub(crate) number: f64,
    pub(crate) count: u64,
    /// NaN when the sender gives none.
    pub(crate) sum: f64,
    pub(crate) scale: i32,
    pub(crate) zero_count: u64,
    pub(crate) positive_offset: i32,
}

impl Parts {
    pub(crate) fn new(offset: usize) -> Self {
        Self {
            offset,
            start_unix_nano: 0,
            time_unix_nano: 0,
            flags: 0,
            attributes_hash: 0,
            number: f64::NAN,
            count: 0,
            sum: f64::NAN,
            scale: 0,
            zero_count: 0,
            positive_offset: 0,
        }
    }
}

impl Head<'_> {
    /// A gauge, and a sum that does not say how its points relate, stand alone. A summary is kept as its count,
    /// which only grows (the quantiles of one process cannot be merged with another's).
    fn temporality(&self) -> Temporality {
        match (self.kind, self.temporality) {
            (PointKind::Summary, _) => Temporality::Cumulative,
            (PointKind::Gauge, _) => Temporality::Gauge,
            (_, 1) => Temporality::Delta,
            (_, 2) => Temporality::Cumulative,
            _ => Temporality::Gauge,
        }
    }

    fn monotonic(&self) -> bool {
        match self.kind {
            PointKind::Gauge => false,
            PointKind::Sum => self.monotonic,
            PointKind::Histogram | PointKind::Exponential | PointKind::Summary => true,
        }
    }
}

/// Hands a complete point to the sink, or rejects it.
pub(crate) fn emit<S: RecordSink>(head: &Head<'_>, parts: &Parts, visit: &mut Visit<'_, '_, S>) {
    let Visit { sink, scratch, resource } = visit;
    if head.kind == PointKind::Histogram && scratch.counts.is_empty() && scratch.bounds.is_empty() {
        // Legal: no distribution, only a count. One bucket over everything says the same.
        scratch.counts.push(parts.count);
    }
    if head.kind == PointKind::Histogram && !fits(&scratch.bounds, &scratch.counts) {
        let fault = Fault::new(FaultKind::Histogram, parts.offset, scratch.counts.len() as u64);
        sink.reject(Rejection::BadHistogram, fault);
        return;
    }
    let value = match head.kind {
        _ if parts.flags & NO_RECORDED_VALUE != 0 => PointValue::Number(f64::NAN),
        PointKind::Gauge | PointKind::Sum => PointValue::Number(parts.number),
        PointKind::Summary => PointValue::Number(parts.count as f64),
        PointKind::Histogram => PointValue::Explicit {
            count: parts.count,
            sum: parts.sum,
            bounds: &scratch.bounds,
            counts: &scratch.counts,
        },
        PointKind::Exponential => PointValue::Exponential {
            count: parts.count,
            sum: parts.sum,
            scale: parts.scale,
            zero_count: parts.zero_count,
            positive_offset: parts.positive_offset,
            positive: &scratch.counts,
        },
    };
    let record = PointRecord {
        name: head.name,
        unit: head.unit,
        start_unix_nano: parts.start_unix_nano,
        time_unix_nano: parts.time_unix_nano,
        temporality: head.temporality(),
        monotonic: head.monotonic(),
        value,
        attributes_hash: parts.attributes_hash,
        fields: &scratch.fields,
    };
    sink.point(resource, &record);
}

/// True when there is one count more than bounds, and the bounds ascend (so none is NaN).
fn fits(bounds: &[f64], counts: &[u64]) -> bool {
    counts.len() == bounds.len() + 1
        && bounds.iter().all(|bound| !bound.is_nan())
        && bounds.windows(2).all(|pair| pair[0] < pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend_and_fit_their_counts() {
        assert!(fits(&[], &[5]));
        assert!(fits(&[1.0, 2.0], &[0, 1, 2]));
        assert!(!fits(&[1.0, 2.0], &[0, 1]));
        assert!(!fits(&[1.0], &[]));
        assert!(!fits(&[2.0, 1.0], &[0, 1, 2]));
        assert!(!fits(&[f64::NAN], &[0, 1]));
        assert!(!fits(&[1.0, f64::NAN], &[0, 1, 2]));
    }
}
