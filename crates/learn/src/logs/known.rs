//! One statement of one route: its record, and the run of calls that may be the beginning of a change.

use std::time::Duration;

use selvedge_model::{EventTime, Window};
use serde::{Deserialize, Serialize};

use super::odds::{Change, Odd, evidence, recovery};

/// Calls without which a record says nothing.
const CALLS_MIN: f32 = 4.0;
/// A statement of at least this share of the calls is one of all, and of at most one less this, of none.
const NEARLY_ALL: f32 = 0.9;
/// Windows with calls without which the spread of a share is unknown.
const SPREAD_WINDOWS_MIN: u16 = 60;
/// Windows over which the spread is averaged, and the most that one of them may say.
const SPREAD_WINDOWS: f32 = 64.0;
const SPREAD_MAX: f32 = 10.0;
/// The most that one window may say, for or against (`detection.md` 3.3): calls of one moment are not independent.
const STEP_MAX: f64 = 3.0;
/// Scores end here, so that what is over is soon forgotten.
const SCORE_MAX: f64 = 24.0;
/// Evidence from which on calls are not learned even if it went away (`detection.md` 3.3).
const SUSPICIOUS: f32 = 8.0;
/// What goes away by itself is likely to come again: so much more evidence it needs then, for so long (it halves). Two such
/// episodes are more than any evidence: a statement learns its own noisiness (`detection.md` 3.4).
const EPISODE_BAR: f32 = 8.0;
const BAR_MAX: f32 = 24.0;
const BAR_HALVES: Duration = Duration::from_hours(24);
/// A statement that is known for a day has seen what a day brings.
const SETTLED_AFTER: Duration = Duration::from_hours(24);
/// Evidence that a change is over: 150 to 1.
const OVER: f64 = 5.0;
/// A change that lasts so long is accepted (`detection.md` 3.3, bounded freeze).
const FREEZE_MAX: Duration = Duration::from_hours(4);
/// A record of more calls is halved: about the last few thousand calls count.
const RECORD_MAX: f32 = 4_000.0;
/// A statement that made so little of a long record is forgotten.
const FORGOTTEN_BELOW: f32 = 0.25;
const FORGOTTEN_AFTER: f32 = 1_000.0;

/// What is compared, for thresholds: each has a budget of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A statement that calls make stopped.
    Missing,
    /// A statement that the workload never made appeared.
    New,
    /// A known statement is made by more, or fewer, of the calls.
    Rate,
    /// A workload writes nothing any more.
    Silent,
}

impl Class {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Missing, Self::New, Self::Rate, Self::Silent];
}

/// A statement on a route (or any statement of a workload).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) statement: u32,
    /// Calls since it is known.
    pub(crate) record: Tally,
    /// Variance of its share between windows over what chance alone would make.
    spread: f32,
    windows: u16,
    /// It was new to the workload when it came.
    pub(crate) new: bool,
    /// When it was met; absent when an approved baseline had it.
    pub(crate) met: EventTime,
    /// Nats that it needs beyond others, and since when.
    bar: f32,
    bar_since: EventTime,
    pub(crate) run: Run,
}

/// Calls since a change may have begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) all: Tally,
    pub(crate) score: f32,
    peak: f32,
    pub(crate) since: EventTime,
    pub(crate) stops: bool,
    /// Calls of it that showed an error.
    erring: f32,
    /// Calls since the change may be over, and what speaks for that.
    back: Tally,
    back_score: f32,
}

/// Calls, and those of them that made a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Calls; a long record is halved now and then, so it may be a fraction.
    pub calls: f32,
    /// Those that made the statement.
    pub with: f32,
}

impl Tally {
    fn of(with: u32, calls: u32) -> Self {
        Self { calls: narrow(calls), with: narrow(with) }
    }

    fn plus(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, with: self.with + other.with }
    }

    fn odd(self, change: Change) -> Odd {
        let odd = if change == Change::Stops { self.calls - self.with } else { self.with };
        Odd { odd: f64::from(odd), calls: f64::from(self.calls) }
    }
}

/// What a window said of a statement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) class: Class,
    /// Evidence so far, in nats; nothing when this window spoke against a change.
    pub(crate) score: Option<f32>,
}

impl Known {
    /// A statement that none of so many calls made.
    pub(crate) fn unknown(statement: u32, calls: f32, new: bool, met: EventTime) -> Self {
        Self { statement, record: Tally { calls, with: 0.0 }, new, met, spread: 1.0, ..Self::default() }
    }

    /// True when its record is long, or approved.
    pub(crate) fn settled(&self, window: Window) -> bool {
        window.start.since(self.met) >= SETTLED_AFTER
    }

    /// True when (nearly) no call makes it.
    pub(crate) fn unusual(&self) -> bool {
        self.share() <= 1.0 - NEARLY_ALL
    }

    /// True when half of the calls of the run or more showed an error.
    pub(crate) fn errs(&self) -> bool {
        self.run.all.calls > 0.0 && self.run.erring * 2.0 >= self.run.all.calls
    }

    /// Nats that it needs beyond others.
    pub(crate) fn bar(&mut self, window: Window) -> f64 {
        while self.bar > 0.0 && window.start.since(self.bar_since) >= BAR_HALVES {
            self.bar_since = self.bar_since.after(BAR_HALVES);
            self.bar = if self.bar < 1.0 { 0.0 } else { self.bar * 0.5 };
        }
        f64::from(self.bar)
    }

    /// Counts a window without judging it.
    pub(crate) fn learn(&mut self, with: u32, calls: u32) {
        let seen = Tally::of(with, calls);
        let share = self.share();
        let off = seen.with - seen.calls * share;
        let seen_spread = off * off / (seen.calls * share * (1.0 - share)).max(0.01);
        self.windows = self.windows.saturating_add(1);
        self.spread +=
            (seen_spread.min(SPREAD_MAX) - self.spread) / f32::from(self.windows).min(SPREAD_WINDOWS);
        self.add(seen);
    }

    /// Judges a window by the record, then adds it to the run, or to the record when nothing is odd. Nothing while too
    /// little is known to judge; then it is not learned either.
    pub(crate) fn judge(
        &mut self,
        window: Window,
        (with, calls): (u32, u32),
        erring: u32,
        always: f64,
    ) -> Option<Step> {
        let (class, change) = self.comparison()?;
        let seen = Tally::of(with, calls);
        if self.run == Run::default() && seen.odd(change).odd == 0.0 && change != Change::Shifts {
            self.learn(with, calls);
            return Some(Step { class, score: None });
        }
        if self.run.peak >= SUSPICIOUS && self.goes_back(window, seen, change, always) {
            return Some(Step { class, score: None });
        }
        let record = self.record.odd(change);
        let before = self.run.all;
        let after = before.plus(self.run.back).plus(seen);
        let said = evidence(change, record, after.odd(change), always)
            - evidence(change, record, before.odd(change), always);
        let spread = if class == Class::Rate { f64::from(self.spread.max(1.0)) } else { 1.0 };
        let said = said.clamp(-STEP_MAX, STEP_MAX) / spread;
        let score = (f64::from(self.run.score) + said).clamp(0.0, SCORE_MAX);
        let since = if self.run.since.present() { self.run.since } else { window.start };
        let score = super::super::normal::maths::narrow(score);
        let peak = self.run.peak.max(score);
        let stops = change == Change::Stops;
        let erring = self.run.erring + narrow(erring);
        self.run = Run { all: after, score, peak, since, stops, erring, ..Run::default() };
        if score <= 0.0 || window.start.since(since) >= FREEZE_MAX {
            self.accept_run();
        }
        Some(Step { class, score: (said > 0.0).then_some(score) })
    }

    /// Forgets the run: its calls could not be seen as they were.
    pub(crate) fn forget_run(&mut self) {
        self.run = Run::default();
    }

    /// True when it says nothing about its route any more.
    pub(crate) fn forgotten(&self) -> bool {
        self.record.with < FORGOTTEN_BELOW
            && self.record.calls > FORGOTTEN_AFTER
            && self.run == Run::default()
    }

    /// True when (nearly) every call makes it, once enough is known.
    pub(crate) fn usual(&self) -> bool {
        self.record.calls >= CALLS_MIN && self.share() >= NEARLY_ALL
    }

    /// The share of calls that make it; a half counts for and against it, so that a short record is no certainty.
    fn share(&self) -> f32 {
        (self.record.with + 0.5) / (self.record.calls + 1.0)
    }

    /// What can be compared; nothing while too little is known.
    fn comparison(&self) -> Option<(Class, Change)> {
        let share = self.share();
        if self.record.calls < CALLS_MIN {
            None
        } else if share >= NEARLY_ALL {
            Some((Class::Missing, Change::Stops))
        } else if share <= 1.0 - NEARLY_ALL && self.new {
            Some((Class::New, Change::Appears))
        } else if self.windows < SPREAD_WINDOWS_MIN {
            None
        } else if share <= 1.0 - NEARLY_ALL {
            Some((Class::Rate, Change::Appears))
        } else {
            Some((Class::Rate, Change::Shifts))
        }
    }

    /// Whether a window of a change looks as if it were over; once that is beyond doubt, what was seen since is learned
    /// and the change is forgotten.
    fn goes_back(&mut self, window: Window, seen: Tally, change: Change, always: f64) -> bool {
        let run = &mut self.run;
        let said = recovery(change, self.record.odd(change), run.all.odd(change), seen.odd(change), always);
        let score = f64::from(run.back_score) + said.clamp(-STEP_MAX, STEP_MAX);
        if score <= 0.0 {
            run.back_score = 0.0;
            return false;
        }
        run.back = run.back.plus(seen);
        run.back_score = super::super::normal::maths::narrow(score);
        if score >= OVER {
            let back = run.back;
            self.run = Run::default();
            self.bar = (self.bar + EPISODE_BAR).min(BAR_MAX);
            self.bar_since = window.start;
            self.add(back);
        }
        true
    }

    /// Nothing had changed, or it has lasted so long that it is normal now.
    fn accept_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        self.add(run.all.plus(run.back));
    }

    fn add(&mut self, seen: Tally) {
        self.record = self.record.plus(seen);
        if self.record.calls > RECORD_MAX {
            self.record = Tally { calls: self.record.calls * 0.5, with: self.record.with * 0.5 };
        }
    }
}

/// A count of calls; far below where `f32` is inexact.
#[expect(clippy::cast_precision_loss, reason = "calls of one window")]
fn narrow(count: u32) -> f32 {
    count as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(at: u64) -> Window {
        let start = EventTime(at * 10_000_000_000 + 1);
        Window { start, end: start.after(Duration::from_secs(10)) }
    }

    fn known(with: u32, calls: u32) -> Known {
        let mut known = Known::unknown(7, 0.0, false, EventTime(1));
        known.learn(with, calls);
        known
    }

    #[test]
    fn a_statement_that_stops_is_told_within_windows_and_not_learned() {
        let mut known = known(60, 60);
        let mut scores = Vec::new();
        for at in 0..8 {
            scores.push(known.judge(window(at), (0, 2), 0, 0.5).and_then(|step| step.score).unwrap_or(0.0));
        }
        assert!(scores.windows(2).all(|pair| pair[0] <= pair[1]) && scores[7] > 12.0, "{scores:?}");
        assert_eq!((known.record.with, known.record.calls), (60.0, 60.0));
        assert_eq!(known.run.since, window(0).start);
        for at in 8..12 {
            assert_eq!(known.judge(window(at), (2, 2), 0, 0.5).and_then(|step| step.score), None);
        }
        assert_eq!(known.run, Run::default(), "what is over is forgotten");
        assert!(known.record.with / known.record.calls > 0.95);
    }

    /// Scenario: a statement stops twice, after a record of five calls.
    /// Guarantees: what is over is noticed, so that the second time is told as the first was.
    #[test]
    fn a_change_that_comes_back_is_told_again() {
        let mut known = known(5, 5);
        let mut told = Vec::new();
        for at in 0..60_u64 {
            let stopped = (5..25).contains(&at) || (37..57).contains(&at);
            let step = known.judge(window(at), (u32::from(!stopped) * 2, 2), 0, 0.5);
            if step.and_then(|step| step.score).is_some_and(|score| score > 11.0) {
                told.push(at);
            }
        }
        assert!(told.iter().any(|at| *at < 25) && told.iter().any(|at| *at >= 37), "{told:?}");
        assert!(!told.iter().any(|at| (27..37).contains(at)), "{told:?}");
    }

    #[test]
    fn one_odd_call_is_learned_as_normal() {
        let mut known = known(60, 60);
        known.judge(window(0), (1, 2), 0, 0.5);
        for at in 1..6 {
            known.judge(window(at), (2, 2), 0, 0.5);
        }
        assert_eq!((known.record.with, known.record.calls), (71.0, 72.0));
    }

    #[test]
    fn a_short_record_needs_a_longer_run() {
        let told = |record: u32| {
            let mut known = known(record, record);
            (0..40).position(|at| {
                known
                    .judge(window(at), (0, 1), 0, 0.5)
                    .and_then(|step| step.score)
                    .is_some_and(|score| score > 12.0)
            })
        };
        let (short, long) = (told(4), told(200));
        assert!(long.is_some_and(|long| short.is_none_or(|short| short > long)), "{short:?} {long:?}");
    }

    #[test]
    fn what_lasts_for_hours_is_accepted() {
        let mut known = known(60, 60);
        for at in 0..1_500 {
            known.judge(window(at), (0, 1), 0, 0.5);
        }
        assert!(known.record.with / known.record.calls < 0.1, "{known:?}");
    }

    #[test]
    fn a_share_that_swings_by_itself_is_no_change() {
        let mut known = Known::unknown(7, 0.0, false, EventTime(1));
        // Half of the calls, in bursts of three windows.
        for at in 0..200_u32 {
            known.learn(if at % 6 < 3 { 4 } else { 0 }, 4);
        }
        let worst = (0..200_u32).filter_map(|at| {
            let with = if at % 6 < 3 { 4 } else { 0 };
            known.judge(window(u64::from(at)), (with, 4), 0, 0.5).and_then(|step| step.score)
        });
        assert!(worst.fold(0.0_f32, f32::max) < 6.0);
    }
}
