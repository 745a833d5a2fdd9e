//! From scores to return periods: the mesh's own record says how often a score this large comes when nothing is wrong.
//!
//! Theory cannot say it: edges are autocorrelated and mis-specified, and thresholds from theory missed their promise by
//! 60 to 21,000 times (research, 2.1). So per class and pace the largest score of each edge in each *block* of time is
//! pooled over all edges and the last 28 days. If within an edge blocks are exchangeable between then and now, the
//! expected number of exceedances a day is the pooled number a day: by linearity, whatever the size of the mesh and
//! however edges depend on each other.
//!
//! A block of the slow score is a day: a page is at most one a day for an edge and class, and evidence that lasts for
//! hours must not count in each. A block of the quick score is an hour, because the warning budget is by the hour: in a
//! mesh of ten edges most days of an edge have a warning, and maxima of days could not tell one a day from ten. Hours of
//! one edge are not alike, but the same hours of whole weeks are, and the pool holds whole weeks.
//!
//! Start reading at [`Calibration`], then `pool.rs` (ranks and tail), `valve.rs` (what limits pages whatever scores do).

mod drifts;
mod hourly;
mod pool;
mod valve;

use std::time::Duration;

use selvedge_learn::normal::DRIFT_MAX_TIMES;
use selvedge_model::{EventTime, MeasureClass};
use serde::{Deserialize, Serialize};

use drifts::Drifts;
pub(crate) use hourly::HourlyRecord;
use pool::Pool;
pub use valve::{Admission, Valve};

const CLASSES: usize = MeasureClass::ALL.len();
const DAY: f64 = 86_400.0;
const DAY_NANOS: u64 = 86_400_000_000_000;
/// Part of the budgets for each pace; the rest is for novelty and logs.
const PACE_SHARES: [f64; 2] = [0.3, 0.5];
/// Part of a pace's share for each class, in their order: one threshold for all would let the class with the heaviest
/// tail eat the budget and blind the others.
const CLASS_SHARES: [f64; CLASSES] = [0.25, 0.1, 0.3, 0.2, 0.15];
/// Days without which a pool says nothing.
const DAYS_MIN: usize = 3;
/// Blocks without which it says nothing.
const BLOCKS_MIN: u64 = 100;
/// Scores that reach a level before there is a record: quick, then slow; warning, then page. Over the bar of an edge that
/// nobody knows yet (12 nats): 30 nats within a minute, or 25 over minutes; and for a page 56, which takes twenty minutes
/// that say the most they may.
const DEFAULTS: [[f32; 2]; 2] = [[8.0, f32::INFINITY], [6.0, 20.0]];
/// How fast the controller answers a false page (in e-foldings of the return period), and how far it goes.
const CONTROL_GAIN: f64 = 0.3;
const CONTROL_MAX: f64 = 4.0;

/// Which of the two scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pace {
    /// Of the last windows; its blocks are hours.
    Quick,
    /// Accumulated over minutes; its blocks are days.
    Slow,
}

/// What a finding is worth: which budget it is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// To be looked at in working hours.
    Warning,
    /// Wakes somebody.
    Page,
}

/// What the user gives instead of thresholds, for the whole mesh.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budgets {
    /// False pages a week.
    pub pages_a_week: f64,
    /// False warnings an hour.
    pub warnings_an_hour: f64,
}

/// What a score means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rating {
    /// A finding this extreme, of any class and pace, is expected once in this time when nothing is wrong; `None` before
    /// there is a record (`calibration: default`).
    pub return_period: Option<Duration>,
    /// The highest level that it reaches.
    pub level: Option<Level>,
}

/// The mesh's record, and the thresholds that follow from it. Bounded: histograms of 28 days, whatever the mesh.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Calibration {
    budgets: Budgets,
    pools: [[Pool; CLASSES]; 2],
    thresholds: [[[f32; 2]; CLASSES]; 2],
    /// Controller: return periods are divided by `e` to this.
    pressure: [f64; CLASSES],
    drifts: Drifts,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { pages_a_week: 1.0, warnings_an_hour: 1.0 }
    }
}

impl Calibration {
    /// Without a record: conservative defaults.
    #[must_use]
    pub fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            pools: Default::default(),
            thresholds: DEFAULTS.map(|levels| [levels; CLASSES]),
            pressure: [0.0; CLASSES],
            drifts: Drifts::default(),
        }
    }

    /// Takes other budgets: thresholds follow at the end of the day.
    pub fn configure(&mut self, budgets: Budgets) {
        self.budgets = budgets;
    }

    /// By which factor an edge must have left its trusted level to wake somebody: further than others did when nothing was
    /// wrong, by [`DRIFT_MAX_TIMES`] at least, and by five at most.
    #[must_use]
    pub fn drift_bar(&self) -> f64 {
        self.drifts.bar(self.budgets.pages_a_week, DRIFT_MAX_TIMES)
    }

    /// Takes in by which factors edges had drifted when this day ended, after they were judged.
    pub fn observe_drifts(&mut self, end: EventTime, drifts: impl Iterator<Item = f64>) {
        self.drifts.observe(end.0 / DAY_NANOS, drifts);
    }

    /// Adds one block of one edge: the largest score of each class in an hour (quick) or a day (slow). Not those of
    /// confirmed incidents. The order of edges does not matter.
    pub fn observe(&mut self, pace: Pace, largest: &[f32; CLASSES]) {
        for (pool, &score) in self.pools[pace as usize].iter_mut().zip(largest) {
            pool.add(score);
        }
    }

    /// A day is over: thresholds follow from the days before. `false_pages` by class are those that people called false
    /// or that resolved by themselves unconfirmed: they raise the class's bar until their rate is the budget again
    /// (after Gibbs and Candes, adaptive conformal inference).
    pub fn end_of_day(&mut self, false_pages: &[u32; CLASSES]) {
        for class in 0..CLASSES {
            let budget = self.budgets.pages_a_week / 7.0 * PACE_SHARES[1] * CLASS_SHARES[class];
            let error = f64::from(false_pages[class]) - budget;
            self.pressure[class] = (self.pressure[class] + CONTROL_GAIN * error).clamp(0.0, CONTROL_MAX);
        }
        for pace in [Pace::Quick, Pace::Slow] {
            for class in MeasureClass::ALL {
                self.pools[pace as usize][class as usize].close_day();
                let levels = [Level::Warning, Level::Page];
                let thresholds = levels.map(|level| self.calibrated(pace, class, level));
                self.thresholds[pace as usize][class as usize] = thresholds;
            }
        }
    }

    /// What a score of a class means.
    #[must_use]
    pub fn rate(&self, pace: Pace, class: MeasureClass, score: f32) -> Rating {
        let [warning, page] = self.thresholds[pace as usize][class as usize];
        let level =
            if page <= score { Some(Level::Page) } else { (warning <= score).then_some(Level::Warning) };
        let seconds = self.ready(pace, class).then(|| self.return_period(pace, class, score));
        let return_period = seconds.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
        Rating { return_period, level }
    }

    /// The smallest score of a class that reaches a level: the inverse of [`Self::rate`].
    #[must_use]
    pub fn threshold(&self, pace: Pace, class: MeasureClass, level: Level) -> f32 {
        self.thresholds[pace as usize][class as usize][level as usize]
    }

    /// True when thresholds of this class come from the mesh's own record.
    #[must_use]
    pub fn ready(&self, pace: Pace, class: MeasureClass) -> bool {
        let pool = &self.pools[pace as usize][class as usize];
        DAYS_MIN <= pool.days() && BLOCKS_MIN <= pool.blocks()
    }

    fn calibrated(&self, pace: Pace, class: MeasureClass, level: Level) -> f32 {
        if !self.ready(pace, class) {
            return DEFAULTS[pace as usize][level as usize];
        }
        // A page waits for persistence: no quick score is one.
        if (pace, level) == (Pace::Quick, Level::Page) {
            return f32::INFINITY;
        }
        let wanted = match level {
            Level::Warning => 3_600.0 / self.budgets.warnings_an_hour,
            Level::Page => 7.0 * DAY / self.budgets.pages_a_week,
        };
        let pool = &self.pools[pace as usize][class as usize];
        pool.inverse(|score| wanted <= self.return_period(pace, class, score))
    }

    /// Seconds in which a finding this extreme, of any class and pace, is expected once: the class's own time, less
    /// its share. Classes that all alarm at `X` then alarm once in `X` together.
    fn return_period(&self, pace: Pace, class: MeasureClass, score: f32) -> f64 {
        let a_day = self.pools[pace as usize][class as usize].exceedances_a_day(score);
        let share = PACE_SHARES[pace as usize] * CLASS_SHARES[class as usize];
        // Warnings are many enough to be counted; the controller steers pages.
        let pressure = if pace == Pace::Slow { self.pressure[class as usize] } else { 0.0 };
        share * DAY / a_day.max(1e-12) * (-pressure).exp()
    }
}

#[cfg(test)]
mod tests;
