//! The histogram behind `percentile`: counts on a logarithmic grid, only as wide as the values are.
//!
//! The grid is `model::LogHistogram`'s: eight equal steps inside every factor of two. Whole numbers use its cells as
//! they are; floating-point numbers use the same steps over the whole range of exponents, which are the upper bits of
//! the number itself. A percentile is off by at most one eighth, in practice less: within a cell it is interpolated,
//! and it never leaves the range of the values.

use datafusion::arrow::array::ArrowNativeTypeOp;
use datafusion::arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type};
use selvedge_model::LogHistogram;

/// Cells are added so many at a time.
const CELLS_STEP: u16 = 16;
/// Bits below a floating-point number's exponent and its three upper digits.
const FLOAT_STEP_BITS: u32 = 49;

/// A kind of number and its cells.
pub(crate) trait Grid: 'static {
    type Kind: ArrowPrimitiveType + std::fmt::Debug;

    /// The cell of a value; `None` for what is no number. Negative values count as zero.
    fn cell(value: <Self::Kind as ArrowPrimitiveType>::Native) -> Option<u16>;

    /// Smallest and largest value of a cell.
    fn edges(cell: u16) -> (f64, f64);

    fn to_f64(value: <Self::Kind as ArrowPrimitiveType>::Native) -> f64;

    fn from_f64(value: f64) -> <Self::Kind as ArrowPrimitiveType>::Native;
}

/// Whole numbers.
#[derive(Debug)]
pub(crate) struct Whole;

/// Floating-point numbers.
#[derive(Debug)]
pub(crate) struct Floating;

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "past 2^53 a cell is far wider than the rounding"
)]
impl Grid for Whole {
    type Kind = Int64Type;

    #[inline]
    fn cell(value: i64) -> Option<u16> {
        Some(LogHistogram::cell_of(value.max(0).cast_unsigned()))
    }

    fn edges(cell: u16) -> (f64, f64) {
        let below = cell.checked_sub(1).map_or(0, |below| LogHistogram::upper_edge(below) + 1);
        (below as f64, LogHistogram::upper_edge(cell) as f64)
    }

    fn to_f64(value: i64) -> f64 {
        value as f64
    }

    fn from_f64(value: f64) -> i64 {
        value.round() as i64
    }
}

impl Grid for Floating {
    type Kind = Float64Type;

    #[inline]
    fn cell(value: f64) -> Option<u16> {
        if value.is_nan() {
            return None;
        }
        Some((value.max(0.0).to_bits() >> FLOAT_STEP_BITS) as u16)
    }

    fn edges(cell: u16) -> (f64, f64) {
        let edge = |cell: u64| f64::from_bits(cell << FLOAT_STEP_BITS);
        (edge(u64::from(cell)), edge(u64::from(cell) + 1))
    }

    fn to_f64(value: f64) -> f64 {
        value
    }

    fn from_f64(value: f64) -> f64 {
        value
    }
}

/// Counts of one group.
#[derive(Debug)]
pub(crate) struct Cells<G: Grid> {
    counts: Vec<u32>,
    /// The cell of the first count.
    first: u16,
    least: <G::Kind as ArrowPrimitiveType>::Native,
    most: <G::Kind as ArrowPrimitiveType>::Native,
}

impl<G: Grid> Default for Cells<G> {
    fn default() -> Self {
        type Native<G> = <<G as Grid>::Kind as ArrowPrimitiveType>::Native;
        Self {
            counts: Vec::new(),
            first: 0,
            least: Native::<G>::MAX_TOTAL_ORDER,
            most: Native::<G>::MIN_TOTAL_ORDER,
        }
    }
}

impl<G: Grid> Cells<G> {
    #[inline]
    pub(crate) fn record(&mut self, value: <G::Kind as ArrowPrimitiveType>::Native) {
        let Some(cell) = G::cell(value) else { return };
        if value.is_lt(self.least) {
            self.least = value;
        }
        if value.is_gt(self.most) {
            self.most = value;
        }
        let slot = usize::from(cell.wrapping_sub(self.first));
        if let Some(count) = self.counts.get_mut(slot) {
            *count = count.saturating_add(1);
        } else {
            self.add(cell, 1);
        }
    }

    #[cold]
    fn add(&mut self, cell: u16, count: u32) {
        if self.counts.is_empty() {
            self.first = cell - cell % CELLS_STEP;
        }
        if cell < self.first {
            let first = cell - cell % CELLS_STEP;
            let before = usize::from(self.first - first);
            self.counts.splice(0..0, std::iter::repeat_n(0, before));
            self.first = first;
        }
        let slot = usize::from(cell - self.first);
        if slot >= self.counts.len() {
            let step = usize::from(CELLS_STEP);
            let length = (slot / step + 1) * step;
            self.counts.reserve_exact(length - self.counts.len());
            self.counts.resize(length, 0);
        }
        if let Some(known) = self.counts.get_mut(slot) {
            *known = known.saturating_add(count);
        }
    }

    /// The value at quantile `q`; `None` when nothing was recorded.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks stay far below 2^52"
    )]
    pub(crate) fn quantile(&self, q: f64) -> Option<<G::Kind as ArrowPrimitiveType>::Native> {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let rank = ((total as f64 * q).ceil() as u64).clamp(1, total.max(1));
        let mut before = 0;
        for (cell, count) in (self.first..).zip(&self.counts) {
            let within = rank - before;
            if *count > 0 && within <= u64::from(*count) {
                let (low, high) = G::edges(cell);
                let value = low + (high - low) * (within as f64 / f64::from(*count));
                let value = value.max(G::to_f64(self.least)).min(G::to_f64(self.most));
                return Some(G::from_f64(value));
            }
            before += u64::from(*count);
        }
        None
    }

    /// Heap bytes.
    pub(crate) fn heap(&self) -> usize {
        self.counts.capacity() * size_of::<u32>()
    }

    /// As bytes, for merging elsewhere: least, most, first cell, counts; all little endian.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(&G::to_f64(self.least).to_bits().to_le_bytes());
        bytes.extend_from_slice(&G::to_f64(self.most).to_bits().to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        self.counts.iter().for_each(|count| bytes.extend_from_slice(&count.to_le_bytes()));
    }

    /// Adds what [`Self::write`] wrote. Bytes that it did not write add nothing.
    pub(crate) fn merge(&mut self, bytes: &[u8]) {
        let Some((head, counts)) = bytes.split_first_chunk::<18>() else { return };
        let float = |at: usize| {
            let bits = head.get(at..at + 8).and_then(|bits| bits.try_into().ok()).unwrap_or_default();
            f64::from_bits(u64::from_le_bytes(bits))
        };
        let first = u16::from_le_bytes([head[16], head[17]]);
        let mut any = false;
        for (cell, count) in (first..).zip(counts.chunks_exact(4)) {
            let count = u32::from_le_bytes(count.try_into().unwrap_or_default());
            if count > 0 {
                self.add(cell, count);
                any = true;
            }
        }
        if any {
            let (least, most) = (G::from_f64(float(0)), G::from_f64(float(8)));
            self.least = if least.is_lt(self.least) { least } else { self.least };
            self.most = if most.is_gt(self.most) { most } else { self.most };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile_of<G: Grid>(values: &[<G::Kind as ArrowPrimitiveType>::Native], q: f64) -> f64 {
        let mut cells = Cells::<G>::default();
        values.iter().for_each(|value| cells.record(*value));
        cells.quantile(q).map_or(f64::NAN, G::to_f64)
    }

    #[test]
    fn a_percentile_is_within_one_eighth_of_the_value_at_its_rank() {
        let whole: Vec<i64> = (1..=10_000).map(|number| number * 37).collect();
        let floating: Vec<f64> = (1..=10_000).map(|number| f64::from(number) * 0.037).collect();
        for q in [0.01, 0.5, 0.9, 0.99, 1.0] {
            for (found, exact) in [
                (quantile_of::<Whole>(&whole, q), q * 370_000.0),
                (quantile_of::<Floating>(&floating, q), q * 370.0),
            ] {
                assert!((found - exact).abs() <= exact / 8.0, "{q}: {found} is not {exact}");
            }
        }
    }

    #[test]
    fn equal_values_give_themselves_and_nothing_gives_nothing() {
        assert!((quantile_of::<Whole>(&[1_000; 7], 0.99) - 1_000.0).abs() < f64::EPSILON);
        assert!((quantile_of::<Floating>(&[0.1, 0.1, f64::NAN], 0.5) - 0.1).abs() < f64::EPSILON);
        assert!(quantile_of::<Floating>(&[f64::NAN], 0.5).is_nan());
        assert!(quantile_of::<Whole>(&[-5, -5], 0.5) < 0.0);
    }

    #[test]
    fn merging_is_the_same_as_recording_together() {
        let (mut left, mut right, mut both) =
            (Cells::<Whole>::default(), Cells::<Whole>::default(), Cells::<Whole>::default());
        for value in 0..5_000_i64 {
            if value % 3 == 0 {
                left.record(value * value)
            } else {
                right.record(value * 7)
            }
            both.record(if value % 3 == 0 { value * value } else { value * 7 });
        }
        let mut bytes = Vec::new();
        right.write(&mut bytes);
        left.merge(&bytes);
        left.merge(&bytes[..5]);
        for q in [0.0, 0.25, 0.5, 0.99, 1.0] {
            assert_eq!(left.quantile(q), both.quantile(q));
        }
    }
}
