//! The engine on live input: an async `select` only chooses the next event, a synchronous `apply` changes all state.

mod checkpoints;
mod recovery;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use selvedge_model::{AuditLine, Finding, Quarantine, SteadyTime};
use selvedge_policy::{CommandError, Now};
use selvedge_query::{History, Learned, SealedSegment, SnapshotSource, Watched};
use selvedge_receive::{Behind, Clock, Receipt, Submission};
use tokio::sync::{mpsc, oneshot};

use crate::orders::{LiveOrders, Order, Reply};
use crate::overload::Overload;
use crate::pipeline::{Effect, Pipeline, RawBatch};
use crate::retention::Keeper;
use crate::snapshot::Snapshot;

pub use checkpoints::{CheckpointPlan, CheckpointWriter};

/// How often the clock is looked at when nothing arrives.
const CLOCK_INTERVAL: Duration = Duration::from_millis(250);
/// How often the view for people is replaced.
const VIEW_INTERVAL: Duration = Duration::from_secs(1);
/// How often its list of edges is.
const EDGES_INTERVAL: Duration = Duration::from_secs(10);

/// Queries that wait for their snapshot; more wait at the door of SQL, which bounds them.
const QUESTIONS_MAX: usize = 32;
/// Commands of people and reports of proxies that wait; more wait at the door.
const ORDERS_MAX: usize = 256;
/// Lots of sealed segments on their way to the history; while there is no room they stay in the store, which bounds them.
const SEALED_MAX: usize = 1;

/// Everything that SQL sees, at one moment.
type SqlSnapshot = Arc<selvedge_query::Snapshot>;

/// A query that waits for its snapshot.
type Question = oneshot::Sender<SqlSnapshot>;

/// What the live loop can be woken by.
enum Event {
    Submission(Submission),
    Question(Question),
    Order(Box<Order>),
    Clock,
    InputEnded,
}

/// A pipeline with its public view.
pub struct Engine {
    pipeline: Pipeline,
    view: Arc<ArcSwap<Snapshot>>,
    latest: Snapshot,
    findings: VecDeque<Finding>,
    findings_kept_max: usize,
    findings_forgotten: u64,
    /// When the view and its edges were replaced; absent before the first time.
    viewed_at: Option<SteadyTime>,
    edges_at: Option<SteadyTime>,
    learned: Arc<Learned>,
    questions: (mpsc::Sender<Question>, Option<mpsc::Receiver<Question>>),
    orders: (mpsc::Sender<Order>, Option<mpsc::Receiver<Order>>),
    /// What became of orders, to be told when their effects are handed over.
    answered: Vec<(Reply, Result<Quarantine, CommandError>)>,
    /// The latest records of the audit log, when there is one.
    audit: Option<Arc<ArcSwap<Vec<AuditLine>>>>,
    /// Where sealed segments go, when there is a history.
    sealed: Option<mpsc::Sender<Vec<SealedSegment>>>,
    /// What of the journal is still needed, when there is one.
    journal: Option<Keeper>,
    /// When what is known is written down, when it is.
    checkpoints: Option<checkpoints::Taking>,
    /// Whether telemetry is read from where it can wait, and there is some that was not read.
    behind: Behind,
}

impl Engine {
    /// An engine around a pipeline; `view` is replaced once a second.
    #[must_use]
    pub fn new(pipeline: Pipeline, findings_kept_max: usize) -> Self {
        let (asking, questions) = mpsc::channel(QUESTIONS_MAX);
        let (ordering, orders) = mpsc::channel(ORDERS_MAX);
        Self {
            pipeline,
            learned: Arc::default(),
            questions: (asking, Some(questions)),
            orders: (ordering, Some(orders)),
            answered: Vec::new(),
            audit: None,
            sealed: None,
            journal: None,
            checkpoints: None,
            behind: Behind::default(),
            view: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
            latest: Snapshot::default(),
            findings: VecDeque::new(),
            findings_kept_max,
            findings_forgotten: 0,
            viewed_at: None,
            edges_at: None,
        }
    }

    /// The pipeline, for what it is taught before it runs.
    pub fn pipeline_mut(&mut self) -> &mut Pipeline {
        &mut self.pipeline
    }

    /// Takes over what a process before us had stored, and shows it. After everything is taught: what is taught has a
    /// time of its own, by which leases would run out.
    pub fn restore(&mut self, stored: Vec<Quarantine>, now: Now) {
        self.pipeline.set_clock(now);
        self.pipeline.restore(stored);
        self.latest.quarantines = Arc::new(self.pipeline.quarantines().cloned().collect());
        self.view.store(Arc::new(self.latest.clone()));
    }

    /// The view that `serve` reads.
    #[must_use]
    pub fn view(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.view)
    }

    /// Where SQL gets its snapshots from.
    #[must_use]
    pub fn snapshots(&self) -> LiveSnapshots {
        LiveSnapshots { asking: self.questions.0.clone() }
    }

    /// From now on event time does not follow the clock while `behind` says that there is more to be read.
    pub fn read_behind(&mut self, behind: Behind) {
        self.behind = behind;
    }

    /// From now on SQL shows these records of the audit log.
    pub fn show_audit(&mut self, audit: Arc<ArcSwap<Vec<AuditLine>>>) {
        self.audit = Some(audit);
    }

    /// Where people and proxies say what is to be, and what became of it.
    #[must_use]
    pub fn orders(&self) -> LiveOrders {
        LiveOrders { sending: self.orders.0.clone() }
    }

    /// From now on what SQL keeps is written down when it is sealed, by the one who runs what this returns.
    #[must_use]
    pub fn keep_history(&mut self, history: History) -> HistoryWriter {
        let (sealed, inbox) = mpsc::channel(SEALED_MAX);
        self.sealed = Some(sealed);
        HistoryWriter { history, inbox }
    }

    fn apply(&mut self, event: Event, now: SteadyTime, effects: &mut Vec<Effect>) {
        let ended = matches!(event, Event::InputEnded);
        match event {
            Event::Submission(submission) => self.take(submission, now, effects),
            Event::Question(question) => self.answer(question),
            Event::Order(order) => self.obey(*order, effects),
            // While there is more to be read, silence says nothing of the mesh: event time waits for the records.
            Event::Clock if self.behind.get() => self.pipeline.stand_still(effects),
            Event::Clock => self.pipeline.advance_clock(now, effects),
            Event::InputEnded => self.pipeline.finish(effects),
        }
        if !effects.is_empty() {
            self.remember(effects);
        }
        if is_due(self.viewed_at, VIEW_INTERVAL, now) || !effects.is_empty() || ended {
            self.show(now, ended);
        }
    }

    /// Keeps what happened for people to look at.
    fn remember(&mut self, effects: &[Effect]) {
        let findings = effects.iter().filter_map(|effect| match effect {
            Effect::Finding(finding) => Some(finding.as_ref().clone()),
            Effect::Incident(..) | Effect::Action(..) | Effect::Containment { .. } => None,
        });
        self.findings.extend(findings);
        let surplus = self.findings.len().saturating_sub(self.findings_kept_max);
        self.findings.drain(..surplus);
        self.findings_forgotten += surplus as u64;
        self.latest.findings = Arc::new(self.findings.iter().cloned().collect());
        self.latest.incidents = Arc::new(self.pipeline.incidents().cloned().collect());
        self.latest.quarantines = Arc::new(self.pipeline.quarantines().cloned().collect());
    }

    /// Replaces the view. A large mesh has a hundred thousand edges, which nobody needs anew each second.
    fn show(&mut self, now: SteadyTime, ended: bool) {
        self.viewed_at = Some(now);
        if is_due(self.edges_at, EDGES_INTERVAL, now) || ended {
            self.edges_at = Some(now);
            self.latest.edges = Arc::new(self.pipeline.edges());
            self.latest.reporters = Arc::new(self.pipeline.reporters());
            self.latest.uncounted = self.pipeline.uncounted();
            if self.pipeline.recorded().on() {
                self.learned = Arc::new(self.pipeline.learned());
            }
        }
        self.latest.stats = self.pipeline.stats();
        let forgotten = Overload::new("findings_shown", "oldest_first", self.findings_forgotten);
        self.latest.stats.overloads.push(forgotten);
        self.view.store(Arc::new(self.latest.clone()));
        self.pipeline.recorded().watch(Watched {
            learned: Arc::clone(&self.learned),
            findings: Arc::clone(&self.latest.findings),
            incidents: Arc::clone(&self.latest.incidents),
            quarantines: Arc::clone(&self.latest.quarantines),
            audit: self.audit.as_ref().map_or_else(Arc::default, |audit| audit.load_full()),
            ledger: self.latest.stats.ledger,
        });
        // Without room they wait in the store until the next time.
        if let Some(Ok(room)) = self.sealed.as_ref().map(mpsc::Sender::try_reserve) {
            let sealed = self.pipeline.recorded().take_sealed();
            if !sealed.is_empty() {
                room.send(sealed);
            }
        }
    }

    fn obey(&mut self, order: Order, effects: &mut Vec<Effect>) {
        let (answer, reply) = match order {
            Order::Approve { id, who, why, reply } => {
                (self.pipeline.approve(&id, &who, &why, effects), reply)
            }
            Order::Lift { id, who, why, reply } => (self.pipeline.lift(&id, &who, &why, effects), reply),
            Order::Report(report) => return self.pipeline.report(&report, effects),
        };
        self.answered.push((reply, answer));
    }

    /// Says what became of orders. After their effects were handed over and are in the view: who then asks those that
    /// carry effects out, or looks, finds the order carried out.
    fn reply(&mut self) {
        for (reply, answer) in self.answered.drain(..) {
            if reply.send(answer).is_err() {
                tracing::debug!("whoever gave an order was gone before it was carried out");
            }
        }
    }

    fn answer(&mut self, question: Question) {
        if let Some(snapshot) = self.pipeline.recorded().snapshot()
            && question.send(snapshot).is_err()
        {
            tracing::debug!("a query was gone before it got its snapshot");
        }
    }

    /// The input ended: the history gets what is still open.
    async fn close_history(&mut self) {
        let Some(sealed) = self.sealed.take() else { return };
        if sealed.send(self.pipeline.recorded().seal()).await.is_err() {
            tracing::error!("the history was closed before the engine ended; its last rows are not written");
        }
    }

    fn take(&mut self, submission: Submission, now: SteadyTime, effects: &mut Vec<Effect>) {
        let Submission { batch, reply, position } = submission;
        let raw = RawBatch {
            signal: batch.signal,
            encoding: match batch.encoding {
                selvedge_receive::Encoding::Protobuf => selvedge_decode::Encoding::Protobuf,
                selvedge_receive::Encoding::Json => selvedge_decode::Encoding::Json,
            },
            body: &batch.body,
            observed: batch.observed,
            steady: now,
        };
        let receipt = match self.pipeline.ingest(raw, effects) {
            Ok(decoded) => {
                let note = decoded.first_rejection.as_ref().or(decoded.warning.as_ref());
                Receipt::Accepted { rejected: decoded.rejected, message: note.cloned().unwrap_or_default() }
            }
            Err(error) => Receipt::Malformed { message: error.to_string() },
        };
        self.took(position, batch.observed);
        if reply.send(receipt).is_err() {
            tracing::debug!("the sender was gone before its batch was acknowledged");
        }
    }
}

fn is_due(last: Option<SteadyTime>, interval: Duration, now: SteadyTime) -> bool {
    last.is_none_or(|last| last.after(interval) <= now)
}

/// Snapshots of the live engine, made between two batches.
#[derive(Clone)]
pub struct LiveSnapshots {
    asking: mpsc::Sender<Question>,
}

#[async_trait]
impl SnapshotSource for LiveSnapshots {
    async fn snapshot(&self) -> Option<SqlSnapshot> {
        let (question, answer) = oneshot::channel();
        self.asking.send(question).await.ok()?;
        answer.await.ok()
    }
}

/// Writes sealed segments down. Never on the engine's thread: a slow disk must not hold up telemetry.
pub struct HistoryWriter {
    history: History,
    inbox: mpsc::Receiver<Vec<SealedSegment>>,
}

impl HistoryWriter {
    /// Writes until the engine has ended. Blocks.
    pub fn run(mut self) {
        while let Some(segments) = self.inbox.blocking_recv() {
            for segment in segments {
                if let Err(error) = self.history.write(&segment) {
                    let (table, rows) = (segment.table(), segment.rows());
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(table, rows, error, "a segment is not in the history");
                }
            }
        }
    }
}

/// Runs until the submissions end (the receivers were dropped), then completes what is open and returns.
pub async fn run(
    mut engine: Engine,
    mut submissions: mpsc::Receiver<Submission>,
    clock: Arc<dyn Clock>,
    mut act: impl FnMut(Effect),
) {
    let mut interval = tokio::time::interval(CLOCK_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut effects = Vec::new();
    let mut questions = engine.questions.1.take().expect("an engine runs once: it is given away");
    let mut orders = engine.orders.1.take().expect("an engine runs once: it is given away");
    loop {
        let event = tokio::select! {
            biased;
            // First: there are few, for SQL bounds them, and people wait. The engine holds a sender, so it never ends.
            Some(question) = questions.recv() => Event::Question(question),
            Some(order) = orders.recv() => Event::Order(Box::new(order)),
            // Before batches, which may come without end and bring nothing new: leases run out all the same.
            _ = interval.tick() => Event::Clock,
            submission = submissions.recv() => submission.map_or(Event::InputEnded, Event::Submission),
        };
        let ended = matches!(event, Event::InputEnded);
        if ended {
            engine.last_checkpoint(clock.as_ref()).await;
        }
        engine.pipeline.set_clock(Now { steady: clock.steady(), wall: clock.now() });
        engine.apply(event, clock.steady(), &mut effects);
        effects.drain(..).for_each(&mut act);
        engine.handed_over();
        engine.reply();
        engine.checkpoint(clock.as_ref());
        if ended {
            engine.close_history().await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use selvedge_detect::RuleSet;
    use selvedge_testkit::Traffic;

    use super::*;
    use crate::config::EngineConfig;
    use crate::pipeline::Mode;

    fn feed(pipeline: &mut Pipeline, effects: &mut Vec<Effect>) {
        let mut traffic = Traffic::seeded(1);
        traffic.repeat(20, "web -> cart");
        for frame in traffic.frames() {
            let raw = RawBatch {
                signal: frame.signal,
                encoding: selvedge_decode::Encoding::Protobuf,
                body: &frame.payload,
                observed: frame.observed,
                steady: SteadyTime::recorded(frame.observed),
            };
            pipeline.ingest(raw, effects).unwrap();
        }
    }

    /// Guarantees: while there is more to be read, silence says nothing; when there is not, event time follows the clock.
    #[test]
    fn event_time_waits_while_there_is_more_to_be_read() {
        let mut engine = Engine::new(Pipeline::new(&EngineConfig::default(), RuleSet::shipped()), 10);
        let (behind, mut effects) = (Behind::default(), Vec::new());
        engine.read_behind(behind.clone());
        feed(engine.pipeline_mut(), &mut effects);
        let frontier = engine.pipeline.frontier();
        let later = SteadyTime(frontier.0).after(Duration::from_hours(1));
        behind.set(true);
        engine.apply(Event::Clock, later, &mut effects);
        assert_eq!(engine.pipeline.frontier(), frontier);
        behind.set(false);
        engine.apply(Event::Clock, later, &mut effects);
        assert!(frontier < engine.pipeline.frontier());
    }

    /// Guarantees: what was taught before the start can be seen as soon as the engine runs.
    #[test]
    fn the_first_look_shows_the_edges_that_were_taught() {
        let mut engine = Engine::new(Pipeline::new(&EngineConfig::default(), RuleSet::shipped()), 10);
        let (pipeline, mut effects) = (engine.pipeline_mut(), Vec::new());
        pipeline.set_mode(Mode::Learning);
        feed(pipeline, &mut effects);
        pipeline.finish(&mut effects);
        pipeline.set_mode(Mode::Judging);
        engine.apply(Event::Clock, SteadyTime(1), &mut effects);
        assert_eq!(engine.view().load().edges.len(), 1);
    }
}
