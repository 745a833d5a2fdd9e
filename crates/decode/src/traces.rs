//! Protobuf spans.

use crate::attribute;
use crate::expected::Owner;
use crate::fault::Fault;
use crate::record::SpanRecord;
use crate::sink::{RecordSink, Scratch, Visit};
use crate::wire::Reader;

/// Reads one `Span`. Events, links and trace state are stepped over.
pub(crate) fn span<'a, S: RecordSink>(
    mut span: Reader<'a>,
    visit: &mut Visit<'_, 'a, S>,
) -> Result<(), Fault> {
    let Scratch { fields, names, .. } = &mut *visit.scratch;
    fields.clear();
    names.restart(Owner::Record);
    let (mut trace_id, mut span_id, mut parent_span_id): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    let mut name: &[u8] = &[];
    let (mut kind, mut status_code) = (0, 0);
    let (mut start_unix_nano, mut end_unix_nano) = (0, 0);
    while let Some(tag) = span.field()? {
        match tag.field {
            1 => trace_id = span.bytes(tag)?,
            2 => span_id = span.bytes(tag)?,
            4 => parent_span_id = span.bytes(tag)?,
            5 => name = span.bytes(tag)?,
            6 => kind = span.int32(tag)?,
            7 => start_unix_nano = span.fixed64(tag)?,
            8 => end_unix_nano = span.fixed64(tag)?,
            9 => attribute::read(span.message(tag)?, names, fields)?,
            15 => {
                let mut status = span.message(tag)?;
                while let Some(tag) = status.field()? {
                    match tag.field {
                        3 => status_code = status.int32(tag)?,
                        _ => status.skip(tag)?,
                    }
                }
            }
            _ => span.skip(tag)?,
        }
    }
    let record = SpanRecord {
        trace_id,
        span_id,
        parent_span_id,
        name,
        kind,
        start_unix_nano,
        end_unix_nano,
        status_code,
        fields,
    };
    visit.sink.span(&visit.resource, &record);
    Ok(())
}
