//! Weeks of a simulated mesh as closed windows, given to detectors and baselines as the pipeline gives them.

use std::time::Duration;

use selvedge_detect::calibration::Budgets;
use selvedge_detect::{Context, Detector, RuleSet};
use selvedge_learn::versions::Versions;
use selvedge_learn::{Baselines, LearnConfig, Provenance};
use selvedge_model::{
    CallShape, EdgeKey, EdgeWindow, EventTime, Finding, Node, ShapeStats, SymbolTable, Window,
};
use selvedge_simulate::{Mesh, MeshConfig, WindowOf, calls_of, keys_of};

pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// A simulated mesh, and engines that see the same of it.
pub(crate) struct Weeks {
    pub(crate) mesh: Mesh,
    pub(crate) symbols: SymbolTable,
    pub(crate) keys: Vec<EdgeKey>,
    /// By service of the mesh: what it is in the keys.
    pub(crate) nodes: Vec<Node>,
    pub(crate) engines: Vec<Engine>,
}

/// Detector and baselines behind so many shards.
pub(crate) struct Engine {
    pub(crate) baselines: Baselines,
    pub(crate) detector: Detector,
    pub(crate) findings: Vec<Finding>,
    /// Which versions it heard of, if the services say them, and what somebody says in their names.
    pub(crate) versions: Option<Versions>,
    pub(crate) claims: Vec<Claim>,
    shards: usize,
}

/// Somebody says that a service runs a version that it does not run: one in this time, or another one each minute of it.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) service: usize,
    pub(crate) from: EventTime,
    pub(crate) until: EventTime,
    pub(crate) each_minute: bool,
}

impl Weeks {
    /// One engine for each number of shards.
    pub(crate) fn new(config: MeshConfig, shards: &[usize]) -> Self {
        let mesh = Mesh::new(config);
        let mut symbols = SymbolTable::new(1 << 20);
        let keys = keys_of(&mesh, &mut symbols);
        let mut nodes = vec![Node::default(); mesh.services().len()];
        for (spec, key) in mesh.edges().iter().zip(&keys) {
            (nodes[spec.caller], nodes[spec.callee]) = (key.source, key.destination);
        }
        Self {
            mesh,
            symbols,
            keys,
            nodes,
            engines: shards.iter().map(|&shards| Engine::new(shards)).collect(),
        }
    }

    pub(crate) fn run_until(&mut self, end: EventTime) {
        let mut windows = Vec::new();
        while self.mesh.now() < end {
            let window = self.mesh.next_window(&mut windows);
            let calls: Vec<_> = windows.iter().map(|of| calls_of(&of.counts, window)).collect();
            for engine in &mut self.engines {
                engine.hear_versions(window, self.mesh.versions(), &self.nodes, &mut self.symbols);
                engine.hear(window, &windows, &self.keys);
                engine.window(window, &self.keys, &calls, &self.symbols);
            }
        }
    }
}

impl Engine {
    fn new(shards: usize) -> Self {
        Self {
            baselines: Baselines::new(LearnConfig::default()),
            detector: Detector::new(RuleSet::shipped(), Budgets::default()),
            findings: Vec::new(),
            versions: None,
            claims: Vec::new(),
            shards,
        }
    }

    /// A proxy without requests still sends its metrics.
    fn hear(&mut self, window: Window, windows: &[WindowOf], keys: &[EdgeKey]) {
        for (_, key) in windows.iter().zip(keys).filter(|(of, _)| of.heartbeat) {
            self.baselines.norms_mut().hear(&key.destination, window.start);
        }
    }

    /// Each service says in each window which version it runs; and then whoever speaks in its name.
    fn hear_versions(&mut self, window: Window, running: &[u32], nodes: &[Node], symbols: &mut SymbolTable) {
        let Some(versions) = &mut self.versions else { return };
        let mut said: Vec<(usize, String)> =
            running.iter().map(|version| format!("service.version=1.{version}.0")).enumerate().collect();
        for claim in
            self.claims.iter().filter(|claim| claim.from <= window.start && window.start < claim.until)
        {
            let number = if claim.each_minute { window.start } else { claim.from };
            said.push((claim.service, format!("service.version=claimed-{}", number.0)));
        }
        for (service, version) in said {
            let version = symbols.intern(&version);
            if let Some(deployment) = versions.hear(nodes[service], version, window.start, symbols)
                && deployment.excuses
            {
                self.baselines.norms_mut().deploy(&deployment.node, deployment.at);
            }
        }
    }

    /// One closed window: judged, told, learned, in the pipeline's order.
    fn window(
        &mut self,
        window: Window,
        keys: &[EdgeKey],
        calls: &[Vec<(CallShape, ShapeStats)>],
        symbols: &SymbolTable,
    ) {
        let busy = keys.iter().zip(calls).filter(|(_, calls)| !calls.is_empty());
        let mut edges: Vec<(EdgeKey, EdgeWindow)> =
            busy.map(|(key, calls)| (*key, merged(calls, self.shards))).collect();
        edges.sort_by_cached_key(|(key, _)| key.names(symbols).map(str::to_owned));
        let refs: Vec<(EdgeKey, &EdgeWindow)> = edges.iter().map(|(key, edge)| (*key, edge)).collect();
        let ended = self.baselines.norms_mut().judge(window, &refs);
        let cx = Context { symbols, baselines: &self.baselines, now: window.end, learning: false };
        self.findings.extend(self.detector.end(&cx, &ended));
        self.findings.extend(self.detector.judge_window(&cx, window, &refs));
        let teaching = |reading: &_, calls: Option<&_>| self.detector.teaching(reading, calls);
        self.baselines.norms_mut().learn(window, &refs, &teaching);
        for (key, edge) in &edges {
            let flagged = |shape: &CallShape| self.detector.flagged(key, shape);
            self.baselines.learn(window, *key, edge, &flagged, Provenance::Learned, symbols);
        }
        self.baselines.finish_window(window);
        self.detector.window_done(window);
    }
}

/// The calls of a window as so many shards count them, which meet in reverse.
fn merged(calls: &[(CallShape, ShapeStats)], shards: usize) -> EdgeWindow {
    let mut parts: Vec<EdgeWindow> = (0..shards).map(|_| EdgeWindow::default()).collect();
    for (at, (shape, stats)) in calls.iter().enumerate() {
        parts[at % shards].add(*shape, stats.clone());
    }
    let mut whole = EdgeWindow::default();
    parts.into_iter().rev().for_each(|part| whole.merge(part));
    whole
}
