//! Tests that need more than one module: fake peers over HTTP, deliveries in paused time, documents and their schemas.

mod cards;
mod config;
mod deliveries;
mod documents;
mod peer;
mod secrets;
mod sinks;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::ActConfig;
use crate::delivery::WallClock;
use crate::sample::ONSET;
use crate::section::AlertsSection;

/// A time of day that moves when told.
pub(crate) struct ManualClock(AtomicU64);

impl ManualClock {
    /// Ten seconds after the sample incident began.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(ONSET.0 + 10_000_000_000))
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1_000_000_000, Ordering::Relaxed);
    }
}

impl WallClock for ManualClock {
    fn now_unix_nano(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The checked form of a YAML `alerts` section.
pub(crate) fn config(yaml: &str) -> ActConfig {
    ActConfig::try_from(section(yaml)).unwrap()
}

pub(crate) fn section(yaml: &str) -> AlertsSection {
    serde_saphyr::from_str(yaml).unwrap()
}
