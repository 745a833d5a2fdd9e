//! Spans into observations.

use selvedge_model::{
    Observation, ObservationKind, ObservedTime, Sampling, Side, SpanId, SymbolTable, TraceId,
};

use super::memo::Memory;
use super::reading::Reading;
use super::times::Extent;
use super::{ResourceContext, facts};
use crate::field::Field;
use crate::record::{Fields, SpanHead, SpanRecord};
use crate::rejection::Rejection;

/// OTLP span kinds.
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;
/// OTLP's status code for errors.
const ERROR: i32 = 2;

/// A span that has to be understood.
pub(crate) fn observation(
    cx: &ResourceContext,
    record: &SpanRecord<'_, '_>,
    observed: ObservedTime,
    memory: &mut Memory,
    symbols: &mut SymbolTable,
) -> Result<Observation, Rejection> {
    let head = &record.head;
    let times = Extent::between(head.start_unix_nano, head.end_unix_nano, observed)?;
    let mut reading = Reading::new(record.fields, None);
    let side = side_of(head.kind);
    check_name(head.name, &mut reading);
    let mut seen = facts::observe(cx, &mut reading, ObservationKind::Span, side, head.name, memory, symbols);
    finish(&mut seen, head, times, &reading);
    Ok(seen)
}

/// A span that says what an earlier one said: `seen` holds that already.
pub(crate) fn again(
    seen: &mut Observation,
    cx: &ResourceContext,
    head: &SpanHead<'_>,
    times: Extent,
    fields: &Fields<'_>,
    memory: &mut Memory,
    symbols: &mut SymbolTable,
) {
    let mut reading = Reading::new(fields, None);
    check_name(head.name, &mut reading);
    facts::complete(seen, cx, &mut reading, head.name, memory, symbols);
    finish(seen, head, times, &reading);
}

pub(crate) fn side_of(kind: i32) -> Side {
    match kind {
        SERVER | CONSUMER => Side::Server,
        CLIENT | PRODUCER => Side::Client,
        _ => Side::Internal,
    }
}

/// Envoy puts the Host header into the span's name, so it breaks where that breaks.
fn check_name(name: &[u8], reading: &mut Reading<'_>) {
    if !name.is_ascii() && std::str::from_utf8(name).is_err() {
        reading.count_repair();
    }
}

fn finish(seen: &mut Observation, head: &SpanHead<'_>, times: Extent, reading: &Reading<'_>) {
    seen.trace_id = TraceId::from_wire(head.trace_id);
    seen.span_id = SpanId::from_wire(head.span_id);
    seen.parent_span_id = SpanId::from_wire(head.parent_span_id);
    seen.start = times.start;
    seen.end = times.end;
    seen.timing = times.timing;
    seen.sampling = Sampling::of_trace_state(head.trace_state);
    seen.error = head.status_code == ERROR || reading.truth(Field::Error);
    seen.repaired = reading.repaired();
    facts::assert_handed_on(reading);
}
