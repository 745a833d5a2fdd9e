//! The engine on live input: an async `select` only chooses the next event, a synchronous `apply` changes all state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use selvedge_model::{Finding, ObservedTime};
use selvedge_receive::{Clock, Receipt, Submission};
use tokio::sync::mpsc;

use crate::pipeline::{Effect, Pipeline, RawBatch};
use crate::snapshot::Snapshot;

/// How often the clock is looked at when nothing arrives.
const CLOCK_INTERVAL: Duration = Duration::from_millis(250);
/// How often the view for people is replaced.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// What the live loop can be woken by.
enum Event {
    Submission(Submission),
    Clock,
    InputEnded,
}

/// A pipeline with its public view.
pub struct Engine {
    pipeline: Pipeline,
    view: Arc<ArcSwap<Snapshot>>,
    findings: VecDeque<Finding>,
    findings_kept_max: usize,
    viewed_at: ObservedTime,
}

impl Engine {
    /// An engine around a pipeline; `view` is replaced once a second.
    #[must_use]
    pub fn new(pipeline: Pipeline, findings_kept_max: usize) -> Self {
        let view = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
        Self { pipeline, view, findings: VecDeque::new(), findings_kept_max, viewed_at: ObservedTime(0) }
    }

    /// The view that `serve` reads.
    #[must_use]
    pub fn view(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.view)
    }

    fn apply(&mut self, event: Event, now: ObservedTime, effects: &mut Vec<Effect>) {
        let ended = matches!(event, Event::InputEnded);
        match event {
            Event::Submission(submission) => self.take(submission, effects),
            Event::Clock => self.pipeline.advance_clock(now, effects),
            Event::InputEnded => self.pipeline.finish(effects),
        }
        for effect in effects.iter() {
            if let Effect::Finding(finding) = effect {
                self.findings.push_back(finding.as_ref().clone());
                if self.findings.len() > self.findings_kept_max {
                    self.findings.pop_front();
                }
            }
        }
        if self.viewed_at.after(SNAPSHOT_INTERVAL) <= now || !effects.is_empty() || ended {
            self.viewed_at = now;
            self.view.store(Arc::new(self.pipeline.snapshot(self.findings.iter().cloned().collect())));
        }
    }

    fn take(&mut self, submission: Submission, effects: &mut Vec<Effect>) {
        let Submission { batch, reply } = submission;
        let raw = RawBatch {
            signal: batch.signal,
            encoding: match batch.encoding {
                selvedge_receive::Encoding::Protobuf => selvedge_decode::Encoding::Protobuf,
                selvedge_receive::Encoding::Json => selvedge_decode::Encoding::Json,
            },
            body: &batch.body,
            observed: batch.observed,
        };
        let receipt = match self.pipeline.ingest(raw, effects) {
            Ok(decoded) => {
                let note = decoded.first_rejection.as_ref().or(decoded.warning.as_ref());
                Receipt::Accepted { rejected: decoded.rejected, message: note.cloned().unwrap_or_default() }
            }
            Err(error) => Receipt::Malformed { message: error.to_string() },
        };
        if reply.send(receipt).is_err() {
            tracing::debug!("the sender was gone before its batch was acknowledged");
        }
    }
}

/// Runs until the submissions end (the receivers were dropped), then completes what is open and returns.
pub async fn run(
    mut engine: Engine,
    mut submissions: mpsc::Receiver<Submission>,
    clock: Arc<dyn Clock>,
    mut act: impl FnMut(Effect),
) {
    let mut interval = tokio::time::interval(CLOCK_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut effects = Vec::new();
    loop {
        let event = tokio::select! {
            biased;
            submission = submissions.recv() => submission.map_or(Event::InputEnded, Event::Submission),
            _ = interval.tick() => Event::Clock,
        };
        let ended = matches!(event, Event::InputEnded);
        engine.apply(event, clock.now(), &mut effects);
        effects.drain(..).for_each(&mut act);
        if ended {
            return;
        }
    }
}
