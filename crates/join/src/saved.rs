//! A store as plain data, for a checkpoint: its requests, by key and not by place, so that any number of shards can take
//! them over.

use selvedge_model::hash::{fixed_state, partition};
use selvedge_model::{EventTime, FateLedger, Observation};
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher;

use super::CallStore;
use crate::group::Group;
use crate::slab::{NIL, Slab};
use crate::stub::Stub;

/// The open calls of one shard, or of all.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct SavedCalls {
    requests: Vec<SavedRequest>,
    ledger: FateLedger,
    watermark: EventTime,
}

#[derive(Clone, Serialize, Deserialize)]
struct SavedRequest {
    group: Group,
    /// Latest first, as the group links them.
    records: Vec<Observation>,
    stubs: Vec<Stub>,
}

impl SavedCalls {
    /// Those of all shards.
    #[must_use]
    pub fn merge(mut parts: Vec<Self>) -> Self {
        let mut all = parts.pop().unwrap_or_default();
        for part in parts {
            all.requests.extend(part.requests);
            all.ledger.merge(&part.ledger);
        }
        all.requests.sort_unstable_by_key(|request| request.group.key);
        all
    }

    /// The watermark of their last tick.
    #[must_use]
    pub fn watermark(&self) -> EventTime {
        self.watermark
    }

    /// Each shard's part. Fates that are known are the first one's: they are only added up.
    #[must_use]
    pub fn split(self, shards: usize) -> Vec<Self> {
        let shards = shards.max(1);
        let empty = Self { watermark: self.watermark, ..Self::default() };
        let mut parts = vec![empty; shards];
        let mut ledger = self.ledger;
        for request in self.requests {
            let part = &mut parts[partition(request.group.key, shards)];
            let records = request.records.iter().map(|record| (record.signal(), 1));
            for (signal, open) in records.chain(request.group.waiting()) {
                ledger.hand_over(&mut part.ledger, signal, open);
            }
            part.requests.push(request);
        }
        parts[0].ledger.merge(&ledger);
        parts
    }
}

impl CallStore {
    /// What is open, but not what was counted since the last tick: take that first.
    #[must_use]
    pub fn save(&self) -> SavedCalls {
        let request = |at: &u32| {
            let mut group = *self.groups.get(*at);
            let records = list(&self.records, std::mem::replace(&mut group.first, NIL));
            let stubs = list(&self.stubs, std::mem::replace(&mut group.stubs, NIL));
            SavedRequest { group, records, stubs }
        };
        let requests = self.index.iter().map(request).collect();
        SavedCalls { requests, ledger: self.ledger, watermark: self.watermark }
    }

    /// Takes over what a store like this one had open. To be called before anything is admitted.
    pub fn load(&mut self, saved: SavedCalls) {
        debug_assert!(self.groups.used() == 0, "calls are taken over by an empty store");
        self.ledger = saved.ledger;
        self.watermark = saved.watermark;
        for SavedRequest { mut group, records, stubs } in saved.requests {
            group.open = u32::try_from(records.len()).unwrap_or(0);
            group.stub_count = u32::try_from(stubs.len()).unwrap_or(0);
            group.first = link(&mut self.records, records);
            group.stubs = link(&mut self.stubs, stubs);
            let at = self.insert(group, fixed_state().hash_one(group.key));
            // Of the entries that the schedules had, only those that count.
            if group.scheduled != Group::NEVER {
                self.due.push(group.scheduled, at);
            }
            if group.expiry != Group::NEVER {
                self.expiry.push(group.expiry, at);
            }
            if group.touched {
                self.touched.push(at);
            }
        }
    }
}

fn list<T: Copy + Default>(slab: &Slab<T>, first: u32) -> Vec<T> {
    let place = |at: u32| (at != NIL).then_some(at);
    std::iter::successors(place(first), |at| place(slab.next(*at))).map(|at| *slab.get(at)).collect()
}

fn link<T: Copy + Default>(slab: &mut Slab<T>, values: Vec<T>) -> u32 {
    values.into_iter().rev().fold(NIL, |next, value| slab.push(value, next))
}
