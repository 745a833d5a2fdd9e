//! All recorded tables, and the snapshot that queries see.

use std::sync::Arc;
use std::time::Duration;

use selvedge_model::tables::TableDef;
use selvedge_model::time::nanos;
use selvedge_model::{Call, MetricPoint, Observation, ObservationKind, SymbolTable};

use crate::segment::block::BLOCK_ROWS;
use crate::segment::calls::{self, CallFields};
use crate::segment::names::Names;
use crate::segment::points::{self, PointFields};
use crate::segment::records::{self, RecordFields};
use crate::segment::table::{Limits, SegmentView, TableStore};
use crate::snapshot::Snapshot;
use crate::watched::Watched;

/// Rows of a segment, unless the byte budget is small.
const SEGMENT_ROWS_MAX: usize = 131_072;
/// Segments that should fit into a table's share of the budget, so that dropping one is no earthquake.
const SEGMENTS_MIN: usize = 16;
/// About what a row costs, to size segments of small budgets.
const ROW_BYTES: usize = 64;

/// How much is kept.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Bytes of all tables together.
    pub bytes_max: usize,
    /// Shares of calls, spans, log records and metric points, in parts of their sum. A table whose share is zero is
    /// not kept.
    pub shares: [u32; 4],
    /// Rows of a segment.
    pub segment_rows_max: usize,
    /// Event time a segment spans.
    pub segment_age_max: Duration,
    /// Sealed segments wait for [`Store::take_sealed`], for a history.
    pub history: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            bytes_max: 1 << 30,
            shares: [60, 20, 15, 5],
            segment_rows_max: SEGMENT_ROWS_MAX,
            segment_age_max: Duration::from_secs(15 * 60),
            history: false,
        }
    }
}

/// What one table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize {
    /// Name of the table.
    pub table: &'static str,
    /// Rows kept.
    pub rows: u64,
    /// Rows dropped at the byte budget.
    pub dropped_rows: u64,
    /// Rows that no history took in time.
    pub unwritten_rows: u64,
    /// Distinct shapes.
    pub shapes: usize,
    /// Bytes on the heap, by capacity.
    pub bytes: usize,
}

/// A sealed segment of one table, for the history.
pub struct SealedSegment {
    pub(crate) table: &'static TableDef,
    pub(crate) view: SegmentView,
}

impl SealedSegment {
    /// Name of its table.
    #[must_use]
    pub fn table(&self) -> &'static str {
        self.table.name
    }

    /// Its rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.view.segment.rows
    }
}

/// Everything that SQL can see of the telemetry. One owner, no locks; queries read snapshots.
///
/// All symbols of its rows must be of the one table that [`Self::snapshot`] is given.
pub struct Store {
    calls: TableStore<CallFields>,
    spans: TableStore<RecordFields<false>>,
    logs: TableStore<RecordFields<true>>,
    points: TableStore<PointFields>,
    kept: [bool; 4],
    names: Names,
    watched: Arc<Watched>,
    snapshot: Option<Arc<Snapshot>>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(config: &StoreConfig) -> Self {
        let total: u64 = config.shares.iter().map(|share| u64::from(*share)).sum::<u64>().max(1);
        let limits = |share: u32| {
            let bytes_max = config.bytes_max as u64 / total * u64::from(share);
            let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
            let fitting = (bytes_max / SEGMENTS_MIN / ROW_BYTES).max(BLOCK_ROWS);
            let rows_max = config.segment_rows_max.min(fitting);
            Limits { rows_max, age_max: nanos(config.segment_age_max), bytes_max, hand_over: config.history }
        };
        let [calls, spans, logs, points] = config.shares.map(limits);
        Self {
            calls: TableStore::new(calls),
            spans: TableStore::new(spans),
            logs: TableStore::new(logs),
            points: TableStore::new(points),
            kept: config.shares.map(|share| share > 0),
            names: Names::default(),
            watched: Arc::default(),
            snapshot: None,
        }
    }

    /// Keeps a call.
    pub fn append_call(&mut self, call: &Call) {
        if self.kept[0] {
            self.calls.append(&CallFields::of(call), &calls::row(call));
            self.snapshot = None;
        }
    }

    /// Keeps a span or log record.
    pub fn append_observation(&mut self, observation: &Observation) {
        let row = records::row(observation);
        if observation.kind == ObservationKind::Span {
            if self.kept[1] {
                self.spans.append(&RecordFields::of(observation), &row);
                self.snapshot = None;
            }
        } else if self.kept[2] {
            self.logs.append(&RecordFields::of(observation), &row);
            self.snapshot = None;
        }
    }

    /// Keeps a metric point.
    pub fn append_point(&mut self, point: &MetricPoint) {
        if self.kept[3] {
            self.points.append(&PointFields::of(point), &points::row(point));
            self.snapshot = None;
        }
    }

    /// Replaces what is known and found: edges, routes, baselines, findings, incidents, fates.
    pub fn watch(&mut self, watched: Arc<Watched>) {
        self.watched = watched;
        self.snapshot = None;
    }

    /// Everything as it is now; the snapshot made before when nothing was added. Copies the open block of each table
    /// that grew, the names that are new, and nothing else.
    pub fn snapshot(&mut self, symbols: &SymbolTable) -> Arc<Snapshot> {
        if let Some(snapshot) = &self.snapshot {
            return Arc::clone(snapshot);
        }
        self.names.follow(symbols);
        let names = &self.names;
        let tables =
            [self.calls.view(names), self.spans.view(names), self.logs.view(names), self.points.view(names)];
        let snapshot = Arc::new(Snapshot::new(tables, Arc::clone(&self.watched)));
        self.snapshot = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// Ends the open segments, as when the input ends.
    pub fn seal(&mut self) {
        self.calls.seal();
        self.spans.seal();
        self.logs.seal();
        self.points.seal();
        self.snapshot = None;
    }

    /// Segments sealed since the last time, oldest first within each table. Only with [`StoreConfig::history`].
    pub fn take_sealed(&mut self, symbols: &SymbolTable) -> Vec<SealedSegment> {
        self.names.follow(symbols);
        let names = &self.names;
        let taken = [
            (self.calls.take_sealed(names), &selvedge_model::tables::CALLS),
            (self.spans.take_sealed(names), &selvedge_model::tables::SPANS),
            (self.logs.take_sealed(names), &selvedge_model::tables::LOG_RECORDS),
            (self.points.take_sealed(names), &selvedge_model::tables::METRIC_POINTS),
        ];
        let sealed = |(views, table): (Vec<SegmentView>, &'static TableDef)| {
            views.into_iter().map(move |view| SealedSegment { table, view })
        };
        taken.into_iter().flat_map(sealed).collect()
    }

    /// What each table holds.
    #[must_use]
    pub fn sizes(&self) -> [TableSize; 4] {
        [
            size("calls", &self.calls),
            size("spans", &self.spans),
            size("log_records", &self.logs),
            size("metric_points", &self.points),
        ]
    }

    /// Bytes on the heap: all tables, and the copied names.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sizes().iter().map(|size| size.bytes).sum::<usize>() + self.names.bytes()
    }
}

fn size<S: crate::segment::shape::Shape>(table: &'static str, store: &TableStore<S>) -> TableSize {
    TableSize {
        table,
        rows: store.rows(),
        dropped_rows: store.dropped_rows(),
        unwritten_rows: store.unwritten_rows(),
        shapes: store.shapes(),
        bytes: store.bytes(),
    }
}
