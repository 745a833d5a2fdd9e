//! The file of the lease store: its tables, how it is made, how it is opened.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use redb::{ReadableDatabase as _, TableDefinition, TableError, TableHandle as _};

use super::Moment;
use super::error::{Context, StoreError, failed};
use super::meta::{FORMAT, Meta, required};
use crate::durable;

/// The format this program writes, and the newest it reads. A change of `wire.rs` that an older program would
/// misread makes it one more.
const FORMAT_KNOWN: u64 = 1;
/// Memory for pages. The whole store is smaller.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Numbers of the store itself, by name.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Quarantines by id, as JSON.
pub(super) const QUARANTINES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("quarantines");
/// Events by id and revision, as JSON.
pub(super) const HISTORY: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("history");
/// Ids of ended quarantines in the order they ended.
pub(super) const ENDED: TableDefinition<'_, u64, &str> = TableDefinition::new("ended");

/// Opens the file, or makes it where it is missing.
pub(super) fn open(path: &Path, now: Moment) -> Result<redb::Database, StoreError> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => check_not_empty(path, &file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path, now)?,
        Err(error) => return Err(failed(path, redb::Error::Io(error))),
    }
    let database = builder().open(path).context(path)?;
    check_format(&database, path)?;
    Ok(database)
}

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    // A file altered by anything but redb is an error and not a panic, at the price of reading it once.
    builder.set_check_integrity_on_open(true).set_cache_size(CACHE_BYTES);
    builder
}

/// redb takes an empty file for a new database. We never make one, so somebody or something emptied it.
fn check_not_empty(path: &Path, file: &File) -> Result<(), StoreError> {
    let length = file.metadata().map_err(|error| failed(path, redb::Error::Io(error)))?.len();
    if length == 0 {
        return Err(StoreError::Corrupt { path: path.to_owned(), what: "the file is empty".to_owned() });
    }
    Ok(())
}

/// Makes the file beside its place, whole and on disk, and moves it there only when nothing stands there: a
/// crash leaves a whole store or none, and of two processes at once one makes it.
fn make(path: &Path, now: Moment) -> Result<(), StoreError> {
    let io_failed = |error: io::Error| failed(path, redb::Error::Io(error));
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let Some(_lock) = durable::lock(Path::new(&lock_path)).map_err(io_failed)? else {
        return Err(StoreError::Locked { path: path.to_owned() });
    };
    if path.exists() {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_failed(error)),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(durable::PRIVATE).open(&fresh).map_err(io_failed)?;
    let database = builder().create(&fresh).context(path)?;
    let write = database.begin_write().context(path)?;
    Meta::write(&write, path)?.fresh(FORMAT_KNOWN, now.wall)?;
    for made in [
        write.open_table(QUARANTINES).map(drop),
        write.open_table(HISTORY).map(drop),
        write.open_table(ENDED).map(drop),
    ] {
        made.context(path)?;
    }
    write.commit().context(path)?;
    database.close().context(path)?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(durable::PRIVATE)).map_err(io_failed)?;
    std::fs::rename(&fresh, path).map_err(io_failed)?;
    durable::sync_folder(durable::folder_of(path)).map_err(io_failed)
}

fn check_format(database: &redb::Database, path: &Path) -> Result<(), StoreError> {
    let read = database.begin_read().context(path)?;
    let table = match read.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => {
            let what = format!("it has no table {}", META.name());
            return Err(StoreError::Corrupt { path: path.to_owned(), what });
        }
        table => table.context(path)?,
    };
    let found = required(&table, FORMAT, path)?;
    if FORMAT_KNOWN < found {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT_KNOWN });
    }
    Ok(())
}
