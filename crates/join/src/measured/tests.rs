use selvedge_model::{Call, Symbol};

use super::*;
use crate::series::SeriesStore;

const SECOND: u64 = 1_000_000_000;
const CALLER: Symbol = Symbol(11);
const CALLEE: Symbol = Symbol(12);

fn at(second: u64) -> EventTime {
    EventTime((10_000 + second) * SECOND)
}

fn party(workload: Symbol) -> Party {
    Party { workload, ..Party::default() }
}

fn edge() -> EdgeKey {
    let node = |workload| Node { workload, ..Node::default() };
    EdgeKey { source: node(CALLER), destination: node(CALLEE), external: false }
}

/// A point of one side, of the edge between the two.
fn point(side: Side, second: u64, meaning: Meaning, value: MetricValue) -> MetricPoint {
    let (reporter, peer) = if side == Side::Server { (CALLEE, CALLER) } else { (CALLER, CALLEE) };
    MetricPoint {
        name: Symbol(5),
        origin: reporter,
        series: u64::from(reporter.0),
        start: at(0),
        time: at(second),
        temporality: Temporality::Cumulative,
        monotonic: true,
        value,
        reporter: party(reporter),
        peer: party(peer),
        side,
        status: 200,
        grpc_status: -1,
        meaning,
        version: Symbol::NONE,
    }
}

fn durations(nanos: u64, count: u32) -> MetricValue {
    let mut grid = LogHistogram::default();
    grid.add(LogHistogram::cell_of(nanos), count);
    MetricValue::Histogram { count: u64::from(count), sum: 0.0, grid }
}

const TIMES: Meaning = Meaning::Durations { nanos_per_unit: 1e6, quantile: Some(0.5) };

struct Bench {
    series: SeriesStore,
    measured: MeasuredEdges,
}

impl Bench {
    fn new() -> Self {
        let config = JoinConfig::default();
        Self { series: SeriesStore::new(&config), measured: MeasuredEdges::new(&config) }
    }

    fn admit(&mut self, point: &MetricPoint) {
        let update = self.series.admit(point);
        self.measured.admit(point, &update);
    }

    fn take(&mut self, until: u64) -> Vec<MeasuredWindow> {
        let due = self.measured.due(at(until));
        due.into_iter().map(|window| self.measured.take(window, &[])).collect()
    }
}

fn calls(windows: &[MeasuredWindow]) -> Vec<u64> {
    windows.iter().map(|window| window.edges.iter().map(|(_, edge)| edge.calls()).sum()).collect()
}

/// The same sixty requests in a minute, as the three kinds of senders tell them.
#[test]
fn a_counter_a_histogram_and_deltas_of_either_count_the_same() {
    let number = |second, value| point(Side::Client, second, Meaning::Requests, MetricValue::Number(value));
    let delta = |point: MetricPoint| MetricPoint { temporality: Temporality::Delta, start: at(0), ..point };
    let sent: [Vec<MetricPoint>; 4] = [
        vec![number(0, 100.0), number(60, 160.0)],
        vec![delta(number(60, 60.0))],
        vec![
            point(Side::Client, 0, TIMES, durations(9, 0)),
            point(Side::Client, 60, TIMES, durations(9, 60)),
        ],
        vec![delta(point(Side::Client, 60, TIMES, durations(9, 60)))],
    ];
    for points in sent {
        let mut bench = Bench::new();
        points.iter().for_each(|point| bench.admit(point));
        let windows = bench.take(200);
        assert_eq!(calls(&windows).iter().sum::<u64>(), 60, "{points:?}");
        assert!(calls(&windows).iter().filter(|calls| **calls > 0).all(|calls| *calls == 10));
        let (key, first) = windows.iter().find_map(|window| window.edges.first()).unwrap();
        assert_eq!(*key, edge());
        let (shape, stats) = first.shapes.iter().next().unwrap();
        assert_eq!((shape.status, shape.reported), (200, Reported::ClientOnly));
        assert!(stats.first < at(60), "the time that is told is when it happened");
    }
}

#[test]
fn the_callers_count_goes_before_the_callees_and_nothing_is_counted_twice() {
    let mut bench = Bench::new();
    for side in [Side::Client, Side::Server] {
        for (second, value) in [(0, 0.0), (60, 60.0)] {
            bench.admit(&point(side, second, Meaning::Requests, MetricValue::Number(value)));
        }
    }
    assert_eq!(calls(&bench.take(200)).iter().sum::<u64>(), 60);
}

#[test]
fn where_calls_are_seen_of_the_edge_or_by_its_reporter_metrics_are_silent() {
    for told in [edge(), EdgeKey { destination: Node::default(), ..edge() }] {
        let mut bench = Bench::new();
        bench.admit(&point(Side::Client, 0, Meaning::Requests, MetricValue::Number(0.0)));
        bench.admit(&point(Side::Client, 60, Meaning::Requests, MetricValue::Number(60.0)));
        let mut edge = EdgeWindow::default();
        let shape = CallShape { reported: Reported::ClientOnly, ..CallShape::default() };
        edge.record(&Call { edge: told, shape, ..Call::default() });
        for window in bench.measured.due(at(200)) {
            let measured = bench.measured.take(window, &[(told, &edge)]);
            assert!(measured.edges.is_empty());
        }
    }
}

#[test]
fn a_gauge_is_the_median_of_its_replicas_and_lands_in_its_own_window() {
    let mut bench = Bench::new();
    for (series, value) in [3.0, 900.0, 4.0].into_iter().enumerate() {
        let gauge = MetricPoint {
            temporality: Temporality::Gauge,
            series: series as u64,
            ..point(Side::Server, 5, TIMES, MetricValue::Number(value))
        };
        bench.admit(&gauge);
    }
    let windows = bench.take(10);
    assert_eq!(windows.len(), 1);
    assert_eq!(windows[0].gauges.len(), 1);
    let shown = windows[0].gauges[0];
    assert_eq!((shown.value, shown.key.edge, shown.key.side), (4e6, edge(), Side::Server));
}

#[test]
fn values_that_are_no_numbers_or_are_late_show_nothing() {
    let mut bench = Bench::new();
    let gauge = |second, value| MetricPoint {
        temporality: Temporality::Gauge,
        series: second,
        ..point(Side::Client, second, TIMES, MetricValue::Number(value))
    };
    for (second, value) in [(1, f64::NAN), (2, f64::INFINITY), (3, -5.0), (4, 0.0)] {
        bench.admit(&gauge(second, value));
    }
    bench.measured.take(Window::holding(at(0), Duration::from_secs(10)), &[]);
    bench.admit(&gauge(5, 3.0));
    assert!(bench.take(100).iter().all(|window| window.gauges.is_empty()));
    assert_eq!(bench.measured.overflows().late, 1);
}

/// Scenario: one sender invents a million edges.
/// Guarantees: what is open stays inside the bound, and what was there first stays.
#[test]
fn a_million_invented_edges_find_an_end() {
    let mut bench = Bench::new();
    let gauge = |number: u32| MetricPoint {
        temporality: Temporality::Gauge,
        peer: party(Symbol(100 + number)),
        ..point(Side::Client, 5, TIMES, MetricValue::Number(3.0))
    };
    let fresh = SeriesUpdate {
        fate: Fate::Unmatched,
        delta: Some(MetricValue::Number(3.0)),
        reset: false,
        since: EventTime::ABSENT,
    };
    bench.measured.admit(&point(Side::Client, 5, TIMES, MetricValue::Number(3.0)), &fresh);
    for number in 0..1_000_000 {
        bench.measured.admit(&gauge(number), &fresh);
    }
    assert!(bench.measured.entries <= ENTRIES_MAX);
    assert!(bench.measured.overflows().entries >= 1_000_000 - ENTRIES_MAX as u64);
    let window = bench.take(10).remove(0);
    assert!(window.gauges.len() <= ENTRIES_MAX);
    assert_eq!(bench.measured.entries, 0);
}
