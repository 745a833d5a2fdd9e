//! Attacks that are about edges and identities rather than counts, planned as steps and told as calls.

use std::time::Duration;

use selvedge_model::{
    Certificate, EdgeKey, EventTime, IdentitySource, Node, Reported, Security, SpanId, Symbol, TraceId,
    Window,
};

use super::movement::Movement;
use super::names::Habit;
use super::window::{Draft, Outcome, call};
use super::{Signals, SimulatedCall};
use crate::draw::{Draw, whole};
use crate::events::seconds;
use crate::mesh::Mesh;
use crate::topology::Protocol;

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

/// Which edges an attacker moves over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Edges that never were there.
    NewEdges,
    /// Edges that are used every day, but each asked by a request that never asked it: only the path is new.
    KnownEdges,
}

/// What an attacker does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attack {
    /// From a compromised service to another, from there to the next, with each one's own identity.
    LateralMovement {
        /// How many services are reached one from the other.
        hops: usize,
        /// Over which edges.
        over: Ground,
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
pub(super) enum Disguise {
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

/// The trace of an attacker's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// One of its own.
    Own,
    /// That of a request which the caller served just then, if there was one.
    Relayed,
    /// This one.
    Given { trace: TraceId, span: SpanId, parent: SpanId },
}

/// One call of an attacker.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) at: EventTime,
    pub(super) scenario: usize,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) route: usize,
    pub(super) protocol: Protocol,
    pub(super) outcome: Outcome,
    pub(super) disguise: Disguise,
    pub(super) trace: Trace,
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
            Attack::LateralMovement { hops, over, cover } => {
                let plan = Movement { hops, cover, length };
                match over {
                    Ground::NewEdges => self.over_new_edges(scenario, plan, mesh, &mut draw),
                    Ground::KnownEdges => self.over_known_edges(scenario, plan, mesh, &mut draw),
                }
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
            let route = habit.route(None, draw);
            self.step(Step { disguise, ..self.usual_step(&habit, route, at) });
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
            let due = at.after(late).min(scenario.end.before(Duration::from_nanos(1)));
            let disguise = Disguise::Outside(host);
            self.step(Step { disguise, ..self.new_step((service, service), 0, due) });
            at = at.after(period);
        }
        Some(Scenario { path: vec![service], ..scenario })
    }

    /// A good call over an edge of the mesh, by the scenario that is being planned.
    pub(super) fn usual_step(&self, habit: &Habit, route: usize, at: EventTime) -> Step {
        let (protocol, outcome) = (habit.protocol, Outcome::good(habit.protocol));
        Step { protocol, outcome, ..self.new_step((habit.caller, habit.callee), route, at) }
    }

    /// A good HTTP call between any two services.
    pub(super) fn new_step(&self, (from, to): (usize, usize), route: usize, at: EventTime) -> Step {
        let protocol = Protocol::Http;
        let (outcome, disguise, trace) = (Outcome::good(protocol), Disguise::None, Trace::Own);
        Step { at, scenario: self.scenarios.len(), from, to, route, protocol, outcome, disguise, trace }
    }

    pub(super) fn step(&mut self, step: Step) {
        if self.steps.len() < STEPS_MAX {
            self.steps.push(step);
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
        self.suppressed.clear();
        for place in 0..self.scenarios.len() {
            let scenario = &self.scenarios[place];
            let Attack::SuppressedTelemetry { edge, share } = scenario.attack else { continue };
            if scenario.start <= window.start && window.start < scenario.end {
                let draw = &mut self.step_draw;
                let kept_back =
                    out.extract_if(.., |simulated| simulated.edge == Some(edge) && draw.chance(share));
                self.suppressed.extend(kept_back);
            }
        }
    }

    fn attack_call(&mut self, step: &Step, out: &[SimulatedCall]) -> SimulatedCall {
        let nanos = whole(CALL_NANOS * self.step_draw.normal().exp());
        let bytes = whole(CALL_BYTES * self.step_draw.normal().exp());
        let (from, to, protocol) = (step.from, step.to, step.protocol);
        let edge = self.habits.iter().position(|known| (known.caller, known.callee) == (from, to));
        let draft = Draft { pair: (from, to), protocol, nanos, outcome: step.outcome, bytes, edge };
        let mut simulated = call(&self.names, &mut self.step_draw, &draft, step.route, step.at);
        simulated.scenario = Some(step.scenario);
        let parent = match step.trace {
            Trace::Own => None,
            Trace::Relayed => self.served(step.from, out),
            Trace::Given { trace, span, parent } => {
                simulated.call.span_id = span;
                Some((trace, parent))
            }
        };
        if let Some((trace, parent)) = parent {
            (simulated.call.trace_id, simulated.parent_span_id) = (trace, parent);
        }
        self.disguise(&mut simulated, step.disguise);
        simulated
    }

    /// Some request that a service served in this window.
    fn served(&mut self, service: usize, out: &[SimulatedCall]) -> Option<(TraceId, SpanId)> {
        let served: Vec<u32> = self.arrived[service].iter().flatten().copied().collect();
        if served.is_empty() {
            return None;
        }
        let call = &out[served[self.step_draw.below(served.len())] as usize].call;
        Some((call.trace_id, call.span_id))
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
