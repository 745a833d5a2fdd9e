//! Each fault does what its label says, and nothing else.

mod common;

use common::{after, assert_near, at_rate, number, run, share, sums};
use selvedge_model::{EdgeCounts, Measure};
use selvedge_simulate::{Cause, Extent, Fault, FaultKind, Label, Mesh, MeshConfig, Protocol};

const EDGES: usize = 6;
const HOUR: usize = 360;

/// One hour with a fault on all edges, after one hour without.
fn before_and_during(kind: FaultKind) -> (Mesh, Vec<EdgeCounts>, Vec<EdgeCounts>) {
    let mut mesh = Mesh::new(at_rate(20.0, MeshConfig::quiet(11, EDGES)));
    for edge in 0..EDGES {
        mesh.inject(Fault { kind, edge, start: after(3_600), end: after(7_200) });
    }
    let before = sums(&mut mesh, HOUR);
    let during = sums(&mut mesh, HOUR);
    let afterwards = sums(&mut mesh, HOUR);
    for (edge, (before, afterwards)) in before.iter().zip(&afterwards).enumerate() {
        let (before, afterwards) = (number(before.requests), number(afterwards.requests));
        assert_near(&format!("edge {edge} afterwards"), afterwards / before, 1.0, 0.03);
    }
    (mesh, before, during)
}

fn ratio(during: &EdgeCounts, before: &EdgeCounts, measure: Measure) -> f64 {
    share(during, measure) / share(before, measure)
}

#[test]
fn volume_is_so_many_times_as_much_and_shares_stay() {
    for times in [3.0, 10.0, 0.2] {
        let (_, before, during) = before_and_during(FaultKind::Volume { times });
        for (before, during) in before.iter().zip(&during) {
            assert_near("requests", number(during.requests) / number(before.requests), times, 0.05 * times);
            assert_near("bytes", ratio(during, before, Measure::SentKib), 1.0, 0.1);
            assert_near("over q90", ratio(during, before, Measure::OverQ90), 1.0, 0.1);
        }
    }
}

#[test]
fn a_vanished_edge_is_empty_while_its_reporter_is_well() {
    let mut mesh = Mesh::new(at_rate(20.0, MeshConfig::quiet(11, EDGES)));
    let fault = Fault { kind: FaultKind::Vanished, edge: 2, start: after(60), end: after(120) };
    mesh.inject(fault);
    for (window, of) in run(&mut mesh, 18) {
        let gone = fault.start <= window.start && window.start < fault.end;
        assert!(of[2].heartbeat);
        assert_eq!(of[2].counts == EdgeCounts::default(), gone, "{window:?}");
        assert_ne!(of[1].counts, EdgeCounts::default());
    }
    let expected = Label {
        cause: Cause::Fault(FaultKind::Vanished),
        extent: Extent::Edge(2),
        start: fault.start,
        end: fault.end,
    };
    assert_eq!(mesh.labels(), [expected]);
}

#[test]
fn latency_moves_the_whole_distribution() {
    for times in [2.0, 5.0] {
        let (mesh, before, during) = before_and_during(FaultKind::Latency { times });
        for ((before, during), spec) in before.iter().zip(&during).zip(mesh.edges()) {
            assert_near("requests", number(during.requests) / number(before.requests), 1.0, 0.02);
            assert!(share(during, Measure::OverMedian) > 0.75, "{spec:?}");
            assert!(ratio(during, before, Measure::OverQ90) > 1.5, "{spec:?}");
            // What was above q99 is now above twice q99, when all is twice as slow.
            if (times - 2.0_f64).abs() < f64::EPSILON {
                let far = share(during, Measure::OverTwiceQ99);
                assert_near("far tail", far, share(before, Measure::OverQ99), 0.002);
            }
        }
    }
}

#[test]
fn a_slower_tail_leaves_the_median_alone() {
    let (mesh, before, during) = before_and_during(FaultKind::SlowerTail { times: 4.0 });
    for ((before, during), spec) in before.iter().zip(&during).zip(mesh.edges()) {
        assert_near("over median", ratio(during, before, Measure::OverMedian), 1.0, 0.03);
        assert!(ratio(during, before, Measure::OverTwiceQ99) > 2.0, "{spec:?}: {before:?} {during:?}");
    }
}

#[test]
fn a_longer_tail_has_more_slow_requests() {
    let (mesh, before, during) = before_and_during(FaultKind::LongerTail { times: 4.0 });
    for ((before, during), spec) in before.iter().zip(&during).zip(mesh.edges()) {
        assert!(ratio(during, before, Measure::OverMedian) < 1.2, "{spec:?}");
        assert!(ratio(during, before, Measure::OverQ90) > 1.2, "{spec:?}: {before:?} {during:?}");
    }
}

#[test]
fn errors_rise_by_points_in_what_the_protocol_has_for_them() {
    for points in [2.0, 10.0] {
        let (mesh, before, during) = before_and_during(FaultKind::Errors { points });
        let protocols: Vec<Protocol> = mesh.edges().iter().map(|edge| edge.protocol).collect();
        assert!(protocols.contains(&Protocol::Http) && protocols.contains(&Protocol::Grpc));
        for ((before, during), protocol) in before.iter().zip(&during).zip(protocols) {
            let (measure, other) = match protocol {
                Protocol::Http => (Measure::ServerErrors, Measure::GrpcErrors),
                Protocol::Grpc => (Measure::GrpcErrors, Measure::ServerErrors),
            };
            let rise = share(during, measure) - share(before, measure);
            assert_near("points", 100.0 * rise, points, 0.5);
            assert_eq!((before.count(other), during.count(other)), (0, 0));
        }
    }
}

#[test]
fn exfiltration_is_bytes_and_no_requests() {
    let (_, before, during) = before_and_during(FaultKind::Exfiltration { kib_a_minute: 100_000.0 });
    for (before, during) in before.iter().zip(&during) {
        assert_near("requests", number(during.requests) / number(before.requests), 1.0, 0.02);
        let more = number(during.count(Measure::SentKib)) - number(before.count(Measure::SentKib));
        assert_near("KiB a minute", more / 60.0 / 100_000.0, 1.0, 0.1);
    }
}

#[test]
fn exfiltration_waits_for_a_request_to_leave_with() {
    let mut mesh = Mesh::new(at_rate(0.02, MeshConfig::quiet(12, 1)));
    let kind = FaultKind::Exfiltration { kib_a_minute: 6_000.0 };
    mesh.inject(Fault { kind, edge: 0, start: after(0), end: after(36_000) });
    let windows = run(&mut mesh, 3_600);
    assert!(windows.iter().all(|(_, of)| of[0].counts.requests > 0 || of[0].counts == EdgeCounts::default()));
    let sent: u64 = windows.iter().map(|(_, of)| of[0].counts.count(Measure::SentKib)).sum();
    assert_near("all of it", number(sent) / 3.6e6, 1.0, 0.05);
}

#[test]
fn a_ramp_grows_by_percent_a_day_up_to_its_end() {
    let mut config = at_rate(50.0, MeshConfig::quiet(13, 1));
    config.window = std::time::Duration::from_mins(5);
    let mut mesh = Mesh::new(config);
    let kind = FaultKind::Ramp { percent_a_day: 8.0, times_max: 1.5 };
    mesh.inject(Fault { kind, edge: 0, start: after(0), end: after(10 * 86_400) });
    let days: Vec<f64> = (0..10).map(|_| number(sums(&mut mesh, 288)[0].requests)).collect();
    let usual = mesh.edges()[0].usual_rate * 86_400.0;
    for (day, found) in days.iter().enumerate() {
        let middle = 1.08_f64.powf(number(day as u64) + 0.5).min(1.5);
        assert_near(&format!("day {day}"), found / usual, middle, 0.02);
    }
}

#[test]
#[should_panic(expected = "edge 9 of 6")]
fn a_fault_of_an_edge_that_is_not_there_is_refused() {
    let mut mesh = Mesh::new(MeshConfig::quiet(11, EDGES));
    mesh.inject(Fault { kind: FaultKind::Vanished, edge: 9, start: after(0), end: after(1) });
}
