//! Where shards meet: the deltas of a tick are merged into windows by edge, and windows close in order.

use std::collections::BTreeMap;

use selvedge_detect::Sighting;
use selvedge_join::TickDelta;
use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{
    CallPath, CallShape, EdgeKey, EdgeWindow, EventTime, PathStats, Shared, Symbol, SymbolTable, Window,
};
use serde::{Deserialize, Serialize};

use crate::paths::Paths;
use crate::stats::Stats;

/// Windows that are not closed yet.
///
/// Bounded by the edges and shapes in them: past `entries_max` the edges whose names became known last are counted
/// together, as [`EdgeKey::pooled`] (policy `pool_newest`). That is decided when all shards have met, so their number
/// has no say, and a flood of invented names pools itself, not what is known.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Windows {
    #[serde(skip)]
    entries_max: usize,
    /// Edges, and shapes of edges, in all windows.
    entries: usize,
    pooled: u64,
    open: BTreeMap<Window, Edges>,
    paths: Paths,
    /// Shapes seen for the first time on their edge in their window since they were last judged.
    unsighted: Vec<(Window, EdgeKey, CallShape)>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Edges(#[serde(with = "selvedge_model::hash::listed")] FixedMap<EdgeKey, Shared<EdgeWindow>>);

/// A window that will not change any more, edges in the order of their names.
pub(crate) struct ClosedWindow {
    pub(crate) window: Window,
    pub(crate) edges: Vec<(EdgeKey, Shared<EdgeWindow>)>,
    pub(crate) paths: Vec<(CallPath, PathStats)>,
}

impl ClosedWindow {
    pub(crate) fn refs(&self) -> Vec<(EdgeKey, &EdgeWindow)> {
        self.edges.iter().map(|(key, edge)| (*key, &**edge)).collect()
    }
}

impl Windows {
    pub(crate) fn new(entries_max: usize) -> Self {
        let paths = Paths::new(entries_max);
        Self { entries_max, entries: 0, pooled: 0, open: BTreeMap::new(), paths, unsighted: Vec::new() }
    }

    pub(crate) fn configure(&mut self, entries_max: usize) {
        self.entries_max = entries_max;
        self.paths.configure(entries_max);
    }

    /// Ways that requests took.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Edges of windows that found no room.
    pub(crate) fn pooled(&self) -> u64 {
        self.pooled
    }

    /// Adds what the shards counted since the last tick.
    pub(crate) fn merge(&mut self, deltas: Vec<TickDelta>, stats: &mut Stats) {
        for delta in deltas {
            stats.calls += delta.calls;
            stats.calls_pooled += delta.calls_pooled;
            for (key, counts) in &delta.completeness {
                stats.calls_both += counts.both;
                stats.calls_server_only += counts.server_only;
                // Nobody reports for a destination outside the mesh: that is not a blind spot.
                let left_the_mesh =
                    if key.external { &mut stats.calls_external } else { &mut stats.calls_client_only };
                *left_the_mesh += counts.client_only;
            }
            for ((window, key), edge) in delta.edges {
                self.add(window, key, edge);
            }
            self.paths.merge(delta.paths, delta.paths_dropped);
        }
        self.paths.make_room();
        if self.entries > self.entries_max {
            self.make_room();
        }
    }

    fn add(&mut self, window: Window, key: EdgeKey, edge: EdgeWindow) {
        let Edges(edges) =
            self.open.entry(window).or_insert_with(|| Edges(FixedMap::with_hasher(fixed_state())));
        let edges_before = edges.len();
        let merged = &mut **edges.entry(key).or_default();
        let shapes_before = merged.shapes.len();
        let new = edge.shapes.keys().filter(|shape| !merged.shapes.contains_key(*shape));
        self.unsighted.extend(new.map(|shape| (window, key, *shape)));
        merged.merge(edge);
        self.entries = self.entries + merged.shapes.len() - shapes_before;
        self.entries += edges.len() - edges_before;
    }

    /// Pools the edges with the newest names until there is room. The pools themselves are few, and stay.
    fn make_room(&mut self) {
        let keys = |(window, Edges(edges)): (&Window, &Edges)| {
            edges.keys().map(|key| (*key, *window)).collect::<Vec<_>>()
        };
        let mut keys: Vec<(EdgeKey, Window)> = self.open.iter().flat_map(keys).collect();
        keys.retain(|(key, _)| *key != key.pooled());
        keys.sort_unstable();
        while self.entries > self.entries_max
            && let Some((key, window)) = keys.pop()
        {
            let Some(edge) = self.open.get_mut(&window).and_then(|edges| edges.0.remove(&key)) else {
                continue;
            };
            self.entries -= entries(&edge);
            self.pooled += 1;
            self.add(window, key.pooled(), edge.into_value());
        }
    }

    /// The shapes that nobody has judged yet, in an order that does not depend on shards.
    pub(crate) fn sightings(&self, symbols: &SymbolTable) -> Vec<Sighting<'_>> {
        let sightings = self.unsighted.iter().filter_map(|(window, key, shape)| {
            let (shape, stats) = self.open.get(window)?.0.get(key)?.shapes.get_key_value(shape)?;
            Some(Sighting { key: *key, window: *window, shape, stats })
        });
        let ranks = Ranks::new(self.unsighted.iter().map(|(_, key, _)| key), symbols);
        let mut keyed: Vec<(SightingOrder, Sighting<'_>)> =
            sightings.map(|sighting| (order(&sighting, &ranks), sighting)).collect();
        // Text only where it must be: shapes of one edge that were first seen at the same time.
        let text = |sighting: &Sighting<'_>| shape_text(sighting.shape, symbols);
        keyed
            .sort_by(|(left, one), (right, other)| left.cmp(right).then_with(|| text(one).cmp(&text(other))));
        keyed.into_iter().map(|(_, sighting)| sighting).collect()
    }

    /// Forgets the shapes that were judged.
    pub(crate) fn mark_sighted(&mut self) {
        self.unsighted.clear();
        self.paths.mark_sighted();
    }

    /// Takes out the windows that ended by the watermark, oldest first.
    pub(crate) fn close(&mut self, watermark: EventTime, symbols: &SymbolTable) -> Vec<ClosedWindow> {
        let mut closed = Vec::new();
        while let Some(entry) = self.open.first_entry() {
            if watermark < entry.key().end {
                break;
            }
            let (window, Edges(edges)) = entry.remove_entry();
            self.entries -= edges.values().map(|edge| entries(edge)).sum::<usize>();
            let mut edges: Vec<(EdgeKey, Shared<EdgeWindow>)> = edges.into_iter().collect();
            let ranks = Ranks::new(edges.iter().map(|(key, _)| key), symbols);
            edges.sort_by_cached_key(|(key, _)| ranks.of(key));
            let paths = self.paths.close(window);
            closed.push(ClosedWindow { window, edges, paths });
        }
        closed
    }
}

/// Window, names of the edge, first call.
type SightingOrder = (Window, [u32; 6], EventTime);

fn order(sighting: &Sighting<'_>, ranks: &Ranks) -> SightingOrder {
    (sighting.window, ranks.of(&sighting.key).0, sighting.stats.first)
}

/// Where names stand among those of some edges. Edges are far more than names, so names are compared as text, and numbers
/// for each edge.
struct Ranks(FixedMap<Symbol, u32>);

impl Ranks {
    fn new<'k>(keys: impl Iterator<Item = &'k EdgeKey>, symbols: &SymbolTable) -> Self {
        let mut ranks: FixedMap<Symbol, u32> = FixedMap::with_hasher(fixed_state());
        ranks.extend(keys.flat_map(EdgeKey::symbols).map(|symbol| (symbol, 0)));
        let mut names: Vec<(&str, Symbol)> =
            ranks.keys().map(|name| (symbols.resolve(*name), *name)).collect();
        names.sort_unstable();
        let mut rank = 0;
        for (at, (text, name)) in names.iter().enumerate() {
            rank += u32::from(at > 0 && names[at - 1].0 != *text);
            ranks.insert(*name, rank);
        }
        Self(ranks)
    }

    /// Orders as the names themselves do.
    fn of(&self, key: &EdgeKey) -> ([u32; 6], bool) {
        (key.symbols().map(|symbol| self.0[&symbol]), key.external)
    }
}

/// What an edge counts against the bound.
fn entries(edge: &EdgeWindow) -> usize {
    1 + edge.shapes.len()
}

/// All text of a shape: two shapes of one edge never compare equal, and the order is that of the words.
fn shape_text(shape: &CallShape, symbols: &SymbolTable) -> String {
    let words = [
        shape.route,
        shape.method,
        shape.source_principal,
        shape.destination_principal,
        shape.tls_version,
        shape.tls_cipher,
        shape.sni,
        shape.certificate.fingerprint,
        shape.handshake_failure,
        shape.claimed_principal,
        shape.user_agent,
        shape.protocol,
        shape.denied_by,
        shape.shadow_denied_by,
    ]
    .map(|symbol| symbols.resolve(symbol));
    let numbers =
        (shape.status, shape.grpc_status, shape.error, shape.security, shape.forwarded, shape.reported);
    format!("{words:?}{numbers:?}{:?}{}{:?}", shape.source_identity, shape.repaired, shape.sampling)
}

#[cfg(test)]
mod tests {
    use selvedge_model::{Call, Node};

    use super::*;

    const LENGTH: std::time::Duration = std::time::Duration::from_secs(10);

    fn call(workload: u32, status: u16) -> Call {
        let node = |workload| Node { workload: Symbol(workload), ..Node::default() };
        let edge =
            EdgeKey { source: node(5), destination: node(workload), external: workload.is_multiple_of(7) };
        let at = EventTime(1_000);
        Call {
            edge,
            start: at,
            end: at,
            shape: CallShape { status, ..CallShape::default() },
            ..Call::default()
        }
    }

    /// The calls as `parts` shards count them, in an order of their own.
    fn deltas(calls: &[Call], parts: usize) -> Vec<TickDelta> {
        let mut deltas: Vec<TickDelta> = (0..parts).map(|_| TickDelta::default()).collect();
        for (at, call) in calls.iter().enumerate() {
            let mut edge = EdgeWindow::default();
            edge.record(call);
            deltas[at % parts].edges.push(((Window::holding(call.end, LENGTH), call.edge), edge));
        }
        deltas.reverse();
        deltas
    }

    fn closed(windows: &mut Windows) -> Vec<(EdgeKey, u64, usize)> {
        let closed = windows.close(EventTime(u64::MAX), &SymbolTable::new(1 << 10));
        let mut edges: Vec<(EdgeKey, u64, usize)> = closed
            .iter()
            .flat_map(|window| window.edges.iter().map(|(key, edge)| (*key, edge.calls(), edge.shapes.len())))
            .collect();
        edges.sort_unstable();
        edges
    }

    #[test]
    fn closed_windows_have_their_edges_in_the_order_of_names_whatever_their_numbers() {
        let mut symbols = SymbolTable::new(1 << 16);
        let mut windows = Windows::new(1_000);
        let node = |symbols: &mut SymbolTable, number: u32| Node {
            namespace: symbols.intern(["shop", "", "depot"][number as usize % 3]),
            workload: symbols.intern(&format!("w{}", number * 7_919 % 40)),
            ..Node::default()
        };
        let mut calls = Vec::new();
        for number in 0..200 {
            let (source, destination) = (node(&mut symbols, number), node(&mut symbols, number / 3));
            calls.push(Call {
                edge: EdgeKey { source, destination, external: number % 2 == 0 },
                end: EventTime(1_000),
                ..Call::default()
            });
        }
        windows.merge(deltas(&calls, 3), &mut Stats::default());
        let closed = windows.close(EventTime(u64::MAX), &symbols);
        let names: Vec<_> =
            closed[0].edges.iter().map(|(key, _)| (key.names(&symbols), key.external)).collect();
        assert!(names.len() > 100 && names.is_sorted(), "{names:?}");
    }

    /// Scenario: more edges than there is room for, over two ticks, counted by one, two or five shards.
    /// Guarantees: the same edges are kept with the same counts, those that were known first, and no call is lost.
    #[test]
    fn what_finds_room_does_not_depend_on_shards_and_no_call_is_lost() {
        let flood: Vec<Call> =
            (0..2_000_u32).map(|n| call(10 + n * 7_919 % 1_000, u16::try_from(n % 3).unwrap())).collect();
        let ordinary: Vec<Call> = (0..50).map(|n| call(10 + n % 10, 200)).collect();
        let run = |parts| {
            let (mut windows, mut stats) = (Windows::new(300), Stats::default());
            windows.merge(deltas(&flood, parts), &mut stats);
            windows.mark_sighted();
            windows.merge(deltas(&ordinary, parts), &mut stats);
            assert!(windows.entries <= 300, "{} entries", windows.entries);
            assert!(windows.pooled() >= 900, "{} pooled", windows.pooled());
            let edges = closed(&mut windows);
            assert_eq!(windows.entries, 0);
            edges
        };
        let alone = run(1);
        assert_eq!(alone, run(2));
        assert_eq!(alone, run(5));
        assert_eq!(alone.iter().map(|(_, calls, _)| calls).sum::<u64>(), 2_050);
        let known = |workload| alone.iter().any(|(key, _, _)| key.destination.workload == Symbol(workload));
        assert!((10..20).all(known) && !known(900));
    }
}
