//! Application logs: what a workload writes while it serves, beside what its sidecar tells.

use std::time::Duration;

use selvedge_model::{EventTime, ObservedTime, SignalKind, TraceId};

use crate::frame::RawFrame;
use crate::wire::put;

/// SDKs hand logs over each second.
const HANDED_OVER: Duration = Duration::from_secs(1);

/// One log record of a workload, as an SDK sends it: its own resource, severity, text and trace.
#[derive(Clone, Debug)]
pub struct Statement<'a> {
    /// Namespace of the workload.
    pub namespace: &'a str,
    /// The workload.
    pub workload: &'a str,
    /// The trace of the request that is being served.
    pub trace_id: TraceId,
    /// When.
    pub at: EventTime,
    /// OTLP severity number.
    pub severity: u8,
    /// What it says.
    pub text: &'a str,
}

impl Statement<'_> {
    /// As a batch of its own, received a second later.
    #[must_use]
    pub fn frame(&self) -> RawFrame {
        let mut resource = Vec::new();
        for (key, value) in [("service.name", self.workload), ("k8s.namespace.name", self.namespace)] {
            put(&mut resource, 1, &attribute(key, value));
        }
        // `fixed64 time_unix_nano = 1`, `int32 severity_number = 2`, body 5, trace id 9 (opentelemetry/proto/logs/v1).
        let mut record = vec![1 << 3 | 1];
        record.extend(self.at.0.to_le_bytes());
        record.extend([2 << 3, self.severity]);
        put(&mut record, 5, &text(self.text));
        put(&mut record, 9, &self.trace_id.0);
        let (mut scope, mut of_resource, mut payload) = (Vec::new(), Vec::new(), Vec::new());
        put(&mut scope, 2, &record);
        put(&mut of_resource, 1, &resource);
        put(&mut of_resource, 2, &scope);
        put(&mut payload, 1, &of_resource);
        RawFrame { signal: SignalKind::Logs, observed: ObservedTime(self.at.after(HANDED_OVER).0), payload }
    }
}

fn text(value: &str) -> Vec<u8> {
    let mut any = Vec::new();
    put(&mut any, 1, value.as_bytes());
    any
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    let mut pair = Vec::new();
    put(&mut pair, 1, key.as_bytes());
    put(&mut pair, 2, &text(value));
    pair
}
