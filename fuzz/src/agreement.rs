//! What the in-place reader says of a request against what `opentelemetry-proto` makes of it, and protobuf against JSON.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use prost::Message;
use selvedge_decode::{DecodeConfig, Decoded, Decoder, Encoding, Rejection};
use selvedge_model::{SignalKind, SymbolTable};

use crate::otlp::{NOW, assert_alike, signal_and_rest};

/// The writer of the tests of `decode`: what `opentelemetry-proto` writes is no OTLP/JSON.
#[path = "../../crates/decode/src/reading_tests/write_json.rs"]
mod write_json;

use write_json::Style;

/// A byte for the signal, then protobuf.
pub fn requests(input: &[u8]) {
    let Some((signal, body)) = signal_and_rest(input) else { return };
    let Some(Request { count, canonical, json, plain }) = read(signal, body) else { return };
    let [mut sent, mut canonical, mut json] = [
        decoded(signal, Encoding::Protobuf, body),
        decoded(signal, Encoding::Protobuf, &canonical),
        decoded(signal, Encoding::Json, json.as_bytes()),
    ];
    if !plain {
        // A list among the attributes of a point is part of its series as the bytes that were sent.
        for ours in [&mut sent, &mut canonical, &mut json] {
            ours.points.iter_mut().for_each(|point| point.series = 0);
        }
    }
    for ours in [&sent, &canonical, &json] {
        assert_eq!(ours.received, count as u64, "the same number of records");
        assert_eq!(ours.rejections.get(Rejection::Malformed), 0, "being lazy never makes us stricter");
    }
    // How many records are taken depends on the bytes of the body.
    let whole = |ours: &Decoded| ours.rejections.get(Rejection::OverLimit) == 0;
    if whole(&canonical) && whole(&json) {
        assert_alike(&canonical, &json);
    }
    if whole(&canonical) && whole(&sent) {
        assert_alike(&canonical, &sent);
    }
}

/// A request as OTLP/JSON; `None` when it is none.
#[must_use]
pub fn as_json(signal: SignalKind, body: &[u8]) -> Option<String> {
    read(signal, body).map(|request| request.json)
}

/// What `opentelemetry-proto` reads: how many records, and the request written again both ways.
struct Request {
    count: usize,
    canonical: Vec<u8>,
    json: String,
    /// All attributes of points are texts, numbers and booleans.
    plain: bool,
}

fn read(signal: SignalKind, body: &[u8]) -> Option<Request> {
    let style =
        Style { bare_integers: body.len().is_multiple_of(2), upper_case: body.len().is_multiple_of(3) };
    let (count, canonical, json, plain) = match signal {
        SignalKind::Traces => {
            let request = ExportTraceServiceRequest::decode(body).ok()?;
            let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            let count = scopes.map(|scope| scope.spans.len()).sum();
            (count, request.encode_to_vec(), style.traces(&request), true)
        }
        SignalKind::Logs => {
            let request = ExportLogsServiceRequest::decode(body).ok()?;
            let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
            let count = scopes.map(|scope| scope.log_records.len()).sum();
            (count, request.encode_to_vec(), style.logs(&request), true)
        }
        SignalKind::Metrics => {
            let request = ExportMetricsServiceRequest::decode(body).ok()?;
            let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
            let metrics: Vec<&Metric> = scopes.flat_map(|scope| &scope.metrics).collect();
            let attributes: Vec<&[KeyValue]> = metrics.iter().flat_map(|metric| attributes(metric)).collect();
            let plain = attributes.iter().flat_map(|list| *list).all(is_plain);
            (attributes.len(), request.encode_to_vec(), style.metrics(&request), plain)
        }
    };
    Some(Request { count, canonical, json, plain })
}

/// The attributes of each point.
fn attributes(metric: &Metric) -> Vec<&[KeyValue]> {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.iter().map(|point| &point.attributes[..]).collect(),
        Some(Data::Sum(sum)) => sum.data_points.iter().map(|point| &point.attributes[..]).collect(),
        Some(Data::Histogram(histogram)) => {
            histogram.data_points.iter().map(|point| &point.attributes[..]).collect()
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            histogram.data_points.iter().map(|point| &point.attributes[..]).collect()
        }
        Some(Data::Summary(summary)) => {
            summary.data_points.iter().map(|point| &point.attributes[..]).collect()
        }
        None => Vec::new(),
    }
}

fn is_plain(attribute: &KeyValue) -> bool {
    let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
    value.is_some_and(|value| !matches!(value, Value::ArrayValue(_) | Value::KvlistValue(_)))
}

fn decoded(signal: SignalKind, encoding: Encoding, body: &[u8]) -> Decoded {
    let mut out = Decoded::default();
    let mut symbols = SymbolTable::new(1 << 16);
    Decoder::new(DecodeConfig::default())
        .decode(signal, encoding, body, NOW, &mut symbols, &mut out)
        .expect("opentelemetry-proto takes it whole");
    // Places in the body differ, and what was wrong with a record is told by its place.
    out.first_rejection = None;
    out.warning = None;
    out
}
