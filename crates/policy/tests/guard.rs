//! Every guard rail by itself: a plan that nothing stands against, and one change that something does.

mod common;

use common::{Known, calm, end, finding, incident, leaving, plaintext, refs, row, row_with, unproven, with};
use selvedge_model::{Finding, FindingKind as K, Incident, IncidentStatus, Severity};
use selvedge_policy::{Candidate, Load, MeshState, PolicyConfig, PolicyMode, Refusal, plans, refusals};

const INTRUDER: &str = "yard/intruder";

struct Scene {
    findings: Vec<Finding>,
    known: Known,
    incident: Incident,
    config: PolicyConfig,
    mesh: MeshState,
    load: Load,
}

impl Scene {
    fn new() -> Self {
        let findings = vec![
            finding(K::NewEdge, INTRUDER, "store/ledger"),
            finding(K::BoundaryViolation, INTRUDER, "store/ledger"),
        ];
        Self {
            incident: incident(&findings),
            findings,
            known: Known::mesh(),
            config: PolicyConfig { mode: PolicyMode::Enforce, ..PolicyConfig::default() },
            mesh: calm(),
            load: Load::default(),
        }
    }

    fn candidate(&self) -> Candidate {
        let mut planned = plans(&self.incident, &refs(&self.findings), &[], &self.known, 0.01);
        assert!(!planned.candidates.is_empty(), "{planned:#?}");
        planned.candidates.remove(0)
    }

    fn refusals(&self) -> Vec<Refusal> {
        refusals(&self.candidate(), &self.incident, &self.config, &self.mesh, &self.load)
    }
}

#[test]
fn nothing_stands_against_the_plain_case() {
    assert_eq!(Scene::new().refusals(), []);
}

type Spoil = fn(&mut Scene);

/// One change each, and what the refusal then says.
const SPOILED: &[(&str, Spoil)] = &[
    ("quarantines are off at store/ledger", |scene| {
        scene.config.overrides.insert("store".to_owned(), PolicyMode::Off);
    }),
    ("the kill switch is on", |scene| scene.config.kill_switch = true),
    ("the mesh is not known yet", |scene| scene.mesh.warm = false),
    ("the incident is resolved", |scene| scene.incident.status = IncidentStatus::Resolved),
    ("of severity medium", |scene| scene.incident.severity = Severity::Medium),
    ("of severity medium", |scene| {
        scene.findings.iter_mut().for_each(|finding| finding.severity = Severity::Low);
    }),
    ("there is novelty", |scene| {
        let other =
            with(finding(K::NewRoute, INTRUDER, "store/ledger"), |finding| finding.severity = Severity::High);
        scene.findings[1] = other;
    }),
    // A warning by the mesh's record is one that comes when nothing is wrong.
    ("there is novelty", |scene| {
        scene.findings[0].severity = Severity::High;
        scene.findings[1].calibrated = true;
    }),
    ("there is transport, boundary", |scene| {
        let other = with(finding(K::TlsVersionDowngrade, INTRUDER, "store/ledger"), |finding| {
            finding.severity = Severity::High;
        });
        scene.findings[0] = other;
    }),
    ("store/ledger is protected by `store/l*`", |scene| scene.config.protected = vec!["store/l*".to_owned()]),
    ("yard/intruder is protected by `yard/*`", |scene| scene.config.protected = vec!["yard/*".to_owned()]),
    ("5 quarantines are live", |scene| scene.load.active = 5),
    ("3 leases were granted", |scene| scene.load.granted = 3),
    ("20 proposals wait", |scene| {
        (scene.config.mode, scene.load.proposed) = (PolicyMode::Propose, 20);
    }),
    ("0 calls before the onset are too few", |scene| {
        scene.known.rows.retain(|row| row.destination.workload != "ledger");
    }),
    ("11 incidents of high severity", |scene| scene.mesh.open_incidents = 11),
    ("21 of 100 edges", |scene| scene.mesh.edges_deviating = 21),
    ("does not say whether it would deny them", |scene| {
        let silent = row_with(row("store/scribe", "store/ledger", "GET", "/entries", 2_000), |row| {
            row.source.principal.clear();
            row.authenticated = None;
        });
        scene.known.rows.push(silent);
    }),
];

#[test]
fn each_guard_rail_refuses_by_itself_and_says_why() {
    for (words, spoil) in SPOILED {
        let mut scene = Scene::new();
        spoil(&mut scene);
        let told: Vec<String> = scene.refusals().iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{words}: {told:#?}");
        assert!(told[0].contains(words), "{words}: {told:#?}");
    }
}

#[test]
fn all_reasons_are_given_at_once() {
    let mut scene = Scene::new();
    SPOILED.iter().for_each(|(_, spoil)| spoil(&mut scene));
    assert!(scene.refusals().len() >= 9, "{:#?}", scene.refusals());
}

#[test]
fn what_a_caller_normally_does_is_not_cut_on_novelty() {
    let mut scene = Scene::new();
    scene.findings = vec![
        finding(K::BoundaryViolation, "yard/courier", "store/ledger"),
        with(finding(K::IdentityMismatch, "yard/courier", "store/ledger"), |finding| {
            finding.severity = Severity::High
        }),
    ];
    let told = scene.refusals();
    assert_eq!(told, [Refusal::Established { denied_normal: 40 }], "{told:#?}");
}

/// Scenario: an identity is stolen, and what it normally does is a large share of its destination's calls.
/// Guarantees: the blast radius refuses what the evidence allows; below the cap it may be.
#[test]
fn a_stolen_identity_is_cut_only_within_the_blast_radius() {
    let mut scene = Scene::new();
    scene.findings = vec![
        finding(K::OneSidedCall, "yard/courier", "store/ledger"),
        finding(K::IdentityMismatch, "yard/courier", "store/ledger"),
    ];
    assert_eq!(scene.refusals(), []);
    scene.known.rows.push(row("yard/courier", "store/ledger", "PUT", "/entries/{id}", 100));
    let told = scene.refusals();
    assert!(matches!(told[..], [Refusal::BlastRadius { .. }]), "{told:#?}");
}

/// Scenario: the stolen identity also sends something out of the mesh, from a workload with much other traffic.
/// Guarantees: that traffic does not make the harm at the destination look small.
#[test]
fn the_blast_radius_is_that_of_the_workload_that_suffers_most() {
    let mut scene = Scene::new();
    scene.findings = vec![
        finding(K::OneSidedCall, "yard/courier", "store/ledger"),
        finding(K::IdentityMismatch, "yard/courier", "store/ledger"),
        leaving(K::NewEgress, "yard/courier", "paste.example"),
    ];
    scene.known.rows.push(row("yard/courier", "store/ledger", "PUT", "/entries/{id}", 100));
    let candidate = scene.candidate();
    assert!(candidate.trial.harm_share() < scene.config.blast_radius_max && candidate.parts.len() == 2);
    assert!(matches!(scene.refusals()[..], [Refusal::BlastRadius { .. }]), "{:#?}", scene.refusals());
}

#[test]
fn a_deny_of_the_unidentified_may_not_hurt_several_callers_or_many_calls() {
    let mut scene = Scene::new();
    scene.findings = vec![unproven(K::MtlsDowngrade, "store/ledger"), unproven(K::NewEdge, "store/ledger")];
    assert_eq!(scene.refusals(), []);
    let named = |name: &str| {
        row_with(plaintext("store/ledger", "/metrics", 20), |row| {
            row.source = end(name);
            row.source.principal.clear();
            row.source_identity = selvedge_model::IdentitySource::ProxyMetadata;
        })
    };
    scene.known.rows.extend([named("yard/probe"), named("yard/scraper")]);
    assert_eq!(scene.refusals(), [Refusal::CallersHarmed { callers: 2, callers_max: 1 }]);
    scene.known.rows.push(plaintext("store/ledger", "/metrics", 200));
    assert!(matches!(scene.refusals()[..], [Refusal::BlastRadius { .. }, Refusal::CallersHarmed { .. }]));
}

#[test]
fn a_silent_record_weighs_more_where_the_unidentified_are_denied() {
    let mut scene = Scene::new();
    scene.findings = vec![unproven(K::MtlsDowngrade, "store/ledger"), unproven(K::NewEdge, "store/ledger")];
    let silent = row_with(row("store/scribe", "store/ledger", "GET", "/entries", 300), |row| {
        row.source.principal.clear();
        row.authenticated = None;
    });
    scene.known.rows.push(silent);
    assert!(matches!(scene.refusals()[..], [Refusal::Undecided { .. }]));
}

#[test]
fn volume_alone_never_cuts_a_way_out() {
    let mut scene = Scene::new();
    let sent = row_with(row(INTRUDER, "api.example", "POST", "/x", 9), |row| {
        row.external = true;
        row.destination = common::bare("api.example");
        row.source_identity = selvedge_model::IdentitySource::ProxyMetadata;
        row.minute_seconds = common::ONSET;
    });
    scene.known.rows.push(sent);
    scene.findings = vec![leaving(K::BytesHigh, INTRUDER, "api.example")];
    assert!(plans(&scene.incident, &refs(&scene.findings), &[], &scene.known, 0.01).candidates.is_empty());
    scene.findings.push(leaving(K::NewEgress, INTRUDER, "api.example"));
    assert_eq!(scene.candidate().families.len(), 2);
}
