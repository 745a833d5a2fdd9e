//! What became of checkpoints, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters and the latest values.
#[derive(Debug, Default)]
pub struct CheckpointStats {
    written: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    bytes: AtomicU64,
    pause_nanos: AtomicU64,
    taken_unix_nano: AtomicU64,
}

impl CheckpointStats {
    /// One is on the device.
    pub fn wrote(&self, bytes: u64, taken_unix_nano: u64) {
        self.written.fetch_add(1, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.taken_unix_nano.store(taken_unix_nano, Ordering::Relaxed);
    }

    /// One could not be written.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// One was due while the one before it was still being written.
    pub fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// The engine stood still for so long to copy its state.
    pub fn paused(&self, nanos: u64) {
        self.pause_nanos.store(nanos, Ordering::Relaxed);
    }

    /// How many were written, could not be written, and were left out.
    #[must_use]
    pub fn counts(&self) -> [u64; 3] {
        [&self.written, &self.failed, &self.skipped].map(|count| count.load(Ordering::Relaxed))
    }

    /// Of the latest: its bytes, for how many nanoseconds the engine stood still, and when it was taken.
    #[must_use]
    pub fn latest(&self) -> [u64; 3] {
        [&self.bytes, &self.pause_nanos, &self.taken_unix_nano].map(|value| value.load(Ordering::Relaxed))
    }
}
