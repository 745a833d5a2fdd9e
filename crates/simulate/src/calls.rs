//! The calls of a window of an edge as counts by shape: what a joined window of the engine looks like, without the price
//! of single calls.

use selvedge_model::{
    CallShape, EdgeCounts, EdgeKey, IdentitySource, LogHistogram, Measure, Node, Reported, ShapeStats,
    Symbol, SymbolTable, Window,
};

use crate::mesh::Mesh;

/// Latencies in ms: up to the median, the 0.9 and the 0.99 quantile, twice that, and beyond.
const CELLS_MS: [(u64, u64); 5] = [(2, 20), (20, 80), (80, 200), (200, 400), (400, 1_600)];
/// Latencies that the calls of a cell are spread over.
const SPREAD: u64 = 8;
const MS: u64 = 1_000_000;

/// The edges of a mesh as the engine names them, in their order: services are workloads without a namespace.
#[must_use]
pub fn keys_of(mesh: &Mesh, symbols: &mut SymbolTable) -> Vec<EdgeKey> {
    let names: Vec<Symbol> = mesh.services().iter().map(|name| symbols.intern(name)).collect();
    let node = |service: usize| Node { workload: names[service], ..Node::default() };
    let key = |caller, callee| EdgeKey { source: node(caller), destination: node(callee), external: false };
    mesh.edges().iter().map(|spec| key(spec.caller, spec.callee)).collect()
}

/// Calls with the counts of a window, as the callee's proxy reports them: a quantile of many windows lies where the
/// simulator's cut is, and failures are 404, 503 or the gRPC status 14. Few entries, however many calls; a shape comes
/// several times, in no particular order.
#[must_use]
pub fn calls_of(counts: &EdgeCounts, window: Window) -> Vec<(CallShape, ShapeStats)> {
    let of = |measure| counts.count(measure);
    let cells = [Measure::OverMedian, Measure::OverQ90, Measure::OverQ99, Measure::OverTwiceQ99];
    let over: Vec<u64> = cells.into_iter().map(of).chain([0]).collect();
    let mut failures = [
        (answer(404, -1), of(Measure::ClientErrors)),
        (answer(503, -1), of(Measure::ServerErrors)),
        (answer(200, 14), of(Measure::GrpcErrors)),
        (answer(200, -1), u64::MAX),
    ];
    let (mut calls, mut slower): (Vec<(CallShape, ShapeStats)>, u64) = (Vec::new(), counts.requests);
    for ((from, to), next) in CELLS_MS.into_iter().zip(over) {
        let in_cell = slower.saturating_sub(next);
        slower = next;
        for step in 0..SPREAD {
            // Which step gets the odd call changes from window to window.
            let turn = (step + window.start.0 / (10_000 * MS) * 7_919) % SPREAD;
            let mut count = in_cell / SPREAD + u64::from(turn < in_cell % SPREAD);
            let ms = from + (to - from) * (2 * step + 1) / (2 * SPREAD);
            for (shape, room) in &mut failures {
                let taken = count.min(*room);
                if taken > 0 {
                    calls.push((*shape, stats(taken, ms, window)));
                }
                (count, *room) = (count - taken, *room - taken);
            }
        }
    }
    if let Some((_, stats)) = calls.first_mut() {
        stats.request_bytes = 1_024 * of(Measure::SentKib);
        stats.request_bytes_max = stats.request_bytes / counts.requests.max(1);
    }
    calls
}

fn answer(status: u16, grpc_status: i16) -> CallShape {
    CallShape {
        status,
        grpc_status,
        source_identity: IdentitySource::MtlsCertificate,
        reported: Reported::ServerOnly,
        ..CallShape::default()
    }
}

fn stats(calls: u64, ms: u64, window: Window) -> ShapeStats {
    let mut latency = LogHistogram::default();
    latency.add(LogHistogram::cell_of(ms * MS), u32::try_from(calls).unwrap_or(u32::MAX));
    ShapeStats { calls, latency, first: window.start, last: window.end, ..ShapeStats::default() }
}

#[cfg(test)]
mod tests {
    use selvedge_model::EventTime;

    use super::*;

    #[test]
    fn the_calls_have_the_counts_of_the_window() {
        let counts = EdgeCounts { requests: 1_000, counts: [1_000, 77, 480, 110, 9, 2, 5, 3, 1] };
        let window = Window { start: EventTime(60_000 * MS), end: EventTime(70_000 * MS) };
        let calls = calls_of(&counts, window);
        let sum = |wanted: &dyn Fn(&CallShape) -> bool| -> u64 {
            calls.iter().filter(|(shape, _)| wanted(shape)).map(|(_, stats)| stats.calls).sum()
        };
        assert_eq!(sum(&|_| true), 1_000);
        assert_eq!([sum(&|of| of.status == 404), sum(&|of| of.status == 503)], [5, 3]);
        assert_eq!(sum(&|of| of.grpc_status == 14), 1);
        let above = |ms: u64| calls.iter().map(|(_, stats)| stats.latency.count_above(ms * MS)).sum::<u64>();
        assert_eq!([above(20), above(80), above(200), above(400)], [480, 110, 9, 2]);
        assert_eq!(calls.iter().map(|(_, stats)| stats.request_bytes).sum::<u64>(), 77 * 1_024);
        assert!(calls_of(&EdgeCounts::default(), window).is_empty());
    }
}
