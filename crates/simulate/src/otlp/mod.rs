//! Calls as OTLP: what the two Envoy sidecars of each call write, in the batches in which they send it.
//!
//! `envoy.rs` is the dialect, which the test kit speaks too; `batch.rs` puts records into requests as sidecars flush
//! them; `counters.rs` is what they count; `teller.rs` tells a simulated mesh with all of them, window after window.

mod batch;
mod call;
mod civil;
mod counters;
mod envoy;
mod message;
mod teller;

pub use batch::{Buffers, Frame};
pub use call::{
    Asked, Callee, Connection, Exchange, Issued, Refusal, Refused, ToldBy, Traced, VALID_FOR, Workload,
    request_id,
};
pub use envoy::{Dialect, Emitted};
pub use teller::{Teller, Told};
