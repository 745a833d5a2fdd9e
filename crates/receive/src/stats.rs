//! What the door counted: requests, bytes and items by receiver and signal, and what went wrong before a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use selvedge_model::SignalKind;

use crate::admission::Admission;
use crate::handover::Transport;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `by` more.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts for one signal through one receiver. Every request routed to a signal ends in exactly one of the four
/// `requests_*` counters.
#[derive(Debug, Default)]
pub struct Lane {
    /// Requests answered with success, in whole or in part.
    pub requests_accepted: Counter,
    /// Requests the sender was asked to repeat: no room, or closing.
    pub requests_refused: Counter,
    /// Requests the sender must not repeat: malformed, too large, unknown type or encoding, no valid token.
    pub requests_failed: Counter,
    /// Requests whose sender went away before the answer. What was already handed over is still processed.
    pub requests_abandoned: Counter,
    /// Bytes of accepted requests as they came in, before decompression.
    pub bytes_wire: Counter,
    /// Bytes of accepted requests after decompression.
    pub bytes_body: Counter,
    /// Spans, data points or log records taken over. Told by whoever decodes: [`ReceiveStats::count_items`].
    pub items_accepted: Counter,
    /// Spans, data points or log records rejected inside an accepted request, as answered to the sender.
    pub items_rejected: Counter,
    /// Items that were repaired while decoding, for instance strings that were not UTF-8.
    pub items_repaired: Counter,
}

/// All counters of the receivers, shared with whoever reports them.
#[derive(Debug)]
pub struct ReceiveStats {
    lanes: [[Lane; 3]; Transport::ALL.len()],
    admission: Arc<Admission>,
    /// Requests for no path or method of ours.
    pub requests_unrouted: Counter,
    /// Requests without a valid bearer token (those for a signal are counted as failed there too).
    pub requests_unauthenticated: Counter,
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Connections closed at once because `connections_max` were open.
    pub connections_refused: Counter,
    /// Connections closed because the sender did not begin, or its TLS handshake failed or took too long.
    pub handshakes_failed: Counter,
    /// Times a changed certificate or token file was taken over.
    pub reloads: Counter,
    /// Times a changed certificate or token file was broken, and the old one kept.
    pub reload_failures: Counter,
}

impl ReceiveStats {
    pub(crate) fn new(admission: Arc<Admission>) -> Self {
        Self {
            lanes: Default::default(),
            admission,
            requests_unrouted: Counter::default(),
            requests_unauthenticated: Counter::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            handshakes_failed: Counter::default(),
            reloads: Counter::default(),
            reload_failures: Counter::default(),
        }
    }

    /// The counters of one signal through one receiver.
    #[must_use]
    pub fn lane(&self, transport: Transport, signal: SignalKind) -> &Lane {
        &self.lanes[transport as usize][signal as usize]
    }

    /// The ration of bytes in flight and its present use.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Counts what the decoder found in a batch; the door itself never looks inside. Rejected items are counted
    /// from the receipt.
    pub fn count_items(&self, transport: Transport, signal: SignalKind, accepted: u64, repaired: u64) {
        let lane = self.lane(transport, signal);
        lane.items_accepted.add(accepted);
        lane.items_repaired.add(repaired);
    }
}

/// How a request ended, told once. A tally dropped untold means that the sender went away.
pub(crate) struct Tally<'a> {
    lane: &'a Lane,
    told: bool,
}

impl<'a> Tally<'a> {
    pub(crate) fn of(lane: &'a Lane) -> Self {
        Self { lane, told: false }
    }

    pub(crate) fn accepted(mut self, bytes_wire: usize, bytes_body: usize, rejected: u64) {
        self.told = true;
        self.lane.requests_accepted.add(1);
        self.lane.bytes_wire.add(bytes_wire as u64);
        self.lane.bytes_body.add(bytes_body as u64);
        self.lane.items_rejected.add(rejected);
    }

    pub(crate) fn refused(mut self) {
        self.told = true;
        self.lane.requests_refused.add(1);
    }

    pub(crate) fn failed(mut self) {
        self.told = true;
        self.lane.requests_failed.add(1);
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.lane.requests_abandoned.add(1);
        }
    }
}
