//! One reader: what is committed when, what is put aside, what waits, what is passed over.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::message::Message as _;
use selvedge_kafka::Remembered;
use selvedge_model::{ObservedTime, SignalKind};
use selvedge_receive::journal::Unstored;
use selvedge_receive::{Encoding, Receipt, Transport};
use serde_json::json;

use crate::bench::{Bench, Running, accept, answer, headers, plain, text};

const MIB: u64 = 1 << 20;
const SPANS: &str = "otlp_spans";

/// Guarantees: an offset is committed only when its message is taken over, and those of all before it.
#[tokio::test]
async fn an_offset_is_committed_only_when_it_and_all_before_it_are_taken_over() {
    let bench = Bench::new(&[(SPANS, 1)]);
    for body in ["a", "b", "c"] {
        bench.produce(SPANS, 0, body).await;
    }
    let mut running = bench.read(&plain(), Remembered::default(), MIB).await;
    let (first, second, third) = (running.next().await, running.next().await, running.next().await);
    let batch = &first.batch;
    assert_eq!(
        (batch.signal, batch.encoding, batch.transport),
        (SignalKind::Traces, Encoding::Protobuf, Transport::Kafka)
    );
    assert_eq!([&first, &second, &third].map(text), ["a", "b", "c"]);
    accept(third);
    accept(second);
    running.until("both to be settled", |running| running.stats.accepted.get() == 2).await;
    assert_eq!(bench.committed(SPANS, 0).await, None, "the first is not taken over");
    accept(first);
    bench.until_committed(SPANS, 0, 3).await;
    running.until("a commit to be counted", |running| running.stats.commits.get() > 0).await;
    running.stop().await;
}

/// Guarantees: what was not taken over comes again to the next process, and nothing else does.
#[tokio::test]
async fn what_was_not_taken_over_comes_again() {
    let bench = Bench::new(&[(SPANS, 1)]);
    for body in ["a", "b", "c"] {
        bench.produce(SPANS, 0, body).await;
    }
    let mut running = bench.read(&plain(), Remembered::default(), MIB).await;
    assert_eq!(running.accept().await, "a");
    let unanswered = running.next().await;
    bench.until_committed(SPANS, 0, 1).await;
    drop(unanswered);
    running.kill();
    let mut again = bench.read(&plain(), Remembered::default(), MIB).await;
    assert_eq!((again.accept().await, again.accept().await), ("b".to_owned(), "c".to_owned()));
    again.stop().await;
    assert_eq!(bench.committed(SPANS, 0).await, Some(3), "the end commits");
}

/// Guarantees: a message that cannot be understood is put aside with its reason and its place, and reading goes on.
#[tokio::test]
async fn a_message_that_cannot_be_understood_becomes_a_dead_letter() {
    let bench = Bench::new(&[(SPANS, 1), ("otlp_spans.dlq", 1)]);
    let large = "x".repeat(2_000);
    for body in ["good", "bad", &large, "", "better"] {
        bench.produce(SPANS, 0, body).await;
    }
    let mut running = bench.read(&json!({"max_message_bytes": 1_024}), Remembered::default(), MIB).await;
    assert_eq!(running.accept().await, "good");
    let bad = running.next().await;
    assert_eq!(running.accept().await, "better");
    answer(bad, Receipt::Malformed { message: "field 1 ends too soon".to_owned() });
    bench.until_committed(SPANS, 0, 5).await;
    let mut letters = bench.messages("otlp_spans.dlq", 2).await;
    letters.sort_by_key(|letter| headers(letter)["selvedge.offset"].clone());
    let reasons = ["field 1 ends too soon", "it is larger than 1024 bytes (max_message_bytes)"];
    for ((letter, reason), (offset, body)) in letters.iter().zip(reasons).zip([("1", "bad"), ("2", &large)]) {
        let headers = headers(letter);
        let of = |name: &str| headers[&format!("selvedge.{name}")].clone();
        assert_eq!((of("reason"), of("offset")), (reason.to_owned(), offset.to_owned()));
        assert_eq!((of("topic"), of("partition")), (SPANS.to_owned(), "0".to_owned()));
        assert_eq!((letter.payload(), letter.key()), (Some(body.as_bytes()), Some(&b"trace"[..])));
    }
    let stats = &running.stats;
    assert_eq!((stats.messages.get(), stats.accepted.get()), (5, 2));
    assert_eq!((stats.dead_lettered.get(), stats.dead_letters_lost.get(), stats.empty.get()), (2, 0, 1));
    running.stop().await;
}

/// Guarantees: without room the partition is paused, nothing is lost, and order stays.
#[tokio::test]
async fn without_room_the_partition_waits_and_nothing_is_lost() {
    let bench = Bench::new(&[(SPANS, 1)]);
    let bodies: Vec<String> = (0..40).map(|number| format!("{number:0>1000}")).collect();
    for body in &bodies {
        bench.produce(SPANS, 0, body).await;
    }
    // Room for two messages and a half, most of which somebody else has.
    let mut running = bench.read(&plain(), Remembered::default(), 2_560).await;
    let body = Bytes::from(vec![b'y'; 2_000]);
    let other = running.entrance.enter(SignalKind::Logs, Encoding::Json, body, ObservedTime(1)).unwrap();
    let held = running.next().await;
    let paused = |paused: bool| {
        move |running: &Running| {
            running.stats.partitions().values().any(|partition| partition.paused == paused)
        }
    };
    running.until("the partition to be paused", paused(true)).await;
    assert!(running.inbox.try_recv().is_err(), "there is no room");
    assert!(running.stats.refusals.get() > 0 && running.behind.get());
    assert_eq!(bench.committed(SPANS, 0).await, None);
    drop(held);
    assert_eq!(other.receipt().await, Receipt::Closing);
    let mut seen = Vec::new();
    while seen.len() < bodies.len() {
        seen.push(running.accept().await);
    }
    assert_eq!(seen, bodies);
    running.until("the partition to be read again", paused(false)).await;
    bench.until_committed(SPANS, 0, 40).await;
    running.stop().await;
}

/// Guarantees: what the journal cannot store now is offered again when it said, and until then nothing is committed.
#[tokio::test]
async fn what_the_journal_cannot_store_is_offered_again() {
    let bench = Bench::new(&[(SPANS, 1)]);
    for body in ["a", "b"] {
        bench.produce(SPANS, 0, body).await;
    }
    let mut running = bench.read(&plain(), Remembered::default(), MIB).await;
    let retry_after = Duration::from_millis(300);
    for _ in 0..2 {
        let (first, second) = (running.next().await, running.next().await);
        assert_eq!((text(&first), text(&second)), ("a".to_owned(), "b".to_owned()));
        for submission in [first, second] {
            answer(submission, Receipt::Unstored { reason: Unstored::DiskFull, retry_after });
        }
    }
    assert_eq!(bench.committed(SPANS, 0).await, None);
    assert_eq!((running.accept().await, running.accept().await), ("a".to_owned(), "b".to_owned()));
    bench.until_committed(SPANS, 0, 2).await;
    assert_eq!(running.stats.refusals.get(), 4);
    running.stop().await;
}

/// Guarantees: what a process before us had stored and not committed is not counted twice.
#[tokio::test]
async fn what_the_journal_has_already_is_passed_over() {
    let bench = Bench::new(&[(SPANS, 1)]);
    for body in ["a", "b", "c"] {
        bench.produce(SPANS, 0, body).await;
    }
    let mut remembered = Remembered::default();
    remembered.note(b"a");
    remembered.note(b"c");
    let mut running = bench.read(&plain(), remembered, MIB).await;
    assert_eq!(running.accept().await, "b");
    bench.until_committed(SPANS, 0, 3).await;
    assert_eq!((running.stats.known.get(), running.stats.accepted.get()), (2, 1));
    running.stop().await;
}

/// Guarantees: each topic has its signal and its encoding.
#[tokio::test]
async fn a_topic_says_which_signal_it_holds_and_how_it_is_written() {
    let bench = Bench::new(&[("spans_json", 1), ("otlp_logs", 1), ("points", 1)]);
    let topics = json!({
        "traces": {"topic": "spans_json", "encoding": "otlp_json"}, "logs": {},
        "metrics": {"topics": ["points"], "encoding": "otlp_proto"},
    });
    let mut running = bench.read(&topics, Remembered::default(), MIB).await;
    let expected = [
        ("spans_json", SignalKind::Traces, Encoding::Json),
        ("otlp_logs", SignalKind::Logs, Encoding::Protobuf),
        ("points", SignalKind::Metrics, Encoding::Protobuf),
    ];
    for (topic, signal, encoding) in expected {
        bench.produce(topic, 0, topic).await;
        let submission = running.next().await;
        assert_eq!((submission.batch.signal, submission.batch.encoding), (signal, encoding));
        assert_eq!(accept(submission), topic);
    }
    running.stop().await;
}
