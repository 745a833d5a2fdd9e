//! What the largest scores of calm weeks come from: the first question when a threshold is too high to be of use.

use selvedge_model::{EventTime, MeasureClass};
use selvedge_simulate::{Extent, Label};

use crate::rig::{DAY, Rig};
use crate::table::line;
use crate::{Args, budgets};

const SHOWN: usize = 12;
const BEFORE: std::time::Duration = std::time::Duration::from_hours(4);

/// The largest slow score of an edge and class on one day.
#[derive(Clone, Copy)]
pub(crate) struct Largest {
    pub(crate) score: f32,
    pub(crate) raw: f32,
    pub(crate) signal: usize,
    pub(crate) at: EventTime,
}

/// Prints them with what happened before.
pub(crate) fn run(args: &Args) -> bool {
    let mut rig = Rig::new(args.config(0), budgets());
    rig.days(7 * args.warm_weeks, "causes");
    rig.largest = Some(Default::default());
    rig.days(7 * args.weeks, "causes");
    let largest = rig.largest.take().unwrap_or_default();
    for class in MeasureClass::ALL {
        let mut of: Vec<(usize, Largest)> = largest
            .iter()
            .filter(|(key, _)| key.1 == class as usize)
            .map(|(key, value)| (key.0, *value))
            .collect();
        of.sort_by(|left, right| right.1.score.total_cmp(&left.1.score));
        line(&format!("{class:?}: {} edge-days", of.len()));
        for (edge, most) in of.iter().take(SHOWN) {
            let spec = &rig.mesh.edges()[*edge];
            let minute = most.at.0 / 60_000_000_000;
            let start = day_of(rig.mesh.config().start);
            let (day, hour) = (minute / 1_440 - start, minute % 1_440 / 60);
            line(&format!(
                "  {:6.1} raw {:5.1} signal {} edge {edge} {:8.3}/s day {day} {hour:02}:{:02} {}",
                most.score,
                most.raw,
                most.signal,
                spec.usual_rate,
                minute % 60,
                causes(&rig, *edge, most.at)
            ));
        }
    }
    true
}

fn causes(rig: &Rig, edge: usize, at: EventTime) -> String {
    let spec = &rig.mesh.edges()[edge];
    let about = |label: &&Label| match label.extent {
        Extent::Edge(index) => index == edge,
        Extent::Service(index) => index == spec.caller || index == spec.callee,
        Extent::Reporter(index) => index == spec.callee,
        Extent::Mesh => true,
    };
    let near = |label: &&Label| label.start <= at && at.since(label.end.max(label.start)) < BEFORE;
    let found = rig.mesh.labels().iter().filter(about).filter(near);
    let text = |label: &Label| {
        let (ago, lasted) =
            (at.since(label.start).as_secs() / 60, label.end.since(label.start).as_secs() / 60);
        format!("{:?} {ago} min ago for {lasted}", label.cause)
    };
    found.map(text).collect::<Vec<_>>().join("; ")
}

/// The number of the day.
pub(crate) fn day_of(at: EventTime) -> u64 {
    at.0 / u64::try_from(DAY.as_nanos()).unwrap_or(u64::MAX)
}
