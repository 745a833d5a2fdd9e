//! OTLP bytes into observations and metric points.
//!
//! Turns one `Export{Trace,Logs,Metrics}ServiceRequest`, protobuf or OTLP/JSON, into [`Decoded`].
//! Owns the knowledge of wire shapes (`wire`, `envelope`, `json`) and of every proxy's dialect (`field`,
//! `normalise`). Never does I/O, never panics on hostile bytes, never recurses, never allocates beyond a
//! multiple of its input. Depends on `model`. Start reading at `decoder.rs`, then `envelope.rs`, `traces.rs`.

mod attribute;
mod decoder;
mod envelope;
mod fault;
mod field;
mod json;
mod logs;
mod metrics;
mod normalise;
mod patterns;
mod point;
mod record;
mod rejection;
mod sink;
mod statement;
mod traces;
mod wire;

#[cfg(test)]
mod reading_tests;

pub use decoder::{DecodeConfig, Decoded, Decoder, Encoding, SIGNALS_MAX_DEFAULT};
pub use fault::DecodeError;
pub use normalise::{CLOCK_AHEAD_MAX, route_template};
pub use rejection::{Rejection, RejectionCounts};
pub use statement::Statement;
