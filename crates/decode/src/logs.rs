//! Protobuf log records.

use std::borrow::Cow;

use crate::attribute;
use crate::expected::Owner;
use crate::fault::Fault;
use crate::field::field_of;
use crate::json;
use crate::record::{LogRecord, Value};
use crate::sink::{RecordSink, Visit};
use crate::wire::Reader;

/// The attribute name under which the record's event name is offered to the field table.
pub(crate) const EVENT_NAME: &[u8] = b"event.name";

/// Reads one `LogRecord`. A structured body counts as more attributes, after the record's own: a proxy's JSON
/// access log may come as attributes, as a map body, or as text that is a JSON object.
pub(crate) fn log<'a, S: RecordSink>(mut log: Reader<'a>, visit: &mut Visit<'_, 'a, S>) -> Result<(), Fault> {
    let scratch = &mut *visit.scratch;
    let fields = &mut scratch.fields;
    fields.clear();
    scratch.names.restart(Owner::Record);
    let (mut time_unix_nano, mut observed_unix_nano) = (0, 0);
    let mut severity_number = 0;
    let (mut trace_id, mut span_id, mut event_name): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    let mut encoded_body = Reader::new(&[]);
    while let Some(tag) = log.field()? {
        match tag.field {
            1 => time_unix_nano = log.fixed64(tag)?,
            2 => severity_number = log.int32(tag)?,
            5 => encoded_body = log.message(tag)?,
            6 => attribute::read(log.message(tag)?, &mut scratch.names, fields)?,
            9 => trace_id = log.bytes(tag)?,
            10 => span_id = log.bytes(tag)?,
            11 => observed_unix_nano = log.fixed64(tag)?,
            12 => event_name = log.bytes(tag)?,
            _ => log.skip(tag)?,
        }
    }
    if !event_name.is_empty()
        && let Some(field) = field_of(EVENT_NAME)
    {
        fields.set(field, Value::Text(Cow::Borrowed(event_name)));
    }
    let body = attribute::any_value(encoded_body)?;
    while let Some(tag) = encoded_body.field()? {
        match tag.field {
            6 => attribute::map_entries(encoded_body.message(tag)?, fields)?,
            _ => encoded_body.skip(tag)?,
        }
    }
    json::text_entries(&body, &mut scratch.nesting, fields);
    let record = LogRecord {
        time_unix_nano,
        observed_unix_nano,
        severity_number,
        trace_id,
        span_id,
        body: &body,
        fields,
    };
    visit.sink.log(&visit.resource, &record);
    Ok(())
}
