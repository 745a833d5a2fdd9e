//! What becomes of findings at page level, and what may be learned meanwhile.

use selvedge_model::{Node, Symbol};

use super::*;

fn at(minutes: u64) -> EventTime {
    EventTime(1_699_833_600_000_000_000).after(Duration::from_mins(minutes))
}

fn key(number: u32) -> EdgeKey {
    let node = |workload| Node { workload: Symbol(workload), ..Node::default() };
    EdgeKey { source: node(number), destination: node(number + 1), external: false }
}

fn severity(calibrated: &mut Calibrated, edge: u32, class: MeasureClass, minutes: u64) -> Severity {
    let grade = calibrated.page(&key(edge), class, at(minutes));
    calibrated.count(grade).0
}

/// Scenario: five edges page at once and go on for ten minutes; the budget is one page a week.
/// Guarantees: three wake somebody, two are warnings for as long as they go on, and each is counted once.
#[test]
fn a_full_bucket_is_three_pages_and_what_it_holds_back_is_a_warning_and_counted_once() {
    let mut calibrated = Calibrated::new(Budgets::default());
    for minute in 0..10 {
        let severities: Vec<Severity> =
            (0..5).map(|edge| severity(&mut calibrated, edge, MeasureClass::Volume, minute)).collect();
        use Severity::{High, Medium};
        assert_eq!(severities, [High, High, High, Medium, Medium], "minute {minute}");
    }
    assert_eq!(calibrated.held_back(), HeldBack { over_budget: 2, ..HeldBack::default() });
}

/// Guarantees: a fault of one edge is one page, whichever measures show it.
#[test]
fn all_measures_of_an_edge_share_its_page() {
    let mut calibrated = Calibrated::new(Budgets::default());
    for class in MeasureClass::ALL {
        assert_eq!(severity(&mut calibrated, 1, class, 5), Severity::High);
    }
    assert_eq!(severity(&mut calibrated, 2, MeasureClass::Volume, 5), Severity::High);
    assert_eq!(calibrated.held_back(), HeldBack::default());
}

/// Guarantees: what comes back within a week wakes nobody again; what comes back later does.
#[test]
fn a_deviation_that_comes_back_within_a_week_is_a_warning() {
    let mut calibrated = Calibrated::new(Budgets::default());
    let day = 24 * 60;
    let told = [0, 10, 3 * 60, day, 9 * day];
    let severities = told.map(|minutes| severity(&mut calibrated, 1, MeasureClass::Errors, minutes));
    use Severity::{High, Medium};
    assert_eq!(severities, [High, High, Medium, Medium, High]);
    assert_eq!(calibrated.held_back().repeated, 2);
}

/// Guarantees: while the mesh is ill as a whole its edges are told, and wake nobody; ten pages in a day say that the
/// record is not the present's, until the next day.
#[test]
fn in_a_storm_and_with_a_broken_record_edges_wake_nobody_and_the_mesh_is_ill() {
    let mut calibrated = Calibrated::new(Budgets::default());
    assert!(calibrated.valve.watch(at(0), 30, 100));
    calibrated.storm = true;
    assert_eq!(severity(&mut calibrated, 1, MeasureClass::Volume, 0), Severity::Info);
    assert!(calibrated.ill() && calibrated.held_back().storm == 1);
    let mut calibrated = Calibrated::new(Budgets::default());
    let severities: Vec<Severity> =
        (0..12).map(|edge| severity(&mut calibrated, edge, MeasureClass::Volume, 0)).collect();
    assert_eq!((severities[11], calibrated.ill()), (Severity::Info, true));
    assert_eq!(calibrated.held_back().broken, 3);
    calibrated.valve.recalibrated();
    assert!(!calibrated.ill());
}

/// Guarantees: flagged calls and storms teach nothing, what was told teaches as told while it is suspected, and a page is
/// remembered for six hours.
#[test]
fn what_may_be_learned_follows_from_what_was_told() {
    let mut calibrated = Calibrated::new(Budgets::default());
    severity(&mut calibrated, 1, MeasureClass::Volume, 0);
    use Teaching::{Off, Quiet, Told};
    let cases = [
        // Edge, minutes, suspected, told by the defaults, flagged calls.
        ((2, 5, false, false, false), Quiet),
        ((2, 5, true, false, false), Quiet),
        ((2, 5, false, true, false), Off),
        ((2, 5, true, true, false), Told),
        ((2, 5, true, true, true), Off),
        ((2, 5, false, false, true), Off),
        ((1, 5, true, false, false), Told),
        ((1, 5, false, false, false), Quiet),
        ((1, 7 * 60, true, false, false), Quiet),
    ];
    for ((edge, minutes, suspected, was_told, flagged), expected) in cases {
        let found = calibrated.teaching(&key(edge), at(minutes), suspected, was_told, flagged);
        assert_eq!(found, expected, "edge {edge} after {minutes} min, {suspected} {was_told} {flagged}");
    }
    calibrated.storm = true;
    assert_eq!(calibrated.teaching(&key(2), at(5), false, false, false), Off);
}

/// Guarantees: what is remembered is bounded, and past the bound nothing wakes anybody.
#[test]
fn a_flood_of_edges_is_remembered_up_to_the_bound() {
    let mut calibrated = Calibrated::new(Budgets { pages_a_week: 1_000.0, ..Budgets::default() });
    let most = u32::try_from(TOLD_MAX).expect("a small number");
    for edge in 0..most + 50 {
        severity(&mut calibrated, edge, MeasureClass::Volume, 0);
    }
    assert_eq!(calibrated.told.len(), TOLD_MAX);
    assert_eq!(severity(&mut calibrated, most + 60, MeasureClass::Volume, 1), Severity::Medium);
    severity(&mut calibrated, most + 60, MeasureClass::Volume, 8 * 24 * 60);
    assert_eq!(calibrated.told.len(), 1, "those of last week make room");
}
