//! A small mesh, the same every time: what the `.slt` files and the other tests ask about.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use selvedge_learn::normal::Teaching;
use selvedge_learn::{Baselines, LearnConfig, Provenance};
use selvedge_model::{
    AuditLine, Backtest, Call, CallShape, Caller, Certificate, Cut, Edge, EdgeKey, EdgeWindow, Endpoint,
    EventTime, Evidence, Fate, FateLedger, Finding, FindingKind, IdentitySource, Incident, IncidentStatus,
    MetricPoint, MetricValue, Node, Observation, ObservationKind, ObservedTime, Operation, Party, Place,
    Progress, Quarantine, QuarantineState, Reported, RequestId, Security, Severity, Side, SignalKind, SpanId,
    Suspect, Symbol, SymbolTable, Temporality, TraceId, Window,
};
use selvedge_query::{Learned, SqlConfig, SqlService, Store, StoreConfig, Watched};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: u64 = 1_767_225_600_000_000_000;
/// One second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// A store in the making.
pub(crate) struct Mesh {
    pub(crate) symbols: SymbolTable,
    pub(crate) store: Store,
}

impl Mesh {
    pub(crate) fn new(config: &StoreConfig) -> Self {
        Self { symbols: SymbolTable::new(1 << 20), store: Store::new(config) }
    }

    fn node(&mut self, namespace: &str, workload: &str) -> Node {
        Node {
            cluster: self.symbols.intern("east"),
            namespace: self.symbols.intern(namespace),
            workload: self.symbols.intern(workload),
        }
    }

    /// Call `number` of a mesh of three edges: one call a second, `cart -> payments` in plaintext every tenth time.
    pub(crate) fn call(&mut self, number: u64) -> Call {
        let (source, destination, route) = match number % 3 {
            0 => (self.node("shop", "web"), self.node("shop", "cart"), "/cart/{id}"),
            1 => (self.node("shop", "cart"), self.node("bank", "payments"), "/charge"),
            _ => (
                self.node("shop", "cart"),
                Node { workload: self.symbols.intern("api.example"), ..Node::default() },
                "",
            ),
        };
        let external = number % 3 == 2;
        let plaintext = number % 30 == 1;
        let principal = format!("spiffe://mesh.example/ns/shop/sa/{}", self.symbols.resolve(source.workload));
        let start = START + number * SECOND;
        let duration = (1 + number % 100) * 1_000_000;
        Call {
            edge: EdgeKey { source, destination, external },
            shape: CallShape {
                method: self.symbols.intern("GET"),
                route: self.symbols.intern(route),
                status: if number.is_multiple_of(50) {
                    503
                } else if number.is_multiple_of(20) {
                    404
                } else {
                    200
                },
                grpc_status: -1,
                source_principal: if plaintext || external {
                    Symbol::NONE
                } else {
                    self.symbols.intern(&principal)
                },
                source_identity: IdentitySource::MtlsCertificate,
                security: if plaintext { Security::Plaintext } else { Security::MutualTls },
                certificate: Certificate {
                    issuer: self.symbols.intern("CN=mesh"),
                    not_after: EventTime(START + 86_400 * SECOND),
                    ..Certificate::default()
                },
                reported: if external { Reported::ClientOnly } else { Reported::Both },
                ..CallShape::default()
            },
            trace_id: TraceId((u128::from(number) + 1).to_be_bytes()),
            span_id: SpanId((number + 1).to_be_bytes()),
            start: EventTime(start),
            end: EventTime(start + duration),
            duration_nanos: duration,
            request_bytes: 100,
            response_bytes: number,
        }
    }

    pub(crate) fn calls(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let call = self.call(number);
            self.store.append_call(&call);
        }
    }

    pub(crate) fn observation(&mut self, kind: ObservationKind, number: u64) -> Observation {
        Observation {
            kind,
            side: Side::Server,
            origin: self.symbols.intern("cart-0"),
            trace_id: TraceId((u128::from(number) + 1).to_be_bytes()),
            span_id: SpanId((number + 1).to_be_bytes()),
            request_id: RequestId::from_text(b"7a391762-31bf-9d00-95df-c3e9671236ff"),
            start: EventTime(START + number * SECOND),
            end: EventTime(START + number * SECOND + 2_000_000),
            reporter: Party {
                namespace: self.symbols.intern("shop"),
                workload: self.symbols.intern("cart"),
                source: IdentitySource::ProxyMetadata,
                ..Party::default()
            },
            method: self.symbols.intern("GET"),
            route: self.symbols.intern("/cart/{id}"),
            status: 200,
            grpc_status: -1,
            ..Observation::default()
        }
    }

    pub(crate) fn point(&mut self, number: u64, value: MetricValue) -> MetricPoint {
        MetricPoint {
            name: self.symbols.intern("requests_total"),
            origin: self.symbols.intern("cart-0"),
            series: 0xabc,
            start: EventTime(START),
            time: EventTime(START + number * SECOND),
            temporality: Temporality::Cumulative,
            monotonic: true,
            value,
            reporter: Party::default(),
            peer: Party::default(),
            side: Side::Server,
            status: 0,
            grpc_status: -1,
            meaning: selvedge_model::Meaning::Other,
            version: Symbol::NONE,
        }
    }

    fn signals(&mut self) {
        for number in 0..4 {
            let span = self.observation(ObservationKind::Span, number);
            self.store.append_observation(&span);
        }
        let log = self.observation(ObservationKind::AccessLog, 7);
        self.store.append_observation(&log);
        let number = self.point(1, MetricValue::Number(1.5));
        let histogram =
            self.point(2, MetricValue::Histogram { count: 3, sum: 0.25, grid: Default::default() });
        self.store.append_point(&number);
        self.store.append_point(&histogram);
    }
}

fn edge() -> Edge {
    let end = |namespace: &str, workload: &str| Endpoint {
        cluster: "east".into(),
        namespace: namespace.into(),
        workload: workload.into(),
        principal: String::new(),
    };
    Edge { source: end("shop", "cart"), destination: end("bank", "payments") }
}

/// What is known after some calls, in windows of ten seconds.
pub(crate) fn learned(symbols: &SymbolTable, calls: &[Call]) -> Learned {
    let mut windows: BTreeMap<Window, Vec<(EdgeKey, EdgeWindow)>> = BTreeMap::new();
    for call in calls {
        let edges = windows.entry(Window::holding(call.end, Duration::from_secs(10))).or_default();
        let at = edges.iter().position(|(key, _)| *key == call.edge).unwrap_or_else(|| {
            edges.push((call.edge, EdgeWindow::default()));
            edges.len() - 1
        });
        edges[at].1.record(call);
    }
    let mut baselines = Baselines::new(LearnConfig::default());
    for (window, edges) in windows {
        let refs: Vec<(EdgeKey, &EdgeWindow)> = edges.iter().map(|(key, edge)| (*key, edge)).collect();
        baselines.norms_mut().judge(window, &refs);
        baselines.norms_mut().learn(window, &refs, &|_, _| Teaching::Quiet);
        for (key, edge) in &edges {
            baselines.learn(window, *key, edge, &|_| false, Provenance::Learned, symbols);
        }
        baselines.finish_window(window);
    }
    Learned::of(&baselines, &Baselines::new(LearnConfig::default()), symbols)
}

/// One finding, one incident, some fates, and what was learned.
pub(crate) fn watched(learned: Learned) -> Watched {
    let finding = Finding {
        id: "f1".into(),
        kind: FindingKind::MtlsDowngrade,
        severity: Severity::High,
        edge: edge(),
        external: false,
        subject: "plaintext".into(),
        onset: EventTime(START + SECOND),
        detected: EventTime(START + 2 * SECOND),
        return_period_seconds: None,
        calibrated: false,
        summary: "shop/cart talks to bank/payments in plaintext".into(),
        evidence: vec![Evidence {
            name: "security".into(),
            observed: "plaintext".into(),
            baseline: "mutual_tls".into(),
        }],
        source_identity: IdentitySource::ProxyMetadata,
        claimed_principal: String::new(),
        exemplars: vec![TraceId(2_u128.to_be_bytes())],
        techniques: vec!["T1557".into()],
    };
    let incident = Incident {
        id: "i1".into(),
        status: IncidentStatus::Open,
        severity: Severity::High,
        title: "mTLS downgrade".into(),
        kinds: vec![FindingKind::MtlsDowngrade],
        onset: finding.onset,
        opened: finding.detected,
        updated: finding.detected,
        closed: None,
        return_period_seconds: None,
        edges: vec![edge()],
        suspects: vec![Suspect {
            workload: "cart".into(),
            namespace: "shop".into(),
            rank: 1,
            score: 2.0,
            reasons: Vec::new(),
        }],
        finding_ids: vec!["f1".into()],
        exemplars: Vec::new(),
        techniques: Vec::new(),
        highlights: Vec::new(),
        quarantines: Vec::new(),
        runbook: Vec::new(),
        calibration: selvedge_model::Calibration::Default,
    };
    let mut ledger = FateLedger::default();
    ledger.receive(SignalKind::Traces, 4);
    ledger.settle(SignalKind::Traces, Fate::Joined, 4);
    Watched {
        findings: Arc::new(vec![finding]),
        incidents: Arc::new(vec![incident]),
        ledger,
        learned: Arc::new(learned),
        quarantines: Arc::new(vec![quarantine()]),
        audit: Arc::new(vec![AuditLine {
            time: ObservedTime(START + 61_000_000_000),
            sequence: 7,
            actor: "engine".to_owned(),
            action: "push".to_owned(),
            subject: "selvedge-q-1".to_owned(),
            detail: "told to proxies".to_owned(),
            hash: "ab".repeat(32),
        }]),
    }
}

fn quarantine() -> Quarantine {
    let ledger =
        Endpoint { namespace: "bank".to_owned(), workload: "ledger".to_owned(), ..Endpoint::default() };
    Quarantine {
        id: "selvedge-q-1".to_owned(),
        incident_id: "i1".to_owned(),
        cuts: vec![Cut {
            place: Place::Inbound,
            workload: ledger,
            caller: Caller::Principal("spiffe://mesh.example/ns/shop/sa/web".to_owned()),
            hosts: Vec::new(),
            operations: vec![Operation { method: "GET".to_owned(), route: "/entries/{id}".to_owned() }],
        }],
        state: QuarantineState::Enforced,
        progress: Progress::Effective,
        reason: "cut shop/web from bank/ledger".to_owned(),
        evidence: vec!["f1".to_owned()],
        not_stopped: vec!["a request that is under way".to_owned()],
        backtest: Backtest { considered: 100, denied: 3, ..Backtest::default() },
        owner: "engine".to_owned(),
        created: ObservedTime(START + 60_000_000_000),
        ttl_seconds: 1_800,
        expires: Some(ObservedTime(START + 1_860_000_000_000)),
        renewals: 1,
        ended: String::new(),
    }
}

/// 3,000 calls and some of everything else.
pub(crate) fn mesh() -> Mesh {
    let config = StoreConfig { segment_age_max: Duration::from_secs(600), ..StoreConfig::default() };
    let mut mesh = Mesh::new(&config);
    for part in 0..5 {
        mesh.calls(part * 600..(part + 1) * 600);
        mesh.store.seal();
    }
    mesh.signals();
    let calls: Vec<Call> = (0..3_000).map(|number| mesh.call(number)).collect();
    mesh.store.watch(Arc::new(watched(learned(&mesh.symbols, &calls))));
    mesh
}

/// A service over [`mesh`].
pub(crate) fn service(config: SqlConfig) -> SqlService {
    let mut mesh = mesh();
    SqlService::new(mesh.store.snapshot(&mesh.symbols), config).unwrap()
}
