//! Ways that requests took in the windows that are not closed yet.

use std::collections::BTreeMap;

use selvedge_detect::PathSighting;
use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{CallPath, PathStats, Window};
use serde::{Deserialize, Serialize};

/// Ways by window. Bounded like the edges of windows: past `entries_max` those whose names became known last are dropped
/// (policy `keep_known`), when all shards have met.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Paths {
    #[serde(skip)]
    entries_max: usize,
    entries: usize,
    dropped: u64,
    open: BTreeMap<Window, Ways>,
    /// Ways seen for the first time in their window since they were last judged.
    unsighted: Vec<(Window, CallPath)>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Ways(#[serde(with = "selvedge_model::hash::listed")] FixedMap<CallPath, PathStats>);

impl Paths {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries_max, entries: 0, dropped: 0, open: BTreeMap::new(), unsighted: Vec::new() }
    }

    pub(crate) fn configure(&mut self, entries_max: usize) {
        self.entries_max = entries_max;
    }

    /// Calls on ways that found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Adds what a shard counted since the last tick. `dropped`: calls whose ways found no room there.
    pub(crate) fn merge(&mut self, paths: Vec<((Window, CallPath), PathStats)>, dropped: u64) {
        self.dropped += dropped;
        for ((window, path), stats) in paths {
            let Ways(ways) =
                self.open.entry(window).or_insert_with(|| Ways(FixedMap::with_hasher(fixed_state())));
            match ways.get_mut(&path) {
                Some(known) => known.merge(&stats),
                None => {
                    ways.insert(path, stats);
                    self.entries += 1;
                    self.unsighted.push((window, path));
                }
            }
        }
    }

    /// Drops the ways with the newest names until there is room. To be called when all shards have met.
    pub(crate) fn make_room(&mut self) {
        if self.entries <= self.entries_max {
            return;
        }
        let all = |(window, Ways(ways)): (&Window, &Ways)| {
            ways.keys().map(|path| (*path, *window)).collect::<Vec<_>>()
        };
        let mut keys: Vec<(CallPath, Window)> = self.open.iter().flat_map(all).collect();
        keys.select_nth_unstable(self.entries_max);
        for (path, window) in keys.drain(self.entries_max..) {
            let stats = self.open.get_mut(&window).and_then(|ways| ways.0.remove(&path));
            self.dropped += stats.map_or(0, |stats| stats.calls);
        }
        self.entries = self.entries_max;
    }

    /// The ways that nobody has judged yet, in no particular order.
    pub(crate) fn sightings(&self) -> impl Iterator<Item = PathSighting<'_>> {
        self.unsighted.iter().filter_map(|(window, path)| {
            let stats = self.open.get(window)?.0.get(path)?;
            Some(PathSighting { path: *path, window: *window, stats })
        })
    }

    /// Forgets the ways that were judged.
    pub(crate) fn mark_sighted(&mut self) {
        self.unsighted.clear();
    }

    /// Takes out the ways of a window that closes, those first whose names became known first.
    pub(crate) fn close(&mut self, window: Window) -> Vec<(CallPath, PathStats)> {
        let Some(Ways(ways)) = self.open.remove(&window) else { return Vec::new() };
        self.entries -= ways.len();
        let mut ways: Vec<(CallPath, PathStats)> = ways.into_iter().collect();
        ways.sort_unstable_by_key(|(path, _)| *path);
        ways
    }
}

#[cfg(test)]
mod tests {
    use selvedge_model::{EdgeKey, EventTime, FirstOnPath, Node, Symbol};

    use super::*;

    fn path(number: u32) -> CallPath {
        let node = |workload| Node { workload: Symbol(workload), ..Node::default() };
        let edge = EdgeKey { source: node(5), destination: node(6), external: false };
        CallPath { edge, onward: node(10 + number), ..CallPath::default() }
    }

    /// Scenario: more ways than there is room for, in two parts or in one, in another order.
    /// Guarantees: those whose names were known first are kept, whole, and what is dropped is counted.
    #[test]
    fn what_finds_room_does_not_depend_on_the_order() {
        let window = Window { start: EventTime(0), end: EventTime(10) };
        let one = |number| ((window, path(number)), PathStats::one(FirstOnPath::default()));
        let run = |parts: Vec<Vec<u32>>| {
            let mut paths = Paths::new(100);
            for part in parts {
                paths.merge(part.into_iter().map(one).collect(), 0);
            }
            paths.make_room();
            paths.mark_sighted();
            let ways = paths.close(window);
            assert_eq!((ways.len(), paths.entries), (100, 0));
            (ways, paths.dropped())
        };
        let alone = run(vec![(0..300).chain(0..300).collect()]);
        assert_eq!(alone, run(vec![(0..300).rev().collect(), (0..300).collect()]));
        assert!(alone.0.iter().all(|(way, stats)| way.onward.workload.0 < 110 && stats.calls == 2));
        assert_eq!(alone.1, 400);
    }
}
