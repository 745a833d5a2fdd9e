//! Finds the places in an encoded request that differ from send to send, by walking the protobuf wire format.

use crate::payload::{BUSY_BUCKET, Signal};

/// Offset of a field's content in the whole message, and the content.
struct Field<'a> {
    number: u64,
    wire_type: u64,
    at: usize,
    content: &'a [u8],
}

/// What differs from send to send, and at which offset.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// First byte of each trace id, span id and parent span id.
    pub(crate) ids: Vec<usize>,
    /// First byte of each time (`fixed64`), but for those that say since when something is counted.
    pub(crate) times: Vec<usize>,
    /// First digit of each id that is written as text, and how many digits of it differ.
    pub(crate) hex: Vec<(usize, usize)>,
    /// First byte of each count (`fixed64`) that grows.
    pub(crate) counts: Vec<usize>,
}

/// Attribute of a span that carries Envoy's request id.
pub(crate) const REQUEST_ID_KEY: &str = "guid:x-request-id";
const REQUEST_ID: &[u8] = REQUEST_ID_KEY.as_bytes();

/// Digits of a request id up to its first dash.
const REQUEST_ID_DIGITS: usize = 8;
/// As many digits as the eight bytes of an id that are patched.
const ID_DIGITS: usize = 16;
/// Where in a `traceparent` the ids begin: `00-<32 digits>-<16 digits>-01`.
const TRACEPARENT_IDS: [usize; 2] = [3, 36];

/// Walks an `Export…ServiceRequest` of the signal.
pub(crate) fn places(signal: Signal, request: &[u8]) -> Places {
    let mut places = Places::default();
    for resource in fields(request, 0).filter(|field| field.number == 1) {
        for scope in inside(&resource).filter(|field| field.number == 2) {
            for record in inside(&scope).filter(|field| field.number == 2) {
                match signal {
                    Signal::Traces => in_span(&record, &mut places),
                    Signal::Logs => in_log_record(&record, &mut places),
                    Signal::Metrics => in_metric(&record, &mut places),
                }
            }
        }
    }
    places
}

fn in_span(span: &Field<'_>, places: &mut Places) {
    for field in inside(span) {
        match (field.number, field.wire_type) {
            (1, 2) => places.ids.push(field.at),
            (2 | 4, 2) if field.content.len() == 8 => places.ids.push(field.at),
            (7 | 8, 1) => places.times.push(field.at),
            (9, 2) => in_attribute(&field, places),
            _ => {}
        }
    }
}

fn in_log_record(record: &Field<'_>, places: &mut Places) {
    for field in inside(record) {
        match (field.number, field.wire_type) {
            (1, 1) => places.times.push(field.at),
            (9 | 10, 2) => places.ids.push(field.at),
            (6, 2) => in_attribute(&field, places),
            _ => {}
        }
    }
}

/// The digits of an id, when this `KeyValue` holds one.
fn in_attribute(attribute: &Field<'_>, places: &mut Places) {
    let mut parts = inside(attribute);
    let (Some(key), Some(value)) = (parts.next(), parts.next()) else { return };
    let Some(text) = inside(&value).next() else { return };
    match key.content {
        REQUEST_ID | b"http.request_id" | b"stream.id" => places.hex.push((text.at, REQUEST_ID_DIGITS)),
        b"trace_id" | b"span_id" => places.hex.push((text.at, ID_DIGITS)),
        b"traceparent" => places.hex.extend(TRACEPARENT_IDS.map(|from| (text.at + from, ID_DIGITS))),
        _ => {}
    }
}

/// Of a gauge only the time moves; a counter and a histogram count on.
fn in_metric(metric: &Field<'_>, places: &mut Places) {
    for data in inside(metric).filter(|field| matches!(field.number, 5 | 7 | 9) && field.wire_type == 2) {
        for point in inside(&data).filter(|field| field.number == 1) {
            for field in inside(&point) {
                match (data.number, field.number, field.wire_type) {
                    (_, 3, 1) => places.times.push(field.at),
                    // The value of a counter; the count of a histogram.
                    (7, 6, 1) | (9, 4, 1) => places.counts.push(field.at),
                    (9, 6, 2) => places.counts.push(field.at + 8 * BUSY_BUCKET),
                    _ => {}
                }
            }
        }
    }
}

fn inside<'a>(field: &Field<'a>) -> impl Iterator<Item = Field<'a>> {
    fields(field.content, field.at)
}

/// The fields of a message that starts at offset `base` of the whole. Our own encoder wrote it, so it is well formed.
fn fields(message: &[u8], base: usize) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= message.len() {
            return None;
        }
        let tag = varint(message, &mut at);
        let length = match tag & 7 {
            0 => {
                let start = at;
                varint(message, &mut at);
                let length = at - start;
                at = start;
                length
            }
            1 => 8,
            5 => 4,
            _ => usize::try_from(varint(message, &mut at)).expect("our own message fits in memory"),
        };
        let field =
            Field { number: tag >> 3, wire_type: tag & 7, at: base + at, content: &message[at..at + length] };
        at += length;
        Some(field)
    })
}

fn varint(message: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = message[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
