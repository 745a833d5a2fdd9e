//! What one reporter says of one call: the normalised form of a span or an access-log record.

use std::time::Duration;

use crate::fate::SignalKind;
use crate::id::{RequestId, SpanId, TraceId};
use crate::sampling::Sampling;
use crate::symbol::Symbol;
use crate::time::EventTime;
use serde::{Deserialize, Serialize};

/// What kind of record an observation was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObservationKind {
    /// A span.
    #[default]
    Span,
    /// A proxy's access-log record of one request.
    AccessLog,
    /// A proxy's log record of one connection (the only place where a failed handshake shows up).
    ConnectionLog,
    /// Any other log record; it only enriches the call of its trace.
    ApplicationLog,
}

/// Which end of the call reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// The caller's proxy, or a CLIENT or PRODUCER span.
    Client,
    /// The callee's proxy, or a SERVER or CONSUMER span.
    Server,
    /// Neither: an INTERNAL span, an application log.
    #[default]
    Internal,
}

/// Where the name of a party comes from; the order is the order of trust.
/// Only [`Self::ProxyMetadata`] and above may lead to a quarantine (design section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IdentitySource {
    /// No name at all.
    #[default]
    None,
    /// A header or host name that the other end chose.
    Header,
    /// Looked up from an address.
    Address,
    /// The service of the parent span.
    ParentSpan,
    /// What the reporting proxy says of itself, or learned from the control plane.
    ProxyMetadata,
    /// A certificate that was verified in a completed mutual TLS handshake.
    MtlsCertificate,
}

impl IdentitySource {
    /// Snake-case name, as in alerts and SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Header => "header",
            Self::Address => "address",
            Self::ParentSpan => "parent_span",
            Self::ProxyMetadata => "proxy_metadata",
            Self::MtlsCertificate => "mtls_certificate",
        }
    }
}

/// One end of a call, as one reporter names it. Absent fields are [`Symbol::NONE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Party {
    /// Cluster name.
    pub cluster: Symbol,
    /// Namespace.
    pub namespace: Symbol,
    /// Workload; for a destination outside the mesh the host name, without its port.
    pub workload: Symbol,
    /// Verified identity (a SPIFFE id, or Linkerd's DNS form); never one from a failed handshake.
    pub principal: Symbol,
    /// Where the workload's name comes from.
    pub source: IdentitySource,
    /// The party is not in the mesh (an unknown host reached through a passthrough route).
    pub external: bool,
}

/// How the connection was protected, as the callee's side saw it (else the caller's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Security {
    /// The telemetry does not say.
    #[default]
    Unknown,
    /// No TLS.
    Plaintext,
    /// TLS without a client certificate.
    Tls,
    /// Mutual TLS.
    MutualTls,
}

/// The facts of the peer's certificate that the proxy logged. Absent fields are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Certificate {
    /// SHA-256 fingerprint, as text.
    pub fingerprint: Symbol,
    /// Serial number, as text.
    pub serial: Symbol,
    /// Issuer's distinguished name.
    pub issuer: Symbol,
    /// Start of validity.
    pub not_before: EventTime,
    /// End of validity.
    pub not_after: EventTime,
}

/// What a forwarded-certificate header (XFCC) says beside the verified peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ForwardedIdentity {
    /// No such header.
    #[default]
    None,
    /// A chain in which every element was added by the peer that the next element names.
    Consistent,
    /// An element that the verified chain of peers cannot have added: forged.
    Contradicts,
}

/// By whose clock the times of a record are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// The sender's.
    #[default]
    Own,
    /// Ours, by its arrival: the sender gave none.
    Absent,
    /// Ours, by its arrival: the sender's was ahead of it by so many seconds (rounded up), too far to be believed.
    Ahead(u32),
}

/// One reporter's word on one call (or connection). Copied by value; all text is in the symbol table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// What record it was.
    pub kind: ObservationKind,
    /// Which end reports.
    pub side: Side,
    /// The sender: one resource (proxy instance) and signal, for watermarks and heartbeats.
    pub origin: Symbol,
    /// Trace id.
    pub trace_id: TraceId,
    /// The reporter's own span.
    pub span_id: SpanId,
    /// The parent of that span (spans only; log records do not carry it).
    pub parent_span_id: SpanId,
    /// `x-request-id`.
    pub request_id: RequestId,
    /// Start of the request.
    pub start: EventTime,
    /// End of the request: when it could first be known. Calls are assigned to windows by it.
    pub end: EventTime,
    /// Who reports.
    pub reporter: Party,
    /// The other end, as the reporter names it.
    pub peer: Party,
    /// HTTP method, or the RPC system's word for it.
    pub method: Symbol,
    /// Templated path (`/orders/{id}`) or RPC method; empty when there is none.
    pub route: Symbol,
    /// HTTP status; 0 when none.
    pub status: u16,
    /// gRPC status code; -1 when none.
    pub grpc_status: i16,
    /// The span's status is Error, or the log's severity is at least ERROR.
    pub error: bool,
    /// Request body bytes.
    pub request_bytes: u64,
    /// Response body bytes.
    pub response_bytes: u64,
    /// How the connection was protected, as far as this side knows.
    pub security: Security,
    /// TLS version, normalised to `TLSv1.2`, `TLSv1.3`.
    pub tls_version: Symbol,
    /// TLS cipher suite.
    pub tls_cipher: Symbol,
    /// Server name the client asked for.
    pub sni: Symbol,
    /// The peer's certificate (server side).
    pub certificate: Certificate,
    /// Why the TLS handshake failed, as a short class (`certificate_expired`, `unknown_issuer`,
    /// `san_mismatch`, `no_certificate`, `plaintext_on_tls`, `other`); empty when it did not fail.
    pub handshake_failure: Symbol,
    /// An identity somebody claims without proof: from a failed handshake or a forged header. Evidence only.
    pub claimed_principal: Symbol,
    /// Verdict on forwarded-certificate headers.
    pub forwarded: ForwardedIdentity,
    /// Family of the user agent: its first product token without the version.
    pub user_agent: Symbol,
    /// `HTTP/1.1`, `HTTP/2`, ...
    pub protocol: Symbol,
    /// The authorization policy that denied the request, when the proxy names one.
    pub denied_by: Symbol,
    /// The authorization policy in dry run that would have denied the request; ours before others.
    pub shadow_denied_by: Symbol,
    /// Strings of this record that were not UTF-8 and had to be repaired.
    pub repaired: u8,
    /// Nothing better is expected of this reporter about this call: see `join`'s `Reporters`, which says so before
    /// the record is joined.
    pub last_word: bool,
    /// How many records of its kind it stands for.
    pub sampling: Sampling,
    /// By whose clock `start` and `end` are. It is looked at when the record comes in, and is in no checkpoint.
    #[serde(skip)]
    pub timing: Timing,
    /// Which version of itself the reporter says it runs, as `<what says it>=<version>`. Likewise.
    #[serde(skip)]
    pub version: Symbol,
}

// A record is copied several times on its way: what is added has to fit beside what is there.
const _: () = assert!(size_of::<Observation>() <= 224);

impl Party {
    /// True when one of its names found no room in the symbol table.
    #[must_use]
    pub fn pooled(&self) -> bool {
        [self.cluster, self.namespace, self.workload, self.principal].contains(&Symbol::OVERFLOW)
    }
}

impl Observation {
    /// True when one of its names found no room in the symbol table.
    #[must_use]
    pub fn pooled(&self) -> bool {
        let names = [
            self.origin,
            self.method,
            self.route,
            self.tls_version,
            self.tls_cipher,
            self.sni,
            self.certificate.fingerprint,
            self.certificate.serial,
            self.certificate.issuer,
            self.handshake_failure,
            self.claimed_principal,
            self.user_agent,
            self.protocol,
            self.denied_by,
            self.shadow_denied_by,
            self.version,
        ];
        names.contains(&Symbol::OVERFLOW) || self.reporter.pooled() || self.peer.pooled()
    }

    /// The signal kind this observation was received as.
    #[must_use]
    pub fn signal(&self) -> SignalKind {
        match self.kind {
            ObservationKind::Span => SignalKind::Traces,
            ObservationKind::AccessLog | ObservationKind::ConnectionLog | ObservationKind::ApplicationLog => {
                SignalKind::Logs
            }
        }
    }

    /// How long the request took.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.end.since(self.start)
    }

    /// True for records that describe a call or connection; application logs and internal spans only enrich.
    #[must_use]
    pub fn describes_call(&self) -> bool {
        self.side != Side::Internal && self.kind != ObservationKind::ApplicationLog
    }
}
