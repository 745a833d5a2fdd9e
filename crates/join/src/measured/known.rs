//! Who is seen by calls, and who counts by which side: calls win over metrics, and the caller's count over the callee's.

use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{EdgeKey, EdgeWindow, EventTime, Node, Reported, Side, Window};
use serde::{Deserialize, Serialize};

/// Who was seen so lately is still seen.
const REMEMBERED: Duration = Duration::from_mins(10);
/// What is forgotten is looked for at most this often.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// Times at which edges and workloads were seen last. Bounded; past it new ones are not remembered, so that their metrics
/// are judged beside their calls.
#[derive(Serialize, Deserialize)]
pub(super) struct Known {
    #[serde(with = "selvedge_model::hash::listed")]
    called: FixedMap<EdgeKey, EventTime>,
    #[serde(with = "selvedge_model::hash::listed")]
    reporters: FixedMap<Node, EventTime>,
    #[serde(with = "selvedge_model::hash::listed")]
    by_client: FixedMap<EdgeKey, EventTime>,
    swept: EventTime,
    max: usize,
    forgotten: u64,
}

impl Known {
    pub(super) fn new(max: usize) -> Self {
        Self {
            called: FixedMap::with_hasher(fixed_state()),
            reporters: FixedMap::with_hasher(fixed_state()),
            by_client: FixedMap::with_hasher(fixed_state()),
            swept: EventTime::ABSENT,
            max,
            forgotten: 0,
        }
    }

    /// Edges and reporters that were not remembered.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Notes the calls of a window, and who reported them.
    pub(super) fn note_calls(&mut self, window: Window, calls: &[(EdgeKey, &EdgeWindow)]) {
        if window.end.since(self.swept) >= SWEEP_EVERY {
            self.swept = window.end;
            let lately = |at: &mut EventTime| window.end.since(*at) < REMEMBERED;
            self.called.retain(|_, at| lately(at));
            self.reporters.retain(|_, at| lately(at));
            self.by_client.retain(|_, at| lately(at));
        }
        for (key, edge) in calls {
            self.forgotten += note(&mut self.called, *key, window.end, self.max);
            let by = |side: Reported| {
                edge.shapes.keys().any(|shape| shape.reported == side || shape.reported == Reported::Both)
            };
            if by(Reported::ClientOnly) {
                self.forgotten += note(&mut self.reporters, key.source, window.end, self.max);
            }
            if by(Reported::ServerOnly) {
                self.forgotten += note(&mut self.reporters, key.destination, window.end, self.max);
            }
        }
    }

    /// True when calls tell of the edge, or its reporter sends records of calls.
    pub(super) fn tells(&self, edge: &EdgeKey, side: Side, now: EventTime) -> bool {
        let reporter = if side == Side::Client { edge.source } else { edge.destination };
        let lately = |at: Option<&EventTime>| at.is_some_and(|at| now.since(*at) < REMEMBERED);
        lately(self.called.get(edge)) || lately(self.reporters.get(&reporter))
    }

    /// Whether the caller's count of an edge is taken: it has one now, or had one lately.
    pub(super) fn counts_by_client(&mut self, edge: &EdgeKey, has: bool, now: EventTime) -> bool {
        if has {
            self.forgotten += note(&mut self.by_client, *edge, now, self.max);
        }
        has || self.by_client.get(edge).is_some_and(|at| now.since(*at) < REMEMBERED)
    }
}

/// Notes a time; 1 when there was no room for it.
fn note<K: std::hash::Hash + Eq>(map: &mut FixedMap<K, EventTime>, key: K, at: EventTime, max: usize) -> u64 {
    let room = map.len() < max || map.contains_key(&key);
    if room {
        map.insert(key, at);
    }
    u64::from(!room)
}
