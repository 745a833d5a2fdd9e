//! Who is named, and on whose word: identities of peers, of the reporter itself, and facts of TLS.

use selvedge_act::reporter_document::ReporterDocument;

use super::super::check::{Check, share as percent};
use super::super::snippets::{Topic, mending};
use super::{Band, Concerned, Scene, band, has_name, inbound, label, outbound, some};

const CALLER_UNSEEN: &[&str] = &[
    "forged_identity",
    "foreign_trust_domain",
    "new_principal",
    "mtls_downgrade",
    "identity_mismatch",
    "certificate_shared",
];

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Check> {
    let mut checks = vec![names(scene), callers(scene), callees(scene), own(scene), tls(scene)];
    checks.extend(gateways(scene));
    checks
}

fn names(scene: &Scene<'_>) -> Check {
    let nameless = scene.reporters.iter().filter(|one| !has_name(one));
    let records: u64 = nameless.map(ReporterDocument::records).sum();
    if records == 0 {
        return Check::ok("names", "every record says whose it is");
    }
    let check = Check::fail(
        "names",
        format!("{records} records do not say whose they are, and belong to no edge"),
    )
    .advise("name the workload: `service.name` and `service.namespace` as resource attributes, or as below")
    .blind_to(&["new_edge", "one_sided_call", "request_rate_high", "latency_high"]);
    check.mended_by(mending(Topic::AccessLogs, scene.mesh))
}

/// Whether a workload that lacks identities of callers is one whose callers have none: nobody in the mesh calls it.
fn is_gateway(one: &ReporterDocument) -> bool {
    one.calls_answered.both + one.calls_answered.client_only == 0 && inbound(one).0.tls_version > 0
}

fn callers(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "callers' identities";
    let survey = scene.survey(|one| {
        let (carried, topic) = inbound(one);
        (!is_gateway(one)).then_some((carried.peer_principal, carried.identity_due, topic))
    });
    if let Some(none) = survey.missing() {
        let text =
            format!("missing on inbound records of {} (on {} of {} there)", none.whom(), none.part, none.of);
        let advice = "send the peer's verified identity on inbound records";
        return scene.mend(Check::fail(SUBJECT, text).advise(advice).blind_to(CALLER_UNSEEN), none);
    }
    if let Some(some) = survey.partly() {
        let there = percent(some.part, some.of);
        let text = format!("on {there} of the inbound records of {} only", some.whom());
        let advice = "some replicas or listeners do not send it, or some callers have no certificate";
        return scene.mend(Check::warn(SUBJECT, text).advise(advice).blind_to(CALLER_UNSEEN), some);
    }
    survey.ok(SUBJECT, "on inbound records, wherever a verified peer can be")
}

/// Without callers in the mesh nobody can tell whether identities are not sent or not there.
fn gateways(scene: &Scene<'_>) -> Option<Check> {
    let nameless = |one: &&ReporterDocument| {
        let carried = inbound(one).0;
        is_gateway(one) && band(carried.peer_principal, carried.identity_due) == Some(Band::Missing)
    };
    let gateways: Vec<String> =
        scene.reporters.iter().filter(nameless).map(|one| label(&one.workload)).collect();
    if gateways.is_empty() {
        return None;
    }
    let whom = some(&gateways, ", ");
    let text = format!("{whom}: nobody in the mesh calls them, and their callers are not named");
    Some(
        Check::unknown("gateways", text)
            .advise("as it should be at an ingress gateway; elsewhere send the peer's verified identity"),
    )
}

fn callees(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "callees' identities";
    let survey = scene.survey(|one| {
        let (carried, topic) = outbound(one);
        Some((carried.peer_principal, carried.identity_due, topic))
    });
    let Some(lacking) = survey.lacking() else {
        return survey.ok(SUBJECT, "on outbound records, wherever a verified peer can be");
    };
    let text = format!("{} outbound records of {}", how_many(&lacking), lacking.whom());
    let check = Check::warn(SUBJECT, text)
        .advise("send the upstream's verified identity: then both ends' word on who answered can be compared")
        .blind_to(&["identity_mismatch", "mtls_downgrade"]);
    scene.mend(check, &lacking)
}

/// Once is enough: either side of a workload may say it.
fn own(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "own identities";
    let survey = scene.survey(|one| {
        let ((answered, inbound), (made, outbound)) = (inbound(one), outbound(one));
        let sides = [(answered, inbound), (made, outbound)]
            .map(|(carried, topic)| (carried.own_principal, carried.identity_due, topic));
        sides.into_iter().rev().max_by_key(|(own, due, _)| (band(*own, *due), *due))
    });
    let Some(lacking) = survey.lacking() else {
        return survey.ok(SUBJECT, "workloads say under which identity they speak");
    };
    let text = format!("{} records of {}", how_many(&lacking), lacking.whom());
    let check = Check::warn(SUBJECT, text)
        .advise("send it on inbound records: it ties an identity to its workload, whatever the identity's text says")
        .blind_to(&["identity_mismatch", "certificate_shared"]);
    scene.mend(check, &lacking)
}

fn tls(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "TLS";
    let survey = scene.survey(|one| {
        let (carried, topic) = inbound(one);
        Some((carried.tls_version, carried.identity_due, topic))
    });
    let Some(lacking) = survey.lacking() else {
        return survey.ok(SUBJECT, "inbound records say by which version of it");
    };
    let text = format!("its version is {} inbound records of {}", how_many(&lacking), lacking.whom());
    let check = Check::warn(SUBJECT, text)
        .advise("send its version, cipher and server name")
        .blind_to(&["tls_version_downgrade", "mtls_downgrade"]);
    scene.mend(check, &lacking)
}

/// On how many records something is that should be on all.
fn how_many(lacking: &Concerned) -> String {
    if band(lacking.part, lacking.of) == Some(Band::Missing) {
        return "missing on".to_owned();
    }
    format!("only on {} of the", percent(lacking.part, lacking.of))
}
