//! What can go wrong between us and the people to be told, and whether it is worth trying again.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;

/// The sinks cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// A file that the configuration names cannot be read.
    #[error("{key}: cannot read {}", path.display())]
    Unreadable {
        /// Dotted path of the key.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The alert file cannot be opened for writing.
    #[error("{key}: cannot write {}", path.display())]
    Unwritable {
        /// Dotted path of the key.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A value turned out to be unusable once its file was read.
    #[error("{key}: {problem}")]
    Invalid {
        /// Dotted path of the key.
        key: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// Whether to try a delivery again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same alert will be refused again.
    Never,
    /// Later, by the backoff.
    Backoff,
    /// Not before this time has passed, and neither anything else to this sink: it said so.
    After(Duration),
    /// Never anything again: the sink is gone for good.
    Disable,
}

/// One attempt at a delivery did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It answered, and the answer is not a success.
    #[error("{to} answered {status}{}", said(answer))]
    Refused {
        /// Whom; origin of the address only, since the rest may be a secret.
        to: String,
        /// With what.
        status: StatusCode,
        /// The beginning of its answer, without our secrets.
        answer: String,
        /// Whether to try again.
        retry: Retry,
    },
    /// There was no answer.
    #[error("{to} is unreachable")]
    Unreachable {
        /// Whom.
        to: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// There was no answer in time.
    #[error("{to} did not answer within {} s", after.as_secs_f64())]
    TimedOut {
        /// Whom.
        to: String,
        /// The time it had.
        after: Duration,
    },
    /// A file or stream did not take it.
    #[error("{to} cannot be written")]
    Unwritable {
        /// Which.
        to: String,
        /// Why.
        source: io::Error,
        /// Whether to try again.
        retry: Retry,
    },
    /// It was not taken, for a reason that it names.
    #[error("{to} did not take it")]
    Declined {
        /// Whom.
        to: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
        /// Whether to try again.
        retry: Retry,
    },
    /// We were stopped while waiting for the answer.
    #[error("stopped before an answer came")]
    Stopped,
}

fn said(answer: &str) -> String {
    if answer.is_empty() { String::new() } else { format!(": {answer}") }
}

impl SendError {
    /// Whether to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Refused { retry, .. } | Self::Unwritable { retry, .. } | Self::Declined { retry, .. } => {
                *retry
            }
            Self::Unreachable { .. } | Self::TimedOut { .. } => Retry::Backoff,
            Self::Stopped => Retry::Never,
        }
    }

    /// True when the sink as a whole seems to be away, so that other alerts would fare no better.
    #[must_use]
    pub fn outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }
}

/// An error with its causes, in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail; a lost cause would not matter either.
        if write!(text, ": {error}").is_err() {
            break;
        }
        cause = error.source();
    }
    text
}
