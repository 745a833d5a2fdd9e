//! Writes captures of format v1.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use selvedge_model::{ObservedTime, SignalKind};

use selvedge_receive::Encoding;
use selvedge_receive::journal::FrameHeader;

use super::{CaptureError, FRAME_BYTES_MAX, MAGIC};

/// zstd's default: telemetry shrinks about tenfold, and stronger levels gain little.
const ZSTD_LEVEL: i32 = 3;

/// How a capture is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all (`.otlpcap`): every frame is on its way as soon as it is written.
    None,
    /// One zstd stream (`.otlpcap.zst`).
    Zstd,
}

enum Sink<W: Write> {
    Plain(W),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

/// Writes frames, in the order received.
pub struct CaptureWriter<W: Write> {
    sink: Sink<W>,
}

impl CaptureWriter<BufWriter<File>> {
    /// Creates a file, or empties it; a name that ends in `.zst` is compressed.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn create(path: &Path) -> Result<Self, CaptureError> {
        let zst = path.extension().is_some_and(|extension| extension == "zst");
        let compression = if zst { Compression::Zstd } else { Compression::None };
        File::create(path)
            .and_then(|file| Self::new(BufWriter::new(file), compression))
            .map_err(|source| CaptureError::Open { path: path.to_owned(), source })
    }
}

impl<W: Write> CaptureWriter<W> {
    /// Begins a capture.
    ///
    /// # Errors
    /// The sink refuses the first bytes.
    pub fn new(sink: W, compression: Compression) -> io::Result<Self> {
        let sink = match compression {
            Compression::None => Sink::Plain(sink),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(sink, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Sink::Zstd(encoder)
            }
        };
        let mut writer = Self { sink };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    /// Adds one protobuf `Export*ServiceRequest`.
    ///
    /// # Errors
    /// The sink fails, or the payload is longer than [`FRAME_BYTES_MAX`] (`InvalidInput`; nothing is written then).
    pub fn write(&mut self, signal: SignalKind, observed: ObservedTime, payload: &[u8]) -> io::Result<()> {
        let too_long = || {
            let what = format!("a frame of {} bytes is longer than {FRAME_BYTES_MAX}", payload.len());
            io::Error::new(io::ErrorKind::InvalidInput, what)
        };
        let header = FrameHeader::of(signal, Encoding::Protobuf, observed, payload).ok_or_else(too_long)?;
        self.put(&header.to_bytes())?;
        self.put(payload)
    }

    /// Ends the capture and gives the sink back, flushed.
    ///
    /// # Errors
    /// The sink fails.
    pub fn finish(self) -> io::Result<W> {
        let mut sink = match self.sink {
            Sink::Plain(sink) => sink,
            Sink::Zstd(encoder) => encoder.finish()?,
        };
        sink.flush()?;
        Ok(sink)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.sink {
            Sink::Plain(sink) => sink.write_all(bytes),
            Sink::Zstd(encoder) => encoder.write_all(bytes),
        }
    }
}
