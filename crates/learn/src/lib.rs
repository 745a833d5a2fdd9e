//! Turns closed windows into baselines: what every edge, callee, caller and the mesh as a whole is known to do.
//!
//! Owns what is known ([`Baselines`]) and the route templates that the traffic itself teaches ([`RouteLearner`]).
//! Never judges: what must not be learned is told by the caller, and a window is learned only after it was judged.
//! Never does I/O, never reads a clock. Everything is bounded; what finds no room is counted and not learned, so a
//! flood of invented names can neither grow memory nor push out what is known.
//! Depends on `model`. Start reading at `baselines.rs`, then `edge.rs`, `mesh.rs`, `routes.rs`;
//! what an edge counts in a window is in `normal.rs`,
//! what a gauge shows in `gauges.rs`, what counters say of records in `ledger.rs`, which versions run in `versions.rs`.

use serde::{Deserialize, Serialize};

mod baselines;
mod config;
mod edge;
pub mod gauges;
mod identity;
pub mod ledger;
pub mod logs;
mod mesh;
pub mod normal;
mod onward;
mod routes;
mod tally;
pub mod versions;

pub use baselines::{Baselines, Overflows};
pub use config::LearnConfig;
pub use edge::{EdgeBaseline, Moments, RouteBaseline, RouteKey, Volume, describes_request};
pub use identity::{principal_namespace, principal_service_account, trust_domain};
pub use mesh::{DestinationBaseline, MeshBaseline, Place, SourceBaseline};
pub use onward::Onward;
pub use routes::{RouteLearner, matches_template};
pub use tally::Tally;

/// Who tells of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// Records of its calls.
    Calls,
    /// Metrics alone.
    Metrics,
}

impl KnownBy {
    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Metrics => "metrics",
        }
    }
}

/// How a baseline came to be. The order is the order of trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Provenance {
    /// From live traffic, minus what was flagged.
    #[default]
    Learned,
    /// Learned by another Selvedge, and brought here by a person.
    Imported,
    /// A person said that this traffic is what should be.
    Approved,
}

impl Provenance {
    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Imported => "imported",
            Self::Approved => "approved",
        }
    }
}
