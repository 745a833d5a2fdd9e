//! Turns windows, baselines and rules into findings with evidence.
//!
//! Owns what each finding kind means (the checks here, the numbers and words in `rules/*.yml`) and what of a judged
//! window must not be learned. Never learns, never decides what belongs together, never acts; no I/O, no clock.
//! An identity that nobody verified is told as a claim and never as a source.
//! Depends on `model` and `learn`. Start reading at `detector.rs`, then `case.rs`, then any check:
//! `transport.rs`, `certificate.rs`, `identity.rs`, `novelty.rs`, `call_path.rs`, `scan.rs`, `witness.rs`, `behaviour.rs`, `volume.rs`;
//! what takes their place once the mesh has a record: `calibrated.rs`, `calibration.rs`. What gauges alone tell: `gauged.rs`;
//! what telemetry says of itself: `telemetry.rs`.

mod authorization;
mod beacon;
mod behaviour;
mod calibrated;
pub mod calibration;
mod call_path;
mod case;
mod certificate;
mod detector;
mod draft;
mod gauged;
mod identity;
mod logs;
mod novelty;
mod parameters;
mod rule_file;
mod rule_problems;
mod rules;
mod scan;
mod statistics;
mod stories;
mod suppressed;
mod telemetry;
mod transport;
mod volume;
mod witness;

pub use calibrated::HeldBack;
pub use call_path::PathSighting;
pub use case::{Context, Sighting};
pub use detector::{Detector, Overflows};
pub use parameters::*;
pub use rules::{Rule, RuleError, RuleSet};
pub use telemetry::TelemetryCounts;
