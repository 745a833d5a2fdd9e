//! The attribute names we understand, in every dialect, and the field each one fills.
//!
//! Sources: `envoy.md` 3.1-3.3 (Envoy's own names, the operators in `snake_case` and dotted), `ecosystem.md` 2.1-2.6
//! (Istio labels, access-log keys and span tags, Linkerd, Consul, ztunnel, OpenTelemetry old and new).
//! Several spellings fill one field where they mean the same; where `ecosystem.md` 2.6 gives an order, the names
//! have fields of their own and `normalise` takes the first that has a value.

macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident: $($name:literal),+;)+) => {
        /// What an attribute means to us.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Field {
            $($(#[$doc])* $field,)+
        }

        /// Number of fields.
        pub(crate) const FIELD_COUNT: usize = [$(Field::$field),+].len();

        /// Every name with its field.
        const NAMES: &[(&[u8], Field)] = &[$($(($name, Field::$field),)+)+];
    };
}

fields! {
    // Who reports: resource attributes, or labels of the record where one sender speaks for many.
    ServiceName: b"service.name";
    ServiceNamespace: b"service.namespace";
    ServiceInstance: b"service.instance.id";
    K8sDeployment: b"k8s.deployment.name", b"deployment";
    K8sStatefulSet: b"k8s.statefulset.name", b"statefulset";
    K8sDaemonSet: b"k8s.daemonset.name", b"daemonset";
    K8sJob: b"k8s.job.name";
    K8sCronJob: b"k8s.cronjob.name";
    K8sNamespace: b"k8s.namespace.name", b"namespace";
    K8sPod: b"k8s.pod.name", b"pod", b"reporter_pod";
    ClusterName: b"k8s.cluster.name", b"istio.cluster_id";
    IstioService: b"istio.canonical_service";
    IstioNamespace: b"istio.namespace";
    ReporterWorkload: b"reporter_workload", b"reporter.workload";
    ReporterNamespace: b"reporter_namespace", b"reporter.namespace";
    NodeId: b"node_id", b"node_name", b"node.id";
    HostName: b"host.name";
    LogName: b"log_name";
    // Which version it runs.
    ServiceVersion: b"service.version";
    Revision: b"istio.canonical_revision";
    K8sReplicaSet: b"k8s.replicaset.name";
    PodTemplateHash: b"k8s.pod.label.pod-template-hash", b"k8s.pod.labels.pod-template-hash",
        b"pod_template_hash";
    // Which side reports.
    Reporter: b"mesh.reporter", b"reporter";
    Direction: b"direction", b"traffic_direction", b"traffic.direction";
    // Ids.
    RequestId: b"guid:x-request-id", b"request_id", b"x_request_id", b"http.request_id", b"request.id",
        b"x-request-id", b"http.request.header.x-request-id", b"http.request.header.x_request_id";
    TraceId: b"trace_id", b"traceid", b"traceId", b"trace.id";
    SpanId: b"span_id", b"spanid", b"spanId", b"span.id";
    Traceparent: b"traceparent", b"http.request.header.traceparent";
    // The request.
    Method: b"http.request.method", b"http.method", b"method", b"request_method";
    Route: b"http.route", b"url.template";
    Path: b"url.path", b"http.path", b"path", b"http.target", b"uri", b"request_path";
    Url: b"url.full", b"http.url";
    GrpcPath: b"grpc.path";
    RpcSystem: b"rpc.system", b"rpc.system.name";
    RpcService: b"rpc.service";
    RpcMethod: b"rpc.method";
    Messaging: b"messaging.destination.name";
    Protocol: b"http.protocol", b"protocol", b"request_protocol", b"version";
    ProtocolVersion: b"network.protocol.version", b"http.flavor";
    Authority: b"authority", b"http.authority", b":authority", b"http.host", b"host", b"grpc.authority",
        b"http.request.header.host";
    UserAgent: b"user_agent", b"http.user_agent", b"user_agent.original", b"http.request.header.user-agent";
    RequestBytes: b"http.request.body.size", b"request_size", b"bytes_received", b"bytes.received",
        b"http.request_content_length", b"request_bytes", b"bytes_recv";
    ResponseBytes: b"http.response.body.size", b"response_size", b"bytes_sent", b"bytes.sent",
        b"http.response_content_length", b"response_bytes";
    /// In milliseconds, or text with its unit.
    Duration: b"duration_ms", b"duration", b"request_duration";
    DurationNanos: b"total_ns", b"duration_ns";
    StartTime: b"start_time", b"timestamp", b"time", b"@timestamp";
    // The answer.
    Status: b"http.response.status_code", b"http.status_code", b"response_code", b"response.code", b"status",
        b"status_code", b"envoy.response_code", b"envoy_response_code";
    StatusClass: b"envoy.response_code_class", b"envoy_response_code_class";
    GrpcStatus: b"rpc.grpc.status_code", b"grpc.status_code", b"grpc_response_status", b"rpc.response.status_code",
        b"rpc.status_code", b"grpc.status", b"grpc_status", b"grpc_status_code";
    ResponseFlags: b"response_flags", b"response.flags";
    CodeDetails: b"response_code_details", b"response.code_details";
    /// What Envoy's RBAC filters noted, as JSON: `%DYNAMIC_METADATA(envoy.filters.http.rbac)%`.
    RbacMetadata: b"rbac.metadata", b"rbac_metadata", b"envoy.filters.http.rbac";
    DryRunDenyResult: b"istio.authorization.dry_run.deny_policy.result";
    DryRunDenyName: b"istio.authorization.dry_run.deny_policy.name";
    DryRunAllowResult: b"istio.authorization.dry_run.allow_policy.result";
    Error: b"error";
    AuthzName: b"authz_name";
    // Where the proxy sent it, and other marks of a proxy.
    UpstreamCluster: b"upstream_cluster", b"upstream.cluster";
    /// The cluster's name for statistics: cut at the first dot in Envoy's own spans.
    UpstreamClusterName: b"upstream_cluster.name";
    UpstreamHost: b"upstream_host", b"upstream.host", b"upstream_address";
    ConnectionId: b"connection.id", b"connection_id";
    FilterChain: b"filter_chain", b"filter_chain_name", b"filter.chain";
    DownstreamAddress: b"downstream_remote_address", b"downstream_direct_remote_address", b"source.direct_address",
        b"client.addr";
    // Identity by certificate.
    SourcePrincipal: b"source.principal", b"source_principal", b"downstream_peer_uri_san",
        b"downstream.peer.principal", b"downstream_peer_principal", b"istio.source_principal";
    DestinationPrincipal: b"destination.principal", b"destination_principal", b"downstream_local_uri_san",
        b"downstream.local.principal", b"downstream_local_principal", b"istio.destination_principal";
    UpstreamPeerPrincipal: b"upstream.peer.principal", b"upstream_peer_principal", b"upstream_peer_uri_san";
    UpstreamLocalPrincipal: b"upstream.local.principal", b"upstream_local_principal", b"upstream_local_uri_san";
    ClientId: b"client.id", b"client_id";
    ServerId: b"server_id", b"server.id";
    SourceIdentity: b"src.identity";
    DestinationIdentity: b"dst.identity";
    // Names of both ends, as the control plane told the proxy.
    SourceWorkload: b"istio.source_workload", b"source_workload", b"source.workload", b"consul_source_service",
        b"consul.source.service";
    SourceNamespace: b"istio.source_namespace", b"istio.source_workload_namespace", b"source_workload_namespace",
        b"source.namespace", b"source_namespace", b"consul_source_namespace", b"consul.source.namespace";
    SourceCluster: b"source_cluster", b"istio.source_cluster_id";
    SourceService: b"source_canonical_service", b"istio.source_canonical_service";
    SourceRevision: b"source_canonical_revision", b"istio.source_canonical_revision";
    DestinationWorkload: b"istio.destination_workload", b"destination_workload", b"destination.workload",
        b"dst_deployment", b"dst_statefulset", b"dst_daemonset", b"consul_destination_service",
        b"consul.destination.service";
    DestinationNamespace: b"istio.destination_namespace", b"istio.destination_workload_namespace",
        b"destination_workload_namespace", b"destination.namespace", b"destination_namespace", b"dst_namespace",
        b"consul_destination_namespace", b"consul.destination.namespace";
    DestinationCluster: b"destination_cluster", b"istio.destination_cluster_id";
    /// A host name.
    DestinationService: b"destination_service";
    DestinationServiceName: b"destination_service_name", b"destination_canonical_service", b"dst_service",
        b"istio.destination_canonical_service";
    DestinationRevision: b"destination_canonical_revision", b"istio.destination_canonical_revision";
    ZtunnelSource: b"src.workload";
    ZtunnelSourceNamespace: b"src.namespace";
    ZtunnelDestination: b"dst.workload";
    ZtunnelDestinationNamespace: b"dst.namespace";
    ZtunnelService: b"dst.service";
    DownstreamPeer: b"downstream_peer", b"wasm.downstream_peer";
    UpstreamPeer: b"upstream_peer", b"wasm.upstream_peer";
    // Names that the reporter's application chose.
    PeerService: b"service.peer.name", b"peer.service";
    PeerNamespace: b"service.peer.namespace";
    ServerAddress: b"server.address", b"net.peer.name";
    // Transport.
    SecurityPolicy: b"connection_security_policy";
    LinkerdTls: b"tls";
    TlsEstablished: b"tls.established";
    TlsProtocolVersion: b"tls.protocol.version";
    TlsVersion: b"tls.version", b"tls_version", b"downstream_tls_version";
    TlsCipher: b"tls.cipher", b"tls_cipher", b"downstream_tls_cipher";
    Sni: b"tls.sni", b"requested_server_name", b"tls.client.server_name", b"sni";
    UpstreamTlsVersion: b"upstream.tls.version", b"upstream_tls_version";
    UpstreamTlsCipher: b"upstream.tls.cipher", b"upstream_tls_cipher";
    TlsFailure: b"tls.failure", b"tls_failure", b"downstream_transport_failure_reason";
    UpstreamTlsFailure: b"upstream.tls.failure", b"upstream_tls_failure", b"upstream_transport_failure_reason";
    Fingerprint: b"tls.peer.fingerprint_sha256", b"downstream_peer_fingerprint_256", b"tls.client.hash.sha256";
    Serial: b"tls.peer.serial", b"downstream_peer_serial";
    Issuer: b"tls.peer.issuer", b"downstream_peer_issuer", b"tls.client.issuer";
    NotBefore: b"tls.peer.not_before", b"downstream_peer_cert_v_start", b"tls.client.not_before";
    NotAfter: b"tls.peer.not_after", b"downstream_peer_cert_v_end", b"tls.client.not_after";
    Xfcc: b"http.xfcc", b"x_forwarded_client_cert", b"x-forwarded-client-cert", b"xfcc",
        b"http.request.header.x-forwarded-client-cert";
    /// The header as it came in, before the proxy removed or appended anything.
    RawXfcc: b"http.raw_xfcc", b"raw_xfcc", b"x_raw_xfcc", b"x-raw-xfcc";
    // Metric labels.
    MetricCluster: b"envoy.cluster_name", b"envoy_cluster_name";
    Quantile: b"quantile";
    ConnectionManager: b"envoy.http_conn_manager_prefix", b"envoy_http_conn_manager_prefix";
}

impl Field {
    /// The field's bit in a set of fields.
    #[inline]
    pub(crate) const fn bit(self) -> u128 {
        1 << self as u8
    }
}

const _: () = assert!(FIELD_COUNT <= 128, "one bit per field");

/// Slots of the name table: more than four times the names, so that a lookup is one probe nearly always.
const SLOTS: usize = 2048;
/// No name is longer; a longer attribute name is not ours.
const NAME_MAX: usize = 64;

/// Position in [`NAMES`] plus one, by hash of the name; built by the compiler.
static TABLE: [u16; SLOTS] = table();

/// The field that an attribute name fills, if we have a use for it. Called once per attribute on the hot path:
/// one hash of at most sixteen bytes, and a comparison with the one name that can match.
pub(crate) fn field_of(name: &[u8]) -> Option<Field> {
    if name.len() > NAME_MAX {
        return None;
    }
    let mut slot = slot_of(name);
    loop {
        match TABLE[slot] {
            0 => return None,
            at => {
                let (known, field) = NAMES[usize::from(at) - 1];
                if known == name {
                    return Some(field);
                }
                slot = (slot + 1) % SLOTS;
            }
        }
    }
}

const fn table() -> [u16; SLOTS] {
    let mut table = [0_u16; SLOTS];
    let mut at = 0;
    while at < NAMES.len() {
        let mut slot = slot_of(NAMES[at].0);
        while table[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        at += 1;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a few hundred names; `u16::try_from` is not const"
        )]
        {
            table[slot] = at as u16;
        }
    }
    table
}

/// Hash of the length and the first and last eight bytes: enough to tell our names apart.
const fn slot_of(name: &[u8]) -> usize {
    let (head, tail) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => {
            let mut head = 0_u64;
            let mut at = 0;
            while at < name.len() {
                head = head << 8 | name[at] as u64;
                at += 1;
            }
            (head, 0)
        }
    };
    let mixed = (head ^ tail.rotate_left(29) ^ (name.len() as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // 24 bits are left after the shift, so the cast keeps them all.
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_own_field() {
        for (name, field) in NAMES {
            assert_eq!(field_of(name), Some(*field), "{}", String::from_utf8_lossy(name));
            assert!(name.len() <= NAME_MAX);
        }
    }

    #[test]
    fn no_name_is_listed_twice() {
        let mut names: Vec<&[u8]> = NAMES.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
    }

    #[test]
    fn names_that_are_not_ours_fill_nothing() {
        for name in [b"".as_slice(), b"x", b"source.principa", b"source.principals", &[0xff; 9], &[b'a'; 500]]
        {
            assert_eq!(field_of(name), None);
        }
        // Envoy's node.cluster is not the name of a Kubernetes cluster.
        assert_eq!(field_of(b"cluster_name"), None);
    }

    #[test]
    fn fields_fit_the_slots_of_a_record() {
        const { assert!(FIELD_COUNT <= 128) };
    }
}
