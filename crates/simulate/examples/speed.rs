//! How fast the simulator is: `cargo run --release -p selvedge-simulate --example speed [edges] [hours]`.

use std::io::Write as _;

use selvedge_simulate::{Mesh, MeshConfig};

#[expect(
    clippy::disallowed_methods,
    reason = "a program of the house that measures time and reads its arguments"
)]
fn main() -> std::io::Result<()> {
    let argument = |nth: usize, usual: usize| {
        std::env::args().nth(nth).and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    let (edges, hours) = (argument(1, 1_000), argument(2, 24));
    let mut mesh = Mesh::new(MeshConfig::noisy(1, edges));
    let mut windows = Vec::new();
    let (mut requests, mut entries) = (0, 0_u64);
    let begun = std::time::Instant::now();
    for _ in 0..hours * 360 {
        mesh.next_window(&mut windows);
        entries += windows.len() as u64;
        requests += windows.iter().map(|of| of.counts.requests).sum::<u64>();
    }
    let took = begun.elapsed();
    let each = took.as_nanos() / u128::from(entries.max(1));
    writeln!(
        std::io::stdout(),
        "{entries} edge-windows of {edges} edges in {took:.2?}: {each} ns each; {requests} requests, {} labels",
        mesh.labels().len()
    )
}
