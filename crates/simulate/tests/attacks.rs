//! Each attack does what its label says, and changes no other call.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{after, at_rate, number};
use selvedge_model::{EdgeKey, IdentitySource, Node, Reported, Security};
use selvedge_simulate::{
    Attack, Cause, Cover, Extent, Ground, Mesh, MeshConfig, Scenario, SignalConfig, Signals, SimulatedCall,
};

const EDGES: usize = 40;
const HOUR: Duration = Duration::from_hours(1);

fn config(seed: u64) -> MeshConfig {
    at_rate(0.3, MeshConfig::quiet(seed, EDGES))
}

/// Three hours of a mesh under attack in the second.
fn under(seed: u64, attack: Option<Attack>) -> (Mesh, Signals, Vec<SimulatedCall>) {
    let mut mesh = Mesh::new(config(seed));
    let mut signals = Signals::new(&mesh, SignalConfig::default());
    if let Some(attack) = attack {
        assert_eq!(signals.attack(&mut mesh, attack, after(3_600), HOUR), Some(0));
    }
    let (mut of, mut calls, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..1_080 {
        let window = mesh.next_window(&mut of);
        signals.calls(&mesh, window, &of, &mut calls);
        all.extend_from_slice(&calls);
    }
    (mesh, signals, all)
}

/// The calls of the attack, and the proof that all others are as without it.
fn attacked(seed: u64, attack: Attack) -> (Mesh, Signals, Vec<SimulatedCall>) {
    let (_, _, usual) = under(seed, None);
    let (mesh, signals, all) = under(seed, Some(attack));
    let (ours, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|simulated| simulated.scenario.is_some());
    assert_eq!(others, usual);
    let scenario = &signals.scenarios()[0];
    assert!(!ours.is_empty());
    assert!(ours.iter().all(|of| scenario.start <= of.call.end && of.call.end < scenario.end));
    (mesh, signals, ours)
}

fn is_between(signals: &Signals, mesh: &Mesh, edge: EdgeKey, (from, to): (usize, usize)) -> bool {
    let named =
        |node: Node, service: usize| signals.symbols().resolve(node.workload) == mesh.services()[service];
    named(edge.source, from) && named(edge.destination, to)
}

#[test]
fn lateral_movement_goes_over_new_edges_with_each_services_own_identity() {
    let (mesh, signals, calls) =
        attacked(71, Attack::LateralMovement { hops: 3, over: Ground::NewEdges, cover: Cover::None });
    let Scenario { path, hops, .. } = &signals.scenarios()[0];
    assert_eq!((path.len(), hops.len()), (4, 3));
    assert!(hops.is_sorted());
    let known: BTreeSet<(usize, usize)> =
        mesh.edges().iter().map(|edge| (edge.caller, edge.callee)).collect();
    for (pair, start) in path.windows(2).zip(hops) {
        let pair = (pair[0], pair[1]);
        assert!(!known.contains(&pair), "{pair:?}");
        let ours: Vec<_> =
            calls.iter().filter(|of| is_between(&signals, &mesh, of.call.edge, pair)).collect();
        assert!(ours.iter().filter(|of| of.call.shape.status == 200).count() >= 3);
        assert!(ours.iter().any(|of| of.call.end == *start));
    }
    for SimulatedCall { call, edge, .. } in &calls {
        assert_eq!(*edge, None);
        let (symbols, shape) = (signals.symbols(), call.shape);
        assert!(
            symbols.resolve(shape.source_principal).ends_with(symbols.resolve(call.edge.source.workload))
        );
        assert!(shape.security == Security::MutualTls && shape.reported == Reported::Both);
    }
    assert!(mesh.labels().is_empty());
}

/// Every edge and every route is known; what is new is that a request for one leads to the other.
#[test]
fn movement_over_known_edges_is_one_trace_over_a_path_that_no_request_took() {
    let attack = Attack::LateralMovement { hops: 3, over: Ground::KnownEdges, cover: Cover::None };
    let (_, _, usual) = under(80, None);
    let (mesh, signals, calls) = attacked(80, attack);
    let Scenario { path, hops, .. } = &signals.scenarios()[0];
    assert_eq!((path.len(), hops.len()), (4, 3));
    assert!(calls.iter().all(|of| of.edge.is_some()));
    // What a served request of a route led to, by edge.
    let led = |calls: &[SimulatedCall]| {
        let by_span: BTreeMap<_, _> = calls.iter().map(|of| (of.call.span_id, of.call)).collect();
        let parent = |of: &SimulatedCall| by_span.get(&of.parent_span_id).map(|parent| parent.shape.route);
        calls.iter().filter_map(|of| Some((parent(of)?, of.edge))).collect::<BTreeSet<_>>()
    };
    let (usual, ours) = (led(&usual), led(&calls));
    assert!(ours.len() == 2 && ours.is_disjoint(&usual), "{ours:?}");
    let longest = calls.iter().filter(|of| {
        let spec = &mesh.edges()[of.edge.unwrap()];
        (spec.caller, spec.callee) == (path[2], path[3])
    });
    assert!(longest.clone().count() >= 3);
    for last in longest {
        let trace = calls.iter().filter(|of| of.call.trace_id == last.call.trace_id);
        assert_eq!(trace.count(), 3);
    }
}

#[test]
fn a_cover_is_a_deployment_before_the_hop() {
    for (cover, deployments) in [(Cover::Foothold, 1), (Cover::EveryHop, 3)] {
        let (mesh, signals, _) =
            under(72, Some(Attack::LateralMovement { hops: 3, over: Ground::NewEdges, cover }));
        let Scenario { path, hops, .. } = &signals.scenarios()[0];
        assert_eq!(mesh.labels().len(), deployments);
        for (label, (service, hop)) in mesh.labels().iter().zip(path.iter().zip(hops)) {
            assert!(matches!(label.cause, Cause::Deployment { .. }));
            assert_eq!(label.extent, Extent::Service(*service));
            let before = hop.since(label.start);
            assert!(Duration::from_secs(30) < before && before < HOUR, "{before:?}");
        }
    }
}

#[test]
fn three_hundred_movements_are_all_different() {
    let mut mesh = Mesh::new(MeshConfig::noisy(73, 1_000));
    let mut signals = Signals::new(&mesh, SignalConfig::default());
    let mut paths = BTreeSet::new();
    for nth in 0..300 {
        let attack =
            Attack::LateralMovement { hops: 2 + nth % 4, over: Ground::NewEdges, cover: Cover::None };
        let place = signals.attack(&mut mesh, attack, after(600 * nth as u64), HOUR);
        let scenario = &signals.scenarios()[place.unwrap()];
        assert_eq!(scenario.path.len(), 3 + nth % 4);
        paths.insert(scenario.path.clone());
    }
    assert_eq!(paths.len(), 300);
}

#[test]
fn a_forged_identity_is_that_of_another_service() {
    let (mesh, signals, calls) = attacked(74, Attack::ForgedIdentity { edge: 7 });
    let spec = &mesh.edges()[7];
    for SimulatedCall { call, edge, .. } in calls {
        assert_eq!(edge, Some(7));
        assert!(is_between(&signals, &mesh, call.edge, (spec.caller, spec.callee)));
        let principal = signals.symbols().resolve(call.shape.source_principal);
        assert!(principal.starts_with("spiffe://mesh.test/"));
        assert!(!principal.ends_with(&mesh.services()[spec.caller]));
    }
}

#[test]
fn a_downgrade_has_neither_tls_nor_identity() {
    let (_, _, calls) = attacked(75, Attack::Downgrade { edge: 3 });
    for SimulatedCall { call, edge, .. } in calls {
        assert_eq!(edge, Some(3));
        assert_eq!(call.shape.security, Security::Plaintext);
        assert!(!call.shape.source_principal.present() && !call.shape.tls_version.present());
        assert_eq!(call.shape.source_identity, IdentitySource::Address);
    }
}

#[test]
fn a_bypassed_sidecar_reports_nothing() {
    let (_, _, calls) = attacked(76, Attack::BypassedSidecar { edge: 3 });
    for SimulatedCall { call, .. } in calls {
        assert_eq!(call.shape.reported, Reported::ServerOnly);
        assert!(call.shape.source_principal.present());
    }
}

#[test]
fn a_beacon_calls_one_host_outside_by_the_clock() {
    let period = Duration::from_mins(2);
    let (_, signals, calls) = attacked(77, Attack::Beaconing { service: 5, period, jitter: 0.1 });
    assert_eq!(calls.len(), 30);
    for pair in calls.windows(2) {
        let pause = pair[1].call.end.since(pair[0].call.end).as_secs_f64();
        assert!((pause - 120.0).abs() <= 12.0, "{pause} s");
    }
    for SimulatedCall { call, .. } in calls {
        assert!(call.edge.external && call.shape.reported == Reported::ClientOnly);
        assert!(signals.symbols().resolve(call.edge.destination.workload).ends_with(".example"));
    }
}

#[test]
fn suppressed_telemetry_is_missing_where_counters_still_count() {
    let attack = Attack::SuppressedTelemetry { edge: 4, share: 0.5 };
    let (_, _, usual) = under(78, None);
    let (_, _, left) = under(78, Some(attack));
    let of = |calls: &[SimulatedCall], ours: bool| {
        let calls = calls.iter().filter(|simulated| (simulated.edge == Some(4)) == ours);
        calls
            .filter(|simulated| after(3_600) <= simulated.call.end && simulated.call.end < after(7_200))
            .count()
    };
    assert_eq!(of(&usual, false), of(&left, false));
    let share = number(of(&left, true) as u64) / number(of(&usual, true) as u64);
    assert!((share - 0.5).abs() < 0.06, "{share} of the edge's calls are left");
}

#[test]
fn an_attack_on_what_is_not_there_is_not_planned() {
    let mut mesh = Mesh::new(config(79));
    let mut signals = Signals::new(&mesh, SignalConfig::default());
    let period = Duration::from_mins(1);
    let nothing = [
        Attack::Downgrade { edge: EDGES },
        Attack::ForgedIdentity { edge: EDGES },
        Attack::SuppressedTelemetry { edge: EDGES, share: 1.0 },
        Attack::Beaconing { service: 1_000, period, jitter: 0.0 },
        Attack::Beaconing { service: 0, period: Duration::ZERO, jitter: 0.0 },
        Attack::LateralMovement { hops: 0, over: Ground::NewEdges, cover: Cover::None },
        Attack::LateralMovement { hops: 0, over: Ground::KnownEdges, cover: Cover::None },
        Attack::LateralMovement { hops: 1_000, over: Ground::NewEdges, cover: Cover::None },
        Attack::LateralMovement { hops: 1_000, over: Ground::KnownEdges, cover: Cover::None },
    ];
    for attack in nothing {
        assert_eq!(signals.attack(&mut mesh, attack, after(0), HOUR), None, "{attack:?}");
    }
    assert!(signals.scenarios().is_empty());
}
