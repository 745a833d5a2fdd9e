//! What waited in Kafka: its order and its times.

use selvedge_kafka::Remembered;
use selvedge_model::ObservedTime;

use crate::bench::{Bench, accept, plain};

const SPANS: &str = "otlp_spans";
/// 2026-11-23T20:00:00Z, in milliseconds.
const THEN: i64 = 1_795_464_000_000;
const MESSAGES: i64 = 300;

/// Scenario: three partitions, each of which is fetched in one piece, hold an hour.
/// Guarantees: the hour comes in the order in which it was sent, with the times at which Kafka got it; what comes after it
/// has our own time.
#[tokio::test]
async fn a_backlog_is_read_in_the_order_in_which_it_was_sent() {
    let bench = Bench::new(&[(SPANS, 3)]);
    let at = |number: i64| THEN + number * 12_000;
    for partition in 0..3 {
        for number in (0..MESSAGES).filter(|number| number % 3 == partition) {
            let partition = i32::try_from(partition).unwrap();
            bench.produce_at(SPANS, partition, &number.to_string(), at(number)).await;
        }
    }
    let mut running = bench.read(&plain(), Remembered::default(), 1 << 20).await;
    for number in 0..MESSAGES {
        let submission = running.next().await;
        let observed = submission.batch.observed;
        assert!(running.behind.get(), "message {number} is not taken over");
        assert_eq!(accept(submission), number.to_string());
        assert_eq!(observed, ObservedTime(u64::try_from(at(number)).unwrap() * 1_000_000));
    }
    running.until("the backlog to end", |running| !running.behind.get()).await;
    bench.produce_at(SPANS, 1, "late sender", THEN).await;
    let fresh = running.next().await;
    assert!(fresh.batch.observed > ObservedTime(u64::try_from(at(MESSAGES)).unwrap() * 1_000_000));
    accept(fresh);
    running.stop().await;
}
