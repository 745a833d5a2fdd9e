//! Every single-bit change in a log of 1,000 records is found.
//!
//! There are millions of them, so each is not tried by walking the whole log: a walk up to the changed record
//! comes to the place it came to before, because the bytes before it are the same, and it stops there. So the
//! changed record is given to the same check, at that place. That this says what `verify` says is tried on a
//! sample.

use std::collections::BTreeMap;

use selvedge_testkit::Rng;

use super::*;

const RECORDS: u64 = 1_000;
const SAMPLE: usize = 300;

/// A log with its records as lines, and the place of the chain before each.
struct Log {
    folder: tempfile::TempDir,
    key: PublicKey,
    bytes: Vec<u8>,
    lines: Vec<(usize, usize)>,
    before: Vec<Position>,
}

impl Log {
    fn of_1000_records() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(folder.path(), ObservedTime(1), AuditOptions::default()).unwrap();
        let mut rng = Rng::seeded(3);
        while log.last_seq() < RECORDS - 1 {
            log.append_all(&[entry(log.last_seq(), &mut rng)]).unwrap();
        }
        let key = log.public_key();
        log.close(ObservedTime(2)).unwrap();
        let bytes = fs::read(files::current(folder.path())).unwrap();
        let ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').collect();
        let begins = std::iter::once(0).chain(ends.iter().map(|end| end + 1));
        let lines: Vec<_> = begins.zip(ends.iter().copied()).collect();
        let mut before = vec![Position::START];
        for (begin, end) in &lines {
            before.push(line::check(&bytes[*begin..*end], before[before.len() - 1], &key).unwrap().1);
        }
        Self { folder, key, bytes, lines, before }
    }

    /// What the check says of record `index` when these bytes stand from its begin to the end of the file or
    /// the next record. Split at line ends as a reader does, the first line with a flaw counts.
    fn check(&self, index: usize, changed: &[u8]) -> Option<(u64, Flaw)> {
        let mut position = self.before[index];
        let mut rest = changed;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let Some(end) = end else { return Some((position.seq + 1, Flaw::NotARecord)) };
            match line::check(&rest[..end], position, &self.key) {
                Ok((_, next)) => position = next,
                Err(flaw) => return Some((position.seq + 1, flaw)),
            }
            rest = &rest[end + 1..];
        }
        None
    }

    /// The bytes of record `index` with its line end; with the next record, when they become one line.
    fn with_change(&self, index: usize, at: usize, bit: u8, out: &mut Vec<u8>) {
        let (begin, end) = self.lines[index];
        let upto = if at == end { self.lines.get(index + 1).map_or(end, |(_, end)| *end) } else { end };
        out.clear();
        out.extend_from_slice(&self.bytes[begin..=upto]);
        out[at - begin] ^= 1 << bit;
    }

    /// What `verify` says of the file with these bytes.
    fn verify(&self, bytes: &[u8]) -> Option<(u64, Flaw)> {
        fs::write(files::current(self.folder.path()), bytes).unwrap();
        match verify(self.folder.path(), &self.key) {
            Ok(_) => None,
            Err(AuditError::Broken(broken)) => Some((broken.seq, broken.flaw)),
            Err(other) => panic!("{other}"),
        }
    }
}

fn entry(number: u64, rng: &mut Rng) -> AuditEntry {
    let kind = AuditKind::ALL[usize::try_from(rng.below(AuditKind::ALL.len() as u64)).unwrap()];
    AuditEntry {
        at: ObservedTime(1_700_000_000_000_000_000 + number),
        kind,
        subject: format!("selvedge-q-{:016x}", rng.bits()),
        who: "engine".to_owned(),
        why: "courier \u{2192} ledger is a path nobody took before".to_owned(),
        detail: BTreeMap::from([("node", format!("n{}", rng.below(50))), ("state", "enforced".to_owned())]),
    }
}

#[test]
fn every_single_bit_change_in_a_log_of_1000_records_is_found_and_its_record_named() {
    let log = Log::of_1000_records();
    assert!(RECORDS <= log.lines.len() as u64);
    assert_eq!(log.verify(&log.bytes), None, "the log itself is whole");
    let mut rng = Rng::seeded(4);
    let total = log.bytes.len() * 8;
    let sample: std::collections::BTreeSet<usize> =
        (0..SAMPLE).map(|_| usize::try_from(rng.below(total as u64)).unwrap()).collect();
    let (mut changes, mut changed) = (0, Vec::new());
    for (index, (begin, end)) in log.lines.iter().enumerate() {
        for at in *begin..=*end {
            for bit in 0..8_u8 {
                log.with_change(index, at, bit, &mut changed);
                let found = log.check(index, &changed);
                let seq = log.before[index].seq + 1;
                assert_eq!(found.as_ref().map(|found| found.0), Some(seq), "byte {at}, bit {bit}");
                changes += 1;
                let joins_or_splits = at == *end || changed[at - begin] == b'\n';
                let rarely = joins_or_splits && index % 97 == 0;
                if rarely || sample.contains(&(at * 8 + usize::from(bit))) {
                    let mut whole = log.bytes.clone();
                    whole[at] ^= 1 << bit;
                    assert_eq!(log.verify(&whole), found, "byte {at}, bit {bit}");
                }
            }
        }
    }
    assert_eq!(changes, total, "every bit was tried");
    println!("{changes} single-bit changes, all found");
}

#[test]
fn every_single_bit_change_of_the_head_file_is_found() {
    let log = Log::of_1000_records();
    let path = log.folder.path().join(head::HEAD_FILE);
    let good = fs::read(&path).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let found = verify(log.folder.path(), &log.key).unwrap_err();
        assert!(
            matches!(found, AuditError::Broken(Broken { flaw: Flaw::NotSigned, .. })),
            "bit {bit}: {found}"
        );
    }
}
