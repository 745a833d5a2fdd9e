//! What the consumer's client calls back: assignments, statistics, commits, errors. They are put down here, and the loop in
//! `reader.rs` draws the conclusions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Statistics, TopicPartitionList};
use selvedge_receive::KafkaStats;

use crate::client::Log;

/// What the group wants of us. Nothing of it is done until the loop does it.
pub(crate) enum Turn {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
}

pub(crate) struct Context {
    pub(crate) stats: Arc<KafkaStats>,
    log: Log,
    turns: Mutex<Vec<Turn>>,
    statistics: Mutex<Option<Statistics>>,
    /// What brokers have confirmed: topic, partition, the offset of the next message.
    committed: Mutex<Vec<(String, i32, i64)>>,
    closing: AtomicBool,
}

impl Context {
    pub(crate) fn new(stats: Arc<KafkaStats>, log: Log) -> Self {
        Self {
            stats,
            log,
            turns: Mutex::default(),
            statistics: Mutex::default(),
            committed: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    pub(crate) fn turns(&self) -> Vec<Turn> {
        std::mem::take(&mut *lock(&self.turns))
    }

    /// The latest statistics, once.
    pub(crate) fn statistics(&self) -> Option<Statistics> {
        lock(&self.statistics).take()
    }

    /// What brokers have confirmed since the last time.
    pub(crate) fn committed(&self) -> Vec<(String, i32, i64)> {
        std::mem::take(&mut *lock(&self.committed))
    }

    /// From now on revocations are carried out at once: nobody is there to finish anything.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn report(&self, what: &str, result: KafkaResult<()>) {
        if let Err(error) = result {
            self.stats.errors.add(1);
            tracing::warn!(error = %self.log.clean(&error.to_string()), "{what}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held leaves a value that is whole: each is replaced in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.log.line(level, facility, text);
    }

    fn stats(&self, statistics: Statistics) {
        *lock(&self.statistics) = Some(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.stats.errors.add(1);
        // That connections break is in librdkafka's log, which does not repeat itself; this comes with every attempt.
        let away = [RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::AllBrokersDown];
        if away.into_iter().any(|code| error == KafkaError::Global(code)) {
            return;
        }
        tracing::warn!(%error, reason = %self.log.clean(reason), "Kafka");
    }
}

impl ConsumerContext for Context {
    /// Cooperative by configuration: what is assigned comes to what we have, what is revoked goes from it. A revocation
    /// waits for what is on its way, so that its offsets are committed and the next member does not read it again.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.stats.rebalances.add(1);
        let assign = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Relaxed) {
            let done =
                if assign { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            return self.report("partitions were not given back", done);
        }
        let list = list.clone();
        lock(&self.turns).push(if assign { Turn::Assign(list) } else { Turn::Revoke(list) });
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        match result {
            Ok(()) => {
                self.stats.commits.add(1);
                let offsets = offsets.elements();
                let confirmed = offsets.iter().filter(|element| element.error().is_ok());
                lock(&self.committed).extend(confirmed.filter_map(|element| {
                    Some((element.topic().to_owned(), element.partition(), element.offset().to_raw()?))
                }));
            }
            // Nothing was stored since the last one.
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => {
                self.stats.commit_failures.add(1);
                tracing::warn!(%error, "offsets were not committed; they will be with the next commit");
            }
        }
    }
}
