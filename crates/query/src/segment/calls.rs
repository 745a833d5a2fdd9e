//! The shape of a call's row, and what of a call is the row itself.

use selvedge_model::tables::{CALLS, TableDef};
use selvedge_model::{Call, CallShape, EdgeKey};

use crate::segment::block::Row;
use crate::segment::shape::{Cell, Shape};
use crate::segment::words;

/// Edge and shape of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallFields {
    edge: EdgeKey,
    shape: CallShape,
}

impl CallFields {
    pub(crate) fn of(call: &Call) -> Self {
        Self { edge: call.edge, shape: call.shape }
    }
}

/// What of a call is not its shape.
pub(crate) fn row(call: &Call) -> Row {
    Row {
        trace: call.trace_id.0,
        span: call.span_id.0,
        start: call.start.0,
        end: call.end.0,
        duration: call.duration_nanos,
        bytes_in: call.request_bytes,
        bytes_out: call.response_bytes,
        ..Row::default()
    }
}

impl Shape for CallFields {
    const TABLE: &'static TableDef = &CALLS;

    fn mix(&self) -> u64 {
        let (edge, shape) = (&self.edge, &self.shape);
        let ends = u64::from(edge.source.workload.0) << 32 | u64::from(edge.destination.workload.0);
        let what = u64::from(shape.route.0) << 32
            | u64::from(shape.method.0) << 20
            | u64::from(shape.status) << 8
            | shape.reported as u64;
        let who = u64::from(shape.certificate.fingerprint.0) << 32 | u64::from(shape.user_agent.0);
        (ends.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ what).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ who
    }

    #[rustfmt::skip]
    fn reader(column: &str) -> Option<fn(&Self) -> Cell> {
        Some(match column {
            "source_cluster" => |fields| Cell::Text(fields.edge.source.cluster),
            "source_namespace" => |fields| Cell::Text(fields.edge.source.namespace),
            "source_workload" => |fields| Cell::Text(fields.edge.source.workload),
            "source_principal" => |fields| Cell::Text(fields.shape.source_principal),
            "source_identity" => |fields| Cell::Word(fields.shape.source_identity.name()),
            "destination_cluster" => |fields| Cell::Text(fields.edge.destination.cluster),
            "destination_namespace" => |fields| Cell::Text(fields.edge.destination.namespace),
            "destination_workload" => |fields| Cell::Text(fields.edge.destination.workload),
            "destination_principal" => |fields| Cell::Text(fields.shape.destination_principal),
            "external" => |fields| Cell::Flag(fields.edge.external),
            "method" => |fields| Cell::Text(fields.shape.method),
            "route" => |fields| Cell::Text(fields.shape.route),
            "status" => |fields| words::status(fields.shape.status),
            "grpc_status" => |fields| words::grpc_status(fields.shape.grpc_status),
            "error" => |fields| Cell::Flag(fields.shape.failed()),
            "refused" => |fields| Cell::Flag(fields.shape.refused()),
            "security" => |fields| Cell::Word(words::security(fields.shape.security)),
            "tls_version" => |fields| Cell::Text(fields.shape.tls_version),
            "tls_cipher" => |fields| Cell::Text(fields.shape.tls_cipher),
            "sni" => |fields| Cell::Text(fields.shape.sni),
            "certificate_fingerprint" => |fields| Cell::Text(fields.shape.certificate.fingerprint),
            "certificate_serial" => |fields| Cell::Text(fields.shape.certificate.serial),
            "certificate_issuer" => |fields| Cell::Text(fields.shape.certificate.issuer),
            "certificate_not_before" => |fields| Cell::Time(fields.shape.certificate.not_before),
            "certificate_not_after" => |fields| Cell::Time(fields.shape.certificate.not_after),
            "handshake_failure" => |fields| Cell::Text(fields.shape.handshake_failure),
            "claimed_principal" => |fields| Cell::Text(fields.shape.claimed_principal),
            "forwarded" => |fields| Cell::Word(words::forwarded(fields.shape.forwarded)),
            "user_agent" => |fields| Cell::Text(fields.shape.user_agent),
            "protocol" => |fields| Cell::Text(fields.shape.protocol),
            "denied_by" => |fields| Cell::Text(fields.shape.denied_by),
            "shadow_denied_by" => |fields| Cell::Text(fields.shape.shadow_denied_by),
            "reported" => |fields| Cell::Word(words::reported(fields.shape.reported)),
            "repaired" => |fields| Cell::Flag(fields.shape.repaired),
            "edge_id" => |fields| Cell::Edge(fields.edge),
            _ => return None,
        })
    }
}
