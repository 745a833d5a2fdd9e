//! Counters of callers' sidecars: `envoy.cluster.upstream_rq_xx`, cumulative, as Envoy's OpenTelemetry stats sink sends it
//! (`envoy.md` 3.6: of the cluster's name what follows the first dot stands in the metric's name).

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;
use selvedge_model::time::nanos;
use selvedge_model::{EventTime, Node, ObservedTime, SignalKind, SymbolTable};

use super::batch::Frame;
use super::call::Workload;
use super::envoy::{Dialect, Sender};
use super::message::{
    ExportMetrics, KeyValue, Metric, NumberPoint, ResourceMetrics, ScopeMetrics, Sum, value,
};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: i32 = 2;
/// OpenTelemetry's usual interval of metrics.
const EXPORTED_EVERY: Duration = Duration::from_mins(1);

/// By callee and class of the answer, as in `5` of 503.
type Counted = BTreeMap<(Node, u16), u64>;

/// What each caller's sidecar has counted since it began.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    began: Option<EventTime>,
    of: BTreeMap<Node, Counted>,
}

impl Counters {
    /// A window begins; the first one is when they began to count.
    pub(super) fn begin(&mut self, at: EventTime) {
        self.began.get_or_insert(at);
    }

    /// A request that was answered so.
    pub(super) fn count(&mut self, caller: Node, callee: Node, status: u16) {
        *self.of.entry(caller).or_default().entry((callee, status / 100)).or_default() += 1;
    }

    /// The window from `start` to `end` is over: appends what is sent in it, a request for each caller with a sidecar that
    /// sends.
    pub(super) fn export(
        &self,
        (start, end): (EventTime, EventTime),
        (dialect, symbols): (&Dialect, &SymbolTable),
        sender_of: impl Fn(Node) -> Option<Sender>,
        out: &mut Vec<Frame>,
    ) {
        let began = self.began.unwrap_or(start);
        if start.0 / nanos(EXPORTED_EVERY) == end.0 / nanos(EXPORTED_EVERY) {
            return;
        }
        for (caller, counted) in &self.of {
            let Some(sender) = sender_of(*caller) else { continue };
            let metrics: Vec<Metric> =
                counted.iter().map(|(of, count)| metric(symbols, *of, *count, (began, end))).collect();
            let records = metrics.len();
            let resource = Some(dialect.resource(&sender, None));
            let resource_metrics =
                vec![ResourceMetrics { resource, scope_metrics: vec![ScopeMetrics { metrics }] }];
            let payload = ExportMetrics { resource_metrics }.encode_to_vec();
            out.push(Frame { signal: SignalKind::Metrics, observed: ObservedTime(end.0), records, payload });
        }
    }
}

fn metric(
    symbols: &SymbolTable,
    (callee, class): (Node, u16),
    count: u64,
    over: (EventTime, EventTime),
) -> Metric {
    let Workload { namespace, name } = Workload::of(callee, symbols);
    let pair = |key: &str, text: String| KeyValue { key: key.to_owned(), value: Some(value(text)) };
    let point = NumberPoint {
        start_time_unix_nano: over.0.0,
        time_unix_nano: over.1.0,
        as_int: i64::try_from(count).ok(),
        attributes: vec![
            pair("envoy.cluster_name", format!("outbound|80||{name}")),
            pair("envoy.response_code_class", class.to_string()),
        ],
    };
    Metric {
        name: format!("envoy.cluster.{namespace}.svc.cluster.local.upstream_rq_xx"),
        sum: Some(Sum { data_points: vec![point], aggregation_temporality: CUMULATIVE, is_monotonic: true }),
    }
}
