//! What limits pages whatever the scores do: a token bucket, and valves for what is no finding about an edge.

use std::collections::VecDeque;
use std::time::Duration;

use selvedge_model::EventTime;
use serde::{Deserialize, Serialize};

const WEEK: f64 = 7.0 * 86_400.0;
/// The bucket holds, and gets in a week, so many times the budget.
const BUCKET: f64 = 3.0;
/// Edges at page level at the same time that are a storm: more than this, and more than this part of the mesh.
const STORM_EDGES: usize = 20;
const STORM_PART: f64 = 0.01;
/// A storm is over when there was none for so long.
const STORM_CALM: Duration = Duration::from_mins(30);
/// Page-level findings within a day, in budgets, that say that the calibration is broken.
const BROKEN: f64 = 10.0;
const DAY: Duration = Duration::from_hours(24);

/// What becomes of a finding at page level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It wakes somebody.
    Page,
    /// It goes to the digest: the bucket is empty.
    OverBudget,
    /// It goes to the digest: one incident of the whole mesh stands for it.
    Storm,
    /// It goes to the digest: the record does not resemble the present, and one incident about that stands for it.
    Broken,
}

/// The limits of paging. Bounded: remembers at most the findings that it takes to be broken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Valve {
    pages_a_week: f64,
    tokens: f64,
    filled: EventTime,
    storm_until: EventTime,
    /// Times of page-level findings of the last day.
    recent: VecDeque<EventTime>,
    broken: bool,
}

impl Valve {
    /// With a full bucket.
    #[must_use]
    pub fn new(pages_a_week: f64) -> Self {
        Self {
            pages_a_week,
            tokens: BUCKET * pages_a_week,
            filled: EventTime::ABSENT,
            storm_until: EventTime::ABSENT,
            recent: VecDeque::new(),
            broken: false,
        }
    }

    /// Takes another budget: the bucket is filled by it from now on.
    pub fn configure(&mut self, pages_a_week: f64) {
        self.pages_a_week = pages_a_week;
    }

    /// Tells how many of how many edges are at page level at this time; true while there is a storm: one incident of
    /// the whole mesh, no quarantine, no learning.
    pub fn watch(&mut self, now: EventTime, exceeding: usize, edges: usize) -> bool {
        let part = edges as f64 * STORM_PART;
        if STORM_EDGES < exceeding && part < exceeding as f64 {
            self.storm_until = now.after(STORM_CALM);
        }
        now < self.storm_until
    }

    /// Asks for a page, for a new finding at page level.
    pub fn admit(&mut self, now: EventTime) -> Admission {
        self.recent.retain(|&then| now.since(then) < DAY);
        let broken_from = BROKEN * self.pages_a_week.max(1.0);
        if (self.recent.len() as f64) < broken_from {
            self.recent.push_back(now);
        }
        self.broken |= broken_from <= self.recent.len() as f64;
        if now < self.storm_until {
            return Admission::Storm;
        }
        if self.broken {
            return Admission::Broken;
        }
        let most = BUCKET * self.pages_a_week;
        let gained =
            if self.filled.present() { now.since(self.filled).as_secs_f64() / WEEK * most } else { most };
        self.tokens = (self.tokens + gained).min(most);
        self.filled = now;
        if self.tokens < 1.0 {
            return Admission::OverBudget;
        }
        self.tokens -= 1.0;
        Admission::Page
    }

    /// True while the calibration is broken: paging is off, and so is quarantine.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// The mesh was calibrated anew: with the broken day in the record, paging may go on.
    pub fn recalibrated(&mut self) {
        if std::mem::take(&mut self.broken) {
            self.recent.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> EventTime {
        EventTime(1).after(Duration::from_hours(hours))
    }

    #[test]
    fn no_more_than_three_budgets_are_paged_in_a_burst_and_as_many_more_in_a_week() {
        let mut valve = Valve::new(1.0);
        let admitted = |valve: &mut Valve, hours: std::ops::Range<u64>| {
            hours.step_by(3).filter(|&hour| valve.admit(at(hour)) == Admission::Page).count()
        };
        assert_eq!(admitted(&mut valve, 0..24), 3);
        assert!(admitted(&mut valve, 24..192) <= 3);
    }

    #[test]
    fn ten_findings_in_a_day_are_a_broken_calibration_until_the_next() {
        let mut valve = Valve::new(1.0);
        let answers: Vec<Admission> = (0..12).map(|hour| valve.admit(at(hour))).collect();
        assert_eq!(answers[8], Admission::OverBudget);
        assert_eq!(answers[9..], [Admission::Broken; 3]);
        assert!(valve.broken());
        valve.recalibrated();
        assert_eq!((valve.broken(), valve.admit(at(30))), (false, Admission::OverBudget));
    }

    #[test]
    fn many_edges_at_once_are_one_storm_and_a_few_are_none() {
        let mut valve = Valve::new(1.0);
        assert!(!valve.watch(at(0), 20, 100));
        assert!(!valve.watch(at(0), 21, 10_000));
        assert!(valve.watch(at(1), 101, 10_000));
        assert_eq!(valve.admit(at(1)), Admission::Storm);
        assert!(!valve.watch(at(2), 0, 10_000));
        assert_eq!(valve.admit(at(2)), Admission::Page);
    }
}
