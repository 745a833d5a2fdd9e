//! The promises of `Decoder` to the engine: counts add up, errors leave nothing, memory is reused.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use selvedge_decode::{DecodeConfig, DecodeError, Decoded, Decoder, Encoding, Rejection};
use selvedge_model::{ObservedTime, SignalKind, SymbolTable, TraceId};

/// Some second of 2026.
const NOW: u64 = 1_795_466_033_000_000_000;

fn span(number: u8) -> Span {
    Span {
        trace_id: vec![number; 16],
        span_id: vec![number; 8],
        name: "ingress".to_owned(),
        kind: 2,
        start_time_unix_nano: NOW - 2_000_000,
        end_time_unix_nano: NOW - 1_000_000,
        ..Span::default()
    }
}

fn traces(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// A request with one good span and one whose trace id runs past the span's end.
fn half_bad(number: u8) -> Vec<u8> {
    let mut body = traces(vec![span(number)]);
    // ResourceSpans { ScopeSpans { Span { trace_id: 16 bytes, of which none is there } } }
    body.extend([0x0a, 0x06, 0x12, 0x04, 0x12, 0x02, 0x0a, 0x10]);
    body
}

fn decode_with(
    decoder: &mut Decoder,
    encoding: Encoding,
    body: &[u8],
    out: &mut Decoded,
) -> Result<(), DecodeError> {
    let mut symbols = SymbolTable::new(1 << 20);
    decoder.decode(SignalKind::Traces, encoding, body, ObservedTime(NOW), &mut symbols, out)
}

fn decode(encoding: Encoding, body: &[u8]) -> Result<Decoded, DecodeError> {
    let mut out = Decoded::default();
    decode_with(&mut Decoder::new(DecodeConfig::default()), encoding, body, &mut out).map(|()| out)
}

#[test]
fn every_signal_is_kept_or_rejected_and_the_counts_add_up() {
    let body = [traces(vec![span(1)]), half_bad(2)].concat();
    let out = decode(Encoding::Protobuf, &body).expect("a request");
    assert_eq!((out.received, out.observations.len(), out.rejected), (3, 2, 1));
    assert_eq!(out.rejections.get(Rejection::Malformed), 1);
    assert_eq!(out.rejections.total(), out.rejected);
    assert_eq!(out.observations[1].trace_id, TraceId([2; 16]));
    assert_eq!(out.warning, None);
    let text = format!("malformed: length 16 runs past the end of its message at byte {}", body.len() - 1);
    assert_eq!(out.first_rejection.as_deref(), Some(text.as_str()));
}

#[test]
fn a_record_without_any_time_is_rejected_by_its_number() {
    let timeless = Span { start_time_unix_nano: 0, end_time_unix_nano: 0, ..span(9) };
    let body = traces(vec![span(1), timeless]);
    let (mut out, mut symbols) = (Decoded::default(), SymbolTable::new(1 << 20));
    Decoder::new(DecodeConfig::default())
        .decode(SignalKind::Traces, Encoding::Protobuf, &body, ObservedTime(0), &mut symbols, &mut out)
        .expect("a request");
    assert_eq!(out.rejections.get(Rejection::NoTime), 1);
    assert_eq!(out.first_rejection.as_deref(), Some("record 1: no_time"));
}

#[test]
fn empty_records_cannot_make_us_allocate_more_than_a_multiple_of_the_body() {
    let mut spans = Vec::new();
    for _ in 0..50_000 {
        spans.push(Span::default());
    }
    let body = traces(spans);
    let out = decode(Encoding::Protobuf, &body).expect("a request");
    assert_eq!(out.received, 50_000);
    assert!(out.observations.len() <= body.len() / 11);
    assert_eq!(out.rejections.get(Rejection::OverLimit), out.rejected);
}

#[test]
fn a_broken_body_leaves_nothing_behind() {
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut out = Decoded::default();
    let whole = half_bad(1);
    decode_with(&mut decoder, Encoding::Protobuf, &whole, &mut out).expect("a request");
    assert_eq!(out.received, 2);
    let torn = [&whole[..], &[0x0a, 0x7f]].concat();
    let error = decode_with(&mut decoder, Encoding::Protobuf, &torn, &mut out).expect_err("torn");
    assert_eq!(out, Decoded::default());
    assert_eq!(error.offset(), whole.len() + 1);
    let place = whole.len() + 1;
    assert_eq!(
        error.to_string(),
        format!(
            "not an otlp traces request in protobuf: length 127 runs past the end of its message at byte {place}"
        )
    );
    decode_with(&mut decoder, Encoding::Protobuf, &whole, &mut out).expect("the next body is not affected");
    assert_eq!(out.received, 2);
}

#[test]
fn a_json_syntax_error_says_where() {
    let error = decode(Encoding::Json, b"{\"resourceSpans\":[}").expect_err("no json");
    assert_eq!(error.to_string(), "not an otlp traces request in json: unexpected byte 0x7d at byte 18");
}

#[test]
fn a_body_that_turns_out_empty_is_warned_about() {
    let warning = |encoding, body: &[u8]| decode(encoding, body).expect("a request").warning;
    let snake = warning(Encoding::Json, br#"{"resource_spans":[{"scope_spans":[{"spans":[{}]}]}]}"#);
    assert_eq!(
        snake.as_deref(),
        Some("0 spans in a non-empty body; key `resource_spans` is not known here and was ignored")
    );
    assert_eq!(warning(Encoding::Protobuf, &traces(vec![])).as_deref(), Some("0 spans in a non-empty body"));
    assert_eq!(warning(Encoding::Protobuf, &[]), None);
    assert_eq!(warning(Encoding::Json, b"{}"), None);
}

#[test]
fn signals_beyond_the_limit_are_rejected_and_counted() {
    let mut decoder = Decoder::new(DecodeConfig { signals_max: 2 });
    let mut out = Decoded::default();
    let body = traces((1..=5).map(span).collect());
    decode_with(&mut decoder, Encoding::Protobuf, &body, &mut out).expect("a request");
    assert_eq!((out.received, out.observations.len(), out.rejected), (5, 2, 3));
    assert_eq!(out.rejections.get(Rejection::OverLimit), 3);
}

#[test]
fn logs_sent_as_traces_are_rejected_records_not_calls() {
    let log = LogRecord { time_unix_nano: NOW, severity_number: 9, ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![log.clone(), log], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let body = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    let out = decode(Encoding::Protobuf, &body).expect("the frames are the same");
    assert_eq!((out.received, out.rejected), (2, 2));
    assert_eq!(out.rejections.get(Rejection::Malformed), 2);
}

/// Scenario: the same request as protobuf and as JSON.
/// Guarantees: the same observations; the transport leaves no trace in what is learned.
#[test]
fn both_encodings_give_the_same_observations() {
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{}","spanId":"{}","name":"ingress","kind":2,
        "startTimeUnixNano":"{}","endTimeUnixNano":{}}}]}}]}}]}}"#,
        "01".repeat(16),
        "01".repeat(8),
        NOW - 2_000_000,
        NOW - 1_000_000
    );
    let json = decode(Encoding::Json, json.as_bytes()).expect("a request");
    let protobuf = decode(Encoding::Protobuf, &traces(vec![span(1)])).expect("a request");
    assert_eq!(json, protobuf);
    assert_eq!(json.observations.len(), 1);
}

/// Scenario: one decoder takes many bodies.
/// Guarantees: what it decodes depends on the body alone, not on the bodies before.
#[test]
fn a_decoder_carries_nothing_from_body_to_body() {
    let mut decoder = Decoder::new(DecodeConfig::default());
    let mut out = Decoded::default();
    for number in 1..20 {
        let body = half_bad(number);
        decode_with(&mut decoder, Encoding::Protobuf, &body, &mut out).expect("a request");
        assert_eq!(out, decode(Encoding::Protobuf, &body).expect("a request"));
        decode_with(&mut decoder, Encoding::Json, b"{\"resourceSpans\":[5]}", &mut out)
            .expect_err("a wrong frame");
    }
}

/// Scenario: the same series as protobuf and as JSON, its attributes in another order.
/// Guarantees: one series; another attribute value is another series.
#[test]
fn a_series_is_the_same_in_both_encodings_and_any_order_of_attributes() {
    let attribute = |key: &str, value: i64| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::IntValue(value)) }),
        ..KeyValue::default()
    };
    let series = |attributes: Vec<KeyValue>| {
        let point = NumberDataPoint { attributes, time_unix_nano: NOW, ..NumberDataPoint::default() };
        let data = Some(metric::Data::Gauge(Gauge { data_points: vec![point] }));
        let metrics = vec![Metric { name: "queue.length".to_owned(), data, ..Metric::default() }];
        let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
        let body = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        series_of(Encoding::Protobuf, &body)
    };
    let json = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"queue.length","gauge":{{"dataPoints":[
        {{"timeUnixNano":"{NOW}","attributes":[{{"key":"b","value":{{"intValue":"2"}}}},
        {{"key":"a","value":{{"intValue":1}}}}]}}]}}}}]}}]}}]}}"#
    );
    let one = series(vec![attribute("a", 1), attribute("b", 2)]);
    assert_eq!(one, series(vec![attribute("b", 2), attribute("a", 1)]));
    assert_eq!(one, series_of(Encoding::Json, json.as_bytes()));
    assert_ne!(one, series(vec![attribute("a", 2), attribute("b", 1)]));
    assert_ne!(one, series(vec![attribute("a", 1)]));
}

fn series_of(encoding: Encoding, body: &[u8]) -> u64 {
    let (mut out, mut symbols) = (Decoded::default(), SymbolTable::new(1 << 20));
    Decoder::new(DecodeConfig::default())
        .decode(SignalKind::Metrics, encoding, body, ObservedTime(NOW), &mut symbols, &mut out)
        .expect("a request");
    assert_eq!(out.points.len(), 1, "{:?}", out.first_rejection);
    out.points[0].series
}
