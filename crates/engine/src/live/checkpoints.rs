//! Checkpoints of a live engine: taken between two events, written by a thread of their own.
//!
//! Taking one copies what the engine knows, for as long as which telemetry waits; writing open calls down, packing and
//! storing all of it holds nobody up.
//! Only what is on the device lets the journal go: see `retention.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use selvedge_checkpoint::{Checkpoint, CheckpointStats, Folder, Found, Head};
use selvedge_model::SteadyTime;
use selvedge_receive::Clock;
use selvedge_receive::journal::Position;
use tokio::sync::mpsc;

use super::Engine;
use crate::pipeline::{Pipeline, Saved};

/// Checkpoints on their way to the disk; while there is one, a due one is left out (policy `skip`).
const TAKEN_MAX: usize = 1;

/// How checkpoints are kept.
#[derive(Clone, Debug)]
pub struct CheckpointPlan {
    /// Where.
    pub folder: Folder,
    /// Time between two.
    pub interval: Duration,
    /// How far back a restart begins: the journal is kept from there on.
    pub replay: Duration,
    /// The position of the first frame that the journal had at the start.
    pub first: u64,
    /// The captures that were taught, as digests.
    pub taught: Vec<String>,
    /// Who writes them.
    pub written_by: String,
}

/// One on its way to the disk.
struct Taken {
    head: Head,
    saved: Saved,
}

/// Takes them.
pub(super) struct Taking {
    plan: CheckpointPlan,
    outlet: mpsc::Sender<Taken>,
    last: SteadyTime,
    stats: Arc<CheckpointStats>,
}

/// Writes them. Never on the engine's thread.
pub struct CheckpointWriter {
    folder: Folder,
    replay: Duration,
    inbox: mpsc::Receiver<Taken>,
    begin: Arc<AtomicU64>,
    first: u64,
    stats: Arc<CheckpointStats>,
}

impl CheckpointWriter {
    /// Writes until the engine has ended. Blocks.
    pub fn run(mut self) {
        self.release();
        while let Some(Taken { head, saved }) = self.inbox.blocking_recv() {
            let taken_unix_nano = head.taken_unix_nano;
            let checkpoint = Checkpoint { head, sections: saved.into_sections() };
            match self.folder.write(&checkpoint) {
                Ok(path) => {
                    let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
                    self.stats.wrote(bytes, taken_unix_nano);
                    tracing::debug!(path = %path.display(), bytes, "a checkpoint is written");
                    self.release();
                }
                Err(error) => {
                    self.stats.failed();
                    let folder = self.folder.path().display();
                    tracing::error!(%folder, %error, "a checkpoint is not written; the journal is kept instead");
                }
            }
        }
    }

    /// Lets go of what a restart does not begin with.
    fn release(&self) {
        let Ok(found) = self.folder.list() else { return };
        if let Some(Some(first)) = Found::in_order_of_use(&found, self.first, self.replay).first() {
            self.begin.store(first.head.position, Ordering::Release);
            self.folder.prune(first.head.position);
        }
    }
}

impl Engine {
    /// From now on checkpoints are taken, written by the one who runs what this returns. The journal is kept from the one on
    /// that a restart would begin with.
    pub fn keep_checkpoints(
        &mut self,
        plan: CheckpointPlan,
        now: SteadyTime,
        stats: Arc<CheckpointStats>,
    ) -> CheckpointWriter {
        let (outlet, inbox) = mpsc::channel(TAKEN_MAX);
        let (folder, replay, first) = (plan.folder.clone(), plan.replay, plan.first);
        let begin = Arc::new(AtomicU64::new(0));
        if let Some(journal) = &mut self.journal {
            journal.await_checkpoints(Arc::clone(&begin));
        }
        self.checkpoints = Some(Taking { plan, outlet, last: now, stats: Arc::clone(&stats) });
        CheckpointWriter { folder, replay, inbox, begin, first, stats }
    }

    /// Goes on from what another process knew of the frames before `position`.
    pub fn resume(&mut self, pipeline: Pipeline, position: Position) {
        self.pipeline = pipeline;
        self.latest.incidents = Arc::new(self.pipeline.incidents().cloned().collect());
        if let Some(journal) = &mut self.journal {
            journal.begin_at(position);
        }
    }

    /// Takes a checkpoint when one is due and the one before it is written.
    pub(super) fn checkpoint(&mut self, clock: &dyn Clock) {
        let Some(taking) = &mut self.checkpoints else { return };
        let now = clock.steady();
        if now.since(taking.last) < taking.plan.interval {
            return;
        }
        taking.last = now;
        match taking.outlet.clone().try_reserve_owned() {
            Ok(room) => {
                if let Some(taken) = self.take_checkpoint(clock) {
                    room.send(taken);
                }
            }
            Err(_) => taking.stats.skipped(),
        }
    }

    /// The input ended: what the engine knows before it completes what is open, which the next process may complete better.
    pub(super) async fn last_checkpoint(&mut self, clock: &dyn Clock) {
        let checkpoint = self.take_checkpoint(clock);
        let Some((taking, checkpoint)) = self.checkpoints.take().zip(checkpoint) else { return };
        if taking.outlet.send(checkpoint).await.is_err() {
            tracing::error!(
                "who writes checkpoints was gone before the engine ended; the last one is not written"
            );
        }
    }

    fn take_checkpoint(&mut self, clock: &dyn Clock) -> Option<Taken> {
        let (taking, journal) = (self.checkpoints.as_ref()?, self.journal.as_ref()?);
        let began = clock.steady();
        let head = Head {
            position: journal.next().0,
            taken_unix_nano: clock.now().0,
            frontier_unix_nano: self.pipeline.frontier().0,
            written_by: taking.plan.written_by.clone(),
            begins: false,
            note: String::new(),
            taught: taking.plan.taught.clone(),
        };
        let saved = self.pipeline.save();
        let paused = clock.steady().since(began).as_nanos();
        taking.stats.paused(u64::try_from(paused).unwrap_or(u64::MAX));
        Some(Taken { head, saved })
    }
}
