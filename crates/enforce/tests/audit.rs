//! What the audit log promises: a chain over restarts and files, whose first flaw is found and named.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use selvedge_enforce::audit::{
    AuditEntry, AuditError, AuditKind, AuditLog, AuditOptions, Broken, Flaw, PublicKey, records, verify,
};
use selvedge_model::ObservedTime;
use tempfile::TempDir;

const NOW: ObservedTime = ObservedTime(1_700_000_000_000_000_000);
const OPTIONS: AuditOptions = AuditOptions { checkpoint_records_max: 10, file_bytes_max: 1 << 20 };

fn entry(subject: &str) -> AuditEntry {
    AuditEntry {
        at: NOW,
        kind: AuditKind::Decision,
        subject: subject.to_owned(),
        who: "engine".to_owned(),
        why: "courier -> ledger is a path nobody took before".to_owned(),
        detail: BTreeMap::from([("state", "enforced".to_owned())]),
    }
}

fn open(folder: &Path) -> AuditLog {
    AuditLog::open(folder, NOW, OPTIONS).unwrap()
}

/// A closed log of `count` entries, its checkpoints beside.
fn written(count: u32) -> (TempDir, PublicKey) {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for number in 0..count {
        log.append(&entry(&format!("q{number}"))).unwrap();
    }
    let key = log.public_key();
    log.close(NOW).unwrap();
    (folder, key)
}

fn lines(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("audit.log")).unwrap().lines().map(str::to_owned).collect()
}

fn put(folder: &Path, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("audit.log"), text).unwrap();
}

/// What is found after the lines were tampered with: line, record, flaw.
fn found(count: u32, tamper: impl FnOnce(&mut Vec<String>)) -> (u64, u64, Flaw) {
    let (folder, key) = written(count);
    verify(folder.path(), &key).unwrap();
    let mut text = lines(folder.path());
    tamper(&mut text);
    put(folder.path(), &text);
    let broken = first_flaw(folder.path(), &key);
    // Who goes on writing sees it too.
    let opened = AuditLog::open(folder.path(), NOW, OPTIONS);
    assert!(matches!(opened, Err(AuditError::Broken(found)) if found == broken));
    (broken.line, broken.seq, broken.flaw)
}

fn first_flaw(folder: &Path, key: &PublicKey) -> Broken {
    match verify(folder, key) {
        Err(AuditError::Broken(broken)) => broken,
        other => panic!("expected a flaw, got {other:?}"),
    }
}

#[test]
fn a_log_goes_on_over_restarts_as_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..7_u64 {
        let mut log = open(folder.path());
        assert_eq!(log.last_seq(), round * 3);
        log.append(&entry("a")).unwrap();
        log.append(&entry("b")).unwrap();
        log.close(NOW).unwrap();
    }
    let key = PublicKey::beside(folder.path()).unwrap();
    let verified = verify(folder.path(), &key).unwrap();
    assert_eq!((verified.records, verified.seq, verified.checkpoints), (21, 21, 7));
    assert_eq!((verified.signed_seq, verified.head_checked), (21, true));
    assert_eq!(PublicKey::parse(&key.to_string()), Some(key));
}

#[test]
fn a_checkpoint_follows_every_so_many_records() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for _ in 0..25 {
        log.append(&entry("a")).unwrap();
    }
    let key = log.public_key();
    drop(log);
    let verified = verify(folder.path(), &key).unwrap();
    assert_eq!((verified.seq, verified.checkpoints, verified.signed_seq), (27, 2, 22));
    let mut log = open(folder.path());
    for _ in 0..5 {
        log.append(&entry("a")).unwrap();
    }
    assert_eq!(verify(folder.path(), &key).unwrap().signed_seq, 33, "records before the restart count too");
}

#[test]
fn a_removed_record_is_found() {
    assert_eq!(found(30, |lines| drop(lines.remove(17))), (18, 18, Flaw::OutOfOrder { found: 19 }));
    assert_eq!(found(30, |lines| drop(lines.remove(0))), (1, 1, Flaw::OutOfOrder { found: 2 }));
}

#[test]
fn swapped_records_are_found() {
    assert_eq!(found(30, |lines| lines.swap(4, 5)), (5, 5, Flaw::OutOfOrder { found: 6 }));
}

#[test]
fn a_repeated_record_is_found() {
    assert_eq!(found(30, |lines| lines.insert(8, lines[7].clone())), (9, 9, Flaw::OutOfOrder { found: 8 }));
}

#[test]
fn a_changed_word_is_found() {
    let change = |lines: &mut Vec<String>| lines[12] = lines[12].replace("enforced", "proposed");
    assert_eq!(found(30, change), (13, 13, Flaw::Changed));
}

/// The line with another text and the hash that goes with it: what an attacker without the key writes.
fn forged(line: &str, from: &str, to: &str) -> String {
    let body = line.split_once(",\"hash\":").unwrap().0.replacen(from, to, 1);
    let hash = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    format!("{body},\"hash\":\"{}\"}}", data_encoding::HEXLOWER.encode(hash.as_ref()))
}

fn hash_of(line: &str) -> &str {
    &line[line.len() - 66..line.len() - 2]
}

#[test]
fn a_record_forged_with_its_hash_breaks_the_chain_after_it() {
    let forge = |lines: &mut Vec<String>| lines[12] = forged(&lines[12], "enforced", "proposed");
    assert_eq!(found(30, forge), (14, 14, Flaw::NotChained));
}

#[test]
fn records_forged_from_one_on_fail_at_the_next_checkpoint() {
    let forge = |lines: &mut Vec<String>| {
        lines[12] = forged(&lines[12], "enforced", "proposed");
        for at in 13..lines.len() {
            let previous = hash_of(&lines[at - 1]).to_owned();
            let old = lines[at].split_once("\"previous\":\"").unwrap().1[..64].to_owned();
            lines[at] = forged(&lines[at], &old, &previous);
        }
    };
    let (line, _, flaw) = found(30, forge);
    assert_eq!((line, flaw), (22, Flaw::NotSigned), "records 11 and 22 are checkpoints");
}

#[test]
fn a_forged_record_at_the_end_is_found_unless_it_continues_the_chain() {
    let wrong = |lines: &mut Vec<String>| {
        let last = lines.last().unwrap().clone();
        let number = lines.len();
        lines.push(forged(&last, &format!("\"seq\":{number},"), &format!("\"seq\":{},", number + 1)));
    };
    let (_, seq, flaw) = found(30, wrong);
    assert_eq!((seq, flaw), (34, Flaw::NotChained));
}

#[test]
fn a_forged_checkpoint_is_found() {
    let (other, other_key) = written(30);
    let (folder, key) = written(30);
    assert_ne!(key, other_key);
    fs::copy(other.path().join("audit.log"), folder.path().join("audit.log")).unwrap();
    let broken = first_flaw(folder.path(), &key);
    assert_eq!((broken.seq, broken.flaw), (11, Flaw::NotSigned));
    verify(other.path(), &other_key).unwrap();
    let foreign = first_flaw(other.path(), &key);
    assert_eq!((foreign.file, foreign.flaw), (other.path().join("audit.head"), Flaw::NotSigned));
}

#[test]
fn a_cut_end_is_found_by_the_head_file() {
    let (line, seq, flaw) = found(25, |lines| lines.truncate(20));
    assert_eq!((line, seq, flaw), (21, 21, Flaw::Truncated { reached: 28 }));
    let (line, seq, flaw) = found(25, |lines| lines.clear());
    assert_eq!((line, seq, flaw), (1, 1, Flaw::Truncated { reached: 28 }));
}

#[test]
fn a_removed_log_is_found_by_the_head_file() {
    let (folder, key) = written(5);
    fs::remove_file(folder.path().join("audit.log")).unwrap();
    assert!(matches!(verify(folder.path(), &key), Err(AuditError::NoLog { .. })));
    let opened = AuditLog::open(folder.path(), NOW, OPTIONS);
    assert!(matches!(opened, Err(AuditError::Broken(Broken { flaw: Flaw::Truncated { reached: 6 }, .. }))));
}

#[test]
fn a_log_without_its_key_or_head_is_not_written_on() {
    let (folder, key) = written(5);
    fs::remove_file(folder.path().join("audit.head")).unwrap();
    assert!(!verify(folder.path(), &key).unwrap().head_checked);
    assert!(matches!(AuditLog::open(folder.path(), NOW, OPTIONS), Err(AuditError::HeadMissing { .. })));
    fs::remove_file(folder.path().join("audit.key")).unwrap();
    assert!(matches!(AuditLog::open(folder.path(), NOW, OPTIONS), Err(AuditError::KeyMissing { .. })));
}

#[test]
fn a_beginning_cut_short_is_begun_again() {
    // The files in the order they are made; dying after any of them leaves those before it.
    let order = ["audit.lock", "audit.key", "audit.pub", "audit.head", "audit.log"];
    for made in 1..=order.len() {
        let folder = tempfile::tempdir().unwrap();
        let key = open(folder.path()).public_key();
        for missing in &order[made..] {
            fs::remove_file(folder.path().join(missing)).unwrap();
        }
        fs::write(folder.path().join("audit.new"), b"half a file").unwrap();
        let mut log = open(folder.path());
        assert_eq!(log.append(&entry("a")).unwrap(), 1);
        assert_eq!(log.public_key() == key, 2 <= made, "a key that was made is kept");
        verify(folder.path(), &log.public_key()).unwrap();
    }
}

#[test]
fn the_key_is_for_its_owner_alone() {
    let (folder, _) = written(1);
    let path = folder.path().join("audit.key");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
    drop(open(folder.path()));
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_log_in_use_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    assert!(matches!(AuditLog::open(folder.path(), NOW, OPTIONS), Err(AuditError::Locked { .. })));
}

#[test]
fn a_missing_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let opened = AuditLog::open(&folder.path().join("not-mounted"), NOW, OPTIONS);
    assert!(matches!(opened, Err(AuditError::Io { .. })));
}

/// Scenario: the machine dies in the middle of a write, so that any part of the last record is on disk.
/// Guarantees: all records before it are there, the part is removed, and a record says how large it was.
#[test]
fn a_torn_last_line_is_cut_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for number in 0..3 {
        log.append(&entry(&format!("q{number}"))).unwrap();
    }
    drop(log);
    let path = folder.path().join("audit.log");
    let good = fs::read(&path).unwrap();
    let last = good.len() - lines(folder.path())[2].len() - 1;
    let zeros = [&good[..last], &[0; 300], b"\n{\"half\":1\n"].concat();
    let cuts = (last + 1..good.len()).step_by(7).map(|cut| good[..cut].to_vec());
    for torn in cuts.chain([zeros]) {
        fs::write(&path, &torn).unwrap();
        let log = open(folder.path());
        assert_eq!(log.last_seq(), 3);
        let key = log.public_key();
        drop(log);
        verify(folder.path(), &key).unwrap();
        let told = records(folder.path(), 3, 1).unwrap().next().unwrap().unwrap();
        assert_eq!((told.kind.as_str(), told.subject.as_str()), ("recovered", "audit.log"));
        assert_eq!(told.detail["bytes"], (torn.len() - last).to_string());
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn a_torn_line_before_the_signed_end_is_a_cut_log() {
    let (folder, _) = written(5);
    let path = folder.path().join("audit.log");
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() - 3]).unwrap();
    let opened = AuditLog::open(folder.path(), NOW, OPTIONS);
    assert!(matches!(opened, Err(AuditError::Broken(Broken { flaw: Flaw::Truncated { reached: 6 }, .. }))));
    assert_eq!(fs::read(&path).unwrap().len(), good.len() - 3, "evidence is left as it is");
}

#[test]
fn a_full_file_is_put_aside_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let small = AuditOptions { file_bytes_max: 4_000, ..OPTIONS };
    let mut log = AuditLog::open(folder.path(), NOW, small).unwrap();
    for number in 0..60 {
        log.append(&entry(&format!("q{number}"))).unwrap();
        if number % 13 == 0 {
            drop(log);
            log = AuditLog::open(folder.path(), NOW, small).unwrap();
        }
    }
    let (key, last) = (log.public_key(), log.last_seq());
    drop(log);
    let verified = verify(folder.path(), &key).unwrap();
    assert_eq!(verified.seq, last);
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("audit-"))
        .collect();
    names.sort();
    assert!(4 < names.len(), "{names:?}");
    for from in [1, 7, 30, last] {
        let read: Vec<_> =
            records(folder.path(), from, 9).unwrap().map(|record| record.unwrap().seq).collect();
        assert_eq!(read, (from..=last).take(9).collect::<Vec<_>>());
    }
    let all = records(folder.path(), 1, u64::MAX).unwrap().map(|record| record.unwrap().seq);
    assert_eq!(all.collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>());
    fs::remove_file(folder.path().join(&names[2])).unwrap();
    let first_missing: u64 = names[2]["audit-".len()..names[2].len() - 4].parse().unwrap();
    assert_eq!(first_flaw(folder.path(), &key).seq, first_missing);
}

#[test]
fn dying_between_two_files_loses_nothing() {
    let (folder, key) = written(12);
    fs::rename(folder.path().join("audit.log"), folder.path().join(format!("audit-{:020}.log", 1))).unwrap();
    let mut log = open(folder.path());
    assert_eq!(log.last_seq(), 14);
    log.append(&entry("next")).unwrap();
    assert_eq!(verify(folder.path(), &key).unwrap().seq, 15);
}

#[test]
fn a_reader_sees_only_whole_records_and_stops_at_what_is_none() {
    let (folder, _) = written(3);
    let path = folder.path().join("audit.log");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"seq\":5,\"at_uni");
    fs::write(&path, &bytes).unwrap();
    let seqs: Vec<_> = records(folder.path(), 2, 100).unwrap().map(|record| record.unwrap().seq).collect();
    assert_eq!(seqs, [2, 3, 4]);
    bytes.push(b'\n');
    fs::write(&path, &bytes).unwrap();
    let outcomes: Vec<_> = records(folder.path(), 4, 100).unwrap().map(|record| record.is_ok()).collect();
    assert_eq!(outcomes, [true, false]);
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    let mut odd = entry("line\nend, \"quotes\" and \u{2028}");
    odd.detail.insert("x", "\u{0}\u{7f}".to_owned());
    assert_eq!(log.append_all(&[entry("a"), odd.clone(), entry("b")]).unwrap(), 3);
    assert_eq!(log.append_all(&[]).unwrap(), 3);
    let record = records(folder.path(), 2, 1).unwrap().next().unwrap().unwrap();
    assert_eq!((record.at, record.kind.as_str(), record.subject), (odd.at, "decision", odd.subject));
    assert_eq!((record.who, record.why), (odd.who, odd.why));
    assert_eq!(record.detail["x"], odd.detail["x"]);
    verify(folder.path(), &log.public_key()).unwrap();
}

#[test]
fn an_empty_folder_is_not_a_whole_log() {
    let (folder, key) = written(1);
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(verify(empty.path(), &key), Err(AuditError::NoLog { .. })));
    drop(folder);
}
