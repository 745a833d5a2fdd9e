//! What has ended does not come back under another shape or another name.

mod common;

use common::{Known, calm, finding, incident, now, refs, with};
use selvedge_model::{Finding, FindingKind as K, Incident, QuarantineRef, QuarantineState as S};
use selvedge_policy::{Change, Decision, Ledger, PolicyConfig, PolicyMode, Refusal, respond};

fn config() -> PolicyConfig {
    PolicyConfig { mode: PolicyMode::Enforce, ..PolicyConfig::default() }
}

/// The mesh, where some call the ledger without an identity: nothing is cut beside what the caller asks for.
fn mesh() -> Known {
    let mut known = Known::mesh();
    known.rows.push(common::plaintext("store/ledger", "/metrics", 7));
    known
}

fn decided(ledger: &mut Ledger, incident: &Incident, findings: &[Finding], second: u64) -> Decision {
    let told = respond(ledger, incident, &refs(findings), &mesh(), &config(), &calm(), now(second));
    told.answers.into_iter().next().expect("there is an answer").decision
}

fn id_of(decision: &Decision) -> String {
    let Decision::Enforce(id) = decision else { panic!("{decision:?}") };
    id.clone()
}

fn ended(decision: &Decision, by: &str) -> bool {
    matches!(decision, Decision::Refuse(why) if matches!(&why[..], [Refusal::Ended { id, .. }] if id == by))
}

/// The courier, who has normal business at the ledger, asks for what it never did.
fn asks(routes: &[&str]) -> Vec<Finding> {
    let new = |route: &&str| {
        with(finding(K::NewRoute, "yard/courier", "store/ledger"), |finding| {
            finding.id = format!("new-{route}");
            finding.subject = format!("GET {route}");
        })
    };
    let mut findings: Vec<Finding> = routes.iter().map(new).collect();
    findings.push(finding(K::BoundaryViolation, "yard/courier", "store/ledger"));
    findings
}

#[test]
fn more_of_what_did_harm_is_not_enforced_either() {
    let mut ledger = Ledger::new();
    let first = asks(&["/a"]);
    let id = id_of(&decided(&mut ledger, &incident(&first), &first, 0));
    ledger.roll_back(&id, "neighbours fail", now(5)).unwrap();
    let more = asks(&["/a", "/b"]);
    let other = Incident { id: "incident-2".to_owned(), ..incident(&more) };
    for incident in [incident(&more), other.clone()] {
        assert!(ended(&decided(&mut ledger, &incident, &more, 6), &id), "{}", incident.id);
    }
    assert_eq!(ledger.standing(), []);
}

#[test]
fn what_has_nothing_in_common_with_what_ended_is_decided_anew() {
    let mut ledger = Ledger::new();
    let mut lifted = |route, second| {
        let findings = asks(&[route]);
        let id = id_of(&decided(&mut ledger, &incident(&findings), &findings, second));
        ledger.lift(&id, "ada", "we know them", now(second)).unwrap();
        id
    };
    assert_ne!(lifted("/a", 0), lifted("/b", 5));
}

/// Scenario: the quarantine is lifted, and later the callee's identity becomes known.
/// Guarantees: the cuts are the same, and what has ended under their id is not written over.
#[test]
fn an_identity_that_becomes_known_later_does_not_revive_what_ended() {
    let unnamed: Vec<Finding> = [K::NewEdge, K::BoundaryViolation]
        .map(|kind| finding(kind, "yard/intruder", "store/ledger"))
        .map(|deed| with(deed, |deed| deed.edge.destination.principal.clear()))
        .to_vec();
    let named = [K::NewEdge, K::BoundaryViolation].map(|kind| finding(kind, "yard/intruder", "store/ledger"));
    let mut ledger = Ledger::new();
    let id = id_of(&decided(&mut ledger, &incident(&unnamed), &unnamed, 0));
    ledger.lift(&id, "ada", "we know them", now(5)).unwrap();
    assert!(ended(&decided(&mut ledger, &incident(&named), &named, 6), &id));
    assert_eq!(ledger.get(&id).unwrap().state, S::Lifted);
    let forgetful = PolicyConfig { ended_max: 0, ..config() };
    let changes: Vec<Change> = ledger.advance(&forgetful, now(7)).iter().map(|event| event.change).collect();
    assert_eq!(changes, [Change::Forgotten]);
}

/// Scenario: a person lifts a quarantine of one incident; then that incident turns out to be part of another.
/// Guarantees: it stays lifted for the incident that took the first one in, and only for that.
#[test]
fn what_was_lifted_stays_so_when_its_incident_is_absorbed() {
    let mut ledger = Ledger::new();
    let findings = asks(&["/a"]);
    let id = id_of(&decided(&mut ledger, &incident(&findings), &findings, 0));
    ledger.lift(&id, "ada", "we know them", now(5)).unwrap();
    let reference = QuarantineRef { id: id.clone(), state: S::Lifted, reason: String::new() };
    let mut other = Incident { id: "incident-2".to_owned(), ..incident(&findings) };
    other.quarantines.push(reference);
    assert!(ended(&decided(&mut ledger, &other, &findings, 6), &id));
    other.quarantines.clear();
    assert_ne!(id_of(&decided(&mut ledger, &other, &findings, 7)), id);
}
