//! OTLP/JSON: the three requests as the specification writes them, read like the protobuf ones.
//!
//! Takes one request as text and hands its records to a sink. The syntax is checked first, over the whole body
//! (`validate.rs`): a syntax error costs the body. After that only types can be wrong: in the frame that costs
//! the body, inside a record the record. Conforms where `opentelemetry-proto` does not (`ecosystem.md` 1.4).
//! Start reading here; `cursor.rs` is how values are taken.

mod cursor;
mod logs;
mod metrics;
mod traces;
mod validate;
mod value;

use selvedge_model::SignalKind;

use crate::fault::{Fault, FaultKind};
use crate::rejection::Rejection;
use crate::sink::{Contents, RecordSink, Scratch, Visit};

use cursor::Cursor;
pub(crate) use value::text_entries;

/// The keys of one signal's frame. Keys are lowerCamelCase only; snake_case ones are unknown and ignored.
struct Names {
    resources: &'static str,
    scopes: &'static str,
    records: &'static str,
}

/// Walks one request.
pub(crate) fn walk<'a, S: RecordSink>(
    signal: SignalKind,
    body: &'a [u8],
    scratch: &mut Scratch<'a>,
    sink: &mut S,
) -> Result<Contents, Fault> {
    let request = validate::validate(body, &mut scratch.nesting)?;
    let names = |resources, scopes, records| Names { resources, scopes, records };
    match signal {
        SignalKind::Traces => {
            let names = names("resourceSpans", "scopeSpans", "spans");
            walk_frame(request, &names, scratch, sink, traces::span)
        }
        SignalKind::Logs => {
            let names = names("resourceLogs", "scopeLogs", "logRecords");
            walk_frame(request, &names, scratch, sink, logs::log)
        }
        SignalKind::Metrics => {
            let names = names("resourceMetrics", "scopeMetrics", "metrics");
            walk_frame(request, &names, scratch, sink, metrics::metric)
        }
    }
}

fn walk_frame<'a, S: RecordSink>(
    mut request: Cursor<'a>,
    names: &Names,
    scratch: &mut Scratch<'a>,
    sink: &mut S,
    record: impl Fn(Cursor<'a>, &mut Visit<'_, 'a, S>) -> Result<(), Fault>,
) -> Result<Contents, Fault> {
    let mut contents = Contents::default();
    if !request.object()? {
        return Ok(contents);
    }
    while let Some(key) = request.key() {
        if *key != *names.resources.as_bytes() {
            contents.note_unknown(&key);
            request.skip();
        } else if request.array()? {
            while request.element() {
                contents.resources = true;
                let element = request;
                request.skip();
                resource(element, names, scratch, sink, &record, &mut contents)?;
            }
        }
    }
    Ok(contents)
}

/// One element of `resourceSpans`, `resourceLogs` or `resourceMetrics`. The order of keys is free, so the
/// resource is looked for first.
fn resource<'a, S: RecordSink>(
    mut element: Cursor<'a>,
    names: &Names,
    scratch: &mut Scratch<'a>,
    sink: &mut S,
    record: &impl Fn(Cursor<'a>, &mut Visit<'_, 'a, S>) -> Result<(), Fault>,
    contents: &mut Contents,
) -> Result<(), Fault> {
    scratch.fields.clear();
    let mut first_pass = element;
    if !first_pass.object()? {
        return Ok(());
    }
    while let Some(key) = first_pass.key() {
        if *key != *b"resource" {
            first_pass.skip();
        } else if first_pass.object()? {
            while let Some(key) = first_pass.key() {
                if *key == *b"attributes" {
                    value::attributes(&mut first_pass, &mut scratch.fields)?;
                } else {
                    first_pass.skip();
                }
            }
        }
    }
    let resource = sink.resource(&scratch.fields, None);
    let mut visit = Visit { sink, scratch, resource };
    element.object()?;
    while let Some(key) = element.key() {
        if *key != *names.scopes.as_bytes() {
            if !matches!(&key[..], b"resource" | b"schemaUrl") {
                contents.note_unknown(&key);
            }
            element.skip();
        } else if element.array()? {
            while element.element() {
                scope(&mut element, names, &mut visit, record, contents)?;
            }
        }
    }
    Ok(())
}

/// One element of `scopeSpans`, `scopeLogs` or `scopeMetrics`.
fn scope<'a, S: RecordSink>(
    element: &mut Cursor<'a>,
    names: &Names,
    visit: &mut Visit<'_, 'a, S>,
    record: &impl Fn(Cursor<'a>, &mut Visit<'_, 'a, S>) -> Result<(), Fault>,
    contents: &mut Contents,
) -> Result<(), Fault> {
    if !element.object()? {
        return Ok(());
    }
    while let Some(key) = element.key() {
        if *key != *names.records.as_bytes() {
            if !matches!(&key[..], b"scope" | b"schemaUrl") {
                contents.note_unknown(&key);
            }
            element.skip();
        } else if element.array()? {
            while element.element() {
                let one = *element;
                element.skip();
                if let Err(fault) = record(one, visit) {
                    visit.sink.reject(Rejection::Malformed, fault);
                }
            }
        }
    }
    Ok(())
}

impl Contents {
    fn note_unknown(&mut self, key: &[u8]) {
        self.unknown.get_or_insert_with(|| {
            // A hint for a person; a hostile key must not fill the answer.
            let hint = &key[..key.len().min(64)];
            format!("key `{}`", String::from_utf8_lossy(hint).escape_debug())
        });
    }
}

/// Steps into a record; unlike for other messages, `null` is none.
fn record_object(record: &mut Cursor<'_>) -> Result<(), Fault> {
    let offset = record.offset();
    if record.object()? { Ok(()) } else { Err(Fault::new(FaultKind::JsonExpected("an object"), offset, 0)) }
}
