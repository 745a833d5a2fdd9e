//! Findings in, incidents out: what belongs together becomes one thing that a person is woken for.
//!
//! Owns the open incidents, the rule of what joins what, and how an incident is told: title, suspects, severity.
//! Never does I/O, never reads a clock (`now` is an argument), never blames an identity that was only claimed.
//! Depends on `model` alone. Start reading at `correlator.rs`, then `grouping.rs`.

mod case;
mod change;
mod config;
mod correlator;
mod grouping;
mod illness;
mod kinds;
mod suspects;
mod title;

pub use change::VersionChange;
pub use config::CorrelateConfig;
pub use correlator::{Correlator, IncidentChange};
