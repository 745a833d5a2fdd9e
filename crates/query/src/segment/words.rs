//! What closed sets of values are called in SQL.

use selvedge_model::{ForwardedIdentity, ObservationKind, Reported, Security, Side, Temporality};

use crate::segment::shape::Cell;

/// An HTTP status; 0 is none.
pub(crate) fn status(status: u16) -> Cell {
    Cell::Code((status != 0).then_some(i32::from(status)))
}

/// A gRPC status; -1 is none.
pub(crate) fn grpc_status(status: i16) -> Cell {
    Cell::Code((status >= 0).then_some(i32::from(status)))
}

pub(crate) fn security(security: Security) -> &'static str {
    match security {
        Security::Unknown => "unknown",
        Security::Plaintext => "plaintext",
        Security::Tls => "tls",
        Security::MutualTls => "mutual_tls",
    }
}

pub(crate) fn forwarded(forwarded: ForwardedIdentity) -> &'static str {
    match forwarded {
        ForwardedIdentity::None => "none",
        ForwardedIdentity::Consistent => "consistent",
        ForwardedIdentity::Contradicts => "contradicts",
    }
}

pub(crate) fn reported(reported: Reported) -> &'static str {
    match reported {
        Reported::Both => "both",
        Reported::ClientOnly => "client_only",
        Reported::ServerOnly => "server_only",
    }
}

pub(crate) fn kind(kind: ObservationKind) -> &'static str {
    match kind {
        ObservationKind::Span => "span",
        ObservationKind::AccessLog => "access_log",
        ObservationKind::ConnectionLog => "connection_log",
        ObservationKind::ApplicationLog => "application_log",
    }
}

pub(crate) fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
        Side::Internal => "internal",
    }
}

pub(crate) fn temporality(temporality: Temporality) -> &'static str {
    match temporality {
        Temporality::Gauge => "gauge",
        Temporality::Delta => "delta",
        Temporality::Cumulative => "cumulative",
    }
}
