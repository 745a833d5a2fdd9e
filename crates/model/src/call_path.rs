//! Ways of requests over three workloads: who called whom, and whom that one called while it served the call.

use serde::{Deserialize, Serialize};

use crate::edge::{EdgeKey, Node};
use crate::id::TraceId;
use crate::observation::IdentitySource;
use crate::symbol::Symbol;
use crate::time::EventTime;

/// A way of requests: a route over `edge`, and then on to `onward`. Three workloads are enough to see that an edge is used
/// for somebody new, and few enough to be counted. Ordered as names became known, as edges are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallPath {
    /// From the caller to the workload that called on.
    pub edge: EdgeKey,
    /// What was asked of that one: the method.
    pub method: Symbol,
    /// And the templated path, or the RPC method.
    pub route: Symbol,
    /// The workload it called on.
    pub onward: Node,
}

impl CallPath {
    /// The second edge of the way.
    #[must_use]
    pub fn second(&self) -> EdgeKey {
        EdgeKey { source: self.edge.destination, destination: self.onward, external: false }
    }
}

/// How often a way was taken, and when first. Merging is commutative and associative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStats {
    /// Calls onward.
    pub calls: u64,
    /// Of the first of them.
    pub first: FirstOnPath,
}

/// The call over the first edge during which the call onward was made; the earliest is kept, whatever order they came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FirstOnPath {
    /// When it began.
    pub start: EventTime,
    /// The request.
    pub trace_id: TraceId,
    /// The caller's identity.
    pub principal: Symbol,
    /// What the caller's identity rests on.
    pub identity: IdentitySource,
}

impl PathStats {
    /// One call onward.
    #[must_use]
    pub fn one(first: FirstOnPath) -> Self {
        Self { calls: 1, first }
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.first = self.first.min(other.first);
    }
}
