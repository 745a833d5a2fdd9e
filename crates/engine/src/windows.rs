//! Where shards meet: the deltas of a tick are merged into windows by edge, and windows close in order.

use std::collections::BTreeMap;

use selvedge_detect::Sighting;
use selvedge_join::TickDelta;
use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{CallShape, EdgeKey, EdgeWindow, EventTime, SymbolTable, Window};

use crate::stats::Stats;

/// Windows that are not closed yet.
#[derive(Default)]
pub(crate) struct Windows {
    open: BTreeMap<Window, FixedMap<EdgeKey, EdgeWindow>>,
    /// Shapes seen for the first time on their edge in their window since they were last judged.
    unsighted: Vec<(Window, EdgeKey, CallShape)>,
}

/// A window that will not change any more, edges in the order of their names.
pub(crate) struct ClosedWindow {
    pub(crate) window: Window,
    pub(crate) edges: Vec<(EdgeKey, EdgeWindow)>,
}

impl ClosedWindow {
    pub(crate) fn refs(&self) -> Vec<(EdgeKey, &EdgeWindow)> {
        self.edges.iter().map(|(key, edge)| (*key, edge)).collect()
    }
}

impl Windows {
    /// Adds what the shards counted since the last tick.
    pub(crate) fn merge(&mut self, deltas: Vec<TickDelta>, stats: &mut Stats) {
        for delta in deltas {
            stats.calls += delta.calls;
            for (key, counts) in &delta.completeness {
                stats.calls_both += counts.both;
                stats.calls_server_only += counts.server_only;
                // Nobody reports for a destination outside the mesh: that is not a blind spot.
                let left_the_mesh =
                    if key.external { &mut stats.calls_external } else { &mut stats.calls_client_only };
                *left_the_mesh += counts.client_only;
            }
            for ((window, key), edge) in delta.edges {
                let edges = self.open.entry(window).or_insert_with(|| FixedMap::with_hasher(fixed_state()));
                let merged = edges.entry(key).or_default();
                let new = edge.shapes.keys().filter(|shape| !merged.shapes.contains_key(*shape));
                self.unsighted.extend(new.map(|shape| (window, key, *shape)));
                merged.merge(&edge);
            }
        }
    }

    /// The shapes that nobody has judged yet, in an order that does not depend on shards.
    pub(crate) fn sightings(&self, symbols: &SymbolTable) -> Vec<Sighting<'_>> {
        let mut sightings: Vec<Sighting<'_>> = self
            .unsighted
            .iter()
            .filter_map(|(window, key, _shape)| {
                let (shape, stats) = self.open.get(window)?.get(key)?.shapes.get_key_value(_shape)?;
                Some(Sighting { key: *key, window: *window, shape, stats })
            })
            .collect();
        sightings.sort_by_cached_key(|sighting| {
            let names = sighting.key.names(symbols).map(str::to_owned);
            (sighting.window, names, sighting.stats.first, shape_text(sighting.shape, symbols))
        });
        sightings
    }

    /// Forgets the shapes that were judged.
    pub(crate) fn mark_sighted(&mut self) {
        self.unsighted.clear();
    }

    /// Takes out the windows that ended by the watermark, oldest first.
    pub(crate) fn close(&mut self, watermark: EventTime, symbols: &SymbolTable) -> Vec<ClosedWindow> {
        let mut closed = Vec::new();
        while let Some(entry) = self.open.first_entry() {
            if watermark < entry.key().end {
                break;
            }
            let (window, edges) = entry.remove_entry();
            let mut edges: Vec<(EdgeKey, EdgeWindow)> = edges.into_iter().collect();
            edges.sort_by_cached_key(|(key, _)| (key.names(symbols).map(str::to_owned), key.external));
            closed.push(ClosedWindow { window, edges });
        }
        closed
    }
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
    ]
    .map(|symbol| symbols.resolve(symbol));
    let numbers =
        (shape.status, shape.grpc_status, shape.error, shape.security, shape.forwarded, shape.reported);
    format!("{words:?}{numbers:?}{:?}{}", shape.source_identity, shape.repaired)
}
