//! The reader of topics: fetches messages, hands them over as the OTLP receivers hand over requests, and lets Kafka know of
//! what is taken over.
//!
//! An offset is stored for the next commit only when the receipt of its message says that it was taken over (with a journal:
//! that it is durable), and those of all before it. So at any time a crash loses nothing: what was not committed comes
//! again, and what of it the journal has is passed over (`remembered.rs`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Message as _};
use rdkafka::{Statistics, Timestamp, TopicPartitionList};
use selvedge_model::{ObservedTime, SteadyTime};
use selvedge_receive::{Behind, Entrance, NoEntry, PartitionStats, Receipt};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{ReceiverConfig, Subject};
use crate::context::Turn;
use crate::dead_letters::{DeadLetters, Envelope};
use crate::member::{Member, Revoked};
use crate::partitions::{Message, Partitions, Reach, Source};
use crate::recent::Recent;
use crate::remembered::Remembered;

/// How often is looked at what has no event of its own.
const TICK: Duration = Duration::from_millis(100);
/// Messages that are handed over and have no receipt.
const UNDER_WAY_MAX: usize = 256;
/// Dead letters on their way; past it nothing is handed over.
const BURIALS_MAX: usize = 64;
/// How long there may be no room before partitions are paused: fetching anew has its price.
const STALL: Duration = Duration::from_millis(250);
/// What was on its way when a partition is revoked, or the process stops, may take this long.
const FINISH: Duration = Duration::from_secs(5);
/// Past it without a message, event time follows the clock all the same; what comes later may be late.
const BEHIND_MAX: Duration = Duration::from_mins(15);
/// How long what the journal has is remembered at least.
const REMEMBER: Duration = Duration::from_mins(10);
/// Messages until others on this thread have their turn.
const BURST: u32 = 64;

/// There is no room: since when, and until when nothing is offered.
struct Stall {
    since: SteadyTime,
    until: SteadyTime,
}

/// What became of a dead letter.
type Buried = Result<(), KafkaError>;

pub(crate) struct Reading {
    member: Member,
    dead_letters: Arc<DeadLetters>,
    config: ReceiverConfig,
    memory: Memory,
    behind: Behind,
    entrance: Entrance,
    partitions: Partitions<Envelope>,
    under_way: FuturesUnordered<BoxFuture<'static, (Message<Envelope>, Receipt)>>,
    bytes_under_way: usize,
    burials: FuturesUnordered<BoxFuture<'static, (Message<Envelope>, Buried)>>,
    stall: Option<Stall>,
    /// The group has told what is ours, if anything.
    joined: bool,
    began: SteadyTime,
    /// When a message came.
    moved: SteadyTime,
    /// Why it is over, when it is.
    end: Option<End>,
}

/// What of messages is known already.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) remembered: Remembered,
    pub(crate) recent: Recent,
}

/// Why reading is over by itself.
pub(crate) enum End {
    /// Nobody takes messages any more.
    EngineEnded,
    /// The client is good for nothing more.
    Broken(String),
}

/// What is left when reading is over.
pub(crate) struct Ended {
    pub(crate) member: Member,
    pub(crate) memory: Memory,
    pub(crate) end: Option<End>,
}

impl Reading {
    pub(crate) fn new(
        member: Member,
        dead_letters: Arc<DeadLetters>,
        config: ReceiverConfig,
        behind: Behind,
        entrance: Entrance,
        memory: Memory,
    ) -> Self {
        let began = entrance.steady();
        Self {
            member,
            dead_letters,
            config,
            memory,
            behind,
            entrance,
            partitions: Partitions::default(),
            under_way: FuturesUnordered::new(),
            bytes_under_way: 0,
            burials: FuturesUnordered::new(),
            stall: None,
            joined: false,
            began,
            moved: began,
            end: None,
        }
    }

    /// Reads until `shutdown`, or until it cannot go on.
    pub(crate) async fn run(mut self, shutdown: &CancellationToken) -> Ended {
        let consumer = Arc::clone(&self.member.consumer);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut burst = 0;
        while self.end.is_none() {
            self.step();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some((message, receipt)) = self.under_way.next(), if !self.under_way.is_empty() => {
                    self.settle(message, receipt);
                }
                Some((message, buried)) = self.burials.next(), if !self.burials.is_empty() => {
                    self.buried(&message, buried);
                }
                received = consumer.recv() => match received {
                    Ok(message) => self.receive(&message),
                    Err(error) => self.failed(&error),
                },
                _ = tick.tick() => {}
            }
            burst = (burst + 1) % BURST;
            if burst == 0 {
                tokio::task::yield_now().await;
            }
        }
        drop(consumer);
        self.close().await
    }

    /// Everything that follows from what has happened.
    fn step(&mut self) {
        let now = self.entrance.steady();
        for turn in self.member.consumer.context().turns() {
            self.turn(turn, now);
        }
        for (topic, partition, next) in self.member.consumer.context().committed() {
            if let Some(source) = self.source(&topic, partition) {
                self.memory.recent.committed(&source, next);
            }
        }
        self.give_back(now);
        self.offer(now);
        let stalled = self.stall.as_ref().is_some_and(|stall| STALL <= now.since(stall.since));
        let turns = self.partitions.turns(stalled);
        let context = self.member.consumer.context();
        if !turns.pause.is_empty() {
            context.report("partitions were not paused", self.member.consumer.pause(&list(&turns.pause)));
        }
        if !turns.resume.is_empty() {
            context.report("partitions were not resumed", self.member.consumer.resume(&list(&turns.resume)));
        }
        let statistics = context.statistics();
        if let Some(statistics) = &statistics {
            self.measure(statistics);
        }
        let behind = !self.joined || self.partitions.behind() || !self.under_way.is_empty();
        self.behind.set(behind && now.since(self.moved) < BEHIND_MAX);
        if !behind && REMEMBER < now.since(self.began) {
            self.memory.remembered = Remembered::default();
        }
        if statistics.is_some() || !turns.pause.is_empty() || !turns.resume.is_empty() {
            self.show();
        }
    }

    fn turn(&mut self, turn: Turn, now: SteadyTime) {
        match turn {
            Turn::Assign(list) => {
                self.joined = true;
                let sources = self.sources(&list);
                tracing::info!(partitions = sources.len(), "Kafka: partitions were assigned");
                sources.into_iter().for_each(|source| self.partitions.assign(source));
                let assigned = self.member.consumer.incremental_assign(&list);
                self.member.consumer.context().report("partitions were not taken", assigned);
            }
            Turn::Revoke(list) => {
                let sources = self.sources(&list);
                tracing::info!(partitions = sources.len(), "Kafka: partitions were revoked");
                sources.iter().for_each(|source| self.partitions.leave(source));
                self.member.revoked.push(Revoked { list, until: now.after(FINISH) });
            }
        }
        self.show();
    }

    /// Gives back what was revoked, as soon as nothing of it is on its way: its offsets are committed with it.
    fn give_back(&mut self, now: SteadyTime) {
        for Revoked { list, until } in std::mem::take(&mut self.member.revoked) {
            let sources = self.sources(&list);
            if now < until && !sources.iter().all(|source| self.partitions.settled(source)) {
                self.member.revoked.push(Revoked { list, until });
                continue;
            }
            let given = self.member.consumer.incremental_unassign(&list);
            self.member.consumer.context().report("partitions were not given back", given);
            sources.iter().for_each(|source| self.partitions.remove(source));
        }
    }

    fn receive(&mut self, message: &BorrowedMessage<'_>) {
        let Some(source) = self.source(message.topic(), message.partition()) else { return };
        let Some(epoch) = self.partitions.epoch(&source) else { return };
        let (now, stats) = (self.entrance.now(), &self.member.consumer.context().stats);
        let timestamp = match message.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => Some(millis),
        };
        let sent = sent(timestamp, now);
        // What waited in Kafka came in when Kafka got it: so a journal that is read again has the pauses that the mesh had,
        // not those of our reading. What did not wait came now, whatever a sender's clock says.
        let observed = if self.partitions.is_behind(&source) { sent } else { now };
        let body = Bytes::copy_from_slice(message.payload().unwrap_or_default());
        stats.messages.add(1);
        stats.bytes.add(body.len() as u64);
        let envelope = Envelope {
            key: message.key().map(<[u8]>::to_vec),
            headers: message.headers().map(BorrowedHeaders::detach),
            timestamp,
        };
        let offset = message.offset();
        self.moved = self.entrance.steady();
        self.partitions.receive(Message { source, offset, epoch, body, sent, observed, envelope });
    }

    /// Hands over what there is room for.
    fn offer(&mut self, now: SteadyTime) {
        if self.stall.as_ref().is_some_and(|stall| now < stall.until) {
            return;
        }
        while self.under_way.len() < UNDER_WAY_MAX
            && self.burials.len() < BURIALS_MAX
            && self.bytes_under_way < self.entrance.bytes_in_flight_max() / 2
            && self.end.is_none()
        {
            let Some(message) = self.partitions.next(now) else { return };
            if !self.hand_over(message, now) {
                return;
            }
        }
    }

    /// False when there is no room.
    fn hand_over(&mut self, message: Message<Envelope>, now: SteadyTime) -> bool {
        let context = self.member.consumer.context();
        if message.body.is_empty() {
            context.stats.empty.add(1);
            self.finish(&message);
            return true;
        }
        if self.config.message_bytes_max < message.body.len() {
            let reason =
                format!("it is larger than {} bytes (max_message_bytes)", self.config.message_bytes_max);
            self.bury(message, reason);
            return true;
        }
        if self.memory.recent.has(&message.source, message.offset, &message.body)
            || self.memory.remembered.has(&message.body)
        {
            context.stats.known.add(1);
            self.finish(&message);
            return true;
        }
        let Some(Subject { signal, encoding }) = self.config.topics.get(&message.source.topic).copied()
        else {
            return true;
        };
        match self.entrance.enter(signal, encoding, message.body.clone(), message.observed) {
            Ok(entering) => {
                self.stall = None;
                self.bytes_under_way += message.body.len();
                let receipt = entering.receipt();
                self.under_way.push(Box::pin(async move { (message, receipt.await) }));
                true
            }
            Err(NoEntry::Full) => {
                context.stats.refusals.add(1);
                self.partitions.put_back(message);
                self.stall(now, TICK);
                false
            }
            Err(NoEntry::TooLarge { bytes_max }) => {
                self.bury(message, format!("it is larger than all that may be in flight, {bytes_max} bytes"));
                true
            }
            Err(NoEntry::Closed) => {
                self.partitions.put_back(message);
                self.end = Some(End::EngineEnded);
                false
            }
        }
    }

    fn stall(&mut self, now: SteadyTime, wait: Duration) {
        let since = self.stall.as_ref().map_or(now, |stall| stall.since);
        self.stall = Some(Stall { since, until: now.after(wait) });
    }

    fn settle(&mut self, message: Message<Envelope>, receipt: Receipt) {
        self.bytes_under_way -= message.body.len();
        match receipt {
            Receipt::Accepted { .. } => {
                self.member.consumer.context().stats.accepted.add(1);
                self.memory.recent.note(&message.source, message.offset, &message.body);
                self.finish(&message);
            }
            Receipt::Malformed { message: reason } => self.bury(message, reason),
            Receipt::Overloaded { retry_after } | Receipt::Unstored { retry_after, .. } => {
                self.member.consumer.context().stats.refusals.add(1);
                self.partitions.put_back(message);
                self.stall(self.entrance.steady(), retry_after);
            }
            Receipt::Closing => self.partitions.put_back(message),
        }
    }

    fn bury(&mut self, message: Message<Envelope>, reason: String) {
        let Source { topic, partition } = &message.source;
        tracing::warn!(%topic, partition, offset = message.offset, reason, "a message becomes a dead letter");
        let dead_letters = Arc::clone(&self.dead_letters);
        self.burials.push(Box::pin(async move {
            let buried = dead_letters.bury(&message, &reason).await;
            (message, buried)
        }));
    }

    fn buried(&mut self, message: &Message<Envelope>, buried: Buried) {
        let stats = &self.member.consumer.context().stats;
        match buried {
            Ok(()) => stats.dead_lettered.add(1),
            Err(error) => {
                // It would be refused again, and one such message must not hold up its partition for ever.
                stats.dead_letters_lost.add(1);
                let Source { topic, partition } = &message.source;
                let offset = message.offset;
                tracing::error!(%topic, partition, offset, %error, "a dead letter was not taken; it is passed over");
            }
        }
        self.memory.recent.note(&message.source, message.offset, &message.body);
        self.finish(message);
    }

    /// A message needs nothing more: what may be committed by that is committed with the next commit.
    fn finish(&mut self, message: &Message<Envelope>) {
        let Source { topic, partition } = &message.source;
        let Some(last) = self.partitions.finish(&message.source, message.epoch, message.offset) else {
            return;
        };
        match self.member.consumer.store_offset(topic, *partition, last) {
            // It is somebody else's by now, who reads it again.
            Ok(()) | Err(KafkaError::StoreOffset(RDKafkaErrorCode::State)) => {}
            stored => self.member.consumer.context().report("an offset was not stored", stored),
        }
    }

    fn failed(&mut self, error: &KafkaError) {
        match error {
            KafkaError::MessageConsumptionFatal(_) => self.end = Some(End::Broken(error.to_string())),
            // The client has told of it already.
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
            ) => return,
            _ => {}
        }
        self.member.consumer.context().report("Kafka", Err(error.clone()));
    }

    fn measure(&mut self, statistics: &Statistics) {
        let up = statistics.brokers.values().filter(|broker| broker.state == "UP");
        let up: HashSet<i32> = up.map(|broker| broker.nodeid).collect();
        for (name, topic) in &statistics.topics {
            for (&number, partition) in &topic.partitions {
                let Some(source) = self.source(name, number) else { continue };
                // The last stable offset, behind which transactions are open; as old brokers do not tell it, the last.
                let end = if 0 <= partition.ls_offset { partition.ls_offset } else { partition.hi_offset };
                let end = (up.contains(&partition.broker) && 0 <= end).then_some(end);
                let fetched = (partition.fetchq_cnt == 0 && partition.fetch_state == "active")
                    .then_some(partition.next_offset)
                    .filter(|next| 0 <= *next);
                self.partitions.measure(&source, Reach { end, fetched });
            }
        }
    }

    fn show(&self) {
        let standings = self.partitions.standings();
        let partitions = standings.map(|(source, standing)| {
            let stats = PartitionStats { lag: standing.lag, paused: standing.paused };
            ((Arc::clone(&source.topic), source.partition), stats)
        });
        self.member.consumer.context().stats.set_partitions(partitions.collect());
    }

    fn source(&self, topic: &str, partition: i32) -> Option<Source> {
        let (topic, _) = self.config.topics.get_key_value(topic)?;
        Some(Source { topic: Arc::clone(topic), partition })
    }

    fn sources(&self, list: &TopicPartitionList) -> Vec<Source> {
        let elements = list.elements();
        elements.iter().filter_map(|element| self.source(element.topic(), element.partition())).collect()
    }

    /// Finishes what is on its way. Offsets are committed when the member is dropped.
    async fn close(mut self) -> Ended {
        self.behind.set(matches!(self.end, Some(End::Broken(_))));
        let finished = timeout(FINISH, async {
            loop {
                tokio::select! {
                    Some((message, receipt)) = self.under_way.next(), if !self.under_way.is_empty() => {
                        self.settle(message, receipt);
                    }
                    Some((message, buried)) = self.burials.next(), if !self.burials.is_empty() => {
                        self.buried(&message, buried);
                    }
                    else => break,
                }
            }
        });
        if finished.await.is_err() {
            tracing::warn!("stopped before all messages of Kafka were taken over; they come again");
        }
        Ended { member: self.member, memory: self.memory, end: self.end }
    }
}

fn list(sources: &[Source]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(sources.len());
    for Source { topic, partition } in sources {
        list.add_partition(topic, *partition);
    }
    list
}

/// When Kafka got a message: by the topic's configuration the broker says so, or the one who sent it, whose clock may be ahead.
fn sent(millis: Option<i64>, now: ObservedTime) -> ObservedTime {
    let nanos = millis.and_then(|millis| u64::try_from(millis).ok()?.checked_mul(1_000_000));
    nanos.map_or(now, |nanos| ObservedTime(nanos.min(now.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_was_never_sent_after_it_came() {
        let now = ObservedTime(5_000_000);
        assert_eq!(sent(Some(3), now), ObservedTime(3_000_000));
        assert_eq!(sent(Some(9), now), now);
        assert_eq!(sent(Some(-1), now), now);
        assert_eq!(sent(Some(i64::MAX), now), now);
        assert_eq!(sent(None, now), now);
    }
}
