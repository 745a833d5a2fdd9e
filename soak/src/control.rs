//! Negative controls: calibration broken on purpose. A cap that was never reached proves nothing.

use selvedge_detect::calibration::Admission;

use crate::rig::{DAY, Rig, Tamper};
use crate::table::line;
use crate::{Args, budgets};

/// Noise and sampling change for the whole mesh on the first measured day. False when the bucket did not hold.
pub(crate) fn run(args: &Args) -> bool {
    let mut fine = true;
    for mesh in 0..args.meshes {
        let mut calibrated = Rig::new(args.config(mesh), budgets());
        calibrated.days(7 * args.warm_weeks, &format!("control, seed {}", args.seed + mesh));
        let controls = [
            ("none", Tamper::Nothing),
            ("noise of 100 % a minute", Tamper::Noise(1.0)),
            ("unsaid sampling of one in ten", Tamper::Thin(0.1)),
        ];
        line(
            "| control | findings at page level by day | paged by day | broken or storm | storms | within the cap |",
        );
        line("|---|---|---|---|---|---|");
        for (name, tamper) in controls {
            let mut rig = calibrated.clone();
            (rig.tamper, rig.pages, rig.storms) = (tamper, Vec::new(), 0);
            let start = rig.mesh.now();
            rig.days(7 * args.weeks, &format!("control {name}"));
            let count = |wanted: &dyn Fn(Admission) -> bool| -> Vec<usize> {
                (0..7 * args.weeks)
                    .map(|day| {
                        let on =
                            |at: selvedge_model::EventTime| at.since(start).as_secs() / DAY.as_secs() == day;
                        rig.pages.iter().filter(|page| on(page.at) && wanted(page.admission)).count()
                    })
                    .collect()
            };
            let (all, paged) = (count(&|_| true), count(&|admission| admission == Admission::Page));
            let other = count(&|admission| matches!(admission, Admission::Broken | Admission::Storm));
            let most = 3.0 * budgets().pages_a_week * (args.weeks as f64 + 1.0);
            let held = paged.iter().sum::<usize>() as f64 <= most;
            fine &= held;
            let text = |days: &[usize]| days.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            let (all, paged, other) = (text(&all), text(&paged), other.iter().sum::<usize>());
            line(&format!("| {name} | {all} | {paged} | {other} | {} | {held} |", rig.storms));
        }
    }
    fine
}
