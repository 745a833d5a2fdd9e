//! The mark: up to which position everything that people had to be told was told.
//!
//! A small file beside the segments, replaced as a whole. One that is missing or damaged is position zero: then people
//! may be told something twice, under the same key, and nothing is left untold.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Position;
use super::disk::PRIVATE_FILE;

const NAME: &str = "delivered";
const FRESH: &str = "delivered.new";

/// The mark as it lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// There is none yet.
    Absent,
    /// Effects of frames before this position were delivered.
    At(Position),
    /// It cannot be read.
    Damaged,
}

/// Where the mark is kept.
#[derive(Clone, Debug)]
pub struct DeliveredMark {
    folder: PathBuf,
}

impl DeliveredMark {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The mark: effects of frames before it were delivered.
    #[must_use]
    pub fn read(&self) -> Position {
        match self.examine() {
            Mark::At(position) => position,
            Mark::Absent => Position(0),
            Mark::Damaged => {
                let path = self.folder.join(NAME);
                tracing::warn!(path = %path.display(), "it is not known what people were told; they may be told twice");
                Position(0)
            }
        }
    }

    /// The mark as it lies there, without a word about it.
    pub(super) fn examine(&self) -> Mark {
        match fs::read(self.folder.join(NAME)) {
            Ok(bytes) => parse(&bytes).map_or(Mark::Damaged, |position| Mark::At(Position(position))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Mark::Absent,
            Err(_) => Mark::Damaged,
        }
    }

    /// Moves the mark; it is on the device when this returns. Blocks.
    ///
    /// # Errors
    /// The disk fails; the mark is the old one or the new one.
    pub fn write(&self, before: Position) -> io::Result<()> {
        let fresh = self.folder.join(FRESH);
        let number = before.0.to_le_bytes();
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(&fresh)?;
        file.write_all(&[number.as_slice(), &crc32fast::hash(&number).to_le_bytes()].concat())?;
        file.sync_data()?;
        fs::rename(&fresh, self.folder.join(NAME))?;
        File::open(&self.folder)?.sync_all()
    }
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let (number, checksum) = bytes.split_at_checked(8)?;
    (crc32fast::hash(number).to_le_bytes() == *checksum).then_some(())?;
    Some(u64::from_le_bytes(number.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_what_was_written_last_and_zero_when_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let mark = DeliveredMark::new(folder.path());
        assert_eq!(mark.read(), Position(0));
        for position in [7, 3, u64::MAX] {
            mark.write(Position(position)).unwrap();
            assert_eq!(mark.read(), Position(position));
        }
        let path = folder.path().join(NAME);
        let mut bytes = fs::read(&path).unwrap();
        bytes[2] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(mark.read(), Position(0));
        fs::write(&path, b"short").unwrap();
        assert_eq!(mark.read(), Position(0));
    }
}
