//! Numbers for tables: exact Poisson intervals, percentiles, and the one place that prints.

use std::io::Write as _;

use statrs::distribution::{Beta, ContinuousCDF as _, Gamma};

/// Prints a line; a reader that went away is not our business.
pub(crate) fn line(text: &str) {
    let _gone = writeln!(std::io::stdout(), "{text}");
}

/// Progress, on stderr.
pub(crate) fn progress(text: &str) {
    let _gone = writeln!(std::io::stderr(), "{text}");
}

/// Exact 95 % interval of a Poisson mean of which `count` was seen (Garwood 1936): quantiles of gamma laws.
pub(crate) fn poisson_interval(count: u32) -> (f64, f64) {
    let quantile = |shape: f64, p: f64| Gamma::new(shape, 1.0).map_or(f64::NAN, |gamma| gamma.inverse_cdf(p));
    let count = f64::from(count);
    let lower = if count > 0.0 { quantile(count, 0.025) } else { 0.0 };
    (lower, quantile(count + 1.0, 0.975))
}

/// `count` in `time` units as a rate with its interval.
pub(crate) fn rate(count: u32, time: f64) -> String {
    let (lower, upper) = poisson_interval(count);
    format!("{:.2} [{:.2}-{:.2}]", f64::from(count) / time, lower / time, upper / time)
}

/// Exact 95 % interval of a share of which `hits` of `all` were seen (Clopper and Pearson 1934): quantiles of beta laws.
pub(crate) fn binomial_interval(hits: u32, all: u32) -> (f64, f64) {
    let quantile = |a: u32, b: u32, p: f64| {
        Beta::new(f64::from(a), f64::from(b)).map_or(f64::NAN, |beta| beta.inverse_cdf(p))
    };
    let misses = all.saturating_sub(hits);
    let lower = if hits > 0 { quantile(hits, misses + 1, 0.025) } else { 0.0 };
    let upper = if misses > 0 { quantile(hits + 1, misses, 0.975) } else { 1.0 };
    (lower, upper)
}

/// `hits` of `all` as a share with its interval.
pub(crate) fn share(hits: u32, all: u32) -> String {
    let (lower, upper) = binomial_interval(hits, all);
    let share = 100.0 * f64::from(hits) / f64::from(all.max(1));
    format!("{hits} of {all}, {share:.1} % [{:.1}-{:.1}]", 100.0 * lower, 100.0 * upper)
}

/// The `p`-quantile of some values (nearest rank); nothing of none.
pub(crate) fn percentile(values: &mut [f64], p: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let rank = ((values.len() as f64 * p).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(rank).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_textbook() {
        let (lower, upper) = poisson_interval(10);
        assert!((lower - 4.795).abs() < 0.01 && (upper - 18.39).abs() < 0.01);
        assert!((poisson_interval(0).1 - 3.689).abs() < 0.01);
    }

    #[test]
    fn intervals_of_shares_are_those_of_the_textbook() {
        let (lower, upper) = binomial_interval(8, 10);
        assert!((lower - 0.4439).abs() < 1e-3 && (upper - 0.9748).abs() < 1e-3);
        assert!((binomial_interval(0, 10).1 - 0.3085).abs() < 1e-3 && binomial_interval(10, 10).1 >= 1.0);
    }

    #[test]
    fn the_median_of_three_is_the_middle() {
        assert_eq!(percentile(&mut [3.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(percentile(&mut [], 0.5), None);
    }
}
