//! The shape that the three protobuf requests share: request -> resources -> scopes -> records.
//!
//! `Export{Trace,Logs,Metrics}ServiceRequest` and `{Traces,Logs,Metrics}Data` are the same on the wire: field 1
//! repeats `Resource{Spans,Logs,Metrics}` {1 resource, 2 scopes}, a scope is {1 scope, 2 records}.
//! A fault in this frame costs the body; a fault inside a record costs the record.

use crate::attribute;
use crate::fault::Fault;
use crate::record::Fields;
use crate::rejection::Rejection;
use crate::sink::{Contents, RecordSink, Scratch, Visit};
use crate::wire::Reader;

/// Walks one request; `record` reads one record of its signal.
pub(crate) fn walk<'a, S: RecordSink>(
    body: &'a [u8],
    scratch: &mut Scratch<'a>,
    sink: &mut S,
    record: impl Fn(Reader<'a>, &mut Visit<'_, 'a, S>) -> Result<(), Fault>,
) -> Result<Contents, Fault> {
    let mut contents = Contents::default();
    let mut request = Reader::new(body);
    while let Some(tag) = request.field()? {
        if tag.field == 1 {
            contents.resources = true;
            resource(request.message(tag)?, scratch, sink, &record)?;
        } else {
            contents.unknown.get_or_insert_with(|| format!("field {}", tag.field));
            request.skip(tag)?;
        }
    }
    Ok(contents)
}

/// One `ResourceSpans`, `ResourceLogs` or `ResourceMetrics`. Its resource may come after its records, and in
/// several parts (protobuf merges them), so it is looked for first.
fn resource<'a, S: RecordSink>(
    mut message: Reader<'a>,
    scratch: &mut Scratch<'a>,
    sink: &mut S,
    record: &impl Fn(Reader<'a>, &mut Visit<'_, 'a, S>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let resource = match only_resource(message)? {
        Only::One(encoded) => match sink.resource_again(encoded.rest()) {
            Some(known) => known,
            None => {
                scratch.fields.clear();
                resource_attributes(encoded, &mut scratch.fields)?;
                sink.resource(&scratch.fields, Some(encoded.rest()))
            }
        },
        Only::NoneOrSeveral => {
            scratch.fields.clear();
            let mut parts = message;
            while let Some(tag) = parts.field()? {
                match tag.field {
                    1 => resource_attributes(parts.message(tag)?, &mut scratch.fields)?,
                    _ => parts.skip(tag)?,
                }
            }
            sink.resource(&scratch.fields, None)
        }
    };
    let mut visit = Visit { sink, scratch, resource };
    while let Some(tag) = message.field()? {
        if tag.field == 2 {
            scope(message.message(tag)?, &mut visit, record)?;
        } else {
            message.skip(tag)?;
        }
    }
    Ok(())
}

/// How often a message has a resource.
enum Only<'a> {
    One(Reader<'a>),
    NoneOrSeveral,
}

fn only_resource(mut message: Reader<'_>) -> Result<Only<'_>, Fault> {
    let mut found = Only::NoneOrSeveral;
    let mut count = 0_u32;
    while let Some(tag) = message.field()? {
        if tag.field == 1 {
            count += 1;
            found = Only::One(message.message(tag)?);
        } else {
            message.skip(tag)?;
        }
    }
    Ok(if count == 1 { found } else { Only::NoneOrSeveral })
}

fn resource_attributes<'a>(mut resource: Reader<'a>, fields: &mut Fields<'a>) -> Result<(), Fault> {
    while let Some(tag) = resource.field()? {
        if tag.field == 1 {
            attribute::read(resource.message(tag)?, fields)?;
        } else {
            resource.skip(tag)?;
        }
    }
    Ok(())
}

/// One `ScopeSpans`, `ScopeLogs` or `ScopeMetrics`. The scope itself has nothing that we use.
fn scope<'a, S: RecordSink>(
    mut message: Reader<'a>,
    visit: &mut Visit<'_, 'a, S>,
    record: &impl Fn(Reader<'a>, &mut Visit<'_, 'a, S>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    while let Some(tag) = message.field()? {
        if tag.field != 2 {
            message.skip(tag)?;
        } else if let Err(fault) = record(message.message(tag)?, visit) {
            visit.sink.reject(Rejection::Malformed, fault);
        }
    }
    Ok(())
}
