//! The door: OTLP over gRPC and over HTTP, from sockets to whole batches.
//!
//! Turns connections into [`Batch`]es (decompressed bytes of one export request), hands each to the engine as a
//! [`Submission`], and turns the engine's [`Receipt`] back into the answer the OTLP specification asks for.
//! Owns the sockets, TLS, the bearer token, admission (bytes in flight) and every limit on what a sender may do, and
//! the journal, which stores batches before they are acknowledged (`journal/`).
//! Never looks inside a batch, never spawns a task that shutdown does not wait for, never drops what it accepted.
//! Depends on `model`. Start reading at `handover.rs`, then `receivers.rs`, then `grpc.rs` and `http.rs`.

mod admission;
mod answer;
mod auth;
mod begin;
mod body;
mod config;
mod config_section;
mod connection;
mod cors;
mod decompress;
mod door;
mod entrance;
mod error;
mod grpc;
mod handover;
mod http_service;
pub mod journal;
mod kafka_stats;
mod receivers;
mod refusal;
mod stats;
mod task_group;
mod tls;

pub use admission::{Admission, Permit};
pub use auth::{Secret, TokenCheck};
pub use config::{
    AuthConfig, ClientTls, ConfigError, CorsConfig, GrpcConfig, HttpConfig, Keepalive, ListenConfig,
    ReceiveConfig, SignalPaths, TlsConfig, TlsVersion,
};
pub use config_section::{
    AuthSection, CorsSection, GrpcSection, HttpSection, KeepaliveSection, OtlpSection, ProtocolsSection,
    ServerParametersSection, TlsSection,
};
pub use entrance::{Behind, Entering, Entrance, NoEntry};
pub use error::ReceiveError;
pub use handover::{Batch, Clock, Encoding, Receipt, Submission, Transport};
pub use kafka_stats::{KafkaStats, PartitionStats};
pub use receivers::{Addresses, Receivers, Reloader};
pub use stats::{Counter, Lane, ReceiveStats};
pub use task_group::TaskGroup;
