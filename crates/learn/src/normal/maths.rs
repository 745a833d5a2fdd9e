//! The few formulas of the hot path: logarithm, exponential, log-likelihood ratios of counts. Own code, because the
//! same bytes must come out on every machine and a minute of an edge needs some seventy of them.

use std::f64::consts::{LN_2, LOG2_E, SQRT_2};

/// Natural logarithm of a positive, normal number; about 1e-9 off at most. Not positive: the logarithm of the smallest
/// normal number.
///
/// `x = 2^k m` with `m` between `sqrt(1/2)` and `sqrt(2)`, and `ln m = 2 atanh((m - 1) / (m + 1))` as a series.
pub(crate) fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.max(f64::MIN_POSITIVE).to_bits();
    let mut exponent = f64::from(u16::try_from(bits >> 52).unwrap_or(0x7ff)) - 1023.0;
    let mut mantissa = f64::from_bits((bits & MANTISSA) | (1023 << 52));
    if mantissa > SQRT_2 {
        mantissa *= 0.5;
        exponent += 1.0;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let q = s * s;
    let series = 1.0 + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q / 11.0))));
    exponent * LN_2 + 2.0 * s * series
}

/// Exponential, about 1e-8 off relatively; arguments are kept within +-700.
pub(crate) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let whole = (x * LOG2_E).round();
    let r = x - whole * LN_2;
    let series = 1.0
        + r * (1.0
            + r * (0.5
                + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r / 5_040.0))))));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 13 and 2033")]
    let power = f64::from_bits(((whole as i64 + 1023) as u64) << 52);
    series * power
}

/// State is kept in half the bytes that are reckoned with.
#[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is what is wanted")]
pub(crate) fn narrow(x: f64) -> f32 {
    x as f32
}

/// Log-likelihood ratio of `count` under mean `factor * mean` against `mean`, for a negative binomial whose variance is
/// `mean + phi mean^2`: `x ln(t) - (x + r) ln((t mean + r) / (mean + r))`, `r = 1/phi`. `ln_factor` is `ln(factor)`.
pub(crate) fn negative_binomial_ratio(count: f64, mean: f64, factor: f64, ln_factor: f64, phi: f64) -> f64 {
    let r = 1.0 / phi.max(PHI_MIN);
    count * ln_factor - (count + r) * ln((factor * mean + r) / (mean + r))
}

/// The same against the mean that fits `count` best (half the deviance):
/// `x ln(x / mean) - (x + r) ln((x + r) / (mean + r))`.
pub(crate) fn negative_binomial_deviance(count: f64, mean: f64, phi: f64) -> f64 {
    let r = 1.0 / phi.max(PHI_MIN);
    let fit = if count > 0.0 { count * ln(count / mean.max(1e-9)) } else { 0.0 };
    (fit - (count + r) * ln((count + r) / (mean + r))).max(0.0)
}

/// Log-likelihood ratio of `count` of `trials` under odds `factor` times those of `p` against `p`, divided by
/// `1 + phi m p / (1 - p)`: quasi-likelihood for a variance inflated that much.
pub(crate) fn binomial_ratio(count: f64, trials: f64, p: f64, factor: f64, ln_factor: f64, phi: f64) -> f64 {
    // x ln(p1/p) + (m - x) ln(q1/q) with q1/q = 1/(q + t p) and p1/p = t/(q + t p).
    let ratio = count * ln_factor - trials * ln(1.0 - p + factor * p);
    ratio / inflation(trials, p, phi)
}

/// The same against the odds that fit best: half the binomial deviance, tempered.
pub(crate) fn binomial_deviance(count: f64, trials: f64, p: f64, phi: f64) -> f64 {
    let count = count.min(trials);
    let rest = trials - count;
    let hits = if count > 0.0 { count * ln(count / (trials * p)) } else { 0.0 };
    let misses = if rest > 0.0 { rest * ln(rest / (trials * (1.0 - p))) } else { 0.0 };
    ((hits + misses) / inflation(trials, p, phi)).max(0.0)
}

/// Probability whose odds are `factor` times those of `p`.
pub(crate) fn times_odds(p: f64, factor: f64) -> f64 {
    (factor * p) / (1.0 - p + factor * p)
}

/// Logarithm of the mean of exponentials: the mixture of evidence that is valid under any dependence.
pub(crate) fn log_mean_exp(values: &[f32]) -> f64 {
    let largest = values.iter().copied().fold(f32::MIN, f32::max);
    // Below this no score is told or learned differently: save the exponentials.
    if largest <= 1.0 {
        return 0.0;
    }
    let largest = f64::from(largest);
    let sum: f64 = values.iter().map(|&value| exp(f64::from(value) - largest)).sum();
    #[expect(clippy::cast_precision_loss, reason = "at most four alternatives")]
    let mean = sum / values.len() as f64;
    (largest + ln(mean)).max(0.0)
}

/// Smallest over-dispersion: no edge is better than that, and the formulas stay away from their limits.
const PHI_MIN: f64 = 1e-4;

fn inflation(trials: f64, p: f64, phi: f64) -> f64 {
    1.0 + phi * trials * p / (1.0 - p).max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64, by: f64) {
        assert!((left - right).abs() <= by * right.abs().max(1.0), "{left} is not {right}");
    }

    #[test]
    fn logarithm_and_exponential_are_those_of_the_standard_library() {
        for step in -3_000..3_000 {
            let x = f64::from(step) * 0.1;
            near(exp(x) / x.exp(), 1.0, 1e-7);
            near(ln(x.exp()), x, 1e-8);
        }
        for step in 1..4_000 {
            let x = f64::from(step) / 1_000.0;
            near(ln(x), x.ln(), 1e-8);
        }
        assert!(ln(0.0) < -700.0 && ln(-1.0) < -700.0);
    }
}
