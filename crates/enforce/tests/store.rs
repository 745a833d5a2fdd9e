//! What the lease store promises: nothing lost, nothing doubled, nothing taken for empty, everything bounded.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod sample;

use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use sample::{after, change, grant, moment, quarantine};
use selvedge_enforce::store::{Lease, Moment, Store, StoreError, StoreLimits};
use selvedge_model::{Quarantine, QuarantineState};
use selvedge_testkit::Rng;
use tempfile::TempDir;

const LIMITS: StoreLimits =
    StoreLimits { open_max: 4, ended_max: 2, history_max: 3, record_bytes_max: 64 * 1024 };

fn fresh() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    (folder, path)
}

fn open(path: &Path, now: Moment) -> Store {
    Store::open(path, now, LIMITS).unwrap()
}

fn enforced(id: &str) -> Quarantine {
    quarantine(id, QuarantineState::Enforced)
}

fn remaining(store: &Store, now: Moment) -> Option<u64> {
    store.load(now).unwrap()[0].remaining.map(|left| left.as_secs())
}

#[test]
fn what_was_committed_is_there_after_a_restart_word_for_word() {
    let (_folder, path) = fresh();
    let store = open(&path, after(0));
    let committed = store.commit(&change(enforced("a"), 0, grant(600)), after(1)).unwrap();
    store.commit(&change(quarantine("b", QuarantineState::Proposed), 0, Lease::Keep), after(1)).unwrap();
    drop(store);
    let loaded = open(&path, after(1)).load(after(1)).unwrap();
    assert_eq!(loaded.len(), 2);
    assert_eq!(loaded[0], committed);
    assert_eq!(loaded[0].remaining, Some(Duration::from_secs(600)));
    let expected = Quarantine { expires: Some(after(601).wall), ..enforced("a") };
    assert_eq!(loaded[0].quarantine, expected);
    assert_eq!(loaded[1].quarantine, quarantine("b", QuarantineState::Proposed));
    assert_eq!((loaded[1].remaining, loaded[1].revision), (None, 1));
}

#[test]
fn of_two_commands_on_the_same_revision_one_wins() {
    let (_folder, path) = fresh();
    let store = open(&path, after(0));
    let mut revision = store.commit(&change(enforced("a"), 0, grant(600)), after(0)).unwrap().revision;
    for _ in 0..20 {
        let barrier = Barrier::new(2);
        let both = std::thread::scope(|scope| {
            let command = || {
                barrier.wait();
                store.commit(&change(enforced("a"), revision, grant(600)), after(1))
            };
            let (first, second) = (scope.spawn(command), scope.spawn(command));
            [first.join().unwrap(), second.join().unwrap()]
        });
        let won = both.iter().filter(|outcome| outcome.is_ok()).count();
        let told = both.iter().filter(|outcome| {
            matches!(outcome, Err(StoreError::Conflict { expected, found, .. })
                if *expected == revision && *found == revision + 1)
        });
        assert_eq!((won, told.count()), (1, 1));
        revision += 1;
    }
    assert_eq!(store.load(after(2)).unwrap()[0].revision, revision);
}

#[test]
fn the_same_decision_twice_is_one_quarantine() {
    let (_folder, path) = fresh();
    let store = open(&path, after(0));
    store.commit(&change(enforced("a"), 0, grant(600)), after(0)).unwrap();
    let again = store.commit(&change(enforced("a"), 0, grant(600)), after(1));
    assert!(matches!(again, Err(StoreError::Conflict { expected: 0, found: 1, .. })));
    assert_eq!(store.load(after(1)).unwrap().len(), 1);
}

#[test]
fn a_refused_change_changes_nothing() {
    let (_folder, path) = fresh();
    let store = open(&path, after(0));
    store.commit(&change(enforced("a"), 0, grant(600)), after(0)).unwrap();
    let before = (store.load(after(9)).unwrap(), store.history("a").unwrap());
    let mut large = enforced("a");
    large.reason = "x".repeat(LIMITS.record_bytes_max);
    assert!(matches!(
        store.commit(&change(large, 1, Lease::Keep), after(1)),
        Err(StoreError::TooLarge { .. })
    ));
    let unleased = store.commit(&change(enforced("a"), 1, Lease::End), after(1));
    assert!(matches!(unleased, Err(StoreError::NotLeased { .. })));
    let unknown = store.commit(&change(enforced("z"), 3, grant(1)), after(1));
    assert!(matches!(unknown, Err(StoreError::Conflict { expected: 3, found: 0, .. })));
    assert_eq!((store.load(after(9)).unwrap(), store.history("a").unwrap()), before);
}

#[test]
fn an_ended_quarantine_has_no_lease_and_does_not_come_back() {
    let (_folder, path) = fresh();
    let store = open(&path, after(0));
    store.commit(&change(enforced("a"), 0, grant(600)), after(0)).unwrap();
    let lifted = quarantine("a", QuarantineState::Lifted);
    let ended = store.commit(&change(lifted.clone(), 1, grant(600)), after(1)).unwrap();
    assert_eq!((ended.remaining, ended.quarantine.expires), (None, None));
    let back = store.commit(&change(enforced("a"), 2, grant(600)), after(2));
    assert!(matches!(back, Err(StoreError::Ended { state: QuarantineState::Lifted, .. })));
    assert_eq!(store.commit(&change(lifted, 2, Lease::Keep), after(2)).unwrap().revision, 3);
    assert_eq!(store.counts().unwrap().ended, 1);
}

#[test]
fn a_lease_runs_by_the_steady_clock_while_we_run() {
    let (_folder, path) = fresh();
    let store = open(&path, moment(0, 500));
    store.commit(&change(enforced("a"), 0, grant(600)), moment(0, 500)).unwrap();
    assert_eq!(remaining(&store, moment(1_000_000, 510)), Some(590), "the wall clock jumped forward");
    assert_eq!(remaining(&store, moment(0, 520)), Some(580), "and back");
    store.commit(&change(enforced("a"), 1, Lease::Keep), moment(77, 530)).unwrap();
    assert_eq!(
        remaining(&store, moment(0, 540)),
        Some(560),
        "a change that keeps the lease does not prolong it"
    );
    store.commit(&change(enforced("a"), 2, grant(600)), moment(77, 550)).unwrap();
    assert_eq!(remaining(&store, moment(0, 550)), Some(600), "a renewal does");
    assert_eq!(remaining(&store, moment(0, 9_999)), Some(0));
}

#[test]
fn time_that_nobody_ran_counts_by_the_wall_clock() {
    let (_folder, path) = fresh();
    let store = open(&path, moment(0, 0));
    store.commit(&change(enforced("a"), 0, grant(600)), moment(0, 0)).unwrap();
    store.note_alive(moment(100, 100)).unwrap();
    drop(store);
    // Killed at 100 or a little later; another process, with a steady clock of its own, comes at 250.
    let store = open(&path, moment(250, 7));
    assert_eq!(remaining(&store, moment(250, 7)), Some(350));
    drop(store);
    let store = open(&path, moment(300, 3));
    assert_eq!(remaining(&store, moment(310, 13)), Some(290));
    drop(store);
    let store = open(&path, moment(5_000, 0));
    assert_eq!(remaining(&store, moment(5_000, 0)), Some(0));
}

#[test]
fn a_wall_clock_set_back_while_nobody_ran_neither_lifts_nor_prolongs() {
    let (_folder, path) = fresh();
    let store = open(&path, moment(10_000, 0));
    store.commit(&change(enforced("a"), 0, grant(600)), moment(10_000, 0)).unwrap();
    store.note_alive(moment(10_100, 100)).unwrap();
    drop(store);
    let store = open(&path, moment(0, 0));
    assert_eq!(remaining(&store, moment(0, 0)), Some(500), "what was left when last written");
    drop(store);
    // It counts from the clock as it is now, not as it was before it was set.
    let store = open(&path, moment(50, 0));
    assert_eq!(remaining(&store, moment(50, 0)), Some(450));
}

#[test]
fn a_wall_clock_set_forward_while_nobody_ran_counts_once() {
    let (_folder, path) = fresh();
    let store = open(&path, moment(0, 0));
    store.commit(&change(enforced("a"), 0, grant(600)), moment(0, 0)).unwrap();
    drop(store);
    let store = open(&path, moment(400, 0));
    assert_eq!(remaining(&store, moment(400, 0)), Some(200));
    drop(store);
    let store = open(&path, moment(1, 0));
    assert_eq!(remaining(&store, moment(1, 0)), Some(200), "set back again: what is left does not grow");
}

/// Scenario: a wall clock that says anything, steps of the steady clock, restarts, in a random order.
/// Guarantees: what is left of a lease never grows while a process runs, and over a restart is at most what was
/// written.
#[test]
fn whatever_the_clocks_do_a_lease_is_not_prolonged() {
    let (_folder, path) = fresh();
    let mut rng = Rng::seeded(11);
    let mut store = open(&path, moment(5_000, 0));
    store.commit(&change(enforced("a"), 0, grant(600)), moment(5_000, 0)).unwrap();
    let (mut left, mut written, mut steady) = (600, 600, 0);
    for _ in 0..60 {
        steady += rng.below(6);
        let wall = rng.below(10_000);
        let limit = match rng.below(3) {
            0 => {
                store.note_alive(moment(wall, steady)).unwrap();
                written = left;
                left
            }
            1 => {
                drop(store);
                steady = rng.below(1_000);
                store = open(&path, moment(wall, steady));
                written
            }
            _ => left,
        };
        left = remaining(&store, moment(wall, steady)).unwrap();
        assert!(left <= limit, "{left} s after {limit} s");
    }
}

#[test]
fn a_full_store_refuses_new_quarantines_and_drops_no_open_one() {
    let (_folder, path) = fresh();
    let store = open(&path, after(0));
    for id in ["a", "b", "c", "d"] {
        store.commit(&change(enforced(id), 0, grant(600)), after(0)).unwrap();
    }
    let fifth = store.commit(&change(enforced("e"), 0, grant(600)), after(0));
    assert!(matches!(fifth, Err(StoreError::Full { open_max: 4 })));
    store.commit(&change(quarantine("a", QuarantineState::Expired), 1, Lease::End), after(1)).unwrap();
    store.commit(&change(enforced("e"), 0, grant(600)), after(2)).unwrap();
    let counts = store.counts().unwrap();
    assert_eq!((counts.open, counts.ended, counts.ended_forgotten), (4, 1, 0));
}

#[test]
fn the_quarantine_that_ended_first_is_forgotten_first_and_counted() {
    let (_folder, path) = fresh();
    let store = open(&path, after(0));
    store.commit(&change(enforced("live"), 0, grant(600)), after(0)).unwrap();
    for id in ["c", "a", "b"] {
        store.commit(&change(enforced(id), 0, grant(600)), after(1)).unwrap();
        store.commit(&change(quarantine(id, QuarantineState::Lifted), 1, Lease::End), after(2)).unwrap();
    }
    let ids: Vec<_> = store.load(after(3)).unwrap().into_iter().map(|stored| stored.quarantine.id).collect();
    assert_eq!(ids, ["a", "b", "live"]);
    assert_eq!(store.history("c").unwrap().events, []);
    assert_eq!(store.history("b").unwrap().events.len(), 2);
    assert_eq!(store.counts().unwrap().ended_forgotten, 1);
}

#[test]
fn a_history_keeps_its_newest_events_and_counts_the_rest() {
    let (_folder, path) = fresh();
    let store = open(&path, after(0));
    for revision in 0..8 {
        store.commit(&change(enforced("a"), revision, grant(600)), after(revision)).unwrap();
    }
    store.commit(&change(enforced("ab"), 0, grant(600)), after(9)).unwrap();
    let history = store.history("a").unwrap();
    let revisions: Vec<_> = history.events.iter().map(|event| event.revision).collect();
    assert_eq!((revisions, history.forgotten), (vec![6, 7, 8], 5));
    assert_eq!(history.events[2].at, after(7).wall);
    assert_eq!((history.events[2].who.as_str(), history.events[2].what.as_str()), ("engine", "tested"));
    assert_eq!(history.events[2].state, QuarantineState::Enforced);
}
