//! A real Envoy takes what we push, refuses what it must, and denies what it should and nothing else.
//!
//! `ENVOY=path/to/envoy cargo test -p selvedge-enforce --test real_envoy -- --nocapture`
//!
//! Not among the tests that `cargo test` finds by itself (`test = false` in the manifest), because they need a program from
//! elsewhere: `cargo xtask test` installs it and runs them. Without `ENVOY` they fail.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(dead_code, reason = "the helpers belong to the tests without an Envoy as well")]

#[path = "../all/mesh.rs"]
mod mesh;
mod peer;
#[path = "../all/quarantines.rs"]
mod quarantines;
#[path = "../all/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use selvedge_enforce::xds::{PolicyWorld, TokenGate, XdsConfig, XdsEventKind, XdsTls};
use selvedge_model::{Caller, Cut, Operation, Place};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use mesh::Authority;
use peer::{Api, Connection, Envoy, Setup};
use quarantines::{COURIER, courier, cut, operation, peace, quarantine, shadow, world};
use server::{PATIENCE, Server, config};

/// Rounds of push and rollback that are timed.
const ROUNDS: usize = 20;
/// What a push may take to be felt, at the 95th percentile, on a machine that does other things too.
const PUSH_P95_MAX: Duration = Duration::from_millis(500);
const CART: &str = "spiffe://mesh.example/ns/shop/sa/cart";

async fn started(api: Api) -> (Server, Envoy) {
    let mut server = Server::start(config()).await;
    let envoy = Envoy::start(&Setup { api, ..Setup::of(server.address) }).await;
    server.handle.publish(peace());
    server.acked().await;
    (server, envoy)
}

/// Publishes and waits until the proxy has taken it.
async fn push(server: &mut Server, cuts: Vec<Cut>) {
    server.handle.publish(world(cuts));
    server.acked().await;
    assert!(server.handle.nodes()[0].in_sync());
}

fn inbound(caller: Caller, operations: Vec<Operation>) -> Vec<Cut> {
    vec![Cut { operations, ..cut(Place::Inbound, "ledger", caller) }]
}

/// Asks until the answer is this one, and says how long that took.
async fn until(connection: &mut Connection, wanted: u16) -> Duration {
    let start = Instant::now();
    let asking = async { while connection.get("/", "ledger").await != wanted {} };
    timeout(PATIENCE, asking).await.expect("the answer changes");
    start.elapsed()
}

fn percentiles(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() * 95 / 100 - 1])
}

/// Pushes and takes back, on a connection that stays open, and measures from the call to the first answer that shows it.
async fn rounds(api: Api) {
    let (mut server, envoy) = started(api).await;
    let mut connection = envoy.inbound().await;
    assert_eq!(connection.get("/", "ledger").await, 200);
    let (mut denied, mut released) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        server.handle.publish(world(inbound(Caller::Unauthenticated, Vec::new())));
        denied.push(until(&mut connection, 403).await);
        server.acked().await;
        server.handle.publish(peace());
        released.push(until(&mut connection, 200).await);
        server.acked().await;
    }
    let (deny, release) = (percentiles(&mut denied), percentiles(&mut released));
    eprintln!(
        "{api:?}: push to first 403 p50 {:?} p95 {:?}, rollback to first 200 p50 {:?} p95 {:?}, n {ROUNDS}",
        deny.0, deny.1, release.0, release.1
    );
    assert!(deny.1 < PUSH_P95_MAX && release.1 < PUSH_P95_MAX);
    server.stop().await;
}

#[tokio::test]
async fn a_push_is_felt_at_once_and_so_is_its_rollback() {
    rounds(Api::StateOfTheWorld).await;
}

#[tokio::test]
async fn a_push_over_delta_is_felt_at_once_and_so_is_its_rollback() {
    rounds(Api::Delta).await;
}

#[tokio::test]
async fn shadow_rules_report_and_never_deny() {
    let (mut server, envoy) = started(Api::StateOfTheWorld).await;
    server.handle.publish(shadow(inbound(Caller::Unauthenticated, Vec::new())));
    server.acked().await;
    let mut connection = envoy.inbound().await;
    for _ in 0..20 {
        assert_eq!(connection.get("/", "ledger").await, 200);
    }
    let stats = envoy.stats("rbac").await;
    let count = |name: &str| stats.iter().find(|(known, _)| known.ends_with(name)).map(|(_, value)| *value);
    assert_eq!(count("rbac.selvedge_.shadow_denied"), Some(20), "{stats:?}");
    assert_eq!(count("policy.selvedge-q-00000000000000a1.shadow_denied"), Some(20), "{stats:?}");
    assert_eq!(count("rbac.selvedge_.denied").unwrap_or(0), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_resource_that_the_proxy_refuses_is_seen_and_the_mesh_goes_on() {
    let mut server = Server::start(config()).await;
    server.handle.publish(world(inbound(Caller::Unauthenticated, Vec::new())));
    // Its filter takes another kind of configuration under our name.
    let envoy = Envoy::start(&Setup { takes_rbac: false, ..Setup::of(server.address) }).await;
    let rejection = loop {
        match server.event().await {
            XdsEventKind::Nacked(rejection) => break rejection,
            XdsEventKind::Connected | XdsEventKind::Pushed { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(rejection.error.contains("type URL"), "{}", rejection.error);
    let state = server.handle.nodes().remove(0);
    assert_eq!(state.nacked.map(|rejection| rejection.version), state.pushed);
    assert_eq!(state.acked, None);
    assert_eq!(envoy.inbound().await.get("/", "ledger").await, 200);
    server.stop().await;
}

#[tokio::test]
async fn the_control_plane_is_spoken_to_over_mutual_tls_with_a_token() {
    let authority = Authority::new();
    let (_reload, tls) = watch::channel(Arc::new(authority.server("localhost", true)));
    let tls = Some(XdsTls { server: tls, clients_verified: true });
    let token = Some(s3cret());
    let mut server = Server::start(XdsConfig { tls, token, ..config() }).await;
    let secured = Some((authority, "s3cret"));
    let envoy = Envoy::start(&Setup { secured, ..Setup::of(server.address) }).await;
    push(&mut server, inbound(Caller::Unauthenticated, Vec::new())).await;
    assert_eq!(envoy.inbound().await.get("/", "ledger").await, 403);
    server.stop().await;
}

#[tokio::test]
async fn callers_are_told_apart_by_their_certificates() {
    let (mut server, envoy) = started(Api::StateOfTheWorld).await;
    // Answers to: plaintext, TLS without a certificate, the courier, the cart.
    let table = [
        (vec![], [200, 200, 200, 200]),
        (inbound(courier(), Vec::new()), [200, 200, 403, 200]),
        (inbound(Caller::Unauthenticated, Vec::new()), [403, 403, 200, 200]),
        (
            [inbound(courier(), Vec::new()), inbound(Caller::Unauthenticated, Vec::new())].concat(),
            [403, 403, 403, 200],
        ),
    ];
    for (cuts, expected) in table {
        if !cuts.is_empty() {
            push(&mut server, cuts.clone()).await;
        }
        let mut answers = [0; 4];
        answers[0] = envoy.inbound().await.get("/", "ledger").await;
        for (answer, id) in answers[1..].iter_mut().zip([None, Some(COURIER), Some(CART)]) {
            *answer = envoy.inbound_tls(id).await.get("/", "ledger").await;
        }
        assert_eq!(answers, expected, "{cuts:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn only_the_named_operations_are_denied() {
    let (mut server, envoy) = started(Api::StateOfTheWorld).await;
    // As long and as deep as templates get: Envoy must take the programs of their expressions too.
    let long = format!("/{}", ["{id}", "a.rather-long-segment"].repeat(8).join("/"));
    let edges = format!("/{0}/{{id}}/{1}/{{id}}/{0}", "edge-".repeat(12), "middle.".repeat(10));
    let just = format!("/{}/{{id}}", "j".repeat(86));
    let deep = format!("{}/{{id}}/*", "/an-id".repeat(15));
    let operations = vec![
        operation("GET", "/accounts/{id}"),
        operation("", "/v1.2/export"),
        operation("DELETE", ""),
        operation("GET", &long),
        operation("GET", &edges),
        operation("GET", &just),
        operation("GET", &deep),
    ];
    push(&mut server, inbound(Caller::Unauthenticated, operations)).await;
    let filled = |template: &str| template.replace("{id}", "17").replace('*', "and/the/rest");
    let [long, edges, just, deep] = [long, edges, just, deep].map(|template| filled(&template));
    let (other, empty) = (edges.replace("middle.middle.", "middle."), long.replacen("17", "", 2));
    let table = [
        ("GET", "/accounts/17", 403),
        ("GET", "/accounts/17?full=1", 403),
        ("GET", "/accounts/17/items", 200),
        ("GET", "/accounts/", 200),
        ("GET", "/accounts", 200),
        ("GET", "/x/accounts/17", 200),
        ("POST", "/accounts/17", 200),
        ("PUT", "/v1.2/export", 403),
        ("PUT", "/v1x2/export", 200),
        ("PUT", "/v1.2/export/all", 200),
        ("DELETE", "/anything", 403),
        ("GET", &long, 403),
        ("GET", &edges, 403),
        ("GET", &just, 403),
        ("GET", &deep, 403),
        ("GET", &other, 200),
        ("GET", &empty, 200),
        ("GET", &format!("{long}/more"), 200),
        ("GET", &format!("/more{edges}"), 200),
        ("GET", "/", 200),
    ];
    let mut connection = envoy.inbound().await;
    for (method, path, expected) in table {
        assert_eq!(connection.request(method, path, "ledger").await, expected, "{method} {path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_way_out_is_cut_to_the_named_hosts_only() {
    let (mut server, envoy) = started(Api::StateOfTheWorld).await;
    let hosts = vec!["Paste.example".to_owned(), format!("{}.example", "long-label.".repeat(20))];
    let long = hosts[1].clone();
    push(&mut server, vec![Cut { hosts, ..cut(Place::Outbound, "ledger", Caller::Local) }]).await;
    let table = [
        ("paste.example", 403),
        ("PASTE.EXAMPLE:8443", 403),
        ("paste.example.", 403),
        ("paste.example.:443", 403),
        (&long, 403),
        ("paste.example.org", 200),
        ("my-paste.example", 200),
        ("ledger", 200),
    ];
    let mut connection = envoy.outbound().await;
    for (host, expected) in table {
        assert_eq!(connection.get("/", host).await, expected, "{host}");
    }
    assert_eq!(envoy.inbound().await.get("/", "paste.example").await, 200, "the way in is not cut");
    push(&mut server, vec![cut(Place::Outbound, "ledger", Caller::Local)]).await;
    assert_eq!(connection.get("/", "ledger").await, 403);
    server.stop().await;
}

#[tokio::test]
async fn a_quarantine_outlives_the_control_plane_and_its_restart_disturbs_nobody() {
    for api in [Api::StateOfTheWorld, Api::Delta] {
        let (mut server, envoy) = started(api).await;
        let denied = || inbound(Caller::Unauthenticated, Vec::new());
        push(&mut server, denied()).await;
        let version = server.handle.nodes()[0].acked.clone().unwrap();
        let address = server.address;
        server.stop().await;
        let mut connection = envoy.inbound().await;
        assert_eq!(connection.get("/", "ledger").await, 403);

        let mut server = Server::start(XdsConfig { address, ..config() }).await;
        assert_eq!(server.event().await, XdsEventKind::Connected, "it comes back by itself");
        assert_eq!(connection.get("/", "ledger").await, 403, "and waits while we have nothing to say");
        server.handle.publish(world(denied()));
        assert_eq!(server.event().await, XdsEventKind::Acked { version }, "it was sent nothing");
        assert_eq!(server.handle.nodes()[0].pushed, None);
        server.handle.publish(peace());
        until(&mut connection, 200).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn many_quarantines_fit_into_one_filter() {
    let (mut server, envoy) = started(Api::StateOfTheWorld).await;
    let caller =
        |number: usize| Caller::Principal(format!("spiffe://mesh.example/ns/shop/sa/caller-{number}"));
    let mut set: Vec<_> = (0..500)
        .map(|number| quarantine(&format!("selvedge-q-{number:016x}"), inbound(caller(number), Vec::new())))
        .collect();
    set.push(quarantine("selvedge-q-ffffffffffffffff", inbound(courier(), Vec::new())));
    server.handle.publish(PolicyWorld::of(&set).into());
    server.acked().await;
    assert_eq!(server.handle.nodes()[0].quarantines.len(), 501);
    assert_eq!(envoy.inbound_tls(Some(COURIER)).await.get("/", "ledger").await, 403);
    assert_eq!(envoy.inbound_tls(Some(CART)).await.get("/", "ledger").await, 200);
    server.stop().await;
}

/// The door of a program that knows one token.
fn s3cret() -> TokenGate {
    TokenGate::new(|headers| headers.get("authorization").is_some_and(|value| value == "Bearer s3cret"))
}
