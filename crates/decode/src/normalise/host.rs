//! Where a call went, by the proxy's cluster name or by a host name: a service of the mesh, or outside.

use std::borrow::Cow;
use std::net::IpAddr;

use super::identity::Name;

/// What a cluster or host name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// A service of the mesh.
    Mesh(Name<'a>),
    /// A host outside, in lower case and without its port.
    Outside(Cow<'a, str>),
    /// The proxy let it pass without knowing where it goes; only the client's word (`authority`) names it.
    Unrouted,
    /// Says nothing.
    Nowhere,
}

/// Envoy's, Istio's and Consul's clusters for destinations that nobody configured.
const UNROUTED: [&str; 4] = ["PassthroughCluster", "BlackHoleCluster", "original-destination", "passthrough"];

/// Where a proxy's cluster leads. Istio: `outbound|80|subset|host`; Consul: `svc.ns.dc.internal.td.consul` with
/// optional subset and partition; plain Envoy: any name that the operator gave.
pub(crate) fn place_of_cluster(cluster: &str) -> Place<'_> {
    if UNROUTED.contains(&cluster) {
        return Place::Unrouted;
    }
    if is_inbound(cluster) {
        return Place::Nowhere;
    }
    if let Some(host) = cluster.strip_prefix("outbound|").and_then(|rest| rest.splitn(3, '|').nth(2)) {
        return place_of_host(host);
    }
    if let Some(name) = consul_name(cluster) {
        return Place::Mesh(name);
    }
    if cluster.contains('.') {
        return place_of_host(cluster);
    }
    Place::Mesh(Name { namespace: "", workload: cluster })
}

/// True for clusters that lead to the proxy's own workload.
pub(crate) fn is_inbound(cluster: &str) -> bool {
    cluster.starts_with("inbound|") || cluster.starts_with("InboundPassthrough") || cluster == "local_app"
}

/// What a host name stands for: Kubernetes service names are in the mesh, `.local` names and single labels too;
/// names with a public suffix are outside; bare addresses and `localhost` say nothing.
pub(crate) fn place_of_host(host: &str) -> Place<'_> {
    let host = bare_host(host);
    if host.is_empty() || host == "localhost" || host.parse::<IpAddr>().is_ok() {
        return Place::Nowhere;
    }
    let Some((first, rest)) = host.split_once('.') else {
        return Place::Mesh(Name { namespace: "", workload: host });
    };
    if let Some(name) = kubernetes_name(host) {
        return Place::Mesh(name);
    }
    if rest == "local" || rest.ends_with(".local") {
        return Place::Mesh(Name { namespace: "", workload: first });
    }
    Place::Outside(lower(host))
}

/// The host of an authority or address for display: without port and brackets, in lower case.
pub(crate) fn outside_host(authority: &str) -> Cow<'_, str> {
    lower(bare_host(authority))
}

fn lower(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// Without user, port, brackets of an IPv6 address, and the root's dot.
fn bare_host(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or("");
    }
    let host = match host.split_once(':') {
        // More than one colon: an IPv6 address without brackets.
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// `[pod.]service.namespace.svc[.domain]`.
fn kubernetes_name(host: &str) -> Option<Name<'_>> {
    let service = match host.find(".svc.") {
        Some(at) => &host[..at],
        None => host.strip_suffix(".svc")?,
    };
    let (service, namespace) = service.rsplit_once('.')?;
    let workload = service.rsplit_once('.').map_or(service, |(_, service)| service);
    Some(Name { namespace, workload })
}

/// `[subset.]service.namespace.dc.internal.<trust domain>.consul`; with a partition before the datacenter and
/// `internal-v1`; with a peer in place of the datacenter and `external`.
fn consul_name(cluster: &str) -> Option<Name<'_>> {
    let labels = cluster.strip_suffix(".consul")?;
    let (mark_at, service_length) = [("internal", 3), ("internal-v1", 4), ("external", 3)]
        .into_iter()
        .find_map(|(mark, length)| Some((labels.split('.').position(|label| label == mark)?, length)))?;
    let mut service = labels.split('.').skip(mark_at.checked_sub(service_length)?);
    let (workload, namespace) = (service.next()?, service.next()?);
    Some(Name { namespace, workload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh<'a>(namespace: &'a str, workload: &'a str) -> Place<'a> {
        Place::Mesh(Name { namespace, workload })
    }

    #[test]
    fn clusters_of_every_mesh_lead_somewhere() {
        let cases = [
            ("outbound|80||cart.front.svc.cluster.local", mesh("front", "cart")),
            ("outbound|80|v2|cart.front.svc.cluster.local", mesh("front", "cart")),
            ("outbound|80||cart", mesh("", "cart")),
            ("outbound|443||api.files.example", Place::Outside("api.files.example".into())),
            ("inbound|8080||", Place::Nowhere),
            ("InboundPassthroughCluster", Place::Nowhere),
            ("local_app", Place::Nowhere),
            ("PassthroughCluster", Place::Unrouted),
            ("BlackHoleCluster", Place::Unrouted),
            ("cart.front.east.internal.9a.consul", mesh("front", "cart")),
            ("v2.cart.front.east.internal.9a.consul", mesh("front", "cart")),
            ("cart.front.blue.east.internal-v1.9a.consul", mesh("front", "cart")),
            ("v2.cart.front.blue.east.internal-v1.9a.consul", mesh("front", "cart")),
            ("cart.front.partner.external.9a.consul", mesh("front", "cart")),
            ("cart_cluster", mesh("", "cart_cluster")),
        ];
        for (cluster, expected) in cases {
            assert_eq!(place_of_cluster(cluster), expected, "{cluster}");
        }
    }

    #[test]
    fn hosts_are_in_the_mesh_or_outside_or_say_nothing() {
        let cases = [
            ("cart", mesh("", "cart")),
            ("cart:8080", mesh("", "cart")),
            ("cart.front.svc", mesh("front", "cart")),
            ("cart-0.cart.front.svc.cluster.local:80", mesh("front", "cart")),
            ("printer.local", mesh("", "printer")),
            ("API.Files.Example.:443", Place::Outside("api.files.example".into())),
            ("10.0.0.7:80", Place::Nowhere),
            ("[::1]:80", Place::Nowhere),
            ("fe80::1", Place::Nowhere),
            ("localhost:3000", Place::Nowhere),
            ("", Place::Nowhere),
        ];
        for (host, expected) in cases {
            assert_eq!(place_of_host(host), expected, "{host}");
        }
        assert_eq!(outside_host("Files.Example:8443"), "files.example");
    }
}
