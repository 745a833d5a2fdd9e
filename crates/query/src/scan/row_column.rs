//! Columns that rows fill, not shapes: where they are in a block and how they read.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, TimestampNanosecondArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::error::ArrowError;
use selvedge_model::tables::TableDef;

use crate::scan::hex::HexColumn;
use crate::schema::UTC;
use crate::segment::block::Block;
use crate::segment::column::Rows;

/// What of a row a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowColumn {
    Start,
    End,
    /// Latency that was measured.
    Duration,
    DurationMs,
    /// Latency as the time from start to end.
    Elapsed,
    ElapsedMs,
    BytesIn,
    BytesOut,
    Trace,
    Request,
    Span,
    Parent,
    /// The value of points that are one number.
    Value,
    /// The sum of points that are histograms.
    Sum,
    /// The number of values of points that are histograms.
    Count,
}

impl RowColumn {
    /// How rows fill a column; `None` when shapes do.
    #[rustfmt::skip]
    pub(crate) fn of(table: &TableDef, column: &str) -> Option<Self> {
        Some(match (table.name, column) {
            ("metric_points", "time") => Self::End,
            (_, "start_time") => Self::Start,
            (_, "end_time") => Self::End,
            ("calls", "duration") => Self::Duration,
            ("calls", "duration_ms") => Self::DurationMs,
            (_, "duration") => Self::Elapsed,
            (_, "duration_ms") => Self::ElapsedMs,
            (_, "request_bytes") => Self::BytesIn,
            (_, "response_bytes") => Self::BytesOut,
            (_, "trace_id") => Self::Trace,
            (_, "request_id") => Self::Request,
            (_, "span_id" | "series") => Self::Span,
            (_, "parent_span_id") => Self::Parent,
            ("metric_points", "value") => Self::Value,
            ("metric_points", "sum") => Self::Sum,
            ("metric_points", "count") => Self::Count,
            _ => return None,
        })
    }
}

/// Values of one column for the rows taken so far.
pub(crate) enum Taken {
    Times {
        values: Vec<i64>,
        absent: bool,
    },
    Whole(Vec<i64>),
    Milliseconds(Vec<f64>),
    Hex(HexColumn),
    /// Numbers that only some kinds of points have.
    Some {
        values: Vec<f64>,
        present: Vec<bool>,
    },
    SomeWhole {
        values: Vec<i64>,
        present: Vec<bool>,
    },
}

impl Taken {
    pub(crate) fn new(column: RowColumn, rows: usize) -> Self {
        match column {
            RowColumn::Start | RowColumn::End => {
                Self::Times { values: Vec::with_capacity(rows), absent: false }
            }
            RowColumn::Duration | RowColumn::Elapsed | RowColumn::BytesIn | RowColumn::BytesOut => {
                Self::Whole(Vec::with_capacity(rows))
            }
            RowColumn::DurationMs | RowColumn::ElapsedMs => Self::Milliseconds(Vec::with_capacity(rows)),
            RowColumn::Trace | RowColumn::Request | RowColumn::Span | RowColumn::Parent => {
                Self::Hex(HexColumn::default())
            }
            RowColumn::Value | RowColumn::Sum => Self::Some { values: Vec::new(), present: Vec::new() },
            RowColumn::Count => Self::SomeWhole { values: Vec::new(), present: Vec::new() },
        }
    }

    /// Adds `rows` of a block. `histogram` tells of each of the rows whether its point is one.
    pub(crate) fn take(&mut self, column: RowColumn, block: &Block, rows: &Rows, histogram: &[bool]) {
        match self {
            Self::Times { values, absent } => take_times(column, block, rows, values, absent),
            Self::Whole(values) => match column {
                RowColumn::Duration => block.duration.extend(rows, values, whole),
                RowColumn::BytesIn => block.bytes_in.extend(rows, values, whole),
                RowColumn::BytesOut => block.bytes_out.extend(rows, values, whole),
                _ => block.elapsed.extend(rows, values, |value| value.cast_signed().max(0)),
            },
            Self::Milliseconds(values) => match column {
                RowColumn::DurationMs => block.duration.extend(rows, values, milliseconds),
                _ => block
                    .elapsed
                    .extend(rows, values, |value| milliseconds(value.cast_signed().max(0).cast_unsigned())),
            },
            Self::Hex(text) => match column {
                RowColumn::Trace => rows.each(|row| text.push(block.trace.value(row))),
                RowColumn::Request => rows.each(|row| text.push_request(block.request.value(row))),
                RowColumn::Span => rows.each(|row| text.push(block.span.value(row))),
                _ => rows.each(|row| text.push(block.parent.value(row))),
            },
            Self::Some { values, present } => {
                block.value.extend(rows, values, f64::from_bits);
                let wanted = column == RowColumn::Sum;
                present.extend(histogram.iter().map(|is_histogram| *is_histogram == wanted));
            }
            Self::SomeWhole { values, present } => {
                block.bytes_in.extend(rows, values, whole);
                present.extend_from_slice(histogram);
            }
        }
    }

    pub(crate) fn finish(self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Times { values, absent } => {
                let nulls = absent.then(|| values.iter().map(|value| *value != 0).collect::<NullBuffer>());
                Arc::new(TimestampNanosecondArray::try_new(values.into(), nulls)?.with_timezone(UTC))
            }
            Self::Whole(values) => Arc::new(Int64Array::from(values)),
            Self::Milliseconds(values) => Arc::new(Float64Array::from(values)),
            Self::Hex(text) => text.finish()?,
            Self::Some { values, present } => {
                Arc::new(Float64Array::try_new(ScalarBuffer::from(values), Some(NullBuffer::from(present)))?)
            }
            Self::SomeWhole { values, present } => {
                Arc::new(Int64Array::try_new(ScalarBuffer::from(values), Some(NullBuffer::from(present)))?)
            }
        })
    }
}

fn take_times(column: RowColumn, block: &Block, rows: &Rows, values: &mut Vec<i64>, absent: &mut bool) {
    let from = values.len();
    block.start.extend(rows, values, whole);
    let bounds = if column == RowColumn::End { block.bounds.end } else { block.bounds.start };
    if column == RowColumn::End {
        let mut elapsed = Vec::with_capacity(rows.len());
        block.elapsed.extend(rows, &mut elapsed, |elapsed| elapsed);
        for (start, elapsed) in values[from..].iter_mut().zip(elapsed) {
            *start = whole(start.cast_unsigned().wrapping_add(elapsed));
        }
    }
    *absent |= bounds.0 == 0;
}

/// Numbers past what SQL's bigint holds stop at its end.
fn whole(value: u64) -> i64 {
    value.min(i64::MAX.cast_unsigned()).cast_signed()
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
fn milliseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
