//! Opening a folder of segments, and reading again what is in them.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use selvedge_model::{ObservedTime, SignalKind};

use super::Position;
use super::disk;
use super::error::JournalError;
use super::segment::{self, Next, SegmentReader};
use super::stats::JournalStats;
use crate::handover::Encoding;

/// Who has the folder. The file stays; the lock goes with the process, however it ends.
const LOCK: &str = "lock";

/// Makes the folder ours for as long as the file lives.
pub(super) fn lock(folder: &Path) -> Result<File, JournalError> {
    let failed = |source| JournalError::Open { folder: folder.to_owned(), source };
    disk::make_folder(folder).map_err(failed)?;
    let mut options = File::options();
    options.create(true).write(true).truncate(false).mode(disk::PRIVATE_FILE);
    let file = options.open(folder.join(LOCK)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// What a folder holds: the first position and the bytes of each segment, and the position of the next frame.
pub(super) struct Found {
    pub(super) segments: Vec<(u64, u64)>,
    pub(super) next: u64,
}

/// Looks at a folder, and cuts what a crash left in the middle of its last segment. Only the last can have such a
/// tail: the others were left at a known position.
pub(super) fn scan(folder: &Path, stats: &JournalStats) -> Result<Found, JournalError> {
    let failed = |source| JournalError::Open { folder: folder.to_owned(), source };
    let mut segments = segment::list(folder).map_err(failed)?;
    let Some((first, bytes)) = segments.pop() else { return Ok(Found { segments, next: 0 }) };
    let path = segment::path(folder, first);
    let (frames, whole, torn) =
        measure(&path).map_err(|source| JournalError::Read { path: path.clone(), source })?;
    // To us it has no frame, and would go as what a crash left behind: what it holds is not ours to throw away.
    let newer = |path: &Path| frames == 0 && segment::is_newer(path).unwrap_or(false);
    if torn.is_some() && newer(&path) {
        return Err(JournalError::Newer { path });
    }
    if let Some(reason) = torn {
        let cut = bytes.saturating_sub(whole);
        stats.bytes_torn.add(cut);
        tracing::warn!(path = %path.display(), at_byte = whole, bytes = cut, reason, "cut the journal at its last whole frame");
    }
    let next = first.saturating_add(frames);
    if frames == 0 {
        std::fs::remove_file(&path).map_err(failed)?;
    } else {
        // Also where nothing is torn: behind its end the segment still holds the room that it had taken ahead.
        let file = File::options().write(true).open(&path).map_err(failed)?;
        file.set_len(whole).and_then(|()| file.sync_data()).map_err(failed)?;
        segments.push((first, whole));
    }
    Ok(Found { segments, next })
}

/// Whole frames, where the last of them ends, and what is wrong behind it.
fn measure(path: &Path) -> io::Result<(u64, u64, Option<String>)> {
    let mut reader = SegmentReader::open(path)?;
    let mut frames = 0;
    loop {
        match reader.next()? {
            Next::Frame(..) => frames += 1,
            Next::End => return Ok((frames, reader.whole(), None)),
            Next::Torn(reason) => return Ok((frames, reader.whole(), Some(reason))),
        }
    }
}

/// A frame that was stored by a process before us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Its position.
    pub position: Position,
    /// Which of the three signals.
    pub signal: SignalKind,
    /// How the body is written.
    pub encoding: Encoding,
    /// When it was received.
    pub observed: ObservedTime,
    /// The body.
    pub body: Vec<u8>,
}

/// The frames that are stored, in the order received.
pub struct Recovery {
    folder: PathBuf,
    /// First position and bytes of the segments to come, and the position behind each.
    segments: VecDeque<(u64, u64, u64)>,
    current: Option<Current>,
    from: Position,
    bytes_total: u64,
    bytes_read: u64,
    stats: Arc<JournalStats>,
}

struct Current {
    reader: SegmentReader,
    position: u64,
    end: u64,
    path: PathBuf,
    bytes: u64,
}

impl Recovery {
    pub(super) fn new(folder: &Path, found: &Found, from: Position, stats: Arc<JournalStats>) -> Self {
        let ends = found.segments.iter().skip(1).map(|(first, _)| *first).chain([found.next]);
        let segments: VecDeque<_> = found
            .segments
            .iter()
            .zip(ends)
            .map(|(&(first, bytes), end)| (first, bytes, end))
            .filter(|(_, _, end)| from.0 < *end)
            .collect();
        let bytes_total = segments.iter().map(|(_, bytes, _)| bytes).sum();
        Self { folder: folder.to_owned(), segments, current: None, from, bytes_total, bytes_read: 0, stats }
    }

    /// Bytes of all segments that are read again.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// How many of them were read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read + self.current.as_ref().map_or(0, |current| current.reader.whole())
    }

    fn step(&mut self) -> Result<Option<Recovered>, (PathBuf, io::Error)> {
        loop {
            let Some(current) = &mut self.current else {
                let Some((first, bytes, end)) = self.segments.pop_front() else { return Ok(None) };
                let path = segment::path(&self.folder, first);
                let reader = SegmentReader::open(&path).map_err(|error| (path.clone(), error))?;
                self.current = Some(Current { reader, position: first, end, path, bytes });
                continue;
            };
            if current.position < current.end {
                match current.reader.next().map_err(|error| (current.path.clone(), error))? {
                    Next::Frame(header, body) => {
                        let position = Position(current.position);
                        current.position += 1;
                        if position < self.from {
                            continue;
                        }
                        self.stats.frames_recovered.add(1);
                        let (signal, encoding, observed) = (header.signal, header.encoding, header.observed);
                        return Ok(Some(Recovered { position, signal, encoding, observed, body }));
                    }
                    Next::End => self.lost("the segment is too short"),
                    Next::Torn(reason) => self.lost(&reason),
                }
            }
            self.bytes_read += self.current.take().map_or(0, |current| current.bytes);
        }
    }

    /// The rest of a segment was stored once and is not there any more.
    fn lost(&self, reason: &str) {
        let Some(current) = &self.current else { return };
        let frames = current.end - current.position;
        self.stats.frames_lost.add(frames);
        let at_byte = current.reader.whole();
        tracing::error!(path = %current.path.display(), at_byte, frames, reason, "the disk has lost frames of the journal");
    }
}

impl Iterator for Recovery {
    type Item = Result<Recovered, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(frame) => frame.map(Ok),
            Err((path, source)) => {
                self.segments.clear();
                self.current = None;
                Some(Err(JournalError::Read { path, source }))
            }
        }
    }
}
