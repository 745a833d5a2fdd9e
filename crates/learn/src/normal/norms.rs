//! The normals of all edges, driven by closed windows: who was heard, what is judged and learned, which hours and days end.
//!
//! Deterministic for any number of shards and any cut of batches: windows come in order, every edge of a window has its
//! final counts, hours and days end in event time when the first window after them is judged.

use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{
    EdgeCounts, EdgeKey, EdgeWindow, EventTime, Measure, MeasureClass, Node, Reported, Shared, Window,
};
use serde::{Deserialize, Serialize};

use super::counting::{Latencies, LatencyCuts, counts_of, kept};
use super::edge::{DRIFT_MAX, EdgeNorm, Sample, Teaching};
use super::parameters::SETTLING_MINUTES;
use super::presence::Presence;
use super::scores::Scores;

const HOUR: u64 = 3_600_000_000_000;
const DAY: u64 = 24 * HOUR;
/// A deployment explains nothing that an edge shows for the first time after it.
const SETTLES_FOR: Duration = Duration::from_mins(SETTLING_MINUTES as u64);
/// This edge has no calls in the window in hand.
const NO_CALLS: u32 = u32::MAX;

/// The normals of all edges that have a baseline.
///
/// Bounded by those, and by `hot_bytes_max` for what busy edges take beside (policy `stay_cold`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Norms {
    hot_bytes_max: usize,
    hot_bytes: usize,
    #[serde(with = "selvedge_model::hash::listed")]
    known: FixedMap<EdgeKey, u32>,
    /// What every window looks at, by edge in the order in which they became known; and beside it what few windows do.
    watches: Vec<Watch>,
    norms: Vec<Shared<Known>>,
    #[serde(with = "selvedge_model::hash::listed")]
    nodes: FixedMap<Node, u32>,
    /// Up to when each node was heard.
    heard: Vec<EventTime>,
    /// When each node was deployed last.
    deployed: Vec<EventTime>,
    #[serde(skip)]
    readings: Vec<Reading>,
    /// End of the newest window that was judged.
    clock: EventTime,
    /// Length of that window.
    length: Duration,
    overflows: NormOverflows,
}

/// What the limits of the normals did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NormOverflows {
    /// Hours of busy edges that found no room for what a busy edge remembers.
    pub hot: u64,
    /// Windows older than one that was judged before, as in a second capture that was recorded before the first.
    pub windows: u64,
}

/// What one window of one edge came to.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Edge.
    pub key: EdgeKey,
    /// What was counted.
    pub counts: EdgeCounts,
    /// How far it is from normal.
    pub scores: Scores,
    /// Where it stands among the edges of the window; nothing when it had no calls.
    pub place: Option<usize>,
    edge: u32,
}

/// Hours and days that ended: the record of the mesh, for its calibration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    /// The largest quick scores of each edge in an hour, by class.
    pub hours: Vec<[f32; MeasureClass::ALL.len()]>,
    /// The largest slow scores of each edge in a day, by class.
    pub days: Vec<[f32; MeasureClass::ALL.len()]>,
    /// A day ended, at this time.
    pub day: Option<EventTime>,
    /// Who has left the level that is trusted.
    pub drifts: Vec<Drift>,
}

impl Ended {
    /// Adds what ended at the same time elsewhere.
    pub fn merge(&mut self, other: Self) {
        self.hours.extend(other.hours);
        self.days.extend(other.days);
        self.day = self.day.max(other.day);
        self.drifts.extend(other.drifts);
    }
}

/// An edge that has left its trusted level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// Edge.
    pub key: EdgeKey,
    /// Requests or bytes sent.
    pub measure: Measure,
    /// How many times the trusted level it has become.
    pub times: f64,
}

/// What of an edge every window looks at.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Watch {
    due: EventTime,
    heard_until: EventTime,
    source: u32,
    destination: u32,
    /// Requests by [`Reported`], in its order.
    reported: [u64; 3],
    presence: Presence,
    after_gap: bool,
    /// The newest deployment of either end that its normal knows of.
    deployed: EventTime,
    /// Where it stands among the edges of the window in hand.
    place: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    key: EdgeKey,
    norm: EdgeNorm,
    latencies: Latencies,
}

impl Norms {
    /// Nothing is known. `hot_bytes_max` bounds what busy edges take beside what every edge does.
    #[must_use]
    pub fn new(hot_bytes_max: usize) -> Self {
        Self {
            hot_bytes_max,
            hot_bytes: 0,
            known: FixedMap::with_hasher(fixed_state()),
            watches: Vec::new(),
            norms: Vec::new(),
            nodes: FixedMap::with_hasher(fixed_state()),
            heard: Vec::new(),
            deployed: Vec::new(),
            readings: Vec::new(),
            clock: EventTime::ABSENT,
            length: Duration::from_secs(1),
            overflows: NormOverflows::default(),
        }
    }

    pub(crate) fn configure(&mut self, hot_bytes_max: usize) {
        self.hot_bytes_max = hot_bytes_max;
    }

    /// Follows an edge from `since` on, when it is not followed yet.
    pub(crate) fn follow(&mut self, key: EdgeKey, since: EventTime) {
        let since = since.max(self.clock);
        if self.known.contains_key(&key) {
            return;
        }
        let number = u32::try_from(self.norms.len()).expect("there are no four thousand million edges");
        self.known.insert(key, number);
        let [source, destination] = [key.source, key.destination].map(|node| self.node(node));
        let watch = Watch {
            due: EventTime::ABSENT,
            heard_until: since,
            source,
            destination,
            reported: [0; 3],
            presence: Presence::default(),
            after_gap: false,
            deployed: self.deployment(source, destination),
            place: NO_CALLS,
        };
        self.watches.push(watch);
        let norm = EdgeNorm::new(since, key.external);
        self.norms.push(Shared::new(Known { key, norm, latencies: Latencies::default() }));
    }

    /// Forgets what an edge normally does. It is followed again when it is learned again.
    pub(crate) fn forget(&mut self, key: &EdgeKey) {
        let Some(number) = self.known.remove(key) else { return };
        let at = number as usize;
        self.hot_bytes -= self.norms[at].norm.size() - size_of::<EdgeNorm>();
        self.norms.swap_remove(at);
        self.watches.swap_remove(at);
        if let Some(moved) = self.norms.get(at) {
            self.known.insert(moved.key, number);
        }
        self.readings.clear();
    }

    /// A node was heard by other means than a call, such as its metrics. Nodes that no edge has are not remembered.
    pub fn hear(&mut self, node: &Node, at: EventTime) {
        if let Some(&number) = self.nodes.get(node) {
            let heard = &mut self.heard[number as usize];
            *heard = at.max(*heard);
        }
    }

    /// A node runs a new version since `at`, which excuses what changes on its edges in the first window that is judged after
    /// it, and for a while. Nodes that no edge has are not remembered.
    pub fn deploy(&mut self, node: &Node, at: EventTime) {
        if let Some(&number) = self.nodes.get(node) {
            let deployed = &mut self.deployed[number as usize];
            *deployed = at.max(*deployed);
        }
    }

    /// When a node was deployed last, as far as that excuses anything.
    #[must_use]
    pub fn deployed(&self, node: &Node) -> Option<EventTime> {
        let number = *self.nodes.get(node)?;
        Some(self.deployed[number as usize]).filter(|at| at.present())
    }

    /// Telemetry pauses for an unknown time: the time to the next window is a gap, in which nothing was silent.
    pub fn gap(&mut self) {
        self.watches.iter_mut().for_each(|watch| watch.after_gap = true);
        self.heard.fill(EventTime::ABSENT);
    }

    /// Judges a closed window by all that was learned before it; gives the hours and days that ended before it. Windows
    /// come in order. What it came to are the [readings](Self::readings), until the next window.
    pub fn judge(&mut self, window: Window, edges: &[(EdgeKey, &EdgeWindow)]) -> Ended {
        self.readings.clear();
        if window.start < self.clock {
            self.overflows.windows += 1;
            return Ended::default();
        }
        let ended = self.end_hours(window.start);
        self.clock = window.end;
        self.length = window.end.since(window.start);
        self.listen(window, edges);
        for number in 0..self.watches.len() {
            let place = std::mem::replace(&mut self.watches[number].place, NO_CALLS);
            self.judge_edge(
                number,
                window,
                edges.get(place as usize).map(|(_, edge)| (place as usize, *edge)),
            );
        }
        ended
    }

    /// Learns the window that was just judged. `teaching` says what may be learned from an edge, given its calls.
    pub fn learn(
        &mut self,
        window: Window,
        edges: &[(EdgeKey, &EdgeWindow)],
        teaching: &dyn Fn(&Reading, Option<&EdgeWindow>) -> Teaching,
    ) {
        for reading in &self.readings {
            let Known { norm, latencies, .. } = &mut *self.norms[reading.edge as usize];
            let calls = reading.place.and_then(|place| edges.get(place)).map(|(_, edge)| *edge);
            let teaching = teaching(reading, calls);
            let counts = &reading.counts;
            let sample = Sample { window, counts, heartbeat: true, deployed: false, kept: norm.kept() };
            norm.learn(&sample, &reading.scores, teaching);
            let verified = teaching == Teaching::Quiet && !reading.scores.suspicious();
            if let Some(calls) = calls.filter(|_| verified) {
                latencies.learn(calls);
            }
            // Between two minutes, so that no minute is cut in two ways.
            if reading.scores.slow.is_some() && latencies.freeze() {
                norm.recut();
            }
            self.watches[reading.edge as usize].due = norm.due();
        }
    }

    /// What the window that was judged last came to, edge by edge in the order in which they became known. Edges without
    /// calls are among them only when their silence has to be judged.
    #[must_use]
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// The one of an edge; nothing when the window did not judge it.
    #[must_use]
    pub fn reading(&self, key: &EdgeKey) -> Option<&Reading> {
        let &number = self.known.get(key)?;
        self.readings.binary_search_by_key(&number, |reading| reading.edge).ok().map(|at| &self.readings[at])
    }

    /// What an edge normally does.
    #[must_use]
    pub fn norm(&self, key: &EdgeKey) -> Option<&EdgeNorm> {
        self.known.get(key).map(|&number| &self.norms[number as usize].norm)
    }

    /// Where the latencies of an edge are cut.
    #[must_use]
    pub fn cuts(&self, key: &EdgeKey) -> Option<&LatencyCuts> {
        self.known.get(key).and_then(|&number| self.norms[number as usize].latencies.cuts())
    }

    /// Length of the window that was judged last.
    #[must_use]
    pub fn window_length(&self) -> Duration {
        self.length
    }

    /// Number of edges.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.norms.len()
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let one = |known: &Shared<Known>| {
            size_of::<Known>() - size_of::<EdgeNorm>() + known.norm.size() + known.latencies.bytes()
        };
        self.norms.iter().map(one).sum::<usize>() + self.watches.len() * size_of::<Watch>()
    }

    /// What the limits did.
    #[must_use]
    pub fn overflows(&self) -> NormOverflows {
        self.overflows
    }

    /// When the later of both ends was deployed.
    fn deployment(&self, source: u32, destination: u32) -> EventTime {
        self.deployed[source as usize].max(self.deployed[destination as usize])
    }

    fn node(&mut self, node: Node) -> u32 {
        let next = u32::try_from(self.heard.len()).expect("there are no four thousand million nodes");
        let number = *self.nodes.entry(node).or_insert(next);
        if number == next {
            self.heard.push(EventTime::ABSENT);
            self.deployed.push(EventTime::ABSENT);
        }
        number
    }

    /// Notes who reported calls in this window, and which of the followed edges had some.
    fn listen(&mut self, window: Window, edges: &[(EdgeKey, &EdgeWindow)]) {
        for (place, (key, edge)) in edges.iter().enumerate() {
            let mut reported = [0_u64; 3];
            for (shape, stats) in &edge.shapes {
                reported[shape.reported as usize] += stats.calls;
            }
            let of = |which: Reported| reported[which as usize];
            if of(Reported::Both) + of(Reported::ClientOnly) > 0 {
                self.hear(&key.source, window.start);
            }
            if of(Reported::Both) + of(Reported::ServerOnly) > 0 {
                self.hear(&key.destination, window.start);
            }
            if let Some(&number) = self.known.get(key) {
                let watch = &mut self.watches[number as usize];
                watch.place = u32::try_from(place).unwrap_or(NO_CALLS);
                watch.reported.iter_mut().zip(reported).for_each(|(sum, more)| *sum += more);
            }
        }
    }

    fn judge_edge(&mut self, number: usize, window: Window, calls: Option<(usize, &EdgeWindow)>) {
        let deployed = self.deployment(self.watches[number].source, self.watches[number].destination);
        let watch = &mut self.watches[number];
        let heard = |node: u32| window.start <= self.heard[node as usize];
        let [by_source, by_destination] = watch.reporters();
        let listening = (by_source && heard(watch.source)) || (by_destination && heard(watch.destination));
        if window.start < watch.heard_until || (calls.is_none() && !listening) {
            return;
        }
        let Known { key, norm, latencies } = &mut *self.norms[number];
        if watch.resume(window) {
            norm.gap(window.start);
            watch.due = watch.due.min(norm.due());
        }
        if calls.is_none() && window.end < watch.due {
            return;
        }
        let counts = calls.map(|(_, edge)| counts_of(edge, latencies.cuts())).unwrap_or_default();
        let kept = calls.and_then(|(_, edge)| kept(edge)).unwrap_or(norm.kept());
        let deployed = watch.settle(deployed, window);
        let sample = Sample { window, counts: &counts, heartbeat: true, deployed, kept };
        let scores = norm.judge(&sample);
        let (place, edge) = (calls.map(|(place, _)| place), u32::try_from(number).unwrap_or(u32::MAX));
        self.readings.push(Reading { key: *key, counts, scores, place, edge });
    }

    /// Ends the hour, and the day, that were open, when `now` is in another one. Of those between nothing was seen.
    fn end_hours(&mut self, now: EventTime) -> Ended {
        let mut ended = Ended::default();
        let last = self.clock.0.saturating_sub(1);
        if !self.clock.present() || now.0 / HOUR <= last / HOUR {
            return ended;
        }
        let (from, until) = (last / HOUR * HOUR, EventTime((last / HOUR + 1) * HOUR));
        for (watch, known) in self.watches.iter_mut().zip(&mut self.norms) {
            if watch.heard_until.0 <= from {
                continue;
            }
            let norm = &mut known.norm;
            let before = norm.size();
            let room = self.hot_bytes + EdgeNorm::HOT_BYTES <= self.hot_bytes_max;
            ended.hours.extend(norm.close_hour(until.min(watch.heard_until), self.length, room));
            self.overflows.hot += u64::from(norm.busy() && norm.size() == size_of::<EdgeNorm>());
            self.hot_bytes = self.hot_bytes + norm.size() - before;
            watch.due = norm.due();
        }
        if now.0 / DAY > last / DAY {
            self.end_day(EventTime(last / DAY * DAY), &mut ended);
        }
        ended
    }

    fn end_day(&mut self, from: EventTime, ended: &mut Ended) {
        ended.day = Some(EventTime(from.0 + DAY));
        for (watch, known) in self.watches.iter_mut().zip(&mut self.norms) {
            if watch.heard_until <= from {
                continue;
            }
            let Known { key, norm, latencies } = &mut **known;
            ended.days.extend(norm.close_day());
            if latencies.close_day(norm.calm(MeasureClass::Latency)) {
                norm.recut();
            }
            for measure in [Measure::Requests, Measure::SentKib] {
                let drift = norm.drift(measure);
                if DRIFT_MAX <= drift {
                    ended.drifts.push(Drift { key: *key, measure, times: super::maths::exp(drift) });
                }
            }
        }
    }
}

impl Watch {
    /// Whether the caller's, and the callee's, side usually reports it. Both until something is known.
    fn reporters(&self) -> [bool; 2] {
        let [both, client, server] = self.reported;
        let most = |reported: u64| both + client + server <= 2 * reported;
        [most(both + client), most(both + server)]
    }

    /// True in the first window of a deployment that is not too long ago to explain what is seen now.
    fn settle(&mut self, deployed: EventTime, window: Window) -> bool {
        if deployed <= self.deployed || window.end <= deployed {
            return false;
        }
        self.deployed = deployed;
        window.start.since(deployed) < SETTLES_FOR
    }

    /// Somebody who reports it is heard in this window; true when nobody could be heard since the last time.
    fn resume(&mut self, window: Window) -> bool {
        let missed = window.start.since(self.heard_until).as_nanos();
        let length = window.end.since(window.start).as_nanos().max(1);
        let missed = u64::try_from(missed.div_ceil(length)).unwrap_or(u64::MAX);
        let quiet = missed == 0 || self.presence.resume(missed);
        let gap = std::mem::take(&mut self.after_gap);
        self.presence.hear();
        self.heard_until = window.end;
        gap || !quiet
    }
}
