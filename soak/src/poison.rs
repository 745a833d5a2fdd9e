//! Teaching a baseline what it should not know: slow ramps, and an attacker who sees every score.

use std::time::Duration;

use selvedge_detect::calibration::{Level, Pace};
use selvedge_model::{EventTime, Measure, MeasureClass};
use selvedge_simulate::{Fault, FaultKind, Tier};

use crate::rig::{DAY, Rig, Tamper};
use crate::table::{line, percentile};
use crate::{Args, budgets};

const RAMPS: [f64; 4] = [2.0, 3.0, 5.0, 8.0];
/// A ramp is caught if it is found before this factor.
const CAUGHT: f64 = 6.5;
/// Every fifth edge is attacked, as if it were the only one.
const ATTACKED: usize = 5;

/// Prints both tables.
pub(crate) fn run(args: &Args) -> bool {
    let mut calibrated = Rig::new(args.config(0), budgets());
    calibrated.days(7 * args.warm_weeks, &format!("poison, seed {}", args.seed));
    let steady = |edge: usize| calibrated.mesh.edges()[edge].tier >= Tier::Steady;
    let attacked: Vec<usize> = (0..args.edges).filter(|&edge| steady(edge)).step_by(ATTACKED).collect();
    for &edge in &attacked {
        calibrated.excluded[edge] = true;
    }
    ramps(calibrated.clone(), &attacked);
    white_box(calibrated, &attacked);
    true
}

fn ramps(mut rig: Rig, attacked: &[usize]) {
    let start = rig.mesh.now();
    let percent = |index: usize| RAMPS[index % RAMPS.len()];
    for (index, &edge) in attacked.iter().enumerate() {
        let kind = FaultKind::Ramp { percent_a_day: percent(index), times_max: 20.0 };
        rig.mesh.inject(Fault { kind, edge, start, end: EventTime(u64::MAX) });
        rig.intervals[edge] = (start, EventTime(u64::MAX));
        rig.firsts[edge] = [None; 2];
    }
    rig.days(96, "ramps");
    line("| ramp | edges | paged before x6.5 | median factor | median day |");
    line("|---|---|---|---|---|");
    for ramp in RAMPS {
        let of: Vec<usize> =
            (0..attacked.len()).filter(|&index| (percent(index) - ramp).abs() < 1e-9).collect();
        let found = of.iter().filter_map(|&index| rig.firsts[attacked[index]][1]);
        let mut days: Vec<f64> = found.map(|at| at.since(start).as_secs_f64() / DAY.as_secs_f64()).collect();
        let growth = 1.0 + ramp / 100.0;
        days.retain(|&day| growth.powf(day) < CAUGHT);
        let share = 100.0 * days.len() as f64 / of.len().max(1) as f64;
        let median = percentile(&mut days, 0.5).unwrap_or(f64::NAN);
        line(&format!(
            "| {ramp} %/day | {} | {share:.0} % | x{:.1} | {median:.0} |",
            of.len(),
            growth.powf(median)
        ));
    }
}

/// Every minute it goes a little higher while its score is far below the threshold, and back as soon as it is near: it
/// never pages. What it holds on average over a day is what it reached.
fn white_box(mut rig: Rig, attacked: &[usize]) {
    let mut factors = vec![1.0_f64; rig.norms.len()];
    let mut sums = vec![0.0_f64; rig.norms.len()];
    let mut reached = vec![0.0_f64; rig.norms.len()];
    let start = rig.mesh.now();
    rig.pages.clear();
    line("| white-box attacker | median factor held | p95 | largest | paged |");
    line("|---|---|---|---|---|");
    let mut minutes = 0.0;
    loop {
        rig.tamper = Tamper::Factor(factors.clone());
        let window = rig.step();
        if window.end.0.is_multiple_of(60_000_000_000) {
            minutes += 1.0;
            let page = rig
                .calibration
                .threshold(Pace::Slow, MeasureClass::Volume, Level::Page)
                .min(rig.calibration.threshold(Pace::Slow, MeasureClass::Bytes, Level::Page));
            for &edge in attacked {
                let drift = |measure| rig.norms[edge].drift(measure) / rig.calibration.drift_bar().ln();
                // A base follows by a seventh a day: it goes back in time.
                let drift = drift(Measure::Requests).max(drift(Measure::SentKib));
                let part = if drift > 0.85 { 0.5 } else { rig.volume_now[edge] / page };
                let step = if part > 0.6 {
                    0.7
                } else if part > 0.2 {
                    0.98
                } else {
                    1.001
                };
                factors[edge] = (factors[edge] * step).max(1.0);
                sums[edge] += factors[edge];
            }
        }
        if !window.end.0.is_multiple_of(86_400_000_000_000) {
            continue;
        }
        for &edge in attacked {
            reached[edge] = reached[edge].max(std::mem::take(&mut sums[edge]) / minutes);
        }
        minutes = 0.0;
        let day = window.end.since(start).as_secs() / Duration::from_hours(24).as_secs();
        if [7, 30, 90].contains(&day) {
            let mut held: Vec<f64> = attacked.iter().map(|&edge| reached[edge]).collect();
            let paged =
                attacked.iter().filter(|&&edge| rig.pages.iter().any(|page| page.edge == edge)).count();
            let of = |held: &mut [f64], p| percentile(held, p).unwrap_or(f64::NAN);
            let (median, late, most) = (of(&mut held, 0.5), of(&mut held, 0.95), of(&mut held, 1.0));
            line(&format!(
                "| {day} days | x{median:.1} | x{late:.1} | x{most:.1} | {paged} of {} |",
                attacked.len()
            ));
        }
        if 90 <= day {
            return;
        }
    }
}
