//! Everything that is known, and how a closed window adds to it.

use std::cmp::Ordering;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{
    CallPath, CallShape, EdgeKey, EdgeWindow, PathStats, ShapeStats, Shared, SymbolTable, Window,
};
use serde::{Deserialize, Serialize};

use crate::config::LearnConfig;
use crate::edge::{EdgeBaseline, RouteKey};
use crate::mesh::MeshBaseline;
use crate::normal::Norms;
use crate::{KnownBy, Provenance};

/// Baselines of all edges and of the mesh. A copy shares what is known of each edge until it changes.
#[derive(Clone, Serialize, Deserialize)]
pub struct Baselines {
    #[serde(skip)]
    config: LearnConfig,
    #[serde(with = "selvedge_model::hash::listed")]
    edges: FixedMap<EdgeKey, Shared<EdgeBaseline>>,
    edges_overflowed: u64,
    routes_overflowed: u64,
    mesh: MeshBaseline,
    norms: Norms,
}

/// What found no room in the baselines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflows {
    /// Windows of edges.
    pub edges: u64,
    /// Calls of routes of an edge.
    pub routes: u64,
    /// Sightings of identities, callers and callees.
    pub mesh: u64,
}

impl Baselines {
    /// Baselines that know nothing.
    #[must_use]
    pub fn new(config: LearnConfig) -> Self {
        let (mesh, norms) = (MeshBaseline::new(&config), Norms::new(config.hot_bytes_max));
        Self {
            config,
            edges: FixedMap::with_hasher(fixed_state()),
            edges_overflowed: 0,
            routes_overflowed: 0,
            mesh,
            norms,
        }
    }

    /// Takes the limits of `config`, as after a restart with another configuration. What is there stays.
    pub fn configure(&mut self, config: LearnConfig) {
        self.mesh.configure(&config);
        self.norms.configure(config.hot_bytes_max);
        self.config = config;
    }

    /// Learns one edge of a closed window, without the shapes that were `flagged` when it was judged.
    ///
    /// A failed handshake is no call: of approved ones the callee remembers the reason, else nothing is learned.
    pub fn learn(
        &mut self,
        window: Window,
        key: EdgeKey,
        edge: &EdgeWindow,
        flagged: &dyn Fn(&CallShape) -> bool,
        provenance: Provenance,
        symbols: &SymbolTable,
    ) {
        let mut shapes: Vec<(&CallShape, &ShapeStats)> =
            edge.shapes.iter().filter(|(shape, _)| !flagged(shape)).collect();
        // Which key gets the last free slot of a bounded map must not depend on the order in which shards met.
        shapes.sort_by(|left, right| order(*left, *right));
        shapes.retain(|(shape, stats)| {
            let failed = shape.handshake_failure.present();
            if failed && provenance == Provenance::Approved {
                self.mesh.record_handshake_failure(&key, shape, stats.calls);
            }
            !failed
        });
        if shapes.is_empty() {
            return;
        }
        self.mesh.approved |= provenance == Provenance::Approved;
        for (shape, stats) in &shapes {
            self.mesh.record(&key, shape, stats, symbols);
        }
        self.mesh.close_edge(&key);
        if let Some(baseline) = self.edge_mut(key) {
            baseline.provenance = baseline.provenance.max(provenance);
            let before = baseline.routes_overflowed();
            learn_edge(baseline, &shapes);
            self.routes_overflowed += baseline.routes_overflowed() - before;
            // What is counted together has nothing in common.
            if key != key.pooled() {
                self.norms.follow(key, window.end);
            }
        }
    }

    /// Learns the ways that requests took in a closed window, the ones to be preferred first. After the window's edges: a way
    /// over an edge or a route that is not known teaches nothing, so nobody fills an edge's list with routes of his own.
    pub fn learn_paths(&mut self, window: Window, paths: &[(CallPath, PathStats)], provenance: Provenance) {
        let settled = !self.mesh.warm() || provenance == Provenance::Approved;
        for (path, stats) in paths {
            let route = RouteKey { method: path.method, route: path.route };
            let known =
                |edge: &&mut Shared<EdgeBaseline>| !path.route.present() || edge.route(route).is_some();
            if let Some(edge) = self.edges.get_mut(&path.edge).filter(known)
                && !edge.onward.add(route, path.onward, window.end, settled)
            {
                self.routes_overflowed += stats.calls;
            }
        }
        let mut driven: Vec<EdgeKey> = paths.iter().map(|(path, _)| path.second()).collect();
        driven.sort_unstable();
        driven.dedup();
        for key in driven {
            if let Some(edge) = self.edges.get_mut(&key) {
                edge.driven_windows += 1;
            }
        }
    }

    /// Closes a window for callers, callees and the mesh. Windows in which nothing was learned teach nothing: no
    /// reporter alive is a gap, not silence.
    pub fn finish_window(&mut self, window: Window) {
        self.mesh.close_window(window.end.since(window.start));
    }

    /// Has an edge known from now on as `provenance` says.
    pub fn mark(&mut self, key: &EdgeKey, provenance: Provenance) {
        if let Some(edge) = self.edges.get_mut(key) {
            edge.provenance = provenance;
            self.mesh.approved |= provenance == Provenance::Approved;
        }
    }

    /// Forgets an edge, and what it normally does.
    pub fn forget(&mut self, key: &EdgeKey) {
        self.edges.remove(key);
        self.norms.forget(key);
    }

    /// What is known of an edge.
    #[must_use]
    pub fn edge(&self, key: &EdgeKey) -> Option<&EdgeBaseline> {
        self.edges.get(key).map(|edge| &**edge)
    }

    /// All edges, in no particular order: sort by names before it reaches an output.
    pub fn edges(&self) -> impl Iterator<Item = (&EdgeKey, &EdgeBaseline)> {
        self.edges.iter().map(|(key, edge)| (key, &**edge))
    }

    /// The edges of these, and of those in `metrics` that only metrics know, in no particular order; with the baselines that
    /// each is from.
    pub fn with_measured<'a>(
        &'a self,
        metrics: &'a Self,
    ) -> impl Iterator<Item = (&'a EdgeKey, &'a EdgeBaseline, KnownBy, &'a Self)> {
        let of = |of: &'a Self, by| of.edges().map(move |(key, edge)| (key, edge, by, of));
        let measured = of(metrics, KnownBy::Metrics).filter(|(key, ..)| self.edge(key).is_none());
        of(self, KnownBy::Calls).chain(measured)
    }

    /// What is known of the mesh as a whole.
    #[must_use]
    pub fn mesh(&self) -> &MeshBaseline {
        &self.mesh
    }

    /// What the edges with a baseline normally do.
    #[must_use]
    pub fn norms(&self) -> &Norms {
        &self.norms
    }

    /// The same, to judge and to learn a window.
    pub fn norms_mut(&mut self) -> &mut Norms {
        &mut self.norms
    }

    /// True when no further edge can be learned: then an unknown edge is not a new one.
    #[must_use]
    pub fn full(&self) -> bool {
        self.edges.len() >= self.config.edges_max
    }

    /// What found no room (policy `keep_known`).
    #[must_use]
    pub fn overflows(&self) -> Overflows {
        Overflows {
            edges: self.edges_overflowed,
            routes: self.routes_overflowed,
            mesh: self.mesh.overflowed(),
        }
    }

    fn edge_mut(&mut self, key: EdgeKey) -> Option<&mut EdgeBaseline> {
        if self.edges.len() >= self.config.edges_max && !self.edges.contains_key(&key) {
            self.edges_overflowed += 1;
            return None;
        }
        let routes_max = self.config.edge_routes_max;
        Some(self.edges.entry(key).or_insert_with(|| Shared::new(EdgeBaseline::new(routes_max))))
    }
}

fn learn_edge(baseline: &mut EdgeBaseline, shapes: &[(&CallShape, &ShapeStats)]) {
    let (mut calls, mut request, mut response) = (0_u64, (0_u64, 0), (0_u64, 0));
    for (shape, stats) in shapes {
        baseline.record(shape, stats);
        let all = |sum: u64, told| sum.saturating_add(shape.sampling.stands_for(told));
        calls = all(calls, stats.calls);
        request = (all(request.0, stats.request_bytes), stats.request_bytes_max.max(request.1));
        response = (all(response.0, stats.response_bytes), stats.response_bytes_max.max(response.1));
    }
    baseline.requests.add(calls);
    baseline.request_bytes.add(request.0, request.1);
    baseline.response_bytes.add(response.0, response.1);
}

/// Most frequent first, then by the numbers of names: those follow the order of arrival, which is the same for any
/// number of shards. Only which key finds room depends on it, never what is put out.
fn order(left: (&CallShape, &ShapeStats), right: (&CallShape, &ShapeStats)) -> Ordering {
    let key = |(shape, stats): (&CallShape, &ShapeStats)| {
        let names = [
            shape.route,
            shape.method,
            shape.source_principal,
            shape.destination_principal,
            shape.certificate.fingerprint,
            shape.sni,
            shape.user_agent,
            shape.tls_cipher,
            shape.tls_version,
        ];
        (std::cmp::Reverse(stats.calls), stats.first, names, shape.status, shape.grpc_status)
    };
    key(left).cmp(&key(right))
}
