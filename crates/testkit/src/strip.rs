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
    let payload = below(&frame.payload, &[1, 2, 2], &|record| Some(stripped(record, attributes, keys)));
    RawFrame { payload: payload.unwrap_or_default(), ..frame.clone() }
}

/// The frame with the spans only that a sampler keeps which rejects traces below this threshold, in parts of 2^56 (OpenTelemetry,
/// "TraceState: Probability Sampling"). It says so in them where it is `said`. Other signals stay as they are.
#[must_use]
pub fn sampled(frame: &RawFrame, threshold: u64, said: bool) -> RawFrame {
    if frame.signal != SignalKind::Traces {
        return frame.clone();
    }
    let state = said.then(|| format!("ot=th:{threshold:014x}"));
    let payload = below(&frame.payload, &[1, 2, 2], &|span| kept(span, threshold, state.as_deref()));
    RawFrame { payload: payload.unwrap_or_default(), ..frame.clone() }
}

/// The message with its fields of this path replaced, or left out.
fn below(message: &[u8], path: &[u64], change: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let Some((number, rest)) = path.split_first() else { return change(message) };
    let mut out = Vec::with_capacity(message.len());
    for field in split(message).unwrap_or_default() {
        match field.content.filter(|_| field.number == *number) {
            Some(content) => {
                if let Some(changed) = below(content, rest, change) {
                    put(&mut out, *number, &changed);
                }
            }
            None => out.extend(field.raw),
        }
    }
    Some(out)
}

/// The span, with this trace state, if the last seven bytes of its trace id are not below the threshold.
fn kept(span: &[u8], threshold: u64, state: Option<&str>) -> Option<Vec<u8>> {
    let fields = split(span).unwrap_or_default();
    let trace_id = fields.iter().find(|field| field.number == 1).and_then(|field| field.content)?;
    let random = trace_id.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes) << 8 >> 8)?;
    if random < threshold {
        return None;
    }
    let mut out = Vec::with_capacity(span.len());
    for field in &fields {
        out.extend(field.raw);
        if let Some(state) = state.filter(|_| field.number == 2) {
            put(&mut out, 3, state.as_bytes());
        }
    }
    Some(out)
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
    fn whole_traces_are_kept_as_many_as_the_threshold_says() {
        let mut traffic = Traffic::seeded(1);
        traffic.repeat(400, "web -> cart");
        let frames = traffic.frames_of(SignalKind::Traces);
        let count = |frames: &[RawFrame]| frames.iter().map(|frame| frame.records().len()).sum::<usize>();
        let fourth: Vec<RawFrame> = frames.iter().map(|frame| sampled(frame, 3 << 54, true)).collect();
        assert!((160..240).contains(&count(&fourth)), "{} of {}", count(&fourth), count(&frames));
        let said = fourth.iter().flat_map(RawFrame::records).all(|span| {
            let state = b"\x1a\x14ot=th:c0000000000000";
            span.windows(state.len()).any(|window| window == state)
        });
        assert!(said && count(&fourth) % 2 == 0, "both sides of a call are kept or neither");
        assert_eq!(frames.iter().map(|frame| sampled(frame, 0, false)).collect::<Vec<_>>(), frames);
    }

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
