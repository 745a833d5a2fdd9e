//! How many records of its kind one that was kept stands for, as who sampled them says.

use serde::{Deserialize, Serialize};

/// Steps in a doubling: what a record is taken to stand for is off by a twenty-second at most, and the same for all that were
/// sampled alike, so that what is usual has the same error.
const STEPS: u8 = 8;
/// Powers of two by eighths, in parts of [`WHOLE`].
const EIGHTHS: [u64; STEPS as usize] = [256, 279, 304, 332, 362, 395, 431, 470];
/// One record that stands for itself.
const WHOLE: u64 = 256;
/// Half a step down, as a fraction: 2 to the power of -1/16.
const HALF_STEP: (u128, u128) = (957_603, 1_000_000);
/// A record stands for 1,024 at most, whatever its sender says: what one record claims must not be the most that was ever seen.
const STEPS_MAX: u8 = 10 * STEPS;
/// Rejection thresholds have so many bits.
const THRESHOLD_BITS: u32 = 56;

/// The share of records that was kept, as the number of eighths of a doubling that one record stands for: nothing for all
/// of them, 8 for every second. A sender's word, like everything in its telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sampling(u8);

impl Sampling {
    /// All records were kept, or nobody says otherwise.
    pub const ALL: Self = Self(0);

    /// Of a rejection threshold, in parts of 2^56 (OpenTelemetry, "TraceState: Probability Sampling", `th`).
    #[must_use]
    pub fn of_threshold(rejected: u64) -> Self {
        let all = 1_u64 << THRESHOLD_BITS;
        let kept = all - rejected.min(all - 1);
        // No more than a step from the first one on: to the nearest, by ratio.
        let doublings = (kept.leading_zeros() - all.leading_zeros()).saturating_sub(1);
        let from = u8::try_from(doublings).map_or(STEPS_MAX, |doublings| doublings.saturating_mul(STEPS));
        let near = |steps: &u8| {
            u128::from(Self(*steps).weight()) * u128::from(kept) * HALF_STEP.1
                >= u128::from(all) * u128::from(WHOLE) * HALF_STEP.0
        };
        Self((from..STEPS_MAX).find(near).unwrap_or(STEPS_MAX))
    }

    /// What a W3C `tracestate` says of it in OpenTelemetry's entry (`ot=th:...`); all when it says nothing, or nothing that
    /// can be read.
    #[must_use]
    pub fn of_trace_state(state: &[u8]) -> Self {
        let entries = state.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let values = entries
            .filter_map(|entry| entry.strip_prefix(b"ot="))
            .flat_map(|entry| entry.split(|byte| *byte == b';'));
        let mut thresholds = values.filter_map(|value| value.strip_prefix(b"th:"));
        thresholds.next().and_then(threshold).map_or(Self::ALL, Self::of_threshold)
    }

    /// What `calls` of them stand for, rounded down.
    #[must_use]
    pub fn stands_for(self, calls: u64) -> u64 {
        let all = u128::from(calls) * u128::from(self.weight()) / u128::from(WHOLE);
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    /// What one stands for, in parts of [`WHOLE`].
    fn weight(self) -> u64 {
        EIGHTHS[usize::from(self.0 % STEPS)] << (self.0 / STEPS)
    }
}

/// Up to 14 hexadecimal digits; those that are not written are zeros.
fn threshold(digits: &[u8]) -> Option<u64> {
    let most = THRESHOLD_BITS as usize / 4;
    if digits.is_empty() || most < digits.len() {
        return None;
    }
    let mut threshold = 0;
    for at in 0..most {
        let digit = digits.get(at).map_or(Some(0), |digit| char::from(*digit).to_digit(16))?;
        threshold = threshold << 4 | u64::from(digit);
    }
    Some(threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what a record stands for is one over its probability, within a twenty-second, for any threshold.
    #[test]
    fn a_record_stands_for_as_many_as_were_rejected_for_it() {
        for kept in (10..=10_000).step_by(7) {
            let rejected = (1_u64 << 56) / 10_000 * (10_000 - kept);
            let calls = Sampling::of_threshold(rejected).stands_for(1_000_000) as f64 / 1e6;
            let share = kept as f64 / 1e4;
            assert!((calls * share - 1.0).abs() < 1.0 / 22.0, "{share}: {calls}");
        }
        assert_eq!(Sampling::ALL.stands_for(7), 7);
        assert_eq!(Sampling::of_threshold(1 << 55).stands_for(7), 14);
    }

    #[test]
    fn a_trace_state_says_what_was_rejected_or_nothing() {
        let half = Sampling::of_threshold(1 << 55);
        for said in [
            "ot=th:8",
            "ot=rv:6e6d1a75832a2f;th:8",
            "rojo=00f067aa0ba902b7, ot=th:80000000000000;x:y",
            "congo=t61rcWkgMzE,ot=th:80",
        ] {
            assert_eq!(Sampling::of_trace_state(said.as_bytes()), half, "{said}");
        }
        for nothing in [
            "",
            "ot=",
            "ot=th:",
            "ot=th:0",
            "ot=th:8g",
            "ot=th:800000000000000",
            "not=th:8",
            "ot=path:8",
            "xx=ot=th:8",
            "ot=p:8",
        ] {
            assert_eq!(Sampling::of_trace_state(nothing.as_bytes()), Sampling::ALL, "{nothing}");
        }
        assert_eq!(Sampling::of_trace_state(b"ot=th:c").stands_for(1), 4);
        assert_eq!(Sampling::of_trace_state(b"ot=th:ffffffffffffff").stands_for(3), 3 * 1_024);
        assert_eq!(Sampling::of_threshold(u64::MAX).stands_for(u64::MAX), u64::MAX);
    }
}
