//! Joins what applications log to the calls that they served meanwhile: which statements did a call of a route make?
//!
//! One for all shards, fed in the order of arrival, so that nothing depends on where batches are cut. It costs nothing
//! for workloads whose logs name no traces: their calls are not kept. A trace is settled when the watermark is past all
//! it holds by the logs' own delay; then its calls are counted, and a window is complete when nothing in it is open.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::time::nanos;
use selvedge_model::{
    EventTime, LogWindow, Node, Observation, ObservationKind, ServedRoute, Side, SpanId, Symbol, TraceId,
    Window,
};
use serde::{Deserialize, Serialize};

/// How long after a call its statements may arrive when nothing is known yet: SDKs hand logs over each second.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Nobody waits longer for logs, however late some are.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Windows in which the wait, without late logs, shrinks to a third of what it is above the least.
const WAIT_FADES: u64 = 256;
/// A trace is settled so long after its first call at the latest: one that never ends must not hold up all windows.
const TRACE_MAX: Duration = Duration::from_secs(30);
/// A statement this near to a call of its workload need not wait for another: the last word comes after the answer.
const NEAR: Duration = Duration::from_secs(1);
/// Records of one trace; a trace with more is not counted, because what is cut off would look as if it had vanished.
const TRACE_RECORDS_MAX: usize = 4_096;
/// Workloads whose logs are followed (policy `keep_known`).
const SPEAKERS_MAX: usize = 16_384;
/// Bytes of all open traces; past it the oldest are forgotten uncounted (policy `oldest_trace_first`).
const BYTES_MAX: usize = 64 << 20;
/// Bytes of an open trace beside its records.
const TRACE_BYTES: usize = 2 * size_of::<(u128, Trace)>() + 32;
/// Grain of the schedule.
const GRAIN: Duration = Duration::from_millis(250);
/// Late workloads remembered until the next window is told.
const LATE_MAX: usize = 1_024;

/// Joins statements to calls.
#[derive(Serialize, Deserialize)]
pub struct LogJoin {
    #[serde(skip)]
    window_length: Duration,
    #[serde(with = "selvedge_model::hash::listed")]
    traces: FixedMap<u128, Trace>,
    /// Traces by when they are due.
    due: BTreeMap<u64, Vec<u128>>,
    /// Workloads that wrote a statement with a trace.
    #[serde(with = "selvedge_model::hash::listed")]
    speakers: FixedMap<Node, ()>,
    /// Calls open in each window.
    open: BTreeMap<Window, u64>,
    windows: BTreeMap<Window, LogWindow>,
    late: Vec<Node>,
    wait: u64,
    settled: EventTime,
    bytes: usize,
    counts: LogCounts,
}

/// What became of statements and calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCounts {
    /// Statements that came after the calls of their time were counted.
    pub late: u64,
    /// Statements of no call of their workload: of a job, or of a call that was not reported.
    pub unserved: u64,
    /// Traces that were forgotten for want of room, or had too many records.
    pub traces_dropped: u64,
    /// Statements of workloads that found no room.
    pub unfollowed: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Trace {
    served: Vec<Served>,
    said: Vec<Said>,
    callers: Vec<(SpanId, Node)>,
    first: EventTime,
    latest: EventTime,
    scheduled: u64,
    cut: bool,
}

#[derive(Serialize, Deserialize)]
struct Served {
    node: Node,
    caller: Node,
    method: Symbol,
    route: Symbol,
    trace_id: TraceId,
    span_id: SpanId,
    parent: SpanId,
    start: EventTime,
    end: EventTime,
    failed: bool,
    refused: bool,
    span: bool,
}

#[derive(Serialize, Deserialize)]
struct Said {
    node: Node,
    span_id: SpanId,
    at: EventTime,
    /// `None` when its template is not told apart: it still shows that the workload speaks.
    statement: Option<u32>,
}

impl LogJoin {
    /// Takes another length of windows, as after a restart with another configuration.
    pub fn configure(&mut self, window_length: Duration) {
        self.window_length = window_length;
    }

    /// A join that has seen nothing.
    #[must_use]
    pub fn new(window_length: Duration) -> Self {
        Self {
            window_length,
            traces: FixedMap::with_hasher(fixed_state()),
            due: BTreeMap::new(),
            speakers: FixedMap::with_hasher(fixed_state()),
            open: BTreeMap::new(),
            windows: BTreeMap::new(),
            late: Vec::new(),
            wait: nanos(WAIT_MIN),
            settled: EventTime::ABSENT,
            bytes: 0,
            counts: LogCounts::default(),
        }
    }

    /// Takes what a record says of a call: the callee's word that it served one, or the caller's that it made one. Only
    /// calls of workloads that write statements are kept.
    pub fn call(&mut self, key: Option<u128>, seen: &Observation) {
        let Some(key) = key.filter(|_| !self.speakers.is_empty() && seen.describes_call()) else { return };
        let node = Node::of(&seen.reporter);
        match seen.side {
            Side::Client if seen.kind == ObservationKind::Span => {
                if let Some(trace) = self.trace(key, seen.end) {
                    trace.callers.push((seen.span_id, node));
                    self.bytes += size_of::<(SpanId, Node)>();
                }
            }
            Side::Server if self.speakers.contains_key(&node) && seen.end > self.settled => {
                let window = Window::holding(seen.end, self.window_length);
                let served = Served::of(seen, node);
                let Some(trace) = self.trace(key, seen.end) else { return };
                trace.served.push(served);
                *self.open.entry(window).or_default() += 1;
                self.bytes += size_of::<Served>();
            }
            _ => {}
        }
        self.schedule(key);
    }

    /// Takes a statement of an application log.
    pub fn log(&mut self, key: Option<u128>, seen: &Observation, statement: Option<u32>) {
        let node = Node::of(&seen.reporter);
        let Some(key) = key.filter(|_| node.known()) else { return };
        if !self.speakers.contains_key(&node) {
            if self.speakers.len() >= SPEAKERS_MAX {
                self.counts.unfollowed += 1;
                return;
            }
            self.speakers.insert(node, ());
        }
        if seen.end <= self.settled && !self.traces.contains_key(&key) {
            self.late(node, seen.end);
            return;
        }
        let said = Said { node, span_id: seen.span_id, at: seen.end, statement };
        if let Some(trace) = self.trace(key, seen.end) {
            trace.said.push(said);
            self.bytes += size_of::<Said>();
        }
        self.schedule(key);
    }

    /// Settles the traces that are complete at `watermark`, and hands out the windows in which nothing is open any more,
    /// oldest first.
    pub fn advance(&mut self, watermark: EventTime) -> Vec<(Window, LogWindow)> {
        let settled = EventTime(watermark.0.saturating_sub(self.wait));
        if settled <= self.settled {
            return Vec::new();
        }
        self.settle_until(settled.0 / nanos(GRAIN));
        self.settled = settled;
        self.make_room();
        self.close(settled)
    }

    /// The input ended or pauses: settles and hands out everything.
    pub fn flush(&mut self) -> Vec<(Window, LogWindow)> {
        self.settle_until(u64::MAX);
        let closed = self.close(EventTime(u64::MAX));
        self.settled = EventTime::ABSENT;
        closed
    }

    /// What became of statements and calls so far.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        self.counts
    }

    /// Bytes of open traces.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The trace, if it takes one more record.
    fn trace(&mut self, key: u128, at: EventTime) -> Option<&mut Trace> {
        let Self { traces, bytes, .. } = self;
        let trace = traces.entry(key).or_insert_with(|| {
            *bytes += TRACE_BYTES;
            Trace { first: at, scheduled: u64::MAX, ..Trace::default() }
        });
        trace.first = trace.first.min(at);
        trace.latest = trace.latest.max(at);
        trace.cut |= trace.records() >= TRACE_RECORDS_MAX;
        if trace.cut { None } else { Some(trace) }
    }

    /// Has the trace settled when all it holds is past, or a while after its first record.
    fn schedule(&mut self, key: u128) {
        let Some(trace) = self.traces.get_mut(&key) else { return };
        let due = trace.latest.min(trace.first.after(TRACE_MAX)).0 / nanos(GRAIN) + 1;
        if trace.scheduled == u64::MAX || trace.scheduled < due {
            trace.scheduled = due;
            self.due.entry(due).or_default().push(key);
        }
    }

    fn settle_until(&mut self, last: u64) {
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() <= last) {
            let (bucket, keys) = entry.remove_entry();
            for key in keys {
                let Some(trace) = self.traces.get_mut(&key).filter(|trace| trace.scheduled == bucket) else {
                    continue;
                };
                let patience = trace.first.after(TRACE_MAX).0 / nanos(GRAIN) + 1;
                if bucket < patience && last < patience && trace.waits() {
                    trace.scheduled = patience;
                    self.due.entry(patience).or_default().push(key);
                } else if let Some(trace) = self.traces.remove(&key) {
                    self.settle(trace);
                }
            }
        }
    }

    fn settle(&mut self, mut trace: Trace) {
        self.bytes -= trace.bytes();
        for served in &trace.served {
            let window = Window::holding(served.end, self.window_length);
            if let Some(open) = self.open.get_mut(&window) {
                *open = open.saturating_sub(1);
            }
        }
        if trace.cut {
            self.counts.traces_dropped += 1;
            return;
        }
        // A workload may tell of a call twice, by its span and by an access log: the span's word is enough.
        let speaks_in_spans =
            |node: Node, all: &[Served]| all.iter().any(|served| served.span && served.node == node);
        let spans: Vec<bool> = trace
            .served
            .iter()
            .map(|served| served.span || !speaks_in_spans(served.node, &trace.served))
            .collect();
        let mut kept = spans.into_iter();
        trace.served.retain(|_| kept.next().unwrap_or(false));
        let mut made: Vec<(bool, Vec<u32>)> = trace.served.iter().map(|_| (false, Vec::new())).collect();
        for said in &trace.said {
            let mut unserved = true;
            for at in meant(said, &trace.served) {
                unserved = false;
                made[at].0 = true;
                made[at].1.extend(said.statement);
            }
            self.counts.unserved += u64::from(unserved);
        }
        // A request that is refused says nothing about what is done for others, and anybody can send some.
        let made = trace.served.iter().zip(made).filter(|(served, _)| !served.refused);
        for (served, (speaks, mut statements)) in made {
            statements.sort_unstable();
            statements.dedup();
            let window = Window::holding(served.end, self.window_length);
            let route = ServedRoute { node: served.node, method: served.method, route: served.route };
            let caller = if served.caller.known() { served.caller } else { trace.caller(served.parent) };
            let counts = self.windows.entry(window).or_default();
            counts.count(route, caller, served.trace_id, served.failed, speaks, &statements);
        }
    }

    /// Forgets the traces that are due first, uncounted, until the rest is inside the budget.
    fn make_room(&mut self) {
        while self.bytes > BYTES_MAX
            && let Some((bucket, keys)) = self.due.pop_first()
        {
            for key in keys {
                if self.traces.get(&key).is_some_and(|trace| trace.scheduled == bucket)
                    && let Some(mut trace) = self.traces.remove(&key)
                {
                    trace.cut = true;
                    self.settle(trace);
                }
            }
        }
    }

    fn close(&mut self, settled: EventTime) -> Vec<(Window, LogWindow)> {
        let mut closed = Vec::new();
        while let Some((window, _)) = self.windows.first_key_value()
            && window.end <= settled
            && self.open.range(..=*window).all(|(_, open)| *open == 0)
        {
            let window = *window;
            let Some(mut counts) = self.windows.remove(&window) else { break };
            self.open = self.open.split_off(&Window { start: window.end, end: window.end });
            counts.late = std::mem::take(&mut self.late);
            if counts.late.is_empty() {
                self.wait -= (self.wait - nanos(WAIT_MIN)) / WAIT_FADES;
            }
            closed.push((window, counts));
        }
        closed
    }

    /// A statement came after its call was counted without it: from now on more time is given.
    fn late(&mut self, node: Node, at: EventTime) {
        self.counts.late += 1;
        let by = nanos(self.settled.since(at));
        self.wait = (self.wait + by + by / 4).min(nanos(WAIT_MAX));
        if self.late.len() < LATE_MAX && !self.late.contains(&node) {
            self.late.push(node);
        }
    }
}

impl Trace {
    fn records(&self) -> usize {
        self.served.len() + self.said.len() + self.callers.len()
    }

    fn bytes(&self) -> usize {
        TRACE_BYTES
            + self.served.len() * size_of::<Served>()
            + self.said.len() * size_of::<Said>()
            + self.callers.len() * size_of::<(SpanId, Node)>()
    }

    /// True when a statement was made in a call that has not ended, or not been told of.
    fn waits(&self) -> bool {
        let served = |said: &Said| {
            self.served.iter().any(|served| served.node == said.node && served.away(said.at) <= NEAR)
        };
        !self.said.iter().all(served)
    }

    /// Whose span it is that a call hangs below.
    fn caller(&self, parent: SpanId) -> Node {
        let found = self.callers.iter().find(|(span_id, _)| parent.present() && *span_id == parent);
        found.map_or(Node::default(), |(_, node)| *node)
    }
}

impl Served {
    fn of(seen: &Observation, node: Node) -> Self {
        Self {
            node,
            caller: Node::of(&seen.peer),
            method: seen.method,
            route: seen.route,
            trace_id: seen.trace_id,
            span_id: seen.span_id,
            parent: seen.parent_span_id,
            start: seen.start,
            end: seen.end,
            failed: seen.error || seen.status >= 500,
            refused: (400..500).contains(&seen.status),
            span: seen.kind == ObservationKind::Span,
        }
    }

    fn away(&self, at: EventTime) -> Duration {
        self.start.since(at).max(at.since(self.end))
    }
}

/// The calls that a statement belongs to: the one whose span it names; else all of its workload that were being served
/// when it was made (work that is done for an inner call is done for the outer one, too); else the nearest, because a
/// last word often comes a moment after the answer.
fn meant(said: &Said, served: &[Served]) -> Vec<usize> {
    let own = |at: &usize| served[*at].node == said.node;
    let exact = (0..served.len())
        .filter(own)
        .find(|at| said.span_id.present() && served[*at].span_id == said.span_id);
    if let Some(exact) = exact {
        return vec![exact];
    }
    let during: Vec<usize> =
        (0..served.len()).filter(own).filter(|at| served[*at].away(said.at) == Duration::ZERO).collect();
    if !during.is_empty() {
        return during;
    }
    (0..served.len()).filter(own).min_by_key(|at| served[*at].away(said.at)).into_iter().collect()
}

#[cfg(test)]
#[path = "log_join_tests.rs"]
mod tests;
