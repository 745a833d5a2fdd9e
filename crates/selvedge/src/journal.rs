//! The journal of a live engine: opened, read again, then written to, with the mark of what people were told.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use selvedge_act::{DeliveryLedger, DeliveryStatus, Dispatcher};
use selvedge_checkpoint::{CheckpointStats, Folder};
use selvedge_engine::{CheckpointPlan, Encoding, Engine, EngineConfig, Handed, RawBatch, RuleSet};
use selvedge_model::{ObservedTime, SteadyTime};
use selvedge_query::HistoryEnds;
use selvedge_receive::journal::{Committing, DeliveredMark, Journal, JournalError, JournalStats, Position};
use selvedge_receive::{Clock, Submission};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::checkpoint;
use crate::effects::{Told, alerted, recovered};
use crate::journal_section::JournalSettings;
use crate::kafka::KafkaReader;

/// The folder of checkpoints, in that of the journal.
const CHECKPOINTS: &str = "checkpoints";
/// How often the mark is moved. After a crash alerts of this time may be sent again, under the same key.
const MARK_INTERVAL: Duration = Duration::from_secs(5);
/// Stored batches that wait for the engine; bytes are bounded by the receivers' admission.
const STORED_MAX: usize = 1_024;
const BAR_TEMPLATE: &str = "reading the journal [{bar:30}] {bytes}/{total_bytes}";

/// An open journal that nothing is written to yet.
pub(crate) struct OpenJournal {
    journal: Journal,
    handed: Handed,
    clock: Arc<dyn Clock>,
    plan: CheckpointPlan,
    checkpoints: Arc<CheckpointStats>,
    /// What is before it is in the checkpoint that was gone on from.
    from: Position,
}

impl OpenJournal {
    /// Takes the folder. `None` when nobody named one and there is none to be had: then nothing outlives the process,
    /// which is said aloud.
    pub(crate) fn open(
        settings: Option<JournalSettings>,
        retry_after: Duration,
        engine: &mut Engine,
        config: &EngineConfig,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(JournalSettings { mut journal, replay, interval, by_convention }) = settings else {
            tracing::warn!("there is no journal: what is received does not outlive the process");
            return Ok(None);
        };
        journal.retry_after = retry_after;
        let folder = journal.folder.clone();
        let journal = match Journal::open(journal) {
            Err(error @ JournalError::Open { .. }) if by_convention => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "there is no journal: what is received does not outlive the process (set `journal.path`, or \
                     `journal: off`)"
                );
                return Ok(None);
            }
            opened => opened?,
        };
        tracing::info!(folder = %folder.display(), "the journal is open");
        let handed = engine.keep_journal(journal.retention(), replay, config);
        let plan = CheckpointPlan {
            folder: checkpoints_of(&folder),
            interval,
            replay,
            first: journal.first().0,
            taught: Vec::new(),
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (checkpoints, from) = (Arc::default(), Position(0));
        Ok(Some(Self { journal, handed, clock, plan, checkpoints, from }))
    }

    /// Goes on from the checkpoint that a restart begins with, where there is one that can be read. People were alerted to
    /// its incidents, or are now.
    pub(crate) fn resume(
        &mut self,
        engine: &mut Engine,
        config: &EngineConfig,
        rules: &RuleSet,
        dispatcher: &Dispatcher,
    ) -> anyhow::Result<()> {
        let Some((head, pipeline)) = checkpoint::choose(&self.plan, config, rules)? else {
            return Ok(());
        };
        let position = Position(head.position);
        let whether = if position <= self.journal.delivered().read() { Told::Before } else { Told::NotYet };
        pipeline.alerted().for_each(|incident| alerted(dispatcher, incident.clone(), whether));
        engine.resume(pipeline, position);
        self.journal.go_on_from(position);
        self.from = position;
        self.plan.taught = head.taught;
        Ok(())
    }

    /// True when what was gone on from has what a capture teaches; else it has it from now on.
    fn knows(&mut self, capture: &Path) -> anyhow::Result<bool> {
        let digest = checkpoint::digest(capture)?;
        let known = self.plan.taught.contains(&digest);
        if !known {
            self.plan.taught.push(digest);
        }
        Ok(known)
    }

    pub(crate) fn stats(&self) -> Arc<JournalStats> {
        self.journal.stats()
    }

    pub(crate) fn checkpoints(&self) -> Arc<CheckpointStats> {
        Arc::clone(&self.checkpoints)
    }

    /// Reads everything that is stored through the engine. People are told of what they were not told before.
    pub(crate) fn recover(
        &self,
        engine: &mut Engine,
        written: HistoryEnds,
        dispatcher: &Dispatcher,
        mut kafka: Option<&mut KafkaReader>,
    ) -> anyhow::Result<()> {
        let (mut recovery, told) = (self.journal.recovery(self.from), self.journal.delivered().read());
        let bar = bar(recovery.bytes_total());
        let (mut effects, mut newest, mut frames, mut malformed) =
            (Vec::new(), ObservedTime(0), 0_u64, 0_u64);
        engine.begin_recovery(written);
        while let Some(frame) = recovery.next() {
            let frame = frame?;
            newest = newest.max(frame.observed);
            if let Some(kafka) = &mut kafka {
                kafka.remembered.note(&frame.body);
            }
            let batch = RawBatch {
                signal: frame.signal,
                encoding: match frame.encoding {
                    selvedge_receive::Encoding::Protobuf => Encoding::Protobuf,
                    selvedge_receive::Encoding::Json => Encoding::Json,
                },
                body: &frame.body,
                observed: newest,
                steady: SteadyTime::recorded(newest),
            };
            // The sender was told so when it sent it.
            malformed += u64::from(engine.recover(batch, frame.position, &mut effects).is_err());
            frames += 1;
            let whether = if frame.position < told { Told::Before } else { Told::NotYet };
            effects.drain(..).for_each(|effect| recovered(dispatcher, effect, whether));
            bar.set_position(recovery.bytes_read());
        }
        let away = Duration::from_nanos(self.clock.now().0.saturating_sub(newest.0));
        engine.end_recovery(self.clock.steady(), away);
        bar.finish_and_clear();
        if frames > 0 {
            let lost = self.stats().frames_lost.get();
            tracing::info!(frames, malformed, lost, bytes = recovery.bytes_total(), "read the journal again");
        }
        Ok(())
    }

    /// Begins to store what comes through `inbox`. What is stored comes out behind it. Should the journal end by itself,
    /// so does the intake.
    fn begin(
        self,
        engine: &mut Engine,
        inbox: mpsc::Receiver<Submission>,
        dispatcher: &Dispatcher,
        intake: &CancellationToken,
        control: &Runtime,
    ) -> anyhow::Result<(mpsc::Receiver<Submission>, RunningJournal)> {
        let Self { journal, handed, clock, plan, checkpoints, .. } = self;
        let writer = engine.keep_checkpoints(plan, clock.steady(), checkpoints);
        let writing = control.spawn_blocking(move || writer.run());
        let marker = Marker { mark: journal.delivered(), handed, deliveries: dispatcher.ledger() };
        let (outlet, stored) = mpsc::channel(STORED_MAX);
        let committing = journal.start(inbox, outlet, clock, intake.clone().drop_guard())?;
        let (stop, following) = (CancellationToken::new(), marker.clone());
        let stopped = stop.clone();
        let marking = control.spawn(async move { following.follow(&stopped).await });
        Ok((stored, RunningJournal { committing, marker, marking, writing, stop }))
    }
}

/// Has an open journal store what comes from now on; without one all comes as it is.
pub(crate) fn begin(
    journal: Option<OpenJournal>,
    engine: &mut Engine,
    inbox: mpsc::Receiver<Submission>,
    dispatcher: &Dispatcher,
    intake: &CancellationToken,
    control: &Runtime,
) -> anyhow::Result<(mpsc::Receiver<Submission>, Option<RunningJournal>)> {
    let Some(journal) = journal else {
        return Ok((inbox, None));
    };
    let (stored, running) = journal.begin(engine, inbox, dispatcher, intake, control)?;
    Ok((stored, Some(running)))
}

/// The checkpoints beside a journal.
pub(crate) fn checkpoints_of(journal: &Path) -> Folder {
    Folder::new(journal.join(CHECKPOINTS))
}

/// Has the engine take captures as approved, but those that a checkpoint has already.
pub(crate) fn teach(
    engine: &mut Engine,
    mut journal: Option<&mut OpenJournal>,
    captures: &[PathBuf],
) -> anyhow::Result<()> {
    for capture in captures {
        if journal.as_mut().map_or(Ok(false), |journal| journal.knows(capture))? {
            tracing::info!(capture = %capture.display(), "its baseline is in the checkpoint");
            continue;
        }
        selvedge_replay::teach(engine.pipeline_mut(), capture)?;
        tracing::info!(capture = %capture.display(), "baseline learned and approved");
    }
    Ok(())
}

/// Drawn on standard error, and only when that is a terminal.
fn bar(bytes: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(bytes), target);
    bar.set_style(
        ProgressStyle::with_template(BAR_TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}

/// Moves the mark of what people were told.
#[derive(Clone)]
struct Marker {
    mark: DeliveredMark,
    handed: Handed,
    deliveries: Arc<DeliveryLedger>,
}

impl Marker {
    async fn follow(self, stop: &CancellationToken) {
        let mut written = Position(0);
        while tokio::time::timeout(MARK_INTERVAL, stop.cancelled()).await.is_err() {
            // In this order: alerts of everything before it were handed over when it was read.
            let before = self.handed.before();
            if written < before && self.deliveries.settled() && self.write(before).await {
                written = before;
            }
        }
    }

    async fn write(&self, before: Position) -> bool {
        let mark = self.mark.clone();
        match tokio::task::spawn_blocking(move || mark.write(before)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the mark of what people were told was not moved; a restart may tell it again");
                false
            }
            Err(error) => {
                tracing::error!(%error, "the mark of what people were told was not moved");
                false
            }
        }
    }

    /// Alerts that were given up so far: their sinks did not hear of them.
    fn given_up(&self) -> u64 {
        let given_up = DeliveryStatus::GivenUp.name();
        self.deliveries
            .counts()
            .iter()
            .filter(|((_, status), _)| *status == given_up)
            .map(|(_, count)| count)
            .sum()
    }
}

/// The journal at work.
pub(crate) struct RunningJournal {
    committing: Committing,
    marker: Marker,
    marking: JoinHandle<()>,
    writing: JoinHandle<()>,
    stop: CancellationToken,
}

impl RunningJournal {
    /// Alerts that were given up so far: to be asked before the last ones are drained, for [`Self::close`].
    pub(crate) fn given_up(&self) -> u64 {
        self.marker.given_up()
    }

    /// The receivers and the engine have ended, and what alerts there were is delivered, or was given up.
    pub(crate) async fn close(self, given_up_before: u64, control: &Runtime) -> anyhow::Result<()> {
        self.stop.cancel();
        self.marking.await.context("the journal's mark ended badly")?;
        self.writing.await.context("the writer of checkpoints ended badly")?;
        let committing = self.committing;
        let joined = control.spawn_blocking(move || committing.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("the journal panicked"))?;
        // What the drain had to give up is told after the next start.
        if self.marker.deliveries.settled() && self.marker.given_up() == given_up_before {
            let marker = self.marker;
            control.spawn(async move { marker.write(marker.handed.before()).await }).await?;
        }
        Ok(())
    }
}
