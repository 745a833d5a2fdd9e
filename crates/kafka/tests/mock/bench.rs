//! A mock cluster, a reader of its topics, and an engine that answers as the test says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use selvedge_kafka::{ReadError, ReceiverSection, Remembered, TopicReader};
use selvedge_model::{ObservedTime, SteadyTime};
use selvedge_receive::{
    Behind, Clock, Entrance, KafkaStats, OtlpSection, Receipt, ReceiveConfig, Receivers, Submission,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Long enough for a slow machine, short enough to notice a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

struct SystemClock(Instant);

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "brokers have the time of day, too")]
    fn now(&self) -> ObservedTime {
        ObservedTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap())
    }

    fn steady(&self) -> SteadyTime {
        SteadyTime(self.0.elapsed().as_nanos().try_into().unwrap())
    }
}

/// The brokers.
pub(crate) struct Bench {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    producer: FutureProducer,
}

/// A reader at work, and what comes out of it.
pub(crate) struct Running {
    pub(crate) inbox: mpsc::Receiver<Submission>,
    pub(crate) stats: Arc<KafkaStats>,
    pub(crate) behind: Behind,
    pub(crate) entrance: Entrance,
    stop: CancellationToken,
    reading: JoinHandle<Result<(), ReadError>>,
}

impl Bench {
    /// One broker, with these topics and their partitions.
    pub(crate) fn new(topics: &[(&str, i32)]) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for (topic, partitions) in topics {
            cluster.create_topic(topic, *partitions, 1).unwrap();
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        Self { producer: config.create().unwrap(), cluster }
    }

    pub(crate) async fn produce(&self, topic: &str, partition: i32, body: &str) {
        let record = FutureRecord::to(topic).partition(partition).key("trace").payload(body);
        self.producer.send(record, PATIENCE).await.unwrap();
    }

    pub(crate) async fn produce_at(&self, topic: &str, partition: i32, body: &str, millis: i64) {
        let record = FutureRecord::<str, str>::to(topic).partition(partition).payload(body).timestamp(millis);
        self.producer.send(record, PATIENCE).await.unwrap();
    }

    /// A reader from the beginning, with a section merged in; all receivers together may hold `bytes_max` in flight.
    pub(crate) async fn read(&self, extra: &Value, remembered: Remembered, bytes_max: u64) -> Running {
        let mut section = json!({
            "brokers": [self.cluster.bootstrap_servers()], "initial_offset": "earliest", "session_timeout": "6s",
            "autocommit": {"interval": "100ms"}, "traces": {},
        });
        section.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let section: ReceiverSection = serde_json::from_value(section).unwrap();
        let reader = TopicReader::open(section.check(Path::new("")).unwrap()).unwrap();
        let otlp: OtlpSection = serde_json::from_value(json!({
            "bytes_in_flight_max": bytes_max,
            "protocols": {"http": {"endpoint": "127.0.0.1:0", "max_request_body_size": 1024}},
        }))
        .unwrap();
        let (submissions, inbox) = mpsc::channel(100);
        #[expect(clippy::disallowed_methods, reason = "tests wait by the real clock")]
        let clock = Arc::new(SystemClock(Instant::now()));
        let (stats, behind, stop) = (reader.stats(), reader.behind(), CancellationToken::new());
        let receivers = Receivers::bind(ReceiveConfig::try_from(otlp).unwrap(), clock, submissions).await;
        let entrance = receivers.unwrap().entrance();
        #[expect(clippy::disallowed_methods, reason = "what is spawned is stopped, or aborted")]
        let reading = tokio::spawn(reader.read(entrance.clone(), remembered, stop.clone()));
        Running { inbox, stats, behind, entrance, stop, reading }
    }

    /// What the group has committed of a partition.
    pub(crate) async fn committed(&self, topic: &str, partition: i32) -> Option<i64> {
        let (brokers, topic) = (self.cluster.bootstrap_servers(), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", brokers).set("group.id", "selvedge");
            let consumer: BaseConsumer = config.create().unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition(&topic, partition);
            consumer.committed_offsets(list, PATIENCE).unwrap().elements()[0].offset()
        });
        match asked.await.unwrap() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    pub(crate) async fn until_committed(&self, topic: &str, partition: i32, offset: i64) {
        let reached = async {
            while self.committed(topic, partition).await != Some(offset) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{topic}/{partition} never had {offset}"));
    }

    /// The first `count` messages of a topic, as somebody else reads them.
    pub(crate) async fn messages(&self, topic: &str, count: usize) -> Vec<OwnedMessage> {
        let (brokers, topic) = (self.cluster.bootstrap_servers(), topic.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", brokers).set("group.id", "onlooker");
            let consumer: BaseConsumer = config.create().unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
            consumer.assign(&list).unwrap();
            (0..count).map(|_| consumer.poll(PATIENCE).unwrap().unwrap().detach()).collect()
        });
        read.await.unwrap()
    }
}

impl Running {
    /// The next batch.
    pub(crate) async fn next(&mut self) -> Submission {
        timeout(PATIENCE, self.inbox.recv()).await.expect("a batch comes").expect("reading goes on")
    }

    /// The next batch, accepted; its text.
    pub(crate) async fn accept(&mut self) -> String {
        accept(self.next().await)
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let held = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, held)
            .await
            .unwrap_or_else(|_| panic!("waited in vain for: {what}\n{:?}", self.stats));
    }

    /// Stops reading; what waits is not answered any more.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.reading).await.unwrap().unwrap().unwrap();
    }

    /// Ends as a process that is killed: nothing is committed.
    pub(crate) fn kill(self) {
        self.reading.abort();
    }
}

pub(crate) fn text(submission: &Submission) -> String {
    String::from_utf8(submission.batch.body.to_vec()).unwrap()
}

pub(crate) fn accept(submission: Submission) -> String {
    let text = text(&submission);
    answer(submission, Receipt::Accepted { rejected: 0, message: String::new() });
    text
}

pub(crate) fn answer(submission: Submission, receipt: Receipt) {
    submission.reply.send(receipt).unwrap();
}

/// The headers of a message, as text.
pub(crate) fn headers(message: &OwnedMessage) -> BTreeMap<String, String> {
    let headers = message.headers().unwrap().iter();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    headers.map(|header| (header.key.to_owned(), text(header.value.unwrap()))).collect()
}

/// `{}`: the section as it is.
pub(crate) fn plain() -> Value {
    json!({})
}
