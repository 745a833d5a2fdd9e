//! What telemetry does to the truth: gaps, sampling, clocks.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{assert_near, at_rate, number, run, share};
use selvedge_model::{EdgeCounts, Measure};
use selvedge_simulate::{Cause, Extent, Label, Mesh, MeshConfig, Occasional, TelemetryNoise, between};

fn mesh(telemetry: TelemetryNoise) -> Mesh {
    Mesh::new(MeshConfig { telemetry, ..at_rate(20.0, MeshConfig::quiet(21, 12)) })
}

fn often(low: f64, high: f64) -> Occasional {
    Occasional { a_day: 12.0, seconds: between(600.0, 1_200.0), strength: between(low, high) }
}

fn covers(label: &Label, at: selvedge_model::EventTime) -> bool {
    label.start <= at && at < label.end
}

#[test]
fn a_silent_reporter_has_no_heartbeat_and_no_counts_and_others_are_well() {
    let gaps = Occasional { a_day: 12.0, ..TelemetryNoise::default().gaps };
    let mut mesh = mesh(TelemetryNoise { gaps, ..TelemetryNoise::none() });
    let windows = run(&mut mesh, 2_160);
    let mut silent = 0;
    for (window, of) in &windows {
        let gaps: BTreeSet<usize> = mesh
            .labels()
            .iter()
            .filter(|label| label.cause == Cause::Gap && covers(label, window.start))
            .filter_map(|label| match label.extent {
                Extent::Reporter(service) => Some(service),
                _ => None,
            })
            .collect();
        for (spec, of) in mesh.edges().iter().zip(of) {
            assert_eq!(of.heartbeat, !gaps.contains(&spec.callee));
            assert_eq!(of.heartbeat, of.counts != EdgeCounts::default());
            silent += u32::from(!of.heartbeat);
        }
    }
    assert!(silent > 100, "{silent} silent edge-windows");
}

#[test]
fn without_the_collector_every_reporter_is_silent() {
    let collector_gaps = Occasional { a_day: 24.0, ..TelemetryNoise::default().collector_gaps };
    let mut mesh = mesh(TelemetryNoise { collector_gaps, ..TelemetryNoise::none() });
    let windows = run(&mut mesh, 2_160);
    let mut silent = 0;
    for (window, of) in &windows {
        let gap =
            mesh.labels().iter().any(|label| label.extent == Extent::Mesh && covers(label, window.start));
        assert!(of.iter().all(|of| of.heartbeat != gap));
        silent += u32::from(gap);
    }
    assert!(silent > 20, "{silent} silent windows");
}

/// Requests, requests over the median and windows, of the windows that a label of sampling covers or not.
fn sampled(mesh: &mut Mesh, edge: usize) -> [(f64, f64, f64); 2] {
    let windows = run(mesh, 2_160);
    let callee = mesh.edges()[edge].callee;
    let ours: Vec<&Label> =
        mesh.labels().iter().filter(|label| label.extent == Extent::Reporter(callee)).collect();
    let mut sums = [(0.0, 0.0, 0.0); 2];
    for (window, of) in &windows {
        let label = ours.iter().find(|label| covers(label, window.start));
        let said = match label.map(|label| label.cause) {
            Some(Cause::Sampling(share)) => share,
            _ => 1.0,
        };
        assert!((of[edge].kept - said).abs() < f64::EPSILON);
        let sum = &mut sums[usize::from(label.is_some())];
        sum.0 += number(of[edge].counts.requests);
        sum.1 += number(of[edge].counts.count(Measure::OverMedian));
        sum.2 += 1.0;
    }
    sums
}

#[test]
fn sampling_thins_counts_and_leaves_shares_whether_it_is_said_or_not() {
    let said = TelemetryNoise { sampling: often(0.25, 0.25), ..TelemetryNoise::none() };
    let unsaid = TelemetryNoise { unsaid_sampling: often(0.25, 0.25), ..TelemetryNoise::none() };
    for telemetry in [said, unsaid] {
        let [whole, thin] = sampled(&mut mesh(telemetry), 0);
        assert!(thin.2 > 50.0, "{} sampled windows", thin.2);
        assert_near("requests", (thin.0 / thin.2) / (whole.0 / whole.2), 0.25, 0.01);
        assert_near("over median", thin.1 / thin.0, whole.1 / whole.0, 0.03);
    }
}

/// A clock that is set forward leaves a hole, set back again an overlap: counts move to other windows, none is lost.
#[test]
fn a_wrong_clock_shifts_counts_between_windows_and_loses_none() {
    let clock_steps = often(5.0, 5.0);
    let mut mesh = mesh(TelemetryNoise { clock_steps, ..TelemetryNoise::none() });
    let windows = run(&mut mesh, 2_160);
    let window = Duration::from_secs(10);
    let (mut forward, mut back) = (0, 0);
    for (edge, spec) in mesh.edges().iter().enumerate() {
        let usual = spec.usual_rate * 10.0;
        let counts: Vec<f64> = windows.iter().map(|(_, of)| number(of[edge].counts.requests)).collect();
        let ahead = |at: selvedge_model::EventTime| {
            let covering = mesh
                .labels()
                .iter()
                .find(|label| label.extent == Extent::Reporter(spec.callee) && covers(label, at));
            match covering.map(|label| label.cause) {
                Some(Cause::ClockStep(seconds)) => seconds,
                _ => 0.0,
            }
        };
        let mut expected = 0.0;
        for ((at, _), count) in windows.iter().map(|(at, of)| (at, of)).zip(&counts) {
            let step = ahead(at.start) - ahead(at.start.before(window));
            forward += u32::from(step > 0.0);
            back += u32::from(step < 0.0);
            let seconds = 10.0 - step;
            expected += usual * seconds / 10.0;
            let noise = 6.0 * (usual * seconds / 10.0).sqrt();
            assert_near(&format!("edge {edge} at {at:?}"), *count, usual * seconds / 10.0, noise + 1.0);
        }
        let total: f64 = counts.iter().sum();
        assert_near("total", total, expected, 5.0 * expected.sqrt());
    }
    assert!(forward > 10 && back > 10, "{forward} steps forward, {back} back");
}

#[test]
fn complete_telemetry_is_kept_whole() {
    let mut mesh = mesh(TelemetryNoise::none());
    let windows = run(&mut mesh, 360);
    for (_, of) in &windows {
        assert!(of.iter().all(|of| of.heartbeat && !of.deployed && of.kept >= 1.0));
    }
    assert!(mesh.labels().is_empty());
    assert!(share(&windows[0].1[0].counts, Measure::OverMedian) > 0.2);
}
