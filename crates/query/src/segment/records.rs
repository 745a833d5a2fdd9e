//! The shape of a span's or log record's row, and what of it is the row itself.

use selvedge_model::tables::{LOG_RECORDS, SPANS, TableDef};
use selvedge_model::{
    Certificate, ForwardedIdentity, Observation, ObservationKind, Party, Security, Side, Symbol,
};

use crate::segment::block::Row;
use crate::segment::shape::{Cell, Shape};
use crate::segment::words;

/// All of an observation but its ids, times and sizes. `LOGS` tells the two tables apart: they have the same fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RecordFields<const LOGS: bool> {
    kind: ObservationKind,
    side: Side,
    origin: Symbol,
    reporter: Party,
    peer: Party,
    method: Symbol,
    route: Symbol,
    status: u16,
    grpc_status: i16,
    error: bool,
    security: Security,
    tls_version: Symbol,
    tls_cipher: Symbol,
    sni: Symbol,
    certificate: Certificate,
    handshake_failure: Symbol,
    claimed_principal: Symbol,
    forwarded: ForwardedIdentity,
    user_agent: Symbol,
    protocol: Symbol,
    denied_by: Symbol,
    shadow_denied_by: Symbol,
    repaired: u16,
}

impl<const LOGS: bool> RecordFields<LOGS> {
    pub(crate) fn of(observation: &Observation) -> Self {
        Self {
            kind: observation.kind,
            side: observation.side,
            origin: observation.origin,
            reporter: observation.reporter,
            peer: observation.peer,
            method: observation.method,
            route: observation.route,
            status: observation.status,
            grpc_status: observation.grpc_status,
            error: observation.error,
            security: observation.security,
            tls_version: observation.tls_version,
            tls_cipher: observation.tls_cipher,
            sni: observation.sni,
            certificate: observation.certificate,
            handshake_failure: observation.handshake_failure,
            claimed_principal: observation.claimed_principal,
            forwarded: observation.forwarded,
            user_agent: observation.user_agent,
            protocol: observation.protocol,
            denied_by: observation.denied_by,
            shadow_denied_by: observation.shadow_denied_by,
            repaired: u16::from(observation.repaired),
        }
    }
}

/// What of an observation is not its shape.
pub(crate) fn row(observation: &Observation) -> Row {
    Row {
        trace: observation.trace_id.0,
        request: observation.request_id.0.to_be_bytes(),
        span: observation.span_id.0,
        parent: observation.parent_span_id.0,
        start: observation.start.0,
        end: observation.end.0,
        bytes_in: observation.request_bytes,
        bytes_out: observation.response_bytes,
        ..Row::default()
    }
}

impl<const LOGS: bool> Shape for RecordFields<LOGS> {
    const TABLE: &'static TableDef = if LOGS { &LOG_RECORDS } else { &SPANS };

    fn mix(&self) -> u64 {
        let ends = u64::from(self.origin.0) << 32 | u64::from(self.peer.workload.0);
        let what = u64::from(self.route.0) << 32
            | u64::from(self.method.0) << 20
            | u64::from(self.status) << 8
            | self.side as u64;
        let who = u64::from(self.certificate.fingerprint.0) << 32 | u64::from(self.user_agent.0);
        (ends.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ what).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ who
    }

    #[rustfmt::skip]
    fn reader(column: &str) -> Option<fn(&Self) -> Cell> {
        Some(match column {
            "kind" => |fields| Cell::Word(words::kind(fields.kind)),
            "side" => |fields| Cell::Word(words::side(fields.side)),
            "reporter_cluster" => |fields| Cell::Text(fields.reporter.cluster),
            "reporter_namespace" => |fields| Cell::Text(fields.reporter.namespace),
            "reporter_workload" => |fields| Cell::Text(fields.reporter.workload),
            "reporter_principal" => |fields| Cell::Text(fields.reporter.principal),
            "reporter_identity" => |fields| Cell::Word(fields.reporter.source.name()),
            "peer_cluster" => |fields| Cell::Text(fields.peer.cluster),
            "peer_namespace" => |fields| Cell::Text(fields.peer.namespace),
            "peer_workload" => |fields| Cell::Text(fields.peer.workload),
            "peer_principal" => |fields| Cell::Text(fields.peer.principal),
            "peer_identity" => |fields| Cell::Word(fields.peer.source.name()),
            "external" => |fields| Cell::Flag(fields.peer.external),
            "method" => |fields| Cell::Text(fields.method),
            "route" => |fields| Cell::Text(fields.route),
            "status" => |fields| words::status(fields.status),
            "grpc_status" => |fields| words::grpc_status(fields.grpc_status),
            "error" => |fields| Cell::Flag(fields.error),
            "security" => |fields| Cell::Word(words::security(fields.security)),
            "tls_version" => |fields| Cell::Text(fields.tls_version),
            "tls_cipher" => |fields| Cell::Text(fields.tls_cipher),
            "sni" => |fields| Cell::Text(fields.sni),
            "certificate_fingerprint" => |fields| Cell::Text(fields.certificate.fingerprint),
            "certificate_serial" => |fields| Cell::Text(fields.certificate.serial),
            "certificate_issuer" => |fields| Cell::Text(fields.certificate.issuer),
            "certificate_not_before" => |fields| Cell::Time(fields.certificate.not_before),
            "certificate_not_after" => |fields| Cell::Time(fields.certificate.not_after),
            "handshake_failure" => |fields| Cell::Text(fields.handshake_failure),
            "claimed_principal" => |fields| Cell::Text(fields.claimed_principal),
            "forwarded" => |fields| Cell::Word(words::forwarded(fields.forwarded)),
            "user_agent" => |fields| Cell::Text(fields.user_agent),
            "protocol" => |fields| Cell::Text(fields.protocol),
            "denied_by" => |fields| Cell::Text(fields.denied_by),
            "shadow_denied_by" => |fields| Cell::Text(fields.shadow_denied_by),
            "origin" => |fields| Cell::Text(fields.origin),
            "repaired" => |fields| Cell::Code(Some(i32::from(fields.repaired))),
            _ => return None,
        })
    }
}
