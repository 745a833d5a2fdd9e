//! The reader of topics: its client, as the configuration has it. What it does with messages is in `reading.rs`.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use selvedge_receive::{Behind, Entrance, KafkaStats};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::client::{Base, OpenError};
use crate::config::{InitialOffset, ReceiverConfig};
use crate::context::Context;
use crate::dead_letters::DeadLetters;
use crate::member::Member;
use crate::reading::{End, Memory, Reading};
use crate::remembered::Remembered;

const SECTION: &str = "receivers.kafka";
/// Leaving the group may take this long: brokers may be away.
const LEAVE: Duration = Duration::from_secs(5);
/// A client that lasted this long was a good one.
const GOOD: Duration = Duration::from_mins(1);
/// Clients in a row that did not.
const BREAKS_MAX: u32 = 5;
/// Pause before the next, times how many broke.
const BREAK_PAUSE: Duration = Duration::from_millis(500);

/// Reading ended by itself: another member has our `group_instance_id`, for instance.
#[derive(Debug, thiserror::Error)]
#[error("reading Kafka cannot go on: {reason}")]
pub struct ReadError {
    pub(crate) reason: String,
}

/// A reader that did not begin yet.
pub struct TopicReader {
    first: StreamConsumer<Context>,
    stats: Arc<KafkaStats>,
    base: Base,
    client: ClientConfig,
    dead_letters: Arc<DeadLetters>,
    config: ReceiverConfig,
    behind: Behind,
}

impl TopicReader {
    /// Makes the clients; brokers need not be there. In a tokio runtime.
    ///
    /// # Errors
    /// A secret cannot be read, or librdkafka refuses the configuration.
    pub fn open(config: ReceiverConfig) -> Result<Self, OpenError> {
        let base = Base::of(&config.connection, SECTION)?;
        let dead_letters = Arc::new(DeadLetters::open(&base, config.message_bytes_max)?);
        let client = client(&base, &config);
        let stats = Arc::default();
        let first = consumer(&base, &client, &stats)?;
        Ok(Self { first, stats, base, client, dead_letters, config, behind: Behind::default() })
    }

    /// What reading counts.
    #[must_use]
    pub fn stats(&self) -> Arc<KafkaStats> {
        Arc::clone(&self.stats)
    }

    /// Whether there is something that we could have read and have not.
    #[must_use]
    pub fn behind(&self) -> Behind {
        self.behind.clone()
    }

    /// Reads until `shutdown`; then what is on its way is finished, its offsets are committed, and the group is left.
    /// What is `remembered` is passed over. A client that breaks is made anew, a few times.
    ///
    /// # Errors
    /// Reading ended by itself, and again and again.
    pub async fn read(
        self,
        entrance: Entrance,
        remembered: Remembered,
        shutdown: CancellationToken,
    ) -> Result<(), ReadError> {
        let Self { first, stats, base, client, dead_letters, config, behind } = self;
        let topics: Vec<&str> = config.topics.keys().map(|topic| &**topic).collect();
        let failed = |error: &dyn std::error::Error| ReadError { reason: base.log.clean(&error.to_string()) };
        let mut memory = Memory { remembered, ..Memory::default() };
        let (mut next, mut breaks) = (Some(first), 0);
        loop {
            let fresh = match next.take() {
                Some(first) => first,
                None => consumer(&base, &client, &stats).map_err(|error| failed(&error))?,
            };
            fresh.subscribe(&topics).map_err(|error| failed(&error))?;
            let member = Member { consumer: Arc::new(fresh), revoked: Vec::new() };
            let (began, known) = (entrance.steady(), std::mem::take(&mut memory));
            let (dead_letters, behind) = (Arc::clone(&dead_letters), behind.clone());
            let reading =
                Reading::new(member, dead_letters, config.clone(), behind.clone(), entrance.clone(), known);
            let ended = reading.run(&shutdown).await;
            memory = ended.memory;
            let lasted = entrance.steady().since(began);
            breaks = if GOOD < lasted { 0 } else { breaks + 1 };
            let Some(End::Broken(reason)) = ended.end else {
                // The engine sees the end of its input, and need not wait for brokers.
                drop(entrance);
                leave(ended.member).await;
                return Ok(());
            };
            leave(ended.member).await;
            if BREAKS_MAX < breaks {
                behind.set(false);
                return Err(ReadError { reason });
            }
            tracing::warn!(reason, "Kafka: the client broke, and is made anew");
            // Another process may have our name: not both should begin anew at once, for ever.
            if timeout(BREAK_PAUSE * breaks.max(1), shutdown.cancelled()).await.is_ok() {
                return Ok(());
            }
        }
    }
}

/// Blocks somebody else until the last commit is answered and the group is left.
async fn leave(member: Member) {
    let left = tokio::task::spawn_blocking(move || drop(member));
    if timeout(LEAVE, left).await.is_err() {
        tracing::warn!(
            "Kafka did not answer in time to what was committed last; some messages may come again"
        );
    }
}

fn consumer(
    base: &Base,
    client: &ClientConfig,
    stats: &Arc<KafkaStats>,
) -> Result<StreamConsumer<Context>, OpenError> {
    let context = Context::new(Arc::clone(stats), base.log.clone());
    client.create_with_context(context).map_err(|error| base.refused(&error))
}

fn client(base: &Base, config: &ReceiverConfig) -> ClientConfig {
    let mut client = base.config.clone();
    client.set("group.id", &config.group_id);
    if let Some(instance) = &config.group_instance_id {
        client.set("group.instance.id", instance);
    }
    client.set("partition.assignment.strategy", "cooperative-sticky");
    client.set("session.timeout.ms", config.session_timeout.as_millis().to_string());
    client.set("heartbeat.interval.ms", (config.session_timeout / 4).as_millis().to_string());
    // What is stored is committed by interval, before a partition goes, and at the end; we say what is stored.
    client.set("enable.auto.offset.store", "false");
    client.set("enable.auto.commit", "true");
    client.set("auto.commit.interval.ms", config.commit_interval.as_millis().to_string());
    let initial = match config.initial_offset {
        InitialOffset::Latest => "latest",
        InitialOffset::Earliest => "earliest",
    };
    client.set("auto.offset.reset", initial);
    client.set("statistics.interval.ms", "1000");
    client.set("queued.max.messages.kbytes", "32768");
    client
}
