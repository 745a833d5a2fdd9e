//! The calls of one window of one edge: exactly those that its counts speak of.

use std::time::Duration;

use selvedge_model::{
    Call, CallShape, Certificate, EdgeCounts, EventTime, IdentitySource, Measure, Reported, Security, SpanId,
    TraceId, Window,
};

use super::names::{Habit, Names};
use super::{Signals, SimulatedCall};
use crate::config::between;
use crate::draw::{Draw, float, whole};
use crate::topology::{EdgeSpec, Protocol};

/// The fastest requests take this share of the median, and the slowest so many times the last cut.
const FASTEST: f64 = 0.25;
const SLOWEST: f64 = 4.0;
/// The network between two proxies: median, and spread of the logarithm.
const NETWORK_NANOS: f64 = 400_000.0;
const NETWORK_SIGMA: f64 = 0.5;
/// Sizes of requests and of answers: spread of the logarithm; the median answer.
const SIZE_SIGMA: f64 = 0.8;
const ANSWER_BYTES: f64 = 2_000.0;
/// Usual latency of edges that the mesh has no counts of.
const EXTRA_NANOS: f64 = 10_000_000.0;
/// So many candidates for a parent are looked at, to find one that takes longer than its child.
const PARENTS: usize = 3;
/// This share of the calls comes of a branch that is hardly ever taken.
const RARE: f64 = 0.002;
const CLIENT_STATUS: [u16; 4] = [400, 401, 404, 404];
const SERVER_STATUS: [u16; 3] = [500, 502, 503];
const GRPC_STATUS: [i16; 3] = [13, 14, 14];

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) status: u16,
    pub(super) grpc_status: i16,
}

/// What a call is before it has a place and a time.
pub(super) struct Draft {
    /// Caller and callee.
    pub(super) pair: (usize, usize),
    pub(super) protocol: Protocol,
    pub(super) nanos: u64,
    pub(super) outcome: Outcome,
    pub(super) bytes: u64,
    pub(super) edge: Option<usize>,
}

impl Outcome {
    pub(super) fn good(protocol: Protocol) -> Self {
        Self { status: 200, grpc_status: if protocol == Protocol::Grpc { 0 } else { -1 } }
    }
}

impl Signals {
    pub(super) fn edge_calls(
        &mut self,
        index: usize,
        spec: &EdgeSpec,
        window: Window,
        counts: &EdgeCounts,
        out: &mut Vec<SimulatedCall>,
    ) {
        if counts.requests == 0 {
            return;
        }
        let told = counts.requests.min(self.config.calls_of_edge_max as u64);
        self.untold += counts.requests - told;
        let mut cells = cells(counts);
        let mut outcomes = outcomes(counts);
        let bounds = bounds(spec);
        let mut bytes = Bytes::new(counts);
        let habit = self.habits[index].clone();
        for _ in 0..told {
            let cell = taken(&mut cells, &mut self.draw);
            let outcome = outcome(taken(&mut outcomes, &mut self.draw), spec.protocol, &mut self.draw);
            let nanos = between_cuts(bounds[cell], bounds[cell + 1], &mut self.draw);
            let bytes = bytes.next(&mut self.draw);
            let pair = (habit.caller, habit.callee);
            let draft = Draft { pair, protocol: habit.protocol, nanos, outcome, bytes, edge: Some(index) };
            self.tell(&draft, &habit, window, out);
        }
    }

    /// Edges without counts: a Poisson number of good calls.
    pub(super) fn extra_calls(&mut self, window: Window, out: &mut Vec<SimulatedCall>) {
        let length = window.end.since(window.start).as_secs_f64();
        for place in 0..self.extra.len() {
            let calls = self.draw.poisson(self.extra[place].rate * length);
            if calls == 0 {
                continue;
            }
            let habit = self.extra[place].habit.clone();
            for _ in 0..calls {
                let nanos = whole(EXTRA_NANOS * (SIZE_SIGMA * self.draw.normal()).exp());
                let bytes = whole(ANSWER_BYTES * (SIZE_SIGMA * self.draw.normal()).exp());
                let outcome = Outcome::good(habit.protocol);
                let pair = (habit.caller, habit.callee);
                let draft = Draft { pair, protocol: habit.protocol, nanos, outcome, bytes, edge: None };
                self.tell(&draft, &habit, window, out);
            }
        }
    }

    /// Finds a parent and a route, and writes the call down.
    fn tell(&mut self, draft: &Draft, habit: &Habit, window: Window, out: &mut Vec<SimulatedCall>) {
        let parent = self.parent(habit, draft.nanos, out);
        let route = habit.route(parent.map(|(_, route)| route), &mut self.draw);
        let (from, until) = match parent {
            // It begins after its parent and ends before it.
            Some((parent, _)) => {
                let first = out[parent].call.start.after(Duration::from_nanos(draft.nanos));
                (window.start.max(first), out[parent].call.end)
            }
            None => (window.start, window.end),
        };
        let end = EventTime(from.0 + whole(self.draw.uniform() * float(until.0.saturating_sub(from.0 + 1))));
        let mut simulated = call(&self.names, &mut self.draw, draft, route, end);
        if let Some((parent, _)) = parent {
            simulated.call.trace_id = out[parent].call.trace_id;
            simulated.parent_span_id = out[parent].call.span_id;
        }
        let place = u32::try_from(out.len()).unwrap_or(u32::MAX);
        self.arrived[habit.callee][route].push(place);
        out.push(simulated);
    }

    /// A call that the caller served in this window, that makes it call and that takes longer than what it calls: its
    /// place and its route.
    fn parent(&mut self, habit: &Habit, nanos: u64, out: &[SimulatedCall]) -> Option<(usize, usize)> {
        let arrived = &self.arrived[habit.caller];
        let rare = [habit.rare_trigger];
        let triggers: &[usize] = if self.draw.chance(RARE) { &rare } else { &habit.triggers };
        let candidates: usize = triggers.iter().map(|&route| arrived[route].len()).sum();
        let mut found = None;
        for _ in 0..if candidates > 0 { PARENTS } else { 0 } {
            let mut nth = self.draw.below(candidates);
            for &route in triggers {
                if let Some(&place) = arrived[route].get(nth) {
                    found = Some((place as usize, route));
                    break;
                }
                nth -= arrived[route].len();
            }
            if found.is_some_and(|(place, _)| out[place].call.duration_nanos > nanos) {
                return found;
            }
        }
        None
    }
}

/// A call in a trace of its own that ended then.
pub(super) fn call(
    names: &Names,
    draw: &mut Draw,
    draft: &Draft,
    route: usize,
    end: EventTime,
) -> SimulatedCall {
    let (caller, callee) = draft.pair;
    let (method, route, protocol) = names.request(callee, route, draft.protocol);
    let shape = CallShape {
        method,
        route,
        protocol,
        status: draft.outcome.status,
        grpc_status: draft.outcome.grpc_status,
        source_principal: names.principals[caller],
        destination_principal: names.principals[callee],
        source_identity: IdentitySource::MtlsCertificate,
        security: Security::MutualTls,
        tls_version: names.tls,
        tls_cipher: names.cipher,
        certificate: Certificate { issuer: names.issuer(), ..Certificate::default() },
        reported: Reported::Both,
        ..CallShape::default()
    };
    let network = whole(NETWORK_NANOS * (NETWORK_SIGMA * draw.normal()).exp());
    let nanos = draft.nanos.max(1);
    let call = Call {
        edge: names.edge(caller, callee),
        shape,
        trace_id: trace_id(draw),
        span_id: span_id(draw),
        start: end.before(Duration::from_nanos(nanos)),
        end,
        duration_nanos: nanos,
        request_bytes: draft.bytes,
        response_bytes: whole(ANSWER_BYTES * (SIZE_SIGMA * draw.normal()).exp()),
    };
    SimulatedCall {
        call,
        parent_span_id: SpanId::default(),
        caller_nanos: nanos.saturating_add(network),
        edge: draft.edge,
        scenario: None,
    }
}

/// Body bytes of the requests of a window: their sum is what was counted, shared out unevenly.
struct Bytes {
    left: u64,
    calls: u64,
}

impl Bytes {
    fn new(counts: &EdgeCounts) -> Self {
        Self { left: counts.count(Measure::SentKib) * 1_024, calls: counts.requests }
    }

    /// The last call takes the rest; any other about its share of it.
    fn next(&mut self, draw: &mut Draw) -> u64 {
        let share = float(self.left) / float(self.calls.max(1));
        let spread = (SIZE_SIGMA * draw.normal() - 0.5 * SIZE_SIGMA * SIZE_SIGMA).exp();
        let bytes = if self.calls <= 1 { self.left } else { whole(share * spread).min(self.left) };
        self.left -= bytes;
        self.calls = self.calls.saturating_sub(1);
        bytes
    }
}

/// How many requests are in each cell between two cuts.
fn cells(counts: &EdgeCounts) -> [u64; 5] {
    let above = [Measure::OverMedian, Measure::OverQ90, Measure::OverQ99, Measure::OverTwiceQ99];
    let [median, q90, q99, far] = above.map(|measure| counts.count(measure));
    [counts.requests - median, median - q90, q90 - q99, q99 - far, far]
}

/// How many requests are good, refused, failed, failed by gRPC status.
fn outcomes(counts: &EdgeCounts) -> [u64; 4] {
    let errors = [Measure::ClientErrors, Measure::ServerErrors, Measure::GrpcErrors];
    let [client, server, grpc] = errors.map(|measure| counts.count(measure));
    [counts.requests - client - server - grpc, client, server, grpc]
}

/// Takes one out of the classes, each as likely as it has some left: drawing all of them is a random permutation.
fn taken<const N: usize>(left: &mut [u64; N], draw: &mut Draw) -> usize {
    let total: u64 = left.iter().sum();
    let mut nth = whole((draw.uniform() * float(total)).floor()).min(total.saturating_sub(1));
    for (class, left) in left.iter_mut().enumerate() {
        if nth < *left {
            *left -= 1;
            return class;
        }
        nth -= *left;
    }
    0
}

fn outcome(class: usize, protocol: Protocol, draw: &mut Draw) -> Outcome {
    let good = Outcome::good(protocol);
    match class {
        1 => Outcome { status: CLIENT_STATUS[draw.below(CLIENT_STATUS.len())], ..good },
        2 => Outcome { status: SERVER_STATUS[draw.below(SERVER_STATUS.len())], ..good },
        3 => Outcome { grpc_status: GRPC_STATUS[draw.below(GRPC_STATUS.len())], ..good },
        _ => good,
    }
}

/// The ends of the five cells, in nanoseconds.
fn bounds(spec: &EdgeSpec) -> [u64; 6] {
    let [median, q90, q99, far] = spec.latency.cuts().map(selvedge_model::time::nanos);
    [whole(float(median) * FASTEST), median, q90, q99, far, whole(float(far) * SLOWEST)]
}

/// A latency above one bound and not above the other, uniform in the logarithm.
fn between_cuts(low: u64, high: u64, draw: &mut Draw) -> u64 {
    whole(draw.log_within(between(float(low.max(1)), float(high.max(1))))).clamp(low + 1, high.max(low + 1))
}

pub(super) fn trace_id(draw: &mut Draw) -> TraceId {
    let bits = (u128::from(draw.bits()) << 64) | u128::from(draw.bits());
    TraceId(bits.max(1).to_be_bytes())
}

pub(super) fn span_id(draw: &mut Draw) -> SpanId {
    SpanId(draw.bits().max(1).to_be_bytes())
}
