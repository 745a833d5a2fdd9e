//! The pipeline drives the normals of edges: by closed windows, in event time, whatever the shards and the batches.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::time::Duration;

use common::{assert_same_knowledge, fresh, resumed, take};
use selvedge_engine::{EngineConfig, Mode, Pipeline, RuleSet};
use selvedge_testkit::{RawFrame, Request, Traffic, recut};

/// A chain that is called every three seconds for some seventy minutes.
fn an_hour_and_more() -> Vec<RawFrame> {
    let mut traffic = Traffic::seeded(5);
    for _ in 0..1_400 {
        traffic.send(Request::along("web -> cart -> ledger"));
        traffic.wait(Duration::from_secs(3));
    }
    traffic.frames()
}

fn pipeline(shards: usize) -> Pipeline {
    let mut config = EngineConfig { shards, ..EngineConfig::default() };
    config.learn.hot_bytes_max = 0;
    Pipeline::new(&config, RuleSet::shipped())
}

fn feed(pipeline: &mut Pipeline, frames: &[RawFrame]) {
    take(pipeline, frames);
    pipeline.finish(&mut Vec::new());
}

fn overload(pipeline: &Pipeline, limit: &str) -> u64 {
    pipeline.stats().overloads.iter().find(|one| one.limit == limit).unwrap().count
}

/// Scenario: busy edges, no room for what busy edges remember, more than an hour of traffic; then the same capture again.
/// Guarantees: an hour ends for each edge, in learning mode as in judging, for any number of shards and any cut; windows
/// older than those that were judged teach nothing, and are counted.
#[test]
fn hours_of_edges_end_in_event_time_for_any_shards_and_batches() {
    let frames = an_hour_and_more();
    let found: Vec<[u64; 2]> = [(1, None), (2, None), (8, Some(3)), (1, Some(17))]
        .into_iter()
        .map(|(shards, seed)| {
            let mut pipeline = pipeline(shards);
            pipeline.set_mode(if shards == 1 { Mode::Learning } else { Mode::Judging });
            let frames = seed.map_or_else(|| frames.clone(), |seed| recut(&frames, seed));
            feed(&mut pipeline, &frames);
            assert_eq!(overload(&pipeline, "normal_windows"), 0);
            let hours = overload(&pipeline, "hot_edges");
            feed(&mut pipeline, &frames);
            [hours, overload(&pipeline, "normal_windows")]
        })
        .collect();
    assert!(found.iter().all(|of| *of == found[0]), "{found:?}");
    assert!(found[0][0] >= 2 && found[0][1] > 300, "two edges and an hour, then all windows: {found:?}");
}

/// Scenario: the same hours, with a checkpoint in the middle of them that another process goes on from, with another number
/// of shards.
/// Guarantees: in the end it knows, byte for byte, what a process knows that never died: normals, thresholds, baselines,
/// incidents, open calls and windows, counts.
#[test]
fn what_is_known_after_a_checkpoint_is_what_was_known_without_one() {
    let frames = an_hour_and_more();
    let mut undisturbed = fresh(1);
    take(&mut undisturbed, &frames);
    for (part, shards) in [(1, 1), (3, 2), (6, 3)] {
        let (before, after) = frames.split_at(frames.len() * part / 7);
        let mut first = fresh(4 - shards);
        take(&mut first, before);
        let mut next = resumed(&mut first, shards);
        take(&mut next, after);
        assert_same_knowledge(&mut next, &mut undisturbed, &format!("cut at {part} of 7"));
    }
}
