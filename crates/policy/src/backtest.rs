//! What a policy would have done to recent traffic, or to that of any capture: one evaluator for all policies.

use std::collections::BTreeMap;

use selvedge_model::{Backtest, BacktestCaller, Cut, Endpoint, EventTime, IdentitySource};

use crate::matching::{any_matches, concerns};
use crate::recent::began_by;
use crate::traffic::{TrafficRow, Truth};

/// Callers and routes told, each.
const TOLD_MAX: usize = 20;
/// Callers and routes counted apart, each; past it new ones are only counted (policy `keep_known`).
const COUNTED_MAX: usize = 4_096;

/// A backtest with the counts that guard rails need beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// What people are shown.
    pub backtest: Backtest,
    /// Calls looked at that began by the onset: what harm is a share of.
    pub considered_before: u64,
    /// Normal calls by the onset of which the record does not say whether they would have been denied.
    pub undecided_normal: u64,
    /// Callers with denied normal calls.
    pub callers_harmed: u64,
}

impl Trial {
    /// Normal calls that would have been denied as a share of all by the onset, 0 to 1; 0 when there were none.
    #[must_use]
    pub fn harm_share(&self) -> f64 {
        share(self.backtest.denied_normal, self.considered_before)
    }

    /// Normal calls that may have been denied as a share of all by the onset, 0 to 1.
    #[must_use]
    pub fn undecided_share(&self) -> f64 {
        share(self.undecided_normal, self.considered_before)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people; 2^53 calls are enough")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Adds up rows under what a policy says of them.
#[derive(Debug)]
pub struct Evaluator {
    onset: EventTime,
    trial: Trial,
    callers: BTreeMap<Endpoint, (u64, u64)>,
    routes: BTreeMap<String, u64>,
    more: u64,
    harmed_more: u64,
}

impl Evaluator {
    /// An evaluator that has seen nothing. Normal calls after `onset` may be the attacker's: they are no harm. Without
    /// an incident pass the end of time.
    #[must_use]
    pub fn new(onset: EventTime) -> Self {
        let trial = Trial {
            backtest: Backtest { from_seconds: u64::MAX, ..Backtest::default() },
            ..Trial::default()
        };
        Self { onset, trial, callers: BTreeMap::new(), routes: BTreeMap::new(), more: 0, harmed_more: 0 }
    }

    /// Counts a row of the traffic that the policy is about, and whether it denies it.
    pub fn add(&mut self, row: &TrafficRow, denied: Truth) {
        let before = began_by(row.minute_seconds, self.onset);
        let (trial, harm) = (&mut self.trial, before && row.normal);
        let backtest = &mut trial.backtest;
        backtest.from_seconds = backtest.from_seconds.min(row.minute_seconds);
        backtest.until_seconds = backtest.until_seconds.max(row.minute_seconds.saturating_add(60));
        backtest.considered += row.calls;
        trial.considered_before += if before { row.calls } else { 0 };
        match denied {
            Truth::No => {}
            Truth::Unknown => {
                backtest.undecided += row.calls;
                trial.undecided_normal += if harm { row.calls } else { 0 };
            }
            Truth::Yes => {
                backtest.denied += row.calls;
                backtest.denied_normal += if harm { row.calls } else { 0 };
                self.note(row, if harm { row.calls } else { 0 });
            }
        }
    }

    fn note(&mut self, row: &TrafficRow, harm: u64) {
        let caller = caller(row);
        if self.callers.len() < COUNTED_MAX || self.callers.contains_key(&caller) {
            let counts = self.callers.entry(caller).or_default();
            *counts = (counts.0 + row.calls, counts.1 + harm);
        } else {
            self.more += 1;
            self.harmed_more += u64::from(harm > 0);
        }
        let route = format!("{} {}", row.method, row.route).trim().to_owned();
        if self.routes.len() < COUNTED_MAX || self.routes.contains_key(&route) {
            *self.routes.entry(route).or_default() += row.calls;
        } else {
            self.more += 1;
        }
    }

    /// The result, most calls first.
    #[must_use]
    pub fn finish(self) -> Trial {
        let mut trial = self.trial;
        let harmed = self.callers.values().filter(|(_, harm)| *harm > 0).count() as u64;
        trial.callers_harmed = harmed + self.harmed_more;
        let mut callers: Vec<BacktestCaller> = self
            .callers
            .into_iter()
            .map(|(caller, (denied, denied_normal))| BacktestCaller { caller, denied, denied_normal })
            .collect();
        callers.sort_by(|left, right| {
            right.denied.cmp(&left.denied).then_with(|| left.caller.cmp(&right.caller))
        });
        let mut routes: Vec<(String, u64)> = self.routes.into_iter().collect();
        routes.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        let surplus = callers.len().saturating_sub(TOLD_MAX) + routes.len().saturating_sub(TOLD_MAX);
        callers.truncate(TOLD_MAX);
        routes.truncate(TOLD_MAX);
        let backtest = &mut trial.backtest;
        backtest.from_seconds = backtest.from_seconds.min(backtest.until_seconds);
        (backtest.callers, backtest.routes) = (callers, routes);
        backtest.more = self.more + surplus as u64;
        trial
    }
}

/// Who called, as far as it was proven: a name that is hearsay is nobody.
fn caller(row: &TrafficRow) -> Endpoint {
    let proven = !row.source.principal.is_empty() || row.source_identity >= IdentitySource::ProxyMetadata;
    if proven { row.source.clone() } else { Endpoint::default() }
}

/// Tries any policy: `denies` says of each row whether it would have been denied. All rows are looked at.
pub fn backtest<'a>(
    rows: impl IntoIterator<Item = &'a TrafficRow>,
    onset: EventTime,
    denies: impl Fn(&TrafficRow) -> Truth,
) -> Trial {
    let mut evaluator = Evaluator::new(onset);
    for row in rows {
        evaluator.add(row, denies(row));
    }
    evaluator.finish()
}

/// Tries cuts on the traffic that passes the proxies where they are enforced; other rows are not looked at.
pub fn backtest_cuts<'a>(
    cuts: &[Cut],
    rows: impl IntoIterator<Item = &'a TrafficRow>,
    onset: EventTime,
) -> Trial {
    let concerned = rows.into_iter().filter(|row| cuts.iter().any(|cut| concerns(cut, row)));
    backtest(concerned, onset, |row| any_matches(cuts, row))
}
