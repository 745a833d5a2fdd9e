//! False pages per mesh-week when nothing is wrong: the promise.

use selvedge_detect::calibration::{Admission, Level, Pace};
use selvedge_model::MeasureClass;

use crate::rig::{DAY, Page, Rig};
use crate::table::{line, poisson_interval, rate};
use crate::{Args, budgets};

/// Runs the meshes and prints the tables; false when the false pages are surely over the budget.
pub(crate) fn run(args: &Args) -> bool {
    let mut pages: Vec<(u64, Page)> = Vec::new();
    let mut warnings = [[0_u32; 5]; 2];
    let (mut detect, mut simulate, mut edge_windows, mut storms) = (0.0, 0.0, 0_u64, 0);
    for mesh in 0..args.meshes {
        let mut rig = Rig::new(args.config(mesh), budgets());
        let what = format!("null, seed {}, {} edges", args.seed + mesh, args.edges);
        rig.days(7 * args.warm_weeks, &what);
        report_early(&rig);
        let start = rig.mesh.now();
        (rig.pages, rig.warnings, rig.storms) = (Vec::new(), [[0; 5]; 2], 0);
        rig.days(7 * args.weeks, &what);
        for page in &rig.pages {
            let day = page.at.since(start).as_secs() / DAY.as_secs();
            pages.push((day, *page));
            let rate = rig.mesh.edges()[page.edge].usual_rate;
            crate::table::progress(&format!(
                "  day {day}: {:?} edge {} ({rate:.4}/s) score {:.1}, {:?}",
                page.class, page.edge, page.score, page.admission
            ));
        }
        for (sums, mine) in warnings.iter_mut().zip(rig.warnings) {
            sums.iter_mut().zip(mine).for_each(|(sum, count)| *sum += count);
        }
        thresholds(&rig);
        storms += rig.storms;
        detect += rig.cost.detect.as_secs_f64();
        simulate += rig.cost.simulate.as_secs_f64();
        edge_windows += rig.cost.edge_windows;
    }
    let weeks = (args.weeks * args.meshes) as f64;
    print(args, &pages, weeks);
    let hours = weeks * 168.0;
    for (pace, counts) in ["quick", "slow"].iter().zip(warnings) {
        let all: u32 = counts.iter().sum();
        let by: Vec<String> = classes().zip(counts).map(|(name, count)| format!("{name} {count}")).collect();
        line(&format!("false warnings an hour, {pace}: {} ({})", rate(all, hours), by.join(", ")));
    }
    let ns = |seconds: f64| 1e9 * seconds / edge_windows.max(1) as f64;
    line(&format!(
        "storms: {storms}; ns an edge-window: detector {:.0}, simulator {:.0}",
        ns(detect),
        ns(simulate)
    ));
    poisson_interval(count(&pages)).0 <= weeks * budgets().pages_a_week
}

/// What the defaults did before there was a record.
fn report_early(rig: &Rig) {
    let start = rig.mesh.config().start;
    let early = rig.pages.iter().filter(|page| page.at.since(start) < DAY * 10).count();
    line(&format!(
        "pages in the first 10 days (defaults): {early}; to the end of the warm-up: {}",
        rig.pages.len()
    ));
}

/// Prints the thresholds in force.
pub(crate) fn thresholds(rig: &Rig) {
    for (name, class) in classes().zip(MeasureClass::ALL) {
        let of = |pace, level| rig.calibration.threshold(pace, class, level);
        let (quick, slow) = (of(Pace::Quick, Level::Warning), of(Pace::Slow, Level::Warning));
        let page = of(Pace::Slow, Level::Page);
        line(&format!("thresholds {name}: quick warning {quick:.1}, slow warning {slow:.1}, page {page:.1}"));
    }
}

fn count(pages: &[(u64, Page)]) -> u32 {
    u32::try_from(pages.len()).unwrap_or(u32::MAX)
}

fn classes() -> impl Iterator<Item = &'static str> {
    ["volume", "bytes", "latency", "errors", "absence"].into_iter()
}

fn print(args: &Args, pages: &[(u64, Page)], weeks: f64) {
    let (seed, last) = (args.seed, args.seed + args.meshes - 1);
    line(&format!(
        "| false pages per mesh-week | {} edges, seeds {seed}-{last}, {weeks} weeks |",
        args.edges
    ));
    line("|---|---|");
    line(&format!("| all, before the bucket | {} |", rate(count(pages), weeks)));
    let admitted: Vec<(u64, Page)> =
        pages.iter().copied().filter(|(_, page)| page.admission == Admission::Page).collect();
    line(&format!("| paged | {} |", rate(count(&admitted), weeks)));
    for (name, class) in classes().zip(MeasureClass::ALL) {
        let of: Vec<(u64, Page)> = pages.iter().copied().filter(|(_, page)| page.class == class).collect();
        line(&format!("| {name} | {} |", rate(count(&of), weeks)));
    }
    let days = usize::try_from(7 * args.weeks).unwrap_or(0);
    let mut by_day = vec![0_u32; days];
    for (day, _) in pages {
        if let Some(count) = usize::try_from(*day).ok().and_then(|day| by_day.get_mut(day)) {
            *count += 1;
        }
    }
    let mean = by_day.iter().sum::<u32>() as f64 / days.max(1) as f64;
    let spread = by_day.iter().map(|&count| (f64::from(count) - mean).powi(2)).sum::<f64>();
    let spread = spread / (days.max(2) - 1) as f64;
    let text: Vec<String> = by_day.iter().map(u32::to_string).collect();
    line(&format!("| by day | {} |", text.join(",")));
    line(&format!("| variance / mean of days | {:.2} |", if mean > 0.0 { spread / mean } else { 0.0 }));
}
