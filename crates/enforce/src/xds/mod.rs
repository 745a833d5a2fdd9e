//! The xDS server: live quarantines as RBAC filters, pushed to every proxy of the workloads they cut.
//!
//! Aggregated discovery (ADS), state-of-the-world and delta, of one type: `TypedExtensionConfig` (ECDS) that holds an
//! `envoy.extensions.filters.http.rbac.v3.RBAC`. A proxy asks for two resources, by default `selvedge-inbound` (on its
//! inbound listener) and `selvedge-outbound` (on its outbound one), and gets what its workload is cut by. A workload that
//! nothing cuts gets filters without rules, which allow everything: that is also the rollback.
//!
//! Enforced quarantines stand in `rules` (action DENY), shadow ones in `shadow_rules`; a policy is named after its
//! quarantine, both statistics prefixes are `selvedge_`, and each rule has its own counters.
//!
//! Which workload a proxy belongs to is said by its node: see [`Workload::of_node`].
//!
//! - Nothing is answered before the first [`XdsHandle::publish`]: a control plane that comes back without its memory
//!   would lift every quarantine. Until then streams wait, and proxies keep what they have.
//! - A version is a hash of the content. Who reconnects, or meets us after a restart, with the version that we would
//!   send is not disturbed.
//! - One answer is on its way per proxy; what is published meanwhile replaces what was waiting (policy `latest_wins`).
//! - Other types that are asked for on the stream are never answered: an empty answer would remove what another control
//!   plane gave.
//!
//! Start reading at `subscription.rs`, the protocol as a state machine; then `session.rs` and `rbac.rs`.

mod config;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod node;
mod protocol;
mod rbac;
mod registry;
mod route;
mod server;
mod session;
mod subscription;
mod world;

pub use config::{ResourceNames, TokenGate, XdsConfig, XdsTls};
pub use error::XdsError;
pub use node::Workload;
pub use registry::{NodeState, Rejection, XdsEvent, XdsEventKind, XdsHandle, XdsStanding, XdsStats, XdsView};
pub use server::XdsServer;
pub use world::{PolicyWorld, Unenforceable};
