//! The engine after a crash: batches that a process before us had stored, through the very same pipeline.
//!
//! Until recovery ends nothing is decided about quarantines: what is in force stands in the lease store, which is read
//! afterwards. The time that no process ran is a gap and no silence, but what was open stays open: a call whose other
//! half comes after the restart is still joined.

use std::time::Duration;

use selvedge_model::{ObservedTime, SteadyTime};
use selvedge_query::HistoryEnds;
use selvedge_receive::journal::{Position, Retention};

use super::Engine;
use crate::config::EngineConfig;
use crate::pipeline::{Effect, IngestError, RawBatch};
use crate::retention::{Handed, Keeper};

impl Engine {
    /// From now on the journal is told what is not needed any more. The handle says how far the engine has come.
    pub fn keep_journal(&mut self, retention: Retention, replay: Duration, config: &EngineConfig) -> Handed {
        let keeper = Keeper::new(retention, replay, &config.join);
        let handed = keeper.handed();
        self.journal = Some(keeper);
        handed
    }

    /// What comes until [`Self::end_recovery`] was received by a process before us. Rows that its history has already
    /// are not kept again.
    pub fn begin_recovery(&mut self, written: HistoryEnds) {
        self.pipeline.begin_recovery(written);
    }

    /// Takes one batch again. Its effects are for the caller to hand over, or to leave out where that was done.
    ///
    /// # Errors
    /// The body was not a message, as it was not the first time.
    pub fn recover(
        &mut self,
        batch: RawBatch<'_>,
        position: Position,
        effects: &mut Vec<Effect>,
    ) -> Result<(), IngestError> {
        self.pipeline.advance_clock(batch.steady, effects);
        let taken = self.pipeline.ingest(batch, effects).map(|_| ());
        if !effects.is_empty() {
            self.remember(effects);
        }
        self.took(Some(position), batch.observed);
        taken
    }

    /// Everything is read: the live stream goes on at `now`, by the clock of this process, after none ran for `away`.
    pub fn end_recovery(&mut self, now: SteadyTime, away: Duration) {
        self.pipeline.end_recovery(now, away);
        if let Some(journal) = &mut self.journal {
            journal.handed_over();
        }
        // With its edges, so that the first look shows what was there before.
        self.show(now, true);
    }

    /// A batch went through the pipeline.
    pub(super) fn took(&mut self, position: Option<Position>, received: ObservedTime) {
        if let (Some(journal), Some(position)) = (&mut self.journal, position) {
            journal.took(position, self.pipeline.frontier(), received);
        }
    }

    /// All effects so far were handed over; the journal may go as far as they and the windows allow.
    pub(super) fn handed_over(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.handed_over();
            journal.release(self.pipeline.frontier(), self.pipeline.watermark());
        }
    }
}
