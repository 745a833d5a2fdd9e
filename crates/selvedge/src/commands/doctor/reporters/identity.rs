//! Who is named, and on whose word: identities of peers, of the reporter itself, and facts of TLS.

use selvedge_act::reporter_document::ReporterDocument;

use super::super::check::{Check, share as percent};
use super::super::snippets::Topic;
use super::{ALL_FROM, NONE_BELOW, Scene, has_name, inbound, outbound, share};

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
    let nameless = scene.reporters.iter().find(|one| !has_name(one));
    let records = nameless.map_or(0, |one| {
        one.spans.records() + one.access_logs.records() + one.connection_logs + one.metric_points
    });
    if records == 0 {
        return Check::ok("names", "every record says whose it is");
    }
    let check = Check::fail(
        "names",
        format!("{records} records do not say whose they are, and belong to no edge"),
    )
    .advise("name the workload: `service.name` and `service.namespace` as resource attributes, or as below")
    .blind_to(&["new_edge", "one_sided_call", "request_rate_high", "latency_high"]);
    check.mended_by(super::mending(Topic::AccessLogs, scene.mesh))
}

/// Whether a workload that lacks identities of callers is one whose callers have none: nobody in the mesh calls it.
fn is_gateway(one: &ReporterDocument) -> bool {
    one.calls_answered.both + one.calls_answered.client_only == 0 && inbound(one).0.tls_version > 0
}

fn callers(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "callers' identities";
    let lacking = |least: f64, most: f64| {
        scene.concerned(|one| {
            let (carried, topic) = inbound(one);
            let share = share(carried.peer_principal, carried.identity_due)?;
            let lacks = least <= share && share < most && !is_gateway(one);
            lacks.then_some((carried.peer_principal, carried.identity_due, topic))
        })
    };
    let advice = "send the peer's verified identity on inbound records";
    if let Some(none) = lacking(0.0, NONE_BELOW) {
        let text =
            format!("missing on inbound records of {} (on {} of {} there)", none.whom(), none.part, none.of);
        return scene.mend(Check::fail(SUBJECT, text).advise(advice).blind_to(CALLER_UNSEEN), &none);
    }
    if let Some(some) = lacking(NONE_BELOW, ALL_FROM) {
        let there = percent(some.part, some.of);
        let text = format!("on {there} of the inbound records of {} only", some.whom());
        let advice = "some replicas or listeners do not send it, or some callers have no certificate";
        return scene.mend(Check::warn(SUBJECT, text).advise(advice).blind_to(CALLER_UNSEEN), &some);
    }
    Check::ok(SUBJECT, "on inbound records, wherever a verified peer can be")
}

/// Without callers in the mesh nobody can tell whether identities are not sent or not there.
fn gateways(scene: &Scene<'_>) -> Option<Check> {
    let gateways = scene.concerned(|one| {
        let (carried, topic) = inbound(one);
        let share = share(carried.peer_principal, carried.identity_due)?;
        (share < NONE_BELOW && is_gateway(one)).then_some((0, 0, topic))
    })?;
    let text = format!("{}: nobody in the mesh calls them, and their callers are not named", gateways.whom());
    Some(
        Check::unknown("gateways", text)
            .advise("as it should be at an ingress gateway; elsewhere send the peer's verified identity"),
    )
}

fn callees(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "callees' identities";
    let lacking = scene.concerned(|one| {
        let (carried, topic) = outbound(one);
        let share = share(carried.peer_principal, carried.identity_due)?;
        (share < NONE_BELOW).then_some((carried.peer_principal, carried.identity_due, topic))
    });
    let Some(lacking) = lacking else {
        return Check::ok(SUBJECT, "on outbound records, wherever a verified peer can be");
    };
    let text = format!("missing on outbound records of {}", lacking.whom());
    let check = Check::warn(SUBJECT, text)
        .advise("send the upstream's verified identity: then both ends' word on who answered can be compared")
        .blind_to(&["identity_mismatch", "mtls_downgrade"]);
    scene.mend(check, &lacking)
}

fn own(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "own identities";
    let lacking = scene.concerned(|one| {
        let ((answered, topic), (made, _)) = (inbound(one), outbound(one));
        let own = answered.own_principal + made.own_principal;
        let due = answered.identity_due + made.identity_due;
        (share(own, due)? < NONE_BELOW).then_some((own, due, topic))
    });
    let Some(lacking) = lacking else {
        return Check::ok(SUBJECT, "workloads say under which identity they speak");
    };
    let text = format!("{} never say under which identity they speak", lacking.whom());
    let check = Check::warn(SUBJECT, text)
        .advise("send it on inbound records: it ties an identity to its workload, whatever the identity's text says")
        .blind_to(&["identity_mismatch", "certificate_shared"]);
    scene.mend(check, &lacking)
}

fn tls(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "TLS";
    let lacking = scene.concerned(|one| {
        let (carried, topic) = inbound(one);
        (share(carried.tls_version, carried.identity_due)? < NONE_BELOW).then_some((0, 0, topic))
    });
    let Some(lacking) = lacking else {
        return Check::ok(SUBJECT, "inbound records say by which version of it");
    };
    let check = Check::warn(
        SUBJECT,
        format!("inbound records of {} do not say by which version of it", lacking.whom()),
    )
    .advise("send its version, cipher and server name")
    .blind_to(&["tls_version_downgrade", "mtls_downgrade"]);
    scene.mend(check, &lacking)
}
