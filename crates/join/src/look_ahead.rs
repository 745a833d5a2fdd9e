//! Reads ahead of time what is about to be settled.
//!
//! What is due came seconds ago, and is out of the cache. Settling one group after the other waits for the memory of each;
//! reads that do not depend on each other are waited for together.

use selvedge_model::Observation;

use crate::group::Group;
use crate::slab::{NIL, Slab};

/// Groups that are looked at together: about as many reads as a processor has under way.
pub(crate) const GROUPS: usize = 32;
/// Records of a group that are looked at: both sides' spans and access logs.
const RECORDS: usize = 4;

/// Looks at the first records of some groups, at most [`GROUPS`], so that they are in the cache afterwards.
pub(crate) fn look(groups: &Slab<Group>, records: &Slab<Observation>, due: &[u32]) {
    let mut lists = [NIL; GROUPS];
    for (list, at) in lists.iter_mut().zip(due) {
        *list = groups.get(*at).first;
    }
    let mut seen = 0;
    for _ in 0..RECORDS {
        for list in lists.iter_mut().filter(|list| **list != NIL) {
            let record = records.get(*list);
            // Fields far from each other, so that every cache line of the record is touched.
            seen ^= record.start.0 ^ u64::from(record.trace_id.0[0]) ^ u64::from(record.peer.workload.0);
            seen ^= record.certificate.not_after.0 ^ u64::from(record.reporter.workload.0 ^ record.route.0);
            *list = records.next(*list);
        }
    }
    // Without it the compiler would see that nobody needs what was read.
    std::hint::black_box(seen);
}
