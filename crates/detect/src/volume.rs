//! Bytes: one body or one window several times larger than any before.

use selvedge_model::{FindingKind, ShapeStats};

use crate::behaviour::{EdgeCase, WINDOWS_MIN, as_f64, record_return_period};
use crate::draft::Draft;

/// What is known of the bytes of one direction.
#[derive(Clone, Copy)]
struct Usual {
    call_max: u64,
    window_max: u64,
    windows: u64,
    whose: &'static str,
}

/// Checks what the caller sent.
pub(crate) fn request_bytes_high(case: &EdgeCase<'_>) -> Option<Draft> {
    let [usual, _] = usual(case);
    direction(case, "request", usual?, &|stats| (stats.request_bytes, stats.request_bytes_max))
}

/// Checks what the callee answered.
pub(crate) fn response_bytes_high(case: &EdgeCase<'_>) -> Option<Draft> {
    let [_, usual] = usual(case);
    direction(case, "response", usual?, &|stats| (stats.response_bytes, stats.response_bytes_max))
}

/// Requests and responses: of the edge; else of the callee; of an outside host what the caller ever sent outside.
fn usual(case: &EdgeCase<'_>) -> [Option<Usual>; 2] {
    let mesh = case.cx.baselines.mesh();
    if let Some(known) = case.known {
        let windows = known.requests.windows;
        let own = |volume: &selvedge_learn::Volume| {
            let (call_max, window_max) = (volume.call_max, volume.window_max);
            (windows >= WINDOWS_MIN).then_some(Usual { call_max, window_max, windows, whose: "this edge" })
        };
        return [own(&known.request_bytes), own(&known.response_bytes)];
    }
    if !mesh.warm() {
        return [None, None];
    }
    if case.key.external {
        let sent = mesh.source(&case.key.source).map(|source| Usual {
            call_max: source.egress_bytes_max,
            window_max: source.egress_window_max,
            windows: source.windows,
            whose: "all its outside hosts",
        });
        return [sent, None];
    }
    let callee =
        mesh.destination(&case.key.destination).filter(|callee| callee.requests.windows >= WINDOWS_MIN);
    let of_callee =
        |call_max, window_max, windows| Usual { call_max, window_max, windows, whose: "the callee" };
    [
        callee.map(|known| {
            of_callee(known.request_bytes_max, known.request_window_max, known.requests.windows)
        }),
        callee.map(|known| {
            of_callee(known.response_bytes_max, known.response_window_max, known.requests.windows)
        }),
    ]
}

fn direction(
    case: &EdgeCase<'_>,
    name: &str,
    usual: Usual,
    bytes: &dyn Fn(&ShapeStats) -> (u64, u64),
) -> Option<Draft> {
    let rule = case.rules.bytes_high()?;
    let totals = case.shapes().map(|(shape, stats)| shape.sampling.stands_for(bytes(stats).0));
    let total = totals.fold(0, u64::saturating_add);
    let largest = case.shapes().map(|(_, stats)| bytes(stats).1).max().unwrap_or(0);
    let times = |observed: u64, known: u64| as_f64(observed) / as_f64(known.max(1));
    let exceeds =
        |observed: u64, known: u64| observed > rule.bytes_floor.0 && times(observed, known) > rule.factor.0;
    let (by_call, by_window) = (exceeds(largest, usual.call_max), exceeds(total, usual.window_max));
    if !by_call && !by_window {
        return None;
    }
    let (observed, known, what) = match by_call {
        true => (largest, usual.call_max, "body"),
        false => (total, usual.window_max, "window"),
    };
    let factor = times(observed, known);
    let grave = factor >= rule.grave_factor.0;
    let deviates = |_: &_, stats: &ShapeStats| !by_call || exceeds(bytes(stats).1, usual.call_max);
    let mut draft = case
        .draft(FindingKind::BytesHigh, &deviates)
        .subject(name)
        .summary(format!(
            "{name} bytes from {} to {}: {observed} in one {what}, the most before were {known}",
            case.caller(),
            case.callee()
        ))
        .fact(&format!("{name}_{what}_bytes"), observed, known)
        .fact(&format!("{name}_window_bytes_total"), total, usual.window_max)
        .note("compared_with", usual.whose)
        .raise_if(case.key.external && grave, "far more than ever left")
        .lower_if(!case.key.external && !grave, 1, "inside the mesh, and not far more");
    draft.return_period_seconds = Some(record_return_period(case, usual.windows, factor));
    Some(draft)
}
