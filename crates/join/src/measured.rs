//! Edges that are known by metrics alone: counters, histograms and gauges become what a window counts and shows.
//!
//! A counter tells of an interval when it is over, when the windows inside it are closed. So what was counted between two
//! points is placed one interval later, into windows that are still open: nothing is lost, and times that are told are the
//! true ones. Where calls are seen, they win: a workload that sends records needs no counters, and nothing is told twice.
//! Both sides may count the same requests; the caller's count is taken, because it has those that never arrived.

mod known;
mod spread;

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{
    CallShape, EdgeKey, EdgeWindow, EventTime, Fate, GaugeKey, GaugePoint, LogHistogram, Meaning,
    MetricPoint, MetricValue, Node, Party, Reported, ShapeStats, Side, SideCount, Temporality, Window,
};
use serde::{Deserialize, Serialize};

use crate::config::JoinConfig;
use crate::series::SeriesUpdate;
use known::Known;
use spread::Spread;

/// Edges, sides and gauges in all open windows; past it new ones are not taken (policy `keep_known`). A mesh of 10,000
/// edges whose sides send each minute needs a quarter of it.
const ENTRIES_MAX: usize = 1 << 18;
/// Points of a gauge in one window: as many replicas may show it; past it further ones are not taken.
const REPLICAS_MAX: usize = 64;
/// Values from which on a window's median is worth comparing.
const MEDIAN_FROM: u64 = 8;
/// A request of which nobody told the status was answered.
const STATUS_UNTOLD: u16 = 200;

/// What metrics said, by window.
#[derive(Serialize, Deserialize)]
pub struct MeasuredEdges {
    #[serde(skip)]
    length: Duration,
    open: BTreeMap<Window, Open>,
    entries: usize,
    known: Known,
    /// Some point spoke of an edge: from then on it matters who is seen by calls.
    asked: bool,
    /// End of the newest window that was taken.
    taken: EventTime,
    overflows: MeasuredOverflows,
}

/// What found no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredOverflows {
    /// Points of edges and gauges for which there was no room, and edges with calls that were not remembered.
    pub entries: u64,
    /// Changes over an interval too long, or of unknown length, to be judged by window.
    pub coarse: u64,
    /// Gauges older than the windows that are open.
    pub late: u64,
}

/// What metrics alone say of one window. Edges and gauges in the order in which their names became known.
#[derive(Debug, Default)]
pub struct MeasuredWindow {
    /// Edges that only metrics know, as if their calls had been counted.
    pub edges: Vec<(EdgeKey, EdgeWindow)>,
    /// One point of each gauge: the median of its replicas.
    pub gauges: Vec<GaugePoint>,
    /// What each side counted, whether calls tell of the edge or not; of times that are past.
    pub counts: Vec<SideCount>,
}

impl MeasuredWindow {
    /// The edges, as they are judged.
    #[must_use]
    pub fn refs(&self) -> Vec<(EdgeKey, &EdgeWindow)> {
        self.edges.iter().map(|(key, edge)| (*key, edge)).collect()
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Open {
    sides: BTreeMap<(EdgeKey, Side), Counted>,
    gauges: BTreeMap<GaugeKey, Vec<GaugePoint>>,
    /// Histograms as they came, for the medians of both sides.
    medians: BTreeMap<GaugeKey, (GaugePoint, LogHistogram)>,
}

/// HTTP and gRPC status.
type Answer = (u16, i16);

/// What one side counted.
#[derive(Default, Serialize, Deserialize)]
struct Counted {
    counted: BTreeMap<Answer, u64>,
    timed: BTreeMap<Answer, LogHistogram>,
    first: EventTime,
    last: EventTime,
}

impl MeasuredEdges {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(config: &JoinConfig) -> Self {
        Self {
            length: config.window_length,
            open: BTreeMap::new(),
            entries: 0,
            known: Known::new(ENTRIES_MAX),
            asked: false,
            taken: EventTime::ABSENT,
            overflows: MeasuredOverflows::default(),
        }
    }

    /// Takes the limits of `config`, as after a restart with another configuration.
    pub fn configure(&mut self, config: &JoinConfig) {
        self.length = config.window_length;
    }

    /// Takes a point with what it adds to its series. Points that are late, evicted or without a value say nothing.
    pub fn admit(&mut self, point: &MetricPoint, update: &SeriesUpdate) {
        if matches!(update.fate, Fate::Late | Fate::Evicted) || point.reporter.pooled() || point.peer.pooled()
        {
            return;
        }
        let Some(value) = &update.delta else { return };
        let edge = edge_of(point);
        self.asked |= edge.is_some();
        match (edge, point.meaning, value) {
            (edge, meaning, MetricValue::Number(number)) if point.temporality == Temporality::Gauge => {
                self.gauge(point, edge, meaning, *number);
            }
            (Some(edge), Meaning::Requests, MetricValue::Number(number)) => {
                if let Some(spread) = self.spread(point, update) {
                    self.count(edge, point, &spread, *number);
                }
            }
            (Some(edge), Meaning::Durations { .. }, MetricValue::Histogram { grid, .. }) => {
                if let Some(spread) = self.spread(point, update) {
                    self.time(edge, point, &spread, grid);
                }
                self.median(edge, point, grid);
            }
            _ => {}
        }
    }

    /// Windows that ended by `until`, oldest first.
    #[must_use]
    pub fn due(&self, until: EventTime) -> Vec<Window> {
        self.open.keys().copied().take_while(|window| window.end <= until).collect()
    }

    /// Takes out a window, given the calls that were seen in it. Windows come in order.
    pub fn take(&mut self, window: Window, calls: &[(EdgeKey, &EdgeWindow)]) -> MeasuredWindow {
        if self.asked {
            self.known.note_calls(window, calls);
        }
        self.taken = self.taken.max(window.end);
        let Some(open) = self.open.remove(&window) else { return MeasuredWindow::default() };
        self.entries -= open.entries();
        let mut measured = MeasuredWindow::default();
        let mut edges: BTreeMap<EdgeKey, [Option<Counted>; 2]> = BTreeMap::new();
        for ((edge, side), counted) in open.sides {
            let (at, requests) = (counted.first, counted.requests());
            measured.counts.push(SideCount { edge, side, at, requests });
            edges.entry(edge).or_default()[usize::from(side == Side::Server)] = Some(counted);
        }
        for (edge, [client, server]) in edges {
            let by_client = self.known.counts_by_client(&edge, client.is_some(), window.end);
            let (counted, side) = if by_client { (client, Side::Client) } else { (server, Side::Server) };
            let told = self.known.tells(&edge, side, window.end);
            if let Some(counted) = counted.filter(|_| !told) {
                measured.edges.push((edge, counted.into_window(side)));
            }
        }
        for (key, mut points) in open.gauges {
            if !(key.of_edge() && self.known.tells(&key.edge, key.side, window.end)) {
                points.sort_by(|left, right| left.value.total_cmp(&right.value).then(left.at.cmp(&right.at)));
                measured.gauges.push(points[points.len() / 2]);
            }
        }
        for (key, (point, grid)) in open.medians {
            let median = grid.quantile(0.5).filter(|_| grid.count() >= MEDIAN_FROM);
            if let Some(median) = median.filter(|_| !self.known.tells(&key.edge, key.side, window.end)) {
                measured.gauges.push(GaugePoint { value: as_float(median.max(1)), ..point });
            }
        }
        measured
    }

    /// Telemetry pauses for an unknown time: what is still to come of open intervals is not known.
    pub fn gap(&mut self) {
        self.open.clear();
        (self.entries, self.taken) = (0, EventTime::ABSENT);
    }

    /// What found no place.
    #[must_use]
    pub fn overflows(&self) -> MeasuredOverflows {
        let entries = self.overflows.entries + self.known.forgotten();
        MeasuredOverflows { entries, ..self.overflows }
    }

    fn spread(&mut self, point: &MetricPoint, update: &SeriesUpdate) -> Option<Spread> {
        let spread = Spread::over(update.since, point.time, self.length, self.taken);
        self.overflows.coarse += u64::from(spread.is_none());
        spread
    }

    fn count(&mut self, edge: EdgeKey, point: &MetricPoint, spread: &Spread, number: f64) {
        let Some(number) = counted(number) else { return };
        for (part, count) in spread.parts.iter().zip(spread.counts(number)) {
            if let Some(side) = self.side(edge, point.side, part) {
                *side.counted.entry((point.status, point.grpc_status)).or_default() += count;
            }
        }
    }

    fn time(&mut self, edge: EdgeKey, point: &MetricPoint, spread: &Spread, grid: &LogHistogram) {
        for (part, grid) in spread.parts.iter().zip(spread.grids(grid)) {
            if let Some(side) = self.side(edge, point.side, part) {
                side.timed.entry((point.status, point.grpc_status)).or_default().merge(&grid);
            }
        }
    }

    fn side(&mut self, edge: EdgeKey, side: Side, part: &spread::Part) -> Option<&mut Counted> {
        let open = self.open.entry(part.window).or_default();
        let new = !open.sides.contains_key(&(edge, side));
        if new && self.entries >= ENTRIES_MAX {
            self.overflows.entries += 1;
            return None;
        }
        self.entries += usize::from(new);
        let counted = open.sides.entry((edge, side)).or_default();
        counted.first = if counted.first.present() { counted.first.min(part.first) } else { part.first };
        counted.last = counted.last.max(part.last);
        Some(counted)
    }

    fn gauge(&mut self, point: &MetricPoint, edge: Option<EdgeKey>, meaning: Meaning, number: f64) {
        let (duration, scale, quantile) = match meaning {
            Meaning::Durations { nanos_per_unit, quantile } => (true, nanos_per_unit, quantile),
            _ => (false, 1.0, None),
        };
        let whose = match edge {
            // What a gauge of an edge means is known of durations alone.
            Some(_) if !duration => return,
            Some(edge) => edge,
            None if point.peer.workload.present() || point.peer.external => return,
            None => EdgeKey { destination: Node::of(&point.reporter), ..EdgeKey::default() },
        };
        let value = number * scale;
        if !whose.destination.known() || !value.is_finite() || value <= 0.0 {
            return;
        }
        let key =
            GaugeKey { edge: whose, side: point.side, name: point.name, quantile: thousandths(quantile) };
        let shown =
            GaugePoint { key, origin: point.origin, at: point.time, value, duration, beside_only: false };
        let Some(open) = self.window_of(point.time) else { return };
        let points = open.gauges.entry(key).or_default();
        let room = points.len() < REPLICAS_MAX;
        if room {
            points.push(shown);
        }
        self.entries += usize::from(room);
        self.overflows.entries += u64::from(!room);
    }

    fn median(&mut self, edge: EdgeKey, point: &MetricPoint, grid: &LogHistogram) {
        let key = GaugeKey { edge, side: point.side, quantile: GaugeKey::MEDIAN, ..GaugeKey::default() };
        let shown = GaugePoint {
            key,
            origin: point.origin,
            at: point.time,
            value: 0.0,
            duration: true,
            beside_only: true,
        };
        let Some(open) = self.window_of(point.time) else { return };
        let new = !open.medians.contains_key(&key);
        let (shown, all) = open.medians.entry(key).or_insert((shown, LogHistogram::default()));
        shown.at = shown.at.max(point.time);
        all.merge(grid);
        self.entries += usize::from(new);
    }

    /// The open window of a time, when there is room for one more thing in it.
    fn window_of(&mut self, at: EventTime) -> Option<&mut Open> {
        let window = Window::holding(at, self.length);
        if window.end <= self.taken {
            self.overflows.late += 1;
            return None;
        }
        if self.entries >= ENTRIES_MAX {
            self.overflows.entries += 1;
            return None;
        }
        Some(self.open.entry(window).or_default())
    }
}

impl Open {
    fn entries(&self) -> usize {
        self.sides.len() + self.medians.len() + self.gauges.values().map(Vec::len).sum::<usize>()
    }
}

impl Counted {
    /// A counter counts; without one the histogram does.
    fn requests(&self) -> u64 {
        match self.counted.is_empty() {
            true => self.timed.values().map(LogHistogram::count).sum(),
            false => self.counted.values().sum(),
        }
    }

    /// As if calls had been counted: a counter counts, a histogram times; without a counter the histogram counts, too.
    fn into_window(mut self, side: Side) -> EdgeWindow {
        if self.counted.is_empty() {
            self.counted = self.timed.iter().map(|(answer, grid)| (*answer, grid.count())).collect();
        }
        let most = self.counted.iter().max_by_key(|(_, count)| **count).map(|(answer, _)| *answer);
        let mut latencies: FixedMap<Answer, LogHistogram> = FixedMap::with_hasher(fixed_state());
        for (answer, grid) in self.timed {
            let home = if self.counted.contains_key(&answer) { Some(answer) } else { most };
            latencies.entry(home.unwrap_or(answer)).or_default().merge(&grid);
        }
        let reported = if side == Side::Client { Reported::ClientOnly } else { Reported::ServerOnly };
        let mut window = EdgeWindow::default();
        for (answer, calls) in self.counted.into_iter().filter(|(_, calls)| *calls > 0) {
            let (status, grpc_status) = if answer == (0, -1) { (STATUS_UNTOLD, -1) } else { answer };
            let shape = CallShape { status, grpc_status, reported, ..CallShape::default() };
            let latency = latencies.remove(&answer).unwrap_or_default();
            let stats =
                ShapeStats { calls, latency, first: self.first, last: self.last, ..ShapeStats::default() };
            window.add(shape, stats);
        }
        window
    }
}

/// The edge that a point speaks of, inside the mesh and with both ends known.
fn edge_of(point: &MetricPoint) -> Option<EdgeKey> {
    let ends = |source: &Party, destination: &Party| EdgeKey {
        source: Node::of(source),
        destination: Node::of(destination),
        external: false,
    };
    let edge = match point.side {
        Side::Client => ends(&point.reporter, &point.peer),
        Side::Server => ends(&point.peer, &point.reporter),
        Side::Internal => return None,
    };
    let inside = !point.peer.external && edge.source.known() && edge.destination.known();
    inside.then_some(edge)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to thousandths")]
fn thousandths(quantile: Option<f64>) -> u16 {
    quantile.map_or(GaugeKey::PLAIN, |quantile| (quantile * 1_000.0).round().clamp(0.0, 1_000.0) as u16)
}

/// A number of requests; nothing for what is no number of requests.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in 0..=2^53")]
fn counted(number: f64) -> Option<u64> {
    (0.0..=9_007_199_254_740_992.0).contains(&number).then_some(number as u64)
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a request, far below 2^52")]
fn as_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
