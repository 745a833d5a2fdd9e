//! The few numbers of the store itself: format, lease clock, counters.

use std::path::Path;

use selvedge_model::ObservedTime;

use super::error::{Context, StoreError};
use super::file::META;

pub(super) const FORMAT: &str = "format";
const LEASE_CLOCK: &str = "lease_clock_nanos";
const WALL: &str = "wall_unix_nanos";
const ENDS: &str = "ends";
const ENDED_FORGOTTEN: &str = "ended_forgotten";

/// What was last written of both clocks.
pub(super) struct Last {
    pub(super) lease_clock: u64,
    pub(super) wall: ObservedTime,
}

/// What a reader wants to know.
pub(super) struct MetaRead {
    pub(super) lease_clock: u64,
    pub(super) ended_forgotten: u64,
}

/// The numbers inside a transaction that writes.
pub(super) struct Meta<'t, 'p> {
    table: redb::Table<'t, &'static str, u64>,
    path: &'p Path,
}

impl<'t, 'p> Meta<'t, 'p> {
    pub(super) fn read(read: &redb::ReadTransaction, path: &Path) -> Result<MetaRead, StoreError> {
        let table = read.open_table(META).context(path)?;
        let lease_clock = required(&table, LEASE_CLOCK, path)?;
        let ended_forgotten = number(&table, ENDED_FORGOTTEN, path)?.unwrap_or(0);
        Ok(MetaRead { lease_clock, ended_forgotten })
    }

    pub(super) fn write(write: &'t redb::WriteTransaction, path: &'p Path) -> Result<Self, StoreError> {
        Ok(Self { table: write.open_table(META).context(path)?, path })
    }

    /// The numbers of a store that was just made.
    pub(super) fn fresh(mut self, format: u64, wall: ObservedTime) -> Result<(), StoreError> {
        self.set(FORMAT, format)?;
        self.set(LEASE_CLOCK, 0)?;
        self.set(WALL, wall.0)
    }

    pub(super) fn last(&self) -> Result<Last, StoreError> {
        let lease_clock = required(&self.table, LEASE_CLOCK, self.path)?;
        let wall = ObservedTime(required(&self.table, WALL, self.path)?);
        Ok(Last { lease_clock, wall })
    }

    /// Writes both clocks down and says what the lease clock is: it never goes back, the wall clock may.
    pub(super) fn note(&mut self, lease_clock: u64, wall: ObservedTime) -> Result<u64, StoreError> {
        let lease_clock = lease_clock.max(required(&self.table, LEASE_CLOCK, self.path)?);
        self.set(LEASE_CLOCK, lease_clock)?;
        self.set(WALL, wall.0)?;
        Ok(lease_clock)
    }

    /// The number of the next end: ends are remembered in this order.
    pub(super) fn next_end(&mut self) -> Result<u64, StoreError> {
        self.add_one(ENDS)
    }

    /// Counts an ended quarantine that found no room any more.
    pub(super) fn forgot_one(&mut self) -> Result<(), StoreError> {
        self.add_one(ENDED_FORGOTTEN).map(drop)
    }

    fn add_one(&mut self, name: &str) -> Result<u64, StoreError> {
        let next = number(&self.table, name, self.path)?.unwrap_or(0) + 1;
        self.set(name, next)?;
        Ok(next)
    }

    fn set(&mut self, name: &str, value: u64) -> Result<(), StoreError> {
        self.table.insert(name, value).context(self.path).map(drop)
    }
}

/// A number that every store has.
pub(super) fn required(
    table: &impl redb::ReadableTable<&'static str, u64>,
    name: &str,
    path: &Path,
) -> Result<u64, StoreError> {
    number(table, name, path)?
        .ok_or_else(|| StoreError::Corrupt { path: path.to_owned(), what: format!("it has no {name}") })
}

fn number(
    table: &impl redb::ReadableTable<&'static str, u64>,
    name: &str,
    path: &Path,
) -> Result<Option<u64>, StoreError> {
    Ok(table.get(name).context(path)?.map(|value| value.value()))
}
