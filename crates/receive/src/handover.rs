//! What the door and the engine say to each other: a batch in, a receipt back.

use std::time::Duration;

use bytes::Bytes;
use selvedge_model::{ObservedTime, SignalKind, SteadyTime};
use tokio::sync::oneshot;

use crate::admission::Permit;
use crate::journal::{Position, Unstored};

/// Where "now" comes from. The binary implements it by the system clock, tests by a number.
pub trait Clock: Send + Sync {
    /// The present, by our wall clock, which may be set forward or back at any time.
    fn now(&self) -> ObservedTime;

    /// How far a clock has run that nobody can set: for how long something took, or did not happen.
    fn steady(&self) -> SteadyTime;
}

/// How the body of a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One protobuf `Export*ServiceRequest`.
    Protobuf,
    /// One OTLP/JSON `Export*ServiceRequest` (proto3 JSON with OTLP's rules for ids and enums).
    Json,
}

/// Which receiver a batch came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// OTLP/gRPC, port 4317 unless configured.
    Grpc,
    /// OTLP/HTTP, port 4318 unless configured.
    Http,
    /// Topics of Kafka, when they are read.
    Kafka,
}

impl Transport {
    /// All, in reporting order.
    pub const ALL: [Self; 3] = [Self::Grpc, Self::Http, Self::Kafka];

    /// `grpc`, `http`, `kafka`: the value of the `transport` label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Kafka => "kafka",
        }
    }
}

/// One export request as it came in, decompressed, not yet looked at.
#[derive(Debug)]
pub struct Batch {
    /// Which signal the sender says it carries, by method or path.
    pub signal: SignalKind,
    /// How `body` is written.
    pub encoding: Encoding,
    /// Which receiver took it.
    pub transport: Transport,
    /// The whole message, decompressed. Never empty: an empty request is answered at the door.
    pub body: Bytes,
    /// When its last byte had arrived.
    pub observed: ObservedTime,
    /// Its share of the bytes in flight, given back when the batch is dropped.
    permit: Permit,
}

impl Batch {
    /// A batch that holds `permit` for as long as it lives; use [`Permit::unmetered`] where nothing is rationed.
    #[must_use]
    pub fn new(
        signal: SignalKind,
        encoding: Encoding,
        transport: Transport,
        body: Bytes,
        observed: ObservedTime,
        permit: Permit,
    ) -> Self {
        Self { signal, encoding, transport, body, observed, permit }
    }

    /// Takes the batch apart, for a consumer that keeps slices of the body: the bytes stay counted as in flight
    /// until the permit is dropped.
    #[must_use]
    pub fn into_parts(self) -> (Bytes, Permit) {
        (self.body, self.permit)
    }
}

/// A batch on its way to the engine, with the place to answer. Dropping `reply` unanswered tells the sender to
/// come again later.
#[derive(Debug)]
pub struct Submission {
    /// What was received.
    pub batch: Batch,
    /// Where it stands in the journal, once it is stored there; `None` without a journal.
    pub position: Option<Position>,
    /// Where the engine says what became of it.
    pub reply: oneshot::Sender<Receipt>,
}

/// What the engine made of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Taken over. The sender will not send it again.
    Accepted {
        /// Records of the batch that were not understood (spans, data points or log records).
        rejected: u64,
        /// Why, or a warning when `rejected` is 0; empty when there is nothing to say.
        message: String,
    },
    /// Not a request of the named signal at all; the sender must not repeat it.
    Malformed {
        /// What is wrong with it.
        message: String,
    },
    /// No room now; the sender should come again.
    Overloaded {
        /// How long the sender should wait at least.
        retry_after: Duration,
    },
    /// The journal could not store it, so that it would not outlive a crash; the sender should come again.
    Unstored {
        /// Why not.
        reason: Unstored,
        /// How long the sender should wait at least.
        retry_after: Duration,
    },
    /// Shutting down; the sender should come again, perhaps to another instance.
    Closing,
}
