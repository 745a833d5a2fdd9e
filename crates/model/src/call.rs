//! One request over one edge: all observations of it joined.

use crate::edge::EdgeKey;
use crate::id::{SpanId, TraceId};
use crate::observation::{Certificate, ForwardedIdentity, IdentitySource, Security};
use crate::sampling::Sampling;
use crate::symbol::Symbol;
use crate::time::EventTime;
use serde::{Deserialize, Serialize};

/// Which sides reported a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reported {
    /// Both ends.
    #[default]
    Both,
    /// Only the caller's proxy: the call left the mesh, or the callee's telemetry is missing.
    ClientOnly,
    /// Only the callee's proxy: a client without a sidecar, or the caller's telemetry is missing.
    ServerOnly,
}

/// Everything about a call that is the same for many calls of its edge. A window counts calls by shape, so that
/// checks and novelty look at each distinct shape once, however many calls have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallShape {
    /// HTTP method or the RPC word for it.
    pub method: Symbol,
    /// Templated path or RPC method.
    pub route: Symbol,
    /// HTTP status; 0 when none.
    pub status: u16,
    /// gRPC status; -1 when none.
    pub grpc_status: i16,
    /// A side said "error" without an HTTP or gRPC status that says so.
    pub error: bool,
    /// Verified identity of the caller.
    pub source_principal: Symbol,
    /// Verified identity of the callee.
    pub destination_principal: Symbol,
    /// How the caller's name is known.
    pub source_identity: IdentitySource,
    /// How the connection was protected.
    pub security: Security,
    /// TLS version.
    pub tls_version: Symbol,
    /// TLS cipher.
    pub tls_cipher: Symbol,
    /// Server name asked for.
    pub sni: Symbol,
    /// The caller's certificate.
    pub certificate: Certificate,
    /// Why the handshake failed; empty when it did not. With it, `source_principal` is always absent.
    pub handshake_failure: Symbol,
    /// An identity claimed without proof.
    pub claimed_principal: Symbol,
    /// Verdict on forwarded-certificate headers.
    pub forwarded: ForwardedIdentity,
    /// Family of the user agent.
    pub user_agent: Symbol,
    /// Protocol.
    pub protocol: Symbol,
    /// The policy that denied the request.
    pub denied_by: Symbol,
    /// The policy in dry run that would have denied the request; ours before others.
    pub shadow_denied_by: Symbol,
    /// Which sides reported.
    pub reported: Reported,
    /// Some text of the call's records was not UTF-8.
    pub repaired: bool,
    /// How many calls it stands for, by the side whose records were kept most often.
    pub sampling: Sampling,
}

impl CallShape {
    /// True when the callee failed: HTTP 5xx, a gRPC status that means a server fault, or a side that said so
    /// without a status. Client faults (4xx) are not errors of the edge.
    #[must_use]
    pub fn failed(&self) -> bool {
        // gRPC: UNKNOWN 2, DEADLINE_EXCEEDED 4, UNIMPLEMENTED 12, INTERNAL 13, UNAVAILABLE 14, DATA_LOSS 15
        // (semantic conventions for RPC, server side).
        self.status >= 500
            || matches!(self.grpc_status, 2 | 4 | 12 | 13 | 14 | 15)
            || (self.error && self.status == 0 && self.grpc_status < 0)
    }

    /// True when the callee refused or did not know what was asked: 4xx.
    #[must_use]
    pub fn refused(&self) -> bool {
        (400..500).contains(&self.status)
    }
}

/// One joined call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Call {
    /// Who called whom.
    pub edge: EdgeKey,
    /// What it looked like.
    pub shape: CallShape,
    /// Trace id; absent when no observation had one.
    pub trace_id: TraceId,
    /// The caller's span, else the callee's.
    pub span_id: SpanId,
    /// Start of the request, as the caller saw it, else the callee.
    pub start: EventTime,
    /// End of the request. The callee's word when it reported: network and caller queueing are not its latency.
    pub end: EventTime,
    /// Latency in nanoseconds, by the side that `end` is from.
    pub duration_nanos: u64,
    /// Request body bytes.
    pub request_bytes: u64,
    /// Response body bytes.
    pub response_bytes: u64,
}
