//! Full, read-only and failing disks, and the byte budget: each refuses, and is over when its cause is.

use std::io::ErrorKind;

use proptest::prelude::*;

use super::kit::*;
use crate::journal::*;

const PAUSE: Duration = Duration::from_secs(1);

fn bodies(folder: &std::path::Path) -> Vec<String> {
    let (frames, stats) = stored(folder);
    assert_eq!(stats.frames_lost.get(), 0);
    frames.into_iter().map(|(_, body)| String::from_utf8(body).unwrap()).collect()
}

/// Scenario: each operation fails in each way, in the middle of a segment and at its beginning, for a while.
/// Guarantees: batches are refused with the reason, others are accepted as soon as the disk works again, and what a
/// restart reads is what was accepted, each once.
#[test]
fn every_failure_refuses_retryably_and_ends_with_its_cause() {
    use Operation::{Append, Create, Cut, Remove, Reserve, Sync, SyncFolder};
    let kinds = [
        (ErrorKind::StorageFull, Unstored::DiskFull),
        (ErrorKind::QuotaExceeded, Unstored::DiskFull),
        (ErrorKind::FileTooLarge, Unstored::DiskFull),
        (ErrorKind::ReadOnlyFilesystem, Unstored::ReadOnly),
        (ErrorKind::Other, Unstored::IoError),
    ];
    for (kind, reason) in kinds {
        for failing in
            [&[Append][..], &[Sync], &[Sync, Cut], &[Append, Cut, Remove], &[Sync, Create, SyncFolder]]
        {
            let folder = tempfile::tempdir().unwrap();
            let disk = Faulty::default();
            let mut running = Running::start(config(folder.path()), disk.clone());
            running.store("before", 1).unwrap();
            failing.iter().for_each(|operation| disk.fail(*operation, kind));
            assert_eq!(running.store("lost", 1), Err(reason), "{failing:?}");
            assert_eq!(running.store("at once", 1), Err(reason), "{failing:?}");
            running.clock.pass(PAUSE);
            assert_eq!(running.store("tried again", 1), Err(reason), "{failing:?}");
            disk.heal();
            assert_eq!(running.store("too soon", 1), Err(reason), "{failing:?}");
            running.clock.pass(PAUSE);
            assert_eq!(running.store("after", 1), Ok(Position(1)), "{failing:?}");
            assert_eq!(running.stats.refusals(reason), 4);
            running.end();
            assert_eq!(bodies(folder.path()), ["before", "after"], "{failing:?} {kind:?}");
        }
        for failing in [Create, Reserve, SyncFolder, Remove] {
            let folder = tempfile::tempdir().unwrap();
            let disk = Faulty::default();
            let mut running = Running::start(config(folder.path()), disk.clone());
            disk.fail(failing, kind);
            assert_eq!(running.store("no segment", 1), Err(reason), "{failing:?}");
            disk.heal();
            running.clock.pass(PAUSE);
            assert_eq!(running.store("after", 1), Ok(Position(0)), "{failing:?}");
            running.end();
            assert_eq!(bodies(folder.path()), ["after"], "{failing:?} {kind:?}");
        }
    }
}

/// Scenario: the journal is as large as it may be.
/// Guarantees: refused while all of it is needed; what only a restart would read goes before that; what is released
/// goes first of all; never more bytes than the budget.
#[test]
fn at_the_budget_batches_are_refused_until_something_is_not_needed_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let config = JournalConfig { bytes_max: 16 << 10, ..config(folder.path()) };
    let mut running = Running::start(config, Faulty::default());
    let body = vec![7; 1_000];
    let mut accepted = 0;
    while let Ok(position) = running.store(body.clone(), 1) {
        assert_eq!(position, Position(accepted));
        accepted += 1;
    }
    assert_eq!(accepted, 16, "four segments of four frames");
    assert_eq!(running.store(body.clone(), 1), Err(Unstored::Budget));
    assert_eq!(running.stats.segments.get(), 4);
    running.retention.expendable(Position(3));
    assert_eq!(running.store(body.clone(), 1), Err(Unstored::Budget), "the first segment holds position 3");
    running.retention.expendable(Position(4));
    assert_eq!(running.store(body.clone(), 1), Ok(Position(16)));
    assert_eq!(running.stats.segments_shortened.get(), 1);
    running.retention.released(Position(12));
    assert_eq!(running.store(body.clone(), 1), Ok(Position(17)));
    assert_eq!((running.stats.segments_released.get(), running.stats.segments.get()), (2, 2));
    assert!(running.stats.bytes.get() <= 16 << 10);
    running.end();
    let positions: Vec<u64> = stored(folder.path()).0.into_iter().map(|(position, _)| position).collect();
    assert_eq!(positions, (12..18).collect::<Vec<_>>());
}

/// Guarantees: a batch that is larger than a segment gets one of its own.
#[test]
fn a_batch_larger_than_a_segment_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(config(folder.path()), Faulty::default());
    for size in [10, 100_000, 10] {
        running.store(vec![1; size], 1).unwrap();
    }
    running.end();
    let sizes: Vec<usize> = stored(folder.path()).0.iter().map(|(_, body)| body.len()).collect();
    assert_eq!(sizes, [10, 100_000, 10]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Scenario: the disk fails and heals at random, in random ways, between batches.
    /// Guarantees: whatever was accepted is read again, each once, in order; nothing else is.
    #[test]
    fn whatever_the_disk_does_what_was_accepted_is_what_is_read(
        steps in prop::collection::vec((0_usize..7, 0_u8..4, 1_usize..1_500), 1..60)
    ) {
        use Operation::{Append, Create, Cut, Remove, Reserve, Sync, SyncFolder};
        let folder = tempfile::tempdir().unwrap();
        let disk = Faulty::default();
        let mut running = Running::start(config(folder.path()), disk.clone());
        let mut accepted = Vec::new();
        for (at, (operation, fate, size)) in steps.into_iter().enumerate() {
            match fate {
                0 => disk.fail(
                    [Create, Reserve, Append, Sync, Cut, Remove, SyncFolder][operation],
                    ErrorKind::StorageFull,
                ),
                1 => disk.heal(),
                _ => running.clock.pass(PAUSE),
            }
            let body = vec![u8::try_from(at).unwrap(); size];
            if running.store(body.clone(), 1).is_ok() {
                accepted.push(body);
            }
        }
        running.end();
        let read: Vec<Vec<u8>> = stored(folder.path()).0.into_iter().map(|(_, body)| body).collect();
        // A disk that failed to the end may have kept frames of the last attempt, which nobody heard of.
        prop_assert_eq!(&read[..accepted.len()], &accepted[..]);
        prop_assert!(read.len() <= accepted.len() + 1);
    }
}
