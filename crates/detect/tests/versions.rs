//! What a version is worth: a deployment excuses what changes with it, and an attack that says new versions is told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod weeks;

use std::collections::BTreeSet;
use std::time::Duration;

use selvedge_learn::versions::Versions;
use selvedge_model::{EventTime, Finding, Severity};
use selvedge_simulate::{Fault, FaultKind, MeshConfig, TelemetryNoise, Tier};

use weeks::{Claim, DAY, MINUTE, Weeks};

const HOUR: Duration = Duration::from_hours(1);
/// The mesh has a record by then.
const FROM: u32 = 19;
/// Engines: one hears no version, one hears them, one hears another one each minute beside them.
const SILENT: usize = 0;
const HEARS: usize = 1;
const FLOODED: usize = 2;

fn config() -> MeshConfig {
    let telemetry = TelemetryNoise { sampling: TelemetryNoise::none().sampling, ..TelemetryNoise::default() };
    let mut config = MeshConfig { window: MINUTE, telemetry, ..MeshConfig::noisy(331, 36) };
    // Only those of the test: with others the allowance of a service would be a matter of the seed.
    config.events.deployments_a_day = 0.0;
    config
}

/// A change of one edge, from a time on.
#[derive(Clone, Copy)]
struct Changed {
    edge: usize,
    kind: FaultKind,
    at: EventTime,
    lasts: Duration,
}

/// Calls of one edge of each of several callees, busy enough to be judged within minutes.
fn edges_apart(weeks: &Weeks) -> Vec<usize> {
    let mut callees = BTreeSet::new();
    let specs = weeks.mesh.edges().iter().enumerate();
    let steady = specs.filter(|(_, spec)| Tier::Steady <= spec.tier);
    steady.filter(|(_, spec)| callees.insert(spec.callee)).map(|(edge, _)| edge).collect()
}

/// How long after it began a change was told above `low`, on its own edge, while it lasted.
fn told_after(weeks: &Weeks, engine: usize, changed: &Changed) -> Option<Duration> {
    let key = weeks.keys[changed.edge];
    let label = key.edge(key.source.workload, key.destination.workload, &weeks.symbols).label();
    let until = changed.at.after(changed.lasts);
    let within = |of: &&Finding| {
        let in_time = changed.at <= of.detected && of.detected < until;
        of.edge.label() == label && Severity::Medium <= of.severity && in_time
    };
    let first = weeks.engines[engine].findings.iter().find(within);
    first.map(|of| of.detected.since(changed.at))
}

/// Injects one change after the other, three hours apart.
fn inject(weeks: &mut Weeks, kinds: [FaultKind; 4], from: EventTime, lasts: Duration) -> Vec<Changed> {
    let places = (0_u32..).zip(edges_apart(weeks));
    let change = |(number, edge): (u32, usize)| Changed {
        edge,
        kind: kinds[number as usize % kinds.len()],
        at: from.after(HOUR * 3 * number),
        lasts,
    };
    let changes: Vec<Changed> = places.map(change).collect();
    for Changed { edge, kind, at, lasts } in &changes {
        weeks.mesh.inject(Fault { kind: *kind, edge: *edge, start: *at, end: at.after(*lasts) });
    }
    changes
}

/// Scenario: a noisy mesh of three weeks. On the twentieth day eight services are deployed, one after the other, and are slower,
/// or get more requests, from then on. Two days later an edge to each of them falls ill for an hour. One engine hears no
/// version. One hears them, and at the beginning of each illness somebody says once in the service's name that it was deployed.
/// One hears them, and somebody says another version each minute, for nine days.
/// Guarantees: at least half of what deployments changed is told where no version is heard, and nothing of it in two hours where
/// they are; whoever says versions all the time is excused nothing; and gross faults are told within ten minutes whatever
/// anybody says.
#[test]
fn deployments_excuse_what_they_shift_and_no_attack_that_says_new_versions() {
    let mut weeks = Weeks::new(config(), &[1, 1, 1]);
    for engine in [HEARS, FLOODED] {
        weeks.engines[engine].versions = Some(Versions::default());
    }
    let begin = weeks.mesh.now().after(DAY * FROM);
    let shifts = [
        FaultKind::Latency { times: 2.0 },
        FaultKind::Volume { times: 2.5 },
        FaultKind::Latency { times: 1.8 },
        FaultKind::Volume { times: 2.5 },
    ];
    let deployed = inject(&mut weeks, shifts, begin.after(HOUR * 4), HOUR * 2);
    for change in &deployed {
        weeks.mesh.deploy(weeks.mesh.edges()[change.edge].callee, change.at);
    }
    let gross = [
        FaultKind::Volume { times: 10.0 },
        FaultKind::Errors { points: 10.0 },
        FaultKind::Latency { times: 5.0 },
        FaultKind::Vanished,
    ];
    let attacked = inject(&mut weeks, gross, begin.after(HOUR * 48), HOUR);
    for Changed { edge, at, lasts, .. } in &attacked {
        let (service, until) = (weeks.mesh.edges()[*edge].callee, at.after(*lasts));
        weeks.engines[HEARS].claims.push(Claim { service, from: *at, until, each_minute: false });
        let from = at.before(DAY * 9);
        weeks.engines[FLOODED].claims.push(Claim { service, from, until, each_minute: true });
    }
    let last = attacked.last().unwrap();
    weeks.run_until(last.at.after(last.lasts));

    let of = |engine: usize, changes: &[Changed]| -> Vec<(String, Option<u64>)> {
        let minutes = |changed| told_after(&weeks, engine, changed).map(|after| after.as_secs() / 60);
        changes.iter().map(|changed| (changed.kind.to_string(), minutes(changed))).collect()
    };
    let count = |told: &[(String, Option<u64>)]| told.iter().filter(|(_, after)| after.is_some()).count();
    let [silent, hears, flooded] = [SILENT, HEARS, FLOODED].map(|engine| of(engine, &deployed));
    assert!(deployed.len() == 8 && count(&silent) >= 4, "without versions: {silent:?}");
    assert_eq!(count(&hears), 0, "with versions: {hears:?}");
    assert!(count(&flooded) >= 4, "under a flood of versions: {flooded:?}");
    for engine in [SILENT, HEARS, FLOODED] {
        let told = of(engine, &attacked);
        let in_time = |(_, after): &(String, Option<u64>)| after.is_some_and(|minutes| minutes <= 10);
        assert!(told.iter().all(in_time), "engine {engine}: {told:?}");
    }
}
