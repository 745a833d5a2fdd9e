//! A mesh of 1,000 edges and its calls: the same every time, from one seed.

use selvedge_model::{
    Call, CallShape, Certificate, EdgeKey, EventTime, IdentitySource, Node, Observation, ObservationKind,
    Party, Reported, RequestId, Security, Side, SpanId, Symbol, SymbolTable, TraceId,
};

/// 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600_000_000_000;
/// Calls come so far apart, about: 3,000 a second, so that ten million are an hour.
const STEP_NANOS: u64 = 333_333;
/// Calls are closed in the order of their windows, not of their starts: by how much they are out of order.
const DISORDER_NANOS: u64 = 10_000_000_000;
const WORKLOADS: usize = 200;
const ROUTES_OF_EDGE: usize = 4;
const SEED: u64 = 0x5e1_7ed6e;

/// Everything that two calls of the same edge, route and status share.
#[derive(Clone, Copy)]
struct Kind {
    edge: EdgeKey,
    shape: CallShape,
    /// Middle of the latency, in nanoseconds.
    latency: f64,
}

/// Makes calls without end.
pub(crate) struct Mesh {
    pub(crate) symbols: SymbolTable,
    /// By edge, route and outcome.
    kinds: Vec<Kind>,
    random: u64,
    number: u64,
}

/// Statuses of a route, and the share of calls, in thousandths, that come before each.
const OUTCOMES: [(u64, u16); 3] = [(0, 200), (970, 404), (985, 503)];

impl Mesh {
    pub(crate) fn new(edges: usize) -> Self {
        let mut mesh =
            Self { symbols: SymbolTable::new(1 << 24), kinds: Vec::new(), random: SEED, number: 0 };
        for edge in 0..edges {
            mesh.add_edge(edge);
        }
        mesh
    }

    fn node(&mut self, workload: usize) -> Node {
        Node {
            cluster: self.symbols.intern("east"),
            namespace: self.symbols.intern(&format!("team-{}", workload % 20)),
            workload: self.symbols.intern(&format!("service-{workload}")),
        }
    }

    fn add_edge(&mut self, edge: usize) {
        let from = edge % WORKLOADS;
        let (source, destination) =
            (self.node(from), self.node((from + 1 + edge / WORKLOADS * 7) % WORKLOADS));
        let principal = |workload: usize| {
            format!("spiffe://mesh.example/ns/team-{}/sa/service-{workload}", workload % 20)
        };
        let issuer = self.symbols.intern("CN=mesh");
        let shape = CallShape {
            grpc_status: -1,
            source_principal: self.symbols.intern(&principal(from)),
            source_identity: IdentitySource::MtlsCertificate,
            security: Security::MutualTls,
            tls_version: self.symbols.intern("TLSv1.3"),
            tls_cipher: self.symbols.intern("TLS_AES_256_GCM_SHA384"),
            certificate: Certificate {
                fingerprint: self.symbols.intern(&format!("{from:064x}")),
                serial: self.symbols.intern(&format!("{from:x}")),
                issuer,
                not_before: EventTime(START),
                not_after: EventTime(START + 86_400_000_000_000),
            },
            user_agent: self.symbols.intern("Go-http-client"),
            protocol: self.symbols.intern("HTTP/2"),
            reported: Reported::Both,
            ..CallShape::default()
        };
        for route in 0..ROUTES_OF_EDGE {
            let method = self.symbols.intern(if route % 2 == 0 { "GET" } else { "POST" });
            let path = self.symbols.intern(&format!("/resource-{}/{{id}}", (edge + route) % 300));
            let latency = 1e6 * f64::from(1 + u32::try_from((edge * 7 + route * 13) % 50).unwrap_or(0));
            self.kinds.extend(OUTCOMES.map(|(_, status)| Kind {
                edge: EdgeKey { source, destination, external: false },
                shape: CallShape { method, route: path, status, ..shape },
                latency,
            }));
        }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    fn share(&mut self) -> f64 {
        (self.random() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next call. Edges and routes are not equally busy; latencies are about log-normal.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small"
    )]
    pub(crate) fn call(&mut self) -> Call {
        let busy = self.share().powf(1.5);
        let of_outcomes = self.kinds.len() / OUTCOMES.len();
        let place = (busy * of_outcomes as f64) as usize % of_outcomes;
        let outcome = self.random() % 1_000;
        let outcome = OUTCOMES.iter().rposition(|(from, _)| *from <= outcome).unwrap_or(0);
        let spread = (self.share() + self.share() + self.share() + self.share() - 2.0) * 2.5;
        let Kind { edge, shape, latency } = self.kinds[place * OUTCOMES.len() + outcome];
        let duration = (latency * spread.exp2()) as u64;
        let start = START + self.number * STEP_NANOS + self.random() % DISORDER_NANOS;
        self.number += 1;
        let trace = u128::from(self.random()) << 64 | u128::from(self.random());
        Call {
            edge,
            shape,
            trace_id: TraceId(trace.to_be_bytes()),
            span_id: SpanId(self.random().to_be_bytes()),
            start: EventTime(start),
            end: EventTime(start + duration),
            duration_nanos: duration,
            request_bytes: self.random() % 4_096,
            response_bytes: self.random() % 65_536,
        }
    }

    /// A record of a call, as one side's proxy reports it.
    pub(crate) fn record(&mut self, kind: ObservationKind) -> Observation {
        let call = self.call();
        let party = |node: Node, principal: Symbol| Party {
            cluster: node.cluster,
            namespace: node.namespace,
            workload: node.workload,
            principal,
            source: IdentitySource::ProxyMetadata,
            external: false,
        };
        let request = RequestId(u128::from(self.random()) << 63 | u128::from(self.random()));
        Observation {
            kind,
            side: if self.number.is_multiple_of(2) { Side::Client } else { Side::Server },
            origin: call.edge.destination.workload,
            trace_id: call.trace_id,
            span_id: call.span_id,
            parent_span_id: SpanId(self.random().to_be_bytes()),
            request_id: request,
            start: call.start,
            end: call.end,
            reporter: party(call.edge.destination, Symbol::NONE),
            peer: party(call.edge.source, call.shape.source_principal),
            method: call.shape.method,
            route: call.shape.route,
            status: call.shape.status,
            grpc_status: -1,
            request_bytes: call.request_bytes,
            response_bytes: call.response_bytes,
            security: call.shape.security,
            tls_version: call.shape.tls_version,
            certificate: call.shape.certificate,
            user_agent: call.shape.user_agent,
            protocol: call.shape.protocol,
            ..Observation::default()
        }
    }

    /// The moment that a share of all calls made so far comes before, in nanoseconds.
    pub(crate) fn moment(&self, tenths: u64) -> u64 {
        START + self.number / 10 * tenths * STEP_NANOS + DISORDER_NANOS / 2
    }
}
