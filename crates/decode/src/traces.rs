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

/// Walks one `Span`; events, links and trace state are stepped over. `attributes` takes its attributes one by one, and says whether to go on.
#[inline]
pub(crate) fn walk<'a>(
    mut span: Reader<'a>,
    attributes: &mut (impl Attributes<'a> + ?Sized),
) -> Result<Option<SpanHead<'a>>, Fault> {
    let mut head = SpanHead::default();
    loop {
        if span.step_over(ATTRIBUTE_TAG, |rest| attributes.known(rest)) {
            continue;
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
