//! One canonical key per request, whichever id a record carries: trace id, `x-request-id`, or both.
//!
//! Sequential, before records are spread over shards, so it does not depend on their number. What was said first
//! stands: a record that was routed cannot be called back.

use selvedge_model::hash::StableHasher;
use selvedge_model::{RequestId, TraceId};
use serde::{Deserialize, Serialize};

use crate::config::JoinConfig;
use crate::generations::Generations;

/// Which request a record belongs to. Bounded; past the bound the older half is forgotten, and records whose only
/// id was in it become calls of their own.
#[derive(Serialize, Deserialize)]
pub struct Aliases {
    requests: Generations<RequestId, Known>,
    /// Only traces whose key is not their own number: those that a request id was seen for before.
    traces: Generations<TraceId, u128>,
    /// What the records said lately, as long as none was without a trace id: then nobody needs to know.
    unasked: Option<Unasked>,
}

/// Records kept until somebody asks: minutes of ordinary traffic, a second of the heaviest.
const UNASKED_MAX: usize = 1 << 16;

/// Both ids of the latest records, in a ring: written one after the other, which costs next to nothing.
#[derive(Default, Serialize, Deserialize)]
struct Unasked {
    ids: Vec<(TraceId, RequestId)>,
    next: usize,
}

impl Unasked {
    fn note(&mut self, trace: TraceId, request: RequestId) {
        // Both sides' records of one call often come one after the other.
        let latest = self.next.checked_sub(1).unwrap_or(UNASKED_MAX - 1);
        if self.ids.get(latest) == Some(&(trace, request)) {
            return;
        }
        match self.ids.get_mut(self.next) {
            Some(slot) => *slot = (trace, request),
            None => self.ids.push((trace, request)),
        }
        self.next = (self.next + 1) % UNASKED_MAX;
    }

    /// Oldest first.
    fn in_order(&self) -> impl Iterator<Item = (TraceId, RequestId)> {
        let (newer, older) = self.ids.split_at(self.next.min(self.ids.len()));
        older.iter().chain(newer).copied()
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Known {
    key: u128,
    /// A trace has claimed this request id. Another trace with the same id is another request: ids can be constant
    /// (`x-request-id: x`) or chosen by a client.
    claimed: bool,
}

impl Aliases {
    /// Takes the limits of `config`, as after a restart with another configuration.
    pub fn configure(&mut self, config: &JoinConfig) {
        self.requests.configure(config.aliases_max);
        self.traces.configure(config.aliases_max);
    }

    /// Nothing known.
    #[must_use]
    pub fn new(config: &JoinConfig) -> Self {
        Self {
            requests: Generations::new(config.aliases_max),
            traces: Generations::new(config.aliases_max),
            unasked: Some(Unasked::default()),
        }
    }

    /// The canonical key of the request; `None` when the record names none. Where trace and request id lead to
    /// different requests the trace wins: a request id is easier to choose.
    pub fn key_of(&mut self, trace: TraceId, request: RequestId) -> Option<u128> {
        match (trace.present(), request.present()) {
            (false, false) => None,
            (false, true) => {
                self.begin_to_remember();
                Some(self.key_of_request(request))
            }
            (true, false) => Some(self.known_trace(trace).unwrap_or(trace.as_u128())),
            (true, true) => Some(match &mut self.unasked {
                Some(unasked) => {
                    unasked.note(trace, request);
                    trace.as_u128()
                }
                None => self.key_of_both(trace, request),
            }),
        }
    }

    /// The first record without a trace id: from now on every record's ids are remembered, and so are those of the
    /// records that came before it, in their order.
    fn begin_to_remember(&mut self) {
        if let Some(unasked) = self.unasked.take() {
            for (trace, request) in unasked.in_order() {
                self.key_of_both(trace, request);
            }
        }
    }

    /// Ids remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len() + self.traces.len()
    }

    /// True when no id is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.traces.is_empty()
    }

    /// Ids forgotten to stay inside the bound.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.requests.forgotten() + self.traces.forgotten()
    }

    fn key_of_request(&mut self, request: RequestId) -> u128 {
        if let Some(known) = self.requests.get(&request) {
            return known.key;
        }
        let key = own_key(request);
        self.requests.insert(request, Known { key, claimed: false });
        key
    }

    fn key_of_both(&mut self, trace: TraceId, request: RequestId) -> u128 {
        let by_trace = self.known_trace(trace);
        match self.requests.get(&request) {
            None => {
                let key = by_trace.unwrap_or(trace.as_u128());
                self.requests.insert(request, Known { key, claimed: true });
                key
            }
            Some(known) if !known.claimed => {
                self.requests.insert(request, Known { claimed: true, ..known });
                match by_trace {
                    Some(key) => key,
                    None => {
                        self.traces.insert(trace, known.key);
                        known.key
                    }
                }
            }
            Some(_) => by_trace.unwrap_or(trace.as_u128()),
        }
    }

    fn known_trace(&mut self, trace: TraceId) -> Option<u128> {
        if self.traces.is_empty() { None } else { self.traces.get(&trace) }
    }
}

/// The key of a request of which no trace is known: hashed, so that a chosen request id cannot name a trace.
fn own_key(request: RequestId) -> u128 {
    let half = |domain: &[u8]| {
        u128::from(StableHasher::default().field(domain).field(&request.0.to_le_bytes()).value())
    };
    half(b"request") << 64 | half(b"request, low")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: TraceId = TraceId([1; 16]);
    const SECOND: TraceId = TraceId([2; 16]);
    const REQUEST: RequestId = RequestId(77);

    fn aliases() -> Aliases {
        Aliases::new(&JoinConfig::default())
    }

    #[test]
    fn a_record_without_a_trace_finds_its_mates_in_either_order() {
        let mut aliases = aliases();
        let key = aliases.key_of(FIRST, REQUEST);
        assert_eq!(aliases.key_of(TraceId::default(), REQUEST), key);
        let mut other = self::aliases();
        let key = other.key_of(TraceId::default(), REQUEST);
        assert_eq!(other.key_of(FIRST, REQUEST), key);
        assert_eq!(other.key_of(FIRST, RequestId::default()), key);
    }

    #[test]
    fn a_constant_request_id_does_not_pull_traces_together() {
        let mut aliases = aliases();
        let first = aliases.key_of(FIRST, REQUEST);
        let second = aliases.key_of(SECOND, REQUEST);
        assert_ne!(first, second);
        assert_eq!(aliases.key_of(SECOND, RequestId::default()), second);
    }

    #[test]
    fn a_request_id_cannot_be_chosen_to_name_a_trace() {
        let mut aliases = aliases();
        let trace = aliases.key_of(FIRST, RequestId::default());
        assert_ne!(aliases.key_of(TraceId::default(), RequestId(FIRST.as_u128())), trace);
    }

    #[test]
    fn a_record_with_no_id_names_no_request() {
        assert_eq!(aliases().key_of(TraceId::default(), RequestId::default()), None);
    }

    #[test]
    fn what_came_before_the_first_record_without_a_trace_is_known_as_if_it_had_been_remembered() {
        let mut aliases = aliases();
        let ids = |number: u32| {
            let mut trace = [9; 16];
            trace[..4].copy_from_slice(&number.to_le_bytes());
            (TraceId(trace), RequestId(u128::from(number) + 1))
        };
        let before = u32::try_from(UNASKED_MAX).unwrap() + 10;
        let keys: Vec<_> = (0..before).map(|number| aliases.key_of(ids(number).0, ids(number).1)).collect();
        for number in [before - 1, before - 30_000, 10] {
            assert_eq!(aliases.key_of(TraceId::default(), ids(number).1), keys[number as usize], "{number}");
        }
        assert_ne!(aliases.key_of(TraceId::default(), ids(9).1), keys[9], "beyond what is kept");
        assert_eq!(
            aliases.key_of(SECOND, ids(before - 1).1),
            Some(SECOND.as_u128()),
            "claimed by another trace"
        );
    }

    #[test]
    fn a_flood_of_ids_stays_inside_the_bound() {
        let mut aliases = Aliases::new(&JoinConfig { aliases_max: 100, ..JoinConfig::default() });
        assert!(aliases.is_empty());
        for id in 1..10_000 {
            aliases.key_of(TraceId::default(), RequestId(id));
        }
        assert!(aliases.len() <= 100);
        assert!(aliases.forgotten() >= 9_800);
    }
}
