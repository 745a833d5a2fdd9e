//! Reading records without checking the chain: for SQL, for the API, for people.

use std::collections::VecDeque;
use std::path::Path;

use super::entry::AuditRecord;
use super::error::AuditError;
use super::files::{self, Lines, Segment};
use super::line;

/// Records in order, one at a time, so that no more than one is in memory.
#[derive(Debug)]
pub struct Records {
    segments: VecDeque<Segment>,
    lines: Option<Lines>,
    from_seq: u64,
    left: u64,
}

/// At most `max` records of the log in `folder`, from number `from_seq` on. Each is checked against its own
/// hash, not against the chain ([`super::verify`] does that); a last line that is only half there yet is left
/// out.
///
/// # Errors
/// When the folder cannot be read. An item is an error when its file cannot be read or its line is not a
/// record; it is the last one.
pub fn records(folder: &Path, from_seq: u64, max: u64) -> Result<Records, AuditError> {
    let mut segments = VecDeque::from(files::segments(folder)?);
    // A file whose successor begins at or before the first wanted record holds none of them.
    while let Some(next) = segments.get(1).and_then(|segment| segment.first_seq)
        && next <= from_seq
    {
        segments.pop_front();
    }
    Ok(Records { segments, lines: None, from_seq, left: max })
}

impl Records {
    fn read(&mut self) -> Result<Option<AuditRecord>, AuditError> {
        while 0 < self.left {
            let Some(lines) = &mut self.lines else {
                let Some(segment) = self.segments.pop_front() else { return Ok(None) };
                self.lines = Some(segment.lines()?);
                continue;
            };
            let Some(line) = lines.next()?.filter(|line| line.whole) else {
                self.lines = None;
                continue;
            };
            let (record, position) = line::read(&line.bytes).map_err(|flaw| super::Broken {
                file: lines.path().to_owned(),
                line: line.number,
                seq: self.from_seq,
                flaw,
            })?;
            if self.from_seq <= position.seq {
                self.from_seq = position.seq + 1;
                self.left -= 1;
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl Iterator for Records {
    type Item = Result<AuditRecord, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.read().transpose();
        if !matches!(record, Some(Ok(_))) {
            self.left = 0;
        }
        record
    }
}
