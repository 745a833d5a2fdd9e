//! Two workloads say that a principal is their own: which of them do the other ends of calls bear out?

use std::collections::VecDeque;

use selvedge_model::Node;
use serde::{Deserialize, Serialize};

/// Calls watched at once, for one principal: a call is decided when so many newer ones were seen. Both sides of a call
/// report within seconds, in either order.
const CALLS_WATCHED: usize = 16;
/// Calls that must bear a workload out: one may be a coincidence of ids.
const CALLS_AGREED: u8 = 3;
/// Workloads whose calls are counted; past it the first are (policy `keep_first`). Claims alone take no place here.
const WORKLOADS_MAX: usize = 8;

/// A principal that more than one workload claims.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Contest {
    calls: VecDeque<Call>,
    agreed: Vec<(Node, u8)>,
}

/// What was said of the principal on one call.
#[derive(Serialize, Deserialize)]
struct Call {
    key: u128,
    claimant: Option<Node>,
    /// A second workload says that it was itself: one end cannot vouch for both.
    disputed: bool,
    /// Two reporters that verified the principal at the other end; two, because one may be the claimant.
    witnesses: [Option<Node>; 2],
}

impl Contest {
    /// `node` says that the principal is its own on the call `key`. Who has been borne out by enough calls now, if
    /// anybody.
    pub(crate) fn claim(&mut self, key: u128, node: Node) -> Option<Node> {
        let (call, borne_out) = self.call(key);
        match call.claimant {
            None => call.claimant = Some(node),
            Some(first) => call.disputed |= first != node,
        }
        borne_out
    }

    /// `node` verified the principal at the other end of the call `key`.
    pub(crate) fn witness(&mut self, key: u128, node: Node) -> Option<Node> {
        let (call, borne_out) = self.call(key);
        if !call.witnesses.contains(&Some(node))
            && let Some(free) = call.witnesses.iter_mut().find(|witness| witness.is_none())
        {
            *free = Some(node);
        }
        borne_out
    }

    fn call(&mut self, key: u128) -> (&mut Call, Option<Node>) {
        let known = self.calls.iter().position(|call| call.key == key);
        let borne_out = if known.is_none() && self.calls.len() >= CALLS_WATCHED {
            self.calls.pop_front().and_then(|call| self.decide(&call))
        } else {
            None
        };
        let at = known.unwrap_or_else(|| {
            self.calls.push_back(Call { key, claimant: None, disputed: false, witnesses: [None; 2] });
            self.calls.len() - 1
        });
        (&mut self.calls[at], borne_out)
    }

    /// Counts a call on which one workload claimed the principal, and another had seen its certificate.
    fn decide(&mut self, call: &Call) -> Option<Node> {
        let claimant = call.claimant.filter(|_| !call.disputed)?;
        call.witnesses.iter().flatten().find(|witness| **witness != claimant)?;
        let at = self.agreed.iter().position(|(node, _)| *node == claimant).or_else(|| {
            let room = self.agreed.len() < WORKLOADS_MAX;
            room.then(|| self.agreed.push((claimant, 0))).map(|()| self.agreed.len() - 1)
        })?;
        let calls = &mut self.agreed[at].1;
        *calls = calls.saturating_add(1);
        (*calls >= CALLS_AGREED).then_some(claimant)
    }
}
