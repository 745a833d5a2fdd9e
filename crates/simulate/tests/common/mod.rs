//! Meshes of equal, busy edges, and sums over their windows.
#![allow(dead_code, reason = "each test file uses a part")]

use selvedge_model::{EdgeCounts, EventTime, Measure, Window};
use selvedge_simulate::{Mesh, MeshConfig, Rates, WindowOf, between};

/// 2023-11-13T00:00:00Z, a Monday: where a mesh starts by default.
pub(crate) const MONDAY: u64 = 1_699_833_600;

/// All edges have this usual rate.
pub(crate) fn at_rate(a_second: f64, config: MeshConfig) -> MeshConfig {
    let rates = Rates { median: a_second, sigma: 0.0, bounds: between(a_second, a_second) };
    MeshConfig { rates, ..config }
}

/// So many seconds after the default start.
pub(crate) fn after(seconds: u64) -> EventTime {
    EventTime((MONDAY + seconds) * 1_000_000_000)
}

/// So many windows of all edges.
pub(crate) fn run(mesh: &mut Mesh, windows: usize) -> Vec<(Window, Vec<WindowOf>)> {
    (0..windows)
        .map(|_| {
            let mut of = Vec::new();
            (mesh.next_window(&mut of), of)
        })
        .collect()
}

/// The next windows of all edges, added up by edge.
pub(crate) fn sums(mesh: &mut Mesh, windows: usize) -> Vec<EdgeCounts> {
    let mut sums = vec![EdgeCounts::default(); mesh.edges().len()];
    let mut of = Vec::new();
    for _ in 0..windows {
        mesh.next_window(&mut of);
        for (sum, of) in sums.iter_mut().zip(&of) {
            sum.merge(&of.counts);
        }
    }
    sums
}

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

/// A count out of the requests.
pub(crate) fn share(counts: &EdgeCounts, measure: Measure) -> f64 {
    number(counts.count(measure)) / number(counts.requests.max(1))
}

pub(crate) fn assert_near(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{what}: {found}, expected {expected} +- {tolerance}");
}

/// Mean and variance.
pub(crate) fn moments(values: &[f64]) -> (f64, f64) {
    let count = number(values.len() as u64);
    let mean = values.iter().sum::<f64>() / count;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count)
}
