//! What came between two points of a counter, over the windows that are still open.

use std::time::Duration;

use selvedge_model::time::nanos;
use selvedge_model::{EventTime, LogHistogram, Window};

/// Usual intervals between two points (Prometheus, OpenTelemetry, Envoy), longest last. What comes at one of them may be a
/// quarter late.
const INTERVALS: [u64; 5] = [10, 15, 30, 60, 120];
const SECOND: u64 = 1_000_000_000;

/// The windows of an interval, moved on by its usual length.
pub(super) struct Spread {
    pub(super) parts: Vec<Part>,
}

/// One window of it.
pub(super) struct Part {
    pub(super) window: Window,
    /// Share of the interval up to the end of this part; 1 for the last.
    until: f64,
    /// The part's true time.
    pub(super) first: EventTime,
    pub(super) last: EventTime,
}

impl Spread {
    /// The windows for what was counted from `since` to `to`; those that ended by `taken` are closed, and their part goes
    /// to the first open one. `None` when the length is unknown or too long.
    pub(super) fn over(since: EventTime, to: EventTime, length: Duration, taken: EventTime) -> Option<Self> {
        let interval = to.0.checked_sub(since.0).filter(|interval| since.present() && *interval > 0)?;
        let usual = INTERVALS.map(|seconds| seconds * SECOND);
        let shift = usual.into_iter().find(|usual| interval <= usual + usual / 4)?;
        let (start, end) = (since.0 + shift, to.0 + shift);
        let mut parts: Vec<Part> = Vec::new();
        let mut at = start;
        while at < end {
            let window = Window::holding(EventTime(at), length);
            let until = window.end.0.min(end);
            let share = if until == end { 1.0 } else { (until - start) as f64 / (end - start) as f64 };
            let (first, last) = (EventTime(at - shift), EventTime(until - shift));
            let closed = window.end <= taken;
            at = until.max(at + 1);
            if closed && at < end {
                continue;
            }
            let open = if closed { Window::holding(taken, length) } else { window };
            parts.push(Part { window: open, until: share, first, last });
        }
        debug_assert!(nanos(length) > 0, "windows have a length");
        Some(Self { parts })
    }

    /// A count, by part: whole numbers whose sum it is.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts below 2^53")]
    pub(super) fn counts(&self, count: u64) -> Vec<u64> {
        let mut before = 0;
        let upto = self.parts.iter().map(|part| (count as f64 * part.until).floor() as u64);
        upto.map(|upto| upto - std::mem::replace(&mut before, upto)).collect()
    }

    /// A histogram, by part: its values are dealt out in turn, so that each part has the same distribution as near as whole
    /// numbers allow.
    pub(super) fn grids(&self, grid: &LogHistogram) -> Vec<LogHistogram> {
        let mut grids = vec![LogHistogram::default(); self.parts.len()];
        let shares: Vec<f64> = (0..self.parts.len())
            .map(|at| self.parts[at].until - at.checked_sub(1).map_or(0.0, |at| self.parts[at].until))
            .collect();
        let mut owed = vec![0.0_f64; self.parts.len()];
        for (cell, count) in grid.cells() {
            let mut left = *count;
            for (at, share) in shares.iter().enumerate() {
                owed[at] += share * f64::from(*count);
                let given = whole(owed[at]).min(left);
                owed[at] -= f64::from(given);
                left -= given;
                give(&mut grids[at], *cell, given);
            }
            while left > 0 {
                let most = (0..owed.len())
                    .max_by(|one, other| owed[*one].total_cmp(&owed[*other]).then(other.cmp(one)));
                let Some(at) = most else { break };
                owed[at] -= 1.0;
                left -= 1;
                give(&mut grids[at], *cell, 1);
            }
        }
        grids
    }
}

fn give(grid: &mut LogHistogram, cell: u16, count: u32) {
    if count > 0 {
        grid.add(cell, count);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a count")]
fn whole(value: f64) -> u32 {
    value.clamp(0.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(10);

    fn at(second: u64) -> EventTime {
        EventTime((1_000 + second) * SECOND)
    }

    #[test]
    fn an_interval_lands_whole_in_windows_that_are_open_one_interval_later() {
        let spread = Spread::over(at(3), at(63), LENGTH, at(60)).unwrap();
        assert_eq!(spread.parts.len(), 7);
        assert_eq!(spread.parts[0].window, Window::holding(at(63), LENGTH));
        assert_eq!((spread.parts[0].first, spread.parts[6].last), (at(3), at(63)));
        assert_eq!(spread.counts(600), [70, 100, 100, 100, 100, 100, 30]);
        assert_eq!(spread.counts(1).iter().sum::<u64>(), 1);
    }

    #[test]
    fn what_would_fall_into_a_closed_window_goes_to_the_first_open_one() {
        let spread = Spread::over(at(0), at(61), LENGTH, at(70)).unwrap();
        assert!(spread.parts.iter().all(|part| part.window.end > at(70)));
        assert_eq!(spread.counts(610).iter().sum::<u64>(), 610);
    }

    #[test]
    fn an_interval_of_unknown_length_or_of_hours_is_not_placed() {
        assert!(Spread::over(EventTime::ABSENT, at(60), LENGTH, EventTime::ABSENT).is_none());
        assert!(Spread::over(at(0), at(3_600), LENGTH, EventTime::ABSENT).is_none());
        assert!(Spread::over(at(60), at(60), LENGTH, EventTime::ABSENT).is_none());
    }

    #[test]
    fn a_histogram_is_dealt_out_so_that_every_part_has_its_share_of_fast_and_slow() {
        let mut grid = LogHistogram::default();
        (0..50).for_each(|_| grid.record(1_000));
        (0..10).for_each(|_| grid.record(1_000_000));
        let spread = Spread::over(at(0), at(60), LENGTH, at(0)).unwrap();
        let parts = spread.grids(&grid);
        assert_eq!(parts.iter().map(LogHistogram::count).sum::<u64>(), 60);
        for part in &parts {
            assert!((9..=11).contains(&part.count()), "{part:?}");
            assert!((1..=3).contains(&part.count_above(10_000)), "{part:?}");
        }
    }
}
