//! What both services share: from a body taken in, over the engine, to the answer, with every request counted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use selvedge_model::SignalKind;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::admission::{Admission, Permit};
use crate::answer::Acceptance;
use crate::body::Intake;
use crate::decompress::{Compression, decompress};
use crate::handover::{Batch, Clock, Encoding, Receipt, Submission, Transport};
use crate::refusal::Refusal;
use crate::stats::{ReceiveStats, Tally};

/// The way from a service to the engine.
pub(crate) struct Door {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) submissions: mpsc::Sender<Submission>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) stats: Arc<ReceiveStats>,
    pub(crate) retry_after: Duration,
    /// Requests between their first byte and their answer: what a drain waits for.
    pub(crate) exports: TaskTracker,
}

/// What a request is about, known from its method or path and its headers.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) transport: Transport,
    pub(crate) signal: SignalKind,
    pub(crate) encoding: Encoding,
}

/// A body, taken in and decompressed.
pub(crate) struct Taken {
    body: Bytes,
    bytes_wire: usize,
    permit: Permit,
}

impl Door {
    /// The bounds for a body of at most `bytes_max`.
    pub(crate) fn intake(&self, bytes_max: usize) -> Intake<'_> {
        Intake { admission: &self.admission, bytes_max, retry_after: self.retry_after }
    }

    /// Decompresses what was taken in, within the same bounds.
    pub(crate) fn unpack(
        &self,
        compression: Option<Compression>,
        wire: Bytes,
        mut permit: Permit,
        bytes_max: usize,
    ) -> Result<Taken, Refusal> {
        let bytes_wire = wire.len();
        let body = match compression {
            Some(compression) if !wire.is_empty() => {
                decompress(compression, &wire, bytes_max, &mut permit)
                    .map_err(|failure| Refusal::of_failure(failure, bytes_max, self.retry_after))?
            }
            _ => wire,
        };
        Ok(Taken { body, bytes_wire, permit })
    }

    /// One export request: takes it in, hands it over, waits for the receipt.
    pub(crate) async fn export<F>(&self, subject: Subject, taking: F) -> Result<Acceptance, Refusal>
    where
        F: Future<Output = Result<Taken, Refusal>>,
    {
        let _in_flight = self.exports.token();
        let tally = Tally::of(self.stats.lane(subject.transport, subject.signal));
        match self.take_and_submit(subject, taking).await {
            Ok((acceptance, bytes_wire, bytes_body)) => {
                tally.accepted(bytes_wire, bytes_body, acceptance.rejected);
                Ok(acceptance)
            }
            Err(refusal) => {
                if refusal.retryable() {
                    tally.refused();
                } else {
                    tally.failed();
                }
                Err(refusal)
            }
        }
    }

    async fn take_and_submit<F>(
        &self,
        subject: Subject,
        taking: F,
    ) -> Result<(Acceptance, usize, usize), Refusal>
    where
        F: Future<Output = Result<Taken, Refusal>>,
    {
        let Taken { body, bytes_wire, permit } = taking.await?;
        let bytes_body = body.len();
        if body.is_empty() {
            // A request with nothing in it succeeds, and is nobody else's business.
            return Ok((Acceptance::default(), bytes_wire, bytes_body));
        }
        let Subject { transport, signal, encoding } = subject;
        let batch = Batch::new(signal, encoding, transport, body, self.clock.now(), permit);
        let acceptance = self.submit(batch).await?;
        Ok((acceptance, bytes_wire, bytes_body))
    }

    async fn submit(&self, batch: Batch) -> Result<Acceptance, Refusal> {
        let (reply, receipt) = oneshot::channel();
        let retry_after = self.retry_after;
        match self.submissions.try_send(Submission { batch, position: None, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Refusal::Overloaded { retry_after }),
            Err(TrySendError::Closed(_)) => return Err(Refusal::Closing { retry_after }),
        }
        match receipt.await {
            Ok(Receipt::Accepted { rejected, message }) => Ok(Acceptance { rejected, message }),
            Ok(Receipt::Malformed { message }) => Err(Refusal::Malformed(message)),
            Ok(Receipt::Overloaded { retry_after }) => Err(Refusal::Overloaded { retry_after }),
            Ok(Receipt::Unstored { reason, retry_after }) => Err(Refusal::Unstored { reason, retry_after }),
            Ok(Receipt::Closing) | Err(_) => Err(Refusal::Closing { retry_after }),
        }
    }
}
