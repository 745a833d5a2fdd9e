//! A mergeable histogram on a fixed logarithmic grid.
//!
//! Log-linear: eight equal steps inside every factor of two, so a quantile is at most one eighth too high, a cell is
//! found with two shifts, and merging loses nothing. OpenTelemetry's exponential histograms are mapped onto it.

use serde::{Deserialize, Serialize};

/// Cells per factor of two.
const CELLS_PER_OCTAVE: u32 = 8;

/// Counts by cell, sparse and sorted: an edge's second holds a handful of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHistogram {
    cells: Vec<(u16, u32)>,
}

impl LogHistogram {
    /// Adds one value; zero goes to the lowest cell.
    pub fn record(&mut self, value: u64) {
        self.add(Self::cell_of(value), 1);
    }

    /// Adds `count` values to a cell; a cell's count saturates.
    pub fn add(&mut self, cell: u16, count: u32) {
        match self.cells.binary_search_by_key(&cell, |entry| entry.0) {
            Ok(at) => self.cells[at].1 = self.cells[at].1.saturating_add(count),
            Err(at) => self.cells.insert(at, (cell, count)),
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (cell, count) in &other.cells {
            self.add(*cell, *count);
        }
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cells.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// Number of values in cells above that of `value`.
    #[must_use]
    pub fn count_above(&self, value: u64) -> u64 {
        let limit = Self::cell_of(value);
        self.cells.iter().filter(|(cell, _)| *cell > limit).map(|(_, count)| u64::from(*count)).sum()
    }

    /// Upper edge of the cell that holds quantile `q` (0 to 1); `None` when empty.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank; counts stay far below 2^52"
    )]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let total = self.count();
        let rank = ((total as f64 * q.clamp(0.0, 1.0)).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        for (cell, count) in &self.cells {
            seen += u64::from(*count);
            if seen >= rank {
                return Some(Self::upper_edge(*cell));
            }
        }
        None
    }

    /// The sparse cells, in order.
    #[must_use]
    pub fn cells(&self) -> &[(u16, u32)] {
        &self.cells
    }

    /// Heap bytes in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<(u16, u32)>()
    }

    /// The cell of a value: eight linear steps inside each octave (log-linear, no floating point).
    #[must_use]
    pub fn cell_of(value: u64) -> u16 {
        if value < u64::from(CELLS_PER_OCTAVE) {
            return u16::try_from(value).unwrap_or(0);
        }
        let octave = value.ilog2();
        let step = (value >> (octave - 3)) & 7;
        u16::try_from(u64::from((octave - 2) * CELLS_PER_OCTAVE) + step).unwrap_or(u16::MAX)
    }

    /// The largest value of a cell.
    #[must_use]
    pub fn upper_edge(cell: u16) -> u64 {
        let cell = u64::from(cell);
        if cell < 8 {
            return cell;
        }
        let (octave, step) = (cell / 8 + 2, cell % 8);
        if octave > 63 {
            return u64::MAX;
        }
        let width = 1_u64 << (octave - 3);
        (1_u64 << octave) + step * width + (width - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_cell_within_one_eighth() {
        for value in (0..100_000).chain([u64::MAX, u64::MAX / 3, 1 << 40]) {
            let upper = LogHistogram::upper_edge(LogHistogram::cell_of(value));
            assert!(upper >= value, "{value} above the edge {upper} of its cell");
            assert!(upper - value <= value / 8, "{value} too far below the edge {upper}");
        }
    }

    #[test]
    fn merging_is_the_same_as_recording_together() {
        let (mut left, mut right, mut both) =
            (LogHistogram::default(), LogHistogram::default(), LogHistogram::default());
        for value in 0..1_000_u64 {
            if value % 3 == 0 {
                left.record(value * 977)
            } else {
                right.record(value * 977)
            }
            both.record(value * 977);
        }
        left.merge(&right);
        assert_eq!(left, both);
    }

    #[test]
    fn quantiles_of_nothing_and_of_one_value() {
        let mut histogram = LogHistogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        histogram.record(5);
        assert_eq!(histogram.quantile(0.0), Some(5));
        assert_eq!(histogram.quantile(1.0), Some(5));
        assert_eq!(histogram.count_above(4), 1);
        assert_eq!(histogram.count_above(5), 0);
    }
}
