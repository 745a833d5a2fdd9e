//! What changed since the last tick: calls completed, by window and edge.

use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{Call, EdgeKey, EdgeWindow, EventTime, Node, Reported, Symbol, Window};

/// Edges and windows counted apart in one tick; past it, calls are counted on an edge whose callee is
/// [`Symbol::OVERFLOW`] (policy `pool`). Only invented host names make that many.
const EDGES_MAX: usize = 1 << 16;

/// Which sides reported the calls of an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completeness {
    /// Calls that both sides reported.
    pub both: u64,
    /// Calls that only the caller's side reported.
    pub client_only: u64,
    /// Calls that only the callee's side reported.
    pub server_only: u64,
}

impl Completeness {
    /// Adds another count.
    pub fn merge(&mut self, other: &Self) {
        self.both += other.both;
        self.client_only += other.client_only;
        self.server_only += other.server_only;
    }

    fn count(&mut self, reported: Reported) {
        match reported {
            Reported::Both => self.both += 1,
            Reported::ClientOnly => self.client_only += 1,
            Reported::ServerOnly => self.server_only += 1,
        }
    }
}

/// The calls completed since the last tick. Mergeable over shards in any order.
#[derive(Debug)]
pub struct TickDelta {
    /// Counts by window and edge, in no particular order: sort by resolved names before anything is emitted.
    pub edges: Vec<((Window, EdgeKey), EdgeWindow)>,
    /// Which sides reported, by edge.
    pub completeness: FixedMap<EdgeKey, Completeness>,
    /// Calls completed.
    pub calls: u64,
}

impl Default for TickDelta {
    fn default() -> Self {
        Self { edges: Vec::new(), completeness: FixedMap::with_hasher(fixed_state()), calls: 0 }
    }
}

/// Counts calls until the next tick takes the counts away.
pub(crate) struct Tally {
    edges: FixedMap<(Window, EdgeKey), (EdgeWindow, Completeness)>,
    window_length: Duration,
    calls: u64,
}

impl Tally {
    pub(crate) fn new(window_length: Duration) -> Self {
        Self { edges: FixedMap::with_hasher(fixed_state()), window_length, calls: 0 }
    }

    /// Counts a call into the window of its end, or when that was closed by `watermark`, into the earliest that was
    /// not: a closed window was judged and learned from.
    pub(crate) fn count(&mut self, call: &Call, watermark: EventTime) {
        let window = Window::holding(call.end.max(watermark), self.window_length);
        let mut key = (window, call.edge);
        if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&key) {
            key.1.destination = Node { workload: Symbol::OVERFLOW, ..Node::default() };
        }
        let (edge, completeness) = self.edges.entry(key).or_default();
        edge.record(call);
        completeness.count(call.shape.reported);
        self.calls += 1;
    }

    /// Everything counted since the last time.
    pub(crate) fn take(&mut self) -> TickDelta {
        let mut delta = TickDelta { calls: std::mem::take(&mut self.calls), ..TickDelta::default() };
        delta.edges.reserve(self.edges.len());
        for ((window, key), (edge, completeness)) in self.edges.drain() {
            delta.completeness.entry(key).or_default().merge(&completeness);
            delta.edges.push(((window, key), edge));
        }
        delta
    }
}
