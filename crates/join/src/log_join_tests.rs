//! Statements find the calls that made them, late ones are noticed, and everything stays inside its bounds.

use super::*;
use crate::testing::{CART, Exchange, LEDGER, WEB, at_millis, own};

const LENGTH: Duration = Duration::from_secs(10);

fn join() -> LogJoin {
    LogJoin::new(LENGTH)
}

fn log(workload: u32, trace: u8, millis: u64) -> Observation {
    Observation {
        kind: ObservationKind::ApplicationLog,
        trace_id: TraceId([trace; 16]),
        reporter: own(workload),
        start: at_millis(millis),
        end: at_millis(millis),
        ..Observation::default()
    }
}

fn key(seen: &Observation) -> Option<u128> {
    Some(seen.trace_id.as_u128())
}

fn say(join: &mut LogJoin, workload: u32, trace: u8, millis: u64, statement: u32) {
    let seen = log(workload, trace, millis);
    join.log(key(&seen), &seen, Some(statement));
}

fn serve(join: &mut LogJoin, exchange: &Exchange) {
    for seen in exchange.all() {
        join.call(key(&seen), &seen);
    }
}

/// What was counted of a workload: calls, those that spoke, statements.
fn counted(closed: &[(Window, LogWindow)], workload: u32) -> (u32, u32, Vec<(u32, u32)>) {
    let mut sum = (0, 0, BTreeMap::new());
    for (_, counts) in closed {
        for (route, calls) in
            counts.routes.iter().filter(|(route, _)| route.node.workload == Symbol(workload))
        {
            assert_eq!(route.node, Node::of(&own(workload)));
            sum.0 += calls.calls;
            sum.1 += calls.speaking;
            for (statement, with) in &calls.statements {
                *sum.2.entry(*statement).or_default() += *with;
            }
        }
    }
    (sum.0, sum.1, sum.2.into_iter().collect())
}

#[test]
fn statements_are_counted_with_the_calls_that_were_served_meanwhile() {
    let mut join = join();
    // The workload is known to speak from its first statement on.
    say(&mut join, CART, 1, 1_004, 7);
    serve(&mut join, &Exchange::new(1, 1, WEB, CART, 1_000));
    serve(&mut join, &Exchange::new(2, 1, WEB, CART, 2_000));
    say(&mut join, CART, 2, 2_004, 7);
    say(&mut join, CART, 2, 2_005, 7);
    say(&mut join, CART, 2, 2_006, 8);
    assert_eq!(join.advance(at_millis(10_500)), [], "logs may still come");
    let closed = join.advance(at_millis(11_500));
    assert_eq!(counted(&closed, CART), (2, 2, vec![(7, 2), (8, 1)]));
    let calls = closed[0].1.routes.values().next().map(|calls| calls.callers.clone());
    assert_eq!(calls, Some(vec![(Node::of(&own(WEB)), 2)]));
    assert_eq!((join.bytes(), join.counts()), (0, LogCounts::default()));
}

#[test]
fn a_last_word_after_the_answer_belongs_to_the_nearest_call() {
    let mut join = join();
    say(&mut join, CART, 1, 1_002, 7);
    serve(&mut join, &Exchange::new(1, 1, WEB, CART, 1_000));
    serve(&mut join, &Exchange::new(1, 2, WEB, CART, 1_500));
    say(&mut join, CART, 1, 1_513, 9);
    assert_eq!(counted(&join.flush(), CART), (2, 2, vec![(7, 1), (9, 1)]));
}

#[test]
fn calls_of_workloads_that_never_speak_are_not_kept() {
    let mut join = join();
    serve(&mut join, &Exchange::new(1, 1, WEB, CART, 1_000));
    assert_eq!(join.bytes(), 0);
    say(&mut join, CART, 2, 2_002, 7);
    serve(&mut join, &Exchange::new(2, 1, WEB, CART, 2_000));
    serve(&mut join, &Exchange::new(2, 2, CART, LEDGER, 2_002));
    let closed = join.flush();
    assert_eq!(counted(&closed, CART).0, 1);
    assert_eq!(counted(&closed, LEDGER).0, 0);
}

/// Scenario: a call takes long; its statements come before its span.
/// Guarantees: they wait for it.
#[test]
fn statements_wait_for_the_span_of_a_long_call() {
    let mut join = join();
    say(&mut join, CART, 1, 1_000, 7);
    assert_eq!(join.advance(at_millis(12_000)), []);
    let long = Exchange { took: 19_000, ..Exchange::new(1, 1, WEB, CART, 900) };
    serve(&mut join, &long);
    assert_eq!(counted(&join.flush(), CART), (1, 1, vec![(7, 1)]));
}

#[test]
fn late_statements_are_noticed_and_given_more_time_from_then_on() {
    let mut join = join();
    say(&mut join, CART, 9, 1, 7);
    serve(&mut join, &Exchange::new(1, 1, WEB, CART, 1_000));
    let closed = join.advance(at_millis(15_000));
    assert_eq!(counted(&closed, CART), (1, 0, vec![]));
    say(&mut join, CART, 1, 1_004, 7);
    assert_eq!(join.counts().late, 1);
    serve(&mut join, &Exchange::new(2, 1, WEB, CART, 16_000));
    assert_eq!(join.advance(at_millis(25_000)), []);
    say(&mut join, CART, 2, 16_004, 7);
    let closed = join.advance(at_millis(60_000));
    assert_eq!(counted(&closed, CART), (1, 1, vec![(7, 1)]));
    assert_eq!(closed[0].1.late, [Node::of(&own(CART))]);
    assert_eq!(join.counts().late, 1);
}

#[test]
fn a_trace_with_too_many_records_is_not_counted_at_all() {
    let mut join = join();
    say(&mut join, CART, 1, 1_002, 7);
    serve(&mut join, &Exchange::new(1, 1, WEB, CART, 1_000));
    for _ in 0..TRACE_RECORDS_MAX {
        say(&mut join, CART, 1, 1_003, 8);
    }
    let closed = join.flush();
    assert_eq!(counted(&closed, CART), (0, 0, vec![]));
    assert_eq!((join.counts().traces_dropped, join.bytes()), (1, 0));
}

#[test]
fn a_trace_that_never_ends_does_not_hold_up_the_windows() {
    let mut join = join();
    say(&mut join, CART, 1, 1_002, 7);
    for second in 0..100 {
        serve(&mut join, &Exchange::new(1, 1, WEB, CART, second * 1_000));
    }
    let closed = join.advance(at_millis(100_000));
    assert!(closed.len() >= 5, "{}", closed.len());
}
