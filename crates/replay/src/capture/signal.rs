//! Which signal a protobuf request holds, told by its structure: the three requests differ only in their records.
//!
//! All are `request.1[] -> resource_x.2[] -> scope_x.2[] -> record`. A log record's first field is a fixed 64-bit time;
//! a span's are ids, with fixed 64-bit times in 7 and 8; a metric is all text and messages.

use std::path::Path;

use selvedge_model::SignalKind;

/// Records looked at before deciding: one is enough when it is whole, more help when the first are nearly empty.
const RECORDS_LOOKED_AT: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Varint,
    Fixed64,
    Bytes,
    Fixed32,
}

/// The fields of a message: number, wire type, content of length-delimited ones. Ends with `Err` at the first byte
/// that is not a field.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Wire, &'a [u8])> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number > u64::from(u32::MAX >> 3) {
            return None;
        }
        let (wire, length) = match tag & 7 {
            0 => {
                self.varint()?;
                (Wire::Varint, 0)
            }
            1 => (Wire::Fixed64, 8),
            2 => (Wire::Bytes, usize::try_from(self.varint()?).ok()?),
            5 => (Wire::Fixed32, 4),
            _ => return None,
        };
        let (content, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some((number, wire, content))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire, &'a [u8]), ()>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field().ok_or(());
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

fn children(message: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).flatten().filter_map(move |(number, wire, content)| {
        (number == wanted && wire == Wire::Bytes).then_some(content)
    })
}

/// True when the bytes are a message whose first field is a repeated message 1, as in every OTLP request.
pub(super) fn is_request(message: &[u8]) -> bool {
    let whole = |bytes: &[u8]| fields(bytes).all(|field| field.is_ok());
    let named = fields(message).flatten().any(|(number, wire, _)| number == 1 && wire == Wire::Bytes);
    named && whole(message) && children(message, 1).take(1).all(whole)
}

/// The signal by the structure of the first records; `None` when there is no record that tells.
pub(super) fn of_request(message: &[u8]) -> Option<SignalKind> {
    children(message, 1)
        .flat_map(|resource| children(resource, 2))
        .flat_map(|scope| children(scope, 2))
        .take(RECORDS_LOOKED_AT)
        .find_map(of_record)
}

fn of_record(record: &[u8]) -> Option<SignalKind> {
    let mut seen = fields(record).flatten();
    let told = |number: u64, wire: Wire| match (number, wire) {
        // log: time_unix_nano, observed_time_unix_nano; severity_number
        (1 | 11, Wire::Fixed64) | (2, Wire::Varint) => Some(SignalKind::Logs),
        // span: start and end; kind, counts of what was dropped
        (7 | 8, Wire::Fixed64) | (6 | 10 | 12 | 14, Wire::Varint) => Some(SignalKind::Traces),
        // metric: gauge 5, sum 7, histogram 9, exponential histogram 10, summary 11; a span has text in 5, messages in
        // 9 and 11, and a log a message in 5. Only 7 tells, the rest needs what else is there.
        (7, Wire::Bytes) => Some(SignalKind::Metrics),
        _ => None,
    };
    if let Some(signal) = seen.find_map(|(number, wire, _)| told(number, wire)) {
        return Some(signal);
    }
    let has =
        |number: u64| fields(record).flatten().any(|(found, wire, _)| found == number && wire == Wire::Bytes);
    // Without times, ids of 16 and 8 bytes make a span; a name and a body of points make a metric.
    let ids = children(record, 1).any(|id| id.len() == 16) && children(record, 2).any(|id| id.len() == 8);
    let points = [5, 9, 10, 11].into_iter().any(&has);
    match (ids, has(1) && points) {
        (true, _) => Some(SignalKind::Traces),
        (false, true) => Some(SignalKind::Metrics),
        (false, false) => None,
    }
}

/// The one signal that a file's name speaks of, if it is exactly one.
pub(super) fn of_name(path: &Path) -> Option<SignalKind> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let words = [
        (["trace", "span"].as_slice(), SignalKind::Traces),
        (&["metric"], SignalKind::Metrics),
        (&["log"], SignalKind::Logs),
    ];
    let mut spoken = words.into_iter().filter(|(words, _)| words.iter().any(|word| name.contains(word)));
    match (spoken.next(), spoken.next()) {
        (Some((_, signal)), None) => Some(signal),
        _ => None,
    }
}
