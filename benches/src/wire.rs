//! Finds the places in an encoded request that differ from send to send, by walking the protobuf wire format.

/// Offset of a field's content in the whole message, and the content.
struct Field<'a> {
    number: u64,
    wire_type: u64,
    at: usize,
    content: &'a [u8],
}

/// What one encoded span holds at which offset.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// First byte of each trace id.
    pub(crate) trace_ids: Vec<usize>,
    /// First byte of each span id and parent span id.
    pub(crate) span_ids: Vec<usize>,
    /// First byte of each start and end time (`fixed64`).
    pub(crate) times: Vec<usize>,
    /// First byte of each request id's text.
    pub(crate) request_ids: Vec<usize>,
}

/// Attribute that carries Envoy's request id.
pub(crate) const REQUEST_ID_KEY: &str = "guid:x-request-id";

/// Walks an `ExportTraceServiceRequest`.
pub(crate) fn places(request: &[u8]) -> Places {
    let mut places = Places::default();
    for resource_spans in fields(request, 0).filter(|field| field.number == 1) {
        for scope_spans in inside(&resource_spans).filter(|field| field.number == 2) {
            for span in inside(&scope_spans).filter(|field| field.number == 2) {
                in_span(&span, &mut places);
            }
        }
    }
    places
}

fn in_span(span: &Field<'_>, places: &mut Places) {
    for field in inside(span) {
        match (field.number, field.wire_type) {
            (1, 2) => places.trace_ids.push(field.at),
            (2 | 4, 2) if field.content.len() == 8 => places.span_ids.push(field.at),
            (7 | 8, 1) => places.times.push(field.at),
            (9, 2) => places.request_ids.extend(request_id(&field)),
            _ => {}
        }
    }
}

/// Where the text of a request id begins, when this `KeyValue` is one.
fn request_id(attribute: &Field<'_>) -> Option<usize> {
    let mut parts = inside(attribute);
    let key = parts.next()?;
    let value = parts.next()?;
    (key.content == REQUEST_ID_KEY.as_bytes()).then(|| inside(&value).next().map(|text| text.at)).flatten()
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
