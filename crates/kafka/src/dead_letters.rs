//! What cannot be understood is put aside, with the reason, and reading goes on.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;

use crate::client::{Base, Log, OpenError};
use crate::config::DEAD_LETTERS;
use crate::partitions::Message;

/// Time until a dead letter that no broker takes is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a reason: it may repeat what a stranger wrote.
const REASON_BYTES_MAX: usize = 500;

/// What of a message goes along into its dead letter, beside its value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Envelope {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Option<OwnedHeaders>,
    /// By Kafka, in milliseconds.
    pub(crate) timestamp: Option<i64>,
}

/// A client whose log is ours.
pub(crate) struct Quiet(pub(crate) Log);

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // What becomes of a message is told to whoever sends it; that brokers are away is told by the reader.
        tracing::debug!(%error, reason = %self.0.clean(reason), "Kafka");
    }
}

/// What every producer of ours is: nothing is sent twice or out of order by its own retries, and what is acknowledged is on
/// every replica in sync.
pub(crate) fn producer(
    base: &Base,
    timeout: Duration,
    config: &mut ClientConfig,
) -> Result<FutureProducer<Quiet>, OpenError> {
    config.set("enable.idempotence", "true");
    config.set("acks", "all");
    config.set("compression.type", "zstd");
    config.set("message.timeout.ms", timeout.as_millis().to_string());
    config.create_with_context(Quiet(base.log.clone())).map_err(|error| base.refused(&error))
}

/// Writes dead letters to `<topic>.dlq`.
pub(crate) struct DeadLetters {
    producer: FutureProducer<Quiet>,
}

impl DeadLetters {
    pub(crate) fn open(base: &Base, bytes_max: usize) -> Result<Self, OpenError> {
        let mut config = base.config.clone();
        // The message, and what is written around it. What a topic takes is the broker's to say.
        config.set("message.max.bytes", (2 * bytes_max + (1 << 20)).to_string());
        Ok(Self { producer: producer(base, PATIENCE, &mut config)? })
    }

    /// Writes one. Ends when a broker has it, or none takes it.
    pub(crate) async fn bury(&self, message: &Message<Envelope>, reason: &str) -> Result<(), KafkaError> {
        let topic = format!("{}{DEAD_LETTERS}", message.source.topic);
        let partition = message.source.partition.to_string();
        let offset = message.offset.to_string();
        let place = [
            ("selvedge.reason", &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]),
            ("selvedge.topic", &*message.source.topic),
            ("selvedge.partition", &*partition),
            ("selvedge.offset", &*offset),
        ];
        let headers = message.envelope.headers.clone().unwrap_or_default();
        let headers = place
            .into_iter()
            .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut record = FutureRecord::<[u8], [u8]>::to(&topic).payload(&message.body).headers(headers);
        if let Some(key) = &message.envelope.key {
            record = record.key(key);
        }
        if let Some(timestamp) = message.envelope.timestamp {
            record = record.timestamp(timestamp);
        }
        let sent = self.producer.send(record, Timeout::After(PATIENCE)).await;
        sent.map(drop).map_err(|(error, _)| error)
    }
}
