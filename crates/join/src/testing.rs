//! Invented traffic for this crate's tests: one exchange between two workloads, as its four records tell it.

use std::collections::BTreeMap;

use selvedge_model::{
    EdgeKey, EdgeWindow, EventTime, IdentitySource, Observation, ObservationKind, Party, RequestId, Security,
    Side, SpanId, Symbol, TraceId, Window,
};

use crate::delta::TickDelta;

pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLI;
/// Some time, at the start of a ten-second window.
pub(crate) const BASE: u64 = 1_000_000 * SECOND;

pub(crate) const WEB: u32 = 101;
pub(crate) const CART: u32 = 102;
pub(crate) const LEDGER: u32 = 103;

pub(crate) fn at_millis(millis: u64) -> EventTime {
    EventTime(BASE + millis * MILLI)
}

/// What a proxy says of itself.
pub(crate) fn own(workload: u32) -> Party {
    Party {
        namespace: Symbol(90),
        workload: Symbol(workload),
        principal: Symbol(workload + 1_000),
        source: IdentitySource::ProxyMetadata,
        ..Party::default()
    }
}

/// What the other side's proxy read from the certificate.
pub(crate) fn verified(workload: u32) -> Party {
    Party { source: IdentitySource::MtlsCertificate, ..own(workload) }
}

/// One request from one workload to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) trace: u8,
    pub(crate) request: u128,
    /// Distinguishes the exchanges of one trace; span ids derive from it.
    pub(crate) number: u8,
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// Start at the caller, in milliseconds after the base.
    pub(crate) start: u64,
    /// Duration at the caller; the callee takes two milliseconds less.
    pub(crate) took: u64,
}

impl Exchange {
    pub(crate) fn new(trace: u8, number: u8, from: u32, to: u32, start: u64) -> Self {
        Self { trace, request: u128::from(trace) + 1_000, number, from, to, start, took: 10 }
    }

    pub(crate) fn client_log(&self) -> Observation {
        self.record(ObservationKind::AccessLog, Side::Client)
    }

    pub(crate) fn server_log(&self) -> Observation {
        self.record(ObservationKind::AccessLog, Side::Server)
    }

    pub(crate) fn client_span(&self) -> Observation {
        Observation { parent_span_id: SpanId([7; 8]), ..self.record(ObservationKind::Span, Side::Client) }
    }

    pub(crate) fn server_span(&self) -> Observation {
        let parent_span_id = self.span_id(Side::Client);
        Observation { parent_span_id, ..self.record(ObservationKind::Span, Side::Server) }
    }

    pub(crate) fn all(&self) -> [Observation; 4] {
        [self.client_log(), self.client_span(), self.server_log(), self.server_span()]
    }

    pub(crate) fn key(&self) -> Option<u128> {
        Some(TraceId([self.trace; 16]).as_u128())
    }

    fn span_id(&self, side: Side) -> SpanId {
        SpanId([self.trace, self.number, 1 + side as u8, 0, 0, 0, 0, 1])
    }

    fn record(&self, kind: ObservationKind, side: Side) -> Observation {
        let client = side == Side::Client;
        let (start, end) = if client { (0, self.took) } else { (1, self.took - 1) };
        Observation {
            kind,
            side,
            trace_id: TraceId([self.trace; 16]),
            span_id: self.span_id(side),
            request_id: RequestId(self.request),
            start: at_millis(self.start + start),
            end: at_millis(self.start + end),
            reporter: own(if client { self.from } else { self.to }),
            peer: verified(if client { self.to } else { self.from }),
            method: Symbol(80),
            route: Symbol(81),
            status: 200,
            grpc_status: -1,
            request_bytes: 100,
            response_bytes: 50,
            security: if client { Security::Unknown } else { Security::MutualTls },
            last_word: kind == ObservationKind::AccessLog,
            ..Observation::default()
        }
    }
}

/// Removes what names a span.
pub(crate) fn without_spans(record: Observation) -> Observation {
    Observation { span_id: SpanId::default(), parent_span_id: SpanId::default(), ..record }
}

/// All deltas merged, by window and edge.
pub(crate) fn merged(deltas: Vec<TickDelta>) -> BTreeMap<(Window, [u32; 4]), EdgeWindow> {
    let mut all: BTreeMap<_, EdgeWindow> = BTreeMap::new();
    for ((window, key), edge) in deltas.into_iter().flat_map(|delta| delta.edges) {
        all.entry((window, numbers(&key))).or_default().merge(edge);
    }
    all
}

/// All deltas merged, as text that is equal when they are.
pub(crate) fn picture(deltas: Vec<TickDelta>) -> Vec<String> {
    let lines = merged(deltas).into_iter().flat_map(|(key, edge)| {
        edge.shapes.into_iter().map(move |(shape, stats)| format!("{key:?} {shape:?} {stats:?}"))
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

fn numbers(key: &EdgeKey) -> [u32; 4] {
    [key.source.namespace, key.source.workload, key.destination.namespace, key.destination.workload]
        .map(|s| s.0)
}
