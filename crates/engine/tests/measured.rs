//! Edges that only metrics know: the same fault by counters, histograms and gauges; the network between two witnesses.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::fmt::Write as _;
use std::ops::Range;

use common::{assert_same_knowledge, fresh, resumed};
use selvedge_engine::{Effect, Encoding, KnownBy, Pipeline, RawBatch};
use selvedge_model::{Finding, FindingKind, Incident, ObservedTime, Severity, SignalKind, SteadyTime};

const START: u64 = 1_790_000_040;
/// Minutes before the fault, and of it.
const QUIET: u64 = 70;
const FAULT: u64 = 4;
const MINUTES: u64 = QUIET + FAULT + 6;
const REQUESTS: u64 = 300;

/// Who calls whom.
const EDGES: [(&str, &str); 3] = [("web", "cart"), ("cart", "ledger"), ("cart", "stock")];

/// How senders tell what they see.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Dialect {
    Gauge,
    Cumulative,
    Delta,
    Counter,
}

/// What is wrong with calls to the ledger.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Wrong {
    Nothing,
    SlowCallee,
    SlowNetwork,
    Failing,
}

/// What one side sees of an edge in a minute: median milliseconds, and how many of a hundred fail.
fn seen(edge: (&str, &str), side: &str, wrong: Wrong, minute: u64) -> (f64, u64) {
    let wander = [1.0, 1.05, 0.96, 1.02, 0.93][usize::try_from(minute % 5).unwrap()];
    let ill = (QUIET..QUIET + FAULT).contains(&minute);
    let waits = |wrong| if ill && wrong { 300.0 } else { 0.0 };
    let (callee, caller) = (20.0 * wander, 23.0 * wander);
    let extra = match edge {
        ("cart", "ledger") if side == "source" => {
            waits(wrong == Wrong::SlowCallee || wrong == Wrong::SlowNetwork)
        }
        ("cart", "ledger") => waits(wrong == Wrong::SlowCallee),
        // The cart waits for the ledger, and the web for the cart.
        ("web", "cart") => waits(wrong == Wrong::SlowCallee || wrong == Wrong::SlowNetwork),
        _ => 0.0,
    };
    let fails = if ill && wrong == Wrong::Failing && edge.1 == "ledger" { 60 } else { 0 };
    (extra + if side == "source" { caller } else { callee }, fails)
}

fn attributes(edge: (&str, &str), side: &str, more: &[(&str, &str)]) -> String {
    let all = [("source_workload", edge.0), ("destination_workload", edge.1), ("reporter", side)];
    let pair =
        |(key, value): &(&str, &str)| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#);
    let pairs: Vec<String> = all.iter().chain(more).map(pair).collect();
    format!("[{}]", pairs.join(","))
}

/// Counts in buckets of 50, 100, ... milliseconds.
fn buckets(ms: f64) -> (String, [u64; 9]) {
    let bounds = [5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];
    let mut counts = [0_u64; 9];
    let at = bounds.iter().position(|bound| ms <= *bound).unwrap_or(8);
    counts[at] = REQUESTS - 30;
    counts[at.saturating_sub(1)] = 30;
    (format!("{bounds:?}"), counts)
}

/// The metrics of one minute, as one scraper sends them.
fn metrics(dialect: Dialect, wrong: Wrong, minute: u64) -> Vec<String> {
    let end = (START + 60 * (minute + 1)) * 1_000_000_000;
    let start = START * 1_000_000_000;
    let time = format!(r#""startTimeUnixNano":"{start}","timeUnixNano":"{end}""#);
    let mut metrics = Vec::new();
    for edge in EDGES {
        for side in ["source", "destination"] {
            let (ms, fails) = seen(edge, side, wrong, minute);
            let metric = match dialect {
                Dialect::Gauge => {
                    let labels = attributes(edge, side, &[("quantile", "0.5")]);
                    format!(
                        r#"{{"name":"mesh.latency","unit":"ms","gauge":{{"dataPoints":[{{"attributes":{labels},{time},"asDouble":{ms}}}]}}}}"#
                    )
                }
                Dialect::Cumulative | Dialect::Delta => {
                    histogram(dialect, wrong, minute, (edge, side), &time)
                }
                Dialect::Counter => {
                    let total = |share: &dyn Fn(u64) -> u64| {
                        (0..=minute).map(|m| share(seen(edge, side, wrong, m).1)).sum::<u64>()
                    };
                    let good = total(&|fails| REQUESTS * (100 - fails) / 100);
                    let bad = total(&|fails| REQUESTS * fails / 100);
                    let mut points = String::new();
                    for (code, count) in [("200", good), ("503", bad)] {
                        let labels = attributes(edge, side, &[("response_code", code)]);
                        let comma = if points.is_empty() { "" } else { "," };
                        write!(points, r#"{comma}{{"attributes":{labels},{time},"asInt":"{count}"}}"#)
                            .unwrap();
                    }
                    let _ = fails;
                    format!(
                        r#"{{"name":"istio_requests_total","sum":{{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{points}]}}}}"#
                    )
                }
            };
            metrics.push(metric);
        }
    }
    metrics
}

fn histogram(
    dialect: Dialect,
    wrong: Wrong,
    minute: u64,
    (edge, side): ((&str, &str), &str),
    time: &str,
) -> String {
    let since = if dialect == Dialect::Delta { minute } else { 0 };
    let mut counts = [0_u64; 9];
    let mut bounds = String::new();
    for minute in since..=minute {
        let (text, more) = buckets(seen(edge, side, wrong, minute).0);
        bounds = text;
        counts.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    let labels = attributes(edge, side, &[("response_code", "200")]);
    let temporality = if dialect == Dialect::Delta { 1 } else { 2 };
    let count: u64 = counts.iter().sum();
    let time = if dialect == Dialect::Delta {
        let (from, to) = ((START + 60 * minute) * 1_000_000_000, (START + 60 * (minute + 1)) * 1_000_000_000);
        format!(r#""startTimeUnixNano":"{from}","timeUnixNano":"{to}""#)
    } else {
        time.to_owned()
    };
    format!(
        r#"{{"name":"istio_request_duration_milliseconds","unit":"ms","histogram":{{"aggregationTemporality":{temporality},"dataPoints":[{{"attributes":{labels},{time},"count":"{count}","explicitBounds":{bounds},"bucketCounts":{counts:?}}}]}}}}"#
    )
}

fn request(metrics: &[String]) -> String {
    let resource = r#"{"attributes":[{"key":"service.name","value":{"stringValue":"scraper"}}]}"#;
    format!(
        r#"{{"resourceMetrics":[{{"resource":{resource},"scopeMetrics":[{{"metrics":[{}]}}]}}]}}"#,
        metrics.join(",")
    )
}

struct Run {
    effects: Vec<Effect>,
    incidents: Vec<Incident>,
}

/// Plays it; each metric in a request of its own when `cut`.
fn run(dialect: Dialect, wrong: Wrong, shards: usize, cut: bool) -> Run {
    let mut pipeline = fresh(shards);
    let mut effects = Vec::new();
    play(&mut pipeline, dialect, wrong, 0..MINUTES, cut, &mut effects);
    pipeline.finish(&mut effects);
    let incidents = pipeline.incidents().filter(|one| one.severity > Severity::Info).cloned().collect();
    Run { effects, incidents }
}

fn play(
    pipeline: &mut Pipeline,
    dialect: Dialect,
    wrong: Wrong,
    minutes: Range<u64>,
    cut: bool,
    effects: &mut Vec<Effect>,
) {
    for minute in minutes {
        let observed = ObservedTime((START + 60 * (minute + 1)) * 1_000_000_000 + 500_000_000);
        let steady = SteadyTime::recorded(observed);
        pipeline.advance_clock(steady, effects);
        let metrics = metrics(dialect, wrong, minute);
        let bodies: Vec<String> = if cut {
            metrics.iter().map(|metric| request(std::slice::from_ref(metric))).collect()
        } else {
            vec![request(&metrics)]
        };
        for body in bodies {
            let (signal, encoding) = (SignalKind::Metrics, Encoding::Json);
            let batch = RawBatch { signal, encoding, body: body.as_bytes(), observed, steady };
            let decoded = pipeline.ingest(batch, effects).unwrap();
            assert!(!decoded.points.is_empty(), "{body}");
        }
    }
}

impl Run {
    fn findings(&self) -> Vec<&Finding> {
        let all = self.effects.iter().filter_map(|effect| match effect {
            Effect::Finding(finding) => Some(&**finding),
            _ => None,
        });
        all.filter(|finding| finding.severity > Severity::Info).collect()
    }

    fn kinds(&self) -> Vec<FindingKind> {
        let mut kinds: Vec<FindingKind> = self.findings().iter().map(|finding| finding.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The one incident's first suspect.
    fn suspect(&self) -> &str {
        assert_eq!(
            self.incidents.len(),
            1,
            "{:?}",
            self.incidents.iter().map(|one| &one.title).collect::<Vec<_>>()
        );
        &self.incidents[0].suspects[0].workload
    }
}

#[test]
fn a_slow_callee_is_the_same_finding_by_gauges_and_by_histograms_of_either_temporality() {
    for dialect in [Dialect::Gauge, Dialect::Cumulative, Dialect::Delta] {
        let run = run(dialect, Wrong::SlowCallee, 1, false);
        assert_eq!(run.kinds(), [FindingKind::LatencyHigh], "{dialect:?}");
        assert_eq!(run.suspect(), "ledger", "{dialect:?}");
        let first = run.findings()[0];
        let late = first.detected.0 / 1_000_000_000 - (START + 60 * QUIET);
        assert!(late <= 240, "{dialect:?}: {late} s");
        let onset = first.onset.0 / 1_000_000_000;
        assert!((START + 60 * QUIET..START + 60 * (QUIET + 2)).contains(&onset), "{dialect:?}: {onset}");
    }
}

#[test]
fn failures_are_the_same_finding_by_counters() {
    let run = run(Dialect::Counter, Wrong::Failing, 1, false);
    assert_eq!(run.kinds(), [FindingKind::ErrorRateHigh]);
    assert_eq!(run.suspect(), "ledger");
}

#[test]
fn a_delay_between_caller_and_callee_is_the_networks_and_points_at_the_callee() {
    for dialect in [Dialect::Gauge, Dialect::Cumulative] {
        let run = run(dialect, Wrong::SlowNetwork, 1, false);
        assert!(run.kinds().contains(&FindingKind::NetworkDelay), "{dialect:?}: {:?}", run.kinds());
        assert_eq!(run.suspect(), "ledger", "{dialect:?}");
        let network = run.findings().into_iter().find(|one| one.kind == FindingKind::NetworkDelay).unwrap();
        assert_eq!(network.edge.destination.workload, "ledger");
    }
}

#[test]
fn when_nothing_is_wrong_nothing_is_told() {
    for dialect in [Dialect::Gauge, Dialect::Cumulative, Dialect::Delta, Dialect::Counter] {
        let run = run(dialect, Wrong::Nothing, 1, false);
        assert!(run.findings().is_empty(), "{dialect:?}: {:?}", run.findings());
    }
}

#[test]
fn edges_that_only_metrics_know_are_listed_as_such() {
    let (mut pipeline, mut effects) = (fresh(1), Vec::new());
    play(&mut pipeline, Dialect::Cumulative, Wrong::Nothing, 0..20, false, &mut effects);
    let edges = pipeline.edges();
    let listed: Vec<(&str, &str)> = edges
        .iter()
        .map(|known| (&known.edge.source.workload[..], &known.edge.destination.workload[..]))
        .collect();
    assert_eq!(listed, [("cart", "ledger"), ("cart", "stock"), ("web", "cart")]);
    assert!(edges.iter().all(|known| known.known_by == KnownBy::Metrics && known.calls > 10 * REQUESTS));
}

#[test]
fn shards_and_the_cut_of_batches_change_nothing() {
    for dialect in [Dialect::Gauge, Dialect::Cumulative] {
        let text = |shards, cut| format!("{:#?}", run(dialect, Wrong::SlowNetwork, shards, cut).effects);
        let whole = text(1, false);
        assert_eq!(whole, text(3, false), "{dialect:?}");
        assert_eq!(whole, text(2, true), "{dialect:?}");
    }
}

/// Guarantees: what is known of edges by metrics alone, and what waits for its window, goes on from a checkpoint.
#[test]
fn a_process_that_goes_on_from_a_checkpoint_knows_the_same_of_metrics() {
    for dialect in [Dialect::Gauge, Dialect::Cumulative] {
        let (mut undisturbed, mut told) = (fresh(1), Vec::new());
        play(&mut undisturbed, dialect, Wrong::SlowNetwork, 0..MINUTES, false, &mut told);
        for (minute, shards) in [(10, 1), (QUIET + 1, 2), (QUIET + FAULT, 1)] {
            let (mut first, mut effects) = (fresh(3 - shards), Vec::new());
            play(&mut first, dialect, Wrong::SlowNetwork, 0..minute, false, &mut effects);
            let mut next = resumed(&mut first, shards);
            play(&mut next, dialect, Wrong::SlowNetwork, minute..MINUTES, false, &mut effects);
            assert_same_knowledge(
                &mut next,
                &mut undisturbed,
                &format!("{dialect:?}, cut at minute {minute}"),
            );
            assert_eq!(format!("{effects:?}"), format!("{told:?}"), "{dialect:?}, cut at minute {minute}");
        }
    }
}
