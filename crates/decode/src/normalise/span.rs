//! Spans into observations.

use selvedge_model::{Observation, ObservationKind, ObservedTime, Side, SpanId, SymbolTable, TraceId};

use super::memo::Memory;
use super::reading::Reading;
use super::times::Extent;
use super::{ResourceContext, facts};
use crate::field::Field;
use crate::record::SpanRecord;
use crate::rejection::Rejection;

/// OTLP span kinds.
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;
/// OTLP's status code for errors.
const ERROR: i32 = 2;

pub(crate) fn observation(
    cx: &ResourceContext,
    record: &SpanRecord<'_, '_>,
    observed: ObservedTime,
    memory: &mut Memory,
    symbols: &mut SymbolTable,
) -> Result<Observation, Rejection> {
    let times = Extent::between(record.start_unix_nano, record.end_unix_nano, observed)?;
    let mut reading = Reading::new(record.fields, None);
    let side = match record.kind {
        SERVER | CONSUMER => Side::Server,
        CLIENT | PRODUCER => Side::Client,
        _ => Side::Internal,
    };
    // Envoy puts the Host header into the span's name, so it breaks where that breaks.
    if !record.name.is_ascii() && std::str::from_utf8(record.name).is_err() {
        reading.count_repair();
    }
    let mut seen =
        facts::observe(cx, &mut reading, ObservationKind::Span, side, record.name, memory, symbols);
    seen.trace_id = TraceId::from_wire(record.trace_id);
    seen.span_id = SpanId::from_wire(record.span_id);
    seen.parent_span_id = SpanId::from_wire(record.parent_span_id);
    seen.start = times.start;
    seen.end = times.end;
    seen.error = record.status_code == ERROR || reading.truth(Field::Error);
    seen.repaired = reading.repaired();
    Ok(seen)
}
