//! Calls are those that the counts speak of, hang together in traces, and without an attack all is in order.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::at_rate;
use selvedge_model::{Call, EdgeCounts, IdentitySource, Measure, Reported, Security, SpanId, Symbol, Window};
use selvedge_simulate::{
    BenignEvents, Mesh, MeshConfig, Protocol, SignalConfig, Signals, SimulatedCall, WindowOf, between,
};

/// Nothing new by itself.
fn settled() -> SignalConfig {
    SignalConfig {
        dormant: 0.0,
        unexplained_a_week: 0.0,
        new_edge: 0.0,
        new_route: 0.0,
        ..SignalConfig::default()
    }
}

struct Told {
    mesh: Mesh,
    signals: Signals,
    windows: Vec<(Window, Vec<WindowOf>, Vec<SimulatedCall>)>,
}

fn tell(config: MeshConfig, signals: SignalConfig, windows: usize) -> Told {
    let mut mesh = Mesh::new(config);
    let mut signals = Signals::new(&mesh, signals);
    let windows = (0..windows)
        .map(|_| {
            let (mut of, mut calls) = (Vec::new(), Vec::new());
            let window = mesh.next_window(&mut of);
            signals.calls(&mesh, window, &of, &mut calls);
            (window, of, calls)
        })
        .collect();
    Told { mesh, signals, windows }
}

/// Counts again what was counted.
fn recount(mesh: &Mesh, calls: &[SimulatedCall]) -> Vec<EdgeCounts> {
    let mut counts = vec![EdgeCounts::default(); mesh.edges().len()];
    let mut bytes = vec![0_u64; mesh.edges().len()];
    for SimulatedCall { call, edge, .. } in calls {
        let Some(edge) = *edge else { continue };
        let spec = &mesh.edges()[edge];
        let counts = &mut counts[edge];
        let mut count = |measure: Measure, yes: bool| counts.counts[measure as usize] += u64::from(yes);
        count(Measure::Requests, true);
        let cells = [Measure::OverMedian, Measure::OverQ90, Measure::OverQ99, Measure::OverTwiceQ99];
        for (measure, cut) in cells.into_iter().zip(spec.latency.cuts()) {
            count(measure, u128::from(call.duration_nanos) > cut.as_nanos());
        }
        count(Measure::ClientErrors, call.shape.refused());
        count(Measure::ServerErrors, call.shape.status >= 500);
        count(Measure::GrpcErrors, call.shape.grpc_status > 0);
        counts.requests += 1;
        bytes[edge] += call.request_bytes;
    }
    for (counts, bytes) in counts.iter_mut().zip(bytes) {
        counts.counts[Measure::SentKib as usize] = bytes.div_ceil(1_024);
    }
    counts
}

#[test]
fn counted_again_the_calls_of_a_window_give_its_counts() {
    let told = tell(MeshConfig::noisy(51, 60), SignalConfig::default(), 60);
    let mut calls_seen = 0;
    for (window, of, calls) in &told.windows {
        let expected: Vec<EdgeCounts> = of.iter().map(|of| of.counts).collect();
        assert_eq!(recount(&told.mesh, calls), expected, "{window:?}");
        calls_seen += calls.len();
    }
    assert!(calls_seen > 5_000, "{calls_seen} calls");
    assert_eq!(told.signals.untold(), 0);
}

#[test]
fn calls_end_in_their_window_in_order() {
    let told = tell(MeshConfig::noisy(52, 40), SignalConfig::default(), 60);
    for (window, _, calls) in &told.windows {
        assert!(calls.iter().all(|of| window.start <= of.call.end && of.call.end < window.end));
        assert!(calls.is_sorted_by_key(|of| of.call.end));
        for SimulatedCall { call, caller_nanos, .. } in calls {
            assert_eq!(call.end.since(call.start).as_nanos(), u128::from(call.duration_nanos));
            assert!(*caller_nanos >= call.duration_nanos);
        }
    }
}

#[test]
fn a_child_is_in_the_trace_of_a_call_that_its_caller_served() {
    let told = tell(at_rate(2.0, MeshConfig::noisy(53, 60)), settled(), 30);
    let (mut children, mut deep) = (0, 0);
    let mut asked: BTreeMap<(Option<usize>, Symbol), BTreeSet<Symbol>> = BTreeMap::new();
    for (_, _, calls) in &told.windows {
        let by_span: BTreeMap<SpanId, &SimulatedCall> =
            calls.iter().map(|simulated| (simulated.call.span_id, simulated)).collect();
        assert_eq!(by_span.len(), calls.len(), "span ids are different");
        for simulated in calls.iter().filter(|simulated| simulated.parent_span_id.present()) {
            let parent = by_span[&simulated.parent_span_id];
            assert_eq!(parent.call.trace_id, simulated.call.trace_id);
            assert_eq!(parent.call.edge.destination, simulated.call.edge.source);
            assert!(parent.call.start <= simulated.call.start && simulated.call.end < parent.call.end);
            children += 1;
            deep += u32::from(parent.parent_span_id.present());
            let routes = asked.entry((simulated.edge, parent.call.shape.route)).or_default();
            routes.insert(simulated.call.shape.route);
        }
    }
    assert!(children > 1_000 && deep > 100, "{children} children, {deep} grandchildren");
    // A route of the caller asks an edge for one route, always the same: call paths have a shape that can be learned.
    assert!(asked.values().all(|routes| routes.len() == 1), "{asked:?}");
}

#[test]
fn everybody_proves_to_be_who_they_are_and_both_sides_report() {
    let told = tell(MeshConfig::noisy(54, 40), SignalConfig::default(), 30);
    let symbols = told.signals.symbols();
    for Call { edge, shape, .. } in told.windows.iter().flat_map(|(_, _, calls)| calls).map(|of| of.call) {
        for (node, principal) in
            [(edge.source, shape.source_principal), (edge.destination, shape.destination_principal)]
        {
            let (space, name) = (symbols.resolve(node.namespace), symbols.resolve(node.workload));
            assert_eq!(symbols.resolve(principal), format!("spiffe://mesh.test/ns/{space}/sa/{name}"));
            assert!(told.mesh.services().iter().any(|service| service == name));
        }
        assert_eq!(shape.reported, Reported::Both);
        assert_eq!(
            (shape.security, shape.source_identity),
            (Security::MutualTls, IdentitySource::MtlsCertificate)
        );
    }
    assert_eq!(symbols.overflowed(), 0);
}

#[test]
fn the_same_seed_tells_the_same_calls() {
    let told = |seed| {
        let told = tell(MeshConfig::noisy(seed, 20), SignalConfig::default(), 40);
        told.windows.into_iter().map(|(_, _, calls)| calls).collect::<Vec<_>>()
    };
    assert_eq!(told(55), told(55));
    assert_ne!(told(55), told(56));
}

#[test]
fn beyond_the_limit_calls_of_an_edge_are_counted_and_not_told() {
    let limited = SignalConfig { calls_of_edge_max: 10, ..settled() };
    let told = tell(at_rate(20.0, MeshConfig::quiet(57, 3)), limited, 20);
    let calls: usize = told.windows.iter().map(|(_, _, calls)| calls.len()).sum();
    let counted: u64 = told.windows.iter().flat_map(|(_, of, _)| of).map(|of| of.counts.requests).sum();
    assert_eq!(calls, 20 * 3 * 10);
    assert_eq!(told.signals.untold(), counted - calls as u64);
}

#[test]
fn a_protocol_has_its_own_routes_and_its_own_errors() {
    let told = tell(at_rate(10.0, MeshConfig::noisy(58, 20)), settled(), 30);
    let symbols = told.signals.symbols();
    for simulated in told.windows.iter().flat_map(|(_, _, calls)| calls) {
        let (shape, edge) = (simulated.call.shape, simulated.edge.unwrap());
        let rpc = symbols.resolve(shape.route).contains(".v1/");
        assert_eq!(rpc, told.mesh.edges()[edge].protocol == Protocol::Grpc);
        assert_eq!(rpc, shape.grpc_status >= 0);
        assert!(!rpc || shape.status == 200);
    }
}

/// Edges and routes that are new come with deployments, and stay; some edges are used hardly ever.
#[test]
fn deployments_bring_edges_and_routes_that_nobody_attacks_with() {
    let mut config = MeshConfig::quiet(59, 30);
    config.events = BenignEvents { deployments_a_day: 10.0, ..BenignEvents::none() };
    let config = at_rate(0.5, config);
    let new = SignalConfig { new_edge: 0.5, new_route: 0.5, dormant: 0.5, ..settled() };
    let edges_and_routes = |signals| {
        let told = tell(config, signals, 2_160);
        let calls = told.windows.iter().flat_map(|(_, _, calls)| calls);
        let mut edges = BTreeSet::new();
        let mut routes = BTreeSet::new();
        for simulated in calls {
            assert_eq!(simulated.scenario, None);
            edges.insert(simulated.call.edge);
            routes.insert((simulated.call.edge.destination, simulated.call.shape.route));
        }
        (edges.len(), routes.len())
    };
    let (usual_edges, usual_routes) = edges_and_routes(settled());
    assert_eq!(usual_edges, 30);
    let (edges, routes) = edges_and_routes(SignalConfig { dormant: 0.0, new_edge: 0.0, ..new });
    assert_eq!(edges, 30);
    assert!(routes > usual_routes, "{routes} routes, {usual_routes} without deployments");
    let (edges, _) = edges_and_routes(SignalConfig { dormant: 0.0, new_route: 0.0, ..new });
    assert!(edges > 33, "{edges} edges with those of deployments");
    let dormant_days = between(0.05, 0.1);
    let (edges, _) = edges_and_routes(SignalConfig { new_edge: 0.0, new_route: 0.0, dormant_days, ..new });
    assert!((40..=45).contains(&edges), "{edges} edges with dormant ones");
}

#[test]
fn a_mesh_without_edges_tells_nothing() {
    let told = tell(MeshConfig::noisy(60, 0), SignalConfig::default(), 3);
    assert!(told.windows.iter().all(|(_, of, calls)| of.is_empty() && calls.is_empty()));
}
