//! A mesh told by shapes of calls (routes, identities, edges that come and go), driven as the pipeline drives it:
//! sightings, windows, baselines, incidents, quarantines. What novelty and lateral movement are measured with.
//!
//! Volumes, latencies and errors are exactly those of the counts of a window; which routes and identities they have is
//! taken from a sample of its calls, so that the price of a window does not follow its traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use selvedge_correlate::{CorrelateConfig, Correlator, IncidentChange};
use selvedge_detect::{Context, Detector, PathSighting, RuleSet, Sighting};
use selvedge_learn::{Baselines, LearnConfig, Provenance};
use selvedge_model::finding::Family;
use selvedge_model::{
    Call, CallPath, CallShape, EdgeKey, EdgeWindow, EventTime, Exemplar, Finding, FirstOnPath,
    IncidentStatus, ObservedTime, PathStats, Severity, ShapeStats, SpanId, SteadyTime, TraceId, Window,
};
use selvedge_policy::{
    Change, Decision, Learned, Ledger, MeshState, Now, PolicyConfig, PolicyMode, Recent, Refusal, known,
    respond,
};
use selvedge_simulate::{Mesh, SignalConfig, Signals, SimulatedCall, TelemetryNoise, WindowOf, calls_of};

use crate::versions::Said;
use crate::{Args, budgets};

/// Calls of an edge and window whose routes and identities are looked at.
const SAMPLE: usize = 8;
/// Somebody answers what was told of a new edge or route so much later: it is known from then on.
const ANSWERED_AFTER: Duration = Duration::from_hours(24);

/// A quarantine that was decided.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) at: EventTime,
    pub(crate) change: Change,
    pub(crate) reason: String,
    /// The findings of its incident, worst first.
    pub(crate) led_by: Vec<String>,
}

/// A simulated mesh before all that judges calls.
#[derive(Clone)]
pub(crate) struct Shaped {
    pub(crate) mesh: Mesh,
    pub(crate) signals: Signals,
    pub(crate) correlator: Correlator,
    baselines: Baselines,
    said: Option<Said>,
    detector: Detector,
    of: Vec<WindowOf>,
    calls: Vec<SimulatedCall>,
    /// Edges that nobody has answered for, since when, with their calls.
    unanswered: BTreeMap<EdgeKey, (EventTime, EdgeWindow)>,
    /// Edges that attackers opened: nobody says that they are fine.
    attacked: BTreeSet<EdgeKey>,
    /// Edges of each scenario's calls so far.
    used: BTreeMap<usize, BTreeSet<EdgeKey>>,
    policy: PolicyConfig,
    recent: Recent,
    ledger: Ledger,
    /// While it is true, incidents are answered by quarantines.
    pub(crate) containing: bool,
    pub(crate) cuts: Vec<Cut>,
    /// Refusals of candidates by what they say, once an incident and candidate.
    pub(crate) refused: BTreeMap<String, u32>,
    refused_told: BTreeSet<(String, String)>,
}

/// What came of a window.
pub(crate) struct Told {
    pub(crate) window: Window,
    pub(crate) findings: Vec<Finding>,
    pub(crate) changes: Vec<IncidentChange>,
}

impl Shaped {
    pub(crate) fn new(args: &Args, mesh: u64) -> Self {
        let mut config = args.config(mesh);
        // No record says yet that its reporter samples.
        config.telemetry.sampling = TelemetryNoise::none().sampling;
        let mesh = Mesh::new(config);
        let usual = SignalConfig::default();
        let new_edge = args.new_edge.unwrap_or(usual.new_edge);
        let signals = Signals::new(&mesh, SignalConfig { calls_of_edge_max: SAMPLE, new_edge, ..usual });
        let policy = PolicyConfig { mode: PolicyMode::Enforce, ..PolicyConfig::default() };
        Self {
            mesh,
            signals,
            correlator: Correlator::new(CorrelateConfig::default()),
            baselines: Baselines::new(LearnConfig::default()),
            said: Said::new(args.versions),
            detector: Detector::new(RuleSet::shipped(), budgets()),
            of: Vec::new(),
            calls: Vec::new(),
            unanswered: BTreeMap::new(),
            attacked: BTreeSet::new(),
            used: BTreeMap::new(),
            recent: Recent::new(policy.recent.clone()),
            ledger: Ledger::new(),
            policy,
            containing: false,
            cuts: Vec::new(),
            refused: BTreeMap::new(),
            refused_told: BTreeSet::new(),
        }
    }

    /// Runs until then, and gives every window to `look`.
    pub(crate) fn until(&mut self, end: EventTime, look: &mut dyn FnMut(&Self, &Told)) {
        while self.mesh.now() < end {
            let told = self.step();
            look(self, &told);
        }
    }

    /// The edges that a scenario has used so far.
    pub(crate) fn used_by(&self, scenario: usize) -> impl Iterator<Item = EdgeKey> {
        self.used.get(&scenario).into_iter().flatten().copied()
    }

    fn step(&mut self) -> Told {
        let window = self.mesh.next_window(&mut self.of);
        if let Some(said) = &mut self.said {
            said.hear(window.start, self.mesh.versions(), self.signals.nodes(), &mut self.baselines);
        }
        let mut calls = std::mem::take(&mut self.calls);
        self.signals.calls(&self.mesh, window, &self.of, &mut calls);
        for (index, spec) in self.mesh.edges().iter().enumerate() {
            if self.of[index].heartbeat {
                // A proxy without requests still sends its metrics.
                let callee = self.signals.nodes()[spec.callee];
                self.baselines.norms_mut().hear(&callee, window.start);
            }
        }
        let edges = self.edges_of(window, &calls);
        let paths = paths_of(&calls);
        self.calls = calls;
        self.judge(window, &edges, &paths)
    }

    /// The calls of a window by edge, in the order of their names.
    fn edges_of(&mut self, window: Window, calls: &[SimulatedCall]) -> Vec<(EdgeKey, EdgeWindow)> {
        let mut edges: BTreeMap<EdgeKey, EdgeWindow> = BTreeMap::new();
        let mut samples: Vec<Vec<&SimulatedCall>> = vec![Vec::new(); self.of.len()];
        for told in calls {
            match told.edge.filter(|_| told.scenario.is_none()) {
                Some(index) => samples[index].push(told),
                None => edges.entry(told.call.edge).or_default().record(&told.call),
            }
            if let Some(scenario) = told.scenario {
                self.used.entry(scenario).or_default().insert(told.call.edge);
                if told.edge.is_none() {
                    self.attacked.insert(told.call.edge);
                }
            }
        }
        for (sample, of) in samples.iter().zip(&self.of) {
            if let Some(first) = sample.first() {
                let edge = edges.entry(first.call.edge).or_default();
                shaped(sample, of, window).into_iter().for_each(|(shape, stats)| edge.add(shape, stats));
            }
        }
        let mut edges: Vec<(EdgeKey, EdgeWindow)> = edges.into_iter().collect();
        edges.sort_by_cached_key(|(key, _)| key.names(self.signals.symbols()).map(str::to_owned));
        edges
    }

    /// In the order of the pipeline: sightings, then the window, then learning, then incidents.
    fn judge(
        &mut self,
        window: Window,
        edges: &[(EdgeKey, EdgeWindow)],
        paths: &[(CallPath, PathStats)],
    ) -> Told {
        let symbols = self.signals.symbols();
        let refs: Vec<(EdgeKey, &EdgeWindow)> = edges.iter().map(|(key, edge)| (*key, edge)).collect();
        let cx = Context { symbols, baselines: &self.baselines, now: window.end, learning: false };
        let mut findings = self.detector.judge_sightings(&cx, &sightings(window, edges));
        let taken = paths.iter().map(|(path, stats)| PathSighting { path: *path, window, stats });
        findings.extend(self.detector.judge_paths(&cx, taken));
        let ended = self.baselines.norms_mut().judge(window, &refs);
        let cx = Context { symbols, baselines: &self.baselines, now: window.end, learning: false };
        findings.extend(self.detector.end(&cx, &ended));
        findings.extend(self.detector.judge_window(&cx, window, &refs));
        let Self { baselines, detector, recent, .. } = self;
        let teaching = |reading: &_, calls: Option<&_>| detector.teaching(reading, calls);
        baselines.norms_mut().learn(window, &refs, &teaching);
        for (key, edge) in edges {
            let flagged = |shape: &_| detector.flagged(key, shape);
            let normal = |shape: &_| known(baselines, key, shape) && !flagged(shape);
            recent.learn(window, key, edge, &normal);
            baselines.learn(window, *key, edge, &flagged, Provenance::Learned, symbols);
        }
        baselines.learn_paths(window, paths, Provenance::Learned);
        baselines.finish_window(window);
        detector.window_done(window);
        self.answer(window, edges, &findings);
        let mut changes = self.correlator.fold(&findings, &|_| None, window.end);
        changes.extend(self.correlator.tick(window.end));
        if self.containing {
            self.contain(window.end, &changes);
        }
        Told { window, findings, changes }
    }

    /// People look at what is new, and say a day later that it is fine.
    fn answer(&mut self, window: Window, edges: &[(EdgeKey, EdgeWindow)], findings: &[Finding]) {
        let symbols = self.signals.symbols();
        let new = |finding: &&Finding| {
            matches!(finding.kind.family(), Family::Novelty | Family::Boundary)
                && finding.severity >= Severity::Medium
        };
        for finding in findings.iter().filter(new) {
            let label = (finding.edge.source.label(), finding.edge.destination.label());
            let of = |key: &EdgeKey| {
                let edge = key.edge(selvedge_model::Symbol::NONE, selvedge_model::Symbol::NONE, symbols);
                (edge.source.label(), edge.destination.label())
            };
            let Some((key, edge)) = edges.iter().find(|(key, _)| of(key) == label) else { continue };
            if !self.attacked.contains(key) {
                let (_, kept) =
                    self.unanswered.entry(*key).or_insert_with(|| (window.end, EdgeWindow::default()));
                kept.merge(edge.clone());
            }
        }
        let due = |(since, _): &(EventTime, EdgeWindow)| window.end.since(*since) >= ANSWERED_AFTER;
        let fine: Vec<EdgeKey> =
            self.unanswered.iter().filter(|(_, told)| due(told)).map(|(key, _)| *key).collect();
        for key in fine {
            if let Some((_, edge)) = self.unanswered.remove(&key) {
                self.baselines.learn(window, key, &edge, &|_| false, Provenance::Learned, symbols);
            }
        }
    }

    /// Answers the incidents that changed, as the engine does: see `Containment` there. Nothing is pushed, so nothing is
    /// proven either.
    fn contain(&mut self, now: EventTime, changes: &[IncidentChange]) {
        let at = Now { steady: SteadyTime(now.0), wall: ObservedTime(now.0) };
        let mesh = self.mesh_state();
        for change in changes {
            let Some(incident) = self.correlator.get(change.id()).cloned() else { continue };
            if incident.severity < Severity::High || incident.status != IncidentStatus::Open {
                continue;
            }
            let findings: Vec<&Finding> = self.correlator.findings(&incident.id).collect();
            if findings.is_empty() {
                continue;
            }
            let Self { ledger, recent, policy, baselines, signals, .. } = self;
            let knowledge = Learned { symbols: signals.symbols(), baselines, recent };
            let response = respond(ledger, &incident, &findings, &knowledge, policy, &mesh, at);
            let mut led_by: Vec<&Finding> = findings;
            led_by.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
            let told = |finding: &&Finding| format!("{} {}", finding.severity.name(), finding.kind.name());
            let led_by: Vec<String> = led_by.iter().map(told).collect();
            for event in response.events {
                if matches!(event.change, Change::Proposed | Change::Shadowed | Change::Enforced) {
                    let (change, reason, led_by) = (event.change, event.why, led_by.clone());
                    self.cuts.push(Cut { at: now, change, reason, led_by });
                }
            }
            for answer in response.answers {
                let Decision::Refuse(reasons) = answer.decision else { continue };
                let about = answer.candidate.map_or_else(String::new, |candidate| candidate.reason);
                if self.refused_told.insert((incident.id.clone(), about)) {
                    let name = reasons.iter().map(refusal_name).collect::<BTreeSet<_>>();
                    let name = name.into_iter().collect::<Vec<_>>().join(", ");
                    *self.refused.entry(name).or_default() += 1;
                }
            }
        }
        self.ledger.advance(&self.policy, at);
    }

    fn mesh_state(&self) -> MeshState {
        let open: Vec<_> =
            self.correlator.incidents().filter(|one| one.status == IncidentStatus::Open).collect();
        let deviating: BTreeSet<_> = open
            .iter()
            .filter(|incident| incident.severity > Severity::Low)
            .flat_map(|incident| &incident.edges)
            .collect();
        let edges = self.baselines.edges().count();
        MeshState {
            warm: self.baselines.mesh().warm(),
            open_incidents: open.iter().filter(|incident| incident.severity >= Severity::High).count(),
            edges_deviating: if self.detector.mesh_is_ill() { edges } else { deviating.len() },
            edges,
        }
    }
}

/// The variant's name: what tables count.
fn refusal_name(refusal: &Refusal) -> String {
    let text = format!("{refusal:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

/// All shapes of a window: each is new in it.
fn sightings(window: Window, edges: &[(EdgeKey, EdgeWindow)]) -> Vec<Sighting<'_>> {
    let mut sightings = Vec::new();
    for (key, edge) in edges {
        let mut shapes: Vec<(&CallShape, &ShapeStats)> = edge.shapes.iter().collect();
        shapes.sort_unstable_by_key(|(shape, stats)| (stats.first, **shape));
        sightings.extend(shapes.into_iter().map(|(shape, stats)| Sighting {
            key: *key,
            window,
            shape,
            stats,
        }));
    }
    sightings
}

/// The ways that told calls took: as the join finds them.
fn paths_of(calls: &[SimulatedCall]) -> Vec<(CallPath, PathStats)> {
    let by_span: BTreeMap<(TraceId, SpanId), &Call> =
        calls.iter().map(|told| ((told.call.trace_id, told.call.span_id), &told.call)).collect();
    let mut paths: BTreeMap<CallPath, PathStats> = BTreeMap::new();
    for told in calls.iter().filter(|told| told.parent_span_id.present() && !told.call.edge.external) {
        let Some(outer) = by_span.get(&(told.call.trace_id, told.parent_span_id)) else { continue };
        let CallShape { method, route, source_principal: principal, source_identity: identity, .. } =
            outer.shape;
        let path = CallPath { edge: outer.edge, method, route, onward: told.call.edge.destination };
        let first = FirstOnPath { start: outer.start, trace_id: outer.trace_id, principal, identity };
        let one = PathStats::one(first);
        paths.entry(path).and_modify(|known| known.merge(&one)).or_insert(one);
    }
    paths.into_iter().collect()
}

/// The counts of an edge and window under the routes and identities of its sample, evenly.
fn shaped(sample: &[&SimulatedCall], of: &WindowOf, window: Window) -> Vec<(CallShape, ShapeStats)> {
    let mut shaped: Vec<(CallShape, ShapeStats)> = Vec::new();
    for (at, (answer, mut stats)) in calls_of(&of.counts, window).into_iter().enumerate() {
        let call = &sample[at % sample.len()].call;
        let spoken = if call.shape.grpc_status >= 0 { 0 } else { -1 };
        let grpc_status = if answer.grpc_status >= 0 { answer.grpc_status } else { spoken };
        let shape = CallShape { status: answer.status, grpc_status, ..call.shape };
        stats.exemplars =
            vec![Exemplar { start: call.start, trace_id: call.trace_id, span_id: call.span_id }];
        match shaped.iter_mut().find(|(known, _)| *known == shape) {
            Some((_, known)) => known.merge(&stats),
            None => shaped.push((shape, stats)),
        }
    }
    shaped
}
