//! The Collector file exporter's JSON lines: one OTLP/JSON object a line, of any signal (`ecosystem.md` 1.5).

use std::collections::VecDeque;

use selvedge_model::{ObservedTime, SignalKind};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::source::{Source, damaged};
use super::{FRAME_BYTES_MAX, Frame, FrameEncoding, Next, TornTail, Unreadable};

/// Some editors put it before text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads lines; a line that holds several signals gives a frame for each.
#[derive(Default)]
pub(super) struct JsonLines {
    pending: VecDeque<Frame>,
}

/// The top of an OTLP/JSON object: which signals it holds, and when it was received if the writer says so.
#[derive(Deserialize)]
struct Top<'a> {
    #[serde(rename = "resourceSpans")]
    spans: Option<IgnoredAny>,
    #[serde(rename = "resourceMetrics")]
    metrics: Option<IgnoredAny>,
    #[serde(rename = "resourceLogs")]
    logs: Option<IgnoredAny>,
    #[serde(rename = "x-received-unix-nano", borrow)]
    received: Option<&'a RawValue>,
}

impl JsonLines {
    pub(super) fn next(&mut self, source: &mut Source, unreadable: &mut Unreadable) -> Next {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                return Next::Frame(frame);
            }
            let start = source.at_byte();
            let torn = |reason| Next::Torn(TornTail { at_byte: start, reason });
            let line = match source.line() {
                Ok(line) if line.is_empty() => return Next::End,
                Ok(line) => line,
                Err(error) if source.device_failed() => return Next::Failed(error),
                Err(error) => return torn(damaged(&error)),
            };
            let whole = line.ends_with(b"\n");
            if line.len() > FRAME_BYTES_MAX {
                return torn(format!("a line is longer than {FRAME_BYTES_MAX} bytes"));
            }
            let body = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line).trim_ascii();
            if body.is_empty() {
                continue;
            }
            match frames(body) {
                Ok(frames) => self.pending.extend(frames),
                // The last line without its end: the writer was interrupted.
                Err(reason) if !whole => return torn(format!("the last line ends in the middle: {reason}")),
                Err(reason) => unreadable.count(start, reason),
            }
        }
    }
}

/// The frames in one JSON object.
pub(super) fn frames(body: &[u8]) -> Result<Vec<Frame>, String> {
    let top: Top<'_> =
        serde_json::from_slice(body).map_err(|error| format!("not an OTLP/JSON object: {error}"))?;
    let observed = top.received.and_then(|raw| raw.get().trim_matches('"').parse().ok()).map(ObservedTime);
    let held = [
        (top.spans.is_some(), SignalKind::Traces),
        (top.metrics.is_some(), SignalKind::Metrics),
        (top.logs.is_some(), SignalKind::Logs),
    ];
    let encoding = FrameEncoding::Json;
    let frames: Vec<Frame> = held
        .into_iter()
        .filter(|(held, _)| *held)
        .map(|(_, signal)| Frame { signal, encoding, observed, body: body.to_vec() })
        .collect();
    if frames.is_empty() {
        return Err("none of resourceSpans, resourceMetrics, resourceLogs is in it".to_owned());
    }
    Ok(frames)
}
