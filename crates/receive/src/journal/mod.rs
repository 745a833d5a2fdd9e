//! The journal: what is accepted is on disk before it is acknowledged.
//!
//! Stands between the receivers and the engine. A thread of its own takes the batches that wait, writes them into the
//! current segment with one call, waits for the device once, and only then hands them on: so a batch that the engine
//! answers is durable, and batches that arrive while the device is busy share the next wait (group commit). Segments
//! are captures of format v1 and replay like any other. Start reading at `committer.rs`, then `log.rs`.
//!
//! Positions count frames from the first ever stored. A segment is named by the position of its first frame.

mod committer;
mod disk;
mod error;
mod frame;
mod inspect;
mod log;
mod mark;
mod recovery;
mod segment;
mod stats;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use committer::{Committing, Outlet};
use disk::{Disk, SystemDisk};
pub use error::{JournalError, Unstored};
pub use frame::{FRAME_BYTES_MAX, FrameFault, FrameHeader, HEADER_BYTES, MAGIC};
pub use inspect::{InspectedSegment, Inspection};
use log::{Limits, Log, Needs};
pub use mark::{DeliveredMark, Mark};
use recovery::Found;
pub use recovery::{Recovered, Recovery};
pub use stats::{JournalStats, Level};

/// Where a frame stands: how many were stored before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The position behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Settings of a journal, checked by whoever reads the configuration.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Where the segments are. It is made when it is missing.
    pub folder: PathBuf,
    /// Bytes of all segments, at least two segments. At the bound segments that only a restart would read again are
    /// deleted (policy `shorten_replay`); when there are none, batches are refused (policy `refuse`).
    pub bytes_max: u64,
    /// Bytes of one segment.
    pub segment_bytes: u64,
    /// Time of receipt that one segment spans: nothing younger than this is deleted with it.
    pub segment_age: Duration,
    /// Commits are at least this far apart. Zero: as soon as the device is free. A batch waits up to this long for
    /// others to share its commit; it is never acknowledged before it is durable.
    pub commit_interval: Duration,
    /// What a sender whose batch was not stored is asked to wait.
    pub retry_after: Duration,
}

/// An open journal that nothing is written to yet.
pub struct Journal {
    config: JournalConfig,
    found: Found,
    log: Log,
    stats: Arc<JournalStats>,
    lock: File,
}

impl Journal {
    /// Takes the folder, cuts a torn tail and sees what is there. Blocks.
    ///
    /// # Errors
    /// The folder is in use by another process, or cannot be used.
    pub fn open(config: JournalConfig) -> Result<Self, JournalError> {
        Self::open_on(config, Box::new(SystemDisk))
    }

    fn open_on(config: JournalConfig, disk: Box<dyn Disk>) -> Result<Self, JournalError> {
        let lock = recovery::lock(&config.folder)?;
        let stats = Arc::new(JournalStats::default());
        let mut found = recovery::scan(&config.folder, &stats)?;
        // Where all segments are gone, positions must not begin anew: the mark would cover frames that nobody knows of.
        found.next = found.next.max(DeliveredMark::new(&config.folder).read().0);
        let JournalConfig { bytes_max, segment_bytes, segment_age, .. } = config;
        let limits = Limits { bytes_max, segment_bytes, segment_age };
        let folder = config.folder.clone();
        let log = Log::new(disk, folder, limits, &found.segments, found.next, Arc::clone(&stats));
        Ok(Self { config, found, log, stats, lock })
    }

    /// Reads what is stored from a position on.
    #[must_use]
    pub fn recovery(&self, from: Position) -> Recovery {
        Recovery::new(&self.config.folder, &self.found, from, Arc::clone(&self.stats))
    }

    /// The position of the first frame that is stored.
    #[must_use]
    pub fn first(&self) -> Position {
        Position(self.found.segments.first().map_or(self.found.next, |(first, _)| *first))
    }

    /// What is before `position` was stored once, and somebody knows of it: positions do not begin anew where it is gone.
    pub fn go_on_from(&mut self, position: Position) {
        self.found.next = self.found.next.max(position.0);
        self.log.go_on_from(self.found.next);
    }

    /// The position of the next frame.
    #[must_use]
    pub fn next(&self) -> Position {
        Position(self.found.next)
    }

    /// The mark of what people were told.
    #[must_use]
    pub fn delivered(&self) -> DeliveredMark {
        DeliveredMark::new(&self.config.folder)
    }

    /// Where the engine says what it still needs.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention { needs: self.log.needs() }
    }

    /// What the journal counts.
    #[must_use]
    pub fn stats(&self) -> Arc<JournalStats> {
        Arc::clone(&self.stats)
    }
}

/// Says up to where the journal may be deleted.
#[derive(Clone, Debug)]
pub struct Retention {
    needs: Arc<Needs>,
}

impl Retention {
    /// Frames before this position are not needed any more.
    pub fn released(&self, before: Position) {
        self.needs.release(before.0);
    }

    /// Up to where the journal may be deleted, and up to where it may be deleted at the byte budget.
    #[must_use]
    pub fn needed(&self) -> (Position, Position) {
        let (released, expendable) = self.needs.read();
        (Position(released), Position(expendable))
    }

    /// Frames before this position feed no open window: a restart would read them again, but at the byte budget they
    /// may go.
    pub fn expendable(&self, before: Position) {
        self.needs.expend(before.0);
    }
}
