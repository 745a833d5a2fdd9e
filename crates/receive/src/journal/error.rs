//! What can go wrong with the journal: when it is opened, and while it runs.

use std::io;
use std::path::PathBuf;

/// The journal cannot be opened or read. Nothing was taken in yet, so nothing is lost by stopping here.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder cannot be made, listed or written to.
    #[error("the journal in {folder} cannot be opened", folder = folder.display())]
    Open {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "the journal in {folder} is in use by another process; give each its own (`journal.path`)",
        folder = folder.display()
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// A newer Selvedge wrote the last segment.
    #[error(
        "the journal's segment {path} is of a newer format than this Selvedge reads: use the one that wrote it",
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// A segment cannot be read.
    #[error("the journal's segment {path} cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The thread that writes could not be started.
    #[error("the journal's thread cannot be started")]
    Thread {
        /// The system's reason.
        source: io::Error,
    },
}

/// Why batches are not stored now. All of these are over when their cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstored {
    /// The journal is as large as it may be, and all of it is still needed.
    Budget,
    /// The disk, the quota or the largest file is full.
    DiskFull,
    /// The disk may not be written to.
    ReadOnly,
    /// The disk failed otherwise.
    IoError,
}

impl Unstored {
    /// All, in reporting order.
    pub const ALL: [Self; 4] = [Self::Budget, Self::DiskFull, Self::ReadOnly, Self::IoError];

    /// The value of the label `reason`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::IoError => "io_error",
        }
    }

    /// What the sender is told.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Budget => "the journal is full; retry later",
            Self::DiskFull => "the journal's disk is full; retry later",
            Self::ReadOnly => "the journal's disk is read-only; retry later",
            Self::IoError => "the journal's disk failed; retry later",
        }
    }

    pub(crate) fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::DiskFull,
            ReadOnlyFilesystem | PermissionDenied => Self::ReadOnly,
            _ => Self::IoError,
        }
    }
}
