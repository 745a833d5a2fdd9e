//! Protobuf spans.

use crate::attribute::{self, Attributes};
use crate::fault::Fault;
use crate::record::{SpanHead, SpanRecord};
use crate::sink::{RecordSink, Visit};
use crate::wire::Reader;

/// Tag of `Span.attributes`, a length-delimited field 9.
pub(crate) const ATTRIBUTE_TAG: u8 = 9 << 3 | 2;

/// Reads one `Span`: as one that was seen before, else in full.
pub(crate) fn span<'a, S: RecordSink>(span: Reader<'a>, visit: &mut Visit<'_, 'a, S>) -> Result<(), Fault> {
    let fields = &mut visit.scratch.fields;
    fields.clear();
    if visit.sink.span_again(&visit.resource, span, fields) {
        return Ok(());
    }
    fields.clear();
    let head =
        walk(span, &mut |attribute| attribute::read(attribute, fields).map(|()| true))?.unwrap_or_default();
    visit.sink.span(&visit.resource, &SpanRecord { head, fields });
    visit.sink.learn_span(&visit.resource, span);
    Ok(())
}

/// What every encoder writes first, and in this order. Whatever comes otherwise is left to the general way.
#[inline]
fn usual_head<'a>(span: &mut Reader<'a>) -> SpanHead<'a> {
    const BYTES: u8 = 2;
    const FIXED64: u8 = 1;
    let mut head = SpanHead::default();
    if let Some(id) = span.next_bytes::<16>(1 << 3 | BYTES) {
        head.trace_id = id;
    }
    if let Some(id) = span.next_bytes::<8>(2 << 3 | BYTES) {
        head.span_id = id;
    }
    if let Some(state) = span.next_short(3 << 3 | BYTES) {
        head.trace_state = state.rest();
    }
    if let Some(id) = span.next_bytes::<8>(4 << 3 | BYTES) {
        head.parent_span_id = id;
    }
    if let Some(name) = span.next_short(5 << 3 | BYTES) {
        head.name = name.rest();
    }
    if let Some(rest) = span.rest_at(6 << 3)
        && let Some(kind @ 0..0x80) = rest.get(1).copied()
    {
        head.kind = i32::from(kind);
        span.step_over(2);
    }
    if let Some(time) = span.next_fixed64(7 << 3 | FIXED64) {
        head.start_unix_nano = time;
    }
    if let Some(time) = span.next_fixed64(8 << 3 | FIXED64) {
        head.end_unix_nano = time;
    }
    head
}

/// Walks one `Span`; events and links are stepped over. `attributes` takes its attributes one by one, and says whether to go on.
#[inline]
pub(crate) fn walk<'a>(
    mut span: Reader<'a>,
    attributes: &mut (impl Attributes<'a> + ?Sized),
) -> Result<Option<SpanHead<'a>>, Fault> {
    let mut head = usual_head(&mut span);
    loop {
        while let Some(rest) = span.rest_at(ATTRIBUTE_TAG) {
            let known = attributes.known(rest);
            if known > 0 {
                span.step_over(known);
            } else if let Some(attribute) = span.next_short(ATTRIBUTE_TAG) {
                if !attributes.take(attribute)? {
                    return Ok(None);
                }
            } else {
                break;
            }
        }
        let Some(tag) = span.field()? else { return Ok(Some(head)) };
        match tag.field {
            9 => {
                if !attributes.take(span.message(tag)?)? {
                    return Ok(None);
                }
            }
            1 => head.trace_id = span.bytes(tag)?,
            2 => head.span_id = span.bytes(tag)?,
            3 => head.trace_state = span.bytes(tag)?,
            4 => head.parent_span_id = span.bytes(tag)?,
            5 => head.name = span.bytes(tag)?,
            6 => head.kind = span.int32(tag)?,
            7 => head.start_unix_nano = span.fixed64(tag)?,
            8 => head.end_unix_nano = span.fixed64(tag)?,
            15 => {
                let mut status = span.message(tag)?;
                while let Some(tag) = status.field()? {
                    match tag.field {
                        3 => head.status_code = status.int32(tag)?,
                        _ => status.skip(tag)?,
                    }
                }
            }
            _ => span.skip(tag)?,
        }
    }
}
