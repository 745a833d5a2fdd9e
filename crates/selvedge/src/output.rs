//! Standard output and standard error of commands that answer and end.
//!
//! Whoever reads them may stop early, as `head` does. What follows is then written for nobody, and is no failure: the exit
//! code still says what was found.

use std::io::{ErrorKind, Result, Stderr, Stdout, Write};

/// Takes everything, also when nobody reads any more.
pub(crate) struct Output<W>(W);

/// Where answers go.
pub(crate) fn stdout() -> Output<Stdout> {
    Output(std::io::stdout())
}

/// Where notes and warnings go.
pub(crate) fn stderr() -> Output<Stderr> {
    Output(std::io::stderr())
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        unless_left(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        unless_left(self.0.flush(), ())
    }
}

fn unless_left<T>(written: Result<T>, all: T) -> Result<T> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(all),
        written => written,
    }
}
