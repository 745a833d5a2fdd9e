//! What each workload's telemetry brings, in the words of its document.

use std::time::Duration;

use selvedge_act::document::{EndpointDocument, UnixNano};
use selvedge_act::reporter_document::{BySideDocument, CarriedDocument, ReporterDocument, SidesDocument};
use selvedge_engine::{BySide, Carried, ReporterSummary, Sides};

/// One workload as JSON.
pub(crate) fn document(summary: &ReporterSummary) -> ReporterDocument {
    let brought = &summary.brought;
    let rejected = brought.rejected.iter().map(|(reason, count)| (reason.name().to_owned(), count));
    ReporterDocument {
        workload: EndpointDocument::from(&summary.workload),
        heard_unix_nano: summary.heard.map(|heard| UnixNano(heard.0)),
        covers_seconds: summary.covers.as_secs_f64(),
        spans: by_side(&brought.spans),
        access_logs: by_side(&brought.access_logs),
        internal_spans: brought.internal_spans,
        connection_logs: brought.connection_logs,
        application_logs: brought.application_logs,
        metric_points: brought.points,
        requests_counted: brought.requests_counted,
        rejected: rejected.collect(),
        calls_made: sides(brought.as_caller),
        calls_answered: sides(brought.as_callee),
        ahead_seconds_max: brought.ahead_max.as_secs_f64(),
        delay_seconds_min: brought.delay_min.as_ref().map(Duration::as_secs_f64),
    }
}

fn by_side(brought: &BySide) -> BySideDocument {
    BySideDocument { client: carried(brought.client), server: carried(brought.server) }
}

fn carried(carried: Carried) -> CarriedDocument {
    let Carried {
        records,
        identity_due,
        peer_principal,
        own_principal,
        tls_version,
        sni,
        request_id,
        trace_id,
    } = carried;
    CarriedDocument {
        records,
        identity_due,
        peer_principal,
        own_principal,
        tls_version,
        sni,
        request_id,
        trace_id,
    }
}

fn sides(sides: Sides) -> SidesDocument {
    let Sides { both, client_only, server_only } = sides;
    SidesDocument { both, client_only, server_only }
}
