//! Metric series: from points that tell a total to changes, with resets found.
//!
//! A cumulative point is a change only against its predecessor. A reset is a later start of accumulation, or a
//! monotonic value that became smaller (OpenTelemetry metrics data model, "Resets and gaps").

use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{EventTime, Fate, LogHistogram, MetricPoint, MetricValue, Temporality};
use serde::{Deserialize, Serialize};

use crate::config::JoinConfig;

/// When the store is full, series without a point for this long make room: their sender is gone.
const SILENT_AFTER: Duration = Duration::from_mins(10);
/// A full store is searched for silent series at most this often, by the time of the points.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// Bytes of a series beside its histogram: entry and control byte in a map whose capacity is up to twice its length.
const SERIES_BYTES: usize = 2 * (size_of::<(u64, Series)>() + 1);

/// What a point adds to its series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesUpdate {
    /// `Joined` to its series, `Unmatched` as its first point, `Late` when not newer than the last one, `Evicted`
    /// when there was no room for a new series (policy `keep_known`).
    pub fate: Fate,
    /// The change since the last point; for a gauge its value. `None` for the first cumulative point, for a value
    /// that is not a number, and for points that were not taken.
    pub delta: Option<MetricValue>,
    /// The accumulation began anew since the last point; `delta` is what came since.
    pub reset: bool,
    /// From when on `delta` counts: the point before, or the start that a delta names. Absent when nobody knows.
    pub since: EventTime,
}

/// The last point of every series. Bounded in bytes.
#[derive(Serialize, Deserialize)]
pub struct SeriesStore {
    #[serde(with = "selvedge_model::hash::listed")]
    series: FixedMap<u64, Series>,
    bytes: usize,
    bytes_max: usize,
    newest: EventTime,
    swept: EventTime,
}

#[derive(Serialize, Deserialize)]
struct Series {
    time: EventTime,
    start: EventTime,
    /// The last total; `None` for delta and gauge series.
    total: Option<MetricValue>,
}

impl SeriesStore {
    /// Takes the limits of `config`, as after a restart with another configuration.
    pub fn configure(&mut self, config: &JoinConfig) {
        self.bytes_max = config.series_bytes_max;
    }

    /// No series known.
    #[must_use]
    pub fn new(config: &JoinConfig) -> Self {
        Self {
            series: FixedMap::with_hasher(fixed_state()),
            bytes: 0,
            bytes_max: config.series_bytes_max,
            newest: EventTime::ABSENT,
            swept: EventTime::ABSENT,
        }
    }

    /// Takes the next point of its series.
    pub fn admit(&mut self, point: &MetricPoint) -> SeriesUpdate {
        self.newest = self.newest.max(point.time);
        if let Some(series) = self.series.get_mut(&point.series) {
            if point.time <= series.time {
                return SeriesUpdate::nothing(Fate::Late);
            }
            let before = series.bytes();
            let update = series.follow(point);
            self.bytes = self.bytes + series.bytes() - before;
            return update;
        }
        let series = Series::begin(point);
        let needed = SERIES_BYTES + series.bytes();
        if self.bytes + needed > self.bytes_max {
            self.sweep();
        }
        if self.bytes + needed > self.bytes_max {
            return SeriesUpdate::nothing(Fate::Evicted);
        }
        self.bytes += needed;
        self.series.insert(point.series, series);
        let delta = if point.temporality == Temporality::Cumulative { None } else { usable(&point.value) };
        SeriesUpdate { fate: Fate::Unmatched, delta, reset: false, since: since(point, EventTime::ABSENT) }
    }

    /// Series known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// True when no series is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Bytes that count against the budget.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn sweep(&mut self) {
        if self.newest < self.swept.after(SWEEP_EVERY) {
            return;
        }
        self.swept = self.newest;
        let (newest, mut freed) = (self.newest, 0);
        self.series.retain(|_, series| {
            let keep = newest.since(series.time) < SILENT_AFTER;
            if !keep {
                freed += SERIES_BYTES + series.bytes();
            }
            keep
        });
        self.bytes -= freed;
    }
}

impl Series {
    fn begin(point: &MetricPoint) -> Self {
        let total = (point.temporality == Temporality::Cumulative).then(|| usable(&point.value)).flatten();
        Self { time: point.time, start: point.start, total }
    }

    fn follow(&mut self, point: &MetricPoint) -> SeriesUpdate {
        let since = since(point, std::mem::replace(&mut self.time, point.time));
        let Some(value) = usable(&point.value) else {
            return SeriesUpdate::nothing(Fate::Joined);
        };
        if point.temporality != Temporality::Cumulative {
            self.total = None;
            return SeriesUpdate { fate: Fate::Joined, delta: Some(value), reset: false, since };
        }
        let restarted = self.start.present() && point.start > self.start;
        self.start = point.start;
        let Some(last) = self.total.replace(value.clone()) else {
            return SeriesUpdate { reset: restarted, ..SeriesUpdate::nothing(Fate::Joined) };
        };
        let change = if restarted { None } else { difference(&value, &last, point.monotonic) };
        let reset = change.is_none();
        SeriesUpdate { fate: Fate::Joined, delta: Some(change.unwrap_or(value)), reset, since }
    }

    fn bytes(&self) -> usize {
        match &self.total {
            Some(MetricValue::Histogram { grid, .. }) => grid.bytes(),
            Some(MetricValue::Number(_)) | None => 0,
        }
    }
}

impl SeriesUpdate {
    fn nothing(fate: Fate) -> Self {
        Self { fate, delta: None, reset: false, since: EventTime::ABSENT }
    }
}

/// From when on the change of a point counts, after a point at `before`. A gauge counts nothing.
fn since(point: &MetricPoint, before: EventTime) -> EventTime {
    match point.temporality {
        Temporality::Gauge => EventTime::ABSENT,
        Temporality::Delta if point.start.present() && point.start < point.time => point.start.max(before),
        _ => before,
    }
}

/// The value, unless it is not a number. A histogram may come without its sum.
fn usable(value: &MetricValue) -> Option<MetricValue> {
    match value {
        MetricValue::Number(number) if number.is_nan() => None,
        other => Some(other.clone()),
    }
}

/// `value - last`; `None` when the series must have started anew.
fn difference(value: &MetricValue, last: &MetricValue, monotonic: bool) -> Option<MetricValue> {
    match (value, last) {
        (MetricValue::Number(value), MetricValue::Number(last)) => {
            (!monotonic || value >= last).then_some(MetricValue::Number(value - last))
        }
        (
            MetricValue::Histogram { count, sum, grid },
            MetricValue::Histogram { count: last_count, sum: last_sum, grid: last_grid },
        ) => {
            let count = count.checked_sub(*last_count)?;
            Some(MetricValue::Histogram {
                count,
                sum: sum - last_sum,
                grid: grid_difference(grid, last_grid)?,
            })
        }
        // The sender changed the kind of the series.
        _ => None,
    }
}

fn grid_difference(grid: &LogHistogram, last: &LogHistogram) -> Option<LogHistogram> {
    let mut left = last.cells().iter().peekable();
    let mut change = LogHistogram::default();
    for (cell, count) in grid.cells() {
        let before = left.next_if(|(other, _)| other == cell).map_or(0, |(_, count)| *count);
        match count.checked_sub(before)? {
            0 => {}
            more => change.add(*cell, more),
        }
    }
    // A cell that vanished means that the values in it did.
    left.peek().is_none().then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_model::Symbol;

    const SECOND: u64 = 1_000_000_000;

    fn store() -> SeriesStore {
        SeriesStore::new(&JoinConfig::default())
    }

    fn point(second: u64, value: f64) -> MetricPoint {
        MetricPoint {
            name: Symbol(5),
            origin: Symbol(6),
            series: 77,
            start: EventTime(SECOND),
            time: EventTime((100 + second) * SECOND),
            temporality: Temporality::Cumulative,
            monotonic: true,
            value: MetricValue::Number(value),
            reporter: selvedge_model::Party::default(),
            peer: selvedge_model::Party::default(),
            side: selvedge_model::Side::Internal,
            status: 0,
            grpc_status: -1,
            meaning: selvedge_model::Meaning::Other,
            version: Symbol::NONE,
        }
    }

    fn histogram(values: &[u64]) -> MetricValue {
        let mut grid = LogHistogram::default();
        values.iter().for_each(|value| grid.record(*value));
        MetricValue::Histogram {
            count: values.len() as u64,
            sum: values.iter().map(|v| *v as f64).sum(),
            grid,
        }
    }

    fn number(update: &SeriesUpdate) -> Option<f64> {
        match update.delta {
            Some(MetricValue::Number(number)) => Some(number),
            _ => None,
        }
    }

    #[test]
    fn a_total_becomes_changes_from_its_second_point_on() {
        let mut store = store();
        let first = store.admit(&point(0, 10.0));
        assert_eq!((first.fate, number(&first)), (Fate::Unmatched, None));
        let second = store.admit(&point(5, 14.0));
        assert_eq!((second.fate, number(&second), second.reset), (Fate::Joined, Some(4.0), false));
    }

    #[test]
    fn a_smaller_total_is_a_reset_and_counts_from_zero() {
        let mut store = store();
        store.admit(&point(0, 10.0));
        let update = store.admit(&point(5, 3.0));
        assert_eq!((number(&update), update.reset), (Some(3.0), true));
    }

    #[test]
    fn a_later_start_is_a_reset_even_when_the_total_grew() {
        let mut store = store();
        store.admit(&point(0, 10.0));
        let restarted = MetricPoint { start: EventTime(90 * SECOND), ..point(5, 12.0) };
        let update = store.admit(&restarted);
        assert_eq!((number(&update), update.reset), (Some(12.0), true));
    }

    #[test]
    fn a_total_that_may_shrink_shrinks() {
        let mut store = store();
        let up_down = |second, value| MetricPoint { monotonic: false, ..point(second, value) };
        store.admit(&up_down(0, 10.0));
        let update = store.admit(&up_down(5, 3.0));
        assert_eq!((number(&update), update.reset), (Some(-7.0), false));
    }

    #[test]
    fn gauges_and_deltas_pass() {
        for temporality in [Temporality::Gauge, Temporality::Delta] {
            let mut store = store();
            let plain = |second, value| MetricPoint { temporality, ..point(second, value) };
            let first = store.admit(&plain(0, 10.0));
            assert_eq!((first.fate, number(&first)), (Fate::Unmatched, Some(10.0)));
            let second = store.admit(&plain(5, 3.0));
            assert_eq!((second.fate, number(&second), second.reset), (Fate::Joined, Some(3.0), false));
        }
    }

    #[test]
    fn a_point_that_is_not_newer_is_late() {
        let mut store = store();
        store.admit(&point(5, 10.0));
        assert_eq!(store.admit(&point(5, 11.0)).fate, Fate::Late);
        assert_eq!(store.admit(&point(4, 11.0)).fate, Fate::Late);
        assert_eq!(number(&store.admit(&point(6, 12.0))), Some(2.0));
    }

    #[test]
    fn a_value_that_is_no_number_changes_nothing() {
        let mut store = store();
        store.admit(&point(0, 10.0));
        let gap = store.admit(&point(1, f64::NAN));
        assert_eq!((gap.fate, gap.delta), (Fate::Joined, None));
        assert_eq!(number(&store.admit(&point(2, 12.0))), Some(2.0));
    }

    #[test]
    fn histograms_differ_cell_by_cell_and_reset_as_a_whole() {
        let mut store = store();
        let with = |second, value| MetricPoint { value, ..point(second, 0.0) };
        store.admit(&with(0, histogram(&[5, 5, 900])));
        let update = store.admit(&with(1, histogram(&[5, 5, 5, 900, 7])));
        assert_eq!(update.delta, Some(histogram(&[5, 7])));
        let update = store.admit(&with(2, histogram(&[7, 7, 7, 7, 7, 7])));
        assert_eq!((update.delta, update.reset), (Some(histogram(&[7, 7, 7, 7, 7, 7])), true));
    }

    #[test]
    fn a_full_store_keeps_the_known_and_makes_room_from_the_silent() {
        let mut store =
            SeriesStore::new(&JoinConfig { series_bytes_max: 10 * SERIES_BYTES, ..JoinConfig::default() });
        let of = |series, second| MetricPoint { series, ..point(second, 1.0) };
        for series in 0..10 {
            assert_eq!(store.admit(&of(series, 0)).fate, Fate::Unmatched);
        }
        assert_eq!(store.admit(&of(10, 1)).fate, Fate::Evicted);
        assert_eq!(store.admit(&of(3, 1)).fate, Fate::Joined);
        assert_eq!(store.admit(&of(3, 700)).fate, Fate::Joined);
        assert_eq!(store.admit(&of(10, 700)).fate, Fate::Unmatched);
        assert_eq!(store.len(), 2);
        assert!(store.bytes() <= 10 * SERIES_BYTES);
    }
}
