//! The calibrated layer, wired: weeks of simulated windows through baselines and detector.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod weeks;

use std::collections::BTreeSet;
use std::time::Duration;

use selvedge_model::{EventTime, Finding, FindingKind, Severity};
use selvedge_simulate::{Fault, FaultKind, MeshConfig, TelemetryNoise, Tier};

use weeks::{DAY, MINUTE, Weeks};

/// Two weeks to know every edge, some days of record of the mesh, and two to be quiet.
const QUIET_FROM: u32 = 19;
const FAULTS_FROM: u32 = 21;
const FAULTS: [(FaultKind, FindingKind); 4] = [
    (FaultKind::Volume { times: 10.0 }, FindingKind::RequestRateHigh),
    (FaultKind::Vanished, FindingKind::EdgeSilent),
    (FaultKind::Latency { times: 5.0 }, FindingKind::LatencyHigh),
    (FaultKind::Errors { points: 10.0 }, FindingKind::ErrorRateHigh),
];

fn config() -> MeshConfig {
    // No record says yet that its reporter samples, so nothing of it can be known.
    let telemetry = TelemetryNoise { sampling: TelemetryNoise::none().sampling, ..TelemetryNoise::default() };
    MeshConfig { window: MINUTE, telemetry, ..MeshConfig::noisy(211, 24) }
}

/// Runs the mesh with a fault of each kind on an edge of its own, two hours apart, and gives when and where each began.
fn run(parts: usize) -> (Weeks, Vec<(usize, EventTime)>) {
    let mut weeks = Weeks::new(config(), parts);
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

/// Scenario: a noisy mesh is watched for three weeks, with nobody's help; then four edges fall ill, each in its own way.
/// Guarantees: before there is a record, findings are the defaults'; in two quiet days no more is told than the budgets
/// allow; and of each fault there is a finding at page level of its own kind on its own edge, within half an hour.
#[test]
fn faults_are_told_by_the_meshs_own_record_and_quiet_days_stay_quiet() {
    let (weeks, faults) = run(1);
    let start = config().start;
    let day = |finding: &Finding| finding.detected.since(start).as_secs() / DAY.as_secs();
    let behaviour = |finding: &&Finding| finding.kind != FindingKind::NewEdge;
    let early = weeks.findings.iter().filter(|finding| day(finding) < 17);
    assert!(early.clone().all(|finding| !finding.calibrated), "a record of nothing");
    let quiet: Vec<&Finding> = weeks
        .findings
        .iter()
        .filter(|finding| (u64::from(QUIET_FROM)..u64::from(FAULTS_FROM)).contains(&day(finding)))
        .filter(behaviour)
        .collect();
    let hour = |finding: &Finding| finding.detected.0 / 3_600_000_000_000;
    let told: BTreeSet<_> =
        quiet.iter().map(|finding| (hour(finding), finding.kind, finding.edge.clone())).collect();
    let woken: BTreeSet<_> = quiet
        .iter()
        .filter(|finding| finding.severity >= Severity::High)
        .map(|finding| (finding.kind, finding.edge.clone()))
        .collect();
    assert!(told.len() <= 48, "a warning an hour: {told:#?}");
    assert!(woken.len() <= 1, "a page a week: {woken:#?}");
    for ((edge, began), (kind, expected)) in faults.into_iter().zip(FAULTS) {
        let of_edge = weeks.keys[edge].names(&weeks.symbols)[2..6].join(" ");
        let found = weeks.findings.iter().find(|finding| {
            let names = [&finding.edge.source.workload, &finding.edge.destination.workload];
            let here = names.iter().all(|name| of_edge.contains(name.as_str()));
            here && finding.kind == expected
                && finding.severity >= Severity::High
                && (began..began.after(Duration::from_mins(30))).contains(&finding.detected)
        });
        let found = found.unwrap_or_else(|| panic!("nothing of {kind} on {of_edge}"));
        assert!(found.calibrated && found.return_period_seconds.is_some_and(|seconds| seconds > 86_400.0));
        assert!(found.summary.contains("usual"), "{}", found.summary);
    }
}

/// Guarantees: invariant 3 of the design: the calls of a window counted by one, two or eight shards that meet in another
/// order come to the same findings, to the last digit of every score that is told.
#[test]
fn the_number_of_shards_changes_no_finding() {
    let text = |parts| format!("{:#?}", run(parts).0.findings);
    let alone = text(1);
    assert!(alone.contains("calibrated: true"));
    assert!(alone == text(2) && alone == text(8), "findings differ");
}

#[test]
fn zz_debug() {
    let (weeks, faults) = run(1);
    let start = config().start;
    let mut last = std::collections::BTreeMap::new();
    for f in weeks.findings.iter().filter(|f| f.kind != FindingKind::NewEdge) {
        let d = f.detected.since(start).as_secs_f64() / 86400.0;
        let k = (f.kind, f.edge.label(), f.severity);
        let t = f.detected;
        let fresh = last.get(&k).is_none_or(|l: &EventTime| t.since(*l).as_secs() > 3600);
        last.insert(k, t);
        if fresh {
            eprintln!(
                "{d:.3} {:?} {} cal={} rp={:?}h {} | {:?}",
                f.kind,
                f.severity.name(),
                f.calibrated,
                f.return_period_seconds.map(|s| (s / 3600.0) as u64),
                f.summary,
                f.evidence
                    .iter()
                    .map(|e| format!("{}={}/{}", e.name, e.observed, e.baseline))
                    .collect::<Vec<_>>()
            );
        }
    }
    for (e, t) in faults {
        eprintln!(
            "fault {} {:?} {:?}",
            t.since(start).as_secs_f64() / 86400.0,
            weeks.keys[e].names(&weeks.symbols),
            weeks.mesh.edges()[e]
        );
    }
    eprintln!(
        "ns {} bytes {} each",
        weeks.spent.as_nanos() as f64 / weeks.edge_windows as f64,
        weeks.baselines.norms().bytes() / weeks.keys.len()
    );
}
