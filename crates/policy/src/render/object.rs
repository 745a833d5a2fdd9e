//! What all Kubernetes objects of ours have in common: names, labels, annotations, selectors.

use selvedge_model::{Cut, Quarantine};

use super::{Draft, Named, RenderContext};
use crate::yaml::{Yaml, map, text};

/// Bytes of the annotation that lists the evidence.
const EVIDENCE_BYTES_MAX: usize = 4_096;

/// `metadata` of an object of a quarantine. `number` tells several objects of one quarantine apart, from 0.
pub(crate) fn metadata(
    quarantine: &Quarantine,
    context: &RenderContext,
    number: usize,
    namespace: Option<&str>,
    annotations: &[(&str, &str)],
) -> Yaml {
    let name = if number == 0 { quarantine.id.clone() } else { format!("{}-{}", quarantine.id, number + 1) };
    let mut entries = vec![("name".to_owned(), text(name))];
    entries.extend(namespace.map(|namespace| ("namespace".to_owned(), text(namespace))));
    entries.push((
        "labels".to_owned(),
        map([
            ("app.kubernetes.io/managed-by", text("selvedge")),
            ("selvedge.dev/incident", text(label_value(&quarantine.incident_id))),
        ]),
    ));
    let mut evidence = quarantine.evidence.join(",");
    if evidence.len() > EVIDENCE_BYTES_MAX {
        evidence.truncate(evidence.floor_char_boundary(EVIDENCE_BYTES_MAX));
        evidence.push_str(",...");
    }
    let ours = [
        ("selvedge.dev/expires-at", context.expires_at.as_str()),
        ("selvedge.dev/rendered-at", &context.now),
        ("selvedge.dev/reason", &quarantine.reason),
        ("selvedge.dev/evidence", &evidence),
    ];
    let annotations = annotations.iter().copied().chain(ours).filter(|(_, value)| !value.is_empty());
    let annotations = annotations.map(|(key, value)| (key.to_owned(), text(value))).collect();
    entries.push(("annotations".to_owned(), Yaml::Map(annotations)));
    Yaml::Map(entries)
}

/// The nearest text that a label may hold.
fn label_value(value: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let replaced = value.chars().map(|character| if allowed(character) { character } else { '_' });
    let cut: String = replaced.take(63).collect();
    cut.trim_matches(|edge: char| !edge.is_ascii_alphanumeric()).to_owned()
}

/// True for what Kubernetes takes as the value of a label.
pub(crate) fn is_label_value(value: &str) -> bool {
    !value.is_empty() && label_value(value) == value
}

/// True for what Kubernetes takes as the name of a namespace.
pub(crate) fn is_namespace(name: &str) -> bool {
    let inside = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    is_label_value(name) && inside
}

/// Refuses a cut whose workload no selector can name.
pub(crate) fn check_workload(draft: &mut Draft<'_>, cut: &Cut) {
    if !is_namespace(&cut.workload.namespace) {
        draft.refuse(format!("{} has no namespace that Kubernetes could know", Named(cut)));
    }
    if !is_label_value(&cut.workload.workload) {
        draft.refuse(format!("{} has no workload that a label could name", Named(cut)));
    }
}

/// `matchLabels` for a workload of one namespace.
pub(crate) fn match_labels(context: &RenderContext, workload: &str) -> Yaml {
    map([("matchLabels", map([(context.selector_label.as_str(), text(workload))]))])
}

/// Refuses an identity of another trust domain where only its name would be written: the same name in this mesh belongs
/// to somebody else, who would be cut instead.
pub(crate) fn check_trust_domain(draft: &mut Draft<'_>, cut: &Cut, principal: &str, context: &RenderContext) {
    let own = principal.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next());
    if context.trust_domain.is_empty() {
        draft
            .refuse(format!("{}: without the mesh's trust domain nobody knows whose name it is", Named(cut)));
    } else if own != Some(context.trust_domain.as_str()) {
        draft.refuse(format!("{}: the identity is of another trust domain than the mesh's", Named(cut)));
    }
}

/// The namespace and service account of a SPIFFE identity of Kubernetes' form, when it is exactly that.
pub(crate) fn service_account(principal: &str) -> Option<(&str, &str)> {
    let (_, path) = principal.strip_prefix("spiffe://")?.split_once('/')?;
    let (namespace, account) = path.strip_prefix("ns/")?.split_once("/sa/")?;
    (is_namespace(namespace) && is_label_value(account)).then_some((namespace, account))
}
