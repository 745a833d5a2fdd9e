//! Refused records, clocks, and silence.

use selvedge_act::reporter_document::ReporterDocument;
use selvedge_model::ObservedTime;

use super::super::check::{Check, share as percent};
use super::super::report::age;
use super::{RECORDS_MIN, Scene, has_name, heard_at, label, some, too_few};

/// Clocks that are kept are milliseconds apart, and a record cannot end after it came.
const AHEAD_SECONDS: f64 = 1.0;
/// Batching takes seconds: whoever is never faster than this is behind, or held back.
const BEHIND_SECONDS: f64 = 10.0;
/// From this share of refused records on something is broken, not a record.
const REFUSED_FROM: f64 = 0.01;

pub(super) fn judge(scene: &Scene<'_>) -> Vec<Check> {
    let mut checks = vec![refused(scene), clocks(scene)];
    checks.extend(silent(scene));
    checks.extend(crowded(scene));
    checks
}

fn refused(scene: &Scene<'_>) -> Check {
    const SUBJECT: &str = "refused records";
    let mut lines = Vec::new();
    let (mut refused, mut all) = (0, 0);
    for one in scene.reporters {
        let of_it: u64 = one.rejected.values().sum();
        refused += of_it;
        all += of_it + one.records();
        if of_it > 0 {
            let reasons: Vec<String> =
                one.rejected.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
            lines.push(format!("{} ({})", label(&one.workload), reasons.join(", ")));
        }
    }
    if refused == 0 {
        return Check::ok(SUBJECT, "none");
    }
    let text = format!("{refused} ({}): {}", percent(refused, all), some(&lines, "; "));
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
    let known = told(scene.reporters);
    if known.is_empty() {
        return too_few(SUBJECT);
    }
    let (ahead_max, behind_max) =
        (scene.bounds.ahead_max.as_secs_f64(), scene.bounds.behind_max.as_secs_f64());
    let ahead: Vec<_> = known.iter().filter(|one| one.ahead_seconds_max > AHEAD_SECONDS).collect();
    let delay = |one: &ReporterDocument| one.delay_seconds_min.unwrap_or(0.0);
    let behind: Vec<_> = known.iter().filter(|one| delay(one) > BEHIND_SECONDS.min(behind_max)).collect();
    let most_ahead = ahead.iter().map(|one| one.ahead_seconds_max).fold(0.0, f64::max);
    let most_behind = behind.iter().map(|one| delay(one)).fold(0.0, f64::max);
    let names = |those: &[&&ReporterDocument]| {
        some(&those.iter().map(|one| label(&one.workload)).collect::<Vec<_>>(), ", ")
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
    let broken = most_ahead > ahead_max || most_behind > behind_max;
    let check = if broken { Check::fail(SUBJECT, text) } else { Check::warn(SUBJECT, text) };
    let all = known.len() > 1 && (ahead.len() == known.len() || behind.len() == known.len());
    let advice = if all {
        "all senders are off alike: it is this machine's clock, or a queue that everything goes through"
    } else {
        "keep the clocks of their nodes (chrony, systemd-timesyncd); a Collector's queue that is drained looks alike"
    };
    check.advise(advice).blind_to(&["edge_silent", "request_rate_low", "one_sided_call"])
}

/// Those of whose clocks something can be told; when all bring little, all of them.
fn told(reporters: &[ReporterDocument]) -> Vec<&ReporterDocument> {
    let timed = |one: &&ReporterDocument| one.delay_seconds_min.is_some() || one.ahead_seconds_max > 0.0;
    let timed: Vec<_> = reporters.iter().filter(timed).collect();
    let many: Vec<_> = timed.iter().copied().filter(|one| one.records() >= RECORDS_MIN).collect();
    let all: u64 = timed.iter().map(|one| one.records()).sum();
    if many.is_empty() && all >= RECORDS_MIN { timed } else { many }
}

/// Not one is heard any more.
pub(super) fn all_silent(latest: ObservedTime, now: ObservedTime) -> Check {
    let text = format!("nobody was heard for {}: all of the mesh is silent", age(latest, now));
    Check::fail("telemetry", text)
        .advise("look at the way here first: a Collector, a network policy, a port; then at the proxies' exporters")
        .blind_to(&["edge_silent", "telemetry_gap", "request_rate_low"])
}

fn silent(scene: &Scene<'_>) -> Option<Check> {
    let is_silent =
        |one: &&ReporterDocument| has_name(one) && heard_at(one).is_some_and(|at| scene.is_silent(at));
    let silent: Vec<_> = scene.reporters.iter().filter(is_silent).collect();
    let latest = silent.iter().filter_map(|one| heard_at(one)).max()?;
    let named: Vec<String> = silent.iter().map(|one| label(&one.workload)).collect();
    let (count, since) = (silent.len(), age(latest, scene.now));
    Some(
        Check::warn("silence", format!("{count} silent for {since} or longer: {}", some(&named, ", ")))
            .advise("idle or removed workloads are silent, too; else look at their exporters, and at the way here")
            .blind_to(&["edge_silent", "telemetry_gap"]),
    )
}

/// More names than there is room for.
fn crowded(scene: &Scene<'_>) -> Option<Check> {
    let text = match scene.uncounted {
        0 => return None,
        count => format!("no room for more workloads: {count} records and edges are counted for nobody here"),
    };
    Some(Check::warn("room", text).advise(
        "find out who sends so many names (the table has the fullest; findings of `cardinality` name \
         them); what is said here is of the others",
    ))
}
