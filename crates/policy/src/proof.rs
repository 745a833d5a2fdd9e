//! After a push telemetry decides: does it work, and does it hurt?
//!
//! It works when calls are denied under its name and none that it matches got through since every proxy has it. A
//! request is decided when it begins, so one that began before is under way and no survivor. It hurts when it denies
//! what it does not match, or when callers that it does not touch begin to fail: most of them, each by more than chance
//! explains, so that a single caller cannot have a quarantine lifted by failing its own calls. Whom it cuts is none of
//! them, whatever else that caller may still ask for.
//!
//! A dry run denies nothing: it can hurt, by what it would deny, but not be proven to work, and no call survives it.

use std::collections::BTreeMap;

use selvedge_model::edge_window::EXEMPLARS_MAX;
use selvedge_model::{
    CallShape, Caller, Cut, EdgeKey, EdgeWindow, EventTime, Place, Quarantine, QuarantineState, Reported,
    ShapeStats, SymbolTable,
};

use crate::config::ProofConfig;
use crate::matching::{any_matches, concerns, matches, same_workload};
use crate::recent::row_of;
use crate::traffic::{TrafficRow, Truth};

/// Untouched callers that are followed; past it further ones are not (policy `keep_known`).
const CALLERS_MAX: usize = 1_024;
/// Untouched callers that can be judged, without which their errors say nothing: one alone may fail on purpose.
const JUDGED_MIN: usize = 2;

/// What a verdict begins with that an acknowledgement takes back.
pub(crate) const NOT_TAKEN: &str = "not every proxy has taken it";

/// What telemetry says of a quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Open,
    /// It works.
    Effective,
    /// It does not do what it should, and why.
    Ineffective(String),
    /// It hurts, and whom: take it back.
    Harm(String),
}

/// What is seen of one quarantine since its push.
#[derive(Clone, Debug)]
pub struct Proof {
    id: String,
    dry_run: bool,
    cuts: Vec<Cut>,
    pushed: EventTime,
    everywhere: Option<EventTime>,
    denied: u64,
    survivors: u64,
    survivor: Earliest,
    survived: EventTime,
    wrongly_denied: u64,
    wronged: Earliest,
    callers: BTreeMap<EdgeKey, Health>,
}

/// The call that began first, in words: a choice that does not depend on the order in which calls are seen.
type Earliest = Option<(EventTime, String)>;

/// Calls and failed calls of an untouched caller.
#[derive(Clone, Debug, Default)]
struct Health {
    name: String,
    before: (u64, u64),
    after: (u64, u64),
}

impl Proof {
    /// A proof of a quarantine, or of its dry run, that was pushed at `pushed`, in event time: the later of the engine's
    /// frontier and our wall clock, because records lag behind what they tell of. When a dry run becomes enforced, it needs
    /// a new one.
    #[must_use]
    pub fn new(quarantine: &Quarantine, pushed: EventTime) -> Self {
        Self {
            id: quarantine.id.clone(),
            dry_run: quarantine.state == QuarantineState::Shadow,
            cuts: quarantine.cuts.clone(),
            pushed,
            everywhere: None,
            denied: 0,
            survivors: 0,
            survivor: None,
            survived: EventTime::ABSENT,
            wrongly_denied: 0,
            wronged: None,
            callers: BTreeMap::new(),
        }
    }

    /// Every proxy has it since `at`, in event time as above. The first time counts.
    pub fn acknowledged(&mut self, at: EventTime) {
        self.everywhere.get_or_insert(at);
    }

    /// Calls denied under its name so far; of a dry run those that would have been.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.denied
    }

    /// Calls that it matches and that got through since every proxy has it.
    #[must_use]
    pub fn survivors(&self) -> u64 {
        self.survivors
    }

    /// Counts what one edge did since the last time: each call once. `usual` gives calls and failed calls that were
    /// learned of an edge.
    pub fn observe(
        &mut self,
        key: &EdgeKey,
        edge: &EdgeWindow,
        usual: &dyn Fn(&EdgeKey) -> (u64, u64),
        config: &ProofConfig,
        symbols: &SymbolTable,
    ) {
        if !self.near(key, symbols) {
            return;
        }
        for (shape, stats) in &edge.shapes {
            if shape.handshake_failure.present() {
                continue;
            }
            let by = if self.dry_run { shape.shadow_denied_by } else { shape.denied_by };
            let ours = by.present() && self.is_name(symbols.resolve(by));
            let row = row_of(key, shape, stats.calls, symbols);
            match any_matches(&self.cuts, &row) {
                _ if ours => self.deny(shape, stats, &row),
                Truth::Yes if self.dry_run => {}
                Truth::Yes => self.survive(shape, stats, &row, config),
                Truth::No => self.compare(key, shape, stats, usual, &row, config),
                Truth::Unknown => {}
            }
        }
    }

    /// Counts calls that were denied under its name, by the word of the proxies that have it: whoever else says so may be
    /// the attacker. What a workload says of its own way out is never harm: it would be its own word in its own favour.
    fn deny(&mut self, shape: &CallShape, stats: &ShapeStats, row: &TrafficRow) {
        let said = |cut: &&Cut| {
            let silent =
                if cut.place == Place::Inbound { Reported::ClientOnly } else { Reported::ServerOnly };
            shape.reported != silent && concerns(cut, row)
        };
        let cuts: Vec<&Cut> = self.cuts.iter().filter(said).collect();
        if cuts.iter().any(|cut| matches(cut, row) != Truth::No) {
            self.denied += stats.calls;
        } else if cuts.iter().any(|cut| cut.place == Place::Inbound) {
            self.wrongly_denied += stats.calls;
            keep_earliest(&mut self.wronged, stats.first, row.source.label());
        }
    }

    /// Telemetry has the policy's name, some dialects with its namespace before it: `namespace/name`.
    fn is_name(&self, policy: &str) -> bool {
        policy.rsplit('/').next() == Some(self.id.as_str())
    }

    /// True when the edge begins or ends at a cut workload.
    fn near(&self, key: &EdgeKey, symbols: &SymbolTable) -> bool {
        let names = key.names(symbols);
        self.cuts.iter().any(|cut| {
            let workload = [&cut.workload.cluster, &cut.workload.namespace, &cut.workload.workload];
            workload.iter().zip(&names[..3]).all(|(left, right)| left.as_str() == *right)
                || workload.iter().zip(&names[3..]).all(|(left, right)| left.as_str() == *right)
        })
    }

    /// True when the caller of `row` is one that is cut, here or from something else.
    fn touches(&self, row: &TrafficRow) -> bool {
        self.cuts.iter().any(|cut| match &cut.caller {
            Caller::Principal(principal) => *principal == row.source.principal,
            Caller::Unauthenticated => row.authenticated == Some(false),
            Caller::Local => cut.place == Place::Outbound && same_workload(&cut.workload, &row.source),
        })
    }

    fn survive(&mut self, shape: &CallShape, stats: &ShapeStats, row: &TrafficRow, config: &ProofConfig) {
        let Some(everywhere) = self.everywhere else { return };
        let since = everywhere.after(config.grace);
        let survivors = started_after(stats, since);
        if survivors == 0 || !got_through(shape) {
            return;
        }
        self.survivors += survivors;
        self.survived = self.survived.max(stats.last);
        let request = format!("{} {}", row.method, row.route);
        let text = format!("{} -> {} {}", row.source.label(), row.destination.label(), request.trim());
        keep_earliest(&mut self.survivor, stats.first.max(since), text);
    }

    fn compare(
        &mut self,
        key: &EdgeKey,
        shape: &CallShape,
        stats: &ShapeStats,
        usual: &dyn Fn(&EdgeKey) -> (u64, u64),
        row: &TrafficRow,
        config: &ProofConfig,
    ) {
        let late = stats.first.since(self.pushed) > config.harm_within;
        let concerned = self.cuts.iter().any(|cut| concerns(cut, row)) && !self.touches(row);
        if stats.first < self.pushed || late || !concerned || shape.denied_by.present() {
            return;
        }
        if self.callers.len() >= CALLERS_MAX && !self.callers.contains_key(key) {
            return;
        }
        let health = self.callers.entry(*key).or_insert_with(|| Health {
            name: format!("{} -> {}", row.source.label(), row.destination.label()),
            before: usual(key),
            after: (0, 0),
        });
        health.after.0 += stats.calls;
        health.after.1 += if shape.failed() { stats.calls } else { 0 };
    }

    /// What it comes to, by now.
    #[must_use]
    pub fn judge(&self, now: EventTime, config: &ProofConfig) -> Verdict {
        if self.wrongly_denied >= config.wrongly_denied_max.max(1) {
            let (calls, whom) = (self.wrongly_denied, said(&self.wronged));
            let denied = if self.dry_run { "would have denied" } else { "denied" };
            return Verdict::Harm(format!(
                "it {denied} {calls} calls that it does not match, of {whom} among others"
            ));
        }
        if let Some(worse) = self.worse(config) {
            return Verdict::Harm(worse);
        }
        if self.everywhere.is_none() {
            if now.since(self.pushed) <= config.acknowledge_within {
                return Verdict::Open;
            }
            let seconds = config.acknowledge_within.as_secs();
            return Verdict::Ineffective(format!("{NOT_TAKEN} within {seconds} s"));
        }
        let remembered = self.survivors > 0 && now.since(self.survived) <= config.survivor_memory;
        match (remembered, self.denied) {
            // The same words for every further survivor: each change of them is stored and told.
            (true, _) => {
                Verdict::Ineffective(format!("calls got through, the first {}", said(&self.survivor)))
            }
            (false, denied) if denied == 0 || self.dry_run => Verdict::Open,
            (false, _) => Verdict::Effective,
        }
    }

    /// Says who fails, when more than half of the untouched callers that can be judged do.
    fn worse(&self, config: &ProofConfig) -> Option<String> {
        let judged = self.callers.values().filter(|health| {
            health.before.0 >= config.harm_calls_min && health.after.0 >= config.harm_calls_min
        });
        let (mut callers, mut worse) = (0, Vec::new());
        for health in judged {
            callers += 1;
            if health.worse(config) {
                worse.push(health);
            }
        }
        worse.sort_by_key(|health| (std::cmp::Reverse(health.after.1), &health.name));
        (callers >= JUDGED_MIN && worse.len() * 2 > callers).then(|| {
            let first = worse[0];
            let (failed, calls) = (first.after.1, first.after.0);
            format!(
                "{} of {callers} callers that it does not touch fail more than before; on {} {failed} of {calls} calls",
                worse.len(),
                first.name
            )
        })
    }
}

impl Health {
    fn worse(&self, config: &ProofConfig) -> bool {
        let (usual, rose) = (share_at_most(self.before.1, self.before.0), share(self.after.1, self.after.0));
        self.after.1 >= config.harm_failed_min
            && rose >= share(self.before.1, self.before.0) + config.harm_rise_min
            && tail_at_most(self.after.1, self.after.0, usual) <= config.harm_probability_max
    }
}

fn keep_earliest(known: &mut Earliest, start: EventTime, text: String) {
    let new = (start, text);
    if known.as_ref().is_none_or(|known| new < *known) {
        *known = Some(new);
    }
}

fn said(earliest: &Earliest) -> &str {
    earliest.as_ref().map_or("", |(_, text)| text)
}

/// Calls that surely began at or after `at`. A shape keeps the starts of its earliest calls only.
fn started_after(stats: &ShapeStats, at: EventTime) -> u64 {
    if stats.first >= at {
        return stats.calls;
    }
    let earlier = stats.exemplars.iter().filter(|exemplar| exemplar.start < at).count();
    let all_kept = stats.exemplars.len() as u64 == stats.calls;
    let later_kept = stats.exemplars.len() == EXEMPLARS_MAX && earlier < EXEMPLARS_MAX;
    if all_kept || later_kept { stats.calls - earlier as u64 } else { 0 }
}

/// True when the workload itself answered, whatever it said: the proxy did not refuse.
fn got_through(shape: &CallShape) -> bool {
    !shape.denied_by.present()
        && (200..500).contains(&shape.status)
        && !matches!(shape.status, 401 | 403 | 407 | 429)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The largest share that `part` of `whole` still makes plausible: Laplace's estimate and three standard errors.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn share_at_most(part: u64, whole: u64) -> f64 {
    let (calls, estimate) = (whole as f64 + 2.0, (part as f64 + 1.0) / (whole as f64 + 2.0));
    (estimate + 3.0 * (estimate * (1.0 - estimate) / calls).sqrt()).min(1.0)
}

/// A bound on the chance of `part` or more out of `whole` when each has the chance `share`: Chernoff's, by the relative
/// entropy. 1 when so many are expected anyway.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn tail_at_most(part: u64, whole: u64, share: f64) -> f64 {
    if whole == 0 || share >= 1.0 {
        return 1.0;
    }
    let (seen, calls) = (part as f64 / whole as f64, whole as f64);
    if seen <= share {
        return 1.0;
    }
    let term = |left: f64, right: f64| if left <= 0.0 { 0.0 } else { left * (left / right).ln() };
    (-calls * (term(seen, share) + term(1.0 - seen, 1.0 - share))).exp()
}

#[cfg(test)]
mod tests {
    use selvedge_model::Exemplar;

    use super::*;

    #[test]
    fn the_bound_is_one_where_nothing_is_odd_and_small_where_much_is() {
        assert!((tail_at_most(0, 0, 0.1) - 1.0).abs() < 1e-12);
        assert!((tail_at_most(1, 100, 0.02) - 1.0).abs() < 1e-12);
        assert!(tail_at_most(50, 100, 0.02) < 1e-9);
        assert!((tail_at_most(100, 100, 0.5) - 0.5_f64.powi(100)).abs() < 1e-12);
        assert!(share_at_most(0, 1_000) < 0.005 && share_at_most(0, 10) > 0.2);
    }

    #[test]
    fn only_calls_that_surely_began_later_are_survivors() {
        let stats = |calls: u64, starts: &[u64]| ShapeStats {
            calls,
            first: EventTime(starts[0]),
            exemplars: starts
                .iter()
                .map(|start| Exemplar { start: EventTime(*start), ..Exemplar::default() })
                .collect(),
            ..ShapeStats::default()
        };
        assert_eq!(started_after(&stats(3, &[20, 21, 22]), EventTime(20)), 3);
        assert_eq!(started_after(&stats(3, &[10, 21, 22]), EventTime(20)), 2);
        assert_eq!(started_after(&stats(9, &[10, 11, 12, 22]), EventTime(20)), 6);
        assert_eq!(started_after(&stats(9, &[10, 11, 12, 13]), EventTime(20)), 0);
        assert_eq!(started_after(&stats(1, &[10]), EventTime(20)), 0);
    }
}
