//! Segments on disk: their names, and reading them up to the last whole frame.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::frame::{FrameHeader, HEADER_BYTES, MAGIC};

/// Behind the digits.
const EXTENSION: &str = "otlpcap";
/// Enough for any position, so that names sort as their numbers do.
const DIGITS: usize = 20;
/// Bytes asked from the disk at once.
const BUFFER_BYTES: usize = 256 << 10;

/// The segment whose first frame has this position.
pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:0DIGITS$}.{EXTENSION}"))
}

/// The position of the first frame, by the file's name; `None` for a file that is no segment.
fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// All segments of a folder with their bytes, oldest first.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(first) = entry.file_name().to_str().and_then(first_of) {
            segments.push((first, entry.metadata()?.len()));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Whether a file begins as captures do, but with a later number of the format.
pub(super) fn is_newer(path: &Path) -> io::Result<bool> {
    let mut magic = Vec::new();
    File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut magic)?;
    let (name, version) = MAGIC.split_at(MAGIC.len() - 2);
    let found = magic.strip_prefix(name).filter(|found| found.len() == version.len());
    Ok(found.is_some_and(|found| found.iter().all(u8::is_ascii_digit) && found > version))
}

/// What comes next in a segment.
pub(super) enum Next {
    /// A whole frame.
    Frame(FrameHeader, Vec<u8>),
    /// The end.
    End,
    /// Bytes that are no whole frame, and why.
    Torn(String),
}

/// Reads a segment from its beginning.
pub(super) struct SegmentReader {
    file: BufReader<File>,
    begun: bool,
    whole: u64,
}

impl SegmentReader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
        Ok(Self { file, begun: false, whole: 0 })
    }

    /// Where the last whole frame ends.
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    /// Reads on. After anything but a frame there are none.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        if !std::mem::replace(&mut self.begun, true) {
            let mut magic = [0; MAGIC.len()];
            match self.fill(&mut magic)? {
                0 => return Ok(Next::End),
                count if count == MAGIC.len() && magic == *MAGIC => self.whole = count as u64,
                _ => return Ok(Next::Torn("the segment does not begin as one".to_owned())),
            }
        }
        let mut bytes = [0; HEADER_BYTES];
        match self.fill(&mut bytes)? {
            0 => return Ok(Next::End),
            HEADER_BYTES => {}
            count => return Ok(Next::Torn(format!("a frame's header ends after {count} bytes"))),
        }
        let header = match FrameHeader::parse(&bytes) {
            Ok(header) => header,
            Err(fault) => return Ok(Next::Torn(fault.to_string())),
        };
        // Memory grows with what is there, not with what damaged bytes announce.
        let mut payload = Vec::new();
        self.file.by_ref().take(u64::from(header.length)).read_to_end(&mut payload)?;
        if payload.len() < header.payload_bytes() {
            let (there, length) = (payload.len(), header.length);
            return Ok(Next::Torn(format!("a frame of {length} bytes ends after {there}")));
        }
        if let Err(fault) = header.verify(&payload) {
            return Ok(Next::Torn(fault.to_string()));
        }
        self.whole += (HEADER_BYTES + payload.len()) as u64;
        Ok(Next::Frame(header, payload))
    }

    /// Fills the buffer as far as there are bytes.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_segments_and_they_sort() {
        let name = |first| path(Path::new(""), first).display().to_string();
        assert_eq!(first_of(&name(7)), Some(7));
        assert_eq!(first_of(&name(u64::MAX)), Some(u64::MAX));
        assert!(name(99) < name(100));
        for other in [
            "lock",
            "delivered",
            "7.otlpcap",
            "00000000000000000007.otlpcap.zst",
            "+0000000000000000007.otlpcap",
        ] {
            assert_eq!(first_of(other), None, "{other}");
        }
    }
}
