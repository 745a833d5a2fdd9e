//! One shard's open calls: admission, completion by watermark or earlier, stubs of counted calls, eviction, fates.
//!
//! Admission only stores a record; what it joins is decided at the next tick, by a sorted view of its group. So
//! between two ticks the order of arrival has no say, and the cost of a record is one look-up and one copy.

use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::HashTable;
use selvedge_model::hash::fixed_state;
use selvedge_model::{Call, EventTime, Fate, FateLedger, Observation, ObservationKind, Reported, Side};

use crate::assembly::{Assembly, Part};
use crate::build::{build, build_alone};
use crate::config::JoinConfig;
use crate::delta::{Tally, TickDelta};
use crate::group::Group;
use crate::hop::Counted;
use crate::look_ahead;
use crate::schedule::Schedule;
use crate::slab::{NIL, Slab};
use crate::stub::Stub;

/// The watermark of a flush: everything is due.
const END_OF_TIME: EventTime = EventTime(u64::MAX);
/// Stale marks that are tolerated beside two for each group.
const TOUCHED_SPARE: usize = 1024;

/// What happened to an observation when it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is open: its mates may still come.
    Admitted,
    /// Its fate is known at once: it names no request, or it enriches a call that is here.
    Settled(Fate),
    /// Dropped: it ended so much longer before the watermark than the allowed lateness.
    Late {
        /// How much too late.
        by: Duration,
    },
    /// Dropped: its group holds as many open records as a group may (policy `group_full`).
    GroupFull,
}

/// The open calls of one shard.
pub struct CallStore {
    config: JoinConfig,
    /// Where a request's group is, by the key that stands in the group: a table of numbers alone stays near the cache.
    /// Schedules name groups by their slot, so that only admission pays for hashing.
    index: HashTable<u32>,
    groups: Slab<Group>,
    records: Slab<Observation>,
    stubs: Slab<Stub>,
    /// Groups with something open, by when it may be complete.
    due: Schedule,
    /// Groups with stubs only, by when these can be forgotten.
    expiry: Schedule,
    /// Groups with records that came since the touched were settled last.
    touched: Vec<u32>,
    assembly: Assembly,
    /// Of the assembly in hand, by hop: its call's fate, if that is complete.
    verdicts: Vec<Verdict>,
    tally: Tally,
    ledger: FateLedger,
    watermark: EventTime,
}

#[derive(Clone, Copy, Default)]
struct Verdict {
    complete: bool,
    witnesses: u32,
}

impl CallStore {
    /// An empty store.
    #[must_use]
    pub fn new(config: &JoinConfig) -> Self {
        Self {
            config: *config,
            index: HashTable::new(),
            groups: Slab::new(),
            records: Slab::new(),
            stubs: Slab::new(),
            due: Schedule::default(),
            expiry: Schedule::default(),
            touched: Vec::new(),
            assembly: Assembly::default(),
            verdicts: Vec::new(),
            tally: Tally::new(config),
            ledger: FateLedger::default(),
            watermark: EventTime::ABSENT,
        }
    }

    /// Takes an observation of the request `key`; without a key it stands alone. Lateness is measured against
    /// `watermark`, or the one of the last tick when that is later.
    pub fn admit(&mut self, key: Option<u128>, observation: &Observation, watermark: EventTime) -> Admission {
        let signal = observation.signal();
        self.ledger.receive(signal, 1);
        let oldest = self.watermark.max(watermark).before(self.config.allowed_lateness);
        if observation.end < oldest {
            self.ledger.settle(signal, Fate::Late, 1);
            return Admission::Late { by: oldest.since(observation.end) };
        }
        let describes = observation.describes_call();
        match key {
            // A connection that closed normally is no call: its requests are reported by themselves.
            _ if observation.kind == ObservationKind::ConnectionLog => {
                self.settle_alone(observation, observation.handshake_failure.present())
            }
            None => self.settle_alone(observation, describes),
            Some(key) if describes => self.hold(key, observation),
            Some(key) => self.enrich(key, observation),
        }
    }

    /// Completes the calls about which everybody has said their last word. Between ticks, so that the records of a busy
    /// mesh are joined while they are in the cache; to be called at the same records in every shard.
    pub fn settle_touched(&mut self) {
        self.settle_touched_by(self.watermark);
    }

    /// Moves the calls that completed since the last time to the end of `calls`, without waiting for the tick: there may
    /// be many, and the next tick far. Nothing without [`JoinConfig::hand_out_calls`].
    pub fn take_completed(&mut self, calls: &mut Vec<Call>) {
        self.tally.take_completed(calls);
    }

    /// Completes what is due at `watermark` and hands out what was counted since the last tick.
    pub fn advance(&mut self, watermark: EventTime) -> TickDelta {
        let watermark = self.watermark.max(watermark);
        self.settle_touched_by(watermark);
        let mut due = Vec::new();
        while let Some(bucket) = self.due.pop_due(watermark) {
            due.push(bucket);
        }
        for (bucket, mut groups) in due {
            for groups in groups.make_contiguous().chunks(look_ahead::GROUPS) {
                look_ahead::look(&self.groups, &self.records, groups);
                for at in groups {
                    let group = self.groups.get_mut(*at);
                    group.leave_schedule(bucket);
                    if group.due == bucket {
                        self.settle(*at, watermark);
                    }
                }
            }
        }
        while let Some((bucket, groups)) = self.expiry.pop_due(watermark.before(self.config.allowed_lateness))
        {
            groups.into_iter().for_each(|at| self.expire(at, bucket));
        }
        self.watermark = watermark;
        self.tally.take()
    }

    /// The input ended, or pauses for an unknown time: completes everything and forgets all stubs. What comes next
    /// may be older.
    pub fn flush(&mut self) -> TickDelta {
        let mut groups: Vec<u32> = self.index.iter().copied().collect();
        groups.sort_unstable();
        for at in groups {
            self.settle(at, END_OF_TIME);
        }
        self.due.clear();
        self.expiry.clear();
        self.touched.clear();
        let left = self.groups.used() + self.records.used() + self.stubs.used();
        debug_assert!(left == 0, "nothing stays open after a flush");
        let delta = self.tally.take();
        self.watermark = EventTime::ABSENT;
        delta
    }

    /// Hands out what was counted since the last tick, before the next one is due.
    pub fn take_counted(&mut self) -> TickDelta {
        self.tally.take()
    }

    /// Fates of everything admitted so far.
    #[must_use]
    pub fn ledger(&self) -> &FateLedger {
        &self.ledger
    }

    /// Bytes that count against the budget: open records, stubs, groups, and when they are due.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.used() * Slab::<Observation>::SLOT_BYTES
            + self.stubs.used() * Slab::<Stub>::SLOT_BYTES
            + self.groups.used() * Group::ENTRY_BYTES
            + (self.due.entries() + self.expiry.entries()) * Schedule::ENTRY_BYTES
    }

    /// Requests with open records or stubs.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups.used()
    }

    fn settle_touched_by(&mut self, watermark: EventTime) {
        let mut touched = std::mem::take(&mut self.touched);
        for at in touched.drain(..) {
            let group = self.groups.get_mut(at);
            if !group.touched {
                continue;
            }
            group.touched = false;
            if group.may_be_whole() {
                self.settle(at, watermark);
            } else {
                self.schedule(at);
            }
        }
        self.touched = touched;
    }

    /// Has the group settled when it is due.
    fn schedule(&mut self, at: u32) {
        let group = self.groups.get_mut(at);
        if group.scheduled != group.due {
            group.scheduled = group.due;
            self.due.push(group.due, at);
        }
    }

    fn settle_alone(&mut self, observation: &Observation, is_call: bool) -> Admission {
        if is_call && let Some(call) = build_alone(observation) {
            self.tally.count(&call, self.watermark);
        }
        self.ledger.settle(observation.signal(), Fate::Unmatched, 1);
        Admission::Settled(Fate::Unmatched)
    }

    fn hold(&mut self, key: u128, observation: &Observation) -> Admission {
        let hash = fixed_state().hash_one(key);
        match self.find(key, hash) {
            Some(at) => self.hold_in(at, observation),
            None => self.hold_first(key, hash, observation),
        }
    }

    /// The first record of a request. Its group is written in one go and not read again: the memory it goes to was
    /// last used by another group long ago, and a read would wait until it is there.
    fn hold_first(&mut self, key: u128, hash: u64, observation: &Observation) -> Admission {
        self.ledger.settle(observation.signal(), Fate::Open, 1);
        let mut group = Group::new(key);
        group.first = self.records.push(*observation, NIL);
        group.open = 1;
        group.note(observation);
        group.due = Schedule::bucket(observation.end);
        group.touched = true;
        let at = self.insert(group, hash);
        self.touch(at);
        Admission::Admitted
    }

    fn hold_in(&mut self, at: u32, observation: &Observation) -> Admission {
        let signal = observation.signal();
        let group = self.groups.get_mut(at);
        if group.open as usize >= self.config.group_records_max {
            self.ledger.settle(signal, Fate::Evicted, 1);
            return Admission::GroupFull;
        }
        self.ledger.settle(signal, Fate::Open, 1);
        for (kind, waiting) in group.take_waiting() {
            self.ledger.close(kind, Fate::Joined, waiting);
        }
        group.first = self.records.push(*observation, group.first);
        group.open += 1;
        group.note(observation);
        // It is scheduled when the touched are settled: most are complete by then, and need not be looked at again.
        group.due = group.due.min(Schedule::bucket(observation.end));
        if !std::mem::replace(&mut group.touched, true) {
            self.touch(at);
        }
        Admission::Admitted
    }

    /// Marks a group for the next tick. Groups that were evicted since, or came back, leave the list when it is far
    /// longer than there are groups.
    fn touch(&mut self, at: u32) {
        if self.touched.len() > 2 * self.groups.used() + TOUCHED_SPARE {
            self.touched.sort_unstable();
            self.touched.dedup();
            self.touched.retain(|at| self.groups.get(*at).touched);
        }
        self.touched.push(at);
    }

    /// The slot of a request's group, which is made if it is not there.
    fn group_of(&mut self, key: u128) -> u32 {
        let hash = fixed_state().hash_one(key);
        self.find(key, hash).unwrap_or_else(|| self.insert(Group::new(key), hash))
    }

    fn find(&self, key: u128, hash: u64) -> Option<u32> {
        self.index.find(hash, |at| self.groups.get(*at).key == key).copied()
    }

    fn insert(&mut self, group: Group, hash: u64) -> u32 {
        let Self { index, groups, .. } = self;
        let at = groups.push(group, NIL);
        index.insert_unique(hash, at, |at| fixed_state().hash_one(groups.get(*at).key));
        at
    }

    /// An internal span or an application log says nothing about a call; it only belongs to one, or does not.
    fn enrich(&mut self, key: u128, observation: &Observation) -> Admission {
        let signal = observation.signal();
        let at = self.group_of(key);
        let group = self.groups.get_mut(at);
        if group.holds_call() {
            self.ledger.settle(signal, Fate::Joined, 1);
            return Admission::Settled(Fate::Joined);
        }
        self.ledger.settle(signal, Fate::Open, 1);
        group.wait(signal);
        // The enclosing span ends, and is sent, last: wait for as long as it could still come.
        group.latest = group.latest.max(observation.end);
        let bucket = Schedule::bucket(group.latest.after(self.config.allowed_lateness));
        if group.due == Group::NEVER {
            group.due = bucket;
            self.schedule(at);
        }
        Admission::Admitted
    }

    /// Forgets the group's stubs, if this entry of the schedule is the one that counts and nothing is open.
    fn expire(&mut self, at: u32, bucket: u64) {
        let group = self.groups.get_mut(at);
        if group.expiry == bucket {
            group.expiry = Group::NEVER;
            if group.idle() {
                self.forget(at);
            }
        }
    }

    /// Removes a group that has nothing open. Its slot becomes one that no schedule entry can mean.
    fn forget(&mut self, at: u32) {
        let group = std::mem::take(self.groups.get_mut(at));
        debug_assert!(group.idle(), "what is open has a fate before its group goes");
        self.groups.free(at);
        let entry = self.index.find_entry(fixed_state().hash_one(group.key), |found| *found == at);
        debug_assert!(entry.is_ok(), "a group is in the index for as long as it has a slot");
        if let Ok(entry) = entry {
            entry.remove();
        }
        self.stubs.free_list(group.stubs, group.stub_count as usize);
    }

    /// Joins the records of a group, and completes the calls that are due at `watermark`.
    fn settle(&mut self, at: u32, watermark: EventTime) {
        let mut group = *self.groups.get(at);
        group.touched = false;
        group.due = Group::NEVER;
        let mut next_due = END_OF_TIME;
        if group.first != NIL {
            self.assembly.assemble(&self.records, group.first, &mut self.stubs, group.stubs);
            next_due = self.complete_calls(&mut group, watermark);
            self.release(&mut group);
        } else if group.waits() {
            next_due = group.latest.after(self.config.allowed_lateness);
            self.settle_waiting(&mut group, next_due, watermark);
        }
        *self.groups.get_mut(at) = group;
        if group.idle() {
            self.retire(at, watermark);
        } else {
            self.groups.get_mut(at).due = Schedule::bucket(next_due);
            self.schedule(at);
        }
    }

    /// Nothing is open in the group: it stays for as long as its stubs are of use.
    fn retire(&mut self, at: u32, watermark: EventTime) {
        let group = self.groups.get_mut(at);
        if group.stubs == NIL || watermark == END_OF_TIME {
            self.forget(at);
            return;
        }
        let bucket = Schedule::bucket(group.latest) + 1;
        if bucket != group.expiry {
            group.expiry = bucket;
            self.expiry.push(bucket, at);
        }
    }

    /// Internal spans and logs whose call never came.
    fn settle_waiting(&mut self, group: &mut Group, due: EventTime, watermark: EventTime) {
        if due <= watermark {
            for (signal, waiting) in group.take_waiting() {
                self.ledger.close(signal, Fate::Unmatched, waiting);
            }
        }
    }

    /// Counts the calls of the assembly in hand that are complete; when the next of the others is due.
    fn complete_calls(&mut self, group: &mut Group, watermark: EventTime) -> EventTime {
        let hops = self.assembly.hops().len();
        self.verdicts.clear();
        self.verdicts.resize(hops, Verdict::default());
        for part in self.assembly.parts().iter().filter(|part| !part.duplicate) {
            let root = self.assembly.root_of(part.hop);
            self.verdicts[root as usize].witnesses += 1;
        }
        let mut next_due = END_OF_TIME;
        for at in 0..hops {
            let root = u32::try_from(at).unwrap_or(NIL);
            if self.assembly.hops()[at].counted == Counted::Part || self.assembly.root_of(root) != root {
                continue;
            }
            let due = self.assembly.due(root, self.config.pair_grace);
            if due <= watermark || self.assembly.whole(root) {
                self.verdicts[at].complete = true;
                self.complete(group, root);
            } else {
                next_due = next_due.min(due);
            }
        }
        next_due
    }

    fn complete(&mut self, group: &mut Group, root: u32) {
        let hops = self.assembly.hops();
        let hop = &hops[root as usize];
        let mate = hops.get(hop.mate as usize).map(|mate| &mate.facts);
        let (client, server) = match hop.facts.side {
            Side::Client => (Some(&hop.facts), mate),
            Side::Server | Side::Internal => (mate, Some(&hop.facts)),
        };
        let reported = match (client, server) {
            _ if hop.counted == Counted::Vouched => Reported::Both,
            (Some(_), Some(_)) => Reported::Both,
            (Some(_), None) => Reported::ClientOnly,
            (None, _) => Reported::ServerOnly,
        };
        let call: Option<Call> = build(client, server, reported);
        if let Some(call) = call {
            self.tally.count(&call, self.watermark);
        }
        let stub = Stub::new(client, server, call.as_ref());
        self.remember(group, stub, call.as_ref());
    }

    /// Frees the records whose fate is known and links the others again.
    fn release(&mut self, group: &mut Group) {
        group.first = NIL;
        group.open = 0;
        group.forget_last_words();
        for at in 0..self.assembly.parts().len() {
            let part = self.assembly.parts()[at];
            match self.fate_of(part) {
                Some(fate) => {
                    self.ledger.close(self.records.get(part.slot).signal(), fate, 1);
                    self.records.free(part.slot);
                }
                None => {
                    self.records.link(part.slot, group.first);
                    group.first = part.slot;
                    group.open += 1;
                    group.note(self.records.get(part.slot));
                }
            }
        }
    }

    fn fate_of(&self, part: Part) -> Option<Fate> {
        let hops = self.assembly.hops();
        if hops[part.hop as usize].counted == Counted::Part {
            return Some(Fate::Joined);
        }
        let root = self.assembly.root_of(part.hop) as usize;
        let (verdict, hop) = (self.verdicts[root], &hops[root]);
        // A retry is joined by its caller's view, which may have been counted with another attempt.
        let joined =
            part.duplicate || verdict.witnesses > 1 || hop.mate != NIL || hop.counted == Counted::Vouched;
        verdict.complete.then_some(if joined { Fate::Joined } else { Fate::Unmatched })
    }
}

#[path = "store_eviction.rs"]
mod eviction;
#[path = "store_paths.rs"]
mod paths;
#[path = "saved.rs"]
mod saved;

pub use eviction::{Oldest, Pressure};
pub use saved::SavedCalls;

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
