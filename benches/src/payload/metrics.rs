//! Points as Envoy's OTLP stats sink sends them: cumulative counters, gauges and 19-bound histograms, one point a metric,
//! no scope, unit or description.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};

use super::mesh::{self, Random, resource, text, workload_name};
use super::{BASE_UNIX_NANO, SPREAD_NANOS, Shape};

/// Bounds of Envoy's histograms, in milliseconds.
const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];
/// The bucket that grows from send to send.
pub(crate) const BUSY_BUCKET: usize = 4;

/// What a sidecar keeps of a cluster, with the label that tells points of one name apart.
const COUNTERS: [(&str, Option<(&str, &str)>); 10] = [
    ("upstream_rq_xx", Some(("envoy.response_code_class", "2"))),
    ("upstream_rq_xx", Some(("envoy.response_code_class", "5"))),
    ("upstream_rq", Some(("envoy.response_code", "200"))),
    ("upstream_rq_total", None),
    ("upstream_rq_completed", None),
    ("upstream_cx_total", None),
    ("upstream_cx_rx_bytes_total", None),
    ("upstream_cx_tx_bytes_total", None),
    ("ssl.handshake", None),
    ("ssl.ciphers", Some(("cipher_suite", "TLS_AES_128_GCM_SHA256"))),
];
const GAUGES: [&str; 5] = [
    "upstream_cx_active",
    "upstream_rq_active",
    "upstream_rq_pending_active",
    "membership_healthy",
    "membership_total",
];
/// Points that are sent of one cluster: those of above, and one histogram.
const PER_CLUSTER: usize = COUNTERS.len() + GAUGES.len() + 1;

/// The points of a few sidecars, each about the services that its workload calls.
pub(super) fn request(shape: &Shape, random: &mut Random) -> ExportMetricsServiceRequest {
    let workloads = mesh::workloads(shape, random);
    let mut metrics: Vec<Vec<Metric>> = vec![Vec::new(); shape.hops];
    for point in 0..shape.records {
        let owner = point % shape.hops;
        let number = point / shape.hops;
        let called = (workloads[owner] + 1 + number / PER_CLUSTER) % shape.workloads;
        metrics[owner].push(metric(number % PER_CLUSTER, called, random));
    }
    let resource_metrics = workloads.iter().zip(metrics).map(|(&workload, metrics)| ResourceMetrics {
        resource: Some(resource(workload)),
        scope_metrics: vec![ScopeMetrics { metrics, ..Default::default() }],
        ..Default::default()
    });
    ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() }
}

/// Metric number `of` of what is kept of the cluster of `called`.
fn metric(of: usize, called: usize, random: &mut Random) -> Metric {
    let mut attributes = vec![text(
        "envoy.cluster_name",
        format!("outbound|8080||{}.shop.svc.cluster.local", workload_name(called)),
    )];
    let named = |name: &str, data| Metric {
        name: format!("envoy.cluster.{name}"),
        data: Some(data),
        ..Default::default()
    };
    let point = |start, value: u64, attributes| NumberDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: BASE_UNIX_NANO + SPREAD_NANOS,
        value: i64::try_from(value).ok().map(Value::AsInt),
        attributes,
        ..Default::default()
    };
    if let Some((name, label)) = COUNTERS.get(of) {
        attributes.extend(label.map(|(key, value)| text(key, value)));
        let data_points = vec![point(BASE_UNIX_NANO, random.next() % 1_000_000, attributes)];
        let aggregation_temporality = AggregationTemporality::Cumulative.into();
        return named(name, Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true }));
    }
    if let Some(name) = GAUGES.get(of - COUNTERS.len()) {
        // Gauges have no start.
        return named(
            name,
            Data::Gauge(Gauge { data_points: vec![point(0, random.next() % 8, attributes)] }),
        );
    }
    named("upstream_rq_time", Data::Histogram(histogram(attributes, random)))
}

fn histogram(
    attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>,
    random: &mut Random,
) -> Histogram {
    let mut bucket_counts = vec![0; BOUNDS.len() + 1];
    bucket_counts[BUSY_BUCKET] = 1_000 + random.next() % 1_000;
    bucket_counts[BUSY_BUCKET + 1] = random.next() % 100;
    let count = bucket_counts.iter().sum();
    let point = HistogramDataPoint {
        start_time_unix_nano: BASE_UNIX_NANO,
        time_unix_nano: BASE_UNIX_NANO + SPREAD_NANOS,
        count,
        sum: Some(count as f64 * 20.5),
        bucket_counts,
        explicit_bounds: BOUNDS.to_vec(),
        attributes,
        ..Default::default()
    };
    Histogram { data_points: vec![point], aggregation_temporality: AggregationTemporality::Cumulative.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;

    use super::*;
    use crate::payload::{Signal, Template, templates};

    const NOW: u64 = BASE_UNIX_NANO + 5 * SPREAD_NANOS;

    fn sent(template: &Template, sequence: u64, now: u64) -> Vec<(String, Metric)> {
        let bytes = template.stamp(sequence, now);
        let request =
            ExportMetricsServiceRequest::decode(bytes.as_slice()).expect("a stamped request decodes");
        let by_sidecar = request.resource_metrics.into_iter().enumerate();
        by_sidecar
            .flat_map(|(sidecar, part)| part.scope_metrics.into_iter().map(move |scope| (sidecar, scope)))
            .flat_map(|(sidecar, scope)| {
                scope.metrics.into_iter().map(move |metric| (sidecar.to_string(), metric))
            })
            .collect()
    }

    #[test]
    fn a_request_has_the_promised_points_and_no_series_twice() {
        let template = &templates(&Shape { signal: Signal::Metrics, bodies: 1, ..Shape::default() })[0];
        let metrics = sent(template, 0, NOW);
        assert_eq!(metrics.len(), 100);
        let series = |(sidecar, metric): &(String, Metric)| {
            let attributes = match metric.data.as_ref().expect("a metric has data") {
                Data::Sum(sum) => &sum.data_points[0].attributes,
                Data::Gauge(gauge) => &gauge.data_points[0].attributes,
                Data::Histogram(histogram) => &histogram.data_points[0].attributes,
                other => panic!("nobody sends {other:?}"),
            };
            format!("{sidecar} {} {attributes:?}", metric.name)
        };
        assert_eq!(metrics.iter().map(series).collect::<BTreeSet<_>>().len(), 100);
    }

    #[test]
    fn counters_grow_from_send_to_send_and_keep_their_start() {
        let template = &templates(&Shape { signal: Signal::Metrics, bodies: 1, ..Shape::default() })[0];
        let (first, second) = (sent(template, 1, NOW), sent(template, 65, NOW + SPREAD_NANOS));
        let mut kinds = BTreeSet::new();
        for ((_, one), (_, other)) in first.iter().zip(&second) {
            match (one.data.as_ref(), other.data.as_ref()) {
                (Some(Data::Sum(one)), Some(Data::Sum(other))) => {
                    let (one, other) = (&one.data_points[0], &other.data_points[0]);
                    let value = |point: &NumberDataPoint| match point.value {
                        Some(Value::AsInt(value)) => value,
                        other => panic!("a counter of {other:?}"),
                    };
                    assert_eq!(value(other) - value(one), 3 * 64);
                    assert_eq!(
                        (other.start_time_unix_nano, other.time_unix_nano),
                        (BASE_UNIX_NANO, NOW + SPREAD_NANOS)
                    );
                    kinds.insert("sum");
                }
                (Some(Data::Histogram(one)), Some(Data::Histogram(other))) => {
                    let (one, other) = (&one.data_points[0], &other.data_points[0]);
                    assert_eq!(other.count - one.count, 3 * 64);
                    assert_eq!(other.bucket_counts.iter().sum::<u64>(), other.count);
                    assert_eq!(
                        (other.start_time_unix_nano, other.time_unix_nano),
                        (BASE_UNIX_NANO, NOW + SPREAD_NANOS)
                    );
                    kinds.insert("histogram");
                }
                (one, other) => {
                    assert_ne!(one, other, "the time of a gauge moves");
                    kinds.insert("gauge");
                }
            }
        }
        assert_eq!(kinds.len(), 3);
    }
}
