//! The files of the log: which there are, in which order, and their lines.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::error::AuditError;
use super::line::LINE_BYTES_MAX;

/// The file that is written to.
const CURRENT: &str = "audit.log";

/// One file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// The file that is written to, opened before the others were listed: it may be renamed while we read.
    pub(super) current: Option<File>,
    /// The number of its first record, by its name; of the current one it is not known from the name.
    pub(super) first_seq: Option<u64>,
}

impl Segment {
    /// Its lines, from the beginning.
    pub(super) fn lines(self) -> Result<Lines, AuditError> {
        let file = match self.current {
            Some(file) => file,
            None => File::open(&self.path).map_err(|source| AuditError::io(&self.path, source))?,
        };
        Ok(Lines { reader: BufReader::with_capacity(64 * 1024, file), path: self.path, number: 0 })
    }
}

/// Where the current file is.
pub(super) fn current(folder: &Path) -> PathBuf {
    folder.join(CURRENT)
}

/// What the current file is renamed to when it is full: the order of the names is the order of the records.
pub(super) fn rotated(folder: &Path, first_seq: u64) -> PathBuf {
    folder.join(format!("audit-{first_seq:020}.log"))
}

/// The files of the log in `folder`, oldest first.
pub(super) fn segments(folder: &Path) -> Result<Vec<Segment>, AuditError> {
    let io = |source| AuditError::io(folder, source);
    let path = current(folder);
    let current = match File::open(&path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(AuditError::io(&path, source)),
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let Some(first_seq) = path.file_name().and_then(|name| first_seq(name.to_str()?)) else { continue };
        // The current file was rotated between our opening it and our finding it under its new name.
        let same = match &current {
            Some(file) => same_file(file, &path).map_err(|source| AuditError::io(&path, source))?,
            None => false,
        };
        if !same {
            found.push(Segment { path, current: None, first_seq: Some(first_seq) });
        }
    }
    found.sort_by_key(|segment| segment.first_seq);
    found.extend(current.map(|file| Segment { path, current: Some(file), first_seq: None }));
    Ok(found)
}

fn first_seq(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".log")?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (one, other) = (file.metadata()?, fs::metadata(path)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// The lines of a file.
#[derive(Debug)]
pub(super) struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    number: u64,
}

/// One line.
pub(super) struct Line {
    /// Its bytes without its end. At most [`LINE_BYTES_MAX`] and one; a longer line is cut there.
    pub(super) bytes: Vec<u8>,
    /// It ends with a line end.
    pub(super) whole: bool,
    /// Its number, from 1.
    pub(super) number: u64,
}

impl Lines {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next line; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Line>, AuditError> {
        let mut bytes = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut bytes);
        let read = read.map_err(|source| AuditError::io(&self.path, source))?;
        if read == 0 {
            return Ok(None);
        }
        let whole = bytes.pop_if(|last| *last == b'\n').is_some();
        self.number += 1;
        Ok(Some(Line { bytes, whole, number: self.number }))
    }
}
