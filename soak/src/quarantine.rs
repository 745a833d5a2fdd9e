//! Quarantines that nobody deserves: mode `enforce` over quiet weeks.

use std::collections::BTreeMap;

use selvedge_policy::Change;

use crate::Args;
use crate::rig::DAY;
use crate::shaped::Shaped;
use crate::table::{line, progress, rate};

/// Prints what was cut, and why the rest was not. False when anything was.
pub(crate) fn run(args: &Args) -> bool {
    let mut cuts: BTreeMap<Change, u32> = BTreeMap::new();
    let mut refused: BTreeMap<String, u32> = BTreeMap::new();
    let mut high = 0;
    for mesh in 0..args.meshes {
        let mut shaped = Shaped::new(args, mesh);
        let days = |count: u64| DAY * u32::try_from(count).unwrap_or(u32::MAX);
        let measured = shaped.mesh.now().after(days(7 * args.warm_weeks));
        shaped.until(measured, &mut |_, _| {});
        shaped.containing = true;
        let mut grave = std::collections::BTreeSet::new();
        shaped.until(measured.after(days(7 * args.weeks)), &mut |shaped, told| {
            for change in &told.changes {
                let incident = shaped.correlator.get(change.id());
                if incident.is_some_and(|one| one.severity >= selvedge_model::Severity::High) {
                    grave.insert(change.id().to_owned());
                }
            }
        });
        high += u32::try_from(grave.len()).unwrap_or(u32::MAX);
        for cut in &shaped.cuts {
            *cuts.entry(cut.change).or_default() += 1;
            let day = cut.at.since(measured).as_secs() / DAY.as_secs();
            progress(&format!(
                "seed {} day {day}: {}: {} ({})",
                args.seed + mesh,
                cut.change.name(),
                cut.reason,
                cut.led_by.join(", ")
            ));
        }
        for (name, count) in shaped.refused {
            *refused.entry(name).or_default() += count;
        }
        progress(&format!("seed {}: done, {} cuts", args.seed + mesh, shaped.cuts.len()));
    }
    let weeks = (args.weeks * args.meshes) as f64;
    let last = args.seed + args.meshes - 1;
    line(&format!(
        "| false quarantines at `enforce` | {} edges, seeds {}-{last}, {weeks} mesh-weeks, windows of {} s |",
        args.edges, args.seed, args.window
    ));
    line("|---|---|");
    let all: u32 = cuts.values().sum();
    line(&format!("| cut, a year | {all}: {} |", rate(all, weeks / 52.18)));
    for (change, count) in &cuts {
        line(&format!("| {} | {count} |", change.name()));
    }
    line(&format!("| incidents of severity high or worse, a week | {} |", rate(high, weeks)));
    for (name, count) in &refused {
        line(&format!("| refused: {name} | {count} |"));
    }
    all == 0
}
