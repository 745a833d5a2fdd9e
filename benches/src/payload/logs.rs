//! Access-log records as a real Envoy's OTLP access logger sends them: 65 attributes, every value a string, `-` for what
//! is absent, no severity and no scope; names and values are those of a recorded mesh (`fixtures/envoy`).

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::Shape;
use super::mesh::{self, Random, Side, pod_name, text, workload_name};

const TRUST: &str = "spiffe://cluster.local/ns/shop/sa";
const NANOS_PER_MILLI: u64 = 1_000_000;

/// Attributes by name and value.
type Pairs = Vec<(&'static str, String)>;

/// The records of a few workloads, both sides of every call. A sidecar has a log for each direction, with a resource of its
/// own.
pub(super) fn request(shape: &Shape, random: &mut Random) -> ExportLogsServiceRequest {
    let workloads = mesh::workloads(shape, random);
    let mut records: Vec<[Vec<LogRecord>; 2]> = vec![Default::default(); shape.hops];
    mesh::sides(&workloads, shape.records, random, |side| {
        records[side.owner][usize::from(side.outbound)].push(record(side));
    });
    let mut resource_logs = Vec::new();
    for (&workload, [inbound, outbound]) in workloads.iter().zip(records) {
        for (log_name, log_records) in [("mesh_inbound", inbound), ("mesh_outbound", outbound)] {
            if !log_records.is_empty() {
                resource_logs.push(ResourceLogs {
                    resource: Some(resource(workload, log_name)),
                    scope_logs: vec![ScopeLogs { log_records, ..Default::default() }],
                    ..Default::default()
                });
            }
        }
    }
    ExportLogsServiceRequest { resource_logs }
}

fn record(side: &Side<'_>) -> LogRecord {
    let call = side.call;
    let mut attributes = request_attributes(side);
    attributes.extend(response_attributes(side));
    attributes.extend(upstream_attributes(side));
    attributes.extend(identity_attributes(side));
    let body = format!("{} {} {}", call.method, call.path, call.status);
    LogRecord {
        time_unix_nano: side.start_unix_nano,
        body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
        attributes: attributes.into_iter().map(|(key, value)| text(key, value)).collect::<Vec<KeyValue>>(),
        trace_id: side.trace_id.to_vec(),
        span_id: side.span_id.clone(),
        ..Default::default()
    }
}

fn request_attributes(side: &Side<'_>) -> Pairs {
    let call = side.call;
    let (trace, span) = (hex(side.trace_id), hex(&side.span_id));
    let caller_address = format!("10.42.{}.{}:42338", call.caller / 200, call.caller % 200);
    let from = if side.outbound { "127.0.0.1:38906".to_owned() } else { caller_address };
    let xfcc = format!(
        "By={};Hash={};Subject=\"O=mesh\";URI={}",
        principal(call.callee),
        fingerprint(call.caller),
        principal(call.caller)
    );
    vec![
        ("mesh.reporter", if side.outbound { "outbound" } else { "inbound" }.to_owned()),
        ("log.kind", "http".to_owned()),
        ("source.address", from.clone()),
        ("source.direct_address", from),
        ("destination.address", format!("10.42.{}.{}:8080", call.callee / 200, call.callee % 200)),
        ("connection.id", (call.request_bytes % 64).to_string()),
        ("filter_chain", if side.outbound { "outbound" } else { "mtls" }.to_owned()),
        ("http.request_id", call.request_id.clone()),
        ("traceparent", format!("00-{trace}-{span}-01")),
        ("trace_id", trace),
        ("span_id", span),
        ("stream.id", call.request_id.clone()),
        ("http.method", call.method.to_owned()),
        ("http.path", call.path.clone()),
        ("http.authority", authority(call.callee)),
        ("http.protocol", if side.outbound { "HTTP/1.1" } else { "HTTP/2" }.to_owned()),
        ("http.scheme", "http".to_owned()),
        ("http.user_agent", "Go-http-client/1.1".to_owned()),
        ("http.referer", absent()),
        ("http.xff", absent()),
        ("http.xfcc", if side.outbound { absent() } else { xfcc }),
        ("http.raw_xfcc", absent()),
        ("http.claimed_principal", absent()),
        ("bytes.req_headers", "522".to_owned()),
        ("start_time", micros(side.start_unix_nano)),
    ]
}

fn response_attributes(side: &Side<'_>) -> Pairs {
    let call = side.call;
    let failed = call.status == "503";
    let millis = (side.nanos / NANOS_PER_MILLI).to_string();
    vec![
        ("response.code", call.status.to_owned()),
        (
            "response.code_details",
            if failed { "upstream_reset_before_response" } else { "via_upstream" }.to_owned(),
        ),
        ("response.flags", if failed { "UF,URX" } else { "-" }.to_owned()),
        ("response.flags_long", if failed { "UpstreamConnectionFailure" } else { "-" }.to_owned()),
        ("bytes.received", call.request_bytes.to_string()),
        ("bytes.sent", call.response_bytes.to_string()),
        ("bytes.resp_headers", "129".to_owned()),
        ("duration_ms", millis.clone()),
        ("request.duration_ms", "0".to_owned()),
        ("response.duration_ms", millis.clone()),
        ("upstream.service_time_ms", millis),
        ("connection.termination", absent()),
        ("grpc.status", absent()),
        ("route.name", "default".to_owned()),
    ]
}

fn upstream_attributes(side: &Side<'_>) -> Pairs {
    let call = side.call;
    let only_outbound = |value: String| if side.outbound { value } else { absent() };
    let cluster = if side.outbound {
        format!("outbound|8080||{}", authority(call.callee))
    } else {
        "inbound|8080||".to_owned()
    };
    vec![
        ("upstream.attempts", "1".to_owned()),
        ("upstream.cluster", cluster),
        ("upstream.host", format!("10.42.{}.{}:8080", call.callee / 200, call.callee % 200)),
        ("upstream.local_address", "127.0.0.1:49308".to_owned()),
        ("upstream.peer.principal", only_outbound(principal(call.callee))),
        ("upstream.local.principal", only_outbound(principal(call.caller))),
        ("upstream.tls.version", only_outbound("TLSv1.3".to_owned())),
        ("upstream.tls.cipher", only_outbound("TLS_AES_128_GCM_SHA256".to_owned())),
        ("upstream.tls.failure", absent()),
        ("upstream.wire_bytes_sent", (call.request_bytes + 547).to_string()),
        ("upstream.wire_bytes_received", (call.response_bytes + 243).to_string()),
    ]
}

/// What the callee's sidecar verified; the caller's sees its own application, which shows no certificate.
fn identity_attributes(side: &Side<'_>) -> Pairs {
    let call = side.call;
    let verified = |value: String| if side.outbound { absent() } else { value };
    let policies = "{\"baseline_shadow_effective_policy_id\":\"allow-callers\",\"baseline_shadow_engine_result\":\
                    \"allowed\",\"quarantine_enforced_engine_result\":\"allowed\"}";
    vec![
        ("rbac.metadata", verified(policies.to_owned())),
        ("source.principal", verified(principal(call.caller))),
        ("destination.principal", verified(principal(call.callee))),
        ("tls.version", verified("TLSv1.3".to_owned())),
        ("tls.cipher", verified("TLS_AES_128_GCM_SHA256".to_owned())),
        ("tls.sni", verified(format!("outbound_.8080_._.{}", authority(call.callee)))),
        ("tls.session_id", absent()),
        ("tls.peer.subject", verified("O=mesh".to_owned())),
        ("tls.peer.issuer", verified("CN=mesh root,O=mesh".to_owned())),
        ("tls.peer.fingerprint_sha256", verified(fingerprint(call.caller))),
        ("tls.peer.serial", verified(fingerprint(call.caller)[..40].to_owned())),
        // For ever: a certificate that ends would be a finding of its own.
        ("tls.peer.not_before", verified("2023-11-14T00:00:00.000Z".to_owned())),
        ("tls.peer.not_after", verified("2123-11-14T00:00:00.000Z".to_owned())),
        ("tls.failure", absent()),
        ("zone", "eu-west-1a".to_owned()),
    ]
}

fn resource(workload: usize, log_name: &str) -> Resource {
    let name = workload_name(workload);
    let pod = pod_name(workload);
    Resource {
        attributes: vec![
            text("log_name", log_name),
            text("zone_name", "eu-west-1a"),
            text("cluster_name", format!("{name}.shop")),
            text("node_name", format!("sidecar~10.42.1.17~{pod}.shop~shop.svc.cluster.local")),
            text("service.name", name),
            text("service.namespace", "shop"),
            text("service.instance.id", format!("{pod}.shop")),
            text("k8s.pod.name", pod),
            text("k8s.namespace.name", "shop"),
            text("deployment.environment.name", "bench"),
        ],
        ..Default::default()
    }
}

fn absent() -> String {
    "-".to_owned()
}

fn authority(workload: usize) -> String {
    format!("{}.shop.svc.cluster.local", workload_name(workload))
}

fn principal(workload: usize) -> String {
    format!("{TRUST}/{}", workload_name(workload))
}

/// 32 bytes that are the workload's own.
fn fingerprint(workload: usize) -> String {
    let mut random = Random(u64::try_from(workload).unwrap_or(0));
    (0..4).map(|_| format!("{:016x}", random.next())).collect()
}

/// Seconds with six places, as `%START_TIME(%s.%6f)%`.
fn micros(unix_nano: u64) -> String {
    format!("{}.{:06}", unix_nano / 1_000_000_000, unix_nano / 1_000 % 1_000_000)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::payload::{BASE_UNIX_NANO, SPREAD_NANOS, Signal, Template, templates};

    const NOW: u64 = BASE_UNIX_NANO + 5 * SPREAD_NANOS;

    fn sent(template: &Template, sequence: u64) -> Vec<LogRecord> {
        let bytes = template.stamp(sequence, NOW);
        let request = ExportLogsServiceRequest::decode(bytes.as_slice()).expect("a stamped request decodes");
        request.resource_logs.into_iter().flat_map(|r| r.scope_logs).flat_map(|s| s.log_records).collect()
    }

    fn attribute<'a>(record: &'a LogRecord, key: &str) -> &'a str {
        let pair = record.attributes.iter().find(|pair| pair.key == key).expect("the attribute is there");
        match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => text,
            other => panic!("{key} is {other:?}"),
        }
    }

    #[test]
    fn a_record_has_the_size_and_the_attributes_of_a_real_one() {
        for records in [7, 100] {
            let shape = Shape { signal: Signal::Logs, records, ..Shape::default() };
            for template in templates(&shape) {
                let sent = sent(&template, 1);
                assert_eq!(sent.len(), records);
                assert!(sent.iter().all(|record| record.attributes.len() == 65));
            }
        }
        let of_100 = &templates(&Shape { signal: Signal::Logs, ..Shape::default() })[0];
        let bytes = of_100.len() / of_100.records();
        assert!((2_200..2_500).contains(&bytes), "{bytes} bytes a record");
    }

    #[test]
    fn ids_in_texts_are_those_of_the_record_and_differ_from_send_to_send() {
        let template = &templates(&Shape { signal: Signal::Logs, bodies: 1, ..Shape::default() })[0];
        let (first, second) = (sent(template, 1), sent(template, 2));
        for (one, other) in first.iter().zip(&second) {
            let (trace, span) = (hex(&other.trace_id), hex(&other.span_id));
            assert_eq!(attribute(other, "trace_id"), trace);
            assert_eq!(attribute(other, "span_id"), span);
            assert_eq!(attribute(other, "traceparent"), format!("00-{trace}-{span}-01"));
            assert_eq!(attribute(other, "http.request_id"), attribute(other, "stream.id"));
            for key in ["trace_id", "span_id", "http.request_id"] {
                assert_ne!(attribute(one, key), attribute(other, key));
            }
        }
    }

    #[test]
    fn records_start_in_the_second_before_now() {
        let template = &templates(&Shape { signal: Signal::Logs, bodies: 1, ..Shape::default() })[0];
        assert!(
            sent(template, 3).iter().all(|record| (NOW - SPREAD_NANOS..NOW).contains(&record.time_unix_nano))
        );
    }
}
