//! From a window of an edge to the counts that its normal is made of; latency is cut at the edge's own quantiles.

use selvedge_model::{CallShape, EdgeCounts, EdgeWindow, LogHistogram, Measure, ShapeStats};
use serde::{Deserialize, Serialize};

use crate::edge::describes_request;

/// Requests without which a quantile is not known: two of them are slower than the 0.99 one.
const REQUESTS_MIN: u64 = 200;
/// Requests after which it is as well known as the grid of the histogram allows.
const REQUESTS_ENOUGH: u64 = 1_000;
/// How many cells of the histogram (an eighth each) a day's median or 0.9 quantile, and its 0.99 one, may stand from the
/// frozen ones: half as much again, and twice. Load and time of day move them less, and the counts say so themselves.
const CELLS_MAX: [u16; 3] = [4, 4, 8];

/// Where an edge's latencies are cut, in nanoseconds: its usual median, 0.9 and 0.99 quantile, and twice the last one.
/// Frozen, because shares beyond a cut that moves with the latency would never show that the latency moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyCuts {
    nanos: [u64; 4],
}

/// The cuts of an edge, and the latencies that the next ones will come from.
///
/// The first ones are frozen after 200 requests. At the end of each day that brought 1,000 requests (or of the days that
/// did so together) they are compared with what those came to, and replaced when that is half as slow again or more;
/// only while no latency of the edge is suspected, so that a fault is never taken for the usual.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Latencies {
    learned: LogHistogram,
    cuts: Option<LatencyCuts>,
    /// They come from requests enough.
    settled: bool,
}

impl LatencyCuts {
    /// The quantiles of latencies; nothing without any.
    #[must_use]
    pub fn of(latency: &LogHistogram) -> Option<Self> {
        let [median, q90, q99] = [latency.quantile(0.5)?, latency.quantile(0.9)?, latency.quantile(0.99)?];
        Some(Self { nanos: [median, q90, q99, q99.saturating_mul(2)] })
    }

    /// The cuts: median, 0.9 quantile, 0.99 quantile, twice that.
    #[must_use]
    pub fn nanos(&self) -> [u64; 4] {
        self.nanos
    }

    fn near(&self, other: &Self) -> bool {
        let cells = self.nanos.iter().zip(&other.nanos).zip(CELLS_MAX);
        cells.into_iter().all(|((&left, &right), most)| {
            LogHistogram::cell_of(left).abs_diff(LogHistogram::cell_of(right)) <= most
        })
    }
}

/// The counts of a window. Failed handshakes are no calls, and what a policy denied never reached the callee: both have
/// findings of their own. Bare connections count as requests, and have neither a latency nor a status.
#[must_use]
pub fn counts_of(edge: &EdgeWindow, cuts: Option<&LatencyCuts>) -> EdgeCounts {
    let mut found = EdgeCounts::default();
    let mut add = |measure: Measure, more: u64| found.counts[measure as usize] += more;
    let (mut bytes, mut requests) = (0_u64, 0);
    add(Measure::Requests, edge.shapes_overflowed);
    for (shape, stats) in counted(edge) {
        add(Measure::Requests, stats.calls);
        bytes = bytes.saturating_add(stats.request_bytes);
        if !describes_request(shape) {
            continue;
        }
        requests += stats.calls;
        if let Some(measure) = failure(shape) {
            add(measure, stats.calls);
        }
        let Some(cuts) = cuts else { continue };
        let cells = [Measure::OverMedian, Measure::OverQ90, Measure::OverQ99, Measure::OverTwiceQ99];
        for (measure, limit) in cells.into_iter().zip(cuts.nanos) {
            add(measure, stats.latency.count_above(limit));
        }
    }
    add(Measure::SentKib, bytes.div_ceil(1_024));
    found.requests = requests;
    found
}

/// The share of the calls in [`counts_of`] that was told of, as who sampled them says: above 0, at most 1. `None` without
/// calls.
#[must_use]
pub(super) fn kept(edge: &EdgeWindow) -> Option<f64> {
    let (mut told, mut all) = (edge.shapes_overflowed, edge.shapes_overflowed);
    for (shape, stats) in counted(edge) {
        told += stats.calls;
        all = all.saturating_add(shape.sampling.stands_for(stats.calls));
    }
    (told > 0).then(|| told as f64 / all.max(told) as f64)
}

/// Shapes of calls that reached the callee.
fn counted(edge: &EdgeWindow) -> impl Iterator<Item = (&CallShape, &ShapeStats)> {
    edge.shapes.iter().filter(|(shape, _)| !shape.handshake_failure.present() && !shape.denied_by.present())
}

/// What a failed or refused request counts as; each counts once.
fn failure(shape: &CallShape) -> Option<Measure> {
    match shape {
        _ if shape.refused() => Some(Measure::ClientErrors),
        _ if !shape.failed() => None,
        _ if shape.status < 500 && shape.grpc_status > 0 => Some(Measure::GrpcErrors),
        _ => Some(Measure::ServerErrors),
    }
}

impl Latencies {
    /// The cuts in force; nothing before the first are frozen.
    pub(super) fn cuts(&self) -> Option<&LatencyCuts> {
        self.cuts.as_ref()
    }

    /// Learns the latencies of a window.
    pub(super) fn learn(&mut self, edge: &EdgeWindow) {
        for (_, stats) in counted(edge).filter(|(shape, _)| describes_request(shape)) {
            self.learned.merge(&stats.latency);
        }
    }

    /// Freezes the first cuts when there were requests enough; true when it did.
    pub(super) fn freeze(&mut self) -> bool {
        if self.cuts.is_some() || self.learned.count() < REQUESTS_MIN {
            return false;
        }
        self.cuts = LatencyCuts::of(&self.learned);
        self.cuts.is_some()
    }

    /// A day is over; true when latency is cut elsewhere from now on.
    pub(super) fn close_day(&mut self, calm: bool) -> bool {
        if self.cuts.is_none() || self.learned.count() < REQUESTS_ENOUGH {
            return false;
        }
        let today = LatencyCuts::of(&std::mem::take(&mut self.learned));
        let (Some(cuts), Some(today)) = (self.cuts, today) else { return false };
        let keep = !calm || cuts == today || (self.settled && cuts.near(&today));
        self.settled |= calm;
        if !keep {
            self.cuts = Some(today);
        }
        !keep
    }

    /// Bytes beside its own.
    pub(super) fn bytes(&self) -> usize {
        self.learned.bytes()
    }
}

#[cfg(test)]
mod tests {
    use selvedge_model::{Call, EventTime, Sampling, Symbol};

    use super::*;

    const MS: u64 = 1_000_000;

    fn call(shape: CallShape, ms: u64, bytes: u64) -> Call {
        Call {
            shape,
            start: EventTime(1),
            end: EventTime(1 + ms * MS),
            duration_nanos: ms * MS,
            request_bytes: bytes,
            ..Call::default()
        }
    }

    fn answered(status: u16, grpc_status: i16) -> CallShape {
        CallShape { status, grpc_status, method: Symbol(9), ..CallShape::default() }
    }

    fn window(calls: &[Call]) -> EdgeWindow {
        let mut window = EdgeWindow::default();
        calls.iter().for_each(|call| window.record(call));
        window
    }

    /// Latencies of 1 to 100 ms, each `times` times.
    fn latencies(times: u32, factor: u64) -> EdgeWindow {
        let calls: Vec<Call> =
            (0..times).flat_map(|_| (1..=100).map(|ms| call(answered(200, -1), ms * factor, 0))).collect();
        window(&calls)
    }

    #[test]
    fn every_failure_is_counted_once_under_what_it_is() {
        let cases = [
            (answered(200, -1), None),
            (answered(200, 0), None),
            (answered(404, -1), Some(Measure::ClientErrors)),
            (answered(503, -1), Some(Measure::ServerErrors)),
            (answered(503, 14), Some(Measure::ServerErrors)),
            (answered(200, 14), Some(Measure::GrpcErrors)),
            (answered(0, 13), Some(Measure::GrpcErrors)),
            (answered(200, 5), None),
            (CallShape { error: true, ..answered(0, -1) }, Some(Measure::ServerErrors)),
        ];
        for (shape, expected) in cases {
            let counts = counts_of(&window(&[call(shape, 5, 0)]), None);
            assert_eq!((counts.requests, counts.count(Measure::Requests)), (1, 1), "{shape:?}");
            for measure in [Measure::ClientErrors, Measure::ServerErrors, Measure::GrpcErrors] {
                assert_eq!(counts.count(measure) == 1, expected == Some(measure), "{shape:?} {measure:?}");
            }
        }
    }

    #[test]
    fn what_never_reached_the_callee_is_not_counted_and_a_bare_connection_has_no_status() {
        let refused = CallShape { denied_by: Symbol(7), ..answered(403, -1) };
        let failed = CallShape { handshake_failure: Symbol(8), ..CallShape::default() };
        let connection = CallShape { grpc_status: -1, ..CallShape::default() };
        let counts =
            counts_of(&window(&[call(refused, 1, 900), call(failed, 1, 0), call(connection, 1, 900)]), None);
        assert_eq!((counts.count(Measure::Requests), counts.requests), (1, 0));
        assert_eq!(counts.count(Measure::SentKib), 1, "900 bytes are a KiB");
        assert_eq!(counts.count(Measure::ClientErrors), 0);
    }

    #[test]
    fn bytes_are_rounded_up_by_window_and_calls_without_room_for_their_shape_are_requests() {
        let ok = answered(200, -1);
        let mut window = window(&[call(ok, 1, 1_000), call(ok, 1, 1_000), call(ok, 1, 1_000)]);
        window.shapes_overflowed = 5;
        let counts = counts_of(&window, None);
        assert_eq!((counts.count(Measure::Requests), counts.requests), (8, 3));
        assert_eq!(counts.count(Measure::SentKib), 3);
    }

    /// Guarantees: what is rejected at the door or denied says nothing of how the callee's calls are sampled.
    #[test]
    fn the_share_that_is_told_of_is_that_of_the_calls_that_count() {
        let half = CallShape { sampling: Sampling::of_threshold(1 << 55), ..answered(200, -1) };
        let failed = CallShape { handshake_failure: Symbol(8), ..CallShape::default() };
        let calls = |shape: CallShape, times: usize| vec![call(shape, 1, 0); times];
        assert_eq!(kept(&window(&[])), None);
        assert_eq!(kept(&window(&calls(answered(200, -1), 3))), Some(1.0));
        assert_eq!(kept(&window(&[calls(half, 4), calls(failed, 9)].concat())), Some(0.5));
        assert_eq!(kept(&window(&[calls(half, 2), calls(answered(200, -1), 4)].concat())), Some(0.75));
    }

    #[test]
    fn latency_is_cut_at_the_quantiles_and_without_cuts_not_at_all() {
        let window = latencies(10, 1);
        let cuts = LatencyCuts::of(&window.latency()).unwrap();
        let counts = counts_of(&window, Some(&cuts));
        let share = |measure| counts.count(measure) as f64 / counts.requests as f64;
        assert!((0.35..=0.5).contains(&share(Measure::OverMedian)), "{}", share(Measure::OverMedian));
        assert!(share(Measure::OverQ90) <= 0.1 && share(Measure::OverQ99) <= 0.01);
        assert_eq!(counts.count(Measure::OverTwiceQ99), 0);
        assert_eq!(counts_of(&window, None).count(Measure::OverMedian), 0);
        let slow = counts_of(&latencies(1, 5), Some(&cuts));
        assert!(slow.count(Measure::OverTwiceQ99) > 50, "five times slower: {slow:?}");
        assert_eq!(LatencyCuts::of(&LogHistogram::default()), None);
    }

    /// Scenario: an edge is learned for a day; then it is a little slower for a day, five times slower while suspected,
    /// and five times slower without suspicion.
    /// Guarantees: cuts are frozen after 200 requests, stay when little changes, and never follow a suspected fault.
    #[test]
    fn cuts_are_frozen_and_follow_only_what_is_not_suspected() {
        let mut latencies_of = Latencies::default();
        latencies_of.learn(&latencies(1, 1));
        assert!(!latencies_of.freeze(), "a hundred requests are not enough");
        latencies_of.learn(&latencies(1, 1));
        assert!(latencies_of.freeze() && !latencies_of.freeze());
        latencies_of.learn(&latencies(10, 1));
        latencies_of.close_day(true);
        let first = *latencies_of.cuts().unwrap();
        let slower: Vec<Call> = (0..1_200).map(|n| call(answered(200, -1), 1 + n % 120, 0)).collect();
        latencies_of.learn(&window(&slower));
        assert!(!latencies_of.close_day(true), "a fifth slower");
        latencies_of.learn(&latencies(12, 5));
        assert!(!latencies_of.close_day(false), "suspected");
        assert_eq!(latencies_of.cuts(), Some(&first));
        latencies_of.learn(&latencies(12, 5));
        assert!(latencies_of.close_day(true));
        assert!(latencies_of.cuts().unwrap().nanos()[0] > 4 * first.nanos()[0]);
    }
}
