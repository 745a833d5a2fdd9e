//! Which version a reporter says it runs, in every dialect, and who cannot say it of whom.

use selvedge_model::Side;

use super::{Bench, Pairs};
use crate::record::PointValue;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// Which version a span of a callee with these attributes says, of a sender with that resource.
fn of_span(resource: Pairs<'_>, attributes: Pairs<'_>) -> String {
    let mut bench = Bench::new();
    let seen = bench.span(SERVER, "ingress", resource, attributes);
    bench.text(seen.version).to_owned()
}

#[test]
fn a_resource_says_it_by_template_then_by_its_own_word_then_by_revision() {
    let node = ("node_name", "sidecar~10.0.0.7~web-7d4b9c6f5d-x2x4z.front~front.svc.cluster.local");
    for (more, version) in [
        (&[][..], ""),
        (&[("service.version", "1.4.0")], "service.version=1.4.0"),
        (&[("istio.canonical_revision", "v2")], "revision=v2"),
        (&[("service.version", "1.4.0"), ("istio.canonical_revision", "v2")], "service.version=1.4.0"),
        (
            &[("service.version", "1.4.0"), ("k8s.replicaset.name", "web-7d4b9c6f5d")],
            "pod-template-hash=7d4b9c6f5d",
        ),
        (
            &[("service.version", "1.4.0"), ("k8s.pod.name", "web-7d4b9c6f5d-x2x4z")],
            "pod-template-hash=7d4b9c6f5d",
        ),
        (&[("k8s.pod.label.pod-template-hash", "7d4b9c6f5d")], "pod-template-hash=7d4b9c6f5d"),
        (&[node], "pod-template-hash=7d4b9c6f5d"),
        (&[("k8s.pod.name", "web-0"), ("service.version", "1.4.0")], "service.version=1.4.0"),
        (&[("k8s.pod.name", "web-0")], ""),
        (&[("service.version", "unknown")], ""),
        (&[("service.version", "-")], ""),
    ] {
        let resource = [&[("service.name", "web"), ("k8s.namespace.name", "front")][..], more].concat();
        assert_eq!(of_span(&resource, &[]), version, "{more:?}");
        let mut bench = Bench::new();
        let seen = bench.log(&resource, &[("reporter", "destination"), ("method", "GET")], "");
        assert_eq!(bench.text(seen.version), version, "{more:?}");
        let seen = bench.point(&resource, "requests", PointValue::Number(1.0), &[]);
        assert_eq!(bench.text(seen.version), version, "{more:?}");
    }
}

/// A tracer whose resource has a name and nothing else: what there is stands in the span.
#[test]
fn a_span_says_it_where_its_resource_does_not() {
    let bare = [("service.name", "web.front")];
    assert_eq!(of_span(&bare, &[("istio.canonical_revision", "v2")]), "revision=v2");
    assert_eq!(of_span(&bare, &[("service.version", "1.4.0")]), "service.version=1.4.0");
    let node = [("node_id", "sidecar~10.0.0.7~web-7d4b9c6f5d-x2x4z.front~front.svc.cluster.local")];
    assert_eq!(of_span(&bare, &node), "pod-template-hash=7d4b9c6f5d");
    // The resource's own is finer.
    let named =
        [("service.name", "web"), ("k8s.namespace.name", "front"), ("k8s.pod.name", "web-7d4b9c6f5d-x2x4z")];
    assert_eq!(of_span(&named, &[("istio.canonical_revision", "v2")]), "pod-template-hash=7d4b9c6f5d");
}

#[test]
fn of_both_ends_only_the_reporters_own_is_its_version() {
    let resource = [("service.name", "scraper"), ("service.version", "9"), ("k8s.namespace.name", "tools")];
    let both = [
        ("source_workload", "web"),
        ("source_workload_namespace", "front"),
        ("source_canonical_revision", "web-2"),
        ("destination_workload", "cart"),
        ("destination_workload_namespace", "front"),
        ("destination_canonical_revision", "cart-3"),
    ];
    for (reporter, side, version) in
        [("source", Side::Client, "revision=web-2"), ("destination", Side::Server, "revision=cart-3")]
    {
        let mut bench = Bench::new();
        let labels = [&[("reporter", reporter)][..], &both].concat();
        let seen = bench.point(&resource, "istio_requests_total", PointValue::Number(1.0), &labels);
        assert_eq!((seen.side, bench.text(seen.version)), (side, version));
    }
}

/// A waypoint's version is not the version of whom it speaks for, and neither is a peer's.
#[test]
fn whoever_speaks_for_others_says_nothing_of_their_version() {
    let resource =
        [("service.name", "waypoint"), ("service.version", "1.29"), ("k8s.namespace.name", "front")];
    let labels = [
        ("istio.canonical_revision", "latest"),
        ("istio.source_workload", "web"),
        ("istio.source_canonical_revision", "web-2"),
        ("istio.destination_workload", "cart"),
        ("istio.destination_namespace", "front"),
    ];
    let mut bench = Bench::new();
    let seen = bench.span(SERVER, "ingress", &resource, &labels);
    assert_eq!(bench.party(&seen.reporter), "front/cart");
    assert_eq!(bench.text(seen.version), "");
    let seen = bench.span(CLIENT, "egress", &resource, &labels);
    assert_eq!(
        (bench.party(&seen.reporter), bench.text(seen.version)),
        ("/web".to_owned(), "revision=web-2")
    );
}

#[test]
fn a_long_version_is_cut_and_a_broken_one_repaired() {
    let long = "9".repeat(500);
    assert_eq!(of_span(&[("service.name", "web"), ("service.version", &long)], &[]).len(), 64 + 16);
}
