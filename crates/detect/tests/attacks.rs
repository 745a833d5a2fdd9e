//! Attack families over an invented mesh: each is told by its kinds and ends, and never blames a claim.

mod common;

use common::{MS, Mesh, SECOND, of_kind, told};
use selvedge_detect::{Context, TelemetryCounts};
use selvedge_model::{EventTime, FindingKind, ForwardedIdentity, IdentitySource, Reported, Severity, Symbol};

#[test]
fn usual_traffic_that_wanders_is_told_by_nothing_above_info() {
    let mut mesh = Mesh::approved();
    for turn in 9..60 {
        let traffic = mesh.normal(turn * 7);
        assert_eq!(told(&mesh.window(&traffic, false)), Vec::<String>::new(), "turn {turn}");
    }
}

#[test]
fn lateral_movement_is_a_new_edge_with_routes_the_callee_never_served() {
    let mut mesh = Mesh::approved();
    let mut traffic = mesh.normal(3);
    for route in ["GET /admin/users", "GET /admin/config", "POST /admin/refund"] {
        traffic.push(mesh.call("web", "ledger", route, 200));
    }
    let findings = mesh.window(&traffic, false);
    assert_eq!(told(&findings), ["new_edge high web -> ledger", "new_route medium web -> ledger"]);
    assert_eq!(of_kind(&findings, FindingKind::NewRoute).len(), 3);
    let edge = of_kind(&findings, FindingKind::NewEdge)[0];
    assert!(edge.edge.source.principal.ends_with("/sa/web") && !edge.techniques.is_empty());
    assert!(edge.exemplars.len() == 1 && edge.onset < edge.detected);
    // What was flagged is not learned: it is told again in the next window.
    assert!(!told(&mesh.window(&traffic, false)).is_empty());
}

#[test]
fn plaintext_to_a_mutual_callee_is_a_downgrade_by_nobody() {
    let mut mesh = Mesh::approved();
    let mut traffic = mesh.normal(3);
    traffic.push(mesh.plaintext("cart", "GET /carts/{id}"));
    let findings = mesh.window(&traffic, false);
    assert_eq!(told(&findings), ["mtls_downgrade high  -> cart", "new_edge low  -> cart"]);
    let downgrade = of_kind(&findings, FindingKind::MtlsDowngrade)[0];
    assert_eq!(downgrade.source_identity, IdentitySource::None);
    assert_eq!(
        downgrade.summary,
        "an unidentified client sent plaintext to store/cart, which normally requires mutual TLS"
    );
}

#[test]
fn plaintext_that_belongs_to_the_baseline_is_no_downgrade_but_another_route_is() {
    let mut mesh = Mesh::approved();
    let mut probe = mesh.plaintext("cart", "GET /healthz");
    probe.calls = 2;
    let mut traffic = mesh.normal(3);
    traffic.push(probe);
    mesh.window(&traffic, true);
    assert_eq!(told(&mesh.window(&traffic, false)), Vec::<String>::new());
    traffic.push(mesh.plaintext("cart", "GET /carts/{id}"));
    let findings = mesh.window(&traffic, false);
    assert!(told(&findings).contains(&"mtls_downgrade high  -> cart".to_owned()), "{:?}", told(&findings));
}

#[test]
fn a_certificate_of_another_issuer_is_an_attempt_and_its_claim_is_not_blamed() {
    let mut mesh = Mesh::approved();
    let claimed = "spiffe://mesh.example/ns/store/sa/web";
    let mut traffic = mesh.normal(3);
    traffic.push(mesh.handshake("cart", "unknown_issuer", claimed));
    let findings = mesh.window(&traffic, false);
    assert_eq!(
        told(&findings),
        [
            "certificate_issuer medium  -> cart",
            "forged_identity high  -> cart",
            "handshake_rejected medium  -> cart"
        ]
    );
    for finding in findings.iter().filter(|finding| finding.severity > Severity::Info) {
        assert_eq!(finding.claimed_principal, claimed);
        assert_eq!((finding.edge.source.workload.as_str(), finding.edge.source.principal.as_str()), ("", ""));
        assert_eq!(finding.source_identity, IdentitySource::None);
    }
}

#[test]
fn every_reason_of_a_failed_handshake_has_its_kinds() {
    let own = "spiffe://mesh.example/ns/store/sa/courier";
    let table: [(&str, &str, &[FindingKind]); 6] = [
        ("certificate_expired", own, &[FindingKind::HandshakeRejected, FindingKind::CertificateExpired]),
        (
            "san_mismatch",
            "spiffe://stranger.example/ns/store/sa/web",
            &[FindingKind::HandshakeRejected, FindingKind::ForeignTrustDomain],
        ),
        ("san_mismatch", own, &[FindingKind::HandshakeRejected]),
        ("no_certificate", "", &[FindingKind::MtlsDowngrade, FindingKind::HandshakeRejected]),
        ("plaintext_on_tls", "", &[FindingKind::MtlsDowngrade, FindingKind::HandshakeRejected]),
        ("other", "", &[FindingKind::HandshakeRejected]),
    ];
    for (reason, claimed, kinds) in table {
        let mut mesh = Mesh::approved();
        let attempt = mesh.handshake("cart", reason, claimed);
        let findings = mesh.window(&[attempt], false);
        assert_eq!(findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), kinds, "{reason}");
        assert!(findings.iter().all(|finding| finding.severity > Severity::Info), "{reason}");
    }
}

#[test]
fn failed_handshakes_of_an_approved_baseline_are_for_the_record_only() {
    let mut mesh = Mesh::approved();
    let probe = mesh.handshake("cart", "other", "");
    mesh.window(std::slice::from_ref(&probe), true);
    assert_eq!(told(&mesh.window(&[probe], false)), Vec::<String>::new());
}

#[test]
fn a_forged_header_blames_the_verified_caller() {
    let mut mesh = Mesh::approved();
    let mut forged = mesh.call("courier", "ledger", "POST /charge", 200);
    forged.shape.forwarded = ForwardedIdentity::Contradicts;
    forged.shape.claimed_principal = mesh.principal("cart");
    let findings = mesh.window(&[forged], false);
    assert_eq!(told(&findings), ["forged_identity high courier -> ledger"]);
    assert!(of_kind(&findings, FindingKind::ForgedIdentity)[0].claimed_principal.ends_with("/sa/cart"));
    // The route is known at the callee from others.
    assert_eq!(of_kind(&findings, FindingKind::NewRoute)[0].severity, Severity::Info);
}

#[test]
fn a_stolen_certificate_is_a_call_its_own_proxy_did_not_report() {
    let mut mesh = Mesh::approved();
    let mut stolen = mesh.call("courier", "ledger", "GET /status", 200);
    stolen.shape.reported = Reported::ServerOnly;
    let late = mesh.window(&[stolen.clone()], false);
    assert_eq!(told(&late), Vec::<String>::new(), "late telemetry of the caller looks as usual");
    assert_eq!(of_kind(&late, FindingKind::OneSidedCall).len(), 1);
    stolen.shape.sni = Symbol::NONE;
    stolen.shape.tls_cipher = mesh.name("TLS_AES_256_GCM_SHA384");
    stolen.shape.user_agent = mesh.name("curl");
    let findings = mesh.window(&[stolen], false);
    assert_eq!(told(&findings), ["one_sided_call medium courier -> ledger"]);
    let evidence = &of_kind(&findings, FindingKind::OneSidedCall)[0].evidence;
    assert!(evidence.iter().any(|fact| fact.observed == "server name, cipher, user agent"), "{evidence:?}");
}

#[test]
fn bytes_that_are_not_text_are_told_with_the_call_that_carried_them() {
    let mut mesh = Mesh::approved();
    let mut call = mesh.call("courier", "ledger", "GET /admin/users", 200);
    call.shape.repaired = true;
    let findings = mesh.window(&[call], false);
    assert_eq!(
        told(&findings),
        ["malformed_telemetry medium courier -> ledger", "new_route medium courier -> ledger"]
    );
}

#[test]
fn exfiltration_is_new_egress_with_many_bytes_after_an_export() {
    let mut mesh = Mesh::approved();
    let mut traffic = mesh.normal(3);
    let mut export = mesh.call("courier", "ledger", "GET /admin/export", 200);
    export.bytes = (0, 3_000_000);
    let mut drop = mesh.egress("courier", "dump.stranger.example", "POST /drop");
    (drop.calls, drop.bytes) = (20, (600_000, 15));
    traffic.extend([export, drop]);
    assert_eq!(
        told(&mesh.window(&traffic, false)),
        [
            "bytes_high high courier -> dump.stranger.example",
            "bytes_high medium courier -> ledger",
            "new_egress high courier -> dump.stranger.example",
            "new_route medium courier -> ledger",
        ]
    );
}

#[test]
fn a_known_outside_host_is_not_new_and_a_relative_of_it_is_less_so() {
    let mut mesh = Mesh::approved();
    let known = mesh.egress("courier", "eu.api.partner.example", "POST /events");
    mesh.window(std::slice::from_ref(&known), true);
    assert_eq!(told(&mesh.window(&[known], false)), Vec::<String>::new());
    let relative = mesh.egress("courier", "us.api.partner.example", "POST /events");
    assert_eq!(told(&mesh.window(&[relative], false)), ["new_egress low courier -> us.api.partner.example"]);
    let metadata = mesh.egress("courier", "169.254.169.254", "GET /latest");
    assert_eq!(told(&mesh.window(&[metadata], false)), ["new_egress high courier -> 169.254.169.254"]);
    let from_web = mesh.egress("web", "eu.api.partner.example", "POST /events");
    assert_eq!(told(&mesh.window(&[from_web], false)), ["new_egress medium web -> eu.api.partner.example"]);
}

#[test]
fn a_flood_is_told_when_its_window_closes() {
    let mut mesh = Mesh::approved();
    let mut traffic = mesh.normal(3);
    let mut flood = mesh.call("courier", "cart", "GET /carts/{id}", 200);
    flood.calls = 360;
    traffic.push(flood);
    let findings = mesh.window(&traffic, false);
    assert_eq!(told(&findings), ["request_rate_high medium courier -> cart"]);
    let flood = of_kind(&findings, FindingKind::RequestRateHigh)[0];
    assert!(flood.return_period_seconds.is_some_and(|period| period > 86_400.0));
    assert_eq!(flood.evidence[0].name, "requests_per_second");
}

#[test]
fn a_slow_callee_is_told_on_its_edges_with_numbers() {
    let mut mesh = Mesh::approved();
    let mut traffic = mesh.normal(3);
    for call in traffic.iter_mut().filter(|call| call.destination == "cart") {
        call.latency_ms += 900;
    }
    let findings = mesh.window(&traffic, false);
    assert_eq!(told(&findings), ["latency_high medium web -> cart"]);
    let slow = of_kind(&findings, FindingKind::LatencyHigh)[0];
    assert_eq!(slow.evidence[0].name, "latency_ms_p90");
    assert!(slow.evidence[0].observed.parse::<u64>().expect("a number") >= 900);
    assert!(
        mesh.baselines.edges().all(|(_, edge)| edge.latency.quantile(1.0) < Some(500 * MS)),
        "not learned"
    );
}

#[test]
fn a_failing_callee_is_told_and_a_slower_burn_is_told_over_several_windows() {
    let mut mesh = Mesh::approved();
    let mut traffic = mesh.normal(3);
    for call in traffic.iter_mut().filter(|call| call.destination == "ledger") {
        call.shape.status = 503;
        call.calls = call.calls.max(6);
    }
    assert_eq!(
        told(&mesh.window(&traffic, false)),
        ["error_rate_high medium cart -> ledger", "error_rate_high medium courier -> ledger"]
    );
    let mut mesh = Mesh::approved();
    let mut burn = mesh.normal(3);
    burn[4].calls = 2;
    let mut failed = burn[4].clone();
    (failed.shape.status, failed.calls) = (503, 4);
    burn.push(failed);
    assert_eq!(told(&mesh.window(&burn, false)), Vec::<String>::new());
    assert_eq!(told(&mesh.window(&burn, false)), ["error_rate_high medium cart -> ledger"]);
    let ledger = (mesh.node("cart"), mesh.node("ledger"));
    let known =
        mesh.baselines.edges().find(|(key, _)| (key.source, key.destination) == ledger).expect("known").1;
    assert_eq!(known.failed, 0, "what is suspicious is not learned, told or not");
}

#[test]
fn a_path_scan_is_one_finding_and_few_refused_routes_are_low() {
    let mut mesh = Mesh::approved();
    let mut traffic = mesh.normal(3);
    for number in 0..16 {
        traffic.push(mesh.call("courier", "cart", &format!("GET /probe-{number}"), 404));
    }
    let findings = mesh.window(&traffic, false);
    assert_eq!(told(&findings), ["new_route low courier -> cart", "path_scan high courier -> cart"]);
    assert_eq!(of_kind(&findings, FindingKind::PathScan).len(), 1);
    assert!(of_kind(&findings, FindingKind::NewRoute).len() <= 5);
    let cart = mesh.node("cart");
    let callee = mesh.baselines.mesh().destination(&cart).expect("known");
    assert_eq!(callee.routes.len(), 3, "a scan teaches no route");
}

#[test]
fn a_denied_workload_is_for_the_record_only() {
    let mut mesh = Mesh::approved();
    let mut traffic = mesh.normal(3);
    traffic.push(mesh.call("courier", "cart", "GET /carts/{id}", 200));
    for (callee, route) in [("cart", "GET /carts/{id}"), ("ledger", "GET /status")] {
        let mut denied = mesh.call("courier", callee, route, 403);
        denied.shape.denied_by = mesh.name("quarantine-courier");
        denied.calls = 6;
        traffic.push(denied);
    }
    let findings = mesh.window(&traffic, false);
    assert_eq!(told(&findings), Vec::<String>::new());
    assert_eq!(of_kind(&findings, FindingKind::DeniedBurst).len(), 2);
}

#[test]
fn certificates_that_are_old_young_long_or_shared_are_told() {
    let mut mesh = Mesh::approved();
    let now = mesh.clock * SECOND;
    let change = |mesh: &mut Mesh, edit: &dyn Fn(&mut common::Traffic, &mut Mesh)| {
        let mut call = mesh.call("web", "cart", "POST /carts", 201);
        edit(&mut call, mesh);
        told(&mesh.window(&[call], false))
    };
    let expired = change(&mut mesh, &|call, mesh| {
        call.shape.certificate.fingerprint = mesh.name("fp-old");
        call.shape.certificate.not_before = EventTime(now - 2 * common::DAY);
        call.shape.certificate.not_after = EventTime(now - 3_600 * SECOND);
    });
    assert_eq!(expired, ["certificate_expired medium web -> cart"]);
    let long = change(&mut mesh, &|call, mesh| {
        call.shape.certificate.fingerprint = mesh.name("fp-long");
        call.shape.certificate.not_after = EventTime(now + 3_650 * common::DAY);
    });
    assert_eq!(long, ["certificate_lifetime medium web -> cart"]);
    let shared =
        change(&mut mesh, &|call, mesh| call.shape.certificate.fingerprint = mesh.name("fp-courier"));
    assert_eq!(shared, ["certificate_shared high web -> cart"]);
    let issuer = change(&mut mesh, &|call, mesh| call.shape.certificate.issuer = mesh.name("CN=other root"));
    assert_eq!(issuer, ["certificate_issuer medium web -> cart"]);
    let mut fresh = Mesh::new();
    let expiring = change(&mut fresh, &|call, _| {
        call.shape.certificate.not_before = EventTime(now - common::DAY);
        call.shape.certificate.not_after = EventTime(now + 600 * SECOND);
    });
    assert_eq!(expiring, ["certificate_expiring medium web -> cart"]);
}

#[test]
fn identities_that_do_not_fit_are_told() {
    let mut mesh = Mesh::approved();
    let mut foreign = mesh.call("web", "cart", "POST /carts", 201);
    foreign.shape.source_principal = mesh.name("spiffe://stranger.example/ns/store/sa/web");
    assert_eq!(
        told(&mesh.window(&[foreign], false)),
        ["foreign_trust_domain high web -> cart", "new_principal medium web -> cart"]
    );
    let mut other = mesh.call("web", "cart", "POST /carts", 201);
    other.shape.source_principal = mesh.principal("courier");
    let findings = told(&mesh.window(&[other], false));
    assert_eq!(findings, ["identity_mismatch medium web -> cart", "new_principal medium web -> cart"]);
    let mut look_alike = mesh.call("dev/web", "cart", "POST /carts", 201);
    look_alike.shape.reported = Reported::ServerOnly;
    let findings = told(&mesh.window(&[look_alike], false));
    assert_eq!(
        findings,
        [
            "boundary_violation medium web -> cart",
            "identity_mismatch medium web -> cart",
            "new_edge high web -> cart"
        ]
    );
}

#[test]
fn an_older_tls_version_is_a_downgrade() {
    let mut mesh = Mesh::approved();
    let mut old = mesh.call("web", "cart", "POST /carts", 201);
    old.shape.tls_version = mesh.name("TLSv1.2");
    assert_eq!(told(&mesh.window(&[old.clone()], false)), ["tls_version_downgrade medium web -> cart"]);
    old.shape.tls_version = mesh.name("TLSv1.0");
    assert_eq!(told(&mesh.window(&[old], false)), ["tls_version_downgrade high web -> cart"]);
}

#[test]
fn before_the_mesh_is_known_novelty_is_silent_and_deterministic_checks_are_not() {
    let mut mesh = Mesh::new();
    let mut traffic = mesh.normal(1);
    assert_eq!(told(&mesh.window(&traffic, false)), Vec::<String>::new());
    traffic.push(mesh.handshake("cart", "certificate_expired", "spiffe://mesh.example/ns/store/sa/web"));
    traffic.push(mesh.plaintext("cart", "GET /carts/{id}"));
    let findings = told(&mesh.window(&traffic, false));
    assert!(findings.contains(&"handshake_rejected medium  -> cart".to_owned()), "{findings:?}");
    assert!(findings.contains(&"mtls_downgrade medium  -> cart".to_owned()), "{findings:?}");
}

#[test]
fn the_same_deviation_has_the_same_id_and_another_window_another() {
    let play = || {
        let mut mesh = Mesh::approved();
        let call = mesh.call("web", "ledger", "GET /admin", 200);
        let first = mesh.window(std::slice::from_ref(&call), false);
        (first, mesh.window(&[call], false))
    };
    let ((first, second), (again, _)) = (play(), play());
    assert_eq!(first, again);
    assert_eq!(first.len(), second.len());
    assert!(first.iter().zip(&second).all(|(left, right)| left.id != right.id));
}

#[test]
fn a_change_that_lasts_is_accepted_after_hours_and_not_before() {
    let mut mesh = Mesh::approved();
    let mut slow = mesh.normal(3);
    slow.iter_mut().filter(|call| call.destination == "cart").for_each(|call| call.latency_ms += 900);
    let started = mesh.clock;
    while mesh.clock < started + 4 * 3_600 {
        assert!(told(&mesh.window(&slow, false)).contains(&"latency_high medium web -> cart".to_owned()));
        mesh.clock += 230;
    }
    mesh.window(&slow, false);
    assert_eq!(told(&mesh.window(&slow, false)), Vec::<String>::new());
}

#[test]
fn telemetry_that_cannot_be_understood_is_told_once_in_a_while() {
    let mut mesh = Mesh::new();
    let counts = TelemetryCounts { received: 1_000, rejected: 50, symbols_overflowed: 3, inventor: None };
    let now = EventTime(mesh.clock * SECOND);
    let cx = Context { symbols: &mesh.symbols, baselines: &mesh.baselines, now, learning: false };
    let kinds: Vec<FindingKind> =
        mesh.detector.judge_telemetry(&cx, &counts).iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::MalformedTelemetry, FindingKind::Cardinality]);
    assert!(mesh.detector.judge_telemetry(&cx, &counts).is_empty());
}

#[test]
fn a_beat_to_an_outside_host_is_a_beacon_even_after_the_host_was_learned() {
    let mut mesh = Mesh::approved();
    let related = mesh.egress("courier", "api.partner.example", "POST /events");
    mesh.window(&[related], true);
    // Low, and so learned: the caller knows other hosts of the domain.
    let beat = mesh.egress("courier", "status.partner.example", "GET /ping");
    let mut kinds = Vec::new();
    for _ in 0..10 {
        kinds.extend(mesh.window(std::slice::from_ref(&beat), false).iter().map(|finding| finding.kind));
        mesh.clock += 20;
    }
    assert!(kinds.contains(&FindingKind::Beacon), "{kinds:?}");
}
