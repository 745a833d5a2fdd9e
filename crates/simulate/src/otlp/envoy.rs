//! Envoy's dialect: the log records and spans that two sidecars write of one call (`envoy.md` 3).

use std::time::Duration;

use selvedge_model::EventTime;
use selvedge_model::hash::StableHasher;

use super::call::{Callee, Connection, Exchange, Issued, Refusal, Refused, VALID_FOR, Workload};
use super::civil::utc;
use super::message::{KeyValue, LogRecord, Resource, Span, value};

const SPAN_SERVER: i32 = 2;
const SPAN_CLIENT: i32 = 3;
const ISSUER: &str = "CN=mesh root";
const OTHER_ISSUER: &str = "CN=another root";
/// What sidecars agree on, and what most other clients do (`envoy.md` 3.1).
const SIDECAR_CIPHER: &str = "TLS_AES_128_GCM_SHA256";
const CLIENT_CIPHER: &str = "TLS_AES_256_GCM_SHA384";

/// What all workloads of a mesh share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The trust domain of all identities.
    pub trust_domain: String,
}

/// Each sidecar has one buffer for spans and one for each access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    Outbound,
    Inbound,
    Connections,
    Spans,
}

#[derive(Clone, Debug)]
pub(super) enum Record {
    Log(Box<LogRecord>),
    Span(Box<Span>),
}

/// Whose sidecar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sender {
    namespace: String,
    name: String,
    /// What it says of its version, if anything.
    version: String,
}

/// A record, by whom and when.
#[derive(Clone, Debug)]
pub struct Emitted {
    pub(super) sender: Sender,
    pub(super) channel: Channel,
    pub(super) end: EventTime,
    pub(super) record: Record,
}

/// One proxy's view of a call.
#[derive(Clone, Copy)]
struct View<'a> {
    call: &'a Exchange<'a>,
    reporter: Workload<'a>,
    outbound: bool,
    start: EventTime,
    end: EventTime,
    span_id: u64,
}

impl Emitted {
    /// Whose sidecar it is of, by name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.sender.name
    }

    /// The same, sent by a pod that runs this version.
    #[must_use]
    pub fn versioned(mut self, version: String) -> Self {
        self.sender.version = version;
        self
    }
}

type Attributes = Vec<(&'static str, String)>;

impl Dialect {
    /// The SPIFFE id of a workload.
    #[must_use]
    pub fn principal(&self, workload: Workload<'_>) -> String {
        format!("spiffe://{}/ns/{}/sa/{}", self.trust_domain, workload.namespace, workload.name)
    }

    /// What both sidecars write of a call.
    #[must_use]
    pub fn call(&self, call: &Exchange<'_>) -> Vec<Emitted> {
        let mut emitted = Vec::new();
        if let (Some(reporter), true) = (call.caller, call.told_by.caller) {
            let ((start, end), span_id) = (call.outbound, call.traced.client_span);
            emitted.extend(self.side(&View { call, reporter, outbound: true, start, end, span_id }));
        }
        if let (Callee::Workload(reporter), true) = (call.callee, call.told_by.callee) {
            let ((start, end), span_id) = (call.inbound, call.traced.server_span);
            emitted.extend(self.side(&View { call, reporter, outbound: false, start, end, span_id }));
        }
        emitted
    }

    fn side(&self, view: &View<'_>) -> [Emitted; 2] {
        let View { call, outbound, start, end, span_id, .. } = *view;
        let mut attributes = request_attributes(view);
        attributes.extend(if outbound {
            self.outbound_attributes(call)
        } else {
            self.inbound_attributes(call)
        });
        if let (Callee::Workload(callee), false, Some(named)) = (call.callee, outbound, call.forwarding) {
            let (by, uri) = (self.principal(callee), self.principal(named));
            attributes.push(("http.raw_xfcc", format!("By={by};Hash=ab;URI={uri}")));
        }
        let asked = &call.asked;
        let log = LogRecord {
            time_unix_nano: start.0,
            body: Some(value(format!("{} {} {}", asked.method, asked.path, asked.status))),
            attributes: pairs(attributes),
            trace_id: call.traced.trace_id.0.to_vec(),
            span_id: span_id.to_be_bytes().to_vec(),
        };
        let parent = match outbound {
            true => call.traced.parent,
            false => call.through_sidecar().then_some(call.traced.client_span),
        };
        let span = Span {
            trace_id: call.traced.trace_id.0.to_vec(),
            span_id: span_id.to_be_bytes().to_vec(),
            parent_span_id: parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
            name: if outbound { format!("egress {}", authority(call.callee)) } else { "ingress".to_owned() },
            kind: if outbound { SPAN_CLIENT } else { SPAN_SERVER },
            start_time_unix_nano: start.0,
            end_time_unix_nano: end.0,
            attributes: pairs(self.span_attributes(view)),
        };
        let channel = if outbound { Channel::Outbound } else { Channel::Inbound };
        let sender = Sender::of(view.reporter);
        [
            Emitted { sender: sender.clone(), channel, end, record: Record::Log(Box::new(log)) },
            Emitted { sender, channel: Channel::Spans, end, record: Record::Span(Box::new(span)) },
        ]
    }

    fn outbound_attributes(&self, call: &Exchange<'_>) -> Attributes {
        let mut attributes = vec![
            ("upstream.cluster", upstream_cluster(call.callee, true)),
            ("upstream.attempts", "1".to_owned()),
            ("tls.failure", "-".to_owned()),
        ];
        let (peer, local, version) = match call.callee {
            Callee::Workload(callee) if !call.plaintext() => {
                let own = call.posing_as.or(call.presented());
                (self.principal(callee), self.principal_or_none(own), "TLSv1.3")
            }
            _ => ("-".to_owned(), "-".to_owned(), "-"),
        };
        attributes.push(("upstream.peer.principal", peer));
        attributes.push(("upstream.local.principal", local));
        attributes.push(("upstream.tls.version", version.to_owned()));
        attributes
    }

    fn inbound_attributes(&self, call: &Exchange<'_>) -> Attributes {
        let mut attributes =
            vec![("upstream.cluster", upstream_cluster(call.callee, false)), ("tls.failure", "-".to_owned())];
        match (call.presented(), call.callee) {
            (Some(presented), Callee::Workload(callee)) if !call.plaintext() => {
                let bypass = call.connection == Connection::Bypass;
                let cipher = if bypass { CLIENT_CIPHER } else { SIDECAR_CIPHER };
                attributes.extend(self.peer_attributes(presented, ISSUER, cipher, call.issued));
                attributes.push(("destination.principal", self.principal(callee)));
                let sni = format!("outbound_.8080_._.{}", service_host(callee));
                attributes.push(("tls.sni", if bypass { "-".to_owned() } else { sni }));
            }
            _ => {
                for key in
                    ["source.principal", "destination.principal", "tls.version", "tls.cipher", "tls.sni"]
                {
                    attributes.push((key, "-".to_owned()));
                }
            }
        }
        attributes
    }

    /// The certificate that a workload presents.
    fn peer_attributes(
        &self,
        workload: Workload<'_>,
        issuer: &str,
        cipher: &str,
        issued: Issued,
    ) -> Attributes {
        let principal = self.principal(workload);
        let digest = |salt: &[u8]| {
            let hasher = StableHasher::default().field(salt).field(principal.as_bytes());
            // The first one is known by its name alone.
            if issued.number == 0 { hasher.hex() } else { hasher.field(&issued.number.to_be_bytes()).hex() }
        };
        vec![
            ("source.principal", principal.clone()),
            ("tls.version", "TLSv1.3".to_owned()),
            ("tls.cipher", cipher.to_owned()),
            ("tls.peer.subject", "O=mesh".to_owned()),
            ("tls.peer.issuer", format!("{issuer},O=mesh")),
            (
                "tls.peer.fingerprint_sha256",
                [&b"1"[..], b"2", b"3", issuer.as_bytes()].iter().map(|salt| digest(salt)).collect(),
            ),
            ("tls.peer.serial", digest(b"serial")),
            ("tls.peer.not_before", utc(issued.at)),
            ("tls.peer.not_after", utc(issued.at.after(VALID_FOR))),
        ]
    }

    fn span_attributes(&self, view: &View<'_>) -> Attributes {
        let View { call, outbound, .. } = *view;
        let secured = !call.plaintext() && call.caller.is_some();
        let source = call.posing_as.filter(|_| outbound).or(call.presented()).filter(|_| secured);
        let destination = match call.callee {
            Callee::Workload(callee) if secured => Some(callee),
            _ => None,
        };
        let asked = &call.asked;
        let mut attributes = vec![
            ("node_id", node_id(view.reporter)),
            ("guid:x-request-id", call.traced.request_id.to_owned()),
            ("http.url", format!("http://{}{}", authority(call.callee), asked.path)),
            ("http.method", asked.method.to_owned()),
            ("user_agent", asked.user_agent.to_owned()),
            ("http.protocol", protocol(view).to_owned()),
            ("request_size", asked.bytes_received.to_string()),
            ("response_size", asked.bytes_sent.to_string()),
            ("component", "proxy".to_owned()),
            ("upstream_cluster", upstream_cluster(call.callee, outbound)),
            ("upstream_cluster.name", upstream_cluster(call.callee, outbound)),
            ("http.status_code", asked.status.to_string()),
            ("mesh.reporter", reporter(outbound).to_owned()),
            ("source.principal", self.principal_or_none(source)),
            ("destination.principal", self.principal_or_none(destination)),
        ];
        if let Some(status) = asked.grpc_status {
            attributes.push(("grpc.status_code", status.to_string()));
        }
        if !outbound {
            attributes.push(("tls.version", if secured { "TLSv1.3" } else { "-" }.to_owned()));
        }
        attributes
    }

    /// What the callee's sidecar writes of a connection that it refused.
    #[must_use]
    pub fn refused(&self, refused: &Refused<'_>) -> Emitted {
        let why = match refused.refusal {
            Refusal::UnknownIssuer => {
                "CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:_certificate_verification_error_at_depth_0:_unable_to_get_local_issuer_certificate"
            }
            Refusal::Expired => {
                "CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:_certificate_verification_error_at_depth_0:_certificate_has_expired"
            }
            Refusal::NoCertificate => "PEER_DID_NOT_RETURN_A_CERTIFICATE",
        };
        let failure = format!("TLS_error:|268435581:SSL_routines:OPENSSL_internal:{why}:TLS_error_end");
        let mut attributes = vec![
            ("mesh.reporter", "inbound".to_owned()),
            ("log.kind", "connection".to_owned()),
            ("connection.id", refused.id.to_string()),
            ("filter_chain", "mtls".to_owned()),
            ("bytes.received", "0".to_owned()),
            ("bytes.sent", "0".to_owned()),
            ("duration_ms", "1".to_owned()),
            ("destination.principal", self.principal(refused.callee)),
            ("tls.failure", failure.clone()),
        ];
        let Refused { claimed, issued, .. } = *refused;
        attributes.extend(match refused.refusal {
            Refusal::UnknownIssuer => self.peer_attributes(claimed, OTHER_ISSUER, SIDECAR_CIPHER, issued),
            Refusal::Expired => {
                let past = Issued { at: issued.at.before(VALID_FOR), ..issued };
                self.peer_attributes(claimed, ISSUER, SIDECAR_CIPHER, past)
            }
            Refusal::NoCertificate => {
                vec![("source.principal", "-".to_owned()), ("tls.version", "TLSv1.3".to_owned())]
            }
        });
        let log = LogRecord {
            time_unix_nano: refused.at.0,
            body: Some(value(format!("conn {failure}"))),
            attributes: pairs(attributes),
            ..LogRecord::default()
        };
        Emitted {
            sender: Sender::of(refused.callee),
            channel: Channel::Connections,
            end: refused.at.after(Duration::from_millis(1)),
            record: Record::Log(Box::new(log)),
        }
    }

    pub(super) fn resource(&self, sender: &Sender, channel: Option<Channel>) -> Resource {
        let log = match channel {
            Some(Channel::Outbound) => Some("mesh_outbound"),
            Some(Channel::Inbound) => Some("mesh_inbound"),
            Some(Channel::Connections) => Some("mesh_connection"),
            Some(Channel::Spans) | None => None,
        };
        let Sender { namespace, name, version } = sender;
        let mut attributes: Attributes = match log {
            Some(log) => {
                vec![("log_name", log.to_owned()), ("node_name", node_id(Workload { namespace, name }))]
            }
            None => {
                vec![("telemetry.sdk.language", "cpp".to_owned()), ("telemetry.sdk.name", "envoy".to_owned())]
            }
        };
        attributes.extend([
            ("service.name", name.clone()),
            ("service.namespace", namespace.clone()),
            ("service.instance.id", format!("{name}-0.{namespace}")),
            ("k8s.pod.name", format!("{name}-0")),
            ("k8s.namespace.name", namespace.clone()),
        ]);
        if !version.is_empty() {
            attributes.push(("service.version", version.clone()));
        }
        Resource { attributes: pairs(attributes) }
    }

    fn principal_or_none(&self, workload: Option<Workload<'_>>) -> String {
        workload.map_or_else(|| "-".to_owned(), |workload| self.principal(workload))
    }
}

impl Sender {
    pub(super) fn of(workload: Workload<'_>) -> Self {
        let Workload { namespace, name } = workload;
        Self { namespace: namespace.to_owned(), name: name.to_owned(), version: String::new() }
    }

    pub(super) fn versioned(self, version: String) -> Self {
        Self { version, ..self }
    }
}

fn request_attributes(view: &View<'_>) -> Attributes {
    let View { call, outbound, start, end, span_id, .. } = *view;
    let (asked, traced) = (&call.asked, &call.traced);
    let chain = match (outbound, call.plaintext()) {
        (true, _) => "outbound",
        (false, true) => "plaintext",
        (false, false) => "mtls",
    };
    let mut attributes = vec![
        ("mesh.reporter", reporter(outbound).to_owned()),
        ("log.kind", "http".to_owned()),
        ("filter_chain", chain.to_owned()),
        ("bytes.received", asked.bytes_received.to_string()),
        ("bytes.sent", asked.bytes_sent.to_string()),
        ("duration_ms", end.since(start).as_millis().to_string()),
        ("http.request_id", traced.request_id.to_owned()),
        ("traceparent", format!("00-{}-{span_id:016x}-01", traced.trace_id)),
        ("trace_id", traced.trace_id.to_string()),
        ("span_id", format!("{span_id:016x}")),
        ("http.method", asked.method.to_owned()),
        ("http.path", asked.path.to_owned()),
        ("http.authority", authority(call.callee)),
        ("http.protocol", protocol(view).to_owned()),
        ("http.scheme", "http".to_owned()),
        ("http.user_agent", asked.user_agent.to_owned()),
        ("response.code", asked.status.to_string()),
        ("response.code_details", "via_upstream".to_owned()),
        ("response.flags", "-".to_owned()),
        ("start_time", format!("{}.{:06}", start.0 / 1_000_000_000, start.0 / 1_000 % 1_000_000)),
    ];
    if let Some(status) = asked.grpc_status {
        attributes.push(("grpc.status", status.to_string()));
    }
    attributes
}

fn reporter(outbound: bool) -> &'static str {
    if outbound { "outbound" } else { "inbound" }
}

/// Sidecars speak HTTP/2 with each other, applications with their own sidecar what they like.
fn protocol(view: &View<'_>) -> &'static str {
    let between_sidecars = !view.outbound && view.call.connection == Connection::Mutual;
    if between_sidecars || view.call.asked.grpc_status.is_some() { "HTTP/2" } else { "HTTP/1.1" }
}

fn node_id(workload: Workload<'_>) -> String {
    let Workload { namespace, name } = workload;
    format!("sidecar~127.0.0.1~{name}-0.{namespace}~{namespace}.svc.cluster.local")
}

fn service_host(workload: Workload<'_>) -> String {
    format!("{}.{}.svc.cluster.local", workload.name, workload.namespace)
}

fn authority(callee: Callee<'_>) -> String {
    match callee {
        Callee::Host(host) => host.to_owned(),
        Callee::Workload(workload) => service_host(workload),
    }
}

fn upstream_cluster(callee: Callee<'_>, outbound: bool) -> String {
    match (outbound, callee) {
        (true, Callee::Host(_)) => "PassthroughCluster".to_owned(),
        (true, Callee::Workload(workload)) => format!("outbound|80||{}", service_host(workload)),
        (false, _) => "inbound|8080||".to_owned(),
    }
}

fn pairs(attributes: Attributes) -> Vec<KeyValue> {
    attributes
        .into_iter()
        .map(|(key, text)| KeyValue { key: key.to_owned(), value: Some(value(text)) })
        .collect()
}
