//! What several tests of the pipeline do with it.
#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use selvedge_checkpoint::{Checkpoint, Head};
use selvedge_engine::{Effect, Encoding, EngineConfig, Pipeline, RawBatch, RuleSet};
use selvedge_model::SteadyTime;
use selvedge_testkit::RawFrame;

pub(crate) fn config(shards: usize) -> EngineConfig {
    EngineConfig { shards, ..EngineConfig::default() }
}

/// A pipeline that has seen nothing, with the shipped rules.
pub(crate) fn fresh(shards: usize) -> Pipeline {
    Pipeline::new(&config(shards), RuleSet::shipped())
}

/// Takes frames by their times of receipt; what came of it.
pub(crate) fn take(pipeline: &mut Pipeline, frames: &[RawFrame]) -> Vec<Effect> {
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
    effects
}

/// All that a pipeline knows.
pub(crate) fn checkpoint(pipeline: &mut Pipeline) -> Checkpoint {
    Checkpoint { head: Head::default(), sections: pipeline.save().into_sections() }
}

/// Another process that goes on from what this one knows.
pub(crate) fn resumed(from: &mut Pipeline, shards: usize) -> Pipeline {
    Pipeline::resume(&config(shards), RuleSet::shipped(), &checkpoint(from)).unwrap()
}

/// Both know the same, byte for byte. Rows of traffic are numbered in the order in which shards met: they are compared in
/// words.
pub(crate) fn assert_same_knowledge(left: &mut Pipeline, right: &mut Pipeline, what: &str) {
    let (left_sections, right_sections) = (left.save().into_sections(), right.save().into_sections());
    assert_eq!(left_sections.len(), right_sections.len());
    for (left, right) in left_sections.iter().zip(&right_sections) {
        assert!(left.name == "traffic" || left == right, "{what}: section `{}` differs", left.name);
    }
    assert_eq!(traffic(left), traffic(right), "{what}");
}

/// The rows that policies are tried on.
fn traffic(pipeline: &Pipeline) -> Vec<String> {
    let mut rows = Vec::new();
    pipeline.traffic(&mut |row| rows.push(format!("{row:?}")));
    rows.sort();
    rows
}
