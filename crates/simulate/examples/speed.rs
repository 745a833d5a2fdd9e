//! How fast the simulator is: `cargo run --release -p selvedge-simulate --example speed [edges] [hours]`.

use std::io::Write as _;
use std::time::Instant;

use selvedge_simulate::{Mesh, MeshConfig, SignalConfig, Signals};

const WINDOWS_AN_HOUR: u64 = 360;
/// Calls are told of so many windows: five minutes.
const TOLD_WINDOWS: u64 = 30;

#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn main() -> std::io::Result<()> {
    let argument = |nth: usize, usual: usize| {
        std::env::args().nth(nth).and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let (edges, hours) = (argument(1, 1_000), argument(2, 24));
    let mut out = std::io::stdout();
    let mut mesh = Mesh::new(MeshConfig::noisy(1, edges));
    let (mut windows, mut entries, mut requests) = (Vec::new(), 0_u64, 0);
    let begun = Instant::now();
    for _ in 0..hours as u64 * WINDOWS_AN_HOUR {
        mesh.next_window(&mut windows);
        entries += windows.len() as u64;
        requests += windows.iter().map(|of| of.counts.requests).sum::<u64>();
    }
    let took = begun.elapsed();
    let each = took.as_nanos() / u128::from(entries.max(1));
    let labels = mesh.labels().len();
    writeln!(
        out,
        "{entries} edge-windows of {edges} edges: {took:.2?}, {each} ns each ({requests} requests, {labels} labels)"
    )?;

    let mut mesh = Mesh::new(MeshConfig::noisy(1, edges));
    let mut signals = Signals::new(&mesh, SignalConfig::default());
    let (mut calls, mut told) = (Vec::new(), 0_u64);
    let begun = Instant::now();
    for _ in 0..TOLD_WINDOWS {
        let window = mesh.next_window(&mut windows);
        signals.calls(&mesh, window, &windows, &mut calls);
        told += calls.len() as u64;
    }
    let took = begun.elapsed();
    writeln!(
        out,
        "{told} calls of {TOLD_WINDOWS} windows: {took:.2?}, {} ns each",
        took.as_nanos() / u128::from(told.max(1))
    )
}
