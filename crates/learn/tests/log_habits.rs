//! Which statements routes usually make, judged over windows of an invented workload.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::time::Duration;

use selvedge_learn::logs::{Class, Deviation, Habits, Miner};
use selvedge_model::{EventTime, LogWindow, Node, ServedRoute, Symbol, TraceId, Window};

const ASKED: &str = "INFO asked for a cart";
const FOUND: &str = "INFO found the cart in the ledger";
const LOST: &str = "ERROR no such cart in the ledger";

struct Shop {
    miner: Miner,
    habits: Habits,
    at: u64,
    teaching: bool,
}

impl Shop {
    fn new() -> Self {
        Self { miner: Miner::new(), habits: Habits::new(), at: 100, teaching: false }
    }

    fn route() -> ServedRoute {
        let node = Node { workload: Symbol(50), ..Node::default() };
        ServedRoute { node, method: Symbol(51), route: Symbol(52) }
    }

    /// One window; each call makes these statements.
    fn window(&mut self, calls: &[&[&str]]) -> Vec<Deviation> {
        self.at += 1;
        let start = EventTime(self.at * 10_000_000_000);
        let window = Window { start, end: start.after(Duration::from_secs(10)) };
        let route = Self::route();
        let mut counts = LogWindow::default();
        for (number, said) in calls.iter().enumerate() {
            let severity = |line: &str| if line.starts_with("ERROR") { 17 } else { 9 };
            let mut ids: Vec<u32> = said
                .iter()
                .filter_map(|line| {
                    self.miner.statement(route.node, line.as_bytes(), severity(line), window.start)
                })
                .map(|id| id.0)
                .collect();
            ids.sort_unstable();
            let trace = TraceId([u8::try_from(number + 1).unwrap(); 16]);
            let caller = Node { workload: Symbol(60), ..Node::default() };
            counts.count(route, caller, trace, false, !said.is_empty(), &ids);
        }
        self.habits.take(window, &counts, &self.miner, self.teaching, &|class, habits| {
            // A tenth of a false alarm an hour.
            (habits.trials_an_hour(class) * 10.0).ln()
        })
    }

    fn windows(&mut self, count: usize, calls: &[&[&str]]) -> Vec<Deviation> {
        (0..count).flat_map(|_| self.window(calls)).collect()
    }
}

fn classes(deviations: &[Deviation]) -> Vec<Class> {
    let mut classes: Vec<Class> = deviations.iter().map(|deviation| deviation.class).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}

#[test]
fn a_statement_that_stops_on_a_route_that_still_runs_is_told_with_its_record() {
    let mut shop = Shop::new();
    assert_eq!(shop.windows(30, &[&[ASKED, FOUND], &[ASKED, FOUND]]), []);
    let told = shop.windows(10, &[&[ASKED], &[ASKED]]);
    assert_eq!(classes(&told), [Class::Missing]);
    let (first, last) = (&told[0], &told[told.len() - 1]);
    assert_eq!((first.since, first.since), (last.since, EventTime(131 * 10_000_000_000)));
    let deviant = first.deviants[0];
    assert_eq!(shop.miner.text(deviant.statement), FOUND);
    assert_eq!((deviant.record.calls, deviant.record.with), (60.0, 60.0));
    assert!(deviant.run.with == 0.0 && !deviant.more && first.exemplars.len() == 2);
    assert_eq!(shop.windows(20, &[&[ASKED, FOUND]]), [], "what came back is not told, and was not unlearned");
}

#[test]
fn one_call_that_fails_is_nothing() {
    let mut shop = Shop::new();
    shop.windows(30, &[&[ASKED, FOUND], &[ASKED, FOUND]]);
    assert_eq!(shop.window(&[&[ASKED], &[ASKED, FOUND]]), []);
    assert_eq!(shop.windows(5, &[&[ASKED, FOUND], &[ASKED, FOUND]]), []);
}

#[test]
fn a_new_error_beside_what_is_usual_is_told() {
    let mut shop = Shop::new();
    shop.windows(30, &[&[ASKED, FOUND], &[ASKED, FOUND]]);
    let told = shop.windows(6, &[&[ASKED, LOST, FOUND], &[ASKED, FOUND]]);
    assert_eq!(classes(&told), [Class::New]);
    assert_eq!(shop.miner.text(told[0].deviants[0].statement), LOST);
    assert!(told[0].deviants[0].more);
}

#[test]
fn a_branch_that_depends_on_what_is_asked_is_no_fault() {
    let mut shop = Shop::new();
    let mut told = Vec::new();
    for round in 0..60 {
        // Bursts of two windows, as when one customer asks several times.
        let said: &[&str] = if round % 4 < 2 { &[ASKED, FOUND] } else { &[ASKED, LOST] };
        told.extend(shop.windows(1, &[said, said]));
    }
    assert_eq!(told, []);
}

#[test]
fn a_workload_that_logs_nothing_any_more_is_a_gap_and_no_missing_statement() {
    let mut shop = Shop::new();
    shop.windows(30, &[&[ASKED, FOUND], &[ASKED, FOUND]]);
    let told = shop.windows(12, &[&[], &[]]);
    assert_eq!(classes(&told), [Class::Silent]);
    assert_eq!(shop.windows(10, &[&[ASKED, FOUND]]), [], "nothing was unlearned meanwhile");
}

#[test]
fn an_approved_baseline_is_learned_and_not_judged() {
    let mut shop = Shop::new();
    shop.windows(30, &[&[ASKED, FOUND]]);
    shop.teaching = true;
    assert_eq!(shop.windows(60, &[&[ASKED]]), []);
    shop.teaching = false;
    assert_eq!(shop.windows(10, &[&[ASKED]]), []);
}

/// Scenario: statements of the workload arrive after their calls were counted, and then the join says so.
/// Guarantees: what looked as if it had vanished is not told.
#[test]
fn evidence_from_before_late_logs_were_noticed_is_dropped() {
    let mut shop = Shop::new();
    shop.windows(30, &[&[ASKED, FOUND], &[ASKED, FOUND]]);
    assert_eq!(shop.windows(2, &[&[ASKED], &[ASKED]]), []);
    let window = Window { start: EventTime(1), end: EventTime(2) };
    let late = LogWindow { late: vec![Shop::route().node], ..LogWindow::default() };
    shop.habits.take(window, &late, &shop.miner, false, &|_, _| 0.0);
    assert_eq!(shop.windows(2, &[&[ASKED], &[ASKED]]), []);
}
