//! What is ill, by the fusion of simple evidence: with invented workloads.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use common::{
    about, correlator, endpoint, finding, fold, info, numbers, only_incident, second, suspects, with,
};
use selvedge_correlate::VersionChange;
use selvedge_model::{Finding, FindingKind as K, IdentitySource, Incident};

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

/// Incidents of these findings by who knows of a deployment of `stock` so many seconds before second 10,000.
fn with_deployment(findings: &[Finding], before: u64) -> Incident {
    let mut correlator = correlator();
    let version = "pod-template-hash=7d4b9c6f5d".to_owned();
    let change = VersionChange { workload: endpoint("stock"), version, at: second(10_000 - before) };
    correlator.know_changes(vec![change]);
    fold(&mut correlator, findings, 10_020);
    correlator.incidents().next().unwrap().clone()
}

#[test]
fn a_version_that_came_shortly_before_decides_between_two_and_an_older_one_does_not() {
    let slow = |callee| slow("web", callee, 10_000, "90", "10");
    let calls = [slow("cart"), slow("stock")];
    for (before, told) in [(0, "when it began"), (60, "a minute before"), (1_799, "29 minutes before")] {
        let incident = with_deployment(&calls, before);
        assert_eq!(suspects(&incident)[0], "stock", "{before} s");
        let reasons = &incident.suspects[0].reasons;
        assert!(
            reasons.iter().any(|reason| reason.contains(told) && reason.contains("7d4b9c6f5d")),
            "{reasons:?}"
        );
    }
    let undecided = with_deployment(&calls, 1_801);
    assert!((undecided.suspects[0].score - undecided.suspects[1].score).abs() < 1e-9);
    assert!(
        undecided.suspects.iter().all(|one| !one.reasons.iter().any(|reason| reason.contains("version")))
    );
}

/// Whoever is healthy is no suspect because it was deployed.
#[test]
fn a_deployment_of_who_is_not_ill_is_no_evidence() {
    let incident = with_deployment(&[slow("web", "cart", 10_000, "90", "10")], 60);
    assert_eq!(suspects(&incident), ["cart", "web"]);
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
