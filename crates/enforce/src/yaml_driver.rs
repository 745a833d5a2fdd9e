//! Quarantines as YAML files in a folder, for whoever applies them: a GitOps controller, `kubectl`, a person.
//!
//! The folder is made equal to the wanted set: missing files are written, changed ones rewritten, ours that are no longer
//! wanted removed. Ours is a file whose name and first line say so; every other file is left alone and, when in the way,
//! reported. A file appears whole or not at all: it is written beside its place, synced, and renamed.
//!
//! With git configured, what changed is committed, our files only; a commit that failed is made up for the next time.

mod folder;
mod git;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use selvedge_model::quarantine::QUARANTINE_ID_PREFIX;

pub use git::{GitConfig, GitError};

/// How the first line of our files reads. A file without it is not ours.
pub const MARKER: &str =
    "# managed-by: selvedge (do not edit: it is rewritten, and removed when its quarantine ends)";

/// Names of our files begin with this, and end in `.yaml`.
pub const NAME_PREFIX: &str = QUARANTINE_ID_PREFIX;

/// Where files go.
#[derive(Clone, Debug)]
pub struct YamlConfig {
    /// The folder. It must exist: a missing one may be a volume that is not mounted.
    pub folder: PathBuf,
    /// Commits what changes, when on. The folder is then in a work tree.
    pub git: Option<GitConfig>,
}

/// One file as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    /// `selvedge-q-....yaml`: lower-case letters, digits and `-`.
    pub name: String,
    /// When its lease runs out, as RFC 3339; empty when it has none. It stands in the file's second line, so that a
    /// job beside us can remove what outlived us; objects carry it as an annotation of their own.
    pub expires: String,
    /// The YAML.
    pub text: String,
}

/// What was done to the folder. Lists are in the order of names.
#[derive(Debug, Default)]
pub struct Report {
    /// Files that were missing.
    pub written: Vec<String>,
    /// Files that said something else, for instance because somebody edited them.
    pub rewritten: Vec<String>,
    /// Files of ours that were no longer wanted.
    pub removed: Vec<String>,
    /// Files that were as they should be.
    pub unchanged: usize,
    /// Files that were not touched, and why.
    pub refused: Vec<Refused>,
    /// Files that the system did not let us change. Each is as it was before.
    pub failed: Vec<Failure>,
    /// The commit that was made.
    pub commit: Option<String>,
    /// Why none could be made; the files are in place all the same.
    pub git_failure: Option<GitError>,
}

impl Report {
    /// True when the folder, and the repository, are as they should be.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.refused.is_empty() && self.failed.is_empty() && self.git_failure.is_none()
    }
}

/// A file that was left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: Refusal,
}

/// Why a file was left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is wanted under a name that is not ours to use, or twice.
    #[error("the name is not selvedge-q-*.yaml in lower case, or is wanted twice")]
    Name,
    /// It is wanted with more text than a file may have.
    #[error("the text is too long")]
    TooLong,
    /// It has a name of ours, and is not ours: another first line, a folder, a link.
    #[error("the file is not ours: its first line is another")]
    Foreign,
}

/// A file that could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {name}")]
pub struct Failure {
    /// Its name.
    pub name: String,
    /// `read`, `write`, `remove`, or `sync` of the folder (`.`).
    pub doing: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// Why nothing could be done.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// The folder cannot be read.
    #[error("cannot read the folder {folder}", folder = folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds more than a folder of policies does.
    #[error("{folder} holds more than {entries_max} files", folder = folder.display())]
    TooManyFiles {
        /// The folder.
        folder: PathBuf,
        /// How many are read.
        entries_max: usize,
    },
}

/// Writes quarantines to a folder. One at a time: two drivers of one folder would undo each other.
#[derive(Debug)]
pub struct YamlDriver {
    config: YamlConfig,
}

impl YamlDriver {
    /// Of a folder.
    #[must_use]
    pub fn new(config: YamlConfig) -> Self {
        Self { config }
    }

    /// Makes the folder hold exactly these files of ours. An empty list removes them all, so only a set that was loaded
    /// from the store may be given.
    ///
    /// # Errors
    /// The folder cannot be read; nothing was changed. What concerns one file is in the report.
    pub async fn apply(&self, wanted: &[RenderedFile]) -> Result<Report, YamlError> {
        let (folder, files) = (self.config.folder.clone(), Arc::<[RenderedFile]>::from(wanted));
        let reconciled = tokio::task::spawn_blocking(move || folder::reconcile(&folder, &files)).await;
        let mut report = reconciled.expect("writing files does not panic, and is not aborted")?;
        if let Some(git) = &self.config.git {
            match git::commit(git, &self.config.folder, &report).await {
                Ok(commit) => report.commit = commit,
                Err(error) => report.git_failure = Some(error),
            }
        }
        Ok(report)
    }
}
