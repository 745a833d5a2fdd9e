//! Order, waiting and backpressure, by tables of messages.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn source(partition: i32) -> Source {
    Source { topic: Arc::from("otlp_spans"), partition }
}

fn steady(millis: u64) -> SteadyTime {
    SteadyTime(millis * 1_000_000)
}

/// Partitions 0 and 1, both of which end at offset 10.
fn two() -> Partitions<()> {
    let mut partitions = Partitions::default();
    for partition in [0, 1] {
        partitions.assign(source(partition));
        partitions.measure(&source(partition), Reach { end: Some(10), fetched: None });
    }
    partitions
}

fn receive(partitions: &mut Partitions<()>, partition: i32, offset: i64, sent: u64) -> bool {
    let source = source(partition);
    let epoch = partitions.epoch(&source).unwrap_or(0);
    let body = Bytes::from_static(&[0; 1_000]);
    let (sent, observed) = (ObservedTime(sent), ObservedTime(sent));
    partitions.receive(Message { source, offset, epoch, body, sent, observed, envelope: () })
}

fn next(partitions: &mut Partitions<()>, millis: u64) -> Option<(i32, i64)> {
    partitions.next(steady(millis)).map(|message| (message.source.partition, message.offset))
}

/// Guarantees: a backlog is read in the order in which it was sent, whichever partition is fetched first.
#[test]
fn the_oldest_message_of_all_partitions_goes_first() {
    let mut partitions = two();
    for (offset, sent) in [(0, 100), (1, 300), (2, 500)] {
        assert!(receive(&mut partitions, 0, offset, sent));
    }
    assert_eq!(next(&mut partitions, 0), None, "the other partition may have an older one");
    for (offset, sent) in [(7, 200), (8, 400), (9, 600)] {
        assert!(receive(&mut partitions, 1, offset, sent));
    }
    let order: Vec<_> = (0..3).map(|_| next(&mut partitions, 1).unwrap()).collect();
    assert_eq!(order, [(0, 0), (1, 7), (0, 1)]);
    assert_eq!(next(&mut partitions, 1), Some((1, 8)));
    assert_eq!(next(&mut partitions, 1), Some((0, 2)));
    assert_eq!(next(&mut partitions, 1), None, "partition 0 has seven more, perhaps older ones");
    partitions.measure(&source(0), Reach { end: Some(3), fetched: None });
    assert_eq!(next(&mut partitions, 1), Some((1, 9)), "it has no more: nobody waits for it");
}

#[test]
fn a_partition_that_does_not_come_holds_the_others_up_for_a_while_only() {
    let mut partitions = two();
    assert!(receive(&mut partitions, 0, 0, 100));
    assert_eq!(next(&mut partitions, 0), None);
    assert_eq!(next(&mut partitions, 1_999), None);
    assert_eq!(next(&mut partitions, 2_000), Some((0, 0)));
    assert!(receive(&mut partitions, 0, 1, 110));
    assert_eq!(next(&mut partitions, 2_001), Some((0, 1)), "patience with it is at its end");
    assert!(receive(&mut partitions, 1, 0, 120));
    assert_eq!(next(&mut partitions, 2_003), None, "now partition 0 is waited for");
    partitions.leave(&source(0));
    assert_eq!(next(&mut partitions, 2_003), Some((1, 0)), "who leaves is not waited for");
}

#[test]
fn a_partition_without_messages_holds_nobody_up_once_its_end_is_known() {
    let mut partitions = two();
    assert!(receive(&mut partitions, 0, 9, 100));
    assert!(partitions.behind() && partitions.is_behind(&source(1)));
    partitions.measure(&source(1), Reach { end: Some(0), fetched: Some(0) });
    assert!(!partitions.is_behind(&source(1)));
    assert_eq!(next(&mut partitions, 0), Some((0, 9)));
    assert!(!partitions.behind());
    partitions.measure(&source(1), Reach::default());
    assert!(partitions.behind(), "its broker is away: nobody knows what it has");
}

#[test]
fn what_had_no_room_is_the_next_again_in_its_order() {
    let mut partitions = two();
    partitions.remove(&source(1));
    for offset in 0..3 {
        assert!(receive(&mut partitions, 0, offset, 100 + offset.unsigned_abs()));
    }
    let refused: Vec<_> = (0..2).map(|_| partitions.next(steady(0)).unwrap()).collect();
    for message in refused {
        partitions.put_back(message);
    }
    let order: Vec<_> = (0..3).map(|_| next(&mut partitions, 1).unwrap().1).collect();
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn a_full_partition_is_paused_until_half_of_it_is_gone_and_a_stall_pauses_all_that_wait() {
    let mut partitions = two();
    for offset in 0..=i64::try_from(WAITING_MAX).unwrap() {
        assert!(receive(&mut partitions, 0, offset, 100));
    }
    partitions.measure(&source(1), Reach { end: Some(0), fetched: Some(0) });
    assert_eq!(partitions.turns(false), Turns { pause: vec![source(0)], resume: vec![] });
    assert_eq!(partitions.turns(false), Turns { pause: vec![], resume: vec![] });
    for _ in 0..WAITING_MAX / 2 {
        assert!(next(&mut partitions, 0).is_some());
    }
    assert_eq!(partitions.turns(false), Turns { pause: vec![], resume: vec![] });
    assert!(next(&mut partitions, 0).is_some());
    assert_eq!(partitions.turns(true), Turns { pause: vec![], resume: vec![] }, "the engine is stalled");
    assert_eq!(partitions.turns(false), Turns { pause: vec![], resume: vec![source(0)] });
    assert_eq!(partitions.turns(true).pause, [source(0)], "partition 1 has nothing that waits");
}

/// Guarantees: what another member will read is committed by nobody here, and what came by an assignment before does not
/// count for the present one.
#[test]
fn what_is_left_is_not_finished_and_an_old_assignment_finishes_nothing() {
    let mut partitions = two();
    partitions.remove(&source(1));
    for offset in 0..3 {
        assert!(receive(&mut partitions, 0, offset, 100));
    }
    let (first, second) = (partitions.next(steady(0)).unwrap(), partitions.next(steady(0)).unwrap());
    partitions.leave(&source(0));
    assert!(!receive(&mut partitions, 0, 3, 100), "it is somebody else's");
    assert_eq!(next(&mut partitions, 0), None);
    assert_eq!(partitions.finish(&source(0), first.epoch, 0), Some(0));
    assert!(!partitions.settled(&source(0)));
    partitions.put_back(second);
    assert!(partitions.settled(&source(0)));
    partitions.remove(&source(0));
    partitions.assign(source(0));
    assert!(receive(&mut partitions, 0, 2, 100));
    assert_eq!(partitions.finish(&source(0), first.epoch, 2), None);
    let again = partitions.next(steady(0).after(SECOND * 3)).unwrap();
    assert_eq!(partitions.finish(&source(0), again.epoch, 2), Some(2));
}

#[test]
fn lag_counts_what_is_not_taken_over_and_is_unknown_until_the_end_is() {
    let mut partitions = two();
    partitions.assign(source(2));
    assert!(receive(&mut partitions, 0, 3, 100));
    let lags: Vec<_> = partitions.standings().map(|(_, standing)| standing.lag).collect();
    assert_eq!(lags, [Some(7), None, None]);
}
