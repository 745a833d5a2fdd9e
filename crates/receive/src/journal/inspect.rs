//! Looking at a journal without touching it: no lock, no repair, also beside the process that writes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use selvedge_model::ObservedTime;

use super::Position;
use super::mark::{DeliveredMark, Mark};
use super::segment::{self, Next, SegmentReader, is_newer};

/// What a folder of segments holds.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Oldest first. One that was deleted while others were read is left out.
    pub segments: Vec<InspectedSegment>,
    /// Up to where people were told.
    pub mark: Mark,
}

/// One segment, read to its last whole frame.
#[derive(Clone, Debug)]
pub struct InspectedSegment {
    /// Its file.
    pub path: PathBuf,
    /// The position of its first frame, by its name.
    pub first: Position,
    /// Whole frames.
    pub frames: u64,
    /// Frames that it must hold, by the name of the next one; `None` for the last.
    pub frames_due: Option<u64>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes up to the end of its last whole frame.
    pub whole: u64,
    /// When its first and its last whole frame were received.
    pub received: Option<(ObservedTime, ObservedTime)>,
    /// What is wrong behind the last whole frame.
    pub torn: Option<String>,
    /// It is a segment of a newer format.
    pub newer: bool,
}

impl InspectedSegment {
    /// Frames that were acknowledged and cannot be read. Of the last segment nobody can know.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.frames_due.map_or(0, |due| due.saturating_sub(self.frames))
    }

    /// The position behind it.
    #[must_use]
    pub fn end(&self) -> Position {
        Position(self.first.0.saturating_add(self.frames_due.unwrap_or(self.frames)))
    }
}

impl Inspection {
    /// Reads all segments of a folder; `progress` is told the bytes read so far, and those of all. A folder that does not
    /// exist has none. Blocks.
    ///
    /// # Errors
    /// The folder cannot be listed, or a segment cannot be read: which, and why.
    pub fn of(folder: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, (PathBuf, io::Error)> {
        let mark = DeliveredMark::new(folder).examine();
        let listed = match segment::list(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(|error| (folder.to_owned(), error))?,
        };
        let total = listed.iter().map(|(_, bytes)| bytes).sum();
        let (mut segments, mut read) = (Vec::new(), 0);
        for (at, (first, bytes)) in listed.iter().enumerate() {
            let due = listed.get(at + 1).map(|(next, _)| next.saturating_sub(*first));
            let path = segment::path(folder, *first);
            match inspect(&path, *first, due, &mut |whole| progress(read + whole, total)) {
                Ok(segment) => segments.push(segment),
                // The process that writes has no use for it any more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err((path, error)),
            }
            read += bytes;
        }
        Ok(Self { segments, mark })
    }

    /// The position of the next frame.
    #[must_use]
    pub fn next(&self) -> Position {
        let behind = self.segments.last().map_or(Position(0), InspectedSegment::end);
        match self.mark {
            Mark::At(position) => behind.max(position),
            Mark::Absent | Mark::Damaged => behind,
        }
    }

    /// The position of the first frame.
    #[must_use]
    pub fn first(&self) -> Position {
        self.segments.first().map_or(self.next(), |segment| segment.first)
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// What a start reads that goes on from a position: frames that are there, and bytes of the segments they are in.
    #[must_use]
    pub fn behind(&self, position: Position) -> (u64, u64) {
        let touched = self.segments.iter().filter(|segment| position < segment.end());
        touched.fold((0, 0), |(frames, bytes), segment| {
            let before = position.0.saturating_sub(segment.first.0);
            (frames + segment.frames.saturating_sub(before), bytes + segment.whole)
        })
    }
}

fn inspect(
    path: &Path,
    first: u64,
    frames_due: Option<u64>,
    progress: &mut dyn FnMut(u64),
) -> io::Result<InspectedSegment> {
    let mut reader = SegmentReader::open(path)?;
    let (mut frames, mut received) = (0, None);
    let torn = loop {
        match reader.next()? {
            Next::Frame(header, _) => {
                frames += 1;
                let earliest = received.map_or(header.observed, |(earliest, _)| earliest);
                received = Some((earliest, header.observed));
                progress(reader.whole());
            }
            Next::End => break None,
            Next::Torn(reason) => break Some(reason),
        }
        // What is left behind the frames that were acknowledged counts for nothing.
        if frames_due == Some(frames) {
            break None;
        }
    };
    let newer = torn.is_some() && frames == 0 && is_newer(path)?;
    let (first, whole) = (Position(first), reader.whole());
    // After the reading: the process that writes may have gone on meanwhile.
    let bytes = fs::metadata(path)?.len();
    Ok(InspectedSegment {
        path: path.to_owned(),
        first,
        frames,
        frames_due,
        bytes,
        whole,
        received,
        torn,
        newer,
    })
}
