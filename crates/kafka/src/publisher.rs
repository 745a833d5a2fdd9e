//! Alerts as messages of a topic: one of `act`'s sinks.
//!
//! The key is the deduplication key, so that all that is said of an incident is in one partition, in order, and a compacted
//! topic keeps the newest. At least once: an attempt whose acknowledgement was lost is made again, under the same id.

use std::sync::{Mutex, PoisonError};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use selvedge_act::{ExternalSink, Publication, Publisher, Publishing, Retry, SendError};

use crate::client::{Base, OpenError};
use crate::config::SinkConfig;
use crate::dead_letters::{Quiet, producer};

const SECTION: &str = "alerts.kafka";
/// How the ledger calls the sink.
const NAME: &str = "kafka";

impl SinkConfig {
    /// Makes the sink; brokers need not be there.
    ///
    /// # Errors
    /// A secret cannot be read, or librdkafka refuses the configuration.
    pub fn open(self) -> Result<ExternalSink, OpenError> {
        let base = Base::of(&self.connection, SECTION)?;
        let first = self.producer(&base)?;
        let min_severity = self.min_severity;
        let publisher = Box::new(Topic { producer: Mutex::new(first), base, config: self });
        Ok(ExternalSink { name: NAME.to_owned(), min_severity, publisher })
    }

    fn producer(&self, base: &Base) -> Result<FutureProducer<Quiet>, OpenError> {
        producer(base, self.timeout, &mut base.config.clone())
    }
}

struct Topic {
    base: Base,
    config: SinkConfig,
    producer: Mutex<FutureProducer<Quiet>>,
}

impl Publisher for Topic {
    fn publish(&self, publication: Publication) -> Publishing<'_> {
        Box::pin(async move {
            let Publication { id, key, status, alert, incident } = &publication;
            let headers =
                [("content-type", "application/json"), ("selvedge.id", id), ("selvedge.status", status)];
            let headers = headers.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
            let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let documents =
                [(Some(&self.config.topic), alert), (self.config.incidents_topic.as_ref(), incident)];
            for (topic, document) in documents {
                let Some(topic) = topic else { continue };
                let record = FutureRecord::to(topic).key(key).payload(document).headers(headers.clone());
                let sent = producer.send(record, Timeout::After(self.config.timeout)).await;
                sent.map_err(|(error, _)| self.told(topic, &error))?;
            }
            Ok(())
        })
    }
}

impl Topic {
    fn told(&self, topic: &str, error: &KafkaError) -> SendError {
        let to = format!("Kafka topic {topic}");
        let code = error.rdkafka_error_code();
        match code {
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::QueueFull) => {
                return SendError::TimedOut { to, after: self.config.timeout };
            }
            // An idempotent producer that lost its place never finds it again.
            Some(RDKafkaErrorCode::Fatal) => self.begin_anew(),
            _ => {}
        }
        let retry = match code {
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
                Retry::Never
            }
            _ => Retry::Backoff,
        };
        SendError::Declined { to, source: self.base.log.clean(&error.to_string()).into(), retry }
    }

    fn begin_anew(&self) {
        match self.config.producer(&self.base) {
            Ok(fresh) => *self.producer.lock().unwrap_or_else(PoisonError::into_inner) = fresh,
            Err(error) => tracing::error!(%error, "the producer of alerts cannot be made anew"),
        }
    }
}
