//! The first benchmark's sides that are not Selvedge: a load generator and a plain OTLP server, with and without decoding.
//!
//! Turns a [`payload::Shape`] into encoded requests and sends them ([`load`]); receives, decodes and drops them
//! ([`server`]). Owns the payload that both sides of a comparison get. Never runs outside loopback.
//! Depends on no crate of the workspace: the yardstick must not move with what it measures. (`bin/sql`, which has both
//! sides of the second benchmark in one program, is the exception.)
//! Start reading at `payload/mod.rs`; `cargo xtask bench` runs the comparison.

pub mod alerts;
pub mod codec;
pub mod load;
pub mod payload;
pub mod server;
mod wire;
