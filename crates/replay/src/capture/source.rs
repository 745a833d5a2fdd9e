//! The bytes of a capture: decompressed on the fly, counted before and after, with damage told apart from a failing
//! device.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{FRAME_BYTES_MAX, MAGIC};

/// First bytes of a zstd frame.
pub(super) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// First bytes of a gzip member that is deflated (RFC 1952, 2.3.1).
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];
/// Bytes asked from the device at once.
const BUFFER_BYTES: usize = 64 << 10;

/// The decompressed bytes.
pub(super) struct Source {
    reader: BufReader<Box<dyn Read + Send>>,
    meter: Arc<Meter>,
    at_byte: u64,
}

#[derive(Default)]
struct Meter {
    bytes: AtomicU64,
    failed: AtomicBool,
}

/// Counts what the device gives and remembers whether it failed: an error of a decompressor is damage, not a failure.
struct Metered {
    device: Box<dyn Read + Send>,
    meter: Arc<Meter>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.device.read(buffer) {
            Ok(count) => {
                self.meter.bytes.fetch_add(count as u64, Ordering::Relaxed);
                Ok(count)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::Interrupted {
                    self.meter.failed.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }
}

impl Source {
    /// Sniffs the compression and begins to read.
    pub(super) fn open(device: Box<dyn Read + Send>) -> io::Result<Self> {
        let meter = Arc::new(Meter::default());
        let mut raw = BufReader::with_capacity(BUFFER_BYTES, Metered { device, meter: Arc::clone(&meter) });
        let mut head = Vec::new();
        raw.by_ref().take(4).read_to_end(&mut head)?;
        let whole = io::Cursor::new(head.clone()).chain(raw);
        let plain: Box<dyn Read + Send> = if head == ZSTD_MAGIC {
            Box::new(zstd::stream::read::Decoder::new(whole)?)
        } else if head.starts_with(&GZIP_MAGIC) {
            Box::new(flate2::read::MultiGzDecoder::new(whole))
        } else {
            Box::new(whole)
        };
        Ok(Self { reader: BufReader::with_capacity(BUFFER_BYTES, plain), meter, at_byte: 0 })
    }

    /// Bytes taken from the device.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.meter.bytes.load(Ordering::Relaxed)
    }

    /// Bytes given out, after decompression.
    pub(super) fn at_byte(&self) -> u64 {
        self.at_byte
    }

    /// The last error came from the device itself.
    pub(super) fn device_failed(&self) -> bool {
        self.meter.failed.load(Ordering::Relaxed)
    }

    /// Up to `count` bytes, fewer only at the end. Memory grows with what is there, not with what is announced.
    pub(super) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let taken = self.reader.by_ref().take(count as u64).read_to_end(&mut bytes);
        self.at_byte += bytes.len() as u64;
        taken.map(|_| bytes)
    }

    /// The next line with its end, at most one byte longer than a frame may be; empty at the end.
    /// On damage, what was read of the line is lost with it.
    pub(super) fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let taken = self.reader.by_ref().take(FRAME_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
        self.at_byte += line.len() as u64;
        taken.map(|_| line)
    }

    /// Puts bytes back that were only looked at.
    fn give_back(&mut self, head: Vec<u8>) {
        let empty: Box<dyn Read + Send> = Box::new(io::empty());
        let rest = std::mem::replace(&mut self.reader, BufReader::new(empty));
        self.at_byte -= head.len() as u64;
        let whole: Box<dyn Read + Send> = Box::new(io::Cursor::new(head).chain(rest));
        self.reader = BufReader::with_capacity(BUFFER_BYTES, whole);
    }
}

/// Looks at the first bytes without taking them.
pub(super) fn first_bytes(source: &mut Source) -> io::Result<Vec<u8>> {
    let head = source.take(MAGIC.len())?;
    source.give_back(head.clone());
    Ok(head)
}

/// How damage inside a compressed stream is told.
pub(super) fn damaged(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        "the compressed stream ends in the middle".to_owned()
    } else {
        format!("the compressed stream is damaged: {error}")
    }
}
