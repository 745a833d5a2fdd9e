//! Linkerd has no deny. What stands for it is the list of those who are allowed: everyone who normally calls,
//! minus the culprit. That refuses strangers too, so it is only written when nobody else would be cut.

use std::collections::BTreeSet;

use selvedge_learn::{principal_namespace, principal_service_account, trust_domain};
use selvedge_model::{Caller, Cut, Place, QuarantineState};

use super::object::{check_workload, match_labels, metadata};
use super::{Draft, Named, RenderContext};
use crate::traffic::TrafficRow;
use crate::yaml::{Yaml, map, text, texts, write_documents};

const POLICY_GROUP: &str = "policy.linkerd.io";

pub(super) fn render(draft: &mut Draft<'_>, context: &RenderContext, observed: &[TrafficRow]) -> String {
    let quarantine = draft.quarantine;
    let mut workloads: Vec<(&str, &str)> = Vec::new();
    for cut in &quarantine.cuts {
        check(draft, cut);
        let workload = (cut.workload.namespace.as_str(), cut.workload.workload.as_str());
        if !workloads.contains(&workload) {
            workloads.push(workload);
        }
    }
    if context.port.is_none() {
        draft.refuse("a Server names a port, and the workload's port is not known");
    }
    let mut documents = Vec::new();
    for (number, (namespace, workload)) in workloads.into_iter().enumerate() {
        let here = |cut: &&Cut| cut.workload.namespace == namespace && cut.workload.workload == workload;
        let cuts: Vec<&Cut> = quarantine.cuts.iter().filter(here).collect();
        let rows = observed.iter().filter(|row| {
            let to = &row.destination;
            !row.external && to.namespace == namespace && to.workload == workload
        });
        let allowed = allowed(draft, &cuts, rows);
        documents.extend(objects(draft, context, number, (namespace, workload), &allowed));
    }
    draft.note("an existing Server of the same pods and port must be replaced: two that overlap are refused");
    draft.note("probes of the kubelet stay allowed as long as no HTTPRoute is attached to the Server");
    draft.note("other clients without an identity, such as scrapers outside the mesh, are refused");
    draft.note("callers that never called while traffic was recorded are refused too");
    write_documents(&documents)
}

fn check(draft: &mut Draft<'_>, cut: &Cut) {
    check_workload(draft, cut);
    if cut.place == Place::Outbound || cut.caller == Caller::Local {
        draft.refuse(format!("{}: Linkerd's policies are for what comes in", Named(cut)));
    }
    if !cut.operations.is_empty() {
        let reason = "an allow list of the whole port would refuse every method and path";
        draft.refuse(format!("{}: {reason}", Named(cut)));
    }
}

/// The identities that normally call, in Linkerd's form. Refuses when others would be cut with the culprits.
fn allowed<'r>(
    draft: &mut Draft<'_>,
    cuts: &[&Cut],
    rows: impl Iterator<Item = &'r TrafficRow>,
) -> BTreeSet<String> {
    let unauthenticated = cuts.iter().any(|cut| cut.caller == Caller::Unauthenticated);
    let culprit = |identity: &str| {
        cuts.iter().any(|cut| match &cut.caller {
            Caller::Principal(principal) => linkerd_identity(principal).as_deref() == Some(identity),
            Caller::Unauthenticated | Caller::Local => false,
        })
    };
    let (mut allowed, mut strangers) = (BTreeSet::new(), 0_u64);
    let mut seen = false;
    for row in rows.filter(|row| row.normal) {
        seen = true;
        let proven = row.authenticated != Some(false);
        match linkerd_identity(&row.source.principal).filter(|_| proven) {
            Some(identity) if culprit(&identity) => {}
            Some(identity) => {
                allowed.insert(identity);
            }
            None if unauthenticated && !proven => {}
            None => strangers += row.calls,
        }
    }
    if !seen {
        draft.refuse("nobody was seen calling the workload normally: an allow list would refuse everyone");
    }
    if strangers > 0 {
        draft.refuse(format!(
            "{strangers} normal calls came without an identity that an allow list could hold"
        ));
    }
    allowed
}

/// `ACCOUNT.NAMESPACE.serviceaccount.identity.CONTROL-PLANE.DOMAIN`; an identity of that form is itself.
fn linkerd_identity(principal: &str) -> Option<String> {
    let (namespace, account) = (principal_namespace(principal)?, principal_service_account(principal)?);
    let domain = trust_domain(principal)?;
    let control_plane = if principal.starts_with("spiffe://") { "linkerd." } else { "" };
    Some(format!("{account}.{namespace}.serviceaccount.identity.{control_plane}{domain}"))
}

fn objects(
    draft: &Draft<'_>,
    context: &RenderContext,
    number: usize,
    (namespace, workload): (&str, &str),
    allowed: &BTreeSet<String>,
) -> Vec<Yaml> {
    let quarantine = draft.quarantine;
    let meta = || metadata(quarantine, context, number, Some(namespace), &[]);
    let name = if number == 0 { quarantine.id.clone() } else { format!("{}-{}", quarantine.id, number + 1) };
    // The policy of a port that no list allows: refuse, or only report.
    let access = if quarantine.state == QuarantineState::Shadow { "audit" } else { "deny" };
    let server = map([
        ("apiVersion", text(format!("{POLICY_GROUP}/v1beta3"))),
        ("kind", text("Server")),
        ("metadata", meta()),
        (
            "spec",
            map([
                ("podSelector", match_labels(context, workload)),
                ("port", Yaml::Number(u64::from(context.port.unwrap_or_default()))),
                ("accessPolicy", text(access)),
            ]),
        ),
    ]);
    if allowed.is_empty() {
        return vec![server];
    }
    let authentication = map([
        ("apiVersion", text(format!("{POLICY_GROUP}/v1alpha1"))),
        ("kind", text("MeshTLSAuthentication")),
        ("metadata", meta()),
        ("spec", map([("identities", texts(allowed))])),
    ]);
    let reference = |kind: &str| {
        map([("group", text(POLICY_GROUP)), ("kind", text(kind)), ("name", text(name.as_str()))])
    };
    let authorization = map([
        ("apiVersion", text(format!("{POLICY_GROUP}/v1alpha1"))),
        ("kind", text("AuthorizationPolicy")),
        ("metadata", meta()),
        (
            "spec",
            map([
                ("targetRef", reference("Server")),
                ("requiredAuthenticationRefs", Yaml::List(vec![reference("MeshTLSAuthentication")])),
            ]),
        ),
    ]);
    vec![server, authentication, authorization]
}
