//! The file format, version 1.
//!
//! `SLVCKP` and two digits of the format's version; a JSON head of a given length; sections; the end mark. A number is
//! little-endian.
//!
//! ```text
//! magic "SLVCKP01"
//! u32 length of the head | u32 CRC-32 of the head | head (JSON)
//! for each section: u8 1 | u8 length of the name | name | u16 version | u64 raw bytes | u64 stored bytes
//!                   | u32 CRC-32 of all of this section's header | u32 CRC-32 of what is stored | zstd frame
//! u8 0 | u32 number of sections | u32 CRC-32 of that number
//! ```
//!
//! Every byte is under a checksum, and the end mark tells a whole file from one that was cut.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// What a file begins with: the format's name, and its version in two digits.
pub const MAGIC: &[u8; 8] = b"SLVCKP01";
const NAME: &[u8; 6] = b"SLVCKP";
/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 1;
/// Bytes of a head: a few names and numbers.
const HEAD_MAX: u32 = 64 << 10;
/// Sections of a file.
const SECTIONS_MAX: u32 = 1_024;
/// Bytes of one section, uncompressed: a million edges.
pub const SECTION_BYTES_MAX: u64 = 16 << 30;
/// Compression is for the disk's sake: the fastest level halves the bytes, the next ones gain a tenth for twice the time.
const LEVEL: i32 = 1;
const MORE: u8 = 1;
const END: u8 = 0;

/// What a checkpoint is of. People may read it with a pager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Frames of the journal before this position are in it, those from it on are not.
    pub position: u64,
    /// When it was taken, by our wall clock: nanoseconds since 1970.
    pub taken_unix_nano: u64,
    /// The newest event time that it has seen: nanoseconds since 1970, 0 for none.
    pub frontier_unix_nano: u64,
    /// The version of Selvedge that wrote it.
    pub written_by: String,
    /// A person made it, or brought it: what was before it does not count any more.
    pub begins: bool,
    /// What that person did, for people.
    pub note: String,
    /// SHA-256 of the captures that were taught, in hex: they are in it, and need not be taught again.
    pub taught: Vec<String>,
}

/// One part of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name; at most 255 bytes.
    pub name: String,
    /// The version of its content.
    pub version: u16,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A checkpoint in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// What it is of.
    pub head: Head,
    /// Its parts.
    pub sections: Vec<Section>,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk fails.
    #[error("it cannot be read")]
    Io(#[source] io::Error),
    /// It is something else.
    #[error("it is no checkpoint")]
    Foreign,
    /// A newer Selvedge wrote it.
    #[error("its format is version {found}, and this Selvedge reads up to {VERSION}: use the newer one")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// It was cut, or bytes of it changed.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

impl Checkpoint {
    /// The section of a name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let head = serde_json::to_vec(&self.head).map_err(io::Error::other)?;
        to.write_all(MAGIC)?;
        to.write_all(&length(head.len())?.to_le_bytes())?;
        to.write_all(&crc32fast::hash(&head).to_le_bytes())?;
        to.write_all(&head)?;
        for section in &self.sections {
            write_section(section, to)?;
        }
        let count = length(self.sections.len())?.to_le_bytes();
        to.write_all(&[END])?;
        to.write_all(&count)?;
        to.write_all(&crc32fast::hash(&count).to_le_bytes())
    }

    /// Reads one whose sections have at most `section_bytes_max` bytes each.
    ///
    /// # Errors
    /// What is wrong with it. Nothing of a file that is wrong anywhere is used.
    pub fn read(from: &mut impl Read, section_bytes_max: u64) -> Result<Self, ReadError> {
        let head = read_head(from)?;
        let mut sections = Vec::new();
        loop {
            match read_array::<1>(from)? {
                [MORE] => {}
                [END] => break,
                _ => return Err(ReadError::Damaged("neither a section nor its end mark follows")),
            }
            if sections.len() >= SECTIONS_MAX as usize {
                return Err(ReadError::Damaged("it has too many sections"));
            }
            sections.push(read_section(from, section_bytes_max)?);
        }
        let (count, sum) = (read_array::<4>(from)?, read_array::<4>(from)?);
        let whole = crc32fast::hash(&count).to_le_bytes() == sum
            && u32::from_le_bytes(count) as usize == sections.len();
        if !whole {
            return Err(ReadError::Damaged("its end mark is wrong"));
        }
        Ok(Self { head, sections })
    }
}

/// Reads the head alone: what a file is of, without what it holds.
///
/// # Errors
/// What is wrong with it, as far as that shows.
pub fn read_head(from: &mut impl Read) -> Result<Head, ReadError> {
    let magic = read_array::<8>(from).map_err(|error| match error {
        ReadError::Damaged(_) => ReadError::Foreign,
        other => other,
    })?;
    let digits = std::str::from_utf8(&magic[6..]).ok().and_then(|digits| digits.parse::<u32>().ok());
    match digits {
        Some(VERSION) if magic.starts_with(NAME) => {}
        Some(found) if magic.starts_with(NAME) && VERSION < found => return Err(ReadError::Newer { found }),
        _ => return Err(ReadError::Foreign),
    }
    let (length, sum) = (u32::from_le_bytes(read_array(from)?), read_array::<4>(from)?);
    if HEAD_MAX < length {
        return Err(ReadError::Damaged("its head is too long"));
    }
    let mut head = vec![0; length as usize];
    from.read_exact(&mut head).map_err(cut)?;
    if crc32fast::hash(&head).to_le_bytes() != sum {
        return Err(ReadError::Damaged("the checksum of its head is wrong"));
    }
    serde_json::from_slice(&head).map_err(|_| ReadError::Damaged("its head is not what it should be"))
}

fn write_section(section: &Section, to: &mut impl Write) -> io::Result<()> {
    let stored = zstd::bulk::compress(&section.bytes, LEVEL)?;
    let name = u8::try_from(section.name.len()).map_err(io::Error::other)?;
    let mut header = vec![name];
    header.extend_from_slice(section.name.as_bytes());
    header.extend_from_slice(&section.version.to_le_bytes());
    header.extend_from_slice(&(section.bytes.len() as u64).to_le_bytes());
    header.extend_from_slice(&(stored.len() as u64).to_le_bytes());
    to.write_all(&[MORE])?;
    to.write_all(&header)?;
    to.write_all(&crc32fast::hash(&header).to_le_bytes())?;
    to.write_all(&crc32fast::hash(&stored).to_le_bytes())?;
    to.write_all(&stored)
}

fn read_section(from: &mut impl Read, bytes_max: u64) -> Result<Section, ReadError> {
    let name_bytes = read_array::<1>(from)?;
    let mut header = vec![0; usize::from(name_bytes[0]) + 2 + 8 + 8];
    from.read_exact(&mut header).map_err(cut)?;
    let sum = read_array::<4>(from)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&name_bytes);
    hasher.update(&header);
    if hasher.finalize().to_le_bytes() != sum {
        return Err(ReadError::Damaged("the checksum of a section's header is wrong"));
    }
    let (name, numbers) = header.split_at(usize::from(name_bytes[0]));
    let name = String::from_utf8(name.to_vec()).map_err(|_| ReadError::Damaged("a section has no name"))?;
    let (version, numbers) = numbers.split_at(2);
    let (raw, stored) = numbers.split_at(8);
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    let (raw, stored) = (number(raw), number(stored));
    if bytes_max < raw || bytes_max < stored {
        return Err(ReadError::Damaged("a section is larger than it may be"));
    }
    let sum = read_array::<4>(from)?;
    let mut packed = Vec::new();
    // Grows with what is there, not with what a header promises.
    let got = from.take(stored).read_to_end(&mut packed).map_err(ReadError::Io)?;
    if got as u64 != stored {
        return Err(ReadError::Damaged("it was cut"));
    }
    if crc32fast::hash(&packed).to_le_bytes() != sum {
        return Err(ReadError::Damaged("the checksum of a section is wrong"));
    }
    let mut bytes = Vec::new();
    let unpack = zstd::Decoder::new(packed.as_slice()).map_err(ReadError::Io)?;
    unpack
        .take(raw.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|_| ReadError::Damaged("a section cannot be unpacked"))?;
    if bytes.len() as u64 != raw {
        return Err(ReadError::Damaged("a section is not as long as it says"));
    }
    Ok(Section { name, version: u16::from_le_bytes([version[0], version[1]]), bytes })
}

fn length(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(io::Error::other)
}

fn read_array<const N: usize>(from: &mut impl Read) -> Result<[u8; N], ReadError> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(cut)?;
    Ok(bytes)
}

fn cut(error: io::Error) -> ReadError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        ReadError::Damaged("it was cut")
    } else {
        ReadError::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(sections: Vec<(String, u16, Vec<u8>)>) -> Checkpoint {
        let head = Head { position: 7, taken_unix_nano: 8, frontier_unix_nano: 9, ..Head::default() };
        let section = |(name, version, bytes)| Section { name, version, bytes };
        Checkpoint { head, sections: sections.into_iter().map(section).collect() }
    }

    fn written(checkpoint: &Checkpoint) -> Vec<u8> {
        let mut bytes = Vec::new();
        checkpoint.write(&mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Checkpoint, ReadError> {
        Checkpoint::read(&mut &*bytes, 1 << 20)
    }

    fn sections() -> impl Strategy<Value = Vec<(String, u16, Vec<u8>)>> {
        prop::collection::vec(("[a-z]{0,12}", any::<u16>(), prop::collection::vec(any::<u8>(), 0..300)), 0..5)
    }

    proptest! {
        /// Guarantees: what was written is read; cut anywhere it is refused; with any byte changed it is refused.
        #[test]
        fn a_file_is_read_as_it_was_written_or_not_at_all(sections in sections(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let checkpoint = sample(sections);
            let mut bytes = written(&checkpoint);
            prop_assert_eq!(read(&bytes).unwrap(), checkpoint.clone());
            let cut = at.index(bytes.len());
            prop_assert!(read(&bytes[..cut]).is_err(), "cut at {}", cut);
            bytes[cut] ^= flip;
            prop_assert!(read(&bytes).is_err(), "byte {} changed", cut);
        }
    }

    #[test]
    fn a_newer_format_says_so_and_something_else_is_no_checkpoint() {
        let mut bytes = written(&sample(vec![]));
        bytes[7] = b'2';
        let error = read(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its format is version 2, and this Selvedge reads up to 1: use the newer one"
        );
        assert!(matches!(read(b"SLVCAP01 and more").unwrap_err(), ReadError::Foreign));
        assert!(matches!(read(b"").unwrap_err(), ReadError::Foreign));
    }

    #[test]
    fn a_section_that_unpacks_to_more_than_is_allowed_is_refused() {
        let bytes = written(&sample(vec![("zeros".to_owned(), 1, vec![0; 2 << 20])]));
        assert!(bytes.len() < 1 << 10, "it is small while it is packed");
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "it is damaged: a section is larger than it may be");
    }
}
