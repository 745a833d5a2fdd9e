//! What people may look at while the engine runs: an immutable copy, replaced once a second. Its parts are shared with
//! the copy before, unless they changed.

use std::sync::Arc;
use std::time::Duration;

use selvedge_learn::{Baselines, EdgeBaseline, KnownBy, Provenance, Tally};
use selvedge_model::{
    Edge, EdgeKey, Endpoint, Finding, Incident, ObservedTime, Quarantine, Symbol, SymbolTable,
};

use crate::senders::Brought;
use crate::stats::Stats;

/// One learned edge, in words.
#[derive(Clone, Debug)]
pub struct EdgeSummary {
    /// Who calls whom.
    pub edge: Edge,
    /// The callee is outside the mesh.
    pub external: bool,
    /// Calls learned.
    pub calls: u64,
    /// Windows with calls.
    pub windows: u64,
    /// Distinct routes.
    pub routes: usize,
    /// Median and 99th percentile of latency in nanoseconds.
    pub latency_nanos: [Option<u64>; 2],
    /// Requests by [`selvedge_model::Reported`], in its order: both sides, only the caller's, only the callee's.
    pub reported: [u64; 3],
    /// Share of requests that both sides reported, 0 to 1.
    pub join_completeness: f64,
    /// How the baseline came to be.
    pub provenance: Provenance,
    /// Who tells of it.
    pub known_by: KnownBy,
}

/// What one workload's telemetry brought in the last minutes.
#[derive(Clone, Debug)]
pub struct ReporterSummary {
    /// Who reports, with the identity that it has at its own end; without a name all that have none, and what of refused
    /// records is nobody's.
    pub workload: Endpoint,
    /// When its latest record came in; `None` when only others speak of it.
    pub heard: Option<ObservedTime>,
    /// How much event time the counts span.
    pub covers: Duration,
    /// The counts.
    pub brought: Brought,
}

/// A view of the engine at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// All incidents kept, by opening time.
    pub incidents: Arc<Vec<Incident>>,
    /// All quarantines that are remembered, by id.
    pub quarantines: Arc<Vec<Quarantine>>,
    /// Recent findings, oldest first.
    pub findings: Arc<Vec<Finding>>,
    /// Learned edges, by name; some seconds old.
    pub edges: Arc<Vec<EdgeSummary>>,
    /// Who reports, the fullest first; some seconds old.
    pub reporters: Arc<Vec<ReporterSummary>>,
    /// Records and edges of windows of the same minutes that were counted for none of them, for want of room.
    pub uncounted: u64,
    /// Totals.
    pub stats: Stats,
}

/// All learned edges in words, by name, those that only metrics know among them.
pub(crate) fn edge_summaries(
    baselines: &Baselines,
    metrics: &Baselines,
    symbols: &SymbolTable,
) -> Vec<EdgeSummary> {
    let edges = baselines.with_measured(metrics);
    let mut edges: Vec<EdgeSummary> =
        edges.map(|(key, edge, known_by, _)| EdgeSummary::of(key, edge, known_by, symbols)).collect();
    edges.sort_by(|left, right| left.edge.cmp(&right.edge));
    edges
}

impl EdgeSummary {
    pub(crate) fn of(
        key: &EdgeKey,
        baseline: &EdgeBaseline,
        known_by: KnownBy,
        symbols: &SymbolTable,
    ) -> Self {
        let source = usual(&baseline.source_principals, symbols);
        let destination = usual(&baseline.destination_principals, symbols);
        Self {
            edge: key.edge(source, destination, symbols),
            external: key.external,
            calls: baseline.calls,
            windows: baseline.requests.windows,
            routes: baseline.route_count(),
            latency_nanos: [baseline.latency.quantile(0.5), baseline.latency.quantile(0.99)],
            reported: baseline.reported,
            join_completeness: baseline.both_share().unwrap_or(0.0),
            provenance: baseline.provenance,
            known_by,
        }
    }
}

/// The identity presented most often; of equals the first by name.
fn usual(principals: &Tally<Symbol>, symbols: &SymbolTable) -> Symbol {
    let most = principals
        .iter()
        .max_by_key(|(principal, calls)| (*calls, std::cmp::Reverse(symbols.resolve(*principal))));
    most.map_or(Symbol::NONE, |(principal, _)| principal)
}
