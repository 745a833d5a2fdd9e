//! The audit log: every decision, refusal, push, acknowledgement, proof and lift as a record in a hash-chained,
//! append-only file with signed checkpoints.
//!
//! A record is on disk before [`AuditLog::append`] returns, so what it says is done only after it is written.
//! Nothing is ever deleted. `docs/audit.md` defines the format, and says what verification finds and what it
//! cannot find.

mod chain;
mod entry;
mod error;
mod files;
mod head;
mod key;
mod line;
mod reader;

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod mutation_tests;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use selvedge_model::ObservedTime;

pub use chain::{Verified, verify};
pub use entry::{AuditEntry, AuditKind, AuditRecord};
pub use error::{AuditError, Broken, Flaw};
pub use key::PublicKey;
pub use reader::{Records, records};

use crate::durable;
use key::SigningKey;
use line::Position;

/// How the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// A checkpoint follows when so many records are not signed. Fewer mean that less of the end could be
    /// rewritten.
    pub checkpoint_records_max: u64,
    /// At this size the file is closed and the next one is begun. A write may go past it.
    pub file_bytes_max: u64,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self { checkpoint_records_max: 64, file_bytes_max: 16 * 1024 * 1024 }
    }
}

/// The audit log, open for writing. One process writes it at a time; anybody may read meanwhile.
///
/// **When anything here fails, what was to be recorded must not be done:** nothing is enforced that is not
/// written down. Taking a quarantine back is the one thing that must not wait for the log.
#[derive(Debug)]
pub struct AuditLog {
    folder: PathBuf,
    file: File,
    key: SigningKey,
    options: AuditOptions,
    position: Position,
    since_checkpoint: u64,
    first_seq: u64,
    bytes: u64,
    /// A checkpoint is written, and the head file does not say so yet.
    head_due: bool,
    /// The end of the file is not known any more.
    failed: bool,
    _lock: File,
}

impl AuditLog {
    /// Opens the log in an existing folder; begins one, with a new key, where there is none. The file in use is
    /// checked from its first record to its last. A last line that was cut short when we or the machine died is
    /// removed, and a record says so.
    ///
    /// # Errors
    /// [`AuditError::Locked`] when another process has it; [`AuditError::Broken`] when it is not what was
    /// written; [`AuditError::KeyMissing`] and [`AuditError::HeadMissing`] when a part of it is gone;
    /// [`AuditError::Io`].
    pub fn open(folder: &Path, now: ObservedTime, options: AuditOptions) -> Result<Self, AuditError> {
        let lock_path = folder.join("audit.lock");
        let lock = durable::lock(&lock_path).map_err(|source| AuditError::io(&lock_path, source))?;
        let Some(lock) = lock else { return Err(AuditError::Locked { folder: folder.to_owned() }) };
        let head_path = folder.join(head::HEAD_FILE);
        let begun = !files::segments(folder)?.is_empty();
        let signed = head_path.try_exists().map_err(|source| AuditError::io(&head_path, source))?;
        let key = SigningKey::open(folder, !begun && !signed)?;
        // The order of a beginning is key, head, log: whatever is there without what comes before it lost
        // something.
        if begun && !signed {
            return Err(AuditError::HeadMissing { path: head_path });
        }
        if !signed {
            head::write(folder, Position::START, &key)?;
        }
        let tail = chain::tail(folder, head::read(folder, &key.public())?, &key.public())?;
        let path = files::current(folder);
        let torn = if tail.torn { Some(cut(&path, tail.bytes)?) } else { None };
        let mut log = Self {
            file: open_current(folder)?,
            folder: folder.to_owned(),
            key,
            options,
            position: tail.position,
            since_checkpoint: tail.since_checkpoint,
            first_seq: tail.first_seq,
            bytes: tail.bytes,
            head_due: false,
            failed: false,
            _lock: lock,
        };
        if let Some(bytes) = torn {
            log.append(&recovered(now, bytes))?;
        }
        Ok(log)
    }

    /// Writes one record; it is on disk when this returns. The number is the record's.
    ///
    /// # Errors
    /// The record is not written, or it is not known whether it is ([`AuditError::Failed`] from then on: open
    /// again). In both cases what it says must not be done. Trying again may write it twice.
    pub fn append(&mut self, entry: &AuditEntry) -> Result<u64, AuditError> {
        self.append_all(std::slice::from_ref(entry))
    }

    /// Writes several records with one wait for the disk. The number is the last one's.
    ///
    /// # Errors
    /// As [`Self::append`], for all of them together.
    pub fn append_all(&mut self, entries: &[AuditEntry]) -> Result<u64, AuditError> {
        if self.failed {
            return Err(AuditError::Failed);
        }
        let Some(last) = entries.last() else { return Ok(self.position.seq) };
        if self.options.file_bytes_max <= self.bytes {
            self.rotate(last.at)?;
        }
        let mut lines = Vec::new();
        let mut position = self.position;
        for entry in entries {
            position = line::write_entry(entry, position, &mut lines);
        }
        let seq = position.seq;
        let unsigned = self.since_checkpoint + entries.len() as u64;
        let checkpoint = self.options.checkpoint_records_max <= unsigned;
        if checkpoint {
            position = line::write_checkpoint(last.at, position, &self.key, &mut lines);
        }
        self.write(&lines, position)?;
        self.since_checkpoint = if checkpoint { 0 } else { unsigned };
        self.head_due |= checkpoint;
        self.write_head()?;
        Ok(seq)
    }

    /// Signs what is written so far. Worth it after what matters most; [`Self::close`] does it too.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn checkpoint(&mut self, now: ObservedTime) -> Result<(), AuditError> {
        if self.failed {
            return Err(AuditError::Failed);
        }
        if 0 < self.since_checkpoint {
            let mut lines = Vec::new();
            let position = line::write_checkpoint(now, self.position, &self.key, &mut lines);
            self.write(&lines, position)?;
            self.since_checkpoint = 0;
            self.head_due = true;
        }
        self.write_head()
    }

    /// Signs the end and closes the log. A log that is dropped instead is whole, with an unsigned end.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn close(mut self, now: ObservedTime) -> Result<(), AuditError> {
        self.checkpoint(now)
    }

    /// The number of the last record; 0 before the first.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.position.seq
    }

    /// What checkpoints are checked with. To be printed at start, so that it is kept somewhere else too.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    /// Appends whole lines that lead to `position`. Either all of it is on disk, or the log is as it was, or it
    /// is failed.
    fn write(&mut self, lines: &[u8], position: Position) -> Result<(), AuditError> {
        if let Err(source) = self.file.write_all(lines) {
            // A full disk may have taken a part. Without it the log goes on when there is room again.
            let undone = self.file.set_len(self.bytes).and_then(|()| self.file.sync_data());
            self.failed = undone.is_err();
            return Err(self.io(source));
        }
        if let Err(source) = self.file.sync_data() {
            // After a failed sync nobody knows what is on disk, and a second sync may succeed without writing
            // it.
            self.failed = true;
            return Err(self.io(source));
        }
        self.bytes += lines.len() as u64;
        self.position = position;
        Ok(())
    }

    /// The head file never runs ahead of the log, and may be behind until the next write succeeds.
    fn write_head(&mut self) -> Result<(), AuditError> {
        if self.head_due {
            head::write(&self.folder, self.position, &self.key)?;
            self.head_due = false;
        }
        Ok(())
    }

    /// Signs the end of the file, puts it aside under the number of its first record and begins another.
    fn rotate(&mut self, now: ObservedTime) -> Result<(), AuditError> {
        self.checkpoint(now)?;
        let (from, to) = (files::current(&self.folder), files::rotated(&self.folder, self.first_seq));
        fs::rename(&from, &to).map_err(|source| AuditError::io(&to, source))?;
        // From here on the old file has another name: what cannot be finished now is finished when opened
        // again.
        self.failed = true;
        self.file = open_current(&self.folder)?;
        self.failed = false;
        self.bytes = 0;
        self.first_seq = self.position.seq + 1;
        Ok(())
    }

    fn io(&self, source: std::io::Error) -> AuditError {
        AuditError::io(&files::current(&self.folder), source)
    }
}

fn open_current(folder: &Path) -> Result<File, AuditError> {
    let path = files::current(folder);
    let io = |source| AuditError::io(&path, source);
    let file = OpenOptions::new().append(true).create(true).mode(durable::PRIVATE).open(&path).map_err(io)?;
    durable::sync_folder(folder).map_err(io)?;
    Ok(file)
}

/// Cuts a file to its whole records, and says how many bytes that took away.
fn cut(path: &Path, bytes: u64) -> Result<u64, AuditError> {
    let io = |source| AuditError::io(path, source);
    let file = OpenOptions::new().write(true).open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    file.set_len(bytes).and_then(|()| file.sync_all()).map_err(io)?;
    Ok(length.saturating_sub(bytes))
}

fn recovered(now: ObservedTime, bytes: u64) -> AuditEntry {
    AuditEntry {
        at: now,
        kind: AuditKind::Recovered,
        subject: "audit.log".to_owned(),
        who: "engine".to_owned(),
        why: "the last write was cut short; what it left was removed".to_owned(),
        detail: BTreeMap::from([("bytes", bytes.to_string())]),
    }
}
