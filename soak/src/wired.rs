//! The layer as the pipeline drives it: closed windows with calls, through baselines and detector. What it tells of quiet
//! weeks, and what it costs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use selvedge_detect::{Context, Detector, RuleSet};
use selvedge_learn::normal::EdgeNorm;
use selvedge_learn::{Baselines, LearnConfig, Provenance};
use selvedge_model::{
    EdgeKey, EdgeWindow, EventTime, Finding, FindingKind, Node, Severity, SymbolTable, Window,
};
use selvedge_simulate::{Mesh, TelemetryNoise, WindowOf, calls_of, keys_of};

use crate::rig::DAY;
use crate::table::{line, rate};
use crate::versions::Said;
use crate::{Args, budgets};

/// Findings of an edge with less than this between them are one page.
const ONE_PAGE: Duration = Duration::from_mins(15);
/// And one warning.
const ONE_WARNING: Duration = Duration::from_hours(1);
/// Of the measurement of costs: so long the normals are warmed, and then measured.
const WARM: Duration = DAY;
const MEASURED: Duration = Duration::from_hours(6);

/// A simulated mesh before baselines and detector.
struct Wired {
    mesh: Mesh,
    symbols: SymbolTable,
    keys: Vec<EdgeKey>,
    nodes: Vec<Node>,
    said: Option<Said>,
    windows: Vec<WindowOf>,
    baselines: Baselines,
    detector: Detector,
    spent: Spent,
}

/// Time in the steps of a window.
#[derive(Default)]
struct Spent {
    judge: Duration,
    detect: Duration,
    learn: Duration,
    baselines: Duration,
    windows: u64,
    /// Of them, those with calls.
    busy: u64,
}

/// Quiet weeks: pages a week and warnings an hour. False when pages are surely over the budget.
pub(crate) fn quiet(args: &Args) -> bool {
    let (mut pages, mut warnings, mut woken) = (0, 0, Vec::new());
    for mesh in 0..args.meshes {
        let mut wired = Wired::new(args, mesh);
        let start = wired.mesh.now();
        let measured = start.after(DAY * u32::try_from(7 * args.warm_weeks).unwrap_or(u32::MAX));
        let end = measured.after(DAY * u32::try_from(7 * args.weeks).unwrap_or(u32::MAX));
        let mut last: BTreeMap<(bool, String, Option<FindingKind>), EventTime> = BTreeMap::new();
        while wired.mesh.now() < end {
            for finding in wired.step() {
                let page = finding.severity >= Severity::High;
                if !finding.calibrated || finding.severity < Severity::Medium {
                    continue;
                }
                // A page is of an edge, a warning of an edge and kind.
                let kind = (!page).then_some(finding.kind);
                let before = last.insert((page, finding.edge.label(), kind), finding.detected);
                let one = if page { ONE_PAGE } else { ONE_WARNING };
                let new = before.is_none_or(|before| one < finding.detected.since(before));
                if !new || finding.detected < measured {
                    continue;
                }
                if page {
                    pages += 1;
                    woken.push(format!("{}: {}", finding.kind.name(), finding.summary));
                } else {
                    warnings += 1;
                }
            }
        }
        line(&format!("seed {}: held back {:?}", args.seed + mesh, wired.detector.held_back()));
    }
    woken.iter().for_each(|page| crate::table::progress(page));
    let weeks = (args.weeks * args.meshes) as f64;
    line(&format!("| wired, quiet | {} edges, {weeks} weeks, windows of {} s |", args.edges, args.window));
    line("|---|---|");
    line(&format!("| pages a week, as people are woken | {} |", rate(pages, weeks)));
    line(&format!("| warnings an hour | {} |", rate(warnings, weeks * 168.0)));
    crate::table::poisson_interval(pages).0 <= weeks * budgets().pages_a_week
}

/// CPU an edge and window in each of the steps, and bytes an edge.
pub(crate) fn cost(args: &Args) -> bool {
    let mut wired = Wired::new(args, 0);
    let warm = wired.mesh.now().after(WARM);
    while wired.mesh.now() < warm {
        wired.step();
    }
    wired.spent = Spent::default();
    let end = warm.after(MEASURED);
    while wired.mesh.now() < end {
        wired.step();
    }
    wired.report();
    true
}

impl Wired {
    fn new(args: &Args, mesh: u64) -> Self {
        let mut config = args.config(mesh);
        // No record says yet that its reporter samples.
        config.telemetry.sampling = TelemetryNoise::none().sampling;
        let mesh = Mesh::new(config);
        let mut symbols = SymbolTable::new(1 << 22);
        let keys = keys_of(&mesh, &mut symbols);
        let mut nodes = vec![Node::default(); mesh.services().len()];
        for (spec, key) in mesh.edges().iter().zip(&keys) {
            (nodes[spec.caller], nodes[spec.callee]) = (key.source, key.destination);
        }
        Self {
            keys,
            nodes,
            said: Said::new(args.versions),
            mesh,
            symbols,
            windows: Vec::new(),
            baselines: Baselines::new(LearnConfig::default()),
            detector: Detector::new(RuleSet::shipped(), budgets()),
            spent: Spent::default(),
        }
    }

    fn step(&mut self) -> Vec<Finding> {
        let window = self.mesh.next_window(&mut self.windows);
        if let Some(said) = &mut self.said {
            said.hear(window.start, self.mesh.versions(), &self.nodes, &mut self.baselines);
        }
        let mut edges = Vec::new();
        for (of, key) in self.windows.iter().zip(&self.keys) {
            if of.heartbeat {
                // A proxy without requests still sends its metrics.
                self.baselines.norms_mut().hear(&key.destination, window.start);
            }
            let mut edge = EdgeWindow::default();
            calls_of(&of.counts, window).into_iter().for_each(|(shape, stats)| edge.add(shape, stats));
            if !edge.shapes.is_empty() {
                edges.push((*key, edge));
            }
        }
        edges.sort_by_cached_key(|(key, _)| key.names(&self.symbols).map(str::to_owned));
        self.spent.windows += self.keys.len() as u64;
        self.spent.busy += edges.len() as u64;
        self.close(window, &edges)
    }

    #[expect(clippy::disallowed_methods, reason = "what it costs is measured in real time")]
    fn close(&mut self, window: Window, edges: &[(EdgeKey, EdgeWindow)]) -> Vec<Finding> {
        let Self { baselines, detector, symbols, spent, .. } = self;
        let refs: Vec<(EdgeKey, &EdgeWindow)> = edges.iter().map(|(key, edge)| (*key, edge)).collect();
        let started = Instant::now();
        let ended = baselines.norms_mut().judge(window, &refs);
        let judged = Instant::now();
        let cx = Context { symbols, baselines, now: window.end, learning: false };
        let mut findings = detector.end(&cx, &ended);
        findings.extend(detector.judge_window(&cx, window, &refs));
        let detected = Instant::now();
        let teaching = |reading: &_, calls: Option<&_>| detector.teaching(reading, calls);
        baselines.norms_mut().learn(window, &refs, &teaching);
        let learned = Instant::now();
        for (key, edge) in edges {
            let flagged = |shape: &_| detector.flagged(key, shape);
            baselines.learn(window, *key, edge, &flagged, Provenance::Learned, symbols);
        }
        baselines.finish_window(window);
        spent.baselines += learned.elapsed();
        detector.window_done(window);
        spent.judge += judged.duration_since(started);
        spent.detect += detected.duration_since(judged);
        spent.learn += learned.duration_since(detected);
        findings
    }

    fn report(&self) {
        let spent = &self.spent;
        let ns = |time: Duration, of: u64| 1e9 * time.as_secs_f64() / of.max(1) as f64;
        line("| step | ns an edge and window | ns an edge and window with calls |");
        line("|---|---|---|");
        let added = spent.judge + spent.learn;
        for (name, time) in [
            ("normals judged", spent.judge),
            ("normals learned", spent.learn),
            ("together: added by the layer", added),
            ("detector, defaults and calibrated", spent.detect),
            ("baselines learned", spent.baselines),
            ("all", added + spent.detect + spent.baselines),
        ] {
            line(&format!("| {name} | {:.0} | {:.0} |", ns(time, spent.windows), ns(time, spent.busy)));
        }
        let norms = self.baselines.norms();
        let sizes = self.keys.iter().filter_map(|key| norms.norm(key)).map(EdgeNorm::size);
        let hot = sizes.filter(|&size| size > size_of::<EdgeNorm>()).count();
        line(&format!(
            "bytes: a cold edge {}, {} more for a hot one, {} on the average with latencies and bookkeeping; {hot} of {} \
             are hot; {:.0} % of windows have calls",
            size_of::<EdgeNorm>(),
            EdgeNorm::HOT_BYTES,
            norms.bytes() / norms.edges().max(1),
            norms.edges(),
            100.0 * spent.busy as f64 / spent.windows.max(1) as f64
        ));
    }
}
