//! Requests shaped like those of an Istio mesh's sidecars, encoded once and re-stamped for every send.
//!
//! A request carries the spans of a few workloads, both sides of every call, 18 string attributes a span. Ids and times
//! are patched in place, so that a send costs the generator a copy and never an encode, and no two requests share an id.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use crate::wire::{self, Places};

/// How large the mesh and its requests are.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Spans in one request.
    pub spans: usize,
    /// Workloads that report in one request; a trace passes through all of them.
    pub hops: usize,
    /// Workloads in the mesh.
    pub workloads: usize,
    /// How many other workloads each one calls: with 50 workloads, 4 gives 200 edges.
    pub fan_out: usize,
    /// Different request bodies, sent in turn.
    pub bodies: usize,
    /// Seed of all choices.
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { spans: 100, hops: 4, workloads: 50, fan_out: 4, bodies: 64, seed: 42 }
    }
}

/// Time that templates are built with; stamping shifts it.
const BASE_UNIX_NANO: u64 = 1_700_000_000_000_000_000;
/// Spans of one request start within this time, as when sidecars flush once a second.
const SPREAD_NANOS: u64 = 1_000_000_000;

const PATHS: [&str; 10] = [
    "/api/v1/basket",
    "/api/v1/checkout",
    "/api/v1/items/",
    "/api/v1/people/",
    "/healthz",
    "/api/v2/suggestions",
    "/shop.BasketService/AddItem",
    "/shop.ItemService/ListItems",
    "/api/v1/invoices",
    "/static/app.js",
];

/// One encoded request and the places in it that differ from send to send.
pub struct Template {
    bytes: Vec<u8>,
    spans: usize,
    places: Places,
}

impl Template {
    /// Spans in the request.
    #[must_use]
    pub fn spans(&self) -> usize {
        self.spans
    }

    /// Encoded length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True for a request without a byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A copy with ids of its own for send number `sequence`, whose spans ended within the second before `now`.
    #[must_use]
    pub fn stamp(&self, sequence: u64, now_unix_nano: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let salt = Random(sequence).next();
        for &at in self.places.trace_ids.iter().chain(&self.places.span_ids) {
            change_u64(&mut bytes, at, |id| id ^ salt);
        }
        let shift = now_unix_nano.wrapping_sub(BASE_UNIX_NANO + SPREAD_NANOS);
        for &at in &self.places.times {
            change_u64(&mut bytes, at, |time| time.wrapping_add(shift));
        }
        for &at in &self.places.request_ids {
            for (digit, nibble) in bytes[at..at + 8].iter_mut().zip(0_u32..) {
                *digit = hex_digit(hex_value(*digit) ^ (salt >> (4 * nibble)));
            }
        }
        bytes
    }
}

fn change_u64(bytes: &mut [u8], at: usize, change: impl Fn(u64) -> u64) {
    let place: &mut [u8; 8] = (&mut bytes[at..at + 8]).try_into().expect("the range is eight bytes long");
    *place = change(u64::from_le_bytes(*place)).to_le_bytes();
}

fn hex_value(digit: u8) -> u64 {
    u64::from(if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 })
}

fn hex_digit(value: u64) -> u8 {
    b"0123456789abcdef"[usize::try_from(value & 15).expect("four bits fit")]
}

/// The request bodies of a run.
#[must_use]
pub fn templates(shape: &Shape) -> Vec<Template> {
    let mut random = Random(shape.seed);
    (0..shape.bodies)
        .map(|_| {
            let bytes = request(shape, &mut random).encode_to_vec();
            let places = wire::places(&bytes);
            Template { spans: shape.spans, bytes, places }
        })
        .collect()
}

/// A request: traces that pass through the same few workloads, each hop reported by both of its sidecars.
fn request(shape: &Shape, random: &mut Random) -> ExportTraceServiceRequest {
    let stride = 1 + random.below(shape.fan_out);
    let first = random.below(shape.workloads);
    let workloads: Vec<usize> = (0..shape.hops).map(|hop| (first + hop * stride) % shape.workloads).collect();
    let mut spans: Vec<Vec<Span>> = vec![Vec::new(); shape.hops];
    let mut left = shape.spans;
    while left > 0 {
        left = trace(&workloads, &mut spans, left, random);
    }
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

/// Adds one trace, at most `left` spans of it; returns how many are still wanted.
fn trace(workloads: &[usize], spans: &mut [Vec<Span>], mut left: usize, random: &mut Random) -> usize {
    let trace_id = [random.next().to_be_bytes(), random.next().to_be_bytes()].concat();
    let mut parent = Vec::new();
    let mut start = BASE_UNIX_NANO + random.next() % (SPREAD_NANOS / 2);
    let mut nanos = 2_000_000 + random.next() % 60_000_000;
    for hop in 1..workloads.len() {
        let call = MeshCall::draw(workloads[hop - 1], workloads[hop], random);
        for (kind, owner) in [(SpanKind::Client, hop - 1), (SpanKind::Server, hop)] {
            if left == 0 {
                return 0;
            }
            left -= 1;
            let span_id = random.next().to_be_bytes().to_vec();
            spans[owner].push(Span {
                trace_id: trace_id.clone(),
                span_id: span_id.clone(),
                parent_span_id: std::mem::replace(&mut parent, span_id),
                name: format!("{}.shop.svc.cluster.local:8080/*", workload_name(workloads[hop])),
                kind: kind.into(),
                start_time_unix_nano: start,
                end_time_unix_nano: start + nanos,
                attributes: call.attributes(kind),
                ..Default::default()
            });
            start += 100_000;
            nanos -= nanos / 8;
        }
    }
    left
}

/// One call as both of its sidecars see it.
struct MeshCall {
    caller: usize,
    callee: usize,
    method: &'static str,
    path: String,
    request_id: String,
    status: &'static str,
    request_bytes: u64,
    response_bytes: u64,
}

impl MeshCall {
    fn draw(caller: usize, callee: usize, random: &mut Random) -> Self {
        let mut path = PATHS[random.below(PATHS.len())].to_owned();
        if path.ends_with('/') {
            path += &random.below(100_000).to_string();
        }
        let (high, low) = (random.next(), random.next());
        Self {
            caller,
            callee,
            method: if random.below(4) == 0 { "POST" } else { "GET" },
            path,
            request_id: format!(
                "{:08x}-{:04x}-4{:03x}-9{:03x}-{:012x}",
                high >> 32,
                (high >> 16) & 0xffff,
                high & 0xfff,
                low >> 52,
                low & 0xffff_ffff_ffff
            ),
            status: if random.below(100) == 0 { "503" } else { "200" },
            request_bytes: random.next() % 4_096,
            response_bytes: random.next() % 65_536,
        }
    }

    fn attributes(&self, kind: SpanKind) -> Vec<KeyValue> {
        let client = kind == SpanKind::Client;
        let reporter = workload_name(if client { self.caller } else { self.callee });
        let callee = workload_name(self.callee);
        let direction = if client { "outbound" } else { "inbound" };
        vec![
            text(wire::REQUEST_ID_KEY, self.request_id.clone()),
            text("http.url", format!("http://{callee}.shop.svc.cluster.local:8080{}", self.path)),
            text("http.method", self.method),
            text("http.status_code", self.status),
            text("http.protocol", "HTTP/1.1"),
            text("upstream_cluster", format!("{direction}|8080||{callee}.shop.svc.cluster.local")),
            text("upstream_cluster.name", format!("{direction}|8080||{callee}.shop.svc.cluster.local;")),
            text("response_flags", if self.status == "503" { "UF,URX" } else { "-" }),
            text("peer.address", format!("10.42.{}.{}", self.caller / 200, self.caller % 200)),
            text("request_size", self.request_bytes.to_string()),
            text("response_size", self.response_bytes.to_string()),
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
}

fn resource(workload: usize) -> Resource {
    let name = workload_name(workload);
    Resource {
        attributes: vec![
            text("k8s.pod.name", format!("{name}-7c9d8b6f5d-{:05x}", workload * 7_919 % 0xf_ffff)),
            text("k8s.node.name", format!("ip-10-0-{}-17.eu-west-1.compute.internal", workload % 16)),
            text("service.name", name),
            text("service.namespace", "shop"),
            text("k8s.namespace.name", "shop"),
            text("telemetry.sdk.language", "cpp"),
            text("telemetry.sdk.name", "envoy"),
            text("telemetry.sdk.version", "1.40.0"),
        ],
        ..Default::default()
    }
}

fn workload_name(workload: usize) -> String {
    const NAMES: [&str; 10] =
        ["web", "basket", "checkout", "ledger", "depot", "items", "banner", "people", "invoices", "finder"];
    format!("{}-{}", NAMES[workload % NAMES.len()], workload / NAMES.len())
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.into())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

/// Splitmix64: small, seeded, the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a count fits in 64 bits");
        usize::try_from(self.next() % limit).expect("smaller than a usize")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

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
            assert_eq!(spans.len(), shape.spans);
            assert!(spans.iter().all(|span| span.attributes.len() == 18));
            let bytes_per_span = template.len() / shape.spans;
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
