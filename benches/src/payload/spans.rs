//! Spans as Istio's sidecars send them: 18 attributes, all of them strings.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::Shape;
use super::mesh::{self, MeshCall, Random, resource, text, workload_name};
use crate::wire;

/// The spans of a few workloads, both sides of every call.
pub(super) fn request(shape: &Shape, random: &mut Random) -> ExportTraceServiceRequest {
    let workloads = mesh::workloads(shape, random);
    let mut spans: Vec<Vec<Span>> = vec![Vec::new(); shape.hops];
    mesh::sides(&workloads, shape.records, random, |side| {
        let kind = if side.outbound { SpanKind::Client } else { SpanKind::Server };
        spans[side.owner].push(Span {
            trace_id: side.trace_id.to_vec(),
            span_id: side.span_id.clone(),
            parent_span_id: side.parent.clone(),
            name: format!("{}.shop.svc.cluster.local:8080/*", workload_name(side.call.callee)),
            kind: kind.into(),
            start_time_unix_nano: side.start_unix_nano,
            end_time_unix_nano: side.start_unix_nano + side.nanos,
            attributes: attributes(side.call, side.outbound),
            ..Default::default()
        });
    });
    let resource_spans = workloads.iter().zip(spans).map(|(&workload, spans)| ResourceSpans {
        resource: Some(resource(workload)),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "envoy".to_owned(),
                version: "1.40.0".to_owned(),
                ..Default::default()
            }),
            spans,
            ..Default::default()
        }],
        ..Default::default()
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

fn attributes(call: &MeshCall, outbound: bool) -> Vec<KeyValue> {
    let reporter = workload_name(if outbound { call.caller } else { call.callee });
    let callee = workload_name(call.callee);
    let direction = if outbound { "outbound" } else { "inbound" };
    vec![
        text(wire::REQUEST_ID_KEY, call.request_id.clone()),
        text("http.url", format!("http://{callee}.shop.svc.cluster.local:8080{}", call.path)),
        text("http.method", call.method),
        text("http.status_code", call.status),
        text("http.protocol", "HTTP/1.1"),
        text("upstream_cluster", format!("{direction}|8080||{callee}.shop.svc.cluster.local")),
        text("upstream_cluster.name", format!("{direction}|8080||{callee}.shop.svc.cluster.local;")),
        text("response_flags", if call.status == "503" { "UF,URX" } else { "-" }),
        text("peer.address", format!("10.42.{}.{}", call.caller / 200, call.caller % 200)),
        text("request_size", call.request_bytes.to_string()),
        text("response_size", call.response_bytes.to_string()),
        text("component", "proxy"),
        text("user_agent", "Go-http-client/1.1"),
        text(
            "node_id",
            format!("sidecar~10.42.1.17~{reporter}-7c9d8b6f5d-x2x9z.shop~shop.svc.cluster.local"),
        ),
        text("istio.canonical_service", reporter),
        text("istio.namespace", "shop"),
        text("istio.mesh_id", "cluster.local"),
        text("zone", "eu-west-1a"),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;
    use crate::payload::{BASE_UNIX_NANO, SPREAD_NANOS, Template, templates};

    fn decoded(template: &Template, sequence: u64) -> Vec<Span> {
        let bytes = template.stamp(sequence, BASE_UNIX_NANO + 5 * SPREAD_NANOS);
        let request = ExportTraceServiceRequest::decode(bytes.as_slice()).expect("a stamped request decodes");
        request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect()
    }

    #[test]
    fn a_request_has_the_promised_spans_attributes_and_size() {
        let shape = Shape::default();
        let templates = templates(&shape);
        assert_eq!(templates.len(), shape.bodies);
        for template in &templates {
            let spans = decoded(template, 1);
            assert_eq!(spans.len(), shape.records);
            assert!(spans.iter().all(|span| span.attributes.len() == 18));
            let bytes_per_span = template.len() / shape.records;
            assert!((760..880).contains(&bytes_per_span), "{bytes_per_span} bytes a span");
        }
    }

    #[test]
    fn two_sends_of_a_template_share_no_id_and_keep_their_parents() {
        let template = &templates(&Shape { bodies: 1, ..Shape::default() })[0];
        let (first, second) = (decoded(template, 1), decoded(template, 2));
        let ids = |spans: &[Span]| -> BTreeSet<Vec<u8>> {
            spans.iter().flat_map(|span| [span.trace_id.clone(), span.span_id.clone()]).collect()
        };
        assert!(ids(&first).is_disjoint(&ids(&second)));
        let request_id = |span: &Span| span.attributes[0].value.clone();
        assert!(first.iter().zip(&second).all(|(a, b)| request_id(a) != request_id(b)));
        for span in second.iter().filter(|span| !span.parent_span_id.is_empty()) {
            assert!(
                second
                    .iter()
                    .any(|other| { other.span_id == span.parent_span_id && other.trace_id == span.trace_id })
            );
        }
    }

    #[test]
    fn stamped_spans_end_before_now() {
        let template = &templates(&Shape { bodies: 1, ..Shape::default() })[0];
        let now = BASE_UNIX_NANO + 5 * SPREAD_NANOS;
        for span in decoded(template, 3) {
            assert!(span.start_time_unix_nano < span.end_time_unix_nano);
            assert!((now - SPREAD_NANOS..now).contains(&span.end_time_unix_nano));
        }
    }
}
