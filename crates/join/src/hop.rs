//! One reporter's view of one call: its span and its access log, merged; the log's word where both speak.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::time::Duration;

use selvedge_model::hash::fixed_state;
use selvedge_model::{
    Certificate, EventTime, ForwardedIdentity, IdentitySource, Observation, ObservationKind, Party, Security,
    Symbol,
};

use crate::agreement::{Agreement, identity, overlap, same_hop};
use crate::slab::{NIL, Slab};

/// Span and log of one hop come from one clock, but logs round their durations to milliseconds.
const HOP_SKEW_MAX: Duration = Duration::from_secs(1);
/// Records of one hop under two names of its reporter start together to this precision.
const START_SKEW_MAX: Duration = Duration::from_millis(5);

/// How a hop found its mate; later is stronger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    /// It did not.
    #[default]
    None,
    /// By request id, names and time.
    Loose,
    /// By a span id whose owner nobody confirms.
    Unconfirmed,
    /// By request id, names, time, route and status, with a confirmed caller.
    Strict,
    /// By span id, with a confirmed caller.
    Exact,
}

/// What a hop has to do with a call that was counted before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Nothing.
    #[default]
    No,
    /// It is part of that call.
    Part,
    /// It is a retry: its caller's view was counted with another attempt.
    Vouched,
}

/// One side's view of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    /// Span and log in one; `kind` is `AccessLog` once there is a log.
    pub(crate) facts: Observation,
    /// The latest end of its records.
    pub(crate) end: EventTime,
    /// The slots of its span and its log.
    span: u32,
    log: u32,
    /// The hop at the other side; several callees' hops (retries) may have the same caller's.
    pub(crate) mate: u32,
    pub(crate) link: Link,
    /// The hop of the same side that speaks for this one: an application's span inside its proxy's.
    pub(crate) keeper: u32,
    pub(crate) counted: Counted,
}

/// What became of a record that was offered to a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It is part of the hop now.
    Taken,
    /// The hop has this very record already.
    Duplicate,
    /// It is of another hop.
    Refused,
}

impl Hop {
    pub(crate) fn new(slot: u32, record: &Observation) -> Self {
        let (span, log) = if record.kind == ObservationKind::Span { (slot, NIL) } else { (NIL, slot) };
        Self {
            facts: *record,
            end: record.end,
            span,
            log,
            mate: NIL,
            link: Link::None,
            keeper: NIL,
            counted: Counted::No,
        }
    }

    /// True while nothing else speaks for this hop or counted it.
    pub(crate) fn free(&self) -> bool {
        self.mate == NIL && self.keeper == NIL && self.counted == Counted::No
    }

    /// True when the hop was neither counted nor spoken for by another hop of its side.
    pub(crate) fn speaks(&self) -> bool {
        self.keeper == NIL && self.counted != Counted::Part
    }

    /// Offers the record in `slot`, of the same side and, unless it has none, the same span id.
    pub(crate) fn offer(&mut self, slot: u32, records: &Slab<Observation>) -> Offer {
        let record = records.get(slot);
        let own = if record.kind == ObservationKind::Span { self.span } else { self.log };
        if own != NIL {
            let again = fingerprint(records.get(own)) == fingerprint(record);
            // Whether it is the last word may be known only of the second.
            self.facts.last_word |= again && record.last_word;
            return if again { Offer::Duplicate } else { Offer::Refused };
        }
        let fits = if record.span_id.present() {
            self.same_reporter(record) && overlap(&self.facts, record, HOP_SKEW_MAX)
        } else {
            same_hop(&self.facts, record)
        };
        if !fits {
            return Offer::Refused;
        }
        self.take(slot, record);
        Offer::Taken
    }

    fn take(&mut self, slot: u32, record: &Observation) {
        self.end = self.end.max(record.end);
        if record.kind == ObservationKind::Span {
            self.span = slot;
            fill(&mut self.facts, record);
        } else {
            self.log = slot;
            let span = std::mem::replace(&mut self.facts, *record);
            fill(&mut self.facts, &span);
        }
    }

    /// Dialects name a proxy differently in its spans and logs; then the exact start tells.
    fn same_reporter(&self, record: &Observation) -> bool {
        match identity(&self.facts.reporter, &record.reporter) {
            Agreement::Contradicts => false,
            Agreement::NamesDiffer => {
                let (first, second) =
                    (self.facts.start.min(record.start), self.facts.start.max(record.start));
                second.since(first) <= START_SKEW_MAX
            }
            Agreement::Unknown | Agreement::Agrees => true,
        }
    }
}

/// An order of records that does not depend on their arrival: same side and span id together, those without a span
/// id last, then by time, then by content.
pub(crate) fn canonical(left: &Observation, right: &Observation) -> Ordering {
    let ids = |record: &Observation| (record.side, !record.span_id.present(), record.span_id);
    let times = |record: &Observation| (record.start, record.end, record.kind, record.parent_span_id);
    ids(left)
        .cmp(&ids(right))
        .then_with(|| times(left).cmp(&times(right)))
        .then_with(|| fingerprint(left).cmp(&fingerprint(right)))
        .then_with(|| (left.route, left.peer.workload).cmp(&(right.route, right.peer.workload)))
}

/// What makes a record the same record when it is sent again. Route and names of the peer are left out: what we
/// call them may change between the two.
fn fingerprint(record: &Observation) -> u64 {
    let peer = if record.peer.principal.present() { record.peer.principal } else { record.peer.workload };
    let who = (record.parent_span_id, record.request_id, record.start, record.end, record.reporter, peer);
    let what = (
        record.method,
        record.status,
        record.grpc_status,
        record.error,
        record.request_bytes,
        record.response_bytes,
    );
    let how = (record.security, record.tls_version, record.tls_cipher, record.sni, record.certificate);
    let rest = (record.handshake_failure, record.claimed_principal, record.forwarded, record.user_agent);
    let last = (record.protocol, record.denied_by, record.shadow_denied_by, record.repaired);
    fixed_state().hash_one((who, what, how, rest, last))
}

/// Fills what `facts` does not say from another record of the same hop.
fn fill(facts: &mut Observation, other: &Observation) {
    if !facts.trace_id.present() {
        facts.trace_id = other.trace_id;
    }
    if !facts.span_id.present() {
        facts.span_id = other.span_id;
    }
    if !facts.parent_span_id.present() {
        facts.parent_span_id = other.parent_span_id;
    }
    if !facts.request_id.present() {
        facts.request_id = other.request_id;
    }
    fill_party(&mut facts.reporter, &other.reporter);
    fill_party(&mut facts.peer, &other.peer);
    fill_what(facts, other);
}

/// Fills what `facts` does not say of the request itself; ids, times and parties stay.
pub(crate) fn fill_what(facts: &mut Observation, other: &Observation) {
    let symbols: [(&mut Symbol, Symbol); 11] = [
        (&mut facts.method, other.method),
        (&mut facts.route, other.route),
        (&mut facts.tls_version, other.tls_version),
        (&mut facts.tls_cipher, other.tls_cipher),
        (&mut facts.sni, other.sni),
        (&mut facts.handshake_failure, other.handshake_failure),
        (&mut facts.claimed_principal, other.claimed_principal),
        (&mut facts.user_agent, other.user_agent),
        (&mut facts.protocol, other.protocol),
        (&mut facts.denied_by, other.denied_by),
        (&mut facts.shadow_denied_by, other.shadow_denied_by),
    ];
    for (slot, value) in symbols {
        if !slot.present() {
            *slot = value;
        }
    }
    if facts.status == 0 {
        facts.status = other.status;
    }
    if facts.grpc_status < 0 {
        facts.grpc_status = other.grpc_status;
    }
    if facts.request_bytes == 0 {
        facts.request_bytes = other.request_bytes;
    }
    if facts.response_bytes == 0 {
        facts.response_bytes = other.response_bytes;
    }
    if facts.security == Security::Unknown {
        facts.security = other.security;
    }
    if facts.certificate == Certificate::default() {
        facts.certificate = other.certificate;
    }
    if facts.forwarded == ForwardedIdentity::None {
        facts.forwarded = other.forwarded;
    }
    facts.error |= other.error;
    facts.last_word |= other.last_word;
    facts.repaired = facts.repaired.max(other.repaired);
}

fn fill_party(party: &mut Party, other: &Party) {
    let better = !party.workload.present() || (other.workload.present() && party.source < other.source);
    let principal = if party.principal.present() { party.principal } else { other.principal };
    if better && other.source > IdentitySource::None {
        let cluster = if other.cluster.present() { other.cluster } else { party.cluster };
        *party = Party { cluster, ..*other };
    } else if !party.cluster.present() {
        party.cluster = other.cluster;
    }
    party.principal = principal;
}
