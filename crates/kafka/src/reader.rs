//! The reader of topics: its client, as the configuration has it. What it does with messages is in `reading.rs`.

use std::sync::Arc;

use rdkafka::consumer::{Consumer as _, StreamConsumer};
use selvedge_receive::{Behind, Entrance, KafkaStats};
use tokio_util::sync::CancellationToken;

use crate::client::{Base, OpenError};
use crate::config::{InitialOffset, ReceiverConfig};
use crate::context::Context;
use crate::dead_letters::DeadLetters;
use crate::member::Member;
use crate::reading::Reading;
use crate::remembered::Remembered;

const SECTION: &str = "receivers.kafka";

/// Reading ended by itself: another member has our `group_instance_id`, for instance.
#[derive(Debug, thiserror::Error)]
#[error("reading Kafka cannot go on: {reason}")]
pub struct ReadError {
    pub(crate) reason: String,
}

/// A reader that did not begin yet.
pub struct TopicReader {
    consumer: StreamConsumer<Context>,
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
        let context = Context::new(Arc::default(), base.log.clone());
        let consumer = client.create_with_context(context).map_err(|error| base.refused(&error))?;
        Ok(Self { consumer, dead_letters, config, behind: Behind::default() })
    }

    /// What reading counts.
    #[must_use]
    pub fn stats(&self) -> Arc<KafkaStats> {
        Arc::clone(&self.consumer.context().stats)
    }

    /// Whether there is something that we could have read and have not.
    #[must_use]
    pub fn behind(&self) -> Behind {
        self.behind.clone()
    }

    /// Reads until `shutdown`; then what is on its way is finished, its offsets are committed, and the group is left.
    /// What is `remembered` is passed over.
    ///
    /// # Errors
    /// Reading ended by itself.
    pub async fn read(
        self,
        entrance: Entrance,
        remembered: Remembered,
        shutdown: CancellationToken,
    ) -> Result<(), ReadError> {
        let topics: Vec<&str> = self.config.topics.keys().map(|topic| &**topic).collect();
        self.consumer.subscribe(&topics).map_err(|error| ReadError { reason: error.to_string() })?;
        let member = Member { consumer: Arc::new(self.consumer), revoked: Vec::new() };
        let reading = Reading::new(member, self.dead_letters, self.config, self.behind, entrance, remembered);
        reading.run(&shutdown).await
    }
}
