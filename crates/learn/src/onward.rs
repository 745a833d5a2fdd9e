//! Whom a callee calls on while it serves one caller.

use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{EventTime, Node};
use serde::{Deserialize, Serialize};

use crate::edge::RouteKey;

/// Ways that one edge's calls go on; real services call a handful for a route.
const ONWARD_MAX: usize = 256;
/// For so long a way is new: what goes on is accepted then, as behaviour is (`detection.md` 3.3, bounded freeze).
const NEW_FOR: Duration = Duration::from_hours(4);

/// The workloads that calls over one edge go on to, by route. Policy `keep_known`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Onward {
    #[serde(with = "selvedge_model::hash::listed")]
    known: FixedMap<(RouteKey, Node), Way>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Way {
    /// When it was first seen; absent when the mesh was not known yet, or a person approved it.
    since: EventTime,
}

impl Default for Onward {
    fn default() -> Self {
        Self { known: FixedMap::with_hasher(fixed_state()) }
    }
}

impl Onward {
    /// The way was taken in a window that ended `at`; `settled`: there is nothing to tell of it. False when it finds no room.
    #[must_use]
    pub(crate) fn add(&mut self, route: RouteKey, node: Node, at: EventTime, settled: bool) -> bool {
        let key = (route, node);
        if self.full() && !self.known.contains_key(&key) {
            return false;
        }
        let since = if settled { EventTime::ABSENT } else { at };
        let way = self.known.entry(key).or_insert(Way { since });
        way.since = way.since.min(since);
        true
    }

    /// True when the way is an old one at `now`.
    #[must_use]
    pub fn knows(&self, route: RouteKey, node: Node, now: EventTime) -> bool {
        self.known.get(&(route, node)).is_some_and(|way| way.old(now))
    }

    /// True when no further way can be learned: then an unknown one is not a new one.
    #[must_use]
    pub fn full(&self) -> bool {
        self.known.len() >= ONWARD_MAX
    }

    /// Where ways lead that are old at `now`, in no particular order and more than once.
    pub fn known(&self, now: EventTime) -> impl Iterator<Item = &Node> {
        self.known.iter().filter(move |(_, way)| way.old(now)).map(|((_, node), _)| node)
    }
}

impl Way {
    fn old(&self, now: EventTime) -> bool {
        !self.since.present() || self.since.after(NEW_FOR) <= now
    }
}

#[cfg(test)]
mod tests {
    use selvedge_model::Symbol;

    use super::*;

    const R: RouteKey = RouteKey { method: Symbol(7), route: Symbol(8) };

    fn node(number: usize) -> Node {
        Node { workload: Symbol(u32::try_from(number).unwrap()), ..Node::default() }
    }

    #[test]
    fn a_way_is_new_for_four_hours_unless_the_mesh_was_new_itself() {
        let at = |hours: u64| EventTime(1).after(Duration::from_hours(hours));
        let mut onward = Onward::default();
        assert!(onward.add(R, node(10), at(1), true));
        assert!(onward.add(R, node(11), at(1), false));
        assert!(onward.add(R, node(11), at(2), false));
        assert!(onward.knows(R, node(10), at(1)));
        assert!(!onward.knows(R, node(11), at(4)) && onward.knows(R, node(11), at(5)));
        assert!(!onward.knows(R, node(12), at(9)));
        assert!(!onward.knows(RouteKey::default(), node(10), at(1)));
        assert_eq!(onward.known(at(2)).count(), 1);
    }

    #[test]
    fn a_full_list_keeps_what_it_knows() {
        let mut onward = Onward::default();
        let added = (10..600).filter(|number| onward.add(R, node(*number), EventTime(1), true));
        assert_eq!(added.count(), ONWARD_MAX);
        assert!(onward.full() && onward.knows(R, node(10), EventTime(1)));
        assert!(!onward.knows(R, node(599), EventTime(1)));
    }
}
