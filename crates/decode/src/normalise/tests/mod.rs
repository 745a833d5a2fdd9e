//! Promises per dialect: what one record of each proxy becomes. Names are invented.

use std::borrow::Cow;

use selvedge_model::{
    MetricPoint, Observation, ObservedTime, Party, SignalKind, Symbol, SymbolTable, Temporality,
};

use super::Normaliser;
use crate::field::field_of;
use crate::record::{Fields, LogRecord, PointRecord, PointValue, SpanHead, SpanRecord, Value};

const START: u64 = 1_795_467_355_421_859_000;
const NOW: ObservedTime = ObservedTime(START + 1_000_000_000);
const WEB: &str = "spiffe://mesh.example/ns/front/sa/web";
const CART: &str = "spiffe://mesh.example/ns/front/sa/cart";
const LEDGER: &str = "spiffe://mesh.example/ns/back/sa/ledger";

mod envoy;
mod hostile;
mod meshes;
mod metrics;
mod others;
mod versions;

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A normaliser with its symbols, fed by names and texts as a sender writes them.
struct Bench {
    normaliser: Normaliser,
    symbols: SymbolTable,
}

impl Bench {
    fn new() -> Self {
        Self { normaliser: Normaliser::new(), symbols: SymbolTable::new(1 << 20) }
    }

    fn resource(&mut self, signal: SignalKind, pairs: Pairs<'_>) -> super::ResourceContext {
        self.normaliser.resource(signal, &fields(pairs), None, &mut self.symbols)
    }

    fn log(&mut self, resource: Pairs<'_>, attributes: Pairs<'_>, body: &str) -> Observation {
        self.raw_log(resource, &fields(attributes), Value::Text(Cow::Borrowed(body.as_bytes())))
    }

    fn raw_log(&mut self, resource: Pairs<'_>, fields: &Fields<'_>, body: Value<'_>) -> Observation {
        let cx = self.resource(SignalKind::Logs, resource);
        let record = LogRecord {
            time_unix_nano: START,
            observed_unix_nano: 0,
            severity_number: 0,
            trace_id: &[7; 16],
            span_id: &[8; 8],
            body: &body,
            fields,
        };
        self.normaliser.log(&cx, &record, NOW, &mut self.symbols).unwrap()
    }

    fn span(&mut self, kind: i32, name: &str, resource: Pairs<'_>, attributes: Pairs<'_>) -> Observation {
        let cx = self.resource(SignalKind::Traces, resource);
        let record = SpanRecord {
            head: SpanHead {
                trace_id: &[7; 16],
                span_id: &[8; 8],
                parent_span_id: &[9; 8],
                name: name.as_bytes(),
                kind,
                start_unix_nano: START,
                end_unix_nano: START + 5,
                status_code: 0,
                trace_state: &[],
            },
            fields: &fields(attributes),
        };
        self.normaliser.span(&cx, &record, NOW, &mut self.symbols).unwrap()
    }

    fn point(
        &mut self,
        resource: Pairs<'_>,
        name: &str,
        value: PointValue<'_>,
        labels: Pairs<'_>,
    ) -> MetricPoint {
        let cx = self.resource(SignalKind::Metrics, resource);
        let record = PointRecord {
            name: name.as_bytes(),
            unit: b"",
            start_unix_nano: START / 1_000,
            time_unix_nano: START,
            temporality: Temporality::Cumulative,
            monotonic: true,
            value,
            attributes_hash: 5,
            fields: &fields(labels),
        };
        self.normaliser.point(&cx, &record, NOW, &mut self.symbols).unwrap()
    }

    fn text(&self, symbol: Symbol) -> &str {
        self.symbols.resolve(symbol)
    }

    /// `namespace/workload`, with `!` for external.
    fn party(&self, party: &Party) -> String {
        let mark = if party.external { "!" } else { "" };
        format!("{mark}{}/{}", self.text(party.namespace), self.text(party.workload))
    }
}

fn fields<'a>(pairs: Pairs<'a>) -> Fields<'a> {
    let mut fields = Fields::new();
    for (name, text) in pairs {
        let field = field_of(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not a known name"));
        fields.set(field, Value::Text(Cow::Borrowed(text.as_bytes())));
    }
    fields
}

const ENVOY_LEDGER: Pairs<'_> = &[
    ("log_name", "mesh_inbound"),
    ("node_name", "sidecar~10.0.0.7~ledger-0.back~back.svc.cluster.local"),
    ("service.name", "ledger"),
    ("service.namespace", "back"),
    ("service.instance.id", "ledger-0.back"),
];
