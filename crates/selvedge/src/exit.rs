//! Exit codes (design section 4), and how a failure is told.

use std::io::Write as _;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All well.
    Ok = 0,
    /// Something failed while running.
    Runtime = 1,
    /// Options that do not go together.
    Usage = 2,
    /// The configuration or the rules are invalid.
    Config = 3,
    /// A replay gave something else than expected.
    Expectation = 4,
}

/// A failure with the exit code it deserves. Most usage errors (2) are clap's.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// Invalid configuration or rules.
    pub(crate) fn config(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Config, error: error.into() }
    }

    /// Options that are each well formed and do not go together.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into() }
    }

    /// An expectation that was not met.
    pub(crate) fn expectation(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Expectation, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Runtime, error: error.into() }
    }
}

/// What a command gives.
pub(crate) type Outcome = Result<(), Failure>;

/// Tells a failure on standard error, cause by cause.
pub(crate) fn report(outcome: Outcome) -> Exit {
    let Err(failure) = outcome else { return Exit::Ok };
    let mut message = format!("selvedge: {}", failure.error);
    for cause in failure.error.chain().skip(1) {
        let cause = cause.to_string();
        if !message.contains(&cause) {
            message.push_str("\n  because: ");
            message.push_str(&cause);
        }
    }
    // Nobody is left to tell when standard error is closed.
    drop(writeln!(std::io::stderr(), "{message}"));
    failure.exit
}
