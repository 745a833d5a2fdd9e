//! A store as plain data, for a checkpoint: its requests, by key and not by place, so that any number of shards can take
//! them over.
//!
//! Telemetry waits while it is copied, so it is copied in a few pieces; it is put in order when it is written down.

use std::hash::BuildHasher;

use selvedge_model::hash::{fixed_state, partition};
use selvedge_model::{EventTime, FateLedger, Observation};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::CallStore;
use crate::group::Group;
use crate::slab::{NIL, Slab};
use crate::stub::Stub;

/// The open calls of one shard, or of all.
#[derive(Clone, Default)]
pub struct SavedCalls {
    /// Each with as many records and stubs as it counts, which follow on those of the ones before.
    groups: Vec<Group>,
    /// Of a group the latest first, as it links them.
    records: Vec<Observation>,
    stubs: Vec<Stub>,
    ledger: FateLedger,
    watermark: EventTime,
}

/// A group with its records and stubs.
type Request<'a> = (&'a Group, &'a [Observation], &'a [Stub]);

impl SavedCalls {
    /// Those of all shards.
    #[must_use]
    pub fn merge(mut parts: Vec<Self>) -> Self {
        let mut all = parts.pop().unwrap_or_default();
        for part in parts {
            all.groups.extend(part.groups);
            all.records.extend(part.records);
            all.stubs.extend(part.stubs);
            all.ledger.merge(&part.ledger);
        }
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
        for request @ (group, records, _) in self.requests() {
            let part = &mut parts[partition(group.key, shards)];
            let records = records.iter().map(|record| (record.signal(), 1));
            for (signal, open) in records.chain(group.waiting()) {
                ledger.hand_over(&mut part.ledger, signal, open);
            }
            part.add(request);
        }
        parts[0].ledger.merge(&ledger);
        parts
    }

    fn requests(&self) -> impl Iterator<Item = Request<'_>> {
        let (mut records, mut stubs) = (self.records.as_slice(), self.stubs.as_slice());
        self.groups.iter().map(move |group| {
            let own;
            (own, records) = records.split_at(group.open as usize);
            let counted;
            (counted, stubs) = stubs.split_at(group.stub_count as usize);
            (group, own, counted)
        })
    }

    fn add(&mut self, (group, records, stubs): Request<'_>) {
        let count = |listed: usize| u32::try_from(listed).expect("a slab has no more slots");
        let mut group = *group;
        (group.open, group.stub_count) = (count(records.len()), count(stubs.len()));
        self.groups.push(group);
        self.records.extend_from_slice(records);
        self.stubs.extend_from_slice(stubs);
    }
}

/// In the order of their keys: the same calls have the same bytes, whatever shards they were in.
impl Serialize for SavedCalls {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut requests: Vec<Request<'_>> = self.requests().collect();
        requests.sort_unstable_by_key(|(group, ..)| group.key);
        (requests, self.ledger, self.watermark).serialize(to)
    }
}

impl<'de> Deserialize<'de> for SavedCalls {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        type Requests = Vec<(Group, Vec<Observation>, Vec<Stub>)>;
        let (requests, ledger, watermark): (Requests, _, _) = Deserialize::deserialize(from)?;
        let mut calls = Self { ledger, watermark, ..Self::default() };
        for (group, records, stubs) in &requests {
            calls.add((group, records, stubs));
        }
        Ok(calls)
    }
}

impl CallStore {
    /// What is open, but not what was counted since the last tick: take that first.
    #[must_use]
    pub fn save(&self) -> SavedCalls {
        let mut slots: Vec<u32> = self.index.iter().copied().collect();
        // In the order of their places, for the memory's sake.
        slots.sort_unstable();
        let mut saved = SavedCalls {
            groups: Vec::with_capacity(slots.len()),
            records: Vec::with_capacity(self.records.used()),
            stubs: Vec::with_capacity(self.stubs.used()),
            ledger: self.ledger,
            watermark: self.watermark,
        };
        for at in slots {
            let mut group = *self.groups.get(at);
            list(&self.records, std::mem::replace(&mut group.first, NIL), &mut saved.records);
            list(&self.stubs, std::mem::replace(&mut group.stubs, NIL), &mut saved.stubs);
            saved.groups.push(group);
        }
        saved
    }

    /// Takes over what a store like this one had open. To be called before anything is admitted.
    pub fn load(&mut self, saved: &SavedCalls) {
        debug_assert!(self.groups.used() == 0, "calls are taken over by an empty store");
        self.ledger = saved.ledger;
        self.watermark = saved.watermark;
        for (group, records, stubs) in saved.requests() {
            let mut group = *group;
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

/// Puts the values of a list behind those that are there.
fn list<T: Copy + Default>(slab: &Slab<T>, first: u32, values: &mut Vec<T>) {
    let place = |at: u32| (at != NIL).then_some(at);
    values.extend(std::iter::successors(place(first), |at| place(slab.next(*at))).map(|at| *slab.get(at)));
}

fn link<T: Copy + Default>(slab: &mut Slab<T>, values: &[T]) -> u32 {
    values.iter().rev().fold(NIL, |next, value| slab.push(*value, next))
}
