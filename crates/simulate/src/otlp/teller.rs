//! A simulated mesh, told as its sidecars would: records of both sides of every call, unless one of them has no
//! sidecar, is silent, or stands outside.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_model::hash::StableHasher;
use selvedge_model::time::nanos;
use selvedge_model::{Call, EventTime, Node, Reported, Security, Symbol, SymbolTable, TraceId, Window};

use super::batch::{Buffers, Frame};
use super::call::{
    Asked, Callee, Connection, Exchange, Issued, Refusal, Refused, ToldBy, Traced, Workload, request_id,
};
use super::counters::Counters;
use super::envoy::{Dialect, Sender};
use crate::draw::mixed;
use crate::mesh::{Mesh, WindowOf};
use crate::signals::{Signals, SimulatedCall, TRUST_DOMAIN};

/// Certificates are replaced at half of their life, each workload's at its own time of the day.
const RENEWAL: Duration = Duration::from_hours(12);
/// What stands for the variable part of a path, and from how many numbers it is filled.
const PLACEHOLDER: &str = "{id}";
const PLACES: u64 = 100_000;
/// Whoever goes past a sidecar does it with a client of his own.
const BYPASSING_AGENT: &str = "curl/8.9.1";
const REFUSED_FOR: Duration = Duration::from_millis(1);
/// Salts, so that what is derived of one id is unlike what is derived of another.
const CLIENT_SPAN: u64 = 0x434c_4945_4e54;
const REQUEST: u64 = 0x5245_5155_4553;

/// What was told so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Calls with records of at least one side.
    pub calls: u64,
    /// Connections whose handshake was refused.
    pub refused: u64,
    /// Log records and spans.
    pub records: u64,
    /// Calls of which no sidecar tells: those of both sides are silent.
    pub untold: u64,
}

/// Turns the calls of a mesh into the requests that its sidecars send. It holds about a window of records.
///
/// Of the calls that are made with another's identity, half come with a certificate of the caller's own making, which
/// the callee refuses, and half with the other's genuine one.
pub struct Teller {
    dialect: Dialect,
    buffers: Buffers,
    counters: Counters,
    /// By the name of a service, its index.
    services: BTreeMap<Symbol, usize>,
    /// By service: its sidecar is silent in this window.
    silent: Vec<bool>,
    /// By service, as in `Mesh::versions`.
    versions: Vec<u32>,
    told: Told,
}

impl Teller {
    /// The sidecars of a mesh.
    #[must_use]
    pub fn new(signals: &Signals) -> Self {
        let nodes = signals.nodes();
        Self {
            dialect: Dialect { trust_domain: TRUST_DOMAIN.to_owned() },
            buffers: Buffers::default(),
            counters: Counters::default(),
            services: nodes.iter().enumerate().map(|(index, node)| (node.workload, index)).collect(),
            silent: vec![false; nodes.len()],
            versions: vec![0; nodes.len()],
            told: Told::default(),
        }
    }

    /// What was told so far.
    #[must_use]
    pub fn told(&self) -> Told {
        self.told
    }

    /// Takes the calls of the window that `mesh` and `signals` gave last, and appends to `out` what its sidecars sent
    /// by its end.
    pub fn window(
        &mut self,
        mesh: &Mesh,
        signals: &Signals,
        (window, of): (Window, &[WindowOf]),
        calls: &[SimulatedCall],
        out: &mut Vec<Frame>,
    ) {
        self.silent.fill(false);
        for (spec, of) in mesh.edges().iter().zip(of) {
            self.silent[spec.callee] = !of.heartbeat;
        }
        self.versions.clear();
        self.versions.extend_from_slice(mesh.versions());
        let symbols = signals.symbols();
        self.counters.begin(window.start);
        for simulated in calls {
            self.tell(simulated, symbols);
        }
        for simulated in signals.suppressed() {
            self.count(&simulated.call);
        }
        self.buffers.flushed(&self.dialect, window.end, out);
        let sender = |caller: Node| {
            let sender = Sender::of(Workload::of(caller, symbols));
            (!self.is_silent(caller.workload)).then(|| sender.versioned(self.version_of(caller.workload)))
        };
        self.counters.export((window.start, window.end), (&self.dialect, symbols), sender, out);
    }

    /// Appends what is still in the buffers.
    pub fn finish(&mut self, out: &mut Vec<Frame>) {
        self.buffers.rest(&self.dialect, out);
    }

    fn tell(&mut self, simulated: &SimulatedCall, symbols: &SymbolTable) {
        let SimulatedCall { call, .. } = simulated;
        let told_by = self.told_by(call);
        let (caller, callee) =
            (Workload::of(call.edge.source, symbols), Workload::of(call.edge.destination, symbols));
        let presented = named_by(symbols.resolve(call.shape.source_principal)).unwrap_or(caller);
        let issued = issued(presented, call.end);
        let span = u64::from_be_bytes(call.span_id.0);
        let refused = presented != caller && span.is_multiple_of(2) && told_by.callee;
        if !refused {
            self.count(call);
        }
        if !told_by.caller && !told_by.callee {
            self.told.untold += 1;
            return;
        }
        if refused {
            let (refusal, id, at) = (Refusal::UnknownIssuer, span % PLACES, call.end.before(REFUSED_FOR));
            let refused = Refused { callee, claimed: presented, refusal, issued, id, at };
            self.told.refused += 1;
            self.told.records += 1;
            let version = self.version_of(call.edge.destination.workload);
            self.buffers.add([self.dialect.refused(&refused).versioned(version)]);
            return;
        }
        let connection = connection(call);
        let agent = if connection == Connection::Bypass { BYPASSING_AGENT } else { caller.name };
        let path =
            symbols.resolve(call.shape.route).replace(PLACEHOLDER, &(mixed(span) % PLACES).to_string());
        let request_id = request_id_of(call.trace_id);
        let parent = simulated.parent_span_id;
        let traced = Traced {
            trace_id: call.trace_id,
            parent: parent.present().then(|| u64::from_be_bytes(parent.0)),
            client_span: mixed(span ^ CLIENT_SPAN) | 1,
            server_span: span,
            request_id: &request_id,
        };
        let emitted = self.dialect.call(&Exchange {
            caller: Some(caller),
            callee: if call.edge.external { Callee::Host(callee.name) } else { Callee::Workload(callee) },
            connection,
            told_by,
            certificate_of: (presented != caller).then_some(presented),
            posing_as: None,
            forwarding: None,
            issued,
            asked: Asked { path: &path, ..asked(call, agent, symbols) },
            traced,
            outbound: outbound(simulated),
            inbound: (call.start, call.end),
        });
        self.told.calls += 1;
        self.told.records += emitted.len() as u64;
        let ends = [call.edge.source.workload, call.edge.destination.workload];
        for record in emitted {
            let reporter = ends.into_iter().find(|end| symbols.resolve(*end) == record.name());
            let version = reporter.map_or_else(String::new, |reporter| self.version_of(reporter));
            self.buffers.add([record.versioned(version)]);
        }
    }

    /// The caller's sidecar, where there is one, counts what it passes on, whatever becomes of its records.
    fn count(&mut self, call: &Call) {
        if call.shape.reported != Reported::ServerOnly && !call.edge.external {
            self.counters.count(call.edge.source, call.edge.destination, call.shape.status);
        }
    }

    /// Nothing for whoever is no service of the mesh.
    fn version_of(&self, name: Symbol) -> String {
        let version = self.services.get(&name).map(|&service| self.versions[service]);
        version.map_or_else(String::new, |version| format!("1.{version}.0"))
    }

    fn is_silent(&self, name: Symbol) -> bool {
        self.services.get(&name).is_some_and(|&service| self.silent[service])
    }

    /// A sidecar tells of a call unless there is none or it is silent in this window.
    fn told_by(&self, call: &Call) -> ToldBy {
        let reported = call.shape.reported;
        ToldBy {
            caller: reported != Reported::ServerOnly && !self.is_silent(call.edge.source.workload),
            callee: reported != Reported::ClientOnly && !self.is_silent(call.edge.destination.workload),
        }
    }
}

fn connection(call: &Call) -> Connection {
    match (call.shape.security, call.shape.reported) {
        (Security::Plaintext, _) => Connection::Plaintext,
        (_, Reported::ServerOnly) => Connection::Bypass,
        _ => Connection::Mutual,
    }
}

/// The request, at its route.
fn asked<'a>(call: &Call, user_agent: &'a str, symbols: &'a SymbolTable) -> Asked<'a> {
    let shape = &call.shape;
    Asked {
        method: symbols.resolve(shape.method),
        path: symbols.resolve(shape.route),
        user_agent,
        status: shape.status,
        grpc_status: (shape.grpc_status >= 0).then_some(shape.grpc_status),
        bytes_received: call.request_bytes,
        bytes_sent: call.response_bytes,
    }
}

/// The caller's sidecar sees the callee's latency with the network before it and after it.
fn outbound(simulated: &SimulatedCall) -> (EventTime, EventTime) {
    let call = &simulated.call;
    let network = simulated.caller_nanos.saturating_sub(call.duration_nanos);
    let there = network / 2;
    (call.start.before(Duration::from_nanos(there)), call.end.after(Duration::from_nanos(network - there)))
}

/// All calls of a trace belong to one request, whose id each service passes on.
fn request_id_of(trace: TraceId) -> String {
    let half = |bytes: &[u8]| bytes.iter().fold(0_u64, |half, byte| half << 8 | u64::from(*byte));
    let (high, low) = trace.0.split_at(8);
    request_id(mixed(half(high) ^ REQUEST), mixed(half(low) ^ REQUEST))
}

/// The workload of a SPIFFE id such as `spiffe://mesh.test/ns/shelf/sa/cart`.
fn named_by(principal: &str) -> Option<Workload<'_>> {
    let mut parts = principal.strip_prefix("spiffe://")?.split('/');
    let (_, ns, namespace, sa, name) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (ns == "ns" && sa == "sa").then_some(Workload { namespace, name })
}

/// The certificate that a workload has at a time.
fn issued(workload: Workload<'_>, at: EventTime) -> Issued {
    let of = StableHasher::default().field(workload.namespace.as_bytes()).field(workload.name.as_bytes());
    let renewal = nanos(RENEWAL);
    let phase = of.value() % renewal;
    let number = at.0.saturating_add(phase) / renewal;
    Issued { at: EventTime((number * renewal).saturating_sub(phase)), number }
}
