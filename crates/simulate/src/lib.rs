//! A mesh that does not exist: seeded windows of all its edges, with the noise of a real one, faults on request, and
//! labels that say what is true.
//!
//! Turns a seed and a configuration into counts of edges by window, those into calls (`signals/`), and calls into OTLP
//! (`otlp/`).
//! Owns the models of noise (`config.rs` names them with their sources) and the labels. Never does I/O, never reads a
//! clock; the same configuration gives the same windows on the same build.
//! Depends on `model`. Start reading at `mesh.rs`, then `edge.rs`, then `weather.rs`; of the calls,
//! `signals/mod.rs`; of what sidecars write of them, `otlp/mod.rs`.

mod calls;
mod config;
mod draw;
mod edge;
mod events;
mod fault;
mod label;
mod latency;
mod mesh;
pub mod otlp;
mod reporter;
mod signals;
mod topology;
mod weather;
mod words;

pub use calls::{calls_of, keys_of};
pub use config::{
    BenignEvents, Between, ByteNoise, Control, ErrorNoise, LatencyNoise, MeshConfig, Occasional, Rates,
    TelemetryNoise, VolumeNoise, between,
};
pub use fault::{Fault, FaultKind};
pub use label::{Cause, Extent, Label};
pub use latency::LatencyShape;
pub use mesh::{Mesh, WindowOf};
pub use signals::{Attack, Cover, Ground, Scenario, SignalConfig, Signals, SimulatedCall};
pub use topology::{EdgeSpec, Protocol, Tier};
