//! The sequential part: decode, name, and find the shard of every record, in arrival order.
//!
//! What must not depend on the number of shards is decided here: watermarks, who a principal is, what a path's
//! template is, and which request a record belongs to.

use std::time::Duration;

use selvedge_decode::{Decoded, Decoder};
use selvedge_join::{
    Aliases, DUE_GRAIN, Directory, JoinConfig, MeasuredEdges, Progress, Reporters, SeriesStore,
};
use selvedge_learn::RouteLearner;
use selvedge_learn::versions::{Deployment, Versions};
use selvedge_model::time::nanos;
use selvedge_model::{
    EventTime, Fate, MetricPoint, Node, Observation, ObservedTime, Side, SteadyTime, Symbol, SymbolTable,
};
use serde::{Deserialize, Serialize};

use crate::arrival::{Arrival, ClockSteps};
use crate::config::EngineConfig;
use crate::inventors::Inventors;
use crate::overload::Overload;
use crate::pipeline::{IngestError, RawBatch};
use crate::senders::Senders;
use crate::stats::Stats;
use crate::ticks::Ticks;

/// Without a call for this long metric points move event time. Longer than what points are ahead of the calls that they
/// count (a minute, usually), so that no call is late because of them.
const POINTS_AFTER: Duration = Duration::from_mins(2);

/// Steps in which event time follows the clock over a silence; longer ones over a silence of hours, so that there are no
/// more than a few thousand.
const CLOCK_STEP: Duration = Duration::from_secs(1);
const CLOCK_STEPS_MAX: u32 = 600;

/// State of the sequential part.
pub(crate) struct Router {
    symbols: SymbolTable,
    decoder: Decoder,
    decoded: Decoded,
    stream: Stream,
    idle_grace: Duration,
}

/// What the sequential part knows, beside names. What the decoder remembers changes no result.
#[derive(Serialize, Deserialize)]
struct Stream {
    progress: Progress,
    aliases: Aliases,
    directory: Directory,
    reporters: Reporters,
    routes: RouteLearner,
    series: SeriesStore,
    measured: MeasuredEdges,
    /// Since when no call moved event time.
    quiet_from: EventTime,
    versions: Versions,
    records_pooled: u64,
    inventors: Inventors,
    ticks: Ticks,
    arrival: Arrival,
    heard: Heard,
}

/// The same, as a checkpoint has it.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct SavedStream(Stream);

/// The last record that moved event time: when it came in, and how far event time was.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Heard {
    at: SteadyTime,
    frontier: EventTime,
}

impl Router {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        let join: &JoinConfig = &config.join;
        Self {
            symbols: SymbolTable::new(config.symbol_bytes_max),
            decoder: Decoder::new(config.decode.clone()),
            decoded: Decoded::default(),
            stream: Stream {
                progress: Progress::new(join),
                aliases: Aliases::new(join),
                directory: Directory::new(join),
                reporters: Reporters::new(join),
                routes: RouteLearner::new(&config.learn),
                series: SeriesStore::new(join),
                measured: MeasuredEdges::new(join),
                quiet_from: EventTime::ABSENT,
                versions: Versions::default(),
                records_pooled: 0,
                inventors: Inventors::default(),
                ticks: Ticks::default(),
                arrival: Arrival::default(),
                heard: Heard::default(),
            },
            idle_grace: config.idle_grace,
        }
    }

    /// What it knows beside names, as plain data.
    pub(crate) fn save(&self) -> &impl Serialize {
        &self.stream
    }

    /// Takes over names. Before anything is decoded.
    pub(crate) fn know(&mut self, symbols: SymbolTable) {
        self.symbols = symbols;
    }

    /// Takes over what another process knew, whose clock counted from another beginning: from now on times are those of
    /// receipt, as whoever reads its journal says them.
    pub(crate) fn load(&mut self, stream: SavedStream, config: &EngineConfig) {
        let mut stream = stream.0;
        let Arrival { observed, steady, .. } = stream.arrival;
        let recorded = SteadyTime::recorded(observed);
        let silent = u64::try_from(steady.since(stream.heard.at).as_nanos()).unwrap_or(u64::MAX);
        stream.heard.at = SteadyTime(recorded.0.saturating_sub(silent));
        stream.arrival = stream.arrival.recorded();
        stream.progress.configure(&config.join);
        stream.aliases.configure(&config.join);
        stream.directory.configure(&config.join);
        stream.reporters.configure(&config.join);
        stream.series.configure(&config.join);
        stream.measured.configure(&config.join);
        stream.routes.configure(&config.learn);
        self.stream = stream;
    }

    pub(crate) fn decode(&mut self, batch: &RawBatch<'_>) -> Result<(), IngestError> {
        self.stream.arrival = self.stream.arrival.next(batch);
        let Self { decoder, symbols, decoded, stream, .. } = self;
        let observed = stream.arrival.observed;
        decoder.decode(batch.signal, batch.encoding, batch.body, observed, symbols, decoded)
    }

    /// When the batch in hand came in.
    pub(crate) fn arrived(&self) -> ObservedTime {
        self.stream.arrival.observed
    }

    pub(crate) fn decoded(&self) -> &Decoded {
        &self.decoded
    }

    pub(crate) fn symbols(&self) -> &SymbolTable {
        &self.symbols
    }

    pub(crate) fn frontier(&self) -> EventTime {
        self.stream.progress.frontier()
    }

    pub(crate) fn watermark(&self) -> EventTime {
        self.stream.progress.watermark()
    }

    /// The same in coarser steps than ticks: each look at what is incomplete costs as much as the joining did.
    pub(crate) fn watermark_at_tick(&self) -> EventTime {
        floor(self.watermark(), DUE_GRAIN)
    }

    /// Lets the record at `at` move event time; the tick that is due because of it, if any.
    pub(crate) fn advance(&mut self, at: usize) -> Option<EventTime> {
        let observation = &self.decoded.observations[at];
        let before = self.stream.progress.frontier();
        self.stream.progress.observe(observation.origin, observation.end, self.stream.arrival.observed);
        if before < self.stream.progress.frontier() {
            // Old records are no sign of life: a backlog must not keep the stream's time from going on.
            self.stream.heard =
                Heard { at: self.stream.arrival.steady, frontier: self.stream.progress.frontier() };
            self.stream.quiet_from = self.stream.progress.frontier();
        }
        self.stream.ticks.count();
        self.due_tick()
    }

    /// Lets the metric point at `at` move event time, where no call has for a while: metrics alone are a stream, too.
    pub(crate) fn advance_by_point(&mut self, at: usize) -> Option<EventTime> {
        let (time, origin) = (self.decoded.points[at].time, self.decoded.points[at].origin);
        if !self.stream.quiet_from.present() {
            self.stream.quiet_from = time;
        }
        if time <= self.stream.progress.frontier() || time < self.stream.quiet_from.after(POINTS_AFTER) {
            return None;
        }
        let before = self.stream.progress.frontier();
        self.stream.progress.observe(origin, time, self.stream.arrival.observed);
        if before < self.stream.progress.frontier() {
            self.stream.heard =
                Heard { at: self.stream.arrival.steady, frontier: self.stream.progress.frontier() };
        }
        self.due_tick()
    }

    /// Lets a silent stream's event time follow the time that passes, the next step of it. Only elapsed time counts, not
    /// what a wall clock says: ours and the senders' may be hours apart, and ours may be set while nothing arrives.
    ///
    /// In steps, because a replay looks at the clock only when the next batch comes: what is found in between must be found
    /// when it would have been.
    pub(crate) fn advance_clock(&mut self, now: SteadyTime) -> Option<EventTime> {
        let beyond = now.since(self.stream.heard.at).checked_sub(self.idle_grace)?;
        if !self.stream.heard.frontier.present() {
            return None;
        }
        let until = self.stream.heard.frontier.after(beyond);
        let from = self.stream.progress.frontier();
        let step = CLOCK_STEP.max(until.since(from) / CLOCK_STEPS_MAX);
        self.stream.progress.advance_to(until.min(from.after(step)));
        self.due_tick()
    }

    /// The stream goes on in another process, whose clock says `now`: silence is measured from here, and arrivals by
    /// its clocks. Event time stands where it stood.
    pub(crate) fn resume(&mut self, now: SteadyTime) {
        self.stream.arrival = self.stream.arrival.elsewhere();
        self.stream.heard = Heard { at: now, frontier: self.stream.progress.frontier() };
    }

    pub(crate) fn restart_after_gap(&mut self) {
        self.stream.progress.restart_after_gap();
        self.stream.reporters.restart_after_gap();
        self.stream.measured.gap();
        self.stream.quiet_from = EventTime::ABSENT;
        self.stream.ticks = Ticks::default();
        self.stream.arrival = self.stream.arrival.elsewhere();
        self.stream.heard = Heard::default();
    }

    /// Names the record at `at`, where it lies, and finds the request it belongs to; `None` when it names none.
    pub(crate) fn route(&mut self, at: usize) -> (Option<u128>, &Observation) {
        let Self { decoded, symbols, stream, .. } = self;
        let Stream { directory, reporters, progress, routes, aliases, records_pooled, inventors, .. } =
            stream;
        let observation = &mut decoded.observations[at];
        let key = aliases.key_of(observation.trace_id, observation.request_id);
        directory.meet(observation, key);
        observation.last_word = reporters.last_word(observation, progress.frontier());
        let callee = if observation.side == Side::Client { observation.peer } else { observation.reporter };
        observation.route = routes.template(callee.workload, observation.route, observation.status, symbols);
        if symbols.overflowed() > 0 && observation.pooled() {
            *records_pooled += 1;
            inventors.count(Node::of(&observation.reporter));
        }
        (key, observation)
    }

    /// What the record at `at`, which is named, says of the version of who sent it; the deployment that it is the first sign
    /// of.
    pub(crate) fn hear_version(&mut self, at: usize) -> Option<Deployment> {
        let Observation { reporter, version, end, .. } = &self.decoded.observations[at];
        let Stream { versions, progress, .. } = &mut self.stream;
        versions.hear(Node::of(reporter), *version, (*end).min(progress.frontier()), &self.symbols)
    }

    /// The same of the metric point at `at`.
    pub(crate) fn hear_version_of_point(&mut self, at: usize) -> Option<Deployment> {
        let MetricPoint { reporter, version, time, .. } = &self.decoded.points[at];
        let Stream { versions, progress, .. } = &mut self.stream;
        versions.hear(Node::of(reporter), *version, (*time).min(progress.frontier()), &self.symbols)
    }

    /// Which versions run.
    pub(crate) fn versions(&self) -> &Versions {
        &self.stream.versions
    }

    /// How often our wall clock was set so far.
    pub(crate) fn clock_steps(&self) -> ClockSteps {
        self.stream.arrival.steps
    }

    /// Records so far with a name that found no room. Counted by record, when it is reached: names are looked up by
    /// batch, and how often one is asked for depends on where batches are cut.
    pub(crate) fn records_pooled(&self) -> u64 {
        self.stream.records_pooled
    }

    /// A window of an edge of this caller that there is no room to learn: whoever invents callees, invents edges.
    pub(crate) fn refuse_edge(&mut self, caller: Node) {
        self.stream.records_pooled += 1;
        self.stream.inventors.count(caller);
    }

    /// Who sent most of them.
    pub(crate) fn inventor(&self) -> Option<(Node, u64)> {
        self.stream.inventors.first()
    }

    /// Settles the metric point at `at` of the batch just decoded.
    pub(crate) fn admit_point(&mut self, at: usize, stats: &mut Stats, senders: &mut Senders) {
        let Stream { progress, series, measured, records_pooled, inventors, arrival, .. } = &mut self.stream;
        let point = &self.decoded.points[at];
        progress.heartbeat(point.origin);
        let update = series.admit(point);
        measured.admit(point, &update);
        senders.hear_point(point, (update.delta.as_ref(), update.since), arrival.observed);
        // A series without room is a name without room: values of labels are invented as easily.
        let pooled = [point.name, point.origin].contains(&Symbol::OVERFLOW) || update.fate == Fate::Evicted;
        if pooled || point.reporter.pooled() || point.peer.pooled() {
            *records_pooled += 1;
            inventors.count(Node::of(&point.reporter));
        }
        stats.ledger.receive(selvedge_model::SignalKind::Metrics, 1);
        stats.ledger.settle(selvedge_model::SignalKind::Metrics, update.fate, 1);
    }

    /// What metrics alone say, by window.
    pub(crate) fn measured(&mut self) -> &mut MeasuredEdges {
        &mut self.stream.measured
    }

    /// What the limits of the sequential part did.
    pub(crate) fn overloads(&self) -> [Overload; 12] {
        let measured = self.stream.measured.overflows();
        [
            Overload::new("symbols", "pool", self.symbols.overflowed()),
            Overload::new("record_patterns", "keep_known", self.decoder.unlearned()),
            Overload::new("origins", "untracked", self.stream.progress.untracked()),
            Overload::new("clock_ahead", "moves_nothing", self.stream.progress.wild()),
            Overload::new("request_ids", "forget_older_half", self.stream.aliases.forgotten()),
            Overload::new("directory", "keep_first", self.stream.directory.refused()),
            Overload::new(
                "directory_contests",
                "oldest_contest_first",
                self.stream.directory.contests_ended(),
            ),
            Overload::new("reporters", "await_log", self.stream.reporters.unknown()),
            Overload::new("versioned_workloads", "keep_known", self.stream.versions.refused()),
            Overload::new("route_templates", "keep_known", self.stream.routes.overflowed()),
            Overload::new("measured_edges", "keep_known", measured.entries),
            Overload::new("measured_intervals", "count_only", measured.coarse + measured.late),
        ]
    }

    fn due_tick(&mut self) -> Option<EventTime> {
        let now = self.stream.progress.frontier();
        self.stream.ticks.due(now).then_some(now)
    }
}

/// The last multiple of `step`.
fn floor(time: EventTime, step: Duration) -> EventTime {
    EventTime(time.0 - time.0 % nanos(step))
}
