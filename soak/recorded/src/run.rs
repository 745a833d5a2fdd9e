//! A capture through the engine: every finding, and every state of every incident that people were told of.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use selvedge_engine::{Effect, Encoding, EngineConfig, Pipeline, RawBatch, RuleSet};
use selvedge_model::{EventTime, Finding, Incident, ObservedTime, Severity, SteadyTime};
use selvedge_replay::capture::CaptureReader;
use selvedge_testkit::RawFrame;

/// What a capture came to.
pub(crate) struct Run {
    /// Findings that count (not those for the record), by id.
    pub(crate) findings: BTreeMap<String, Finding>,
    /// States of incidents, in order.
    pub(crate) states: Vec<Incident>,
    pub(crate) start: EventTime,
    pub(crate) end: EventTime,
}

/// All frames of a capture.
pub(crate) fn frames(capture: &Path) -> Result<Vec<RawFrame>> {
    let mut frames = Vec::new();
    for frame in CaptureReader::open(capture)? {
        let frame = frame?;
        let observed = frame.observed.context("a frame without a time of receipt")?;
        frames.push(RawFrame { signal: frame.signal, observed, payload: frame.body });
    }
    Ok(frames)
}

/// Plays frames through an engine that knows nothing.
pub(crate) fn play(frames: &[RawFrame]) -> Run {
    let mut pipeline = Pipeline::new(&EngineConfig::default(), RuleSet::shipped());
    let mut effects = Vec::new();
    let mut clock = ObservedTime(0);
    for frame in frames {
        clock = clock.max(frame.observed);
        let steady = SteadyTime::recorded(clock);
        pipeline.advance_clock(steady, &mut effects);
        let batch = RawBatch {
            signal: frame.signal,
            encoding: Encoding::Protobuf,
            body: &frame.payload,
            observed: clock,
            steady,
        };
        // A frame that is no message is counted by the engine, and has nothing to tell.
        let _malformed = pipeline.ingest(batch, &mut effects);
    }
    pipeline.finish(&mut effects);
    let time =
        |frame: Option<&RawFrame>| frame.map_or(EventTime::ABSENT, |frame| EventTime(frame.observed.0));
    let mut run = Run {
        findings: BTreeMap::new(),
        states: Vec::new(),
        start: time(frames.first()),
        end: time(frames.last()),
    };
    for effect in effects {
        match effect {
            Effect::Finding(finding) if finding.severity > Severity::Info => {
                run.findings.insert(finding.id.clone(), *finding);
            }
            Effect::Incident(_, incident) if incident.severity > Severity::Info => run.states.push(*incident),
            _ => {}
        }
    }
    run
}
