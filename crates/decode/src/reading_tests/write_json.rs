//! OTLP/JSON as the specification writes it, from messages; written here because `opentelemetry-proto`'s own
//! serialisation does not conform.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Wire;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::{Value, json};

/// The liberties that a sender has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// 64-bit integers as numbers instead of strings.
    pub(super) bare_integers: bool,
    /// Ids in upper case.
    pub(super) upper_case: bool,
}

impl Style {
    fn hex(self, id: &[u8]) -> String {
        let digit = |byte: &u8| if self.upper_case { format!("{byte:02X}") } else { format!("{byte:02x}") };
        id.iter().map(digit).collect()
    }

    fn integer<T: Into<Value> + ToString>(self, number: T) -> Value {
        if self.bare_integers { number.into() } else { Value::String(number.to_string()) }
    }

    fn value(self, value: Option<&AnyValue>) -> Value {
        match value.map(|value| &value.value) {
            None => Value::Null,
            Some(None) => json!({}),
            Some(Some(Wire::StringValue(text))) => json!({"stringValue": text}),
            Some(Some(Wire::BoolValue(truth))) => json!({"boolValue": truth}),
            Some(Some(Wire::IntValue(number))) => json!({"intValue": self.integer(*number)}),
            Some(Some(Wire::DoubleValue(number))) => json!({"doubleValue": double(*number)}),
            Some(Some(Wire::BytesValue(bytes))) => json!({"bytesValue": STANDARD.encode(bytes)}),
            Some(Some(Wire::ArrayValue(array))) if array.values.is_empty() => json!({"arrayValue": {}}),
            Some(Some(Wire::ArrayValue(array))) => {
                let values: Vec<_> = array.values.iter().map(|value| self.value(Some(value))).collect();
                json!({"arrayValue": {"values": values}})
            }
            Some(Some(Wire::KvlistValue(map))) if map.values.is_empty() => json!({"kvlistValue": {}}),
            Some(Some(Wire::KvlistValue(map))) => {
                json!({"kvlistValue": {"values": self.attributes(&map.values)}})
            }
            Some(Some(Wire::StringValueStrindex(_))) => json!({}),
        }
    }

    fn attributes(self, attributes: &[KeyValue]) -> Value {
        attributes
            .iter()
            .map(|one| json!({"key": one.key, "value": self.value(one.value.as_ref())}))
            .collect()
    }

    fn resource(self, resource: Option<&Resource>) -> Value {
        resource.map_or(Value::Null, |resource| json!({"attributes": self.attributes(&resource.attributes)}))
    }

    pub(super) fn traces(self, request: &ExportTraceServiceRequest) -> String {
        let span = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
            json!({
                "traceId": self.hex(&span.trace_id), "spanId": self.hex(&span.span_id),
                "parentSpanId": self.hex(&span.parent_span_id), "name": span.name, "kind": span.kind,
                "startTimeUnixNano": self.integer(span.start_time_unix_nano),
                "endTimeUnixNano": self.integer(span.end_time_unix_nano),
                "attributes": self.attributes(&span.attributes), "traceState": span.trace_state,
                "events": [{"name": "e", "attributes": self.attributes(&span.attributes)}],
                "status": span.status.as_ref().map(|status| json!({"code": status.code, "message": status.message})),
            })
        };
        let resources = request.resource_spans.iter().map(|one| {
            let scopes = one.scope_spans.iter().map(
                |scope| json!({"scope": null, "spans": scope.spans.iter().map(span).collect::<Value>()}),
            );
            json!({"resource": self.resource(one.resource.as_ref()), "scopeSpans": scopes.collect::<Value>()})
        });
        json!({"resourceSpans": resources.collect::<Value>()}).to_string()
    }

    pub(super) fn logs(self, request: &ExportLogsServiceRequest) -> String {
        let log = |log: &opentelemetry_proto::tonic::logs::v1::LogRecord| {
            json!({
                "timeUnixNano": self.integer(log.time_unix_nano),
                "observedTimeUnixNano": self.integer(log.observed_time_unix_nano),
                "severityNumber": log.severity_number, "severityText": log.severity_text,
                "body": self.value(log.body.as_ref()), "attributes": self.attributes(&log.attributes),
                "traceId": self.hex(&log.trace_id), "spanId": self.hex(&log.span_id),
                "eventName": log.event_name,
            })
        };
        let resources = request.resource_logs.iter().map(|one| {
            let scopes = one
                .scope_logs
                .iter()
                .map(|scope| json!({"logRecords": scope.log_records.iter().map(log).collect::<Value>()}));
            json!({"scopeLogs": scopes.collect::<Value>(), "resource": self.resource(one.resource.as_ref())})
        });
        json!({"resourceLogs": resources.collect::<Value>()}).to_string()
    }

    pub(super) fn metrics(self, request: &ExportMetricsServiceRequest) -> String {
        let resources = request.resource_metrics.iter().map(|one| {
            let scopes = one.scope_metrics.iter().map(|scope| {
                json!({"metrics": scope.metrics.iter().map(|metric| self.metric(metric)).collect::<Value>()})
            });
            json!({"resource": self.resource(one.resource.as_ref()), "scopeMetrics": scopes.collect::<Value>()})
        });
        json!({"resourceMetrics": resources.collect::<Value>()}).to_string()
    }

    fn metric(self, metric: &Metric) -> Value {
        let mut json = json!({"name": metric.name, "unit": metric.unit, "description": metric.description});
        let (key, data) = match &metric.data {
            None => return json,
            Some(Data::Gauge(gauge)) => ("gauge", json!({"dataPoints": self.numbers(&gauge.data_points)})),
            Some(Data::Sum(sum)) => (
                "sum",
                json!({"dataPoints": self.numbers(&sum.data_points), "isMonotonic": sum.is_monotonic,
                    "aggregationTemporality": sum.aggregation_temporality}),
            ),
            Some(Data::Histogram(histogram)) => ("histogram", self.histogram(histogram)),
            Some(Data::ExponentialHistogram(histogram)) => {
                ("exponentialHistogram", self.exponential(histogram))
            }
            Some(Data::Summary(summary)) => {
                let points = summary.data_points.iter().map(|point| {
                    json!({"attributes": self.attributes(&point.attributes), "flags": point.flags,
                        "startTimeUnixNano": self.integer(point.start_time_unix_nano),
                        "timeUnixNano": self.integer(point.time_unix_nano),
                        "count": self.integer(point.count), "sum": double(point.sum)})
                });
                ("summary", json!({"dataPoints": points.collect::<Value>()}))
            }
        };
        json[key] = data;
        json
    }

    fn numbers(self, points: &[NumberDataPoint]) -> Value {
        let point = |point: &NumberDataPoint| {
            let mut json = json!({"attributes": self.attributes(&point.attributes), "flags": point.flags,
                "startTimeUnixNano": self.integer(point.start_time_unix_nano),
                "timeUnixNano": self.integer(point.time_unix_nano)});
            match point.value {
                Some(Number::AsDouble(number)) => json["asDouble"] = double(number),
                Some(Number::AsInt(number)) => json["asInt"] = self.integer(number),
                None => {}
            }
            json
        };
        points.iter().map(point).collect()
    }

    fn histogram(self, histogram: &opentelemetry_proto::tonic::metrics::v1::Histogram) -> Value {
        let points = histogram.data_points.iter().map(|point| {
            json!({"attributes": self.attributes(&point.attributes), "flags": point.flags,
                "startTimeUnixNano": self.integer(point.start_time_unix_nano),
                "timeUnixNano": self.integer(point.time_unix_nano),
                "count": self.integer(point.count), "sum": point.sum.map(double),
                "bucketCounts": point.bucket_counts.iter().map(|count| self.integer(*count)).collect::<Value>(),
                "explicitBounds": point.explicit_bounds})
        });
        let temporality = histogram.aggregation_temporality;
        json!({"dataPoints": points.collect::<Value>(), "aggregationTemporality": temporality})
    }

    fn exponential(self, histogram: &opentelemetry_proto::tonic::metrics::v1::ExponentialHistogram) -> Value {
        let points = histogram.data_points.iter().map(|point| {
            let buckets = |buckets: &opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets| {
                let counts: Value = buckets.bucket_counts.iter().map(|count| self.integer(*count)).collect();
                json!({"offset": buckets.offset, "bucketCounts": counts})
            };
            json!({"attributes": self.attributes(&point.attributes), "flags": point.flags,
                "startTimeUnixNano": self.integer(point.start_time_unix_nano),
                "timeUnixNano": self.integer(point.time_unix_nano),
                "count": self.integer(point.count), "sum": point.sum.map(double), "scale": point.scale,
                "zeroCount": self.integer(point.zero_count),
                "positive": point.positive.as_ref().map(buckets), "negative": point.negative.as_ref().map(buckets)})
        });
        let temporality = histogram.aggregation_temporality;
        json!({"dataPoints": points.collect::<Value>(), "aggregationTemporality": temporality})
    }
}

fn double(number: f64) -> Value {
    match number {
        _ if number.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        _ => json!(number),
    }
}
