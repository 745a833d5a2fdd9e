//! The lease store as the enforcer uses it: it remembers revisions, opens a store that failed again, and does not give up
//! an end that could not be written, because a restart would bring the quarantine back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_model::Quarantine;
use selvedge_policy::{Change as Step, QuarantineEvent};

use crate::store::{Change, Lease, Moment, Store, StoreError, StoreLimits};

/// What is on disk, and what should be.
pub(super) struct Leases {
    path: PathBuf,
    /// Absent after a failure, until it is opened again.
    store: Option<Store>,
    revisions: BTreeMap<String, u64>,
    /// Ends that are not on disk yet, by quarantine; bounded by the live ones.
    unstored: BTreeMap<String, Change>,
}

impl Leases {
    /// Opens the store and reads everything.
    pub(super) fn open(path: &Path, now: Moment) -> Result<(Self, Vec<Quarantine>), StoreError> {
        let mut leases = Self {
            path: path.to_owned(),
            store: None,
            revisions: BTreeMap::new(),
            unstored: BTreeMap::new(),
        };
        let stored = leases.reopen(now)?;
        Ok((leases, stored))
    }

    fn reopen(&mut self, now: Moment) -> Result<Vec<Quarantine>, StoreError> {
        // The old one has the file locked.
        self.store = None;
        let store = Store::open(&self.path, now, StoreLimits::default())?;
        let stored = store.load(now)?;
        self.revisions = stored.iter().map(|one| (one.quarantine.id.clone(), one.revision)).collect();
        self.store = Some(store);
        Ok(stored.into_iter().map(|one| one.quarantine).collect())
    }

    fn store(&mut self, now: Moment) -> Result<&Store, StoreError> {
        if self.store.is_none() {
            self.reopen(now)?;
        }
        Ok(self.store.as_ref().expect("it was opened just now, or before"))
    }

    /// Writes one step of a quarantine's life down. An end that cannot be is tried again by [`Self::note_alive`].
    pub(super) fn commit(
        &mut self,
        event: &QuarantineEvent,
        quarantine: &Quarantine,
        now: Moment,
    ) -> Result<(), StoreError> {
        let change = Change {
            expected: 0,
            lease: lease_of(event, quarantine),
            who: event.who.clone(),
            what: event.change.name().to_owned(),
            quarantine: quarantine.clone(),
        };
        let written = self.write(change.clone(), now);
        if written.is_err() && quarantine.state.ended() {
            self.unstored.insert(event.id.clone(), change);
        }
        written
    }

    fn write(&mut self, mut change: Change, now: Moment) -> Result<(), StoreError> {
        // To open it again reads the revisions anew.
        self.store(now)?;
        let id = change.quarantine.id.clone();
        change.expected = self.revisions.get(&id).copied().unwrap_or(0);
        match self.store(now)?.commit(&change, now) {
            Ok(stored) => {
                self.revisions.insert(id, stored.revision);
                Ok(())
            }
            Err(error) => {
                if matches!(error, StoreError::Unreadable { .. } | StoreError::Conflict { .. }) {
                    // What stands on disk is not known, or not what was thought.
                    self.store = None;
                }
                Err(error)
            }
        }
    }

    /// No longer remembered.
    pub(super) fn forget(&mut self, id: &str) {
        self.revisions.remove(id);
    }

    /// Notes that we run, and tries again what could not be written.
    pub(super) fn note_alive(&mut self, now: Moment) -> Result<(), StoreError> {
        for (id, change) in std::mem::take(&mut self.unstored) {
            match self.write(change.clone(), now) {
                Ok(()) => tracing::info!(quarantine = id, "its end is stored now"),
                // It had been written after all.
                Err(StoreError::Ended { .. }) => {}
                Err(error) => {
                    self.unstored.insert(id, change);
                    return Err(error);
                }
            }
        }
        let noted = self.store(now)?.note_alive(now);
        if noted.is_err() {
            self.store = None;
        }
        noted
    }
}

/// What a step means to the lease on disk.
fn lease_of(event: &QuarantineEvent, quarantine: &Quarantine) -> Lease {
    match event.change {
        Step::Shadowed | Step::Enforced | Step::Renewed => {
            Lease::Grant(Duration::from_secs(quarantine.ttl_seconds))
        }
        Step::Lifted | Step::RolledBack | Step::Expired => Lease::End,
        _ => Lease::Keep,
    }
}
