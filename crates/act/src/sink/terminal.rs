//! The terminal: a card for an incident that opens or becomes worse, a line for one that ends.

use std::io::{self, Write};
use std::sync::PoisonError;

use crate::alert::{Alert, AlertStatus};
use crate::card;
use crate::error::{Retry, SendError};
use crate::sink::{Outgoing, Output, Sending, Sink};

/// Columns of a card: what most terminals and log viewers show without breaking lines.
const WIDTH: usize = 100;

pub(super) struct Terminal {
    output: Output,
    colour: bool,
}

impl Terminal {
    pub(super) fn new(output: Output, colour: bool) -> Self {
        Self { output, colour }
    }

    fn text(&self, alert: &Alert) -> String {
        match alert.status {
            AlertStatus::Firing => card::render(&alert.incident, self.colour, WIDTH) + "\n",
            AlertStatus::Resolved => card::resolved(&alert.incident, self.colour, WIDTH) + "\n",
        }
    }
}

impl Sink for Terminal {
    fn send<'a>(&'a self, outgoing: &'a Outgoing, _now: u64) -> Sending<'a> {
        let text = self.text(&outgoing.alert);
        let output = self.output.clone();
        Box::pin(async move {
            // A pipe that nobody reads blocks its writer: that must not be a thread which others need.
            let written = tokio::task::spawn_blocking(move || {
                let mut stream = output.0.lock().unwrap_or_else(PoisonError::into_inner);
                stream.write_all(text.as_bytes())?;
                stream.flush()
            });
            written.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|source| {
                // Whoever read it is gone; nobody comes back to a closed stream.
                SendError::Unwritable { to: "terminal".to_owned(), source, retry: Retry::Never }
            })
        })
    }
}
