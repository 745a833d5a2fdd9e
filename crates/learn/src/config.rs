//! Limits of what is learned, and when a mesh is known well enough to call something new.

use std::time::Duration;

/// Configuration of [`crate::Baselines`].
#[derive(Clone, Debug)]
pub struct LearnConfig {
    /// Edges that can be learned; past it a new edge is not learned and counted.
    pub edges_max: usize,
    /// Callers and callees that can be learned, each.
    pub nodes_max: usize,
    /// Bytes that busy edges take for what they normally do, beside the 2.5 KB of every edge; past it further ones are
    /// known as quiet ones are, less sharply (policy `stay_cold`).
    pub hot_bytes_max: usize,
    /// Routes kept for one edge.
    pub edge_routes_max: usize,
    /// Routes kept for one callee, over all its callers.
    pub callee_routes_max: usize,
    /// Bytes of the route templates that are learned from paths, for all callees together; past it what is known stays
    /// (policy `keep_known`).
    pub route_bytes_max: usize,
    /// Identities and certificate fingerprints kept for the mesh, each.
    pub identities_max: usize,
    /// Traffic time after which a mesh that nobody approved is warm.
    pub warm_after: Duration,
    /// Calls after which a mesh that nobody approved is warm; both must hold.
    pub warm_calls: u64,
}

impl Default for LearnConfig {
    fn default() -> Self {
        Self {
            // About 7 KB for a busy edge, 3.5 KB for a quiet one: 500 MB at most.
            edges_max: 100_000,
            // 27,000 edges with a request a minute or more.
            hot_bytes_max: 64 << 20,
            nodes_max: 20_000,
            edge_routes_max: 128,
            callee_routes_max: 1_024,
            // Some 180 bytes a segment: 350,000 of them. An ordinary callee has some dozens.
            route_bytes_max: 64 << 20,
            identities_max: 65_536,
            // Half an hour sees the quarter-hourly and half-hourly jobs; after 1,000 calls anything with a share of
            // at least 0.3 % of the traffic has been seen with 95 % certainty (rule of three).
            warm_after: Duration::from_mins(30),
            warm_calls: 1_000,
        }
    }
}
