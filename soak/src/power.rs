//! What is found of injected faults at the thresholds of the promise, and how soon.

use std::time::Duration;

use selvedge_model::EventTime;
use selvedge_simulate::{Fault, FaultKind, Tier};

use crate::rig::{Dice, Rig};
use crate::table::{line, percentile};
use crate::{Args, budgets};

const LASTS: Duration = Duration::from_hours(2);
const TIERS: [(&str, &[Tier]); 5] = [
    (">= 6/min", &[Tier::Steady, Tier::Busy]),
    (">= 60/min", &[Tier::Busy]),
    ("6-60/min", &[Tier::Steady]),
    ("1.2-6/min", &[Tier::Sparse]),
    ("< 1.2/min", &[Tier::Rare]),
];

/// Seconds to the first warning and to the first page of one fault.
#[derive(Clone, Copy)]
struct Outcome {
    tier: Tier,
    warning: Option<f64>,
    page: Option<f64>,
}

/// Every edge gets one fault of each kind, each in a copy of the same calibrated mesh. False when floods of ten times on
/// busy edges are not found.
pub(crate) fn run(args: &Args) -> bool {
    let mut found: Vec<(FaultKind, Vec<Outcome>)> =
        FaultKind::STANDARD.iter().map(|&kind| (kind, Vec::new())).collect();
    for mesh in 0..args.meshes {
        let mut calibrated = Rig::new(args.config(mesh), budgets());
        calibrated.days(7 * args.warm_weeks, &format!("power, seed {}", args.seed + mesh));
        calibrated.calibrating = false;
        crate::null::thresholds(&calibrated);
        for (kind, outcomes) in &mut found {
            outcomes.extend(one_kind(calibrated.clone(), *kind, args.seed + mesh));
        }
    }
    line(&format!("power, {} edges, seeds {}-{}", args.edges, args.seed, args.seed + args.meshes - 1));
    line("| fault | edges | n | warned | median | p95 | paged | median | p95 |");
    line("|---|---|---|---|---|---|---|---|---|");
    for (kind, outcomes) in &found {
        for (name, tiers) in TIERS {
            let of: Vec<Outcome> =
                outcomes.iter().copied().filter(|outcome| tiers.contains(&outcome.tier)).collect();
            let warned: Vec<f64> = of.iter().filter_map(|outcome| outcome.warning).collect();
            let paged: Vec<f64> = of.iter().filter_map(|outcome| outcome.page).collect();
            let (warned, paged) =
                (summary(warned, of.len(), 1.0, "s"), summary(paged, of.len(), 60.0, "min"));
            line(&format!("| {kind} | {name} | {} | {warned} | {paged} |", of.len()));
        }
    }
    let floods = &found[1].1;
    let busy = floods.iter().filter(|outcome| outcome.tier == Tier::Busy);
    busy.clone().filter(|outcome| outcome.page.is_some()).count() * 10 >= busy.count() * 9
}

fn one_kind(mut rig: Rig, kind: FaultKind, seed: u64) -> Vec<Outcome> {
    let begin = rig.mesh.now();
    let mut dice = Dice(seed);
    for edge in 0..rig.norms.len() {
        // After an hour of nothing, spread over a day.
        let start = begin.after(Duration::from_secs_f64(3_600.0 + 86_400.0 * dice.unit()));
        // On a window's edge, so that the first window is all of the fault.
        let start = EventTime(start.0 - start.0 % 60_000_000_000);
        rig.mesh.inject(Fault { kind, edge, start, end: start.after(LASTS) });
        rig.intervals[edge] = (start, start.after(LASTS));
        rig.firsts[edge] = [None; 2];
    }
    while rig.mesh.now().since(begin) < Duration::from_hours(28) {
        rig.step();
    }
    let outcome = |edge: usize| {
        let since =
            |level: usize| rig.firsts[edge][level].map(|at| at.since(rig.intervals[edge].0).as_secs_f64());
        Outcome { tier: rig.mesh.edges()[edge].tier, warning: since(0), page: since(1) }
    };
    (0..rig.norms.len()).map(outcome).collect()
}

fn summary(mut times: Vec<f64>, of: usize, unit: f64, name: &str) -> String {
    let share = 100.0 * times.len() as f64 / of.max(1) as f64;
    // Those that were not found take for ever.
    times.resize(of.max(1), f64::INFINITY);
    let text = |time: Option<f64>| match time {
        Some(time) if time.is_finite() => format!("{:.0} {name}", time / unit),
        _ => "-".to_owned(),
    };
    let (median, late) = (percentile(&mut times, 0.5), percentile(&mut times, 0.95));
    format!("{share:.0} % | {} | {}", text(median), text(late))
}
