//! A small invented mesh: `gate` -> `web` -> `cart` -> `ledger`, and `courier`, which reads `cart` and `ledger`.

use std::time::Duration;

use selvedge_detect::calibration::Budgets;
use selvedge_detect::{Context, Detector, RuleSet, Sighting};
use selvedge_learn::{Baselines, LearnConfig, Provenance};
use selvedge_model::time::Window;
use selvedge_model::{
    Call, CallShape, Certificate, EdgeKey, EdgeWindow, EventTime, Finding, FindingKind, IdentitySource, Node,
    Reported, Security, Severity, Symbol, SymbolTable, TraceId,
};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MS: u64 = 1_000_000;
pub(crate) const DAY: u64 = 86_400 * SECOND;

/// One kind of call of the invented mesh.
#[derive(Clone)]
pub(crate) struct Traffic {
    pub(crate) source: &'static str,
    pub(crate) destination: &'static str,
    pub(crate) external: bool,
    pub(crate) shape: CallShape,
    pub(crate) calls: u64,
    pub(crate) latency_ms: u64,
    pub(crate) bytes: (u64, u64),
}

pub(crate) struct Mesh {
    pub(crate) symbols: SymbolTable,
    pub(crate) baselines: Baselines,
    pub(crate) detector: Detector,
    pub(crate) clock: u64,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self {
            symbols: SymbolTable::new(1 << 22),
            baselines: Baselines::new(LearnConfig::default()),
            detector: Detector::new(RuleSet::shipped(), Budgets::default()),
            clock: 1_700_000_000,
        }
    }

    /// A mesh that was taught 9 windows of its own traffic, as an approved baseline.
    pub(crate) fn approved() -> Self {
        let mut mesh = Self::new();
        for window in 0..9 {
            let traffic = mesh.normal(window);
            mesh.window(&traffic, true);
        }
        mesh
    }

    pub(crate) fn name(&mut self, text: &str) -> Symbol {
        self.symbols.intern(text)
    }

    pub(crate) fn node(&mut self, text: &str) -> Node {
        match text.split_once('/') {
            _ if text.is_empty() => Node::default(),
            Some((namespace, workload)) => {
                Node { cluster: Symbol::NONE, namespace: self.name(namespace), workload: self.name(workload) }
            }
            None => Node { cluster: Symbol::NONE, namespace: self.name("store"), workload: self.name(text) },
        }
    }

    pub(crate) fn principal(&mut self, workload: &str) -> Symbol {
        let (namespace, account) = workload.split_once('/').unwrap_or(("store", workload));
        self.name(&format!("spiffe://mesh.example/ns/{namespace}/sa/{account}"))
    }

    /// A mutual TLS call, reported by both sides.
    pub(crate) fn call(
        &mut self,
        source: &'static str,
        destination: &'static str,
        route: &str,
        status: u16,
    ) -> Traffic {
        let (method, path) = route.split_once(' ').expect("METHOD /path");
        let shape = CallShape {
            method: self.name(method),
            route: self.name(path),
            status,
            grpc_status: -1,
            source_principal: self.principal(source),
            destination_principal: self.principal(destination),
            source_identity: IdentitySource::MtlsCertificate,
            security: Security::MutualTls,
            tls_version: self.name("TLSv1.3"),
            tls_cipher: self.name("TLS_AES_128_GCM_SHA256"),
            sni: self.name(&format!("outbound_.8080_._.{destination}.store")),
            certificate: Certificate {
                fingerprint: self.name(&format!("fp-{source}")),
                issuer: self.name("CN=mesh root"),
                not_before: EventTime(1_699_990_000 * SECOND),
                not_after: EventTime(1_699_990_000 * SECOND + DAY),
                ..Certificate::default()
            },
            user_agent: self.name(&format!("{source}-app")),
            protocol: self.name("HTTP/2"),
            reported: Reported::Both,
            ..CallShape::default()
        };
        Traffic { source, destination, external: false, shape, calls: 1, latency_ms: 5, bytes: (100, 400) }
    }

    /// A call to a host outside the mesh.
    pub(crate) fn egress(&mut self, source: &'static str, host: &'static str, route: &str) -> Traffic {
        let mut traffic = self.call(source, host, route, 200);
        traffic.external = true;
        traffic.shape.destination_principal = Symbol::NONE;
        traffic.shape.security = Security::Unknown;
        traffic.shape.certificate = Certificate::default();
        traffic.shape.source_identity = IdentitySource::ProxyMetadata;
        traffic.shape.reported = Reported::ClientOnly;
        traffic
    }

    /// A plaintext call of nobody known.
    pub(crate) fn plaintext(&mut self, destination: &'static str, route: &str) -> Traffic {
        let mut traffic = self.call("", destination, route, 200);
        traffic.shape = CallShape {
            source_principal: Symbol::NONE,
            source_identity: IdentitySource::None,
            security: Security::Plaintext,
            tls_version: Symbol::NONE,
            tls_cipher: Symbol::NONE,
            sni: Symbol::NONE,
            certificate: Certificate::default(),
            user_agent: self.name("curl"),
            reported: Reported::ServerOnly,
            ..traffic.shape
        };
        traffic
    }

    /// A failed handshake under a claimed identity.
    pub(crate) fn handshake(&mut self, destination: &'static str, reason: &str, claimed: &str) -> Traffic {
        let mut traffic = self.call("", destination, "GET /", 0);
        traffic.shape = CallShape {
            destination_principal: self.principal(destination),
            handshake_failure: self.name(reason),
            claimed_principal: self.name(claimed),
            grpc_status: -1,
            certificate: Certificate { fingerprint: self.name("fp-stranger"), ..Certificate::default() },
            reported: Reported::ServerOnly,
            ..CallShape::default()
        };
        traffic
    }

    /// Ten seconds of usual traffic; counts and latencies wander with `turn`.
    pub(crate) fn normal(&mut self, turn: u64) -> Vec<Traffic> {
        let wander = |base: u64, step: u64| base + (turn * step) % 5;
        let mut traffic = vec![
            self.call("gate", "web", "GET /", 200),
            self.call("gate", "web", "POST /checkout", 201),
            self.call("web", "cart", "GET /carts/{id}", 200),
            self.call("web", "cart", "POST /carts", 201),
            self.call("cart", "ledger", "POST /charge", 200),
            self.call("courier", "cart", "GET /carts/export", 200),
            self.call("courier", "ledger", "GET /status", 200),
        ];
        let calls = [8, 5, 10, 5, 5, 2, 2];
        for (at, traffic) in traffic.iter_mut().enumerate() {
            traffic.calls = wander(calls[at], at as u64 + 1);
            traffic.latency_ms = wander(4 + at as u64, 3);
        }
        traffic[5].bytes = (0, 10_000 + turn * 100);
        traffic
    }

    /// Plays one window second by second through judging and learning, as the engine does.
    pub(crate) fn window(&mut self, traffic: &[Traffic], learning: bool) -> Vec<Finding> {
        let window = Window::holding(EventTime(self.clock * SECOND), Duration::from_secs(10));
        let mut edges: Vec<(EdgeKey, EdgeWindow)> = Vec::new();
        for (serial, one) in traffic.iter().enumerate() {
            let key = EdgeKey {
                source: self.node(one.source),
                destination: if one.external {
                    Node { workload: self.name(one.destination), ..Node::default() }
                } else {
                    self.node(one.destination)
                },
                external: one.external,
            };
            let at = edges.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                edges.push((key, EdgeWindow::default()));
                edges.len() - 1
            });
            for number in 0..one.calls {
                let start = EventTime(window.start.0 + SECOND + number * 20 * MS);
                edges[at].1.record(&Call {
                    edge: key,
                    shape: one.shape,
                    trace_id: TraceId([u8::try_from(serial + 1).expect("few"); 16]),
                    start,
                    end: EventTime(start.0 + one.latency_ms * MS),
                    duration_nanos: one.latency_ms * MS + number * 10_000,
                    request_bytes: one.bytes.0,
                    response_bytes: one.bytes.1,
                    ..Call::default()
                });
            }
        }
        edges.sort_by_cached_key(|(key, _)| key.names(&self.symbols).map(str::to_owned));
        self.judge(window, &edges, learning)
    }

    fn judge(&mut self, window: Window, edges: &[(EdgeKey, EdgeWindow)], learning: bool) -> Vec<Finding> {
        let now = EventTime(window.start.0 + 3 * SECOND);
        let cx = Context { symbols: &self.symbols, baselines: &self.baselines, now, learning };
        let mut sightings: Vec<Sighting<'_>> = edges
            .iter()
            .flat_map(|(key, edge)| {
                edge.shapes.iter().map(|(shape, stats)| Sighting { key: *key, window, shape, stats })
            })
            .collect();
        sightings.sort_by_cached_key(|sighting| {
            (sighting.key.names(&self.symbols).map(str::to_owned), format!("{:?}", sighting.shape))
        });
        let mut findings = self.detector.judge_sightings(&cx, &sightings);
        assert!(
            self.detector.judge_sightings(&cx, &sightings).is_empty(),
            "a second look tells nothing twice"
        );
        let cx = Context { now: EventTime(window.end.0 + SECOND), ..cx };
        let refs: Vec<(EdgeKey, &EdgeWindow)> = edges.iter().map(|(key, edge)| (*key, edge)).collect();
        findings.extend(self.detector.judge_window(&cx, window, &refs));
        let how = if learning { Provenance::Approved } else { Provenance::Learned };
        for (key, edge) in edges {
            let flagged = |shape: &CallShape| self.detector.flagged(key, shape);
            self.baselines.learn(window, *key, edge, &flagged, how, &self.symbols);
        }
        self.baselines.finish_window(window);
        self.detector.window_done(window);
        self.clock += 10;
        findings
    }
}

/// Kind, severity, source and destination of findings above `info`, without repetition.
pub(crate) fn told(findings: &[Finding]) -> Vec<String> {
    let line = |finding: &Finding| {
        format!(
            "{} {} {} -> {}",
            finding.kind.name(),
            finding.severity.name(),
            finding.edge.source.workload,
            finding.edge.destination.workload
        )
    };
    let mut lines: Vec<String> =
        findings.iter().filter(|finding| finding.severity > Severity::Info).map(line).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

pub(crate) fn of_kind(findings: &[Finding], kind: FindingKind) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.kind == kind).collect()
}
