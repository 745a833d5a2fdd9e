//! All records of one request: the open ones, stubs of what was counted, and who only waits to belong.

use selvedge_model::{EventTime, Observation, Side, SignalKind};
use serde::{Deserialize, Serialize};

use crate::slab::{NIL, Slab};

/// One request's state; its records and stubs are lists in the store's slabs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    /// The request's canonical key.
    pub(crate) key: u128,
    /// Open records.
    pub(crate) first: u32,
    pub(crate) open: u32,
    /// Counted calls.
    pub(crate) stubs: u32,
    pub(crate) stub_count: u32,
    /// Internal spans and application logs that wait for a call to belong to.
    waiting: [u32; 2],
    /// Bucket in which the group is due.
    pub(crate) due: u64,
    /// Bucket in which it stands in the due schedule, if that is the one that counts.
    pub(crate) scheduled: u64,
    /// Bucket in the expiry schedule that counts.
    pub(crate) expiry: u64,
    /// Latest end of what is not an open record.
    pub(crate) latest: EventTime,
    pub(crate) touched: bool,
    /// The last word of this side's reporter is open here.
    last_words: [bool; 2],
}

const SIGNALS: [SignalKind; 2] = [SignalKind::Traces, SignalKind::Logs];

impl Default for Group {
    fn default() -> Self {
        Self {
            key: 0,
            first: NIL,
            open: 0,
            stubs: NIL,
            stub_count: 0,
            waiting: [0; 2],
            due: Self::NEVER,
            scheduled: Self::NEVER,
            expiry: Self::NEVER,
            latest: EventTime::ABSENT,
            touched: false,
            last_words: [false; 2],
        }
    }
}

impl Group {
    /// The bucket of what is in no schedule.
    pub(crate) const NEVER: u64 = u64::MAX;
    /// Bytes of a group: its slot, and its entry in an index whose capacity is up to twice its length.
    pub(crate) const ENTRY_BYTES: usize = Slab::<Self>::SLOT_BYTES + 2 * (size_of::<u32>() + 1);

    pub(crate) fn new(key: u128) -> Self {
        Self { key, ..Self::default() }
    }

    /// True when nothing is open; stubs may be here.
    pub(crate) fn idle(&self) -> bool {
        self.first == NIL && !self.waits()
    }

    /// True when an internal span or application log would belong to a call here.
    pub(crate) fn holds_call(&self) -> bool {
        self.first != NIL || self.stubs != NIL
    }

    /// The entry of this bucket of the due schedule is gone.
    pub(crate) fn leave_schedule(&mut self, bucket: u64) {
        if self.scheduled == bucket {
            self.scheduled = Self::NEVER;
        }
    }

    pub(crate) fn waits(&self) -> bool {
        self.waiting != [0; 2]
    }

    pub(crate) fn wait(&mut self, signal: SignalKind) {
        let slot = usize::from(signal == SignalKind::Logs);
        self.waiting[slot] += 1;
    }

    /// Those who wait, by signal.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (SignalKind, u64)> + use<> {
        SIGNALS.into_iter().zip(self.waiting.map(u64::from))
    }

    /// Those who waited, by signal; nobody waits any more.
    pub(crate) fn take_waiting(&mut self) -> impl Iterator<Item = (SignalKind, u64)> + use<> {
        let waiting = std::mem::take(&mut self.waiting);
        SIGNALS.into_iter().zip(waiting.map(u64::from)).filter(|(_, count)| *count > 0)
    }

    pub(crate) fn note(&mut self, record: &Observation) {
        if record.last_word {
            self.last_words[usize::from(record.side == Side::Server)] = true;
        }
    }

    pub(crate) fn forget_last_words(&mut self) {
        self.last_words = [false; 2];
    }

    /// True when settling may find more than the watermark alone says: both sides have said their last word, or
    /// counted calls are here that a record can join.
    pub(crate) fn may_be_whole(&self) -> bool {
        self.last_words == [true; 2] || self.stubs != NIL
    }
}
