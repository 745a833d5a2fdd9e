//! Telemetry of a small mesh, one line a call: `traffic.send(Request::along("web -> cart -> ledger"))`.
//!
//! Every arrow is a call through two Envoy sidecars: an access-log record and a span on both sides, joined as Envoy
//! joins them. A name with a dot is a host outside the mesh; `?` at the front is a client without a sidecar.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_model::{EventTime, SignalKind, TraceId};
pub use selvedge_simulate::otlp::Refusal;
use selvedge_simulate::otlp::{
    Asked, Buffers, Callee, Connection, Dialect, Emitted, Exchange, Issued, Refused, ToldBy, Traced,
    Workload, request_id,
};

use crate::frame::RawFrame;
use crate::rng::Rng;

/// 2023-11-14T22:13:20Z: any time will do, and this one is easy to recognise.
const START: EventTime = EventTime(1_700_000_000_000_000_000);
/// Ordinary calls follow each other by this much, and up to as much again.
const PAUSE: Duration = Duration::from_millis(250);
/// An ordinary callee answers after this long, and up to as much again.
const LATENCY: Duration = Duration::from_millis(5);
/// What one proxy and one application add on the way in, and on the way out.
const OVERHEAD: Duration = Duration::from_micros(400);
/// Certificates begin so long before the traffic.
const VALID_SINCE: Duration = Duration::from_hours(1);

/// One request along a chain of workloads.
#[derive(Clone, Debug)]
pub struct Request {
    chain: Vec<String>,
    method: String,
    path: String,
    status: u16,
    latency: Option<Duration>,
    plaintext: bool,
    user_agent: String,
    bytes_received: u64,
    bytes_sent: u64,
    /// The trace that the client says it belongs to.
    joining: Option<TraceId>,
    /// Whom a forwarded-certificate header of the client's own names.
    forwarding: Option<String>,
    /// Whom the client's sidecar says it is.
    posing_as: Option<String>,
    /// Only the client's sidecar speaks of it: the call was never made.
    invented: bool,
}

/// A seeded mesh's telemetry. Time moves on with every call.
#[derive(Clone, Debug)]
pub struct Traffic {
    namespace: String,
    dialect: Dialect,
    rng: Rng,
    now: EventTime,
    emitted: Vec<Emitted>,
    /// Request ids by trace: whoever sees a request's headers knows both.
    request_ids: BTreeMap<TraceId, String>,
    /// Which version each workload runs now, where it says so.
    versions: BTreeMap<String, String>,
}

impl Request {
    /// `GET /` along a chain like `web -> cart -> ledger`, answered with 200 after some milliseconds, over mutual TLS.
    ///
    /// # Panics
    /// The chain has fewer than two names.
    #[must_use]
    pub fn along(chain: &str) -> Self {
        let chain: Vec<String> = chain.split("->").map(|name| name.trim().to_owned()).collect();
        assert!(
            chain.len() >= 2 && chain.iter().all(|name| !name.is_empty()),
            "a call needs two ends: {chain:?}"
        );
        Self {
            plaintext: chain[0] == "?",
            chain,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            status: 200,
            latency: None,
            user_agent: "meshkit/1.0".to_owned(),
            bytes_received: 0,
            bytes_sent: 100,
            joining: None,
            forwarding: None,
            posing_as: None,
            invented: false,
        }
    }

    /// Another method and path.
    #[must_use]
    pub fn asking(mut self, method: &str, path: &str) -> Self {
        method.clone_into(&mut self.method);
        path.clone_into(&mut self.path);
        self
    }

    /// Every hop answers so.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// How long the last callee takes.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = Some(latency);
        self
    }

    /// The first hop is not encrypted.
    #[must_use]
    pub fn plaintext(mut self) -> Self {
        self.plaintext = true;
        self
    }

    /// The client's `user-agent`.
    #[must_use]
    pub fn user_agent(mut self, user_agent: &str) -> Self {
        user_agent.clone_into(&mut self.user_agent);
        self
    }

    /// The client chooses the ids of another request, of its trace and of the request itself.
    #[must_use]
    pub fn joining(mut self, trace: TraceId) -> Self {
        self.joining = Some(trace);
        self
    }

    /// The client sends a forwarded-certificate header of its own, which names this workload.
    #[must_use]
    pub fn forwarding(mut self, workload: &str) -> Self {
        self.forwarding = Some(workload.to_owned());
        self
    }

    /// The client's sidecar says that it called as this workload.
    #[must_use]
    pub fn posing_as(mut self, workload: &str) -> Self {
        self.posing_as = Some(workload.to_owned());
        self
    }

    /// The client's sidecar invents it: no callee ever sees it.
    #[must_use]
    pub fn invented(mut self) -> Self {
        self.invented = true;
        self
    }

    /// Bytes of the bodies of request and response.
    #[must_use]
    pub fn bytes(mut self, request: u64, response: u64) -> Self {
        (self.bytes_received, self.bytes_sent) = (request, response);
        self
    }
}

impl Request {
    fn connection(&self, first_hop: bool) -> Connection {
        if self.plaintext && first_hop { Connection::Plaintext } else { Connection::Mutual }
    }
}

fn issued() -> Issued {
    Issued { at: START.before(VALID_SINCE), number: 0 }
}

impl Traffic {
    /// The traffic of a seed: ids, pauses and latencies follow from it. Workloads are in namespace `store` of trust
    /// domain `mesh.test`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let (namespace, dialect) = ("store".to_owned(), Dialect { trust_domain: "mesh.test".to_owned() });
        let (rng, emitted, request_ids) = (Rng::seeded(seed), Vec::new(), BTreeMap::new());
        Self { namespace, dialect, rng, now: START, emitted, request_ids, versions: BTreeMap::new() }
    }

    /// Another namespace.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Event time now: when the next call starts.
    #[must_use]
    pub fn now(&self) -> EventTime {
        self.now
    }

    /// Lets time pass.
    pub fn wait(&mut self, pause: Duration) {
        self.now = self.now.after(pause);
    }

    /// A workload runs this version from now on, and says so (`service.version`).
    pub fn deploy(&mut self, workload: &str, version: &str) {
        self.versions.insert(workload.to_owned(), version.to_owned());
    }

    /// `times` ordinary calls with ordinary pauses between them.
    pub fn repeat(&mut self, times: usize, chain: &str) {
        for _ in 0..times {
            self.send(Request::along(chain));
            let pause = self.jittered(PAUSE);
            self.wait(pause);
        }
    }

    /// One request; it starts now. Returns its trace id.
    pub fn send(&mut self, request: Request) -> TraceId {
        let latency = match request.latency {
            Some(latency) => latency,
            None => self.jittered(LATENCY),
        };
        let (trace_id, request_id) = self.ids(request.joining);
        let hops = request.chain.len() - 1;
        let mut parent = None;
        for (at, ends) in (0_u32..).zip(request.chain.windows(2)) {
            let depth = u32::try_from(hops).unwrap_or(u32::MAX) - 1 - at;
            let start = self.now.after(OVERHEAD * (2 * at));
            let inbound_start = start.after(OVERHEAD);
            let inbound_end = inbound_start.after(latency + OVERHEAD * (4 * depth));
            let (client_span, server_span) = (self.rng.bits() | 1, self.rng.bits() | 1);
            let traced = Traced { trace_id, parent, client_span, server_span, request_id: &request_id };
            let hop = Exchange {
                connection: request.connection(at == 0),
                traced,
                outbound: (start, inbound_end.after(OVERHEAD)),
                inbound: (inbound_start, inbound_end),
                ..self.exchange(&request, &ends[0], &ends[1])
            };
            for emitted in self.dialect.call(&hop) {
                let version = self.versions.get(emitted.name()).cloned().unwrap_or_default();
                self.emitted.push(emitted.versioned(version));
            }
            parent = Some(server_span);
        }
        trace_id
    }

    /// Somebody without a sidecar fails the handshake at `destination`, claiming to be `claimed` (a workload's name;
    /// it counts for nothing without a certificate).
    pub fn refuse(&mut self, destination: &str, claimed: &str, refusal: Refusal) {
        let id = self.rng.below(10_000);
        let (callee, claimed) = (self.workload(destination), self.workload(claimed));
        let refused = Refused { callee, claimed, refusal, issued: issued(), id, at: self.now };
        let emitted = self.dialect.refused(&refused);
        self.emitted.push(emitted);
    }

    /// All that was emitted so far, as each sidecar batches it: once a second, spans and each kind of log on their own.
    #[must_use]
    pub fn frames(&self) -> Vec<RawFrame> {
        let (mut buffers, mut frames) = (Buffers::default(), Vec::new());
        buffers.add(self.emitted.iter().cloned());
        buffers.rest(&self.dialect, &mut frames);
        frames.into_iter().map(RawFrame::from).collect()
    }

    /// Frames of one signal only: detection must work on logs alone and on spans alone.
    #[must_use]
    pub fn frames_of(&self, signal: SignalKind) -> Vec<RawFrame> {
        self.frames().into_iter().filter(|frame| frame.signal == signal).collect()
    }

    /// A hop between two names, without ids and times.
    fn exchange<'a>(&'a self, request: &'a Request, source: &'a str, destination: &'a str) -> Exchange<'a> {
        let host = destination.contains('.');
        let nowhen = (EventTime(0), EventTime(0));
        let named = |name: &'a Option<String>| name.as_deref().map(|name| self.workload(name));
        Exchange {
            caller: (source != "?").then(|| self.workload(source)),
            callee: if host {
                Callee::Host(destination)
            } else {
                Callee::Workload(self.workload(destination))
            },
            connection: Connection::Mutual,
            told_by: ToldBy { caller: true, callee: !request.invented },
            certificate_of: None,
            posing_as: named(&request.posing_as),
            forwarding: named(&request.forwarding),
            issued: issued(),
            asked: Asked {
                method: &request.method,
                path: &request.path,
                user_agent: &request.user_agent,
                status: request.status,
                grpc_status: None,
                bytes_received: request.bytes_received,
                bytes_sent: request.bytes_sent,
            },
            traced: Traced {
                trace_id: TraceId::default(),
                parent: None,
                client_span: 0,
                server_span: 0,
                request_id: "",
            },
            outbound: nowhen,
            inbound: nowhen,
        }
    }

    fn workload<'a>(&'a self, name: &'a str) -> Workload<'a> {
        Workload { namespace: &self.namespace, name }
    }

    /// New ids, or those of the request that the client has seen.
    fn ids(&mut self, joining: Option<TraceId>) -> (TraceId, String) {
        let new = u128::from(self.rng.bits()) << 64 | u128::from(self.rng.bits()) | 1;
        let request_id = self.request_id();
        let trace_id = joining.unwrap_or(TraceId(new.to_be_bytes()));
        (trace_id, self.request_ids.entry(trace_id).or_insert(request_id).clone())
    }

    fn jittered(&mut self, base: Duration) -> Duration {
        let micros = u64::try_from(base.as_micros()).unwrap_or(u64::MAX);
        base + Duration::from_micros(self.rng.below(micros))
    }

    fn request_id(&mut self) -> String {
        request_id(self.rng.bits(), self.rng.bits())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    use super::*;

    fn spans(traffic: &Traffic) -> Vec<Span> {
        let request = |frame: RawFrame| ExportTraceServiceRequest::decode(&frame.payload[..]).unwrap();
        let requests = traffic.frames_of(SignalKind::Traces).into_iter().map(request);
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|spans| spans.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }

    fn logs(traffic: &Traffic) -> Vec<LogRecord> {
        let request = |frame: RawFrame| ExportLogsServiceRequest::decode(&frame.payload[..]).unwrap();
        let requests = traffic.frames_of(SignalKind::Logs).into_iter().map(request);
        requests
            .flat_map(|request| request.resource_logs)
            .flat_map(|logs| logs.scope_logs)
            .flat_map(|scope| scope.log_records)
            .collect()
    }

    fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
        match attributes
            .iter()
            .find(|pair| pair.key == key)
            .and_then(|pair| pair.value.as_ref()?.value.as_ref())
        {
            Some(Value::StringValue(text)) => text,
            _ => "(absent)",
        }
    }

    #[test]
    fn a_chain_is_one_trace_whose_spans_hang_below_each_other() {
        let mut traffic = Traffic::seeded(1);
        let trace = traffic.send(Request::along("web -> cart -> ledger").asking("POST", "/pay"));
        let mut spans = spans(&traffic);
        spans.sort_by_key(|span| span.start_time_unix_nano);
        assert_eq!(spans.len(), 4);
        assert!(spans.iter().all(|span| span.trace_id == trace.0));
        assert!(spans[0].parent_span_id.is_empty());
        for pair in spans.windows(2) {
            assert_eq!(pair[1].parent_span_id, pair[0].span_id);
            assert!(pair[1].start_time_unix_nano > pair[0].start_time_unix_nano);
            assert!(pair[1].end_time_unix_nano < pair[0].end_time_unix_nano);
        }
        assert_eq!(spans.iter().map(|span| span.kind).collect::<Vec<_>>(), [3, 2, 3, 2]);
    }

    #[test]
    fn every_record_of_a_call_finds_its_span_and_says_who_called() {
        let mut traffic = Traffic::seeded(1);
        traffic.send(Request::along("web -> cart").status(503).bytes(7, 9));
        let (spans, logs) = (spans(&traffic), logs(&traffic));
        assert_eq!(logs.len(), 2);
        for log in &logs {
            assert!(spans.iter().any(|span| span.span_id == log.span_id && span.trace_id == log.trace_id));
            assert_eq!(text(&log.attributes, "response.code"), "503");
            assert_eq!(text(&log.attributes, "bytes.received"), "7");
        }
        let inbound = logs.iter().find(|log| text(&log.attributes, "mesh.reporter") == "inbound").unwrap();
        assert_eq!(text(&inbound.attributes, "source.principal"), "spiffe://mesh.test/ns/store/sa/web");
        assert_eq!(text(&inbound.attributes, "tls.version"), "TLSv1.3");
        let request_ids: Vec<_> = logs.iter().map(|log| text(&log.attributes, "http.request_id")).collect();
        assert_eq!((request_ids[0], request_ids[0].len()), (request_ids[1], 36));
    }

    #[test]
    fn a_client_without_a_sidecar_shows_on_one_side_in_plaintext() {
        let mut traffic = Traffic::seeded(1);
        traffic.send(Request::along("? -> cart -> ledger"));
        let logs = logs(&traffic);
        assert_eq!(logs.len(), 3);
        let first = logs.iter().find(|log| text(&log.attributes, "filter_chain") == "plaintext").unwrap();
        assert_eq!(text(&first.attributes, "source.principal"), "-");
        assert_eq!(text(&first.attributes, "tls.version"), "-");
        assert_eq!(spans(&traffic).iter().filter(|span| span.parent_span_id.is_empty()).count(), 1);
    }

    #[test]
    fn an_outside_host_is_reached_through_the_passthrough_and_reports_nothing() {
        let mut traffic = Traffic::seeded(1);
        traffic.send(Request::along("cart -> paste.example").asking("POST", "/drop").bytes(600_000, 15));
        let logs = logs(&traffic);
        assert_eq!(logs.len(), 1);
        assert_eq!(text(&logs[0].attributes, "upstream.cluster"), "PassthroughCluster");
        assert_eq!(text(&logs[0].attributes, "http.authority"), "paste.example");
        assert_eq!(spans(&traffic).len(), 1);
    }

    #[test]
    fn a_refused_handshake_is_one_connection_record_with_a_claim() {
        let mut traffic = Traffic::seeded(1);
        for refusal in [Refusal::UnknownIssuer, Refusal::Expired, Refusal::NoCertificate] {
            traffic.refuse("ledger", "web", refusal);
        }
        let logs = logs(&traffic);
        assert_eq!(logs.len(), 3);
        assert!(
            logs.iter()
                .all(|log| log.trace_id.is_empty() && text(&log.attributes, "log.kind") == "connection")
        );
        assert!(text(&logs[0].attributes, "tls.failure").contains("unable_to_get_local_issuer_certificate"));
        assert_eq!(text(&logs[0].attributes, "source.principal"), "spiffe://mesh.test/ns/store/sa/web");
        assert!(text(&logs[1].attributes, "tls.failure").contains("certificate_has_expired"));
        assert_eq!(text(&logs[2].attributes, "source.principal"), "-");
    }

    #[test]
    fn a_seed_gives_one_traffic_and_frames_come_in_the_order_of_receipt() {
        let made = |seed| {
            let mut traffic = Traffic::seeded(seed);
            traffic.repeat(30, "web -> cart -> ledger");
            traffic.frames()
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
        let frames = made(1);
        assert!(frames.is_sorted_by_key(|frame| frame.observed));
        assert_eq!(frames.iter().map(|frame| frame.records().len()).sum::<usize>(), 30 * 8);
    }
}
