//! Which workload a proxy belongs to, by its own word.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::protobuf::value::Kind;

use super::registry::cut;

/// Bytes that are kept of a name; Kubernetes names have at most 253.
pub(crate) const NAME_BYTES_MAX: usize = 256;

/// The workload of a proxy. Empty names are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Cluster; a cut without one, or a proxy without one, is taken to be of the other's.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Workload.
    pub workload: String,
}

impl Workload {
    /// The workload of an xDS node, by the first of these that names one:
    ///
    /// 1. metadata `WORKLOAD_NAME` with `NAMESPACE`, as Istio writes them;
    /// 2. `node.cluster` as `workload.namespace` (the last dot counts: a namespace has none);
    /// 3. `node.id`, likewise, when it is no more than that (not Istio's `sidecar~ip~pod~domain`).
    ///
    /// The cluster is metadata `CLUSTER_ID`. `workload` is empty when nothing names one: such a proxy gets filters
    /// without rules.
    #[must_use]
    pub fn of_node(node: &Node) -> Self {
        let metadata = |key: &str| match node.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
            Kind::StringValue(text) if !text.is_empty() => Some(cut(text, NAME_BYTES_MAX)),
            _ => None,
        };
        let cluster = metadata("CLUSTER_ID").unwrap_or_default();
        let dotted = |text: &str| {
            let (workload, namespace) = text.rsplit_once('.')?;
            let named = !workload.is_empty() && !namespace.is_empty() && !text.contains('~');
            named.then(|| (cut(workload, NAME_BYTES_MAX), cut(namespace, NAME_BYTES_MAX)))
        };
        let (workload, namespace) = metadata("WORKLOAD_NAME")
            .zip(metadata("NAMESPACE"))
            .or_else(|| dotted(&node.cluster))
            .or_else(|| dotted(&node.id))
            .unwrap_or_default();
        Self { cluster, namespace, workload }
    }

    /// True when a cut at `other` is a cut at this workload.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same_cluster =
            self.cluster.is_empty() || other.cluster.is_empty() || self.cluster == other.cluster;
        same_cluster && self.namespace == other.namespace && self.workload == other.workload
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::{Struct, Value};

    use super::*;

    fn node(id: &str, cluster: &str, metadata: &[(&str, &str)]) -> Node {
        let value = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
        let fields = metadata.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect();
        let metadata = Some(Struct { fields });
        Node { id: id.to_owned(), cluster: cluster.to_owned(), metadata, ..Node::default() }
    }

    #[test]
    fn metadata_names_the_workload_before_the_cluster_field_and_that_before_the_id() {
        let istio = &[("WORKLOAD_NAME", "cart"), ("NAMESPACE", "front"), ("CLUSTER_ID", "east")][..];
        let sidecar = "sidecar~10.0.0.7~cart-0.front~front.svc.cluster.local";
        let table = [
            (node(sidecar, "x.y", istio), ("east", "front", "cart")),
            (node(sidecar, "x.y", &istio[..1]), ("", "y", "x")),
            (node("a.b", "cart-v1.2.front", &[]), ("", "front", "cart-v1.2")),
            (node("cart.front", "plain", &[("CLUSTER_ID", "east")]), ("east", "front", "cart")),
            (node(sidecar, "", &[]), ("", "", "")),
            (node("", ".front", &[("WORKLOAD_NAME", ""), ("NAMESPACE", "front")]), ("", "", "")),
        ];
        for (node, (cluster, namespace, workload)) in table {
            let expected = Workload {
                cluster: cluster.to_owned(),
                namespace: namespace.to_owned(),
                workload: workload.to_owned(),
            };
            assert_eq!(Workload::of_node(&node), expected, "{} {}", node.id, node.cluster);
        }
    }
}
