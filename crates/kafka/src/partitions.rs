//! The partitions that are ours: which message goes to the engine next, which partitions have to wait, and how far each is.
//!
//! Pure: times come in. While there is a backlog, the oldest message of all partitions goes first, and a partition whose
//! next message is on its way is waited for: one that is read ahead would move event time on, and what the others have of
//! the same time would be late.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use selvedge_model::{ObservedTime, SteadyTime};

use crate::offsets::Offsets;

/// How long one partition may hold up the others: its broker may be away.
const PATIENCE: Duration = Duration::from_secs(2);
/// Messages of one partition that may wait here.
const WAITING_MAX: usize = 1_000;
/// Bytes of all partitions that may wait here; each may have its share.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Least share of a partition: a message, and the next.
const SHARE_MIN: usize = 64 << 10;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Source {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// A message that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message<E> {
    pub(crate) source: Source,
    pub(crate) offset: i64,
    /// The assignment that it came by.
    pub(crate) epoch: u64,
    pub(crate) body: Bytes,
    /// When Kafka got it, by its own word.
    pub(crate) sent: ObservedTime,
    /// When it came in, for the engine.
    pub(crate) observed: ObservedTime,
    /// What else a dead letter must have.
    pub(crate) envelope: E,
}

/// Where a partition ends, as of the client's last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The offset behind its last message; absent when its broker is away, or has not told yet.
    pub(crate) end: Option<i64>,
    /// Everything before it was handed to us; absent when that is not certain.
    pub(crate) fetched: Option<i64>,
}

#[derive(Debug)]
struct Partition<E> {
    epoch: u64,
    offsets: Offsets,
    waiting: BTreeMap<i64, Message<E>>,
    waiting_bytes: usize,
    /// Messages that were handed over and are not finished.
    under_way: usize,
    end: Option<i64>,
    /// The offset behind the last message that came.
    next: Option<i64>,
    paused: bool,
    leaving: bool,
    /// Since when the others wait for it.
    awaited_since: Option<SteadyTime>,
}

impl<E> Partition<E> {
    fn new(epoch: u64) -> Self {
        Self {
            epoch,
            offsets: Offsets::default(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            under_way: 0,
            end: None,
            next: None,
            paused: false,
            leaving: false,
            awaited_since: None,
        }
    }

    /// True while it has messages that did not come yet, or may have.
    fn behind(&self) -> bool {
        match (self.end, self.next) {
            (Some(end), Some(next)) => next < end,
            _ => true,
        }
    }

    /// True when its next message is on its way, and the others should wait for it.
    fn awaited(&mut self, now: SteadyTime) -> bool {
        if self.leaving || !self.waiting.is_empty() || !self.behind() {
            return false;
        }
        let since = *self.awaited_since.get_or_insert(now);
        now.since(since) < PATIENCE
    }

    fn wait(&mut self, message: Message<E>) {
        self.waiting_bytes += message.body.len();
        self.waiting.insert(message.offset, message);
    }

    /// Full of `share` bytes; once paused, until half of it is gone.
    fn full(&self, share: usize) -> bool {
        let (bytes, count) = if self.paused { (share / 2, WAITING_MAX / 2) } else { (share, WAITING_MAX) };
        bytes < self.waiting_bytes || count < self.waiting.len()
    }
}

/// What is to be fetched no more, and what again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turns {
    pub(crate) pause: Vec<Source>,
    pub(crate) resume: Vec<Source>,
}

/// What a partition looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) lag: Option<u64>,
    pub(crate) paused: bool,
}

/// The partitions that are ours. `E` is what a message carries along for its dead letter.
#[derive(Debug)]
pub(crate) struct Partitions<E> {
    partitions: BTreeMap<Source, Partition<E>>,
    epochs: u64,
}

impl<E> Default for Partitions<E> {
    fn default() -> Self {
        Self { partitions: BTreeMap::new(), epochs: 0 }
    }
}

impl<E> Partitions<E> {
    /// It is ours from now on.
    pub(crate) fn assign(&mut self, source: Source) {
        self.epochs += 1;
        self.partitions.insert(source, Partition::new(self.epochs));
    }

    /// It will be somebody else's: what waits is theirs, what is on its way is finished.
    pub(crate) fn leave(&mut self, source: &Source) {
        let Some(partition) = self.partitions.get_mut(source) else { return };
        partition.leaving = true;
        // Their offsets stay open: nothing behind them may be committed.
        partition.waiting.clear();
        partition.waiting_bytes = 0;
    }

    /// True when nothing of it is on its way.
    pub(crate) fn settled(&self, source: &Source) -> bool {
        self.partitions.get(source).is_none_or(|partition| partition.under_way == 0)
    }

    /// It is not ours any more.
    pub(crate) fn remove(&mut self, source: &Source) {
        self.partitions.remove(source);
    }

    /// The assignment by which messages of it come now; `None` when it is not ours.
    pub(crate) fn epoch(&self, source: &Source) -> Option<u64> {
        self.partitions.get(source).filter(|partition| !partition.leaving).map(|partition| partition.epoch)
    }

    /// True when messages of it did not come yet that are there.
    pub(crate) fn is_behind(&self, source: &Source) -> bool {
        self.partitions.get(source).is_none_or(Partition::behind)
    }

    /// A message came. False when it is not for us, or here already.
    pub(crate) fn receive(&mut self, message: Message<E>) -> bool {
        let Some(partition) = self.partitions.get_mut(&message.source) else { return false };
        if partition.leaving || partition.epoch != message.epoch || !partition.offsets.begin(message.offset) {
            return false;
        }
        partition.next = Some(message.offset + 1);
        partition.awaited_since = None;
        partition.wait(message);
        true
    }

    /// The message to hand over now. `None`: there is none, or an older one is on its way.
    pub(crate) fn next(&mut self, now: SteadyTime) -> Option<Message<E>> {
        let mut oldest: Option<(ObservedTime, &Source)> = None;
        let mut awaited = false;
        for (source, partition) in &mut self.partitions {
            awaited |= partition.awaited(now);
            let head = partition.waiting.first_key_value().map(|(_, message)| (message.sent, source));
            oldest = match (oldest, head) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        let source = oldest.filter(|_| !awaited)?.1.clone();
        let partition = self.partitions.get_mut(&source)?;
        let message = partition.waiting.pop_first()?.1;
        partition.waiting_bytes -= message.body.len();
        partition.under_way += 1;
        Some(message)
    }

    /// There was no room for it: it is the next again.
    pub(crate) fn put_back(&mut self, message: Message<E>) {
        if let Some(partition) = self.partitions.get_mut(&message.source)
            && partition.epoch == message.epoch
        {
            partition.under_way -= 1;
            if !partition.leaving {
                partition.wait(message);
            }
        }
    }

    /// A message is finished. Answers the last offset of its partition that may be committed, when it moved.
    pub(crate) fn finish(&mut self, source: &Source, epoch: u64, offset: i64) -> Option<i64> {
        let partition = self.partitions.get_mut(source).filter(|partition| partition.epoch == epoch)?;
        partition.under_way = partition.under_way.saturating_sub(1);
        partition.offsets.finish(offset)
    }

    /// Takes note of where a partition ends.
    pub(crate) fn measure(&mut self, source: &Source, reach: Reach) {
        if let Some(partition) = self.partitions.get_mut(source) {
            partition.end = reach.end;
            partition.next = partition.next.max(reach.fetched);
        }
    }

    /// What has to wait, and what need not any more. With `stalled` the engine takes nothing: all that have something
    /// waiting wait.
    pub(crate) fn turns(&mut self, stalled: bool) -> Turns {
        let share = (WAITING_BYTES_MAX / self.partitions.len().max(1)).max(SHARE_MIN);
        let mut turns = Turns { pause: Vec::new(), resume: Vec::new() };
        for (source, partition) in &mut self.partitions {
            let pause =
                !partition.leaving && (partition.full(share) || stalled && !partition.waiting.is_empty());
            if pause != partition.paused {
                partition.paused = pause;
                let turned = if pause { &mut turns.pause } else { &mut turns.resume };
                turned.push(source.clone());
            }
        }
        turns
    }

    /// True while there is telemetry that we could have read and have not.
    pub(crate) fn behind(&self) -> bool {
        self.partitions.values().any(|partition| partition.behind() || !partition.waiting.is_empty())
    }

    /// What each looks like from outside; messages that came and are not finished are not taken over yet.
    pub(crate) fn standings(&self) -> impl Iterator<Item = (&Source, Standing)> {
        self.partitions.iter().map(|(source, partition)| {
            let lag = partition
                .end
                .zip(partition.next)
                .map(|(end, next)| u64::try_from(end - next).unwrap_or(0) + partition.offsets.open() as u64);
            (source, Standing { lag, paused: partition.paused })
        })
    }
}

#[cfg(test)]
#[path = "partitions_tests.rs"]
mod tests;
