//! The sequential part: decode, name, and find the shard of every record, in arrival order.
//!
//! What must not depend on the number of shards is decided here: watermarks, who a principal is, what a path's
//! template is, and which request a record belongs to.

use std::time::Duration;

use selvedge_decode::{Decoded, Decoder};
use selvedge_join::{Aliases, Directory, JoinConfig, Progress, Reporters, SeriesStore};
use selvedge_learn::RouteLearner;
use selvedge_model::time::nanos;
use selvedge_model::{
    EventTime, Fate, Node, Observation, ObservedTime, Side, SteadyTime, Symbol, SymbolTable,
};

use crate::config::EngineConfig;
use crate::inventors::Inventors;
use crate::overload::Overload;
use crate::pipeline::{IngestError, RawBatch};
use crate::stats::Stats;

/// Event time between two ticks: how long a deviation can wait before it is judged. A fifth of a second is little beside
/// the second in which proxies send their logs, and a tick costs what its calls' shapes cost, not what there is.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// State of the sequential part.
pub(crate) struct Router {
    symbols: SymbolTable,
    decoder: Decoder,
    decoded: Decoded,
    progress: Progress,
    aliases: Aliases,
    directory: Directory,
    reporters: Reporters,
    routes: RouteLearner,
    series: SeriesStore,
    records_pooled: u64,
    inventors: Inventors,
    ticked: EventTime,
    arrival: Arrival,
    heard: Heard,
    idle_grace: Duration,
}

/// When the batch in hand came in, by both clocks.
#[derive(Clone, Copy, Default)]
struct Arrival {
    observed: ObservedTime,
    steady: SteadyTime,
}

impl Arrival {
    /// The arrival of the next batch. A wall clock that is set back does not take the present with it: all records
    /// would look as if they came from far ahead of us, and be given an arrival that is long past. The price: a clock
    /// that was ahead, and is put right, leaves more room for senders that are ahead until the next start.
    fn next(self, batch: &RawBatch<'_>) -> Self {
        let carried = self.observed.after(batch.steady.since(self.steady));
        let observed = if self.observed == ObservedTime::default() {
            batch.observed
        } else {
            carried.max(batch.observed)
        };
        Self { observed, steady: batch.steady.max(self.steady) }
    }
}

/// The last record that moved event time: when it came in, and how far event time was.
#[derive(Clone, Copy, Default)]
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
            progress: Progress::new(join),
            aliases: Aliases::new(join),
            directory: Directory::new(join),
            reporters: Reporters::new(join),
            routes: RouteLearner::new(&config.learn),
            series: SeriesStore::new(join),
            records_pooled: 0,
            inventors: Inventors::default(),
            ticked: EventTime::ABSENT,
            arrival: Arrival::default(),
            heard: Heard::default(),
            idle_grace: config.idle_grace,
        }
    }

    pub(crate) fn decode(&mut self, batch: &RawBatch<'_>) -> Result<(), IngestError> {
        self.arrival = self.arrival.next(batch);
        let Self { decoder, symbols, decoded, arrival, .. } = self;
        decoder.decode(batch.signal, batch.encoding, batch.body, arrival.observed, symbols, decoded)
    }

    pub(crate) fn decoded(&self) -> &Decoded {
        &self.decoded
    }

    pub(crate) fn symbols(&self) -> &SymbolTable {
        &self.symbols
    }

    pub(crate) fn frontier(&self) -> EventTime {
        self.progress.frontier()
    }

    pub(crate) fn watermark(&self) -> EventTime {
        self.progress.watermark()
    }

    /// Lets the record at `at` move event time; the tick that is due because of it, if any.
    pub(crate) fn advance(&mut self, at: usize) -> Option<EventTime> {
        let observation = &self.decoded.observations[at];
        let before = self.progress.frontier();
        self.progress.observe(observation.origin, observation.end, self.arrival.observed);
        if before < self.progress.frontier() {
            // Old records are no sign of life: a backlog must not keep the stream's time from going on.
            self.heard = Heard { at: self.arrival.steady, frontier: self.progress.frontier() };
        }
        self.due_tick()
    }

    /// Lets a silent stream's event time follow the time that passes. Only elapsed time counts, not what a wall clock
    /// says: ours and the senders' may be hours apart, and ours may be set while nothing arrives.
    pub(crate) fn advance_clock(&mut self, now: SteadyTime) -> Option<EventTime> {
        let beyond = now.since(self.heard.at).checked_sub(self.idle_grace)?;
        if !self.heard.frontier.present() {
            return None;
        }
        self.progress.advance_to(self.heard.frontier.after(beyond));
        self.due_tick()
    }

    /// The stream goes on in another process, whose clock says `now`: silence is measured from here, and arrivals by
    /// its clocks. Event time stands where it stood.
    pub(crate) fn resume(&mut self, now: SteadyTime) {
        self.arrival = Arrival::default();
        self.heard = Heard { at: now, frontier: self.progress.frontier() };
    }

    pub(crate) fn restart_after_gap(&mut self) {
        self.progress.restart_after_gap();
        self.reporters.restart_after_gap();
        self.ticked = EventTime::ABSENT;
        self.arrival = Arrival::default();
        self.heard = Heard::default();
    }

    /// Names the record at `at`, where it lies, and finds the request it belongs to; `None` when it names none.
    pub(crate) fn route(&mut self, at: usize) -> (Option<u128>, &Observation) {
        let Self {
            decoded,
            directory,
            reporters,
            progress,
            routes,
            aliases,
            symbols,
            records_pooled,
            inventors,
            ..
        } = self;
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

    /// Records so far with a name that found no room. Counted by record, when it is reached: names are looked up by
    /// batch, and how often one is asked for depends on where batches are cut.
    pub(crate) fn records_pooled(&self) -> u64 {
        self.records_pooled
    }

    /// Who sent most of them.
    pub(crate) fn inventor(&self) -> Option<(Node, u64)> {
        self.inventors.first()
    }

    /// Settles the metric points of the batch just decoded.
    pub(crate) fn admit_points(&mut self, stats: &mut Stats) {
        for point in &self.decoded.points {
            self.progress.heartbeat(point.origin);
            let update = self.series.admit(point);
            // A series without room is a name without room: values of labels are invented as easily.
            let pooled =
                [point.name, point.origin].contains(&Symbol::OVERFLOW) || update.fate == Fate::Evicted;
            if pooled || point.reporter.pooled() || point.peer.pooled() {
                self.records_pooled += 1;
                self.inventors.count(Node::of(&point.reporter));
            }
            stats.ledger.receive(selvedge_model::SignalKind::Metrics, 1);
            stats.ledger.settle(selvedge_model::SignalKind::Metrics, update.fate, 1);
        }
    }

    /// What the limits of the sequential part did.
    pub(crate) fn overloads(&self) -> [Overload; 9] {
        [
            Overload::new("symbols", "pool", self.symbols.overflowed()),
            Overload::new("record_patterns", "keep_known", self.decoder.unlearned()),
            Overload::new("origins", "untracked", self.progress.untracked()),
            Overload::new("clock_ahead", "moves_nothing", self.progress.wild()),
            Overload::new("request_ids", "forget_older_half", self.aliases.forgotten()),
            Overload::new("directory", "keep_first", self.directory.refused()),
            Overload::new("directory_contests", "oldest_contest_first", self.directory.contests_ended()),
            Overload::new("reporters", "await_log", self.reporters.unknown()),
            Overload::new("route_templates", "keep_known", self.routes.overflowed()),
        ]
    }

    fn due_tick(&mut self) -> Option<EventTime> {
        let frontier = self.progress.frontier();
        let now = EventTime(frontier.0 - frontier.0 % nanos(TICK));
        if now <= self.ticked {
            return None;
        }
        self.ticked = now;
        Some(now)
    }
}
