//! The shards: each owns the open calls of its partition. One runs inline, more run on threads of their own.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use selvedge_join::{CallStore, JoinConfig, Oldest, Pressure, SavedCalls, TickDelta};
use selvedge_model::hash::partition;
use selvedge_model::{Call, EventTime, FateLedger, Observation};
use serde::{Deserialize, Serialize};

/// Records handed to a shard's thread at once: enough to make the hand-over cheap, little enough to stay in cache.
const HANDOVER_MAX: usize = 256;
/// Hand-overs waiting at a shard; past it the engine waits (policy `wait`), and receivers refuse upstream.
const QUEUE_MAX: usize = 8;

/// Records, in order of arrival over all shards, after which all settle what nobody will add to. Few enough that they are
/// still in the cache, and counted, not timed, so that it is the same records wherever batches are cut.
const SETTLE_EVERY: u32 = 200;
/// Times of settling after which the completed calls of shards on other threads are fetched, when somebody keeps them:
/// they wait there until all meet, which must not be for long, and costs a wait.
const FETCH_EVERY: u32 = 64;

/// The part of the join window that is made free when it is full.
const ROOM_SHARE: usize = 16;

/// All shards. The same records give the same deltas, however many there are.
pub(crate) struct Shards {
    kind: Kind,
    config: JoinConfig,
    watermark: EventTime,
    unsettled: u32,
    /// Calls completed and not yet taken; empty unless the configuration has them handed out.
    completed: Vec<Call>,
    settled_unfetched: u32,
    /// What the shards may hold at most: as weighed the last time, and what has come in since.
    bytes: usize,
}

enum Kind {
    Inline(Box<CallStore>),
    Threads(Vec<Worker>),
}

/// All shards as plain data, for a checkpoint.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedShards {
    calls: SavedCalls,
    watermark: EventTime,
    unsettled: u32,
}

/// A record with the key of its request.
type Record = (Option<u128>, Observation);

struct Worker {
    work: Option<SyncSender<Work>>,
    replies: Receiver<Reply>,
    pending: Vec<Record>,
    ledger: FateLedger,
    thread: Option<JoinHandle<()>>,
}

enum Work {
    Admit(Vec<Record>),
    Settle,
    Weigh,
    Fetch,
    MakeRoom(Oldest, u8),
    Advance(EventTime),
    Flush,
    Save,
    Load(Box<SavedCalls>),
}

struct Reply {
    delta: TickDelta,
    completed: Vec<Call>,
    ledger: FateLedger,
    pressure: Pressure,
    saved: Option<SavedCalls>,
}

impl Shards {
    pub(crate) fn start(config: &JoinConfig, shards: usize) -> Self {
        let kind = if shards <= 1 {
            Kind::Inline(Box::new(CallStore::new(config)))
        } else {
            Kind::Threads((0..shards).map(|number| Worker::start(config, number)).collect())
        };
        Self {
            kind,
            config: *config,
            watermark: EventTime::ABSENT,
            unsettled: 0,
            completed: Vec::new(),
            settled_unfetched: 0,
            bytes: 0,
        }
    }

    /// Hands a record to its shard. Lateness is judged by the watermark of the last tick, which is the same
    /// everywhere.
    pub(crate) fn admit(&mut self, key: Option<u128>, observation: &Observation) {
        match &mut self.kind {
            Kind::Inline(store) => {
                store.admit(key, observation, self.watermark);
            }
            Kind::Threads(workers) => {
                // A record that names no request stands alone, so any shard will do, if it is always the same one.
                let shard = partition(key.unwrap_or(u128::from(observation.start.0)), workers.len());
                workers[shard].admit((key, *observation));
            }
        }
        self.bytes += CallStore::RECORD_BYTES_MAX;
        self.unsettled += 1;
        if self.unsettled >= SETTLE_EVERY {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.unsettled = 0;
        match &mut self.kind {
            Kind::Inline(store) => {
                store.settle_touched();
                store.take_completed(&mut self.completed);
            }
            Kind::Threads(workers) => workers.iter_mut().for_each(|worker| worker.send(Work::Settle)),
        }
        self.fetch_completed();
        // Shards meet for this only when it can be needed.
        if self.bytes > self.config.open_bytes_max {
            let (_, pressure) = self.meet(|_| TickDelta::default(), || Work::Weigh);
            self.make_room(pressure);
        }
    }

    fn fetch_completed(&mut self) {
        self.settled_unfetched += 1;
        if self.config.hand_out_calls
            && self.settled_unfetched >= FETCH_EVERY
            && matches!(self.kind, Kind::Threads(_))
        {
            self.meet(|_| TickDelta::default(), || Work::Fetch);
        }
    }

    /// The calls that completed since the last time; whoever takes them empties it.
    pub(crate) fn completed(&mut self) -> &mut Vec<Call> {
        &mut self.completed
    }

    /// Has the oldest evicted in all shards until they are inside the budget of all. It is asked for at the same records
    /// and evicts the same requests, however many shards there are.
    ///
    /// Once it has to be, some more is evicted than must be, so that the shards need not meet for this all the time.
    fn make_room(&mut self, mut pressure: Pressure) {
        let bytes_max = self.config.open_bytes_max;
        let wanted = if pressure.bytes > bytes_max { bytes_max - bytes_max / ROOM_SHARE } else { bytes_max };
        while pressure.bytes > wanted
            && let Some(oldest) = pressure.oldest
        {
            for slice in 0..CallStore::SLICES {
                let inline = |store: &mut CallStore| {
                    store.make_room(oldest, slice);
                    TickDelta::default()
                };
                (_, pressure) = self.meet(inline, || Work::MakeRoom(oldest, slice));
                if pressure.bytes <= wanted {
                    break;
                }
            }
        }
        self.bytes = pressure.bytes;
    }

    /// Completes what is due in all shards.
    pub(crate) fn advance(&mut self, watermark: EventTime) -> Vec<TickDelta> {
        self.watermark = watermark;
        let (deltas, pressure) = self.meet(|store| store.advance(watermark), || Work::Advance(watermark));
        self.make_room(pressure);
        TickDelta::bounded(deltas, &self.config)
    }

    /// Completes everything in all shards.
    pub(crate) fn flush(&mut self) -> Vec<TickDelta> {
        let (deltas, pressure) = self.meet(CallStore::flush, || Work::Flush);
        self.bytes = pressure.bytes;
        self.watermark = EventTime::ABSENT;
        TickDelta::bounded(deltas, &self.config)
    }

    /// What is open in all shards; and what they counted since the last tick, which is not open any more.
    pub(crate) fn save(&mut self) -> (SavedShards, Vec<TickDelta>) {
        let (parts, deltas) = match &mut self.kind {
            Kind::Inline(store) => {
                let delta = store.take_counted();
                store.take_completed(&mut self.completed);
                (vec![store.save()], vec![delta])
            }
            Kind::Threads(workers) => {
                workers.iter_mut().for_each(|worker| worker.send(Work::Save));
                let replies: Vec<Reply> = workers.iter_mut().map(Worker::receive).collect();
                let (mut parts, mut deltas) = (Vec::new(), Vec::new());
                for mut reply in replies {
                    self.completed.append(&mut reply.completed);
                    parts.extend(reply.saved);
                    deltas.push(reply.delta);
                }
                (parts, deltas)
            }
        };
        let Self { watermark, unsettled, .. } = *self;
        let saved = SavedShards { calls: SavedCalls::merge(parts), watermark, unsettled };
        (saved, TickDelta::bounded(deltas, &self.config))
    }

    /// Takes over what other shards had open. To be called before anything is admitted.
    pub(crate) fn load(&mut self, saved: SavedShards) {
        let SavedShards { calls, watermark, unsettled } = saved;
        self.bytes = match &mut self.kind {
            Kind::Inline(store) => {
                store.load(&calls);
                store.bytes()
            }
            Kind::Threads(workers) => {
                let parts = calls.split(workers.len());
                let load = |(worker, part): (&mut Worker, SavedCalls)| {
                    worker.send(Work::Load(Box::new(part)));
                    worker.receive().pressure.bytes
                };
                workers.iter_mut().zip(parts).map(load).sum()
            }
        };
        (self.watermark, self.unsettled) = (watermark, unsettled);
    }

    /// Bytes that count against the budget: exact after a meeting of the shards, at most so many until the next.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Fates of all records admitted so far.
    pub(crate) fn ledger(&self) -> FateLedger {
        match &self.kind {
            Kind::Inline(store) => *store.ledger(),
            Kind::Threads(workers) => workers.iter().fold(FateLedger::default(), |mut sum, worker| {
                sum.merge(&worker.ledger);
                sum
            }),
        }
    }

    fn meet(
        &mut self,
        inline: impl FnOnce(&mut CallStore) -> TickDelta,
        work: impl Fn() -> Work,
    ) -> (Vec<TickDelta>, Pressure) {
        match &mut self.kind {
            Kind::Inline(store) => {
                let delta = inline(store);
                store.take_completed(&mut self.completed);
                (vec![delta], store.pressure())
            }
            Kind::Threads(workers) => {
                workers.iter_mut().for_each(|worker| worker.send(work()));
                let mut replies: Vec<Reply> = workers.iter_mut().map(Worker::receive).collect();
                replies.iter_mut().for_each(|reply| self.completed.append(&mut reply.completed));
                self.settled_unfetched = 0;
                let pressure = replies.iter().fold(Pressure::default(), |sum, reply| sum.and(reply.pressure));
                (replies.into_iter().map(|reply| reply.delta).collect(), pressure)
            }
        }
    }
}

impl Worker {
    fn start(config: &JoinConfig, number: usize) -> Self {
        let (work, inbox) = sync_channel(QUEUE_MAX);
        let (outbox, replies) = sync_channel(1);
        let mut store = CallStore::new(config);
        let thread = std::thread::Builder::new()
            .name(format!("shard-{number}"))
            .spawn(move || serve(&mut store, &inbox, &outbox))
            .expect("a thread can be started while the engine starts");
        Self {
            work: Some(work),
            replies,
            pending: Vec::with_capacity(HANDOVER_MAX),
            ledger: FateLedger::default(),
            thread: Some(thread),
        }
    }

    fn admit(&mut self, record: Record) {
        self.pending.push(record);
        if self.pending.len() >= HANDOVER_MAX {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let batch = std::mem::replace(&mut self.pending, Vec::with_capacity(HANDOVER_MAX));
        self.put(Work::Admit(batch));
    }

    fn send(&mut self, work: Work) {
        if !self.pending.is_empty() {
            self.hand_over();
        }
        self.put(work);
    }

    fn put(&self, work: Work) {
        let inbox = self.work.as_ref().expect("the inbox is closed only when the shards are dropped");
        inbox.send(work).expect("a shard's thread lives as long as its inbox is open");
    }

    fn receive(&mut self) -> Reply {
        let reply = self.replies.recv().expect("a shard answers whenever all meet");
        self.ledger = reply.ledger;
        reply
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A shard that panicked has already failed the tick that waited for it.
            drop(thread.join());
        }
    }
}

/// A shard's life: ends when its inbox closes.
fn serve(store: &mut CallStore, inbox: &Receiver<Work>, outbox: &SyncSender<Reply>) {
    let mut watermark = EventTime::ABSENT;
    for work in inbox {
        let mut saved = None;
        let delta = match work {
            Work::Admit(batch) => {
                for (key, observation) in &batch {
                    store.admit(*key, observation, watermark);
                }
                continue;
            }
            Work::Settle => {
                store.settle_touched();
                continue;
            }
            Work::Weigh | Work::Fetch => TickDelta::default(),
            Work::MakeRoom(oldest, slice) => {
                store.make_room(oldest, slice);
                TickDelta::default()
            }
            Work::Advance(to) => {
                watermark = to;
                store.advance(to)
            }
            Work::Save => {
                let delta = store.take_counted();
                saved = Some(store.save());
                delta
            }
            Work::Load(calls) => {
                watermark = calls.watermark();
                store.load(&calls);
                TickDelta::default()
            }
            Work::Flush => {
                watermark = EventTime::ABSENT;
                store.flush()
            }
        };
        let mut completed = Vec::new();
        store.take_completed(&mut completed);
        let reply = Reply { delta, completed, ledger: *store.ledger(), pressure: store.pressure(), saved };
        if outbox.send(reply).is_err() {
            return;
        }
    }
}
