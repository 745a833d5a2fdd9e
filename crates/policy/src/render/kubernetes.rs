//! Kubernetes `ClusterNetworkPolicy` (`policy.networking.k8s.io/v1alpha2`): a true deny between pods, before
//! every `NetworkPolicy`.

use selvedge_model::{Caller, Cut, Endpoint, Place, Quarantine};

use super::object::{check_workload, is_label_value, is_namespace, match_labels, metadata};
use super::{Draft, Named, RenderContext};
use crate::yaml::{Yaml, map, text, write_documents};

/// Rules of one policy (the API's limit).
const RULES_MAX: usize = 25;
/// Lower numbers win; a quarantine must not lose to an older Accept.
const PRIORITY: u64 = 0;

pub(super) fn render(draft: &mut Draft<'_>, context: &RenderContext) -> String {
    let quarantine = draft.quarantine;
    draft.refuse_shadow("there is no dry run");
    let mut documents = Vec::new();
    for cut in &quarantine.cuts {
        check(draft, cut);
        let peers: Vec<Yaml> =
            callers(quarantine, cut).into_iter().map(|caller| pods(context, caller)).collect();
        let (direction, rule) = match cut.place {
            Place::Inbound => ("ingress", vec![("from", Yaml::List(peers))]),
            Place::Outbound => ("egress", vec![("to", everywhere())]),
        };
        let mut entries =
            vec![("name".to_owned(), text(quarantine.id.as_str())), ("action".to_owned(), text("Deny"))];
        entries.extend(rule.into_iter().map(|(key, value)| (key.to_owned(), value)));
        documents.push(map([
            ("apiVersion", text("policy.networking.k8s.io/v1alpha2")),
            ("kind", text("ClusterNetworkPolicy")),
            ("metadata", metadata(quarantine, context, documents.len(), None, &[])),
            (
                "spec",
                map([
                    ("tier", text("Admin")),
                    ("priority", Yaml::Number(PRIORITY)),
                    ("subject", pods(context, &cut.workload)),
                    (direction, Yaml::List(vec![Yaml::Map(entries)])),
                ]),
            ),
        ]));
    }
    draft.note("refuses every protocol and port, by the labels of pods, not by the certificate they show");
    draft.note("the API must be served (v1alpha2) and the network plugin must implement it");
    write_documents(&documents)
}

/// The workloads that showed the principal in the traffic the quarantine was tried on: pods have no principal.
pub(super) fn callers<'q>(quarantine: &'q Quarantine, cut: &Cut) -> Vec<&'q Endpoint> {
    let Caller::Principal(principal) = &cut.caller else { return Vec::new() };
    let mut found: Vec<&Endpoint> = Vec::new();
    for caller in quarantine.backtest.callers.iter().map(|caller| &caller.caller) {
        let known = found
            .iter()
            .any(|other| other.namespace == caller.namespace && other.workload == caller.workload);
        if caller.principal == *principal && !caller.workload.is_empty() && !known {
            found.push(caller);
        }
    }
    found
}

fn check(draft: &mut Draft<'_>, cut: &Cut) {
    check_workload(draft, cut);
    if !cut.operations.is_empty() {
        draft.refuse(format!("{}: it knows no methods and paths, so it would refuse everything", Named(cut)));
    }
    if !cut.hosts.is_empty() {
        draft.refuse(format!("{}: domain names can only be accepted, not denied", Named(cut)));
    }
    match (&cut.place, &cut.caller) {
        (Place::Inbound, Caller::Principal(_)) => check_callers(draft, cut),
        (Place::Inbound, Caller::Unauthenticated) => {
            draft.refuse(format!("{}: it knows pods, not whether they proved an identity", Named(cut)));
        }
        (Place::Outbound, Caller::Local) => {
            draft.note(
                "cuts everything that leaves the pods, DNS among it, not only what goes through the proxy",
            );
        }
        _ => draft.refuse(format!("{} names a caller that pods cannot be selected by", Named(cut))),
    }
}

fn check_callers(draft: &mut Draft<'_>, cut: &Cut) {
    let callers = callers(draft.quarantine, cut);
    if callers.is_empty() {
        draft.refuse(format!("{}: which pods have the identity was not seen in the backtest", Named(cut)));
    }
    if callers.iter().any(|caller| !is_namespace(&caller.namespace) || !is_label_value(&caller.workload)) {
        draft.refuse(format!("{}: a caller has a name that no label could hold", Named(cut)));
    }
    if callers.len() > RULES_MAX {
        draft.refuse(format!("{}: more than {RULES_MAX} workloads have the identity", Named(cut)));
    }
}

/// Pods of one workload.
fn pods(context: &RenderContext, workload: &Endpoint) -> Yaml {
    let namespace = map([("kubernetes.io/metadata.name", text(workload.namespace.as_str()))]);
    map([(
        "pods",
        map([
            ("namespaceSelector", map([("matchLabels", namespace)])),
            ("podSelector", match_labels(context, &workload.workload)),
        ]),
    )])
}

/// Every pod and every address.
fn everywhere() -> Yaml {
    let networks = crate::yaml::texts(["0.0.0.0/0", "::/0"]);
    Yaml::List(vec![map([("namespaces", map([]))]), map([("networks", networks)])])
}
