//! What changed since the last tick: calls completed, by window and edge.

use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{
    Call, CallPath, EdgeKey, EdgeWindow, EventTime, FirstOnPath, PathStats, Reported, Window,
};

use crate::config::JoinConfig;
use crate::shapes::{Alike, Fullness, ShapeCounts};

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

    fn count(&mut self, reported: Reported, calls: u64) {
        match reported {
            Reported::Both => self.both += calls,
            Reported::ClientOnly => self.client_only += calls,
            Reported::ServerOnly => self.server_only += calls,
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
    /// Of these, calls of edges that found no room and were counted together.
    pub calls_pooled: u64,
    /// Ways over three workloads, by the window of the call that was complete last; in no particular order.
    pub paths: Vec<((Window, CallPath), PathStats)>,
    /// Calls on ways that found no room.
    pub paths_dropped: u64,
}

impl Default for TickDelta {
    fn default() -> Self {
        let completeness = FixedMap::with_hasher(fixed_state());
        let (edges, paths) = (Vec::new(), Vec::new());
        Self { edges, completeness, calls: 0, calls_pooled: 0, paths, paths_dropped: 0 }
    }
}

impl TickDelta {
    /// What all shards counted, within the bound of all. The edges that are kept are the smallest, and those are among
    /// the smallest of each shard, complete: so the result is that of one shard.
    #[must_use]
    pub fn bounded(deltas: Vec<Self>, config: &JoinConfig) -> Vec<Self> {
        let within = |of: fn(&Self) -> usize| deltas.iter().map(of).sum::<usize>() <= config.tick_edges_max;
        if within(|delta| delta.edges.len()) && within(|delta| delta.paths.len()) {
            return deltas;
        }
        let mut all = Tally::new(config);
        let mut completeness = FixedMap::<EdgeKey, Completeness>::with_hasher(fixed_state());
        for delta in deltas {
            all.calls += delta.calls;
            all.calls_pooled += delta.calls_pooled;
            all.paths_dropped += delta.paths_dropped;
            for ((window, path), stats) in delta.paths {
                all.add_path(window, path, &stats);
            }
            for (key, edge) in delta.edges {
                all.edges.entry(key).or_default().0.merge(edge);
            }
            for (key, counts) in delta.completeness {
                completeness.entry(key).or_default().merge(&counts);
            }
        }
        let delta = all.take();
        vec![Self { completeness, ..delta }]
    }
}

/// Counts by window and way.
type ByPath = FixedMap<(Window, CallPath), PathStats>;

/// Counts by window and edge.
type ByEdge = FixedMap<(Window, EdgeKey), (EdgeWindow, Completeness)>;

/// Counts calls until the next tick takes the counts away.
pub(crate) struct Tally {
    /// Counted since the last time, and not yet in `edges`.
    shapes: ShapeCounts,
    edges: ByEdge,
    edges_max: usize,
    window_length: Duration,
    hand_out: bool,
    completed: Vec<Call>,
    calls: u64,
    calls_pooled: u64,
    paths: ByPath,
    paths_dropped: u64,
}

impl Tally {
    pub(crate) fn new(config: &JoinConfig) -> Self {
        Self {
            shapes: ShapeCounts::default(),
            edges: FixedMap::with_hasher(fixed_state()),
            edges_max: config.tick_edges_max,
            window_length: config.window_length,
            hand_out: config.hand_out_calls,
            completed: Vec::new(),
            calls: 0,
            calls_pooled: 0,
            paths: FixedMap::with_hasher(fixed_state()),
            paths_dropped: 0,
        }
    }

    /// Counts a call onward into the window that holds `at`.
    pub(crate) fn pass(&mut self, path: CallPath, first: FirstOnPath, at: EventTime) {
        self.add_path(Window::holding(at, self.window_length), path, &PathStats::one(first));
    }

    fn add_path(&mut self, window: Window, path: CallPath, stats: &PathStats) {
        match self.paths.get_mut(&(window, path)) {
            Some(known) => known.merge(stats),
            None => {
                self.paths.insert((window, path), *stats);
                // Not at each way past the bound, as with edges.
                if self.paths.len() > 2 * self.edges_max {
                    self.drop_paths();
                }
            }
        }
    }

    /// Keeps the smallest ways, as with edges.
    fn drop_paths(&mut self) {
        if self.paths.len() <= self.edges_max {
            return;
        }
        let mut keys: Vec<(CallPath, Window)> =
            self.paths.keys().map(|(window, path)| (*path, *window)).collect();
        keys.select_nth_unstable(self.edges_max);
        for (path, window) in keys.drain(self.edges_max..) {
            self.paths_dropped += self.paths.remove(&(window, path)).map_or(0, |stats| stats.calls);
        }
    }

    /// Counts a call into the window of its end, or when that was closed by `watermark`, into the earliest that was
    /// not: a closed window was judged and learned from.
    pub(crate) fn count(&mut self, call: &Call, watermark: EventTime) {
        let window = Window::holding(call.end.max(watermark), self.window_length);
        if self.shapes.count(window, call) == Fullness::Full {
            self.count_by_edge();
        }
        if call.edge.external {
            self.edges.entry((window, call.edge)).or_default().0.arrive(call.start);
        }
        self.calls += 1;
        if self.hand_out {
            self.completed.push(*call);
        }
    }

    fn count_by_edge(&mut self) {
        for Alike { window, edge, shape, stats } in self.shapes.drain() {
            let (counts, completeness) = self.edges.entry((window, edge)).or_default();
            completeness.count(shape.reported, stats.calls);
            counts.add(shape, stats);
            // Not at each edge past the bound: to find the smallest is a look at all.
            if self.edges.len() > 2 * self.edges_max {
                pool(&mut self.edges, self.edges_max, &mut self.calls_pooled);
            }
        }
    }

    /// Moves the calls completed since the last time to the end of `calls`; where there are none yet, without copying.
    pub(crate) fn take_completed(&mut self, calls: &mut Vec<Call>) {
        if calls.is_empty() {
            std::mem::swap(calls, &mut self.completed);
        } else {
            calls.append(&mut self.completed);
        }
    }

    /// Everything counted since the last time.
    pub(crate) fn take(&mut self) -> TickDelta {
        self.count_by_edge();
        pool(&mut self.edges, self.edges_max, &mut self.calls_pooled);
        self.drop_paths();
        let mut delta = TickDelta {
            calls: std::mem::take(&mut self.calls),
            calls_pooled: std::mem::take(&mut self.calls_pooled),
            paths: self.paths.drain().collect(),
            paths_dropped: std::mem::take(&mut self.paths_dropped),
            ..TickDelta::default()
        };
        delta.edges.reserve(self.edges.len());
        for ((window, key), (edge, completeness)) in self.edges.drain() {
            delta.completeness.entry(key).or_default().merge(&completeness);
            delta.edges.push(((window, key), edge));
        }
        delta
    }
}

/// Keeps the smallest edges: those whose names were known first, whatever order they came in.
fn pool(edges: &mut ByEdge, edges_max: usize, calls_pooled: &mut u64) {
    if edges.len() <= edges_max {
        return;
    }
    let keys = edges.keys().filter(|(_, key)| *key != key.pooled());
    let mut keys: Vec<(EdgeKey, Window)> = keys.map(|(window, key)| (*key, *window)).collect();
    if keys.len() <= edges_max {
        return;
    }
    keys.select_nth_unstable(edges_max);
    for (key, window) in keys.drain(edges_max..) {
        let Some((edge, completeness)) = edges.remove(&(window, key)) else { continue };
        *calls_pooled += edge.calls();
        let pool = edges.entry((window, key.pooled())).or_default();
        pool.0.merge(edge);
        pool.1.merge(&completeness);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use selvedge_model::{CallShape, Node, Symbol};

    use super::*;

    fn call(number: u32) -> Call {
        let node = |workload| Node { workload: Symbol(workload), ..Node::default() };
        let edge = EdgeKey {
            source: node(5),
            destination: node(10 + number * 7_919 % 1_000),
            external: number.is_multiple_of(3),
        };
        let end = EventTime(1 + u64::from(number % 2) * 20_000_000_000);
        let shape = CallShape { status: u16::try_from(number % 5).unwrap(), ..CallShape::default() };
        Call { edge, start: end, end, shape, ..Call::default() }
    }

    /// Scenario: far more edges than are counted apart, by one, two or seven shards.
    /// Guarantees: the same edges are kept with the same counts, the same calls are pooled, and none is lost.
    #[test]
    fn which_edges_are_counted_apart_does_not_depend_on_shards() {
        let config = JoinConfig { tick_edges_max: 100, ..JoinConfig::default() };
        let run = |shards: usize| {
            let mut tallies: Vec<Tally> = (0..shards).map(|_| Tally::new(&config)).collect();
            for number in 0..5_000_u32 {
                tallies[(number / 3) as usize % shards].count(&call(number), EventTime::ABSENT);
            }
            let deltas = tallies.iter_mut().rev().map(Tally::take).collect();
            let (mut edges, mut calls, mut reported) = (BTreeMap::new(), (0, 0), [0; 3]);
            for delta in TickDelta::bounded(deltas, &config) {
                calls = (calls.0 + delta.calls, calls.1 + delta.calls_pooled);
                for ((window, key), edge) in delta.edges {
                    let mut shapes: Vec<_> = edge.shapes.into_iter().collect();
                    shapes.sort_by_key(|(shape, _)| *shape);
                    edges.insert((window, key), (shapes, edge.shapes_overflowed, edge.arrivals));
                }
                for counts in delta.completeness.values() {
                    reported[0] += counts.both + counts.client_only + counts.server_only;
                }
            }
            (edges, calls, reported)
        };
        let alone = run(1);
        assert_eq!(alone.1.0, 5_000);
        assert!(alone.1.1 > 4_000 && alone.0.len() <= 104, "{:?} {}", alone.1, alone.0.len());
        assert_eq!(alone.2[0], 5_000);
        for shards in [2, 7] {
            assert!(run(shards) == alone, "{shards} shards");
        }
    }
}
