//! Group commit, and that nothing is handed on before it is durable.

use super::kit::*;
use crate::journal::*;

/// Scenario: a hundred batches arrive while the device is busy with the first.
/// Guarantees: none of them is handed on before its sync has returned, and they share one.
#[test]
fn batches_that_arrive_while_the_device_is_busy_share_the_next_sync() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    disk.hold_syncs(true);
    let config = JournalConfig { segment_bytes: 1 << 20, bytes_max: 4 << 20, ..config(folder.path()) };
    let mut running = Running::start(config, disk.clone());
    let mut receipts = vec![running.submit(batch("first", 1))];
    disk.await_held_sync();
    receipts.extend((0..100).map(|n| running.submit(batch(format!("batch {n}"), 2))));
    assert!(running.engine.try_recv().is_err(), "handed on before it was durable");
    assert!(receipts.iter_mut().all(|receipt| receipt.try_recv().is_err()));
    disk.hold_syncs(false);
    for position in 0..101 {
        assert_eq!(running.engine.blocking_recv().unwrap().position, Some(Position(position)));
    }
    assert_eq!((disk.syncs(), running.stats.commits.get(), running.stats.batches.get()), (2, 2, 101));
    running.end();
    assert_eq!(stored(folder.path()).0.len(), 101);
}

/// Guarantees: with an interval, batches that come one after the other share syncs too.
#[test]
fn a_commit_interval_saves_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let config = JournalConfig { commit_interval: Duration::from_millis(50), ..config(folder.path()) };
    let mut running = Running::start(config, disk.clone());
    for n in 0..40 {
        running.submit(batch(format!("batch {n}"), 1));
        // The engine has none of it, so nobody waits: they trickle in.
        std::thread::yield_now();
    }
    for position in 0..40 {
        assert_eq!(running.engine.blocking_recv().unwrap().position, Some(Position(position)));
    }
    assert!(disk.syncs() < 10, "{} syncs", disk.syncs());
    running.end();
}

/// Guarantees: what was handed over before the receivers ended is stored and handed on.
#[test]
fn a_shutdown_stores_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(config(folder.path()), Faulty::default());
    let receipts: Vec<_> = (0..300).map(|_| running.submit(batch(vec![7; 100], 1))).collect();
    let left = running.end();
    assert_eq!(left.len(), 300);
    drop(receipts);
    let (frames, stats) = stored(folder.path());
    assert_eq!(frames.len(), 300);
    assert_eq!(stats.bytes_torn.get(), 0);
    assert!(segment::list(folder.path()).unwrap().len() > 5, "segments of 4 KiB");
}

#[test]
fn a_folder_is_used_by_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = Journal::open(config(folder.path())).unwrap();
    assert!(matches!(Journal::open(config(folder.path())), Err(JournalError::Locked { .. })));
    drop(first);
    Journal::open(config(folder.path())).unwrap();
}

/// Guarantees: a segment spans no more time than it may, so that little is kept beyond what is needed.
#[test]
fn segments_are_rotated_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(config(folder.path()), Faulty::default());
    let minute = 60_000_000_000;
    for observed in [0, minute - 1, minute, 2 * minute - 1, 2 * minute] {
        running.store("x", observed).unwrap();
    }
    running.end();
    let firsts: Vec<u64> =
        segment::list(folder.path()).unwrap().into_iter().map(|(first, _)| first).collect();
    assert_eq!(firsts, [0, 2, 4]);
}
