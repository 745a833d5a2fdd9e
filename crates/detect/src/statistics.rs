//! The formulas of behaviour: tail probabilities of counts, given what the baseline showed. Small, named, numbers only.

use statrs::function::beta::{beta_reg, ln_beta};
use statrs::function::gamma::ln_gamma;

/// Longest return period that is claimed: no baseline here speaks of more than a year.
pub(crate) const RETURN_PERIOD_SECONDS_MAX: f64 = 365.25 * 86_400.0;
/// Terms past which a sum is cut in any case.
const TERMS_MAX: u64 = 100_000;

/// Chance of at least `hits` of `trials` when the baseline had `known_hits` of `known_trials`: beta-binomial with
/// Jeffreys' prior, so a short baseline is not taken for certainty.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn beta_binomial_tail(hits: u64, trials: u64, known_hits: u64, known_trials: u64) -> f64 {
    if hits == 0 || trials == 0 {
        return 1.0;
    }
    let hits = hits.min(trials);
    let alpha = known_hits as f64 + 0.5;
    let beta = known_trials.saturating_sub(known_hits) as f64 + 0.5;
    let n = trials as f64;
    let (ln_all, ln_prior) = (ln_gamma(n + 1.0), ln_beta(alpha, beta));
    let ln_choose = |k: f64| ln_all - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
    let term = |k: f64| (ln_choose(k) + ln_beta(alpha + k, beta + n - k) - ln_prior).exp();
    let mut sum = 0.0_f64;
    for k in hits..=trials.min(hits.saturating_add(TERMS_MAX)) {
        let k = k as f64;
        let larger = sum + term(k);
        // Terms that fall, and that rounding swallows, are followed by smaller ones: a unimodal law.
        let falls = 1.0 <= beta && (n - k) * (alpha + k) < (k + 1.0) * (beta + n - k - 1.0);
        if falls && larger <= sum {
            break;
        }
        sum = larger;
    }
    sum.clamp(0.0, 1.0)
}

/// Chance of at least `count` events when windows bring `mean` of them with variance `mean + dispersion * mean^2`:
/// negative binomial, `P(X >= k) = I_p(k, r)` with `r = 1/dispersion`, `p = mean / (mean + r)`.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn negative_binomial_tail(count: u64, mean: f64, dispersion: f64) -> f64 {
    if count == 0 || mean <= 0.0 {
        return if count == 0 { 1.0 } else { 0.0 };
    }
    let size = 1.0 / dispersion.max(1e-6);
    let probability = mean / (mean + size);
    beta_reg(count as f64, size, probability).clamp(0.0, 1.0)
}

/// Over-dispersion of counts per window, `(variance - mean) / mean^2`, drawn to `prior` as if the prior had been seen
/// in `prior_windows` windows; never below the prior's half, because quiet times do not promise quiet.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn dispersion(mean: f64, variance: f64, windows: u64, prior: f64, prior_windows: f64) -> f64 {
    let own = if mean > 0.0 { ((variance - mean) / (mean * mean)).max(0.0) } else { prior };
    let windows = windows as f64;
    let drawn = (own * windows + prior * prior_windows) / (windows + prior_windows);
    drawn.max(prior / 2.0)
}

/// Chance that a window exceeds the largest of `windows` by `factor`: one in `windows + 1` for a new record, and a
/// tail that falls with the square of the factor, as sizes do (Pareto, index 2).
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub(crate) fn record_tail(windows: u64, factor: f64) -> f64 {
    (1.0 / (windows as f64 + 1.0)) / (factor * factor).max(1.0)
}

/// Time in which something of this probability per window is expected once.
pub(crate) fn return_period_seconds(window_seconds: f64, probability: f64) -> f64 {
    (window_seconds / probability.max(f64::MIN_POSITIVE)).min(RETURN_PERIOD_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() <= 1e-9 + right.abs() * 1e-6
    }

    #[test]
    fn beta_binomial_without_history_is_the_arcsine_law_and_nothing_is_certain() {
        assert!(near(beta_binomial_tail(0, 10, 0, 0), 1.0));
        assert!(near(beta_binomial_tail(1, 1, 0, 0), 0.5));
        let all: f64 = beta_binomial_tail(1, 5, 3, 100) - beta_binomial_tail(2, 5, 3, 100);
        assert!(all > 0.0 && beta_binomial_tail(5, 5, 3, 100) < all);
    }

    #[test]
    fn beta_binomial_with_a_long_history_is_the_binomial() {
        // 10 % of a million; P(X >= 3 of 4) = 4 * 0.1^3 * 0.9 + 0.1^4.
        assert!((beta_binomial_tail(3, 4, 100_000, 1_000_000) - 0.0037).abs() < 1e-5);
    }

    /// Guarantees: a sum that stops early is the whole one, to the last digit.
    #[test]
    fn what_is_left_out_of_a_beta_binomial_tail_is_lost_in_rounding() {
        for (hits, trials, known_hits, known_trials) in [
            (1_u32, 5_000_u32, 3_u32, 9_000_u32),
            (600, 5_000, 900, 9_000),
            (40, 50, 0, 3),
            (1, 900, 9, 9),
            (3, 400, 0, 0),
        ] {
            let (alpha, beta) = (f64::from(known_hits) + 0.5, f64::from(known_trials - known_hits) + 0.5);
            let n = f64::from(trials);
            let term = |k: f64| {
                let ways = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
                (ways + ln_beta(alpha + k, beta + n - k) - ln_beta(alpha, beta)).exp()
            };
            let whole: f64 = (hits..=trials).map(|k| term(f64::from(k))).sum();
            let found = beta_binomial_tail(
                u64::from(hits),
                u64::from(trials),
                u64::from(known_hits),
                u64::from(known_trials),
            );
            assert_eq!(
                found.to_bits(),
                whole.clamp(0.0, 1.0).to_bits(),
                "{hits} of {trials}: {found} {whole}"
            );
        }
    }

    #[test]
    fn negative_binomial_without_dispersion_is_poisson() {
        // Poisson with mean 2: P(X >= 3) = 1 - e^-2 * (1 + 2 + 2).
        assert!((negative_binomial_tail(3, 2.0, 0.0) - 0.323_323_6).abs() < 1e-4);
        assert!(negative_binomial_tail(30, 2.0, 0.0) < negative_binomial_tail(30, 2.0, 0.5));
        assert!(near(negative_binomial_tail(0, 2.0, 0.5), 1.0));
        assert!(near(negative_binomial_tail(3, 0.0, 0.5), 0.0));
    }

    #[test]
    fn dispersion_of_nothing_is_the_prior_and_of_a_long_history_its_own() {
        assert!(near(dispersion(0.0, 0.0, 0, 0.25, 5.0), 0.25));
        assert!(near(dispersion(10.0, 10.0, 0, 0.25, 5.0), 0.25));
        assert!((dispersion(10.0, 110.0, 100_000, 0.25, 5.0) - 1.0).abs() < 1e-3);
        assert!(near(dispersion(10.0, 10.0, 1_000_000, 0.25, 5.0), 0.125));
    }

    #[test]
    fn return_periods_are_capped_at_a_year() {
        assert!(near(return_period_seconds(10.0, 0.1), 100.0));
        assert!(near(return_period_seconds(10.0, 0.0), RETURN_PERIOD_SECONDS_MAX));
        assert!(near(record_tail(9, 10.0), 0.001) && near(record_tail(0, 0.5), 1.0));
    }
}
