//! A write that fails: the caller is told, and what was acknowledged stays.

use std::collections::BTreeMap;
use std::fs::OpenOptions;

use super::*;

fn entry(number: u64) -> AuditEntry {
    AuditEntry {
        at: ObservedTime(number),
        kind: AuditKind::Push,
        subject: format!("selvedge-q-{number:016x}"),
        who: "engine".to_owned(),
        why: "tested".to_owned(),
        detail: BTreeMap::new(),
    }
}

fn open(folder: &Path) -> AuditLog {
    AuditLog::open(folder, ObservedTime(1), AuditOptions::default()).unwrap()
}

#[test]
fn a_full_disk_that_cannot_be_undone_stops_the_log_until_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    assert_eq!(log.append(&entry(1)).unwrap(), 1);
    log.file = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let full = log.append(&entry(2)).unwrap_err();
    assert!(
        matches!(&full, AuditError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
    );
    assert!(matches!(log.append(&entry(2)), Err(AuditError::Failed)));
    assert!(matches!(log.checkpoint(ObservedTime(2)), Err(AuditError::Failed)));
    drop(log);
    assert_eq!(open(folder.path()).append(&entry(2)).unwrap(), 2);
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_and_nothing_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    log.append(&entry(1)).unwrap();
    log.file = File::open(files::current(folder.path())).unwrap();
    assert!(matches!(log.append(&entry(2)), Err(AuditError::Io { .. })));
    assert_eq!(log.last_seq(), 1);
}

#[test]
fn a_head_file_that_could_not_be_written_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    let in_the_way = folder.path().join("audit.new");
    fs::create_dir(&in_the_way).unwrap();
    log.append(&entry(1)).unwrap();
    assert!(log.checkpoint(ObservedTime(1)).is_err());
    assert_eq!(head::read(folder.path(), &log.public_key()).unwrap(), Some(Position::START));
    fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(log.append(&entry(2)).unwrap(), 3, "the checkpoint is record 2");
    assert_eq!(head::read(folder.path(), &log.public_key()).unwrap(), Some(log.position));
    assert_eq!(verify(folder.path(), &log.public_key()).unwrap().signed_seq, 3);
}
