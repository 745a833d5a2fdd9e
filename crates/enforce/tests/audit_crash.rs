//! The audit log of a process that is killed, or that meets a full disk: what was acknowledged is there, as one
//! chain.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod child;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use selvedge_enforce::audit::{AuditEntry, AuditKind, AuditLog, AuditOptions, PublicKey, records, verify};
use selvedge_model::ObservedTime;
use selvedge_testkit::Rng;

const KILLS: usize = 100;
/// Small, so that checkpoints and new files fall into the short life of a child.
const OPTIONS: AuditOptions = AuditOptions { checkpoint_records_max: 5, file_bytes_max: 8_000 };

fn entry(number: u64) -> AuditEntry {
    AuditEntry {
        at: ObservedTime(number),
        kind: AuditKind::Push,
        subject: format!("selvedge-q-{number:016x}"),
        who: "engine".to_owned(),
        why: "tested".to_owned(),
        detail: BTreeMap::from([("filler", "x".repeat(100))]),
    }
}

/// Does nothing in a test run: it is the child's side, until it is killed or the disk is full.
#[test]
fn child_appends_until_it_cannot() {
    let Some(folder) = child::place() else { return };
    let mut log = AuditLog::open(Path::new(&folder), ObservedTime(1), OPTIONS).unwrap();
    println!("ready");
    loop {
        let number = log.last_seq();
        match log.append(&entry(number)) {
            Ok(seq) => println!("ack {seq} {number}"),
            Err(error) => {
                println!("refused {error}: {}", std::error::Error::source(&error).unwrap());
                return;
            }
        }
    }
}

/// Every acknowledged record stands where the child said; returns the number of the last record.
fn check(folder: &Path, said: &[String]) -> u64 {
    let key = PublicKey::beside(folder).unwrap();
    let last = verify(folder, &key).unwrap().seq;
    for line in said {
        let (seq, number) = line.split_once(' ').unwrap();
        let seq = seq.parse().unwrap();
        let record =
            records(folder, seq, 1).unwrap().next().expect("an acknowledged record is there").unwrap();
        assert_eq!(record.subject, entry(number.parse().unwrap()).subject);
    }
    last
}

#[test]
fn killed_at_any_moment_every_acknowledged_record_is_in_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::seeded(21);
    let mut acknowledged = 0;
    for _ in 0..KILLS {
        let grace = Duration::from_micros(rng.below(30_000));
        let said = child::run_and_kill("child_appends_until_it_cannot", folder.path(), grace, rng.once_in(4));
        acknowledged += said.len();
        // What the next one does first, so that a torn line is cut.
        drop(AuditLog::open(folder.path(), ObservedTime(1), OPTIONS).unwrap());
        check(folder.path(), &said);
    }
    let last = check(folder.path(), &[]);
    println!("{KILLS} kills, {acknowledged} acknowledged records, {last} in the chain");
    assert!(KILLS < acknowledged, "the children hardly worked");
}

/// Scenario: the system lets the log's files grow to 4 KiB and no further, as a full disk or a quota does.
/// Guarantees: the write is refused by name, and what was acknowledged before is whole; with room the log goes
/// on.
#[test]
fn a_full_disk_refuses_the_record_and_harms_none() {
    let folder = tempfile::tempdir().unwrap();
    let text = child::run_with_file_size_max("child_appends_until_it_cannot", folder.path(), 4);
    let refused: Vec<_> = text.lines().filter(|line| line.starts_with("refused ")).collect();
    assert_eq!(refused.len(), 1, "{text}");
    assert!(refused[0].contains("audit.log cannot be read or written: File too large"), "{}", refused[0]);
    let said: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("ack ").map(str::to_owned)).collect();
    assert!(4 < said.len(), "{text}");
    let last = check(folder.path(), &said);
    let mut log = AuditLog::open(folder.path(), ObservedTime(1), OPTIONS).unwrap();
    assert_eq!(log.append(&entry(1)).unwrap(), last + 1);
}
