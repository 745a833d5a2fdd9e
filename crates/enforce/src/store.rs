//! The lease store: every quarantine, its lease and its history, in one file that a crash at any point leaves
//! whole.
//!
//! One change is one transaction, on disk before [`Store::commit`] returns. A change names the revision it was
//! decided on, so of two commands at once one wins and the other is told. A file that cannot be read is an
//! error, never an empty store: a control plane that comes back empty lifts every quarantine.
//!
//! # How a lease is counted
//!
//! All leases run on one *lease clock*, in nanoseconds, kept in the file. While a process has the store open,
//! the clock follows [`Moment::steady`], which nobody can set; each change and each [`Store::note_alive`]
//! writes down how far it is and what the wall clock says. When the store is opened again, the clock is moved
//! on by what the wall clock advanced since it was last written. It never goes back, so what is left of a lease
//! is between zero and what was left at the last writing. Where the wall clock is set:
//!
//! - *while a process runs*, forward or back: changes nothing;
//! - *back, while none runs*: the time that no process ran is counted short, down to zero. Nothing is lifted
//!   early; a
//!   lease lasts longer by at most that time, and never has more left than was written;
//! - *forward, while none runs*: counts as time that passed, because nothing tells it from a long stop. A lease
//!   may run
//!   out early by the jump.
//!
//! Time in which the machine was suspended counts as the steady clock counts it (on Linux `CLOCK_MONOTONIC`
//! does not).

mod error;
mod file;
mod meta;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};
use selvedge_model::time::nanos;
use selvedge_model::{ObservedTime, Quarantine, QuarantineState, SteadyTime};

pub use error::StoreError;
use error::{Context, failed};
use file::{ENDED, HISTORY, QUARANTINES};
use meta::Meta;
use wire::{StoredEvent, StoredRecord};

/// What both our clocks say at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, which may be set at any time.
    pub wall: ObservedTime,
    /// The clock nobody can set. Its start means nothing: only moments of one process can be compared.
    pub steady: SteadyTime,
}

/// How much the store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Quarantines that have not ended. At the limit a new one is refused ([`StoreError::Full`]); none is
    /// dropped.
    pub open_max: u64,
    /// Ended quarantines. Past it the one that ended first is forgotten with its history, and counted.
    pub ended_max: u64,
    /// Events of one quarantine. Past it the oldest is forgotten, and counted.
    pub history_max: u64,
    /// Bytes of one quarantine as written. A larger one is refused ([`StoreError::TooLarge`]).
    pub record_bytes_max: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { open_max: 1_000, ended_max: 1_000, history_max: 200, record_bytes_max: 256 * 1024 }
    }
}

/// What a change does to the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It runs on, or there is still none.
    Keep,
    /// It lasts this long from now, whatever was left: a grant or a renewal.
    Grant(Duration),
    /// There is none any more. Ending a quarantine does this by itself.
    End,
}

/// One change of one quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The quarantine as it shall be. `expires` is not looked at: the lease says when.
    pub quarantine: Quarantine,
    /// The revision the change was decided on; 0 for a quarantine that is not there yet.
    pub expected: u64,
    /// What becomes of the lease.
    pub lease: Lease,
    /// Who changes it: `engine`, or a person. For the history.
    pub who: String,
    /// What happened, in a few words. For the history.
    pub what: String,
}

/// A quarantine as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredQuarantine {
    /// The quarantine. `expires` is the moment's wall clock plus what is left of the lease.
    pub quarantine: Quarantine,
    /// How many changes it has seen; the next change has to name it.
    pub revision: u64,
    /// What is left of the lease: zero when it has run out, `None` when nothing is leased.
    pub remaining: Option<Duration>,
}

/// One change in the history of a quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEvent {
    /// The revision it made.
    pub revision: u64,
    /// When, by our wall clock.
    pub at: ObservedTime,
    /// Who.
    pub who: String,
    /// What happened.
    pub what: String,
    /// The state it led to.
    pub state: QuarantineState,
}

/// The history of a quarantine, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The newest events.
    pub events: Vec<HistoryEvent>,
    /// How many older ones were forgotten.
    pub forgotten: u64,
}

/// How full the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    /// Quarantines that have not ended.
    pub open: u64,
    /// Ended ones that are remembered.
    pub ended: u64,
    /// Ended ones that were forgotten since the store was made.
    pub ended_forgotten: u64,
}

/// The lease store. One process has it open at a time; its threads may share it.
#[derive(Debug)]
pub struct Store {
    database: redb::Database,
    path: PathBuf,
    limits: StoreLimits,
    opened: Opened,
}

/// Where the lease clock was when this process took it over.
#[derive(Clone, Copy, Debug)]
struct Opened {
    lease_clock: u64,
    steady: SteadyTime,
}

impl Store {
    /// Opens the store at `path`, or makes one where the file is missing and its folder is there. Every page is
    /// checked against its checksum and every quarantine is read.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it; [`StoreError::Newer`] when a later version wrote it;
    /// [`StoreError::Corrupt`] and [`StoreError::Unreadable`] when it cannot be read (an existing empty file
    /// too). With any of them, nothing may be served: the quarantines in force are not known.
    pub fn open(path: &Path, now: Moment, limits: StoreLimits) -> Result<Self, StoreError> {
        let database = file::open(path, now)?;
        let mut store = Self {
            database,
            path: path.to_owned(),
            limits,
            opened: Opened { lease_clock: 0, steady: now.steady },
        };
        store.opened.lease_clock = store.take_over(now)?;
        store.load(now)?;
        Ok(store)
    }

    /// Every quarantine, by id, with what is left of its lease at `now`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(&self, now: Moment) -> Result<Vec<StoredQuarantine>, StoreError> {
        let read = self.database.begin_read().context(&self.path)?;
        let clock = Meta::read(&read, &self.path)?.lease_clock.max(self.lease_clock(now));
        let table = read.open_table(QUARANTINES).context(&self.path)?;
        let mut found = Vec::new();
        for row in table.iter().context(&self.path)? {
            let (id, bytes) = row.context(&self.path)?;
            found.push(self.parse(id.value(), bytes.value())?.into_stored(clock, now.wall));
        }
        Ok(found)
    }

    /// Carries out a change; it is on disk when this returns. Takes a few milliseconds of waiting for the disk.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the quarantine is not at the expected revision (somebody else was first,
    /// or it was forgotten), [`StoreError::Ended`] when it has ended and the change would bring it back,
    /// [`StoreError::NotLeased`] when proxies would have it without a lease, [`StoreError::Full`],
    /// [`StoreError::TooLarge`]: nothing was changed. [`StoreError::Unreadable`] when the disk failed: what
    /// stands on disk is not known until the store is opened again.
    pub fn commit(&self, change: &Change, now: Moment) -> Result<StoredQuarantine, StoreError> {
        let mut write = self.begin()?;
        let stored = self.apply(&mut write, change, now)?;
        write.commit().context(&self.path)?;
        Ok(stored)
    }

    /// Writes down that we run, and how far the lease clock is: what bounds the error of a lease after a crash.
    /// Call it every few seconds while something is leased.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn note_alive(&self, now: Moment) -> Result<(), StoreError> {
        let write = self.begin()?;
        let mut meta = Meta::write(&write, &self.path)?;
        meta.note(self.lease_clock(now), now.wall)?;
        drop(meta);
        write.commit().context(&self.path)
    }

    /// What happened to a quarantine, oldest first; empty for one that is not there.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn history(&self, id: &str) -> Result<History, StoreError> {
        let read = self.database.begin_read().context(&self.path)?;
        let table = read.open_table(HISTORY).context(&self.path)?;
        let mut events = Vec::new();
        for row in table.range((id, 0)..=(id, u64::MAX)).context(&self.path)? {
            let (key, bytes) = row.context(&self.path)?;
            let event: StoredEvent =
                serde_json::from_slice(bytes.value()).map_err(|source| self.corrupt(id, &source))?;
            events.push(event.into_event(key.value().1));
        }
        let forgotten = events.first().map_or(0, |event| event.revision.saturating_sub(1));
        Ok(History { events, forgotten })
    }

    /// How full the store is.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn counts(&self) -> Result<StoreCounts, StoreError> {
        let read = self.database.begin_read().context(&self.path)?;
        let all = read.open_table(QUARANTINES).context(&self.path)?.len().context(&self.path)?;
        let ended = read.open_table(ENDED).context(&self.path)?.len().context(&self.path)?;
        let ended_forgotten = Meta::read(&read, &self.path)?.ended_forgotten;
        Ok(StoreCounts { open: all.saturating_sub(ended), ended, ended_forgotten })
    }

    /// Moves the lease clock on by the time that nobody had the store open, and says where it is now.
    fn take_over(&self, now: Moment) -> Result<u64, StoreError> {
        let write = self.begin()?;
        let mut meta = Meta::write(&write, &self.path)?;
        let last = meta.last()?;
        let stopped = now.wall.0.saturating_sub(last.wall.0);
        let lease_clock = last.lease_clock.saturating_add(stopped);
        meta.note(lease_clock, now.wall)?;
        drop(meta);
        write.commit().context(&self.path)?;
        Ok(lease_clock)
    }

    fn lease_clock(&self, now: Moment) -> u64 {
        let running = nanos(now.steady.since(self.opened.steady));
        self.opened.lease_clock.saturating_add(running)
    }

    fn begin(&self) -> Result<redb::WriteTransaction, StoreError> {
        let mut write = self.database.begin_write().context(&self.path)?;
        write.set_durability(redb::Durability::Immediate).map_err(|source| failed(&self.path, source))?;
        // Names in a quarantine come from telemetry. Two phases cost one more sync, and then no crash can be
        // used to make a half-written commit look whole, whatever the bytes in it are.
        write.set_two_phase_commit(true);
        Ok(write)
    }

    /// The change inside its transaction. An error drops the transaction, which undoes all of it.
    fn apply(
        &self,
        write: &mut redb::WriteTransaction,
        change: &Change,
        now: Moment,
    ) -> Result<StoredQuarantine, StoreError> {
        let id = change.quarantine.id.as_str();
        let mut meta = Meta::write(write, &self.path)?;
        let clock = meta.note(self.lease_clock(now), now.wall)?;
        let mut quarantines = write.open_table(QUARANTINES).context(&self.path)?;
        let before = match quarantines.get(id).context(&self.path)? {
            Some(bytes) => Some(self.parse(id, bytes.value())?),
            None => None,
        };
        let mut ended = write.open_table(ENDED).context(&self.path)?;
        if before.is_none() {
            let open = quarantines.len().context(&self.path)? - ended.len().context(&self.path)?;
            self.room_for_one_more(open)?;
        }
        let record = next_record(before.as_ref(), change, clock)?;
        let bytes = serde_json::to_vec(&record).map_err(|source| self.corrupt(id, &source))?;
        if self.limits.record_bytes_max < bytes.len() {
            return Err(StoreError::TooLarge { id: id.to_owned(), bytes: bytes.len() });
        }
        quarantines.insert(id, bytes.as_slice()).context(&self.path)?;
        let mut history = write.open_table(HISTORY).context(&self.path)?;
        let event = StoredEvent::of(change, now.wall);
        let bytes = serde_json::to_vec(&event).map_err(|source| self.corrupt(id, &source))?;
        history.insert((id, record.revision), bytes.as_slice()).context(&self.path)?;
        if let Some(oldest) = record.revision.checked_sub(self.limits.history_max.max(1)) {
            history.remove((id, oldest)).context(&self.path)?;
        }
        let ended_before = before.is_some_and(|before| before.quarantine.state.ended());
        if change.quarantine.state.ended() && !ended_before {
            ended.insert(meta.next_end()?, id).context(&self.path)?;
        }
        let stored = record.into_stored(clock, now.wall);
        while self.limits.ended_max < ended.len().context(&self.path)? {
            let Some((_, oldest)) = ended.pop_first().context(&self.path)? else { break };
            let oldest = oldest.value().to_owned();
            quarantines.remove(oldest.as_str()).context(&self.path)?;
            history
                .retain_in((oldest.as_str(), 0)..=(oldest.as_str(), u64::MAX), |_, _| false)
                .context(&self.path)?;
            meta.forgot_one()?;
        }
        Ok(stored)
    }

    fn room_for_one_more(&self, open: u64) -> Result<(), StoreError> {
        let open_max = self.limits.open_max;
        if open < open_max { Ok(()) } else { Err(StoreError::Full { open_max }) }
    }

    fn parse(&self, id: &str, bytes: &[u8]) -> Result<StoredRecord, StoreError> {
        serde_json::from_slice(bytes).map_err(|source| self.corrupt(id, &source))
    }

    fn corrupt(&self, id: &str, what: &dyn std::fmt::Display) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), what: format!("quarantine {id}: {what}") }
    }
}

/// What stands in the file after the change, when it is allowed.
fn next_record(
    before: Option<&StoredRecord>,
    change: &Change,
    clock: u64,
) -> Result<StoredRecord, StoreError> {
    let quarantine = &change.quarantine;
    let id = || quarantine.id.clone();
    let found = before.map_or(0, |before| before.revision);
    if found != change.expected {
        return Err(StoreError::Conflict { id: id(), expected: change.expected, found });
    }
    if let Some(state) = before.map(|before| before.quarantine.state).filter(|state| state.ended())
        && state != quarantine.state
    {
        return Err(StoreError::Ended { id: id(), state });
    }
    let deadline = match change.lease {
        _ if quarantine.state.ended() => None,
        Lease::Keep => before.and_then(|before| before.deadline),
        Lease::Grant(length) => Some(clock.saturating_add(nanos(length))),
        Lease::End => None,
    };
    if quarantine.state.live() && deadline.is_none() {
        return Err(StoreError::NotLeased { id: id(), state: quarantine.state });
    }
    Ok(StoredRecord { revision: found + 1, deadline, quarantine: quarantine.clone() })
}
