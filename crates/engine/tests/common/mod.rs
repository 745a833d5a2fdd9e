//! What several tests of the pipeline do with it.
#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::fmt::Debug;

use selvedge_checkpoint::{Checkpoint, Head};
use selvedge_engine::{Effect, Encoding, EngineConfig, Pipeline, RawBatch, RuleSet};
use selvedge_model::SteadyTime;
use selvedge_testkit::{RawFrame, recut};

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

/// What `told` says of the effects of these frames, in batches cut anew, by one to eight shards.
pub(crate) fn shared_out<T>(frames: &[RawFrame], told: impl Fn(&[Effect]) -> T) -> Vec<T> {
    let one = |(shards, cut): (usize, Option<u64>)| {
        let mut pipeline = fresh(shards);
        let frames = cut.map_or_else(|| frames.to_vec(), |seed| recut(frames, seed));
        let mut effects = take(&mut pipeline, &frames);
        pipeline.finish(&mut effects);
        told(&effects)
    };
    [(1, None), (2, None), (8, Some(3)), (1, Some(17))].map(one).into()
}

/// With a checkpoint after each of these hundredths of the frames, from which another process goes on, as much is told and
/// known in the end as by a process that never died.
pub(crate) fn assert_outlives_restarts<T: PartialEq + Debug>(
    frames: &[RawFrame],
    hundredths: &[usize],
    told: impl Fn(&[Effect]) -> T,
) {
    let mut undisturbed = fresh(1);
    let whole = take(&mut undisturbed, frames);
    for part in hundredths {
        let (before, after) = frames.split_at(frames.len() * part / 100);
        let mut first = fresh(2);
        let mut effects = take(&mut first, before);
        let mut next = resumed(&mut first, 1);
        effects.extend(take(&mut next, after));
        assert_eq!(told(&effects), told(&whole), "cut at {part} of 100");
        assert_same_knowledge(&mut next, &mut undisturbed, &format!("cut at {part} of 100"));
    }
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
