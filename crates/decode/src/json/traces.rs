//! JSON spans.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::{record_object, value};
use crate::fault::Fault;
use crate::record::{SpanHead, SpanRecord};
use crate::sink::{RecordSink, Visit};

/// Reads one span.
pub(super) fn span<'a, S: RecordSink>(
    mut span: Cursor<'a>,
    visit: &mut Visit<'_, 'a, S>,
) -> Result<(), Fault> {
    let fields = &mut visit.scratch.fields;
    fields.clear();
    let (mut trace_id, mut span_id, mut parent_id) = ([0; 16], [0; 8], [0; 8]);
    let (mut trace_id_length, mut span_id_length, mut parent_id_length) = (0, 0, 0);
    let (mut name, mut trace_state) = (Cow::Borrowed(&[][..]), Cow::Borrowed(&[][..]));
    let (mut kind, mut status_code) = (0, 0);
    let (mut start_unix_nano, mut end_unix_nano) = (0, 0);
    record_object(&mut span)?;
    while let Some(key) = span.key() {
        match &key[..] {
            b"traceId" => trace_id_length = span.id(&mut trace_id)?,
            b"spanId" => span_id_length = span.id(&mut span_id)?,
            b"parentSpanId" => parent_id_length = span.id(&mut parent_id)?,
            b"name" => name = span.string()?,
            b"traceState" => trace_state = span.string()?,
            b"kind" => kind = span.enumeration()?,
            b"startTimeUnixNano" => start_unix_nano = span.integer()?,
            b"endTimeUnixNano" => end_unix_nano = span.integer()?,
            b"attributes" => value::attributes(&mut span, fields)?,
            b"status" if span.object()? => {
                while let Some(key) = span.key() {
                    match &key[..] {
                        b"code" => status_code = span.enumeration()?,
                        _ => {
                            span.skip();
                        }
                    }
                }
            }
            // A `null` status is stepped over already.
            b"status" => {}
            _ => {
                span.skip();
            }
        }
    }
    let record = SpanRecord {
        head: SpanHead {
            trace_id: &trace_id[..trace_id_length],
            span_id: &span_id[..span_id_length],
            parent_span_id: &parent_id[..parent_id_length],
            name: &name,
            kind,
            start_unix_nano,
            end_unix_nano,
            status_code,
            trace_state: &trace_state,
        },
        fields,
    };
    visit.sink.span(&visit.resource, &record);
    Ok(())
}
