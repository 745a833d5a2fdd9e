//! The metrics of reading Kafka.

use std::fmt::Error;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use selvedge_receive::KafkaStats;

use crate::metrics::{Rows, family};

/// Partitions told one by one; past it only their sum is.
const PARTITIONS_MAX: usize = 1_000;

pub(crate) fn encode(encoder: &mut DescriptorEncoder<'_>, stats: &KafkaStats) -> Result<(), Error> {
    let outcomes = [
        ("accepted", &stats.accepted),
        ("known", &stats.known),
        ("empty", &stats.empty),
        ("dead_lettered", &stats.dead_lettered),
        ("dead_letter_lost", &stats.dead_letters_lost),
    ];
    let rows = outcomes.map(|(outcome, count)| (vec![("outcome", outcome)], count.get()));
    let help = "Messages of Kafka that need nothing more, by what became of them; known ones were in the journal already";
    family(encoder, "kafka_messages", help, MetricType::Counter, rows.into())?;
    let commits = [("committed", &stats.commits), ("failed", &stats.commit_failures)];
    let rows = commits.map(|(outcome, count)| (vec![("outcome", outcome)], count.get()));
    family(encoder, "kafka_commits", "Commits of offsets", MetricType::Counter, rows.into())?;
    let one = |value| -> Rows<'_> { vec![(Vec::new(), value)] };
    let counters = [
        ("kafka_fetched_messages", "Messages fetched, again after a redelivery", stats.messages.get()),
        ("kafka_fetched_bytes", "Bytes of their values", stats.bytes.get()),
        ("kafka_refusals", "Times a message had to wait for room", stats.refusals.get()),
        ("kafka_rebalances", "Assignments and revocations of partitions", stats.rebalances.get()),
        ("kafka_errors", "Errors that the client reported", stats.errors.get()),
    ];
    for (name, help, value) in counters {
        family(encoder, name, help, MetricType::Counter, one(value))?;
    }
    partitions(encoder, stats)
}

fn partitions(encoder: &mut DescriptorEncoder<'_>, stats: &KafkaStats) -> Result<(), Error> {
    let one = |value| -> Rows<'_> { vec![(Vec::new(), value)] };
    let partitions = stats.partitions();
    let paused = partitions.values().filter(|partition| partition.paused).count() as u64;
    let unknown = partitions.values().filter(|partition| partition.lag.is_none()).count() as u64;
    let lag: u64 = partitions.values().filter_map(|partition| partition.lag).sum();
    let gauges = [
        ("kafka_partitions", "Partitions that are ours", partitions.len() as u64),
        ("kafka_partitions_paused", "Partitions that wait for room", paused),
        ("kafka_partitions_unknown", "Partitions whose end no broker tells now", unknown),
        ("kafka_lag", "Messages in our partitions that are not taken over", lag),
    ];
    for (name, help, value) in gauges {
        family(encoder, name, help, MetricType::Gauge, one(value))?;
    }
    let told = partitions.iter().take(PARTITIONS_MAX);
    let numbers: Vec<_> = told
        .filter_map(|((topic, partition), stats)| Some((topic, partition.to_string(), stats.lag?)))
        .collect();
    let rows = numbers
        .iter()
        .map(|(topic, partition, lag)| (vec![("topic", &***topic), ("partition", partition.as_str())], *lag));
    let help = "The same by partition, of the first thousand";
    family(encoder, "kafka_partition_lag", help, MetricType::Gauge, rows.collect())
}
