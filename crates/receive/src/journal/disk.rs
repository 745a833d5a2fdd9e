//! The few things that the journal does to a disk, behind a trait, so that tests can make each of them fail.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Telemetry is for its owner: paths and names in it say more than people think.
pub(super) const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

/// Makes a folder, and those it is in, where they are missing. Their names are on the device when this returns: else a power
/// cut could take the folder with everything that was stored in it.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(folder)?;
    for parent in missing.iter().filter_map(|path| path.parent()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// A segment that is being written.
pub(crate) trait SegmentFile: Send {
    /// Appends some of these bytes, and says how many.
    fn append(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Returns when all that was appended is on the device (`fdatasync`).
    fn sync(&mut self) -> io::Result<()>;
    /// Takes room on the disk ahead of the writing; the length of the file stays.
    fn reserve(&mut self, bytes: u64) -> io::Result<()>;
    /// Makes the file this long, and gives back the room behind it.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

/// A folder of segments.
pub(crate) trait Disk: Send {
    /// Makes a file that was not there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;
    /// Removes a file; one that is not there is removed.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns when the folder's names are on the device.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// The real one.
pub(crate) struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new().append(true).create_new(true).mode(PRIVATE_FILE).open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

struct SystemFile(File);

impl SegmentFile for SystemFile {
    fn append(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(pieces)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::KEEP_SIZE, 0, bytes) {
            // A filesystem that cannot (NFS, some FUSE): the room is taken as it is written.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn nobody_but_the_owner_reads_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("state/journal");
        make_folder(&inner).unwrap();
        make_folder(&inner).unwrap();
        drop(SystemDisk.create(&inner.join("segment")).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&inner), 0o700);
        assert_eq!(mode(&inner.join("segment")), 0o600);
    }
}
