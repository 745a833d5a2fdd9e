//! Log records into observations: a proxy's record of a request or of a connection, or anything else.

use selvedge_model::{Observation, ObservationKind, ObservedTime, Side, SpanId, SymbolTable, TraceId};

use super::host::is_inbound;
use super::memo::Memory;
use super::reading::{Decimal, Reading};
use super::times::{Extent, duration_nanos, parse_time};
use super::{ResourceContext, body_text, facts};
use crate::field::Field;
use crate::record::{LogRecord, Value};
use crate::rejection::Rejection;

/// OTLP severity numbers from here on are errors.
const SEVERITY_ERROR: i32 = 17;
/// What an HTTP request has.
const REQUEST: [Field; 4] = [Field::Method, Field::Path, Field::Status, Field::Url];
/// What only a proxy writes; an application's log record may have a method and a status too.
const PROXY: [Field; 17] = [
    Field::Reporter,
    Field::Direction,
    Field::ResponseFlags,
    Field::CodeDetails,
    Field::UpstreamCluster,
    Field::UpstreamClusterName,
    Field::UpstreamHost,
    Field::ConnectionId,
    Field::FilterChain,
    Field::DownstreamAddress,
    Field::SourcePrincipal,
    Field::UpstreamPeerPrincipal,
    Field::ClientId,
    Field::TlsFailure,
    Field::TlsVersion,
    Field::Sni,
    Field::DownstreamPeer,
];
/// What a proxy's record of a connection has.
const CONNECTION: [Field; 9] = [
    Field::TlsFailure,
    Field::UpstreamTlsFailure,
    Field::FilterChain,
    Field::ConnectionId,
    Field::ResponseFlags,
    Field::SourceIdentity,
    Field::DestinationIdentity,
    Field::ZtunnelSource,
    Field::ZtunnelDestination,
];

pub(crate) fn observation(
    cx: &ResourceContext,
    record: &LogRecord<'_, '_>,
    observed: ObservedTime,
    memory: &mut Memory,
    symbols: &mut SymbolTable,
) -> Result<Observation, Rejection> {
    let text = match record.body {
        Value::Text(bytes) if body_text::is_candidate(bytes) => Some(String::from_utf8_lossy(bytes)),
        _ => None,
    };
    let body = text.as_deref().and_then(body_text::parse);
    let mut reading = Reading::new(record.fields, body.as_ref());
    if matches!((&text, &body), (Some(std::borrow::Cow::Owned(_)), Some(_))) {
        reading.count_repair();
    }
    let kind = kind(cx, &reading, body.is_some());
    let side = if kind == ObservationKind::ApplicationLog { Side::Internal } else { side(cx, &mut reading) };
    let decided = reading.looked_at();
    let times = times(record, &mut reading, observed)?;
    reading.set_looked_at(decided);
    let mut seen = facts::observe(cx, &mut reading, kind, side, b"", memory, symbols);
    finish(&mut seen, record, times, &mut reading);
    Ok(seen)
}

/// A log record that says what an earlier one said: `seen` holds that already.
pub(crate) fn again(
    seen: &mut Observation,
    cx: &ResourceContext,
    record: &LogRecord<'_, '_>,
    observed: ObservedTime,
    memory: &mut Memory,
    symbols: &mut SymbolTable,
) -> Result<(), Rejection> {
    let mut reading = Reading::new(record.fields, None);
    let times = times(record, &mut reading, observed)?;
    facts::complete(seen, cx, &mut reading, b"", memory, symbols);
    finish(seen, record, times, &mut reading);
    Ok(())
}

fn finish(seen: &mut Observation, record: &LogRecord<'_, '_>, times: Extent, reading: &mut Reading<'_>) {
    (seen.trace_id, seen.span_id) = ids(record, reading);
    seen.start = times.start;
    seen.end = times.end;
    seen.timing = times.timing;
    // ztunnel's `error` is a text; Envoy's and Linkerd's is a truth value.
    seen.error = record.severity_number >= SEVERITY_ERROR || reading.has(Field::Error) && !denies(reading);
    seen.repaired = reading.repaired();
    facts::assert_handed_on(reading);
}

fn denies(reading: &mut Reading<'_>) -> bool {
    reading.text(Field::Error).is_none_or(|text| text.eq_ignore_ascii_case("false") || text == "0")
}

fn kind(cx: &ResourceContext, reading: &Reading<'_>, known_body: bool) -> ObservationKind {
    let proxy = cx.proxy || known_body || reading.has_any(&PROXY);
    if proxy && reading.has_any(&REQUEST) {
        return ObservationKind::AccessLog;
    }
    if reading.has_any(&CONNECTION) {
        ObservationKind::ConnectionLog
    } else {
        ObservationKind::ApplicationLog
    }
}

/// Which end a proxy's record is about: its own word, its sender's, the direction of its cluster, an authenticated
/// client; and without any of them the callee's, because that is where access logs are usual.
fn side(cx: &ResourceContext, reading: &mut Reading<'_>) -> Side {
    let spoken = [Field::Reporter, Field::Direction];
    if let Some(side) = spoken.iter().find_map(|field| side_of_word(&reading.text(*field)?)) {
        return side;
    }
    if let Some(side) = cx.side {
        return side;
    }
    match reading.text(Field::UpstreamCluster) {
        Some(cluster) if is_inbound(&cluster) => Side::Server,
        Some(cluster) if is_outbound(&cluster) => Side::Client,
        _ => Side::Server,
    }
}

fn is_outbound(cluster: &str) -> bool {
    cluster.starts_with("outbound|")
        || cluster.ends_with(".consul")
        || matches!(cluster, "PassthroughCluster" | "BlackHoleCluster" | "original-destination")
}

/// The side that a word for a direction or reporter means; `inbound` and `outbound` also inside a longer name
/// (`mesh_inbound`, `outbound_80`).
pub(crate) fn side_of_word(word: &str) -> Option<Side> {
    let holds = |part: &str| {
        word.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
    };
    let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    if holds("inbound") || is(&["destination", "server", "ingress"]) {
        return Some(Side::Server);
    }
    (holds("outbound") || is(&["source", "client", "egress"])).then_some(Side::Client)
}

/// Envoy's record time is the request's start. A record that only says when it was seen was seen after its end.
fn times(
    record: &LogRecord<'_, '_>,
    reading: &mut Reading<'_>,
    observed: ObservedTime,
) -> Result<Extent, Rejection> {
    let nanos = match reading.number(Field::DurationNanos) {
        Some(nanos) => nanos,
        None => reading.decimal(Field::Duration).map_or(0, |duration: Decimal<'_>| duration_nanos(duration)),
    };
    if record.time_unix_nano != 0 {
        return Extent::from_start(record.time_unix_nano, nanos, observed);
    }
    if let Some(start) = reading.text(Field::StartTime).and_then(|text| parse_time(&text)) {
        return Extent::from_start(start, nanos, observed);
    }
    match record.observed_unix_nano {
        0 => Extent::arrived(nanos, observed),
        seen => Extent::until(seen, nanos, observed),
    }
}

/// The ids of the record itself, else those in its attributes, else those of the header that the proxy sent on.
fn ids(record: &LogRecord<'_, '_>, reading: &Reading<'_>) -> (TraceId, SpanId) {
    let trace_id = TraceId::from_wire(record.trace_id);
    if trace_id.present() {
        return (trace_id, SpanId::from_wire(record.span_id));
    }
    let trace_id = reading.bytes(Field::TraceId).map_or(TraceId::default(), TraceId::from_hex);
    if trace_id.present() {
        return (trace_id, reading.bytes(Field::SpanId).map_or(SpanId::default(), SpanId::from_hex));
    }
    // `00-<trace id>-<span id>-<flags>`.
    let mut parts = reading.bytes(Field::Traceparent).unwrap_or(b"").split(|byte| *byte == b'-').skip(1);
    let trace_id = TraceId::from_hex(parts.next().unwrap_or(b""));
    let span_id =
        if trace_id.present() { SpanId::from_hex(parts.next().unwrap_or(b"")) } else { SpanId::default() };
    (trace_id, span_id)
}
