//! OpenTelemetry SDKs, unknown dialects, broken text, missing ids.

use std::borrow::Cow;

use selvedge_model::{EventTime, IdentitySource, ObservationKind, Party, Security, Side, SignalKind};

use super::{Bench, ENVOY_LEDGER, NOW, Pairs, START, fields};
use crate::field::field_of;
use crate::record::{LogRecord, Value};

#[test]
fn sdk_spans_of_old_and_new_conventions_say_the_same() {
    let mut bench = Bench::new();
    let resource: Pairs<'_> = &[("service.name", "cart"), ("service.namespace", "front")];
    let old: Pairs<'_> = &[
        ("http.method", "GET"),
        ("http.route", "/carts/{cart_id}"),
        ("http.target", "/carts/17?x=1"),
        ("http.status_code", "404"),
        ("http.user_agent", "web-app/2"),
        ("http.flavor", "1.1"),
    ];
    let new: Pairs<'_> = &[
        ("http.request.method", "GET"),
        ("http.route", "/carts/{cart_id}"),
        ("url.path", "/carts/17"),
        ("http.response.status_code", "404"),
        ("user_agent.original", "web-app/2"),
        ("network.protocol.version", "1.1"),
    ];
    let old = bench.span(2, "GET /carts/{cart_id}", resource, old);
    let new = bench.span(2, "GET /carts/{cart_id}", resource, new);
    assert_eq!(old, new);
    assert_eq!(bench.text(new.route), "/carts/{cart_id}");
    assert_eq!((new.security, new.peer), (Security::Unknown, Party::default()));

    let rpc: Pairs<'_> = &[
        ("rpc.system", "grpc"),
        ("rpc.service", "ledger.v1.Ledger"),
        ("rpc.method", "AddEntry"),
        ("rpc.grpc.status_code", "14"),
        ("net.peer.name", "api.ledger.example"),
    ];
    let seen = bench.span(3, "ledger.v1.Ledger/AddEntry", resource, rpc);
    assert_eq!(bench.text(seen.route), "/ledger.v1.Ledger/AddEntry");
    assert_eq!((bench.text(seen.method), seen.grpc_status), ("grpc", 14));
    assert_eq!(
        (bench.party(&seen.peer).as_str(), seen.peer.source),
        ("!/api.ledger.example", IdentitySource::Header)
    );
    let rpc: Pairs<'_> =
        &[("rpc.method", "ledger.v1.Ledger/AddEntry"), ("rpc.response.status_code", "NOT_FOUND")];
    let seen = bench.span(2, "x", resource, rpc);
    assert_eq!((bench.text(seen.route), seen.grpc_status), ("/ledger.v1.Ledger/AddEntry", 5));
}

#[test]
fn an_unknown_dialect_still_gives_reporter_side_and_parent() {
    let mut bench = Bench::new();
    let seen = bench.span(5, "settle", &[("service.name", "ledger")], &[]);
    assert_eq!((seen.side, seen.status, seen.grpc_status), (Side::Server, 0, -1));
    assert_eq!(bench.party(&seen.reporter), "/ledger");
    assert!(seen.parent_span_id.present() && seen.describes_call());
    let internal = bench.span(0, "compute", &[("service.name", "ledger")], &[("http.method", "GET")]);
    assert_eq!(internal.side, Side::Internal);
    assert!(!internal.describes_call());
}

#[test]
fn an_applications_log_only_enriches() {
    let mut bench = Bench::new();
    let pairs: Pairs<'_> = &[("http.request.method", "GET"), ("http.response.status_code", "200")];
    for (pairs, body) in [(pairs, ""), (&[], "{\"msg\":\"hello\"}"), (&[], "plain words")] {
        let seen = bench.log(&[("service.name", "ledger")], pairs, body);
        assert_eq!((seen.kind, seen.side), (ObservationKind::ApplicationLog, Side::Internal));
        assert!(seen.trace_id.present());
    }
}

#[test]
fn bytes_that_are_not_utf8_cost_nothing_but_a_count() {
    let mut bench = Bench::new();
    let mut fields = fields(&[("mesh.reporter", "inbound"), ("http.method", "GET")]);
    for (name, bytes) in [
        ("http.user_agent", b"\xff\xfe\x80".as_slice()),
        ("http.path", b"/a/\xff"),
        ("http.authority", b"\xff"),
        ("http.request_id", b"\xff"),
    ] {
        fields.set(field_of(name.as_bytes()).unwrap(), Value::Text(Cow::Borrowed(bytes)));
    }
    let seen = bench.raw_log(ENVOY_LEDGER, &fields, Value::Absent);
    assert_eq!(seen.repaired, 4);
    assert_eq!(bench.text(seen.route), "/a/\u{fffd}");
    assert_eq!(bench.text(seen.user_agent), "\u{fffd}\u{fffd}\u{fffd}");
    assert!(seen.request_id.present());
    assert_eq!(bench.normaliser.take_repaired(), 4);
    assert_eq!(bench.normaliser.take_repaired(), 0);
}

#[test]
fn a_record_without_native_ids_takes_them_from_its_headers() {
    let mut bench = Bench::new();
    let cx = bench.resource(SignalKind::Logs, &[]);
    let fields = fields(&[
        ("traceparent", "00-96c03c0000000000000000000000000a-f1b6bcf99f3c9a45-01"),
        ("trace_id", "-"),
    ]);
    let record = LogRecord {
        time_unix_nano: 0,
        observed_unix_nano: START,
        severity_number: 17,
        trace_id: &[],
        span_id: &[],
        body: &Value::Absent,
        fields: &fields,
    };
    let seen = bench.normaliser.log(&cx, &record, NOW, &mut bench.symbols).unwrap();
    assert_eq!(seen.trace_id.to_string(), "96c03c0000000000000000000000000a");
    assert_eq!(seen.span_id.to_string(), "f1b6bcf99f3c9a45");
    assert_eq!((seen.end, seen.error), (EventTime(START), true));
}
