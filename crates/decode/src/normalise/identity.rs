//! Names out of verified identities, pods and proxy nodes: only a fallback, until the engine's directory knows which
//! workload carries which identity.

/// A namespace and a workload, either of which may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) workload: &'a str,
}

/// What Linkerd puts between the namespace and the trust domain of an identity.
const LINKERD_MARK: &str = ".serviceaccount.identity.";

/// The workload that a principal speaks for, as its own text says it:
/// `spiffe://td/ns/N/sa/S` (Istio), `spiffe://td/ns/N/dc/D/svc/S` (Consul), `S.N.serviceaccount.identity.td`
/// (Linkerd), the last segment of any other SPIFFE path, and the whole text of anything else.
pub(crate) fn name_of_principal(principal: &str) -> Name<'_> {
    let spiffe = principal.strip_prefix("spiffe://");
    if spiffe.is_none()
        && let Some((account, _)) = principal.split_once(LINKERD_MARK)
    {
        let (workload, namespace) = account.split_once('.').unwrap_or((account, ""));
        return Name { namespace, workload };
    }
    let path = spiffe.unwrap_or(principal).split_once('/').map_or("", |(_, path)| path);
    let (mut namespace, mut workload) = ("", "");
    let mut segments = path.split('/');
    while let Some(segment) = segments.next() {
        match segment {
            "ns" => namespace = segments.next().unwrap_or(""),
            "sa" | "svc" => workload = segments.next().unwrap_or(""),
            "dc" | "ap" => _ = segments.next(),
            _ => {}
        }
    }
    if !workload.is_empty() {
        return Name { namespace, workload };
    }
    let last = path.rsplit('/').find(|segment| !segment.is_empty());
    match (spiffe, last) {
        (Some(_), Some(workload)) => Name { namespace, workload },
        _ => Name { namespace: "", workload: principal },
    }
}

/// Pod and namespace of an Istio node id: `sidecar~10.0.0.7~web-0.front~front.svc.cluster.local`.
pub(crate) fn name_of_node(node: &str) -> Option<Name<'_>> {
    let instance = node.split('~').nth(2)?;
    let (pod, namespace) = instance.rsplit_once('.')?;
    Some(Name { namespace, workload: workload_of_pod(pod) })
}

/// The workload's name inside its pod's: without a stateful set's ordinal, without the hashes that deployments and
/// daemon sets append. Kubernetes draws the random part from an alphabet without vowels, so names survive.
pub(crate) fn workload_of_pod(pod: &str) -> &str {
    let Some((rest, last)) = pod.rsplit_once('-') else { return pod };
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return rest;
    }
    if last.len() != 5 || !is_random(last) {
        return pod;
    }
    match rest.rsplit_once('-') {
        Some((workload, hash)) if (8..=10).contains(&hash.len()) && is_random(hash) => workload,
        _ => rest,
    }
}

/// The hash of the template that a deployment's pod was made of; a pod of anything else has none.
pub(crate) fn template_hash_of_pod(pod: &str) -> Option<&str> {
    let (replica_set, last) = pod.rsplit_once('-')?;
    if last.len() != 5 || !is_random(last) { None } else { template_hash_of_replica_set(replica_set) }
}

/// The same of a deployment's replica set. A cron job's runs have a number in its place.
pub(crate) fn template_hash_of_replica_set(replica_set: &str) -> Option<&str> {
    let (_, hash) = replica_set.rsplit_once('-')?;
    let number = hash.bytes().all(|byte| byte.is_ascii_digit());
    ((8..=10).contains(&hash.len()) && is_random(hash) && !number).then_some(hash)
}

fn is_random(text: &str) -> bool {
    text.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_of_every_mesh_name_a_workload() {
        let cases = [
            ("spiffe://mesh.example/ns/front/sa/web", "front", "web"),
            ("mesh.example/ns/front/sa/web", "front", "web"),
            ("spiffe://9a.consul/ns/default/dc/east/svc/cart", "default", "cart"),
            ("spiffe://9a.consul/ap/blue/ns/default/dc/east/svc/cart", "default", "cart"),
            ("web.front.serviceaccount.identity.linkerd.cluster.local", "front", "web"),
            ("spiffe://mesh.example/env/prod/ledger", "", "ledger"),
            ("spiffe://mesh.example/ns/front", "front", "front"),
            ("spiffe://mesh.example", "", "spiffe://mesh.example"),
            ("CN=ledger,O=web", "", "CN=ledger,O=web"),
        ];
        for (principal, namespace, workload) in cases {
            assert_eq!(name_of_principal(principal), Name { namespace, workload }, "{principal}");
        }
    }

    #[test]
    fn a_pods_name_gives_its_workloads() {
        for (pod, workload) in [
            ("web-0", "web"),
            ("web-7d4b9c6f5d-x2x4z", "web"),
            ("node-agent-k8x9z", "node-agent"),
            ("night-run", "night-run"),
            ("web", "web"),
        ] {
            assert_eq!(workload_of_pod(pod), workload, "{pod}");
        }
    }

    #[test]
    fn only_a_deployments_pod_has_the_hash_of_a_template() {
        assert_eq!(template_hash_of_pod("web-7d4b9c6f5d-x2x4z"), Some("7d4b9c6f5d"));
        assert_eq!(template_hash_of_replica_set("web-7d4b9c6f5d"), Some("7d4b9c6f5d"));
        for pod in
            ["web-0", "web", "node-agent-k8x9z", "night-28456789-x2x4z", "web-7d4b9c6f5d", "-x2x4z", ""]
        {
            assert_eq!(template_hash_of_pod(pod), None, "{pod}");
        }
    }

    #[test]
    fn a_node_id_names_pod_and_namespace() {
        let name = name_of_node("sidecar~10.0.0.7~web-0.front~front.svc.cluster.local");
        assert_eq!(name, Some(Name { namespace: "front", workload: "web" }));
        assert_eq!(name_of_node("node-1"), None);
    }
}
