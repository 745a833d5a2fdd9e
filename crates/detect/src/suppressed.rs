//! What counters say of records: a proxy that counts requests and no longer tells of them.

use std::collections::BTreeMap;

use selvedge_learn::ledger::{Audited, LedgerBounds, Shortfall};
use selvedge_model::{EdgeKey, Finding, FindingKind, Node, Side, Window};

use crate::case::Context;
use crate::detector::{Detector, sorted};
use crate::draft::Draft;
use crate::rules::RuleSet;

/// Fewer workloads than this have no common way that could lose their records.
const COMMON_FROM: usize = 3;
/// Edges of one workload that its finding names.
const EDGES_TOLD_MAX: usize = 5;

impl Detector {
    /// When records are missing of what counters count; never when the rule is switched off.
    #[must_use]
    pub fn ledger_bounds(&self) -> LedgerBounds {
        let rule = self.rules().telemetry_suppressed();
        rule.map_or(LedgerBounds { requests_min: u64::MAX, share_max: 0.0 }, |rule| LedgerBounds {
            requests_min: rule.requests_min.0,
            share_max: rule.share_max.0,
        })
    }

    /// Judges records against counters.
    #[must_use]
    pub fn judge_records(&self, cx: &Context<'_>, audited: &Audited) -> Vec<Finding> {
        if cx.learning {
            return Vec::new();
        }
        let drafts = judge(cx, self.rules(), audited).into_iter();
        sorted(drafts.map(|(began, key, draft)| self.tell(cx, began, key, draft)).collect())
    }
}

/// A draft for each workload whose records are missing, on the edge of which most are; or one for all, where so many are
/// missing at once that it is their common way. With the time since when, which keeps a finding the same as long as it lasts.
fn judge(cx: &Context<'_>, rules: &RuleSet, audited: &Audited) -> Vec<(Window, EdgeKey, Draft)> {
    let Some(rule) = rules.telemetry_suppressed() else { return Vec::new() };
    let mut by: BTreeMap<Node, Vec<&Shortfall>> = BTreeMap::new();
    for short in &audited.short {
        by.entry(short.reporter()).or_default().push(short);
    }
    by.values_mut().for_each(|short| short.sort_by_key(|short| std::cmp::Reverse(missing(short))));
    if by.len() >= COMMON_FROM && share(by.len(), audited.reporters) > rule.common_share_min.0 {
        return common(cx, rules, &by, audited.reporters).into_iter().collect();
    }
    by.into_values().map(|short| (began(short[0]), short[0].edge, draft(cx, &short))).collect()
}

fn draft(cx: &Context<'_>, short: &[&Shortfall]) -> Draft {
    let most = short[0];
    let workload = cx.node(&most.reporter());
    let mut draft =
        Draft::new(FindingKind::TelemetrySuppressed, most.since).subject("records").summary(format!(
            "the proxy of {workload} counted {} requests {} and told of {}; it used to tell of all",
            most.counted,
            on(cx, most),
            most.recorded
        ));
    for short in short.iter().take(EDGES_TOLD_MAX) {
        draft = draft.fact("records_of_requests_counted", format!("{}: {}", on(cx, short), of(short)), "all");
    }
    let more = short.len().saturating_sub(EDGES_TOLD_MAX);
    if more > 0 {
        draft = draft.note("further_edges", &more.to_string());
    }
    draft.note("reporter", &workload)
}

/// Records of many are missing.
fn common(
    cx: &Context<'_>,
    rules: &RuleSet,
    by: &BTreeMap<Node, Vec<&Shortfall>>,
    reporters: usize,
) -> Option<(Window, EdgeKey, Draft)> {
    rules.telemetry_gap()?;
    // The one that began first, so that the finding stays the same while others join it.
    let first = by.values().flatten().min_by_key(|short| (short.since, short.edge, short.side))?;
    let mut draft =
        Draft::new(FindingKind::TelemetryGap, first.since).subject("records").summary(format!(
            "{} of {reporters} workloads count requests and no longer tell of most of them: what is between them and \
             here loses records",
            by.len()
        ));
    for (reporter, short) in by.iter().take(EDGES_TOLD_MAX) {
        draft = draft.fact(
            "records_of_requests_counted",
            format!("{}: {}", cx.node(reporter), of(short[0])),
            "all",
        );
    }
    Some((began(first), first.edge, draft.raise_if(true, "nothing is seen of many workloads but counts")))
}

fn began(short: &Shortfall) -> Window {
    Window { start: short.since, end: short.since }
}

fn on(cx: &Context<'_>, short: &Shortfall) -> String {
    match short.side {
        Side::Server => format!("from {}", cx.node(&short.edge.source)),
        _ => format!("to {}", cx.node(&short.edge.destination)),
    }
}

fn of(short: &Shortfall) -> String {
    format!("{} of {}", short.recorded, short.counted)
}

fn missing(short: &Shortfall) -> u64 {
    short.counted.saturating_sub(short.recorded)
}

#[expect(clippy::cast_precision_loss, reason = "workloads, far below 2^52")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
