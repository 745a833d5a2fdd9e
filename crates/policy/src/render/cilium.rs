//! Cilium: deny rules by the identity of pods, with the default left as it is (a policy with rules would else
//! turn its pods to deny everything that no rule allows).

use selvedge_model::{Caller, Cut, Place};

use super::object::{check_trust_domain, check_workload, match_labels, metadata, service_account};
use super::{Draft, Named, RenderContext};
use crate::yaml::{Yaml, map, text, texts, write_documents};

pub(super) fn render(draft: &mut Draft<'_>, context: &RenderContext) -> String {
    let quarantine = draft.quarantine;
    draft.refuse_shadow("Cilium's audit mode is not a policy's but the whole agent's");
    let mut documents = Vec::new();
    for cut in &quarantine.cuts {
        check(draft, cut, context);
        let rules = rules(cut);
        documents.push(map([
            ("apiVersion", text("cilium.io/v2")),
            ("kind", text("CiliumNetworkPolicy")),
            ("metadata", metadata(quarantine, context, documents.len(), Some(&cut.workload.namespace), &[])),
            (
                "spec",
                map([
                    ("endpointSelector", match_labels(context, &cut.workload.workload)),
                    (
                        "enableDefaultDeny",
                        map([("ingress", Yaml::Bool(false)), ("egress", Yaml::Bool(false))]),
                    ),
                    rules,
                ]),
            ),
        ]));
    }
    draft.note("refuses every protocol and port, by which pod sends, not by which certificate it shows");
    write_documents(&documents)
}

fn rules(cut: &Cut) -> (&'static str, Yaml) {
    let rule = match (&cut.place, &cut.caller) {
        (Place::Outbound, _) => ("egressDeny", map([("toEntities", texts(["all"]))])),
        (Place::Inbound, Caller::Principal(principal)) => {
            let (namespace, account) = service_account(principal).unwrap_or_default();
            let labels = map([
                ("k8s:io.kubernetes.pod.namespace", text(namespace)),
                ("k8s:io.cilium.k8s.policy.serviceaccount", text(account)),
            ]);
            ("ingressDeny", map([("fromEndpoints", Yaml::List(vec![map([("matchLabels", labels)])]))]))
        }
        // Refused before: an empty list selects nobody.
        (Place::Inbound, _) => ("ingressDeny", map([("fromEndpoints", Yaml::List(Vec::new()))])),
    };
    (rule.0, Yaml::List(vec![rule.1]))
}

fn check(draft: &mut Draft<'_>, cut: &Cut, context: &RenderContext) {
    check_workload(draft, cut);
    if !cut.operations.is_empty() {
        draft.refuse(format!(
            "{}: deny rules have no methods and paths, so it would refuse everything",
            Named(cut)
        ));
    }
    if !cut.hosts.is_empty() {
        draft.refuse(format!("{}: deny rules have no host names (toFQDNs only allows)", Named(cut)));
    }
    match (&cut.place, &cut.caller) {
        (Place::Inbound, Caller::Principal(principal)) if service_account(principal).is_none() => {
            let reason = "the identity is not of the form spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT";
            draft.refuse(format!("{}: {reason}, so no label of a pod is known", Named(cut)));
        }
        (Place::Inbound, Caller::Unauthenticated) => {
            draft.refuse(format!("{}: Cilium knows pods, not whether they proved an identity", Named(cut)));
        }
        (Place::Inbound, Caller::Local) => {
            draft.refuse(format!("{}: the workload itself is no caller of its own", Named(cut)));
        }
        (Place::Outbound, Caller::Local) => {
            draft.note(
                "cuts everything that leaves the pods, DNS among it, not only what goes through the proxy",
            );
        }
        (Place::Outbound, _) => draft.refuse(format!("{} names a caller", Named(cut))),
        (Place::Inbound, Caller::Principal(principal)) => check_trust_domain(draft, cut, principal, context),
    }
}
