//! What each workload's telemetry brings and what is missing from it: counts of the last minutes, for `selvedge doctor`.
//!
//! Changes no result and stands in no checkpoint: a restart reads the last minutes of the journal again anyway. A record
//! costs one look at the sender of the record before it, and some additions.

use std::time::Duration;

use selvedge_decode::{Decoded, RejectionCounts};
use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{
    EdgeKey, EdgeWindow, EventTime, Meaning, MetricPoint, MetricValue, Node, Observation, ObservationKind,
    ObservedTime, Reported, Security, Side, Symbol, SymbolTable, Timing,
};

use crate::overload::Overload;
use crate::snapshot::ReporterSummary;

/// Workloads that are counted apart. Past it a new one takes the place of who was not heard for longest, of those of whom
/// nothing was counted lately; while there is none it is not counted (policy `keep_known`). Some 4 MB.
const SENDERS_MAX: usize = 4_096;
/// Event time that one half of the counts spans. Both halves together are shown: five to ten minutes, so that what was put
/// right is seen to be right soon.
const HALF: Duration = Duration::from_mins(5);
/// Whoever was not heard for so long is forgotten: workloads are renamed and removed.
const FORGET_AFTER: Duration = Duration::from_hours(24);

/// What records of one kind and side carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Records.
    pub records: u64,
    /// Those of connections that may have had a verified peer: not known to be plaintext, not refused, and to a
    /// destination inside the mesh. The next four are among them.
    pub identity_due: u64,
    /// With the peer's verified identity.
    pub peer_principal: u64,
    /// With the reporter's own verified identity.
    pub own_principal: u64,
    /// With a TLS version.
    pub tls_version: u64,
    /// With the server name that the client asked for.
    pub sni: u64,
    /// With a request id.
    pub request_id: u64,
    /// With a trace id.
    pub trace_id: u64,
}

/// The same of both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BySide {
    /// Of calls that the workload made.
    pub client: Carried,
    /// Of calls that it answered.
    pub server: Carried,
}

/// Calls inside the mesh by the sides that reported them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    /// Both.
    pub both: u64,
    /// Only the caller's.
    pub client_only: u64,
    /// Only the callee's.
    pub server_only: u64,
}

/// What one workload brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Spans of calls.
    pub spans: BySide,
    /// Access-log records.
    pub access_logs: BySide,
    /// Spans of no call.
    pub internal_spans: u64,
    /// Log records of connections.
    pub connection_logs: u64,
    /// Other log records.
    pub application_logs: u64,
    /// Metric points.
    pub points: u64,
    /// Requests that its counters counted on the way out, while records of it were counted.
    pub requests_counted: u64,
    /// Records that were refused, when all others of their batch are this workload's.
    pub rejected: RejectionCounts,
    /// Calls that it made.
    pub as_caller: Sides,
    /// Calls that it answered.
    pub as_callee: Sides,
    /// How far past its arrival a record ended by its sender's clock, at most, whether or not that was believed: a clock that
    /// is ahead.
    pub ahead_max: Duration,
    /// How long before its arrival a record ended by its sender's clock, at least: batching, the way here, or a clock that is
    /// behind.
    pub delay_min: Option<Duration>,
}

/// All workloads that were heard of lately.
pub(crate) struct Senders {
    places: FixedMap<Node, usize>,
    senders: Vec<Sender>,
    /// The sender of the record before.
    last: Option<(Node, usize)>,
    /// When the halves began, in event time.
    began: [EventTime; 2],
    /// When the latest record came in.
    arrived: ObservedTime,
    /// Places of those of whom nothing was counted when the halves turned, who was not heard for longest last.
    idle: Vec<usize>,
    /// What found no room, in all.
    refused: u64,
    /// The same in each half.
    refused_lately: [u64; 2],
}

struct Sender {
    node: Node,
    /// The identity that it has at its own end.
    principal: Symbol,
    /// When its latest record or point came in; absent when others only speak of it.
    heard: ObservedTime,
    /// The end of the first record that was counted: counters that count since before it count more than we saw.
    first: EventTime,
    halves: [Brought; 2],
}

impl Senders {
    pub(crate) fn new() -> Self {
        Self {
            places: FixedMap::with_hasher(fixed_state()),
            senders: Vec::new(),
            last: None,
            began: [EventTime::ABSENT; 2],
            arrived: ObservedTime::default(),
            idle: Vec::new(),
            refused: 0,
            refused_lately: [0; 2],
        }
    }

    /// A record came in.
    pub(crate) fn hear(&mut self, record: &Observation, arrived: ObservedTime) {
        self.arrived = arrived;
        let Some(sender) = self.sender(Node::of(&record.reporter)) else { return };
        sender.heard = arrived;
        if !sender.first.present() {
            sender.first = record.end;
        }
        if record.reporter.principal.present() {
            sender.principal = record.reporter.principal;
        }
        let brought = &mut sender.halves[0];
        let carried = match (record.kind, record.side) {
            (ObservationKind::Span, Side::Client) => &mut brought.spans.client,
            (ObservationKind::Span, Side::Server) => &mut brought.spans.server,
            (ObservationKind::AccessLog, Side::Client) => &mut brought.access_logs.client,
            (ObservationKind::AccessLog, _) => &mut brought.access_logs.server,
            (ObservationKind::Span, Side::Internal) => return brought.internal_spans += 1,
            (ObservationKind::ConnectionLog, _) => return brought.connection_logs += 1,
            (ObservationKind::ApplicationLog, _) => return brought.application_logs += 1,
        };
        carried.count(record);
        brought.time(record, arrived);
    }

    /// A metric point came in; `update` is what it adds to its series since when.
    pub(crate) fn hear_point(
        &mut self,
        point: &MetricPoint,
        (added, since): (Option<&MetricValue>, EventTime),
        arrived: ObservedTime,
    ) {
        self.arrived = arrived;
        let Some(sender) = self.sender(Node::of(&point.reporter)) else { return };
        sender.heard = arrived;
        let brought = &mut sender.halves[0];
        brought.points += 1;
        let outbound =
            point.meaning == Meaning::Requests && point.side == Side::Client && !point.peer.external;
        let seen = sender.first.present() && sender.first <= since;
        if let (true, true, Some(MetricValue::Number(number))) = (outbound, seen, added) {
            brought.requests_counted = brought.requests_counted.saturating_add(whole(*number));
        }
    }

    /// Records of a batch were refused. They name nobody; where all others are one workload's, so are they.
    pub(crate) fn refuse(&mut self, decoded: &Decoded) {
        if decoded.rejected == 0 {
            return;
        }
        let records = decoded.observations.iter().map(|record| Node::of(&record.reporter));
        let mut reporters = records.chain(decoded.points.iter().map(|point| Node::of(&point.reporter)));
        let first = reporters.next().unwrap_or_default();
        let sole = if reporters.all(|other| other == first) { first } else { Node::default() };
        if let Some(sender) = self.sender(sole) {
            sender.halves[0].rejected.merge(&decoded.rejections);
        }
    }

    /// A window of an edge closed.
    pub(crate) fn close(&mut self, key: &EdgeKey, edge: &EdgeWindow) {
        if key.external {
            return;
        }
        let mut sides = Sides::default();
        for (shape, stats) in &edge.shapes {
            // A refused handshake is no call: only the callee can tell of it.
            if shape.handshake_failure.present() {
                continue;
            }
            match shape.reported {
                Reported::Both => sides.both += stats.calls,
                Reported::ClientOnly => sides.client_only += stats.calls,
                Reported::ServerOnly => sides.server_only += stats.calls,
            }
        }
        if key.source.known()
            && let Some(sender) = self.sender(key.source)
        {
            sender.halves[0].as_caller.merge(&sides);
        }
        if key.destination.known()
            && let Some(sender) = self.sender(key.destination)
        {
            sender.halves[0].as_callee.merge(&sides);
        }
    }

    /// Event time has come to `now`: counts of minutes ago go.
    pub(crate) fn turn(&mut self, now: EventTime) {
        if !self.began[0].present() {
            self.began = [now; 2];
        }
        if now < self.began[0] {
            // Another stream, with times of its own.
            self.began = [now; 2];
        }
        let spanned = now.since(self.began[0]);
        if spanned < HALF {
            return;
        }
        let silent = spanned >= 2 * HALF;
        for sender in &mut self.senders {
            let before = std::mem::take(&mut sender.halves[0]);
            sender.halves[1] = if silent { Brought::default() } else { before };
        }
        self.refused_lately = [0, if silent { 0 } else { self.refused_lately[0] }];
        self.began = [now, if silent { now } else { self.began[0] }];
        self.forget();
    }

    /// What all of them brought lately, in words; who brought most comes first.
    pub(crate) fn summaries(&self, now: EventTime, symbols: &SymbolTable) -> Vec<ReporterSummary> {
        let summary = |sender: &Sender| {
            let [mut brought, before] = sender.halves;
            brought.merge(&before);
            ReporterSummary {
                workload: sender.node.endpoint(sender.principal, symbols),
                heard: (sender.heard != ObservedTime::default()).then_some(sender.heard),
                covers: now.since(self.began[1]),
                brought,
            }
        };
        let mut summaries: Vec<ReporterSummary> = self.senders.iter().map(summary).collect();
        let size = |one: &ReporterSummary| std::cmp::Reverse(one.brought.records());
        summaries.sort_by(|one, other| (size(one), &one.workload).cmp(&(size(other), &other.workload)));
        summaries
    }

    /// Records and edges of windows, of what [`Self::summaries`] spans, that were counted nowhere for want of room.
    pub(crate) fn uncounted(&self) -> u64 {
        self.refused_lately.iter().sum()
    }

    pub(crate) fn overload(&self) -> Overload {
        Overload::new("reporters_counted", "keep_known", self.refused)
    }

    fn sender(&mut self, node: Node) -> Option<&mut Sender> {
        // Without a name they are all one.
        let node = if node.known() { node } else { Node::default() };
        let at = match self.last {
            Some((last, at)) if last == node => at,
            _ => self.place(node)?,
        };
        self.last = Some((node, at));
        self.senders.get_mut(at)
    }

    fn place(&mut self, node: Node) -> Option<usize> {
        if let Some(at) = self.places.get(&node) {
            return Some(*at);
        }
        let sender = Sender::new(node);
        let at = if self.senders.len() < SENDERS_MAX {
            self.senders.push(sender);
            self.senders.len() - 1
        } else if let Some(at) = self.idlest() {
            self.places.remove(&self.senders[at].node);
            self.senders[at] = sender;
            at
        } else {
            self.refused += 1;
            self.refused_lately[0] += 1;
            return None;
        };
        self.places.insert(node, at);
        Some(at)
    }

    /// Who makes room. Only [`Self::turn`] empties counts, so whoever is idle was so then.
    fn idlest(&mut self) -> Option<usize> {
        while let Some(at) = self.idle.pop() {
            if self.senders[at].idle() {
                return Some(at);
            }
        }
        None
    }

    /// Whoever was silent for long, and whoever nobody speaks of any more.
    fn forget(&mut self) {
        let since = self.arrived.before(FORGET_AFTER);
        self.senders.retain(|sender| !sender.idle() || sender.heard > since);
        self.places = FixedMap::with_hasher(fixed_state());
        self.places.extend(self.senders.iter().enumerate().map(|(at, sender)| (sender.node, at)));
        self.last = None;
        self.idle = (0..self.senders.len()).filter(|at| self.senders[*at].idle()).collect();
        self.idle.sort_by_key(|at| std::cmp::Reverse(self.senders[*at].heard));
    }
}

impl Sender {
    fn new(node: Node) -> Self {
        Self {
            node,
            principal: Symbol::NONE,
            heard: ObservedTime::default(),
            first: EventTime::ABSENT,
            halves: [Brought::default(); 2],
        }
    }

    /// Nothing was counted of it lately.
    fn idle(&self) -> bool {
        self.halves.iter().all(|half| *half == Brought::default())
    }
}

impl Brought {
    /// Records and points.
    #[must_use]
    pub fn records(&self) -> u64 {
        let sides = [&self.spans, &self.access_logs].map(|by| by.client.records + by.server.records);
        sides[0] + sides[1] + self.internal_spans + self.connection_logs + self.application_logs + self.points
    }

    /// By how much the clocks differ at most, and at least.
    fn time(&mut self, record: &Observation, arrived: ObservedTime) {
        if !record.end.present() || arrived == ObservedTime::default() {
            return;
        }
        let ahead = match record.timing {
            Timing::Own => Duration::from_nanos(record.end.0.saturating_sub(arrived.0)),
            Timing::Ahead(seconds) => Duration::from_secs(seconds.into()),
            Timing::Absent => return,
        };
        self.ahead_max = self.ahead_max.max(ahead);
        if record.timing == Timing::Own {
            let delay = Duration::from_nanos(arrived.0.saturating_sub(record.end.0));
            self.delay_min = Some(self.delay_min.map_or(delay, |least| least.min(delay)));
        }
    }

    fn merge(&mut self, other: &Self) {
        self.spans.merge(&other.spans);
        self.access_logs.merge(&other.access_logs);
        self.internal_spans += other.internal_spans;
        self.connection_logs += other.connection_logs;
        self.application_logs += other.application_logs;
        self.points += other.points;
        self.requests_counted = self.requests_counted.saturating_add(other.requests_counted);
        self.rejected.merge(&other.rejected);
        self.as_caller.merge(&other.as_caller);
        self.as_callee.merge(&other.as_callee);
        self.ahead_max = self.ahead_max.max(other.ahead_max);
        self.delay_min = [self.delay_min, other.delay_min].into_iter().flatten().min();
    }
}

impl BySide {
    fn merge(&mut self, other: &Self) {
        self.client.merge(&other.client);
        self.server.merge(&other.server);
    }
}

impl Sides {
    fn merge(&mut self, other: &Self) {
        self.both += other.both;
        self.client_only += other.client_only;
        self.server_only += other.server_only;
    }
}

impl Carried {
    fn count(&mut self, record: &Observation) {
        self.records += 1;
        self.request_id += u64::from(record.request_id.present());
        self.trace_id += u64::from(record.trace_id.present());
        let to_outside = record.side == Side::Client && record.peer.external;
        let due =
            record.security != Security::Plaintext && !record.handshake_failure.present() && !to_outside;
        if due {
            self.identity_due += 1;
            self.peer_principal += u64::from(record.peer.principal.present());
            self.own_principal += u64::from(record.reporter.principal.present());
            self.tls_version += u64::from(record.tls_version.present());
            self.sni += u64::from(record.sni.present());
        }
    }

    fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.identity_due += other.identity_due;
        self.peer_principal += other.peer_principal;
        self.own_principal += other.own_principal;
        self.tls_version += other.tls_version;
        self.sni += other.sni;
        self.request_id += other.request_id;
        self.trace_id += other.trace_id;
    }
}

/// A counter's change as a whole number; what is none counts for nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and NaN is 0"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
