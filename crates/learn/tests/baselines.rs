//! What is learned, from whom, and what never is.

use std::time::Duration;

use selvedge_learn::{Baselines, LearnConfig, Provenance, RouteKey};
use selvedge_model::time::Window;
use selvedge_model::{
    Call, CallShape, Certificate, EdgeKey, EdgeWindow, EventTime, IdentitySource, Node, Reported, Security,
    Symbol, SymbolTable,
};

const SECOND: u64 = 1_000_000_000;

struct Bench {
    symbols: SymbolTable,
    baselines: Baselines,
    clock: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            symbols: SymbolTable::new(1 << 20),
            baselines: Baselines::new(LearnConfig::default()),
            clock: 1_000,
        }
    }

    fn name(&mut self, text: &str) -> Symbol {
        self.symbols.intern(text)
    }

    fn edge(&mut self, source: &str, destination: &str) -> EdgeKey {
        let mut node = |text: &str| Node {
            cluster: Symbol::NONE,
            namespace: self.symbols.intern("store"),
            workload: self.symbols.intern(text),
        };
        EdgeKey { source: node(source), destination: node(destination), external: false }
    }

    fn shape(&mut self, route: &str, status: u16) -> CallShape {
        CallShape {
            method: self.name("GET"),
            route: self.name(route),
            status,
            grpc_status: -1,
            source_principal: self.name("spiffe://mesh.example/ns/store/sa/web"),
            source_identity: IdentitySource::MtlsCertificate,
            security: Security::MutualTls,
            ..CallShape::default()
        }
    }

    fn learn(
        &mut self,
        key: EdgeKey,
        shapes: &[(CallShape, u64)],
        skip: &dyn Fn(&CallShape) -> bool,
        how: Provenance,
    ) {
        let window = Window::holding(EventTime(self.clock * SECOND), Duration::from_secs(10));
        let mut edge = EdgeWindow::default();
        for (shape, calls) in shapes {
            for number in 0..*calls {
                let start = EventTime(window.start.0 + number * 1_000_000);
                let end = EventTime(start.0 + 5_000_000);
                edge.record(&Call {
                    edge: key,
                    shape: *shape,
                    start,
                    end,
                    duration_nanos: 5_000_000,
                    ..Call::default()
                });
            }
        }
        self.baselines.learn(window, key, &edge, skip, how, &self.symbols);
        self.baselines.finish_window(window);
        self.clock += 10;
    }
}

#[test]
fn what_was_flagged_is_not_learned_and_an_edge_of_only_flagged_calls_stays_unknown() {
    let mut bench = Bench::new();
    let (usual, strange_call) = (bench.shape("/items", 200), bench.shape("/admin", 200));
    let (known, strange) = (bench.edge("web", "cart"), bench.edge("web", "ledger"));
    let skip = move |shape: &CallShape| *shape == strange_call;
    bench.learn(known, &[(usual, 5), (strange_call, 3)], &skip, Provenance::Learned);
    bench.learn(strange, &[(strange_call, 3)], &skip, Provenance::Learned);
    let edge = bench.baselines.edge(&known).expect("learned");
    assert_eq!((edge.calls, edge.route_count()), (5, 1));
    assert!(edge.route(RouteKey::of(&strange_call)).is_none());
    assert!(bench.baselines.edge(&strange).is_none());
    assert_eq!(bench.baselines.mesh().calls, 5);
}

#[test]
fn a_failed_handshake_is_no_call_and_teaches_no_identity() {
    let mut bench = Bench::new();
    let key = bench.edge("", "cart");
    let failure = CallShape {
        handshake_failure: bench.name("unknown_issuer"),
        claimed_principal: bench.name("spiffe://stranger.example/ns/store/sa/web"),
        certificate: Certificate { issuer: bench.name("CN=stranger"), ..Certificate::default() },
        ..CallShape::default()
    };
    bench.learn(key, &[(failure, 4)], &|_| false, Provenance::Learned);
    let mesh = bench.baselines.mesh();
    assert!(bench.baselines.edge(&key).is_none() && mesh.destination(&key.destination).is_none());
    bench.learn(key, &[(failure, 4)], &|_| false, Provenance::Approved);
    let mesh = bench.baselines.mesh();
    let destination = mesh.destination(&key.destination).expect("the approved failure is remembered");
    assert!(destination.handshake_failures.knows(failure.handshake_failure));
    assert!(!mesh.knows_trust_domain("stranger.example") && mesh.issuers.is_empty() && mesh.calls == 0);
}

/// Guarantees: a caller that claims a principal in its own log alone, as a rogue sidecar can, teaches nobody who is who.
#[test]
fn a_callers_own_word_alone_teaches_no_identity() {
    let mut bench = Bench::new();
    let key = bench.edge("web", "cart");
    let proven = bench.shape("/items", 200);
    let claimed = CallShape {
        source_principal: bench.name("spiffe://claimed.example/ns/store/sa/ledger"),
        source_identity: IdentitySource::ProxyMetadata,
        reported: Reported::ClientOnly,
        ..proven
    };
    bench.learn(key, &[(claimed, 4), (proven, 4)], &|_| false, Provenance::Approved);
    let mesh = bench.baselines.mesh();
    assert!(mesh.holders(claimed.source_principal).is_empty() && !mesh.knows_trust_domain("claimed.example"));
    assert_eq!(mesh.holders(proven.source_principal), [key.source]);
    assert!(mesh.knows_trust_domain("mesh.example"));
}

#[test]
fn a_mesh_is_warm_when_approved_or_after_enough_traffic_and_never_by_gaps() {
    let mut bench = Bench::new();
    let (key, shape) = (bench.edge("web", "cart"), bench.shape("/items", 200));
    bench.learn(key, &[(shape, 2_000)], &|_| false, Provenance::Learned);
    for _ in 0..1_000 {
        bench
            .baselines
            .finish_window(Window::holding(EventTime(bench.clock * SECOND), Duration::from_secs(10)));
    }
    assert!(!bench.baselines.mesh().warm(), "windows without traffic are a gap");
    for _ in 0..180 {
        bench.learn(key, &[(shape, 1)], &|_| false, Provenance::Learned);
    }
    assert!(bench.baselines.mesh().warm());
    let mut approved = Bench::new();
    let (key, shape) = (approved.edge("web", "cart"), approved.shape("/items", 200));
    approved.learn(key, &[(shape, 1)], &|_| false, Provenance::Approved);
    assert!(approved.baselines.mesh().warm());
}

#[test]
fn limits_hold_and_what_is_known_is_never_pushed_out() {
    let mut bench = Bench::new();
    bench.baselines =
        Baselines::new(LearnConfig { edges_max: 3, edge_routes_max: 4, ..LearnConfig::default() });
    let first = bench.edge("web", "cart");
    for number in 0..10 {
        let shape = bench.shape(&format!("/r{number}"), 200);
        bench.learn(first, &[(shape, 1)], &|_| false, Provenance::Learned);
        let other = bench.edge("web", &format!("callee-{number}"));
        bench.learn(other, &[(shape, 1)], &|_| false, Provenance::Learned);
    }
    assert!(bench.baselines.full());
    assert_eq!(bench.baselines.edges().count(), 3);
    assert!(bench.baselines.overflows().edges > 0);
    let edge = bench.baselines.edge(&first).expect("still known");
    assert_eq!((edge.route_count(), edge.routes_overflowed(), edge.calls), (4, 6, 10));
}

#[test]
fn a_route_that_was_only_refused_is_not_served_by_the_callee() {
    let mut bench = Bench::new();
    let key = bench.edge("web", "cart");
    let (served, refused) = (bench.shape("/items", 200), bench.shape("/admin", 404));
    bench.learn(key, &[(served, 3), (refused, 2)], &|_| false, Provenance::Learned);
    let callee = bench.baselines.mesh().destination(&key.destination).expect("learned");
    assert!(callee.routes.knows(RouteKey::of(&served)) && !callee.routes.knows(RouteKey::of(&refused)));
    let edge = bench.baselines.edge(&key).expect("learned");
    assert!(!edge.route(RouteKey::of(&refused)).expect("known as refused").served());
}

#[test]
fn refused_routes_do_not_take_the_room_of_served_ones() {
    let mut bench = Bench::new();
    let key = bench.edge("gate", "web");
    for number in 0..200 {
        let probe = bench.shape(&format!("/probe{number}"), 404);
        bench.learn(key, &[(probe, 1)], &|_| false, Provenance::Learned);
    }
    let served = bench.shape("/items", 200);
    bench.learn(key, &[(served, 1)], &|_| false, Provenance::Learned);
    let edge = bench.baselines.edge(&key).expect("learned");
    assert!(edge.route(RouteKey::of(&served)).is_some() && edge.route_count() < 64);
}
