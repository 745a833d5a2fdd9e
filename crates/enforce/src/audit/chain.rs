//! Following the chain from record to record: for verification, and to find where to go on writing.

use std::path::{Path, PathBuf};

use super::entry::AuditRecord;
use super::error::{AuditError, Broken, Flaw};
use super::files::{self, Line, Lines};
use super::head;
use super::key::PublicKey;
use super::line::{self, CHECKPOINT, Position};

/// What a whole log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Records, checkpoints among them.
    pub records: u64,
    /// The number of the last one.
    pub seq: u64,
    /// The hash of the last one, 64 hex digits.
    pub hash: String,
    /// Signed checkpoints.
    pub checkpoints: u64,
    /// Up to this record the log is signed. Whoever can write the file could have written those after it.
    pub signed_seq: u64,
    /// There was a head file, so that a cut end would have been found (up to the last signed position).
    pub head_checked: bool,
}

/// Checks every record of the log in `folder`: all its files together, from the first record to the last.
///
/// While the log is being written, the last line may be half there for a moment, and is then reported.
///
/// # Errors
/// [`AuditError::Broken`] names the first record that was changed, removed, repeated or moved, that somebody
/// else wrote or signed, or that is cut off. [`AuditError::NoLog`] when there is nothing to check,
/// [`AuditError::Io`] when it cannot be read.
pub fn verify(folder: &Path, key: &PublicKey) -> Result<Verified, AuditError> {
    // Before the records: it may be behind them when they grow meanwhile, never ahead.
    let head = head::read(folder, key)?;
    let segments = files::segments(folder)?;
    if segments.is_empty() {
        return Err(AuditError::NoLog { folder: folder.to_owned() });
    }
    let mut walk = Walk::new(Position::START, head, *key);
    let mut place = (files::current(folder), 0);
    for segment in segments {
        let mut lines = segment.lines()?;
        while let Some(line) = lines.next()? {
            let flaw = if line.whole { walk.take(&line.bytes).err() } else { Some(Flaw::NotARecord) };
            if let Some(flaw) = flaw {
                return Err(walk.broken(&lines, &line, flaw).into());
            }
            place = (lines.path().to_owned(), line.number);
        }
    }
    walk.check_end(place)?;
    Ok(Verified {
        records: walk.records,
        seq: walk.position.seq,
        hash: walk.position.hash_hex(),
        checkpoints: walk.checkpoints,
        signed_seq: walk.signed_seq(),
        head_checked: head.is_some(),
    })
}

/// A walk along the chain.
pub(super) struct Walk {
    pub(super) position: Position,
    head: Option<Position>,
    key: PublicKey,
    records: u64,
    checkpoints: u64,
    last_checkpoint: u64,
}

impl Walk {
    pub(super) fn new(position: Position, head: Option<Position>, key: PublicKey) -> Self {
        Self { position, head, key, records: 0, checkpoints: 0, last_checkpoint: 0 }
    }

    /// Goes on to the next record.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<AuditRecord, Flaw> {
        let (record, position) = line::check(line, self.position, &self.key)?;
        if self.head.is_some_and(|head| head.seq == position.seq && head != position) {
            return Err(Flaw::AnotherHead);
        }
        self.position = position;
        self.records += 1;
        if record.kind == CHECKPOINT {
            self.checkpoints += 1;
            self.last_checkpoint = position.seq;
        }
        Ok(record)
    }

    /// How many records came after the last checkpoint that was met.
    pub(super) fn since_checkpoint(&self) -> u64 {
        self.records.min(self.position.seq - self.last_checkpoint)
    }

    /// The last record that a signature covers: a checkpoint signs the one before it, and the hash of that one
    /// is in it.
    fn signed_seq(&self) -> u64 {
        let head = self.head.map_or(0, |head| head.seq);
        head.max(self.last_checkpoint.saturating_sub(1))
    }

    /// What is wrong, and where.
    pub(super) fn broken(&self, lines: &Lines, line: &Line, flaw: Flaw) -> Broken {
        Broken { file: lines.path().to_owned(), line: line.number, seq: self.position.seq + 1, flaw }
    }

    /// That the log is not shorter than it once was. `place` is its last line.
    pub(super) fn check_end(&self, place: (PathBuf, u64)) -> Result<(), Broken> {
        match self.head {
            Some(head) if self.position.seq < head.seq => Err(Broken {
                file: place.0,
                line: place.1 + 1,
                seq: self.position.seq + 1,
                flaw: Flaw::Truncated { reached: head.seq },
            }),
            _ => Ok(()),
        }
    }
}

/// Where to go on writing.
pub(super) struct Tail {
    pub(super) position: Position,
    pub(super) since_checkpoint: u64,
    /// The number of the first record of the current file, or of the one it will begin with.
    pub(super) first_seq: u64,
    /// Bytes of the current file that are whole records.
    pub(super) bytes: u64,
    /// A torn last line begins there.
    pub(super) torn: bool,
}

/// Finds the end of the log, checking the current file and the one before it.
pub(super) fn tail(folder: &Path, head: Option<Position>, key: &PublicKey) -> Result<Tail, AuditError> {
    let mut segments = files::segments(folder)?;
    let current = segments.pop_if(|segment| segment.first_seq.is_none());
    let mut walk = Walk::new(Position::START, head, *key);
    let mut place = (files::current(folder), 0);
    if let Some(before) = segments.pop() {
        let first_seq = before.first_seq;
        let mut lines = before.lines()?;
        while let Some(line) = lines.next()? {
            if line.number == 1 {
                walk.position = before_first(&line, first_seq);
            }
            let flaw = if line.whole { walk.take(&line.bytes).err() } else { Some(Flaw::NotARecord) };
            if let Some(flaw) = flaw {
                return Err(walk.broken(&lines, &line, flaw).into());
            }
            place = (lines.path().to_owned(), line.number);
        }
    }
    let first_seq = walk.position.seq + 1;
    let (mut bytes, mut torn) = (0, false);
    if let Some(current) = current {
        let mut lines = current.lines()?;
        while let Some(line) = lines.next()? {
            let flaw = if line.whole { walk.take(&line.bytes).err() } else { Some(Flaw::NotARecord) };
            match flaw {
                None => bytes += line.bytes.len() as u64 + 1,
                Some(_) if unwritten(&line) => {
                    torn = true;
                    break;
                }
                Some(flaw) => return Err(walk.broken(&lines, &line, flaw).into()),
            }
            place = (lines.path().to_owned(), line.number);
        }
    }
    walk.check_end(place)?;
    Ok(Tail { position: walk.position, since_checkpoint: walk.since_checkpoint(), first_seq, bytes, torn })
}

/// Where the chain is before the first line of a file whose predecessor is not looked at: the number by the
/// file's name, the hash by the line. A line without one is not a record, and is found so from any position.
fn before_first(line: &Line, first_seq: Option<u64>) -> Position {
    let hash = line::read(&line.bytes).ok().and_then(|(record, _)| line::previous_hash(&record));
    Position { seq: first_seq.unwrap_or(1).saturating_sub(1), hash: hash.unwrap_or(Position::START.hash) }
}

/// True for what an interrupted write leaves behind: a line without its end, or pages that never reached the
/// disk, which read as zeros. A whole line of anything else was written by somebody.
fn unwritten(line: &Line) -> bool {
    !line.whole || line.bytes.contains(&0)
}
