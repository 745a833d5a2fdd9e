//! The same seed gives the same mesh, and a fault changes one edge only.

mod common;

use std::time::Duration;

use common::{after, at_rate, number, run};
use selvedge_simulate::{Extent, Fault, FaultKind, Mesh, MeshConfig, TelemetryNoise, VolumeNoise};

/// Everything happens so often that two hours see it all.
fn eventful(seed: u64, edges: usize) -> MeshConfig {
    let mut config = MeshConfig::noisy(seed, edges);
    let (events, telemetry) = (&mut config.events, &mut config.telemetry);
    for what in [
        &mut events.volume,
        &mut events.latency,
        &mut events.errors,
        &mut events.bytes,
        &mut telemetry.gaps,
        &mut telemetry.collector_gaps,
        &mut telemetry.sampling,
        &mut telemetry.unsaid_sampling,
        &mut telemetry.clock_steps,
    ] {
        what.a_day = 20.0;
    }
    events.deployments_a_day = 10.0;
    config
}

#[test]
fn the_same_seed_gives_the_same_windows_and_labels() {
    let (mut one, mut other) = (Mesh::new(eventful(5, 40)), Mesh::new(eventful(5, 40)));
    assert_eq!((one.services(), one.edges()), (other.services(), other.edges()));
    assert_eq!(run(&mut one, 720), run(&mut other, 720));
    assert_eq!(one.labels(), other.labels());
    assert!(!one.labels().is_empty());
}

#[test]
fn how_many_windows_are_asked_for_at_once_changes_nothing() {
    let mut whole = Mesh::new(eventful(6, 20));
    let expected = run(&mut whole, 300);
    let mut parts = Mesh::new(eventful(6, 20));
    let mut found = run(&mut parts, 70);
    found.extend(run(&mut parts.clone(), 230));
    assert_eq!(found, expected);
}

#[test]
fn another_seed_gives_another_mesh() {
    let (mut one, mut other) = (Mesh::new(MeshConfig::noisy(1, 20)), Mesh::new(MeshConfig::noisy(2, 20)));
    assert_ne!(one.services(), other.services());
    assert_ne!(run(&mut one, 30), run(&mut other, 30));
}

#[test]
fn a_fault_changes_its_edge_from_its_start_on_and_no_other() {
    let config = at_rate(5.0, eventful(7, 30));
    let expected = run(&mut Mesh::new(config), 360);
    let mut mesh = Mesh::new(config);
    let (start, end) = (after(1_200), after(2_400));
    mesh.inject(Fault { kind: FaultKind::Volume { times: 10.0 }, edge: 3, start, end });
    let found = run(&mut mesh, 360);
    let mut differ = 0;
    for ((window, found), (_, expected)) in found.iter().zip(&expected) {
        for (edge, (found, expected)) in found.iter().zip(expected).enumerate() {
            if edge == 3 && start <= window.start {
                differ += u32::from(found != expected);
            } else {
                assert_eq!(found, expected, "edge {edge} in {window:?}");
            }
        }
    }
    assert!(differ > 100, "{differ} windows of the edge differ");
}

/// Season, wandering, crons and deployments are the same for every length of a window: six of ten seconds together
/// are one of a minute but for the noise of counting.
#[test]
fn the_weather_does_not_depend_on_the_length_of_a_window() {
    let mut config = MeshConfig::noisy(8, 6);
    config.telemetry = TelemetryNoise::none();
    config.events.volume.a_day = 0.0;
    let calm = selvedge_simulate::between(0.0, 0.0);
    config.volume = VolumeNoise { dispersion: calm, crons: 0.0, ..VolumeNoise::default() };
    config.events.deployments_a_day = 20.0;
    let config = at_rate(1_000.0, config);
    let short = run(&mut Mesh::new(config), 6 * 120);
    let long = run(&mut Mesh::new(MeshConfig { window: Duration::from_mins(1), ..config }), 120);
    for (minute, (_, long)) in long.iter().enumerate() {
        for (edge, long) in long.iter().enumerate() {
            let parts = &short[6 * minute..6 * minute + 6];
            let sum = number(parts.iter().map(|(_, of)| of[edge].counts.requests).sum());
            let long = number(long.counts.requests);
            assert!(
                (sum - long).abs() < 5.5 * (sum + long).sqrt(),
                "edge {edge}, minute {minute}: {sum}, {long}"
            );
        }
    }
}

#[test]
fn edges_are_different_pairs_and_services_have_different_names() {
    for edges in [0, 1, 2, 10, 1_000] {
        let mesh = Mesh::new(MeshConfig::noisy(9, edges));
        assert_eq!(mesh.edges().len(), edges);
        let mut pairs: Vec<_> = mesh.edges().iter().map(|edge| (edge.caller, edge.callee)).collect();
        assert!(pairs.iter().all(|&(caller, callee)| caller < callee && callee < mesh.services().len()));
        pairs.sort_unstable();
        pairs.dedup();
        assert_eq!(pairs.len(), edges);
        let mut names = mesh.services().to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), mesh.services().len());
    }
}

#[test]
fn labels_end_at_their_limit_and_the_rest_is_counted() {
    let mut config = eventful(10, 30);
    let mut mesh = Mesh::new(config);
    run(&mut mesh, 360);
    let all = mesh.labels().len();
    config.labels_max = 5;
    let mut limited = Mesh::new(config);
    run(&mut limited, 360);
    assert_eq!(limited.labels(), &mesh.labels()[..5]);
    assert_eq!(limited.labels_lost(), all as u64 - 5);
    assert!(mesh.labels().iter().any(|label| matches!(label.extent, Extent::Service(_))));
}
