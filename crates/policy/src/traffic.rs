//! What policies are tried against: calls that are alike, in words, with what the telemetry could prove about them.

use selvedge_model::{Endpoint, IdentitySource};

/// Calls that are alike to every policy, within one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficRow {
    /// The minute, as its first second in Unix time.
    pub minute_seconds: u64,
    /// Caller, with its verified principal; the principal is empty when none was proven.
    pub source: Endpoint,
    /// How the caller's name is known.
    pub source_identity: IdentitySource,
    /// True: the peer proved its principal. False: it proved none (plaintext, or TLS without a client certificate).
    /// `None`: no record of the callee's side says.
    pub authenticated: Option<bool>,
    /// Callee, with its principal where known.
    pub destination: Endpoint,
    /// The callee is not in the mesh.
    pub external: bool,
    /// HTTP method; empty when not recorded.
    pub method: String,
    /// Route template; empty when not recorded. `{...}` stands for any one segment.
    pub route: String,
    /// HTTP status; 0 when none.
    pub status: u16,
    /// The policy that denied it; empty when none did.
    pub denied_by: String,
    /// The edge and route were known when the call was made, and nothing about it was flagged.
    pub normal: bool,
    /// How many.
    pub calls: u64,
}

/// Three-valued answer of a condition: a record may not say enough (Kleene's strong logic).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Truth {
    /// It does not hold.
    No,
    /// The record does not say.
    Unknown,
    /// It holds.
    Yes,
}
