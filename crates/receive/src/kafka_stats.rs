//! What reading Kafka's topics counts. Here, so that whoever reports it need not link a client of Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::stats::Counter;

/// A partition as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionStats {
    /// Messages in the topic that are not taken over yet; absent until the broker has told where the partition ends.
    pub lag: Option<u64>,
    /// Nothing is fetched until there is room.
    pub paused: bool,
}

/// Counts of the reader of topics, shared with whoever reports them.
#[derive(Debug, Default)]
pub struct KafkaStats {
    /// Messages fetched, again after a redelivery.
    pub messages: Counter,
    /// Bytes of their values.
    pub bytes: Counter,
    /// Messages taken over.
    pub accepted: Counter,
    /// Messages that the journal had already when the process started, and that were passed over.
    pub known: Counter,
    /// Messages without a value, which say nothing.
    pub empty: Counter,
    /// Messages that could not be understood and are in the dead-letter topic.
    pub dead_lettered: Counter,
    /// Messages that could not be understood and could not be put there either: only their place is in the log.
    pub dead_letters_lost: Counter,
    /// Times a message had to wait for room and was offered again.
    pub refusals: Counter,
    /// Assignments and revocations.
    pub rebalances: Counter,
    /// Commits of offsets.
    pub commits: Counter,
    /// Commits that failed.
    pub commit_failures: Counter,
    /// Errors that the client reported.
    pub errors: Counter,
    /// Partitions that are ours now, by topic and number.
    partitions: ArcSwap<BTreeMap<(Arc<str>, i32), PartitionStats>>,
}

impl KafkaStats {
    /// The partitions that are ours, as of a second ago.
    #[must_use]
    pub fn partitions(&self) -> Arc<BTreeMap<(Arc<str>, i32), PartitionStats>> {
        self.partitions.load_full()
    }

    /// Replaces what is known of the partitions.
    pub fn set_partitions(&self, partitions: BTreeMap<(Arc<str>, i32), PartitionStats>) {
        self.partitions.store(Arc::new(partitions));
    }
}
