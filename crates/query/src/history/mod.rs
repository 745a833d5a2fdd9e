//! What is older than memory: sealed segments as Parquet files, by table and hour, with their own retention.
//!
//! `FOLDER/calls/hour=2026-11-26T13/FIRST-LAST-SEQUENCE.parquet`, times in nanoseconds. A file appears whole or not at
//! all. A file that retention removes stays readable until the last query that sees it has ended.

mod file;
mod scan;
mod write;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use selvedge_model::EventTime;
use selvedge_model::tables::{CALLS, LOG_RECORDS, METRIC_POINTS, SPANS, TableDef};

pub(crate) use file::HistoryFile;
pub(crate) use scan::{STORE_URL, scan};

use crate::segment::SealedSegment;
use crate::snapshot::Snapshot;

/// The tables that have a history, in the order of [`Snapshot`]'s.
const TABLES: [&TableDef; 4] = [&CALLS, &SPANS, &LOG_RECORDS, &METRIC_POINTS];

/// Where the history is, and how much of it.
#[derive(Clone, Debug)]
pub struct HistoryConfig {
    /// Its folder.
    pub folder: PathBuf,
    /// Age, behind the newest row, past which a file goes.
    pub age_max: Duration,
    /// Bytes of all files; past it the oldest go.
    pub bytes_max: u64,
}

/// Why the history could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file or folder.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is no Parquet file of ours.
    #[error("{} is not a history file", path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
    },
    /// Rows that could not be written.
    #[error("{} cannot be written", path.display())]
    Parquet {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// Rows that could not be sorted.
    #[error("a segment cannot be sorted")]
    Arrow(#[from] arrow::error::ArrowError),
}

/// Up to where the history has rows, by table; absent where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryEnds {
    /// Of `calls`.
    pub calls: EventTime,
    /// Of `spans`.
    pub spans: EventTime,
    /// Of `log_records`.
    pub log_records: EventTime,
    /// Of `metric_points`.
    pub metric_points: EventTime,
}

/// All history files. Cheap to clone; one writer, any number of queries.
#[derive(Clone)]
pub struct History {
    config: Arc<HistoryConfig>,
    files: Arc<Mutex<Vec<Arc<HistoryFile>>>>,
    store: Arc<dyn ObjectStore>,
}

/// The files that one query sees, by table.
pub(crate) type Files = [Vec<Arc<HistoryFile>>; 4];

impl History {
    /// Opens a folder, which is made when it is not there, or a single file of ours. What an earlier process left
    /// half-written is removed.
    ///
    /// # Errors
    /// The folder cannot be read, or the file is none of ours. Files in the folder that are none of ours are left out.
    pub fn open(config: HistoryConfig) -> Result<Self, HistoryError> {
        let path = config.folder.clone();
        let io = |source| HistoryError::Io { path: path.clone(), source };
        let mut files = Vec::new();
        let root = if path.is_file() {
            let root =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let root = fs::canonicalize(root).map_err(io)?;
            let name = path.file_name().unwrap_or_default();
            let file = HistoryFile::open(&root, &root.join(name))
                .ok_or_else(|| HistoryError::NotOurs { path: path.clone() })?;
            files.push(Arc::new(file));
            root
        } else {
            fs::create_dir_all(&path).map_err(io)?;
            let root = fs::canonicalize(&path).map_err(io)?;
            find(&root, &root, &mut files).map_err(io)?;
            root
        };
        files.sort_by_key(|file| file.bounds.end);
        let store =
            LocalFileSystem::new_with_prefix(&root).map_err(|error| io(std::io::Error::other(error)))?;
        let config = Arc::new(HistoryConfig { folder: root, ..config });
        Ok(Self { config, files: Arc::new(Mutex::new(files)), store: Arc::new(store) })
    }

    /// Writes a sealed segment, one file per hour of its rows, and lets go what is too old or too much. Blocks on the
    /// disk: call it where blocking is allowed.
    ///
    /// # Errors
    /// The disk refused; the files already written stay.
    pub fn write(&self, sealed: &SealedSegment) -> Result<u64, HistoryError> {
        let written = write::write(&self.config.folder, sealed)?;
        let bytes = written.iter().map(|file| file.bytes).sum();
        self.lock().extend(written.into_iter().map(Arc::new));
        self.retain();
        Ok(bytes)
    }

    /// Bytes and number of files.
    #[must_use]
    pub fn size(&self) -> (u64, usize) {
        let files = self.lock();
        (files.iter().map(|file| file.bytes).sum(), files.len())
    }

    /// End of the newest row; absent without files.
    #[must_use]
    pub fn newest(&self) -> EventTime {
        EventTime(self.lock().iter().map(|file| file.bounds.end.1).max().unwrap_or(0))
    }

    /// End of the newest row of each table.
    #[must_use]
    pub fn ends(&self) -> HistoryEnds {
        let files = self.lock();
        let newest = |table: &TableDef| {
            let of_table = files.iter().filter(|file| file.table == table.name);
            EventTime(of_table.map(|file| file.bounds.end.1).max().unwrap_or(0))
        };
        let [calls, spans, log_records, metric_points] = TABLES.map(newest);
        HistoryEnds { calls, spans, log_records, metric_points }
    }

    fn retain(&self) {
        let newest = self.newest();
        let too_old = newest.before(self.config.age_max).0;
        let mut files = self.lock();
        files.sort_by_key(|file| file.bounds.end);
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        files.retain(|file| {
            let keep = file.bounds.end.1 >= too_old && bytes <= self.config.bytes_max;
            if !keep {
                bytes -= file.bytes;
                file.forget();
            }
            keep
        });
    }

    /// The files that a query over a snapshot sees: all but those whose rows are still in memory.
    pub(crate) fn beside(&self, snapshot: &Snapshot) -> Files {
        let files = self.lock();
        let mut beside = Files::default();
        for (table, (def, view)) in beside.iter_mut().zip(TABLES.into_iter().zip(&snapshot.recorded)) {
            // Segments go oldest first: whatever was sealed from here on is in the snapshot, or newer than it.
            let in_memory = |file: &HistoryFile| file.origin.is_some_and(|origin| origin >= view.first);
            table.extend(files.iter().filter(|file| file.table == def.name && !in_memory(file)).cloned());
        }
        beside
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<HistoryFile>>> {
        // A list of files is right after every step, so a writer that panicked did no harm.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All files of ours below a folder.
fn find(root: &Path, folder: &Path, files: &mut Vec<Arc<HistoryFile>>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            _ if path.is_dir() => find(root, &path, files)?,
            Some(write::UNFINISHED) => fs::remove_file(&path)?,
            Some("parquet") => match HistoryFile::open(root, &path) {
                Some(file) => files.push(Arc::new(file)),
                None => tracing::warn!(path = %path.display(), "left out a file that is not ours"),
            },
            _ => {}
        }
    }
    Ok(())
}
