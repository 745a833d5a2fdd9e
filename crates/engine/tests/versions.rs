//! Versions from telemetry: from the bytes of a sidecar to the suspects of an incident, whatever the shards and the batches.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::time::Duration;

use common::{assert_outlives_restarts, fresh, shared_out, take};
use selvedge_engine::Effect;
use selvedge_model::Incident;
use selvedge_testkit::{RawFrame, Request, Traffic};

const CHAIN: &str = "gate -> web -> cart";
/// Both are called by `web`, and fall ill at the same time.
const OTHER: &str = "web -> stock";

/// Half an hour of two callees of one caller, in which `cart` says that it runs `later` from the twenty-fifth minute on; then
/// both callees are slow.
fn two_slow_callees(earlier: &str, later: &str) -> Vec<RawFrame> {
    let mut traffic = Traffic::seeded(5);
    if !earlier.is_empty() {
        traffic.deploy("cart", earlier);
        traffic.deploy("stock", earlier);
    }
    for call in 0..900 {
        if call == 750 && !later.is_empty() {
            traffic.deploy("cart", later);
        }
        traffic.send(Request::along(CHAIN));
        traffic.wait(Duration::from_secs(1));
        traffic.send(Request::along(OTHER));
        traffic.wait(Duration::from_secs(1));
    }
    for _ in 0..90 {
        traffic.send(Request::along(CHAIN).latency(Duration::from_millis(900)));
        traffic.wait(Duration::from_secs(1));
        traffic.send(Request::along(OTHER).latency(Duration::from_millis(900)));
        traffic.wait(Duration::from_secs(1));
    }
    traffic.frames()
}

/// Who is suspected first in the last state of each incident, with the reasons that speak of a version.
fn suspected(effects: &[Effect]) -> Vec<(String, Vec<String>)> {
    let mut last: std::collections::BTreeMap<&str, &Incident> = std::collections::BTreeMap::new();
    for effect in effects {
        if let Effect::Incident(_, incident) = effect {
            last.insert(&incident.id, incident);
        }
    }
    let first = |incident: &Incident| {
        let first = incident.suspects.first()?;
        let version = |reason: &&String| reason.contains("version");
        Some((first.workload.clone(), first.reasons.iter().filter(version).cloned().collect()))
    };
    last.values().filter_map(|incident| first(incident)).collect()
}

/// Scenario: two services fall ill at the same time, one of which was deployed five minutes before.
/// Guarantees: it is suspected first, and told why, from the bytes of OTLP on, for any number of shards and any cut of the
/// batches; without a version, or with one that it always ran, nothing of the kind is said.
#[test]
fn a_deployment_before_a_fault_is_among_the_reasons_of_its_suspect() {
    let all = shared_out(&two_slow_callees("1.4.0", "1.5.0"), suspected);
    assert!(all.iter().all(|of| *of == all[0]), "{all:#?}");
    let (workload, reasons) = &all[0][0];
    assert_eq!((workload.as_str(), reasons.len()), ("cart", 1), "{all:#?}");
    assert!(
        reasons[0].contains("service.version=1.5.0") && reasons[0].contains("minutes before"),
        "{reasons:?}"
    );
    for (earlier, later) in [("", ""), ("1.4.0", "1.4.0"), ("", "1.5.0")] {
        let mut pipeline = fresh(1);
        let mut effects = take(&mut pipeline, &two_slow_callees(earlier, later));
        pipeline.finish(&mut effects);
        let of = suspected(&effects);
        assert!(
            !of.is_empty() && of.iter().all(|(_, reasons)| reasons.is_empty()),
            "{earlier}, {later}: {of:#?}"
        );
    }
}

/// Scenario: the same, with a checkpoint that another process goes on from before the deployment, between it and the fault, and
/// in the fault.
/// Guarantees: what is known and told in the end is what a process knows and tells that never died.
#[test]
fn versions_outlive_a_restart() {
    assert_outlives_restarts(&two_slow_callees("1.4.0", "1.5.0"), &[72, 88, 96], suspected);
}
