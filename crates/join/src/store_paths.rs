//! Ways of requests: the calls that were made while another was served.
//!
//! Both are calls of one request. The later of them to be complete finds the other among the calls counted before, so that each
//! pair is found once.

use selvedge_model::{Call, CallPath, FirstOnPath, TraceId};

use super::CallStore;
use crate::assembly::SCAN_MAX;
use crate::group::Group;
use crate::slab::{NIL, Slab};
use crate::stub::Stub;

impl CallStore {
    /// Remembers a call that was counted, and counts the ways that it is part of.
    pub(super) fn remember(&mut self, group: &mut Group, stub: Stub, call: Option<&Call>) {
        if group.stub_count as usize >= self.config.group_records_max {
            return;
        }
        group.latest = group.latest.max(stub.end());
        group.stubs = self.stubs.push(stub, group.stubs);
        group.stub_count += 1;
        if let Some(call) = call.filter(|_| group.stub_count > 1) {
            let (tally, at) = (&mut self.tally, call.end.max(self.watermark));
            of_newest(&self.stubs, group.stubs, call.trace_id, |path, first| tally.pass(path, first, at));
        }
    }
}

/// Calls that may have been served while another was made, looked at for one call; more are a flood.
const OUTER_MAX: usize = 8;

/// Tells `count` each way that the newest call of a request, the first in the list from `newest`, is part of. One look at
/// each of the others: they are not in the cache.
fn of_newest(
    stubs: &Slab<Stub>,
    newest: u32,
    trace_id: TraceId,
    mut count: impl FnMut(CallPath, FirstOnPath),
) {
    let call = stubs.get(newest);
    let mut tell = |outer: &Stub, inner: &Stub| {
        if let Some(path) = outer.path(inner) {
            count(path, outer.first_on_path(trace_id));
        }
    };
    let (mut around, mut found, mut parent_known) = ([newest; OUTER_MAX], 0, false);
    for (at, other) in others(stubs, newest) {
        parent_known |= other.is_parent_of(call);
        if other.may_enclose(call) && found < OUTER_MAX {
            (around[found], found) = (at, found + 1);
        }
        // Whoever knows its parent is nobody else's: that is looked up only where times would say otherwise.
        let within =
            || call.covers(other) && !others(stubs, newest).any(|(_, outer)| outer.is_parent_of(other));
        if call.may_enclose(other) && (call.is_parent_of(other) || within()) {
            tell(call, other);
        }
    }
    for outer in around[..found].iter().map(|at| stubs.get(*at)) {
        if outer.is_parent_of(call) || (!parent_known && outer.covers(call)) {
            tell(outer, call);
        }
    }
}

/// The calls counted before, the newest first; past some the request is a flood, and its ways are not all told.
fn others(stubs: &Slab<Stub>, newest: u32) -> impl Iterator<Item = (u32, &Stub)> {
    let next = |at: u32| Some(stubs.next(at)).filter(|next| *next != NIL);
    std::iter::successors(next(newest), move |at| next(*at)).take(SCAN_MAX).map(|at| (at, stubs.get(at)))
}

#[cfg(test)]
#[path = "store_paths_tests.rs"]
mod tests;
