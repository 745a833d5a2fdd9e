//! Alerts on their way: one queue and one task a sink, so that a slow or broken sink never holds up another.
//!
//! At least once: an attempt whose answer was lost is made again, under the same id. The spool is in memory; what
//! could not be delivered before the process ends is written down as given up.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use selvedge_model::hash::StableHasher;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::alert::Alert;
use crate::backoff::RetryPolicy;
use crate::config::{ActConfig, Stream};
use crate::error::{ActError, Retry, SendError, with_causes};
use crate::group::{Drained, TaskGroup};
use crate::ledger::{DeliveryLedger, DeliveryStatus, Entry};
use crate::queue::{Admission, Again, Next, Queue, Waiting, until};
use crate::sink::external::ExternalSink;
use crate::sink::{self, Outgoing, Output, Sink};

/// The time of day: what wires need. Waiting is done on tokio's clock.
pub trait WallClock: Send + Sync + 'static {
    /// Nanoseconds since the Unix epoch.
    fn now_unix_nano(&self) -> u64;
}

/// Delivers alerts to every sink.
pub struct Dispatcher {
    lanes: Vec<Arc<Lane>>,
    ledger: Arc<DeliveryLedger>,
    group: TaskGroup,
}

impl Dispatcher {
    /// Starts one task for every sink, those that are handed in included. Must be called in a tokio runtime, which the tasks then live in.
    ///
    /// # Errors
    /// A file that the configuration names cannot be used.
    pub fn start(
        config: ActConfig,
        external: Vec<ExternalSink>,
        clock: Arc<dyn WallClock>,
    ) -> Result<Self, ActError> {
        let output = standard_output(&config);
        let sinks = sink::build(&config, Output::new(output), external)?;
        Ok(Self::over(sinks, &config, &clock))
    }

    /// Like [`Self::start`], with the terminal sink writing to `output`.
    ///
    /// # Errors
    /// A file that the configuration names cannot be used.
    pub fn start_with_output(
        config: ActConfig,
        clock: Arc<dyn WallClock>,
        output: Box<dyn Write + Send>,
    ) -> Result<Self, ActError> {
        let sinks = sink::build(&config, Output::new(output), Vec::new())?;
        Ok(Self::over(sinks, &config, &clock))
    }

    pub(crate) fn over(sinks: Vec<sink::Named>, config: &ActConfig, clock: &Arc<dyn WallClock>) -> Self {
        let ledger = Arc::new(DeliveryLedger::default());
        let group = TaskGroup::default();
        let lanes: Vec<Arc<Lane>> = sinks
            .into_iter()
            .map(|named| {
                Arc::new(Lane {
                    queue: Mutex::new(Queue::new(named.min_severity, config.spool_max)),
                    name: named.name,
                    sink: named.sink,
                    wake: Notify::new(),
                    retry: config.retry,
                    ledger: Arc::clone(&ledger),
                    clock: Arc::clone(clock),
                })
            })
            .collect();
        for lane in &lanes {
            group.spawn(run(Arc::clone(lane), group.clone()));
        }
        Self { lanes, ledger, group }
    }

    /// Hands an alert to every sink that wants it. Never waits.
    pub fn notify(&self, alert: Alert) {
        let alert = Arc::new(alert);
        for lane in &self.lanes {
            lane.offer(&alert);
        }
    }

    /// Takes note of an alert that a process before us delivered: it is not sent again, but sinks that repeat what fires
    /// repeat it, and its end will be told.
    pub fn recall(&self, alert: Alert) {
        let alert = Arc::new(alert);
        for lane in &self.lanes {
            if lane.queue().recall(&alert) {
                lane.sink.recall(&alert, lane.clock.now_unix_nano());
            }
        }
    }

    /// What became of alerts.
    #[must_use]
    pub fn ledger(&self) -> Arc<DeliveryLedger> {
        Arc::clone(&self.ledger)
    }

    /// Takes no more alerts, tries what waits once more, and returns when that is done or `deadline` has passed.
    pub async fn drain(self, deadline: Duration) {
        if self.group.drain(deadline).await == Drained::Stopped {
            tracing::warn!(?deadline, "stopped before every alert was delivered");
        }
    }
}

/// The stream that the configuration names.
pub(crate) fn standard_output(config: &ActConfig) -> Box<dyn Write + Send> {
    match config.terminal.as_ref().map(|terminal| terminal.output) {
        Some(Stream::Stderr) => Box::new(std::io::stderr()),
        Some(Stream::Stdout) | None => Box::new(std::io::stdout()),
    }
}

/// The id of a delivery: a hash of what is told, so that the same alert has the same id after a restart too, and a
/// receiver that has it already can tell.
pub(crate) fn delivery_id(sink: &str, alert: &Alert) -> String {
    let hash = StableHasher::default()
        .field(sink.as_bytes())
        .field(alert.incident.id.as_bytes())
        .field(alert.status.name().as_bytes())
        .field(alert.incident.severity.name().as_bytes())
        .field(&alert.at.0.to_le_bytes());
    format!("msg_{}", hash.hex())
}

/// A sink, what waits for it, and whom it tells of it.
struct Lane {
    name: String,
    sink: Box<dyn Sink>,
    queue: Mutex<Queue>,
    wake: Notify,
    retry: RetryPolicy,
    ledger: Arc<DeliveryLedger>,
    clock: Arc<dyn WallClock>,
}

impl Lane {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic while it was held is a bug in the queue; alerts that still come through are better than none.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an alert, or writes down why not.
    fn offer(&self, alert: &Arc<Alert>) {
        let mut queue = self.queue();
        let id = delivery_id(&self.name, alert);
        let entry = Entry {
            id: &id,
            sink: &self.name,
            incident_id: &alert.incident.id,
            alert: alert.status,
            severity: alert.incident.severity,
        };
        let now = self.clock.now_unix_nano();
        let refusal = match queue.admit(alert) {
            None => None,
            Some(Admission::NotForThisSink | Admission::Queued { .. }) => return,
            Some(Admission::Full) => Some("the spool is full"),
            Some(Admission::Closed) => Some("the sink is closed"),
        };
        if let Some(reason) = refusal {
            let row = self.ledger.open(&entry, DeliveryStatus::Refused, now);
            self.ledger.update(row, DeliveryStatus::Refused, 0, Some(reason), now);
            if queue.first_refusal() {
                tracing::error!(sink = %self.name, incident = %alert.incident.id, reason, "refused an alert; not told again until one is delivered");
            }
            return;
        }
        let row = self.ledger.open(&entry, DeliveryStatus::Pending, now);
        let waiting = Waiting { row, id, alert: Arc::clone(alert), attempts: 0, since: None };
        if let Admission::Queued { coalesced } = queue.push(waiting, Instant::now()) {
            for old in coalesced {
                self.ledger.update(old.row, DeliveryStatus::Coalesced, old.attempts, None, now);
            }
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Draws the conclusion from an attempt.
    fn settle(&self, mut waiting: Waiting, result: Result<(), SendError>) {
        waiting.attempts += 1;
        let (mut queue, now) = (self.queue(), Instant::now());
        let since = *waiting.since.get_or_insert(now);
        let Err(error) = result else {
            queue.delivered(now);
            return self.close(&waiting, DeliveryStatus::Delivered, None);
        };
        let text = with_causes(&error);
        let wait = match error.retry() {
            Retry::Never if matches!(error, SendError::Stopped) => None,
            Retry::Never => {
                tracing::error!(sink = %self.name, incident = %waiting.alert.incident.id, error = %text, "an alert was refused for good");
                return self.close(&waiting, DeliveryStatus::Failed, Some(&text));
            }
            Retry::Disable => {
                tracing::error!(sink = %self.name, error = %text, "the sink is gone for good: nothing more is sent to it");
                self.close(&waiting, DeliveryStatus::Failed, Some(&text));
                let left = queue.close();
                return left
                    .iter()
                    .for_each(|other| self.close(other, DeliveryStatus::Refused, Some("the sink is gone")));
            }
            Retry::Backoff => Some(self.retry.wait(waiting.attempts, &waiting.id)),
            Retry::After(asked) => Some(self.retry.asked(asked)),
        };
        let Some(wait) =
            wait.filter(|wait| !queue.draining() && until(now + *wait, since) <= self.retry.max_elapsed_time)
        else {
            tracing::error!(sink = %self.name, incident = %waiting.alert.incident.id, attempts = waiting.attempts, error = %text, "gave up on an alert");
            return self.close(&waiting, DeliveryStatus::GivenUp, Some(&text));
        };
        if waiting.attempts == 1 {
            tracing::warn!(sink = %self.name, incident = %waiting.alert.incident.id, error = %text, "an alert was not delivered yet; trying again");
        }
        let pause_all = error.outage() || matches!(error.retry(), Retry::After(_));
        self.close(&waiting, DeliveryStatus::Pending, Some(&text));
        if let Some(old) =
            queue.put_back(waiting, Again { due: now + wait, pause_all, outage: error.outage() })
        {
            self.close(&old, DeliveryStatus::Coalesced, None);
        }
    }

    fn close(&self, waiting: &Waiting, status: DeliveryStatus, error: Option<&str>) {
        self.ledger.update(waiting.row, status, waiting.attempts, error, self.clock.now_unix_nano());
    }
}

/// Sends what is due until told to stop, then what is left, once.
async fn run(lane: Arc<Lane>, group: TaskGroup) {
    let repeat = lane.sink.resend_every();
    let mut resend_at = repeat.map(|every| Instant::now() + every);
    loop {
        let now = Instant::now();
        if let Some((every, _)) =
            repeat.zip(resend_at.filter(|at| *at <= now && !group.stopping.is_cancelled()))
        {
            resend_at = Some(now + every);
            resend(&lane, &group).await;
            continue;
        }
        if group.stopping.is_cancelled() {
            lane.queue().drain();
        }
        let next = lane.queue().next(now);
        let due = match next {
            Next::Done => return,
            Next::Send(waiting) => {
                attempt(&lane, waiting, &group).await;
                continue;
            }
            Next::Wait(due) => due,
        };
        let at = [due, resend_at].into_iter().flatten().min();
        tokio::select! {
            () = lane.wake.notified() => {}
            () = sleep_until(at) => {}
            () = group.stopping.cancelled() => {}
        }
    }
}

async fn attempt(lane: &Lane, mut waiting: Waiting, group: &TaskGroup) {
    waiting.since.get_or_insert_with(Instant::now);
    let outgoing = Outgoing { id: waiting.id.clone(), alert: Arc::clone(&waiting.alert) };
    let result = tokio::select! {
        biased;
        () = group.killed.cancelled() => Err(SendError::Stopped),
        result = lane.sink.send(&outgoing, lane.clock.now_unix_nano()) => result,
    };
    lane.settle(waiting, result);
}

async fn resend(lane: &Lane, group: &TaskGroup) {
    let result = tokio::select! {
        () = group.killed.cancelled() => return,
        result = lane.sink.resend(lane.clock.now_unix_nano()) => result,
    };
    if let Err(error) = result {
        tracing::warn!(sink = %lane.name, error = %with_causes(&error), "firing alerts could not be repeated; trying again at the next interval");
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
