//! From findings to candidates: the narrowest that stops it, with what else the attacker could use.

mod common;

use common::{
    Known, ONSET, at, bare, end, fact, finding, incident, leaving, plaintext, refs, row, row_with, unproven,
    with,
};
use selvedge_model::finding::Family;
use selvedge_model::{
    Caller, Endpoint, Finding, FindingKind as K, IdentitySource, Operation, Place, Severity,
};
use selvedge_policy::{Attested, Candidate, Doubt, Plans, Subject, attested, plans};

fn planned(findings: &[Finding], known: &Known) -> Plans {
    plans(&incident(findings), &refs(findings), &[], known, 0.01)
}

fn only(findings: &[Finding], known: &Known) -> Candidate {
    let planned = planned(findings, known);
    assert_eq!(planned.candidates.len(), 1, "{planned:#?}");
    planned.candidates.into_iter().next().expect("there is one")
}

#[test]
fn a_verified_caller_that_never_called_is_cut_from_the_whole_destination() {
    let intruder = "yard/intruder";
    let findings = [
        finding(K::NewEdge, intruder, "store/ledger"),
        finding(K::BoundaryViolation, intruder, "store/ledger"),
    ];
    let chosen = only(&findings, &Known::mesh());
    assert_eq!(chosen.subject, Subject::Principal(end(intruder).principal));
    assert_eq!(chosen.cuts[0].caller, Caller::Principal(end(intruder).principal));
    assert_eq!((chosen.cuts[0].place, &chosen.cuts[0].workload), (Place::Inbound, &end("store/ledger")));
    assert!(chosen.cuts[0].operations.is_empty());
    assert_eq!(chosen.severity, Severity::High, "two kinds of evidence agree");
    assert!(chosen.families.contains(&Family::Novelty) && chosen.families.contains(&Family::Boundary));
    assert!(chosen.reason.contains("under any certificate"), "{}", chosen.reason);
}

#[test]
fn where_no_normal_caller_is_without_identity_plaintext_is_cut_too() {
    let findings = [finding(K::NewEdge, "yard/intruder", "store/ledger")];
    let plan = only(&findings, &Known::mesh());
    assert_eq!(plan.cuts.len(), 2);
    assert_eq!(plan.cuts[1].caller, Caller::Unauthenticated);

    let mut known = Known::mesh();
    known.rows.push(plaintext("store/ledger", "/metrics", 7));
    let plan = only(&findings, &known);
    assert_eq!(plan.cuts.len(), 1);
    let open = plan.not_stopped.join("\n");
    assert!(open.contains("7 normal calls prove none"), "{open}");
}

/// The ledger has 10,040 calls whose callers are known, and now some of which the record says nothing.
#[test]
fn more_than_a_few_calls_without_a_word_about_identity_keep_plaintext_from_being_cut() {
    let plan = |calls| {
        let mut known = Known::mesh();
        let silent = row_with(row("store/scribe", "store/ledger", "GET", "/entries", calls), |row| {
            row.authenticated = None;
            row.source.principal.clear();
        });
        known.rows.push(silent);
        only(&[finding(K::NewEdge, "yard/intruder", "store/ledger")], &known)
    };
    for calls in [3, 101] {
        assert_eq!(plan(calls).cuts.len(), 2, "{calls}");
    }
    let many = plan(102);
    assert_eq!(many.cuts.len(), 1);
    assert!(many.not_stopped.join("\n").contains("does not say"));
}

/// Scenario: the courier normally reads entries, and now exports them.
/// Guarantees: only the export is cut, and nothing that it normally does.
#[test]
fn a_caller_with_normal_business_is_cut_only_from_what_it_never_did() {
    let export = with(finding(K::NewRoute, "yard/courier", "store/ledger"), |finding| {
        finding.subject = "GET /export/{*}".to_owned();
    });
    let plan = only(&[export], &Known::mesh());
    let wanted = Operation { method: "GET".to_owned(), route: "/export/{id}".to_owned() };
    assert_eq!(plan.cuts[0].operations, [wanted]);
    assert_eq!(plan.trial.backtest.denied_normal, 0);
    assert!(!plan.established);
    assert!(plan.not_stopped.iter().any(|line| line.starts_with("other requests of the same caller")));
}

#[test]
fn what_a_caller_normally_does_is_never_narrowed_to() {
    let known_route = with(finding(K::CertificateIssuer, "yard/courier", "store/ledger"), |finding| {
        finding.evidence.push(fact("route", "GET /entries"));
    });
    let plan = only(&[known_route], &Known::mesh());
    assert!(plan.cuts[0].operations.is_empty() && plan.established);
}

#[test]
fn a_stolen_identity_may_be_cut_from_its_normal_business_too() {
    let stolen = finding(K::OneSidedCall, "yard/courier", "store/ledger");
    let plan = only(&[stolen], &Known::mesh());
    assert!(!plan.established);
    assert_eq!(plan.trial.backtest.denied_normal, 40);
}

#[test]
fn each_destination_is_a_plan_of_its_own_and_counts_all_evidence_about_its_caller() {
    let findings = [
        finding(K::NewEdge, "yard/intruder", "store/ledger"),
        finding(K::BoundaryViolation, "yard/intruder", "store/cart"),
    ];
    let planned = planned(&findings, &Known::mesh());
    assert_eq!(planned.candidates.len(), 2);
    assert!(planned.candidates.iter().all(|plan| plan.families.len() == 2 && plan.evidence.len() == 2));
}

#[test]
fn what_the_caller_sends_out_of_the_mesh_is_cut_at_its_own_proxy() {
    let findings = [
        finding(K::NewEdge, "yard/intruder", "store/ledger"),
        leaving(K::NewEgress, "yard/intruder", "paste.example"),
    ];
    let plan = only(&findings, &Known::mesh());
    let out = plan.cuts.iter().find(|cut| cut.place == Place::Outbound).unwrap();
    assert_eq!((out.workload.clone(), &out.caller), (bare("yard/intruder"), &Caller::Local));
    assert_eq!(out.hosts, ["paste.example"]);
    assert!(plan.not_stopped.iter().any(|line| line.contains("go around its proxy")));
}

/// Scenario: the intruder called the cart, which is worse, and the ledger, and sends something out of the mesh.
/// Guarantees: each quarantine is explained by what it denies, also when of its cuts only the way out is left.
#[test]
fn the_reason_is_a_finding_about_what_is_cut() {
    let intruder = "yard/intruder";
    let findings = [
        finding(K::NewEdge, intruder, "store/ledger"),
        with(finding(K::NewEdge, intruder, "store/cart"), |finding| finding.severity = Severity::High),
        leaving(K::NewEgress, intruder, "paste.example"),
    ];
    let mut standing = Vec::new();
    for candidate in planned(&findings, &Known::mesh()).candidates {
        let callee = candidate.target.label();
        assert!(
            candidate.reason.ends_with(&findings[usize::from(callee == "store/cart")].summary),
            "{callee}"
        );
        standing.extend(candidate.cuts.into_iter().filter(|cut| cut.place == Place::Inbound));
    }
    assert_eq!(standing.len(), 4);
    let grown = plans(&incident(&findings), &refs(&findings), &standing, &Known::mesh(), 0.01);
    for candidate in &grown.candidates {
        assert!(candidate.reason.ends_with(&findings[2].summary), "{}", candidate.reason);
    }
}

#[test]
fn egress_of_another_workload_is_no_part_of_the_callers_cut() {
    let findings = [
        finding(K::NewEdge, "yard/intruder", "store/ledger"),
        leaving(K::NewEgress, "store/cart", "paste.example"),
    ];
    let planned = planned(&findings, &Known::mesh());
    assert_eq!(planned.candidates.len(), 2);
    for plan in &planned.candidates {
        let places: Vec<Place> = plan.cuts.iter().map(|cut| cut.place).collect();
        let mixed = places.contains(&Place::Inbound) && places.contains(&Place::Outbound);
        assert!(!mixed, "{plan:#?}");
    }
}

#[test]
fn an_attacker_without_identity_is_cut_as_such_and_nobody_is_named() {
    let findings = [unproven(K::MtlsDowngrade, "store/ledger"), unproven(K::NewRoute, "store/ledger")];
    let plan = only(&findings, &Known::mesh());
    assert_eq!(plan.subject, Subject::Unproven);
    assert_eq!(plan.cuts.len(), 1);
    assert_eq!(plan.cuts[0].caller, Caller::Unauthenticated);
    assert!(plan.callers.is_empty());
}

#[test]
fn what_stands_already_is_not_planned_again() {
    let intruder = "yard/intruder";
    let findings = [finding(K::NewEdge, intruder, "store/ledger")];
    let first = only(&findings, &Known::mesh());
    let again = plans(&incident(&findings), &refs(&findings), &first.cuts, &Known::mesh(), 0.01);
    assert!(again.candidates[0].cuts.is_empty());
    assert_eq!(again.candidates[0].covered, first.cuts);

    let more = [findings[0].clone(), leaving(K::NewEgress, intruder, "paste.example")];
    let grown = plans(&incident(&more), &refs(&more), &first.cuts, &Known::mesh(), 0.01);
    let cuts = &grown.candidates[0].cuts;
    assert_eq!((cuts.len(), cuts[0].place), (1, Place::Outbound));
}

#[test]
fn the_order_of_findings_changes_nothing() {
    let mut findings = vec![
        finding(K::NewEdge, "yard/intruder", "store/ledger"),
        finding(K::BoundaryViolation, "yard/intruder", "store/cart"),
        unproven(K::MtlsDowngrade, "store/cart"),
        leaving(K::NewEgress, "yard/intruder", "paste.example"),
    ];
    let forward = planned(&findings, &Known::mesh());
    findings.reverse();
    assert_eq!(forward, planned(&findings, &Known::mesh()));
}

fn new_edge() -> Finding {
    finding(K::NewEdge, "yard/courier", "store/ledger")
}

fn by_courier(kind: K) -> Finding {
    finding(kind, "yard/courier", "store/ledger")
}

fn names_nobody(cases: Vec<(&str, Finding, Doubt)>) {
    for (what, finding, doubt) in cases {
        assert_eq!(attested(&finding, &Known::mesh()), Attested::Nobody(doubt), "{what}");
    }
}

#[test]
fn an_identity_that_is_not_proven_names_nobody() {
    let refused =
        with(new_edge(), |finding| finding.evidence.push(fact("handshake_failure", "unknown_issuer")));
    let claimed = with(new_edge(), |finding| {
        finding.claimed_principal = finding.edge.source.principal.clone();
    });
    let others = with(new_edge(), |finding| finding.edge.source.principal = end("store/scribe").principal);
    let pooled = with(new_edge(), |finding| "(overflow)".clone_into(&mut finding.edge.source.principal));
    let egress = |identity| {
        with(leaving(K::NewEgress, "yard/courier", "a.example"), |finding| finding.source_identity = identity)
    };
    let invented =
        with(by_courier(K::PathScan), |finding| finding.source_identity = IdentitySource::ProxyMetadata);
    let scan = by_courier(K::PathScan);
    assert_eq!(attested(&scan, &Known::mesh()), Attested::Principal(&end("yard/courier").principal));
    names_nobody(vec![
        ("a scan that only the caller's proxy tells of", invented, Doubt::Hearsay),
        ("a refused handshake", refused, Doubt::Refused),
        ("a claimed identity", claimed, Doubt::Hearsay),
        ("another's certificate", others, Doubt::NameDisagrees),
        ("a pooled name", pooled, Doubt::Hearsay),
        ("verified plaintext", by_courier(K::MtlsDowngrade), Doubt::NameDisagrees),
        ("egress by hearsay", egress(IdentitySource::ParentSpan), Doubt::Hearsay),
        ("egress with a callee's proof", egress(IdentitySource::MtlsCertificate), Doubt::Hearsay),
    ]);
    let parent = with(new_edge(), |finding| finding.source_identity = IdentitySource::ParentSpan);
    assert_eq!(attested(&parent, &Known::mesh()), Attested::Unproven);
}

#[test]
fn what_is_not_a_callers_deed_names_nobody() {
    let nowhere = with(new_edge(), |finding| finding.edge.destination = Endpoint::default());
    let ours =
        with(by_courier(K::DeniedBurst), |finding| "store/selvedge-q-1".clone_into(&mut finding.subject));
    names_nobody(vec![
        ("an unknown callee", nowhere, Doubt::NoEvidence),
        ("for the record", with(new_edge(), |finding| finding.severity = Severity::Info), Doubt::NoEvidence),
        ("the callee's new identity", by_courier(K::NewPrincipal), Doubt::NoEvidence),
        ("a passed-on header", by_courier(K::MalformedTelemetry), Doubt::NoEvidence),
        ("slowness", by_courier(K::LatencyHigh), Doubt::NoEvidence),
        ("calls that a callee makes for it", by_courier(K::NewCallPath), Doubt::NoEvidence),
        ("many callees before the window closed", by_courier(K::FanOut), Doubt::MixedCalls),
        ("our own denials", ours, Doubt::NoEvidence),
    ]);
}

/// Scenario: a burst on an edge, whose calls were all verified, or of which one was not.
/// Guarantees: only in the first case it is evidence against the caller.
#[test]
fn a_finding_about_many_calls_counts_when_every_one_is_verified() {
    let burst = finding(K::RequestRateHigh, "yard/courier", "store/ledger");
    let since = |row| row_with(row, |row| row.minute_seconds = ONSET);
    let mut known = Known::mesh();
    known.rows.push(since(row("yard/courier", "store/ledger", "GET", "/a", 9)));
    assert_eq!(attested(&burst, &known), Attested::Principal(&end("yard/courier").principal));
    let joined = row_with(since(row("yard/courier", "store/ledger", "GET", "/b", 1)), |row| {
        row.source_identity = IdentitySource::ProxyMetadata;
        row.source.principal.clear();
    });
    known.rows.push(joined);
    assert_eq!(attested(&burst, &known), Attested::Nobody(Doubt::MixedCalls));
    assert!(at(ONSET) > at(60));
}
