//! The last six windows of an edge, and how far the last 1, 3 and 6 of them are from normal.

use selvedge_model::{EdgeCounts, Measure};
use serde::{Deserialize, Serialize};

use super::evidence::BINOMIAL_FROM;
use super::maths::{binomial_deviance, narrow, negative_binomial_deviance};
use super::usual::Expected;

/// Windows that are kept: a minute of windows of ten seconds.
pub(super) const WINDOWS: usize = 6;
/// Windows that are looked at together.
const SCALES: [usize; 3] = [1, 3, 6];
/// Measures, and the exposure behind them.
const COLUMNS: usize = Measure::ALL.len() + 1;
const EXPOSURE: usize = Measure::ALL.len();

/// Counts of the last windows. A count past four thousand million stays there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Recent {
    windows: [[u32; COLUMNS]; WINDOWS],
    newest: u8,
    /// Share of the records that was kept; nothing for a window that nobody reported.
    kept: [f32; WINDOWS],
}

/// Sums over the scales.
pub(super) struct Sums {
    counts: [[f64; COLUMNS]; SCALES.len()],
    seconds: [f64; SCALES.len()],
}

impl Recent {
    /// Adds a window with the share of records that was kept; `None` for one that nobody reported.
    pub(super) fn push(&mut self, counts: Option<(&EdgeCounts, f64)>) {
        self.newest = (self.newest + 1) % 6;
        self.kept[usize::from(self.newest)] = counts.map_or(0.0, |(_, kept)| narrow(kept));
        let slot = &mut self.windows[usize::from(self.newest)];
        *slot = [0; COLUMNS];
        let Some((counts, _)) = counts else { return };
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        for (kept, &count) in slot.iter_mut().zip(&counts.counts) {
            *kept = small(count);
        }
        slot[EXPOSURE] = small(counts.requests);
    }

    /// Adds `windows` windows without a count, of whose records this share would have been kept.
    pub(super) fn push_empty(&mut self, windows: u64, kept: f64) {
        let nothing = EdgeCounts::default();
        for _ in 0..windows.min(WINDOWS as u64) {
            self.push(Some((&nothing, kept)));
        }
    }

    /// Forgets the counts of a measure.
    pub(super) fn forget(&mut self, measure: Measure) {
        self.windows.iter_mut().for_each(|window| window[measure as usize] = 0);
    }

    pub(super) fn sums(&self, window_seconds: f64) -> Sums {
        let mut sums = Sums { counts: [[0.0; COLUMNS]; 3], seconds: [0.0; 3] };
        let mut running = [0_u64; COLUMNS];
        let (mut seen, mut scale) = (0.0, 0);
        for back in 0..WINDOWS {
            let place = self.place(back);
            let window = &self.windows[place];
            for (sum, &count) in running.iter_mut().zip(window) {
                *sum += u64::from(count);
            }
            seen += f64::from(self.kept[place]);
            if back + 1 == SCALES[scale] {
                for (sum, &count) in sums.counts[scale].iter_mut().zip(&running) {
                    *sum = count as f64;
                }
                sums.seconds[scale] = seen * window_seconds;
                scale += 1;
            }
        }
        sums
    }

    /// Sum of squared distances of the last `windows` windows from `mean(exposure)`, with the sums of means and of the
    /// variances that counting explains.
    pub(super) fn squares(
        &self,
        measure: Measure,
        windows: usize,
        rate: f64,
        phi: f64,
        seconds: f64,
    ) -> [f64; 4] {
        let mut sums = [0.0; 4];
        for place in (0..windows.min(WINDOWS)).map(|back| self.place(back)) {
            let window = &self.windows[place];
            let kept = f64::from(self.kept[place]);
            let exposure = if measure.over_time() { seconds * kept } else { f64::from(window[EXPOSURE]) };
            let mean = exposure * rate;
            // As the minute's, trimmed: a flood is not the edge's own spread.
            let count = super::usual::Usual::trimmed(f64::from(window[measure as usize]), mean, phi);
            let variance = if measure.over_time() { mean } else { mean * (1.0 - rate).max(0.0) };
            sums[0] += (count - mean).powi(2);
            sums[1] += mean;
            sums[2] += variance;
            sums[3] += f64::from(u8::from(exposure > 0.0));
        }
        sums
    }

    fn place(&self, back: usize) -> usize {
        (usize::from(self.newest) + WINDOWS - back) % WINDOWS
    }
}

impl Sums {
    /// The largest deviance of the scales, against what is still normal.
    pub(super) fn score(&self, measure: Measure, expected: &Expected) -> f64 {
        self.largest(measure, expected).0
    }

    /// Counts and exposure of the scale with the largest deviance; of all windows when there is none.
    pub(super) fn telling(&self, measure: Measure, expected: &Expected) -> [f64; 2] {
        let (_, scale) = self.largest(measure, expected);
        let over_time = measure.over_time();
        let exposure = if over_time { self.seconds[scale] } else { self.counts[scale][EXPOSURE] };
        [self.counts[scale][measure as usize], exposure]
    }

    /// Counts and exposure of all windows.
    pub(super) fn all(&self, measure: Measure) -> [f64; 2] {
        let last = SCALES.len() - 1;
        let exposure = if measure.over_time() { self.seconds[last] } else { self.counts[last][EXPOSURE] };
        [self.counts[last][measure as usize], exposure]
    }

    /// The largest deviance and its scale.
    fn largest(&self, measure: Measure, expected: &Expected) -> (f64, usize) {
        let mut largest = (0.0_f64, SCALES.len() - 1);
        if expected.up <= 0.0 {
            return largest;
        }
        let column = measure as usize;
        for (scale, windows) in SCALES.into_iter().enumerate() {
            let x = self.counts[scale][column];
            let up = f64::from(expected.up);
            let over_time = measure.over_time();
            let m = if over_time { self.seconds[scale] } else { self.counts[scale][EXPOSURE] };
            let high = up * m < x;
            let low = over_time && x < f64::from(expected.down) * m;
            if !high && !low {
                continue;
            }
            // Independent parts of the spread average out over windows; what the minutes show does not.
            let (minute, window) = (f64::from(expected.phi), f64::from(expected.phi_window));
            let phi = minute + (window - minute).max(0.0) / windows as f64;
            let deviance = if !high {
                negative_binomial_deviance(x, f64::from(expected.down) * m, phi)
            } else if !over_time && BINOMIAL_FROM < up {
                binomial_deviance(x, m, up, phi)
            } else {
                negative_binomial_deviance(x, up * m, phi)
            };
            if largest.0 < deviance {
                largest = (deviance, scale);
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(requests: u64) -> EdgeCounts {
        let mut counts = EdgeCounts { requests, ..EdgeCounts::default() };
        counts.counts[0] = requests;
        counts
    }

    fn null() -> Expected {
        Expected {
            season: 1.0,
            mean: 1.0,
            level: 1.0,
            up: 1.25,
            down: 0.8,
            phi: 0.01,
            phi_window: 0.01,
            wander: 0.0,
        }
    }

    #[test]
    fn one_window_of_flood_is_seen_at_once_and_silence_too() {
        let mut recent = Recent::default();
        for _ in 0..6 {
            recent.push(Some((&window(10), 1.0)));
        }
        assert!(recent.sums(10.0).score(Measure::Requests, &null()) < 1e-9);
        recent.push(Some((&window(100), 1.0)));
        assert!(recent.sums(10.0).score(Measure::Requests, &null()) > 50.0);
        recent.push_empty(6, 1.0);
        assert!(recent.sums(10.0).score(Measure::Requests, &null()) > 35.0, "forty-eight were expected");
    }

    /// Guarantees: the fewer records were kept the fewer are usual, and the less their absence says; also of very few.
    #[test]
    fn of_fewer_records_fewer_are_usual() {
        let (expected, mut recent) =
            (Expected { mean: 100.0, up: 125.0, down: 80.0, ..null() }, Recent::default());
        for _ in 0..6 {
            recent.push(Some((&window(2), 0.002)));
        }
        assert!(recent.sums(10.0).score(Measure::Requests, &expected) < 1e-9);
        recent.push_empty(6, 0.000_1);
        assert!(recent.sums(10.0).score(Measure::Requests, &expected) < 1.0);
        recent.push(Some((&window(2), 1.0)));
        assert!(
            recent.sums(10.0).score(Measure::Requests, &expected) > 50.0,
            "of all records 1,000 are usual"
        );
    }

    #[test]
    fn windows_that_nobody_reported_are_no_silence() {
        let mut recent = Recent::default();
        for _ in 0..6 {
            recent.push(None);
        }
        assert!(recent.sums(10.0).score(Measure::Requests, &null()) < 1e-9);
    }
}
