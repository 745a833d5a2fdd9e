//! JSON log records.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::{record_object, value};
use crate::fault::Fault;
use crate::field::field_of;
use crate::logs::EVENT_NAME;
use crate::record::{LogRecord, Value};
use crate::sink::{RecordSink, Visit};

/// Reads one log record; structured bodies as in protobuf (`crate::logs::log`).
pub(super) fn log<'a, S: RecordSink>(mut log: Cursor<'a>, visit: &mut Visit<'_, 'a, S>) -> Result<(), Fault> {
    let scratch = &mut *visit.scratch;
    let fields = &mut scratch.fields;
    fields.clear();
    let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
    let (mut trace_id_length, mut span_id_length) = (0, 0);
    let (mut time_unix_nano, mut observed_unix_nano) = (0, 0);
    let mut severity_number = 0;
    let mut event_name = Cow::Borrowed(&[][..]);
    let mut encoded_body = Cursor::new(&[]);
    record_object(&mut log)?;
    while let Some(key) = log.key() {
        match &key[..] {
            b"timeUnixNano" => time_unix_nano = log.integer()?,
            b"observedTimeUnixNano" => observed_unix_nano = log.integer()?,
            b"severityNumber" => severity_number = log.enumeration()?,
            b"traceId" => trace_id_length = log.id(&mut trace_id)?,
            b"spanId" => span_id_length = log.id(&mut span_id)?,
            b"attributes" => value::attributes(&mut log, fields)?,
            b"eventName" => event_name = log.string()?,
            b"body" => {
                encoded_body = log;
                log.skip();
            }
            _ => {
                log.skip();
            }
        }
    }
    if !event_name.is_empty()
        && let Some(field) = field_of(EVENT_NAME)
    {
        fields.set(field, Value::Text(event_name));
    }
    value::map_entries(encoded_body, fields)?;
    let body = value::any_value(&mut encoded_body)?;
    value::text_entries(&body, &mut scratch.nesting, fields);
    let record = LogRecord {
        time_unix_nano,
        observed_unix_nano,
        severity_number,
        trace_id: &trace_id[..trace_id_length],
        span_id: &span_id[..span_id_length],
        body: &body,
        fields,
    };
    visit.sink.log(&visit.resource, &record);
    Ok(())
}
