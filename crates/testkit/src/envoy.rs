//! Envoy's dialect: the log records and spans that two sidecars write of one call (`envoy.md` 3).

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use selvedge_model::hash::StableHasher;
use selvedge_model::{EventTime, ObservedTime, SignalKind, TraceId};

use crate::civil::utc;
use crate::frame::RawFrame;
use crate::traffic::{Refusal, Request};

/// A sidecar flushes its buffers once a second.
const FLUSH_NANOS: u64 = 1_000_000_000;
/// Certificates begin an hour before the traffic and last a day.
const VALID_SINCE: Duration = Duration::from_hours(1);
const VALID_FOR: Duration = Duration::from_hours(24);
const SPAN_SERVER: i32 = 2;
const SPAN_CLIENT: i32 = 3;

/// What all workloads share.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    pub(crate) namespace: String,
    pub(crate) trust_domain: String,
    pub(crate) started: EventTime,
}

/// One arrow of a chain. `source` is absent for a client without a sidecar.
pub(crate) struct Hop {
    pub(crate) source: Option<String>,
    pub(crate) destination: String,
    pub(crate) plaintext: bool,
    pub(crate) trace_id: TraceId,
    pub(crate) parent: Option<u64>,
    pub(crate) client_span: u64,
    pub(crate) server_span: u64,
    pub(crate) request_id: String,
    pub(crate) outbound: (EventTime, EventTime),
    pub(crate) inbound: (EventTime, EventTime),
}

/// A connection whose handshake was refused.
pub(crate) struct Connection<'a> {
    pub(crate) destination: &'a str,
    pub(crate) claimed: &'a str,
    pub(crate) refusal: Refusal,
    pub(crate) id: u64,
    pub(crate) at: EventTime,
}

/// Each sidecar has one buffer for spans and one for each access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Channel {
    Outbound,
    Inbound,
    Connections,
    Spans,
}

#[derive(Clone, Debug)]
enum Record {
    Log(Box<LogRecord>),
    Span(Box<Span>),
}

/// A record, by whom and when.
#[derive(Clone, Debug)]
pub(crate) struct Emitted {
    reporter: String,
    channel: Channel,
    end: EventTime,
    record: Record,
}

type Attributes = Vec<(&'static str, String)>;

impl Mesh {
    fn principal(&self, workload: &str) -> String {
        format!("spiffe://{}/ns/{}/sa/{workload}", self.trust_domain, self.namespace)
    }

    /// What both sidecars write of a call.
    pub(crate) fn call(&self, request: &Request, hop: &Hop) -> Vec<Emitted> {
        let mut emitted = Vec::new();
        if let Some(source) = &hop.source {
            emitted.extend(self.side(request, hop, source, true));
        }
        if !hop.destination.contains('.') && !request.invented {
            emitted.extend(self.side(request, hop, &hop.destination, false));
        }
        emitted
    }

    fn side(&self, request: &Request, hop: &Hop, reporter: &str, outbound: bool) -> [Emitted; 2] {
        let ((start, end), span_id) =
            if outbound { (hop.outbound, hop.client_span) } else { (hop.inbound, hop.server_span) };
        let mut common = self.request_attributes(request, hop, outbound, (start, end), span_id);
        common.extend(if outbound {
            self.outbound_attributes(request, hop)
        } else {
            self.inbound_attributes(hop)
        });
        if let (false, Some(named)) = (outbound, &request.forwarding) {
            let (by, uri) = (self.principal(&hop.destination), self.principal(named));
            common.push(("http.raw_xfcc", format!("By={by};Hash=ab;URI={uri}")));
        }
        let log = LogRecord {
            time_unix_nano: start.0,
            body: Some(value(format!("{} {} {}", request.method, request.path, request.status))),
            attributes: pairs(common),
            trace_id: hop.trace_id.0.to_vec(),
            span_id: span_id.to_be_bytes().to_vec(),
            ..LogRecord::default()
        };
        let parent = match (outbound, &hop.source) {
            (true, _) => hop.parent,
            (false, Some(_)) => Some(hop.client_span),
            (false, None) => None,
        };
        let span = Span {
            trace_id: hop.trace_id.0.to_vec(),
            span_id: span_id.to_be_bytes().to_vec(),
            parent_span_id: parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
            name: if outbound { format!("egress {}", authority(self, hop)) } else { "ingress".to_owned() },
            kind: if outbound { SPAN_CLIENT } else { SPAN_SERVER },
            start_time_unix_nano: start.0,
            end_time_unix_nano: end.0,
            attributes: pairs(self.span_attributes(request, hop, reporter, outbound)),
            ..Span::default()
        };
        let channel = if outbound { Channel::Outbound } else { Channel::Inbound };
        let reporter = reporter.to_owned();
        [
            Emitted { reporter: reporter.clone(), channel, end, record: Record::Log(Box::new(log)) },
            Emitted { reporter, channel: Channel::Spans, end, record: Record::Span(Box::new(span)) },
        ]
    }

    fn request_attributes(
        &self,
        request: &Request,
        hop: &Hop,
        outbound: bool,
        (start, end): (EventTime, EventTime),
        span_id: u64,
    ) -> Attributes {
        let millis = end.since(start).as_millis();
        let chain = match (outbound, hop.plaintext) {
            (true, _) => "outbound",
            (false, true) => "plaintext",
            (false, false) => "mtls",
        };
        vec![
            ("mesh.reporter", if outbound { "outbound" } else { "inbound" }.to_owned()),
            ("log.kind", "http".to_owned()),
            ("filter_chain", chain.to_owned()),
            ("bytes.received", request.bytes_received.to_string()),
            ("bytes.sent", request.bytes_sent.to_string()),
            ("duration_ms", millis.to_string()),
            ("http.request_id", hop.request_id.clone()),
            ("traceparent", format!("00-{}-{span_id:016x}-01", hop.trace_id)),
            ("trace_id", hop.trace_id.to_string()),
            ("span_id", format!("{span_id:016x}")),
            ("http.method", request.method.clone()),
            ("http.path", request.path.clone()),
            ("http.authority", authority(self, hop)),
            ("http.protocol", if outbound || hop.plaintext { "HTTP/1.1" } else { "HTTP/2" }.to_owned()),
            ("http.scheme", "http".to_owned()),
            ("http.user_agent", request.user_agent.clone()),
            ("response.code", request.status.to_string()),
            ("response.code_details", "via_upstream".to_owned()),
            ("response.flags", "-".to_owned()),
            ("start_time", format!("{}.{:06}", start.0 / 1_000_000_000, start.0 / 1_000 % 1_000_000)),
        ]
    }

    fn outbound_attributes(&self, request: &Request, hop: &Hop) -> Attributes {
        let mut attributes = vec![
            ("upstream.cluster", upstream_cluster(self, hop, true)),
            ("upstream.attempts", "1".to_owned()),
            ("tls.failure", "-".to_owned()),
        ];
        let secured = !hop.plaintext && !hop.destination.contains('.');
        let (peer, local, version) = if secured {
            let named = request.posing_as.as_ref().or(hop.source.as_ref());
            let local = named.map_or_else(|| "-".to_owned(), |source| self.principal(source));
            (self.principal(&hop.destination), local, "TLSv1.3")
        } else {
            ("-".to_owned(), "-".to_owned(), "-")
        };
        attributes.push(("upstream.peer.principal", peer));
        attributes.push(("upstream.local.principal", local));
        attributes.push(("upstream.tls.version", version.to_owned()));
        attributes
    }

    fn inbound_attributes(&self, hop: &Hop) -> Attributes {
        let mut attributes =
            vec![("upstream.cluster", upstream_cluster(self, hop, false)), ("tls.failure", "-".to_owned())];
        match &hop.source {
            Some(source) if !hop.plaintext => {
                attributes.extend(self.peer_attributes(source, "CN=mesh root", VALID_SINCE, VALID_FOR));
                attributes.push(("destination.principal", self.principal(&hop.destination)));
                let host = service_host(self, &hop.destination);
                attributes.push(("tls.sni", format!("outbound_.8080_._.{host}")));
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
    fn peer_attributes(&self, workload: &str, issuer: &str, since: Duration, length: Duration) -> Attributes {
        let principal = self.principal(workload);
        let digest = |salt: &[u8]| StableHasher::default().field(salt).field(principal.as_bytes()).hex();
        let not_before = self.started.before(since);
        vec![
            ("source.principal", principal.clone()),
            ("tls.version", "TLSv1.3".to_owned()),
            ("tls.cipher", "TLS_AES_128_GCM_SHA256".to_owned()),
            ("tls.peer.subject", "O=mesh".to_owned()),
            ("tls.peer.issuer", format!("{issuer},O=mesh")),
            (
                "tls.peer.fingerprint_sha256",
                [&b"1"[..], b"2", b"3", issuer.as_bytes()].iter().map(|salt| digest(salt)).collect(),
            ),
            ("tls.peer.serial", digest(b"serial")),
            ("tls.peer.not_before", utc(not_before)),
            ("tls.peer.not_after", utc(not_before.after(length))),
        ]
    }

    fn span_attributes(&self, request: &Request, hop: &Hop, reporter: &str, outbound: bool) -> Attributes {
        let secured = !hop.plaintext && hop.source.is_some();
        let posing = request.posing_as.as_ref().filter(|_| outbound).or(hop.source.as_ref());
        let known = |workload: &str| {
            if secured && !workload.contains('.') { self.principal(workload) } else { "-".to_owned() }
        };
        let mut attributes = vec![
            ("node_id", node_id(self, reporter)),
            ("guid:x-request-id", hop.request_id.clone()),
            ("http.url", format!("http://{}{}", authority(self, hop), request.path)),
            ("http.method", request.method.clone()),
            ("user_agent", request.user_agent.clone()),
            ("http.protocol", if outbound || hop.plaintext { "HTTP/1.1" } else { "HTTP/2" }.to_owned()),
            ("request_size", request.bytes_received.to_string()),
            ("response_size", request.bytes_sent.to_string()),
            ("component", "proxy".to_owned()),
            ("upstream_cluster", upstream_cluster(self, hop, outbound)),
            ("upstream_cluster.name", upstream_cluster(self, hop, outbound)),
            ("http.status_code", request.status.to_string()),
            ("mesh.reporter", if outbound { "outbound" } else { "inbound" }.to_owned()),
            ("source.principal", posing.map_or_else(|| "-".to_owned(), |source| known(source))),
            ("destination.principal", known(&hop.destination)),
        ];
        if !outbound {
            attributes.push(("tls.version", if secured { "TLSv1.3" } else { "-" }.to_owned()));
        }
        attributes
    }

    /// What the callee's sidecar writes of a connection that it refused.
    pub(crate) fn refused(&self, connection: &Connection<'_>) -> Emitted {
        let why = match connection.refusal {
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
            ("connection.id", connection.id.to_string()),
            ("filter_chain", "mtls".to_owned()),
            ("bytes.received", "0".to_owned()),
            ("bytes.sent", "0".to_owned()),
            ("duration_ms", "1".to_owned()),
            ("destination.principal", self.principal(connection.destination)),
            ("tls.failure", failure.clone()),
        ];
        attributes.extend(match connection.refusal {
            Refusal::UnknownIssuer => {
                self.peer_attributes(connection.claimed, "CN=another root", VALID_SINCE, VALID_FOR)
            }
            Refusal::Expired => {
                self.peer_attributes(connection.claimed, "CN=mesh root", VALID_SINCE + VALID_FOR, VALID_FOR)
            }
            Refusal::NoCertificate => {
                vec![("source.principal", "-".to_owned()), ("tls.version", "TLSv1.3".to_owned())]
            }
        });
        let log = LogRecord {
            time_unix_nano: connection.at.0,
            body: Some(value(format!("conn {failure}"))),
            attributes: pairs(attributes),
            ..LogRecord::default()
        };
        Emitted {
            reporter: connection.destination.to_owned(),
            channel: Channel::Connections,
            end: connection.at.after(Duration::from_millis(1)),
            record: Record::Log(Box::new(log)),
        }
    }

    fn resource(&self, workload: &str, channel: Channel) -> Resource {
        let log = match channel {
            Channel::Outbound => Some("mesh_outbound"),
            Channel::Inbound => Some("mesh_inbound"),
            Channel::Connections => Some("mesh_connection"),
            Channel::Spans => None,
        };
        let mut attributes: Attributes = match log {
            Some(name) => vec![("log_name", name.to_owned()), ("node_name", node_id(self, workload))],
            None => {
                vec![("telemetry.sdk.language", "cpp".to_owned()), ("telemetry.sdk.name", "envoy".to_owned())]
            }
        };
        attributes.extend([
            ("service.name", workload.to_owned()),
            ("service.namespace", self.namespace.clone()),
            ("service.instance.id", format!("{workload}-0.{}", self.namespace)),
            ("k8s.pod.name", format!("{workload}-0")),
            ("k8s.namespace.name", self.namespace.clone()),
        ]);
        Resource { attributes: pairs(attributes), ..Resource::default() }
    }
}

/// Batches as they arrive: by flush, then sender, then buffer.
pub(crate) fn batches(mesh: &Mesh, emitted: &[Emitted]) -> Vec<RawFrame> {
    let mut buffers: BTreeMap<(u64, &str, Channel), Vec<&Emitted>> = BTreeMap::new();
    for record in emitted {
        let flush = record.end.0 / FLUSH_NANOS + 1;
        buffers.entry((flush, &record.reporter, record.channel)).or_default().push(record);
    }
    buffers
        .into_iter()
        .map(|((flush, reporter, channel), mut records)| {
            // A record is written when its call ends.
            records.sort_by_key(|record| record.end);
            let resource = mesh.resource(reporter, channel);
            let (signal, payload) = match channel {
                Channel::Spans => (SignalKind::Traces, traces(resource, &records)),
                Channel::Outbound | Channel::Inbound | Channel::Connections => {
                    (SignalKind::Logs, logs(resource, &records))
                }
            };
            RawFrame { signal, observed: ObservedTime(flush * FLUSH_NANOS), payload }
        })
        .collect()
}

fn traces(resource: Resource, records: &[&Emitted]) -> Vec<u8> {
    let spans = records.iter().filter_map(|emitted| match &emitted.record {
        Record::Span(span) => Some((**span).clone()),
        Record::Log(_) => None,
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn logs(resource: Resource, records: &[&Emitted]) -> Vec<u8> {
    let log_records = records.iter().filter_map(|emitted| match &emitted.record {
        Record::Log(log) => Some((**log).clone()),
        Record::Span(_) => None,
    });
    let scope_logs = vec![ScopeLogs { log_records: log_records.collect(), ..ScopeLogs::default() }];
    let resource_logs =
        vec![ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn node_id(mesh: &Mesh, workload: &str) -> String {
    let namespace = &mesh.namespace;
    format!("sidecar~127.0.0.1~{workload}-0.{namespace}~{namespace}.svc.cluster.local")
}

fn service_host(mesh: &Mesh, workload: &str) -> String {
    format!("{workload}.{}.svc.cluster.local", mesh.namespace)
}

fn authority(mesh: &Mesh, hop: &Hop) -> String {
    if hop.destination.contains('.') { hop.destination.clone() } else { service_host(mesh, &hop.destination) }
}

fn upstream_cluster(mesh: &Mesh, hop: &Hop, outbound: bool) -> String {
    match (outbound, hop.destination.contains('.')) {
        (true, true) => "PassthroughCluster".to_owned(),
        (true, false) => format!("outbound|80||{}", service_host(mesh, &hop.destination)),
        (false, _) => "inbound|8080||".to_owned(),
    }
}

fn value(text: String) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text)) }
}

fn pairs(attributes: Attributes) -> Vec<KeyValue> {
    attributes
        .into_iter()
        .map(|(key, text)| KeyValue { key: key.to_owned(), value: Some(value(text)), ..KeyValue::default() })
        .collect()
}
