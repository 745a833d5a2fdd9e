//! Batches as they arrive: by flush, then sender, then buffer.

use std::collections::BTreeMap;

use prost::Message as _;
use selvedge_model::{EventTime, ObservedTime, SignalKind};

use super::envoy::{Channel, Dialect, Emitted, Record, Sender};
use super::message::{ExportLogs, ExportTraces, ResourceLogs, ResourceSpans, ScopeLogs, ScopeSpans};

/// A sidecar flushes its buffers once a second.
const FLUSH_NANOS: u64 = 1_000_000_000;
/// A sidecar splits what it flushes into requests of so many records: some 10 MB, below what receivers refuse.
const RECORDS_MAX: usize = 4_096;

/// One protobuf `Export*ServiceRequest` with its signal and the time of its receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which of the three signals.
    pub signal: SignalKind,
    /// When it was received.
    pub observed: ObservedTime,
    /// How many records it holds.
    pub records: usize,
    /// The request's bytes.
    pub payload: Vec<u8>,
}

/// The buffers of all sidecars: each has one for spans and one for each access log. They hold what was added and not
/// flushed, so that whoever flushes once a window keeps about a window of records.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    waiting: BTreeMap<(u64, Sender, Channel), Vec<Emitted>>,
}

impl Buffers {
    /// Takes records, each at its end.
    pub fn add(&mut self, emitted: impl IntoIterator<Item = Emitted>) {
        for record in emitted {
            let flush = record.end.0 / FLUSH_NANOS + 1;
            let buffer = (flush, record.sender.clone(), record.channel);
            self.waiting.entry(buffer).or_default().push(record);
        }
    }

    /// What was flushed until then, appended to `out`.
    pub fn flushed(&mut self, dialect: &Dialect, until: EventTime, out: &mut Vec<Frame>) {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0.saturating_mul(FLUSH_NANOS) > until.0 {
                return;
            }
            let ((flush, sender, channel), mut records) = entry.remove_entry();
            // A record is written when its call ends.
            records.sort_by_key(|record| record.end);
            let mut records = records.into_iter();
            while records.len() > 0 {
                out.push(frame(dialect, flush, (&sender, channel), records.by_ref().take(RECORDS_MAX)));
            }
        }
    }

    /// Everything that is left.
    pub fn rest(&mut self, dialect: &Dialect, out: &mut Vec<Frame>) {
        self.flushed(dialect, EventTime(u64::MAX), out);
    }
}

fn frame(
    dialect: &Dialect,
    flush: u64,
    (sender, channel): (&Sender, Channel),
    emitted: impl Iterator<Item = Emitted>,
) -> Frame {
    let resource = Some(dialect.resource(sender, Some(channel)));
    let (mut spans, mut log_records) = (Vec::new(), Vec::new());
    for emitted in emitted {
        match emitted.record {
            Record::Span(span) => spans.push(*span),
            Record::Log(log) => log_records.push(*log),
        }
    }
    let records = spans.len() + log_records.len();
    let (signal, payload) = match channel {
        Channel::Spans => {
            let resource_spans = vec![ResourceSpans { resource, scope_spans: vec![ScopeSpans { spans }] }];
            (SignalKind::Traces, ExportTraces { resource_spans }.encode_to_vec())
        }
        Channel::Outbound | Channel::Inbound | Channel::Connections => {
            let resource_logs = vec![ResourceLogs { resource, scope_logs: vec![ScopeLogs { log_records }] }];
            (SignalKind::Logs, ExportLogs { resource_logs }.encode_to_vec())
        }
    };
    Frame { signal, observed: ObservedTime(flush.saturating_mul(FLUSH_NANOS)), records, payload }
}
