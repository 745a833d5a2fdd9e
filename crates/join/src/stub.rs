//! What is kept of a counted call, so that its late records join it and are not counted again.

use std::time::Duration;

use selvedge_model::time::nanos;
use selvedge_model::{
    Call, CallPath, EdgeKey, EventTime, FirstOnPath, IdentitySource, Node, Observation, Party, RequestId,
    Side, SpanId, Symbol, TraceId,
};
use serde::{Deserialize, Serialize};

use crate::agreement::{PAIR_SKEW_MAX, RETRY_SKEW_MAX, agree};
use crate::assembly::SCAN_MAX;
use crate::hop::Hop;
use crate::slab::{NIL, Slab};

/// A counted call: ids and names only.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stub {
    client: View,
    server: View,
    method: Symbol,
    route: Symbol,
    request: RequestId,
    start: EventTime,
    end: EventTime,
    /// What was asked, as it was counted: method and route.
    counted_as: [Symbol; 2],
    /// What the caller's name rests on.
    identity: IdentitySource,
    /// A request may have gone on from here: the callee is one of the mesh, and took it.
    served: bool,
}

/// One side of a counted call.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct View {
    span: SpanId,
    parent: SpanId,
    /// Workload and principal of this side's end.
    node: Node,
    principal: Symbol,
    reported: bool,
}

/// What a late hop has to do with a counted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Nothing.
    None,
    /// It is part of it.
    Part,
    /// It is another attempt under the same caller's view: a call of its own.
    Retry,
}

impl Stub {
    pub(crate) fn new(
        client: Option<&Observation>,
        server: Option<&Observation>,
        call: Option<&Call>,
    ) -> Self {
        let mut stub = Self { start: EventTime(u64::MAX), ..Self::default() };
        if let Some(call) = call {
            stub.counted_as = [call.shape.method, call.shape.route];
            stub.identity = call.shape.source_identity;
            stub.served = !call.edge.external && !call.shape.handshake_failure.present();
        }
        client.into_iter().chain(server).for_each(|facts| stub.add(facts));
        stub
    }

    /// Remembers a side's view; what is known stays.
    fn add(&mut self, facts: &Observation) {
        let (own, other, reporter, peer) = self.views(facts);
        if !own.reported {
            *own = View { reported: true, span: facts.span_id, parent: facts.parent_span_id, ..*own };
        } else if same(own.span, facts.span_id) && !own.parent.present() {
            own.parent = facts.parent_span_id; // Logs do not carry it; the span does.
        }
        name(own, reporter);
        name(other, peer);
        for (slot, value) in [(&mut self.method, facts.method), (&mut self.route, facts.route)] {
            if !slot.present() {
                *slot = value;
            }
        }
        if !self.request.present() {
            self.request = facts.request_id;
        }
        self.start = self.start.min(facts.start);
        self.end = self.end.max(facts.end);
    }

    /// The view of the reporter's side, that of the other side, and the parties at both.
    fn views<'a>(&mut self, facts: &'a Observation) -> (&mut View, &mut View, &'a Party, &'a Party) {
        if facts.side == Side::Client {
            (&mut self.client, &mut self.server, &facts.reporter, &facts.peer)
        } else {
            (&mut self.server, &mut self.client, &facts.reporter, &facts.peer)
        }
    }

    fn relation(&self, facts: &Observation) -> Relation {
        let (own, other) = if facts.side == Side::Client {
            (&self.client, &self.server)
        } else {
            (&self.server, &self.client)
        };
        if !agree(facts.reporter.principal, own.principal) || !agree(facts.peer.principal, other.principal) {
            return Relation::None;
        }
        let linked = match facts.side {
            Side::Client => same(facts.span_id, other.parent),
            _ => same(facts.parent_span_id, other.span),
        };
        if !own.reported {
            let part = linked || (!self.ids_decide(facts) && self.alike(facts, own, other));
            return if part { Relation::Part } else { Relation::None };
        }
        if self.same_side(facts, own) {
            return Relation::Part;
        }
        let known = facts.peer.principal == other.principal && other.reported;
        let retry = facts.side == Side::Server && linked && known && self.holds(facts, RETRY_SKEW_MAX);
        if retry { Relation::Retry } else { Relation::None }
    }

    /// A record of a hop that was counted: the hop's own, or of the span around it or inside of it.
    fn same_side(&self, facts: &Observation, own: &View) -> bool {
        let near = self.holds(facts, PAIR_SKEW_MAX);
        let same_workload = facts.reporter.workload == own.node.workload;
        if same(facts.span_id, own.span) {
            return near && agree(facts.reporter.workload, own.node.workload);
        }
        if same(facts.parent_span_id, own.span) || same(facts.span_id, own.parent) {
            return same_workload;
        }
        let unnamed = !facts.span_id.present() || !own.span.present();
        unnamed && near && same_workload && self.same_request(facts)
    }

    /// True when span ids on both sides say whether the two belong together.
    fn ids_decide(&self, facts: &Observation) -> bool {
        match facts.side {
            Side::Client => facts.span_id.present() && self.server.parent.present(),
            _ => facts.parent_span_id.present() && self.client.span.present(),
        }
    }

    fn alike(&self, facts: &Observation, own: &View, other: &View) -> bool {
        self.same_request(facts)
            && agree(facts.reporter.workload, own.node.workload)
            && agree(facts.peer.workload, other.node.workload)
            && self.holds(facts, PAIR_SKEW_MAX)
    }

    fn same_request(&self, facts: &Observation) -> bool {
        facts.request_id.present()
            && facts.request_id == self.request
            && agree(facts.method, self.method)
            && agree(facts.route, self.route)
    }

    /// True when the record and the counted call share a moment, give or take `slack`.
    fn holds(&self, facts: &Observation, slack: Duration) -> bool {
        let slack = nanos(slack);
        self.start.0 <= facts.end.0.saturating_add(slack) && facts.start.0 <= self.end.0.saturating_add(slack)
    }

    /// True when who served this call made the `inner` one.
    pub(crate) fn may_enclose(&self, inner: &Self) -> bool {
        let via = self.server.node;
        via == inner.client.node && via.known() && self.served && inner.served
    }

    /// True when the `inner` call lies within this one. Proxies hand the parent on; where an application has spans of its own
    /// in between, and in access logs, only the times tell.
    pub(crate) fn covers(&self, inner: &Self) -> bool {
        self.start <= inner.start && inner.end <= self.end
    }

    /// True when the `inner` call's span is a child of this one's server span.
    pub(crate) fn is_parent_of(&self, inner: &Self) -> bool {
        same(inner.client.parent, self.server.span)
    }

    /// The way over this call and on by the `inner` one; `None` unless all three workloads have names.
    pub(crate) fn path(&self, inner: &Self) -> Option<CallPath> {
        let edge = EdgeKey { source: self.client.node, destination: self.server.node, external: false };
        let [method, route] = self.counted_as;
        let path = CallPath { edge, method, route, onward: inner.server.node };
        (edge.source.known() && edge.destination.known() && path.onward.known()).then_some(path)
    }

    /// What is remembered of it when it is the first of its way.
    pub(crate) fn first_on_path(&self, trace_id: TraceId) -> FirstOnPath {
        let (principal, identity) = (self.client.principal, self.identity);
        FirstOnPath { start: self.start, trace_id, principal, identity }
    }

    /// The latest end that was reported.
    pub(crate) fn end(&self) -> EventTime {
        self.end
    }

    /// An order that does not depend on where stubs are stored.
    fn order(&self) -> (EventTime, EventTime, [SpanId; 4]) {
        (self.start, self.end, self.ids())
    }

    fn ids(&self) -> [SpanId; 4] {
        [self.client.span, self.client.parent, self.server.span, self.server.parent]
    }
}

fn name(view: &mut View, party: &Party) {
    if !view.node.known() {
        view.node = Node::of(party);
    }
    if !view.principal.present() {
        view.principal = party.principal;
    }
}

fn same(left: SpanId, right: SpanId) -> bool {
    left.present() && left == right
}

/// The stubs of one group by the span ids they know.
#[derive(Default)]
pub(crate) struct StubIndex {
    by_id: Vec<(SpanId, u32)>,
    all: Vec<u32>,
}

impl StubIndex {
    pub(crate) fn build(&mut self, stubs: &Slab<Stub>, first: u32) {
        self.by_id.clear();
        self.all.clear();
        let mut at = first;
        while at != NIL {
            self.all.push(at);
            let ids = stubs.get(at).ids();
            self.by_id.extend(ids.into_iter().filter(|id| id.present()).map(|id| (id, at)));
            at = stubs.next(at);
        }
        self.by_id.sort_by_key(|(id, at)| (*id, stubs.get(*at).order()));
        self.all.sort_by_key(|at| stubs.get(*at).order());
    }

    /// The counted call that a hop belongs to; the stub learns what the hop adds.
    pub(crate) fn find(&self, hop: &Hop, stubs: &mut Slab<Stub>) -> Relation {
        let facts = &hop.facts;
        let mut best = (Relation::None, NIL);
        for id in [facts.span_id, facts.parent_span_id].into_iter().filter(|id| id.present()) {
            let first = self.by_id.partition_point(|(other, _)| *other < id);
            for (_, at) in self.by_id[first..].iter().take_while(|(other, _)| *other == id).take(SCAN_MAX) {
                match stubs.get(*at).relation(facts) {
                    Relation::Part => {
                        stubs.get_mut(*at).add(facts);
                        return Relation::Part;
                    }
                    Relation::Retry => best = (Relation::Retry, *at),
                    Relation::None => {}
                }
            }
        }
        if best.0 == Relation::Retry || !facts.request_id.present() {
            return best.0;
        }
        let part = |at: &&u32| stubs.get(**at).relation(facts) == Relation::Part;
        match self.all.iter().take(SCAN_MAX).find(part) {
            Some(at) => {
                stubs.get_mut(*at).add(facts);
                Relation::Part
            }
            None => Relation::None,
        }
    }
}
