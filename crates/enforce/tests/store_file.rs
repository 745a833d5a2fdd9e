//! A lease store that cannot be read is an error and never an empty store.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod sample;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sample::{after, change, grant, quarantine};
use selvedge_enforce::store::{Store, StoreError, StoreLimits, StoredQuarantine};
use selvedge_model::QuarantineState;
use selvedge_testkit::Rng;

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, after(0), StoreLimits::default())
}

/// A store with three quarantines, closed.
fn filled(path: &Path) -> Vec<StoredQuarantine> {
    let store = open(path).unwrap();
    for id in ["a", "b", "c"] {
        store.commit(&change(quarantine(id, QuarantineState::Enforced), 0, grant(600)), after(0)).unwrap();
    }
    store.load(after(0)).unwrap()
}

#[test]
fn a_missing_file_is_a_new_store_for_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    assert_eq!(open(&path).unwrap().load(after(0)).unwrap(), []);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_missing_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not-mounted/leases.redb");
    assert!(matches!(open(&path), Err(StoreError::Unreadable { .. })));
    assert!(!path.exists());
}

#[test]
fn an_emptied_file_is_not_a_new_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    fs::write(&path, b"").unwrap();
    assert!(matches!(open(&path), Err(StoreError::Corrupt { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn a_file_of_something_else_is_an_error_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    for bytes in [&b"{}"[..], &[0; 65_536], &[0xff; 5_000]] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(open(&path), Err(StoreError::Unreadable { .. } | StoreError::Corrupt { .. })));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_store_in_use_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    let _first = open(&path).unwrap();
    let second = open(&path).unwrap_err();
    assert!(matches!(second, StoreError::Locked { .. }));
    assert!(second.to_string().ends_with("leases.redb is in use by another process"));
}

#[test]
fn a_store_of_a_later_version_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    filled(&path);
    let database = redb::Database::open(&path).unwrap();
    let write = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    write.open_table(meta).unwrap().insert("format", 2).unwrap();
    write.commit().unwrap();
    drop(database);
    assert!(matches!(open(&path), Err(StoreError::Newer { found: 2, known: 1, .. })));
}

#[test]
fn a_record_that_is_not_understood_refuses_the_whole_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    filled(&path);
    let database = redb::Database::open(&path).unwrap();
    let write = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, &[u8]>::new("quarantines");
    write.open_table(table).unwrap().insert("b", &b"{\"revision\":1}"[..]).unwrap();
    write.commit().unwrap();
    drop(database);
    let refused = open(&path).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Corrupt { what, .. } if what.contains("quarantine b")),
        "{refused}"
    );
}

#[test]
fn a_creation_cut_short_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    fs::write(path.with_extension("new"), b"half a store").unwrap();
    assert_eq!(open(&path).unwrap().load(after(0)).unwrap(), []);
}

/// Scenario: the disk returns other bytes than were written, or the file was cut.
/// Guarantees: the store holds what it held, or opening it is an error.
#[test]
fn a_damaged_file_is_whole_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    let held = filled(&path);
    let good = fs::read(&path).unwrap();
    let mut rng = Rng::seeded(5);
    let (mut refused, mut whole) = (0, 0);
    for round in 0..300 {
        let mut bytes = good.clone();
        let at = usize::try_from(rng.below(good.len() as u64)).unwrap();
        if round % 10 == 0 {
            bytes.truncate(at);
        } else {
            // Most of the file is pages that were never used: go for those that were.
            let used =
                bytes.iter().enumerate().skip(at).find(|(_, byte)| **byte != 0).map_or(0, |(at, _)| at);
            bytes[used] ^= 1 << rng.below(8);
        }
        fs::write(&path, &bytes).unwrap();
        match open(&path) {
            Ok(store) => {
                assert_eq!(store.load(after(0)).unwrap(), held, "round {round}");
                whole += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(0 < refused, "nothing was damaged; {whole} were whole");
}
