//! Logs of workloads beside the calls that made them: a fault in code that shows nowhere else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::time::Duration;

use common::{assert_same_knowledge, fresh, resumed, take};
use selvedge_engine::Effect;
use selvedge_model::{Finding, FindingKind, Incident, Severity};
use selvedge_testkit::{RawFrame, Request, Statement, Traffic, recut};

const ASKED: &str = "12:00:00.5 INFO shop.Cart#31 asked for entry 4711 of the ledger";
const FOUND: &str = "12:00:00.7 INFO shop.Cart#34 found entry 4711, total=17.50";
const PRICED: &str = "12:00:00.9 INFO web priced the cart at 17.50";

/// What the fault does.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Nothing.
    None,
    /// The cart no longer finds its entries, and what is built on it misses them.
    CodeOfCart,
    /// The cart's logs no longer arrive.
    LogsOfCart,
}

/// Twenty minutes of `web -> cart -> ledger`, the last three with the fault.
fn traffic(fault: Fault) -> Vec<RawFrame> {
    let mut traffic = Traffic::seeded(11);
    let mut statements = Vec::new();
    for call in 0..300_u32 {
        let faulty = call >= 255;
        let at = traffic.now();
        let request = Request::along("gate -> web -> cart -> ledger").latency(Duration::from_millis(40));
        let trace_id = traffic.send(request);
        let mut say = |workload: &'static str, text: &'static str, after: u64| {
            let at = at.after(Duration::from_millis(after));
            let said = Statement { namespace: "store", workload, trace_id, at, severity: 9, text };
            statements.push(said.frame());
        };
        let broken = faulty && fault == Fault::CodeOfCart;
        let silent = faulty && fault == Fault::LogsOfCart;
        if !silent {
            say("cart", ASKED, 10);
        }
        if !broken && !silent {
            say("cart", FOUND, 12);
        }
        if !broken {
            say("web", PRICED, 20);
        }
        say("web", "12:00:00.1 INFO web starts to price", 5);
        traffic.wait(Duration::from_secs(4));
    }
    let mut frames = traffic.frames();
    frames.extend(statements);
    frames.sort_by_key(|frame| frame.observed);
    frames
}

struct Run {
    findings: Vec<Finding>,
    incidents: Vec<Incident>,
}

fn run(frames: &[RawFrame], shards: usize) -> Run {
    let mut pipeline = fresh(shards);
    let mut effects = take(&mut pipeline, frames);
    pipeline.finish(&mut effects);
    let findings = effects
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Finding(finding) => Some(*finding),
            Effect::Incident(..) | Effect::Action(..) | Effect::Containment { .. } => None,
        })
        .collect();
    Run { findings, incidents: pipeline.incidents().cloned().collect() }
}

#[test]
fn quiet_logs_tell_nothing() {
    let quiet = run(&traffic(Fault::None), 1);
    assert!(quiet.findings.is_empty(), "{:#?}", quiet.findings);
}

/// Scenario: calls succeed as before, but one statement of the cart, and one of its caller, are no longer made.
/// Guarantees: both are told in one incident, and the cart is suspected first.
#[test]
fn a_statement_that_vanished_is_an_incident_and_its_workload_the_first_suspect() {
    let told = run(&traffic(Fault::CodeOfCart), 1);
    let kinds: Vec<FindingKind> = told.findings.iter().map(|finding| finding.kind).collect();
    assert!(kinds.iter().all(|kind| *kind == FindingKind::LogTemplateMissing), "{kinds:?}");
    let [incident] = &told.incidents[..] else { panic!("{:#?}", told.incidents) };
    // Known for minutes only, and no call fails: for people who look.
    assert_eq!(incident.severity, Severity::Low);
    let suspects: Vec<&str> = incident.suspects.iter().map(|suspect| suspect.workload.as_str()).collect();
    assert_eq!(suspects[0], "cart", "{suspects:?}");
    assert!(incident.title.contains("no longer logs"), "{}", incident.title);
    let of_cart = told.findings.iter().find(|finding| finding.edge.destination.workload == "cart").unwrap();
    assert_eq!(of_cart.edge.source.workload, "web");
    assert!(of_cart.summary.contains("Cart#34 found entry <*> total <*>"), "{}", of_cart.summary);
    assert!(!of_cart.exemplars.is_empty() && of_cart.return_period_seconds.is_some());
    let after = of_cart.detected.since(of_cart.onset);
    assert!(after <= Duration::from_secs(90), "{after:?}");
}

#[test]
fn a_workload_whose_logs_all_stop_is_a_gap_in_telemetry_and_no_fault_of_its_code() {
    let told = run(&traffic(Fault::LogsOfCart), 1);
    let mut kinds: Vec<(FindingKind, Severity)> =
        told.findings.iter().map(|finding| (finding.kind, finding.severity)).collect();
    kinds.dedup();
    assert_eq!(kinds, [(FindingKind::TelemetryGap, Severity::Low)]);
    assert!(told.findings[0].summary.contains("its logs are missing"), "{}", told.findings[0].summary);
}

#[test]
fn what_logs_tell_does_not_depend_on_shards_or_batches() {
    let frames = traffic(Fault::CodeOfCart);
    let alone = run(&frames, 1);
    assert!(!alone.findings.is_empty());
    for (shards, seed) in [(3, None), (1, Some(5)), (2, Some(29))] {
        let frames = seed.map_or_else(|| frames.clone(), |seed| recut(&frames, seed));
        let other = run(&frames, shards);
        assert_eq!(alone.findings, other.findings, "{shards} shards, cut {seed:?}");
        assert_eq!(alone.incidents, other.incidents, "{shards} shards, cut {seed:?}");
    }
}

/// Scenario: statements of every size and kind of bytes, in traces that clients chose, from workloads without end.
/// Guarantees: nothing is told, nothing breaks, limits count.
#[test]
fn hostile_statements_break_nothing_and_tell_nothing() {
    let mut traffic = Traffic::seeded(12);
    let mut frames = Vec::new();
    for call in 0..200_u32 {
        let trace_id = traffic.send(Request::along("web -> cart"));
        let at = traffic.now();
        let names = [format!("evil{call}"), "cart".to_owned()];
        let long = "(=[{\"".repeat(usize::try_from(call).unwrap() * 20);
        let odd = format!("{}\u{0}\u{202e}{call}", "\u{1b}[31m".repeat(5));
        for name in &names {
            for text in [long.as_str(), odd.as_str(), "{\"msg\":\"", "=", ""] {
                let said = Statement { namespace: "store", workload: name, trace_id, at, severity: 24, text };
                frames.push(said.frame());
            }
        }
        traffic.wait(Duration::from_secs(1));
    }
    frames.extend(traffic.frames());
    frames.sort_by_key(|frame| frame.observed);
    let told = run(&frames, 1);
    let of_logs = |finding: &&Finding| {
        matches!(finding.kind, FindingKind::LogTemplateMissing | FindingKind::LogTemplateNew)
    };
    assert_eq!(told.findings.iter().find(of_logs), None);
}

/// Guarantees: statements, what calls usually make of them, and those that wait for their calls go on from a checkpoint.
#[test]
fn a_process_that_goes_on_from_a_checkpoint_knows_the_same_of_logs() {
    let frames = traffic(Fault::CodeOfCart);
    let mut undisturbed = fresh(1);
    let told = take(&mut undisturbed, &frames);
    for (part, shards) in [(3, 1), (10, 2), (11, 1)] {
        let (before, after) = frames.split_at(frames.len() * part / 12);
        let mut first = fresh(3 - shards);
        let mut effects = take(&mut first, before);
        let mut next = resumed(&mut first, shards);
        effects.extend(take(&mut next, after));
        assert_same_knowledge(&mut next, &mut undisturbed, &format!("cut at {part} of 12"));
        assert_eq!(format!("{effects:?}"), format!("{told:?}"), "cut at {part} of 12");
    }
}
