//! How long acknowledgements took: of all, and of the worst second, which a mean over minutes would hide.

use std::collections::BTreeMap;
use std::time::Duration;

/// Microseconds of each acknowledgement, by the second of the run in which it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    by_second: BTreeMap<u64, Vec<u32>>,
}

/// Fewer acknowledgements than this in a second say nothing of its hundredth part.
const SAMPLES_MIN: usize = 100;

impl Latencies {
    /// An acknowledgement that came `at` that time of the run.
    pub fn add(&mut self, at: Duration, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.by_second.entry(at.as_secs()).or_default().push(micros);
    }

    /// The part `share` of all acknowledgements took no longer, in microseconds; nothing when there was none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u32> {
        quantile(self.by_second.values().flatten().copied().collect(), share)
    }

    /// The highest 99th percentile of a second, in microseconds, of those with acknowledgements enough.
    #[must_use]
    pub fn worst_second_p99(&self) -> Option<u32> {
        let seconds = self.by_second.values().filter(|second| second.len() >= SAMPLES_MIN);
        seconds.filter_map(|second| quantile(second.clone(), 0.99)).max()
    }
}

/// By nearest rank.
fn quantile(mut values: Vec<u32>, share: f64) -> Option<u32> {
    values.sort_unstable();
    let rank = (share * values.len() as f64).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is not negative, and no larger than the number of values"
    )]
    let place = (rank as usize).clamp(1, values.len().max(1)) - 1;
    values.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_nearest_rank() {
        let values: Vec<u32> = (1..=200).rev().collect();
        assert_eq!(quantile(values.clone(), 0.5), Some(100));
        assert_eq!(quantile(values.clone(), 0.99), Some(198));
        assert_eq!(quantile(values, 1.0), Some(200));
        assert_eq!(quantile(vec![7], 0.99), Some(7));
        assert_eq!(quantile(Vec::new(), 0.5), None);
    }

    #[test]
    fn the_worst_second_is_one_with_enough_acknowledgements() {
        let mut latencies = Latencies::default();
        for (second, micros, count) in [(0, 100, 1_000), (1, 900, 150), (2, 5_000, 3)] {
            for _ in 0..count {
                latencies.add(Duration::from_secs(second), Duration::from_micros(micros));
            }
        }
        assert_eq!(latencies.worst_second_p99(), Some(900));
        assert_eq!(latencies.quantile(0.5), Some(100));
    }
}
