//! Metric points.

use selvedge_model::{EventTime, IdentitySource, MetricValue, Party, Side, Symbol};

use super::{Bench, Pairs, START, WEB};
use crate::record::PointValue;

#[test]
fn istio_metrics_name_both_ends_whoever_scraped_them() {
    let mut bench = Bench::new();
    let labels: Pairs<'_> = &[
        ("reporter", "destination"),
        ("source_workload", "web"),
        ("source_workload_namespace", "front"),
        ("source_principal", WEB),
        ("destination_workload", "cart"),
        ("destination_workload_namespace", "front"),
        ("destination_principal", "unknown"),
        ("response_code", "503"),
        ("connection_security_policy", "mutual_tls"),
    ];
    let point =
        bench.point(&[("service.name", "scraper")], "istio_requests_total", PointValue::Number(7.0), labels);
    assert_eq!((point.side, point.status), (Side::Server, 503));
    assert_eq!(bench.party(&point.reporter), "front/cart");
    assert_eq!(bench.party(&point.peer), "front/web");
    assert_eq!(
        (point.peer.source, point.reporter.principal),
        (IdentitySource::MtlsCertificate, Symbol::NONE)
    );
    assert_eq!(point.start, EventTime(START / 1_000 * 1_000));
    assert_eq!(point.value, MetricValue::Number(7.0));
}

#[test]
fn envoy_cluster_metrics_name_the_callee_and_never_envoys_own_exports() {
    let mut bench = Bench::new();
    let resource: Pairs<'_> = &[("service.name", "cart")];
    let value = || PointValue::Number(1.0);
    let cluster = ("envoy.cluster_name", "outbound|80||ledger");
    let dirty = "envoy.cluster.back.svc.cluster.local.upstream_rq_total";
    let point = bench.point(resource, dirty, value(), &[cluster]);
    assert_eq!(bench.text(point.name), "envoy.cluster.upstream_rq_total");
    assert_eq!((bench.party(&point.peer).as_str(), point.side), ("back/ledger", Side::Client));
    let class = ("envoy.response_code_class", "5");
    let point = bench.point(resource, "envoy.cluster.external.upstream_rq_xx", value(), &[cluster, class]);
    assert_eq!((bench.text(point.name), point.status), ("envoy.cluster.external.upstream_rq_xx", 500));
    let point =
        bench.point(resource, "envoy.cluster.upstream_rq", value(), &[("envoy.cluster_name", "otlp")]);
    assert_eq!((point.peer, point.side), (Party::default(), Side::Internal));
    let inbound = &[("envoy.cluster_name", "inbound|8080||")];
    let point = bench.point(resource, "envoy.cluster.upstream_rq", value(), inbound);
    assert_eq!((point.peer, point.side), (Party::default(), Side::Server));
}

#[test]
fn histograms_land_on_the_nanosecond_grid() {
    let mut bench = Bench::new();
    let explicit = PointValue::Explicit { count: 6, sum: 59.2, bounds: &[0.5, 10.0], counts: &[1, 3, 2] };
    let point = bench.point(&[], "envoy.cluster.upstream_rq_time", explicit, &[]);
    let MetricValue::Histogram { count, grid, .. } = point.value else { panic!("a histogram") };
    assert_eq!((count, grid.count()), (6, 6));
    assert_eq!(grid.count_above(9_000_000), 5);
    assert_eq!(grid.count_above(12_000_000), 2);
    assert_eq!(grid.count_above(25_000_000), 0);
    let exponential = PointValue::Exponential {
        count: 4,
        sum: 7.0,
        scale: 0,
        zero_count: 1,
        positive_offset: 10,
        positive: &[1, 2],
    };
    let point = bench.point(&[], "sizes", exponential, &[]);
    let MetricValue::Histogram { grid, .. } = point.value else { panic!("a histogram") };
    assert_eq!((grid.count(), grid.count_above(0)), (4, 3));
    assert_eq!((grid.count_above(1_300), grid.count_above(1_600)), (3, 2));
}

#[test]
fn one_series_is_one_sender_name_and_label_set() {
    let mut bench = Bench::new();
    let mut series = |instance, name| {
        bench.point(&[("service.instance.id", instance)], name, PointValue::Number(0.0), &[]).series
    };
    let first = series("a", "x");
    assert_eq!(series("a", "x"), first);
    assert_ne!(series("b", "x"), first);
    assert_ne!(series("a", "y"), first);
}
