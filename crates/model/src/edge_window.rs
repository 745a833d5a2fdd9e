//! What one edge did in one window (or part of it): mergeable counts, never lists of calls.

use hashbrown::hash_map::Entry;
use serde::{Deserialize, Serialize};

use crate::call::{Call, CallShape};
use crate::hash::{FixedMap, fixed_state};
use crate::histogram::LogHistogram;
use crate::id::{SpanId, TraceId};
use crate::time::EventTime;

/// Distinct shapes kept for an edge and window; past it calls are counted under [`EdgeWindow::shapes_overflowed`].
pub const SHAPES_MAX: usize = 512;
/// Exemplars kept for a shape.
pub const EXEMPLARS_MAX: usize = 4;
/// Call times kept for an external edge and window (for `beacon`); the earliest are kept.
pub const ARRIVALS_MAX: usize = 64;

/// A call to show to people as evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Exemplar {
    /// Start of the call; first in order, so the earliest calls are kept, whatever order they came in.
    pub start: EventTime,
    /// Trace id.
    pub trace_id: TraceId,
    /// Span id.
    pub span_id: SpanId,
}

/// Counts of the calls of one shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShapeStats {
    /// Number of calls.
    pub calls: u64,
    /// Sum of request body bytes.
    pub request_bytes: u64,
    /// Largest request body.
    pub request_bytes_max: u64,
    /// Sum of response body bytes.
    pub response_bytes: u64,
    /// Largest response body.
    pub response_bytes_max: u64,
    /// Latency in nanoseconds.
    pub latency: LogHistogram,
    /// Start of the first call.
    pub first: EventTime,
    /// End of the last call.
    pub last: EventTime,
    /// The earliest calls, in order.
    pub exemplars: Vec<Exemplar>,
}

/// One edge in one window, or the change of it since the last tick. Merging is commutative and associative, so
/// shards can meet in any order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EdgeWindow {
    /// Counts by shape.
    #[serde(with = "crate::hash::listed")]
    pub shapes: FixedMap<CallShape, ShapeStats>,
    /// Calls whose shape found no room.
    pub shapes_overflowed: u64,
    /// Starts of calls to external destinations, sorted.
    pub arrivals: Vec<EventTime>,
}

impl Default for EdgeWindow {
    fn default() -> Self {
        Self { shapes: FixedMap::with_hasher(fixed_state()), shapes_overflowed: 0, arrivals: Vec::new() }
    }
}

impl ShapeStats {
    /// Counts one call.
    pub fn record(&mut self, call: &Call) {
        self.calls += 1;
        self.request_bytes = self.request_bytes.saturating_add(call.request_bytes);
        self.request_bytes_max = self.request_bytes_max.max(call.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(call.response_bytes);
        self.response_bytes_max = self.response_bytes_max.max(call.response_bytes);
        self.latency.record(call.duration_nanos);
        self.first = earlier(self.first, call.start);
        self.last = self.last.max(call.end);
        self.keep(Exemplar { start: call.start, trace_id: call.trace_id, span_id: call.span_id });
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.request_bytes = self.request_bytes.saturating_add(other.request_bytes);
        self.request_bytes_max = self.request_bytes_max.max(other.request_bytes_max);
        self.response_bytes = self.response_bytes.saturating_add(other.response_bytes);
        self.response_bytes_max = self.response_bytes_max.max(other.response_bytes_max);
        self.latency.merge(&other.latency);
        self.first = earlier(self.first, other.first);
        self.last = self.last.max(other.last);
        other.exemplars.iter().for_each(|exemplar| self.keep(*exemplar));
    }

    /// Keeps the smallest exemplars: a choice that does not depend on the order of arrival.
    fn keep(&mut self, exemplar: Exemplar) {
        if self.exemplars.len() == EXEMPLARS_MAX
            && self.exemplars.last().is_some_and(|last| *last <= exemplar)
        {
            return;
        }
        if let Err(at) = self.exemplars.binary_search(&exemplar) {
            self.exemplars.insert(at, exemplar);
            self.exemplars.truncate(EXEMPLARS_MAX);
        }
    }
}

impl EdgeWindow {
    /// Counts one call.
    pub fn record(&mut self, call: &Call) {
        if self.admits(&call.shape) {
            self.shapes.entry(call.shape).or_default().record(call);
        } else {
            self.shapes_overflowed += 1;
        }
        if call.edge.external {
            self.arrive(call.start);
        }
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: Self) {
        if self.shapes.is_empty() && self.shapes_overflowed == 0 && self.arrivals.is_empty() {
            *self = other;
            return;
        }
        for (shape, stats) in other.shapes {
            self.add(shape, stats);
        }
        self.shapes_overflowed += other.shapes_overflowed;
        other.arrivals.iter().for_each(|at| self.arrive(*at));
    }

    /// Adds calls of one shape.
    pub fn add(&mut self, shape: CallShape, stats: ShapeStats) {
        if !self.admits(&shape) {
            self.shapes_overflowed += stats.calls;
            return;
        }
        match self.shapes.entry(shape) {
            Entry::Vacant(place) => {
                place.insert(stats);
            }
            Entry::Occupied(mut place) => place.get_mut().merge(&stats),
        }
    }

    /// Makes room for a shape, if it belongs to those that are kept: the smallest, so that the choice depends neither on
    /// the order of calls nor on who merged with whom. Names that were known first are smallest, so a flood of invented
    /// ones does not push out the shapes of ordinary calls.
    fn admits(&mut self, shape: &CallShape) -> bool {
        if self.shapes.len() < SHAPES_MAX || self.shapes.contains_key(shape) {
            return true;
        }
        let largest = self.shapes.keys().max().copied();
        match largest.filter(|largest| shape < largest) {
            Some(largest) => {
                self.shapes_overflowed += self.shapes.remove(&largest).map_or(0, |stats| stats.calls);
                true
            }
            None => false,
        }
    }

    /// Number of calls, those without room for their shape included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.shapes.values().map(|stats| stats.calls).sum::<u64>() + self.shapes_overflowed
    }

    /// Latency of all calls.
    #[must_use]
    pub fn latency(&self) -> LogHistogram {
        let mut all = LogHistogram::default();
        self.shapes.values().for_each(|stats| all.merge(&stats.latency));
        all
    }

    /// Notes when a call to an external destination started; the earliest are kept.
    pub fn arrive(&mut self, at: EventTime) {
        let place = self.arrivals.partition_point(|other| *other <= at);
        if place < ARRIVALS_MAX {
            self.arrivals.insert(place, at);
            self.arrivals.truncate(ARRIVALS_MAX);
        }
    }
}

fn earlier(left: EventTime, right: EventTime) -> EventTime {
    if left.present() && left < right { left } else { right }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(start: u64, status: u16) -> Call {
        let shape = CallShape { status, ..CallShape::default() };
        Call {
            shape,
            start: EventTime(start),
            end: EventTime(start + 5),
            duration_nanos: 5,
            ..Call::default()
        }
    }

    /// Scenario: the same calls are counted in one window, or in three parts that meet in another order.
    /// Guarantees: the merged windows are equal, exemplars included.
    #[test]
    fn parts_of_a_window_merge_to_the_whole_in_any_order() {
        let calls: Vec<Call> =
            (1..50).map(|n| call(n * 7 % 50 + 1, if n % 5 == 0 { 500 } else { 200 })).collect();
        let mut whole = EdgeWindow::default();
        let mut parts = [EdgeWindow::default(), EdgeWindow::default(), EdgeWindow::default()];
        for (at, call) in calls.iter().enumerate() {
            whole.record(call);
            parts[at % 3].record(call);
        }
        let mut merged = EdgeWindow::default();
        for at in [2, 0, 1] {
            merged.merge(std::mem::take(&mut parts[at]));
        }
        assert_eq!(merged.shapes, whole.shapes);
        assert_eq!(merged.calls(), 49);
    }

    /// Scenario: more shapes than are kept, counted in one window or in parts that meet in another order.
    /// Guarantees: the same shapes are kept with the same counts.
    #[test]
    fn the_choice_of_shapes_does_not_depend_on_order_or_parts() {
        let statuses: Vec<u16> = (0..2_000_u32).map(|n| u16::try_from(n * 7_919 % 1_500).unwrap()).collect();
        let mut whole = EdgeWindow::default();
        let [mut first, mut second] = [EdgeWindow::default(), EdgeWindow::default()];
        for (at, status) in statuses.iter().enumerate() {
            whole.record(&call(1, *status));
            if at % 2 == 0 { &mut first } else { &mut second }.record(&call(1, *status));
        }
        let mut merged = second;
        merged.merge(first);
        assert_eq!(merged.shapes, whole.shapes);
        assert_eq!((merged.shapes_overflowed, merged.calls()), (whole.shapes_overflowed, 2_000));
    }

    #[test]
    fn shapes_past_the_bound_are_counted_and_not_kept() {
        let mut window = EdgeWindow::default();
        for status in 0..u16::try_from(SHAPES_MAX).unwrap() + 10 {
            window.record(&call(1, status));
        }
        assert_eq!(window.shapes.len(), SHAPES_MAX);
        assert_eq!(window.shapes_overflowed, 10);
    }
}
