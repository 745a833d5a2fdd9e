//! What is ill, by the fusion of simple evidence: with invented workloads.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use common::{about, finding, info, numbers, only_incident, suspects, with};
use selvedge_model::{Finding, FindingKind as K, IdentitySource};

fn slow(source: &str, destination: &str, at: u64, now: &str, usual: &str) -> Finding {
    numbers(finding(K::LatencyHigh, source, destination, at), "latency_ms_p50", now, usual)
}

#[test]
fn a_slow_callee_explains_its_callers_and_its_own_time_says_that_it_is_itself() {
    let incident = only_incident(&[
        slow("gate", "web", 2, "1200", "400"),
        slow("web", "cart", 1, "900", "150"),
        slow("cart", "ledger", 1, "760", "10"),
    ]);
    assert_eq!(suspects(&incident), ["ledger", "cart", "web", "gate"]);
    let reasons = &incident.suspects[0].reasons;
    assert!(reasons.iter().any(|reason| reason.contains("what it calls is not")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("times as slow")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("by itself")), "{reasons:?}");
}

#[test]
fn a_slow_network_points_at_the_callee_at_its_end() {
    let network = numbers(finding(K::NetworkDelay, "web", "cart", 1), "network_ms_p50", "240", "2");
    let incident =
        only_incident(&[network, slow("web", "cart", 1, "245", "5"), slow("gate", "web", 1, "800", "200")]);
    assert_eq!(suspects(&incident)[0], "cart");
    assert_eq!(incident.title, "The network between store/web and store/cart is slow: 240 ms against 2 ms");
    let reasons = &incident.suspects[0].reasons;
    assert!(reasons.iter().any(|reason| reason.contains("lost between them")), "{reasons:?}");
}

#[test]
fn the_own_gauges_of_a_workload_speak_where_the_calls_are_undecided() {
    let calls = [slow("web", "cart", 1, "90", "10"), slow("web", "stock", 1, "90", "10")];
    let undecided = only_incident(&calls);
    assert!((undecided.suspects[0].score - undecided.suspects[1].score).abs() < 1e-9);
    let gauge = numbers(about(finding(K::ResourceHigh, "", "stock", 1), "processor"), "gauge", "95", "6");
    let incident = only_incident(&[&calls[..], &[info(gauge)]].concat());
    assert_eq!(suspects(&incident)[0], "stock");
    assert!(incident.suspects[0].reasons.iter().any(|reason| reason.contains("processor")));
    assert!(incident.edges.iter().all(|edge| !edge.source.workload.is_empty()), "a gauge is of no edge");
}

#[test]
fn metrics_prove_no_identity_and_accuse_nobody_of_doing() {
    let incident = only_incident(&[with(slow("web", "cart", 1, "90", "10"), |finding| {
        finding.source_identity = IdentitySource::None;
    })]);
    assert_eq!(suspects(&incident), ["cart", "web"]);
    assert!(incident.suspects.iter().all(|one| !one.reasons.iter().any(|reason| reason.contains("proven"))));
}

#[test]
fn the_order_of_findings_has_no_say() {
    let findings = [
        slow("gate", "web", 1, "1200", "400"),
        slow("web", "cart", 1, "900", "150"),
        slow("web", "stock", 1, "900", "150"),
        finding(K::ErrorRateHigh, "cart", "ledger", 1),
    ];
    let mut turned = findings.clone();
    turned.reverse();
    assert_eq!(only_incident(&findings).suspects, only_incident(&turned).suspects);
}
