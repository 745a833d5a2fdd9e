//! What becomes one incident, and what stays two.

mod common;

use common::{
    about, correlator, finding, fold, incidents, info, numbers, only_incident, second, trace, with,
};
use proptest::prelude::*;
use selvedge_correlate::{CorrelateConfig, Correlator, IncidentChange};
use selvedge_model::FindingKind as K;
use selvedge_model::{Finding, IncidentStatus, Severity};

#[test]
fn two_attacks_at_once_on_edges_that_do_not_touch_stay_two_incidents() {
    let told = incidents(&[
        finding(K::NewEdge, "web", "ledger", 1),
        finding(K::NewRoute, "web", "ledger", 2),
        finding(K::MtlsDowngrade, "", "cart", 1),
    ]);
    assert_eq!(told.len(), 2, "{told:#?}");
}

#[test]
fn a_source_that_reads_here_and_sends_there_is_one_incident() {
    let incident = only_incident(&[
        about(finding(K::NewRoute, "robot", "ledger", 1), "GET /export"),
        finding(K::NewEgress, "robot", "paste.example", 4),
        finding(K::BytesHigh, "robot", "paste.example", 5),
    ]);
    assert_eq!(incident.kinds, [K::NewEgress, K::NewRoute, K::BytesHigh]);
    assert_eq!(incident.edges.len(), 2);
    assert_eq!(incident.severity, Severity::Critical);
}

#[test]
fn slowness_that_spreads_up_the_callers_is_one_incident() {
    let incident = only_incident(&[
        finding(K::LatencyHigh, "gate", "web", 3),
        finding(K::LatencyHigh, "web", "cart", 2),
        finding(K::LatencyHigh, "robot", "cart", 2),
    ]);
    assert_eq!(incident.finding_ids.len(), 3);
}

/// Scenario: two intruders at work in different places, and load that spreads between the two.
/// Guarantees: the symptom goes to the earlier one; it does not make one story of two.
#[test]
fn a_symptom_never_welds_two_attacks_together() {
    let attacks = [finding(K::PathScan, "robot", "cart", 1), finding(K::NewEdge, "web", "ledger", 2)];
    let symptom = finding(K::RequestRateHigh, "cart", "ledger", 3);
    let mut all = attacks.to_vec();
    all.push(symptom.clone());
    let at_once = incidents(&all);
    assert_eq!(at_once.len(), 2);

    let mut correlator = correlator();
    fold(&mut correlator, &attacks, 4);
    fold(&mut correlator, std::slice::from_ref(&symptom), 6);
    fold(&mut correlator, &[with(symptom, |symptom| symptom.detected = second(30))], 31);
    assert_eq!(correlator.incidents().count(), 2);
}

#[test]
fn what_shares_a_trace_is_one_incident_wherever_it_happens() {
    let left = trace(finding(K::NewRoute, "web", "cart", 1), 7);
    let right = trace(finding(K::MtlsDowngrade, "mail", "ledger", 2), 7);
    assert_eq!(incidents(&[left.clone(), right]).len(), 1);
    assert_eq!(incidents(&[left, trace(finding(K::MtlsDowngrade, "mail", "ledger", 2), 8)]).len(), 2);
}

#[test]
fn one_claimed_identity_at_many_doors_is_one_incident() {
    let claim = |destination| {
        with(finding(K::ForgedIdentity, "", destination, 1), |finding| {
            finding.claimed_principal = "spiffe://mesh/ns/store/sa/web".to_owned();
        })
    };
    let incident = only_incident(&[claim("cart"), claim("ledger")]);
    assert!(incident.suspects.is_empty(), "a claim names nobody: {:?}", incident.suspects);
}

#[test]
fn the_same_neighbourhood_an_hour_later_is_another_incident() {
    let told =
        incidents(&[finding(K::NewEdge, "web", "ledger", 1), finding(K::PathScan, "web", "cart", 3_601)]);
    assert_eq!(told.len(), 2);
}

#[test]
fn an_edge_that_deviates_again_before_the_quiet_time_is_the_same_incident() {
    let mut correlator = correlator();
    fold(&mut correlator, &[finding(K::LatencyHigh, "web", "cart", 1)], 2);
    let changes = fold(&mut correlator, &[finding(K::ErrorRateHigh, "web", "cart", 250)], 251);
    assert!(matches!(changes.as_slice(), [IncidentChange::Updated(_)]), "{changes:?}");
}

#[test]
fn context_attaches_to_an_incident_and_joins_none() {
    let left = finding(K::NewEdge, "web", "ledger", 1);
    let right = finding(K::PathScan, "robot", "cart", 2);
    let context = info(finding(K::OneSidedCall, "robot", "ledger", 3));
    let told = incidents(&[left, right, context]);
    assert_eq!(told.len(), 2);
    assert_eq!(told.iter().map(|incident| incident.finding_ids.len()).sum::<usize>(), 3);
    assert!(told.iter().all(|incident| incident.severity == Severity::High), "context makes nothing worse");
}

#[test]
fn context_alone_is_an_incident_for_the_record_that_opens_when_evidence_comes() {
    let mut correlator = correlator();
    fold(&mut correlator, &[info(finding(K::DeniedBurst, "robot", "cart", 1))], 2);
    assert_eq!(correlator.incidents().next().map(|incident| incident.severity), Some(Severity::Info));
    let changes = fold(&mut correlator, &[finding(K::PathScan, "robot", "cart", 10)], 11);
    assert!(matches!(changes.as_slice(), [IncidentChange::Escalated(_)]), "{changes:?}");
    let incident = correlator.incidents().next().expect("it is there");
    assert_eq!(incident.opened, second(11), "the first alert leaves now");
    assert_eq!(incident.onset, second(10), "the onset is that of the evidence");
    assert_eq!(incident.kinds, [K::PathScan, K::DeniedBurst]);
}

/// Scenario: two incidents are open; a finding shows that they are one.
/// Guarantees: the earlier keeps its id and takes everything; the later is resolved, off the list, still answered for.
#[test]
fn a_bridge_merges_the_later_incident_into_the_earlier() {
    let mut correlator = correlator();
    let first = fold(&mut correlator, &[finding(K::NewEdge, "web", "cart", 1)], 2);
    let second = fold(&mut correlator, &[finding(K::NewEdge, "mail", "ledger", 5)], 6);
    let (first, second) = (first[0].id().to_owned(), second[0].id().to_owned());
    assert_ne!(first, second);
    let changes = fold(&mut correlator, &[finding(K::NewEdge, "cart", "mail", 8)], 9);
    assert_eq!(changes, [IncidentChange::Updated(first.clone()), IncidentChange::Resolved(second.clone())]);
    assert_eq!(
        correlator.incidents().map(|incident| incident.id.clone()).collect::<Vec<_>>(),
        std::slice::from_ref(&first)
    );
    assert_eq!(correlator.get(&first).map(|incident| incident.finding_ids.len()), Some(3));
    assert_eq!(correlator.get(&second).map(|incident| incident.status), Some(IncidentStatus::Resolved));
    fold(&mut correlator, &[], 10);
    assert_eq!(correlator.get(&second), None);
}

#[test]
fn an_incident_is_resolved_when_quiet_and_a_gap_is_not_quiet() {
    let mut correlator = correlator();
    fold(&mut correlator, &[finding(K::PathScan, "robot", "cart", 1)], 2);
    assert!(correlator.tick(second(200)).is_empty());
    correlator.gap();
    assert!(correlator.tick(second(90_000)).is_empty(), "a day without reporters");
    assert!(correlator.tick(second(90_101)).is_empty());
    let changes = correlator.tick(second(90_102));
    assert!(matches!(changes.as_slice(), [IncidentChange::Resolved(_)]), "{changes:?}");
    assert_eq!(correlator.incidents().next().and_then(|incident| incident.closed), Some(second(90_102)));
    assert!(correlator.tick(second(91_000)).is_empty(), "it is resolved once");
}

/// Scenario: two recordings are played one after the other, or all reporters were away for a while.
/// Guarantees: an edge that still deviates is the same incident; what merely happens nearby is another one.
#[test]
fn nothing_spreads_across_a_gap() {
    let mut correlator = correlator();
    fold(&mut correlator, &[finding(K::NewEdge, "web", "ledger", 1)], 2);
    correlator.gap();
    let again = finding(K::NewRoute, "web", "ledger", 20);
    let nearby = finding(K::NewEdge, "mail", "ledger", 20);
    let changes = fold(&mut correlator, &[again], 21);
    assert!(matches!(changes.as_slice(), [IncidentChange::Updated(_)]), "{changes:?}");
    correlator.gap();
    let changes = fold(&mut correlator, &[nearby], 22);
    assert!(matches!(changes.as_slice(), [IncidentChange::Opened(_)]), "{changes:?}");
}

#[test]
fn an_incident_stops_spreading_to_its_neighbourhood_after_a_while() {
    let mut correlator = correlator();
    for minute in 0..60_u64 {
        let (source, destination) = (format!("s{minute}"), format!("s{}", minute + 1));
        fold(&mut correlator, &[finding(K::NewEdge, &source, &destination, 60 * minute)], 60 * minute + 2);
    }
    assert_eq!(correlator.incidents().count(), 2, "half an hour each");
}

#[test]
fn the_same_deviation_soon_after_the_end_reopens_the_incident() {
    let mut correlator = correlator();
    let opened = fold(&mut correlator, &[finding(K::PathScan, "robot", "cart", 1)], 2);
    correlator.tick(second(400));
    let again = fold(&mut correlator, &[finding(K::PathScan, "robot", "cart", 500)], 501);
    assert_eq!(opened, again);
    assert_eq!(correlator.incidents().count(), 1);
    correlator.tick(second(1_000));
    let much_later = fold(&mut correlator, &[finding(K::PathScan, "robot", "cart", 3_000)], 3_001);
    assert_ne!(opened, much_later);
}

#[test]
fn a_finding_that_comes_again_keeps_its_place_and_keeps_the_incident_open() {
    let mut correlator = correlator();
    let slow = finding(K::LatencyHigh, "web", "cart", 1);
    fold(&mut correlator, std::slice::from_ref(&slow), 2);
    let again = with(slow, |slow| {
        slow.detected = second(280);
        slow.summary = "still slow".to_owned();
    });
    fold(&mut correlator, &[again], 281);
    assert!(correlator.tick(second(400)).is_empty());
    let incident = correlator.incidents().next().expect("it is there");
    assert_eq!(incident.finding_ids.len(), 1);
    assert_eq!(incident.highlights, ["latency_high: still slow"]);
}

#[test]
fn limits_hold_and_the_worst_findings_stay() {
    let config = CorrelateConfig { incidents_max: 3, findings_max: 4, ..CorrelateConfig::default() };
    let mut correlator = Correlator::new(config);
    let mut findings: Vec<Finding> = (0..50)
        .map(|number| {
            with(about(finding(K::NewRoute, "web", "cart", 1), &format!("GET /{number:02}")), |finding| {
                finding.severity = Severity::Low;
            })
        })
        .collect();
    findings.push(finding(K::NewEdge, "web", "cart", 9));
    fold(&mut correlator, &findings, 10);
    let incident = correlator.incidents().next().expect("it is there");
    assert_eq!(incident.finding_ids.len(), 4);
    assert_eq!(incident.kinds[0], K::NewEdge);

    let mut resolved = 0;
    for number in 0..20_u64 {
        let (source, destination) = (format!("s{number}"), format!("d{number}"));
        let changes =
            fold(&mut correlator, &[finding(K::NewEdge, &source, &destination, number)], 20 + number);
        resolved += changes.iter().filter(|change| matches!(change, IncidentChange::Resolved(_))).count();
        assert!(changes.iter().all(|change| correlator.get(change.id()).is_some()));
    }
    assert_eq!(correlator.incidents().count(), 3);
    assert_eq!(resolved, 18, "every forgotten incident's alert is withdrawn");
}

/// A small mesh at war: enough shared ends that groups touch, merge and stay apart.
fn any_finding() -> impl Strategy<Value = Finding> {
    let kinds = prop::sample::select(K::ALL.to_vec());
    let names = prop::sample::select(vec!["", "a", "b", "c", "d", "e", "f", "g", "h", "x.example"]);
    let severity = prop::sample::select(Severity::ALL.to_vec());
    (kinds, names.clone(), names, 0_u64..400, severity, 0_u8..20).prop_map(
        |(kind, source, destination, at, severity, id)| {
            let found = trace(finding(kind, source, destination, at), id);
            numbers(with(found, |found| found.severity = severity), "latency_ms_p99", "90", "10")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_findings_inside_a_fold_changes_nothing(
        batches in prop::collection::vec(prop::collection::vec(any_finding(), 0..12), 1..6),
        seed in any::<u64>(),
    ) {
        let (mut left, mut right) = (correlator(), correlator());
        for (at, batch) in (0_u64..).zip(&batches) {
            let mut shuffled = batch.clone();
            let length = shuffled.len().max(1);
            shuffled.rotate_left(usize::try_from(seed % 97).unwrap() % length);
            if seed % 2 == 0 {
                shuffled.reverse();
            }
            let now = 100 * at + 100;
            prop_assert_eq!(fold(&mut left, batch, now), fold(&mut right, &shuffled, now));
            prop_assert_eq!(left.tick(second(now)), right.tick(second(now)));
        }
        prop_assert!(left.incidents().eq(right.incidents()));
    }

    #[test]
    fn every_finding_is_in_exactly_one_incident(
        batches in prop::collection::vec(prop::collection::vec(any_finding(), 0..8), 1..4),
    ) {
        let mut correlator = correlator();
        let mut sent = std::collections::BTreeSet::new();
        for batch in &batches {
            sent.extend(batch.iter().map(|finding| finding.id.clone()));
            fold(&mut correlator, batch, 50);
        }
        let mut told: Vec<String> = correlator.incidents().flat_map(|incident| incident.finding_ids.clone()).collect();
        told.sort();
        prop_assert_eq!(told, sent.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_claimed_name_is_never_a_suspect(findings in prop::collection::vec(any_finding(), 1..10)) {
        let claims: Vec<Finding> = findings
            .into_iter()
            .map(|found| with(found, |found| found.claimed_principal = found.edge.source.principal.clone()))
            .collect();
        let suffers = [K::LatencyHigh, K::NetworkDelay, K::ResourceHigh, K::ErrorRateHigh, K::EdgeSilent, K::RequestRateLow,
            K::LogTemplateNew, K::LogTemplateMissing, K::LogRate];
        let blamed: Vec<Finding> = claims
            .into_iter()
            .filter(|found| !found.edge.source.principal.is_empty() && !suffers.contains(&found.kind))
            .collect();
        for incident in incidents(&blamed) {
            prop_assert!(incident.suspects.is_empty(), "{:?}", incident.suspects);
        }
    }
}
