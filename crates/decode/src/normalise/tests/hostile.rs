//! Whatever the bytes in whatever the fields: a record, bounded names, no panic.

use std::borrow::Cow;

use proptest::prelude::*;
use selvedge_model::SymbolTable;

use super::{Bench, NOW};
use crate::field::field_of;
use crate::record::{Fields, LogRecord, SpanHead, SpanRecord, Value};

/// Names whose values are parsed, one of each parser.
const PARSED: [&str; 24] = [
    "http.method",
    "http.path",
    "http.url",
    "http.user_agent",
    "http.authority",
    "http.xfcc",
    "http.raw_xfcc",
    "upstream.cluster",
    "upstream.host",
    "source.principal",
    "destination.principal",
    "upstream.peer.principal",
    "tls.version",
    "tls.failure",
    "tls.peer.not_after",
    "response.code",
    "response.code_details",
    "response.flags",
    "duration_ms",
    "start_time",
    "traceparent",
    "node_id",
    "downstream_peer",
    "grpc.status",
];

fn hostile_text() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "spiffe://",
        "/ns/",
        "/sa/",
        "outbound|80||",
        ".svc.",
        ".consul",
        "By=",
        ";URI=",
        "\"",
        "\\",
        ",",
        "é",
        "{id}",
        "[",
        "]",
        "-",
        "2026-11-24T20:31:16",
        ".",
        "Z",
        "://",
        "%40",
        "@",
        "rbac_access_denied_matched_policy[",
        " ",
        "ns[",
        "]-policy[",
        "{\"method\":",
        "}",
        "ms",
        "9999999999999999999",
        "internal",
        "~",
    ]);
    let piece = prop_oneof![
        pieces.prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6)
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn hostile_values_give_a_record_with_bounded_names(
        texts in prop::collection::vec((0..PARSED.len(), hostile_text()), 0..10),
        body in hostile_text(),
        kind in 0..6_i32,
        times in any::<(u64, u64)>(),
    ) {
        let mut fields = Fields::new();
        for (at, text) in &texts {
            fields.set(field_of(PARSED[*at].as_bytes()).unwrap(), Value::Text(Cow::Borrowed(text)));
        }
        let mut bench = Bench::new();
        bench.symbols = SymbolTable::new(1 << 16);
        let cx = bench.normaliser.resource(selvedge_model::SignalKind::Logs, &fields, None, &mut bench.symbols);
        let span = SpanRecord { head: SpanHead {
            trace_id: &[], span_id: &[], parent_span_id: &[], name: &body, kind,
            start_unix_nano: times.0, end_unix_nano: times.1, status_code: 0, trace_state: &body, }, fields: &fields,
        };
        let span = bench.normaliser.span(&cx, &span, NOW, &mut bench.symbols).unwrap();
        let log = LogRecord {
            time_unix_nano: times.0, observed_unix_nano: times.1, severity_number: kind, trace_id: &[], span_id: &[],
            body: &Value::Text(Cow::Borrowed(&body)), fields: &fields,
        };
        let log = bench.normaliser.log(&cx, &log, NOW, &mut bench.symbols).unwrap();
        for seen in [span, log] {
            prop_assert!(seen.start <= seen.end && seen.end.present());
            prop_assert!(seen.end.0 <= NOW.0 + 60_000_000_000);
            prop_assert!(bench.text(seen.route).len() <= 256);
            prop_assert!(bench.text(seen.user_agent).len() <= 32);
            prop_assert!(!seen.handshake_failure.present() || !seen.peer.principal.present());
        }
    }
}
