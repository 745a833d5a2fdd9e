//! The log itself, without a thread: segments, their rotation and deletion, and what happens when the disk fails.
//!
//! What was appended is on the device, or the caller is told that it is not; there is nothing in between. After a
//! failed write or sync the file is not touched again except to cut it: the kernel may have dropped the pages and
//! call the next sync a success. A new segment begins at the position of the first frame that is not stored, and that
//! name is where reading the old one stops, whatever is left behind it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use selvedge_model::{ObservedTime, SteadyTime};

use super::disk::{Disk, SegmentFile};
use super::error::Unstored;
use super::frame::{FrameHeader, HEADER_BYTES, MAGIC};
use super::segment;
use super::stats::JournalStats;

/// How long everything is refused after the disk failed, before it is tried again: a flood of batches must not become
/// a flood of attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How often it is said that the budget is spent on what is needed.
const FULL_PAUSE: Duration = Duration::from_mins(1);

/// How large and how old things get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of all segments.
    pub(super) bytes_max: u64,
    /// Bytes of one segment; a frame that is larger has one of its own.
    pub(super) segment_bytes: u64,
    /// Time of receipt between the first and the last frame of a segment.
    pub(super) segment_age: Duration,
}

/// Up to where the journal may be deleted, told by the engine. Both only grow.
#[derive(Debug, Default)]
pub(super) struct Needs {
    released: AtomicU64,
    expendable: AtomicU64,
}

impl Needs {
    pub(super) fn release(&self, before: u64) {
        self.released.fetch_max(before, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> (u64, u64) {
        (self.released.load(Ordering::Relaxed), self.expendable.load(Ordering::Relaxed))
    }

    pub(super) fn expend(&self, before: u64) {
        self.expendable.fetch_max(before, Ordering::Relaxed);
    }
}

/// One frame to append.
pub(super) struct Record<'a> {
    pub(super) header: FrameHeader,
    pub(super) payload: &'a [u8],
}

impl Record<'_> {
    pub(super) fn bytes(&self) -> u64 {
        (HEADER_BYTES + self.payload.len()) as u64
    }
}

/// A segment that nothing is appended to any more.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    first: u64,
    bytes: u64,
}

/// The segment that is being written. `bytes` of it are on the device.
struct Active {
    file: Box<dyn SegmentFile>,
    first: u64,
    bytes: u64,
    began: ObservedTime,
}

/// The log of one folder.
pub(super) struct Log {
    disk: Box<dyn Disk>,
    folder: PathBuf,
    limits: Limits,
    sealed: VecDeque<Sealed>,
    sealed_bytes: u64,
    active: Option<Active>,
    /// Position of the next frame.
    next: u64,
    /// The disk failed: why, and when it is tried again.
    blocked: Option<(Unstored, SteadyTime)>,
    /// Until when it need not be said again that there is no room.
    full_told: Option<SteadyTime>,
    needs: Arc<Needs>,
    stats: Arc<JournalStats>,
}

impl Log {
    /// The next frame stands at this position. Before anything is written.
    pub(super) fn go_on_from(&mut self, next: u64) {
        self.next = next;
    }

    /// A log that goes on after `segments`, the first position and bytes of each, at position `next`.
    pub(super) fn new(
        disk: Box<dyn Disk>,
        folder: PathBuf,
        limits: Limits,
        segments: &[(u64, u64)],
        next: u64,
        stats: Arc<JournalStats>,
    ) -> Self {
        let sealed: VecDeque<Sealed> =
            segments.iter().map(|&(first, bytes)| Sealed { first, bytes }).collect();
        let sealed_bytes = sealed.iter().map(|segment| segment.bytes).sum();
        let log = Self {
            disk,
            folder,
            limits,
            sealed,
            sealed_bytes,
            active: None,
            next,
            blocked: None,
            full_told: None,
            needs: Arc::default(),
            stats,
        };
        log.count();
        log
    }

    pub(super) fn needs(&self) -> Arc<Needs> {
        Arc::clone(&self.needs)
    }

    /// Stores these frames, all or none, and gives the position of the first. They belong into one segment: together
    /// they are no larger than one, or there is only one.
    pub(super) fn append(&mut self, records: &[Record<'_>], now: SteadyTime) -> Result<u64, Unstored> {
        if let Some((reason, until)) = self.blocked
            && now < until
        {
            return Err(reason);
        }
        let bytes: u64 = records.iter().map(Record::bytes).sum();
        let observed = records.first().map_or(ObservedTime::default(), |record| record.header.observed);
        self.delete_released();
        if self.active.as_ref().is_some_and(|active| self.full(active, bytes, observed)) {
            self.seal();
        }
        let first = self.next;
        match self.write(records, bytes, observed) {
            Ok(()) => {
                if self.blocked.take().is_some() {
                    tracing::info!("the journal's disk works again; batches are accepted");
                }
                self.next += records.len() as u64;
                self.count();
                Ok(first)
            }
            Err(Failure::Full) => {
                self.tell_full(now);
                Err(Unstored::Budget)
            }
            Err(Failure::Disk(error)) => Err(self.fail(&error, now)),
        }
    }

    /// Nothing more comes.
    pub(super) fn close(&mut self) {
        self.seal();
        self.count();
    }

    fn full(&self, active: &Active, more: u64, observed: ObservedTime) -> bool {
        let aged = active.began.after(self.limits.segment_age) <= observed;
        aged || active.bytes + more > self.limits.segment_bytes
    }

    fn write(&mut self, records: &[Record<'_>], bytes: u64, observed: ObservedTime) -> Result<(), Failure> {
        if self.active.is_none() {
            self.begin_segment(bytes, observed)?;
        }
        let active = self.active.as_mut().expect("a segment was begun where there was none");
        let headers: Vec<[u8; HEADER_BYTES]> =
            records.iter().map(|record| record.header.to_bytes()).collect();
        let magic = if active.bytes == 0 { MAGIC.as_slice() } else { &[] };
        let frames =
            headers.iter().zip(records).flat_map(|(header, record)| [header.as_slice(), record.payload]);
        let mut pieces: Vec<IoSlice<'_>> = std::iter::once(magic).chain(frames).map(IoSlice::new).collect();
        write_all(active.file.as_mut(), &mut pieces)?;
        active.file.sync()?;
        active.bytes += bytes + magic.len() as u64;
        Ok(())
    }

    fn begin_segment(&mut self, bytes: u64, observed: ObservedTime) -> Result<(), Failure> {
        let room = self.limits.segment_bytes.max(bytes + MAGIC.len() as u64);
        self.make_room(room)?;
        let path = segment::path(&self.folder, self.next);
        // A segment of this name holds nothing that was ever acknowledged: its first frame is still to come.
        self.disk.remove(&path)?;
        let mut file = self.disk.create(&path)?;
        if let Err(error) = file.reserve(room).and_then(|()| self.disk.sync_folder(&self.folder)) {
            if let Err(error) = self.disk.remove(&path) {
                tracing::debug!(%error, path = %path.display(), "an empty segment stays behind");
            }
            return Err(Failure::Disk(error));
        }
        self.active = Some(Active { file, first: self.next, bytes: 0, began: observed });
        Ok(())
    }

    /// Nothing more is appended to the active segment; the room that it had taken ahead is given back.
    fn seal(&mut self) {
        let Some(Active { mut file, first, bytes, .. }) = self.active.take() else { return };
        if let Err(error) = file.cut(bytes) {
            // What is stored is stored. Only the room behind it is lost, or some bytes that nobody will read.
            tracing::debug!(%error, first, "a segment was not cut to its length");
        }
        if bytes > 0 {
            self.sealed.push_back(Sealed { first, bytes });
            self.sealed_bytes += bytes;
        } else if let Err(error) = self.disk.remove(&segment::path(&self.folder, first)) {
            tracing::debug!(%error, first, "an empty segment stays behind");
        }
    }

    fn tell_full(&mut self, now: SteadyTime) {
        if self.full_told.is_none_or(|until| until <= now) {
            self.full_told = Some(now.after(FULL_PAUSE));
            let (folder, bytes_max) = (self.folder.display(), self.limits.bytes_max);
            tracing::error!(
                %folder,
                bytes_max,
                "open windows need all of the journal: batches are refused; raise journal.bytes_max, or send less"
            );
        }
    }

    fn fail(&mut self, error: &io::Error, now: SteadyTime) -> Unstored {
        let reason = Unstored::of(error);
        let told = self.blocked.replace((reason, now.after(RETRY_PAUSE))).map(|(reason, _)| reason);
        if told != Some(reason) {
            let folder = self.folder.display();
            tracing::error!(%folder, %error, "the journal cannot be written; batches are refused until it can");
        }
        self.seal();
        self.count();
        reason
    }

    /// Deletes segments in which nothing is needed any more.
    fn delete_released(&mut self) {
        let (released, _) = self.needs.read();
        let mut deleted = false;
        while self.end_of_oldest().is_some_and(|end| end <= released) {
            if let Err(error) = self.delete_oldest() {
                tracing::debug!(%error, "a segment that is not needed any more cannot be deleted yet");
                break;
            }
            self.stats.segments_released.add(1);
            deleted = true;
        }
        if deleted {
            self.sync_folder();
        }
    }

    /// At the budget: what only a restart would read again goes first, then the answer is no.
    fn make_room(&mut self, bytes: u64) -> Result<(), Failure> {
        let (_, expendable) = self.needs.read();
        let mut deleted = false;
        while self.sealed_bytes + bytes > self.limits.bytes_max {
            if self.end_of_oldest().is_none_or(|end| end > expendable) {
                return Err(Failure::Full);
            }
            self.delete_oldest()?;
            self.stats.segments_shortened.add(1);
            deleted = true;
        }
        if deleted {
            self.sync_folder();
        }
        Ok(())
    }

    /// The position behind the last frame of the oldest sealed segment.
    fn end_of_oldest(&self) -> Option<u64> {
        let mut segments = self.sealed.iter();
        segments.next()?;
        let active = self.active.as_ref().map(|active| active.first);
        Some(segments.next().map(|segment| segment.first).or(active).unwrap_or(self.next))
    }

    fn delete_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.sealed.front() else { return Ok(()) };
        self.disk.remove(&segment::path(&self.folder, oldest.first))?;
        self.sealed_bytes -= oldest.bytes;
        self.sealed.pop_front();
        Ok(())
    }

    /// A deletion that a crash undoes only means that more is read again.
    fn sync_folder(&self) {
        if let Err(error) = self.disk.sync_folder(&self.folder) {
            tracing::debug!(%error, "deleted segments may come back after a crash");
        }
    }

    fn count(&self) {
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        self.stats.bytes.set(self.sealed_bytes + active);
        self.stats.segments.set(self.sealed.len() as u64 + u64::from(self.active.is_some()));
    }
}

/// Why frames are not stored.
enum Failure {
    /// The budget.
    Full,
    /// The disk.
    Disk(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

fn write_all(file: &mut dyn SegmentFile, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Empty pieces in front would look like a disk that takes nothing.
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        match file.append(pieces) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut pieces, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
