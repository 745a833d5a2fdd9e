//! How the lease store writes a quarantine down: JSON shapes of format 1, beside the words of `model`.
//!
//! A field that is added later gets `#[serde(default)]`; anything else is a new format (`file.rs`). The shapes
//! are serde's remote mirrors: a field of `model` that is not here does not compile.

use std::time::Duration;

use selvedge_model::{
    Backtest, BacktestCaller, Caller, Cut, Endpoint, ObservedTime, Operation, Place, Progress, Quarantine,
    QuarantineState,
};
use serde::{Deserialize, Serialize};

use super::{Change, HistoryEvent, StoredQuarantine};

/// A row of the table of quarantines.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredRecord {
    /// How many changes it has seen.
    pub(super) revision: u64,
    /// Where the lease clock is when the lease runs out, in nanoseconds.
    pub(super) deadline: Option<u64>,
    #[serde(with = "QuarantineShape")]
    pub(super) quarantine: Quarantine,
}

/// A row of the table of events; id and revision are its key.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredEvent {
    #[serde(with = "TimeShape")]
    at: ObservedTime,
    who: String,
    what: String,
    #[serde(with = "StateShape")]
    state: QuarantineState,
}

impl StoredRecord {
    /// As the store hands it out when the lease clock is at `clock` and the wall clock at `wall`.
    pub(super) fn into_stored(self, clock: u64, wall: ObservedTime) -> StoredQuarantine {
        let remaining = self.deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(clock)));
        let quarantine = Quarantine { expires: remaining.map(|left| wall.after(left)), ..self.quarantine };
        StoredQuarantine { quarantine, revision: self.revision, remaining }
    }
}

impl StoredEvent {
    /// The event of a change.
    pub(super) fn of(change: &Change, at: ObservedTime) -> Self {
        Self { at, who: change.who.clone(), what: change.what.clone(), state: change.quarantine.state }
    }

    /// As the store hands it out.
    pub(super) fn into_event(self, revision: u64) -> HistoryEvent {
        HistoryEvent { revision, at: self.at, who: self.who, what: self.what, state: self.state }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ObservedTime")]
struct TimeShape(u64);

#[derive(Serialize, Deserialize)]
#[serde(remote = "QuarantineState", rename_all = "snake_case")]
enum StateShape {
    Proposed,
    Shadow,
    Enforced,
    Lifted,
    Expired,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Progress", rename_all = "snake_case")]
enum ProgressShape {
    Planned,
    Pushed,
    Acknowledged,
    Effective,
    Ineffective(String),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Place", rename_all = "snake_case")]
enum PlaceShape {
    Inbound,
    Outbound,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Caller", rename_all = "snake_case")]
enum CallerShape {
    Principal(String),
    Unauthenticated,
    Local,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Operation")]
struct OperationShape {
    method: String,
    route: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Endpoint")]
struct EndpointShape {
    cluster: String,
    namespace: String,
    workload: String,
    principal: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Cut")]
struct CutShape {
    #[serde(with = "PlaceShape")]
    place: Place,
    #[serde(with = "EndpointShape")]
    workload: Endpoint,
    #[serde(with = "CallerShape")]
    caller: Caller,
    hosts: Vec<String>,
    #[serde(with = "operations")]
    operations: Vec<Operation>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "BacktestCaller")]
struct BacktestCallerShape {
    #[serde(with = "EndpointShape")]
    caller: Endpoint,
    denied: u64,
    denied_normal: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Backtest")]
struct BacktestShape {
    from_seconds: u64,
    until_seconds: u64,
    considered: u64,
    denied: u64,
    denied_normal: u64,
    undecided: u64,
    #[serde(with = "backtest_callers")]
    callers: Vec<BacktestCaller>,
    routes: Vec<(String, u64)>,
    more: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Quarantine")]
struct QuarantineShape {
    id: String,
    incident_id: String,
    #[serde(with = "cuts")]
    cuts: Vec<Cut>,
    #[serde(with = "StateShape")]
    state: QuarantineState,
    #[serde(with = "ProgressShape")]
    progress: Progress,
    reason: String,
    evidence: Vec<String>,
    not_stopped: Vec<String>,
    #[serde(with = "BacktestShape")]
    backtest: Backtest,
    owner: String,
    #[serde(with = "TimeShape")]
    created: ObservedTime,
    ttl_seconds: u64,
    /// Follows from the deadline.
    #[serde(skip)]
    expires: Option<ObservedTime>,
    renewals: u32,
    ended: String,
}

/// A list of values whose shape is a remote mirror.
macro_rules! list_of {
    ($module:ident, $value:ident, $shape:literal) => {
        mod $module {
            use super::*;

            #[derive(Serialize)]
            struct Borrowed<'a>(#[serde(with = $shape)] &'a $value);

            #[derive(Deserialize)]
            struct Owned(#[serde(with = $shape)] $value);

            pub(super) fn serialize<S: serde::Serializer>(list: &[$value], to: S) -> Result<S::Ok, S::Error> {
                to.collect_seq(list.iter().map(Borrowed))
            }

            pub(super) fn deserialize<'d, D>(from: D) -> Result<Vec<$value>, D::Error>
            where
                D: serde::Deserializer<'d>,
            {
                let list = Vec::<Owned>::deserialize(from)?;
                Ok(list.into_iter().map(|Owned(value)| value).collect())
            }
        }
    };
}

list_of!(cuts, Cut, "CutShape");
list_of!(operations, Operation, "OperationShape");
list_of!(backtest_callers, BacktestCaller, "BacktestCallerShape");
