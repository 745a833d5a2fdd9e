//! Block maxima of a class over the mesh and the last weeks, as histograms by day: ranks, and the tail beyond them.

use serde::{Deserialize, Serialize};

/// Days that are kept: whole weeks.
const DAYS: usize = 28;
/// Bins of a histogram: 1 % wide or less in what matters, from -8 to some 300.
const BINS: usize = 512;
/// Bins a unit of `asinh((score + 8) / 4)`.
const RESOLUTION: f64 = 100.0;
const LOWEST: f64 = -8.0;
const SCALE: f64 = 4.0;
/// The largest scores that the tail is fitted to.
const TAIL: u64 = 30;

/// The record of one class at one pace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pool {
    days: Vec<Vec<u32>>,
    today: Vec<u32>,
    sum: Vec<u64>,
    /// Blocks of the newest closed day: how large the mesh is now.
    newest: u64,
    tail: Option<Tail>,
}

/// Exponential tail: `blocks P(score > s) = TAIL exp(-(s - from) / scale)`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Tail {
    from: f64,
    scale: f64,
}

impl Default for Pool {
    fn default() -> Self {
        Self { days: Vec::new(), today: vec![0; BINS], sum: vec![0; BINS], newest: 0, tail: None }
    }
}

impl Pool {
    pub(super) fn add(&mut self, score: f32) {
        let bin = &mut self.today[bin_of(f64::from(score))];
        *bin = bin.saturating_add(1);
    }

    /// Today becomes the newest day; the oldest goes. A day without a block is no day.
    pub(super) fn close_day(&mut self) {
        let blocks: u64 = self.today.iter().map(|&count| u64::from(count)).sum();
        if blocks == 0 {
            return;
        }
        self.newest = blocks;
        let today = std::mem::replace(&mut self.today, vec![0; BINS]);
        if self.days.len() == DAYS {
            let oldest = self.days.remove(0);
            self.sum.iter_mut().zip(oldest).for_each(|(sum, count)| *sum -= u64::from(count));
        }
        self.sum.iter_mut().zip(&today).for_each(|(sum, &count)| *sum += u64::from(count));
        self.days.push(today);
        self.tail = self.fit();
    }

    pub(super) fn days(&self) -> usize {
        self.days.len()
    }

    pub(super) fn blocks(&self) -> u64 {
        self.sum.iter().sum()
    }

    /// How many blocks a day are expected to exceed a score, in a mesh as large as it is now. Blocks that exceed it more
    /// than once count as often as a Poisson process with that share of hits would: `-ln(1 - p)`.
    pub(super) fn exceedances_a_day(&self, score: f32) -> f64 {
        let score = f64::from(score);
        let mut above = self.above(score);
        if let Some(tail) = self.tail.filter(|tail| tail.from <= score) {
            above = above.max(TAIL as f64 * (-(score - tail.from) / tail.scale).exp());
        }
        let share = above / self.blocks().max(1) as f64;
        -(-share.min(0.999_999)).ln_1p() * self.newest as f64
    }

    /// The smallest score that `enough` accepts, for a question whose answer turns once.
    pub(super) fn inverse(&self, enough: impl Fn(f32) -> bool) -> f32 {
        let (mut low, mut high) = (-8.0_f32, 4_096.0_f32);
        for _ in 0..48 {
            let middle = f32::midpoint(low, high);
            if enough(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }

    /// Blocks above a score: straight lines inside bins.
    fn above(&self, score: f64) -> f64 {
        let bin = bin_of(score);
        let larger: u64 = self.sum[bin + 1..].iter().sum();
        let (from, to) = (score_of(bin), score_of(bin + 1));
        let part = ((to - score) / (to - from)).clamp(0.0, 1.0);
        larger as f64 + part * self.sum[bin] as f64
    }

    /// Mean excess of the largest scores over the smallest of them.
    fn fit(&self) -> Option<Tail> {
        let (mut count, mut excess) = (0_u64, 0.0);
        for bin in (0..BINS).rev() {
            count += self.sum[bin];
            excess += self.sum[bin] as f64 * f64::midpoint(score_of(bin), score_of(bin + 1));
            if TAIL <= count {
                let from = score_of(bin);
                // The bin holds more than are wanted: those count as no more than its lower end.
                let scale = (excess - count as f64 * from) / TAIL as f64;
                return Some(Tail { from, scale: scale.max(0.05 * (from + 8.0)).max(0.1) });
            }
        }
        None
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the bins")]
fn bin_of(score: f64) -> usize {
    (((score - LOWEST) / SCALE).asinh() * RESOLUTION).clamp(0.0, (BINS - 1) as f64) as usize
}

fn score_of(bin: usize) -> f64 {
    LOWEST + SCALE * (bin as f64 / RESOLUTION).sinh()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(days: usize, blocks: u32) -> Pool {
        let mut pool = Pool::default();
        for _ in 0..days {
            for block in 0..blocks {
                // Quantiles of the exponential with mean 2.
                let p = (f64::from(block) + 0.5) / f64::from(blocks);
                #[expect(clippy::cast_possible_truncation, reason = "a score")]
                pool.add((-2.0 * (1.0 - p).ln()) as f32);
            }
            pool.close_day();
        }
        pool
    }

    #[test]
    fn ranks_and_the_tail_beyond_them_are_those_of_the_law() {
        let pool = exponential(14, 1_000);
        for (score, expected) in [(4.0, 135.3), (9.0, 11.1), (18.0, 0.123), (24.0, 0.006_14)] {
            let found = pool.exceedances_a_day(score);
            let expected: f64 =
                if score < 5.0 { -1_000.0 * (1.0 - expected / 1_000.0_f64).ln() } else { expected };
            assert!((found / expected).ln().abs() < 0.35, "{score}: {found} and not {expected}");
        }
    }

    #[test]
    fn old_days_go_and_a_grown_mesh_alarms_more_often() {
        let mut pool = exponential(40, 100);
        assert_eq!((pool.days(), pool.blocks()), (28, 2_800));
        let before = pool.exceedances_a_day(8.0);
        (0..200).for_each(|_| pool.add(0.0));
        pool.close_day();
        assert!(pool.exceedances_a_day(8.0) > 1.8 * before);
    }

    #[test]
    fn scores_beyond_the_last_bin_are_kept_in_it() {
        let mut pool = Pool::default();
        (0..40).for_each(|_| pool.add(1e30));
        pool.add(f32::NAN);
        pool.close_day();
        assert!(pool.exceedances_a_day(200.0).is_finite());
    }
}
