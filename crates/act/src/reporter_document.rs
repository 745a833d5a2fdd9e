//! What one workload's telemetry brings, as JSON: what the API answers, and what `selvedge doctor` judges.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{EndpointDocument, UnixNano};

/// Counts of the last minutes of one workload that reports, or that others speak of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReporterDocument {
    /// Who reports, with the identity that it has at its own end. Without a name: all that have none, and refused records
    /// that are nobody's.
    pub workload: EndpointDocument,
    /// When its latest record came in; null when only others speak of it.
    pub heard_unix_nano: Option<UnixNano>,
    /// Event time that the counts span.
    pub covers_seconds: f64,
    /// Spans of calls.
    pub spans: BySideDocument,
    /// Access-log records.
    pub access_logs: BySideDocument,
    /// Spans of no call.
    pub internal_spans: u64,
    /// Log records of connections: the only place where a refused handshake shows up.
    pub connection_logs: u64,
    /// Other log records.
    pub application_logs: u64,
    /// Metric points.
    pub metric_points: u64,
    /// Requests that its counters counted on the way out, while records of it were counted.
    pub requests_counted: u64,
    /// Records that were refused, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Calls inside the mesh that it made, by the sides that reported them.
    pub calls_made: SidesDocument,
    /// Calls inside the mesh that it answered, by the sides that reported them.
    pub calls_answered: SidesDocument,
    /// How far past its arrival a record ended, at most: a clock that is ahead.
    pub ahead_seconds_max: f64,
    /// How long before its arrival a record ended, at least: batching, the way here, or a clock that is behind. Null
    /// without records.
    pub delay_seconds_min: Option<f64>,
}

impl ReporterDocument {
    /// Records and points of all kinds.
    #[must_use]
    pub fn records(&self) -> u64 {
        let logs = self.access_logs.records() + self.connection_logs + self.application_logs;
        self.spans.records() + self.internal_spans + logs + self.metric_points
    }
}

/// Records by the side of the call that reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BySideDocument {
    /// Of calls that the workload made.
    pub client: CarriedDocument,
    /// Of calls that it answered.
    pub server: CarriedDocument,
}

/// What records carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CarriedDocument {
    /// Records.
    pub records: u64,
    /// Those of connections that may have had a verified peer: not known to be plaintext, not refused, and inside the mesh.
    /// The next four are among them.
    pub identity_due: u64,
    /// With the peer's verified identity.
    pub peer_principal: u64,
    /// With the reporter's own verified identity.
    pub own_principal: u64,
    /// With a TLS version.
    pub tls_version: u64,
    /// With the server name that the client asked for.
    pub sni: u64,
    /// With a request id.
    pub request_id: u64,
    /// With a trace id.
    pub trace_id: u64,
}

/// Calls by the sides that reported them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SidesDocument {
    /// Both.
    pub both: u64,
    /// Only the caller's.
    pub client_only: u64,
    /// Only the callee's.
    pub server_only: u64,
}

impl SidesDocument {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.both + self.client_only + self.server_only
    }
}

impl BySideDocument {
    /// Records of both sides.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.client.records + self.server.records
    }
}
