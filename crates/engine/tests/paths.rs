//! Ways of requests from the bytes of sidecars to what is told, whatever the shards, the batches and restarts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::time::Duration;

use common::{assert_outlives_restarts, shared_out};
use selvedge_engine::Effect;
use selvedge_model::{Finding, FindingKind};
use selvedge_testkit::{RawFrame, Request, Traffic};

/// Half an hour in which `web` calls `cart` for `gate` and never for `courier`; then, for a minute, for `courier` too.
fn a_new_way() -> Vec<RawFrame> {
    let mut traffic = Traffic::seeded(11);
    let second = |traffic: &mut Traffic, chain: &str| {
        traffic.send(Request::along(chain));
        traffic.wait(Duration::from_secs(1));
    };
    for _ in 0..900 {
        second(&mut traffic, "gate -> web -> cart");
        second(&mut traffic, "courier -> web");
    }
    for _ in 0..30 {
        second(&mut traffic, "gate -> web -> cart");
        second(&mut traffic, "courier -> web -> cart");
    }
    traffic.frames()
}

fn told(effects: &[Effect]) -> Vec<Finding> {
    let new_ways = effects.iter().filter_map(|effect| match effect {
        Effect::Finding(finding) if finding.kind == FindingKind::NewCallPath => Some((**finding).clone()),
        _ => None,
    });
    new_ways.collect()
}

/// Scenario: a way over known edges that no request took before, in batches cut anew, by one to eight shards.
/// Guarantees: it is told of its caller, with a trace, and nothing else is; the same however it is cut and shared out.
#[test]
fn a_new_way_is_told_the_same_by_any_number_of_shards() {
    let all: Vec<Vec<Finding>> = shared_out(&a_new_way(), told);
    let first = &all[0][0];
    let ends = (first.edge.source.workload.as_str(), first.edge.destination.workload.as_str());
    assert_eq!(ends, ("courier", "web"), "{first:#?}");
    assert!(first.subject.ends_with("cart") && first.exemplars.len() == 1, "{first:#?}");
    assert!(all[0].iter().all(|finding| finding.edge == first.edge && finding.subject == first.subject));
    for other in &all[1..] {
        assert_eq!(*other, all[0]);
    }
}

/// Scenario: the same, with a checkpoint that another process goes on from: before the way is new, and while it is.
/// Guarantees: what is known and told in the end is what a process knows and tells that never died.
#[test]
fn ways_outlive_a_restart() {
    assert_outlives_restarts(&a_new_way(), &[40, 97, 99], told);
}
