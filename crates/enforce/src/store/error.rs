//! What can go wrong with the lease store.

use std::path::{Path, PathBuf};

use selvedge_model::QuarantineState;

/// What can go wrong with the lease store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("lease store {path} is in use by another process")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A later version of the program wrote it.
    #[error("lease store {path} has format {found}; this program knows formats up to {known}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format we know.
        known: u64,
    },
    /// It can be read, and what it says makes no sense.
    #[error("lease store {path} is corrupt: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It cannot be read or written: the disk, permissions, or a checksum that does not fit.
    #[error("lease store {path} cannot be read or written")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// The change was decided on a state that is no longer there. Load, decide again.
    #[error("quarantine {id} is at revision {found}, the change was decided on {expected}")]
    Conflict {
        /// The quarantine.
        id: String,
        /// What the change named; 0: it was not to be there.
        expected: u64,
        /// What the store has; 0: nothing.
        found: u64,
    },
    /// It has ended, and nothing brings it back.
    #[error("quarantine {id} is {} and stays so", state.name())]
    Ended {
        /// The quarantine.
        id: String,
        /// How it ended.
        state: QuarantineState,
    },
    /// Proxies would have it for ever.
    #[error("quarantine {id} cannot be {} without a lease", state.name())]
    NotLeased {
        /// The quarantine.
        id: String,
        /// The state it was to have.
        state: QuarantineState,
    },
    /// There is no room for a new one.
    #[error("there are {open_max} quarantines that have not ended, and no more are allowed")]
    Full {
        /// How many are allowed.
        open_max: u64,
    },
    /// It is too large to be kept.
    #[error("quarantine {id} takes {bytes} bytes, more than is allowed")]
    TooLarge {
        /// The quarantine.
        id: String,
        /// What it takes.
        bytes: usize,
    },
}

/// Says which file an error of the database is about.
pub(super) trait Context<T> {
    fn context(self, path: &Path) -> Result<T, StoreError>;
}

impl<T, E: Into<redb::Error>> Context<T> for Result<T, E> {
    fn context(self, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| failed(path, source))
    }
}

/// An error of the database as one of ours.
pub(super) fn failed(path: &Path, source: impl Into<redb::Error>) -> StoreError {
    let path = path.to_owned();
    match source.into() {
        redb::Error::DatabaseAlreadyOpen => StoreError::Locked { path },
        redb::Error::Corrupted(what) => StoreError::Corrupt { path, what },
        source => StoreError::Unreadable { path, source: Box::new(source) },
    }
}
