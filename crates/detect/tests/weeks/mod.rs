//! Weeks of a simulated mesh as closed windows, given to detector and baselines as the pipeline gives them.

use std::time::Duration;

use selvedge_detect::calibration::Budgets;
use selvedge_detect::{Context, Detector, RuleSet};
use selvedge_learn::normal::counts_of;
use selvedge_learn::{Baselines, LearnConfig, Provenance};
use selvedge_model::{
    CallShape, EdgeCounts, EdgeKey, EdgeWindow, EventTime, Finding, IdentitySource, LogHistogram, Measure,
    Node, Reported, ShapeStats, Symbol, SymbolTable, Window,
};
use selvedge_simulate::{Mesh, MeshConfig, WindowOf};

pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);
/// Latencies of the simulator's cells, in ms: up to the median, the 0.9 and the 0.99 quantile, twice that, and beyond.
const CELLS_MS: [(u64, u64); 5] = [(2, 20), (20, 80), (80, 200), (200, 400), (400, 1_600)];
/// Latencies that the calls of a cell are spread over.
const SPREAD: u64 = 8;

/// A simulated mesh with detector and baselines.
pub(crate) struct Weeks {
    pub(crate) mesh: Mesh,
    pub(crate) symbols: SymbolTable,
    pub(crate) baselines: Baselines,
    pub(crate) detector: Detector,
    pub(crate) keys: Vec<EdgeKey>,
    pub(crate) findings: Vec<Finding>,
    /// So many shards count the calls of a window.
    parts: usize,
    /// Time in judging and learning.
    pub(crate) spent: Duration,
    pub(crate) edge_windows: u64,
}

impl Weeks {
    pub(crate) fn new(config: MeshConfig, parts: usize) -> Self {
        let mesh = Mesh::new(config);
        let mut symbols = SymbolTable::new(1 << 20);
        let names: Vec<Symbol> = mesh.services().iter().map(|name| symbols.intern(name)).collect();
        let node = |service: usize| Node { workload: names[service], ..Node::default() };
        let key = |spec: &selvedge_simulate::EdgeSpec| EdgeKey {
            source: node(spec.caller),
            destination: node(spec.callee),
            external: false,
        };
        let keys = mesh.edges().iter().map(key).collect();
        symbols.intern("GET");
        Self {
            mesh,
            symbols,
            baselines: Baselines::new(LearnConfig::default()),
            detector: Detector::new(RuleSet::shipped(), Budgets::default()),
            keys,
            findings: Vec::new(),
            parts,
            spent: Duration::ZERO,
            edge_windows: 0,
        }
    }

    pub(crate) fn run_until(&mut self, end: EventTime) {
        let mut windows = Vec::new();
        while self.mesh.now() < end {
            let window = self.mesh.next_window(&mut windows);
            self.window(window, &windows);
        }
    }

    /// One closed window: judged, told, learned, in the pipeline's order.
    #[expect(clippy::disallowed_methods, reason = "what it costs is measured in real time")]
    fn window(&mut self, window: Window, windows: &[WindowOf]) {
        for (of, key) in windows.iter().zip(&self.keys).filter(|(of, _)| of.heartbeat) {
            // A proxy without requests still sends its metrics.
            self.baselines.norms_mut().hear(&key.destination, window.start);
            self.edge_windows += u64::from(of.counts.requests > 0);
        }
        let mut edges: Vec<(EdgeKey, EdgeWindow)> = Vec::new();
        let method = self.symbols.intern("GET");
        for (of, key) in windows.iter().zip(&self.keys).filter(|(of, _)| of.counts.requests > 0) {
            edges.push((*key, merged(&of.counts, method, window, self.parts)));
        }
        edges.sort_by_cached_key(|(key, _)| key.names(&self.symbols).map(str::to_owned));
        let refs: Vec<(EdgeKey, &EdgeWindow)> = edges.iter().map(|(key, edge)| (*key, edge)).collect();
        let started = std::time::Instant::now();
        let ended = self.baselines.norms_mut().judge(window, &refs);
        let cx =
            Context { symbols: &self.symbols, baselines: &self.baselines, now: window.end, learning: false };
        self.findings.extend(self.detector.end(&cx, &ended));
        self.findings.extend(self.detector.judge_window(&cx, window, &refs));
        let teaching = |reading: &_, calls: Option<&_>| self.detector.teaching(reading, calls);
        self.baselines.norms_mut().learn(window, &refs, &teaching);
        self.spent += started.elapsed();
        for (key, edge) in &edges {
            let flagged = |shape: &CallShape| self.detector.flagged(key, shape);
            self.baselines.learn(window, *key, edge, &flagged, Provenance::Learned, &self.symbols);
        }
        self.baselines.finish_window(window);
        self.detector.window_done(window);
    }
}

/// The calls of a window as so many shards count them, met in reverse.
fn merged(counts: &EdgeCounts, method: Symbol, window: Window, parts: usize) -> EdgeWindow {
    let calls = calls(counts, method, window);
    let mut shards: Vec<EdgeWindow> = (0..parts).map(|_| EdgeWindow::default()).collect();
    for (at, (shape, stats)) in calls.into_iter().enumerate() {
        shards[at % parts].add(shape, stats);
    }
    let mut whole = EdgeWindow::default();
    shards.iter().rev().for_each(|shard| whole.merge(shard));
    debug_assert_eq!(counts_of(&whole, None).requests, counts.requests);
    whole
}

/// Calls that have these counts: latencies by cell, then failures, as many entries as there are cells times spread.
fn calls(counts: &EdgeCounts, method: Symbol, window: Window) -> Vec<(CallShape, ShapeStats)> {
    let of = |measure| counts.count(measure);
    let over = [
        counts.requests,
        of(Measure::OverMedian),
        of(Measure::OverQ90),
        of(Measure::OverQ99),
        of(Measure::OverTwiceQ99),
        0,
    ];
    let mut latencies: Vec<(u64, u64)> = Vec::new();
    for (cell, (from, to)) in CELLS_MS.into_iter().enumerate() {
        let in_cell = over[cell] - over[cell + 1];
        for step in 0..SPREAD {
            // Which step gets the odd call changes from window to window.
            let turn = (step + window.start.0 / 60_000_000_000 * 7_919) % SPREAD;
            let calls = in_cell / SPREAD + u64::from(turn < in_cell % SPREAD);
            latencies.push((from + (to - from) * (2 * step + 1) / (2 * SPREAD), calls));
        }
    }
    let mut left = [
        (answer(404, -1), of(Measure::ClientErrors)),
        (answer(503, -1), of(Measure::ServerErrors)),
        (answer(200, 14), of(Measure::GrpcErrors)),
        (answer(200, -1), u64::MAX),
    ];
    let mut calls = Vec::new();
    for (ms, mut count) in latencies {
        for (shape, room) in &mut left {
            let taken = count.min(*room);
            if taken > 0 {
                calls.push((CallShape { method, ..*shape }, stats(taken, ms, window)));
                (count, *room) = (count - taken, *room - taken);
            }
        }
    }
    if let Some((_, stats)) = calls.first_mut() {
        stats.request_bytes = 1_024 * of(Measure::SentKib);
        stats.request_bytes_max = stats.request_bytes / counts.requests;
    }
    calls
}

fn answer(status: u16, grpc_status: i16) -> CallShape {
    CallShape {
        status,
        grpc_status,
        source_identity: IdentitySource::MtlsCertificate,
        reported: Reported::ServerOnly,
        ..CallShape::default()
    }
}

fn stats(calls: u64, ms: u64, window: Window) -> ShapeStats {
    let mut latency = LogHistogram::default();
    latency.add(LogHistogram::cell_of(ms * 1_000_000), u32::try_from(calls).unwrap_or(u32::MAX));
    ShapeStats { calls, latency, first: window.start, last: window.end, ..ShapeStats::default() }
}
