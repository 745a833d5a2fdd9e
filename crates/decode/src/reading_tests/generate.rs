//! Valid OTLP requests, drawn at random.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::seen::KEYS;

/// Few and short cases: the tests run with every build.
pub(super) fn config(cases: u32) -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(0x5e1ed6e);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just("-".to_owned()), "[a-z/]{0,6}", "\\PC{0,4}", "[\"\\\\\u{0}-\u{1f}é😀]{0,3}"]
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        select(vec![0.0, -0.0, 1.5, 59.214_014_950_296_644, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]) // One NaN for all: JSON has only one.
    ]
    .prop_map(|number| if number.is_nan() { f64::NAN } else { number })
}

fn any_value() -> impl Strategy<Value = Option<AnyValue>> {
    let plain = prop_oneof![
        4 => text().prop_map(Value::StringValue),
        1 => any::<i64>().prop_map(Value::IntValue),
        1 => double().prop_map(Value::DoubleValue),
        1 => any::<bool>().prop_map(Value::BoolValue),
        1 => vec(any::<u8>(), 0..4).prop_map(Value::BytesValue),
    ];
    let wrap = |value| AnyValue { value };
    let tree = option::weighted(0.9, plain).prop_map(wrap).prop_recursive(3, 12, 3, move |inner| {
        let entry = (select(KEYS.to_vec()), inner.clone());
        let entry = entry.prop_map(|(key, value)| key_value(key, Some(value)));
        prop_oneof![
            vec(inner, 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec(entry, 0..3).prop_map(|values| Value::KvlistValue(KeyValueList { values })),
        ]
        .prop_map(move |value| AnyValue { value: Some(value) })
    });
    option::weighted(0.95, tree)
}

fn key_value(key: &str, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((select(KEYS.to_vec()), any_value()).prop_map(|(key, value)| key_value(key, value)), 0..5)
}

fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), length), 1 => vec(any::<u8>(), 0..20)]
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    option::of(attributes().prop_map(|attributes| Resource { attributes, ..Resource::default() }))
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    option::of((text(), attributes()).prop_map(|(name, attributes)| InstrumentationScope {
        name,
        attributes,
        ..InstrumentationScope::default()
    }))
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (id(16), id(8), id(8));
    let status = option::of((text(), 0..4).prop_map(|(message, code)| Status { message, code }));
    let rest = (text(), -1..100, any::<u64>(), any::<u64>(), attributes(), status, text(), any::<u32>());
    (ids, rest).prop_map(|((trace_id, span_id, parent_span_id), rest)| {
        let (name, kind, start_time_unix_nano, end_time_unix_nano, attributes, status, trace_state, flags) =
            rest;
        let event = Event { name: trace_state.clone(), attributes: attributes.clone(), ..Event::default() };
        Span {
            trace_id,
            span_id,
            parent_span_id,
            name,
            kind,
            start_time_unix_nano,
            end_time_unix_nano,
            attributes,
            status,
            trace_state,
            flags,
            events: vec![event],
            ..Span::default()
        }
    })
}

pub(super) fn traces() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope = (scope(), vec(span(), 0..4), text());
    let scope = scope.prop_map(|(scope, spans, schema_url)| ScopeSpans { scope, spans, schema_url });
    let resource = (resource(), vec(scope, 0..3), text())
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    vec(resource, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn log() -> impl Strategy<Value = LogRecord> {
    let ids = (id(16), id(8));
    let rest = (any::<u64>(), any::<u64>(), 0..30, text(), any_value(), attributes(), any::<u32>(), text());
    (ids, rest).prop_map(|((trace_id, span_id), rest)| {
        let (
            time_unix_nano,
            observed_time_unix_nano,
            severity_number,
            severity_text,
            body,
            attributes,
            flags,
            event_name,
        ) = rest;
        LogRecord {
            time_unix_nano,
            observed_time_unix_nano,
            severity_number,
            severity_text,
            body,
            attributes,
            flags,
            trace_id,
            span_id,
            event_name,
            ..LogRecord::default()
        }
    })
}

pub(super) fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scope = (scope(), vec(log(), 0..4), text());
    let scope =
        scope.prop_map(|(scope, log_records, schema_url)| ScopeLogs { scope, log_records, schema_url });
    let resource = (resource(), vec(scope, 0..3), text())
        .prop_map(|(resource, scope_logs, schema_url)| ResourceLogs { resource, scope_logs, schema_url });
    vec(resource, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

fn number_point() -> impl Strategy<Value = NumberDataPoint> {
    let value = option::weighted(
        0.9,
        prop_oneof![double().prop_map(Number::AsDouble), any::<i64>().prop_map(Number::AsInt)],
    );
    (attributes(), any::<u64>(), any::<u64>(), value, 0..3_u32).prop_map(
        |(attributes, start_time_unix_nano, time_unix_nano, value, flags)| NumberDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            value,
            flags,
            ..NumberDataPoint::default()
        },
    )
}

fn histogram_point() -> impl Strategy<Value = HistogramDataPoint> {
    let counts = vec(any::<u64>(), 0..5);
    (attributes(), any::<u64>(), any::<u64>(), any::<u64>(), option::of(double()), counts, 0..3_u32).prop_map(
        |(attributes, start_time_unix_nano, time_unix_nano, count, sum, bucket_counts, flags)| {
            let explicit_bounds = (1..bucket_counts.len()).map(|bound| bound as f64 * 0.1).collect();
            HistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count,
                sum,
                bucket_counts,
                explicit_bounds,
                flags,
                min: sum,
                ..HistogramDataPoint::default()
            }
        },
    )
}

fn exponential_point() -> impl Strategy<Value = ExponentialHistogramDataPoint> {
    let buckets = || {
        let buckets = (any::<i32>(), vec(prop_oneof![0..300_u64, any::<u64>()], 0..5));
        option::of(buckets.prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts }))
    };
    let times = (any::<u64>(), any::<u64>());
    (
        attributes(),
        times,
        any::<u64>(),
        option::of(double()),
        -20..21,
        any::<u64>(),
        (buckets(), buckets()),
        0..3_u32,
    )
        .prop_map(|(attributes, times, count, sum, scale, zero_count, (positive, negative), flags)| {
            ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano: times.0,
                time_unix_nano: times.1,
                count,
                sum,
                scale,
                zero_count,
                positive,
                negative,
                flags,
                zero_threshold: 0.25,
                ..ExponentialHistogramDataPoint::default()
            }
        })
}

fn summary_point() -> impl Strategy<Value = SummaryDataPoint> {
    (attributes(), any::<u64>(), any::<u64>(), any::<u64>(), double(), 0..3_u32).prop_map(
        |(attributes, start_time_unix_nano, time_unix_nano, count, sum, flags)| SummaryDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            count,
            sum,
            flags,
            ..SummaryDataPoint::default()
        },
    )
}

fn metric() -> impl Strategy<Value = Metric> {
    let data = prop_oneof![
        vec(number_point(), 0..3).prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (vec(number_point(), 0..3), 0..3, any::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| {
                Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
            }
        ),
        (vec(histogram_point(), 0..3), 0..3).prop_map(|(data_points, aggregation_temporality)| {
            Data::Histogram(Histogram { data_points, aggregation_temporality })
        }),
        (vec(exponential_point(), 0..3), 0..3).prop_map(|(data_points, aggregation_temporality)| {
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        }),
        vec(summary_point(), 0..3).prop_map(|data_points| Data::Summary(Summary { data_points })),
    ];
    (text(), text(), text(), option::weighted(0.95, data), attributes()).prop_map(
        |(name, description, unit, data, metadata)| Metric { name, description, unit, data, metadata },
    )
}

pub(super) fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let scope = (scope(), vec(metric(), 0..4), text());
    let scope = scope.prop_map(|(scope, metrics, schema_url)| ScopeMetrics { scope, metrics, schema_url });
    let resource =
        (resource(), vec(scope, 0..3), text()).prop_map(|(resource, scope_metrics, schema_url)| {
            ResourceMetrics { resource, scope_metrics, schema_url }
        });
    vec(resource, 0..3).prop_map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics })
}
