//! The whole flow on one screen: decode, route to shards, join; at each tick judge, learn, correlate, plan.
//!
//! Everything here is synchronous and a function of the records in their order: no clock, no I/O, and nothing
//! depends on where a batch was cut, on the number of shards, or on speed.

mod containing;
mod deploying;
mod knowing;
mod measuring;
mod saving;

use std::time::Duration;

use selvedge_act::plan;
use selvedge_correlate::{Correlator, IncidentChange};
use selvedge_decode::{DecodeError, Encoding};
use selvedge_detect::{Context, Detector, RuleSet, TelemetryCounts};
use selvedge_join::JoinConfig;
use selvedge_learn::{Baselines, Provenance};
use selvedge_model::{Action, EventTime, Finding, Incident, ObservedTime, Severity, SignalKind, SteadyTime};
use selvedge_policy::{ContainmentEvent, Now};
use selvedge_query::{HistoryEnds, Learned};

use crate::config::EngineConfig;
use crate::containment::Containment;
use crate::logs::Logs;
use crate::overload::Overload;
use crate::recorder::{Recorded, Recorder};
use crate::router::Router;
use crate::senders::Senders;
use crate::shards::Shards;
use crate::snapshot::{EdgeSummary, ReporterSummary, edge_summaries};
use crate::stats::Stats;
use crate::windows::{ClosedWindow, Windows};
use measuring::Measured;

pub use knowing::Pick;
pub use saving::{KNOWLEDGE, Saved, StateError};

/// Between two processes: a shorter time is no gap. It ends no incident that would not have ended, and what is seen on both
/// sides of it belongs together.
const GAP_MIN: Duration = Duration::from_mins(1);

/// One `Export*ServiceRequest` as it came in.
#[derive(Clone, Copy, Debug)]
pub struct RawBatch<'a> {
    /// Which signal.
    pub signal: SignalKind,
    /// Protobuf or JSON.
    pub encoding: Encoding,
    /// The uncompressed body.
    pub body: &'a [u8],
    /// When we received it, by the wall clock.
    pub observed: ObservedTime,
    /// When we took it, by the clock that nobody can set: silence is measured from here.
    pub steady: SteadyTime,
}

/// What the engine does with what it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything is taken as an approved baseline; nothing is judged.
    Learning,
    /// Windows are judged against earlier windows, then learned, minus what was flagged.
    Judging,
}

/// Something that happened, for the world outside to act on or to write down.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A deviation.
    Finding(Box<Finding>),
    /// An incident opened, changed or ended; as it is now.
    Incident(IncidentChange, Box<Incident>),
    /// Something to do about an incident.
    Action(Action, Box<Incident>),
    /// A quarantine was decided, refused or changed.
    Containment {
        /// Event time.
        at: EventTime,
        /// How bad its incident is.
        severity: Severity,
        /// What happened.
        event: ContainmentEvent,
    },
}

/// Why a batch as a whole was refused; nothing of it was kept.
pub type IngestError = DecodeError;

/// The engine without a clock.
pub struct Pipeline {
    router: Router,
    shards: Shards,
    windows: Windows,
    logs: Logs,
    recorder: Recorder,
    senders: Senders,
    baselines: Baselines,
    measured: Measured,
    window_length: Duration,
    detector: Detector,
    correlator: Correlator,
    containment: Containment,
    /// What leases are measured by; event time when nobody sets it, as in a replay.
    clock: Option<Now>,
    alerted: std::collections::BTreeMap<String, Severity>,
    mode: Mode,
    /// What comes was received by a process before us: decisions about quarantines wait.
    recovering: bool,
    stats: Stats,
    telemetry_judged: TelemetryCounts,
}

impl Pipeline {
    /// An engine that has seen nothing.
    #[must_use]
    pub fn new(config: &EngineConfig, rules: RuleSet) -> Self {
        let join = JoinConfig { hand_out_calls: config.record.is_some(), ..config.join };
        Self {
            router: Router::new(config),
            shards: Shards::start(&join, config.shards),
            windows: Windows::new(config.window_entries_max),
            logs: Logs::new(&config.join),
            recorder: Recorder::new(config.record.as_ref()),
            senders: Senders::new(),
            baselines: Baselines::new(config.learn.clone()),
            measured: Measured::new(&config.learn),
            window_length: config.join.window_length,
            detector: Detector::new(rules, config.budgets),
            correlator: Correlator::new(config.correlate.clone()),
            containment: Containment::new(config.policy.clone()),
            clock: None,
            alerted: std::collections::BTreeMap::new(),
            mode: Mode::Judging,
            recovering: false,
            stats: Stats::default(),
            telemetry_judged: TelemetryCounts::default(),
        }
    }

    /// Switches between learning an approved baseline and judging. What is taught is no recent traffic: SQL does not see
    /// it.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.recorder.pause(mode == Mode::Learning);
    }

    /// Takes one batch: every record goes to its shard, and each second of event time that passes is a tick.
    ///
    /// # Errors
    /// The body as a whole was not a message; nothing of it was kept. Bad records inside a good body are counted.
    pub fn ingest(
        &mut self,
        batch: RawBatch<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<&selvedge_decode::Decoded, IngestError> {
        self.router.decode(&batch)?;
        self.stats.count_batch(&batch, self.router.decoded());
        self.senders.refuse(self.router.decoded());
        let records = self.router.decoded().observations.len();
        for at in 0..records {
            self.stats.count_records(batch.signal, 1, self.router.decoded().rejected_before(at));
            let due = self.router.advance(at);
            let (key, _) = self.router.route(at);
            if let Some(deployment) = self.router.hear_version(at) {
                self.deploy(&deployment);
            }
            let decoded = self.router.decoded();
            let observation = &decoded.observations[at];
            self.logs.take(key, observation, decoded.statement(at));
            self.recorder.observation(observation);
            self.shards.admit(key, observation);
            self.recorder.calls(self.shards.completed());
            // Now, not with the next record: whoever is to be told of what this one shows waits for nobody. Its sender is counted
            // afterwards, when those that were not heard for minutes have made room.
            if let Some(now) = due {
                self.tick(now, effects);
            }
            self.senders.hear(&self.router.decoded().observations[at], self.router.arrived());
        }
        let points = self.router.decoded().points.len();
        self.stats.count_records(batch.signal, points as u64, self.router.decoded().rejected_before(records));
        self.hear_points();
        for at in 0..points {
            if let Some(now) = self.router.advance_by_point(at) {
                self.tick(now, effects);
            }
            if let Some(deployment) = self.router.hear_version_of_point(at) {
                self.deploy(&deployment);
            }
            self.router.admit_point(at, &mut self.stats, &mut self.senders);
        }
        self.recorder.points(&self.router.decoded().points);
        Ok(self.router.decoded())
    }

    /// Time passed: event time follows at a distance, even when no record arrives.
    pub fn advance_clock(&mut self, now: SteadyTime, effects: &mut Vec<Effect>) {
        let mut ticked = false;
        while let Some(now) = self.router.advance_clock(now) {
            self.tick(now, effects);
            ticked = true;
        }
        if !ticked {
            self.advance_containment(effects);
        }
    }

    /// Time passes, and says nothing of the stream: only what goes by the clock that people have goes on.
    pub fn stand_still(&mut self, effects: &mut Vec<Effect>) {
        self.advance_containment(effects);
    }

    /// The input ended, or pauses for an unknown time: completes what is open. The time until the next record is a
    /// gap, in which nothing was silent.
    pub fn finish(&mut self, effects: &mut Vec<Effect>) {
        let now = self.router.frontier();
        let deltas = self.shards.flush();
        self.take(deltas);
        self.judge(now, EventTime(u64::MAX), effects);
        self.router.restart_after_gap();
        self.gap();
    }

    /// Nobody was heard for an unknown time: nothing was silent in it, and nothing went on.
    fn gap(&mut self) {
        self.baselines.norms_mut().gap();
        self.measured.gap();
        self.correlator.gap();
    }

    /// What comes until [`Self::end_recovery`] was received before: rows that the history has are not recorded again,
    /// and decisions about quarantines wait.
    pub fn begin_recovery(&mut self, written: HistoryEnds) {
        self.recovering = true;
        self.recorder.skip_until(written);
    }

    /// The live stream goes on at `now`, after no process ran for `away`. Nobody was heard meanwhile: that time is no
    /// silence. What is open stays open.
    pub fn end_recovery(&mut self, now: SteadyTime, away: Duration) {
        self.recovering = false;
        self.recorder.skip_until(HistoryEnds::default());
        self.router.resume(now);
        if away >= GAP_MIN {
            self.gap();
        }
        self.containment.forget_waiting();
        for incident in self.correlator.incidents() {
            self.containment.consider(incident);
        }
    }

    /// The newest event time seen, or the clock's word.
    #[must_use]
    pub fn frontier(&self) -> EventTime {
        self.router.frontier()
    }

    /// Up to when telemetry is complete.
    #[must_use]
    pub fn watermark(&self) -> EventTime {
        self.router.watermark()
    }

    /// Totals so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.ledger.merge(&self.shards.ledger());
        stats.join_bytes = self.shards.bytes();
        stats.edges = self.baselines.edges().count() as u64;
        stats.frontier = self.router.frontier();
        stats.watermark = self.router.watermark();
        stats.symbols_overflowed = self.router.records_pooled();
        stats.clock_steps = self.router.clock_steps();
        stats.overloads = self.overloads();
        stats
    }

    fn overloads(&self) -> Vec<Overload> {
        let (known, told) = (self.baselines.overflows(), self.detector.overflows());
        let (norms, held) = (self.baselines.norms().overflows(), self.detector.held_back());
        let mut overloads = self.router.overloads().to_vec();
        overloads.extend([
            Overload::new("tick_edges", "pool_newest", self.stats.calls_pooled),
            Overload::new("window_edges", "pool_newest", self.windows.pooled()),
            Overload::new("window_shapes", "count_only", self.stats.shapes_overflowed),
            Overload::new("call_paths", "keep_known", self.windows.paths().dropped()),
            Overload::new("baseline_edges", "keep_known", known.edges + self.measured.edges_refused()),
            Overload::new("baseline_routes", "keep_known", known.routes),
            Overload::new("baseline_identities_and_nodes", "keep_known", known.mesh),
            Overload::new("findings_per_window", "count_only", told.findings),
            Overload::new("detector_windows", "oldest_window_first", told.windows),
            Overload::new("gauges", "keep_known", self.measured.gauges().refused()),
            Overload::new("counted_edges", "keep_known", self.measured.counts_refused()),
            Overload::new("frozen_edges", "stay_frozen", told.frozen),
            Overload::new("followed_callers", "keep_known", told.unfollowed),
            Overload::new("hot_edges", "stay_cold", norms.hot),
            Overload::new("normal_windows", "skip_older", norms.windows),
            Overload::new("pages_budget", "warn_instead", held.over_budget),
            Overload::new("pages_repeated", "warn_instead", held.repeated),
            Overload::new("pages_storm", "tell_mesh_once", held.storm),
            Overload::new("pages_broken_calibration", "tell_mesh_once", held.broken),
            Overload::new("incidents", "oldest", self.correlator.forgotten()),
            Overload::new("recent_traffic", "oldest_minute", self.containment.overflows().minutes),
            Overload::new("recent_traffic_rows", "keep_known", self.containment.overflows().calls),
        ]);
        overloads.push(self.senders.overload());
        overloads.extend(self.logs.overloads());
        overloads.extend(self.recorder.overloads());
        overloads
    }

    /// All incidents kept, by opening time.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.correlator.incidents()
    }

    /// All learned edges in words, by name.
    #[must_use]
    pub fn edges(&self) -> Vec<EdgeSummary> {
        edge_summaries(&self.baselines, self.measured.baselines(), self.router.symbols())
    }

    /// What every workload's telemetry brought in the last minutes, the fullest first.
    #[must_use]
    pub fn reporters(&self) -> Vec<ReporterSummary> {
        self.senders.summaries(self.router.frontier(), self.router.symbols())
    }

    /// Records and edges of windows of the same minutes that were counted for no workload, for want of room.
    #[must_use]
    pub fn uncounted(&self) -> u64 {
        self.senders.uncounted()
    }

    /// What is learned of every edge, route and baseline, as SQL shows it.
    #[must_use]
    pub fn learned(&self) -> Learned {
        Learned::of(&self.baselines, self.measured.baselines(), self.router.symbols())
    }

    /// What is kept for SQL, with the names that its rows need.
    pub fn recorded(&mut self) -> Recorded<'_> {
        Recorded::new(&mut self.recorder, self.router.symbols())
    }

    fn tick(&mut self, now: EventTime, effects: &mut Vec<Effect>) {
        let watermark = self.router.watermark_at_tick();
        // The last moment of a bucket (`DUE_GRAIN`): what is due at the watermark itself belongs to the next window.
        let deltas = self.shards.advance(watermark.before(Duration::from_nanos(1)));
        self.take(deltas);
        self.judge(now, watermark, effects);
        self.senders.turn(now);
        self.advance_containment(effects);
    }

    /// New shapes of calls are judged at once; a closed window is judged against earlier windows, then learned,
    /// minus what was flagged.
    fn judge(&mut self, now: EventTime, watermark: EventTime, effects: &mut Vec<Effect>) {
        self.stats.symbols_overflowed = self.router.records_pooled();
        let symbols = self.router.symbols();
        let learning = self.mode == Mode::Learning;
        let cx = Context { symbols, baselines: &self.baselines, now, learning };
        let mut findings = self.detector.judge_sightings(&cx, &self.windows.sightings(symbols));
        findings.extend(self.detector.judge_paths(&cx, self.windows.paths().sightings()));
        let inventor = self.router.inventor();
        let telemetry =
            TelemetryCounts { inventor, ..self.stats.telemetry_since(&mut self.telemetry_judged) };
        findings.extend(self.detector.judge_telemetry(&cx, &telemetry));
        self.windows.mark_sighted();
        let all_closed = self.close_windows(watermark);
        let closed_any = !all_closed.is_empty();
        let mut edges_refused = Vec::new();
        for closed in all_closed {
            let ClosedWindow { window, edges, paths } = &closed;
            let refs = closed.refs();
            let metrics = self.router.measured().take(*window, &refs);
            let measured = metrics.refs();
            let symbols = self.router.symbols();
            let mut ended = self.baselines.norms_mut().judge(*window, &refs);
            ended.merge(self.measured.judge(*window, &measured));
            let cx = Context { symbols, baselines: &self.baselines, now, learning };
            findings.extend(self.detector.end(&cx, &ended));
            findings.extend(self.detector.judge_window(&cx, *window, &refs));
            let teaching = |reading: &_, calls: Option<&_>| self.detector.teaching(reading, calls);
            self.baselines.norms_mut().learn(*window, &refs, &teaching);
            let provenance = if learning { Provenance::Approved } else { Provenance::Learned };
            for (key, edge) in edges {
                self.senders.close(key, edge);
                self.stats.shapes_overflowed += edge.shapes_overflowed;
                let flagged = |shape: &_| self.detector.flagged(key, shape);
                self.containment.learn(*window, key, edge, &flagged, &self.baselines, provenance);
                let refused = self.baselines.overflows().edges;
                self.baselines.learn(*window, *key, edge, &flagged, provenance, symbols);
                if refused < self.baselines.overflows().edges {
                    edges_refused.push(key.source);
                }
            }
            self.baselines.learn_paths(*window, paths, provenance);
            self.baselines.finish_window(*window);
            let told = (symbols, now, learning);
            findings.extend(self.measured.audit(&self.detector, told, (*window, &refs), &metrics));
            findings.extend(self.measured.finish(&mut self.detector, told, *window, &metrics));
            self.detector.window_done(*window);
            self.stats.windows += 1;
        }
        edges_refused.into_iter().for_each(|caller| self.router.refuse_edge(caller));
        let cx = Context { symbols: self.router.symbols(), baselines: &self.baselines, now, learning };
        findings.extend(self.logs.judge(&cx, watermark, &self.detector));
        self.correlate(findings, now, effects);
        if closed_any {
            self.containment.consider_again();
        }
        self.decide(now, effects);
    }

    fn correlate(&mut self, findings: Vec<Finding>, now: EventTime, effects: &mut Vec<Effect>) {
        self.know_changes(&findings, now);
        let rules = self.detector.rules();
        let runbook = |kind| Some(rules.runbook(kind).to_owned()).filter(|line| !line.is_empty());
        let mut changes = self.correlator.fold(&findings, &runbook, now);
        changes.extend(self.correlator.tick(now));
        effects.extend(findings.into_iter().map(|finding| Effect::Finding(Box::new(finding))));
        for change in changes {
            let Some(incident) = self.correlator.get(change.id()) else { continue };
            self.containment.consider(incident);
            let sent = self.alerted.get(&incident.id).copied();
            let action = plan(&change, incident, sent, now);
            effects.push(Effect::Incident(change, Box::new(incident.clone())));
            if let Some(action) = action {
                self.alerted.insert(incident.id.clone(), action.severity);
                effects.push(Effect::Action(action, Box::new(incident.clone())));
            }
        }
        self.alerted.retain(|id, _| self.correlator.get(id).is_some());
    }
}
