//! The same telemetry of a proxy that was told to send less.

use selvedge_model::SignalKind;

use crate::frame::RawFrame;
use crate::wire::{put, split};

/// The frame with all of its records, without these attributes of them. Metrics stay as they are.
#[must_use]
pub fn without(frame: &RawFrame, keys: &[&str]) -> RawFrame {
    // Where a record has its attributes: field 9 of a span, 6 of a log record.
    let attributes = match frame.signal {
        SignalKind::Traces => 9,
        SignalKind::Logs => 6,
        SignalKind::Metrics => return frame.clone(),
    };
    let payload = below(&frame.payload, &[1, 2, 2], &|record| stripped(record, attributes, keys));
    RawFrame { payload, ..frame.clone() }
}

/// The message with its fields of this path replaced.
fn below(message: &[u8], path: &[u64], change: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let Some((number, rest)) = path.split_first() else { return change(message) };
    let mut out = Vec::with_capacity(message.len());
    for field in split(message).unwrap_or_default() {
        match field.content.filter(|_| field.number == *number) {
            Some(content) => put(&mut out, *number, &below(content, rest, change)),
            None => out.extend(field.raw),
        }
    }
    out
}

fn stripped(record: &[u8], attributes: u64, keys: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(record.len());
    for field in split(record).unwrap_or_default() {
        let named = |pair: &[u8]| {
            let fields = split(pair).unwrap_or_default();
            let key = fields.iter().find(|field| field.number == 1).and_then(|field| field.content);
            key.is_some_and(|key| keys.iter().any(|known| known.as_bytes() == key))
        };
        if field.number != attributes || !field.content.is_some_and(named) {
            out.extend(field.raw);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Traffic;

    #[test]
    fn all_records_are_there_and_the_attributes_are_not() {
        let mut traffic = Traffic::seeded(1);
        traffic.repeat(3, "web -> cart");
        for frame in traffic.frames() {
            let less = without(&frame, &["source.principal", "http.request_id"]);
            assert_eq!(less.records().len(), frame.records().len());
            let has = |frame: &RawFrame, key: &str| {
                frame.payload.windows(key.len()).any(|window| window == key.as_bytes())
            };
            assert!(!has(&less, "source.principal") && !has(&less, "http.request_id"));
            assert_eq!(has(&less, "mesh.reporter"), has(&frame, "mesh.reporter"));
            assert_eq!(without(&frame, &[]), frame);
        }
    }
}
