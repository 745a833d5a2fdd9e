//! Envoy as the captures have it: access logs, connection logs, spans with custom tags.

use selvedge_model::{
    EventTime, ForwardedIdentity, IdentitySource, ObservationKind, Party, Security, Side, Symbol,
};

use super::{Bench, CART, ENVOY_LEDGER, LEDGER, Pairs, START, WEB};

#[test]
fn an_envoy_inbound_log_names_its_verified_caller() {
    let mut bench = Bench::new();
    let seen = bench.log(
        ENVOY_LEDGER,
        &[
            ("mesh.reporter", "inbound"),
            ("http.method", "POST"),
            ("http.path", "/entries/17?x=1"),
            ("http.authority", "ledger.back.svc.cluster.local"),
            ("http.protocol", "HTTP/2"),
            ("http.user_agent", "cart-app/1.0"),
            ("http.request_id", "7a391762-31bf-9d00-95df-c3e9671236ff"),
            ("response.code", "403"),
            ("response.code_details", "rbac_access_denied_matched_policy[ns[back]-policy[no-cart]-rule[0]]"),
            ("response.flags", "-"),
            ("bytes.received", "303"),
            ("bytes.sent", "14"),
            ("duration_ms", "8"),
            ("upstream.cluster", "inbound|8080||"),
            ("source.principal", CART),
            ("destination.principal", LEDGER),
            ("upstream.peer.principal", "-"),
            ("tls.version", "TLSv1.3"),
            ("tls.cipher", "TLS_AES_128_GCM_SHA256"),
            ("tls.sni", "outbound_.80_._.ledger.back.svc.cluster.local"),
            ("tls.peer.fingerprint_sha256", "f7ff"),
            ("tls.peer.serial", "07ee"),
            ("tls.peer.issuer", "CN=mesh root"),
            ("tls.peer.not_before", "2026-11-23T20:31:16.000Z"),
            ("tls.peer.not_after", "2026-11-24T20:31:16.000Z"),
            ("tls.failure", "-"),
            ("filter_chain", "mtls"),
            ("http.xfcc", &format!("By={LEDGER};Hash=ab;URI={CART}")),
        ],
        "POST /entries/17 403",
    );
    assert_eq!((seen.kind, seen.side), (ObservationKind::AccessLog, Side::Server));
    assert_eq!(bench.party(&seen.reporter), "back/ledger");
    assert_eq!(bench.text(seen.reporter.principal), LEDGER);
    assert_eq!(bench.party(&seen.peer), "front/cart");
    assert_eq!(bench.text(seen.peer.principal), CART);
    assert_eq!(seen.peer.source, IdentitySource::MtlsCertificate);
    assert_eq!(seen.security, Security::MutualTls);
    assert_eq!(seen.forwarded, ForwardedIdentity::Consistent);
    assert_eq!(bench.text(seen.method), "POST");
    assert_eq!(bench.text(seen.route), "/entries/{id}");
    assert_eq!((seen.status, seen.grpc_status, seen.error), (403, -1, false));
    assert_eq!((seen.request_bytes, seen.response_bytes), (303, 14));
    assert_eq!(bench.text(seen.denied_by), "back/no-cart");
    assert_eq!(bench.text(seen.tls_version), "TLSv1.3");
    assert_eq!(bench.text(seen.user_agent), "cart-app");
    assert_eq!(bench.text(seen.protocol), "HTTP/2");
    assert_eq!(bench.text(seen.certificate.serial), "07ee");
    assert_eq!(seen.certificate.not_after, EventTime(1_795_552_276_000_000_000));
    assert_eq!((seen.start, seen.end), (EventTime(START), EventTime(START + 8_000_000)));
    assert!(seen.request_id.present() && seen.trace_id.present() && seen.span_id.present());
    assert_eq!(bench.text(seen.origin), "/back/ledger-0.back/logs");
    assert_eq!(seen.repaired, 0);
}

#[test]
fn an_envoy_outbound_log_names_its_callee_and_itself() {
    let mut bench = Bench::new();
    let seen = bench.log(
        &[("service.name", "cart"), ("k8s.namespace.name", "front")],
        &[
            ("mesh.reporter", "outbound"),
            ("http.method", "GET"),
            ("response.code", "200"),
            ("upstream.cluster", "outbound|80||ledger.back.svc.cluster.local"),
            ("upstream.peer.principal", LEDGER),
            ("upstream.local.principal", CART),
            ("upstream.tls.version", "TLSv1.3"),
            ("source.principal", "-"),
            ("destination.principal", "-"),
            ("tls.version", "-"),
            ("tls.failure", "-"),
        ],
        "",
    );
    assert_eq!(seen.side, Side::Client);
    assert_eq!(bench.party(&seen.peer), "back/ledger");
    assert_eq!(bench.text(seen.reporter.principal), CART);
    assert_eq!(seen.security, Security::MutualTls);
    assert_eq!(bench.text(seen.tls_version), "TLSv1.3");
}

#[test]
fn a_passthrough_call_leaves_the_mesh_under_the_name_the_client_asked_for() {
    let mut bench = Bench::new();
    let pairs: Pairs<'_> = &[
        ("mesh.reporter", "outbound"),
        ("http.method", "POST"),
        ("http.authority", "Drop.Files.Example:8080"),
        ("bytes.received", "600000"),
        ("upstream.cluster", "PassthroughCluster"),
        ("upstream.peer.principal", "-"),
        ("upstream.tls.version", "-"),
    ];
    let seen = bench.log(&[("service.name", "cart")], pairs, "");
    assert_eq!(bench.party(&seen.peer), "!/drop.files.example");
    assert_eq!((seen.peer.source, seen.security), (IdentitySource::Header, Security::Plaintext));
    let span: Pairs<'_> = &[
        ("upstream_cluster", "PassthroughCluster"),
        ("http.url", "http://drop.files.example/up/1"),
        ("source.principal", CART),
    ];
    let seen = bench.span(3, "egress drop.files.example", &[("service.name", "cart")], span);
    assert_eq!(bench.party(&seen.peer), "!/drop.files.example");
    assert_eq!(bench.text(seen.reporter.principal), CART);
    assert_eq!(bench.text(seen.route), "/up/{id}");
    assert_eq!(seen.security, Security::Unknown);
}

const EXPIRED: &str = "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:\
    verify_cert_failed:_X509_verify_cert:_certificate_verification_error_at_depth_0:_certificate_has_expired:TLS_error_end";

#[test]
fn a_failed_handshake_names_nobody_and_keeps_the_claim_as_evidence() {
    let mut bench = Bench::new();
    let seen = bench.log(
        ENVOY_LEDGER,
        &[
            ("mesh.reporter", "inbound"),
            ("connection.id", "28"),
            ("filter_chain", "mtls"),
            ("response.flags", "-"),
            ("duration_ms", "3"),
            ("source.principal", CART),
            ("destination.principal", LEDGER),
            ("tls.version", "TLSv1.3"),
            ("tls.peer.serial", "5bde"),
            ("tls.failure", EXPIRED),
        ],
        "conn",
    );
    assert_eq!((seen.kind, seen.side), (ObservationKind::ConnectionLog, Side::Server));
    assert_eq!(bench.text(seen.handshake_failure), "certificate_expired");
    assert_eq!(seen.peer, Party::default());
    assert_eq!(bench.text(seen.claimed_principal), CART);
    assert_eq!(bench.text(seen.certificate.serial), "5bde");
    assert_eq!(seen.security, Security::Unknown);
    assert_eq!(bench.party(&seen.reporter), "back/ledger");
}

#[test]
fn plaintext_on_a_permissive_listener_is_a_connection_and_its_forged_header_a_lie() {
    let mut bench = Bench::new();
    let failure = "TLS_error|error:1000009c:SSL_routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end";
    let connection = bench.log(
        ENVOY_LEDGER,
        &[
            ("connection.id", "24"),
            ("filter_chain", "plaintext"),
            ("response.flags", "-"),
            ("source.principal", "-"),
            ("tls.version", "-"),
            ("tls.failure", failure),
        ],
        "conn",
    );
    assert_eq!(connection.kind, ObservationKind::ConnectionLog);
    assert_eq!((connection.handshake_failure, connection.security), (Symbol::NONE, Security::Plaintext));
    let request = bench.log(
        ENVOY_LEDGER,
        &[
            ("http.method", "POST"),
            ("source.principal", "-"),
            ("tls.version", "-"),
            ("tls.failure", "-"),
            ("http.xfcc", "-"),
            ("http.raw_xfcc", &format!("By={LEDGER};Hash=ab;URI={WEB}")),
        ],
        "",
    );
    assert_eq!(request.security, Security::Plaintext);
    assert_eq!(request.forwarded, ForwardedIdentity::Contradicts);
    assert_eq!(bench.text(request.claimed_principal), WEB);
    assert_eq!(request.peer, Party::default());
}

#[test]
fn an_envoy_span_carries_identity_only_by_custom_tags() {
    let mut bench = Bench::new();
    let inbound: Pairs<'_> = &[
        ("node_id", "sidecar~10.0.0.7~ledger-0.back~back.svc.cluster.local"),
        ("guid:x-request-id", "7a391762-31bf-9d00-95df-c3e9671236ff"),
        ("http.url", "http://ledger.back.svc.cluster.local/entries/17"),
        ("http.method", "GET"),
        ("http.status_code", "500"),
        ("error", "true"),
        ("upstream_cluster", "inbound|8080||"),
        ("source.principal", CART),
        ("destination.principal", LEDGER),
        ("tls.version", "TLSv1.3"),
    ];
    let seen =
        bench.span(2, "ingress", &[("service.name", "ledger"), ("service.namespace", "back")], inbound);
    assert_eq!((seen.side, seen.status, seen.error), (Side::Server, 500, true));
    assert_eq!(bench.party(&seen.peer), "front/cart");
    assert_eq!(bench.text(seen.reporter.principal), LEDGER);
    assert_eq!(seen.security, Security::MutualTls);
    assert!(seen.parent_span_id.present());
    let plain = bench.span(2, "ingress", &[("service.name", "ledger")], &[("http.method", "GET")]);
    assert_eq!((plain.security, plain.peer), (Security::Unknown, Party::default()));
    let outbound: Pairs<'_> = &[
        ("upstream_cluster", "outbound|80||ledger.back.svc.cluster.local"),
        ("upstream_cluster.name", "outbound|80||ledger"),
        ("source.principal", CART),
        ("destination.principal", LEDGER),
    ];
    let seen = bench.span(3, "egress x", &[("service.name", "cart")], outbound);
    assert_eq!(bench.party(&seen.peer), "back/ledger");
    assert_eq!(bench.text(seen.reporter.principal), CART);
    assert_eq!((seen.peer.source, seen.security), (IdentitySource::MtlsCertificate, Security::MutualTls));
}
