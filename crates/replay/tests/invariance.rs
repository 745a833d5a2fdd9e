//! The same captures give the same output to the byte, whatever the number of shards and wherever batches are cut.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use common::{JUDGED, NORMAL, frames, outputs, play_paths, play_shipped, write_frames};
use selvedge_testkit::recut;

/// Ways of cutting the same records into batches; a failure names its seed.
const SEEDS: [u64; 3] = [1, 17, 4_711];

/// Guarantees: invariant 3 of the design, for the number of shards.
#[test]
fn the_number_of_shards_changes_nothing() {
    for name in JUDGED {
        let one = outputs(&play_shipped(&NORMAL, &[name], 1));
        for shards in [2, 8] {
            assert_eq!(one, outputs(&play_shipped(&NORMAL, &[name], shards)), "{name} with {shards} shards");
        }
    }
}

/// Scenario: the same records in the same order, in batches cut and merged at random.
/// Guarantees: invariant 3 of the design, for the batches.
#[test]
fn where_batches_are_cut_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for seed in SEEDS {
        let recut_of =
            |name: &str| write_frames(folder.path(), &format!("{name}-{seed}"), &recut(&frames(name), seed));
        let learn: Vec<_> = NORMAL.iter().map(|name| recut_of(name)).collect();
        for name in JUDGED {
            let shipped = outputs(&play_shipped(&NORMAL, &[name], 1));
            let again = outputs(&play_paths(&learn, &[recut_of(name)], 2));
            assert_eq!(shipped, again, "{name} recut with seed {seed}");
        }
    }
}
