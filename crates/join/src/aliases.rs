//! One canonical key per request, whichever id a record carries: trace id, `x-request-id`, or both.
//!
//! Sequential, before records are spread over shards, so it does not depend on their number. What was said first
//! stands: a record that was routed cannot be called back.

use selvedge_model::hash::StableHasher;
use selvedge_model::{RequestId, TraceId};

use crate::config::JoinConfig;
use crate::generations::Generations;

/// Which request a record belongs to. Bounded; past the bound the older half is forgotten, and records whose only
/// id was in it become calls of their own.
pub struct Aliases {
    requests: Generations<RequestId, Known>,
    /// Only traces whose key is not their own number: those that a request id was seen for before.
    traces: Generations<TraceId, u128>,
}

#[derive(Clone, Copy)]
struct Known {
    key: u128,
    /// A trace has claimed this request id. Another trace with the same id is another request: ids can be constant
    /// (`x-request-id: x`) or chosen by a client.
    claimed: bool,
}

impl Aliases {
    /// Nothing known.
    #[must_use]
    pub fn new(config: &JoinConfig) -> Self {
        Self { requests: Generations::new(config.aliases_max), traces: Generations::new(config.aliases_max) }
    }

    /// The canonical key of the request; `None` when the record names none. Where trace and request id lead to
    /// different requests the trace wins: a request id is easier to choose.
    pub fn key_of(&mut self, trace: TraceId, request: RequestId) -> Option<u128> {
        match (trace.present(), request.present()) {
            (false, false) => None,
            (false, true) => Some(self.key_of_request(request)),
            (true, false) => Some(self.known_trace(trace).unwrap_or(trace.as_u128())),
            (true, true) => Some(self.key_of_both(trace, request)),
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
