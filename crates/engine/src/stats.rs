//! Counts of what passed through, for `summary.json`, `/metrics` and the end of a replay.

use selvedge_decode::Decoded;
use selvedge_detect::TelemetryCounts;
use selvedge_model::{EventTime, Fate, FateLedger, SignalKind};
use serde::{Deserialize, Serialize};

use crate::arrival::ClockSteps;
use crate::overload::Overload;
use crate::pipeline::RawBatch;

/// Totals since the start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Batches taken.
    pub batches: u64,
    /// Bytes of their uncompressed bodies.
    pub bytes: u64,
    /// Signals received.
    pub signals: u64,
    /// Signals received, by kind, and what became of them (the shards' part is added when asked).
    pub ledger: FateLedger,
    /// Calls joined and counted into windows.
    pub calls: u64,
    /// Calls that both ends reported.
    pub calls_both: u64,
    /// Calls inside the mesh that only the caller's side reported.
    pub calls_client_only: u64,
    /// Calls to destinations outside the mesh, which only the caller's side can report.
    pub calls_external: u64,
    /// Calls that only the callee's side reported.
    pub calls_server_only: u64,
    /// Strings that were not UTF-8 and were repaired.
    pub repaired_strings: u64,
    /// Records with a name that found no room in the symbol table, or of a series that found none, and windows of edges that
    /// there is no room to learn: what is invented without end.
    pub symbols_overflowed: u64,
    /// How often our wall clock was set (added when asked).
    #[serde(skip)]
    pub clock_steps: ClockSteps,
    /// Calls of edges that found no room in their tick (policy `pool_newest`).
    pub calls_pooled: u64,
    /// Calls of windows whose shape found no room (policy `count_only`).
    pub shapes_overflowed: u64,
    /// What each limit did (added when asked).
    #[serde(skip)]
    pub overloads: Vec<Overload>,
    /// Bytes that open calls hold, and those that completed while records of them may still come; at most, between ticks.
    pub join_bytes: usize,
    /// Edges with a baseline.
    pub edges: u64,
    /// Windows closed and judged.
    pub windows: u64,
    /// First event time seen.
    pub event_time_start: Option<EventTime>,
    /// Last event time seen.
    pub event_time_end: Option<EventTime>,
    /// Event-time position: the newest event end.
    pub frontier: EventTime,
    /// Event-time position up to which windows are closed.
    pub watermark: EventTime,
}

impl Stats {
    /// Counts records as they are reached, so that a tick between two of them sees the same wherever batches are cut.
    /// Rejected ones have found their fate; the others are counted by join.
    pub(crate) fn count_records(&mut self, signal: SignalKind, kept: u64, rejected: u64) {
        self.signals += kept + rejected;
        if rejected > 0 {
            self.ledger.receive(signal, rejected);
            self.ledger.settle(signal, Fate::Rejected, rejected);
        }
    }

    /// Counts a decoded batch as a whole.
    pub(crate) fn count_batch(&mut self, batch: &RawBatch<'_>, decoded: &Decoded) {
        self.batches += 1;
        self.bytes += batch.body.len() as u64;
        self.repaired_strings += decoded.repaired_strings;
        for observation in &decoded.observations {
            self.event_time_start =
                Some(self.event_time_start.map_or(observation.start, |at| at.min(observation.start)));
            self.event_time_end =
                Some(self.event_time_end.map_or(observation.end, |at| at.max(observation.end)));
        }
    }

    /// What happened to telemetry as a whole since `judged`, which is brought up to now.
    pub(crate) fn telemetry_since(&self, judged: &mut TelemetryCounts) -> TelemetryCounts {
        let sum =
            |count: &dyn Fn(SignalKind) -> u64| SignalKind::ALL.iter().map(|kind| count(*kind)).sum::<u64>();
        let now = TelemetryCounts {
            received: self.signals,
            rejected: sum(&|kind| self.ledger.count(kind, Fate::Rejected)),
            symbols_overflowed: self.symbols_overflowed,
            inventor: None,
        };
        let before = std::mem::replace(judged, now);
        TelemetryCounts {
            received: now.received - before.received,
            rejected: now.rejected - before.rejected,
            symbols_overflowed: now.symbols_overflowed - before.symbols_overflowed,
            inventor: None,
        }
    }
}
