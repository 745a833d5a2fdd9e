//! Several readers, and brokers that go away.

use std::collections::BTreeSet;

use selvedge_kafka::Remembered;

use crate::bench::{Bench, PATIENCE, Running, accept, plain};

const MIB: u64 = 1 << 20;
const SPANS: &str = "otlp_spans";
const PARTITIONS: i32 = 4;

/// Guarantees: when a member comes or goes, its partitions move, and no message is lost. The mock refuses commits for as long
/// as it moves partitions (a broker takes them until the new assignment is out), so what was taken over meanwhile may be read
/// again: less than what came since the move before.
#[tokio::test]
async fn partitions_move_between_two_members_and_no_message_is_lost() {
    let bench = Bench::new(&[(SPANS, PARTITIONS)]);
    let mut produced = BTreeSet::new();
    let mut seen = Vec::new();
    let mut one = bench.read(&plain(), Remembered::default(), MIB).await;
    for round in 0..3 {
        for number in 0..20 {
            let body = format!("{round}/{number}");
            bench.produce(SPANS, number % PARTITIONS, &body).await;
            produced.insert(body);
        }
        if round == 0 {
            for _ in 0..20 {
                seen.push(one.accept().await);
            }
        }
        if round == 1 {
            // The second member comes while messages are on their way to the first.
            let mut other = bench.read(&plain(), Remembered::default(), MIB).await;
            let mut shared = false;
            while seen.len() < 40 || !shared {
                tokio::select! {
                    submission = one.inbox.recv() => seen.push(accept(submission.unwrap())),
                    submission = other.inbox.recv() => seen.push(accept(submission.unwrap())),
                    () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
                }
                let (here, there) = (one.stats.partitions().len(), other.stats.partitions().len());
                shared = (here, there) == (2, 2);
            }
            other.stop().await;
        }
    }
    let distinct = |seen: &[String]| seen.iter().cloned().collect::<BTreeSet<_>>();
    let rest = async {
        while distinct(&seen) != produced {
            seen.push(one.accept().await);
        }
    };
    tokio::time::timeout(PATIENCE, rest).await.unwrap();
    one.until("all partitions to come back", |one| one.stats.partitions().len() == 4).await;
    one.stop().await;
    assert!(seen.len() - produced.len() < 20, "{} were read again", seen.len() - produced.len());
}

/// Guarantees: while the broker is away nothing is lost, and what is there says that it is behind.
#[tokio::test]
async fn a_broker_may_go_away_and_come_back() {
    let bench = Bench::new(&[(SPANS, 1)]);
    bench.produce(SPANS, 0, "before").await;
    let mut running = bench.read(&plain(), Remembered::default(), MIB).await;
    assert_eq!(running.accept().await, "before");
    running.until("everything to be read", |running| !running.behind.get()).await;
    bench.cluster.broker_down(1).unwrap();
    running.until("the outage to be noticed", |running| running.behind.get()).await;
    assert_eq!(running.stats.partitions().values().next().unwrap().lag, None, "nobody knows what it has");
    bench.cluster.broker_up(1).unwrap();
    bench.produce(SPANS, 0, "after").await;
    assert_eq!(running.accept().await, "after");
    bench.until_committed(SPANS, 0, 2).await;
    running.until("everything to be read", |running| !running.behind.get()).await;
    let known =
        |running: &Running| running.stats.partitions().values().all(|partition| partition.lag == Some(0));
    running.until("the lag to be known again", known).await;
    running.stop().await;
}
