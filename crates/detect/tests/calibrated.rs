//! The calibrated layer, wired: weeks of simulated windows through baselines and detector.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod weeks;

use std::collections::BTreeSet;
use std::time::Duration;

use selvedge_model::{EventTime, Finding, FindingKind, Severity};
use selvedge_simulate::{Fault, FaultKind, MeshConfig, TelemetryNoise, Tier};

use weeks::{DAY, MINUTE, Weeks};

/// Two weeks to know every edge, some days of record of the mesh (a hundred of its edges), and two days to be quiet.
const RECORD_FROM: u32 = 17;
const QUIET_FROM: u32 = 18;
const FAULTS_FROM: u32 = 20;
const FAULTS: [(FaultKind, FindingKind); 4] = [
    (FaultKind::Volume { times: 10.0 }, FindingKind::RequestRateHigh),
    (FaultKind::Vanished, FindingKind::EdgeSilent),
    (FaultKind::Latency { times: 5.0 }, FindingKind::LatencyHigh),
    (FaultKind::Errors { points: 10.0 }, FindingKind::ErrorRateHigh),
];
/// Pages that a full bucket holds, at the default budget of one a week, and what it gains in these days.
const PAGES_MAX: usize = 5;

fn config() -> MeshConfig {
    // No record says yet that its reporter samples, so nothing of it can be known.
    let telemetry = TelemetryNoise { sampling: TelemetryNoise::none().sampling, ..TelemetryNoise::default() };
    MeshConfig { window: MINUTE, telemetry, ..MeshConfig::noisy(211, 36) }
}

/// Runs the mesh with a fault of each kind on an edge of its own, two hours apart; gives when and where each began.
fn run(shards: &[usize]) -> (Weeks, Vec<(usize, EventTime)>) {
    let mut weeks = Weeks::new(config(), shards);
    let start = weeks.mesh.now();
    let steady: Vec<usize> =
        (0..weeks.keys.len()).filter(|&edge| weeks.mesh.edges()[edge].tier >= Tier::Steady).collect();
    let mut faults = Vec::new();
    for (number, (kind, _)) in (0_u32..).zip(FAULTS) {
        let edge = steady[number as usize];
        let start = start.after(DAY * FAULTS_FROM + Duration::from_hours(8 + 2 * u64::from(number)));
        weeks.mesh.inject(Fault { kind, edge, start, end: start.after(Duration::from_hours(1)) });
        faults.push((edge, start));
    }
    weeks.run_until(start.after(DAY * FAULTS_FROM + Duration::from_hours(16)));
    (weeks, faults)
}

fn day(finding: &Finding) -> u32 {
    u32::try_from(finding.detected.since(config().start).as_secs() / DAY.as_secs()).unwrap()
}

/// Findings of behaviour by the hour, kind and edge: those of one hour are one to a person.
fn told<'a>(findings: impl Iterator<Item = &'a Finding>) -> BTreeSet<(u64, FindingKind, String)> {
    let of_behaviour = findings.filter(|finding| finding.kind != FindingKind::NewEdge);
    of_behaviour
        .map(|finding| (finding.detected.0 / 3_600_000_000_000, finding.kind, finding.edge.label()))
        .collect()
}

/// Scenario: a noisy mesh is watched for three weeks, with nobody's help, by three engines of one, two and eight shards,
/// which meet in another order; then four edges fall ill, each in its own way.
/// Guarantees: before there is a record, findings are the defaults'; in two quiet days no more is told than the budgets
/// allow; of each fault there is a finding of page level of its own kind on its own edge within half an hour, which wakes
/// somebody unless the bucket is empty; and all engines say the same, to the last digit.
#[test]
fn faults_are_told_by_the_meshs_own_record_and_quiet_days_stay_quiet() {
    let (weeks, faults) = run(&[1, 2, 8]);
    let all = |engine: usize| format!("{:#?}", weeks.engines[engine].findings);
    assert!(all(0) == all(1) && all(0) == all(2), "the number of shards changes findings");
    let findings = &weeks.engines[0].findings;
    assert!(findings.iter().filter(|of| day(of) < RECORD_FROM).all(|of| !of.calibrated), "by no record");
    let quiet = findings.iter().filter(|of| (QUIET_FROM..FAULTS_FROM).contains(&day(of)));
    let warnings = told(quiet.clone());
    assert!(warnings.len() <= 48, "more than a warning an hour: {warnings:#?}");
    let pages = told(quiet.filter(|of| of.severity >= Severity::High));
    let paged: BTreeSet<_> = pages.iter().map(|(.., edge)| edge).collect();
    assert!(paged.len() <= 1, "more than a page a week: {pages:#?}");
    for ((edge, began), (kind, expected)) in faults.into_iter().zip(FAULTS) {
        let key = weeks.keys[edge];
        let label = key.edge(key.source.workload, key.destination.workload, &weeks.symbols).label();
        let in_time = |at: EventTime| began <= at && at < began.after(Duration::from_mins(30));
        let found = findings.iter().find(|of| {
            let held_back = || of.evidence.iter().any(|fact| fact.observed == "the budget of pages is spent");
            let page = of.severity >= Severity::High || held_back();
            of.kind == expected && of.edge.label() == label && page && in_time(of.detected)
        });
        let found = found.unwrap_or_else(|| panic!("nothing of {kind} on {label}"));
        let week = 7.0 * DAY.as_secs_f64();
        assert!(found.calibrated && found.return_period_seconds.unwrap() >= week, "{found:#?}");
        assert!(found.summary.contains("usual"), "{}", found.summary);
    }
    let woken = told(findings.iter().filter(|of| of.calibrated && of.severity >= Severity::High));
    let edges: BTreeSet<_> = woken.iter().map(|(.., edge)| edge).collect();
    assert!((2..=PAGES_MAX).contains(&edges.len()), "the bucket of pages: {woken:#?}");
}
