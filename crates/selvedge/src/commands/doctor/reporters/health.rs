//! Refused records, clocks, and silence.

use std::time::Duration;

use selvedge_act::reporter_document::ReporterDocument;
use selvedge_model::ObservedTime;

use super::super::check::{Check, share as percent};
use super::super::report::age;
use super::{RECORDS_MIN, Scene, has_name, label};

/// Clocks that are kept are milliseconds apart, and a record cannot end after it came.
const AHEAD_SECONDS: f64 = 1.0;
/// Past this a record moves nothing (`future_max`).
const AHEAD_SECONDS_MAX: f64 = 10.0;
/// Batching takes seconds: whoever is never faster than this is behind, or held back.
const BEHIND_SECONDS: f64 = 10.0;
/// Past this records are late: their windows are closed.
const BEHIND_SECONDS_MAX: f64 = 40.0;
/// Nobody in a mesh that is used is silent for so long.
const SILENT: Duration = Duration::from_mins(10);
/// From this share of refused records on something is broken, not a record.
const REFUSED_FROM: f64 = 0.01;

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Check> {
    let mut checks = vec![refused(scene), clocks(scene)];
    checks.extend(silent(scene));
    checks
}

fn records(one: &ReporterDocument) -> u64 {
    let logs = one.access_logs.records() + one.connection_logs + one.application_logs;
    one.spans.records() + one.internal_spans + logs + one.metric_points
}

fn refused(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "refused records";
    let mut lines = Vec::new();
    let (mut refused, mut all) = (0, 0);
    for one in scene.reporters {
        let of_it: u64 = one.rejected.values().sum();
        refused += of_it;
        all += of_it + records(one);
        if of_it > 0 {
            let reasons: Vec<String> =
                one.rejected.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
            lines.push(format!("{} ({})", label(&one.workload), reasons.join(", ")));
        }
    }
    if refused == 0 {
        return Check::ok(SUBJECT, "none");
    }
    let text = format!("{refused} ({}): {}", percent(refused, all), lines.join("; "));
    let broken = refused as f64 >= REFUSED_FROM * all as f64;
    let check = if broken { Check::fail(SUBJECT, text) } else { Check::warn(SUBJECT, text) };
    check
        .advise(
            "the sender is told why in each answer (`partial_success`): look at its log, and at the Collector's \
             transformations; findings of `malformed_telemetry` tell of more",
        )
        .blind_to(&["request_rate_high", "error_rate_high", "latency_high"])
}

fn clocks(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "senders' clocks";
    let known: Vec<&ReporterDocument> =
        scene.reporters.iter().filter(|one| records(one) >= RECORDS_MIN).collect();
    let ahead: Vec<_> = known.iter().filter(|one| one.ahead_seconds_max > AHEAD_SECONDS).collect();
    let delay = |one: &ReporterDocument| one.delay_seconds_min.unwrap_or(0.0);
    let behind: Vec<_> = known.iter().filter(|one| delay(one) > BEHIND_SECONDS).collect();
    let most_ahead = ahead.iter().map(|one| one.ahead_seconds_max).fold(0.0, f64::max);
    let most_behind = behind.iter().map(|one| delay(one)).fold(0.0, f64::max);
    let names = |those: &[&&ReporterDocument]| {
        those.iter().take(super::NAMED_MAX).map(|one| label(&one.workload)).collect::<Vec<_>>().join(", ")
    };
    let parts = [
        (!ahead.is_empty())
            .then(|| format!("{} are ahead of ours by up to {most_ahead:.1} s", names(&ahead))),
        (!behind.is_empty())
            .then(|| format!("{} are behind, or held back, by {most_behind:.1} s or more", names(&behind))),
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    if text.is_empty() {
        return Check::ok(SUBJECT, "in step with ours");
    }
    let broken = most_ahead > AHEAD_SECONDS_MAX || most_behind > BEHIND_SECONDS_MAX;
    let check = if broken { Check::fail(SUBJECT, text) } else { Check::warn(SUBJECT, text) };
    let all = known.len() > 1 && (ahead.len() == known.len() || behind.len() == known.len());
    let advice = if all {
        "all senders are off alike: it is this machine's clock, or a queue that everything goes through"
    } else {
        "keep the clocks of their nodes (chrony, systemd-timesyncd); a Collector's queue that is drained looks alike"
    };
    check.advise(advice).blind_to(&["edge_silent", "request_rate_low", "one_sided_call"])
}

fn silent(scene: &Scene<'_>) -> Option<Check> {
    let since = scene.now.before(SILENT);
    let heard = |one: &ReporterDocument| one.heard_unix_nano.map(|heard| ObservedTime(heard.0));
    let silent: Vec<_> = scene
        .reporters
        .iter()
        .filter(|one| has_name(one) && heard(one).is_some_and(|heard| heard < since))
        .collect();
    let latest = silent.iter().filter_map(|one| heard(one)).max()?;
    let named =
        silent.iter().take(super::NAMED_MAX).map(|one| label(&one.workload)).collect::<Vec<_>>().join(", ");
    let text = format!("{} silent for {} or longer: {named}", silent.len(), age(latest, scene.now));
    Some(
        Check::warn("silence", text)
            .advise("idle or removed workloads are silent, too; else look at their exporters, and at the way here")
            .blind_to(&["edge_silent", "telemetry_gap"]),
    )
}
