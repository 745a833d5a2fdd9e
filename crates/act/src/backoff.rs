//! How long to wait before trying a delivery again: pure, so that the schedule is tested by tables.

use std::time::Duration;

use selvedge_model::hash::StableHasher;

/// When to try again, and when to stop trying. Named as the OpenTelemetry Collector's `retry_on_failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The shortest wait.
    pub initial_interval: Duration,
    /// The longest wait.
    pub max_interval: Duration,
    /// After this time from its first attempt a delivery is given up.
    pub max_elapsed_time: Duration,
}

/// A receiver that asks for more patience than this is treated as one that asks for this: an alert is worth little
/// an hour later, and a hostile answer must not silence the sink.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_mins(5),
            // The usual schedule of Standard Webhooks ends in days; the spool is in memory, a day is what it is for.
            max_elapsed_time: Duration::from_hours(24),
        }
    }
}

impl RetryPolicy {
    /// The wait after `attempts` failed attempts: exponential with full jitter, between the shortest wait and
    /// `initial_interval * 2^attempts`, at most the longest.
    ///
    /// The jitter is a hash of the delivery's id and the attempt: spread over deliveries, the same in every run.
    #[must_use]
    pub fn wait(&self, attempts: u32, delivery_id: &str) -> Duration {
        let factor = 1_u32.checked_shl(attempts).unwrap_or(u32::MAX);
        let ceiling = self.initial_interval.saturating_mul(factor).min(self.max_interval);
        let spread = ceiling.saturating_sub(self.initial_interval);
        self.initial_interval + spread.mul_f64(fraction(delivery_id, attempts))
    }

    /// The wait that a receiver asked for, made reasonable.
    #[must_use]
    pub fn asked(&self, retry_after: Duration) -> Duration {
        retry_after.clamp(self.initial_interval.min(RETRY_AFTER_MAX), RETRY_AFTER_MAX)
    }
}

/// A number in `[0, 1)` that looks random.
#[expect(clippy::cast_precision_loss, reason = "53 bits are shifted in: exact")]
fn fraction(delivery_id: &str, attempts: u32) -> f64 {
    let hash = StableHasher::default().field(delivery_id.as_bytes()).field(&attempts.to_le_bytes()).value();
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_their_bounds_and_then_stay() {
        let policy = RetryPolicy::default();
        for attempts in 1..80 {
            for delivery in 0..20 {
                let wait = policy.wait(attempts, &format!("msg_{delivery}"));
                let ceiling = Duration::from_secs(2_u64.saturating_pow(attempts).min(300));
                assert!((Duration::from_secs(1)..=ceiling).contains(&wait), "{attempts}: {wait:?}");
            }
        }
    }

    #[test]
    fn jitter_spreads_deliveries_and_is_the_same_in_every_run() {
        let policy = RetryPolicy::default();
        let waits: std::collections::BTreeSet<Duration> =
            (0..100).map(|delivery| policy.wait(9, &format!("msg_{delivery}"))).collect();
        assert!(waits.len() > 95);
        assert!(waits.first().unwrap() < &Duration::from_secs(30));
        assert!(waits.last().unwrap() > &Duration::from_secs(270));
        assert_eq!(policy.wait(9, "msg_1"), policy.wait(9, "msg_1"));
    }

    #[test]
    fn a_receiver_is_heard_within_reason() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.asked(Duration::ZERO), Duration::from_secs(1));
        assert_eq!(policy.asked(Duration::from_secs(90)), Duration::from_secs(90));
        assert_eq!(policy.asked(Duration::from_secs(1 << 40)), Duration::from_hours(1));
    }
}
