//! The true latency of an edge, and how likely a request is to exceed each of its cuts.
//!
//! A log-normal body and, for a share of the requests, a slower log-normal mode. The cuts are the quantiles 0.5, 0.9,
//! 0.99 and twice the last of the *long-run* distribution, wandering included; a window has its own scale and share.

use std::sync::LazyLock;
use std::time::Duration;

use statrs::function::erf::erfc;

use crate::config::LatencyNoise;
use crate::draw::Draw;

/// Median latencies are log-normal over the edges: around 8 ms, a factor of 3 is one standard deviation.
const MEDIAN_MILLIS: f64 = 8.0;
const MEDIAN_SIGMA: f64 = 1.1;

/// The latency of an edge. Logarithms are natural and relative to the median of the body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyShape {
    /// Median of the body, in seconds.
    pub median: f64,
    /// Spread of the body: standard deviation of the logarithm.
    pub body: f64,
    /// Share of requests in the slow mode.
    pub slow_share: f64,
    /// Logarithm of how many times slower the slow mode is.
    pub slow_times: f64,
    /// Spread of the slow mode.
    pub slow_spread: f64,
    /// How the whole wanders: standard deviation of the logarithm.
    pub wander: f64,
    /// Logarithms of the cuts, relative to the median.
    cuts: [f64; 4],
}

/// The latency of one window: how the usual shape is changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LatencyNow {
    /// Added to the logarithm of every latency.
    pub(crate) scale: f64,
    /// Share of the slow mode.
    pub(crate) slow_share: f64,
    /// Added to the logarithm of latencies of the slow mode.
    pub(crate) slower: f64,
}

impl LatencyShape {
    pub(crate) fn drawn(noise: &LatencyNoise, draw: &mut Draw) -> Self {
        let shape = Self {
            median: MEDIAN_MILLIS / 1e3 * (MEDIAN_SIGMA * draw.normal()).exp(),
            body: draw.within(noise.body),
            slow_share: draw.within(noise.slow_share),
            slow_times: draw.log_within(noise.slow_times).ln(),
            slow_spread: draw.within(noise.slow_spread),
            wander: draw.within(noise.wander),
            cuts: [0.0; 4],
        };
        shape.with_cuts()
    }

    /// The four cuts: q50, q90, q99 and twice q99.
    #[must_use]
    pub fn cuts(&self) -> [Duration; 4] {
        self.cuts.map(|cut| Duration::from_secs_f64(self.median * cut.exp()))
    }

    /// How likely a request is to exceed each cut; never more for a later one.
    pub(crate) fn exceeding(&self, now: &LatencyNow) -> [f64; 4] {
        self.cuts.map(|cut| {
            let body = survival((cut - now.scale) / self.body);
            let slow = survival((cut - now.scale - self.slow_times - now.slower) / self.slow_spread);
            body + now.slow_share * (slow - body)
        })
    }

    /// Wandering widens the long-run distribution: variances of logarithms add.
    fn with_cuts(mut self) -> Self {
        let long_run = Self {
            body: self.body.hypot(self.wander),
            slow_spread: self.slow_spread.hypot(self.wander),
            ..self
        };
        let [median, q90, q99] = [0.5, 0.1, 0.01].map(|above| long_run.quantile(above));
        self.cuts = [median, q90, q99, q99 + std::f64::consts::LN_2];
        self
    }

    /// The logarithm that a share `above` of requests exceeds, by bisection.
    fn quantile(&self, above: f64) -> f64 {
        let exact = |z: f64| 0.5 * erfc(z / std::f64::consts::SQRT_2);
        let share = |cut: f64| {
            let slow = exact((cut - self.slow_times) / self.slow_spread);
            (1.0 - self.slow_share) * exact(cut / self.body) + self.slow_share * slow
        };
        let (mut low, mut high) = (-10.0, 20.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if share(middle) > above { low = middle } else { high = middle }
        }
        high
    }
}

/// Steps of the table a unit, and its end on either side.
const STEPS: f64 = 64.0;
const END: f64 = 8.0;
const ENTRIES: usize = 1024;

/// The upper tail of the standard normal distribution at `-END + i / STEPS`.
static SURVIVAL: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let at = |index: usize| crate::draw::float(index as u64) / STEPS - END;
    (0..=ENTRIES).map(|index| 0.5 * erfc(at(index) / std::f64::consts::SQRT_2)).collect()
});

/// The upper tail of the standard normal distribution, by linear interpolation: wrong by less than 1e-5.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the table, and NaN is 0"
)]
fn survival(z: f64) -> f64 {
    let place = (z + END) * STEPS;
    let below = (place.max(0.0) as usize).min(ENTRIES - 1);
    let table: &[f64] = &SURVIVAL;
    let share = (place - crate::draw::float(below as u64)).clamp(0.0, 1.0);
    table[below] + share * (table[below + 1] - table[below])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Purpose;

    #[test]
    fn the_table_is_the_normal_tail() {
        for tenth in -90..=90 {
            let z = f64::from(tenth) / 10.3;
            let exact = 0.5 * erfc(z / std::f64::consts::SQRT_2);
            assert!((survival(z) - exact).abs() < 1e-5, "at {z}: {} for {exact}", survival(z));
        }
        assert!(survival(1e9) < 1e-15 && survival(-1e9) > 1.0 - 1e-15);
    }

    #[test]
    fn without_wandering_the_cuts_are_exceeded_as_often_as_they_say() {
        let noise = LatencyNoise { wander: crate::config::between(0.0, 0.0), ..LatencyNoise::default() };
        for index in 0..20 {
            let shape = LatencyShape::drawn(&noise, &mut Draw::new(1, Purpose::Edge, index));
            let now = LatencyNow { scale: 0.0, slow_share: shape.slow_share, slower: 0.0 };
            let above = shape.exceeding(&now);
            for (above, expected) in above.into_iter().zip([0.5, 0.1, 0.01]) {
                assert!((above - expected).abs() < 2e-5, "{above} for {expected}");
            }
            assert!(above[3] < above[2]);
        }
    }
}
