//! Reading and writing captures: any format of design section 4, told apart by its first bytes.
//!
//! Everything works over `std::io::Read` and `Write`; only [`CaptureReader::open`] and [`CaptureWriter::create`] touch
//! a file. Damage at the end is cut and reported, never an error. Start reading at [`CaptureReader`].

mod frames;
mod json_lines;
mod length_framed;
mod signal;
mod source;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use selvedge_model::{ObservedTime, SignalKind};

use frames::Frames;
use json_lines::JsonLines;
use length_framed::LengthFramed;
use source::{Source, first_bytes};
pub use writer::{CaptureWriter, Compression};

pub use selvedge_receive::journal::{FRAME_BYTES_MAX, MAGIC};

/// How a frame's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameEncoding {
    /// One protobuf `Export*ServiceRequest`.
    Protobuf,
    /// One OTLP/JSON object.
    Json,
}

/// One batch as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which of the three signals.
    pub signal: SignalKind,
    /// How the body is written.
    pub encoding: FrameEncoding,
    /// When it was received; `None` in formats that do not record it.
    pub observed: Option<ObservedTime>,
    /// The body.
    pub body: Vec<u8>,
}

/// The capture was cut here, because what follows is not a whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where the last whole frame ends: bytes of the capture after decompression.
    pub at_byte: u64,
    /// What is wrong behind it.
    pub reason: String,
}

/// Frames inside a capture that could not be used, though the frames after them could.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// How many.
    pub frames: u64,
    /// Where the first of them begins, and what is wrong with it.
    pub first: Option<TornTail>,
}

/// A capture that cannot be read at all. The tail of a capture that ends in the middle is not an error.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened or created.
    #[error("capture {} cannot be opened", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The device gave an error in the middle.
    #[error("capture {} cannot be read past byte {at_byte}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Bytes read well, after decompression.
        at_byte: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// Not one of the formats we read.
    #[error(
        "{} is not a capture: it begins with {} and is neither a Selvedge capture nor OTLP as JSON lines or \
         length-framed protobuf",
        .path.display(), Hex(.head)
    )]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// Its first bytes, after decompression.
        head: Vec<u8>,
    },
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")?;
        self.0.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.at_byte, self.reason)
    }
}

impl Unreadable {
    fn count(&mut self, at_byte: u64, reason: String) {
        self.frames += 1;
        self.first.get_or_insert(TornTail { at_byte, reason });
    }
}

/// What reading on gave.
enum Next {
    Frame(Frame),
    End,
    Torn(TornTail),
    Failed(io::Error),
    Unrecognised(Vec<u8>),
}

enum Format {
    Frames(Frames),
    JsonLines(JsonLines),
    LengthFramed(LengthFramed),
    /// All that could be read has been.
    Done,
}

/// The frames of a capture, in the order received. After an error, a torn tail or the end there are none.
pub struct CaptureReader {
    path: PathBuf,
    source: Source,
    format: Format,
    bytes_total: u64,
    tail: Option<TornTail>,
    unreadable: Unreadable,
}

impl CaptureReader {
    /// Opens a file.
    ///
    /// # Errors
    /// The file cannot be opened or read, or is of no format we know.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let failed = |source| CaptureError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let bytes_total = file.metadata().map_err(failed)?.len();
        Self::new(path, Box::new(file), bytes_total)
    }

    /// Reads from anywhere. `path` is used in messages, and as a hint where a format does not tell the signal;
    /// `bytes_total` only for progress.
    ///
    /// # Errors
    /// The first bytes cannot be read, or are of no format we know.
    pub fn new(path: &Path, raw: Box<dyn Read + Send>, bytes_total: u64) -> Result<Self, CaptureError> {
        let failed = |source| CaptureError::Read { path: path.to_owned(), at_byte: 0, source };
        let mut source = Source::open(raw).map_err(failed)?;
        let mut tail = None;
        let head = match first_bytes(&mut source) {
            Ok(head) => head,
            Err(error) if source.device_failed() => return Err(failed(error)),
            Err(error) => {
                tail = Some(TornTail { at_byte: 0, reason: source::damaged(&error) });
                Vec::new()
            }
        };
        let format = sniff(&head, path)
            .ok_or_else(|| CaptureError::Unrecognised { path: path.to_owned(), head: head.clone() })?;
        let path = path.to_owned();
        Ok(Self { path, source, format, bytes_total, tail, unreadable: Unreadable::default() })
    }

    /// What was cut off; known once the iterator has ended.
    #[must_use]
    pub fn tail(&self) -> Option<&TornTail> {
        self.tail.as_ref()
    }

    /// Frames that were skipped so far because they could not be used.
    #[must_use]
    pub fn unreadable(&self) -> &Unreadable {
        &self.unreadable
    }

    /// Bytes of the file read so far, before decompression.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.source.raw_bytes()
    }

    /// Bytes of the file; 0 when not known.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }
}

impl Iterator for CaptureReader {
    type Item = Result<Frame, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.format {
            Format::Frames(frames) => frames.next(&mut self.source),
            Format::JsonLines(lines) => lines.next(&mut self.source, &mut self.unreadable),
            Format::LengthFramed(messages) => messages.next(&mut self.source, &mut self.unreadable),
            Format::Done => return None,
        };
        if let Next::Frame(frame) = next {
            return Some(Ok(frame));
        }
        self.format = Format::Done;
        let path = self.path.clone();
        match next {
            Next::Frame(_) | Next::End => None,
            Next::Torn(tail) => {
                self.tail = Some(tail);
                None
            }
            Next::Failed(source) => {
                Some(Err(CaptureError::Read { path, at_byte: self.source.at_byte(), source }))
            }
            Next::Unrecognised(head) => Some(Err(CaptureError::Unrecognised { path, head })),
        }
    }
}

/// The format by its first bytes; `None` when it is none of ours.
fn sniff(head: &[u8], path: &Path) -> Option<Format> {
    if head.is_empty() {
        return Some(Format::Done);
    }
    // A process that died while it began a capture leaves part of the magic: that is a torn capture.
    if MAGIC.starts_with(head) {
        return Some(Format::Frames(Frames::default()));
    }
    let text = head.strip_prefix(json_lines::BYTE_ORDER_MARK).unwrap_or(head);
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None | Some(b'{') => return Some(Format::JsonLines(JsonLines::default())),
        Some(_) => {}
    }
    length_framed::plausible(head).then(|| Format::LengthFramed(LengthFramed::new(path)))
}
