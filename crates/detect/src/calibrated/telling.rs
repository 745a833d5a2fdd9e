//! What the calibrated layer says to people: what is now, what is usual at this time, in units that they know.

use std::time::Duration;

use selvedge_learn::normal::{Drift, Reading, Seen};
use selvedge_learn::{EdgeBaseline, Tally};
use selvedge_model::{FindingKind, Measure, MeasureClass, Severity, Symbol, SymbolTable, Window};

use super::Exceeding;
use crate::behaviour::{EdgeCase, as_f64, failures};
use crate::case::{Context, human};
use crate::draft::Draft;

/// Rates below this are told by the minute: nobody imagines 0.02 requests a second.
const PER_SECOND_MIN: f64 = 1.0;

/// The finding about an edge, before its severity.
pub(super) fn of_edge(case: &EdgeCase<'_>, one: &Exceeding<'_>) -> Draft {
    let mut draft = match (one.kind, one.measure) {
        (FindingKind::EdgeSilent, _) => silent(case),
        (FindingKind::LatencyHigh, Some(measure)) => latency(case, measure, &one.seen),
        (FindingKind::ErrorRateHigh, Some(measure)) => errors(case, one.reading, measure, &one.seen),
        (FindingKind::BytesHigh, _) => bytes(case, &one.seen),
        (kind, _) => requests(case, kind, &one.seen),
    };
    let days = case.cx.baselines.norms().norm(&case.key).map_or(0, |norm| norm.days());
    draft = draft.note("usual_is_from", &format!("{days} days of this edge"));
    if let Some(known) = case.known {
        name_ends(&mut draft, known, case.cx.symbols);
    }
    draft
}

/// An edge has become another one, slowly.
pub(super) fn of_drift(cx: &Context<'_>, drift: &Drift, now: selvedge_model::EventTime) -> Draft {
    let end = |node: selvedge_model::Node| node.endpoint(Symbol::NONE, cx.symbols).label();
    let (what, kind) = match drift.measure.class() {
        MeasureClass::Bytes => ("bytes", FindingKind::BytesHigh),
        _ => ("requests", FindingKind::RequestRateHigh),
    };
    let (caller, callee) = (end(drift.key.source), end(drift.key.destination));
    let times = number(drift.times);
    let mut draft = Draft::new(kind, now)
        .subject("drift")
        .summary(format!(
            "{caller} sends {callee} {times} times the {what} it did weeks ago, after a slow climb"
        ))
        .fact("times_the_trusted_level", times, 1);
    if let Some(known) = cx.baselines.edge(&drift.key) {
        name_ends(&mut draft, known, cx.symbols);
    }
    draft
}

/// Many edges deviate at once.
pub(super) fn of_storm(kind: FindingKind, window: Window, deviating: usize, edges: usize) -> Draft {
    let draft = Draft::new(kind, window.start)
        .subject("mesh")
        .summary(format!(
            "{deviating} of {edges} edges deviate at once: what they share is ill, or their telemetry is"
        ))
        .fact("edges_deviating", deviating, "")
        .fact("edges", edges, "");
    draft.grade(Severity::High, "", None)
}

/// The record does not resemble the present.
pub(super) fn of_broken(kind: FindingKind, window: Window) -> Draft {
    let draft = Draft::new(kind, window.start).subject("mesh").summary(
        "so many edges deviate within a day that the mesh has changed; behaviour wakes nobody until midnight (UTC), \
         when thresholds follow"
            .to_owned(),
    );
    draft.grade(Severity::High, "", None)
}

fn requests(case: &EdgeCase<'_>, kind: FindingKind, seen: &Seen) -> Draft {
    let (now, usual) = (seen.counted / seen.exposure.max(1e-9), seen.usual / seen.exposure.max(1e-9));
    let (unit, name, per) = match now.max(usual) {
        rate if rate < PER_SECOND_MIN => ("a minute", "requests_per_minute", 60.0),
        _ => ("a second", "requests_per_second", 1.0),
    };
    let (now, usual) = (number(now * per), number(usual * per));
    case.draft(kind, &|_, _| true)
        .summary(format!(
            "{} sends {} {now} requests {unit}; usual at this time are {usual}",
            case.caller(),
            case.callee()
        ))
        .fact(name, now, usual)
}

fn silent(case: &EdgeCase<'_>) -> Draft {
    let norm = case.cx.baselines.norms().norm(&case.key);
    let (silent, expected) = norm.map_or((Duration::ZERO, 0.0), |norm| norm.silent());
    let expected = number(expected);
    let mut draft = case.draft(FindingKind::EdgeSilent, &|_, _| true).summary(format!(
        "{} sent {} no request for {}; at least {expected} are usual in that time, and its proxies report",
        case.caller(),
        case.callee(),
        human(silent)
    ));
    draft.onset = case.window.end.before(silent);
    draft.fact("requests", 0, expected).fact("silent_seconds", silent.as_secs(), "")
}

fn bytes(case: &EdgeCase<'_>, seen: &Seen) -> Draft {
    let a_second = |kib: f64| format!("{:.0}", 1_024.0 * kib / seen.exposure.max(1e-9));
    let (now, usual) = (a_second(seen.counted), a_second(seen.usual));
    case.draft(FindingKind::BytesHigh, &|_, _| true)
        .subject("request")
        .summary(format!(
            "{} sends {} {now} bytes a second; usual at this time are {usual}",
            case.caller(),
            case.callee()
        ))
        .fact("request_bytes_per_second", now, usual)
}

fn latency(case: &EdgeCase<'_>, measure: Measure, seen: &Seen) -> Draft {
    let cuts = case.cx.baselines.norms().cuts(&case.key).map_or([0; 4], |cuts| cuts.nanos());
    let (what, limit, own) = match measure {
        Measure::OverMedian => ("usual median", cuts[0], 0),
        Measure::OverQ90 => ("usual 90th percentile", cuts[1], 1),
        Measure::OverQ99 => ("usual 99th percentile", cuts[2], 2),
        _ => ("double of the usual 99th percentile", cuts[3], 2),
    };
    let share = |count: f64| number(100.0 * count / seen.exposure.max(1.0));
    let (now, usual) = (share(seen.counted), share(seen.usual));
    let ms = |nanos: u64| number(as_f64(nanos) / 1e6);
    let draft = case
        .draft(FindingKind::LatencyHigh, &|_, stats| stats.latency.count_above(limit) > 0)
        .summary(format!(
            "{now} % of the calls from {} to {} take longer than {} ms, the {what}; usual are {usual} %",
            case.caller(),
            case.callee(),
            ms(limit)
        ));
    let latency = case.edge.latency();
    let quantiles = [("latency_ms_p50", 0.5), ("latency_ms_p90", 0.9), ("latency_ms_p99", 0.99)];
    let in_ms = |draft: Draft, which: usize| {
        let (name, quantile) = quantiles[which];
        let nanos = latency.quantile(quantile);
        nanos.map(|nanos| draft.clone().fact(name, ms(nanos), ms(cuts[which]))).unwrap_or(draft)
    };
    let in_percent = |draft: Draft| draft.fact("slow_calls_percent", now, usual);
    // The first fact stands in the title of an incident: milliseconds where this window shows it, else the share.
    let shows = latency.quantile(quantiles[own].1).is_some_and(|nanos| cuts[own] < nanos);
    let draft = if shows { in_percent(in_ms(draft, own)) } else { in_ms(in_percent(draft), own) };
    (0..quantiles.len()).filter(|which| *which != own).fold(draft, in_ms)
}

fn errors(case: &EdgeCase<'_>, reading: &Reading, measure: Measure, seen: &Seen) -> Draft {
    let share = |count: f64| number(100.0 * count / seen.exposure.max(1.0));
    let (now, usual) = (share(seen.counted), share(seen.usual));
    let (what, refused) = match measure {
        Measure::ClientErrors => ("are refused (4xx)", true),
        _ => ("fail", false),
    };
    case.draft(FindingKind::ErrorRateHigh, &|shape, _| if refused { shape.refused() } else { shape.failed() })
        .subject(if refused { "refused" } else { "" })
        .summary(format!(
            "{now} % of the calls from {} to {} {what}; usual are {usual} %",
            case.caller(),
            case.callee()
        ))
        .fact("failed_calls_percent", now, usual)
        .fact("failed_calls", reading.counts.count(measure), "")
        .note("failures", &failures(case))
}

/// A window without calls tells nothing of identities: then those that the edge usually has are named.
fn name_ends(draft: &mut Draft, known: &EdgeBaseline, symbols: &SymbolTable) {
    let usual = |tally: &Tally<Symbol>| {
        let by_calls = |(name, calls): &(Symbol, u64)| (*calls, std::cmp::Reverse(symbols.resolve(*name)));
        tally.iter().max_by_key(by_calls).map_or(Symbol::NONE, |(name, _)| name)
    };
    if !draft.source_principal.present() {
        draft.source_principal = usual(&known.source_principals);
    }
    if !draft.destination_principal.present() {
        draft.destination_principal = usual(&known.destination_principals);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let told = [1_234.6, 100.0, 99.94, 10.0, 9.999, 0.012].map(number);
        assert_eq!(told, ["1235", "100", "99.9", "10.0", "10.00", "0.01"]);
    }
}
