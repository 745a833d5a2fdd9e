//! Making room: what goes when all stores together hold more than their budget.
//!
//! A store does not decide that by itself: it would depend on how many there are. Whoever owns the stores weighs them
//! together, at the same records wherever they are cut, and has the same requests evicted in each.

use selvedge_model::{Fate, Observation};

use super::CallStore;
use crate::group::Group;
use crate::schedule::Schedule;
use crate::slab::{NIL, Slab};
use crate::stub::Stub;

/// What goes first: stubs, which were counted, by when they could be forgotten; then open groups, by when they are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oldest {
    /// Stubs of a bucket of event time.
    Stubs(u64),
    /// Open groups of a bucket of event time.
    Open(u64),
}

/// What stores hold, and what would go first. Adds up over stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Bytes that count against the budget.
    pub bytes: usize,
    /// What to evict next; `None` when nothing is held.
    pub oldest: Option<Oldest>,
}

impl Pressure {
    /// The pressure of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let oldest = match (self.oldest, other.oldest) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.or(right),
        };
        Self { bytes: self.bytes + other.bytes, oldest }
    }
}

impl CallStore {
    /// Parts of a bucket that are evicted one after the other, so that a burst is not lost as a whole.
    pub const SLICES: u8 = 8;
    /// What one record can add to the bytes at most: itself, its group, its call's stub, and when they are due.
    pub const RECORD_BYTES_MAX: usize = Slab::<Observation>::SLOT_BYTES
        + Slab::<Stub>::SLOT_BYTES
        + Group::ENTRY_BYTES
        + 2 * Schedule::ENTRY_BYTES;

    /// Bytes held, and what would go first; to be asked when the touched are settled.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let stubs = self.expiry.first_bucket().map(Oldest::Stubs);
        let open = self.due.first_bucket().map(Oldest::Open);
        Pressure { bytes: self.bytes(), oldest: stubs.or(open) }
    }

    /// Forgets (stubs) or evicts (open groups, fate `evicted`) the requests of one slice of a bucket, by their keys.
    pub fn make_room(&mut self, oldest: Oldest, slice: u8) {
        let (Oldest::Stubs(bucket) | Oldest::Open(bucket)) = oldest;
        let stubs = matches!(oldest, Oldest::Stubs(_));
        let schedule = if stubs { &mut self.expiry } else { &mut self.due };
        let mut entries = schedule.take(bucket);
        // Entries that do not count any more go with the first slice. A slot's next group can make one look as if it
        // counted, twice over: what is left is one entry a group, which is the same for any number of stores.
        entries.make_contiguous().sort_unstable();
        let mut last = NIL;
        entries.retain(|at| std::mem::replace(&mut last, *at) != *at);
        let mut left = std::collections::VecDeque::with_capacity(entries.len());
        for at in entries {
            let group = self.groups.get_mut(at);
            let counts = if stubs { group.expiry == bucket } else { group.due == bucket };
            if !counts {
                if !stubs {
                    group.leave_schedule(bucket);
                }
                continue;
            }
            if group.key % u128::from(Self::SLICES) != u128::from(slice) {
                left.push_back(at);
            } else if stubs {
                self.expire(at, bucket);
            } else {
                self.evict(at);
            }
        }
        let schedule = if stubs { &mut self.expiry } else { &mut self.due };
        schedule.put_back(bucket, left);
    }

    fn evict(&mut self, at: u32) {
        for (signal, waiting) in self.groups.get_mut(at).take_waiting() {
            self.ledger.close(signal, Fate::Evicted, waiting);
        }
        let mut record = std::mem::replace(&mut self.groups.get_mut(at).first, NIL);
        while record != NIL {
            self.ledger.close(self.records.get(record).signal(), Fate::Evicted, 1);
            record = self.records.free(record);
        }
        self.forget(at);
    }
}
