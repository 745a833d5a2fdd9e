//! A block: up to 8,192 rows of one table, column by column. Full blocks never change and are shared.

use crate::segment::column::{Ids, Numbers};

/// Rows of a full block.
pub(crate) const BLOCK_ROWS: usize = 8_192;

/// What a row has beside its shape. Every table uses the same places; the ones it does not need cost nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    /// Trace id.
    pub(crate) trace: [u8; 16],
    /// Request id as a number.
    pub(crate) request: [u8; 16],
    /// Span id; for metric points the hash of the series.
    pub(crate) span: [u8; 8],
    /// Parent span id.
    pub(crate) parent: [u8; 8],
    /// Start, in nanoseconds since the epoch.
    pub(crate) start: u64,
    /// End, in nanoseconds since the epoch.
    pub(crate) end: u64,
    /// Latency in nanoseconds, where it is not `end - start`.
    pub(crate) duration: u64,
    /// Request bytes; for metric points the number of values.
    pub(crate) bytes_in: u64,
    /// Response bytes.
    pub(crate) bytes_out: u64,
    /// The value of a metric point, as bits.
    pub(crate) value: u64,
}

/// The first and last moments of some rows, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start: (u64, u64),
    pub(crate) end: (u64, u64),
}

impl Default for Bounds {
    fn default() -> Self {
        Self { start: (u64::MAX, 0), end: (u64::MAX, 0) }
    }
}

impl Bounds {
    fn hold(&mut self, row: &Row) {
        self.merge(&Self { start: (row.start, row.start), end: (row.end, row.end) });
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.start = (self.start.0.min(other.start.0), self.start.1.max(other.start.1));
        self.end = (self.end.0.min(other.end.0), self.end.1.max(other.end.1));
    }
}

/// Rows by column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    /// Number of the shape in the segment's book.
    pub(crate) shapes: Vec<u16>,
    pub(crate) trace: Ids<16>,
    pub(crate) request: Ids<16>,
    pub(crate) span: Ids<8>,
    pub(crate) parent: Ids<8>,
    pub(crate) start: Numbers,
    /// `end - start`, wrapping: clocks of two machines may put the end before the start.
    pub(crate) elapsed: Numbers,
    pub(crate) duration: Numbers,
    pub(crate) bytes_in: Numbers,
    pub(crate) bytes_out: Numbers,
    pub(crate) value: Numbers,
    pub(crate) bounds: Bounds,
}

impl Block {
    pub(crate) fn new() -> Self {
        Self { shapes: Vec::with_capacity(BLOCK_ROWS), ..Self::default() }
    }

    pub(crate) fn push(&mut self, shape: u16, row: &Row) {
        self.shapes.push(shape);
        self.trace.push(row.trace, BLOCK_ROWS);
        self.request.push(row.request, BLOCK_ROWS);
        self.span.push(row.span, BLOCK_ROWS);
        self.parent.push(row.parent, BLOCK_ROWS);
        self.start.push(row.start, BLOCK_ROWS);
        self.elapsed.push(row.end.wrapping_sub(row.start), BLOCK_ROWS);
        self.duration.push(row.duration, BLOCK_ROWS);
        self.bytes_in.push(row.bytes_in, BLOCK_ROWS);
        self.bytes_out.push(row.bytes_out, BLOCK_ROWS);
        self.value.push(row.value, BLOCK_ROWS);
        self.bounds.hold(row);
    }

    pub(crate) fn rows(&self) -> usize {
        self.shapes.len()
    }

    pub(crate) fn full(&self) -> bool {
        self.rows() >= BLOCK_ROWS
    }

    /// Gives back what was reserved for rows that did not come.
    pub(crate) fn shrink(&mut self) {
        self.shapes.shrink_to_fit();
        self.trace.shrink();
        self.request.shrink();
        self.span.shrink();
        self.parent.shrink();
        let Self { start, elapsed, duration, bytes_in, bytes_out, value, .. } = self;
        [start, elapsed, duration, bytes_in, bytes_out, value].into_iter().for_each(Numbers::shrink);
    }

    /// Bytes on the heap, by capacity.
    pub(crate) fn bytes(&self) -> usize {
        let ids = self.trace.bytes() + self.request.bytes() + self.span.bytes() + self.parent.bytes();
        let Self { start, elapsed, duration, bytes_in, bytes_out, value, .. } = self;
        let numbers: usize =
            [start, elapsed, duration, bytes_in, bytes_out, value].into_iter().map(Numbers::bytes).sum();
        size_of::<Self>() + self.shapes.capacity() * size_of::<u16>() + ids + numbers
    }
}
