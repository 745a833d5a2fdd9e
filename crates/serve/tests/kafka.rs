//! The metrics of reading Kafka, as they are scraped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use selvedge_engine::Snapshot;
use selvedge_receive::{KafkaStats, PartitionStats};
use selvedge_serve::Sources;
use support::{get, serve_while, sources};

/// Guarantees: lag is told by partition and in all, what became of messages is counted, and a partition whose broker is away
/// has no lag of nothing.
#[tokio::test]
async fn lag_and_what_became_of_messages_can_be_watched() {
    let stats = Arc::new(KafkaStats::default());
    stats.dead_lettered.add(3);
    let topic: Arc<str> = Arc::from("otlp_spans");
    let partition = |number: i32, lag, paused| ((Arc::clone(&topic), number), PartitionStats { lag, paused });
    let partitions = [partition(0, Some(7), true), partition(1, Some(4), false), partition(2, None, false)];
    stats.set_partitions(BTreeMap::from(partitions));
    let sources =
        Sources { kafka: Some(stats), ..sources(Arc::new(ArcSwap::from_pointee(Snapshot::default()))).await };
    serve_while(sources, None, |address| {
        let text = get(address, "/metrics").text();
        for line in [
            "selvedge_kafka_messages_total{outcome=\"dead_lettered\"} 3",
            "selvedge_kafka_partition_lag{topic=\"otlp_spans\",partition=\"0\"} 7",
            "selvedge_kafka_partition_lag{topic=\"otlp_spans\",partition=\"1\"} 4",
            "selvedge_kafka_lag{} 11",
            "selvedge_kafka_partitions{} 3",
            "selvedge_kafka_partitions_paused{} 1",
            "selvedge_kafka_partitions_unknown{} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("partition=\"2\""));
    })
    .await;
}
