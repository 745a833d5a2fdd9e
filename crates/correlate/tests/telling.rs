//! How an incident is told: title, severity, suspects, the lines for an alert.

mod common;

use common::{about, finding, info, numbers, only_incident, suspects, trace, with};
use selvedge_model::FindingKind as K;
use selvedge_model::{Finding, IdentitySource, Severity};

fn title(findings: &[Finding]) -> String {
    only_incident(findings).title
}

#[test]
fn titles_are_sentences_that_a_tired_person_understands() {
    let lateral = [
        finding(K::NewEdge, "web", "ledger", 1),
        about(finding(K::NewRoute, "web", "ledger", 1), "GET /admin/users"),
        about(finding(K::NewRoute, "web", "ledger", 2), "GET /admin/export"),
        about(finding(K::NewRoute, "web", "ledger", 2), "GET /admin/keys"),
    ];
    assert_eq!(
        title(&lateral),
        "store/web reached store/ledger on a path never seen (GET /admin/export, GET /admin/keys and 1 more)"
    );
    assert_eq!(
        title(&[finding(K::MtlsDowngrade, "", "ledger", 1), finding(K::NewEdge, "", "ledger", 1)]),
        "Plaintext calls reach store/ledger, which normally requires mutual TLS"
    );
    assert_eq!(
        title(&[
            finding(K::NewEgress, "cart", "paste.example", 1),
            finding(K::BytesHigh, "cart", "paste.example", 1)
        ]),
        "store/cart sends data to paste.example, a host never seen before"
    );
    let slow = numbers(finding(K::LatencyHigh, "web", "stock", 1), "latency_ms_p99", "900", "12");
    assert_eq!(title(&[slow]), "store/stock is slow: 900 ms against 12 ms");
    let claimed = with(finding(K::HandshakeRejected, "", "ledger", 1), |finding| {
        finding.claimed_principal = "spiffe://mesh/ns/store/sa/web".to_owned();
    });
    assert_eq!(
        title(std::slice::from_ref(&claimed)),
        "Somebody without a valid certificate claims to be spiffe://mesh/ns/store/sa/web at store/ledger"
    );
    let expired = with(claimed, |finding| finding.kind = K::CertificateExpired);
    assert_eq!(
        title(&[expired]),
        "Somebody who claims to be spiffe://mesh/ns/store/sa/web presents an expired certificate to store/ledger"
    );
}

#[test]
fn every_kind_has_a_title_of_one_line_even_with_hostile_names() {
    for kind in K::ALL {
        for (source, destination) in [("web", "cart"), ("", "cart"), ("web", "x.example"), ("", "")] {
            let hostile = with(finding(*kind, source, destination, 1), |finding| {
                finding.subject = format!("/{}\n\u{7}", "a".repeat(5_000));
            });
            let title = title(&[hostile]);
            assert!(!title.is_empty() && title.chars().count() < 300, "{title}");
            assert!(!title.contains(char::is_control), "{title:?}");
        }
    }
}

#[test]
fn severity_rises_one_step_when_independent_families_agree() {
    let new_edge = finding(K::NewEdge, "web", "ledger", 1);
    let new_route = finding(K::NewRoute, "web", "ledger", 1);
    let bytes = with(finding(K::BytesHigh, "web", "ledger", 1), |finding| finding.severity = Severity::Low);
    let errors = finding(K::ErrorRateHigh, "web", "ledger", 1);
    let gap = finding(K::TelemetryGap, "web", "ledger", 1);
    let severity = |findings: &[Finding]| only_incident(findings).severity;
    assert_eq!(severity(&[new_edge.clone(), new_route]), Severity::High, "one family");
    assert_eq!(severity(&[new_edge.clone(), bytes]), Severity::Critical, "novelty and behaviour");
    assert_eq!(severity(&[errors.clone(), gap]), Severity::High, "neither says who or what is new");
    assert_eq!(severity(&[new_edge, info(errors)]), Severity::High, "context does not count");
}

#[test]
fn the_verified_source_of_an_attack_is_the_prime_suspect() {
    let incident = only_incident(&[
        finding(K::ForgedIdentity, "robot", "ledger", 1),
        finding(K::LatencyHigh, "cart", "ledger", 2),
    ]);
    assert_eq!(suspects(&incident), ["robot", "ledger", "cart"]);
    assert!(incident.suspects[0].reasons[0].contains("proven by mutual TLS"));
    assert!(incident.suspects.windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert_eq!(incident.suspects.iter().map(|suspect| suspect.rank).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn nobody_is_suspected_by_a_header_and_hearsay_ranks_low() {
    let by =
        |source| with(finding(K::NewEdge, "web", "ledger", 1), |finding| finding.source_identity = source);
    assert!(only_incident(&[by(IdentitySource::Header)]).suspects.is_empty());
    assert!(only_incident(&[by(IdentitySource::None)]).suspects.is_empty());
    let hearsay = &only_incident(&[by(IdentitySource::ParentSpan)]).suspects[0];
    let named = &only_incident(&[by(IdentitySource::ProxyMetadata)]).suspects[0];
    assert!(hearsay.score < named.score);
    assert!(hearsay.reasons[0].contains("hearsay"));
}

#[test]
fn a_claim_in_a_refused_handshake_leaves_the_list_of_suspects_empty() {
    let attempt = with(finding(K::HandshakeRejected, "", "ledger", 1), |finding| {
        finding.claimed_principal = "spiffe://mesh/ns/store/sa/web".to_owned();
    });
    let incident = only_incident(&[attempt]);
    assert!(incident.suspects.is_empty(), "neither the claimed one nor the victim: {:?}", incident.suspects);
}

#[test]
fn the_deepest_ill_callee_is_suspected_before_its_callers() {
    let incident = only_incident(&[
        finding(K::ErrorRateHigh, "gate", "web", 1),
        finding(K::ErrorRateHigh, "web", "stock", 1),
        finding(K::ErrorRateHigh, "robot", "stock", 1),
        finding(K::ErrorRateHigh, "stock", "till", 1),
    ]);
    // The web fails for others, too; nobody complains of the robot.
    assert_eq!(suspects(&incident), ["till", "stock", "web", "robot", "gate"]);
    assert!(incident.title.starts_with("store/till is failing"), "{}", incident.title);
}

#[test]
fn a_circle_of_slow_services_suspects_all_of_them_and_ends() {
    let incident = only_incident(&[
        finding(K::LatencyHigh, "a", "b", 1),
        finding(K::LatencyHigh, "b", "c", 1),
        finding(K::LatencyHigh, "c", "a", 1),
        finding(K::LatencyHigh, "c", "c", 1),
    ]);
    assert_eq!(suspects(&incident).len(), 3);
}

#[test]
fn a_flood_explains_the_load_it_causes_and_retries_do_not_make_a_flood() {
    let flood = only_incident(&[
        numbers(finding(K::RequestRateHigh, "robot", "stock", 1), "requests_per_second", "36.0", "0.4"),
        numbers(finding(K::RequestRateHigh, "stock", "till", 1), "requests_per_second", "36.0", "1.0"),
        finding(K::LatencyHigh, "web", "stock", 1),
    ]);
    assert_eq!(suspects(&flood)[0], "robot");
    assert_eq!(flood.title, "store/robot floods store/stock: 36.0 a second against 0.4 a second");

    let retries = only_incident(&[
        numbers(finding(K::RequestRateHigh, "stock", "till", 1), "requests_per_second", "6.0", "2.0"),
        finding(K::ErrorRateHigh, "stock", "till", 1),
        finding(K::ErrorRateHigh, "web", "stock", 1),
    ]);
    assert_eq!(suspects(&retries)[0], "till");
    assert!(retries.title.starts_with("store/till is failing"), "{}", retries.title);
}

#[test]
fn an_alert_gets_its_lines_bounded_sorted_and_once() {
    let many: Vec<Finding> = (0..20_u8)
        .map(|number| {
            let route =
                trace(about(finding(K::NewRoute, "web", "cart", 1), &format!("GET /{number}")), number);
            with(route, |route| route.techniques = vec!["T1210".to_owned(), "T1021".to_owned()])
        })
        .collect();
    let incident = only_incident(&many);
    assert_eq!(incident.techniques, ["T1021", "T1210"]);
    assert_eq!(incident.exemplars.len(), 8);
    assert_eq!(incident.highlights, ["new_route: new_route from web to cart (and 19 more)"]);
    assert_eq!(incident.runbook, ["look at new_route"]);
    assert_eq!(incident.edges.len(), 1);
    assert_eq!(incident.calibration.name(), "default");
    let periods = only_incident(&[
        with(finding(K::NewRoute, "web", "cart", 1), |finding| finding.return_period_seconds = Some(60.0)),
        with(finding(K::NewEdge, "web", "cart", 1), |finding| finding.return_period_seconds = Some(86_400.0)),
    ]);
    assert_eq!(periods.return_period_seconds, Some(86_400.0));
}

/// Guarantees: an incident says `calibrated` only when all that its return period rests on comes from the mesh's record.
#[test]
fn an_incident_is_calibrated_when_nothing_of_it_rests_on_defaults() {
    let rated = |kind, calibrated| {
        with(finding(kind, "web", "cart", 1), |finding| {
            finding.return_period_seconds = Some(60.0);
            finding.calibrated = calibrated;
        })
    };
    let unrated = finding(K::NewEdge, "web", "cart", 1);
    let cases = [
        (vec![rated(K::LatencyHigh, true)], "calibrated"),
        (vec![rated(K::LatencyHigh, true), unrated.clone()], "calibrated"),
        (vec![rated(K::LatencyHigh, true), rated(K::ErrorRateHigh, false)], "default"),
        (vec![unrated], "default"),
    ];
    for (findings, expected) in cases {
        assert_eq!(only_incident(&findings).calibration.name(), expected, "{findings:#?}");
    }
}

/// Guarantees: what is said of the whole mesh is not said of an unidentified client.
#[test]
fn a_finding_about_the_whole_mesh_is_told_in_its_own_words() {
    let storm = with(about(finding(K::RequestRateLow, "", "", 1), "mesh"), |finding| {
        finding.summary = "37 of 240 edges deviate at once".to_owned();
    });
    assert_eq!(only_incident(&[storm]).title, "37 of 240 edges deviate at once");
}
