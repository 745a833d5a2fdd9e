//! Attacks that are about edges and identities rather than counts, planned as steps and told as calls.

use std::time::Duration;

use selvedge_model::{
    Certificate, EdgeKey, EventTime, IdentitySource, Node, Reported, Security, Symbol, Window,
};

use super::names::{Habit, UNUSED_ROUTES};
use super::window::{Draft, Outcome, call};
use super::{Signals, SimulatedCall};
use crate::config::{Between, between};
use crate::draw::{Draw, float, whole};
use crate::events::seconds;
use crate::mesh::Mesh;
use crate::topology::Protocol;

/// So many services may refuse the attacker before each hop, and so many calls make one.
const PROBES_MAX: usize = 3;
const CALLS_A_HOP: Between = between(3.0, 20.0);
/// Calls of one hop follow each other after so many seconds.
const PAUSE_SECONDS: Between = between(0.5, 60.0);
/// A hop comes so long after the deployment that covers it, in seconds.
const COVERED_SECONDS: Between = between(60.0, 1_800.0);
/// Half of the hops go through a request of the compromised service, and stay in its trace.
const RELAYED: f64 = 0.5;
/// A third of the hops ask for a route that nobody uses.
const ODD_ROUTE: f64 = 0.33;
/// Calls a minute of attacks over an edge that exists.
const CALLS_A_MINUTE: f64 = 2.0;
const CALL_NANOS: f64 = 5_000_000.0;
const CALL_BYTES: f64 = 1_500.0;
/// Steps of all attacks of a mesh; of an attack beyond it the rest is not planned.
const STEPS_MAX: usize = 1_000_000;

/// Which deployments an attacker hides behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// None.
    None,
    /// One of the first compromised service.
    Foothold,
    /// One of each compromised service, before its hop.
    EveryHop,
}

/// What an attacker does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attack {
    /// From a compromised service to one that it never called, from there to the next, with each one's own identity.
    LateralMovement {
        /// How many new edges.
        hops: usize,
        /// What hides them.
        cover: Cover,
    },
    /// The caller of an edge presents the certificate of another service.
    ForgedIdentity {
        /// Index into `Mesh::edges`.
        edge: usize,
    },
    /// Requests over an edge without TLS.
    Downgrade {
        /// Index into `Mesh::edges`.
        edge: usize,
    },
    /// Requests with the caller's identity that its proxy knows nothing of.
    BypassedSidecar {
        /// Index into `Mesh::edges`.
        edge: usize,
    },
    /// A host outside the mesh is called by the clock.
    Beaconing {
        /// Index into `Mesh::services`.
        service: usize,
        /// Time between two calls.
        period: Duration,
        /// How much it varies, as a share of the period.
        jitter: f64,
    },
    /// Records of an edge are dropped on their way, while counters (`WindowOf::counts`) go on.
    SuppressedTelemetry {
        /// Index into `Mesh::edges`.
        edge: usize,
        /// The share that is dropped.
        share: f64,
    },
}

/// An attack with its times: a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it is.
    pub attack: Attack,
    /// Services on its way, the first compromised one first.
    pub path: Vec<usize>,
    /// When each hop of a lateral movement begins; of other attacks their start.
    pub hops: Vec<EventTime>,
    /// Since when.
    pub start: EventTime,
    /// Until when: no call of it is later.
    pub end: EventTime,
}

/// What is false about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disguise {
    /// Nothing.
    None,
    /// The identity is that of this service.
    Identity(usize),
    /// There is no TLS.
    Plaintext,
    /// The caller's proxy did not see it.
    NoSidecar,
    /// It goes to this host.
    Outside(Node),
}

/// One call of an attacker.
#[derive(Clone, Debug)]
pub(super) struct Step {
    at: EventTime,
    scenario: usize,
    from: usize,
    to: usize,
    route: usize,
    protocol: Protocol,
    outcome: Outcome,
    disguise: Disguise,
    relayed: bool,
}

impl Signals {
    /// Plans an attack that begins at `start` and takes about `length`, and gives its place in
    /// [`Signals::scenarios`]. Nothing when the mesh has no room for it: no such edge or service, or no edge left that
    /// would be new.
    pub fn attack(
        &mut self,
        mesh: &mut Mesh,
        attack: Attack,
        start: EventTime,
        length: Duration,
    ) -> Option<usize> {
        let scenario =
            Scenario { attack, path: Vec::new(), hops: vec![start], start, end: start.after(length) };
        let index = self.scenarios.len();
        let mut draw = self.attack_draw.clone();
        let planned = match attack {
            Attack::LateralMovement { hops, cover } => {
                self.movement(scenario, hops, cover, length, mesh, &mut draw)
            }
            Attack::ForgedIdentity { edge } => {
                let victim = draw.below(self.names.nodes.len().max(1));
                let caller = self.habits.get(edge)?.caller;
                let victim = if victim == caller { (victim + 1) % self.names.nodes.len() } else { victim };
                self.over_edge(scenario, edge, Disguise::Identity(victim), &mut draw)
            }
            Attack::Downgrade { edge } => self.over_edge(scenario, edge, Disguise::Plaintext, &mut draw),
            Attack::BypassedSidecar { edge } => {
                self.over_edge(scenario, edge, Disguise::NoSidecar, &mut draw)
            }
            Attack::Beaconing { service, period, jitter } => {
                self.beacon(scenario, service, (period, jitter), &mut draw)
            }
            Attack::SuppressedTelemetry { edge, .. } => self
                .habits
                .get(edge)
                .map(|habit| Scenario { path: vec![habit.caller, habit.callee], ..scenario }),
        };
        self.attack_draw = draw;
        self.scenarios.push(planned?);
        self.steps.sort_by_key(|step| (step.at, step.scenario));
        Some(index)
    }

    fn movement(
        &mut self,
        mut scenario: Scenario,
        hops: usize,
        cover: Cover,
        length: Duration,
        mesh: &mut Mesh,
        draw: &mut Draw,
    ) -> Option<Scenario> {
        let path = self.path(hops, draw)?;
        let each = length.as_secs_f64() / float(hops as u64);
        scenario.hops.clear();
        let mut free = scenario.start;
        for (hop, pair) in path.windows(2).enumerate() {
            let mut at = free;
            if cover == Cover::EveryHop || (cover == Cover::Foothold && hop == 0) {
                mesh.deploy(pair[0], at);
                at = at.after(seconds(draw.log_within(COVERED_SECONDS).min(each)));
            }
            for _ in 0..draw.below(PROBES_MAX + 1) {
                if let Some((from, to)) = self.unknown_pair(Some(pair[0]), draw) {
                    let refused =
                        Outcome { status: if draw.chance(0.5) { 403 } else { 404 }, grpc_status: -1 };
                    self.step(at, (from, to), refused, Disguise::None, draw);
                    at = at.after(seconds(draw.log_within(PAUSE_SECONDS)));
                }
            }
            scenario.hops.push(at);
            let calls = whole(draw.log_within(CALLS_A_HOP));
            for _ in 0..calls {
                self.step(at, (pair[0], pair[1]), Outcome::good(Protocol::Http), Disguise::None, draw);
                scenario.end = scenario.end.max(at);
                at = at.after(seconds(draw.log_within(PAUSE_SECONDS)));
            }
            free = at.max(free.after(seconds(each * draw.uniform())));
        }
        scenario.end = scenario.end.after(Duration::from_nanos(1));
        Some(Scenario { path, ..scenario })
    }

    /// Services of which none ever called the next; none when there is no such path of that many hops.
    fn path(&self, hops: usize, draw: &mut Draw) -> Option<Vec<usize>> {
        const TRIES: usize = 20;
        let services = self.names.nodes.len();
        if services == 0 || hops == 0 {
            return None;
        }
        (0..TRIES).find_map(|_| {
            let mut path = vec![draw.below(services)];
            while path.len() <= hops {
                let from = *path.last()?;
                let (_, to) = self.unknown_pair(Some(from), draw).filter(|(_, to)| !path.contains(to))?;
                path.push(to);
            }
            Some(path)
        })
    }

    fn over_edge(
        &mut self,
        scenario: Scenario,
        edge: usize,
        disguise: Disguise,
        draw: &mut Draw,
    ) -> Option<Scenario> {
        let habit = self.habits.get(edge)?.clone();
        let mut at = scenario.start;
        while at < scenario.end {
            let outcome = Outcome::good(habit.protocol);
            self.step(at, (habit.caller, habit.callee), outcome, disguise, draw);
            if let Some(step) = self.steps.last_mut() {
                (step.route, step.protocol) = (habit.route(None, draw), habit.protocol);
            }
            at = at.after(seconds(draw.exponential(60.0 / CALLS_A_MINUTE)).max(Duration::from_millis(1)));
        }
        Some(Scenario { path: vec![habit.caller, habit.callee], ..scenario })
    }

    fn beacon(
        &mut self,
        scenario: Scenario,
        service: usize,
        (period, jitter): (Duration, f64),
        draw: &mut Draw,
    ) -> Option<Scenario> {
        if service >= self.names.nodes.len() || period.is_zero() {
            return None;
        }
        let host = format!("{}.example", crate::words::words(draw, 1).concat());
        let host = self.names.outside(&host);
        let mut at = scenario.start;
        while at < scenario.end {
            let late = seconds(period.as_secs_f64() * jitter * draw.uniform());
            let outcome = Outcome::good(Protocol::Http);
            self.step(
                at.after(late).min(scenario.end.before(Duration::from_nanos(1))),
                (service, service),
                outcome,
                Disguise::Outside(host),
                draw,
            );
            at = at.after(period);
        }
        Some(Scenario { path: vec![service], ..scenario })
    }

    fn step(
        &mut self,
        at: EventTime,
        (from, to): (usize, usize),
        outcome: Outcome,
        disguise: Disguise,
        draw: &mut Draw,
    ) {
        let used = self.names.used_routes(to);
        let odd = draw.chance(ODD_ROUTE);
        let route = if odd { used + draw.below(UNUSED_ROUTES) } else { draw.below(used) };
        let (scenario, relayed) = (self.scenarios.len(), draw.chance(RELAYED));
        let protocol = Protocol::Http;
        if self.steps.len() < STEPS_MAX {
            self.steps.push(Step { at, scenario, from, to, route, protocol, outcome, disguise, relayed });
        }
    }

    /// Tells the steps of this window, and drops what is suppressed.
    pub(super) fn attack_calls(&mut self, window: Window, out: &mut Vec<SimulatedCall>) {
        let due = self.steps.partition_point(|step| step.at < window.end);
        let steps: Vec<Step> = self.steps.drain(..due).filter(|step| window.start <= step.at).collect();
        for step in steps {
            let call = self.attack_call(&step, out);
            out.push(call);
        }
        for place in 0..self.scenarios.len() {
            let scenario = &self.scenarios[place];
            let Attack::SuppressedTelemetry { edge, share } = scenario.attack else { continue };
            if scenario.start <= window.start && window.start < scenario.end {
                let draw = &mut self.step_draw;
                out.retain(|simulated| simulated.edge != Some(edge) || !draw.chance(share));
            }
        }
    }

    fn attack_call(&mut self, step: &Step, out: &[SimulatedCall]) -> SimulatedCall {
        let nanos = whole(CALL_NANOS * self.step_draw.normal().exp());
        let bytes = whole(CALL_BYTES * self.step_draw.normal().exp());
        let (from, to, protocol) = (step.from, step.to, step.protocol);
        let habit = Habit { caller: from, callee: to, protocol, routes: Vec::new(), triggers: Vec::new() };
        let edge = self.habits.iter().position(|known| (known.caller, known.callee) == (from, to));
        let draft = Draft { habit: &habit, nanos, outcome: step.outcome, bytes, edge };
        let mut simulated = call(&self.names, &mut self.step_draw, &draft, step.route, step.at);
        simulated.scenario = Some(step.scenario);
        if step.relayed {
            let served: Vec<u32> = self.arrived[from].iter().flatten().copied().collect();
            if !served.is_empty() {
                let parent = &out[served[self.step_draw.below(served.len())] as usize].call;
                simulated.call.trace_id = parent.trace_id;
                simulated.parent_span_id = parent.span_id;
            }
        }
        self.disguise(&mut simulated, step.disguise);
        simulated
    }

    fn disguise(&self, simulated: &mut SimulatedCall, disguise: Disguise) {
        let (edge, shape) = (&mut simulated.call.edge, &mut simulated.call.shape);
        match disguise {
            Disguise::None => {}
            Disguise::Identity(service) => shape.source_principal = self.names.principals[service],
            Disguise::Plaintext => {
                shape.security = Security::Plaintext;
                shape.source_identity = IdentitySource::Address;
                (shape.source_principal, shape.destination_principal) = (Symbol::NONE, Symbol::NONE);
                (shape.tls_version, shape.tls_cipher) = (Symbol::NONE, Symbol::NONE);
                shape.certificate = Certificate::default();
            }
            Disguise::NoSidecar => {
                shape.reported = Reported::ServerOnly;
                simulated.caller_nanos = simulated.call.duration_nanos;
            }
            Disguise::Outside(host) => {
                *edge = EdgeKey { destination: host, external: true, ..*edge };
                shape.reported = Reported::ClientOnly;
                shape.security = Security::Unknown;
                shape.destination_principal = Symbol::NONE;
                shape.source_identity = IdentitySource::ProxyMetadata;
                simulated.edge = None;
            }
        }
    }
}
