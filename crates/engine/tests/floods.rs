//! Floods of names and ids through the whole engine: what is kept is bounded, every record has its fate, and people are told
//! who it is. `SELVEDGE_FLOOD=1000000 cargo test --workspace --test floods` for a million of each, with the memory it takes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_engine::{Effect, Encoding, EngineConfig, Pipeline, RawBatch, RuleSet};
use selvedge_model::{EventTime, Fate, Finding, FindingKind, ObservedTime, SignalKind, SteadyTime, TraceId};
use selvedge_testkit::{RawFrame, Request, Traffic, field};

/// Some moment in late 2026, in nanoseconds.
const NOW: u64 = 1_795_467_355_000_000_000;
/// How many of each in the ordinary run.
const FLOOD_DEFAULT: u64 = 6_000;
/// What an engine with ordinary limits may grow by: those limits together, twice over for what is not measured in them.
const GROWTH_BYTES_MAX: u64 = 1_200 << 20;

#[expect(clippy::disallowed_methods, reason = "how long a test runs is asked of the environment")]
fn flood() -> u64 {
    std::env::var("SELVEDGE_FLOOD").ok().and_then(|text| text.parse().ok()).unwrap_or(FLOOD_DEFAULT)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// An engine with limits that a short flood reaches; with the ordinary ones for a long flood.
fn engine() -> Pipeline {
    let mut config = EngineConfig::default();
    if flood() == FLOOD_DEFAULT {
        config.symbol_bytes_max = 40 << 10;
        config.window_entries_max = 500;
        (config.join.open_bytes_max, config.join.tick_edges_max) = (1 << 20, 300);
        (config.join.series_bytes_max, config.join.aliases_max) = (256 << 10, 1 << 10);
    }
    Pipeline::new(&config, RuleSet::shipped())
}

/// Findings of a kind that are kept: what grows is to be the engine, and a million of them take gigabytes.
const FINDINGS_KEPT: usize = 100;

/// Feeds batches one after the other; the first findings of each kind.
fn fed(pipeline: &mut Pipeline, frames: impl Iterator<Item = RawFrame>) -> Vec<Finding> {
    let (before, mut effects) = (resident_bytes(), Vec::new());
    let mut findings: BTreeMap<&'static str, Vec<Finding>> = BTreeMap::new();
    let mut take = |effects: &mut Vec<Effect>| {
        for effect in effects.drain(..) {
            let Effect::Finding(finding) = effect else { continue };
            let kept = findings.entry(finding.kind.name()).or_default();
            if kept.len() < FINDINGS_KEPT {
                kept.push(*finding);
            }
        }
    };
    for frame in frames {
        let (observed, steady) = (frame.observed, SteadyTime::recorded(frame.observed));
        pipeline.advance_clock(steady, &mut effects);
        let (signal, encoding, body) = (frame.signal, Encoding::Protobuf, &frame.payload[..]);
        pipeline.ingest(RawBatch { signal, encoding, body, observed, steady }, &mut effects).unwrap();
        take(&mut effects);
    }
    let grown = resident_bytes().saturating_sub(before);
    pipeline.finish(&mut effects);
    take(&mut effects);
    let stats = pipeline.stats();
    assert!(stats.ledger.balanced(), "{:?}", stats.ledger);
    let open: u64 = SignalKind::ALL.iter().map(|kind| stats.ledger.count(*kind, Fate::Open)).sum();
    assert_eq!(open, 0);
    eprintln!("{} signals: memory grew by {} MB", stats.signals, grown >> 20);
    assert!(grown < GROWTH_BYTES_MAX, "memory grew by {grown} bytes");
    findings.into_values().flatten().collect()
}

/// How often a limit struck.
fn struck(pipeline: &Pipeline, limit: &str) -> u64 {
    pipeline
        .stats()
        .overloads
        .iter()
        .filter(|overload| overload.limit == limit)
        .map(|overload| overload.count)
        .sum()
}

/// The one that says who invents names.
fn names_inventor(findings: &[Finding], workload: &str) -> bool {
    let cardinality = findings.iter().filter(|finding| finding.kind == FindingKind::Cardinality);
    cardinality
        .flat_map(|finding| &finding.evidence)
        .any(|fact| fact.name == "most_sent_by" && fact.observed.contains(workload))
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, &field(1, value.as_bytes()))].concat()
}

/// Scenario: one workload sends a counter with another label value in every point.
/// Guarantees: series are bounded in bytes, those without room are counted as such, and the sender is named.
#[test]
fn values_of_labels_without_end_are_bounded_and_their_sender_is_named() {
    let batches = (0..flood() / 1_000).map(|batch| {
        let time = NOW + batch * 1_000_000;
        let points = (0..1_000).map(|number| {
            let labels = field(7, &attribute("user", &format!("u-{batch}-{number}")));
            let times = [&[3 << 3 | 1][..], &time.to_le_bytes()].concat();
            field(1, &[labels, times, vec![6 << 3 | 1], 1_u64.to_le_bytes().to_vec()].concat())
        });
        let sum = [points.flatten().collect::<Vec<u8>>(), vec![2 << 3, 2, 3 << 3, 1]].concat();
        let metric = [field(1, b"logins"), field(7, &sum)].concat();
        let names = [attribute("service.name", "lodger"), attribute("service.namespace", "store")];
        let resource: Vec<u8> = names.iter().flat_map(|name| field(1, name)).collect();
        let payload = field(1, &[field(1, &resource), field(2, &field(2, &metric))].concat());
        RawFrame { signal: SignalKind::Metrics, observed: ObservedTime(time), payload }
    });
    let mut quiet = Traffic::seeded(3);
    quiet.repeat(30, "web -> cart");
    let mut pipeline = engine();
    let mut findings = fed(&mut pipeline, batches);
    // Findings are judged as event time goes on, which points alone do not move.
    findings.extend(fed(&mut pipeline, quiet.frames().into_iter()));
    let stats = pipeline.stats();
    let refused = stats.ledger.count(SignalKind::Metrics, Fate::Evicted);
    assert!(refused > flood() / 4, "{:?}", stats.ledger);
    assert!(names_inventor(&findings, "lodger"), "{findings:?}");
}

/// Scenario: one caller says that it called another host with every call.
/// Guarantees: edges and names are bounded, those without room are counted together, and the caller is named.
#[test]
fn edges_without_end_from_one_caller_are_bounded_and_it_is_named() {
    let mut now = None;
    let frames = (0..flood() / 1_000).flat_map(|chunk| {
        let mut traffic = Traffic::seeded(chunk);
        if let Some(now) = now {
            traffic.wait(EventTime::since(now, traffic.now()));
        }
        for number in 0..1_000 {
            traffic.send(Request::along(&format!("courier -> host-{chunk}-{number}.example")).invented());
            traffic.wait(Duration::from_micros(500));
        }
        now = Some(traffic.now());
        traffic.frames()
    });
    let mut pipeline = engine();
    let findings = fed(&mut pipeline, frames);
    // With ordinary limits a million names find room, and the edges between them do not.
    let (names, edges) = (struck(&pipeline, "symbols"), struck(&pipeline, "baseline_edges"));
    assert!(names + edges > 0, "{:?}", pipeline.stats().overloads);
    assert!(names_inventor(&findings, "courier"), "{findings:?}");
    assert!(pipeline.edges().len() < 200_000, "baselines are bounded");
}

/// Scenario: the same, with room for all names and for few edges; what can be learned is full after the first window.
/// Guarantees: the caller is named all the same, and those that were known first are kept.
#[test]
fn edges_without_room_are_told_with_their_caller_though_names_have_room() {
    let mut config = EngineConfig::default();
    config.learn.edges_max = 50;
    let mut pipeline = Pipeline::new(&config, RuleSet::shipped());
    let mut traffic = Traffic::seeded(7);
    traffic.repeat(60, "web -> cart");
    for number in 0..500 {
        traffic.send(Request::along(&format!("courier -> host-{number}.example")));
        traffic.wait(Duration::from_millis(100));
    }
    let findings = fed(&mut pipeline, traffic.frames().into_iter());
    let (names, edges) = (struck(&pipeline, "symbols"), struck(&pipeline, "baseline_edges"));
    assert!(names == 0 && edges > 100, "{names} {edges}");
    assert!(names_inventor(&findings, "courier"), "{findings:?}");
    assert_eq!(pipeline.edges().len(), 50);
}

/// Scenario: all requests, of all workloads, carry the ids of one of them.
/// Guarantees: every record has one fate; what is open for one id is bounded, and no more calls come of it than were made.
#[test]
fn ids_that_collide_make_no_calls_that_were_not_made() {
    let mut traffic = Traffic::seeded(5);
    let first = traffic.send(Request::along("web -> cart"));
    for number in 0..flood() / 3 {
        let chain =
            ["web -> cart", "cart -> ledger", "courier -> ledger"][usize::try_from(number % 3).unwrap()];
        traffic.send(Request::along(chain).joining(first));
        traffic.wait(Duration::from_micros(200));
    }
    let mut pipeline = engine();
    fed(&mut pipeline, traffic.frames().into_iter());
    let stats = pipeline.stats();
    // Spans have ids of their own: both sides of a call still meet, or are two halves.
    assert!(stats.calls <= 2 * (flood() / 3 + 1), "{} calls", stats.calls);
    assert!(stats.calls > 0);
}

/// Scenario: as above, with trace ids that are all zero: no id at all.
/// Guarantees: the same.
#[test]
fn ids_of_zeros_are_no_ids() {
    let mut traffic = Traffic::seeded(6);
    for _ in 0..flood() / 6 {
        traffic.send(Request::along("web -> cart").joining(TraceId([0; 16])));
        traffic.wait(Duration::from_micros(200));
    }
    let mut pipeline = engine();
    fed(&mut pipeline, traffic.frames_of(SignalKind::Traces).into_iter());
    let stats = pipeline.stats();
    assert!(stats.calls > 0 && stats.calls <= 2 * (flood() / 6), "{} calls", stats.calls);
}
