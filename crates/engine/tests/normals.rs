//! The pipeline drives the normals of edges: by closed windows, in event time, whatever the shards and the batches.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::time::Duration;

use selvedge_engine::{Encoding, EngineConfig, Mode, Pipeline, RawBatch, RuleSet};
use selvedge_model::SteadyTime;
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
    let mut effects = Vec::new();
    for frame in frames {
        let batch = RawBatch {
            signal: frame.signal,
            encoding: Encoding::Protobuf,
            body: &frame.payload,
            observed: frame.observed,
            steady: SteadyTime::recorded(frame.observed),
        };
        pipeline.ingest(batch, &mut effects).unwrap();
    }
    pipeline.finish(&mut effects);
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
