//! The shape of a metric point's row, and what of it is the row itself.

use selvedge_model::tables::{METRIC_POINTS, TableDef};
use selvedge_model::{MetricPoint, MetricValue, Party, Side, Symbol, Temporality};

use crate::segment::block::Row;
use crate::segment::shape::{Cell, Shape};
use crate::segment::words;

/// What points of a series share, but for the series itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PointFields {
    name: Symbol,
    origin: Symbol,
    temporality: Temporality,
    monotonic: bool,
    histogram: bool,
    reporter: Party,
    peer: Party,
    side: Side,
    status: u16,
}

impl PointFields {
    pub(crate) fn of(point: &MetricPoint) -> Self {
        Self {
            name: point.name,
            origin: point.origin,
            temporality: point.temporality,
            monotonic: point.monotonic,
            histogram: matches!(point.value, MetricValue::Histogram { .. }),
            reporter: point.reporter,
            peer: point.peer,
            side: point.side,
            status: point.status,
        }
    }
}

/// What of a point is not its shape. Its distribution stays with the detector; SQL has count and sum.
pub(crate) fn row(point: &MetricPoint) -> Row {
    let (value, count) = match &point.value {
        MetricValue::Number(number) => (*number, 0),
        MetricValue::Histogram { count, sum, .. } => (*sum, *count),
    };
    Row {
        span: point.series.to_be_bytes(),
        start: point.start.0,
        end: point.time.0,
        bytes_in: count,
        value: value.to_bits(),
        ..Row::default()
    }
}

impl Shape for PointFields {
    const TABLE: &'static TableDef = &METRIC_POINTS;

    fn mix(&self) -> u64 {
        let series = u64::from(self.name.0) << 32 | u64::from(self.origin.0);
        let ends = u64::from(self.peer.workload.0) << 16 | u64::from(self.status);
        series.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ends
    }

    #[rustfmt::skip]
    fn reader(column: &str) -> Option<fn(&Self) -> Cell> {
        Some(match column {
            "name" => |fields| Cell::Text(fields.name),
            "kind" => |fields| Cell::Word(if fields.histogram { HISTOGRAM } else { NUMBER }),
            "temporality" => |fields| Cell::Word(words::temporality(fields.temporality)),
            "monotonic" => |fields| Cell::Flag(fields.monotonic),
            "side" => |fields| Cell::Word(words::side(fields.side)),
            "reporter_cluster" => |fields| Cell::Text(fields.reporter.cluster),
            "reporter_namespace" => |fields| Cell::Text(fields.reporter.namespace),
            "reporter_workload" => |fields| Cell::Text(fields.reporter.workload),
            "reporter_principal" => |fields| Cell::Text(fields.reporter.principal),
            "reporter_identity" => |fields| Cell::Word(fields.reporter.source.name()),
            "peer_cluster" => |fields| Cell::Text(fields.peer.cluster),
            "peer_namespace" => |fields| Cell::Text(fields.peer.namespace),
            "peer_workload" => |fields| Cell::Text(fields.peer.workload),
            "peer_principal" => |fields| Cell::Text(fields.peer.principal),
            "peer_identity" => |fields| Cell::Word(fields.peer.source.name()),
            "status" => |fields| words::status(fields.status),
            "origin" => |fields| Cell::Text(fields.origin),
            _ => return None,
        })
    }
}

/// The kind of a point that is one number.
const NUMBER: &str = "number";
/// The kind of a point that is a histogram.
pub(crate) const HISTOGRAM: &str = "histogram";
