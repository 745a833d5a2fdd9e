//! Random draws: seeded, the same everywhere, and cheap enough for a thousand edges every ten seconds of a week.
//!
//! The generator is PCG (O'Neill 2014, `Pcg64Mcg`). Counts are drawn by inversion while their mean is small, else by
//! the third-order Cornish-Fisher expansion of the normal quantile (Cornish and Fisher 1938): the plain normal
//! approximation has too light an upper tail, and the tails are what the calibration of a detector lives on.

use rand_core::{Rng as _, SeedableRng as _};
use rand_distr::{Distribution as _, Gamma, StandardNormal};
use rand_pcg::Pcg64Mcg;

use crate::config::Between;

/// Below this mean a count is drawn by inversion (exact), from it on by the expansion: there its quantiles are within
/// one of the exact ones out to 5 standard deviations (test of this file).
const INVERSION_MEAN_MAX: f64 = 16.0;
/// Counts drawn by inversion end here: of a mean of 16 the chance to be above is less than 1e-60.
const INVERTED_MAX: u64 = 120;
/// So few trials are drawn one by one.
const TRIALS_MAX: u64 = 6;

/// What a stream of numbers is for: streams of one seed do not overlap, so a change of one thing leaves all others.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Purpose {
    Topology = 1,
    Edge,
    Weather,
    Counts,
    Shared,
    Event,
    Service,
    Reporter,
    Routes,
    Calls,
    Attack,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Draw(Pcg64Mcg);

impl Draw {
    /// The stream of one purpose for one of many.
    pub(crate) fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let own = mixed(index.wrapping_add(mixed(purpose as u64)));
        Self(Pcg64Mcg::seed_from_u64(mixed(seed) ^ own))
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform on `[0, 1)`, in steps of 2^-53.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Standard normal.
    pub(crate) fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// Uniform between two bounds.
    pub(crate) fn within(&mut self, bounds: Between) -> f64 {
        bounds.low + (bounds.high - bounds.low) * self.uniform()
    }

    /// Uniform in the logarithm between two positive bounds.
    pub(crate) fn log_within(&mut self, bounds: Between) -> f64 {
        bounds.low * (bounds.high / bounds.low).powf(self.uniform())
    }

    /// Exponential with a mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.uniform()).ln() * mean
    }

    /// True with a probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// A whole number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let wide = u128::from(self.bits()) * end as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// A gamma-distributed factor with mean 1: what makes a Poisson count over-dispersed (negative binomial).
    pub(crate) fn frailty(&mut self, variance: f64) -> f64 {
        if variance <= 0.0 {
            return 1.0;
        }
        let gamma = Gamma::new(1.0 / variance, variance)
            .expect("a positive variance gives a positive shape and scale");
        gamma.sample(&mut self.0)
    }

    /// A Poisson count.
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        if mean >= INVERSION_MEAN_MAX {
            return whole(poisson_quantile(mean, self.normal()));
        }
        let mut left = self.uniform();
        // e^-m >= 1 - m: most windows of a quiet edge need no exponential.
        if left < 1.0 - mean {
            return 0;
        }
        let (mut mass, mut count) = ((-mean).exp(), 0);
        while left >= mass && count < INVERTED_MAX {
            left -= mass;
            count += 1;
            mass *= mean / float(count);
        }
        count
    }

    /// How many of `trials` succeed.
    pub(crate) fn binomial(&mut self, trials: u64, probability: f64) -> u64 {
        if trials == 0 || probability <= 0.0 {
            return 0;
        }
        if probability >= 1.0 {
            return trials;
        }
        if trials <= TRIALS_MAX {
            return (0..trials).map(|_| u64::from(self.chance(probability))).sum();
        }
        if probability > 0.5 {
            return trials - self.rarer_half(trials, 1.0 - probability);
        }
        self.rarer_half(trials, probability)
    }

    fn rarer_half(&mut self, trials: u64, probability: f64) -> u64 {
        let mean = float(trials) * probability;
        if mean >= INVERSION_MEAN_MAX {
            return whole(binomial_quantile(mean, probability, self.normal())).min(trials);
        }
        let mut left = self.uniform();
        // (1 - p)^n >= 1 - np (Bernoulli).
        if left < 1.0 - mean {
            return 0;
        }
        let odds = probability / (1.0 - probability);
        let (mut mass, mut count) = ((float(trials) * (-probability).ln_1p()).exp(), 0);
        let end = trials.min(INVERTED_MAX);
        while left >= mass && count < end {
            left -= mass;
            mass *= odds * float(trials - count) / float(count + 1);
            count += 1;
        }
        count
    }
}

/// The Poisson quantile of a standard normal deviate: skewness and excess kurtosis are `1/sqrt(m)` and `1/m`.
fn poisson_quantile(mean: f64, deviate: f64) -> f64 {
    let square = deviate * deviate;
    let root = mean.sqrt();
    mean + root * deviate + (square - 1.0) / 6.0 + deviate * (1.0 - square) / (72.0 * root)
}

/// The binomial quantile of a standard normal deviate: the expansion with skewness `(1-2p)/s` and excess kurtosis
/// `(1-6pq)/s^2`, where `s^2 = npq`.
fn binomial_quantile(mean: f64, probability: f64, deviate: f64) -> f64 {
    let rest = 1.0 - probability;
    let root = (mean * rest).sqrt();
    let square = deviate * deviate;
    let skewed = rest - probability;
    let second = skewed * (square - 1.0) / 6.0;
    let kurtosis = (1.0 - 6.0 * probability * rest) * deviate * (square - 3.0) / 24.0;
    let third = kurtosis - skewed * skewed * deviate * (2.0 * square - 5.0) / 36.0;
    mean + root * deviate + second + third / root
}

/// The nearest whole count; 0 below.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "negative and huge values saturate"
)]
pub(crate) fn whole(value: f64) -> u64 {
    (value + 0.5) as u64
}

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "counts of a window are far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): neighbouring numbers become unrelated seeds.
pub(crate) fn mixed(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{Binomial, DiscreteCDF, Poisson};
    use statrs::function::erf::erfc;

    use super::*;

    fn moments(draws: usize, mut one: impl FnMut() -> f64) -> (f64, f64) {
        let values: Vec<f64> = (0..draws).map(|_| one()).collect();
        let count = float(draws as u64);
        let mean = values.iter().sum::<f64>() / count;
        (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count)
    }

    /// Within 5 standard errors; the variance of a sample variance is about `(kurtosis + 2) * v^2 / n`.
    fn assert_moments(
        what: &str,
        (mean, variance): (f64, f64),
        draws: f64,
        expected: (f64, f64),
        kurtosis: f64,
    ) {
        let error = 5.0 * (expected.1 / draws).sqrt();
        assert!((mean - expected.0).abs() < error + 1e-12, "{what}: mean {mean}, expected {}", expected.0);
        let error = 5.0 * expected.1 * ((kurtosis + 2.0) / draws).sqrt();
        assert!(
            (variance - expected.1).abs() < error + 0.1,
            "{what}: variance {variance}, expected {}",
            expected.1
        );
    }

    #[test]
    fn poisson_counts_have_the_mean_and_variance_of_their_rate() {
        let mut draw = Draw::new(7, Purpose::Counts, 0);
        for mean in [0.003, 0.4, 3.0, 15.9, 16.1, 60.0, 9_000.0] {
            let found = moments(200_000, || float(draw.poisson(mean)));
            assert_moments(&format!("poisson {mean}"), found, 200_000.0, (mean, mean), 1.0 / mean);
        }
    }

    #[test]
    fn binomial_counts_have_the_mean_and_variance_of_their_trials() {
        let mut draw = Draw::new(8, Purpose::Counts, 0);
        for (trials, p) in
            [(3, 0.5), (6, 0.1), (40, 0.01), (40, 0.9), (1_000, 0.02), (9_000, 0.49), (9_000, 0.999)]
        {
            let (mean, variance) = (float(trials) * p, float(trials) * p * (1.0 - p));
            let found = moments(200_000, || float(draw.binomial(trials, p)));
            let kurtosis = (1.0 - 6.0 * p * (1.0 - p)) / variance;
            assert_moments(&format!("{trials} x {p}"), found, 200_000.0, (mean, variance), kurtosis);
        }
    }

    #[test]
    fn a_frailty_has_mean_one_and_its_variance() {
        let mut draw = Draw::new(9, Purpose::Counts, 0);
        for variance in [0.003, 0.1, 0.5] {
            let found = moments(200_000, || draw.frailty(variance));
            assert_moments("frailty", found, 200_000.0, (1.0, variance), 6.0 * variance);
        }
        assert!((draw.frailty(0.0) - 1.0).abs() < f64::EPSILON);
    }

    /// From the threshold on, counts are drawn by the expansion; out to 5 standard deviations its quantiles must be
    /// the exact ones, give or take one.
    #[test]
    fn drawn_large_counts_have_the_exact_tails_within_one() {
        for deviate in [-5.0, -4.0, -2.0, 0.0, 1.0, 3.0, 4.0, 5.0_f64] {
            let below = 0.5 * erfc(-deviate / std::f64::consts::SQRT_2);
            for mean in [16.0, 30.0, 200.0] {
                let exact = Poisson::new(mean).unwrap().inverse_cdf(below);
                let drawn = whole(poisson_quantile(mean, deviate));
                assert!(exact.abs_diff(drawn) <= 1, "poisson {mean} at {deviate}: {drawn}, exactly {exact}");
            }
            for (trials, p) in [(32, 0.5), (160, 0.1), (1_000, 0.3)] {
                let exact = Binomial::new(p, trials).unwrap().inverse_cdf(below);
                let drawn = whole(binomial_quantile(float(trials) * p, p, deviate)).min(trials);
                assert!(exact.abs_diff(drawn) <= 1, "{trials} x {p} at {deviate}: {drawn}, exactly {exact}");
            }
        }
    }

    #[test]
    fn streams_of_one_seed_are_unrelated_and_repeatable() {
        let first = |purpose, index| Draw::new(1, purpose, index).bits();
        assert_eq!(first(Purpose::Edge, 0), first(Purpose::Edge, 0));
        assert_ne!(first(Purpose::Edge, 0), first(Purpose::Edge, 1));
        assert_ne!(first(Purpose::Edge, 0), first(Purpose::Weather, 0));
    }
}
