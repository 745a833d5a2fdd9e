//! Test tools: seeds in, telemetry out; captures in, the same telemetry in other batches or under other names out.
//!
//! Owns the traffic builder, `recut`, `rename`, the golden helper and free addresses. Never part of a shipped binary
//! (dev-dependency only); everything but the last two is a pure function of its arguments and seed.
//! Depends on `model`, and on `simulate` for the words of sidecars. Start reading at `traffic.rs`.

mod address;
mod frame;
pub mod golden;
mod recut;
mod rename;
mod rng;
mod statement;
mod strip;
mod traffic;
mod wire;

pub use address::free_addresses;
pub use frame::RawFrame;
pub use golden::check as check_golden;
pub use recut::recut;
pub use rename::{Renaming, rename};
pub use rng::Rng;
pub use statement::Statement;
pub use strip::{sampled, without};
pub use traffic::{Refusal, Request, Traffic};
pub use wire::field;
