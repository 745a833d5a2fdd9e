//! A process that dies in the middle of a stream and is followed by another one, which reads the journal first.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::time::Duration;

use common::{JUDGED, NORMAL, capture};
use selvedge_checkpoint::Checkpoint;
use selvedge_engine::{Effect, Encoding, EngineConfig, Pipeline, RawBatch, RuleSet};
use selvedge_model::time::nanos;
use selvedge_model::{Incident, SteadyTime};
use selvedge_query::HistoryEnds;
use selvedge_replay::capture::{CaptureReader, Frame};
use selvedge_replay::teach;

fn taught() -> Pipeline {
    taught_with(&EngineConfig::default())
}

fn taught_with(config: &EngineConfig) -> Pipeline {
    let mut pipeline = Pipeline::new(config, RuleSet::shipped());
    for normal in NORMAL {
        teach(&mut pipeline, &capture(normal)).unwrap();
    }
    pipeline
}

/// Takes frames by a clock that began `started` before their times of receipt did.
fn take(pipeline: &mut Pipeline, frames: &[Frame], started: Duration, effects: &mut Vec<Effect>) {
    for frame in frames {
        let observed = frame.observed.unwrap();
        let steady = SteadyTime(observed.0 - nanos(started));
        pipeline.advance_clock(steady, effects);
        let batch = RawBatch {
            signal: frame.signal,
            encoding: Encoding::Protobuf,
            body: &frame.body,
            observed,
            steady,
        };
        pipeline.ingest(batch, effects).unwrap();
    }
}

/// What a stream has come to, in words: incidents, findings, edges, fates.
fn outcome(pipeline: &Pipeline, effects: &[Effect]) -> Vec<String> {
    let incidents = pipeline.incidents().map(|incident| {
        // Which quarantines answer it is known from the lease store, which no pipeline has.
        let incident = Incident { quarantines: Vec::new(), ..incident.clone() };
        format!("{incident:?}")
    });
    let findings = effects.iter().filter_map(|effect| match effect {
        Effect::Finding(finding) => Some(format!("{finding:?}")),
        _ => None,
    });
    let edges = pipeline.edges();
    let stats = pipeline.stats();
    incidents
        .chain(findings)
        .chain(edges.iter().map(|edge| format!("{edge:?}")))
        .chain([format!("{:?} {}", stats.ledger, stats.calls)])
        .collect()
}

/// Scenario: a stream is cut at many places; what is before the cut is read again from the journal by a process with a
/// clock of its own, what is behind it arrives there live.
/// Guarantees: incidents, findings, what is learned of edges, and fates are those of a process that never died.
#[test]
fn a_restart_in_the_middle_of_a_stream_changes_nothing_that_was_found_or_learned() {
    for name in JUDGED {
        let frames: Vec<Frame> =
            CaptureReader::open(&capture(name)).unwrap().map(|frame| frame.unwrap()).collect();
        let (mut undisturbed, mut effects) = (taught(), Vec::new());
        take(&mut undisturbed, &frames, Duration::ZERO, &mut effects);
        undisturbed.finish(&mut effects);
        let expected = outcome(&undisturbed, &effects);
        for part in 0..=6 {
            let (before, after) = frames.split_at(frames.len() * part / 6);
            let (mut restarted, mut effects) = (taught(), Vec::new());
            restarted.begin_recovery(HistoryEnds::default());
            take(&mut restarted, before, Duration::ZERO, &mut effects);
            // The next process starts where the last record came in, and counts its own time from a second on.
            let died = before.last().unwrap_or(&frames[0]).observed.unwrap();
            let started = Duration::from_nanos(died.0) - Duration::from_secs(1);
            restarted.end_recovery(SteadyTime(died.0 - nanos(started)), Duration::ZERO);
            take(&mut restarted, after, started, &mut effects);
            restarted.finish(&mut effects);
            let found = outcome(&restarted, &effects);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "{name}, cut at {} of {}", before.len(), frames.len());
            }
            assert_eq!(found.len(), expected.len(), "{name}");
        }
    }
}

/// Scenario: a checkpoint is taken at many places of a stream, by an engine with one or three shards; a process with another
/// number of shards goes on from it.
/// Guarantees: incidents, findings, what is learned, and fates are those of a process that never died; the process that the
/// checkpoint was taken of is not disturbed by it; and who goes on knows exactly the same.
#[test]
fn a_process_that_goes_on_from_a_checkpoint_finds_and_learns_what_one_that_never_died_does() {
    let config = |shards| EngineConfig { shards, ..EngineConfig::default() };
    for (number, name) in JUDGED.into_iter().enumerate() {
        let frames: Vec<Frame> =
            CaptureReader::open(&capture(name)).unwrap().map(|frame| frame.unwrap()).collect();
        let (mut undisturbed, mut effects) = (taught(), Vec::new());
        take(&mut undisturbed, &frames, Duration::ZERO, &mut effects);
        undisturbed.finish(&mut effects);
        let expected = outcome(&undisturbed, &effects);
        let (mut first, mut effects) = (taught_with(&config(1 + number % 2 * 2)), Vec::new());
        for part in 0..6 {
            let [from, to] = [part, part + 1].map(|part| frames.len() * part / 6);
            take(&mut first, &frames[from..to], Duration::ZERO, &mut effects);
            let saved = checkpoint(&mut first);
            let shards = 1 + part % 3;
            let mut next = Pipeline::resume(&config(shards), RuleSet::shipped(), &saved).unwrap();
            assert_eq!(checkpoint(&mut next), saved, "{name}, {to} of {}", frames.len());
            let mut later = effects.clone();
            next.begin_recovery(HistoryEnds::default());
            let died = frames[to.saturating_sub(1)].observed.unwrap();
            let started = Duration::from_nanos(died.0) - Duration::from_secs(1);
            next.end_recovery(SteadyTime(died.0 - nanos(started)), Duration::ZERO);
            take(&mut next, &frames[to..], started, &mut later);
            next.finish(&mut later);
            assert_eq!(outcome(&next, &later), expected, "{name}, {to} of {}, {shards} shards", frames.len());
        }
        first.finish(&mut effects);
        assert_eq!(outcome(&first, &effects), expected, "{name}, disturbed by checkpoints");
    }
}

/// Through a file, as it would be.
fn checkpoint(pipeline: &mut Pipeline) -> Checkpoint {
    let checkpoint = Checkpoint { sections: pipeline.save().into_sections(), ..Checkpoint::default() };
    let mut file = Vec::new();
    checkpoint.write(&mut file).unwrap();
    let read = Checkpoint::read(&mut file.as_slice(), 1 << 30).unwrap();
    assert_eq!(read, checkpoint);
    read
}
