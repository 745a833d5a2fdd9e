//! Who samples, and says so, has neither more traffic nor less than it had.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::time::Duration;

use common::{fresh, take};
use selvedge_engine::{Effect, Pipeline};
use selvedge_model::{EventTime, FindingKind, SignalKind};
use selvedge_testkit::{RawFrame, Request, Traffic, sampled};

/// One in sixteen traces is kept, then all.
const SIXTEENTH: u64 = 15 << 52;
/// Requests in each window of ten seconds, with as much time between them.
const REQUESTS: u32 = 400;
const WINDOW: Duration = Duration::from_secs(10);
const WINDOWS: u32 = 40;

/// The same traffic in every window.
fn traffic() -> Vec<RawFrame> {
    let mut traffic = Traffic::seeded(41);
    for _ in 0..WINDOWS {
        for number in 0..REQUESTS {
            traffic.send(Request::along("web -> cart").asking("GET", "/items").bytes(u64::from(number), 500));
            traffic.wait(WINDOW / REQUESTS);
        }
    }
    traffic.frames_of(SignalKind::Traces)
}

/// What is told of the traffic as a sampler lets it through that is switched off after three quarters, and may say so.
fn told(said: bool) -> (Pipeline, Vec<Effect>) {
    let frames = traffic();
    let until = EventTime(frames[frames.len() * 3 / 4].observed.0);
    let kept: Vec<RawFrame> = frames
        .iter()
        .map(|frame| sampled(frame, if frame.observed.0 < until.0 { SIXTEENTH } else { 0 }, said))
        .collect();
    let mut pipeline = fresh(1);
    let mut effects = take(&mut pipeline, &kept);
    pipeline.finish(&mut effects);
    (pipeline, effects)
}

fn floods(effects: &[Effect]) -> usize {
    let flood = |effect: &&Effect| matches!(effect, Effect::Finding(finding) if [FindingKind::RequestRateHigh, FindingKind::BytesHigh].contains(&finding.kind));
    effects.iter().filter(flood).count()
}

/// Scenario: a mesh of spans keeps one in sixteen traces, and from one moment to the next all of them.
/// Guarantees: where its spans say so, that is no more traffic than before; where they do not, nobody could know.
#[test]
fn traffic_that_is_sampled_otherwise_is_neither_more_nor_less() {
    let (pipeline, effects) = told(true);
    assert_eq!(floods(&effects), 0);
    let calls: u64 = pipeline.edges().iter().map(|edge| edge.calls).sum();
    let whole = u64::from(REQUESTS * WINDOWS);
    assert!(
        whole / 4 < calls && calls < whole / 3,
        "counts of calls are of those that were told of: {calls}"
    );
    assert!(floods(&told(false).1) > 0, "unsaid, it looks like a flood");
}
