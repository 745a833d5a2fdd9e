//! What a call is to the proxies on its way: the words that the dialect is spoken in.

use std::time::Duration;

use selvedge_model::{EventTime, Node, SymbolTable, TraceId};

/// How long a certificate of the mesh is valid.
pub const VALID_FOR: Duration = Duration::from_hours(24);

/// A workload by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name, which is also its service account's.
    pub name: &'a str,
}

impl<'a> Workload<'a> {
    /// The workload at one end of a call.
    pub(super) fn of(node: Node, symbols: &'a SymbolTable) -> Self {
        Self { namespace: symbols.resolve(node.namespace), name: symbols.resolve(node.workload) }
    }
}

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee<'a> {
    /// A workload of the mesh, with a sidecar.
    Workload(Workload<'a>),
    /// A host outside, reached through the caller's sidecar.
    Host(&'a str),
}

/// How somebody is connected to the callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// From sidecar to sidecar, over mutual TLS.
    Mutual,
    /// Without TLS.
    Plaintext,
    /// Over mutual TLS by a client of its own, past the caller's sidecar.
    Bypass,
}

/// Which proxies tell of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldBy {
    /// The caller's.
    pub caller: bool,
    /// The callee's.
    pub callee: bool,
}

/// What was asked and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path, as asked.
    pub path: &'a str,
    /// The client's.
    pub user_agent: &'a str,
    /// HTTP status of the answer.
    pub status: u16,
    /// gRPC status of the answer, when it is one of gRPC.
    pub grpc_status: Option<i16>,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the answer's body.
    pub bytes_sent: u64,
}

/// Where a call stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced<'a> {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that the caller was in.
    pub parent: Option<u64>,
    /// The span of the caller's sidecar.
    pub client_span: u64,
    /// The span of the callee's sidecar.
    pub server_span: u64,
    /// `x-request-id`.
    pub request_id: &'a str,
}

/// One call as its two proxies see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// Who calls; none for somebody without a name.
    pub caller: Option<Workload<'a>>,
    /// Who is called.
    pub callee: Callee<'a>,
    /// Over what.
    pub connection: Connection,
    /// Which proxies tell of it. That of a host never does.
    pub told_by: ToldBy,
    /// Whose certificate the callee sees, when it is not the caller's own.
    pub certificate_of: Option<Workload<'a>>,
    /// Whom the caller's sidecar says it is, when it is not whose certificate it presents.
    pub posing_as: Option<Workload<'a>>,
    /// Whom a forwarded-certificate header of the client's own names.
    pub forwarding: Option<Workload<'a>>,
    /// When the certificate was issued.
    pub issued: Issued,
    /// What was asked and answered.
    pub asked: Asked<'a>,
    /// Its ids.
    pub traced: Traced<'a>,
    /// Start and end as the caller's sidecar sees them.
    pub outbound: (EventTime, EventTime),
    /// Start and end as the callee's sidecar sees them.
    pub inbound: (EventTime, EventTime),
}

/// When a certificate was issued, and how many there were before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Since when it is valid, for [`VALID_FOR`].
    pub at: EventTime,
    /// Which one it is of its workload's certificates, from 0.
    pub number: u64,
}

/// Why a callee's sidecar refuses a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The certificate is of another authority.
    UnknownIssuer,
    /// The certificate is past its end.
    Expired,
    /// There is no certificate.
    NoCertificate,
}

/// A connection whose handshake was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Who refused it.
    pub callee: Workload<'a>,
    /// Whom the certificate names; counts for nothing without one.
    pub claimed: Workload<'a>,
    /// Why.
    pub refusal: Refusal,
    /// What the issue of the genuine certificate would be.
    pub issued: Issued,
    /// The callee's number of the connection.
    pub id: u64,
    /// When.
    pub at: EventTime,
}

/// A UUID of these bits, with Envoy's trace decision in place of its version.
#[must_use]
pub fn request_id(high: u64, low: u64) -> String {
    format!(
        "{:08x}-{:04x}-9{:03x}-a{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0xfff,
        low & 0xffff_ffff_ffff
    )
}

impl Exchange<'_> {
    /// Whom the certificate names.
    pub(super) fn presented(&self) -> Option<Workload<'_>> {
        self.certificate_of.or(self.caller)
    }

    pub(super) fn plaintext(&self) -> bool {
        self.connection == Connection::Plaintext
    }

    /// True when the connection to the callee was made by a sidecar.
    pub(super) fn through_sidecar(&self) -> bool {
        self.caller.is_some() && self.connection != Connection::Bypass
    }
}
