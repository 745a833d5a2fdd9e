//! Snippets that make proxies send what is missing, one file each. `tests/real_envoy` has a real Envoy read its own.

use crate::cli::Mesh;

/// A piece of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snippet {
    /// `mesh/what`.
    pub(crate) name: &'static str,
    /// YAML, its first line a comment that says where it belongs.
    pub(crate) yaml: &'static str,
}

/// What a snippet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Access logs of both sides.
    AccessLogs,
    /// What records of answered calls carry.
    Inbound,
    /// What records of calls that were made carry.
    Outbound,
    /// Refused handshakes.
    Connections,
    /// Spans, with identities and without sampling.
    Spans,
    /// Counters.
    Metrics,
    /// A Collector on the way that samples or drops.
    OnTheWay,
}

macro_rules! snippet {
    ($name:literal) => {
        Snippet { name: $name, yaml: include_str!(concat!($name, ".yaml")) }
    };
}

const CLUSTER: Snippet = snippet!("envoy/cluster");
const INBOUND: Snippet = snippet!("envoy/access_log_inbound");
const OUTBOUND: Snippet = snippet!("envoy/access_log_outbound");
const CONNECTIONS: Snippet = snippet!("envoy/connection_log");
const TRACING: Snippet = snippet!("envoy/tracing");
const METRICS: Snippet = snippet!("envoy/metrics");
const PROVIDERS: Snippet = snippet!("istio/providers");
const TELEMETRY: Snippet = snippet!("istio/telemetry");
const ISTIO_METRICS: Snippet = snippet!("istio/metrics");
const VALUES: Snippet = snippet!("linkerd/values");
const LINKERD_COLLECTOR: Snippet = snippet!("linkerd/collector");
const PIPELINE: Snippet = snippet!("collector/pipeline");

/// What to apply, in that order.
pub(crate) fn mending(topic: Topic, mesh: Mesh) -> Vec<Snippet> {
    match (mesh, topic) {
        (_, Topic::OnTheWay) => vec![PIPELINE],
        (Mesh::Envoy, Topic::AccessLogs) => vec![CLUSTER, INBOUND, OUTBOUND],
        (Mesh::Envoy, Topic::Inbound) => vec![INBOUND],
        (Mesh::Envoy, Topic::Outbound) => vec![OUTBOUND],
        (Mesh::Envoy, Topic::Connections) => vec![CONNECTIONS],
        (Mesh::Envoy, Topic::Spans) => vec![TRACING],
        (Mesh::Envoy, Topic::Metrics) => vec![METRICS],
        (Mesh::Istio, Topic::Metrics) => vec![ISTIO_METRICS],
        (Mesh::Istio, _) => vec![PROVIDERS, TELEMETRY],
        (Mesh::Linkerd, Topic::Metrics | Topic::Outbound) => vec![LINKERD_COLLECTOR],
        (Mesh::Linkerd, _) => vec![VALUES, LINKERD_COLLECTOR],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: [Topic; 7] = [
        Topic::AccessLogs,
        Topic::Inbound,
        Topic::Outbound,
        Topic::Connections,
        Topic::Spans,
        Topic::Metrics,
        Topic::OnTheWay,
    ];

    #[test]
    fn every_topic_has_its_snippets_and_each_is_yaml_that_says_where_it_belongs() {
        for topic in TOPICS {
            for mesh in [Mesh::Envoy, Mesh::Istio, Mesh::Linkerd] {
                let snippets = mending(topic, mesh);
                assert!(!snippets.is_empty());
                for snippet in snippets {
                    assert!(snippet.yaml.starts_with("# "), "{}", snippet.name);
                    let parsed: serde_json::Value = serde_saphyr::from_str(snippet.yaml).unwrap();
                    assert!(parsed.as_object().is_some_and(|keys| !keys.is_empty()), "{}", snippet.name);
                    assert!(snippet.yaml.lines().all(|line| line.len() <= 140), "{}", snippet.name);
                }
            }
        }
    }
}
