//! The mesh of a seed: traffic, faults and attacks, and the order in which batches arrive.

use std::time::Duration;

use selvedge_testkit::{RawFrame, Refusal, Request, Rng, Traffic, recut};

const CHAINS: [&str; 5] = [
    "web -> cart -> ledger",
    "web -> cart",
    "courier -> ledger",
    "web -> search",
    "courier -> cart -> ledger",
];
/// Batches that overtake others, at most by so many places: within what the watermark waits for.
const OVERTAKEN_MAX: u64 = 3;

/// What is approved before: every chain, a while before the mesh of any seed.
pub(crate) fn taught() -> Vec<RawFrame> {
    let mut traffic = Traffic::seeded(0);
    for chain in CHAINS {
        traffic.repeat(12, chain);
    }
    traffic.frames()
}

/// Batches as they arrive; each is received when its place in the order was to be.
pub(crate) fn frames(seed: u64) -> Vec<RawFrame> {
    let mut rng = Rng::seeded(seed ^ 0x6d65_7368);
    let mut traffic = Traffic::seeded(seed);
    traffic.wait(Duration::from_mins(10));
    let chains = 2 + rng.below(CHAINS.len() as u64 - 1);
    for _ in 0..60 + rng.below(80) {
        let chain = CHAINS[usize::try_from(rng.below(chains)).unwrap()];
        traffic.send(Request::along(chain));
        traffic.wait(Duration::from_millis(20 + rng.below(700)));
        if rng.once_in(40) {
            go_wrong(&mut traffic, &mut rng);
        }
    }
    let mut frames = recut(&traffic.frames(), seed);
    let received: Vec<_> = frames.iter().map(|frame| frame.observed).collect();
    for at in 0..frames.len() {
        if rng.once_in(4) {
            let other = (at + usize::try_from(rng.below(OVERTAKEN_MAX)).unwrap()).min(frames.len() - 1);
            frames.swap(at, other);
        }
    }
    for (frame, received) in frames.iter_mut().zip(received) {
        frame.observed = received;
    }
    frames
}

fn go_wrong(traffic: &mut Traffic, rng: &mut Rng) {
    let request = match rng.below(6) {
        0 => return traffic.refuse("ledger", "cart", Refusal::UnknownIssuer),
        1 => Request::along("search -> ledger").asking("POST", "/admin/export"),
        2 => Request::along("web -> cart").plaintext(),
        3 => Request::along("web -> cart").status(503),
        4 => Request::along("courier -> ledger").bytes(100, 80_000_000),
        _ => Request::along("web -> cart").latency(Duration::from_secs(2)),
    };
    traffic.send(request);
}
