//! Istio, Consul, Linkerd and ztunnel.

use selvedge_model::{EventTime, IdentitySource, ObservationKind, Security, Side, Symbol};

use super::{Bench, CART, LEDGER, Pairs, START, WEB};

#[test]
fn istio_labels_of_our_snippet_are_understood() {
    let mut bench = Bench::new();
    let labels: Pairs<'_> = &[
        ("http.request.method", "GET"),
        ("url.path", "/carts/17"),
        ("http.response.status_code", "200"),
        ("response_flags", "-"),
        ("response_code_details", "via_upstream"),
        ("bytes_received", "0"),
        ("bytes_sent", "99"),
        ("duration_ms", "12"),
        ("request_id", "7a391762-31bf-9d00-95df-c3e9671236ff"),
        ("authority", "cart.front.svc.cluster.local"),
        ("upstream_cluster", "inbound|8080||"),
        ("upstream_host", "10.0.0.7:8080"),
        ("downstream_remote_address", "10.0.0.9:1"),
        ("source_principal", WEB),
        ("destination_principal", CART),
        ("upstream_peer_principal", "-"),
        ("tls_version", "TLSv1.3"),
        ("requested_server_name", "outbound_.80_._.cart.front.svc.cluster.local"),
        ("reporter_pod", "cart-7d4b9c6f5d-x2x4z"),
        ("reporter_namespace", "front"),
        ("reporter_workload", "cart"),
    ];
    let seen = bench.log(&[], labels, "");
    assert_eq!((seen.kind, seen.side), (ObservationKind::AccessLog, Side::Server));
    assert_eq!(bench.party(&seen.reporter), "front/cart");
    assert_eq!(bench.party(&seen.peer), "front/web");
    assert_eq!(seen.security, Security::MutualTls);
    // A gateway's record of its outbound side: the downstream principals are its client's and its own.
    let gateway: Pairs<'_> = &[
        ("http.request.method", "GET"),
        ("upstream_cluster", "outbound|80||cart.front.svc.cluster.local"),
        ("source_principal", LEDGER),
        ("destination_principal", WEB),
        ("upstream_peer_principal", "-"),
    ];
    let seen = bench.log(&[], gateway, "");
    assert_eq!((seen.side, bench.party(&seen.peer)), (Side::Client, "front/cart".to_owned()));
    assert_eq!(bench.text(seen.reporter.principal), WEB);
    assert_eq!(seen.peer.source, IdentitySource::ProxyMetadata);
}

#[test]
fn istio_peer_metadata_names_an_unverified_caller_only_as_its_own_word() {
    let mut bench = Bench::new();
    let labels: Pairs<'_> = &[
        ("method", "GET"),
        ("upstream_cluster", "inbound|8080||"),
        ("downstream_peer", r#"{"workload":"web","namespace":"front"}"#),
    ];
    let seen = bench.log(&[("service.name", "cart.front"), ("k8s.namespace.name", "front")], labels, "");
    assert_eq!(bench.party(&seen.reporter), "front/cart");
    assert_eq!((bench.party(&seen.peer).as_str(), seen.peer.source), ("front/web", IdentitySource::Header));
}

#[test]
fn an_istio_span_without_resource_detectors_takes_its_namespace_from_the_node() {
    let mut bench = Bench::new();
    let tags: Pairs<'_> =
        &[("node_id", "sidecar~10.0.0.7~cart-7d4b9c6f5d-x2x4z.front~front.svc.cluster.local")];
    let seen = bench.span(2, "cart:80/*", &[("service.name", "cart.front")], tags);
    assert_eq!(bench.party(&seen.reporter), "front/cart");
    assert_eq!(seen.route, Symbol::NONE);
    let seen = bench.span(2, "cart:80/*", &[("service.name", "unknown_service:envoy")], tags);
    assert_eq!(bench.party(&seen.reporter), "front/cart");
}

#[test]
fn a_waypoints_span_tells_of_the_workload_behind_it() {
    let mut bench = Bench::new();
    let tags: Pairs<'_> = &[
        ("istio.source_workload", "web"),
        ("istio.source_namespace", "front"),
        ("istio.destination_workload", "ledger"),
        ("istio.destination_namespace", "back"),
    ];
    let seen = bench.span(2, "x", &[("service.name", "waypoint"), ("k8s.namespace.name", "back")], tags);
    assert_eq!(bench.party(&seen.reporter), "back/ledger");
    assert_eq!(
        (bench.party(&seen.peer).as_str(), seen.peer.source),
        ("front/web", IdentitySource::ProxyMetadata)
    );
}

#[test]
fn istios_default_text_line_is_an_access_log() {
    let mut bench = Bench::new();
    let line = "[2026-11-24T20:31:16.123Z] \"GET /carts/17 HTTP/1.1\" 503 UF via_upstream - \
        \"delayed_connect_error:_111\" 5 99 12 - \"-\" \"web-app/2\" \"7a391762-31bf-9d00-95df-c3e9671236ff\" \
        \"cart.front.svc.cluster.local\" \"10.0.0.7:8080\" outbound|80||cart.front.svc.cluster.local \
        10.0.0.8:1 10.0.0.9:2 10.0.0.8:3 - default";
    let seen = bench.log(&[("k8s.pod.name", "web-0"), ("k8s.namespace.name", "front")], &[], line);
    assert_eq!((seen.kind, seen.side, seen.status), (ObservationKind::AccessLog, Side::Client, 503));
    assert_eq!(bench.party(&seen.reporter), "front/web");
    assert_eq!(bench.party(&seen.peer), "front/cart");
    assert_eq!(bench.text(seen.route), "/carts/{id}");
    assert_eq!(seen.handshake_failure, Symbol::NONE);
    assert_eq!(seen.end, EventTime(START + 12_000_000));
    assert!(seen.request_id.present());
}

#[test]
fn a_json_body_of_istio_or_consul_is_an_access_log() {
    let mut bench = Bench::new();
    let body = r#"{"start_time":"2026-11-24T20:31:16.123Z","method":"GET","path":"/carts/17","protocol":"HTTP/2",
        "response_code":200,"response_flags":"-","bytes_received":5,"bytes_sent":99,"duration":12,
        "user_agent":"web-app/2","request_id":"r-1","authority":"cart","upstream_cluster":
        "cart.front.east.internal.9a.consul","requested_server_name":null}"#;
    let seen = bench.log(&[("service.name", "web")], &[], body);
    assert_eq!((seen.kind, seen.side, seen.status), (ObservationKind::AccessLog, Side::Client, 200));
    assert_eq!(bench.party(&seen.peer), "front/cart");
    assert_eq!((seen.request_bytes, seen.response_bytes), (5, 99));
}

#[test]
fn a_ztunnel_body_speaks_for_the_workload_of_its_direction() {
    let mut bench = Bench::new();
    let body = format!(
        r#"{{"src.addr":"10.0.0.8:1","src.workload":"web-0","src.namespace":"front","src.identity":"{WEB}",
        "dst.addr":"10.0.0.9:80","dst.workload":"cart","dst.namespace":"front","dst.identity":"{CART}",
        "direction":"inbound","bytes_sent":9,"bytes_recv":5,"duration":"12ms","error":"connection closed"}}"#
    );
    let seen = bench.log(&[("service.name", "ztunnel")], &[], &body);
    assert_eq!((seen.kind, seen.side), (ObservationKind::ConnectionLog, Side::Server));
    assert_eq!(bench.party(&seen.reporter), "front/cart");
    assert_eq!(bench.text(seen.reporter.principal), CART);
    assert_eq!((bench.party(&seen.peer).as_str(), seen.security), ("front/web", Security::MutualTls));
    assert!(seen.error);
    assert_eq!(seen.end, EventTime(START + 12_000_000));
}

#[test]
fn a_linkerd_span_and_access_log_are_understood() {
    let mut bench = Bench::new();
    let attributes: Pairs<'_> = &[
        ("http.request.method", "GET"),
        ("url.path", "/carts/17"),
        ("url.full", "http://cart.front.svc.cluster.local/carts/17"),
        ("server.address", "cart.front.svc.cluster.local"),
        ("user_agent.original", "web-app/2"),
        ("http.response.status_code", "200"),
        ("direction", "outbound"),
    ];
    let resource: Pairs<'_> =
        &[("service.name", "linkerd-proxy"), ("k8s.pod.name", "web-0"), ("host.name", "web-0")];
    let seen = bench.span(3, "/carts/17", resource, attributes);
    assert_eq!((bench.party(&seen.reporter).as_str(), seen.side), ("/web", Side::Client));
    assert_eq!(bench.party(&seen.peer), "front/cart");
    assert_eq!(bench.text(seen.route), "/carts/{id}");
    let body = r#"{"client.addr":"10.0.0.8:1","client.id":"web.front.serviceaccount.identity.linkerd.cluster.local",
        "timestamp":"2026-11-24T20:31:16.123Z","method":"GET","uri":"/carts/17","version":"HTTP/2.0","trace_id":"",
        "request_bytes":5,"status":200,"response_bytes":99,"total_ns":12000000,"processing_ns":1,
        "user_agent":"web-app/2","host":"cart"}"#;
    let seen = bench.log(&[("k8s.deployment.name", "cart")], &[], body);
    assert_eq!((seen.kind, seen.side), (ObservationKind::AccessLog, Side::Server));
    assert_eq!((bench.party(&seen.peer).as_str(), seen.security), ("front/web", Security::MutualTls));
    assert_eq!(bench.text(seen.protocol), "HTTP/2");
    assert_eq!(seen.end, EventTime(START + 12_000_000));
}
