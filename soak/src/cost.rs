//! What the wired layer costs: CPU an edge and window in each of its steps, and bytes an edge.

use std::time::{Duration, Instant};

use selvedge_detect::{Context, Detector, RuleSet};
use selvedge_learn::normal::EdgeNorm;
use selvedge_learn::{Baselines, LearnConfig, Provenance};
use selvedge_model::{EdgeKey, EdgeWindow, Node, Symbol, SymbolTable, Window};
use selvedge_simulate::{EdgeSpec, Mesh, calls_of};

use crate::table::line;
use crate::{Args, budgets};

/// The normals are warm, and the first days' latencies are cut.
const WARM_DAYS: u64 = 1;
/// Measured after that.
const MEASURED_HOURS: u64 = 6;

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

/// Drives windows through baselines and detector as the pipeline does, and prints what the steps took.
pub(crate) fn run(args: &Args) -> bool {
    let mut mesh = Mesh::new(args.config(0));
    let mut symbols = SymbolTable::new(1 << 22);
    let names: Vec<Symbol> = mesh.services().iter().map(|name| symbols.intern(name)).collect();
    let node = |service: usize| Node { workload: names[service], ..Node::default() };
    let key = |spec: &EdgeSpec| EdgeKey {
        source: node(spec.caller),
        destination: node(spec.callee),
        external: false,
    };
    let keys: Vec<EdgeKey> = mesh.edges().iter().map(key).collect();
    let mut engine = (Baselines::new(LearnConfig::default()), Detector::new(RuleSet::shipped(), budgets()));
    let mut windows = Vec::new();
    let mut spent = Spent::default();
    let warm = mesh.now().after(Duration::from_hours(24 * WARM_DAYS));
    let end = warm.after(Duration::from_hours(MEASURED_HOURS));
    while mesh.now() < end {
        if mesh.now() == warm {
            spent = Spent::default();
        }
        let window = mesh.next_window(&mut windows);
        let mut edges = Vec::new();
        for (of, key) in windows.iter().zip(&keys) {
            if of.heartbeat {
                engine.0.norms_mut().hear(&key.destination, window.start);
            }
            let mut edge = EdgeWindow::default();
            calls_of(&of.counts, window).into_iter().for_each(|(shape, stats)| edge.add(shape, stats));
            if !edge.shapes.is_empty() {
                edges.push((*key, edge));
            }
        }
        edges.sort_by_cached_key(|(key, _)| key.names(&symbols).map(str::to_owned));
        one_window(&mut engine, window, &edges, &symbols, &mut spent);
        spent.windows += keys.len() as u64;
    }
    report(&spent, &engine.0, &keys);
    true
}

#[expect(clippy::disallowed_methods, reason = "what it costs is measured in real time")]
fn one_window(
    (baselines, detector): &mut (Baselines, Detector),
    window: Window,
    edges: &[(EdgeKey, EdgeWindow)],
    symbols: &SymbolTable,
    spent: &mut Spent,
) {
    let refs: Vec<(EdgeKey, &EdgeWindow)> = edges.iter().map(|(key, edge)| (*key, edge)).collect();
    let started = Instant::now();
    let ended = baselines.norms_mut().judge(window, &refs);
    let judged = Instant::now();
    let cx = Context { symbols, baselines, now: window.end, learning: false };
    detector.end(&cx, &ended);
    detector.judge_window(&cx, window, &refs);
    let detected = Instant::now();
    baselines.norms_mut().learn(window, &refs, &|reading, calls| detector.teaching(reading, calls));
    let learned = Instant::now();
    for (key, edge) in edges {
        baselines.learn(
            window,
            *key,
            edge,
            &|shape| detector.flagged(key, shape),
            Provenance::Learned,
            symbols,
        );
    }
    baselines.finish_window(window);
    spent.baselines += learned.elapsed();
    detector.window_done(window);
    spent.judge += judged.duration_since(started);
    spent.detect += detected.duration_since(judged);
    spent.learn += learned.duration_since(detected);
    spent.busy += edges.len() as u64;
}

fn report(spent: &Spent, baselines: &Baselines, keys: &[EdgeKey]) {
    let ns = |time: Duration, of: u64| 1e9 * time.as_secs_f64() / of.max(1) as f64;
    line("| step | ns an edge and window | ns an edge and window with calls |");
    line("|---|---|---|");
    for (name, time) in [
        ("normals judged", spent.judge),
        ("normals learned", spent.learn),
        ("detector (defaults and calibrated)", spent.detect),
        ("baselines learned", spent.baselines),
    ] {
        line(&format!("| {name} | {:.0} | {:.0} |", ns(time, spent.windows), ns(time, spent.busy)));
    }
    let added = spent.judge + spent.learn;
    line(&format!(
        "added: {:.0} ns an edge and window, {:.0} with calls ({:.0} % of windows have some)",
        ns(added, spent.windows),
        ns(added, spent.busy),
        100.0 * spent.busy as f64 / spent.windows.max(1) as f64
    ));
    let norms = baselines.norms();
    let sizes = keys.iter().filter_map(|key| norms.norm(key)).map(EdgeNorm::size);
    let hot = sizes.filter(|&size| size > size_of::<EdgeNorm>()).count();
    line(&format!(
        "bytes: a cold edge {}, {} more for a hot one, {} on the average with latencies and watch; {hot} of {} are hot",
        size_of::<EdgeNorm>(),
        EdgeNorm::HOT_BYTES,
        norms.bytes() / norms.edges().max(1),
        norms.edges()
    ));
}
