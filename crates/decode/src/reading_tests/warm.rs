//! What a decoder remembers of earlier requests must never show in a later one.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message;
use selvedge_model::{ObservedTime, SignalKind, SymbolTable};

use super::generate::{config, logs, traces};
use crate::decoder::{DecodeConfig, Decoded, Decoder, Encoding};

const NOW: ObservedTime = ObservedTime(1_795_467_355_000_000_000);

/// Names that decide who spoke to whom, what was asked and how it was protected; few, so that records agree often.
const KEYS: [&str; 31] = [
    "http.method",
    "http.url",
    "http.route",
    "url.path",
    "upstream_cluster",
    "upstream_cluster.name",
    "authority",
    "user_agent",
    "http.protocol",
    "http.status_code",
    "node_id",
    "istio.namespace",
    "reporter_workload",
    "istio.canonical_revision",
    "service.version",
    "istio.source_workload",
    "istio.source_canonical_revision",
    "k8s.pod.name",
    "source.principal",
    "upstream.peer.principal",
    "upstream.local.principal",
    "tls.version",
    "upstream.tls.version",
    "tls.failure",
    "upstream.tls.failure",
    "connection.id",
    "response_size",
    "http.xfcc",
    "response_code_details",
    "rpc.method",
    "nobody.knows",
];

fn value() -> impl Strategy<Value = Value> {
    let texts = [
        "-",
        "",
        "unknown",
        "GET",
        "web",
        "7",
        "0",
        "/carts/17",
        "http://cart.front:80/carts",
        "outbound|80||cart.front.svc.cluster.local",
        "PassthroughCluster",
        "spiffe://mesh.example/ns/front/sa/web",
        "TLS_error:_certificate_has_expired",
        "TLS_error:HTTP_REQUEST",
        "1.3",
        "sidecar~10.0.0.7~web-7d4b9c6f5d-x2x4z.front~front.svc.cluster.local",
        "web-7d4b9c6f5d-x2x4z",
        "rbac_access_denied_matched_policy[none]",
    ];
    prop_oneof![
        12 => select(texts.to_vec()).prop_map(|text| Value::StringValue(text.to_owned())),
        1 => Just(Value::StringValue("/long".repeat(60))),
        1 => select(vec![b"\xff".to_vec(), b"/a\xff".to_vec()]).prop_map(Value::BytesValue),
        1 => (0_i64..3).prop_map(Value::IntValue),
        1 => select(vec![0.0, 0.5, 200.0]).prop_map(Value::DoubleValue),
        1 => any::<bool>().prop_map(Value::BoolValue),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let entry = (select(KEYS.to_vec()), value()).prop_map(|(key, value)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    });
    vec(entry, 0..9)
}

/// A request whose spans are drawn from two or three templates, with one attribute changed now and then.
fn calls() -> impl Strategy<Value = Vec<u8>> {
    let template = (1_i32..4, select(vec!["GET /carts", "x", "a.B/C"]), attributes());
    let change = (any::<Index>(), any::<Index>(), proptest::option::weighted(0.4, value()));
    (vec(template, 1..4), vec(change, 1..12), attributes()).prop_map(|(templates, changes, resource)| {
        let spans = changes.into_iter().map(|(which, at, value)| {
            let (kind, name, mut attributes) = which.get(&templates).clone();
            if let (Some(value), false) = (value, attributes.is_empty()) {
                at.get_mut(&mut attributes).value = Some(AnyValue { value: Some(value) });
            }
            let (start, name) = (NOW.0 - 5, name.to_owned());
            Span { kind, name, attributes, start_time_unix_nano: start, ..Span::default() }
        });
        let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
        let resource = Some(Resource { attributes: resource, ..Resource::default() });
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    })
}

fn request() -> impl Strategy<Value = (SignalKind, Vec<u8>)> {
    prop_oneof![
        6 => calls().prop_map(|body| (SignalKind::Traces, body)),
        1 => traces().prop_map(|request| (SignalKind::Traces, request.encode_to_vec())),
        1 => logs().prop_map(|request| (SignalKind::Logs, request.encode_to_vec())),
    ]
}

/// Decodes the requests one after the other into one table, and says what became of each.
fn outcomes(
    requests: &[(SignalKind, Vec<u8>)],
    symbol_bytes_max: usize,
    is_fresh_each_time: bool,
) -> (Vec<String>, u64) {
    let mut symbols = SymbolTable::new(symbol_bytes_max);
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut decoded = Decoded::default();
    let mut outcomes = Vec::new();
    for (signal, body) in requests {
        if is_fresh_each_time {
            decoder = Decoder::new(DecodeConfig::default());
        }
        let result = decoder.decode(*signal, Encoding::Protobuf, body, NOW, &mut symbols, &mut decoded);
        outcomes.push(format!("{result:?} {decoded:?}"));
    }
    (outcomes, symbols.overflowed())
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn a_decoder_that_has_seen_much_says_what_a_new_one_says(
        requests in vec(request(), 1..4),
        changes in vec((any::<Index>(), any::<Index>(), any::<u8>()), 6),
        symbol_bytes_max in select(vec![150_usize, 600, 1 << 20]),
    ) {
        // Each request comes again, as it was and with a byte changed.
        let again = changes.into_iter().flat_map(|(which, at, byte)| {
            let (signal, body) = which.get(&requests).clone();
            let mut changed = body.clone();
            if !changed.is_empty() {
                *at.get_mut(&mut changed) = byte;
            }
            [(signal, changed), (signal, body)]
        });
        let all: Vec<_> = requests.iter().cloned().chain(again).collect();
        prop_assert_eq!(outcomes(&all, symbol_bytes_max, false), outcomes(&all, symbol_bytes_max, true));
    }
}

/// Symbols of one table mean nothing in another, whatever the decoder remembers.
#[test]
fn another_table_gets_names_of_its_own() {
    let mut runner = TestRunner::new(config(1));
    let body = calls().new_tree(&mut runner).expect("a request").current();
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut decoded = Decoded::default();
    let mut seen = Vec::new();
    for names_before in [0, 0, 5] {
        let mut symbols = SymbolTable::new(1 << 20);
        for name in 0..names_before {
            symbols.intern(&format!("before-{name}"));
        }
        let traces = SignalKind::Traces;
        decoder.decode(traces, Encoding::Protobuf, &body, NOW, &mut symbols, &mut decoded).unwrap();
        let texts = decoded.observations.iter().map(|seen| {
            let names = [seen.origin, seen.method, seen.route, seen.peer.workload, seen.reporter.workload];
            names.map(|name| symbols.resolve(name).to_owned())
        });
        seen.push(texts.collect::<Vec<_>>());
    }
    assert!(!seen[0].is_empty() && seen[0] == seen[1] && seen[0] == seen[2]);
}
