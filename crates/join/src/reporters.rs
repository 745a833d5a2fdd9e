//! Who sends access logs: a call need not wait for a log that nobody writes.
//!
//! Where both speak, the access log's word counts more than the span's, so a call whose both sides' spans are here still
//! waits for the logs. A workload that was heard for a whole window and never sent one has said all that it will say with
//! its span: proxies flush each second, and a log that comes seconds after its span finds the call counted anyway.
//!
//! Sequential, in order of arrival, before records are spread over shards: the answer does not depend on their number.

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{EventTime, IdentitySource, Node, Observation, ObservationKind, Side};
use serde::{Deserialize, Serialize};

use crate::config::JoinConfig;

/// Workloads that report, and which of them send access logs. Bounded; of those past the bound a log is always
/// expected (policy `await_log`), which costs time and loses nothing.
#[derive(Serialize, Deserialize)]
pub struct Reporters {
    #[serde(skip)]
    config: JoinConfig,
    #[serde(with = "selvedge_model::hash::listed")]
    known: FixedMap<Node, Habit>,
    /// The one asked about last: records of one sender come together.
    last: Option<(Node, Habit)>,
    unknown: u64,
}

/// What a workload's records have been like.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Habit {
    /// Event time when it was first heard.
    since: EventTime,
    /// It sent an access log. Once is for good, so that nobody can make it look otherwise by being quiet.
    logs: bool,
    /// It named a caller, by a certificate or by what its control plane said. Once is for good, too.
    names_callers: bool,
}

impl Habit {
    fn of(record: &Observation, frontier: EventTime) -> Self {
        let named = record.peer.source >= IdentitySource::ProxyMetadata;
        Self {
            since: frontier,
            logs: record.kind == ObservationKind::AccessLog,
            names_callers: record.side == Side::Server && named,
        }
    }
}

impl Reporters {
    /// Takes the limits of `config`, as after a restart with another configuration.
    pub fn configure(&mut self, config: &JoinConfig) {
        self.config = *config;
    }

    /// Nobody heard yet.
    #[must_use]
    pub fn new(config: &JoinConfig) -> Self {
        Self { config: *config, known: FixedMap::with_hasher(fixed_state()), last: None, unknown: 0 }
    }

    /// True when nothing better than this record can be expected of its reporter: it is an access log, or a span of a
    /// reporter that sends none. A callee's span that does not tell who called is not the last word of one that can:
    /// a span id is easily copied, and the call's owner may come yet. `frontier` is the newest event time seen.
    pub fn last_word(&mut self, record: &Observation, frontier: EventTime) -> bool {
        if matches!(record.kind, ObservationKind::ConnectionLog | ObservationKind::ApplicationLog) {
            return false;
        }
        let seen = Habit::of(record, frontier);
        let habit = self.habit(Node::of(&record.reporter), seen);
        if record.kind == ObservationKind::AccessLog {
            return true;
        }
        let heard_long_enough = frontier.since(habit.since) >= self.config.window_length;
        let anonymous = record.side == Side::Server && !seen.names_callers;
        heard_long_enough && !habit.logs && !(anonymous && habit.names_callers)
    }

    /// What the reporter was like so far, this record included.
    fn habit(&mut self, reporter: Node, seen: Habit) -> Habit {
        if let Some((node, habit)) = self.last
            && node == reporter
            && habit.logs >= seen.logs
            && habit.names_callers >= seen.names_callers
        {
            return habit;
        }
        let habit = self.look_up(reporter, seen);
        self.last = Some((reporter, habit));
        habit
    }

    fn look_up(&mut self, reporter: Node, seen: Habit) -> Habit {
        if let Some(habit) = self.known.get_mut(&reporter) {
            habit.logs |= seen.logs;
            habit.names_callers |= seen.names_callers;
            return *habit;
        }
        if !reporter.known() || self.known.len() >= self.config.origins_max {
            self.unknown += 1;
            return Habit { logs: true, names_callers: true, ..seen };
        }
        self.known.insert(reporter, seen);
        seen
    }

    /// After a gap of unknown length nobody's habits are known.
    pub fn restart_after_gap(&mut self) {
        self.known.clear();
        self.last = None;
    }

    /// Times that a record's reporter had no name, or no room.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown
    }
}

#[cfg(test)]
mod tests {
    use selvedge_model::{Party, Symbol};

    use super::*;

    fn record(kind: ObservationKind, workload: u32, second: u64) -> Observation {
        let workload = Symbol(workload);
        let reporter = Party { workload, source: IdentitySource::ProxyMetadata, ..Party::default() };
        Observation { kind, reporter, end: at(second), ..Observation::default() }
    }

    fn at(second: u64) -> EventTime {
        EventTime((1_000 + second) * 1_000_000_000)
    }

    #[test]
    fn a_span_is_the_last_word_of_who_sent_no_log_for_a_whole_window() {
        let mut reporters = Reporters::new(&JoinConfig::default());
        for (second, last) in [(0, false), (9, false), (10, true), (11, true)] {
            assert_eq!(
                reporters.last_word(&record(ObservationKind::Span, 10, second), at(second)),
                last,
                "{second}"
            );
        }
        assert!(!reporters.last_word(&record(ObservationKind::Span, 11, 40), at(40)), "another is new");
    }

    #[test]
    fn whoever_sent_a_log_once_is_waited_for_until_the_next_gap() {
        let mut reporters = Reporters::new(&JoinConfig::default());
        let span = record(ObservationKind::Span, 10, 0);
        assert!(!reporters.last_word(&span, at(0)));
        assert!(reporters.last_word(&record(ObservationKind::AccessLog, 10, 1), at(1)));
        assert!(!reporters.last_word(&span, at(5_000)));
        reporters.restart_after_gap();
        assert!(!reporters.last_word(&span, at(5_000)));
        assert!(reporters.last_word(&span, at(5_010)));
    }

    #[test]
    fn a_callee_that_can_name_its_callers_is_waited_for_when_it_does_not() {
        let mut reporters = Reporters::new(&JoinConfig::default());
        let anonymous = Observation { side: Side::Server, ..record(ObservationKind::Span, 10, 0) };
        let named = Observation { peer: record(ObservationKind::Span, 20, 0).reporter, ..anonymous };
        reporters.last_word(&anonymous, at(0));
        assert!(reporters.last_word(&anonymous, at(20)));
        assert!(reporters.last_word(&named, at(21)));
        assert!(!reporters.last_word(&anonymous, at(22)));
    }

    #[test]
    fn without_a_name_or_room_a_log_is_expected() {
        let mut reporters = Reporters::new(&JoinConfig { origins_max: 1, ..JoinConfig::default() });
        for workload in [0, 10, 11] {
            reporters.last_word(&record(ObservationKind::Span, workload, 0), at(0));
        }
        assert_eq!(reporters.unknown(), 2);
        assert!(reporters.last_word(&record(ObservationKind::Span, 10, 90), at(90)));
        assert!(!reporters.last_word(&record(ObservationKind::Span, 11, 90), at(90)));
    }
}
