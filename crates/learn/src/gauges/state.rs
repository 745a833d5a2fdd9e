//! One gauge: level, spread, envelope, evidence.

use std::time::Duration;

use selvedge_model::EventTime;
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// Points that level and spread are taken from: an hour of points a minute.
const POINTS: u8 = 60;
/// Points without which nothing is judged: of fewer, no spread is known.
const POINTS_MIN: usize = 15;
/// Points that come sooner are not looked at: one a minute is enough, and what is learned is an hour.
const STEP: Duration = Duration::from_secs(45);
/// After a longer time without a point what was going on is not known to have gone on: five points are missing.
const GAP: Duration = Duration::from_mins(5);
/// Smallest spread that is believed (logarithm): senders round, and quantiles come from coarse buckets.
const SPREAD_MIN: f64 = 0.05;
/// A median absolute deviation of so much is one scale of a Laplace distribution, `1 / ln 2`: its tail is
/// `exp(-x / scale) / 2`, heavier than a normal one's, so that `x / scale` are nats.
const LAPLACE: f64 = std::f64::consts::LOG2_E;
/// How uncertain the spread of `n` points is: it counts as `1 + YOUNG / n` times itself.
const YOUNG: f64 = 8.0;
/// Most that one ordinary point takes back from the evidence.
const RELIEF_MAX: f64 = 3.0;
/// Evidence is kept in seven digits: two halves must make a whole.
const ROUNDING: f64 = 1e-4;
/// So many ordinary points in a row end what was going on.
const CALM_POINTS: u8 = 3;
/// Longest freeze: what goes on after it is the new normal.
const FREEZE: Duration = Duration::from_hours(4);
/// Points farther away teach no more than that many scales: level and spread are medians, and hardly need it.
const TRIM: f64 = 6.0;
const HOUR: u64 = 3_600_000_000_000;
const HOURS: usize = 24;

/// From which effect, and from how much evidence on, something is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Effect on a value that is no evidence at all (logarithm).
    pub level_margin: f64,
    /// The same for the ratio of both sides.
    pub network_margin: f64,
    /// The same for a workload's own gauges.
    pub resource_margin: f64,
    /// Evidence that tells, in nats.
    pub evidence: f64,
}

/// What is learned of one gauge. Plain data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GaugeState {
    /// Logarithms of the last points that were learned.
    #[serde(with = "BigArray")]
    points: [f32; POINTS as usize],
    count: u8,
    next: u8,
    /// The last point.
    at: EventTime,
    /// Accumulated evidence and its largest value in this hour.
    evidence: f32,
    hour_evidence: f32,
    /// Largest deviation of each hour of the day, and of the hour that is open.
    hours: [f32; HOURS],
    hour: u64,
    hour_largest: f32,
    /// Largest deviation since the evidence left zero: part of the envelope once it was nothing.
    pending: f32,
    told: bool,
    onset: EventTime,
    calm: u8,
    frozen_since: EventTime,
}

/// A point that tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// The level (logarithm).
    pub(super) usual: f64,
    pub(super) onset: EventTime,
    pub(super) evidence: f64,
}

impl GaugeState {
    /// Nothing is known; it is this hour (since 1970).
    pub(super) fn since(hour: u64) -> Self {
        Self {
            points: [0.0; POINTS as usize],
            count: 0,
            next: 0,
            at: EventTime::ABSENT,
            evidence: 0.0,
            hour_evidence: 0.0,
            hours: [0.0; HOURS],
            hour,
            hour_largest: 0.0,
            pending: 0.0,
            told: false,
            onset: EventTime::ABSENT,
            calm: 0,
            frozen_since: EventTime::ABSENT,
        }
    }

    /// When it was heard last.
    pub(super) fn heard(&self) -> EventTime {
        self.at
    }

    /// Nothing is known to have gone on since the last point.
    pub(super) fn gap(&mut self) {
        self.settle(true);
        self.frozen_since = EventTime::ABSENT;
    }

    /// Judges a point (a logarithm) by those before it, then learns it, unless it is suspected. Evidence of one point is at
    /// most half of what tells: two points must agree, however far away they are.
    pub(super) fn take(
        &mut self,
        at: EventTime,
        x: f64,
        margin: f64,
        enough: f64,
        approved: bool,
    ) -> Option<Verdict> {
        if self.at.present() && at.since(self.at) < STEP {
            return None;
        }
        if self.at.present() && GAP < at.since(self.at) {
            self.gap();
        }
        self.at = at;
        if approved || usize::from(self.count) < POINTS_MIN {
            self.learn(x);
            return None;
        }
        let (level, scale) = self.usual();
        let deviation = x - level;
        let excess = deviation - self.envelope(at).max(0.0) - margin;
        let half = enough / 2.0 + ROUNDING;
        let said = (excess / scale).clamp(-RELIEF_MAX, half);
        let evidence = (f64::from(self.evidence) + said).clamp(0.0, 2.0 * enough);
        if f64::from(self.evidence) <= 0.0 && evidence > 0.0 {
            self.onset = at;
        }
        self.evidence = narrow(evidence);
        self.hour_evidence = self.hour_evidence.max(self.evidence);
        self.pending = self.pending.max(narrow(deviation));
        self.calm = if excess > 0.0 { 0 } else { self.calm.saturating_add(1) };
        let tells = excess > 0.0 && enough <= evidence;
        self.told |= tells;
        if self.evidence <= 0.0 || CALM_POINTS <= self.calm {
            self.settle(self.told);
        }
        self.learn_unless_suspected(at, level + deviation.clamp(-TRIM * scale, TRIM * scale), x, half);
        tells.then_some(Verdict { usual: level, onset: self.onset, evidence })
    }

    /// An hour ended. The largest evidence in it, unless it was told: that is no record of quiet times.
    pub(super) fn end_hour(&mut self, now: u64) -> Option<f32> {
        let known = usize::from(self.count) >= POINTS_MIN;
        self.hours[hour_of_day(self.hour)] = std::mem::take(&mut self.hour_largest);
        // Hours in which nothing was heard say nothing of the day before either.
        let missed = now.saturating_sub(self.hour).min(HOURS as u64);
        for hour in 1..missed {
            self.hours[hour_of_day(self.hour + hour)] = 0.0;
        }
        let heard = self.at.0 / HOUR >= self.hour;
        self.hour = now;
        let largest = std::mem::replace(&mut self.hour_evidence, self.evidence);
        (known && heard && !self.told).then_some(largest)
    }

    /// What went on is over. Unless it was told, it was nothing, and widens the envelope.
    fn settle(&mut self, told: bool) {
        if told {
            self.hour_evidence = 0.0;
        } else {
            self.hour_largest = self.hour_largest.max(self.pending);
        }
        (self.pending, self.evidence, self.told, self.calm) = (0.0, 0.0, false, 0);
    }

    fn learn_unless_suspected(&mut self, at: EventTime, trimmed: f64, x: f64, one_point: f64) {
        if f64::from(self.evidence) <= one_point + ROUNDING {
            self.frozen_since = EventTime::ABSENT;
            self.learn(trimmed);
            return;
        }
        if !self.frozen_since.present() {
            self.frozen_since = at;
        }
        if FREEZE <= at.since(self.frozen_since) {
            // What goes on for so long is how it is now: level and spread begin anew.
            self.count = 0;
            self.gap();
            self.learn(x);
        }
    }

    fn learn(&mut self, x: f64) {
        self.points[usize::from(self.next)] = narrow(x);
        self.next = (self.next + 1) % POINTS;
        self.count = (self.count + 1).min(POINTS);
    }

    /// Level, and scale of what is around it.
    fn usual(&self) -> (f64, f64) {
        let count = usize::from(self.count);
        // A ring that began anew is filled from its next place backwards.
        let newest = usize::from(self.next) + self.points.len();
        let place = |back: usize| (newest - back) % self.points.len();
        let mut points: Vec<f32> = (1..=count).map(|back| self.points[place(back)]).collect();
        let level = median(&mut points);
        points.iter_mut().for_each(|point| *point = (*point - level).abs());
        let spread = (LAPLACE * f64::from(median(&mut points))).max(SPREAD_MIN);
        (f64::from(level), spread * (1.0 + YOUNG / count as f64))
    }

    /// What this gauge does without being ill: the mean of the two largest deviations of the last day's hours, or more when
    /// it was so about this time yesterday.
    fn envelope(&self, at: EventTime) -> f64 {
        let (mut first, mut second) = (self.hour_largest, 0.0_f32);
        for &hour in &self.hours {
            if first < hour {
                (first, second) = (hour, first);
            } else if second < hour {
                second = hour;
            }
        }
        let hour = at.0 / HOUR;
        let comparable = [hour + HOURS as u64 - 1, hour, hour + 1].map(|hour| self.hours[hour_of_day(hour)]);
        let yesterday = comparable.into_iter().fold(0.0_f32, f32::max);
        f64::from(f32::midpoint(first, second).max(yesterday))
    }
}

fn hour_of_day(hour: u64) -> usize {
    usize::try_from(hour % HOURS as u64).unwrap_or(0)
}

/// The middle one, the upper of two.
fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

#[expect(clippy::cast_possible_truncation, reason = "statistics need no more than seven digits")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests;
