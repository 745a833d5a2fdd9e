//! The way in for batches that come by another way than a request: whoever fetches them hands them over as the receivers
//! do, through the same admission, queue and journal, and learns the same of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use selvedge_model::{ObservedTime, SignalKind, SteadyTime};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::door::Door;
use crate::handover::{Batch, Encoding, Receipt, Submission, Transport};
use crate::stats::Tally;

/// A way to the engine beside the sockets.
#[derive(Clone)]
pub struct Entrance {
    door: Arc<Door>,
}

/// Why a batch was not taken in; nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEntry {
    /// It does not fit beside what is in flight, or too many batches wait: later.
    Full,
    /// It is larger than everything that may be in flight: never.
    TooLarge {
        /// The ration of bytes in flight.
        bytes_max: usize,
    },
    /// The engine has ended.
    Closed,
}

/// A batch that was handed over and has no receipt yet.
pub struct Entering {
    door: Arc<Door>,
    signal: SignalKind,
    bytes: usize,
    receipt: oneshot::Receiver<Receipt>,
}

impl Entrance {
    pub(crate) fn new(door: Arc<Door>) -> Self {
        Self { door }
    }

    /// The present, by our wall clock.
    #[must_use]
    pub fn now(&self) -> ObservedTime {
        self.door.clock.now()
    }

    /// The present, by the clock that nobody can set.
    #[must_use]
    pub fn steady(&self) -> SteadyTime {
        self.door.clock.steady()
    }

    /// The ration of bytes in flight, of all receivers together.
    #[must_use]
    pub fn bytes_in_flight_max(&self) -> usize {
        self.door.admission.bytes_in_flight_max()
    }

    /// Hands one message of Kafka over. Never waits.
    ///
    /// # Errors
    /// There is no room for it, or nobody to take it.
    pub fn enter(
        &self,
        signal: SignalKind,
        encoding: Encoding,
        body: Bytes,
        observed: ObservedTime,
    ) -> Result<Entering, NoEntry> {
        let bytes = body.len();
        let admission = &self.door.admission;
        let bytes_max = admission.bytes_in_flight_max();
        if bytes_max < bytes {
            return Err(NoEntry::TooLarge { bytes_max });
        }
        let permit = admission.reserve(bytes).ok_or(NoEntry::Full)?;
        let batch = Batch::new(signal, encoding, Transport::Kafka, body, observed, permit);
        let (reply, receipt) = oneshot::channel();
        match self.door.submissions.try_send(Submission { batch, position: None, reply }) {
            Ok(()) => Ok(Entering { door: Arc::clone(&self.door), signal, bytes, receipt }),
            Err(TrySendError::Full(_)) => Err(NoEntry::Full),
            Err(TrySendError::Closed(_)) => Err(NoEntry::Closed),
        }
    }
}

impl Entering {
    /// What became of it: with a journal an acceptance says that it is durable.
    pub async fn receipt(self) -> Receipt {
        let Self { door, signal, bytes, receipt } = self;
        let tally = Tally::of(door.stats.lane(Transport::Kafka, signal));
        let receipt = receipt.await.unwrap_or(Receipt::Closing);
        match &receipt {
            Receipt::Accepted { rejected, .. } => tally.accepted(bytes, bytes, *rejected),
            Receipt::Malformed { .. } => tally.failed(),
            Receipt::Overloaded { .. } | Receipt::Unstored { .. } | Receipt::Closing => tally.refused(),
        }
        receipt
    }
}

/// Whether there is telemetry that we could have read and have not: a backlog, or a broker that is away.
///
/// While it is so, that nothing arrives says nothing of the mesh, so that the engine's event time does not follow the clock:
/// else what is read next would be late, though it came in time.
#[derive(Clone, Debug, Default)]
pub struct Behind(Arc<AtomicBool>);

impl Behind {
    /// Says how it is.
    pub fn set(&self, behind: bool) {
        self.0.store(behind, Ordering::Relaxed);
    }

    /// How it is.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
