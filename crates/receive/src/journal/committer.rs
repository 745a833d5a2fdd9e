//! The thread that writes: takes the batches that wait, stores them together, hands them on in the same order.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::DropGuard;

use super::error::{JournalError, Unstored};
use super::frame::{FRAME_BYTES_MAX, FrameHeader};
use super::log::Record;
use super::{Journal, Position};
use crate::handover::{Clock, Receipt, Submission};

/// Batches of one commit: as many as one vectored write can carry, two pieces each.
const GROUP_MAX: usize = 500;

/// Where stored batches go: the engine.
pub type Outlet = mpsc::Sender<Submission>;

/// The journal's thread. It ends when the receivers have ended and all they handed over is stored and handed on.
pub struct Committing {
    thread: JoinHandle<()>,
}

impl Committing {
    /// Waits for the end. Blocks.
    ///
    /// # Errors
    /// True to its name: the thread panicked.
    pub fn join(self) -> std::thread::Result<()> {
        self.thread.join()
    }
}

impl Journal {
    /// Begins to store what comes through `inbox` and to hand it on to `outlet`. When the thread ends, however it
    /// ends, `ended` is dropped, so that a process without its journal can stop.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        self,
        inbox: mpsc::Receiver<Submission>,
        outlet: Outlet,
        clock: Arc<dyn Clock>,
        ended: DropGuard,
    ) -> Result<Committing, JournalError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|source| JournalError::Thread { source })?;
        let committer = Committer { journal: self, inbox, outlet, clock, committed: None };
        let run = move || {
            let _ended = ended;
            committer.run(&runtime);
        };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(run);
        thread.map(|thread| Committing { thread }).map_err(|source| JournalError::Thread { source })
    }
}

struct Committer {
    journal: Journal,
    inbox: mpsc::Receiver<Submission>,
    outlet: Outlet,
    clock: Arc<dyn Clock>,
    /// When the last commit began.
    committed: Option<Instant>,
}

impl Committer {
    fn run(mut self, runtime: &tokio::runtime::Runtime) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while runtime.block_on(self.gather(&mut group)) {
            self.store(&mut group);
        }
        let Self { journal: Journal { mut log, lock, .. }, .. } = self;
        log.close();
        drop(lock);
    }

    /// Waits for a batch and takes all that wait with it; false when there will be none.
    async fn gather(&mut self, group: &mut Vec<Submission>) -> bool {
        if self.inbox.recv_many(group, GROUP_MAX).await == 0 {
            return false;
        }
        let interval = self.journal.config.commit_interval;
        if !interval.is_zero() {
            let now = Instant::now();
            let due = self.committed.map_or(now, |committed| committed + interval);
            while group.len() < GROUP_MAX
                && let Ok(Some(submission)) = timeout_at(due, self.inbox.recv()).await
            {
                group.push(submission);
            }
            self.committed = Some(Instant::now());
        }
        true
    }

    /// Stores the group, one segment's worth at a time.
    fn store(&mut self, group: &mut Vec<Submission>) {
        let segment_bytes = self.journal.config.segment_bytes;
        let mut rest = std::mem::take(group).into_iter().peekable();
        while rest.peek().is_some() {
            let (mut part, mut bytes) = (Vec::new(), 0);
            while let Some(submission) =
                rest.next_if(|next| part.is_empty() || bytes + size(next) <= segment_bytes)
            {
                bytes += size(&submission);
                part.push(submission);
            }
            self.commit(part);
        }
    }

    fn commit(&mut self, mut part: Vec<Submission>) {
        // Longer than receivers take unless they are told to: no capture could hold it.
        for longer in part.extract_if(.., |submission| submission.batch.body.len() > FRAME_BYTES_MAX) {
            let message = format!("the request is larger than {FRAME_BYTES_MAX} bytes; send smaller batches");
            answer(longer, Receipt::Malformed { message });
        }
        let records: Vec<Record<'_>> = part.iter().filter_map(record).collect();
        if records.is_empty() {
            return;
        }
        let began = self.clock.steady();
        let stored = self.journal.log.append(&records, began);
        let stats = &self.journal.stats;
        match stored {
            Ok(first) => {
                stats.commit(part.len(), self.clock.steady().since(began));
                for (position, mut submission) in (first..).map(Position).zip(part) {
                    submission.position = Some(position);
                    // Waits while the engine is busy; meanwhile the receivers' queue fills, and senders are refused.
                    if self.outlet.blocking_send(submission).is_err() {
                        tracing::debug!("the engine ended before a stored batch reached it");
                    }
                }
            }
            Err(reason) => {
                stats.refuse(reason, part.len());
                part.into_iter().for_each(|submission| self.refuse(submission, reason));
            }
        }
    }

    fn refuse(&self, submission: Submission, reason: Unstored) {
        let retry_after = self.journal.config.retry_after;
        answer(submission, Receipt::Unstored { reason, retry_after });
    }
}

fn answer(submission: Submission, receipt: Receipt) {
    if submission.reply.send(receipt).is_err() {
        tracing::debug!("the sender was gone before its batch was refused");
    }
}

fn record(submission: &Submission) -> Option<Record<'_>> {
    let batch = &submission.batch;
    let header = FrameHeader::of(batch.signal, batch.encoding, batch.observed, &batch.body)?;
    Some(Record { header, payload: &batch.body })
}

fn size(submission: &Submission) -> u64 {
    (super::HEADER_BYTES + submission.batch.body.len()) as u64
}
