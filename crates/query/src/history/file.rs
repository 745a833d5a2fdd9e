//! One history file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::segment::block::Bounds;

/// Key in the file's metadata: table and bounds.
pub(crate) const KEY: &str = "selvedge";

/// A file, and what a query must know to leave it out.
#[derive(Debug)]
pub(crate) struct HistoryFile {
    /// Where it is.
    path: PathBuf,
    /// The same below the history's folder, as the object store names it.
    pub(crate) location: String,
    pub(crate) table: String,
    pub(crate) bounds: Bounds,
    pub(crate) bytes: u64,
    /// Number of the segment that it was written from; `None` for files of an earlier process.
    pub(crate) origin: Option<u64>,
    forgotten: AtomicBool,
}

impl HistoryFile {
    /// A file of ours; `None` for any other.
    pub(crate) fn open(root: &Path, path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let bytes = file.metadata().ok()?.len();
        let reader = SerializedFileReader::new(file).ok()?;
        let metadata = reader.metadata().file_metadata();
        let entry = metadata.key_value_metadata()?.iter().find(|entry| entry.key == KEY)?;
        let mut words = entry.value.as_deref()?.split(' ');
        let table = words.next()?.to_owned();
        let mut number = || words.next()?.parse::<u64>().ok();
        let bounds = Bounds { start: (number()?, number()?), end: (number()?, number()?) };
        let location = path.strip_prefix(root).ok()?.to_str()?.to_owned();
        let forgotten = AtomicBool::new(false);
        Some(Self { path: path.to_owned(), location, table, bounds, bytes, origin: None, forgotten })
    }

    /// What [`Self::open`] reads.
    pub(crate) fn metadata(table: &str, bounds: &Bounds) -> String {
        let Bounds { start, end } = bounds;
        format!("{table} {} {} {} {}", start.0, start.1, end.0, end.1)
    }

    /// It goes when the last query that sees it has ended.
    pub(crate) fn forget(&self) {
        self.forgotten.store(true, Ordering::Relaxed);
    }
}

impl Drop for HistoryFile {
    fn drop(&mut self) {
        if *self.forgotten.get_mut()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a history file could not be removed");
        }
    }
}
