//! Istio's `downstream_peer` and `upstream_peer` filter state: what proxies told each other about their workloads.
//!
//! Three spellings are in use: a JSON object or `key=value` pairs with `workload`, `namespace`, `cluster`; baggage
//! with `k8s.*` names; and the older `WORKLOAD_NAME`, `NAMESPACE`, `CLUSTER_ID`.

/// Text beyond this is not looked at; the labels in it can be many.
const LENGTH_MAX: usize = 4096;

/// The names in a peer's metadata; those not given are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerMetadata<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) workload: &'a str,
}

/// Reads a peer's metadata; what is not understood gives no names.
pub(crate) fn parse(text: &str) -> PeerMetadata<'_> {
    let text = super::reading::cut(text, LENGTH_MAX).trim().trim_start_matches('{').trim_end_matches('}');
    let mut metadata = PeerMetadata::default();
    for pair in text.split(',') {
        let Some((key, value)) = pair.split_once(['=', ':']) else { continue };
        let value = value.trim().trim_matches('"');
        let slot = match key.trim().trim_matches('"') {
            "workload"
            | "WORKLOAD_NAME"
            | "k8s.deployment.name"
            | "k8s.statefulset.name"
            | "k8s.daemonset.name"
            | "k8s.job.name"
            | "k8s.cronjob.name" => &mut metadata.workload,
            "namespace" | "NAMESPACE" | "k8s.namespace.name" => &mut metadata.namespace,
            "cluster" | "CLUSTER_ID" | "k8s.cluster.name" => &mut metadata.cluster,
            _ => continue,
        };
        if slot.is_empty() {
            *slot = value;
        }
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_gives_the_same_names() {
        let expected = PeerMetadata { cluster: "east", namespace: "front", workload: "web" };
        for text in [
            r#"{"type":"deployment", "workload":"web","namespace":"front","cluster":"east","labels":{"a":"b"}}"#,
            "type=deployment,workload=web,name=web-0,namespace=front,cluster=east",
            "k8s.deployment.name=web,k8s.namespace.name=front,k8s.cluster.name=east,service.name=x",
            r#"{"WORKLOAD_NAME":"web","NAMESPACE":"front","CLUSTER_ID":"east"}"#,
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(parse("CAESDg=="), PeerMetadata::default());
    }
}
