//! Templates of log statements: found again, bounded, and the same wherever the stream is cut.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use proptest::prelude::*;
use selvedge_learn::logs::{Miner, StatementId};
use selvedge_model::{EventTime, Node, Symbol};

fn node(workload: u32) -> Node {
    Node { workload: Symbol(workload), ..Node::default() }
}

fn mine(miner: &mut Miner, workload: u32, text: &str) -> Option<StatementId> {
    miner.statement(node(workload), text.as_bytes(), 9, EventTime(1))
}

#[test]
fn lines_that_differ_in_values_are_one_statement() {
    let mut miner = Miner::new();
    let first = mine(&mut miner, 5, "12:00:01 INFO booked entry 17 for courier='Jo' took=5ms").unwrap();
    for line in [
        "12:00:02 INFO booked entry 99 for courier='Jo Ann Doe' took=71ms",
        "23:59:59 INFO booked entry 0 for courier=unknown took=1h",
    ] {
        assert_eq!(mine(&mut miner, 5, line), Some(first), "{line}");
    }
    assert_eq!(miner.text(first), "<*> INFO booked entry <*> for courier <*> took <*>");
    assert_ne!(mine(&mut miner, 5, "12:00:03 INFO lost entry 17 of the ledger today"), Some(first));
}

#[test]
fn words_that_vary_become_wildcards_and_the_number_stays() {
    let mut miner = Miner::new();
    let first = mine(&mut miner, 5, "INFO cart ships one parcel to berlin by train").unwrap();
    assert_eq!(mine(&mut miner, 5, "INFO cart ships one parcel to lisbon by train"), Some(first));
    assert_eq!(mine(&mut miner, 5, "INFO cart ships one parcel to quito by boat"), Some(first));
    assert_eq!(miner.text(first), "INFO cart ships one parcel to <*> by <*>");
}

#[test]
fn two_places_in_the_code_are_two_statements_whatever_they_say() {
    let mut miner = Miner::new();
    let left = mine(&mut miner, 5, "INFO shop.Cart#31 found the entry in the ledger");
    let right = mine(&mut miner, 5, "INFO shop.Cart#34 found the entry in the ledger");
    assert_ne!(left, right);
}

#[test]
fn workloads_do_not_share_templates_but_are_known_to_write_the_same() {
    let mut miner = Miner::new();
    let alone = mine(&mut miner, 5, "INFO only the cart says so").unwrap();
    let here = mine(&mut miner, 5, "WARN connection to the ledger lost").unwrap();
    let there = mine(&mut miner, 6, "WARN connection to the ledger lost").unwrap();
    assert_ne!(here, there);
    assert!(miner.elsewhere(here) && miner.elsewhere(there) && !miner.elsewhere(alone));
    assert_eq!(miner.stable_id(here), miner.stable_id(there));
}

/// Scenario: one workload invents statements without end.
/// Guarantees: it fills its own share only, its known statements stay known, and another workload finds room.
#[test]
fn a_flood_of_statements_stays_inside_its_workloads_share() {
    let mut miner = Miner::new();
    let known = mine(&mut miner, 5, "INFO booked an entry in the ledger").unwrap();
    let word = |number: u32| -> String {
        number.to_string().bytes().map(|digit| char::from(b'a' + (digit - b'0'))).collect()
    };
    for number in 0..5_000 {
        mine(&mut miner, 5, &format!("{} says {}", word(number), word(number * 7)));
    }
    assert!(miner.len() <= 1_001 && miner.pooled() > 3_000, "{} {}", miner.len(), miner.pooled());
    assert_eq!(mine(&mut miner, 5, "INFO booked an entry in the ledger"), Some(known));
    assert!(mine(&mut miner, 6, "INFO booked an entry in the ledger").is_some());
}

#[test]
fn what_people_see_of_hostile_text_is_short_and_printable() {
    let mut miner = Miner::new();
    let line = [b"evil \x1b[31m \xff\xfe bytes ".as_slice(), &b"word ".repeat(500)].concat();
    let id = miner.statement(node(5), &line, 0, EventTime(1)).unwrap();
    let text = miner.text(id);
    assert!(text.chars().count() <= 160 && !text.chars().any(char::is_control), "{text:?}");
}

proptest! {
    /// Guarantees: any bytes are taken without panic, within the bounds, and the same sequence always gives the same
    /// numbers and texts.
    #[test]
    fn any_lines_are_mined_within_bounds_and_alike(
        lines in prop::collection::vec((0_u32..4, prop::collection::vec(any::<u8>(), 0..200)), 0..120),
    ) {
        let run = || {
            let mut miner = Miner::new();
            let ids: Vec<_> = lines.iter().map(|(workload, line)| {
                miner.statement(node(*workload + 5), line, 0, EventTime(1))
            }).collect();
            let texts: Vec<String> = ids.iter().flatten().map(|id| miner.text(*id)).collect();
            (ids, texts, miner.len())
        };
        let (ids, texts, count) = run();
        prop_assert!(count <= lines.len());
        prop_assert!(texts.iter().all(|text| text.chars().count() <= 160));
        prop_assert_eq!((ids, texts, count), run());
    }

    /// Guarantees: a line that was understood once has the same number ever after, whatever came in between.
    #[test]
    fn a_line_keeps_its_number(
        lines in prop::collection::vec("[a-z]{1,6}( [a-z]{1,6}| [0-9]{1,4}){0,8}", 1..80),
    ) {
        let mut miner = Miner::new();
        let first: Vec<_> = lines.iter().map(|line| mine(&mut miner, 5, line)).collect();
        let again: Vec<_> = lines.iter().map(|line| mine(&mut miner, 5, line)).collect();
        prop_assert_eq!(first, again);
    }
}
