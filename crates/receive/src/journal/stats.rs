//! What the journal counts, shared with whoever reports it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use selvedge_model::time::nanos;

use super::error::Unstored;
use crate::stats::Counter;

/// Upper bounds of the commit histogram, in microseconds: a good SSD is below a millisecond, a disk below fifty.
const COMMIT_MICROS: [u64; 10] = [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000];

/// A number that goes both ways.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of the journal.
#[derive(Debug, Default)]
pub struct JournalStats {
    /// Bytes of all segments.
    pub bytes: Level,
    /// Segments on disk.
    pub segments: Level,
    /// Batches stored.
    pub batches: Counter,
    /// Commits: each is one `fdatasync`, whatever the number of batches in it.
    pub commits: Counter,
    /// Segments deleted because nothing in them was needed any more.
    pub segments_released: Counter,
    /// Segments deleted at the byte budget, though a restart would have read them again (policy `shorten_replay`).
    pub segments_shortened: Counter,
    /// Frames read again at the start.
    pub frames_recovered: Counter,
    /// Bytes behind the last whole frame, cut at the start: what a crash left in the middle.
    pub bytes_torn: Counter,
    /// Frames that were stored and cannot be read any more: the disk lost them.
    pub frames_lost: Counter,
    refusals: [Counter; 4],
    commit_buckets: [Counter; COMMIT_MICROS.len() + 1],
    commit_nanos: Counter,
}

impl JournalStats {
    /// Batches that were not stored, for this reason.
    #[must_use]
    pub fn refusals(&self, reason: Unstored) -> u64 {
        self.refusals[reason as usize].get()
    }

    /// The histogram of commits: seconds in all, and for each bucket its upper bound in seconds and its count.
    #[must_use]
    pub fn commit_seconds(&self) -> (f64, Vec<(f64, u64)>) {
        let bounds = COMMIT_MICROS.iter().map(|micros| Duration::from_micros(*micros).as_secs_f64());
        let counts = self.commit_buckets.iter().map(Counter::get);
        let sum = Duration::from_nanos(self.commit_nanos.get()).as_secs_f64();
        (sum, bounds.chain([f64::MAX]).zip(counts).collect())
    }

    pub(super) fn refuse(&self, reason: Unstored, batches: usize) {
        self.refusals[reason as usize].add(batches as u64);
    }

    pub(super) fn commit(&self, batches: usize, took: Duration) {
        self.batches.add(batches as u64);
        self.commits.add(1);
        let micros = nanos(took) / 1_000;
        self.commit_buckets[COMMIT_MICROS.partition_point(|bound| *bound < micros)].add(1);
        self.commit_nanos.add(nanos(took));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_counted_in_the_first_bucket_that_it_is_not_above() {
        let stats = JournalStats::default();
        for micros in [1, 250, 251, 2_000_000] {
            stats.commit(3, Duration::from_micros(micros));
        }
        let (sum, buckets) = stats.commit_seconds();
        let counts: Vec<u64> = buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!((sum - 2.000_502).abs() < 1e-9);
        assert_eq!((stats.batches.get(), stats.commits.get()), (12, 4));
    }
}
