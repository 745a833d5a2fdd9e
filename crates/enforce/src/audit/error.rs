//! What can go wrong with the audit log, and what can be wrong in it.

use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a line, or with the end of the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// Not the form of a record: torn, overwritten, or joined with its neighbour.
    #[error("the line is not a record")]
    NotARecord,
    /// The bytes do not have the hash that stands with them.
    #[error("the record was changed")]
    Changed,
    /// Another number than the next one: records before it were removed, repeated or moved.
    #[error("record {found} stands in its place")]
    OutOfOrder {
        /// The number found.
        found: u64,
    },
    /// It follows another record than the one before it.
    #[error("the record does not continue the one before it")]
    NotChained,
    /// The signature of a checkpoint or of the head file is not one of the key for this record.
    #[error("the signature is not one of the key")]
    NotSigned,
    /// The log ends before the last position that was signed.
    #[error("the log was cut: it once reached record {reached}")]
    Truncated {
        /// How far it once went.
        reached: u64,
    },
    /// The record where the head file points has another hash.
    #[error("the head file signs another record of this number")]
    AnotherHead,
}

/// The first place where the log is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}, line {line}: record {seq}: {flaw}", file.display())]
pub struct Broken {
    /// The file.
    pub file: PathBuf,
    /// The line in it, from 1.
    pub line: u64,
    /// The record that should stand there.
    pub seq: u64,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What can go wrong with the audit log. With any of them, what was to be recorded must not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// A file cannot be read or written: a full or read-only disk, permissions.
    #[error("audit file {path} cannot be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("the audit log in {folder} is in use by another process")]
    Locked {
        /// Where it is.
        folder: PathBuf,
    },
    /// It is not what was written.
    #[error("the audit log is broken")]
    Broken(#[from] Broken),
    /// There is nothing to check.
    #[error("there is no audit log in {folder}")]
    NoLog {
        /// Where it should be.
        folder: PathBuf,
    },
    /// There is a log, and not the key that signed it.
    #[error("there is an audit log, and its key {path} is missing")]
    KeyMissing {
        /// Where the key should be.
        path: PathBuf,
    },
    /// There is a log, and not the file that says how far it went.
    #[error("there is an audit log, and its head {path} is missing")]
    HeadMissing {
        /// Where the head file should be.
        path: PathBuf,
    },
    /// It holds something else than a key.
    #[error("{path} is not an Ed25519 key")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes for a new key.
    #[error("the system has no random bytes for a key")]
    NoRandomness,
    /// An earlier write failed in a way that leaves the end of the file unknown. Open the log again.
    #[error("an earlier write to the audit log failed; it has to be opened again")]
    Failed,
}

impl AuditError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
