//! A file with one alert a line, as in `schemas/alert.v1.schema.json`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::JsonlConfig;
use crate::document::AlertMessage;
use crate::error::{ActError, Retry, SendError};
use crate::sink::{Links, Outgoing, Sending, Sink, json};

pub(super) struct Jsonl {
    path: PathBuf,
    links: Links,
}

impl Jsonl {
    /// The file is opened once now, so that a path that cannot be written is told at the start.
    pub(super) fn new(config: &JsonlConfig, links: Links) -> Result<Self, ActError> {
        let path = config.path.clone();
        open(&path).map_err(|source| ActError::Unwritable {
            key: "alerts.jsonl.path".to_owned(),
            path: path.clone(),
            source,
        })?;
        Ok(Self { path, links })
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Sink for Jsonl {
    fn send<'a>(&'a self, outgoing: &'a Outgoing, _now: u64) -> Sending<'a> {
        let url = self.links.incident(&outgoing.alert.incident.id);
        let mut line = json(&AlertMessage::new(&outgoing.alert, url));
        line.push(b'\n');
        let path = self.path.clone();
        Box::pin(async move {
            // Opened anew each time: alerts are rare, and the file may have been rotated. One write, so that a line
            // is whole or not there.
            let written = tokio::task::spawn_blocking(move || open(&path)?.write_all(&line));
            written.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|source| {
                let to = self.path.display().to_string();
                SendError::Unwritable { to, source, retry: Retry::Backoff }
            })
        })
    }
}
