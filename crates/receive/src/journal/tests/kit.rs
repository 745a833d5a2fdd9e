//! A disk whose operations fail or wait on demand, a clock that is set by hand, and a journal around both.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use selvedge_model::{ObservedTime, SignalKind, SteadyTime};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::super::disk::{Disk, SegmentFile, SystemDisk};
use super::super::*;
use crate::admission::Permit;
use crate::handover::{Batch, Clock, Encoding, Receipt, Submission, Transport};

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Reserve,
    Append,
    Sync,
    Cut,
    Remove,
    SyncFolder,
}

#[derive(Default)]
struct Plan {
    /// From now on these fail so.
    failing: Vec<(Operation, io::ErrorKind)>,
    /// Syncs wait.
    held: bool,
    /// Syncs that wait now.
    waiting: u64,
    syncs: u64,
}

/// A real disk that can be told to fail.
#[derive(Clone, Default)]
pub(super) struct Faulty(Arc<(Mutex<Plan>, Condvar)>);

impl Faulty {
    pub(super) fn fail(&self, operation: Operation, kind: io::ErrorKind) {
        self.0.0.lock().unwrap().failing.push((operation, kind));
    }

    pub(super) fn heal(&self) {
        self.0.0.lock().unwrap().failing.clear();
    }

    pub(super) fn hold_syncs(&self, held: bool) {
        self.0.0.lock().unwrap().held = held;
        self.0.1.notify_all();
    }

    /// Returns when a sync waits.
    pub(super) fn await_held_sync(&self) {
        let plan = self.0.0.lock().unwrap();
        let _plan = self.0.1.wait_while(plan, |plan| plan.waiting == 0).unwrap();
    }

    pub(super) fn syncs(&self) -> u64 {
        self.0.0.lock().unwrap().syncs
    }

    fn check(&self, operation: Operation) -> io::Result<()> {
        let plan = self.0.0.lock().unwrap();
        match plan.failing.iter().find(|(failing, _)| *failing == operation) {
            Some((_, kind)) => Err((*kind).into()),
            None => Ok(()),
        }
    }
}

impl Disk for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        self.check(Operation::Create)?;
        Ok(Box::new(FaultyFile { file: SystemDisk.create(path)?, disk: self.clone() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove)?;
        SystemDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.check(Operation::SyncFolder)?;
        SystemDisk.sync_folder(folder)
    }
}

struct FaultyFile {
    file: Box<dyn SegmentFile>,
    disk: Faulty,
}

impl SegmentFile for FaultyFile {
    /// A disk that fails has written half of it.
    fn append(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Err(error) = self.disk.check(Operation::Append) {
            let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            self.file.append(&[IoSlice::new(&all[..all.len() / 2])])?;
            return Err(error);
        }
        self.file.append(pieces)
    }

    fn sync(&mut self) -> io::Result<()> {
        let (plan, changed) = &*self.disk.0;
        let mut plan = plan.lock().unwrap();
        plan.waiting += 1;
        changed.notify_all();
        plan = changed.wait_while(plan, |plan| plan.held).unwrap();
        plan.waiting -= 1;
        plan.syncs += 1;
        drop(plan);
        self.disk.check(Operation::Sync)?;
        self.file.sync()
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        self.disk.check(Operation::Reserve)?;
        self.file.reserve(bytes)
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.disk.check(Operation::Cut)?;
        self.file.cut(bytes)
    }
}

#[derive(Default)]
pub(super) struct ManualClock(AtomicU64);

impl ManualClock {
    pub(super) fn pass(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> ObservedTime {
        ObservedTime(self.0.load(Ordering::Relaxed))
    }

    fn steady(&self) -> SteadyTime {
        SteadyTime(self.0.load(Ordering::Relaxed))
    }
}

/// Small segments, and plenty of them.
pub(super) fn config(folder: &Path) -> JournalConfig {
    JournalConfig {
        folder: folder.to_owned(),
        bytes_max: 1 << 20,
        segment_bytes: 4 << 10,
        segment_age: Duration::from_secs(60),
        commit_interval: Duration::ZERO,
        retry_after: Duration::from_secs(1),
    }
}

pub(super) fn batch(body: impl Into<Bytes>, observed: u64) -> Batch {
    let (signal, encoding) = (SignalKind::Logs, Encoding::Protobuf);
    Batch::new(signal, encoding, Transport::Grpc, body.into(), ObservedTime(observed), Permit::unmetered())
}

/// A running journal, with the test in the place of the receivers and of the engine.
pub(super) struct Running {
    pub(super) inbox: mpsc::Sender<Submission>,
    pub(super) engine: mpsc::Receiver<Submission>,
    pub(super) stats: Arc<JournalStats>,
    pub(super) retention: Retention,
    pub(super) clock: Arc<ManualClock>,
    pub(super) ended: CancellationToken,
    committing: Committing,
}

impl Running {
    pub(super) fn start(config: JournalConfig, disk: Faulty) -> Self {
        let journal = Journal::open_on(config, Box::new(disk)).unwrap();
        let (stats, retention) = (journal.stats(), journal.retention());
        let (inbox, batches) = mpsc::channel(10_000);
        let (outlet, engine) = mpsc::channel(10_000);
        let (clock, ended) = (Arc::new(ManualClock::default()), CancellationToken::new());
        let dropped = ended.clone().drop_guard();
        let committing = journal.start(batches, outlet, clock.clone(), dropped).unwrap();
        Self { inbox, engine, stats, retention, clock, ended, committing }
    }

    /// Hands a batch over; the receipt comes when the journal refuses it or the engine answers.
    pub(super) fn submit(&self, batch: Batch) -> oneshot::Receiver<Receipt> {
        let (reply, receipt) = oneshot::channel();
        self.inbox.try_send(Submission { batch, position: None, reply }).unwrap();
        receipt
    }

    /// Hands a batch over and takes it in the engine's place; `Err` with the reason when it was refused.
    pub(super) fn store(&mut self, body: impl Into<Bytes>, observed: u64) -> Result<Position, Unstored> {
        let mut receipt = self.submit(batch(body, observed));
        // Whichever comes: the batch or its refusal.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                stored = self.engine.recv() => Ok(stored.unwrap().position.unwrap()),
                receipt = &mut receipt => match receipt.unwrap() {
                    Receipt::Unstored { reason, .. } => Err(reason),
                    other => panic!("{other:?}"),
                },
            }
        })
    }

    /// Ends the journal as a shutdown does, and gives what the engine was still to get.
    pub(super) fn end(mut self) -> Vec<Submission> {
        drop(self.inbox);
        self.committing.join().unwrap();
        assert!(self.ended.is_cancelled());
        std::iter::from_fn(|| self.engine.blocking_recv()).collect()
    }
}

/// Everything that a process after this one reads again.
pub(super) fn stored(folder: &Path) -> (Vec<(u64, Vec<u8>)>, Arc<JournalStats>) {
    let journal = Journal::open(config(folder)).unwrap();
    let frames = journal.recovery(Position(0)).map(|frame| frame.unwrap());
    (frames.map(|frame| (frame.position.0, frame.body)).collect(), journal.stats())
}
