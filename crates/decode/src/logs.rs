//! Protobuf log records.

use std::borrow::Cow;

use crate::attribute::{self, Attributes};
use crate::fault::Fault;
use crate::field::field_of;
use crate::json;
use crate::record::{LogRecord, Value};
use crate::sink::{RecordSink, Visit};
use crate::wire::Reader;

/// The attribute name under which the record's event name is offered to the field table.
pub(crate) const EVENT_NAME: &[u8] = b"event.name";

/// Tag of `LogRecord.attributes`, a length-delimited field 6.
pub(crate) const ATTRIBUTE_TAG: u8 = 6 << 3 | 2;

/// What a log record says outside of its attributes.
#[derive(Clone, Copy)]
pub(crate) struct LogHead<'a> {
    pub(crate) time_unix_nano: u64,
    pub(crate) observed_unix_nano: u64,
    pub(crate) severity_number: i32,
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    pub(crate) event_name: &'a [u8],
    pub(crate) body: Reader<'a>,
}

impl LogHead<'_> {
    /// True when all that the record says is in its attributes.
    pub(crate) fn is_bare(&self) -> bool {
        self.event_name.is_empty() && self.body.rest().is_empty()
    }
}

/// Reads one `LogRecord`: as one that was seen before, else in full. A structured body counts as more attributes, after
/// the record's own: a proxy's JSON access log may come as attributes, as a map body, or as text that is a JSON object.
pub(crate) fn log<'a, S: RecordSink>(log: Reader<'a>, visit: &mut Visit<'_, 'a, S>) -> Result<(), Fault> {
    let scratch = &mut *visit.scratch;
    let fields = &mut scratch.fields;
    fields.clear();
    if visit.sink.log_again(&visit.resource, log, fields) {
        return Ok(());
    }
    fields.clear();
    let head = walk(log, &mut |attribute| attribute::read(attribute, fields).map(|()| true))?;
    let Some(mut head) = head else { return Ok(()) };
    let is_bare = head.is_bare();
    if !head.event_name.is_empty()
        && let Some(field) = field_of(EVENT_NAME)
    {
        fields.set(field, Value::Text(Cow::Borrowed(head.event_name)));
    }
    let body = attribute::any_value(head.body)?;
    while let Some(tag) = head.body.field()? {
        match tag.field {
            6 => attribute::map_entries(head.body.message(tag)?, fields)?,
            _ => head.body.skip(tag)?,
        }
    }
    json::text_entries(&body, &mut scratch.nesting, fields);
    let record = LogRecord {
        time_unix_nano: head.time_unix_nano,
        observed_unix_nano: head.observed_unix_nano,
        severity_number: head.severity_number,
        trace_id: head.trace_id,
        span_id: head.span_id,
        body: &body,
        fields,
    };
    visit.sink.log(&visit.resource, &record);
    if is_bare {
        visit.sink.learn_log(&visit.resource, log);
    }
    Ok(())
}

/// Walks one `LogRecord`. `attributes` takes its attributes, and says whether to go on.
#[inline]
pub(crate) fn walk<'a>(
    mut log: Reader<'a>,
    attributes: &mut (impl Attributes<'a> + ?Sized),
) -> Result<Option<LogHead<'a>>, Fault> {
    let mut head = LogHead {
        time_unix_nano: 0,
        observed_unix_nano: 0,
        severity_number: 0,
        trace_id: &[],
        span_id: &[],
        event_name: &[],
        body: Reader::new(&[]),
    };
    loop {
        if log.step_over(ATTRIBUTE_TAG, |rest| attributes.known(rest)) {
            continue;
        }
        let Some(tag) = log.field()? else { return Ok(Some(head)) };
        match tag.field {
            6 => {
                if !attributes.take(log.message(tag)?)? {
                    return Ok(None);
                }
            }
            1 => head.time_unix_nano = log.fixed64(tag)?,
            2 => head.severity_number = log.int32(tag)?,
            5 => head.body = log.message(tag)?,
            9 => head.trace_id = log.bytes(tag)?,
            10 => head.span_id = log.bytes(tag)?,
            11 => head.observed_unix_nano = log.fixed64(tag)?,
            12 => head.event_name = log.bytes(tag)?,
            _ => log.skip(tag)?,
        }
    }
}
