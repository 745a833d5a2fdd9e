//! A mock cluster on loopback, with whoever writes to it and reads from it.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Topics {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl Topics {
    /// One broker, and these topics.
    pub(crate) fn new(names: &[&str], partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for name in names {
            cluster.create_topic(name, partitions, 1).unwrap();
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        Self { producer: config.create().unwrap(), cluster }
    }

    pub(crate) fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Writes one message, and waits until a broker has it.
    pub(crate) fn produce(&self, topic: &str, body: &[u8], millis: Option<i64>) {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).payload(body);
        if let Some(millis) = millis {
            record = record.timestamp(millis);
        }
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(PATIENCE).unwrap();
    }

    /// The first messages of a topic's first partition: their keys, and their documents.
    pub(crate) fn messages(&self, topic: &str, count: usize) -> Vec<(String, Value)> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers()).set("group.id", "onlooker");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let read = |_| {
            let message = consumer.poll(PATIENCE).unwrap().unwrap();
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            (key, serde_json::from_slice(message.payload().unwrap()).unwrap())
        };
        (0..count).map(read).collect()
    }
}
