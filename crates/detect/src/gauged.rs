//! What gauges tell: an edge that only metrics know is slow, or the way to it is; and what stands out beside it.
//!
//! Evidence is in nats of a tail that falls as `exp(-evidence)`, so how much of it tells follows from the budget: with `n`
//! series of a point a minute, `60 n exp(-h)` points an hour reach `h` by chance. Edges whose points are alike for a while,
//! or spike, are kept in check by what the state knows of them (`learn::gauges`), and by the mesh's own record once it has
//! one: the largest evidence of each series and hour, pooled. The higher of both bars counts.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_learn::gauges::{Aspect, Bounds, GaugeReading, GaugesJudged};
use selvedge_model::{EdgeKey, EventTime, FindingKind, GaugeKey, Node, Side, Symbol};
use serde::{Deserialize, Serialize};

use crate::calibration::{Budgets, HourlyRecord};
use crate::case::Context;
use crate::draft::Draft;
use crate::rules::RuleSet;
use crate::statistics::RETURN_PERIOD_SECONDS_MAX;

/// Part of the warning budget: of the fifth that the paces of counts leave (`calibration.rs`), a quarter.
const BUDGET_SHARE: f64 = 0.05;
/// Points of a series in an hour.
const POINTS_AN_HOUR: f64 = 60.0;
/// What stood out so lately stands beside a finding: what is ill shows in its own gauges within a few points.
const BESIDE: Duration = Duration::from_mins(3);
/// Gauges of workloads that stood out lately; past it the oldest are forgotten.
const BESIDE_MAX: usize = 1_024;
/// Workloads that were told of lately; past it nothing is told beside further ones.
const ILL_MAX: usize = 1_024;
/// What one window may tell of one workload's own gauges.
const RESOURCES_MAX: usize = 4;

/// What gauges told lately, and the mesh's record of them. Plain data.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Gauged {
    budget_an_hour: f64,
    record: HourlyRecord,
    /// Series that were judged in the last window.
    series: usize,
    /// Workloads of which something was told.
    ill: BTreeMap<Node, EventTime>,
    /// Gauges of workloads that stood out.
    beside: Vec<GaugeReading>,
}

impl Gauged {
    pub(crate) fn new(budgets: Budgets) -> Self {
        Self {
            budget_an_hour: budgets.warnings_an_hour * BUDGET_SHARE,
            record: HourlyRecord::default(),
            series: 1,
            ill: BTreeMap::new(),
            beside: Vec::new(),
        }
    }

    pub(crate) fn configure(&mut self, budgets: Budgets) {
        self.budget_an_hour = budgets.warnings_an_hour * BUDGET_SHARE;
    }

    pub(crate) fn bounds(&mut self, rules: &RuleSet, series: usize) -> Bounds {
        self.series = series.max(1);
        // A kind whose rule is switched off is never evidence of anything.
        let margin = |factor: Option<f64>| factor.map_or(f64::INFINITY, f64::ln);
        let chance = (POINTS_AN_HOUR * as_float(self.series) / self.budget_an_hour).ln();
        Bounds {
            level_margin: margin(rules.latency_high().map(|rule| rule.gauge_factor.0)),
            network_margin: margin(rules.network_delay().map(|rule| rule.factor.0)),
            resource_margin: margin(rules.resource_high().map(|rule| rule.factor.0)),
            evidence: self.record.threshold(self.budget_an_hour).map_or(chance, |record| record.max(chance)),
        }
    }

    /// What is told of a window, edge by edge.
    pub(crate) fn judge(
        &mut self,
        cx: &Context<'_>,
        rules: &RuleSet,
        judged: &GaugesJudged,
    ) -> Vec<(EdgeKey, Draft)> {
        self.record.end_hour(&judged.hour);
        let mut drafts = Vec::new();
        for reading in &judged.readings {
            if !reading.key.of_edge() {
                self.beside.push(*reading);
                continue;
            }
            let draft = match reading.aspect {
                Aspect::Level => latency(cx, rules, reading),
                Aspect::Network => network(cx, rules, reading),
            };
            let Some(mut draft) = draft else { continue };
            draft.return_period_seconds = Some(self.return_period_seconds(reading.evidence));
            if self.ill.len() < ILL_MAX {
                self.ill.insert(reading.key.edge.destination, reading.at);
            }
            drafts.push((reading.key.edge, draft));
        }
        self.tell_beside(cx, &mut drafts);
        drafts
    }

    /// The gauges of ill workloads that stand out the most.
    fn tell_beside(&mut self, cx: &Context<'_>, drafts: &mut Vec<(EdgeKey, Draft)>) {
        let newest = self.beside.iter().map(|reading| reading.at).chain(self.ill.values().copied()).max();
        let now = newest.unwrap_or(EventTime::ABSENT);
        self.ill.retain(|_, at| now.since(*at) <= BESIDE);
        self.beside.retain(|reading| now.since(reading.at) <= BESIDE);
        let over = self.beside.len().saturating_sub(BESIDE_MAX);
        self.beside.drain(..over);
        let ill = &self.ill;
        let of_ill = |reading: &GaugeReading| ill.contains_key(&reading.key.edge.destination);
        let mut told: Vec<GaugeReading> = self.beside.extract_if(.., |reading| of_ill(reading)).collect();
        let name = |reading: &GaugeReading| cx.symbols.resolve(reading.key.name).to_owned();
        told.sort_by(|left, right| {
            let farther = (right.seen / right.usual).total_cmp(&(left.seen / left.usual));
            left.key.edge.cmp(&right.key.edge).then(farther).then_with(|| name(left).cmp(&name(right)))
        });
        let mut before = (EdgeKey::default(), 0);
        for reading in told {
            before =
                if before.0 == reading.key.edge { (before.0, before.1 + 1) } else { (reading.key.edge, 1) };
            if before.1 <= RESOURCES_MAX {
                drafts.push((reading.key.edge, resource(cx, &reading)));
            }
        }
    }

    /// How often so much evidence comes by chance, in a mesh of so many series.
    fn return_period_seconds(&self, evidence: f64) -> f64 {
        (3_600.0 * evidence.exp() / (POINTS_AN_HOUR * as_float(self.series))).min(RETURN_PERIOD_SECONDS_MAX)
    }
}

/// The value of an edge's gauge has grown.
fn latency(cx: &Context<'_>, rules: &RuleSet, reading: &GaugeReading) -> Option<Draft> {
    let rule = rules.latency_high()?;
    let floor = if reading.key.quantile > GaugeKey::MEDIAN { rule.floor_ms.0 } else { rule.gauge_floor_ms.0 };
    let (seen, usual) = grown(reading, floor)?;
    let (caller, callee) = ends(cx, &reading.key.edge);
    let who = if reading.key.side == Side::Server { "callee" } else { "caller" };
    let quantile = quantile(reading.key.quantile);
    let draft = Draft::new(FindingKind::LatencyHigh, reading.onset)
        .subject(who)
        .summary(format!(
            "calls from {caller} to {callee} take {seen} ms at {quantile} as the {who} sees it; usual are {usual} ms"
        ))
        .fact(&format!("latency_ms_{quantile}"), seen, usual)
        .fact("seen_by", who, "")
        .note("metric", cx.symbols.resolve(reading.key.name));
    Some(draft)
}

/// The caller waits for longer than the callee works.
fn network(cx: &Context<'_>, rules: &RuleSet, reading: &GaugeReading) -> Option<Draft> {
    let (seen, usual) = grown(reading, rules.network_delay()?.floor_ms.0)?;
    let (caller, callee) = ends(cx, &reading.key.edge);
    let quantile = quantile(reading.key.quantile);
    let draft = Draft::new(FindingKind::NetworkDelay, reading.onset)
        .summary(format!(
            "{caller} waits {seen} ms longer for {callee} than {callee} works, at {quantile}; usual are {usual} ms: the \
             time is lost between them"
        ))
        .fact(&format!("network_ms_{quantile}"), seen, usual)
        .fact("where", "network", "");
    Some(draft)
}

/// A workload's own gauge stands out while calls to it deviate.
fn resource(cx: &Context<'_>, reading: &GaugeReading) -> Draft {
    let name = cx.symbols.resolve(reading.key.name);
    let workload = reading.key.edge.destination.endpoint(Symbol::NONE, cx.symbols).label();
    let scale = if reading.duration { 1e-6 } else { 1.0 };
    let (seen, usual) = (number(reading.seen * scale), number(reading.usual * scale));
    let unit = if reading.duration { " ms" } else { "" };
    let subject = match reading.key.quantile {
        GaugeKey::PLAIN => name.to_owned(),
        some => format!("{name} {}", quantile(some)),
    };
    Draft::new(FindingKind::ResourceHigh, reading.onset)
        .summary(format!("{subject} of {workload} is {seen}{unit}; usual are {usual}{unit}"))
        .subject(subject)
        .fact(if reading.duration { "gauge_ms" } else { "gauge" }, seen, usual)
}

/// What is seen and usual in milliseconds, when it has grown by `floor_ms`.
fn grown(reading: &GaugeReading, floor_ms: u64) -> Option<(String, String)> {
    let ms = |nanos: f64| nanos.max(0.0) / 1e6;
    let enough = ms(reading.seen) - ms(reading.usual) >= floor_ms as f64;
    enough.then(|| (number(ms(reading.seen)), number(ms(reading.usual))))
}

fn ends(cx: &Context<'_>, edge: &EdgeKey) -> (String, String) {
    (cx.node(&edge.source), cx.node(&edge.destination))
}

/// `p50`, `p99`; `p999` is the 99.9th percentile.
fn quantile(thousandths: u16) -> String {
    match thousandths {
        GaugeKey::PLAIN => "mean".to_owned(),
        whole if whole % 10 == 0 => format!("p{}", whole / 10),
        thousandths => format!("p{thousandths}"),
    }
}

/// Three digits are enough to wake somebody.
fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn as_float(value: usize) -> f64 {
    value as f64
}
